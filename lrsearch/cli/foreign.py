"""Commands and options by the names that other tools give them: answered with lrsearch's own."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from lrsearch import catalogue, duration
from lrsearch.cli.closing import say
from lrsearch.cli.places import USUAL_RUNS
from lrsearch.cli.slips import DASHES, explain_slip, explain_target, value_of
from lrsearch.errors import LrsearchError, UsageError, nearest, suggest
from lrsearch.terminal import command_line, guarded_streams, quote, visible_line

_COMMANDS = {
    word: meant
    for meant, words in (
        (
            "bayes",
            "run search optimize optimise sweep tune train fit start hpo agent go launch minimize "
            "maximize experiment study trial trials",
        ),
        (
            "report",
            "results result status best summary view print analyze analyse stats top",
        ),
        ("list", "ls runs studies experiments history"),
        ("compare", "diff versus vs contrast"),
        ("serve", "dashboard server ui web webui gui monitor watch follow live browse http"),
        ("check", "validate lint verify test parse doctor"),
        ("show", "plot draw describe space curve curves"),
        ("init", "new create template quickstart setup example"),
        ("schedules", "scheduler schedule lr_scheduler schedulers"),
        ("range", "lr_find find_lr lr_finder lrfind lr_range_test range_test finder"),
        ("refine", "zoom narrow refinement"),
        ("export", "save dump"),
        ("repair", "fix recover"),
    )
    for word in words.split()
}
_FILES = ("c", "f", "config", "spec", "file", "cfg", "yaml", "config_file", "config_path", "conf")
_TIMES = (
    *("timeout", "max_time", "time_limit", "time_budget", "time_budget_s", "max_duration"),
    *("wall_time", "walltime", "max_runtime", "duration", "max_seconds"),
)
_FRESH = (
    *("restart", "overwrite", "force", "clean", "reset", "new", "no_resume", "clear"),
    *("no_cache", "ignore_cache", "disable_cache", "no_reuse", "from_scratch"),
)
_DELETING = ("delete", "rm", "remove", "del", "drop", "clean", "purge", "destroy")
_HOSTS = ("host", "bind", "bind_all", "address", "server_address", "ip", "listen", "share")
_ALONE = ("resume", "continue", "restore", "verbose", "v", "debug", "progress", "log_level")


class Group(TyperGroup):
    """The group of commands; a command by another tool's name is answered with its name here. All
    that commands print passes through `lrsearch.terminal.visible`."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line, as in Click."""
        with guarded_streams():
            return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Make Click's context."""
        with _visible_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Call the command, as in Click."""
        with _visible_errors():
            return super().invoke(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what stands before the command, as in Click, with an error of lrsearch's for an
        option."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # Typer brings its own copy of Click, or not.
            name = getattr(error, "option_name", "")
            if type(error).__name__ != "NoSuchOption" or not name:
                raise
            place = next((n for n, each in enumerate(given) if each in self.commands), None)
            if place is not None and name.lower() not in ("-v", "--ver"):
                moved = [*given[:place], *given[place + 1 :]]
                hint = f"options stand behind the command: {_line(given[place], moved)}"
            else:
                # Of -help Click names the second letter.
                name = next((each for each in given if each[:2] == "-h"), name)
                meant = "--version" if name.lower() in ("-v", "--ver") else ""
                hint = f"write lrsearch {meant or nearest(name, ('--version',)) or '--help'}"
            _refuse(f"there is no option {name}", hint)
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, as in Click, with an error of lrsearch's for another tool's name."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            known = self.list_commands(ctx)
            hint = command_hint(name, args[1:], known) or suggest(name, known)
            _refuse(f"there is no command '{name}'", hint)
        return super().resolve_command(ctx, args)


class Command(TyperCommand):
    """A command; an option by another tool's name is answered with its name here."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, as in Click, with an error of lrsearch's for another tool's name."""
        given = list(args)
        try:
            left = super().parse_args(ctx, args)
        except Exception as error:  # Typer brings its own copy of Click, or not.
            if slip := explain_slip(error, ctx, self, given):
                _refuse(*slip)
            name = getattr(error, "option_name", "")
            if type(error).__name__ != "NoSuchOption" or not name:
                raise
            known = {option for part in self.params for option in part.opts}
            name, hint = _find_long(name, given, known)
            text = value_of(name, given)
            hint = hint or option_hint(name, text, given, str(ctx.info_name), known)
            # --trial N is an option of the report, and here the number of trials.
            hint = hint or (f"did you mean {name}s?" if f"{name}s" in known else _elsewhere(name))
            hint = hint or _mistyped(name, text, given, str(ctx.info_name), known)
            hint = hint or f"lrsearch {ctx.info_name} --help lists the options"
            _refuse(f"there is no option {name}", hint.strip())
            raise
        if slip := explain_target(ctx, self):
            _refuse(*slip)
        return left


