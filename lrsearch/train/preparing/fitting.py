"""Models checked against the data: a first batch goes through each before anything trains."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrsearch import catalogue, pulse
from lrsearch.data import splitting
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.raised import find_line, tell_raised
from lrsearch.data.raw import Raw
from lrsearch.data.tables import hint_loss
from lrsearch.data.trees import Tree, count, leaves, map_tree
from lrsearch.errors import LrsearchError, ModelError, suggest
from lrsearch.train.batches.batch import Batch, call, shape_of, split
from lrsearch.train.batches.resident import find_view, load_raw, view_portion
from lrsearch.train.device import is_out_of_memory
from lrsearch.train.engines.training import Training
from lrsearch.train.models.build import Classes, build_model, find_classes
from lrsearch.train.models.criterion import (
    BINARY,
    OTHER_OUTPUTS,
    Criterion,
    check_criterion,
    hint_gradients,
)
from lrsearch.train.models.metrics import SUMS
from lrsearch.train.models.outputs import (
    are_probabilities,
    describe_outputs,
    find_ending,
    find_output,
)
from lrsearch.train.optimizers.groups import check_groups
from lrsearch.train.preparing.gradients import check_gradients, refuse_certain
from lrsearch.train.preparing.pairing import tell_pairs
from lrsearch.train.preparing.raising import Unmade, refuse_raising, telling_memory
from lrsearch.train.users.beside import find_missing
from lrsearch.trial import Config, Workplace


def check_models(
    configs: Iterable[Config], raw: Raw, workplace: Workplace, metric: str | None
) -> tuple[int, list[str]]:
    """Build each distinct model once; returns the trainable parameters of the first, and notes for
    the user on any. Raises ModelError for a model that does not fit the data, or whose loss, step
    or metrics do not."""
    count: int | None = None
    notes: dict[str, None] = {}
    seen: set[str] = set()
    configs = list(configs)
    raising = 0
    unmade: list[Unmade] = []
    for config in configs:
        train = config["train"]
        own = train["optimizer"] if "class_path" in train["optimizer"] else None
        code = [train["loss"], train.get("step"), train.get("metrics"), _followed(train)]
        key = json.dumps([config["model"], train["groups"], own, code], sort_keys=True)
        if key in seen:
            continue
        seen.add(key)
        pulse.beat()
        try:
            parameters, told, raised = _check_model(config["model"], train, raw, workplace, metric)
            notes |= dict.fromkeys(told)
            raising += raised
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            unmade += [error] if isinstance(error, Unmade) else []
            continue  # Smaller models of the run may fit; this one's trials say so.
        count = parameters if count is None else count
    if unmade and len(unmade) == len(seen):
        raise ModelError(unmade[0].message, where=unmade[0].where, hint=unmade[0].hint)
    # A batch of one sample is none to batch norm.
    if raising == len(seen) or all(each["train"]["batch_size"] == 1 for each in configs):
        refuse_raising(configs, raw, workplace)
    return count or 0, list(notes)


def _followed(train: Mapping[str, Any]) -> str | None:
    """The metric that a plateau follows."""
    schedule = train["schedule"]
    return schedule["metric"] if schedule.get("name") == "plateau" else None


# Messages of torch's own layers for an input that does not fit them.
_MISFIT = re.compile(
    r"shape|size|dimension|channels|expected \d|\dD\b|dtype|scalar type", re.IGNORECASE
)


_ARGUMENTS = re.compile("argument|keywords")

_CALL = re.compile(r"\bforward\(\) (missing|takes)")
"""Messages of Python for a forward that takes more, or fewer, parts than a sample has."""


def _tell_misfit(error: BaseException) -> str:
    """A misfit's message, with the line of the user's code."""
    line = find_line(error)
    return f"{error} ({line})" if line else str(error)


def _refuse_gradients(error: BaseException, name: str) -> None:
    """Raises ModelError for what a forward that takes gradients itself raises in evaluation."""
    if hint := hint_gradients(error):
        message = f"in evaluation its forward raised {tell_raised(error)}"
        raise ModelError(message, where=name, hint=hint) from error


def _hint_samples(name: str, shape: Sequence[int] | None, told: str) -> str:
    """A hint on samples of a type or a shape that a model, which has `told` so, is not for; "" for
    others."""
    if "dtype" in told and "Long" in told:
        return "whole numbers of a tensor stay such: return x.float()"
    if name in catalogue.IMAGES_ALONE and shape is not None and len(shape) == 1:
        return f"{name} is for images [channels, height, width]: write model: mlp"
    return ""


_PRECISION = re.compile(r"dtype|scalar type", re.IGNORECASE)


def _hint_precision(error: BaseException, model: nn.Module) -> str:
    """A hint on a model in another precision than its inputs; "" for any other error."""
    if not _PRECISION.search(str(error)):
        return ""
    others = {each.dtype for each in model.parameters() if each.is_floating_point()}
    others -= {torch.float32}
    if not others:
        return "its forward takes another precision: leave out what converts the inputs"
    shown = str(min(others, key=str)).removeprefix("torch.")
    made = {"float64": "double", "float16": "half"}.get(shown, shown)
    line = "" if made == "double" else "; for less memory write precision: bfloat16 under train"
    return f"its weights are {shown}: leave out what makes them that, such as .{made}(){line}"


def _hint_images(raw: Raw) -> str:
    """A hint on taking samples of two dimensions the other way, as images or not; "" for other
    samples."""
    if raw.images is not None:
        return _IMAGES_HINTS[raw.images]
    return _IMAGES_HINTS[True] if raw.channelled else ""


_IMAGES_HINTS = {
    True: "samples of two dimensions are taken for images, which get a channel axis: for sequences "
    "write images: false under data",
    False: "samples of two dimensions are taken as they are: for images of one channel write "
    "images: true under data",
}


def _check_model(
    config: Mapping[str, Any],
    train: Mapping[str, Any],
    raw: Raw,
    workplace: Workplace,
    metric: str | None,
) -> tuple[int, list[str], bool]:
    """Check one model; returns its parameters, notes, and whether the user's code raises what may
    be the fault of so few samples, or every training's."""
    name = catalogue.name_of(config)
    refusal = catalogue.model_refusal(name, raw.task) if name in catalogue.MODELS else None
    if refusal is not None:
        raise ModelError(refusal[0], hint=refusal[1])
    if name in catalogue.MODELS and shape_of(raw.x) is None:
        alone = "return (x, y) in place of a mapping, or " * (len(list(leaves(raw.x))) == 1)
        raise ModelError(
            f"it takes one array of inputs, and a sample has {name_parts(raw.x)}",
            where=name,
            hint=f"{alone}a model of your own (model.class_path) takes them by name, or by place",
        )
    usual = {"loss": train["loss"] or catalogue.default_loss(raw.task)}
    criterion = Criterion({**train, **usual}, raw.task, raw.outputs, workplace)
    batch = _some(raw, train)
    pair = next(split(batch, 2))
    x = map_tree(torch.from_numpy, splitting.take(raw, np.arange(2)).x)
    shape = shape_of(x)
    with telling_memory(name):
        model = build_model(config, shape, raw.outputs, workplace, x, fits=criterion.task in SUMS)
    parameters = sum(each.numel() for each in model.parameters() if each.requires_grad)
    if not parameters:
        raise ModelError("the model has no parameters to train", where=name)
    training = Training(model, train, workplace, criterion)
    if "class_path" in train["optimizer"]:
        _ = training.optimizer
    notes: list[str] = []
    check_groups((key for key, each in model.named_parameters() if each.requires_grad), train, name)
    if criterion.step is None:
        try:
            outputs = _forward(model, pair.x)
        except (RuntimeError, TypeError, ValueError) as error:
            _refuse_gradients(error, name)
            refuse_certain(error, name)
            sizes = _hint_sizes(config, shape, raw.outputs, workplace, pair)
            _refuse_misfit(error, model, raw, name, shape, pair, sizes)
            return parameters, notes, True
        except any_but_interrupts() as error:
            if find_missing(error, workplace.folder, workplace.allowed):  # No trial would find it.
                message = f"its forward raised {tell_raised(error)}"
                raise ModelError(message, where=name) from error
            return parameters, notes, True
        classes = find_classes(config, shape, raw.outputs, workplace)
        _check_outputs(outputs, pair, raw, criterion, name, classes)
        _check_classes(outputs, raw, criterion)
        if classes[0].taken:
            notes.append(
                f"{name} is given num_classes={raw.outputs} beside its init_args: without it, it "
                f"gives {classes[0].without} for 2 samples"
            )
        if "class_path" in config:
            _check_training_outputs(outputs, model, pair, criterion, name)
        if "class_path" in config or criterion.loss_code is not None:
            notes += _tell_outputs(outputs, model, pair, criterion, name)
    try:
        check_criterion(criterion, model, batch)
    except ModelError as error:
        taken = criterion.step is None or not _MISFIT.search(str(error.__cause__ or ""))
        if not taken and raw.images is not None:
            error.hint = "\n  ".join(filter(None, (_IMAGES_HINTS[raw.images], error.hint)))
        raise
    notes += tell_pairs(criterion, model, batch)
    followed = (_followed(train), "the schedule follows")
    _check_measures(criterion, ((metric, "is the objective"), followed))
    if "class_path" in config or not criterion.stacks or "class_path" in train["optimizer"]:
        own = name if "class_path" in config else "train.loss"
        where = own if criterion.step is None else "train.step"
        try:
            notes += check_gradients(training, pair, where)
        except any_but_interrupts(LrsearchError, is_out_of_memory):
            return parameters, notes, True
    return parameters, notes, False


