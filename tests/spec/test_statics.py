"""What `check` finds without running or importing anything, held against what would happen."""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.data.parquet import read_names
from lrsearch.errors import Fault, SpecError
from lrsearch.spec import modules, read_spec
from lrsearch.spec.code import code_faults, find_uses
from lrsearch.spec.document import read_document
from lrsearch.spec.modules import Found, look_up, signature, torch_names
from lrsearch.spec.scripts import command_faults
from lrsearch.spec.statics import find_faults

ROOT = Path(__file__).parents[2]
TORCH = "import torch\nfrom torch import nn\n"
NET = (
    TORCH
    + """
class Net(nn.Module):
    def __init__(self, in_channels, num_classes, width=8):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.Linear(width, num_classes))

    def forward(self, x):
        return self.net(x)
"""
)


def lrsearch(*arguments: object) -> Any:
    env = {"COLUMNS": "100", "LRSEARCH_RUNS": None}
    return CliRunner().invoke(app, list(map(str, arguments)), env=env, catch_exceptions=False)


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_RUNS", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("train", "told", "hint"),
    [
        ("optimizer: {class_path: torch.optim.SGDD}", "torch.optim has no 'SGDD'",
         "write class_path: torch.optim.SGD"),
        ("optimizer: {class_path: optim.Adam}", "no module 'optim'",
         "write class_path: torch.optim.Adam"),
        ("loss: {class_path: torch.nn.MSELos}", "torch.nn has no 'MSELos'",
         "write class_path: torch.nn.MSELoss"),
        ("loss: torch.nn.Zzz", "torch.nn has no 'Zzz'", "write loss: torch.nn.CrossEntropyLoss"),
    ],
)  # fmt: skip
def test_names_of_torch_are_known_without_it(tmp_path, train, told, hint):
    (fault,) = faults_of(tmp_path, f"data: iris\nmodel: mlp\ntrain: {{{train}}}\n")
    assert told in fault.message and fault.hint.startswith(hint)


def test_all_that_torch_has_is_known():
    import torch

    for package in ("optim", "nn"):
        there = {each for each in vars(getattr(torch, package)) if each[0].isupper()}
        assert there - {"Callable", "T", "TypeVar"} <= torch_names(package)


def faults_of(folder: Path, text: str) -> list[Fault]:
    """Those of what a spec names, whatever else is wrong with it."""
    return find_faults(read_document(text, "s.yaml"), folder, read_names)


# sources --------------------------------------------------------------------------------------

TABLE = "price,rooms,zip\n1.5,2,a\n2.5,3,b\n3.5,4,c\n"
MISSING: dict[str, tuple[dict[str, str], str, str, str]] = {
    "a slip in a name": (
        {"houses.csv": TABLE},
        "{name: csv, source: house.csv, target: price}",
        "data.source",
        "write source: houses.csv",
    ),
    "a slip in a folder's name": (
        {"tables/houses.csv": TABLE},
        "{name: csv, source: table/houses.csv, target: price}",
        "data.source",
        "write source: tables/houses.csv",
    ),
    "nothing like it": (
        {"zebra.csv": TABLE},
        "{name: csv, source: q.csv, target: price}",
        "data.source",
        "in that folder: zebra.csv",
    ),
    "the spec and its script alone": (
        {"houses.yaml": "", "houses.py": ""},
        "{name: csv, source: houses.csv, target: price}",
        "data.source",
        "--set data.source=PATH",
    ),
    "nothing at all": (
        {},
        "{name: npz, source: q.npz}",
        "data.source",
        "--set data.source=PATH",
    ),
    "a folder for a file": (
        {"tables/houses.csv": TABLE},
        "{name: csv, source: tables, target: price}",
        "data.source",
        "a file is needed\n  write source: tables/houses.csv",
    ),
    "a file for a folder": (
        {"photos.png": "x"},
        "{name: images, source: photos.png}",
        "data.source",
        "a file, not a folder of images",
    ),
    "a folder of images that is not there": (
        {"photos/a/1.png": "x"},
        "{name: images, source: photo}",
        "data.source",
        "write source: photos",
    ),
    "images without class folders": (
        {"photos/1.png": "x"},
        "{name: images, source: photos}",
        "data.source",
        "there are no class folders",
    ),
    "an empty file": (
        {"a.csv": ""},
        "{name: csv, source: a.csv, target: y}",
        "data.source",
        "is empty",
    ),
    "an archive for a text": (
        {"a.csv": "PK\x03\x04"},
        "{name: csv, source: a.csv, target: y}",
        "data.source",
        "no text, but an archive",
    ),
    "a target that is no column": (
        {"houses.csv": TABLE},
        "{name: csv, source: houses.csv, target: prize}",
        "data.target",
        "write target: price; its columns: price, rooms, zip",
    ),
    "a column without a name": (
        {"houses.csv": TABLE.replace("rooms,zip", "price,")},
        "{name: csv, source: houses.csv, target: price}",
        "data.source",
        "the 3rd column has no name",
    ),
    "columns alike": (
        {"houses.csv": TABLE.replace("rooms,zip", "price,")},
        "{name: csv, source: houses.csv, target: price}",
        "data.source",
        "two columns are named 'price': the 1st and the 2nd",
    ),
    "another separator": (
        {"houses.csv": TABLE.replace(",", ";")},
        "{name: csv, source: houses.csv, target: price}",
        "data.target",
        'write separator: ";"',
    ),
    "a dropped name that is no column": (
        {"houses.csv": TABLE},
        "{name: csv, source: houses.csv, target: price, drop: [zip, room]}",
        "data.drop.1",
        "write rooms; its columns",
    ),
    "a category that is no column": (
        {"houses.csv": TABLE},
        "{name: csv, source: houses.csv, target: price, categorical: [zipp]}",
        "data.categorical.0",
        "write zip; its columns",
    ),
    "no archive": (
        {"a.npz": "text"},
        "{name: npz, source: a.npz}",
        "data.source",
        "not a readable NumPy archive",
    ),
    "text for a Parquet file": (
        {"a.parquet": "price,y"},
        "{name: parquet, source: a.parquet, target: y}",
        "data.source",
        "it begins with 'price,y': read text with data: {name: csv}",
    ),
    "no Parquet file": (
        {"b.parquet": "x"},
        "{name: parquet, source: a.parquet, target: y}",
        "data.source",
        "write source: b.parquet",
    ),
}


