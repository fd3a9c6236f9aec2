"""Workers of which nothing is heard, and trials that take longer than they may: real ones."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from devices import DEVICE
from hypothesis import given
from hypothesis import strategies as st
from test_executors import gone
from typer.testing import CliRunner, Result

from lrsearch.cli import app
from lrsearch.executors.local import Local
from lrsearch.executors.port import Died, Finished, Heard
from lrsearch.pulse import TRAINING, TRYING
from lrsearch.store import History, read
from lrsearch.trial import Cohort, Objective, Outcome, Plan, Workplace
from lrsearch.trial import Ended as Over
from lrsearch.trial import Result as Ended
from lrsearch.tuner import silence
from lrsearch.tuner.dispatch import Assignment
from lrsearch.tuner.events import describe_job, is_by_signal
from lrsearch.tuner.silence import Subject, is_over, name_trials, tell_silence

NETS = """
import os
import signal
import threading
import time

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_features, num_classes, fault="none"):
        super().__init__()
        self.linear = nn.Linear(in_features, num_classes)
        self.fault, self.calls = fault, 0

    def forward(self, x):
        self.calls += self.training
        if self.calls == 20:
            if self.fault == "deadlock":
                lock = threading.Lock()
                lock.acquire()
                lock.acquire()
            if self.fault == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            if self.fault == "pause" and not os.path.exists("paused"):
                open("paused", "w").write(f"{os.getpid()}\\n")
                os.kill(os.getpid(), signal.SIGSTOP)
        if self.training and self.fault == "slow":
            time.sleep(0.05)
        return self.linear(x.flatten(1))
