"""What of a command's output is a metric: JSON in all its surroundings, and patterns."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from keys import trial_key
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.data.built_in import read_digits
from lrsearch.errors import TrainingError
from lrsearch.outside import listening
from lrsearch.outside.listening import (
    LONGEST_MATCHED,
    Objects,
    Patterns,
    find_object,
    match_number,
    read_number,
)
from lrsearch.outside.process import Lines
from lrsearch.spec import read_spec
from lrsearch.spec.model import resolve

# objects


def objects(
    output: bytes, objective: str = "loss", *, plain: bool = True, **params: Any
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    listener = Objects(found.append, objective, params, plain=plain)
    hear(listener, [output])
    return found


def hear(listener: Objects | Patterns, parts: Iterable[bytes]) -> None:
    stream = Lines(listener.line)
    for part in parts:
        stream.feed(part)
    stream.finish()
    listener.finish()


LINE = '{"step": 3, "loss": 0.25}'
FOUND = [{"step": 3, "loss": 0.25}]


@pytest.mark.parametrize(
    "before",
    [
        "",
        "  ",
        "\ufeff",
        "\x1b[2K\x1b[1m",
        "2026-01-01 12:00:00 INFO ",
        "2026-01-01 12:00:00,123 - my.logger - INFO - ",
        "2026-01-01 12:00:00 - train - INFO - ",
        "2026-01-01T12:00:00.5Z ",
        "2026-01-01 12:00:00.123 | INFO     | __main__:main:12 - ",
        "INFO:root:",
        "INFO:my_logger:",
        "[2026-01-01 12:00:00,123][__main__][INFO] - ",
        "[rank0]: ",
        "rank 0: ",
        "I0101 12:00:00.123456 140 train.py:12] ",
        "train-1  | ",
        "epoch 3: ",
        "100%|████████| 10/10 [00:01<00:00, 5.1it/s]",
        "......",
        "\rstep 3:  25%\rsaving the model 100%",
        "working on it\r",
        "50% done\r\r",
    ],
    ids=repr,
)
@pytest.mark.parametrize("after", ["\n", "\r\n", "", "\x1b[0m\n", "  \n"], ids=repr)
def test_json_is_found_behind_what_logs_and_bars_put_there(before: str, after: str) -> None:
    assert objects((before + LINE + after).encode()) == FOUND


@pytest.mark.parametrize(
    "line",
    [
        "{'step': 3, 'loss': 0.25}",
        "{'step': 3, 'loss': '0.25'}",
        '{"step": "3", "loss": "0.2500"}',
        "{'step': 3, 'loss': np.float64(0.25)}",
        "{'step': 3, 'loss': tensor(0.25, device='cuda:0', grad_fn=<NllLossBackward0>)}",
        '{"step": 3, "loss": [0.25]}',
        "INFO {'step': 3, 'loss': 0.25}",
    ],
)
def test_numbers_are_understood_in_other_clothes(line: str) -> None:
    assert objects(line.encode() + b"\n") == FOUND


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "latin-1"])
def test_other_encodings(encoding: str) -> None:
    text = (LINE + "\n") * 2
    if encoding == "latin-1":
        text = "für Schritt\n" + text
    assert objects(text.encode(encoding)) == FOUND * 2


def test_a_metric_inside_a_mapping_is_named_by_its_path() -> None:
    line = b'{"step": 3, "eval": {"loss": 0.25, "other": 1}}\n'
    assert objects(line, "eval.loss")[0]["eval.loss"] == 0.25
    assert objects(line, "eval/loss")[0]["eval/loss"] == 0.25
    assert "loss" not in objects(line)[0]


@pytest.mark.parametrize(
    "line",
    [
        f"Config: {LINE}",
        f"INFO Config: {LINE}",
        f"args = {LINE}",
        f"the best so far: {LINE}",
        f"final {LINE}",
        f"{LINE} is the best",
        f'{{"a": 1}} {LINE}',
        "{'lr': 0.1, 'epochs': 3}",
        "INFO {'lr': 0.1, 'epochs': 3}",
        "{loss: 0.25}",
        "{'loss': __import__('os').getpid()}",
        "{'loss': model.loss}",
        "{'loss': True}",
    ],
)
def test_what_only_looks_like_metrics_is_not_taken(line: str) -> None:
    assert objects(line.encode() + b"\n") == []


def test_json_of_any_kind_still_counts_on_a_line_of_stdout_alone() -> None:
    assert objects(b'{"other": 1, "lr": 0.1}\n') == [{"other": 1, "lr": 0.1}]
    assert objects(b'{"ts": 17, "level": "info"}\n', plain=False) == []
    assert objects(f"INFO:root:{LINE}\n".encode(), plain=False) == FOUND
    long = b"1" * 5000  # Of more digits than Python reads as a whole number.
    assert objects(b'{"loss": %b}\n' % long) == [{"loss": math.inf}]


def test_objects_of_processes_that_print_at_once_are_told_apart() -> None:
    lines = b'{"step": 1, "loss": 3}{"step": 1, "loss": 2}\n\nrank 1 {"loss": 4}{"note": "}{"}\n'
    assert objects(lines) == [{"step": 1, "loss": 3}, {"step": 1, "loss": 2}, {"loss": 4}]


def test_the_parameters_printed_back_are_no_metrics() -> None:
    dump = b'{"lr": 0.1, "loss": "mse", "epochs": 3}\n'
    assert objects(dump, lr=0.1) == []
    # A parameter that is called as the objective leaves open which of them is printed.
    named = b'{"lr": 0.1, "loss": 1.0, "model": "mlp"}\n'
    assert objects(named, lr=0.1, loss=1.0) == []
    later = b'{"lr": 0.1, "loss": 0.5, "phase": "val"}\n'
    assert [each["loss"] for each in objects(dump + later, lr=0.1)] == [0.5]
    assert [each["loss"] for each in objects(b'{"lr": 0.1, "loss": 0.5}\n', lr=0.1)] == [0.5]


@given(st.binary(max_size=300), st.integers(1, 7))
def test_nothing_that_is_printed_breaks_the_listeners(output: bytes, size: int) -> None:
    parts = [output[at : at + size] for at in range(0, len(output), size)]
    hear(Objects(lambda _: None, "loss", {}), [b"{", *parts, b"}\n"])
    found: list[dict[str, Any]] = []
    hear(Patterns(found.append, {"loss": r"([\d.]+)"}), parts)
    assert all(isinstance(each["loss"], float) for each in found)


@given(st.lists(st.sampled_from([b"{", b"'", b'"', b":", b"1", b"e9", b",", b"nan", b"-", b"\\"])))
def test_no_object_breaks_them(parts: list[bytes]) -> None:
    find_object("{" + b"".join(parts).decode() + "}")


# numbers


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("91", 91.0),
        ("91%", 0.91),
        ("1,234,567.5", 1234567.5),
        ("0,912", 0.912),
        ("12,5", 12.5),
        ("1_000", 1000.0),
        ("-1.5e-3", -0.0015),
        ("\u22120.5", -0.5),
        ("0.34.", 0.34),
        ("'0.34'", 0.34),
        ("inf", math.inf),
        ("n/a", None),
        ("", None),
        ("1.2.3", None),
    ],
)
def test_a_number_in_text(text: str, number: float | None) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize(
    ("pattern", "line", "number"),
    [
        (r"Accuracy: (\d+)/", "Test set: Average loss: 0.0586, Accuracy: 9811/10000 (98%)", 9811),
        (r"Accuracy: ([\d.]+)%", "Accuracy: 91%", 91),
        (r"Accuracy: (\d+%)", "Accuracy: 91%", 0.91),
        (r"loss ([\d.]+)", "loss 1.25e-05", 1.25e-05),
        (r"loss ([\d.]+), acc", "loss 1.25e-05, acc 0.5", 1.25e-05),
        (r"loss (\d+\.\d{4})", "loss 1.25e-05", 1.25e-05),
        (r"loss ([\d.]+)", "loss -0.53", -0.53),
        (r"loss: ([\d.]+)", "loss: -0.5 - val_loss: 0.3", -0.5),
        (r"acc (\d+)", "acc 0.91", 0.91),
        (r"n (\d+)", "n 1,234,567 samples", 1234567),
        (r"loss ([\d.]+)", "loss inf", math.inf),
        (r"loss: (\S+)", "loss: -1e-3", -0.001),
        (r"(?i)LOSS=(?:about )?([\d.]+)", "loss=about 3", 3),
        (r"loss ([\d.]+)", "loss none", None),
        (r"loss ([\d.]+)", "lossless 3", None),
    ],
)
def test_a_pattern_finds_the_whole_number(pattern: str, line: str, number: float | None) -> None:
    assert match_number(re.compile(pattern), line)[1] == number


@given(st.floats(allow_nan=False), st.sampled_from(["{}", "{:.6f}", "{:.3e}", "{:,}", "{:+.4f}"]))
def test_a_pattern_for_plain_decimals_reads_any_way_of_writing_one(value: float, how: str) -> None:
    text = how.format(value)
    if how == "{:,}" and math.isinf(value):
        text = str(value)
    found = match_number(re.compile(r"loss: ([\d.]+), next"), f"epoch 1 - loss: {text}, next 7")[1]
    assert found == float(text.replace(",", ""))


def test_what_is_not_a_number_is_found_as_that() -> None:
    """A pattern of digits would pass over it, and the metric would keep the value before."""
    for pattern in (r"loss ([\d.]+)", r"loss (\d+\.\d+)", r"loss (\d+)%"):
        for written in ("nan", "NaN", "-nan"):
            tail = "%" if "%" in pattern else ""
            found = match_number(re.compile(pattern), f"step 3 loss {written}{tail}")
            assert found[0] and found[1] is not None and math.isnan(found[1]), pattern


# patterns


def rows(output: str, **metrics: str) -> list[dict[str, float]]:
    found: list[dict[str, float]] = []
    hear(Patterns(found.append, metrics), [output.encode()])
    return found


LOSS, ACC, EPOCH = r"loss ([\d.]+)", r"acc ([\d.]+)", r"Epoch (\d+)"


def test_without_steps_a_metric_that_comes_again_begins_the_next() -> None:
    output = "loss 3\nacc 0.1\nhello\nloss 2 acc 0.2\nloss 1\n"
    assert rows(output, loss=LOSS, acc=ACC) == [
        {"loss": 3, "step": 1},
        {"acc": 0.1, "step": 1},
        {"loss": 2, "acc": 0.2, "step": 2},
        {"loss": 1, "step": 3},
    ]


def test_metrics_belong_to_the_last_step() -> None:
    output = "Epoch 5\nloss 3\nacc 0.1\nEpoch 10 loss 2\nacc 0.2\nloss 1.5\n"
    found = rows(output, loss=LOSS, acc=ACC, step=EPOCH)
    assert [(each.pop("step"), each) for each in found] == [
        (5, {"loss": 3}),
        (5, {"acc": 0.1}),
        (10, {"loss": 2}),
        (10, {"acc": 0.2}),
        (10, {"loss": 1.5}),
    ]


def test_a_step_that_is_not_whole_counts_on() -> None:
    found = rows("Epoch 0.5 loss 3\nEpoch 1.0 loss 2\nEpoch 1.5 loss 1\n", loss=LOSS, step=EPOCH)
    assert [each["step"] for each in found] == [1, 1, 2]


def test_of_lines_that_overwrite_each_other_the_last_counts() -> None:
    bar = "Epoch 1\n" + "".join(f"\r{at}/3 loss {9 - at}" for at in range(1, 4)) + "\n"
    assert rows(bar, loss=LOSS) == [{"loss": 6, "step": 1}]
    steps = "".join(f"Epoch {at} loss {9 - at}\r" for at in range(1, 4))
    assert rows(steps, loss=LOSS, step=EPOCH) == [{"loss": 9 - at, "step": at} for at in (1, 2, 3)]
    assert rows("loss 1\b\b\b\b\b\bloss 2\n", loss=LOSS) == [{"loss": 2, "step": 1}]


def test_a_pattern_with_line_feeds_goes_over_lines_once() -> None:
    below = r"Validation.*\nacc.*\nloss ([\d.]+)"
    output = "Training\nacc 0.9\nloss 3\nValidation\n\nacc 0.1\nloss 2e-1\nloss 1\n"
    assert rows(output, loss=below) == [{"loss": 0.2, "step": 1}]
    assert rows("loss 3\nacc 1\nloss:\n2\n", loss=r"loss:?\s*\n?\s*([\d.]+)") == [
        {"loss": 3, "step": 1},
        {"loss": 2, "step": 2},
    ]
    # That a group leaves them out is no reason to.
    assert [each["loss"] for each in rows("loss 3\nloss 2\n", loss=r"loss ([^\n]+)")] == [3, 2]


LOGS = """\
import json, logging, sys, time
logging.basicConfig(level=logging.INFO, format="%(message)s")
metrics, first, rate = sys.argv[1:4]
def log():
    for epoch, loss in enumerate((0.3, 0.1, 0.011), 1):
        logging.info({"step": epoch, "loss": loss, "norm": 2.0 * epoch})
