"""Tests that train do so where `--device` says, and "the same" means there what it can."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import devices
import pytest
import torch
from devices import DEVICE, DRIFT, ROUNDING, same, same_numbers, same_weights
from safetensors.torch import save

HERE = Path(__file__).parent

NOT_TRAINED = {
    "test_cuda.py": "the names that a GPU has; it is about one",
    "test_cuda_readiness.py": "the names and numbers of devices themselves",
    "test_foreign.py": "the advice on options of other tools, which name the CPU",
    "test_plans.py": "plans kept of devices, by name; nothing is trained",
    "test_proposer.py": "the facts of a machine, by name; nothing is trained",
    "test_report.py": "what is told of plans of devices, by name; nothing is trained",
    "test_rows.py": "rows of parameters beside none: on the CPU, where a test can have both",
    "test_stand_in.py": "steps on a device that is not there; nothing is computed",
    "test_store.py": "what a journal keeps of devices, by name; nothing is trained",
}


def named_by_hand(path: Path) -> list[str]:
    """Where a file tells code to use the CPU: as an argument, or after `--device`."""
    found: list[str] = []
    text = path.read_text()
    if not re.search(r"""["'](cpu|cuda(:0)?)["']""", text):  # To parse all files takes seconds.
        return found
    for node in ast.walk(ast.parse(text)):
        given: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in ("Workplace", "Generator", "to") or (
                name == "device" and path.name not in ("devices.py", "test_devices.py")
            ):
                given += node.args[:1]
            given += [each.value for each in node.keywords if each.arg in ("device", "devices")]
        if isinstance(node, ast.Call | ast.Tuple | ast.List):
            listed = node.args if isinstance(node, ast.Call) else node.elts
            for option, value in itertools.pairwise(listed):
                if isinstance(option, ast.Constant) and option.value == "--device":
                    given.append(value)
        for each in given:
            if isinstance(each, ast.Constant) and re.fullmatch("cpu|cuda(:0)?", str(each.value)):
                found.append(f"{path.name}:{each.lineno}: {each.value}")
    return found


def test_no_test_that_trains_names_its_device_by_hand() -> None:
    # Faults are tried where they are cheapest.
    paths = set(HERE.rglob("*.py")) - set((HERE / "faults").iterdir())
    found = {path.name: told for path in paths if (told := named_by_hand(path))}
    for name in NOT_TRAINED:
        found.pop(name, None)
    assert found == {}


def test_what_names_a_device_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "test_some.py"
    path.write_text(
        'place = Workplace("cpu", folder)\n'
        'TRAIN = ("--executor", "inline", "--device", "cpu")\n'
        'x = torch.zeros(3, device="cuda")\n'
        'd = torch.device("cpu")\n'
        'lrsearch("grid", "--device", "cpu")\n'
        'fine = Workplace(str(DEVICE)), ("--device", str(DEVICE)), {"device": "cpu"}\n'
    )
    assert [each.split(":")[1] for each in sorted(named_by_hand(path))] == ["1", "2", "3", "4", "5"]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "DEVICE", torch.device("cuda"))


def test_the_same_is_bit_by_bit_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "DEVICE", torch.device("cpu"))
    x = torch.tensor([1.0, 2.0])
    near = x * (1 + 2e-7)
    assert same(x, x.clone()) and not same(x, near)
    assert same_numbers({"a": [0.1, 2]}, {"a": [0.1, 2]})
    assert not same_numbers({"a": [0.1]}, {"a": [0.1 + 1e-16 * 4]})
    assert same_weights(save({"w": x}), save({"w": x})) and same_weights(None, None)
    assert not same_weights(save({"w": x}), save({"w": near}))


@pytest.mark.usefixtures("elsewhere")
def test_elsewhere_it_is_near_and_no_more() -> None:
    x = torch.tensor([1.0, -2.0, 1e-6])
    for dtype, share in ROUNDING.items():
        each = x.to(dtype)
        assert same(each, each + 0.5 * share * 2)
        assert not same(each, each + 4 * share * 2)
    assert not same(x, x[:2]) and not same(x, x.double())
    lost = torch.tensor([1.0, torch.nan])
    assert same(lost, lost) and not same(lost, torch.ones(2))
    # What is counted is counted alike.
    assert not same(torch.tensor([5]), torch.tensor([6]))
    assert not same_numbers({"step": [1, 2]}, {"step": [1, 3]})
    assert same_numbers({"loss": [0.5]}, {"loss": [0.5 + 0.5 * DRIFT]})
    assert not same_numbers({"loss": [0.5]}, {"loss": [0.5 + 3 * DRIFT]})
    assert not same_numbers({"loss": [0.5]}, {"loss": [0.5, 0.5]})
    assert not same_numbers({"loss": [0.5]}, {"accuracy": [0.5]})
    assert same_weights(save({"w": x}), save({"w": x * (1 + DRIFT / 2)}))
    assert not same_weights(save({"w": x}), save({"w": x * (1 + 3 * DRIFT)}))
    assert not same_weights(save({"w": x}), None)
    assert not same_weights(save({"w": x}), save({"v": x}))


def test_the_device_is_the_one_that_was_asked_for(request: pytest.FixtureRequest) -> None:
    assert str(DEVICE) == request.config.getoption("--device")
