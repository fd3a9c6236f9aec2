"""Models held against the data: a first batch goes through each before anything trains."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrsearch import catalogue, data, pulse
from lrsearch.data.interrupts import is_interrupt
from lrsearch.data.trees import Tree, count, leaves, map_tree
from lrsearch.errors import ModelError, suggest
from lrsearch.train.batches.batch import Batch, call, shape_of, split
from lrsearch.train.batches.resident import find_view, load_raw, view_portion
from lrsearch.train.device import (
    is_out_of_memory,
)
from lrsearch.train.engines.training import Training
from lrsearch.train.models.build import Classes, build_model, find_classes
from lrsearch.train.models.criterion import BINARY, OTHER_OUTPUTS, Criterion, check_criterion
from lrsearch.train.models.metrics import SUMS
from lrsearch.train.models.outputs import (
    are_probabilities,
    describe_outputs,
    find_ending,
    find_output,
)
from lrsearch.train.optimizers.groups import check_groups
from lrsearch.train.users.beside import find_missing
from lrsearch.trial import Config, Workplace


def check_models(
    configs: Iterable[Config], raw: data.Raw, workplace: Workplace, metric: str | None
) -> tuple[int, list[str]]:
    """Build each distinct model once; the trainable parameters of the first, and what the user
    should know of any. Raises ModelError for one that does not fit the data, or whose loss, step or
    metrics do not."""
    count: int | None = None
    notes: dict[str, None] = {}
    seen: set[str] = set()
    for config in configs:
        train = config["train"]
        own = train["optimizer"] if "class_path" in train["optimizer"] else None
        code = [train["loss"], train.get("step"), train.get("metrics"), _followed(train)]
        key = json.dumps([config["model"], train["groups"], own, code], sort_keys=True)
        if key in seen:
            continue
        seen.add(key)
        pulse.beat()
        try:
            parameters, told = _check_model(config["model"], train, raw, workplace, metric)
            notes |= dict.fromkeys(told)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            parameters = 0  # Smaller models of the run may fit; this one's trials say so.
        count = parameters if count is None else count
    return count or 0, list(notes)


def _followed(train: Mapping[str, Any]) -> str | None:
    """The metric that a plateau follows."""
    schedule = train["schedule"]
    return schedule["metric"] if schedule.get("name") == "plateau" else None


# What torch's own layers say of an input that does not fit them.
_MISFIT = re.compile(
    r"shape|size|dimension|channels|expected \d|\dD\b|dtype|scalar type", re.IGNORECASE
)


def _hint_images(raw: data.Raw) -> str:
    """How samples of two dimensions are taken the other way, "" where they have not two."""
    if raw.images is not None:
        return _IMAGES_HINTS[raw.images]
    return _IMAGES_HINTS[True] if raw.channelled else ""


_IMAGES_HINTS = {
    True: "samples of two dimensions are taken for images, which get a channel axis: for sequences "
    "write images: false under data",
    False: "samples of two dimensions are taken as they are: for images of one channel write "
    "images: true under data",
}


def _check_model(
    config: Mapping[str, Any],
    train: Mapping[str, Any],
    raw: data.Raw,
    workplace: Workplace,
    metric: str | None,
) -> tuple[int, list[str]]:
    name = config.get("class_path") or config["name"]
    refusal = catalogue.model_refusal(name, raw.task) if name in catalogue.MODELS else None
    if refusal is not None:
        raise ModelError(refusal[0], hint=refusal[1])
    if name in catalogue.MODELS and shape_of(raw.x) is None:
        raise ModelError(
            f"it takes one array of inputs, and a sample has {name_parts(raw.x)}",
            where=name,
            hint="a model of your own (model.class_path) takes them by name, or by place",
        )
    usual = {"loss": train["loss"] or catalogue.default_loss(raw.task)}
    criterion = Criterion({**train, **usual}, raw.task, raw.outputs, workplace)
    batch = _some(raw, train)
    pair = next(split(batch, 2))
    x = map_tree(torch.from_numpy, data.take(raw, np.arange(2)).x)
    shape = shape_of(x)
    fits = criterion.task in SUMS
    model = build_model(config, shape, raw.outputs, workplace, x, fits=fits)
    parameters = sum(each.numel() for each in model.parameters() if each.requires_grad)
    if not parameters:
        raise ModelError("the model has no parameters to train", where=name)
    if "class_path" in train["optimizer"]:
        _ = Training(model, train, workplace, criterion).optimizer
    notes: list[str] = []
    check_groups((key for key, each in model.named_parameters() if each.requires_grad), train, name)
    if criterion.step is None:
        try:
            outputs = _forward(model, pair.x)
        except (RuntimeError, TypeError, ValueError) as error:
            misfit = _MISFIT.search(str(error))
            if isinstance(error, TypeError):  # Of a mapping, arguments that it does not take.
                misfit = misfit if shape is not None else re.search("argument|keywords", str(error))
            if is_out_of_memory(error) or not misfit:
                return parameters, notes
            told = shape if shape is not None else _outline(pair.x)
            raise ModelError(
                f"the model does not take samples of shape {told}: {error}",
                where=name,
                hint=_hint_images(raw),
            ) from error
        except BaseException as error:  # A user's code may raise anything.
            if is_interrupt(error):
                raise
            if find_missing(error, workplace.folder, workplace.allowed):  # No trial would find it.
                message = f"its forward raised {type(error).__name__}: {error}"
                raise ModelError(message, where=name) from error
            return parameters, notes
        classes = find_classes(config, shape, raw.outputs, workplace)
        _check_outputs(outputs, pair, raw, criterion, name, classes)
        if classes[0].taken:
            notes.append(
                f"{name} is given num_classes={raw.outputs} beside its init_args: without it, it "
                f"gives {classes[0].without} for 2 samples"
            )
        if "class_path" in config:
            notes += _tell_outputs(outputs, model, pair, criterion, name)
    try:
        check_criterion(criterion, model, batch)
    except ModelError as error:
        taken = criterion.step is None or not _MISFIT.search(str(error.__cause__ or ""))
        if not taken and raw.images is not None:
            error.hint = error.hint or _IMAGES_HINTS[raw.images]
        raise
    for wanted, use in ((metric, "is the objective"), (_followed(train), "the schedule follows")):
        if criterion.names and wanted not in (None, "loss", *criterion.names):
            raise ModelError(
                f"its evaluate measures no '{wanted}', which {use}",
                where="train.step",
                hint=suggest(str(wanted), ["loss", *criterion.names]),
            )
    return parameters, notes


def name_parts(x: Tree) -> str:
    """The names of a sample's arrays, x in place of that of a lone one."""
    return ", ".join(key for key, _ in leaves(x, "x"))