@pytest.mark.parametrize("kind", MISSING)
def test_data_that_are_not_there(here: Path, kind: str) -> None:
    files, data, key, words = MISSING[kind]
    write(here, files)
    (here / "s.yaml").write_text(
        f"name: s\ndata: {data}\nmodel: {{name: mlp}}\ntrain: {{budget: 1ep, lr: 0.1}}\n"
    )
    said = lrsearch("check", "s.yaml")
    assert said.exit_code == 2 and said.stdout == ""
    assert said.stderr.startswith(f"error: s.yaml:2: {key}: ")
    assert words in said.stderr
    # Without a look it is a spec, which a stored run may go on having.
    assert read_spec(here / "s.yaml").name == "s"
    # What is refused here is refused by what reads it, too.
    with pytest.raises(Exception) as raised:
        from lrsearch.data.sources import load

        load(read_spec(here / "s.yaml").data, resolver=lambda _: pytest.fail("no code"))
    assert type(raised.value).__name__ == "DataError"


def test_a_link_that_leads_nowhere(here: Path) -> None:
    (here / "a.npz").symlink_to("b.npz")
    (fault,) = faults_of(here, "data: {name: npz, source: a.npz}")
    assert fault.message == f"a.npz is a link to {here / 'b.npz'}: there is no such file"


def test_a_device_is_no_file_of_data(here: Path) -> None:
    (fault,) = faults_of(here, "data: {name: csv, source: /dev/null, target: y}")
    assert fault.message == "/dev/null: it is a device, and a file is needed"


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"X": 1, "y": 1}, "x missing;"),
        ({"x_train": 1, "y": 1}, "y_train missing;"),
        ({"x": 1}, "y missing;"),
        ({"x": 1, "y": 1}, ""),
        ({"x_train": 1, "y_train": 1, "more": 1}, ""),
    ],
)
def test_the_names_in_an_archive(here: Path, arrays: dict[str, int], words: str) -> None:
    np.savez(here / "a.npz", **{name: np.zeros(value) for name, value in arrays.items()})
    found = faults_of(here, "data: {name: npz, source: a.npz, task: own}")
    assert bool(found) == bool(words)
    assert all(words in fault.message and fault.line == 1 for fault in found)


def test_a_single_array_is_no_archive(here: Path) -> None:
    np.save(here / "a.npy", np.zeros(3))
    (fault,) = faults_of(here, "data: {name: npz, source: a.npy}")
    assert "single array" in fault.message and "numpy.savez" in fault.hint


def test_the_columns_of_a_parquet_file(here: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"price": [1.0, 2.0], "rooms": [1, 2]})
    parquet.write_table(table, here / "a.parquet")
    (fault,) = faults_of(here, "data: {name: parquet, source: a.parquet, target: prize}")
    assert fault.key == "data.target" and "write target: price" in fault.hint
    assert not faults_of(here, "data: {name: parquet, source: a.parquet, target: price}")


def test_a_path_is_seen_from_the_spec(here: Path) -> None:
    write(here, {"data/houses.csv": TABLE, "configs/empty.txt": ""})
    (here / "configs" / "s.yaml").write_text(
        "data: {name: csv, source: data/houses.csv, target: price}\n"
        "model: mlp\ntrain: {budget: 1ep, lr: 0.1}\n"
    )
    said = lrsearch("check", "configs/s.yaml")
    assert "write source: ../data/houses.csv" in said.stderr
    # With --set it is seen from here.
    assert (
        lrsearch("check", "configs/s.yaml", "--set", "data.source=data/houses.csv").exit_code == 0
    )
    said = lrsearch("check", "configs/s.yaml", "--set", "data.source=data/house.csv")
    assert "--set data.source" in said.stderr and "houses.csv" in said.stderr


HEADERS = {
    "a byte order mark": "\ufeffprice,rooms\n1,2\n",
    "blank lines first": "\n\nprice,rooms\n1,2\n",
    "blanks around names": " price , rooms\n1,2\n",
    "quotes": '"price","ro,oms"\n1,2\n',
}


@pytest.mark.parametrize("kind", HEADERS)
def test_headers_are_read_as_the_data_are(here: Path, kind: str) -> None:
    (here / "a.csv").write_text(HEADERS[kind], encoding="utf-8")
    assert not faults_of(here, "data: {name: csv, source: a.csv, target: price}")
    assert faults_of(here, "data: {name: csv, source: a.csv, target: pricee}")


def test_lines_above_a_header_are_told_of(here: Path) -> None:
    (here / "a.csv").write_text("# made in May\n\nprice,rooms\n1,2\n")
    (fault,) = faults_of(here, "data: {name: csv, source: a.csv, target: price}")
    assert fault.hint == "line 3 names the columns: take away what stands above it"


def test_packages_that_are_not_installed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "data: {name: parquet, source: a.parquet, target: y}\n"
        "search:\n  optimizer: [sgd, {name: prodigy}]\n"
    )
    (here / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    found = {fault.key: fault for fault in faults_of(here, text)}
    assert "lrsearch[parquet]" in found["data.name"].hint
    assert "lrsearch[optimizers]" in found["search.optimizer.1"].hint


# code -----------------------------------------------------------------------------------------


def code_spec(role: str, class_path: str, arguments: str = "{}") -> str:
    code = f"{{class_path: {class_path}, init_args: {arguments}}}"
    if role == "loop":
        return f"loop: {class_path}\n"
    if role == "metrics":
        return f"train:\n  metrics: {{m: {code}}}\n"
    if role == "transforms":
        return f"data: {{name: digits, transforms: [{code}]}}\n"
    return f"{role}: {code}\n" if role in ("model", "data") else f"train:\n  {role}: {code}\n"


PLACED: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "data": ((), ()),
    "model": ((), ()),
    "loss": ((), (1, 2)),
    "metrics": ((), (1, 2)),
    "step": ((), (1, 2)),
    "optimizer": ((), ()),
    "transforms": ((), (1,)),
    "schedule": ((), (0.5,)),
    "loop": ((), (None,)),
}
"""By role what a class, and a function, is given by place."""

INIT = "class Net(nn.Module):\n    def __init__({}):\n        super().__init__()\n"