RAW = "--csv-raw"
"""`--csv raw`, as one word."""


class Report(Command):
    """A command with the option `--csv raw`. An option of Click's with an optional value would take
    the run that follows `--csv` for it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, as in Click."""
        end = args.index("--") if "--" in args else len(args)
        for place, word in reversed(list(enumerate(args[:end]))):
            if word == "--csv=raw":
                args = [*args[:place], RAW, *args[place + 1 :]]
            elif word == "--csv" and args[place + 1 : place + 2] == ["raw"]:
                args = [*args[:place], RAW, *args[place + 2 :]]
        return super().parse_args(ctx, args)


@contextlib.contextmanager
def _visible_errors() -> Iterator[None]:
    """Make an error of Click's, which Typer shows in a box, quote in `visible` words."""
    try:
        yield
    except Exception as error:  # Typer brings its own copy of Click, or not.
        if callable(of := getattr(error, "format_message", None)):
            text = visible_line(of())
            error.format_message = lambda: text  # type: ignore[attr-defined]
        raise


def _refuse(message: str, hint: str) -> None:
    say(f"error: {visible_line(message)}\n  {hint}")
    raise typer.Exit(2)


def command_hint(name: str, rest: Sequence[str], known: Sequence[str]) -> str:
    """The command to write in place of another tool's, "" where the name is unknown."""
    from lrsearch.spec.foreign.names import snake
    from lrsearch.spec.foreign.words import STRATEGY_NAMES

    word = snake(name) if not name.endswith((".yaml", ".yml")) else name
    if name.endswith((".yaml", ".yml")):
        first, equals, inner = name.partition("=")
        if equals and first in known:  # grid=a.yaml
            return f"write {_line(first, [inner, *rest])}"
        if rest and rest[0] in known:  # a.yaml grid
            return f"write {_line(rest[0], [name, *rest[1:]])}"
        rest, meant = [name, *rest], "bayes"
    elif word in ("resume", "continue"):
        return f"the same command goes on: write {_line('bayes', rest)} (or grid, or random)"
    elif word in ("trial", "trials") and len(rest) == 2 and rest[1].isdigit():
        return f"write {_line('report', [rest[0], '--trial', rest[1]])}"
    elif word == "help" and rest and rest[0] in known:
        return f"write lrsearch {rest[0]} --help"
    elif word in ("version", "help"):
        return f"write lrsearch --{word}"
    elif word in _DELETING:
        folder = USUAL_RUNS / (rest[0] if rest and rest[0][:1] != "-" else "NAME")
        return f"a run is its folder, and goes with it: rm -r {quote(str(folder))}"
    else:
        meant = STRATEGY_NAMES.get(word) or _COMMANDS.get(word, "")
    if not meant or meant not in known:
        return ""
    if not rest and meant in ("bayes", "check", "show", "range", "refine"):
        rest = ["CONFIG"]
    also = "; grid and random are the other strategies" if meant == "bayes" else ""
    return f"write {_line(meant, rest)}{also}"


def _line(command: str, rest: Sequence[str]) -> str:
    return command_line(["lrsearch", command, *rest])


