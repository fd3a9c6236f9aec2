"""Checks between parts of a spec: metric, losses, lengths and models against the data."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

from lrsearch import catalogue
from lrsearch.duration import budget_steps, warmup_steps
from lrsearch.duration import find as find_durations
from lrsearch.duration import parse as parse_duration
from lrsearch.errors import suggest
from lrsearch.space import (
    Choice,
    Option,
    Space,
    corners,
    encode,
    ends,
    extremes,
    parameters,
    parse_name,
)
from lrsearch.spec.document import Path, as_mapping
from lrsearch.spec.foreign.lines import Line
from lrsearch.spec.model import Spec, resolve
from lrsearch.spec.reader import Reader
from lrsearch.spec.train import tell_measured
from lrsearch.trial import Point

RISING = ("one_cycle", "triangular", "triangular2", "exp_range")
"""Schedules that begin below the base rate."""


# checks of parts


def note_peaks(reader: Reader, train: Mapping[str, Any], space: Space) -> None:
    """Notes on schedules that rise by themselves, after a warmup."""
    ranges = dict(space.dimensions)
    warm = train.get("warmup") is not None or any(
        parse_name(path).head == "warmup" for path in ranges
    )
    rising = {
        str(part.get("name")): None
        for part in space.chosen("schedule", train.get("schedule"))
        if isinstance(part, Mapping) and part.get("name") in RISING
    }
    if warm:
        reader.notes += [
            f"{name} rises by itself: after a warmup it peaks a second time" for name in rising
        ]


def check_one_rate(reader: Reader, train: Mapping[str, Any], space: Space) -> None:
    """Prodigy estimates one size of steps for all parameters, and refuses several rates."""
    ranges = dict(space.dimensions)
    named = space.chosen("optimizer", train.get("optimizer"))
    if not any(isinstance(each, Mapping) and each.get("name") == "prodigy" for each in named):
        return
    message = "prodigy has one rate for all parameters"
    if "layer_decay" in ranges:
        reader.fault(reader.search_path("layer_decay"), message)
    elif train.get("layer_decay") is not None:
        reader.fault(("train", "layer_decay"), message)
    place: Path = reader.search_path("groups") if "groups" in ranges else ("train", "groups")
    rates = [
        part.get("lr", 1)
        for each in space.chosen("groups", train.get("groups"))
        if isinstance(each, list)
        for part in each
        if isinstance(part, Mapping)
    ]
    if any(rate not in (0, 1) for rate in rates):
        reader.fault(place, message, "a group's lr may be 0 there, or left out")


def check_step(
    reader: Reader, data: Mapping[str, Any], train: Mapping[str, Any], space: Space
) -> None:
    """A fault for transforms beside a step of the user's."""
    searched = "data.transforms" in dict(space.dimensions)
    if train.get("step") is None or not (data.get("transforms") or searched):
        return
    fixed = bool(data.get("transforms"))
    place = ("data", "transforms") if fixed else reader.search_path("data.transforms")
    reader.fault(place, "a step is given whole samples: it augments them itself")


def check_task(
    reader: Reader, data: Mapping[str, Any], train: Mapping[str, Any], metric: Any, space: Space
) -> None:
    """Metric and losses against the task, where the catalogue knows it."""
    source = catalogue.DATA.get(data.get("name", ""))
    task = data.get("task") or (source.task if source else None)
    if train.get("step") is not None:
        task = "own"
    if not isinstance(task, str) or task not in catalogue.TASKS:
        return  # It is not known, or told of already.
    for path, message, hint in task_faults(train, metric, space, task):
        if reader.sound(path):
            reader.fault(path, message, hint)


# lengths and models


