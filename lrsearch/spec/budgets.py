"""Notes on a searched budget: what keeps its trainings from sharing steps, and budgets that are the
same number of steps."""

from __future__ import annotations

import itertools

from lrsearch.duration import parse
from lrsearch.space import Choice, ends, point_at
from lrsearch.spec.model import Spec, resolve, steps_of

STEADY = ("constant", "step", "multistep", "piecewise", "wsd", "plateau")
"""Schedules whose first rates do not depend on the budget, or need not."""


def note_budgets(spec: Spec) -> list[str]:
    """Notes on a budget that is searched."""
    ranges = dict(spec.space.dimensions)
    budget = ranges.get("budget")
    if budget is None or spec.kind is not None:
        return []
    found = _find_twins(spec, budget) if isinstance(budget, Choice) else []
    if not isinstance(budget, Choice):
        found.append(
            "budget: a range gives nearly each point a length of its own: a list, such as "
            "budget: [5ep, 10ep, 20ep], tells what each brings"
        )
    schedules = spec.space.chosen("schedule", spec.train["schedule"])
    names = {each.get("name") for each in schedules}
    if not names & set(STEADY):
        return found
    warmup = spec.train.get("warmup")
    length = warmup["for"] if warmup is not None and "warmup.for" not in ranges else ""
    if length.endswith("dur") and parse(length).value:
        found.append(
            f"warmup: {length} is another length for each budget, so that their trainings share no "
            "steps: warmup: 1ep, say, is the same for all"
        )
    if "evaluate" not in ranges and spec.train["evaluate"].endswith("dur"):
        found.append(
            f"evaluate: {spec.train['evaluate']} is at other steps for each budget, so that their "
            "trainings share none past the first evaluation: evaluate: 1ep is the same for all"
        )
    return found


def _find_twins(spec: Spec, budget: Choice) -> list[str]:
    """Notes on budgets that are the same number of steps at every batch size."""
    if spec.train_samples is None:
        return []
    sizes = dict(spec.space.dimensions).get("batch_size")
    batches = [{"batch_size": raw} for raw in ends(sizes)] if sizes is not None else [{}]
    steps = [
        tuple(
            steps_of(resolve(spec, point_at(spec.space, {**batch, "budget": raw})), samples)
            for batch in batches
            for samples in set(spec.train_samples)
        )
        for raw in ends(budget)
    ]
    return [
        f"budget: {one.value} and {other.value} are the same {count[0]:,} steps: one training, "
        "measured twice"
        for (one, count), (other, twin) in itertools.combinations(
            zip(budget.options, steps, strict=True), 2
        )
        if count == twin
    ]
