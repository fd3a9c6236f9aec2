"""What every executor does, asked of each, and what only processes can do."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from devices import DEVICE
from driving import places

from lrsearch.errors import DataError, DeviceLost
from lrsearch.executors.inline import Inline
from lrsearch.executors.local import Local
from lrsearch.executors.port import Died, Executor, Finished, Raised, Terminal
from lrsearch.trial import Verdict

pytestmark = pytest.mark.fresh("is about workers and their starts")

HERE = str(Path(__file__).parent)
ENVIRONMENT = {"PYTHONPATH": places(HERE)}


def make_local(workers: int = 2) -> Local:
    return Local(workers, environment=ENVIRONMENT)


@pytest.fixture(params=["inline", "local", "one worker"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    made: Executor = (
        Inline() if request.param == "inline" else make_local(2 if request.param == "local" else 1)
    )
    with made:
        yield made


def test_a_worker_that_lost_its_device_leaves_and_is_replaced() -> None:
    with make_local(1) as place:
        handles = [place.submit(f"jobs:{name}", None) for name in ("lose_device", "process")]
        found: dict[int, list[object]] = {handle: [] for handle in handles}
        while not all(part and isinstance(part[-1], Terminal) for part in found.values()):
            for handle, event in place.events():
                found[handle].append(event)
    told, died = found[handles[0]]
    assert told == "told"
    assert isinstance(died, Died) and died.running
    assert died.reason == "an error on the device, which it can use no more"
    assert "DeviceLost: an error on the device" in died.output
    assert len(found[handles[1]]) == 2, "the job beside it is run by another worker"


def test_in_one_process_a_lost_device_is_an_error_for_the_user() -> None:
    with Inline() as place:
        place.submit("jobs:lose_device", None)
        events = [place.events()[0][1] for _ in range(2)]
    assert events[0] == "told"
    assert isinstance(events[1], Raised) and isinstance(events[1].error, DeviceLost)


@pytest.fixture
def local() -> Iterator[Local]:
    with make_local() as made:
        yield made


def collect(executor: Executor, jobs: int, each: Callable[[int, object], None] = lambda *_: None):
    """All events until `jobs` jobs are over, by handle."""
    found: dict[int, list[object]] = {}
    end = time.monotonic() + 120  # Of a hang alone.
    while jobs:
        assert time.monotonic() < end, f"no end; so far {found}"
        for handle, event in executor.events(5.0):
            found.setdefault(handle, []).append(event)
            jobs -= isinstance(event, Terminal)
            each(handle, event)
    return found


def run(executor: Executor, function: str, payload: object = None, **options: bool) -> list[object]:
    handle = executor.submit(f"jobs:{function}", payload, **options)
    return collect(executor, 1)[handle]


def wait_for(executor: Executor, event: object) -> None:
    while event not in [found for _, found in executor.events(5.0)]:
        pass


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_events_come_in_order_and_end_once(executor: Executor) -> None:
    assert run(executor, "count", 500) == [*range(500), Finished()]
    assert executor.events(0.05) == []


def test_payloads_and_events_survive_whatever_their_size(executor: Executor) -> None:
    payload = {"weights": bytes(range(256)) * 8192, "nan": [1.5, None]}
    assert run(executor, "echo", payload) == [payload, Finished()]


def test_a_job_waits_for_replies(executor: Executor) -> None:
    handle = executor.submit("jobs:rungs", [1, 2, 3])
    wait_for(executor, ("reached", 3))
    assert executor.events(0.05) == []
    executor.reply(handle, 2, Verdict.GO_ON)
    assert executor.events(5.0) == [(handle, ("went on", 2))]
    assert executor.events(0.05) == []
    executor.reply(handle, 1, Verdict.STOP)
    executor.reply(handle, 3, Verdict.GO_ON)
    assert collect(executor, 1) == {handle: [("went on", 3), Finished()]}


def test_replies_to_a_running_job_come_with_its_next_yield() -> None:
    with Inline() as inline:
        handle = inline.submit("jobs:replied", 3)
        assert inline.events() == [(handle, [])]
        inline.reply(handle, 7, Verdict.STOP)
        inline.reply(handle, 8, Verdict.GO_ON)
        assert inline.events() == [(handle, [(7, Verdict.STOP), (8, Verdict.GO_ON)])]
        assert inline.events() == [(handle, [])]
        assert inline.events() == [(handle, Finished())]


def test_nothing_to_come_returns_at_once(executor: Executor) -> None:
    assert executor.events(None) == []
    handle = executor.submit("jobs:rungs", [1])
    assert executor.events(None) == [(handle, ("reached", 1))]
    assert executor.events(None) == []  # it waits, so without a timeout this would hang
    executor.reply(handle, 1, Verdict.STOP)
    assert executor.events(None) == [(handle, Finished())]


def test_more_waiting_jobs_than_capacity_do_not_block(executor: Executor) -> None:
    """The verdicts depend on all five jobs, as a generation's on all its structures."""
    handles = [executor.submit("jobs:rungs", [number]) for number in range(5)]
    reached: list[int] = []

    def answer(handle: int, event: object) -> None:
        if event == ("reached", handles.index(handle)):
            reached.append(handle)
            if len(reached) == 5:
                for number, other in enumerate(handles):
                    executor.reply(other, number, Verdict.GO_ON)

    found = collect(executor, 5, answer)
    for number, handle in enumerate(handles):
        assert found[handle] == [("reached", number), ("went on", number), Finished()]


