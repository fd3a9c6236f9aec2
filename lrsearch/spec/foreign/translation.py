"""The lines under data, model, train and search that a word of another tool stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from lrsearch import catalogue
from lrsearch.space import is_number
from lrsearch.spec.document import as_mapping
from lrsearch.spec.foreign import names
from lrsearch.spec.foreign.lines import Line, Path
from lrsearch.spec.foreign.names import snake
from lrsearch.spec.foreign.ranges import each, is_finite, is_searched, lasting, number
from lrsearch.spec.foreign.schedules import left_out, translate_schedule
from lrsearch.spec.foreign.words import look_up, means
from lrsearch.spec.values import Unfit, check_value, is_auto, write

_PRECISIONS = {
    "32": "float32", "32-true": "float32", "fp32": "float32", "full": "float32",
    "torch.float32": "float32", "16": "bfloat16", "16-mixed": "bfloat16", "fp16": "bfloat16",
    "bf16": "bfloat16", "bf16-mixed": "bfloat16", "float16": "bfloat16", "half": "bfloat16",
    "mixed": "bfloat16", "torch.bfloat16": "bfloat16", "torch.float16": "bfloat16",
    "bf16-true": "bfloat16", "mixed_float16": "bfloat16", "mixed_bfloat16": "bfloat16",
    "16-true": "bfloat16", "true": "bfloat16", "false": "float32", "no": "float32",
    "amp": "bfloat16", "yes": "bfloat16",
}  # fmt: skip


# values


def precision(value: Any) -> str | None:
    """The precision of a word such as bf16-mixed; a float16 is bfloat16 here."""
    return _PRECISIONS.get(str(value).lower())


def _count(value: Any) -> Any:
    if isinstance(value, list):
        return len(value)
    return value if type(value) is int else None


_FORMS: dict[str, Callable[[Any], Any]] = {
    **{unit: lambda value, unit=unit: lasting(value, unit) for unit in ("ep", "ba", "sp", "dur")},  # type: ignore[misc]
    "on": precision,
    "folds": lambda value: {"folds": number(value)} if type(number(value)) is int else None,
    "rest": lambda value: round(1 - float(number(value)), 6) if _share(value) else None,
    "count": _count,
}


def _share(value: Any) -> bool:
    found = number(value)
    return isinstance(found, float) and 0 < found < 1


def _named(target: str, value: Any) -> Any:
    """The value of a mapping that names a component, in lrsearch's words; unchanged otherwise."""
    found: Any = None
    if target == "train.optimizer":
        found = names.optimizer(value)
    elif target == "train.loss":
        found = names.loss(value)
    elif target == "train.precision":
        found = precision(value)
    elif target == "model":
        found = names.model(value)
    elif target == "data":
        found = names.data(value)
    return value if found is None else found


_SCALARS = frozenset(
    (
        *(f"train.{key}" for key in ("lr", "batch_size", "budget", "clip_norm", "optimizer")),
        *(f"train.{key}" for key in ("schedule", "loss", "label_smoothing", "layer_decay")),
        "train.optimizer.weight_decay", "train.optimizer.momentum",
    )
)  # fmt: skip
"""Keys that take one value: a list for one of them is a choice."""


def is_choice(target: str, value: Any) -> bool:
    """Whether a word's value is a list or a range, where the word takes one value."""
    return target in _SCALARS and (is_range(value) or (isinstance(value, list) and bool(value)))


def is_range(value: Any) -> bool:
    """Whether a value is a range, both of its ends given."""
    return isinstance(value, Mapping) and "min" in value and "max" in value


# lines


def search_lines(target: str, form: str, value: Any, top: Mapping[str, Any]) -> list[Line]:
    """Lines under `search` for a word that is searched; its fixed line for one value."""
    if not is_searched(value):
        return fixed_lines(("search",), target, form, value, top)
    if target in ("seed", "seeds"):
        return [Line(("seeds",), len(value))] if isinstance(value, list) else []
    head, _, rest = target.partition(".")
    if head not in ("train", "model") or not rest or rest.startswith("schedule."):
        return []
    if rest == "optimizer.betas":
        return []
    if form in _FORMS:
        value = each(_FORMS[form], value)
        if any(part is None for part in (value if isinstance(value, list) else value.values())):
            return []
    if target == "model.hidden" and isinstance(value, list):
        value = [[part] if type(part) is int else part for part in value]
    told = ""
    if rest in ("optimizer", "schedule", "loss", "precision"):
        if not isinstance(value, list):
            return []
        if rest == "schedule":
            told = next(filter(None, (left_out(part, base_rate(top)) for part in value)), "")
        value = [translate_option(rest, part, top) for part in value]
    if rest.startswith("optimizer.") and not _takes(top, rest.partition(".")[2]):
        return []
    if rest == "warmup":
        rest = "warmup.for"
    name = target if head == "model" else rest
    return [Line(("search", name), value, told)]


