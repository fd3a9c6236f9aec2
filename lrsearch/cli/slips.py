"""Slips on the command line, which Click tells in words of its own: what was given, what is allowed
and what to write instead."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lrsearch.duration import find_time
from lrsearch.errors import FIRST_SPEC, nearest
from lrsearch.terminal import command_line, quote

_MOST_READ = 65_536
"""Bytes of a file that tell whether it looks like a spec."""
_LIKE = (r"^train\s*:", r"^(command|loop)\s*:", r"^(data|model|search|objective)\s*:")
"""Lines of which a spec has one, the surest first."""
_LISTED = 5
"""The most specs of the folder that a hint names."""
_USUAL = {
    "--trials": "40", "--workers": "2", "--lanes": "8", "--trial": "3", "--set": "train.lr=0.1",
    "--time": "30m", "--until": "'accuracy>=0.98'", "--require": "'accuracy>=0.95'",
    "--allow-import": "my_package", "--from-optuna": "study.db NAME", "--sort": "-seconds",
    "--from-wandb": "sweep.yaml", "--where": "'lr > 1e-3'", "--device": "cpu", "--runs": "runs",
    "--engine": "solo", "--from": "mlp", "--html": "run.html", "--output": "best.yaml",
    "--format": "pytorch", "--junit": "lrsearch.xml", "--executor": "inline", "--baseline": "RUN",
    "--port": "8080", "--width": "60", "--steps": "200", "--point": "3",
    "-o": "best.yaml", "--top": "4", "--seeds": "5", "--points": "9", "--min": "1e-7",
    "--max": "10",
}  # fmt: skip
"""A value of an option, as an example of one."""


def explain_slip(error: Any, ctx: Any, command: Any, args: Sequence[str]) -> tuple[str, str] | None:
    """The fault of a command's arguments, and what to write; None for an error of
    another kind. `error` is Click's, of whichever copy of Click Typer brings."""
    kind, name = type(error).__name__, str(ctx.info_name)
    if kind == "MissingParameter" and getattr(error, "param", None) is not None:
        word = _word(error.param)
        hint = f"write lrsearch {name} {word}"
        if word == "CONFIG" and (specs := list(list_specs())):
            hint += f", such as {command_line(['lrsearch', name, specs[0]])}"
            hint += f"; here are {', '.join(map(quote, specs))}" if specs[1:] else ""
        elif word == "CONFIG":
            hint += f"; {FIRST_SPEC}"
        return f"lrsearch {name} needs {word}: {_doc(error.param)}", hint
    if kind == "BadOptionUsage":
        option = str(error.option_name)
        if "does not take" in error.message:
            given = [each for each in _split(command, args)[0] if each[:1] != "-"]
            value = value_of(option, args) or ""
            if option == "--csv" and value.endswith(".csv"):
                line = command_line(["lrsearch", name, *given, option])
                return f"{option} takes no value", f"write {line} > {quote(value)}"
            return f"{option} takes no value", f"write {option}"
        part = next((each for each in command.params if option in each.opts), None)
        form = str(getattr(part, "metavar", None) or "VALUE")
        return f"{option} needs {form}", f"write {option} {_USUAL.get(option, form)}"
    if kind == "BadParameter" and getattr(error, "param", None) is not None:
        return _of_value(error, args)
    extra = re.match(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", str(error))
    if kind == "UsageError" and extra:
        return _of_extra(name, extra[1], command, args)
    return None


def _of_value(error: Any, args: Sequence[str]) -> tuple[str, str]:
    """A value that is none of those an option takes."""
    part = error.param
    option = max(part.opts, key=len)
    given = next((text for each in part.opts if (text := value_of(each, args)) is not None), None)
    if given is None and (variable := str(getattr(part, "envvar", None) or "")) in os.environ:
        allowed = str(error.message).replace(option, variable)
        return f"{variable}: {allowed}", f"write export {variable}={_USUAL.get(option, 'VALUE')}"
    allowed = str(error.message)
    if closed := re.search(r"'(.*)' is not readable", allowed):
        return f"cannot read {closed[1]}: Permission denied", "this user may not"
    usual = _USUAL.get(option, "VALUE")
    if "valid int" in allowed or "valid number" in allowed:
        allowed = "it takes an integer" if "valid int" in allowed else "it takes a number"
        usual = _number(given, whole="integer" in allowed) or usual
    elif least := re.search(r"greater than or equal to (\S+)", allowed):
        allowed = f"it takes a number greater than or equal to {least[1]}"
    elif most := re.search(r"less than or equal to (\S+)", allowed):
        allowed = f"it takes a number less than or equal to {most[1]}"
    shown = f"'{given}': " if given is not None and not allowed.startswith(given) else ""
    return f"{option}: {shown}{allowed}", f"write {option} {usual}"


def _number(given: str | None, *, whole: bool) -> str:
    """The number above 0 that a text means, "" where it means none."""
    from lrsearch.catalogue import Parameter
    from lrsearch.spec.settling import fit

    with contextlib.suppress(ValueError):
        return f"{fit(Parameter('int' if whole else 'float', low=1 if whole else 0), given):g}"
    return ""


def _of_extra(name: str, words: str, command: Any, args: Sequence[str]) -> tuple[str, str]:
    """Words that are none of a command's arguments."""
    taken = [_word(each) for each in command.params if each.param_type_name == "argument"]
    form = command_line(["lrsearch", name, *taken])
    message = f"lrsearch {name} takes {' '.join(taken) or 'no argument'}: '{words}' is too much"
    parts = words.split()
    first = parts[0] if parts else ""
    given = [each for each in _split(command, args)[0] if not {*each.split()} <= {*parts}]
    known = [option for each in command.params for option in each.opts if option[:2] == "--"]
    dashed = _DASHED.match(first)
    meant, equals, value = first[dashed.end() if dashed else 0 :].partition("=")
    if dashed and (close := nearest(f"--{meant}", known)):
        value = value if equals else " ".join(parts[1:2])
        return message, f"write {_with_option(command, name, given, close, value)}; {_HYPHENS}"
    if hint := _joined(name, parts, command, args):
        return message, hint
    option = nearest(f"--{first.partition('=')[0]}", known)
    if option and f"--{first.partition('=')[0]}" == option:
        value = first.partition("=")[2] or " ".join(parts[1:2])
        return message, f"write {_with_option(command, name, given, option, value)}"
    if pair := _meant_by(name, parts, given):
        option, value = pair
        return message, f"write {_with_option(command, name, given, option, value)}"
    if option in ("--runs", "--html", "--output") and "=" not in first:
        return message, f"write {option} {quote(first)}"
    if re.fullmatch(r"[A-Za-z_][\w.]*=.+", first) and "--set" in known:
        key, _, value = first.partition("=")
        return message, f"write --set {quote(f'{_path(name, key)}={value}')}"
    apart = [
        part for each in args for part in (each.split("=", 1) if "--time=" in each else [each])
    ]
    for at, (option, *parted) in enumerate(zip(apart, apart[1:], apart[2:], strict=False)):
        with contextlib.suppress(ValueError):  # --time 5 minutes
            if option == "--time":
                joined = [*apart[: at + 1], find_time(" ".join(parted)), *apart[at + 3 :]]
                return message, f"write {command_line(['lrsearch', name, *joined])}"
    if first.endswith((".yaml", ".yml")):
        given, options = _split(command, args)
        rest = " && ".join(command_line(["lrsearch", name, each, *options]) for each in given)
        return message, f"one command for each: {rest}" if len(given) < _LISTED else f"write {form}"
    if first.isdigit() and "--trials" in known:
        return message, f"write {_with_option(command, name, given, '--trials', first)}"
    left = [each for each in args if not {*each.split()} <= {*parts}]
    printed = {"--csv", "--json", "--markdown"} & {*left} and Path(first).suffix
    place = f" > {quote(first)}" if printed else ""  # report --csv out.csv
    return message, f"write {command_line(['lrsearch', name, *left]) if given else form}{place}"


def _path(command: str, key: str) -> str:
    """The path of a spec that the key of an override means."""
    from lrsearch.spec.foreign.words import means

    return key if "." in key or command == "schedules" else means(key) or key


_DASHED = re.compile("-*[\u2010-\u2015\u2212][-\u2010-\u2015\u2212]*")
"""The dashes that a text processor makes of hyphens."""
DASHES = re.compile("[-\u2010-\u2015\u2212]+")
"""Hyphens, and the dashes."""
_HYPHENS = "an option begins with two plain hyphens"

_KEYED = re.compile(r"[A-Za-z_]\w*(\.\w+)+")
"""A path of a spec."""


def _joined(name: str, words: Sequence[str], command: Any, args: Sequence[str]) -> str:
    """The hint for words that belong together, or with what stands before them: a path with blanks
    in it, a key and its value, two overrides, two runs of a report."""
    given, options = _split(command, args)
    whole = " ".join(given)
    if len(given) > 1 and Path(whole).is_file():
        return f"write {command_line(['lrsearch', name, whole, *options])}"
    takes_set = any("--set" in each.opts for each in command.params)
    if takes_set and (override := _joined_override(args)):
        return f"write --set {quote(override)}"
    for before, each in itertools.pairwise(args):
        if len(words) != 1 or "=" in words[0] or not re.fullmatch(r"[A-Za-z_][\w.]*", each):
            continue
        if before == "--set":
            return f"write --set {quote(f'{_path(name, each)}={words[0]}')}"
        if before in ("--require", "--until"):
            return f"write {before} {quote(f'{each}>={words[0]}')}"
    if (
        takes_set
        and len(words) == 2
        and _KEYED.fullmatch(words[0])
        and not any(map(_NO_VALUE.search, words))
    ):
        return f"write --set {quote(f'{words[0]}={words[1]}')}"
    if takes_set and len(words) > 1 and all(_KEYED.match(each) and "=" in each for each in words):
        return "write " + " ".join(f"--set {quote(each)}" for each in words)
    if name == "report" and len(given) == 2 and all(_RUN.fullmatch(each) for each in given):
        return f"one report each, or write {command_line(['lrsearch', 'compare', *given])}"
    return ""


def _joined_override(args: Sequence[str]) -> str:
    """The override that a shell has cut at its blanks, as one: --set lr: 0.1, --set a=[1, 2],
    --set timeout=5 minutes; "" where none was cut."""
    for at, before in enumerate(args):
        first = args[at + 1] if before == "--set" and at + 1 < len(args) else ""
        first = before.removeprefix("--set=") if before.startswith("--set=") else first
        rest = itertools.takewhile(
            lambda each: each[:2] != "--" and not each.endswith(SPECS),
            args[at + 1 + (before == "--set") :],
        )
        following = list(rest)
        if not first or not following or (first[:1] == "-"):
            continue
        match = re.fullmatch(
            r"([A-Za-z_][\w.-]*)\s*(?::=|==?|:)\s*(.*)", " ".join([first, *following]), re.DOTALL
        )
        whole = "=" in first[:-1] and not first.endswith(":")
        opened = sum(map(first.count, "[{(")) > sum(map(first.count, "]})"))
        if match is None or (whole and not opened and any("=" in each for each in following)):
            continue
        value = match[2]
        with contextlib.suppress(ValueError):  # 5 minutes, and no 0.1
            value = find_time(value) if not opened and re.search("[a-z]", value) else value
        return f"{match[1]}={value}"
    return ""


_NO_VALUE = re.compile(r"=|\.(ya?ml|py)$")
"""Words that are no key of a spec, or no value of one."""

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def _meant_by(name: str, words: Sequence[str], given: list[str]) -> tuple[str, str] | None:
    """The option that words of a command line may be the value of, and the value: a kind of spec,
    a format, a file. Takes a `given` that is no argument out."""
    first = words[0] if words else ""
    if name == "init":
        from lrsearch.spec.templates import TEMPLATES

        if first in TEMPLATES:
            given[:] = [each for each in given if each.endswith(SPECS)] or ["lrsearch.yaml"]
            return "--from", first
    if name == "report" and first.endswith((".html", ".htm")):
        return "--html", first
    if name == "export":
        from lrsearch.reports.code import TARGETS
        from lrsearch.reports.exporting.formats import FORMATS

        if first in (*TARGETS, *FORMATS):
            return "--format", first
        if first.endswith(SPECS):
            return "--output", first
    return None


def _with_option(
    command: Any, name: str, given: Sequence[str], option: str, value: str = ""
) -> str:
    """A command line with an option, and a value for it where it takes one: the given one, or an
    example, a file that is named like the run."""
    part = next(each for each in command.params if option in each.opts)
    value = "" if part.is_flag else value or str(_USUAL.get(option, part.metavar or "VALUE"))
    if option == "--html" and value == _USUAL[option] and given:
        value = f"{Path(given[0]).stem if given[0].endswith(SPECS) else Path(given[0]).name}.html"
    return command_line(["lrsearch", name, *given, option, *([value] if value else [])])


SPECS = (".yaml", ".yml")

_PRINTED = (".csv", ".json", ".md", ".txt")
"""Ends of the names of files that what is printed goes to."""


def explain_target(ctx: Any, command: Any) -> tuple[str, str] | None:
    """The fault, and what to write, where the run that a command is given is the name of an option
    without its hyphens, or the page to write, and no run or file."""
    target, runs = ctx.params.get("target"), ctx.params.get("runs")
    known = {option for each in command.params for option in each.opts}
    page = isinstance(target, str) and target.endswith((".html", ".htm"))
    option, value = ("--html", target) if page else (f"--{target}", "")
    printed = [each for each in ("csv", "json", "markdown") if ctx.params.get(each)]
    printed = printed if str(target).endswith(_PRINTED) else []
    port = str(target).isdigit() and "--port" in known
    if not isinstance(target, str) or not (option in known or printed or port):
        return None
    if Path(target).exists() or (runs is not None and (Path(runs) / target).exists()):
        return None
    if port:
        return f"there is no folder '{target}'", f"write lrsearch serve --port {target}"
    if printed:
        line = f"lrsearch {ctx.info_name} --{printed[0]} > {quote(target)}"
        return f"there is no run '{target}'", f"write {line}"
    line = _with_option(command, str(ctx.info_name), [], option, value or "")
    told = "--html writes a page" if page else f"{option} is an option"
    return f"there is no run '{target}': {told}", f"write {line}"


def _split(command: Any, args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments of a command, and its options, each with the value that it takes."""
    valued = {
        option
        for each in command.params
        if each.param_type_name == "option" and not each.is_flag
        for option in each.opts
    }
    given: list[str] = []
    options: list[str] = []
    for before, each in zip(("", *args), args, strict=False):
        (options if each.startswith("-") or before in valued else given).append(each)
    return given, options


def value_of(name: str, args: Sequence[str]) -> str | None:
    """The value that follows an option: `--lr=0.1`, `--lr 0.1`, `-j4`; None where there is none."""
    for index, each in enumerate(args):
        if each.startswith(f"{name}="):
            return each.partition("=")[2]
        if each == name:
            following = args[index + 1] if index + 1 < len(args) else "-"
            left = following.startswith("-") and not following[1:2].isdigit()
            return None if left or following.endswith((".yaml", ".yml")) else following
        if len(name) == 2 and each.startswith(name) and not each.startswith("--"):
            return each[2:]
    return None


def _word(part: Any) -> str:
    """An argument's name as the README has it: CONFIG, RUN."""
    word = str(part.name).upper().rstrip("_")
    return {"TARGET": "RUN", "TARGETS": "RUN RUN...", "PATH": "FILE"}.get(word, word)


def _doc(part: Any) -> str:
    text = str(getattr(part, "help", "") or "").rstrip(".")
    return text[:1].lower() + text[1:]


def list_specs() -> Iterator[str]:
    """A few files of the folder, and of its configs/, that look like specs: first those that train
    without a file or the user's leave."""
    found: list[str] = []
    for place in (Path(), Path("configs")):
        if not (place / "run.json").exists():
            ranked = sorted((_rank(path), str(path)) for path in place.glob("*.y*ml"))
            found += [name for rank, name in ranked if rank < len(_LIKE)]
    yield from found[:_LISTED]


def _rank(path: Path) -> int:
    """The rank of a file among specs, the likeliest first; the last is none."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_READ).decode("utf-8", "replace")
    except OSError:
        return len(_LIKE)
    asks = re.search(r"^(command|loop)\s*:|class_path|source\s*:", text, re.MULTILINE)
    found = [at for at, like in enumerate(_LIKE) if re.search(like, text, re.MULTILINE)]
    return max(min(found, default=len(_LIKE)), 1 if asks else 0)
