"""The recommended setting as code for other programs: PyTorch, Lightning, Hugging Face, Keras.

Each text has the schedule as a function of the step, `multiplier`, whose rates are those that
lrsearch trains with at every step. What a target has no form of is refused, or named in a comment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lrsearch.errors import UsageError
from lrsearch.reports.code.optimizer import untold, write_keras, write_torch
from lrsearch.reports.code.schedule import (
    Setting,
    imported_shape,
    number,
    write_multiplier,
    write_plateau,
)
from lrsearch.reports.text import format_value, one_line

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
    return "\n".join([*head, *TARGETS[target](setting)]) + "\n"


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
    if data.get("standardize"):
        yield "standardize: inputs less their mean, over their deviation, of the training part"
    if data.get("transforms"):
        yield f"transforms: {format_value(data['transforms'])}"


def _title(optimizer: Mapping[str, Any]) -> str:
    return one_line(str(optimizer.get("name") or optimizer.get("class_path")))


def _constants(setting: Setting) -> list[str]:
    train = setting.train
    lines = [
        f"LR = {number(train['lr'])}",
        f"BATCH_SIZE = {train['batch_size']}",
        f"STEPS = {setting.budget}  # updates of the optimizer, on {setting.samples} samples",
    ]
    lines += [f"WARMUP = {setting.warmup}"] if setting.warmup else []
    if setting.follows:
        interval = number(setting.interval)
        lines.append(f"EVERY = {interval}  # steps between two evaluations, rounded one by one")
        lines.append("EVALUATIONS = {round(k * EVERY) for k in range(1, int(STEPS / EVERY) + 2)}")
    return lines


def _schedule(setting: Setting) -> list[str]:
    if not setting.varies:
        return []
    plateau = ["", "", *write_plateau(setting)] if setting.follows else []
    return ["", "", *write_multiplier(setting), *plateau]


def _imports(*groups: list[str]) -> list[str]:
    lines = dict.fromkeys(line for group in groups for line in group)
    plain = [line for line in lines if line == "import math"]
    others = [line for line in lines if line not in plain]
    return [*plain, *([""] if plain and others else []), *others]


def _join(
    setting: Setting, imports: list[str], schedule: list[str], *blocks: list[str]
) -> list[str]:
    """The lines of a file: its imports, the constants, the schedule and further blocks."""
    math = ["import math"] if any("math." in line for line in schedule) else []
    lines = [*_imports(math, imports), "", *_constants(setting), *schedule]
    for block in blocks:
        lines += ["", "", *block]
    return lines


def _configure(setting: Setting) -> tuple[list[str], list[str]]:
    """The imports and the lines of `configure(model)`, which makes the optimizer and what sets its
    rate at every step."""
    optimizer = setting.train["optimizer"]
    more, call = write_torch(optimizer)
    made = [f"    optimizer = {call}"]
    if not call:
        name = _title(optimizer)
        arguments = {key: value for key, value in optimizer.items() if key != "name"}
        made = [
            f"    # {name} is no class of torch.optim that takes all parameters; its settings are",
            f"    # {format_value(arguments)}: put yours here.",
            "    optimizer = torch.optim.SGD(parameters, lr=LR)",
        ]
    lines = [
        "def configure(model):",
        '    """The optimizer, and its schedule: call scheduler.step() after every update."""',
        "    parameters = model.parameters()",
        *made,
    ]
    if setting.follows:
        lines += [
            "    plateau = Plateau()",
            "    scheduler = torch.optim.lr_scheduler.LambdaLR(",
            "        optimizer, lambda step: multiplier(step) * plateau.scale",
            "    )",
            "    return optimizer, scheduler, plateau",
        ]
    elif setting.varies:
        lines += [
            "    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)",
            "    return optimizer, scheduler",
        ]
    else:
        lines += [
            "    return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)"
        ]
    return ["import torch", *more, *imported_shape(setting)], lines


def _pytorch(setting: Setting) -> list[str]:
    imports, configure = _configure(setting)
    made = "optimizer, scheduler, plateau" if setting.follows else "optimizer, scheduler"
    clip = setting.train.get("clip_norm")
    loop = [
        f"{made} = configure(model)",
        "for step in range(STEPS):  # batches of BATCH_SIZE",
        "    ...  # optimizer.zero_grad(), the loss, loss.backward()",
    ]
    if clip is not None:
        loop.append(f"    torch.nn.utils.clip_grad_norm_(model.parameters(), {number(clip)})")
    closure = "" if "name" in setting.train["optimizer"] else "  # here it was given a closure"
    loop += [f"    optimizer.step(){closure}"]
    if setting.follows:
        loop += [
            "    if step + 1 in EVALUATIONS:",
            f"        plateau.observe(step + 1, {_metric(setting)})",
        ]
    loop += ["    scheduler.step()"]
    return _join(setting, imports, _schedule(setting), configure, [*map(_comment, loop)])


def _comment(line: str) -> str:
    return f"# {line}"


def _metric(setting: Setting) -> str:
    metric = setting.schedule.get("metric")
    return one_line(str(metric)) if metric else "the validation metric"


def _lightning(setting: Setting) -> list[str]:
    imports, configure = _configure(setting)
    clip = setting.train.get("clip_norm")
    clipped = f", gradient_clip_val={number(clip)}" if clip is not None else ""
    made, then = "optimizer, scheduler", []
    if setting.follows:
        made = "optimizer, scheduler, self.plateau"
        then = [
            "",
            "    def on_validation_epoch_end(self):",
            f'        value = float(self.trainer.callback_metrics["{_name(setting)}"])',
            "        if not self.trainer.sanity_checking:",
            "            self.plateau.observe(self.global_step, value)",
            "            # The rate of the next step was set before its evaluation.",
            "            scheduler = self.lr_schedulers()",
            "            rate = multiplier(self.global_step) * self.plateau.scale",
            "            for group in scheduler.optimizer.param_groups:",
            '                group["lr"] = group["initial_lr"] * rate',
        ]
    module = [
        "class Tuned(L.LightningModule):  # make it the base of your module",
        '    """The optimizer and its schedule."""',
        "",
        "    def configure_optimizers(self):",
        f"        {made} = configure(self)",
        '        stepped = {"scheduler": scheduler, "interval": "step"}',
        '        return {"optimizer": optimizer, "lr_scheduler": stepped}',
        *then,
    ]
    if setting.follows:
        clipped += f", val_check_interval={round(setting.interval)}, check_val_every_n_epoch=None"
    trainer = f"trainer = L.Trainer(max_steps=STEPS{clipped})  # batches of BATCH_SIZE"
    imports = ["import lightning as L", *imports]
    return _join(setting, imports, _schedule(setting), configure, module, [_comment(trainer)])


def _name(setting: Setting) -> str:
    """The plateau's metric as a name between quotes of Python's."""
    name = str(setting.schedule.get("metric") or "val_loss")
    return repr(name)[1:-1].replace('"', '\\"')


def _huggingface(setting: Setting) -> list[str]:
    _refuse_plateau(setting, "a Trainer takes a schedule of the step, or torch's own plateau")
    imports, configure = _configure(setting)
    clip = setting.train.get("clip_norm")
    arguments = [
        "arguments = TrainingArguments(",
        '    output_dir="out",',
        "    max_steps=STEPS,",
        "    per_device_train_batch_size=BATCH_SIZE,  # on one device",
        "    learning_rate=LR,",
        f"    max_grad_norm={number(clip) if clip is not None else '0.0'},",
        ")",
        "# The pair takes the place of the optimizer and schedule that arguments name:",
        "# trainer = Trainer(model, arguments, optimizers=configure(model), ...)",
    ]
    imports = [*imports, "from transformers import TrainingArguments"]
    return _join(setting, imports, _schedule(setting), configure, arguments)


def _keras(setting: Setting) -> list[str]:
    _refuse_plateau(setting, "a LearningRateSchedule is a function of the step alone")
    call = write_keras(setting.train["optimizer"])
    clip = setting.train.get("clip_norm")
    if call:
        call = call[:-1] + (f", global_clipnorm={number(clip)})" if clip is not None else ")")
        made = [f"optimizer = {call}"]
    else:
        name = _title(setting.train["optimizer"])
        made = [f"# {name} has no equal in Keras: give yours learning_rate=Rate()."]
    rate = [
        "class Rate(keras.optimizers.schedules.LearningRateSchedule):",
        '    """The learning rate by the step, from a table: it can be traced by any backend."""',
        "",
        "    def __init__(self):",
        "        self.rates = [LR * multiplier(step) for step in range(STEPS)]",
        "",
        "    def __call__(self, step):",
        '        place = keras.ops.minimum(keras.ops.cast(step, "int32"), STEPS - 1)',
        '        rates = keras.ops.convert_to_tensor(self.rates, dtype="float32")',
        "        return keras.ops.take(rates, place)",
        "",
        "    def get_config(self):",
        "        return {}",
    ]
    made.append("# model.fit(..., batch_size=BATCH_SIZE), for STEPS updates in all")
    imports = ["import keras", *imported_shape(setting)]
    return _join(setting, imports, ["", "", *write_multiplier(setting)], rate, made)


def _refuse_plateau(setting: Setting, why: str) -> None:
    if setting.follows:
        raise UsageError(
            f"plateau follows a metric, and {why}",
            where="schedule",
            hint="--format pytorch and --format lightning have it",
        )


TARGETS: dict[str, Callable[[Setting], list[str]]] = {
    "pytorch": _pytorch,
    "lightning": _lightning,
    "huggingface": _huggingface,
    "keras": _keras,
}
"""The targets by name, each with its writer of lines."""
