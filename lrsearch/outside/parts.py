"""The part of the data, training's or validation's, that a number in a script's output is about."""

from __future__ import annotations

import re
from collections.abc import Sequence

BARS = "|\u2502\u2503"
"""Signs that stand between the cells of a table."""

STEP = re.compile(
    r"(?i)\b((?:epoch|(?:global[ _])?step|iter(?:ation)?)[:=# ]{0,3}\[?\s*)(\d+)"
    r"(?!\d|\.\d|[A-Za-z%]|\s?(?:%|(?:[num]s|s|secs?|seconds|min|h|[kmg]i?b|it/s|s/it)\b))"
)
"""A word for a step, and its number; a number with a unit is a time or a speed instead."""

PART = re.compile(
    r"(?<![A-Za-z])(?i:(?P<train>train(?:ing)?)|(?P<test>test(?:ing|set)?)|(?P<val>dev|holdout|"
    r"held(?:[ _-]?out)?|val(?:id(?:ation|ate|ating)?)?|eval(?:uat(?:ion|e|ed|ing))?))"
    r"(?![a-z]|(?<=[A-Z])[A-Z])"
)
"""A word that names the part of the data a number belongs to."""


def part_of(text: str) -> str:
    """The part of the data that a name or the beginning of a line names last: train, test, val, or
    "" for none."""
    found = list(PART.finditer(text))
    return str(found[-1].lastgroup) if found else ""


def part_before(line: str, start: int, end: int) -> re.Match[str] | None:
    """The word that says which part of the data the text at a place of a line belongs to. A word
    joined to another name, as in `val_loss`, is about that name alone."""
    words = [
        each
        for each in PART.finditer(line, 0, end)
        if each.end() > start or not re.match(r"_(?!\d)|[A-Z]", line[each.end() :])
    ]
    return words[-1] if words else None


_COUNTED = r"(?i:(?:epoch|step|iter(?:ation)?)\b[^\w\n]*\d+(?:\s*(?:/|of)\s*\d+)?)"
_HEADING = re.compile(
    rf"[\W_]*(?:{_COUNTED}[\W_]*)?(?i:(?:on|the|start\w*|begin\w*|running|metrics)[\W_]+)*"
    rf"{PART.pattern}(?i:[\W_]+(?:results?|sets?|phase|metrics?|errors?|performance|scores?|split|"
    r"loop|summary|data))*"
    rf"[\W_]*(?:{_COUNTED}[\W_]*)?"
)
"""A line that only says which part of the data the lines below it are about."""

_NEAR = 8
"""Lines below a heading that it may be about."""


def find_heading(lines: Sequence[str], at: int) -> tuple[str, str, int] | None:
    """The part of the data that the heading above a line names, its word, and how many lines it
    stands above it; None without one, or where a line that counts steps begins another section."""
    for distance in range(1, min(at, _NEAR) + 1):
        if STEP.search(lines[at - distance + 1]):
            return None
        line = lines[at - distance]
        found = _HEADING.fullmatch(line)
        if found is not None:
            part = next(each for each in ("train", "test", "val") if found[each])
            return part, found[part], distance
        if line.rstrip(f" {BARS}").endswith((":", "/")) and not re.search(r"\d", line):
            return None  # Another section, of which nothing is known.
    return None


def part_at(lines: Sequence[str], at: int, start: int, end: int) -> str:
    """The part of the data that the text at a place of a line belongs to, by a word before it or by
    a heading; "" for none."""
    said = part_before(lines[at], start, end)
    if said is not None:
        return str(said.lastgroup)
    above = find_heading(lines, at)
    return above[0] if above is not None else ""


def fits(wanted: str, part: str) -> bool:
    """Whether a number of a part may be meant by a metric that names the wanted part. A number
    without a part may be of training, and is not one of validation."""
    if not wanted:
        return True
    return part in ("train", "") if wanted == "train" else part in ("val", "test")


def order_of(wanted: str, part: str) -> int:
    """The place of a part among those that fit: the wanted part first, training last."""
    return 0 if part == wanted else 2 if part == "train" else 1