def show():
    for step, loss in enumerate((0.9, 0.5, 0.7), 1):
        print(json.dumps({"step": step, metrics: loss}), flush=True)
for each in (log, show) if first == "log" else (show, log):
    each()
    time.sleep(0.4)
"""


@pytest.mark.parametrize("first", ["log", "show"])
@pytest.mark.parametrize("patterns", [False, True])
@pytest.mark.parametrize(
    ("metric", "best", "value", "norm"), [("loss", 0.5, 0.7, 6.0), ("accuracy", 0.011, 0.011, 6.0)]
)
def test_what_stdout_has_is_not_taken_from_stderr_whichever_comes_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    patterns: bool,
    metric: str,
    best: float,
    value: float,
    norm: float,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(LOGS)
    found = {name: rf"{name}['\"]: ([\d.]+)" for name in ("loss", "norm", "step")}
    checked(
        tmp_path,
        command=f"{sys.executable} train.py {metric} {first} {{lr}}",
        objective={"metric": "loss", "goal": "min", "at": "best"},
        search={"lr": [0.1]},
        **({"metrics": found} if patterns else {}),
    )
    arguments = ["grid", "s.yaml", "--allow-command", "--executor", "inline", "--json"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert json.loads(done.stdout)["best"]["objective"] == best, done.stderr
    curve = json.loads((tmp_path / "runs/s/curves/000001.json").read_text())
    assert curve["step"] == [1, 2, 3] and curve["loss"][-1] == value
    # Objects of stderr count where stdout has not the objective; patterns each for itself.
    assert ("norm" in curve) == (patterns or metric != "loss")
    if "norm" in curve:
        assert curve["norm"][-1] == norm


def test_a_result_that_repeats_the_settings_is_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(
        "import argparse, json\nparser = argparse.ArgumentParser()\n"
        "parser.add_argument('--lr', type=float)\nparser.add_argument('--opt', default='sgd')\n"
        "args = parser.parse_args()\nprint(json.dumps({**vars(args), 'accuracy': args.lr / 2}))\n"
    )
    checked(tmp_path, command=f"{sys.executable} train.py --lr {{lr}}")
    arguments = ["grid", "s.yaml", "--allow-command", "--executor", "inline", "--json"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["best"]["objective"] in (0.25, 0.05)


def test_no_pattern_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "PATIENCE", 0.2)
    begun = time.process_time()
    with pytest.raises(TrainingError, match=r"takes more than 0\.2 seconds for one line") as caught:
        rows("a" * 60 + "b\n", loss="(a+)+$")
    assert time.process_time() - begun < 10
    assert caught.value.where == "metrics.loss" and "write it plainly" in caught.value.hint
    assert rows("x" * LONGEST_MATCHED + "loss 1\nloss 2\n", loss=LOSS) == [{"loss": 2, "step": 1}]


# in a spec


def checked(folder: Path, **more: Any) -> Any:
    spec = {
        "name": "s",
        "command": f"{sys.executable} train.py {{lr}}",
        "objective": "accuracy",
        "search": {"lr": [0.5, 0.1]},
    }
    (folder / "s.yaml").write_text(yaml.safe_dump(spec | more))
    return read_spec(folder / "s.yaml")


BAD = [
    ({"accuracy": "Accuracy: \\d+%"}, "has no group", "write accuracy: 'Accuracy: (\\d+)%'"),
    ({"accuracy": "acc="}, "has no group", "write accuracy: 'acc=([\\d.]+)'"),
    ({"accuracy": "acc"}, "has no group", "write accuracy: 'acc\\W*([\\d.]+)'"),
    ({"accuracy": "acc ([\\d.]+) of (\\d+)"}, "has 2 groups", "(?:...)"),
    ({"accuracy": "acc (\\d+"}, "metrics.accuracy: 'acc (\\d+'", "missing ), unterminated"),
    ({"accuracy": "a**(b)"}, "metrics.accuracy", "multiple repeat at position 2"),
    ({"accuracy": 3}, "metrics.accuracy: 3 is no pattern", "one group, which is the number"),
    ({"accurcy": "a (b)"}, "'accuracy' has no pattern", "write accuracy: a (b) under metrics; in"),
    ({"step": "a (b)"}, "'accuracy' has no pattern", "write accuracy: 'accuracy: ([\\d.]+)'"),
    ("acc (\\d+)", "is no mapping of metrics to patterns", "write metrics: {accuracy: "),
    ({}, "is no mapping of metrics", "write metrics: {accuracy: "),
    ({"accuracy": "a (b)", "x" * 101: "a (b)"}, "is no metric's name", "1 to 100"),
]


@pytest.mark.parametrize(("metrics", "wrong", "hint"), BAD, ids=[each[1] for each in BAD])
def test_a_faulty_pattern_is_a_fault_of_the_spec(
    tmp_path: Path, metrics: Any, wrong: str, hint: str
) -> None:
    checked(tmp_path)
    (tmp_path / "bad.yaml").write_text(
        (tmp_path / "s.yaml").read_text() + yaml.safe_dump({"metrics": metrics})
    )
    done = CliRunner().invoke(app, ["check", str(tmp_path / "bad.yaml")], catch_exceptions=False)
    assert done.exit_code == 2 and wrong in done.stderr and hint in done.stderr, done.stderr
    assert "bad.yaml:" in done.stderr


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('metrics: {accuracy: "acc (\\d+)"}', "accuracy: 'acc (\\d+)'"),
        ("metrics:\n  accuracy: Accuracy: (\\d+)", "write accuracy: 'Accuracy: (\\d+)'"),
    ],
)
def test_quotes_that_yaml_needs(tmp_path: Path, text: str, hint: str) -> None:
    (tmp_path / "bad.yaml").write_text(f"command: a\nobjective: accuracy\n{text}\n")
    done = CliRunner().invoke(app, ["check", str(tmp_path / "bad.yaml")], catch_exceptions=False)
    assert done.exit_code == 2 and hint in done.stderr


def test_patterns_go_with_a_command_alone(tmp_path: Path) -> None:
    for text, told in (
        ("loop: a.train\nobjective: loss", "trial.report(step, loss=...)"),
        ("data: digits\nmodel: mlp\ntrain: {budget: 1ep, lr: 1}", "stand under train"),
    ):
        (tmp_path / "s.yaml").write_text(f"{text}\nmetrics: {{loss: 'loss (.)'}}\n")
        done = CliRunner().invoke(app, ["check", str(tmp_path / "s.yaml")], catch_exceptions=False)
        assert done.exit_code == 2 and told in done.stderr, done.stderr


def test_patterns_are_part_of_what_a_trial_measures(tmp_path: Path) -> None:
    without = checked(tmp_path)
    config = resolve(without, {"lr": 0.5})
    assert set(config) == {"command", "params"}
    # As runs of before there were patterns have it.
    assert trial_key({"command": "a", "params": {"lr": 0.5}}, {"source": {}}, 0, None) == (
        "37c729e2a20fc35268552c0e615044b2081a38e97c4fe818fc7102ea85ca2e2c"
    )
    keys = {
        trial_key(resolve(checked(tmp_path, **more), {"lr": 0.5}), {}, 0, None)
        for more in (
            {},
            {"metrics": {"accuracy": "a (b)"}},
            {"metrics": {"accuracy": "a (c)"}},
            {"metrics": {"accuracy": "a (c)", "step": "a (c)"}},
        )
    }
    assert len(keys) == 4


# the scripts that people have, which print as they do; what trains takes no second to import

SOFTMAX = """\
import numpy as np

