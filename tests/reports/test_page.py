"""The page of a run: what it holds, that it is safe and small, and in a real browser that it works.

The browser is Debian's Chromium with its driver, through selenium; `npm install axe-core` in this
folder, or the file in LRSEARCH_AXE, has axe look at the page. Tests skip where these are absent.
"""

import base64
import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import lrsearch
from lrsearch.analysis.confirmation import Confirmation, Finalist
from lrsearch.analysis.edges import Range
from lrsearch.reports import svg
from lrsearch.reports.answer import evidence
from lrsearch.reports.contest import _facts
from lrsearch.reports.marks import Bar, Line, Panel, Points, Scale, label, spanning
from lrsearch.reports.page import Making, rows, write_page
from lrsearch.reports.page.content import advise
from lrsearch.reports.page.figures import draw_curves, draw_finalists, draw_law
from lrsearch.reports.rates import draw_rates
from lrsearch.reports.view import Context, build_view
from lrsearch.trial import Diagnosis, Objective, Outcome, Record, Result, Trial

ACCURACY = Objective("accuracy", "max")
HOSTILE = [
    "<script>document.title='bad'</script>",
    "]]></script><img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "\u202egnissim\u202c \u05e9\u05dc\u05d5\u05dd",
    "</pre></details>&lt;b&gt;{{ 7*7 }}{% raw %}\x1b[31m\x00",
    "long " * 2000,
]


def course(value, steps=8):
    """A curve that comes to a value."""
    done = [value * (1 - 0.5**step) for step in range(1, steps + 1)]
    return {
        "step": [10.0 * step for step in range(1, steps + 1)],
        "accuracy": done,
        "loss": [1 / (each + 0.1) for each in done],
    }


