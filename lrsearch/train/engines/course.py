"""The course of a trial, by either engine: its curve, its outcome, its weights."""

from __future__ import annotations

import gc
import itertools
import math
import weakref
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from lrsearch import catalogue, divergence, pulse
from lrsearch.analysis.pruning import NO_PROGRESS, Progress, find_standstill
from lrsearch.errors import DataError, ModelError
from lrsearch.spec.model import argument_paths, class_paths
from lrsearch.states import Unusable, check_counts, check_numbers
from lrsearch.train.batches.resident import Resident, load_raw, place
from lrsearch.train.batches.streamed import Streamed
from lrsearch.train.engines.saving import is_kept, plain
from lrsearch.train.models.criterion import Criterion
from lrsearch.train.models.metrics import (
    classification_metrics,
    language_metrics,
    regression_metrics,
)
from lrsearch.train.recording import Recording
from lrsearch.train.users import anew
from lrsearch.train.users.contents import path_hashes
from lrsearch.train.users.importing import source_hashes
from lrsearch.trial import (
    Cohort,
    Config,
    Ended,
    Looked,
    Measured,
    Measurement,
    Noted,
    Objective,
    Outcome,
    Planned,
    Probe,
    Reached,
    Records,
    Result,
    Saved,
    Started,
    Sweep,
    Trial,
    Verdict,
    describe_timeout,
)

Event = Started | Measured | Reached | Ended | Planned | Saved | Noted | Looked | None
Replies = list[tuple[int, Verdict]]
EventGenerator = Generator[Event, Replies, Any]
State = Mapping[str, Tensor]
Data = Resident | Streamed


# data and code


def open_data(
    job: Cohort | Probe | Sweep, trial: Trial, device: torch.device, *, tested: bool = False
) -> Data:
    """The splits of a trial on the device; if `tested`, the test part stands in the place of the
    validation part. The globals of the user's code are put back: a trial may begin. Raises
    DataError for data that cannot be loaded or have changed since the run began, ModelError for a
    loader without batches."""
    config = trial.config["data"]
    raw = load_raw(config, job.workplace)
    if job.data_hash and raw.data_hash != job.data_hash:
        raise DataError(
            "the data are not those the run began with: the source changed meanwhile, or its "
            "function returns others at each call",
            where=raw.name,
            hint="start again to measure the data as they are now",
        )
    found = place(raw, config, trial.fold, device, trial.config["train"], tested=tested)
    if isinstance(found, Streamed):
        if not tested:  # A loader's batches are counted in its first trial, by a pass through them.
            found.measure_epoch(trial.config["train"]["batch_size"])
        anew.put_back(job.workplace)  # Its samples were looked at, by code of the user's.
    return found


def check_sources(job: Cohort | Probe | Sweep, config: Config) -> None:
    """Raises ModelError where a config's code, or a file that this code is given by its path, has
    changed since the run began."""
    if not job.source_hashes:
        return
    for path, found in source_hashes(class_paths(config), job.workplace).items():
        if found != job.source_hashes.get(path):
            raise ModelError(
                "the source code is not what the run began with: it changed meanwhile",
                where=path,
                hint="start again to measure the code as it is now",
            )
    for name, found in path_hashes(argument_paths(config), job.workplace.folder)[0].items():
        # Other files did not exist, or the code writes to them by itself.
        if job.source_hashes.get(name) not in (None, "", found):
            raise ModelError(
                "what the init_args name is not what the run began with: it changed meanwhile",
                where=name.removeprefix("path:"),
                hint="start again to measure it as it is now; if your own code writes to it while "
                "it trains, let it find the place without init_args",
            )


# the course


