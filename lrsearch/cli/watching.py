"""Runs as they are served: each page is made when what it shows has changed, and kept until then.

A page asks for what is new since the version that it has (`Kept.news`), and gets the parts that
have changed since, made here. With the journal's lines as such its script would need all that
`analysis` and `reports` know once more.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lrsearch.cli.comparing import hold
from lrsearch.cli.paging import gather, view_tests
from lrsearch.cli.stored import StoredRun, see, see_tests, summarize_folder, view_run
from lrsearch.errors import LrsearchError, RunDamaged, RunError
from lrsearch.reports.listing import RunLine
from lrsearch.reports.page import Served, live, write_page
from lrsearch.reports.page.live import News, State
from lrsearch.reports.view import RunView
from lrsearch.store import NO_SENSE, History, Reader, folders, holds_run, is_locked, read_now
from lrsearch.trial import Plan
from lrsearch.tuner.plans import structure_keys

RESTS = 4.0
"""Times what making a page took that pass until it is made again while its run is written."""

KEPT = 12
"""Pages that are kept, those asked for last."""

UNREADABLE = (LrsearchError, OSError, *NO_SENSE)


@dataclass
class Kept:
    """A page that is kept up to date: its HTML, and each of its parts with the version in which it
    last changed. Versions rise, also from one page to another that takes its place."""

    html: str = ""
    version: int = 0
    parts: dict[str, tuple[str, int]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def take(self, html: str) -> None:
        """Take the page as it is now."""
        self.html = html
        found = live.split(html)
        version = max(self.version + 1, time.time_ns() // 1_000_000)
        changed = [name for name, text in found.items() if self.parts.get(name, ("",))[0] != text]
        self.parts = {
            name: (text, version if name in changed else self.parts[name][1])
            for name, text in found.items()
        }
        if changed or not self.version:
            self.version = version

    def news(self, at: int, **more: str) -> dict[str, Any]:
        """The parts that have changed since a version, with those of `more`, and the order of the
        page's sections."""
        parts = {name: text for name, (text, version) in self.parts.items() if version > at}
        order = [name for name in self.parts if name not in ("nav", "over", "data")]
        return {"at": str(self.version), "order": order, "parts": {**parts, **more}}


class Watched:
    """A run that is served, from its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.page = Kept()
        self.seen: tuple[StoredRun, RunView] | None = None
        self.state = State("")
        self._reader = Reader(folder)
        self._mark: Hashable = None
        self._error: Exception | None = None
        self._due = 0.0

    def look(self, *, patient: bool = False) -> None:
        """Make the page anew where the run has changed; `patient` not while the last time is too
        short ago for what it took. Raises what reading it raises; the page then stays as it was."""
        locked = is_locked(self.folder)
        mark = (*(_mark_file(self.folder / name) for name in ("run.json", "journal.jsonl")), locked)
        if mark != self._mark and not (patient and time.monotonic() < self._due):
            begun = time.monotonic()
            self._mark, self._error = mark, None
            try:
                self._read(locked)
            except UNREADABLE as error:
                self._error = error
            self._due = time.monotonic() + RESTS * (time.monotonic() - begun)
        if self._error is not None:
            raise self._error.with_traceback(None)  # It is raised again and again.

    def _read(self, locked: bool) -> None:
        history = self._reader.read()
        tests = see_tests(self.folder, history)
        if tests is not None:
            view = view_tests(tests)
            self.page.take(write_page(view, served=Served("run", "../../")))
            self.state = State("running" if locked else "done", "range tests alone", "", "range")
            return
        if not history.sessions:
            raise RunError(f"nothing was searched in {self.folder.name} yet")
        run = see(self.folder, history)
        # The folder may have another name than the spec.
        view = replace(view_run(run), name=self.folder.name)
        ended = [
            (result.own_seconds, result.value(view.objective))
            for number in sorted(history.ended_at, key=history.ended_at.__getitem__)
            if number in run.ledger.trials and (result := history.results[number])
        ]
        course = live.draw_course(ended, view.objective, view.decimals)
        self.page.take(write_page(view, gather(run, view), served=Served("run", "../../", course)))
        self.seen = run, view
        self.state = self._judge(run, view, locked)

    def _judge(self, run: StoredRun, view: RunView, locked: bool) -> State:
        """The state of a run that was read."""
        history, command = run.history, view.next_command
        if locked:
            facts = history.sessions[-1]["facts"]
            return State(
                "running",
                strategy=run.strategy,
                running=sorted(history.running),
                engines=find_engines(history),
                samples=max(map(int, facts.get("train_samples") or ()), default=0),
            )
        if history.closed is None:
            return State("gone", "", command, run.strategy)
        word = summarize_end(history.closed)
        text = view.stopped or next(iter(view.standing), "") if word != "done" else view.stopped
        if word == "done":  # What comes next stands below, with its reasons.
            return State(word, text or f"{run.strategy} came to its end", "", run.strategy)
        return State(word, text, command, run.strategy)


def find_engines(history: History) -> list[str]:
    """The engines of the trials under way, in words."""
    found = dict[str, None]()
    plans = {structure: plan for (structure, _), plan in history.plans.items()}
    for number in sorted(history.running):
        trial = history.trials[number]
        keys = structure_keys(trial)  # Trials of several budgets may be of one structure.
        plan = next((plans[key] for key in keys if key in plans), Plan())
        lanes = f"up to {plan.lanes} lanes" if plan.lanes > 1 else "one lane"
        fused = f"fused, {lanes} a program"
        found[fused if plan.engine == "fused" else plan.engine] = None
    return list(found)


def summarize_end(reason: str) -> str:
    """The state that the end of a session leaves, as the list of runs has it."""
    ends = {"finished": "done", "until": "done", "patience": "done", "interrupted": "interrupted"}
    return ends.get(reason, "stopped")


def _mark_file(path: Path) -> Hashable:
    """A mark that differs once a file has changed; None of none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def find_news(folder: Path) -> News | None:
    """The news of a run's search; None where it says nothing that makes sense."""
    with contextlib.suppress(*UNREADABLE):
        content = read_now(folder)
        return None if content is None else live.read_news(content)
    return None


