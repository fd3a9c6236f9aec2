"""Searches of several budgets: what is foreseen is trained, and nothing is trained twice."""

import math
from dataclasses import replace

import pytest
from test_train import cohort, config
from test_tuner import search

from lrsearch.trial import Plan
from lrsearch.tuner.foreseeing import foresee_sharing
from lrsearch.tuner.plans import by_structure, divide, structure_keys


def lengths(*values, **train):
    """Changes of a spec: these budgets, of a schedule that is constant at first."""
    budget = {"search": {"lr": [0.05], "budget": list(values)}}
    own = {"batch_size": 128, "schedule": {"name": "wsd", "decay": "0.2dur"}, **train}
    return {"model": {"name": "mlp", "hidden": [16]}, "train": own, **budget}


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_a_grid_trains_what_was_foreseen(tmp_path, engine):
    found = search(tmp_path, changes=lengths("5ep", "10ep", "20ep"), engine=engine)
    results = found.history.results.values()
    worth = math.fsum(each.epochs for each in results)
    paid = worth - math.fsum(each.shared_epochs for each in results)
    foreseen = foresee_sharing(found.spec)
    assert (foreseen.trials, foreseen.epochs) == (3, pytest.approx(worth))
    assert foreseen.epochs - foreseen.shared == pytest.approx(paid)
    assert (round(worth), round(paid)) == (35, 23)
    assert any("3 trials share 1 stem: 34% of their epochs" in note for note in found.log.notes)
    # Each has its plan under the key of all budgets, which a report finds.
    keys = {structure_keys(trial)[1] for trial in found.history.trials.values()}
    assert {key for key, _ in (*found.history.plans, *found.history.passing)} == keys


def test_what_a_fixed_budget_has_trained_is_not_trained_again(tmp_path):
    fixed = lengths(budget="4ep")
    del fixed["search"]["budget"]
    first = search(tmp_path, changes=fixed)
    assert first.ending.trained == 1
    second = search(tmp_path, changes=lengths("2ep", "4ep", "6ep"))
    assert second.ending.trained == 2 and len(second.points) == 3
    budgets = [each.config["train"]["budget"] for each in second.history.trials.values()]
    assert budgets == ["4ep", "2ep", "6ep"]
    assert search(tmp_path, changes=lengths("6ep", "4ep")).ending.trained == 0


def test_trials_of_several_budgets_are_one_structure_where_they_may_share():
    made = cohort(*(config(budget=each) for each in ("2ep", "4ep", "2ep"))).trials
    assert [len(group) for group in by_structure(made).values()] == [2, 1]
    assert [len(group) for group in by_structure(made, budgets=False).values()] == [3]
    keys = [structure_keys(each) for each in made]
    assert keys[0] == keys[2] and keys[0][0] != keys[1][0] and keys[0][1] == keys[1][1]


@pytest.mark.parametrize("plan", [Plan(), Plan("fused", 2)])
def test_a_trunk_is_not_parted_by_workers(plan):
    made = [replace(each, number=number)
            for number, each in enumerate(cohort(*[config()] * 12).trials)]  # fmt: skip
    roots = {number: number // 4 * 4 for number in range(12)}
    parts = divide(made, plan, 2, stems=roots, whole=True)
    assert sorted(len(part) for part in parts) in ([4, 8], [4, 4, 4])
    assert all(len({roots[each.number] for each in part}) * 4 == len(part) for part in parts)
    assert len(divide(made[:4], plan, 4, stems=roots, whole=True)) == 1
