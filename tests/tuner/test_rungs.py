"""Verdicts at rungs in real searches: the same whatever workers, lanes and interruptions."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace

import pytest
from test_pruning import rates
from test_tuner import search

from lrsearch.analysis.pruning import RULES
from lrsearch.executors.local import Local
from lrsearch.store import History, fold, read
from lrsearch.trial import Outcome
from lrsearch.tuner.ledger import Ledger
from lrsearch.tuner.rungs import Rungs

EIGHT = (3e-4, 0.1, 1e-3, 0.03, 3e-3, 0.3, 1e-2, 0.6)


def compared(rule, *values, **more):
    """A spec of nine epochs, compared after one and after three of them."""
    changes = rates(*(values or EIGHT), prune=rule, **more)
    changes["train"] |= {"budget": "9ep", "batch_size": 128}
    return changes


def told(found):
    """All that a search has come to, but for what differs by engine, and for seconds."""
    history = found.history
    lr = {n: (t.config["train"]["lr"], t.seed, t.fold) for n, t in history.trials.items()}
    rulings = {(lr[n], step): ruling for (n, step), ruling in history.rulings.items()}
    results = {
        lr[n]: (r.outcome.value, r.steps, r.whole, r.rule, r.reason, r.value(found.objective))
        for n, r in history.results.items()
    }
    return rulings, results


def outcomes(found):
    """The outcome of each rate."""
    trials, results = found.history.trials, found.history.results
    return {trials[n].config["train"]["lr"]: r.outcome.value for n, r in sorted(results.items())}


@pytest.fixture(scope="module")
def quarter(tmp_path_factory):
    """A search of eight points under `quarter`, alone."""
    folder = tmp_path_factory.mktemp("quarter")
    return folder, search(folder, changes=compared("quarter"))


def test_the_worst_quarter_stops_at_each_rung(quarter):
    _, found = quarter
    history = found.history
    lost = Counter(r.steps for r in history.results.values() if r.outcome is Outcome.PRUNED)
    assert lost == {11: 2, 34: 1}  # Two of eight, then one of the six that are left.
    value = {n: history.reached[n, 11] for n in history.trials}
    stopped = {n for n, r in history.results.items() if r.steps == 11}
    assert max(value[n] for n in stopped) < min(v for n, v in value.items() if n not in stopped)
    for number, result in history.results.items():
        if result.outcome is Outcome.PRUNED:
            assert result.rule == "quarter" and result.whole == 101
            assert result.reason.startswith("quarter: accuracy is ")
            assert result.value(found.objective) is None
            assert history.rulings[number, result.steps].stop
    assert search(found.folder.parents[1], changes=compared("quarter")).ending.trained == 0


@pytest.mark.parametrize("how", ["fused", "workers"])
def test_verdicts_are_the_same_with_lanes_and_workers(quarter, tmp_path, how):
    _, alone = quarter
    if how == "fused":
        # Of lanes the weights are those of solo but for rounding: the ranks are equal here.
        found = search(tmp_path, changes=compared("quarter"), engine="fused")
        assert outcomes(found) == outcomes(alone)
        assert {r.engine for r in found.history.results.values()} == {"fused"}
        again = search(tmp_path, changes=compared("quarter"), engine="fused", runs=tmp_path / "b")
        assert told(found) == told(again)
    else:
        found = search(tmp_path, changes=compared("quarter"), executor=Local(2))
        assert told(found) == told(alone)


def test_a_search_killed_at_any_line_comes_to_the_same(quarter, tmp_path):
    """The driver dies between a value and its verdict, between a verdict and the end that follows
    from it, and behind that."""
    folder, whole = quarter
    lines = (whole.folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    kinds = [json.loads(line)["event"] for line in lines]
    assert kinds.count("reached") == 8 + 6 and kinds.count("ruled") == 2
    first, second = (k for k, kind in enumerate(kinds) if kind == "ruled")
    for number, cut in enumerate((kinds.index("reached") + 1, first, first + 1, second + 2)):
        here = tmp_path / str(number)
        shutil.copytree(folder, here)
        path = here / "runs" / "tuned" / "journal.jsonl"
        path.write_bytes(b"".join(lines[:cut]))
        again = search(here, changes=compared("quarter"))
        assert told(again) == told(whole), kinds[cut - 1]


def test_old_verdicts_stay_under_another_rule(quarter, tmp_path):
    folder, whole = quarter
    shutil.copytree(folder, tmp_path / "run")
    changes = compared("quarter")
    for rule in ("median", "none"):
        changed = search(tmp_path / "run", changes={**changes, "prune": rule})
        assert changed.ending.trained == 0 and told(changed) == told(whole)
        said = f"3 trials were stopped by quarter, and stay so under prune: {rule}"
        assert any(said in note for note in changed.log.notes)
    resumed = search(tmp_path / "run", changes=changes, resume_pruned=True)
    assert resumed.ending.trained == 3 and resumed.outcomes() == {"completed": 8}


def test_values_of_another_objective_are_not_compared(quarter, tmp_path):
    """Of a search that is gone on with, before any verdict, under another one."""
    folder, _ = quarter
    changes = compared("quarter") | {"objective": {"metric": "loss", "at": "last"}}
    whole = search(tmp_path, changes=changes)
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run" / "runs" / "tuned" / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    cut = next(at for at, line in enumerate(lines) if b'"event":"ruled"' in line)
    assert sum(b'"event":"reached"' in line for line in lines[:cut]) > 4
    path.write_bytes(b"".join(lines[:cut]))
    assert told(search(tmp_path / "run", changes=changes)) == told(whole)


def test_values_of_older_journals_are_of_the_objective_searched_then(quarter):
    """Older versions wrote no objective beside a value at a rung."""
    _, found = quarter
    ledger, history = found.ledger, History()
    for line in (found.folder / "journal.jsonl").read_text().splitlines():
        body = json.loads(line)
        if body["event"] == "reached":
            del body["objective"]
        fold(history, body)
    older = Ledger(ledger.spec, ledger.content, history)
    assert history.reached and all(map(older.has_reached, history.reached))
    other = {**ledger.spec.document, "objective": {"metric": "loss"}}
    older = Ledger(replace(ledger.spec, document=other), ledger.content, history)
    assert not any(map(older.has_reached, history.reached))


def test_halving_has_a_first_point_in_full(tmp_path):
    # The first is among the worst, and goes to its end all the same.
    found = search(tmp_path, changes=compared("halving", 3e-3, 0.2, 0.05, *sorted(EIGHT)[3:]))
    steps = {found.history.trials[n].config["train"]["lr"]: r.steps
             for n, r in found.history.results.items()}  # fmt: skip
    assert steps.pop(3e-3) == 101
    assert Counter(steps.values()) == {11: 3, 34: 2, 101: 2}
    first = [json.loads(line) for line in (found.folder / "journal.jsonl").open()]
    ended = next(k for k, line in enumerate(first) if line["event"] == "ended")
    started = [line["trial"] for line in first[:ended] if line["event"] == "started"]
    assert started == [1]  # Nothing else has begun when it is done.


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_comes_to_an_end_and_to_the_same(tmp_path, rule):
    """With bayes, whose points follow from results; once more from the middle of its journal."""
    changes = compared(rule) | {
        "search": {"lr": {"min": 1e-4, "max": 1.0}},
        "bayes": {"trials": 8, "startup": 4, "generation": 2},
    }
    changes["train"] |= {"budget": "2ep", "evaluate": "0.1dur"}
    found = search(tmp_path, "bayes", changes)
    assert len(found.points) == 8 and all(point.outcome for point in found.points)
    assert any(point.objective is not None for point in found.points)
    assert found.history.rulings and len(found.history.results) == 8
    path = found.folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: len(lines) // 2]))
    assert told(search(tmp_path, "bayes", changes)) == told(found)


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_seeds_and_folds_share_their_points_fate(tmp_path, engine):
    changes = compared({"name": "quarter", "population": 4}, 1e-3, 0.1, 0.03, 0.3, seeds=2)
    changes["data"] = {"validation": {"folds": 3}}
    found = search(tmp_path, changes=changes, engine=engine)
    by_outcome = Counter(point.outcome for point in found.points)
    assert by_outcome == {"pruned": 1, "completed": 3}
    (point,) = (each for each in found.points if each.outcome == "pruned")
    results = [found.history.results[number] for number in point.trials]
    assert point.params["lr"] == 1e-3 and len(results) == 6 and point.objective is None
    assert {each.rule for each in results} == {"quarter"}


def test_a_seed_that_diverges_takes_its_point_out(tmp_path):
    """No sibling waits for it, and none is trained on for a point that will have no value."""
    nets = """
