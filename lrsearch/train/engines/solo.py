"""The solo engine: one trial after the other, in plain PyTorch. Every other engine is compared with
it."""

from __future__ import annotations

import bisect
import contextlib
import time
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lrsearch import catalogue, divergence, pulse
from lrsearch.analysis.pruning import judging_step
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.raised import tell_raised, tell_trace
from lrsearch.errors import DataError
from lrsearch.schedules import Plateau
from lrsearch.states import Unusable
from lrsearch.train.batches.averaging import evaluation_weights, recalibrate
from lrsearch.train.batches.batch import Batch
from lrsearch.train.batches.streamed import Streamed
from lrsearch.train.device import (
    check_alive,
    free_memory,
    is_out_of_memory,
    release,
    sum_type,
)
from lrsearch.train.engines.course import (
    BestSoFar,
    Course,
    Data,
    Event,
    EventGenerator,
    Replies,
    State,
    check_sources,
    open_data,
    serialize,
    state_of,
    tell_late,
    validation_metrics,
    worth_keeping,
)
from lrsearch.train.engines.losing import find_loss, tell_error
from lrsearch.train.engines.saving import (
    Encoder,
    Saver,
    begins_again,
    check_steps,
    explain,
    is_kept,
    model_tensors,
    put_memory,
    put_model,
    put_optimizer,
    put_plateau,
    save,
    take_memory,
    take_optimizer,
)
from lrsearch.train.engines.sharing import Sharing, cannot_share, tell_measured
from lrsearch.train.engines.start import build, make_start
from lrsearch.train.engines.timetable import (
    evaluation_steps,
    learning_rates,
    make_plateau,
)
from lrsearch.train.engines.training import Training
from lrsearch.train.jobs import await_verdict
from lrsearch.train.models.criterion import Criterion
from lrsearch.train.models.validation import validation_sums
from lrsearch.train.randomness import (
    get_generators,
    seed_everything,
    set_generators,
    trial_seeds,
)
from lrsearch.train.users import anew
from lrsearch.train.users.beside import find_missing
from lrsearch.train.users.memory import Memory
from lrsearch.train.users.printing import Printed
from lrsearch.trial import (
    Cohort,
    Ended,
    Measured,
    Measurement,
    Noted,
    Outcome,
    Saved,
    Started,
    Trial,
    Verdict,
)

# trials


def run(cohort: Cohort, device: torch.device) -> EventGenerator:
    """Train the cohort's trials in turn, see `cohort.run_cohort`."""
    yield from run_trials(cohort, cohort.trials, device)


def run_trials(cohort: Cohort, trials: Sequence[Trial], device: torch.device) -> EventGenerator:
    """Train trials of a cohort in turn, those first that go on from a state in memory."""
    sharing = Sharing(cohort, trials, "solo", device)
    while sharing.left:
        trial = sharing.find_next()
        yield Started(trial.number)
        check_sources(cohort, trial.config)
        yield from run_trial(cohort, trial, device, sharing)


