"""What only a GPU can show: what is captured, what waits, what is left of errors and of memory.

`pytest --device cuda -m cuda` runs these alone; elsewhere they are skipped. What holds on every
device (lanes against training alone, resumes after a kill) is tested where it stands, on the device
that is asked for.
"""

from __future__ import annotations

import gc
import itertools
import json
import sys
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_train
import torch
import torch.nn.functional as F
import yaml
from devices import (
    DEVICE,
    DRIFT,
    ROUNDING,
    assert_same,
    differ_by,
    find_chance,
    make_generator,
    noise_state,
    same,
    set_noise,
)
from test_cli import lrsearch
from test_fused import as_fused, collect, plans
from test_stand_in import AUGMENTED, NORMED, NORMED_CNN, STRUCTURES
from test_states import STREAMED, streamed
from test_train import MLP, NETS, cohort, config, net, run
from torch import Tensor

from lrsearch.cli.executors import VISIBLE, find_gpus
from lrsearch.store import read
from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.engines.comparison import LOW_TOLERANCE, refuse
from lrsearch.train.engines.course import open_data
from lrsearch.train.engines.probe import probe
from lrsearch.train.engines.start import build
from lrsearch.train.lanes import draws, graphs
from lrsearch.train.lanes.graphs import Graph
from lrsearch.train.lanes.program import Program, needs_of
from lrsearch.train.lanes.state import Skeleton, initial_state
from lrsearch.train.models.criterion import make_criterion
from lrsearch.train.optimizers.registry import STACKED
from lrsearch.train.tape import Tape
from lrsearch.trial import Measured, Objective, Outcome, Plan, Planned, Probe, Workplace

pytestmark = pytest.mark.cuda("it has graphs, a memory and a queue of its own")

place = test_train.place

LANES, BATCH, STEPS = 4, 16, 16
AT_ONCE = 4
"""Steps between evaluations: the first is recorded, the second captured, the others replay."""

FIRST = "losses of the first steps"


class Lanes:
    """Trainings of a structure that differ in their rates, in a program, and what they read: their
    own batches and one for all, in turn. Rates change at every step."""

    def __init__(self, own: dict[str, Any], rate: float = 0.02) -> None:
        self.train = own["train"]
        given = cohort(own)
        self.data: Any = open_data(given, given.trials[0], DEVICE)
        model = build(given.trials[0], self.data, given.workplace)
        optimizer = STACKED[self.train["optimizer"]["name"]]
        self.state = initial_state(model, optimizer, make_generator(5).get_state())
        criterion = make_criterion(
            given.trials[0].config, self.data.task, self.data.outputs, given.workplace, DEVICE
        )
        needs = needs_of(self.train)
        self.program = Program(Skeleton(model), self.train, needs, self.data, LANES, criterion)
        for lane in range(LANES):
            self.program.put(lane, self.state, self.train)
        dice = torch.Generator().manual_seed(0)
        shape = STEPS, LANES, BATCH
        self.index = torch.randint(self.data.samples, shape, generator=dice).to(DEVICE)
        falling = rate * np.linspace(1.0, 0.1, STEPS)
        curves = [self.program.curves(self.train, falling / (lane + 1)) for lane in range(LANES)]
        self.numbers = self.program.tabulate([(self.train, each, 0) for each in curves])

    def advance(self, first: int) -> None:
        steps = slice(first, first + AT_ONCE)
        index = self.index[steps] if first // AT_ONCE % 2 else self.index[steps, 0]
        self.program.advance(index, self.numbers[steps])

    def go(self) -> dict[str, Tensor]:
        """All steps, with evaluations between them and a lane that is filled anew: by name what was
        evaluated, and the tensors of the lanes at the end, those of the state by its part."""
        program, found = self.program, {}
        for first in range(0, STEPS, AT_ONCE):
            program.due = [{first + 2, first + 4}, {first + 3}, (), ()]
            self.advance(first)
            found[f"evaluation after step {first + AT_ONCE}"] = program.evaluate([0, 2])
            found.setdefault(FIRST, program.total.clone())
            if first == 2 * AT_ONCE:
                program.put(1, program.take(2), self.train)
        found["rows"] = torch.stack([row for _, _, row in program.noted])
        found["losses"] = program.total
        stack = program.stack
        for part, held in (("parameter", stack.parameters), ("buffer", stack.fixed)):
            found |= {f"{part} {name}": each for name, each in held.items()}
        for slot, held in stack.slots.items():
            found |= {f"{slot} {name}": each for name, each in held.items()}
        return found


