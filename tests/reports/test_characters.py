"""The rate plot in characters: the figure that the page has, by the same marks and scales."""

import io
import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from test_answer import RATES, bowl, records_of, shown_view

from lrsearch.analysis.confirmation import Confirmation, Finalist
from lrsearch.analysis.edges import Range
from lrsearch.analysis.groups import agrees
from lrsearch.reports import confirmation, svg
from lrsearch.reports.answer import evidence
from lrsearch.reports.characters import SIGNS, choose_signs, draw, draw_figure, plain
from lrsearch.reports.confirmation import confirmation_notes, title_of
from lrsearch.reports.marks import (
    Band,
    Bar,
    Figure,
    Line,
    Panel,
    Points,
    Rule,
    Scale,
    Span,
    spanning,
)
from lrsearch.reports.rates import FEW, KEY, SHOWN, draw_rates, plot_rates
from lrsearch.reports.tables import result
from lrsearch.reports.text import format_value
from lrsearch.reports.view import Context, build_view
from lrsearch.trial import Diagnosis, Objective, Outcome

LOSS = Objective("loss", "min")

HALF = Scale(1.0, 100.0, log=True)
"""Of 21 columns 1 is the first, 10 the middle, 100 the last."""


def drawn(marks, *, y=Scale(0.0, 1.0), encoding="utf-8", **more):  # noqa: B008
    """The plane and the axis of a panel of 21 columns and 5 rows, and its labels."""
    margin = 3 if y == Scale(0.0, 1.0) else 1
    panel = Panel("", HALF, y, marks, **more)
    lines = [
        plain(line) for line in draw(panel, width=21 + margin + 2, height=5, encoding=encoding)
    ]
    assert len(lines) == 7
    *plane, base, names = (line[margin + 2 :].ljust(21) for line in lines)
    return plane, base, names


def find(lines, sign):
    return [(line.index(sign), row) for row, line in enumerate(lines) if sign in line]


def test_marks_stand_at_their_places_on_the_scales():
    plane, base, names = drawn(
        [
            Span(10.0, 100.0),
            Line([(1.0, 0.0), (100.0, 1.0)]),
            Rule(10.0 ** (6 / 5), "lost"),
            Rule(10.0 ** (1 / 10)),
            Rule(10.0 ** (19 / 10)),
            Bar(10.0 ** (2 / 5), 0.5, 1.0, "fresh"),
            Points([(10.0, 0.5), (100.0, 7.0)]),
            Points([(1.0, 0.0)], "cross"),
        ],
        x_label="lr",
    )
    assert find(plane, "●") == [(20, 0), (10, 2)]  # What lies above stands on the edge.
    assert find(plane, "X") == [(0, 4)]
    assert find(plane, "┃") == [(4, 0), (4, 1), (4, 2)]
    assert find(plane, "┊") == [(12, row) for row in range(5)]
    # The line rises from the one corner to the other, joined.
    columns = [line.index("━") for line in reversed(plane) if "━" in line]
    assert len(columns) == 5 and columns == sorted(columns)
    assert base.index("▀") == 10 and base.count("▀") == 10
    assert (base.index("["), base.index("]")) == (1, 19)
    assert names == f"1{'':17}100"


def test_a_band_is_filled_between_its_ends_and_not_outside():
    ends = [(1.0, 0.0, 0.25), (10.0, 0.5, 0.75), (100.0, 2.0, 3.0)]
    plane, _, _ = drawn([Band(ends)])
    filled = [[row for row in range(5) if plane[row][column] == "░"] for column in (0, 10, 20)]
    assert filled == [[3, 4], [1, 2], []]


