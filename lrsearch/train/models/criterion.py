"""Criteria: the loss that a training minimizes and the values that an evaluation measures, built in
or the user's code."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from numbers import Real
from typing import Any, cast

import torch
from torch import Tensor, nn

from lrsearch import catalogue
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.parts import divide
from lrsearch.data.raised import tell_raised
from lrsearch.data.trees import Tree, leaves, map_tree
from lrsearch.errors import LrsearchError, ModelError
from lrsearch.train.batches.batch import Batch, call, call_whole, join, widen
from lrsearch.train.batches.transforms import Transform, augment, build_transforms, mixed_loss
from lrsearch.train.device import is_out_of_memory, sum_type
from lrsearch.train.models.build import fill_arguments
from lrsearch.train.models.metrics import LOSSES, SUMS
from lrsearch.train.models.outputs import describe_outputs, find_output, is_flat
from lrsearch.train.randomness import seed_everything
from lrsearch.train.users.importing import construct, resolve
from lrsearch.train.users.memory import recall
from lrsearch.trial import Config, Workplace

CHUNK = 512
"""Samples per forward pass of an evaluation (`Resident.chunk`), in every lane; fixed, so that
results do not follow the number of lanes. Alone, too, for the user's code, since a loss may compare
a batch's samples."""

OTHER_OUTPUTS = "for a loss that takes other outputs write task: own under data"

BINARY = (nn.BCEWithLogitsLoss, nn.BCELoss)
"""Losses of torch that take a logit, or a probability, alone."""

_BY_CLASS = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)
"""Losses of torch whose `weight` has a number for each class."""