# Graphs


def test_a_trial_alone_trains_in_a_program_of_one_lane() -> None:
    own = config(MLP | {"batch_norm": True}, budget="60ba", evaluate="20ba")
    given = cohort(own)
    asked = Probe(given.trials, 1, "fused", None, given.workplace, later=4)
    (planned,) = probe(asked)
    assert planned.plan.engine == "fused", planned
    assert planned.figures["captured.1"] == 1.0 and planned.figures["making.1"] > 0.0
    one, four = (collect(run_cohort(as_fused(cohort(*[own] * count), 4)))[1][0] for count in (1, 4))
    assert one.result.engine == "fused"
    assert_same(one, four)


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_graph_does_what_its_operations_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs without a graph tell what the device's own disorder comes to. In bfloat16 a step's
    rounding is 4e-3, and a momentum's entries, which are differences, have little else."""
    own = STRUCTURES[name]
    captured, plain, again = (Lanes(own) for _ in range(3))
    low, stack = own["train"]["precision"] == "bfloat16", plain.program.stack
    chance = find_chance((*stack.parameters, *stack.fixed))
    found = captured.go()
    steps = captured.program._steps.values()
    assert [each.captured is not None for each in steps] == [True, True]
    assert captured.program.uncaptured == ""
    monkeypatch.setitem(graphs._spoilt, "reason", "told not to")
    expected, other = plain.go(), again.go()
    assert plain.program.uncaptured == again.program.uncaptured == "told not to"
    assert found.keys() == expected.keys()
    wrong = []
    for what, each in found.items():
        part, _, of = what.partition(" ")
        if of in chance:
            continue
        share = LOW_TOLERANCE if low and part in stack.slots else DRIFT
        if what == FIRST:
            share = ROUNDING[torch.bfloat16] if low else 10 * ROUNDING[torch.float32]
        disorder = gap_of(expected[what], other[what])
        if not same(each, expected[what], max(share, 4 * disorder)):
            told = differ_by(each, expected[what])
            wrong.append(f"{what}: {told}; without a graph twice: {disorder:.2g}")
    assert not wrong, "\n".join([*wrong, f"chance: {sorted(chance)}"])


def gap_of(left: Tensor, right: Tensor) -> float:
    """The largest difference between two runs, as a share of the largest entry."""
    gaps, scale = ((each.nan_to_num(0.0)).abs().max() for each in (left - right, left))
    return float(gaps / scale) if scale else 0.0


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure_trains_in_lanes(name: str) -> None:
    given = cohort(STRUCTURES[name], STRUCTURES[name], seeds=[0, 1])
    data: Any = open_data(given, given.trials[0], DEVICE)
    assert refuse(given.trials, data, given.workplace) == ""


@pytest.mark.parametrize(
    "own", [config(NORMED), config(NORMED_CNN, AUGMENTED)], ids=["dropout", "augmented"]
)
def test_each_replay_draws_numbers_of_its_own(own: dict[str, Any]) -> None:
    """At a rate of zero the losses of one batch differ by what is drawn alone."""
    lanes = Lanes(own, rate=0.0)
    seen, drawn = [], []
    for step in range(8):
        lanes.program.total.zero_()
        lanes.program.advance(lanes.index[:1], lanes.numbers[step : step + 1])
        seen.append(lanes.program.total.tolist())
        (recorded,) = lanes.program._steps.values()
        drawn.append([each.numbers.clone() for each in recorded.noise.draws])
    assert recorded.captured is not None and drawn[0]
    for lane in range(LANES):
        assert len({each[lane] for each in seen}) == len(seen)
    for before, after in itertools.pairwise(drawn):
        assert not any(torch.equal(*each) for each in zip(before, after, strict=True))


