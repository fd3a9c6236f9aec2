"""Options that a Python script declares by argparse or click, held against the words it is given.

The source is parsed, nothing is run. Only a script with one plain parser tells anything: a parser
that is handed on, or reads other words than the command's, may take any.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lrsearch.errors import nearest
from lrsearch.spec.foreign.words import find_alike
from lrsearch.spec.modules import MAX_SHOWN, MAX_SOURCE

_GROUPS = ("add_argument_group", "add_mutually_exclusive_group")
_METHODS = (
    *("add_argument", "parse_args", "set_defaults", "error", "exit", *_GROUPS),
    *("print_help", "print_usage", "format_help", "format_usage"),
)
"""Methods of a parser after which its options are those that the source shows."""

_PLAIN = ("prog", "description", "epilog", "usage", "formatter_class", "add_help", "allow_abbrev")
"""Arguments of a parser that leave its grammar as it is."""

_CLICKS = ("option", "argument")
"""Decorators of click's that declare what a command takes."""

_SWITCHES = ("store_true", "store_false", "store_const", "append_const", "count")
"""Actions of options that take no value."""


@dataclass(frozen=True)
class Swap:
    """A word of a command that is a slip of another."""

    old: str
    new: str


@dataclass
class _Options:
    """The options of a parser: all their names, the names of each required one, switches with their
    actions; and whether it has positional arguments."""

    names: dict[str, None] = field(default_factory=dict)
    required: list[tuple[str, ...]] = field(default_factory=list)
    switches: dict[str, str] = field(default_factory=dict)
    placed: bool = False


def option_faults(
    path: Path, words: Sequence[str], unknown: str
) -> Iterator[tuple[str, str | Swap]]:
    """The faults of words that a script is started with: message, and hint or slip. A word may hold
    `unknown` where only a trial knows its text."""
    options = _read(path)
    if options is None:
        return
    given: set[str] = set()
    for at, word in enumerate(words):
        if word == "--":
            break
        name, equals, _ = word.partition("=")
        if not word.startswith("-") or unknown in name or " " in name:
            continue
        given.add(name)
        if not name.startswith("--"):
            continue
        if not any(each.startswith(name) for each in options.names):
            close = nearest(name, options.names) or find_alike(name, options.names)
            listed = ", ".join([*options.names][:MAX_SHOWN])
            hint = Swap(name, close) if close else f"its options: {listed}"
            given |= {close} if close else set()
            yield f"{path.name} has no option {name}", hint
        behind = words[at + 1] if at + 1 < len(words) else "-"
        if name in options.switches and (equals or not (options.placed or behind.startswith("-"))):
            yield (
                f"{name} of {path.name} is a switch, {options.switches[name]}: it takes no value",
                f"let the script read it: add_argument('{name}', type=lambda text: text == 'true')",
            )
    for names in options.required:
        if not any(each.startswith(word) for each in names for word in given):
            yield f"{path.name} requires {names[-1]}, which the command does not give", ""


def _read(path: Path) -> _Options | None:
    """The options that a script declares; None where its source does not show them all."""
    try:
        if path.suffix != ".py" or path.stat().st_size > MAX_SOURCE:
            return None
        content = path.read_bytes()
        if not re.search(rb"ArgumentParser|\bclick\b", content):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Warnings of escapes in the user's texts.
            tree = ast.parse(content)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return _Script(tree).read()


