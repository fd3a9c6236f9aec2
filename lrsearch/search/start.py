"""The points a search begins with: a Sobol sequence, warped to what is known of the training.

Each parameter has a dimension of the sequence, those under options included. Every warp is
monotonous, so that what a dimension covers evenly stays evenly covered by probability.

- Rates from scratch: `catalogue.RATE_PRIORS`, cut off at the ends of the range, and a part of
  `FLOOR` even over the range, for trainings unlike those that the prior is of.
- Batches from scratch: towards the small end, since the same epochs are more steps.
- Weight decay from scratch, on a linear scale: towards the small end; dropout likewise, less so.
- Momentum, and Adam's betas: even in log(1 - m), by the number of steps that they average over.
- Pretrained weights, commands and loops: all ranges and lists of numbers from their middle; so are
  rates that have no prior, and those whose range leaves their prior out.
- Everything else: even over its range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np

from lrsearch import catalogue
from lrsearch.search.sobol import Sobol
from lrsearch.search.strategy import derive_seed
from lrsearch.space import Choice, Dimension, build, parameters, parse_name
from lrsearch.spec.model import Spec
from lrsearch.spec.priors import (
    FAR,
    counts_epochs,
    drops_units,
    leans_to_little,
    middle_of_all,
    momentum_factor,
    momentum_names,
    optimizer_options,
    prior_of,
    rate_names,
)

FLOOR = 0.2
"""The part of the draws that is even over the range, whatever the prior."""

MIDDLE = 0.2
"""The deviation around the middle of a range, as a share of it."""

SMALL = 3.0
"""The power that draws shares of batch sizes, and of weight decays, to the small end."""

LITTLE = 2.0
"""The power that draws shares of dropouts to the small end."""

AVERAGES = ("momentum", "beta1", "beta2")
"""Numbers that average over 1 / (1 - m) steps."""

_BISECTIONS = 60


class Start:
    """The points a search begins with, `kind` being informed, sobol (the sequence as it is) or
    random (independent draws). Point i depends on the spec, its seed and i alone."""

    def __init__(self, spec: Spec, kind: str = "informed") -> None:
        self.spec = spec
        self.space = spec.space
        self.kind = kind
        self._dimensions = dict(parameters(spec.space))
        self._rates = frozenset(rate_names(spec.space))
        self._optimizers = optimizer_options(spec)
        self._middle = bool(middle_of_all(spec))
        self._small = "batch_size" in self._dimensions and counts_epochs(spec)
        self._sobol = Sobol(len(self._dimensions), derive_seed(spec.seed, "start", 0))

    def point(self, index: int) -> dict[str, Any]:
        """The point of an index."""
        shares = dict(zip(self._dimensions, self._shares(index), strict=True))
        return build(self.space, lambda name, _: self._raw(name, shares))

    def _shares(self, index: int) -> list[float]:
        """The numbers of the sequence at an index, one a parameter, each in (0, 1)."""
        if self.kind == "random":
            generator = np.random.default_rng(derive_seed(self.spec.seed, "start/random", index))
            return [float(share) for share in generator.random(len(self._dimensions))]
        return self._sobol.at(index)

    def _raw(self, name: str, shares: Mapping[str, float]) -> float:
        """The raw number of a parameter at the shares of all."""
        dimension, share = self._dimensions[name], shares[name]
        if self.kind != "informed":
            return even(dimension, share)
        if self._middle:
            return _central(dimension, share)
        if name in self._rates:
            return self._rate(name, shares)
        if name == "batch_size" and self._small:
            return even(dimension, share**SMALL)
        if parse_name(name).argument.removeprefix("init_args.") in AVERAGES:
            return averaging(dimension, share)
        if leans_to_little(name, dimension):
            return even(dimension, share**SMALL)
        if drops_units(name, dimension):
            return even(dimension, share**LITTLE)
        return even(dimension, share)

    def _rate(self, name: str, shares: Mapping[str, float]) -> float:
        """A learning rate, by the prior of the optimizer that the point has."""
        dimension, share = self._dimensions[name], shares[name]
        option = self._option(name, shares)
        optimizer = self._optimizers[option] if self._optimizers else {}
        prior = prior_of(optimizer)
        if prior is None:
            return _central(dimension, share)
        offset = 0.0
        if prior.momentum:
            given = catalogue.arguments_of(optimizer)
            momentum = self._momentum(option, shares, given.get("momentum") or 0.0)
            offset = math.log10(momentum_factor(momentum, given.get("dampening") or 0.0))

        def deviations(rate: float) -> float:
            exponent = math.log10(rate) if rate > 0 else -math.inf
            return (exponent + offset - prior.mean) / prior.deviation

        return lean(dimension, share, deviations)

    def _option(self, name: str, shares: Mapping[str, float]) -> int:
        """The optimizer of a point, by its place among the options."""
        own = parse_name(name).option
        if own is not None:
            return own
        searched = self._dimensions.get("optimizer")
        return int(even(searched, shares["optimizer"])) if isinstance(searched, Choice) else 0

    def _momentum(self, option: int, shares: Mapping[str, float], fixed: float) -> float:
        """The momentum of a point: searched, or the optimizer's own."""
        for name in momentum_names(option):
            dimension = self._dimensions.get(name)
            if dimension is None:
                continue
            raw = self._raw(name, shares)
            value = dimension.options[int(raw)].value if isinstance(dimension, Choice) else raw
            return float(value) if isinstance(value, int | float) else fixed
        return fixed


