"""Ranges and lists as other tools write them: Optuna's `low, high, log`, W&B's `distribution`,
Ray's `loguniform(1e-4, 1e-1)`, Hydra's `interval(...)`, hyperopt, scikit-optimize, NumPy."""

from __future__ import annotations

import ast
import math
import operator
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrsearch.space import is_number
from lrsearch.spec.document import plain_scalar

LISTED = 12
"""The most values of a range in steps of a given size that is written as a list."""

LOW = (
    "min",
    "low",
    "lower",
    "from",
    "start",
    "minimum",
    "begin",
    "lo",
    "lower_bound",
    "left",
    "a",
    "min_value",
)
HIGH = (
    "max",
    "high",
    "upper",
    "to",
    "stop",
    "maximum",
    "end",
    "hi",
    "upper_bound",
    "right",
    "b",
    "max_value",
)
_POINTS = ("points", "num", "n", "count", "steps", "num_points", "n_points", "n_values", "size")
_STEP = ("step", "q", "increment", "by", "resolution", "stride")
_SCALE = (
    "scale", "log", "distribution", "dist", "type", "prior", "sampling", "suggest", "kind",
    "log_scale", "scaling", "warp",
)  # fmt: skip
_LISTS = (
    "values", "choices", "options", "categories", "choice", "grid_search", "grid", "categorical",
    "list", "in", "sequence", "suggest_categorical",
)  # fmt: skip
_PAIRS = (
    "range", "bounds", "interval", "between", "uniform", "loguniform", "log_uniform", "limits",
    "log", "space", "float", "int", "suggest_float", "suggest_int", "domain",
)  # fmt: skip
_OWN = ("min", "max", "points", "scale")
"""The keys of a range."""
_LOGARITHMIC, _EVEN = "log|reciprocal|exp", "uniform|lin"
_SCALES = f"{_LOGARITHMIC}|{_EVEN}"
_NORMAL = ("mu", "mean", "loc"), ("sigma", "std", "sd", "scale")

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?:ep|ba|sp|dur)?"
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_POWER = re.compile("[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_SIGNS = {"−": "-", "٫": ".", "–": "-", "‐": "-", "‑": "-", "⁄": "/", "∕": "/", "÷": "/"}
_PLAIN = r"[-+]?(?:\d+\.?\d*|\.\d+)"
_REMARK = re.compile(r"(?<=[\d.])\s+(?://|--|;|\()\s*[A-Za-z].*$")
"""Words behind a number."""
_LETTERED = re.compile(r"[-+]?[\dOolI]*\.[\dOolI]+")
"""A number with letters that look like its digits."""
_BETWEEN = re.compile(
    rf"[\[(]?\s*({_NUMBER})\s*(?:\.\.\.?|-+?>?|–|—|~|:|;|\bto\b|\bbis\b|<)\s*({_NUMBER})\s*[\])]?"
)
_PAIR = re.compile(rf"[\[(]\s*({_NUMBER})\s*,\s*({_NUMBER})\s*[\])]")
_SPREAD = re.compile(
    r"uniform|^q?(float|int|real|integer|interval|between|reciprocal|slice)$|^\w*rand"
)
_CALL = re.compile(r"[A-Za-z_][\w.]*\(.*\)", re.DOTALL)
_ITEMS = re.compile(r"[^,()|{}\[\]]+(,[^,()|{}\[\]]+)+|[\w.+-]+(\s*\|\s*[\w.+-]+)+")


# the forms


@dataclass(frozen=True)
class Fixed:
    """A fixed value in the form of a searched one: W&B's {value: 10}."""

    value: Any


def read_foreign(value: Any) -> Any:
    """The range {min, max, ...} or list that another tool's form means, `Fixed` for one value, None
    for any other value, such as lrsearch's own form."""
    if isinstance(value, str):
        return _read_text(value)
    if isinstance(value, list):
        return _read_list(value)
    if isinstance(value, Mapping) and value:
        try:
            return _read_mapping({str(key): part for key, part in value.items()})
        except (ValueError, ArithmeticError):
            return None
    return None


def number(text: Any) -> Any:
    """The number that a text is, `1_000`, `0x1F`, `10^-3`, `1/128`, `5%`, `0.1f` or `0,1`
    included, and with digits and a minus of other alphabets; anything else unchanged."""
    if not isinstance(text, str) or len(text) > 100:
        return text
    bare = _POWER.sub(lambda found: f"^{found[0].translate(_RAISED)}", text.strip())
    bare = "".join(map(_plain_sign, unicodedata.normalize("NFKC", bare))).rstrip(",; ")
    bare = _REMARK.sub("", bare.strip("'\"`\u201c\u201d\u2018\u2019")).lstrip("~≈= ")
    bare = re.sub(r"^([-+.\d]\S*)#.*", r"\1", bare)  # A comment has a blank before it.
    bare = re.sub(r"^([^\[({]*[\d.])[\])}]+$", r"\1", bare)  # What closes nothing.
    bare = re.sub(rf"^({_PLAIN})\s*([eE])\s*([-+]?\d+)$", r"\1\2\3", bare)
    bare = re.sub(r"^(\d*\.\d+)\.$", r"\1", bare)
    if _LETTERED.fullmatch(bare) and any(map(str.isdecimal, bare)):  # O.1, 0.l
        bare = bare.translate(str.maketrans("OolI", "0011"))
    bare = re.sub(rf"^({_PLAIN}[eE][-+]?\d+)\.0*$", r"\1", bare)
    plain = plain_scalar(bare)
    if is_number(plain):
        return plain
    bare = bare.replace("_", "").replace("^", "**").replace("×", "*").replace("·", "*")
    bare = re.sub(r"(?<=\d)'(?=\d{3})", "", bare)
    if re.search(r"[\d.)][-+]+[\d.(]", re.sub(r"[eE][-+]\d", "0", bare)):
        return text  # A range or a date rather than a difference, which has blanks.
    if re.fullmatch(r"0(x[0-9a-fA-F]+|o[0-7]+|b[01]+)", bare):
        return int(bare, 0)
    bare = re.sub(r"(?<=[\d.])[fFlL]$", "", bare)
    if is_number(plain := plain_scalar(bare)):
        return plain
    if re.fullmatch(r"[-+]?\d+,\d+", bare):
        bare = bare.replace(",", ".")
    if match := re.fullmatch(rf"({_PLAIN}) ?(%|percent)", bare):
        return float(match[1]) / 100
    if re.fullmatch(rf"{_PLAIN} ?[kKM]", bare):
        whole = float(bare[:-1]) * {"k": 1e3, "K": 1e3, "M": 1e6}[bare[-1]]
        return int(whole) if whole == int(whole) else whole
    if re.fullmatch(r"[-+0-9.eE*/() ]{3,40}", bare):
        try:
            found = _evaluate(ast.parse(bare, mode="eval").body)
        except (SyntaxError, ValueError, ArithmeticError):
            return text
        return float(f"{found:.6g}") if isinstance(found, float) else found
    return text


def _plain_sign(char: str) -> str:
    """The ASCII digit or sign of a character, itself where it has none."""
    digit = unicodedata.decimal(char, None)
    if unicodedata.category(char) == "Cf":  # Invisible.
        return ""
    return _SIGNS.get(char, char) if digit is None else str(digit)


def lasting(value: Any, unit: str) -> str | None:
    """A length of training, with a unit added to a plain number; None for other values."""
    if isinstance(value, str) and re.fullmatch(r"\d[\d.]*(ep|ba|sp|dur)", value):
        return value
    value = number(value)
    return f"{value:.12g}{unit}" if is_finite(value) and value >= 0 else None


# reading lists, texts and calls


def _read_list(value: list[Any]) -> Any:
    parts = [part for part in value if isinstance(part, Mapping) and len(part) == 1]
    ends = {key: part[key] for part in parts for key in part}  # - min: 1e-3, - max: 1
    if len(value) == len(parts) == len(ends) and {"min", "max"} <= {*ends} <= {*_OWN}:
        return ends
    texts = [part for part in value if isinstance(part, str)]
    if len(value) == 1 and texts and ";" not in texts[0]:
        found = _read_text(texts[0])
        return found if isinstance(found, dict) or "(" in texts[0] else None
    if texts and isinstance(value[0], str) and "(" in value[0]:
        joined = ", ".join(map(str, value))
        return _read_text(joined) if joined.count("(") == joined.count(")") else None
    if len(value) == 3 and value[1] in ("...", "..", "\u2026"):
        return {"min": value[0], "max": value[2]}
    if len(value) == 3 and isinstance(value[2], str) and _is_scale(value[2]):
        low, high = number(value[0]), number(value[1])
        if is_finite(low) and is_finite(high):
            return _range(low, high, value[2])
    return None


def _ascend(low: Any, high: Any) -> bool:
    return not (is_finite(low) and is_finite(high)) or low <= high


def _is_scale(text: Any) -> bool:
    return isinstance(text, str) and bool(re.fullmatch(r"(log|lin|uniform)[\w-]*", text.lower()))


def _read_text(text: str) -> Any:
    text = text.strip()
    if len(text) > 500:
        return None
    for pattern in (_BETWEEN, _PAIR):
        match = pattern.fullmatch(text)
        if match and _ascend(plain_scalar(match[1]), plain_scalar(match[2])):
            return {"min": plain_scalar(match[1]), "max": plain_scalar(match[2])}
    ends = [number(part) for part in re.split(r"\.\.\.?|\bto\b|\s[-–—]\s|->", text)]
    if len(ends) == 2 and all(map(is_finite, ends)) and _ascend(*ends):
        return {"min": ends[0], "max": ends[1]}
    if _CALL.fullmatch(text):
        try:
            return _read_call(ast.parse(text, mode="eval").body)
        except (SyntaxError, ValueError, TypeError, ArithmeticError, IndexError, RecursionError):
            return None
    if text[:1] + text[-1:] in ("[]", "()"):
        text = text[1:-1]
    apart = [number(part) for part in text.split()]
    if len(apart) > 1 and all(map(is_finite, apart)):
        return apart
    if _ITEMS.fullmatch(text):
        found = [plain_scalar(part.strip().strip("'\"")) for part in re.split(r"[,|]", text)]
        return (_read_list(found) if len(found) == 3 else None) or found
    return None


_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _evaluate(node: ast.expr) -> Any:
    """The value of a literal, of arithmetic on numbers, or of a name, which is text. Raises
    ValueError."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name | ast.Attribute):
        return ast.unparse(node)
    if isinstance(node, ast.List | ast.Tuple):
        return [_evaluate(part) for part in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _evaluate(node.operand)
        if is_finite(inner):
            return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left), _evaluate(node.right)
        if is_finite(left) and is_finite(right):
            if isinstance(node.op, ast.Pow):
                # A large power is no rate, and takes long.
                return (
                    float(left) ** right
                    if abs(right) < 300 and right != int(right)
                    else (left**right if abs(right) < 64 else math.nan)
                )
            if type(node.op) in _OPERATORS:
                return _OPERATORS[type(node.op)](left, right)
    if isinstance(node, ast.Call):
        logarithm = ast.unparse(node.func).rpartition(".")[2] == "log" and len(node.args) == 1
        return math.log(_evaluate(node.args[0])) if logarithm else _read_call(node)
    raise ValueError(ast.unparse(node))


def _read_call(node: ast.expr) -> Any:
    if not isinstance(node, ast.Call):
        return None
    whole = ast.unparse(node.func)
    name = whole.rpartition(".")[2].lower().removeprefix("suggest_")
    given = [_evaluate(part) for part in node.args]
    named = {part.arg: _evaluate(part.value) for part in node.keywords if part.arg}
    if name == "tag":  # Hydra: tag(log, interval(1e-4, 1e-1))
        inner = given[-1]
        if isinstance(inner, dict) and "log" in map(str, given[:-1]):
            return {**inner, "scale": "log"}
        return inner
    hyperopt = whole.startswith("hp.")
    if given and isinstance(given[0], str) and (hyperopt or "suggest" in whole):
        given = given[1:]  # A label.
    if name in ("choice", "categorical", "grid_search", "grid", "choices", "values", "shuffle"):
        first = given[0] if given else next(iter(named.values()), None)
        return list(first) if isinstance(first, list) else given or None
    if name in ("logspace", "linspace", "geomspace"):
        points = int(named.get("num", given[2] if len(given) > 2 else 5))
        exponents = name == "logspace" and not 0 < given[0] < 1  # Of 1e-4 nobody means 10**1e-4.
        ends = [10.0**end if exponents else end for end in given[:2]]
        scale = "linear" if name == "linspace" else "log"
        return {"min": _tidy(ends[0]), "max": _tidy(ends[1]), "points": points, "scale": scale}
    if name in ("range", "arange"):
        first, last, by = (*([0] if len(given) == 1 else []), *given, 1)[:3]
        if len(given) == 2 and last - first < 1:
            return {"min": first, "max": last}  # Ends, rather than steps of 1.
        return _steps(first, last, by, inclusive=False)
    if name in ("normal", "lognormal", "gauss", "qnormal", "randn"):
        return _normal(*(given or named.values()), log=name == "lognormal")
    if not _SPREAD.search(name):
        return None
    given = given[1:] if given and isinstance(given[0], str) else given
    if given and isinstance(given[0], list):  # ConfigSpace: Float("lr", (1e-4, 0.1), log=True)
        given = [*given[0], *given[1:]]
    given += [None, None, None]
    low: Any = next((named[key] for key in LOW if key in named), given[0])
    high: Any = next((named[key] for key in HIGH if key in named), given[1])
    if not is_finite(low) or not is_finite(high):
        return None
    words = f"{name} {named.get('prior', '')} {'log' if named.get('log') is True else ''}"
    if isinstance(given[2], str):
        words += f" {given[2]}"
    if whole.startswith(("stats.", "scipy.")) and name == "uniform":
        high = _tidy(low + high)  # Its arguments are loc and scale.
    if hyperopt and "log" in words:
        low, high = _tidy(math.exp(low)), _tidy(math.exp(high))
    if name in ("randint", "lograndint", "qrandint") and (hyperopt or "tune" in whole):
        high -= name != "qrandint"  # Ray and hyperopt leave the upper end out.
    step: Any = named.get("step", given[2] if name.startswith("q") else None)
    if is_finite(step) and step > 0 and "log" not in words:
        return _steps(low, high, step)
    return _range(low, high, words)


def _read_mapping(raw: dict[str, Any]) -> Any:
    given = {key.lower().replace("-", "_"): part for key, part in raw.items()}
    if len(raw) > 1 and not any(part is not None for part in raw.values()):
        values = [plain_scalar(key) for key in raw]  # {32, 64}
        return None if {*given} & {*LOW, *HIGH, *_OWN} else values
    own = raw.keys() <= {*_OWN}
    if own and {"min", "max"} <= raw.keys() and raw.get("scale") in (None, "log", "linear"):
        return None
    if own and "scale" in raw and not re.search(_SCALES, str(raw["scale"]).lower()):
        return None  # A slip in one of lrsearch's own.
    if "_target_" in given:
        target = str(given.pop("_target_")).rpartition(".")[2].lower()
        return _read_mapping({"distribution": target, **given}) if given else None
    if {*given} == {"_type", "_value"} and isinstance(given["_value"], list):  # NNI
        return _read_text(f"{given['_type']}({', '.join(map(repr, given['_value']))})")
    if set(given) - {*_SCALE, "name", "value_type"} == {"value"} or set(given) == {"constant"}:
        return Fixed(given.get("value", given.get("constant")))
    for word in _LISTS:
        if isinstance(given.get(word), list):
            return list(given[word])
    words = _scale_of(given)
    for word in _PAIRS:
        pair = given.get(word)
        if isinstance(pair, list) and len(pair) == 2 and all(map(is_finite, map(number, pair))):
            return _range(number(pair[0]), number(pair[1]), f"{word} {words}")
    low = next((number(given[key]) for key in LOW if key in given), None)
    high = next((number(given[key]) for key in HIGH if key in given), None)
    if low is None and high is None and "normal" in words:
        mean, deviation = (next((given[k] for k in names if k in given), None) for names in _NORMAL)
        return _normal(mean, deviation, log="log" in words)
    if low is None or high is None:
        return None
    if not (is_finite(low) and is_finite(high)):
        timed = isinstance(low, str) and isinstance(high, str) and not {"min", "max"} <= raw.keys()
        count = {"points": given["points"]} if "points" in given else {}
        return {"min": low, "max": high, **count} if timed else None
    if "log_uniform" in words and "values" not in words and (low < 0 or high < 0):
        low, high = _tidy(math.exp(low)), _tidy(math.exp(high))  # W&B's takes exponents.
    known = {*LOW, *HIGH, *_SCALE, *_POINTS, *_STEP, "name", "base", "dtype", "doc"}
    twice = any(len(given.keys() & {*ends}) > 1 for ends in (LOW, HIGH))
    if twice or ({"min", "max"} <= raw.keys() and not set(given) <= known):
        return None  # A slip in a range of lrsearch's own.
    step: Any = next((number(given[key]) for key in _STEP if key in given), None)
    if is_finite(step) and step > 0 and "log" not in words:
        return _steps(low, high, step)
    points = next((number(given[key]) for key in _POINTS if key in given), None)
    return _range(low, high, words, points if type(points) is int and points > 0 else None)


# making ranges


def _scale_of(given: Mapping[str, Any]) -> str:
    words = []
    for key in _SCALE:
        value = given.get(key)
        if value is True:
            words.append(key)
        elif value is False and "log" in key:
            words.append("linear")
        elif isinstance(value, str):
            words.append(value.lower())
    return " ".join(words)


def _range(low: Any, high: Any, words: str, points: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"min": low, "max": high}
    if points is not None:
        found["points"] = points
    if re.search(_LOGARITHMIC, words):
        found["scale"] = "log"
    elif re.search(_EVEN, words) and not re.search("int", words):
        found["scale"] = "linear"
    return found


def _steps(low: Any, high: Any, step: Any, *, inclusive: bool = True) -> Any:
    """Values from `low` in steps up to `high`: a list, or if that is long a range of as many
    points."""
    count = math.floor((high - low) / step + 1e-9) + 1
    if not inclusive and count > 1 and math.isclose(low + (count - 1) * step, high):
        count -= 1
    if count < 1:
        return None
    values = [_tidy(low + index * step) for index in range(min(count, LISTED + 1))]
    if count <= LISTED:
        return values
    return {"min": _tidy(low), "max": _tidy(low + (count - 1) * step), "points": count}


def _normal(mean: Any, deviation: Any, *_: Any, log: bool = False) -> dict[str, Any] | None:
    """A range for a normal distribution, which a spec cannot have: two deviations to both sides, of
    the logarithm for a log-normal one."""
    if not (is_finite(mean) and is_finite(deviation)):
        return None
    ends = mean - 2 * deviation, mean + 2 * deviation
    if log:
        ends = math.exp(ends[0]), math.exp(ends[1])
    scale = {"scale": "log"} if log else {}
    return {"min": _tidy(ends[0]), "max": _tidy(ends[1]), **scale}


def is_finite(value: Any) -> bool:
    """Whether a value is a finite number, and not true or false."""
    return is_number(value) and math.isfinite(value)


def _tidy(value: Any) -> Any:
    """A computed number without the digits of its rounding error."""
    return value if isinstance(value, int) else float(f"{value:.6g}")


def each(convert: Any, value: Any) -> Any:
    """Apply `convert` to one value, to every value of a list, or to both ends of a range."""
    if isinstance(value, list):
        return [convert(part) for part in value]
    if isinstance(value, Mapping):
        ends = {key: convert(part) for key, part in value.items() if key in ("min", "max")}
        return {**value, **ends}
    return convert(value)


def is_searched(value: Any) -> bool:
    """Whether a value has lrsearch's form of a range or a list."""
    return (isinstance(value, Sequence) and not isinstance(value, str)) or (
        isinstance(value, Mapping) and "min" in value
    )
