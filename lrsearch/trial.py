"""What is trained and what came of it: frozen values that every room passes on.

A `Trial` is one point trained with one seed (and fold). A worker is given a `Cohort` of them
and answers with events: `Started`, `Measured`, `Reached` and `Ended`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lrsearch.errors import LrsearchError

Config = Mapping[str, Any]
"""A resolved training: {"data": {...}, "model": {...}, "train": {...}}, every default filled; of a
user's own {"command": text, "params": {...}}, with the patterns of its "metrics" where it has any,
or {"loop": class path, "params": {...}}."""

Point = Mapping[str, Any]
"""One value for every searched parameter, by its dotted path; a choice between mappings holds
the whole mapping, the values of its own searched parameters filled in."""


class Outcome(StrEnum):
    """How a trial ended. An interrupted trial has none and is trained again."""

    COMPLETED = "completed"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    FAILED = "failed"


class Verdict(StrEnum):
    """The tuner's answer to a trial that waits at a rung."""

    GO_ON = "go_on"
    STOP = "stop"


@dataclass(frozen=True)
class Objective:
    """What is compared: a validation metric, its goal (`max` or `min`), at `last` or `best`."""

    metric: str
    goal: str
    at: str = "last"

    def better(self, left: float, right: float) -> bool:
        """Whether `left` is strictly better than `right`."""
        return left > right if self.goal == "max" else left < right


@dataclass(frozen=True)
class Trial:
    """One training job. `number` is its place in the run, `key` says what it measures."""

    number: int
    key: str
    config: Config
    seed: int
    fold: int | None = None


@dataclass(frozen=True)
class Plan:
    """How a structure's trials are run: by `solo`, one after the other, or by `fused`, up to
    `lanes` of them side by side in one program. `reason` says why, in words for the user. One that
    is not `lasting` holds for the trials at hand alone: those that come later are asked anew."""

    engine: str = "solo"
    lanes: int = 1
    reason: str = ""
    lasting: bool = True


@dataclass(frozen=True)
class Workplace:
    """Where trials run: the device, the spec's folder, the top-level modules a spec may import."""

    device: str = "auto"
    folder: str = "."
    allowed: tuple[str, ...] = ()


ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""The environment of a process that trains. Processes share the cores by their number; threads
inside each would only compete."""


@dataclass(frozen=True)
class Cohort:
    """Trials of one structure for one worker.

    `rungs` are the steps at which a trial waits for a verdict. Weights of a completed trial
    come back only when its objective is at least as good as `bar` (None: always). `data_hash` and
    `source_hashes` are the run's, as in `Facts`: a worker that finds others must not train.
    `timeout` are the seconds that a trial may take; `run` (its name) is for a user's own training.
    `save` are the seconds between two saved states of a trial, None for never; `states` has, by the
    number of a trial, the file of the state that it goes on from.
    """

    trials: tuple[Trial, ...]
    plan: Plan
    workplace: Workplace
    objective: Objective
    bar: float | None = None
    rungs: tuple[int, ...] = ()
    data_hash: str = ""
    source_hashes: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    run: str = ""
    save: float | None = None
    states: Mapping[int, str] = field(default_factory=dict)


def describe_timeout(seconds: float) -> str:
    """Why a trial that took longer than these has failed."""
    allowed = "1 second" if seconds == 1 else f"{seconds:g} seconds"
    return f"it was not done after its timeout of {allowed}"


@dataclass(frozen=True)
class Probe:
    """A question for a worker: how are the trials of this structure best run?

    `trials` are the first of them (at least one), `share` how many one worker has to train at
    once, `expected` how many, about, in the whole search (at least `share`).
    `engine` is auto, or fused: then speed does not decide, only whether it can be done. `lanes`
    fixes their number. The hashes are as in `Cohort`.
    """

    trials: tuple[Trial, ...]
    share: int
    engine: str
    lanes: int | None
    workplace: Workplace
    expected: int = 0
    data_hash: str = ""
    source_hashes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sweep:
    """A range test for a worker: trainings whose rate rises from the first of `rates` to the last,
    `steps` steps at each.

    `trials` are one a seed, all of one structure; their own rates, schedules and budgets play no
    part. `engine` is auto or fused, to train them side by side, at most `lanes` (None: all) in a
    program, where that can be done, or solo. The hashes are as in `Cohort`.
    """

    trials: tuple[Trial, ...]
    rates: tuple[float, ...]
    steps: int
    engine: str
    lanes: int | None
    workplace: Workplace
    data_hash: str = ""
    source_hashes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Swept:
    """A worker's answer to a `Sweep`: the rates that were tried, and for each seed the mean
    training loss of the steps at each of them, not finite from where it was lost on. `reason` says
    why it trained solo, "" where it did not; `fault` why it told nothing, as what the training
    raised, the losses being empty. `steps` and `epochs` are those of all seeds together."""

    lr: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    engine: str
    reason: str
    steps: int
    epochs: float
    seconds: float
    fault: str = ""


@dataclass(frozen=True)
class RangeTest:
    """What a range test came to: the searched values of its structure, flat, and its interval of
    rates, None where it gave none, for the reason in `refused`."""

    params: Mapping[str, Any]
    interval: tuple[float, float] | None
    refused: str = ""


@dataclass(frozen=True)
class Ranged:
    """A range of rates that range tests have found, from `low` to `high`: what they say together,
    widened by a factor of `margin` at either end. `name` says whose it is, in words."""

    name: str
    low: float
    high: float
    margin: float
    tests: tuple[RangeTest, ...]


@dataclass(frozen=True)
class Planned:
    """A worker's answer to a `Probe`. From a cohort: its plan did not hold (the lanes ran out of
    memory, say), and what is left of it goes on by this one. `figures` are what was measured:
    "solo" and "fused.<lanes>" in seconds per lane and step, "bytes.<lanes>" of memory, on CUDA
    "captured.<lanes>", 1 where a step is one launch."""

    plan: Plan
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """Metrics after `step` optimizer steps: every validation metric of the task by its name,
    `train_loss` (mean over the steps since the measurement before) and `lr` (of the last step)."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Result:
    """What a trial came to. `last` and `best` hold validation metrics, `best` each metric's own
    best over the evaluations, the step it was reached at in `best_step`. Of a metric that only the
    spec knows the direction of, `best` has both ends: `cost:min` and `cost:max`. `why` is why it
    trained solo, "" where it did not. Of a failed trial `traceback` is the traceback of its
    exception, of a command the end of its stderr; `output` is the end of what else it printed."""

    outcome: Outcome
    steps: int
    epochs: float
    seconds: float
    engine: str = "solo"
    last: Mapping[str, float] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)
    best_step: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""
    traceback: str = ""
    why: str = ""
    output: str = ""

    def value(self, objective: Objective) -> float | None:
        """The objective of a completed trial, None for any other."""
        if self.outcome is not Outcome.COMPLETED:
            return None
        metric = objective.metric
        if objective.at == "last":
            return self.last.get(metric)
        return self.best.get(f"{metric}:{objective.goal}", self.best.get(metric))


