"""The run folder: proposals, starts and measurements of trials, safe against every kind of end.

::

    runs/<name>/
      run.json        {"format": 1, "lrsearch": version, ...}; its presence makes this a run
      spec.yaml       the spec as first given
      journal.jsonl   the truth, one event a line
      curves/         000012.json: the curve and records of trial 12, written before its `ended`
                      line
      best/           trial-000012.safetensors, spec.yaml
      states/         000012.state: what trial 12, under way, is at; 000012.before: was at
      now.json        what a search that runs says of itself every second, for `lrsearch serve`
      lock            held (flock) by the one writer, whose pid stands inside

A line is compact JSON, `{"n":17,"crc":"0a1b2c3d","event":"ended",...}`: `n` counts from 1 and `crc`
is the CRC-32 of `17,` and all the text behind the checksum. Numbers that are not finite are written
as the strings "nan", "inf" and "-inf"; metrics and curves are read back as floats.

A process that dies while it writes leaves a torn tail: bytes behind the last newline, or the NUL
bytes that some file systems leave. Readers ignore it and the next writer cuts it, unless it begins
with a whole line, which counts. Any other bad line is `RunDamaged`, and so is such a tail with a
whole line further on.

No link inside a run folder is followed: a folder may come from anyone, and a link could make
lrsearch write to any file of the user's. The folder itself may be a link.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import itertools
import json
import math
import os
import re
import stat
import tempfile
import time
import zlib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lrsearch import __version__
from lrsearch.errors import FULL, RunDamaged, RunError, RunLocked, StorageFull, by_likeness, nearest
from lrsearch.spec.model import fill_config
from lrsearch.terminal import path_word, quote
from lrsearch.trial import (
    CONFIRM,
    RECORDED,
    Confirming,
    Diagnosis,
    Outcome,
    Plan,
    Planned,
    Proposal,
    Ranged,
    RangeTest,
    Records,
    Result,
    Ruling,
    Tested,
    Trial,
)

FORMAT = 1
"""The newest format of a run folder this version reads, and the one it writes."""

LISTED = 10
"""The most runs that an error names."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_START = re.compile(rb'\{"n":([1-9][0-9]{0,14}),"crc":"([0-9a-f]{8})",(?="event":")')
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
NO_SENSE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""Errors raised by content that is valid JSON, or nearly, and was never written by lrsearch."""


# What a run knows ---------------------------------------------------------------------------


@dataclass
class History:
    """The content of a journal, folded line by line. Trials go by their numbers."""

    # The points and their trials

    proposals: list[Proposal] = field(default_factory=list)
    trials: dict[int, Trial] = field(default_factory=dict)
    strategy: dict[int, str] = field(default_factory=dict)
    """The strategy that first proposed each trial."""
    results: dict[int, Result] = field(default_factory=dict)
    running: set[int] = field(default_factory=set)
    """The trials that the latest session has started and not ended."""
    by_key: dict[str, int] = field(default_factory=dict)
    """The latest trial with each key, those of confirmations left out."""
    next_number: int = 1
    """The number of the next new trial; the first is 1."""

    # Rungs, by trial and step

    reached: dict[tuple[int, int], float | None] = field(default_factory=dict)
    """The objective at each rung that was reached; None where the trial had none."""
    reached_by: dict[tuple[int, int], str] = field(default_factory=dict)
    """The objective that each of these values is of; older versions did not write it, and it is
    then `given_objective`."""
    rulings: dict[tuple[int, int], Ruling] = field(default_factory=dict)
    """The verdicts at rungs."""

    # Plans, by structure key and device

    plans: dict[tuple[str, str], Plan] = field(default_factory=dict)
    """The latest plan that lasts."""
    asked: dict[tuple[str, str], str] = field(default_factory=dict)
    """The engine that was asked for when that plan was made."""
    passing: dict[tuple[str, str], list[Plan]] = field(default_factory=dict)
    """All plans that do not last."""

    # Points and trials that were measured again

    repeating: dict[int, int] = field(default_factory=dict)
    """The number that the repetition of a trial was given, which is not among `trials`."""
    repeated: dict[int, Result] = field(default_factory=dict)
    """The result of a trial's repetition, which is not among `results`."""
    confirming: list[Confirming] = field(default_factory=list)
    """The points that were measured again with fresh seeds, the latest last."""
    fresh: dict[str, int] = field(default_factory=dict)
    """The latest trial of a confirmation with each key."""
    apart: set[int] = field(default_factory=set)
    """All trials of confirmations."""
    tested: list[Tested] = field(default_factory=list)
    """The looks at a test part."""

    # Ranges of rates, and notes

    ranges: dict[str, Ranged] = field(default_factory=dict)
    """The ranges that range tests have found, by their keys."""
    notes: list[dict[str, Any]] = field(default_factory=list)
    """The bodies of the `noted` lines, "kind" included."""

    # Sessions

    sessions: list[dict[str, Any]] = field(default_factory=list)
    """The bodies of the `opened` lines."""
    seconds: float = 0.0
    """The wall time of the sessions that were closed."""
    closed: str | None = None
    """The reason that the latest session gave for its end; None where it has not been closed."""
    told: str = ""
    """The same in words, where one word does not say it."""
    killed: int = 0
    """The sessions that were followed by another one and never closed."""
    cut: int = 0
    """The trials that these were training."""
    lost: float = 0.0
    """The seconds that these had lasted when they last said so."""

    # The journal itself

    lines: int = field(default=0, repr=False, compare=False)
    """The number of folded lines. A result, or a proposal, is dated by it."""
    ended_at: dict[int, int] = field(default_factory=dict, repr=False, compare=False)
    """The value of `lines` when a trial ended."""
    proposed_at: list[int] = field(default_factory=list, repr=False, compare=False)
    """The value of `lines` at each of `proposals`."""
    end: int = field(default=0, repr=False, compare=False)
    """The end of the last line in the journal's bytes, before its newline if that is missing."""
    digest: bytes = field(default=b"", repr=False, compare=False)
    """A digest of the journal's bytes; b"" as soon as a line is folded in that was not read."""


def fold(history: History, line: Mapping[str, Any]) -> None:
    """Take one journal line into the history: replay and writing share this function.

    An event it does not know changes nothing. A line that contradicts the history (an unknown
    trial, a second end) raises ValueError and leaves the history as it was.
    """
    event, body = line["event"], line
    history.digest = b""
    if event == "opened":
        if history.sessions and history.closed is None:
            history.killed += 1
            history.cut += len(history.running)
            history.lost += float(body.get("lost") or 0.0)
        history.sessions.append(_body(line))
        history.running.clear()
        history.closed, history.told = None, ""
    elif event == "proposed":
        _fold_proposed(history, body)
    elif event in ("started", "ended"):
        number = body["trial"]
        _check_proposed(number, history.trials)
        if number in history.results:
            raise ValueError(f"trial {number} has ended already")
        if event == "started":
            history.running.add(number)
        else:
            history.results[number] = _result(body["result"])
            history.ended_at[number] = history.lines
            history.running.discard(number)
    elif event in ("reached", "ruled"):
        _fold_rung(history, event, body)
    elif event in ("repeating", "repeated"):
        _fold_repetition(history, event, body)
    elif event == "ranged":
        key, ranged = str(body["key"]), _ranged(body)
        if key in history.ranges:
            raise ValueError(f"the range {key} was found before")
        history.ranges[key] = ranged
    elif event == "planned":
        place, plan = (body["structure"], body["device"]), body["plan"]
        lasting = bool(plan.get("lasting", True))
        smaller = float(body["figures"].get("smaller", math.inf))
        known = Plan(plan["engine"], int(plan["lanes"]), plan["reason"], lasting, smaller)
        if lasting:
            history.asked[place] = body["asked"]
            history.plans[place] = known
        else:
            history.passing.setdefault(place, []).append(known)
    elif event == "confirming":
        history.confirming.append(_confirming(body))
    elif event == "tested":
        history.tested.append(_tested_part(history, body))
    elif event == "noted":
        history.notes.append(_body(line))
    elif event == "closed":
        history.closed, seconds = str(body["reason"]), float(body["seconds"])
        history.seconds += seconds
        history.told = str(body.get("told", ""))
    history.lines += 1


