"""`--require "accuracy>=0.95"`: a bound that the best point must meet, also one that is set by what
another run came to: "accuracy >= baseline - 0.01"; `--until`: one that ends the search."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from lrsearch.catalogue import ENDS, METRICS
from lrsearch.errors import UsageError, suggest
from lrsearch.trial import Objective

_COMPARE = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
# The metric of a command may have blanks in its name: val loss.
_NAMED = r"\s*([^\s<>=]+(?:\s+[^\s<>=]+)*)\s*(>=|<=|>|<)\s*"
_PATTERN = re.compile(_NAMED + r"(\S+)\s*")
_RELATIVE = re.compile(_NAMED + r"baseline(?:\s*([+-])\s*(\S+))?\s*")


_PERCENT = re.compile(r"([0-9.]*[0-9]) ?%\s*$")
_OTHER = re.compile(r"=")


@dataclass(frozen=True)
class Requirement:
    """A metric, one of >=, >, <=, <, and a finite bound; where it is `relative`, this is added to
    what the baseline came to. `told` are the words that a bound was made of."""

    metric: str
    comparison: str
    bound: float
    relative: bool = False
    told: str = field(default="", compare=False)

    def __str__(self) -> str:
        words = f"{self.bound:.12g}"
        if self.relative:
            words = "baseline"
            if self.bound:
                words += f" {'-' if self.bound < 0 else '+'} {abs(self.bound):.12g}"
        text = f"{self.metric} {self.comparison} {words}"
        return f"{text} ({self.told})" if self.told else text

    def settle(self, baseline: float) -> Requirement:
        """The requirement with the bound that follows from the baseline's value."""
        told = str(self).split(" ", 2)[2]
        return Requirement(self.metric, self.comparison, baseline + self.bound, told=told)

    def holds(self, value: float) -> bool:
        """Whether a value meets it."""
        return bool(_COMPARE[self.comparison](value, self.bound))

    def met(self, best_last_metrics: Mapping[str, float]) -> bool:
        """Whether the best point's metrics at the end of training meet it; not a number does not.

        Raises UsageError where the run does not measure the metric.
        """
        if self.metric not in best_last_metrics:
            measured = suggest(self.metric, best_last_metrics)
            raise UsageError(f"--require {self}: this run does not measure it; {measured}")
        return self.holds(best_last_metrics[self.metric])


def parse_requirement(
    text: str, known: Collection[str] | None = tuple(METRICS), *, option: str = "--require"
) -> Requirement:
    """Read a requirement on a metric of `known` (None: of any name), given to an option. Raises
    UsageError for anything but metric, comparison, finite number, or, of `--require`, a
    baseline."""
    match, bound = _PATTERN.fullmatch(text), math.nan
    relative = _RELATIVE.fullmatch(text) if option == "--require" else None
    number = match[3] if match else ""
    if relative:
        match, number = relative, f"{relative[3] or '+'}{relative[4] or 0}"
    if match:
        try:
            bound = float(number)
        except ValueError:
            match = None
    if match is None or not math.isfinite(bound):
        hint = ""
        if percent := _PERCENT.search(text):
            meant = f"{text[: percent.start()].strip()}{float(percent[1]) / 100:.6g}"
            hint = f'shares stand as numbers from 0 to 1: {option} "{meant}"'
        elif meant := _mend(text):
            hint = f'write {option} "{meant}"'
        elif (sign := _OTHER.search(text)) and text[sign.start() - 1 : sign.start()] not in "<>":
            hint = "values are hardly ever equal: write >= or <="
            if meant := _mend(re.sub("=+", ">=", text)):
                hint = f'values are hardly ever equal: write {option} "{meant}", or <='
        elif re.fullmatch(r"\s*\d*\.?\d+\s*", text):
            hint = f'write {option} "accuracy>={text.strip()}"; for example'
        other = ""
        if option == "--require":
            other = (
                "; or the value of another run, which --baseline names: "
                '"accuracy >= baseline - 0.01"'
            )
        raise UsageError(
            f"{option} {text!r}: a requirement is a metric, one of {', '.join(_COMPARE)}, "
            f'and a number: "accuracy>=0.95"{other}',
            hint=hint,
        )
    if known is not None and match[1] not in known:
        raise UsageError(
            f"{option} {text!r}: unknown metric {match[1]!r}; {suggest(match[1], known)}"
        )
    return Requirement(match[1], match[2], bound, relative=relative is not None)


def _mend(text: str) -> str:
    """The requirement that a text with another sign, a decimal comma or its sides exchanged may
    mean, "" for any other."""
    text = re.sub(r"=>|≥", ">=", re.sub(r"=<|≤", "<=", re.sub(r"(\d),(\d)", r"\1.\2", text)))
    if turned := re.fullmatch(r"\s*([-+.\deE]+)\s*([<>])(=?)\s*([A-Za-z_]\S*)\s*", text):
        text = f"{turned[4]}{'<' if turned[2] == '>' else '>'}{turned[3]}{turned[1]}"
    found = _PATTERN.fullmatch(text)
    try:
        return text.strip() if found and math.isfinite(float(found[3])) else ""
    except ValueError:
        return ""


def check_end(until: Requirement, objective: Objective, *, ours: bool) -> None:
    """Raises UsageError for a requirement that can end no search: on another metric than the
    objective's, whose mean over seeds and folds is all that is known of a point while it is
    searched; in the direction that every point meets; or beyond what the metric can be (where it is
    one of `ours`)."""
    where = f"--until {until}"
    if until.metric != objective.metric:
        raise UsageError(
            f"a search ends by its objective, which is {objective.metric}, not {until.metric}",
            where=where,
            hint=f"write a bound of {objective.metric}, or make the other the objective: "
            f"--set objective.metric={until.metric}",
        )
    sign = ">" if objective.goal == "max" else "<"
    if until.comparison[0] != sign:
        best = "high" if sign == ">" else "low"
        raise UsageError(
            f"{objective.metric} is good where it is {best}: the first bad point would meet it",
            where=where,
            hint=f'write --until "{until.metric}{sign}={until.bound:g}"',
        )
    if ours:
        check_bound(until, option="--until")


def check_bound(requirement: Requirement, *, option: str = "--require") -> None:
    """Raises UsageError for a bound beyond what lrsearch's own metric of that name can be, which
    nothing meets."""
    metric, bound, comparison = requirement.metric, requirement.bound, requirement.comparison
    low, high = ENDS.get(metric, (-math.inf, math.inf))
    above = comparison[0] == ">"
    end = high if above else low
    if (bound > end if above else bound < end) or (bound == end and "=" not in comparison):
        percent = above and (low, high) == (0.0, 1.0) and 2 <= bound <= 100
        raise UsageError(
            f"no {metric} is {'above' if above else 'below'} {end:g}: nothing meets it",
            where=f"{option} {requirement}",
            hint=f'write {option} "{metric}>={bound / 100:g}"' if percent else "",
        )
