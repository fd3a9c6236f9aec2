"""What a CUDA run rests on and a CPU can hold: which GPUs workers are given, and what they see."""

from __future__ import annotations

import ast
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import jobs
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.backends import cuda, cudnn
from torch.func import vmap
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import CliRunner

from lrsearch import train
from lrsearch.cli import app
from lrsearch.cli.executors import VISIBLE, _count_cores, find_gpus, make_executor, suit
from lrsearch.cli.foreign import check_device
from lrsearch.errors import DeviceLost
from lrsearch.executors.local import Local
from lrsearch.executors.port import Executor, Terminal
from lrsearch.train.batches import resident
from lrsearch.train.device import (
    ATTEND,
    SHORT_ATTENTION,
    check_alive,
    draws_by_itself,
    has_room,
    is_out_of_memory,
    numbers_on,
    repeatable_dropout,
    to_device,
)
from lrsearch.train.engines import comparison, sizes
from lrsearch.train.engines.probe import singly
from lrsearch.train.lanes import draws, graphs, rules
from lrsearch.train.lanes.draws import Noise
from lrsearch.train.lanes.graphs import Graph
from lrsearch.train.lanes.recurrent import LAYERS, recur
from lrsearch.train.lanes.rules import Rules
from lrsearch.train.lanes.state import LaneState
from lrsearch.train.tape import NotRecordable, record
from lrsearch.train.users.isolation import current, isolated
from lrsearch.train.users.settings import CUDNN, set_precisions
from lrsearch.trial import Facts, Workplace

HERE = str(Path(jobs.__file__).parent)


def make_nodes(folder: Path, *names: str) -> Path:
    for name in ("null", "nvidiactl", "nvidia-uvm", "nvidia-caps", *names):
        (folder / name).touch()
    return folder


# Which GPUs there are


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), []),
        (("nvidia0",), ["0"]),
        (("nvidia5",), ["0"]),  # A container that was given one of eight.
        (("nvidia1", "nvidia0", "nvidia10"), ["0", "1", "2"]),
        (("dxg",), ["0"]),
        (("dxg", "nvidia3", "nvidia7"), ["0", "1"]),
    ],
)
def test_nodes_are_counted_not_named(
    names: tuple[str, ...], found: list[str], tmp_path: Path
) -> None:
    assert find_gpus(make_nodes(tmp_path, *names), {}) == found


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        ("", []),
        ("-1", []),
        ("3", []),  # There is none of that number, and CUDA shows none.
        ("1", ["1"]),
        (" 1 , 0", ["1", "0"]),
        ("0,-1,1", ["0"]),
        ("0,,1", ["0"]),
        ("1,9,0", ["1"]),
        ("0,0", ["0"]),
        ("GPU-8f2c,MIG-77", ["GPU-8f2c", "MIG-77"]),
    ],
)
def test_the_variable_is_read_as_cuda_reads_it(
    visible: str, found: list[str], tmp_path: Path
) -> None:
    nodes = make_nodes(tmp_path, "nvidia0", "nvidia1")
    assert find_gpus(nodes, {VISIBLE: visible}) == found