def test_what_is_not_finite_or_outside_leaves_a_gap():
    plane, _, _ = drawn([Line([(1.0, 0.5), (5.0, math.nan), (20.0, 5.0), (100.0, 0.5)])])
    assert plane[2][0] == plane[2][20] == "━" and "".join(plane).count("━") < 12


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "no-such-encoding"])
def test_no_sign_means_two_things(encoding):
    signs = choose_signs(encoding)
    assert encoding == "utf-8" or "".join(signs.values()).isascii()
    own = [signs[kind] for kind in [*KEY, "end", "high"]]
    assert set(map(len, own)) == {1} and len(set(own)) == len(own)
    assert set(KEY) <= set(SIGNS)


def test_titles_that_do_not_fit_go_on_in_a_second_line():
    shared = "optimizer=adamw batch_size=32 schedule=constant"
    scale = Scale(0.0, 1.0)
    titles = [f"{shared} clip_norm={each}" for each in ("null", "1")]
    panels = [Panel(title, scale, scale, []) for title in (*titles, "short")]
    lines = draw_figure(Figure("rates", "", panels, (), ()), width=100, encoding="utf-8")
    first, second, *rest = map(plain, lines)
    assert first.split("    ") == [shared, shared]
    assert second.split() == ["clip_norm=null", "clip_norm=1"]
    assert rest[9] == "short" and rest[10].startswith("1.0 ┤")


NUMBER = st.floats(-1e9, 1e9)
RATE = st.floats(1e-12, 1e12)


@given(st.lists(st.tuples(RATE, NUMBER), max_size=9), st.integers(20, 90), st.integers(3, 12))
def test_any_panel_keeps_to_its_size(places, width, height):
    bands = [(x, min(y, 0.0), max(y, 0.0)) for x, y in sorted(places)]
    marks = [Band(bands), Line(sorted(places)), Points(places), Points(places, "off")]
    marks += [Bar(x, y - 1, y) for x, y in places] + [Rule(x) for x, _ in places]
    panel = Panel("", Scale(1e-5, 10.0, log=True), Scale(-2.0, 5.0), marks, "lr")
    lines = draw(panel, width=width, height=height)
    assert len(lines) == height + 2
    assert {sum(len(text) for text, _ in line) for line in lines} == {width}


# -- the rates of a run


def rates_view(**more):
    """Two curves that cannot be told apart, a third that is worse, and one of two rates."""
    rows = [
        ({"lr": rate, "schedule": name}, [None if rate > 0.5 else bowl(rate, 1e-2) + worse])
        for name, worse in (("cosine", 0.0), ("linear", 0.01), ("step", 30.0))
        for rate in RATES
    ]
    rows += [({"lr": rate, "schedule": "wsd"}, [bowl(rate, 1e-2)]) for rate in RATES[3:5]]
    context = Context(searched=[Range("lr", 1e-5, 10.0, "log", path="lr")], **more)
    return build_view("r", "runs/r", LOSS, records_of(rows), context)


def text_of(view, width=80, encoding="utf-8"):
    title, lines = plot_rates(view, width=width, encoding=encoding)
    return title, [plain(line) for line in lines]


def test_the_combinations_that_matter_are_drawn_and_the_rest_is_counted():
    title, lines = text_of(rates_view())
    heads = [line for line in lines if "schedule=" in line]
    assert title == "loss by lr" and heads == [f"{'schedule=cosine':41}schedule=linear"]
    told = " ".join(" ".join(lines).split())
    assert f"2 combinations not drawn: worse, or of fewer than {FEW} rates (report" in told
    assert "○" not in told and "┃" not in told  # Nothing was measured again.
    for sign, text in (("◆", "recommended"), ("X", "diverged"), ("[ ]", "end of the search")):
        assert f"{sign} {text}" in told
    plane = "\n".join(lines[:8])
    assert plane.count("◆") == 1 and plane.count("X") == 2 and plane.count("┊") >= 10


