"""The small tables that come with scikit-learn, read from its files: without its import, which
takes longer than many trainings."""

from __future__ import annotations

import csv
import gzip
import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from lrsearch.data.tables import Array
from lrsearch.errors import DataError


def read_digits() -> dict[str, Array]:
    """Images float64 [samples, 1, 8, 8] from 0 to 1, and their digits."""
    arrays = _read("load_digits", _digits)
    return {"x": arrays["x"].reshape(-1, 1, 8, 8) / 16.0, "y": arrays["y"]}


def read_breast_cancer() -> dict[str, Array]:
    """Features float64 [samples, 30], and two classes."""
    return _read("load_breast_cancer", partial(_csv, "breast_cancer.csv"))


def read_wine() -> dict[str, Array]:
    """Features float64 [samples, 13], and three classes."""
    return _read("load_wine", partial(_csv, "wine_data.csv"))


def read_iris() -> dict[str, Array]:
    """Features float64 [samples, 4], and three classes."""
    return _read("load_iris", partial(_csv, "iris.csv"))


def read_diabetes() -> dict[str, Array]:
    """Features float64 [samples, 10] of zero mean and unit length, and targets float64."""
    return _read("load_diabetes", _diabetes)


def _read(loader: str, reader: Callable[[Path], tuple[Array, Array]]) -> dict[str, Array]:
    """The arrays that a loader of `sklearn.datasets` returns. Where its files are not those that
    are known here, as in another version of it, the loader itself is asked. Raises DataError where
    scikit-learn is missing."""
    package = importlib.util.find_spec("sklearn")
    try:
        if package is None or package.origin is None:
            raise FileNotFoundError("scikit-learn is not installed as a folder of files")
        x, y = reader(Path(package.origin).parent / "datasets" / "data")
    except (OSError, ValueError, IndexError):
        try:
            from sklearn import datasets
        except ImportError as error:
            raise DataError(
                f"its files come with scikit-learn, which cannot be imported: {error}",
                where=loader.removeprefix("load_"),
                hint="pip install scikit-learn",
            ) from error
        x, y = getattr(datasets, loader)(return_X_y=True)
    return {"x": x, "y": y}


def _csv(name: str, folder: Path) -> tuple[Array, Array]:
    """Features and classes; the first line counts them and names the classes."""
    with (folder / name).open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    numbers = np.array(rows, np.float64)
    return numbers[:, :-1].copy(), numbers[:, -1].astype(int)


def _digits(folder: Path) -> tuple[Array, Array]:
    rows = _numbers(folder / "digits.csv.gz", ",")
    return rows[:, :-1], rows[:, -1].astype(int)


def _diabetes(folder: Path) -> tuple[Array, Array]:
    x = _numbers(folder / "diabetes_data_raw.csv.gz")
    centred = x - x.mean(axis=0)
    return centred / x.std(axis=0) / len(x) ** 0.5, _numbers(folder / "diabetes_target.csv.gz")


def _numbers(path: Path, delimiter: str | None = None) -> Array:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return np.loadtxt(file, delimiter=delimiter)