def test_two_jobs_interleave_where_one_waits(executor: Executor) -> None:
    first = executor.submit("jobs:rungs", [1])
    wait_for(executor, ("reached", 1))
    second = executor.submit("jobs:count", 3)
    assert collect(executor, 1) == {second: [0, 1, 2, Finished()]}
    executor.reply(first, 1, Verdict.GO_ON)
    assert collect(executor, 1) == {first: [("went on", 1), Finished()]}


def test_jobs_go_on_in_the_order_of_their_replies() -> None:
    with Inline() as inline:
        first, second = (inline.submit("jobs:rungs", [1]) for _ in range(2))
        wait_for(inline, ("reached", 1))
        wait_for(inline, ("reached", 1))
        inline.events()
        third = inline.submit("jobs:count", 1)
        for handle in (second, first):
            inline.reply(handle, 1, Verdict.GO_ON)
        order = [inline.events()[0][0] for _ in range(6)]
        assert order == [second, second, first, first, third, third]


def test_late_replies_are_dropped(executor: Executor) -> None:
    first = executor.submit("jobs:count", 1)
    collect(executor, 1)
    second = executor.submit("jobs:rungs", [1])
    wait_for(executor, ("reached", 1))
    executor.reply(first, 1, Verdict.GO_ON)
    assert executor.events(0.1) == []
    executor.reply(second, 1, Verdict.STOP)
    assert collect(executor, 1) == {second: [Finished()]}


def test_an_exception_ends_its_job_only(executor: Executor) -> None:
    before, event = run(executor, "bad_value", "seven")
    assert before == "before"
    assert isinstance(event, Raised)
    assert event.error is None
    assert event.message == "ValueError: seven"
    assert "in bad_value" in event.traceback
    assert run(executor, "count", 1) == [0, Finished()]


