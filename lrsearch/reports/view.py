"""A run as every rendering sees it: plain values, ranked and commented."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

from lrsearch.analysis.answer import Answer, find_answer
from lrsearch.analysis.confirmation import Confirmation
from lrsearch.analysis.edges import Range
from lrsearch.analysis.groups import find_rate
from lrsearch.analysis.points import PointSummary, best, columns, rank, summarize
from lrsearch.analysis.repeatability import Repeatability
from lrsearch.reports.ranges import RangeView
from lrsearch.reports.text import count, format_fixed, format_value, last_parts, one_line
from lrsearch.reports.verdicts import advise
from lrsearch.space import is_number
from lrsearch.trial import Objective, Outcome, Plan, Ranged, Record, Records, Result, Tested

ROWS = 25
"""Points a table shows where it does not show all."""


UNDER_WAY = "the search is under way: this is what it knows so far"
"""A sentence on a run that is written to."""

ONE_SEED = "the best has one seed: a small lead over the next may be luck"
"""A sentence on values that rest on one training each."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """The facts of a run besides its records."""

    searched: Sequence[Range] = ()
    """The ranges that the spec searches."""
    hidden: int = 0
    """The number of stored trials that do not belong to the spec."""
    running: int = 0
    """The number of trials in training."""
    wall_seconds: float | None = None
    spent: Mapping[str, float] = field(default_factory=dict)
    """The cost of what is apart from the records."""
    replaced: Sequence[Result] = ()
    """The results of trials that were trained again."""
    standing: Sequence[str] = ()
    """Sentences that one must know to read the answer: whether the search is over, whether its spec
    has changed since, what was not trained. `RunView.warnings` are further ones."""
    next_command: str = ""
    plans: Mapping[tuple[str, str], Plan] = field(default_factory=dict)
    """The plans of the records' structures, by structure key and device."""
    data: str = ""
    """A sentence on how the data were understood, "" where that is not known."""
    found: Sequence[Ranged] = ()
    """The ranges that the spec left to range tests."""
    confirmation: Confirmation | None = None
    """The result of fresh measurements, None without any."""
    stopped: str = ""
    """The reason why the search ended by a rule of its own, "" where it did not."""
    rounds: Sequence[Mapping[str, Any]] = ()
    """The notes on the search's refinement."""


@dataclass(frozen=True, kw_only=True)
class RunView(Context):
    """The content of a report."""

    name: str
    folder: str
    objective: Objective
    records: tuple[Record, ...]
    points: tuple[PointSummary, ...]
    """The points, ranked best first."""
    best: PointSummary | None
    params: tuple[str, ...]
    """The names of the points' values, in the order of columns."""
    warnings: tuple[str, ...]
    cost: Mapping[str, float | None]
    """The cost of the run. `trials` are those with a result, `trial_epochs` their epochs, of which
    another trial trained the `shared_epochs`; `seconds` are all of training, `wall_seconds` those
    of the sessions that were closed (None where the latest was not).

    `again_trials`, `again_epochs` and `again_seconds` are of trials that were trained again after
    they had failed or had been stopped early, `saved_epochs` those that pruned trials did without.
    Beside `trials` there are the `range_epochs` and `range_seconds` of range tests, and the trials,
    epochs and seconds that begin with `confirm_` (points measured again), `test_` (the look at the
    test part) and `repeat_` (a training once more, to see whether it comes to the same).

    `killed_sessions` were killed while they trained `killed_trials`; they had lasted the
    `killed_seconds` when they last said so."""
    retry_command: str = ""
    """The command that trains failed trials again, "" where none failed."""
    whole_command: str = ""
    """The command that trains stopped trials to their end, "" where none was stopped."""
    saved: tuple[int, int] = (0, 0)
    """The number of trials under way that are saved, and the bytes of their states."""
    repeatability: Repeatability | None = None
    """The comparison with a repeated training, None where none was repeated."""
    ranges: tuple[RangeView, ...] = ()
    """The run's range tests."""
    advice: tuple[str, ...] = ()
    """Sentences on what the diagnoses of the trials agree on."""
    bounds: tuple[float, float] | None = None
    """The bounds of the searched learning rate, None where none is searched."""

    @property
    def ended(self) -> Counter[Outcome]:
        """The numbers of trials by their outcomes."""
        return Counter(record.result.outcome for record in self.records if record.result)

    def group_reasons(self, *outcomes: Outcome) -> dict[str, list[Record]]:
        """The trials of these outcomes by their reasons, in the order that these came up."""
        found: dict[str, list[Record]] = {}
        for record in self.records:
            if record.result and record.result.outcome in outcomes:
                reason = one_line(record.result.reason) or "no reason given"
                found.setdefault(reason, []).append(record)
        return found

    @property
    def nothing(self) -> str:
        """Say why there is no answer."""
        if not self.records:
            return "no trials yet"
        if any(point.outcome is None for point in self.points):
            return "no point has been measured yet"
        return "no point was trained to its end"

    @cached_property
    def answer(self) -> Answer | None:
        """The answer of the run, worked out when it is asked for; None where no point has a
        value."""
        found = find_answer(self.points, self.objective, self.searched, self.confirmation)
        if found is None or found.confirmed:
            return found
        return replace(found, split=self.one_split)

    @property
    def one_split(self) -> bool:
        """Whether the search is known to have measured on one split of the data: folds are several,
        and a command or a loop may split its data by the seed."""
        several = any(point.folds for point in self.points)
        return not several and all("params" not in e.trial.config for e in self.records[:1])

    @property
    def recommended(self) -> PointSummary | None:
        """The point that the answer recommends, None where there is no answer."""
        return None if self.answer is None else self.answer.recommended

    @property
    def decimals(self) -> int | None:
        """The decimals of the answer's values, None where fixed ones do not suit them."""
        return None if self.answer is None else self.answer.decimals

    def show(self, value: float | None) -> str:
        """Write a value of the objective in as many decimals as the answer has; "" for None."""
        return "" if value is None else format_fixed(value, self.decimals)

    @cached_property
    def called(self) -> Mapping[str, str]:
        """The names of the points' values as tables, figures and sentences have them."""
        return last_parts(self.params)

    @property
    def confirmed(self) -> bool:
        """Whether there is an answer that rests on fresh measurements."""
        return self.answer is not None and self.answer.confirmed


