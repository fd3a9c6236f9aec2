"""Notes on schedules that never change the rate, and warmups of no step."""

import pytest
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.errors import LrsearchError
from lrsearch.spec import read_spec
from lrsearch.spec.document import parse
from lrsearch.spec.validate import validate

TEXT = """
data: digits
model: logistic
train: {lr: 0.1, budget: 10ep, schedule: %s, warmup: %s}
search: {%s}
"""


@pytest.fixture
def notes(tmp_path):
    def read(schedule="constant", warmup="null", search=""):
        path = tmp_path / "f.yaml"
        path.write_text(TEXT % (schedule, warmup, search))
        return [each for each in read_spec(path).notes if "both fixed" not in each]

    return read


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ("{name: step, every: 20ep}", "every is 20ep; write every: 0.3333dur"),
        ("{name: step, every: 10ep}", "every is 10ep"),
        ("{name: step, gamma: 1}", "gamma is 1.0; write gamma: 0.1"),
        ("{name: multistep, milestones: [10ep]}", "write milestones: [0.5dur, 0.75dur]"),
        ("{name: piecewise, points: [[5ep, 1]]}", "points is [[5ep, 1.0]]"),
        ("{name: plateau, patience: 8ep}", "patience is 8ep; write patience: 0.1dur"),
        ("{name: cosine, final: 1}", "write final: 0.0"),
        ("{name: wsd, decay: 1ba}", "write decay: 0.2dur"),
        ("{name: exponential, every: 1000ep}", "write every: 1ep"),
        ("{name: inverse_time, every: 20ep, staircase: true}", "write every: 0.1dur"),
        ("{name: triangular, base: 1}", "write base: 0.25"),
        ("{name: one_cycle, div: 1, final_div: 1}", "write div: 25.0"),
    ],
)
def test_a_schedule_that_leaves_the_rate_as_it_is_is_told_of(notes, schedule, told):
    (note,) = notes(schedule)
    assert "the rate" in note and "in 10ep" in note and told in note
    name, _, line = note.partition("write ")[2].partition(": ")
    if line:  # What is to be written mends it.
        kept = schedule[1:-1].split(", ", 1)[0]
        assert not notes(f"{{{kept}, {name}: {line.removesuffix(', or another')}}}")


@pytest.mark.parametrize(
    "schedule",
    [
        "constant", "step", "multistep", "plateau", "{name: plateau, patience: 7ep}",
        "{name: step, every: 9ep}", "{name: piecewise, points: [[9ep, 0.5]]}", "exponential",
        "{name: triangular, half: 10ep}", "{name: cosine_restarts, first: 10ep}",
        "{name: wsd, decay: 10ep}", "{name: triangular, half: 2ba}", "inverse_sqrt",
    ],
)  # fmt: skip
def test_one_that_changes_it_is_not(notes, schedule):
    assert not notes(schedule)


def test_a_searched_length_is_told_of_where_no_value_of_its_range_does_anything(notes):
    assert not notes("step", search="schedule.every: {min: 5ep, max: 20ep}")
    assert notes("step", search="schedule.every: {min: 12ep, max: 20ep}")
    (note,) = notes("step", search="budget: [1ep, 2ep], schedule.every: [1ep, 2ep]")
    assert note.endswith("; and 2 more of its lengths")
    options = "schedule: [{name: step, every: 30ep}, {name: step, every: {min: 5ep, max: 20ep}}]"
    (note,) = notes(search=options)
    assert "30ep" in note


def test_a_warmup_of_less_than_a_step_is_none(notes):
    (note,) = notes("cosine", "0.001dur")
    assert "there is none" in note and not notes("cosine", "1ba") and not notes("cosine", "0ep")
    assert not notes("cosine", search="warmup.for: {min: 0.001dur, max: 0.05dur}")


def test_an_end_above_the_base_rate_is_told_of(notes):
    (note,) = notes("{name: cosine, final: 2}")
    assert "ends above the base rate" in note


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("budget: {epochs: 5}", "write budget: 5ep"),
        ("budget: {steps: 2000}", "write budget: 2000ba"),
        ("budget: 5ep, warmup: linear", "write warmup: {for: 0.05dur, shape: linear}"),
        ("budget: 5ep, warmup: cosine", "write warmup: {for: 0.05dur, shape: cosine}"),
    ],
)
def test_a_length_in_another_form_has_its_line(tmp_path, line, told):
    text = f"data: digits\nmodel: mlp\ntrain: {{{line}}}\nsearch: {{lr: [0.1, 0.01]}}\n"
    with pytest.raises(LrsearchError) as raised:
        validate(parse(text, "spec.yaml"), tmp_path, text)
    assert told in str(raised.value), raised.value


def test_a_command_with_backslashes_has_its_line(tmp_path):
    text = "command: C:\\x.exe --lr {lr}\nobjective: {metric: loss, goal: min}\n"
    (tmp_path / "spec.yaml").write_text(text + "search: {lr: [0.1, 0.01]}\n")
    told = CliRunner().invoke(app, ["check", str(tmp_path / "spec.yaml")])
    assert told.exit_code == 2
    assert "write command: C:/x.exe --lr {lr}" in " ".join(told.output.split())
