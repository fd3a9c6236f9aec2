"""The pages that are served besides the report of a run: what a search does now, how its best came
about, the list of runs, and runs side by side.

A page is kept up to date by its parts: its sections, and the few other elements in `PARTS`.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from lrsearch import __version__
from lrsearch.reports.contest import Contest, contest_notes, contest_rows
from lrsearch.reports.listing import UNREADABLE, RunLine, tell_best, tell_trials
from lrsearch.reports.marks import Bar, Figure, Line, Mark, Panel, Points, Scale, spanning, used_key
from lrsearch.reports.page import Served, environment, render
from lrsearch.reports.text import (
    count,
    format_fixed,
    format_seconds,
    format_value,
    one_line,
    tell_span,
)
from lrsearch.terminal import visible
from lrsearch.trial import Objective

PARTS = re.compile(
    r'<section id="(?P<section>\w+)".*?</section>|<nav id="(?P<nav>nav)".*?</nav>'
    r'|<p id="(?P<over>over)".*?</p>'
    r'|<script type="application/json" id="(?P<data>data)">.*?</script>',
    re.DOTALL,
)
"""The parts of a page. No text of a user's has a `<` in the page, and no section has one inside."""

NO_ROWS = '{"rows":[]}'
"""The data of a page without trials."""

_MARK, _NOW = '<body data-at=""', '<section id="now"></section>'

STALE = 20.0
"""Seconds after which a search that says nothing is told of: it says what it does every second."""

ROWS = 100
"""Rows of the table below the course of the best, the latest steps."""

KINDS = {"running": "good", "done": "done", "damaged": "warn", "unreadable": "warn"}
"""The looks of states."""


def split(page: str) -> dict[str, str]:
    """The parts of a page by the ids of their elements, the data as JSON alone."""
    found = {}
    for part in PARTS.finditer(page):
        name = next(filter(None, part.groupdict().values()))
        text = part[0]
        if name == "data":
            text = text[text.index(">") + 1 : text.rindex("<")]
        found[name] = text
    return found


def fill(page: str, now: str, version: int) -> str:
    """The page with what happens now, and the version that it is of."""
    return page.replace(_NOW, now, 1).replace(_MARK, f'<body data-at="{version}"', 1)


# what happens now


@dataclass(frozen=True)
class Lane:
    """A trial under way: the share of its budget that is trained, its parameters, and its metric so
    far in words."""

    trial: int
    share: float
    params: str = ""
    told: str = ""


@dataclass(frozen=True)
class Job:
    """The work of one worker: trials side by side in so many `lanes` of a program, or one alone; 0
    where nobody knows."""

    lanes: int
    trials: Sequence[Lane]


@dataclass(frozen=True)
class News:
    """The words of a search on itself while it runs. Times are seconds, `written` and `begun` since
    1970; `left` is the time that it still takes, from and to; `pace` says how many of what are
    trained a second, such as epochs; `doing` what it does before it trains, "" then. What nobody
    knows is None."""

    written: float
    begun: float
    doing: str = ""
    done: int = 0
    total: int | None = None
    workers: int = 0
    left: tuple[float, float] | None = None
    pace: tuple[float, str] | None = None
    jobs: Sequence[Job] = ()


def read_news(content: Mapping[str, Any]) -> News:
    """Read what a search has written. Raises ValueError, LookupError or TypeError for what none
    has."""
    total, left, pace = content["total"], content["left"], content["pace"]
    jobs = [
        Job(
            max(0, _count(job["lanes"])),
            [
                Lane(
                    _count(lane["trial"]),
                    _share(lane["share"]),
                    str(lane["params"]),
                    str(lane["told"]),
                )
                for lane in job["trials"]
            ],
        )
        for job in content["jobs"]
    ]
    return News(
        written=_number(content["written"]),
        begun=_number(content["begun"]),
        doing=str(content["doing"]),
        done=_count(content["done"]),
        total=None if total is None else _count(total),
        workers=_count(content["workers"]),
        left=None if left is None else (_number(left[0]), _number(left[1])),
        pace=None if pace is None else (_number(pace[0]), str(pace[1])),
        jobs=jobs,
    )


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is no number of seconds")
    return number


def _share(value: Any) -> float:
    return min(max(_number(value), 0.0), 1.0)


