"""The look at the test part: once, by the point that is recommended after fresh measurements.

Its model is the one that the exported spec trains: the spec's own split and first seed (and fold).
The run remembers the look: a second one, for another point, would make the test part one more
validation part.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from lrsearch.executors.port import Died
from lrsearch.spec.model import Spec, identity
from lrsearch.store import History
from lrsearch.train.jobs import TEST
from lrsearch.trial import Config, Ended, Looked, Measured, Outcome, Plan, Started, Tested, Trial
from lrsearch.tuner.dispatch import Dispatch
from lrsearch.tuner.ledger import Content, Entry
from lrsearch.tuner.notes import UNSEEN
from lrsearch.tuner.session import Session
from lrsearch.tuner.silence import Subject, Watch

_BESIDE = ("validation", "validation_seed", "standardize", "transforms")
"""Keys of `data` that do not decide which samples the test part has."""


def has_test(spec: Spec) -> bool:
    """Whether the data of a spec have a test part."""
    return spec.kind is None and spec.data.get("test") is not None


def part_of(config: Config, content: Content) -> str:
    """The test part that a config leaves out: 16 hex digits of the SHA-256 of what decides its
    samples."""
    data = {key: part for key, part in identity(config)["data"].items() if key not in _BESIDE}
    text = json.dumps([data, content.data.partition("+")[0]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_look(history: History, config: Config, content: Content) -> Tested | None:
    """The look at the test part that a config leaves out, None where there was none."""
    if "params" in config or config["data"].get("test") is None:
        return None
    part = part_of(config, content)
    return next((each for each in history.tested if each.part == part), None)


def look_at_test(session: Session, dispatch: Dispatch, entry: Entry) -> None:
    """Train a point once more, with the spec's own split and first seed, evaluate it on the test
    part and journal that. A training that does not complete is noted, and tried again the next
    time."""
    run, watcher, ledger = session.run, session.watcher, session.ledger
    seed, fold = ledger.wanted[0]
    key = ledger.key(entry, seed, fold)
    trial = Trial(run.history.next_number, key, entry.config, seed, fold)
    watcher.note(f"point {entry.number} looks at the test part, once")
    cohort = dispatch.cohort([trial], Plan())
    handle = session.executor.submit(TEST, replace(cohort, bar=None, save=None))
    subject = Subject(f"trial {trial.number}", timeout=cohort.timeout)
    watch = Watch(session.executor, watcher.note, lambda _: subject)
    params = ledger.flatten(entry.config)
    looked: Looked | None = None
    ended: Ended | None = None
    why = ""
    for _, event in watch.follow({handle}):
        if isinstance(event, Started):
            watcher.started(trial.number, params)
        elif isinstance(event, Measured):
            share = event.measurement.step / max(1, event.steps)
            value = event.measurement.metrics.get(session.objective.metric)
            watcher.measured(trial.number, share, value)
        elif isinstance(event, Looked):
            looked = event
        elif isinstance(event, Ended):
            ended, result = event, event.result
            if result.outcome is not Outcome.COMPLETED:
                why = result.reason or result.outcome.words
        elif isinstance(event, Died):
            cut = watch.cut.get(handle)
            why = cut.reason if cut is not None else f"its worker was lost: {event.reason}"
    spent = ended.result if ended is not None else None
    seconds = spent.seconds if spent is not None else 0.0
    if looked is None:
        cost = {"epochs": spent.epochs, "seconds": spent.seconds} if spent else {}
        run.noted(UNSEEN, {"number": trial.number, "epochs": 0.0, "seconds": 0.0, **cost})
        told = f"the test part was not looked at: {why or 'the training has no value'}"
        watcher.looked(trial.number, params, told, None, seconds)
        return
    run.tested(
        Tested(
            trial.number,
            entry.config,
            seed,
            fold,
            part_of(entry.config, ledger.content),
            looked.samples,
            looked.metrics,
            ended.result if ended is not None else None,
        ),
        ended.curve if ended is not None else None,
    )
    told = f"on the test part ({looked.samples:,} samples)"
    value = looked.metrics.get(session.objective.metric)
    watcher.looked(trial.number, params, told, value, seconds)