def _check_proposed(number: int, known: Container[int]) -> None:
    if number not in known:
        raise ValueError(f"trial {number} was never proposed")


def _body(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != "event"}


def _fold_proposed(history: History, body: Mapping[str, Any]) -> None:
    strategy, generation = body["strategy"], body["generation"]
    configs = [fill_config(each) for each in body["configs"]]
    trials = {
        item["number"]: Trial(
            item["number"], item["key"], configs[item["config"]], item["seed"], item["fold"]
        )
        for item in body["trials"]
    }
    proposals = [
        Proposal(strategy, generation, item["index"], item["point"], tuple(item["trials"]))
        for item in body["proposals"]
    ]
    if again := trials.keys() & history.trials.keys():
        raise ValueError(f"trial {min(again)} was proposed before")
    for number in itertools.chain.from_iterable(item.trials for item in proposals):
        if number not in trials:
            _check_proposed(number, history.trials)
    history.trials |= trials
    history.next_number = max(history.next_number, *(number + 1 for number in trials), 1)
    history.strategy |= dict.fromkeys(trials, strategy)
    keys = {trial.key: number for number, trial in trials.items()}
    if strategy == CONFIRM:
        history.fresh |= keys
        history.apart.update(trials)
    else:
        history.by_key |= keys
    history.proposals += proposals
    history.proposed_at += [history.lines] * len(proposals)


def _confirming(body: Mapping[str, Any]) -> Confirming:
    configs = tuple(fill_config(each) for each in body["configs"])
    found = Confirming(
        configs,
        int(body["finalists"]),
        body["control"],
        tuple(None if value is None else float(value) for value in body["values"]),
        tuple(map(int, body["seeds"])),
        str(body["fixed"]),
        int(body["top"]),
        str(body["search"]),
        bool(body.get("outward", False)),
    )
    if not 0 < found.finalists <= len(configs) == len(found.values):
        raise ValueError("its points and their values are not as many")
    if found.control is not None and not 0 <= found.control < len(configs):
        raise ValueError("its control is none of its points")
    return found


def _tested_part(history: History, body: Mapping[str, Any]) -> Tested:
    found = Tested(
        int(body["number"]),
        fill_config(body["config"]),
        int(body["seed"]),
        body["fold"],
        str(body["part"]),
        int(body["samples"]),
        {name: float(value) for name, value in body["metrics"].items()},
        _result(body["result"]) if body.get("result") else None,
    )
    if any(each.part == found.part for each in history.tested):
        raise ValueError("that test part was looked at before")
    if found.number in history.trials:
        raise ValueError(f"trial {found.number} is another")
    history.next_number = max(history.next_number, found.number + 1)
    return found


def _fold_repetition(history: History, event: str, body: Mapping[str, Any]) -> None:
    number = body["trial"]
    if number not in history.results:
        raise ValueError(f"trial {number} has not ended, and is repeated")
    if number in history.repeated and history.repeated[number].outcome is not Outcome.FAILED:
        raise ValueError(f"trial {number} was repeated already")
    if event == "repeating":
        again = int(body["number"])
        if again in history.trials:
            raise ValueError(f"trial {again} is another")
        history.repeating[number] = again
        history.next_number = max(history.next_number, again + 1)
    else:
        history.repeated[number] = _result(body["result"])


def given_objective(document: Mapping[str, Any]) -> str:
    """The objective of a spec's document as it stands there, in words: values that older versions
    journaled at rungs do not say whose they are."""
    return f"as given {json.dumps(document.get('objective'), sort_keys=True)}"


def _fold_rung(history: History, event: str, body: Mapping[str, Any]) -> None:
    listed = [body] if event == "reached" else body["trials"]
    places = [(int(item["trial"]), int(item["step"])) for item in listed]
    for number, _ in places:
        _check_proposed(number, history.trials)
    if event == "reached":
        value = body["value"]
        history.reached[places[0]] = None if value is None else float(value)
        latest = (history.sessions or [{}])[-1].get("spec") or {}
        usual = given_objective(latest.get("document") or {})
        history.reached_by[places[0]] = str(body.get("objective") or usual)
        return
    for place, item in zip(places, listed, strict=True):
        history.rulings[place] = Ruling(bool(item["stop"]), str(body["rule"]), str(item["reason"]))


def _ranged(body: Mapping[str, Any]) -> Ranged:
    low, high = float(body["low"]), float(body["high"])
    if not 0 < low <= high < math.inf:
        raise ValueError(f"{low:g} to {high:g} is no range of rates")
    return Ranged(
        str(body["name"]), low, high, float(body["margin"]), tuple(map(_tested, body["tests"]))
    )


def _tested(body: Mapping[str, Any]) -> RangeTest:
    ends = body["interval"]
    return RangeTest(
        dict(body["params"]),
        None if ends is None else (float(ends[0]), float(ends[1])),
        str(body["refused"]),
    )


def _result_body(result: Result) -> dict[str, Any]:
    """A result as a line of the journal has it."""
    body = vars(result) | {
        "last": {name: float(value) for name, value in result.last.items()},
        "best": {name: float(value) for name, value in result.best.items()},
        "best_step": {name: int(step) for name, step in result.best_step.items()},
        "verdicts": [vars(each) for each in result.verdicts or ()],
    }
    if result.verdicts is None:
        del body["verdicts"]
    if not result.signs:
        del body["signs"]
    if not result.shared_epochs:  # As most: older versions of lrsearch read the line, too.
        del body["shared_epochs"], body["shared_seconds"]
    if not result.rule:
        del body["rule"], body["whole"]
    return body


def _result(body: Mapping[str, Any]) -> Result:
    verdicts, given = body.get("verdicts"), body.get
    return Result(  # In the order of its fields, which is the quickest way to make one.
        _OUTCOMES.get(body["outcome"]) or Outcome(body["outcome"]),
        body["steps"],
        float(body["epochs"]),
        float(body["seconds"]),
        body["engine"],
        _floats(body["last"]),
        _floats(body["best"]),
        body["best_step"],
        body["reason"],
        body["traceback"],
        given("why", ""),
        given("output", ""),
        float(given("shared_epochs", 0.0)),
        float(given("shared_seconds", 0.0)),
        None if verdicts is None else tuple(map(_diagnosis, verdicts)),
        _floats(given("signs", _NONE)),
        str(given("rule", "")),
        int(given("whole", 0)),
    )


_OUTCOMES: Mapping[Any, Outcome] = {each.value: each for each in Outcome}
_NONE: Mapping[str, Any] = {}


def _floats(numbers: Mapping[str, Any]) -> Mapping[str, float]:
    values = numbers.values()
    if set(map(type, values)) <= _FLOAT:  # As nearly always: others are not finite.
        return numbers
    return dict(zip(numbers, map(float, values), strict=True))


_FLOAT = {float}


def _diagnosis(body: Mapping[str, Any]) -> Diagnosis:
    return Diagnosis(
        str(body["verdict"]),
        float(body["confidence"]),
        _floats(body["evidence"]),
        str(body["advice"]),
    )


# Lines and bytes ----------------------------------------------------------------------------


def _to_dict(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be journaled")


_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_to_dict)


def _dump(value: object) -> str:
    try:
        return _JSON.encode(value)
    except ValueError:  # a number that is not finite: rare, so the walk is only taken then
        return _JSON.encode(_spelled(value))


