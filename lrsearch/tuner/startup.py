"""Failures that are no point's fault: trainings that never start, whatever they are given."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path

from lrsearch.errors import TrainingError, nearest
from lrsearch.space import Choice, encode, parameters
from lrsearch.spec.commandline import as_text, fill_command, give
from lrsearch.spec.model import Spec
from lrsearch.terminal import command_line
from lrsearch.trial import Config, Outcome, Point, Result, Trial

ALIKE = 3
"""Failures for one cause that end a search without a report from any trial."""

_SHOWN = 10
"""Lines of the last failed trial's output that are shown."""

_PYTHON = re.compile(
    r"(?:[\w.]+\.)?(?:ModuleNotFoundError|ImportError|FileNotFoundError|PermissionError|"
    r"NotADirectoryError|IsADirectoryError|SyntaxError|IndentationError|TabError|NameError|EOFError"
    r")\b.*"
)
_ABORTED = re.compile(r"Aborted[.!]")
"""Words of click and Typer where their question finds no answer."""

_SYSTEM = re.compile(
    r".*(?:No such file or directory|[Pp]ermission denied|[Nn]ot found|cannot be started).*"
)
_USAGE = re.compile(r"usage|argument|option|flag|parameter|command line", re.IGNORECASE)
_EVERY_VALUE = re.compile(
    r"(?:unrecognized|unknown|unexpected) (?:arg|option|flag|param)|no such option"
    r"|invalid (?:int|float) value|not a valid (?:int|float)",
    re.IGNORECASE,
)
"""Messages that show a value but complain of its option, or of the kind of number it is."""

_EXIT = re.compile(r"exit code (\d+):? ?")


@dataclass(frozen=True)
class _Failure:
    """A trial that failed: its number, its raw numbers by parameter id, and the parameters whose
    value the message is about."""

    number: int
    values: dict[str, float]
    named: frozenset[str]


@dataclass
class Starts:
    """Failures of trials before any trial has reported something. `alike` has the failures by their
    cause. `over` says that a trial has reported, now or in an earlier session; `device` is the
    device that trials are given."""

    spec: Spec
    over: bool = False
    device: str = "cpu"
    alike: dict[str, list[_Failure]] = field(default_factory=dict)

    def note(self, trial: Trial, point: Point | None, result: Result) -> TrainingError | None:
        """Take an ended trial of a point of the space; returns the error that ends the search with
        it, if it is the last of at least `ALIKE` failures for which no value can be to blame."""
        if result.outcome is not Outcome.FAILED or result.steps or result.last:
            self.over = True
        why = "" if self.over else self._cause(trial.config, result)
        if not why:
            return None
        values = encode(self.spec.space, point) if point is not None else None
        if point is None or values is None:
            return None
        named = frozenset() if self.spec.kind is None else _named(point, result.reason)
        self.alike.setdefault(why, []).append(_Failure(trial.number, values, named))
        failures = self.alike[why]
        if len(failures) < ALIKE or self._may_blame_a_value(failures):
            return None
        numbers = ", ".join(str(each.number) for each in failures)
        return TrainingError(
            f"trials {numbers} failed alike before they reported anything, so it is no point's "
            f"fault: {why}",
            where=f"{self.spec.source}: {self.spec.kind}" if self.spec.kind else "",
            hint="\n  ".join(self._advise(trial, result, why)),
        )

    def _cause(self, config: Config, result: Result) -> str:
        """The cause of a trial's failure, where all trials may fail for it; else ""."""
        found = _EXIT.match(result.reason)
        code = int(found[1]) if found else 0
        text = result.reason[found.end() :] if found else result.reason
        if _PYTHON.fullmatch(text):
            return text
        if self.spec.kind is None:  # It has started: any other exception may be the point's.
            return ""
        if text.startswith("KeyError: "):  # A value of the point's that is no key differs with it.
            return text
        if code in (126, 127) or _SYSTEM.fullmatch(text) or _ABORTED.fullmatch(text):
            return result.reason
        if code and _USAGE.search(text if code != 2 else _printed(result)):
            # The point's values may stand in what is said of them.
            return _without_values(result.reason, config)
        return ""

    def _may_blame_a_value(self, failures: list[_Failure]) -> bool:
        """Whether a parameter's values may be to blame: those of an option that the message names,
        until all options have failed; those equal to a number that it names; and those in which too
        few of the trials differ."""
        for name, dimension in parameters(self.spec.space):
            tried = {each.values[name] for each in failures if name in each.values}
            if not tried or any(name not in each.values for each in failures):
                continue  # It is not there in all of them.
            named = any(name in each.named for each in failures)
            if isinstance(dimension, Choice):
                count = len(dimension.options)
                enough = count if named else min(ALIKE, count)
            else:
                enough = 1 if dimension.low == dimension.high else 2
            if len(tried) < enough or (named and not isinstance(dimension, Choice)):
                return True
        return False

    def _advise(self, trial: Trial, result: Result, why: str) -> list[str]:
        found = [hint for part, hint in _HINTS.items() if part in why][:1]
        advice = [each(self.spec, trial.config, why) for each in found]
        if not found and "command" in trial.config:
            words = fill_command(trial.config, give(trial, self.spec.name, self.device))
            advice.append(_advise_on_options(words, result))
        tail = [line for line in _printed(result).splitlines() if line.strip()][-_SHOWN:]
        if tail:
            advice += ["the end of its output:", *(f"  {line[:200]}" for line in tail)]
        advice.append("mend it and give the same command again: it trains them again")
        return advice


