"""Sentences: what to do about a verdict, with its numbers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from lrsearch.diagnosis.nearby import numbers_of
from lrsearch.terminal import short

HEALTHY = "healthy"

RISEN = 0.1
"""Share of its size that a loss has risen by which learned nothing: lower rates are to be tried."""

HARDLY = 0.9
"""Share of where it began at which the loss of a model stays that may have learned nothing but how
frequent each class is: its size may be no matter."""

_REMEDIES = {
    "diverged": "lower rates, clipped gradients or a longer warmup may train",
    "unstable": "lower rates, clipped gradients or a longer warmup would be steadier",
    "oscillating": "lower rates, or a schedule that decays, would settle",
    "too_high": "lower rates would come further",
    "stagnating": "other rates, or inputs and an initialisation of another scale, may learn",
    "dead": "another initialisation or activation, or a lower rate, may let gradients through",
    "too_slow": "a larger budget, or higher rates, would come further",
    "overfitting": "less training, more data or regularisation would help",
    "underfitting": "a larger model, or less regularisation, may come further",
}


_OF_RATES = {
    ("stagnating", "most"): "higher rates may learn",
    ("stagnating", "least"): "lower rates may learn",
}


def remedy(verdict: str, rates: str = "") -> str:
    """The remedy where the trials of a search agree on a verdict, or on rates that are too high;
    `rates` says whose: "most" of those up to some rate, "least" of those from one up, "limit" of
    those up to one beyond which nothing trains as it should, "" of any."""
    if (verdict, rates) == ("too_slow", "limit"):
        return "a larger budget, or the higher of these rates, would come further"
    return _OF_RATES.get((verdict, rates)) or _REMEDIES[verdict]


@dataclass(frozen=True)
class Witness:
    """A neighbour that an advice names: a trial at another rate. `missed` is the share of what it
    learned that the advised trial did not. `model` has the parameters of its model, where that
    differs; `params` are those of the advised trial and its own, where more than the rate may
    differ. `beyond` is the next higher rate, where nothing is learned at it. A neighbour that is
    not `better` only says that its rate is not worth trying."""

    number: int
    rate: float
    missed: float = math.nan
    model: Mapping[str, Any] = field(default_factory=dict)
    better: bool = True
    beyond: float = math.nan
    params: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})

    @property
    def beside(self) -> dict[str, float]:
        """The numbers of it beside the rate that differ."""
        mine, its = map(numbers_of, self.params)
        return {name: value for name, value in its.items() if value != mine[name]}

    @property
    def evidence(self) -> dict[str, float]:
        """The numbers of it."""
        found = {"neighbour": float(self.number), "neighbour_lr": self.rate}
        more = {"missed": self.missed, "lost_lr": self.beyond}
        return found | {name: value for name, value in more.items() if math.isfinite(value)}

    @property
    def where(self) -> str:
        """The place where it trained."""
        if self.model:
            return "with " + " ".join(f"{name} {value}" for name, value in self.model.items())
        others = "".join(f", {name} {short(value, 3)}" for name, value in self.beside.items())
        return f"at lr {short(self.rate, 3)}{others}"

    def tell(self, verdict: str) -> str:
        """Say how it did."""
        if not self.better:
            return f"trial {self.number} {self.where} ended no better"
        if not math.isfinite(self.missed):
            return f"trial {self.number} learned {self.where}"
        steps = " in as many steps" if verdict == "too_slow" else ""
        share = f"{self.missed:.0%}" if self.missed < 0.995 else "all"
        told = f"it missed {share} of what trial {self.number} learned {self.where}{steps}"
        if self.missed < 0.005:
            told = f"trial {self.number} {self.where} ended no worse"
        return told + (
            f", and nothing is learned at lr {short(self.beyond, 3)}"
            if math.isfinite(self.beyond)
            else ""
        )


def advise(
    verdict: str,
    evidence: Mapping[str, float],
    rate: float,
    witness: Witness | None = None,
    beside: Collection[str] = (),
) -> str:
    """One sentence on a verdict; `rate` is the largest that was trained with, nan where nobody
    knows, `witness` a neighbour that says where to go, `beside` are the trial's other verdicts."""
    found, remedied = _finding(verdict, evidence), _remedied(verdict, evidence, rate, beside)
    if witness is not None:
        found = ", and ".join(filter(None, (found, witness.tell(verdict))))
        remedied = _beside(verdict, witness)
    return f"{found}: {remedied}"


def _beside(verdict: str, witness: Witness) -> str:
    """The remedy that a neighbour has shown."""
    match verdict:
        case "healthy":
            return "it swings without losing by it; leave it as it is"
        case "underfitting":
            return "try that one, or less regularisation"
        case "too_slow" if witness.better:
            return "try rates around that, or train longer"
        case "too_slow":
            return "train longer rather than at a higher rate"
        case "unstable" | "oscillating" if not witness.better:
            return "rather than a lower rate try a schedule that decays, or clipped gradients"
        case "dead":
            return "try rates around that, or another initialisation or activation"
    return (
        f"try rates around {short(witness.rate, 3)}"
        if witness.missed >= 0
        else "try rates around that"
    )


