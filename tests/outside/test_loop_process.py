"""The process of a loop: what it imports, and what the generators of its loop are seeded with."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from devices import DEVICE

from lrsearch import reporting
from lrsearch.data.noise import get_states, set_states
from lrsearch.errors import LrsearchError, Stopped
from lrsearch.outside.functions import find_loop, refuse_unfinished
from lrsearch.outside.loop_process import Channel, LoopTrial
from lrsearch.train.randomness import seed_everything
from lrsearch.train.users.importing import forget_imports, source_hashes
from lrsearch.trial import Workplace

LOOP = """\
import os
import random
import sys
import threading

import lrsearch

KIND = os.environ["KIND"]
drawn = [random.random()]
if KIND == "at import":
    import numpy
    drawn.append(numpy.random.rand())
if KIND == "thread":
    def late():
        import numpy.random
    thread = threading.Thread(target=late)
    thread.start()


def train(trial):
    again = [random.random()]
    if KIND == "forked":
        reading, writing = os.pipe()
        if not os.fork():
            import numpy
            os.write(writing, repr(float(numpy.random.rand())).encode())
            os._exit(0)
        os.wait()
        again.append(float(os.read(reading, 100)))
    if KIND == "thread":
        thread.join()
    if KIND in ("at import", "within", "thread"):
        import numpy
        again.append(numpy.random.rand())
    if KIND == "torch":
        import torch
        import numpy
        again += [torch.rand(1).item(), numpy.random.rand(), random.random()]
        assert type(torch.__spec__.loader).__name__ == "SourceFileLoader"
        assert torch.initial_seed() == trial.seed
    if KIND == "plain":
        assert trial.device == trial.device
        assert {"lr": trial.params["lr"]} == {"lr": 0.5} and trial.lr_at(0, 2) == 0.5
    found = {name: name in sys.modules for name in ("torch", "scipy", "yaml")}
    values = {f"{place} {at}": number
              for place, numbers in (("before", drawn), ("within", again))
              for at, number in enumerate(numbers)}
    lrsearch.report(1, **found, **values)
"""

SEED = 7


@pytest.fixture(autouse=True)
def own_generators() -> Iterator[None]:
    states = get_states()
    yield
    set_states(states)


def train(folder: Path, kind: str, device: str = "auto") -> Any:
    """What the process of a loop writes to its channel."""
    (folder / "my_loop.py").write_text(LOOP)
    (folder / "params.json").write_text('{"lr": 0.5}')
    workplace = Workplace(device, str(folder), ("my_loop",))
    with pytest.MonkeyPatch.context() as patch, (folder / "channel").open("wb") as channel:
        patch.setenv("KIND", "")
        forget_imports()
        task = {
            "channel": channel.fileno(),
            "token": "T",
            "loop": "my_loop.train",
            "hash": source_hashes(["my_loop.train"], workplace)["my_loop.train"],
            "folder": os.path.realpath(folder),
            "allowed": ["my_loop"],
            "device": device,
            "seed": SEED,
            "number": 1,
            "run": "mine",
        }
        done = subprocess.run(
            [sys.executable, "-P", "-m", "lrsearch.outside.loop_process", json.dumps(task)],
            env=dict(os.environ, LRSEARCH_PARAMS=str(folder / "params.json"), KIND=kind),
            pass_fds=[channel.fileno()],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert "Traceback" not in done.stderr, done.stderr
    return json.loads((folder / "channel").read_text().strip("T\n"))


def draws(*sources: Any) -> list[float]:
    seed_everything(SEED)
    return [float(source()) for source in sources]


@pytest.mark.parametrize("kind", ["plain", "at import", "within", "thread", "forked", "torch"])
def test_a_library_is_seeded_whenever_the_loop_imports_it(tmp_path: Path, kind: str) -> None:
    found = train(tmp_path, kind)
    python, array = random.random, numpy.random.rand
    before = (python, array) if kind == "at import" else (python,)
    within = {
        "plain": (python,),
        "torch": (python, lambda: torch.rand(1).item(), array, python),
    }.get(kind, (python, array))
    for place, sources in (("before", before), ("within", within)):
        values = [value for name, value in found.items() if name.startswith(place)]
        assert values == draws(*sources), place
    assert found["torch"] == (kind == "torch"), "a loop has what it imports"
    assert found["yaml"] == 0


def test_a_device_that_is_none_is_told_where_it_is_asked_for(tmp_path: Path) -> None:
    kind, told = train(tmp_path, "plain", "cuda:99")
    assert kind == "raised" and "device 'cuda:99' is not available" in told


# slips of the pen

FORMS = """\
import functools


