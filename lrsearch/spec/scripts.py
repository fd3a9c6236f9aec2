"""Files that a command cannot start without: its program, and the script that it is to run.

Nothing is run to find out, and only certain faults are told: the place of a script among the words
of a command is known for a few programs, and for these as far as their options are known.
"""

from __future__ import annotations

import itertools
import os
import pkgutil
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from pathlib import Path as FilePath
from typing import Any

from lrsearch.errors import Fault, is_slip, nearest
from lrsearch.spec.commandline import as_text, fill, placeholders, program_fault, split_words
from lrsearch.spec.document import Document, as_mapping
from lrsearch.spec.foreign.lines import Line, show_advice
from lrsearch.spec.modules import find_installed, find_module
from lrsearch.spec.parsers import Swap, option_faults
from lrsearch.spec.ranges import is_range

MAX_FILLED = 100
"""The most combinations of values that are put into a command."""

_OPEN = "\0"
"""Stands in a word for a value that only a trial knows; no command holds this character."""

Told = tuple[str, str | Swap]
"""A message, and a hint or the slip that it tells of."""

_VERBS = {
    **dict.fromkeys(("torchrun", "node", "Rscript", "julia", "perl", "ruby", "php"), ""),
    **dict.fromkeys(("uv", "poetry", "pipenv", "conda", "mamba"), "run"),
    "accelerate": "launch",
}
"""Programs that run a script, and the first word of those that do other things besides."""

_ENDINGS = (".py", ".js", ".mjs", ".cjs", ".ts", ".R", ".r", ".jl", ".pl", ".rb", ".php")
"""The ends of scripts' names."""

_ELSEWHERE = ("-c", "-e", "-E", "-L", "--eval", "--no-python", "--cwd", "--directory")
"""Options by which a program runs other code than a script, or in another folder."""

_LAUNCHERS = ("torch.distributed.run", "accelerate.commands.launch")
"""Modules that `python -m` runs like a program that takes a script."""

_PATHS = ("PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV")
"""Variables that decide which programs and modules are found."""

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")


@dataclass(frozen=True)
class _Place:
    """The place where a command runs: its folder, and whether its programs and modules are found as
    in this process."""

    folder: FilePath
    usual: bool = True


def command_faults(document: Document, folder: FilePath, *, told: bool = False) -> list[Fault]:
    """Faults for files that a document's command cannot start without, and options that its script
    does not take; it runs in `folder`. Of a command that is `told` to have another fault only slips
    of words are certain, and no line mends both."""
    top = as_mapping(document.data)
    text = top.get("command")
    if not isinstance(text, str) or _OPEN in text:
        return []
    try:
        words = split_words(text)
        names = placeholders(words)
    except ValueError:
        return []
    found: dict[Told, None] = {}
    for filled in _fillings(words, names, top):
        if _OPEN not in filled[0]:
            fault = program_fault(filled[0], str(folder))
            if fault and not fault[1] and "\\" in text.split()[0]:
                line = text.strip().replace("\\", "/")
                hint = f"a backslash quotes the letter behind it: write command: {line}"
                fault = (fault[0], hint)
            place = _Place(folder)
            named = _program_told(filled[0], *fault) if fault else None
            found |= {named: None} if named else {}
            meant = named[1] if named else None
            if named is None or isinstance(meant, Swap):
                started = [meant.new if isinstance(meant, Swap) else filled[0], *filled[1:]]
                found |= dict.fromkeys(_look(started, place))
    if told:
        return [
            document.fault(("command",), message, _unmended(hint, ""))
            for message, hint in found
            if isinstance(hint, Swap)
        ]
    slips = [hint for _, hint in found if isinstance(hint, Swap)]
    hint = _mended(document, text, slips)
    return [
        document.fault(
            ("command",), message, _unmended(meant, hint) if isinstance(meant, Swap) else meant
        )
        for message, meant in found
    ]


