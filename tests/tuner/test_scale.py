"""Costs of long runs that no clock is needed to see: what is done once, or not again."""

from __future__ import annotations

import cProfile
import json
import pstats
import subprocess
import sys
from pathlib import Path

import pytest
from keys import trial_key

from lrsearch.spec import read_spec
from lrsearch.store import Run, read
from lrsearch.trial import Outcome, Result
from lrsearch.tuner.ledger import Content, Ledger
from lrsearch.tuner.proposer import Generation, Proposer

CONTENT = Content("classification", "data+standardized", {"own.Net": "a", "path:b": "c"})

SPEC = """
name: run
data: {name: digits, standardize: true}
model: mlp
train: {budget: 1ep}
search:
  lr: {min: 1e-3, max: 1.0, points: 3}
  schedule: [constant, {name: step, gamma: {min: 0.1, max: 0.9}}]
bayes: {trials: 60, startup: 4, generation: 4}
seeds: 2
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(SPEC)
    return path


def _calls(profile: cProfile.Profile, name: str) -> int:
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    return sum(counts[1] for (_, _, each), counts in stats.items() if each == name)


def test_what_was_judged_and_told_is_not_judged_again(path: Path, tmp_path: Path) -> None:
    spec = read_spec(path)
    judged: list[int] = []
    with Run.open(tmp_path, "run", spec_text=SPEC) as run:
        # The points of another search are in the ledger as well.
        for strategy in ("random", "bayes"):
            ledger = Ledger(spec, CONTENT, run.history)
            proposer = Proposer(spec, strategy, ledger)
            for _ in range(8):
                with cProfile.Profile() as profile:
                    generation = proposer.propose()
                assert isinstance(generation, Generation)
                judged.append(_calls(profile, "combine"))
                run.proposed(generation.number, strategy, generation.proposals, generation.new)
                for trial in generation.waiting[: 2 * 5]:
                    metrics = {"accuracy": trial.config["train"]["lr"]}
                    run.ended(trial.number, Result(Outcome.COMPLETED, 1, 1, 0, last=metrics), {})
                    ledger.note_result(trial.number)
                if not proposer.room:
                    break
    # Each generation of bayes is judged when the next one is proposed, and once.
    assert len(run.history.results) > 70
    assert judged[-7:] == [4] * 7


def test_the_ledger_s_keys_are_those_of_the_configs(path: Path, tmp_path: Path) -> None:
    spec = read_spec(path)
    with Run.open(tmp_path, "run", spec_text=SPEC) as run:
        ledger = Ledger(spec, CONTENT, run.history)
        proposer = Proposer(read_spec(path, ["bayes.trials=10"]), "bayes", ledger)
        generation = proposer.propose()
        assert generation is not None
        run.proposed(generation.number, "bayes", generation.proposals, generation.new)
    found = Ledger(spec, CONTENT, read(tmp_path / "run"))
    assert len(found.entries) == 4
    for entry in found.entries.values():
        assert found.find(entry.config) is entry
        for seed in (0, 1, 7):  # 7 is of no trial yet.
            key = trial_key(entry.config, CONTENT.of(entry.config), seed, None)
            assert found.key(entry, seed, None) == key
    # Under other content, or another spec, no trial belongs.
    other = Content(CONTENT.task, "other", CONTENT.sources)
    assert not Ledger(spec, other, read(tmp_path / "run")).entries
    assert not Ledger(read_spec(path, ["train.budget=2ep"]), CONTENT, run.history).entries


def test_a_known_history_is_taken_where_the_journal_is_still_the_same(
    path: Path, tmp_path: Path
) -> None:
    with Run.open(tmp_path, "run", spec_text=SPEC) as run:
        run.closed("first", 1.0)
    known = read(tmp_path / "run")
    with Run.open(tmp_path, "run", spec_text=SPEC, known=known) as run:
        assert run.history is known
        run.closed("second", 1.0)
    written = read(tmp_path / "run")
    assert (written.closed, written.seconds) == ("second", 2.0)
    # What was folded since, or written by another, is not what was read.
    stale = read(tmp_path / "run")
    journal = tmp_path / "run" / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[: whole.index(b"\n") + 1])
    with Run.open(tmp_path, "run", spec_text=SPEC, known=stale) as run:
        assert (run.history.closed, run.history.seconds) == ("first", 1.0)
    journal.write_bytes(whole)
    with Run.open(tmp_path, "run", spec_text=SPEC, known=known) as run:
        assert run.history == written
        assert run.history is not known


@pytest.mark.timeout(300)
def test_a_search_that_goes_on_reads_its_journal_once(path: Path, tmp_path: Path) -> None:
    path.write_text(SPEC.replace("seeds: 2", "seeds: 1"))
    line = ["grid", "run.yaml", "--set", "search.schedule=[constant]", "--json"]
    line += ["--workers", "1", "--engine", "solo"]
    shown = []
    for profiled in ([], ["-m", "cProfile", "-o", "profile"]):
        done = subprocess.run(
            [sys.executable, *profiled, "-m", "lrsearch", *line],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        )
        shown.append(json.loads(done.stdout))
        shown[-1]["cost"].pop("wall_seconds")
    assert shown[0] == shown[1]
    assert len(shown[0]["trials"]) == 3
    counts = pstats.Stats(str(tmp_path / "profile")).stats  # type: ignore[attr-defined]
    replayed = [each[1] for (_, _, name), each in counts.items() if name == "_replay"]
    assert replayed == [1]
