"""Steps on a GPU that is not there: torch's fake tensors compute nothing, and know what an
operation does with the devices of its tensors.

Whatever mixes tensors of the CPU and of the GPU raises, and whatever would have the host wait for
the device is seen. Only the backward pass needs a driver: gradients are as their parameters are.
"""

from __future__ import annotations

import ctypes
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from devices import DEVICE
from test_chosen import SOUND, given, in_lanes
from test_train import CNN, MLP, config
from torch import Tensor, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.backends import cudnn
from torch.func import vmap
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils._python_dispatch import TorchDispatchMode

from lrsearch import catalogue
from lrsearch.train.batches.averaging import evaluation_weights
from lrsearch.train.batches.batch import take
from lrsearch.train.batches.resident import Resident, load_raw, place
from lrsearch.train.device import repeatable_dropout
from lrsearch.train.engines import solo
from lrsearch.train.engines.start import build, start_losses
from lrsearch.train.engines.training import Training
from lrsearch.train.lanes import graphs
from lrsearch.train.lanes.draws import Noise
from lrsearch.train.lanes.program import Program, needs_of
from lrsearch.train.lanes.rules import Rules
from lrsearch.train.lanes.state import Skeleton, initial_state
from lrsearch.train.models.criterion import make_criterion
from lrsearch.train.optimizers.registry import STACKED
from lrsearch.train.recording import Recording
from lrsearch.train.tape import record
from lrsearch.trial import Trial, Workplace

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")

GPU = torch.device("cuda:0")
HERE = Workplace(str(DEVICE), str(Path(__file__).parent), ("layers",))
STEPS, BATCH, LANES = 2, 16, 3

WAITS = {
    *("_local_scalar_dense", "is_nonzero", "nonzero", "nonzero_static", "equal", "bincount"),
    *("masked_select", "_unique2", "unique_dim", "unique_consecutive", "repeat_interleave"),
}
"""Operations for whose result, or its shape, the host waits."""


class Watch(TorchDispatchMode):
    """What has the host wait for the GPU, and copies between the two: the operation, and the last
    lines of lrsearch that called it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.copies: list[str] = []

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.removeprefix("aten::")
        here = [each for each in args if isinstance(each, Tensor)]
        if name in WAITS and any(each.device.type == "cuda" for each in here):
            self.waits.append(f"{name}: {_place()}")
        out = func(*args, **(kwargs or {}))
        kinds = {each.device.type for each in (*here, out) if isinstance(each, Tensor)}
        if name in ("_to_copy", "copy_") and len(kinds) > 1:
            self.copies.append(_place())
        return out


def _place() -> str:
    frames = [each for each in traceback.extract_stack() if "lrsearch" in Path(each.filename).parts]
    return " < ".join(f"{Path(each.filename).name} {each.name}" for each in frames[:-4:-1])


class Generator(torch.Generator):
    """One of the CPU's, which fake tensors take, that says to be of the GPU."""

    device = property(lambda self: GPU)  # type: ignore[assignment]

    def __new__(cls, device: object = None) -> Generator:
        return super().__new__(cls, "cpu")

    def get_state(self) -> Tensor:
        with unset_fake_temporarily():  # A state is read on the host.
            return super().get_state()


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a driver would give, and what torch's own operations lack for fake tensors."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: the engines' own tests run there")
    monkeypatch.setitem(graphs._spoilt, "reason", "there is no GPU")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (2**36, 2**36))
    monkeypatch.setattr(torch, "Generator", Generator)
    monkeypatch.setattr(torch.cuda, "Event", Mock)
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)
    dropout = torch._fused_dropout
    monkeypatch.setattr(torch, "_fused_dropout", lambda x, p, generator: dropout(x, p))
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)

    def grad(_: Tensor, inputs: list[Tensor], **__: Any) -> list[Tensor]:
        return [torch.zeros_like(each) for each in inputs]

    monkeypatch.setattr(torch.autograd, "grad", grad)
    if torch.backends.cuda.is_built():
        yield
        return
    try:
        # A torch without CUDA cannot change to a GPU. What changes to `meta` does nothing.
        library = Path(torch.__file__).parent / "lib" / "libc10.so"
        table = (ctypes.c_void_p * 15).in_dll(
            ctypes.CDLL(os.fspath(library)), "_ZN3c104impl26device_guard_impl_registryE"
        )
    except (OSError, ValueError):
        pytest.skip("torch's table of devices has another place")
    table[1] = table[14]
    yield
    table[1] = None


