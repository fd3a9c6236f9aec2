"""Trainings that report nothing, or never start: the search ends at once, and says what to do."""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from devices import DEVICE
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.outside.advice import missing_metric
from lrsearch.outside.listening import Patterns
from lrsearch.store import read
from lrsearch.trial import Objective, Outcome, Trial


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def lrsearch(*arguments: object) -> Said:
    env = {"COLUMNS": "400", "LRSEARCH_RUNS": None}
    done = CliRunner().invoke(app, list(map(str, arguments)), env=env, catch_exceptions=False)
    return Said(done.exit_code, done.stdout, done.stderr)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, script: str, **more: Any) -> None:
    (folder / "train.py").write_text(script)
    spec = {
        "name": "s",
        "command": f"{sys.executable} train.py --lr {{lr}}",
        "objective": "accuracy",
        "search": {"lr": {"min": 1e-4, "max": 1.0, "points": 12}},
    }
    (folder / "s.yaml").write_text(yaml.safe_dump(spec | more))


GRID = ("grid", "s.yaml", "--allow-command", "--executor", "inline")
SHARED = ("grid", "s.yaml", "--allow-command", "--workers", "2")


def outcomes(folder: Path) -> list[str]:
    return [result.outcome for result in read(folder / "runs" / "s").results.values()]


# what is never reported

PRINTS = """\
import time
time.sleep(0.2)
print("Epoch 1")
print("Test set: Accuracy: 91%")
"""


@pytest.mark.parametrize("command", [GRID, SHARED], ids=["inline", "two workers"])
def test_the_first_that_reports_nothing_ends_the_search(
    here: Path, command: tuple[str, ...]
) -> None:
    write(here, PRINTS)
    said = lrsearch(*command)
    assert said.code == 2, said
    assert outcomes(here) == ["failed"]
    assert said.err.count("error:") == 1
    assert "ended well and never reported 'accuracy'" in said.err
    assert "s.yaml: command: trial 1 " in said.err or "s.yaml: command: trial 2 " in said.err
    assert 'print(json.dumps({"step": step, "accuracy": accuracy}))' in said.err
    assert "the end of its output:\n    Epoch 1\n    Test set: Accuracy: 91%" in said.err
    (written,) = re.findall(r"^ +(metrics: .*)$", said.err, re.MULTILINE)
    patterns = {"accuracy": r"Accuracy: ([\d.]+)%", "step": r"Epoch (\d+)"}
    assert yaml.safe_load(written) == {"metrics": patterns}
    # The line as it was told is the one that was missing, and the same command does the rest.
    with (here / "s.yaml").open("a") as spec:
        spec.write(written + "\n")
    mended = lrsearch(*command, "--set", "search.lr.points=2", "--json")
    assert mended.code == 0, mended
    assert json.loads(mended.out)["best"]["objective"] == 91.0
    number = json.loads(mended.out)["best"]["trials"][0]
    curve = json.loads((here / f"runs/s/curves/{number:06d}.json").read_text())
    assert curve == {"step": [1], "accuracy": [91.0]}


def test_the_line_in_the_script_mends_it_too(here: Path) -> None:
    write(here, PRINTS)
    said = lrsearch(*GRID)
    (line,) = re.findall(r"^ +(print\(json.*)$", said.err, re.MULTILINE)
    (here / "train.py").write_text(f"import json\nstep, accuracy = 1, 0.91\n{line}\n")
    mended = lrsearch(*GRID, "--set", "search.lr.points=2", "--json")
    assert mended.code == 0 and json.loads(mended.out)["best"]["objective"] == 0.91, mended
    # It is told of no seed, so that fresh ones would confirm nothing.
    assert re.search(r"next +lrsearch export", lrsearch("report", "s.yaml").out)


def test_the_same_command_trains_it_again(here: Path) -> None:
    """What was mended may lie outside of what a trial is known by."""
    script = "import other\nprint(other.LINE)\n"
    write(here, script)
    (here / "other.py").write_text("LINE = 'nothing'\n")
    assert lrsearch(*GRID).code == 2
    (here / "other.py").write_text("LINE = '{\"accuracy\": 0.5}'\n")
    said = lrsearch(*GRID, "--set", "search.lr.points=3", "--json")
    assert said.code == 0, said
    report = json.loads(said.out)
    assert {each["outcome"] for each in report["points"]} == {"completed"}


def test_a_trial_of_a_search_that_is_heard_fails_alone(here: Path) -> None:
    script = (
        "import sys\nif float(sys.argv[2]) > 0.5:\n    print('too high: giving up')\n"
        "else:\n    print('{\"accuracy\": 0.5}')\n"
    )
    write(here, script)
    said = lrsearch(*GRID, "--set", "search.lr=[0.1, 1.0, 0.2]")
    assert said.code == 0, said
    assert sorted(outcomes(here)) == ["completed", "completed", "failed"]
    assert "it never reported 'accuracy'; it reported no metric at all" in said.out


def test_it_ends_before_too_many_failures_do(here: Path) -> None:
    write(here, PRINTS, max_failures=0)
    said = lrsearch(*GRID)
    assert said.code == 2 and "max_failures" not in said.err