def run_trial(
    cohort: Cohort, trial: Trial, device: torch.device, sharing: Sharing | None = None
) -> EventGenerator:
    """Train one trial, to its end; by default it shares no steps with others."""
    sharing = sharing or Sharing(cohort, (), "solo", device)
    optimizer = trial.config["train"]["optimizer"]
    if "class_path" in optimizer or optimizer["name"] in catalogue.OPTIMIZER_PACKAGES:
        # The first of torch's own in a process imports its compiler; no trial is charged for that.
        torch.optim.SGD([torch.zeros(1)], lr=1.0)
    course = Course("solo", clock=pulse.clock(), objective=cohort.objective.metric)
    replies: Any = None
    printed = Printed()
    with contextlib.closing(_finish(cohort, trial, device, course, sharing)) as training:
        while True:
            try:
                with printed.listening():
                    event = training.send(replies)
            except StopIteration as end:
                result, weights = end.value
                break
            except any_but_interrupts(DataError) as error:  # Data are the run's affair.
                if is_out_of_memory(error):
                    outcome, trace = Outcome.OUT_OF_MEMORY, ""
                else:
                    outcome, trace = Outcome.FAILED, tell_trace(error)
                place = cohort.workplace
                missing = find_missing(error, place.folder, place.allowed)
                reason = tell_raised(error) + (f"; {missing}" if missing else "")
                result = course.result(outcome, reason, trace)
                if outcome is Outcome.FAILED:
                    result = replace(result, output=printed.text())
                weights = None
                release(error)
                break
            # Outside the try: errors thrown in here, as when a job is closed, are not the trial's.
            replies = yield event
    course.drop_model()
    with contextlib.suppress(RuntimeError):  # The device may be lost, as is seen below.
        course.recording.flush()
    records = course.tell(whole=True)
    ended = Ended(trial.number, result, course.curve, weights, records=records)
    yield ended
    beside = sharing.end(ended)
    while beside:
        yield beside.pop(0)
    if result.outcome in (Outcome.FAILED, Outcome.OUT_OF_MEMORY):
        check_alive(device)
        free_memory(device)


def _finish(
    cohort: Cohort, trial: Trial, device: torch.device, course: Course, sharing: Sharing
) -> Generator[Event, Replies, tuple[Any, bytes | None]]:
    """Train; returns the result, and the weights if they are worth keeping."""
    outcome, reason, state = yield from _train(cohort, trial, device, course, sharing)
    result = course.result(outcome, reason)
    if not worth_keeping(cohort, result):
        return result, None
    if without := [name for name, each in state.items() if not is_kept(each)]:
        yield Noted(
            trial.number,
            f"weights are kept without {', '.join(without)}: a safetensors file has no place for "
            "sparse, quantized or nested tensors",
        )
    return result, serialize(state)


# a training from start to end

_Lost = tuple[Outcome, str]
"""The outcome of a training that ends before its budget is used, and the reason."""


@dataclass(eq=False)
class _Run:
    """A training between two steps."""

    trial: Trial
    data: Data
    model: nn.Module
    training: Training
    course: Course
    rates: list[float]
    """The rates of its schedule, before a plateau has changed them."""
    evaluations: tuple[int, ...]
    plateau: Plateau | None
    best: BestSoFar
    start: Tensor
    """The losses at the start, see `start_losses`."""
    total: Tensor
    """The sum of the losses since the last evaluation."""
    memory: Memory | None = None
    """The changes in objects of the user's; None where there are none or nothing is saved."""
    read: Memory | None = None
    """The same of the user's data."""
    step: int = 0
    since: int = 0
    """The step of the last evaluation."""
    best_state: State = field(default_factory=dict)
    """The state of the best evaluation."""
    averaged: State = field(default_factory=dict)
    """The state of the latest evaluation, where that is at other weights than those that train."""

    @property
    def budget(self) -> int:
        """The steps of the whole training."""
        return self.evaluations[-1]

    @property
    def next_evaluation(self) -> int:
        """The step of the next evaluation, 0 after the last."""
        ahead = bisect.bisect_right(self.evaluations, self.since)
        return self.evaluations[ahead] if ahead < len(self.evaluations) else 0

    def rate(self, step: int) -> float:
        """The learning rate of a step, the first being 1."""
        return self.rates[step - 1] * (1.0 if self.plateau is None else self.plateau.scale)

    def take(self, generators: Any = None) -> tuple[Any, Encoder]:
        """The training as a value for `Encoder`. `generators` are the states of the global ones, by
        default the present ones. Raises Unseen for state that cannot be saved."""
        device = self.data.device
        known = model_tensors(self.model)
        memory = take_memory(self.memory) if self.memory is not None else []
        return {
            "step": self.step,
            "since": self.since,
            "total": self.total,
            "course": self.course.take(),
            "plateau": None if self.plateau is None else self.plateau.take(),
            "best": self.best.value,
            "best_state": dict(self.best_state),
            "generators": generators or get_generators(device),
            # The tensors themselves, not their names: this is where their values are kept.
            "model": {name: each.detach() for name, each in known.items()},
            "optimizer": take_optimizer(self.training.optimizer) if self.step else None,
            "memory": memory,
        }, Encoder(device, known)

    def put(self, saved: Mapping[str, Any]) -> None:
        """Go on from the value that `take` gave. Raises Unusable, or any error, for another
        training's."""
        check_steps(saved, self.budget)
        self.step, self.since = saved["step"], saved["since"]
        self.total.copy_(saved["total"])
        self.course.put(saved["course"])
        if self.plateau is not None:
            put_plateau(self.plateau, saved["plateau"])
        self.best_state = saved["best_state"]
        self.best.put(saved["best"], state=bool(self.best_state))
        if self.best_state and (
            self.best_state.keys() != state_of(self.model).keys()
            or not all(isinstance(each, Tensor) for each in self.best_state.values())
        ):
            raise Unusable("its best weights are those of another model")
        put_model(self.model, saved["model"])
        known = model_tensors(self.model)
        if self.step:
            put_optimizer(self.training.optimizer, saved["optimizer"], known)
        if self.memory is not None:
            put_memory(self.memory, saved["memory"], known)
        set_generators(saved["generators"], self.data.device)