def test_the_recommended_point_is_drawn_though_its_combination_has_few_rates():
    rows = [({"lr": rate, "schedule": "cosine"}, [bowl(rate, 1e-2) + 5.0]) for rate in RATES[:4]]
    rows += [({"lr": rate, "schedule": "wsd"}, [bowl(rate, 1e-2)]) for rate in RATES[3:5]]
    _, lines = text_of(build_view("r", "runs/r", LOSS, records_of(rows), Context()))
    [heads] = [line for line in lines if "schedule=" in line]
    assert heads.split() == ["schedule=wsd", "schedule=cosine"]
    assert sum(line.count("◆") for line in lines) == 2, "once drawn, once explained"
    # What has no value is counted, and not drawn.
    records = records_of(rows)
    for place, outcome in ((0, Outcome.PRUNED), (1, Outcome.PRUNED), (2, Outcome.FAILED)):
        result = replace(records[place].result, outcome=outcome)
        records[place] = replace(records[place], result=result)
    figure = draw_rates(build_view("r", "runs/r", LOSS, records, Context()))
    told = "3 points without a value not drawn: 2 stopped early; 1 failed"
    assert figure.notes == [told]
    # Alone it says no more than the table.
    alone = build_view("r", "runs/r", LOSS, records_of(rows[4:]), Context())
    assert plot_rates(alone, width=80, encoding="utf-8") is None


def test_what_diverged_and_has_a_value_is_a_cross_at_it_and_the_figure_says_why():
    """The curve takes it for diverged, and so runs far from its value."""
    rows = [({"lr": rate}, [bowl(rate, 1e-3)]) for rate in RATES]
    records = records_of(rows)
    for at in (-2, -1):
        ended = replace(records[at].result, verdicts=(Diagnosis("diverged", 0.9, {}, ""),))
        records[at] = replace(records[at], result=ended)
    figure = draw_rates(build_view("r", "runs/r", LOSS, records, Context()))
    marks = figure.panels[0].marks
    crosses = {x for mark in marks if mark.kind == "cross" for x, _ in mark.places}
    others = {x for mark in marks if mark.kind in ("dot", "off") for x, _ in mark.places}
    assert crosses == {*RATES[-2:]} and others == {*RATES[:-2]}
    told = "2 points diverged, though trained to the end"
    assert figure.notes == [f"{told}: the curve goes by that, not by their values"]


def test_a_curve_of_few_points_does_not_make_the_scale_coarse():
    rows = [({"lr": rate, "batch_size": 256}, [bowl(rate, 1e-2)]) for rate in RATES]
    alone = draw_rates(build_view("r", "runs/r", LOSS, records_of(rows), Context())).panels[0].y
    few = zip(RATES[::2], (30.0, 4.0, 60.0, 90.0), strict=False)
    rows += [({"lr": rate, "batch_size": 32}, [value]) for rate, value in few]
    both = draw_rates(build_view("r", "runs/r", LOSS, records_of(rows), Context()))
    height = both.panels[0].y.high - both.panels[0].y.low
    assert len(both.panels) == 2 and height <= 3 * (alone.high - alone.low)


def test_no_probability_is_certain():
    shares = (0.0, 0.0012, 0.5, 0.9987, 1.0)
    told = ["below 0.001", "0.001", "0.500", "0.999", "above 0.999"]
    assert [confirmation._probability(share) for share in shares] == told
    assert [confirmation._brief(share) for share in shares] == ["<0.001", *told[1:4], ">0.999"]


def test_terminal_and_page_draw_the_same_figure():
    view = rates_view()
    page, terminal = draw_rates(view), draw_rates(view, most=SHOWN, telling=True)
    both = (
        [m for m in each.panels[0].marks if not isinstance(m, Points)] for each in (page, terminal)
    )
    assert next(both) == next(both)
    assert page.panels[0].title == terminal.panels[0].title == "schedule=cosine"
    # One of four combinations has a point alone, which a drawing would not make clearer.
    assert len(page.panels) == 3 and len(terminal.panels) == 2
    assert page.notes == ["1 combination not drawn: of fewer than 3 rates"]
    drawing = svg.draw(terminal.panels[0])
    assert all(f'class="{kind}"' in drawing for kind in terminal.key)


