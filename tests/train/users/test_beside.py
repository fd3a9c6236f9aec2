"""Files beside a spec: none runs, or stands in for another module, because of its name alone."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from driving import places

from lrsearch.errors import causes
from lrsearch.train.device import is_out_of_memory, release
from lrsearch.train.users.beside import find_imported, find_missing, found_beside

pytestmark = pytest.mark.fresh("is about what an interpreter imports")

SHADOWS = (
    *("sklearn", "scipy", "joblib", "pandas", "sympy", "tree", "profile", "html", "numpy", "torch"),
    *("yaml", "rich", "optuna", "pickletools", "cProfile", "antigravity", "safetensors", "typer"),
    *("tqdm", "IPython", "matplotlib", "secrets", "statistics", "pyarrow", "PIL", "colorama"),
    *("threadpoolctl", "networkx", "jinja2", "sqlalchemy", "usercustomize", "sitecustomize"),
)
RAN = "from pathlib import Path\nPath(__file__).with_name('ran').open('a').write(__name__ + ' ')\n"
SPEC = """
data: digits
model: {name: mlp, hidden: [8]}
train: {budget: 20ba}
search: {lr: [0.01, 0.1]}
"""
NETS = """
import helpers
import profile
from torch import nn
from parts.layers import Layer
try:
    import tree
except ImportError:
    tree = None

class Net(nn.Module):
    def __init__(self, in_features, num_classes):
        super().__init__()
        import late_one
        self.layer = Layer(in_features, late_one.WIDTH)
        self.head = nn.Linear(late_one.WIDTH, num_classes)
        assert helpers.HERE and hasattr(profile, "Profile")

    def forward(self, x):
        return self.head(self.layer(x))
"""
LAYER = """
import deeper
from torch import nn

class Layer(nn.Linear):
    def forward(self, x):
        return deeper.act(super().forward(x.flatten(1)))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(RAN)
    (tmp_path / "small.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    environment = {**os.environ, "LRSEARCH_RUNS": "runs"}
    here = str(Path(__file__).parents[3])
    environment["PYTHONPATH"] = places(here)
    return subprocess.run(
        [sys.executable, "-m", "lrsearch", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.mark.parametrize("command", ["check", "grid --dry-run"])  # More: tests/faults.
def test_with_nothing_allowed_nothing_of_the_folder_runs(folder, command):
    strategy, *options = command.split()
    done = run(strategy, "small.yaml", *options)
    assert done.returncode == 0, done.stderr
    assert not (folder / "ran").exists(), (folder / "ran").read_text()


@pytest.mark.parametrize("executor", ["local", "inline"])
def test_with_something_allowed_it_and_what_it_imports_runs(folder, executor):
    (folder / "nets.py").write_text(NETS)
    (folder / "helpers.py").write_text("HERE = True")
    (folder / "late_one.py").write_text("WIDTH = 4")
    (folder / "deeper.py").write_text("from torch import relu as act")
    (folder / "parts").mkdir()
    (folder / "parts" / "layers.py").write_text(LAYER)
    spec = SPEC.replace("{name: mlp, hidden: [8]}", "{class_path: nets.Net}")
    (folder / "small.yaml").write_text(spec)
    options = ("--executor", executor, "--workers", "1", "--engine", "solo")
    done = run("grid", "small.yaml", "--allow-import", "nets", *options)
    assert done.returncode == 0, done.stderr
    # `tree` is imported by the allowed module and is nowhere else; `profile` is Python's own.
    ran = (folder / "ran").read_text() if (folder / "ran").exists() else ""
    assert set(ran.split()) <= {"tree"}, ran


LOOP = """
import helpers

def train(trial):
    import profile
    assert hasattr(profile, "Profile")
    trial.report(1, loss=trial.params["lr"] + helpers.ZERO)
"""


def test_a_loop_s_process_finds_what_its_module_imports(folder):
    (folder / "mine.py").write_text(LOOP)
    (folder / "helpers.py").write_text("ZERO = 0")
    (folder / "loop.yaml").write_text("loop: mine.train\nobjective: loss\nsearch: {lr: [1.0, 2.0]}")
    done = run("grid", "loop.yaml", "--allow-import", "mine", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert not (folder / "ran").exists(), (folder / "ran").read_text()


LOADER = """
import torch
from torch.utils.data import DataLoader, Dataset

class Numbers(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        return torch.full((3,), float(index)), index % 2

def load():
    return DataLoader(Numbers(), 8, num_workers=1, multiprocessing_context="spawn")
"""


def test_workers_that_a_loader_spawns_find_the_user_s_module(folder):
    (folder / "mine.py").write_text(LOADER)
    spec = "data: {class_path: mine.load}\nmodel: mlp\ntrain: {budget: 4ba, batch_size: 8, lr: 0.1}"
    (folder / "small.yaml").write_text(spec)
    done = run("grid", "small.yaml", "--allow-import", "mine", "--executor", "inline")
    assert done.returncode == 0, done.stderr


def test_an_allowed_name_is_the_folder_s_before_all_others(tmp_path):
    (tmp_path / "profile.py").write_text("MINE = True")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "inner.py").write_text("MINE = True")
    (tmp_path / "html").mkdir()  # Without __init__.py: Python's own package goes before it.
    before = list(sys.path), list(sys.meta_path)
    held = {name: sys.modules.pop(name, None) for name in ("profile", "html", "bare")}
    try:
        with found_beside(str(tmp_path), ("profile", "bare", "html"), ()):
            import html
            import profile

            import bare.inner

            assert profile.MINE and bare.inner.MINE and hasattr(html, "escape")
        assert (sys.path, sys.meta_path) == before
    finally:
        for name, module in held.items():
            sys.modules.pop(name, None)
            sys.modules |= {name: module} if module else {}


def test_what_modules_import_is_read_from_their_source(tmp_path):
    sources = {
        "a.py": "import b, os\nfrom c import x\ndef f():\n    from d.e import y",
        "b.py": "import missing, g",
        "c/__init__.py": "from . import inner",
        "c/inner.py": "import h",
        "d/e.py": "import a",
        "g.py": "this is no Python",
        "h.py": "",
        "unused.py": "import everything",
        "os.py": "",
    }
    for name, source in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(source))
    found = find_imported(str(tmp_path), ["a", "nowhere"])
    assert found - {"a"} == {"b", "c", "d", "g", "h", "os"}


def test_errors_that_are_each_other_s_cause_are_looked_at_once():
    first, second = RuntimeError("first"), MemoryError("second")
    first.__cause__, second.__cause__ = second, first
    assert list(causes(first)) == [first, second] and list(causes(second)) == [second, first]
    assert find_missing(first, ".", ()) == "" and is_out_of_memory(first)
    release(first)
    hidden = ValueError("hidden")
    hidden.__context__, hidden.__suppress_context__ = first, True
    assert list(causes(hidden)) == [hidden] and not is_out_of_memory(hidden)
