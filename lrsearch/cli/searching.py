"""The commands that train: grid, random, bayes and refine differ in their strategy alone."""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrsearch.cli import options
from lrsearch.cli.closing import ignore_closed_stdout, say
from lrsearch.cli.executors import first_words, make_executor, suit
from lrsearch.cli.foreign import check_device
from lrsearch.cli.going_on import name_run, searching_first
from lrsearch.cli.interruptible import Interruptible
from lrsearch.duration import find_time, is_never, parse_time
from lrsearch.errors import RunError, RunLocked, UsageError, suggest
from lrsearch.terminal import command_line, path_word, quote
from lrsearch.trial import CONFIRM

if TYPE_CHECKING:
    from lrsearch.analysis.requirement import Requirement
    from lrsearch.executors.port import Executor
    from lrsearch.reports.live import Progress
    from lrsearch.spec import Spec
    from lrsearch.store import History
    from lrsearch.trial import Facts, Workplace
    from lrsearch.tuner.session import Asked

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
    options.unset(
        "--lanes",
        "N",
        "At most so many trials side by side in one program. Default: as many as pay.",
        min=2,
    ),
]
Fresh = Annotated[
    bool,
    typer.Option("--fresh", help="Set an old run of this name aside (renamed) and start anew."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be trained, and stop.")]
Yes = Annotated[bool, typer.Option("--yes", help="Run a grid of more than 100,000 points.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")]
Trials = Annotated[
    int | None,
    options.unset(
        "--trials", "N", "Points that random or bayes proposes, in place of the spec's.", min=1
    ),
]
Time = Annotated[
    str | None,
    options.unset(
        "--time",
        "TIME",
        "Begin no more trials after 90s, 30m or 1.5h; those that train are finished.",
    ),
]
Until = Annotated[
    str | None,
    options.unset(
        "--until",
        "CONDITION",
        'Begin no more trials once a point meets it, such as "accuracy>=0.98".',
    ),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Train trials again that failed before.")
]
NoShare = Annotated[
    bool,
    typer.Option(
        "--no-share", help="Train each trial by itself, also the steps that trials have in common."
    ),
]
Top = Annotated[
    int | None,
    options.unset(
        "--top", "N", "Points that are measured again, in place of the spec's (4).", min=1
    ),
]
Seeds = Annotated[
    int | None,
    options.unset(
        "--seeds", "N", "Fresh seeds of each at most, in place of the spec's (5).", min=1
    ),
]
ResumePruned = Annotated[
    bool,
    typer.Option("--resume-pruned", help="Train trials to their end that were stopped early."),
]


# options


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a command that trains, each declared as Typer takes it."""

    config: options.Config
    set_: options.Set = None
    trials: Trials = None
    time_: Time = None
    until: Until = None
    runs: options.Runs = options.USUAL_RUNS
    workers: options.Workers = None
    device: options.Device = "auto"
    executor: ExecutorName = "local"
    engine: Engine = "auto"
    lanes: Lanes = None
    allow_import: options.AllowImport = None
    allow_command: options.AllowCommand = False
    fresh: Fresh = False
    retry_failed: RetryFailed = False
    resume_pruned: ResumePruned = False
    no_share: NoShare = False
    yes: Yes = False
    dry_run: DryRun = False
    require: options.Require = None
    baseline: options.Baseline = None
    quiet: Quiet = False
    json: options.Json = False
    all_: options.All = False


@dataclass(frozen=True, kw_only=True)
class ConfirmOptions(Options):
    """The options of `confirm`, which takes none of `OF_A_SEARCH`."""

    top: Top = None
    seeds: Seeds = None


OF_A_SEARCH = ("trials", "until", "fresh", "resume_pruned", "yes")
"""Options on what a search proposes, or trains anew."""

_FIRST = ("config", "set_", "top", "seeds")
"""Options of `confirm` that its help has first."""


def repeated(name: str, given: Mapping[str, Any], context: typer.Context) -> list[str]:
    """The line of a command that goes on with what it began, by its arguments: as given, but
    without `--fresh`, which would set the run aside, and `--dry-run`."""
    lists: list[str] = []
    values: list[str] = []
    flags: list[str] = []
    for part in context.command.params:
        own = part.name or ""
        source = context.get_parameter_source(own)
        if source is None or source.name == "DEFAULT" or own in ("config", "fresh", "dry_run"):
            continue
        option, value = part.opts[0], given[own]
        if value is True:
            flags.append(option)
        elif isinstance(value, list):
            lists += [word for each in value for word in (option, each)]
        else:
            values += [option, str(value)]
    return ["lrsearch", name, path_word(given["config"]), *lists, *values, *flags]


def make_command(strategy: str) -> Callable[..., None]:
    """The command of a strategy, or `confirm`: its arguments are its options."""
    kind = ConfirmOptions if strategy == CONFIRM else Options

    def command(context: typer.Context, **arguments: Any) -> None:
        given = kind(**arguments)
        search(strategy, given, repeated(strategy, vars(given), context))

    declared = [*inspect.signature(kind, eval_str=True).parameters.values()]
    if kind is ConfirmOptions:
        kept = (each for each in declared if each.name not in OF_A_SEARCH)
        declared = sorted(kept, key=lambda each: each.name not in _FIRST)
    first = next(iter(inspect.signature(command).parameters.values()))
    command.__signature__ = inspect.Signature([first, *declared])  # type: ignore[attr-defined]
    return command


def _overrides(strategy: str, given: Options) -> list[str]:
    """The spec's overrides, `--trials` among them. Raises UsageError for `--trials` of a grid or a
    refinement."""
    overrides = list(given.set_ or ())
    if isinstance(given, ConfirmOptions):
        named = {"top": given.top, "seeds": given.seeds}
        return overrides + [f"confirm.{n}={value}" for n, value in named.items() if value]
    if given.trials is None:
        return overrides
    if strategy == "grid":
        raise UsageError(
            "a grid trains every one of its points",
            where="--trials",
            hint="points: in a range says how many it has (--set search.lr.points=5); "
            f"or: lrsearch random {quote(path_word(given.config))} --trials {given.trials}",
        )
    if strategy == "refine":
        raise UsageError(
            "a refinement goes in rounds",
            where="--trials",
            hint="say how many: --set refine.rounds=3",
        )
    return [*overrides, f"{strategy}.trials={given.trials}"]


def _time_limit(given: Options) -> float | None:
    """The seconds of `--time`. Raises UsageError for text that is no time."""
    if given.time_ is None:
        return None
    try:
        return parse_time(given.time_)
    except ValueError as error:
        hint, meant = str(error), "30m; for example"
    if is_never(given.time_):
        raise UsageError(f"'{given.time_}' is no time", where="--time", hint="leave it out")
    with contextlib.suppress(ValueError):
        parse_time(found := find_time(given.time_))
        meant = found
    hint = f"write --time {meant}; {hint}"
    raise UsageError(f"'{given.time_}' is no time", where="--time", hint=hint)


# the search


@dataclass(frozen=True)
class _Search:
    """A search as the user asked for it, checked as far as is possible without a worker."""

    strategy: str
    given: Options
    asked: Asked
    spec: Spec
    requirements: tuple[Requirement, ...]
    until: Requirement | None
    workplace: Workplace

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.given.runs / self.spec.name


@dataclass(frozen=True)
class _Begun:
    """The state of a search before its first trial: its workers, the facts that these found, the
    run that exists already, and the claim to open it."""

    executor: Executor
    workplace: Workplace
    facts: Facts
    stored: History | None
    starting: ExitStack


def search(strategy: str, given: Options, command: Sequence[str]) -> None:
    """Search, or confirm, and show the result. Exits with 130 after an interruption."""
    from lrsearch.cli.comparing import tell_apart
    from lrsearch.cli.output import meet, read_result, require_confirmed, show_result

    asked = _check(strategy, given, command)
    history: History | None = None
    try:
        history = _run(asked, command)
        if history is None:
            return
        view = read_result(asked.folder, history)
        with ignore_closed_stdout():
            show_result(view, json=given.json, all_rows=given.all_)
    except KeyboardInterrupt:
        done = "all is done, and kept; show it with"
        told = ["lrsearch", "report", *name_run(asked.folder, asked.spec)]
        if history is None:
            done, told = "every finished trial is kept; go on with", [*command]
        say(f"interrupted: {done}\n  {command_line(told)}")
        raise typer.Exit(130) from None
    if given.baseline is not None:
        tell_apart(asked.folder, given.baseline, given.runs)
    meet(view, asked.requirements)
    if strategy == CONFIRM:
        require_confirmed(view)


def _was_told(asked: _Search) -> bool:
    """Whether a search of this very spec has told its notes, when it began."""
    given = asked.given
    try:
        first = (given.runs / asked.spec.name / "spec.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return first == asked.spec.text and not given.set_ and not given.fresh


def _run(asked: _Search, command: Sequence[str]) -> History | None:
    """Search, or confirm; None where it was only said what would be trained. Exits with 130 after
    an interruption."""
    from lrsearch.reports.live import Progress
    from lrsearch.spec.unusual import unusual_trials
    from lrsearch.store import fresh as set_aside
    from lrsearch.tuner.events import Left

    given, spec = asked.given, asked.spec
    again = [*command, "--fresh"] if given.fresh else command
    progress = Progress(quiet=given.quiet)
    meant = given.yes or given.time_ or given.until
    many = () if meant else unusual_trials(spec, asked.strategy)
    for note in () if _was_told(asked) else (*spec.notes, *many):
        progress.note(f"note: {note}")
    with Interruptible() as interruptible, ExitStack() as closing, progress:
        try:
            begun = _begin(asked, closing, progress)
            if given.dry_run:
                progress.close()
                _show_plan(asked, begun)
                return None
            if given.fresh and (old := set_aside(given.runs, spec.name)):
                progress.note(f"the old run is now {old}")
            # From here on the command that resumes this search must not set it aside.
            again = command
            return _train(asked, begun, progress, interruptible)
        except KeyboardInterrupt as interrupt:
            progress.close()
            if isinstance(interrupt, Left) and str(interrupt):
                say(str(interrupt))
            say(f"interrupted: every finished trial is kept; go on with\n  {command_line(again)}")
            raise typer.Exit(130) from None


def _show_plan(search: _Search, begun: _Begun) -> None:
    """Print what would be trained."""
    from lrsearch.cli.planning import show_confirming, show_plan
    from lrsearch.store import History

    show = show_confirming if search.strategy == CONFIRM else show_plan
    show(
        search.spec,
        search.strategy,
        begun.facts,
        search.folder,
        history=begun.stored or History(),
        retry_failed=search.given.retry_failed,
        resume_pruned=search.given.resume_pruned,
    )


def _check(strategy: str, given: Options, command: Sequence[str]) -> _Search:
    """Read the spec, and check it and the options against each other. Raises the user's errors in
    them, and RunLocked."""
    from lrsearch.analysis.requirement import check_bound, check_end, parse_requirement
    from lrsearch.catalogue import METRICS
    from lrsearch.cli import consent
    from lrsearch.cli.looking import read_and_look
    from lrsearch.cli.output import check_metric, read_requirements
    from lrsearch.search import check_search
    from lrsearch.store import holds_run, list_runs
    from lrsearch.trial import Workplace
    from lrsearch.tuner.session import Asked

    begun = time.monotonic()
    check_engine(given.engine, given.lanes)
    limit = _time_limit(given)
    check_device(given.device)
    spec = read_and_look(given.config, _overrides(strategy, given))
    metrics = None  # A step's evaluate says which, or a command, or a loop.
    if spec.kind is None and spec.train["step"] is None:
        metrics = (*METRICS, *(spec.train["metrics"] or ()))
    requirements = read_requirements(given.require, metrics, given.baseline, given.runs)
    for each in requirements:
        if spec.task is not None:
            check_metric(each, spec)
        own = metrics is None or each.metric in (spec.train["metrics"] or ())
        if not own and given.baseline is None:
            check_bound(each)
    until = None
    if given.until is not None:
        until = parse_requirement(given.until, metrics, option="--until")
        if spec.task is not None:
            check_end(until, spec.objective(spec.task), ours=_is_ours(spec))
    if spec.kind is not None and (given.engine == "fused" or given.lanes is not None):
        raise UsageError(
            f"the trials of a {spec.kind} train one by one, each in a process of its own",
            where="--lanes" if given.lanes is not None else "--engine",
            hint="leave it out; --workers says how many train at once",
        )
    asked_at = time.monotonic()
    allowed = consent.allowed_imports(spec, given.allow_import)
    if not given.dry_run:
        consent.allow_command(spec, given.allow_command)
    begun += time.monotonic() - asked_at  # A user's answer is awaited at no cost.
    folder = given.runs / spec.name
    if strategy != CONFIRM:
        check_search(strategy, spec, large=given.yes)
    elif not holds_run(folder):
        begin = f"begin with: {_search_first(given)}"
        raise RunError(
            f"nothing was searched with {given.config} yet: there is no run {folder}",
            hint=f"{begin}\n  {list_runs(given.runs, spec.name)}",
        )
    if strategy == "refine":
        _check_begun(given, folder)
    check_free(folder, given.config, written=not given.dry_run)
    workplace = Workplace(given.device, str(spec.folder), allowed)
    asked = Asked(
        engine=given.engine,
        lanes=given.lanes,
        retry_failed=given.retry_failed,
        resume_pruned=given.resume_pruned,
        command=command,
        begun=begun,
        time_limit=limit,
        until=until,
        share=not given.no_share,
    )
    return _Search(strategy, given, asked, spec, requirements, until, workplace)


def check_free(folder: Path, config: Path, *, written: bool = True) -> None:
    """Raises RunLocked where another process is writing a run; where it is to be `written`,
    RunError or StorageFull where it cannot be."""
    from lrsearch.store import check_writable, is_locked

    if is_locked(folder):
        raise RunLocked(
            f"another lrsearch is writing {folder}",
            hint=f"watch it with: lrsearch report {quote(path_word(config))}",
        )
    if written:
        check_writable(folder)


def _search_first(given: Options) -> str:
    """The command of a search that makes the run which is asked for: with the same overrides, in
    the same place."""
    allowed = [word for each in given.allow_import or () for word in ("--allow-import", each)]
    allowed += ["--allow-command"] if given.allow_command else []
    return searching_first(given.config, given.runs, given.set_ or (), allowed)


def _check_begun(given: Options, folder: Path) -> None:
    """Raises UsageError where there is no run to refine."""
    from lrsearch.store import holds_run

    if given.fresh:
        raise UsageError(
            "a refinement goes on with the run that --fresh sets aside",
            where="--fresh",
            hint=f"search anew first: {_search_first(given)} --fresh",
        )
    if not holds_run(folder):
        raise UsageError(
            f"there is nothing to refine: nothing was searched in {folder} yet",
            where=str(given.config),
            hint=f"search first: {_search_first(given)}",
        )


def check_engine(engine: str, lanes: int | None) -> None:
    """Raises UsageError for an unknown engine, and for `--lanes` with an engine without lanes."""
    from lrsearch.tuner.plans import ENGINES

    if engine not in ENGINES:
        raise UsageError(
            f"unknown engine '{engine}'", where="--engine", hint=suggest(engine, ENGINES)
        )
    if engine == "solo" and lanes is not None:
        raise UsageError(
            "the solo engine has no lanes",
            where="--lanes",
            hint="leave it out, or use --engine fused or auto",
        )


def _is_ours(spec: Spec) -> bool:
    """Whether the objective's metric is measured by lrsearch, whatever its name."""
    return spec.kind is None and spec.metric not in (spec.train["metrics"] or ())


def _begin(search: _Search, closing: ExitStack, progress: Progress) -> _Begun:
    """Start the workers and let them check the data and the models. Raises the errors of these."""
    from lrsearch.analysis.requirement import check_end
    from lrsearch.cli.output import check_metric
    from lrsearch.search import count_trials
    from lrsearch.store import claim, read
    from lrsearch.tuner.ledger import find_settled
    from lrsearch.tuner.preparing import prepare

    given, spec, workplace = search.given, search.spec, search.workplace
    starting = closing.enter_context(ExitStack())
    if not given.dry_run:
        starting.enter_context(claim(given.runs, spec.name))
    executor = closing.enter_context(make_executor(given.executor, given.workers, given.device))
    progress.start(first_words(spec, executor))
    stored = None
    if not given.fresh and (search.folder / "run.json").exists():
        stored = read(search.folder)
    held = find_settled(stored) if stored is not None else {}
    trials = 0
    if search.strategy != CONFIRM:
        trials = max(1, count_trials(search.strategy, spec))
    facts = prepare(spec, executor, workplace, trials=trials, held=held, note=progress.note)
    for note in filter(None, (facts.data, *(f"note: {each}" for each in facts.notes))):
        progress.note(note)
    for each in search.requirements:
        check_metric(each, spec, facts.task)
    if search.until is not None:
        check_end(search.until, spec.objective(facts.task), ours=_is_ours(spec))
    left = given.device == "auto" and given.executor == "local" and not given.workers
    if left and not given.dry_run:
        executor, device = suit(executor, closing, facts)
        workplace = replace(workplace, device=device)
    return _Begun(executor, workplace, facts, stored, starting)


def _train(
    search: _Search, begun: _Begun, progress: Progress, interruptible: Interruptible
) -> History:
    """Train the trials that the run lacks; returns its history then."""
    from lrsearch.cli.telling import told
    from lrsearch.store import Run
    from lrsearch.tuner.loop import tune

    given, spec = search.given, search.spec
    waiting = interruptible.deferred(inline=given.executor == "inline")
    with (
        Run.open(given.runs, spec.name, spec_text=spec.text, known=begun.stored) as run,
        told(run.folder, progress.news),
        waiting,
    ):
        begun.starting.close()
        tune(
            spec,
            search.strategy,
            run=run,
            executor=begun.executor,
            facts=begun.facts,
            workplace=begun.workplace,
            watcher=progress,
            asked=search.asked,
        )
    return run.history
