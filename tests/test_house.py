"""The house: how large a file, a class and a function may be, that no two modules import each
other, however deep inside functions, and how docstrings begin. The limits leave room to breathe:
they are no goals."""

import ast
import inspect
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import lrsearch
from lrsearch.cli import app

ROOT = Path(lrsearch.__file__).parent

TESTS = Path(__file__).parent

WHOLE = {"benchmarks", "devices", "docs", "house", "rooms", "spreading"}
"""Tests of no one room."""

ROOMS = sorted({path.relative_to(ROOT).parts[0].removesuffix(".py") for path in ROOT.rglob("*.py")})

LONG = {"catalogue.py", "store.py"}
"""Files that may be longer: one is a table, the other one format of one folder."""

MOST_LINES = 600
MOST_LINES_OF_A_CLASS = 450
MOST_LINES_OF_A_FUNCTION = 80
MOST_BRANCHES = 20
MOST_PARAMETERS = 8
"""But of the command line's commands, of which every parameter is an argument or an option."""

COMMANDS = {
    (code.co_filename, code.co_firstlineno)
    for code in (inspect.unwrap(each.callback).__code__ for each in app.registered_commands)
}
"""Where the functions of the commands begin."""

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

NO_BEGINNING = re.compile(
    "what|how|why|where|when|wh(o|om|ose|ich)|th(at|ose|is|ese)|of|by|as|in|into|to|from|for|with"
    "|without|at|on|up|out|under|over|between|beside|behind|below|above|before|after|within|through"
    "|against|across|per|like|than|since|until|while|because|its?|the(y|m|ir)|he|she|his|her|we|you"
    "|i|one's|t?here|(no|some|any|every)(body|one|thing|where)|none|(what|who)ever|only|so|such|same"
    "|else|and|or|but|if|not"
)
"""Words that no docstring begins with: it begins with a noun, perhaps with an article, an adjective
or a number before it, with a verb, or with "Whether"."""


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
    if isinstance(node, (*BRANCHES, *FUNCTIONS)):
        found += 1
    elif isinstance(node, ast.Try | ast.TryStar):
        found += bool(node.orelse)
    elif isinstance(node, ast.Match):
        found += sum(not _takes_all(case) for case in node.cases)
    return found


def _takes_all(case):
    """Whether a case is `case _` or a name alone, which is no way of its own."""
    return case.guard is None and isinstance(case.pattern, ast.MatchAs) and not case.pattern.pattern


BRANCHES = (ast.If, ast.ExceptHandler, ast.For, ast.AsyncFor, ast.While)
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
        free = (str(path), node.lineno) in COMMANDS
        for what, many, most in (
            ("lines", lines_of(node), MOST_LINES_OF_A_FUNCTION),
            ("ways through it", complexity(node), MOST_BRANCHES),
            ("parameters", 0 if free else parameters_of(node), MOST_PARAMETERS),
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


def test_no_modules_import_each_other():
    graph = imports_between(sorted(ROOT.rglob("*.py")))
    assert len(graph) > 100 and sum(map(len, graph.values())) > 500
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
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "store.py").write_text("# more\n" * (MOST_LINES + 1))
    assert len(list(too_large(tmp_path / "room" / "store.py"))) == 1


def test_only_a_command_may_have_more_parameters(tmp_path, monkeypatch):
    monkeypatch.setattr("test_house.ROOT", tmp_path)
    path = tmp_path / "module.py"
    path.write_text(module_text(1).replace("def h()", "def h(*, a, b, c, d, e, f, g, h, i)"))
    found = [text for text in too_large(path) if text.endswith("parameters")]
    assert [text.partition(": ")[2] for text in found] == [
        "g has 9 parameters",
        "h has 9 parameters",
    ]
    line = int(found[1].split(":")[-2])
    monkeypatch.setattr("test_house.COMMANDS", {(str(path), line)})
    assert [text for text in too_large(path) if "parameters" in text] == found[:1]
    assert any(": h has 81 lines" in text for text in too_large(path))


def test_the_commands_are_found():
    assert any(name.endswith("searching.py") for name, _ in COMMANDS) and len(COMMANDS) > 6
    for name, line in COMMANDS:
        assert Path(name).read_text("utf-8").splitlines()[line - 1].lstrip().startswith("def ")


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
        ("match a:\n  case 1:\n    pass\n  case _:\n    pass", 2),
        ("match a:\n  case 1:\n    pass\n  case b if b:\n    pass", 3),
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


