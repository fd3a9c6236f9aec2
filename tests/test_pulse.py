"""The pulse: who beats, how often, and what whoever listens is told."""

import itertools
import os
import select
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from test_fused import as_fused
from test_train import CNN, cohort, config, placed_data
from torch.utils.data import DataLoader, Dataset

from lrsearch import pulse
from lrsearch.train.batches import streamed
from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.engines.probe import probe
from lrsearch.trial import Ended, Probe


@pytest.fixture
def heard():
    """What a listener is told."""
    told = []
    pulse.forget()
    pulse.listen(told.append)
    yield told
    pulse.listen(None)


@pytest.fixture
def beats(heard, monkeypatch):
    """What a listener is told who is told of every beat."""
    monkeypatch.setattr(pulse, "INTERVAL", 0.0)
    return heard


def activities(told):
    return [name for name, _ in itertools.groupby(each.activity for each in told)]


SMALL = {"budget": "60ba", "evaluate": "20ba"}


@pytest.mark.parametrize("lanes", [1, 2])
def test_every_step_and_every_chunk_of_an_evaluation_is_a_beat(lanes, beats):
    own = [config(lr=0.01 * (k + 1), **SMALL) for k in range(2)]
    given = cohort(*own)
    job = run_cohort(as_fused(given, 2) if lanes == 2 else given)
    ended = [event for event in job if isinstance(event, Ended)]
    assert [event.result.engine for event in ended] == ["fused" if lanes == 2 else "solo"] * 2
    data = placed_data(own[0])
    chunks = -(-data.validation_samples // data.chunk(1024))
    programs = 2 if lanes == 1 else 1
    least = programs * (60 + 3 * chunks)
    assert least <= len(beats) <= least + 10 * programs  # Those before the first step.
    assert activities(beats) == ["loading the data", "training"] * programs
    assert all(each.step <= 60 for each in beats)


def test_a_probe_beats_at_every_step_that_it_tries(beats):
    given = cohort(*[config(CNN, budget="40ep", lr=0.01 * (k + 1)) for k in range(4)])
    asked = Probe(given.trials, 4, "auto", None, given.workplace)
    list(probe(asked))
    assert len(beats) > 10 and activities(beats)[:2] == ["loading the data", "trying lanes"]


def test_a_listener_hears_at_once_what_is_new_and_about_once_a_second_that_it_goes_on(
    heard, monkeypatch
):
    now = time.monotonic()
    monkeypatch.setattr(pulse.time, "monotonic", lambda: now)
    pulse.enter("training")
    for step in range(1, 251):
        now += 0.01
        pulse.beat(step)
    pulse.enter("training")
    pulse.enter("something else")
    assert [each.activity for each in heard] == ["training"] * 3 + ["something else"]
    assert [each.step > 0 for each in heard] == [False, True, True, False]


def test_time_in_which_a_process_was_stopped_is_not_counted():
    pulse.beat()
    before = pulse.clock()
    time.sleep(1.0)
    pulse.wake()
    assert pulse.clock() - before < 0.8
    time.sleep(0.2)
    assert pulse.clock() - before >= 0.2


def test_a_training_is_the_same_whoever_listens():
    given = cohort(config(**SMALL))
    (quiet,) = [event for event in run_cohort(given) if isinstance(event, Ended)]
    pulse.listen(lambda _: None)
    (heard,) = [event for event in run_cohort(given) if isinstance(event, Ended)]
    pulse.listen(None)
    assert quiet.weights == heard.weights and quiet.curve == heard.curve


class Stuck(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        time.sleep(600)


def obey(begun, worker):
    streamed._obey_parent(worker)
    begun.touch()


def test_a_loader_s_process_ends_by_its_parent_s_sigterm_alone(tmp_path):
    """What is sent to all of a job leaves it; a loader ends the one that is stuck."""
    begun = tmp_path / "begun"
    loader = DataLoader(Stuck(), num_workers=1, worker_init_fn=partial(obey, begun))
    with streamed._sparing_children():
        loaded = iter(loader)
    (child,) = loaded._workers
    deadline = time.monotonic() + 30.0
    while not begun.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    subprocess.run(["sh", "-c", f"kill -TERM {child.pid}"], check=True)
    child.join(1.0)
    assert child.is_alive()
    child.terminate()
    child.join(5.0)
    assert child.exitcode == 0


def test_a_loader_s_process_that_is_stuck_ends_after_its_parent(tmp_path):
    """As where the worker is killed."""
    (tmp_path / "parent.py").write_text(
        "import os, sys\n"
        "from test_pulse import DataLoader, Stuck, streamed\n"
        "loader = DataLoader(Stuck(), num_workers=1, worker_init_fn=streamed._obey_parent)\n"
        "with streamed._sparing_children():\n"
        "    loaded = iter(loader)\n"
        "print(loaded._workers[0].pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "parent.py"], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    child = int(parent.stdout.readline())
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    # The child holds the pipe open as long as it lives.
    ended, _, _ = select.select([parent.stdout], [], [], 20.0)
    if not ended:
        os.kill(child, signal.SIGKILL)
    assert ended
    parent.communicate()
