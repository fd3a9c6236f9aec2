"""Range tests: the structures of a spec, a sweep of each in a worker, what the journal keeps."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrsearch import catalogue, sweeps
from lrsearch.errors import UsageError
from lrsearch.executors.port import Died, Finished, Heard
from lrsearch.space import Choice, Dimension, Float, Space, parameters, parse_name, point_at
from lrsearch.spec.flattening import flatten
from lrsearch.spec.model import TRAINING_VERSION, Spec, identity, resolve
from lrsearch.store import Run
from lrsearch.terminal import short
from lrsearch.train.jobs import SWEEP
from lrsearch.trial import Config, Facts, Sweep, Swept, Trial
from lrsearch.tuner.ledger import content_of
from lrsearch.tuner.loop_ranging import sweep_loops
from lrsearch.tuner.notes import RANGE, stored_tests
from lrsearch.tuner.session import Means
from lrsearch.tuner.silence import Subject, Watch

IDLE = ("lr", "schedule", "warmup", "budget", "evaluate")
"""The keys of `train` that play no part in a range test."""

LOOP_IDLE = ("lr", "schedule", "warmup")
"""The parameters of a loop that play none, since they make up what `trial.lr_at` gives. Whatever
else it has is its own, also what is named like a key of `train`."""

MOST = 64
"""Structures that are tested at once."""


@dataclass(frozen=True)
class Manner:
    """The settings of range tests: the `rates`, the steps at each, the number of seeds, the engine
    and the lanes as in `trial.Sweep`."""

    rates: tuple[float, ...] = sweeps.make_rates()
    steps: int = sweeps.STEPS
    seeds: int = sweeps.SEEDS
    engine: str = "auto"
    lanes: int | None = None


@dataclass(frozen=True)
class Structure:
    """A training of which a range test is made. `params` are its batch size, its optimizer and the
    searched values that tell it from the others of its spec, `beside` those of other searched
    numbers, each at its middle; both are flat. `config` is the training, at a constant rate."""

    params: Mapping[str, Any]
    beside: Mapping[str, Any]
    config: Config


# structures


def find_structures(spec: Spec, task: str | None) -> list[Structure]:
    """The structures of a spec: all combinations of what is searched and cannot differ between
    lanes. Of a range without points its ends and its middle stand for all.

    Raises UsageError for more than `MOST` of them.
    """
    found: dict[str, Structure] = {}
    for numbers in _combinations(spec, spec.space, ""):
        config = resolve(spec, point_at(spec.space, numbers), task)
        flat = flatten(spec.space, config)
        if spec.kind is None:
            train = config["train"]
            train |= {"schedule": {"name": "constant"}, "warmup": None}
            named = {"batch_size": train["batch_size"], "optimizer": find_optimizer(config)}
            flat = {**named, **flat}
        flat = {name: part for name, part in flat.items() if not is_idle(spec, name)}
        beside = {parse_name(name).path for name in numbers if is_numeric(spec, name)}
        found.setdefault(
            _dump(strip_config(config)),
            Structure(
                {name: value for name, value in flat.items() if name not in beside},
                {name: value for name, value in flat.items() if name in beside},
                config,
            ),
        )
        if len(found) > MOST:
            raise UsageError(
                f"the spec has more than {MOST} structures, each of which takes a range test",
                where=spec.source,
                hint="fix some of what is searched, such as --set train.batch_size=64",
            )
    return list(found.values())


def _combinations(spec: Spec, space: Space, prefix: str) -> Iterator[dict[str, float]]:
    """The raw numbers of each structure, by parameter id."""
    axes = [list(_axis(spec, prefix + path, part)) for path, part in space.dimensions]
    for parts in itertools.product(*axes):
        yield {name: raw for part in parts for name, raw in part.items()}


def _axis(spec: Spec, name: str, dimension: Dimension) -> Iterator[dict[str, float]]:
    if is_idle(spec, name) or is_numeric(spec, name):
        yield {name: _middle(dimension)}
    elif isinstance(dimension, Choice):
        for index, option in enumerate(dimension.options):
            for inner in _combinations(spec, option.space, f"{name}[{index}]."):
                yield {name: index, **inner}
    else:
        middle = Float(dimension.low, dimension.high, dimension.log).at(0.5)
        for raw in dimension.grid() or dict.fromkeys([dimension.low, middle, dimension.high]):
            yield {name: raw}


def _middle(dimension: Dimension) -> float:
    return len(dimension.options) // 2 if isinstance(dimension, Choice) else dimension.at(0.5)


def is_idle(spec: Spec, name: str) -> bool:
    """Whether a parameter, by its id, plays no part in a range test."""
    parts = parse_name(name)
    if spec.kind is not None:
        return parts.head in LOOP_IDLE
    return parts.head in IDLE or (parts.head, parts.argument) == ("optimizer", "lr")


def is_numeric(spec: Spec, name: str) -> bool:
    """Whether a parameter, by its id, may differ between lanes; of a loop's, whether it is a
    range."""
    parts = parse_name(name)
    if is_idle(spec, name):
        return False
    if spec.kind is not None:  # Nobody knows what they mean: of a list each may be a kind.
        return not isinstance(dict(parameters(spec.space))[name], Choice)
    if parts.head != "optimizer" or not parts.argument:
        known = catalogue.TRAIN.get(name)
        return known is not None and known.numeric
    chosen: Any = spec.train.get("optimizer")
    searched = dict(spec.space.dimensions).get("optimizer")
    if parts.option is not None and isinstance(searched, Choice):
        chosen = searched.options[parts.option].value
    kind = chosen.get("name") if isinstance(chosen, Mapping) else chosen
    entry = catalogue.OPTIMIZERS.get(kind) if isinstance(kind, str) else None
    argument = entry.parameters.get(parts.argument) if entry is not None else None
    return argument is not None and argument.numeric


def find_optimizer(config: Config) -> str:
    """The name of a config's optimizer, or its class path; "" of a loop's."""
    if "params" in config:
        return ""
    optimizer = config["train"]["optimizer"]
    return str(optimizer.get("name") or optimizer["class_path"])


def strip_config(config: Config) -> dict[str, Any]:
    """The part of a config that a range test depends on."""
    whole = identity(config)
    if "params" in config:
        given = whole["params"]
        return {**whole, "params": {name: given[name] for name in given if name not in LOOP_IDLE}}
    train = {name: part for name, part in whole["train"].items() if name not in IDLE}
    return {**whole, "train": train}


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def find_key(spec: Spec, config: Config, manner: Manner, facts: Facts) -> str:
    """SHA-256 (hex) of all that decides what a range test of a config measures."""
    content = content_of(facts).of(config)
    whole = [strip_config(config), content, spec.seed, manner.seeds, manner.rates, manner.steps]
    return hashlib.sha256(_dump([*whole, TRAINING_VERSION]).encode()).hexdigest()


# sweeps


def sweep_configs(
    spec: Spec,
    configs: Sequence[Config],
    manner: Manner,
    means: Means,
    hear: Callable[[int, float], None] = lambda _, __: None,
) -> Iterator[tuple[int, Swept]]:
    """Make a range test of each config, in workers; yields the config's place and the answer, as
    the tests end. Where a worker is lost the answer is empty, and its fault says so. `hear` is told
    the place of a test under way, and the share of it that is trained.

    Raises what a cohort raises for data or code that are not what the run began with.
    """
    fold = 0 if spec.folds else None
    places: dict[int, int] = {}
    steps: dict[int, int] = {}
    for place, config in enumerate(configs):
        trials = tuple(Trial(0, "", config, spec.seed + at, fold) for at in range(manner.seeds))
        payload = Sweep(
            trials,
            sweeps.cap_rates(manner.rates, find_optimizer(config)),
            manner.steps,
            manner.engine,
            manner.lanes,
            means.workplace,
            means.facts.data_hash,
            means.facts.source_hashes,
        )
        handle = means.executor.submit(SWEEP, payload)
        places[handle] = place
        steps[handle] = len(trials) * manner.steps * len(payload.rates)

    def tell(heard: Heard) -> None:
        if heard.activity and heard.handle in places:
            hear(places[heard.handle], min(1.0, heard.step / steps[heard.handle]))

    def describe(heard: Heard) -> Subject:
        return Subject(f"range test {places[heard.handle] + 1}")

    watch = Watch(means.executor, means.watcher.note, describe, tell)
    answered: set[int] = set()
    for handle, event in watch.follow({*places}):  # What has not ended is made again.
        if isinstance(event, Swept):
            answered.add(handle)
            yield places[handle], event
        elif isinstance(event, Died | Finished) and handle not in answered:
            reason = event.reason if isinstance(event, Died) else "it gave no answer"
            fault = f"its worker was lost: {reason}"
            yield places[handle], Swept((), (), "solo", "", 0, 0.0, 0.0, fault)


# what is kept


def make_note(key: str, structure: Structure, manner: Manner, swept: Swept) -> dict[str, Any]:
    """The body of a journal's note that holds a range test, whole."""
    return {
        "key": key,
        "params": structure.params,
        "beside": structure.beside,
        "cap": sweeps.CAPS.get(find_optimizer(structure.config)),
        "steps": manner.steps,
        "seeds": manner.seeds,
        "lr": swept.lr,
        "losses": swept.losses,
        "engine": swept.engine,
        "reason": swept.reason,
        "trained": swept.steps,
        "epochs": swept.epochs,
        "seconds": swept.seconds,
        "fault": swept.fault,
        "raised": swept.raised,
    }