@dataclass
class Course:
    """The course of a trial so far."""

    engine: str
    steps: int = 0
    samples: int = 0
    """The samples of an epoch."""
    batch: int | Fraction = 0
    """The samples of a batch, on average."""
    seconds: float = 0.0
    """The seconds of training that it was charged with until now."""
    clock: float | None = None
    """The `pulse.clock` reading since which more seconds count; None while it does not train
    alone."""
    start: float = math.nan
    """The loss before the first step, and `baseline`: see `start.start_losses`."""
    baseline: float = math.nan
    lowest: float = math.inf
    """The lowest loss since the start."""
    alike: bool = True
    """Whether training and validation losses can be compared, see `Criterion.alike`."""
    factor: float = divergence.FACTOR
    """The factor by which a lost loss exceeds its scale."""
    objective: str = ""
    """The metric that has to be a number, as the losses have to."""
    shared: int = 0
    """The first steps that another trial has trained for it."""
    shared_seconds: float = 0.0
    """The seconds, of all, that these steps took."""
    curve: dict[str, list[float]] = field(default_factory=dict)
    recording: Recording = field(default_factory=Recording)
    """The records of single steps."""
    judged: int = 0
    """The step at which it ends where it makes no progress; 0 for none."""
    whole: int = 0
    """The steps of the whole budget."""
    rule: str = ""
    trace: str = ""
    """The traceback of what its code raised once it was lost."""
    model: weakref.ReferenceType[nn.Module] | None = None
    """The model that is trained alone, as long as it is there."""

    def take(self) -> dict[str, Any]:
        """The course as a saved state keeps it."""
        own = {name: getattr(self, name) for name in _SAVED}
        return {"seconds": self.spent, "records": self.recording.take(), **own}

    def put(self, saved: Mapping[str, Any]) -> None:
        """Go on from a saved course. Raises Unusable, or KeyError, for values of no training."""
        saved = {"shared": 0, "shared_seconds": 0.0, **saved}  # Older ones shared nothing.
        curve, seconds = saved["curve"], saved["seconds"]
        check_counts(saved["steps"])
        check_numbers(*(saved[name] for name in ("start", "baseline", "lowest")))
        check_numbers(seconds, saved["shared_seconds"], saved["factor"], finite=True)
        check_counts(saved["shared"])
        if type(saved["alike"]) is not bool or seconds < 0 or not _is_curve(curve, self.objective):
            raise Unusable("its curve is none")
        self.recording.put(saved.get("records"), saved["steps"])
        self.seconds += float(saved["seconds"])
        for name in _SAVED:
            setattr(self, name, saved[name])

    def tell(self, *, whole: bool = False) -> Records:
        """The records that no event has told of, or the whole."""
        return self.recording.tell(self.start, self.baseline, whole=whole)

    @property
    def last(self) -> dict[str, float]:
        """The metrics of the latest evaluation, empty before the first."""
        return {name: values[-1] for name, values in self.curve.items() if name != "step"}

    @property
    def spent(self) -> float:
        """The seconds charged to it by now."""
        return self.seconds + (0.0 if self.clock is None else pulse.clock() - self.clock)

    def drop_model(self) -> None:
        """Have the model go now that its training is over, though its parts refer to each other:
        on a GPU the next trials might find no memory before Python collects the garbage."""
        if self.model is not None and self.model() is not None:
            gc.collect()

    def is_late(self, cohort: Cohort) -> bool:
        """Whether it has used up a trial's time limit."""
        return cohort.timeout is not None and self.spent >= cohort.timeout

    def judge_by(self, criterion: Criterion) -> None:
        """Take from a criterion that has evaluated how its losses are judged: whether validation
        losses are like training losses, and the factor of a lost one."""
        self.alike = criterion.alike
        self.factor = divergence.FACTOR if criterion.stacks else divergence.UNKNOWN_FACTOR

    def measure(self, measurement: Measurement, budget: int) -> str:
        """Take an evaluation after so many steps; returns why the training is lost with it, or
        ""."""
        for name, value in {"step": measurement.step, **measurement.metrics}.items():
            self.curve.setdefault(name, []).append(value)
        losses, step = self.curve["train_loss"], measurement.step
        validation = measurement.metrics["loss"]
        if not math.isfinite(self.start):
            return f"training loss is {self.start} before the first step"
        if not math.isfinite(losses[-1]):
            return f"training loss is {losses[-1]} after {step} steps"
        if not math.isfinite(validation):
            return f"validation loss is {validation} after {step} steps"
        if not math.isfinite(measurement.metrics.get(self.objective, 0.0)):
            value = measurement.metrics[self.objective]
            return f"{self.objective} is {value} after {step} steps"
        judged = self.curve["loss"] if self.alike else losses
        self.lowest = min(self.lowest, losses[-1], judged[-1])
        scale = divergence.find_scale(self.start, self.baseline, self.lowest)
        steps = self.curve["step"]
        if not divergence.diverged(scale, steps, losses, judged, budget, self.factor):
            return ""
        mean = divergence.recent_mean(steps, losses, budget)
        against = {
            abs(self.start): f"its start of {self.start:.3g}",
            self.baseline: f"the {scale:.3g} of a model that knows nothing "
            f"(its start was {self.start:.3g})",
        }
        told = f"{losses[-1]:.3g}"
        if told != f"{mean:.3g}":  # It ends with the last of the curve, and is judged by its mean.
            over = divergence.recent_steps(steps, budget)
            told += f", {mean:.3g} over the last {over:.0f} steps,"
        told += f" and validation loss {validation:.3g}" if self.alike else ""
        return (
            f"training loss is {told} after {step} steps, "
            f"more than {self.factor:g} times "
            + against.get(scale, f"the size of its lowest of {-scale:.3g}")
        )

    def judge_again(self) -> tuple[Outcome, str] | None:
        """Judge the evaluations so far, which were its stem's, once more as those of a training of
        this budget. Returns the outcome of the training and the reason where one of them ends it,
        the course then being as it was there; None where it goes on. Raises Unusable where steps
        that it has to record were not recorded."""
        curve, made = self.curve, self.steps
        self.recording.adopt(made)
        names = [name for name in curve if name != "step"]
        self.curve, self.lowest = {}, math.inf
        for index, step in enumerate(map(int, curve.get("step", ()))):
            metrics = {name: curve[name][index] for name in names}
            outcome, reason = Outcome.DIVERGED, self.measure(Measurement(step, metrics), self.whole)
            if not reason:
                outcome, reason = Outcome.PRUNED, self.stop_standing()
            if reason:
                self.steps = self.shared = step
                self.seconds *= step / made
                self.shared_seconds *= step / made
                self.recording.cut(step)
                return outcome, reason
        return None

    def _epochs(self, steps: int) -> float:
        return float(steps * self.batch / self.samples) if self.samples else 0.0

    def stop_standing(self) -> str:
        """The reason to end with the evaluation just taken, having made no progress, or ""."""
        if not self.judged or self.curve["step"][-1] != self.judged:
            return ""
        records = self.recording.losses()
        recent = [loss for step, loss in records if self.judged / 2 < step <= self.judged]
        training = self.curve["train_loss"][-1]
        if len(recent) >= _FEW:  # A mean from the first step on has its beginning in it.
            training = min(training, math.fsum(recent) / len(recent))
        losses = Progress(
            start=self.start,
            baseline=self.baseline,
            first=records[0][1] if records and records[0][0] == 1 else math.nan,
            training=training,
            validation=self.curve["loss"][-1],
            lowest=self.lowest,
        )
        reason = find_standstill(losses)
        if not reason:
            return ""
        self.rule = NO_PROGRESS
        return f"no progress: after {self.judged} of {self.whole} steps {reason}"

    def value(self, objective: Objective) -> float | None:
        """The objective, if it ended now."""
        return self.result(Outcome.COMPLETED).value(objective)

    def result(self, outcome: Outcome, reason: str = "", trace: str = "") -> Result:
        """The trial's result, if it ended now."""
        validated = {
            name: each for name, each in self.curve.items() if name not in catalogue.BESIDE
        }
        best, best_step = {}, {}
        for name, values in validated.items():
            finite = [index for index, value in enumerate(values) if math.isfinite(value)]
            known = catalogue.METRICS.get(name)
            # A metric whose goal only the spec knows has both ends, see `Result`.
            ends = {name: known[0]} if known else {f"{name}:min": "min", f"{name}:max": "max"}
            for key, goal in ends.items() if finite else ():
                sign = 1 if goal == "max" else -1
                at = max(finite, key=lambda index: sign * values[index])
                best[key], best_step[key] = values[at], int(self.curve["step"][at])
        return Result(
            outcome=outcome,
            steps=self.steps,
            epochs=self._epochs(self.steps),
            seconds=self.spent,
            shared_epochs=self._epochs(self.shared),
            shared_seconds=self.shared_seconds,
            engine=self.engine,
            last={name: values[-1] for name, values in validated.items()},
            best=best,
            best_step=best_step,
            reason=reason,
            traceback=trace or self.trace,
            rule=self.rule,
            whole=self.whole if outcome is Outcome.PRUNED else 0,
        )


