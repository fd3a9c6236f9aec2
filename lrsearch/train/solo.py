"""One trial after the other, in plain PyTorch: the engine every other one is measured by."""

from __future__ import annotations

import contextlib
import math
import time
import traceback
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from lrsearch import catalogue, divergence
from lrsearch.data.interrupts import is_interrupt
from lrsearch.errors import DataError, ModelError
from lrsearch.train.build import build_model
from lrsearch.train.device import find_device, is_out_of_memory
from lrsearch.train.importing import class_paths, source_hashes
from lrsearch.train.isolation import isolated
from lrsearch.train.metrics import (
    LOSSES,
    classification_metrics,
    classification_sums,
    regression_metrics,
    regression_sums,
    sum_type,
)
from lrsearch.train.optimizers import build_optimizer
from lrsearch.train.randomness import batches, seed_everything, trial_seeds
from lrsearch.train.resident import Resident, load_raw, place
from lrsearch.train.timetable import evaluation_steps, learning_rates
from lrsearch.trial import (
    Cohort,
    Config,
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
State = Mapping[str, Tensor]

CHUNK = 1024
"""Samples per forward pass of an evaluation; fixed, so that results do not follow the batch."""


def run_cohort(cohort: Cohort) -> Generator[Event, Replies, None]:
    """Train the cohort's trials one after the other; yields their events.

    `replies = yield event` gives the (trial, verdict) pairs that have arrived. After `Reached` it
    yields None until its own verdict is among them. Results depend on the trial alone: global
    generators and the thread count are the job's own while it runs, the caller's between events.
    What a trial's own code raises ends that trial only. Raises UsageError for an absent device,
    DataError for data that cannot be loaded or are not those of `data_hash`, ModelError or
    ImportRefused for code that cannot be imported or is not that of `source_hashes`: since the run
    has begun with them, none of its trials can be measured any more.
    """
    device = find_device(cohort.workplace.device)
    yield from isolated(_run(cohort, device), device, cohort.workplace)


def _run(cohort: Cohort, device: torch.device) -> Job:
    # The first optimizer of a process imports much of torch; no trial should be charged for it.
    torch.optim.SGD([torch.zeros(1)], lr=1.0)
    for trial in cohort.trials:
        yield Started(trial.number)
        _check_sources(cohort, trial.config)
        yield from _run_trial(cohort, trial, device)


def _check_sources(cohort: Cohort, config: Config) -> None:
    if not cohort.source_hashes:
        return
    for path, found in source_hashes(class_paths(config), cohort.workplace).items():
        if found != cohort.source_hashes.get(path):
            raise ModelError(
                "the source code is not what the run began with: it changed meanwhile",
                where=path,
                hint="start again to measure the code as it is now",
            )


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
    replies: Any = None
    with contextlib.closing(_finish(cohort, trial, device, course)) as training:
        while True:
            try:
                event = training.send(replies)
            except StopIteration as end:
                result, weights = end.value
                break
            except DataError:  # The run's affair, see `run_cohort`.
                raise
            except BaseException as error:  # A user's code may raise anything.
                if is_interrupt(error):
                    raise
                if is_out_of_memory(error):
                    outcome, trace = Outcome.OUT_OF_MEMORY, ""
                else:
                    outcome, trace = Outcome.FAILED, "".join(traceback.format_exception(error))
                result = course.result(trial, outcome, f"{type(error).__name__}: {error}", trace)
                weights = None
                _release(error)
                break
            # Outside the try: what is thrown in here, as when a job is closed, is not the trial's.
            replies = yield event
    if result.outcome is Outcome.OUT_OF_MEMORY and device.type == "cuda":
        torch.cuda.empty_cache()
    yield Ended(trial.number, result, course.curve, weights)


def _finish(
    cohort: Cohort, trial: Trial, device: torch.device, course: _Course
) -> Generator[Event, Replies, tuple[Result, bytes | None]]:
    """Train; the result, and the weights that are worth keeping."""
    outcome, reason, state = yield from _train(cohort, trial, device, course)
    result = course.result(trial, outcome, reason)
    return result, _serialize(state) if _worth_keeping(cohort, result) else None


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


def _serialize(state: State) -> bytes:
    """A safetensors file of a state dict. Copies, since tied tensors may not share memory there."""
    return safetensors.torch.save(
        {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}
    )


def _state(model: nn.Module) -> State:
    """The state dict; extra state that is no tensor has no place in a safetensors file."""
    return {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def _train(
    cohort: Cohort, trial: Trial, device: torch.device, course: _Course
) -> Generator[Event, Replies, tuple[Outcome, str, State]]:
    """One training; how it ended, why, and the state that gives its objective if it completed."""
    config, train = trial.config, trial.config["train"]
    seeds = trial_seeds(trial.seed)
    raw = load_raw(config["data"], cohort.workplace)
    if cohort.data_hash and raw.data_hash != cohort.data_hash:
        raise DataError(
            "the data are not those the run began with: the source changed meanwhile, or its "
            "function returns others at each call",
            where=raw.name,
            hint="start again to measure the data as they are now",
        )
    data = place(raw, config["data"], trial.fold, device)
    course.samples, course.clock = data.samples, time.perf_counter()

    seed_everything(seeds.weights)
    shape = tuple(data.x_train.shape[1:])
    model = build_model(config["model"], shape, data.outputs, cohort.workplace).to(device)
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
    losses: list[float] = []
    best: float | None = None
    best_state: State = {}
    ahead = iter([*evaluations, 0])
    next_evaluation, since = next(ahead), 0
    rungs = {rung for rung in cohort.rungs if rung < budget}

    seed_everything(seeds.noise)
    start = _start_loss(model, data, compute_loss, low).to(total)
    seed_everything(seeds.noise)  # A model may draw noise in evaluation, too.
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
        course.steps = step

        if step == next_evaluation:
            sums = torch.cat(
                [torch.stack([start, total]), _validation_sums(model, data, train, low)]
            ).tolist()
            train_loss = sums[1] / (step - since)
            metrics = _validation_metrics(sums[2:], data)
            metrics |= {"train_loss": train_loss, "lr": rates[step - 1]}
            measurement = Measurement(step, metrics)
            course.record(measurement)
            yield Measured(trial.number, measurement, budget)
            losses.append(train_loss)
            reason = _lost(sums[0], losses, metrics["loss"], step, ended=step == budget)
            if reason:
                return Outcome.DIVERGED, reason, {}
            value = metrics.get(cohort.objective.metric, math.nan)
            if (
                cohort.objective.at == "best"
                and math.isfinite(value)
                and (best is None or cohort.objective.better(value, best))
            ):
                best = value
                best_state = {name: each.clone() for name, each in _state(model).items()}
            total.zero_()
            next_evaluation, since = next(ahead), step
            model.train()
        if step in rungs:
            waited = time.perf_counter()
            verdict = yield from _await_verdict(trial.number, step)
            course.clock += time.perf_counter() - waited
            if verdict is Verdict.STOP:
                return Outcome.PRUNED, f"stopped after {step} of {budget} steps", {}
    return Outcome.COMPLETED, "", best_state if cohort.objective.at == "best" else _state(model)


@torch.no_grad()
def _start_loss(
    model: nn.Module, data: Resident, compute_loss: Callable[..., Tensor], low: bool
) -> Tensor:
    """The training loss before the first step, over samples spread over the training split: that
    of the first batch says little where batches are small. It stays on the device."""
    device = data.x_train.device
    count = min(CHUNK, data.samples)
    index = torch.arange(count, device=device) * data.samples // count
    x, y = data.x_train.index_select(0, index), data.y_train.index_select(0, index)
    model.eval()  # Leaves the statistics of batch norm alone.
    with _precision(device, low):
        outputs = model(x)
    return compute_loss(outputs.float(), y)


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
    # A spike long before the end weighs on the last mean training loss, not on the validation.
    ended = ended and validation > divergence.FACTOR * start
    if divergence.diverged(start, losses, ended=ended):
        return (
            f"training loss is {losses[-1]:.3g} after {step} steps, "
            f"more than {divergence.FACTOR:g} times its start of {start:.3g}"
        )
    return ""