WRONG: dict[str, tuple[str, str, str, dict[str, str], str, str]] = {
    "an argument's name": (
        "model",
        "Net",
        "{widht: 1}",
        {"": TORCH + INIT.format("self, width=3")},
        "model.init_args.widht",
        "did you mean 'width'?",
    ),
    "a required argument": (
        "model",
        "Net",
        "{}",
        {"": TORCH + INIT.format("self, hidden, num_classes")},
        "model.class_path",
        "needs 'hidden'",
    ),
    "a keyword-only argument": (
        "model",
        "Net",
        "{}",
        {"": TORCH + INIT.format("self, *, hidden")},
        "model.class_path",
        "init_args: {hidden: ...}",
    ),
    "an argument of the base": (
        "model",
        "Small",
        "{b: 1}",
        {"": TORCH + INIT.format("self, a=1") + "class Small(Net): pass\n"},
        "model.init_args.b",
        "allowed: a",
    ),
    "an argument of a base from another module": (
        "model",
        "Small",
        "{b: 1}",
        {
            "": "from MODULE_base import Net\nclass Small(Net): pass\n",
            "_base": TORCH + INIT.format("self, a=1"),
        },
        "model.init_args.b",
        "allowed: a",
    ),
    "a name": (
        "model",
        "Nett",
        "{}",
        {"": NET},
        "model.class_path",
        "write class_path: MODULE.Net",
    ),
    "a name in no way alike": (
        "model",
        "Quux",
        "{}",
        {"": NET},
        "model.class_path",
        "did you mean 'Net'?",
    ),
    "a file's ending": (
        "model",
        "py.Net",
        "{}",
        {"": NET},
        "model.class_path",
        "leave out .py: MODULE.Net",
    ),
    "a file": ("model", "py", "{}", {"": NET}, "model.class_path", "leave out .py: MODULE.Net"),
    "a file of several": (
        "model",
        "py",
        "{}",
        {"": NET + "\n\nclass Other(Net):\n    pass\n"},
        "model.class_path",
        "write MODULE.NAME in place of .py; it has: Net, Other",
    ),
    "syntax": (
        "model",
        "Net",
        "{}",
        {"": TORCH + "class Net(:\n    pass\n"},
        "model.class_path",
        "MODULE.py:3 is no Python: invalid syntax",
    ),
    "syntax that only compiling shows": (
        "model",
        "Net",
        "{}",
        {"": NET + "return 3\n"},
        "model.class_path",
        "'return' outside function",
    ),
    "a constant for a class": (
        "model",
        "SIZE",
        "{}",
        {"": NET + "SIZE: int = -3\n"},
        "model.class_path",
        "neither a class nor a function, but a value (MODULE.py, line ",
    ),
    "a module for a class": (
        "model",
        "inner",
        "{}",
        {"/__init__": "", "/inner": NET},
        "model.class_path",
        "neither a class nor a function",
    ),
    "a module of a package": (
        "model",
        "iner.Net",
        "{}",
        {"/__init__": "", "/inner": NET},
        "model.class_path",
        "write class_path: MODULE.inner.Net",
    ),
    "an argument by way of a package": (
        "model",
        "Net",
        "{depth: 1}",
        {"/__init__": "from .inner import Net", "/inner": NET},
        "model.init_args.depth",
        "takes no argument 'depth'",
    ),
    "an argument of a loss": (
        "loss",
        "focal",
        "{gama: 1}",
        {"": "def focal(outputs, targets, gamma=2.0): return 0\n"},
        "train.loss.init_args.gama",
        "did you mean 'gamma'?",
    ),
    "a loss of outputs alone": (
        "loss",
        "focal",
        "{}",
        {"": "def focal(outputs): return 0\n"},
        "train.loss.class_path",
        "cannot be called with the outputs and the targets",
    ),
    "a loss' required argument": (
        "loss",
        "focal",
        "{}",
        {"": "def focal(outputs, targets, gamma): return 0\n"},
        "train.loss.class_path",
        "needs 'gamma'",
    ),
    "a metric's argument": (
        "metrics",
        "top",
        "{n: 3}",
        {"": "class top:\n    def __init__(self, k=1): pass\n"},
        "train.metrics.m.init_args.n",
        "allowed: k",
    ),
    "a plain class without arguments": (
        "metrics",
        "top",
        "{n: 3}",
        {"": "class top:\n    pass\n"},
        "train.metrics.m.init_args.n",
        "it takes no arguments",
    ),
    "a step's argument": (
        "step",
        "Step",
        "{bta: 1}",
        {"": "class Step:\n    def __init__(self, beta=1): pass\n    def loss(self, m, b): pass\n"},
        "train.step.init_args.bta",
        "did you mean 'beta'?",
    ),
    "a transform's argument": (
        "transforms",
        "shift",
        "{by: 1}",
        {"": "def shift(x, far=1): return x\n"},
        "data.transforms.0.init_args.by",
        "allowed: far",
    ),
    "a schedule's argument": (
        "schedule",
        "fall",
        "{to: 1}",
        {"": "def fall(progress, end=0.1): return 1\n"},
        "train.schedule.init_args.to",
        "allowed: end",
    ),
    "an argument of data": (
        "data",
        "load",
        "{pth: 1}",
        {"": "def load(path='x'): return 1\n"},
        "data.init_args.pth",
        "did you mean 'path'?",
    ),
    "a loop of two": (
        "loop",
        "train",
        "{}",
        {"": "def train(trial, more): pass\n"},
        "loop",
        "needs 'more'",
    ),
    "a loop of none": (
        "loop",
        "train",
        "{}",
        {"": "def train(): pass\n"},
        "loop",
        "cannot be called with the trial",
    ),
}

_numbers = itertools.count()


def place_code(folder: Path, files: Mapping[str, str]) -> str:
    """Write modules of a name that nothing has had in this process."""
    module = f"code_{os.getpid()}_{next(_numbers)}"
    write(
        folder,
        {f"{module}{name}.py": text.replace("MODULE", module) for name, text in files.items()},
    )
    return module


def call(role: str, class_path: str, arguments: Mapping[str, Any], folder: Path) -> None:
    """Import the code and call it as its role is; raises as that does."""
    module, _, name = class_path.rpartition(".")
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        found = getattr(importlib.import_module(module), name)
        filled = {"num_classes": 2, "in_features": 3, "in_channels": 1}
        if not callable(found):
            raise TypeError("no code")
        try:
            takes = list(inspect.signature(found).parameters)
        except ValueError:  # As dict has none.
            takes = []
        sizes = {key: size for key, size in filled.items() if key in takes and role == "model"}
        found(*PLACED[role][0 if isinstance(found, type) else 1], **{**sizes, **arguments})
    finally:
        sys.path.remove(str(folder))


@pytest.mark.parametrize("kind", WRONG)
def test_code_that_cannot_be_called(here: Path, kind: str) -> None:
    role, name, arguments, files, key, words = WRONG[kind]
    module = place_code(here, files)
    (fault,) = faults_of(here, code_spec(role, f"{module}.{name}", arguments))
    assert fault.key == key and fault.line > 0
    assert words.replace("MODULE", module) in str(fault)
    given = {part: 1 for part in arguments.strip("{}").split(": 1") if part}
    with pytest.raises((TypeError, AttributeError, ImportError, SyntaxError)):
        call(role, f"{module}.{name}", given, here)


