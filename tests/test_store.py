"""The run folder: round trips, every kind of damage, locks, full disks."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch import reporting, store
from lrsearch.errors import LrsearchError, RunDamaged, RunError, RunLocked, StorageFull
from lrsearch.store import History, Run, check_writable, read, read_now, write_now
from lrsearch.trial import (
    Diagnosis,
    Outcome,
    Plan,
    Planned,
    Proposal,
    Ranged,
    RangeTest,
    Records,
    Result,
    Trial,
)

CONFIG = {
    "data": {"name": "digits"},
    "model": {"name": "mlp", "hidden": [32]},
    "train": {"lr": 0.1},
}
SPEC = "name: demo\n"


def open_run(root: Path, name: str = "demo", **options: Any) -> Run:
    return Run.open(root, name, spec_text=SPEC, **options)


def make_trial(number: int, seed: int = 0) -> Trial:
    return Trial(number, f"{number:064x}", {**CONFIG, "train": {"lr": number / 8}}, seed)


def make_result(value: float = 0.5, outcome: Outcome = Outcome.COMPLETED) -> Result:
    metrics = {"accuracy": value, "loss": 1 - value}
    return Result(outcome, 100, 2.5, 0.25, "fused", metrics, metrics, {"accuracy": 80, "loss": 100})


def propose(run: Run, *numbers: int, generation: int = 0) -> None:
    proposals = [
        Proposal("grid", generation, number - 1, {"lr": number / 8}, (number,))
        for number in numbers
    ]
    run.proposed(generation, "grid", proposals, [make_trial(number) for number in numbers])


def train(run: Run, number: int, value: float = 0.5) -> None:
    run.started(number)
    run.ended(number, make_result(value), {"step": [50, 100], "loss": [2.0, 1 - value]})


def fill(run: Run) -> None:
    """Eleven lines: a session of four trials, one of which is left running."""
    run.opened({"name": "demo"}, "grid", {"device": "cpu"})
    propose(run, 1, 2)
    train(run, 1, 0.25)
    train(run, 2, 0.75)
    run.noted("plan", {"lanes": 4})
    propose(run, 3, 4, generation=1)
    train(run, 3, 0.5)
    run.started(4)


def journal(root: Path) -> Path:
    return root / "demo" / "journal.jsonl"


def rewrite(root: Path, change: Any) -> None:
    lines = journal(root).read_bytes().splitlines(keepends=True)
    changed = change(lines)
    journal(root).write_bytes(b"".join(lines if changed is None else changed))


@pytest.fixture
def synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The journal's bytes at each fsync from now on."""
    found: list[bytes] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        if journal(tmp_path).exists():
            found.append(journal(tmp_path).read_bytes())

    monkeypatch.setattr(os, "fsync", fsync)
    return found


# Round trips ----------------------------------------------------------------------------------


def test_a_reader_reads_what_was_added_and_no_more(tmp_path: Path, monkeypatch: Any) -> None:
    with open_run(tmp_path) as run:
        propose(run, 1, 2)
        reader = store.Reader(tmp_path / "demo")
        first = reader.read()
        assert first == run.history
        with monkeypatch.context() as patch:
            # What it has read it does not read again.
            patch.setattr(store, "_replay", None)
            train(run, 1)
            with journal(tmp_path).open("ab") as file:
                file.write(b'{"n":6,"crc":"')  # Torn, as in the midst of a write.
            assert reader.read() is first and first == run.history and 1 in first.results
            assert reader.read() is first
            os.truncate(journal(tmp_path), first.end)
            train(run, 2)
            assert reader.read() is first and first == run.history and 2 in first.results
        assert store.read(tmp_path / "demo") == first


