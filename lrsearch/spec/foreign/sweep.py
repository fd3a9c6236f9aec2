"""A sweep of Weights & Biases, or a study of Optuna's, as a spec: the sweep's program is a command,
the study's objective a loop, whose parameters are searched."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from lrsearch.errors import UsageError
from lrsearch.spec.foreign.ranges import Fixed, is_searched, read_foreign
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


def read_sweep(document: Any, source: str) -> str:
    """The spec, in YAML, of a sweep's document. What has no counterpart is a comment in it. Raises
    UsageError for a document that is no sweep."""
    raw = document.get("parameters") if isinstance(document, Mapping) else None
    if not isinstance(raw, Mapping) or not raw:
        raise UsageError(
            "it is no sweep of Weights & Biases: it has no parameters",
            where=source,
            hint="a sweep is a mapping with program, method and parameters",
        )
    searched: dict[str, Any] = {}
    fixed: dict[str, Any] = {}
    left: list[tuple[str, Any]] = []
    for key, value in raw.items():
        name, found = _name_of(key), read_foreign(value)
        if found is None and is_searched(value):
            found = value
        taken = name in searched or name in fixed
        unread = found is None and isinstance(value, Mapping)
        if taken or unread or not _NAME.fullmatch(name):
            left.append((f"parameters.{key}", value))
        elif isinstance(found, Fixed):
            fixed[name] = found.value
        else:
            searched[name] = value if found is None else found
    left += [(str(key), value) for key, value in document.items() if key not in _KNOWN]
    flags = {name: str(key) for key in raw if (name := _name_of(key)) in {**searched, **fixed}}
    lines = [f"# From {visible_line(source)}, a sweep of Weights & Biases."]
    lines += _told(left)
    lines += [f"command: {json.dumps(_command(document, flags))}"]
    lines += [
        "# Its metrics are read from what it prints: a line of JSON for each evaluation, such as"
    ]
    lines += ['# {"step": 3, "loss": 0.41}; or it calls lrsearch.report(step=3, loss=loss).']
    lines += [f"objective: {_flow(_objective(document.get('metric')))}"]
    if fixed:
        lines += ["params:", *(f"  {name}: {_flow(value)}" for name, value in fixed.items())]
    if searched:
        lines += ["search:", *(f"  {name}: {_flow(value)}" for name, value in searched.items())]
    cap = document.get("run_cap")
    if type(cap) is int and cap > 0:
        lines += [f"random: {{trials: {cap}}}", f"bayes: {{trials: {cap}}}"]
    return "\n".join(lines) + "\n"


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
            found.append(filled[word] if word in filled else quote(word))
    return " ".join(filter(None, found))


def write_study(
    drawn: Mapping[str, Any],
    always: Collection[str],
    objective: tuple[str, str],
    trials: int,
    source: str,
) -> str:
    """The spec, in YAML, of a study: what each parameter was drawn from, of which `always` are part
    of every trial, its metric ("" for none) and goal, and the number of its trials."""
    metric, goal = objective
    searched, left = {}, []
    for name, value in drawn.items():
        found = read_foreign(value)
        if isinstance(found, Fixed) or not _NAME.fullmatch(name):
            left.append((name, value))
        elif name in always:
            searched[name] = value if found is None else found
        else:
            left.append((f"{name} (not part of every trial)", value))
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
    if searched:
        lines += ["search:", *(f"  {name}: {_flow(value)}" for name, value in searched.items())]
    return "\n".join(lines) + "\n"


def _objective(metric: Any) -> dict[str, str]:
    """The objective of a sweep's metric: W&B minimizes where nothing is said."""
    given = metric if isinstance(metric, Mapping) else {}
    goal = "max" if str(given.get("goal", "minimize")).startswith("max") else "min"
    return {"metric": str(given.get("name", "loss")), "goal": goal, "at": "last"}


def _told(left: list[tuple[str, Any]]) -> Iterator[str]:
    if left:
        yield "# What has no counterpart here:"
    for name, value in left:
        text = json.dumps(value, ensure_ascii=True, default=str)
        yield visible_line(f"#   {name}: {text}")


def _flow(value: Any) -> str:
    """A value on one line of YAML. Every JSON text is one."""
    return json.dumps(value, default=str)