def _refuse_misfit(
    error: BaseException,
    model: nn.Module,
    raw: Raw,
    name: str,
    shape: tuple[int, ...] | None,
    pair: Batch,
    sizes: str,
) -> None:
    """Raises ModelError for samples, a `pair` of them of a shape, that a model does not take, where
    what its forward raised says so. `sizes` is a hint on them, "" for none."""
    misfit = _MISFIT.search(str(error))
    if isinstance(error, TypeError):  # Arguments that it does not take, or has not got.
        misfit = _ARGUMENTS.search(str(error)) if shape is None else misfit
        misfit = misfit or _CALL.search(str(error))
    if is_out_of_memory(error) or not misfit:
        return
    samples = sizes or _hint_samples(name, shape, str(error))
    precision = "" if samples else _hint_precision(error, model)
    told = f"take samples of shape {shape if shape is not None else _outline(pair.x)}"
    told = "compute in float32, as its inputs are" if precision else told
    raise ModelError(
        f"the model does not {told}: {_tell_misfit(error)}",
        where=name,
        hint=samples or precision or _hint_images(raw),
    ) from error


def _hint_sizes(
    config: Mapping[str, Any],
    shape: tuple[int, ...] | None,
    outputs: int,
    workplace: Workplace,
    pair: Batch,
) -> str:
    """The argument by which a model takes samples of a shape, where the size that it was given for
    them is not the one it means, as of a network over time: found by trying. "" for none."""
    given = config.get("init_args") or {}
    if "class_path" not in config or shape is None or len(shape) < 2:
        return ""
    names = find_classes(config, shape, outputs, workplace)[1]
    filled = {"in_features": math.prod(shape), "in_channels": shape[0]}
    for key, size in itertools.product(filled, dict.fromkeys((shape[-1], shape[0]))):
        if key not in names or key in given or size == filled[key]:
            continue
        try:
            other = {**config, "init_args": {**given, key: size}}
            found = find_output(
                _forward(build_model(other, shape, outputs, workplace, pair.x), pair.x)
            )
        except any_but_interrupts():
            continue
        if not outputs or (isinstance(found, Tensor) and found.shape == (2, outputs)):
            return f"{key} was filled in as {filled[key]}: write {key}: {size} in its init_args"
    return ""


