"""Consent to run the user's code: `--allow-import`, `--allow-command`, or a question asked once and
remembered."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from lrsearch.cli.closing import write_file
from lrsearch.errors import CommandRefused, UsageError
from lrsearch.reports.text import one_line
from lrsearch.spec import Spec, check_imports, needed_imports
from lrsearch.terminal import visible_line


def read_modules(given: Sequence[str] | None) -> tuple[str, ...]:
    """The modules that `--allow-import` names. Raises UsageError for what is none."""
    for name in given or ():
        if not name.isidentifier():
            # nets.Net, or several with commas between them.
            tops = [each.strip().partition(".")[0] for each in name.split(",")]
            meant = tops if all(each.isidentifier() for each in tops) else ["my_package"]
            raise UsageError(
                f"'{name}' is no top-level module",
                where="--allow-import",
                hint="write the first part of each class path alone: "
                + " ".join(f"--allow-import {each}" for each in meant),
            )
    return tuple(given or ())


def describe_missing(spec: Spec, given: Sequence[str], command: bool) -> list[str]:
    """A sentence each on the modules and the command that a search asks for, none where all are
    allowed: the modules `given`, the command by `command`."""
    known = {*given, *_remembered().get(str(spec.folder.resolve()), ())}
    options = [f"--allow-import {each}" for each in needed_imports(spec) if each not in known]
    told = [f"a search imports code, and needs {' '.join(options)}"] if options else []
    asked = spec.outside is not None and spec.kind == "command" and not command
    if asked and _entry(spec) not in known:
        told.append("a search runs the command, and needs --allow-command")
    return told


def _entry(spec: Spec) -> str:
    """The command of a spec as the allowed ones are kept: no module is called that, so one file
    remembers both."""
    assert spec.outside is not None
    return f"$ {spec.outside.text}"


def allowed_imports(spec: Spec, given: Sequence[str] | None) -> tuple[str, ...]:
    """The top-level modules this spec may import. Raises ImportRefused for a module that the spec
    names and the user has not allowed; on a terminal the user is asked, and a yes is kept for the
    spec's folder."""
    allowed = read_modules(given)
    remembered = _remembered()
    folder = str(spec.folder.resolve())
    allowed += tuple(remembered.get(folder, ()))
    asked = [name for name in needed_imports(spec) if name not in allowed]
    if asked and sys.stdin.isatty() and sys.stderr.isatty():
        for name in asked:
            source, place = visible_line(spec.source), visible_line(folder)
            question = f"{source} runs code of '{name}' (found from {place}). Allow it?"
            if not typer.confirm(question, err=True):
                break
            allowed += (name,)
            remembered[folder] = sorted({*remembered.get(folder, ()), name})
            _remember(remembered)
    check_imports(spec, allowed)
    return allowed


def allow_command(spec: Spec, given: bool) -> None:
    """Raises CommandRefused for a spec with a command that the user has not allowed; on a terminal
    the user is asked, and a yes to this very command is kept for the spec's folder."""
    if spec.outside is None or spec.kind != "command":
        if given:
            raise UsageError("the spec has no command to allow", where="--allow-command")
        return
    remembered = _remembered()
    folder = str(spec.folder.resolve())
    shown = one_line(spec.outside.text)  # No escape sequence may hide a part of it.
    entry = _entry(spec)
    if given or entry in remembered.get(folder, ()):
        return
    if sys.stdin.isatty() and sys.stderr.isatty():
        source, place = visible_line(spec.source), visible_line(folder)
        question = f"{source} runs, in {place}:\n  {shown}\nAllow it?"
        if typer.confirm(question, err=True):
            remembered[folder] = sorted({*remembered.get(folder, ()), entry})
            _remember(remembered)
            return
    raise CommandRefused(
        f"it runs a command, which is not allowed here: {shown}",
        where=spec.source,
        hint="if you trust it: --allow-command",
    )


def _file() -> Path:
    return Path(typer.get_app_dir("lrsearch")) / "allowed.json"


def _remembered() -> dict[str, list[str]]:
    try:
        content: Any = json.loads(_file().read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}  # A home may be /dev/null, or another user's: nothing is allowed then.
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {_file()}: {error}", hint="mend or delete it") from None
    lists = content.values() if isinstance(content, dict) else [None]
    if not all(isinstance(part, list) and all(isinstance(n, str) for n in part) for part in lists):
        raise UsageError(f"{_file()} is no mapping of folders to lists of names", hint="delete it")
    remembered: dict[str, list[str]] = content
    return remembered


def _remember(content: dict[str, list[str]]) -> None:
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_file(_file(), f"{json.dumps(content, indent=1)}\n".encode())
    except OSError as error:
        raise UsageError(f"cannot remember that in {_file()}: {error.strerror}") from None
