"""Data that are loaded batch by batch: they do not fit in memory, change at each reading, or have a
`collate_fn` or an order of their own."""

from __future__ import annotations

import contextlib
import itertools
import math
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    default_collate,
    get_worker_info,
)

from lrsearch import forks, pulse
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.noise import States, get_states, set_states
from lrsearch.data.parts import Part, Stream, divide
from lrsearch.data.raised import tell_raised, tell_trace
from lrsearch.data.raw import Raw
from lrsearch.data.splitting import Loaded, Splits
from lrsearch.data.trees import Tree, count, leaves, map_tree
from lrsearch.errors import LrsearchError, ModelError
from lrsearch.train.batches.averaging import BATCHES, recalibration_batches
from lrsearch.train.batches.batch import NOTHING, Batch, join
from lrsearch.train.randomness import batches
from lrsearch.train.tape import NotRecordable
from lrsearch.train.users.memory import Memory, Unseen, global_values
from lrsearch.train.users.reading import find_readers

SAMPLED = 4
"""Batches that lanes are tried on."""

LOADED_CHUNK = 64
"""Samples per forward pass of an evaluation."""

OWN_ORDER = "its DataLoader has an order of its own"
SHAPES = "its batches differ in shape"
"""The reason why such data train alone."""


class Streamed:
    """One fold's training and validation split, loaded by `torch.utils.data.DataLoader`, in the
    order of a trial's seed. It has the part of the interface of `resident.Resident` that the solo
    engine uses."""

    scale: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()

    def __init__(self, raw: Raw, splits: Splits, view: str, device: torch.device) -> None:
        assert isinstance(splits.train, Loaded) and isinstance(splits.validation, Loaded)
        self.device, self.view = device, view
        self.task = "own" if view == "step" else raw.task
        self.outputs = raw.outputs
        self._train, self._validation = splits.train, splits.validation
        self._entries = 0
        self._remembers = ""
        self._example = map_tree(self._to_device, raw.x)

    @property
    def samples(self) -> int:
        """Size of the training split."""
        return len(self._train)

    @property
    def validation_samples(self) -> int:
        """Size of the validation split."""
        return len(self._validation)

    @property
    def example(self) -> Tree:
        """The inputs of two samples."""
        return self._example

    bytes = 0

    @property
    def objects(self) -> dict[str, object]:
        """The user's objects that give samples, by name; they may remember what they have given."""
        found: dict[str, object] = {}
        for name, part in (("training", self._train), ("validation", self._validation)):
            found[f"the {name} dataset"] = part.stream.dataset
            if part.stream.collate is not None:
                found[f"the {name} collate_fn"] = part.stream.collate
        return found

    def refuse_saving(self, memory: Memory) -> None:
        """Raises Unseen where a training on these data could not go on from a saved state. `memory`
        is of `objects` before the training: trials share them, so none may change them."""
        if self._train.stream.make is not None:
            raise Unseen("its DataLoader has an order of its own, which begins anew")
        if self._remembers:
            raise Unseen(f"{self._remembers}, in the processes that load the data")
        for place in memory.changes():
            raise Unseen(f"{'.'.join(place)} changes as it is read")

    def chunk(self, most: int) -> int:
        """Samples per forward pass of an evaluation."""
        return min(most, LOADED_CHUNK)

    def measure_epoch(self, size: int) -> tuple[int, int | Fraction]:
        """The samples of an epoch, and of a batch on average: a loader with its own order may give
        batches of any size. Raises ModelError as `measure_pass`."""
        if self._train.stream.make is None:
            return len(self._train), size
        return measure_pass(self._train.stream, size)

    def batches(self, size: int, seed: int, first: int = 0) -> Iterator[Batch]:
        """Batches of the training split in the order of a seed, without end, from the `first` on; a
        loader with its own order gives its batches, pass after pass."""
        stream, index = self._train.stream, self._train.index
        if stream.make is not None:
            return itertools.islice(self._own_batches(stream, size, seed), first, None)
        order = batches(len(index), size, seed, torch.device("cpu"))
        later = itertools.islice(order, first, None)
        return self._load(stream, (index[each.numpy()] for each in later), seed, first)

    def calibration(self, size: int) -> Iterator[Batch]:
        """The batches that `averaging` gathers statistics from."""
        stream, index = self._train.stream, self._train.index
        if stream.make is not None:
            samples, mean = self.measure_epoch(size)
            return itertools.islice(
                self._own_batches(stream, size, 0), min(BATCHES, math.ceil(samples / mean))
            )
        order = recalibration_batches(len(index), size, torch.device("cpu"))
        return self._load(stream, (index[each.numpy()] for each in order), 0)

    def spread_out(self, most: int) -> Batch:
        """A batch of samples, at most `most`, spread over the training split."""
        stream, index = self._train.stream, self._train.index
        if stream.make is not None:
            return next(self._own_batches(stream, min(most, len(index)), 0))
        chosen = min(most, len(index))
        return next(self._load(stream, [index[np.arange(chosen) * len(index) // chosen]], 0))

    def validation_batches(self, size: int) -> Iterator[Batch]:
        """The validation split, so many samples at a time. Raises ModelError where a loader with an
        order of its own gives another number of samples."""
        stream, index = self._validation.stream, self._validation.index
        if stream.make is not None:
            aside = _Aside(0)
            loaded = self._given(_make_loader(stream, size, 0, aside), aside)
        else:
            parts = [index[start : start + size] for start in range(0, len(index), size)]
            loaded = self._load(stream, parts, 0)
        samples = entries = 0
        for batch in loaded:
            samples += batch.samples
            entries += batch.y.numel() if isinstance(batch.y, Tensor) else 0
            yield batch
        if samples != len(index):
            raise ModelError(
                f"the DataLoader of the validation split gives {samples} of its {len(index)} "
                "samples",
                hint="every sample counts once there: leave out drop_last",
            )
        self._entries = entries

    def loss_terms(self, *, built_in: bool) -> float:
        """The divisor of the summed loss of the last validation: the entries of its targets, which
        a built-in loss sums over, or the number of samples."""
        if built_in and self.task != "classification":
            return float(self._entries)
        return float(len(self._validation))

    def in_own_units(self, outputs: Tree, targets: Tree) -> tuple[Tree, Tree]:
        """The same: what is loaded is never scaled."""
        return outputs, targets

    def sample(self, size: int) -> dict[str, Any]:
        """Some batches, as the fields of a `Resident`, to try lanes on. Raises NotRecordable for
        data that lanes cannot share, and where reading changes tensors or numbers in globals: a
        model may read them, and what it does with them is recorded once."""
        if self._train.stream.make is not None:
            raise NotRecordable(OWN_ORDER)
        readers = find_readers([self._train.stream, self._validation.stream])
        owners = [each.value for each in readers]
        shared = global_values(owners)
        parts = list(itertools.islice(self.batches(size, 0), SAMPLED))
        held = next(self.validation_batches(self.chunk(LOADED_CHUNK)))
        if len({str([each.shape for _, each in leaves(tuple(part))]) for part in parts}) > 1:
            raise NotRecordable(SHAPES)
        for each in readers:
            if counted := each.changes()[0]:
                raise NotRecordable(f"{each.name}.{counted[0]} changes as it is read")
        now = global_values(owners)
        if changed := [name for name, value in now.items() if shared.get(name, value) != value]:
            raise NotRecordable(f"{changed[0]} changes as samples are read")
        x, y, weight = (join([part[place] for part in parts]) for place in range(3))
        return {
            "x_train": x,
            "y_train": y,
            "w_train": weight,
            "x_validation": held.x,
            "y_validation": held.y,
            "w_validation": held.weight,
            "task": self.task,
            "outputs": self.outputs,
            "inputs": self._example,
            "epoch": self.samples,
        }

    # loading

    def _load(
        self, stream: Stream, indices: Iterable[Any], seed: int, first: int = 0
    ) -> Iterator[Batch]:
        """Load batches of these samples, by the stream's workers. Random draws on the way follow
        from the seed and the batch's number, whichever worker loads it."""
        samples = _Samples(stream, seed)
        loader: DataLoader[Any] = DataLoader(
            samples,
            batch_sampler=_Order(indices, first),
            collate_fn=_as_it_is,
            num_workers=stream.workers,
            generator=torch.Generator(),  # Else it draws its seed from the trial's noise.
            worker_init_fn=_obey_parent,
            pin_memory=self.device.type == "cuda",
        )
        with _sparing_children():
            loaded = iter(loader)
        for each in loaded:
            pulse.beat()
            if isinstance(each, _Failed):
                error = ModelError(each.reason)
                error.add_note(each.trace)
                raise error
            samples.check()
            if isinstance(each, _Remembering):
                self._remembers, each = each.what, each.loaded
            yield self._take(each)

    def _own_batches(self, stream: Stream, size: int, seed: int) -> Iterator[Batch]:
        """The batches of a loader's own order, of any size, pass after pass."""
        aside = _Aside(seed)
        for epoch in itertools.count():
            found = False
            for batch in self._given(_make_loader(stream, size, epoch, aside), aside):
                found = True
                yield batch
            if not found:
                raise _no_batch(size)

    def _given(self, loader: Any, aside: _Aside) -> Iterator[Batch]:
        """The batches of one pass of a loader."""
        return (self._take(each) for each in _drawn(loader, aside))

    def _take(self, loaded: Any) -> Batch:
        """Take a loaded batch in the form a training gets it, on the device."""
        return self._see(divide(loaded))

    def _see(self, part: Part) -> Batch:
        x, y, weight = (
            None if each is None else map_tree(convert, each)
            for convert, each in (
                (self._to_device, part.x),
                (self._as_given, part.y),
                (self._as_given, part.weight),
            )
        )
        if self.view == "step":
            return Batch(replace(part, x=x, y=y, weight=weight).rejoin())
        if self.task == "classification" and y is not None:
            _check_classes(part.y, self.outputs)
            y = y.reshape(-1)
        return Batch(x, NOTHING if y is None else y)

    def _to_device(self, value: Any) -> Tensor:
        """Inputs as a tensor of float32, int64 or bool; images of bytes between 0 and 1."""
        found = torch.as_tensor(value)
        if found.dtype == torch.uint8 and found.dim() > 2:
            return found.to(self.device, non_blocking=True).float() / 255
        return self._as_given(found)

    def _as_given(self, value: Any) -> Tensor:
        """Make a tensor of float32, int64 or bool, values unchanged."""
        found = torch.as_tensor(value)
        if found.is_floating_point():
            kind = torch.float32
        else:
            kind = found.dtype if found.dtype == torch.bool else torch.int64
        return found.to(self.device, non_blocking=True).to(kind)


@contextlib.contextmanager
def _sparing_children() -> Iterator[None]:
    """Keep a signal of `forks.ENDING` to a whole process group from processes that start within:
    their parent waits for their batches, saves the trial under way, and ends them."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, forks.ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _obey_parent(_: int) -> None:
    """End this process, in which SIGTERM is blocked, by its parent's SIGTERM, as a loader ends a
    stuck one, and after its parent's end."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        while parent.is_alive():
            sent = signal.sigtimedwait({signal.SIGTERM}, 2.0)
            if sent is not None and sent.si_pid == parent.pid:
                break
        os._exit(0)

    if hasattr(signal, "sigtimedwait"):  # Not on macOS.
        threading.Thread(target=wait, daemon=True).start()


def _make_loader(stream: Stream, size: int, epoch: int, aside: _Aside) -> Any:
    """Make a loader with its own order, whose generators follow those of `aside`."""
    assert stream.make is not None
    with aside:
        loader = stream.make(size)
        for each in (loader.sampler, loader.batch_sampler):
            set_epoch = getattr(each, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)
        for each in (loader, loader.sampler, loader.batch_sampler):
            generator = getattr(each, "generator", None)
            if isinstance(generator, torch.Generator):  # It may have served other trials.
                generator.manual_seed(int(torch.randint(2**62, ())))
    return loader


def _drawn(values: Iterable[Any], aside: _Aside) -> Iterator[Any]:
    """Draw from an iterable, leaving a trial's noise alone."""
    with aside:
        given = iter(values)
    while True:
        with aside:
            each = next(given, _END)
        pulse.beat()
        if each is _END:
            return
        yield each


_END = object()

_passes: WeakKeyDictionary[Stream, dict[int, tuple[int, Fraction]]] = WeakKeyDictionary()

ENDLESS = 16
"""The multiple of its length up to which a sampler's indices are awaited."""


def measure_pass(stream: Stream, size: int) -> tuple[int, Fraction]:
    """The samples of one pass over a loader with its own order, and of a batch on average, both
    counted. A pass without end has as many samples as the loader's length says.

    The batches of a dataset's samples are known from its sampler; where only the loader can tell
    (an IterableDataset, whose workers may give all of it each), one pass is loaded. Raises
    ModelError for a loader that raises, or gives nothing.
    """
    known = _passes.setdefault(stream, {})
    if size not in known:
        try:
            known[size] = _count_pass(stream, size)
        except any_but_interrupts(LrsearchError) as error:
            raise ModelError(f"its DataLoader raised {tell_raised(error)}") from error
    return known[size]


def _count_pass(stream: Stream, size: int) -> tuple[int, Fraction]:
    aside = _Aside(0)
    loader = _make_loader(stream, size, 0, aside)
    by_index = not isinstance(loader.dataset, IterableDataset) and loader.batch_sampler is not None
    by_index = by_index and type(loader).__iter__ is DataLoader.__iter__
    most = (ENDLESS if by_index else 2 + stream.workers) * len(stream)
    samples = batches = 0
    with aside:
        for each in loader.batch_sampler if by_index else loader:
            pulse.beat()
            samples += sum(1 for _ in each) if by_index else _count_loaded(each)
            batches += 1
            if samples > most:
                return len(stream), Fraction(samples, batches)
    if not samples:
        raise _no_batch(size)
    return samples, Fraction(samples, batches)


def _count_loaded(loaded: Any) -> int:
    return count(map_tree(torch.as_tensor, divide(loaded).x))


def _no_batch(size: int) -> ModelError:
    return ModelError(
        f"its DataLoader gives no batch at batch_size {size}",
        hint="is it larger than what there is, with drop_last?",
    )


def _check_classes(loaded: Any, classes: int) -> None:
    y = torch.as_tensor(loaded)
    if y.device.type != "cpu":
        return  # Reading them there would have the device waited for at each step.
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise ModelError(f"a target is {wrong}; the {classes} classes are 0 to {classes - 1}")


def _as_it_is(loaded: Any) -> Any:
    """Pass on a batch that is collated already."""
    return loaded


class _Samples(Dataset[Any]):
    """A stream's dataset, whose length must not change. It is indexed by whole batches: their
    number and their samples' indices."""

    def __init__(self, stream: Stream, seed: int) -> None:
        self.dataset, self.size, self.seed = stream.dataset, len(stream), seed
        self.collate = stream.collate or default_collate
        self.looked = False

    def __len__(self) -> int:
        return self.size

    def __getitems__(self, keys: list[tuple[int, int]]) -> Any:
        number = keys[0][0]
        mixed = np.random.SeedSequence((self.seed, number)).generate_state(1, np.uint64)[0]
        with _Aside(int(mixed >> 1)):
            try:
                if get_worker_info() is not None and not self.looked:
                    return self._look([index for _, index in keys])
                return self.collate([self.dataset[index] for _, index in keys])
            except Exception as error:
                if get_worker_info() is None:
                    raise
                # torch would raise a worker's error with its traceback as the message.
                reason = f"loading a batch raised {tell_raised(error)}"
                return _Failed(reason, tell_trace(error))

    def _look(self, indices: list[int]) -> Any:
        """Load the first batch of a process and see whether the dataset remembers being read."""
        self.looked = True
        memory = Memory({"the dataset": self.dataset, "the collate_fn": self.collate})
        loaded = self.collate([self.dataset[index] for index in indices])
        try:
            changed = [".".join(place) for place in memory.changes()]
            what = f"{changed[0]} changes as it is read" if changed else ""
        except Exception as error:  # Unseen, or what the user's objects raise to be looked at.
            what = str(error)
        return _Remembering(loaded, what) if what else loaded

    def check(self) -> None:
        """Raises ModelError where the dataset's length has changed."""
        if len(self.dataset) != self.size:
            raise ModelError(
                f"{type(self.dataset).__name__} has changed its length from {self.size} to "
                f"{len(self.dataset)}"
            )


@dataclass(frozen=True)
class _Remembering:
    """A batch, with the changes that loading it made to its dataset, in a process of the
    loader's."""

    loaded: Any
    what: str


@dataclass(frozen=True)
class _Failed:
    """The error of a batch that a worker could not load."""

    reason: str
    trace: str


class _Order(Sampler[list[Any]]):
    """The indices of each batch, for a DataLoader's `batch_sampler`."""

    def __init__(self, indices: Iterable[Any], first: int) -> None:
        self.indices, self.first = indices, first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for number, index in enumerate(self.indices, self.first):
            yield [(number, place) for place in index.tolist()]


class Window:
    """The batches of a step in the lanes of a program, in memory that stays in place. It has the
    part of the interface of `resident.Resident` that a program uses."""

    def __init__(self, data: Streamed, size: int) -> None:
        self.data, self.size = data, size
        self.task, self.outputs, self.device = data.task, data.outputs, data.device
        self.samples = data.samples
        self.train = Batch(())
        self._slots = 0
        self._rows: list[Tensor] = []

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors that stay in place."""
        return [each for _, each in leaves(tuple(self.train))]

    def chunk(self, most: int) -> int:
        """Samples per forward pass of an evaluation."""
        return self.data.chunk(most)

    def validation_batches(self, size: int) -> Iterator[Batch]:
        """The validation split, so many samples at a time."""
        return self.data.validation_batches(size)

    def in_own_units(self, outputs: Tree, targets: Tree) -> tuple[Tree, Tree]:
        """The same: what is loaded is never scaled."""
        return outputs, targets

    def show(self, loaded: Sequence[Batch], lanes: int) -> list[Tensor]:
        """Put the batches of a step, at most `lanes` of them, in the window; returns the rows of
        each in it, int64 [batch]. Raises NotRecordable for batches of several shapes."""
        if not self._slots:
            self._slots = lanes
            self.train = Batch(*(map_tree(self._make_room, part) for part in loaded[0]))
            rows = torch.arange(lanes * self.size, device=self.device)
            self._rows = list(torch.split(rows, self.size))
        for place, batch in enumerate(loaded):
            pairs = zip(self.tensors, leaves(tuple(batch)), strict=True)
            for room, (_, each) in pairs:
                view = room[place * self.size : (place + 1) * self.size]
                if view.shape != each.shape:
                    raise NotRecordable(SHAPES)
                view.copy_(each)
        return self._rows[: len(loaded)]

    def _make_room(self, each: Tensor) -> Tensor:
        return each.new_zeros((self._slots * self.size, *each.shape[1:]))


class _Aside:
    """Context with the global generators at a state of its own: its draws are no trial's noise."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.inner: States | None = None
        self.outer: States | None = None

    def __enter__(self) -> None:
        self.outer = get_states()
        if self.inner is None:
            # Not those of an accelerator, as `seed_everything`: nothing here puts them back.
            random.seed(self.seed)
            np.random.seed(self.seed % 2**32)
            torch.default_generator.manual_seed(self.seed)
        else:
            set_states(self.inner)

    def __exit__(self, *_: object) -> None:
        self.inner = get_states()
        assert self.outer is not None
        set_states(self.outer)