def test_our_errors_arrive_as_themselves(executor: Executor) -> None:
    event = run(executor, "bad_data", "not a number")[-1]
    assert isinstance(event, Raised)
    assert type(event.error) is DataError
    assert (event.error.message, event.error.where, event.error.hint) == (
        "not a number",
        "rows.csv:3",
        "drop the row",
    )


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("jobs:leave", "SystemExit: x"),
        ("jobs:no_generator", "TypeError: 'list' object is not an iterator"),
        ("jobs:missing", "AttributeError: module 'jobs' has no attribute 'missing'"),
        ("no_such_module:f", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_a_job_that_cannot_run_raises(executor: Executor, function: str, message: str) -> None:
    handle = executor.submit(function, "x")
    event = collect(executor, 1)[handle][-1]
    assert isinstance(event, Raised)
    assert event.message == message


def test_prints_reach_neither_channel_nor_stdout(
    executor: Executor, capfd: pytest.CaptureFixture[str]
) -> None:
    if isinstance(executor, Local):
        assert run(executor, "shout", "hello \udcff") == ["", Finished()]
        assert capfd.readouterr() == ("", "")
    else:
        assert run(executor, "flood", 3)[0] == "still here"
        assert capfd.readouterr().out == ""


def test_close_ends_waiting_and_running_jobs(executor: Executor) -> None:
    executor.submit("jobs:rungs", [1])
    wait_for(executor, ("reached", 1))
    executor.submit("jobs:sleep", 0.0 if isinstance(executor, Inline) else 60)
    executor.events(5.0)
    start = time.monotonic()
    executor.close()
    executor.close()
    assert time.monotonic() - start < 30  # The job sleeps for 60.


# Processes ------------------------------------------------------------------------------------


def test_a_worker_is_used_again_and_a_clean_job_gets_a_new_one(local: Local) -> None:
    first, second = run(local, "process")[0], run(local, "process")[0]
    assert first == second != os.getpid()
    assert run(local, "process", clean=True)[0] not in (first, os.getpid())
    with make_local(1) as one:
        pid = run(one, "process")[0]
        assert run(one, "process", clean=True)[0] != pid
        assert gone(int(str(pid)))  # its place was needed


def test_workers_start_when_needed() -> None:
    with make_local(3) as local:
        assert len(local._workers) == 0
        run(local, "count", 1)
        assert len(local._workers) == 1
        handles = [local.submit("jobs:sleep", 0.2) for _ in range(4)]
        found = collect(local, 4)
        assert len({found[handle][0] for handle in handles}) == 3
        assert len(local._workers) == 3


def test_a_clean_job_runs_though_every_worker_waits() -> None:
    with make_local(1) as local:
        first = local.submit("jobs:rungs", [1])
        wait_for(local, ("reached", 1))
        assert run(local, "count", 1, clean=True) == [0, Finished()]
        local.reply(first, 1, Verdict.GO_ON)
        assert collect(local, 1) == {first: [("went on", 1), Finished()]}
        local.events(0.05)
        assert len(local._workers) == 1


def test_workers_get_one_thread_and_the_environment(local: Local) -> None:
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONPATH"]
    assert run(local, "variables", names)[0] == ["1", "1", "1", places(HERE)]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("kill", "killed by SIGKILL"),
        ("exit", "exit code 3"),
        ("segfault", "killed by SIGSEGV"),
        ("fork", "exit code 4"),
    ],
)
def test_a_dead_worker_is_named_and_replaced(local: Local, how: str, reason: str) -> None:
    start = time.monotonic()
    alive, event = run(local, "die", how)
    assert alive == "alive"
    assert isinstance(event, Died)
    assert event.reason == reason
    assert event.running
    assert "last words" in event.output
    assert ("Segmentation fault" in event.output) is (how == "segfault")
    assert run(local, "count", 2) == [0, 1, Finished()]
    assert time.monotonic() - start < 15  # the forked child of "fork" lives for 20


def test_an_idle_worker_that_died_is_replaced(local: Local) -> None:
    pid = int(str(run(local, "process")[0]))
    os.kill(pid, signal.SIGKILL)
    local._workers[0].process.wait()
    assert run(local, "count", 1) == [0, Finished()]


def test_a_death_says_which_job_was_running() -> None:
    with make_local(1) as local:
        waits = local.submit("jobs:rungs", [1])
        wait_for(local, ("reached", 1))
        dies = local.submit("jobs:die_later", None)
        while local.events(None):
            pass
        local.reply(dies, 2, Verdict.GO_ON)
        found = collect(local, 2)
        assert found[dies] == [Died("exit code 5", "", running=True)]
        assert found[waits] == [Died("exit code 5", "", running=False)]


