"""`lr: auto`: range tests before the first trial, and what is made of them, with real training."""

from __future__ import annotations

import io
import itertools
import json
import math
import re
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from devices import DEVICE, exact
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from test_cli import finish, lrsearch, process
from test_tables import INLINE
from test_tuner import Log

from lrsearch import catalogue, sweeps
from lrsearch.cli.stored import list_folder, open_stored, view_run
from lrsearch.errors import RangeRefused, SpecError, UsageError
from lrsearch.executors.inline import Inline
from lrsearch.executors.local import Local
from lrsearch.executors.port import Executor
from lrsearch.reports.range_pages import range_page
from lrsearch.reports.ranges import tell_range
from lrsearch.reports.view import describe_found
from lrsearch.search import check_search
from lrsearch.space import Choice, Float, automatic, parameters
from lrsearch.spec import read_spec
from lrsearch.spec.model import Spec
from lrsearch.store import History, Run, read
from lrsearch.trial import Workplace
from lrsearch.tuner import ranging
from lrsearch.tuner.finding import MARGIN, MOST, look_up, name_range, plan_tests, round_out
from lrsearch.tuner.ledger import Content
from lrsearch.tuner.loop import tune
from lrsearch.tuner.preparing import prepare
from lrsearch.tuner.ranging import stored_tests
from lrsearch.tuner.session import Asked

SPEC = """
name: found
data: {name: digits, standardize: true}
model: {name: mlp, hidden: [16]}
train:
  budget: 30ba
  optimizer: {name: sgd, momentum: 0.9}
search:
  lr: {auto: true, points: 5}
  batch_size: [16, 64]
random: {trials: 6}
bayes: {trials: 6, startup: 3, generation: 2}
"""

STRATEGIES = ("grid", "random", "bayes")

NETS = '''
import os
from pathlib import Path

import torch
from torch import nn


class Numb(nn.Module):
    """Gives the same whatever it is given: no rate makes a difference."""

    def __init__(self, in_features, num_classes):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_classes))

    def forward(self, x):
        return 0.0 * self.weight.expand(len(x), -1)


class Picky(nn.Module):
    """Raises in training on batches of more than 32."""

    def __init__(self, in_features, num_classes):
        super().__init__()
        self.linear = nn.Linear(in_features, num_classes)

    def forward(self, x):
        if self.training and len(x) > 32:
            raise ValueError("so many at once")
        return self.linear(x.flatten(1))


class Deadly(Picky):
    """Ends its process in training on batches of more than 32, unless a file says otherwise."""

    def forward(self, x):
        if self.training and len(x) > 32 and not Path("alive").exists():
            os._exit(7)
        return self.linear(x.flatten(1))
'''


def write_spec(folder: Path, text: str = SPEC, **changes: Any) -> Path:
    """The spec with other values at its top level, in a folder with nets.py."""
    path = folder / "found.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(text), **changes}, sort_keys=False))
    (folder / "nets.py").write_text(NETS)
    return path


def search(
    path: Path,
    runs: Path,
    strategy: str = "grid",
    *overrides: str,
    executor: Executor | None = None,
    asked: Asked | None = None,
) -> tuple[History, Log]:
    """A search, as the command makes it; the history that its journal holds."""
    spec = read_spec(path, overrides)
    check_search(strategy, spec)
    workplace, log = Workplace(str(DEVICE), str(spec.folder), ("nets",)), Log()
    with executor or Inline() as place:
        facts = prepare(spec, place, workplace)
        with Run.open(runs, spec.name, spec_text=spec.text) as run:
            tune(
                spec,
                strategy,
                run=run,
                executor=place,
                facts=facts,
                workplace=workplace,
                watcher=log,
                asked=asked or Asked("solo"),
            )
    return read(runs / spec.name), log


def rates(history: History, strategy: str = "grid") -> list[float]:
    """The rates that a strategy proposed."""
    return [float(each.point["lr"]) for each in history.proposals if each.strategy == strategy]