def _check_measures(criterion: Criterion, used: Iterable[tuple[str | None, str]]) -> None:
    """Raises ModelError for a metric that is used, and that a step does not measure."""
    for wanted, use in used:
        if criterion.names and wanted not in (None, "loss", *criterion.names):
            raise ModelError(
                f"its evaluate measures no '{wanted}', which {use}",
                where="train.step",
                hint=suggest(str(wanted), ["loss", *criterion.names]),
            )


# samples


def name_parts(x: Tree) -> str:
    """The names of a sample's arrays; a lone one is called x."""
    return ", ".join(key for key, _ in leaves(x, "x"))


def _outline(x: Tree) -> str:
    return ", ".join(f"{key} {list(each.shape[1:])}" for key, each in leaves(x))


TRIED = 256
"""Samples on which a loss, a step and metrics of the user's are tried."""


def _some(raw: Raw, train: Mapping[str, Any], most: int = TRIED) -> Batch:
    """Samples spread over the whole, in the form a training gets them."""
    size = count(raw.x)
    index = np.arange(min(most, size)) * size // min(most, size)
    view = find_view(train)
    batch = view_portion(splitting.take(raw, index, own=bool(view)), raw.form, view)

    def convert(array: Any) -> Tensor:
        found = torch.from_numpy(np.ascontiguousarray(array))
        return found.float() if found.dtype == torch.float64 else found

    return Batch(*(map_tree(convert, part) for part in batch))


