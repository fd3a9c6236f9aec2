"""A first step of the user's own code, before any trial: what each of them would end in, and what
nothing would train."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.raised import find_line, find_told_line
from lrsearch.errors import ModelError
from lrsearch.train.batches.batch import Batch
from lrsearch.train.device import is_out_of_memory
from lrsearch.train.engines.training import Training
from lrsearch.train.models.attributes import tensors_of
from lrsearch.train.users.memory import PLACES, Memory, find_optimizers, recall

_IN_PLACE = "modified by an inplace operation"

_CERTAIN = {
    'is missing the required "forward"': (
        "it has no forward",
        "write def forward(self, x) in its class",
    ),
    "does not require grad and does not have a grad_fn": (
        "its outputs do not depend on its parameters: nothing would be learned",
        "leave out .detach(), .item(), .tolist() and no_grad",
    ),
    "a leaf Variable that requires grad": (
        "it changes a parameter in place",
        "write w = w.clamp(0, 1) in the place of w.clamp_(0, 1), or do it within "
        "`with torch.no_grad():`",
    ),
    _IN_PLACE: (
        "it changes in place what its gradients need",
        "write y = y + 1 in the place of y += 1, and y.relu() in that of y.relu_()",
    ),
    "backward through the graph a second time": (
        "it keeps a tensor of a step for the next one, and with it the whole step",
        "keep it without: self.hidden = hidden.detach()",
    ),
}
"""Texts of errors that each training of this code ends in, whatever its values: what is wrong, and
what to write."""


def refuse_certain(error: BaseException, where: str, place: str = "") -> None:
    """Raises ModelError, which names `where`, for an error that each trial would end in; `place` is
    in the user's code, where the error's own traceback tells none."""
    place = find_line(error) or place
    for text, (wrong, hint) in _CERTAIN.items():
        if text in str(error):
            told = f"{wrong} ({place})" if place else wrong
            raise ModelError(told, where=where, hint=hint) from error


def check_gradients(training: Training, batch: Batch, where: str) -> list[str]:
    """Compute gradients by the user's code, twice where it remembers the first time; returns notes
    on parameters that nothing trains. Raises ModelError, which names `where`, for what each trial
    would end in, and for parameters that two optimizers would update; and what else the user's code
    raises on so few samples."""
    model, objects = training.model.train(), training.criterion.objects
    strange: list[Tensor] = []
    kept = ""
    try:
        before = recall(model, objects)
        loss = training.criterion.training_loss(model, batch)
        strange = _find_strange(loss, model)
        if not loss.requires_grad and not training.criterion.stacks:
            return []  # So few samples may give a loss of theirs nothing to do.
        torch.autograd.backward(loss)
        after = recall(model, objects)
        changed = [name for name in after if after[name] != before.get(name)]
        if changed:
            kept = _find_kept(changed, model)
            model.zero_grad(set_to_none=True)
            training.compute_gradients(batch)
    except any_but_interrupts(is_out_of_memory) as error:
        refuse_certain(error, where, _find_origin(training, batch, error) or kept)
        raise
    optimizers = find_optimizers(objects, model)
    if training.criterion.step is not None:
        _refuse_two_optimizers(model, optimizers)
    model.zero_grad(set_to_none=True)
    if "class_path" in training.train["optimizer"]:
        _check_optimizer(training, batch)
    groups = [group for each in optimizers.values() for group in each.param_groups]
    held = {id(each) for group in groups for each in group["params"]}
    left = [each for each in strange if id(each) not in held]
    return [_tell_strange(left, Memory({**objects, where: model}))] if left else []


def _find_kept(changed: Sequence[str], model: nn.Module) -> str:
    """The place, among those that a step has changed, that keeps its tensors; "" where several
    may."""
    held = tensors_of(model)
    found = [name for name in changed if name in held] or [
        name for name in changed if not name.startswith("the state of ")
    ]
    return found[0] if len(found) == 1 else ""


def _check_optimizer(training: Training, batch: Batch) -> None:
    """Make a step by the user's optimizer. Raises ModelError for what each trial would end in."""
    where = "train.optimizer"
    try:
        training.step(batch, float(training.train["lr"]))
    except any_but_interrupts(is_out_of_memory) as error:
        refuse_certain(error, where)
        if isinstance(error, NotImplementedError) and not find_line(error):
            hint = "write def step(self, closure=None) in its class"
            raise ModelError("it has no step", where=where, hint=hint) from error
        raise


