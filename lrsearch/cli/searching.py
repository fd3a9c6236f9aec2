"""The commands that train: grid, random and bayes share all but the strategy."""

from __future__ import annotations

import itertools
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Self

import typer

from lrsearch import forks, pulse
from lrsearch.cli import options
from lrsearch.cli.closing import ignore_closed_stdout, say
from lrsearch.cli.foreign import check_device
from lrsearch.duration import parse_time
from lrsearch.errors import RunLocked, UsageError, suggest
from lrsearch.executors.port import Executor
from lrsearch.terminal import command_line, path_word, quote

if TYPE_CHECKING:
    from lrsearch.spec import Spec
    from lrsearch.trial import Facts

ExecutorName = Annotated[
    str, typer.Option("--executor", help="local (worker processes) or inline (for debugging).")
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="solo (trials one by one), fused (side by side in one program) or auto (the faster).",
    ),
]
Lanes = Annotated[
    int | None,
    typer.Option(
        "--lanes",
        min=2,
        metavar="N",
        help="At most so many trials side by side in one program. Default: as many as pay.",
        show_default=False,
    ),
]
Fresh = Annotated[
    bool,
    typer.Option("--fresh", help="Set an old run of this name aside (renamed) and start anew."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be trained, and stop.")]
Yes = Annotated[bool, typer.Option("--yes", help="Run a grid of more than 100,000 points.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")]
Require = Annotated[
    str | None,
    typer.Option(
        "--require",
        metavar="CONDITION",
        help='Exit with 3 unless the best point meets it, such as "accuracy>=0.95".',
        show_default=False,
    ),
]
Trials = Annotated[
    int | None,
    typer.Option(
        "--trials",
        metavar="N",
        help="Points that random or bayes proposes, in place of the spec's.",
        show_default=False,
    ),
]
Time = Annotated[
    str | None,
    typer.Option(
        "--time",
        metavar="TIME",
        help="Begin no more trials after 90s, 30m or 1.5h; those that train are finished.",
        show_default=False,
    ),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Train trials again that failed before.")
]


@dataclass(frozen=True)
class Options:
    """What a command that trains was given."""

    config: Path
    set_: Sequence[str] | None
    trials: int | None
    time_: str | None
    runs: Path
    workers: int | None
    device: str
    executor: str
    engine: str
    lanes: int | None
    allow_import: Sequence[str] | None
    allow_command: bool
    fresh: bool
    retry_failed: bool
    yes: bool
    dry_run: bool
    require: str | None
    quiet: bool
    json: bool
    all_: bool

    def command(self, strategy: str) -> list[str]:
        """The command line that was given, and goes on with the search."""
        line = ["lrsearch", strategy, path_word(self.config)]
        for override in self.set_ or ():
            line += ["--set", override]
        for name in self.allow_import or ():
            line += ["--allow-import", name]
        for option, value, usual in (
            ("--trials", self.trials, None),
            ("--time", self.time_, None),
            ("--runs", self.runs, Path("runs")),
            ("--workers", self.workers, None),
            ("--device", self.device, "auto"),
            ("--executor", self.executor, "local"),
            ("--engine", self.engine, "auto"),
            ("--lanes", self.lanes, None),
            ("--require", self.require, None),
        ):
            if value != usual:
                line += [option, str(value)]
        flags = {
            "--allow-command": self.allow_command,
            "--retry-failed": self.retry_failed,
            "--yes": self.yes,
            "--quiet": self.quiet,
            "--json": self.json,
            "--all": self.all_,
            "--fresh": self.fresh,
        }
        return line + [flag for flag, on in flags.items() if on]


def make_command(strategy: str) -> Callable[..., None]:
    """The command of a strategy."""

    def command(
        config: options.Config,
        set_: options.Set = None,
        trials: Trials = None,
        time_: Time = None,
        runs: options.Runs = Path("runs"),
        workers: options.Workers = None,
        device: options.Device = "auto",
        executor: ExecutorName = "local",
        engine: Engine = "auto",
        lanes: Lanes = None,
        allow_import: options.AllowImport = None,
        allow_command: options.AllowCommand = False,
        fresh: Fresh = False,
        retry_failed: RetryFailed = False,
        yes: Yes = False,
        dry_run: DryRun = False,
        require: Require = None,
        quiet: Quiet = False,
        json: options.Json = False,
        all_: options.All = False,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name != "strategy"}
        _search(strategy, Options(**arguments))

    return command


def _overrides(strategy: str, given: Options) -> list[str]:
    """The spec's overrides, `--trials` among them. Raises UsageError where it makes no sense."""
    overrides = list(given.set_ or ())
    if given.trials is None:
        return overrides
    if strategy == "grid":
        raise UsageError(
            "a grid trains every one of its points",
            where="--trials",
            hint="points: in a range says how many it has (--set search.lr.points=5); "
            f"or: lrsearch random {quote(path_word(given.config))} --trials {given.trials}",
        )
    return [*overrides, f"{strategy}.trials={given.trials}"]


def _time_limit(given: Options) -> float | None:
    """The seconds of `--time`. Raises UsageError for what is no time."""
    if given.time_ is None:
        return None
    try:
        return parse_time(given.time_)
    except ValueError as error:
        raise UsageError(f"'{given.time_}' is no time", where="--time", hint=str(error)) from None


def _search(strategy: str, given: Options) -> None:
    from lrsearch.analysis.requirement import parse_requirement
    from lrsearch.catalogue import METRICS
    from lrsearch.cli import consent
    from lrsearch.cli.looking import read_and_look
    from lrsearch.cli.output import (
        check_metric,
        meet,
        read_result,
        show_result,
    )
    from lrsearch.reports.live import Progress
    from lrsearch.search import check_search, count_trials
    from lrsearch.store import Run, is_locked, read
    from lrsearch.store import fresh as set_aside
    from lrsearch.trial import Workplace
    from lrsearch.tuner.ledger import find_settled
    from lrsearch.tuner.loop import tune
    from lrsearch.tuner.plans import ENGINES
    from lrsearch.tuner.preparing import prepare

    begun = time.monotonic()
    if given.engine not in ENGINES:
        hint = suggest(given.engine, ENGINES)
        raise UsageError(f"unknown engine '{given.engine}'", where="--engine", hint=hint)
    if given.engine == "solo" and given.lanes is not None:
        raise UsageError(
            "the solo engine has no lanes",
            where="--lanes",
            hint="leave it out, or use --engine fused or auto",
        )
    limit = _time_limit(given)
    check_device(given.device)
    spec = read_and_look(given.config, _overrides(strategy, given))
    metrics = (*METRICS, *(spec.train["metrics"] or ())) if spec.own is None else None
    if spec.own is None and spec.train["step"] is not None:
        metrics = None  # Its evaluate says which.
    requirement = parse_requirement(given.require, metrics) if given.require is not None else None
    if requirement is not None and spec.task is not None:
        check_metric(requirement, spec)
    if spec.own is not None and (given.engine == "fused" or given.lanes is not None):
        raise UsageError(
            f"the trials of a {spec.own.kind} train one by one, each in a process of its own",
            where="--lanes" if given.lanes is not None else "--engine",
            hint="leave it out; --workers says how many train at once",
        )
    allowed = consent.allowed_imports(spec, given.allow_import)
    if not given.dry_run:
        consent.allow_command(spec, given.allow_command)
    check_search(strategy, spec, large=given.yes)
    folder = given.runs / spec.name
    if is_locked(folder):
        raise RunLocked(
            f"another lrsearch is writing {folder}",
            hint=f"watch it with: lrsearch report {quote(path_word(given.config))}",
        )
    workplace = Workplace(given.device, str(spec.folder), allowed)
    again = given.command(strategy)
    progress = Progress(quiet=given.quiet)
    for note in spec.notes:
        progress.note(note)
    with _Interruptible() as interruptible, ExitStack() as closing, progress:
        try:
            place = closing.enter_context(
                make_executor(given.executor, given.workers, given.device)
            )
            progress.start(first_words(spec, place))
            stored = None
            if not given.fresh and (folder / "run.json").exists():
                stored = read(folder)
            held = find_settled(stored) if stored is not None else {}
            trials = count_trials(strategy, spec)
            facts = prepare(spec, place, workplace, trials=trials, held=held, note=progress.note)
            for note in filter(None, (facts.data, *facts.notes)):
                progress.note(note)
            if requirement is not None:
                check_metric(requirement, spec, facts.task)
            if given.dry_run:
                from lrsearch.cli.planning import show_plan

                progress.close()
                show_plan(spec, strategy, facts, folder, retry_failed=given.retry_failed)
                return
            if given.device == "auto" and given.executor == "local" and not given.workers:
                place, device = suit(place, closing, facts)
                workplace = replace(workplace, device=device)
            if given.fresh and (old := set_aside(given.runs, spec.name)):
                progress.note(f"the old run is now {old}")
            # From here on what resumes this search must not set it aside.
            again = [part for part in again if part != "--fresh"]
            waiting = interruptible.deferred(inline=given.executor == "inline")
            with (
                Run.open(given.runs, spec.name, spec_text=spec.text, known=stored) as run,
                waiting,
            ):
                tune(
                    spec,
                    strategy,
                    run=run,
                    executor=place,
                    facts=facts,
                    workplace=workplace,
                    watcher=progress,
                    retry_failed=given.retry_failed,
                    engine=given.engine,
                    lanes=given.lanes,
                    begun=begun,
                    command=again,
                    time_limit=limit,
                )
        except KeyboardInterrupt:
            progress.close()
            say("interrupted: every finished trial is kept; go on with\n  " + command_line(again))
            raise typer.Exit(130) from None
    view = read_result(folder, run.history)
    with ignore_closed_stdout():
        show_result(view, json=given.json, all_rows=given.all_)
    meet(view, requirement)


def first_words(spec: Spec, place: Executor) -> str:
    """What happens before a first trial, in words."""
    from lrsearch.reports.text import count

    what = "loading the data, building the model"
    if spec.own is not None:
        what = f"looking at the {spec.own.kind}"
    return f"starting {count(place.capacity, 'worker')}, {what}"


def suit(
    place: Executor, closing: ExitStack, facts: Facts, gpus: Sequence[str] | None = None
) -> tuple[Executor, str]:
    """Workers for the device that `auto` has come to, and its name for them: others than `place`
    where torch found another device than `gpus`, those that were seen without it."""
    from lrsearch.executors.local import Local

    found, seen = facts.device.partition(":")[0], find_gpus() if gpus is None else gpus
    if (found == "cpu") != bool(seen):
        return place, "auto"
    place.close()
    if found == "cpu":  # There are GPUs that this torch cannot use: the cores do the work.
        return closing.enter_context(Local(_count_cores(), environment=NO_GPU)), "cpu"
    count = sum(each.partition(":")[0] == found for each in facts.devices)
    each = [{VISIBLE: str(index)} for index in range(count if found == "cuda" else 0)]
    return closing.enter_context(Local(max(1, count), each=each)), "auto"


def make_executor(
    name: str, workers: int | None, device: str, gpus: Sequence[str] | None = None
) -> Executor:
    """The executor of that name; `gpus` are those there are, where not `find_gpus` says it. Raises
    UsageError for another name."""
    if name == "inline":
        from lrsearch.executors.inline import Inline

        return Inline()
    if name != "local":
        raise UsageError(f"unknown executor '{name}'", where="--executor", hint="local or inline")
    from lrsearch.executors.local import Local

    if device == "cpu":
        return Local(workers or _count_cores(), environment=NO_GPU)
    if device not in ("auto", "cuda"):
        return Local(workers or 1)
    seen = find_gpus() if gpus is None else gpus
    if not seen:
        return Local(workers or (_count_cores() if device == "auto" else 1))
    # One worker a GPU, which sees that one alone.
    return Local(workers or len(seen), each=[{VISIBLE: gpu} for gpu in seen])


VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that says which GPUs a process may see, by their numbers or names."""

NO_GPU = {VISIBLE: ""}
"""The environment of a worker for the CPU: no code in it finds a GPU."""


def find_gpus(nodes: Path = Path("/dev"), environment: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs a worker may be given, as `VISIBLE` names them, found without torch: by that
    variable where it is set, or by the device nodes in a folder.

    Nodes are only counted. They have the numbers of the machine, while CUDA counts what a process
    sees: in a container whose one GPU is /dev/nvidia5 that is number 0.
    """
    count = sum(1 for _ in nodes.glob("nvidia[0-9]*"))
    if not count and (nodes / "dxg").exists():  # In WSL there are no others; one is sure.
        count = 1
    visible = environment.get(VISIBLE)
    if visible is None:
        return [str(index) for index in range(count)]

    def exists(name: str) -> bool:
        return (
            bool(name)
            and not name.startswith("-")
            and not (count and name.isdigit() and int(name) >= count)
        )

    # As CUDA reads it: what comes behind an entry that is none is not seen.
    names = itertools.takewhile(exists, (part.strip() for part in visible.split(",")))
    return list(dict.fromkeys(names))


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


TWICE = 2.0
"""Seconds in which a second SIGTERM is the first once more: who ends a job may signal a process,
and then its whole group."""


class _Interruptible:
    """SIGTERM is taken like Ctrl-C: what is under way is left at once, or handed over first, within
    `deferred`. After the first of either, the next one kills. The end of the terminal ends no
    search, nor does it those who are started within."""

    def __init__(self) -> None:
        self._deferred = self._inline = False
        self._waits: dict[int, float] = {}
        self._first = math.inf

    def __enter__(self) -> Self:
        self._before = {
            number: forks.handle(number, self._interrupt)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self

    @contextmanager
    def deferred(self, *, inline: bool) -> Iterator[None]:
        """Have a signal ask for leave (`pulse.ask`) and raise nothing. A job of this process, which
        nobody asks, is left at once where it trains nothing yet, and within a step that takes
        longer than workers are waited for."""
        from lrsearch.tuner.loop import PATIENCE, SHORT

        self._waits = {signal.SIGTERM: PATIENCE, signal.SIGINT: SHORT}
        self._deferred, self._inline = True, inline
        before = signal.getsignal(signal.SIGALRM)
        try:
            yield
        finally:
            self._deferred = False
            if inline and self._first < math.inf:
                signal.setitimer(signal.ITIMER_REAL, 0.0)
                signal.signal(signal.SIGALRM, before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now > self._first:
            if number == signal.SIGTERM and now - self._first < TWICE:
                return
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._first = now
        pulse.ask(patient=number == signal.SIGTERM)
        if not self._deferred or (self._inline and pulse.activity() != pulse.TRAINING):
            raise KeyboardInterrupt
        if self._inline:
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, self._waits[number])

    def __exit__(self, *_: object) -> None:
        pulse.stay()
        for number, handler in self._before.items():
            signal.signal(number, handler)