digits = np.load("digits.npz")
x, y = digits["x"] / 16, digits["y"]


class Model:
    def __init__(self):
        self.weights = np.zeros((64, 10))

    def shares(self, x):
        exponents = np.exp(x @ self.weights)
        return exponents / exponents.sum(1, keepdims=True)

    def loss(self, x, y):
        return -np.log(self.shares(x)[np.arange(len(y)), y]).mean()

    def correct(self, x, y):
        return (self.shares(x).argmax(1) == y).sum()

    def fit(self, x, y, rate, size=10):
        for at in range(0, len(y), size):
            part, targets = x[at : at + size], np.eye(10)[y[at : at + size]]
            self.weights -= rate * part.T @ (self.shares(part) - targets) / len(part)
        return self.loss(x, y)
"""

MNIST = """\
import argparse
from softmax import Model, x, y

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--epochs", type=int, default=3)
args = parser.parse_args()
data, target, test_x, test_y = x[:1500], y[:1500], x[1500:], y[1500:]
model = Model()
for epoch in range(1, args.epochs + 1):
    for batch_idx in range(10):
        part = slice(batch_idx * 150, batch_idx * 150 + 150)
        loss = model.fit(data[part], target[part], args.lr)
        print('Train Epoch: {} [{}/{} ({:.0f}%)]\\tLoss: {:.6f}'.format(
            epoch, batch_idx * 150, 1500, 100. * batch_idx / 10, loss.item()))
    test_loss, correct = model.loss(test_x, test_y).item(), model.correct(test_x, test_y).item()
    print('\\nTest set: Average loss: {:.4f}, Accuracy: {}/{} ({:.0f}%)\\n'.format(
        test_loss, correct, len(test_y), 100. * correct / len(test_y)))
