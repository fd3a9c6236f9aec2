"""The benchmark of verdicts: it trains, keeps what it has, and counts right."""

from __future__ import annotations

import gzip
import json
import math
import time
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from lrsearch.trial import Records

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import diagnosis

    return diagnosis


def test_what_was_trained_is_kept_and_not_trained_again(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    import failing

    def make(how, label, **more):
        return failing.make("diabetes-mlp", "sgd", how, [label], 0, steps=120, **more)

    cases = [
        make("far too high a rate", "diverged", lr=1e4),
        make("a rate of next to nothing", "stagnating", lr=1e-9),
        make("units dead from the start", "dead", model=failing._dead(
            failing.TASKS["diabetes-mlp"], False
        )),
    ]  # fmt: skip
    with pytest.raises(TimeoutError):
        benchmark.train_all(cases, tmp_path, {}, time.monotonic() - 1)
    came = benchmark.train_all(cases, tmp_path, {}, math.inf)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(files) == 3  # Structures, and ways.
    assert benchmark.train_all(cases, tmp_path, {}, -1.0) == came
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    judged = [benchmark.judge(case, each) for case, each in zip(cases, came, strict=True)]
    assert [each.verdicts[0] for each in judged] == ["diverged", "stagnating", "dead"]
    table = benchmark.summarize(judged)
    assert table["share"]["right"] == 1.0 and table["errors"] == []
    assert table["matrix"]["dead"] == {"dead": 1} and table["healthy"] == 0


def test_every_way_has_its_trainings_and_healthy_ones_are_many(benchmark: ModuleType) -> None:
    import failing

    labels: dict[tuple[bool, str], int] = {}
    sound = 0
    for name in failing.TASKS:
        for optimizer in failing.TASKS[name].rates:
            sound += len(failing.healthy(name, optimizer))
            for case in failing.wrong(name, optimizer, 1.0):
                place = name in failing.SETTING, case.labels[0]
                labels[place] = labels.get(place, 0) + 1
    assert sound >= 200
    for half in (True, False):
        assert {label for chosen, label in labels if chosen is half} == {*benchmark.VERDICTS} - {
            "healthy"
        }
        assert min(count for (chosen, _), count in labels.items() if chosen is half) >= 12


def test_a_training_is_judged_beside_those_of_its_search(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    import failing

    case = failing.make(
        "diabetes-mlp", "sgd", "far too low a rate", ["too_slow"], 0, steps=60, lr=1e-4,
        schedule={"name": "cosine", "final": 0.0},
    )  # fmt: skip
    [came] = benchmark.train_all([case], tmp_path, {}, math.inf)
    companies = benchmark.find_company([case], tmp_path, {}, math.inf)
    [records] = companies.values()
    assert [each.params["lr"] for each in records] == [
        pytest.approx(0.005 * factor) for factor in failing.FACTORS
    ]
    assert [each.trial.number for each in records] == [*range(1, 8)]
    judged = benchmark.judge_among(benchmark.judge(case, came), came, companies)
    assert judged.verdicts[0] == "too_slow"
    alone = {benchmark.name_search(case): [records[-1]]}
    assert (
        benchmark.judge_among(judged, came, alone).verdicts == benchmark.judge(case, came).verdicts
    )


def test_a_small_model_is_held_against_the_sound_one_by_another_schedule_too(
    benchmark: ModuleType,
) -> None:
    import failing

    def come(end: float) -> dict[str, Any]:
        """A training whose losses fall from 1 to an end."""
        losses = [end + (1 - end) * math.exp(-k / 2) for k in range(1, 26)]
        curve = {"step": [*range(4, 104, 4)], "train_loss": losses, "loss": losses}
        return {"outcome": "completed", "steps": 100, "curve": curve,
                "records": {"start": 1.0, "baseline": 1.0}}  # fmt: skip

    small = failing.make(
        "waves-conv", "nesterov", "too small a model", ["underfitting"], 0, model={"width": 1},
        schedule={"name": "cosine", "final": 0.0},
    )  # fmt: skip
    judged, own = benchmark.judge(small, come(0.5)), benchmark.name_search(small)
    assert judged.verdicts == ("healthy",)
    assert benchmark.judge_among(judged, come(0.5), {own: []}).verdicts == ("healthy",)
    sound = benchmark.enlarge(small)[1]
    assert sound.spec["train"]["schedule"] == {"name": "constant"}
    company = [benchmark.make_record(1, sound, come(0.1))]
    companies = {own: [], benchmark.name_search(sound): company}
    assert benchmark.judge_among(judged, come(0.5), companies).verdicts == ("underfitting",)


def test_no_two_of_a_scattered_search_differ_in_the_rate_alone(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    import failing

    case = failing.make("diabetes-mlp", "sgd", "far too low a rate", ["too_slow"], 0, steps=40)
    case.spec["train"]["lr"] = 1e-4
    own, *others = around = failing.scatter(case)
    assert (own.how, own.seed, own.spec["train"]["lr"]) == (case.how, 0, 1e-4)
    assert len(others) == failing.SCATTERED
    decays = [each.spec["train"]["optimizer"]["weight_decay"] for each in around]
    assert len({*decays}) == len(around) and 1e-6 <= min(decays) < max(decays) <= 1e-3
    assert "weight_decay" not in case.spec["train"]["optimizer"]
    alone, among = benchmark.judge_scattered([case], tmp_path, {}, math.inf)
    assert alone[0].verdicts[0] == "too_slow" and among[0].verdicts == ("too_slow",)


def test_models_and_data_of_the_last_tasks_fit(benchmark: ModuleType) -> None:
    import failing
    import torch

    assert not failing.Dead(5, "mixer")(torch.randn(3, 1, 8, 8)).any()
    for name, shape in (("classes", (20,)), ("images", (64,))):
        x, y = failing.load(name)
        assert x.shape == (len(y), *shape) and abs(x.mean()) < 0.01


def test_models_and_data_that_no_other_task_has_fit(benchmark: ModuleType) -> None:
    import failing
    import torch
    import unseen

    fitting = {
        "signals": (torch.randn(3, 1, 48), {"in_channels": 1}),
        "widedeep": (torch.randn(3, 28), {"in_features": 28}),
        "patches": (torch.randn(3, 1, 28, 28), {}),
        "causal": (torch.randint(0, 5, (3, 9)), {"in_features": 9}),
    }
    for kind, (x, more) in fitting.items():
        out = unseen.MODELS[kind](num_classes=5, **more)(x)
        assert out.shape == ((3, 9, 5) if kind == "causal" else (3, 5))
        model = unseen.Rectified(5, kind, **more)
        assert not model(x).any(), kind
        model(x).sum().backward()
        assert not any(each.grad is not None and each.grad.any() for each in model.parameters())
    for name, shape in (("waves", (1, 48)), ("table", (28,))):
        x, y = unseen.load(name, 2.0)
        assert x.shape == (len(y), *shape) and abs(x.mean()) < 0.01
        assert x.std() == pytest.approx(2.0, abs=0.01)
    assert sum("unseen." in str(task.model) for task in failing.TASKS.values()) == 4


def test_data_models_and_schedules_of_the_fresh_tasks_are_in_no_other(
    benchmark: ModuleType,
) -> None:
    import failing

    last = [failing.TASKS[name] for name in failing.FRESH]
    others = [task for name, task in failing.TASKS.items() if name not in failing.FRESH]

    def settings(tasks):
        return {
            json.dumps([failing.OPTIMIZERS[each], task.train.get("schedule")])
            for task in tasks
            for each in task.rates
        }

    for part in ("data", "model"):
        paths = [getattr(task, part)["class_path"] for task in last]
        assert all(each.startswith("fresh.") for each in paths)
        assert not any("fresh." in str(getattr(task, part)) for task in others)
    assert len({task.model["class_path"] for task in last}) == len(last) == 4
    assert not settings(last) & settings(others)
    assert len(settings(last)) == sum(len(task.rates) for task in last) >= 8
    assert {*failing.SETTING, *failing.FRESH} < {*failing.TASKS}
    assert "text-causal" not in (*failing.FRESH, *benchmark.LONG)


def test_models_of_the_fresh_tasks_fit_and_their_dead_units_are_dead(
    benchmark: ModuleType,
) -> None:
    import failing
    import fresh
    import torch

    for name in failing.FRESH:
        task = failing.TASKS[name]
        x, y = fresh.load(task.data["init_args"]["name"])
        y = torch.as_tensor(y)
        classes = 1 if y.is_floating_point() else int(y.max()) + 1
        given = {
            "fresh.Gated": {"num_classes": classes, "in_features": x.shape[1]},
            "fresh.Inverted": {"num_classes": classes, "in_channels": x.shape[1]},
            "fresh.Residual": {"num_classes": classes, "in_features": x.shape[1]},
            "fresh.Tagger": {},
        }[task.model["class_path"]]
        batch, kind = torch.as_tensor(x[:5]), task.model["class_path"].partition(".")[2].lower()
        out = fresh.MODELS[kind](**given)(batch)
        assert out.shape == ((5, classes, 14) if name == "tags-lstm" else (5, classes))
        for bias in (False, True):
            [path, arguments] = failing._dead(task, bias).values()
            assert path == "fresh.Rectified"
            model = fresh.Rectified(**given, **arguments)
            out = model(batch)
            assert out.any() == bias and (out == out[:1]).all()
            out.square().sum().backward()
            learns = {
                each
                for each, own in model.named_parameters()
                if own.grad is not None and own.grad.any()
            }
            assert learns == ({"model.head.bias"} if bias else set())
        if task.scaled:
            x, _ = fresh.load(task.data["init_args"]["name"], 2.0)
            assert x.std() == pytest.approx(2.0, abs=0.01) and abs(x.mean()) < 0.01


def test_a_fresh_task_goes_wrong_under_its_own_schedule_and_is_plain_with_few_samples(
    benchmark: ModuleType,
) -> None:
    import failing

    for name in failing.FRESH:
        task = failing.TASKS[name]
        for optimizer in task.rates:
            cases = failing.wrong(name, optimizer, 1.0)
            own = [each for each in cases if each.how in ("far too low a rate", "100 samples")]
            assert {json.dumps(each.spec["train"]["schedule"]) for each in own} == {
                json.dumps(task.train["schedule"])
            }
            for each in cases:
                if each.how == "100 samples":
                    assert not each.spec["train"].get("label_smoothing")
                if each.how == "too small a model":  # A search through models has sound ones, too.
                    assert each.spec["train"]["schedule"] in task.schedules


def test_a_sound_training_is_right_by_its_first_verdict_alone(benchmark: ModuleType) -> None:
    assert benchmark.is_right(["healthy"], ("healthy",))
    assert not benchmark.is_right(["healthy"], ("too_slow", "healthy"))
    assert benchmark.is_right(["dead"], ("stagnating", "dead"))
    assert not benchmark.is_right(["dead"], ())


def test_an_outcome_may_contradict_how_a_training_was_made(benchmark: ModuleType) -> None:
    import failing

    def came(loss, outcome="completed"):
        curve = {"loss": [2.0] * 9 + [loss]}
        return {"outcome": outcome, "curve": curve, "records": {"start": 2.4, "baseline": 2.3}}

    def made(*labels):
        return failing.make("digits-mlp", "sgd", "a way", labels, 0)

    sound = [(made("healthy"), came(0.1 * k)) for k in range(1, 5)]
    others = [
        (made("unstable"), came(0.3), ()),  # As three of the four sound ones do.
        (made("unstable"), came(0.31), ("unstable",)),
        (made("too_slow"), came(2.2), ("too_slow",)),
        (made("too_slow"), came(2.26), ("too_slow", "diverged", "stagnating")),
        (made("underfitting"), came(math.nan, "diverged"), ("diverged",)),
    ]
    cases = [each[0] for each in (*sound, *others)]
    found = benchmark.label_by_outcome(cases, [each[1] for each in (*sound, *others)])
    assert found == [("healthy",)] * 4 + [labels for *_, labels in others]


def test_units_are_dead_behind_batch_norm_too(benchmark: ModuleType) -> None:
    import failing
    import torch

    for kind, given, shape in (
        ("mlp", {"hidden": [8, 8]}, (16, 4)),
        ("cnn", {"channels": [2, 3]}, (16, 1, 8, 8)),
    ):
        for batch_norm in (False, True):
            model = failing.Dead(3, kind, False, {**given, "batch_norm": batch_norm}, 4)
            model.train()
            assert not model(torch.randn(shape)).any()


def test_published_rules(benchmark: ModuleType) -> None:
    def came(accuracy, loss=0.5, gradient=1.0, outcome="completed"):
        losses = [loss] * len(accuracy)
        curve = {"accuracy": accuracy, "loss": losses, "train_loss": losses}
        return {"outcome": outcome, "curve": curve, "records": {"gradient_norm": [gradient]}}

    rising = [0.1 * k for k in range(1, 10)]
    assert benchmark.autotrainer(came(rising)) == ("healthy",)
    assert benchmark.autotrainer(came(rising, loss=math.nan)) == ("diverged",)
    assert benchmark.autotrainer(came([0.1] * 9)) == ("too_slow", "stagnating")
    assert benchmark.autotrainer(came([0.1] * 9, gradient=0.0)) == ("dead",)
    assert benchmark.autotrainer(came([0.9, 0.5] * 9)) == ("unstable", "oscillating")
    for ratio, verdict in ((1e-3, "healthy"), (0.1, "diverged"), (1e-6, "too_slow")):
        records = Records((1,), (1.0,), (1.0,), (ratio,), (0.1,))
        assert benchmark.update_ratio(records)[0] == verdict


def test_the_picture_and_the_published_trainings(benchmark: ModuleType, tmp_path: Path) -> None:
    table = {
        "trainings": 5,
        "share": {"right": 0.8},
        "matrix": {"healthy": {"healthy": 3, "too_slow": 1}, "dead": {"dead": 1}},
    }
    drawn = ElementTree.fromstring(benchmark.draw(table, "beside neighbours"))
    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert str(texts[0]).endswith("5 trainings beside neighbours, 80% right")
    assert "healthy (4)" in texts and texts.count("1") == 2 and "3" in texts
    falling = [2.3 * math.exp(-k / 4) for k in range(31)]
    runs = [
        {"testproblem": "a", "train_losses": course, "test_losses": course}
        for course in (falling, [2.3] * 31, [2.3, *[math.nan] * 30])
    ]
    path = tmp_path / "baselines.json.gz"
    path.write_bytes(gzip.compress(json.dumps(runs).encode()))
    assert benchmark.judge_published(path) == {
        "best tenth": {"healthy": 1},
        "better half": {"stagnating": 1},
        "worse half": {"diverged": 1},
    }


def test_who_came_out_as_meant_is_known_by_losses(benchmark: ModuleType) -> None:
    import failing
    import making

    def came(validation, training, outcome="completed"):
        curve = {"loss": [2.0] * 9 + [validation], "train_loss": [2.0] * 9 + [training]}
        return {"outcome": outcome, "curve": curve, "records": {"start": 2.1, "baseline": 2.0}}

    best = came(0.5, 0.4)

    def meant(how, *ends, doubled=None):
        case = failing.make("diabetes-mlp", "sgd", how, ["?"], 0)
        return making.as_meant(case, came(*ends), best, doubled)

    assert meant("sound", 0.6, 0.5) and not meant("sound", 0.7, 0.6)
    assert not meant("sound", 0.6, 0.5, doubled=came(0.4, 0.3))
    assert meant("far too high a rate", 0.0, 0.0, "diverged")
    assert meant("far too high a rate", 2.0, 2.1) and not meant("far too high a rate", 1.9, 2.0)
    for how in ("far too low a rate", "too short a budget", "too small a model"):
        assert meant(how, 1.1, 1.1) and not meant(how, 1.1, 0.8)
    assert not meant("too small a model", 0.0, 0.0, "diverged")
    assert meant("a plateau", 1.9, 1.9) and not meant("a plateau", 1.7, 1.9)
    assert meant("100 samples", 0.7, 0.1) and not meant("100 samples", 0.7, 0.6)
    assert meant("a rate at the edge", 0.6, 0.5) and not meant("a rate at the edge", 0.6, 0.4)
    sound = failing.make("diabetes-mlp", "sgd", "sound", ["healthy"], 0)
    assert making.find_best([sound, sound], [came(0.6, 0.1), best]) is best
    longer = making.double(sound)
    assert longer.spec["train"]["budget"] == "500ba" and sound.spec["train"]["budget"] == "250ba"
    judged = [benchmark.Judged(sound, ("healthy",), (), (), meant) for meant in (True, False)]
    judged.append(benchmark.Judged(sound, ("too_slow",), (), (), True))
    table = benchmark.summarize(judged)
    assert (table["meant"], table["share_of_meant"]) == (2, 0.5)
