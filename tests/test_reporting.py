"""`lrsearch.report`: metrics from inside a script, whatever kind of number they are."""

from __future__ import annotations

import json
import math
import multiprocessing
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.data.built_in import read_digits
from lrsearch.reporting import report


@pytest.fixture
def listened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of metrics of a trial that this process takes itself for."""
    path = tmp_path / "metrics.jsonl"
    path.touch()
    monkeypatch.setenv("LRSEARCH_METRICS", str(path))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "value",
    [
        0.5,
        np.float32(0.5),
        np.float64(0.5),
        np.array(0.5),
        np.array([[0.5]]),
        torch.tensor(0.5),
        torch.tensor([0.5], dtype=torch.bfloat16),
        torch.tensor(0.5, requires_grad=True),
    ],
    ids=repr,
)
def test_a_number_of_any_kind_is_reported(listened: Path, value: Any) -> None:
    for step in (3, np.int64(3), torch.tensor(3)):
        report(step, loss=value)
    report(step=3, loss=value)
    assert lines(listened) == [{"step": 3, "loss": 0.5}] * 4
    report(loss=value)
    assert lines(listened)[-1] == {"loss": 0.5}


class OneValue:
    """A scalar of another library: NumPy's `size`, and no `item`."""

    size = 1

    def __float__(self) -> float:
        return 0.5


def test_a_scalar_of_another_library(listened: Path) -> None:
    report(1, loss=OneValue())
    assert lines(listened) == [{"step": 1, "loss": 0.5}]
    OneValue.__float__ = lambda self: "none"  # type: ignore[assignment, return-value]
    with pytest.raises(TypeError, match="loss is no number but OneValue"):
        report(1, loss=OneValue())


def test_what_is_not_finite_is_passed_on(listened: Path) -> None:
    report(1, loss=torch.tensor(math.nan), huge=-(10**400))
    assert listened.read_text() == '{"step": 1, "loss": NaN, "huge": -Infinity}\n'


@pytest.mark.parametrize(
    ("step", "metrics", "told"),
    [
        (1, {"loss": torch.zeros(3)}, "loss holds 3 values: report one, such as their mean"),
        (1, {"loss": np.zeros((2, 2))}, "loss holds 4 values"),
        (1, {"loss": np.zeros(0)}, "loss holds 0 values"),
        (1, {"loss": "small"}, "loss is no number but str"),
        (1, {"loss": None}, "loss is no number but NoneType"),
        (1, {"loss": [0.5]}, "loss is no number but list"),
        (1, {"loss": 1j}, "loss is no number but complex"),
        (2.5, {"loss": 1}, "a step is a whole number, not float"),
        (-1, {"loss": 1}, "a step is a whole number from 0, not -1"),
        (1, {}, "no metric is given"),
        (1, {"lo\nss": 1}, "1 to 100 printable characters"),
    ],
)
def test_what_is_no_metric_is_said_and_not_written(
    listened: Path, step: Any, metrics: dict[str, Any], told: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        report(step, **metrics)
    assert listened.read_text() == ""


def test_outside_a_search_nothing_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Untouchable:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    monkeypatch.delenv("LRSEARCH_METRICS", raising=False)
    report(-1.5, loss=Untouchable())  # type: ignore[arg-type]
    monkeypatch.setenv("LRSEARCH_METRICS", str(tmp_path / "gone" / "metrics.jsonl"))
    report(1, loss=0.5)
    assert not (tmp_path / "gone").exists()


def _report_many(worker: int) -> None:
    for step in range(300):
        report(step, **{f"worker_{worker}_{'x' * 60}": step})


def test_processes_do_not_cut_each_other_s_lines(listened: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_report_many, args=(each,)) for each in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = lines(listened)
    assert len(found) == 1200 and all(len(each) == 2 for each in found)


def test_a_script_that_reports_loads_nothing_heavy() -> None:
    code = "from lrsearch import report; report(1, loss=1); import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "lrsearch.reporting" in loaded
    assert not {"numpy", "torch", "yaml", "typer", "lrsearch.spec"} & set(loaded.split())


SCRIPT = """\
import sys
import numpy as np
from lrsearch import report

how, rate = sys.argv[1], float(sys.argv[2])
if how == "torch":  # Its import takes longer than all of these trainings.
    import torch
digits = np.load("digits.npz")
x, y = digits["x"], digits["y"]
weights, targets = np.zeros((64, 10)), np.eye(10)[y]
for step in range(1, 31):
    shares = np.exp(x @ weights)
    shares /= shares.sum(1, keepdims=True)
    loss = -np.log((shares * targets).sum(1, keepdims=True)).mean()
    weights -= rate * x.T @ (shares - targets) / len(y)
    right = np.float32(((x @ weights).argmax(1) == y).mean())
    print("step", step, "right", right.item())
    if how == "torch":
        report(step, loss=torch.tensor(loss, requires_grad=True), accuracy=torch.tensor(right))
    elif how == "numpy":
        report(step=np.int32(step), loss=np.array(loss), accuracy=right)
    elif how == "lost":
        report(step, loss=loss * float("nan"), accuracy=right)
"""


def test_a_command_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT)
    digits = read_digits()
    np.savez(tmp_path / "digits.npz", x=digits["x"].reshape(-1, 64), y=digits["y"])
    spec = {
        "name": "told",
        "command": f"{sys.executable} train.py {{how}} 0.5",
        "objective": {"metric": "accuracy"},
        "search": {"how": ["torch", "numpy", "lost"]},
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(spec))
    arguments = ["grid", "s.yaml", "--allow-command", "--executor", "inline", "--json"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    found = {each["params"]["how"]: each for each in json.loads(done.stdout)["trials"]}
    assert found["torch"]["steps"] == found["numpy"]["steps"] == 30
    assert 0.7 < found["torch"]["objective"] < 1.0
    assert found["torch"]["objective"] == found["numpy"]["objective"]
    assert found["lost"]["outcome"] == "diverged"
    assert found["lost"]["reason"] == "loss is nan at step 1"
    alone = subprocess.run([sys.executable, "train.py", "numpy", "0.5"], capture_output=True)
    assert alone.returncode == 0, alone.stderr


@pytest.mark.usefixtures("forked_loops")
def test_a_loop_takes_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "arrays_loop.py").write_text(
        "import numpy as np\nimport torch\n\n\ndef train(trial):\n"
        "    trial.report(1, loss=np.array([0.25]), other=torch.tensor([[2.0]]))\n"
        "    trial.report(torch.tensor(2), loss=torch.zeros(2))\n"
    )
    spec = {"loop": "arrays_loop.train", "objective": "loss", "search": {"n": [1]}, "name": "l"}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(spec))
    allow = ["--allow-import", "arrays_loop", "--executor", "inline"]
    done = CliRunner().invoke(app, ["grid", "s.yaml", *allow, "--json"], catch_exceptions=False)
    (trial,) = json.loads(done.stdout)["trials"]
    assert trial["steps"] == 1
    assert trial["reason"] == (
        "TypeError: report: loss holds 2 values: report one, such as their mean "
        "(arrays_loop.py, line 7)"
    )
