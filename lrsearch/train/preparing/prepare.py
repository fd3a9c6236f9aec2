"""Facts that only loading the data and building the models can tell, found before anything
trains."""

from __future__ import annotations

import contextlib
import json
import math
import platform
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lrsearch import catalogue, pulse
from lrsearch.data import splitting, understood
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.parts import LABELS
from lrsearch.data.precision import LOST, tell_lost_targets
from lrsearch.data.raised import tell_raised
from lrsearch.data.raw import Raw
from lrsearch.data.tables import BCE, LABELS_OF, hint_loss, is_one_hot
from lrsearch.errors import DataError, LrsearchError, ModelError
from lrsearch.schedules import ScheduleError
from lrsearch.spec.commandline import as_text
from lrsearch.spec.cross_checks import hint_smoothing
from lrsearch.spec.model import METRICS_UNIT, argument_paths, class_paths, measures_scaled
from lrsearch.train.batches.batch import shape_of
from lrsearch.train.batches.resident import find_view, load_raw
from lrsearch.train.batches.streamed import measure_pass
from lrsearch.train.batches.transforms import check_transforms
from lrsearch.train.device import (
    available_devices,
    describe_device,
    find_device,
)
from lrsearch.train.engines.timetable import evaluation_steps, learning_rates
from lrsearch.train.jobs import Preparation
from lrsearch.train.optimizers.alone import import_package
from lrsearch.train.preparing.fitting import check_models, find_images, name_parts
from lrsearch.train.users.beside import find_missing
from lrsearch.train.users.contents import path_hashes
from lrsearch.train.users.importing import forget_imports, source_hashes
from lrsearch.train.users.isolation import isolated
from lrsearch.trial import Config, Facts, Workplace

__all__ = ["Preparation", "preload", "prepare"]


# the jobs


def prepare(payload: Preparation) -> Generator[Facts, Any, None]:
    """Check every config against its data and model; yields the run's Facts once.

    Raises DataError (data, batch sizes, durations or a loss that do not fit them), ModelError (a
    model that cannot be built or does not fit the data, an optimizer whose package is not
    installed, code that raises as every training begins), ImportRefused, or UsageError (the
    device). What a model's forward raises elsewhere is left to the trials.
    """
    forget_imports()  # A process may have seen another run, and the files as they were then.
    workplace = payload.workplace
    try:
        yield from isolated(_prepare(payload), torch.device("cpu"), workplace)
    except LrsearchError as error:
        missing = find_missing(error, workplace.folder, workplace.allowed)
        error.hint = "\n  ".join(filter(None, (missing, error.hint)))
        raise


def preload(payload: Preparation) -> Generator[None, Any, None]:
    """Import and load all that this process's first trial will need; yields nothing.

    The other workers do so while one of them prepares. Errors in the data are left to `prepare`.
    """
    yield from isolated(_preload(payload), torch.device("cpu"), payload.workplace)


def _preload(payload: Preparation) -> Generator[None, Any, None]:
    pulse.enter("loading the data")
    with contextlib.suppress(LrsearchError):
        load_raw(payload.configs[0]["data"], payload.workplace)
    yield from ()