@dataclass(frozen=True)
class Started:
    """A worker begins a trial; what dies from here on is this trial's doing."""

    trial: int


@dataclass(frozen=True)
class Measured:
    """An evaluation of a trial. `steps` is the whole budget in steps, for progress; 0 where nobody
    knows it."""

    trial: int
    measurement: Measurement
    steps: int


@dataclass(frozen=True)
class Reached:
    """A trial waits at the rung of `step` steps for a verdict."""

    trial: int
    step: int


@dataclass(frozen=True)
class Saved:
    """What a trial is after `step` of its `steps` steps, trained by `engine`: the content of a file
    of `states`."""

    trial: int
    engine: str
    step: int
    steps: int
    content: bytes


@dataclass(frozen=True)
class Noted:
    """What the user is to know of a trial under way, worth a line."""

    trial: int
    text: str


@dataclass(frozen=True)
class Ended:
    """A trial is over. `curve` has a list per metric, all as long as `curve["step"]`; `weights`
    is a safetensors file's content, or None. `fault` is what ends the search with a failed trial,
    unless another has shown that its point was to blame."""

    trial: int
    result: Result
    curve: Mapping[str, list[float]]
    weights: bytes | None = None
    fault: LrsearchError | None = None


@dataclass(frozen=True)
class Facts:
    """What only loading the data and building the models can tell.

    `source_hashes` has the SHA-256 of the user code behind each class path the configs name, and
    by `path:` and its path of each file or folder that this code's `init_args` name, "" for none.
    `train_samples` and `validation_samples` have one entry a fold (one without folds);
    `input_shape` is one sample's; `outputs` is the number of classes, or of regression targets.
    `data` says in a sentence how the data were understood, `notes` are what else a user is to
    know of them. `passes` has the samples of a pass, and of a batch on average, of a loader with an
    order of its own, by the batch sizes looked at. `settled` has what the spec's `data` leave open
    until they are loaded (`spec.model.OPEN`). Of an own training these are empty.
    """

    task: str
    data_hash: str
    source_hashes: Mapping[str, str]
    train_samples: tuple[int, ...]
    validation_samples: tuple[int, ...]
    test_samples: int
    input_shape: tuple[int, ...]
    outputs: int
    device: str
    devices: tuple[str, ...]
    device_name: str
    versions: Mapping[str, str]
    parameters: int
    notes: tuple[str, ...] = ()
    passes: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    data: str = ""
    settled: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """A trial as a report sees it. `point` numbers the point it belongs to, `params` holds every
    value in which points of the run can differ, flat; `result` is None while it waits or runs."""

    trial: Trial
    point: int
    params: Mapping[str, Any]
    strategy: str
    result: Result | None


@dataclass(frozen=True)
class Proposal:
    """A point a strategy asked for and the trials that measure it, one a seed and fold.

    `index` counts the strategy's proposals from 0; trials may be older than the proposal.
    """

    strategy: str
    generation: int
    index: int
    point: Point
    trials: tuple[int, ...]


WORST_FIRST = (
    Outcome.FAILED,
    Outcome.OUT_OF_MEMORY,
    Outcome.DIVERGED,
    Outcome.PRUNED,
    Outcome.COMPLETED,
)
"""A point's outcome is the worst of its trials': a setting that diverges for one seed of three
is not one to recommend."""


def combine(
    results: Sequence[Result | None], objective: Objective
) -> tuple[Outcome | None, float | None]:
    """The outcome of a point, None while a trial has no result, and its objective: the mean over
    its trials when all completed."""
    known = [result for result in results if result is not None]
    if not known or len(known) < len(results):
        return None, None
    outcome = known[0].outcome
    if len(known) > 1:
        outcome = next(kind for kind in WORST_FIRST if any(part.outcome is kind for part in known))
    values = [part.value(objective) for part in known]
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    if outcome is not Outcome.COMPLETED or len(numbers) < len(values):
        return outcome, None
    return outcome, math.fsum(numbers) / len(numbers)
