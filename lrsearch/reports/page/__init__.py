"""The page of a run: one HTML file that needs no server and no network, and is complete without its
script.

Its policy allows the one style and the one script whose hashes it names, and nothing else: no
request can leave it. Texts of the user's are escaped by jinja2, those in its data block as JSON. A
page that is served (`live`) has a second script, and may ask its own server.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from lrsearch import __version__
from lrsearch.diagnosis import HEALTHY
from lrsearch.reports import svg
from lrsearch.reports.answer import describe_cost
from lrsearch.reports.cells import plain
from lrsearch.reports.confirmation import title_levels
from lrsearch.reports.marks import Figure
from lrsearch.reports.page import content, figures, rows
from lrsearch.reports.page.content import Making
from lrsearch.reports.rates import draw_rates
from lrsearch.reports.text import count, one_line, without_empty
from lrsearch.reports.verdicts import UNKNOWN, count_first
from lrsearch.reports.view import ONE_SEED, UNDER_WAY, RunView
from lrsearch.terminal import visible

__all__ = ["Making", "Served", "choose_curves", "write_page"]

MOST_CURVES = 1000
"""Trials up to which a page has the curves of all."""

SMALL = (320, 210)
WIDE = 480
HEIGHT = 230
STRIP = 140
"""Sizes of panels, in about the pixels of a screen: of small multiples, the width and the height of
one alone, the height of a range test."""

SWATCHES = {
    "dot": "M11 7h0",
    "cross": "M7.5 3.5l7 7m0-7l-7 7",
    "off": "M4 5l3 4l3-4zM12 9l3-4l3 4z",
    "pick": "M11 1l6 6l-6 6l-6-6z",
    "tie": "M7 7a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "band": "M1 2H21V12H1z",
    "basin": "M1 1H21V13H1z",
    "unknown": "M1 1H21V13H1z",
    "bound": "M11 0V14",
    "lost": "M11 0V14",
    "bar": "M11 1V13M8 1h6M8 13h6",
    "fresh": "M11 1V13M8 1h6M8 13h6",
}
"""The marks of a figure's key; any other is a line."""


@dataclass(frozen=True)
class Served:
    """A page that is served: its kind, the address of the list of runs, "" of that itself, and of
    a run's page the figure of how the best came about."""

    kind: str = "run"
    root: str = ""
    course: Figure | None = None


def choose_curves(view: RunView) -> list[int]:
    """The trials whose curves a page has, the most telling first: of a run of up to `MOST_CURVES`
    trials all, of others the best, and some of each verdict, `rows.CHOSEN` together."""
    best = content.best_trials(view)
    by_verdict: dict[str, list[int]] = {}
    for record in view.records:
        result = record.result
        if result is not None and result.verdicts:
            by_verdict.setdefault(result.verdicts[0].verdict, []).append(record.trial.number)
    telling = [number for numbers in by_verdict.values() for number in numbers[:5]]
    everyone = [record.trial.number for record in view.records if record.result is not None]
    chosen = list(dict.fromkeys([*best[: content.BEST_CURVES], *telling, *best, *everyone]))
    return chosen if len(chosen) <= MOST_CURVES else chosen[: rows.CHOSEN]


def write_page(view: RunView, making: Making | None = None, *, served: Served | None = None) -> str:
    """The page as HTML, of a file or, `served`, as `live` fills it."""
    making = making or Making()
    advices = content.advise(view, making, live=served is not None)
    table = rows.list_trials(view)
    drawn = {
        "rates": _prepare(draw_rates(view), pickable=True),
        "tests": _prepare(figures.draw_tests(view.ranges), STRIP),
        "finalists": _prepare(figures.draw_finalists(view)),
        "law": _prepare(
            figures.draw_law(view.answer.law) if view.answer and view.answer.law else None
        ),
        "best": _prepare(content.draw_best(view, making)),
        "typical": _prepare(content.draw_typical(view, making)),
    }
    context: dict[str, Any] = {
        "title": one_line(view.name),
        "subtitle": _subtitle(view),
        "answer": content.describe_answer(view),
        "nothing": f"{view.nothing.capitalize()}.",
        # A page that is served says what runs now.
        "standing": [one_line(e) for e in view.standing if e != UNDER_WAY or served is None],
        # Its mark and the advice to confirm say it.
        "warnings": [one_line(warning) for warning in view.warnings if warning != ONE_SEED],
        "codes": [(name, visible(text)) for name, text in making.codes] if view.answer else [],
        "notes": content.describe_notes(view),
        "cost": describe_cost(view) if view.cost["trials"] or view.cost["range_seconds"] else "",
        "made_by": making.command,
        "advices": advices,
        "metric": one_line(view.objective.metric),
        "law_texts": content.law_sentences(view),
        "budgets": content.describe_budgets(view),
        **drawn,
        **_schedules(view, making),
        **_importance(view),
        **_verdicts(view, [each.evidence for each in advices]),
        **_trials(view, table, making),
        "making": content.describe_making(view, making),
        "unmeasured": content.list_unmeasured(view),
        "failures": content.describe_failures(view),
        "spec": visible(making.spec),
        "swatches": SWATCHES,
        "footer": f"Written by lrsearch {__version__} from {one_line(view.folder)}. "
        "The file is complete: it asks nothing of any network.",
    }
    if served is not None:
        context["footer"] = f"Served by lrsearch {__version__} from {one_line(view.folder)}."
    context["nav"] = _nav(context, served)
    return render("page.html", context, _data(view, making, table, drawn["rates"]), served)


