"""Trials and their results: frozen values that every room passes on.

A `Trial` is one point trained with one seed (and fold). A worker is given a `Cohort` of them and
answers with events: `Started`, `Measured`, `Reached` and `Ended`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Any

from lrsearch.errors import LrsearchError
from lrsearch.frozen import frozen

Config = Mapping[str, Any]
"""A resolved training: {"data": {...}, "model": {...}, "train": {...}}, every default filled; a
training outside lrsearch is {"command": text, "params": {...}}, with the patterns of its "metrics"
where it has any, or {"loop": class path, "params": {...}}."""

Point = Mapping[str, Any]
"""One value for every searched parameter, by its dotted path; a choice between mappings holds
the whole mapping, the values of its own searched parameters filled in."""


# trials and plans


class Outcome(StrEnum):
    """The end of a trial, as its result tells it. An interrupted trial has none and is trained
    again."""

    COMPLETED = "completed"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    FAILED = "failed"

    @property
    def words(self) -> str:
        """The outcome for users: `out of memory`."""
        return self.replace("_", " ")


class Verdict(StrEnum):
    """The tuner's answer to a trial that waits at a rung."""

    GO_ON = "go_on"
    STOP = "stop"


@frozen
class Objective:
    """The objective: a validation metric, its goal (`max` or `min`), at `last` or `best`."""

    metric: str
    goal: str
    at: str = "last"

    def better(self, left: float, right: float) -> bool:
        """Whether `left` is strictly better than `right`."""
        return left > right if self.goal == "max" else left < right


@frozen
class Trial:
    """One training job. `number` is its place in the run, `key` says what it measures."""

    number: int
    key: str
    config: Config
    seed: int
    fold: int | None = None


@frozen
class Plan:
    """A plan for a structure's trials: by `solo`, one after the other, or by `fused`, up to `lanes`
    side by side, for that `reason`. If not `lasting`, it is for the trials at hand alone.
    `smaller`: steps, summed over empty places, from which on a smaller program is worth making."""

    engine: str = "solo"
    lanes: int = 1
    reason: str = ""
    lasting: bool = True
    smaller: float = field(default=math.inf, compare=False)


@frozen
class Workplace:
    """A place where trials run: the device, the spec's folder, the top-level modules a spec may
    import."""

    device: str = "auto"
    folder: str = "."
    allowed: tuple[str, ...] = ()


ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""The environment of a process that trains. Processes share the cores by their number; threads
inside each would only compete."""


@frozen
class Cohort:
    """Trials of one structure for one worker. It must not train where it finds data or code of
    other hashes than the run's, see `Facts`."""

    trials: tuple[Trial, ...]
    plan: Plan
    workplace: Workplace
    objective: Objective
    bar: float | None = None
    """The objective from which on a completed trial's weights are sent back; None for any."""
    rungs: tuple[int, ...] = ()
    """The steps at which a trial waits for a verdict."""
    data_hash: str = ""
    source_hashes: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    """The most seconds of a trial."""
    run: str = ""
    """The run's name, for trainings outside lrsearch."""
    save: float | None = None
    """The seconds between two saved states of a trial, None for never."""
    states: Mapping[int, str] = field(default_factory=dict)
    """The files of the saved states that trials go on from, by the trial's number."""
    saved: Mapping[int, int] = field(default_factory=dict)
    """The steps of these states, where they are known."""
    judged: frozenset[int] = frozenset()
    """The numbers of the trials that end early where they make no progress."""
    share: bool = False
    """Whether steps that trials have in common are trained once."""


def describe_timeout(seconds: float) -> str:
    """The reason for the failure of a trial that took longer than this."""
    allowed = "1 second" if seconds == 1 else f"{seconds:g} seconds"
    return f"it was not done after its timeout of {allowed}"