def test_a_worker_that_cannot_start_is_its_jobs_end() -> None:
    with Local(1, environment={"PYTHONHOME": "/nowhere"}) as local:
        (event,) = run(local, "count", 1)
        assert isinstance(event, Died)
        assert event.running
        assert event.reason.startswith(("exit code", "killed by SIGABRT"))
        assert event.output


def test_an_event_that_cannot_be_pickled_is_the_jobs_failure(local: Local) -> None:
    before, event = run(local, "unpicklable")
    assert before == "before"
    assert isinstance(event, Raised)
    assert "pickle" in event.message
    pid = run(local, "process")[0]
    assert run(local, "process")[0] == pid


def test_what_pickles_and_does_not_unpickle_is_a_failure_too(local: Local) -> None:
    (event,) = run(local, "opaque")
    assert isinstance(event, Raised)
    assert "no number" in event.message
    (event,) = run(local, "unkind", "really")
    assert isinstance(event, Raised)
    assert (event.error, event.message) == (None, "Unkind: really")
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        local.submit("jobs:echo", lambda: None)
    assert run(local, "count", 1) == [0, Finished()]


def test_output_never_blocks_and_its_end_is_kept(local: Local) -> None:
    assert run(local, "flood", 20_000) == ["still here", Finished()]
    event = run(local, "die", "exit")[-1]
    assert isinstance(event, Died)
    lines = event.output.splitlines()
    assert len(lines) == 20
    assert lines[-1] == "last words"
    assert lines[-2].startswith("line 19999 ")


def test_workers_ignore_interrupts(local: Local) -> None:
    assert run(local, "interrupt") == ["still here", Finished()]
    handles = [local.submit("jobs:sleep", 0.1) for _ in range(2)]
    os.kill(local._workers[1].process.pid, signal.SIGINT)  # while it starts
    found = collect(local, 2)
    assert all(found[handle][1:] == ["slept", Finished()] for handle in handles)


def test_workers_hold_nothing_of_the_driver(local: Local, tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w"):
        handles = [local.submit("jobs:descriptors", None) for _ in range(2)]
        found = collect(local, 2)
    opened = [set(found[handle][0]) for handle in handles]  # type: ignore[call-overload]
    assert not any("lock" in name for names in opened for name in names)
    pipes = [{name for name in names if name.startswith("pipe:")} for names in opened]
    assert [len(names) for names in pipes] == [3, 3]
    assert not pipes[0] & pipes[1]


DRIVER = """
import sys, time
from lrsearch.executors.local import Local
local = Local(3, environment={"PYTHONPATH": sys.argv[1]})
local.submit("jobs:sleep", 60)
local.submit("jobs:spin", 60)
found = []
while len(found) < 2:
    found += [event for _, event in local.events(5.0)]
local.submit("jobs:sleep", 60)
print(*found, local._workers[2].process.pid, flush=True)
time.sleep(60)
"""


def test_workers_never_outlive_a_killed_driver() -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, places(HERE)], stdout=subprocess.PIPE, text=True
    )
    pids: list[int] = []
    try:
        assert driver.stdout is not None
        pids = [int(pid) for pid in driver.stdout.readline().split()]
        assert len(pids) == 3
        assert not any(gone(pid) for pid in pids)
        driver.kill()
        end = time.monotonic() + 3
        while time.monotonic() < end and not all(gone(pid) for pid in pids):
            time.sleep(0.02)
        assert all(gone(pid) for pid in pids)
    finally:
        driver.kill()
        driver.communicate()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_an_event_costs_tens_of_microseconds(local: Local) -> None:
    run(local, "count", 1)
    start = time.process_time()
    run(local, "count", 5000)
    assert (time.process_time() - start) / 5000 < 200e-6


