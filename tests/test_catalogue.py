"""The catalogue names what is there: no more, no less, with the same arguments."""

import inspect

import pytest
import torch

from lrsearch import catalogue, schedules
from lrsearch.data import sources
from lrsearch.spec import read_spec
from lrsearch.spec.values import check_value
from lrsearch.train.batches import transforms
from lrsearch.train.models import activations, metrics
from lrsearch.train.models import built_in as models
from lrsearch.train.optimizers import registry as optimizers

FROM_DATA = {"in_features", "in_channels", "num_classes"}


def arguments(function, skip=()):
    return set(inspect.signature(function).parameters) - set(skip)


def test_same_names():
    assert set(catalogue.MODELS) == set(models.MODELS)
    assert set(catalogue.OPTIMIZERS) == set(optimizers.OPTIMIZERS)
    assert set(catalogue.LOSSES) == set(metrics.LOSSES)
    assert set(catalogue.TASKS) == {*metrics.SUMS, "own"}
    assert all(task in catalogue.METRICS[name][1] for task, name in catalogue.TASKS.items())
    assert set(catalogue.SCHEDULES) == set(schedules.FUNCTIONS)
    assert set(catalogue.DATA) == set(sources.SOURCES)
    assert set(catalogue.TRANSFORMS) == set(transforms.TRANSFORMS)
    assert set(catalogue.IMAGE_TRANSFORMS) < set(catalogue.TRANSFORMS)
    assert {task for tasks, _ in catalogue.LOSSES.values() for task in tasks} == set(
        catalogue.TASKS
    )


@pytest.mark.parametrize("name", catalogue.MODELS)
def test_models_take_the_parameters(name):
    entry = catalogue.MODELS[name].parameters
    assert arguments(models.MODELS[name], FROM_DATA) == set(entry)
    assert "activation" not in entry or set(entry["activation"].choices) == set(
        activations.ACTIVATIONS
    )


@pytest.mark.parametrize("name", catalogue.OPTIMIZERS)
def test_optimizers_take_the_parameters(name):
    """No more and no less: each of them reaches the optimizer, and no other is taken."""
    parameters = catalogue.OPTIMIZERS[name].parameters
    defaults = {key: part.default for key, part in parameters.items()}

    def build(**given):
        weights = [torch.nn.Parameter(torch.ones(3, 3)), torch.nn.Parameter(torch.ones(3))]
        made = optimizers.OPTIMIZERS[name].alone(weights, 0.1, **given)
        groups = [{**each, "params": len(each["params"])} for each in made.param_groups]
        return str((groups, made.defaults))

    for key, part in parameters.items():
        rest = defaults | ({"momentum": 0.5} if (name, key) == ("sgd", "nesterov") else {})
        if part.kind == "bool":
            other = not part.default
        elif part.choices:
            other = next(each for each in part.choices if each != part.default)
        else:
            other = next(each for each in OTHERS if fits(part, each) and each != part.default)
        assert build(**rest | {key: other}) != build(**rest), key
    with pytest.raises(TypeError):
        build(**defaults, other=1)


OTHERS = (7, 0.25, 1.5, -0.5)


def fits(part, value):
    try:
        check_value(part, value)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", catalogue.TRANSFORMS)
def test_transforms_take_the_parameters(name):
    function = transforms.TRANSFORMS[name]
    assert arguments(function, ("x",)) == set(catalogue.TRANSFORMS[name].parameters)


class Noted(dict):
    """A mapping that notes which of its keys were asked for."""

    def __init__(self, given):
        super().__init__(given)
        self.asked = set()

    def __getitem__(self, key):
        self.asked.add(key)
        return super().__getitem__(key)