# warps


def even(dimension: Dimension, share: float) -> float:
    """The raw number at a share of a dimension; of a choice among numbers, those in rising
    order."""
    if isinstance(dimension, Choice):
        order = rising(dimension)
        return order[min(int(share * len(order)), len(order) - 1)]
    return dimension.at(share)


def rising(choice: Choice) -> list[int]:
    """The options' places, in rising order where they are numbers."""
    places = list(range(len(choice.options)))
    if choice.ordered:
        places.sort(key=lambda place: float(choice.options[place].value))
    return places


def _invert(cumulative: Callable[[float], float], share: float) -> float:
    """The place in 0..1 at which a rising function from 0 to 1 comes to `share`."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        half = (low + high) / 2
        if cumulative(half) < share:
            low = half
        else:
            high = half
    return (low + high) / 2


def middle(share: float) -> float:
    """The share of a range that is normal around its middle, with a part of `FLOOR` even."""
    normal = NormalDist(0.5, MIDDLE)
    low, high = normal.cdf(0.0), normal.cdf(1.0)

    def cumulative(place: float) -> float:
        return FLOOR * place + (1 - FLOOR) * (normal.cdf(place) - low) / (high - low)

    return _invert(cumulative, share)


def _central(dimension: Dimension, share: float) -> float:
    """The raw number of a range, or of a list of numbers, from its middle; any other choice
    evenly."""
    plain = isinstance(dimension, Choice) and not dimension.ordered
    return even(dimension, share if plain else middle(share))


def averaging(dimension: Dimension, share: float) -> float:
    """A momentum, even in log(1 - m) over its range."""
    if isinstance(dimension, Choice) or not 0 <= dimension.low <= dimension.high < 1:
        return even(dimension, share)
    low, high = 1.0 - dimension.low, 1.0 - dimension.high
    return 1.0 - low * float((high / low) ** share)


def lean(dimension: Dimension, share: float, deviations: Callable[[float], float]) -> float:
    """The raw number of a rate whose `deviations` from its prior's mean are normal; even with a
    part of `FLOOR`. A range more than `FAR` from the mean is taken from its middle."""
    if isinstance(dimension, Choice):
        return _lean_choice(dimension, share, deviations)
    first, last = deviations(dimension.low), deviations(dimension.high)
    if first > FAR or last < -FAR:
        return _central(dimension, share)
    normal = NormalDist()
    low, mass = normal.cdf(first), normal.cdf(last) - normal.cdf(first)
    if mass <= 0.0:  # A range of one value.
        return dimension.at(share)

    def cumulative(place: float) -> float:
        inside = (normal.cdf(deviations(dimension.at(place))) - low) / mass
        return FLOOR * place + (1 - FLOOR) * inside

    return dimension.at(_invert(cumulative, share))


def _lean_choice(choice: Choice, share: float, deviations: Callable[[float], float]) -> float:
    """The option of a list of rates, each as probable as the prior's density there."""
    order = rising(choice)
    values = [choice.options[place].value for place in order]
    if not choice.ordered:
        return even(choice, share)
    far = [deviations(float(value)) for value in values]
    if min(far) > FAR or max(far) < -FAR:
        return _central(choice, share)
    weights = np.exp(-0.5 * np.square(far))
    parts = FLOOR / len(order) + (1 - FLOOR) * weights / weights.sum()
    return order[min(int(np.searchsorted(np.cumsum(parts), share)), len(order) - 1)]