def _prepare(payload: Preparation) -> Generator[Facts, Any, None]:
    workplace, configs = payload.workplace, payload.configs
    device = find_device(workplace.device)
    _check_optimizers(configs)
    pulse.enter("loading the data")
    before, _ = _read_files(configs, workplace)
    settled, begun = _settle(configs, workplace, payload.held)
    configs = tuple({**each, "data": {**each["data"], **settled}} for each in configs)
    raw, sizes = _check_data(configs, workplace)
    _check_transforms(configs, raw, workplace)
    pulse.enter("building the model")
    try:
        parameters, told = check_models(configs, raw, workplace, payload.metric)
    except ModelError as error:
        error.hint = "\n  ".join(filter(None, (error.hint, *begun)))
        raise
    files, unread = _read_files(configs, workplace)
    # Files that building models has changed, such as a log, are no source of the models.
    written = "your code writes to it"
    unread |= {name: written for name in files if before.get(name) != files[name]}
    train_samples, validation_samples, test_samples = sizes
    paths = {path for config in configs for path in class_paths(config)}
    yield Facts(
        task="own" if configs[0]["train"].get("step") is not None else raw.task,
        data_hash=raw.data_hash,
        source_hashes=source_hashes(paths, workplace)
        | _find_unit(raw, configs)
        | {name: "" if name in unread else each for name, each in files.items()},
        train_samples=train_samples,
        validation_samples=validation_samples,
        test_samples=test_samples,
        input_shape=shape_of(raw.x) or (),
        outputs=raw.outputs,
        device=str(device),
        devices=available_devices(),
        device_name=describe_device(device),
        versions={
            "torch": str(torch.__version__),  # Its own class would have the driver import torch.
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        parameters=parameters,
        passes=_measure_passes(raw, configs),
        notes=(
            *begun,
            *raw.notes,
            *_tell_lost(raw, configs),
            *_tell_scale(raw, configs),
            *_tell_labels(raw, configs),
            *map(_tell_unread, unread.items()),
            *told,
            *_tell_few(raw, configs[0], validation_samples, payload.metric),
            *_tell_common(raw, configs[0], payload.metric),
        ),
        data=understood.describe(
            raw,
            configs[0]["data"],
            validation_samples,
            test_samples,
            own=any(find_view(config["train"]) for config in configs),
        ),
        settled=settled,
    )


# facts


def _measure_passes(raw: Raw, configs: Iterable[Config]) -> dict[str, tuple[int, float]]:
    if not raw.streams or raw.streams[0].make is None:
        return {}
    found = {}
    for size in {config["train"]["batch_size"] for config in configs}:
        samples, mean = measure_pass(raw.streams[0], size)
        found[str(size)] = samples, float(mean)
    return found


def _settle(
    configs: Sequence[Config], workplace: Workplace, held: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Settle what the configs' `data` leave open: the part that validates, and whether numbers of
    two dimensions a sample are images of one channel. Settings that the run has `held` since it
    began win, with a note where they differ from those that would be found now."""
    given = configs[0]["data"]
    raw = load_raw(given, workplace)
    found: dict[str, Any] = {}
    if given["validation"] is None:
        found["validation"] = understood.find_validation(raw, given)
    if "images" in given and given["images"] is None and raw.images is not None:
        try:
            found["images"] = find_images(configs, raw, workplace)
        except ModelError:
            if "images" not in held:
                raise
            found["images"] = held["images"]
    # A part that no longer exists, or is to be the test now, is a difference of its own.
    kept = {name: held[name] for name in found if held.get(name, "source") != "source"}
    notes = [
        f"{name}: {as_text(each)} under data is what this run began with, and goes on with; a new "
        f"one, such as by --fresh, begins with {name}: {as_text(found[name])}"
        for name, each in kept.items()
        if each != found[name]
    ]
    return {**found, **kept}, notes


def _tell_lost(raw: Raw, configs: Iterable[Config]) -> list[str]:
    """Inputs that lose digits as they become float32, where their mean is not subtracted first."""
    plain = any(not each["data"]["standardize"] for each in configs)
    notes = []
    if raw.lost and plain:
        shown = ", ".join(raw.lost[:8]) + (f" and {len(raw.lost) - 8} more" * (len(raw.lost) > 8))
        remedy = "standardize: true takes their mean off first"
        if not isinstance(raw.x, np.ndarray):
            remedy = "have your function take their mean off"
        notes.append(f"{LOST}: {shown}; {remedy}")
    if raw.task == "regression" and any(find_view(each["train"]) for each in configs):
        notes += tell_lost_targets("the targets", raw.y)
    return notes


_BARE = ("logistic", "mlp", "cnn")
"""Built-in models that bring their inputs to no scale."""


def _tell_scale(raw: Raw, configs: Sequence[Config]) -> list[str]:
    """A sentence on inputs of a large scale, which usual rates diverge on."""
    x = raw.x
    plain = [each["model"] for each in configs if not each["data"]["standardize"]]
    bare = any(model.get("name") in _BARE for model in plain)
    own = any("class_path" in model for model in plain)
    if not (bare or own) or raw.lost or not isinstance(x, np.ndarray):
        return []
    if x.dtype != np.float32 or not x.size:
        return []
    most = max(float(x.max()), -float(x.min()))
    if most <= LARGE:
        return []
    told = f"the inputs are as large as {most:,.6g} and trained on as they are"
    unless = "" if bare else ", unless the model does"
    return [f"{told}: standardize: true under data brings them to one scale{unless}"]


LARGE = 100.0
"""The largest input of which nothing is said."""


def _tell_labels(raw: Raw, configs: Iterable[Config]) -> list[str]:
    """A sentence on targets of several zeros and ones a sample, which are trained on as amounts."""
    y = raw.y
    if raw.task != "regression" or not isinstance(y, np.ndarray) or raw.outputs < 2:
        return []
    if is_one_hot(y) or not ((y == 0) | (y == 1)).all():
        return []
    if any(find_view(each["train"]) for each in configs):
        return []
    told = f"the targets are zeros and ones, taken as a regression of {raw.outputs} targets"
    return [f"{told}: {LABELS_OF}{BCE} under train"]


def _find_unit(raw: Raw, configs: Iterable[Config]) -> dict[str, str]:
    """The unit in which metrics of the user's get targets that are scaled."""
    scaled = raw.task == "regression" and not raw.streams
    return {METRICS_UNIT: "as given"} if scaled and any(map(measures_scaled, configs)) else {}


def _read_files(
    configs: Iterable[Config], workplace: Workplace
) -> tuple[dict[str, str], dict[str, str]]:
    """The hashes of files that `init_args` name by path, and the reasons why others are not
    read."""
    texts = {text for config in configs for text in argument_paths(config)}
    return path_hashes(texts, workplace.folder)


def _tell_unread(item: tuple[str, str]) -> str:
    name, why = item
    return (
        f"what is in '{name.removeprefix('path:')}', which the init_args name, is not part of "
        f"what measurements are known by: {why}"
    )


FEW = 100
"""The number of validation samples below which a note says that an accuracy is coarse."""


def _tell_few(raw: Raw, config: Config, validation: Sequence[int], metric: str | None) -> list[str]:
    """A note on differences where accuracy is a share of few samples. Its standard error is sqrt(p
    (1 - p) / n), at most 0.5 / sqrt(n); the folds of a point count together."""
    count = sum(validation)
    counted = raw.task == "classification" and config["train"].get("step") is None
    if not counted or metric not in (None, "accuracy", "f1") or count >= FEW:
        return []
    folds = f" in {len(validation)} folds" if len(validation) > 1 else ""
    error = 0.5 / math.sqrt(count)
    return [
        f"validation has {count} samples{folds}: accuracy moves in steps of {1 / count:.2g}, and "
        f"its standard error is up to {error:.2g} (0.5 / sqrt({count})): smaller differences "
        "mean nothing"
    ]


COMMON = 0.9
"""The share of one class from which a note says that an accuracy of that is nothing."""


def _tell_common(raw: Raw, config: Config, metric: str | None) -> list[str]:
    """A note on accuracy where nearly all samples are of one class."""
    y = raw.y
    counted = raw.task == "classification" and config["train"].get("step") is None
    if not counted or metric not in (None, "accuracy") or raw.streams or y is None:
        return []
    counts = np.bincount(y)
    share = counts.max() / len(y)
    if share < COMMON:
        return []
    label = raw.labels[int(np.argmax(counts))]
    return [
        f"class '{label}' is {share:.1%} of the samples, and so is the accuracy of saying nothing "
        "else: objective: f1 weighs classes alike"
    ]


# checks


def _check_optimizers(configs: Iterable[Config]) -> None:
    """Import the packages of optimizers that have one, even for trials in lanes: trials that fail
    there train alone."""
    for name in dict.fromkeys(config["train"]["optimizer"].get("name", "") for config in configs):
        if name in catalogue.OPTIMIZER_PACKAGES:
            import_package(name)


_Sizes = tuple[tuple[int, ...], tuple[int, ...], int]


def _check_data(configs: Iterable[Config], workplace: Workplace) -> tuple[Raw, _Sizes]:
    """The first config's data and split sizes; every config's training is checked against its own.

    A grid may hold thousands of configs, so each distinct part is looked at once.
    """
    first: tuple[Raw, _Sizes] | None = None
    seen: set[str] = set()
    splits: dict[str, tuple[Raw, _Sizes]] = {}
    for config in configs:
        pulse.beat()
        key = json.dumps(config["data"], sort_keys=True)
        if key not in splits:
            raw = load_raw(config["data"], workplace)
            splits[key] = raw, _split_sizes(raw, config["data"])
        raw, sizes = splits[key]
        first = first or (raw, sizes)
        if raw.data_hash != first[0].data_hash:
            raise DataError(
                f"{raw.name} and {first[0].name} hold different data; "
                "points of one run are measured on the same"
            )
        train = key + json.dumps({**config["train"], "lr": 1.0, "optimizer": None}, sort_keys=True)
        if train not in seen:
            seen.add(train)
            _check_training(config["train"], raw, min(sizes[0]), workplace)
    assert first is not None, "nothing to prepare"
    return first


def _split_sizes(raw: Raw, config: Mapping[str, Any]) -> _Sizes:
    train, validation, test = [], [], 0
    for fold in splitting.folds(config):
        splits = splitting.split(raw, config, fold)
        train.append(len(splits.train))
        validation.append(len(splits.validation))
        test = len(splits.test) if splits.test else 0
    return tuple(train), tuple(validation), test


def _check_transforms(configs: Iterable[Config], raw: Raw, workplace: Workplace) -> None:
    listed = {
        json.dumps(config["data"].get("transforms") or [], sort_keys=True): config["data"]
        for config in configs
    }
    for config in listed.values():
        if not config.get("transforms"):
            continue
        if not isinstance(raw.x, np.ndarray):
            raise DataError(
                f"transforms take one array of inputs, a sample of {raw.name} has "
                + name_parts(raw.x),
                where="data.transforms",
                hint="a step of your own (train.step) may augment them",
            )
        x = torch.from_numpy(np.ascontiguousarray(raw.x[:2]))
        check_transforms(config, x, raw.name, workplace)


def _allow(losses: Sequence[str], y: Any) -> str:
    whole = isinstance(y, np.ndarray) and y.dtype.kind != "f" and "mse" in losses
    return f"allowed: {', '.join(losses)}" + (", of floating-point numbers" if whole else "")


def _check_training(train: Mapping[str, Any], raw: Raw, samples: int, workplace: Workplace) -> None:
    if raw.streams and raw.streams[0].make is not None:  # Batches are as they come.
        try:
            samples, batch = measure_pass(raw.streams[0], train["batch_size"])
        except ModelError as error:
            error.where = error.where or raw.name
            raise
        train = {**train, "batch_size": batch}
    elif train["batch_size"] > samples:
        raise DataError(
            f"batch_size {train['batch_size']} is larger than the training set ({samples} samples)",
            where=raw.name,
            hint=f"write batch_size: {2 ** (samples.bit_length() - 1)} under train, or search no "
            f"larger one; or give more samples",
        )
    if raw.streams and raw.weight is not None and train.get("step") is None:
        raise DataError(
            "weights of samples that are loaded batch by batch have no mean before the end",
            where=raw.name,
            hint="a step of your own (train.step) may use them",
        )
    loss = train["loss"]
    if train.get("step") is None and raw.y is None:
        names = ", ".join(LABELS)
        mapped = f"of a mapping these are its {names}; " if isinstance(raw.x, dict) else ""
        raise DataError(
            "the samples have no targets",
            where=raw.name,
            hint=f"{mapped}a step of your own may do without: train.step",
        )
    if loss is None and train.get("step") is None and raw.task == "own":
        hint = "write train.loss (mse, or a class path) or train.step"
        meant = hint_loss(raw.y)
        raise DataError(
            "the targets are of your own kind, and no loss is named",
            where=raw.name,
            hint=f"{meant}; else {hint}" if meant else hint,
        )
    if isinstance(loss, str) and raw.task not in catalogue.LOSSES[loss][0]:
        allowed = [name for name, (tasks, _) in catalogue.LOSSES.items() if raw.task in tasks]
        tasks = " and ".join(map(catalogue.title, catalogue.LOSSES[loss][0]))
        raise DataError(
            f"the loss {loss} is for {tasks}, the data are for {catalogue.title(raw.task)}",
            where=raw.name,
            hint="; ".join(filter(None, (hint_loss(raw.y), _allow(allowed, raw.y)))),
        )
    if train["label_smoothing"] and raw.task in ("regression", "own"):
        message = f"label_smoothing needs classes; the data are for {catalogue.title(raw.task)}"
        raise DataError(message, where="train.label_smoothing", hint=hint_smoothing(loss))
    schedule = train["schedule"]
    name = catalogue.name_of(schedule)
    try:
        evaluation_steps(train, samples)
        with np.errstate(all="ignore"):
            rates = learning_rates(train, samples, workplace)
    except ScheduleError as error:
        key = (
            error.argument if error.argument.startswith("warmup") else f"schedule.{error.argument}"
        )
        raise DataError(str(error), where=f"train.{key}") from error
    except ValueError as error:
        raise DataError(str(error)) from error
    except any_but_interrupts(LrsearchError) as error:
        if "class_path" not in schedule:
            raise
        raise ModelError(f"it raised {tell_raised(error)}", where=name) from error
    if not np.isfinite(rates).all():
        raise DataError(f"the schedule {name} gives rates that are no numbers")