# rendering


@cache
def read_file(name: str) -> str:
    """The text of a file of the page."""
    return (files("lrsearch.reports.page") / name).read_text("utf-8")


@cache
def environment() -> Environment:
    """The templates of the page."""
    found = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(read_file)
    )
    found.filters["full"] = without_empty
    return found


def make_policy(*, served: bool) -> tuple[str, str]:
    """The policy of a page, and its style."""
    style = read_file("page.css") + (read_file("live.css") if served else "")
    scripts = ["page.js", *(["live.js"] if served else [])]
    hashes = " ".join(f"'{_hash(read_file(name))}'" for name in scripts)
    asks = "connect-src 'self'; " if served else ""
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src {hashes}; {asks}"
        "base-uri 'none'; form-action 'none'"
    )
    return policy, style


def render(template: str, context: Mapping[str, Any], data: str, served: Served | None) -> str:
    """A page of a template, with the figures of its context drawn; its data are JSON in which
    nothing ends the element, see `_escape`."""
    policy, style = make_policy(served=served is not None)
    drawn = {key: _prepare(each) for key, each in context.items() if isinstance(each, Figure)}
    return (
        environment()
        .get_template(template)
        .render(
            **{"swatches": SWATCHES, **context, **drawn},
            served=served and {**vars(served), "course": _prepare(served.course)},
            policy=policy,
            style=Markup(style),  # The package's own files, whose hashes the policy has.
            script=Markup(read_file("page.js")),
            live_script=Markup(read_file("live.js")),
            data=Markup(data),
        )
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _escape(value: Any) -> str:
    r"""JSON that can stand in a script element: `<`, `>` and `&` as \u003c and the like."""
    text = json.dumps(plain(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _prepare(
    figure: Figure | None, height: int = HEIGHT, *, pickable: bool = False
) -> dict[str, Any] | None:
    """A figure with its panels drawn: one alone is wide, and of this height."""
    if figure is None:
        return None
    panels = []
    size = SMALL if len(figure.panels) > 1 else (WIDE, height)
    for place, panel in enumerate(figure.panels):
        name = f"plot-{figure.name}-{place}" if pickable else ""
        drawing = svg.draw(panel, width=size[0], height=size[1], name=name)
        panels.append((panel.title, Markup(drawing)))  # Texts in it are escaped where it is drawn.
    return {"figure": figure, "panels": panels}


def _data(view: RunView, making: Making, table: rows.Table, rates: Mapping[str, Any] | None) -> str:
    texts: dict[str, int] = {}
    told: dict[int, list[int]] = {}
    few = len(view.records) <= MOST_CURVES
    for record in view.records:
        result = record.result
        if result is None:
            continue
        said = [content.shorten(result.reason, 500)] if result.reason else []
        if few or record.trial.number in making.curves:
            said += [one_line(each.advice) for each in result.verdicts or () if each.advice]
        if said:
            own = told[record.trial.number] = []
            own += [texts.setdefault(text, len(texts)) for text in said]
    curves = {
        number: rows.quantise(curve, rows.FINE if place < rows.CHOSEN else rows.COARSE)
        for place, (number, curve) in enumerate(making.curves.items())
        if curve
    }
    figure = rates["figure"] if rates else None
    size = SMALL if figure and len(figure.panels) > 1 else (WIDE, HEIGHT)
    picks = {
        f"plot-rates-{place}": svg.picks(panel, width=size[0], height=size[1])
        for place, panel in enumerate(figure.panels if figure else ())
    }
    return _escape(
        {
            "head": table.head,
            "numeric": table.numeric,
            "begin": table.begin,
            "rows": table.texts[: rows.FIRST],  # Its script reads the others from their text.
            "goal": view.objective.goal,
            "decimals": view.decimals,
            "run": one_line(view.folder),
            "texts": list(texts),
            "told": told,
            "curves": {number: curve for number, curve in curves.items() if curve},
            "picks": picks,
        }
    )


# the parts


NAV = (
    ("answer", "Answer", "title"),
    ("next", "Next", "advices"),
    ("code", "Code", "codes"),
    ("rate", "Rate", "rates"),
    ("finalists", "Finalists", "finalists"),
    ("budgets", "Budgets", "budgets"),
    ("batch", "Batch", "law"),
    ("schedules", "Schedules", "schedules"),
    ("importance", "Importance", "importance"),
    ("curves", "Curves", "best"),
    ("trials", "Trials", "first"),
    ("measured", "Method", "title"),
)


def _nav(context: Mapping[str, Any], served: Served | None) -> list[tuple[str, str]]:
    present = {**context, "rates": context["rates"] or context["tests"]}
    present["best"] = context["best"] or context["typical"] or context["verdicts"]
    found = [(key, short) for key, short, part in NAV if present[part]]
    if served is None:
        return found
    course = [("course", "Course")] if served.course else []
    return [("now", "Now"), found[0], *course, *found[1:]]


def _subtitle(view: RunView) -> str:
    parts = [count(len(view.records), "trial")]
    if view.running:
        parts.append(f"{view.running} running")
    strategies = dict.fromkeys(record.strategy for record in view.records)
    return " · ".join([*parts, *map(one_line, strategies)])


def _schedules(view: RunView, making: Making) -> dict[str, Any]:
    found = content.describe_schedules(view, making)
    cards = [{**each, "drawing": Markup(each["curve"])} for each in found]
    listed = [
        [each[key] for key in ("name", "objective", "origin", "params", "points")] for each in found
    ]
    return {
        "schedules": cards,
        "schedule_rows": listed,
        "schedule_finding": content.tell_schedules(found),
    }


def _meter(share: float, interval: tuple[float, float] | None = None) -> Markup:
    """A bar of a share, with the ends of its interval."""
    width = 300
    reach = ""
    if interval is not None:
        low, high = (round(min(max(end, 0.0), 1.0) * width) for end in interval)
        reach = f'<rect class="reach" x="{low}" y="5" width="{max(1, high - low)}" height="2"/>'
    begun = svg.open_svg("meter", width, 12, ' preserveAspectRatio="none"')
    return Markup(
        f'{begun}<rect class="track" width="{width}" height="12" rx="2"/>'
        f'<rect class="fill" width="{round(share * width)}" height="12" rx="2"/>{reach}</svg>'
    )


MANY = "too many values to name one by one"
"""The cell of a parameter whose values have no best each."""


def _importance(view: RunView) -> dict[str, Any]:
    found = content.describe_importance(view)
    shared = [each for each in found if each["share"] is not None]
    finding = (
        f"{shared[0]['name']} explains {shared[0]['percent']} of the variation alone"
        + (f", {shared[1]['name']} {shared[1]['percent']}." if len(shared) > 1 else ".")
        if shared
        else "No share of the variation is surer than noise."
    )
    head = title_levels(view.answer) if view.answer is not None else ""
    if any(each["levels"] for each in found):
        finding += f" Below each stands the {head}."
    for each in found:
        share = each["share"]
        each["drawing"] = _meter(share.share, share.interval) if share is not None else ""
    cells = (("name", ""), ("percent", ""), ("between", ""), ("levels", MANY))
    return {
        "importance": found,
        "importance_rows": [[each[cell] or many for cell, many in cells] for each in found],
        "importance_finding": finding,
        "importance_head": head,
    }


def _verdicts(view: RunView, said: Sequence[str]) -> dict[str, Any]:
    """The verdicts, and advice that was not `said` already."""
    counted = count_first(view.records)
    most = max(counted.values(), default=1)
    told = {name: number for name, number in counted.items() if name != UNKNOWN}
    healthy, looked = told.get(HEALTHY, 0), count(sum(told.values()), "trial")
    finding = f"{healthy} of {looked} that tell enough {'is' if healthy == 1 else 'are'} healthy."
    finding = finding if told else "There is too little to tell."
    drawn = [
        {"name": name, "number": number, "drawing": _meter(number / most)}
        for name, number in counted.items()
    ]
    advice = [text for sentence in view.advice if (text := one_line(sentence)) not in said]
    return {"verdicts": drawn, "verdict_finding": finding, "verdict_advice": advice}


def _trials(view: RunView, table: rows.Table, making: Making) -> dict[str, Any]:
    first = table.texts[: rows.FIRST]
    left = len(table.rows) - len(first)
    parallel = rows.draw_parallel(view, table)
    lines = min(len(table.rows), rows.LINES)
    known = sum(map(bool, making.curves.values()))
    curved = "Curves are drawn to a thousandth of their height."
    note = f"Best first. {curved if known else 'None of them has a curve.'}"
    if 0 < known < sum(record.result is not None for record in view.records):
        note += f" Of {count(len(table.rows), 'trial')} {known} have their curve here."
    if known > rows.CHOSEN:
        note += (
            f" Beyond {rows.CHOSEN} chosen ones they are thinned to {rows.COARSE} values; "
            f"those have up to {rows.FINE}."
        )
    metric = one_line(view.objective.metric)
    many = f"the best {lines} trials" if lines < len(table.rows) else "all trials"
    return {
        "trials": table,
        "first": first,
        "rest": rows.to_text(table, rows.FIRST) if left > 0 else "",
        "rest_count": left,
        "trials_note": note,
        "example": _example(table.head),
        "parallel": Markup(parallel),
        "parallel_finding": f"The values of {many} from axis to axis, {metric} last.",
    }


def _example(head: Sequence[str]) -> str:
    word = "healthy" if "verdict" in head else "completed"
    return f"lr > 0.01 and {word}" if "lr" in head else word
