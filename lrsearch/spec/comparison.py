"""Stored configs compared with a spec: those that belong to it, and the differences of the
others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lrsearch.space import same
from lrsearch.spec.arithmetic import Arithmetic
from lrsearch.spec.model import (
    SILENT,
    Spec,
    canonical,
    carry_rates,
    derive,
    identity,
    resolve_fixed,
    schedule_identity,
)
from lrsearch.trial import Config


def differences(spec: Spec, config: Config, task: str | None = None) -> list[str]:
    """Departures of a stored config from what the spec fixes: `train.budget: 20ep stored, 5ep in
    the spec`. Empty when the config belongs to the spec, inside its space or not."""
    return make_comparison(spec, task)(identity(config))


def make_comparison(spec: Spec, task: str | None) -> Callable[[Config], list[str]]:
    """`differences` of many configs from one spec, each given by its identity."""
    present = identity(resolve_fixed(spec, task))
    names, searched = [name for name, _ in spec.space.dimensions], _searched(spec)
    if spec.outside is not None:
        return lambda whole: _compare_outside(whole, present, names, searched, spec.derived)

    def compare(whole: Config) -> list[str]:
        found: list[str] = []
        _compare(whole, present, "", searched, found)
        return found

    return compare


def _searched(spec: Spec) -> set[str]:
    """The paths in a config of what is searched, or follows from it."""
    searched = {spec.config_path(path) for path, _ in spec.space.dimensions}
    searched.update(map(spec.config_path, spec.derived))
    if spec.outside is None and carry_rates(dict(spec.space.dimensions).get("optimizer")):
        searched.add("train.lr")
    return searched


class Membership:
    """Reads many configs: the canonical text of each, and whether it belongs to a spec.

    Nearly all configs of a run differ in values of `model` and `train` that are searched, whole,
    such as a rate or an optimizer, or in part, such as an optimizer's momentum. `guess` takes the
    text around these from the config that was read by `read` before, as long as all else is equal.
    Equal values may be written in two ways, as 1 and 1.0 are: who takes a guess holds it against
    the trial's key.
    """

    def __init__(self, spec: Spec, task: str | None = None) -> None:
        self._compare = make_comparison(spec, task)
        self._belongs: dict[str, bool] = {}
        self._places: dict[str, _Places] = {room: {} for room in _ROOMS}
        for path in sorted(_searched(spec)):
            room, *names = path.split(".")
            if room in _ROOMS and 0 < len(names) < 3 and names[0] not in SILENT:
                name, *part = names
                self._places[room].setdefault(name, []).extend(part)
        self._like: _Like | None = None

    def read(self, config: Config) -> tuple[str, bool]:
        """Read a config."""
        whole = identity(config)
        text = canonical(whole)
        belongs = self._belongs.get(text)
        if belongs is None:
            belongs = self._belongs[text] = not self._compare(whole)
        self._like = _Like.make(config, whole, self._places, belongs)
        return text, belongs

    def guess(self, config: Config) -> tuple[str, bool] | None:
        """A guess at what `read` says, None where the config is too unlike the last one."""
        like = self._like
        text = None if like is None else like.spell(config)
        return None if like is None or text is None else (text, like.belongs)


_ROOMS = ("model", "train")

_Places = dict[str, list[str]]
"""Names of what is searched, each with the names in it where it is searched in part."""


class _Like:
    """The canonical text of a config around its values at `places`, in the order of the text."""

    def __init__(
        self,
        config: Config,
        places: Mapping[str, _Places],
        pieces: Sequence[str],
        belongs: bool,
    ) -> None:
        self.belongs = belongs
        self._config, self._pieces = config, pieces
        self._places = [(room, name) for room, names in places.items() for name in names]
        self._given = {
            room: {name: config[room][name] for name in names} for room, names in places.items()
        }
        # Of what is searched in part the rest stays, too.
        self._parts = [
            (at, config[room][name], {each: config[room][name].get(each) for each in parts})
            for at, (room, name) in enumerate(self._places)
            if (parts := places[room][name])
        ]
        schedule = ("train", "schedule")
        self._schedule = self._places.index(schedule) if schedule in self._places else None
        self._texts: dict[Any, str] = {}
        self._names: dict[tuple[str, ...], list[tuple[str, str]]] = {}

    @classmethod
    def make(
        cls, config: Config, whole: Config, searched: Mapping[str, _Places], belongs: bool
    ) -> _Like | None:
        """The text around what is searched; None of a training outside."""
        if config.keys() != {"data", *_ROOMS}:
            return None
        places = {
            room: {
                name: names[name]
                for name in sorted(names.keys() & whole[room].keys())
                if not names[name] or type(config[room][name]) is dict
            }
            for room, names in searched.items()
        }
        mark = "\n"  # No text of JSON has one.
        marked = {room: {**whole[room], **dict.fromkeys(places[room], mark)} for room in _ROOMS}
        pieces = canonical({**whole, **marked}).split(json.dumps(mark))
        if len(pieces) != sum(map(len, places.values())) + 1:  # A user's text is the mark, too.
            return None
        return cls(config, places, pieces, belongs)

    def spell(self, config: Config) -> str | None:
        """The text with a config's own values; None where anything else differs."""
        like = self._config
        try:
            if config["data"] != like["data"]:
                return None
            for room, given in self._given.items():
                if {**config[room], **given} != like[room]:
                    return None
            values = [config[room][name] for room, name in self._places]
        except KeyError:
            return None
        for at, whole, parts in self._parts:
            if type(values[at]) is not dict or {**values[at], **parts} != whole:
                return None
        if self._schedule is not None:
            values[self._schedule] = schedule_identity(values[self._schedule])
        texts = [self._pieces[0]]
        for value, behind in zip(values, self._pieces[1:], strict=True):
            texts += self._write(value), behind
        return "".join(texts)

    def _write(self, value: Any) -> str:
        """The canonical text of a value, of equal ones that of the first."""
        if type(value) is float:  # As JSON has it, or else no guess is right.
            return repr(value)
        if type(value) is dict:
            names = self._names.get(given := tuple(value))
            if names is None:
                names = self._names[given] = [
                    (f"{canonical(name)}:", name) for name in sorted(given)
                ]
            parts = ",".join([head + self._write(value[name]) for head, name in names])
            return f"{{{parts}}}"
        try:
            text = self._texts.get(value)
        except TypeError:  # It is a list.
            return canonical(value)
        if text is None:
            text = self._texts[value] = canonical(value)
        return text


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
