"""A source's samples before any split."""

from __future__ import annotations

from dataclasses import dataclass

from lrsearch.data.parts import Part, Stream
from lrsearch.data.tables import Array, Table
from lrsearch.data.trees import Tree, count, select

PAIR = Part(None)
"""The form of samples that are inputs and targets."""


@dataclass(frozen=True, eq=False)
class Portion:
    """Samples: inputs, targets (None without) and weights (None where all count alike). `given`
    are the targets before classes were numbered, or numbers scaled, where that changed them;
    `exact` the inputs in float64, where float32 does not hold their digits and standardizing goes
    by these."""

    x: Tree
    y: Array | None
    weight: Array | None = None
    given: Array | None = None
    exact: Array | None = None

    def __len__(self) -> int:
        return count(self.x)

    def at(self, index: Array) -> Portion:
        """Some of the samples."""
        parts = (self.x, self.y, self.weight, self.given, self.exact)
        return Portion(*(None if each is None else select(each, index) for each in parts))


@dataclass(frozen=True, eq=False)
class Raw:
    """A source's arrays, checked and of one form, before any split.

    `x` is float32 [samples, features], [samples, time, features] or [samples, channels, height,
    width]; a tree of arrays of any type where a function returns tensors, mappings or Datasets. `y`
    is int64 [samples] with classes 0..outputs-1, or float64 [samples, outputs] for regression. Text
    has both as int64 [samples, context], and the characters as `labels`. Any other targets make the
    task `own` and are left as they were given. `held` is the source's own validation (or only
    held-out) part and `tested` its test part, None where it has none; `names` are what the source
    calls these two, and `validates` says that the first is a validation part by its name, or its
    place, so that it validates where the spec does not say what does; `unread` are inputs of parts
    that it holds and the spec does not use. `labels` are the classes' names in the source.
    `data_hash` is a SHA-256 over the whole arrays (names, dtypes, shapes, bytes), taken before
    `samples` cuts them: the same content in another file has the same hash; behind a + follows that
    of `exact`, which is as in `Portion`. `lost` names the inputs that lose digits in float32.
    `taken` says which of the source's samples these are, where not all are; `images` whether
    samples of two dimensions became images, None for any others and for bytes, which are images
    unless the spec says not; `channelled` that they got a channel axis. `table` is there for a
    source of columns, whose `x` is not scaled yet: a split encodes it anew. `form` is a part
    without samples, by which a batch becomes what was given again. Samples that are loaded batch by
    batch are in `streams`: training, validation, test, as far as there are; `x` and `y` are the
    first two then. `notes` are for the user.
    """

    name: str
    x: Tree
    y: Array | None
    held: Portion | None
    task: str
    outputs: int
    labels: tuple[str, ...]
    data_hash: str
    table: Table | None = None
    notes: tuple[str, ...] = ()
    weight: Array | None = None
    given: Array | None = None
    tested: Portion | None = None
    form: Part = PAIR
    streams: tuple[Stream, ...] = ()
    exact: Array | None = None
    lost: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    validates: bool = False
    taken: str = ""
    images: bool | None = None
    channelled: bool = False

    def __len__(self) -> int:
        return len(self.streams[0]) if self.streams else count(self.x)

    @property
    def whole(self) -> Portion:
        """All of the first part's samples."""
        return Portion(self.x, self.y, self.weight, self.given, self.exact)