def check_sizes(
    reader: Reader, data: Mapping[str, Any], train: Mapping[str, Any], space: Space
) -> None:
    """Warmups and batches against the budget and the data, where the catalogue knows them."""
    source = catalogue.DATA.get(data.get("name", ""))
    if source is None or source.samples is None or not reader.sound("data") or not train:
        return
    validation = data["validation"]
    folds = validation["folds"] if isinstance(validation, Mapping) else None
    if folds and folds > source.samples:
        message = f"{folds} folds of {source.samples} samples"
        path: Path = ("data", "validation", "folds")
        reader.fault(path, message, reader.hint(path, [Line(path, min(5, source.samples))]))
        return
    sizes, held_out, _ = catalogue.split_sizes(
        source.samples, folds or validation, data["test"] or 0.0
    )
    samples = min(sizes)
    if samples < 1 or held_out < 1:
        use = "train on" if samples < 1 else "validate with"
        message = f"of {source.samples} samples none is left to {use}"
        reader.fault(("data", "validation"), message)
        return
    ranges = dict(space.dimensions)
    batches: list[tuple[Path, Any]] = [(("train", "batch_size"), train["batch_size"])]
    if "batch_size" in ranges:
        place = reader.search_path("batch_size")
        searched = ranges["batch_size"]
        found = searched.options if isinstance(searched, Choice) else (Option(searched.high),)
        batches = [(place, option.value) for option in found]
    for place, batch in batches:
        if reader.sound(place) and batch > samples:
            message = f"a batch of {batch} is larger than the training set ({samples} samples)"
            most = 2 ** (samples.bit_length() - 1)
            fit: Any = most
            if isinstance(ranges.get("batch_size"), Choice):
                fit = [size for _, size in batches if size <= samples] or [most]
            span = ranges.get("batch_size")
            if span is not None and not isinstance(span, Choice):
                given = reader.document.data["search"]
                given = given.get("batch_size") if isinstance(given, Mapping) else None
                low = min(int(span.low), max(1, most // 8))
                fit = {**(given or {}), "min": low, "max": most}
            reader.fault(place, message, reader.hint(place, [Line(place, fit)]))


def check_schedules(reader: Reader, spec: Spec) -> None:
    """Warmups and the lengths of schedules against the budget, as far as the catalogue knows
    the data, or where all lengths are in units of the budget."""
    told: set[tuple[str, str]] = set()
    for point in extreme_points(spec.space):
        train = resolve(spec, point, spec.task)["train"]
        samples = min(spec.train_samples) if spec.train_samples else any_samples(train)
        if samples is None or train["batch_size"] > samples:
            continue
        found = _misfit(train, samples)
        if found is None:
            continue
        head, argument, message = found
        place = _argument_path(reader, spec.space, point, head, argument)
        key = ".".join(map(str, place)), message.partition(" ")[0]
        if key not in told:
            told.add(key)
            fitted = _fitted(train, samples, head, argument)
            hint = ""
            if fitted is not None and place[-1] == argument:
                whole = place == ("train", "warmup", "for") and place not in reader.document.lines
                line = Line(place[:2] if whole else place, fitted.value)
                hint = reader.hint(place, [line])
            given = as_mapping(reader.document.data.get("search")).get(str(place[-1]))
            if fitted is not None and not hint and isinstance(given, list):
                own = str(train[head][argument])
                left = [each for each in given if str(each) != own] or [fitted.value]
                hint = reader.hint(place, [Line(place, left)])
            reader.fault(place, message, hint)


def check_models(reader: Reader, spec: Spec) -> None:
    """Built-in models against the task, where the catalogue knows it, and their arguments
    against each other."""
    for point in _model_points(spec.space):
        model = resolve(spec, point, spec.task)["model"]
        if "class_path" in model:
            continue
        task = spec.data_task
        refusal = catalogue.model_refusal(model["name"], task) if task else None
        found = ("name", *refusal) if refusal else catalogue.model_fault(model)
        if found is None:
            continue
        argument, message, hint = found
        if argument == "width" and "model.width" not in dict(spec.space.dimensions):
            argument = "heads" if "model.heads" in dict(spec.space.dimensions) else argument
        place = _argument_path(reader, spec.space, point, "model", argument)
        if refusal and place == ("model", "name"):
            usual = "char_transformer" if task == "language" else "mlp"
            hint = f"{reader.hint(place, [Line(('model',), usual)])}; {hint}"
        if reader.sound(place):
            reader.fault(place, message, hint)


def check_images(reader: Reader, spec: Spec) -> None:
    """Faults for models and transforms that are for images alone, where the samples are rows of
    numbers. A stored spec has run: it says what was known then."""
    name = spec.data.get("name", "")
    source = catalogue.DATA.get(name)
    if reader.stored or source is None or not source.flat:
        return

    def refuse(place: Path, wrong: str, line: Line) -> None:
        if reader.sound(place):
            told = f"{wrong} is for images [channels, height, width]: samples of {name} are rows"
            reader.fault(place, f"{told} of numbers", reader.hint(place, [line]))

    for point in _model_points(spec.space):
        model = resolve(spec, point, spec.task)["model"].get("name", "")
        place = _argument_path(reader, spec.space, point, "model", "name")
        if model in catalogue.IMAGES_ALONE:
            refuse(place, model, Line(place[:-1], "mlp"))
    lists: list[tuple[Path, Any]] = [(("data", "transforms"), spec.data.get("transforms"))]
    chosen = dict(spec.space.dimensions).get("data.transforms")
    if isinstance(chosen, Choice):
        path = reader.search_path("data.transforms")
        lists += [((*path, at), option.value) for at, option in enumerate(chosen.options)]
    for path, parts in lists:
        raw = reduce(lambda tree, key: tree[key], path, reader.document.data) if parts else []
        names = [part.get("name") for part in parts or ()]
        left = [
            part
            for part, each in zip(raw, names, strict=True)
            if each not in catalogue.IMAGES_ALONE
        ]
        for at, each in enumerate(names):
            if each in catalogue.IMAGES_ALONE:
                refuse((*path, at), each, Line(path, left))


# points to check at


def _argument_path(
    reader: Reader, space: Space, point: Mapping[str, Any], head: str, name: str
) -> Path:
    """The place in the document of the argument `name` of a schedule, a warmup or a model at a
    point."""
    ranges = dict(space.dimensions)
    chosen = ranges.get(head)
    if isinstance(chosen, Choice):
        numbers = encode(space, point) or {}
        return (*reader.search_path(head), int(numbers.get(head, 0)), name)
    if f"{head}.{name}" in ranges:
        return reader.search_path(f"{head}.{name}")
    return (head, name) if head == "model" else ("train", head, name)


MOST_CORNERS = 4096
"""The most combinations of extremes that are checked, shared out over the schedules and warmups;
each gets at least `FEWEST_CORNERS`, as far as it has as many."""

FEWEST_CORNERS = 16


def extreme_points(space: Space) -> Iterator[Point]:
    """Points with every schedule and warmup, their arguments, batch sizes and budgets at their
    ends, in all combinations as far as those are not too many."""
    ranges = dict(space.dimensions)
    heads = ("schedule", "warmup", "batch_size", "budget")
    options = {
        name: ends(part) if isinstance(part := ranges.get(name), Choice) else [0]
        for name in ("schedule", "warmup")
    }
    most = max(FEWEST_CORNERS, MOST_CORNERS // math.prod(map(len, options.values())))
    for numbers in itertools.product(*options.values()):
        chosen = dict(zip(options, numbers, strict=True))
        axes: dict[str, list[float]] = {name: [number] for name, number in chosen.items()}
        for name, part in parameters(space):
            parts = parse_name(name)
            if parts.head not in heads or name in options:
                continue
            if parts.option is None or parts.option == chosen.get(parts.head):
                axes[name] = extremes(part)
        yield from corners(space, axes, most)


MAX_MODELS = 1000


def _model_points(space: Space) -> Iterator[Point]:
    """Points with every combination of the model's searched arguments, up to `MAX_MODELS`; for a
    range its ends, and one value between."""
    axes: dict[str, list[float]] = {}
    for name, part in parameters(space):
        if parse_name(name).head == "model":
            axes[name] = ends(part)
            if not isinstance(part, Choice):
                axes[name].append(min(part.low + 1, part.high))
    return corners(space, axes, MAX_MODELS)


def any_samples(train: Mapping[str, Any]) -> int | None:
    """A number of samples to measure lengths by where the data's is unknown: any will do while all
    lengths are in the budget's unit or shares of it. None where some are not."""
    units = {each.unit for each in find_durations((train["schedule"], train["warmup"]))}
    return (
        10_000 * train["batch_size"]
        if units <= {parse_duration(train["budget"]).unit, "dur"}
        else None
    )


def _misfit(train: Mapping[str, Any], samples: int) -> tuple[str, str, str] | None:
    """The misfit of a schedule or a warmup with its budget: which of both, the argument, the
    message."""
    size: dict[str, Any] = {"samples": samples, "batch_size": train["batch_size"]}
    budget = budget_steps(parse_duration(train["budget"]), **size)
    schedule = train["schedule"]
    warmup = train["warmup"]
    try:
        warmup_steps(warmup, budget=budget, **size)
    except ValueError as error:
        return "warmup", "for", str(error)
    if warmup is not None and warmup["shape"] == "exponential" and warmup["start"] == 0:
        return "warmup", "start", "an exponential warmup cannot start at 0"
    checked = any(find_durations(schedule)) or schedule.get("name") in ("cosine_restarts", "tanh")
    if "class_path" in schedule or not checked:
        return None
    import numpy as np

    from lrsearch.schedules import ScheduleError, multipliers

    try:
        multipliers(schedule, train["warmup"], budget=budget, steps=np.empty(0), **size)
    except ScheduleError as error:
        return "schedule", error.argument, str(error)
    return None


def _fitted(train: Mapping[str, Any], samples: int, head: str, argument: str) -> Line | None:
    """The line of a value with which a misfit argument of a schedule or a warmup fits: the given
    moments in their order, or else the usual value; None where neither does."""
    part = train[head]
    known: Mapping[str, Any] = catalogue.WARMUP if head == "warmup" else {}
    if head == "schedule" and part.get("name") in catalogue.SCHEDULES:
        known = catalogue.SCHEDULES[part["name"]].parameters
    given = part.get(argument)
    candidates: list[Any] = ["0.05dur"] if (head, argument) == ("warmup", "for") else []
    if argument in known and known[argument].default is not catalogue.REQUIRED:
        candidates.append(known[argument].default)
    if isinstance(given, list) and all(isinstance(each, str) for each in given):
        size = {"samples": samples, "batch_size": train["batch_size"]}
        budget = budget_steps(parse_duration(train["budget"]), **size)
        candidates.insert(
            0, sorted(given, key=lambda each: parse_duration(each).steps(**size, budget=budget))
        )
    for each in candidates:
        if _misfit({**train, head: {**part, argument: each}}, samples) is None:
            return Line((argument,), each)
    return None


# the task


def _hint_metric(metric: str, measured: Sequence[str], task: str) -> str:
    """A hint on what measures a task; of targets of the user's own kind nothing built in does."""
    meant = f"write objective: {measured[0]}" if measured else ""
    if task == "own":
        name = metric.rpartition(".")[2]
        meant = (
            "a function of yours of the outputs and targets measures more: write metrics: "
            f"{{{name}: my_package.{name}}} under train"
        )
    return suggest("", measured, meant)


def task_faults(
    train: Mapping[str, Any], metric: str | None, space: Space, task: str
) -> list[tuple[Path, str, str]]:
    """Faults of a spec's metrics, losses and label smoothing against its task: (path, message,
    hint) each. Called again after loading where only that can tell the task."""
    found: list[tuple[Path, str, str]] = []
    metrics = [name for name, (_, tasks, _) in catalogue.METRICS.items() if task in tasks]
    losses = [name for name, (tasks, _) in catalogue.LOSSES.items() if task in tasks]
    own = train.get("metrics") or ()
    found += [(("train", "metrics", each), *tell_measured(each)) for each in own if each in metrics]
    measured = [*metrics, *own]
    stepped = train.get("step") is not None
    if metric is not None and metric not in measured and not stepped:
        message = f"'{metric}' is no metric of {catalogue.title(task)}"
        found.append((("objective", "metric"), message, _hint_metric(metric, measured, task)))
    ranges = dict(space.dimensions)
    for loss in space.chosen("loss", train.get("loss")):
        place: Path = ("search" if "loss" in ranges else "train", "loss")
        if isinstance(loss, str) and loss not in losses:
            message = f"'{loss}' is no loss of {catalogue.title(task)}"
            meant = ""
            if (loss, task) == ("cross_entropy", "own"):
                meant = (
                    f"of a class at each place write {{class_path: {catalogue.CROSS_ENTROPY}}}, "
                    "for outputs [samples, classes, places]"
                )
            usual = f"write loss: {losses[0]} under train" if losses and not meant else meant
            found.append((place, message, suggest("", losses, usual)))
    schedules: list[tuple[Path, Any]] = [(("train", "schedule"), train.get("schedule"))]
    chosen = ranges.get("schedule")
    if isinstance(chosen, Choice):
        schedules = [
            (("search", "schedule", index), option.value)
            for index, option in enumerate(chosen.options)
        ]
    named: list[tuple[Path, Any]] = [
        ((*place, "metric"), schedule["metric"])
        for place, schedule in schedules
        if isinstance(schedule, Mapping) and "metric" in schedule
    ]
    searched_metrics: dict[Path, Any] = {
        ("search", "schedule.metric"): ranges.get("schedule.metric")
    }
    if isinstance(chosen, Choice):
        searched_metrics |= {
            ("search", "schedule", index, "metric"): dict(option.space.dimensions).get("metric")
            for index, option in enumerate(chosen.options)
        }
    for place, dimension in searched_metrics.items():
        if isinstance(dimension, Choice):
            named += [(place, option.value) for option in dimension.options]
    for place, name in named:
        if name not in measured and not (stepped and name not in catalogue.METRICS):
            message = f"'{name}' is no metric of {catalogue.title(task)}"
            hint = _hint_metric(name, measured, task).replace("write objective:", "write metric:")
            found.append((place, message, hint))
    coded = isinstance(train.get("loss"), Mapping)
    if (task in ("regression", "own") or coded) and (
        train.get("label_smoothing") or "label_smoothing" in ranges
    ):
        top = "search" if "label_smoothing" in ranges else "train"
        message = "label smoothing is for classification"
        if coded:
            message = "label smoothing is for the loss cross_entropy, not for one of your own"
        found.append(((top, "label_smoothing"), message, hint_smoothing(train.get("loss"))))
    return found


def hint_smoothing(loss: Any) -> str:
    """A hint on label smoothing, for a loss that smooths by itself and for others."""
    if isinstance(loss, Mapping) and loss["class_path"] == catalogue.CROSS_ENTROPY:
        return "write loss.init_args.label_smoothing"
    return "leave it out"