def _named(point: Point, reason: str) -> frozenset[str]:
    """The parameters whose value a message is about."""
    text = _EXIT.sub("", reason, count=1)
    about_all = _EVERY_VALUE.search(text)
    found = set()
    for name, value in point.items():
        if isinstance(value, str):
            about = "invalid choice" in text or not about_all
        else:
            about = bool(_USAGE.search(text)) and not about_all
        shown = re.search(rf"(?<![\w.]){re.escape(as_text(value))}(?![\w.])", text)
        if about and shown:
            found.add(name)
    return frozenset(found)


def _printed(result: Result) -> str:
    return f"{result.output}\n{result.traceback}"


def _without_values(text: str, config: Config) -> str:
    values = {name: as_text(value) for name, value in config["params"].items()}
    for name, value in sorted(values.items(), key=lambda item: -len(item[1])):
        if value:
            text = re.sub(rf"(?<![\w.]){re.escape(value)}(?![\w.])", f"{{{name}}}", text)
    return text


def _python(config: Config) -> str:
    if "command" not in config:
        return sys.executable
    program = fill_command(config)[0]
    return shutil.which(program) or program


def _advise_on_module(spec: Spec, config: Config, why: str) -> str:
    named = re.search(r"No module named '?([\w.]+)", why)
    module, _, inner = named[1].partition(".") if named else ("", "", "")
    mine = [name for name in (module, f"{module}.py") if (spec.folder / name).exists()]
    if inner:  # The part before the last dot was found.
        place = str(spec.folder / mine[0]) if mine else ""
        return _advise_on_version(named[1].rpartition(".")[0] if named else module, place, spec)
    if module and mine:
        return f"{module} is in {spec.folder}: run the script from there, or set PYTHONPATH"
    python = _python(config)
    if "python" not in python:
        return "install it where the command runs"
    found = python != sys.executable and module and PathFinder.find_spec(module)
    other = f"name the Python that has it, {sys.executable}" if found else "name another Python"
    return f"{python} does not find it: {python} -m pip install {module or '...'}, or {other}"


def _advise_on_import(spec: Spec, config: Config, why: str) -> str:
    named = re.search(r"cannot import name '.*?' from (partially .*?)?'([\w.]+)'(.*)", why)
    if named is not None:
        # The module's place stands last, behind a remark on circles where it was not yet whole, and
        # before the line that asks for the name.
        asked = re.sub(r" \([^()]*, line \d+\)$", "", named[3])
        place = re.search(r"\(((?:/|[A-Za-z]:).*?)\)\W*$", asked)
        path = place[1] if place else ""
        if named[1] and Path(path).resolve().is_relative_to(spec.folder.resolve()):
            return (
                f"{path} imports itself in a circle: import in the function that needs it, or "
                "rename the file where it has the name of a package"
            )
        return _advise_on_version(named[2], path, spec)
    if "relative import" in why:
        return "a file of a package is run as a module: python -m package.module"
    if "shared object" in why or "DLL" in why:
        return "a library of the system that the package needs is missing or of another version"
    return f"what it asks for is missing, or of another version, for {_python(config)}"