def _program_told(program: str, message: str, hint: str) -> Told:
    """A fault of a program, with the program that it is a slip of."""
    close = re.fullmatch(r"did you mean '(.*)'\?", hint)
    if close and program in _LACKING:
        return message, ""
    return message, Swap(program, close[1]) if close and is_slip(program, close[1]) else hint


_LACKING = ("torchrun", "accelerate", "uv", "poetry", "pipenv", "conda", "mamba", "node", "julia")
"""Programs that are often not installed, and no slips of others."""


def _mended(document: Document, text: str, slips: Sequence[Swap]) -> str:
    """The hint with the command as it is without these slips, "" where one of them is not found in
    its text once."""
    for slip in slips:
        pattern = rf"(?<![\w-]){re.escape(slip.old)}(?![\w-])"
        text, count = re.subn(pattern, slip.new.replace("\\", r"\\"), text)
        if count != 1:
            return ""
    path = ("command",)
    return show_advice([Line(path, text)], path, option=path in document.origins)


def _unmended(slip: Swap, hint: str) -> str:
    """The hint for a slip: the line without it, or else the word that is meant."""
    return hint or f"did you mean {slip.new}?"


def _fillings(
    words: Sequence[str], names: Sequence[str], top: Mapping[str, Any]
) -> Iterator[list[str]]:
    """The words for each combination of fixed values and listed options."""
    values = {name: [_OPEN] for name in names}
    for key in ("params", "search"):
        given = top.get(key)
        for name, value in as_mapping(given).items():
            if name in values:
                listed = value if key == "search" and isinstance(value, list) else [value]
                values[name] = [_OPEN] if is_range(value) else [as_text(each) for each in listed]
    for chosen in itertools.islice(itertools.product(*values.values()), MAX_FILLED):
        yield fill(words, dict(zip(values, chosen, strict=True)))


def _look(words: Sequence[str], place: _Place) -> Iterator[Told]:
    """The missing file of a command without a shell."""
    if not words or _OPEN in words[0]:
        return
    program, rest = FilePath(words[0]).name, list(words[1:])
    if program == "env":
        yield from _env(rest, place)
    elif program in ("nohup", "setsid"):
        yield from _look(rest, place)
    elif program == "nice":
        yield from _look(rest[2:] if rest[:1] == ["-n"] else rest, place)
    elif program == "timeout" and rest and not rest[0].startswith("-"):
        yield from _look(rest[1:], place)
    elif re.fullmatch(r"(python|pypy)[0-9.]*", program):
        yield from _python(words[0], rest, place)
    elif program in ("sh", "bash", "dash", "zsh", "ksh"):
        yield from _shell(rest, place)
    elif program in _VERBS and _VERBS[program] in ("", *rest[:1]):
        yield from _launched(rest[bool(_VERBS[program]) :], place)


def _launched(words: Sequence[str], place: _Place) -> Iterator[Told]:
    """The script that a program runs: the first word that ends like one, or what another program
    does that it runs. A word behind an option may be the option's value, as in node -r env.js
    train.js."""
    option = False
    for at, word in enumerate(words):
        name = word.partition("=")[0].replace("_", "-")
        if word.endswith(_ENDINGS) and not re.search(r"\s", word):
            if not option or not any(each.endswith(_ENDINGS) for each in words[at + 1 :]):
                yield from _script(words[at:], place)
            return
        if name in ("-m", "--module") and words[at + 1 :]:
            yield from _module("", words[at + 1 :], replace(place, usual=False))
            return
        if not option and not word.startswith(("-", "+")):
            yield from _look(words[at:], replace(place, usual=False))
            return
        if name in _ELSEWHERE:
            return
        option = word.startswith(("-", "+"))


def _env(words: Sequence[str], place: _Place) -> Iterator[Told]:
    at = 0
    while at < len(words) and (match := _ASSIGNMENT.match(words[at])):
        place = replace(place, usual=place.usual and match[1] not in _PATHS)
        at += 1
    rest = words[at:]
    if not rest or rest[0].startswith(("-", _OPEN)):
        return
    fault = program_fault(rest[0], str(place.folder)) if place.usual else None
    if fault is not None:
        yield _program_told(rest[0], *fault)
    else:
        yield from _look(rest, place)


