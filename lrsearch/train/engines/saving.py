"""The state of a training as plain JSON and tensors, and back: nothing that would run."""

from __future__ import annotations

import random
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from lrsearch import states
from lrsearch.schedules import Plateau
from lrsearch.states import Header, State, Unusable
from lrsearch.train.device import free_memory, is_out_of_memory
from lrsearch.train.users.draws import put_draws, read_draws
from lrsearch.train.users.memory import GONE, Memory, Unseen
from lrsearch.trial import Cohort, Noted, Saved, Trial

SHARE = 50
"""Least ratio of a trial's training time between two saved states to the time that the last one
took."""


class Saver:
    """The times at which a trial is saved: after `every` seconds, None for never, and not so often
    that it costs more than a share of the time. The first count begins with its making."""

    def __init__(self, every: float | None) -> None:
        self.every = every
        self._cost = 0.0
        self._last = time.monotonic()

    def is_due(self, *, beside: int = 1) -> bool:
        """Whether it is time to save; `beside` is the number of trials that save as often on this
        device."""
        if self.every is None:
            return False
        return time.monotonic() - self._last >= max(self.every, SHARE * self._cost * beside)

    def note(self, begun: float) -> None:
        """Take the time of a saving, from `begun`, a `time.monotonic()`, until now."""
        self._last = time.monotonic()
        self._cost = self._last - begun


def save(
    trial: Trial,
    engine: str,
    device: torch.device,
    at: tuple[int, int],
    take: Callable[[], tuple[Any, Encoder]],
) -> Saved | Noted:
    """The event that has a trial saved, or says why it cannot be: `at` are the step and the steps
    of the whole, `take` gives the tree of a state and the `Encoder` that takes it."""
    try:
        tree, tensors = take()
        content = tensors.encode(tree)
        head = Header(trial.key, engine, device.type, str(torch.__version__), *at)
        return Saved(trial.number, engine, *at, states.pack(head, content, tensors.pack()))
    except Exception as error:  # Of objects of the user's, too.
        return _cannot_save(trial, error, device)


def _cannot_save(trial: Trial, error: Exception, device: torch.device) -> Noted:
    """The event with the reason why a training is not saved. Memory that the attempt took is freed,
    since the training goes on."""
    reason = str(error).partition(chr(10))[0]
    if is_out_of_memory(error):
        traceback.clear_frames(error.__traceback__)
        free_memory(device)
    reason = reason if isinstance(error, Unseen) else f"{type(error).__name__}: {reason}"
    return Noted(trial.number, f"trainings are not saved while they are under way: {reason}")


def begins_again(trial: Trial, reason: str) -> Noted:
    """The event with the reason why a training does not go on from an existing state."""
    text = f"trial {trial.number} begins again: its saved state cannot be used: {reason}"
    return Noted(trial.number, text)


def explain(error: Exception) -> str:
    """The reason why a state could not be restored."""
    return str(error) if isinstance(error, Unusable) else f"{type(error).__name__}: {error}"


def save_stem(
    trial: Trial, engine: str, device: torch.device, at: tuple[int, int], stem: State
) -> Saved | Noted:
    """The event that has a trial saved which is yet to go on from a copy of its stem's state, or
    says why it cannot be; `at` are the fork, and the trial's own steps."""
    try:
        head = Header(trial.key, engine, device.type, str(torch.__version__), *at)
        content = states.pack(head, {_STEM: stem.content}, stem.tensors)
        return Saved(trial.number, engine, *at, content)
    except Exception as error:
        return _cannot_save(trial, error, device)


_STEM = "stem"
"""The one name in the content of a state that is a stem's, as it is where a trial branches off."""


def load(
    cohort: Cohort, trial: Trial, engine: str, device: torch.device
) -> tuple[State, State | None]:
    """The saved state of a trial, and the one in it that is its stem's, for a trial that had yet to
    go on from there. Raises Unusable for a state of another training, or a damaged one."""
    state = states.read(cohort.states[trial.number])
    version = str(torch.__version__)
    states.check(state.header, key=trial.key, engine=engine, device=device.type, torch=version)
    content = state.content
    stem = isinstance(content, dict) and content.keys() == {_STEM}
    return state, replace(state, content=content[_STEM]) if stem else None


