"""Files that a model is given by their path: their content is part of what is measured."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from devices import DEVICE
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.errors import ModelError, SpecRefused
from lrsearch.spec import read_spec
from lrsearch.spec.model import METRICS_UNIT, argument_paths, resolve
from lrsearch.store import read
from lrsearch.train.users import contents
from lrsearch.train.users.contents import Unread, content_hash, path_hashes
from lrsearch.tuner.ledger import Content, Ledger

NETS = """\
from pathlib import Path

import numpy as np
import torch

import lrsearch


def build(start, in_features, num_classes, options=None):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(in_features, num_classes))
    weights = np.load(Path(__file__).parent / start / "weights.npy")
    with torch.no_grad():
        model[1].weight.copy_(torch.from_numpy(weights))
    options = options or {}
    if "log" in options:
        with open(options["log"], "a") as log:
            log.write("built\\n")
    if "late" in options:
        file = Path(__file__).parent / options["late"] / "weights.npy"
        steps = iter(range(9))  # A few are made before the first trial.
        model.register_full_backward_hook(
            lambda *_: None if next(steps, 9) < 4 else np.save(file, weights + 1)
        )
    return model
"""

SPEC = """\
name: warm
data: {name: iris}
model: {class_path: my_nets.build, init_args: {start: one}}
train: {budget: 2ep, lr: 0.01, batch_size: 30}
objective: loss
search: {model.init_args.start: [one, two]}
"""

TRAIN = (
    "--executor",
    "inline",
    "--device",
    str(DEVICE),
    "--engine",
    "solo",
    "--allow-import",
    "my_nets",
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the spec and its weights, seen from another one."""
    folder = tmp_path / "specs"
    for number, name in enumerate(("one", "two")):
        (folder / name).mkdir(parents=True)
        weights = np.full((3, 4), 0.0, np.float32)
        weights[number] = 1
        np.save(folder / name / "weights.npy", weights)
    (folder / "my_nets.py").write_text(NETS)
    (folder / "warm.yaml").write_text(SPEC)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def lrsearch(*arguments: object) -> Any:
    env = {"COLUMNS": "80", "LRSEARCH_RUNS": None}
    done = CliRunner().invoke(app, list(map(str, arguments)), env=env, catch_exceptions=False)
    assert "Traceback" not in done.output
    return done


def grid(here: Path, *more: str) -> Any:
    return lrsearch("grid", here / "warm.yaml", *TRAIN, *more)


def test_other_weights_are_another_measurement(here: Path) -> None:
    said = grid(here, "--json")
    assert said.exit_code == 0, said.output
    found = [trial["objective"] for trial in json.loads(said.stdout)["trials"]]
    assert len(set(found)) == 2, "the weights decide"
    assert "would train 0 trials" in grid(here, "--dry-run").stdout

    # Written again, of another age, in another place: the content is the same.
    (here / "one" / "weights.npy").touch()
    here.rename(here.with_name("moved"))
    here = here.with_name("moved")
    assert "would train 0 trials" in grid(here, "--dry-run").stdout

    weights = np.load(here / "one" / "weights.npy")
    np.save(here / "one" / "weights.npy", weights + 1)
    assert "would train 1 trial of" in grid(here, "--dry-run").stdout, "the other's still counts"
    np.save(here / "two" / "weights.npy", weights + 2)
    said = grid(here)
    assert said.exit_code == 2
    told = " ".join(said.stderr.split())
    assert "the content of one and two, which the init_args name, has changed" in told
    again = grid(here, "--fresh", "--json")
    assert [trial["objective"] for trial in json.loads(again.stdout)["trials"]] != found


def test_weights_that_change_meanwhile_end_the_run(here: Path) -> None:
    spoil = "model.init_args.options={late: one}"  # A model that writes to its own weights.
    said = grid(here, "--set", "model.init_args.start=one", "--set", spoil, "--set", "seeds=2")
    assert said.exit_code == 2, said.output
    told = " ".join(said.stderr.split())
    assert "one: what the init_args name is not what the run began with" in told
    report = json.loads(lrsearch("report", "warm", "--json").stdout)
    assert [trial["outcome"] for trial in report["trials"]] == ["completed", None]


def test_what_the_code_writes_to_is_no_part_of_it(here: Path) -> None:
    given = ("--set", "model.init_args.options={log: built.log}")
    said = grid(here, *given)
    assert said.exit_code == 0, said.output
    assert "known by: your code writes to it" in " ".join(said.stderr.split())
    lines = Path("built.log").read_text().count("built")
    assert "would train 0 trials" in grid(here, *given, "--dry-run").stdout
    assert Path("built.log").read_text().count("built") > lines
    # Empty at first, or not there, and written to by the trainings alone.
    (here / "logs").mkdir()
    given = ("--set", "model.init_args.options={late: logs, no: no.txt}", "--set", "name=late")
    assert grid(here, *given).exit_code == 0
    assert (here / "logs" / "weights.npy").exists()
    (here / "no.txt").write_text("now")
    assert "would train 0 trials" in grid(here, *given, "--dry-run").stdout
    assert grid(here, *given).exit_code == 0


def config(here: Path, *given: str, **init_args: Any) -> dict[str, Any]:
    text = SPEC.replace("{start: one}", json.dumps(init_args)).partition("search")[0]
    (here / "other.yaml").write_text(text)
    return resolve(read_spec(here / "other.yaml", given), {})