@pytest.mark.parametrize("name", catalogue.OPTIMIZERS)
def test_optimizers_defaults_are_allowed(name):
    for parameter in catalogue.OPTIMIZERS[name].parameters.values():
        assert check_value(parameter, parameter.default) == parameter.default


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("nadam", "momentum_decay", -0.1),
        ("rmsprop", "alpha", 1.0),
        ("adadelta", "rho", 1.0),
        ("adagrad", "eps", 0.0),
        ("adafactor", "beta2_decay", 0.1),
        ("adafactor", "eps1", 1e-30),
        ("adafactor", "d", 0.5),
        ("lion", "beta1", 1.0),
        ("muon", "ns_steps", 100),
        ("muon", "ns_steps", 2.5),
        ("muon", "adjust_lr_fn", "none"),
    ],
)
def test_optimizers_refuse_nonsense(name, key, value):
    with pytest.raises(ValueError, match=r"takes|is not"):
        check_value(catalogue.OPTIMIZERS[name].parameters[key], value)


@pytest.mark.parametrize("name", catalogue.SCHEDULES)
def test_schedules_take_the_parameters(name):
    entry = catalogue.SCHEDULES[name].parameters
    if name == "plateau":  # The metric and its mode are for whoever feeds it.
        given = Noted({key: part.default for key, part in entry.items()})
        size = {"budget": 100, "samples": 10, "batch_size": 1}
        schedules.make_plateau(given, None, goal="min", evaluate="1ep", **size)
        assert given.asked | {"metric", "mode"} == set(entry)
        return
    assert arguments(schedules.FUNCTIONS[name], ("step", "total")) == set(entry)


def test_lengths_and_shapes_are_those_of_the_schedules():
    for name, entry in catalogue.SCHEDULES.items():
        kinds = ("duration", "durations", "points")
        lengths = tuple(key for key, part in entry.parameters.items() if part.kind in kinds)
        assert set(lengths) == set(schedules.LENGTHS.get(name, ()))
        assert all(key in entry.parameters for pair in entry.either for key in pair)
    assert set(catalogue.WARMUP["shape"].choices) == set(schedules.WARMUPS)


def searchable():
    tables = {"warmup": catalogue.WARMUP}
    tables |= {
        name: entry.parameters
        for group in catalogue.GROUPS.values()
        for name, entry in group.items()
    }
    for name, table in tables.items():
        for key, part in table.items():
            if part.search:
                yield pytest.param(name, key, part, id=f"{name}.{key}")


@pytest.mark.parametrize(("name", "key", "part"), list(searchable()))
def test_what_is_worth_searching_can_be_searched(name, key, part, tmp_path):
    owner = (
        "warmup"
        if name == "warmup"
        else next(group for group, table in catalogue.GROUPS.items() if name in table)
    )
    path = tmp_path / "spec.yaml"
    fixed = "warmup: 1ba" if name == "warmup" else f"{owner}: {name}"
    if owner == "schedule" and name == "piecewise":
        fixed = "schedule: {name: piecewise, points: [[0ba, 1]]}"
    path.write_text(
        f"data: digits\nmodel: mlp\ntrain: {{budget: 20ep, lr: 0.1, {fixed}}}\n"
        f"search: {{{owner}.{key}: {part.search}}}\n"
    )
    assert dict(read_spec(path).space.dimensions).keys() == {f"{owner}.{key}"}


@pytest.mark.parametrize("name", catalogue.DATA)
def test_sources_take_the_parameters_and_hold_what_is_said(name):
    source = catalogue.DATA[name]
    # What is done to what was read is the same for every source.
    common = {"samples", "shuffle", "task", "images"}
    wanted = set(source.parameters) - common
    if source.samples is None:
        assert arguments(sources.SOURCES[name], (*common, "validated")) == wanted
        return
    assert not wanted
    raw = sources.load({"name": name}, resolver=lambda path: None)
    assert (len(raw.x), raw.task, raw.held) == (source.samples, source.task, None)


def test_metrics_of_each_task_are_measured():
    by_task = {
        "classification": metrics.classification_metrics([1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        "regression": metrics.regression_metrics([1.0, 1.0], 1, [1.0], [1.0]),
        "language": metrics.language_metrics([1.0], 1),
    }
    for task, found in by_task.items():
        named = {name for name, (_, tasks, _) in catalogue.METRICS.items() if task in tasks}
        assert named == set(found) | {"loss"}
