"""`lrsearch export`: a point of a run as a spec, or a whole run in the format of another tool."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lrsearch.cli.closing import print_exactly, say
from lrsearch.errors import FULL, LrsearchError, StorageFull, UsageError, suggest
from lrsearch.terminal import command_line, path_word, quote, visible_line

if TYPE_CHECKING:
    from lrsearch.cli.stored import StoredRun
    from lrsearch.reports.exporting.values import ExportedRun, Format
    from lrsearch.reports.view import RunView


@dataclass(frozen=True)
class Asked:
    """An export as the options ask for it; texts are empty where an option was left out."""

    format: str
    output: Path | None
    name: str
    table: str
    force: bool
    verify: bool = False


def export_text(run: StoredRun, view: RunView, point: int, name: str | None = None) -> str:
    """A point of the run as a complete spec in YAML."""
    from lrsearch.spec.export import export_name, export_spec

    entries = {entry.number: entry for entry in run.ledger.entries.values()}
    name = name or export_name(run.spec.name)
    return export_spec(run.spec, entries[point].config, view.objective, name)


def check_format(asked: Asked, *, one: bool) -> bool:
    """Whether the format is one of a whole run. `one` says that a point is asked for. Raises
    UsageError for an unknown format, and for options that it has no use for."""
    from lrsearch.reports.code import TARGETS
    from lrsearch.reports.exporting.formats import FORMATS
    from lrsearch.spec.validate import NAME

    if asked.name and not NAME.fullmatch(asked.name):
        rule = "a letter or digit comes first, then at most 63 of A-Z a-z 0-9 . _ -"
        raise UsageError(f"'{asked.name}' cannot name a run", where="--name", hint=rule)
    known = ["yaml", *TARGETS, *FORMATS]
    if asked.format not in known:
        raise UsageError(
            f"there is no format {quote(asked.format)}",
            where="--format",
            hint="write lrsearch report RUN --json"
            if asked.format == "json"
            else suggest(asked.format, known),
        )
    where = f"--format {asked.format}"
    if asked.format in FORMATS:
        if one or asked.verify:
            hint = "leave --point, --best and --verify out"
            raise UsageError("the whole run is written", where=where, hint=hint)
        return True
    if asked.table:
        raise UsageError("it is one of a whole run's", where="--table", hint="add --format csv")
    if asked.format != "yaml" and (asked.name or asked.verify):
        option = "--verify" if asked.verify else "--name"
        raise UsageError(f"{option} is for a spec", where="--format", hint="leave one of them out")
    return False


def check_name(asked: Asked) -> None:
    """Raises UsageError for a file that is named as another format than the one asked for."""
    from lrsearch.cli.endings import check_ending
    from lrsearch.reports.exporting.formats import FORMATS

    ending = FORMATS[asked.format].suffix if asked.format in FORMATS else ".py"
    own = (".yaml", ".yml") if asked.format == "yaml" else (ending,)
    if asked.output is not None and ending:
        ways = {each.suffix: f"or --format {name}" for name, each in FORMATS.items()}
        ways |= {".py": "or --format pytorch", ".yaml": "or --format yaml", ".db": ""}
        check_ending(asked.output, "--output", asked.format, own, ways)


def export_run(target: str | None, runs: Path, asked: Asked) -> None:
    """Write a run in a format, or print it. Raises UsageError for options that the format has not,
    for a place that is taken, and for a library that is not installed."""
    from lrsearch.cli.stored import open_stored
    from lrsearch.reports.exporting.formats import FORMATS
    from lrsearch.reports.exporting.tables import TABLES

    chosen = FORMATS[asked.format]
    where = f"--format {asked.format}"
    if asked.table and not chosen.tables:
        raise UsageError("it has no tables to choose from", where=where, hint="leave --table out")
    if asked.table and asked.table not in TABLES:
        hint = suggest(asked.table, TABLES)
        raise UsageError(f"there is no table '{asked.table}'", where="--table", hint=hint)
    if asked.name and not chosen.named:
        raise UsageError("a run has no name there", where=where, hint="leave --name out")
    _check_installed(chosen, where)
    stored = open_stored(target, runs)
    if asked.output is None and chosen.text is None:
        place = Path(f"{stored.spec.name}-{asked.format}" if chosen.folder else stored.spec.name)
        words = ["lrsearch", "export", path_word(stored.folder), "--format", asked.format]
        line = command_line([*words, "--output", str(place.with_name(place.name + chosen.suffix))])
        kind = "folder" if chosen.folder else "file"
        raise UsageError(f"a {kind} is written: name it", where=where, hint=f"write {line}")
    check_name(asked)
    if asked.output is not None:
        _check_place(asked.output, chosen, asked.force)
    run = _make(stored, asked)
    if chosen.text is not None:
        text = chosen.text(run)
        if asked.output is None:
            print_exactly(text, "--output FILE writes it as UTF-8")
            return
        with _written(asked.output) as path:
            path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    elif chosen.write is not None and asked.output is not None:
        with _libraries(chosen, where), _written(asked.output, folder=chosen.folder) as path:
            chosen.write(run, path)
    _tell(run, chosen, asked.output)


def _make(stored: StoredRun, asked: Asked) -> ExportedRun:
    from lrsearch.cli.stored import view_run
    from lrsearch.reports.exporting.values import ExportedRun
    from lrsearch.space import encode
    from lrsearch.store import read_curve

    def curve(number: int) -> dict[str, list[float]]:
        with contextlib.suppress(LrsearchError):  # It is no part of the journal, and may be lost.
            return read_curve(stored.folder, number)
        return {}

    entries = stored.ledger.entries.values()
    space = stored.spec.space
    return ExportedRun(
        view=view_run(stored),
        space=space,
        curve=curve,
        numbers={each.number: each.point and encode(space, each.point) for each in entries},
        name=asked.name or stored.spec.name,
        document=stored.spec.document,
        table=asked.table or "trials",
    )


def _check_installed(chosen: Format, where: str) -> None:
    missing = [name for name in chosen.needs if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"it is written by {missing[0]}, which is not installed",
            where=where,
            hint=command_line(["pip", "install", chosen.install]),
        )


@contextlib.contextmanager
def _libraries(chosen: Format, where: str) -> Iterator[None]:
    """Tell of a library that is there and cannot be loaded in words, without a traceback."""
    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"{', '.join(chosen.needs)} cannot be imported: {error}",
            where=where,
            hint=command_line(["pip", "install", "--upgrade", chosen.install]),
        ) from error


def _check_place(output: Path, chosen: Format, force: bool) -> None:
    """Raises UsageError for a place that is taken. A folder is never overwritten: nobody knows
    what else is in it."""
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent}", where="--output")
    if chosen.folder:
        if output.is_dir() and not any(output.iterdir()):
            return
        if output.exists():
            raise UsageError(
                f"{output} exists already", where="--output", hint="name a folder that does not"
            )
    elif output.is_dir():
        named = quote(path_word(output / f"best{chosen.suffix}"))
        raise UsageError(
            f"{output} is a folder: a file is written",
            where="--output",
            hint=f"write --output {named}",
        )
    elif output.exists() and not force:
        raise UsageError(f"{output} exists already", hint="--force overwrites it")


@contextlib.contextmanager
def _written(output: Path, *, folder: bool = False) -> Iterator[Path]:
    """A path to write to, which takes its place when it is whole: what was there before stays until
    then. Its name has no letter that an address has a meaning for, whatever `output` is called.
    Raises StorageFull, or UsageError, where it cannot be written."""
    whole = output.resolve()  # A link keeps its place.
    suffix = whole.suffix if whole.suffix[1:].isalnum() else ""
    path = whole.with_name(f".lrsearch-{zlib.crc32(os.fsencode(whole.name)):08x}.tmp{suffix}")
    try:
        _remove(path)
        try:
            (path.mkdir if folder else path.touch)()  # Here an error says what is wrong.
            _remove(path)
            yield path
            if folder and whole.is_dir():
                whole.rmdir()  # It is empty.
            path.replace(whole)
        finally:
            _remove(path)
    except Exception as error:
        if (cause := _cause(error)) is None:
            raise
        reason = getattr(cause, "strerror", None) or str(cause)
        if getattr(cause, "errno", None) in FULL or "is full" in reason:
            raise StorageFull(f"cannot write {output}: {reason}") from error
        raise UsageError(f"cannot write {output}: {reason}") from error


def _cause(error: BaseException | None) -> OSError | sqlite3.DatabaseError | None:
    """The error of the system, or of SQLite, that a library's error comes of."""
    while error is not None and not isinstance(error, OSError | sqlite3.DatabaseError):
        error = error.__cause__ or error.__context__
    return error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    path.unlink(missing_ok=True)


def _tell(run: ExportedRun, chosen: Format, output: Path | None) -> None:
    from lrsearch.reports.text import count

    ended = sum(1 for _ in run.ended())
    left = len(run.view.records) - ended
    name = visible_line(Path(run.view.folder).resolve().name)
    text = f"wrote {count(ended, 'trial')} of run {name} to {visible_line(str(output))}"
    if left:
        text += f" ({left} without a result yet)"
    if run.view.hidden:
        text += f"; {count(run.view.hidden, 'trial')} of another spec left out"
    if chosen.opened is not None:
        text += f"; look at it with: {chosen.opened(path_word(output))}"
    say(text)
