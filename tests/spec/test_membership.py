"""Many configs held against a spec: a guess from the one before is the whole reading."""

import copy

import pytest
from keys import trial_key

from lrsearch.space import grid
from lrsearch.spec import model, read_spec
from lrsearch.spec.comparison import Membership, differences
from lrsearch.spec.model import canonical, identity, resolve

TEXT = """
name: many
data: {name: digits, standardize: true}
model: {name: mlp, hidden: [32]}
train: {budget: 5ep, warmup: {for: 0.05dur, shape: linear}}
search:
  lr: {min: 1e-4, max: 1.0, points: 4}
  batch_size: [16, 32]
  optimizer:
    - {name: sgd, momentum: {min: 0.0, max: 0.9, points: 2}}
    - {name: adamw, beta1: 0.8}
  schedule:
    - constant
    - {name: cosine, final: {min: 0.0, max: 0.5, points: 2}}
"""


IN_PART = """
name: many
data: {name: digits}
model: {name: mlp, hidden: [32]}
train: {budget: 5ep, optimizer: {name: sgd, nesterov: true}, warmup: {for: 0.1dur}}
search:
  model.dropout: [0.0, 0.1, 0.2]
  lr: {min: 1e-4, max: 1.0, points: 4}
  optimizer.momentum: {min: 0.1, max: 0.9, points: 3}
  warmup.for: [0.05dur, 0.1dur]
"""


def written(tmp_path, text=TEXT):
    path = tmp_path / "many.yaml"
    path.write_text(text)
    return read_spec(path)


@pytest.fixture
def spec(tmp_path):
    return written(tmp_path)


@pytest.fixture
def configs(spec):
    return points_of(spec)


def points_of(spec):
    return [resolve(spec, each, "classification") for level in grid(spec.space) for each in level]


def test_a_guess_is_what_reading_the_config_says(spec, configs):
    membership = Membership(spec, "classification")
    membership.read(configs[0])
    for config in configs:
        assert membership.guess(config) == (canonical(identity(config)), True)


@pytest.mark.parametrize("text", [TEXT, IN_PART])
def test_of_a_grid_one_config_is_read_whole(tmp_path, text, monkeypatch):
    spec, read = written(tmp_path, text), []
    configs = points_of(spec)

    def counted(config):
        read.append(config)
        return identity(config)

    monkeypatch.setattr("lrsearch.spec.comparison.identity", counted)
    membership = Membership(spec, "classification")
    read.clear()
    for config in configs:
        assert membership.guess(config) or membership.read(config)
    assert len(read) == 1
    for config in configs:
        assert membership.guess(config) == (canonical(identity(config)), True)
    assert len(configs) == 72


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.hidden", [64]),
        ("train.optimizer.nesterov", False),
        ("train.optimizer.extra", 1),
        ("train.optimizer", "sgd"),
        ("train.warmup.shape", "cosine"),
        ("train.warmup", None),
    ],
)
def test_what_is_searched_in_part_is_not_guessed_where_the_rest_differs(tmp_path, path, value):
    spec = written(tmp_path, IN_PART)
    membership = Membership(spec, "classification")
    first, *others = points_of(spec)
    membership.read(first)
    other = copy.deepcopy(others[-1])
    *way, last = path.split(".")
    place = other
    for name in way:
        place = place[name]
    place[last] = value
    assert membership.guess(other) is None
    # Nor is it from another that differs as well.
    text, belongs = membership.read(other)
    assert text == canonical(identity(other)) and membership.guess(first) is None
    assert belongs is not bool(differences(spec, other, "classification"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.validation", 0.25),
        ("model.hidden", [64]),
        ("train.budget", "6ep"),
        ("train.clip_norm", 1.0),
        ("train.layer_decay", 0.9),
        ("train.warmup", None),
        ("train.label_smoothing", 0.1),
    ],
)
def test_a_config_that_differs_elsewhere_is_not_guessed(spec, configs, path, value):
    membership = Membership(spec, "classification")
    membership.read(configs[0])
    other = copy.deepcopy(configs[1])
    part, name = path.split(".")
    other[part][name] = value
    assert membership.guess(other) is None
    assert membership.read(other) == (canonical(identity(other)), False)
    assert differences(spec, other, "classification")
    # What follows it is guessed from it, and does not belong either.
    next_one = copy.deepcopy(configs[5])
    next_one[part][name] = value
    assert membership.guess(next_one) == (canonical(identity(next_one)), False)


def test_a_key_more_or_less_in_train_is_not_guessed(spec, configs):
    membership = Membership(spec, "classification")
    membership.read(configs[0])
    more, less = copy.deepcopy(configs[1]), copy.deepcopy(configs[1])
    more["train"]["extra"] = 1
    del less["train"]["warmup"]
    assert membership.guess(more) is None and membership.guess(less) is None


def test_equal_values_written_in_another_way_have_another_key(spec, configs):
    """Of 1 and true a guess has the text of the first: the key of the trial tells them apart."""
    membership = Membership(spec, "classification")
    membership.read(configs[0])
    first, other = copy.deepcopy(configs[0]), copy.deepcopy(configs[0])
    first["train"]["batch_size"], other["train"]["batch_size"] = 1, True
    membership.guess(first)
    text, _ = membership.guess(other)
    rest = model.rest_of_key({}, 0, None)
    assert model.key_of_text(text, rest) != trial_key(other, {}, 0, None)
    assert membership.read(other)[0] == canonical(identity(other)) != text


@pytest.mark.parametrize("rate", [32.0, 1e22, 1e-7, 0.1 + 0.2, 5e-324, -0.0])
def test_numbers_are_guessed_as_they_are_written(spec, configs, rate):
    membership = Membership(spec, "classification")
    membership.read(configs[0])
    membership.guess(configs[0])
    other = copy.deepcopy(configs[0])
    other["train"]["lr"] = other["train"]["batch_size"] = rate
    other["train"]["schedule"] = {"name": "cosine", '\u00e4"': rate, "a": [1.0, {"b": rate}]}
    assert membership.guess(other)[0] == canonical(identity(other))


def test_a_text_of_the_user_s_that_is_the_mark_is_not_guessed(spec, configs):
    odd = copy.deepcopy(configs[0])
    odd["data"]["name"] = "\n"
    membership = Membership(spec, "classification")
    membership.read(odd)
    assert membership.guess(odd) is None
