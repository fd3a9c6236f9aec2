"""Lines that stand beside the block they belong in: a key without a value, and below it, as far to
the left, the keys that are its own."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import Any

from lrsearch import catalogue
from lrsearch.spec.document import Path, as_mapping
from lrsearch.spec.foreign.words import means
from lrsearch.spec.outside import INSIDE, is_outside
from lrsearch.spec.reader import TOP_LEVEL, Reader

_NAMED = ("name", "class_path", "init_args")
_MODEL = {key for each in catalogue.MODELS.values() for key in each.parameters}
_RANGE = ("min", "max", "points", "scale")
_GROUPED = (*catalogue.GROUPS, "warmup")


def _owned(block: str) -> Container[str]:
    """The keys of a block."""
    if block in catalogue.SETTINGS:
        return {*catalogue.SETTINGS[block]}
    if block == "warmup":
        return {*catalogue.WARMUP}
    if block == "validation":
        return {"folds"}
    if block == "objective":
        return {"metric", "goal", "at"}
    if block == "search":
        return {*catalogue.TRAIN, *_GROUPED, "model", "data"}
    table = catalogue.GROUPS.get(block, {})
    return {*_NAMED, *(key for each in table.values() for key in each.parameters)}


def settle_blocks(reader: Reader, top: Mapping[str, Any]) -> Mapping[str, Any]:
    """A document in which the lines right below an empty block stand in it, where they are no keys
    of the mapping that they stand in, and one is a key of the block's: a fault then."""
    top = _unwrap(reader, top)
    own = is_outside(top)
    named = {*INSIDE, *catalogue.SETTINGS, "objective", "search", *(("params",) if own else ())}
    top = _settle(reader, (), top, dict.fromkeys(named, TOP_LEVEL))
    train = (*catalogue.TRAIN, *_GROUPED, "start")
    inner: dict[str, dict[str, Container[str]]] = {
        "train": dict.fromkeys(_GROUPED, train),
        "data": {"validation": ("test", "name")},
    }
    search = as_mapping(top.get("search"))
    inner["search"] = {key: {each for each in search if each not in _RANGE} for key in search}
    for head in ("data", "model"):
        inner.setdefault(head, {})["init_args"] = ("name", "class_path", "validation", "test")
    for head, blocks in inner.items():
        if isinstance(top.get(head), Mapping):
            top = {**top, head: _settle(reader, (head,), top[head], blocks)}
    reader.document.data = top
    return top


def _unwrap(reader: Reader, top: Mapping[str, Any]) -> Mapping[str, Any]:
    """A document whose keys all stand below one key, without it: a fault then."""
    key, inner = next(iter(top.items()), ("", None))
    own = {*as_mapping(inner)} & {*TOP_LEVEL}
    if len(top) > 1 or key in TOP_LEVEL or len(own) < 2 or not isinstance(inner, Mapping):
        return top
    lines = reader.document.lines
    hint = f"take line {lines.get((key,), 1)} away, and the blanks before all that is below it"
    reader.fault((key,), "unknown key, and the whole spec stands below it", hint)
    for path, line in [*lines.items()]:
        if path[:1] == (key,):
            lines[path[1:]] = line
    return inner


def _is_own(base: Path, block: str, key: str) -> bool:
    """Whether a key belongs in a block of the mapping at `base`."""
    if base == ("search",):
        return key in _RANGE
    if not base and block in INSIDE:
        return means(key).startswith(f"{block}.") or key in {*_NAMED, *_MODEL}
    return (
        block in ("params", "init_args")
        or key in _owned(block)
        or (block == "search" and "." in key)
    )


def _settle(
    reader: Reader, base: Path, tree: Mapping[str, Any], blocks: Mapping[str, Container[str]]
) -> Mapping[str, Any]:
    """The mapping at `base` with the lines below its empty `blocks`, up to one of a block's other
    keys there, in them."""
    document, count = reader.document, len(base)
    for block, others in blocks.items():
        place = (*base, block)
        if place not in document.empty or place not in document.lines:
            continue
        first = document.lines[place] + 1
        below = [key for key in tree if document.lines.get((*base, key), 0) >= first]
        ends = [document.lines[*base, key] for key in below if key in others]
        last = min([*ends, math.inf])
        inner = {key: tree[key] for key in below if document.lines[*base, key] < last}
        held = [
            line
            for path, line in document.lines.items()
            if path[:count] == base and path[count : count + 1] and path[count] in inner
        ]
        stop = max(held, default=first)
        twice = {
            str(path[-1]): value
            for path, (line, value) in document.doubled.items()
            if path[:-1] == base and first <= line <= stop
        }
        moved = any(first <= each.line <= stop and not each.key for each in reader.faults)
        own = any(_is_own(base, block, key) for key in (*twice, *inner))
        if not own or moved:  # Some lines of it stand elsewhere.
            continue
        for path, line in [*document.lines.items()]:
            if path[:count] == base and path[count : count + 1] and path[count] in inner:
                document.lines[*place, *path[count:]] = line
        again = {".".join(map(str, (*base, key))) for key in twice}
        reader.faults = [
            each for each in reader.faults if each.key not in again or each.line < first
        ]
        lines = f"lines {first} to {stop}" if stop > first else f"line {first}"
        told = f"'{block}' is empty, and {lines} below it would be its own"
        reader.fault(place, told, f"indent {lines} by two blanks")
        tree = {key: part for key, part in tree.items() if key not in inner}
        tree[block] = {**twice, **inner}
        document.empty.discard(place)
    return tree