UNKNOWN: dict[str, tuple[str, str, dict[str, str]]] = {
    "any arguments": ("Net", "{a: 1}", {"": TORCH + INIT.format("self, **given")}),
    "arguments by place, too": ("Net", "{a: 1}", {"": TORCH + INIT.format("self, *by, a=2")}),
    "a base's constructor elsewhere": (
        "Net",
        "{num_parameters: 1}",
        {"": TORCH + "class Net(nn.PReLU): pass"},
    ),
    "a decorator": (
        "Net",
        "{a: 1}",
        {"": "def any(c): return lambda **k: k\n@any\nclass Net:\n    pass\n"},
    ),
    "a decorated function": (
        "Net",
        "{a: 1}",
        {"": "def any(f): return lambda **given: f\n@any\ndef Net(): pass\n"},
    ),
    "a dataclass": (
        "Net",
        "{a: 1}",
        {"": "import dataclasses\n@dataclasses.dataclass\nclass Net:\n    a: int\n"},
    ),
    "a named tuple": (
        "Net",
        "{a: 1}",
        {"": "from typing import NamedTuple\nclass Net(NamedTuple):\n    a: int\n"},
    ),
    "a metaclass": (
        "Net",
        "{a: 1}",
        {
            "": "class M(type):\n    def __call__(cls, **given): return 1\n"
            "class Net(metaclass=M):\n    def __init__(self): pass\n"
        },
    ),
    "a metaclass of the base": (
        "Net",
        "{a: 1}",
        {
            "": "class M(type):\n    def __call__(cls, **given): return 1\n"
            "class Base(metaclass=M): pass\n"
            "class Net(Base):\n    def __init__(self): pass\n"
        },
    ),
    "a way of its own to be made": (
        "Net",
        "{a: 1}",
        {"": "class Net:\n    def __new__(cls, **given): return 1\n    def __init__(self): pass\n"},
    ),
    "a partial": (
        "Net",
        "{a: 1}",
        {"": "from functools import partial\nNet = partial(dict, b=1)\n"},
    ),
    "a lambda": ("Net", "{a: 1}", {"": "Net = lambda **given: given\n"}),
    "a constant bound anew": (
        "Net",
        "{a: 1}",
        {"": "Net = 3\ndef f():\n    global Net\n    Net = dict\nf()\n"},
    ),
    "a constant where nothing is found": (
        "Net",
        "{a: 1}",
        {"": "try:\n    Net = dict\nexcept NameError:\n    Net = 0\n"},
    ),
    "a second definition": (
        "Net",
        "{a: 1}",
        {"": "class Net: pass\ndef Net(a): return a\n"},
    ),
    "a name bound anew": (
        "Net",
        "{a: 1}",
        {"": "class Net: pass\nNet = dict\n"},
    ),
    "a name bound by a function": (
        "Net",
        "{a: 1}",
        {"": "class Net: pass\ndef f():\n    global Net\n    Net = dict\nf()\n"},
    ),
    "a constructor set afterwards": (
        "Net",
        "{a: 1}",
        {"": "class Net: pass\ndef init(self, a): pass\nNet.__init__ = init\n"},
    ),
    "a constructor set by another name": (
        "Net",
        "{a: 1}",
        {
            "": "class Net: pass\ndef init(self, a): pass\n"
            "for each in [Net]:\n    each.__init__ = init\n"
        },
    ),
    "a constructor set by setattr": (
        "Net",
        "{a: 1}",
        {"": "class Net: pass\ndef init(self, a): pass\nsetattr(Net, '__init__', init)\n"},
    ),
    "a condition": (
        "Net",
        "{a: 1}",
        {"": "import sys\nif sys:\n    def Net(a): return a\nelse:\n    class Net: pass\n"},
    ),
    "a conditional constructor": (
        "Net",
        "{a: 1}",
        {"": "class Net:\n    if True:\n        def __init__(self, a): pass\n"},
    ),
    "an import that may fail": (
        "Net",
        "{a: 1}",
        {"": "try:\n    from none import Net\nexcept ImportError:\n    Net = dict\n"},
    ),
    "a star import": ("OrderedDict", "{a: 1}", {"": "from collections import *\n"}),
    "a star import after it": (
        "OrderedDict",
        "{a: 1}",
        {"": "class OrderedDict: pass\nfrom collections import *\n"},
    ),
    "a module's __getattr__": ("Net", "{a: 1}", {"": "def __getattr__(name): return dict\n"}),
    "globals": ("Net", "{a: 1}", {"": "globals()['Net'] = dict\n"}),
    "the module itself": (
        "Net",
        "{a: 1}",
        {"": "import sys\nsetattr(sys.modules[__name__], 'Net', dict)\n"},
    ),
    "the module itself by another name of sys": (
        "Net",
        "{a: 1}",
        {"": "import sys as _sys\nmine = _sys.modules[__name__]\nmine.Net = dict\n"},
    ),
    "the module itself, imported": (
        "Net",
        "{a: 1}",
        {
            "": "import importlib\nmine = importlib.import_module(__name__)\n"
            "setattr(mine, 'Net', dict)\n"
        },
    ),
    "exec": ("Net", "{a: 1}", {"": "exec('Net = dict')\n"}),
    "a for loop": ("Net", "{a: 1}", {"": "for Net in [dict]: pass\n"}),
    "a walrus": ("Net", "{a: 1}", {"": "print(Net := dict)\n"}),
    "a re-export": ("Net", "{a: 1}", {"": "from collections import OrderedDict as Net\n"}),
    "a re-export from its package": (
        "Net",
        "{a: 1}",
        {"/__init__": "from .inner import Net\n", "/inner": "Net = dict\n"},
    ),
    "a package that says where its modules are": (
        "inner.Net",
        "{a: 1}",
        {
            "/__init__": "import os\n__path__.append(os.path.dirname(__file__) + '_more')\n",
            "_more/inner": "Net = dict\n",
        },
    ),
    "a package without __init__.py": ("inner.Net", "{a: 1}", {"/inner": "Net = dict\n"}),
    "what a base makes of its subclasses": (
        "Net",
        "{a: 1}",
        {
            "": "def init(self, a): pass\nclass Base:\n"
            "    def __init_subclass__(cls): cls.__init__ = init\n"
            "class Net(Base):\n    def __init__(self): pass\n"
        },
    ),
    "a class method": (
        "Net.make",
        "{a: 1}",
        {"": "class Net:\n    @classmethod\n    def make(cls, a): return a\n"},
    ),
    "a name within a class": (
        "Net",
        "{_Net__a: 1}",
        {"": "class Net:\n    def __init__(self, __a): pass\n"},
    ),
    "code in another encoding": (
        "Net",
        "{a: 1}",
        {"": "# coding: latin-1\ndef Net(a): return a\n"},
    ),
    "escapes that warn": ("Net", "{a: 1}", {"": "def Net(a): return '\\d'\n"}),
}
"""What trains, though its source does not show how."""