def swept_in(history: History) -> dict[str, str]:
    """The range tests of a journal, by their keys, as text and without the seconds they took."""
    return {key: repr({**body, "seconds": 0.0}) for key, body in stored_tests(history).items()}


def outcomes(history: History) -> dict[str, str]:
    """What each trial came to, but for the seconds, by its key."""
    return {
        history.trials[number].key: repr(replace(result, seconds=0.0))
        for number, result in history.results.items()
    }


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spec(tmp_path_factory.mktemp("spec"))


@pytest.fixture(scope="module")
def whole(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of a search that nothing has interrupted."""
    runs = tmp_path_factory.mktemp("whole")
    search(path, runs)
    return runs


# What is found ----------------------------------------------------------------------------------


def test_what_is_searched_is_what_the_tests_say_widened(whole: Path) -> None:
    history = read(whole / "found")
    (ranged,) = history.ranges.values()
    assert [test.params for test in ranged.tests] == [{"batch_size": 16}, {"batch_size": 64}]
    said = []
    for test, body in zip(ranged.tests, stored_tests(history).values(), strict=True):
        losses = [[float(loss) for loss in each] for each in body["losses"]]
        found = sweeps.find_interval(body["lr"], losses)
        assert isinstance(found, sweeps.Interval)
        assert test.interval == (found.low, found.high)
        said.append(test.interval)
    low, high = min(each[0] for each in said), max(each[1] for each in said)
    assert ranged.low == pytest.approx(low / MARGIN, rel=0.1) and ranged.low <= low / MARGIN
    assert ranged.high == pytest.approx(high * MARGIN, rel=0.1) and ranged.high >= high * MARGIN
    # The grid's ends are those of the range, and its points even in log.
    grid = sorted(set(rates(history)))
    assert (grid[0], grid[-1], len(grid)) == (ranged.low, ranged.high, 5)
    steps = [math.log(right / left) for left, right in itertools.pairwise(grid)]
    assert steps == pytest.approx([steps[0]] * 4, rel=1e-6)


def test_the_journal_has_the_range_before_the_first_proposal(whole: Path) -> None:
    lines = (whole / "found" / "journal.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events[:5] == ["opened", "noted", "noted", "ranged", "proposed"]
    assert events.count("noted") == 2 and events.count("ranged") == 1


@pytest.mark.cpu("a GPU repeats itself to rounding only")
def test_two_runs_agree_bit_by_bit_whatever_trains_them(
    path: Path, whole: Path, tmp_path: Path
) -> None:
    expected = read(whole / "found")
    alone, _ = search(path, tmp_path / "alone")
    two, _ = search(path, tmp_path / "two", executor=Local(2), asked=Asked("fused", lanes=3))
    for found in (alone, two):
        assert swept_in(found) == swept_in(expected)
        assert found.ranges == expected.ranges
        assert sorted(rates(found)) == sorted(rates(expected))
    assert outcomes(alone) == outcomes(expected)


@settings(max_examples=3)
@given(
    at=st.floats(0, 1),
    strategy=st.sampled_from(STRATEGIES),
    then=st.sampled_from(STRATEGIES),
    points=st.integers(1, 7),
)
def test_whoever_goes_on_has_the_range_that_is_journaled(
    path: Path,
    whole: Path,
    tmp_path_factory: pytest.TempPathFactory,
    at: float,
    strategy: str,
    then: str,
    points: int,
) -> None:
    """A run that was cut off anywhere, and whose range is known from its uninterrupted twin."""
    runs = tmp_path_factory.mktemp("cut")
    shutil.copytree(whole / "found", runs / "found")
    journal = runs / "found" / "journal.jsonl"
    content = journal.read_bytes()
    journal.write_bytes(content[: round(at * len(content))])
    before = read(runs / "found")
    (expected,) = read(whole / "found").ranges.values()
    for each in (strategy, then):
        search(path, runs, each, f"search.lr.points={points}")
    after = read(runs / "found")
    (ranged,) = after.ranges.values()
    assert swept_in(after).items() >= swept_in(before).items()
    if exact():
        assert (ranged.low, ranged.high) == (expected.low, expected.high)
    for each in (strategy, then):
        proposed = rates(after, each)
        assert proposed and all(ranged.low <= rate <= ranged.high for rate in proposed)
    # Where nothing was lost of it, nothing was swept again.
    text = journal.read_text()
    assert text.count('"kind":"range"') == 2 and text.count('"event":"ranged"') == 1


def test_a_structure_more_is_tested_alone(path: Path, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "found", tmp_path / "found")
    before = read(tmp_path / "found")
    after, _ = search(path, tmp_path, "grid", "search.batch_size=[16, 32, 128]")
    assert len(swept_in(after)) == len(swept_in(before)) + 1  # 16 is known, 32 lies between.
    assert len(after.ranges) == 2
    again, log = search(path, tmp_path, "grid")
    assert swept_in(again) == swept_in(after) and again.ranges == after.ranges
    assert any("as this run has it" in note for note in log.notes)


def test_each_optimizer_has_a_range_of_its_own(path: Path, tmp_path: Path) -> None:
    lion = "{name: lion, lr: {min: 1e-4, max: 1e-2, points: 2}}"
    over = f"search.optimizer=[{{name: sgd, momentum: 0.9}}, adamw, {lion}]"
    history, _ = search(
        path, tmp_path, "grid", over, "search.batch_size=[32]", "search.lr.points=2"
    )
    found = {each.name: each for each in history.ranges.values()}
    assert set(found) == {"lr of sgd", "lr of adamw"}
    by_name: dict[str, set[float]] = {}
    for proposal in history.proposals:
        optimizer = proposal.point["optimizer"]
        by_name.setdefault(optimizer["name"], set()).add(optimizer["lr"])
    for name in ("sgd", "adamw"):
        ranged = found[f"lr of {name}"]
        assert by_name[name] == {ranged.low, ranged.high}
    assert by_name["lion"] == {1e-4, 1e-2}
    assert by_name["sgd"] != by_name["adamw"]


def test_tests_at_the_ends_of_the_momentum_are_told_apart(path: Path, tmp_path: Path) -> None:
    ends = ("search.batch_size=[64]", "search.optimizer.momentum=[0.0, 0.5, 0.9]")
    search(path, tmp_path, "grid", *ends, "search.lr.points=1")
    view = view_run(open_stored(str(tmp_path / "found"), tmp_path))
    told = [tell_range(each).partition(": ")[0] for each in view.ranges]
    assert told == [f"batch_size=64 optimizer=sgd momentum={n}" for n in ("0", "0.9")]
    page = io.StringIO()
    Console(file=page, width=100).print(range_page("found", view.ranges))
    assert " momentum=0.9, searched too, and held fixed here" in page.getvalue()


def test_rates_above_which_no_step_is_larger_are_not_searched(path: Path, tmp_path: Path) -> None:
    one = ("search.batch_size=[64]", "train.optimizer=adafactor", "search.lr.points=2")
    history, _ = search(path, tmp_path, "grid", *one)
    (ranged,) = history.ranges.values()
    (interval,) = (test.interval for test in ranged.tests)
    assert interval is not None and interval[1] * MARGIN > sweeps.CAPS["adafactor"]
    assert ranged.high == max(rates(history)) == sweeps.CAPS["adafactor"]


# What is tested ---------------------------------------------------------------------------------


def planned(path: Path, *overrides: str) -> dict[str, list[Mapping[str, Any]]]:
    """The parameters of the tests of each range, by its name."""
    spec = read_spec(path, overrides)
    content = Content(spec.task or "", "", {})
    return {
        name_range(spec, name): [test.params for test in plan_tests(spec, content, name)]
        for name in automatic(spec.space)
    }


def test_a_structure_is_tested_once(path: Path) -> None:
    """Schedules, warmups and numbers that lanes may differ in make no structure; of numbers that
    make one the ends are tested, and of the momentum, which scales each step."""
    more = (
        "search.schedule=[constant, cosine]",
        "search.warmup.for={min: 0dur, max: 0.1dur, points: 2}",
        "search.optimizer.weight_decay={min: 1e-5, max: 1e-2, points: 3}",
        "search.clip_norm=[0.5, 1.0]",
        "search.budget=[1ep, 2ep]",
    )
    assert [each["batch_size"] for each in planned(path, *more)["lr"]] == [16, 64]
    sizes = planned(path, "search.batch_size=[64, 16, 32, 128]")["lr"]
    assert sizes == [{"batch_size": 16}, {"batch_size": 128}]
    sizes = planned(path, "search.batch_size={min: 8, max: 64, points: 4}")["lr"]
    assert sizes == [{"batch_size": 8}, {"batch_size": 64}]
    both = planned(path, "search.batch_size=[32]", "search.optimizer.momentum=[0, 0.5, 0.9]")["lr"]
    assert [each["optimizer.momentum"] for each in both] == [0.0, 0.9]


def test_many_structures_are_tested_one_value_at_a_time(path: Path) -> None:
    tanh = "{name: mlp, activation: tanh}"
    model = f"search.model=[{{name: mlp, hidden: [[4], [8], [12]]}}, logistic, {tanh}]"
    many = planned(
        path, model, "search.precision=[float32, bfloat16]", "search.loss=[cross_entropy]"
    )["lr"]
    assert 5 * 2 * 2 > MOST >= len(many) >= 5
    assert len({json.dumps(each, sort_keys=True) for each in many}) == len(many)
    first = many[0]
    apart = [
        sum(each.get(key) != first.get(key) for key in ("batch_size", "precision")) for each in many
    ]
    assert max(apart) == 1


def test_data_and_code_that_change_are_tested_anew(path: Path) -> None:
    spec = read_spec(path)
    keys = [
        look_up(spec, Content("classification", data, {}), History()).keys["lr"]
        for data in ("a", "a", "b")
    ]
    assert keys[0] == keys[1] != keys[2]
    longer = read_spec(path, ["train.budget=9ep", "seeds=3", "train.schedule=cosine"])
    assert look_up(longer, Content("classification", "a", {}), History()).keys["lr"] == keys[0]
    other = read_spec(path, ["model={name: mlp}"])
    assert look_up(other, Content("classification", "a", {}), History()).keys["lr"] != keys[0]


@given(st.floats(1e-9, 1e4))
def test_ends_are_rounded_away_from_the_interval(value: float) -> None:
    low, high = round_out(value, math.floor), round_out(value, math.ceil)
    assert low <= value * (1 + 1e-6) and high >= value * (1 - 1e-6)
    assert high / low <= 1.1 + 1e-9
    for each in (low, high):
        assert float(f"{each:.2g}") == each


def test_usual_rates_are_of_optimizers_that_there_are() -> None:
    assert set(catalogue.OPTIMIZERS) >= {name for name in catalogue.USUAL_RATES if name}
    for low, high in catalogue.USUAL_RATES.values():
        assert 0 < low < high


def test_options_that_differ_in_points_alone_share_what_is_found(
    path: Path, tmp_path: Path
) -> None:
    options = ", ".join(f"{{name: sgd, lr: {{auto: true, points: {many}}}}}" for many in (2, 3))
    size = "search.batch_size=[64]"
    history, _ = search(path, tmp_path, "grid", f"search.optimizer=[{options}]", size)
    (ranged,) = history.ranges.values()
    found = {proposal.point["optimizer"]["lr"] for proposal in history.proposals}
    assert {ranged.low, ranged.high} < found and len(found) == 3


# Refused ----------------------------------------------------------------------------------------


def test_a_refusal_is_an_error_with_the_line_to_write(tmp_path: Path) -> None:
    numb = write_spec(tmp_path, model={"class_path": "nets.Numb"}, search={"lr": "auto"})
    for _ in range(2):
        with pytest.raises(RangeRefused) as caught:
            search(numb, tmp_path / "runs", "random")
        assert caught.value.exit_code == 2
        assert "which rates are worth searching, of lr: the loss" in caught.value.message
        # What the test itself advises is handed on.
        assert "lrsearch range shows the curves, and advises: " in caught.value.hint
        low, high = catalogue.USUAL_RATES["sgd"]
        written = re.search(r"write (lr: \{.*?\})", caught.value.hint)
        assert written and yaml.safe_load(written[1].replace("1e-3", "0.001"))["lr"] == {
            "min": low,
            "max": high,
        }
    history = read(tmp_path / "runs" / "found")
    # The second time it was known without another sweep.
    assert (len(swept_in(history)), history.ranges, history.trials) == (1, {}, {})
    assert history.closed == "RangeRefused"
    # The line that it says to write goes on in the same run.
    search(numb, tmp_path / "runs", "random", "search.lr={min: 1e-3, max: 1.0}")


def test_a_structure_without_an_interval_has_no_part_in_it_and_is_named(tmp_path: Path) -> None:
    picky = write_spec(tmp_path, model={"class_path": "nets.Picky"})
    history, log = search(picky, tmp_path / "runs", "grid", "search.lr.points=1")
    (ranged,) = history.ranges.values()
    good, bad = ranged.tests
    assert good.interval is not None and bad.interval is None
    assert ranged.low <= good.interval[0] / MARGIN and "so many at once" in bad.refused
    assert any("batch_size 64" in note and "so many at once" in note for note in log.notes)
    told = describe_found(ranged)
    assert "what 1 of 2 range tests say, widened by a factor of 2" in told


def test_what_fails_in_every_test_ends_the_search(tmp_path: Path) -> None:
    picky = write_spec(tmp_path, model={"class_path": "nets.Picky"})
    with pytest.raises(RangeRefused, match="so many at once"):
        search(picky, tmp_path / "runs", "grid", "search.batch_size=[64, 128]")
    # It is tried again when it is mended.
    assert swept_in(read(tmp_path / "runs" / "found")) == {}


def test_more_structures_than_are_tested_leave_a_run_as_it_was(path: Path, tmp_path: Path) -> None:
    search(path, tmp_path, "grid", "search.lr=[0.1]", "search.batch_size=[64]")
    journal = tmp_path / "found" / "journal.jsonl"
    before = journal.read_bytes()
    many = f"search.model.hidden={[[size] for size in range(1, 70)]}"
    with pytest.raises(UsageError, match="more than 64 structures"):
        search(path, tmp_path, "grid", many)
    assert journal.read_bytes() == before


def test_a_run_whose_tests_cannot_be_planned_is_shown(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of a version that journaled the refused session is."""
    monkeypatch.setattr(ranging, "MOST", 1)
    view = view_run(open_stored(str(whole / "found"), whole))
    assert len(view.records) == 10 and view.best is not None
    assert any("more than 1 structures" in warning for warning in view.standing)
    (line,) = list_folder(whole)
    assert line.state == "done" and line.best == view.best.objective


def test_a_test_that_was_lost_twice_with_its_worker_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    deadly = write_spec(tmp_path, model={"class_path": "nets.Deadly"})
    with pytest.raises(RangeRefused, match="with batch_size 64 was lost twice") as caught:
        search(deadly, tmp_path / "runs", "grid", "search.lr.points=1", executor=Local(1))
    assert "the same command" in caught.value.hint and "write lr: {min:" in caught.value.hint
    before = read(tmp_path / "runs" / "found")
    assert (len(swept_in(before)), before.ranges, before.trials) == (1, {}, {})
    (tmp_path / "alive").touch()
    history, _ = search(deadly, tmp_path / "runs", "grid", "search.lr.points=1", executor=Local(1))
    (ranged,) = history.ranges.values()
    assert all(test.interval is not None for test in ranged.tests) and len(ranged.tests) == 2


# Through the command line -----------------------------------------------------------------------


def test_the_report_says_what_was_found_and_what_it_cost(path: Path, tmp_path: Path) -> None:
    said = lrsearch("grid", path, "--runs", tmp_path, *INLINE, "--engine", "solo")
    assert said.code == 0, said
    history = read(tmp_path / "found")
    (ranged,) = history.ranges.values()
    words = " ".join(said.out.split())
    assert f"lr is searched from {ranged.low:g} to {ranged.high:g}" in words
    assert "batch_size=16 optimizer=sgd: lr" in words
    epochs = sum(body["epochs"] for body in stored_tests(history).values())
    assert f"; {epochs:.4g} epochs," in words and "of range tests" in words
    again = lrsearch("report", path, "--runs", tmp_path, "--json")
    shown = json.loads(again.out)
    assert shown["cost"]["range_epochs"] == pytest.approx(epochs)
    assert shown["cost"]["range_seconds"] > 0
    (found,) = shown["found_ranges"]
    assert (found["min"], found["max"]) == (ranged.low, ranged.high)
    assert [each["params"]["batch_size"] for each in found["tests"]] == [16, 64]
    marked = lrsearch("report", path, "--runs", tmp_path, "--markdown").out
    assert "lr is searched from" in marked and "epochs" in marked
    # The ends of what was found are the ends of the search.
    dry = lrsearch("grid", path, "--runs", tmp_path, *INLINE, "--dry-run")
    assert "would train 0 trials" in dry.out and "as range tests have found" in dry.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_ends_a_range_test_is_gone_on_from(
    path: Path, tmp_path: Path, number: signal.Signals
) -> None:
    given = ("random", path, "--runs", tmp_path, "--trials", "2", "--device", str(DEVICE))
    running = process(*given, "--workers", "1")
    assert running.stderr is not None
    for line in running.stderr:
        if "first, to find the range of lr" in line:
            running.send_signal(number)
            break
    said = finish(running)
    ended = {signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}
    assert said.code == ended[number], said
    before = read(tmp_path / "found")
    assert (before.trials, before.ranges) == ({}, {})
    assert before.closed == ("interrupted" if number == signal.SIGINT else None)
    # A report can be read, and the same command comes to what it would have come to.
    assert lrsearch("report", path, "--runs", tmp_path).code == 0
    assert lrsearch(*given, "--executor", "inline").code == 0
    after = read(tmp_path / "found")
    assert len(swept_in(after)) == 2 and len(after.ranges) == 1 and len(after.results) == 2


def test_check_and_a_dry_run_say_what_comes_first_and_train_nothing(
    path: Path, tmp_path: Path
) -> None:
    said = lrsearch("check", path)
    assert said.code == 0 and "lr (found by a range test, log, 5 points)" in said.out
    words = " ".join(said.out.split())
    assert "lr is found first, by 2 range tests: batch_size 16; batch_size 64" in words
    assert len(json.loads(lrsearch("check", path, "--json").out)["first"]) == 3
    dry = lrsearch("grid", path, "--runs", tmp_path, *INLINE, "--dry-run")
    assert dry.code == 0
    assert "range tests first, and then train 10 trials" in dry.out and "2 range tests" in dry.out
    assert not (tmp_path / "found").exists()
    (lr, _) = json.loads(lrsearch("show", path, "--json").out)["parameters"]
    assert (lr["auto"], lr["min"], lr["max"], lr["points"]) == (True, None, None, 5)


# The spec ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ("search.lr={auto: true, min: 1e-4}", "'min' beside auto", "lr=auto"),
        (
            "search.lr={auto: true, points: 3, max: 1}",
            "'max' beside auto",
            "{auto: true, points: 3}",
        ),
        ("search.lr={min: auto, max: 1.0}", "'min' beside auto", "lr=auto"),
        ("search.lr=Auto", "'Auto' is no range", "lr=auto"),
        ("search.lr={auto: 9}", "9 is no range", "{auto: true, points: 9}"),
        ("search.lr={auto, points: 9}", "null is no range", "{auto: true, points: 9}"),
        ("search.lr={auto: false}", "without auto", "{min: 1e-4, max: 1.0, points: 9}"),
        ("search.lr={auto: true, scale: linear}", "log scale", "lr=auto"),
        ("search.lr={auto: true, pionts: 9}", "unknown key", "did you mean 'points'"),
        ("search.lr=[auto, 0.1]", "no value of a list", "lr=auto"),
        ("search.lr={auto: true, points: 0}", "0 is too small", ""),
        ("search.batch_size=auto", "for the learning rate", "batch_size"),
        ("search.optimizer.momentum=auto", "for the learning rate", "momentum"),
        ("search.optimizer.lr=auto", "no argument 'lr'", "search.lr=auto"),
        ("train.lr=auto", "'auto' is not a number", "search.lr=auto"),
        (
            "search.optimizer=[sgd, {name: adamw, lr: {auto: true, min: 1}}]",
            "'min' beside",
            "lr: auto",
        ),
    ],
)
def test_what_is_no_auto_is_refused_with_the_line(
    path: Path, given: str, message: str, hint: str
) -> None:
    with pytest.raises(SpecError) as caught:
        read_spec(path, [given])
    (fault,) = caught.value.faults
    assert message in fault.message and hint in fault.hint