async def coroutine(trial):
    pass


async def rows(trial):
    yield trial


class Kind:
    def __call__(self, trial):
        trial.append(1)

    def run(self, trial):
        trial.append(1)


class Late:
    async def __call__(self, trial):
        pass


def two(lr, width):
    return lr


def one(lr):
    return lr


def named(config):
    config.append(1)


def t(t):
    t.append(len(t.params))


def more(x, trial):
    trial.append(1)


made = 3
kind, late = Kind(), Late()
run = kind.run
part = functools.partial(functools.partial(more, 3))
delayed = functools.partial(coroutine)
"""


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Workplace]:
    (tmp_path / "forms.py").write_text(FORMS)
    forget_imports()
    yield Workplace(str(DEVICE), str(tmp_path), ("forms",))
    forget_imports()


class Called(list[int]):
    params = (1,)


@pytest.mark.parametrize("name", ["kind", "run", "part", "named", "t"])
def test_what_can_be_called_with_the_trial_is_a_loop(mine: Workplace, name: str) -> None:
    called = Called()
    loop = find_loop(f"forms.{name}", mine, {"lr": 0.1, "config": "small", "t": 0.1})
    refuse_unfinished(loop(called), name)
    assert called == [1]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("delayed", "is a coroutine"),
        ("late", "returned a coroutine, which nobody runs"),
        ("rows", "returned an asynchronous generator, which nobody runs"),
        ("two", 'two(lr=trial.params["lr"], width=trial.params["width"])'),
        ("one", "takes lr, and a loop is given the trial"),
        ("more", "cannot be called with the trial alone"),
        ("made", "neither a class nor a function, but a value of type int"),
    ],
)
def test_what_would_train_nothing_is_told(mine: Workplace, name: str, told: str) -> None:
    with pytest.raises(LrsearchError) as raised:
        loop = find_loop(f"forms.{name}", mine, {"lr": 0.1, "width": 3})
        returned = loop([])
        if name == "late":
            returned.close()  # Or Python warns that it was never awaited.
        refuse_unfinished(returned, name)
    assert told in str(raised.value)
    assert "returned" in told or re.search(r"\(forms\.py, line \d+\)", str(raised.value))


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[LoopTrial]:
    before = signal.getsignal(signal.SIGTERM)
    task = {"seed": 3, "number": 1, "run": "mine", "device": "cpu"}
    with (tmp_path / "channel").open("wb") as channel:
        yield LoopTrial(task, {"lr": 0.5}, Channel(channel.fileno(), "T"))
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("slip", "told"),
    [
        (lambda trial: trial.lr, "write trial.params['lr']"),
        (lambda trial: trial["lr"], "write trial.params['lr']"),
        (lambda trial: trial.parms, "did you mean 'params'?"),
        (lambda trial: trial.suggest_float("lr", 0, 1), "the spec says what is searched"),
        (lambda trial: trial.should_prune(), "trial.report raises lrsearch.Stopped"),
        (lambda trial: trial.log({"loss": 1.0}), "trial.report(step, **metrics)"),
        (lambda trial: trial.report(1, {"loss": 1.0}), "report(step, **metrics)"),
        (lambda trial: trial.report({"loss": 1.0}), "report(step, **metrics)"),
        (lambda trial: trial.report(0.5, 1), "report(step, loss=0.5)"),
        (lambda trial: trial.report(0.5), "report(step, loss=0.5)"),
    ],
)
def test_a_slip_is_answered_by_what_to_write(trial: LoopTrial, slip: Any, told: str) -> None:
    with pytest.raises((AttributeError, TypeError, ValueError), match=re.escape(told)):
        slip(trial)
    assert not hasattr(trial, "another") and trial.device == "cpu"


def test_a_step_may_be_left_out(trial: LoopTrial, tmp_path: Path) -> None:
    trial.report(loss=0.5)
    trial.report(epoch=3, loss=0.25)
    assert (tmp_path / "channel").read_text().split() == [
        *('T{"loss":', "0.5}", 'T{"epoch":', "3.0,", '"loss":', "0.25}")
    ]


def test_the_report_of_scripts_is_the_trial_s_own(
    trial: LoopTrial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "inside", trial.report)
    reporting.report(7, loss=0.5)
    trial.stopped = True
    with pytest.raises(Stopped):
        reporting.report(loss=0.25)
    assert "0.25" in (tmp_path / "channel").read_text()
