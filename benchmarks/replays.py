"""Replays: searches, confirmations and refinements that draw from measured tables.

All that is judged is worked out by the functions that the commands use: `find_answer`,
`choose_finalists`, `find_beyond`, `next_round`, `judge`, `refine`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tables import Table, search

from lrsearch.analysis import race
from lrsearch.analysis.answer import Answer, find_answer, rest_on
from lrsearch.analysis.basin import Basin
from lrsearch.analysis.confirmation import (
    Confirmation,
    Finalist,
    choose_finalists,
    find_beyond,
)
from lrsearch.analysis.edges import Range
from lrsearch.analysis.points import PointSummary, best
from lrsearch.analysis.refining import refine

TOP, SEEDS = 4, 5
"""The finalists and the fresh seeds of a confirmation: what `confirm` has by default."""

CONFIRMATIONS = 10
"""Confirmations of each search."""

ORACLE = 0.95
"""The share of confirmations whose best finalist an oracle's group holds."""

Row = dict[str, Any]


def spread_of(values: Sequence[float]) -> list[float]:
    """The quantiles of 5, 50 and 95 %."""
    return [float(each) for each in np.quantile(values, [0.05, 0.5, 0.95])]


@dataclass(frozen=True)
class Search:
    """A replayed search: its points, the split that it was on, and its answer."""

    points: list[PointSummary]
    split: int
    answer: Answer


def searches(table: Table, kind: str, number: int) -> Iterator[Search]:
    """Searches of one kind (the share of the grid and the seeds: 1x1, 0.5x1, 1x3), each on a split
    of its own."""
    share, _, seeds = kind.partition("x")
    generator = np.random.default_rng(0)
    _, splits, most = table.values.shape
    count = round(float(share) * len(table.params))
    for _ in range(number):
        split = int(generator.integers(splits))
        chosen = generator.choice(len(table.params), count, replace=False)
        drawn = generator.choice(most, int(seeds), replace=False)
        points = search(table, sorted(chosen), split, drawn)
        answer = find_answer(points, table.objective)
        assert answer is not None
        yield Search(points, split, answer)


# what a search says


def tied_best(values: Any) -> list[int]:
    """Which rows of [rates, trainings] are as good as the best in truth: their paired difference
    is within two standard errors."""
    means = values.mean(axis=1)
    first = int(means.argmin())
    found = []
    for row in range(len(values)):
        if not np.isfinite(values[row]).all():
            continue
        gaps = values[row] - values[first]
        if gaps.mean() <= 2 * gaps.std(ddof=1) / math.sqrt(len(gaps)):
            found.append(row)
    return found


def judge_searches(table: Table, found: Sequence[Search]) -> Row:
    """What the answers of searches say, held against the table."""
    curves: list[tuple[bool, bool, float]] = []
    tally: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        tally.setdefault(name, []).append(value)

    fresh = table.truth
    for one in found:
        answer, own = one.answer, table.values[:, one.split].mean(axis=1)
        for shared, members in table.groups():
            for basin in answer.basins:
                if all(basin.params.get(name, value) == value for name, value in shared.items()):
                    curves.append(_hold_best_rate(table, basin, members, one.split))
        winner = best(one.points, table.objective)
        assert winner is not None and winner.objective is not None
        at, said = winner.point - 1, answer.recommended.point - 1
        if not math.isfinite(own[at]):
            continue
        value = table.sign * winner.objective
        # Positive: better than it is, in units of the deviation from seed to seed.
        noise = float(table.values[at, one.split].std(ddof=1)) or 1.0
        add("best_value_misses_by", (own[at] - value) / noise)
        add("misses_fresh_by", (fresh[at] - value) / table.spread)
        add("misses_fresh", abs(fresh[at] - value) / table.spread)
        add("regret_of_highest", (own[at] - own.min()) / noise)
        if math.isfinite(own[said]):
            add("regret_of_recommended", (own[said] - own.min()) / noise)
        group = {answer.recommended.point, *answer.tied}
        measured = [each.point for each in one.points if math.isfinite(own[each.point - 1])]
        add("truly_best_is_tied", min(measured, key=lambda n: own[n - 1]) in group)
        add("tie_group", len(group))
        basin = basin_of(winner, answer.basins)
        if basin is not None:
            middle, *ends = (table.sign * each for each in basin.at(winner.params["lr"]))
            add("curve_misses_by", (own[at] - middle) / noise)
            add("curve_holds", min(ends) <= own[at] <= max(ends))
            add("curve_holds_fresh", min(ends) <= fresh[at] <= max(ends))
    row = {name: float(np.mean(values)) for name, values in tally.items()}
    over_splits, held, widths = (list(column) for column in zip(*curves, strict=True))
    return {
        "searches": len(found),
        "curves": len(curves),
        "best_lr_holds_over_splits": float(np.mean(over_splits)),
        "best_lr_holds": float(np.mean(held)),
        "median_decades": float(np.median(widths)),
        **row,
        "misses_fresh_spread": spread_of(tally["misses_fresh_by"]),
        "median_tie_group": float(np.median(tally["tie_group"])),
    }


