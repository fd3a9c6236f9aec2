"""Shared steps: trials that have their first steps in common come to the ends that they come to by
themselves, bit by bit, and each step is trained once."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import test_states
import test_train
from devices import DEVICE, assert_same, assert_same_numbers, exact
from driving import Fork
from hypothesis import given as given_by
from hypothesis import strategies as st
from test_states import INLINE, await_that, curves, lay, report, stop, write
from test_train import MLP, cohort, config

from lrsearch import schedules
from lrsearch.analysis.pruning import NO_PROGRESS
from lrsearch.spec.model import complete_group
from lrsearch.train.engines import fused, sharing, solo, stems
from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.engines.stems import Way, join
from lrsearch.trial import (
    Ended,
    Measured,
    Noted,
    Objective,
    Outcome,
    Plan,
    Reached,
    Saved,
    Started,
    Verdict,
)
from lrsearch.tuner.plans import divide

place, often, start = test_train.place, test_states.often, test_states.start

NORMED = MLP | {"batch_norm": True, "dropout": 0.3}
LATE = {
    "step": [{"every": "2ep"}, {"every": "3ep"}],
    "multistep": [{"milestones": ["1ep", "3ep"]}, {"milestones": ["1ep", "2ep"]}],
    "piecewise": [{"points": [["2ep", 0.3]]}, {"points": [["3.1ep", 0.1]]}],
    "wsd": [{"decay": "1ep"}, {"decay": "2ep"}],
    "plateau": [
        {"metric": "loss", "patience": "2ep", "threshold": 0.9},
        {"metric": "loss", "patience": "1ep", "threshold": 0.9, "factor": 0.5},
    ],
}
"""Schedules that are constant at first, and arguments of two that differ later."""


AT_BEST = Objective("loss", "min", "best")


def schedule(name, **arguments):
    return complete_group("schedule", {"name": name, **arguments})


def arguments_of(name):
    """Arguments of two schedules of a name."""
    if name in LATE:
        return LATE[name]
    return {
        "constant": [{}],
        "cosine_restarts": [{"cycles": 2}, {"cycles": 3}],
        "exponential": [{"final": 0.1}, {"final": 0.2}],
    }.get(name, [{}])


def trials(*schedules_, engine="solo", lanes=3, **given):
    """A cohort whose trials differ in their schedules."""
    names = ("warmup", "lr", "budget", "batch_size")
    train = {name: given.pop(name) for name in names if name in given}
    model = given.pop("model", NORMED)
    own = [config(model, schedule=each, **train) for each in schedules_]
    made = cohort(*own, **given)
    return replace(made, plan=Plan("fused", lanes)) if engine == "fused" else made


def train(job):
    """The events of a job, and the ends of its trials by number."""
    events = list(run_cohort(job))
    return events, {each.trial: each for each in events if isinstance(each, Ended)}


def assert_shares(job, least=0.01):
    """The trials come to the same ends with sharing, and share at least so much of their epochs.
    Returns the events, and the ends."""
    _, alone = train(job)
    events, ends = train(replace(job, share=True))
    assert ends.keys() == alone.keys()
    for number, expected in alone.items():
        assert_same(ends[number], expected)
        assert_same_numbers(ends[number].result.last, expected.result.last)
        assert ends[number].result.best_step == expected.result.best_step
        assert ends[number].result.epochs == expected.result.epochs
        assert not expected.result.shared_epochs and not expected.result.shared_seconds
    shared = sum(each.result.shared_epochs for each in ends.values())
    assert shared >= least * sum(each.result.epochs for each in ends.values())
    for end in ends.values():
        assert 0 <= end.result.shared_seconds <= end.result.seconds
    for number in ends:  # Each trial tells of all its evaluations, once.
        told = [e.measurement.step for e in events if isinstance(e, Measured) and e.trial == number]
        if ends[number].result.outcome is Outcome.COMPLETED:
            assert told == ends[number].curve["step"]
        own = [e for e in events if isinstance(e, Started | Ended) and e.trial == number]
        assert [type(each) for each in own] == [Started, Ended]
    return events, ends


ENGINES = [("solo", 1), ("fused", 2), ("fused", 5)]


# More lanes than trials matter where branches come and go.
@pytest.mark.parametrize(
    ("name", "engine", "lanes"),
    [
        *((name, *engine) for name in schedules.FUNCTIONS for engine in ENGINES[:2]),
        *((name, *ENGINES[2]) for name in LATE),
    ],
)
def test_schedules_share_what_they_have_in_common(name, engine, lanes):
    """A warmup is common to all, and so are the steps before a schedule that is constant at first
    changes its rate."""
    own = [schedule(name, **each) for each in arguments_of(name)]
    beside = schedule("constant") if name != "constant" else schedule("cosine")
    warmup = {"for": "1ep", "shape": "linear", "start": 0.1}
    lengths = {"warmup": warmup, "budget": "5ep", "batch_size": 128}
    job = trials(beside, *own, engine=engine, lanes=lanes, **lengths)
    events, _ = assert_shares(job, 0.3 if name in LATE else 0.05)
    assert not [each for each in events if isinstance(each, Noted)]


@pytest.mark.parametrize(("engine", "lanes"), ENGINES)
def test_a_tree_of_schedules(engine, lanes):
    """Branches of branches, of two seeds and two rates, with an objective at its best."""
    chosen = [schedule("constant"), *(schedule(n, **a) for n in ("step", "wsd") for a in LATE[n])]
    chosen.insert(1, schedule("step", every="3ep", gamma=0.5))
    first = trials(*chosen, *chosen, *chosen, seeds=[0] * 6 + [1] * 6 + [0] * 6, batch_size=128,
                   objective=AT_BEST, engine=engine, lanes=lanes)  # fmt: skip
    slower = [
        replace(each, config={**each.config, "train": {**each.config["train"], "lr": 0.01}})
        if each.number >= 12
        else each
        for each in first.trials
    ]
    assert_shares(replace(first, trials=tuple(slower)), 0.4)


STEPS = schedule("step", every="2ep"), schedule("step", every="3ep")

FLAKY = """
    from pathlib import Path

    import torch
    from torch import nn

    CALLS = []

    class Net(nn.Module):
        def __init__(self, in_features, num_classes, fails=0, remembers=False, shout=0.0):
            super().__init__()
            self.head = nn.Linear(in_features, num_classes)
            self.fails, self.remembers, self.shout, self.steps = fails, remembers, shout, 0

        def forward(self, x):
            if self.training:
                self.steps += 1
                if self.remembers:
                    CALLS.append(1)
                if self.steps == self.fails and not Path(__file__).with_suffix(".ran").exists():
                    Path(__file__).with_suffix(".ran").touch()
                    raise ValueError("once")
            return self.head(x.flatten(1) * (1.0 + 0.01 * (self.steps % 5)))
