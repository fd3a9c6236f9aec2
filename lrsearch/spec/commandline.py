"""The command line of a spec's `command`: its words, placeholders and the files it names.

It is split into words before anything is put in, and no shell ever sees it: a value stays inside
its word, whatever it contains.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrsearch.errors import UsageError, nearest
from lrsearch.trial import Config, Trial

GIVEN = ("seed", "device", "run", "trial")
"""Placeholders that are no parameters."""

BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def split_words(text: str) -> list[str]:
    """The words of a command line, quotes and backslashes taken as a shell would. Raises
    ValueError where a quote is not closed, or there is no word."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{str(error).lower()} in it") from None
    if not words:
        raise ValueError("it is empty")
    return words


def placeholders(words: Sequence[str]) -> list[str]:
    """The names in `{name}`, each once, in their order. Raises ValueError for a lone brace."""
    found: dict[str, None] = {}
    for word in words:
        for match in BRACES.finditer(word):
            if match[0] in ("{", "}"):
                raise ValueError(f"a lone '{match[0]}' in '{word}'")
            if match[1] is not None:
                found[match[1]] = None
    return list(found)


def fill(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Fill every placeholder of `values` into the words; others stay, and `{{` and `}}` become
    braces."""

    def put(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        return values.get(match[1], match[0])

    return [BRACES.sub(put, word) for word in words]


def fill_command(config: Config, given: Mapping[str, str] | None = None) -> list[str]:
    """The words of a resolved command, its parameters filled in, and what else is `given`, see
    `give`; a name that is a parameter's, too, is what is given."""
    values = {name: as_text(value) for name, value in config["params"].items()}
    return fill(split_words(config["command"]), {**values, **(given or {})})


def give(trial: Trial, run: str, device: str) -> dict[str, str]:
    """The placeholders of `GIVEN` for a trial."""
    return {"seed": str(trial.seed), "device": device, "run": run, "trial": str(trial.number)}


def as_text(value: Any) -> str:
    """A parameter's value for a command line or the environment: text as it is, other values as
    JSON (`0.001`, `true`, `[1, 2]`)."""
    return value if isinstance(value, str) else json.dumps(value)


def named_files(config: Config) -> list[str]:
    """The parts of a resolved command that may be names of files, as they stand there: each word,
    the text behind its `=`, the files that `-m package.module` may mean, and the same parts of the
    words in `sh -c '...'`, except for files written to. A loop has its class path instead. Trial
    keys include the content of these files."""
    if "loop" in config:
        return [config["loop"]]
    return list(dict.fromkeys(_candidates(fill_command(config))))


MAX_NAMES = 1000
"""The most combinations of values that are looked for in one word."""


def hears_seed(command: str, folder: Path) -> bool:
    """Whether a command can know its trial's seed: by `{seed}`, or where it or the beginning of a
    file that it names, seen from the folder, has the name of the variable."""
    words = split_words(command)
    if "seed" in placeholders(words) or _SEED in command:
        return True
    return any(_SEED.encode() in _beginning(folder / name) for name in _candidates(words))


def _beginning(path: Path) -> bytes:
    """The first bytes of a file; b"" of what is none, such as a pipe, or cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        if path.is_file():  # To read a terminal or a pipe is to wait for it.
            with path.open("rb") as file:
                return file.read(_LONGEST_SCRIPT)
    return b""


_SEED = "LRSEARCH_SEED"

_LONGEST_SCRIPT = 1 << 20
"""Bytes of a file that are looked at."""


def possible_files(configs: Sequence[Config], folder: str) -> list[str]:
    """The names that `named_files` may give for a point of a spec, where `configs` show each option
    and each end of a range once: combinations of their values, and for numbers, since a range has
    others between its ends, matching files in the folder."""
    found = dict.fromkeys(name for config in configs for name in named_files(config))
    if "command" not in configs[0]:
        return list(found)
    values = {name: [config["params"][name] for config in configs] for name in configs[0]["params"]}
    for template in _candidates(split_words(configs[0]["command"])):
        names = [match[1] for match in BRACES.finditer(template) if match[1] in values]
        # Of a value alone any file would do; its options are named already.
        if not names or template == f"{{{names[0]}}}":
            continue
        patterns = itertools.product(*(_patterns(values[name]) for name in names))
        for given in itertools.islice(patterns, MAX_NAMES):
            parts = dict(zip(names, given, strict=True))
            (pattern,) = fill([glob.escape(template)], parts)
            found |= dict.fromkeys(glob.iglob(pattern, root_dir=folder))  # noqa: PTH207
    return list(found)


def _patterns(values: Sequence[Any]) -> list[str]:
    texts = list(dict.fromkeys(map(as_text, values)))
    if len(texts) > 1 and all(type(value) in (int, float) for value in values):
        return ["*"]
    return [glob.escape(text) for text in texts]


def _candidates(words: Sequence[str]) -> Iterator[str]:
    before = ""
    for word in words:
        yield word
        if "=" in word:
            yield word.partition("=")[2]
        if before == "-m":
            stem = word.replace(".", "/")
            yield from (f"{stem}.py", f"{stem}/__main__.py")
        if _SCRIPT_OPTION.fullmatch(before):
            yield from _candidates(_read_words(word))
        before = word


_SCRIPT_OPTION = re.compile(r"-[a-z]*c")
_REDIRECTION = re.compile(r"[<>&|]*>[<>&|]*|tee")


def _read_words(script: str) -> list[str]:
    """The words of a shell's script without the files it writes to; none where it is no such
    script."""
    lexer = shlex.shlex(script, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:
        return []
    pairs = zip(["", *words], words, strict=False)
    return [word for before, word in pairs if not _REDIRECTION.fullmatch(before)]


def check_program(config: Config, folder: str, where: str) -> None:
    """Raises UsageError where a resolved command's program is not there or cannot be run; nothing
    is run to find out. `where` is the place in the spec."""
    fault = program_fault(fill_command(config)[0], folder)
    if fault is not None:
        raise UsageError(fault[0], where=where, hint=fault[1])


def program_fault(program: str, folder: str) -> tuple[str, str] | None:
    """The message and the hint where a program, seen from a folder, is not there or cannot be
    run."""
    path = Path(folder, program)
    if "/" not in program:
        if shutil.which(program) is not None:
            return None
        close = nearest(program, _programs())
        hint = f"did you mean '{close}'?" if close else ""
        if _is_file(path):
            hint = f"there is one in the spec's folder: write ./{program}"
        elif _VARIABLE.match(program):
            hint = f"no shell runs the command: write env {program} ..."
        elif program in _OF_THE_SHELL:
            hint = "no shell runs the command: for one write sh -c '...'"
        elif re.fullmatch(r"[A-Za-z_]\w*\.(?!py$)[A-Za-z_]\w*", program):
            hint = f"a function is named by loop: write loop: {program}, and no command"
        return f"there is no program '{program[:200]}' on the PATH", hint
    if not _is_file(path):
        what = "is a folder" if os.path.isdir(path) else "does not exist"  # noqa: PTH112
        home = program.startswith("~")
        hint = "no shell runs the command: write out what ~ stands for" if home else ""
        return f"the program {program[:200]} {what} (seen from {folder})", hint
    if not os.access(path, os.X_OK):
        hint = f"name what runs it, such as python {program}, or chmod +x {program}"
        return f"the program {program} is not executable", hint
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # A name that no file can have, for its length.
        return False


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_OF_THE_SHELL = (".", "cd", "eval", "exec", "export", "for", "if", "set", "source", "while")


def _programs() -> list[str]:
    """The names on the PATH."""
    found: list[str] = []
    for folder in os.get_exec_path():
        with contextlib.suppress(OSError):
            found += [entry.name for entry in Path(folder).iterdir()]
    return found