def _to_gpu(model: nn.Module) -> nn.Module:
    """The same module with fake tensors, tied ones once (`Module.to` cannot make such)."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, each in held.items():
                if each is None:
                    continue
                if id(each) not in made:
                    new = torch.empty_like(each, device=GPU, requires_grad=False)
                    made[id(each)] = nn.Parameter(new) if isinstance(each, nn.Parameter) else new
                held[name] = made[id(each)]  # type: ignore[assignment]
    return model


class Ready:
    """A structure's data, model and trials, on the GPU."""

    def __init__(self, config: dict[str, Any]) -> None:
        train = config["train"]
        self.trials = [
            Trial(lane, "", {**config, "train": {**train, "lr": train["lr"] / (lane + 1)}}, lane)
            for lane in range(LANES)
        ]
        self.train = train
        raw = load_raw(config["data"], HERE)
        self.real = place(raw, config["data"], None, torch.device("cpu"), train)
        assert isinstance(self.real, Resident)
        self.model = build(self.trials[0], self.real, HERE)

    def move(self) -> None:
        """To be called where tensors are fake."""
        fields = {
            name: torch.empty_like(each, device=GPU) if isinstance(each, Tensor) else each
            for name, each in vars(self.real).items()
        }
        self.data = Resident(**fields)
        self.model = _to_gpu(self.model)
        self.criterion = make_criterion(
            self.trials[0].config, self.data.task, self.data.outputs, HERE, GPU
        )

    def rows(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.int64, device=GPU)


def optimizer(name: str) -> dict[str, Any]:
    known = catalogue.OPTIMIZERS[name].parameters
    return {"name": name, **{key: each.default for key, each in known.items()}}