"""


def own(place, **given):
    return {
        "place": place(nets=FLAKY),
        "model": {"class_path": "nets.Net", "init_args": given},
    }


def test_a_branch_of_the_users_code_goes_on_with_what_it_remembers(place):
    job = trials(schedule("constant"), *STEPS, **own(place))
    events, _ = assert_shares(job, 0.3)
    assert not [each for each in events if isinstance(each, Noted)]


def test_where_a_stem_fails_the_others_share_among_themselves(place):
    job = trials(schedule("constant"), *STEPS, **own(place, fails=30))
    flag = Path(job.workplace.folder) / "nets.ran"
    flag.touch()
    _, alone = train(job)
    flag.unlink()
    _, ends = train(replace(job, share=True))
    assert ends[0].result.outcome is Outcome.FAILED and "once" in ends[0].result.reason
    for number in (1, 2):
        assert_same(ends[number], alone[number])
    assert not ends[1].result.shared_epochs and ends[2].result.shared_epochs > 1.5


def test_what_cannot_be_saved_is_not_shared_and_said_so(place):
    job = replace(trials(schedule("constant"), *STEPS, **own(place, remembers=True)), share=True)
    events, ends = train(job)
    assert all(each.result.outcome is Outcome.COMPLETED for each in ends.values())
    assert not any(each.result.shared_epochs for each in ends.values())
    (note,) = [each for each in events if isinstance(each, Noted)]
    assert "themselves" in note.text and "CALLS changes" in note.text


@pytest.mark.parametrize(("engine", "lanes"), ENGINES[:2])
def test_states_that_take_too_much_memory_are_not_kept(engine, lanes, monkeypatch):
    monkeypatch.setattr(sharing, "ROOM", 1)
    job = trials(schedule("constant"), *STEPS, engine=engine, lanes=lanes)
    events, ends = assert_shares(job, 0.0)
    assert not any(each.result.shared_epochs for each in ends.values())
    assert "memory" in next(each for each in events if isinstance(each, Noted)).text


@pytest.mark.parametrize(("engine", "lanes"), ENGINES)
def test_a_branch_of_a_training_that_diverged_before_has_diverged(engine, lanes):
    later = schedule("step", every="85ba"), schedule("step", every="80ba")
    job = trials(schedule("constant"), *later, engine=engine, lanes=lanes, lr=1e4, model=MLP)
    _, ends = assert_shares(job, 0.6)
    assert all(each.result.outcome is Outcome.DIVERGED for each in ends.values())
    assert sum(not each.result.shared_epochs for each in ends.values()) == 1


@pytest.mark.parametrize(("engine", "lanes"), ENGINES)
@pytest.mark.parametrize("judged", [{0, 1, 2}, {0, 2}, {1}])
def test_a_branch_of_a_training_without_progress_ends_as_it_would_alone(judged, engine, lanes):
    """With its stem, where both are judged at one step, or at its fork, where it alone is; a later
    peak is judged later."""
    later = schedule("piecewise", points=[["33ba", 2.0]])
    job = trials(schedule("constant"), STEPS[0], later, engine=engine, lanes=lanes, lr=1e-6)
    _, ends = assert_shares(replace(job, judged=frozenset(judged)), 0.0)
    for number, end in ends.items():
        assert (end.result.rule == NO_PROGRESS) is (number in judged)
    own = ends[1].result.epochs - ends[1].result.shared_epochs
    assert own == 0 if 1 in judged else own > 0
    assert ends[1].result.shared_epochs > 0.9


@pytest.mark.parametrize(("engine", "lanes"), ENGINES)
@pytest.mark.parametrize("verdict", [Verdict.GO_ON, Verdict.STOP])
def test_each_waits_at_its_own_rungs(verdict, engine, lanes):
    """Here the stem is stopped, or goes on; the others go on."""
    job = trials(schedule("constant"), *STEPS, engine=engine, lanes=lanes)
    job = replace(job, rungs=(23, 70))

    def judge(given):
        running, answers, found = run_cohort(given), None, []
        reached = []
        while True:
            try:
                event = running.send(answers)
            except StopIteration:
                return found, sorted(reached)
            answers = []
            if isinstance(event, Reached):
                reached.append((event.trial, event.step))
                answers = [(event.trial, Verdict.GO_ON if event.trial else verdict)]
            elif isinstance(event, Ended):
                found.append(event)

    alone, reached = judge(job)
    ends, again = judge(replace(job, share=True))
    assert reached == again
    expected = {each.trial: each for each in alone}
    for end in ends:
        assert_same(end, expected[end.trial])
    assert any(each.result.shared_epochs for each in ends)


@pytest.mark.parametrize("lanes", [2, 3])
def test_branches_that_have_ended_at_their_fork_keep_none_waiting(lanes):
    """Of more than there are lanes, beside one that waits at its rung."""
    others = [schedule("step", every="2ep", gamma=gamma) for gamma in (0.1, 0.2, 0.3, 0.4, 0.5)]
    job = trials(schedule("constant"), *others, engine="fused", lanes=lanes, lr=1e-6)
    first = next(each for each in train(job)[0] if isinstance(each, Measured)).measurement.step
    (good,) = cohort(config(NORMED, schedule=schedule("constant"))).trials
    given = replace(
        job,
        trials=(*job.trials, replace(good, number=9, key="good")),
        judged=frozenset(range(6)),
        rungs=(first,),
        share=True,
    )
    running, answers, ended = run_cohort(given), None, []
    with contextlib.suppress(StopIteration):
        while True:
            event = running.send(answers)
            answers = []
            if isinstance(event, Ended):
                ended.append(event.trial)
            elif event is None:  # It waits for nothing but the verdict.
                assert sorted(ended) == list(range(6))
                answers = [(9, Verdict.GO_ON)]
    assert sorted(ended) == [*range(6), 9]


@pytest.mark.parametrize(("engine", "lanes"), ENGINES)
def test_a_stem_that_goes_on_from_its_saved_state_is_a_stem_still(
    engine, lanes, tmp_path, monkeypatch
):
    """Branches that it is past train by themselves, or with each other."""
    early = schedule("step", every="1ep"), schedule("multistep", milestones=["1ep", "3ep"])
    job = trials(schedule("constant"), *early, *STEPS, engine=engine, lanes=lanes)
    _, alone = train(job)
    left = stop(run_cohort(replace(job, save=3600.0, share=True)), 33, monkeypatch)
    saved = {each.trial: write(tmp_path, each) for each in left if isinstance(each, Saved)}
    over = {each.trial: each for each in left if isinstance(each, Ended)}
    assert 0 in saved and not over
    again = tuple(each for each in job.trials if each.number not in over)
    events, ends = train(replace(job, trials=again, states=saved, save=3600.0, share=True))
    for number, end in ends.items():
        assert_same(end, alone[number])
    assert ends[3].result.shared_epochs or ends[4].result.shared_epochs
    assert not [each for each in events if isinstance(each, Noted)]


EARLY = schedule("step", every="1ep"), schedule("multistep", milestones=["1ep", "3ep"])


@pytest.fixture
def made(monkeypatch):
    """The steps that each trial is trained for itself, by its number."""
    found, step, advance = Counter(), solo._step, fused._Session._advance

    def count(run, batch):
        found[run.trial.number] += 1
        step(run, batch)

    def count_lanes(session):
        before = {lane: lane.step for lane in session.places if lane is not None}
        advance(session)
        for lane, first in before.items():
            found[lane.trial.number] += lane.step - first

    monkeypatch.setattr(solo, "_step", count)
    monkeypatch.setattr(fused._Session, "_advance", count_lanes)
    return found


def cut(job, events, many, tmp_path):
    """The job that is left where it is killed after so many of its events: its trials go on from
    the states that were handed over until then."""
    kept = [each for each in events[:many] if isinstance(each, Saved)]
    over = {each.trial for each in events[:many] if isinstance(each, Ended)}
    return replace(
        job,
        trials=tuple(each for each in job.trials if each.number not in over),
        states={each.trial: write(tmp_path, each) for each in kept},
        saved={each.trial: each.step for each in kept},
    )


def assert_none_trains_more(job, made, tmp_path):
    """Wherever a job is killed, no trial trains more steps afterwards than it would have had to
    undisturbed, and all come to the same ends."""
    _, alone = train(job)
    made.clear()
    job = replace(job, share=True, save=0.0)
    events, _ = train(job)
    own = dict(made)
    assert sum(own.values()) < 0.7 * sum(end.result.steps for end in alone.values())
    for many in range(1, len(events), 14):
        made.clear()
        left = cut(job, events, many, tmp_path)
        found, ends = train(left)
        assert ends.keys() == {each.number for each in left.trials}
        for number, end in ends.items():
            assert_same(end, alone[number])
            assert end.result.epochs == alone[number].result.epochs
            assert made[number] <= own[number], (many, number)
        assert not [each for each in found if isinstance(each, Noted)]


@pytest.mark.parametrize(("engine", "lanes"), ENGINES)
def test_branches_of_a_killed_job_go_on_from_their_forks(engine, lanes, made, often, tmp_path):
    plateau = schedule("plateau", **LATE["plateau"][0])
    longer = config(NORMED, schedule=schedule("constant"), budget="7ep", batch_size=128)
    job = trials(schedule("constant"), *EARLY, plateau, *STEPS, engine=engine, lanes=lanes,
                 batch_size=128)  # fmt: skip
    (last,) = cohort(longer).trials
    job = replace(job, trials=(*job.trials, replace(last, number=6)), objective=AT_BEST)
    assert_none_trains_more(job, made, tmp_path)


def test_branches_of_a_killed_job_of_the_users_code(place, made, often, tmp_path):
    """What it remembers goes on whether anything is saved any more, or not."""
    job = trials(schedule("constant"), *STEPS, **own(place), batch_size=128)
    assert_none_trains_more(job, made, tmp_path)
    _, alone = train(job)
    events, _ = train(replace(job, share=True, save=0.0))
    first = next(at for at, each in enumerate(events) if isinstance(each, Ended))
    for many in (first // 2, first):
        left = cut(job, events, many, tmp_path)
        assert left.states
        _, ends = train(replace(left, share=True))
        for number, end in ends.items():
            assert_same(end, alone[number])


@pytest.mark.parametrize(("engine", "lanes"), ENGINES)
def test_a_fork_is_saved_once_for_all_that_wait_there(engine, lanes, monkeypatch):
    """One copy stands on the disk for those that wait, beside the states of those that train; none
    where the stem took less than is saved, unless the search is asked to leave."""
    job = trials(schedule("constant"), *(schedule("step", every="2ep", gamma=gamma)
                 for gamma in (0.1, 0.2, 0.3, 0.4)), engine=engine, lanes=lanes)  # fmt: skip
    job = replace(job, share=True)
    monkeypatch.setattr("lrsearch.train.engines.course.Course.spent", 400.0)
    events, _ = train(replace(job, save=300.0))
    saved = {each.trial: each.step for each in events if isinstance(each, Saved)}
    assert sorted(saved) == [1, 2, 3, 4]
    (fork,) = {*saved.values()}
    ended = next(at for at, each in enumerate(events) if isinstance(each, Ended))
    before = [each for each in events[:ended] if isinstance(each, Saved)]
    assert len(before) == {1: 1, 2: 2, 5: 4}[lanes]
    events, _ = train(replace(job, save=3600.0))
    assert not [each for each in events if isinstance(each, Saved)]
    left = stop(run_cohort(replace(job, save=3600.0)), 60, monkeypatch)
    handed = {each.trial: each.step for each in left if isinstance(each, Saved)}
    first = {number for number, step in handed.items() if step == fork}
    assert handed[0] > fork and first == ({lanes} if lanes < 5 else set())


def test_a_budget_below_the_first_fork_is_shared_up_to_its_last_step():
    job = trials(schedule("constant"), schedule("step", every="9ep"), budget="2ep")
    _, ends = assert_shares(job, 0.4)
    result = ends[1].result
    assert result.shared_epochs == pytest.approx(result.epochs * (1 - 1 / result.steps))


# the forest

values = st.sampled_from([0.0, 0.1, 0.05, 1.0])


tables_of = st.integers(1, 7).flatmap(
    lambda size: st.lists(st.lists(values, min_size=size, max_size=size), min_size=1, max_size=8)
)


@given_by(tables_of)
def test_each_step_is_trained_once(tables):
    """What is trained are the distinct beginnings, but for the last step, which is each one's."""
    budget = len(tables[0])
    ways = [Way(np.array(table), budget) for table in tables]
    found = join(ways, least=1)
    trained = sum(budget - (branch.fork if branch else 0) for branch in found)
    beginnings = {tuple(table[:length]) for table in tables for length in range(1, budget)}
    assert trained == len(beginnings) + len(tables)
    for place, branch in enumerate(found):
        if branch is not None:
            assert branch.stem < place and 0 < branch.fork < budget
            assert tables[place][: branch.fork] == tables[branch.stem][: branch.fork]


