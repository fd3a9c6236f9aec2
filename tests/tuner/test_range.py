"""Range tests: what is read from a sweep, how it is trained, and `lrsearch range`."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from devices import DEVICE, assert_same_numbers
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from lrsearch import sweeps
from lrsearch.cli import app
from lrsearch.executors.inline import Inline
from lrsearch.reports.live import Progress
from lrsearch.reports.ranges import read_range
from lrsearch.spec import read_spec
from lrsearch.spec.model import Spec, resolve, settle_data
from lrsearch.store import Run, read
from lrsearch.sweeps import Interval, Refusal, find_curve, find_interval, find_points, make_rates
from lrsearch.trial import Facts, Swept, Workplace
from lrsearch.tuner.preparing import prepare
from lrsearch.tuner.ranging import Manner, find_structures, strip_config, sweep_configs
from lrsearch.tuner.session import Means

RATES = make_rates()


def valley(
    start: float = 2.3,
    depth: float = 2.0,
    down: float = 1e-3,
    up: float = 1.0,
    noise: float = 0.0,
    seeds: int = 3,
) -> list[list[float]]:
    """Losses that fall around `down` and rise around `up`, of as many seeds."""
    generator = np.random.default_rng(0)
    x = np.log10(RATES)
    fall = depth / (1 + np.exp(-6 * (x - math.log10(down))))
    rise = 3 * depth / (1 + np.exp(-8 * (x - math.log10(up))))
    losses = start - fall + rise + noise * generator.standard_normal((seeds, len(x)))
    return [[float(loss) for loss in each] for each in losses]


def interval(losses: list[list[float]], rates: tuple[float, ...] = RATES) -> Interval:
    found = find_interval(rates, losses)
    assert isinstance(found, Interval), found
    return found


def refusal(losses: list[list[float]], rates: tuple[float, ...] = RATES) -> Refusal:
    found = find_interval(rates, losses)
    assert isinstance(found, Refusal), found
    assert found.advice
    return found


# reading


def test_rates_are_as_far_apart_each():
    assert RATES[0] == 1e-7 and RATES[-1] == 100.0 and len(RATES) == 108
    assert np.allclose(RATES, np.geomspace(1e-7, 100.0, 108), rtol=1e-12)
    capped = sweeps.cap_rates(RATES, "adafactor")
    assert capped[-1] == 1.0 and capped[:-1] == tuple(rate for rate in RATES if rate < 1.0)
    assert sweeps.cap_rates(RATES, "sgd") == RATES


@given(st.integers(36, 10**6))
def test_steps_are_shared_between_rates_as_near_as_can_be(steps: int) -> None:
    count, each = sweeps.share_steps(steps)
    assert abs(count * each - steps) <= each / 2
    assert count == steps if steps <= len(RATES) else 81 <= count <= 162


def test_usual_steps_are_shared_exactly() -> None:
    shared = {steps: sweeps.share_steps(steps) for steps in (324, 972, 150, 500, 1000, 163)}
    assert (shared[324], shared[972], shared[150]) == ((108, 3), (108, 9), (150, 1))
    assert (shared[500], shared[1000], shared[163]) == ((100, 5), (100, 10), (82, 2))


@given(
    down=st.floats(-5, -2.5),
    width=st.floats(1.2, 3.0),
    depth=st.floats(0.05, 50),
    noise=st.floats(0, 0.03),
)
def test_the_interval_lies_between_the_descent_and_the_rise(
    down: float, width: float, depth: float, noise: float
) -> None:
    losses = valley(3.0, depth, 10**down, 10 ** (down + width), noise * depth)
    found = interval(losses)
    # A tenth has fallen 0.37 decades before the middle of the descent, and the rise begins 0.6
    # before its own.
    low = math.log10(found.low) + sweeps.MARGIN - down
    high = math.log10(found.high) - down - width
    assert -0.3 < low < 0.3 and -0.9 < high < 0.1


@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-3, 3))
def test_neither_the_unit_of_the_loss_nor_its_zero_matters(scale: float, shift: float) -> None:
    plain = valley(noise=0.05)
    other = [[scale * (loss + shift) for loss in each] for each in plain]
    before, after = interval(plain), interval(other)
    assert (before.low, before.high) == (after.low, after.high)


def test_what_is_not_finite_ends_a_sweep_and_is_never_suggested():
    losses = valley()
    at = next(place for place, rate in enumerate(RATES) if rate > 0.05)
    for seed, end in ((0, at), (1, at + 3), (2, at + 9)):
        losses[seed][end:] = [math.nan] * (len(RATES) - end)
    rates, middle = sweeps.median_losses(RATES, losses)
    assert len(rates) == len(middle) == at + 3  # Two of three are finite until then.
    found = interval(losses)
    assert found.high <= RATES[at + 3]
    assert "not finite" in found.reason
    curve, points = find_curve(RATES, losses), find_points(*find_curve(RATES, losses))
    assert all(map(math.isfinite, curve[1]))
    assert all(rate is None or rate <= RATES[at + 3] for rate in points.values())


def test_smoothing_neither_shifts_a_minimum_nor_bends_a_line():
    x = np.log10(RATES)
    line = [3.0 - 2.0 * each for each in x]
    assert np.allclose(sweeps.smooth(RATES, line), line)
    bowl = [float((each + 2.0) ** 2) for each in x]
    smoothed = sweeps.smooth(RATES, bowl)
    assert abs(smoothed.index(min(smoothed)) - bowl.index(min(bowl))) <= 1


@pytest.mark.parametrize(
    ("losses", "told", "tried"),
    [
        (valley(depth=0.0, noise=0.1), "flat", "--max"),
        ([[2.3] * 108] * 3, "flat", "--steps"),
        (valley(up=1e9), "the edge is reached", "--max"),
        (valley(down=1e-7), "falls from the lowest rate", "--min"),
        (
            [[5.0 - 0.01 * place for place in range(108)]] * 3,
            "only falls",
            "--min",
        ),
        ([[2.3] * 60 + [2.3 + 0.1 * place for place in range(48)]] * 3, "only rises", "--steps"),
        ([[2.3] * 60 + [math.inf] * 48] * 3, "only rises", "--steps"),
        (valley(depth=0.4, noise=0.25), "too noisy", "--seeds"),
        ([[math.nan] * 108] * 3, "not finite at the lowest rate", "weights"),
        ([[2.3] * 5 + [math.inf] * 103] * 3, "lost at", "--min"),
        ([], "not finite", "data"),
    ],
)
def test_what_tells_nothing_is_refused_with_what_to_try(
    losses: list[list[float]], told: str, tried: str
) -> None:
    found = refusal(losses)
    assert told in found.reason and tried in found.advice


def test_a_loss_that_falls_up_to_the_cap_of_its_optimizer_has_its_end_there():
    rates = sweeps.cap_rates(RATES, "adafactor")
    losses = [each[: len(rates)] for each in valley(down=1e-2, up=1e9)]
    assert isinstance(find_interval(rates, losses), Refusal)
    found = find_interval(rates, losses, cap=1.0)
    assert isinstance(found, Interval) and found.high == 1.0 and "no step is larger" in found.reason


def test_published_rules_choose_what_they_say():
    lr, losses = find_curve(RATES, valley(noise=0.02))
    points = find_points(lr, losses)
    assert tuple(points) == sweeps.RULES
    end = next(at for at in range(1, len(lr)) if losses[at] > 4 * min(losses[:at])) + 1
    x, y = np.array(lr[:end]), np.array(losses[:end])
    own, theirs = slice(end // 10, -5), slice(10, -1)
    slopes = np.diff(y[own]) / np.diff(np.log(x[own]))
    assert points["steepest"] == x[own][slopes.argmin()]
    assert points["minimum_10"] == x[own][y[own].argmin()] / 10
    assert points["lightning"] == x[theirs][np.gradient(y[theirs], x[theirs]).argmin()]
    # It reads low.
    assert points["lightning"] < points["steepest"] / 10  # type: ignore[operator]


def test_slopes_are_those_of_numpy_s_gradient():
    generator = np.random.default_rng(1)
    for _ in range(50):
        lr = np.sort(10 ** generator.uniform(-6, 1, 20))
        losses = generator.standard_normal(20).cumsum()
        found = sweeps.steepest_linear(lr.tolist(), losses.tolist())
        assert found == lr[np.gradient(losses, lr).argmin()]


def test_the_valley_s_point_and_the_slide_s():
    rates = [10.0**place for place in range(10)]
    falling = [float(10 - place) for place in range(10)]
    # Ten points that fall: from the tenth's place ten back, and then a third and a sixth of ten.
    assert sweeps.valley(rates, falling) == rates[-1 + 3 + 1]
    many = [1.1**place for place in range(40)]
    hill = [0.0] * 20 + [float(place**2) for place in range(1, 21)]
    # The first pair from the right whose slopes are alike is 18 and 3, before which 19 and 4 came.
    assert sweeps.slide(many, hill) == many[4]
    # And of a straight line the first pair that there is.
    assert sweeps.slide(many, [float(place) for place in range(40)]) == many[24]
    assert sweeps.slide(many[:15], hill[:15]) is None
    assert find_points([1e-3, 1e-2], [1.0, 0.5]) == dict.fromkeys(sweeps.RULES)


# training

SPEC = """\
name: small
data: {name: digits, standardize: true}
model: {name: mlp, hidden: [16]}
train: {budget: 1ep, lr: 0.1, batch_size: 32, optimizer: {name: sgd, momentum: 0.9}}
"""
PLACE = Workplace(str(DEVICE))
SHORT = Manner(make_rates(1e-5, 100.0, 42), 2, 3)


def write(folder: Path, text: str = SPEC, name: str = "small.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def sweep(spec: Spec, manner: Manner, allowed: tuple[str, ...] = ()) -> tuple[Swept, Facts]:
    place = Workplace(str(DEVICE), str(spec.folder), allowed)
    with Inline() as executor:
        facts = prepare(spec, executor, place)
        spec = settle_data(spec, facts.settled)
        configs = [each.config for each in find_structures(spec, facts.task)]
        means = Means(executor, facts, place, Progress(quiet=True))
        ((at, found),) = sweep_configs(spec, configs, manner, means)
    assert at == 0
    return found, facts


def test_seeds_side_by_side_and_one_by_one_come_to_one_curve(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path))
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index, union-attr]
    fused, _ = sweep(spec, SHORT)
    alone, _ = sweep(spec, Manner(SHORT.rates, 2, 3, lanes=1))
    asked, _ = sweep(spec, Manner(SHORT.rates, 2, 3, "solo"))
    pairs, _ = sweep(spec, Manner(SHORT.rates, 2, 3, "fused", 2))
    assert (fused.engine, fused.reason, pairs.engine) == ("fused", "", "fused")
    assert alone.engine == asked.engine == "solo"
    assert "--lanes 1" in alone.reason and "--engine solo" in asked.reason
    assert_same_numbers(alone.losses, asked.losses)
    assert fused.lr[:8] == SHORT.rates[:8]
    # Rates under which both engines are the same to rounding: later they drift apart.
    for one, other in zip(fused.losses, alone.losses, strict=True):
        assert np.allclose(one[:24], other[:24], rtol=1e-3)
    for one, other in zip(fused.losses, pairs.losses, strict=True):
        shorter = min(len(one), len(other))
        assert_same_numbers(list(one[:shorter]), list(other[:shorter]))
    assert len({each[0] for each in fused.losses}) == 3  # Three seeds, not one three times.
    assert fused.steps == 2 * sum(sum(map(math.isfinite, each)) for each in fused.losses) or any(
        not math.isfinite(loss) for each in fused.losses for loss in each
    )
    after = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index, union-attr]
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]


def test_the_first_loss_is_that_of_the_model_before_any_step(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path))
    found, _ = sweep(spec, Manner(make_rates(1e-12, 1e-9, 36), 1, 1))
    assert all(2.0 < loss < 3.5 for loss in found.losses[0])  # ln 10 is 2.3.
    assert isinstance(find_interval(found.lr, found.losses), Refusal)


NETS = """\
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from sklearn.datasets import load_digits