def check_steps(saved: Mapping[str, Any], budget: int) -> None:
    """Raise Unusable for a tree of a state that was not saved within a training of so many steps,
    after its latest evaluation."""
    step, since, course = saved["step"], saved["since"], saved["course"]
    states.check_counts(step, since)
    evaluated = course["curve"].get("step") or [0]
    if not since <= step <= budget or course["steps"] != step or evaluated[-1] != since:
        raise Unusable("its steps are not those of this training")


def put_plateau(plateau: Plateau, saved: Mapping[str, Any]) -> None:
    """Restore a plateau from a saved state. Raises Unusable for a state that no plateau has."""
    states.check_counts(*(saved[name] for name in ("bad", "good", "waiting")))
    best = () if saved["best"] is None else (saved["best"],)
    states.check_numbers(saved["scale"], *best, finite=True)
    plateau.put(saved)


@dataclass(frozen=True)
class Named:
    """A value whose place an error names."""

    place: str
    value: Any


class Encoder:
    """Encoder of plain values and tensors. `known` are tensors that are encoded by name: those of
    the model, which a state has apart. Raises Unseen for any other value."""

    def __init__(self, device: torch.device, known: Mapping[str, Tensor] | None = None) -> None:
        self.device = device
        self._known = {id(each): name for name, each in (known or {}).items()}
        self._kept: dict[int, tuple[str, Tensor]] = {}
        self._spans: dict[int, list[tuple[int, int]]] = {}
        self._seen: dict[int, Any] = {}

    def pack(self) -> bytes:
        """The tensors so far, a safetensors file's content."""
        content: bytes = safetensors.torch.save(
            {name: plain(each) for name, each in self._kept.values()}
        )
        return content

    def encode(self, value: Any) -> Any:
        """Encode a value as JSON; tensors by their number."""
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            return value
        if kind in (Tensor, nn.Parameter, nn.Buffer):
            return self._encode_tensor(value)
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
            scalar = isinstance(value, np.generic)
            array = np.ascontiguousarray(value).reshape(value.shape)
            tag = "number" if scalar else "array"
            return {tag: array.dtype.str, "shape": list(value.shape), "hex": array.tobytes().hex()}
        if kind is complex:
            return {"complex": [value.real, value.imag]}
        if kind is bytes:
            return {"bytes": value.hex()}
        return self._encode_parts(value, kind)

    def _encode_parts(self, value: Any, kind: type) -> Any:
        if kind is Named:
            try:
                return self.encode(value.value)
            except Unseen as error:
                raise Unseen(f"{value.place} holds {error}") from None
        if id(value) in self._seen and kind not in (tuple, frozenset):
            raise Unseen(f"a {kind.__name__} that stands in several places")
        self._seen[id(value)] = value  # Kept, or its number might become another's.
        if kind is list:
            return {"list": [self.encode(each) for each in value]}
        if kind is tuple:
            return {"tuple": [self.encode(each) for each in value]}
        if kind in (set, frozenset):
            return {kind.__name__: [self.encode(each) for each in value]}
        if kind in (dict, OrderedDict):
            pairs = [[self.encode(key), self.encode(each)] for key, each in value.items()]
            return {kind.__name__: pairs}
        if kind is deque:
            return {"deque": [self.encode(each) for each in value], "most": value.maxlen}
        if kind in _GENERATORS:
            return {_GENERATORS[kind]: self.encode(read_draws(value))}
        raise Unseen(f"a {kind.__name__}")

    def _encode_tensor(self, value: Tensor) -> Any:
        if id(value) in self._known:
            return {"known": self._known[id(value)]}
        if value.layout is not torch.strided or value.grad_fn is not None or value.is_quantized:
            raise Unseen("a tensor that is sparse, quantized, or part of a graph")
        if id(value) not in self._kept:
            if self._overlaps(value):
                raise Unseen("tensors that share memory")
            self._kept[id(value)] = f"{len(self._kept)}", value
        found: dict[str, Any] = {"tensor": self._kept[id(value)][0]}
        if not value.is_contiguous():
            found["strides"] = list(value.stride())
        if value.device.type != self.device.type:
            found["device"] = value.device.type
        if _is_two(value):
            found["complex"] = True
        if value.requires_grad:
            found["grad"] = True
        return found

    def _overlaps(self, value: Tensor) -> bool:
        """Whether a tensor reaches into the memory of one before it, whose changes it would see.

        Parts of one piece that lie beside each other are tensors like any others: cuDNN wants the
        weights of a recurrent layer so.
        """
        storage = value.untyped_storage().data_ptr()
        if not storage or not value.numel():
            return False
        reach = sum(
            (size - 1) * step for size, step in zip(value.shape, value.stride(), strict=True)
        )
        first = value.data_ptr()
        end = first + (reach + 1) * value.element_size()
        spans = self._spans.setdefault(storage, [])
        overlaps = any(begun < end and first < over for begun, over in spans)
        spans.append((first, end))
        return overlaps


