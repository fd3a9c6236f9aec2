"""Arrays that hold no real numbers: what they hold is said, and what is advised is taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_own_code import raw_of
from torch.utils.data import DataLoader, IterableDataset

from lrsearch.errors import DataError

X = np.arange(24.0).reshape(8, 3)
Y = np.arange(8) % 2
DAYS = np.datetime64("2026-01-01") + np.arange(24).reshape(8, 3)
RECORDS = np.array([(1, 2.0), (3, 4.0)] * 4, dtype=[("a", int), ("b", float)])


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (X + 1j, "x holds complex numbers (complex128): numbers are needed"),
        (torch.from_numpy(X) * 1j, "x holds complex numbers (complex128): numbers are needed"),
        (DAYS, "x holds moments (datetime64[D]): numbers are needed"),
        (DAYS - DAYS[0], "x holds spans of time (timedelta64[D]): numbers are needed"),
        (RECORDS, "x holds records ([('a', '<i8'), ('b', '<f8')]): numbers are needed"),
        (np.array([["1", 2.0]] * 8, object), "x holds objects, '1' at [0, 0]: numbers are needed"),
    ],
)
def test_what_is_advised_is_taken(x: Any, told: str) -> None:
    with pytest.raises(DataError) as caught:
        raw_of((x, Y))
    assert caught.value.message == told
    advised = caught.value.hint.rpartition(": ")[2].partition(", or ")[0]
    assert len(raw_of((eval(advised, {"x": x, "np": np}), Y))) == 8


@pytest.mark.parametrize(
    ("parts", "told", "hint"),
    [
        (([["a"]] * 8, Y), "x holds text (<U1): numbers are needed", "by a vocabulary"),
        ((np.array([[1.0, None]] * 8), Y), "x holds objects, null at [0, 1]", "leave those"),
        ((np.array([[1.0, {}]] * 8), Y), "x holds objects, dict at [0, 1]", "astype('float32')"),
        (({"a b": X + 1j}, Y), "x.a b holds complex numbers (complex128)", "np.stack([x.real,"),
        ((X, Y * 1j), "y holds complex numbers (complex128): classes are", "np.stack([y.real,"),
        ((X, DAYS[:, 0]), "y holds moments (datetime64[D]): classes are integers", "(y - y.min())"),
    ],
)
def test_what_an_array_holds_is_said(parts: Any, told: str, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        raw_of(parts)
    assert caught.value.message.startswith(told) and hint in caught.value.hint


class Endless(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self):
        return iter([(torch.zeros(3), 0)] * 8)


class Rows(Endless):
    classes = (0, 1)

    def __len__(self):
        return 8


@pytest.mark.parametrize(
    ("parts", "place"),
    [
        (((X, Y), DataLoader(Rows(), batch_size=4)), "validation"),
        ((DataLoader(Rows(), batch_size=4), (X, Y)), "training"),
        (((X, Y), DataLoader(Rows(), batch_size=None)), "validation"),
        (((X, Y), Rows()), "validation"),
    ],
)
def test_an_iterable_dataset_is_called_one_wherever_it_stands(parts: Any, place: str) -> None:
    with pytest.raises(DataError) as caught:
        raw_of(parts, validation="source")
    assert "Rows is an IterableDataset, whose samples have no places" in caught.value.message
    assert caught.value.where.endswith(place)
    advised = "return a function in its place: lambda batch_size: DataLoader(Rows(...), batch_size)"
    assert caught.value.hint == advised
    make = eval(advised.partition(": ")[2].replace("...", ""), {**globals()})
    held = X.astype("float32")
    assert len(raw_of((make, (held, Y)), validation="source").streams) == 2


def test_what_an_iterable_dataset_lacks_is_told_at_once() -> None:
    with pytest.raises(DataError) as caught:
        raw_of(DataLoader(Endless(), batch_size=4))
    assert "; and a validation part beside it; and give Endless a __len__" in caught.value.hint
