"""Slips on the command line: each is told with what was given, what is allowed, what to write."""

from __future__ import annotations

import pytest
from test_cli import lrsearch


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("grid", "a.yaml", "--trials"), "--trials needs N write --trials 40"),
        (("grid", "a.yaml", "--trials", "x"), "'x': it takes an integer write --trials 40"),
        (
            ("grid", "a.yaml", "--workers=0"),
            "'0': it takes a number greater than or equal to 1 write --workers 2",
        ),
        (
            ("serve", "--port", "99999"),
            "'99999': it takes a number less than or equal to 65535 write --port 8080",
        ),
        (("report", "--trial", "x"), "--trial: 'x': it takes an integer write --trial 3"),
        (("grid",), "needs CONFIG: the spec, a YAML file write lrsearch grid CONFIG"),
        (("repair",), "lrsearch repair needs RUN"),
        (("grid", "a.yaml", "b.yaml"), "lrsearch grid a.yaml && lrsearch grid b.yaml"),
        (("grid", "a.yaml", "train.lr=0.1"), "is too much write --set train.lr=0.1"),
        (("grid", "a.yaml", "fresh"), "write --fresh with its hyphens"),
        (("grid", "a.yaml", "--fresh=1"), "--fresh takes no value write --fresh"),
        (("grid", "a.yaml", "--frehs"), "there is no option --frehs did you mean --fresh?"),
        (("grid", "a.yaml", "--zzz"), "lrsearch grid --help lists the options"),
        (("list", "x"), "lrsearch list takes no argument: 'x' is too much write lrsearch list"),
        (("repor",), "there is no command 'repor' did you mean 'report'? allowed: init, check"),
        (("\x1b[2J",), r"there is no command '\x1b[2J'"),
    ],
)
def test_slips(arguments, words):
    said = lrsearch(*arguments)
    assert said.code == 2 and not said.out
    assert words in " ".join(said.err.split()), said.err


def test_specs_that_are_here_are_named(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert "such as lrsearch grid mine.yaml" in " ".join(lrsearch("grid").err.split())