_FLAGS = re.compile(r"-([bBdEiIOPqsSuvx]*)(?:([cmWX])(.*))?", re.DOTALL)


def _python(program: str, words: Sequence[str], place: _Place) -> Iterator[Told]:
    at = 0
    while at < len(words):
        word = words[at]
        if word.startswith(_OPEN) or word == "-":
            return
        if not word.startswith("-"):
            if (place.folder / word).is_dir() and not (
                place.folder / word / "__main__.py"
            ).exists():
                yield f"{word} is a folder without __main__.py: there is nothing to run", ""
            yield from _script(words[at:], place)
            return
        match = _FLAGS.fullmatch(word)
        if match is None:
            return
        if set(match[1]) & set("EIPsS"):
            place = replace(place, usual=False)
        if match[2] == "c":
            return
        if match[2] == "m":
            rest = [match[3], *words[at + 1 :]] if match[3] else words[at + 1 :]
            if rest and not set(match[1]) & set("IP"):
                yield from _module(program, rest, place)
            return
        at += 2 if match[2] and not match[3] else 1


def _script(words: Sequence[str], place: _Place) -> Iterator[Told]:
    """Check that the first word is an existing file."""
    word = words[0] if words else ""
    if not word or _OPEN in word or word == "-" or "://" in word:
        return
    path = place.folder / word
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        yield f"the script {word} does not exist (seen from {place.folder})", _near(word, place)
    except (OSError, ValueError):
        return
    yield from option_faults(path, words[1:], _OPEN)


def _near(word: str, place: _Place) -> str | Swap:
    """The hint where a script is not there."""
    if word.startswith("~"):
        return "no shell runs the command: write out what ~ stands for"
    path = place.folder / word
    here = FilePath.cwd() / word
    if here.is_file() and here.resolve() != path.resolve():
        return f"write {os.path.relpath(here, place.folder)}, as it is seen from there"
    try:
        names = sorted(each.name for each in path.parent.iterdir() if each.is_file())
    except OSError:
        return f"there is no folder {FilePath(word).parent}"
    close = nearest(path.name, [each for each in names if each.endswith(path.suffix)])
    if close:
        return Swap(word, str(FilePath(word).with_name(close)))
    alike = [each for each in names if path.suffix and each.endswith(path.suffix)][:20]
    return f"there are {', '.join(alike)}" if alike else ""


def _module(program: str, words: Sequence[str], place: _Place) -> Iterator[Told]:
    """Check the first word as the module that `python -m` runs."""
    module, *rest = words
    parts = module.split(".")
    if not all(map(str.isidentifier, parts)) or parts[0] in sys.stdlib_module_names:
        return
    if module in _LAUNCHERS:
        yield from _launched(rest, place)
        return
    folders = [str(place.folder)]
    spec = find_module(parts[0], folders)
    if spec is None:
        usual = place.usual and _is_ours(program, place.folder)
        if usual and find_installed(parts[0]) is False:
            near = nearest(parts[0], [each.name for each in pkgutil.iter_modules(folders)])
            hint = Swap(parts[0], near) if near else ""
            yield f"there is no module '{parts[0]}' in {place.folder}, and none is installed", hint
        return
    if spec.origin is None or _alters_path(spec):
        return  # Parts of it may stand elsewhere.
    for end in range(2, len(parts) + 1):
        name = ".".join(parts[:end])
        above, last = name.rpartition(".")[::2]
        inside = list(spec.submodule_search_locations or ())
        if not inside:
            hint = f"write -m {above}" if last == "py" else ""
            yield f"there is no module '{module}': {above} is a file, no package", hint
            return
        inner = find_module(name, inside)
        if inner is None:
            near = nearest(last, [each.name for each in pkgutil.iter_modules(inside)])
            yield f"{above} has no module '{last}'", Swap(last, near) if near else ""
            return
        spec = inner
        if _alters_path(spec):
            return
    inside = list(spec.submodule_search_locations or ())
    if inside:
        spec = find_module(f"{module}.__main__", inside)
    if spec is None:
        yield f"{module} is a package without __main__.py: there is nothing to run", ""
    elif spec.origin and FilePath(spec.origin).is_relative_to(place.folder):
        yield from option_faults(FilePath(spec.origin), rest, _OPEN)


