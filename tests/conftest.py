"""What holds for every test."""

from __future__ import annotations

import compileall
import contextlib
import ctypes
import functools
import gc
import importlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from driving import Nursery
    from forked_loops import ForkedLoops

ROOT = str(Path(__file__).parents[1])

# What tests of one room lend to another's is imported by its file's name alone, which no two share.
sys.path[:0] = sorted({str(path.parent) for path in Path(__file__).parent.rglob("*.py")})

ENVIRONMENT = (
    *("LRSEARCH_RUNS", "LRSEARCH_METRICS", "CDPATH"),
    *("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
)
"""Variables by which a command would do, or show, something else."""

# pytest rewrites the assertions of its plugins, too, a hundred files of hypothesis among them: what
# is kept is done once, and not by each process of the tests. See `pytest_collection`.
_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, False
import hypothesis  # noqa: E402

sys.dont_write_bytecode = _bytecode

# A change fails by what it changes: examples are the same in every run, and no machine is too slow
# for them. Few do, then: more would tell something once. Others are tried by
# `pytest --hypothesis-profile=search`.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True, max_examples=30)
hypothesis.settings.register_profile("search", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        default="cpu",
        metavar="NAME",
        help="what tests train on: cpu (the default), cuda or cuda:0; on a GPU only those run that "
        "take their device from devices.py",
    )
    parser.addoption(
        "--fresh",
        action="store_true",
        help="start every worker and command line in an interpreter of its own, not by a fork",
    )
    # Has the fault suite draw other tries (tests/faults).
    parser.addoption(
        "--faults-seed",
        type=int,
        default=0,
        metavar="N",
        help="which faults are drawn: 0 unless told",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "cpu(reason): is about the CPU, and is left out where tests train elsewhere"
    )
    config.addinivalue_line("markers", "cuda(reason): is about a GPU, and is skipped without one")
    config.addinivalue_line(
        "markers", "fresh(reason): starts workers and command lines in interpreters of their own"
    )
    name = config.getoption("--device")
    if name == "cpu":
        # What is told no device takes the one under test: in workers, too, `auto` finds no GPU.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # What commands call `python` is the one that runs the tests.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # Stopped by a time limit it tells what has failed until then.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # As a script's `&` has it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # The process that hands out tests runs none, and others wait for it to start them.
    if name != "cpu" or config.getoption("dist", "no") == "no" or hasattr(config, "workerinput"):
        config.add_cleanup(_prepare(name).close)


def pytest_sessionstart() -> None:
    for name in ENVIRONMENT:  # Each test sets for itself what it is about.
        os.environ.pop(name, None)


def _prepare(device: str) -> contextlib.ExitStack:
    """Make a process ready to run tests on a device, until what is returned is closed. Raises
    UsageError where there is none."""
    gc.disable()  # All that is imported stays; see `pytest_collection`.
    import devices
    import torch
    import typer.testing

    from lrsearch.errors import UsageError
    from lrsearch.train.device import find_device, repeatable_dropout

    try:
        devices.DEVICE = find_device(device)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    # The commands are as they are, and to make them of their functions takes longer than most.
    typer.testing._get_command = functools.cache(typer.testing._get_command)  # type: ignore[attr-defined]
    # As workers run: several threads gain nothing on models this small, and fight over a busy
    # machine.
    torch.set_num_threads(1)
    # What is compared is the engines' work, not what a product rounds its factors to.
    torch.backends.cudnn.allow_tf32 = False
    until = contextlib.ExitStack()
    until.enter_context(repeatable_dropout(devices.DEVICE))
    return until


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[Any]:
    """Keep the compiled code of lrsearch and of the tests also where Python is told not to
    (PYTHONDONTWRITEBYTECODE): each of hundreds of processes would compile lrsearch, which takes as
    long as to import torch, and each process of the tests their assertions."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = False
    if not hasattr(session.config, "workerinput"):
        compileall.compile_dir(Path(ROOT, "lrsearch"), quiet=2)
    gc.disable()
    _begin_imports(session.config)
    try:
        return (yield)
    finally:
        sys.dont_write_bytecode = before
        # All modules and tests stay: no later collection goes through a million objects again. Nor
        # does one look for circles after every few hundred more, as no command does (__main__.py).
        gc.freeze()
        gc.set_threshold(10_000, 20, 100)
        gc.enable()


def _begin_imports(config: pytest.Config) -> None:
    """Where several processes are to import all test modules, have each begin with others: the
    first to import one rewrites its assertions, and keeps that for the rest."""
    number, of = _share(config)
    folders = [Path(each) for each in config.args if Path(each).is_dir()] if of > 1 else []
    files = sorted({path for each in folders for path in each.rglob("test_*.py")})
    for path in files[number::of]:
        # What cannot be imported is told when it is collected.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(path.stem)


def _share(config: pytest.Config) -> tuple[int, int]:
    """Which of several processes of the tests this is, from 0, and of how many."""
    given: dict[str, Any] = getattr(config, "workerinput", {})
    return int(given.get("workerid", "gw0")[2:]), given.get("workercount", 1)


def pytest_report_header(config: pytest.Config) -> str:
    name = config.getoption("--device")
    if name == "cpu":
        return "tests train on: cpu"
    import torch

    from lrsearch.train.device import describe_device, find_device

    card = describe_device(find_device(name))
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    return f"tests train on: {name} ({card}; {versions}; cuDNN {torch.backends.cudnn.version()})"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a GPU only what has another thing to say there; the engines first, then commands. Else,
    where several processes share them, so that none is left with what takes long at the end."""
    import devices

    if devices.DEVICE.type != "cuda":
        for each in items:
            if each.get_closest_marker("cuda") is not None:
                each.add_marker(pytest.mark.skip("there is no GPU: pytest --device cuda -m cuda"))
    if devices.DEVICE.type == "cpu":
        if (processes := _share(config)[1]) > 1:
            from spreading import spread

            items[:] = spread(items, processes)
        return
    modules = {each.module for each in items if isinstance(each, pytest.Function)}
    training: set[ModuleType] = set()
    sources = {"devices"}
    while found := {each for each in modules - training if _takes_from(each, sources)}:
        training |= found
        # What trains in this process is lent to other modules, as `test_train.run` is.
        sources |= {each.__name__ for each in found if "torch" in vars(each)}
    chosen = [
        each
        for each in items
        if isinstance(each, pytest.Function)
        and each.module in training
        and each.get_closest_marker("cpu") is None
    ]
    config.hook.pytest_deselected(items=[each for each in items if each not in set(chosen)])
    items[:] = sorted(chosen, key=lambda each: "torch" not in vars(each.module))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Leave a process once a test has lost its GPU, as by an index out of range on it: all others
    would fail there, and run in the process that xdist starts in its place."""
    done = yield
    if lost := _find_loss():
        told = f"{item.nodeid} has lost the device: {lost}"
        if hasattr(item.config, "workerinput"):
            os.write(2, f"{told}\n".encode())
            os._exit(1)
        item.session.shouldfail = told
    return done


def _find_loss() -> str:
    """Why this process can use its GPU no more; "" where it can, or has none."""
    import devices
    import torch

    if devices.DEVICE.type != "cuda" or not torch.cuda.is_initialized():
        return ""
    try:
        torch.cuda.synchronize(devices.DEVICE)
    except RuntimeError as error:
        return str(error).partition("\n")[0]
    return ""


def _takes_from(module: ModuleType, others: set[str]) -> bool:
    """Whether a module has imported anything of these."""
    import devices

    return any(
        each is devices.DEVICE
        or getattr(each, "__module__", None) in others
        or (isinstance(each, ModuleType) and each.__name__ in others)
        for each in vars(module).values()
    )


@pytest.fixture(autouse=True)
def own_imports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test has imported from a temporary folder is no module of the next one's, and in no
    way of a module of its name: tests come in any order."""
    before, paths = [*sys.modules], [*sys.path]  # Sets of thousands of names take longer than most.
    yield
    if before != (after := [*sys.modules]):
        _forget({*after} - {*before}, str(tmp_path_factory.getbasetemp()))
    sys.path[:] = paths


def _forget(names: set[str], folder: str) -> None:
    """Forget those of the modules that come from this folder or another temporary one, and the
    benchmarks, whose names (`steps`) are those of modules that tests write."""
    folders = (folder, tempfile.gettempdir())
    benchmarks = str(Path(ROOT, "benchmarks"))
    # All places first: a part of a package without a file has one only as long as the package is.
    places = {name: str(_place_of(sys.modules[name])) for name in names}
    for name, place in places.items():
        # The environment itself may stand in a temporary folder.
        kept = place.startswith((sys.prefix, sys.base_prefix, ROOT))
        if place.startswith(benchmarks) or (place.startswith(folders) and not kept):
            del sys.modules[name]


def _place_of(module: ModuleType) -> object:
    """The file of a module, or the first folder of one that is folders alone."""
    return getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), None)


