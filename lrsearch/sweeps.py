"""Range tests: losses by rate in, an interval of rates or a refusal out.

A range test trains a few seeds while the rate rises by the same factor again and again (Smith 2017,
"Cyclical learning rates"). Where the loss begins to fall the rate begins to matter; where it rises
again the rate is too high. Both are read from the median over the seeds, smoothed in log lr by a
symmetric kernel: the exponential average of the published tests looks back only, and moves what it
shows to higher rates. Nothing here depends on the loss's unit: a multiple of it, or one moved by a
constant, gives the same interval.
"""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from collections.abc import Callable, Sequence

from lrsearch.frozen import frozen
from lrsearch.terminal import short

Numbers = Sequence[float]

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

DESCENT = 0.3
"""Share of the whole descent that has been made where it is called reliable."""

RISE = 0.05
"""Share of the whole descent that is lost again where the rise begins."""

SURE = 4.0
"""Deviations of the noise, once smoothed, that a descent or a rise exceeds."""

CLEAR = 8.0
"""Deviations of the noise that a whole descent exceeds: where one that is less begins and ends,
nobody can tell."""

EARLY = 0.05
"""Share of the whole descent that may be made in the first tenth of the rates, whose level is the
start: a descent that has begun there has a start that was not seen."""

SHORTEST = 12
"""Rates whose loss is finite, at least: a decade."""

CAPS = {"adafactor": 1.0}
"""The rate above which no step is larger, by optimizer: torch's Adafactor takes the smaller of the
rate and 1 / sqrt(step). Its loss need not rise."""

MARGIN = 0.3
"""Decades by which the interval is widened below: a training has more steps than a sweep has at one
rate, and gets as far with less. Set, with `DESCENT` and `RISE`, by `benchmarks/range_test.py`."""


@frozen
class Interval:
    """Rates worth searching, from `low` to `high`; `reason` says in words what they rest on."""

    low: float
    high: float
    reason: str


@frozen
class Refusal:
    """The reason why a sweep gives no interval, and advice."""

    reason: str
    advice: str


def make_rates(low: float = LOWEST, high: float = HIGHEST, count: int = RATES) -> tuple[float, ...]:
    """Rates from `low` to `high`, at least two, each by the same factor above the one
    before."""
    inner = (low * (high / low) ** (place / (count - 1)) for place in range(1, count - 1))
    return (low, *inner, high)


