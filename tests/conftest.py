"""What holds for every test."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import devices
import pytest
import torch

from lrsearch.errors import UsageError
from lrsearch.train.device import find_device

# As workers run: several threads gain nothing on models this small, and fight over a busy machine.
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        default="cpu",
        metavar="NAME",
        help="what tests train on: cpu (the default), cuda or cuda:0; on a GPU only those run that "
        "take their device from devices.py",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "cpu(reason): is about the CPU, and is left out where tests train elsewhere"
    )
    name = config.getoption("--device")
    if name == "cpu":
        # What is told no device takes the one under test: in workers, too, `auto` finds no GPU.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        devices.DEVICE = find_device(name)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    # What is compared is the engines' work, not what a product rounds its factors to.
    torch.backends.cudnn.allow_tf32 = False
    # Stopped by a time limit it tells what has failed until then.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_report_header() -> str:
    return f"tests train on: {devices.DEVICE}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if devices.DEVICE.type == "cpu":
        return
    chosen = [each for each in items if _trains(each)]
    config.hook.pytest_deselected(items=[each for each in items if not _trains(each)])
    items[:] = chosen


def _trains(item: pytest.Item) -> bool:
    """Whether a test has another thing to say on another device than on the CPU."""
    module = sys.modules[item.module.__name__] if isinstance(item, pytest.Function) else None
    return hasattr(module, "DEVICE") and item.get_closest_marker("cpu") is None


@pytest.fixture(scope="module")
def on_device() -> Iterator[None]:
    """For modules that make tensors by the dozen: what is told no device is on `DEVICE`."""
    if devices.DEVICE.type == "cpu":
        yield
        return
    with devices.DEVICE:
        yield
