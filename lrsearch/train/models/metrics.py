"""Losses and validation metrics.

Metrics are made of sums over samples, so that a split can be read in chunks and one copy to the
host brings everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lrsearch.train.device import sum_type


def _cross_entropy(outputs: Tensor, targets: Tensor, **given: Any) -> Tensor:
    """Cross entropy of outputs [samples, classes], or [samples, context, classes] for targets of
    every place."""
    if outputs.dim() > 2:
        outputs, targets = outputs.flatten(0, -2), targets.flatten()
    return F.cross_entropy(outputs, targets, **given)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": _cross_entropy,
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "huber": F.huber_loss,
}


def stacked_loss(
    name: str,
    outputs: Tensor,
    targets: Tensor,
    *,
    smoothing: Tensor | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """A loss of each of K stacked models, shape [K].

    `outputs` are [K, samples, ...], `targets` [samples, ...] or [K, samples, ...]; `smoothing` is
    a label smoothing for each lane, or None where no lane has any. The mean or sum is over a
    lane's samples and outputs, as in `LOSSES`; with weights [samples] or [K, samples] over the
    samples, of the weighted means of their outputs.
    """
    if name == "cross_entropy":
        if outputs.dim() > 3:
            outputs, targets = outputs.flatten(1, -2), targets.flatten(-2)
        logs = F.log_softmax(outputs, -1)
        index = targets.expand(logs.shape[:-1]).unsqueeze(-1)
        losses = -logs.gather(-1, index).squeeze(-1)
        if smoothing is not None:
            share = smoothing.view(-1, 1)
            smoothed = (1 - share) * losses - share * logs.mean(-1)
            losses = torch.where(share > 0, smoothed, losses)  # 0 x inf is no 0
    else:
        losses = LOSSES[name](outputs, targets.expand(outputs.shape), reduction="none").flatten(1)
    if weight is not None:
        losses = losses.reshape(len(losses), weight.shape[-1], -1).mean(2) * weight
    return losses.mean(1) if reduction == "mean" else losses.sum(1)


def classification_sums(outputs: Tensor, targets: Tensor) -> Tensor:
    """Counts per class of right predictions, predictions and targets, shape [..., 3 x classes].

    `outputs` are logits [..., samples, classes], `targets` classes [samples].
    """
    predicted = outputs.argmax(dim=-1)
    targets = targets.expand(predicted.shape)
    ones = torch.ones(predicted.shape, dtype=sum_type(outputs.device), device=outputs.device)
    # Not bincount: on CUDA it waits for the device.
    zeros = ones.new_zeros(*outputs.shape[:-2], outputs.shape[-1])
    right = zeros.scatter_add(-1, targets, ones * (predicted == targets))
    return torch.cat(
        [right, zeros.scatter_add(-1, predicted, ones), zeros.scatter_add(-1, targets, ones)], -1
    )


def regression_sums(outputs: Tensor, targets: Tensor) -> Tensor:
    """Sums of squared and of absolute errors, for each target, shape [..., 2 x targets]."""
    error = (outputs - targets).to(sum_type(outputs.device))
    return torch.cat([error.square().sum(-2), error.abs().sum(-2)], -1)


def language_sums(outputs: Tensor, targets: Tensor) -> Tensor:
    """The count of right predictions, shape [..., 1].

    `outputs` are logits [..., samples, context, classes], `targets` classes [samples, context].
    """
    right = outputs.argmax(dim=-1) == targets
    return right.flatten(-2).sum(-1, keepdim=True, dtype=sum_type(outputs.device))


SUMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "classification": classification_sums,
    "regression": regression_sums,
    "language": language_sums,
}
"""Task -> function of outputs and targets that gives the sums for its metrics."""


def language_metrics(sums: Sequence[float], characters: int) -> dict[str, float]:
    """Accuracy from `language_sums` over so many characters."""
    return {"accuracy": sums[0] / characters}


def classification_metrics(sums: Sequence[float]) -> dict[str, float]:
    """Accuracy and macro F1 from `classification_sums`.

    F1 of a class is 2 x right / (predicted + true); a class neither predicted nor true has none
    and is left out of the mean (as scikit-learn's f1_score does).
    """
    classes = len(sums) // 3
    right, predicted, true = (sums[k * classes : (k + 1) * classes] for k in range(3))
    scores = [2 * r / (p + t) for r, p, t in zip(right, predicted, true, strict=True) if p + t]
    return {"accuracy": sum(right) / sum(true), "f1": sum(scores) / len(scores)}


def regression_metrics(
    sums: Sequence[float], samples: int, scale: Sequence[float], spread: Sequence[float]
) -> dict[str, float]:
    """RMSE and MAE in the targets' units, and R², each averaged over the targets.

    `scale` is the unit of the scaled targets in their own units, `spread` the sum of the scaled
    targets' squared distances from their mean. Where `spread` is zero R² is 1 for no error and 0
    else (scikit-learn's r2_score).
    """
    targets = len(scale)
    squared, absolute = sums[:targets], sums[targets:]
    rmse = [math.sqrt(s / samples) * unit for s, unit in zip(squared, scale, strict=True)]
    mae = [s / samples * unit for s, unit in zip(absolute, scale, strict=True)]
    r2 = [
        1 - s / total if total else float(s == 0) for s, total in zip(squared, spread, strict=True)
    ]
    return {"rmse": sum(rmse) / targets, "mae": sum(mae) / targets, "r2": sum(r2) / targets}
