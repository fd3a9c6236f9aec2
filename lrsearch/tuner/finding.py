"""Ranges of rates that a spec leaves to range tests: found once, journaled, and the same for
whoever goes on with the run."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lrsearch import sweeps
from lrsearch.catalogue import USUAL_RATES, name_of
from lrsearch.errors import RangeRefused
from lrsearch.executors.port import Executor
from lrsearch.space import (
    Choice,
    Float,
    automatic,
    corners,
    extremes,
    parameters,
    parse_name,
    point_at,
    settle_ends,
)
from lrsearch.spec.flattening import flatten
from lrsearch.spec.foreign.lines import Line
from lrsearch.spec.model import Spec, canonical, identity, resolve
from lrsearch.spec.values import write
from lrsearch.store import History, Run
from lrsearch.trial import Config, Facts, Ranged, Swept, Tested, Workplace
from lrsearch.tuner.ledger import Content, content_of
from lrsearch.tuner.plans import structure
from lrsearch.tuner.ranging import Manner, sweep_configs
from lrsearch.tuner.watcher import Watcher

MARGIN = 2.0
"""The factor by which the interval of the tests is widened at either end. A sweep is a few hundred
steps from the initial weights: a whole training under a schedule may bear more, or ask for less."""

MOST = 12
"""Range tests that a range is found by, unless more structures differ in one value alone."""

_NO_PART = ("lr", "schedule", "warmup", "budget", "evaluate")
"""Heads of parameters that play no part in a sweep, which has rates and a length of its own."""

_STEP_SIZE = ("momentum",)
"""Arguments of an optimizer that scale its steps: their ends are tested, though they are numbers
that lanes may differ in."""


@dataclass(frozen=True)
class Test:
    """A range test that a range of the space is found by: its `config`, with the rate, the schedule
    and the length that play no part at one value each, the searched values of it in `params`, flat,
    and what it is known by."""

    config: Config
    params: Mapping[str, Any]
    text: str

    @property
    def key(self) -> str:
        """The sweep's key in the journal: what it trains, and how sweeps are made."""
        manner = Manner()
        return _digest([self.text, manner.rates, manner.steps, manner.seeds])


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def name_range(spec: Spec, name: str) -> str:
    """A range of rates in words, by its id in the space: `lr`, `lr of adamw`."""
    parts = parse_name(name)
    chosen = dict(spec.space.dimensions).get(parts.head)
    if parts.option is None or not isinstance(chosen, Choice):
        return parts.path
    titles = [_title(option.value) for option in chosen.options]
    title = titles[parts.option]
    again = f" (option {parts.option + 1})" if titles.count(title) > 1 else ""
    return f"{parts.argument} of {title}{again}"


def _title(value: Any) -> str:
    return str(name_of(value)) if isinstance(value, Mapping) else ""


def plan_tests(spec: Spec, content: Content, name: str) -> list[Test]:
    """The tests that a range is found by: one a structure that may train at its rates. Of numbers,
    such as batch sizes, the lowest and the highest are enough, since the best rate moves one way
    with them; `MOST` combinations at most are tested, or else what differs from the first in one
    value."""
    axes = _axes(spec, content.task, name)
    found: dict[str, Test] = {}
    for point in corners(spec.space, axes, 10 * MOST):
        _add(found, _make_test(spec, content, point))
    if len(found) > MOST:
        found.clear()
        first = {each: values[0] for each, values in axes.items()}
        for each, values in axes.items():
            for value in values:
                point = point_at(spec.space, {**first, each: value})
                _add(found, _make_test(spec, content, point))
    return list(found.values())


def _add(found: dict[str, Test], test: Test) -> None:
    found.setdefault(test.text, test)


def _axes(spec: Spec, task: str, name: str) -> dict[str, list[float]]:
    """The raw numbers to combine, by parameter: of all that makes another structure, or scales an
    optimizer's steps, under the option that the range lives under."""
    mine = parse_name(name)
    axes: dict[str, list[float]] = {}
    for each, part in parameters(spec.space):
        parts = parse_name(each)
        if each == name:
            axes[each] = [part.low if isinstance(part, Float) else 0]
        elif parts.head in _NO_PART or (parts.head == mine.head and parts.option != mine.option):
            continue
        else:
            values = extremes(part)
            configs = [_normal(spec, point_at(spec.space, {each: raw}), task) for raw in values]
            scales = parts.argument in _STEP_SIZE and parts.head == "optimizer"
            if scales or len({structure(config, None) for config in configs}) > 1:
                axes[each] = values
    return axes


