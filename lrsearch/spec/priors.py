"""Priors of learning rates: at which a training goes well, as far as its spec tells.

From scratch, an optimizer's rates are known from many published trainings
(`catalogue.RATE_PRIORS`). For fine-tuning those are far too high, and of a command or a loop nobody
knows what it trains: the user, who gave the range, knows better, and its middle is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lrsearch import catalogue
from lrsearch.catalogue import RatePrior
from lrsearch.duration import parse, texts
from lrsearch.space import Choice, Dimension, Float, Space, parameters, parse_name
from lrsearch.spec.model import Spec
from lrsearch.spec.values import show
from lrsearch.terminal import short

FAR = 2.0
"""Deviations from a prior's mean beyond which a range leaves the prior out."""

WEIGHTS = frozenset(
    (".bin", ".ckpt", ".h5", ".keras", ".msgpack", ".npz", ".onnx", ".pt", ".pth", ".safetensors")
)
"""Suffixes of files that hold weights."""

MOST_FILES = 1000
"""The most entries of a folder that are looked at for weights."""

_NAMES = re.compile(r"(?i)(.*_)?(pretrained|checkpoint|ckpt|weights)(_.*)?")
"""Arguments that name pretrained weights, or ask for them."""

_DROPOUT = re.compile(r"(?i)(.*_)?drop(out|path|_path)?(_?(rate|ratio|prob|p))?")
"""Arguments that are probabilities of dropping units, or whole layers."""

_WITHOUT = frozenset(("", "none", "null", "false", "no", "random", "scratch"))


# where the weights start


def pretrained_by(spec: Spec) -> str:
    """The part of the spec that tells of pretrained weights, in words; "" where none does."""
    if spec.kind is not None or spec.start == "scratch":
        return ""
    if spec.start == "pretrained":
        return "train.start: pretrained"
    for path, value in _arguments(spec):
        if path == "model.class_path":
            if str(value).endswith("from_pretrained"):
                return str(value)
        elif _NAMES.fullmatch(path.rpartition(".")[2]):
            if value and str(value).lower() not in _WITHOUT:
                return f"{path}: {show(value)}"
        elif any(holds_weights(text, spec.folder) for text in texts(value)):
            return f"{path}: {show(value)}"
    return ""


def _arguments(spec: Spec) -> Iterator[tuple[str, Any]]:
    """The class paths of the spec's models and their arguments, fixed or searched, with paths."""
    for model in spec.space.chosen("model", spec.model):
        if "class_path" not in model:  # No built-in model has weights of before.
            continue
        yield "model.class_path", model["class_path"]
        for name, value in catalogue.arguments_of(model).items():
            yield f"model.init_args.{name}", value
    for name, part in parameters(spec.space):
        if parse_name(name).head == "model" and isinstance(part, Choice) and name != "model":
            yield from ((name, option.value) for option in part.options)


def holds_weights(text: str, folder: Path) -> bool:
    """Whether a text is the path of a file with weights, or of a folder that holds one; a relative
    path is looked for in `folder` and in the working directory."""
    if Path(text).suffix.lower() in WEIGHTS:
        return True
    if not text.strip("./"):
        return False
    for start in (folder, Path.cwd()):
        try:
            place = start / Path(text).expanduser()
            if not place.is_dir():
                continue
            inside = (each for _, each in zip(range(MOST_FILES), place.iterdir(), strict=False))
            if any(each.suffix.lower() in WEIGHTS for each in inside):
                return True
        except (OSError, RuntimeError, ValueError):  # It cannot be a path, or be read.
            continue
    return False


def middle_of_all(spec: Spec) -> str:
    """The reason why a search begins in the middle of every range, "" where it does not."""
    if spec.kind is not None:
        return f"what a {spec.kind} trains is not known"
    reason = pretrained_by(spec)
    return f"the model starts from pretrained weights ({reason})" if reason else ""


# rates


def rate_names(space: Space) -> list[str]:
    """The ids of the searched learning rates."""
    found = [(name, parse_name(name)) for name, _ in parameters(space)]
    return [
        name
        for name, parts in found
        if name == "lr" or (parts.head == "optimizer" and parts.argument == "lr")
    ]


def optimizer_options(spec: Spec) -> list[Mapping[str, Any]]:
    """The optimizers of a spec: the fixed one, or each option of a searched one."""
    found = spec.space.chosen("optimizer", spec.train.get("optimizer"))
    return [each for each in found if each is not None]


def prior_of(optimizer: Mapping[str, Any]) -> RatePrior | None:
    """The prior of an optimizer's rate, built-in or of torch.optim; None where it has none."""
    name = str(optimizer.get("name", ""))
    head, _, last = str(optimizer.get("class_path", "")).rpartition(".")
    if head == "torch.optim":
        name = last.lower()
    if name == "muon" and catalogue.arguments_of(optimizer).get("adjust_lr_fn") == "original":
        return None
    return catalogue.RATE_PRIORS.get(name)


def momentum_factor(momentum: float, dampening: float = 0.0) -> float:
    """The step in the end for each part of a gradient, over that of plain SGD: a gradient g adds
    lr g (1 - dampening) (1 + m + m^2 + ...)."""
    return max(1.0 - dampening, 1e-6) / max(1.0 - momentum, 1e-6)


def leaves_out(low: float, high: float, prior: RatePrior, factor: float = 1.0) -> bool:
    """Whether the rates from `low` to `high`, times the momentum's factor, are all far from what
    the prior expects."""
    first, last = (
        10 ** (prior.mean - FAR * prior.deviation),
        10 ** (prior.mean + FAR * prior.deviation),
    )
    return high * factor < first or low * factor > last