class Criterion:
    """The loss and the metrics of a resolved `train`, for data of a task with so many outputs.

    `stacks` says whether the loss is a built-in one, which is computed for all lanes at once; `own`
    is the user's loss in its place; `transforms` are for training batches. `step` is the user's
    object that takes a loss' place, `measures` are the user's metrics by name, and `names` the
    values of the step's evaluate beside the loss, once it has been called; `alike` says that a
    validation loss is comparable to a training loss, which is not so where this evaluate gives
    another one.
    """

    def __init__(
        self,
        train: Mapping[str, Any],
        task: str,
        outputs: int = 0,
        workplace: Workplace | None = None,
        device: torch.device | None = None,
        transforms: tuple[Transform, ...] = (),
    ) -> None:
        workplace = workplace or Workplace()
        self.transforms = transforms
        sizes = {"num_classes": outputs} if outputs else {}
        self.outputs = outputs
        self.low = train["precision"] == "bfloat16"
        self.step = _make_step(train.get("step"), workplace)
        self.task = "own" if self.step is not None else task
        self.stacks = self.step is None and isinstance(train["loss"], str)
        self.name: str = train["loss"] if self.stacks else ""
        self.names: tuple[str, ...] | None = None if self.step is not None else ()
        self.alike = True
        self.parts = 1  # Of a usual chunk, that evaluations take one by one: memory was short.
        self._smoothing: dict[str, float] = {}
        if train["label_smoothing"]:
            self._smoothing["label_smoothing"] = train["label_smoothing"]
        self.loss_code: Callable[..., Any] | None = None
        if isinstance(train["loss"], Mapping):
            self.loss_code = _make(train["loss"], "train.loss", workplace, sizes, device)
        self.measures: dict[str, Any] = {
            name: _make(code, f"train.metrics.{name}", workplace, sizes, device)
            for name, code in (train.get("metrics") or {}).items()
        }

    @property
    def objects(self) -> dict[str, object]:
        """The user's objects that are called, which may remember earlier calls."""
        step = self.step.function if isinstance(self.step, _Function) else self.step
        named = {"train.step": step, "train.loss": self.loss_code}
        named |= {f"the transform {each.name}": each.code for each in self.transforms}
        named |= {
            f"train.metrics.{name}": each
            for name, each in self.measures.items()
            if not hasattr(each, "reset")  # Its memory is dropped each time.
        }
        return {name: each for name, each in named.items() if each is not None}

    def remember(self, model: nn.Module) -> dict[str, object]:
        """Content of what a model and these objects hold beside tensors, see `memory.recall`."""
        return recall(model, self.objects)

    # training

    def training_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The mean loss, a scalar, of a training batch after its transforms, to be
        differentiated."""
        if not self.transforms:
            return self.loss(model, batch)
        x, parts = augment(self.transforms, batch)
        outputs = self.forward(model, Batch(x))
        return mixed_loss(partial(self.of_outputs, outputs), x, parts)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The mean loss, a scalar, of a batch without transforms."""
        if self.step is not None:
            with self.precision(batch):
                return _scalar(self.step.loss(model, batch.x), batch, "train.step: loss")
        return self.of_outputs(self.forward(model, batch), batch)

    def follow(self, model: nn.Module) -> None:
        """Put a loss that is a module in the model's mode: it may drop or gather something, as a
        model does."""
        loss = self.loss_code
        if isinstance(loss, nn.Module) and loss.training != model.training:
            loss.train(model.training)

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        """The model's outputs, in a type wide enough for a loss."""
        self.follow(model)
        with self.precision(batch):
            outputs = call(model, batch.x)
        outputs = widen(find_output(outputs) if self.task in SUMS else outputs)
        # A loss would hold [samples] against each of [samples, 1] targets.
        alone = self.task == "regression" and self.outputs == 1
        return outputs.unsqueeze(1) if alone and is_flat(outputs) else outputs

    def as_classes(self, outputs: Any, *, lanes: bool = False) -> Any:
        """Logits [samples, classes] of outputs, behind a first axis of lanes where they have one.

        For two classes a model may give a logit alone, [samples] or [samples, 1], which is the
        second's over the first's: with 0 for the first, cross entropy is binary cross entropy.
        """
        alone = self.task == "classification" and self.outputs == 2
        if not alone or not isinstance(outputs, Tensor):
            return outputs
        samples = 2 if lanes else 1
        logit = outputs.unsqueeze(-1) if outputs.dim() == samples else outputs
        if logit.dim() != samples + 1 or logit.shape[-1] != 1:
            return outputs
        if isinstance(self.loss_code, nn.BCELoss):
            logit = logit - 0.5  # A probability: of the sign, which metrics go by.
        return torch.cat([torch.zeros_like(logit), logit], -1)

    def visit(self, model: nn.Module, batch: Batch) -> Tensor:
        """Pass a batch forward, for the statistics that the model gathers on the way; the result is
        nothing but a tensor."""
        if self.step is not None:
            return self.loss(model, batch)
        out = next(leaves(self.forward(model, batch)))[1]
        return cast(Tensor, out)

    def of_outputs(self, outputs: Any, batch: Batch) -> Tensor:
        """The mean loss, a scalar, of outputs."""
        if not self.stacks:
            each = self._call_own(outputs, batch)
            return each.mean() if each.dim() else each
        function = partial(LOSSES[self.name], **self._smoothing)
        outputs = self.as_classes(outputs)
        if not isinstance(batch.weight, Tensor):
            return function(outputs, batch.y)
        return (_per_sample(function(outputs, batch.y, reduction="none")) * batch.weight).mean()

    def _call_own(self, outputs: Any, batch: Batch) -> Tensor:
        """Call the user's loss: one value, or one a sample, weighted."""
        assert self.loss_code is not None
        value = self.loss_code(*self._for_torch(outputs, batch.y))
        count = batch.samples
        if not isinstance(value, Tensor) or (value.dim() and len(value) != count):
            given = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ModelError(
                f"it gives {given} for {count} samples; one value, or one a sample, is needed",
                where="train.loss",
            )
        if not isinstance(batch.weight, Tensor):
            return _per_sample(value) if value.dim() else value
        if not value.dim():
            raise ModelError(
                "the samples have weights, and it gives one value for all",
                where="train.loss",
                hint="have it give one a sample, as losses of torch do with reduction: none",
            )
        return _per_sample(value) * batch.weight

    def _for_torch(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        """Outputs and targets in the form that a loss of torch takes: a logit alone beside the
        other class's, or classes as numbers of the logits' type and shape. Any other loss gets them
        unchanged."""
        if isinstance(self.loss_code, nn.CrossEntropyLoss):
            return self.as_classes(outputs), targets
        pair = isinstance(outputs, Tensor) and isinstance(targets, Tensor)
        if isinstance(self.loss_code, BINARY) and pair and not targets.is_floating_point():
            targets = targets.to(outputs.dtype)
            same = targets.numel() == outputs.numel()
            return outputs, targets.reshape(outputs.shape) if same else targets
        return outputs, targets

    def precision(self, batch: Batch) -> contextlib.AbstractContextManager[object]:
        """The context of a forward pass: bfloat16 where the config asks for it."""
        if not self.low:
            return contextlib.nullcontext()
        return torch.autocast(batch.device.type, torch.bfloat16)

    # evaluation

    def sums(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Any]:
        """The summed loss and the sums for the task's metrics, [sums]; and the outputs, where
        metrics of the user's need them (`()` else)."""
        wide = sum_type(batch.device)
        if self.step is not None:
            return self._step_sums(model, batch) * batch.samples, ()
        outputs = self.forward(model, batch)
        # Before a loss of the user's, which may change outputs or targets in place.
        logits = self.as_classes(outputs)
        if self.task == "regression" and logits.shape != batch.y.shape:
            raise ModelError(
                f"the metrics of a regression need outputs of shape {list(batch.y.shape)}, and "
                f"the model gives {list(logits.shape)}",
                hint=OTHER_OUTPUTS,
            )
        counted = [SUMS[self.task](logits, batch.y)] if self.task in SUMS else []
        if self.stacks and not isinstance(batch.weight, Tensor):
            loss = LOSSES[self.name](logits, batch.y, reduction="sum")
        elif self.stacks:
            each = LOSSES[self.name](logits, batch.y, reduction="none")
            loss = (_per_sample(each) * batch.weight).sum()
        else:
            each = self._call_own(outputs, batch)
            loss = each.sum() if each.dim() else each * batch.samples
        parts = [loss.to(wide).reshape(1), *counted]
        return torch.cat(parts), outputs if self.measures else ()

    def evaluate_outputs(self, model: nn.Module, batch: Batch) -> Any:
        """The values that an evaluation compares: the outputs, or those a step measures."""
        if self.step is not None:
            return self._step_sums(model, batch)
        return self.forward(model, batch)

    def _step_sums(self, model: nn.Module, batch: Batch) -> Tensor:
        values: dict[str, Tensor] = {}
        with self.precision(batch):
            if hasattr(self.step, "evaluate"):
                given = _check_values(self.step.evaluate(model, batch.x))
                values = {
                    name: _scalar(each, batch, f"train.step: evaluate: {name}", number=True)
                    for name, each in given.items()
                }
            self.alike = "loss" not in values
            if self.alike:
                values["loss"] = _scalar(self.step.loss(model, batch.x), batch, "train.step: loss")
        names = tuple(sorted(values.keys() - {"loss"}))
        if self.names is None:
            self.names = names
        if names != self.names:
            raise ModelError(
                f"it measures {', '.join(names) or 'nothing'}, and before {', '.join(self.names)}",
                where="train.step: evaluate",
            )
        wide = sum_type(batch.device)
        return torch.stack([values[name].to(wide) for name in ("loss", *names)])

    def measure(self, outputs: Any, targets: Tree) -> list[Tensor]:
        """The user's metrics of a whole split, one value each."""
        return [self.measure_by(name, outputs, targets) for name in self.measures]

    def measure_by(self, name: str, outputs: Any, targets: Tree) -> Tensor:
        """One of the user's metrics of a whole split, on the outputs' device."""
        function = self.measures[name]
        if hasattr(function, "update") and hasattr(function, "compute"):
            function.reset()
            function.update(outputs, targets)
            value = function.compute()
        else:
            value = function(outputs, targets)
        device = next(leaves(outputs))[1].device
        try:
            number = torch.as_tensor(value, dtype=sum_type(device)).reshape(())
        except (TypeError, ValueError, RuntimeError):
            told = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ModelError(
                f"it gives {told}; a number is needed", where=f"train.metrics.{name}"
            ) from None
        return number.to(device)


def make_criterion(
    config: Config, task: str, outputs: int, workplace: Workplace, device: torch.device
) -> Criterion:
    """The criterion of a resolved config. Raises ModelError for code of the user's that cannot be
    used, and the errors of `importing.resolve`."""
    transforms = build_transforms(config["data"], workplace, device)
    return Criterion(config["train"], task, outputs, workplace, device, transforms)


def _per_sample(losses: Tensor) -> Tensor:
    """The mean of each sample's losses, [samples, ...] to [samples]."""
    return losses.flatten(1).mean(1) if losses.dim() > 1 else losses


def _scalar(value: Any, batch: Batch, where: str, *, number: bool = False) -> Tensor:
    """One value of a step's; `number` says that it may be a number, since nothing differentiates
    it."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.reshape(())
    if number and isinstance(value, Real):  # numpy's, too.
        wide = sum_type(batch.device)
        return torch.full((), float(value), dtype=wide, device=batch.device)
    told = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else None
    told = told or f"{type(value).__name__}"
    needed = "a number" if number else "a tensor of one value"
    raise ModelError(f"it gives {told}; {needed} is needed", where=where)


def _check_values(values: Any) -> dict[str, Any]:
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise ModelError(
            f"it gives {type(values).__name__}; a mapping of names to numbers is needed",
            where="train.step: evaluate",
        )
    for name in values:
        if name in catalogue.BESIDE or not name.isidentifier():
            message = f"'{name}' cannot name a metric"
            raise ModelError(message, where="train.step: evaluate")
    return dict(values)


# making them


def _make_step(code: Mapping[str, Any] | None, workplace: Workplace) -> Any:
    """Make the user's step: an object of a class, or a function in its place."""
    if code is None:
        return None
    found = _make(code, "train.step", workplace, {}, None)
    if not hasattr(found, "loss"):
        if not inspect.isfunction(getattr(found, "func", found)):
            raise ModelError(
                f"{code['class_path']} has no loss",
                where="train.step",
                hint="a step is a class with loss(self, model, batch), or such a function",
            )
        return _Function(found)
    return found


class _Function:
    """A step that is a function of the model and the batch."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = self.loss = function


def _make(
    code: Mapping[str, Any],
    where: str,
    workplace: Workplace,
    sizes: Mapping[str, int],
    device: torch.device | None,
) -> Any:
    """Make the object of a class path: an instance of a class, a function with its arguments.
    Reseeds the global generators."""
    path, arguments = code["class_path"], copy.deepcopy(dict(code.get("init_args") or {}))
    try:
        found = resolve(path, workplace)
    except ModelError as error:
        error.where = error.where or where
        raise
    if not isinstance(found, type):
        return partial(found, **arguments) if arguments else found
    if issubclass(found, nn.modules.loss._Loss):
        arguments = _make_weights(path, found, arguments, where, sizes)
    seed_everything(0)  # Random draws of its constructor are the same for every trial and engine.
    filled = fill_arguments(path, found, arguments, sizes)
    made = construct(found, arguments=filled, where=where, told=f"{path}: ")
    if isinstance(made, nn.Module):
        if any(each.requires_grad for each in made.parameters()):
            message = f"{path} has parameters, which nobody would train"
            raise ModelError(message, where=where, hint="put them into the model")
        if device is not None:
            made = made.to(device)
    return made


def _make_weights(
    path: str,
    loss: type[nn.Module],
    arguments: dict[str, Any],
    where: str,
    sizes: Mapping[str, int],
) -> dict[str, Any]:
    """The arguments of a loss of torch, with tensors for numbers where its constructor takes
    tensors: `weight`, `pos_weight`. Raises ModelError for values that are no numbers, or not one a
    class."""
    made = dict(arguments)
    for name, parameter in inspect.signature(loss).parameters.items():
        given = arguments.get(name)
        if given is None or "Tensor" not in str(parameter.annotation):
            continue
        place = f"{where}.init_args.{name}"
        numbers = given if isinstance(given, list) else [given]
        if not numbers or any(type(each) not in (int, float) for each in numbers):
            message = f"{path} takes a list of numbers, such as [1.0, 3.0], not {given!r}"
            raise ModelError(message, where=place)
        classes = sizes.get("num_classes")
        if name == "weight" and issubclass(loss, _BY_CLASS) and classes not in (None, len(numbers)):
            raise ModelError(
                f"it has {len(numbers)} {'number' if len(numbers) == 1 else 'numbers'}, and the "
                f"data have {classes} classes",
                where=place,
                hint="write one number a class, in the order of the classes",
            )
        made[name] = torch.tensor(numbers, dtype=torch.float32)
    return made


def _check_positive_weights(criterion: Criterion, outputs: Any) -> None:
    loss = criterion.loss_code
    weights = loss.pos_weight if isinstance(loss, nn.BCEWithLogitsLoss) else None
    if weights is None or not isinstance(outputs, Tensor):
        return
    logits = outputs.shape[-1] if outputs.dim() > 1 else 1
    if weights.numel() not in (1, logits):
        raise ModelError(
            f"it has {weights.numel()} numbers, and the model gives {logits} "
            f"{'logit' if logits == 1 else 'logits'} a sample",
            where="train.loss.init_args.pos_weight",
            hint="write the weight of the second class over that of the first, such as [3.0]"
            if logits == 1
            else "write one number a logit",
        )


def _check_one_output(criterion: Criterion, outputs: Any) -> None:
    entropy = isinstance(criterion.loss_code, nn.CrossEntropyLoss)
    if entropy and criterion.task == "regression" and outputs.shape[1:].numel() == 1:
        message = "the softmax of one output is 1 whatever it is: nothing would be learned"
        raise ModelError(message, where="train.loss", hint="write loss: mse")


def check_criterion(criterion: Criterion, model: nn.Module, batch: Batch) -> None:
    """Raises ModelError where the user's loss, step or metrics cannot be used with the model on
    these samples; the model's own errors are left to its trials."""
    if criterion.stacks and not criterion.measures:
        return
    model.eval()
    try:
        with torch.no_grad():
            tried = criterion.forward(model, batch) if criterion.step is None else None
    except Exception:
        return
    _check_positive_weights(criterion, tried)
    _check_one_output(criterion, tried)
    what = "train.step" if criterion.step is not None else "train.loss"
    learns = False
    try:
        with torch.enable_grad():
            tied = criterion.loss(model, batch).requires_grad
        if not tied:
            message = (
                "its value does not depend on the model's parameters: nothing would be learned"
            )
            raise ModelError(message, where=what, hint="leave out .detach(), .item() and no_grad")
        learns = True
        with torch.no_grad():
            _, outputs = criterion.sums(model, batch)
            if criterion.measures:
                outputs = join([outputs])
            for name in criterion.measures:
                what = f"train.metrics.{name}"
                criterion.measure_by(name, outputs, batch.y)
    except any_but_interrupts(LrsearchError, is_out_of_memory) as error:
        hint = hint_gradients(error) if learns else _hint_places(criterion, tried, batch.y)
        raise ModelError(
            f"tried on {batch.samples} samples it raised {tell_raised(error)}",
            where=what,
            hint=hint or _tell_given(criterion, model, batch, tried),
        ) from error


@torch.no_grad()
def _tell_given(criterion: Criterion, model: nn.Module, batch: Batch, outputs: Any) -> str:
    """Tell what the user's loss, step or metric is given of these samples."""
    if criterion.step is not None:
        return f"its batch is {describe_outputs(batch.x)}"
    told = describe_outputs(outputs)
    whole, more = call_whole(model, batch.x), ""
    if isinstance(whole, tuple) and hasattr(whole, "_fields") and isinstance(outputs, tuple):
        told += ", by their places alone,"
    elif not isinstance(whole, Tensor | dict) and hasattr(whole, "logits"):
        kind = type(whole).__name__
        told += f", the logits of the model's {kind},"
        more = f"; a step of your own (train.step) gets all of the {kind}"
    return f"it is given outputs {told} and targets {describe_outputs(batch.y)}{more}"


def _hint_places(criterion: Criterion, outputs: Any, y: Any) -> str:
    """A hint on classes that are the last dimension of outputs [samples, places, classes], where
    torch's cross entropy takes the second for them; "" for others."""
    crossed = isinstance(criterion.loss_code, nn.CrossEntropyLoss)
    if not (crossed and isinstance(outputs, Tensor) and isinstance(y, Tensor)):
        return ""
    if y.dim() < 2 or outputs.shape[:-1] != y.shape:
        return ""
    given = list(outputs.shape[1:])
    return (
        f"it takes [samples, classes, {', '.join(map(str, given[:-1]))}], and the model gives "
        f"[samples, {', '.join(map(str, given))}]: let it return outputs.movedim(-1, 1)"
    )


def hint_gradients(error: BaseException) -> str:
    """A hint on the user's code that takes gradients itself, and raised an error in evaluation,
    where none are kept; "" for other errors."""
    if "does not require grad" not in str(error):
        return ""
    return (
        "evaluations keep no gradients: take them within `with torch.enable_grad():`, those of "
        "inputs after x = x.detach().requires_grad_()"
    )


@torch.no_grad()
def baseline_loss(criterion: Criterion, model: nn.Module, batch: Batch, classes: int) -> Tensor:
    """The loss of a batch for a model that knows nothing of its samples, above zero.

    For a built-in loss it is the loss of equal logits, or of the mean target. For the user's it is
    the loss of the model's answers to other samples of the batch: with pretrained weights it is
    large, however small the loss itself. It is at least 1, also where there are no targets: a
    smaller number would make an unknown loss seem large.
    """
    if not criterion.stacks:
        return _loss_of_others(criterion, model, batch).nan_to_num(1.0, 1.0, 1.0).clamp(min=1.0)
    if criterion.name == "cross_entropy":
        outputs = torch.zeros(1, device=batch.device).expand(*batch.y.shape, classes)
    else:
        outputs = batch.y.mean(0, keepdim=True).expand_as(batch.y)
    loss = criterion.of_outputs(outputs, batch)
    return torch.where(loss > 0, loss, torch.ones_like(loss))


def _loss_of_others(criterion: Criterion, model: nn.Module, batch: Batch) -> Tensor:
    """The user's loss of a batch in which each sample has another's targets, a scalar; 1 where it
    has none or cannot be called so. Computed by a copy, since the loss' memory belongs to the
    training."""
    try:
        shifted = _shift_targets(batch) if criterion.step is None else _shift_parts(batch)
        aside = copy.copy(criterion)
        aside.step, aside.loss_code = copy.deepcopy((criterion.step, criterion.loss_code))
        return aside.loss(model, shifted)
    except any_but_interrupts(is_out_of_memory):
        return torch.ones((), device=batch.device)


def _shift_targets(batch: Batch) -> Batch:
    return batch._replace(y=map_tree(lambda each: each.roll(1, 0), batch.y))


def _shift_parts(batch: Batch) -> Batch:
    """Shift targets as `_shift_targets`, in samples as a step gets them."""
    part = divide(batch.x)
    return Batch(replace(part, y=_shift_targets(Batch(part.x, part.y)).y).rejoin())


def lane_of(tree: Tree, lane: int) -> Tree:
    """One lane's entries of stacked tensors [lanes, ...], [...] each."""
    return map_tree(lambda each: each[lane], tree)