TEXT = {
    "name": "text", "source": str(Path(__file__).parents[3] / "LICENSE"),
    "context": 16, "samples": None,
}  # fmt: skip
CHARACTERS = {
    "name": "char_transformer", "layers": 1, "heads": 2, "width": 16, "dropout": 0.0,
    "tied": True, "bias": False,
}  # fmt: skip
AUGMENTED = {
    "name": "digits",
    "transforms": [
        {"name": "random_crop", "padding": 1},
        {"name": "flip", "p": 0.5},
        {"name": "noise", "std": 0.1},
        {"name": "mixup", "alpha": 0.4},
    ],
}
NORMED = MLP | {"batch_norm": True, "dropout": 0.3}
TINY = MLP | {"hidden": [4]}
NORMED_CNN = CNN | {"batch_norm": True, "dropout": 0.2}
STRUCTURES: dict[str, dict[str, Any]] = {
    "clipped, smoothed": config(NORMED, clip_norm=1.0, label_smoothing=0.1),
    "augmented": config(NORMED_CNN, AUGMENTED),
    "bfloat16": config(NORMED_CNN, precision="bfloat16"),
    "text": config(CHARACTERS, TEXT),
    "text, dropout": config(CHARACTERS | {"dropout": 0.2}, TEXT),
    "regression": config(source="diabetes", loss="huber"),
    **{name: config(TINY, optimizer=optimizer(name)) for name in catalogue.OPTIMIZERS},
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_lanes_never_wait(name: str) -> None:
    ready, noise = Ready(STRUCTURES[name]), torch.get_rng_state()
    own = STACKED[ready.train["optimizer"]["name"]]
    with FakeTensorMode(allow_non_fake_inputs=True), Watch() as watch:
        ready.move()
        state = initial_state(ready.model, own, noise)
        trains = [each.config["train"] for each in ready.trials]
        needs = frozenset[str]().union(*map(needs_of, trains))
        skeleton = Skeleton(ready.model)
        program = Program(skeleton, trains[0], needs, ready.data, LANES, ready.criterion)
        for lane, train in enumerate(trains):
            program.put(lane, state, train)
        program.due = [{1, 2}, {1}, set()]
        curves = [program.curves(each, np.full(STEPS, 0.01)) for each in trains]
        watch.copies.clear()  # The table of mixup's shares goes over with the first step.
        numbers = program.tabulate(list(zip(trains, curves, [0] * LANES, strict=True)))
        assert len(watch.copies) == 1 and watch.copies[0].startswith("device.py to_device")
        layouts = [(STEPS, LANES, BATCH), (STEPS, BATCH)][
            : 1 if name in catalogue.OPTIMIZERS else 2
        ]
        for layout in layouts:
            program.advance(ready.rows(*layout), numbers)
        assert [each.tape.host for each in program._steps.values()] == [""] * len(layouts)
        watch.copies.clear()
        program.advance(ready.rows(STEPS, LANES, BATCH), numbers)
        assert watch.copies == []
        # All that an evaluation is followed by, but for the one copy to the host.
        for due in ([0, 2], [0, 1, 2]):
            places = ready.rows(len(due))
            sums = torch.cat([program.total[places].unsqueeze(1), program.evaluate(due)], 1)
            program.total.index_fill_(0, places, 0.0)
            assert sums.device == GPU and len(sums) == len(due)
        rows = torch.cat([row for _, _, row in program.noted])
        assert rows.device == GPU and len(rows) == 4 * 3
        kept = program.keep_evaluated([0, 1], [None, None])
        program.keep_evaluated([0, 1], kept)
        program.put(0, program.take(1), trains[0])
        assert all(each.startswith("device.py to_device") for each in watch.copies)
        assert watch.waits == []
        assert {each.device for each in program.stack.held()} == {GPU}


LAYERS = (
    *("rnn", "gru", "lstm", "lstm, two ways, two layers", "batch norm 2d"),
    *("attention, dropout", "transformer encoder, dropout", "checkpoint with dropout"),
)
"""Families that cuDNN, or another kernel of a GPU's, would see to alone."""


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", LAYERS)
def test_layers_of_cudnn_train_in_lanes(
    family: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"class_path": "layers.layer", "init_args": {"family": family}}
    ready, noise = Ready(config(model, precision=precision)), torch.get_rng_state()
    monkeypatch.setattr(cudnn, "is_acceptable", lambda _: True)
    with FakeTensorMode(allow_non_fake_inputs=True), repeatable_dropout(GPU), Watch() as watch:
        ready.move()
        own = STACKED[ready.train["optimizer"]["name"]]
        state = initial_state(ready.model, own, noise)
        skeleton, needs = Skeleton(ready.model), needs_of(ready.train)
        program = Program(skeleton, ready.train, needs, ready.data, LANES, ready.criterion)
        for lane in range(LANES):
            program.put(lane, state, ready.train)
        curves = program.curves(ready.train, np.full(1, 0.01))
        numbers = program.tabulate([(ready.train, curves, 0)] * LANES)
        program.advance(ready.rows(1, LANES, BATCH), numbers)
        (recorded,) = program._steps.values()
        assert (recorded.tape.host, watch.waits) == ("", [])
        program.evaluate([0, 2])


FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "prelu": lambda x, square: F.prelu(x, square[0]),
    "addmm": lambda x, square: torch.addmm(square, x, square),
    "baddbmm": lambda x, square: square[None].baddbmm(x[None], square[None]),
    "softmax": lambda x, square: F.softmax(x, -1),
    "log_softmax": lambda x, square: x.log_softmax(-1),
    "cdist": torch.cdist,
    "cross_entropy": lambda x, square: F.cross_entropy(x, torch.zeros_like(x[0], dtype=torch.long)),
    "exp": lambda x, square: x.exp(),
    "addbmm": lambda x, square: torch.addbmm(square, x[None], square[None]),
    "vecdot": torch.linalg.vecdot,
    "dot": lambda x, square: x[0].dot(x[1]),
    "inner": lambda x, square: torch.inner(x, x),
    "inner of vectors": lambda x, square: x[0].inner(x[1]),
    "tensordot": lambda x, square: torch.tensordot(x, x.T, 1),
    "l1_loss": lambda x, square: F.l1_loss(x, x * 2),
    "mv": lambda x, square: square.mv(square[0]),
    "addmv": lambda x, square: torch.addmv(square[0], square, square[1]),
    "addr": lambda x, square: x.addr(square[0], square[1]),
    "multi_dot": lambda x, square: torch.linalg.multi_dot([x, square if x.is_cuda else x]),
    "outer": lambda x, square: torch.einsum("i,j->ij", x[0], square[0]),
    "float64": lambda x, square: F.linear(x.double(), square.double()),
    "batch norm of float64": lambda x, square: F.batch_norm(x.double(), None, None, training=True),
}


