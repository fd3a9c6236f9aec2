"""What commands and user code write: of any size and kind, it costs no trial and shows nothing
but text."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from driving import Fork, Nursery, Tries, results

from lrsearch import store
from lrsearch.trial import Outcome

HOSTILE = r"""
import json, os, sys

SIZE = int(os.environ.get("LRSEARCH_FAULTS_SIZE", "1000000"))
ESCAPES = "\x1b]0;title\x07\x1b[2J\x1b[31mred\x1b[?1049h\x9b31m\x08\x08\r\x7f"
NESTED = "[" * 100_000
OURS = [
    '["lrsearch", "changed", "x"]', '["lrsearch", "report", 1, {"loss": -1}]',
    '{"n":1,"crc":"00000000","event":"ended","trial":1}', "[1/2] trial 1  loss -9  0.1s",
    "error: trial 1", "0 exit 0", "4711 stopped", "lrsearch: done",
]


def write(text):
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    sys.stdout.flush()
    os.write(sys.stdout.fileno(), data) if len(data) < 65536 else sys.stdout.buffer.write(data)
    sys.stdout.flush()


KINDS = {
    "escapes": lambda: write(ESCAPES * 50 + "\n"),
    "one long line": lambda: write(b"x" * SIZE + b"\n"),
    "one long number": lambda: write(b'{"step": ' + b"9" * min(SIZE, 10**7) + b"}\n"),
    "a long line of JSON": lambda: write(b'{"a": "' + b"x" * SIZE + b'"}\n'),
    "many lines": lambda: write(b"line\n" * (SIZE // 5)),
    "many carriage returns": lambda: write(b" 50%\r" * (SIZE // 5) + b"\n"),
    "binary": lambda: write(bytes(range(256)) * 400 + b"\n"),
    "NUL bytes": lambda: write(b"\0" * 100_000 + b"\n"),
    "half a character": lambda: write("\u00fc\n".encode()[:1] + b"\n"),
    "deep nesting": lambda: write(NESTED + "\n" + '{"a":' * 100_000 + "\n"),
    "lrsearch's own lines": lambda: write("\n".join(OURS) + "\n"),
    "numbers that are none": lambda: write(
        '{"step": 1e999}\n{"step": -1, "gap": NaN}\n{"step": true}\n{"step": null}\n{"loss": []}\n'
    ),
    "a surrogate": lambda: write('{"step": 1, "\\ud800": 3, "\\u001b[31m": 4}\n'),
    "stderr": lambda: (sys.stderr.write(ESCAPES * 50 + "x" * (SIZE // 10)), sys.stderr.flush()),
    "an open line": lambda: None,
}
"""

SCRIPT = r"""
import sys
from hostile import KINDS, write

kind, lr = sys.argv[1].replace("_", " "), float(sys.argv[2])
KINDS[kind]()
write('{"step": 1, "loss": 5}\n{"step": 2, "loss": %r}' % lr)
if kind != "an open line":
    write("\n")
    KINDS[kind]()
"""

LOOP = r"""
from hostile import KINDS

def train(trial):
    KINDS[KIND]()
    trial.report(1, loss=5.0)
    KINDS[KIND]()
    trial.report(2, loss=trial.params["lr"])
    KINDS[KIND]()
"""

NETS = r"""
import torch
from hostile import KINDS

class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(4, 3)
        KINDS[KIND]()

    def forward(self, x):
        if not hasattr(self, "told"):
            self.told = True
            KINDS[KIND]()
        return super().forward(x)
"""

KINDS = re.findall(r'^    "(.+?)": lambda', HOSTILE, re.MULTILINE)


def _lay_command(folder: Path, kind: str) -> tuple[str, ...]:
    """A command that says it; what it measures is its rate."""
    (folder / "script.py").write_text(SCRIPT.replace("sys.argv[1].replace", f"{kind!r}.replace"))
    (folder / "spec.yaml").write_text(
        f"command: {sys.executable} script.py - {{lr}}\nverify: false\nsearch: {{lr: [0.5, 1.5]}}\n"
        "objective: {metric: loss, goal: min}"
    )
    return ("--allow-command",)


def _lay_loop(folder: Path, kind: str) -> tuple[str, ...]:
    (folder / "my_loop.py").write_text(LOOP.replace("KIND]", f"{kind!r}]"))
    (folder / "spec.yaml").write_text(
        "loop: my_loop.train\nverify: false\nsearch: {lr: [0.5, 1.5]}\n"
        "objective: {metric: loss, goal: min}"
    )
    return ("--allow-import", "my_loop")


def _lay_model(folder: Path, kind: str) -> tuple[str, ...]:
    (folder / "nets.py").write_text(NETS.replace("KIND]", f"{kind!r}]"))
    (folder / "spec.yaml").write_text(
        "data: iris\nmodel: {class_path: nets.Net}\nsearch: {lr: [0.5, 1.5]}\n"
        "train: {budget: 20ba, batch_size: 16}"
    )
    return ("--allow-import", "nets", "--engine", "solo", "--device", "cpu")


LAID: dict[str, Callable[[Path, str], tuple[str, ...]]] = {
    "command": _lay_command,
    "loop": _lay_loop,
    "model": _lay_model,
}


@pytest.mark.kind("hostile output")
@pytest.mark.parametrize("whose", LAID)
def test_nothing_that_is_written_costs_a_trial(
    whose: str, nursery: Nursery, tries: Tries, tmp_path: Path
) -> None:
    size = 100_000_000 if tries.long else 4_000_000

    def attempt(kind: str) -> None:
        folder = tmp_path / kind.replace(" ", "-")
        folder.mkdir()
        (folder / "hostile.py").write_text(HOSTILE)
        options = LAID[whose](folder, kind)
        runs = ("--runs", folder / "runs")
        # Of a model in a worker: in the driver itself its output is the driver's.
        executor = ("--workers", "1") if whose == "model" else ("--executor", "inline")
        said = Fork(
            *(nursery, folder, "grid", "spec.yaml", *options, *executor, *runs),
            LRSEARCH_FAULTS_SIZE=str(size),
        ).wait()
        said.check(0)
        shown = [said.out, said.err]
        for more in ((), ("--trial", "1"), ("--json",), ("--csv",), ("--markdown",)):
            shown.append(Fork(nursery, folder, "report", "spec", *runs, *more).wait().check(0).out)
        for text in shown:
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text), f"raw bytes: {text!r}"
            assert len(text) < 300_000, f"{len(text)} characters are shown"
        run = folder / "runs" / "spec"
        assert len(results(run)) == 2
        for number, result in store.read(run).results.items():
            assert result.outcome is Outcome.COMPLETED, result.reason
            if whose != "model":
                lr = store.read(run).trials[number].config["params"]["lr"]
                assert result.last["loss"] == lr, f"trial {number} measured {result.last}"
        assert (run / "journal.jsonl").stat().st_size < 1_000_000

    short = {"command": 6, "loop": 1, "model": 1}[whose]
    tries.each(tries.sample(KINDS, short), attempt, lambda kind: f"{kind} by a {whose}")