"""

SPEC = """
name: silent
data: {name: digits}
model: {class_path: nets.Net}
train: {budget: 200ba, batch_size: 32, evaluate: 10ba, lr: 0.1}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model that hangs, the current one."""
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(silence, "SLACK", 3.0)
    return tmp_path


def search(here: Path, changes: dict[str, object], *arguments: str) -> tuple[History, Result]:
    (here / "silent.yaml").write_text(yaml.safe_dump({**yaml.safe_load(SPEC), **changes}))
    command = ["grid", "silent.yaml", "--allow-import", "nets", "--workers", "2", *arguments]
    said = CliRunner().invoke(app, command, catch_exceptions=False)
    return read(here / "runs" / "silent"), said


def by_parameter(history: History, name: str) -> dict[object, Ended]:
    """Results by the value of a parameter of the model."""
    return {
        trial.config["model"]["init_args"].get(name): history.results[number]
        for number, trial in history.trials.items()
    }


def test_what_hangs_fails_and_the_rest_is_trained(here: Path) -> None:
    faults = ["none", "deadlock", "stop", "slow"]
    changes: dict[str, object] = {
        "search": {"model.init_args.fault": faults},
        "timeout": "6s",
    }
    history, said = search(here, changes, "--engine", "solo")
    assert said.exit_code == 0, said.output
    found = by_parameter(history, "fault")
    assert found["none"].outcome is Outcome.COMPLETED
    for fault in ("deadlock", "stop"):
        result = found[fault]
        reason = "it was not done after its timeout of 6 seconds: nothing heard for "
        assert result.outcome is Outcome.FAILED and result.reason.startswith(reason)
        assert ("was stopped" in result.reason) is (fault == "stop")
        assert "last step 1" in result.reason and " of 200" in result.reason
        assert result.seconds >= 6 and 0 < result.steps < 20
        assert result.reason in said.stderr
    slow = found["slow"]
    told = f"it was not done after its timeout of 6 seconds: {slow.steps} of 200 steps"
    assert (slow.outcome, slow.reason) == (Outcome.FAILED, told)
    # A step takes 0.05 seconds at least: it was told to end, long before its last one.
    assert slow.seconds >= 6 and slow.last and 0 < slow.steps <= slow.seconds / 0.05


def test_lanes_that_take_too_long_fail_with_what_they_have_come_to(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "SLACK", 60.0)  # They end by themselves, however busy all is.
    changes: dict[str, object] = {
        "model": {"name": "mlp", "hidden": [64]},
        "train": {"budget": "1000000ba", "batch_size": 256, "evaluate": "5ba"},
        "search": {"lr": [0.1, 0.2, 0.3, 0.4]},
        "timeout": "1s",
    }
    history, said = search(here, changes, "--engine", "fused", "--lanes", "2", "--workers", "1")
    assert said.exit_code == 1, said.output
    results = list(history.results.values())
    assert len(results) == 4
    for result in results:
        assert result.engine == "fused" and result.outcome is Outcome.FAILED
        told = f"it was not done after its timeout of 1 second: {result.steps} of 1000000 steps"
        assert result.reason == told and result.last["accuracy"] > 0.1
        assert result.seconds >= 1 and 0 < result.steps < 1_000_000


def test_a_probe_that_hangs_costs_the_lanes_and_no_trial(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "QUIET", 4.0)
    # Mapped over lanes it waits for ever, alone it trains.
    (here / "nets.py").write_text(
        "import threading\nimport torch\nfrom torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, in_features, num_classes):\n"
        "        super().__init__()\n"
        "        self.linear = nn.Linear(in_features, num_classes)\n\n"
        "    def forward(self, x):\n"
        "        if torch._C._functorch.is_batchedtensor(x):\n"
        "            threading.Event().wait()\n"
        "        return self.linear(x.flatten(1))\n"
    )
    changes: dict[str, object] = {
        # As few steps as lanes are tried for: alone they are to be done in time on a busy machine.
        "train": {"budget": "500ba", "batch_size": 32, "evaluate": "500ba"},
        "search": {"lr": [0.01, 0.02, 0.03, 0.04]},
        "timeout": "6s",
    }
    history, said = search(here, changes)
    assert said.exit_code == 0, said.output
    results = history.results.values()
    assert {result.outcome for result in results} == {Outcome.COMPLETED} and len(results) == 4
    reason = "the worker that tried to fuse it was lost: it was not done after its timeout of"
    assert all(each.engine == "solo" and each.why.startswith(reason) for each in results), {
        each.why for each in results
    }


def when(condition: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Act, in a thread, once a condition is met."""

    def wait() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if condition():
                return act()
            time.sleep(0.05)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def workers(monkeypatch: pytest.MonkeyPatch) -> list[Local]:
    """The executors that are made from now on."""
    made: list[Local] = []
    init = Local.__init__

    def remember(self: Local, *given: object, **named: object) -> None:
        init(self, *given, **named)  # type: ignore[arg-type]
        made.append(self)

    monkeypatch.setattr(Local, "__init__", remember)
    return made


STOPS_IN_LANES = """
import os
import signal

import torch
from torch import nn

from lrsearch import pulse


class Net(nn.Module):
    def __init__(self, in_features, num_classes):
        super().__init__()
        self.linear = nn.Linear(in_features, num_classes)

    def forward(self, x):
        if pulse.activity() == pulse.TRAINING and not os.path.exists("stopped"):
            open("stopped", "w").write(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGSTOP)
        return self.linear(x.flatten(1))
"""


def test_lanes_of_a_stopped_worker_are_trained_by_another(here: Path) -> None:
    (here / "nets.py").write_text(STOPS_IN_LANES)
    changes: dict[str, object] = {
        "search": {"lr": [0.01, 0.02, 0.03, 0.04]},
        "timeout": "8s",
    }
    history, said = search(here, changes, "--engine", "fused", "--lanes", "4", "--workers", "1")
    assert said.exit_code == 0, said.output
    assert gone(int((here / "stopped").read_text()))
    assert {result.outcome for result in history.results.values()} == {Outcome.COMPLETED}
    assert {result.engine for result in history.results.values()} == {"fused"}
    assert len(history.results) == 4


