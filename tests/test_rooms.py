"""The rooms of the package: imports run one way, and only those who need a library load it."""

import ast
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lrsearch

ROOT = Path(lrsearch.__file__).parent

LAYERS = [
    ["terminal", "frozen"],
    ["errors"],
    [
        *("duration", "trial", "divergence", "sweeps", "reporting", "pulse", "forks", "states"),
        *("machine", "display"),
    ],
    ["catalogue", "schedules", "space"],
    ["analysis"],
    ["spec"],
    ["search", "data"],
    ["train", "store", "executors"],
    ["outside"],
    ["diagnosis"],
    ["tuner"],
    ["reports"],
    ["cli"],
    ["__main__"],
]
"""From left to right; a room imports what stands to its left, and its own modules."""

APART = {"search", "train", "store", "executors"}
"""They never import each other, wherever they stand."""

WINGS = [
    ["preparing"],
    ["engines"],
    ["lanes"],
    ["optimizers"],
    ["models"],
    ["batches"],
    ["users"],
    ["randomness", "recording"],
    ["device", "jobs", "products", "tape"],
]
"""The rooms within train, from the top floor down: each imports from those below it. The last are
the ground floor, files that stand for themselves."""

ARROWS = 41
"""At most so many pairs of train's rooms of which one imports the other."""

OUTSIDE_USES = {"users", "jobs", "device"}
"""What the trainings of the user's own need of train: the user's code and the ground floor."""

VALUES_ONLY = {"diagnosis", "analysis", "reports"}
"""They take trials as values, never a store or what runs trials."""

HEAVY = ["torch", "optuna", "sklearn", "scipy", "pyarrow", "PIL"]

LIBRARIES = {
    "torch": ["train"],
    "safetensors": ["train"],
    "optuna": ["search", "reports/exporting/studies.py"],
    "sklearn": ["data/built_in.py"],
    "pyarrow": ["data", "reports/exporting/tables.py"],
    "PIL": ["data"],
    "yaml": ["spec"],
    "jinja2": ["reports"],
    "typer": ["cli"],
    "rich": ["reports", "cli"],
}
"""Library -> the rooms (or files) that may import it."""

WITHOUT_TORCH = {
    *("train/__init__.py", "train/jobs.py", "train/engines/__init__.py"),
    *("train/engines/stems.py", "train/engines/timetable.py"),
}
"""Modules of `train` that the driver loads."""

NOT_REACHED = ("train/engines/timetable.py", "lrsearch.train.users.importing")
"""The import of a schedule of the user's own, which the driver asks for no rates."""


def imported(path):
    """Every module a file imports, wherever in it: (line, dotted name)."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}:{node.lineno}: a relative import"
            yield node.lineno, node.module
            # `from lrsearch import catalogue` names the module only in the alias.
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


FILES = sorted(ROOT.rglob("*.py"))
TRAIN = sorted(set((ROOT / "train").rglob("*.py")) - {ROOT / "train" / "__init__.py"})
RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}


@functools.cache
def imports():
    """Every import of the package: (path, line, dotted name). To find them takes seconds."""
    return [(path.relative_to(ROOT), line, name) for path in FILES for line, name in imported(path)]


def room_of(path):
    return path.parts[0].removesuffix(".py")


def between_rooms():
    for path, line, name in imports():
        parts = name.split(".")
        if parts[0] != "lrsearch" or len(parts) == 1 or path == Path("__init__.py"):
            continue
        if parts[1] in RANK and parts[1] != room_of(path):
            yield f"{path}:{line} imports {name}", room_of(path), parts[1]


def test_every_module_has_a_room():
    rooms = {room_of(path.relative_to(ROOT)) for path in FILES} - {"__init__"}
    assert rooms == set(RANK)
    assert len(list(between_rooms())) > 50


def test_imports_run_one_way():
    wrong = [text for text, here, there in between_rooms() if RANK[there] > RANK[here]]
    assert wrong == []


def test_rooms_side_by_side_do_not_import_each_other():
    wrong = [text for text, here, there in between_rooms() if RANK[there] == RANK[here]]
    assert wrong == []


def test_strategies_engines_stores_and_executors_never_meet():
    wrong = [text for text, here, there in between_rooms() if {here, there} <= APART]
    assert wrong == []


def test_readers_take_trials_as_values():
    behind = APART | {"data", "tuner"}
    wrong = [
        text for text, here, there in between_rooms() if here in VALUES_ONLY and there in behind
    ]
    assert wrong == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_stays_in_its_rooms(library):
    places = tuple(map(Path, LIBRARIES[library]))
    wrong = [
        f"{path}:{line}"
        for path, line, name in imports()
        if name.split(".")[0] == library
        and not any(place == path or place in path.parents for place in places)
    ]
    assert wrong == []


FLOOR = {room: floor for floor, rooms in enumerate(WINGS) for room in rooms}


def within_train():
    """Every import of one of train's rooms by another."""
    for path, line, name in imports():
        if room_of(path) != "train" or len(path.parts) < 2 or path.name == "__init__.py":
            continue
        here, parts = path.parts[1].removesuffix(".py"), name.split(".")
        if parts[:2] != ["lrsearch", "train"] or len(parts) == 2 or parts[2] not in FLOOR:
            continue
        if parts[2] != here:
            yield f"{path}:{line} imports {name}", here, parts[2]


