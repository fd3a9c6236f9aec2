"""`lrsearch compare` on stored runs, in every form."""

import dataclasses
import json
import shutil
import sys

import pytest
import yaml
from test_answer import shown_view
from test_exporting_runs import OLDER, call

from lrsearch.analysis.confirmation import Confirmation, Finalist
from lrsearch.analysis.contest import Difference
from lrsearch.cli.comparing import find_settings
from lrsearch.reports.contest import Contest, contest_rows, describe_difference
from lrsearch.reports.rates import draw_rates
from lrsearch.spec import read_spec


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OLDER, tmp_path / "runs" / "older")
    shutil.copytree(OLDER, tmp_path / "more" / "older")
    return "older", "more/older"


def test_compare_in_every_form(runs):
    document = json.loads(call("compare", *runs, "--json").stdout)
    own = json.loads(call("report", "older", "--json").stdout)
    assert document["format"] == 1
    assert [each["name"] for each in document["runs"]] == ["runs/older", "more/older"]
    assert document["runs"][0]["value"] == own["answer"]["value"]
    assert document["runs"][0]["finalists"][0]["point"] == own["points"][0]["point"]
    [found] = document["differences"]
    assert (found["gap"], found["verdict"] in ("noise", "unknown")) == (0, True)
    text = call("compare", *runs).stdout
    assert found["text"] in " ".join(text.split()) and "best 2 of the search" in text
    assert "best 1 of the search" not in text  # It is what stands above.
    table = call("compare", *runs, "--markdown").stdout
    assert table.startswith("|  | runs/older | more/older |\n| --- | --- | --- |\n")


SPEC = """\
data: {name: iris, validation: 0.2}
model: logistic
train: {budget: 2ep, batch_size: 64, %s}
search: {lr: %s}
"""


def test_what_two_specs_set_apart_is_shown(tmp_path, monkeypatch):
    """As it is written; equal values are equal, however written, and defaults are values."""
    monkeypatch.chdir(tmp_path)
    for name, more, rates in [
        ("a", "optimizer: sgd", "[0.01, 0.1]"),
        ("b", "optimizer: {name: sgd, momentum: 0.0}, precision: float32", "[0.01, 0.1]"),
        ("c", "optimizer: {name: adamw, weight_decay: 0.01}", "[0.01, 1]"),
    ]:
        (tmp_path / f"{name}.yaml").write_text(SPEC % (more, rates))
        call("grid", f"{name}.yaml", "--quiet", "--workers", "1")
    same = json.loads(call("compare", "a", "b", "--json").stdout)
    assert [each["settings"] for each in same["runs"]] == [{}, {}]
    assert "\nspec" not in call("compare", "a", "b").stdout
    [one, other] = json.loads(call("compare", "a", "c", "--json").stdout)["runs"]
    assert one["settings"] == {"train.optimizer": "sgd", "search.lr": [0.01, 0.1]}
    assert other["settings"] == {
        "train.optimizer": {"name": "adamw", "weight_decay": 0.01},
        "search.lr": [0.01, 1],
    }
    # What other data merely have no setting for is no difference, nor a value that is searched.
    other = read_spec(tmp_path / "c.yaml", ["train.batch_size=32"])
    csv = {"name": "csv", "source": "t.csv", "target": "y", "drop": ["id"]}
    (tmp_path / "t.csv").write_text("id,a,y\n1,2,b\n")
    write = {**yaml.safe_load((tmp_path / "a.yaml").read_text()), "data": csv}
    write["search"]["batch_size"] = [8, 16]
    (tmp_path / "d.yaml").write_text(json.dumps(write))
    _, own = find_settings([other, read_spec(tmp_path / "d.yaml")])
    assert own["data.drop"] == ["id"] and own["search.batch_size"] == [8, 16]
    assert not {"data.categorical", "train.batch_size"} & own.keys()
    [row] = [
        line
        for line in call("compare", "a", "c", "--markdown").stdout.splitlines()
        if line.startswith("| spec |")
    ]
    assert "train.optimizer=sgd" in row and "train.optimizer={name: adamw" in row


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(runs, width):
    from rich.console import Console

    from lrsearch.cli.stored import open_stored, view_run
    from lrsearch.reports.contest import contest_table

    view = view_run(open_stored(runs[0], "runs"))
    names = ["a", "b", "c", "d-with-a-long-name-of-forty-characters-xx", "e"]
    contest = Contest([(name, view) for name in names], [])
    console = Console(width=width, record=True, file=None)
    with console.capture() as caught:
        console.print(contest_table(contest, width))
    lines = caught.get().splitlines()
    assert max(map(len, lines)) <= width
    blocks = [line for line in lines if line.startswith("value")]
    assert len(blocks) == {80: 3, 120: 2}[width]
    # What the first run has not stands where it stands in the others.
    nothing = dataclasses.replace(view, points=[])
    heads = [row[0] for row in contest_rows(Contest([("f", nothing), ("a", view)], []))]
    assert heads == [row[0] for row in contest_rows(Contest([("a", view)], []))]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["older"], "lrsearch compare older ANOTHER"),
        (["older", "runs/older"], "older is named twice"),
        (["older", "oldre"], "is not a run"),
        (["older", "more/older", "--json", "--markdown"], "exclude each other"),
    ],
)
def test_slips(runs, arguments, words):
    assert words in call("compare", *arguments, code=2).stderr


