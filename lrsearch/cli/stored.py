"""A run folder as the commands that read it see it."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lrsearch.analysis.confirmation import Confirmation
from lrsearch.analysis.edges import Range
from lrsearch.analysis.groups import is_rate
from lrsearch.analysis.points import rank, summarize
from lrsearch.analysis.refining import find_rounds, pick
from lrsearch.analysis.repeatability import Curve, Repeatability, compare
from lrsearch.cli.costs import add_up, find_replaced, find_spent
from lrsearch.cli.diagnosing import complete, read_course
from lrsearch.cli.going_on import beginning, confirming, name_run, resuming, without
from lrsearch.cli.targets import find_run
from lrsearch.errors import LrsearchError, RunDamaged, RunError, UsageError
from lrsearch.reports.confirmation import SEED_UNUSED
from lrsearch.reports.listing import RunLine
from lrsearch.reports.ranges import RangeView, read_range
from lrsearch.reports.text import count
from lrsearch.reports.view import UNDER_WAY, Context, RunView, build_view, find_cost
from lrsearch.space import automatic
from lrsearch.spec.commandline import hears_seed
from lrsearch.spec.document import Document
from lrsearch.spec.model import Spec, settle_data
from lrsearch.spec.searched import find_searched
from lrsearch.spec.validate import validate
from lrsearch.store import (
    NO_SENSE,
    History,
    folders,
    holds_run,
    is_locked,
    last_written,
    read,
    saved_states,
)
from lrsearch.terminal import command_line
from lrsearch.trial import CONFIRM, Outcome, Plan, Record
from lrsearch.tuner.ledger import Content, Ledger, go_on, resuming_pruned, retrying
from lrsearch.tuner.notes import stored_tests

if TYPE_CHECKING:
    from lrsearch.analysis.answer import Answer
    from lrsearch.tuner.finding import Found

_ENDINGS = {
    **dict.fromkeys((None, "interrupted", "finished"), "was interrupted"),
    "TooManyFailures": "stopped, since too many trials failed",
}
"""Words for the end of a search that is not done, by the reason it was closed for, if no other
error ended it."""


# runs and folders


@dataclass(frozen=True)
class StoredRun:
    """A run, the spec it was last searched with, and the values that follow from both; `found` are
    the ranges that the spec left to range tests, and has in it as far as they are found, None
    where it left none. `asked` is the spec's file by which the run was asked for, if it was."""

    folder: Path
    spec: Spec
    history: History
    ledger: Ledger
    found: Found | None
    asked: Path | None = None

    @property
    def name(self) -> str:
        """The name by which commands find it: its folder's, which an older run set aside has of its
        own."""
        return self.folder.resolve().name

    @property
    def strategy(self) -> str:
        """The strategy of the latest session."""
        return str(self.history.sessions[-1]["strategy"])


def list_folder(root: Path) -> list[RunLine]:
    """A line for each folder under `root`, the one written last first; a folder that cannot be read
    has the reason in its line. Raises RunError where `root` is no folder that can be looked at."""
    if not root.is_dir():
        if root.exists():
            raise RunError(f"{root} is a file, and --runs takes a folder", hint="--runs runs")
        told = f"there are no runs in {root}: there is no such folder"
        raise RunError(told, hint=beginning(root))
    return sorted(map(summarize_folder, folders(root)), key=lambda line: line.written, reverse=True)


def summarize_folder(folder: Path) -> RunLine:
    """The line of a folder, which may be no run."""
    line = RunLine(folder.name, str(folder), written=last_written(folder))
    try:
        history = read(folder)
        if not history.sessions:
            tests = see_tests(folder, history)
            if tests is None:
                return replace(line, state="empty")
            state = "running" if is_locked(folder) else "done"
            epochs, seconds = add_up(find_cost([], Context(spent=find_spent(history))))
            return replace(line, strategy="range", state=state, epochs=epochs, seconds=seconds)
        run = see(folder, history)
        ledger = run.ledger
        numbers = [each for entry in ledger.entries.values() for each in ledger.latest(entry)]
        results = [history.results[each] for each in sorted(numbers) if each in history.results]
        values = [ledger.judge(entry)[1] for entry in ledger.entries.values()]
        known = [value for value in values if value is not None]
        context = Context(spent=find_spent(history), replaced=find_replaced(ledger))
        epochs, seconds = add_up(find_cost(results, context))
        answer = _find_answer(run)
        state = _STATES.get(history.closed or "interrupted", "stopped")
        return replace(
            line,
            strategy=run.strategy,
            state="running" if is_locked(folder) else state,
            outcomes=Counter(each.outcome for each in results),
            unfinished=len(numbers) - len(results),
            objective=ledger.objective,
            best=(max if ledger.objective.goal == "max" else min)(known, default=None),
            recommended=answer.value if answer is not None else None,
            confirmed=answer.value if answer is not None and answer.sure else None,
            decimals=answer.decimals if answer is not None else None,
            epochs=epochs,
            seconds=seconds,
        )
    except (LrsearchError, *NO_SENSE) as error:
        if not holds_run(folder):
            return replace(line, state="foreign", reason="it is not a run")
        kind = "damaged" if isinstance(error, RunDamaged) else "unreadable"
        return replace(line, state=kind, reason=": ".join(str(error).split("\n  ")))