_ALONE = (
    "return the tensor that the loss takes alone, first in a tuple, or as 'logits' in a mapping; a "
    "step of your own (train.step) may use all of them"
)


# outputs


def _check_outputs(
    given: Any,
    pair: Batch,
    raw: Raw,
    criterion: Criterion,
    name: str,
    classes: tuple[Classes, tuple[str, ...]],
) -> None:
    """Raises ModelError for outputs of another shape than the task's metrics, or its loss, take.
    `classes` comes from `find_classes`."""
    outputs = find_output(given) if criterion.task in SUMS else given
    found = list(outputs.shape) if isinstance(outputs, Tensor) else describe_outputs(outputs)
    if raw.task == "own" and not criterion.stacks:
        return
    needed = [2, *(pair.x.shape[1:] if raw.task == "language" else ()), raw.outputs]
    what = {"classification": "classes", "language": "characters"}.get(raw.task, "targets")
    told = f"{needed} is needed ({raw.outputs} {what})"
    if raw.task == "own":
        needed = list(pair.y.shape) if isinstance(pair.y, Tensor) else []
        told = f"{needed} is needed, the shape of the targets, for the loss {criterion.name}"
        if isinstance(pair.y, Tensor) and not pair.y.is_floating_point():
            raise ModelError(
                f"the targets are {str(pair.y.dtype).removeprefix('torch.')}, and the loss "
                f"{criterion.name} takes floating-point numbers",
                where=raw.name,
                hint=hint_loss(raw.y),
            )
    if raw.task == "classification" and isinstance(criterion.loss_code, BINARY):
        loss = type(criterion.loss_code).__name__
        if raw.outputs != 2:
            raise ModelError(
                f"{loss} tells two classes apart, and the data have {raw.outputs}",
                where="train.loss",
                hint="leave the loss out: cross_entropy is for any number of classes",
            )
        if found in ([2], [2, 1]):
            return
        hint = (
            "leave the loss out, as cross_entropy takes one number a class; for class weights "
            f"write loss: {{class_path: {catalogue.CROSS_ENTROPY}, "
            "init_args: {weight: [1.0, 3.0]}}"
        )
        if name not in catalogue.MODELS:
            one = "num_classes: 1 in its init_args" if "num_classes" in classes[1] else "its head"
            hint = f"give the model one output ({one}), or {hint}"
        raise ModelError(
            f"the model gives {found} for 2 samples; {loss} takes one number a sample, "
            "[2] or [2, 1]",
            where=name,
            hint=hint if isinstance(outputs, Tensor) else _ALONE,
        )
    crossed = isinstance(criterion.loss_code, nn.CrossEntropyLoss)
    if criterion.stacks or crossed:
        logits = criterion.as_classes(outputs)  # A logit alone serves two classes.
        found = list(logits.shape) if isinstance(logits, Tensor) else found
    if found == needed or (raw.task == "regression" and found == [2] and raw.outputs == 1):
        return
    hint = ""
    if outputs is not given and needed in _shapes(given):  # The tensor that counts is another one.
        hint = _ALONE
    elif criterion.loss_code is not None and not crossed and raw.task != "language":
        hint = f"the metrics of a {raw.task} need that shape; {OTHER_OUTPUTS}"
    elif not isinstance(outputs, Tensor):
        hint = _ALONE
    elif raw.task != "own":
        hint = _hint_classes(raw.outputs, what, *classes)
    hint = hint or _hint_images(raw)
    raise ModelError(
        f"the model gives {describe_outputs(given)} for 2 samples; {told}", where=name, hint=hint
    )