@pytest.fixture(scope="module")
def on_device() -> Iterator[None]:
    """For modules that make tensors by the dozen: what is told no device is on `DEVICE`."""
    import devices

    if devices.DEVICE.type == "cpu":
        yield
        return
    with devices.DEVICE:
        yield


@pytest.fixture
def no_override() -> Iterator[None]:
    """Permissions hold for root, too, as they do for any other user."""
    if os.geteuid():
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root may do everything")
    # For this thread: version 3 of capget's header, and two sets of 32 bits each, thrice.
    libc, head, sets = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522), (ctypes.c_uint32 * 6)()
    assert libc.capget(head, sets) == 0
    before, sets[0] = sets[0], sets[0] & ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(head, sets) == 0
    try:
        yield
    finally:
        sets[0] = before
        assert libc.capset(head, sets) == 0


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path | str:
    """The compiled shim, or why there is none."""
    import driving

    return driving.build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def nurseries(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shim: Path | str
) -> Iterator[Callable[[], Nursery]]:
    """Gives the nursery, which starts when it is first asked for."""
    import driving
    import forking

    variables = driving.environment()

    @functools.cache
    def find() -> Nursery:
        folder = tmp_path_factory.mktemp("nursery")
        return driving.Nursery(folder, shim if isinstance(shim, Path) else None, variables)

    if sys.platform == "linux":
        forking.source = forking.Source(lambda: find().address)
        if hasattr(request.config, "workerinput"):
            find()  # Of a part of all tests some ask; while it starts others run.
    yield find
    forking.source = None
    if find.cache_info().currsize:
        find().close()