def _find_answer(run: StoredRun) -> Answer | None:
    """The answer of a run, as its report has it."""
    from lrsearch.analysis.answer import find_answer

    records, objective = run.ledger.records(), run.ledger.objective
    points = rank(summarize(records, objective), objective)
    return find_answer(points, objective, confirmation=_find_confirmation(run, records))


_STATES = {
    **dict.fromkeys(("finished", "until", "patience"), "done"),
    "interrupted": "interrupted",
    "time": "stopped",
}
"""Words for the state of a run, by the reason its latest search was closed for."""


def open_stored(target: str | None, root: Path) -> StoredRun:
    """Read a run without locking it. Raises RunError for a folder that is no run, or a run without
    a session."""
    folder = find_run(target, root)
    return _asked(target, _open(folder, read(folder)))


@dataclass(frozen=True)
class Unsearched:
    """A run in which nothing was searched yet, and range tests were made."""

    name: str
    ranges: tuple[RangeView, ...]


def open_to_report(target: str | None, root: Path) -> StoredRun | Unsearched:
    """`open_stored`, of runs of range tests alone, too."""
    folder = find_run(target, root)
    history = read(folder)
    return see_tests(folder, history) or _asked(target, _open(folder, history))


def see_tests(folder: Path, history: History) -> Unsearched | None:
    """View a run in which nothing was searched and range tests were made; None of any other."""
    if history.sessions:
        return None
    with _making_sense(folder):
        ranges = tuple(_ranges(history))
    return Unsearched(folder.resolve().name, ranges) if ranges else None


def _asked(target: str | None, run: StoredRun) -> StoredRun:
    """The run, with the spec's file by which it was asked for."""
    path = Path(target) if target is not None else None
    given = path is not None and path.is_file() and not (path.parent / "run.json").exists()
    return replace(run, asked=path) if given else run


def _open(folder: Path, history: History) -> StoredRun:
    if not history.sessions:
        raise RunError(f"nothing was searched in {folder} yet", hint="run lrsearch grid CONFIG")
    with _making_sense(folder):
        _ranges(history)  # These, and what they cost, are looked at later.
        find_spent(history)
        return see(folder, history)


@contextlib.contextmanager
def _making_sense(folder: Path) -> Iterator[None]:
    """Raise RunDamaged for a journal whose lines are whole and say nothing sensible."""
    try:
        yield
    except NO_SENSE as error:
        raise RunDamaged(
            f"its journal says what no version of lrsearch has written: {type(error).__name__}",
            where=str(folder / "journal.jsonl"),
            hint="begin the run anew with --fresh: it is renamed, nothing is deleted",
        ) from error


# views


def see(folder: Path, history: History) -> StoredRun:
    """View a run through the spec of its latest session."""
    session = history.sessions[-1]
    stored = session["spec"]
    document = Document(stored["source"], stored["document"])

    facts = session["facts"]
    # Sessions of versions that knew no arithmetic do not tell a seed.
    arithmetic = "seed" in stored
    spec = validate(document, Path(stored["folder"]), "", arithmetic=arithmetic, stored=True)
    spec = go_on(settle_data(spec, facts.get("settled") or {}), history)
    content = Content(facts["task"], facts["data_hash"], facts["source_hashes"])
    found = _look_up(spec, content, history) if automatic(spec.space) else None
    spec = found.settle(spec) if found is not None else spec
    return StoredRun(folder, spec, history, Ledger(spec, content, history), found)