def test_a_loop_that_reports_nothing(here: Path) -> None:
    loop = "def train(trial):\n    print('accuracy 0.5')\n    return 0.5\n"
    (here / "silent_loop.py").write_text(loop)
    spec = {"name": "s", "loop": "silent_loop.train", "search": {"lr": [1, 2, 3]}}
    (here / "s.yaml").write_text(yaml.safe_dump(spec | {"objective": "accuracy"}))
    allow = ("--allow-import", "silent_loop", "--executor", "inline")
    said = lrsearch("grid", "s.yaml", *allow)
    assert said.code == 2 and outcomes(here) == ["failed"], said
    assert "s.yaml: loop: trial 1 ended well and never reported 'accuracy'" in said.err
    assert "trial.report(step, accuracy=accuracy)" in said.err
    assert "metrics:" not in said.err and "    accuracy 0.5" in said.err
    assert (
        "    what the loop returned, 0.5, is not used: trial.report(step, ...) takes it" in said.err
    )


def advice(
    metric: str, out: str, reported: tuple[str, ...] = (), command: str = "python t.py", **more: Any
) -> tuple[str, str]:
    config: Mapping[str, Any] = {"command": command, "params": {"lr": 0.1}, **more}
    trial = Trial(1, "", config, 0)
    reason, error = missing_metric(trial, Objective(metric, "min"), reported, out.encode(), b"")
    return reason, str(error)


@pytest.mark.parametrize(
    ("metric", "out", "pattern", "step"),
    [
        ("accuracy", "Accuracy: 9811/10000 (98%)", r"Accuracy: (\d+)/", None),
        ("accuracy", "epoch 3 | acc=0.91", r"acc=([\d.]+)", r"epoch (\d+)"),
        (
            "val_loss",
            "step 250: train loss 1.96, val loss 2.05",
            r"val loss ([\d.]+)",
            r"step (\d+)",
        ),
        ("loss", "step 250: train loss 1.96, val loss 2.05", r"val loss ([\d.]+)", r"step (\d+)"),
        (
            "val_loss",
            "step 20: train loss 1.96, val loss 2.05\niter 20: loss 0.16, time 12ms",
            r"val loss ([\d.]+)",
            r"step (\d+)",
        ),
        (
            "loss",
            "step 20: train loss 1.96, val loss 2.05\niter 20: loss 0.16, time 12ms",
            r"val loss ([\d.]+)",
            r"step (\d+)",
        ),
        ("loss", "\x1b[32mloss (mean) = -1.5e-3\x1b[0m", r"loss \(mean\) = ([\d.]+)", None),
        ("val/loss", "Epoch: [4] val-loss\t0.25", r"val-loss\s+([\d.]+)", r"Epoch: \[(\d+)"),
        ("loss", "10%\rloss: 3\r100% loss: 0.25", r"loss: ([\d.]+)", None),
    ],
)
def test_a_pattern_is_made_of_the_line_that_was_seen(
    metric: str, out: str, pattern: str, step: str | None
) -> None:
    reason, text = advice(metric, f"hello\n{out}\nbye\n")
    (written,) = re.findall(r"^ +(metrics: .*)$", text, re.MULTILINE)
    expected = {metric: pattern} | ({"step": step} if step else {})
    assert yaml.safe_load(written) == {"metrics": expected}
    assert "'metrics' in the spec finds the number in" in reason


def test_settings_that_have_the_metric_s_name_are_shown() -> None:
    out = '{"lr": 0.1, "loss": 1, "model": "mlp"}'
    trial = Trial(1, "", {"command": "python t.py", "params": {"lr": 0.1, "loss": 1}}, 0)
    reason, error = missing_metric(trial, Objective("loss", "min"), (), out.encode(), b"")
    assert "was taken for the settings" in reason and repr(out) in str(error)


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ('Results: {"loss": 0.5}', "JSON is read where it is all of its line"),
        ('{"loss": 0.5} after 3 steps', "JSON is read where it is all of its line"),
        ('{"loss": [1, 2]}', "its 'loss' is no number"),
        ('{"loss": "low"}', "its 'loss' is no number"),
        ("{'loss': model.loss()}", "its 'loss' is no number"),
        ('{"loss": 0.5,', "it is neither JSON nor a Python dict"),
    ],
)
def test_the_line_that_was_seen_is_shown_and_why_it_was_not_read(out: str, told: str) -> None:
    reason, text = advice("loss", f"hello\n{out}\n")
    assert told in reason and told in text and repr(out) in text