def _find_long(name: str, args: Sequence[str], known: set[str]) -> tuple[str, str]:
    """The option that was given, where Click names the first letter of one with a hyphen too few,
    and what to write."""
    for each in args:
        sign = DASHES.match(each)
        option = f"--{each[sign.end() :].partition('=')[0]}" if sign and each[:2] != "--" else ""
        if re.fullmatch(r"--[a-z][a-z-]+", option) and option in {*known, "--help"}:
            return each.partition("=")[0], f"write {option}, with two hyphens"
    return name, ""


_OF_REPORT = {
    **dict.fromkeys(("output", "o", "out", "save", "to"), "write {line} {form} {file}"),
    **dict.fromkeys(("plot", "figure", "graph", "page"), "write {line} --html report.html"),
    **dict.fromkeys(("best", "winner"), "the best stands first: write {line}"),
    **dict.fromkeys(("a", "full", "everything"), "write {line} --all"),
    **dict.fromkeys(
        ("limit", "top", "n", "head", "max_rows", "rows"),
        "the best points are shown, and --all shows every one: write {line}",
    ),
    **dict.fromkeys(("verbose", "v", "details"), "write {line} --all"),
    **dict.fromkeys(("desc", "descending", "reverse"), "write {line} --sort -lr"),
    **dict.fromkeys(("filter", "query", "select"), "write {line} --where 'lr > 1e-3'"),
}
"""Options of other tools for reports, with what to write."""
_PRINTED = {"html": "--html", "htm": "--html", "json": "--json >", "md": "--markdown >"}
"""Options of a report that write a file of an ending."""

_NO_PRUNING = ("no_prune", "no_pruning", "no_early_stopping", "no_pruner", "disable_pruning")


whole: Callable[[], typer.Typer] = typer.Typer
"""Makes the whole command line: `tree`, which makes its commands of the classes here, puts it
here."""


def _elsewhere(name: str) -> str:
    """A sentence with the commands that have this option; "" where none has."""
    group: Any = typer.main.get_command(whole())
    found = [
        each
        for each, command in group.commands.items()
        if any(name in part.opts for part in command.params if not getattr(part, "hidden", False))
    ]
    return f"it is an option of lrsearch {', '.join(found)}" if found else ""


def _mistyped(
    name: str, text: str | None, args: Sequence[str], command: str, known: set[str]
) -> str:
    """The option, or the key of a spec, that a mistyped option was to be; "" where none is near."""
    # Their hyphens are alike in all.
    word = _bare(name)
    options = {_bare(option): option for option in sorted(known)}
    keys = _spec_words(dotted="." in word) if "--set" in known else []
    meant = nearest(word, [*options, *keys])
    if meant is None or meant in options:
        return f"did you mean {options[meant]}?" if meant else ""
    return option_hint(f"--{meant}", text, args, command, known)


def _bare(option: str) -> str:
    return option.lstrip("-").lower().replace("-", "_")


def _spec_words(*, dotted: bool) -> list[str]:
    """Words for the keys of a spec, lrsearch's own before those of other tools; the paths of those
    that stand in a mapping where `dotted`."""
    from lrsearch.spec.foreign import words
    from lrsearch.spec.reader import TOP_LEVEL

    sections: Mapping[str, Iterable[str]] = {
        **catalogue.SETTINGS,
        "train": [*catalogue.TRAIN, "optimizer", "schedule", "warmup"],
    }
    paths = [f"{head}.{key}" for head, settings in sections.items() for key in settings]
    if dotted:
        return [*paths, *words.HOMES.values()]
    own = [key for settings in sections.values() for key in settings]
    others = [*words.HOMES, *words.WORDS, *words.WORKER_WORDS, *words.DEVICE_WORDS]
    return [*TOP_LEVEL, *own, *paths, *(each for each in others if len(each) > 1)]