def _look_up(spec: Spec, content: Content, history: History) -> Found:
    """The ranges that a spec left to range tests; none where their tests cannot be planned, since
    what was measured is shown all the same."""
    from lrsearch.tuner.finding import Found, look_up

    try:
        return look_up(spec, content, history)
    except UsageError as error:
        return Found({}, {}, {}, refused=error.message)


def _find_confirmation(run: StoredRun, records: Sequence[Record]) -> Confirmation | None:
    """The fresh measurements of a run, None where there are none."""
    if not run.history.confirming:
        return None
    from lrsearch.tuner.racing import find_confirmation

    return find_confirmation(run.spec, run.ledger, summarize(records, run.ledger.objective))


def view_run(run: StoredRun) -> RunView:
    """The run as a report shows it."""
    history, ledger = run.history, run.ledger
    searching = is_locked(run.folder)
    waiting = [entry for entry in ledger.entries.values() if ledger.is_open(entry)]
    surplus = _surplus(run) if waiting else set()
    waiting = [entry for entry in waiting if entry.number not in surplus]
    records = [each for each in ledger.records() if each.result or each.point not in surplus]
    records = complete(run.folder, records, ledger.objective)
    confirmation = _find_confirmation(run, records)
    strategies = {history.strategy[number] for entry in waiting for number in entry.trials}
    latest = history.closed in (None, "interrupted", "time") or run.strategy in strategies
    refused = run.found.refused if run.found is not None else ""
    standing = [UNDER_WAY] if searching and history.running else []
    standing += [f"which rates it searches is not known: {refused}"] if refused else []
    stopped = "" if searching else _stopped(run)
    if not searching and not stopped and (waiting or latest):
        standing.append(_describe_end(run, len(waiting), confirmation))
    if run.asked is not None:
        from lrsearch.cli.changed import describe_change

        changed = describe_change(run.folder, ledger, run.asked)
        standing += [changed] if changed else []
    measured = {entry.number: entry for entry in ledger.entries.values()}
    view = build_view(
        run.spec.name,
        str(run.folder),
        ledger.objective,
        records,
        Context(
            searched=_widened(find_searched(run.spec, _most_samples(history)), records),
            hidden=ledger.hidden,
            running=len(history.running) if searching else 0,
            # The time of a session that is under way, or was killed, is not known.
            wall_seconds=history.seconds if history.closed is not None else None,
            standing=standing,
            plans=_plans(run),
            data=str(history.sessions[-1]["facts"].get("data", "")),
            found=[each for each in run.found.ranges.values() if each] if run.found else [],
            confirmation=confirmation,
            spent=find_spent(history),
            replaced=find_replaced(ledger),
            stopped=stopped,
            rounds=list(find_rounds(history.notes).values()),
        ),
    )
    view = replace(
        view,
        repeatability=_repeatability(run, view),
        saved=_saved(run),
        ranges=tuple(_ranges(history)),
    )
    if view.best is not None and measured[view.best.point].point is None:
        outside = "the best lies outside what the spec searches now"
        if view.best.strategy == "refine":
            outside = "the best lies outside what the spec searches: a refinement went there"
        view = replace(view, standing=(*view.standing, outside))
    if run.spec.kind is not None and _ignores_seeds(view):
        view = replace(view, warnings=(*view.warnings, SEED_UNUSED))
    resumed = run.strategy if latest else min(strategies, default="")
    resumed = "" if stopped else resumed
    return _add_commands(run, view, searching=searching, resumed=resumed)


def _asks_for_rates(spec: Spec, view: RunView) -> bool:
    """Whether every training diverged, and no range test has told yet which rates are too high."""
    lost = {point.outcome for point in view.points} == {Outcome.DIVERGED}
    return lost and spec.kind is None and not view.ranges