@dataclass(frozen=True)
class TrialView:
    """A trial as it is shown. `record.point` counts where `belongs` says that the trial is one of
    the spec as it is now. `running` says that it trains. `curve` has a list per metric, as long as
    its `step`. `plans` are the plans of the trial's structure, by device. `again` is the trial that
    was trained in its place after a failure, `repeats` the trial that it repeats; `fresh` says that
    it measured its point again, and `confirms` which point, None for a control that is none.
    `saved` is the step of its saved state and the number of its steps, while it is under way.
    `records` are those of its single steps; `look` is the look at the test part that it had. `lost`
    says why the curve and records of a trial that ended cannot be read, "" where they can.
    `namesake` are the trials of the point that has the trial's number, where that is another."""

    run: str
    objective: Objective
    record: Record
    belongs: bool
    running: bool
    curve: Mapping[str, Sequence[float]]
    plans: Mapping[str, Plan]
    again: int | None = None
    repeats: int | None = None
    fresh: bool = False
    confirms: int | None = None
    saved: tuple[int, int] | None = None
    records: Records = field(default_factory=Records)
    look: Tested | None = None
    lost: str = ""
    namesake: tuple[int, ...] = ()


_NOTHING: dict[str, float] = {
    "range_epochs": 0.0, "range_seconds": 0.0,
    "confirm_trials": 0, "confirm_epochs": 0.0, "confirm_shared_epochs": 0.0,
    "confirm_seconds": 0.0,
    "test_trials": 0, "test_epochs": 0.0, "test_seconds": 0.0,
    "repeat_trials": 0, "repeat_epochs": 0.0, "repeat_seconds": 0.0,
    "killed_sessions": 0, "killed_trials": 0, "killed_seconds": 0.0,
}  # fmt: skip


def build_view(
    name: str,
    folder: str,
    objective: Objective,
    records: Iterable[Record],
    context: Context = Context(),
) -> RunView:
    """Summarize, rank and comment the records of a run."""
    kept = tuple(sorted(records, key=attrgetter("trial.number")))
    points = tuple(rank(summarize(kept, objective), objective))
    results = [record.result for record in kept if record.result is not None]
    confirmed = context.confirmation is not None and context.confirmation.holds
    unmeasured = () if context.running else _describe_unmeasured(points, context.searched)
    return RunView(
        **{**vars(context), "standing": (*context.standing, *unmeasured)},
        name=name,
        folder=folder,
        objective=objective,
        records=kept,
        points=points,
        best=best(points[:1], objective),  # They are ranked already.
        params=_columns(kept),
        warnings=() if confirmed else tuple(_comments(points, objective)),
        cost=find_cost(results, context),
        advice=tuple(advise(kept)),
        bounds=_bounds(points, context.searched),
    )


