"""One trial after the other, in plain PyTorch: the engine every other one is measured by."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Generator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from lrsearch import pulse
from lrsearch.data.interrupts import is_interrupt
from lrsearch.data.trees import Tree
from lrsearch.errors import DataError
from lrsearch.train.averaging import evaluation_weights, recalibrate
from lrsearch.train.batches import Batch, copy, join, shape_of
from lrsearch.train.beside import find_missing
from lrsearch.train.build import build_model
from lrsearch.train.course import (
    BestSoFar,
    Course,
    Data,
    Event,
    Job,
    Replies,
    State,
    await_verdict,
    check_sources,
    open_data,
    release,
    serialize,
    state_of,
    tell_late,
    validation_metrics,
    worth_keeping,
)
from lrsearch.train.criterion import CHUNK as OWN_CHUNK
from lrsearch.train.criterion import Criterion, baseline_loss, make_criterion
from lrsearch.train.device import check_alive, free_memory, is_out_of_memory
from lrsearch.train.groups import divide_parameters
from lrsearch.train.metrics import SUMS, sum_type
from lrsearch.train.optimizers import build_optimizer
from lrsearch.train.printing import Printed
from lrsearch.train.randomness import seed_everything, trial_seeds
from lrsearch.train.timetable import evaluation_steps, learning_rates, make_plateau
from lrsearch.trial import (
    Cohort,
    Ended,
    Measured,
    Measurement,
    Outcome,
    Started,
    Trial,
    Verdict,
    Workplace,
)

CHUNK = 1024
"""Samples per forward pass of an evaluation (`Resident.chunk`); fixed, so that results do not
follow the batch. Code of the user's sees `criterion.CHUNK`, as in lanes."""


def run(cohort: Cohort, device: torch.device) -> Job:
    """Train the cohort's trials in turn, see `cohort.run_cohort`."""
    for trial in cohort.trials:
        yield Started(trial.number)
        check_sources(cohort, trial.config)
        yield from run_trial(cohort, trial, device)


def run_trial(cohort: Cohort, trial: Trial, device: torch.device) -> Job:
    """Train one trial, to its end."""
    # The first optimizer of a process imports much of torch; no trial should be charged for it.
    torch.optim.SGD([torch.zeros(1)], lr=1.0)
    course = Course("solo", clock=pulse.clock(), objective=cohort.objective.metric)
    replies: Any = None
    printed = Printed()
    with contextlib.closing(_finish(cohort, trial, device, course)) as training:
        while True:
            try:
                with printed.listening():
                    event = training.send(replies)
            except StopIteration as end:
                result, weights = end.value
                break
            except DataError:  # The run's affair, see `cohort.run_cohort`.
                raise
            except BaseException as error:  # A user's code may raise anything.
                if is_interrupt(error):
                    raise
                if is_out_of_memory(error):
                    outcome, trace = Outcome.OUT_OF_MEMORY, ""
                else:
                    outcome, trace = Outcome.FAILED, "".join(traceback.format_exception(error))
                place = cohort.workplace
                missing = find_missing(error, place.folder, place.allowed)
                reason = f"{type(error).__name__}: {error}" + (f"; {missing}" if missing else "")
                result = course.result(trial, outcome, reason, trace)
                if outcome is Outcome.FAILED:
                    result = replace(result, output=printed.text())
                weights = None
                release(error)
                break
            # Outside the try: what is thrown in here, as when a job is closed, is not the trial's.
            replies = yield event
    yield Ended(trial.number, result, course.curve, weights)
    if result.outcome in (Outcome.FAILED, Outcome.OUT_OF_MEMORY):
        check_alive(device)
        free_memory(device)


def _finish(
    cohort: Cohort, trial: Trial, device: torch.device, course: Course
) -> Generator[Event, Replies, tuple[Any, bytes | None]]:
    """Train; the result, and the weights that are worth keeping."""
    outcome, reason, state = yield from _train(cohort, trial, device, course)
    result = course.result(trial, outcome, reason)
    return result, serialize(state) if worth_keeping(cohort, result) else None