def _spelled(value: object) -> object:
    """The value with "nan", "inf" and "-inf" for the numbers that are not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {key: _spelled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]
    return value


def _checksum(number: bytes, rest: bytes) -> int:
    return zlib.crc32(rest, zlib.crc32(number + b","))


def _encode(number: int, event: str, body: Mapping[str, Any]) -> bytes:
    if taken := {"n", "crc", "event"} & body.keys():
        raise ValueError(f"the journal keeps {sorted(taken)} for itself")
    return _numbered(number, _dump({"event": event, **body}).encode("ascii")[1:])


def _numbered(number: int, rest: bytes) -> bytes:
    return b'{"n":%d,"crc":"%08x",%b\n' % (number, _checksum(b"%d" % number, rest), rest)


def _decode(line: bytes) -> tuple[int, bytes, dict[str, Any]]:
    """Decode a line (without newline): its number, its text behind the checksum, and its
    content."""
    match = _START.match(line)
    if match is None or not line.endswith(b"}"):
        raise ValueError("it is not a journal line")
    number, crc = match.groups()
    rest = line[match.end() :]
    if _checksum(number, rest) != int(crc, 16):
        raise ValueError("its checksum is wrong")
    text = "{" + rest.decode("ascii")
    content, end = _SCANNER.raw_decode(text)
    if end != len(text):
        raise ValueError("more stands behind it")
    return int(number), rest, content


def _as_text(data: bytes) -> str:
    return data.decode("latin-1")  # lrsearch writes ASCII alone.


def _decode_start(data: bytes, text: str, start: int) -> tuple[int, bytes, dict[str, Any], int]:
    """Decode the line that begins at `start`, as `_decode` does, and find its end, whatever follows
    it. `text` is `_as_text` of the data: made once for all lines that stand in it."""
    _, end = _SCANNER.raw_decode(text, start)
    return *_decode(data[start:end]), end


_SCANNER = json.JSONDecoder()

TOGETHER = 16
"""Lines that are decoded as one text, in which each name is made once."""


def _decode_together(first: int, lines: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """Decode lines (with newlines) that follow each other, the first with this number. None where
    `_decode` would refuse one of them, or where the last one is torn."""
    texts = []
    for number, line in enumerate(lines, first):
        head = b"%d," % number
        start = len(b'{"n":"crc":"01234567",') + len(head)
        rest = line[start:-1]
        crc = zlib.crc32(rest, zlib.crc32(head))
        if line[:start] != b'{"n":%b"crc":"%08x",' % (head, crc) or line[-2:] != b"}\n":
            return None
        if rest[:9] != b'"event":"':
            return None
        texts.append(rest)
    try:
        text = "[{" + b",{".join(texts).decode("ascii") + "]"
        found, end = _SCANNER.raw_decode(text)
    except NO_SENSE:
        return None
    return found if end == len(text) and len(found) == len(lines) else None


def _decode_torn(data: bytes, number: int) -> tuple[dict[str, Any], int] | None:
    """Decode the line of this number that a torn tail begins with: its content and its length; None
    where it begins with no such line."""
    with contextlib.suppress(*NO_SENSE):
        found, _, content, length = _decode_start(data, _as_text(data), 0)
        return (content, length) if found == number else None
    return None


def _replay(folder: Path, data: bytes) -> History:
    """The history in a journal's bytes. Raises RunDamaged."""
    history = History()
    text = data.rstrip(b"\0")
    history.end = text.rfind(b"\n") + 1
    number = 0
    try:
        for number, line, content in _read_lines(text):
            if content is None and line.endswith(b"\n"):
                found, _, content = _decode(line[:-1])
                if found != number:
                    raise ValueError(f"it is numbered {found}")
            elif content is None:
                if (torn := _decode_torn(line, number)) is None:
                    break
                content, length = torn
                history.end += length
            fold(history, content)
        # What is behind the last newline will be cut, and a crash leaves no sound line there.
        if any(_find_lines(text[history.end :])):
            raise ValueError("sound lines without their newlines stand in it")
    except NO_SENSE as error:
        raise RunDamaged(
            f"line {number} is damaged: {error}",
            where=str(folder / "journal.jsonl"),
            hint=_repair_hint(folder),
        ) from error
    history.digest = _digest(data)
    return history


def _read_lines(text: bytes) -> Iterator[tuple[int, bytes, dict[str, Any] | None]]:
    """The lines of a journal, some at a time: their numbers from 1, their bytes, and their content
    where `_decode_together` knows it."""
    number, file = 0, io.BytesIO(text)  # The text of a long run should not be held twice.
    while lines := list(itertools.islice(file, TOGETHER)):
        contents = _decode_together(number + 1, lines) or itertools.repeat(None)
        yield from zip(itertools.count(number + 1), lines, contents, strict=False)
        number += len(lines)


def _digest(data: bytes) -> bytes:
    return b"%d %d" % (len(data), zlib.crc32(data))


def _repair_hint(folder: Path) -> str:
    return f"lrsearch repair {quote(path_word(folder))} keeps every sound line, and a copy"


# Files and locks ----------------------------------------------------------------------------


@contextlib.contextmanager
def _using(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into StorageFull or RunError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            way = "everything journaled before is safe; make room and run the same command"
            if error.errno == errno.EROFS:
                way = "nothing can be written there; --runs DIR names a folder where it can"
            raise StorageFull(f"cannot write {path}: {error.strerror}", hint=way) from error
        gone = error.errno == errno.ENOENT and not os.path.lexists(path.parent)
        # Where the path is a folder, the file in it that was refused.
        named = Path(error.filename) if isinstance(error.filename, str) else path
        path = named if named.parent == path else path
        hint = (
            f"{path.parent} is not there, or was removed while the run was written" if gone else ""
        )
        if error.errno in (errno.EACCES, errno.EPERM):
            hint = "this user may not; --runs DIR names a folder that it may use"
        if error.errno in _NO_LOCKS:
            hint = "this file system may have no locks; --runs DIR names a folder on another"
        raise RunError(f"cannot use {path}: {error.strerror or error}", hint=hint) from error


def write_whole(
    path: Path,
    content: bytes,
    *,
    sync: bool = True,
    mode: int = 0o666,
    before: Path | None = None,
) -> None:
    """Write a file that is either whole or as it was before, with `sync` to the disk itself. An
    existing file is moved to `before`, if that is given. Raises StorageFull or RunError."""
    temporary = path.with_name(path.name + ".tmp")
    with _using(path):
        # One that is there already is left from a process that was killed, or is a link that leads
        # elsewhere: it goes, whatever it leads to stays.
        temporary.unlink(missing_ok=True)
        try:
            with os.fdopen(
                _open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb"
            ) as file:
                file.write(content)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            if before is not None:
                with contextlib.suppress(FileNotFoundError):
                    path.replace(before)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def _write_at(descriptor: int, content: bytes, place: int) -> None:
    """Write all of the content at an offset, in several calls where the system takes a part."""
    while content:
        written = os.pwrite(descriptor, content, place)
        if not written:
            raise _disk_full()
        content, place = content[written:], place + written


def _disk_full() -> OSError:
    """The error of the operating system for a full disk."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _open(path: Path, flags: int, mode: int = 0o666) -> int:
    """A descriptor of a file of a run folder; a link is never followed."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


_FILES = ("run.json", "journal.jsonl", "lock")
_FOLDERS = ("curves", "best", "states")


def _make_folders(folder: Path) -> None:
    """Make the folders inside a run's folder that are missing."""
    for name in _FOLDERS:
        (folder / name).mkdir(exist_ok=True)


def _refuse_links(folder: Path) -> None:
    """Raise RunError where a part of a run folder is a link, or of a wrong kind of file."""
    with _using(folder):
        for name in (*_FILES, *_FOLDERS):
            path = folder / name
            try:
                kind = path.lstat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                continue
            if stat.S_ISREG(kind) if name in _FILES else stat.S_ISDIR(kind):
                continue
            wanted = "file" if name in _FILES else "folder"
            what = "a link" if stat.S_ISLNK(kind) else f"no {wanted}"
            raise RunError(
                f"{path} is {what}: a run writes nowhere but into its own folder",
                hint=f"put the {wanted} itself there, or give the run another name "
                "(the folder of the run as a whole may be a link)",
            )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> int:
    """Take the folder's lock: a descriptor, which holds it until it is closed or the process dies.
    Raises RunLocked, also where the lock file was deleted while another process still writes the
    journal."""
    _refuse_links(folder)
    with _using(folder):
        descriptor = _lock_file(folder / "lock", folder)
        with contextlib.ExitStack() as unless_free:
            unless_free.callback(os.close, descriptor)
            if _is_held(folder / "journal.jsonl"):
                raise _locked(folder, "")
            unless_free.pop_all()
        return descriptor


def _lock_file(path: Path, folder: Path) -> int:
    """Make and lock a file that says who writes a run; returns its descriptor."""
    while (descriptor := _try_lock(path, folder)) is None:
        pass
    return descriptor


def _try_lock(path: Path, folder: Path) -> int | None:
    """The lock's descriptor; None where the file went between the open and the lock: `fresh`
    renamed its folder, or `claim` deleted it."""
    descriptor = _open(path, os.O_RDWR | os.O_CREAT)
    with contextlib.ExitStack() as unless_held:
        unless_held.callback(os.close, descriptor)
        _flock(descriptor, folder)
        if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.lstat()):
            return None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        unless_held.pop_all()
    return descriptor


