"""A value that is not allowed, a key that is missing: the fault has the line to write."""

import pytest

from lrsearch.errors import SpecError
from lrsearch.spec.document import parse
from lrsearch.spec.validate import validate

BASE = """\
name: x
data: digits
model: {name: mlp, hidden: [16]}
train:
  budget: 2ep
  lr: 0.1
"""


def fault_of(text, tmp_path):
    with pytest.raises(SpecError) as error:
        validate(parse(text, "x.yaml"), tmp_path, text)
    (fault,) = error.value.faults
    return fault


@pytest.mark.parametrize(
    ("line", "told", "written"),
    [
        ("seeds: 0", "0 is too small", "write seeds: 1"),
        ("seed: -1", "-1 is too small", "write seed: 0"),
        ("seed: 99999999999999999999", "is too large: it takes a whole number from 0 up to",
         "write seed: 2147483647"),
        ("bayes: {trials: 0}", "0 is too small", "write trials: 40"),
        ("confirm: {top: 100}", "100 is too large", "write top: 64"),
        ("prune: {name: asha, factor: 1}", "1 is too small", "write factor: 2"),
        ("max_failures: -2", "-2 is too small", "write max_failures: 0"),
        ("  batch_size: 32 samples", "'32 samples' is not a number", "write batch_size: 32"),
        ("seeds: 3 seeds", "'3 seeds' is not a number", "write seeds: 3"),
        ("  clip_norm: 0", "0 is too small", "write clip_norm: null"),
        ("  evaluate: never", "'never' is not a number and a unit", "write evaluate: 1dur;"),
        ("  schedule: false", "false names no schedule", "write schedule: constant"),
        ("  label_smoothing: 1", "1 is too large: it takes a number from 0 below 1", ""),
    ],
)  # fmt: skip
def test_a_value_out_of_its_range_has_the_nearest_that_is_allowed(tmp_path, line, told, written):
    fault = fault_of(f"{BASE}{line}\n", tmp_path)
    assert fault.line == 7 and told in fault.message
    assert fault.hint.startswith(written) and bool(fault.hint) == bool(written)


def test_a_time_is_no_budget(tmp_path):
    fault = fault_of(BASE.replace("2ep", "10min"), tmp_path)
    assert fault.message.endswith("a trial's time is limited by timeout, a search's by --time")


@pytest.mark.parametrize("key", ["data", "model", "train"])
def test_what_every_spec_has_is_told_with_a_line_that_is_valid(tmp_path, key):
    lines = {each.partition(":")[0]: each for each in BASE.splitlines() if each[0] != " "}
    lines["train"] = "train: {budget: 2ep, lr: 0.1}"
    text = "\n".join(each for name, each in lines.items() if name != key)
    fault = fault_of(text, tmp_path)
    assert fault.message == f"'{key}' is missing"
    written = fault.hint.removeprefix("write ").partition(", or ")[0]
    assert validate(parse(f"{text}\n{written}\n", "x.yaml"), tmp_path, text).name == "x"


@pytest.mark.parametrize("key", ["lr", "budget"])
def test_what_every_training_has_is_told_with_a_line(tmp_path, key):
    text = "\n".join(line for line in BASE.splitlines() if not line.startswith(f"  {key}:"))
    fault = fault_of(text, tmp_path)
    assert f"'{key}' is missing" in fault.message and fault.hint.startswith(f"write {key}: ")


def test_a_tab_is_told_where_it_stands(tmp_path):
    for text, told in (
        (BASE.replace("  lr:", "\tlr:"), "a tab cannot indent YAML"),
        (BASE.replace("lr: 0.1", "lr:\t0.1"), "a tab stands between the words"),
    ):
        with pytest.raises(SpecError) as error:
            parse(text, "x.yaml")
        assert error.value.faults[0].line == 6 and told in str(error.value)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("nets:Net", "write class_path: nets.Net"),
        ("./nets.py:Net", "write class_path: nets.Net"),
        ("pkg/nets.Net", "write class_path: pkg.nets.Net"),
        ("nets.Net()", "write class_path: nets.Net"),
        (
            "./pkg/nets.py",
            "write class_path: pkg.nets.NAME, with the name of a class or a function",
        ),
        ("nets", "write class_path: nets.NAME, with the name of a class or a function in it"),
        ("my nets", ""),
    ],
)
def test_a_file_or_an_entry_point_is_told_its_dotted_path(tmp_path, given, written):
    model = f"model: {{class_path: '{given}'}}"
    fault = fault_of(BASE.replace("model: {name: mlp, hidden: [16]}", model), tmp_path)
    assert f"'{given}' is no dotted path such as my_package.nets.Net" in fault.message
    assert fault.hint.startswith(written) and bool(fault.hint) == bool(written)


def test_a_loop_by_its_file_is_told_its_dotted_path(tmp_path):
    text = "loop: ./mine.py\nobjective: loss\nsearch: {lr: [0.1, 1]}\n"
    fault = fault_of(text, tmp_path)
    assert (fault.line, fault.hint) == (
        1,
        "write loop: mine.NAME, with the name of the function in it",
    )


@pytest.mark.parametrize(
    ("lines", "key", "written"),
    [
        (
            ["objective: foo"],
            "objective",
            "write objective: {metric: foo, goal: max}, or goal: min",
        ),
        (
            ["objective: 3"],
            "objective",
            "write objective: {metric: loss, goal: min, at: last}, with",
        ),
        (["seeds: 1"], "", "write objective: {metric: loss, goal: min, at: last}, with a metric"),
        (
            ["objective: loss", r"metrics: {loss: 'l: \d+'}"],
            "metrics.loss",
            r"write loss: 'l: (\d+)'",
        ),
        (
            ["objective: loss", "metrics: {loss: '('}"],
            "metrics.loss",
            "write metrics: {loss: 'loss:",
        ),
    ],
)
def test_the_objective_and_the_patterns_of_a_command_have_their_keys(tmp_path, lines, key, written):
    text = "\n".join(["command: echo {lr}", "search: {lr: [0.1, 1]}", *lines, ""])
    fault = fault_of(text, tmp_path)
    assert fault.key == key and fault.hint.startswith(written), fault