@given(st.sets(st.integers(0, 63), max_size=16))
def test_gpus_by_nodes_are_the_first_numbers(minors: set[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        nodes = make_nodes(Path(folder), *(f"nvidia{minor}" for minor in minors))
        assert find_gpus(nodes, {}) == [str(index) for index in range(len(minors))]


def test_without_nodes_the_variable_alone_counts(tmp_path: Path) -> None:
    assert find_gpus(make_nodes(tmp_path), {VISIBLE: "0,6"}) == ["0", "6"]


# What workers see


def seen_by_workers(place: Executor) -> list[str | None]:
    """The variable in each worker of an executor."""
    handles = [place.submit("jobs:variables", [VISIBLE]) for _ in range(place.capacity)]
    found: dict[int, str | None] = {}
    left = set(handles)
    while left:
        for handle, event in place.events():
            if isinstance(event, Terminal):
                left.discard(handle)
            else:
                assert isinstance(event, list)
                found[handle] = event[0]
    return [found[handle] for handle in handles]


@pytest.fixture(autouse=True)
def workers_find_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", HERE)
    monkeypatch.setenv(VISIBLE, "0,1,2")


@pytest.mark.parametrize(
    ("device", "workers", "gpus", "seen"),
    [
        ("cuda", None, ["0", "1"], ["0", "1"]),
        ("auto", None, ["GPU-a", "GPU-b"], ["GPU-a", "GPU-b"]),
        ("auto", 3, ["0", "1"], ["0", "1", "0"]),
        ("cuda", None, [], ["0,1,2"]),  # Whatever torch finds.
        ("cuda:1", None, ["0", "1"], ["0,1,2"]),  # By its number among all of them.
        ("cpu", 2, ["0", "1"], ["", ""]),
    ],
)
def test_what_workers_see(
    device: str, workers: int | None, gpus: list[str], seen: list[str]
) -> None:
    with make_executor("local", workers, device, gpus) as place:
        assert seen_by_workers(place) == seen


def facts(device: str, *devices: str) -> Facts:
    return Facts("", "", {}, (), (), 0, (), 0, device, devices, "", {}, 0)


@pytest.mark.parametrize(
    ("found", "gpus", "device", "seen"),
    [
        # A torch without CUDA on a machine with GPUs: a core each, and none of them finds a GPU.
        (facts("cpu", "cpu"), ["0", "1"], "cpu", [""] * _count_cores()),
        # GPUs that no node told of: one worker each, not one a core.
        (facts("cuda", "cpu", "cuda:0", "cuda:1"), [], "auto", ["0", "1"]),
        (facts("mps", "cpu", "mps"), [], "auto", ["0,1,2"]),
    ],
)
def test_workers_follow_the_device_that_was_found(
    found: Facts, gpus: list[str], device: str, seen: list[str]
) -> None:
    with ExitStack() as closing:
        first = closing.enter_context(make_executor("local", None, "auto", gpus))
        place, name = suit(first, closing, found, gpus)
        assert name == device
        assert seen_by_workers(place) == seen
        with pytest.raises(RuntimeError, match="closed"):
            first.submit("jobs:process", None)


@pytest.mark.parametrize(("found", "gpus"), [("cpu", []), ("cuda", ["0"])])
def test_workers_that_suit_stay(found: str, gpus: list[str]) -> None:
    with Local(1) as place:
        assert suit(place, ExitStack(), facts(found), gpus) == (place, "auto")


# The names of devices


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gpu", "write --device cuda"),
        ("gpu:1", "write --device cuda:1"),
        ("CUDA", "write --device cuda"),
        ("cdua", "cuda"),
        ("cuda:x", "cuda"),
        ("tpu", "auto"),
    ],
)
@pytest.mark.parametrize("command", ["bayes", "check"])
def test_a_device_by_a_wrong_name_is_told_before_anything_starts(
    command: str, name: str, hint: str
) -> None:
    # The spec does not exist: the device is looked at first.
    done = CliRunner().invoke(app, [command, "nowhere.yaml", "--device", name])
    assert done.exit_code == 2
    assert f"unknown device '{name}'" in done.stderr
    assert hint in done.stderr


@pytest.mark.parametrize("name", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:12"])
def test_right_names_pass(name: str) -> None:
    check_device(name)


# What a job has to itself


def test_a_job_computes_in_float32_and_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("allow_tf32", True), ("deterministic", False), ("benchmark", False)):
        monkeypatch.setattr(cudnn, name, value)  # As torch begins.
    seen: list[tuple[bool, bool, bool]] = []

    def flags() -> tuple[bool, bool, bool]:
        return cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark

    def job() -> Iterator[None]:
        seen.append(flags())
        cudnn.benchmark = True  # As a user's code may.
        yield None
        seen.append(flags())

    torch.nn.LSTM(1, 1).flatten_parameters()
    before = flags()
    assert before == (True, False, False)
    running = isolated(job(), torch.device("cpu"), Workplace())  # type: ignore[arg-type]
    for _ in running:
        assert flags() == before
        assert precisions() == ["tf32", "tf32"]
    assert flags() == before
    assert seen == [(False, True, False), (False, True, True)]


def precisions() -> list[str]:
    return [torch._C._get_fp32_precision_getter("cuda", each) for each in ("conv", "rnn")]


