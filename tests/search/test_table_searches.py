"""Whole searches by the tuner, whose trainings are looked up: what `bayes` proposes with rules of
early stopping, seeds and folds, whatever line of its journal it is killed at."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lrsearch.analysis.pruning import RULES
from lrsearch.search.strategy import point_key
from lrsearch.spec.document import parse
from lrsearch.spec.validate import validate
from lrsearch.store import Run, read
from lrsearch.trial import Outcome
from lrsearch.tuner.ledger import Ledger, content_of
from lrsearch.tuner.proposer import Proposer

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

SPEC = """\
name: s
data: digits
model: mlp
train: {budget: 9ep}
objective: loss
search:
  lr: {min: 1.0e-4, max: 1.0}
  optimizer: [{name: sgd, momentum: {min: 0.0, max: 0.99}}, adam]
"""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import search_engine

    return search_engine


def losses(point: Any, noise: float) -> tuple[float, ...]:
    """The losses of a training: high rates diverge in its course, low ones are slow."""
    rate, adam = math.log10(point["lr"]), point["optimizer"]["name"] == "adam"
    if rate > -0.4:
        return tuple(3.0 if epoch < 2 + 8 * noise else math.inf for epoch in range(9))
    end = 0.3 + (rate + 2.0 - adam) ** 2 / 4 + 0.05 * noise
    return tuple(end + 2.0 * math.exp(-epoch * 10 ** (rate / 3)) for epoch in range(1, 10))


def tune(engine: ModuleType, folder: Path, more: str) -> tuple[list[Any], bytes]:
    """Search in a folder, or go on there; what has come of it, and the journal."""
    base = SPEC.replace("data: digits\n", "") if "data:" in more else SPEC
    text = base + more
    spec = validate(parse(text, "s.yaml"), folder, text)
    with Run.open(folder, "s", spec_text=text) as run:

        class Tables(engine.Tables):
            def course(self, trial: Any) -> Any:
                noise = random.Random(f"{trial.key}").random()
                return engine.Course(losses(self.point(trial.number), noise))

        with Tables(None, run.history, engine.Meter(10**6)) as executor:
            engine.tune_tables(spec, "bayes", run, executor)
    history = read(folder / "s")
    proposed = [(each.index, each.point, each.trials) for each in history.proposals]
    ended = [(n, r.outcome, r.steps, r.rule, r.last) for n, r in sorted(history.results.items())]
    return [proposed, ended, history.rulings], (folder / "s" / "journal.jsonl").read_bytes()


REPEATED = {
    "alone": "",
    "seeds": "seeds: 3\n",
    "folds": "data: {name: digits, validation: {folds: 2}}\nseeds: 2\n",
}


@pytest.mark.parametrize(
    ("model", "rule", "repeated"),
    [
        *(("gp", rule, "alone") for rule in ("no_progress", *sorted(RULES))),
        *(("gp", rule, more) for more in ("seeds", "folds") for rule in ("asha", "wilcoxon")),
        *(("tpe", rule, "seeds") for rule in ("asha", "halving")),
    ],
)
def test_a_search_killed_at_any_line_proposes_the_same(
    engine: ModuleType, tmp_path: Path, model: str, rule: str, repeated: str
) -> None:
    """The driver is killed twice at lines drawn by chance, and goes on each time."""
    bayes = f"bayes: {{trials: 15, model: {model}, startup: 6}}\n"
    more = f"{REPEATED[repeated]}prune: {rule}\n{bayes}"
    whole, journal = tune(engine, tmp_path / "whole", more)
    lines = journal.splitlines(keepends=True)
    asked = [place for place, line in enumerate(lines) if json.loads(line)["event"] == "proposed"]
    assert len(whole[0]) == 15 and len(asked) > 3
    draw = random.Random(f"{model} {rule} {repeated}")
    path = tmp_path / "whole" / "s" / "journal.jsonl"
    path.write_bytes(b"".join(lines[: draw.randint(2, len(lines) - 1)]))
    # Once more killed before it is done, at a line of the resumed search's own.
    resumed = tune(engine, tmp_path / "whole", more)[1].splitlines(keepends=True)
    path.write_bytes(b"".join(resumed[: draw.randint(2, len(resumed) - 1)]))
    assert tune(engine, tmp_path / "whole", more)[0] == whole


def test_a_model_is_told_how_what_was_stopped_stood(engine: ModuleType, tmp_path: Path) -> None:
    more = "seeds: 2\nprune: asha\nbayes: {trials: 15, model: gp, startup: 6}\n"
    tune(engine, tmp_path, more)
    history, text = read(tmp_path / "s"), SPEC + more
    spec = validate(parse(text, "s.yaml"), tmp_path, text)
    proposer = Proposer(spec, "bayes", Ledger(spec, content_of(engine._FACTS), history))
    proposer._tell()
    told = proposer.strategy._told  # type: ignore[attr-defined]
    assert len(told) == 15
    stopped = 0
    for proposal in history.proposals:
        way = told[point_key(proposal.point)].partial
        results = [history.results[number] for number in proposal.trials]
        if all(each.outcome is Outcome.PRUNED for each in results):
            steps = [each.steps for each in results]
            share = sum(steps) / sum(each.whole for each in results)
            value = (
                sum(history.reached[at] or 0.0 for at in zip(proposal.trials, steps, strict=True))
                / 2
            )
            assert way[-1] == pytest.approx((share, value))
            stopped += 1
        elif all(each.outcome is Outcome.COMPLETED for each in results):
            assert [round(9 * share) for share, _ in way] == [1, 3]
    assert stopped > 3
    # Under another objective those values are of no use: they are not what is compared.
    other = validate(parse(text.replace("loss", "accuracy", 1), "s.yaml"), tmp_path, text)
    ledger = Ledger(other, content_of(engine._FACTS), history)
    assert len(ledger.entries) == 15
    assert all(ledger.partial(entry) == () for entry in ledger.entries.values())


def test_the_best_of_those_that_go_on_are_trained_first(engine: ModuleType, tmp_path: Path) -> None:
    """Whoever ends the search, or whose budget ends, then has the best of it."""
    for seed in (5, 8):  # The better of the two that go on was proposed later.
        folder = tmp_path / str(seed)
        tune(engine, folder, f"seed: {seed}\nprune: halving\nbayes: {{trials: 8, model: gp}}\n")
        history = read(folder / "s")
        lines = (folder / "s" / "journal.jsonl").read_bytes().splitlines()
        ends = [line["trial"] for line in map(json.loads, lines) if line["event"] == "ended"]
        last = [n for n in ends if history.results[n].outcome is Outcome.COMPLETED and n != 1]
        step = max(step for number, step in history.reached if number in last)
        worth = [float(history.reached[number, step] or 0.0) for number in last]
        assert worth == sorted(worth) and last != sorted(last)


def test_what_is_trained_again_after_no_progress_is_lifted_is_the_same_point(
    engine: ModuleType, tmp_path: Path
) -> None:
    """Of losses that stand still everywhere all first trials are stopped, and come again."""
    text = f"{SPEC}prune: no_progress\nbayes: {{trials: 8, startup: 8}}\n"
    spec = validate(parse(text, "s.yaml"), tmp_path, text)
    with Run.open(tmp_path, "s", spec_text=text) as run:
        asked: list[tuple[int, Any]] = []

        class Flat(engine.Tables):
            def course(self, trial: Any) -> Any:
                asked.append((trial.number, self.point(trial.number)))
                flat = (1.0,) * 9
                return engine.Course(flat, 1.0, flat, flat)

        with Flat(None, run.history, engine.Meter(10**6)) as executor:
            engine.tune_tables(spec, "bayes", run, executor)
    points = [point for _, point in sorted(asked, key=lambda each: each[0])]
    assert len(points) == 16
    assert points[8:] == points[:8]
    assert all(points[0] != each for each in points[1:8])
