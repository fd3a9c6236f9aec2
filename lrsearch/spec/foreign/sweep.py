"""A sweep of Weights & Biases, or a study of Optuna's, as a spec: the sweep's program is a command,
the study's objective a loop, whose parameters are searched."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrsearch.spec.command import PARAMETER_NAME
from lrsearch.spec.document import as_mapping
from lrsearch.spec.foreign.ranges import Fixed, read_foreign
from lrsearch.spec.foreign.sweep_checks import EXPONENTS, bounds_of
from lrsearch.spec.outside import RESERVED
from lrsearch.spec.values import write
from lrsearch.terminal import quote, visible_line

_ARGS = {
    "${args}": "--{flag}={{{name}}}",
    "${args_no_hyphens}": "{flag}={{{name}}}",
    "${args_no_boolean_flags}": "--{flag}={{{name}}}",
}
"""The macros of a sweep's command that stand for all parameters, and the form of each."""

_KNOWN = ("program", "command", "method", "metric", "parameters", "name", "run_cap")


@dataclass(frozen=True)
class Left:
    """A part without a counterpart in a spec: its name and value in the sweep or the study, and
    what to do about it, "" where nothing."""

    name: str
    value: Any
    remark: str = ""


def read_sweep(document: Mapping[str, Any], source: str) -> tuple[str, list[Left]]:
    """The spec, in YAML, of a sweep's document without faults (`find_sweep_faults`), and what has
    no counterpart, which is a comment in it."""
    searched: dict[str, Any] = {}
    fixed: dict[str, Any] = {}
    left: list[Left] = []
    raw = document["parameters"]
    names, seeds = _names_of(raw), list[str]()
    for key, value in raw.items():
        name, found = names[key], _convert(value)
        if name == SEED and found is not None:
            seeds, remark = count_seeds(found)
            left.append(Left(f"parameters.{key}", value, remark))
            continue
        if (
            document.get("method") == "grid"
            and isinstance(found, Mapping)
            and "points" not in found
        ):
            found = read_foreign({**found, "q": 1})  # Whole numbers: others have no grid.
        if found is None or not PARAMETER_NAME.fullmatch(name):
            left.append(Left(f"parameters.{key}", value, _of_parameter(key, value)))
            continue
        if isinstance(found, Fixed):
            _fix(name, found.value, fixed, searched)
        else:
            searched[name] = _distinct(found) if isinstance(found, list) else found
        left += _lost(str(key), value)
    left += [
        Left(str(key), value, _of_stopping(value) if key == "early_terminate" else "")
        for key, value in document.items()
        if key not in _KNOWN
    ]
    left += _of_metric(document.get("metric"))
    given = {*searched, *fixed, *([SEED] if seeds else [])}
    flags = {name: str(key) for key, name in names.items() if name in given}
    lines = [f"# From {visible_line(source)}, a sweep of Weights & Biases."]
    cap = document.get("run_cap")
    if cap is not None and document.get("method") == "grid":
        left.append(Left("run_cap", cap, "a grid trains all of its points: or lrsearch random"))
    lines += _told(left)
    lines += [f"command: {json.dumps(_command(document, flags))}"]
    lines += [
        "# Its metrics are read from what it prints: a line of JSON for each evaluation, such as"
    ]
    lines += ['# {"step": 3, "loss": 0.41}; or it calls lrsearch.report(step=3, loss=loss).']
    lines += [f"objective: {_flow(_objective(document.get('metric')))}"]
    lines += [*_parts(fixed, searched), *seeds]
    if cap is not None:
        lines += [f"random: {{trials: {cap}}}", f"bayes: {{trials: {cap}}}"]
    return "\n".join(lines) + "\n", left


MOST_POINTS = 100_000
"""The most points that a range may have in a grid."""


def _fix(name: str, value: Any, fixed: dict[str, Any], searched: dict[str, Any]) -> None:
    """Put a parameter of one value where a spec has it: text with braces would be arithmetic among
    the fixed ones, and is text among those that are searched."""
    if isinstance(value, str) and "{" in value:
        searched[name] = [value]
    else:
        fixed[name] = value


def _convert(given: Mapping[str, Any]) -> Any:
    """The list or range of a parameter of a sweep, `Fixed` for one value; None for one of several
    parameters. Bounds are whole where all that is drawn is whole, else broken."""
    distribution = str(given.get("distribution", ""))
    if "parameters" in given:
        return None
    if "values" in given:
        return list(given["values"])
    if "min" not in given and "value" not in given:
        normal = {"distribution": "normal", "mu": 0.0, "sigma": 1.0}
        found = read_foreign({**normal, **given})
        return _bounded(given, found) if isinstance(found, Mapping) else found
    if distribution in EXPONENTS:
        low, high = bounds_of(distribution, given["min"], given["max"])
        return _bounded(given, {"min": low, "max": high, "scale": "log"})
    if distribution in ("", "int_uniform", "q_uniform") or "min" not in given:
        found = read_foreign(given)
        if isinstance(found, Mapping) and found.get("points", 0) > MOST_POINTS:
            return {key: part for key, part in found.items() if key != "points"}
        return given if found is None else found
    scale = "log" if "log" in distribution else "linear"
    return _bounded(given, {"min": given["min"], "max": given["max"], "scale": scale})