def basin_of(point: PointSummary, basins: Sequence[Basin]) -> Basin | None:
    for basin in basins:
        if all(point.params.get(name) == value for name, value in basin.params.items()):
            return basin
    return None


def _hold_best_rate(
    table: Table, basin: Basin, members: list[int], split: int
) -> tuple[bool, bool, float]:
    """Whether `best_lr` holds a rate that is the best over all splits, or of the search's own, and
    its width in decades."""
    rates = np.array([table.params[index]["lr"] for index in members])
    low, high = basin.best_lr
    inside = (rates >= low * 0.999) & (rates <= high * 1.001)
    over_splits = any(inside[row] for row in tied_best(table.fresh[members]))
    held = any(inside[row] for row in tied_best(table.values[members, split]))
    return over_splits, held, math.log10(high / low)


# confirmations


@dataclass(frozen=True)
class Confirmed:
    """A replayed confirmation: the indices of the finalists in the table, best first in the search,
    then those that joined, the control last; how many it began with; the fresh columns; what was
    trained; the verdict, and the answer."""

    order: list[int]
    begun: int
    control: int
    columns: Any
    scores: dict[int, dict[int, float | None]]
    verdict: race.Verdict
    answer: Answer

    @property
    def recommended(self) -> int:
        """The index of the recommended point."""
        return self.answer.recommended.point - 1

    @property
    def trained(self) -> int:
        """The number of trainings."""
        return sum(len(own) for own in self.scores.values())


def confirm(table: Table, one: Search, seeds: int, generator: Any) -> Confirmed:
    """Confirm a search: its best points and a point at random, the control, race over fresh
    trainings that are drawn from the table (with replacement, so that the table's mean is the
    truth)."""
    recommended = one.answer.recommended.point
    chosen = choose_finalists(one.points, table.objective, TOP, recommended)
    order = [point.point - 1 for point in chosen]
    control = int(generator.integers(len(table.params)))
    order += [control] if control not in order else []
    begun = len(order)
    columns = generator.integers(table.fresh.shape[1], size=seeds)
    searched = {point.point - 1: point.objective for point in one.points}
    points = {point.point: point for point in one.points}
    while True:
        scores = run_race(table, {at: table.fresh[at, columns] for at in order}, order, seeds)
        verdict = race.judge(scores, order, table.objective, control, searched)
        found = [each.point for each in verdict.standings]
        raced = [(points[at + 1], scores[at]) for at in found if at + 1 in points]
        joining = find_beyond(one.points, table.objective, raced)
        if verdict.winner is None or joining is None or len(chosen) >= 2 * TOP:
            break
        order.insert(len(chosen), joining.point - 1)
        chosen.append(joining)
    finalists = tuple(
        Finalist(
            point=each.point + 1 if each.point + 1 in points else None,
            params=table.params[each.point],
            searched=searched.get(each.point),
            mean=each.mean,
            interval=each.interval,
            scores=scores[each.point],
            better=each.better,
            outcome="diverged" if each.mean is None else "",
            control=each.point == control,
            tied=each.point in {verdict.winner, *verdict.tied},
        )
        for each in verdict.standings
    )
    confirmation = Confirmation(finalists, seeds, over=True)
    answer = replace(one.answer, confirmation=confirmation)
    if answer.confirmed:
        answer = rest_on(answer, one.points, table.objective, confirmation)
    return Confirmed(order, begun, control, columns, scores, verdict, answer)


def run_race(
    table: Table, values: Mapping[int, Any], order: Sequence[int], seeds: int
) -> dict[int, dict[int, float | None]]:
    """The scores that a race asks for, of `values` (as good as they are low) by point and seed."""
    scores: dict[int, dict[int, float | None]] = {}
    while pairs := race.next_round(scores, order, table.objective, seeds=seeds):
        for point, seed in pairs:
            value = float(values[point][seed])
            own = scores.setdefault(point, {})
            own[seed] = table.sign * value if math.isfinite(value) else None
    return scores