def _advise_on_version(module: str, path: str, spec: Spec) -> str:
    """Advice on a module that was found, and lacks a name asked of it."""
    if path and Path(path).resolve().is_relative_to(spec.folder.resolve()):
        return (
            f"{path} has no such name: write it there, or rename the file where another {module} "
            "is meant"
        )
    place = f" ({path})" if path else ""
    return (
        f"the installed {module}{place} has no such name: another version is needed, or a file of "
        "yours has the name of the module"
    )


def _advise_on_file(spec: Spec, config: Config, why: str) -> str:
    return f"it runs in the spec's folder, {spec.folder}: paths are seen from there"


def _advise_on_permission(spec: Spec, config: Config, why: str) -> str:
    return "what it reads, writes or runs there is another user's, or not executable: chmod"


def _advise_on_code(spec: Spec, config: Config, why: str) -> str:
    return "mend the code: the place is in the output below"


def _advise_on_key(spec: Spec, config: Config, why: str) -> str:
    """Advice on a name that is no key: where it is like a parameter's, the parameters."""
    asked = re.search(r"KeyError: '(\w+)'", why)
    params = list(config["params"])
    if asked and asked[1] not in params and (close := nearest(asked[1], params)):
        return f"for '{asked[1]}' write '{close}'; the parameters: {', '.join(params)}"
    return _advise_on_code(spec, config, why)


def _advise_on_program(spec: Spec, config: Config, why: str) -> str:
    return "the program is not on the PATH of this shell: name it by its whole path"


def _advise_on_input(spec: Spec, config: Config, why: str) -> str:
    if "Ran out of input" in why:
        return "a file that it reads ends too early"
    where = "the command" if "command" in config else "params"
    return f"it asks for input, and no trial is given any: have it take the answer from {where}"


def _advise_on_options(words: list[str], result: Result) -> str:
    """Advice on the command line, and for an unknown option the nearest that its usage lists."""
    advice = f"it was run as: {command_line(words)}"
    unknown = re.search(
        r"(?:unrecognized arguments|[Nn]o such option):? (--?[\w-]+)", result.reason
    )
    listed = sorted(
        {*re.findall(r"--?[A-Za-z][\w-]*", _printed(result))} - {unknown and unknown[1]}
    )
    if unknown and (close := _meant(unknown[1], listed)):
        advice += f"; for {unknown[1]} write {close}"
    return advice


def _meant(option: str, listed: list[str]) -> str | None:
    close = nearest(option, listed)
    if close is not None:
        return close
    # --lr for --learning-rate: the first letters of its words.
    first = option.strip("-").lower()
    initials = {
        "".join(word[0] for word in re.findall(r"\w+", each.lower())): each for each in listed
    }
    return initials.get(first)


_HINTS: dict[str, Callable[[Spec, Config, str], str]] = {
    "ModuleNotFoundError": _advise_on_module,
    "ImportError": _advise_on_import,
    "FileNotFoundError": _advise_on_file,
    "NotADirectoryError": _advise_on_file,
    "IsADirectoryError": _advise_on_file,
    "PermissionError": _advise_on_permission,
    "SyntaxError": _advise_on_code,
    "IndentationError": _advise_on_code,
    "TabError": _advise_on_code,
    "NameError": _advise_on_code,
    "KeyError": _advise_on_key,
    "EOFError": _advise_on_input,
    "Aborted": _advise_on_input,
    "No such file or directory": _advise_on_file,
    "ermission denied": _advise_on_permission,
    "exit code 126": _advise_on_permission,
    "exit code 127": _advise_on_program,
    "not found": _advise_on_program,
}
"""Hints on a cause, by a part of its text."""