def _bounded(given: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """A range with whole bounds where its distribution draws multiples of a whole number."""
    low, high, step = float(found["min"]), float(found["max"]), _whole_step(given)
    if step:
        low, high = step * round(low / step), step * round(high / step)
        low = max(low, step) if found.get("scale") == "log" else low
        high = max(high, low + step)
    return {**found, "min": low, "max": high}


def _whole_step(given: Mapping[str, Any]) -> int:
    """The whole number of which a distribution draws multiples, W&B's usual one where none is said;
    0 where it draws broken numbers."""
    quantized = str(given.get("distribution", "")).startswith("q_")
    step = given.get("q", 1)
    return step if quantized and type(step) is int else 0


SEED = "seed"
"""The parameter whose values are lrsearch's own seeds."""


def count_seeds(found: Any) -> tuple[list[str], str]:
    """The lines of a spec for a parameter that seeds the training, and what to say of it."""
    if isinstance(found, Fixed):
        if type(found.value) is int and 0 <= found.value < 2**32:
            return [f"seed: {found.value}"], "the seed is lrsearch's own, and not searched"
        return ["seeds: 1"], "seeds are whole numbers from 0 up: it begins with 1"
    many = len(found) if isinstance(found, list) else found["max"] - found["min"] + 1
    if type(many) is not int or many > 10:
        return ["seeds: 1"], "the seed is lrsearch's own, and not searched: write seeds: 3"
    return [f"seeds: {many}"], f"a point is trained with {many} seeds, and compared by their mean"


def _lost(key: str, given: Mapping[str, Any]) -> Iterator[Left]:
    """The parts without a counterpart of a parameter that it searches."""
    distribution = str(given.get("distribution", ""))
    if "normal" in distribution:
        remark = "min and max are two deviations to both sides of the mean"
        yield Left(f"parameters.{key}.distribution", distribution, remark)
    if "probabilities" in given:
        remark = "all values are as likely"
        yield Left(f"parameters.{key}.probabilities", given["probabilities"], remark)
    values = given.get("values", [given.get("value", 1)])
    if any(value is None or isinstance(value, bool) for value in values):
        told = given["values"] if "values" in given else given["value"]
        remark = "a command has true, false and null as in JSON, where W&B writes True"
        yield Left(f"parameters.{key}", told, remark)
    each = _whole_step(given) == 1  # Whole numbers are all drawn.
    if "q" in given and not each and ("log" in distribution or "normal" in distribution):
        remark = "values between its steps are drawn, too: a list has these alone"
        yield Left(f"parameters.{key}.q", given["q"], remark)


def _of_parameter(key: str, given: Mapping[str, Any]) -> str:
    """The remark on a parameter that has no counterpart: a spec has no nested ones."""
    inner = given.get("parameters")
    if not isinstance(inner, Mapping):
        return "a name has letters, digits and _"
    lines = ", ".join(_flattened(_name_of(key), given))
    return f"write each of its parameters under search, such as {lines}, and in command"


def _flattened(name: str, given: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a parameter, or of all that are inside of it."""
    inner = given.get("parameters")
    if not isinstance(inner, Mapping):
        yield f"{name}: {_nested(given)}"
        return
    for key, part in inner.items():
        yield from _flattened(f"{name}_{_name_of(key)}", part)


def _nested(given: Mapping[str, Any]) -> str:
    found = _convert(given)
    return write([found.value] if isinstance(found, Fixed) else found or dict(given))


def _of_stopping(given: Mapping[str, Any]) -> str:
    """The rule of early stopping of a spec that is most like that of a sweep."""
    budget = given.get("max_iter", 90)
    budget = budget if type(budget) is int and budget > 0 else 90
    line = f"prune: {{name: hyperband, budget: {budget}}}"
    return f"write {line} where its last report is of step {budget}"


def _of_metric(metric: Mapping[str, Any] | None) -> Iterator[Left]:
    """The target of a sweep's metric, or that it has no metric."""
    if metric is None:
        yield Left("metric", None, "the objective is a guess: write the metric that is printed")
    elif "target" in metric:
        sign = ">=" if metric.get("goal") == "maximize" else "<="
        until = f"{metric['name']}{sign}{write(metric['target'])}"
        yield Left("metric.target", metric["target"], f"the search takes --until {quote(until)}")


def strategy_of(document: Mapping[str, Any]) -> str:
    """The command of lrsearch's that searches as a sweep's method does."""
    method = str(document.get("method", "bayes"))
    return method if method in ("grid", "random", "bayes") else "bayes"


def _name_of(key: Any, plain: str = "-") -> str:
    """A parameter's name in a spec: what matches `plain`, by default hyphens, which a name between
    braces has none of, as _, and one behind a name of lrsearch's own."""
    name = re.sub(plain, "_", str(key))
    return f"{name}_" if name.lower() in RESERVED else name


def _names_of(keys: Iterable[Any], plain: str = "-") -> dict[Any, str]:
    """The names of parameters in a spec by their own, no two alike, also in another case."""
    found: dict[Any, str] = {}
    for key in keys:
        name = SEED if str(key).lower() == SEED else _name_of(key, plain)
        while name.lower() in map(str.lower, found.values()):
            name += "_"
        found[key] = name
    return found


def _command(document: Mapping[str, Any], flags: Mapping[str, str]) -> str:
    """The command line of a sweep, its macros filled in; `flags` has the parameters' own names."""
    given = document.get("command")
    words = given if isinstance(given, list) else ["${env}", "python", "${program}", "${args}"]
    program = quote(str(document.get("program", "train.py")))
    filled = {"${env}": "", "${interpreter}": "python", "${program}": program}
    found = []
    for word in map(str, words):
        if word in _ARGS:
            found += [_ARGS[word].format(name=name, flag=flag) for name, flag in flags.items()]
        else:
            plain = word.replace("{", "{{").replace("}", "}}")  # A brace, and no parameter's name.
            found.append(filled[word] if word in filled else quote(plain))
    return " ".join(filter(None, found))


def write_study(
    drawn: Mapping[str, Any],
    always: Collection[str],
    objective: tuple[str, str],
    trials: int,
    source: str,
) -> tuple[str, list[Left]]:
    """The spec, in YAML, of a study, and what has no counterpart: what each parameter was drawn
    from, of which `always` are part of every trial, its metric ("" for none) and goal, and the
    number of its trials."""
    metric, goal = objective
    searched: dict[str, Any] = {}
    fixed: dict[str, Any] = {}
    left: list[Left] = []
    names = _names_of(drawn, r"\W")
    seeds: list[str] = []
    for key, value in drawn.items():
        found = read_foreign(value)
        found = value if found is None else found
        name = names[key]
        if name == SEED:
            seeds, remark = count_seeds(found)
            left.append(Left(key, value, f"here it is trial.seed; {remark}"))
        elif not PARAMETER_NAME.fullmatch(name):
            left.append(Left(key, value, "a name has letters, digits and _"))
        elif key not in always:
            remark = f"write {name}: {write(found)} under search, for every trial has it here"
            left.append(Left(f"{key} (not part of every trial)", value, remark))
        elif isinstance(found, Mapping) and found.get("min") == found.get("max"):
            fixed[name] = found["min"]
        else:
            searched[name] = _distinct(found) if isinstance(found, list) else found
            if name != key:
                left.append(Left(key, value, f"here it is {name}: params[{write(name)}]"))
    named = metric if PARAMETER_NAME.fullmatch(metric) else "value"
    lines = [f"# From {visible_line(source)}, a study of Optuna's with {trials} trials."]
    lines += _told(left)
    lines += [
        "# Its objective becomes a function in my_loop.py, beside this file:",
        "#   def train(trial):",
        "#       params = trial.params             # instead of trial.suggest_...(...)",
        f"#       trial.report(step, {named}=...)      # at every step, the last one decides",
        "loop: my_loop.train",
        f"objective: {_flow({'metric': named, 'goal': goal, 'at': 'last'})}",
    ]
    lines += [*_parts(fixed, searched), *seeds]
    return "\n".join(lines) + "\n", left


def _distinct(values: list[Any]) -> list[Any]:
    """The values without those that equal an earlier one, as 1.0 does 1 (but true does not)."""
    found: list[Any] = []
    for value in values:
        flag = isinstance(value, bool)
        if not any(value == each and flag == isinstance(each, bool) for each in found):
            found.append(value)
    return found


def _parts(fixed: Mapping[str, Any], searched: Mapping[str, Any]) -> Iterator[str]:
    for head, part in (("params", fixed), ("search", searched)):
        if part:
            yield f"{head}:"
            yield from (f"  {name}: {_flow(value)}" for name, value in part.items())


def _objective(metric: Any) -> dict[str, str]:
    """The objective of a sweep's metric: W&B minimizes where nothing is said."""
    given = as_mapping(metric)
    goal = "max" if str(given.get("goal", "minimize")).startswith("max") else "min"
    return {"metric": str(given.get("name", "loss")), "goal": goal, "at": "last"}


def _told(left: Sequence[Left]) -> Iterator[str]:
    if left:
        yield "# What has no counterpart here:"
    for each in left:
        text = json.dumps(each.value, ensure_ascii=True, default=str)
        yield visible_line(f"#   {each.name}: {text}")
        if each.remark:
            yield visible_line(f"#     {each.remark}")


def _flow(value: Any) -> str:
    """A value on one line of YAML. Every JSON text is one."""
    return json.dumps(value, default=str)
