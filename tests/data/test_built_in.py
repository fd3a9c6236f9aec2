import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec

import numpy as np
import pytest
from sklearn import datasets

from lrsearch.data import built_in, sources
from lrsearch.errors import DataError

LOADERS = {
    "digits": datasets.load_digits,
    "breast_cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
    "iris": datasets.load_iris,
    "diabetes": datasets.load_diabetes,
}


def check_same(name):
    x, y = LOADERS[name](return_X_y=True)
    if name == "digits":
        x = x.reshape(-1, 1, 8, 8) / 16.0
    found = sources.SOURCES[name]()
    for mine, theirs in ((found["x"], x), (found["y"], y)):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs, strict=True)


@pytest.mark.parametrize("name", LOADERS)
def test_tables_are_those_of_the_package_bit_by_bit(name):
    check_same(name)


def test_all_of_them_are_read_without_the_package():
    code = (
        "import sys\nfrom lrsearch.data import sources\n"
        f"for name in {list(LOADERS)}: sources.SOURCES[name]()\n"
        "print(sorted({'sklearn', 'scipy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("text", [None, "1,2,3\n", "a\nb\n"], ids=str)
@pytest.mark.parametrize("name", ["iris", "digits", "diabetes"])
def test_other_files_than_are_known_have_the_package_asked(name, text, tmp_path, monkeypatch):
    folder = tmp_path / "sklearn" / "datasets" / "data"
    folder.mkdir(parents=True)
    for each in ("iris.csv", "digits.csv.gz", "diabetes_data_raw.csv.gz"):
        if text is not None:
            (folder / each).write_text(text)
    found = ModuleSpec("sklearn", None, origin=str(tmp_path / "sklearn" / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    check_same(name)


def test_a_missing_package_is_said(monkeypatch, tmp_path):
    # Files of these names where the command runs are not the package's.
    (tmp_path / "datasets" / "data").mkdir(parents=True)
    (tmp_path / "datasets" / "data" / "iris.csv").write_text("2,1,a\n1.0,0\n2.0,1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(DataError, match="iris: its files come with scikit-learn") as caught:
        built_in.read_iris()
    assert caught.value.hint == "pip install scikit-learn"
