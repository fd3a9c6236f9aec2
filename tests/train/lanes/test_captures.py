"""What a captured step rests on, and a CPU can hold: a graph reads and writes the addresses that it
was captured with, and the host waits for it once an evaluation."""

from __future__ import annotations

import itertools
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import test_train
import torch
from devices import DEVICE, assert_same
from emulation import EmulatedGraph, emulate
from test_averaging import SCHEDULE_FREE_SGD
from test_cuda import AT_ONCE, Lanes
from test_fused import as_fused
from test_stand_in import STRUCTURES
from test_states import STREAMED, plateau, streamed
from test_train import MLP, cohort, config
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.engines.sweep import sweep
from lrsearch.train.lanes import graphs
from lrsearch.train.lanes.graphs import Recorded
from lrsearch.train.lanes.program import Program
from lrsearch.trial import (
    Ended,
    Measured,
    Objective,
    Outcome,
    Planned,
    Reached,
    Sweep,
    Verdict,
    Workplace,
)

place = test_train.place

LOWEST = Objective("loss", "min", "best")
NOISY = MLP | {"batch_norm": True, "dropout": 0.3}


# Addresses


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """The number of replays of each recorded step. Raises where one would read or write elsewhere
    than at the first, or is given inputs of another layout."""
    replay, make, seen, count = Recorded.replay, Program._make, {}, Counter[int]()

    def stays(owner: object, found: object) -> None:
        assert seen.setdefault(id(owner), (owner, found))[1] == found

    def watch(self: Recorded, *inputs: Tensor) -> list[Tensor]:
        held = [each for each in self.tape.run.__globals__.values() if isinstance(each, Tensor)]
        held += [each.numbers for each in self.noise.draws]
        layouts = [(each.shape, each.stride(), each.dtype) for each in inputs]
        stays(self, ([each.data_ptr() for each in held], layouts))
        count[id(self)] += 1
        return replay(self, *inputs)

    def watch_program(self: Program, samples: Tensor, scalars: Tensor) -> list[Tensor]:
        stays(self, [each.data_ptr() for each in self._static()])
        return make(self, samples, scalars)

    monkeypatch.setattr(Program, "_make", watch_program)
    monkeypatch.setattr(Recorded, "replay", watch)
    return count


def test_refilled_lanes_rungs_and_new_rates_stay_in_place(replays: Counter[int]) -> None:
    configs = [
        config(NOISY, lr=rate, budget=budget, evaluate="10ba", schedule=plateau(), clip_norm=1.0)
        for rate, budget in ((0.2, "50ba"), (0.1, "70ba"), (0.05, "90ba"), (0.2, "60ba"))
    ]
    given = cohort(*configs, seeds=[0, 1, 0, 2], objective=LOWEST)
    job = run_cohort(as_fused(replace(given, rungs=(20,), save=0.0), 2))
    ended, replies = [], None
    for _ in itertools.count():
        try:
            event = job.send(replies)  # type: ignore[arg-type]
        except StopIteration:
            break
        replies = [(event.trial, Verdict.GO_ON)] if isinstance(event, Reached) else []
        ended += [event] if isinstance(event, Ended) else []
    assert [each.result.outcome for each in ended] == [Outcome.COMPLETED] * 4
    assert {each.result.engine for each in ended} == {"fused"}
    # One program, though lanes were taken out and put in, and recorded: no step was built anew.
    assert sum(replays.values()) >= 130 and len(replays) <= 3


def test_averages_are_gathered_in_place(replays: Counter[int]) -> None:
    train = {"optimizer": SCHEDULE_FREE_SGD, "budget": "40ba", "evaluate": "10ba"}
    run = run_cohort(as_fused(cohort(*[config(NOISY, lr=0.5, **train)] * 3, seeds=[0, 1, 2]), 3))
    ended = [each for each in run if isinstance(each, Ended)]
    assert [each.result.outcome for each in ended] == [Outcome.COMPLETED] * 3
    assert len(replays) == 2  # A step, and the pass that gathers batch norm's statistics.