stops = st.sets(st.integers(1, 8)).map(lambda steps: (*sorted(steps), 9))


@given_by(stops, stops)
def test_nothing_is_shared_from_an_evaluation_that_is_ones_alone(first, second):
    """Nor does it matter by how much one training is longer than the other."""
    one = Way(np.ones(9), 9, evaluations=first)
    other = Way(np.ones(12), 12, evaluations=(*second, 12))
    apart = {*first} ^ {*second, 12}
    assert stems.common_steps(one, other) == min(8, *(step - 1 for step in apart))
    assert stems.common_steps(other, one) == stems.common_steps(one, other)


@given_by(st.lists(st.integers(1, 6), min_size=2, max_size=2), st.integers(0, 6))
def test_nothing_is_shared_from_where_a_plateau_may_act(certain, differs):
    tables = [np.ones(6), np.where(np.arange(6) < differs, 1.0, 0.5)]
    ways = [Way(table, steps) for table, steps in zip(tables, certain, strict=True)]
    assert stems.common_steps(*ways) == min(5, differs, *certain)


def test_other_numbers_and_seeds_share_nothing():
    first = config(schedule=schedule("constant"))
    others = [
        config(schedule=STEPS[0], **each)
        for each in ({"lr": 0.1}, {"clip_norm": 1.0}, {"label_smoothing": 0.1},
                     {"warmup": {"for": "1ep", "shape": "linear", "start": 0.1}})
    ]  # fmt: skip
    made = cohort(first, *others).trials
    assert not stems.find_stems(made, 1000)
    both = cohort(first, config(schedule=STEPS[0]), seeds=[0, 1]).trials
    assert not stems.find_stems(both, 1000)
    alike = cohort(first, config(schedule=STEPS[0]), config(schedule={"class_path": "a.b"})).trials
    assert stems.find_stems(alike, 1000) == {1: stems.Branch(0, 2 * 16)}
    assert not stems.find_stems(alike, 1000, begun={1: 0})
    assert stems.find_stems(alike, 1000, most=20) == {1: stems.Branch(0, 20)}
    assert not stems.find_stems(alike, 1000, most=stems.LEAST - 1)