@pytest.mark.parametrize("kind", UNKNOWN)
def test_no_false_alarm(here: Path, kind: str, recwarn: pytest.WarningsRecorder) -> None:
    name, arguments, files = UNKNOWN[kind]
    module = place_code(here, files)
    assert faults_of(here, code_spec("model", f"{module}.{name}", arguments)) == []
    assert not recwarn.list
    key = arguments.strip("{}").partition(":")[0]
    path, _, last = f"{module}.{name}".rpartition(".")
    if name != "Net.make":
        call("model", f"{path}.{last}", {key: 1}, here)


@pytest.mark.parametrize(
    ("imports", "base"),
    [
        ("from torch import nn", "nn.Module"),
        ("import torch.nn as nn", "nn.Module"),
        ("import torch", "torch.nn.Module"),
        ("import torch.nn", "torch.nn.Module"),
        ("from torch.nn import Module as M", "M"),
        ("from abc import ABC\nimport torch", "ABC, torch.nn.Module"),
        ("from typing import Generic, TypeVar\nimport torch\nT = TypeVar('T')", "Generic[T]"),
    ],
)
def test_bases_that_leave_classes_to_their_constructor(here: Path, imports: str, base: str) -> None:
    module = place_code(
        here, {"": f"{imports}\nclass Net({base}):\n    def __init__(self, a=1): 0\n"}
    )
    text = code_spec("model", f"{module}.Net", "{b: 1}")
    assert [fault.key for fault in faults_of(here, text)] == ["model.init_args.b"]
    assert faults_of(here, code_spec("model", f"{module}.Net", "{a: 1}")) == []


def test_a_module_that_is_not_there(here: Path) -> None:
    write(here, {"my_nets.py": NET, "configs/nothing.py": ""})
    (fault,) = faults_of(here, "model: {class_path: my_net.Net}")
    assert "no module 'my_net' beside the spec" in fault.message
    assert fault.hint == "write class_path: my_nets.Net"
    (fault,) = faults_of(here / "configs", "model: {class_path: my_nets.Net}")
    assert f"there is one in {here}" in fault.hint and "PYTHONPATH" in fault.hint
    # A module that is installed is for its import to look into.
    assert not faults_of(here, "model: {class_path: json.Nothing}")
    # One by the name of an installed one may not be the one that is imported.
    write(here, {"json.py": "class Net: pass\n"})
    assert not faults_of(here, "model: {class_path: json.Nett}")


@pytest.mark.parametrize(
    "touch",
    ["import sys\nsys.path.insert(0, 'src')", "import site\nsite.addsitedir('src')",
     "import sys as s\ns.path.append('src')", "from sys import path\npath.append('src')"],
)  # fmt: skip
def test_code_that_has_modules_found_elsewhere_leaves_them_unknown(here: Path, touch: str) -> None:
    text = "data: {class_path: mydata.load}\nmodel: {class_path: mynet.Net}"
    write(here, {"mydata.py": "import helper\ndef load(): ...\n", "src/mynet.py": NET})
    write(here, {"helper.py": ""})
    assert "no module 'mynet'" in faults_of(here, text)[0].message
    write(here, {"helper.py": touch})
    assert not faults_of(here, text)


def test_a_module_that_is_missing_is_said_once(here: Path) -> None:
    text = "train: {metrics: {a: mine_.top1, b: mine_.top5}, loss: mine_.focal}"
    assert len(faults_of(here, text)) == 1


def test_every_place_of_a_class_path_is_looked_at(here: Path) -> None:
    text = """\
data: {class_path: a.b, transforms: [flip, {class_path: a.c}]}
model: {class_path: a.d, init_args: {x: 1}}
train:
  loss: a.e
  schedule: {class_path: a.f}
  optimizer: {class_path: a.not_used}
  metrics: {m: a.g, n: {class_path: a.h, init_args: {k: 1}}}
search:
  optimizer: [sgd, {class_path: a.i, init_args: {m: {min: 0, max: 1}}}]
  data.transforms: [[], [{class_path: a.j}]]
  model: {init_args: {w: [1, 2]}}
  loss.init_args.gamma: [1, 2]
"""
    found = {use.class_path: use for use in find_uses(read_document(text, "s.yaml"))}
    assert sorted(found) == [f"a.{letter}" for letter in "bcdefghij"]
    assert list(found["a.d"].given) == ["x", "w"]
    assert list(found["a.e"].given) == ["gamma"]
    assert list(found["a.i"].given) == ["m"]
    lines = {
        name: read_document(text, "s").fault(use.place, "").line for name, use in found.items()
    }
    assert [lines[f"a.{letter}"] for letter in "bcdefghij"] == [1, 1, 2, 4, 5, 7, 7, 9, 10]


def test_searched_arguments_count(here: Path) -> None:
    module = place_code(here, {"": NET.replace("width=8", "width")})
    text = f"model: {{class_path: {module}.Net}}\nsearch:\n  model.init_args.width: [4, 8]\n"
    assert faults_of(here, text) == []
    (fault,) = faults_of(here, text + "  model.init_args.widthh: [4, 8]\n")
    assert (fault.key, fault.line) == ("search.model.init_args.widthh", 4)


NAMES = st.sampled_from(["a", "b", "c", "d"])


@st.composite
def functions(draw: st.DrawFn) -> tuple[str, list[str]]:
    """The text of parameters, and names that may be given."""
    names = draw(st.lists(NAMES, unique=True))
    first = draw(st.integers(0, len(names)))
    only = draw(st.integers(0, first))
    needed = draw(st.integers(0, first))
    parts = [name if index < needed else f"{name}=0" for index, name in enumerate(names[:first])]
    if only:
        parts.insert(only, "/")
    rest = [name + draw(st.sampled_from(["", "=0"])) for name in names[first:]]
    if rest:
        parts += [draw(st.sampled_from(["*", "*rest"])), *rest]
    if draw(st.booleans()):
        parts.append("**more")
    return ", ".join(parts), draw(st.lists(NAMES, unique=True))


@given(functions(), st.sampled_from([0, 1, 2]), st.booleans())
def test_calls_are_judged_as_python_does(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[str, list[str]],
    placed: int,
    is_class: bool,
) -> None:
    parameters, names = drawn
    role = {0: "data", 1: "transforms", 2: "loss"}[placed]
    folder = tmp_path_factory.mktemp("drawn")
    source = f"def f({parameters}): pass\n"
    if is_class:
        placed, first = 0, f"self, {parameters}" if parameters else "self"
        source = f"class f:\n    def __init__({first}): pass\n"
    module = place_code(folder, {"": source})
    arguments = "{" + ", ".join(f"{name}: 1" for name in names) + "}"
    found = code_faults(read_document(code_spec(role, f"{module}.f", arguments), "s"), folder)
    scope: dict[str, Any] = {}
    exec(source, scope)
    try:
        scope["f"](*range(placed), **dict.fromkeys(names, 1))
    except TypeError:
        assert found, source
    else:
        assert not found, source