def test_loaded_batches_come_to_one_place(
    replays: Counter[int], place: Callable[..., Workplace]
) -> None:
    where = replace(place(streams=STREAMED), allowed=("streams",))
    own = streamed("load", "plain")
    run = run_cohort(as_fused(cohort(own, own, own, place=where, seeds=[0, 1, 0]), 2))
    ended = [each for each in run if isinstance(each, Ended)]
    assert {each.result.engine for each in ended} == {"fused"}
    assert sum(replays.values()) >= 40


def test_a_range_test_replays_one_step(replays: Counter[int]) -> None:
    trials = cohort(config(NOISY), config(NOISY), seeds=[0, 1]).trials
    rates = (1e-3, 1e-2, 1e-1, 1.0) * 3
    (swept,) = sweep(Sweep(trials, rates, 2, "fused", None, Workplace(str(DEVICE))))
    assert (swept.engine, swept.reason) == ("fused", "")
    # The program that it is tried by beforehand is another.
    assert max(replays.values()) == 2 * len(rates) - 1


# Graphs that are emulated: a capture computes nothing, and a replay what was captured, where it was

GRAPHED = ("clipped, smoothed", "augmented", "text, dropout", "muon")


@contextmanager
def uncaptured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Context in which steps run operation by operation."""
    with monkeypatch.context() as patch:
        patch.setitem(graphs._spoilt, "reason", "told not to")
        yield


@pytest.mark.cpu("a GPU has graphs of its own: test_cuda.py")
@pytest.mark.parametrize("name", GRAPHED)
def test_a_replayed_graph_makes_the_steps_of_its_operations(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = emulate(monkeypatch)
    with uncaptured(monkeypatch):
        expected = Lanes(STRUCTURES[name]).go()
    lanes = Lanes(STRUCTURES[name])
    found = lanes.go()
    assert [each.replays for each in made] == [2 * AT_ONCE - 2] * 2
    assert lanes.program.uncaptured == ""
    assert all(torch.equal(found[name], each) for name, each in expected.items())


@pytest.mark.cpu("a GPU has graphs of its own: test_cuda.py")
@pytest.mark.parametrize("lanes", [2, 1])
def test_trials_in_captured_steps_are_what_they_are_without(
    lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lanes are filled anew, wait at a rung, and have their rates changed by a plateau."""
    train = {"evaluate": "10ba", "schedule": plateau(), "clip_norm": 1.0}
    configs = [
        config(NOISY, lr=rate, budget=budget, **train)
        for rate, budget in ((0.2, "20ba"), (0.1, "40ba"), (0.05, "30ba"))
    ]
    given = as_fused(cohort(*configs, seeds=[0, 1, 0], objective=LOWEST), lanes)
    made = emulate(monkeypatch)
    with uncaptured(monkeypatch):
        plain = [each for each in run_cohort(given) if isinstance(each, Ended)]
    assert not made
    captured = [each for each in run_cohort(given) if isinstance(each, Ended)]
    assert {each.result.engine for each in captured} == {"fused"}
    assert sum(each.replays for each in made) >= 30
    for found, expected in zip(captured, plain, strict=True):
        assert_same(found, expected)


