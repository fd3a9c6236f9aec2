"""The rules: what a training's course says of it. docs/diagnosis.md has the formula, the reason
and the source of each constant.

All numbers that are compared are shares: of the loss of whoever has learned nothing, of what was
learned, of the steps that were trained. So no unit matters.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lrsearch.diagnosis.course import Course, Series

SMALLEST = 1e-100
"""A size, at least: a loss that is zero from the start has none."""

FEWEST_EVALUATIONS, FEWEST_STEPS = 5, 10
"""Evaluations, or recorded steps, that are too few below this to tell anything."""

TAIL = 0.1
"""Share of the training whose mean is how it ended."""

FIFTH = 0.2
"""Share of the training whose mean is held against that of the fifth before."""

LOST = 3.0
"""The multiple of its size at which a loss blew up."""

NONE = 0.02
"""Share of its size by which a loss that ends no better than it began may be below that."""

ROSE = 0.2
"""Share of its size that a loss ends above its start by, and falls no more."""

REGAINED = 0.2
"""Share of its size that a loss had come down by, of a training that has lost it all again."""

LITTLE = 0.06
"""Share of its size that a loss may come down by without having learned anything but how frequent
the classes are, or where the targets' mean is."""

SHOWN = 0.15
"""The same of a validation loss since its first evaluation: its samples are others."""

CREEP = 1e-3
"""Share of its size that a loss comes down by from fifth to fifth, at least, where it falls."""

GONE, LATEST = 0.01, 2
"""Share of its highest that a gradient is left with that is gone; recorded steps of the second half
that tell it, at least."""

FAINT = 1e-6
"""Share of the loss's size below which a gradient is gone that was never any larger."""

FALL, HALF = 0.05, 0.5
"""Share of all that was learned which a fifth of the training may bring at its end, by the slope of
the last half: of a loss that falls as exp(-3 t) it brings 7 %, and a twentieth of the way is
left."""

FLAT, DECAYED = 0.75, 2.5
"""Share of its highest that a rate is left with in the last fifth which has not decayed; the factor
on the limit of one that has, by the sum of the rates: of that the last steps have little."""

MOST_LEFT = 1.5
"""The most that may be left to learn, as a multiple of what was learned. Beyond it there is no
telling how much of it can be learned at all."""

UNKNOWN = 2.0
"""The factor on that where the first loss is unknown: part of the way is not seen."""

RISE = 0.1
"""Share of its fall that a validation loss may rise by from its lowest."""

GAPS = ((0.15, 5.0), (0.1, 20.0))
"""Share of what was learned that lies between training and validation loss, and how many times the
training loss the validation loss is, where the samples are known by heart: the more completely, the
less of a gap says so."""

HIGH = 0.65
"""Share of its size that a training loss is left with by a model that is too small."""

SWING, SETTLED = 0.025, 0.3
"""Share of what was learned that the validation loss goes back and forth by from one evaluation to
the next; place from which it should have settled."""

NEIGHBOURS = 3
"""Values on either side of a spike, at least: two tell no noise."""

TWENTIETHS, SURE = 20, 4.0
"""Parts of the training whose means a climb is told by, and how many times its standard error it
must be: of the 190 pairs of them one exceeds three times now and then by chance."""

SPIKE, NOISE, AROUND = 0.2, 6.0, 0.1
"""Share of what was learned that a spike stands above the medians on both sides; how many times the
deviation there; share of the training on either side that it is held against."""


@dataclass(frozen=True)
class Found:
    """The finding of a rule: its verdict, its evidence by names, and the evidence as a multiple of
    the rule's limit. From 1 on the verdict holds."""

    verdict: str
    margin: float
    evidence: Mapping[str, float]