def _begin(
    cohort: Cohort,
    trial: Trial,
    data: Data,
    course: Course,
    sharing: Sharing,
    *,
    taken: bool,
) -> _Run:
    """A training before its first step; `taken` says that its state will be."""
    train, device = trial.config["train"], data.device
    course.samples, course.batch = data.measure_epoch(train["batch_size"])
    timed = {**train, "batch_size": course.batch}  # What durations are counted by.
    model, criterion, start = make_start(trial, data, cohort.workplace)
    course.model = weakref.ref(model)
    rates = learning_rates(timed, course.samples, cohort.workplace).tolist()
    wide = sum_type(device)
    seed_everything(trial_seeds(trial.seed).noise)  # Also a model may draw noise in evaluation.
    model.train()
    evaluations = evaluation_steps(timed, course.samples)
    course.whole = evaluations[-1]
    if trial.number in cohort.judged and criterion.stacks:
        course.judged = judging_step(evaluations, rates)
    course.recording = sharing.make_recording(trial.number, course.whole)
    run = _Run(
        trial,
        data,
        model,
        Training(model, train, cohort.workplace, criterion),
        course,
        rates,
        evaluations,
        make_plateau(timed, course.samples),
        BestSoFar(cohort.objective),
        start,
        total=torch.zeros((), dtype=wide, device=device),
    )
    taken = taken or cohort.save is not None
    if taken and isinstance(data, Streamed):
        run.read = Memory(data.objects)
    if taken and (others := _users_objects(run)):
        run.memory = Memory(others, model)
        memory = run.memory
        run.training.made = lambda optimizer: memory.add("the optimizer", optimizer)
    return run


def _users_objects(run: _Run) -> dict[str, object]:
    """The user's objects in a training, by name; the optimizer is added later."""
    config = run.trial.config
    found = dict(run.training.criterion.objects)
    if "class_path" in config["model"]:
        found = {"": run.model, **found}
    if not found and "class_path" in config["train"]["optimizer"]:
        found = {"": run.model}
    return found


def _go_on(
    cohort: Cohort, trial: Trial, data: Data, course: Course, sharing: Sharing
) -> tuple[_Run, list[Event], _Lost | None]:
    """A training at its saved state, or that of its stem, or before its first step; the events that
    tell of it; and how it has ended before its fork, if it has."""
    before = replace(course, curve={})
    left = anew.left_over()
    noted: list[Event] = [Noted(trial.number, anew.tell_left(left))] if left else []
    number, taken = trial.number, sharing.has_part(trial.number)
    run = _begin(cohort, trial, data, course, sharing, taken=taken)
    saved = number in cohort.states
    try:
        if (own := sharing.load(trial)) is not None:
            run.put(own)
            sharing.pass_by(number, run.step)
            last = Measurement(run.step, course.last)
            return run, [*noted, Measured(number, last, run.budget, course.tell())], None
        if (state := sharing.adopt(trial, run.plateau)) is None:
            return run, noted, None
        run.put(state)
        lost = course.judge_again()
        told = tell_measured(number, course, run.budget)
        return run, [*noted, *told, *sharing.save()], lost
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = explain(error)
    vars(course).update(vars(before))  # It may have been put back in part.
    anew.put_back(cohort.workplace)
    run = _begin(cohort, trial, data, course, sharing, taken=taken)
    why = begins_again(trial, reason) if saved else cannot_share(number, reason)
    return run, [*noted, why], None