@given_by(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(1, 3),
          st.sampled_from([Plan(), Plan("fused", 4)]), st.booleans())  # fmt: skip
def test_cohorts_keep_stems_and_their_branches_together(sizes, workers, plan, at_once):
    first = itertools.accumulate(sizes, initial=0)
    groups = [list(range(start, start + size)) for start, size in zip(first, sizes, strict=False)]
    made = cohort(*[config()] * sum(sizes)).trials
    roots = {number: group[0] for group in groups if len(group) > 1 for number in group}
    parts = divide(made, plan, workers, at_once=at_once, stems=roots)
    assert sorted(each.number for part in parts for each in part) == list(range(len(made)))
    assert all(parts)
    if workers == 1 and not at_once:
        place = {each.number: at for at, part in enumerate(parts) for each in part}
        assert all(len({place[number] for number in group}) == 1 for group in groups)
    most = max(map(len, divide(made, plan, workers, at_once=at_once)))
    if not at_once:
        assert max(map(len, parts)) <= max(2 * most, most + 5) or plan.engine == "fused"
    if not roots:
        assert parts == divide(made, plan, workers, at_once=at_once)


# searches

SEARCH = (
    "search: {lr: {min: 1e-3, max: 1e-2, points: 2}}",
    "search: {lr: [0.002, 0.01], schedule: [constant, {name: step, every: 2ep}, "
    "{name: step, every: 3ep}, {name: wsd, decay: 1ep}]}",
)


