"""Early stopping in a search: verdicts, what they cost and save, and that they stay."""

from __future__ import annotations

import math

import pytest
from test_tuner import search

from lrsearch.store import read_curve
from lrsearch.trial import Outcome
from lrsearch.tuner.outlook import find_axis


def rates(*values, **more):
    """A spec that trains these rates."""
    changes = {
        "model": {"name": "mlp", "hidden": [16]},
        "train": {"budget": "10ep", "batch_size": 128},
        "search": {"lr": list(values)},
    }
    return {**changes, **more}


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_what_stands_still_stops_at_a_tenth(tmp_path, engine):
    changes = rates(1e-7, 0.1, 1e-6, 0.03)
    found = search(tmp_path, changes=changes, engine=engine)
    results = found.history.results
    rate = {n: each.config["train"]["lr"] for n, each in found.history.trials.items()}
    stopped = {rate[n] for n, each in results.items() if each.outcome is Outcome.PRUNED}
    assert stopped == {1e-7, 1e-6}
    for number, result in results.items():
        assert result.engine == engine
        if result.outcome is Outcome.PRUNED:
            assert result.rule == "no_progress" and "no progress" in result.reason
            assert (result.steps, result.whole) == (22, 112)
            assert result.saved_epochs == pytest.approx(8, abs=0.15)
            assert result.value(found.objective) is None and result.last["accuracy"] > 0
            assert read_curve(found.folder, number)["step"] == [11, 22]
        else:
            assert result.rule == "" and result.saved_epochs == 0.0
    assert all(point.objective is None for point in found.points if point.outcome == "pruned")
    # The same command trains nothing more, and no rule at all trains no more either.
    assert search(tmp_path, changes=changes, engine=engine).ending.trained == 0
    late = search(tmp_path, changes={**changes, "prune": "none"}, engine=engine)
    assert late.ending.trained == 0
    assert any("stopped by no_progress, and stay so under prune: none" in n for n in late.log.notes)


def test_no_rule_trains_all_to_their_end(tmp_path):
    found = search(tmp_path, changes=rates(1e-7, 0.1, prune="none"))
    assert found.outcomes() == {"completed": 2}
    assert not any("prune" in note for note in found.log.notes)


def test_stopped_trials_stay_until_they_are_asked_for(tmp_path):
    changes = rates(1e-7, 0.1)
    first = search(tmp_path, changes=changes)
    assert first.outcomes() == {"completed": 1, "pruned": 1}
    assert search(tmp_path, changes=changes, retry_failed=True).ending.trained == 0
    whole = search(tmp_path, changes=changes, resume_pruned=True)
    assert whole.ending.trained == 1 and whole.outcomes() == {"completed": 2}
    assert sorted(whole.history.results) == [1, 2, 3]  # A number of its own; the old one is kept.
    assert search(tmp_path, changes=changes, resume_pruned=True).ending.trained == 0
    # It ended where a training without any rule does.
    alone = search(tmp_path, changes={**changes, "prune": "none"}, runs=tmp_path / "other")
    assert whole.objectives()[3] == alone.objectives()[1]


def test_a_single_training_is_never_stopped(tmp_path):
    found = search(tmp_path, changes=rates(1e-7))
    assert found.outcomes() == {"completed": 1}
    fixed = {**rates(), "search": None}
    fixed["train"]["lr"] = 1e-7
    assert search(tmp_path, changes=fixed, runs=tmp_path / "b").outcomes() == {"completed": 1}


def test_a_budget_with_nothing_to_look_at_stops_nobody(tmp_path):
    changes = rates(1e-7, 0.1)
    changes["train"] |= {"budget": "1ep", "batch_size": 16}
    assert search(tmp_path, changes=changes).outcomes() == {"completed": 2}
    changes["train"]["evaluate"] = "0.25dur"
    found = search(tmp_path, changes=changes, runs=tmp_path / "b")
    assert found.outcomes() == {"completed": 1, "pruned": 1}


def test_where_nothing_makes_progress_the_rule_is_lifted(tmp_path):
    """At a tenth of the budget all stand on their plateau: that says nothing of this training."""
    changes = rates(1e-7, 1e-6, 2e-6)
    found = search(tmp_path, changes=changes)
    assert found.outcomes() == {"completed": 3}
    assert sorted(found.history.results) == [1, 2, 3, 4, 5, 6]
    assert any("all 3 trials" in note and "stood still" in note for note in found.log.notes)
    # It stays so: later points go to their end as well.
    more = search(tmp_path, changes=rates(1e-7, 1e-6, 2e-6, 3e-6))
    assert more.ending.trained == 1 and more.outcomes() == {"completed": 4}