@frozen
class Probe:
    """A question for a worker: how are the trials of this structure best run?

    `trials` are the first of them, at least one. A worker trains `share` trials at once, `later` of
    a later generation at most, and `expected` in the whole search. `engine` is auto; or fused,
    which is taken wherever it can be done. `lanes` fixes their number. The hashes are as in
    `Cohort`.
    """

    trials: tuple[Trial, ...]
    share: int
    engine: str
    lanes: int | None
    workplace: Workplace
    later: int = 0
    expected: int = 0
    data_hash: str = ""
    source_hashes: Mapping[str, str] = field(default_factory=dict)


@frozen
class Sweep:
    """A range test for a worker: trainings whose rate rises from the first of `rates` to the last,
    `steps` steps at each.

    `trials` are one a seed, all of one structure; their own rates, schedules and budgets play no
    part. A worker's pulse counts the steps of all of them. `engine` is auto or fused, to train them
    side by side, at most `lanes` (None: all) in a program, where that can be done, or solo. The
    hashes are as in `Cohort`.
    """

    trials: tuple[Trial, ...]
    rates: tuple[float, ...]
    steps: int
    engine: str
    lanes: int | None
    workplace: Workplace
    data_hash: str = ""
    source_hashes: Mapping[str, str] = field(default_factory=dict)


@frozen
class Swept:
    """A worker's answer to a `Sweep`: the rates that were tried, and for each seed the mean
    training loss at each of them, which is not finite once the training is lost.

    `reason` says why it trained solo, "" where it did not. `fault` says why there are no losses,
    such as the error of the training, `raised` which error ended a training that was lost already.
    `steps`, `epochs` and `seconds` are those of all seeds together."""

    lr: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    engine: str
    reason: str
    steps: int
    epochs: float
    seconds: float
    fault: str = ""
    raised: str = ""


@frozen
class RangeTest:
    """The result of a range test: the searched values of its structure, flat, and its interval of
    rates, None where it gave none, for the reason in `refused`."""

    params: Mapping[str, Any]
    interval: tuple[float, float] | None
    refused: str = ""


@frozen
class Ranged:
    """A range of rates that range tests have found, from `low` to `high`: what they say together,
    widened by a factor of `margin` at either end. `name` says whose it is, in words."""

    name: str
    low: float
    high: float
    margin: float
    tests: tuple[RangeTest, ...]


@frozen
class Planned:
    """A worker's answer to a `Probe`. A cohort sends one when its plan did not hold (lanes ran out
    of memory, say): the rest goes on by this plan. `figures`: "solo" and "fused.<lanes>" in seconds
    per lane and step, "bytes.<lanes>" of memory, "making.<lanes>" and "trying" in seconds,
    "smaller" as in `Plan`; on CUDA "captured.<lanes>", 1 where a step is one launch."""

    plan: Plan
    figures: Mapping[str, float] = field(default_factory=dict)


# measurements and events


@frozen
class Measurement:
    """Metrics after `step` optimizer steps: every validation metric of the task by its name,
    `train_loss` (mean over the steps since the measurement before) and `lr` (of the last step)."""

    step: int
    metrics: Mapping[str, float]


@frozen
class Records:
    """Single steps of a training, in order: equally long tuples, one entry a step.

    `step` is 1 for the first update; `loss` the training loss of its batch, before the update;
    `gradient_norm` the norm of its gradients, over all trained parameters and before any clipping;
    `update_ratio` the root mean square of what the update changed over that of the weights before
    it; `lr` its learning rate. Any of them but `step` and `lr` may be nan, where there is no such
    number, or not finite. `start` and `baseline` are the losses of `start.start_losses`, which
    `divergence.find_scale` takes; nan where they are not known."""

    step: tuple[int, ...] = ()
    loss: tuple[float, ...] = ()
    gradient_norm: tuple[float, ...] = ()
    update_ratio: tuple[float, ...] = ()
    lr: tuple[float, ...] = ()
    start: float = math.nan
    baseline: float = math.nan


RECORDED = tuple(name for name, value in vars(Records()).items() if isinstance(value, tuple))
"""The names of the tuples of `Records`."""


@frozen
class Diagnosis:
    """A verdict on a training, such as `too_slow`, `overfitting` or `healthy`: with the
    numbers that it rests on by their names, a confidence from 0.5 to 1, and a sentence of advice.
    See the room `diagnosis`."""

    verdict: str
    confidence: float
    evidence: Mapping[str, float]
    advice: str