class _Script:
    """The source of a script, and the nodes above each of its nodes."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.above = {
            inner: outer for outer in ast.walk(tree) for inner in ast.iter_child_nodes(outer)
        }

    def read(self) -> _Options | None:
        """The options of the one parser, None where there are others, or it is no plain one."""
        calls = [each for each in self.above if isinstance(each, ast.Call)]
        made = [each for each in calls if last_name(each.func) == "ArgumentParser"]
        commands = [each for each in calls if last_name(each.func) in ("command", "group")]
        if not made and [ast.unparse(each.func) for each in commands] == ["click.command"]:
            return self._read_click(commands[0])
        parsing = [each for each in calls if last_name(each.func) == "parse_args"]
        if len(made) != 1 or len(parsing) != 1 or not self._is_parsed(parsing[0]):
            return None
        if made[0].args or not {each.arg for each in made[0].keywords} <= {*_PLAIN}:
            return None
        groups = [each for each in calls if last_name(each.func) in _GROUPS]
        parsers = [self._target(each) for each in (*made, *groups)]
        if None in parsers or not self._is_plain({*parsers}):
            return None
        options = _Options()
        if not any(_keyword(each, "add_help") for each in made):
            options.names |= {"--help": None}
        adding = [each for each in calls if last_name(each.func) == "add_argument"]
        return options if all(self._add(options, each) for each in adding) else None

    def _read_click(self, command: ast.Call) -> _Options | None:
        """The options of click's one command, None where the source does not show them all."""
        function = self.above[command]
        plain = not command.args and {each.arg for each in command.keywords} <= {"name", "help"}
        if not isinstance(function, ast.FunctionDef) or not plain:
            return None
        named = [each for each in self.above if last_name(each) == function.name]
        begun = self.above[named[0]] if len(named) == 1 else None  # Once: nothing alters it.
        if not isinstance(begun, ast.Call) or begun.func is not named[0] or self._reads_words():
            return None
        if begun.args or begun.keywords:
            return None
        options = _Options(names={"--help": None})
        for each in function.decorator_list:
            given = each.args if isinstance(each, ast.Call) else []
            texts = [str(part.value) for part in given if isinstance(part, ast.Constant)]
            kind = last_name(each.func) if isinstance(each, ast.Call) else ""
            if each is not command and (kind not in _CLICKS or not 0 < len(texts) == len(given)):
                return None
            options.placed = options.placed or kind == "argument"
            names = [name.strip() for text in texts for name in text.split("/")]
            options.names |= {name: None for name in names if name[:1] == "-"}
        return options

    def _target(self, call: ast.Call) -> str | None:
        """The name that what a call makes is given."""
        outer = self.above[call]
        targets = outer.targets if isinstance(outer, ast.Assign) else []
        return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else None

    def _reads_words(self) -> bool:
        """Whether the script gets at the words that it was started with by itself."""
        read = (
            getattr(each, "attr", "") or (isinstance(each, ast.alias) and each.name)
            for each in self.above
        )
        return any(each in ("argv", "orig_argv") for each in read)

    def _is_plain(self, parsers: set[str | None]) -> bool:
        """Whether parsers of these names, and the words that they read, are used in plain ways."""
        if self._reads_words():
            return False
        for each in self.above:
            outer = self.above[each]
            if isinstance(each, ast.ClassDef) and any(
                last_name(base) == "ArgumentParser" for base in each.bases
            ):
                return False
            if isinstance(each, ast.Name) and each.id in parsers:
                loaded = isinstance(each.ctx, ast.Load)
                method = isinstance(outer, ast.Attribute) and outer.attr in _METHODS
                if loaded and not method and not isinstance(outer, ast.Return):
                    return False
        return True

    def _is_parsed(self, call: ast.Call) -> bool:
        """Whether a call reads the words of the command, wherever the script gets to it."""
        if call.args or call.keywords:
            return False
        inner: ast.AST = call
        while (outer := self.above.get(inner)) is not None:
            if isinstance(outer, ast.If) and "__main__" not in ast.unparse(outer.test):
                return False
            if isinstance(outer, ast.IfExp | ast.BoolOp | ast.Try | ast.Lambda | ast.ClassDef):
                return False
            if isinstance(outer, ast.With | ast.Match | ast.For | ast.While):
                return False
            if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef):
                named = [each for each in self.above if last_name(each) == outer.name]
                if not named:
                    return False
            inner = outer
        return True

    def _add(self, options: _Options, call: ast.Call) -> bool:
        """Add the options of an `add_argument`; False where the source does not show them."""
        names = [each.value for each in call.args if isinstance(each, ast.Constant)]
        texts = tuple(each for each in names if isinstance(each, str))
        keywords = {each.arg: each.value for each in call.keywords}
        if not texts or len(texts) < len(call.args) or None in keywords:
            return False
        nargs = keywords.get("nargs")
        counted = isinstance(nargs, ast.Constant) and nargs.value not in ("...", "A...")
        if nargs is not None and not counted:
            return False
        if not texts[0].startswith("-"):
            options.placed = True
            return True
        options.names |= dict.fromkeys(texts)
        action = keywords.get("action")
        if action is not None and not isinstance(action, ast.Constant):
            options.names |= {f"--no-{each[2:]}": None for each in texts if each[:2] == "--"}
        elif action is not None and action.value in _SWITCHES:
            told = f"action='{action.value}'"
            options.switches |= dict.fromkeys(texts, told)
        statement = self.above[call]
        always = isinstance(self.above.get(statement), ast.FunctionDef | ast.Module)
        required = keywords.get("required")
        if isinstance(required, ast.Constant) and required.value is True and always:
            options.required.append(texts)
        return True


def last_name(node: ast.AST) -> str:
    """The last name of `name` or `a.name`, "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _keyword(call: ast.Call, name: str) -> bool:
    return any(each.arg == name for each in call.keywords)
