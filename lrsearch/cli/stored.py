"""A run folder as the commands that read it see it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrsearch import catalogue
from lrsearch.analysis.edges import Range
from lrsearch.errors import RunError
from lrsearch.report.text import count
from lrsearch.report.view import RunView, build_view
from lrsearch.space import Choice, Float, parameters
from lrsearch.spec.document import Document
from lrsearch.spec.document import parse as parse_yaml
from lrsearch.spec.model import Spec
from lrsearch.spec.validate import NAME, validate
from lrsearch.store import History, is_locked, newest, read
from lrsearch.tuner.ledger import Content, Ledger


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

    data = parse_yaml(read_text(path), str(path)).data
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
    spec = validate(document, Path(stored["folder"]), "")
    return StoredRun(folder, spec, history, Ledger(spec, content_of(session["facts"]), history))


def content_of(facts: Mapping[str, Any]) -> Content:
    """What trial keys need of the facts a session wrote down."""
    return Content(facts["task"], facts["data_hash"], facts["source_hash"])


def view_run(run: StoredRun) -> RunView:
    """The run as a report shows it."""
    task = run.ledger.content.task
    searching = is_locked(run.folder)
    running = len(run.history.running) if searching else 0
    waiting = [entry for entry in run.ledger.entries.values() if _open(run, entry.trials)]
    source = target = shlex.quote(run.spec.source)
    place = ""
    if run.folder != Path("runs") / run.spec.name:
        place = f" --runs {shlex.quote(str(run.folder.parent))}"
        target = shlex.quote(str(run.folder))
    warnings = []
    interrupted = not searching and (waiting or run.history.closed in (None, "interrupted"))
    if interrupted:
        left = f": {count(len(waiting), 'point')} unfinished" if waiting else ""
        warnings.append(f"the search was interrupted{left}")
    if searching:
        next_command = f"lrsearch report {target}"
    elif interrupted:
        next_command = f"lrsearch {run.strategy} {source}{place}"
    else:
        next_command = f"lrsearch export {target} --output best.yaml"
    return build_view(
        run.spec.name,
        str(run.folder),
        run.spec.objective(task),
        run.ledger.records(),
        ranges=ranges(run.spec),
        hidden=run.ledger.hidden,
        running=running,
        wall_seconds=run.history.seconds or None,
        warnings=warnings,
        next_command=next_command,
    )


def _open(run: StoredRun, numbers: list[int]) -> bool:
    return any(number not in run.history.results for number in numbers)


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
            low, high, scale = min(values), max(values), "linear"
        elif isinstance(dimension, Float) and dimension.unit:
            continue
        else:
            low, high = float(dimension.low), float(dimension.high)
            scale = "log" if dimension.log else "linear"
        limits = _limits(spec, name)
        found.append(Range(flat, low, high, scale, *limits))
    return found


def _limits(spec: Spec, name: str) -> tuple[float | None, float | None]:
    """The catalogue's bounds of a parameter by its id in the space."""
    head, _, last = name.rpartition(".")
    group, _, index = head.partition("[")
    if group not in catalogue.GROUPS:
        parameter = catalogue.TRAIN.get(name)
    else:
        chosen = dict(spec.space.dimensions).get(group)
        value = spec.model if group == "model" else spec.train.get(group)
        if index and isinstance(chosen, Choice):
            value = chosen.options[int(index.rstrip("]"))].value
        title = value.get("name") if isinstance(value, Mapping) else None
        entry = catalogue.GROUPS[group].get(title) if title else None
        parameter = entry.parameters.get(last) if entry else None
    return (parameter.low, parameter.high) if parameter else (None, None)