def test_tests_mirror_the_rooms():
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("*.py")}
    rooms = {path.parent.relative_to(ROOT) for path in ROOT.rglob("*.py")}
    assert len(folders) > 10 and folders - rooms == {Path("faults")}
    # What stands in no folder is about a room that is one file.
    alone = {path.stem.removeprefix("test_") for path in TESTS.glob("test_*.py")} - WHOLE
    assert alone <= {path.stem for path in ROOT.glob("*.py")}


def test_no_two_files_of_tests_share_a_name():
    names = [path.name for path in TESTS.rglob("*.py") if path.name != "conftest.py"]
    assert len(names) > 50 and len(set(names)) == len(names)


def docstrings(tree):
    """The line and the text of each docstring: of modules, classes and functions, and of names that
    a value is given to, whose docstring follows them."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        before, kinds = node, DOCUMENTED
        for each in body if isinstance(body, list) else []:
            if isinstance(before, kinds) and is_text(each):
                yield each.lineno, each.value.value
            before, kinds = each, ASSIGNMENTS


def is_text(statement):
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


DOCUMENTED = (ast.Module, ast.ClassDef, *FUNCTIONS)
ASSIGNMENTS = (ast.Assign, ast.AnnAssign)


def first_word(text):
    """The word that a docstring begins with; "" where it begins with code or a number."""
    found = re.match(r"\s*([A-Za-z][\w'-]*)", text)
    return found[1] if found else ""


def ill_begun(path):
    """The docstrings of a file that begin as `NO_BEGINNING`."""
    for line, text in docstrings(ast.parse(path.read_text("utf-8"))):
        if NO_BEGINNING.fullmatch(first_word(text).lower()):
            yield f"{path}:{line}: {' '.join(text.split())[:60]}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_docstring_begins_with_a_noun_or_a_verb(room):
    found = [each for path in files(room) for each in ill_begun(path)]
    assert found == [], "begin with the thing or the act: 'The loss of ...', 'Read ...'"


def test_docstrings_are_found_wherever_they_stand(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        '"""What is here."""\n'
        'A = 1\n"""Of A."""\n'
        'b: int = 2\n"""`b`, by which ..."""\n'
        'class C:\n    """\n    Those that count."""\n    d = 1\n    """How large."""\n'
        '    async def e(self):\n        """By the way."""\n        self.f = 1\n'
        '        """Where it is."""\n'
        'def g():\n    """Whether it is."""\n    print()\n    """What is no docstring."""\n'
        'def h():\n    "The size."\n    if g():\n        i = 1\n        "Its size."\n'
        "def k():\n    '''The one.'''\n    return 'What?'\n"
    )
    texts = [text.strip() for _, text in docstrings(ast.parse(path.read_text()))]
    assert "What is no docstring." not in texts and len(texts) == 11
    expected = ["What is here.", "Of A.", "Those that count.", "How large.", "By the way."]
    found = [text.partition(": ")[2] for text in ill_begun(path)]
    assert sorted(found) == sorted([*expected, "Where it is.", "Its size."])


STEPS = re.compile(r"_?(update|step(?!_plainly)(_\w+)?|evaluate(_outputs)?)")
"""Names of functions that step, update or evaluate lanes."""


def without_shapes(path):
    """The functions of a file named by `STEPS` whose docstring gives no shape."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, FUNCTIONS) or not STEPS.fullmatch(node.name):
            continue
        if not re.search(r"\[[\w., +()-]+\]", ast.get_docstring(node) or ""):
            yield f"{path}:{node.lineno}: {node.name}"


def test_a_step_of_lanes_gives_its_shapes(tmp_path):
    folders = [ROOT / "train" / name for name in ("lanes", "optimizers")]
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    assert [each for path in paths for each in without_shapes(path)] == []
    path = tmp_path / "module.py"
    path.write_text(
        "class C:\n"
        '    def update(self):\n        """Step by gradients [K, ...]."""\n'
        '    def step(self):\n        """Step by gradients."""\n'
        "def _step_adam():\n    pass\n"
        "def _evaluate():\n    '''Sums [lanes, sums].'''\n"
        "def step_plainly():\n    pass\n"
    )
    found = [text.rpartition(": ")[2] for text in without_shapes(path)]
    assert sorted(found) == ["_step_adam", "step"]