def test_it_is_lifted_in_the_middle_of_a_search_that_learns(tmp_path):
    changes = rates() | {
        "search": {"lr": {"min": 1e-9, "max": 1e-6}},
        "bayes": {"trials": 10, "startup": 4, "generation": 4},
    }
    found = search(tmp_path, "bayes", changes)
    assert found.outcomes() == {"completed": 10}
    stopped = [n for n, each in found.history.results.items() if each.rule]
    assert len(stopped) == 8  # The first two generations; what came later went to its end.


def test_a_session_killed_after_lifting_goes_on(tmp_path):
    changes = rates(1e-7, 1e-6)
    whole = search(tmp_path, changes=changes)
    journal = (whole.folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    cut = next(k for k, line in enumerate(journal) if b'"lifted"' in line) + 1
    (whole.folder / "journal.jsonl").write_bytes(b"".join(journal[:cut]))
    again = search(tmp_path, changes=changes)
    assert again.objectives() == whole.objectives()
    assert again.outcomes() == {"completed": 2}


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_one_that_diverges_where_it_is_judged_has_diverged(tmp_path, engine):
    changes = rates() | {"search": {"lr": {"min": 1e-7, "max": 1e5, "points": 3}}}
    found = search(tmp_path, changes=changes, engine=engine)
    by_rate = {
        found.history.trials[n].config["train"]["lr"]: each.outcome.value
        for n, each in found.history.results.items()
    }
    assert by_rate == {1e5: "diverged", 1e-7: "pruned", 0.1: "completed"}
    # In the drawing of what was measured before, a cross means diverged: the pruned one has none.
    axis = find_axis(found.spec, found.ledger)
    assert axis is not None
    assert {rate: value is None for rate, value in axis.measured} == {0.1: False, 1e5: True}


NEAR = '''
import torch
from torch import nn


class Known(nn.Module):
    """A linear model that knows the digits before its first step, as a pretrained one does."""

    def __init__(self, in_features, num_classes):
        super().__init__()
        self.linear = nn.Linear(in_features, num_classes)
        from sklearn.datasets import load_digits
        from sklearn.linear_model import LogisticRegression
        x, y = load_digits(return_X_y=True)
        x = (x - x.mean(0)) / (x.std(0) + 1e-9)
        fitted = LogisticRegression(C=0.01, max_iter=50).fit(x, y)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor(fitted.coef_))
            self.linear.bias.copy_(torch.tensor(fitted.intercept_))

    def forward(self, x):
        return self.linear(x.flatten(1))


def shifted(outputs, targets):
    """A loss that nobody can scale: a hundred of it says nothing."""
    return nn.functional.cross_entropy(outputs, targets) + 100


class Own:
    def loss(self, model, batch):
        x, y = batch
        return nn.functional.cross_entropy(model(x), y)
'''


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"class_path": "near.Known", "name": None, "hidden": None}},
        {"train": {"loss": {"class_path": "near.shifted"}}},
        {"train": {"step": {"class_path": "near.Own"}}, "objective": {"metric": "loss"}},
    ],
)
def test_nobody_is_judged_who_starts_near_the_floor_or_has_no_scale(tmp_path, changes, monkeypatch):
    (tmp_path / "near.py").write_text(NEAR)
    base = rates(1e-7, 0.1)
    base["train"] |= changes.get("train", {})
    base["model"] = {"hidden": [16], **base["model"], **changes.get("model", {})}
    spec = {**base, **{k: v for k, v in changes.items() if k not in ("train", "model")}}
    found = search(tmp_path, changes=spec, allowed=("near",))
    assert found.outcomes() == {"completed": 2}
    assert all(math.isfinite(each) for each in found.objectives().values())


def test_one_seed_that_stands_still_ends_its_points_fate(tmp_path):
    found = search(tmp_path, changes=rates(1e-7, 0.1, seeds=2))
    assert found.outcomes() == {"completed": 2, "pruned": 2}
    by_outcome = {point.outcome: point for point in found.points}
    assert len(found.points) == len(by_outcome) == 2
    assert by_outcome[Outcome.PRUNED].objective is None


def test_the_place_of_a_stopped_lane_is_another_s(tmp_path):
    """Two lanes for six trainings: what a rule stops makes room for the next one."""
    slow = [1e-7, 2e-7, 3e-7]
    found = search(tmp_path, changes=rates(*slow, 0.1, 0.03, 0.3), engine="fused", lanes=2)
    assert found.outcomes() == {"completed": 3, "pruned": 3}
    assert {each.engine for each in found.history.results.values()} == {"fused"}
    both = search(tmp_path, changes=rates(*slow, 0.1, 0.03, 0.3), engine="fused",
                  runs=tmp_path / "b")  # fmt: skip
    assert both.objectives() == found.objectives()
