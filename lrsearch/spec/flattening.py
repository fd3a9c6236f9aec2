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
        (path, config_path(path), dimension, path == "optimizer" and carry_rates(dimension))
        for path, dimension in space.dimensions
    ]
    known: dict[tuple[str, str | None], list[str]] = {}

    def distinguishing(path: str, dimension: Dimension, title: Any) -> list[str]:
        if title is not None and not isinstance(title, str):  # As a user's parameter may be.
            return _distinguishing(dimension, title)
        if (path, title) not in known:
            known[path, title] = _distinguishing(dimension, title)
        return known[path, title]

    def flattened(config: Config) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        own = "params" in config
        for path, place, dimension, rates in parts:
            try:
                value = get_path(config, f"params.{path}" if own else place)
            except KeyError:
                continue
            if not isinstance(value, Mapping):
                flat[path] = value
                continue
            title = catalogue.name_of(value)
            if title is not None:
                flat[path] = title
            for name in distinguishing(path, dimension, title):
                if path == "optimizer" and name == "lr" and not own:
                    continue
                try:
                    flat[f"{path}.{name}"] = get_path(value, name)
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
            if title is None or any(not same(other.value.get(name), value) for other in alike):
                names[name] = None
    return list(names)
