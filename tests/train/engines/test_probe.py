"""How a structure's trials are best run: tried and measured for real."""

import json
import math
import random
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import test_train
import torch
from devices import DEVICE, exact
from test_fused import FRAIL, NORMED_CNN, frail
from test_train import ADAMW, MLP, NETS, cohort, config, facts, net, saved

from lrsearch.errors import DataError, ModelError, UsageError
from lrsearch.train.engines import probe as probing
from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.engines.probe import probe
from lrsearch.train.users import importing
from lrsearch.trial import Ended, Outcome, Plan, Probe, Workplace

place = test_train.place
as_in_a_worker = test_train.as_in_a_worker

LONG = {"budget": "20ep", "batch_size": 32}


def ask(*configs, share=64, engine="auto", lanes=None, later=0, expected=0, **given):
    """What a probe answers for trials of these configs; its one event."""
    own = cohort(*configs, **given)
    hashes = {"data_hash": own.data_hash, "source_hashes": own.source_hashes}
    payload = Probe(own.trials, share, engine, lanes, own.workplace, later, expected, **hashes)
    (planned,) = probe(payload)
    return planned


def measured_lanes(planned):
    """Those whose time and memory are among the figures."""
    found = {}
    for kind in ("fused", "bytes"):
        keys = [key for key in planned.figures if key.startswith(f"{kind}.")]
        found[kind] = sorted(int(key.partition(".")[2]) for key in keys)
    assert found["fused"] == found["bytes"]
    return found["fused"]


def test_a_small_model_trains_in_lanes():
    configs = [config(lr=0.01 * (k + 1), **LONG) for k in range(8)]
    planned = ask(*configs)
    plan, figures = planned.plan, planned.figures
    tried = measured_lanes(planned)
    assert plan.engine == "fused" and plan.lanes in tried
    assert tried == probing.list_lanes(64, 64, DEVICE.type)[: len(tried)]
    assert all(value > 0 for value in figures.values())
    assert plan.smaller == figures.get("smaller", math.inf)
    best = figures[f"fused.{plan.lanes}"]
    assert best < probing.GAIN * figures["solo"]
    assert probing.GAIN * best <= min(figures[f"fused.{lanes}"] for lanes in tried)
    assert plan.reason == f"{figures['solo'] / best:.1f} times as fast as one at a time"
    # Parameters and momentum of each lane in float32, and what a step makes of them.
    parameters = 64 * 32 + 32 + 32 * 10 + 10
    for lanes in tried:
        assert 2 * 4 * parameters * lanes < figures[f"bytes.{lanes}"] < 60 * parameters * lanes
    assert json.loads(json.dumps(dict(figures))) == figures


@pytest.mark.parametrize(
    ("model", "train"),
    [
        (MLP, {"optimizer": ADAMW, "precision": "bfloat16"}),
        (MLP | {"dropout": 0.3, "batch_norm": True}, {"clip_norm": 1, "label_smoothing": 0.1}),
        (NORMED_CNN, {}),
    ],
)
@pytest.mark.parametrize("lanes", [2, 4, 5])
def test_the_lanes_that_are_asked_for(model, train, lanes):
    planned = ask(config(model, **LONG, **train), engine="fused", lanes=lanes)
    assert (planned.plan.engine, planned.plan.lanes) == ("fused", lanes)
    assert measured_lanes(planned) == [lanes] and planned.figures["solo"] > 0


@pytest.mark.parametrize(
    ("share", "most"),
    [*((1, 2), (2, 2), (3, 3), (4, 4), (7, 4), (8, 8)), (1000, 64 if exact() else 512)],
)
def test_no_more_lanes_than_there_are_trials(share, most):
    planned = ask(config(**LONG), config(**LONG), share=share, engine="fused")
    tried = measured_lanes(planned)
    assert planned.plan.engine == "fused" and planned.plan.lanes in tried
    assert tried[-1] <= most and tried[0] == min(most, 4)


def test_lanes_that_are_asked_for_may_be_more_than_there_are_trials():
    planned = ask(config(**LONG), share=2, engine="fused", lanes=6)
    assert planned.plan.lanes == 6 and measured_lanes(planned) == [2], "as many as are filled"
    assert ask(config(**LONG), share=2, lanes=6).plan.lanes in (1, 6)


def test_a_trial_pays_for_the_lanes_that_stay_empty(monkeypatch):
    """And for its share of what the program costs before it runs."""
    figures = {"fused.1": 1e-4, "making.1": 0.03, "fused.8": 2e-4, "making.8": 0.04}
    assert probing.find_cost(figures, 1, 1, 300) == pytest.approx((1e-4, 2e-4))
    assert probing.find_cost(figures, 8, 5, 100) == pytest.approx((3.2e-4, 3.2e-4 + 8e-5))
    assert probing.find_cost(figures, 8, 40, 100) == pytest.approx((2e-4, 2.5e-4))
    monkeypatch.setattr(probing, "fewest_lanes", lambda device: 2)
    planned = ask(config(**LONG), share=1, engine="fused")
    times = planned.figures["solo"] / (2 * planned.figures["fused.2"])
    assert planned.plan.reason == f"{times:.1f} times as fast as solo"


