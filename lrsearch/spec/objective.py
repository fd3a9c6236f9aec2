"""`objective` of a spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrsearch import catalogue
from lrsearch.catalogue import Parameter
from lrsearch.spec.document import Path
from lrsearch.spec.foreign import names as foreign_names
from lrsearch.spec.foreign.lines import Line
from lrsearch.spec.foreign.objective import find_objective
from lrsearch.spec.reader import Reader
from lrsearch.spec.train import METRIC_NAME
from lrsearch.spec.values import read_pairs, show


def read_objective(
    reader: Reader, raw: Any, train: Mapping[str, Any]
) -> tuple[str | None, str, str | None]:
    """Metric, `at` and goal of `objective`, None where they follow the data or the metric."""
    path: Path = ("objective",)
    place: Path = path if isinstance(raw, str) else (*path, "metric")
    raw = {"metric": raw} if isinstance(raw, str) else raw
    if raw is None:
        return None, "last", None
    if not isinstance(raw, Mapping):
        pairs = read_pairs(raw)
        line = Line(path, pairs or {"metric": "accuracy", "at": "last"})
        reader.fault(path, f"{show(raw)} is no objective", reader.hint(path, [line]))
        if pairs is None:
            return None, "last", None
        raw = pairs
    raw = _name_metric(reader, raw)
    reader.unknown(path, raw, ("metric", "goal", "at"))
    metric, goal = raw.get("metric"), raw.get("goal")
    own = tuple(train.get("metrics") or ())
    stepped = train.get("step") is not None and isinstance(metric, str)
    if metric is not None and not (stepped and METRIC_NAME.fullmatch(metric)):
        known = (*catalogue.METRICS, *own)
        meant = foreign_names.metric(metric)
        if metric not in known and (meant or foreign_names.goal(metric)):
            lines = find_objective(reader.document.data, outside=False)
            reader.fault(
                (*path, "metric"), f"unknown metric {show(metric)}", reader.hint(path, lines)
            )
            return None, "last", None
        metric = reader.value(place, Parameter("text", choices=known), metric)
        metric = metric if reader.sound(place) else None
    usual = catalogue.METRICS.get(metric) if isinstance(metric, str) else None
    if usual and goal not in (None, "min", "max") and foreign_names.goal(goal) != usual[0]:
        hint = f"leave it out: the goal of {metric} is {usual[0]}"
        reader.fault((*path, "goal"), f"{show(goal)} is not one of min, max", hint)
        goal = None
    if goal is not None:
        goal = read_goal(reader, (*path, "goal"), goal)
    told = reader.is_promised("objective.goal")
    if usual is None and goal is None and (metric in own or stepped) and not told:
        _ask_for_goal(reader, metric)
    elif usual is not None and goal not in (None, usual[0]):
        message = f"the goal of {metric} is {usual[0]}"
        reader.fault((*path, "goal"), message, f"write goal: {usual[0]}, or leave it out")
    elif metric is None and goal is not None and not reader.is_promised("objective.metric"):
        reader.fault((*path, "goal"), "a goal goes with a metric, which is missing")
    return metric, _read_at(reader, raw), goal


def _name_metric(reader: Reader, raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """An objective whose metric is named where it is a key itself, as in {accuracy: max}: a fault
    then."""
    path: Path = ("objective",)
    names = [key for key in raw if key in catalogue.METRICS]
    if "metric" in raw or len(names) != 1:
        return raw
    (name,) = names
    rest = {key: part for key, part in raw.items() if key != name}
    at = {"at": raw[name]} if raw[name] in ("last", "best") else {}
    meant = {"metric": name, **at, **rest}
    hint = reader.hint((*path, name), [Line(path, meant)])
    reader.fault((*path, name), "unknown key", hint)
    return meant


def _ask_for_goal(reader: Reader, metric: Any) -> None:
    """Report that the goal of a metric is missing which lrsearch does not know."""
    message = f"'goal' is missing: is a large '{metric}' good, or a small one?"
    usual, other = foreign_names.usual_goals(str(metric))
    hint = f"write objective: {{metric: {metric}, goal: {usual}}}, or goal: {other}"
    reader.fault(("objective",), message, hint)


def _read_at(reader: Reader, raw: Mapping[str, Any]) -> Any:
    """`at`: last or best."""
    parameter = Parameter("text", "last", choices=("last", "best"))
    return reader.value(("objective", "at"), parameter, raw.get("at", "last"))


def read_goal(reader: Reader, path: Path, raw: Any) -> Any:
    """min or max."""
    meant = foreign_names.goal(raw)
    if meant is not None and raw not in ("min", "max"):
        hint = reader.hint(path, [Line(path, meant)])
        reader.fault(path, f"{show(raw)} is not one of min, max", hint)
        return meant
    return reader.value(path, Parameter("text", choices=("min", "max")), raw)


def read_outside_objective(reader: Reader, raw: Any) -> tuple[str, str, str]:
    """Metric, goal and `at` of the objective of a training outside lrsearch."""
    path: Path = ("objective",)
    example = "write objective: {metric: loss, goal: min, at: last}, with a metric that it reports"
    if raw is None:
        if not reader.is_promised("objective"):
            reader.fault(
                path if "objective" in reader.document.data else (), _NO_OBJECTIVE, example
            )
        return "", "min", "last"
    raw = {"metric": raw} if isinstance(raw, str) else raw
    if not isinstance(raw, Mapping):
        reader.fault(path, f"{show(raw)} is no objective", example)
        return "", "min", "last"
    raw = _name_metric(reader, raw)
    reader.unknown(path, raw, ("metric", "goal", "at"))
    metric = raw.get("metric")
    if metric is None and reader.is_promised("objective", "objective.metric"):
        return "", "min", "last"
    if not isinstance(metric, str) or not metric.strip() or metric == "step":
        told = "'metric' is missing" if metric is None else f"{show(metric)} is no metric"
        reader.fault((*path, "metric") if "metric" in raw else path, told, example)
        metric = ""
    known = catalogue.METRICS.get(metric)
    goal = raw.get("goal")
    if goal is None:
        if known is None and metric and not reader.is_promised("objective", "objective.goal"):
            _ask_for_goal(reader, metric)
        goal = known[0] if known else "min"
    goal = read_goal(reader, (*path, "goal"), goal)
    return metric, goal, _read_at(reader, raw)


_NO_OBJECTIVE = "'objective' is missing: your own training says by its metrics how good it is"