def translate_option(name: str, value: Any, top: Mapping[str, Any]) -> Any:
    """An option of a searched schedule, optimizer, loss or model, in lrsearch's words."""
    target = name if name == "model" else f"train.{name}"
    if target == "train.schedule":
        found = translate_schedule(value, base_rate(top))
        return found[0] if found else value
    found = _named(target, value)
    own = as_mapping(value).get("lr")
    if name == "optimizer" and own is not None and found is not value:
        return {**({"name": found} if isinstance(found, str) else found), "lr": own}
    return found


def base_rate(top: Mapping[str, Any]) -> Any:
    """The base rate, where a document fixes one."""
    train = top.get("train")
    for part in (train, top):
        for key, value in as_mapping(part).items():
            if means(str(key)) == "train.lr":
                rate = number(value)
                if is_number(rate):
                    return rate
    return None


def _takes(top: Mapping[str, Any], argument: str) -> bool:
    """Whether the fixed optimizer of a document has an argument."""
    base = _optimizer(top)
    entry = catalogue.OPTIMIZERS.get(base.get("name", ""))
    return entry is not None and argument in entry.parameters


def _optimizer(top: Mapping[str, Any]) -> dict[str, Any]:
    """The fixed optimizer of a document, in lrsearch's words, by any word for it."""
    found = names.optimizer(_given_optimizer(top))
    if found is None:
        return {}
    return {"name": found} if isinstance(found, str) else dict(found)


def _given_optimizer(top: Mapping[str, Any]) -> Any:
    """The fixed optimizer of a document as it stands there."""
    for part in (top.get("train"), top):
        for key, value in as_mapping(part).items():
            if means(str(key)) == "train.optimizer":
                return value
    return "sgd"


_WHOLE = ("random", "bayes", "confirm", "objective", "seed", "seeds", "name", "max_failures")
"""Keys of a spec that are taken over as they are."""


def fixed_lines(
    path: Path, target: str, form: str, value: Any, top: Mapping[str, Any]
) -> list[Line]:
    """Lines for a word that has one value."""
    if form in _FORMS:
        given, value = value, _FORMS[form](value)
        if value is None:
            return _checked_line("evaluate", given) if target == "train.evaluate" else []
    head, _, rest = target.partition(".")
    if target.startswith("train.optimizer."):
        return optimizer_lines(top, rest.partition(".")[2], value)
    if target.startswith("train.schedule"):
        return _schedule_lines(top, rest.partition(".")[2], value)
    if target == "train.optimizer":
        lines = optimizer_lines(top, given=value)
        return lines + _beside(value)
    if target in ("train.loss", "train.precision", "model", "data"):
        found = _named(target, value)
        if target == "train.precision" and found not in ("float32", "bfloat16"):
            return []
        half = target == "train.precision" and "16" in str(value) and "bf" not in str(value)
        told = "there is no float16, whose small range needs a scaler of losses" if half else ""
        return [Line(tuple(target.split(".")), found, told)]
    if target.startswith("train.warmup."):
        train = top.get("train")
        warmup = train.get("warmup") if isinstance(train, Mapping) else None
        inner = {target.rpartition(".")[2]: number(value)}
        for word, part in as_mapping(warmup).items():
            meant, unit = look_up(snake(str(word)), "warmup") or (f"train.warmup.{word}", "")
            if meant.startswith("train.warmup."):
                part = _FORMS[unit](part) if unit else number(part)
                inner.setdefault(meant.rpartition(".")[2], part)
        inner = {key: inner[key] for key in catalogue.WARMUP if inner.get(key) is not None}
        return [Line(("train", "warmup"), inner)]
    if target == "train.warmup" and lasting(value, "ba") in ("0ba", "0ep"):
        return [Line(("train", "warmup"), None)]
    if target == "train.clip_norm" and number(value) in (0, None):  # False is 0, too.
        return [Line(("train", rest), None)]
    if head == "train":
        return _checked_line(rest, number(value))
    if head in ("data", *catalogue.SETTINGS) and rest:
        return _inside(path, head, rest, value, top)
    if target in _WHOLE:
        return [Line((target,), number(value) if target != "name" else value)]
    if head == "model" and rest:
        return _model_line(rest, value, top, snake(str(path[-1])))
    return []