def _normal(spec: Spec, point: Mapping[str, Any], task: str) -> dict[str, Any]:
    """A config with what plays no part in a sweep at one value."""
    config = resolve(spec, point, task)
    fixed = {"lr": 1.0, "schedule": {"name": "constant"}, "warmup": None}
    config["train"] |= {**fixed, "budget": "1ep", "evaluate": "1ep"}
    return config


def _make_test(spec: Spec, content: Content, point: Mapping[str, Any]) -> Test:
    config = _normal(spec, point, content.task)
    flat = flatten(spec.space, config)
    params = {key: part for key, part in flat.items() if key.split(".")[0] not in _NO_PART}
    text = json.dumps([canonical(identity(config)), content.of(config)], sort_keys=True)
    return Test(config, params, text)


def foresee(spec: Spec, tests: Mapping[str, Sequence[Test]]) -> list[str]:
    """Sentences on the tests before the first trial: `tests` by the ids of ranges to be found."""
    if not tests:
        return []
    manner, lines = Manner(), []
    for name, each in tests.items():
        said = [_tell(test.params) for test in each[:SHOWN] if test.params]
        said += [f"{len(each) - SHOWN} more"] if each[SHOWN:] else []
        many = "a range test" if len(each) == 1 else f"{len(each)} range tests"
        lines.append(f"The range of {name_range(spec, name)} is found first, by {many}")
        lines[-1] += f": {'; '.join(said)}" if said else ""
    seeds, steps = manner.seeds, manner.steps * len(manner.rates)
    return [
        *lines,
        f"Each trains {seeds} seeds for up to {steps} steps while the rate rises from "
        f"{_rate(manner.rates[0])} to {_rate(manner.rates[-1])}",
        "What the tests of a range find together is searched, widened by a factor of "
        f"{MARGIN:g} at either end",
    ]


SHOWN = 6
"""Range tests that are named one by one."""


def _rate(value: float) -> str:
    return f"{value:g}" if 1e-4 <= value < 1e4 else write(value)


@dataclass(frozen=True)
class Found:
    """The ranges that a spec leaves to range tests, as a journal knows them: by the id of each its
    tests, the key of them together, and the range, None where it is still to be found."""

    tests: Mapping[str, list[Test]]
    keys: Mapping[str, str]
    ranges: Mapping[str, Ranged | None]

    def cost(self, history: History) -> tuple[float, float]:
        """Epochs and seconds of the tests that were made, those of ranges that are still to be
        found among them."""
        made: list[Tested | Swept] = []
        for name, ranged in self.ranges.items():
            keys = [test.key for test in self.tests[name] if test.key in history.sweeps]
            made += ranged.tests if ranged else [history.sweeps[key] for key in keys]
        return math.fsum(each.epochs for each in made), math.fsum(each.seconds for each in made)

    @property
    def open(self) -> dict[str, list[Test]]:
        """The tests of the ranges that are still to be found."""
        return {name: self.tests[name] for name, ranged in self.ranges.items() if ranged is None}

    def settle(self, spec: Spec) -> Spec:
        """The spec with the ends that were found, an ordinary one where all of them were."""
        ends = {name: (each.low, each.high) for name, each in self.ranges.items() if each}
        return replace(spec, space=settle_ends(spec.space, ends)) if ends else spec


def look_up(spec: Spec, content: Content, history: History) -> Found:
    """A spec's ranges as a journal knows them."""
    tests = {name: plan_tests(spec, content, name) for name in automatic(spec.space)}
    keys = {name: _digest(sorted(test.text for test in each)) for name, each in tests.items()}
    return Found(tests, keys, {name: history.ranges.get(key) for name, key in keys.items()})