def _count(value: Any) -> int:
    """A number of trials: one that no share can be taken of is none."""
    return int(_number(int(value)))


@dataclass(frozen=True)
class State:
    """The state of a run: one of the words of `RunLine`, `gone` if its process has ended without a
    word, or `deleted`; `reason` says more, `command` goes on. `running` are the trials under way,
    by the journal, `engines` their engines in words, `samples` those of an epoch, 0 where that is
    not known."""

    word: str
    reason: str = ""
    command: str = ""
    strategy: str = ""
    running: Sequence[int] = ()
    engines: Sequence[str] = ()
    samples: int = 0


LANES = 64
"""The most trials under way that are shown one by one."""


def write_now(state: State, news: News | None) -> str:
    """The section on what happens now, as HTML."""
    context = _running(state, news, time.time()) if state.word == "running" else _still(state)
    empty: dict[str, Any] = {
        "facts": [],
        "share": None,
        "jobs": [],
        "more": "",
        "command": state.command,
    }
    return environment().get_template("live.html").render(now={**empty, **context})


def _still(state: State) -> dict[str, Any]:
    words = {
        "gone": "its process is gone: it was killed, or the machine went down",
        "deleted": "its folder is not there any more: what stands below was read before",
        "damaged": "what stands below, if anything does, was read before",
    }
    text = one_line(state.reason) or words.get(state.word, "")
    if state.reason and state.word in ("damaged", "unreadable"):
        text = visible(state.reason)
    title = "The search has ended" if state.word not in UNREADABLE else "The run cannot be read"
    title = {"deleted": "The run was deleted", "gone": "The search has broken off"}.get(
        state.word, title
    )
    kind = KINDS.get(state.word, "warn")
    return {"title": title, "word": state.word, "kind": kind, "text": text}


def _running(state: State, news: News | None, clock: float) -> dict[str, Any]:
    told: dict[str, Any] = {"title": "What runs now", "word": "running", "kind": "good"}
    told["text"] = one_line(state.strategy)
    if news is None:
        lanes = [Lane(number, 0.0) for number in state.running]
        told["more"] = (
            "A process writes this run, and does not say what it does: it has just begun, or is of "
            "an older version. Its trials appear as they end."
        )
        if lanes:
            numbers = ", ".join(str(each.trial) for each in lanes[:LANES])
            told["facts"] = [("trials under way", numbers)]
        return told
    silent = clock - news.written
    if silent > STALE:
        told |= {"word": "silent", "kind": "warn"}
        told["text"] = (
            f"nothing was heard of it for {format_seconds(silent)}: its process holds the run, and "
            "is stopped, or waits for the disk; what stands here is what it said last"
        )
    if news.doing:
        told["text"] = f"{told['text']}: {one_line(news.doing)}"
    told["facts"] = [(name, one_line(text)) for name, text in _facts(state, news, clock)]
    if news.total:
        share = sum(lane.share for job in news.jobs for lane in job.trials)
        told["share"] = min(1.0, (news.done + share) / news.total)
    room, jobs = LANES, []
    for job in news.jobs:
        kept = job.trials[: max(0, room)]
        room -= len(kept)
        if kept:
            jobs.append(_job(job, kept))
    hidden = sum(len(job.trials) for job in news.jobs) - (LANES - room)
    told["jobs"] = jobs
    told["more"] = f"and {hidden} more under way" if hidden else ""
    return told


def _facts(state: State, news: News, clock: float) -> Sequence[tuple[str, str]]:
    done = f"{news.done} of {news.total}" if news.total else str(news.done)
    facts = [("trials done", done)]
    if news.left is not None:
        facts.append(("time left", tell_span(*news.left)))
    facts.append(("running for", format_seconds(max(0.0, clock - news.begun))))
    if news.pace is not None:
        number, noun = news.pace
        speed = f"{format_value(number, 3)} {noun} a second"
        if noun == "epochs" and state.samples:
            speed = f"{number * state.samples:,.0f} samples a second ({speed})"
        facts.append(("speed", speed))
    facts += [("engine", ", ".join(state.engines))] if state.engines else []
    return facts + ([("workers", str(news.workers))] if news.workers else [])