def _checked_line(key: str, value: Any) -> list[Line]:
    """A line under `train`, if its value is valid there, or its meaning is known; a rate that is to
    be found stands under `search`."""
    if key == "lr" and is_auto(value):
        return [Line(("search", "lr"), value)]
    parameter = catalogue.WARMUP["for"] if key == "warmup" else catalogue.TRAIN[key]
    if isinstance(value, Mapping):
        return [Line(("train", key), value)]
    try:
        check_value(parameter, value)
    except Unfit as error:
        return [Line(("train", key), error.meant, error.remark)]
    except ValueError:
        return []
    return [Line(("train", key), value)]


def _inside(path: Path, head: str, key: str, value: Any, top: Mapping[str, Any]) -> list[Line]:
    if head == "data":
        if not isinstance(top.get("data"), str | Mapping):
            return []
        if key in ("target", "size", "separator", "drop", "categorical", "missing", "samples",
                   "context", "source"):  # fmt: skip
            whole = names.data(top["data"])
            given = top["data"].get("name") if isinstance(top["data"], Mapping) else None
            known = catalogue.DATA.get(str(given))
            if known is None:
                return [Line(("data",), whole)] if isinstance(whole, dict) else []
            if key not in known.parameters:
                return []
        if key in ("validation", "test") and value in (True, "val", "valid", "validation"):
            value = "source"
        share = number(value)
        if key in ("validation", "test") and is_finite(share) and not 0 < share < 1:
            return []
        if key == "transforms" and not isinstance(value, list):
            return []
        if key == "missing" and value not in ("drop", "mean"):
            value = "drop" if value is True else "mean"
        if key == "standardize" and not isinstance(value, bool):
            value = True
    if head in catalogue.SETTINGS:
        try:
            check_value(catalogue.SETTINGS[head][key], number(value))
        except ValueError:
            return []
    line = into(head, key, number(value), top)
    if key == "trials":
        told = f"for lrsearch random: random: {{trials: {write(number(value))}}}"
        other = "random" if path[0] == "random" else "bayes"
        line = replace(into(other, key, number(value), top), remark=told if other == head else "")
    return [line]


def into(section: str, key: str, value: Any, top: Mapping[str, Any]) -> Line:
    """A line for a key under a top-level mapping, which may be there, a bare name, or missing."""
    there = top.get(section)
    if isinstance(there, Mapping):
        return Line((section, key), value)
    if isinstance(there, str):
        name = "metric" if section == "objective" else "name"
        return Line((section,), {name: there, key: value})
    return Line((section,), {key: value})


# optimizers and schedules


def optimizer_lines(
    top: Mapping[str, Any], argument: str = "", value: Any = None, given: Any = None
) -> list[Line]:
    """The optimizer of a document, by any word for it, with its arguments that stand outside of its
    mapping, and the rate that stands inside. `given` takes the place of the document's own."""
    base = _optimizer(top if given is None else {"optimizer": given})
    name = base.get("name")
    if name not in catalogue.OPTIMIZERS:
        return []
    wanted: dict[str, Any] = {}
    for key, part in (*_loose_arguments(top), *([(argument, value)] if argument else [])):
        if key == "betas":
            wanted |= names.read_betas(part)
        elif isinstance(number(part), str):
            return []
        else:
            wanted[key] = number(part)
    told = ""
    missing = [key for key in wanted if key not in catalogue.OPTIMIZERS[name].parameters]
    if missing:
        base = {} if "beta1" in wanted else base  # Of another family.
        needed = {*wanted, *base} - {"name"}
        fitting = [
            other
            for other in ("adamw", "sgd", *catalogue.OPTIMIZERS)
            if needed <= catalogue.OPTIMIZERS[other].parameters.keys()
        ]
        if not fitting:
            return []
        told, name = f"{name} takes no {' and no '.join(missing)}", fitting[0]
    left = names.without_place(_given_optimizer(top) if given is None else given)
    if left and not told:
        told = f"{name} takes no {' and no '.join(left)}"
    whole = {**base, "name": name, **wanted}
    lines = [Line(("train", "optimizer"), whole if len(whole) > 1 else name, told)]
    train = top.get("train")
    return lines + (_beside(train.get("optimizer")) if isinstance(train, Mapping) else [])