"""

NANOGPT = """\
import sys, time
from softmax import Model, x, y

learning_rate = float(sys.argv[1].partition("=")[2])
model = Model()
for iter_num in range(21):
    if iter_num % 10 == 0:
        losses = {"train": model.loss(x[:1500], y[:1500]), "val": model.loss(x[1500:], y[1500:])}
        print(f"step {iter_num}: train loss {losses['train']:.4f}, val loss {losses['val']:.4f}")
    loss = model.fit(x[:1500], y[:1500], learning_rate, size=500)
    lossf, dt, running_mfu = loss.item(), 0.0123, 0.05
    print(f"iter {iter_num}: loss {lossf:.4f}, time {dt*1000:.2f}ms, mfu {running_mfu*100:.2f}%")
"""

TRAINER = """\
import sys
from softmax import Model, x, y

rate, text = float(sys.argv[1]), sys.argv[2] == "text"
model = Model()


def show(logs):
    print({key: f"{value:.4g}" for key, value in logs.items()} if text else logs)


for epoch in range(1, 4):
    train = float(model.fit(x[:1500], y[:1500], rate))
    loss = float(model.loss(x[1500:], y[1500:]))
    right = float(model.correct(x[1500:], y[1500:]) / 297)
    show({"loss": round(train, 4), "grad_norm": 1.5, "learning_rate": rate, "epoch": float(epoch)})
    show({"eval_loss": loss, "eval_accuracy": right, "eval_runtime": 0.1, "epoch": float(epoch)})
