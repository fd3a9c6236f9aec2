"""Sentences: what to do about a verdict, with its numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping

RISEN = 0.1
"""Share of its size that a loss has risen by which learned nothing: lower rates are to be tried."""

_REMEDIES = {
    "diverged": "lower rates, clipped gradients or a longer warmup may train",
    "unstable": "lower rates, clipped gradients or a longer warmup would be steadier",
    "oscillating": "lower rates, or a schedule that decays, would settle",
    "stagnating": "other rates, or inputs and an initialisation of another scale, may learn",
    "dead": "another initialisation or activation, or a lower rate, may let gradients through",
    "too_slow": "a larger budget, or higher rates, would come further",
    "overfitting": "less training, more data or regularisation would help",
    "underfitting": "a larger model, or less regularisation, may come further",
}


def remedy(verdict: str) -> str:
    """The remedy where the trials of a search agree on a verdict."""
    return _REMEDIES[verdict]


def advise(verdict: str, evidence: Mapping[str, float], rate: float) -> str:
    """One sentence on a verdict; `rate` is the largest that was trained with, nan where nobody
    knows."""

    def by(factor: float) -> str:
        return f" ({rate * factor:.2g})" if math.isfinite(rate) and rate > 0 else ""

    def of(name: str, form: str = ".0%") -> str:
        return format(evidence.get(name, math.nan), form)

    match verdict:
        case "diverged" if evidence.get("step") == 0.0:
            return (
                "the loss is no finite number before the first step, whatever the rate: look at "
                "the data and at the initial weights"
            )
        case "diverged":
            told = "the loss did not stay finite, or rose far above its start for good"
            if "peak" in evidence:
                told = f"the loss stood at {of('peak', '.3g')} times its size and ended no better"
                told += " than it began"
            return f"{told}: try a tenth of the rate{by(0.1)}, or a warmup"
        case "unstable":
            jumps = "jump" if evidence.get("spikes") == 1 else "jumps"
            return (
                f"{of('spikes', '.0f')} {jumps} by up to {of('height')} of what was learned, from "
                f"which it recovered: try half the rate{by(0.5)}, clipped gradients or a warmup"
            )
        case "oscillating":
            return (
                f"the loss swings by {of('swing', '.1%')} of what was learned from one evaluation "
                f"to the next: try a third of the rate{by(1 / 3)}, or a schedule that decays"
            )
        case "stagnating":
            if evidence.get("learned", 0.0) < -RISEN:
                return (
                    f"the loss rose by {format(-evidence['learned'], '.0%')}: try a tenth of the "
                    f"rate{by(0.1)}, or a warmup"
                )
            down = f"came down by {of('learned', '.2%')} in all"
            down = down if evidence.get("learned", 0.0) >= 5e-5 else "did not come down"
            return (
                f"the loss {down}: try ten times the "
                f"rate{by(10)}, and look at the scale of the inputs and at the targets"
            )
        case "dead":
            return (
                "next to no gradient arrives: try another initialisation or activation, and look "
                "whether the outputs are cut off"
            )
        case "too_slow":
            return (
                f"the last fifth still brought {of('fall')} of what was learned: train longer, or "
                f"try up to three times the rate{by(3)}"
            )
        case "overfitting":
            return (
                f"the validation loss is {of('rise')} of its fall above its lowest, and "
                f"{of('gap')} of what was learned above the training loss: train less, or with "
                "more data, weight decay, dropout or augmentation"
            )
        case "underfitting":
            return (
                f"the training loss stays at {of('left')} of where it began: try a larger model, "
                "or less regularisation, unless the targets are as noisy as that"
            )
    return f"the loss came down by {of('learned')} and nothing stands out: leave it as it is"