def search_of(folder):
    return json.loads(report(folder, "long", "--json"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory, nursery):
    """Folders of searches whose trials train by themselves, by engine."""
    found = {}

    def search(engine):
        if engine not in found:
            folder = lay(tmp_path_factory.mktemp(engine), SEARCH)
            line = ("grid", "long.yaml", "--device", DEVICE, "--engine", engine, *INLINE)
            more = ("--no-share", "--allow-import", "held")
            Fork(nursery, folder, *line, *more).wait().check(0)
            found[engine] = folder
        return found[engine]

    return search


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_a_search_tells_what_is_shared(engine, alone, start, tmp_path):
    expected = search_of(alone(engine))
    err = start(lay(tmp_path, SEARCH), engine, *INLINE).wait().check(0).err
    # (1/2 + 3/4 + 3/4) / 4 of each rate's; the two with three epochs branch off at one step.
    assert "8 trials share 2 stems: 50% of their epochs need no training of their own" in err
    found = search_of(tmp_path)
    assert_same_numbers(curves(tmp_path / "runs" / "long"), curves(alone(engine) / "runs" / "long"))
    cost, before = found["cost"], expected["cost"]
    assert cost["trial_epochs"] == before["trial_epochs"] and before["shared_epochs"] == 0
    assert cost["shared_epochs"] == pytest.approx(0.5 * cost["trial_epochs"], rel=0.01)
    assert sum(each["shared_epochs"] for each in found["trials"]) == cost["shared_epochs"]
    assert sum(each["seconds"] for each in found["trials"]) > cost["seconds"] > 0
    halves = re.search(
        r"8 trials, (\S+) epochs \((\S+) trained, (\S+) shared", report(tmp_path, "long")
    )
    worth, own, others = map(float, halves.groups())
    assert own + others == pytest.approx(worth) and others == pytest.approx(own, rel=0.01)
    names = ("outcome", "objective", "steps", "epochs")
    for one, other in zip(found["trials"], expected["trials"], strict=True):
        assert_same_numbers([one[name] for name in names], [other[name] for name in names])
    assert found["best"] == expected["best"] or not exact()


@pytest.mark.parametrize("ended", [1, 3, 6])
@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_a_killed_search_comes_to_the_same_results(engine, ended, alone, start, tmp_path):
    """Killed between forks: the stem is done, or saved, or lost, and so are its branches."""
    save = ("save: 1h", "save: 0s") if ended == 3 else ("save: 1h", "save: null")
    journal = tmp_path / "runs" / "long" / "journal.jsonl"
    process = start(lay(tmp_path, SEARCH, save), engine, *INLINE, often=True)
    await_that(
        process,
        lambda: journal.exists() and journal.read_text().count('"event":"ended"') >= ended,
    )
    process.send(signal.SIGKILL)
    process.wait().check(-signal.SIGKILL)
    start(tmp_path, engine, *INLINE).wait().check(0)
    assert_same_numbers(curves(tmp_path / "runs" / "long"), curves(alone(engine) / "runs" / "long"))
    if ended == 3:  # Every fork is on the disk: none of the branches trains its stem's steps.
        cost = search_of(tmp_path)["cost"]
        assert cost["shared_epochs"] == pytest.approx(0.5 * cost["trial_epochs"], rel=0.01)
