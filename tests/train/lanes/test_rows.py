"""Parameters of a lane in one row: on a GPU an optimizer is then a few launches. Here they are on
the CPU, whose arithmetic is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_stand_in import CHARACTERS, HERE, LANES, NORMED_CNN, TEXT, Ready, optimizer
from test_train import MLP, config

from lrsearch import catalogue
from lrsearch.train.engines.comparison import _double
from lrsearch.train.lanes import rows as standing
from lrsearch.train.lanes.program import Program, needs_of
from lrsearch.train.lanes.rows import Rows
from lrsearch.train.lanes.state import Skeleton, initial_state
from lrsearch.train.models.criterion import make_criterion
from lrsearch.train.optimizers.registry import STACKED

STEPS, BATCH = 3, 8
TINY = MLP | {"hidden": [6, 3], "dropout": 0.0}
ADAMW = optimizer("adamw") | {"weight_decay": 0.1}
APART = ("adafactor", "muon", "prodigy")
STRUCTURES: dict[str, dict[str, Any]] = {
    **{name: config(TINY, optimizer=optimizer(name)) for name in catalogue.OPTIMIZERS},
    "sgd": config(TINY, optimizer=optimizer("sgd") | {"momentum": 0.9, "weight_decay": 0.1}),
    "images": config(NORMED_CNN, optimizer=ADAMW),
    "groups": config(CHARACTERS, TEXT, optimizer=ADAMW, weight_decay_on="matrices"),
    "clipped": config(CHARACTERS, TEXT, clip_norm=0.1, optimizer=ADAMW, weight_decay_on="matrices"),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_row_trains_as_its_parameters_apart(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Ready(STRUCTURES[name])
    data, model = _double(ready.real), ready.model.double()
    own = STACKED[ready.train["optimizer"]["name"]]
    state = initial_state(model, own, torch.get_rng_state())
    trains = [each.config["train"] for each in ready.trials]
    config, device = ready.trials[0].config, torch.device("cpu")
    criterion = make_criterion(config, data.task, data.outputs, HERE, device)
    index = torch.randint(data.samples, (STEPS, LANES, BATCH))
    found = []
    for kinds in ((), ("cpu",)):
        monkeypatch.setattr(standing, "KINDS", kinds)
        needs = frozenset[str]().union(*map(needs_of, trains))
        program = Program(Skeleton(model), trains[0], needs, data, LANES, criterion)
        for lane, train in enumerate(trains):
            program.put(lane, state, train)
        curves = [program.curves(each, np.full(STEPS, 0.01)) for each in trains]
        numbers = program.tabulate(list(zip(trains, curves, [0] * LANES, strict=True)))
        program.advance(index, numbers)
        found.append(program)
    apart, joined = found
    assert apart.stack.rows is None and (joined.stack.rows is None) == (name in APART)
    (few,), (many,) = (each._steps.values() for each in (joined, apart))
    assert (few.tape.operations < many.tape.operations) == (name not in APART)
    if name == "clipped":  # By a norm and a product of all gradients, not of each.
        saved = many.tape.operations - few.tape.operations
        assert saved > 8 * len(joined.stack.parameters)
    for left, right in zip(apart.stack.held(), joined.stack.held(), strict=True):
        assert left.shape == right.shape
        torch.testing.assert_close(right, left, rtol=1e-12, atol=1e-12)
    taken = joined.take(1)
    assert all(each.is_contiguous() for each in (*taken.parameters.values(), taken.noise))
    assert set(taken.parameters) == set(state.parameters)
    torch.testing.assert_close(joined.evaluate([0, 2]), apart.evaluate([0, 2]))


def test_parameters_begin_where_kernels_read_several_at_once() -> None:
    rows = Rows({"a": (2, 3), "b": (), "c": (4,)})
    assert rows.begins == {"a": 0, "b": 8, "c": 12} and rows.length == 16
    parts = rows.zeros(torch.empty(0), 2)
    whole = parts.whole
    given = {name: torch.randn(2, *shape) for name, shape in rows.shapes.items()}
    for name, each in parts.items():
        each.copy_(given[name])
    assert torch.equal(rows.join(given).whole, whole)
    assert rows.part(whole, ["b", "c"]).data_ptr() == whole[:, 8:].data_ptr()
    assert {name: each.shape for name, each in parts.items()} == {
        name: each.shape for name, each in given.items()
    }


@pytest.mark.parametrize(
    ("shapes", "slots", "lanes"),
    [
        ({"a": (3,)}, {}, 2),
        ({"a": (3,), "b": (2,)}, {"exp_avg": {"a": torch.zeros(3)}}, 2),
        ({"a": (3,), "b": (2**12,)}, {}, 2**12),
        ({"a": (3,), "b": (0,)}, {}, 2),
    ],
)
def test_parameters_stay_apart_where_a_row_gains_nothing(
    monkeypatch: pytest.MonkeyPatch, shapes: Any, slots: Any, lanes: int
) -> None:
    monkeypatch.setattr(standing, "KINDS", ("cpu",))
    parameters = {name: torch.zeros(shape) for name, shape in shapes.items()}
    assert standing.find_rows(parameters, slots, [*shapes], lanes) is None
    mixed = {"a": torch.zeros(2), "b": torch.zeros(2, dtype=torch.float64)}
    assert standing.find_rows(mixed, {}, ["a", "b"], 2) is None
    alike = {"a": torch.zeros(2), "b": torch.zeros(2)}
    assert standing.find_rows(alike, {"s": alike}, ["b", "a"], 2) is not None
    monkeypatch.setattr(standing, "KINDS", ("cuda",))
    assert standing.find_rows(alike, {}, ["a", "b"], 2) is None