@pytest.mark.parametrize(
    ("metric", "reported", "out", "meant"),
    [
        ("accuracy", ("loss", "val_accuracy"), "", "val_accuracy"),
        ("accuracy", ("loss", "acuracy"), "", "acuracy"),
        ("accuracy", ("acc", "loss"), "", "acc"),
        ("val_loss", ("eval_loss", "lr"), "", "eval_loss"),
        ("loss", (), '{"step": 1, "eval": {"loss": 0.5}}', "eval.loss"),
        ("accuracy", (), "{'eval_loss': '0.5', 'eval_accuracy': '0.9'}", "eval_accuracy"),
        ("acc", ("loss", "Accuracy"), "", "Accuracy"),
        ("acc1", ("top5", "top1"), "", "top1"),
        ("accuracy", ("train_acc", "val_acc"), "", "val_acc"),
        ("train_loss", ("test_loss", "loss"), "", "loss"),
        ("val_loss", ("train_loss", "loss", "test_loss"), "", "test_loss"),
    ],
)
def test_the_metric_that_may_be_meant_is_named(
    metric: str, reported: tuple[str, ...], out: str, meant: str
) -> None:
    text = advice(metric, out, reported)[1]
    assert f"objective: {{metric: {meant}, goal: min}}" in text and "metrics:" not in text


@pytest.mark.parametrize(
    ("metric", "reported"),
    [
        ("train_loss", ("val_loss", "test_loss")),
        ("test_loss", ("train_loss", "loss")),
        ("eval_f1", ("eval_loss",)),
    ],
)
def test_no_metric_of_another_part_or_meaning_is_named(
    metric: str, reported: tuple[str, ...]
) -> None:
    assert "objective:" not in advice(metric, "", reported)[1]


def test_a_pattern_that_matches_nothing_is_said() -> None:
    patterns = {"loss": r"Loss: ([\d.]+)"}
    reason, text = advice("loss", "loss = 0.5", metrics=patterns)
    assert r"metrics.loss, 'Loss: ([\d.]+)', matches no line" in reason and reason[-40:] in text
    assert r"metrics: {loss: 'loss = ([\d.]+)'}" in text
    reason, _ = advice("loss", "loss = low", metrics={"loss": r"loss = (\w+)"})
    assert "is no number in 'loss = low'" in reason


def test_a_training_loss_is_not_taken_for_one_of_validation() -> None:
    assert "metrics:" not in advice("val_loss", "iter 20: loss 0.16\nstep 20: train loss 0.2")[1]


MNIST = """\
Train Epoch: 1 [0/60000 (0%)]\tLoss: 2.3
Test set: Average loss: 0.05, Accuracy: 9711/10000 (97%)
Train Epoch: 2 [0/60000 (0%)]\tLoss: 1.5
Test set: Average loss: 0.04, Accuracy: 9811/10000 (98%)
"""
IMAGENET = """\
Epoch: [0][  1/1000]\tTime  0.5 ( 0.6)\tLoss 6.9e+00 (7.0e+00)\tAcc@1   0.00 (  0.10)\tAcc@5   1.00 (  1.50)
Test: [ 0/79]\tTime  0.5 ( 0.6)\tLoss 6.5e+00 (6.6e+00)\tAcc@1  12.00 ( 11.10)\tAcc@5  20.00 ( 30.50)
Epoch: [1][  1/1000]\tTime  0.5 ( 0.6)\tLoss 5.9e+00 (6.0e+00)\tAcc@1   2.00 (  2.10)\tAcc@5   3.00 (  3.50)
Test: [ 0/79]\tTime  0.5 ( 0.6)\tLoss 5.5e+00 (5.6e+00)\tAcc@1  22.00 ( 21.10)\tAcc@5  40.00 ( 40.50)
"""  # noqa: E501
KERAS = "Epoch 1/5\n9/9 - 3s - loss: 0.5 - accuracy: 0.9 - val_loss: 0.3 - val_accuracy: 0.8\n"
BARS = """\
Epoch: 0
[==>] Step: 69ms | Tot: 1s | Loss: 1.000 | Acc: 35.1% (45/128) 391/391
[==>] Step: 20ms | Tot: 1s | Loss: 1.200 | Acc: 37.1% (45/128) 100/100
Epoch: 1
[==>] Step: 59ms | Tot: 1s | Loss: 0.800 | Acc: 45.1% (45/128) 391/391
[==>] Step: 25ms | Tot: 1s | Loss: 1.100 | Acc: 47.1% (45/128) 100/100
"""
SKORCH = """\
  epoch    train_loss    valid_loss     dur
-------  ------------  ------------  ------
      1        0.9          8e-1      0.01
      2        0.8           nan      0.01
      3        0.7          -0.6      0.01
"""
RICH = "\u2503 Epoch \u2503 Train Loss \u2503 Acc \u2503\n\u2502 1 \u2502 0.5 \u2502 91% \u2502\n"
YOLO = """\
                 Class     Images  Instances      Box(P          R      mAP50  mAP50-95)
                   all        128        929      0.65      0.55       0.60      0.45
"""
SUMMED = f"{IMAGENET} *   Acc@1 25.50 Acc@5 42.00\n".replace("2.00 (  2.10)", "100.00 (100.00)")
BAR_HEADED = f"""\
Class  Images  Instances  Box(P  R  mAP50  mAP50-95): 100%|####| 2/2 [00:00<00:00, 3.1it/s]
{YOLO.splitlines()[1]}
"""
SECTIONS = "".join(
    f"= Epoch {epoch} =\nValidation:\n  acc: 0.{epoch}\n  loss: 0.{epoch}\nTraining:\n loss: 0.9\n"
    for epoch in (1, 2)
)
BELOW = (
    "Epoch 1\nTest loss:\n0.5\nTrain loss:\n0.1\nEpoch 2\nTest loss:\n\n-0.4\nTrain loss:\n0.1\n"
)
TABLE = """\
| rollout/        |        |
|    ep_len_mean  | 22.1   |
|    ep_rew_mean  | 0.4    |
| train/          |        |
|    loss         | 0.3    |
"""
BOOSTED = "[5] training's l2: 0.3 valid_0's l2: 0.4\n[9] training's l2: 0.2 valid_0's l2: 0.3\n"
KEPT = "Epoch 3: 'val_loss' reached 0.25 (best 0.25), saving '/a/epoch=3-val_loss=0.3.ckpt'\n"
JOINED = "Epoch 3 | train loss 0.5 acc 0.6 | valid loss 0.4 acc 0.7\n"


