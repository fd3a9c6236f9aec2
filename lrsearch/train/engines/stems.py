"""Stems: the first steps that trials have in common, and who branches off whom. Free of torch.

Two trials of one structure, seed and fold that differ in their schedules and budgets alone are one
training as long as their rates are equal, bit by bit, and they are evaluated at the same steps:
what else a step reads (the other numbers, the data's order, the noise) is the same.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from types import MappingProxyType

import numpy as np

from lrsearch.analysis.pruning import judging_step
from lrsearch.schedules import Array
from lrsearch.spec.model import identity
from lrsearch.train.engines.timetable import evaluation_steps, learning_rates, make_plateau
from lrsearch.trial import Trial

LEAST = 10
"""The fewest steps worth sharing: to copy and restore a state takes as long as some."""

TOGETHER = 64
"""Trials compared with each other, at most: the rates of all their steps are in memory."""


@dataclass(frozen=True)
class Branch:
    """A trial of `whole` steps whose first `fork` ones are those of the trial numbered `stem`. One
    that is `alike` ends where its stem does, should that end before the fork: it is as long, and
    judged at the same step."""

    stem: int
    fork: int
    alike: bool = True
    whole: int = field(default=0, compare=False)


@dataclass(frozen=True, eq=False)
class Way:
    """The course that a training will take. `rates` are its rates, float64 [budget], of which the
    first `certain` ones cannot change: a plateau follows what is measured. At the step `judged` (0:
    never) it ends where it makes no progress. `evaluations` are the steps after which it is
    evaluated. A training that goes on from a state has `begun` steps behind it, and no other one
    branches off before."""

    rates: Array
    certain: int
    judged: int = 0
    evaluations: tuple[int, ...] = ()
    begun: int = 0

    def is_alike(self, other: Way) -> bool:
        """Whether both end at the same step, as long as they have their steps in common."""
        return (len(self.rates), self.judged) == (len(other.rates), other.judged)


def _kin(trial: Trial) -> str | None:
    """The text shared by exactly the trials that differ in their schedules and budgets alone; None
    for one that shares nothing: a training outside lrsearch, or a schedule of the user's own, which
    may give other rates at its next call."""
    if "params" in trial.config or "class_path" in trial.config["train"]["schedule"]:
        return None
    whole = identity(trial.config)
    apart = ("schedule", "budget")
    train = {name: part for name, part in whole["train"].items() if name not in apart}
    parts = [whole["data"], whole["model"], train, trial.seed, trial.fold]
    return json.dumps(parts, sort_keys=True)


def find_way(train: Mapping[str, object], samples: int, *, judged: bool) -> Way:
    """The way of a resolved `train`. A plateau may change its rates one counted evaluation after
    its patience is over: the first metrics can only get worse, or, where rates may rise, better.
    The way is `judged` by its progress where no rule says otherwise. Raises ValueError as
    `timetable`'s functions do."""
    rates, evaluations = learning_rates(train, samples), evaluation_steps(train, samples)
    plateau = make_plateau(train, samples)
    certain = len(rates)
    if plateau is not None:
        counted = [step for step in evaluations if step > plateau.ahead]
        if len(counted) > plateau.patience:
            # Just before that evaluation, after which their states may differ.
            certain = counted[plateau.patience] - 1
    end = judging_step(evaluations, rates.tolist()) if judged else 0
    return Way(rates, certain, end, evaluations)


def common_steps(one: Way, other: Way) -> int:
    """The leading steps that two ways have in common, at most all but the last, and none from an
    evaluation on that is one's alone: it begins a new mean of training losses."""
    most = min(len(one.rates) - 1, len(other.rates) - 1, one.certain, other.certain)
    pairs = zip(one.evaluations, other.evaluations, strict=False)
    most = min(most, next((min(pair) - 1 for pair in pairs if pair[0] != pair[1]), most))
    if most <= 0:
        return 0
    differ = one.rates[:most].view(np.uint64) != other.rates[:most].view(np.uint64)
    return int(differ.argmax()) if differ.any() else most


def join(ways: Sequence[Way], *, least: int = LEAST) -> list[Branch | None]:
    """The branch of each way off an earlier one, by their places in the order; None for a way that
    branches off no other.

    A way branches off the earlier one with which it has most steps in common, the first of several.
    So each step is trained once: the ways make a tree, and the steps trained are its edges.
    """
    found: list[Branch | None] = []
    for place, way in enumerate(ways):
        found_common = [(common_steps(way, other), other.begun) for other in ways[:place]]
        common = [steps if steps >= begun else 0 for steps, begun in found_common]
        fork = max(common, default=0)
        if fork < max(1, least):
            found.append(None)
            continue
        stem = common.index(fork)
        found.append(Branch(stem, fork, way.is_alike(ways[stem]), len(way.rates)))
    return found


def find_stems(
    trials: Sequence[Trial],
    samples: int,
    batch: float | Fraction | None = None,
    *,
    begun: Mapping[int, int] = MappingProxyType({}),
    judged: Collection[int] = (),
    most: int | None = None,
) -> dict[int, Branch]:
    """The branches among trials of one structure, by number; stems stand before them in the order.

    `samples` is the size of an epoch, `batch` that of a batch on average, where a loader has its
    own. Trials in `begun` go on from a state, after so many steps, and branch off none, those in
    `judged` end where they make no progress. No fork lies past step `most`.
    """
    found: dict[int, Branch] = {}
    for group in _groups(trials):
        size = {} if batch is None else {"batch_size": batch}
        own: list[Trial] = []
        ways: list[Way] = []
        for trial in group:
            try:
                train = {**trial.config["train"], **size}
                way = find_way(train, samples, judged=trial.number in judged)
            except ValueError:  # It will fail, and say so.
                continue
            certain = way.certain if most is None else min(most, way.certain)
            own.append(trial)
            ways.append(replace(way, certain=certain, begun=begun.get(trial.number, 0)))
        for trial, branch in zip(own, join(ways), strict=True):
            if branch is not None and trial.number not in begun:
                found[trial.number] = replace(branch, stem=own[branch.stem].number)
    return found


def _groups(trials: Sequence[Trial]) -> Iterator[list[Trial]]:
    """The trials that may have steps in common, at least two each."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        if (key := _kin(trial)) is not None:
            groups.setdefault(key, []).append(trial)
    for group in groups.values():
        for start in range(0, len(group), TOGETHER):
            part = group[start : start + TOGETHER]
            if len(part) > 1:
                yield part