@pytest.mark.parametrize("low", [True, False])
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_autocast_gives_lanes_the_types_it_gives_alone(name: str, kind: str, low: bool) -> None:
    function, fake = FUNCTIONS[name], FakeTensorMode() if kind == "cuda" else nullcontext()
    with fake, torch.no_grad(), torch.autocast(kind, torch.bfloat16):
        x, square = (torch.ones(LANES, 5, 5, device=kind) for _ in range(2))
        x = x.bfloat16() if low else x
        with Rules(Noise(())):
            lanes = vmap(function)(x, square)
        assert lanes.dtype is function(x[0], square[0]).dtype


OWN_WAYS = ("adam", "nadam", "adagrad", "lion", "muon", "schedule_free_adamw")
"""Optimizers that keep their state in ways of their own. The packages of adafactor and prodigy read
numbers back at each step, and torch has no fake form of sgd's fused step."""


@pytest.mark.parametrize(
    "name", [each for each in STRUCTURES if each in OWN_WAYS or each not in catalogue.OPTIMIZERS]
)
def test_alone_never_waits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = STRUCTURES[name]
    if given["train"]["optimizer"]["name"] == "sgd":
        given = {**given, "train": {**given["train"], "optimizer": optimizer("adamw")}}
    ready = Ready(given)

    def backward(_: Tensor) -> None:
        for each in ready.model.parameters():
            each.grad = torch.zeros_like(each)

    monkeypatch.setattr(torch.autograd, "backward", backward)
    with FakeTensorMode(allow_non_fake_inputs=True):
        ready.move()
        batch = take(ready.data.train, ready.rows(BATCH))
        start = start_losses(ready.model, ready.data, ready.criterion)
        ready.model.train()
        training = Training(ready.model, ready.train, HERE, ready.criterion)
        total = torch.zeros((), dtype=torch.float64, device=GPU)
        recording = Recording({1, 2})
        training.step(batch, 0.1)  # Makes the optimizer, and its state.
        with Watch() as watch:
            for step in range(1, STEPS + 1):
                if step in recording.due:
                    loss, row = training.recorded_step(batch, 0.1)
                    recording.note(step, 0.1, row)
                else:
                    loss = training.step(batch, 0.1)
                total += loss
            with evaluation_weights(ready.model, training.optimizer, lambda: None):
                sums = solo.validation_sums(ready.model, ready.data, ready.criterion)
            numbers = torch.cat([start, total.reshape(1), sums, *recording.rows])
            solo.copy_state(ready.model)
        assert numbers.device == GPU and len(numbers) == 3 + len(sums) + 8
        assert (watch.waits, watch.copies) == ([], [])


def packed(h: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """A recurrent layer of three places at most."""
    x, lengths = h.unflatten(0, (4, 3))[..., :1], y[:4].clamp(1, 3)
    sequences = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    weights = (w[:3, :1].repeat(3, 1), w[:3, :3].repeat(3, 1), b[:3].repeat(3), b[:3].repeat(3))
    data, sizes, states = sequences.data, sequences.batch_sizes, h.new_zeros(1, 4, 3)
    data, end = torch.gru(data, sizes, states, weights, True, 1, 0.0, True, False)
    out, _ = torch._VF._pad_packed_sequence(data, sizes, True, 0.0, 3)
    return out.sum() + end.square().mean() + data.mean()


@pytest.mark.parametrize("name", [*SOUND, "packed"])
def test_what_a_mask_chooses_and_packed_sequences_wait_for_nothing(name: str) -> None:
    own, watch = {**SOUND, "packed": packed}[name], Watch()
    with FakeTensorMode(), torch.no_grad():
        parts = [torch.empty_like(each, device=GPU) for each in given()]
        with watch:
            tape, _ = record(lambda *now: [in_lanes(own, *now)], parts, [])
    assert (tape.host, watch.waits, watch.copies) == ("", [], [])


def test_a_wait_is_seen() -> None:
    with FakeTensorMode(), Watch() as watch:
        x = torch.empty(3, device=GPU)
        with pytest.raises(RuntimeError, match="devices"):
            x + torch.ones(3)
        for read in (Tensor.item, torch.nonzero):
            with pytest.raises(Exception, match="aten"):
                read(x[:1])
        torch.ones(3).to(GPU)
    assert [each.partition(":")[0] for each in watch.waits] == ["_local_scalar_dense", "nonzero"]
    assert len(watch.copies) == 1
