"""`report --html` and `export --format`: what they write, and what they refuse."""

import os
import re
import shutil
import textwrap
import threading
from pathlib import Path

import pytest
import yaml
from devices import DEVICE
from test_rooms import HEAVY, run_light
from typer.testing import CliRunner

from lrsearch.cli import app

OLDER = Path(__file__).parents[1] / "tuner" / "older"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a run of six trials, made by an older version."""
    shutil.copytree(OLDER, tmp_path / "runs" / "older")
    shutil.copy(OLDER / "spec.yaml", tmp_path / "older.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lrsearch(*words, code=0):
    said = CliRunner().invoke(app, list(words))
    assert said.exit_code == code, said.output
    return said


def test_a_page_is_written_without_torch(folder):
    output, code, modules = run_light(folder, "report", "older", "--html", "page.html")
    assert code == 0 and output == ""
    assert "jinja2" in modules and [name for name in HEAVY if name in modules] == []
    text = (folder / "page.html").read_text("utf-8")
    assert text.startswith("<!doctype html>") and text.count("<tr>") > 6
    assert "lrsearch grid" in text and "torch.optim.SGD" in text and "data hash" in text
    assert "<dd>1,438 training, 359 validation</dd>" in text


def test_a_page_is_written_into_a_pipe_which_stays_one(folder):
    """It was read first, as a page there is, and of a pipe nothing ever comes."""
    os.mkfifo(folder / "page.html")
    found = []
    path = folder / "page.html"
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()), daemon=True)
    reader.start()
    with (folder / "page.html").open("wb", buffering=0) as first:
        first.write(b"x" * 64)
        lrsearch("report", "older", "--html", "page.html")
    reader.join()
    assert found[0].startswith(b"x" * 64 + b"<!doctype html>") and b"</html>" in found[0][-9:]
    assert (folder / "page.html").is_fifo()


def test_a_page_is_written_over_and_nothing_else_is(folder):
    path = folder / "page.html"
    said = lrsearch("report", "older", "--html", "page.html")
    assert re.fullmatch(r"wrote page.html \(\d+ kB\), the page of run older\n", said.stderr)
    assert said.stdout == ""
    before = path.read_text("utf-8")
    lrsearch("report", "older", "--html", "page.html")
    assert path.read_text("utf-8") == before
    spec = (folder / "older.yaml").read_text()
    said = lrsearch("report", "older", "--html", "older.yaml", code=2)
    assert "is no page" in said.stderr and "--html report.html" in said.stderr
    assert (folder / "older.yaml").read_text() == spec
    assert "is a folder" in lrsearch("report", "older", "--html", ".", code=2).stderr
    said = lrsearch("report", "older", "--html", "x.pdf", code=2).stderr
    assert "x.pdf is named as another format\n  write --html x.html; a browser prints" in said
    said = lrsearch("report", "older", "--junit", "x.html", code=2)
    assert said.stdout == "" and "write --junit x.xml; or --html" in said.stderr
    assert not [*folder.glob("x.*")]
    assert "No such file" in lrsearch("report", "older", "--html", "no/x.html", code=2).stderr
    both = lrsearch("report", "older", "--html", "b.html", "--json", code=2)
    assert "exclude each other" in both.stderr and not (folder / "b.html").exists()


@pytest.mark.parametrize("target", ["pytorch", "lightning", "huggingface", "keras"])
def test_the_recommended_setting_as_code(folder, target):
    text = lrsearch("export", "older", "--format", target).stdout
    compile(text, target, "exec")
    assert "LR = 1\n" in text and text.startswith("# point ")
    path = folder / "setting.py"
    said = lrsearch("export", "older", "--format", target, "--output", "setting.py")
    assert path.read_text() == text and "wrote setting.py, point " in said.stderr
    assert said.stderr.endswith(" of run older\n"), "named also where nobody named a run"


def test_a_searched_model_stands_beside_its_rate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = """\
        data: {name: iris, validation: 0.2}
        model: {name: mlp, hidden: [4]}
        train: {budget: 2ba, batch_size: 16}
        search: {lr: {min: 0.1, max: 1.0, points: 2}, "model.hidden": [[7, 5]]}
        """
    (tmp_path / "wide.yaml").write_text(textwrap.dedent(spec))
    lrsearch("grid", "wide.yaml", "--executor", "inline", "--device", str(DEVICE))
    head = lrsearch("export", "wide.yaml", "--format", "pytorch").stdout.splitlines()[1:3]
    assert head[0] == "# Not carried over:"
    whole = "{name: mlp, hidden: [7,5], activation: relu, dropout: 0, batch_norm: false}"
    assert head[1] == f"#   model: {whole}"
    lrsearch("report", "wide.yaml", "--html", "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    pasted = re.search(r"model:\n  name: mlp\n.*?\ntrain:\n  budget: ", text, re.DOTALL)
    assert pasted and yaml.safe_load(pasted[0] + "1")["model"]["hidden"] == [7, 5]


def test_a_format_that_is_mistyped(folder):
    said = lrsearch("export", "older", "--format", "pytorhc", code=2)
    assert "did you mean 'pytorch'?" in said.stderr
    said = lrsearch("export", "older", "--format", "keras", "--verify", code=2)
    assert "--verify is for a spec" in said.stderr
