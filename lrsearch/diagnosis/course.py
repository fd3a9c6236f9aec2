"""A training's curve and records as the rules look at them: by shares of what it was trained."""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lrsearch.trial import Objective, Records

Curve = Mapping[str, Sequence[float]]

TRAINING = ("train_loss", "training_loss", "loss/train", "train/loss", "loss_train")
VALIDATION = ("val_loss", "valid_loss", "validation_loss", "eval_loss", "test_loss", "loss")
"""Names that losses have in the curves of trainings, those of the user's own among them."""


ENOUGH = 8
"""Values whose differences say how far values are apart by noise."""

PLENTY = 10
"""Intervals whose mean losses say more than the losses of single steps: they are of all of them."""

CLOSE = 1e-9
"""Places that are closer to each other are one, but for rounding."""


@dataclass(frozen=True)
class Series:
    """Numbers by place, from 0, where the training begins, to 1, where it ends. Places rise."""

    places: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def within(self, low: float, high: float) -> tuple[float, ...]:
        """The values at the places in (low, high]."""
        return self.values[self._first(low) : self._first(high)]

    def _first(self, place: float) -> int:
        return bisect.bisect_right(self.places, place + CLOSE)

    def mean(self, low: float, high: float) -> float:
        """The mean of the values in (low, high]; where there are none, of those on both sides;
        nan of an empty series."""
        found = self.within(low, high)
        if not found and self.values:
            last = len(self) - 1
            found = (
                self.values[min(max(0, self._first(low) - 1), last)],
                self.values[min(self._first(high), last)],
            )
        return statistics.fmean(found) if found else math.nan

    def error(self, low: float, high: float) -> float:
        """The standard error of `mean`."""
        return self._deviation(low, high) / math.sqrt(max(1, len(self.within(low, high))))

    def slope(self, low: float, high: float) -> tuple[float, float]:
        """The slope of the line of least squares through the values in (low, high], and its
        standard error; nan of fewer than three, and of values at one place, which those of a rate
        of zero are by the sum of the rates."""
        values = self.within(low, high)
        places = self.places[self._first(low) : self._first(high)]
        if len(values) < 3 or places[-1] - places[0] < CLOSE:
            return math.nan, math.nan
        middle = statistics.fmean(places)
        spread = math.fsum((place - middle) ** 2 for place in places)
        products = ((place - middle) * value for place, value in zip(places, values, strict=True))
        return math.fsum(products) / spread, self._deviation(low, high) / math.sqrt(spread)

    def _deviation(self, low: float, high: float) -> float:
        """The deviation of the values in (low, high] by noise, from the second differences of
        neighbours, which a slope leaves alone (Gasser et al. 1986): of values with deviation s they
        have s sqrt(6). Where the values are few, the differences are those of the whole series."""
        found = self.within(low, high)
        differed = found if len(found) >= ENOUGH else self.values
        if len(differed) < 3:
            return 0.0
        steps = [after - before for before, after in itertools.pairwise(differed)]
        bends = [abs(after - before) for before, after in itertools.pairwise(steps)]
        # The median: a spike, or a steep beginning, is no noise. Of Gaussian ones it is 0.6745 s.
        return statistics.median(bends) / 0.6745 / math.sqrt(6)


@dataclass(frozen=True)
class Course:
    """The course of a training.

    `training` are its training losses: the means between evaluations, as all of `means` are, or
    those of single `batches` where evaluations are few; `validation` the validation losses, or the
    objective's metric, turned so that less is better, where there are no losses (`losses` is False
    then). `gradient` and `ratio` are the records' gradient norms and update ratios, `rates` the
    rates. `start` is the loss before the first step, `baseline` that of a model that knows nothing;
    nan where nobody knows.
    """

    training: Series
    batches: Series
    means: Series
    validation: Series
    gradient: Series
    ratio: Series
    rates: Series
    start: float
    baseline: float
    losses: bool

    @property
    def known(self) -> bool:
        """Whether it is known what the loss was before the first step."""
        return math.isfinite(self.start)

    @cached_property
    def first(self) -> float:
        """The loss that it begins with, as far as that is known."""
        if math.isfinite(self.start):
            return self.start
        heads = (each.values[0] for each in (self.training, self.validation) if each)
        return next(heads, math.nan)

    @cached_property
    def nothing(self) -> float:
        """The loss of a model that has learned nothing: the loss of the first step or `baseline`,
        whichever is less. A bad start is no measure of what was learned."""
        known = [each for each in (self.first, self.baseline) if math.isfinite(each)]
        return min(known, default=math.nan)

    @cached_property
    def rate(self) -> float:
        """The largest rate, nan where nobody knows."""
        return max(self.rates.values, default=math.nan)

    def by_rate(self, series: Series) -> Series:
        """A series by the share of the sum of all rates that had been trained with: under a rate
        that decays the last steps are short. As it is where no rates are known."""
        places, rates = (0.0, *self.rates.places), self.rates.values
        parts = [
            rate * (after - before)
            for (before, after), rate in zip(itertools.pairwise(places), rates, strict=True)
        ]
        sums = [0.0, *itertools.accumulate(parts)]
        if not sums[-1] > 0:
            return series
        return Series(
            tuple(_between(place, places, sums) / sums[-1] for place in series.places),
            series.values,
        )


