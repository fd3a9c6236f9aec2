"""Preparing a search: facts that must be known, and errors that can be found, before the first
trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lrsearch.errors import Fault, SpecError, WorkerLost
from lrsearch.executors.port import Died, Executor
from lrsearch.space import corners, ends, parameters, parse_name, point_at
from lrsearch.spec.commandline import check_program
from lrsearch.spec.cross_checks import task_faults
from lrsearch.spec.model import Spec, resolve
from lrsearch.train.jobs import PRELOAD, Preparation, find_jobs
from lrsearch.trial import Facts, Workplace
from lrsearch.tuner.silence import Subject, Watch

MAX_COMBINATIONS = 1000


def representatives(spec: Spec) -> list[dict[str, Any]]:
    """Configs that show every option and both ends of every range once, the rest at its first or
    lowest value: their number is the sum of the options, not the product. Parameters that decide
    the length of a training are combined, up to `MAX_COMBINATIONS`: a warmup that fits one budget
    may not fit another."""
    axes = {name: ends(part) for name, part in parameters(spec.space)}
    points = [point_at(spec.space, {name: raw}) for name, axis in axes.items() for raw in axis]
    timing = {name: axis for name, axis in axes.items() if parse_name(name).head in _TIMING}
    points += corners(spec.space, timing, MAX_COMBINATIONS)
    return [resolve(spec, point, spec.task) for point in points]


_TIMING = ("budget", "batch_size", "warmup", "evaluate")


def prepare(
    spec: Spec,
    executor: Executor,
    workplace: Workplace,
    *,
    trials: int = 1,
    held: Mapping[str, Any] | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Facts:
    """Load the data and build every model of the spec, in a worker; as many other workers as
    `trials` will keep busy load their modules and data meanwhile. `held` are the run's earlier
    settings, see `ledger.find_settled`; `note` takes lines for the user meanwhile.

    The job of a lost worker is given to another, once. Of a training outside lrsearch only the
    command, or the loop, is looked at. Raises WorkerLost where the second worker is lost, too;
    DataError, ModelError, ImportRefused or UsageError for a spec that cannot be trained at all;
    SpecError where the spec asks for metrics or losses that the data's task lacks.
    """
    payload = Preparation(tuple(representatives(spec)), workplace, spec.metric, held or {})
    if spec.kind == "command":
        for config in payload.configs:
            check_program(config, workplace.folder, f"{spec.source}: command")
    jobs = [find_jobs(spec.kind).prepare]
    jobs += [PRELOAD] * (min(executor.capacity, trials) - 1 if spec.kind is None else 0)
    names = {executor.submit(job, payload): job for job in jobs}
    waiting, again = {*names}, set[int]()
    doing = f"looks at the {spec.kind}" if spec.kind else "loads the data and builds the model"
    watch = Watch(executor, note, lambda _: Subject(f"the worker that {doing}"))
    facts: Facts | None = None
    for owner, event in watch.follow(waiting):
        if isinstance(event, Facts):
            facts = event
        elif isinstance(event, Died):
            if owner in again:
                following = "the same command tries again, and nothing is lost"
                raise WorkerLost(
                    f"the worker that {doing} was lost, and so was the one after it: "
                    f"{event.reason}",
                    where=spec.source,
                    hint="\n".join(filter(None, (event.output, following))),
                )
            note(f"the worker that {doing} was lost: {event.reason}: another one begins again")
            another = executor.submit(names[owner], payload)
            waiting.add(another)
            again.add(another)
    if facts is None:
        raise RuntimeError("prepare ended without facts")
    if spec.kind is None:
        check_task(spec, facts.task)
    return facts


def check_task(spec: Spec, task: str) -> None:
    """Raises SpecError for parts of the spec that belong to another task than the data's."""
    faults = [
        Fault(0, ".".join(map(str, path)), message, spec.source, hint)
        for path, message, hint in task_faults(spec.train, spec.metric, spec.space, task)
    ]
    if faults:
        raise SpecError(faults)