@frozen
class Result:
    """The result of a trial."""

    outcome: Outcome
    steps: int
    epochs: float
    seconds: float
    engine: str = "solo"
    last: Mapping[str, float] = field(default_factory=dict)
    """The validation metrics at the last evaluation."""
    best: Mapping[str, float] = field(default_factory=dict)
    """Each metric's own best over the evaluations. A metric whose goal only the spec knows has both
    ends: `cost:min` and `cost:max`."""
    best_step: Mapping[str, int] = field(default_factory=dict)
    """The step of each of `best`."""
    reason: str = ""
    traceback: str = ""
    """The traceback of the error that a failed trial raised, or one that had diverged; or the end
    of a command's stderr."""
    why: str = ""
    """The reason why it trained solo, "" where it did not."""
    output: str = ""
    """The end of what a failed trial printed besides."""
    shared_epochs: float = 0.0
    """The epochs, of `epochs`, that another trial trained for both."""
    shared_seconds: float = 0.0
    verdicts: tuple[Diagnosis, ...] | None = None
    """The one or two verdicts of its diagnosis, () where there is too little to tell; None where it
    was never diagnosed, as in runs of older versions."""
    signs: Mapping[str, float] = field(default_factory=dict)
    """The numbers by which it is compared with other trials, see `diagnosis.read_signs`."""
    rule: str = ""
    """The rule that stopped a pruned trial."""
    whole: int = 0
    """The steps of a pruned trial's whole budget, 0 where that is not known."""

    @property
    def own_seconds(self) -> float:
        """The seconds that it was trained itself."""
        return self.seconds - self.shared_seconds

    @property
    def saved_epochs(self) -> float:
        """The epochs that pruning has saved; 0 where that is not known."""
        if self.outcome is not _PRUNED or not 0 < self.steps < self.whole:
            return 0.0
        return self.epochs * (self.whole / self.steps - 1)

    def value(self, objective: Objective) -> float | None:
        """The objective of a completed trial, None for any other."""
        if self.outcome is not _COMPLETED:
            return None
        metric = objective.metric
        if objective.at == "last":
            return self.last.get(metric)
        return self.best.get(f"{metric}:{objective.goal}", self.best.get(metric))


@frozen
class Started:
    """A worker begins a trial: a death from here on is this trial's doing."""

    trial: int


@frozen
class Measured:
    """An evaluation of a trial. `steps` is the whole budget in steps, for progress; 0 where it is
    not known. `records` are those since the evaluation before; a trial that goes on from a saved
    state sends all so far, some of which may have been told before."""

    trial: int
    measurement: Measurement
    steps: int
    records: Records = Records()


@frozen
class Reached:
    """A trial waits at the rung of `step` steps for a verdict. `value` is its objective, if it
    ended now; None where it has none."""

    trial: int
    step: int
    value: float | None = None


@frozen
class Ruling:
    """A verdict on a trial at a rung, as it is journaled: whether it stops, by which rule, and the
    reason in words."""

    stop: bool
    rule: str
    reason: str = ""


@frozen
class Saved:
    """A saved state of a trial after `step` of its `steps` steps, trained by `engine`: the content
    of a file of `states`."""

    trial: int
    engine: str
    step: int
    steps: int
    content: bytes


@frozen
class Noted:
    """A note for the user on a trial under way, worth a line."""

    trial: int
    text: str


@frozen
class Ended:
    """A trial is over. `curve` has a list per metric, all as long as `curve["step"]`; `weights` is
    a safetensors file's content, or None. `fault` is the error that ends the search with a failed
    trial, unless another trial has shown that its point was to blame. `records` are all of the
    training; a training of the user's own has none: it reports its steps in its curve."""

    trial: int
    result: Result
    curve: Mapping[str, list[float]]
    weights: bytes | None = None
    fault: LrsearchError | None = None
    records: Records = Records()


@frozen
class Looked:
    """The metrics of a trial's model on the test part, and the samples of that."""

    trial: int
    metrics: Mapping[str, float]
    samples: int


