"""One trial after the other, in plain PyTorch: the engine every other one is measured by."""

from __future__ import annotations

import contextlib
import math
import time
import traceback
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from lrsearch import catalogue, divergence
from lrsearch.train.build import build_model
from lrsearch.train.device import find_device, is_out_of_memory
from lrsearch.train.metrics import (
    LOSSES,
    classification_metrics,
    classification_sums,
    regression_metrics,
    regression_sums,
    sum_type,
)
from lrsearch.train.optimizers import build_optimizer
from lrsearch.train.randomness import batches, isolated, seed_everything, trial_seeds
from lrsearch.train.resident import Resident, place
from lrsearch.train.timetable import evaluation_steps, learning_rates
from lrsearch.trial import (
    Cohort,
    Ended,
    Measured,
    Measurement,
    Outcome,
    Reached,
    Result,
    Started,
    Trial,
    Verdict,
)

Event = Started | Measured | Reached | Ended | None
Replies = list[tuple[int, Verdict]]
Job = Generator[Event, Replies, Any]

CHUNK = 1024
"""Samples per forward pass of an evaluation; fixed, so that results do not follow the batch."""


def run_cohort(cohort: Cohort) -> Generator[Event, Replies, None]:
    """Train the cohort's trials one after the other; yields their events.

    `replies = yield event` gives the (trial, verdict) pairs that have arrived. After `Reached` it
    yields None until its own verdict is among them. Results depend on the trial alone: global
    generators and the thread count are the job's own while it runs, the caller's between events.
    Raises UsageError for an absent device; what a trial's own code raises ends that trial only.
    """
    device = find_device(cohort.workplace.device)
    yield from isolated(_run(cohort, device), device)


def _run(cohort: Cohort, device: torch.device) -> Job:
    # The first optimizer of a process imports much of torch; no trial should be charged for it.
    torch.optim.SGD([torch.zeros(1)], lr=1.0)
    for trial in cohort.trials:
        yield Started(trial.number)
        yield from _run_trial(cohort, trial, device)


@dataclass
class _Course:
    """What a trial has come to so far."""

    steps: int = 0
    samples: int = 0
    clock: float = field(default_factory=time.perf_counter)
    curve: dict[str, list[float]] = field(default_factory=dict)

    def record(self, measurement: Measurement) -> None:
        for name, value in {"step": measurement.step, **measurement.metrics}.items():
            self.curve.setdefault(name, []).append(value)

    def result(self, trial: Trial, outcome: Outcome, reason: str = "", trace: str = "") -> Result:
        validated = {name: self.curve[name] for name in self.curve if name in catalogue.METRICS}
        best, best_step = {}, {}
        for name, values in validated.items():
            finite = [index for index, value in enumerate(values) if math.isfinite(value)]
            if finite:
                sign = 1 if catalogue.METRICS[name][0] == "max" else -1
                at = max(finite, key=lambda index: sign * values[index])
                best[name], best_step[name] = values[at], int(self.curve["step"][at])
        size = trial.config["train"]["batch_size"]
        return Result(
            outcome=outcome,
            steps=self.steps,
            epochs=self.steps * size / self.samples if self.samples else 0.0,
            seconds=time.perf_counter() - self.clock,
            engine="solo",
            last={name: values[-1] for name, values in validated.items()},
            best=best,
            best_step=best_step,
            reason=reason,
            traceback=trace,
        )


def _run_trial(cohort: Cohort, trial: Trial, device: torch.device) -> Job:
    course = _Course()
    weights: bytes | None = None
    try:
        outcome, reason, model = yield from _train(cohort, trial, device, course)
        result = course.result(trial, outcome, reason)
        if outcome is Outcome.COMPLETED and _worth_keeping(cohort, result):
            weights = _serialize(model)
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            outcome, trace = Outcome.OUT_OF_MEMORY, ""
        else:
            outcome, trace = Outcome.FAILED, "".join(traceback.format_exception(error))
        result = course.result(trial, outcome, f"{type(error).__name__}: {error}", trace)
        _release(error)
    if result.outcome is Outcome.OUT_OF_MEMORY and device.type == "cuda":
        torch.cuda.empty_cache()
    yield Ended(trial.number, result, course.curve, weights)


