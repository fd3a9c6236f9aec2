"""A run as a test report of JUnit's form, which CI services show.

A test case is a requirement; before them stands one that says whether any point completed. Trials
that failed are no test cases: a search goes through settings that cannot work, and decides by what
the best of them reached. They are named in the first case's output.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from xml.etree import ElementTree

from lrsearch.analysis.requirement import Requirement
from lrsearch.reports.answer import describe_cost
from lrsearch.reports.text import count, format_params, format_value, one_line
from lrsearch.reports.view import RunView
from lrsearch.trial import Outcome


def to_junit(view: RunView, checked: Sequence[tuple[Requirement, float, bool, str]]) -> str:
    """The run as XML: each requirement with what was reached, whether that meets it, and by whom.
    Where no point completed there is nothing to check, and that is the one failure. The time stamp
    is of this check, in UTC: the form of JUnit's schema has no zone."""
    seconds = float(view.cost["wall_seconds"] or view.cost["seconds"] or 0.0)
    answered = view.best is not None
    failures = sum(not met for _, _, met, _ in checked) + (not answered)
    suite = ElementTree.Element(
        "testsuite",
        name=f"lrsearch.{one_line(view.name)}",
        tests=str(len(checked) + 1),
        failures=str(failures),
        errors="0",
        skipped="0",
        timestamp=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()),
        time=_seconds(seconds),
    )
    first = _case(suite, view, "a point completed", seconds)
    if not answered:
        ElementTree.SubElement(first, "failure", message="no trial completed")
    lines = [f"cost: {describe_cost(view)}"]
    if view.answer is not None:
        point = view.answer.recommended
        value = f"{one_line(view.objective.metric)} {format_value(view.answer.value, 6)}"
        params = format_params(point.params, called=view.called)
        lines.insert(0, f"recommended: {value} with {params}")
    lines += [f"command: {view.next_command}"] if view.next_command else []
    ElementTree.SubElement(first, "system-out").text = "\n".join(map(one_line, lines))
    if failed := _failed(view):
        ElementTree.SubElement(first, "system-err").text = "\n".join(failed)
    for requirement, reached, met, who in checked:
        case = _case(suite, view, one_line(str(requirement)), 0.0)
        text = f"{who} reached {reached:.6g}"
        if met:
            ElementTree.SubElement(case, "system-out").text = text
        else:
            ElementTree.SubElement(case, "failure", message=f"not met: {text}")
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    text = ElementTree.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _case(
    suite: ElementTree.Element, view: RunView, name: str, seconds: float
) -> ElementTree.Element:
    of = f"lrsearch.{one_line(view.name)}"
    return ElementTree.SubElement(
        suite, "testcase", classname=of, name=name, time=_seconds(seconds)
    )


def _seconds(value: float) -> str:
    return f"{value if math.isfinite(value) else 0.0:.3f}"


MOST = 50
"""Failed trials that are named."""


def _failed(view: RunView) -> list[str]:
    """A line for each trial that failed, up to `MOST`."""
    failed = [
        each
        for each in view.records
        if each.result is not None and each.result.outcome is Outcome.FAILED
    ]
    lines = [
        one_line(f"trial {each.trial.number} failed: {each.result.reason}")
        for each in failed[:MOST]
        if each.result is not None
    ]
    if len(failed) > MOST:
        lines.append(f"and {count(len(failed) - MOST, 'trial')} more")
    return lines
