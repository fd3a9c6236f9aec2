"""Errors that a user can cause, or should read.

::

    LrsearchError            exit 2 unless it says otherwise
    ├── SpecError            one or more faults of a spec, each with its place
    ├── UsageError           a command's arguments
    ├── DataError            data that are missing, malformed or too small
    │   └── DataErrors       several of them at once
    ├── ModelError           a model (or other named code) that cannot be built
    ├── TrainingError        a training of the user's that tells nothing, or never starts
    ├── DeviceLost           a process that can use its GPU no more (exit 1)
    ├── ImportRefused        a spec names code that is not allowed
    ├── CommandRefused       a spec runs a command that is not allowed
    ├── RunError             a run folder that cannot be used as asked
    │   ├── RunLocked        another process is writing it
    │   ├── RunDamaged       a journal line that fails its checksum
    │   └── SpecRefused      no stored trial belongs to the spec
    ├── StorageFull          the disk takes no more: it is full, or read-only (exit 1)
    └── TooManyFailures      more trials failed than `max_failures` allows (exit 1)

`Stopped` is no error: it ends a training loop of the user's that is to stop.

Anything else that escapes is a bug: it shows its traceback and exits 1.
"""

from __future__ import annotations

import errno
import itertools
import re
import signal
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from lrsearch.terminal import visible_line

FIRST_SPEC = "lrsearch init search.yaml --from mlp writes a first spec"
"""The line for those who have no spec yet."""


class LrsearchError(Exception):
    """A message for the user: what is wrong, where, and what to do about it.

    `message` is one sentence, `where` the place (file, line, key), `hint` the way out.
    """

    exit_code = 2

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def also(self, other: LrsearchError) -> None:
        """Tell of another error, which came at the same moment, in this one's hint."""
        told = f"{other.message}: {other.hint}" if other.hint else other.message
        self.hint = f"{self.hint}\n{told}" if self.hint else told

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments are lost by the default pickling, and errors cross processes.
        return (_rebuild, (type(self), self.message, self.where, self.hint))

    def __str__(self) -> str:
        text = self._sentence()
        text = f"{visible_line(self.where)}: {text}" if self.where else text
        return f"{text}\n  {_indented(self.hint)}" if self.hint else text

    def _sentence(self) -> str:
        return _indented(self.message)


def _indented(text: str) -> str:
    """The text with its further lines indented: a line of a user's text must not pass for another
    message."""
    return re.sub(r"\n(?!  )", "\n  ", text)


def _rebuild(kind: type[LrsearchError], message: str, where: str, hint: str) -> LrsearchError:
    return kind(message, where=where, hint=hint)


@dataclass(frozen=True, order=True)
class Fault:
    """A fault of a spec. `line` is 1-based, 0 where a line makes no sense."""

    line: int
    key: str
    message: str
    source: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        parts = (visible_line(place), visible_line(self.key), _indented(self.message))
        head = ": ".join(part for part in parts if part)
        return f"{head}\n  {_indented(self.hint)}" if self.hint else head