def test_no_axis_goes_on_where_its_metric_has_an_end():
    accuracy = Objective("accuracy", "max")
    rows = [({"lr": rate}, [1.0 - bowl(rate, 1e-2) / 100]) for rate in RATES]
    for scale, largest in ((1.0, 1.0), (100.0, 104.0)):  # Some count in percents.
        rows = [(params, [value * scale for value in values]) for params, values in rows]
        view = build_view("r", "runs/r", accuracy, records_of(rows, accuracy))
        top = draw_rates(view).panels[0].y.high
        assert 0.99 * scale < top <= largest
    assert spanning([0.9, 1.0], metric="accuracy").high == 1.0
    assert spanning([90.0, 100.0], metric="accuracy").high > 100.0
    assert spanning([0.0, 2.0], metric="loss").low == 0.0 > spanning([-1.0], metric="loss").low


def test_titles_that_are_cut_keep_what_tells_them_apart():
    name = "a_parameter_with_quite_a_long_name_for_the_width"
    rows = [({"lr": rate, name: size}, [bowl(rate, 1e-2)]) for rate in RATES for size in (8, 16)]
    _, lines = text_of(build_view("r", "runs/r", LOSS, records_of(rows)), 80)
    assert any("=8 " in line and line.endswith("=16") for line in lines)


def test_no_more_than_four_are_drawn():
    rows = [
        ({"lr": rate, "batch_size": 2**size}, [bowl(rate, 1e-2)])
        for rate in RATES
        for size in range(6)
    ]
    view = build_view("r", "runs/r", LOSS, records_of(rows))
    _, lines = text_of(view, 120)
    assert sum(line.count("batch_size=") for line in lines) == SHOWN
    assert "2 combinations not drawn: may be the best, too (report" in " ".join(lines)


def test_where_no_curve_tells_each_may_be_the_best():
    rows = [
        ({"lr": rate, "schedule": name}, [worse + rate])
        for name, worse in (("cosine", 0.0), ("step", 30.0))
        for rate in RATES[:3]
    ]
    view = build_view("r", "runs/r", LOSS, records_of(rows))
    assert view.answer.basins == () and len(draw_rates(view, telling=True).panels) == 2
    two = build_view("r", "runs/r", LOSS, records_of([rows[0], rows[1]]))
    assert plot_rates(two, width=80, encoding="utf-8") is None


def test_combinations_of_a_rate_or_two_each_are_drawn_together():
    names = [*"abcde"]
    rows = [
        ({"lr": RATES[at], "model": name}, [float(at)]) for at, name in enumerate([*names, "a"])
    ]
    view = build_view("r", "runs/r", LOSS, records_of(rows))
    (panel,) = draw_rates(view).panels
    places = {x for mark in panel.marks if isinstance(mark, Points) for x, _ in mark.places}
    assert places == {*RATES[:6]} and panel.title == "all combinations"
    title, lines = text_of(view)
    assert title == "loss by lr, all combinations together"
    assert "5 combinations, none of 3 rates or more: drawn together" in lines
    assert len(draw_rates(view).rows) == 6, "the table tells them apart"
    # Two rates in all are no drawing of a rate.
    view = build_view("r", "runs/r", LOSS, records_of(rows[:2]))
    assert len(draw_rates(view).panels) == 2