def _add_commands(
    run: StoredRun, view: RunView, *, searching: bool, resumed: str | None
) -> RunView:
    """The view with the commands that go on: `resumed` is the strategy of a search that has left
    something."""
    ledger, history = run.ledger, run.history
    # The file that was named here: what the run was begun with may lie elsewhere by now.
    spec = run.spec if run.asked is None else replace(run.spec, source=str(run.asked))

    def resume(strategy: str) -> list[str]:
        if strategy not in {each["strategy"] for each in history.sessions}:
            strategy = run.strategy  # Its session went on to this by itself.
        words = resuming(run.folder, spec, history, strategy)
        return without(words, "--until") if history.closed == "until" else words

    name = name_run(run.folder, spec)
    if searching:
        following = ["lrsearch", "report", *name]
    elif resumed:
        following = resume(resumed)
    elif view.best is not None and run.spec.space and _may_confirm(run.spec, view.confirmation):
        following = confirming(run.folder, spec, history, run.strategy)
    elif view.best is not None and run.spec.space:
        following = ["lrsearch", "export", *name, "--output", "best.yaml"]
    elif _asks_for_rates(run.spec, view):
        following = confirming(run.folder, spec, history, run.strategy)
        following[1] = "range"  # It takes the same options.
    else:
        following = []
    failed = {history.strategy[number] for number in ledger.failed()}
    again = ""
    if failed and not searching:
        strategy = run.strategy if run.strategy in failed else min(failed)
        again = command_line(retrying(resume(strategy)))
    whole = ""
    if (pruned := {history.strategy[number] for number in ledger.pruned()}) and not searching:
        strategy = run.strategy if run.strategy in pruned else min(pruned)
        whole = command_line(resuming_pruned(resume(strategy)))
    return replace(
        view,
        next_command=command_line(following),
        retry_command=again,
        whole_command=whole,
    )


def _stopped(run: StoredRun) -> str:
    """The reason why the latest search ended before all was trained, and what goes on; "" of
    another end."""
    told = run.history.told
    if run.history.closed == "until" and told:
        return f"{told}; without --until the same command goes on"
    if run.history.closed == "patience" and told:
        patience = run.spec.patience
        if not patience:
            return told
        line = f"stop: {{patience: {2 * patience}}}"
        return f"{told}. To go on, write {line} (--set stop.patience={2 * patience})"
    return ""


def _widened(ranges: Sequence[Range], records: Sequence[Record]) -> list[Range]:
    """The ranges, widened to where a refinement went beyond them, so that an edge is the end of
    all that was searched."""
    found = list(ranges)
    if not any(record.strategy == "refine" for record in records):
        return found
    for name in dict.fromkeys(each.name for each in ranges):
        # Options of an optimizer may have ranges of their own.
        groups: dict[str, list[Record]] = {}
        for record in records:
            if is_rate(record.params.get(name)):
                key = repr(record.params.get("optimizer"))
                groups.setdefault(key, []).append(record)
        places = [at for at, each in enumerate(ranges) if each.name == name]
        for group in groups.values():
            alike = [ranges[at] for at in places]
            at = places[pick(alike, [float(each.params[name]) for each in group])]
            new = [float(each.params[name]) for each in group if each.strategy == "refine"]
            low, high = min([found[at].low, *new]), max([found[at].high, *new])
            if (low, high) != (found[at].low, found[at].high):
                scale = "log" if found[at].listed else found[at].scale
                wide = replace(found[at], low=low, high=high, scale=scale)
                found[at] = replace(wide, listed=(), points=None)
    return found


def _ranges(history: History) -> list[RangeView]:
    """The range tests of a run, of a structure that was tested in several manners the last."""
    latest = {
        json.dumps([body["params"], body["beside"]], sort_keys=True): body
        for body in stored_tests(history).values()
    }
    return [read_range(body) for body in latest.values()]


def _describe_end(run: StoredRun, waiting: int, confirmation: Confirmation | None) -> str:
    """The end of a session that has left something, in words."""
    history = run.history
    ended = _ENDINGS.get(history.closed, "was ended by an error")
    left = f": {count(waiting, 'point')} unfinished" if waiting else ""
    if history.closed == "time":
        ended = "was stopped by its time limit"
    if not waiting and confirmation is not None and not confirmation.over:
        done = count(confirmation.trials, "fresh training")
        return f"confirming {ended} after {done}: its round lacks {confirmation.left} more"
    if history.closed == "time":
        left = f": {_progress(run, confirmation)}{left}"
    return f"the search {ended}{left}"


def _may_confirm(spec: Spec, confirmation: Confirmation | None) -> bool:
    """Whether confirming would tell more than is known, which it does not of a command that is
    told of no seed."""
    outside = spec.outside
    if confirmation is None and outside is not None and outside.kind == "command":
        return hears_seed(outside.text, spec.folder)
    return confirmation is None or not (confirmation.over and confirmation.current)


