"""Shared steps of trainings of several budgets: each comes to the end that it comes to by itself,
bit by bit, also where it would have ended before its stem's fork."""

from __future__ import annotations

from dataclasses import replace

import pytest
import test_sharing
import test_train
from devices import assert_same
from test_sharing import AT_BEST, ENGINES, LATE, NORMED, arguments_of, assert_shares, schedule
from test_states import stop, write
from test_train import MLP, cohort, config

from lrsearch import schedules
from lrsearch.analysis.pruning import NO_PROGRESS
from lrsearch.duration import evaluation_steps
from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.engines.stems import Branch, find_stems
from lrsearch.trial import Ended, Noted, Outcome, Plan, Saved

train, place, own = test_sharing.train, test_train.place, test_sharing.own

WSD = schedule("wsd", decay="0.2dur")


def budgets(*lengths, engine="solo", lanes=3, model=NORMED, objective=None, place=None, **given):
    """A cohort whose trials differ in their budgets, or in pairs of a budget and a schedule; all
    are judged by their progress."""
    pairs = [(each, given.get("schedule", WSD)) if isinstance(each, str) else each
             for each in lengths]  # fmt: skip
    configs = [config(model, **{**given, "budget": each, "schedule": own}) for each, own in pairs]
    made = cohort(*configs, objective=objective, place=place)
    made = replace(made, judged=frozenset(each.number for each in made.trials))
    return replace(made, plan=Plan("fused", lanes)) if engine == "fused" else made


@pytest.mark.parametrize(
    ("name", "engine", "lanes"),
    [
        *((name, *ENGINES[0]) for name in schedules.FUNCTIONS),
        # Most of the others share nothing.
        *((name, *ENGINES[1]) for name in ("constant", "cosine", *LATE)),
    ],
)
def test_budgets_share_what_they_have_in_common(name, engine, lanes):
    """The longest in the middle, so that one is shorter than its stem, and one longer; most
    schedules depend on the budget from their first step on."""
    made = [schedule(name, **each) for each in arguments_of(name)]
    pairs = [(length, made[place % len(made)])
             for place, length in enumerate(("4ep", "5ep", "3ep", "4.5ep"))]  # fmt: skip
    steady = name in LATE or name == "constant"
    job = budgets(*pairs, engine=engine, lanes=lanes, batch_size=256)
    events, _ = assert_shares(job, 0.2 if steady else 0.0)
    assert not [each for each in events if isinstance(each, Noted)]


@pytest.mark.parametrize(("engine", "lanes"), ENGINES)
def test_a_trunk_and_its_branches(engine, lanes):
    """Budgets in several units, of several seeds, with an objective at its best."""
    job = budgets("2ep", "5ep", "38ba", "3.5ep", "22ba", "4000sp", "1ep", batch_size=256,
                  engine=engine, lanes=lanes, objective=AT_BEST)  # fmt: skip
    twins = [replace(each, number=each.number + 7, seed=1) for each in job.trials]
    _, ends = assert_shares(replace(job, trials=(*job.trials, *twins)), 0.5)
    assert {each.result.outcome for each in ends.values()} == {Outcome.COMPLETED}