def _check_classes(given: Any, raw: Raw, criterion: Criterion) -> None:
    """Raises ModelError for a target of the user's own kind, in whichever part, that is none of the
    classes that the model's outputs have for torch's cross entropy."""
    loss, outputs = criterion.loss_code, find_output(given)
    if raw.task != "own" or not isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss):
        return
    if not isinstance(outputs, Tensor) or outputs.dim() < 2:
        return
    classes = outputs.shape[1]
    parts = {"": raw.y, " of the held-out part": raw.held and raw.held.y}
    parts[" of the test part"] = raw.tested and raw.tested.y
    for where, y in parts.items():
        if isinstance(y, np.ndarray) and y.dtype.kind in "iu":
            wrong = y[((y < 0) | (y >= classes)) & (y != loss.ignore_index)]
            if wrong.size:
                told = f"a target{where} is {wrong.flat[0]}, and the model tells {classes} classes"
                hint = f"its classes are 0 to {classes - 1}, and {loss.ignore_index} counts nowhere"
                raise ModelError(told, where=raw.name, hint=hint)


def _check_training_outputs(
    evaluated: Any, model: nn.Module, pair: Batch, criterion: Criterion, name: str
) -> None:
    """Raises ModelError for a model whose outputs are a tensor in evaluation and something else in
    training, as with auxiliary outputs. Errors that its forward raises here are left to its
    trials."""
    if criterion.task not in SUMS or not isinstance(find_output(evaluated), Tensor):
        return
    try:
        given = call(model.train(), pair.x)
    except any_but_interrupts(is_out_of_memory):
        return
    if not isinstance(find_output(given), Tensor):
        raise ModelError(
            f"in training the model gives {describe_outputs(given)}, and in evaluation "
            f"{describe_outputs(evaluated)}",
            where=name,
            hint=_ALONE,
        )


def _shapes(outputs: Any) -> list[list[int]]:
    """The shapes of the tensors of a mapping or a sequence of outputs."""
    parts = outputs.values() if isinstance(outputs, Mapping) else outputs
    return [list(each.shape) for each in parts if isinstance(each, Tensor)]


_CLASSES = re.compile(
    r"(num|n|nb|no)_?(class|label|output|target|categor|cls)\w*|(out|output)_(features|dim|size|"
    r"channels|width)|(class|label|output|target)e?s|(dim|d|c|n)_out|nclass\w*|vocab_size"
)
"""Names other than num_classes of arguments that may set a model's number of outputs."""


def _hint_classes(outputs: int, what: str, classes: Classes, names: tuple[str, ...]) -> str:
    """A hint on telling a model how many outputs it needs."""
    if classes.reason:
        return (
            f"{classes.reason}; write a function that builds the model and replaces its last "
            "layer, and name that"
        )
    if "num_classes" in names:
        return f"init_args: {{num_classes: {outputs}}}"
    likely = next((each for each in names if _CLASSES.fullmatch(each)), None)
    if likely is not None:
        return f"init_args: {{{likely}: {outputs}}}"
    has = f"its arguments are {', '.join(names)}" if names else "it takes no arguments"
    return f"{has}; one named num_classes would be given the number of {what}"


