"""What a range test says: losses by rate in, an interval of rates or a refusal out.

A range test trains a few seeds while the rate rises by the same factor again and again (Smith 2017,
"Cyclical learning rates"). Where the loss begins to fall the rate begins to matter; where it rises
again the rate is too high. Both are read from the median over the seeds, smoothed in log lr by a
symmetric kernel: the exponential average of the published tests looks back only, and moves what it
shows to higher rates. Nothing here depends on the loss's unit: a multiple of it, or one moved by a
constant, gives the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LOWEST, HIGHEST = 1e-7, 100.0
"""Rates between which a sweep runs: below the first no optimizer has been seen to move a model in a
few hundred steps, and above the last few train."""

RATES = 108
"""Rates of a sweep: twelve a decade."""

STEPS = 3
"""Steps at each."""

SEEDS = 3
"""Seeds of a sweep: the fewest whose median one odd seed does not decide."""

WIDTH = 0.15
"""Decades, the deviation of the smoothing kernel: about two rates, a third of a decade in all."""

DESCENT = 0.1
"""Share of the whole descent that has been made where it begins, reliably."""

RISE = 0.1
"""Share of the whole descent that is lost again where the rise begins."""

SURE = 4.0
"""Deviations of the noise, once smoothed, that a descent or a rise exceeds."""

CLEAR = 8.0
"""Deviations of the noise that a whole descent exceeds: of one that is less a tenth, where it
begins, cannot be told."""

EDGE = 4
"""Rates at the lower end of a sweep in which no descent may begin: a third of a decade."""

SHORTEST = 12
"""Rates whose loss is finite, at least: a decade."""

CAPS = {"adafactor": 1.0}
"""By optimizer the rate above which no step is larger: torch's Adafactor takes the smaller of the
rate and 1 / sqrt(step). Its loss need not rise."""

LOW_MARGIN, HIGH_MARGIN = 0.0, 0.0
"""Decades by which the interval is widened at either end."""


@dataclass(frozen=True)
class Interval:
    """Rates worth searching, from `low` to `high`; `reason` says in words what they rest on."""

    low: float
    high: float
    reason: str


@dataclass(frozen=True)
class Refusal:
    """Why a sweep gives no interval, and what to try."""

    reason: str
    advice: str


def make_rates(low: float = LOWEST, high: float = HIGHEST, count: int = RATES) -> tuple[float, ...]:
    """So many rates from `low` to `high`, each by the same factor above the one before."""
    return tuple(float(each) for each in np.geomspace(low, high, count))


def cap_rates(rates: Sequence[float], optimizer: str) -> tuple[float, ...]:
    """The rates of a sweep of a built-in optimizer: none above its cap, which is the last."""
    cap = CAPS.get(optimizer, math.inf)
    if not rates or rates[-1] <= cap:
        return tuple(rates)
    return (*(rate for rate in rates if rate < cap * (1 - 1e-9)), cap)


def median_losses(lr: Sequence[float], losses: Sequence[Sequence[float]]) -> tuple[Array, Array]:
    """The rates [n] and the median loss over seeds [n] at each, up to the first that is not finite;
    `losses` are [seeds][rates]. A loss that is not finite counts as higher than any other."""
    if not losses or not lr:
        return np.empty(0), np.empty(0)
    each = np.asarray(losses, dtype=np.float64)
    each = np.where(np.isfinite(each), each, np.inf)
    middle = np.sort(each, axis=0)[len(each) // 2]  # Of an even number the higher: no mean of inf.
    if len(each) % 2 == 0:
        lower = np.sort(each, axis=0)[len(each) // 2 - 1]
        middle = np.where(np.isfinite(middle), (lower + middle) / 2, np.inf)
    bad = np.flatnonzero(~np.isfinite(middle))
    end = int(bad[0]) if len(bad) else len(middle)
    return np.asarray(lr, dtype=np.float64)[:end], middle[:end]


def smooth(lr: Sequence[float] | Array, losses: Sequence[float] | Array) -> Array:
    """The losses smoothed in log lr, [n]: at each rate the value of a line fitted with the weights
    of a Gaussian of `WIDTH` decades (local linear regression, Cleveland 1979). The kernel is
    symmetric, so nothing is shifted, and the line keeps the ends where they are."""
    x, y = np.log10(np.asarray(lr, float)), np.asarray(losses, float)
    if len(x) < 3:
        return y.copy()
    apart = x[:, None] - x[None, :]
    weights = np.exp(-0.5 * (apart / WIDTH) ** 2)
    weights /= weights.sum(1, keepdims=True)
    mean_x, mean_y = (weights * -apart).sum(1), weights @ y
    spread = (weights * apart**2).sum(1) - mean_x**2
    slope = ((weights * -apart) @ y - mean_x * mean_y) / spread
    return np.asarray(mean_y - slope * mean_x)


@dataclass(frozen=True)
class _Read:
    """A sweep as it is read: the rates whose median loss is finite, that median, the smoothed curve
    and the deviation of its noise. `start` is the level before the descent, `lowest` the place
    of the least loss."""

    lr: Array
    middle: Array
    curve: Array
    noise: float
    start: float
    lowest: int

    @property
    def depth(self) -> float:
        """How far the loss falls."""
        return self.start - float(self.curve[self.lowest])

    @property
    def falls(self) -> bool:
        """Whether that is more than noise."""
        return self.depth > max(SURE * self.noise, 1e-9 * abs(self.start))


def _read(lr: Sequence[float], losses: Sequence[Sequence[float]]) -> _Read | None:
    """A sweep's reading, None of one without a finite loss. What lies behind a rise as high above
    the start as the loss had fallen below it is left out: it would be smoothed into the minimum,
    and what a model does that is lost says nothing of rates."""
    rates, middle = median_losses(lr, losses)
    if not len(rates):
        return None
    found = _measure(rates, middle)
    if not found.falls:
        return found
    ceiling = found.start + found.depth
    behind = np.flatnonzero((middle >= ceiling) & (np.arange(len(rates)) > found.lowest))
    end = int(behind[0]) + 1 if len(behind) else len(rates)
    return _measure(rates[:end], np.minimum(middle[:end], ceiling))


def _measure(rates: Array, middle: Array) -> _Read:
    start = _level(middle)
    # A first reading by medians of three: of a rise of any height, which a line would follow.
    padded = np.pad(middle, 1, mode="edge")
    rough = np.median([padded[:-2], padded[1:-1], padded[2:]], axis=0)
    ceiling = start + max(start - float(rough.min()), 0.0)
    falls = start - float(rough.min()) > SURE * _noise(middle)
    curve = smooth(rates, np.minimum(middle, ceiling) if falls else middle)
    return _Read(rates, middle, curve, _noise(middle), _level(curve), int(curve.argmin()))


def _level(losses: Array) -> float:
    """The loss before the rate matters: the median of the first tenth."""
    return float(np.median(losses[: max(3, len(losses) // 10)]))


def _noise(middle: Array) -> float:
    """The deviation of the smoothed curve by noise alone, from the second differences of what is
    smoothed: half of them are smaller than 0.6745 times their deviation, which is sqrt(6) times
    that of a loss; of so many losses the kernel takes a mean."""
    if len(middle) < 5:
        return 0.0
    second = middle[2:] - 2 * middle[1:-1] + middle[:-2]
    return float(np.median(np.abs(second))) / 0.6745 / math.sqrt(6.0) / math.sqrt(_TOGETHER)


_TOGETHER = 6.0
"""Losses that count in a smoothed one: 2 sqrt(pi) `WIDTH` times twelve a decade."""


def find_curve(
    lr: Sequence[float], losses: Sequence[Sequence[float]]
) -> tuple[list[float], list[float]]:
    """The curve that all else is read from: the rates up to the first whose median is not finite,
    or where the loss has risen as far above its start as it had fallen below, and the smoothed
    median loss at each."""
    found = _read(lr, losses)
    return ([], []) if found is None else (found.lr.tolist(), found.curve.tolist())


def find_interval(
    lr: Sequence[float], losses: Sequence[Sequence[float]], cap: float | None = None
) -> Interval | Refusal:
    """The interval of a sweep, from the first reliable descent to the onset of the rise, or why
    there is none.

    `losses` are [seeds][rates], as in `trial.Swept`; `cap` is the rate above which an optimizer
    takes no larger steps, where there is one: a loss that falls up to it has its end there.
    """
    found = _read(lr, losses)
    if found is None:
        return Refusal(
            f"the loss is not finite at the lowest rate, {_show(lr[0]) if lr else 'none'}",
            "look at the data and the initial weights: one of them is not finite, or overflows",
        )
    ended = len(found.lr) < len(lr)
    if len(found.lr) < SHORTEST:
        return Refusal(
            f"the loss is lost at {_show(lr[len(found.lr)])} already, after {len(found.lr)} rates",
            f"lower rates: --min {_show(lr[0] / 1e4)} --max {_show(lr[0] * 1e2)}",
        )
    if not found.falls:
        return _refuse_flat(found, lr, ended)
    down = max(DESCENT * found.depth, SURE * found.noise)
    up = max(RISE * found.depth, SURE * found.noise)
    if found.depth < CLEAR * found.noise:
        return Refusal(
            f"too noisy to tell: the loss falls by {found.depth:.2g}, {CLEAR:g} times its noise of "
            f"{found.noise:.2g} would do",
            "more steps at each rate (--steps 1000), more seeds (--seeds 5) or larger batches",
        )
    before = np.flatnonzero(found.curve[: found.lowest] > found.start - down)
    first = int(before[-1]) + 1 if len(before) else 0
    after = np.flatnonzero(found.curve[found.lowest :] > found.curve[found.lowest] + up)
    last = found.lowest + int(after[0]) if len(after) else len(found.lr) - 1
    capped = not len(after) and not ended and cap is not None and lr[-1] >= cap
    if not len(after) and not ended and not capped:
        return _refuse_edge(found, first)
    if first < EDGE:
        return Refusal(
            f"the loss falls from the lowest rate on, {_show(lr[0])}: where that begins is not "
            "seen",
            f"lower rates: --min {_show(lr[0] / 1e3)}",
        )
    low, high = float(found.lr[first]), float(found.lr[last])
    end = f"rises again from {_show(high)} on"
    if capped:
        end = f"still falls at {_show(high)}, above which no step is larger"
    elif not len(after):
        end = f"is not finite, or far above its start, from {_show(lr[len(found.lr)])} on"
    reason = (
        f"the loss of {found.start:.3g} falls from {_show(low)} on, is lowest at "
        f"{_show(found.lr[found.lowest])} ({found.curve[found.lowest]:.3g}) and {end}"
    )
    low, high = low * 10**-LOW_MARGIN, high * 10**HIGH_MARGIN
    return Interval(low, high if cap is None else min(high, cap), reason)


def _refuse_flat(found: _Read, lr: Sequence[float], ended: bool) -> Refusal:
    if ended or float(found.curve.max()) - found.start > SURE * found.noise:
        rise = np.flatnonzero(found.curve > found.start + SURE * found.noise)
        place = float(found.lr[rise[0]]) if len(rise) else lr[len(found.lr)]
        return Refusal(
            f"the loss only rises, from {_show(place)} on: no rate lowers it before",
            "more steps (--steps 1000); if it stays so, look at the targets and the loss: there is "
            "nothing that the model learns in so few steps",
        )
    return Refusal(
        f"the loss is flat: from {_show(lr[0])} to {_show(lr[-1])} it stays within its noise of "
        f"{found.noise * math.sqrt(_TOGETHER):.2g} around {found.start:.3g}",
        f"higher rates (--max {_show(lr[-1] * 1e3)}), more steps (--steps 1000), or whether the "
        "parameters get gradients at all",
    )


def _refuse_edge(found: _Read, first: int) -> Refusal:
    begins, ends = _show(found.lr[0]), _show(found.lr[-1])
    if first < EDGE:
        return Refusal(
            f"the loss only falls, from the lowest rate, {begins}, to the highest, {ends}",
            f"a wider range: --min {_show(found.lr[0] / 1e3)} --max {_show(found.lr[-1] * 1e3)}",
        )
    return Refusal(
        f"the edge is reached: at the highest rate, {ends}, the loss has not risen yet",
        f"higher rates: --max {_show(found.lr[-1] * 1e3)}",
    )


def _show(rate: float) -> str:
    """A rate to two digits: 0.011, 1.4e-05."""
    return f"{rate:.2g}"


RULES = ("steepest", "valley", "slide", "minimum_10", "lightning")
"""The published rules that choose one rate of a curve."""

_STOP = 4.0
"""Times the best loss at which fastai and Lightning end their sweeps."""


def find_points(lr: Sequence[float], losses: Sequence[float]) -> dict[str, float | None]:
    """The rates that published rules choose of a curve, None where it is too short for them.

    The rules are fastai's (callback/schedule.py) and Lightning's (tuner/lr_finder.py); both end a
    sweep at four times the best loss, and leave out its beginning and its end: fastai a tenth and
    five points, Lightning ten and one. Here they read the curve of `find_curve`, which lags behind
    nothing; both publish them for an exponential average, which does.
    """
    rates, curve = np.asarray(lr, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    best = np.minimum.accumulate(curve) if len(curve) else curve
    over = np.flatnonzero((curve > _STOP * best) & (best > 0))
    end = int(over[0]) + 1 if len(over) else len(curve)
    rates, curve = rates[:end], curve[:end]
    own = slice(len(curve) // 10, -5)
    found: dict[str, float | None] = dict.fromkeys(RULES)
    if len(curve[own]) >= 2:
        for name, rule in _FASTAI.items():
            found[name] = rule(rates[own], curve[own])
    if len(curve[10:-1]) >= 2:
        found["lightning"] = steepest_linear(rates[10:-1], curve[10:-1])
    return found


def steepest(lr: Array, losses: Array) -> float:
    """Where the loss falls most per logarithm of the rate (fastai's `steep`): the argument of the
    least difference quotient, its left end."""
    return float(lr[np.argmin(np.diff(losses) / np.diff(np.log(lr)))])


def valley(lr: Array, losses: Array) -> float:
    """Two thirds down the longest valley (fastai's `valley`, from ESRI): of the longest falling
    subsequence of losses, whose end is known and whose beginning is taken to lie its length before
    that, the point after a third and a sixth of it."""
    lengths = [1] * len(losses)
    start = end = 0
    for i in range(1, len(losses)):
        for j in range(i):
            if losses[i] < losses[j] and lengths[i] < lengths[j] + 1:
                lengths[i] = lengths[j] + 1
            if lengths[end] < lengths[i]:
                end = i
                start = end - lengths[end]
    third = (end - start) / 3
    return float(lr[start + int(third) + int(third / 2)])


def slide(lr: Array, losses: Array, apart: int = 15, threshold: float = 0.005) -> float | None:
    """Where two slopes `apart` points from each other are the same, coming from the right (fastai's
    `slide`, from Novetta): the left one's rate, the slopes being differences from point to point.
    The threshold is one of the loss itself. None for fewer points than it looks at."""
    if len(losses) <= apart:
        return None
    slopes = np.gradient(losses)
    right, left = -1, -1 - apart
    found = lr[left]
    while left >= -len(losses) and abs(slopes[right] - slopes[left]) > threshold:
        found = lr[left]
        right, left = right - 1, left - 1
    return float(found)


def minimum_10(lr: Array, losses: Array) -> float:
    """A tenth of the rate at the lowest loss (fastai's `minimum`)."""
    return float(lr[losses.argmin()]) / 10


def steepest_linear(lr: Array, losses: Array) -> float:
    """Where the loss falls most per unit of the rate itself (Lightning's `suggestion` since its
    pull request 21055 of 2025: torch.gradient over the rates). The same fall over ten times the
    rate counts a tenth, so that it reads the beginning of the descent, or noise before that."""
    return float(lr[np.argmin(np.gradient(losses, lr))])


_FASTAI: dict[str, Callable[[Array, Array], float | None]] = {
    "steepest": steepest,
    "valley": valley,
    "slide": slide,
    "minimum_10": minimum_10,
}