def share_steps(steps: int) -> tuple[int, int]:
    """The number of rates and the steps at each that come nearest to so many steps, at least one,
    in all: as many rates as there are steps up to `RATES`, and about as many above. They are off by
    half of the steps at a rate at most."""
    if steps <= RATES:
        return steps, 1
    shares = [(round(steps / each), each) for each in range(1, steps // RATES + 2)]
    near = [(count, each) for count, each in shares if 0.75 * RATES <= count <= 1.5 * RATES]
    return min(near, key=lambda pair: (abs(math.prod(pair) - steps), abs(pair[0] - RATES)))


def cap_rates(rates: Sequence[float], optimizer: str) -> tuple[float, ...]:
    """The rates of a sweep of a built-in optimizer: none above its cap, which is the last."""
    cap = CAPS.get(optimizer, math.inf)
    if not rates or rates[-1] <= cap:
        return tuple(rates)
    return (*(rate for rate in rates if rate < cap * (1 - 1e-9)), cap)


def median_losses(lr: Numbers, losses: Sequence[Numbers]) -> tuple[list[float], list[float]]:
    """The rates [n] and the median loss over seeds [n] at each, up to the first that is not finite;
    `losses` are [seeds][rates]. A loss that is not finite counts as higher than any other."""
    rates: list[float] = []
    middle: list[float] = []
    for rate, *each in zip(lr, *losses, strict=True) if losses else ():
        median = statistics.median(loss if math.isfinite(loss) else math.inf for loss in each)
        if not math.isfinite(median):
            break
        rates.append(rate)
        middle.append(median)
    return rates, middle


def smooth(lr: Numbers, losses: Numbers) -> list[float]:
    """The losses smoothed in log lr, [n]: at each rate the value of a line fitted with the weights
    of a Gaussian of `WIDTH` decades (local linear regression, Cleveland 1979). The kernel is
    symmetric, so nothing is shifted, and the line keeps the ends where they are."""
    if len(lr) < 3:
        return list(losses)
    return [kernel.fit(losses) for kernel in _kernels(tuple(lr))]


@frozen
class _Kernel:
    """A weighted line at one rate: the `weights` [n] of the losses and their sum, `levers` [n],
    the weights times the distance of each rate from the weighted mean, in decades, their `spread`
    about it, and `place`, the mean's distance from the rate."""

    weights: Numbers
    total: float
    levers: Numbers
    spread: float
    place: float

    def fit(self, losses: Numbers) -> float:
        """The value of the line through these losses at the rate."""
        mean = (
            math.fsum(w * loss for w, loss in zip(self.weights, losses, strict=True)) / self.total
        )
        if not self.spread:  # Rates so far apart that each stands alone.
            return mean
        slope = math.fsum(w * (loss - mean) for w, loss in zip(self.levers, losses, strict=True))
        return mean - slope / self.spread * self.place


@functools.lru_cache(maxsize=8)
def _kernels(lr: tuple[float, ...]) -> list[_Kernel]:
    """The kernel at each rate. They take longer than all else, and a search has its sweeps at the
    same rates."""
    x = [math.log10(rate) for rate in lr]
    made = []
    for here in x:
        apart = [each - here for each in x]
        weights = [math.exp(-0.5 * (each / WIDTH) ** 2) for each in apart]
        total = math.fsum(weights)
        place = math.fsum(w * each for w, each in zip(weights, apart, strict=True)) / total
        levers = [w * (each - place) for w, each in zip(weights, apart, strict=True)]
        spread = math.fsum(w * (each - place) ** 2 for w, each in zip(weights, apart, strict=True))
        made.append(_Kernel(weights, total, levers, spread, place))
    return made


@frozen
class _Read:
    """A sweep as it is read: the rates whose median loss is finite, that median, the smoothed curve
    and the deviation of its noise. `start` is the level before the descent, `lowest` the place
    of the least loss."""

    lr: Numbers
    curve: Numbers
    noise: float
    start: float
    lowest: int

    @property
    def depth(self) -> float:
        """The depth to which the loss falls."""
        return self.start - self.curve[self.lowest]

    @property
    def sure(self) -> float:
        """A difference of losses that is more than noise, and than rounding."""
        return max(SURE * self.noise, 1e-9 * max(map(abs, self.curve)))

    @property
    def falls(self) -> bool:
        """Whether the loss falls."""
        return self.depth > self.sure

    @property
    def begins_falling(self) -> bool:
        """Whether it does so from the lowest rate on. The ends of a smoothed curve are twice as
        noisy."""
        fall = self.curve[0] - self.curve[_opening(self.curve) - 1]
        return fall > max(EARLY * self.depth, 2 * self.sure)


def _read(lr: Numbers, losses: Sequence[Numbers]) -> _Read | None:
    """A sweep's reading, None of one without a finite loss. What lies behind a rise as high above
    the start as the loss had fallen below it is left out: it would be smoothed into the minimum,
    and what a model does that is lost says nothing of rates."""
    rates, middle = median_losses(lr, losses)
    if not rates:
        return None
    found = _measure(rates, middle)
    if not found.falls:
        return found
    ceiling = found.start + found.depth
    above = (at for at in range(found.lowest + 1, len(rates)) if middle[at] >= ceiling)
    end = next(above, len(rates) - 1) + 1
    return _measure(rates[:end], [min(loss, ceiling) for loss in middle[:end]])


def _measure(rates: Numbers, middle: Numbers) -> _Read:
    start, noise = _level(middle), _noise(middle)
    # A first reading by medians of three, which a rise of any height does not move.
    threes = zip(middle, middle[1:], middle[2:], strict=False)
    fall = start - min(map(statistics.median, threes), default=start)
    falls = fall > SURE * noise
    curve = smooth(rates, [min(loss, start + fall) for loss in middle] if falls else middle)
    return _Read(rates, curve, noise, _level(curve), curve.index(min(curve)))


def _level(losses: Numbers) -> float:
    """The loss before the rate matters: the median of the first tenth."""
    return statistics.median(losses[: _opening(losses)])


def _opening(losses: Numbers) -> int:
    """The rates before any matters: the first tenth."""
    return min(max(3, len(losses) // 10), len(losses))


def _noise(middle: Numbers) -> float:
    """The deviation of the smoothed curve by noise alone, from the second differences of what is
    smoothed: half of them are smaller than 0.6745 times their deviation, which is sqrt(6) times
    that of a loss; of so many losses the kernel takes a mean."""
    if len(middle) < 5:
        return 0.0
    threes = zip(middle, middle[1:], middle[2:], strict=False)
    second = statistics.median(abs(left - 2 * here + right) for left, here, right in threes)
    return second / 0.6745 / math.sqrt(6.0 * _TOGETHER)


_TOGETHER = 6.0
"""Losses that count in a smoothed one: 2 sqrt(pi) `WIDTH` times twelve a decade."""


def find_curve(lr: Numbers, losses: Sequence[Numbers]) -> tuple[list[float], list[float]]:
    """The curve that all else is read from: the rates up to the first whose median is not finite,
    or where the loss has risen as far above its start as it had fallen below, and the smoothed
    median loss at each."""
    found = _read(lr, losses)
    return ([], []) if found is None else (list(found.lr), list(found.curve))


def find_interval(
    lr: Numbers, losses: Sequence[Numbers], cap: float | None = None
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
    if len(found.lr) < min(SHORTEST, len(lr)):
        return Refusal(
            f"the loss is lost at {_show(lr[len(found.lr)])}, after {len(found.lr)} rates",
            f"lower rates: --min {_show(lr[0] / 1e4)} --max {_show(lr[0] * 1e2)}",
        )
    ended = len(found.lr) < len(lr)
    if not found.falls:
        return _refuse_flat(found, lr, ended)
    if found.depth < CLEAR * found.noise:
        return Refusal(
            f"too noisy to tell: the loss falls by {found.depth:.2g}, which is less than {CLEAR:g} "
            f"times the noise of its curve, {found.noise:.2g}",
            "more steps (--steps 1000), more seeds (--seeds 5) or larger batches",
        )
    down = found.start - max(DESCENT * found.depth, found.sure)
    up = found.curve[found.lowest] + max(RISE * found.depth, found.sure)
    first = max((at + 1 for at in range(found.lowest) if found.curve[at] > down), default=0)
    after = (at for at in range(found.lowest, len(found.lr)) if found.curve[at] > up)
    last = next(after, None)
    capped = last is None and not ended and cap is not None and lr[-1] >= cap
    early = first < _opening(found.curve) or found.begins_falling
    if last is None and not ended and not capped:
        return _refuse_edge(found, early)
    if early:
        return Refusal(
            f"the loss falls from the lowest rate on, {_show(lr[0])}: where that begins is not "
            "seen",
            f"lower rates: --min {_show(lr[0] / 1e3)}",
        )
    low, high = found.lr[first], found.lr[-1 if last is None else last]
    end = f"rises again from {_show(high)} on"
    if capped:
        end = f"still falls at {_show(high)}, above which no step is larger"
    elif last is None:
        end = f"is not finite, or far above its start, from {_show(lr[len(found.lr)])} on"
    reason = (
        f"the loss, {found.start:.3g} at first, has made {DESCENT:.0%} of its descent at "
        f"{_show(low)}, is lowest at {_show(found.lr[found.lowest])} "
        f"({found.curve[found.lowest]:.3g}) and {end}; widened by {MARGIN:g} "
        "decades below"
    )
    low *= 10**-MARGIN
    return Interval(low, high if cap is None else min(high, cap), reason)


def _refuse_flat(found: _Read, lr: Numbers, ended: bool) -> Refusal:
    above = found.start + found.sure
    if ended or max(found.curve) > above:
        rates = (rate for rate, loss in zip(found.lr, found.curve, strict=True) if loss > above)
        place = next(rates, lr[min(len(found.lr), len(lr) - 1)])
        return Refusal(
            f"the loss only rises, from {_show(place)} on: no rate lowers it before",
            "more steps (--steps 1000); if it stays so, look at the targets and the loss: in so "
            "few steps the model learns nothing",
        )
    return Refusal(
        f"the loss is flat: from {_show(lr[0])} to {_show(lr[-1])} it stays within its noise, "
        f"around {found.start:.3g}",
        f"higher rates (--max {_show(lr[-1] * 1e3)}) or more steps (--steps 1000), and look "
        "whether the parameters get gradients at all",
    )


def _refuse_edge(found: _Read, early: bool) -> Refusal:
    begins, ends = _show(found.lr[0]), _show(found.lr[-1])
    if early:
        return Refusal(
            f"the loss only falls, from the lowest rate, {begins}, to the highest, {ends}",
            f"a wider range: --min {_show(found.lr[0] / 1e3)} --max {_show(found.lr[-1] * 1e3)}",
        )
    return Refusal(
        f"the edge is reached: at the highest rate, {ends}, the loss has not risen yet",
        f"higher rates: --max {_show(found.lr[-1] * 1e3)}",
    )


def _show(rate: float) -> str:
    """A rate to two digits: 0.011, 1.4e-5."""
    return short(rate, 2)


RULES = ("steepest", "valley", "slide", "minimum_10", "lightning")
"""The published rules that choose one rate of a curve."""

_STOP = 4.0
"""Times the best loss at which fastai and Lightning end their sweeps."""


def find_points(lr: Numbers, losses: Numbers) -> dict[str, float | None]:
    """The rates that published rules choose of a curve, None where it is too short for them.

    The rules are fastai's (callback/schedule.py) and Lightning's (tuner/lr_finder.py); both end a
    sweep at four times the best loss, and leave out its beginning and its end: fastai a tenth and
    five points, Lightning ten and one. Here they read the curve of `find_curve`, which lags behind
    nothing; both publish them for an exponential average, which does.
    """
    best = itertools.accumulate(losses, min)
    over = (
        place + 1
        for place, (loss, low) in enumerate(zip(losses, best, strict=True))
        if loss > _STOP * low > 0
    )
    end = next(over, len(losses))
    lr, losses = lr[:end], losses[:end]
    own = slice(end // 10, -5)
    found: dict[str, float | None] = dict.fromkeys(RULES)
    if len(losses[own]) >= 2:
        for name, rule in _FASTAI.items():
            found[name] = rule(lr[own], losses[own])
    if len(losses[10:-1]) >= 2:
        found["lightning"] = steepest_linear(lr[10:-1], losses[10:-1])
    return found


def steepest(lr: Numbers, losses: Numbers) -> float:
    """The rate at which the loss falls most per logarithm of the rate (fastai's `steep`): the left
    end of the least difference quotient."""
    slopes = [
        (after - loss) / math.log(upper / rate)
        for (rate, upper), (loss, after) in zip(
            itertools.pairwise(lr), itertools.pairwise(losses), strict=True
        )
    ]
    return lr[slopes.index(min(slopes))]


def valley(lr: Numbers, losses: Numbers) -> float:
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
    return lr[start + int(third) + int(third / 2)]


def slide(lr: Numbers, losses: Numbers, apart: int = 15, threshold: float = 0.005) -> float | None:
    """The rate at which two slopes `apart` points from each other are equal, coming from the right
    (fastai's `slide`, from Novetta): the left one's rate, the slopes being differences from point
    to point. The threshold is one of the loss itself. None for fewer points than it looks at."""
    if len(losses) <= apart:
        return None
    slopes = _gradient(range(len(losses)), losses)
    right, left = -1, -1 - apart
    found = lr[left]
    while left >= -len(losses) and abs(slopes[right] - slopes[left]) > threshold:
        found = lr[left]
        right, left = right - 1, left - 1
    return found


def minimum_10(lr: Numbers, losses: Numbers) -> float:
    """A tenth of the rate at the lowest loss (fastai's `minimum`)."""
    return lr[losses.index(min(losses))] / 10


def steepest_linear(lr: Numbers, losses: Numbers) -> float:
    """The rate at which the loss falls most per unit of the rate itself (Lightning's `suggestion`
    since its pull request 21055 of 2025: torch.gradient over the rates). The same fall over ten
    times the rate counts a tenth, so that it reads the beginning of the descent, or noise
    before that."""
    slopes = _gradient(lr, losses)
    return lr[slopes.index(min(slopes))]


def _gradient(x: Numbers, y: Numbers) -> list[float]:
    """Derivatives of y by x at each of its points, as NumPy's and torch's `gradient` have them:
    within, of the parabola through a point and its neighbours; at the ends, of the line."""
    steps = [after - before for before, after in itertools.pairwise(x)]
    slopes = [
        (after - before) / step
        for (before, after), step in zip(itertools.pairwise(y), steps, strict=True)
    ]
    inner = (
        (left * after + right * before) / (before + after)
        for (left, right), (before, after) in zip(
            itertools.pairwise(slopes), itertools.pairwise(steps), strict=True
        )
    )
    return [slopes[0], *inner, slopes[-1]]


_FASTAI: dict[str, Callable[[Numbers, Numbers], float | None]] = {
    "steepest": steepest,
    "valley": valley,
    "slide": slide,
    "minimum_10": minimum_10,
}