@contextlib.contextmanager
def claim(root: Path, name: str) -> Iterator[None]:
    """Keep other starts of a run from loading anything, until this one has opened it: the run's
    folder, which has the lock, may not be there yet. Raises RunLocked, also where the run is being
    written, RunError and StorageFull."""
    folder, path = _folder(root, name), root / f".{name}.starting"
    descriptor, made = -1, [each for each in (root, *root.parents) if not each.exists()]
    try:
        with _using(path):
            # Who may write into the run's folder alone is kept out when the run is opened.
            if not folder.is_dir() or _is_writable(root):
                descriptor = _make_and_lock(path, folder)
        if is_locked(folder):
            raise _locked(folder, "")
        yield
    finally:
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(descriptor)
        for each in made:
            with contextlib.suppress(OSError):  # The run is there.
                each.rmdir()


def _make_and_lock(path: Path, folder: Path) -> int:
    """Make and lock a file in a folder that is made, too, and may go meanwhile: another start that
    has made it, and come to nothing, removes it as long as it is empty."""
    for left in range(9, -1, -1):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _lock_file(path, folder)
        except FileNotFoundError:
            if not left:
                raise
    raise AssertionError("the last try returns, or raises")


def _flock(descriptor: int, folder: Path) -> None:
    """Lock an open file. Raises RunLocked, naming the process whose number the file holds."""
    for pause in (0.005, 0.02, 0.05, None):  # `is_locked` holds it for a moment
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if pause is not None:
                time.sleep(pause)
    owner = os.pread(descriptor, 20, 0).split(b"\n")[0].decode("ascii", "replace")
    raise _locked(folder, owner if owner.isdigit() else "")


def _locked(folder: Path, owner: str) -> RunLocked:
    return RunLocked(
        f"{folder} is being written by {f'process {owner}' if owner else 'another process'}",
        hint="wait until it ends, stop it, or give this run another name",
    )


def check_writable(folder: Path) -> None:
    """Check, before anything is loaded for a run, that it can be written. Raises RunError where it
    cannot, also where a part of it is another user's or the file system has no locks; StorageFull
    where the disk is full, or read-only."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    try:
        with _using(folder), tempfile.TemporaryFile(dir=there) as file:
            file.write(b"\0")
            file.flush()
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except RunError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in _NO_LOCKS:
            raise
        reason = getattr(cause, "strerror", None) or str(cause)
        raise RunError(
            f"cannot use {folder}: nothing can be written in {there}: {reason}",
            hint=error.hint if "--runs" in error.hint else "--runs DIR names a folder where it can",
        ) from error
    for path in (folder / name for name in ("journal.jsonl", "lock", *_FOLDERS)):
        with _using(path):
            if os.path.lexists(path) and not _is_writable(path):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def is_locked(folder: Path) -> bool:
    """Whether a process is writing the run; none can where the file system has no locks. Raises
    RunError for a lock that is a link."""
    _refuse_links(folder)
    # The journal is locked, too: the lock may have been deleted.
    return any(_is_held(folder / name) for name in ("lock", "journal.jsonl"))


def _is_held(path: Path) -> bool:
    with _using(path):
        try:
            descriptor = _open(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        finally:
            os.close(descriptor)
        return False


def _check(folder: Path) -> None:
    """Raise RunError unless the folder is a run of a format this version knows, without links."""
    _refuse_links(folder)
    path = folder / "run.json"
    with _using(folder):
        try:
            text = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            text = b""
            journal = folder / "journal.jsonl"
            if not (journal.is_file() and journal.stat().st_size):
                raise _absent(folder) from None
    try:
        head = json.loads(text)
        written, version = int(head["format"]), str(head["lrsearch"])
    except NO_SENSE as error:
        raise RunDamaged(
            "the file is damaged or missing", where=str(path), hint=_repair_hint(folder)
        ) from error
    if written > FORMAT:
        raise RunError(
            f"{folder} has run format {written}, of lrsearch {version}; "
            f"lrsearch {__version__} knows formats up to {FORMAT}",
            hint="update lrsearch, or give this run another name",
        )


def _absent(folder: Path) -> RunError:
    return RunError(f"{folder} is not a run", hint=list_runs(folder.parent, folder.name))


def list_runs(root: Path, name: str) -> str:
    """Names of the runs in a folder, the nearest to `name` first, for an error."""
    try:
        known = by_likeness(name, names(root))
    except RunError as error:
        return error.message
    if not known:
        return f"there are no runs in {root}"
    close = nearest(name, known)
    start = f"did you mean '{close}'? " if close else ""
    more = f" and {len(known) - LISTED} more: lrsearch list" if len(known) > LISTED else ""
    return f"{start}runs in {root}: {', '.join(known[:LISTED])}{more}"


def _folder(root: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise RunError(
            f"{name!r} cannot name a run",
            hint="letters, digits, '.', '_' and '-', beginning with a letter or digit",
        )
    return root / name


def _head(more: Mapping[str, Any] | None = None) -> bytes:
    return _dump({"format": FORMAT, "lrsearch": __version__, **(more or {})}).encode() + b"\n"


# Reading the journal ------------------------------------------------------------------------


def read(folder: Path) -> History:
    """Replay a run without touching it, also while it is written.

    Raises RunError where the folder is not a run (naming the nearest), or is of a newer format;
    RunDamaged for a journal that fails its checksums.
    """
    _check(folder)
    return _replay(folder, _journal(folder))


class Reader:
    """Reads one run again and again, and folds in no more than the lines that were added since. It
    never touches the run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._history = History()
        self._known = b""

    def read(self) -> History:
        """The run's history, the same object as before where its journal was only added to. Raises
        as the function `read`, and reads all of the journal the next time."""
        _check(self._folder)
        data, known = _journal(self._folder), self._known
        self._known = b""
        begun = _digest(data[: self._history.end]) == known
        if not begun or not self._add(data[self._history.end :]):
            self._history = _replay(self._folder, data)
        self._known = _digest(data[: self._history.end])
        return self._history

    def _add(self, data: bytes) -> bool:
        """Fold whole lines in; a torn one is left for the next time. False where one is damaged, or
        does not follow."""
        history = self._history
        if data.startswith(b"\n"):  # The last line was whole without it.
            data = data[1:]
            history.end += 1
        try:
            for line in data.split(b"\n")[:-1]:
                number, _, content = _decode(line)
                if number != history.lines + 1:
                    return False
                fold(history, content)
                history.end += len(line) + 1
        except NO_SENSE:
            return False
        return True


