"""What holds for every test."""

import pytest
import torch

# As workers run: several threads gain nothing on models this small, and fight over a busy machine.
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have the fault suite draw other tries (tests/faults)."""
    parser.addoption(
        "--faults-seed",
        type=int,
        default=0,
        metavar="N",
        help="which faults are drawn: 0 unless told",
    )