def option_hint(
    name: str, text: str | None, args: Sequence[str], command: str, known: set[str]
) -> str:
    """The option to write in place of another tool's, with the value that it was given, if any;
    "" where the name is unknown, or the command has no such option."""
    if "--set" in known and re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*=.+", text or ""):  # -D seeds=3
        return f"write --set {quote(text or '')}"
    if command == "init" and _bare(name) in ("template", "type", "kind", "preset", "example"):
        return f"write --from {quote(text or 'mlp')}"
    hint = _find_hint(name, text, args, command, known)
    option = re.match(r"write (--[a-z-]+)", hint)
    return hint if option is None or option[1] in known else ""


def _find_hint(
    name: str, text: str | None, args: Sequence[str], command: str, known: set[str]
) -> str:
    from lrsearch.spec.foreign import words
    from lrsearch.spec.foreign.names import snake

    word, value = snake(name.lstrip("-")), _read(text)
    config = next((each for each in args if each.endswith((".yaml", ".yml"))), None)
    if word in _FILES:
        return f"write the file alone: lrsearch {command} {quote(text or config or 'CONFIG')}"
    if word in ("format", "output_format", "fmt") and f"--{str(text).lower()}" in known:
        option = f"--{str(text).lower()}"
        return f"write {option}{' report.html' if option == '--html' else ''}"
    if command == "serve" and word in _HOSTS:
        return (
            "this machine alone is served: what is shown is nobody else's; from another machine "
            "write there\n  ssh -L 8080:127.0.0.1:PORT THIS_MACHINE\n  and open the address with "
            "localhost:8080 in place of 127.0.0.1:PORT"
        )
    if command == "serve" and word in words.FOLDER_WORDS:
        return f"write lrsearch serve {quote(text or 'RUNS')}"
    if command == "report" and word in _OF_REPORT:
        given = [each for each in args if each[:1] != "-"]
        line = command_line(["lrsearch", "report", *given[:1]])
        file = text or "report.csv"
        form = _PRINTED.get(file.rpartition(".")[2], "--csv >")
        return _OF_REPORT[word].format(line=line, form=form, file=quote(file))
    if "--set" not in known:
        return ""
    if own := _own_key(command, word, value, text):
        return own
    if word == "n" or words.means(word) == "bayes.trials":
        many = value if type(value) is int else "N"
        if command == "grid":
            return "a grid trains all of its points: write points under search, or lrsearch random"
        if "--trials" in known:
            return f"write --trials {many}"
        return f"write --set bayes.trials={many}, or random.trials={many}"
    if word in _TIMES and "--time" in known:
        return f"write --time {_time(text)}"
    if word in _NO_PRUNING:
        return "write --set prune=none"
    if setting := _setting(command, _bare(name), value, text):
        return setting
    if word in ("j", "np", "p") or word in words.WORKER_WORDS or (word, type(value)) == ("w", int):
        return f"write --workers {value if type(value) is int else 'N'}"
    if word in words.DEVICE_WORDS:
        meant = words.device_of(word, value)
        plain = isinstance(value, str) and words.is_device(value)
        return f"write --device {meant or (value if plain else 'cpu, cuda or mps')}"
    if word == "o" or word in words.FOLDER_WORDS:
        return f"write --runs {quote(text or 'DIR')}"
    if word in _FRESH:
        return "write --fresh: it sets the old run aside and starts anew"
    if word in ("dry", "dryrun", "simulate", "plan"):
        return "write --dry-run"
    if word in _ALONE:
        return "leave it out: the same command goes on from where it was, and shows its progress"
    return _spec_hint(word, value, config)


_SCHEDULES = catalogue.SCHEDULES.values()


def _read(text: str | None) -> Any:
    """The value of an option, true where it has none."""
    from lrsearch.spec.document import parse, plain_scalar

    if text is not None and text[:1] in ("[", "{"):
        with contextlib.suppress(LrsearchError):
            return parse(text, "").data
    return plain_scalar(text) if text is not None else True


def _spec_hint(word: str, value: Any, config: str | None) -> str:
    """The override for a word of any tool that has a meaning in the spec, "" for one without."""
    from lrsearch.spec.foreign.advice import advise
    from lrsearch.spec.foreign.lines import show_advice
    from lrsearch.spec.foreign.translation import fixed_lines, model_argument
    from lrsearch.spec.outside import is_outside

    top = _document(config)
    outside = is_outside(top)
    found = advise((word,), value, top, outside=outside, source=config or "CONFIG")
    if found is None and not outside and (argument := model_argument(word, top)):
        found = fixed_lines((word,), f"model.{argument}", "", value, top)
    return show_advice(found, (word,), option=True)