def written(metric: str, out: str) -> dict[str, str]:
    """The patterns that are told to be written."""
    found = re.search(r"^ +(metrics: .*)$", advice(metric, out)[1], re.MULTILINE)
    return yaml.safe_load(found[1])["metrics"] if found else {}


def heard(patterns: dict[str, str], out: str) -> list[tuple[int, dict[str, float]]]:
    """What they find when the same is printed again."""
    rows: list[dict[str, Any]] = []
    listener = Patterns(rows.append, patterns)
    for line in out.splitlines():
        listener.line(line.encode(), ended=True)
    listener.finish()
    return [(row.pop("step"), row) for row in rows]


@pytest.mark.parametrize(
    ("metric", "out", "values"),
    [
        ("train_loss", MNIST, [(1, 2.3), (2, 1.5)]),
        ("test_loss", MNIST, [(1, 0.05), (2, 0.04)]),
        ("val_loss", MNIST, [(1, 0.05), (2, 0.04)]),
        ("loss", MNIST, [(1, 0.05), (2, 0.04)]),
        ("acc", MNIST, [(1, 9711), (2, 9811)]),
        ("train_acc", MNIST, []),
        ("loss", IMAGENET, [(0, 6.6), (1, 5.6)]),
        ("train_loss", IMAGENET, [(0, 7.0), (1, 6.0)]),
        ("acc1", IMAGENET, [(0, 11.1), (1, 21.1)]),
        ("top1", IMAGENET, [(0, 11.1), (1, 21.1)]),
        ("val_accuracy", IMAGENET, [(0, 11.1), (1, 21.1)]),
        ("top5_acc", IMAGENET, [(0, 30.5), (1, 40.5)]),
        ("val_loss", KERAS, [(1, 0.3)]),
        ("train_loss", KERAS, [(1, 0.5)]),
        ("test_acc", KERAS, [(1, 0.8)]),
        ("val_f1", KERAS, []),
        ("test_acc", BARS, []),
        ("train_loss", BARS, []),
        ("train_acc", JOINED, [(3, 0.6)]),
        ("val_acc", JOINED, [(3, 0.7)]),
        ("acc", JOINED, [(3, 0.7)]),
        ("train_loss", "Final loss: 0.3\n", []),
        ("val_acc", "Epoch 3 train_loss: 0.5 acc: 0.6 val_loss: 0.4 acc: 0.7\n", []),
        ("accuracy", "Accuracy of the network on the 10000 test images: 55 %\n", [(1, 55)]),
        ("loss", "loss: nan, accuracy: 0.5\n", []),
        ("accuracy", "interval 3: train acc 0.5\ninterval 3: test acc 0.4\n", [(1, 0.4)]),
        ("val_loss", "Best val loss: 0.3\nval loss: 0.4\n", [(1, 0.4)]),
        ("f1", "F1-score: 0.8\n", [(1, 0.8)]),
        ("val_loss", SKORCH, [(1, 0.8), (2, math.nan), (3, -0.6)]),
        ("loss", SKORCH, [(1, 0.8), (2, math.nan), (3, -0.6)]),
        ("train_loss", SKORCH, [(1, 0.9), (2, 0.8), (3, 0.7)]),
        ("val_f1", SKORCH, []),
        ("accuracy", RICH, [(1, 91)]),
        ("val_loss", RICH, []),
        ("mAP50", YOLO, [(1, 0.6)]),
        ("loss", "step, loss\n5, 0.5\n15, 2.5e-1\n", [(5, 0.5), (15, 0.25)]),
        ("loss", "step  loss\n5  1,234.5\n", [(5, 1234.5)]),
        ("loss", "| loss | acc |\n|---|---|\n| 0.5 | 0.7 |\n", [(1, 0.5)]),
        ("loss", "the loss is small\nnow 3 5 7\n", []),
        ("accuracy", "loss  accuracy\n0.5  0.7\n0.4  -8e-1\n", [(1, 0.7), (2, -0.8)]),
        ("accuracy", "   loss  accuracy\n0  0.5  0.7\n1  0.4  0.8\n", [(1, 0.7), (2, 0.8)]),
        ("loss", "loss  accuracy\n7  0.5  0.7\n", []),
        ("accuracy", "trained\n-1.5e-3\n", [(1, -0.0015)]),
        ("accuracy", "0.5\n0.7\n", []),
        ("loss", "Epoche 1: loss 0,5\nEpoche 2: loss 0,25\n", [(1, 0.5), (2, 0.25)]),
        ("loss", "loss 1,234 of 2\n", [(1, 1234)]),
        ("acc1", SUMMED, [(1, 25.5)]),
        ("mAP50", BAR_HEADED, [(1, 0.6)]),
        ("val_loss", SECTIONS, [(1, 0.1), (2, 0.2)]),
        ("loss", SECTIONS, [(1, 0.1), (2, 0.2)]),
        ("train_loss", SECTIONS, [(1, 0.9), (2, 0.9)]),
        ("val_loss", BELOW, [(1, 0.5), (2, -0.4)]),
        ("train_loss", "Validating\nEpoch 2 loss 0.4\n", [(2, 0.4)]),
        ("val_loss", "Validating\nEpoch 2 loss 0.4\n", []),
        ("val_loss", "Validation:\nGPU:\nloss: 0.4\n", []),
        ("rollout/ep_rew_mean", TABLE, [(1, 0.4)]),
        ("train/loss", TABLE, [(1, 0.3)]),
        ("l2", BOOSTED, [(1, 0.4), (2, 0.3)]),
        ("val_loss", KEPT, [(3, 0.25)]),
        ("val_loss", "epoch 1 loss 0.1\nBest val loss: 0.3\n", [(1, 0.3)]),
        ("loss", "Final validation loss (5 epochs): 0.3\n", [(1, 0.3)]),
        ("accuracy", "accuracy: 0.25/1.0 (25.0%)\n", [(1, 0.25)]),
        ("reward", "reward = \u22120.5\n", [(1, -0.5)]),
        ("f1", "DEV : loss 0.5 - f1-score (micro avg)  0.25\n", [(1, 0.25)]),
        ("loss", "losses: [0.6, 4.5e-1, 0.25]\n", [(1, 0.25)]),
        ("loss", "loss: [0.25]\n", [(1, 0.25)]),
        ("loss", 'log: [{"step": 1, "loss": 0.6}, {"step": 2, "loss": -0.25}]\n', [(1, -0.25)]),
    ],
)
def test_what_is_told_to_be_written_finds_these_values_and_no_others(
    metric: str, out: str, values: list[tuple[int, float]]
) -> None:
    patterns = written(metric, out)
    found = heard(patterns, out) if patterns else []
    rows = [(step, row[metric]) for step, row in found if metric in row]
    assert [step for step, _ in rows] == [step for step, _ in values], patterns
    numbers = [number for _, number in values]
    assert [number for _, number in rows] == pytest.approx(numbers, nan_ok=True), patterns