def find_ranges(
    spec: Spec,
    *,
    run: Run,
    executor: Executor,
    facts: Facts,
    workplace: Workplace,
    watcher: Watcher,
) -> Spec:
    """The spec with every range settled that it leaves to range tests: by the journal, or by tests
    that are made and journaled now. Neither the number of workers nor what else is asked of the
    search has a part in what they come to.

    Raises RangeRefused where no test of a range tells one; what was tested stays.
    """
    found = look_up(spec, content_of(facts), run.history)
    ranges = dict(found.ranges)
    for known in found.ranges.values():
        if known is not None:
            watcher.note(f"{describe_range(known)}, as this run has it")
    tests = {test.key: test for each in found.open.values() for test in each}
    missing = [test for key, test in tests.items() if key not in run.history.sweeps]
    if missing:
        names = " and ".join(name_range(spec, name) for name in found.open)
        many = "a range test" if len(tests) == 1 else f"{len(tests)} range tests"
        done = len(tests) - len(missing)
        made = f", {done} of them made before" if done else ""
        watcher.note(f"{many} first, to find the range of {names}{made}")
    swept = {key: run.history.sweeps[key] for key in tests if key in run.history.sweeps}
    work = _Work(spec, executor, facts, workplace, watcher)
    for test, answer in work.sweep(missing):
        if not answer.fault:
            run.swept(test.key, answer)
        swept[test.key] = answer
    for name, each in found.open.items():
        tested = [_judge(test, swept[test.key]) for test in each]
        intervals = [one.interval for one in tested if one.interval is not None]
        if not intervals:
            raise _refuse(spec, name, tested)
        low, high = min(ends[0] for ends in intervals), max(ends[1] for ends in intervals)
        ranged = Ranged(
            name_range(spec, name),
            round_out(low / MARGIN, math.floor),
            round_out(high * MARGIN, math.ceil),
            MARGIN,
            tuple(tested),
        )
        run.ranged(found.keys[name], ranged)
        ranges[name] = ranged
        watcher.note(describe_range(ranged))
        for one in tested:
            if one.interval is None:
                watcher.note(f"{_tell(one.params)} has no part in that: {one.refused}")
    return replace(found, ranges=ranges).settle(spec)


@dataclass(frozen=True)
class _Work:
    spec: Spec
    executor: Executor
    facts: Facts
    workplace: Workplace
    watcher: Watcher

    def sweep(self, tests: Sequence[Test]) -> Iterator[tuple[Test, Swept]]:
        """Make tests; what a lost worker had is given to another, once."""
        lost = []
        for at, answer in self._sweep(tests):
            if answer.fault and not answer.seconds:
                lost.append(tests[at])
                self.watcher.note(f"a range test is made again: {answer.fault}")
            else:
                yield tests[at], answer
        for at, answer in self._sweep(lost):
            yield lost[at], answer

    def _sweep(self, tests: Sequence[Test]) -> Iterator[tuple[int, Swept]]:
        if not tests:
            return
        yield from sweep_configs(
            self.spec,
            [test.config for test in tests],
            Manner(),
            executor=self.executor,
            facts=self.facts,
            workplace=self.workplace,
            note=self.watcher.note,
        )


def _judge(test: Test, swept: Swept) -> Tested:
    """The result of a sweep for its structure."""
    interval, refused = None, swept.fault
    if not refused:
        found = sweeps.find_interval(swept.lr, swept.losses)
        if isinstance(found, sweeps.Interval):
            interval = found.low, found.high
        else:
            refused = f"{found.reason} (try {found.advice})"
    return Tested(test.params, interval, refused, test.key, swept.epochs, swept.seconds)


def round_out(value: float, towards: Any) -> float:
    """A rate in two digits, away from the interval: by `math.floor` its lower end, by `math.ceil`
    its upper one."""
    power = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{towards(round(value / power, 6)) * power:.2g}")


def describe_range(ranged: Ranged) -> str:
    """The range that was found, in a sentence without its end."""
    return f"{ranged.name} is searched from {_rate(ranged.low)} to {_rate(ranged.high)}"


def _tell(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {write(value)}" for name, value in params.items()) or "its structure"


def _refuse(spec: Spec, name: str, tested: Sequence[Tested]) -> RangeRefused:
    """The error for a range that no test tells, with the line to write in its place."""
    reasons = dict.fromkeys(each.refused for each in tested)
    told = next(iter(reasons))
    if len(reasons) > 1:
        told = "; ".join(f"{_tell(each.params)}: {each.refused}" for each in tested)
    optimizer = tested[0].params.get("optimizer", spec.train["optimizer"].get("name", ""))
    low, high = USUAL_RATES.get(optimizer, USUAL_RATES[""])
    part = dict(parameters(spec.space))[name]
    points = part.points if isinstance(part, Float) and part.points else None
    usual = {"min": low, "max": high, **({"points": points} if points else {})}
    line = Line(("search", "lr"), usual).show(("search", "lr"))
    whose = name_range(spec, name)
    place = "" if name == "lr" else f", into the option {whose.removeprefix('lr of ')}"
    return RangeRefused(
        f"a range test does not tell which rates are worth searching, of {whose}: {told}",
        where=spec.source,
        hint=f"{line}{place}: rates that are usual there; no trial has begun",
    )