def is_kept(value: Tensor) -> bool:
    """Whether a safetensors file has a place for a tensor."""
    return value.layout is torch.strided and not (value.is_quantized or value.is_nested)


def _is_two(value: Tensor) -> bool:
    """Whether a tensor's numbers are kept as two real ones each: a safetensors file has one type of
    complex numbers."""
    return value.is_complex() and value.dtype is not torch.complex64


def plain(value: Tensor) -> Tensor:
    """A copy on the CPU, as a safetensors file keeps it."""
    copied = value.detach().to("cpu", copy=True)
    return (torch.view_as_real(copied.resolve_conj()) if _is_two(value) else copied).contiguous()


def restore(kept: Tensor, like: Tensor) -> Tensor:
    """A tensor as it was, from what `plain` made of one of the same type."""
    return torch.view_as_complex(kept) if _is_two(like) else kept


def decode(state: State, device: torch.device) -> Any:
    """Restore a value that `Encoder` took apart, its tensors on the device. Raises Unusable for any
    other."""
    try:
        return _Decoder(safetensors.torch.load(state.tensors), device).decode(state.content)
    except Unusable:
        raise
    except Exception as error:
        raise Unusable(f"it cannot be read: {type(error).__name__}") from None


class Known(str):
    """The name of a tensor that is encoded by it."""