def test_a_number_without_a_name_is_told_to_be_one() -> None:
    reason, text = advice("top 1", "trained\n0.7\n")
    assert "'0.7' is a number without a name: where it is 'top 1', write in the spec" in text
    assert "metrics: {\"top 1\": '^([\\d.]+)$'}" in text and "is a number without" in reason
    assert "a number without a name, one of 2: print which it is" in advice("f1", "1\n0.7\n")[1]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        *(("-0.5", -0.5), ("1.2e-05", 1.2e-5), ("91%", 0.91), ("0,5", 0.5), ("1,234.5", 1234.5)),
        *(("nan", math.nan), ("-inf", -math.inf), ("  7 ", 7)),
    ],
)
def test_the_pattern_of_a_number_without_a_name_finds_it(line: str, value: float) -> None:
    found = heard(written("loss", f"{line}\n"), line)
    assert [row["loss"] for _, row in found] == pytest.approx([value], nan_ok=True)


def test_a_number_that_no_pattern_finds_is_to_be_printed_with_its_name() -> None:
    assert written("loss", "1_000\n") == {}
    assert "'1_000' is a number without a name: print which it is" in advice("loss", "1_000\n")[1]


def test_a_pattern_that_cannot_tell_the_parts_of_the_data_apart_says_so() -> None:
    text = advice("acc", BARS)[1]
    assert r"metrics: {acc: 'Acc: ([\d.]+)%', step: 'Epoch: (\d+)'}" in text
    assert "(it also matches '[==>] Step: 59ms" in text
    assert "also matches" not in advice("loss", MNIST)[1] + advice("loss", IMAGENET)[1]
    assert "it is a value of training" in advice("loss", "Train Epoch: 2 Loss: 1.5")[1]


