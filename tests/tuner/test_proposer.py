"""What a strategy proposes depends on the journal alone: not on timing, not on interruptions.

The points are proposed, journaled and told by the real thing; only the training is left out, an
objective being drawn from the trial's key.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from lrsearch.space import size
from lrsearch.spec import Spec, read_spec
from lrsearch.store import Run
from lrsearch.trial import Outcome, Result, Trial
from lrsearch.tuner.ledger import Content, Ledger
from lrsearch.tuner.proposer import Generation, Proposer

CONTENT = Content("classification", "data", {})

SPEC = """
name: run
data: digits
model: mlp
train: {budget: 2ep}
search:
  # Few points, so that strategies meet at them.
  lr: [1e-3, 1e-2, 1e-1, 1.0]
  batch_size: {min: 16, max: 18, points: 3}
  schedule: [constant, {name: step, gamma: [0.1, 0.9]}]
random: {trials: 9}
bayes: {trials: 22, startup: 4, generation: 3}
"""


class Killed(Exception):
    """The driver is gone."""


def result(trial: Trial) -> Result:
    """An outcome that depends on what is trained alone, in three of ten cases no value."""
    draw = random.Random(trial.key)
    outcome = draw.choice([Outcome.COMPLETED] * 7 + [Outcome.DIVERGED, Outcome.FAILED] * 1)
    metrics = {"accuracy": round(draw.random(), 2)}  # with ties
    return Result(outcome, 1, 1.0, 0.0, last=metrics, best=metrics)


def search(spec: Spec, strategy: str, root: Path, *, stop: int, order: int = 0) -> None:
    """Search until `stop` trials have ended, then raise Killed. `order` shuffles the order in
    which a generation's trials end."""
    ended = itertools.count(1)
    with Run.open(root, spec.name, spec_text=spec.text) as run:
        ledger = Ledger(spec, CONTENT, run.history)
        proposer = Proposer(spec, strategy, ledger)
        shuffle = random.Random(order)

        def take(generation: Generation) -> None:
            if generation.new or generation.proposals:
                run.proposed(generation.number, strategy, generation.proposals, generation.new)
            trials = list(generation.waiting)
            shuffle.shuffle(trials)
            for trial in trials:
                if next(ended) > stop:
                    raise Killed
                run.ended(trial.number, result(trial), {})
                ledger.note_result(trial.number)

        take(proposer.unfinished())
        while (generation := proposer.propose()) is not None:
            take(generation)


