"""The process of a loop: what it imports, and what the generators of its loop are seeded with."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from lrsearch.data.noise import get_states, set_states
from lrsearch.train.randomness import seed_everything
from lrsearch.train.users.importing import forget_imports, source_hashes
from lrsearch.trial import Workplace

LOOP = """\
import os
import random
import sys
import threading

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
    trial.report(1, **found, **values)
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
