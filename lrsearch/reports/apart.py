"""Parameters of several trials in little space, so that their differences are seen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

from lrsearch.reports.text import format_apart, format_params, last_parts, one_line

_MISSING = object()

_ROOMS = (24, 12, 8, 5)
"""Characters of a long value, tried from most to fewest."""


_MORE = "…"
"""The mark of a cut."""


def tell_apart(params: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    """A text for each of some trials' parameters, none wider than `width`: all of them as
    `name=value` where they fit, else only those that differ, under shorter and shorter names, and
    at last those that tell most trials apart first. Texts of different parameters differ unless
    `width` is too small for any parameter that tells them apart."""
    names = list(dict.fromkeys(name for each in params for name in each))
    values = {name: _texts([each.get(name, _MISSING) for each in params]) for name in names}
    kept = [name for name in names if len(set(values[name])) > 1] if len(params) > 1 else names
    called, brief = last_parts(names), abbreviate(names)
    for chosen, shown in ((names, called), (kept, called), (kept, brief)):
        texts = [_join(chosen, shown, values, row) for row in range(len(params))]
        if all(cell_len(text) <= width for text in texts):
            return texts
    ordered = _most_dividing(kept, values)
    wanted = len(set(zip(*(values[name] for name in names), strict=True))) if names else 1
    texts = []
    for room in _ROOMS:
        short = {name: _windows(values[name], room) for name in names}
        texts = [_join(ordered, brief, short, row) for row in range(len(params))]
        texts = [_cut(text, width) for text in texts]
        if len(set(texts)) == wanted:
            break
    return texts


def shorten(params: Mapping[str, Any], width: int) -> str:
    """One trial's parameters as `name=value`, whole: their names abbreviated where they are wider
    than `width`."""
    text = format_params(params)
    return text if cell_len(text) <= width else format_params(params, called=abbreviate([*params]))


def abbreviate(names: Sequence[str]) -> dict[str, str]:
    """A few letters for each name: batch_size is bs, schedule sched; more where two are alike."""

    def short(name: str, initials: int, whole: int) -> str:
        words = [word for word in re.split(r"[^A-Za-z0-9]+", name) if word]
        if len(words) < 2:
            return name if len(name) <= whole + 1 else name[:whole]
        return "".join(word[:initials] for word in words)

    found = last_parts(names)
    for initials, whole in ((1, 5), (3, 8)):
        tried = {name: one_line(short(part, initials, whole)) for name, part in found.items()}
        if len(set(tried.values())) == len(tried):
            return tried
    return found


def _texts(values: Sequence[Any]) -> list[str]:
    """The values as text, "" for a missing one, with the digits that tell numbers apart."""
    texts = iter(format_apart([value for value in values if value is not _MISSING]))
    return ["" if value is _MISSING else next(texts) for value in values]


def _join(
    names: Sequence[str], called: Mapping[str, str], values: Mapping[str, Sequence[str]], row: int
) -> str:
    return " ".join(f"{called[name]}={values[name][row]}" for name in names if values[name][row])


def _most_dividing(names: Sequence[str], values: Mapping[str, Sequence[str]]) -> list[str]:
    """Order the names: each time the one that tells most trials apart among those still alike."""
    rest, order = list(names), []
    rows: list[tuple[str, ...]] = [() for _ in (values[names[0]] if names else ())]
    while rest:
        best = max(rest, key=lambda name: len(set(zip(rows, values[name], strict=True))))
        rest.remove(best)
        order.append(best)
        rows = [(*row, value) for row, value in zip(rows, values[best], strict=True)]
    return order


def _windows(texts: Sequence[str], room: int) -> list[str]:
    """Long texts cut to `room` characters around where they first differ."""
    if max(map(len, texts)) <= room:
        return list(texts)
    start = 0
    given = [text for text in texts if text]
    if len(set(given)) > 1:
        start = max(0, next(_differing(given)) - 1)
        # What is common says nothing; a short start is kept as it is.
        start = 0 if start <= 2 else start
    found = []
    for text in texts:
        left = _MORE if start and text else ""
        inner = text[start:] if start else text
        size = room - len(left)
        found.append(left + (inner if len(inner) <= size else inner[: size - len(_MORE)] + _MORE))
    return found


def _differing(texts: Sequence[str]) -> Iterator[int]:
    """The first place where the texts are not all alike."""
    for place in range(max(map(len, texts)) + 1):
        if len({text[place : place + 1] for text in texts}) > 1:
            yield place


def _cut(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - len(_MORE))).rstrip() + _MORE