@pytest.mark.parametrize(
    "chosen", [("ieee", "tf32"), ("tf32", "ieee"), ("none", "none"), ("tf32", "tf32")]
)
def test_precisions_said_one_by_one_come_back(chosen: tuple[str, str]) -> None:
    inside: list[list[str]] = []

    def job() -> Iterator[None]:
        inside.append(precisions())
        with cudnn.flags(enabled=False):  # Reads the older flag, too.
            yield None

    before = precisions()
    try:
        set_precisions(dict(zip(CUDNN, chosen, strict=True)))
        for _ in isolated(job(), torch.device("cpu"), Workplace()):  # type: ignore[arg-type]
            assert precisions() == list(chosen)
        assert precisions() == list(chosen)
    finally:
        set_precisions(dict(zip(CUDNN, before, strict=True)))
    assert inside == [["ieee", "ieee"]]


def test_the_device_of_a_job_is_the_current_one() -> None:
    for index in (0, 1, 7):
        made = current(torch.device(f"cuda:{index}"))
        assert isinstance(made, torch.cuda.device)
        assert made.idx == index
    with current(torch.device("cpu")), current(torch.device("mps")):
        pass


# Errors of a device


def raised(
    error: BaseException, cause: BaseException | None = None, *, hidden: bool = False
) -> BaseException:
    """An error as it is caught, raised while another was handled, or from it."""
    try:
        if cause is None:
            raise error
        try:
            raise cause
        except BaseException as first:
            if hidden:
                raise error from None
            if isinstance(error, LookupError):
                raise error from first
            raise error  # noqa: B904 (what is handled is its context)
    except BaseException as caught:
        return caught


