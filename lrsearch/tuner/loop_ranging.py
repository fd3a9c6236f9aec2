"""Range tests of a loop of the user's: whole trainings by the rates that `trial.lr_at` gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lrsearch.executors.port import Died, Finished
from lrsearch.spec.model import Spec, complete_group
from lrsearch.train.jobs import find_jobs
from lrsearch.trial import (
    Cohort,
    Config,
    Ended,
    Measured,
    Outcome,
    Plan,
    Swept,
    Trial,
)
from lrsearch.tuner.session import Means
from lrsearch.tuner.silence import Subject, Watch, name_trials

LOSSES = ("train_loss", "loss")
"""Metrics that a range test reads, the first that is reported."""

LEAST = 36
"""Reports of a training, at least: four a decade."""

FORM = "trial.report(step, loss=loss, lr=trial.lr_at(step, total))"

_WHY = "a loop takes its rates in a range test from trial.lr_at, and reports them"


@dataclass
class _Test:
    """A loop's range test under way: the trainings that have ended, one a seed, and a fault."""

    trainings: list[Ended] = field(default_factory=list)
    fault: str = ""

    def find_fault(self, rates: tuple[float, float]) -> str:
        """The reason why the test tells nothing, as far as its trainings are over, or ""."""
        return self.fault or next(
            filter(None, (_fault(each, rates) for each in self.trainings)), ""
        )


def sweep_loops(
    spec: Spec,
    trials: Sequence[Sequence[Trial]],
    rates: tuple[float, float],
    means: Means,
    hear: Callable[[int, float], None],
) -> Iterator[tuple[int, Swept]]:
    """Train the loop while its rate rises from the first to the second of `rates`; `trials` are, by
    structure, one a seed. Yields a structure's place and what came of it.

    The trials have numbers that no trial of the run has yet, and later trials have them again: what
    a loop keeps by its number is written over by those. `hear` is told the place of a structure
    under way, and the share of its trainings that is over, by the rates that they report. A loop
    that does not follow or does not report the rate has a fault, after which no further training
    of its structure begins. Raises what a cohort raises for changed code.
    """
    tests = [_Test() for _ in trials]
    places: dict[int, int] = {}
    numbers: dict[int, int] = {}
    jobs: set[int] = set()
    shares = [dict.fromkeys((trial.number for trial in each), 0.0) for each in trials]
    # A loop that takes no part shows it in its first training: no more than find a free worker
    # begin before that one is over.
    at_once = max(1, means.executor.capacity // max(1, len(trials)))
    waiting = [list(each) for each in trials]

    def submit(place: int, count: int) -> None:
        chosen, waiting[place] = waiting[place][:count], waiting[place][count:]
        for trial in chosen:
            cohort = Cohort(
                (replace(trial, config=_rising(trial.config, rates)),),
                Plan(),
                means.workplace,
                spec.objective(means.facts.task),
                source_hashes=means.facts.source_hashes,
                timeout=spec.timeout,
                run=spec.name,
            )
            handle = means.executor.submit(find_jobs(spec.kind).train, cohort)
            places[handle], numbers[handle] = place, trial.number
            jobs.add(handle)

    for place in range(len(trials)):
        submit(place, at_once)
    watch = Watch(
        means.executor,
        means.watcher.note,
        lambda heard: Subject(name_trials([numbers[heard.handle]]), timeout=spec.timeout),
    )
    for handle, event in watch.follow(jobs):  # What has not ended is made again.
        place = places[handle]
        if isinstance(event, Measured):
            shares[place][numbers[handle]] = _share(event.measurement.metrics, rates)
            hear(place, math.fsum(shares[place].values()) / len(shares[place]))
        elif isinstance(event, Ended):
            tests[place].trainings.append(event)
            shares[place][numbers[handle]] = 1.0
        elif isinstance(event, Died | Finished):
            if isinstance(event, Died):
                tests[place].fault = f"its worker was lost: {event.reason}"
            if not tests[place].find_fault(rates):
                submit(place, len(waiting[place]))
            if all(places[each] != place for each in jobs):
                yield place, _join(tests[place], rates)


def _share(metrics: Mapping[str, float], rates: tuple[float, float]) -> float:
    """The share of a training that is over, by the rate that it reports."""
    rate = metrics.get("lr", math.nan)
    if not rates[0] < rate < math.inf:
        return 0.0
    return min(1.0, math.log(rate / rates[0]) / math.log(rates[1] / rates[0]))


def _rising(config: Config, rates: tuple[float, float]) -> dict[str, Any]:
    """The config with a rate that rises exponentially over the whole training."""
    low, high = rates
    schedule = complete_group("schedule", {"name": "exponential", "final": high / low})
    return {
        **config,
        "params": {**config["params"], "lr": low, "schedule": schedule, "warmup": None},
    }


def _join(test: _Test, rates: tuple[float, float]) -> Swept:
    """One answer of the trainings of all seeds."""
    seconds = math.fsum(each.result.seconds for each in test.trainings)
    steps = sum(each.result.steps for each in test.trainings)
    curves = [_read(each.curve) for each in sorted(test.trainings, key=lambda each: each.trial)]
    fault = test.find_fault(rates) or ("" if curves else "it gave no answer")
    lr = sorted({rate for curve in curves for rate in curve})
    losses = tuple(tuple(curve.get(rate, math.inf) for rate in lr) for curve in curves)
    if fault:
        lr, losses = [], ()
    return Swept(tuple(lr), losses, "solo", _WHY, steps, 0.0, seconds, fault)


def _read(curve: Mapping[str, Sequence[float]]) -> dict[float, float]:
    """The losses of a training by its rates, to ten digits: seeds have the same."""
    name = next((each for each in LOSSES if each in curve), "")
    if not name or "lr" not in curve:
        return {}
    pairs = zip(curve["lr"], curve[name], strict=True)
    return {float(f"{rate:.10g}"): loss for rate, loss in pairs if math.isfinite(rate)}


def _fault(training: Ended, rates: tuple[float, float]) -> str:
    """The reason why a training tells nothing of rates, or ""."""
    curve, result = training.curve, training.result
    if result.reason and not curve:
        return result.reason
    if "lr" not in curve or not any(name in curve for name in LOSSES):
        missing = "lr" if "lr" not in curve else "loss"
        return f"the loop reports no {missing} beside the step: {FORM}"
    tried = sorted(_read(curve))
    # A loop that was ended midway, as by its time limit, says nothing of the rates that it missed.
    if result.outcome is Outcome.FAILED and (not tried or tried[-1] < rates[1] * (1 - 1e-6)):
        return result.reason
    if len(tried) < 2 or tried[-1] < 10 * tried[0]:
        return f"its rate does not rise, so that it does not ask trial.lr_at for it: {FORM}"
    whole = math.log(tried[-1] / tried[0]) / math.log(rates[1] / rates[0])
    if len(tried) < LEAST * whole:
        return f"it reports {len(tried)} times, and a range test takes {LEAST} at least"
    return ""