def test_dropout_in_a_lane_drops_what_it_drops_alone() -> None:
    x, generator = torch.randn(64, 128, device=DEVICE), make_generator(5)
    set_noise(generator.get_state())
    alone = F.dropout(x, 0.3)
    lane = torch.empty_like(x)
    fill, divisor = draws._dropping(lane, 0.3, fused=True)
    fill(lane, generator)
    assert torch.equal(alone, x * lane.div_(divisor))
    assert torch.equal(noise_state(), generator.get_state())


def test_a_failed_capture_leaves_the_process_as_it_was() -> None:
    stream, number = torch.cuda.current_stream(), torch.ones(3, device=DEVICE)
    reads = Graph(Tape(lambda x: [x * float(x.sum())], "", 1, 0))
    adds = Graph(Tape(lambda x: [x + 1.0], "", 1, 0))
    for graph, expected in ((reads, 3.0), (adds, 2.0)):
        for _ in range(3):
            (out,) = graph.replay(number)
            assert out.tolist() == [expected] * 3
        assert torch.cuda.current_stream() == stream
        torch.cuda.empty_cache()
        assert F.dropout(number, 0.5).isfinite().all()
    assert reads.captured is None and reads.reason.startswith("its capture as a graph raised")
    assert adds.captured is not None and not graphs._spoilt