def _train(
    cohort: Cohort, trial: Trial, device: torch.device, course: Course, sharing: Sharing
) -> Generator[Event, Replies, tuple[Outcome, str, State]]:
    """Train to the end; yields its events and returns the outcome, its reason, and the state that
    gives the objective if it completed."""
    train = trial.config["train"]
    pulse.enter("loading the data")
    data = open_data(cohort, trial, device)
    course.clock = pulse.clock()
    pulse.enter(pulse.TRAINING)
    sharing.plan(*data.measure_epoch(train["batch_size"]))
    run, told, lost = _go_on(cohort, trial, data, course, sharing)
    while told:
        yield told.pop(0)
    if lost is not None:
        sharing.pass_on(trial.number)
        return *lost, {}
    forks = sharing.forks(trial.number)
    saver = Saver(cohort.save)
    batches = data.batches(train["batch_size"], trial_seeds(trial.seed).order, run.step)
    rungs = {rung for rung in cohort.rungs if rung < run.budget}
    generators: Any = None
    try:
        while True:
            if run.step == run.next_evaluation:
                generators = get_generators(device) if cohort.save is not None else None
                # The user's code may remember its calls: this is finished, or not begun.
                with pulse.unbroken() if run.memory is not None else contextlib.nullcontext():
                    measured = _evaluate(run)
                generators = None
                yield Measured(trial.number, measured[0], run.budget, course.tell())
                lost = (Outcome.DIVERGED, measured[1]) if measured[1] else None
                if lost is None and (standing := course.stop_standing()):
                    lost = Outcome.PRUNED, standing
                _take_in(run, measured[0])
                if lost is not None:
                    sharing.hand_on(trial.number, run.step, partial(_take, run))
                    return *lost, {}
                yield from _save_due(run, saver)
            if run.step in forks:
                if refused := sharing.reach(trial.number, run.step, partial(_take, run)):
                    yield cannot_share(trial.number, refused)
                yield from sharing.save()
            if run.step in rungs:
                waited = pulse.clock()
                verdict = yield from await_verdict(
                    trial.number, run.step, course.value(cohort.objective)
                )
                course.clock += pulse.clock() - waited
                if verdict is Verdict.STOP:
                    return Outcome.PRUNED, f"stopped after {run.step} of {run.budget} steps", {}
            if run.step == run.budget:
                break
            if course.is_late(cohort):
                return Outcome.FAILED, tell_late(cohort, run.step, run.budget), {}
            # Nothing here may wait for the device: only an evaluation reads numbers back.
            _step(run, next(batches))
            pulse.beat(run.step)
    except pulse.Leave:
        if saver.every is not None and run.step:
            yield _save(run, generators)
        yield from sharing.save(last=True)
        raise
    except any_but_interrupts(DataError, GeneratorExit) as error:
        if not (sign := _find_loss(cohort, run, error)):
            raise
        course.trace = tell_trace(error)
        steps = f"{run.step} step{'s' * (run.step != 1)}"
        reason = f"{sign} after {steps}, and the training raised {tell_error(error)}"
        release(error)
        return Outcome.DIVERGED, reason, {}
    if cohort.objective.at == "best":
        return Outcome.COMPLETED, "", run.best_state
    return Outcome.COMPLETED, "", run.averaged or state_of(run.model)