def test_the_project_s_own_code_is_read_as_it_is() -> None:
    """Every class and function of a package of many kinds of them: its signature, where it is
    told, is the real one."""
    import lrsearch.train.models.built_in as models
    import lrsearch.train.models.transformer as transformer

    told = 0
    for module in (models, transformer):
        for name, real in vars(module).items():
            if getattr(real, "__module__", "") != module.__name__ or not callable(real):
                continue
            # The folder of the package itself is where its modules are found.
            found = look_up(f"{module.__name__}.{name}", ROOT)
            assert isinstance(found, Found), name
            taken = signature(found)
            if taken is None:
                continue
            told += 1
            assert list(taken.parameters) == list(inspect.signature(real).parameters)
    assert told > 3


# commands -------------------------------------------------------------------------------------

FILES = {
    "train.py": "",
    "run.sh": "",
    "sub/a.py": "",
    "pkg/__init__.py": "",
    "pkg/mod.py": "",
    "my train.py": "",
}
LACKING = {
    "python trian.py --lr {lr}": "did you mean train.py?",
    "python -u trian.py": "did you mean train.py?",
    "python3 -W ignore -X dev trian.py": "did you mean train.py?",
    "python -uB trian.py": "did you mean train.py?",
    "python sub/b.py": "did you mean sub/a.py?",
    "python none/b.py": "there is no folder none",
    "python sub": "without __main__.py",
    "python ~/train.py": "write out what ~ stands for",
    "python 'my trian.py'": "did you mean my train.py?",
    "python -m pkg.mdo": "did you mean 'mod'?",
    "python -mpkg.mdo": "did you mean 'mod'?",
    "python -m pkg": "without __main__.py",
    "python -m train.py": "write -m train",
    f"{sys.executable} -m trian": "did you mean 'train'?",
    "pythn train.py": "did you mean 'python'?",
    "env A=1 python trian.py": "did you mean train.py?",
    "nice -n 1 python trian.py": "did you mean train.py?",
    "timeout 60 python trian.py": "did you mean train.py?",
    "bash runn.sh": "did you mean run.sh?",
    "bash -eu runn.sh": "did you mean run.sh?",
    "bash -euo pipefail -c 'python trian.py --lr {lr} | tee log'": "did you mean train.py?",
    "sh -c 'python trian.py --lr {lr} > out-{trial}.txt 2>&1'": "did you mean train.py?",
    "sh -c 'cd sub && python b.py'": "did you mean a.py?",
    "sh -c 'cd sbu && python train.py'": "no folder sbu",
    "sh -c 'export A=1 && exec python trian.py'": "did you mean train.py?",
    "python {file}": "did you mean train.py?",
}


def command_spec(command: str) -> str:
    return (
        f"command: {json.dumps(command)}\nobjective: {{metric: loss}}\n"
        "search:\n  lr: [1, 2]\n  file: [train.py, trian.py]\n"
    )


@pytest.mark.parametrize("command", LACKING)
def test_a_command_that_cannot_start(here: Path, command: str) -> None:
    write(here, FILES)
    found = command_faults(read_document(command_spec(command), "s.yaml"), here)
    assert [(fault.key, fault.line) for fault in found] == [("command", 1)]
    meant = re.fullmatch(r"did you mean '?(.*?)'?\?", LACKING[command])
    if meant and "{file}" not in command:  # The whole line, which can start.
        written = found[0].hint.removeprefix("write ")
        line = read_document(written, "s.yaml").data["command"]
        assert meant[1] in line and len(line) in range(len(command) - 2, len(command) + 2)
        assert not command_faults(read_document(command_spec(line), "s.yaml"), here)
    else:
        assert LACKING[command] in str(found[0])
    filled = command.replace("{lr}", "1").replace("{trial}", "1").replace("{file}", "trian.py")
    try:
        done = subprocess.run(shlex.split(filled), cwd=here, capture_output=True, timeout=60)
    except FileNotFoundError:
        return
    assert done.returncode != 0 or "tee" in command
    assert done.stderr or (here / "log").exists() or list(here.glob("out-*"))


STARTING = [
    "python train.py --out results.csv --config missing.yaml data/none.csv",
    "python -c 'print(1)' none.py",
    "python - none.py",
    "python -m pkg.mod",
    "python -m train --data none.csv",
    "python -m json.tool none.json",
    "python -h none.py",
    "python --opt={lr} none.py",
    "python out-{trial}.py",
    "python {device}.py",
    "bash run.sh none.sh",
    "bash -s none.sh",
    "bash -lc 'python none.py'",
    "sh -c 'cp train.py new.py && python new.py'",
    "sh -c 'python none.py || python train.py'",
    "sh -c 'test -f none.py; python train.py'",
    "sh -c 'echo 1 > new.py; python new.py'",
    "sh -c 'mkdir -p out && cd out && python ../train.py'",
    "sh -c 'cd $HOME && python none.py'",
    "sh -c 'python $SCRIPT'",
    "sh -c 'cd sub && python a.py --lr $LRSEARCH_LR > log.txt'",
    "sh -c 'if [ -f x ]; then python none.py; fi'",
    "sh -c 'for i in 1 2; do python $i.py; done'",
    "sh -c 'PYTHONPATH=src python -m none'",
    "env PYTHONPATH=src python -m none",
    "env -i python none.py",
    "python -I -m none",
    "python -Xnone train.py",
    "python",
    "bash",
    "sh -c",
    "cat none.txt",
    "tee none.py",
    "python https://example.org/train.py",
]


@pytest.mark.parametrize("command", STARTING)
def test_a_command_of_which_nothing_is_certain(here: Path, command: str) -> None:
    write(here, FILES)
    assert command_faults(read_document(command_spec(command), "s.yaml"), here) == []


