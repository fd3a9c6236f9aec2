"""Schedules at work: the rates that both engines train with, those that follow a metric too."""

from dataclasses import replace

import numpy as np
import pytest
import test_train
from devices import assert_same_numbers
from test_fused import both, run_fused
from test_schedules import named, warm
from test_train import MLP, cohort, config, facts, net, placed_data, run

from lrsearch import schedules
from lrsearch.errors import DataError, ImportRefused, ModelError
from lrsearch.schedules import Plateau
from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.engines.timetable import evaluation_steps, learning_rates
from lrsearch.trial import Ended, Outcome, Plan, Reached, Verdict

place = test_train.place

SMOOTH = MLP | {"activation": "tanh"}
EVERY = [
    named("piecewise", points=[["0.3dur", 0.5]]) if name == "piecewise" else named(name)
    for name in schedules.FUNCTIONS
]


def test_every_schedule_trains_in_one_program_as_alone():
    """Rates of lanes differ in everything; a lane's are those of its trial alone, bit by bit."""
    configs = [
        config(SMOOTH, schedule=each, budget="3ep", evaluate="0.5ep", warmup=warm("0.1dur", 0.1))
        for each in EVERY
    ]
    pairs, _ = both(*configs, lanes=8)
    samples = placed_data(configs[0]).samples
    for own, (alone, together) in zip(configs, pairs, strict=True):
        assert together.result.engine == "fused"
        assert together.result.outcome is Outcome.COMPLETED
        assert together.curve["lr"] == alone.curve["lr"]
        rates = learning_rates(own["train"], samples)
        if own["train"]["schedule"]["name"] != "plateau":
            steps = evaluation_steps(own["train"], samples)
            assert alone.curve["lr"] == [rates[step - 1] for step in steps]
        np.testing.assert_allclose(together.curve["loss"], alone.curve["loss"], rtol=1e-4)


def plateau_of(**given):
    return named("plateau", factor=0.5, patience="1ep", threshold=0.05, **given)


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_a_plateau_follows_its_metric(metric):
    """In both engines, after each evaluation, as told the metrics of the curve."""
    given = {"budget": "12ep", "lr": 0.1, "evaluate": "1ep"}
    configs = [
        config(SMOOTH, schedule=plateau_of(metric=metric, **own), **given)
        for own in ({}, {"min": 0.4}, {"cooldown": "2ep"}, {"rises": True, "max": 3.0})
    ]
    pairs, _ = both(*configs, lanes=4, seeds=[0, 0, 1, 2])
    for own, ends in zip(configs, pairs, strict=True):
        schedule = own["train"]["schedule"]
        for ended in ends:
            state = Plateau(
                goal="min" if metric == "loss" else "max",
                factor=0.5,
                patience=1,
                threshold=0.05,
                relative=True,
                cooldown=2 if schedule["cooldown"] == "2ep" else 0,
                least=schedule["min"],
                rises=schedule["rises"],
                most=schedule["max"],
                ahead=0,
            )
            for step, rate, value in zip(
                *(ended.curve[key] for key in ("step", "lr", metric)), strict=True
            ):
                assert rate == pytest.approx(0.1 * state.scale, rel=1e-12)
                state.observe(int(step), value)
            assert len(set(ended.curve["lr"])) > 1


def test_a_plateau_outlasts_being_parked():
    """A lane that waits at a rung goes on with what its plateau has seen."""
    configs = [
        config(SMOOTH, schedule=plateau_of(), budget="8ep", lr=rate) for rate in (0.05, 0.1, 0.2)
    ]
    whole = run_fused(configs, 3)
    rungs = (90, 135)
    waiting, ended, replies = [], {}, None
    job = run_cohort(replace(cohort(*configs, rungs=rungs), plan=Plan("fused", 3)))
    while True:
        try:
            event = job.send(replies)
        except StopIteration:
            break
        replies = None
        if isinstance(event, Reached):
            waiting.append(event.trial)
        elif event is None:
            replies = [(number, Verdict.GO_ON) for number in waiting]
            waiting = []
        elif isinstance(event, Ended):
            ended[event.trial] = event
    assert ended.keys() == whole.keys()
    for number, found in ended.items():
        assert_same_numbers(found.curve, whole[number].curve)


DECAY = """
    def power(progress, power=1.0):
        return (1 - progress) ** power

    def negative(progress):
        return 0.5 - progress

    def raising(progress):
        raise KeyError("nothing here")

    def strange(progress):
        return "fast"
"""


def test_your_own_schedule_trains_by_both_engines(place):
    here = place(nets=DECAY)
    own = config(SMOOTH, schedule=net("nets.power", power=2.0), warmup=warm("0.1dur"))
    known = config(SMOOTH, schedule=named("polynomial", power=2.0), warmup=warm("0.1dur"))
    alone = run(own, place=here)
    assert alone.curve["lr"] == pytest.approx(run(known).curve["lr"], rel=1e-12)
    fused = run_fused([own, known], 2, place=here)
    assert fused[0].curve["lr"] == alone.curve["lr"]
    np.testing.assert_allclose(fused[0].curve["loss"], alone.curve["loss"], rtol=1e-4)


def test_your_own_schedule_is_part_of_what_was_measured(place):
    here = place(nets=DECAY)
    own = config(SMOOTH, schedule=net("nets.power"))
    before = facts(own, place=here).source_hashes
    assert before.keys() == {"nets.power"}
    place(nets=DECAY + "\n    # another\n")
    assert facts(own, place=here).source_hashes != before


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("nets.negative", DataError, r"nets\.negative gives -0\.\d+, no multiple of a rate"),
        ("nets.raising", ModelError, "it raised KeyError: 'nothing here'"),
        ("nets.strange", DataError, "could not convert string to float"),
        ("nets.powr", ModelError, "nets has no 'powr'"),
        ("other.decay", ImportRefused, "needs the module 'other', which is not allowed"),
    ],
)
def test_your_own_schedule_is_tried_before_anything_trains(place, name, kind, message):
    with pytest.raises(kind, match=message):
        facts(config(SMOOTH, schedule=net(name)), place=place(nets=DECAY))