@pytest.fixture(scope="session")
def nursery(nurseries: Callable[[], Nursery]) -> Nursery:
    """Forks command lines, for the whole of the tests."""
    return nurseries()


@pytest.fixture(scope="module", autouse=True)
def forking_module(
    request: pytest.FixtureRequest, nurseries: Callable[[], Nursery]
) -> Iterator[None]:
    """Workers and command lines that tests, and their fixtures, start are forks of the nursery,
    unless the module is about their start and marked `fresh`."""
    import devices
    import forking

    fresh = request.config.getoption("--fresh") or request.node.get_closest_marker("fresh")
    with pytest.MonkeyPatch.context() as patched:
        if not fresh and devices.DEVICE.type == "cpu":
            patched.setattr(subprocess, "Popen", forking.Forking)
        yield


@pytest.fixture(autouse=True)
def forked(request: pytest.FixtureRequest) -> None:
    """As `forking_module`, but that one test may be about a start."""
    if request.node.get_closest_marker("fresh"):
        import driving

        request.getfixturevalue("monkeypatch").setattr(subprocess, "Popen", driving.Popen)


@pytest.fixture
def forked_loops(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> type[ForkedLoops]:
    """`ForkedLoops` in place of `Popen`, unless all is to be fresh, or it cannot be forked here."""
    import devices
    from forked_loops import ForkedLoops

    monkeypatch.setattr(ForkedLoops, "fresh", 0)
    fresh = request.config.getoption("--fresh") or devices.DEVICE.type != "cpu"
    if not fresh and sys.platform == "linux":
        monkeypatch.setattr(subprocess, "Popen", ForkedLoops)
    return ForkedLoops


# What processes of the tests hand over to the one that prints, which loads no other conftest.py


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add the figures of a process to those of the others."""
    import driving

    for kind, each in getattr(node, "workeroutput", {}).get("faults", {}).items():
        driving.FIGURES.setdefault(kind, driving.Figures()).add(**each)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print what each kind of fault came to."""
    import driving

    if not driving.FIGURES:
        return
    seed = config.getoption("--faults-seed")
    terminalreporter.section(f"faults (--faults-seed {seed})")
    width = max(map(len, driving.FIGURES))
    terminalreporter.line(f"{'kind':{width}}   tries    lost   wrong")
    total = driving.Figures()
    for kind, each in driving.FIGURES.items():
        terminalreporter.line(f"{kind:{width}}  {each.tries:6}  {each.lost:6}  {each.wrong:6}")
        total.add(**asdict(each))
    terminalreporter.line(f"{'all':{width}}  {total.tries:6}  {total.lost:6}  {total.wrong:6}")