def test_what_is_hashed(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hashes(**init_args: Any) -> dict[str, str]:
        return path_hashes(argument_paths(config(here, **init_args)), str(here))[0]

    one = hashes(start="one")["path:one"]
    assert one == content_hash(here / "one")
    assert list(hashes(a={"b": ["one/weights.npy"]})) == ["path:one/weights.npy"]
    assert hashes(a=str(here / "one"))[f"path:{here / 'one'}"] == one
    nothing = hashes(a="relu", b="none.pt", c=3, d="x" * 5000, e="/", f="", g=None)
    assert len(nothing) == 5 and not any(nothing.values())
    # From where you are, too: code that opens "data/x" means that.
    (tmp_path / "elsewhere" / "one").mkdir()
    assert hashes(a="one")["path:one"] == one, "an empty folder has no content"
    (tmp_path / "elsewhere" / "one" / "x").write_text("x")
    assert hashes(a="one")["path:one"].startswith(f"{one}+")
    monkeypatch.setenv("HOME", str(here))
    assert hashes(a="~/one")["path:~/one"] == one
    # By the folder's visible files, and their names.
    for hidden in (".cache", "__pycache__"):
        (here / "one" / hidden).mkdir()
        (here / "one" / hidden / "x").write_text("x")
    (here / "one" / ".lock").write_text("x")
    assert content_hash(here / "one") == one
    (here / "one" / "more").mkdir()
    (here / "one" / "more" / "x").write_text("x")
    more = content_hash(here / "one")
    (here / "one" / "more" / "x").rename(here / "one" / "more" / "y")
    assert len({one, more, content_hash(here / "one")}) == 3
    (here / "one" / "weights.npy").rename(here / "blob")
    (here / "one" / "weights.npy").symlink_to(here / "blob")
    assert content_hash(here / "one") != more, "as a cache of models has it: links to blobs"
    os.mkfifo(here / "pipe")
    assert hashes(a="pipe") == {"path:pipe": ""}, "reading it would wait for ever"


def test_what_is_not_read_is_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, unread = path_hashes(argument_paths(config(here, a=".", b="..", c="one")), str(here))
    assert [name for name in found if found[name]] == ["path:one"]
    assert set(unread) == {
        "path:.",
        "path:..",
    }
    said = lrsearch("grid", here / "warm.yaml", *TRAIN, "--set", "model.init_args.options={a: ..}")
    assert said.exit_code == 0
    told = " ".join(said.stderr.split())
    assert "what is in '..', which the init_args name, is not part of" in told
    assert "known by: it holds the spec, or the folder you are in" in told
    monkeypatch.setattr(contents, "MOST_FILES", 2)
    for name in "abc":
        (here / "two" / name).write_text(name)
    with pytest.raises(Unread, match="more than 2 files"):
        content_hash(here / "two")

    (here / "one" / "loop").symlink_to(here / "one")
    with pytest.raises(Unread):
        content_hash(here / "one")


@pytest.mark.usefixtures("no_override")
def test_what_cannot_be_read_is_an_error(here: Path) -> None:
    (here / "two" / "weights.npy").chmod(0)
    with pytest.raises(ModelError, match="init_args name 'two', which cannot be read"):
        path_hashes(argument_paths(config(here, a="two")), str(here))


def test_data_are_known_by_what_they_are(here: Path) -> None:
    """A function of data is given paths, too: what it returns is hashed already."""
    (here / "data.yaml").write_text(
        "data: {class_path: my_nets.load, init_args: {file: one}}\n"
        "model: {name: logistic}\ntrain: {budget: 1ep, lr: 0.1}\n"
    )
    assert path_hashes(argument_paths(resolve(read_spec(here / "data.yaml"), {})), str(here)) == (
        {},
        {},
    )


def test_metrics_in_another_unit_are_another_measurement(here: Path) -> None:
    """Older runs gave metrics of one's own scaled targets: they report, and nothing is mixed."""
    (here / "my_nets.py").write_text("def off(a, b):\n    return (a - b).abs().mean()\n")
    head = "name: warm\ndata: {name: diabetes}\nobjective: {metric: off, goal: min}\n"
    head += "model: logistic\n"
    train = "train: {budget: 1ep, batch_size: 90, metrics: {off: my_nets.off}, loss: LOSS}\n"
    spec = here / "warm.yaml"
    for loss, units in (("my_nets.off", {}), ("mse", {METRICS_UNIT: "as given"})):
        spec.write_text(head + train.replace("LOSS", loss) + "search: {lr: [0.01]}\n")
        assert grid(here, "--fresh").exit_code == 0
        history = read(Path("runs/warm"))
        sources = history.sessions[-1]["facts"]["source_hashes"]
        assert {name: sources[name] for name in sources if name == METRICS_UNIT} == units
    facts, asked = history.sessions[-1]["facts"], read_spec(spec)
    assert not Ledger(asked, Content("regression", facts["data_hash"], sources), history).hidden
    now = {**sources, METRICS_UNIT: "another"}
    facts["source_hashes"] = {name: sources[name] for name in sources if name != METRICS_UNIT}
    ledger = Ledger(asked, Content("regression", facts["data_hash"], now), history)
    assert ledger.hidden == 1
    with pytest.raises(SpecRefused, match=r"the unit in which train\.metrics get the targets"):
        ledger.refuse_stranger()