def test_when_a_smaller_program_is_worth_its_making_is_measured():
    """Eight lanes take 2 ms longer than four, an empty place 0.5 ms."""
    figures = {"fused.4": 1e-3, "fused.8": 7.5e-4, "making.4": 0.05, "making.8": 0.03}
    assert probing.find_smaller(figures, 8) == pytest.approx(60)
    assert probing.find_smaller(figures, 4) == pytest.approx(30), "as if nothing were shared"
    assert probing.find_smaller(figures | {"fused.8": 4e-4}, 8) == math.inf


def test_a_gpu_is_asked_for_all_lanes_at_once_by_few_programs():
    """Each takes as long to make as hundreds of steps, and a step there hardly more than before."""
    assert probing.list_lanes(256, 256, "cuda") == [4, 16, 64, 256]
    assert probing.list_lanes(24, 24, "cuda") == [4, 24], "not 16, by which 8 would begin later"
    assert probing.list_lanes(40, 40, "cuda") == [4, 10, 40]
    assert probing.list_lanes(1, 4, "cuda") == [1, 4] and probing.list_lanes(1, 1, "cuda") == [1]
    assert probing.list_lanes(2, 40, "cuda") == [2, 4, 10, 40]
    assert probing.list_lanes(5000, 5000, "cuda") == [4, 32, 128, 512]
    assert probing.list_lanes(24, 24, "cpu") == [4, 8, 16]
    assert probing.list_lanes(5000, 5000, "cpu") == [4, 8, 16, 32, 64]
    assert probing.list_lanes(2, 2, "cpu") == [2] and probing.list_lanes(2, 9, "cpu") == [2, 4, 8]


@pytest.mark.parametrize(
    ("given", "tried", "lanes"), [({}, [1], 1), ({"later": 4}, [1, 4], 4), ({"lanes": 3}, [1], 3)]
)
def test_a_program_of_one_lane_is_measured_where_there_are_graphs(monkeypatch, given, tried, lanes):
    monkeypatch.setattr(probing, "fewest_lanes", lambda device: 1)
    monkeypatch.setattr(probing, "SHARE", math.inf)
    planned = ask(config(**LONG), share=1, engine="fused", **given)
    assert planned.plan == Plan("fused", lanes, planned.plan.reason)
    assert measured_lanes(planned) == tried
    # What four lanes would gain is no reason for a trial that is alone.
    times = planned.figures["solo"] / planned.figures["fused.1"]
    assert planned.plan.reason == f"{times:.1f} times as fast as solo"


def test_what_a_program_costs_before_it_runs_counts_where_there_are_graphs(monkeypatch):
    monkeypatch.setattr(probing, "fewest_lanes", lambda device: 1)
    monkeypatch.setattr(probing, "GAIN", 3.0)  # No step is so much slower, and no making so fast.
    planned = ask(config(**LONG | {"budget": "1ba"}), share=1, expected=2000)
    assert planned.plan.engine == "solo"
    assert planned.plan.reason.endswith("times as long, its share of the program's making counted")
    assert planned.figures["fused.1"] < 3.0 * planned.figures["solo"] < planned.figures["making.1"]


def test_little_work_is_not_worth_a_probe():
    few = probing.WORTH_STEPS // 60
    own = config(budget="60ba")
    reason = (
        f"{60 * few} steps a structure are too few to gain by lanes, which are tried from 1000 on"
    )
    assert ask(own, share=few) == probing.Planned(Plan("solo", 1, reason, lasting=False))
    for planned in (ask(own, share=few + 1), ask(own, share=few, engine="fused")):
        assert planned.plan.reason and measured_lanes(planned)


def test_what_is_not_faster_trains_solo(monkeypatch):
    monkeypatch.setattr(probing, "GAIN", 1e-3)
    planned = ask(config(**LONG))
    assert (planned.plan.engine, planned.plan.lanes) == ("solo", 1)
    times = planned.figures["fused.4"] / planned.figures["solo"]
    assert planned.plan.reason == f"in lanes a step takes {times:.2f} times as long"
    assert ask(config(**LONG), engine="fused").plan.engine == "fused"


def test_what_gains_nothing_ends_the_measuring(monkeypatch):
    # No more lanes are faster than the fewest, by so much.
    monkeypatch.setattr(probing, "GAIN", 1e-3)
    # However long a measuring takes on a machine that has other things to do.
    monkeypatch.setattr(probing, "SHARE", math.inf)
    planned = ask(config(**LONG), engine="fused")
    assert planned.plan.lanes == 4 and measured_lanes(planned) == [4, 8, 16]
    monkeypatch.setattr(probing, "SHARE", 0.0)
    assert measured_lanes(ask(config(**LONG), engine="fused")) == [4]