class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(64, 10)
        with torch.no_grad():
            self.line.weight[0, 0] = float("nan")

    def forward(self, x):
        return self.line(x.flatten(1))

class Raises(Broken):
    def forward(self, x):
        if self.training and len(x) == 32:
            raise RuntimeError("out of coffee")
        return self.line(torch.nan_to_num(x.flatten(1)))

class Asserts(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
        self.calls = 0

    def forward(self, x):
        out = self.body(x)
        assert not self.training or out.abs().max() < 1e3, "the outputs are no numbers"
        return out

class Tired(Asserts):
    def forward(self, x):
        self.calls += self.training
        if self.calls > 30:
            raise RuntimeError("out of coffee")
        return super().forward(x)

class Solves(Asserts):
    def forward(self, x):
        weight = self.body[3].weight
        torch.linalg.cholesky(weight @ weight.mT + torch.eye(10, device=x.device))
        return self.body(x)

def loaders():
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    parts = (TensorDataset(x[:1400], y[:1400]), TensorDataset(x[1400:], y[1400:]))
    return tuple(DataLoader(each, batch_size=32, shuffle=True) for each in parts)

def schedule(progress):
    return 1.0
"""


def own(tmp_path: Path, text: str) -> Spec:
    (tmp_path / "nets_of_range.py").write_text(NETS)
    return read_spec(write(tmp_path, text))


def test_what_the_model_raises_is_a_fault_and_no_error(tmp_path: Path) -> None:
    text = SPEC.replace("{name: mlp, hidden: [16]}", "{class_path: nets_of_range.Raises}")
    found, _ = sweep(own(tmp_path, text), SHORT, ("nets_of_range",))
    assert found.losses == () and "out of coffee" in found.fault and "line" in found.fault


@pytest.mark.parametrize(
    ("name", "error"), [("Asserts", "the outputs are no numbers"), ("Solves", "LinAlgError")]
)
def test_what_is_raised_once_the_loss_is_lost_ends_the_sweep(
    tmp_path: Path, name: str, error: str
) -> None:
    text = SPEC.replace("{name: mlp, hidden: [16]}", f"{{class_path: nets_of_range.{name}}}")
    manner = Manner(make_rates(1e-4, 1e12, 64), 2, 2)
    found, _ = sweep(own(tmp_path, text), manner, ("nets_of_range",))
    assert found.fault == "" and error in found.raised + found.reason
    assert 20 < len(found.lr) < 64 and len(found.losses) == 2
    assert all(math.isfinite(each[15]) for each in found.losses)
    answer = find_interval(found.lr, found.losses)
    assert isinstance(answer, Interval) and answer.high < found.lr[-1]
    if name == "Asserts":  # At the rate it raised at there is no loss.
        assert not all(math.isfinite(each[-1]) for each in found.losses)
        assert found.raised.startswith("at lr ")


def test_what_is_raised_at_a_harmless_rate_is_a_fault(tmp_path: Path) -> None:
    text = SPEC.replace("{name: mlp, hidden: [16]}", "{class_path: nets_of_range.Tired}")
    found, _ = sweep(own(tmp_path, text), SHORT, ("nets_of_range",))
    assert found.losses == () and "out of coffee" in found.fault and not found.raised


def test_weights_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    text = SPEC.replace("{name: mlp, hidden: [16]}", "{class_path: nets_of_range.Broken}")
    found, _ = sweep(own(tmp_path, text), SHORT, ("nets_of_range",))
    assert len(found.lr) == 1 and not any(math.isfinite(each[0]) for each in found.losses)
    answer = find_interval(found.lr, found.losses)
    assert isinstance(answer, Refusal) and "initial weights" in answer.advice


def test_data_that_are_loaded_batch_by_batch_are_swept_too(tmp_path: Path) -> None:
    text = SPEC.replace("{name: digits, standardize: true}", "{class_path: nets_of_range.loaders}")
    found, _ = sweep(own(tmp_path, text), SHORT, ("nets_of_range",))
    assert found.fault == "" and found.losses[0][0] > min(found.losses[0])


# structures


def test_every_structure_is_tested_and_numbers_stand_at_their_middle(tmp_path: Path) -> None:
    text = SPEC.replace("batch_size: 32, optimizer: {name: sgd, momentum: 0.9}", "seed_: 0")
    text = text.replace(", seed_: 0", "") + (
        "search:\n"
        "  lr: [0.1, 0.01, 0.001]\n"
        "  batch_size: {min: 16, max: 256}\n"
        "  label_smoothing: {min: 0.0, max: 0.2}\n"
        "  schedule: [constant, cosine]\n"
        "  optimizer:\n"
        "    - {name: sgd, momentum: {min: 0.0, max: 0.9}, lr: {min: 1e-3, max: 1.0}}\n"
        "    - {name: adamw, lr: {min: 1e-4, max: 0.1}}\n"
    )
    spec = read_spec(write(tmp_path, text))
    structures = find_structures(spec, "classification")
    told = [(each.params["batch_size"], each.params["optimizer"]) for each in structures]
    assert told == [(size, name) for size in (16, 64, 256) for name in ("sgd", "adamw")]
    assert dict(structures[0].beside) == {"label_smoothing": 0.1, "optimizer.momentum": 0.45}
    assert all("lr" not in each.params and "lr" not in each.beside for each in structures)
    assert all(each.config["train"]["schedule"] == {"name": "constant"} for each in structures)


def test_a_stored_test_reads_as_it_was(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path))
    structure = find_structures(spec, "classification")[0]
    from lrsearch.tuner.ranging import make_note

    swept = Swept(RATES, tuple(map(tuple, valley(noise=0.05))), "fused", "", 972, 20.0, 1.0)
    body = make_note("k", structure, Manner(), swept)
    again = json.loads(json.dumps(body))
    assert read_range(body) == read_range(again)
    view = read_range(body)
    assert isinstance(view.found, Interval) and view.params["batch_size"] == 32
    assert resolve(spec, {}, "classification")["train"]["lr"] == 0.1


# the command

TRAIN = ("--executor", "inline", "--device", str(DEVICE), "--runs", "runs")
QUICK = ("--steps", "108", "--min", "1e-5", "--max", "1e2", "--lanes", "1", "--seeds", "2")


def lrsearch(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    return tmp_path


def test_the_command_its_report_and_a_search_after_it(folder: Path) -> None:
    said = lrsearch("range", "small.yaml", "--json", *TRAIN)
    assert said.exit_code == 0, said.output
    document = json.loads(said.stdout)
    assert (document["format"], document["run"]) == (1, "small")
    (structure,) = document["structures"]
    low, high = structure["interval"]
    assert 1e-4 < low < 0.1 < high < 10 and structure["refused"] is None
    assert set(structure["points"]) == set(sweeps.RULES)
    assert len(structure["curve"]["lr"]) == len(structure["curve"]["loss"]) > 20
    journal = folder / "runs" / "small" / "journal.jsonl"
    written = journal.read_bytes()
    # It is in the run: nothing is trained again.
    again = lrsearch("range", "small.yaml", "--json", *TRAIN)
    assert again.stdout == said.stdout and journal.read_bytes() == written
    # Before anything is searched.
    assert json.loads(lrsearch("report", "--json").stdout)["ranges"] == document["structures"]
    (line,) = json.loads(lrsearch("list", "--json").stdout)["runs"]
    assert (line["state"], line["strategy"], line["best"]) == ("done", "range", None)
    assert line["epochs"] == pytest.approx(structure["epochs"])
    page = lrsearch("report").stdout
    assert "interval" in page and "└" in page and "Lightning" in page
    assert all(len(line) <= 100 for line in page.splitlines())
    assert "range test" in lrsearch("report", "--markdown").stdout
    assert "range     done" in lrsearch("list").stdout
    assert lrsearch("report", "--trial", "1").exit_code == 2
    # And after.
    search = ("--set", "train.budget=20ba", "--engine", "solo", *TRAIN)
    assert lrsearch("grid", "small.yaml", *search).exit_code == 0
    assert lrsearch("grid", "small.yaml", *search[:-1], "others").exit_code == 0
    with_test, without = (read(Path(root) / "small") for root in ("runs", "others"))
    assert with_test.trials == without.trials and with_test.next_number == 2
    assert with_test.results[1].last == without.results[1].last
    assert "range" in lrsearch("report", "runs/small").stdout
    stored = json.loads(lrsearch("report", "runs/small", "--json").stdout)
    assert stored["ranges"] == document["structures"] and stored["best"]["point"] == 1
    assert json.loads(lrsearch("report", "others/small", "--json").stdout)["ranges"] == []
    assert "done" in lrsearch("list").stdout


def test_steps_that_are_trained_are_said_where_they_are_not_those_asked_for(folder: Path) -> None:
    both = ("--set", "search.batch_size=[32]")
    said = lrsearch("range", "small.yaml", "--steps", "163", "--dry-run", *both, *TRAIN)
    assert "note: batch_size is both fixed and searched: the search wins\n" in said.stderr
    assert "\n1,797 samples of shape (1, 8, 8), 10 classes" in said.stderr
    assert "1 range test of 3 seeds, 164 steps each" in said.stdout
    assert "--steps 163: it trains 164, 2 at each of 82 rates" in said.stderr


def test_a_dry_run_trains_nothing_and_keeps_nothing(folder: Path) -> None:
    said = lrsearch("range", "small.yaml", "--dry-run", *TRAIN)
    assert said.exit_code == 0 and "1 range test of 3 seeds, 324 steps each" in said.stdout
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    "change",
    [
        "search: {lr: [0.1, 0.01]}\n",
        "search: {lr: 0.1}\n",
        "search: {schedule: [constant, {class_path: nets_of_range.schedule}]}\n",
    ],
)
def test_rates_and_schedules_of_the_spec_play_no_part(folder: Path, change: str) -> None:
    (folder / "nets_of_range.py").write_text(NETS)
    plain = lrsearch("range", "small.yaml", "--json", *QUICK, *TRAIN)
    write(folder, SPEC.replace("lr: 0.1, ", "") + change if "lr" in change else SPEC + change)
    allow = ("--allow-import", "nets_of_range")
    said = lrsearch("range", "small.yaml", "--json", *QUICK, *TRAIN[:-1], "others", *allow)
    if "lr: 0.1}" in change:
        assert said.exit_code == 2
        return
    assert said.exit_code == 0, said.output
    names = ("params", "interval", "refused", "points", "curve")
    first, second = (json.loads(each.stdout)["structures"][0] for each in (plain, said))
    assert {name: first[name] for name in names} == {name: second[name] for name in names}


def test_a_regression_has_a_range(folder: Path) -> None:
    text = SPEC.replace("digits", "diabetes").replace("small", "sugar")
    write(folder, text, "sugar.yaml")
    said = lrsearch("range", "sugar.yaml", "--json", *TRAIN)
    assert said.exit_code == 0, said.output
    low, high = json.loads(said.stdout)["structures"][0]["interval"]
    assert low < 0.05 < high * 5


def test_what_cannot_be_swept_is_refused_in_one_line(folder: Path) -> None:
    (folder / "nets_of_range.py").write_text(NETS)
    write(folder, SPEC.replace("batch_size: 32", "batch_size: 5000"), "large.yaml")
    write(
        folder, "command: true {lr}\nobjective: {metric: loss}\nsearch: {lr: [1, 2]}\n", "own.yaml"
    )
    for arguments, told in (
        (("large.yaml",), "5000"),
        (("own.yaml",), "a command sets its rates itself"),
        (("small.yaml", "--min", "1", "--max", "0.1"), "--min 0.1 --max 10\n"),
        (("small.yaml", "--min", "10", "--max", "1e-3"), "--min 0.001 --max 10\n"),
        (("small.yaml", "--min", "1e-3", "--max", "1e-2"), "--min 0.001 --max 0.1\n"),
        (("small.yaml", "--min", "nan"), "above 0"),
        (("small.yaml", "--min", "0"), "above 0"),
        (("small.yaml", "--engine", "fuse"), "fused"),
        (("small.yaml", "--engine", "solo", "--lanes", "2"), "no lanes"),
        (("small.yaml", "--set", "train.optimiser=adamw"), "optimizer"),
        (("smal.yaml",), "smal.yaml"),
    ):
        said = lrsearch("range", *arguments, *TRAIN)
        assert said.exit_code == 2, said.output
        assert told in said.output and "Traceback" not in said.output
    text = SPEC.replace("{name: mlp, hidden: [16]}", "{class_path: nets_of_range.Broken}")
    write(folder, text, "broken.yaml")
    allow = ("--allow-import", "nets_of_range", "--json")
    said = lrsearch("range", "broken.yaml", *QUICK, *TRAIN, *allow)
    structure = json.loads(said.stdout)["structures"][0]
    assert structure["interval"] is None and "not finite" in structure["refused"]
    assert set(structure["points"].values()) == {None}


LOOP = """\
import numpy as np

def train(trial):
    generator = np.random.default_rng(trial.seed)
    w, total = 1.0, 120
    with open(trial.params.get("log", "log"), "a") as log:
        log.write(f"{trial.seed}\\n")
    if trial.seed == trial.params.get("bad"):
        raise RuntimeError("out of milk")
    for step in range(total):
        lr = trial.lr_at(step, total) if trial.params["ask"] else 0.1
        loss = 0.5 * w * w + 0.01 * generator.standard_normal()
        w -= lr * w
        told = {"lr": lr} if trial.params["tell"] else {}
        if trial.params["every"] == 1 or step % 10 == 0:
            trial.report(step, loss=min(loss, 1e30), **told)
        if step == trial.params.get("last"):
            raise RuntimeError("out of coffee")
"""

OWN = """\
loop: loop_of_range.train
objective: {metric: loss, goal: min}
params: {ask: true, tell: true, every: 1}
search: {lr: {min: 0.01, max: 1.0, points: 2}}
"""
ALLOW = ("--allow-import", "loop_of_range", "--json")


def test_a_loop_that_asks_for_its_rates_takes_part_and_others_are_told(folder: Path) -> None:
    (folder / "loop_of_range.py").write_text(LOOP)
    write(folder, OWN, "own.yaml")
    allow = (*ALLOW, "--seeds", "2")
    said = lrsearch("range", "own.yaml", "--min", "1e-4", "--max", "100", *allow, *TRAIN)
    assert said.exit_code == 0, said.output
    (structure,) = json.loads(said.stdout)["structures"]
    low, high = structure["interval"]
    # Gradient descent on a parabola of curvature 1 is lost from a rate of 2 on.
    assert 0.001 < low < 0.5 and 2.0 < high < 90.0 and structure["params"] == {}
    for name, told in (("ask", "trial.lr_at"), ("tell", "no lr")):
        other = lrsearch("range", "own.yaml", "--set", f"params.{name}=false", *allow, *TRAIN)
        assert other.exit_code == 1 and told in json.loads(other.stdout)["structures"][0]["refused"]
    # Two seeds of the first, and then one of each: no more is trained of what tells nothing.
    assert (folder / "log").read_text().split() == ["1", "2", "1", "1"]
    late = lrsearch("range", "own.yaml", "--set", "params.bad=2", *allow, *TRAIN)
    assert "out of milk" in json.loads(late.stdout)["structures"][0]["refused"]
    rare = lrsearch("range", "own.yaml", "--set", "params.every=10", *allow, *TRAIN)
    assert "12 times" in json.loads(rare.stdout)["structures"][0]["refused"]


def test_a_loop_s_own_parameters_make_structures_whatever_their_names(tmp_path: Path) -> None:
    text = OWN.replace("every: 1", "every: 1, evaluate: 5").replace("2}", "2}, budget: [3, 9]")
    spec = read_spec(write(tmp_path, text))
    found = find_structures(spec, None)
    assert [(each.params, each.beside) for each in found] == [({"budget": n}, {}) for n in (3, 9)]
    given = [strip_config(each.config)["params"] for each in found]
    assert [(each["budget"], each["evaluate"]) for each in given] == [(3, 5), (9, 5)]
    assert not any({"lr", "schedule", "warmup"} & {*each} for each in given)


def test_a_loop_s_cost_has_no_epochs_that_nobody_counted(folder: Path) -> None:
    (folder / "loop_of_range.py").write_text(LOOP)
    write(folder, OWN, "own.yaml")
    given = ("own.yaml", "--seeds", "1", *ALLOW[:2], *TRAIN)
    dry = lrsearch("range", *given, "--dry-run")
    assert dry.exit_code == 0 and "of 1 seed, a whole training each" in dry.stdout
    page = " ".join(lrsearch("range", *given).stdout.split())
    assert "1 seed, 119 steps in" in page and "epochs" not in page
    said = lrsearch("grid", "own.yaml", "--set", "search.lr=[0.1]", *ALLOW[:2], *TRAIN)
    assert said.exit_code == 0, said.output
    words = " ".join(lrsearch("report", "own.yaml").stdout.split())
    assert "of range tests" in words and "0 epochs" not in words


def test_a_loop_s_range_tests_go_on_with_the_seed_that_its_run_began_with(folder: Path) -> None:
    (folder / "loop_of_range.py").write_text(LOOP)
    write(folder, OWN, "own.yaml")
    given = ("own.yaml", *ALLOW[:2], *TRAIN)
    spec = read_spec(folder / "own.yaml")
    begun = {"document": spec.document, "source": spec.source, "folder": str(folder), "seed": 40}
    with Run.open(Path("runs"), "own", spec_text=spec.text) as run:
        run.opened(begun, "grid", {"task": "", "data_hash": "", "source_hashes": {}})
    said = lrsearch("range", *given)
    assert said.exit_code == 0 and "began with seed 40 and goes on with it" in said.stderr
    other = lrsearch("range", *given[:-1], "others", "--set", "seed=40")
    assert other.exit_code == 0, other.output
    (kept,) = read(folder / "runs" / "own").notes
    (expected,) = read(folder / "others" / "own").notes
    assert kept["key"] == expected["key"] and kept["losses"] == expected["losses"]


def test_a_loop_that_fails_midway_tells_nothing_and_is_tested_again(folder: Path) -> None:
    (folder / "loop_of_range.py").write_text(LOOP)
    write(folder, OWN.replace("every: 1", "every: 1, last: 100"), "own.yaml")
    for _ in range(2):
        said = lrsearch("range", "own.yaml", "--seeds", "1", *ALLOW, *TRAIN)
        assert said.exit_code == 1, said.output
        assert "out of coffee" in json.loads(said.stdout)["structures"][0]["refused"]
        assert read(folder / "runs" / "own").notes == []
