"""The line of the user's code in what is said of its errors."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lrsearch.data.raised import find_line, tell_raised, tell_trace
from lrsearch.errors import DataError


def caught(code: str, file: Path, **scope: object) -> BaseException:
    """What the code raises, as the text of a file."""
    file.write_text(code)
    try:
        exec(compile(code, str(file), "exec"), scope)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def raised_by(function: Callable[[], object]) -> BaseException:
    """What a function raises, without the lines of this file in its traceback."""
    try:
        function()
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        return error.with_traceback(trace)
    raise AssertionError("nothing was raised")


def test_the_innermost_line_of_the_users_own_is_told(tmp_path):
    code = (
        "def inner(text):\n    return json.loads(text)\n\ndef outer():\n    inner('{')\n\nouter()\n"
    )
    error = caught(code, tmp_path / "nets.py", json=json)  # The standard library raises it.
    assert find_line(error) == "nets.py, line 2"
    assert tell_raised(error).endswith("(char 1) (nets.py, line 2)")


@pytest.mark.parametrize("folder", ["site-packages/kit", "lib/dist-packages"])
def test_lines_of_packages_are_not_the_users(tmp_path, folder):
    place = tmp_path / folder
    place.mkdir(parents=True)
    error = caught("raise KeyError('x')\n", place / "kit.py")
    assert find_line(error).startswith("test_raised.py, line ")  # Of this file, which calls it.


def test_the_place_stands_behind_the_first_line_of_several(tmp_path):
    error = caught("raise ValueError('sizes differ:\\n  3 and 4')\n", tmp_path / "loss.py")
    assert tell_raised(error) == "ValueError: sizes differ: (loss.py, line 1)\n  3 and 4"


def test_an_error_without_a_line_of_the_users_is_told_alone(tmp_path):
    assert tell_raised(DataError("no samples")) == "DataError: no samples"
    error = caught("def broken(:\n", tmp_path / "nets.py")
    assert tell_raised(error).count("nets.py, line 1") == 1  # Python's own text has it.


def test_an_error_without_a_text_is_told_by_its_name(tmp_path):
    assert tell_raised(caught("assert 1 > 2\n", tmp_path / "nets.py")) == (
        "AssertionError (nets.py, line 1)"
    )


def test_a_traceback_begins_where_the_users_code_does(tmp_path):
    """Also those of its causes; one without the user's code is whole."""
    place = tmp_path / "site-packages"
    place.mkdir()
    (place / "kit.py").write_text("def call(function):\n    function()\n")
    kit: dict[str, object] = {}
    exec(compile((place / "kit.py").read_text(), str(place / "kit.py"), "exec"), kit)
    code = (
        "def inner():\n    raise KeyError('x')\n\ndef outer():\n    try:\n        inner()\n"
        "    except KeyError as error:\n        raise ValueError('no x') from error\n"
    )
    own: dict[str, object] = {}
    (tmp_path / "nets.py").write_text(code)
    exec(compile(code, str(tmp_path / "nets.py"), "exec"), own)
    error = raised_by(lambda: kit["call"](own["outer"]))
    told = tell_trace(error).splitlines()
    assert "kit.py" not in "".join(told) and told[-1] == "ValueError: no x"
    files = [each.split(",")[1] for each in told if each.lstrip().startswith("File")]
    assert files == [" line 6", " line 2", " line 8"]
    assert "decoder.py" in tell_trace(raised_by(lambda: json.loads("{")))
