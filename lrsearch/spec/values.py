"""Values against parameters of the catalogue, and values as YAML."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from lrsearch import duration
from lrsearch.catalogue import Parameter
from lrsearch.errors import nearest, suggest
from lrsearch.space import is_number
from lrsearch.spec.document import plain_scalar
from lrsearch.spec.foreign.ranges import is_finite, lasting
from lrsearch.spec.foreign.ranges import number as read_number
from lrsearch.terminal import visible_line

MAX_WHOLE = 2**53
"""The largest whole number up to which every one is a float, too."""

MAX_LENGTH = 1e12
"""The longest duration, in any unit; a longer one is a slip."""


AUTO = "auto"
"""The value in place of a range of rates that a range test is to find."""


def is_auto(raw: Any) -> bool:
    """Whether a value asks for a range to be found, rightly written or not."""
    if isinstance(raw, Mapping):
        ends = (raw.get("min"), raw.get("max"))
        return AUTO in raw or any(isinstance(end, str) and is_auto(end) for end in ends)
    return isinstance(raw, str) and raw.strip().lower() == AUTO


# values as YAML


def show(value: object) -> str:
    """A value as a user would write it in YAML, cut where it is long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f"'{value}'" if isinstance(value, str) else str(value)
    if isinstance(value, dict | list):
        text = write(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def write(value: object, *, block: bool = False) -> str:
    """A value as YAML in one line, which reads as that value again: {min: 1e-4, max: 0.1}. In a
    `block`, outside of braces, text needs fewer quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{write(key)}: {write(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(write, value)) + "]"
    if isinstance(value, str):
        pattern = _PLAIN_BLOCK if block else _PLAIN
        plain = pattern.fullmatch(value) and plain_scalar(value) == value
        return value if plain and visible_line(value) == value else _quote(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return {"inf": ".inf", "-inf": "-.inf"}.get(str(value), ".nan")
        short = next(
            text for text in (f"{value:.{count}e}" for count in range(17)) if float(text) == value
        )
        digits, _, power = short.partition("e")
        return min(repr(value), f"{digits}e{int(power)}", key=len)
    return show(value)


def _quote(text: str) -> str:
    if visible_line(text) != text:  # Only double quotes have escapes.
        return '"' + visible_line(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'
    return "'" + text.replace("'", "''") + "'"


def bare(text: str, *, listed: bool = False) -> str:
    """A text for a reader: in quotes where it reads as another value, or not all of it shows;
    `listed`, also where it holds what stands between the values of a list or a mapping."""
    hidden = not text or " ".join(text.split()) != text or visible_line(text) != text
    other = plain_scalar(text) != text or text[:1] in ("[", "{", "'", '"')
    between = listed and re.search(r"[,\[\]{}]|: ", text) is not None
    return _quote(text) if hidden or other or between else text


_PLAIN_BLOCK = re.compile(r"[A-Za-z0-9_./~$](?:(?!: | #)[ -~])*(?<![ :])")
_PLAIN = re.compile(r"[A-Za-z0-9_./~$-]([A-Za-z0-9_./~$()*+%= -]*[A-Za-z0-9_./~$()*+%=-])?")


# values checked


class Unfit(ValueError):
    """Raised for a value of the wrong kind whose meaning is known: `meant`, and in `remark` another
    possible meaning."""

    def __init__(self, message: str, meant: Any, remark: str = "") -> None:
        super().__init__(message)
        self.meant = meant
        self.remark = remark


def check_value(parameter: Parameter, value: Any) -> Any:
    """The value in its one canonical form. Raises ValueError naming the given and the allowed
    values, Unfit where the meaning is known."""
    if value is None and parameter.optional:
        return None
    check: Callable[[Parameter, Any], Any] = _CHECKS.get(parameter.kind, _check_text)
    try:
        return check(parameter, value)
    except ValueError as error:
        if parameter.optional and isinstance(value, str) and value.strip().lower() in NOTHING:
            raise Unfit(str(error), None) from None
        raise


def read_pairs(raw: Any) -> dict[str, Any] | None:
    """The mapping that a list of mappings, or a text such as a=1, b=2, means; None for others."""
    parts = raw if isinstance(raw, list) else []
    if parts and all(isinstance(part, Mapping) for part in parts):
        return {key: value for part in parts for key, value in part.items()}
    if isinstance(raw, str) and len(raw) <= LONGEST_PAIRS:
        found = [re.fullmatch(r"(\w+)\s*[=:]\s*(\S+)", part) for part in re.split(r"[,;]\s*", raw)]
        if all(found):
            return {each[1]: plain_scalar(each[2]) for each in found if each}
    return None


LONGEST_PAIRS = 200
"""Characters of a text of which pairs are read."""


def _check_text(parameter: Parameter, value: Any) -> str:
    if not isinstance(value, str) or not value:
        told = f"{show(value)} is not {parameter.allowed()}"
        if isinstance(value, list) and value and isinstance(value[0], str):
            told = f"{told}: it takes one" if len(value) > 1 else told
            raise Unfit(told, value[0])
        raise ValueError(told)
    if parameter.kind == "character" and (len(value) != 1 or value in '"\r\n'):
        told = f"{show(value)} is not {parameter.allowed()}"
        if value.lower() in _SIGNS:
            raise Unfit(told, _SIGNS[value.lower()])
        raise ValueError(told)
    if parameter.choices and value not in parameter.choices:
        close = nearest(value, parameter.choices)
        word = _bare(value).removesuffix("sampler")
        meant = _bare(_ALIASES.get(word, word))
        alike = [each for each in parameter.choices if _bare(each) == meant]
        if alike:
            raise Unfit(f"{show(value)} is not {parameter.allowed()}", alike[0])
        told = f"{show(value)} is not {parameter.allowed()}"
        if close:
            raise Unfit(f"{told}; did you mean '{close}'?", close)
        raise ValueError(told)
    return value


def _check_bool(_: Parameter, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    message = f"{show(value)} is not true or false"
    if str(value).lower() in _BOOLEANS:
        raise Unfit(message, _BOOLEANS[str(value).lower()])
    if isinstance(value, str) and (close := nearest(value, ("true", "false"))):
        raise Unfit(f"{message}; did you mean {close}?", close == "true")
    raise ValueError(message)


NOTHING = {"none", "nil", "off", "no", "false", "nothing", "never", "disabled", "undefined"}
"""Words elsewhere for null."""

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "y", "1"), True),
    **dict.fromkeys(("false", "no", "off", "n", "0"), False),
}


_SIGNS = {
    **dict.fromkeys(("\\t", "tab", "tabs", "tsv"), "\t"),
    **dict.fromkeys(("comma", "csv"), ","), "semicolon": ";", "pipe": "|",
    **dict.fromkeys(("space", "blank", "whitespace", "\\s", "\\s+"), " "),
}  # fmt: skip
"""Words for a character between two cells."""


_ALIASES = {
    **dict.fromkeys(("binary", "multiclass", "classifier", "classify", "class", "cls",
                     "binaryclassification", "multiclassclassification"), "classification"),
    **dict.fromkeys(("regress", "regressor", "continuous", "numeric", "reg"), "regression"),
    **dict.fromkeys(("gaussianprocess", "gaussian", "gpr", "kriging", "botorch", "bo"), "gp"),
    **dict.fromkeys(("parzen", "treeparzenestimator", "treeparzen", "hyperopt", "optuna"), "tpe"),
    **dict.fromkeys(("qmc", "quasirandom", "halton", "lhs", "latinhypercube"), "sobol"),
    **dict.fromkeys(("uniform", "pseudorandom", "iid"), "random"),
    **dict.fromkeys(("prior", "usual", "default"), "informed"),
    **dict.fromkeys(("final", "end", "latest", "finish"), "last"),
    **dict.fromkeys(("highest", "peak", "lowest"), "best"),
    **dict.fromkeys(("lin",), "linear"),
    **dict.fromkeys(("logarithmic", "loguniform", "log10", "ln", "exponential"), "log"),
    **dict.fromkeys(("swish",), "silu"),
}  # fmt: skip
"""Words elsewhere for values here, by their letters, for whatever parameter has such a value."""


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_UNITS = {
    **dict.fromkeys(("e", "epoch", "epochs", "ep", "eps", "epoche", "epochen"), "ep"),
    **dict.fromkeys(("step", "steps", "batch", "batches", "ba", "it", "iter", "iters", "updates",
                     "iterations", "update", "b", "bs"), "ba"),
    **dict.fromkeys(("sample", "samples", "sp", "examples", "images", "tokens"), "sp"),
    **dict.fromkeys(("%", "percent", "dur"), "dur"),
}  # fmt: skip
_EVERY = re.compile(r"(?:(?:once )?(?:every|each|per|an?) )?([a-z]+)")
_WORDED = re.compile(r"-?([0-9][0-9_]*(?:\.[0-9]*)?|\.[0-9]+)([kKM]?) *([A-Za-z%]+)")
_TURNED = re.compile(r"([A-Za-z]+) *[:=]? *([0-9]+)")
"""The unit before the number: ep2."""


def _meant_length(parameter: Parameter, value: Any) -> tuple[str, str] | None:
    """The duration that a number without a unit, or with one in words or as a key, may mean, and
    other meanings."""
    if isinstance(value, Mapping) and len(value) == 1:  # {epochs: 5}
        ((key, amount),) = value.items()
        unit = _UNITS.get(str(key).lower())
        known = unit in parameter.units and is_finite(amount) and amount > 0
        return (str(lasting(amount, unit)), "") if unit and known else None
    if duration.is_never(value) and {"dur"} <= {*parameter.units} and parameter.open_low:
        return "1dur", "that is the end alone"
    if isinstance(value, str):
        value = re.sub(r"(?<=\d),(?=\d{3}\b|\d{3}[a-z])", "", value)
        turned = _TURNED.fullmatch(value.strip())
        value = f"{turned[2]}{turned[1]}" if turned else value
        value = re.sub(r"^(?:once )?(?:every|each|per) (?=\d)", "", value.strip().lower())
        match = _WORDED.fullmatch(value)
        unit = _UNITS.get(match[3].lower()) if match else None
        every = _EVERY.fullmatch(value.strip().lower())
        if every and (own := _UNITS.get(every[1])) in parameter.units:
            return f"1{own}", ""
        if match and unit in parameter.units:
            amount = (
                float(match[1].replace("_", "")) * {"": 1, "k": 1e3, "K": 1e3, "M": 1e6}[match[2]]
            )
            amount /= 100 if match[3] in ("%", "percent") else 1
            return f"{amount:.12g}{unit}", ""
        if match and unit:  # 5% of what?
            return None
        value = read_number(value.strip())
    if not is_finite(value) or value < 0 or (value == 0 and parameter.open_low):
        return None
    if 0 < value < 1 and "dur" in parameter.units:
        return str(lasting(value, "dur")), "that is a share of the budget"
    first, *others = [unit for unit in parameter.units if unit in ("ep", "ba")]
    told = f"that is epochs, {lasting(value, 'ba')} is steps" if others else ""
    return str(lasting(value, first)), told


def find_epochs(value: Any) -> float | None:
    """The number of epochs of a duration, None where it is in another unit, or no duration."""
    with contextlib.suppress(ValueError):
        length = duration.parse(value)
        return length.value if length.unit == "ep" else None
    return None


def check_duration(parameter: Parameter, value: Any) -> duration.Duration:
    """A duration in one of the parameter's units. Raises ValueError."""
    try:
        length = duration.parse(value)
    except ValueError:
        told = f"{show(value)} is not {parameter.allowed()}"
        if isinstance(value, list) and len(value) == 1:
            raise Unfit(told, value[0]) from None
        meant = _meant_length(parameter, value)
        if meant is not None:
            raise Unfit(told, *meant) from None
        with contextlib.suppress(ValueError):
            duration.parse_time(duration.find_time(value))
            told += "; a trial's time is limited by timeout, a search's by --time"
        raise ValueError(told) from None
    if length.unit not in parameter.units:
        raise ValueError(f"{show(value)} is not {parameter.allowed()}")
    if length.value > MAX_LENGTH:
        raise ValueError(f"{show(value)} is too long: it ends at {MAX_LENGTH:g}{length.unit}")
    if length.value == 0 and parameter.open_low:
        raise ValueError(f"{show(value)} is no training at all: it takes {parameter.allowed()}")
    return length


def _check_ints(parameter: Parameter, value: Any) -> list[int]:
    """A list of positive whole numbers."""
    if type(value) is int and value >= 1:
        raise Unfit(f"{show(value)} is not {parameter.allowed()}", [value])
    alone = isinstance(value, list) and len(value) == 1
    text = value[0] if alone else value
    if isinstance(text, str):
        parts = [plain_scalar(part.strip()) for part in text.strip("[](), ").split(",")]
        if all(type(part) is int and part >= 1 for part in parts):
            raise Unfit(f"{show(value)} is not {parameter.allowed()}", parts)
        if re.fullmatch(r"\d+((\s*[-x×*/|;>→]+\s*|\s+)\d+)+", text.strip()):
            meant = [int(part) for part in re.findall(r"\d+", text)]
            raise Unfit(f"{show(value)} is not {parameter.allowed()}", meant)
    whole = isinstance(value, list) and value
    if not whole or any(type(part) is not int or part < 1 for part in value):
        told = f"{show(value)} is not {parameter.allowed()}"
        parts = value[0] if whole and isinstance(value[0], list) else value if whole else []
        numbers = [read_number(part) for part in parts]
        if numbers and all(is_finite(part) and round(part) >= 1 for part in numbers):
            raise Unfit(told, [round(part) for part in numbers])
        raise ValueError(told)
    return list(value)


def _check_length(parameter: Parameter, value: Any) -> str:
    return str(check_duration(parameter, value))


def _check_durations(parameter: Parameter, value: Any) -> list[str]:
    if isinstance(value, str):
        raise Unfit(f"{show(value)} is not {parameter.allowed()}", value.strip("()[] ").split(", "))
    if not isinstance(value, list) or not value:
        raise ValueError(f"{show(value)} is not {parameter.allowed()}")
    try:
        return [str(check_duration(_LENGTH, part)) for part in value]
    except Unfit as error:
        parts = [_meant_length(_LENGTH, part) or (part, "") for part in value]
        told = "those are epochs; of steps the unit is ba" if error.remark else ""
        raise Unfit(str(error), [part for part, _ in parts], told) from None


_LENGTH = Parameter("duration", low=0.0)
_RATIO = Parameter("float", low=0.0)


def _check_points(parameter: Parameter, value: Any) -> list[list[Any]]:
    pairs = isinstance(value, list) and value
    if not pairs or any(not isinstance(part, list) or len(part) != 2 for part in value):
        raise ValueError(f"{show(value)} is not {parameter.allowed()}")
    return [
        [str(check_duration(_LENGTH, moment)), _check_number(_RATIO, ratio)]
        for moment, ratio in value
    ]


MAX_SIDE = 65535


def _check_sides(parameter: Parameter, value: Any) -> list[int]:
    """[height, width], which one number stands for where they are equal."""
    sides = value if isinstance(value, list) else [value, value]
    if len(sides) == 2 and all(type(side) is int and 1 <= side <= MAX_SIDE for side in sides):
        return list(sides)
    told = f"{show(value)} is not {parameter.allowed()}"
    if isinstance(value, Mapping):
        found = [number for number in value.values() if type(number) is int]
    else:  # 224x224, (224, 224), 224px; a third one is that of the channels.
        found = [
            int(part) for part in re.findall(r"\d+(?=\D|$)", re.sub(r"\.0\b", "", show(value)))
        ]
    meant = [side for side in found if 1 <= side <= MAX_SIDE][:2]
    if meant and len(found) < 4 and "-" not in show(value):
        raise Unfit(told, meant[0] if len({*meant}) == 1 else meant)
    raise ValueError(told)


def _check_columns(parameter: Parameter, value: Any) -> list[str]:
    if isinstance(value, str) and value:
        listed = re.fullmatch(r"\s*(?:\[(.*)\]|\((.*)\))\s*", value, re.DOTALL)
        text = value if listed is None else listed[1] or listed[2] or ""
        parts = [part.strip() for part in text.split(",")]
        raise Unfit(f"{show(value)} is not {parameter.allowed()}", [part for part in parts if part])
    if isinstance(value, Mapping) and value and not any(value.values()):  # {id, name}
        raise Unfit(f"{show(value)} is not {parameter.allowed()}", list(value))
    if not isinstance(value, list):
        raise ValueError(f"{show(value)} is not {parameter.allowed()}")
    for index, part in enumerate(value):
        if not isinstance(part, str) or not part:
            told = f"{show(part)} is no column's name"
            if type(part) is int:
                meant = [str(each) if type(each) is int else each for each in value]
                raise Unfit(f"{told}; quote it", meant)
            raise ValueError(told)
        if part in value[:index]:
            raise Unfit(f"{show(part)} is listed twice", list(dict.fromkeys(value)))
    return list(value)


_GROUP = {"lr": _RATIO, "weight_decay": _RATIO}


def _check_groups(parameter: Parameter, value: Any) -> list[dict[str, Any]]:
    """A list, since the first pattern that matches counts: the order of a mapping is lost in keys
    and comparisons."""
    try:
        return _read_groups(parameter, value)
    except ValueError as error:
        whole = [value] if isinstance(value, dict) and "match" in value else value
        many = whole.values() if isinstance(whole, dict) else whole
        if not isinstance(many, list | type({}.values())) or not all(
            isinstance(each, dict) for each in many
        ):
            raise
        known = ("match", *_GROUP) if isinstance(whole, list) else tuple(_GROUP)
        parts = [{nearest(key, known) or key: part for key, part in e.items()} for e in many]
        meant = parts if isinstance(whole, list) else dict(zip(whole, parts, strict=True))
        if meant == value:
            raise
        _read_groups(parameter, meant)
        raise Unfit(str(error), meant) from None


def _read_groups(parameter: Parameter, value: Any) -> list[dict[str, Any]]:
    listed = isinstance(value, list) and all(
        isinstance(each, dict) and isinstance(each.get("match"), str) for each in value
    )
    if not value or not (listed or isinstance(value, dict)):
        raise ValueError(f"{show(value)} is not {parameter.allowed()}")
    pairs: list[tuple[str, Any]] = list(value.items()) if isinstance(value, dict) else []
    for each in value if listed else ():
        pairs.append((each["match"], {key: part for key, part in each.items() if key != "match"}))
    found: list[dict[str, Any]] = []
    for pattern, given in pairs:
        if not isinstance(given, dict) or not given:
            raise ValueError(f"{pattern}: {show(given)} gives neither lr nor weight_decay")
        for key in given:
            if key not in _GROUP:
                raise ValueError(f"{pattern}: unknown key '{key}'; {suggest(key, _GROUP)}")
        numbers = {key: _check_number(_GROUP[key], part) for key, part in given.items()}
        if any(pattern == earlier["match"] for earlier in found):
            raise ValueError(f"{pattern} stands there twice")
        found.append({"match": pattern, **numbers})
    return found


def _check_any(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{show(value)} is not finite")
    if isinstance(value, list):
        return [_check_any(part) for part in value]
    if isinstance(value, dict):
        return {name: _check_any(part) for name, part in value.items()}
    return value


_COUNTED = re.compile(
    r"(\d{1,9})\s*(?:sample|example|image|row|point|seed|trial|round|fold|step|item|char|character|layer|head|unit|sp|ba|ep)s?"
)
"""A number with the word for what it counts, which is its key's affair."""

_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:[,.\u00a0\u202f' ]\d{3})+")
"""A whole number with signs between its thousands."""


def _check_number(parameter: Parameter, value: object) -> float | int:
    allowed = f"it takes {parameter.allowed()}"
    if isinstance(value, str):
        counted = _COUNTED.fullmatch(value.strip()) if parameter.kind == "int" else None
        meant = int(counted[1]) if counted else read_number(value)
        grouped = _THOUSANDS.fullmatch(value.strip())
        if grouped and (parameter.kind == "int" or not re.search("[,.]", value)):
            meant = int(re.sub(r"\D", "", value))
        if meant != value:
            quoted = isinstance(plain_scalar(value), int | float)
            told = "in quotes is text, not a number" if quoted else "is not a number"
            raise Unfit(f"{show(value)} {told}: {allowed}", meant)
    if isinstance(value, list) and len(value) == 1 and is_number(value[0]):
        raise Unfit(f"{show(value)} is not a number: {allowed}", value[0])
    if not is_number(value):
        raise ValueError(f"{show(value)} is not a number: {allowed}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{show(value)} is not finite: {allowed}")
    given = value
    if parameter.kind == "int":
        if value != int(value):
            raise Unfit(f"{show(value)} is not a whole number: {allowed}", round(value))
        value = int(value)
        if abs(value) > MAX_WHOLE and parameter.high is None:
            raise ValueError(f"{show(value)} is too large or small: {allowed}, up to {MAX_WHOLE}")
    else:
        try:
            value = float(value)
        except OverflowError:
            raise ValueError(f"a number of that size is not finite: {allowed}") from None
    if parameter.choices and str(value) not in parameter.choices:
        raise ValueError(f"{show(value)} is not {parameter.allowed()}")
    low, high = parameter.low, parameter.high
    if parameter.every > 1 and low is not None and value > low and (value - low) % parameter.every:
        below = value - (value - low) % parameter.every
        near = f"the nearest are {below:g} and {below + parameter.every:g}"
        nearer = below + parameter.every * round((value - below) / parameter.every)
        raise Unfit(f"{show(value)} is none of its values: {allowed}; {near}", nearer)
    if low is not None and (value < low or (parameter.open_low and value == low)):
        message = f"{show(given)} is too small: {allowed}"
        if parameter.optional and value == 0:
            raise Unfit(message, None)
        raise _beyond(message, parameter, given, low, is_open=parameter.open_low)
    if high is not None and (value > high or (parameter.open_high and value == high)):
        message = f"{show(given)} is too large: {allowed}"
        raise _beyond(message, parameter, given, high, is_open=parameter.open_high)
    return value


_MANY = 1000
"""The most of what is counted that a line says to write."""


def _beyond(
    message: str, parameter: Parameter, given: float, end: float, *, is_open: bool
) -> ValueError:
    """The error for a number beyond an end of what a parameter takes: the end is meant, where it
    takes that, or the default of what is counted from 1."""
    if is_open:
        # 9 for 0.9, 95 for 0.95: a share that is written as percents or without its point.
        digits = re.fullmatch(r"-?([1-9]\d?)(?:\.0)?", str(given))
        if end == 1 and given > 1 and digits:
            return Unfit(message, float(f"0.{digits[1]}"))
        # -0.1 for 0.1.
        return Unfit(message, -given) if given < 0 == end else ValueError(message)
    counted = parameter.low == 1 and type(parameter.default) is int
    if counted and given > end > _MANY:
        return ValueError(message)  # Nobody means as many as there may be.
    meant = parameter.default if counted and end == parameter.low else end
    return Unfit(message, int(meant) if parameter.kind == "int" else meant)


_CHECKS: dict[str, Callable[[Parameter, Any], Any]] = {
    "any": lambda _, value: _check_any(value),
    "float": _check_number,
    "int": _check_number,
    "bool": _check_bool,
    "duration": _check_length,
    "durations": _check_durations,
    "ints": _check_ints,
    "sides": _check_sides,
    "points": _check_points,
    "columns": _check_columns,
    "groups": _check_groups,
}
"""Functions that check a value of a kind; all other kinds are text."""