def judge_confirmations(table: Table, found: Sequence[Search], seeds: int) -> Row:
    """What confirmations of searches say, held against the table."""
    generator = np.random.default_rng(seeds)
    tally: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        tally.setdefault(name, []).append(value)

    truth, distances = table.truth, []
    for one in found:
        highest = one.answer.highest.point - 1
        for _ in range(CONFIRMATIONS):
            done = confirm(table, one, seeds, generator)
            if not done.answer.confirmed or done.answer.interval is None:
                continue
            low, high = sorted(table.sign * end for end in done.answer.interval)
            add("interval_holds", low <= truth[done.recommended] <= high)
            add("interval_width", high - low)
            standings = {each.point: each for each in done.verdict.standings}
            mean = standings[done.recommended].mean
            assert mean is not None
            add("mean_misses_by", (truth[done.recommended] - table.sign * mean) / table.spread)
            add("trained", done.trained)
            add("saved", 1 - done.trained / (len(done.order) * seeds))
            first = min(done.order, key=lambda at: truth[at])
            group = {done.verdict.winner, *done.verdict.tied}
            add("truly_best_is_tied", first in group)
            add("tie_group", len(group))
            distances.append(_distances(table, done, first))
            for name, at in (
                ("regret_of_search", highest),
                ("regret_of_winner", done.verdict.winner),
                ("regret", done.recommended),
                ("regret_without_race", _race_none(table, done)),
            ):
                add(name, (truth[at] - truth.min()) / table.noise)
            for each in done.verdict.standings:
                if each.better is not None and 0.9 <= each.better < 0.99:
                    add("said_better", each.better)
                    add("is_better", truth[each.point] < truth[done.control])
    row: Row = {name: float(np.mean(values)) for name, values in tally.items()}
    row["mean_misses_spread"] = spread_of(tally["mean_misses_by"])
    row["median_width"] = float(np.median(tally["interval_width"]))
    row["oracle_group"] = _measure_oracle(distances)
    row["confirmations"] = len(tally["trained"])
    del row["interval_width"]
    return row


def _race_none(table: Table, done: Confirmed) -> int:
    """The finalist of the best mean when all are trained with all seeds."""
    return min(done.order, key=lambda at: table.fresh[at, done.columns].mean())


def _distances(table: Table, done: Confirmed, first: int) -> tuple[float, list[float]]:
    """The distances of the truly best finalist, and of all, from the one of the best mean, when all
    are trained with all seeds: in standard errors of the difference as the whole table has them."""
    winner = _race_none(table, done)
    found = {}
    for at in done.order:
        with np.errstate(invalid="ignore"):  # Some diverged.
            gaps = table.fresh[at] - table.fresh[winner]
            error = float(gaps.std(ddof=1)) / math.sqrt(len(done.columns))
        gap = float(gaps[done.columns].mean())
        found[at] = gap / error if 0 < error < math.inf else (0.0 if gap == 0 else math.inf)
    return found[first], list(found.values())


def _measure_oracle(distances: Sequence[tuple[float, list[float]]]) -> float:
    """The mean size of an oracle's group: it knows the noise of every difference, and the one limit
    by which its group holds the truly best finalist of this table in 95 % of confirmations."""
    limit = float(np.quantile([own for own, _ in distances], ORACLE, method="higher"))
    return float(np.mean([sum(each <= limit for each in every) for _, every in distances]))


def judge_equals(table: Table, found: Sequence[Search], seeds: int) -> float:
    """The share of races between two finalists, equal in truth, that tell them apart. The second
    one's trainings are moved so that its mean is the first one's."""
    generator = np.random.default_rng(seeds)
    told, total = 0, 0
    for one in found:
        chosen = choose_finalists(one.points, table.objective, TOP, None)
        for _ in range(CONFIRMATIONS):
            pair = generator.choice([point.point - 1 for point in chosen], 2, replace=False)
            if not np.isfinite(table.fresh[pair]).all():
                continue
            columns = generator.integers(table.fresh.shape[1], size=seeds)
            moved = table.truth[pair[0]] - table.truth[pair[1]]
            values = {0: table.fresh[pair[0], columns], 1: table.fresh[pair[1], columns] + moved}
            verdict = race.judge(run_race(table, values, [0, 1], seeds), [0, 1], table.objective)
            told += len(verdict.tied) == 0
            total += 1
    return told / max(1, total)


# others at the same number of trainings


