"""`lrsearch init`: what it writes passes `check` at once, and trains."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from test_cli import TRAIN, lrsearch

from lrsearch.spec import read_spec
from lrsearch.spec.templates import TEMPLATES


@pytest.mark.parametrize("kind", TEMPLATES)
def test_what_is_written_passes_check(kind: str, tmp_path: Path) -> None:
    said = lrsearch("init", tmp_path / "mine.yaml", "--from", kind)
    assert said.code == 0 and TEMPLATES[kind].doc in said.out
    spec = read_spec(tmp_path / "mine.yaml")
    # How long what it trains may take, or how often that is saved, stands there to be changed.
    assert "save" in spec.document if spec.kind is None else spec.timeout == 600.0
    assert spec.name == "mine" and spec.space and not spec.notes
    assert {each.name for each in tmp_path.iterdir()} == {"mine.yaml", *TEMPLATES[kind].files}
    (following,) = re.findall(r"^next: lrsearch (.*)$", said.out, re.MULTILINE)
    if kind == "csv":
        # The table is the user's: until it is there, check says so.
        assert re.search(r"^first: name your file", said.out, re.MULTILINE)
        checked = lrsearch(*following.split())
        assert checked.code == 2 and "data.csv: there is no such file" in checked.err
        (tmp_path / "data.csv").write_text("width,target\n1.5,a\n2.5,b\n")
    checked = lrsearch(*following.split())
    assert checked.code == 0 and checked.out.startswith("ok\n")


@pytest.mark.parametrize("kind", [kind for kind in TEMPLATES if kind != "csv"])
@pytest.mark.usefixtures("forked_loops")
def test_what_is_written_trains(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    lrsearch("init", path, "--from", kind)
    points = 2 if kind in ("mlp", "module") else 1
    few = ["--set", f"search.lr={{min: 0.01, max: 0.1, points: {points}}}"]
    if kind in ("mlp", "module"):
        few += ["--set", "train.budget=1ep", "--set", "train.batch_size=128"]
        few += ["--set", "train.schedule=cosine"]
    elif kind == "command":
        few += ["--set", "search.alpha=[1e-4]"]
    else:
        few += ["--set", "search.batch_size=[128]", "--set", "params.epochs=1"]
    inline = TRAIN if kind != "command" else ()
    allow = TEMPLATES[kind].allow.split()
    said = lrsearch("grid", path, "--runs", tmp_path / "runs", *few, *allow, *inline)
    told = f"^trials +{points} completed"
    assert said.code == 0 and re.search(told, said.out, re.MULTILINE), said


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    (tmp_path / "my_loop.py").write_text("mine\n")
    said = lrsearch("init", path, "--from", "loop")
    assert said.code == 2 and "my_loop.py exists already" in said.err and not path.exists()
    assert (tmp_path / "my_loop.py").read_text() == "mine\n"
    path.write_text("mine")
    again = lrsearch("init", path, "--from", "loop").err
    assert "my_loop.py exist already" in again
    assert again.rstrip().endswith("such as lrsearch init new/mine.yaml --from loop")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x.yaml", "--from", "comand"), "did you mean 'command'?"),
        (("x.yaml",), "which kind of spec? allowed: mlp, csv, module, loop, command"),
        (("x.txt", "--from", "mlp"), "x.txt is no name of a spec such as x.yaml"),
        ((".", "--from", "mlp"), ". is a folder such as lrsearch.yaml"),
        (("/", "--from", "mlp"), "/ is a folder such as /lrsearch.yaml"),
        (("my spec.yaml", "--from", "mlp"), "'my spec' cannot name a run"),
        (("_x.yaml", "--from", "mlp"), "'_x' cannot name a run"),
        (("/dev/null/x.yaml", "--from", "mlp"), "/dev/null is no folder"),
        (("/proc/nowhere/x.yaml", "--from", "mlp"), "cannot write"),
    ],
)
def test_slips(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    said = lrsearch("init", *arguments)
    assert said.code == 2 and message in " ".join(said.err.split()) and not said.out


def test_all_is_written_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "my_model.py").symlink_to(tmp_path / "nowhere" / "else.py")
    said = lrsearch("init", tmp_path / "x.yaml", "--from", "module")
    assert said.code == 2 and "my_model.py: File exists" in " ".join(said.err.split())
    assert [each.name for each in tmp_path.iterdir()] == ["my_model.py"]


def test_what_comes_next_can_be_pasted(tmp_path: Path) -> None:
    said = lrsearch("init", tmp_path / "a b" / "x.yaml", "--from", "mlp")
    (following,) = re.findall(r"^next: lrsearch (.*)$", said.out, re.MULTILINE)
    assert lrsearch(*shlex.split(following)).code == 0