def read_course(curve: Curve, records: Records, objective: Objective, steps: int) -> Course:
    """The course of a training of so many steps by its curve and its records, either of which may
    be empty. Values that are not finite are left out."""
    places = [float(step) for step in curve.get("step", ())]
    steps = max([steps, 1, *map(int, places[-1:]), *records.step[-1:]])
    trained = next((name for name in TRAINING if name in curve), None)
    validated = next((name for name in VALIDATION if name in curve), None)
    if trained is None and validated != "loss" and "loss" in curve:
        trained = "loss"  # Beside a `val_loss` it is the training's.
    metric = objective.metric
    losses = trained is not None or validated is not None
    if not losses and metric in curve:
        validated = metric
    sign = -1.0 if not losses and objective.goal == "max" else 1.0
    # A mean stands for the interval that it is of, and in its middle.
    middles = [(before + after) / 2 for before, after in zip([0.0, *places], places, strict=False)]
    means = _series(middles, curve.get(trained or "", ()), steps)
    batches = _series(records.step, records.loss, steps)
    validation = _series(places, curve.get(validated or "", ()), steps, sign)
    if losses and not math.isfinite(records.start):
        means, batches, validation = map(_skip_zeros, (means, batches, validation))
    return Course(
        training=means if len(means) >= min(PLENTY, len(batches)) else batches,
        batches=batches,
        means=means,
        validation=validation,
        gradient=_series(records.step, records.gradient_norm, steps),
        ratio=_series(records.step, records.update_ratio, steps),
        # A training that was ended early has few records, and its warmup may hold all of them.
        rates=_series((*places, *records.step), (*curve.get("lr", ()), *records.lr), steps),
        start=_bounded(records.start),
        baseline=_bounded(records.baseline),
        losses=losses,
    )


def _skip_zeros(series: Series) -> Series:
    """The series from its first value on that is not 0: a loop that has trained on nothing yet may
    report the mean of no losses."""
    first = next((at for at, value in enumerate(series.values) if value), 0)
    return Series(series.places[first:], series.values[first:])


def _between(place: float, places: Sequence[float], sums: Sequence[float]) -> float:
    """The sum at a place, on the lines between those at `places`."""
    after = min(bisect.bisect_left(places, place), len(places) - 1)
    if after == 0 or places[after] <= place:
        return sums[after]
    part = (place - places[after - 1]) / (places[after] - places[after - 1])
    return sums[after - 1] + part * (sums[after] - sums[after - 1])


MOST = 512
"""Values of a series: of a loop that reports each step several are one, their mean."""

LARGEST = 1e100
"""The largest number taken as it is: sums and ratios have to be numbers."""


def _bounded(value: float) -> float:
    return value if math.isnan(value) else max(-LARGEST, min(LARGEST, value))


def _series(
    steps: Sequence[float], values: Sequence[float], total: int, sign: float = 1.0
) -> Series:
    pairs = {
        step / total: sign * _bounded(value)
        for step, value in zip(steps, values, strict=False)
        if math.isfinite(value)
    }
    rows = sorted(pairs.items())
    together = -(-len(rows) // MOST)
    if together > 1:
        parts = [rows[start : start + together] for start in range(0, len(rows), together)]
        rows = [(part[-1][0], statistics.fmean(value for _, value in part)) for part in parts]
    return Series(tuple(place for place, _ in rows), tuple(value for _, value in rows))