def _surplus(run: StoredRun) -> set[int]:
    """Points that were proposed when the spec asked for more points, and are not measured."""
    from lrsearch.search import STRATEGIES, trial_limit

    found: set[int] = set()
    for strategy in STRATEGIES:
        found |= run.ledger.surplus(strategy, trial_limit(strategy, run.spec))
    return found


def _progress(run: StoredRun, confirmation: Confirmation | None) -> str:
    """The progress of the latest strategy, or of what follows it: 12 of 40 trials are trained."""
    if run.strategy == CONFIRM:
        return "the test part was not looked at"
    done, total = _count(run)
    if run.strategy == "refine":  # Each round decides about the next.
        return f"{count(done, 'trial')} trained"
    if done == total and confirmation is not None and confirmation.over:
        return "the test part was not looked at"
    if done == total and run.spec.refine is not None:
        return "its refinement is not over"
    return f"{done} of {count(total, 'trial')} are trained"


def _count(run: StoredRun) -> tuple[int, int]:
    """The trials of the latest strategy's points that are trained, and all of them. A grid that has
    other points now keeps those that it proposed between them."""
    from lrsearch.search import trial_limit
    from lrsearch.search.grid import Grid
    from lrsearch.search.strategy import point_key

    ledger, made, mine = run.ledger, 0, {}
    limit = trial_limit(run.strategy, run.spec)
    for proposal in run.history.proposals:
        entry = ledger.entry_of.get(proposal.trials[0])
        if proposal.strategy == run.strategy and entry is not None and entry.point is not None:
            made += 1
            mine[point_key(entry.point)] = entry
    left = max(0, (limit or 0) - made)
    if run.strategy == Grid.name:
        left = Grid(run.spec.space).count_left(lambda point: point_key(point) in mine)
    surplus, each = ledger.surplus(run.strategy, limit), run.spec.trials_per_point
    done = [
        min(each, sum(number in run.history.results for number in ledger.latest(entry)))
        for entry in mine.values()
        if entry.number not in surplus
    ]
    return sum(done), (len(done) + left) * each


def _saved(run: StoredRun) -> tuple[int, int]:
    """The number of trials under way that are saved, and the bytes of their states."""
    saved, size = set(), 0
    for number, paths in saved_states(run.folder).items():
        if number in run.history.results:
            continue  # It is deleted when the search goes on.
        for path in paths:
            with contextlib.suppress(OSError):  # Its trial has ended meanwhile.
                held = path.stat().st_size
                size += held
                if held:  # One that is empty is none.
                    saved.add(number)
    return len(saved), size


def _ignores_seeds(view: RunView) -> bool:
    """Whether every point that has several seeds came to one value with all of them."""
    spreads = [
        point.spread for point in view.points if point.seeds > 1 and point.spread is not None
    ]
    return bool(spreads) and not any(spreads)


def _repeatability(run: StoredRun, view: RunView) -> Repeatability | None:
    """The repeatability that the repeated trial of the best point shows, or else the latest
    repeated one."""
    history, best = run.history, view.best.trials if view.best is not None else ()
    repeated = [number for number in history.repeated if number in run.ledger.trials]
    if not repeated:
        return None
    number = next((each for each in repeated if each in best), repeated[-1])
    return compare(
        number,
        view.objective,
        (history.results[number], history.repeated[number]),
        (curve_of(run, number), curve_of(run, history.repeating.get(number))),
    )


def curve_of(run: StoredRun, number: int | None) -> Curve:
    """Read a curve; it is empty where its file was lost, since the journal has none."""
    return read_course(run.folder, number)[0] if number is not None else {}


def _plans(run: StoredRun) -> dict[tuple[str, str], Plan]:
    """The plans of the shown trials' structures: the lasting ones, or else the latest of the
    others."""
    history, trials = run.history, run.ledger.trials.values()
    plans = {place: passing[-1] for place, passing in history.passing.items()} | history.plans
    # Without a plan, as in every run of a command, structures are not needed.
    left = {structure for structure, _ in plans}
    if not left:
        return {}
    from lrsearch.tuner.plans import structure_keys

    for trial in trials:
        if not left:
            break
        left.difference_update(structure_keys(trial))
    return {place: plan for place, plan in plans.items() if place[0] not in left}


def _most_samples(history: History) -> int | None:
    """The samples of a training part, which no batch exceeds; None outside lrsearch."""
    found = history.sessions[-1]["facts"].get("train_samples") or ()
    return min(map(int, found), default=None)