class SpecError(LrsearchError):
    """All the faults of one spec, in the order of their lines."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: fault.line))
        # What one line mends is told with the last of the faults that it mends.
        following = [*self.faults[1:], None]
        shown = (
            replace(fault, hint="") if after is not None and after.hint == fault.hint else fault
            for fault, after in zip(self.faults, following, strict=True)
        )
        super().__init__("\n".join(map(str, shown)))

    def __reduce__(self) -> tuple[object, ...]:
        return (SpecError, (self.faults,))

    def _sentence(self) -> str:
        return self.message  # A fault a line, each of which is indented as it should be.


class UsageError(LrsearchError):
    """Arguments that make no sense together, or name a thing that does not exist."""


class DataError(LrsearchError):
    """Data that are missing, malformed or too small for what the spec asks."""


class DataErrors(DataError):
    """Several faults of one source, in the order of their places; `more` of them are not shown."""

    def __init__(self, errors: Sequence[DataError], more: int = 0) -> None:
        self.errors, self.more = tuple(errors), more
        told = list(map(str, errors))
        for at, (error, after) in enumerate(itertools.pairwise(errors)):
            if error.hint == after.hint:  # What one remedy mends is told with the last of them.
                told[at] = str(DataError(error.message, where=error.where))
        rest = [f"and {more:,} more faults like these"] if more else []
        super().__init__("\n".join([*told, *rest]))

    def __reduce__(self) -> tuple[object, ...]:
        return (DataErrors, (self.errors, self.more))

    def _sentence(self) -> str:
        return self.message  # An error a line, each of which is indented as it should be.


_Found = TypeVar("_Found")


class Checks:
    """Checks of data that know nothing of each other: what they find is told at once."""

    def __init__(self) -> None:
        self.errors: list[DataError] = []

    def attempt(self, check: Callable[..., _Found], *given: Any, **named: Any) -> _Found | None:
        """The result of a check, None where it raises DataError."""
        try:
            return check(*given, **named)
        except DataError as error:
            self.errors += error.errors if isinstance(error, DataErrors) else [error]
            return None

    def settle(self) -> None:
        """Raises DataError, or DataErrors, where a check did."""
        if self.errors:
            raise DataErrors(self.errors) if len(self.errors) > 1 else self.errors[0]


class ModelError(LrsearchError):
    """A model, or other code named in a spec, that cannot be found or built."""


class TrainingError(LrsearchError):
    """A training outside lrsearch that fails whatever the point: it does not report the objective's
    metric, or never gets as far as its first step."""


class RangeRefused(LrsearchError):
    """A range of rates that was left to a range test, and that the test does not tell."""


class DeviceLost(LrsearchError):
    """A process that can no longer use its GPU, after an error there: a worker ends with this, and
    another takes its place."""

    exit_code = 1


class WorkerLost(LrsearchError):
    """A worker that was lost, as was the worker that took its place, before any trial began."""

    exit_code = 1


class ImportRefused(LrsearchError):
    """A spec that names code outside lrsearch and torch.nn which the user has not allowed."""


class CommandRefused(LrsearchError):
    """A spec that runs a command which the user has not allowed."""


class Stopped(Exception):
    """Raised by `trial.report` in a training loop of the user's when the trial is to stop. Letting
    it pass is enough."""


class RunError(LrsearchError):
    """A run folder that cannot be used as asked."""


class RunLocked(RunError):
    """A run that another process is writing."""


class RunDamaged(RunError):
    """A line of the journal, other than a torn last one, whose checksum does not hold."""


class SpecRefused(RunError):
    """A folder with trials none of which belongs to the spec."""


FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS))
"""Errors of the system by which a disk takes no more from anybody."""


class StorageFull(LrsearchError):
    """A disk that takes no more, for want of space or as it is read-only; all that was journaled
    before stays."""

    exit_code = 1


class TooManyFailures(LrsearchError):
    """Raised when more trials have failed than the spec's `max_failures`."""

    exit_code = 1


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to `name`, or None where nothing comes close."""
    import difflib  # Only where there is an error.

    by_lower = {each.lower(): each for each in reversed(list(known))}
    word = unicodedata.normalize("NFKC", str(name))
    # What stands around it: (lr), – lr, lr:; and letters that look like another.
    word = re.sub(r"^\W+|\W+$", "", word, flags=re.ASCII)
    for plain in (word, word.translate(str.maketrans("I|10", "lllo"))):
        if plain.lower() in by_lower:
            return by_lower[plain.lower()]
    word = str(name).lower()
    # Letters that changed places are likelier than one too many: adawm is adamw, and not adam.
    slips = [each for each in by_lower if is_slip(word, each)]
    slips = [each for each in slips if sorted(each) == sorted(word)] or slips
    found = difflib.get_close_matches(word, slips, n=1, cutoff=0)
    bare = {each.lstrip("-"): each for each in by_lower}  # No two options are alike by hyphens.
    alike = difflib.get_close_matches(word.lstrip("-"), bare, n=1, cutoff=0.6)
    found = found or [bare[each] for each in alike]
    begun = [each for each in by_lower if len(word) > 2 and each.startswith(word)]
    found = found or (begun if len(begun) == 1 else [])
    return by_lower[found[0]] if found else None


def is_slip(word: str, name: str) -> bool:
    """Whether a word of two letters or more is a name but for its case, two letters that changed
    places, or one letter that is wrong, missing or too much."""
    short, long = sorted((word.lower(), name.lower()), key=len)
    if len(short) < 2 or len(long) > len(short) + 1:
        return False
    at = next((at for at, char in enumerate(short) if char != long[at]), len(short))
    if len(short) < len(long):
        return short[at:] == long[at + 1 :]
    swapped = short[at : at + 2] == long[at : at + 2][::-1]
    return short[at + 1 :] == long[at + 1 :] or (swapped and short[at + 2 :] == long[at + 2 :])


def by_likeness(name: str, known: Iterable[str]) -> list[str]:
    """The known names, those most like `name` first; of equals the first in their order."""
    import difflib

    def likeness(other: str) -> float:
        return difflib.SequenceMatcher(None, name.lower(), other.lower()).ratio()

    return sorted(known, key=likeness, reverse=True)


def suggest(name: str, known: Iterable[str], meant: str = "") -> str:
    """A hint for an unknown name: `did you mean 'x'? allowed: ...`; it begins with `meant` where
    that is given."""
    names = list(known)
    close = nearest(name, names) if name else None
    allowed = "allowed: " + ", ".join(names) if names else "it takes no arguments"
    meant = meant or (f"did you mean '{close}'?" if close else "")
    return f"{meant}{'' if meant.endswith('?') else ';'} {allowed}" if meant else allowed


def signal_name(number: int) -> str:
    """A signal's name, such as SIGKILL, as reasons of failures call it."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and all those that it was raised from, or while handling, each once: user code may
    have linked them in a circle."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)


def lacks_memory(message: str) -> bool:
    """Whether an exception is of too little memory, by its type and text (`KeyError: 'x'`): what
    Python, the loader of libraries and the system say."""
    lacking = ("failed to map segment from shared object", "annot allocate memory")
    return message.startswith("MemoryError") or any(each in message for each in lacking)
