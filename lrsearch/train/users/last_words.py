"""The reason why a process failed, in its output: the line that says it, among advice and the noise
of launchers, loggers and progress bars."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from lrsearch.train.users.lines import plain_lines

LONGEST = 300
"""Characters of a reason."""

TRACE_LINES = 40
"""Lines of output that are kept of a failed trial, from each stream."""

_HEADER = re.compile(r"Traceback \(most recent call last\)")
_FRAME = "│┃║|╭╰╮╯─━+-"
"""Characters that rich draws around a traceback."""

# `torch.cuda.OutOfMemoryError: ...`, `KeyError`: Python's line for an exception.
_EXCEPTION = re.compile(
    r"(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Timeout|NotFound)"
    r"(?::(?: |$)|$)"
)

# Lines by which programs of any language report an error.
_COMPLAINT = re.compile(
    # No measurements of a training: "test error: 0.12".
    r"\b(?:fatal|critical|error|errors|panic|exception)\b[^:(]{0,60}:(?!:)\s*(?![-+.\d])\S"
    r"|\bwhat\(\): |\bpanicked at\b|\bterminate called\b|\bsegmentation fault\b"
    r"|\b(?:command not found|no such file or directory|permission denied|out of memory)\b"
    r"|\berror in \S|^(?:E\d{4}|error|fatal|panic) ",
    re.IGNORECASE,
)

# Lines that say only that a process ended, or give advice.
_ASIDE = re.compile(
    r"^(?:srun|slurmstepd|mpirun|mpiexec|prterun|orterun|wandb|comet_ml|comet|clearml|neptune|ray"
    r"|make(?:\[\d+\])?|npm err!|node\.js v|execution halted|goroutine \d+|stacktrace:)\b"
    r"|^set the environment variable\b|^note: run with\b|^for debugging consider\b"
    r"|^compile with `|kernel errors might be asynchronous|^to suppress this\b|^hint: |^see also\b"
    r"|warn(?:ing|ings)?\b|\bdeprecated\b|\bresource_tracker\b|\bleaked semaphore"
    r"|\bexit(?:ed|s)?(?: with)?(?: non-?zero)?(?: exit)? (?:code|status)\b|\bexitcode\b"
    r"|\breturned non-?zero\b|\bnon-?zero (?:exit )?(?:code|status)\b|\berror \d+$"
    r"|\belastic[./]|\bchildfailederror\b|\broot cause\b|\berror_file\b|\bto enable traceback\b"
    r"|\d%\s*\||\d+/\d+ \[|\b(?:it/s|s/it)\b",
    re.IGNORECASE,
)

# An exception that says only that another process failed, whose own traceback comes before.
_OF_A_CHILD = re.compile(r"ChildFailedError|CalledProcessError|BrokenProcessPool|SystemExit")

# Text before a traceback that is not the reason for the process's end.
_BY_THE_WAY = re.compile(
    r"^(?:exception ignored in|--- logging error ---|exception in thread"
    r"|task exception was never retrieved|error in atexit)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Traceback:
    """A traceback of Python's in some lines: the indices of its own, its exception, and its
    `kind`: the `cause` of the process's end as far as they tell, about a `child` that failed, or
    an `aside`."""

    places: tuple[int, ...]
    exception: str
    kind: str


def find_reason(errors: str, output: str, *, sure: bool = False) -> str:
    """Find the line that says why a process failed, in its stderr and stdout: the exception of its
    last traceback, else the last line in the form of an error, else the last that is no aside (with
    `sure`, none); "" where there is none."""
    streams = [plain_lines(errors), plain_lines(output)]
    found = [_find_tracebacks(lines) for lines in streams]
    if cause := _last_of("cause", found):
        return _shortened(cause)
    rest = []
    for lines, traces in zip(streams, found, strict=True):
        inside = {place for trace in traces for place in trace.places}
        rest.append([line for place, line in enumerate(lines) if place not in inside])
    for lines in rest:
        if complaint := _last_complaint(lines):
            return _shortened(complaint)
    if sure:
        return ""
    if child := _last_of("child", found):
        return _shortened(child)
    for lines in rest:
        for line in reversed(lines):
            if _says_something(line) and not line.lstrip().startswith(("{", "[")):
                return _shortened(line)
    spoken = [line for lines in reversed(streams) for line in lines if line.strip()]
    return _shortened(spoken[-1]) if spoken else ""


_FRAMES = (re.compile(r'File "([^"]+)", line (\d+)'), re.compile(r"(\S+\.py):(\d+) in "))
"""Lines of a traceback that name a file and a line: Python's, and rich's."""

_OTHERS = re.compile(r"(?:site|dist)-packages|[/\\]lib(?:64)?[/\\]python\d|^<")
"""Files that are no user's."""


