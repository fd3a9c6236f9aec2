"""Refinement as a strategy: rounds of further values of one parameter, beyond its range, too.

The rules are those of `analysis.refining`: pure functions of the points. What it proposes may lie
outside what the spec searches, so that it works on a spec that `widen` has widened.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lrsearch.analysis.edges import Range
from lrsearch.analysis.groups import RATES
from lrsearch.analysis.refining import Round, refine
from lrsearch.errors import UsageError
from lrsearch.search.strategy import Request, Unlearning
from lrsearch.space import (
    Dimension,
    Float,
    Int,
    Space,
    build,
    change_dimensions,
    encode,
    parameters,
    parse_name,
)
from lrsearch.spec.model import RefineSettings, Spec
from lrsearch.spec.searched import find_searched
from lrsearch.trial import Objective, Point


def find_refined(spec: Spec, samples: int | None = None) -> list[Range]:
    """The ranges of the parameter that is refined: of the learning rate, wherever it stands, or
    else of the first that is searched on a logarithmic scale; [] where there is none. `samples` are
    those of the training part."""
    if spec.refined:
        return list(spec.refined)
    ranges = [each for each in find_searched(spec, samples) if each.low > 0]
    names = dict.fromkeys(each.name for each in ranges)
    wanted = [name for known in RATES for name in names if name.rpartition(".")[2].lower() == known]
    wanted += [each.name for each in ranges if each.scale == "log" and not each.listed]
    # Between the rates of a list there are others, whatever their type.
    return (
        [
            replace(each, scale="log", listed=(), whole=False) if each.listed else each
            for each in ranges
            if each.name == wanted[0]
        ]
        if wanted
        else []
    )


def check_refine(name: str, spec: Spec, large: bool) -> None:
    """Raises UsageError for a space that has nothing to refine."""
    if find_refined(spec):
        return
    raise UsageError(
        "there is nothing to refine: the spec searches neither rates nor a logarithmic range",
        where=spec.source,
        hint="search a range, such as lr: {min: 1e-4, max: 1.0, points: 9}, and refine it then",
    )


def widen(spec: Spec, samples: int | None = None) -> Spec:
    """The spec with the refined parameter free to take any value that it can take. The points of
    the one are points of the other."""
    refined = find_refined(spec, samples)
    if not refined or spec.refined:
        return spec
    name = refined[0].name

    def free(id_: str, part: Dimension) -> Dimension:
        if flat_name(id_) != name:
            return part
        least = max((each.least for each in refined if each.least), default=sys.float_info.min)
        most = min((each.most for each in refined if each.most), default=sys.float_info.max)
        if isinstance(part, Int):
            return Int(max(1, round(least)), min(round(most), 2**53), log=True)
        return Float(least, most, log=True)

    return replace(spec, space=change_dimensions(spec.space, free), refined=tuple(refined))


def flat_name(id_: str) -> str:
    """The flat name of a parameter by its id: `lr` of `optimizer[1].lr`."""
    path = parse_name(id_).path
    return "lr" if path == "optimizer.lr" else path


class Refine(Unlearning):
    """Proposes the rounds of a refinement, over the space of a widened spec: a round takes the
    points with their seeds and folds. `round` is the decision that the latest proposals follow,
    None before the first."""

    name = "refine"
    waits = True

    def __init__(
        self,
        space: Space,
        ranges: Sequence[Range],
        settings: RefineSettings,
        objective: Objective,
    ) -> None:
        self.space, self.ranges = space, tuple(ranges)
        self.settings, self.objective = settings, objective
        self.round: Round | None = None

    def propose(self, request: Request) -> list[dict[str, Any]]:
        """The points of the next round, none where it is over or all rounds were made."""
        measured = list(request.measured())
        name = self.ranges[0].name
        points = [summary for _, summary in measured]
        found = refine(points, self.objective, name, self.ranges, width=self.settings.width)
        if found.next and request.generations >= self.settings.rounds:
            found = replace(
                found, kind="rounds", why=f"{found.why}, and all rounds are made", next=()
            )
        self.round = found
        by_number = {summary.point: point for point, summary in measured}
        return [
            move(self.space, by_number[each.point], name, each.value)
            for each in found.next[: request.room]
        ]


def move(space: Space, point: Point, name: str, value: float) -> dict[str, Any]:
    """A point of the space with another value of a parameter, by its flat name."""
    numbers = encode(space, point)
    assert numbers is not None
    for id_, _ in parameters(space):
        if id_ in numbers and flat_name(id_) == name:
            numbers[id_] = value
    return build(space, lambda each, _: numbers[each])
