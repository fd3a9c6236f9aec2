"""A run folder as the commands that read it see it."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lrsearch import catalogue
from lrsearch.analysis.edges import Range
from lrsearch.analysis.repeatability import Curve, Repeatability, compare
from lrsearch.errors import LrsearchError, RunError
from lrsearch.report.text import count
from lrsearch.report.view import RunView, build_view
from lrsearch.space import Choice, Float, parameters
from lrsearch.spec.document import Document, read_document
from lrsearch.spec.model import Spec
from lrsearch.spec.validate import NAME, validate
from lrsearch.store import History, is_locked, newest, read, read_curve
from lrsearch.trial import Plan
from lrsearch.tuner.ledger import Content, Ledger, go_on
from lrsearch.tuner.plans import structure_key


@dataclass(frozen=True)
class StoredRun:
    """A run, the spec it was last searched with, and what belongs to that."""

    folder: Path
    spec: Spec
    history: History
    ledger: Ledger

    @property
    def strategy(self) -> str:
        """The strategy of the latest session."""
        return str(self.history.sessions[-1]["strategy"])


def find_run(target: str | None, root: Path) -> Path:
    """The folder a report's argument means: the newest run, the run of a spec (by its name
    alone), a folder, or a run's name under `root`. Raises RunError."""
    if target is None:
        return newest(root)
    path = Path(target)
    if path.is_file():
        return root / spec_name(path)
    if path.is_dir():
        return path
    if path.suffix in (".yaml", ".yml"):
        from lrsearch.spec import read_text

        read_text(path)  # says that there is no such file, and which there is
    return root / target


def spec_name(path: Path) -> str:
    """The run's name in a spec, whatever else stands in it."""
    from lrsearch.spec import read_text

    data = read_document(read_text(path), str(path)).data
    name = data.get("name", path.stem) if isinstance(data, Mapping) else path.stem
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise RunError(f"'{name}' cannot name a run", where=str(path))
    return name


def open_stored(target: str | None, root: Path) -> StoredRun:
    """Read a run without locking it. Raises RunError for what is no run, or was never begun."""
    folder = find_run(target, root)
    history = read(folder)
    if not history.sessions:
        raise RunError(f"nothing was searched in {folder} yet", hint="run lrsearch grid CONFIG")
    session = history.sessions[-1]
    stored = session["spec"]
    document = Document(stored["source"], stored["document"])
    # Sessions of versions that knew no arithmetic do not tell a seed.
    spec = validate(document, Path(stored["folder"]), "", arithmetic="seed" in stored)
    spec = go_on(spec, history)
    facts = session["facts"]
    content = Content(facts["task"], facts["data_hash"], facts["source_hashes"])
    return StoredRun(folder, spec, history, Ledger(spec, content, history))


def view_run(run: StoredRun) -> RunView:
    """The run as a report shows it."""
    history, ledger = run.history, run.ledger
    searching = is_locked(run.folder)
    waiting = [entry for entry in ledger.entries.values() if ledger.is_open(entry)]
    strategies = {history.strategy[number] for entry in waiting for number in entry.trials}
    latest = history.closed in (None, "interrupted") or run.strategy in strategies
    warnings = []
    if waiting and not searching:
        warnings.append(f"the search was interrupted: {count(len(waiting), 'point')} unfinished")
    elif latest and not searching:
        warnings.append("the search was interrupted")
    measured = {entry.number: entry for entry in ledger.entries.values()}
    view = build_view(
        run.spec.name,
        str(run.folder),
        ledger.objective,
        ledger.records(),
        ranges=ranges(run.spec),
        hidden=ledger.hidden,
        running=len(history.running) if searching else 0,
        wall_seconds=history.seconds or None,
        warnings=warnings,
        plans=_plans(run),
    )
    view = replace(view, repeatability=_repeatability(run, view))
    if view.best is not None and measured[view.best.point].point is None:
        outside = "the best lies outside what the spec searches now"
        view = replace(view, warnings=(*view.warnings, outside))
    if run.spec.own is not None and _ignores_seeds(view):
        unused = "no seed made a difference: the training may not use the one that it is given"
        view = replace(view, warnings=(*view.warnings, unused))
    resumed = run.strategy if latest else min(strategies, default="")
    if searching:
        following = ["lrsearch", "report", *_name_run(run)]
    elif resumed:
        following = _resuming(run, resumed)
    elif view.best is not None and run.spec.space:
        following = ["lrsearch", "export", *_name_run(run), "--output", "best.yaml"]
    else:
        following = []
    return replace(view, next_command=shlex.join(following))