_FEW = 4
"""Recorded steps whose mean loss is held against others, at least."""


def _is_curve(curve: Any, objective: str) -> bool:
    """Whether a saved curve has as many values for each metric. Raises Unusable for a value that is
    no number."""
    if not isinstance(curve, dict) or not all(
        isinstance(name, str) and isinstance(values, list) for name, values in curve.items()
    ):
        return False
    for values in curve.values():
        check_numbers(*values)
    check_counts(*curve.get("step", ()))
    steps = [0, *curve.get("step", ())]
    return not curve or (
        {"step", "train_loss", "loss", "lr", objective or "loss"} <= curve.keys()
        and {len(values) + 1 for values in curve.values()} == {len(steps)}
        and all(before < after for before, after in itertools.pairwise(steps))
    )


_SAVED = (
    *("steps", "start", "baseline", "lowest", "alike", "factor"),
    *("shared", "shared_seconds", "curve"),
)


@dataclass
class BestSoFar:
    """The best evaluation so far, for an objective at `best`: tells whether an evaluation beats all
    before it."""

    objective: Objective
    value: float | None = None

    def put(self, saved: Any, *, state: bool) -> None:
        """Go on from the value of a saved state, and the best `state` in it, if any. Raises
        Unusable."""
        if (saved is not None) != state:
            raise Unusable("its best evaluation is not that of its best weights")
        if saved is not None:
            check_numbers(saved, finite=True)
        self.value = saved

    def beaten(self, metrics: Mapping[str, float]) -> bool:
        """Take an evaluation; returns whether its state is the new best."""
        value = metrics.get(self.objective.metric, math.nan)
        if self.objective.at != "best" or not math.isfinite(value):
            return False
        if self.value is not None and not self.objective.better(value, self.value):
            return False
        self.value = value
        return True