def _journal(folder: Path) -> bytes:
    path = folder / "journal.jsonl"
    with _using(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise _missing(folder) from None


def _missing(folder: Path) -> RunDamaged:
    """The error for a run without a journal."""
    copies = sorted(folder.glob("journal.jsonl.*-*"), key=lambda path: path.stat().st_mtime_ns)
    found = f"{copies[-1]} is the latest copy beside it: rename that; " if copies else ""
    return RunDamaged(
        "the file is missing",
        where=str(folder / "journal.jsonl"),
        hint=f"put it back; {found}or begin an empty one with: "
        f"lrsearch repair {quote(path_word(folder))}",
    )


# Saved states, curves and records -----------------------------------------------------------


def saved_states(folder: Path) -> dict[int, list[Path]]:
    """The files of a run's saved states, by their trial, the latest first."""
    found: dict[int, list[Path]] = {}
    for number, path, kind in _find_states(folder):
        if kind == "file":
            found.setdefault(number, []).append(path)
    return found


def odd_states(folder: Path) -> dict[int, list[str]]:
    """Sentences on what stands in the place of a saved state and is no file, such as a link, by
    the trial."""
    found: dict[int, list[str]] = {}
    for number, path, kind in _find_states(folder):
        if kind != "file":
            text = f"states/{path.name} is a {kind}, not a file"
            found.setdefault(number, []).append(text)
    return found


def _find_states(folder: Path) -> Iterator[tuple[int, Path, str]]:
    """Entries of a run's folder in the places of saved states, the latest first: the trial, the
    path, and the kind: a "file", a "link", which is never followed, a "folder" or a "pipe"."""
    with _using(folder / "states"):
        for path in sorted((folder / "states").glob("*.*"), reverse=True):
            if name := _STATE.fullmatch(path.name):
                file = "file" if path.is_file() else "folder" if path.is_dir() else "pipe"
                yield int(name[1]), path, "link" if path.is_symlink() else file


_STATE = re.compile(r"([0-9]{6,15})\.(state|before)")


def read_curve(folder: Path, number: int) -> dict[str, list[float]]:
    """The curve of an ended trial: a list per metric, all as long as `step`. Raises RunError where
    it was lost, RunDamaged where its file is no curve."""
    path, text = _read_curve_file(folder, number)
    try:
        curve = {
            name: [float(value) if isinstance(value, str) else value for value in values]
            for name, values in json.loads(text).items()
            if name != _RECORDS
        }
        kinds = {type(value) for values in curve.values() for value in values}
        if len(set(map(len, curve.values()))) > 1 or not kinds <= {int, float}:
            raise ValueError("they are not as many numbers for each metric")
        return curve
    except NO_SENSE as error:
        raise RunDamaged("the curve cannot be read", where=str(path)) from error


_RECORDS = "records\n"
"""The key that a trial's records have beside its curve. No metric has such a name: it cannot be
printed, see `reporting.is_name`."""


def read_records(folder: Path, number: int) -> Records:
    """The records of an ended trial; none where it has none, as in runs of older versions."""
    path, text = _read_curve_file(folder, number)
    try:
        held = dict(json.loads(text)).get(_RECORDS)
        if held is None:
            return Records()
        lists = {name: tuple(map(_number, held[name])) for name in RECORDED}
        steps = (0, *lists["step"])
        if {len(each) + 1 for each in lists.values()} != {len(steps)} or not all(
            type(step) is int and before < step for before, step in itertools.pairwise(steps)
        ):
            raise ValueError("they are not one a step")
        return Records(**lists, start=float(held["start"]), baseline=float(held["baseline"]))
    except NO_SENSE as error:
        raise RunDamaged("the records cannot be read", where=str(path)) from error


def _number(value: Any) -> Any:
    """A number as it was written."""
    return value if type(value) is int else float(value)


def _curve(folder: Path, number: int) -> Path:
    return folder / "curves" / f"{number:06d}.json"


def _weights(folder: Path, trial: int) -> Path:
    return folder / "best" / f"trial-{trial:06d}.safetensors"


_WEIGHTS = re.compile(r"trial-([0-9]{6,15})\.safetensors(?:\.tmp)?")


def _find_weights(folder: Path) -> list[tuple[Path, int]]:
    """Weights in a run's folder, also such as were written in part, and their trials. What is
    called otherwise, such as a copy, is not ours, nor is a folder."""
    best = folder / "best"
    with _using(best):
        return [
            (path, int(name[1]))
            for path in (best.iterdir() if best.is_dir() else ())
            if (name := _WEIGHTS.fullmatch(path.name)) and (path.is_symlink() or not path.is_dir())
        ]


def _read_curve_file(folder: Path, number: int) -> tuple[Path, bytes]:
    path = _curve(folder, number)
    with _using(path):
        return path, path.read_bytes()


# What a search says of itself ---------------------------------------------------------------

NOW = "now.json"
"""The file in which a search says what it does; it is there while the search runs, and stays behind
one that was killed."""

_MOST_NOW = 2**20
"""The most bytes of it that are read."""


def read_now(folder: Path) -> dict[str, Any] | None:
    """Read what a search says of itself; None where it says nothing. Raises RunError for a file
    that cannot be read, ValueError for one that is damaged."""
    path = folder / NOW
    with _using(path):
        try:
            with os.fdopen(_open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                content = json.loads(file.read(_MOST_NOW))
        except FileNotFoundError:
            return None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no object")
    return content


def _read_left(folder: Path) -> float:
    """The seconds that a killed session had lasted when it last said what it did; 0 where nothing
    is left of one."""
    with contextlib.suppress(*NO_SENSE, RunError):
        left = read_now(folder)
        seconds = float(left["written"]) - float(left["begun"]) if left else 0.0
        return round(seconds, 3) if 0.0 < seconds < math.inf else 0.0
    return 0.0


def write_now(folder: Path, content: Mapping[str, Any]) -> None:
    """Write what a search does. Raises StorageFull or RunError."""
    write_whole(folder / NOW, _dump(content).encode("ascii"), sync=False)


def drop_now(folder: Path) -> None:
    """Delete what a search said; it is over. Raises RunError."""
    with _using(folder / NOW):
        (folder / NOW).unlink(missing_ok=True)


# Folders of runs ----------------------------------------------------------------------------


def names(root: Path) -> list[str]:
    """The names of the runs in a folder, sorted; folders that may not be looked into are among
    them. Raises RunError where the folder itself may not be."""
    with _using(root):
        found = root.iterdir() if root.is_dir() else ()
        return sorted(path.name for path in found if _may_hold(path, "run.json"))


def folders(root: Path) -> list[Path]:
    """The folders in a folder of runs, runs or not; hidden ones are left out. Raises RunError where
    there is no such folder."""
    with _using(root):
        found = [path for path in root.iterdir() if path.is_dir()]
    return sorted(path for path in found if not path.name.startswith("."))


def holds_run(folder: Path) -> bool:
    """Whether a folder is a run, perhaps a damaged one, or one that this user may not read."""
    return _may_hold(folder, "run.json", "journal.jsonl")


def _may_hold(folder: Path, *names: str) -> bool:
    """Whether a folder has a file of one of these names, or may not be looked into."""
    for name in names:
        try:
            if stat.S_ISREG((folder / name).stat().st_mode):
                return True
        except PermissionError:  # Of which `is_file` makes False from Python 3.14 on.
            return folder.is_dir()
        except (OSError, ValueError):
            continue
    return False


def last_written(folder: Path) -> float:
    """The time when a run's journal, or a folder in which none is to be found, was last written:
    seconds since 1970."""
    return _written(folder) / 1e9


def _is_open(folder: Path) -> bool:
    """Whether this user may read a run."""
    try:
        os.close(_open(folder / "journal.jsonl", os.O_RDONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def _written(folder: Path) -> int:
    """The time of `last_written` in nanoseconds."""
    with _using(folder):
        with contextlib.suppress(PermissionError, FileNotFoundError, NotADirectoryError):
            return (folder / "journal.jsonl").stat().st_mtime_ns
        return folder.stat().st_mtime_ns


def newest(root: Path) -> Path:
    """The run whose journal was written last, among those that this user may read if there are any.
    Raises RunError where there is no run."""
    found = [root / name for name in names(root) if _may_hold(root / name, "journal.jsonl")]
    if not found:
        raise RunError(f"there are no runs in {root}")
    return max(found, key=lambda folder: (_is_open(folder), _written(folder)))


# Writing ------------------------------------------------------------------------------------


RESERVE = 2**24
"""Bytes that a saved state leaves free on the disk, for the journal's lines."""


def _trials_body(trials: Sequence[Trial]) -> dict[str, Any]:
    """The configs of new trials, each once, and the trials by the places of theirs."""
    places: dict[str, int] = {}
    configs: list[Mapping[str, Any]] = []
    entries = []
    for trial in trials:
        place = places.setdefault(_dump(trial.config), len(configs))
        if place == len(configs):
            configs.append(trial.config)
        body = {"number": trial.number, "key": trial.key, "config": place}
        entries.append({**body, "seed": trial.seed, "fold": trial.fold})
    return {"configs": configs, "trials": entries}


class Run:
    """The one writer of a run folder, from `open` to `close`; a context manager.

    `folder` is the run's path, `history` what the journal says at this moment.
    """

    def __init__(self, folder: Path, lock: int, known: History | None = None) -> None:
        self.folder = folder
        self._lock = lock
        self._rescued: Path | None = None
        self._changed = False
        self._spare: list[Path] = []
        self._given_up: dict[Path, StorageFull] = {}
        self._path = folder / "journal.jsonl"
        with _using(folder):
            try:
                self._journal = _open(self._path, os.O_RDWR)
            except FileNotFoundError:
                raise _missing(folder) from None
        try:
            # A user who deletes the lock and starts again must not overwrite these lines.
            with _using(self._path):
                _flock(self._journal, folder)
            data = _journal(folder)
            if known is None or known.digest != _digest(data):
                known = _replay(folder, data)
            self.history, self._lines, self._end = known, known.lines, known.end
            with _using(folder):
                if self._end < len(data):
                    os.ftruncate(self._journal, self._end)
                if self._end and data[self._end - 1 : self._end] != b"\n":
                    os.pwrite(self._journal, b"\n", self._end)
                    self._end += 1
                _make_folders(folder)  # A deleted one would stop every later search.
                self._file = os.fstat(self._journal)
            # Not that of the file: what was cut or added since it was read is another program's.
            self._size = self._end
            # Read at once: a search that begins will write over it.
            killed = known.sessions and known.closed is None
            self._left = _read_left(folder) if killed else 0.0
        except BaseException:
            os.close(self._journal)
            raise

    @classmethod
    def open(
        cls,
        root: Path,
        name: str,
        *,
        spec_text: str | None,
        create: bool = True,
        known: History | None = None,
    ) -> Run:
        """Lock the run `name`, made from `spec_text` if it is new, and replay its journal. A
        history that is `known`, as `read` gave it, is taken where the journal is still the same to
        the byte.

        Raises RunLocked; RunError for a folder that cannot be written, is no run (or, without
        `create`, does not exist) or is of a newer format; RunDamaged; StorageFull.
        """
        folder = _folder(root, name)
        if create:
            with _using(folder):
                folder.mkdir(parents=True, exist_ok=True)
        else:
            _check(folder)
        lock = _lock(folder)
        try:
            if create and not (folder / "run.json").exists():
                _create(folder, spec_text)
            _check(folder)
            return cls(folder, lock, known)
        except BaseException:
            os.close(lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except RunError:
            if error is None:
                raise

    def close(self) -> None:
        """Release the lock. Closing twice is harmless. Raises RunError where another process has
        changed the journal and `append` has not raised for it."""
        if self._lock < 0:
            return
        try:
            if not self._changed:
                self._check_journal()
        finally:
            for descriptor in (self._journal, self._lock):
                # Whatever an end says of itself, all that counts was synced before.
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            self._journal = self._lock = -1

    def append(self, event: str, body: Mapping[str, Any], *, sync: bool = False) -> None:
        """Write one line, to the disk itself with `sync`, and fold it into the history. Where the
        disk has no room for it, weights and curves written since the last one that was synced make
        room.

        Raises StorageFull, and ValueError for a line that contradicts the history; the journal then
        ends where it did before. Raises RunError where another process has replaced, cut, changed
        or deleted the journal.
        """
        line = _encode(self._lines + 1, event, body)
        self._check_journal()
        self._make_room(line, sync=sync)
        if sync:
            self._spare.clear()

    def _make_room(self, line: bytes, *, sync: bool) -> None:
        """Write a line, where there is no room in the place of what may be spared."""
        try:
            return self._write_line(line, sync=sync)
        except StorageFull as error:
            if not self._spare:
                raise
            full = error
        with contextlib.suppress(StorageFull):  # It may have failed for a moment alone.
            return self._write_line(line, sync=sync)
        for path in self._spare:
            self._given_up[path] = full
            with _using(path):
                path.unlink(missing_ok=True)
        self._spare.clear()
        self._write_line(line, sync=sync)

    def _write_line(self, line: bytes, *, sync: bool) -> None:
        end = self._end + len(line)
        # At the known end rather than in append mode: what a failed write may have left behind
        # is overwritten. Python itself ignores SIGXFSZ, so a file-size limit is an OSError.
        with _using(self._path):
            try:
                _write_at(self._journal, line, self._end)
                # A journal cut between the check and the write is as long as it should be, and has
                # a hole ahead of this line.
                if self._end and os.pread(self._journal, 1, self._end - 1) != b"\n":
                    raise self._tell("cut")
                if sync:
                    os.fsync(self._journal)
                # What was written, not what was given: the live history equals the replayed one.
                fold(self.history, _decode(line[:-1])[2])
                self._lines += 1
                self._end = self._size = end
            except BaseException:  # an interrupt too must leave no half line behind
                with contextlib.suppress(OSError):
                    os.ftruncate(self._journal, self._end)
                with contextlib.suppress(OSError):
                    self._size = self._path.lstat().st_size
                raise

    def _check_journal(self) -> None:
        """Raise RunError unless the journal is the file that was opened, with the length it had."""
        try:
            found = self._path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            change = "deleted"
        else:
            if os.path.samestat(found, self._file) and found.st_size == self._size:
                return
            change = "replaced"
            if os.path.samestat(found, self._file):
                change = "cut" if found.st_size < self._size else "added to"
        raise self._tell(change)

    def _tell(self, change: str) -> RunError:
        """The error for a journal that another program has changed; what it held is kept."""
        self._changed = True
        if not self.folder.is_dir():
            moved = os.fstat(self._journal).st_nlink > 0
            back = "move it back, and the same command goes on from what it holds; without it, "
            return RunError(
                f"{self.folder} was {'moved' if moved else 'deleted'} by another program while it "
                "was written",
                hint=f"{back if moved else ''}the same command begins anew",
            )
        return RunError(
            f"{self._path} was {change} by another program while it was written",
            hint=self._rescue(change) + "the same command goes on from what the journal holds now",
        )

    def _rescue(self, change: str) -> str:
        """Keep the content of a journal that was moved or deleted; returns the beginning of a hint
        for the user, which says where."""
        if change not in ("deleted", "replaced"):
            return ""
        if self._rescued is None:
            with _using(self.folder):
                content = os.pread(self._journal, self._end, 0)
                self._rescued = _copy(content, self._path, "rescued")
        return f"all that was journaled is kept as {self._rescued}: rename it to have it back; "

    def opened(self, spec: Mapping[str, Any], strategy: str, facts: Mapping[str, Any]) -> None:
        """A session begins; run.json gets the versions and the device that its facts name."""
        named = {key: facts[key] for key in ("versions", "device", "device_name") if key in facts}
        write_whole(self.folder / "run.json", _head(named))
        lost, self._left = {"lost": self._left} if self._left else {}, 0.0
        body = {"spec": spec, "strategy": strategy, "facts": facts, **lost}
        self.append("opened", body, sync=True)
        if lost:
            with contextlib.suppress(RunError):
                drop_now(self.folder)  # It is counted once.

    def proposed(
        self,
        generation: int,
        strategy: str,
        proposals: Sequence[Proposal],
        trials: Sequence[Trial],
    ) -> None:
        """A generation: its proposals and their new trials, on the disk before any is trained."""
        for proposal in proposals:
            if (proposal.strategy, proposal.generation) != (strategy, generation):
                raise ValueError(f"{proposal} is not of {strategy}'s generation {generation}")
        body = {
            "strategy": strategy,
            "generation": generation,
            **_trials_body(trials),
            "proposals": [
                {"index": item.index, "point": item.point, "trials": item.trials}
                for item in proposals
            ],
        }
        self.append("proposed", body, sync=True)

    def planned(self, structure: str, device: str, planned: Planned, asked: str) -> None:
        """Write how the trials of a structure (by its key) are run on a device from now on, and the
        engine that was asked for: on the disk before any of them is trained."""
        plan = {name: getattr(planned.plan, name) for name in ("engine", "lanes", "reason")}
        if not planned.plan.lasting:  # What all were, once: older readers know no other.
            plan["lasting"] = False
        body = {
            "structure": structure,
            "device": device,
            "plan": plan,
            "figures": {name: float(value) for name, value in planned.figures.items()},
            "asked": asked,
        }
        self.append("planned", body, sync=True)

    def started(self, trial: int) -> None:
        """A worker begins a trial."""
        self.append("started", {"trial": trial})

    def reached(self, trial: int, step: int, value: float | None, objective: str) -> None:
        """Write the value of an objective that a trial has reached a rung with; before any verdict
        by it."""
        body = {"trial": trial, "step": step, "value": value, "objective": objective}
        self.append("reached", body)

    def ruled(self, rule: str, rulings: Mapping[tuple[int, int], Ruling]) -> None:
        """Write verdicts by a rule, of all that were compared together, by trial and step; before
        anybody is told of them."""
        trials = [
            {"trial": trial, "step": step, "stop": each.stop, "reason": each.reason}
            for (trial, step), each in rulings.items()
        ]
        self.append("ruled", {"rule": rule, "trials": trials})

    def ended(
        self,
        trial: int,
        result: Result,
        curve: Mapping[str, list[float]],
        records: Records | None = None,
    ) -> None:
        """A trial is over: its curve and records are written, and then its line, which is synced.
        Once per trial; a second end, or one of an unknown trial, is a ValueError. Raises as
        `_keep_curve`, and as `append`."""
        if trial not in self.history.trials or trial in self.history.results:
            raise ValueError(f"trial {trial} is unknown or has ended already")
        self._write_end("ended", (trial, trial), result, curve, records)

    def repeating(self, trial: int) -> int:
        """Begin to train an ended trial once more: returns the repetition's number, which no trial
        has, and which is the same where it was begun before. On the disk before it is used."""
        number = self.history.repeating.get(trial)
        if number is None or number in self.history.trials:
            number = self.history.next_number
            self.append("repeating", {"trial": trial, "number": number}, sync=True)
        return number

    def repeated(self, trial: int, result: Result, curve: Mapping[str, list[float]]) -> None:
        """Write the result of a trial's repetition, its curve under the number that `repeating`
        gave."""
        self._write_end("repeated", (trial, self.history.repeating[trial]), result, curve)

    def _write_end(
        self,
        event: str,
        numbers: tuple[int, int],
        result: Result,
        curve: Mapping[str, list[float]],
        records: Records | None = None,
    ) -> None:
        """The numbers are the trial's, and the one that its curve goes by."""
        trial, number = numbers
        # Anything float() takes, numpy's float32 among it, is a number here.
        content: dict[str, Any] = {
            name: [value if isinstance(value, int) else float(value) for value in values]
            for name, values in curve.items()
        }
        if records is not None and records.step:
            content[_RECORDS] = vars(records)
        with self._keep_curve(number, content):
            self.append(event, {"trial": trial, "result": _result_body(result)}, sync=True)

    @contextlib.contextmanager
    def _keep_curve(self, number: int, content: Mapping[str, Any]) -> Iterator[None]:
        """Write the curve of a training, and within what came of it. Raises StorageFull or RunError
        where there is no place for the curve alone, and only then: the result is kept."""
        path, text = _curve(self.folder, number), _dump(content).encode("ascii")
        written = False
        with contextlib.suppress(StorageFull, RunError):
            # A second fsync would double what a trial costs, and nothing but a power cut could make
            # the line outlive a curve that was written.
            write_whole(path, text, sync=False)
            self._spare.append(path)
            written = True
        yield
        try:
            if (given_up := self._given_up.pop(path, None)) is not None:
                raise given_up
            if not written:  # It may have failed for a moment alone.
                write_whole(path, text, sync=False)
        except (StorageFull, RunError) as error:
            told = f"the curve of trial {number} is lost, what it measured is in the journal"
            hint = "; ".join(filter(None, (told, error.hint)))
            raise type(error)(error.message, hint=hint) from error

    def ranged(self, key: str, ranged: Ranged) -> None:
        """Write the range that range tests have found, by the key of what they were made of; once.
        On the disk before a rate is proposed from it."""
        tests = [vars(each) for each in ranged.tests]
        self.append("ranged", {"key": key, **vars(ranged), "tests": tests}, sync=True)

    def confirming(self, confirming: Confirming) -> None:
        """Write which points are measured again, and with which seeds: on the disk before a trial
        of these is proposed."""
        self.append("confirming", vars(confirming), sync=True)

    def tested(self, tested: Tested, curve: Mapping[str, list[float]] | None = None) -> None:
        """Write what a look at the test part has shown, once for each part, and the curve of the
        training that looked."""
        body = {name: value for name, value in vars(tested).items() if name != "result"}
        if tested.result is not None:
            body["result"] = _result_body(tested.result)
        keeping: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if curve is not None:
            keeping = self._keep_curve(tested.number, curve)
        with keeping:
            self.append("tested", body, sync=True)

    def noted(self, kind: str, body: Mapping[str, Any]) -> None:
        """Write a note, found again in `history.notes` by its "kind"."""
        if "kind" in body:
            raise ValueError("a note's kind is given apart from its body")
        self.append("noted", {"kind": kind, **body})

    def closed(self, reason: str, seconds: float, told: str = "") -> None:
        """The session ends, after `seconds` of wall time; `told` says why, where that needs more
        than a word."""
        more = {"told": told} if told else {}
        self.append("closed", {"reason": reason, "seconds": seconds, **more}, sync=True)

    def keep_weights(self, trial: int, content: bytes) -> None:
        """Write a trial's weights, the content of a safetensors file, into best/."""
        path = _weights(self.folder, trial)
        write_whole(path, content, sync=False)
        self._spare.append(path)

    def given_up(self, trial: int) -> StorageFull | None:
        """The reason why a trial's weights are gone: its line in the journal had no room beside
        them. Told once."""
        return self._given_up.pop(_weights(self.folder, trial), None)

    def stored_weights(self) -> set[int]:
        """The trials whose weights are in best/."""
        return {number for path, number in _find_weights(self.folder) if path.suffix != ".tmp"}

    def drop_weights(self, keep: set[int]) -> None:
        """Delete all weights but those of the trials in `keep`."""
        kept = {_weights(self.folder, trial) for trial in keep}
        for path, _ in _find_weights(self.folder):
            if path not in kept:
                with _using(path):
                    path.unlink()

    def save_state(self, trial: int, content: bytes) -> Path:
        """Write the state of a trial under way, and return the file; the one before it is kept. On
        the disk when this returns. Raises StorageFull, also where the state would leave no room for
        the journal."""
        folder = self.folder / "states"
        path = folder / f"{trial:06d}.state"
        with _using(path):
            folder.mkdir(exist_ok=True)
            _refuse_links(self.folder)
            disk = os.statvfs(folder)
            if disk.f_bavail * disk.f_frsize < len(content) + RESERVE:
                raise _disk_full()
        write_whole(path, content, before=path.with_suffix(".before"))
        with _using(folder):
            _sync_folder(folder)
        return path

    def drop_state(self, trial: int, *, only: Path | None = None) -> None:
        """Delete a trial's saved states, or `only` one of them."""
        path = self.folder / "states" / f"{trial:06d}.state"
        with _using(path):
            for each in (path, path.with_suffix(".before")) if only is None else (only,):
                if not each.is_dir() or each.is_symlink():  # A folder is not ours.
                    each.unlink(missing_ok=True)

    def drop_states(self, keep: Container[int]) -> None:
        """Delete all saved states but those of the trials in `keep`, and states written in part."""
        folder = self.folder / "states"
        with _using(folder):
            for path in folder.iterdir() if folder.is_dir() else ():
                found = _STATE.fullmatch(path.name.removesuffix(".tmp"))
                if found and (path.suffix == ".tmp" or int(found[1]) not in keep):
                    if path.is_dir() and not path.is_symlink():
                        continue  # It is not ours.
                    path.unlink()

    def write_best(self, text: str) -> None:
        """Write the best point's resolved spec into best/spec.yaml."""
        write_whole(self.folder / "best" / "spec.yaml", text.encode(), sync=False)


def _create(folder: Path, spec_text: str | None) -> None:
    """Fill a new folder; run.json comes last, so that a folder whose creation was cut short is made
    again."""
    journal = folder / "journal.jsonl"
    with _using(folder):
        if journal.is_file() and journal.stat().st_size:
            return  # a run that lost its run.json, which `_check` reports
        for path in folder.iterdir():
            if not _is_ours(path):
                raise RunError(
                    f"{folder} is not a run and holds other files, such as {path.name}",
                    hint="give this run another name",
                )
        _make_folders(folder)
        journal.touch()
    if spec_text is not None:
        write_whole(folder / "spec.yaml", spec_text.encode())
    write_whole(folder / "run.json", _head())
    with _using(folder):
        _sync_folder(folder)
        _sync_folder(folder.parent)


def _is_ours(path: Path) -> bool:
    """Whether an entry of a folder is a part of a run, or a copy of one beside it, such as
    run.json.bak, which may be there when run.json is not."""
    name = path.name
    if name in _FOLDERS or name.startswith(tuple(f"{each}." for each in _FOLDERS)):
        return name in _FOLDERS or path.is_dir()
    ours = (*_FILES, "spec.yaml", NOW)
    return name in ours or name.startswith(tuple(f"{each}." for each in ours))


def fresh(root: Path, name: str) -> Path | None:
    """Move a run aside, to the first free of `name`.1, `name`.2, ...; deletes nothing.

    Returns its new place, or None where there was none. Raises RunLocked.
    """
    folder = _folder(root, name)
    with _using(folder):
        if not folder.is_dir():
            return None
        lock = _lock(folder)
        try:
            places = (root / f"{name}.{number}" for number in itertools.count(1))
            return folder.rename(next(place for place in places if not os.path.lexists(place)))
        finally:
            os.close(lock)


def _copy(content: bytes, path: Path, why: str) -> Path:
    """Write bytes into the first free of `path`.`why`-1, -2, ..."""
    for number in itertools.count(1):
        copy = path.with_name(f"{path.name}.{why}-{number}")
        with contextlib.suppress(FileExistsError):
            descriptor = _open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            return copy
    raise AssertionError("numbers do not end")


# Repairing ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Repair:
    """The report of `repair`: lines kept, the numbers (from 1) of lines of the old file of which a
    part was dropped, and the copy of the old journal, None where nothing had to change. `restored`
    says that a run.json was written anew, `begun` that there was no journal."""

    kept: int
    dropped: tuple[int, ...]
    copy: Path | None
    restored: bool = False
    begun: bool = False


def repair(folder: Path) -> Repair:
    """Rebuild a damaged journal from every line that passes its own checksum, wherever it stands
    in the file, renumbered; of copies of a line one. Where no two others have the same number they
    go by their numbers, whatever the order that a program has left them in.

    Lines that refer to trials whose `proposed` line is lost are dropped too. The old journal
    stays as journal.jsonl.damaged-<k>; a lost run.json is written anew. Raises RunLocked,
    RunError, StorageFull.
    """
    headless = False
    try:
        _check(folder)
    except RunDamaged:
        headless = True
    lock = _lock(folder)
    try:
        path = folder / "journal.jsonl"
        begun = not path.exists()
        if begun:
            write_whole(path, b"")
        data = _journal(folder)
        history = History()
        sound: list[bytes] = []
        kept: list[tuple[int, int]] = []
        for start, end, _, rest, content in _in_order(data):
            with contextlib.suppress(*NO_SENSE):
                fold(history, content)
                sound.append(_numbered(len(sound) + 1, rest))
                kept.append((start, end))
        copy = None
        if (whole := b"".join(sound)) != data:
            with _using(path):
                copy = _copy(data, path, "damaged")
            write_whole(path, whole)
        if headless:
            write_whole(folder / "run.json", _head())
        with _using(folder):
            _make_folders(folder)
            _sync_folder(folder)
        return Repair(len(sound), _dropped(data, sorted(kept)), copy, headless, begun)
    finally:
        os.close(lock)


def _in_order(data: bytes) -> list[_Found]:
    """The lines that `_find_lines` finds, of copies the first, by their numbers. Where two others
    have one number they are of two journals, and all stay as they stand."""
    # A session that is closed twice would have cost twice its time.
    first: dict[bytes, _Found] = {}
    for found in _find_lines(data):
        first.setdefault(data[found[0] : found[1]], found)
    lines = list(first.values())
    if len({number for _, _, number, _, _ in lines}) == len(lines):
        lines.sort(key=lambda found: found[2])
    return lines


_Found = tuple[int, int, int, bytes, dict[str, Any]]
"""The beginning and end of a line whose checksum holds, its number, its text behind the checksum
and its content."""


def _find_lines(data: bytes) -> Iterator[_Found]:
    """The lines whose checksum holds, wherever they stand."""
    at = 0
    for part in data.split(b"\n"):  # No line goes beyond one: JSON writes it as two characters.
        text, behind = _as_text(part), 0
        for match in _START.finditer(part):
            if match.start() < behind:
                continue
            with contextlib.suppress(ValueError, RecursionError):
                number, rest, content, behind = _decode_start(part, text, match.start())
                yield at + match.start(), at + behind, number, rest, content
        at += len(part) + 1


_FILLING = b"\0\r\n\t \xef\xbb\xbf"
"""Bytes that editors, version control and file systems put around lines."""


def _dropped(data: bytes, kept: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """The numbers of lines with more than filling in the parts that were dropped."""
    gaps = zip(
        [0, *(end for _, end in kept)], [*(start for start, _ in kept), len(data)], strict=True
    )
    found: dict[int, None] = {}
    number, counted = 1, 0
    for start, end in gaps:
        number += data.count(b"\n", counted, start)
        counted = start
        for offset, part in enumerate(data[start:end].split(b"\n")):
            if part.strip(_FILLING):
                found[number + offset] = None
    return tuple(found)
