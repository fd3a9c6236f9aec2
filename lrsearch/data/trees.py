"""Samples of several arrays: mappings and tuples of them, told apart from the arrays themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Tree = Any
"""An array (or a tensor), or a mapping or tuple of trees (or a list of arrays, as loaders make of a
tuple), whose arrays all have one entry a sample. An empty tuple stands for no arrays."""


def _is_sequence(tree: Tree) -> bool:
    return isinstance(tree, tuple) or (
        isinstance(tree, list) and bool(tree) and all(hasattr(each, "ndim") for each in tree)
    )


def map_tree(function: Callable[[Any], Any], tree: Tree) -> Tree:
    """Apply a function to each array of the tree. Mappings become dicts, lists tuples."""
    if isinstance(tree, Mapping):
        return {key: map_tree(function, each) for key, each in tree.items()}
    if _is_sequence(tree):
        return tuple(map_tree(function, each) for each in tree)
    return function(tree)


def leaves(tree: Tree, name: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays with their names: `x.input_ids`, `x[0]`."""
    if isinstance(tree, Mapping):
        for key, each in tree.items():
            yield from leaves(each, f"{name}.{key}" if name else str(key))
    elif _is_sequence(tree):
        for place, each in enumerate(tree):
            yield from leaves(each, f"{name}[{place}]")
    else:
        yield name, tree


def replace_leaves(tree: Tree, values: Iterable[Any]) -> Tree:
    """The tree with these arrays in place of its own, in the order of `leaves`."""
    rest = iter(values)
    return map_tree(lambda _: next(rest), tree)


def select(tree: Tree, index: Any) -> Tree:
    """Some samples of each array, by numpy's indexing."""
    return map_tree(lambda each: each[index], tree)


def count(tree: Tree) -> int:
    """The number of samples."""
    return len(next(leaves(tree))[1])
