"""The house: how large a file, a class and a function may be, and that no two modules import each
other, however deep inside functions. The limits leave room to breathe: they are no goals."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import lrsearch

ROOT = Path(lrsearch.__file__).parent

ROOMS = ["spec", "tuner"]
"""Rooms that are measured."""

LONG = {"catalogue.py", "store.py"}
"""Files that may be longer: one is a table, the other one format of one folder."""

MOST_LINES = 600
MOST_LINES_OF_A_CLASS = 450
MOST_LINES_OF_A_FUNCTION = 80
MOST_BRANCHES = 20
MOST_PARAMETERS = 8

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def files(room):
    """The modules of a room: of a folder, or the one file."""
    folder = ROOT / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def lines_of(node):
    return node.end_lineno - node.lineno + 1


def complexity(function):
    """McCabe's number of ways through a function, counted as ruff's C901 counts it: by statements,
    those of functions inside it included."""
    return 1 + sum(map(branches, function.body))


def branches(node):
    inner = [each for each in ast.iter_child_nodes(node) if isinstance(each, BLOCKS)]
    found = sum(map(branches, inner))
    if isinstance(node, (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, *FUNCTIONS)):
        found += 1
    elif isinstance(node, ast.Try | ast.TryStar):
        found += bool(node.orelse)
    elif isinstance(node, ast.Match):
        found += sum(ast.unparse(each.pattern) != "_" or bool(each.guard) for each in node.cases)
    return found


BLOCKS = (ast.stmt, ast.ExceptHandler, ast.match_case)


def parameters_of(function):
    """How many parameters a function has, without `self` and `cls`."""
    given = function.args
    names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    stars = [each for each in (given.vararg, given.kwarg) if each]
    return len([name for name in names if name not in ("self", "cls")]) + len(stars)


def too_large(path):
    """What of a file goes beyond the limits, in words."""
    text = path.read_text("utf-8")
    count = len(text.splitlines())
    if count > MOST_LINES and path.relative_to(ROOT).as_posix() not in LONG:
        yield f"{path}: {count} lines"
    for node in ast.walk(ast.parse(text)):
        place = f"{path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ClassDef) and lines_of(node) > MOST_LINES_OF_A_CLASS:
            yield f"{place}: class {node.name} has {lines_of(node)} lines"
        if not isinstance(node, FUNCTIONS):
            continue
        for what, many, most in (
            ("lines", lines_of(node), MOST_LINES_OF_A_FUNCTION),
            ("ways through it", complexity(node), MOST_BRANCHES),
            ("parameters", parameters_of(node), MOST_PARAMETERS),
        ):
            if many > most:
                yield f"{place}: {node.name} has {many} {what}"


def imports_between(paths):
    """The modules among some files, and of them those that each imports, wherever in it."""
    modules = {module_name(path): path for path in paths}
    return {name: set(imported(path, modules)) - {name} for name, path in modules.items()}


def imported(path, modules):
    """Which of some modules a file imports. A package counts where a name of its own is taken from
    it, not where one of its modules is."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [each if each in modules else node.module for each in whole]
        yield from (name for name in names if name in modules)


def find_cycle(graph):
    """Modules of which each imports the next, the first and the last one the same; [] for none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_class_or_function_is_too_large(room):
    assert [each for path in files(room) for each in too_large(path)] == []


@pytest.mark.parametrize("room", ROOMS)
def test_no_modules_import_each_other(room):
    graph = imports_between(files(room))
    assert len(graph) > 1 and any(graph.values())
    assert find_cycle(graph) == []


def module_text(more):
    """A module at every limit, or beyond all of them by `more`."""
    ways = "".join("    if a:\n        pass\n" for _ in range(MOST_BRANCHES - 1 + more))
    names = ", ".join(f"p{number}" for number in range(MOST_PARAMETERS - 1 + more))
    function = "def h():\n" + "    x = 0\n" * (MOST_LINES_OF_A_FUNCTION - 1 + more)
    whole = "class C:\n" + "    x = 0\n" * (MOST_LINES_OF_A_CLASS - 1 + more)
    text = f"def f(self, a):\n{ways}def g(cls, {names}, *rest):\n    pass\n{function}{whole}"
    return text + "# more\n" * (MOST_LINES + more - text.count("\n"))


def test_what_is_too_large_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("test_house.ROOT", tmp_path)
    path = tmp_path / "module.py"
    path.write_text(module_text(0))
    assert list(too_large(path)) == []
    path.write_text(module_text(1))
    assert [text.partition(": ")[2] for text in too_large(path)] == [
        "601 lines",
        "f has 21 ways through it",
        "g has 9 parameters",
        "h has 81 lines",
        "class C has 451 lines",
    ]
    (tmp_path / "store.py").write_text("# more\n" * (MOST_LINES + 1))
    assert list(too_large(tmp_path / "store.py")) == []


@pytest.mark.parametrize(
    ("body", "ways"),
    [
        ("pass", 1),
        ("if a:\n  pass\nelif b:\n  pass\nelse:\n  pass", 3),
        ("for a in b:\n  if a:\n    break\nelse:\n  pass", 3),
        ("while a:\n  pass", 2),
        ("try:\n  pass\nexcept A:\n  pass\nexcept B:\n  pass\nfinally:\n  pass", 3),
        ("with a:\n  if b:\n    pass", 2),
        ("def f():\n  if a:\n    pass", 3),
        ("match a:\n  case 1:\n    pass\n  case 2:\n    if b:\n      pass", 4),
        ("match a:\n  case [b]:\n    pass\n  case _:\n    pass", 2),
        ("return [a for a in b if a or c and d]", 1),
    ],
)
def test_ways_are_counted_by_statements(body, ways):
    inner = "\n".join(f"    {line}" for line in body.splitlines())
    assert complexity(ast.parse(f"def g():\n{inner}").body[0]) == ways


def test_an_import_inside_a_function_closes_a_circle(tmp_path, monkeypatch):
    root = tmp_path / "lrsearch"
    (root / "room").mkdir(parents=True)
    monkeypatch.setattr("test_house.ROOT", root)
    (root / "room" / "__init__.py").write_text("from lrsearch.room.a import x\n")
    (root / "room" / "a.py").write_text("from lrsearch.room import b\n")
    (root / "room" / "b.py").write_text("def f():\n    from lrsearch.room.c import x\n")
    (root / "room" / "c.py").write_text("import os\n")
    graph = imports_between(files("room"))
    assert graph["lrsearch.room.a"] == {"lrsearch.room.b"}
    assert find_cycle(graph) == []
    for text in (
        "if TYPE_CHECKING:\n    import lrsearch.room.a\n",
        "from lrsearch.room import x\n",
    ):
        (root / "room" / "c.py").write_text(text)
        assert len(find_cycle(imports_between(files("room")))) > 3