LAUNCHED = {
    "torchrun --standalone --nproc_per_node=2 {}": True,
    "torchrun --nproc-per-node 2 --max_restarts 3 {}": True,
    "torchrun --nproc_per_node {{lr}} {}": True,
    "torchrun --some-option 2 {}": True,
    "torchrun --no-python {}": False,
    "accelerate launch --multi_gpu --num_processes 2 --mixed_precision bf16 {}": True,
    "accelerate launch --config_file none.yaml {}": True,
    "accelerate config {}": False,
    "uv run {}": True,
    "uv run --with numpy --frozen {}": True,
    "uv run python -u {}": True,
    "uv run {{seed}} {}": False,
    "uv run tool {}": False,
    "uv run python -c 1 {}": False,
    "uv run --directory sub {}": False,
    "uv pip {}": False,
    "poetry run python {}": True,
    "conda run -n env --no-capture-output python {}": True,
    "conda run --cwd sub python {}": False,
    "node {}": True,
    "node -e 1 {}": False,
    "node -r ./none.js {}": False,
    "Rscript --vanilla {}": True,
    "Rscript -e 1 {}": False,
    "julia --project=. -t 4 {}": True,
    "julia +release {}": True,
    "julia -L none.jl {}": False,
    "docker run image python {}": False,
    "{{program}} {}": False,
}