def test_a_reader_notices_other_changes(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        fill(run)
    reader = store.Reader(tmp_path / "demo")
    whole = reader.read()
    rewrite(tmp_path, lambda lines: lines[:-1])  # In place, and shorter.
    assert reader.read() is not whole and 4 not in reader.read().running
    content = journal(tmp_path).read_bytes()
    journal(tmp_path).unlink()
    with pytest.raises(RunDamaged, match="missing"):
        reader.read()
    journal(tmp_path).write_bytes(content)
    assert reader.read().lines == whole.lines - 1
    with journal(tmp_path).open("ab") as file:
        file.write(content.splitlines(keepends=True)[-1])  # A line that does not follow.
    for _ in range(2):
        with pytest.raises(RunDamaged, match="is numbered"):
            reader.read()
    journal(tmp_path).write_bytes(content)
    assert reader.read().lines == whole.lines - 1
    damaged = content.replace(b'"demo"', b'"dema"', 1)  # What was read is another now.
    journal(tmp_path).write_bytes(damaged + b'{"n":')
    with pytest.raises(RunDamaged, match="line 1 is damaged"):
        reader.read()


def test_a_run_reads_back_as_it_was_written(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        assert run.history == History()
        fill(run)
        run.closed("done", 12.5)
        written = run.history
    found = store.read(tmp_path / "demo")
    assert found == written
    assert found.sessions == [
        {"spec": {"name": "demo"}, "strategy": "grid", "facts": {"device": "cpu"}}
    ]
    assert found.trials == {number: make_trial(number) for number in (1, 2, 3, 4)}
    assert found.proposals[2] == Proposal("grid", 1, 2, {"lr": 0.375}, (3,))
    assert found.strategy == dict.fromkeys((1, 2, 3, 4), "grid")
    assert found.results == {
        number: make_result(v) for number, v in ((1, 0.25), (2, 0.75), (3, 0.5))
    }
    assert found.running == {4}
    assert found.by_key[f"{3:064x}"] == 3
    assert found.lines == 12
    assert (found.closed, found.seconds, found.next_number) == ("done", 12.5, 5)
    assert store.read_curve(tmp_path / "demo", 2) == {"step": [50, 100], "loss": [2.0, 0.25]}
    assert (tmp_path / "demo" / "spec.yaml").read_text() == SPEC
    head = json.loads((tmp_path / "demo" / "run.json").read_text())
    assert head["format"] == store.FORMAT


def test_the_last_plan_of_a_structure_counts(tmp_path: Path) -> None:
    refused = Plan("solo", 1, "it doesn't fuse — tied weights")
    with open_run(tmp_path) as run:
        fill(run)
        figures = {"solo": np.float32(0.5), "fused.16": 0.25, "bytes.16": 1e9, "fused.32": math.nan}
        run.planned("a" * 16, "cuda", Planned(Plan("fused", 16, "twice as fast"), figures), "auto")
        run.planned("a" * 16, "cpu", Planned(refused), "auto")
        run.planned("b" * 16, "cuda", Planned(Plan("fused", 4), {}), "fused")
        half = Plan("fused", 8, "half of it", smaller=80.0)
        run.planned("a" * 16, "cuda", Planned(half, {"smaller": 80.0}), "fused")
        written = run.history
    found = store.read(tmp_path / "demo")
    assert found == written
    assert found.plans == {
        ("a" * 16, "cuda"): Plan("fused", 8, "half of it"),
        ("a" * 16, "cpu"): refused,
        ("b" * 16, "cuda"): Plan("fused", 4),
    }
    assert [each.smaller for each in found.plans.values()] == [80.0, math.inf, math.inf]
    assert found.asked == {
        ("a" * 16, "cuda"): "fused",
        ("a" * 16, "cpu"): "auto",
        ("b" * 16, "cuda"): "fused",
    }
    line = json.loads(journal(tmp_path).read_bytes().splitlines()[11])
    assert {name: line[name] for name in line if name not in ("n", "crc")} == {
        "event": "planned",
        "structure": "a" * 16,
        "device": "cuda",
        "plan": {"engine": "fused", "lanes": 16, "reason": "twice as fast"},
        "figures": {"solo": 0.5, "fused.16": 0.25, "bytes.16": 1e9, "fused.32": "nan"},
        "asked": "auto",
    }


def test_a_plan_is_on_the_disk_before_what_follows(tmp_path: Path, synced: list[bytes]) -> None:
    with open_run(tmp_path) as run:
        run.planned("a" * 16, "cpu", Planned(Plan("fused", 4)), "auto")
    assert b'"event":"planned"' in synced[-1]


def test_repair_keeps_plans_and_drops_what_is_none(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        fill(run)
        run.planned("a" * 16, "cpu", Planned(Plan("fused", 4)), "auto")
        run.planned("b" * 16, "cpu", Planned(Plan("fused", 8)), "auto")

    def change(lines: list[bytes]) -> None:
        lines[12] = lines[12].replace(b'"lanes":8', b'"lanes":9')

    rewrite(tmp_path, change)
    with pytest.raises(RunDamaged, match="line 13"):
        store.read(tmp_path / "demo")
    done = store.repair(tmp_path / "demo")
    assert (done.kept, done.dropped) == (12, (13,))
    assert store.read(tmp_path / "demo").plans == {("a" * 16, "cpu"): Plan("fused", 4)}


def test_a_plan_without_its_parts_is_refused(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        before = journal(tmp_path).read_bytes()
        for body in (
            {"structure": "a", "device": "cpu", "plan": {"engine": "solo"}, "asked": "auto"},
            {"structure": "a", "device": "cpu", "plan": vars(Plan())},
        ):
            with pytest.raises(LookupError):
                run.append("planned", body)
        assert (run.history.plans, run.history.asked) == ({}, {})
    assert journal(tmp_path).read_bytes() == before


RANGED = Ranged(
    "lr of sgd",
    1e-3,
    0.5,
    2.0,
    (
        RangeTest({"batch_size": 32}, (2e-3, 0.25)),
        RangeTest({"batch_size": 64, "model": "cnn"}, None, "the loss is flat"),
    ),
)


def test_a_range_that_was_found_is_kept_once(tmp_path: Path, synced: list[bytes]) -> None:
    with open_run(tmp_path) as run:
        fill(run)
        run.ranged("a" * 16, RANGED)
        assert b'"event":"ranged"' in synced[-1]
        run.ranged("b" * 16, replace(RANGED, low=1e-4))
        before = journal(tmp_path).read_bytes()
        with pytest.raises(ValueError, match="found before"):
            run.ranged("a" * 16, replace(RANGED, high=1.0))
        for low, high in ((0.0, 1.0), (2.0, 1.0), (1.0, math.inf), (math.nan, 1.0)):
            with pytest.raises(ValueError, match="no range"):
                run.ranged("c" * 16, replace(RANGED, low=low, high=high))
        assert journal(tmp_path).read_bytes() == before
        written = run.history
    found = store.read(tmp_path / "demo")
    assert found == written
    assert found.ranges == {"a" * 16: RANGED, "b" * 16: replace(RANGED, low=1e-4)}


def test_repair_keeps_a_range_and_drops_what_is_none(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        fill(run)
        for key in "abc":
            run.ranged(key, RANGED)

    def change(lines: list[bytes]) -> list[bytes]:
        lines[12] = lines[12].replace(b'"low":0.001', b'"low":0.002')
        return [*lines, lines[11]]  # One twice, as copies of a file make them.

    rewrite(tmp_path, change)
    with pytest.raises(RunDamaged, match="line 13"):
        store.read(tmp_path / "demo")
    done = store.repair(tmp_path / "demo")
    assert (done.kept, done.dropped) == (13, (13, 15))
    assert store.read(tmp_path / "demo").ranges == {"a": RANGED, "c": RANGED}


def test_lines_are_as_documented(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        run.append("noted", {"text": "tab\t, umlaut ü, newline\n"})
        run.append("noted", {"value": math.nan})
    for number, line in enumerate(journal(tmp_path).read_bytes().splitlines(), 1):
        parsed = json.loads(line)
        start = b'{"n":%d,"crc":"%s",' % (number, parsed["crc"].encode())
        assert line.startswith(start)
        assert zlib.crc32(b"%d," % number + line[len(start) :]) == int(parsed["crc"], 16)
    assert parsed["value"] == "nan"


def test_sessions_follow_each_other(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        fill(run)
        run.closed("interrupted", 2.0)
    with Run.open(tmp_path, "demo", spec_text="another: spec\n") as run:
        assert run.history.closed == "interrupted"
        run.opened({}, "random", {})
        assert (run.history.closed, run.history.running) == (None, set())
        twin = Trial(5, f"{1:064x}", CONFIG, 0)  # the same key measured again
        run.proposed(0, "random", [Proposal("random", 0, 0, {"lr": 1}, (5, 1))], [twin])
        run.closed("done", 3.0)
    found = store.read(tmp_path / "demo")
    assert found == run.history
    assert (len(found.sessions), found.seconds, found.closed) == (2, 5.0, "done")
    assert found.by_key[f"{1:064x}"] == 5
    assert (found.strategy[1], found.strategy[5]) == ("grid", "random")
    assert (tmp_path / "demo" / "spec.yaml").read_text() == SPEC


def test_trials_of_one_configuration_store_it_once(tmp_path: Path) -> None:
    trials = [Trial(n, str(n), MappingProxyType(CONFIG), seed=n, fold=n % 2) for n in range(1, 7)]
    with open_run(tmp_path) as run:
        proposal = Proposal("grid", 0, 0, {"lr": 0.1}, tuple(range(1, 7)))
        run.proposed(0, "grid", [proposal], trials)
    line = json.loads(journal(tmp_path).read_bytes())
    assert line["configs"] == [CONFIG]
    found = store.read(tmp_path / "demo")
    assert list(found.trials.values()) == [Trial(n, str(n), CONFIG, n, n % 2) for n in range(1, 7)]
    assert found.proposals == [proposal]


def test_plans_that_do_not_last_are_kept_apart(tmp_path: Path) -> None:
    """They are no answer for whoever plans next; a journal of before knows only plans that last,
    and results without the reason of their engine."""
    fused, passing = Plan("fused", 4, "faster"), Plan("solo", 1, "asked for", lasting=False)
    with open_run(tmp_path) as run:
        propose(run, 1)
        run.planned("a" * 16, "cpu", Planned(fused), "auto")
        run.planned("a" * 16, "cpu", Planned(passing), "solo")
        run.ended(1, Result(Outcome.COMPLETED, 1, 1.0, 1.0, why="asked for"), {})
        written = run.history
    found = store.read(tmp_path / "demo")
    assert found == written
    assert (found.plans, found.asked) == ({("a" * 16, "cpu"): fused}, {("a" * 16, "cpu"): "auto"})
    assert found.passing == {("a" * 16, "cpu"): [passing]}
    lines = [json.loads(line) for line in journal(tmp_path).read_bytes().splitlines()]
    first = next(line for line in lines if line["event"] == "planned")
    assert first["plan"] == {"engine": "fused", "lanes": 4, "reason": "faster"}
    old = store.History()
    for line in lines:
        if line["event"] == "ended":
            del line["result"]["why"]
        store.fold(old, {name: part for name, part in line.items() if name not in ("n", "crc")})
    assert old.results[1].why == "" and old.plans == found.plans


numbers = st.floats(width=64) | st.sampled_from([math.nan, math.inf, -math.inf, -0.0])
metrics = st.dictionaries(st.text(max_size=5), numbers, max_size=3)
results = st.builds(
    Result,
    outcome=st.sampled_from(Outcome),
    steps=st.integers(0, 10**9),
    epochs=numbers,
    seconds=numbers,
    engine=st.sampled_from(["solo", "fused"]),
    last=metrics,
    best=metrics,
    best_step=st.dictionaries(st.text(max_size=5), st.integers(0, 10**9), max_size=3),
    reason=st.text(),
    traceback=st.text(),
    why=st.text(),
    output=st.text(),
    verdicts=st.none()
    | st.lists(st.builds(Diagnosis, st.text(), numbers, metrics, st.text()), max_size=2).map(tuple),
    signs=metrics,
)


@st.composite
def make_results(draw: st.DrawFn) -> Result:
    """A result, with what is told together or not at all."""
    some = {"shared_epochs": draw(st.floats(1e-9)), "shared_seconds": draw(numbers)}
    ruled = {"rule": draw(st.text(min_size=1)), "whole": draw(st.integers(0, 10**9))}
    parts = [part for part in (some, ruled) if draw(st.booleans())]
    return replace(draw(results), **{key: value for part in parts for key, value in part.items()})


@given(
    result=make_results(),
    curve=st.integers(0, 5).flatmap(
        lambda size: st.dictionaries(
            st.text(max_size=5), st.lists(numbers, min_size=size, max_size=size), max_size=3
        )
    ),
)
def test_any_result_reads_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, result: Result, curve: dict[str, list[float]]
) -> None:
    root = tmp_path_factory.mktemp("runs")
    with open_run(root) as run:
        propose(run, 1)
        run.ended(1, result, curve)
    # repr tells -0.0 from 0.0 and finds nan equal to nan.
    assert repr(store.read(root / "demo").results[1]) == repr(result)
    assert repr(store.read_curve(root / "demo", 1)) == repr(curve)


@st.composite
def make_records(draw: st.DrawFn) -> Records:
    steps = tuple(sorted(draw(st.sets(st.integers(1, 10**9), max_size=5))))
    lists = [draw(st.tuples(*[numbers] * len(steps))) for _ in range(4)]
    return Records(steps, *lists, *(draw(numbers) if steps else math.nan for _ in range(2)))


@given(records=make_records(), named=st.sampled_from(["records", "step", "start", "a"]))
def test_any_records_read_back_bit_for_bit_beside_any_curve(
    tmp_path_factory: pytest.TempPathFactory, records: Records, named: str
) -> None:
    root, curve = tmp_path_factory.mktemp("runs"), {"step": [1, 2], named: [0.5, -0.0]}
    with open_run(root) as run:
        propose(run, 1, 2)
        run.ended(1, make_result(), curve, records)
        run.ended(2, make_result(), curve)
    assert repr(store.read_records(root / "demo", 1)) == repr(records)
    assert repr(store.read_records(root / "demo", 2)) == repr(Records())
    assert repr(store.read_curve(root / "demo", 1)) == repr(curve)


def test_the_key_of_records_is_the_name_of_no_metric() -> None:
    assert not reporting.is_name(store._RECORDS) and not store._RECORDS.isidentifier()


def test_curves_of_before_have_no_records_and_damaged_ones_are_said_to_be(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        propose(run, 1)
        run.ended(1, make_result(), {"step": [1]}, Records((1,), (0.5,), (1.0,), (0.1,), (0.01,)))
    path = tmp_path / "demo" / "curves" / "000001.json"
    written = json.loads(path.read_text())
    key = store._RECORDS
    path.write_text('{"step":[1],"loss":["nan"]}')
    assert store.read_records(tmp_path / "demo", 1).step == ()
    path.write_text(json.dumps(written | {key: written[key] | {"curvature": [0.5]}}))
    assert store.read_records(tmp_path / "demo", 1).loss == (0.5,)  # A newer version's have more.
    for damage in ({"loss": []}, {"step": [True]}, {"step": [0]}, {"lr": 1}, {"start": [1]}):
        path.write_text(json.dumps(written | {key: written[key] | damage}))
        with pytest.raises(RunDamaged, match=r"000001\.json: the records cannot be read"):
            store.read_records(tmp_path / "demo", 1)
    for text in ("", "[1]", '{"records\\n":[1]}', "{"):
        path.write_text(text)
        with pytest.raises(RunDamaged, match="records cannot be read"):
            store.read_records(tmp_path / "demo", 1)


def test_numpy_metrics_become_plain_numbers(tmp_path: Path) -> None:
    half = np.float32(0.5)
    result = Result(Outcome.COMPLETED, 1, 1.0, 1.0, last={"a": half}, best_step={"a": np.int64(3)})
    with open_run(tmp_path) as run:
        propose(run, 1)
        run.ended(1, result, {"a": [half, np.float32("nan")]})
    found = store.read(tmp_path / "demo").results[1]
    assert (found.last, found.best_step) == ({"a": 0.5}, {"a": 3})
    assert store.read_curve(tmp_path / "demo", 1)["a"][0] == 0.5


def test_reading_a_thousand_trials_is_fast(tmp_path: Path) -> None:
    wide = {"data": {"name": "x" * 400}, "model": {"hidden": [1] * 100}, "train": {"lr": 0.1}}
    with open_run(tmp_path) as run:
        for n in range(1, 1001):  # not through the typed writers, which wait for the disk
            trial = {"number": n, "key": f"{n:064x}", "config": 0, "seed": 0, "fold": None}
            proposal = {"index": n, "point": {"lr": 0.1}, "trials": [n]}
            body = {"strategy": "grid", "generation": n, "configs": [wide]}
            run.append("proposed", body | {"trials": [trial], "proposals": [proposal]})
            run.append("started", {"trial": n})
            run.append("ended", {"trial": n, "result": vars(make_result())})
    best = min(_seconds(lambda: store.read(tmp_path / "demo")) for _ in range(3))
    assert len(store.read(tmp_path / "demo").results) == 1000
    assert best < 0.2  # about 0.03 on an idle machine


def _seconds(call: Any) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


# What must not be written ---------------------------------------------------------------------


def test_lines_that_contradict_the_journal_are_refused(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        propose(run, 1, 2)
        train(run, 1)
        before, history = journal(tmp_path).read_bytes(), repr(run.history)
        curve = store.read_curve(tmp_path / "demo", 1)
        with pytest.raises(ValueError, match="trial 1"):
            run.ended(1, make_result(), {"step": []})
        with pytest.raises(ValueError, match="trial 9"):
            run.ended(9, make_result(), {})
        with pytest.raises(ValueError, match="trial 9"):
            run.started(9)
        with pytest.raises(ValueError, match="trial 2 was proposed"):
            propose(run, 2)
        with pytest.raises(ValueError, match="trial 7 was never"):
            run.proposed(0, "grid", [Proposal("grid", 0, 0, {}, (7,))], [make_trial(3)])
        with pytest.raises(ValueError, match="not of bayes"):
            run.proposed(0, "bayes", [Proposal("grid", 0, 0, {}, (1,))], [])
        with pytest.raises(ValueError, match="crc"):
            run.append("noted", {"crc": 1})
        with pytest.raises(TypeError, match="set"):
            run.append("noted", {"b": {1}})
        assert journal(tmp_path).read_bytes() == before
        assert repr(run.history) == history
        assert store.read_curve(tmp_path / "demo", 1) == curve
        train(run, 2)
    assert store.read(tmp_path / "demo") == run.history


# Damage; at every byte of a journal by the faults (tests/faults) ------------------------------


def test_a_journal_of_nul_bytes_only_is_empty(tmp_path: Path) -> None:
    with open_run(tmp_path):
        pass
    journal(tmp_path).write_bytes(b"\0" * 4096)
    assert store.read(tmp_path / "demo") == History()
    with open_run(tmp_path) as run:
        fill(run)
    assert store.read(tmp_path / "demo") == run.history


def damage(lines: list[bytes]) -> dict[str, list[bytes]]:
    """Line 3 (trial 1 started) spoilt in every way, under what the message must say."""
    return {
        "checksum": [*lines[:2], lines[2].replace(b"started", b"startef"), *lines[3:]],
        "not a journal line": [*lines[:2], b"{}\n", *lines[3:]],
        "numbered 4": [*lines[:2], *lines[3:]],
        "numbered 2": [*lines[:2], *lines[1:]],
        "not a journal": [*lines[:2], b"\0" * len(lines[2]), *lines[3:]],
        "a journal line": [*lines[:2], b"\n", *lines[2:]],
    }


@pytest.mark.parametrize("what", list(damage([b""] * 5)))
def test_a_bad_line_is_named(tmp_path: Path, what: str) -> None:
    with open_run(tmp_path) as run:
        fill(run)
    rewrite(tmp_path, lambda lines: damage(lines)[what])
    before = journal(tmp_path).read_bytes()
    for use in (lambda: store.read(tmp_path / "demo"), lambda: open_run(tmp_path)):
        with pytest.raises(RunDamaged, match=what) as caught:
            use()
        assert "line 3" in caught.value.message
        assert caught.value.where == str(journal(tmp_path))
        assert f"lrsearch repair {tmp_path / 'demo'}" in caught.value.hint
    assert journal(tmp_path).read_bytes() == before
    assert not store.is_locked(tmp_path / "demo")


def test_a_bad_last_line_with_its_newline_is_damage(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        fill(run)
    rewrite(tmp_path, lambda lines: [*lines[:-1], lines[-1][:-3] + b"\n"])
    with pytest.raises(RunDamaged, match="line 11"):
        store.read(tmp_path / "demo")


def test_repair_keeps_every_sound_line(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        fill(run)
    expected = store.read(tmp_path / "demo")
    expected.notes.clear()
    rewrite(tmp_path, lambda lines: lines.__setitem__(6, b"rubbish\n"))  # the note
    damaged = journal(tmp_path).read_bytes()
    done = store.repair(tmp_path / "demo")
    assert (done.kept, done.dropped) == (10, (7,))
    assert done.copy == tmp_path / "demo" / "journal.jsonl.damaged-1"
    assert done.copy.read_bytes() == damaged
    assert store.read(tmp_path / "demo") == expected
    with open_run(tmp_path) as run:
        run.append("noted", {})
    assert store.repair(tmp_path / "demo") == store.Repair(11, (), None)


def test_repair_drops_what_hangs_on_a_lost_proposal(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        fill(run)
    rewrite(tmp_path, lambda lines: lines.__setitem__(1, b"\0" * 20 + lines[1][20:]))
    done = store.repair(tmp_path / "demo")
    assert done.dropped == (2, 3, 4, 5, 6)
    found = store.read(tmp_path / "demo")
    assert (set(found.trials), set(found.results), found.running) == ({3, 4}, {3}, {4})
    assert found.next_number == 5


def test_repair_copes_with_lost_regions_doubled_lines_and_a_torn_tail(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        fill(run)
    before = store.read(tmp_path / "demo")

    def change(lines: list[bytes]) -> list[bytes]:
        return [lines[0], b"\0" * 99, *lines[1:], lines[3], lines[-1], lines[-1][:30]]

    rewrite(tmp_path, change)
    (tmp_path / "demo" / "journal.jsonl.damaged-1").touch()
    done = store.repair(tmp_path / "demo")
    assert done.copy == tmp_path / "demo" / "journal.jsonl.damaged-2"
    assert store.read(tmp_path / "demo") == before
    assert done.dropped == (12, 13, 14)


def test_repair_restores_a_lost_run_json_and_respects_the_lock(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        fill(run)
        with pytest.raises(RunLocked):
            store.repair(tmp_path / "demo")
    (tmp_path / "demo" / "run.json").unlink()
    with pytest.raises(RunDamaged, match=r"run\.json"):
        open_run(tmp_path)
    with pytest.raises(RunDamaged, match="lrsearch repair"):
        store.read(tmp_path / "demo")
    assert store.repair(tmp_path / "demo") == store.Repair(11, (), None, restored=True)
    assert store.read(tmp_path / "demo") == run.history
    with pytest.raises(RunError, match="not a run"):
        store.repair(tmp_path)


# Locks ----------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from lrsearch.store import Run
with Run.open(Path(sys.argv[1]), "demo", spec_text="") as run:
    run.opened({}, "grid", {})
    print("open", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(root: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_one_writer_whose_lock_dies_with_it(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert store.is_locked(tmp_path / "demo")
        for use in (lambda: open_run(tmp_path), lambda: store.fresh(tmp_path, "demo")):
            with pytest.raises(RunLocked, match=f"process {process.pid}") as caught:
                use()
            assert caught.value.hint
        assert len(store.read(tmp_path / "demo").sessions) == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not store.is_locked(tmp_path / "demo")
        with open_run(tmp_path) as run:
            assert len(run.history.sessions) == 1
            with pytest.raises(RunLocked, match=f"process {os.getpid()}"):
                open_run(tmp_path)
        assert not store.is_locked(tmp_path / "demo")


def test_of_two_starts_one_may_load(tmp_path: Path) -> None:
    root = tmp_path / "not yet" / "there"
    for begun in (False, True):
        with store.claim(root, "demo"):
            with (
                pytest.raises(RunLocked, match=f"process {os.getpid()}"),
                store.claim(root, "demo"),
            ):
                pass
            if begun:
                open_run(root).close()
        made = [root.parent, root, root / "demo"] if begun else []
        assert [each for each in tmp_path.rglob("*") if each.parent.name != "demo"] == made
    with open_run(root), pytest.raises(RunLocked), store.claim(root, "demo"):
        pass
    assert [each.name for each in root.iterdir()] == ["demo"]


def test_a_start_that_cannot_begin_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="too long"), store.claim(tmp_path / "a" / "b", "n" * 250):
        pass
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("times", [1, 100])
def test_a_start_whose_folder_another_start_removes_makes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    root, opens, left = tmp_path / "made" / "by another", os.open, [None] * times

    def remove_and_open(path: Path, *more: int) -> int:
        if left and str(path).endswith(".starting"):
            left.pop()
            root.rmdir()
        return opens(path, *more)

    monkeypatch.setattr(os, "open", remove_and_open)
    if times == 1:
        with store.claim(root, "demo"):
            open_run(root).close()
    else:  # It ends, all the same.
        with (
            pytest.raises(RunError, match="is not there, or was removed"),
            store.claim(root, "demo"),
        ):
            pass
    assert [*tmp_path.rglob("run.json")] == [root / "demo" / "run.json"] * (times == 1)


def test_asking_for_the_lock_never_refuses_a_writer(tmp_path: Path) -> None:
    open_run(tmp_path).close()
    with (tmp_path / "demo" / "lock").open() as file:  # what `is_locked` does for a moment
        fcntl.flock(file, fcntl.LOCK_SH)
        timer = threading.Timer(0.015, fcntl.flock, (file, fcntl.LOCK_UN))
        timer.start()
        open_run(tmp_path).close()
        timer.join()


def test_readers_see_whole_lines_while_a_writer_writes(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        stop = threading.Event()
        seen: list[int] = []

        def look() -> None:
            while not stop.is_set():
                seen.append(store.read(tmp_path / "demo").lines)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            for number in range(400):
                run.append("noted", {"text": "x" * (number * 37 % 5000)})
        finally:
            stop.set()
            thread.join()
    assert seen == sorted(seen)
    assert store.read(tmp_path / "demo").lines == 400


# Links and other programs ----------------------------------------------------------------------

PARTS = ("lock", "journal.jsonl", "run.json", "curves", "best")


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("name", PARTS)
def test_no_link_inside_a_run_is_followed(tmp_path: Path, name: str, exists: bool) -> None:
    """A folder from elsewhere may hold links to the user's files."""
    open_run(tmp_path).close()
    part, outside = tmp_path / "demo" / name, tmp_path / "precious"
    folder = part.is_dir()
    part.rename(outside)
    if folder:
        (outside / "trial-000009.safetensors").write_text("mine")
    if not exists:
        outside.rename(tmp_path / "elsewhere")
    part.symlink_to(outside)
    before = sorted((path, path.stat().st_size) for path in tmp_path.rglob("*") if path.is_file())
    for use in (
        lambda: open_run(tmp_path),
        lambda: store.read(tmp_path / "demo"),
        lambda: store.repair(tmp_path / "demo"),
        lambda: store.is_locked(tmp_path / "demo"),
    ):
        with pytest.raises(RunError, match=f"{name} is a link") as caught:
            use()
        assert caught.value.exit_code == 2 and caught.value.hint
    after = sorted((path, path.stat().st_size) for path in tmp_path.rglob("*") if path.is_file())
    assert after == before and outside.exists() == exists


def test_temporary_files_and_copies_are_made_new(tmp_path: Path) -> None:
    outside = tmp_path / "bashrc"
    outside.write_text("mine")
    folder = tmp_path / "demo"
    folder.mkdir()
    links = ["spec.yaml.tmp", "run.json.tmp", "spec.yaml"]
    for name in links:
        (folder / name).symlink_to(outside)
    with open_run(tmp_path) as run:
        for name in ("000001.json.tmp", "000001.json"):
            (folder / "curves" / name).symlink_to(outside)
        for name in ("trial-000001.safetensors", "spec.yaml.tmp", "trial-000002.safetensors"):
            (folder / "best" / name).symlink_to(outside)
        propose(run, 1)
        train(run, 1)
        run.keep_weights(1, b"weights")
        run.write_best("best")
        run.drop_weights({1})
    rewrite(tmp_path, lambda lines: lines.__setitem__(0, b"rubbish\n"))
    for number in (1, 2):
        (folder / f"journal.jsonl.damaged-{number}").symlink_to(tmp_path / f"nowhere-{number}")
    assert store.repair(folder).copy == folder / "journal.jsonl.damaged-3"
    assert outside.read_text() == "mine" and not list(tmp_path.glob("nowhere-*"))
    assert not (folder / "best" / "trial-000002.safetensors").is_symlink()
    assert (folder / "best" / "trial-000001.safetensors").read_bytes() == b"weights"


def test_the_folder_of_a_run_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "demo").symlink_to(tmp_path / "disk")
    with open_run(tmp_path) as run:
        fill(run)
    assert store.read(tmp_path / "demo") == store.read(tmp_path / "disk")


def test_a_deleted_lock_lets_no_second_writer_in(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        propose(run, 1)
        (tmp_path / "demo" / "lock").unlink()
        assert store.is_locked(tmp_path / "demo")
        for use in (
            lambda: open_run(tmp_path),
            lambda: store.fresh(tmp_path, "demo"),
            lambda: store.repair(tmp_path / "demo"),
        ):
            with pytest.raises(RunLocked):
                use()
        run.started(1)
    assert not store.is_locked(tmp_path / "demo")
    assert store.read(tmp_path / "demo").running == {1}


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


CHANGES = {
    "replaced": _replace,
    "deleted": Path.unlink,
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "cut to nothing": lambda path: os.truncate(path, 0),
    "added to": lambda path: path.open("ab").write(b"x"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_journal_that_another_program_changes_ends_the_run(tmp_path: Path, change: str) -> None:
    with open_run(tmp_path) as run:
        fill(run)
        whole = journal(tmp_path).read_bytes()
        CHANGES[change](journal(tmp_path))
        left = journal(tmp_path).read_bytes() if journal(tmp_path).exists() else None
        for write in (lambda: run.append("noted", {}), lambda: run.closed("done", 1.0)):
            with pytest.raises(RunError, match=f"was {change.split(' to')[0]}") as caught:
                write()
        assert caught.value.exit_code == 2
    now = journal(tmp_path).read_bytes() if journal(tmp_path).exists() else None
    assert now == left
    if change in ("replaced", "deleted"):
        rescued = tmp_path / "demo" / "journal.jsonl.rescued-1"
        assert rescued.read_bytes() == whole
        assert str(rescued) in caught.value.hint
        assert len(list(rescued.parent.glob("*.rescued-*"))) == 1
        rescued.replace(journal(tmp_path))
        assert store.read(tmp_path / "demo") == run.history


@pytest.mark.parametrize("left", [0, 1, 500, -9])
def test_a_journal_that_is_cut_between_the_look_and_the_write_leaves_no_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    writes = os.pwrite
    with open_run(tmp_path) as run:
        fill(run)
        whole = journal(tmp_path).read_bytes()

        def cut_and_write(*given: Any) -> int:
            os.truncate(journal(tmp_path), len(whole[:left]))
            return writes(*given)

        monkeypatch.setattr(os, "pwrite", cut_and_write)
        with pytest.raises(RunError, match="was cut by another program"):
            run.started(1)
        monkeypatch.undo()
    assert store.read(tmp_path / "demo").lines == whole[:left].count(b"\n")
    with open_run(tmp_path) as run:
        run.noted("plan", {})
    lines = whole[:left].rpartition(b"\n")
    assert journal(tmp_path).read_bytes().startswith(lines[0] + lines[1])


def test_a_journal_that_is_cut_while_a_run_is_opened_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run(tmp_path) as run:
        fill(run)
    reads = Path.read_bytes

    def read_and_cut(path: Path) -> bytes:
        content = reads(path)
        if path == journal(tmp_path):
            os.truncate(path, 500)
        return content

    monkeypatch.setattr(Path, "read_bytes", read_and_cut)
    with pytest.raises(RunError, match="was cut by another program"), open_run(tmp_path):
        pass


@pytest.mark.parametrize("change", ["moved", "deleted"])
def test_a_folder_that_is_moved_or_deleted_is_named(tmp_path: Path, change: str) -> None:
    with open_run(tmp_path) as run:
        fill(run)
        before = repr(run.history)
        run.folder.rename(tmp_path / "other")
        if change == "deleted":
            shutil.rmtree(tmp_path / "other")
        with pytest.raises(RunError, match=f"demo was {change} by another program") as caught:
            run.append("noted", {})
        assert ("move it back" in caught.value.hint) == (change == "moved")
    if change == "moved":
        assert repr(store.read(tmp_path / "other")) == before


@pytest.mark.parametrize("change", CHANGES)
def test_a_journal_that_changes_behind_the_last_line_is_named(tmp_path: Path, change: str) -> None:
    with pytest.raises(RunError, match=f"was {change.split(' to')[0]}"), open_run(tmp_path) as run:
        fill(run)
        whole = journal(tmp_path).read_bytes()
        CHANGES[change](journal(tmp_path))
    if change in ("replaced", "deleted"):
        assert (tmp_path / "demo" / "journal.jsonl.rescued-1").read_bytes() == whole
    assert not store.is_locked(tmp_path / "demo")


def test_a_missing_journal_is_named_with_the_way_on(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        fill(run)
    folder = tmp_path / "demo"
    journal(tmp_path).rename(folder / "journal.jsonl.rescued-1")
    for use in (lambda: store.read(folder), lambda: open_run(tmp_path)):
        with pytest.raises(RunDamaged, match=r"journal\.jsonl: the file is missing") as caught:
            use()
        assert f"lrsearch repair {folder}" in caught.value.hint
        assert str(folder / "journal.jsonl.rescued-1") in caught.value.hint
    assert not journal(tmp_path).exists()
    assert store.repair(folder) == store.Repair(0, (), None, begun=True)
    assert store.read(folder) == History()
    (folder / "journal.jsonl.rescued-1").replace(journal(tmp_path))
    assert store.read(folder) == run.history


def test_folders_that_were_deleted_are_made_again(tmp_path: Path) -> None:
    open_run(tmp_path).close()
    (tmp_path / "demo" / "curves").rmdir()
    (tmp_path / "demo" / "best").rmdir()
    with open_run(tmp_path) as run:
        fill(run)
        run.write_best("best")
        (tmp_path / "demo" / "curves").rename(tmp_path / "curves")
        with pytest.raises(RunError, match="curves") as caught:
            run.ended(4, make_result(), {})
    assert "curves is not there, or was removed while the run was written" in caught.value.hint


def test_what_is_emptied_is_begun_again_beside_the_copy(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "journal.jsonl.rescued-1").write_text("kept")
    with open_run(tmp_path) as run:
        fill(run)
    assert (tmp_path / "demo" / "journal.jsonl.rescued-1").read_text() == "kept"


def _damage(lines: list[bytes], how: str) -> bytes:
    if how == "CRLF":
        return b"".join(line[:-1] + b"\r\n" for line in lines)
    if how == "a byte order mark":
        return b"\xef\xbb\xbf" + b"".join(lines)
    if how == "a lost newline":
        return b"".join([*lines[:3], lines[3][:-1], *lines[4:]])
    if how == "all newlines lost":
        return b"".join(line[:-1] for line in lines)
    if how == "a whole line behind half a one at the end":
        return b"".join([*lines[:-2], lines[-2][:9], lines[-2][:-1], lines[-1][:-1]])
    if how == "reversed":
        return b"".join(reversed(lines))
    if how == "reversed, a line twice":
        return b"".join([*reversed(lines), lines[4]])
    if how == "half a line before a whole one":
        return b"".join([*lines[:3], b"torn", *lines[3:]])
    return b"".join(lines)[:-1] + b"X"


@pytest.mark.parametrize(
    ("how", "dropped"),
    [
        ("CRLF", ()),
        ("a byte order mark", ()),
        ("a lost newline", ()),
        ("all newlines lost", ()),
        ("reversed", ()),
        ("reversed, a line twice", (12,)),
        ("half a line before a whole one", (4,)),
        ("a whole line behind half a one at the end", (10,)),
        ("a damaged last newline", (11,)),
    ],
)
def test_repair_keeps_every_line_whose_checksum_holds(
    tmp_path: Path, how: str, dropped: tuple[int, ...]
) -> None:
    with open_run(tmp_path) as run:
        fill(run)
    expected = store.read(tmp_path / "demo")
    lines = journal(tmp_path).read_bytes().splitlines(keepends=True)
    journal(tmp_path).write_bytes(_damage(lines, how))
    if how != "a damaged last newline":  # Which is what a crash may leave.
        for use in (lambda: store.read(tmp_path / "demo"), lambda: open_run(tmp_path)):
            with pytest.raises(RunDamaged, match="lrsearch repair"):
                use()
    done = store.repair(tmp_path / "demo")
    assert (done.kept, done.dropped) == (11, dropped)
    assert store.read(tmp_path / "demo") == expected
    assert journal(tmp_path).read_bytes() == b"".join(lines)


def test_repair_leaves_two_journals_in_one_file_as_they_stand(tmp_path: Path) -> None:
    texts = [f'"event":"noted","kind":"{name}"}}'.encode() for name in "abxy"]
    first, second = [
        [store._numbered(number, text) for number, text in enumerate(some, 1)]
        for some in (texts[:2], texts[2:])
    ]
    with open_run(tmp_path):
        pass
    journal(tmp_path).write_bytes(b"".join([*first, *second]))
    store.repair(tmp_path / "demo")
    assert [each["kind"] for each in store.read(tmp_path / "demo").notes] == [*"abxy"]


def _lines(*texts: bytes) -> bytes:
    """A journal of lines with these texts behind their checksums."""
    return b"".join(store._numbered(number, text) for number, text in enumerate(texts, 1))


NOTES = [b'"event":"noted","kind":"%d"}' % number for number in range(40)]
DAMAGED = {
    "sound": _lines(*NOTES),
    "torn": _lines(*NOTES)[:-9],
    "torn, filled": _lines(*NOTES)[:-9] + b"\0" * 99,
    "without its newline": _lines(*NOTES)[:-1],
    "flipped": _lines(*NOTES).replace(b'"7"', b'"6"'),
    "misnumbered": _lines(*NOTES) + store._numbered(42, NOTES[0]),
    "doubled": _lines(*NOTES) + store._numbered(40, NOTES[0]),
    "no JSON": _lines(*NOTES[:20], b'"event":"noted",}', *NOTES[20:]),
    "two on a line": _lines(*NOTES[:20], NOTES[20] + b',{"event":"noted"}', *NOTES[20:]),
    "one on two lines": _lines(*NOTES[:20], b'"event":"a","b":[{"c":1}', b'"event":"d"}]}'),
    "no object behind it": _lines(*NOTES[:20], NOTES[20] + b' "noted"}', *NOTES[20:]),
    "a blank behind it": _lines(*NOTES[:20], NOTES[20] + b" ", *NOTES[20:]),
    "a list that ends": _lines(*NOTES[: store.TOGETHER - 1], b'"event":"a"}],{"b":1}', *NOTES),
    "not ASCII": _lines(*NOTES[:20], b'"event":"noted","kind":"\xc3\xa4"}', *NOTES[20:]),
    "no event first": _lines(*NOTES[:20], b'"kind":"a","event":"noted"}', *NOTES[20:]),
    "a blank line": _lines(*NOTES[:20]) + b"\n" + _lines(*NOTES)[len(_lines(*NOTES[:20])) :],
    "carriage returns": _lines(*NOTES).replace(b"\n", b"\r\n"),
    "a fold that fails": _lines(*NOTES[:20], b'"event":"started","trial":7}', *NOTES[20:]),
    "a fold and then a line": _lines(*NOTES[:20], b'"event":"ended","trial":7}', b"}", NOTES[0]),
    "too deep": _lines(*NOTES[:20], b'"event":"a","b":%b}' % (b"[" * 10**5 + b"]" * 10**5)),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_lines_read_together_are_those_read_one_by_one(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replay() -> tuple[History | str, int]:
        try:
            history = store._replay(Path("runs/demo"), data)
        except RunDamaged as error:
            return str(error), 0
        return history, history.end

    together = replay()
    monkeypatch.setattr(store, "_decode_together", lambda *_: None)
    assert replay() == together


def test_a_damaged_last_newline_loses_no_line(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        fill(run)
    whole = journal(tmp_path).read_bytes()
    for last in (b"X", b"\r", b"\0", b" torn", b"{"):
        journal(tmp_path).write_bytes(whole[:-1] + last)
        assert store.read(tmp_path / "demo") == run.history
        open_run(tmp_path).close()
        assert journal(tmp_path).read_bytes() == whole


# Disks that refuse ----------------------------------------------------------------------------

LIMITED = """
import resource, sys
from pathlib import Path
from lrsearch.errors import StorageFull
from lrsearch.store import Run
sys.path.insert(0, sys.argv[2])
from test_store import propose, train
with Run.open(Path(sys.argv[1]), "demo", spec_text="") as run:
    run.opened({}, "grid", {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    try:
        for number in range(1, 100):
            propose(run, number)
            train(run, number)
    except StorageFull as error:
        print(error.exit_code, repr(run.history))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        run.closed("full", 1.0)
"""


def test_a_full_disk_keeps_what_was_journaled(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    code, _, history = done.stdout.partition(" ")
    assert code == "1"
    assert 1500 < journal(tmp_path).stat().st_size < 2200
    found = store.read(tmp_path / "demo")
    assert (found.closed, found.seconds) == ("full", 1.0)
    found.closed, found.seconds = None, 0.0
    assert repr(found) == history.rstrip("\n")
    assert len(found.results) >= 2
    with open_run(tmp_path) as run:
        todo = [number for number in run.history.trials if number not in run.history.results]
        for number in todo:
            train(run, number)
        propose(run, run.history.next_number)
    assert store.read(tmp_path / "demo") == run.history


def test_a_curve_without_a_place_costs_no_result(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_run(tmp_path) as run:
        fill(run)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        try:
            with pytest.raises(StorageFull, match=r"curves/000004.json: File too large") as caught:
                run.ended(4, make_result(0.5), {"step": [*range(9_999)]})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "the curve of trial 4 is lost, what it measured is in the journal" in caught.value.hint
    assert store.read(tmp_path / "demo").results[4] == make_result(0.5)


def test_weights_and_a_curve_make_room_for_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = os.pwrite
    with open_run(tmp_path) as run:
        fill(run)
        beside = [run.folder / "best" / "trial-000004.safetensors"]
        beside.append(run.folder / "curves" / "000004.json")

        def write_where_there_is_room(descriptor: int, content: bytes, place: int) -> int:
            if any(path.exists() for path in beside):
                writes(descriptor, content[:9], place)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return writes(descriptor, content, place)

        run.keep_weights(4, b"weights")
        monkeypatch.setattr(os, "pwrite", write_where_there_is_room)
        with pytest.raises(StorageFull, match="cannot write") as caught:
            run.ended(4, make_result(0.5), {"step": [1]})
        assert "the curve of trial 4 is lost, what it measured is in the" in caught.value.hint
        assert isinstance(run.given_up(4), StorageFull) and run.given_up(4) is None
        # What was written with its line stays, whatever follows.
        monkeypatch.undo()
        run.keep_weights(4, b"weights")
        run.append("noted", {"kind": "odd"}, sync=True)
        monkeypatch.setattr(os, "pwrite", write_where_there_is_room)
        with pytest.raises(StorageFull):
            run.append("noted", {"kind": "odd"}, sync=True)
        assert beside[0].exists()
        monkeypatch.undo()
    kept = store.read(tmp_path / "demo")
    assert kept.results[4] == make_result(0.5) and len(kept.notes) == 2


def test_a_full_disk_spoils_no_file(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        run.write_best("old\n")
        script = f"""
import resource
from pathlib import Path
from lrsearch.errors import StorageFull
from lrsearch.store import write_whole
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    write_whole(Path({str(tmp_path)!r}) / "demo" / "best" / "spec.yaml", b"x" * 1000)
except StorageFull as error:
    print(error)
"""
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
    assert "spec.yaml" in done.stdout
    assert [path.name for path in (tmp_path / "demo" / "best").iterdir()] == ["spec.yaml"]
    assert (tmp_path / "demo" / "best" / "spec.yaml").read_text() == "old\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_no_space_is_storage_full(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        propose(run, 1)
        kept = run._journal
        run._journal = os.open("/dev/full", os.O_RDWR)
        try:
            with pytest.raises(StorageFull, match="No space") as caught:
                run.started(1)
        finally:
            os.close(run._journal)
            run._journal = kept
        assert caught.value.exit_code == 1
        assert run.history.running == set()
        run.started(1)
    assert store.read(tmp_path / "demo").running == {1}


@pytest.mark.parametrize("number", [1, 3])  # That of `lock`, and of the journal.
def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    open_run(tmp_path).close()
    real, calls = fcntl.flock, iter(range(1, 99))

    def flock(descriptor: int, how: int) -> None:
        if next(calls) == number:
            raise OSError(errno.ENOLCK, "No locks available")
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(RunError, match="No locks available") as caught:
        open_run(tmp_path)
    assert "--runs" in caught.value.hint


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_run_on_a_file_system_without_locks_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder = tmp_path / "demo"
    open_run(tmp_path).close()

    def flock(descriptor: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert not store.is_locked(folder)
    told = f"cannot use {folder}: {os.strerror(number)}"
    for use in (lambda: store.check_writable(folder), lambda: open_run(tmp_path)):
        with pytest.raises(RunError, match="cannot use") as caught:
            use()
        assert caught.value.message == told
        assert "may have no locks" in caught.value.hint


def test_a_lock_that_cannot_be_asked_for_is_not_taken_for_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_run(tmp_path).close()

    def flock(descriptor: int, how: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(RunError, match=os.strerror(errno.EIO)):
        store.is_locked(tmp_path / "demo")


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "make room and run the same command"),
        (errno.EROFS, "nothing can be written there; --runs DIR names a folder where it can"),
        (errno.EACCES, "this user may not; --runs DIR names a folder that it may use"),
        (errno.ENOENT, "nowhere is not there, or was removed while the run was written"),
    ],
)
def test_what_a_folder_refuses_is_told_with_a_way_out(
    tmp_path: Path, number: int, hint: str
) -> None:
    path = tmp_path / "nowhere" / "demo"
    with pytest.raises(LrsearchError) as caught, store._using(path):
        raise OSError(number, os.strerror(number))
    assert caught.value.hint.endswith(hint) and str(path) in str(caught.value)
    # Another folder is the user's to name; a disk that takes no more may not be.
    assert caught.value.exit_code == (1 if number in (errno.ENOSPC, errno.EROFS) else 2)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root, name in ((tmp_path, "file"), (tmp_path / "file", "demo")):
        with pytest.raises(RunError, match="file") as caught:
            open_run(root, name)
        assert caught.value.exit_code == 2
    with pytest.raises(RunError, match="too long"):
        open_run(tmp_path, "x" * 300)


@pytest.mark.usefixtures("no_override")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(RunError, match=r"closed.*Permission"):
        open_run(tmp_path / "closed")


@pytest.mark.usefixtures("no_override")
@pytest.mark.parametrize("name", ["journal.jsonl", "lock", "curves", "best", "states"])
def test_a_part_that_may_not_be_written_is_named_before_anything(tmp_path: Path, name: str) -> None:
    with open_run(tmp_path) as run:
        fill(run)
    store.check_writable(run.folder)
    (run.folder / name).chmod(0o500)
    with pytest.raises(RunError, match=rf"cannot use .*{name}: Permission") as caught:
        store.check_writable(run.folder)
    assert "--runs DIR" in caught.value.hint
    if name in ("journal.jsonl", "lock"):
        with pytest.raises(RunError, match=rf"cannot use .*{name}: Permission"):
            open_run(tmp_path)


@pytest.mark.usefixtures("no_override")
def test_a_run_that_may_not_be_read_hides_no_other(tmp_path: Path) -> None:
    for name in ("mine", "theirs"):
        open_run(tmp_path, name).close()
    os.utime(tmp_path / "mine" / "journal.jsonl", (0, 0))
    theirs = tmp_path / "theirs"
    for part in (theirs, theirs / "journal.jsonl"):
        part.chmod(0)
        assert store.names(tmp_path) == ["mine", "theirs"]
        assert store.newest(tmp_path) == tmp_path / "mine"
        assert store.holds_run(theirs)
        assert store.last_written(theirs) > 0
        part.chmod(0o700)
    tmp_path.chmod(0)
    for use in (lambda: store.names(tmp_path), lambda: store.newest(tmp_path)):
        with pytest.raises(RunError, match="Permission"):
            use()
    assert "Permission" in store.list_runs(tmp_path, "mine")
    tmp_path.chmod(0o700)


# Names, folders, files ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../demo", "a/b", "/etc", "..", ".", "", ".hidden", "a\n", "-x"])
def test_names_stay_inside(tmp_path: Path, name: str) -> None:
    root = tmp_path / "runs"
    for use in (lambda: open_run(root, name), lambda: store.fresh(root, name)):
        with pytest.raises(RunError, match="cannot name a run"):
            use()
    assert not root.exists()


def test_a_folder_of_other_things_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.tex").touch()
    with pytest.raises(RunError, match=r"thesis\.tex"):
        open_run(tmp_path)
    (tmp_path / "demo" / "thesis.tex").unlink()
    (tmp_path / "demo" / "best.pt").touch()
    with pytest.raises(RunError, match=r"best\.pt"):
        open_run(tmp_path)
    (tmp_path / "demo" / "best.pt").unlink()
    (tmp_path / "demo" / "best.moved").mkdir()
    # A creation that died, copies that other programs made, and what a lost run.json leaves.
    for name in ("run.json.tmp", "run.json.bak", "lock.moved", "spec.yaml.orig", "now.json"):
        (tmp_path / "demo" / name).touch()
    with open_run(tmp_path) as run:
        fill(run)
    assert store.read(tmp_path / "demo") == run.history


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        fill(run)
    head = {"format": store.FORMAT + 1, "lrsearch": "9.9"}
    (tmp_path / "demo" / "run.json").write_text(json.dumps(head))
    folder = tmp_path / "demo"
    for use in (
        lambda: open_run(tmp_path),
        lambda: store.read(folder),
        lambda: store.repair(folder),
    ):
        with pytest.raises(RunError, match=r"lrsearch 9\.9"):
            use()


def test_a_run_that_is_not_there_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no runs in"):
        store.read(tmp_path / "demo")
    for name in ("digits", "moons"):
        open_run(tmp_path, name).close()
    with pytest.raises(RunError, match="did you mean 'digits'"):
        store.read(tmp_path / "digts")
    with pytest.raises(RunError, match="digits, moons"):
        open_run(tmp_path, "zzz", create=False)
    assert store.names(tmp_path) == ["digits", "moons"]
    assert store.names(tmp_path / "nowhere") == []


def test_the_newest_run_is_the_one_last_written(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no runs"):
        store.newest(tmp_path)
    for at, name in ((3, "a"), (9, "b"), (6, "c")):
        open_run(tmp_path, name).close()
        os.utime(tmp_path / name / "journal.jsonl", (at, at))
    assert store.newest(tmp_path) == tmp_path / "b"
    open_run(tmp_path, "c").close()  # opening changes nothing
    assert store.newest(tmp_path) == tmp_path / "b"
    with open_run(tmp_path, "a") as run:
        run.append("noted", {})
    assert store.newest(tmp_path) == tmp_path / "a"


def test_fresh_moves_runs_aside_and_deletes_nothing(tmp_path: Path) -> None:
    assert store.fresh(tmp_path, "demo") is None
    for count in (1, 2):
        with open_run(tmp_path) as run:
            run.closed("done", count)
        assert store.fresh(tmp_path, "demo") == tmp_path / f"demo.{count}"
        assert not (tmp_path / "demo").exists()
    for count in (1, 2):
        assert store.read(tmp_path / f"demo.{count}").seconds == count
    with open_run(tmp_path) as run:
        assert run.history == History()


def test_weights_of_the_best_are_kept_alone(tmp_path: Path) -> None:
    best = tmp_path / "demo" / "best"
    with open_run(tmp_path) as run:
        run.keep_weights(3, b"three")
        run.keep_weights(12, b"twelve")
        run.keep_weights(12, b"again")
        run.write_best("name: best\n")
        assert (best / "trial-000012.safetensors").read_bytes() == b"again"
        # Copies are the user's: they are no weights, and stay.
        mine = ["trial-000003.safetensors.bak", "trial-mine.safetensors"]
        for name in mine:
            (best / name).write_bytes(b"mine")
        (best / "trial-000007.safetensors").mkdir()
        (best / "trial-000004.safetensors.tmp").write_bytes(b"left by a kill")
        assert run.stored_weights() == {3, 12}
        run.drop_weights(keep={12, 99})
    assert sorted(path.name for path in best.iterdir()) == sorted(
        ["spec.yaml", "trial-000012.safetensors", "trial-000007.safetensors", *mine]
    )
    assert (best / "spec.yaml").read_text() == "name: best\n"


def test_a_missing_or_spoilt_curve_is_named(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        fill(run)
    with pytest.raises(RunError, match=r"000004\.json"):
        store.read_curve(tmp_path / "demo", 4)
    (tmp_path / "demo" / "curves" / "000001.json").write_text("{")
    with pytest.raises(RunDamaged, match=r"000001\.json"):
        store.read_curve(tmp_path / "demo", 1)


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_loaded(tmp_path):
    check_writable(tmp_path / "not" / "yet" / "there")
    assert not [*tmp_path.iterdir()]
    if not Path("/proc/self").is_dir():
        pytest.skip("there is no folder here that nobody can write")
    with pytest.raises(RunError, match=r"/proc/a/b: nothing can be written in /proc: .*\n  --runs"):
        check_writable(Path("/proc/a/b"))


def test_a_killed_session_is_known_to_have_lasted_as_long_as_it_last_said(tmp_path):
    with Run.open(tmp_path, "demo", spec_text="") as run:
        run.opened({}, "grid", {})
    write_now(run.folder, {"begun": 100.0, "written": 107.5})  # What a kill leaves.
    for lost in (7.5, 7.5):  # It is counted once, though the next was killed before it said a word.
        with Run.open(tmp_path, "demo", spec_text="") as run:
            run.opened({}, "grid", {})
        assert read(run.folder).lost == lost and read_now(run.folder) is None
    for content in ({"begun": "x", "written": 1}, {"begun": 9.0, "written": 1.0}, {}):
        write_now(run.folder, content)
        with Run.open(tmp_path, "demo", spec_text="") as run:
            run.opened({}, "grid", {})
            run.closed("finished", 1.0)
        assert read(run.folder).lost == 7.5