# results


def validation_metrics(sums: Sequence[float], data: Data, criterion: Criterion) -> dict[str, float]:
    """Metrics of the validation split from `validation_sums`: the summed loss, the sums that
    metrics or a step's are computed from, the values of the user's metrics."""
    samples = data.validation_samples
    names = criterion.names or ()
    own = list(criterion.measures)
    middle, values = sums[1 : len(sums) - len(own)], sums[len(sums) - len(own) :]
    metrics = {name: each / samples for name, each in zip(names, middle, strict=False)}
    if criterion.task == "classification":
        metrics = classification_metrics(middle)
    elif criterion.task == "language":
        metrics = language_metrics(middle, int(data.loss_terms(built_in=True)))
    elif criterion.task == "regression":
        metrics = regression_metrics(middle, samples, data.scale, data.spread)
    terms = data.loss_terms(built_in=criterion.stacks)
    return {**metrics, "loss": sums[0] / terms, **dict(zip(own, values, strict=True))}


def tell_late(cohort: Cohort, step: int, budget: int) -> str:
    """The reason for the failure of a trial that took too long."""
    assert cohort.timeout is not None
    return f"{describe_timeout(cohort.timeout)}: {step} of {budget} steps"


def worth_keeping(cohort: Cohort, result: Result) -> bool:
    """Whether a result's weights may be the best point's."""
    value = result.value(cohort.objective)
    if value is None or not math.isfinite(value):
        return False
    return cohort.bar is None or not cohort.objective.better(cohort.bar, value)


def serialize(state: State) -> bytes:
    """A state dict as a safetensors file, without what that has no place for. Its tensors are
    copied, since tied ones may not share memory there."""
    content: bytes = safetensors.torch.save(
        {name: plain(value) for name, value in state.items() if is_kept(value)}
    )
    return content


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """The state dict without extra state that is no tensor: a safetensors file has no place for
    it."""
    return {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
