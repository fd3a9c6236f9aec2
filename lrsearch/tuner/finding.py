"""Ranges of rates that a spec leaves to range tests: found once, journaled, and the same for
whoever goes on with the run."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lrsearch import sweeps
from lrsearch.catalogue import USUAL_RATES, name_of
from lrsearch.errors import RangeRefused
from lrsearch.space import (
    Choice,
    Dimension,
    Float,
    Option,
    Space,
    automatic,
    change_dimensions,
    extremes,
    parameters,
    parse_name,
    settle_ends,
)
from lrsearch.spec.foreign.lines import Line
from lrsearch.spec.model import Spec
from lrsearch.spec.values import write
from lrsearch.store import History, Run
from lrsearch.terminal import short
from lrsearch.trial import Ranged, RangeTest
from lrsearch.tuner.ledger import Content, content_of
from lrsearch.tuner.ranging import (
    Manner,
    Structure,
    find_structures,
    is_idle,
    is_numeric,
    measure,
    read_interval,
    strip_config,
)
from lrsearch.tuner.session import Means

MARGIN = 2.0
"""The factor by which the interval of the tests is widened at either end. A sweep is a few hundred
steps from the initial weights: a whole training under a schedule may bear more, or ask for less."""

MOST = 12
"""Range tests that a range is found by, unless more structures differ in one value alone."""

SHOWN = 6
"""Range tests that are named one by one."""

_STEP_SIZE = "momentum"
"""The argument of an optimizer that scales its steps: its ends are tested, though it is a number
that lanes may differ in."""


@dataclass(frozen=True)
class Test:
    """A structure that a range of rates is found for; `key` says what it trains."""

    structure: Structure
    params: Mapping[str, Any]
    key: str


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


# what is tested


def plan_tests(spec: Spec, content: Content, name: str) -> list[Test]:
    """The tests that a range is found by: one a structure that may train at its rates, and where
    the momentum is searched one at each of its ends. Of numbers that make structures, such as
    batch sizes, the lowest and the highest are enough, since the best rate moves one way with
    them; of more than `MOST` tests those that differ from the first in one value.

    Raises UsageError as `ranging.find_structures`.
    """
    found: dict[str, Test] = {}
    for space in _variants(spec, name):
        for structure in find_structures(replace(spec, space=space), content.task or None):
            whole = [strip_config(structure.config), content.of(structure.config)]
            key = _digest(whole)
            found.setdefault(key, Test(structure, _searched(spec, structure), key))
    tests = list(found.values())
    if len(tests) > MOST:
        tests = [test for test in tests if len(_apart(test, tests[0])) < 2]
    return tests


def _digest(parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _searched(spec: Spec, structure: Structure) -> dict[str, Any]:
    """The searched values among a structure's."""
    heads = {parse_name(name).head for name, _ in parameters(spec.space)}
    flat = {**structure.params, **structure.beside}
    return {name: part for name, part in flat.items() if parse_name(name).head in heads}


def _apart(test: Test, other: Test) -> set[str]:
    """The heads of parameters in which two tests differ."""
    names = {*test.params, *other.params}
    different = (name for name in names if test.params.get(name) != other.params.get(name))
    return {parse_name(name).head for name in different}


def _variants(spec: Spec, name: str) -> Iterator[Space]:
    """The space without what needs no test for a range: by its id, one for each momentum."""
    option = parse_name(name).option
    space = spec.space
    if option is not None:

        def choose(path: str, part: Dimension) -> Dimension:
            if path == "optimizer" and isinstance(part, Choice):
                return Choice((part.options[option],))
            return part

        space = change_dimensions(space, choose)
    one = replace(spec, space=space)
    momenta = [
        (each, part) for each, part in parameters(space) if parse_name(each).argument == _STEP_SIZE
    ]
    values = [[(each, value) for value in _values(part)] for each, part in momenta]
    for fixed in itertools.product(*values):
        chosen = dict(fixed)

        def reduce(path: str, part: Dimension, chosen: dict[str, Any] = chosen) -> Dimension:
            if path in chosen:
                return Choice((Option(chosen[path]),))
            plain = not isinstance(part, Choice) or part.ordered
            if not plain or is_idle(one, path) or is_numeric(one, path):
                return part
            return Choice(tuple(map(Option, _values(part))))

        yield change_dimensions(space, reduce)


def _values(dimension: Dimension) -> list[Any]:
    """The values at the ends of a dimension; all of a choice that has no order."""
    raws = extremes(dimension)
    if isinstance(dimension, Choice):
        return [dimension.options[int(raw)].value for raw in raws]
    return [dimension.value(raw) for raw in raws]