def test_finalists_have_their_fresh_means_and_error_bars():
    view = rates_view()
    best, other = view.answer.recommended, view.points[1]
    scores = dict.fromkeys(range(5), 1.0)

    def finalist(point, mean, width, **more):
        ends = (mean - width, mean + width)
        return Finalist(point.point, point.params, point.objective, mean, ends, scores, **more)

    far = Finalist(
        None, {"lr": 0.03, "schedule": "cosine"}, 90.0, 95.0, (94.0, 96.0), scores, control=True
    )
    again = Confirmation((finalist(best, 1.4, 0.3), finalist(other, 1.5, 0.2), far), 5, over=True)
    view = rates_view(confirmation=again)
    assert view.answer.confirmed
    panel = draw_rates(view, telling=True).panels[0]
    marks = {mark.kind: mark for mark in panel.marks}
    rate = view.answer.recommended.params["lr"]
    assert marks["pick"].places == [(rate, view.answer.value)]
    bars = [(mark.x, mark.low, mark.high) for mark in panel.marks if mark.kind == "fresh"]
    assert (best.params["lr"], 1.4 - 0.3, 1.4 + 0.3) in bars
    assert panel.y.holds(1.4 + 0.3) and not panel.y.holds(95.0)
    assert (0.03, panel.y.high) in marks["off"].places  # The control makes no axis.
    text = "\n".join(text_of(view)[1])
    assert "○ mean of fresh seeds" in text and "┃ its interval of 95 %" in text


def test_finalists_of_many_budgets_stand_in_the_drawing_of_their_doubling():
    rows = [
        ({"lr": RATES[at % len(RATES)], "budget": f"{4 + at / 10:g}ep"},
         [bowl(RATES[at % len(RATES)], 1e-2)])
        for at in range(30)
    ]  # fmt: skip
    records = records_of(rows)
    best = build_view("r", "runs/r", LOSS, records, Context()).answer.recommended
    scores = dict.fromkeys(range(5), 1.0)
    own = Finalist(best.point, best.params, best.objective, 1.4, (1.1, 1.7), scores)
    again = Confirmation((own,), 5, over=True)
    view = build_view("r", "runs/r", LOSS, records, Context(confirmation=again))
    (panel,) = draw_rates(view, telling=True).panels
    bars = [(mark.x, mark.low, mark.high) for mark in panel.marks if mark.kind == "fresh"]
    assert bars == [(best.params["lr"], 1.1, 1.7)]


def test_titles_have_the_names_of_the_table():
    rows = [
        ({"lr": rate, "optimizer.momentum": beta}, [bowl(rate, 1e-2)])
        for beta in (0.5, 0.9)
        for rate in RATES
    ]
    _, lines = text_of(build_view("r", "runs/r", LOSS, records_of(rows), Context()), width=100)
    [heads] = [line for line in lines if "momentum=" in line]
    assert " ".join(heads.split()) == "momentum=0.5 momentum=0.9"