@pytest.mark.parametrize("command", LAUNCHED)
def test_what_launches_scripts(here: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that may not be installed stand on the PATH by their names."""
    write(here, {**FILES, "sub/other.py": ""})
    programs = here / "programs"
    for name in ("torchrun", "accelerate", "uv", "poetry", "conda", "node", "Rscript", "julia"):
        write(programs, {name: "#!/bin/sh\n"})
        (programs / name).chmod(0o755)
    write(programs, {"docker": "#!/bin/sh\n"})
    (programs / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    found = command_faults(read_document(command_spec(command.format("other.py")), "s.yaml"), here)
    assert [fault.message.partition(" (")[0] for fault in found] == (
        ["the script other.py does not exist"] if LAUNCHED[command] else []
    )
    text = command_spec(command.format("train.py"))
    assert command_faults(read_document(text, "s.yaml"), here) == []


def test_a_shell_finds_scripts_on_the_path(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here, {"bin/train.sh": ""})
    text = command_spec("bash train.sh")
    assert command_faults(read_document(text, "s.yaml"), here)
    monkeypatch.setenv("PATH", f"{here / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert command_faults(read_document(text, "s.yaml"), here) == []


def test_another_python_has_modules_of_its_own(here: Path) -> None:
    """Of the interpreter that runs here it is known what is installed, of another it is not."""
    (here / "python").write_text("#!/bin/sh\n")
    (here / "python").chmod(0o755)
    for program, told in ((sys.executable, True), ("./python", False)):
        text = command_spec(f"{program} -m none_such")
        assert bool(command_faults(read_document(text, "s.yaml"), here)) is told


def test_a_script_is_seen_from_the_spec(here: Path) -> None:
    write(here, {"scripts/train.py": "", "configs/s.yaml": command_spec("python scripts/train.py")})
    said = lrsearch("check", "configs/s.yaml", "--set", "search.file=[1, 2]")
    assert said.exit_code == 2
    assert "configs/s.yaml:1: command: the script scripts/train.py does not exist" in said.stderr
    assert "write ../scripts/train.py" in said.stderr


# check ----------------------------------------------------------------------------------------

SOUND = """\
name: sound
data: digits
model: {{class_path: {}.Net, init_args: {{width: 4}}}}
train: {{budget: 1ep, lr: 0.1}}
search: {{lr: [0.1, 0.2]}}
"""


def test_all_faults_come_at_once(here: Path) -> None:
    module = place_code(here, {"": NET})
    (here / "s.yaml").write_text(
        f"""\
data: {{name: csv, source: none.csv, target: y}}
model: {{class_path: {module}.Net, init_args: {{widht: 4}}}}
train:
  budgt: 1ep
  budget: 1ep
  lr: 0.1
  loss: {module}.focal
"""
    )
    for command in ("check", "grid", "random", "bayes"):
        said = lrsearch(command, "s.yaml")
        assert said.exit_code == 2 and said.stdout == ""
        lines = [line for line in said.stderr.splitlines() if "s.yaml:" in line]
        keys = [line.removeprefix("error: ").split(": ")[1] for line in lines]
        assert keys == ["data.source", "model.init_args.widht", "train.budgt", "train.loss"]
        assert "worker" not in said.stderr
    faults = json.loads(lrsearch("check", "s.yaml", "--json").stdout)["faults"]
    assert [(fault["key"], fault["line"]) for fault in faults] == [
        ("data.source", 1),
        ("model.init_args.widht", 2),
        ("train.budgt", 4),
        ("train.loss", 7),
    ]


def test_check_runs_nothing_and_deep_does(here: Path) -> None:
    module = place_code(here, {"": f"open('ran', 'w').close()\n{NET}"})
    (here / "s.yaml").write_text(SOUND.format(module))
    said = lrsearch("check", "s.yaml")
    assert said.exit_code == 0 and f"needs --allow-import {module}" in said.stdout
    said = lrsearch("check", "s.yaml", "--allow-import", module)
    assert said.exit_code == 0 and "--allow-import" not in said.stdout
    assert f"Not looked at: {module}.Net. check --deep" in " ".join(said.stdout.split())
    assert not (here / "ran").exists()
    said = lrsearch("check", "s.yaml", "--deep")
    assert said.exit_code == 2 and f"--allow-import {module}" in said.stderr
    assert not (here / "ran").exists()
    said = lrsearch("check", "s.yaml", "--deep", "--allow-import", module)
    assert said.exit_code == 0 and said.stdout.startswith("ok\n")
    assert (here / "ran").exists() and not (here / "runs").exists()
    assert "validation: a share of 0.2, 359 samples" in said.stdout
    # 64 x 4 + 4 of the first layer, 4 x 10 + 10 of the second.
    assert "310 parameters" in said.stdout
    assert "Not looked at" not in said.stdout
    said = lrsearch("check", "s.yaml", "--deep", "--allow-import", module, "--json")
    found = json.loads(said.stdout)
    assert found["ok"] and found["format"] == 1 and found["unlooked"] == []
    assert found["facts"]["parameters"] == 310 and found["facts"]["train_samples"] == [1438]
    assert said.stderr == ""


def test_deep_finds_what_only_training_would(here: Path) -> None:
    module = place_code(here, {"": NET.replace("nn.Linear(width, num_classes)", "nn.Linear(1, 2)")})
    (here / "s.yaml").write_text(SOUND.format(module))
    assert lrsearch("check", "s.yaml", "--allow-import", module).exit_code == 0
    said = lrsearch("check", "s.yaml", "--deep", "--allow-import", module)
    assert said.exit_code == 2 and said.stdout == ""
    assert f"{module}.Net" in said.stderr
    said = lrsearch("check", "s.yaml", "--deep", "--allow-import", module, "--json")
    assert said.exit_code == 2 and not json.loads(said.stdout)["ok"]
    (here / "t.yaml").write_text(
        "data: {name: csv, source: t.csv, target: y}\nmodel: mlp\ntrain: {budget: 1ep, lr: 0.1}\n"
    )
    (here / "t.csv").write_text("x,y\n1,2.5\n,3.5\n3,4.5\n4,5.5\n")
    said = lrsearch("check", "t.yaml")
    assert said.exit_code == 0 and "what is in t.csv" in said.stdout
    said = lrsearch("check", "t.yaml", "--deep")
    assert said.exit_code == 2 and "t.csv:3" in said.stderr


def test_deep_runs_no_command(here: Path) -> None:
    (here / "train.py").write_text("open('ran', 'w').close()\n")
    (here / "s.yaml").write_text(
        "command: python train.py --lr {lr}\nobjective: {metric: loss}\nsearch: {lr: [1, 2]}\n"
    )
    for more in ((), ("--deep",), ("--deep", "--allow-command")):
        said = lrsearch("check", "s.yaml", *more)
        assert said.exit_code == 0 and "Not looked at" not in said.stdout
        assert ("needs --allow-command" in said.stdout) is ("--allow-command" not in more)
    assert not (here / "ran").exists()


def test_deep_is_named_only_where_something_is_left(here: Path) -> None:
    (here / "s.yaml").write_text("data: digits\nmodel: mlp\ntrain: {budget: 1ep, lr: 0.1}\n")
    assert "--deep" not in lrsearch("check", "s.yaml").stdout
    assert json.loads(lrsearch("check", "s.yaml", "--json").stdout)["unlooked"] == []


OUTSIDE = {
    "char_transformer.yaml": ["data.source"],
    "images.yaml": ["data.source"],
    "mnist_cnn.yaml": ["data.source"],
    "mnist_mlp.yaml": ["data.source"],
    "tabular_csv.yaml": ["data.source"],
}
"""Those whose file the user brings."""


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name
)
def test_the_configs_have_no_fault(path: Path) -> None:
    text = path.read_text()
    found = find_faults(read_document(text, str(path)), path.parent, read_names)
    if path.name in OUTSIDE and found:
        assert [fault.key for fault in found] == OUTSIDE[path.name]
    else:
        assert found == []


def test_a_look_is_quick(here: Path) -> None:
    """Of a wide and large table and of a long file of code: a search starts with it."""
    (here / "wide.csv").write_text(
        ",".join(f"c{index}" for index in range(5_000)) + "\n" + "1," * 10**7
    )
    lines = "\n".join(f"def f{index}(x, a=1):\n    return x + a" for index in range(2_000))
    module = place_code(here, {"": lines})
    text = (
        "data: {name: csv, source: wide.csv, target: d1}\n"
        f"train: {{loss: {module}.f7}}\nmodel: {{class_path: {module}.g}}\n"
    )
    begun = time.process_time()
    assert len(faults_of(here, text)) == 2
    assert time.process_time() - begun < 4  # Of computing, whatever else the machine does.


def test_overrides_are_looked_at_as_they_are_given(here: Path) -> None:
    module = place_code(here, {"": NET})
    (here / "s.yaml").write_text(SOUND.format(module))
    with pytest.raises(SpecError) as raised:
        read_spec(
            here / "s.yaml", [f"model.class_path={module}.Nett"], columns=lambda _: pytest.fail()
        )
    (fault,) = raised.value.faults
    assert fault.source == f"--set model.class_path={module}.Nett" and fault.line == 0


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Plain", ["width"]),
        ("Both", None),  # Left.__init__ is Root's, and Right's comes before it.
        ("Own", ["depth"]),
        ("Kept", ["depth"]),  # One base of an outside one and its own __init__.
        ("Made", None),
        ("Empty", []),
        ("Abstract", []),
        ("Net", ["size"]),
        ("Bare", None),
        ("Beside", None),
        ("Decorated", None),
        ("Meta", None),
        ("Wrapped", None),
        ("Given", None),
    ],
)
def test_the_constructor_of_a_class_is_that_which_python_finds(
    tmp_path: Path, name: str, parameters: list[str] | None
) -> None:
    (tmp_path / "lineage.py").write_text(
        "import abc, typing\nfrom torch import nn\n"
        "class Root:\n    def __init__(self, width): ...\n"
        "class Left(Root): ...\n"
        "class Right(Root):\n    def __init__(self, height): ...\n"
        "class Plain(Left): ...\n"
        "class Both(Left, Right): ...\n"
        "class Own(Left, Right):\n    def __init__(self, depth): ...\n"
        "class Kept(Own): ...\n"
        "class Made(Root):\n    def __new__(cls, *args): ...\n"
        "class Empty(object): ...\n"
        "class Abstract(abc.ABC, typing.Generic[T]): ...\n"
        "class Net(nn.Module):\n    def __init__(self, size): ...\n"
        "class Bare(nn.Module): ...\n"
        "class Beside(nn.Module, Root): ...\n"
        "@change\nclass Decorated(Root): ...\n"
        "class Meta(Root, metaclass=abc.ABCMeta): ...\n"
        "class Wrapped:\n    @change\n    def __init__(self, width): ...\n"
        "class Given:\n    __init__ = Root.__init__\n"
    )
    found = look_up(f"lineage.{name}", tmp_path)
    assert isinstance(found, Found)
    taken = signature(found)
    assert (None if taken is None else list(taken.parameters)) == parameters


@pytest.mark.parametrize(
    ("files", "alters"),
    [
        ({"nets.py": "import sys\nsys.exit()", "in/er.py": ""}, False),
        ({"nets.py": "", "in/er.py": "import sys\nsys . path.append('x')"}, True),
        ({"nets.py": "sys.modules['a'] = b"}, True),
        ({"nets.py": "import sys as s"}, True),
        ({"nets.py": "from  sys import path"}, True),
        ({"nets.py": "import site"}, True),
        ({"nets.py": "os.environ['PYTHONPATH'] = 'x'"}, True),
        ({"nets.py": "__path__ = []"}, True),
        (
            {"notes.txt": "sys.path", ".git/a.py": "sys.path", "node_modules/a.py": "sys.path"},
            False,
        ),
        ({"nets.py": " " * 40}, False),
        ({"nets.py": " " * 41}, True),
        ({f"{number}.py": "" for number in range(3)}, False),
        ({f"{number}.py": "" for number in range(4)}, True),
    ],
)
def test_code_that_may_make_modules_findable_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], alters: bool
) -> None:
    """What is too much or too long to be searched may do so, too."""
    monkeypatch.setattr(modules, "MAX_FILES", 3)
    monkeypatch.setattr(modules, "MAX_SOURCE", 40)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert modules.may_alter_path(tmp_path) == alters
    (tmp_path / "gone.py").symlink_to("nowhere")
    assert modules.may_alter_path(tmp_path)