def _alters_path(spec: ModuleSpec) -> bool:
    """Whether a package may say for itself where its modules are."""
    if not spec.submodule_search_locations or spec.origin is None:
        return False
    try:
        return b"__path__" in FilePath(spec.origin).read_bytes()
    except OSError:
        return True


def _is_ours(program: str, folder: FilePath) -> bool:
    """Whether a program is the Python of this process, which finds the same modules."""
    found = str(folder / program) if "/" in program else shutil.which(program)
    if found is None:
        return False
    left, right = FilePath(found), FilePath(sys.executable)
    return left.parent.resolve() == right.parent.resolve() and left.resolve() == right.resolve()


# shells


_STARTING = frozenset("lins")
"""Options of shells that change the start: start-up files, standard input, or no commands at
all."""


def _shell(words: Sequence[str], place: _Place) -> Iterator[Told]:
    at = 0
    while at < len(words):
        word = words[at]
        if re.fullmatch(r"-[a-z]*c", word) and not set(word) & _STARTING:
            if at + 1 < len(words):
                yield from _shell_script(words[at + 1], place)
            return
        if word in ("--norc", "--noprofile", "--posix"):
            at += 1
        elif re.fullmatch(r"[-+][a-z]+", word) and not set(word) & {*_STARTING, "c"}:
            at += 2 if "o" in word else 1
        elif word.startswith(("-", "+", _OPEN)):
            return
        else:
            found = "/" not in word and any(
                FilePath(each, word).exists() for each in os.get_exec_path()
            )
            if not found:  # Shells look for scripts on the PATH, too.
                yield from _script(words[at:], place)
            return


_OUTPUT = re.compile(r"\s[0-9&]?>>?\s*(?:&[0-9]|[^\s'\"|;&<>()]+)|\|\s*tee\s[^|;&<>()`]*$")
_OTHER = re.compile(r"[;|\n<>(`]|(?<!&)&(?!&)")
_EXPANDED = re.compile(r"[$*?\[~`{]")


def _shell_script(script: str, place: _Place) -> Iterator[Told]:
    """The first command of a script that is nothing but commands joined by `&&`: should it fail,
    the others do not run. Commands before it may change the folder, or set variables."""
    script = _OUTPUT.sub(" ", script.replace("\\\n", " ").strip())
    if _OTHER.search(script):
        return
    made = False
    for part in script.split("&&"):
        try:
            words = shlex.split(part)
        except ValueError:
            return
        while words and (words[0] in ("exec", "export") or _ASSIGNMENT.match(words[0])):
            name = words.pop(0).partition("=")[0]
            place = replace(place, usual=place.usual and name not in _PATHS)
        if not words or words[0] in ("set", "mkdir", "sleep", "ulimit"):
            made = made or words[:1] == ["mkdir"]
            continue
        # A word that the shell expands may become several.
        words = [word if not _EXPANDED.search(word) else _OPEN for word in words]
        if words[0] in ("source", "."):
            yield from _script([each for each in words[1:2] if "/" in each], place)
            return
        if words[0] != "cd":
            yield from _look(words, place)
            return
        if len(words) != 2 or _OPEN in words[1] or words[1] == "-":
            return
        folder = place.folder / words[1]
        if not folder.is_dir():
            if not made and not os.environ.get("CDPATH"):
                yield f"there is no folder {words[1]} to cd to (seen from {place.folder})", ""
            return
        place = replace(place, folder=folder)