def test_the_recommended_point_stands_at_its_value_however_lucky_the_search_was():
    best = rates_view().answer.recommended
    ends, scores = (49.0, 51.0), dict.fromkeys(range(5), 50.0)
    fresh = Finalist(best.point, best.params, best.objective, 50.0, ends, scores)
    view = rates_view(confirmation=Confirmation((fresh,), 5, over=True))
    panel = draw_rates(view, telling=True).panels[0]
    marks = {mark.kind: mark for mark in panel.marks}
    assert view.answer.value == 50.0 and panel.y.holds(50.0)
    assert marks["pick"].places == [(best.params["lr"], 50.0)]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_report_fits_and_has_its_parts_in_order(width, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(width=width, file=stream)
    console.print(result(shown_view()))
    stream.seek(0)
    lines = stream.read().splitlines()
    assert max(map(len, lines)) <= width
    titles = [line.count("  batch_size=") for line in lines if line.startswith("  batch_size=")]
    assert titles[:2] == ([1, 1] if width == 60 else [2, 1])  # The second is of the table below.
    order = ["r: loss", "evidence", "cost", "loss by lr", "  point", "the best rate,"]
    places = [next(i for i, line in enumerate(lines) if line.startswith(o)) for o in order]
    assert places == sorted(places)


def test_colour_is_never_alone():
    plainly, coloured = io.StringIO(), io.StringIO()
    Console(width=90, file=plainly).print(result(shown_view()))
    Console(width=90, file=coloured, force_terminal=True, color_system="standard").print(
        result(shown_view())
    )
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", coloured.getvalue())
    # On a terminal that it is too high for, the answer stands at its end once more.
    assert stripped.count("r: loss ") == 2 and plainly.getvalue().count("r: loss ") == 1
    cut = lambda text: text[text.index("loss by lr") : text.index("  point")]  # noqa: E731
    assert cut(stripped) == cut(plainly.getvalue()) and "\x1b[" in cut(coloured.getvalue())


@pytest.mark.parametrize(
    ("shrinkage", "said"),
    [(2e-17, "the same"), (-2e-17, "the same"), (0.0, "the same"), (0.25, "0.250 too good")],
)
def test_the_last_bits_of_a_mean_are_no_shrinkage(shrinkage, said):
    view = rates_view()
    best = view.answer.recommended
    scores = dict.fromkeys(range(5), best.objective)
    own = Finalist(
        best.point, best.params, best.objective, 1.4, (1.1, 1.7), scores, shrinkage=shrinkage
    )
    answer = rates_view(confirmation=Confirmation((own,), 5, over=True)).answer
    [told] = [text for label, text in confirmation_notes(answer, LOSS) if label == "shrinkage"]
    assert told.endswith(said) and ("too good" in told) == ("too good" in said)


@pytest.mark.parametrize(("better", "tied"), [(0.985, True), (0.985, False), (0.6, True)])
def test_a_probability_that_parts_nobody_says_so(better, tied):
    """A control that is tied, and worse with a high probability, is no contradiction: the reader is
    told what it takes."""
    view = rates_view()
    best, other = view.points[:2]
    scores = dict.fromkeys(range(5), 1.4)
    own = Finalist(best.point, best.params, 1.4, 1.4, (1.1, 1.7), scores, better=better, tied=True)
    control = replace(own, point=other.point, params=other.params, mean=1.5, better=None)
    again = Confirmation((own, replace(control, control=True, tied=tied)), 5, over=True)
    answer = rates_view(confirmation=again).answer
    told = dict(confirmation_notes(answer, LOSS))["control"]
    assert f"worse with probability {better}" in told
    odd = better > 0.9 and tied
    assert ("too little to rule out a tie" in told) == odd
    assert ("tied: not clearly worse than the best" in title_of(again)) == odd


def test_rates_do_as_well_as_one_that_is_among_them():
    answer = rates_view().answer
    low, high = answer.basin.safe_lr
    rate = answer.recommended.params[answer.basin.rate]
    assert low <= rate <= high and " do as well" in evidence(answer)
    beyond = (2 * rate, 8 * rate)
    left_out = replace(answer.basin, within_error=beyond, within_percent=beyond)
    told = evidence(replace(answer, basin=left_out))
    assert "do as well" not in told
    assert f", and {format_value(rate)} is not among them" in told


@pytest.mark.parametrize(("mean", "outside"), [(1.6, True), (1.4, False)])
def test_a_tied_point_outside_the_rates_that_do_as_well_is_told_of(mean, outside):
    """Not shown to be worse is one thing, as good as the best another: its rate does as well."""
    view = rates_view()
    best, basin = view.points[0], view.answer.basin
    alike = (point for point in view.points[1:] if agrees(point.params, basin.params))
    (low, high), params = basin.safe_lr, best.params
    other = next(each for each in alike if not low <= each.params["lr"] <= high)
    own = Finalist(best.point, params, 1.4, 1.4, (1.1, 1.7), scores_about(1.4), tied=True)
    tied = replace(
        own, point=other.point, params=other.params, mean=mean, scores=scores_about(mean)
    )
    answer = rates_view(confirmation=Confirmation((own, tied), 5, over=True)).answer
    assert {*answer.tied, answer.recommended.point} == {best.point, other.point}
    told = "1 tied point lies outside these: not shown to be worse"
    assert (told in evidence(answer)) == outside


def scores_about(mean):
    return {seed: mean + 0.01 * (seed - 2) for seed in range(5)}