def _find_loss(cohort: Cohort, run: _Run, error: BaseException) -> str:
    """The sign that a training was lost before it raised an error, see `losing.find_loss`."""
    course, criterion = run.course, run.training.criterion
    made = run.step - run.since
    if not run.step:
        return ""
    course.judge_by(criterion)
    try:
        loss = run.total.item() / made if made else course.last["train_loss"]
        start, baseline = run.start.tolist()
    except RuntimeError:  # The device is lost: the first error says where.
        return ""
    scale = divergence.find_scale(start, baseline, course.lowest)
    make = partial(build, run.trial, run.data, cohort.workplace)
    return find_loss(error, loss, course.factor * scale, run.model, make)


def _step(run: _Run, batch: Batch) -> None:
    """The next step of a training, recorded where it is its turn."""
    step = run.step + 1
    rate = run.rate(step)
    if step in run.course.recording.due:
        loss, row = run.training.recorded_step(batch, rate)
        run.course.recording.note(step, rate, row)
    else:
        loss = run.training.step(batch, rate)
    run.total += loss
    run.course.steps = run.step = step


def _evaluate(run: _Run) -> tuple[Measurement, str]:
    """Evaluate a training; returns the metrics, and why it is lost with them, or ""."""
    model, training, data = run.model, run.training, run.data
    criterion = training.criterion
    with evaluation_weights(
        model, training.optimizer, partial(calibrate, model, data, training.train, criterion)
    ) as elsewhere:
        sums = validation_sums(model, data, criterion)
        averaged = copy_state(model) if elsewhere else {}
    course, count = run.course, 3 + len(sums)
    parts = [run.start, run.total.reshape(1), sums, *course.recording.rows]
    numbers = torch.cat(parts).tolist()  # The one wait for the device.
    course.start, course.baseline, summed, *validated = numbers[:count]
    course.recording.take_in(numbers[count:])
    course.judge_by(criterion)
    metrics = validation_metrics(validated, data, criterion)
    metrics |= {"train_loss": summed / (run.step - run.since), "lr": run.rate(run.step)}
    measurement = Measurement(run.step, metrics)
    run.averaged = averaged
    return measurement, course.measure(measurement, run.budget)


def _take_in(run: _Run, measurement: Measurement) -> None:
    """Apply an evaluation to the schedule and to the best state."""
    metrics = measurement.metrics
    if run.plateau is not None:
        followed = run.trial.config["train"]["schedule"]["metric"]
        run.plateau.observe(run.step, metrics[followed])
    if run.best.beaten(metrics):
        run.best_state = run.averaged or copy_state(run.model)
    run.total.zero_()
    run.since = run.step
    run.model.train()


def _save_due(run: _Run, saver: Saver) -> Iterator[Event]:
    """Save a training that goes on, where that is due; one that cannot be saved is not tried
    again."""
    if run.step == run.budget or not saver.is_due():
        return
    begun = time.monotonic()
    kept = _save(run)
    yield kept
    saver.note(begun)
    if isinstance(kept, Noted):
        saver.every = None


def _save(run: _Run, generators: Any = None) -> Saved | Noted:
    """The event with the saved training, or the reason why it cannot be saved."""
    at = (run.step, run.budget)
    return save(run.trial, "solo", run.data.device, at, partial(_take, run, generators))


def _take(run: _Run, generators: Any = None) -> tuple[Any, Encoder]:
    """The training as a value, as `_Run.take`. Raises Unseen for data that remember, too."""
    if isinstance(run.data, Streamed) and run.read is not None:
        run.data.refuse_saving(run.read)
    return run.take(generators)


# evaluation


def copy_state(model: nn.Module) -> State:
    """A copy of the state dict."""
    return {name: each.clone() for name, each in state_of(model).items()}


def calibrate(model: nn.Module, data: Data, train: Mapping[str, Any], criterion: Criterion) -> None:
    """Gather batch norm's statistics at the model's present weights, see `averaging`."""
    recalibrate(model, data.calibration(train["batch_size"]), partial(criterion.visit, model))