class Reading:
    """The numbers that several rules need of a course. Raises nothing: what is not there is nan,
    and nan is never beyond a limit."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.training, self.validation = course.training, course.validation
        self.nothing = course.nothing

    @cached_property
    def main(self) -> Series:
        """The training losses, or what there is in their place."""
        return self.training or self.validation

    @cached_property
    def size(self) -> float:
        """The scale of losses, as `divergence.find_scale` has it; of a metric in
        the place of a loss its range."""
        values = (*self.training.values, *self.validation.values)
        if not self.course.losses:
            return (max(values) - min(values)) or 1.0
        began = (self.nothing,) if self.course.known else self.firsts
        return max(*map(abs, began), -min(values), SMALLEST)

    @property
    def firsts(self) -> tuple[float, ...]:
        """The first value of each series."""
        return tuple(each.values[0] for each in (self.training, self.validation) if each)

    @cached_property
    def scale(self) -> float:
        """The whole that shares of what was learned are of. Where nobody knows what it began with
        most may have been learned before the first report: then no less than what stood there, by
        which a small difference is small."""
        firsts = () if self.course.known else self.firsts
        return max(self.learned, *map(abs, firsts), NONE * self.size)

    @property
    def share(self) -> dict[str, float]:
        """The share of `scale` that was learned, as evidence, where that is a first value."""
        whole = max(map(abs, self.firsts), default=0.0)
        if self.course.known or whole < self.scale or whole <= self.learned:
            return {}
        return {"learned": max(0.0, self.learned) / whole}

    @cached_property
    def end(self) -> float:
        """The main loss at the end."""
        return self.main.mean(1 - TAIL, 1)

    @cached_property
    def low(self) -> float:
        """The least of the main loss, of means of three neighbours: one alone may be luck."""
        return min(_smooth(self.main.values), default=math.nan)

    @cached_property
    def noise(self) -> float:
        """Twice the standard error of `end`."""
        return 2 * self.main.error(1 - TAIL, 1)

    @cached_property
    def validation_end(self) -> float:
        """The validation loss at the end."""
        return self.validation.mean(1 - TAIL, 1)

    @cached_property
    def lowest(self) -> float:
        """The least validation loss, of means of three neighbours."""
        return min(_smooth(self.validation.values), default=math.nan)

    @cached_property
    def learned(self) -> float:
        """The least fall of the loss that is certain: of the training losses from the loss of a
        model that knows nothing, or of the validation losses since the first evaluation."""
        if not self.validation:
            return self.gain
        # What blew up before the first evaluation has not learned what it lost.
        began = self.validation.values[0]
        began = min(began, self.course.start) if self.course.known else began
        return max(self.gain, began - self.validation_end)

    @cached_property
    def fall(self) -> list[float]:
        """The certain falls of training and validation losses from the last but one fifth to the
        last."""
        return [*map(self.certain_drop, self._falling)]

    @cached_property
    def fall_by_rate(self) -> list[float]:
        """The same by fifths of the sum of the rates."""
        return [self.certain_drop(self.course.by_rate(each)) for each in self._falling]

    @property
    def _falling(self) -> list[Series]:
        series = (self.training, self.validation)
        return [each for each in series if len(each) >= FEWEST_EVALUATIONS]

    def certain_drop(self, series: Series) -> float:
        """`drop` less twice its standard error."""
        doubts = series.error(1 - 2 * FIFTH, 1 - FIFTH), series.error(1 - FIFTH, 1)
        return self.drop(series) - 2 * math.hypot(*doubts)

    @staticmethod
    def drop(series: Series) -> float:
        """The mean of the last fifth but one less that of the last."""
        return series.mean(1 - 2 * FIFTH, 1 - FIFTH) - series.mean(1 - FIFTH, 1)

    @cached_property
    def falls(self) -> bool:
        """Whether a loss falls at the end, however little."""
        return max((*self.fall, *self.fall_by_rate), default=0.0) >= CREEP * self.size

    @cached_property
    def ratio(self) -> dict[str, float]:
        """The median ratio of updates to weights, as evidence; empty where it is not known."""
        values = self.course.ratio.values
        return {"update_ratio": statistics.median(values)} if values else {}

    @cached_property
    def above(self) -> dict[str, float]:
        """The share of its size by which a bad start stands above a model that knows nothing, as
        evidence; empty where it hardly does, or is not known."""
        share = (self.course.start - self.nothing) / self.size
        return {"start_above": share} if share >= ROSE else {}

    @cached_property
    def gain(self) -> float:
        """The fall of the main loss from that of a model that knows nothing."""
        return self.nothing - self.end - self.noise

    @property
    def stands(self) -> bool:
        """Whether nothing was learned, and nothing is."""
        return self.is_blank and not (self.course.known and self.falls)

    @cached_property
    def is_blank(self) -> bool:
        """Whether nothing was learned. Where the loss at the start is not known, all may have been
        learned before the first evaluation: only a loss that never moves then shows that nothing
        was."""
        if not self.course.known:
            each = (series.values for series in (self.training, self.validation) if series)
            return all(max(values) - min(values) <= CREEP * self.size for values in each)
        fell = self.validation.values[0] - self.validation_end if self.validation else 0.0
        # One that came down to where whoever knows nothing stands has come back from a bad start.
        shown = fell < SHOWN * self.size or self.validation_end > self.nothing
        little = self.nothing - self.low < REGAINED * self.size
        return self.gain < LITTLE * self.size and shown and little

    @cached_property
    def depth(self) -> float:
        """The fall of the validation loss to its lowest."""
        first = max(self.nothing, self.validation.values[0]) if self.validation else math.nan
        return first - self.lowest


def _smooth(values: tuple[float, ...]) -> list[float]:
    if len(values) < 3:
        return list(values)
    return [statistics.fmean(values[k - 1 : k + 2]) for k in range(1, len(values) - 1)]


def find_diverged(reading: Reading) -> Found | None:
    """A loss that stood far above its size, or had come down, and ended no better than it began."""
    ended = min(reading.end, reading.validation_end) if reading.validation else reading.end
    size, nothing = reading.size, reading.nothing
    if not reading.course.losses or not ended >= nothing - NONE * size:
        return None
    # Where means are few single steps stand in their place, of which a peak may not be recorded.
    series = (reading.training, reading.course.means, reading.validation)
    peak = max((value for each in series for value in each.values), default=0.0)
    # One that began as high, of inputs of a large scale, and came down was not lost by training.
    limit, start = LOST * size, reading.course.start
    climbed = peak
    if start > limit and peak <= LOST * start:
        climbed = max(_highest(each, limit, high=True) for each in series)
    margin = max(climbed / limit, (nothing - reading.low) / size / REGAINED)
    rose = ended - reading.noise - max(reading.course.first, nothing)
    if rose >= ROSE * size and not reading.falls:
        margin = max(margin, rose / size / ROSE)
    evidence = {"peak": peak / size, "lowest": reading.low / size, "end": ended / size}
    return Found("diverged", margin, evidence)


def find_dead(reading: Reading) -> Found | None:
    """A training that has learned nothing, and whose gradient is gone."""
    gradient = reading.course.gradient
    late = gradient.within(0.5, 1)
    if not reading.is_blank or len(late) < LATEST:
        return None
    left, highest = statistics.median(late), max(gradient.values)
    share = left / highest if highest > 0 else 0.0
    if highest < FAINT * reading.size:
        share = min(share, GONE * highest / (FAINT * reading.size))
    margin = GONE / max(share, GONE / 20)
    return Found("dead", margin, {"gradient": left, "of_highest": share, "limit": GONE})


def find_stagnating(reading: Reading) -> Found | None:
    """A loss that has not come down, and does not."""
    share = reading.gain / reading.size
    if not reading.stands:
        return None
    margin = LITTLE / max(share, LITTLE / 20)
    evidence = {"learned": share, "limit": LITTLE}
    return Found("stagnating", margin, evidence | reading.above | reading.ratio)


def _highest(series: Series, limit: float, *, high: bool) -> float:
    """The highest value of a series; where it began `high` since it was first within a limit, 0
    where it never was: a loss that begins high, and comes down, has not stood there again."""
    values = series.values
    first = next((at for at, value in enumerate(values) if value <= limit or not high), len(values))
    return max(values[first:], default=0.0)


def find_unstable(reading: Reading) -> Found | None:
    """Spikes that recover: a loss that stands high above those around it, stood far above its size
    and came back, or climbs by much of what was learned."""
    # Of a single batch nobody knows whether the model or its samples stand out.
    spikes = [_spikes(each, reading) for each in (reading.training, reading.validation)]
    height = max((each for found in spikes for each in found), default=0.0)
    peak = 0.0
    if reading.course.losses:
        limit = LOST * reading.size
        high = not reading.course.start <= limit
        course = reading.course
        series = (course.means, course.batches, reading.training, reading.validation)
        peak = max(_highest(each, limit, high=high) / reading.size for each in series)
    climb = _climb(reading.training)
    if climb >= LITTLE * reading.size:
        height = max(height, climb / max(reading.scale, LITTLE * reading.size))
    number = max(1, *map(len, spikes))
    margin = max(height / SPIKE, peak / LOST)
    evidence = {"spikes": number, "height": height, "peak": peak, "limit": SPIKE}
    return Found("unstable", margin, evidence | reading.share)


def _climb(series: Series) -> float:
    """The certain climb of a series, from one twentieth of the training to a later one."""
    ends = [k / TWENTIETHS for k in range(TWENTIETHS + 1)]
    parts = [pair for pair in itertools.pairwise(ends) if series.within(*pair)]
    climb, lowest, doubt = 0.0, math.inf, 0.0
    for part in parts:
        mean, error = series.mean(*part), series.error(*part)
        climb = max(climb, mean - lowest - SURE * math.hypot(doubt, error))
        if mean < lowest:
            lowest, doubt = mean, error
    return climb


def _spikes(series: Series, reading: Reading) -> list[float]:
    """The heights of a series' spikes, in shares of what was learned: values above the medians on
    both sides by more than the noise among their neighbours."""
    heights = []
    inside = False
    for place, value in zip(series.places, series.values, strict=True):
        before = series.within(place - AROUND, place - 1e-6)
        after = series.within(place, place + AROUND)
        if min(len(before), len(after)) < NEIGHBOURS:
            continue
        level = max(statistics.median(before), statistics.median(after))
        noise = max(map(_noise, (before, after)))
        height = (value - level) / reading.scale
        high = height >= SPIKE and value - level >= NOISE * noise
        if high and not inside:
            heights.append(height)
        inside = high
    return heights


def _noise(values: Sequence[float]) -> float:
    """The deviation of values around their median, by the median of the distances (Hampel 1974)."""
    middle = statistics.median(values)
    return 1.4826 * statistics.median(abs(value - middle) for value in values)


def find_oscillating(reading: Reading) -> Found | None:
    """A validation loss, whose samples are always the same, that goes up and down."""
    series = reading.validation or reading.course.means
    values = series.within(SETTLED, 1)
    if len(values) < FEWEST_EVALUATIONS:
        return None
    steps = [after - before for before, after in itertools.pairwise(values)]
    runs = [math.fsum(run) for _, run in itertools.groupby(steps, lambda step: step > 0)]
    climbs, falls = (
        [each for each in ways if each > 0] for ways in (runs, [-each for each in runs])
    )
    # One way up, or one down, is a slope's, a bottom's or a spike's.
    turns = min(len(climbs), len(falls)) > 1
    less = min(math.fsum(climbs), math.fsum(falls)) if turns else 0.0
    swing = 2 * less / len(steps) / reading.scale
    limit = SWING if reading.course.known else UNKNOWN * SWING
    return Found("oscillating", swing / limit, {"swing": swing, "limit": limit} | reading.share)


def find_overfitting(reading: Reading) -> Found | None:
    """A validation loss that rises from its lowest while the training loss does not, or stays far
    above it."""
    validation = reading.validation
    if not validation or not reading.training or len(validation) < 3:
        return None
    lowest = min(zip(validation.values, validation.places, strict=True))[1]
    before = reading.training.mean(lowest - TAIL / 2, lowest + TAIL / 2)
    depth, learned = max(reading.depth, CREEP * reading.size), reading.nothing - reading.end
    if not reading.course.known:
        depth = learned = reading.scale
    rise = (reading.validation_end - reading.lowest) / depth
    margin = rise / RISE if reading.end <= before else 0.0
    gap = (reading.validation_end - reading.end) / learned if learned > 0 else 0.0
    if reading.course.losses and reading.validation_end > 0:
        times = reading.validation_end / max(reading.end, 1e-300)
        factor = 1.0 if reading.course.known else UNKNOWN
        margin = max(margin, *(min(gap / factor / far, times / most) for far, most in GAPS))
    return Found("overfitting", margin, {"rise": rise, "gap": gap} | reading.share)


def find_slow(reading: Reading) -> Found | None:
    """A loss that still falls at the end: the validation loss where there is one, whose samples
    stay the same."""
    course, series = reading.course, reading.validation
    if len(series) < FEWEST_EVALUATIONS:
        series = reading.training
    if len(series) < FEWEST_EVALUATIONS:
        return None
    learned = max(reading.learned, NONE * reading.size)
    limit = FALL if course.known else UNKNOWN * FALL
    # Where a rate decays the loss settles, which a longer budget does not bring once more.
    if course.rates and course.rates.mean(1 - FIFTH, 1) < FLAT * course.rate:
        series, limit = course.by_rate(series), DECAYED * limit
    slope, error = series.slope(HALF, 1)
    if math.isnan(slope):
        return None
    fall = FIFTH * (-slope - 2 * error) / learned
    # No more than what is left may be learned, of a loss that is never below zero.
    left = MOST_LEFT
    if course.losses and min(series.values) >= 0:
        left = min(left, series.mean(1 - TAIL, 1) / learned)
    limit = limit / math.sqrt(max(left, SMALLEST))
    return Found("too_slow", fall / limit, {"fall": fall, "limit": limit} | reading.ratio)


def find_underfitting(reading: Reading) -> Found | None:
    """A training loss that stays high, beside a validation loss that is no higher."""
    if not reading.course.losses or not reading.training or not reading.course.known:
        return None
    left = reading.end / reading.size
    return Found("underfitting", left / HIGH, {"left": left, "limit": HIGH} | reading.above)


def measure_end(course: Course) -> dict[str, float]:
    """The losses at the end of a course, that of a model that knows nothing, and how far its
    validation loss swings, as far as they are known."""
    if not _is_told(course):
        return {}
    reading = Reading(course)
    ends = {
        "training": course.training.mean(1 - TAIL, 1),
        "validation": reading.validation_end,
        "nothing": reading.nothing,
        "swing": found.evidence["swing"] if (found := find_oscillating(reading)) else math.nan,
    }
    return {name: value for name, value in ends.items() if math.isfinite(value)}


def _is_told(course: Course) -> bool:
    """Whether there is enough of a course to tell anything."""
    evaluations = max(len(course.validation), len(course.means))
    return evaluations >= FEWEST_EVALUATIONS or len(course.batches) >= FEWEST_STEPS


def judge(course: Course, *, whole: bool) -> list[Found]:
    """The one or two verdicts of a training, the surest first; none where there is too little to
    tell. Of one that is not the `whole`, stopped before its end, nothing is said of how it ends."""
    if not _is_told(course):
        return []
    reading = Reading(course)
    for rule in (find_diverged, find_dead, find_stagnating):
        found = rule(reading)
        if found is not None and found.margin >= 1:
            return [found]
    rules: tuple[Callable[[Reading], Found | None], ...] = (
        find_unstable, find_oscillating, find_overfitting, find_slow, find_underfitting,
    )  # fmt: skip
    rules = rules if whole else rules[:3]
    every = [each for rule in rules if (each := rule(reading)) is not None]
    beyond = sorted((each for each in every if each.margin >= 1), key=lambda each: -each.margin)
    names = [each.verdict for each in beyond]
    if "too_slow" in names and beyond[names.index("too_slow")].margin >= 3:
        beyond = [each for each in beyond if each.verdict != "underfitting"]
    if {"overfitting", "underfitting"} == {each.verdict for each in beyond[:2]}:
        beyond = beyond[:1]  # What is done against one brings the other.
    if beyond:
        return beyond[:2]
    margin = max((each.margin for each in every), default=0.0)
    if not whole:
        return []
    learned = reading.learned / reading.size
    return [Found("healthy", 1 / max(margin, 0.05), {"learned": learned, "nearest": margin})]


def find_hopeless(course: Course) -> Found | None:
    """The verdict of a training under way that has learned nothing while its rate was high."""
    if not _is_told(course):
        return None
    rates = course.rates
    if rates and max(rates.within(0, 0.5), default=0.0) < 0.5 * course.rate:
        return None  # It is warming up.
    reading = Reading(course)
    lost = find_diverged(reading)
    if lost is not None and lost.margin >= 1:
        return None  # What has blown up may come back.
    found = [rule(reading) for rule in (find_dead, find_stagnating)]
    return next((each for each in found if each is not None and each.margin >= 1), None)
