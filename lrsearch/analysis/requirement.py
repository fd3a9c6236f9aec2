"""`--require "accuracy>=0.95"`: a bound that the best point must meet, also one that is set by what
another run came to: "accuracy >= baseline - 0.01"."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from lrsearch.catalogue import METRICS
from lrsearch.errors import UsageError, suggest

_COMPARE = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
_PATTERN = re.compile(r"\s*([^\s<>=]+)\s*(>=|<=|>|<)\s*(\S+)\s*")
_RELATIVE = re.compile(r"\s*([^\s<>=]+)\s*(>=|<=|>|<)\s*baseline(?:\s*([+-])\s*(\S+))?\s*")


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

    def met(self, best_last_metrics: Mapping[str, float]) -> bool:
        """Whether the best point's metrics at the end of training meet it; not a number does not.

        Raises UsageError where the run does not measure the metric.
        """
        if self.metric not in best_last_metrics:
            measured = suggest(self.metric, best_last_metrics)
            raise UsageError(f"--require {self}: this run does not measure it; {measured}")
        return bool(_COMPARE[self.comparison](best_last_metrics[self.metric], self.bound))


def parse_requirement(text: str, known: Collection[str] | None = tuple(METRICS)) -> Requirement:
    """Read a requirement on a metric of `known` (None: of any name). Raises UsageError for anything
    but metric, comparison, finite number."""
    match, bound = _PATTERN.fullmatch(text), math.nan
    relative = _RELATIVE.fullmatch(text)
    number = match[3] if match else ""
    if relative:
        match, number = relative, f"{relative[3] or '+'}{relative[4] or 0}"
    if match:
        try:
            bound = float(number)
        except ValueError:
            match = None
    if match is None or not math.isfinite(bound):
        raise UsageError(
            f"--require {text!r}: a requirement is a metric, one of {', '.join(_COMPARE)}, "
            'and a number: "accuracy>=0.95"; or the value of another run, '
            'which --baseline names: "accuracy >= baseline - 0.01"'
        )
    if known is not None and match[1] not in known:
        raise UsageError(
            f"--require {text!r}: unknown metric {match[1]!r}; {suggest(match[1], known)}"
        )
    return Requirement(match[1], match[2], bound, relative=relative is not None)