show({"train_runtime": 1.2, "train_loss": train, "epoch": 3.0})
"""

KERAS = """\
import sys
from softmax import Model, x, y

model = Model()
for epoch in range(1, 4):
    print(f"Epoch {epoch}/3")
    for step in range(1, 6):
        part = slice(step * 300 - 300, step * 300)
        loss = model.fit(x[part], y[part], float(sys.argv[1]))
        bar = "\\u2501" * 4 * step
        sys.stdout.write(f"\\r\\x1b[1m{step}/5\\x1b[0m \\x1b[32m{bar}\\x1b[0m\\x1b[37m\\x1b[0m "
                         f"\\x1b[1m0s\\x1b[0m 29ms/step - accuracy: 0.5 - loss: {loss:.4f}")
    val = model.loss(x[1500:], y[1500:])
    right = model.correct(x[1500:], y[1500:]) / 297
    print(f"\\b\\b\\r\\x1b[1m5/5\\x1b[0m \\x1b[32m{bar}\\x1b[0m \\x1b[1m1s\\x1b[0m 60ms/step"
          f" - accuracy: 0.9 - loss: {loss:.4f} - val_accuracy: {right:.4f} - val_loss: {val:.4f}")
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize(
    ("script", "command", "metrics", "objective", "low", "high", "steps"),
    [
        (
            MNIST,
            "--lr {lr}",
            {"accuracy": r"Accuracy: (\d+)/", "loss": r"Average loss: ([\d.]+)"}
            | {"step": r"Epoch: (\d+)"},
            "accuracy",
            200,
            297,
            [1, 2, 3],
        ),
        (
            NANOGPT,
            "--learning_rate={lr}",
            {"val_loss": r"val loss ([\d.]+)", "step": r"step (\d+)"},
            {"metric": "val_loss", "goal": "min"},
            0.3,
            2.2,
            [0, 10, 20],
        ),
        (
            TRAINER,
            "{lr} number",
            None,
            {"metric": "eval_accuracy", "goal": "max"},
            0.8,
            1.0,
            list(range(1, 4)),
        ),
        (
            TRAINER,
            "{lr} text",
            None,
            {"metric": "eval_accuracy", "goal": "max"},
            0.8,
            1.0,
            list(range(1, 4)),
        ),
        (
            TRAINER,
            "{lr} text",
            {"accuracy": r"'eval_accuracy': '?([\d.]+)", "step": r"'epoch': '?(\d+)"},
            "accuracy",
            0.8,
            1.0,
            [1, 2, 3],
        ),
        (
            KERAS,
            "{lr}",
            {"val_accuracy": r"val_accuracy: ([\d.]+)", "loss": r" loss: ([\d.]+)"}
            | {"step": r"Epoch (\d+)/"},
            {"metric": "val_accuracy", "goal": "max"},
            0.8,
            1.0,
            [1, 2, 3],
        ),
    ],
    ids=["mnist", "nanogpt", "trainer", "trainer-text", "trainer-pattern", "keras"],
)
def test_scripts_that_people_have_are_searched_as_they_are(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    command: str,
    metrics: dict[str, str] | None,
    objective: Any,
    low: float,
    high: float,
    steps: list[int],
    stream: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if stream == "stderr":
        script = "import sys\nsys.stdout = sys.stderr\n" + script
    (tmp_path / "train.py").write_text(script)
    (tmp_path / "softmax.py").write_text(SOFTMAX)
    digits = read_digits()
    np.savez(tmp_path / "digits.npz", x=digits["x"].reshape(-1, 64) * 16, y=digits["y"])
    more = {"metrics": metrics} if metrics else {}
    checked(
        tmp_path,
        command=f"{sys.executable} train.py {command}",
        objective=objective,
        search={"lr": [0.1]},
        **more,
    )
    arguments = ["grid", "s.yaml", "--allow-command", "--executor", "inline", "--json"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert low < report["best"]["objective"] <= high
    curve = json.loads((tmp_path / "runs/s/curves/000001.json").read_text())
    name = report["objective"]["metric"]
    measured = [
        step for step, value in zip(curve["step"], curve[name], strict=True) if value is not None
    ]
    assert len(measured) == len(steps)
    if metrics:
        assert measured == steps