def read_interval(body: Mapping[str, Any]) -> sweeps.Interval | sweeps.Refusal:
    """The interval of a range test, as the journal has it, or why it tells none."""
    if body["fault"]:
        return sweeps.Refusal(str(body["fault"]), "")
    losses = [[float(loss) for loss in each] for each in body["losses"]]
    return sweeps.find_interval([float(rate) for rate in body["lr"]], losses, body["cap"])


def _tell(found: sweeps.Interval | sweeps.Refusal) -> str:
    if isinstance(found, sweeps.Refusal):
        return f"no range: {found.reason}"
    return f"lr {short(found.low, 2)} to {short(found.high, 2)}"


def measure(
    spec: Spec, structures: Sequence[Structure], manner: Manner, run: Run, means: Means
) -> list[dict[str, Any]]:
    """The range tests of structures, as `make_note` has them: those that the run has already, made
    in the same manner, and the others anew. What has a fault is not kept, and made again the next
    time. Raises as `sweep_configs`."""
    watcher = means.watcher
    keys = [find_key(spec, each.config, manner, means.facts) for each in structures]
    known = stored_tests(run.history)
    missing = [at for at, key in enumerate(keys) if key not in known]
    found = {at: known[key] for at, key in enumerate(keys) if key in known}
    configs = [structures[at].config for at in missing]

    def params(index: int) -> dict[str, Any]:
        structure = structures[missing[index]]
        return {**structure.params, **structure.beside}

    def hear(index: int, share: float) -> None:
        watcher.sweeping(index + 1, params(index), share)

    if missing:
        watcher.sweeps(len(missing), means.executor.capacity)
    if spec.kind is None:
        sweeping = sweep_configs(spec, configs, manner, means, hear)
    else:
        ends = manner.rates[0], manner.rates[-1]
        numbers = itertools.count(run.history.next_number)
        trials = [
            [Trial(next(numbers), "", config, spec.seed + at) for at in range(manner.seeds)]
            for config in configs
        ]
        sweeping = sweep_loops(spec, trials, ends, means, hear)
    for index, swept in sweeping:
        at = missing[index]
        found[at] = body = make_note(keys[at], structures[at], manner, swept)
        watcher.swept(index + 1, params(index), _tell(read_interval(body)), swept.seconds)
        if not swept.fault:
            run.noted(RANGE, found[at])
    return [found[at] for at in range(len(keys))]