# facts and records


@frozen
class Facts:
    """Facts that only loading the data and building the models can tell. Those on data are empty
    for a training outside lrsearch."""

    task: str
    data_hash: str
    source_hashes: Mapping[str, str]
    """The SHA-256 of the user's code behind each class path; behind `path:` and a path that of a
    file or folder which the code's `init_args` name, "" where there is none; behind
    `spec.model.METRICS_UNIT` a unit."""
    train_samples: tuple[int, ...]
    """The samples of the training part, one entry a fold; one entry without folds."""
    validation_samples: tuple[int, ...]
    test_samples: int
    input_shape: tuple[int, ...]
    """The shape of one sample."""
    outputs: int
    """The number of classes, or of regression targets."""
    device: str
    devices: tuple[str, ...]
    device_name: str
    versions: Mapping[str, str]
    parameters: int
    notes: tuple[str, ...] = ()
    """Further sentences for the user."""
    passes: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    """The samples of a pass over a loader with an order of its own, and of a batch on average, by
    the batch size."""
    data: str = ""
    """A sentence on how the data were understood."""
    settled: Mapping[str, Any] = field(default_factory=dict)
    """The values of what the spec leaves open until the data are loaded (`spec.model.OPEN`)."""


@frozen
class Record:
    """A trial as a report shows it. `point` numbers the point it belongs to, `params` holds every
    value in which points of the run can differ, flat; `result` is None while it waits or runs."""

    trial: Trial
    point: int
    params: Mapping[str, Any]
    strategy: str
    result: Result | None

    @property
    def is_outside(self) -> bool:
        """Whether a command or a loop trained it, whose epochs are not known."""
        return "command" in self.trial.config or "loop" in self.trial.config

    @property
    def epochs(self) -> float | None:
        """The epochs trained, None where they are not known."""
        return None if self.result is None or self.is_outside else self.result.epochs


@frozen
class Proposal:
    """A point a strategy asked for and the trials that measure it, one a seed and fold.

    `index` counts the strategy's proposals from 0; trials may be older than the proposal.
    """

    strategy: str
    generation: int
    index: int
    point: Point
    trials: tuple[int, ...]


CONFIRM = "confirm"
"""The strategy of trials that measure points again, with fresh seeds: no strategy is told of
them."""


@frozen
class Confirming:
    """Points that are measured again. The first `finalists` of the `configs` are the points, best
    first; `control` is the place of the control among all configs (the last, where it is none of
    the points), None without one. `values` are what the search had measured, None where it had
    not. `seeds` are the fresh seeds; `fixed` says why they draw no splits of their own, "" where
    they do. `top` points were asked for. `search` is a digest of all that was measured by then.
    `outward` says that further points join where the best of these has the outermost rate, which
    runs of older versions do not have."""

    configs: tuple[Config, ...]
    finalists: int
    control: int | None
    values: tuple[float | None, ...]
    seeds: tuple[int, ...]
    fixed: str
    top: int
    search: str
    outward: bool = False


@frozen
class Tested:
    """A look at the test part, at the model that trial `number` trained: its metrics there.
    `samples` is the size of the part, `part` says which part of which data it is; `result` is that
    of the training, None in runs of older versions."""

    number: int
    config: Config
    seed: int
    fold: int | None
    part: str
    samples: int
    metrics: Mapping[str, float]
    result: Result | None = None


WORST_FIRST = (
    Outcome.FAILED,
    Outcome.OUT_OF_MEMORY,
    Outcome.DIVERGED,
    Outcome.PRUNED,
    Outcome.COMPLETED,
)
"""Outcomes, the worst first. A point's outcome is its trials' worst: a setting that diverges for
one seed of three is not one to recommend."""

_COMPLETED, _PRUNED = Outcome.COMPLETED, Outcome.PRUNED  # Python 3.11 is slow to find members.


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
    try:
        return outcome, math.fsum(numbers) / len(numbers)
    except OverflowError:  # Their sum alone is too large.
        return outcome, math.fsum(number / len(numbers) for number in numbers)
