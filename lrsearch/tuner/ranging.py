"""Range tests: the structures of a spec, and a sweep of each in a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lrsearch import pulse, sweeps
from lrsearch.executors.port import Died, Executor, Finished, Raised
from lrsearch.spec.model import Spec
from lrsearch.train.jobs import SWEEP
from lrsearch.trial import Config, Facts, Sweep, Swept, Trial, Workplace
from lrsearch.tuner.silence import Subject, Watch


@dataclass(frozen=True)
class Manner:
    """How range tests are made: the `rates`, the steps at each, the number of seeds, the engine and
    the lanes as in `trial.Sweep`."""

    rates: tuple[float, ...] = sweeps.make_rates()
    steps: int = sweeps.STEPS
    seeds: int = sweeps.SEEDS
    engine: str = "auto"
    lanes: int | None = None


def sweep_configs(
    spec: Spec,
    configs: Sequence[Config],
    manner: Manner,
    *,
    executor: Executor,
    facts: Facts,
    workplace: Workplace,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[int, Swept]]:
    """Make a range test of each config, in workers; yields its place among them and what came of
    it, as they end. What a lost worker had is the fault of an empty answer.

    Raises what a cohort raises for data or code that are not what the run began with.
    """
    fold = 0 if spec.folds else None
    places = {
        executor.submit(
            SWEEP,
            Sweep(
                tuple(Trial(0, "", config, spec.seed + at, fold) for at in range(manner.seeds)),
                manner.rates,
                manner.steps,
                manner.engine,
                manner.lanes,
                workplace,
                facts.data_hash,
                facts.source_hashes,
            ),
        ): place
        for place, config in enumerate(configs)
    }
    watch = Watch(executor, note, lambda heard: Subject(f"range test {places[heard.handle] + 1}"))
    answered: set[int] = set()
    while places:
        if pulse.asked():  # What has not ended is made again.
            raise KeyboardInterrupt
        for handle, event in watch.events():
            if isinstance(event, Swept):
                answered.add(handle)
                yield places[handle], event
            elif isinstance(event, Raised):
                raise event.cause
            elif isinstance(event, Died | Finished):
                place = places.pop(handle)
                if isinstance(event, Died) and handle not in answered:
                    fault = f"its worker was lost: {event.reason}"
                    yield place, Swept((), (), "solo", "", 0, 0.0, 0.0, fault)