def counts_epochs(spec: Spec) -> bool:
    """Whether smaller batches make more steps: not where a budget is counted in steps."""
    searched = dict(spec.space.dimensions).get("budget")
    values = spec.space.chosen("budget", spec.train.get("budget"))
    if searched is not None and not isinstance(searched, Choice):
        values = [f"1{getattr(searched, 'unit', '')}"]
    return all(isinstance(each, str) and parse(each).unit != "ba" for each in values)


def leans_to_little(name: str, dimension: Dimension) -> bool:
    """Whether a parameter is a weight decay on a linear scale: the best are mostly small parts of
    such a range, by orders of magnitude."""
    decays = parse_name(name).argument.removeprefix("init_args.") == "weight_decay"
    return decays and isinstance(dimension, Float) and not dimension.log


def drops_units(name: str, dimension: Dimension) -> bool:
    """Whether a parameter is a dropout, of a range or a list of numbers: of its upper half little
    is good, the less so the shorter a training is."""
    argument = parse_name(name).argument.removeprefix("init_args.").rpartition(".")[2]
    numbers = dimension.ordered if isinstance(dimension, Choice) else isinstance(dimension, Float)
    return numbers and _DROPOUT.fullmatch(argument) is not None


# in words


def describe_start(spec: Spec) -> list[str]:
    """Sentences on where searches by `random` and `bayes` begin."""
    random, bayes = spec.random.sampler == "informed", spec.bayes.start == "informed"
    if not spec.space or not (random or bayes):
        return []
    startup = spec.bayes.startup
    first = "the first point of bayes" if startup == 1 else f"the first {startup} points of bayes"
    whose = ([first] if bayes else []) + (["the points of random"] if random else [])
    ending = "s" if whose == [first] and startup == 1 else ""
    subject = " and ".join(whose)
    subject = subject[0].upper() + subject[1:]
    reason = middle_of_all(spec)
    if reason:
        central = _name_central(spec.space)
        if not central:
            return [f"{subject} cover{ending} the space evenly: no range is searched"]
        return [f"{subject} keep{ending} to the middle of the {central}: {reason}"]
    parts = _describe_rates(spec)
    batch = dict(spec.space.dimensions).get("batch_size")
    if batch is not None and counts_epochs(spec):
        parts.append("small batches first")
    if any(leans_to_little(*each) for each in parameters(spec.space)):
        parts.append("little weight decay first")
    if any(drops_units(*each) for each in parameters(spec.space)):
        parts.append("little dropout first")
    if not parts:
        return [f"{subject} cover{ending} the space evenly: nothing that is searched has a prior"]
    return [f"{subject} lean{ending} to what is usual from scratch: {'; '.join(parts)}"]


def _name_central(space: Space) -> str:
    """The dimensions that have a middle, in words; "" where none has."""
    parts = [part for _, part in parameters(space)]
    if any(not isinstance(part, Choice) and part.low < part.high for part in parts):
        return "ranges"
    listed = any(isinstance(part, Choice) and part.ordered and part.options[2:] for part in parts)
    return "lists of numbers" if listed else ""


def _describe_rates(spec: Spec) -> list[str]:
    """The searched rates of each optimizer, and the prior that they take."""
    parts = []
    dimensions = dict(parameters(spec.space))
    for name in rate_names(spec.space):
        option = parse_name(name).option
        for number, optimizer in enumerate(optimizer_options(spec)):
            if option is not None and option != number:
                continue
            label = str(catalogue.name_of(optimizer))
            prior = prior_of(optimizer)
            if prior is None:
                parts.append(f"rates of {label}, which has no prior, from the middle of the range")
                continue
            low, high = (10 ** (prior.mean + end * prior.deviation) for end in (-1, 1))
            rate = "lr / (1 - momentum)" if prior.momentum else "lr"
            told = f"{rate} of {label} {short(low, 1)} to {short(high, 1)}"
            ends = _ends(dimensions[name])
            factors = _factors(spec, number, optimizer) if prior.momentum else [1.0]
            if ends and all(leaves_out(*ends, prior, factor) for factor in factors):
                first, last = map(short, ends)
                told += f", which {first} to {last} leaves out: from the middle of the range"
            parts.append(told)
    return list(dict.fromkeys(parts))


def _ends(dimension: Dimension) -> tuple[float, float] | None:
    """The lowest and highest rate of a range or a list; None where they are still to be found."""
    if isinstance(dimension, Choice):
        values = dimension.values
        numbers = [float(each) for each in values if isinstance(each, int | float)]
        return (min(numbers), max(numbers)) if numbers else None
    if isinstance(dimension, Float) and dimension.auto:
        return None
    return float(dimension.low), float(dimension.high)


def _factors(spec: Spec, number: int, optimizer: Mapping[str, Any]) -> list[float]:
    """The momentum's factors at the least and the greatest momentum of an optimizer."""
    dimensions = dict(parameters(spec.space))
    for name in momentum_names(number):
        if name in dimensions and (ends := _ends(dimensions[name])):
            return [momentum_factor(end) for end in ends]
    given = catalogue.arguments_of(optimizer)
    return [momentum_factor(given.get("momentum") or 0.0, given.get("dampening") or 0.0)]


def momentum_names(option: int) -> tuple[str, ...]:
    """The ids that the searched momentum of an optimizer may have, which is that option where the
    optimizer is searched."""
    return (
        f"optimizer[{option}].momentum",
        f"optimizer[{option}].init_args.momentum",
        "optimizer.momentum",
        "optimizer.init_args.momentum",
    )
