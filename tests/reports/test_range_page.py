"""The page of range tests: what is alike in several is told once."""

import io

from rich.console import Console

from lrsearch import sweeps
from lrsearch.reports.live import Progress
from lrsearch.reports.range_pages import range_page
from lrsearch.reports.ranges import RangeView

FAULT = "the loop reports no lr beside the step"


def view(batch_size: int, fault: str = FAULT) -> RangeView:
    found = sweeps.Refusal(fault, "mend that, and give the same command again")
    return RangeView(
        {"batch_size": batch_size}, {}, found, {}, (), (), 3, 12, "solo", "alone", 0.0, 1.5, fault
    )


def shown(*views: RangeView) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=100, color_system=None).print(range_page("run", views))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_one_refusal_of_several_structures_is_told_once_with_all_their_names():
    lines = shown(view(8), view(16, "it raised"), view(32))
    assert lines == [
        "run: no range of rates, in 2 range tests alike",
        "  batch_size=8",
        "  batch_size=32",
        "",
        f"refused  {FAULT}",
        "try      mend that, and give the same command again",
        "cost     3 seeds each, 24 steps in 3.0s, one by one: alone",
        "",
        "run: no range of rates",
        "  batch_size=16",
        "",
        "refused  it raised",
        "try      mend that, and give the same command again",
        "cost     3 seeds, 12 steps in 1.5s, one by one: alone",
    ]


def test_the_progress_tells_a_reason_once_and_every_range():
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.sweeps(4, 1)
        for number, told in enumerate(("no range: a reason", "lr 0.001 to 0.1") * 2, 1):
            progress.swept(number, {}, told, 1.0)
    assert [line.split("  ")[1] for line in stream.getvalue().splitlines()] == [
        "no range: a reason",
        "lr 0.001 to 0.1",
        "no range, as range test 1",
        "lr 0.001 to 0.1",
    ]