def _ignores_seeds(view: RunView) -> bool:
    """Whether every point that has several seeds came to one value with all of them."""
    spreads = [
        point.spread for point in view.points if point.seeds > 1 and point.spread is not None
    ]
    return bool(spreads) and not any(spreads)


def _repeatability(run: StoredRun, view: RunView) -> Repeatability | None:
    """What the repeated trial of the best point says, or else the latest repeated one."""
    history, best = run.history, view.best.trials if view.best is not None else ()
    repeated = [number for number in history.repeated if number in run.ledger.trials]
    if not repeated:
        return None
    number = next((each for each in repeated if each in best), repeated[-1])
    return compare(
        number,
        view.objective,
        (history.results[number], history.repeated[number]),
        (_curve(run, number), _curve(run, history.repeating.get(number))),
    )


def _curve(run: StoredRun, number: int | None) -> Curve:
    """A curve, empty where it was lost: it is no part of the journal."""
    with contextlib.suppress(LrsearchError):
        return read_curve(run.folder, number) if number is not None else {}
    return {}


def _plans(run: StoredRun) -> dict[tuple[str, str], Plan]:
    """The plans of the structures that the shown trials are of."""
    plans, trials = run.history.plans, run.ledger.trials.values()
    # Without a plan, as in every run that was solo throughout, nobody asks for structures.
    shown = {structure_key(trial.config, trial.fold) for trial in trials} if plans else set()
    return {place: plan for place, plan in plans.items() if place[0] in shown}


def _name_run(run: StoredRun) -> list[str]:
    """What names the run to a reading command: its spec where that leads there, else its folder."""
    usual = run.folder == Path("runs") / run.spec.name
    with contextlib.suppress(LrsearchError):
        if usual and spec_name(Path(run.spec.source)) == run.spec.name:
            return [run.spec.source]
    return [str(run.folder)]


def _resuming(run: StoredRun, strategy: str) -> list[str]:
    """The command of the latest session of a strategy, as it was given."""
    commands = {each["strategy"]: each["spec"].get("command") for each in run.history.sessions}
    plain = ["lrsearch", strategy, run.spec.source]
    if run.folder.parent != Path("runs"):
        plain += ["--runs", str(run.folder.parent)]
    return commands.get(strategy) or plain


def ranges(spec: Spec) -> list[Range]:
    """The searched ranges, and lists of numbers, whose ends the best may lie on, with the values
    that the parameter can take at all."""
    found = []
    for name, dimension in parameters(spec.space):
        flat = re.sub(r"\[\d+\]", "", name)
        flat = "lr" if flat == "optimizer.lr" else flat
        if isinstance(dimension, Choice):
            if not dimension.ordered or len(dimension.options) < 2:
                continue
            values = [float(option.value) for option in dimension.options]
            found.append(Range(flat, min(values), max(values), listed=True))
            continue
        if isinstance(dimension, Float) and dimension.unit:
            continue
        low, high = float(dimension.low), float(dimension.high)
        scale = "log" if dimension.log else "linear"
        limits = _limits(spec, name)
        found.append(Range(flat, low, high, scale, *limits))
    return found


def _limits(spec: Spec, name: str) -> tuple[float | None, float | None]:
    """The catalogue's bounds of a parameter by its id in the space."""
    if spec.own is not None:
        return (None, None)
    head, _, last = name.rpartition(".")
    group, _, index = head.partition("[")
    if group not in catalogue.GROUPS:
        parameter = catalogue.TRAIN.get(name)
    else:
        chosen = dict(spec.space.dimensions).get(group)
        value = spec.model if group == "model" else spec.train.get(group)
        if index and isinstance(chosen, Choice):
            value = chosen.options[int(index.partition("]")[0])].value
        title = value.get("name") if isinstance(value, Mapping) else None
        entry = catalogue.GROUPS[group].get(title) if title else None
        parameter = entry.parameters.get(last) if entry else None
    return (parameter.low, parameter.high) if parameter else (None, None)