def test_waiting_costs_no_time(local: Local) -> None:
    local.submit("jobs:sleep", 0.5)
    local.events(5.0)
    start = time.process_time()
    assert local.events(None)[0][1] == "slept"
    assert time.process_time() - start < 0.1


def test_an_executor_needs_a_worker_and_a_closed_one_takes_no_job() -> None:
    with pytest.raises(ValueError, match="at least one worker"):
        Local(0)
    local = make_local()
    local.close()
    with pytest.raises(RuntimeError, match="closed"):
        local.submit("jobs:count", 1)


# What is heard of workers


def begin(local: Local, function: str, payload: object = None) -> tuple[int, int]:
    """A job that has begun, by its handle, and its process."""
    handle = local.submit(f"jobs:{function}", payload)
    ((_, first),) = local.events(20.0)
    return handle, first if isinstance(first, int) else 0


def listen(local: Local, seconds: float) -> list[object]:
    """The events of so many seconds."""
    found: list[object] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found += [event for _, event in local.events(0.1)]
    return found


def test_a_worker_tells_that_it_is_alive_and_where_it_is(local: Local) -> None:
    handle, pid = begin(local, "train", 60)
    assert listen(local, 3.0) == []  # It is no event.
    (heard,) = local.heard()
    assert (heard.handle, heard.process, heard.activity) == (handle, pid, "training")
    assert heard.silence < 2.0 and not heard.stopped
    assert 2.0 < heard.spent < 4.0 and 10 <= heard.step <= 40


def test_a_stopped_worker_is_silent_and_goes_on(local: Local) -> None:
    _, pid = begin(local, "train", 20)
    os.kill(pid, signal.SIGSTOP)
    listen(local, 3.0)
    (heard,) = local.heard()
    assert heard.stopped and 2.0 < heard.silence < 4.0
    os.kill(pid, signal.SIGCONT)
    assert listen(local, 4.0) == ["trained", Finished()]
    assert local.heard() == []


def test_a_silent_worker_is_ended_and_replaced(local: Local) -> None:
    handle, pid = begin(local, "sleep", 60)
    os.kill(pid, signal.SIGSTOP)
    start = time.monotonic()
    local.end(handle, "nothing was heard")
    assert local.events(5.0) == [(handle, Died("nothing was heard", "", running=True))]
    assert time.monotonic() - start < 30 and gone(pid)  # It sleeps for 60.
    local.end(handle, "it is over already")
    assert run(local, "count", 1) == [0, Finished()]


def test_a_wait_is_no_silence(local: Local) -> None:
    waits = local.submit("jobs:rungs", [1])
    wait_for(local, ("reached", 1))
    listen(local, 1.5)
    assert local.heard() == []
    handle, _ = begin(local, "sleep", 1.0)  # Beside the other, in a worker of its own or not.
    (heard,) = local.heard()
    assert heard.handle == handle and heard.silence < 1.0
    assert collect(local, 1)[handle] == ["slept", Finished()]
    local.reply(waits, 1, Verdict.GO_ON)
    assert collect(local, 1)[waits] == [("went on", 1), Finished()]


def test_time_in_which_the_driver_does_not_run_is_no_silence(local: Local) -> None:
    """As when the machine sleeps, or a whole group of processes is stopped."""
    _, pid = begin(local, "sleep", 60)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(6.0)
    assert local.events(0.0) == []
    (heard,) = local.heard()
    assert heard.silence <= 2.5


def test_a_stopped_worker_blocks_no_driver_however_much_it_is_sent() -> None:
    with make_local(1) as local:
        pid = run(local, "process")[0]
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGSTOP)
        payload = bytes(1 << 24)
        handle = local.submit("jobs:echo", payload)
        assert local.events(0.5) == []
        os.kill(pid, signal.SIGCONT)
        assert collect(local, 1)[handle] == [payload, Finished()]


