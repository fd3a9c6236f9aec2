"""A sweep of Weights & Biases, or a study of Optuna's, as a spec: the sweep's program is a command,
the study's objective a loop, whose parameters are searched."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrsearch.spec.foreign.ranges import Fixed, read_foreign
from lrsearch.spec.foreign.sweep_checks import EXPONENTS, bounds_of
from lrsearch.spec.values import write
from lrsearch.terminal import quote, visible_line

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""A name that a command may have between braces."""

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
    for key, value in raw.items():
        name, found = _name_of(key), _convert(value)
        if (
            document.get("method") == "grid"
            and isinstance(found, Mapping)
            and "points" not in found
        ):
            found = read_foreign({**found, "q": 1})  # Whole numbers: others have no grid.
        if name in searched or name in fixed or found is None or not _NAME.fullmatch(name):
            left.append(Left(f"parameters.{key}", value, _of_parameter(key, value)))
            continue
        if isinstance(found, Fixed):
            fixed[name] = found.value
        else:
            searched[name] = found
        left += _lost(str(key), value)
    left += [
        Left(str(key), value, _of_stopping(value) if key == "early_terminate" else "")
        for key, value in document.items()
        if key not in _KNOWN
    ]
    left += _of_metric(document.get("metric"))
    flags = {name: str(key) for key in raw if (name := _name_of(key)) in {**searched, **fixed}}
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
    lines += _parts(fixed, searched)
    if cap is not None:
        lines += [f"random: {{trials: {cap}}}", f"bayes: {{trials: {cap}}}"]
    return "\n".join(lines) + "\n", left


def _convert(given: Mapping[str, Any]) -> Any:
    """The list or range of a parameter of a sweep, `Fixed` for one value; None for one of several
    parameters. Whole bounds of a distribution over broken numbers become broken ones."""
    distribution = str(given.get("distribution", ""))
    if "parameters" in given:
        return None
    if "values" in given:
        return list(given["values"])
    if "min" not in given and "value" not in given:
        normal = {"distribution": "normal", "mu": 0.0, "sigma": 1.0}
        return read_foreign({**normal, **given})
    if distribution in EXPONENTS:
        low, high = bounds_of(distribution, given["min"], given["max"])
        return {"min": low, "max": high, "scale": "log"}
    if distribution in ("", "int_uniform", "q_uniform") or "min" not in given:
        found = read_foreign(given)
        return given if found is None else found
    scale = "log" if "log" in distribution else "linear"
    return {"min": float(given["min"]), "max": float(given["max"]), "scale": scale}


def _lost(key: str, given: Mapping[str, Any]) -> Iterator[Left]:
    """The parts without a counterpart of a parameter that it searches."""
    distribution = str(given.get("distribution", ""))
    if "normal" in distribution:
        remark = "min and max are two deviations to both sides of the mean"
        yield Left(f"parameters.{key}.distribution", distribution, remark)
    if "probabilities" in given:
        remark = "all values are as likely"
        yield Left(f"parameters.{key}.probabilities", given["probabilities"], remark)
    if "q" in given and ("log" in distribution or "normal" in distribution):
        remark = "values between its steps are drawn, too: a list has these alone"
        yield Left(f"parameters.{key}.q", given["q"], remark)


def _of_parameter(key: str, given: Mapping[str, Any]) -> str:
    """The remark on a parameter that has no counterpart: a spec has no nested ones."""
    inner = given.get("parameters")
    if not isinstance(inner, Mapping):
        return "a name has letters, digits and _"
    lines = (f"{_name_of(key)}_{_name_of(each)}: {_nested(part)}" for each, part in inner.items())
    return f"write each of its parameters under search, such as {', '.join(lines)}, and in command"


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


def _name_of(key: Any) -> str:
    """A parameter's name in a spec: hyphens, which a name between braces has none of, as _."""
    return str(key).replace("-", "_")


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
    for key, value in drawn.items():
        found = read_foreign(value)
        found = value if found is None else found
        name = re.sub(r"\W", "_", key)
        if name in searched or name in fixed or not _NAME.fullmatch(name):
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
    named = metric if _NAME.fullmatch(metric) else "value"
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
    lines += _parts(fixed, searched)
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
    given = metric if isinstance(metric, Mapping) else {}
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