def test_without_a_timeout_the_user_is_told_and_may_have_it_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "QUIET", 2.0)
    paused = here / "paused"
    said_of: list[bool] = []
    tell = silence.tell_silence

    def listen(heard: Heard, subject: Subject) -> str:
        said_of.append(heard.stopped)
        return tell(heard, subject)

    monkeypatch.setattr(silence, "tell_silence", listen)

    woken: list[float] = []

    def go_on() -> None:
        woken.append(time.time())
        os.kill(int(paused.read_text()), signal.SIGCONT)

    thread = when(lambda: sum(said_of) == 2, go_on)
    changes: dict[str, object] = {"search": {"model.init_args.fault": ["none", "pause"]}}
    begun = time.time()
    history, said = search(here, changes, "--engine", "solo")
    ended = time.time()
    thread.join()
    assert said.exit_code == 0, said.output
    told = [line for line in said.stderr.splitlines() if line.startswith("nothing has been heard")]
    pid = int(paused.read_text())
    number = next(
        number
        for number, trial in history.trials.items()
        if trial.config["model"]["init_args"].get("fault") == "pause"
    )
    mine = [
        line for line in told if f": its process {pid} is stopped, and kill -CONT {pid}" in line
    ]
    assert len(mine) == 2, told  # After two seconds and four; the third comes after eight.
    assert all(f"from trial {number} for a minute, its last step 1" in line for line in mine)
    assert {result.outcome for result in history.results.values()} == {Outcome.COMPLETED}
    # What it was stopped for is none of its training.
    pause = woken[0] - paused.stat().st_mtime
    assert pause >= 3 and history.results[number].seconds <= ended - begun - pause


LOADING = """
import time
from sklearn.datasets import load_iris


def load():
    time.sleep(5)
    return load_iris(return_X_y=True)
"""


def test_loading_may_take_its_time_whatever_the_timeout(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "QUIET", 2.0)
    (here / "nets.py").write_text(LOADING)
    changes: dict[str, object] = {
        "data": {"class_path": "nets.load", "validation": 0.2},
        "model": "logistic",
        "train": {"budget": "10ba"},
        "search": {"lr": [0.01, 0.1]},
        "timeout": "2s",
    }
    history, said = search(here, changes, "--engine", "solo")
    assert said.exit_code == 0, said.output
    told = [line for line in said.stderr.splitlines() if line.startswith("nothing has been heard")]
    assert any("it may still be loading the data; Ctrl-C" in line for line in told)
    assert {result.outcome for result in history.results.values()} == {Outcome.COMPLETED}