def foresee(spec: Spec, tests: Mapping[str, Sequence[Test]]) -> list[str]:
    """Sentences on the tests before the first trial: `tests` by the ids of ranges to be found."""
    if not tests:
        return []
    manner, lines = Manner(), []
    for name, each in tests.items():
        said = [_tell(test.params) for test in each[:SHOWN] if test.params]
        said += [f"{len(each) - SHOWN} more"] if each[SHOWN:] else []
        line = f"The range of {name_range(spec, name)} is found first, by {_count(len(each))}"
        lines.append(f"{line}: {'; '.join(said)}" if said else line)
    steps = manner.steps * len(manner.rates)
    return [
        *lines,
        f"Each trains {manner.seeds} seeds for up to {steps} steps while the rate rises from "
        f"{short(manner.rates[0])} to {short(manner.rates[-1])}",
        "What the tests of a range find together is searched, widened by a factor of "
        f"{MARGIN:g} at either end",
    ]


def _count(tests: int) -> str:
    return "a range test" if tests == 1 else f"{tests} range tests"


def _tell(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {write(value)}" for name, value in params.items())


# what is found


@dataclass(frozen=True)
class Found:
    """The ranges that a spec leaves to range tests, as a journal knows them: by the id of each its
    tests, the key of them together, and the range, None where it is still to be found. `refused`
    says why nothing can be told of them, where they are only read."""

    tests: Mapping[str, list[Test]]
    keys: Mapping[str, str]
    ranges: Mapping[str, Ranged | None]
    refused: str = ""

    @property
    def open(self) -> dict[str, list[Test]]:
        """The tests of the ranges that are still to be found."""
        return {name: self.tests[name] for name, ranged in self.ranges.items() if ranged is None}

    def settle(self, spec: Spec) -> Spec:
        """The spec with the ends that were found, an ordinary one where all of them were."""
        ends = {name: (each.low, each.high) for name, each in self.ranges.items() if each}
        return replace(spec, space=settle_ends(spec.space, ends)) if ends else spec


def look_up(spec: Spec, content: Content, history: History) -> Found:
    """A spec's ranges as a journal knows them. Raises UsageError as `plan_tests`."""
    tests = {name: plan_tests(spec, content, name) for name in automatic(spec.space)}
    keys = {name: _digest(sorted(test.key for test in each)) for name, each in tests.items()}
    return Found(tests, keys, {name: history.ranges.get(key) for name, key in keys.items()})


def find_ranges(spec: Spec, run: Run, means: Means) -> Spec:
    """The spec with all ranges settled that it leaves to range tests, by the journal, or by tests
    that are made and journaled now. The result depends neither on the number of workers nor on what
    else is asked of the search.

    Raises RangeRefused where no test of a range gives one, or where a test was lost with its worker
    twice: the same command then makes that test again, and keeps the others.
    """
    watcher = means.watcher
    found = look_up(spec, content_of(means.facts), run.history)
    ranges = dict(found.ranges)
    for known in found.ranges.values():
        if known is not None:
            watcher.note(f"{describe_found(known)}, as this run has it")
    tests = {test.key: test for each in found.open.values() for test in each}
    if tests:
        names = " and ".join(name_range(spec, name) for name in found.open)
        watcher.note(f"{_count(len(tests))} first, to find the range of {names}")
    bodies = _test(spec, [test.structure for test in tests.values()], run, means)
    made = dict(zip(tests, bodies, strict=True))
    for name, each in found.open.items():
        key = found.keys[name]
        if key not in run.history.ranges:  # Two options may differ in their points alone.
            lost = next((test for test in each if _is_lost(made[test.key])), None)
            if lost is not None:
                raise _refuse_lost(spec, name, lost, made[lost.key])
            tested = [_judge(test, made[test.key]) for test in each]
            caps = [made[test.key]["cap"] or math.inf for test in each]
            if all(test.interval is None for test in tested):
                raise _refuse(spec, name, tested, [made[test.key] for test in each])
            run.ranged(key, _combine(spec, name, tested, max(caps)))
        ranges[name] = ranged = run.history.ranges[key]
        watcher.note(describe_found(ranged))
        for one in ranged.tests:
            if one.interval is None:
                watcher.note(f"{_tell(one.params)} has no part in that: {one.refused}")
    return replace(found, ranges=ranges).settle(spec)


def _test(
    spec: Spec, structures: Sequence[Structure], run: Run, means: Means
) -> list[dict[str, Any]]:
    """The range tests of structures, as the journal has them: what a lost worker had is given to
    another, once."""
    bodies = measure(spec, structures, Manner(), run, means)
    lost = [at for at, body in enumerate(bodies) if _is_lost(body)]
    if lost:
        means.watcher.note(f"{_count(len(lost))} once more: {bodies[lost[0]]['fault']}")
        again = measure(spec, [structures[at] for at in lost], Manner(), run, means)
        for at, body in zip(lost, again, strict=True):
            bodies[at] = body
    return bodies


def _is_lost(body: Mapping[str, Any]) -> bool:
    """Whether a range test was lost with its worker, which says nothing of its structure."""
    return bool(body["fault"]) and not body["seconds"]


def _judge(test: Test, body: Mapping[str, Any]) -> RangeTest:
    """The result of a range test, as the journal has it, for its structure."""
    found = read_interval(body)
    if isinstance(found, sweeps.Refusal):
        return RangeTest(test.params, None, found.reason)
    return RangeTest(test.params, (found.low, found.high))


def _combine(spec: Spec, name: str, tests: Sequence[RangeTest], cap: float) -> Ranged:
    """The range that tests find together, up to the rate above which no step is larger."""
    intervals = [test.interval for test in tests if test.interval is not None]
    low, high = min(ends[0] for ends in intervals), max(ends[1] for ends in intervals)
    return Ranged(
        name_range(spec, name),
        round_out(low / MARGIN, math.floor),
        min(round_out(high * MARGIN, math.ceil), cap),
        MARGIN,
        tuple(tests),
    )


def round_out(value: float, towards: Callable[[float], int]) -> float:
    """A rate in two digits, away from the interval: by `math.floor` its lower end, by `math.ceil`
    its upper one."""
    power = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{towards(round(value / power, 6)) * power:.2g}")


def describe_found(ranged: Ranged) -> str:
    """The range that was found, in a sentence without its end."""
    return f"{ranged.name} is searched from {short(ranged.low)} to {short(ranged.high)}"


def _refuse(
    spec: Spec, name: str, tests: Sequence[RangeTest], bodies: Sequence[Mapping[str, Any]]
) -> RangeRefused:
    """The error for a range that no test tells, with the line to write in its place, and what the
    tests advise."""
    reasons = dict.fromkeys(test.refused for test in tests)
    why = "; ".join(reasons)
    if len(reasons) > 1:
        why = "; ".join(f"{_tell(test.params)}: {test.refused}" for test in tests)
    found = [read_interval(body) for body in bodies]
    advice = dict.fromkeys(each.advice for each in found if isinstance(each, sweeps.Refusal))
    advised = "; ".join(filter(None, advice))
    told = "lrsearch range shows the curves" + (f", and advises: {advised}" if advised else "")
    return RangeRefused(
        f"no range test tells which rates are worth searching, of {name_range(spec, name)}: {why}",
        where=spec.source,
        hint=f"{_write_usual(spec, name)}; no trial has begun, and {told}",
    )


def _refuse_lost(spec: Spec, name: str, test: Test, body: Mapping[str, Any]) -> RangeRefused:
    """The error for a range of which a test was lost twice."""
    params = f" with {_tell(test.params)}" if test.params else ""
    return RangeRefused(
        f"the range of {name_range(spec, name)} is not found, since a range test{params} was lost "
        f"twice: {body['fault']}",
        where=spec.source,
        hint="the same command makes that test again, and keeps the others; or "
        f"{_write_usual(spec, name)}; no trial has begun",
    )


def _write_usual(spec: Spec, name: str) -> str:
    """The line to write in place of a range that is not found."""
    whose = name_range(spec, name)
    part = dict(parameters(spec.space))[name]
    points = {"points": part.points} if isinstance(part, Float) and part.points else {}
    low, high = _usual(spec, name)
    line = Line(("search", "lr"), {"min": low, "max": high, **points}).show(("search", "lr"))
    place = "" if name == "lr" else f" into the option {whose.removeprefix('lr of ')}"
    return f"{line}{place}, which is usual there"


def _usual(spec: Spec, name: str) -> tuple[float, float]:
    """Rates that are usually searched of the optimizer that a range is of."""
    option = parse_name(name).option
    chosen = dict(spec.space.dimensions).get("optimizer")
    value = spec.train["optimizer"]
    if option is not None and isinstance(chosen, Choice):
        value = chosen.options[option].value
    return USUAL_RATES.get(_title(value), USUAL_RATES[""])
