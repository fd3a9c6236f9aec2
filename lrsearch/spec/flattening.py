"""Flat values of configs, which tell the points of a space apart in tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lrsearch import catalogue
from lrsearch.space import Choice, Dimension, Space, get_path, same
from lrsearch.spec.model import carry_rates, config_path
from lrsearch.trial import Config


def flatten(space: Space, config: Config) -> dict[str, Any]:
    """Every value in which points of the space can differ, flat: {"lr": 0.1, "schedule":
    "one_cycle", "schedule.pct_start": 0.3}. An optimizer's own rate is `lr`."""
    return make_flattening(space)(config)


def make_flattening(space: Space) -> Callable[[Config], dict[str, Any]]:
    """`flatten` of many configs of one space."""
    parts = [
        # Where one option has its own rate, the rates of all may differ.
        (
            path,
            config_path(path).split("."),
            ["params", *path.split(".")],
            dimension,
            path == "optimizer" and carry_rates(dimension),
        )
        for path, dimension in space.dimensions
    ]
    known: dict[tuple[str, str | None], list[tuple[str, str, bool]]] = {}

    def distinguishing(path: str, dimension: Dimension, title: Any) -> list[tuple[str, str, bool]]:
        plain = title is None or isinstance(title, str)  # A user's parameter may be no text.
        found = known.get((path, title)) if plain else None
        if found is None:
            names = _distinguishing(dimension, title)
            found = [(name, f"{path}.{name}", "." in name) for name in names]
            if plain:
                known[path, title] = found
        return found

    def flattened(config: Config) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        own = "params" in config
        for path, place, outside, dimension, rates in parts:
            try:
                value: Any = config
                for part in outside if own else place:
                    value = value[part] if type(value) is dict else get_path(value, part)
            except KeyError:
                continue
            if type(value) is not dict and not isinstance(value, Mapping):
                flat[path] = value
                continue
            title = catalogue.name_of(value)
            if title is not None:
                flat[path] = title
            for name, whole, nested in distinguishing(path, dimension, title):
                if path == "optimizer" and name == "lr" and not own:
                    continue
                if not nested:
                    if name in value:
                        flat[whole] = value[name]
                    continue
                try:
                    flat[whole] = get_path(value, name)
                except KeyError:
                    continue
            if rates and not own:
                flat["lr"] = config["train"]["lr"]
        return flat

    return flattened


def _distinguishing(dimension: Dimension, title: Any) -> list[str]:
    """The arguments in which a choice's options of one name can differ from each other."""
    if not isinstance(dimension, Choice):
        return []
    alike = [
        option
        for option in dimension.options
        if isinstance(option.value, Mapping) and catalogue.name_of(option.value) == title
    ]
    names: dict[str, None] = {}
    for option in alike:
        names |= dict.fromkeys(path for path, _ in option.space.dimensions)
        for name, value in option.value.items():
            if name in ("name", "class_path"):
                continue
            if isinstance(value, Mapping) and not value:  # Its searched parts are told.
                continue
            if title is None or any(not same(other.value.get(name), value) for other in alike):
                names[name] = None
    return list(names)