@pytest.mark.parametrize(("engine", "lanes"), ENGINES)
@pytest.mark.parametrize("lr", [1e-6, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("lengths", [("3ep", "9ep", "20ep"), ("20ep", "9ep", "3ep")])
def test_each_ends_early_by_its_own_budget(lengths, lr, engine, lanes):
    """Each is judged at a tenth of its own budget, and has a tenth of it to recover: a stem may
    have ended where its branch goes on, and a branch before the fork."""
    job = budgets(*lengths, engine=engine, lanes=lanes, lr=lr, model=MLP,
                  schedule=schedule("constant"))  # fmt: skip
    _, ends = assert_shares(job, 0.3)
    if lr == 1e-6:
        assert {each.result.rule for each in ends.values()} == {NO_PROGRESS}
        assert len({each.result.steps for each in ends.values()}) == 2
    # What an ending stem has trained is not trained again: its state is handed on.
    paid = sum(each.result.epochs - each.result.shared_epochs for each in ends.values())
    longest = max(each.result.epochs for each in ends.values())
    assert paid < 1.1 * longest


@pytest.mark.parametrize(("engine", "lanes"), ENGINES[:2])
def test_those_that_go_on_from_a_stem_that_ended_share_their_way(engine, lanes):
    """The shortest stand still at their first evaluation, the others have learnt something by their
    second: all that is trained is what the longest takes."""
    kinds = set()
    for lr in (4e-4, 5e-4, 6e-4, 8e-4):
        job = budgets("5ep", "8ep", "15ep", "20ep", engine=engine, lanes=lanes, lr=lr, model=MLP,
                      schedule=schedule("constant"))  # fmt: skip
        _, ends = train(replace(job, share=True))
        paid = sum(each.result.epochs - each.result.shared_epochs for each in ends.values())
        assert paid < 20.2
        kinds.add(tuple(ends[number].result.rule for number in range(4)))
    assert (NO_PROGRESS, NO_PROGRESS, "", "") in kinds


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_evaluations_in_shares_of_the_budget_part_at_the_first(engine):
    job = budgets("2ep", "5ep", "4ep", engine=engine, evaluate="0.25dur")
    _, ends = assert_shares(job, 0.0)
    first = evaluation_steps(job.trials[0].config["train"], 1437)[0]
    shared = [round(each.result.shared_epochs * 1437 / 64) for _, each in sorted(ends.items())]
    assert shared[0] == 0 and shared[1] == first - 1 and shared[2] > first - 1


def test_a_branch_goes_on_with_what_the_users_code_remembers(place):
    job = budgets("2ep", "4ep", "3ep", **own(place))
    events, _ = assert_shares(job, 0.3)
    assert not [each for each in events if isinstance(each, Noted)]


@pytest.mark.parametrize(("engine", "lanes"), ENGINES)
@pytest.mark.parametrize("step", [33, 75])
def test_a_stopped_trunk_is_gone_on_from(step, engine, lanes, tmp_path, monkeypatch):
    """Its state keeps what its branches record; one longer than all that it was recorded for says
    why it trains by itself."""
    job = budgets("4ep", "3ep", "2ep", engine=engine, lanes=lanes)
    _, alone = train(job)
    left = stop(run_cohort(replace(job, save=3600.0, share=True)), step, monkeypatch)
    saved = {each.trial: write(tmp_path, each) for each in left if isinstance(each, Saved)}
    over = {each.trial: each for each in left if isinstance(each, Ended)}
    again = tuple(each for each in job.trials if each.number not in over)
    events, ends = train(replace(job, trials=again, states=saved, save=3600.0, share=True))
    assert saved and not [each for each in events if isinstance(each, Noted)]
    for number, end in {**over, **ends}.items():
        assert_same(end, alone[number])


def test_a_budget_that_comes_after_a_stop_is_trained_right(tmp_path, monkeypatch):
    """The state of its stem lacks records that it would have, and so its steps."""
    first, longer = budgets("4ep"), budgets("4ep", "40ep")
    left = stop(run_cohort(replace(first, save=3600.0)), 33, monkeypatch)
    states = {each.trial: write(tmp_path, each) for each in left if isinstance(each, Saved)}
    _, alone = train(longer)
    events, ends = train(replace(longer, states=states, save=3600.0, share=True))
    assert_same(ends[1], alone[1])
    assert ends[1].result.shared_epochs or "another length" in next(
        each.text for each in events if isinstance(each, Noted)
    )


# what it costs


def epochs_trained(lengths, made, samples=6400):
    """The epochs that trials of these budgets train, and those that they are worth."""
    trials = budgets(*(f"{each}ep" for each in lengths), schedule=made).trials
    found = find_stems(trials, samples)
    steps = {
        each.number: round(length * samples / 64)
        for each, length in zip(trials, lengths, strict=True)
    }
    own_steps = [n - (found[number].fork if number in found else 0) for number, n in steps.items()]
    return sum(own_steps) * 64 / samples, sum(steps.values()) * 64 / samples


@pytest.mark.parametrize("order", [1, -1])
def test_budgets_cost_their_trunk(order):
    """Of a wsd that decays over the last fifth each adds that fifth, of a constant rate its last
    step, which is each training's own."""
    four, ten = [5, 10, 20, 40][::order], list(range(4, 41, 4))[::order]
    assert epochs_trained(four, WSD) == pytest.approx((47, 75), abs=0.1)
    assert epochs_trained(ten, WSD) == pytest.approx((76, 220), abs=0.1)
    assert epochs_trained(four, schedule("constant")) == pytest.approx((40, 75), abs=0.1)
    assert epochs_trained(four, schedule("cosine")) == pytest.approx((75, 75))


def test_a_branch_of_one_length_ends_as_its_stem_does():
    one, *others = budgets("4ep", ("4ep", schedule("constant")), "5ep").trials
    found = find_stems([one, *others], 1437)
    assert found[1] == Branch(0, found[1].fork, alike=True)
    assert found[2] == Branch(1, found[2].fork, alike=False) and found[2].whole == 112
