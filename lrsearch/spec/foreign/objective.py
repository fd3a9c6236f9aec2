"""The objective of a document, in any tool's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lrsearch import catalogue
from lrsearch.spec.document import as_mapping
from lrsearch.spec.foreign import names
from lrsearch.spec.foreign.lines import Line, Path
from lrsearch.spec.foreign.names import snake
from lrsearch.spec.foreign.translation import into
from lrsearch.spec.foreign.words import CONTAINERS, look_up, means


def objective_lines(
    path: Path, target: str, value: Any, top: Mapping[str, Any], outside: bool
) -> list[Line]:
    """Lines of the whole objective, or of the one key in its own mapping."""
    if target == "objective.at":
        at = "best" if str(value).lower() in ("best", "min", "max") else "last"
        return [into("objective", "at", at, top)]
    if target == "objective.metric" and isinstance(value, list) and value:
        value = value[0]
    if not _is_said(target, snake(str(path[-1])), value):
        return []
    (whole,) = find_objective(top, outside=outside, given=(target, str(path[-1]), value)) or (None,)
    if whole is None or path[0] != "objective":
        return [] if whole is None else [whole]
    key = target.rpartition(".")[2]
    if key == "goal" and names.goal(value) is None:  # {minimize: loss}
        return [whole]
    given = {"metric": whole.value} if isinstance(whole.value, str) else whole.value
    if key == "goal" and given.get("metric") in catalogue.METRICS:
        given = {"goal": catalogue.METRICS[given["metric"]][0], **given}
    return [Line(("objective", key), given[key])] if key in given else []


def _is_said(target: str, word: str, value: Any) -> bool:
    """Whether a word's value names a metric or a goal."""
    if isinstance(value, Mapping):
        return bool(value)
    if target == "objective.metric":
        return isinstance(value, str) and bool(value)
    return names.goal(value) is not None or (
        word in ("maximize", "minimize") and names.metric(value) is not None
    )


def find_objective(
    top: Mapping[str, Any], *, outside: bool, given: tuple[str, str, Any] | None = None
) -> list[Line]:
    """The objective of a document by any word for it, and by the one that is `given`: its meaning,
    the word and its value. A goal alone leaves the usual metric, which is unknown for a training
    outside lrsearch."""
    metric, goal, at = _objective_parts(top, outside, given)
    if metric is None and outside:
        return []
    if metric is None:
        metric = "loss" if goal != "max" else "accuracy"
        if goal == "max" and _task(top) == "regression":
            metric = "r2"
    if not outside:
        coded = as_mapping(top.get("train"))
        extra = as_mapping(coded.get("metrics"))
        if metric not in (extra or {}):
            known = names.metric(metric)
            if known is None:
                return []
            task = _task(top)
            if task and task not in catalogue.METRICS[known][1]:
                known = catalogue.TASKS[task]
            metric, goal = known, None
    elif goal is None and metric not in catalogue.METRICS:
        goal = _usual_goal(metric)
    whole: Any = {
        "metric": metric,
        **({"goal": goal} if goal else {}),
        **({"at": at} if at else {}),
    }
    return [Line(("objective",), whole if len(whole) > 1 else metric)]


_SMALL = ("loss", "err", "perplexity", "ppl", "mse", "mae", "wer", "cer", "nll", "cost", "bpc")


def _usual_goal(metric: str) -> str:
    known = names.metric(metric)
    if known is not None:
        return catalogue.METRICS[known][0]
    return "min" if any(part in metric.lower() for part in _SMALL) else "max"


def _task(top: Mapping[str, Any]) -> str | None:
    data = top.get("data")
    name = data.get("name") if isinstance(data, Mapping) else data
    source = catalogue.DATA.get(str(name))
    return source.task if source else None


def _objective_parts(
    top: Mapping[str, Any], outside: bool, given: tuple[str, str, Any] | None
) -> tuple[str | None, str | None, str | None]:
    """Metric, goal and `at` of a document, by any word for them."""
    metric = goal = at = None
    objective = top.get("objective")
    found: list[tuple[str, Any]] = []
    if isinstance(objective, str):
        if names.goal(objective) is not None:
            goal = names.goal(objective)
        else:
            metric = objective
    if isinstance(objective, Mapping):
        for key, value in objective.items():
            found.append(((look_up(snake(str(key)), "objective") or ("",))[0], value))
    for target, word, value in (*_objective_words(top, outside), *([given] if given else [])):
        if isinstance(value, Mapping):  # W&B: {name: val_loss, goal: minimize}
            for inner, part in value.items():
                found.append(((look_up(snake(str(inner)), "objective") or ("",))[0], part))
        elif snake(word) in ("maximize", "minimize") and names.metric(value):
            found += [("objective.metric", value), ("objective.goal", word)]
        elif snake(word) == "minimize":
            found.append(("objective.goal", "min" if value else "max"))
        else:
            found.append((target, value))
    for target, value in found:
        if target == "objective.metric" and isinstance(value, str):
            metric = value
        elif target == "objective.goal":
            goal = names.goal(value) or goal
        elif target == "objective.at" and value in ("best", "last"):
            at = value
    return metric, goal, at


def _objective_words(
    part: Mapping[str, Any], outside: bool, depth: int = 3
) -> Iterator[tuple[str, str, Any]]:
    """Meanings of words of an objective, the words and their values, in a document and in mappings
    of other tools. Parameters of a training outside lrsearch are none."""
    for key, value in part.items():
        word = snake(str(key))
        target = means(word)
        holds = word in CONTAINERS or target == "search"
        if isinstance(value, Mapping) and holds and depth:
            if not (outside and (word in ("params", "hp") or target == "search")):
                yield from _objective_words(value, outside, depth - 1)
        elif target.startswith("objective."):
            yield target, str(key), value