def _find_origin(training: Training, batch: Batch, error: BaseException) -> str:
    """The line of a forward pass whose gradients an error says to be spoilt, as torch tells in a
    warning; "" for other errors."""
    if _IN_PLACE not in str(error):
        return ""
    with warnings.catch_warnings(record=True) as told, torch.autograd.detect_anomaly():
        warnings.simplefilter("always")
        try:
            training.compute_gradients(batch)
        except any_but_interrupts():
            pass
    return find_told_line("\n".join(str(each.message) for each in told))


# parameters that an optimizer has not, or two have


def _find_strange(loss: Tensor, model: nn.Module) -> list[Tensor]:
    """The parameters that a loss depends on and that are none of the model's."""
    own = {id(each) for each in model.parameters()}
    ahead, seen = [loss.grad_fn], set()
    found: dict[int, Tensor] = {}
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, nn.Parameter) and id(leaf) not in own:
            found[id(leaf)] = leaf
        ahead += [each for each, _ in node.next_functions]
    return list(found.values())


def _tell_strange(strange: Sequence[Tensor], objects: Memory) -> str:
    names = {id(each): name for name, each in _parameters_in(objects)}
    shown = [names.get(id(each), f"one of shape {list(each.shape)}") for each in strange]
    shown = sorted(shown)[:3] + ([f"{len(shown) - 3} more"] if len(shown) > 3 else [])
    return (
        f"the loss depends on parameters that are none of the model's, and nothing trains them: "
        f"{', '.join(shown)}. Keep layers in nn.ModuleList or nn.ModuleDict, and tensors in "
        "nn.ParameterList"
    )


def _parameters_in(objects: Memory) -> Iterator[tuple[str, Tensor]]:
    """The parameters that objects hold, by their places: `my.Net.layers.0.weight`."""
    for place, each in objects.walk():
        for name, value in vars(each).items():
            inside: Iterable[tuple[object, object]] = [("", value)]
            if isinstance(value, Mapping):
                inside = value.items()
            elif isinstance(value, list | tuple):
                inside = enumerate(value)
            for key, found in inside:
                if isinstance(found, nn.Parameter):
                    own = () if name in PLACES else (name,)
                    yield ".".join(map(str, filter(None, (place, *own, str(key))))), found


def _refuse_two_optimizers(
    model: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]
) -> None:
    """Raises ModelError for a step with an optimizer of its own, as of a GAN, some of whose
    parameters the search's would update, too: those whose gradients it finds."""
    both, places = [], []
    for place, optimizer in optimizers.items():
        held = {id(each) for group in optimizer.param_groups for each in group["params"]}
        named = [
            name
            for name, each in model.named_parameters()
            if id(each) in held and each.grad is not None and each.requires_grad
        ]
        both += [each for each in named if each not in both]
        places += [place] if named else []
    if both:
        shown = ", ".join(both[:3]) + (f" and {len(both) - 3} more" if len(both) > 3 else "")
        raise ModelError(
            f"an optimizer of its own ({places[0]}) and the search's both update {shown}: a step "
            "leaves those of its own optimizer no gradient",
            where="train.step",
            hint="after its step call its zero_grad(), and have the returned loss leave them out "
            "(requires_grad_(False) meanwhile); or drop the optimizer, and return the sum of the "
            "losses",
        )
