"""Stored configs compared with a spec: those that belong to it, and the differences of the
others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lrsearch.space import same
from lrsearch.spec.arithmetic import Arithmetic
from lrsearch.spec.model import Spec, carry_rates, derive, identity, resolve_fixed
from lrsearch.trial import Config


def differences(spec: Spec, config: Config, task: str | None = None) -> list[str]:
    """Departures of a stored config from what the spec fixes: `train.budget: 20ep stored, 5ep in
    the spec`. Empty when the config belongs to the spec, inside its space or not."""
    return make_comparison(spec, task)(identity(config))


def make_comparison(spec: Spec, task: str | None = None) -> Callable[[Config], list[str]]:
    """`differences` of many configs from one spec, each given by its identity."""
    present = identity(resolve_fixed(spec, task))
    names = [name for name, _ in spec.space.dimensions]
    searched = {spec.config_path(path) for path in (*names, *spec.derived)}
    if spec.outside is not None:
        return lambda whole: _compare_outside(whole, present, names, searched, spec.derived)
    if carry_rates(dict(spec.space.dimensions).get("optimizer")):
        searched.add("train.lr")

    def compare(whole: Config) -> list[str]:
        found: list[str] = []
        _compare(whole, present, "", searched, found)
        return found

    return compare


def _compare_outside(
    whole: Config,
    present: Config,
    names: Sequence[str],
    searched: set[str],
    derived: Mapping[str, Arithmetic],
) -> list[str]:
    found: list[str] = []
    _compare(whole, present, "", searched, found)
    # No parameter of a training outside has a default that would stand for it.
    given = whole.get("params", {})
    found += [f"params.{name}: not given, and searched now" for name in names if name not in given]
    if not found and derived:
        params = dict(given)
        derive(derived, params)
        for name, formula in derived.items():
            if name not in given or not same(given[name], params[name]):
                stored = json.dumps(given[name]) if name in given else "not given"
                found.append(f"params.{name}: {stored} stored, {formula} in the spec")
    return found


_COMPARABLE = (str, int, float, bool, dict, type(None))
"""Types of which two equal values are no difference; equal lists may hold 1 and true."""


def _compare(stored: Any, present: Any, path: str, searched: set[str], found: list[str]) -> None:
    if path in searched:
        return
    if isinstance(stored, Mapping) and isinstance(present, Mapping):
        # Values are canonical by now, so Python's equality is enough where it holds.
        if stored == present:
            return
        for name in dict.fromkeys((*present, *stored)):
            left, right = stored.get(name), present.get(name)
            if type(left) is type(right) and type(left) in _COMPARABLE and left == right:
                continue  # Most values are equal, searched or not.
            inner = f"{path}.{name}" if path else str(name)
            _compare(left, right, inner, searched, found)
    elif not same(stored, present):
        if any(name.startswith(path + ".") for name in searched) and (
            stored is None or present is None
        ):
            # warmup.for is searched while the fixed warmup is null: the search makes the mapping.
            return
        left, right = (json.dumps(value, default=str) for value in (stored, present))
        found.append(f"{path}: {left} stored, {right} in the spec")
