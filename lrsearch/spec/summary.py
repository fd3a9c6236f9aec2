"""A spec read back in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lrsearch import catalogue
from lrsearch.duration import write_time
from lrsearch.space import (
    Choice,
    Dimension,
    Float,
    Int,
    Option,
    Space,
    ends,
    grid_size,
    parameters,
    parse_name,
    point_at,
    without_points,
)
from lrsearch.spec.model import (
    OPEN,
    BayesSettings,
    ConfirmSettings,
    Outside,
    RandomSettings,
    Spec,
    resolve,
    steps_of,
)
from lrsearch.spec.priors import describe_start
from lrsearch.spec.values import bare, show, write
from lrsearch.terminal import short


def first_point(space: Space) -> dict[str, object]:
    """The point of every lowest value and first option."""
    return point_at(space, {})


def describe_dimension(dimension: Dimension) -> str:
    """A searched parameter in words: `1e-4 to 1, log, 9 points`."""
    if isinstance(dimension, Choice):
        names = []
        for option in dimension.options:
            value = option.value
            if isinstance(value, dict):
                names.append(_name_option(option))
            elif _is_transforms(value):
                names.append(name_transforms(value))
            else:
                names.append(bare(value, listed=True) if isinstance(value, str) else show(value))
        return ", ".join(names)
    unit = getattr(dimension, "unit", "")
    if isinstance(dimension, Float) and dimension.auto:
        return f"found by a range test, log{_count_points(dimension)}"
    text = f"{short(dimension.low)}{unit} to {short(dimension.high)}{unit}"
    text += ", log" if dimension.log else ", linear"
    return text + _count_points(dimension)


def _name_option(option: Option) -> str:
    """A mapping in words: its name, what is given of it, and what is searched under it."""
    name = catalogue.name_of(option.value)
    given = {} if name is None else catalogue.arguments_of(option.value)
    told = [f"{key} {show(part)}" for key, part in given.items() if part != {}]
    inner = [path for path, _ in option.space.dimensions]
    told += [f"with its {', '.join(inner)}"] if inner else []
    shown = write(option.value) if name is None else str(name)
    return f"{shown} ({'; '.join(told)})" if told else shown


def _count_points(dimension: Float | Int) -> str:
    points = dimension.points
    return f", {points} point{'s' if points != 1 else ''}" if points else ""


def _is_transforms(value: object) -> bool:
    """Whether a searched value is a list of transforms; an entry of `groups` has neither key."""
    return isinstance(value, list) and all(
        isinstance(each, dict) and ("name" in each or "class_path" in each) for each in value
    )


def name_transforms(value: Sequence[Mapping[str, object]]) -> str:
    """`data.transforms` in a few words: `random_crop (padding 1) + flip (p 0.5)`."""
    parts = []
    for each in value:
        arguments = catalogue.arguments_of(each)
        inner = ", ".join(f"{key} {show(part)}" for key, part in arguments.items())
        name = str(catalogue.name_of(each))
        parts.append(f"{name} ({inner})" if inner and "init_args" not in each else name)
    return " + ".join(parts) or "none"


def count_steps(spec: Spec) -> str:
    """The steps that a trial takes, over the searched batch sizes and budgets."""
    samples = spec.train_samples
    if samples is None:
        return "the steps of a trial are known when the data load"
    config = resolve(spec, first_point(spec.space))
    variants = [config]
    for path, dimension in spec.space.dimensions:
        if path not in ("batch_size", "budget"):
            continue
        alone = Space(((path, dimension),))
        values = [point_at(alone, {path: raw})[path] for raw in ends(dimension)]
        variants = [
            {**variant, "train": {**variant["train"], path: value}}
            for variant in variants
            for value in values
        ]
    counts = [steps_of(variant, max(samples)) for variant in variants]
    low, high = min(counts), max(counts)
    many = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"a trial takes {many} steps"


def _describe_splits(spec: Spec) -> str:
    """The validation and test parts, as far as they are known before the data are loaded."""
    validation, test = spec.data["validation"], spec.data["test"]
    if validation is None:
        usual = _describe_share(OPEN["validation"])
        told = f"the data's own validation part if they bring one, else {usual}"
    elif isinstance(validation, Mapping):
        told = f"{validation['folds']} folds"
    else:
        told = _describe_share(validation)
        if spec.samples is not None:
            _, size, _ = catalogue.split_sizes(spec.samples, validation, test or 0.0)
            told += f", {size:,} of {spec.samples:,} samples"
    return f"Validation: {told}" + ("" if test is None else f"; test: {_describe_share(test)}")


def _describe_share(share: float | str) -> str:
    return "the data's own part" if share == "source" else f"a share of {share:g}"


def describe(spec: Spec, task: str | None = None) -> str:
    """The search of a spec and its cost, in a paragraph. `task` is the data's, where they have been
    loaded."""
    outside = spec.outside
    sentences = _describe_training(spec) if outside is None else [_describe_outside(spec, outside)]
    searched = [f"{path} ({describe_dimension(part)})" for path, part in spec.space.dimensions]
    if searched:
        sentences.append("It searches " + "; ".join(searched))
    else:
        sentences.append("It searches nothing: grid trains its one point")
    if spec.derived:
        follows = "; ".join(f"{name} = {each}" for name, each in spec.derived.items())
        sentences.append(f"From other parameters follow {follows}")
    missing = without_points(spec.space)
    if not missing:
        count = grid_size(spec.space)
        sentences.append(f"The grid has {count:,} point{'s' if count != 1 else ''}")
    else:
        have = "has" if len(missing) == 1 else "have"
        sentences.append(f"No grid: {', '.join(missing)} {have} no 'points'")
    per_point = spec.trials_per_point
    if per_point > 1:
        parts = [f"{spec.seeds} seeds" if spec.seeds > 1 else ""]
        parts.append(f"{spec.folds} folds" if spec.folds else "")
        sentences.append(f"A point is {per_point} trials ({' x '.join(filter(None, parts))})")
    sentences += (
        _describe_measure(spec, spec.task or task)
        if outside is None
        else _describe_reports(spec, outside)
    )
    # A spec whose grid is whole, and that says nothing of other strategies, is meant for a grid.
    if missing or (spec.random, spec.bayes) != (RandomSettings(), BayesSettings()):
        sentences += describe_start(spec)
    return ". ".join([*sentences, *describe_times(spec), *_describe_ends(spec)]) + "."


def _describe_ends(spec: Spec) -> list[str]:
    """Sentences on how trainings and a search end, and what follows it."""
    found = []
    if spec.prune["name"] == "none":
        found.append("No training ends early")
    elif spec.prune["name"] != catalogue.PRUNE:
        found.append(f"Trainings end early by {describe_rule(spec)}")
    if spec.patience is not None:
        many = "1 proposal" if spec.patience == 1 else f"{spec.patience} proposals"
        found.append(f"random and bayes end after {many} without an improvement beyond noise")
    if spec.refine is not None:
        many = "1 round" if spec.refine.rounds == 1 else f"{spec.refine.rounds} rounds"
        found.append(f"Up to {many} refine what a search has found")
    if spec.confirm is not None:
        found.append(describe_confirming(spec.confirm))
    return found


def describe_confirming(settings: ConfirmSettings) -> str:
    """The confirmation that follows a search, in a sentence."""
    best = "best" if settings.top == 1 else f"{settings.top} best"
    seeds = "1 fresh seed" if settings.seeds == 1 else f"up to {settings.seeds} fresh seeds"
    return f"Then the {best} and a control are measured again on {seeds}"


def describe_rule(spec: Spec) -> str:
    """The rule of early stopping with its arguments: `quarter (population 32)`."""
    given = {key: value for key, value in spec.prune.items() if key != "name" and value is not None}
    inner = ", ".join(f"{key} {show(value)}" for key, value in given.items())
    return f"{spec.prune['name']} ({inner})" if inner else str(spec.prune["name"])


def _describe_training(spec: Spec) -> list[str]:
    """Sentences on the model, its data and their parts."""
    data, model = catalogue.name_of(spec.data), catalogue.name_of(spec.model)
    budget = f", budget {spec.train['budget']} a trial"
    if "budget" in dict(spec.space.dimensions):
        budget = "; the budget of a trial is searched"
    sentences = [f"Run '{spec.name}' trains {model} on {data}{budget}"]
    sentences.append(_describe_splits(spec))
    if spec.data["transforms"] and "data.transforms" not in dict(spec.space.dimensions):
        sentences.append(f"Training batches go through {name_transforms(spec.data['transforms'])}")
    return sentences


def _describe_outside(spec: Spec, outside: Outside) -> str:
    """The training outside lrsearch, in a sentence."""
    does = {"command": "runs the command", "loop": "trains by the loop"}[outside.kind]
    return f"Run '{spec.name}' {does}: {' '.join(outside.text.split())}"


def _describe_measure(spec: Spec, task: str | None) -> list[str]:
    """Sentences on the steps of a trial, and on the metric that points are compared by."""
    steps = count_steps(spec)
    metric = spec.metric or (spec.objective(task).metric if task else None)
    compared = f"validation {metric}" if metric else "the task's usual metric on validation data"
    return [
        steps[0].upper() + steps[1:],
        f"Points are compared by {compared}, {spec.at} of the training",
    ]


def _describe_reports(spec: Spec, outside: Outside) -> list[str]:
    """Sentences on the reports of a training outside lrsearch, and on the metric that points are
    compared by."""
    sentences = []
    if outside.metrics:
        names = ", ".join(outside.metrics)
        sentences.append(f"What it prints is read by the patterns of {names}")
    good = {"min": "small", "max": "large"}[outside.goal]
    sentences.append(
        f"Points are compared by the {spec.metric} that it reports, {spec.at} of the training: "
        f"{good} is good"
    )
    if outside.verify:
        sentences.append(
            "The best is trained once more at the end, where that is cheap, to see whether the "
            "training repeats itself"
        )
    return sentences


def describe_times(spec: Spec) -> list[str]:
    """Sentences on how long a trial may take, and how often a training under way is saved."""
    found = []
    if spec.timeout is not None:
        found.append(
            f"A trial may take {write_time(spec.timeout)}: one that takes longer has failed"
        )
    if spec.save is None:
        found += ["No training is saved while it is under way"] if spec.kind is None else []
    else:
        often = f"every {write_time(spec.save)}" if spec.save else "at every evaluation"
        found.append(f"A training under way is saved {often}")
    return found


def schedule_points(space: Space, base: dict[str, object]) -> list[dict[str, object]]:
    """Points that differ from `base` in the schedule alone: each option of a searched schedule,
    at the lowest and the highest of its own ranges; `base` itself where none is searched."""
    axes = {
        name: ends(part)
        for name, part in parameters(space)
        if parse_name(name).head in ("schedule", "warmup")
    }
    if not axes:
        return [base]
    chosen = dict(space.dimensions).get("schedule")
    options = ends(chosen) if isinstance(chosen, Choice) else [0]
    found: list[dict[str, object]] = []
    for option in options:
        for end in (0, -1):
            numbers = {name: values[end] for name, values in axes.items()}
            point = point_at(space, {**numbers, "schedule": option})
            if point not in found:
                found.append(point)
    return found