@pytest.mark.cpu("a GPU has graphs of its own: test_cuda.py")
def test_lanes_whose_capture_has_no_memory_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first steps of the larger program are made again, by the smaller one."""
    made = emulate(monkeypatch)
    own = [config(NOISY, lr=rate, budget="12ba", evaluate="6ba") for rate in (0.2, 0.1, 0.05, 0.02)]
    given = cohort(*own, seeds=[0, 1, 0, 2])
    halves = [each for each in run_cohort(as_fused(given, 2)) if isinstance(each, Ended)]
    monkeypatch.setattr(EmulatedGraph, "room", 1.5 * made[0].bytes)
    events = list(run_cohort(as_fused(given, 4)))
    (planned,) = (each.plan for each in events if isinstance(each, Planned))
    assert (planned.lanes, planned.reason) == (2, "4 lanes ran out of memory")
    for found, expected in zip(
        [each for each in events if isinstance(each, Ended)], halves, strict=True
    ):
        assert found.result.engine == "fused"
        assert_same(found, expected)


@pytest.mark.cpu("a GPU has graphs of its own: test_cuda.py")
def test_what_averages_need_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    made = emulate(monkeypatch)
    train = {"optimizer": SCHEDULE_FREE_SGD, "budget": "20ba", "evaluate": "5ba"}
    given = as_fused(cohort(*[config(NOISY, lr=0.5, **train)] * 3, seeds=[0, 1, 2]), 3)
    with uncaptured(monkeypatch):
        plain = [each for each in run_cohort(given) if isinstance(each, Ended)]
    captured = [each for each in run_cohort(given) if isinstance(each, Ended)]
    # Steps but the first two, and 22 batches for batch norm at each evaluation but the very first.
    assert [each.replays for each in made] == [20 - 2, 4 * 22 - 1]
    for found, expected in zip(captured, plain, strict=True):
        assert_same(found, expected)


# Waits

READS: dict[Callable[..., Any], str] = {
    Tensor.tolist: "tolist",
    Tensor.item: "item",
    Tensor.__bool__: "bool",
    Tensor.__float__: "float",
    Tensor.__int__: "int",
    Tensor.nonzero: "nonzero",
    torch.nonzero: "nonzero",
    torch.equal: "equal",
    Tensor.numpy: "numpy",
}


class Reading(TorchFunctionMode):
    """Counts what reads numbers of a tensor on the host, by the file that does."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[tuple[str, str]] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in READS:
            files = [Path(each.filename) for each in traceback.extract_stack()]
            own = [each.name for each in files if "lrsearch" in each.parts]
            self.found[READS[func], own[-1] if own else ""] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_an_evaluation_is_read_at_once(engine: str) -> None:
    own = config(NOISY, budget="3ep", evaluate="12ba", clip_norm=1.0, label_smoothing=0.1)
    given = cohort(own, {**own, "train": {**own["train"], "lr": 0.01}}, seeds=[0, 0])
    given = replace(given, objective=LOWEST, share=False)
    job = run_cohort(as_fused(given, 2) if engine == "fused" else given)
    with Reading() as reading:
        events = list(job)
    measured = [each for each in events if isinstance(each, Measured)]
    assert len(measured) == 2 * 6
    assert sum(len(each.records.step) for each in events if isinstance(each, Ended)) == 2 * 4
    reading.found.pop(("numpy", "draws.py"), None)  # Generators' states, which the host has.
    if engine == "fused":  # Both lanes at once, and once the losses before the first step.
        assert reading.found == {("tolist", "fused.py"): 6, ("tolist", "initial.py"): 1}
    else:
        assert reading.found == {("tolist", "solo.py"): 12}


# Captures that fail


class Standing:
    """What a failed capture leaves: a graph that did not end, or ended, but cannot be launched."""

    def __init__(self, *, ended: bool) -> None:
        self.ended, self.gone = ended, False

    def capture_end(self) -> None:
        raise RuntimeError("CUDA error: out of memory")

    def pool(self) -> tuple[int, int]:
        if not self.ended:
            raise RuntimeError("Called CUDAGraph::pool without a preceding successful capture.")
        return 0, 1

    def reset(self) -> None:
        self.gone = True


@pytest.mark.parametrize("ended", [True, False])
def test_a_failed_capture_keeps_no_memory(ended: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    released = []
    monkeypatch.setattr(graphs, "_failed", [])
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        end = lambda device, pool, name=name: released.append((name, device, pool))  # noqa: E731
        monkeypatch.setattr(torch._C, name, end, raising=False)
    graph: Any = Standing(ended=ended)
    graphs._abandon(graph, (0, 1))
    assert graph.gone is ended
    assert graphs._failed == ([] if ended else [graph])
    assert len(released) == (0 if ended else 2)