def _job(job: Job, kept: Sequence[Lane]) -> dict[str, Any]:
    lanes = [
        {
            "trial": lane.trial,
            "share": lane.share,
            "params": one_line(lane.params),
            "told": ", ".join(filter(None, [f"{lane.share:.0%}", one_line(lane.told)])),
        }
        for lane in kept
    ]
    free = job.lanes - len(job.trials) if job.lanes > 1 else 0
    title = "One trial alone" if job.lanes == 1 else ""
    if job.lanes > 1:
        title = f"{len(job.trials)} of {count(job.lanes, 'lane')} of one program"
    return {"title": title, "lanes": lanes, "free": f"{free} free" if free > 0 else ""}


# how the best came about


def draw_course(
    ended: Sequence[tuple[float, float | None]], objective: Objective, decimals: int | None
) -> Figure | None:
    """The best value so far over the seconds of training, by what each trial took and came to, in
    the order of their ends; None where fewer than two came to anything."""
    places: list[tuple[float, float]] = []
    best: list[tuple[float, float]] = []
    spent = 0.0
    for seconds, value in ended:
        spent += seconds
        if value is None or not math.isfinite(value):
            continue
        places.append((spent, value))
        if not best or objective.better(value, best[-1][1]):
            best.append((spent, value))
    if len(places) < 2:
        return None
    unit, name = next(
        (each for each in ((3600.0, "hours"), (60.0, "minutes")) if spent > 5 * each[0]),
        (1.0, "seconds"),
    )
    values = sorted((value for _, value in places), reverse=objective.goal == "max")
    y = spanning(values[: max(2, math.ceil(0.8 * len(values)))], metric=objective.metric)
    dots = [(spot / unit, value) for spot, value in places]
    steps: list[tuple[float, float]] = []
    for spot, value in best:
        steps += [(spot / unit, steps[-1][1])] if steps else []
        steps.append((spot / unit, value))
    steps.append((spent / unit, best[-1][1]))
    marks: list[Mark] = [Points([each for each in dots if y.holds(each[1])])]
    if beyond := [(spot, y.clamp(value)) for spot, value in dots if not y.holds(value)]:
        marks.append(Points(beyond, "off"))
    marks.append(Line([(spot, y.clamp(value)) for spot, value in steps], "best"))
    metric = one_line(objective.metric)
    panel = Panel("", Scale(0.0, spent / unit or 1.0), y, marks, f"{name} of training", metric)
    since = spent - best[-1][0]
    finding = (
        f"The best trial of the search came to {format_fixed(best[-1][1], decimals)} after "
        f"{format_seconds(best[-1][0])} of training"
    )
    finding += f"; {format_seconds(since)} since then brought none better." if since > 0 else "."
    rows = [(format_seconds(spot), format_fixed(value, decimals)) for spot, value in best[-ROWS:]]
    words = {"dot": "a trial", "best": "best so far", "off": "beyond the axis"}
    key = used_key([panel], words)
    return Figure("course", finding, [panel], ("of training", f"best {metric}"), rows, key)


def write_alone(name: str, folder: str, now: str) -> str:
    """The page of a run of which nothing more is known than what happens now."""
    context = {
        "title": one_line(name),
        "subtitle": visible(folder),
        "nav": [],
        "footer": _footer(folder),
    }
    page = render("alone.html", context, NO_ROWS, Served("alone", "../../"))
    return page.replace(_NOW, now, 1)


# the list of runs


@dataclass(frozen=True)
class Listed:
    """The runs of a folder, for their list: `problem` says why they cannot be listed, `news` has
    what those that run say of themselves, by name."""

    folder: str
    lines: Sequence[RunLine]
    problem: str = ""
    news: Mapping[str, News] = field(default_factory=dict)


def link(name: str) -> str:
    """The name of a run as a part of an address."""
    return quote(name, safe="", errors="surrogateescape")


def write_list(listed: Listed) -> str:
    """The page with the list of all runs."""
    rows = [
        _row(line, listed.news.get(line.name)) for line in listed.lines if line.state != "foreign"
    ]
    others = [one_line(line.name) for line in listed.lines if line.state == "foreign"]
    no = "that is no run" if len(others) == 1 else "that are no runs"
    context = {
        "title": "Runs",
        "subtitle": visible(listed.folder),
        "nav": [("compare/", "Compare")] if len(rows) > 1 else [],
        "footer": _footer(listed.folder),
        "problem": visible(listed.problem),
        "runs": rows,
        "folder": visible(listed.folder),
        "others": others,
        "others_title": f"{count(len(others), 'folder')} {no}",
    }
    return render("runs.html", context, NO_ROWS, Served("list"))


