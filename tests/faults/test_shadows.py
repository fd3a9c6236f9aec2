"""Files beside a spec that have the name of any module that is asked for: none of them runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from driving import COMMAND, DIGITS, LOOP, MY_LOOP, Command, Tries, places

RAN = "from pathlib import Path\nPath(__file__).with_name('ran').open('a').write(__name__ + ' ')\n"

LISTENING = """
import os
import sys


class _Listener:
    def find_spec(self, name, path=None, target=None):
        if path is None:
            with open(os.environ["LRSEARCH_FAULTS_ASKED"], "a") as file:
                file.write(name + "\\n")


sys.meta_path.insert(0, _Listener())
"""
"""Writes down the modules that any process asks for."""

OWN = """
data: {class_path: mine.load}
model: {class_path: mine.Net}
train: {budget: 20ba, batch_size: 8, lr: 0.1}
"""
MINE = """
import torch
import helpers

def load():
    return torch.ones(40, 3), torch.arange(40) % 2

class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(3, helpers.CLASSES)
"""
NAMED = (
    *("sklearn", "scipy", "joblib", "pandas", "sympy", "tree", "profile", "html", "numpy", "torch"),
    *("yaml", "rich", "optuna", "pickletools", "cProfile", "antigravity", "safetensors", "typer"),
    *("tqdm", "IPython", "matplotlib", "secrets", "statistics", "pyarrow", "PIL", "colorama"),
    *("threadpoolctl", "networkx", "jinja2", "sqlalchemy", "usercustomize", "sitecustomize"),
    *("lrsearch", "lightning", "transformers", "schedulefree", "prodigyopt", "pydantic", "triton"),
)
"""What is shadowed in any case, also where this Python asks for it only now and then."""

SPECS = {
    "built-ins": (DIGITS, {}, ()),
    "own code": (OWN, {"mine.py": MINE, "helpers.py": "CLASSES = 2"}, ("--allow-import", "mine")),
    "loop": (LOOP, {"my_loop.py": MY_LOOP}, ("--allow-import", "my_loop")),
    "command": (COMMAND, {}, ("--allow-command",)),
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The top-level modules that a search asks for, found or not, in all its processes."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "hooks").mkdir()
    (folder / "hooks" / "sitecustomize.py").write_text(LISTENING)
    (folder / "small.yaml").write_text(DIGITS)
    here = str(Path(__file__).parents[2])
    environment = {
        "PYTHONPATH": places(folder / "hooks", here),
        "LRSEARCH_FAULTS_ASKED": str(folder / "asked"),
    }
    line = ("bayes", "small.yaml", "--trials", "2", "--workers", "1")
    Command(folder, *line, **environment).wait().check(0)
    names = {name.split(".")[0] for name in (folder / "asked").read_text().splitlines()}
    built_in = {*sys.builtin_module_names, "encodings", "codecs", "io", "abc", "site", "os"}
    found = {name for name in names if name.isidentifier()} - built_in
    assert {"torch", "sklearn", "optuna"} <= found and len(found) > 100, found
    return sorted(found | set(NAMED))


@pytest.mark.kind("name of a module beside a spec")
@pytest.mark.parametrize("kind", SPECS)
def test_no_file_beside_a_spec_runs_by_its_name(
    kind: str, asked: list[str], tries: Tries, tmp_path: Path
) -> None:
    spec, files, allowed = SPECS[kind]
    uses = [("check",), ("show",), ("grid", "--dry-run"), ("grid", "--workers", "1")]
    uses += [("report",), ("export", "--verify")]
    if kind == "built-ins":
        uses.append(("bayes", "--trials", "2", "--executor", "inline"))
    if not tries.long:
        uses = uses[3:4] if kind != "own code" else uses[2:3]
    for name in asked:
        if f"{name}.py" not in files:
            (tmp_path / f"{name}.py").write_text(RAN)
    for name, content in {"small.yaml": spec, **files}.items():
        (tmp_path / name).write_text(content)
    for use, *options in uses:
        with tries.one(f"{use} {' '.join(options)} of {kind}"):
            more = () if use in ("show", "report") else allowed
            Command(tmp_path, use, "small.yaml", *options, *more).wait().check(0)
            ran = tmp_path / "ran"
            assert not ran.exists(), f"{ran.read_text()}ran"
            tries.figures.tries += len(asked) - 1