def find_cost(results: Sequence[Result], context: Context) -> dict[str, float | None]:
    """The cost of a run whose trials have these results, as `RunView` has it."""
    trained = [*results, *context.replaced]
    return {
        "trials": len(results),
        "trial_epochs": math.fsum(result.epochs for result in trained),
        "shared_epochs": math.fsum(result.shared_epochs for result in trained),
        "seconds": math.fsum(result.own_seconds for result in trained),
        "again_trials": len(context.replaced),
        "again_epochs": math.fsum(result.epochs for result in context.replaced),
        "again_seconds": math.fsum(result.own_seconds for result in context.replaced),
        "saved_epochs": math.fsum(result.saved_epochs for result in results),
        **_NOTHING,
        **context.spent,
        "wall_seconds": context.wall_seconds,
    }


COARSE = 3
"""Decimals up to which a value may be short by rounding alone."""


def describe_repeatability(found: Repeatability, metric: str) -> str:
    """Say in a sentence whether the training repeats itself."""
    metric = one_line(metric)
    if found.difference is None:
        reason = f": {one_line(found.reason)}" if found.reason else ""
        ended = found.outcome.replace("_", " ")
        return f"trial {found.trial} completed, and {ended} when it was trained again{reason}"
    if found.exact:
        # Of noise in the fifth digit a metric of three says nothing.
        coarse = round(found.objective, COARSE) == found.objective
        digits = ", to the digits that it reports" if coarse else ""
        return f"the training repeats itself exactly{digits} ({metric} of trial {found.trial})"
    if not found.difference:
        same = f"trial {found.trial}, trained again, came to the same {metric}"
        if found.exact is None:
            return same
        return f"{same} by another course: the training does not repeat itself exactly"
    return (
        f"the training differs by {format_value(found.difference)} from run to run: smaller "
        f"differences mean nothing ({metric} of trial {found.trial}: "
        f"{format_value(found.objective, 6)}, again {format_value(found.again, 6)})"
    )


def describe_found(found: Ranged) -> str:
    """A range that range tests have found, in a sentence."""
    told = sum(each.interval is not None for each in found.tests)
    by = "a range test says"
    if len(found.tests) > 1:
        by = f"{told} of {len(found.tests)} range tests say"
    if told == len(found.tests) > 1:
        by = f"{count(told, 'range test')} say together"
    return (
        f"{one_line(found.name)} is searched from {format_value(found.low)} to "
        f"{format_value(found.high)}: what {by}, widened by a factor of "
        f"{format_value(found.margin)} at either end"
    )


def _columns(records: Sequence[Record]) -> tuple[str, ...]:
    """Names in the order they first appear; those of a choice (`schedule.pct_start`) follow it."""
    names = list(columns(records))
    order = {name: index for index, name in enumerate(names)}

    def place(name: str) -> list[int]:
        parts = name.split(".")
        prefixes = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
        return [order[prefix] for prefix in prefixes if prefix in order]

    return tuple(sorted(names, key=place))


def _bounds(points: Sequence[PointSummary], ranges: Sequence[Range]) -> tuple[float, float] | None:
    """The bounds of the searched learning rate, None where there is none, or several ranges are of
    its name."""
    rate = find_rate(points)
    own = [each for each in ranges if each.name == rate]
    return (own[0].low, own[0].high) if len(own) == 1 and own[0].low > 0 else None


def _describe_unmeasured(points: Sequence[PointSummary], ranges: Sequence[Range]) -> Iterator[str]:
    """Sentences on the lists whose values beyond the best's are searched and were not measured: an
    edge that only the spec has moved."""
    if not points or points[0].objective is None:
        return
    for searched in ranges:
        value = points[0].params.get(searched.name)
        if not searched.listed or not is_number(value):
            continue
        measured = {each.params.get(searched.name) for each in points if each.done}
        for beyond in (
            [each for each in searched.listed if each < value],
            [each for each in searched.listed if each > value],
        ):
            if beyond and not measured.intersection(beyond):
                values = ", ".join(format_value(each) for each in sorted(beyond))
                yield (
                    f"{searched.name} {values} was not trained yet, and the best lies next to it: "
                    "more trials would tell"
                )


def _comments(points: Sequence[PointSummary], objective: Objective) -> list[str]:
    """Sentences on ranked points."""
    winner = best(points[:1], objective)
    known = [point.objective for point in points if point.objective is not None]
    if winner is None or (len(known) > 1 and len(set(known)) == 1):
        return []  # Where every point came to one value, the evidence says so.
    comments = []
    if len(known) > 1 and len(winner.trials) == 1:
        comments.append(ONE_SEED)
    return comments
