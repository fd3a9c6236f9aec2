"""`--require "accuracy>=0.95"`: a bound that the best point must meet."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lrsearch.catalogue import METRICS
from lrsearch.errors import UsageError, suggest

_COMPARE = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
_PATTERN = re.compile(r"\s*([^\s<>=]+)\s*(>=|<=|>|<)\s*(\S+)\s*")


@dataclass(frozen=True)
class Requirement:
    """A metric, one of >=, >, <=, <, and a finite bound."""

    metric: str
    comparison: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric} {self.comparison} {self.bound:.12g}"

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
    match = _PATTERN.fullmatch(text)
    bound = math.nan
    if match:
        try:
            bound = float(match[3])
        except ValueError:
            match = None
    if match is None or not math.isfinite(bound):
        raise UsageError(
            f"--require {text!r}: a requirement is a metric, one of {', '.join(_COMPARE)}, "
            'and a number: "accuracy>=0.95"'
        )
    if known is not None and match[1] not in known:
        raise UsageError(
            f"--require {text!r}: unknown metric {match[1]!r}; {suggest(match[1], known)}"
        )
    return Requirement(match[1], match[2], bound)