@pytest.mark.parametrize("again", range(3))
def test_steps_are_captured_while_a_thread_pins_batches(
    again: int, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = replace(place(streams=STREAMED), allowed=("streams",))
    own, captured, capture = streamed("load", "plain", workers=2), [], graphs._capture

    def watch(tape: Tape, inputs: list[Tensor]) -> Any:
        captured.append(capture(tape, inputs))
        return captured[-1]

    monkeypatch.setattr(graphs, "_capture", watch)
    events, ended = collect(run_cohort(as_fused(cohort(own, own, place=where, seeds=[0, 1]), 2)))
    assert {each.result.engine for each in ended.values()} == {"fused"}
    assert captured and not any(isinstance(each, Planned) for each in events)


# Waits


@contextmanager
def waits(mode: str) -> Iterator[None]:
    """Have torch warn of what waits for the device, or raise."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ["clipped, smoothed", "augmented", "bfloat16", "text"])
def test_steps_and_evaluations_wait_for_nothing(name: str) -> None:
    lanes = Lanes(STRUCTURES[name])
    lanes.go()
    program = lanes.program
    kept = program.keep_evaluated([0, 1], [None, None])
    with waits("error"):
        lanes.go()
        program.keep_evaluated([0, 1], kept)
        program.put(0, program.take(1), lanes.train)


def test_an_evaluation_is_waited_for_once() -> None:
    own = config(NORMED, budget="3ep", evaluate="12ba", clip_norm=1.0)
    given = cohort(own, {**own, "train": {**own["train"], "lr": 0.01}}, seeds=[0, 0])
    given = replace(given, objective=Objective("loss", "min", "best"), share=False)
    list(run_cohort(as_fused(given, 2)))  # Its data are on the device from now on.
    with warnings.catch_warnings(record=True) as told, waits("warn"):
        warnings.simplefilter("always")
        events = list(run_cohort(as_fused(given, 2)))
    seen = [each for each in told if "a synchronizing" in str(each.message)]
    found = Counter(Path(each.filename).name for each in seen)
    assert sum(isinstance(each, Measured) for each in events) == 2 * 6
    # Both lanes at once, and once the losses before the first step.
    assert (found["fused.py"], found["initial.py"]) == (6, 1), found
    within = ("program", "evaluation", "graphs", "stack", "draws", "orders", "recording")
    assert not found.keys() & {f"{each}.py" for each in within} | {"<tape>"} & found.keys(), found


# Memory


@contextmanager
def limited(size: int) -> Iterator[None]:
    """A device with so many bytes free."""
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(DEVICE).total_memory
    torch.cuda.set_per_process_memory_fraction(
        (torch.cuda.memory_reserved() + size) / whole, torch.cuda.current_device()
    )
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, torch.cuda.current_device())


def test_lanes_that_do_not_fit_are_halved_and_their_memory_comes_back() -> None:
    # 17 MB of weights, and as much momentum: eight lanes of them alone take half of the memory.
    wide = config(MLP | {"hidden": [2048, 2048]}, budget="4ba", evaluate="2ba", lr=0.01)
    given = cohort(*[wide] * 8, seeds=range(8))
    collect(run_cohort(replace(given, trials=given.trials[:1])))
    gc.collect()
    before = torch.cuda.memory_allocated()
    with limited(2**29):
        events, ended = collect(run_cohort(as_fused(given, 8)))
    told = [each.plan for each in events if isinstance(each, Planned)]
    assert told[0].reason == "8 lanes ran out of memory" and told[0].lanes == 4
    assert [each.result.outcome for each in ended.values()] == [Outcome.COMPLETED] * 8
    assert torch.cuda.memory_allocated() <= before + 2**20
    assert torch.cuda.memory_reserved() - before < 2**29
    # In room enough they are what they were.
    whole = collect(run_cohort(as_fused(given, 8)))
    assert plans(whole[0]) == []
    for number, each in whole[1].items():
        assert_same(ended[number], each)


HUNGRY = (
    NETS
    + """
    class Hungry(Net):
        def forward(self, x):
            if self.training and len(x) > 100:
                torch.empty(2**43, dtype=torch.uint8, device=x.device)
            return super().forward(x)

    class Beyond(Net):
        '''Reads behind the end of a table.'''

        def __init__(self, in_features, num_classes, bad=False):
            super().__init__(in_features, num_classes)
            self.bad, self.table = bad, nn.Parameter(torch.ones(4))

        def forward(self, x):
            at = torch.full((len(x), 1), 10**6 if self.bad and self.training else 0)
            shift = self.table[at.to(x.device)] if len(x) > 2 else 0.0
            return super().forward(x) + shift

    class There(Net):
        '''For a GPU alone.'''

        def forward(self, x):
            return super().forward(x.cuda())
"""
)


def test_a_batch_that_does_not_fit_harms_no_other_trial(place: Any) -> None:
    where = place(nets=HUNGRY)
    small, large = (config(net("nets.Hungry"), budget="1ep", batch_size=size) for size in (64, 128))
    alone = run(small, place=where)
    gc.collect()
    before = torch.cuda.memory_allocated()
    first, second = run(large, small, place=where)
    assert first.result.outcome is Outcome.OUT_OF_MEMORY
    assert "out of memory" in first.result.reason
    assert_same(replace(second, trial=0), alone)
    assert torch.cuda.memory_allocated() <= before + 2**20


# Command lines, whose workers are processes of their own


def search(folder: Path, strategy: str, *more: object, code: int = 0, **spec: Any) -> Any:
    """The journal of a search in a folder, or what it says where it is to exit with a code."""
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({"name": "own", **spec}))
    said = lrsearch(strategy, path, "--runs", folder / "runs", "--fresh", *more)
    assert said.code == code, said
    return read(folder / "runs" / "own") if not code else said.err


SMALL: dict[str, Any] = {
    "data": {"name": "digits", "standardize": True},
    "model": {"name": "mlp", "hidden": [32]},
    "train": {"budget": "2ep", "batch_size": 64},
    "search": {"lr": {"min": 1e-3, "max": 1.0, "points": 3}},
}


def test_an_error_on_the_device_ends_one_trial(tmp_path: Path) -> None:
    """The worker has lost the device and is replaced."""
    (tmp_path / "nets.py").write_text(textwrap.dedent(HUNGRY))
    spec = SMALL | {
        "model": {"class_path": "nets.Beyond"},
        "search": {"model.init_args.bad": [True, False], "lr": [0.1, 0.01]},
    }
    more = ("--allow-import", "nets", "--device", str(DEVICE), "--workers", 1, "--engine", "solo")
    found = search(tmp_path, "grid", *more, **spec)
    bad = {n: found.trials[n].config["model"]["init_args"]["bad"] for n in found.results}
    outcomes = Counter((bad[n], each.outcome) for n, each in found.results.items())
    told = {n: (each.reason, each.traceback[-2000:]) for n, each in found.results.items() if bad[n]}
    assert outcomes == {(True, Outcome.FAILED): 2, (False, Outcome.COMPLETED): 2}, told
    assert all("device-side assert" in reason for reason, _ in told.values()), told


def test_what_every_training_raises_there_is_said_before_any(tmp_path: Path) -> None:
    """With the line of the code, which a GPU that has lost the process does not know."""
    (tmp_path / "nets.py").write_text(textwrap.dedent(HUNGRY).replace("len(x) > 2", "len(x)"))
    more = ("--allow-import", "nets", "--device", str(DEVICE), "--workers", 1)
    spec = SMALL | {"model": {"class_path": "nets.Beyond", "init_args": {"bad": True}}}
    told = search(tmp_path, "grid", *more, code=2, **spec)
    assert "raised IndexError" in told and "nets.py, line" in told
    spec["model"] = {"class_path": "nets.There"}
    found = search(tmp_path, "grid", *more, **spec)
    assert {each.outcome for each in found.results.values()} == {Outcome.COMPLETED}


def test_two_searches_with_one_seed_train_the_same_points(tmp_path: Path) -> None:
    more = ("--device", str(DEVICE), "--executor", "inline", "--engine", "fused", "--lanes", 4)
    points = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        spec = SMALL | {"bayes": {"trials": 12, "startup": 4, "generation": 4}}
        found = search(tmp_path / name, "bayes", *more, **spec)
        points.append([found.trials[n].config["train"]["lr"] for n in sorted(found.results)])
    assert len(points[0]) == 12 and points[0] == points[1]


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_a_search_trains_on_the_device_that_is_named(name: str, tmp_path: Path) -> None:
    search(tmp_path, "grid", "--device", name, "--workers", 1, **SMALL)
    kept = json.loads((tmp_path / "runs" / "own" / "run.json").read_text())
    assert kept["device"].partition(":")[0] == "cuda", kept
    assert kept["device_name"] == torch.cuda.get_device_name(0)


def test_gpus_that_are_hidden_are_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE, "")
    told = search(tmp_path, "grid", "--device", "cuda", "--workers", 1, code=2, **SMALL)
    assert "device 'cuda' is not available" in told
    search(tmp_path, "grid", "--device", "auto", "--workers", 1, **SMALL)
    kept = json.loads((tmp_path / "runs" / "own" / "run.json").read_text())
    assert kept["device"] == "cpu"


def test_gpus_are_counted_without_torch_as_by_torch() -> None:
    assert len(find_gpus()) == torch.cuda.device_count()


GIVEN = """\
import json
import sys

import torch


def report(device):
    x = torch.ones(3, device=device)
    return {"loss": float(x.sum()), "cuda": float(x.is_cuda)}


def train(trial):
    trial.report(1, **report(trial.device))


if __name__ == "__main__":
    print(json.dumps({"step": 1, **report(sys.argv[1])}))
"""


@pytest.mark.parametrize("name", ["auto", "cuda:0"])
@pytest.mark.parametrize("kind", ["command", "loop"])
def test_a_training_of_ones_own_is_given_the_device(kind: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "given.py").write_text(GIVEN)
    words = {"command": f"{sys.executable} given.py {{device}} {{lr}}", "loop": "given.train"}
    allowed = {"command": ("--allow-command",), "loop": ("--allow-import", "given")}[kind]
    metric = {"objective": {"metric": "loss", "goal": "min"}, "search": {"lr": [0.1]}}
    spec = {kind: words[kind], **metric}
    found = search(tmp_path, "grid", *allowed, "--device", name, "--workers", 1, **spec)
    (result,) = found.results.values()
    assert result.outcome is Outcome.COMPLETED, result
    assert (result.last["loss"], result.last["cuda"]) == (3.0, 1.0)


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_a_device_that_is_not_the_first_trains_alike(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    captured, capture = [], graphs._capture

    def watch(tape: Tape, inputs: list[Tensor]) -> Any:
        captured.append(inputs[0].device.index)
        return capture(tape, inputs)

    monkeypatch.setattr(graphs, "_capture", watch)
    own = [config(NORMED_CNN, budget="1ep", lr=rate) for rate in (0.1, 0.02)]
    found = []
    for index in range(2):
        given = cohort(*own, place=Workplace(f"cuda:{index}"))
        found.append(collect(run_cohort(replace(given, plan=Plan(engine, 2))))[1])
    assert captured == ([] if engine == "solo" else sorted(captured))
    assert engine == "solo" or set(captured) == {0, 1}
    for number, each in found[0].items():
        assert_same(found[1][number], each)