def find_place(errors: str, output: str) -> str:
    """Find the innermost line of the user's code in the traceback that `find_reason` tells of,
    `train.py, line 12`; "" where there is none."""
    for lines in map(plain_lines, (errors, output)):
        causes = [each for each in _find_tracebacks(lines) if each.kind == "cause"]
        if not causes:
            continue
        told = [lines[place] for place in causes[-1].places]
        found = [each for line in told for form in _FRAMES for each in form.findall(line)]
        own = [(file, number) for file, number in found if not _OTHERS.search(file)]
        return f"{PurePath(own[-1][0]).name}, line {own[-1][1]}" if own else ""
    return ""


def _last_of(kind: str, found: Sequence[Sequence[Traceback]]) -> str:
    """The exception of the last traceback of a kind, in the first stream that has one."""
    chosen = (
        trace.exception for traces in found for trace in reversed(traces) if trace.kind == kind
    )
    return next(chosen, "")


def _find_tracebacks(lines: Sequence[str]) -> list[Traceback]:
    """The tracebacks of some lines, in their order. All lines of one may have a prefix, such as
    the `[rank0]: ` of a launcher, and the first a progress bar before it."""
    found = []
    for index, line in enumerate(lines):
        header = _HEADER.search(line)
        if header is None:
            continue
        prefix = line[: header.start()].removesuffix("Original ")
        # Other processes may write between its lines.
        if not any(each.startswith(prefix) for each in lines[index + 1 : index + 9]):
            prefix = ""
        rest = [
            (place, lines[place].removeprefix(prefix))
            for place in range(index + 1, len(lines))
            if lines[place].startswith(prefix.rstrip())
        ]
        boxed = "──" in line or "--" in line
        length, exception = _read_exception([text for _, text in rest], boxed)
        if exception:
            places = (index, *(place for place, _ in rest[:length]))
            found.append(Traceback(places, exception, _kind(lines[:index], exception)))
    return found


def _read_exception(lines: Sequence[str], boxed: bool) -> tuple[int, str]:
    """The number of lines of a traceback, and its exception: the first line that is neither
    indented nor framed. An exception that ends with a colon continues on the next line."""
    for index, line in enumerate(lines):
        if not line.strip() or line[0].isspace() or (boxed and line[0] in _FRAME):
            continue
        if _HEADER.search(line):
            break
        text, length = line.strip(), index + 1
        if text.endswith(":"):
            more = [each for each in lines[length : length + 3] if any(map(str.isalnum, each))]
            if more and not _HEADER.search(more[0]):
                text, length = f"{text} {more[0].strip()}", length + 1
        return length, text
    return 0, ""


def _kind(before: Sequence[str], exception: str) -> str:
    if any(_BY_THE_WAY.search(line.strip()) for line in before[-2:]):
        return "aside"
    name = exception.partition(":")[0]
    return "child" if _OF_A_CHILD.search(name) or name == "KeyboardInterrupt" else "cause"


def _last_complaint(lines: Sequence[str]) -> str:
    for index in range(len(lines) - 1, -1, -1):
        line = lines[index].strip()
        exception = _EXCEPTION.match(line) and not _OF_A_CHILD.search(line.partition(":")[0])
        if exception or (_says_something(line) and _COMPLAINT.search(line)):
            told = line.endswith(":") or line.startswith("terminate called")
            more = lines[index + 1].strip() if told and index + 1 < len(lines) else ""
            return f"{line} {more}" if more else line
    return ""


def _says_something(line: str) -> bool:
    return any(map(str.isalnum, line)) and not _ASIDE.search(line.strip())


def _shortened(line: str) -> str:
    line = " ".join(line.strip("│┃║| ").split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def tail(errors: str, output: str) -> tuple[str, str]:
    """The kept output of a failed trial: of stderr, if it has any, the last lines, preceded by the
    traceback with the reason if it stands further up; and the last lines of stdout. If only stdout
    has lines they come first."""
    lines = plain_lines((errors.strip() or output).strip())
    start = max(0, len(lines) - TRACE_LINES)
    kept = list(range(start, len(lines)))
    causes = [trace for trace in _find_tracebacks(lines) if trace.kind == "cause"]
    first = [place for place in causes[-1].places if place < start] if causes else []
    shown = [lines[place] for place in first[-TRACE_LINES:]]
    shown += ["..."] if first else []
    shown += [lines[place] for place in kept]
    other = plain_lines(output.strip())[-TRACE_LINES:] if errors.strip() else []
    return "\n".join(shown), "\n".join(other)
