"""A table's columns as the numbers a network takes."""

from __future__ import annotations

import numpy as np

from lrsearch.data.precision import VERY_FAR, find_far
from lrsearch.data.tables import Array, Table


def encode(table: Table, rows: Array, *, standardize: bool) -> Array:
    """Encode all rows of a table as float32 [samples, features], by the training rows' statistics.

    `rows` are the indices of the training split. First come the columns of numbers, standardized by
    the training rows' mean and deviation where asked for (scikit-learn's StandardScaler: a constant
    column is only centred), then one feature for each category of each other column (OneHotEncoder,
    unknown categories ignored). A gap has the mean of the training rows, or no category. The width
    is that of the whole table, so that every fold trains the same model; a category that no
    training row has is all zeros.
    """
    widths = [len(categories) for categories in table.categories]
    count = table.numbers.shape[1]
    x = np.zeros((len(table.y), count + sum(widths)), np.float32)
    if count:
        numbers = table.fill(rows)
        if standardize:
            far = find_far(numbers, VERY_FAR)
            if far.any():  # Counted from a row of its own on their mean is exact again.
                numbers = np.where(far, numbers - numbers[rows[0]], numbers)
            mean, scale = _measure(numbers[rows])
            numbers = (numbers - mean) / scale
        x[:, :count] = numbers
    start = count
    for codes, width in zip(table.codes.T, widths, strict=True):
        known = np.unique(codes[rows][codes[rows] >= 0])
        x[:, start + known] = codes[:, None] == known
        start += width
    return x


_SEEN = 1e-3
"""The rest of a constant column that the rounding of its mean may leave."""


def _measure(numbers: Array) -> tuple[Array, Array]:
    """The mean and the scale of each column: its deviation by the corrected two-pass algorithm
    (Chan, Golub and LeVeque, 1983), and 1 where that is no more than rounding."""
    count = len(numbers)
    mean = numbers.sum(axis=0) / count
    lost = (np.ptp(numbers, axis=0) == 0) & (np.abs(numbers[0] - mean) > _SEEN)
    mean = np.where(lost, numbers[0], mean)
    around = numbers - mean
    correction = around.sum(axis=0)
    variance = ((around**2).sum(axis=0) - correction**2 / count) / count
    eps = np.finfo(np.float64).eps
    constant = variance <= count * eps * variance + (count * mean * eps) ** 2
    return mean, np.where(constant, 1.0, np.sqrt(variance))
