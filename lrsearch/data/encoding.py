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
    unknown categories ignored). The width is that of the whole table, so that every fold trains the
    same model; a category that no training row has is all zeros.
    """
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    widths = [len(categories) for categories in table.categories]
    count = table.numbers.shape[1]
    x = np.zeros((len(table.y), count + sum(widths)), np.float32)
    if count:
        numbers = table.numbers
        if standardize:
            far = find_far(numbers, VERY_FAR)
            if far.any():  # Counted from a row of its own on their mean is exact again.
                numbers = np.where(far, numbers - numbers[rows[0]], numbers)
            numbers = StandardScaler().fit(numbers[rows]).transform(numbers)
        x[:, :count] = numbers
    if widths:
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
        encoder.fit(table.codes[rows])
        starts = count + np.cumsum([0, *widths[:-1]])
        known = [start + seen for start, seen in zip(starts, encoder.categories_, strict=True)]
        x[:, np.concatenate(known)] = encoder.transform(table.codes)
    return x