FORKING = """
import multiprocessing
import time

import numpy as np
from torch import nn

CONTEXT = multiprocessing.get_context("fork")


def end_a_child(where):
    child = CONTEXT.Process(target=time.sleep, args=(600,))
    begun = time.monotonic()
    child.start()
    time.sleep(0.05)
    child.terminate()
    child.join(20)
    with open("told", "a") as told:
        print(where, child.exitcode, time.monotonic() - begun < 4.0, file=told)
    child.kill()


def load():
    with CONTEXT.Pool(2) as pool:
        pool.map(abs, range(3))
    end_a_child("data")
    return np.eye(40, 8, dtype="float32"), np.arange(40) % 2


class Net(nn.Linear):
    def __init__(self):
        super().__init__(8, 2)
        self.calls = 0
        end_a_child("building")

    def forward(self, x):
        self.calls += 1
        if self.calls == 20:
            end_a_child("training")
        return super().forward(x)
"""


@pytest.mark.parametrize("place", ["local", "inline"])
def test_what_user_code_forks_ends_by_sigterm(place: str, tmp_path: Path) -> None:
    (tmp_path / "forking.py").write_text(FORKING)
    (tmp_path / "forking.yaml").write_text(
        "data: {class_path: forking.load}\nmodel: {class_path: forking.Net}\n"
        "train: {budget: 60ba, batch_size: 8}\nsearch: {lr: [0.1]}\n"
    )
    command = [sys.executable, "-P", "-m", "lrsearch", "grid", "forking.yaml"]
    command += ["--device", str(DEVICE)]
    more = ["--allow-import", "forking", "--executor", place, "--engine", "solo"]
    done = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = [line.split() for line in (tmp_path / "told").read_text().splitlines()]
    assert {where for where, *_ in told} == {"data", "building", "training"}
    assert {(code, soon) for _, code, soon in told} == {("-15", "True")}, told


def test_a_signal_while_a_process_forks_ends_the_child(local: Local) -> None:
    """Thrice as many as it takes where the child handles it as its parent."""
    assert run(local, "fork_many", 200) == [{-signal.SIGTERM}, Finished()]


def test_only_the_job_itself_speaks_for_it(local: Local) -> None:
    assert run(local, "fork_beating") == ["done", Finished()]
    assert run(local, "count", 100) == [*range(100), Finished()]


@pytest.mark.parametrize("seconds", [0.0, 600.0], ids=["whole frames follow", "nothing follows"])
def test_bytes_in_the_pipe_that_are_no_frame_end_the_worker(local: Local, seconds: float) -> None:
    before, event = run(local, "scribble", seconds)
    assert before == "begun" and isinstance(event, Died)
    assert event.reason == "its code wrote to a descriptor that is not its own"
    assert run(local, "count", 1) == [0, Finished()]


@pytest.mark.parametrize("function", ["close_all", "leave_child"])
def test_a_worker_whose_pipes_are_not_its_own_any_more_is_replaced(
    local: Local, function: str
) -> None:
    start = time.monotonic()
    before, event = run(local, function)
    assert before == "begun" and isinstance(event, Died)
    assert time.monotonic() - start < 15
    assert run(local, "count", 1) == [0, Finished()]


def test_a_job_may_close_what_it_prints_to(local: Local) -> None:
    assert run(local, "close_stdout") == ["done", Finished()]
    assert run(local, "count", 1) == [0, Finished()]


def test_a_worker_ignores_the_end_of_the_terminal(local: Local) -> None:
    handle, pid = begin(local, "sleep", 0.5)
    os.kill(pid, signal.SIGHUP)
    assert collect(local, 1)[handle] == ["slept", Finished()]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a signal at the parent's end")
def test_stopped_workers_do_not_outlive_a_killed_driver() -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, places(HERE)], stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    pids = [int(pid) for pid in driver.stdout.readline().split()]
    try:
        for pid in pids[:2]:
            os.kill(pid, signal.SIGSTOP)
        driver.kill()
        end = time.monotonic() + 5
        while time.monotonic() < end and not all(map(gone, pids)):
            time.sleep(0.02)
        assert all(map(gone, pids))
    finally:
        driver.communicate()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