class Site:
    """All that is served: the runs of a folder. Used by many threads; no name that is not the name
    of a folder there leads anywhere."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listed = False
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, Watched] = OrderedDict()
        self._pages: OrderedDict[Hashable, Kept] = OrderedDict()
        self._lines: dict[str, tuple[Hashable, RunLine, float]] = {}

    # the pages, each as HTML, or as what is new in it

    def list_runs(self, at: int | None) -> str | Mapping[str, Any]:
        """The list of runs; with `at` what is new in it since that version."""
        lines, problem = [], ""
        try:
            lines = [self._line(folder) for folder in folders(self.root)]
            self._listed = True
        except RunError as error:
            if self._listed or self.root.exists():
                problem = f"{error.message}: what was served is not there any more"
        lines.sort(key=lambda line: line.written, reverse=True)
        news = {
            line.name: found
            for line in lines
            if line.state == "running" and (found := find_news(self.root / line.name))
        }
        html = live.write_list(live.Listed(str(self.root), lines, problem, news))
        return self._answer(self._keep("list"), "list", html, at)

    def compare(self, names: Sequence[str], at: int | None) -> str | Mapping[str, Any]:
        """Runs side by side, by their names."""
        names = list(dict.fromkeys(names))
        known = self._names()
        problems, seen = [], []
        for name in names:
            try:
                run = self._find(name)
                with run.page.lock:
                    run.look(patient=at is not None)
                    if run.seen is not None:
                        seen.append(run.seen)
            except KeyError:
                problems.append(f"{name}: there is no run of this name here")
            except UNREADABLE as error:
                problems.append(f"{name}: {_tell(error)}")
        contest = hold(seen) if seen else None
        ready = [each for each in known if self._line(self.root / each).best is not None]
        others = [each for each in ready if each not in names]
        html = live.write_compare(contest, names, others, problems, str(self.root))
        return self._answer(self._keep(("compare", *names)), "compare", html, at)

    def show(self, name: str, at: int | None) -> str | Mapping[str, Any]:
        """The page of a run. Raises KeyError for a name that no run has, and no run had."""
        run = self._find(name)
        with run.page.lock:
            state = run.state
            try:
                run.look(patient=at is not None)
                state = run.state
            except UNREADABLE as error:
                state = self._lost(run, error)
            news = find_news(run.folder) if state.word == "running" else None
            now = live.write_now(state, news)
            if run.page.html:
                if at is None:
                    return live.fill(run.page.html, now, run.page.version)
                return {"kind": "run", **run.page.news(at, now=now)}
        html = live.write_alone(name, str(self.root), now)
        return self._answer(self._keep(("alone", name)), "alone", html, at)

    def _lost(self, run: Watched, error: BaseException) -> State:
        """The state of a run that cannot be read."""
        if not run.folder.is_dir():
            return State("deleted")
        if not holds_run(run.folder):
            return State("unreadable", "it is no run any more" if run.page.html else "it is no run")
        with contextlib.suppress(*UNREADABLE):
            if not isinstance(error, RunDamaged) and is_locked(run.folder):
                return State("running", strategy="beginning")
        return State("damaged" if isinstance(error, RunDamaged) else "unreadable", _tell(error))

    # what is kept

    def _names(self) -> list[str]:
        with contextlib.suppress(RunError):
            return [each.name for each in folders(self.root) if holds_run(each)]
        return []

    def _find(self, name: str) -> Watched:
        """A run by its name; one that was deleted while it is kept is found, too."""
        with self._lock:
            if name not in self._runs:
                if name not in self._names():
                    raise KeyError(name)
                self._runs[name] = Watched(self.root / name)
            self._runs.move_to_end(name)
            while len(self._runs) > KEPT:
                self._runs.popitem(last=False)
            return self._runs[name]

    def _keep(self, key: Hashable) -> Kept:
        with self._lock:
            page = self._pages.setdefault(key, Kept())
            self._pages.move_to_end(key)
            while len(self._pages) > KEPT:
                self._pages.popitem(last=False)
            return page

    def _answer(self, page: Kept, kind: str, html: str, at: int | None) -> str | Mapping[str, Any]:
        with page.lock:
            if html != page.html:
                page.take(html)
            if at is None:
                return live.fill(page.html, "", page.version)
            return {"kind": kind, **page.news(at)}

    def _line(self, folder: Path) -> RunLine:
        """The line of a folder, worked out where its run has changed, as `Watched.look` does."""
        mark: Hashable = None
        with contextlib.suppress(*UNREADABLE):
            mark = (_mark_file(folder / "journal.jsonl"), is_locked(folder))
        before = self._lines.get(folder.name)
        begun = time.monotonic()
        if before is None or mark is None or (before[0] != mark and begun >= before[2]):
            line = summarize_folder(folder)
            due = time.monotonic() + RESTS * (time.monotonic() - begun)
            before = self._lines[folder.name] = (mark, line, due)
        return before[1]


def _tell(error: BaseException) -> str:
    return str(error) if isinstance(error, LrsearchError) else f"{type(error).__name__}: {error}"