class Training:
    """A model under training: one optimizer step at a time, in plain PyTorch.

    `train` is a resolved one. The model is on the data's device and is used, not copied. The
    workplace says what an optimizer's class path may import; `criterion` is the loss, which one of
    ours needs not be given.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Mapping[str, Any],
        workplace: Workplace | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        self.model = model
        self.workplace = workplace or Workplace()
        self.criterion = criterion or Criterion(train, "", workplace=self.workplace)
        self.clip = train["clip_norm"]
        self.parameters = [each for each in model.parameters() if each.requires_grad]
        self.train = train

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """Made when first asked for: to be compared by its gradients a training needs none."""
        named = {name: each for name, each in self.model.named_parameters() if each.requires_grad}
        groups = divide_parameters(
            {name: each.dim() for name, each in named.items()},
            self.train,
            layers=self.train["layer_decay"] is not None,
        )
        parts = [
            {"params": [named[name] for name in group.names], **group.arguments(self.train)}
            for group in groups
        ]
        return build_optimizer(
            self.train["optimizer"], parts, float(self.train["lr"]), self.workplace
        )

    def compute_gradients(self, batch: Batch) -> Tensor:
        """The loss of a batch, its (clipped) gradients left in the parameters."""
        loss = self.criterion.training_loss(self.model, batch)
        torch.autograd.backward(loss)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        return loss.detach()

    def update(self, rate: float) -> None:
        """Step the optimizer by the gradients, and drop them."""
        self._set_rate(rate)
        self.optimizer.step()
        self._drop_gradients()

    def step(self, batch: Batch, rate: float) -> Tensor:
        """A whole step on a batch: its loss, before the update."""
        loss = self.compute_gradients(batch)
        if "class_path" not in self.train["optimizer"]:
            self.update(rate)
            return loss
        seen = False

        def look() -> Tensor:
            """The loss where the parameters are now; at the first call it is there already."""
            nonlocal seen
            if not seen:
                seen = True
                return loss
            self._drop_gradients()
            return self.compute_gradients(batch)

        # Somebody else's may look again as often as it likes, as LBFGS does.
        self._set_rate(rate)
        self.optimizer.step(look)  # type: ignore[arg-type]
        self._drop_gradients()
        return loss

    def _set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["ratio"]

    def _drop_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None


@torch.no_grad()
def start_losses(model: nn.Module, data: Data, criterion: Criterion) -> Tensor:
    """What `divergence` holds losses against, [2]: the loss before the first step, and that of a
    model that knows nothing, `criterion.baseline_loss`.

    Over samples spread over the training split, since the first batch says little where batches
    are small; without transforms and in evaluation mode, as validation losses are. They stay on
    the device.
    """
    model.eval()  # Leaves the statistics of batch norm alone.
    batch = data.spread_out(_chunk(data, criterion))
    kept = copy(batch)  # A user's code may change it in place.
    wide = sum_type(data.device)
    loss = criterion.loss(model, batch).to(wide)
    return torch.stack([loss, baseline_loss(criterion, model, kept, data.outputs).to(wide)])


def build(trial: Trial, data: Data, workplace: Workplace) -> nn.Module:
    """The model of a trial on the data's device, its weights drawn by the trial's seed."""
    seed_everything(trial_seeds(trial.seed).weights)
    example = data.example
    model = build_model(
        trial.config["model"],
        shape_of(example),
        data.outputs,
        workplace,
        example,
        fits=data.task in SUMS,
    )
    return model.to(data.device)


def _train(
    cohort: Cohort, trial: Trial, device: torch.device, course: Course
) -> Generator[Event, Replies, tuple[Outcome, str, State]]:
    """One training; how it ended, why, and the state that gives its objective if it completed."""
    train = trial.config["train"]
    seeds = trial_seeds(trial.seed)
    pulse.enter("loading the data")
    data = open_data(cohort, trial, device)
    course.clock = pulse.clock()
    pulse.enter(pulse.TRAINING)
    course.samples, course.batch = data.measure_epoch(train["batch_size"])
    timed = {**train, "batch_size": course.batch}  # What durations are counted by.

    criterion = make_criterion(trial.config, data.task, data.outputs, cohort.workplace, device)
    model = build(trial, data, cohort.workplace)
    rates = learning_rates(timed, course.samples, cohort.workplace).tolist()
    plateau = make_plateau(timed, course.samples)
    scale = 1.0
    evaluations = evaluation_steps(timed, course.samples)
    budget = evaluations[-1]
    training = Training(model, train, cohort.workplace, criterion)
    batches = data.batches(train["batch_size"], seeds.order)
    total = torch.zeros((), dtype=sum_type(device), device=device)
    best = BestSoFar(cohort.objective)
    best_state: State = {}
    averaged: State = {}
    ahead = iter([*evaluations, 0])
    next_evaluation, since = next(ahead), 0
    rungs = {rung for rung in cohort.rungs if rung < budget}

    seed_everything(seeds.noise)
    start = start_losses(model, data, criterion).to(total)
    seed_everything(seeds.noise)  # A model may draw noise in evaluation, too.
    model.train()
    for step in range(1, budget + 1):
        # Nothing here may wait for the device: only an evaluation reads numbers back.
        rate = rates[step - 1] * scale
        total += training.step(next(batches), rate)
        course.steps = step
        pulse.beat(step)

        if step == next_evaluation:
            with evaluation_weights(
                model, training.optimizer, partial(calibrate, model, data, train, criterion)
            ) as elsewhere:
                sums = torch.cat([start, total.reshape(1), validation_sums(model, data, criterion)])
                averaged = copy_state(model) if elsewhere else {}
            course.start, course.baseline, summed, *validated = sums.tolist()
            course.judge_by(criterion)
            metrics = validation_metrics(validated, data, criterion)
            metrics |= {"train_loss": summed / (step - since), "lr": rate}
            measurement = Measurement(step, metrics)
            reason = course.measure(measurement, budget)
            yield Measured(trial.number, measurement, budget)
            if reason:
                return Outcome.DIVERGED, reason, {}
            if plateau is not None:
                plateau.observe(step, metrics[train["schedule"]["metric"]])
                scale = plateau.scale
            if best.beaten(metrics):
                best_state = averaged or copy_state(model)
            total.zero_()
            next_evaluation, since = next(ahead), step
            model.train()
        if step in rungs:
            waited = pulse.clock()
            verdict = yield from await_verdict(trial.number, step)
            course.clock += pulse.clock() - waited
            if verdict is Verdict.STOP:
                return Outcome.PRUNED, f"stopped after {step} of {budget} steps", {}
        if step < budget and course.is_late(cohort):
            return Outcome.FAILED, tell_late(cohort, step, budget), {}
    if cohort.objective.at == "best":
        return Outcome.COMPLETED, "", best_state
    return Outcome.COMPLETED, "", averaged or state_of(model)


def copy_state(model: nn.Module) -> State:
    """The state dict, as it is now."""
    return {name: each.clone() for name, each in state_of(model).items()}


def calibrate(model: nn.Module, data: Data, train: Mapping[str, Any], criterion: Criterion) -> None:
    """Gather batch norm's statistics at the model's present weights, see `averaging`."""
    recalibrate(model, data.calibration(train["batch_size"]), partial(criterion.visit, model))


def _chunk(data: Data, criterion: Criterion) -> int:
    return data.chunk(CHUNK if criterion.stacks else OWN_CHUNK)


def validation_sums(model: nn.Module, data: Data, criterion: Criterion) -> Tensor:
    """The summed loss and the sums the task's metrics are made of, over the validation split, and
    the values of the user's metrics."""
    sums: list[Tensor] = []
    seen: list[Any] = []
    targets: list[Tree] = []
    model.eval()
    with torch.no_grad():
        for kept in data.validation_batches(_chunk(data, criterion)):
            pulse.beat()
            batch = copy(kept)  # A user's code may change it in place.
            found, outputs = criterion.sums(model, batch)
            sums.append(found)
            if criterion.measures:
                seen.append(outputs)
                targets.append(batch.y)
        total = torch.stack(sums).sum(0)
        if not criterion.measures:
            return total
        values = criterion.measure(join(seen), join(targets))
        return torch.cat([total, torch.stack(values).to(total)])