def judge_others(table: Table, counts: Sequence[int], studies: int) -> dict[str, list[float]]:
    """The mean regret of two others that take their best value, after so many trainings each:
    Optuna's TPE as it is, and trainings at random. Each is on one split and draws a seed of the
    table for each training."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    groups = table.groups()
    generator = np.random.default_rng(1)
    _, splits, most = table.values.shape
    worst = float(table.values[np.isfinite(table.values)].max())
    regrets: dict[str, list[list[float]]] = {"optuna": [], "random": []}
    for number in range(studies):
        split = int(generator.integers(splits))
        drawn = generator.integers(most, size=max(counts))
        chosen: list[int] = []
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=number))

        def train(
            trial: Any, split: int = split, drawn: Any = drawn, chosen: list[int] = chosen
        ) -> float:
            _, members = groups[trial.suggest_categorical("group", list(range(len(groups))))]
            chosen.append(members[trial.suggest_int("lr", 0, len(members) - 1)])
            value = float(table.values[chosen[-1], split, drawn[len(chosen) - 1]])
            return value if math.isfinite(value) else worst

        study.optimize(train, n_trials=max(counts))
        values = [trial.value for trial in study.trials]
        regrets["optuna"].append(_regrets(table, chosen, values, counts))
        anywhere = generator.integers(len(table.params), size=max(counts)).tolist()
        values = [
            float(table.values[at, split, seed]) for at, seed in zip(anywhere, drawn, strict=True)
        ]
        regrets["random"].append(_regrets(table, anywhere, values, counts))
    return {name: np.mean(own, axis=0).tolist() for name, own in regrets.items()}


def _regrets(table: Table, chosen: list[int], values: Any, counts: Sequence[int]) -> list[float]:
    """The regret of the best value after so many trainings each, in deviations of a training."""
    firsts = [chosen[int(np.argmin(values[:count]))] for count in counts]
    return [float(table.truth[at] - table.truth.min()) / table.noise for at in firsts]


# refinements

ROUNDS = 12
"""The most rounds of a refinement."""

BEGIN = 4
"""Rates, at random, of each batch size and schedule that a refinement begins with."""


def judge_refinements(table: Table, number: int) -> Row:
    """Refinements that begin with a few rates at random of each batch size and schedule, on one
    split with one seed: how often the rate of the best value is within one step of the best one of
    its batch size and schedule on that split (`near`), and of the grid's optimum (`reached`); what
    is tied with it in truth counts as well. `grid_reached` is the latter of the whole grid."""
    generator = np.random.default_rng(2)
    _, splits, most = table.values.shape
    groups = table.groups()
    rates = sorted({params["lr"] for params in table.params})
    place = {(repr(shared), rates[at]): m for shared, own in groups for at, m in enumerate(own)}
    searched = Range("lr", rates[0], rates[-1], "log", points=len(rates))
    courses: list[list[tuple[int, bool, bool]]] = []
    whole = []
    for _ in range(number):
        split, seed = int(generator.integers(splits)), [int(generator.integers(most))]
        drawn = [generator.choice(own, BEGIN, replace=False) for _, own in groups]
        chosen, course = [int(at) for own in drawn for at in own], []
        for _ in range(ROUNDS):
            points = search(table, chosen, split, seed)
            course.append((len(chosen), *_within_step(table, points, split)))
            found = refine(points, table.objective, "lr", [searched], among=rates)
            new = []
            for each in found.next:
                own = table.params[each.point - 1]
                shared = {name: value for name, value in own.items() if name != "lr"}
                new.append(place[repr(shared), each.value])
            new = [at for at in dict.fromkeys(new) if at not in chosen]
            if not new:
                break
            chosen += new
        courses.append(course)
        every = search(table, range(len(table.params)), split, seed)
        whole.append(_within_step(table, every, split)[1])
    counts = [course[-1][0] for course in courses]
    return {
        "refinements": number,
        "begun_near": float(np.mean([course[0][1] for course in courses])),
        "begun_reached": float(np.mean([course[0][2] for course in courses])),
        "near": float(np.mean([course[-1][1] for course in courses])),
        "reached": float(np.mean([course[-1][2] for course in courses])),
        "grid_reached": float(np.mean(whole)),
        "near_95": _count_for([[(n, held) for n, held, _ in each] for each in courses]),
        "reached_95": _count_for([[(n, held) for n, _, held in each] for each in courses]),
        "begun": len(groups) * BEGIN,
        "trainings": float(np.mean(counts)),
        "most_trainings": max(counts),
        "of": len(table.params),
    }


def _within_step(table: Table, points: list[PointSummary], split: int) -> tuple[bool, bool]:
    """Whether the best value's rate is within one step of the best rate of its batch size and
    schedule, and of the grid's optimum."""
    winner = best(points, table.objective)
    if winner is None:
        return False, False
    members = next(own for _, own in table.groups() if winner.point - 1 in own)
    at = members.index(winner.point - 1)
    own = tied_best(table.values[members, split])
    grid = [members.index(m) for m in tied_best(table.values[:, split]) if m in members]
    return any(abs(row - at) <= 1 for row in own), any(abs(row - at) <= 1 for row in grid)


def _count_for(courses: Sequence[Sequence[tuple[int, bool]]]) -> int | None:
    """The least number of trainings from which on 95 % of the runs are there, each by its last
    complete round; None where they never are."""
    found = None
    for count in sorted({done for course in courses for done, _ in course}, reverse=True):
        states = [[held for done, held in course if done <= count][-1:] for course in courses]
        if np.mean([bool(state and state[0]) for state in states]) < 0.95:
            break
        found = count
    return found