def _own_key(command: str, word: str, value: Any, text: str | None) -> str:
    """The option, or the setting, for a key of the spec's or an end of a range, "" for others."""
    from lrsearch.spec.foreign.advice import SAMPLERS
    from lrsearch.spec.foreign.ranges import HIGH, LOW

    if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+=.+", text or ""):  # --override train.lr=0.1, -s ...
        return f"write --set {quote(text or '')}"
    if command == "schedules" and any(word in each.parameters for each in _SCHEDULES):
        return f"write --set {quote(f'{word}={text or 0.1}')}"
    if word == "sampler" and command == "bayes" and value not in SAMPLERS:
        return f"write --set bayes.model={'gp' if value == 'gp' else 'tpe'}"
    ends = {**dict.fromkeys(LOW, "--min"), **dict.fromkeys(HIGH, "--max")}
    if command == "range" and word in ends:
        return f"write {ends[word]} {text or '1e-5'}"
    if word == "rounds":
        return f"write --set refine.rounds={value if type(value) is int and value > 0 else 3}"
    if word in ("name", "seeds", "seed", "max_failures") and text:
        return f"write --set {quote(f'{word}={text}')}"
    return ""


def _setting(command: str, word: str, value: Any, text: str | None) -> str:
    """The override for a key of a strategy's settings, or of the top level, that has no meaning
    elsewhere: `model` of bayes is a model of the data's, unless its value says otherwise."""
    from lrsearch.spec.foreign.words import means
    from lrsearch.spec.reader import TOP_LEVEL

    given = "VALUE" if text is None else text
    head, _, rest = word.rpartition(".")
    known = catalogue.SETTINGS
    if rest in known and not head:  # The number that matters most: confirm: {top: 4}.
        inner = next((key for key, each in known[rest].items() if value in each.choices), None)
        return f"write --set {quote(f'{rest}.{inner or next(iter(known[rest]))}={given}')}"
    rest = "model" if means(rest) == "model" else rest
    for place in (head,) if head else dict.fromkeys((command, *known)):
        setting = known.get(place, {}).get(rest)
        chosen = setting is not None and value in setting.choices
        if setting is not None and (chosen or head or rest not in ("model", "start", "trials")):
            return f"write --set {quote(f'{place}.{rest}={given}')}"
    if word in TOP_LEVEL and (text is None or word in ("prune", "verify")):
        return f"write --set {quote(f'{word}={given}')}"
    if text is None and rest in catalogue.TRAIN and head in ("", "train"):
        return f"write --set train.{rest}=VALUE"
    return ""


def _time(text: str | None) -> str:
    """A time as Optuna and Ray give it, in seconds, or Lightning, as DD:HH:MM:SS, or in words; an
    example of one for any other text."""
    try:
        found = duration.find_time(text)
        duration.parse_time(found)
    except ValueError:
        return "30m, or another time"
    return found


def _document(config: str | None) -> Mapping[str, Any]:
    from lrsearch.spec import read_text
    from lrsearch.spec.document import read_document

    with contextlib.suppress(LrsearchError):
        data = read_document(read_text(Path(config or "")), str(config)).data
        return data if isinstance(data, Mapping) else {}
    return {}


def check_device(name: str) -> None:
    """Raises UsageError for a text that names no device, such as a word of another tool."""
    from lrsearch.spec.foreign.words import device, is_device

    lower = name.lower().strip()
    meant = lower if is_device(lower) else device(name)
    if is_device(name) and meant in (None, name):
        return
    hint = f"write --device {meant}" if meant else suggest(name, DEVICES)
    raise UsageError(f"unknown device '{name}'", where="--device", hint=hint)


DEVICES = ("auto", "cpu", "cuda", "cuda:0", "mps")