OUT = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB"
SHORT = [
    MemoryError(),
    torch.OutOfMemoryError(OUT),
    RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate`"),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB, other allocations: 1.0 GB)"),
    RuntimeError("[enforce fail] posix_memalign. DefaultCPUAllocator: can't allocate memory: you"),
]
OTHER = [
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    ValueError("CUDA out of memory"),  # A user's own words.
    KeyError("memory"),
]


@pytest.mark.parametrize("error", SHORT, ids=str)
def test_memory_that_is_short_is_seen_in_every_form(error: BaseException) -> None:
    assert is_out_of_memory(raised(error))
    # What ends a failed capture, or wraps what a model raised, stands before it.
    assert is_out_of_memory(raised(RuntimeError("operation failed due to a previous error"), error))
    assert is_out_of_memory(raised(KeyError("wrapped"), error))
    assert not is_out_of_memory(raised(RuntimeError("another"), error, hidden=True))


@pytest.mark.parametrize("error", OTHER, ids=str)
def test_other_errors_are_no_lack_of_memory(error: BaseException) -> None:
    assert not is_out_of_memory(raised(error))
    assert not is_out_of_memory(raised(RuntimeError("another"), error))


def test_errors_in_a_circle_come_to_an_end() -> None:
    first, second = RuntimeError("one"), RuntimeError("other")
    first.__context__, second.__context__ = second, first
    assert not is_out_of_memory(first)


@pytest.mark.parametrize(("kept", "room", "emptied"), [(0, False, 1), (3, True, 1), (9, True, 0)])
def test_there_is_room_in_what_a_gpu_has_free_once_torch_gives_back_what_it_can(
    monkeypatch: pytest.MonkeyPatch, kept: int, room: bool, emptied: int
) -> None:
    """The memory of a graph is kept, and given to no other tensor: it is no room."""
    free, calls = [7 if kept == 9 else 2], []

    def empty() -> None:
        calls.append(1)
        free[0] += kept

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free[0], 99))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda *_: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda *_: 0)
    monkeypatch.setattr(torch.cuda, "empty_cache", empty)
    assert has_room(torch.device("cuda"), 5) is room and len(calls) == emptied
    assert has_room(torch.device("cpu"), 2**60)


def test_a_device_that_raises_on_waiting_is_lost() -> None:
    asserted = torch.AcceleratorError(
        "CUDA error: device-side assert triggered\nCUDA kernel errors"
    )

    def fails(device: torch.device) -> None:
        raise asserted

    with pytest.raises(DeviceLost, match=r"cuda:1: .* device-side assert triggered\n") as caught:
        check_alive(torch.device("cuda:1"), fails)
    assert caught.value.__cause__ is asserted
    check_alive(torch.device("cuda:1"), lambda device: None)
    check_alive(torch.device("cpu"), fails)


def test_what_a_job_tells_of_a_lost_device_comes_before_the_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The trial that lost it ends by its own error. From then on the device raises whatever it is
    asked for, the state of its generator too."""
    lost = False

    def answer(*_: object) -> Tensor:
        if lost:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")
        return torch.zeros(16, dtype=torch.uint8)

    def job() -> Iterator[str]:
        nonlocal lost
        yield "begun"
        lost = True
        yield "ended"
        check_alive(torch.device("cuda:0"), answer)

    for name in ("get_rng_state", "set_rng_state", "_lazy_init"):
        monkeypatch.setattr(torch.cuda, name, answer)
    running = isolated(job(), torch.device("cuda:0"), Workplace())  # type: ignore[arg-type]
    assert [next(running), next(running)] == ["begun", "ended"]
    with pytest.raises(DeviceLost, match="device-side assert triggered"):
        next(running)


def test_what_a_job_raises_of_a_device_that_lives_is_passed_on() -> None:
    def job() -> Iterator[None]:
        yield None
        raise RuntimeError("of the model")

    running = isolated(job(), torch.device("cpu"), Workplace())  # type: ignore[arg-type]
    next(running)
    with pytest.raises(RuntimeError, match="of the model"):
        next(running)


# Random numbers, by what torch would do with tensors of a GPU: fake ones, which have no memory


class Operations(TorchDispatchMode):
    """The names of ATen's operations that are called within."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.names.append(func._schema.name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


DROPOUTS: dict[str, tuple[Callable[[Tensor], Tensor], dict[str, bool]]] = {
    "dropout": (lambda x: F.dropout(x, 0.3), {}),
    "in place": (lambda x: F.dropout(x, 0.3, inplace=True), {"in_place": True}),
    "channels": (lambda x: F.dropout2d(x, 0.3), {"channels": True}),
}
KERNELS = {"native_dropout", "_fused_dropout", "bernoulli_"}
SAME = {"native_dropout": "_fused_dropout", "bernoulli_": "bernoulli_"}
"""What torch calls alone, and what takes a generator and draws the same numbers."""


@pytest.mark.parametrize("name", DROPOUTS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_dropout_in_lanes_draws_by_the_kernel_it_has_alone(name: str, device: str) -> None:
    alone, given = DROPOUTS[name]
    with FakeTensorMode(), torch.no_grad():
        x = torch.empty(2, 3, 4, 4, device=device)
        with Operations() as called:
            alone(x)
        (kernel,) = KERNELS.intersection(called.names)
        lane = draws._mask(x, given.get("channels", False))
        fill, divisor = draws._dropping(lane, 0.3, fused=not given)
        # A torch for the CPU copies no tensors of a GPU, not even fake ones.
        with Operations() as called, suppress(RuntimeError):
            fill(lane, None)  # type: ignore[arg-type] (fake kernels take none)
    assert KERNELS.intersection(called.names) == {SAME[kernel]}
    # The kernel of its own gives what is kept divided already.
    assert divisor == (1.0 if kernel == "native_dropout" else 0.7)
    assert (kernel == "native_dropout") == (device == "cuda" and not given)


class Given(TorchFunctionMode):
    """What one of torch's functions is called with, and whether attention may then be fused."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.arguments: list[tuple[Any, ...]] = []
        self.fused: list[bool] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is self.function:
            self.arguments.append(args)
            flags = cuda.flash_sdp_enabled, cuda.mem_efficient_sdp_enabled, cuda.cudnn_sdp_enabled
            self.fused.append(any(each() for each in flags))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("channels", "by_cudnn"), [(1, False), (2, True)])
def test_lanes_of_one_channel_are_no_images_for_cudnn(channels: int, by_cudnn: bool) -> None:
    with FakeTensorMode(), Given(torch.batch_norm) as norming:
        x, weight = (
            torch.empty(*size, device="cuda") for size in ((4, channels, 8, 8), (channels,))
        )
        with Rules(Noise(())):
            F.batch_norm(x, None, None, weight, weight, training=True)
    assert [each[-1] for each in norming.arguments] == [by_cudnn]


@pytest.mark.parametrize("type_", [torch.float32, torch.bfloat16], ids=str)
def test_dropout_in_short_attention_is_drawn_as_all_dropout_is(type_: torch.dtype) -> None:
    """Alone by torch's formula, in lanes by the same kernel in the same type."""
    seen: list[Tensor] = []
    noise = Noise([torch.Generator()])
    attend = Rules(noise).rules[ATTEND]
    with FakeTensorMode(), torch.no_grad(), repeatable_dropout(torch.device("cuda")):
        x = torch.empty(2, 2, SHORT_ATTENTION, 16, device="cuda", dtype=type_)
        longer = torch.empty(2, 2, SHORT_ATTENTION + 1, 16, device="cuda", dtype=type_)
        with Given(ATTEND) as attending, Operations() as called:
            F.scaled_dot_product_attention(x, x, x, dropout_p=0.1, is_causal=True)
        assert "native_dropout" in called.names
        with attending:
            F.scaled_dot_product_attention(x, x, x)
            F.scaled_dot_product_attention(x, longer, longer, None, 0.1)
            F.scaled_dot_product_attention(x.cpu(), x.cpu(), x.cpu(), None, 0.1)
        assert attending.fused == [False, True, True, True]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rules, "drop", lambda _, weights, p: seen.append(weights) or weights)
            assert attend(x, x, x, dropout_p=0.1).dtype is type_
        assert [each.dtype for each in seen] == [torch.float32]
        with pytest.raises(NotRecordable, match="dropout in attention over more than 256 places"):
            attend(x, longer, longer, dropout_p=0.1)
    assert F.scaled_dot_product_attention is ATTEND


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_attention_between_sequences_of_several_lengths_is_left_to_torch() -> None:
    nested = torch.nested.nested_tensor([torch.zeros(2, 3, 4), torch.zeros(2, 5, 4)])
    with repeatable_dropout(torch.device("cuda")):
        out = F.scaled_dot_product_attention(nested, nested, nested, dropout_p=0.1)
    assert out.is_nested and not draws_by_itself(nested, nested, 0.1)


def test_dropout_that_cudnn_draws_trains_alone() -> None:
    noise = Noise([torch.Generator()])
    with FakeTensorMode(), torch.no_grad():
        x = torch.empty(2, 2, 8, 16, device="cuda")
        given = (True, 2, 0.1, True, False, False)
        with pytest.raises(NotRecordable, match="dropout between recurrent layers"):
            recur(noise, torch.lstm, LAYERS[torch.lstm], x, (x, x), [x] * 8, *given)


# Graphs: what cannot be captured is known while it is recorded. An accelerator without memory,
# "meta", stands for CUDA.


def moved(x: Tensor) -> Tensor:
    return x + torch.arange(3).to(x.device)


def moved_number(x: Tensor) -> Tensor:
    return x + torch.tensor(2.0).to(x.device)


def brought(x: Tensor) -> Tensor:
    torch.empty(3).copy_(torch.ones(3))
    return x * 2


def put(x: Tensor) -> Tensor:
    y = x * 1
    y[torch.zeros(1, dtype=torch.int64, device=x.device)] = torch.tensor(1.0)
    return y


def checked(x: Tensor) -> Tensor:
    torch._linalg_check_errors(x[0].to(torch.int32), "solve", is_matrix=True)
    return x * 2


def aligned(x: Tensor) -> Tensor:
    torch._ctc_loss(x.expand(4, 1, 3), torch.full((1, 2), 2, device=x.device), [4], [2])
    return x * 2


KEPT = torch.arange(3.0)
"""What a module keeps on the CPU, in an attribute that is no buffer."""

HOST: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "nothing": (lambda x: (x * 2 + 1.0).relu(), ""),
    "a number": (lambda x: x * torch.tensor(2.0), ""),
    "numbers that meet": (lambda x: x * (torch.tensor(2.0) + torch.tensor(1.0)), ""),
    "made there": (lambda x: x + torch.arange(3, device=x.device), ""),
    "moved": (moved, ""),
    "a number moved": (moved_number, ""),
    "kept": (lambda x: x + KEPT[:3].to(x.device), ""),
    "kept, and changed there": (lambda x: x + (KEPT.view(1, 3) * 2).sum(0).to(x.device), ""),
    "beside": (brought, "empty"),
    "put": (put, ""),
    "picked": (lambda x: x[[2, 0]], ""),
    "chosen": (lambda x: torch.where(x > 0, x, torch.tensor(0.0)), ""),
    "chosen there": (lambda x: torch.where(x > 0, x, 0.0), ""),
    "checked": (checked, "_linalg_check_errors"),
    "aligned": (aligned, "_ctc_loss"),
    "turned": (lambda x: torch.matrix_exp(x.expand(3, 3)), "linalg_matrix_exp"),
    "divided": (lambda x: torch.linalg.svdvals(x.expand(3, 3)), "_linalg_svd"),
    "parted": (lambda x: torch.linalg.eig(x.expand(3, 3))[0].real, "linalg_eig"),
    "spread": (lambda x: torch.linalg.eigvalsh(x.expand(3, 3)), "_linalg_eigh"),
    "turned back": (lambda x: torch.cholesky_inverse(x.expand(3, 3)), "cholesky_inverse"),
    "nearly inverted": (lambda x: torch.linalg.pinv(x.expand(3, 3)), "linalg_pinv"),
    "filled": (lambda x: x.masked_fill(x > 0, x.sum()), "masked_fill"),
    "filled at places": (lambda x: x.index_fill(0, x.argmax(0, True), x.sum()), "index_fill"),
}
READ = (
    *("checked", "aligned", "turned", "divided", "parted", "spread"),
    *("turned back", "nearly inverted"),
)
"""Those of operations that read their tensors on the host, wherever these are."""


@pytest.mark.parametrize("name", HOST)
def test_a_step_that_needs_the_host_is_known(name: str) -> None:
    function, named = HOST[name]
    tape, _ = record(lambda x: [function(x)], [torch.empty(3, device="meta")], [])
    assert bool(tape.host) == bool(named)
    if named:
        assert tape.host.startswith("it uses the CPU within a step (aten.")
        assert f"aten.{named}" in tape.host


@pytest.mark.parametrize(
    ("place", "named"), [("cpu", "masked_fill.Scalar"), ("cuda", "where.self")]
)
def test_a_mask_is_filled_without_a_wait(place: str, named: str) -> None:
    def fill(x: Tensor) -> Tensor:
        return x.masked_fill(x > 0, torch.tensor(1.0, device=place))

    with FakeTensorMode(), torch.no_grad():
        x = torch.empty(3, device="cuda")
        tape, _ = record(lambda x: [fill(x)], [x], [])
        assert ("aten.masked_fill.Tensor" in tape.host) is (place == "cuda")
        with Rules(Noise(())):
            tape, _ = record(lambda x: [vmap(fill)(x)], [x], [])
    called = [str(each) for each in tape.run.__globals__.values()]
    assert tape.host == "" and f"aten.{named}" in called
    assert "aten.masked_fill.Tensor" not in called


@pytest.mark.parametrize("name", sorted(HOST.keys() - {*READ}))
def test_on_a_cpu_nothing_is_said_of_the_host(name: str) -> None:
    tape, _ = record(lambda x: [HOST[name][0](x)], [torch.empty(3)], [])
    assert tape.host == ""


def test_what_others_may_change_on_the_host_is_not_brought_once() -> None:
    given, kept = torch.empty(3, device="meta"), torch.ones(3)
    tape, _ = record(lambda x: [x + kept.to(x.device)], [given], [kept])
    assert "aten._to_copy" in tape.host


def test_a_step_that_needs_the_host_is_run_operation_by_operation() -> None:
    total = torch.zeros(3)

    def step(x: Tensor) -> list[Tensor]:
        total.add_(x)
        return []

    tape, _ = record(step, [torch.ones(3)], [total])
    graph = Graph(replace(tape, host="it uses the CPU within a step (aten.arange)"))
    for number in (2.0, 3.0):
        graph.replay(torch.full((3,), number))
    assert total.tolist() == [6.0] * 3
    assert graph.captured is None
    assert graph.reason == "it uses the CPU within a step (aten.arange)"
    told = singly(graph.reason)
    assert told.endswith("launched by itself: it uses the CPU within a step (aten.arange)")
    assert singly("") == ""


# What a step and an evaluation wait for

TRAIN = Path(train.__file__).parent
FILES = [path.relative_to(TRAIN).as_posix() for path in sorted(TRAIN.rglob("*.py"))]
FILES.remove("device.py")  # The one way.


@pytest.mark.parametrize("name", FILES)
def test_numbers_go_to_the_device_in_one_way_only(name: str) -> None:
    """`torch.tensor(..., device=...)` is a copy from memory that is not pinned, which waits."""
    tree = ast.parse((TRAIN / name).read_text())
    found = [
        f"line {call.lineno}"
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) in ("torch.tensor", "torch.as_tensor", "torch.asarray")
        and any(keyword.arg == "device" for keyword in call.keywords)
    ]
    pinned = ".pin_memory(" in ast.unparse(tree)
    assert (found, pinned) == ([], False)


@given(st.lists(st.integers(-(2**40), 2**40), max_size=9))
def test_indices_on_the_device(numbers: list[int]) -> None:
    found = numbers_on(torch.device("cpu"), numbers)
    assert found.dtype is torch.int64 and found.tolist() == numbers
    assert to_device(found, torch.device("cpu")) is found


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_what_is_compared_in_float64_is_where_there_is_float64(device: str) -> None:
    with FakeTensorMode():
        found = sizes.where_wide(torch.empty(2, device=device))
    assert found.device.type == ("cuda" if device == "cuda" else "cpu")


@pytest.mark.parametrize(
    ("slot", "refused"),
    [
        ([[1e-3, 0.0], [2e-9, 0.0]], False),  # A bias before batch norm: rounding alone.
        ([[1.0001e-3, 0.0], [1e-9, 0.0]], False),
        ([[1.01e-3, 0.0], [1e-9, 0.0]], True),
        ([[1e-3, 0.0], [1e-6, 0.0]], True),
    ],
)
def test_where_sums_have_no_order_slots_of_rounding_may_differ(
    slot: list[list[float]], refused: bool
) -> None:
    def state(values: list[list[float]]) -> LaneState:
        tensors = {f"p{k}": torch.tensor(row) for k, row in enumerate(values)}
        return LaneState({"p": torch.ones(2)}, {}, {"exp_avg": tensors}, 1, torch.empty(0))

    trial = comparison._Comparison.__new__(comparison._Comparison)
    trial.exact, trial.tolerance = False, 2e-4
    expected = state([[1e-3, 0.0], [1e-9, 0.0]])
    raises = pytest.raises(comparison._Rounds, match="after a step") if refused else nullcontext()
    with raises:
        trial._compare_states("a step", expected, state(slot))
    trial.exact = True
    with pytest.raises(comparison._Differs, match="a step differs in p"):
        trial._compare_states("a step", expected, state(slot))


def test_data_that_a_gpu_has_no_room_for_end_the_search_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer lanes and smaller batches would not help."""
    move = Tensor.to

    def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.dim() > 1 and len(self) > 1000:
            raise torch.OutOfMemoryError("no room")
        return move(self, *args, **kwargs)

    monkeypatch.setattr(Tensor, "to", to)
    monkeypatch.setattr(resident, "_kept", OrderedDict())
    spec = tmp_path / "demo.yaml"
    spec.write_text(
        "data: digits\nmodel: logistic\ntrain: {budget: 1ep, lr: 0.1, batch_size: 32}\n"
        "search: {lr: [0.1, 0.2]}\n"
    )
    command = ["grid", str(spec), "--runs", str(tmp_path), "--executor", "inline"]
    found = CliRunner().invoke(app, [*command, "--device", "cpu"])
    assert found.exit_code == 2, found.output
    told = " ".join(found.stderr.split())
    assert "the memory of cpu has no room for the samples, which take 0.00" in told
    assert "have them loaded batch by batch" in told and "Traceback" not in told


def test_the_host_is_never_far_ahead_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for the step that was launched so many before."""
    told: list[str] = []

    class Event:
        made = 0

        def __init__(self) -> None:
            Event.made += 1
            self.step = 0

        def record(self) -> None:
            self.step = sum(each.startswith("step") for each in told) + 1
            told.append(f"step {self.step}")

        def synchronize(self) -> None:
            told.append(f"wait for {self.step}")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(graphs, "AHEAD", 2)
    leads = [graphs.Lead(torch.device(kind)) for kind in ("cpu", "cuda")]
    for _ in range(4):
        for lead in leads:
            lead.keep()
    assert told == ["step 1", "step 2", "wait for 1", "step 3", "wait for 2", "step 4"]
    assert Event.made == 2