def _tell_outputs(
    given: Any, model: nn.Module, pair: Batch, criterion: Criterion, name: str
) -> list[str]:
    """Notes on a user's model: outputs that go wrong with its loss, or are not used. `given` are
    its outputs for two samples, since more would take long."""
    notes = []
    outputs = find_output(given) if criterion.task in SUMS else given
    if outputs is not given and isinstance(outputs, Tensor):
        which = "its 'logits'" if isinstance(given, Mapping) else "the first"
        notes.append(
            f"{name} gives {describe_outputs(given)}: {which} {list(outputs.shape)} is what the "
            "loss and the metrics take"
        )
    loss = criterion.name or type(criterion.loss_code).__name__
    crossed = loss == "cross_entropy" or isinstance(criterion.loss_code, nn.CrossEntropyLoss)
    logistic = isinstance(criterion.loss_code, nn.BCEWithLogitsLoss)
    single = isinstance(outputs, Tensor) and outputs.shape[1:].numel() == 1
    try:
        with torch.enable_grad():
            ending = find_ending(criterion.forward(model.eval(), pair))
        if crossed and not ending and are_probabilities(model, pair.x, _forward_main):
            ending = "softmax"
    except any_but_interrupts(is_out_of_memory):  # Its trials say so.
        return notes
    if ending == "sigmoid" and (logistic or (crossed and single)):
        message = f"{name} ends in a sigmoid, and the loss {loss} takes what goes into one"
        way = "leave the sigmoid out of its forward, or write loss: torch.nn.BCELoss"
        if criterion.task == "classification":  # Its accuracy would go by the sign.
            raise ModelError(message, hint=way)
        return [*notes, f"{message}: {way}"]
    if crossed and ending in ("softmax", "sigmoid"):
        notes.append(
            f"{name} ends in a {ending}, and the loss {loss} takes logits, of which it makes the "
            f"softmax itself: it learns better with the {ending} left out of its forward"
        )
    if isinstance(criterion.loss_code, nn.NLLLoss) and ending != "log_softmax":
        with torch.no_grad():
            total = criterion.forward(model, pair).double().logsumexp(-1)
        if bool((total.abs() > 1e-2).any()):
            notes.append(
                f"the loss NLLLoss takes logarithms of probabilities, and those that {name} gives "
                "are none: write loss: cross_entropy, or end its forward in log_softmax"
            )
    return notes


def _forward_main(model: nn.Module, x: Tree) -> Any:
    return find_output(call(model, x))


@torch.no_grad()
def _forward(model: nn.Module, x: Tree) -> object:
    return call(model.eval(), x)


# images


def find_images(configs: Iterable[Config], raw: Raw, workplace: Workplace) -> bool:
    """Whether the models, and steps, of a search take samples of two dimensions as images: as the
    source has them, unless one works the other way alone. Raises ModelError where others then
    fail."""
    assert raw.images is not None
    distinct = {
        json.dumps([each["model"], each["train"].get("step")], sort_keys=True): each
        for each in configs
    }
    natural = {key: _fits(each, raw, workplace) for key, each in distinct.items()}
    if all(natural.values()):
        return raw.images
    swapped = {**next(iter(distinct.values()))["data"], "images": not raw.images}
    other = load_raw(swapped, workplace)
    fitting = {key: _fits(each, other, workplace) for key, each in distinct.items()}
    need = [key for key in distinct if fitting[key] and not natural[key]]
    refuse = [key for key in distinct if natural[key] and not fitting[key]]
    if need and refuse:
        one, two = (catalogue.name_of(distinct[keys[0]]["model"]) for keys in (need, refuse))
        with_channel, without = (two, one) if raw.images else (one, two)
        raise ModelError(
            f"{with_channel} takes samples of two dimensions with a channel axis alone, {without} "
            "without one alone; points of one run are measured on the same data",
            hint="search them by two specs, one with images: true under data, one with images: "
            "false",
        )
    return raw.images ^ bool(need)


def _fits(config: Config, raw: Raw, workplace: Workplace) -> bool:
    """Whether a model can be built for the data, takes two samples, and gives outputs of the task's
    shape; or whether a step takes them with it."""
    train = config["train"]
    try:
        x = map_tree(torch.from_numpy, splitting.take(raw, np.arange(2)).x)
        model = build_model(config["model"], shape_of(x), raw.outputs, workplace, x)
        if train.get("step") is not None:
            criterion = Criterion(train, raw.task, raw.outputs, workplace)
            with torch.enable_grad():
                criterion.loss(model.eval(), _some(raw, train, 2))
            return True
        outputs = find_output(_forward(model, x))
    except any_but_interrupts():
        return False
    # A logit serves two classes, and a number a sample one target.
    alone = raw.outputs == {"classification": 2, "regression": 1}.get(raw.task)
    shapes = [[2, raw.outputs], *([[2], [2, 1]] if alone else [])]
    return raw.task == "own" or list(getattr(outputs, "shape", ())) in shapes