def _outline(x: Tree) -> str:
    return ", ".join(f"{key} {list(each.shape[1:])}" for key, each in leaves(x))


TRIED = 256
"""Samples that a loss, a step and metrics of the user's are tried on."""


def _some(raw: data.Raw, train: Mapping[str, Any], most: int = TRIED) -> Batch:
    """Samples spread over the whole, as a training sees them."""
    size = count(raw.x)
    index = np.arange(min(most, size)) * size // min(most, size)
    view = find_view(train)
    batch = view_portion(data.take(raw, index, own=bool(view)), raw.form, view)

    def convert(array: Any) -> Tensor:
        found = torch.from_numpy(np.ascontiguousarray(array))
        return found.float() if found.dtype == torch.float64 else found

    return Batch(*(map_tree(convert, part) for part in batch))


_ALONE = (
    "return the tensor that the loss takes alone, first in a tuple, or as 'logits' in a mapping; a "
    "step of your own (train.step) may use all of them"
)


def _check_outputs(
    given: Any,
    pair: Batch,
    raw: data.Raw,
    criterion: Criterion,
    name: str,
    classes: tuple[Classes, tuple[str, ...]],
) -> None:
    """Raises ModelError for outputs of another shape than the task's metrics, or its loss, take.
    `classes` is what `find_classes` says of the model."""
    outputs = find_output(given) if criterion.task in SUMS else given
    found = list(outputs.shape) if isinstance(outputs, Tensor) else describe_outputs(outputs)
    if raw.task == "own" and not criterion.stacks:
        return
    needed = [2, *(pair.x.shape[1:] if raw.task == "language" else ()), raw.outputs]
    what = {"classification": "classes", "language": "characters"}.get(raw.task, "targets")
    told = f"{needed} is needed ({raw.outputs} {what})"
    if raw.task == "own":
        needed = list(pair.y.shape) if isinstance(pair.y, Tensor) else []
        told = f"{needed} is needed, the shape of the targets, for the loss {criterion.name}"
        if isinstance(pair.y, Tensor) and not pair.y.is_floating_point():
            raise ModelError(
                f"the targets are {str(pair.y.dtype).removeprefix('torch.')}, and the loss "
                f"{criterion.name} takes floating-point numbers",
                where=raw.name,
            )
    if raw.task == "classification" and isinstance(criterion.own, BINARY):
        loss = type(criterion.own).__name__
        if raw.outputs != 2:
            raise ModelError(
                f"{loss} tells two classes apart, and the data have {raw.outputs}",
                where="train.loss",
                hint="leave the loss out: cross_entropy is for any number of classes",
            )
        if found in ([2], [2, 1]):
            return
        hint = (
            "leave the loss out, as cross_entropy takes one number a class; for class weights "
            "write loss: {class_path: torch.nn.CrossEntropyLoss, init_args: {weight: [1.0, 3.0]}}"
        )
        if name not in catalogue.MODELS:
            one = "num_classes: 1 in its init_args" if "num_classes" in classes[1] else "its head"
            hint = f"give the model one output ({one}), or {hint}"
        raise ModelError(
            f"the model gives {found} for 2 samples; {loss} takes one number a sample, "
            "[2] or [2, 1]",
            where=name,
            hint=hint if isinstance(outputs, Tensor) else _ALONE,
        )
    if criterion.stacks or isinstance(criterion.own, nn.CrossEntropyLoss):
        logits = criterion.as_classes(outputs)  # A logit alone serves two classes.
        found = list(logits.shape) if isinstance(logits, Tensor) else found
    if found == needed:
        return
    hint = ""
    own_loss = criterion.own is not None and not isinstance(criterion.own, nn.CrossEntropyLoss)
    if not criterion.stacks and own_loss and raw.task != "language":
        hint = f"the metrics of a {raw.task} need that shape; {OTHER_OUTPUTS}"
    elif not isinstance(outputs, Tensor):
        hint = _ALONE
    elif raw.task != "own":
        hint = _hint_classes(raw.outputs, what, *classes)
    hint = hint or _hint_images(raw)
    raise ModelError(
        f"the model gives {describe_outputs(given)} for 2 samples; {told}", where=name, hint=hint
    )


