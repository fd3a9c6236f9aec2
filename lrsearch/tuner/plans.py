"""Plans: the engine of each structure's trials, as asked for or known from the journal, and the
cohorts."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lrsearch import catalogue
from lrsearch.analysis.reasons import merge_reasons
from lrsearch.spec.model import Spec, identity
from lrsearch.store import Run
from lrsearch.trial import Config, Plan, Planned, Trial

ENGINES = ("auto", "solo", "fused")
"""The engines a user may ask for: the faster of both, or one of them where it is possible."""

COHORT = 8
"""Trials handed out at once to train one by one: more would keep other workers waiting."""

ROUNDS = 2
"""Trials handed out at once for each lane: places are refilled from the cohort's own."""

ASKED = Plan(reason="--engine solo asks for it", lasting=False)
ALONE = Plan(reason="nothing waits that could train beside it", lasting=False)
"""The plan of a trial whose structure has no other trial at the time, as some proposals of bayes,
where a program of one lane gains nothing."""
APART = Plan(reason="each trial proposed with it has a worker of its own", lasting=False)
"""The plan of proposals that are no more than the workers."""
GOING_ON = Plan(reason="it goes on from its saved state, where it trained solo", lasting=False)

DESCRIBED = 3
"""The most reasons against fusing that are told at once."""


def structure(config: Config, fold: int | None, *, budgets: bool = True) -> str:
    """The text shared by exactly the trials that may train side by side: all values that are not
    numeric in the catalogue, and the fold, which has data of its own. Trials of several budgets may
    do so, too: without `budgets` they are of one structure."""
    whole = identity(config)
    if "params" in config:  # Only the user's own code could train two of them at once.
        return json.dumps([whole, fold], sort_keys=True)
    train = config["train"]
    # Of what the identity has: keys that older plans did not know are left out at their defaults.
    rest = {
        name: whole["train"][name]
        for name, part in catalogue.TRAIN.items()
        if not part.numeric and name in whole["train"] and (budgets or name != "budget")
    }
    optimizer = train["optimizer"]
    kind: Any = optimizer.get("name")
    if kind is None:
        kind = optimizer
    else:
        rest |= {
            f"optimizer.{name}": optimizer[name]
            for name, part in catalogue.OPTIMIZERS[kind].parameters.items()
            if not part.numeric
        }
    parts = [whole["data"], whole["model"], rest, kind, fold]
    return json.dumps(parts, sort_keys=True)


def structure_key(config: Config, fold: int | None, *, budgets: bool = True) -> str:
    """The key of a structure in the journal: 16 hex digits of its SHA-256."""
    return hashlib.sha256(structure(config, fold, budgets=budgets).encode()).hexdigest()[:16]


def structure_keys(trial: Trial) -> tuple[str, str]:
    """The keys under which a journal may have the plan of a trial's structure: one with the trial's
    budget, and one for all budgets."""
    config, fold = trial.config, trial.fold
    return structure_key(config, fold), structure_key(config, fold, budgets=False)