class _Decoder:
    def __init__(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        self.tensors, self.device = tensors, device
        self.made: dict[str, Tensor] = {}

    def decode(self, value: Any) -> Any:
        if not isinstance(value, dict):
            if isinstance(value, list):
                raise Unusable("it says what no version of lrsearch writes")
            return value
        tag, content = next(iter(value.items()))
        if tag == "tensor":
            return self._tensor(value)
        if tag == "known":
            return Known(content)
        if tag in ("array", "number"):
            made = np.frombuffer(bytes.fromhex(value["hex"]), dtype=np.dtype(content))
            if made.dtype.kind not in "biuf":
                raise Unusable("it holds an array of objects")
            made = made.reshape(value["shape"]).copy()
            return made if tag == "array" else made[()]
        if tag == "deque":
            return deque(map(self.decode, content), value["most"])
        if tag == "complex":
            return complex(*content)
        if tag == "bytes":
            return bytes.fromhex(content)
        if tag in ("dict", "OrderedDict"):
            kind = dict if tag == "dict" else OrderedDict
            return kind((self.decode(key), self.decode(each)) for key, each in content)
        if tag in _GENERATORS.values():
            return _Drawn(tag, self.decode(content))
        return _SEQUENCES[tag](map(self.decode, content))

    def _tensor(self, value: Mapping[str, Any]) -> Tensor:
        name = value["tensor"]
        if name not in self.made:
            read = self.tensors[name]
            if value.get("complex"):
                read = torch.view_as_complex(read)
            if "strides" in value:
                wide = torch.empty_strided(read.shape, value["strides"], dtype=read.dtype)
                read = wide.copy_(read)
            read = read.to(value.get("device", self.device))
            self.made[name] = read.requires_grad_() if value.get("grad") else read
        return self.made[name]


_SEQUENCES: dict[str, Callable[[Any], Any]] = {
    "list": list, "tuple": tuple, "set": set, "frozenset": frozenset,
}  # fmt: skip


class _Drawn:
    """The state of a random generator of the user's; the generator object itself is kept."""

    def __init__(self, kind: str, state: Any) -> None:
        self.kind, self.state = kind, state

    def put(self, generator: Any) -> None:
        """Restore the generator's state."""
        if _GENERATORS.get(type(generator)) != self.kind:
            raise Unusable("a random generator is of another kind")
        put_draws(generator, self.state)


_GENERATORS: dict[type, str] = {
    random.Random: "Random",
    np.random.Generator: "Generator",
    np.random.RandomState: "RandomState",
    torch.Generator: "torch.Generator",
}


# Models, optimizers and what the user's code remembers


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; tied ones once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@torch.no_grad()
def put_model(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Restore a model's parameters and buffers. Raises Unusable for another model's."""
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    if not parameters.keys() <= saved.keys():
        raise Unusable("the model has other parameters")
    for name, each in saved.items():
        held = parameters.get(name, buffers.get(name))
        if held is not None and held.shape == each.shape and held.dtype == each.dtype:
            held.copy_(each)
            continue
        owner, _, own = name.rpartition(".")
        module = model.get_submodule(owner)
        if name in parameters or own not in module._buffers:
            raise Unusable(f"the model has another {name}")
        module._buffers[own] = each.clone()
    for name in buffers.keys() - saved.keys():  # Which the training has taken away.
        owner, _, own = name.rpartition(".")
        model.get_submodule(owner)._buffers[own] = None


def take_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of an optimizer: its groups without their parameters, and the state of each
    parameter in their order. Raises Unseen for state of other objects."""
    parameters = _parameters(optimizer)
    state = optimizer.state
    if len(state) > sum(each in state for each in parameters):
        raise Unseen("the optimizer keeps state of what is no parameter")
    return {
        "groups": [
            {key: each for key, each in group.items() if key != "params"}
            for group in optimizer.param_groups
        ],
        "state": [
            Named("the optimizer's state", dict(state[each])) if each in state else None
            for each in parameters
        ],
    }


def put_optimizer(
    optimizer: torch.optim.Optimizer, saved: Mapping[str, Any], known: Mapping[str, Tensor]
) -> None:
    """Restore an optimizer, in place of `load_state_dict`, which would cast its state to the
    parameters' type."""
    parameters = _parameters(optimizer)
    groups, state = saved["groups"], saved["state"]
    if len(groups) != len(optimizer.param_groups) or len(state) != len(parameters):
        raise Unusable("the optimizer has other groups of parameters")
    for group, held in zip(optimizer.param_groups, groups, strict=True):
        if "params" in held or any(
            not _is_alike(group[key], held[key]) for key in group.keys() & held.keys()
        ):
            raise Unusable("the optimizer has other settings")
        group.update(_name_tensors(held, known))
    for each, held in zip(parameters, state, strict=True):
        if held is None:
            optimizer.state.pop(each, None)
        else:
            # In place: parts of one optimizer may share the mapping.
            optimizer.state[each] = _name_tensors(held, known)


def _is_alike(own: Any, saved: Any) -> bool:
    """Whether a setting of an optimizer may have become the other one."""
    numbers = (int, float, Tensor, Known)
    both = isinstance(own, numbers) and isinstance(saved, numbers)
    return both or own is None or saved is None or type(own) is type(saved)


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [each for group in optimizer.param_groups for each in group["params"]]


def _name_tensors(value: Any, known: Mapping[str, Tensor]) -> Any:
    """A decoded value with tensors in place of their names."""
    if isinstance(value, Known):
        return known[value]
    if isinstance(value, dict):
        return type(value)((key, _name_tensors(each, known)) for key, each in value.items())
    if isinstance(value, deque):
        return deque((_name_tensors(each, known) for each in value), value.maxlen)
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(_name_tensors(each, known) for each in value)
    return value


def take_memory(memory: Memory) -> list[Any]:
    """Attributes of the user's objects that have changed: place, name and value of each."""
    return [
        [owner, name, None if value is GONE else [Named(f"{owner}.{name}".strip("."), value)]]
        for (owner, name), value in memory.changes().items()
    ]


def put_memory(memory: Memory, saved: Sequence[Any], known: Mapping[str, Tensor]) -> None:
    """Restore the attributes of the user's objects. Raises Unusable where the objects are
    others."""
    owners = memory.owners()
    for owner, name, held in saved:
        if owner not in owners:
            raise Unusable(f"there is no {owner}")
        attributes = owners[owner]
        if held is None:
            attributes.pop(name, None)
        elif isinstance(held[0], _Drawn):
            held[0].put(attributes.get(name))
        else:
            attributes[name] = _name_tensors(held[0], known)