def _release(error: BaseException | None) -> None:
    """Free the frames of an error and of its causes: they hold the model and its activations, and
    the next trial needs the memory."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _worth_keeping(cohort: Cohort, result: Result) -> bool:
    value = result.value(cohort.objective)
    if value is None or not math.isfinite(value):
        return False
    return cohort.bar is None or not cohort.objective.better(cohort.bar, value)


def _serialize(model: nn.Module) -> bytes:
    """A safetensors file of the state dict. Copies, since tied tensors may not share memory there;
    extra state that is no tensor has no place in it."""
    return safetensors.torch.save(
        {
            name: value.detach().to("cpu", copy=True).contiguous()
            for name, value in model.state_dict().items()
            if isinstance(value, Tensor)
        }
    )


def _train(
    cohort: Cohort, trial: Trial, device: torch.device, course: _Course
) -> Generator[Event, Replies, tuple[Outcome, str, nn.Module]]:
    config, train = trial.config, trial.config["train"]
    seeds = trial_seeds(trial.seed)
    data = place(config["data"], trial.fold, device, cohort.workplace)
    course.samples, course.clock = data.samples, time.perf_counter()

    seed_everything(seeds.weights)
    shape = tuple(data.x_train.shape[1:])
    model = build_model(config["model"], shape, data.outputs, cohort.workplace).to(device)
    seed_everything(seeds.noise)
    rates = learning_rates(train, data.samples).tolist()
    evaluations = evaluation_steps(train, data.samples)
    budget = evaluations[-1]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = build_optimizer(train["optimizer"], parameters, rates[0])
    (group,) = optimizer.param_groups
    smoothing = train["label_smoothing"]
    compute_loss = LOSSES[train["loss"]]
    if smoothing:
        compute_loss = partial(compute_loss, label_smoothing=smoothing)
    clip, low = train["clip_norm"], train["precision"] == "bfloat16"
    order = batches(data.samples, train["batch_size"], seeds.order, device)
    total = torch.zeros((), dtype=sum_type(device), device=device)
    first: Tensor | None = None
    losses: list[float] = []
    ahead = iter([*evaluations, 0])
    next_evaluation, since = next(ahead), 0
    rungs = {rung for rung in cohort.rungs if rung < budget}

    model.train()
    for step in range(1, budget + 1):
        # Nothing here may wait for the device: only an evaluation reads numbers back.
        index = next(order)
        x, y = data.x_train.index_select(0, index), data.y_train.index_select(0, index)
        with _precision(device, low):
            outputs = model(x)
        loss = compute_loss(outputs.float(), y)
        torch.autograd.backward(loss)
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip)
        group["lr"] = rates[step - 1]
        optimizer.step()
        for parameter in parameters:
            parameter.grad = None
        total += loss.detach()
        if first is None:
            first = loss.detach()
        course.steps = step

        if step == next_evaluation:
            sums = torch.cat(
                [torch.stack([first.to(total), total]), _validation_sums(model, data, train, low)]
            ).tolist()
            start, train_loss = sums[0], sums[1] / (step - since)
            metrics = _validation_metrics(sums[2:], data)
            metrics |= {"train_loss": train_loss, "lr": rates[step - 1]}
            measurement = Measurement(step, metrics)
            course.record(measurement)
            yield Measured(trial.number, measurement, budget)
            losses.append(train_loss)
            reason = _lost(start, losses, metrics["loss"], step, ended=step == budget)
            if reason:
                return Outcome.DIVERGED, reason, model
            total.zero_()
            next_evaluation, since = next(ahead), step
            model.train()
        if step in rungs:
            waited = time.perf_counter()
            verdict = yield from _await_verdict(trial.number, step)
            course.clock += time.perf_counter() - waited
            if verdict is Verdict.STOP:
                return Outcome.PRUNED, f"stopped after {step} of {budget} steps", model
    return Outcome.COMPLETED, "", model


def _precision(device: torch.device, low: bool) -> contextlib.AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16) if low else contextlib.nullcontext()


def _await_verdict(trial: int, step: int) -> Generator[Event, Replies, Verdict]:
    replies = yield Reached(trial, step)
    while True:
        for number, verdict in replies or ():
            if number == trial:
                return verdict
        replies = yield None


def _validation_sums(model: nn.Module, data: Resident, train: Any, low: bool) -> Tensor:
    """The summed loss and the sums the task's metrics are made of, over the validation split."""
    count = classification_sums if data.task == "classification" else regression_sums
    compute_loss = LOSSES[train["loss"]]
    device = data.x_validation.device
    sums: list[Tensor] = []
    model.eval()
    with torch.no_grad():
        for x, y in zip(
            torch.split(data.x_validation, CHUNK),
            torch.split(data.y_validation, CHUNK),
            strict=True,
        ):
            with _precision(device, low):
                outputs = model(x)
            outputs = outputs.float()
            loss = compute_loss(outputs, y, reduction="sum").to(sum_type(device))
            sums.append(torch.cat([loss.reshape(1), count(outputs, y)]))
    return torch.stack(sums).sum(0)


def _validation_metrics(sums: list[float], data: Resident) -> dict[str, float]:
    samples = len(data.x_validation)
    if data.task == "classification":
        return {**classification_metrics(sums[1:]), "loss": sums[0] / samples}
    metrics = regression_metrics(sums[1:], samples, data.scale, data.spread)
    return {**metrics, "loss": sums[0] / (samples * data.outputs)}


def _lost(start: float, losses: list[float], validation: float, step: int, *, ended: bool) -> str:
    """Why a training is lost, or ""."""
    if not math.isfinite(start):
        return f"training loss is {start} before the first step"
    if not math.isfinite(losses[-1]):
        return f"training loss is {losses[-1]} after {step} steps"
    if not math.isfinite(validation):
        return f"validation loss is {validation} after {step} steps"
    if divergence.diverged(start, losses, ended=ended):
        return (
            f"training loss is {losses[-1]:.3g} after {step} steps, "
            f"more than {divergence.FACTOR:g} times its start of {start:.3g}"
        )
    return ""