def by_structure(trials: Sequence[Trial], *, budgets: bool = True) -> dict[str, list[Trial]]:
    """Trials by their structure's key, in the order of their first trials."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        key = structure_key(trial.config, trial.fold, budgets=budgets)
        groups.setdefault(key, []).append(trial)
    return groups


def divide(
    trials: Sequence[Trial],
    plan: Plan,
    workers: int,
    *,
    at_once: bool = False,
    stems: Mapping[int, int] | None = None,
    whole: bool = False,
) -> list[list[Trial]]:
    """The cohorts of one structure's trials: every worker gets a share; with `at_once` no more than
    it begins together, so that none begins late.

    Cohorts for lanes fill these up to `ROUNDS` times and have at least two trials where there are
    two and a program has two lanes; trials of one seed, which share their batches, stay together.
    So do trials that have steps in common, where no worker gets much less for it: `stems` has, by
    number, the first of those that a trial has some in common with. A stem's branches fill the
    lanes that it leaves empty. With `whole` they stay together whatever a worker gets: of several
    budgets the longest takes most of the time, and the others are branches of it.
    """
    if not trials:
        return []
    total, stems = len(trials), stems or {}
    roots = {each.number: stems.get(each.number, each.number) for each in trials}
    if plan.engine == "solo":
        size = 1 if at_once else min(COHORT, -(-total // workers))
        together = sorted(trials, key=lambda trial: roots[trial.number]) if stems else list(trials)
        ends = [*range(size, total, size), total]
    else:
        number = workers * -(-len(set(roots.values())) // (workers * ROUNDS * plan.lanes))
        together = sorted(trials, key=lambda each: (each.seed, roots[each.number], each.number))
        least = -(-total // plan.lanes) if at_once else 1
        number = max(least, min(number, total // min(2, plan.lanes)))
        ends = [total * part // number for part in range(1, number + 1)]
    if stems and not at_once:
        ends = _move_ends(ends, [roots[each.number] for each in together], whole=whole)
    return [together[start:end] for start, end in itertools.pairwise([0, *ends])]


def _move_ends(ends: Sequence[int], roots: Sequence[int], *, whole: bool) -> list[int]:
    """The ends of parts, moved to where other roots begin if that is less than half a part off, or
    anyhow where roots stay `whole`."""
    total = ends[-1]
    between = [place for place in range(1, total) if roots[place - 1] != roots[place]]
    half = total / len(ends) / 2
    moved: dict[int, None] = {}
    for end in ends[:-1]:
        near = min((*between, total), key=lambda place: abs(place - end))
        moved[near if whole or abs(near - end) < half else end] = None
    return [*(each for each in moved if each < total), total]


def split(trials: Sequence[Trial], number: int) -> list[list[Trial]]:
    """`number` parts whose lengths differ by one at most."""
    ends = [len(trials) * part // number for part in range(number + 1)]
    return [list(trials[ends[part] : ends[part + 1]]) for part in range(number)]


LARGER = 16
"""The generation that a smaller one is compared with."""

WORTH = 1.3
"""The least gain of speed at which a larger generation is spoken of."""


def larger_generation(spec: Spec, strategy: str, figures: Mapping[str, float], workers: int) -> str:
    """The gain and the price of a larger generation where lanes would be nearly free, in a
    sentence; "" where they are not, where too little was measured to tell, or of a strategy that
    proposes none.

    A step of k lanes takes a + b k: what two numbers of lanes took tells a, which all lanes share,
    and b. `figures` are those of a probe, `workers` share a generation.
    """
    lanes = sorted(int(name.partition(".")[2]) for name in figures if name.startswith("fused."))
    if strategy != "bayes" or len(lanes) < 2 or spec.bayes.generation >= LARGER:
        return ""
    few, many = lanes[-2:]
    steps = [count * figures[f"fused.{count}"] for count in (few, many)]
    each = max(0.0, (steps[1] - steps[0]) / (many - few))
    shared = max(0.0, steps[1] - each * many)
    per_trial = [
        shared / max(1.0, generation * spec.trials_per_point / workers) + each
        for generation in (spec.bayes.generation, LARGER)
    ]
    if per_trial[1] <= 0 or per_trial[0] / per_trial[1] < WORTH:
        return ""
    price = catalogue.GENERATION_COSTS[spec.bayes.model]
    return (
        f"bayes.generation: {LARGER} would train a trial about {per_trial[0] / per_trial[1]:.1f} "
        f"times as fast here as {spec.bayes.generation}, since lanes are nearly free; in recorded "
        f"searches it came as near to the best as 4 after 16 trials, and missed it by {price:g} "
        f"times as much after 32 (model: {spec.bayes.model})"
    )


class Plans:
    """The plans of a session's structures on its device: those from the journal that answer the
    user's request, and those made since. `engine` is one of `ENGINES`; `lanes`, if given, replaces
    the number that probes found best."""

    def __init__(self, run: Run, device: str, engine: str, lanes: int | None) -> None:
        self.engine = engine
        self.lanes = lanes
        self._run = run
        self._device = device
        self._known: dict[str, Plan] = {}
        self._described: set[Plan] = set()

    def find(self, key: str) -> Plan | None:
        """The plan of a structure; None where it is still to be found."""
        if self.engine == "solo":
            return ASKED
        if key not in self._known and (stored := self._find_stored(key)) is not None:
            self._known[key] = stored
        return self._known.get(key)

    def _find_stored(self, key: str) -> Plan | None:
        place = key, self._device
        plan = self._run.history.plans.get(place)
        if plan is None:
            return None
        if plan.engine == "fused":
            return plan if self.lanes is None else replace(plan, lanes=self.lanes)
        if self.engine == "auto":
            return plan if plan.reason else None
        # A plan of auto for solo may only mean that fused was slower: no answer to a user's fused.
        return plan if self._run.history.asked[place] == "fused" else None

    def keep(self, key: str, planned: Planned) -> None:
        """Keep a structure's plan from now on, or for the trials at hand where it does not last; it
        is on the disk when this returns."""
        place, plan = (key, self._device), planned.plan
        history = self._run.history
        if not plan.lasting:
            if plan not in history.passing.get(place, ()):
                self._run.planned(key, self._device, planned, self.engine)
            return
        if (history.plans.get(place), history.asked.get(place)) != (plan, self.engine):
            self._run.planned(key, self._device, planned, self.engine)
        # Solo without a reason was not tried, there being too little to train, and holds for
        # these trials alone: the next may be more, whether the search was interrupted or not.
        if plan.reason or plan.engine == "fused" or self.engine == "fused":
            self._known[key] = plan

    def describe(self) -> list[str]:
        """Describe for the user the plans that have a reason and were not described before."""
        counts = Counter(self._known.values())
        new = [plan for plan in counts if plan.reason and plan not in self._described]
        self._described.update(new)
        fused = [plan for plan in new if plan.engine == "fused"]
        solo = [plan for plan in new if plan.engine == "solo"]
        lines = []
        if fused:
            few, many = min(plan.lanes for plan in fused), max(plan.lanes for plan in fused)
            lanes = f"{few} to {many} lanes" if few < many else f"{few} lane{'s' * (few > 1)}"
            # What was measured of each of several is in the journal and in the report's JSON.
            reason = f": {fused[0].reason}" if len(fused) == 1 else ""
            whose = self._whose(sum(counts[plan] for plan in fused))
            lines.append(f"{whose}fused: {lanes} a program{reason}")
        counted = Counter[str]()
        for plan in solo:
            counted[plan.reason] += counts[plan]
        told = [
            (text, sum(counted[each] for each in own))
            for text, own in merge_reasons(counted).items()
        ]
        for reason, number in told[:DESCRIBED]:
            whose = self._whose(number)
            verb = "train" if whose and number > 1 else "trains"
            lines.append(f"{whose}{verb} solo: {reason}")
        if len(told) > DESCRIBED:
            rest = sum(number for _, number in told[DESCRIBED:])
            lines.append(f"{rest} more solo, for other reasons: see lrsearch report --all")
        return lines

    def _whose(self, count: int) -> str:
        total = len(self._known)
        return f"{count} of {total} structures " if count < total else ""