def test_every_file_of_train_has_a_floor():
    rooms = {path.relative_to(ROOT).parts[1].removesuffix(".py") for path in TRAIN}
    assert rooms == set(FLOOR)


def test_within_train_imports_run_down():
    wrong = [text for text, here, there in within_train() if FLOOR[there] <= FLOOR[here]]
    assert wrong == []
    arrows = {(here, there) for _, here, there in within_train()}
    assert 20 < len(arrows) <= ARROWS


def test_the_trainings_of_the_users_own_need_little_of_train():
    used = {
        name.split(".")[2]
        for path, _, name in imports()
        if room_of(path) == "outside" and name.startswith("lrsearch.train.")
    }
    assert used == OUTSIDE_USES


def test_listening_to_a_command_needs_no_torch():
    code = "import sys, lrsearch.outside.commands; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "False\n"


def file_of(name):
    """The file of a module, or of the module that a name stands in."""
    parts = name.split(".")[1:]
    while parts:
        for path in (Path(*parts).with_suffix(".py"), Path(*parts, "__init__.py")):
            if (ROOT / path).is_file():
                return path.as_posix()
        parts.pop()
    return "__init__.py"


def test_what_the_driver_loads_of_train_is_free_of_torch():
    driver = {
        file_of(name)
        for path, _, name in imports()
        if name.startswith("lrsearch.train") and room_of(path) not in ("train", "outside")
    }
    assert driver and driver <= WITHOUT_TORCH
    for path, line, name in imports():
        if path.as_posix() in WITHOUT_TORCH:
            assert name.split(".")[0] not in ("torch", "safetensors"), f"{path}:{line}"
            inner = name.startswith("lrsearch.train.")
            reached = (path.as_posix(), name.removesuffix(".resolve")) != NOT_REACHED
            assert not (inner and reached) or file_of(name) in WITHOUT_TORCH, f"{path}:{line}"


def test_an_executor_knows_trials_and_errors_alone():
    known = {there for _, here, there in between_rooms() if here == "executors"}
    assert known == {"errors", "trial", "pulse", "forks"}


def test_what_a_report_works_out_imports_no_masked_arrays():
    """`numpy.ma` takes as long to import as a curve takes to fit."""
    uses = re.compile(r"np\.(ma|unique|quantile|percentile|median)\b")
    paths = [path for room in VALUES_ONLY for path in (ROOT / room).rglob("*.py")]
    assert len(paths) > 50 and uses.search("first, last = np.quantile(bests, ends)")
    assert [str(path) for path in paths if uses.search(path.read_text())] == []


def test_the_walk_sees_imports_inside_functions(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("def f():\n    if True:\n        from a.b import c\n        import d.e as g\n")
    assert list(imported(path)) == [(3, "a.b"), (3, "a.b.c"), (4, "d.e")]


# what a command loads

SPEC = """\
name: light
data: digits
model: mlp
train: {budget: 1ep, lr: 0.1, warmup: 0.1dur}
search:
  lr: {min: 1e-3, max: 1.0, points: 3}
  schedule: [constant, {name: cosine, final: {min: 0, max: 0.5, points: 2}}]
"""

RUN = """\
import json, sys
import lrsearch.cli
sys.argv = ["lrsearch", *sys.argv[1:]]
code = lrsearch.cli.run() if len(sys.argv) > 1 else 0
modules = {name.split(".")[0] for name in sys.modules} | {"lrsearch.spec"} & sys.modules.keys()
print(json.dumps({"code": code, "modules": sorted(modules)}))
"""


def run_light(folder, *arguments):
    """What a fresh interpreter prints, its exit code, and the libraries it has loaded."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PATH": "", "HOME": str(folder), "PYTHONPATH": str(ROOT.parent), "COLUMNS": "100"},
    )
    *output, last = done.stdout.splitlines()
    found = json.loads(last)
    return "\n".join(output), found["code"], found["modules"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ""),
        (["--help"], "grid"),
        (["grid", "--help"], "--workers"),
        (["check", "spec.yaml"], "The grid has 9 points"),
        (["show", "spec.yaml"], "schedule"),
        (["show", "spec.yaml", "--json"], '"multipliers"'),
        (["check", "none.yaml"], ""),
        (["list", "--runs", "."], "there are no runs in ."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_light_command_loads_no_heavy_library(tmp_path, arguments, words):
    (tmp_path / "spec.yaml").write_text(SPEC)
    output, code, modules = run_light(tmp_path, *arguments)
    assert code == (2 if "none.yaml" in arguments else 0)
    assert words in output and ("typer" in modules) == bool(arguments)
    heavy = HEAVY if "show" in arguments else [*HEAVY, "numpy"]
    heavy += ["lrsearch.spec"] * (arguments in ([], ["--help"]))
    assert [name for name in heavy if name in modules] == []