_CLASSES = re.compile(
    r"(num|n|nb|no)_?(class|label|output|target|categor|cls)\w*|(out|output)_(features|dim|size|"
    r"channels|width)|(class|label|output|target)e?s|(dim|d|c|n)_out|nclass\w*|vocab_size"
)
"""Arguments by other names than num_classes that may say how many outputs a model has."""


def _hint_classes(outputs: int, what: str, classes: Classes, names: tuple[str, ...]) -> str:
    """How a model may be told how many outputs it needs."""
    if classes.reason:
        return (
            f"{classes.reason}; write a function that builds the model and replaces its last "
            "layer, and name that"
        )
    if "num_classes" in names:
        return f"init_args: {{num_classes: {outputs}}}"
    likely = next((each for each in names if _CLASSES.fullmatch(each)), None)
    if likely is not None:
        return f"init_args: {{{likely}: {outputs}}}"
    has = f"its arguments are {', '.join(names)}" if names else "it takes no arguments"
    return f"{has}; one named num_classes would be given the number of {what}"


def _tell_outputs(
    given: Any, model: nn.Module, pair: Batch, criterion: Criterion, name: str
) -> list[str]:
    """What of a user's model is known to go wrong with its loss, or not to be used. `given` is
    what it gives for two samples; more would take long."""
    notes = []
    outputs = find_output(given) if criterion.task in SUMS else given
    if outputs is not given and isinstance(outputs, Tensor):
        which = "its 'logits'" if isinstance(given, Mapping) else "the first"
        notes.append(
            f"{name} gives {describe_outputs(given)}: {which} {list(outputs.shape)} is what the "
            "loss and the metrics take"
        )
    loss = criterion.name or type(criterion.own).__name__
    crossed = loss == "cross_entropy" or isinstance(criterion.own, nn.CrossEntropyLoss)
    logistic = isinstance(criterion.own, nn.BCEWithLogitsLoss)
    single = isinstance(outputs, Tensor) and outputs.shape[1:].numel() == 1
    try:
        with torch.enable_grad():
            ending = find_ending(criterion.forward(model.eval(), pair))
        if crossed and not ending and are_probabilities(model, pair.x, _forward_main):
            ending = "softmax"
    except BaseException as error:  # A user's code may raise anything; its trials say so.
        if is_interrupt(error) or is_out_of_memory(error):
            raise
        return notes
    if ending == "sigmoid" and (logistic or (crossed and single)):
        message = f"{name} ends in a sigmoid, and the loss {loss} takes what goes into one"
        way = "leave the sigmoid out of its forward, or write loss: torch.nn.BCELoss"
        if criterion.task == "classification":  # Its accuracy would go by the sign.
            raise ModelError(message, hint=way)
        return [*notes, f"{message}: {way}"]
    if crossed and ending in ("softmax", "sigmoid"):
        notes.append(
            f"{name} ends in a {ending}, and the loss {loss} takes logits, of which it makes the "
            f"softmax itself: it learns better with the {ending} left out of its forward"
        )
    if isinstance(criterion.own, nn.NLLLoss) and ending != "log_softmax":
        with torch.no_grad():
            total = criterion.forward(model, pair).double().logsumexp(-1)
        if bool((total.abs() > 1e-2).any()):
            notes.append(
                f"the loss NLLLoss takes logarithms of probabilities, and those that {name} gives "
                "are none: write loss: cross_entropy, or end its forward in log_softmax"
            )
    return notes


