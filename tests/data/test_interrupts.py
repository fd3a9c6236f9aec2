"""The guard around the user's code: what it catches, and what goes on up."""

import contextlib
import signal
import traceback

import pytest

from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.errors import DataError, LrsearchError
from lrsearch.pulse import Leave


@contextlib.contextmanager
def sigint(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def guarded(error, *others):
    """What a guard catches of an error, or None where the error goes on up."""
    try:
        try:
            raise error
        except any_but_interrupts(*others) as caught:
            return caught
    except BaseException as left:
        assert left is error
        return None


def is_odd(error):
    return error.args == ("odd",)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("odd"),
        SystemExit(1),
        GeneratorExit(),
        DataError("odd"),
        BaseException(),
        KeyError(),
    ],
    ids=repr,
)
def test_a_users_code_may_raise_anything(error):
    assert guarded(error) is error


def test_what_is_named_goes_on_up():
    assert guarded(DataError("no data"), LrsearchError) is None
    assert guarded(DataError("no data"), DataError, is_odd) is None
    assert guarded(ValueError("odd"), LrsearchError, is_odd) is None
    for error in (ValueError("even"), LrsearchError("even")):
        assert guarded(error, DataError, is_odd) is error


def test_the_users_ctrl_c_goes_on_up_and_the_codes_own_does_not():
    with sigint(signal.default_int_handler):
        assert guarded(KeyboardInterrupt()) is None
    with sigint(signal.SIG_IGN):  # As in workers, which no Ctrl-C reaches.
        own = KeyboardInterrupt()
        assert guarded(own) is own
        assert guarded(Leave("asked to leave")) is None


def test_a_guard_within_a_handler_sees_the_error_it_is_for():
    try:
        raise DataError("outer")
    except DataError:
        inner = ValueError("inner")
        assert guarded(inner, DataError) is inner
        assert guarded(DataError("inner"), DataError) is None


def test_what_goes_on_up_has_the_traceback_it_would_have_without_a_guard():
    def plain():
        raise DataError("bare")

    def with_guard():
        try:
            plain()
        except any_but_interrupts(DataError):
            pytest.fail("caught")

    with pytest.raises(DataError) as found:
        with_guard()
    names = [frame.name for frame in traceback.extract_tb(found.value.__traceback__)]
    assert names[-2:] == ["with_guard", "plain"] and "any_but_interrupts" not in names
    assert found.value.__context__ is None and found.value.__cause__ is None