def _footer(folder: str) -> str:
    return f"Served by lrsearch {__version__} from {one_line(folder)}."


def _row(line: RunLine, news: News | None) -> dict[str, str]:
    trials = tell_trials(line)
    if news is not None and news.total:
        left = ""
        if news.left is not None:
            left = f", {tell_span(*news.left)} left"
        trials += f" ({news.done} of {news.total} now{left})"
    cost = format_seconds(line.seconds) if line.seconds else ""
    if line.epochs:
        cost += f", {count(line.epochs, 'epoch')}"
    return {
        "name": one_line(line.name),
        "link": f"runs/{link(line.name)}/",
        "compare": f"compare/?run={link(line.name)}" if line.best is not None else "",
        "state": line.state,
        "kind": KINDS.get(line.state, "warn"),
        "strategy": one_line(line.strategy),
        "trials": trials,
        "best": tell_best(line),
        "cost": cost,
        "written": time.strftime("%Y-%m-%d %H:%M", time.localtime(line.written)),
        "reason": visible(line.reason),
    }


# runs side by side


def write_compare(
    contest: Contest | None,
    chosen: Sequence[str],
    others: Sequence[str],
    problems: Sequence[str],
    folder: str,
) -> str:
    """The page with runs side by side; `chosen` are the names that were asked for, `others` those
    of the folder that can be added; `problems` say what cannot be read."""
    compared = dict(contest.runs) if contest else {}
    context = {
        "title": "Compare",
        "subtitle": visible(folder),
        "nav": [("../", "All runs")],
        "footer": _footer(folder),
        "chosen": [
            {
                "name": one_line(name),
                "page": f"../runs/{link(name)}/",
                "less": _ask([each for each in chosen if each != name]),
            }
            for name in chosen
        ],
        "others": [{"name": one_line(name), "link": _ask([*chosen, name])} for name in others],
        "problems": [visible(text) for text in problems],
        "names": [one_line(name) for name in compared],
        "rows": contest_rows(contest) if contest else [],
        "notes": contest_notes(contest) if contest else [],
        "values": _draw_values(contest) if contest else None,
    }
    return render("compare.html", context, NO_ROWS, Served("compare", "../"))


def _ask(names: Sequence[str]) -> str:
    return "?" + "&".join(f"run={link(name)}" for name in names)


def _draw_values(contest: Contest) -> Figure | None:
    """The recommended value of each run with its interval; None where they are not of one metric,
    or fewer than two."""
    answers = [(name, view.answer, view.objective) for name, view in contest.runs]
    known = [(name, answer, goal) for name, answer, goal in answers if answer is not None]
    if len(known) < 2 or len({(each.metric, each.goal) for _, _, each in known}) > 1:
        return None
    objective = known[0][2]
    values = [answer.value for _, answer, _ in known]
    ends = [end for _, answer, _ in known for end in answer.interval or ()]
    y = spanning([*values, *ends], room=0.12, metric=objective.metric)
    marks: list[Mark] = [
        Bar(place, *answer.interval, "fresh")
        for place, (_, answer, _) in enumerate(known, 1)
        if answer.interval is not None
    ]
    marks.append(Points([(place, value) for place, value in enumerate(values, 1)]))
    names = [(float(place), one_line(name)[:18]) for place, (name, _, _) in enumerate(known, 1)]
    metric = one_line(objective.metric)
    panel = Panel("", Scale(0.5, len(known) + 0.5), y, marks, x_names=names, y_label=metric)
    order = sorted(known, key=lambda each: each[1].value, reverse=objective.goal == "max")
    decimals = order[0][1].decimals
    finding = "; ".join(
        f"{one_line(name)} comes to {format_fixed(answer.value, decimals)}"
        for name, answer, _ in order
    )
    rows = [
        (
            one_line(name),
            format_fixed(answer.value, decimals),
            " to ".join(format_fixed(end, decimals) for end in answer.interval or ()),
        )
        for name, answer, _ in known
    ]
    key = used_key([panel], {"dot": "recommended value", "fresh": "its interval of 95 %"})
    return Figure("values", f"{finding}.", [panel], ("run", metric, "95 %"), rows, key)