def made(count, *, params=None, folds=None, objective=ACCURACY, seeds=1, config=None):
    """A view of so many trials, whose value follows the rate, and their curves."""
    records, curves = [], {}
    for number in range(1, count + 1):
        point = (number - 1) // seeds
        lr = float(f"{10 ** (-4 + 4 * ((point * 0.618) % 1)):.5g}")
        given = {
            "lr": lr,
            "batch_size": [16, 32, 64][point % 3],
            "schedule": ["constant", "cosine"][(point // 3) % 2],
        } | (params(point) if params else {})
        value = 0.97 - 0.06 * (math.log10(lr) + 1.5) ** 2 + 0.004 * ((number * 7) % 5)
        outcome, reason, trace = Outcome.COMPLETED, "", ""
        if lr > 0.5:
            outcome, reason = Outcome.DIVERGED, "the loss is not finite at step 4"
        elif number % 17 == 5:
            outcome, reason, trace = (
                Outcome.FAILED,
                "ValueError: no",
                "Traceback ...\nValueError: no",
            )
        last = {objective.metric: value, "loss": 1 / (value + 0.1)}
        good = outcome is Outcome.COMPLETED
        name = {Outcome.COMPLETED: "healthy" if value > 0.9 else "too_slow"}.get(
            outcome, "diverged"
        )
        verdict = Diagnosis(name, 0.9, {"rise": 1.5}, f"take another rate than {lr:.3g}")
        result = Result(
            outcome,
            80,
            8.0,
            0.25,
            last=last if good else {},
            best=last if good else {},
            reason=reason,
            traceback=trace,
            verdicts=(verdict,),
        )
        fold = None if folds is None else (number - 1) % folds
        train = {
            "train": {
                "schedule": {"name": given["schedule"], "final": 0.0},
                "warmup": None,
                "budget": "8ep",
                "batch_size": 32,
            }
        }
        if given["schedule"] == "constant":
            train["train"]["schedule"] = {"name": "constant"}
        trial = Trial(number, f"key{number}", config or train, (number - 1) % seeds, fold)
        owner = point + 1 if folds is None else (number - 1) // folds + 1
        records.append(Record(trial, owner, given, "random", result))
        curves[number] = course(value) if good else {}
    ranges = [Range("lr", 1e-4, 1.0, "log", path="lr")]
    context = Context(searched=ranges, next_command="lrsearch export a.yaml")
    view = build_view("digits", "runs/digits", objective, records, context)
    making = Making(
        command="lrsearch random a.yaml",
        codes=[("YAML", "train:\n  lr: 0.1\n"), ("PyTorch", "import torch\n")],
        curves={number: curve for number, curve in curves.items() if curve},
        samples=1000,
        facts=[("versions", "torch 2")],
        spec="name: digits\n",
        edge_command=["lrsearch", "random", "a.yaml"],
    )
    return view, making


class Outline(HTMLParser):
    """The elements of a page: ids, attributes, the texts of its styles and scripts."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.open, self.texts = [], [], [], {}
        self.text = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        tag, attributes = self.open[-1] if self.open else ("", {})
        if tag in ("style", "script"):
            self.texts.setdefault((tag, attributes.get("type")), []).append(data)
        else:
            self.text.append(data)

    def values(self, name):
        return [value for _, each, value in self.attributes if each == name]


@pytest.fixture(scope="module")
def forty():
    view, making = made(40)
    return write_page(view, making)


# what a page holds


def hashed(text):
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def test_the_policy_allows_the_one_style_and_the_one_script(forty):
    page = Outline(forty)
    (policy,) = [value for value in page.values("content") if "default-src" in value]
    (style,), (script,) = page.texts["style", None], page.texts["script", None]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    assert f"style-src '{hashed(style)}'" in policy and f"script-src '{hashed(script)}'" in policy
    assert {
        name for _, name, _ in page.attributes if name == "style" or name.startswith("on")
    } == set()
    links = [value for tag, name, value in page.attributes if name in ("href", "src", "action")]
    assert links and all(link.startswith("#") for link in links)
    (data,) = page.texts["script", "application/json"]
    assert "<" not in data and json.loads(data)["head"][0] == "trial"
    assert script.count("\n") < 420


def test_ids_are_unique_and_what_is_named_by_them_is_there(forty):
    page = Outline(forty)
    ids = page.values("id")
    assert len(set(ids)) == len(ids)
    named = page.values("aria-labelledby") + page.values("for")
    named += [link[1:] for link in page.values("href")]
    assert named and set(named) <= set(ids)


SECTIONS = "answer next code rate batch schedules importance curves trials measured".split()  # noqa: SIM905


def test_sections_stand_in_their_order(forty):
    page = Outline(forty)
    found = [value for tag, name, value in page.attributes if (tag, name) == ("section", "id")]
    assert found == SECTIONS
    figures = [value for tag, name, value in page.attributes if (tag, name) == ("figure", "id")]
    assert figures == ["fig-rates", "fig-law", "fig-best", "fig-typical", "fig-parallel"]


def test_a_page_is_complete_without_its_script(forty):
    text = "".join(Outline(forty).text)
    view, _ = made(40)
    assert "not confirmed" in text and "lrsearch random a.yaml" in text
    for record in view.records:
        assert f"{record.params['lr']:.5g}" in text
    # Each figure has its sentence and its table.
    assert forty.count("<figcaption") == 5 and forty.count("<summary>Table") >= 4


@pytest.fixture(scope="module")
def many():
    """The page of 10,000 trials, of which 200 have their curve."""
    view, making = made(10_000)
    return write_page(view, Making(curves=dict(list(making.curves.items())[:200])))


def test_sizes(forty, many):
    assert len(forty.encode()) < 150_000
    assert len(many.encode()) < 2_000_000
    assert "Of 10000 trials 200 have their curve here" in many
    # What the table leaves out stands behind it, as text that the script reads, too.
    rest = re.search(r"<details id=\"rest\">.*?<pre[^>]*>(.*?)</pre>", many, re.S)[1]
    assert len(rest.split("\n")) == 1 + 10_000 - rows.FIRST


def test_curves_are_thinned_beyond_the_chosen_ones_and_it_is_said():
    view, making = made(230, seeds=1)
    text = write_page(view, making)
    curves = json.loads(Outline(text).texts["script", "application/json"][0])["curves"]
    assert len(curves) > rows.CHOSEN
    assert "thinned to 12 values" in text


def test_a_trial_is_told_with_its_point_where_that_has_another_number():
    assert "point" not in rows.list_trials(made(4)[0]).head
    table = rows.list_trials(made(4, seeds=2)[0])
    own = sorted((row[0], row[table.head.index("point")]) for row in table.rows)
    assert own == [(1, 1), (2, 1), (3, 2), (4, 2)]


def test_values_of_the_objective_have_the_decimals_of_the_answer():
    assert rows.show_row([3, 0.5, "completed", 0.031623, 1e-5, 2_000_000], 4) == [
        *("3", "0.5000", "completed", "0.031623", "1e-5", "2000000")
    ]
    assert [rows.show_row([1, value], digits)[1] for value, digits in (
        (0.963788, 4), (None, 4), (2.5e7, 2), (0.125, None), (0.125, -3), (1.5e12, -4),
        (1234.56781, 4),
    )] == ["0.9638", "", "2.5e7", "0.125", "0.125", "1.500e12", "1234.5678"]  # fmt: skip
    # The script, which has none but these texts, and the table without it show the same.
    view, making = made(203)
    page = Outline(write_page(view, making))
    shown = json.loads(page.texts["script", "application/json"][0])["rows"]
    table = rows.list_trials(view)
    assert shown == table.texts[:200] and shown[0][1] == view.show(view.best.objective)
    assert rows.to_text(table, 200).split("\n")[1:] == [
        "\t".join(each) for each in table.texts[200:]
    ]


def test_a_live_page_sends_nobody_to_a_report():
    view, making = made(4)
    view = dataclasses.replace(view, next_command="lrsearch report runs/digits")
    alone, live = ([each.title for each in advise(view, making, live=on)] for on in (False, True))
    assert alone[-1] == "Look again later" and live == alone[:-1]


def test_a_rate_that_stays_is_told_once():
    law = made(40)[0].answer.law
    last = dataclasses.replace(law.bests[-1], lr=0.1)
    other = dataclasses.replace(law, bests=(*law.bests[:-1], last))
    assert [draw_law(each).finding for each in (law, other)] == [
        "The best rate is 0.0389 at 16 and at 64.",
        "The best rate goes from 0.0389 at 16 to 0.1 at 64.",
    ]


def test_a_quantised_curve_keeps_its_ends_and_its_gaps():
    curve = {"step": list(range(100)), "loss": [float(step) for step in range(100)]}
    curve["loss"][99] = math.nan
    found = rows.quantise(curve, 12)
    *ends, levels = found["loss"]
    low, high = map(float, ends)
    assert found["step"][0] == 0 and found["step"][-1] == 99 and len(levels) == 12
    assert (low, levels[0], levels[-1]) == (0.0, 0, None)
    for step, level in list(zip(found["step"], levels, strict=True))[:-1]:
        assert low + (high - low) * level / 999 == pytest.approx(
            step, abs=(high - low) / 1998 + 1e-9
        )
    assert rows.quantise({}, 12) == {}


def hostile_page():
    def params(point):
        return {HOSTILE[point % 6][:200]: HOSTILE[(point + 1) % 6], "lr": 10.0 ** -(point % 4 + 1)}

    view, _ = made(24, params=params)
    records = []
    for record in view.records:
        result = record.result
        told = [*HOSTILE][record.trial.number % 6]
        verdict = Diagnosis("too_slow", 0.8, {told: 1.0}, told)
        change = {"outcome": Outcome.FAILED} if record.trial.number % 2 else {}
        fields = {**vars(result), "reason": told, "traceback": told, "output": told}
        fields |= {"verdicts": (verdict,), **change}
        records.append(Record(record.trial, record.point, record.params, "grid", Result(**fields)))
    view = build_view(HOSTILE[0], HOSTILE[1], ACCURACY, records, Context(standing=HOSTILE))
    making = Making(
        command=HOSTILE[0],
        codes=[("YAML", HOSTILE[1]), ("PyTorch", HOSTILE[4])],
        curves={1: {"step": [1.0, 2.0], HOSTILE[0]: [1.0, 2.0], "accuracy": [0.1, 0.2]}},
        facts=[(HOSTILE[0], HOSTILE[1])],
        spec="\n".join(HOSTILE),
    )
    return write_page(view, making)


def test_what_is_hostile_is_text():
    text = hostile_page()
    page = Outline(text)
    assert page.tags.count("script") == 2 and "img" not in page.tags
    (data,) = page.texts["script", "application/json"]
    assert not set("<>&") & set(data) and HOSTILE[1] in json.dumps(json.loads(data))
    assert HOSTILE[0] in "".join(page.text) and "{{ 7*7 }}" in "".join(page.text)
    assert not any("\u202e" in part or "\x1b" in part for part in [text])
    assert "\\u202e" in text
    assert not any(
        "javascript:" in (value or "")
        for _, name, value in page.attributes
        if name in ("href", "src")
    )
    longest = max(len(part) for part in page.text)
    assert longest < 20_000


def only(outcome):
    view, _ = made(4)
    records = []
    for record in view.records:
        fields = {**vars(record.result), "outcome": outcome, "last": {}, "best": {}}
        records.append(Record(record.trial, record.point, record.params, "grid", Result(**fields)))
    view = build_view("lost", "runs/lost", ACCURACY, records)
    return dataclasses.replace(view, retry_command="lrsearch x")


def confirmed():
    """A view of finalists that were measured again: the second is the best, one was lost."""
    view, making = made(40)
    finalists = []
    for place, point in enumerate(view.points[:4]):
        mean = None if place == 3 else 0.95 - 0.01 * abs(place - 1)
        scores = dict.fromkeys((101, 102, 103), mean)
        finalists.append(
            Finalist(
                point.point,
                point.params,
                point.objective,
                mean,
                None if mean is None else (mean - 0.02, mean + 0.02),
                scores,
                shrinkage=None if mean is None else point.objective - mean,
                outcome="diverged" if mean is None else "",
                tied=place == 1,
            )
        )
    finalists.sort(key=lambda each: -(each.mean or 0))
    control = Finalist(None, {"lr": 0.1}, None, 0.5, (0.4, 0.6), {101: 0.5}, control=True)
    confirmation = Confirmation((*finalists[:3], control, finalists[3]), seeds=3, over=True)
    return dataclasses.replace(view, confirmation=confirmation), making


def test_finalists_stand_with_their_fresh_seeds():
    view, making = confirmed()
    text = write_page(view, making)
    page = Outline(text)
    words = " ".join("".join(page.text).split())
    # Of each schedule stands what fresh seeds say; the search's value is called so.
    again = {each.params.get("schedule"): each for each in reversed(view.confirmation.finalists)}
    for name in ("constant", "cosine"):
        (level,) = (each for each in view.answer.levels["schedule"] if each.value == name)
        mean, value = f"{again[name].mean:.4f}", f"{level.objective:.4f}"
        assert f"{name}: {value} ({mean})" in words and mean != value
        assert f"3 fresh seeds; the search's best {value}" in words
    assert "with its best finalist on fresh seeds" in words
    assert (
        words.count("best of each value in the search (fresh seeds), all else free.") == 1
        and " trials of the search, by step" in words
    )
    assert "confirmed on 3 fresh seeds" in words and "not confirmed" not in words
    assert "Fresh seedson a fresh seed, and so not recommended: point" in words
    # Of the answer all values of the objective have the decimals, those that its script tells, too.
    decimals = view.answer.decimals
    value = next(row[1] for row in rows.list_trials(view).rows if row[1] is not None)
    assert (
        f"<td>{value:.{decimals}f}</td><td>completed</td>" in text
        and rows.show(value) != f"{value:.{decimals}f}"
    )
    assert f'"decimals":{decimals}' in text.replace(" ", "")
    ids = page.values("id")
    assert ids.index("rate") < ids.index("finalists") < ids.index("batch")
    figure = re.search(r'<figure id="fig-finalists".*?</figure>', text, re.S)[0]
    # The control is beyond the axis, one finalist is lost, three have an interval.
    drawn = re.search(r"<svg class=\"plot\".*?</svg>", figure, re.S)[0]
    assert drawn.count('class="fresh"') == 3 and drawn.count(">point ") == 4
    assert all(f'class="{kind}"' in drawn for kind in ("off", "cross", "pick", "dot", "tie"))
    assert "the control: 0.5" in figure and "0.9300 to 0.9700" in figure


def test_the_control_is_called_so_in_the_figure_of_finalists():
    view, _ = confirmed()
    again = [
        dataclasses.replace(each, point=view.points[9].point) if each.control else each
        for each in view.confirmation.finalists
    ]
    seen = dataclasses.replace(view.confirmation, finalists=tuple(again))
    panel = draw_finalists(dataclasses.replace(view, confirmation=seen)).panels[0]
    assert [name for _, name in panel.x_names].count("control") == 1


def test_on_a_plain_the_page_claims_no_better_rates(forty):
    view, making = made(40)
    basin = dataclasses.replace(view.answer.basin, flat=0.5)
    vars(view)["answer"] = dataclasses.replace(view.answer, basin=basin)
    text = " ".join("".join(Outline(write_page(view, making)).text).split())
    assert "do as well" in forty and "may do as well" in text and "may do as well" not in forty
    # The answer, and what is said of the rate.
    assert text.count("perhaps none of these") == 2 and "perhaps none of these" not in forty


def test_without_an_interval_nothing_is_called_likely():
    view, making = confirmed()
    own = '<p class="likely">'
    assert own in write_page(view, making) and "likely" in str(dict(_facts(view, True)))
    assert " (3 fresh seeds)" in dict(_facts(view, True))["value"]
    flat = [dataclasses.replace(each, interval=None) for each in view.confirmation.finalists]
    again = dataclasses.replace(view.confirmation, finalists=tuple(flat))
    view = dataclasses.replace(view, confirmation=again)
    assert own not in write_page(view, making) and "likely" not in evidence(view.answer)
    assert "likely" not in str(dict(_facts(view, True)))


def test_an_interval_wider_than_the_axis_is_drawn_through_it():
    view, _ = confirmed()
    near = [
        dataclasses.replace(each, interval=(-1e3, 1e3)) if place == 0 else each
        for place, each in enumerate(view.confirmation.finalists)
    ]
    seen = dataclasses.replace(view.confirmation, finalists=tuple(near))
    panels = draw_rates(dataclasses.replace(view, confirmation=seen)).panels
    bars = [mark for panel in panels for mark in panel.marks if isinstance(mark, Bar)]
    assert [(bar.low, bar.high) for bar in bars].count((-1e3, 1e3)) == 1


def test_texts_of_any_length_are_cut_where_they_are_labels():
    view, making = made(30, params=lambda point: {"kind": "x" * 10_000})
    assert all(len(panel.title) <= 200 for panel in draw_rates(view).panels)
    page = Outline(write_page(view, making))
    answer = "".join(page.text).split("What to do next")[0]
    assert len(answer) < 5_000


def test_a_near_control_has_its_whole_interval():
    """One that reaches beyond all others at both ends was left out, as if there were none."""
    view, _ = confirmed()
    wide = [
        dataclasses.replace(each, mean=0.945, interval=(0.85, 0.99)) if each.control else each
        for each in view.confirmation.finalists
    ]
    seen = dataclasses.replace(view.confirmation, finalists=tuple(wide))
    panel = draw_finalists(dataclasses.replace(view, confirmation=seen)).panels[0]
    bars = [mark for mark in panel.marks if isinstance(mark, Bar)]
    assert len(bars) == 4
    assert all(panel.y.holds(bar.low) and panel.y.holds(bar.high) for bar in bars)


KINDS = {
    "confirmed": confirmed,
    "none": lambda: (build_view("empty", "runs/empty", ACCURACY, []), Making()),
    "one": lambda: made(1),
    "folds": lambda: made(30, folds=5),
    "seeds": lambda: made(36, seeds=3),
    "lost": lambda: (only(Outcome.FAILED), Making()),
    "diverged": lambda: (only(Outcome.DIVERGED), Making()),
    "regression": lambda: made(40, objective=Objective("rmse", "min")),
    "command": lambda: made(
        12, params=lambda point: {"schedule": ["a", "b"][point % 2]}, config={"command": "train"}
    ),
    "flat": lambda: made(20, params=lambda point: {"lr": 0.1}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pages_of_every_kind_of_run(kind):
    html = write_page(*KINDS[kind]())
    page = Outline(html)
    text = "".join(page.text)
    # No column of a table is empty, but that of the metric where no trial has a value.
    for head, body in re.findall(r"<thead>(.*?)</thead>\s*<tbody>(.*?)</tbody>", html, re.DOTALL):
        names = re.findall(r"<t[hd].*?</t[hd]>", head)
        cells = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", body)]
        empty = [n for n, *own in zip(names, *cells, strict=True) if not any(own)]
        assert len(empty) <= (kind in ("lost", "diverged")), empty
    # How sure the answer is, and with whom it is tied, is told once.
    assert max(map(text.count, ("not confirmed", "tied for", "the best has one seed"))) <= 1
    ids = page.values("id")
    assert len(set(ids)) == len(ids) and {"answer", "measured"} <= set(ids)
    links = {link[1:] for link in page.values("href")}
    assert links <= set(ids)
    assert ("rate" in ids) == (kind not in ("none", "one", "lost", "diverged", "flat"))
    assert ("1 seed x 5 folds" in text) == (kind == "folds")
    if kind in ("none", "lost", "diverged"):
        assert "law" not in ids and "likely" not in text and "PyTorch" not in text
    if kind == "none":
        assert "No trials yet" in text
    # Too slow are the low rates: no matter to mend where another is recommended, and yet told.
    if kind in ("seeds", "folds", "command", "regression"):
        told = text.count("or less are too slow"), text.count("Mend what holds the recommended")
        assert told == ((1, 1) if kind == "regression" else (1, 0))
    if kind == "lost":
        assert "No point was trained to its end" in text and "lrsearch x" in text


def test_verdicts_have_the_names_that_users_know_them_by():
    """A trial that its neighbours alone call oscillating swings in no figure."""
    view, making = made(3)
    text = write_page(with_verdicts(view, Diagnosis("oscillating", 0.9, {}, "")), making)
    assert "rate too high: trial 1" in text and "oscillating" not in text
    text = write_page(with_verdicts(view), making)
    assert "There is too little to tell." in text and "are healthy" not in text


def with_verdicts(view, *verdicts):
    """The view, with these verdicts on each of its trials."""
    records = [
        dataclasses.replace(each, result=dataclasses.replace(each.result, verdicts=verdicts))
        for each in view.records
    ]
    return dataclasses.replace(view, records=records)


def test_files_of_the_page_are_part_of_the_package():
    folder = Path(lrsearch.__file__).parent
    project = tomllib.loads((folder.parent / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["lrsearch"]
    others = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert len(others) >= 4
    assert [name for name in others if not any(fnmatch(name, each) for each in patterns)] == []


# scales and marks


@pytest.mark.parametrize(
    "scale",
    [
        Scale(-3, 5),
        Scale(1e-5, 2.0, log=True),
        Scale(0.97, 0.99),
        Scale(0.0022, 0.09, log=True),
        Scale(0.011, 0.019, log=True),
        Scale(0.61, 1.47, log=True),
    ],
)
def test_a_scale_s_ticks_are_round_and_on_it(scale):
    ticks = scale.ticks(5)
    assert 2 <= len(ticks) <= 6 and all(scale.low <= tick <= scale.high for tick in ticks)
    for tick in ticks:
        assert scale.value(scale.place(tick)) == pytest.approx(tick)
        assert len(f"{tick:.12g}".strip("-").replace(".", "").lstrip("0").split("e")[0]) <= 3


@given(st.floats(1e-6, 1e6), st.floats(1.01, 1e9), st.booleans(), st.integers(2, 9))
def test_every_scale_has_two_ticks_or_more_with_labels_of_their_own(low, factor, log, most):
    scale = Scale(low, low * factor, log)
    ticks = scale.ticks(most)
    assert 2 <= len(ticks) <= 2 * most + 1 and all(map(scale.holds, ticks))
    texts = [text for _, text in label(scale, most)]
    assert len(set(texts)) == len(ticks)
    if not log and not any("e" in text for text in texts):
        assert len({len(text.partition(".")[2]) for text in texts}) == 1, "equally many decimals"


def test_a_valley_of_a_hundred_thousandth_is_level():
    values = {0.001: 0.64445, 0.01: 0.64444, 0.1: 0.644445, 0.3: 0.64446, 1.0: 4.2}
    points = [
        Record(Trial(n, f"k{n}", {}, 0), n, {"lr": rate}, "grid", ended(value))
        for n, (rate, value) in enumerate(values.items(), 1)
    ]
    view = build_view("flat", "runs/flat", Objective("loss", "min"), points)
    (panel,) = draw_rates(view).panels
    assert panel.y.high - panel.y.low > 0.0006


def ended(value):
    return Result(Outcome.COMPLETED, 80, 8.0, 0.25, last={"loss": value}, best={"loss": value})


NUMBERS = st.floats(width=64) | st.sampled_from([0.0, 1e308, -1e308, 1.0, 1.0 + 2**-52])


@example([], [1.0, 2.2250738585072014e-308], True)
@example([], [1e300, 1e-300], True)
@given(
    st.lists(st.tuples(NUMBERS, NUMBERS), max_size=20), st.lists(NUMBERS, max_size=5), st.booleans()
)
def test_whatever_a_curve_holds_is_drawn(places, values, log):
    curve = {"step": [step for step, _ in places], "loss": [value for _, value in places]}
    for together in (None, {1: 1}, {1: 7}):
        figure = draw_curves("x", "x", [("", 1, curve)], "loss", together=together)
        if figure and together:  # A number of a trial is not one of a point.
            whose = " (of point 7)" if together[1] == 7 else ""
            assert figure.key["best"] == f"trial 1{whose}, the best"
        drawn = [svg.draw(panel) for panel in figure.panels] if figure else []
        assert not any("nan" in each or "inf" in each for each in drawn)
    finite = [step for step in curve["step"] if math.isfinite(step)]
    if len(finite) == len(places):
        json.dumps(rows.quantise(curve, 12), allow_nan=False)
    scale = spanning(values, log=log)
    assert scale.low < scale.high and 0 < len(scale.ticks(5)) < 12


def test_a_line_has_gaps_where_it_is_not_finite():
    x, y = Scale(0, 4), Scale(0, 1)
    places = [(0.0, 0.1), (1.0, 0.2), (2.0, math.nan), (3.0, 0.4), (4.0, 0.5)]
    drawn = svg.draw(Panel("", x, y, [Line(places)]))
    path = re.search(r'class="curve" d="([^"]*)"', drawn)[1]
    assert path.count("M") == 2 and path.count("L") == 2 and "nan" not in drawn


def test_marks_stand_where_their_values_are():
    x, y = Scale(1e-3, 1.0, log=True), Scale(0.0, 1.0)
    drawn = svg.draw(Panel("", x, y, [Points([(1e-3, 0.0), (1.0, 1.0)]), Bar(1.0, 0.2, 2.0)]))
    left, right = svg.LEFT, 320 - svg.RIGHT
    top, bottom = svg.TOP, 210 - svg.BOTTOM
    assert f'class="dot" d="M{left} {bottom}h0M{right} {top}h0"' in drawn
    assert f"V{top}M" in drawn and drawn.count("h6") == 1  # The bar goes on beyond the axis.
    # What lies beyond the axis points away from it.
    drawn = svg.draw(Panel("", x, y, [Points([(1e-3, -1.0), (1.0, 2.0)], "off")]))
    assert f'class="off" d="M{left} {bottom}m-3-2l3 4l3-4zM{right} {top}m-3 2l3-4l3 4z"' in drawn
    # Room for the name of the vertical axis is taken from the plane.
    drawn = svg.draw(Panel("", x, y, [Points([(1e-3, 0.0), (1.0, 1.0)])], y_label="a<b" + "c" * 99))
    assert f"M{left} {bottom}h0M{right} {top + svg.NAMED}h0" in drawn
    assert f">a&lt;b{'c' * (svg.LONGEST - 6)}...</text>" in drawn
    assert spanning([3.0]).low < 3.0 < spanning([3.0]).high
    assert spanning([], log=True).low > 0


# in a browser


def find_driver():
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("chromium or chromedriver is not installed")
    return selenium, browser, driver


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver, chromium, path = find_driver()
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    folder = tmp_path_factory.mktemp("profile")
    for flag in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-dev-shm-usage", "disable-background-networking", "disable-component-update",
        "disable-sync", f"user-data-dir={folder}", "window-size=1200,900",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made_driver = webdriver.Chrome(options=options, service=Service(path))
    made_driver.get("about:blank")  # What the browser's own first page asks for is over.
    yield made_driver
    made_driver.quit()


class Page:
    """A page in the browser."""

    def __init__(self, driver, path, text):
        path.write_text(text, "utf-8")
        self.driver = driver
        driver.get_log("performance"), driver.get_log("browser")
        driver.get(path.as_uri())

    def run(self, code, *given):
        return self.driver.execute_script(code, *given)

    def find(self, css):
        return self.driver.find_elements("css selector", css)

    def one(self, css):
        (found,) = self.find(css)
        return found

    def read(self, css):
        """The text of an element, which an update may replace at any moment."""
        return self.run("return document.querySelector(arguments[0]).innerText", css)

    def click(self, element):
        """Click an element in the middle of the window, where nothing covers it."""
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def press(self, key):
        self.driver.switch_to.active_element.send_keys(key)

    def wait(self, condition):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 60, 0.05).until(lambda _: condition())

    def check(self):
        """Hold that nothing was logged, and no request left the page."""
        assert self.driver.get_log("browser") == []
        events = [
            json.loads(line["message"])["message"] for line in self.driver.get_log("performance")
        ]
        sent = [
            each["params"]["request"]["url"]
            for each in events
            if each["method"] == "Network.requestWillBeSent"
        ]
        assert sent and all(url.startswith(("file:///", "data:")) for url in sent)


@pytest.fixture
def opened(browser, tmp_path, forty):
    page = Page(browser, tmp_path / "page.html", forty)
    page.wait(lambda: page.run("return document.documentElement.dataset.ready"))
    yield page
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [], "media": ""})


def test_a_page_opens_without_errors_or_requests(opened):
    opened.check()
    for name in ("rates", "law", "best", "typical"):
        size = opened.one(
            f"#fig-{name} .panel svg"
            if name in ("law", "best")
            else f"#fig-{name} .panel:first-child svg"
        ).size
        assert size["width"] > 200 and size["height"] > 100
    assert opened.run("return document.documentElement.scrollWidth <= innerWidth")


def test_a_trial_that_is_chosen_shows_its_curve(opened):
    assert not opened.one("#picked").is_displayed()
    button = opened.find("#all .row")[2]
    number = button.text
    opened.click(button)
    panel = opened.one("#picked")
    assert panel.is_displayed() and f"Trial {number}" in panel.text
    assert len(opened.find("#picked svg .curve")) == 2 and "take another rate" in panel.text
    assert button.get_attribute("aria-pressed") == "true"
    assert opened.find(f'.strand.on[data-t="{number}"]') and opened.find(".halo")
    opened.click(opened.one("#picked .close"))
    assert not panel.is_displayed() and not opened.find(".halo")


def test_a_point_of_a_figure_chooses_its_trial(opened):
    data = json.loads(opened.run("return document.getElementById('data').textContent"))
    name, flat = next(each for each in data["picks"].items() if each[1])
    opened.run(
        """const svg = document.getElementById(arguments[0]), box = svg.getBoundingClientRect();
        const scale = box.width / svg.viewBox.baseVal.width;
        const at = {bubbles: true, clientX: box.left + arguments[1] * scale,
          clientY: box.top + arguments[2] * scale};
        svg.dispatchEvent(new MouseEvent('mousemove', at));
        svg.dispatchEvent(new MouseEvent('click', at));""",
        name, flat[0], flat[1],
    )  # fmt: skip
    assert opened.one("#tip").text.startswith("trial ")
    assert re.search(r"Trial \d+", opened.one("#picked").text)


def column(page, place):
    return page.run(
        "const rows = [...document.getElementById('all').tBodies[0].rows];"
        "return rows.map((row) => row.cells[arguments[0]].textContent)",
        place,
    )


def test_sorting_and_filtering(opened):
    buttons = opened.find("#all th button")
    by_rate = next(place for place, each in enumerate(buttons) if each.text == "lr")
    opened.click(buttons[by_rate])
    rates = [float(each) for each in column(opened, by_rate)]
    assert rates == sorted(rates) and len(rates) == 40
    assert opened.find("th[aria-sort=ascending]")[0].text.startswith("lr")
    opened.click(buttons[by_rate])
    assert [float(each) for each in column(opened, by_rate)] == rates[::-1]
    field = opened.one("#filter")
    field.send_keys("schedule == cosine and lr > 1e-3")
    opened.wait(lambda: len(opened.find("#all .row")) < 40)
    kept = [float(each) for each in column(opened, by_rate)]
    assert kept and min(kept) > 1e-3 and set(column(opened, by_rate + 2)) == {"cosine"}
    shown = {row.text for row in opened.find("#all .row")}
    dim = {each.get_attribute("data-t") for each in opened.find(".strand.dim")}
    assert dim and not dim & shown
    field.clear()
    field.send_keys("nothing = 3")
    opened.wait(lambda: "no column nothing" in opened.one("#count").text)
    field.clear()
    field.send_keys("diverged")
    opened.wait(
        lambda: (
            "of 40 trials" in opened.one("#count").text
            and len(rates) > len(opened.find("#all .row"))
        )
    )
    ended = zip(column(opened, 2), column(opened, 3), strict=True)
    assert all("diverged" in each for each in ended)


def test_everything_by_the_keyboard(opened):
    from selenium.webdriver.common.keys import Keys

    opened.one("body").send_keys(Keys.TAB)
    seen = []
    for _ in range(150):
        active = opened.driver.switch_to.active_element
        seen.append(active.get_attribute("class") or active.get_attribute("id") or active.text)
        if active.get_attribute("class") == "row":
            break
        active.send_keys(Keys.TAB)
    assert seen[0] == "skip" and seen[-1] == "row" and {"theme", "filter", "copy"} <= set(seen)
    opened.press(Keys.ARROW_DOWN)
    opened.press(Keys.ENTER)
    second = opened.find("#all .row")[1]
    assert opened.driver.switch_to.active_element == second
    assert f"Trial {second.text}" in opened.one("#picked").text
    opened.press(Keys.ESCAPE)
    assert not opened.one("#picked").is_displayed()
    opened.one("#tab-1").send_keys(Keys.ARROW_RIGHT)
    assert opened.one(".pane-2").is_displayed() and not opened.one(".pane-1").is_displayed()
    opened.one("#theme").send_keys(Keys.ENTER)
    assert opened.run("return document.documentElement.dataset.theme") == "light"
    opened.press(Keys.ENTER)
    assert opened.run("return getComputedStyle(document.body).colorScheme") == "dark"
    opened.press(Keys.ENTER)


def test_printing_opens_what_is_folded(opened):
    opened.run("dispatchEvent(new Event('beforeprint'))")
    assert opened.find("details") and not opened.find("details:not([open])")
    opened.run("dispatchEvent(new Event('afterprint'))")
    assert opened.find("details:not([open])")


@pytest.mark.parametrize("width", [360, 820, 1200])
def test_nothing_runs_over_the_side(opened, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    opened.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        opened.click(opened.find("#all .row")[0])
        assert opened.run("return document.documentElement.scrollWidth") <= width
        # No button stands on the code that it copies.
        apart = opened.run(
            """const all = [...document.querySelectorAll('.code')];
            return all.filter((each) => each.offsetParent).map((each) => {
              const [code, copy] = [...each.children].map((part) => part.getBoundingClientRect());
              return copy.width > 0 && (copy.left >= code.right || copy.bottom <= code.top);
            })"""
        )
        assert apart and all(apart)
    finally:
        opened.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def find_axe():
    folders = [Path.cwd(), *Path.cwd().parents]
    given = os.environ.get("LRSEARCH_AXE")
    paths = [Path(given)] if given else []
    paths += [each / "node_modules/axe-core/axe.min.js" for each in folders]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        pytest.skip("axe-core is not installed")
    return found.read_text("utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, scheme):
    axe = find_axe()
    feature = [{"name": "prefers-color-scheme", "value": scheme}]
    opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
    opened.click(opened.find("#all .row")[0])
    opened.run("for (const each of document.querySelectorAll('details')) each.open = true")
    opened.run(axe)
    found = opened.driver.execute_async_script(
        "const done = arguments[0]; axe.run().then((all) => done(all.violations))"
    )
    worst = [
        (each["id"], each["nodes"][0]["html"][:200], each["nodes"][0]["failureSummary"])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
    assert worst == []


def test_what_is_hostile_stays_text_in_the_browser(browser, tmp_path):
    page = Page(browser, tmp_path / "page.html", hostile_page())
    page.wait(lambda: page.run("return document.documentElement.dataset.ready"))
    assert page.driver.title == HOSTILE[0]
    for button in page.find("#all .row")[:6]:
        page.click(button)
    assert HOSTILE[0] in page.one("#picked").text or page.find("#picked")
    page.one("#filter").send_keys("<script>")
    page.check()
    assert page.driver.title == HOSTILE[0] and not page.find("img")
    size = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    view, making = made(20, params=lambda point: {"a" * 80: "b" * 300})
    wide = Page(browser, tmp_path / "wide.html", write_page(view, making))
    wide.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert wide.run("return document.documentElement.scrollWidth") <= 360
    finally:
        wide.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run_opens(browser, tmp_path, kind):
    page = Page(browser, tmp_path / "page.html", write_page(*KINDS[kind]()))
    page.check()


def test_a_run_of_10000_trials_is_sorted_and_filtered(browser, many, tmp_path):
    page = Page(browser, tmp_path / "page.html", many)
    page.wait(lambda: page.run("return document.documentElement.dataset.ready"))
    page.check()
    assert page.one("#count").text == "10000 of 10000 trials"
    page.click(page.one("#more button"))
    assert len(page.find("#all .row")) == 550
    page.one("#filter").send_keys("trial = 9999")
    page.wait(lambda: page.one("#count").text == "1 of 10000 trials")
    page.click(page.one("#all .row"))
    assert "Trial 9999" in page.one("#picked").text
