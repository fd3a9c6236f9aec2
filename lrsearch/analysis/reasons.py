"""Reasons that differ in their numbers alone, told as one."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBER = re.compile(r"(?<![\w.,+-])(?<!\bline )(?<!\blayer )\d+(?:\.\d+)?(?![\w.]|,\d)")
"""A number that is an amount, as none in a name is, nor that of a line or a layer. Those with
commas stay as they are."""


def merge_reasons(reasons: Iterable[str]) -> dict[str, list[str]]:
    """The reasons that each of some texts is for, in their order. What differs in its numbers alone
    has one text, with these from the least to the greatest: `44 to 720 steps are too few`."""
    alike: dict[str, list[str]] = {}
    for reason in dict.fromkeys(reasons):
        alike.setdefault(_NUMBER.sub("0", reason), []).append(reason)
    return {_spell(own): own for own in alike.values()}


def _spell(reasons: list[str]) -> str:
    columns = zip(*map(_NUMBER.findall, reasons), strict=True)
    spans = []
    for column in columns:
        low, high = min(column, key=float), max(column, key=float)
        spans.append(low if low == high else f"{low} to {high}")
    following = iter(spans)
    return _NUMBER.sub(lambda _: next(following), reasons[0])