@pytest.mark.parametrize(
    ("out", "step"),
    [
        ("Step: 69ms | loss: 0.5\nEpoch: 0\nEpoch: 1", r"Epoch: (\d+)"),
        ("Step: 5 ms | loss: 0.5", None),
        ("step 40% loss: 0.5", None),
        ("iter 12.5it/s loss: 0.5", None),
        ("iter 1\niter 2\niter 1\niter 2\nloss: 0.5", None),
        ("Epoch 0\nstep 1\nstep 2\nEpoch 1\nstep 1\nstep 2\nloss: 0.5", r"Epoch (\d+)"),
        ("Epoch 0\nstep 1 loss: 0.7\nEpoch 0\nstep 2 loss: 0.5", r"step (\d+)"),
        ("global_step = 1 loss: 0.5", r"global_step = (\d+)"),
    ],
)
def test_a_step_is_a_whole_number_that_never_decreases(out: str, step: str | None) -> None:
    assert written("loss", out).get("step") == step


def test_a_count_is_said_to_be_one() -> None:
    assert "the value is a count, 9811, not a share" in advice("accuracy", MNIST)[1]
    assert "count" not in advice("loss", MNIST)[1]


def test_what_was_printed_is_named_where_nothing_is_like_the_metric() -> None:
    out = "{'loss': 0.7, 'epoch': 1.0}\n{'eval_loss': 0.5, 'eval_accuracy': 0.9}\n"
    reason, text = advice("f1", out)
    told = "it reported no metric at all, and printed eval_loss, eval_accuracy, loss, epoch"
    assert told in reason and told in text and "objective:" not in text


def test_json_behind_words_is_found_by_a_pattern() -> None:
    line = "INFO trainer: {'loss': 0.25, 'note': 'x'}"
    reason, text = advice("loss", f"epoch 3\n{line}\n")
    assert "JSON is read where it is all of its line" in reason and line in text
    (written,) = re.findall(r"^ +(metrics: .*)$", text, re.MULTILINE)
    patterns = yaml.safe_load(written)["metrics"]
    assert re.search(patterns["loss"], line)[1] == "0.25"  # type: ignore[index]
    assert patterns["step"] == r"epoch (\d+)"


def test_other_languages_are_told_the_form_of_a_line() -> None:
    assert (
        'a line such as {"step": 3, "loss": 0.5} on its stdout'
        in advice("loss", "", command="./train --lr {lr}")[1]
    )
    assert "it printed nothing" in advice("loss", "")[1]


def test_a_pattern_that_takes_too_long_ends_the_search(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrsearch.outside.listening.PATIENCE", 0.2)
    write(here, f"print({'a' * 60 + 'b'!r})\n", metrics={"accuracy": "(a+)+$"})
    said = lrsearch(*GRID)
    assert said.code == 2 and "metrics.accuracy: the pattern '(a+)+$' takes more" in said.err


# what never starts

ARGPARSE = "import argparse\nparser = argparse.ArgumentParser()\n"
STARTS = {
    "module": (
        "import no_such_module.inner\n",
        "ModuleNotFoundError: No module named 'no_such_module'",
        f"{sys.executable} -m pip install no_such_module",
    ),
    "name": (
        "from json import no_such\n",
        "ImportError: cannot import name",
        f"the installed json ({json.__file__}) has no such name: another version is needed",
    ),
    "name of a file of the user's": (
        "from train import no_such\n",
        "ImportError: cannot import name",
        "train.py imports itself in a circle",
    ),
    "name of a package": (
        "open('yaml.py', 'w').close()\nfrom yaml import safe_load\n",
        "ImportError: cannot import name",
        "yaml.py has no such name: write it there, or rename the file",
    ),
    "part of a module": (
        "import yaml.no_such\n",
        "ModuleNotFoundError: No module named 'yaml.no_such'",
        "the installed yaml has no such name",
    ),
    "relative": ("from . import no_such\n", "ImportError: ", "python -m package.module"),
    "file": (
        "open('data/none.csv')\n",
        "FileNotFoundError: [Errno 2] No such file or directory: 'data/none.csv'",
        "it runs in the spec's folder",
    ),
    "permission": (
        "raise PermissionError(13, 'no', 'x')\n",
        "PermissionError: [Errno 13]",
        "chmod",
    ),
    "question": (
        "input('Name: ')\n",
        "EOFError: EOF when reading a line",
        "it asks for input, and no trial is given any: have it take the answer from the command",
    ),
    "click's question": ("exit('Name: \\nAborted!')\n", "exit code 1: Aborted!", "asks for input"),
    "syntax": ("def broken(:\n", "SyntaxError: invalid syntax", "def broken(:"),
    "unknown option": (
        ARGPARSE + "parser.add_argument('--learning-rate')\nparser.parse_args(None)\n",
        "error: unrecognized arguments: --lr {lr}",
        "for --lr write --learning-rate",
    ),
    "wrong type": (
        ARGPARSE + "parser.add_argument('--lr', type=int)\nparser.parse_args()\n",
        "argument --lr: invalid int value: '{lr}'",
        "it was run as: ",
    ),
}


def test_a_command_line_is_shown_as_it_was_run(here: Path) -> None:
    script = (
        ARGPARSE
        + "parser.add_argument('--lr')\nparser.add_argument('--at')\nparser.parse_args(None)\n"
    )
    options = "--lr {lr} --sede {seed} --at {run}/{trial} --on={device}"
    write(here, script, command=f"{sys.executable} train.py {options}", seed=5)
    said = lrsearch(*GRID, "--device", "cuda:3")
    assert said.code == 2, said
    line = re.search(
        r"it was run as: \S+ train.py --lr [\d.e-]+ (.*?)(;|$)", said.err, re.MULTILINE
    )
    assert line and "{" not in line[1], said
    number = max(read(here / "runs/s").results)
    seed = read(here / "runs/s").trials[number].seed
    assert line[1] == f"--sede {seed} --at s/{number} --on=cuda:3"


@pytest.mark.parametrize("name", STARTS)
def test_three_that_never_start_end_the_search(here: Path, name: str) -> None:
    script, why, hint = STARTS[name]
    write(here, script)
    said = lrsearch(*GRID)
    assert said.code == 2, said
    assert outcomes(here) == ["failed"] * 3, said
    assert "failed alike before they reported anything, so it is no point's fault" in said.err
    assert why in said.err.split("fault: ")[1] and hint in said.err
    (here / "train.py").write_text("print('{\"accuracy\": 0.5}')\n")
    mended = lrsearch(*GRID, "--set", "search.lr.points=4", "--json")
    assert mended.code == 0, mended
    assert {each["outcome"] for each in json.loads(mended.out)["points"]} == {"completed"}


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (f"sh -c '{sys.executable} none.py {{lr}}; exit $?'", "can't open file"),
        ("sh -c 'no_such_program {lr}'", "exit code 127"),
        ("sh -c './train.py {lr}'", "exit code 126"),
    ],
)
def test_commands_that_never_start(here: Path, command: str, why: str) -> None:
    write(here, "", command=command)
    said = lrsearch(*GRID)
    assert said.code == 2 and outcomes(here) == ["failed"] * 3, said
    assert why in said.err.split("fault: ")[1]


