"""Parameters that train at rates of their own: by depth, by name, and whether they decay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from lrsearch.errors import ModelError, suggest

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """Parameters, by name, with equal numbers: how many layers are above theirs, the ratio of their
    rate, and their weight decay, None for the optimizer's own."""

    names: tuple[str, ...]
    depth: int = 0
    lr: float = 1.0
    weight_decay: float | None = None

    def ratio(self, train: Config) -> float:
        """The ratio of their rate to that of a training with this resolved `train`."""
        decay = train["layer_decay"]
        return self.lr * (1.0 if decay is None else float(decay) ** self.depth)

    def arguments(self, train: Config) -> dict[str, Any]:
        """Entries of an optimizer's parameter group beside its parameters: the ratio of its rate
        and, where it is not the optimizer's own, the weight decay."""
        decay = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        return {"ratio": self.ratio(train), **decay}

    def optimizer(self, train: Config) -> Config:
        """The training's resolved `optimizer` with their weight decay."""
        own: Config = train["optimizer"]
        return own if self.weight_decay is None else {**own, "weight_decay": self.weight_decay}


def divide_parameters(ranks: Mapping[str, int], train: Config, *, layers: bool) -> list[Group]:
    """The groups of a model's trained parameters, in its own order; one where all are alike.

    `ranks` are their numbers of dimensions, in the module's order, `train` a resolved one. With
    `layers` they are told apart by depth, too, as `layer_decay` needs.
    """
    depths = find_depths(ranks) if layers else dict.fromkeys(ranks, 0)
    found: dict[tuple[int, float, float | None], list[str]] = {}
    for name, rank in ranks.items():
        own: Config = next(
            (part for part in train["groups"] or () if fnmatchcase(name, part["match"])), {}
        )
        decay = own.get("weight_decay")
        if decay is None and train["weight_decay_on"] == "matrices" and rank < 2:
            decay = 0.0
        found.setdefault((depths[name], own.get("lr", 1.0), decay), []).append(name)
    return [Group(tuple(names), *key) for key, names in found.items()]


def weight_decays(train: Config) -> set[float]:
    """All values of weight decay in a training."""
    groups = train["groups"] or ()
    return {
        float(train["optimizer"]["weight_decay"]),
        *(float(part["weight_decay"]) for part in groups if "weight_decay" in part),
    }


def check_groups(names: Iterable[str], train: Config, where: str) -> None:
    """Raises ModelError for a pattern of `groups` that matches none of a model's parameters, or
    only some that earlier patterns have taken."""
    known = left = list(names)
    for pattern in (part["match"] for part in train["groups"] or ()):
        rest = [name for name in left if not fnmatchcase(name, pattern)]
        if len(rest) < len(left):
            left = rest
            continue
        if any(fnmatchcase(name, pattern) for name in known):
            raise ModelError(
                f"train.groups: earlier patterns take all that '{pattern}' matches",
                where=where,
                hint="the first pattern that matches counts: put it before them",
            )
        raise ModelError(
            f"train.groups: no parameter matches '{pattern}'",
            where=where,
            hint=suggest(pattern, known[:40]) + (", ..." if len(known) > 40 else ""),
        )


def find_depths(ranks: Mapping[str, int]) -> dict[str, int]:
    """The number of layers above that of each parameter, from its name and number of dimensions.

    A numbered module (`encoder.layer.3`, `body.2`) is a layer, and so is any other that holds
    parameters. In a model of repeated blocks (with two matrices or more) all before the first is
    one layer, and all behind the last: as BERT's fine-tuning has it, embeddings, blocks, head
    (Clark et al. 2020, ELECTRA; Howard & Ruder 2018). A layer of vectors alone, such as a norm,
    belongs to the layer of its number in the list before, or else to the one before it.
    """
    layers: dict[str, list[str]] = {}
    for name in ranks:
        layers.setdefault(_layer_of(name), []).append(name)
    order = _merge_vectors(_merge_ends(layers), ranks)
    top = len(order) - 1
    return {name: top - place for place, names in enumerate(order) for name in names}


def _layer_of(name: str) -> str:
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[: place + 1])
    return ".".join(parts[:-1]) or name


def _merge_ends(layers: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Merge the layers before the first of repeated blocks into one, and those behind the last."""
    keys = list(layers)
    shapes = {key: {name.removeprefix(key) for name in layers[key]} for key in keys}
    blocks = [
        place
        for place, key in enumerate(keys)
        if key.rpartition(".")[2].isdigit()
        and sum(each.endswith("weight") for each in shapes[key]) > 1
        and any(
            other != key
            and other.rpartition(".")[0] == key.rpartition(".")[0]
            and shapes[other] == shapes[key]
            for other in keys
        )
    ]
    if not blocks:
        return {key: list(names) for key, names in layers.items()}
    first, last = blocks[0], blocks[-1]
    merged: dict[str, list[str]] = {}
    for place, key in enumerate(keys):
        home = keys[0] if place < first else keys[last + 1] if place > last else key
        merged.setdefault(home, []).extend(layers[key])
    return merged


def _merge_vectors(layers: Mapping[str, list[str]], ranks: Mapping[str, int]) -> list[list[str]]:
    """Merge layers of vectors alone into others; the order stays."""
    merged: dict[str, list[str]] = {}
    early: list[str] = []
    for key, names in layers.items():
        if any(ranks[name] > 1 for name in names):
            merged[key] = [*early, *names]
            early = []
            continue
        _, _, number = key.rpartition(".")
        alike = [
            other for other in merged if number.isdigit() and other.rpartition(".")[2] == number
        ]
        if alike or merged:
            merged[(alike or list(merged))[-1]].extend(names)
        else:
            early.extend(names)
    return list(merged.values()) or [early]