@pytest.mark.parametrize("kind", ["command", "loop"])
def test_a_training_of_the_users_own_has_no_range_test(tmp_path: Path, kind: str) -> None:
    text = {"command": "python train.py --lr {lr}", "loop": "my_loop.train"}[kind]
    path = tmp_path / "own.yaml"
    objective = {"metric": "loss", "goal": "min"}
    path.write_text(yaml.safe_dump({kind: text, "objective": objective, "search": {"lr": "auto"}}))
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    found = [fault for fault in caught.value.faults if fault.key == "search.lr"]
    assert len(found) == 1 and f"only the {kind} can" in found[0].message
    assert "lr: {min: 1e-4, max: 1.0, points: 9}" in found[0].hint


def test_a_grid_of_it_needs_points(path: Path) -> None:
    spec = read_spec(path, ["search.lr=auto"])
    with pytest.raises(UsageError) as caught:
        check_search("grid", spec)
    assert "lr: {auto: true, points: 9}" in caught.value.hint
    check_search("random", spec)
    check_search("grid", read_spec(path, ["search.lr=auto", "search.lr.points=9"]))


def auto_points(spec: Spec) -> dict[str, int | None]:
    return {
        name: part.points
        for name, part in parameters(spec.space)
        if isinstance(part, Float) and part.auto
    }


def test_an_override_fixes_or_changes_it(path: Path) -> None:
    assert auto_points(read_spec(path)) == {"lr": 5}
    assert auto_points(read_spec(path, ["search.lr=auto"])) == {"lr": None}
    assert auto_points(read_spec(path, ["search.lr=auto", "search.lr.points=3"])) == {"lr": 3}
    assert auto_points(read_spec(path, ["train.lr=0.1"])) == {}
    assert auto_points(read_spec(path, ["search.lr={min: 0.1, max: 1}"])) == {}


def test_a_common_rate_is_found_apart_for_each_optimizer(path: Path) -> None:
    """But for those that have rates of their own."""
    spec = read_spec(path, ["search.optimizer=[sgd, adamw, {name: lion, lr: 1e-3}]"])
    assert auto_points(spec) == {"optimizer[0].lr": 5, "optimizer[1].lr": 5}
    own = "search.optimizer=[sgd, {name: adamw, lr: {auto: true, points: 2}}]"
    spec = read_spec(path, [own, "search.lr=[0.1, 1.0]"])
    assert auto_points(spec) == {"optimizer[1].lr": 2}
    assert isinstance(dict(parameters(spec.space))["optimizer[0].lr"], Choice)