def test_the_number_of_workers_does_not_matter(here: Path) -> None:
    write(here, "import no_such_module\n")
    assert lrsearch(*SHARED).code == 2
    assert outcomes(here) == ["failed"] * 3


def test_the_same_command_after_mending_trains_all(here: Path, monkeypatch: Any) -> None:
    write(here, "import installed_later\nprint('{\"accuracy\": 0.5}')\n")
    assert lrsearch(*GRID).code == 2
    assert lrsearch(*GRID).code == 2, "not mended yet"
    (here / "packages").mkdir()
    (here / "packages/installed_later.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(here / "packages"))
    said = lrsearch(*GRID, "--json")
    assert said.code == 0, said
    assert [each["outcome"] for each in json.loads(said.out)["points"]] == ["completed"] * 12


def test_a_module_that_the_own_python_alone_has_is_looked_for_there(here: Path) -> None:
    (here / "other-python").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    (here / "other-python").chmod(0o755)
    write(here, "import yaml\n", command=f"{here}/other-python train.py {{lr}}")
    said = lrsearch(*GRID)
    assert said.code == 2 and f"or name the Python that has it, {sys.executable}" in said.err


@pytest.mark.parametrize(
    "script",
    [
        # Of the point alone, after something was reported, or for another cause each time.
        "import sys\nopen(f'data-{sys.argv[2]}.csv')\n",
        "print('{\"accuracy\": 0.5}', flush=True)\nimport no_such_module\n",
        "import sys\nraise ValueError('a rate of ' + sys.argv[2])\n",
        "raise RuntimeError('loss is nan')\n",
    ],
)
def test_failures_that_may_be_the_point_s_go_on(here: Path, script: str) -> None:
    write(here, script, max_failures=5)
    said = lrsearch(*GRID)
    assert said.code == 1 and "6 trials failed, more than max_failures (5)" in said.err, said


def test_one_that_reports_shows_that_others_are_to_blame(here: Path) -> None:
    script = (
        "import sys\nif float(sys.argv[2]) > 1e-3:\n    import no_such_module\n"
        "print('{\"accuracy\": 0.5}')\n"
    )
    write(here, script)
    said = lrsearch(*GRID)
    assert said.code == 0, said
    assert outcomes(here).count("failed") > 3 and "completed" in outcomes(here)


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ("import no_such_module", f"{sys.executable} -m pip install no_such_module"),
        ("{**trial.params}['batchsize']", "for 'batchsize' write 'batch_size'; the parameters: "),
        ("{**trial.params}['epochs']", "mend the code"),
    ],
)
def test_a_loop_that_never_starts(here: Path, body: str, hint: str) -> None:
    (here / "late_loop.py").write_text(f"def train(trial):\n    {body}\n")
    spec = {"name": "s", "loop": "late_loop.train", "objective": "loss"}
    spec |= {"search": {"lr": {"min": 0.1, "max": 1.0, "points": 9}}, "params": {"batch_size": 8}}
    (here / "s.yaml").write_text(yaml.safe_dump(spec))
    said = lrsearch("grid", "s.yaml", "--allow-import", "late_loop", "--executor", "inline")
    assert said.code == 2 and outcomes(here) == ["failed"] * 3, said
    assert "s.yaml: loop: trials " in said.err and "failed alike" in said.err
    assert hint in said.err, said