def test_a_command_whose_worker_is_stopped_fails_and_ends(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = workers(monkeypatch)
    script = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(1000)"
    (here / "hang.py").write_text(script)
    (here / "well.py").write_text("print('{\"loss\": 1}')")

    def stop() -> None:
        time.sleep(0.5)
        (busy,) = (each for each in made[0].heard() if each.activity == TRAINING)
        os.kill(busy.process, signal.SIGSTOP)

    pid = here / "pid"
    thread = when(lambda: pid.exists() and bool(pid.read_text()), stop)
    spec = {
        "name": "silent",
        "command": f"{sys.executable} {{script}}",
        "objective": {"metric": "loss", "goal": "min"},
        "search": {"script": ["hang.py", "well.py"]},
        "timeout": "5s",
        "verify": False,
    }
    (here / "silent.yaml").write_text(yaml.safe_dump(spec))
    command = ["grid", "silent.yaml", "--allow-command", "--workers", "1"]
    said = CliRunner().invoke(app, command, catch_exceptions=False)
    thread.join()
    assert said.exit_code == 0, said.output
    first, second = (result for _, result in sorted(read(here / "runs/silent").results.items()))
    assert second.outcome is Outcome.COMPLETED
    assert first.reason.startswith("it was not done after its timeout of 5 seconds: nothing heard")
    assert gone(int(pid.read_text()))


def test_a_command_that_says_nothing_is_told_of_and_its_kin_are_not(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As quiet as one was that went on others may be, and a timeout says enough."""
    monkeypatch.setattr(silence, "MUTE", 0.5)
    monkeypatch.setattr(silence, "TICK", 0.1)
    for name, seconds in (("late", 3), ("soon", 1.5)):
        script = f"import time; time.sleep({seconds}); print('{{\"loss\": 1}}')"
        (here / f"{name}.py").write_text(script)
    spec = {
        "name": "quiet",
        "command": f"{sys.executable} {{script}}",
        "objective": {"metric": "loss", "goal": "min"},
        "search": {"script": ["late.py", "soon.py"]},
        "verify": False,
    }
    (here / "quiet.yaml").write_text(yaml.safe_dump(spec))
    command = ["grid", "quiet.yaml", "--allow-command", "--workers", "1"]
    said = CliRunner().invoke(app, command, catch_exceptions=False)
    assert said.exit_code == 0, said.output
    told = [line for line in said.stderr.splitlines() if "has said nothing for" in line]
    assert told and all(each.startswith("trial 1 has said nothing for") for each in told), told
    assert "it may hang, or print at its end alone; Ctrl-C" in told[0]
    timed = [*command, "--fresh", "--set", "timeout=1m", "--set", "search.script=[soon.py]"]
    assert "said nothing" not in CliRunner().invoke(app, timed, catch_exceptions=False).stderr


# The rules


HEARD = st.builds(
    Heard,
    handle=st.just(1),
    silence=st.floats(0, 1e4),
    activity=st.sampled_from(["", "loading the data", TRAINING, TRYING]),
    spent=st.floats(0, 1e4),
    step=st.integers(0, 100),
    process=st.just(4711),
    stopped=st.booleans(),
    quiet=st.just(0.0),
)


@given(HEARD, st.none() | st.floats(1, 1e4), st.booleans())
def test_who_is_ended(heard: Heard, timeout: float | None, alone: bool) -> None:
    over = is_over(heard, Subject("trial 1", "", timeout, alone))
    if timeout is None or heard.silence < silence.SLACK:
        assert not over  # Nobody who can still be heard.
    elif heard.activity == TRYING:
        least = silence.SLACK if heard.stopped else silence.QUIET
        assert over == (heard.silence >= max(timeout, least))
    elif heard.activity != TRAINING:
        assert over == (heard.stopped and heard.silence >= timeout)
    elif alone:
        assert over == (heard.spent >= timeout)
    else:
        assert over == (heard.silence >= timeout)


@given(HEARD, st.none() | st.floats(1, 1e4))
def test_the_user_is_told_what_to_do(heard: Heard, timeout: float | None) -> None:
    text = tell_silence(heard, Subject("trial 3", "step 5 of 90", timeout))
    assert text.startswith("nothing has been heard from trial 3 for ")
    assert "Ctrl-C" in text or "kill -CONT 4711" in text or "timeout is over" in text
    assert ("kill -CONT" in text) is heard.stopped


@given(HEARD, st.none() | st.floats(1, 1e4))
def test_a_job_between_its_last_trial_s_end_and_its_own_is_named(
    heard: Heard, timeout: float | None
) -> None:
    cohort = Cohort((), Plan(), Workplace(DEVICE, "", ()), Objective("loss", "min"))
    subject = describe_job(Assignment(cohort), heard, timeout)
    assert not is_over(heard, subject)  # There is no trial that could fail by it.
    assert tell_silence(heard, subject).startswith("nothing has been heard from a worker whose ")


@pytest.mark.parametrize(
    ("event", "waits"),
    [
        (Died("killed by SIGKILL"), True),
        (Died("killed by SIGTERM"), True),
        (Died("killed by SIGUSR1"), True),
        (Over(1, Ended(Outcome.FAILED, 0, 0.0, 0.0, reason="killed by SIGUSR2"), {}), True),
        (Died("killed by SIGSEGV"), False),
        (Died("exit code 3"), False),
        (Finished(), False),
    ],
)
def test_a_signal_to_the_search_is_waited_for_where_its_workers_are_killed(
    event: object, waits: bool
) -> None:
    assert is_by_signal(event) is waits


@pytest.mark.parametrize(
    ("numbers", "name"),
    [
        ([3], "trial 3"),
        ([3, 5], "trials 3 and 5"),
        ([1, 2, 3, 4], "trials 1, 2, 3 and 4"),
        (list(range(7, 71)), "64 trials (7 to 70)"),
    ],
)
def test_trials_are_named(numbers: list[int], name: str) -> None:
    assert name_trials(numbers) == name