def _forward_main(model: nn.Module, x: Tree) -> Any:
    return find_output(call(model, x))


@torch.no_grad()
def _forward(model: nn.Module, x: Tree) -> object:
    return call(model.eval(), x)


def find_images(configs: Iterable[Config], raw: data.Raw, workplace: Workplace) -> bool:
    """Whether the models, and steps, of a search take samples of two dimensions as images: as the
    source has them, unless one takes them the other way alone. Raises ModelError where others do
    not."""
    assert raw.images is not None
    distinct = {
        json.dumps([each["model"], each["train"].get("step")], sort_keys=True): each
        for each in configs
    }
    natural = {key: _fits(each, raw, workplace) for key, each in distinct.items()}
    if all(natural.values()):
        return raw.images
    swapped = {**next(iter(distinct.values()))["data"], "images": not raw.images}
    other = load_raw(swapped, workplace)
    fitting = {key: _fits(each, other, workplace) for key, each in distinct.items()}
    need = [key for key in distinct if fitting[key] and not natural[key]]
    refuse = [key for key in distinct if natural[key] and not fitting[key]]
    if need and refuse:
        one, two = (_name_of(distinct[keys[0]]) for keys in (need, refuse))
        with_channel, without = (two, one) if raw.images else (one, two)
        raise ModelError(
            f"{with_channel} takes samples of two dimensions with a channel axis alone, {without} "
            "without one alone; points of one run are measured on the same data",
            hint="search them by two specs, one with images: true under data, one with images: "
            "false",
        )
    return raw.images ^ bool(need)


def _name_of(config: Config) -> str:
    return str(config["model"].get("class_path") or config["model"]["name"])


def _fits(config: Config, raw: data.Raw, workplace: Workplace) -> bool:
    """Whether a model can be built for the data, takes two samples, and gives outputs of the shape
    that the task asks for; or whether a step takes them with it."""
    train = config["train"]
    try:
        x = map_tree(torch.from_numpy, data.take(raw, np.arange(2)).x)
        model = build_model(config["model"], shape_of(x), raw.outputs, workplace, x)
        if train.get("step") is not None:
            criterion = Criterion(train, raw.task, raw.outputs, workplace)
            with torch.enable_grad():
                criterion.loss(model.eval(), _some(raw, train, 2))
            return True
        outputs = find_output(_forward(model, x))
    except BaseException as error:  # A user's code may raise anything.
        if is_interrupt(error):
            raise
        return False
    alone = raw.task == "classification" and raw.outputs == 2  # A logit serves two classes.
    shapes = [[2, raw.outputs], *([[2], [2, 1]] if alone else [])]
    return raw.task == "own" or list(getattr(outputs, "shape", ())) in shapes