def _rise(evidence: Mapping[str, float]) -> float:
    """The share of its size by which a loss that learned nothing ended above its start."""
    return -evidence.get("learned", 0.0) - evidence.get("start_above", 0.0)


def _finding(verdict: str, evidence: Mapping[str, float]) -> str:
    """The sight of it, with its numbers; "" where only neighbours have seen it."""

    def of(name: str, form: str) -> str:
        return format(evidence.get(name, math.nan), form)

    def share(name: str, whole: str, form: str = ".0%") -> str:
        many = evidence.get(name, math.nan) > 10  # Of next to nothing digits say nothing.
        return f"over 10 times {whole}" if many else f"{of(name, form)} of {whole}"

    # Where nobody knows the start, and less was learned since than the first value is, it is that.
    whole = "the first value reported" if "learned" in evidence else "what was learned"
    match verdict:
        case "diverged" if evidence.get("step") == 0.0:
            return "the loss is no finite number before the first step, whatever the rate"
        case "diverged":
            told = "the loss did not stay finite, or rose far above its start for good"
            if "peak" in evidence:
                told = f"the loss stood at {of('peak', '.3g')} times its size and ended no better"
                told += " than it began"
            return told
        case "unstable" if evidence.get("height", math.inf) < evidence.get("limit", 0.0):
            return f"the loss stood at {of('peak', '.3g')} times its size, from which it recovered"
        case "unstable" if "spikes" in evidence:
            jumps = "jump" if evidence.get("spikes") == 1 else "jumps"
            return (
                f"{of('spikes', '.0f')} {jumps} by up to {share('height', whole)}, from which it "
                "recovered"
            )
        case "oscillating" if "swing" in evidence:
            swing = share("swing", whole, ".1%")
            return f"the loss swings by {swing} from one evaluation to the next"
        case "unstable" | "oscillating":
            return "the rate is too high"
        case "stagnating":
            if (rise := _rise(evidence)) > RISEN:
                return f"the loss rose by {rise:.0%}"
            if rise < -RISEN:
                return (
                    "the loss came down from a bad start alone, to no less than that of a model "
                    "that knows nothing"
                )
            down = f"came down by {of('learned', '.2%')} in all"
            return "the loss " + (
                down if evidence.get("learned", 0.0) >= 5e-5 else "did not come down"
            )
        case "dead":
            return "next to no gradient arrives"
        case "too_slow" if "fall" in evidence:
            told = share("fall", "what was learned")
            return f"a fifth of the training still brings {told} at its end"
        case "overfitting":
            fall, learned = ("its fall", whole) if "learned" not in evidence else (whole, "it")
            return (
                f"the validation loss is {share('rise', fall)} above its lowest, and "
                f"{share('gap', learned)} above the training loss"
            )
        case "underfitting" if "left" in evidence:
            whole = "where it began"
            if "start_above" in evidence:
                whole = "the loss of a model that knows nothing"
            return f"the training loss stays at {share('left', whole)}"
        case "healthy" if "learned" in evidence:
            return f"the loss came down by {of('learned', '.0%')} and nothing stands out"
    return ""


def _remedied(
    verdict: str, evidence: Mapping[str, float], rate: float, beside: Collection[str]
) -> str:
    """The remedy, which nothing `beside` the verdict contradicts."""

    def by(factor: float) -> str:
        return f" ({short(rate * factor, 2)})" if math.isfinite(rate) and rate > 0 else ""

    match verdict:
        case "diverged" if evidence.get("step") == 0.0:
            return "look at the data and at the initial weights"
        case "diverged":
            return f"try a tenth of the rate{by(0.1)}, or a warmup"
        case "unstable":
            return f"try half the rate{by(0.5)}, clipped gradients or a warmup"
        case "oscillating":
            return f"try a third of the rate{by(1 / 3)}, or a schedule that decays"
        case "stagnating" if _rise(evidence) > RISEN:
            return f"try a tenth of the rate{by(0.1)}, or a warmup"
        case "stagnating":
            return (
                f"try ten times the rate{by(10)}, and look at the scale of the inputs and at the "
                "targets"
            )
        case "dead":
            return (
                "try another initialisation or activation, and look whether the outputs are cut off"
            )
        case "too_slow" if {"unstable", "oscillating", "overfitting"} & {*beside}:
            return "train longer"
        case "too_slow":
            return f"train longer, or try up to three times the rate{by(3)}"
        case "overfitting" if "too_slow" in beside:
            return "train with more data, weight decay, dropout or augmentation"
        case "overfitting":
            return "train less, or with more data, weight decay, dropout or augmentation"
        case "underfitting" if evidence.get("left", 0.0) > HARDLY:
            return (
                "look at the scale of the inputs and at the initialisation, or try a larger model, "
                "unless the targets are as noisy as that"
            )
        case "underfitting":
            return (
                "try a larger model, or less regularisation, unless the targets are as noisy as "
                "that"
            )
    return "leave it as it is"