def _beside(optimizer: Any) -> list[Line]:
    """The rate and the norm to clip at that stand inside of an optimizer's mapping."""
    found = {means(str(key)): part for key, part in names.split(optimizer)[1].items()}
    return [
        Line(("train", key), number(found[f"train.{key}"]))
        for key in ("lr", "clip_norm")
        if f"train.{key}" in found
    ]


def _loose_arguments(top: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Arguments of the optimizer at the top level of a document or of its `train`."""
    for part in (top, top.get("train")):
        for key, value in as_mapping(part).items():
            target = means(str(key))
            if target.startswith("train.optimizer.") and not isinstance(value, Mapping):
                yield target.rpartition(".")[2], value


def _schedule_lines(top: Mapping[str, Any], argument: str, value: Any) -> list[Line]:
    """The schedule, with its arguments that stand outside of its mapping: `step_size`, `gamma`,
    `milestones`."""
    loose: dict[str, Any] = {}
    given: Any = None
    for part in (top, top.get("train")):
        for key, each_ in as_mapping(part).items():
            target = means(str(key))
            if target == "train.schedule":
                given = each_
            elif target.startswith("train.schedule."):
                argument_ = target.rpartition(".")[2]
                own = argument_ in ("gamma", "step_size", "milestones")
                word = snake(str(key))
                loose[argument_ if own and word != "decay_rate" else word] = each_
    if not argument:
        given = value
    if given in (None, False) and not loose:
        return [Line(("train", "schedule"), "constant")]
    name, arguments = names.split(given)
    if not name and not arguments and not loose:
        return []
    if not name:
        name = "cosine"
        for word, meant in (("milestones", "multistep"), ("step", "step"), ("pct", "one_cycle"),
                            ("gamma", "exponential"), ("decay", "exponential")):  # fmt: skip
            if any(word in key for key in loose):
                name = meant
                break
    known = {"multistep": "MultiStepLR", "step": "StepLR", "exponential": "ExponentialLR",
             "one_cycle": "OneCycleLR", "cosine": "CosineAnnealingLR"}.get(name, name)  # fmt: skip
    whole = {"name": known if loose else name, **arguments, **loose}
    found = translate_schedule(whole, base_rate(top))
    if found is None:
        return []
    schedule, warmup = found
    told = left_out(whole, base_rate(top))
    lines = [Line(("train", "schedule"), schedule, told)]
    train = top.get("train")
    has = isinstance(train, Mapping) and train.get("warmup") is not None
    if warmup is not None and not has and "warmup" not in str(sorted(map(str, top))):
        lines.append(Line(("train", "warmup"), warmup))
    return lines


def model_argument(word: str, top: Mapping[str, Any]) -> str:
    """The argument of the fixed built-in model of a document that a word means, "" for none."""
    model = top.get("model")
    name = model.get("name") if isinstance(model, Mapping) else model
    entry = catalogue.MODELS.get(str(name))
    argument = word if entry and word in entry.parameters else names.MODEL_WORDS.get(word, word)
    return argument if entry is not None and argument in entry.parameters else ""


_COUNTED = ("layers", "hidden_layers")
"""Words for the hidden layers whose number is that of them, not the width of one."""

_WIDTH = 64
"""Units of a hidden layer that nobody has said."""

_MOST_LAYERS = 20


def _model_line(key: str, value: Any, top: Mapping[str, Any], word: str) -> list[Line]:
    model = top.get("model")
    name = model.get("name") if isinstance(model, Mapping) else model
    entry = catalogue.MODELS.get(str(name))
    if entry is None or key not in entry.parameters:
        return []
    if key == "hidden" and type(value) is int:  # {layers: 2, units: 128}
        said = {snake(str(each)): part for each, part in as_mapping(model).items()}
        meant = {each: part for each, part in said.items() if type(part) is int}
        widths = [
            part
            for each, part in meant.items()
            if names.MODEL_WORDS.get(each) == key and each not in _COUNTED
        ]
        counts = [part for each, part in meant.items() if each in _COUNTED]
        counts += [value] if word in _COUNTED else []
        widths += [value] if word not in _COUNTED else []
        value = [widths[0] if widths else _WIDTH] * min(counts[0] if counts else 1, _MOST_LAYERS)
    elif entry.parameters[key].kind == "ints":
        value = [value] if type(value) is int else value
    if key == "activation":
        word = names.plain(value)
        value = {"swish": "silu", "sigmoid": "tanh"}.get(word, word)
    return [Line(("model", key), value)]