def proposals(root: Path, spec: Spec, strategy: str) -> list[Any]:
    with Run.open(root, spec.name, spec_text=None) as run:
        return [
            (proposal.index, proposal.point)
            for proposal in run.history.proposals
            if proposal.strategy == strategy
        ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(SPEC)
    return path


# What stands in the folder before the bayes search that is interrupted: strategy, overrides, and
# after how many trials it was left.
BEFORE: dict[str, list[tuple[str, list[str], int]]] = {
    "nothing": [],
    "a random search": [("random", [], 999)],
    "half a grid": [("grid", [], 20)],
    "a bayes search with another seed count": [("bayes", ["bayes.trials=10"], 999)],
    "all three": [("grid", [], 13), ("bayes", ["bayes.trials=8"], 6), ("random", [], 999)],
}


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("before", BEFORE)
def test_an_interrupted_search_proposes_what_a_whole_one_does(
    before: str, seeds: int, path: Path, tmp_path: Path
) -> None:
    spec = read_spec(path, [f"seeds={seeds}"])

    (tmp_path / "before").mkdir()
    for strategy, overrides, stop in BEFORE[before]:
        with contextlib.suppress(Killed):
            search(read_spec(path, overrides), strategy, tmp_path / "before", stop=stop)
    shutil.copytree(tmp_path / "before", tmp_path / "whole")
    search(spec, "bayes", tmp_path / "whole", stop=9999)
    whole = proposals(tmp_path / "whole", spec, "bayes")
    with Run.open(tmp_path / "whole", spec.name, spec_text=None) as run:
        ledger = Ledger(spec, CONTENT, run.history)
        measured = sum(ledger.judge(entry)[0] is not None for entry in ledger.entries.values())
    assert len(whole) == 22 or measured == size(spec.space)
    assert whole
    for cut in (1, 7, 19) if seeds == 1 else (4, 11):
        root = tmp_path / f"cut{cut}"
        shutil.copytree(tmp_path / "before", root)
        for again in range(100):
            try:
                search(spec, "bayes", root, stop=cut, order=cut + again)
            except Killed:
                continue
            break
        assert proposals(root, spec, "bayes") == whole, cut


@pytest.mark.parametrize("before", [0, 12])
def test_patience_ends_an_interrupted_search_where_it_ends_a_whole_one(
    before: int, path: Path, tmp_path: Path
) -> None:
    """A point that a grid had measured when it was proposed is no improvement, and one that was
    measured for the search is, whenever the journal is read."""
    spec = read_spec(path, ["stop.patience=6", "random.trials=60"])
    made = {0: 12, 12: 6}[before]
    for cut in (999, 1, 5):
        root = tmp_path / f"cut{cut}"
        with contextlib.suppress(Killed):
            search(spec, "grid", root, stop=before)
        with contextlib.suppress(Killed):
            search(spec, "random", root, stop=cut)
        for _ in range(2):
            search(spec, "random", root, stop=999)
            assert len(proposals(root, spec, "random")) == made


def test_repeats_are_counted_on_where_a_search_goes_on(path: Path, tmp_path: Path) -> None:
    """After so many known points, drawn in whichever session, an unknown one is proposed."""
    most = read_spec(path, ["random.trials=400"])
    search(most, "random", tmp_path / "whole", stop=9999)
    whole = proposals(tmp_path / "whole", most, "random")
    assert len({str(point) for _, point in whole}) == size(most.space) < len(whole) < 400
    for before in (5, 12, 25):
        first = read_spec(path, [f"random.trials={len(whole) - before}"])
        for spec in (first, most):
            search(spec, "random", tmp_path / str(before), stop=9999)
        assert proposals(tmp_path / str(before), most, "random") == whole, before


def test_the_order_in_which_trials_end_changes_nothing(path: Path, tmp_path: Path) -> None:
    spec = read_spec(path, ["seeds=2"])
    found = []
    for order in range(3):
        root = tmp_path / str(order)
        search(spec, "bayes", root, stop=9999, order=order)
        found.append(proposals(root, spec, "bayes"))
    assert found[0] == found[1] == found[2]


def test_what_others_measured_with_fewer_seeds_is_told(path: Path, tmp_path: Path) -> None:
    """A search that asks for more seeds still learns from points measured with one."""
    search(read_spec(path), "random", tmp_path / "random", stop=999)
    spec = read_spec(path, ["seeds=3"])
    search(spec, "bayes", tmp_path / "random", stop=9999)
    search(spec, "bayes", tmp_path / "alone", stop=9999)
    taught = proposals(tmp_path / "random", spec, "bayes")
    assert taught != proposals(tmp_path / "alone", spec, "bayes")


def test_fewer_seeds_leave_nothing_unfinished(path: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        search(read_spec(path, ["seeds=3"]), "grid", tmp_path, stop=20)
    spec = read_spec(path)
    search(spec, "grid", tmp_path, stop=9999)
    with Run.open(tmp_path, "run", spec_text=None) as run:
        ledger = Ledger(spec, CONTENT, run.history)
        assert not any(map(ledger.is_open, ledger.entries.values()))
        assert all(ledger.judge(entry)[0] is not None for entry in ledger.entries.values())
        assert all(record.result is not None for record in ledger.records())


def test_content_is_that_of_the_code_a_config_names() -> None:
    content = Content("classification", "data", {"nets.A": "a", "nets.B": "b"})
    own = {"data": {"name": "digits"}, "model": {"class_path": "nets.A"}, "train": {}}
    assert content.of(own) == {"data": "data", "source": {"nets.A": "a"}}
    assert content.of({**own, "model": {"name": "mlp"}}) == {"data": "data", "source": {}}
