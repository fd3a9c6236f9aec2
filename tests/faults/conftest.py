"""The fault suite: a short form in every run of the tests, the whole by `pytest -m faults`.

A test that takes `tries` has both forms: a sample of its tries, and all of them behind the marker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import driving
import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test that takes `tries` its two forms."""
    if "tries" in metafunc.fixturenames:
        # The whole may take its time; a hang of what is tested has a limit of its own.
        long = pytest.param("whole", marks=[pytest.mark.faults, pytest.mark.timeout(7200)])
        metafunc.parametrize("tries", ["short", long], indirect=True)


@pytest.fixture
def tries(request: pytest.FixtureRequest) -> Iterator[driving.Tries]:
    """The tries of a test, by its `kind` marker; judged when the test is over."""
    kind = request.node.get_closest_marker("kind").args[0]
    seed = request.config.getoption("--faults-seed")
    made = driving.Tries(kind, long=request.param == "whole", seed=seed, test=request.node.name)
    yield made


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Any:
    """Judge the tries of a test when it has made them all."""
    done = yield
    made = pyfuncitem.funcargs.get("tries")
    if isinstance(made, driving.Tries):
        assert made.made, "no try was made"
        made.judge()
    return done


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the figures of a process that runs a part of the tests to the one that prints them."""
    if hasattr(session.config, "workeroutput"):
        figures = {kind: asdict(each) for kind, each in driving.FIGURES.items()}
        session.config.workeroutput["faults"] = figures


@pytest.fixture(scope="session")
def references(
    tmp_path_factory: pytest.TempPathFactory, nursery: driving.Nursery
) -> driving.References:
    """What each search comes to undisturbed."""
    return driving.References(tmp_path_factory.mktemp("references"), nursery)