import torch
from torch import nn

class Odd(nn.Module):
    def __init__(self, in_features, num_classes):
        super().__init__()
        self.line = nn.Linear(in_features, num_classes)
        self.odd = float(torch.rand(())) < 0.5

    def forward(self, x):
        out = self.line(x.flatten(1))
        return out * float("nan") if self.odd and self.training else out
"""
    (tmp_path / "odd.py").write_text(nets)
    changes = compared("quarter", 0.1, 0.03, 0.3, 0.01, seeds=4)
    changes["model"] = {"class_path": "odd.Odd", "name": None}
    found = search(tmp_path, changes=changes, allowed=("odd",))
    results = found.history.results.values()
    ends = Counter((each.outcome.value, each.steps) for each in results)
    assert set(ends) == {("diverged", 11), ("pruned", 11)}  # Each point has some of both.
    assert all("another trial of its point" in r.reason for r in results if r.rule)


def test_rungs_that_nothing_is_evaluated_at_are_none(tmp_path):
    changes = compared("quarter")
    changes["train"]["budget"] = "1ep"
    found = search(tmp_path, changes=changes)
    assert found.outcomes() == {"completed": 8} and not found.history.reached
    assert sum("evaluate: 0.1dur does" in note for note in found.log.notes) == 1
    changes["train"]["budget"] = "2ep"  # Both rungs fall on its only evaluation.
    found = search(tmp_path, changes=changes, runs=tmp_path / "b")
    assert Counter(step for _, step in found.history.rulings) == {11: 8}
    assert found.outcomes() == {"completed": 6, "pruned": 2}


def test_a_rung_where_all_have_diverged_is_passed(tmp_path):
    changes = compared("quarter", 1e30, 3e30, 1e31, 3e31)
    changes["train"]["budget"] = "20ep"
    found = search(tmp_path, changes=changes)
    assert set(found.outcomes()) <= {"diverged"}


@pytest.mark.parametrize(
    "objective", [{"metric": "accuracy", "at": "best"}, {"metric": "loss", "at": "best"}]
)
def test_the_best_until_then_counts_where_it_is_asked_for(tmp_path, objective):
    found = search(tmp_path, changes=compared("quarter", objective=objective))
    history = found.history
    for number, result in history.results.items():
        if result.outcome is Outcome.PRUNED:
            assert history.reached[number, result.steps] == result.best[objective["metric"]]
    stopped = {n for n, r in history.results.items() if r.steps == 11}
    sign = 1 if objective["metric"] == "loss" else -1
    value = {n: sign * history.reached[n, 11] for n in history.trials}
    assert len(stopped) == 2
    assert min(value[n] for n in stopped) > max(v for n, v in value.items() if n not in stopped)


def test_notes_say_what_a_rule_cannot_do(tmp_path):
    alone = search(tmp_path, changes=compared("quarter", 0.1))
    assert "prune: quarter has nothing to compare one point with" in alone.log.notes
    assert alone.outcomes() == {"completed": 1}
    changes = compared("halving", *(10 ** (-k / 10) for k in range(17)))
    changes["train"] |= {"budget": "1ep"}
    many = search(tmp_path, changes=changes, runs=tmp_path / "b")
    assert any("halving is for searches of about 10 trainings" in note for note in many.log.notes)


def test_a_time_limit_leaves_nobody_waiting(tmp_path):
    found = search(tmp_path, changes=compared("quarter"), time_limit=1e-9)
    assert found.ending.out_of_time and found.ending.trained == 0
    over = search(tmp_path, changes=compared("quarter"), time_limit=1e9)
    assert not over.ending.out_of_time and len(read(over.folder).results) == 8


@pytest.mark.parametrize("rule", ["quarter", "halving"])
def test_points_that_are_proposed_while_a_probe_is_made_wait_for_its_plan(tmp_path, rule):
    """A learning search proposes all of its start, which is compared, before any result."""
    changes = compared(rule)
    changes["search"] = {"lr": {"min": 1e-3, "max": 1.0}}
    changes["bayes"] = {"trials": 12, "startup": 8, "generation": 4}
    found = search(tmp_path, "bayes", changes, engine="auto")
    assert len(found.history.results) == 12
    assert found.history.closed == "finished"


def test_points_of_other_budgets_are_no_rivals(tmp_path):
    """Each budget is compared among its own points, at its own rungs: of the longer one, whose
    values at a ninth are better, as many stop as of the shorter."""
    changes = compared("quarter", 0.02, 0.1, 0.01, 0.05)
    changes["search"]["budget"] = ["9ep", "27ep"]
    found = search(tmp_path, changes=changes)
    history = found.history
    budgets = {n: each.config["train"]["budget"] for n, each in history.trials.items()}
    steps = {"9ep": {11, 34}, "27ep": {34, 101}}
    assert {(budgets[n], step) for n, step in history.reached} == {
        (budget, step) for budget, rungs in steps.items() for step in rungs
    }
    stopped = Counter(budgets[n] for n, r in history.results.items() if r.outcome is Outcome.PRUNED)
    assert stopped == {"9ep": 1, "27ep": 1}
    first = {budget: {n for n, each in budgets.items() if each == budget} for budget in steps}
    for budget, numbers in first.items():
        value = {n: history.reached[n, min(steps[budget])] for n in numbers}
        lost = [n for n in numbers if history.results[n].steps == min(steps[budget])]
        assert lost == [min(numbers, key=value.__getitem__)]
    assert not any(each.shared_epochs for each in history.results.values())


def test_a_start_of_several_budgets_is_whole_once_all_of_it_is_proposed(tmp_path, monkeypatch):
    """Then its points are compared as soon as their values are there: nothing has to wait until
    nothing else is left to train."""
    forced = []
    decide = Rungs.decide

    def look(self, *, force=False):
        forced.append(force and bool(self.waiting))
        decide(self, force=force)

    monkeypatch.setattr(Rungs, "decide", look)
    changes = compared("quarter")
    changes["search"] = {"lr": {"min": 1e-3, "max": 1.0}, "budget": ["3ep", "9ep"]}
    changes["bayes"] = {"trials": 9, "startup": 8}
    found = search(tmp_path, "bayes", changes)
    assert len(found.history.results) == 9 and found.history.rulings
    assert not any(forced)