OPTIMIZERS = """\
import torch


class Broken(torch.optim.SGD):
    def __init__(self, params, lr, momentum=0.0):
        super().__init__(params, lr=lr, momentum=momentum)

    def step(self, closure=None):
        if self.param_groups[0]["lr"] > 1e-6:  # What tiny steps raise is told before any trial.
            import no_such_kernels
        super().step()
"""


def built_in(folder: Path, **search: Any) -> Said:
    (folder / "my_optimizers.py").write_text(OPTIMIZERS)
    spec = {
        "name": "s",
        "data": "iris",
        "model": "logistic",
        "train": {"budget": "2ep", "lr": 0.1, "optimizer": {"class_path": "my_optimizers.Broken"}},
        "objective": {"metric": "accuracy"},
        "search": search,
    }
    (folder / "s.yaml").write_text(yaml.safe_dump(spec))
    alone = ("--executor", "inline", "--engine", "solo", "--device", str(DEVICE))
    return lrsearch("grid", "s.yaml", "--allow-import", "my_optimizers", *alone)


BROKEN = {"class_path": "my_optimizers.Broken"}
ANOTHER = BROKEN | {"init_args": {"momentum": 0.9}}


def test_built_in_trainings_that_never_take_a_step(here: Path) -> None:
    said = built_in(here, lr={"min": 0.01, "max": 1.0, "points": 9})
    assert said.code == 2, said
    assert outcomes(here) == ["failed"] * 3
    assert "fault: ModuleNotFoundError: No module named 'no_such_kernels'" in said.err
    assert "import no_such_kernels" in said.err


RATES = {"min": 0.01, "max": 1.0, "points": 4}


def test_an_option_that_all_of_them_share_may_be_to_blame(here: Path) -> None:
    said = built_in(here, lr=RATES, optimizer=[BROKEN, "sgd"])
    assert said.code == 0, said
    assert sorted(outcomes(here)) == ["completed"] * 4 + ["failed"] * 4


def test_options_that_all_fail_are_not(here: Path) -> None:
    said = built_in(here, lr=RATES, optimizer=[BROKEN, ANOTHER])
    assert said.code == 2 and 3 <= len(outcomes(here)) < 8, said
    history = read(here / "runs/s")
    failed = [history.trials[number] for number in history.results]
    assert len({str(each.config["train"]["optimizer"]) for each in failed}) == 2
    assert all(each.outcome is Outcome.FAILED for each in history.results.values())


def test_what_a_model_says_of_its_width_is_the_point_s(here: Path) -> None:
    (here / "my_optimizers.py").write_text(
        "import torch\n\n\nclass Net(torch.nn.Linear):\n"
        "    def __init__(self, width=9):\n"
        "        super().__init__(4, 3)\n        self.width = width\n\n"
        "    def forward(self, x):\n        if self.width % 8:\n"
        "            raise ValueError('width must be divisible by 8')\n"
        "        return super().forward(x)\n"
    )
    spec = {
        "name": "s",
        "data": "iris",
        "model": {"class_path": "my_optimizers.Net"},
        "train": {"budget": "2ep", "lr": 0.1},
        "objective": {"metric": "accuracy"},
        "search": {"model.init_args.width": {"min": 9, "max": 17, "points": 9}},
    }
    (here / "s.yaml").write_text(yaml.safe_dump(spec))
    alone = ("--executor", "inline", "--engine", "solo", "--device", str(DEVICE))
    said = lrsearch("grid", "s.yaml", "--allow-import", "my_optimizers", *alone)
    assert said.code == 0, said
    assert sorted(outcomes(here)) == ["completed"] + ["failed"] * 8


CHOOSES = """\
import argparse, json
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--opt"%s)
args = parser.parse_args()
%s
print(json.dumps({"accuracy": 0.5}))
"""


@pytest.mark.parametrize(
    ("choices", "body", "options", "completed"),
    [
        ("", "if args.opt == 'lion': import no_such_lion", ["lion", "adam"], True),
        (", choices=['adam', 'sgd']", "", ["lion", "muon", "rmsprop", "adam", "sgd"], True),
        (", choices=['adam', 'sgd']", "", ["lion", "muon", "rmsprop"], False),
        ("", "import no_such_lion", ["lion", "adam"], False),
    ],
)
def test_an_option_of_a_command_s_may_be_to_blame(
    here: Path, choices: str, body: str, options: list[str], completed: bool
) -> None:
    command = f"{sys.executable} train.py --lr {{lr}} --opt {{opt}}"
    search = {"opt": options, "lr": [0.1, 0.2, 0.3]}
    write(here, CHOOSES % (choices, body), command=command, search=search)
    said = lrsearch(*GRID)
    if completed:
        assert said.code == 0, said
        assert outcomes(here).count("completed") >= 3
    else:
        assert said.code == 2 and "failed alike" in said.err, said


def test_a_worked_example_from_the_shell(here: Path) -> None:
    """As a newcomer meets it: one message, no traceback, exit code 2."""
    write(here, PRINTS)
    command = [sys.executable, "-m", "lrsearch", *GRID]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr, shlex.join(command)
    assert done.stderr.count("error: ") == 1