def test_what_is_said():
    said = describe_difference(Difference("a", "b", "better", 0.02, (0.01, 0.03), 3))
    assert said == ("b is better than a by 0.02 (95 %: 0.01 to 0.03, 3 pairs of equal seeds)")
    noise = describe_difference(Difference("a", "b", "noise", -0.01, (-0.03, 0.01)))
    assert noise.startswith("b and a differ by no more than noise (difference -0.01")
    assert "nobody knows what is noise" in describe_difference(Difference("a", "b", "unknown", 0.1))
    apart = Difference("a", "b", "not comparable", reasons=("the data are not the same",))
    assert describe_difference(apart) == "a and b are not comparable: the data are not the same"


def test_rates_of_a_curve_stand_with_their_ends():
    view = shown_view()
    basin = view.answer.basin
    best, (low, high), safe = basin.best, basin.best_lr, basin.safe_lr
    found = dict(contest_rows(Contest([("a", view)], [])))
    assert found["best rate"] == f"{best:.3g} ({low:.3g} to {high:.3g})" and low < best < high
    assert found["do as well"] == f"{safe[0]:.3g} to {safe[1]:.3g} on this split"
    assert "as well as the curve's best" in draw_rates(view).finding
    assert f", {best:.3g} on this split" in draw_rates(view).finding
    flat = dataclasses.replace(basin, flat=1.0)
    vars(view)["answer"] = dataclasses.replace(view.answer, basin=flat)
    found = dict(contest_rows(Contest([("a", view)], [])))
    assert found["do as well"] == f"perhaps {safe[0]:.3g} to {safe[1]:.3g} on this split"


def test_the_best_of_a_search_stands_beside_that_of_a_confirmed_run():
    view = shown_view()
    own = view.answer.recommended
    fresh = Finalist(own.point, own.params, own.objective, 1.1, (1.0, 1.2), {5: 1.0, 6: 1.2})
    again = shown_view(confirmation=Confirmation((fresh,), 2, over=True))
    assert again.confirmed and not view.confirmed
    rows = {row[0]: row[1:] for row in contest_rows(Contest([("a", again), ("b", view)], []))}
    assert all(rows["best 1 of the search"])
    alone = {row[0] for row in contest_rows(Contest([("b", view)], []))}
    assert "best 1 of the search" not in alone and "best 2 of the search" in alone


def test_seeds_that_make_no_difference_are_no_measure_of_noise(tmp_path, monkeypatch):
    """They would make an interval of no width, and a certainty of any difference."""
    monkeypatch.chdir(tmp_path)
    code = "import json, sys; print(json.dumps({'loss': float(sys.argv[1]) + float(sys.argv[2])}))"
    for name, seeds, more in [("a", 3, 1), ("b", 3, 2), ("c", 1, 3)]:
        (tmp_path / "fixed.py").write_text(code + "  # changed" * (name == "c"))
        (tmp_path / f"{name}.yaml").write_text(
            f"command: {sys.executable} fixed.py {{lr}} {more}\nseeds: {seeds}\n"
            "objective: {metric: loss, goal: min}\nsearch: {lr: [0.5, 1]}\n"
        )
        call("grid", f"{name}.yaml", "--allow-command", "--quiet")
    found = json.loads(call("compare", "a", "b", "c", "--json").stdout)["differences"]
    assert [(each["gap"], each["interval"], each["verdict"]) for each in found] == [
        (1, None, "unknown"), (2, None, "unknown"), (1, None, "unknown")
    ]  # fmt: skip
    assert "b is by 1 above a: no seed made a difference, so nobody knows" in found[0]["text"]
    # What a command measures lrsearch does not know, and says by what that may differ.
    command = f"the command {sys.executable} fixed.py {{lr}}"
    doubts = [f"a is {command} 1, b is {command} 2", f"a is {command} 1, c is {command} 3"]
    assert found[0]["doubts"] == doubts[:1]
    assert found[1]["doubts"] == [doubts[1], "fixed.py changed in between"]
    wanted = ("--require", "loss <= baseline", "--baseline", "c")
    noted = " ".join(call("report", "a", *wanted).stderr.split())
    assert f"c is a baseline of a if both measure the same: {doubts[1]}; fixed.py" in noted


SCRIPT = """\
import json, sys
rate, seed = float(sys.argv[1]), int(sys.argv[2])
worth = {0.01: 0.6, 0.03: 0.8, 0.1: 0.88, 0.3: 0.89, 1.0: 0.885, 3.0: 0.895, 10.0: 0.1}[rate]
noise = (-0.02, 0.0, 0.02)[(seed + int(rate * 100)) % 3]
print(json.dumps({"accuracy": worth + noise}))
"""


def test_a_list_has_the_value_of_the_headline_and_not_the_highest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "tied.yaml").write_text(
        f"command: {sys.executable} script.py {{lr}} {{seed}}\nobjective: accuracy\nseeds: 3\n"
        "search: {lr: [0.01, 0.03, 0.1, 0.3, 1, 3, 10]}\n"
    )
    found = call("grid", "tied.yaml", "--allow-command", "--quiet", "--workers", "2").stdout
    assert (
        found.startswith("tied: accuracy 0.8850 (3 seeds") and "measured better (0.8950)" in found
    )
    answer = json.loads(call("report", "tied", "--json").stdout)["answer"]
    [line] = json.loads(call("list", "--json").stdout)["runs"]
    assert line["recommended"] == answer["value"] == pytest.approx(0.885)
    assert (line["best"], line["confirmed"]) == (pytest.approx(0.895), None)
    assert "accuracy 0.8850 " in call("list").stdout