REFUSED = """
    class Reads(Net):
        def forward(self, x):
            return super().forward(x) if x.sum().item() > -1e9 else x

    class Grows(Net):
        def __init__(self, in_features, num_classes):
            super().__init__(in_features, num_classes)
            self.register_buffer("seen", torch.zeros(1, in_features))

        def forward(self, x):
            if self.training:
                self.seen = x.flatten(1).detach()
            return super().forward(x - self.seen.mean(0).reshape(1, *x.shape[1:]))
"""


@pytest.mark.parametrize("name", ["Reads", "Grows"])
@pytest.mark.parametrize("engine", ["auto", "fused"])
def test_a_model_that_is_refused_has_its_reason(place, name, engine):
    where = place(nets=NETS + REFUSED)
    own = config(net(f"nets.{name}"), **LONG)
    planned = ask(own, own, engine=engine, place=where)
    assert (planned.plan.engine, planned.plan.lanes) == ("solo", 1)
    assert len(planned.plan.reason) > 10 and "\n" not in planned.plan.reason
    # It can be trained for all that.
    short = config(net(f"nets.{name}"), budget="1ep")
    *_, ended = run_cohort(replace(cohort(short, place=where), plan=planned.plan))
    assert ended.result.outcome is Outcome.COMPLETED, ended.result.traceback


@pytest.mark.parametrize("at", ["once", "forward", "evaluation"])
@pytest.mark.parametrize("kind", ["strange", "exit", "keyboard"])
def test_what_user_code_raises_is_left_to_the_trials(place, as_in_a_worker, kind, at):
    where = place(nets=NETS + test_train.RAISES)
    own = config(net("nets.Raises", kind=kind, at=at), **LONG)
    planned = ask(own, own, place=where)
    assert planned.plan.engine == "solo" and "me" in planned.plan.reason
    events = list(run_cohort(replace(cohort(own, own, place=where), plan=planned.plan)))
    ended = [each for each in events if isinstance(each, Ended)]
    name = {"strange": "Strange", "exit": "GeneratorExit", "keyboard": "KeyboardInterrupt"}[kind]
    assert [each.result.outcome for each in ended] == [Outcome.FAILED] * 2
    assert all(f"{name}: me" in each.result.reason for each in ended)


def test_ctrl_c_interrupts_where_it_can_arrive(place):
    where = place(
        nets=NETS
        + """
    import os, signal

    class Interrupted(Net):
        def forward(self, x):
            os.kill(os.getpid(), signal.SIGINT)
            return super().forward(x)
    """
    )
    with pytest.raises(KeyboardInterrupt):
        ask(config(net("nets.Interrupted"), **LONG), place=where)


def test_a_model_that_cannot_be_found_is_left_to_the_trials(place):
    where = place(nets=NETS)
    planned = ask(config(net("nets.Nett"), **LONG), place=where)
    assert planned.plan.engine == "solo" and "nets has no 'Nett'" in planned.plan.reason


@pytest.mark.parametrize(("most", "tried", "lanes"), [(3, [2], 2), (4, [4], 4)])
@pytest.mark.parametrize("kind", ["memory", "device"])
def test_lanes_that_do_not_fit_are_not_planned(place, most, tried, lanes, kind):
    where = place(nets=FRAIL)
    planned = ask(frail("Hungry", most=most, kind=kind)(**LONG), engine="fused", place=where)
    assert (planned.plan.engine, planned.plan.lanes) == ("fused", lanes)
    assert measured_lanes(planned) == tried


def test_two_lanes_that_do_not_fit_are_a_reason_for_solo(place):
    where = place(nets=FRAIL)
    planned = ask(frail("Hungry", most=1)(**LONG), engine="fused", place=where)
    assert planned.plan == Plan("solo", 1, "two lanes run out of memory")


def test_a_probe_leaves_the_process_as_it_was(place):
    states = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state())
    threads, path = torch.get_num_threads(), list(sys.path)
    where = place(nets=NETS + REFUSED)
    for own in (config(MLP | {"dropout": 0.3}, **LONG), config(net("nets.Reads"), **LONG)):
        ask(own, place=where)
        assert random.getstate() == states[0]
        assert (np.random.get_state()[1] == states[1]).all()
        assert torch.equal(torch.get_rng_state(), states[2])
        assert (torch.get_num_threads(), sys.path) == (threads, path)


def test_data_and_code_that_changed_end_the_run(place, tmp_path):
    saved(tmp_path / "a.npz", 0)
    source = {"name": "npz", "source": str(tmp_path / "a.npz"), "samples": None}
    where = place(nets=NETS)
    own = config(net("nets.Net"), source=source, batch_size=8, budget="500ba")
    found = facts(own, place=where)
    given = {"data_hash": found.data_hash, "source_hashes": found.source_hashes, "place": where}
    assert ask(own, **given).figures
    saved(tmp_path / "a.npz", 1)
    with pytest.raises(DataError, match=re.escape("a.npz: the data are not those")):
        ask(own, **given)
    place(nets=NETS + "    # changed")
    importing.forget_imports()
    with pytest.raises(ModelError, match=re.escape("nets.Net: the source code is not what")):
        ask(own, **given)
    with pytest.raises(UsageError, match="device 'cuda:99' is not available"):
        ask(own, place=Workplace("cuda:99"))
