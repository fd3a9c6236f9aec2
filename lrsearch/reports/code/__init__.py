"""The recommended setting as code for other programs: PyTorch, Lightning, Hugging Face, Keras.

Each text has the schedule as a function of the step, `multiplier`, whose rates are those that
lrsearch trains with at every step. What a target has no form of is refused, or named in a comment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from lrsearch.errors import UsageError
from lrsearch.reports.code.optimizer import untold, write_keras, write_torch
from lrsearch.reports.code.schedule import (
    Setting,
    find_plateau,
    imported_shape,
    number,
    write_multiplier,
)
from lrsearch.reports.text import format_value, one_line

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["TARGETS", "Setting", "write_code"]


def write_code(target: str, setting: Setting) -> str:
    """The code of a setting for one of `TARGETS`. Raises UsageError for what it has no form of."""
    head = [f"# {one_line(setting.title)}"]
    # The model whole, where it is known: what is searched of it is a part.
    model = [f"model: {format_value(setting.model)}"] if setting.model else []
    found = model + [
        f"{name}: {format_value(value)}"
        for name, value in setting.beside.items()
        if not (model and name.startswith("model."))
    ]
    left = [*found, *_left_out(setting.train, target), *_left_of_data(setting)]
    if left:
        head += ["# Not carried over:", *(f"#   {one_line(each)}" for each in left)]
    return "\n".join([*head, _render(target, setting)])


def _left_out(train: Mapping[str, Any], target: str) -> list[str]:
    """The parts of `train` that the code has none of, in words."""
    found = [
        f"{name}: {format_value(train[name])}"
        for name in ("label_smoothing", "layer_decay", "groups")
        if train.get(name)
    ]
    if train.get("weight_decay_on", "all") != "all":
        found.append(f"weight_decay_on: {train['weight_decay_on']}")
    if train.get("precision", "float32") != "float32":
        found.append(f"precision: {train['precision']}")
    optimizer = train["optimizer"]
    for name in ("loss", "step"):
        value = train.get(name)
        if value and value not in ("cross_entropy", "mse"):  # What everybody's training has.
            found.append(f"{name}: {format_value(value)}")
    if target == "keras" and not write_keras(optimizer):
        given = {key: value for key, value in optimizer.items() if key != "name"}
        found.append(f"optimizer: {_title(optimizer)} {format_value(given)}")
        if train.get("clip_norm") is not None:
            found.append(f"clip_norm: {number(train['clip_norm'])}")
    if target == "keras" and untold(optimizer):
        decay = format_value(optimizer["weight_decay"])
        found.append(f"weight_decay: {decay}, added to the gradient, where Keras's is decoupled")
    if str(optimizer.get("name")).startswith("schedule_free"):
        found.append("optimizer.train() before training, optimizer.eval() before evaluating")
    return found


def _left_of_data(setting: Setting) -> Iterator[str]:
    """The things that are done to the data before a step, in words: a rate is one for such data."""
    data = setting.data
    if setting.task == "regression" and not isinstance(setting.train.get("loss"), Mapping):
        yield "targets: less their mean, over their deviation, both of the training part"
    if data.get("missing"):
        way = {
            "mean": "gaps filled with the mean of the training part",
            "drop": "no rows with gaps",
        }
        yield f"missing: {way[data['missing']]}"
    if data.get("standardize"):
        yield "standardize: inputs less their mean, over their deviation, of the training part"
    for name in ("drop", "transforms"):
        if data.get(name):
            yield f"{name}: {format_value(data[name])}"


def _title(optimizer: Mapping[str, Any]) -> str:
    return one_line(str(optimizer.get("name") or optimizer.get("class_path")))


_NO_PLATEAU = {
    "huggingface": "a Trainer takes a schedule of the step, or torch's own plateau",
    "keras": "a LearningRateSchedule is a function of the step alone",
}
"""The reasons why a target has no form of a schedule that follows a metric."""


def _render(target: str, setting: Setting) -> str:
    """The lines of a target: its template, filled in."""
    if setting.follows and target in _NO_PLATEAU:
        raise UsageError(
            f"plateau follows a metric, and {_NO_PLATEAU[target]}",
            where="schedule",
            hint="--format pytorch and --format lightning have it",
        )
    optimizer, clip = setting.train["optimizer"], setting.train.get("clip_norm")
    keras = target == "keras"
    imports, call = ([], write_keras(optimizer)) if keras else write_torch(optimizer)
    imports = [*imports, *imported_shape(setting)]
    schedule = ["", "", *write_multiplier(setting)] if keras or setting.varies else []
    metric = setting.schedule.get("metric")
    return (
        _templates()
        .get_template(f"{target}.jinja")
        .render(
            setting=setting,
            train=setting.train,
            number=number,
            math=setting.follows or any("math." in line for line in schedule),
            imports=imports,
            schedule=schedule,
            plateau=find_plateau(setting) if setting.follows else None,
            call=call,
            title=_title(optimizer),
            arguments=format_value({key: each for key, each in optimizer.items() if key != "name"}),
            clip="" if clip is None else number(clip),
            metric=one_line(str(metric)) if metric else "",
            quoted=repr(str(metric or "val_loss"))[1:-1].replace('"', '\\"'),
        )
    )


@cache
def _templates() -> Environment:
    """The templates of the targets."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        loader=FunctionLoader(lambda name: (files(__name__) / name).read_text("utf-8")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


TARGETS = ("pytorch", "lightning", "huggingface", "keras")
"""The targets, each with a template of its name."""
