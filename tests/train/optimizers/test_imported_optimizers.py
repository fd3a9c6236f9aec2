"""Optimizers by their class path: torch's own, and a person's."""

import copy

import pytest
import test_train
import torch
from devices import DEVICE
from test_train import MLP, SGD, cohort, config, facts, net, placed_data, run

from lrsearch.errors import ImportRefused, ModelError
from lrsearch.spec.model import locate, resolve
from lrsearch.train.engines.probe import probe
from lrsearch.train.engines.start import build
from lrsearch.train.engines.timetable import learning_rates
from lrsearch.train.randomness import batches, trial_seeds
from lrsearch.trial import Outcome, Probe, Trial, Workplace
from lrsearch.tuner.plans import structure

place = test_train.place

SMOOTH = MLP | {"activation": "tanh"}
LBFGS = net("torch.optim.LBFGS", max_iter=3, history_size=5)

OWN = """
    import torch

    class Plain(torch.optim.Optimizer):
        def __init__(self, params, lr, power=1.0):
            super().__init__(params, {"lr": lr, "power": power})

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for each in group["params"]:
                    moved = each.grad.sign() * each.grad.abs() ** group["power"]
                    each.add_(moved, alpha=-group["lr"])

    class Strange:
        def __init__(self, params, lr):
            pass

    def plain(params, lr):
        return Plain(params, lr)
"""


def test_an_imported_optimizer_trains_as_the_built_in():
    own = net("torch.optim.SGD", momentum=0.9, nesterov=True, weight_decay=1e-3)
    found = run(config(SMOOTH, optimizer=own, layer_decay=0.5, clip_norm=1.0))
    known = SGD | {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3, "dampening": 0.0}
    expected = run(config(SMOOTH, optimizer=known, layer_decay=0.5, clip_norm=1.0))
    assert found.curve["loss"] == pytest.approx(expected.curve["loss"], rel=1e-4)


def test_lbfgs_looks_at_a_batch_again():
    """As in a loop written by hand, with the schedule's rate at each step."""
    own = config(SMOOTH, optimizer=LBFGS, lr=0.5, budget="1ep", evaluate="1ep", batch_size=256)
    ended = run(own)
    assert ended.result.outcome is Outcome.COMPLETED and ended.result.engine == "solo"
    data, train = placed_data(own), own["train"]
    model = build(Trial(0, "", own, 0), data, Workplace())
    optimizer = torch.optim.LBFGS(model.parameters(), lr=1.0, max_iter=3, history_size=5)
    order = batches(data.samples, 256, trial_seeds(0).order, DEVICE)
    looks = 0
    for rate in learning_rates(train, data.samples):
        index = next(order)

        def look(index=index):
            nonlocal looks
            looks += 1
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(
                model(data.x_train[index]), data.y_train[index]
            )
            loss.backward()
            return loss

        optimizer.param_groups[0]["lr"] = float(rate)
        optimizer.step(look)
    model.eval()
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(data.x_validation), data.y_validation)
    assert looks > 6
    assert ended.result.last["loss"] == pytest.approx(loss.item(), rel=1e-4)


@pytest.mark.parametrize("name", ["nets.Plain", "nets.plain"])
def test_your_own_optimizer_trains(place, name):
    here = place(nets=OWN)
    own = config(SMOOTH, optimizer=net(name))
    known = SGD | {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    found, expected = run(own, place=here), run(config(SMOOTH, optimizer=known))
    assert found.curve["loss"] == pytest.approx(expected.curve["loss"], rel=1e-4)
    assert facts(own, place=here).source_hashes.keys() == {name}


def test_it_has_no_form_for_lanes_and_says_so():
    job = cohort(*[config(SMOOTH, optimizer=LBFGS, lr=rate) for rate in (0.1, 0.2)])
    (planned,) = probe(Probe(job.trials, 64, "fused", None, job.workplace))
    assert planned.plan.engine == "solo"
    assert planned.plan.reason == (
        "the optimizer torch.optim.LBFGS has no form for lanes, as none has that is named by its "
        "class path; the built-in ones have"
    )


def test_what_an_imported_optimizer_is_given_is_its_structure():
    one, same, other = (
        config(SMOOTH, optimizer=net("torch.optim.LBFGS", max_iter=count), lr=rate)
        for count, rate in ((3, 0.1), (3, 0.2), (4, 0.1))
    )
    assert structure(one, None) == structure(same, None) != structure(other, None)


@pytest.mark.parametrize(
    ("optimizer", "kind", "message", "hint"),
    [
        (net("torch.optim.LBFG"), ModelError, "torch.optim has no 'LBFG'", "LBFGS"),
        (net("torch.optim.lr_scheduler.StepLR"), ImportRefused, "is no optimizer class", ""),
        (net("torch.optim.LBFGS", max_itr=3), ModelError, "unexpected keyword argument", ""),
        (net("nets.Strange"), ModelError, "makes a Strange, no torch.optim.Optimizer", ""),
        (net("elsewhere.Lion"), ImportRefused, "needs the module 'elsewhere'", "--allow-import"),
    ],
)
def test_what_cannot_be_made_is_named_before_anything_trains(place, optimizer, kind, message, hint):
    with pytest.raises(kind, match=message) as error:
        facts(config(SMOOTH, optimizer=optimizer), place=place(nets=OWN))
    assert hint in error.value.hint


def test_groups_need_an_optimizer_that_decays(place):
    here = place(nets=OWN)
    with pytest.raises(ModelError, match="no weight decay"):
        facts(config(SMOOTH, optimizer=net("nets.Plain"), weight_decay_on="matrices"), place=here)


def test_in_a_spec():
    from test_spec import faults, read, small

    spec = read(
        small(
            "optimizer: [adamw, {class_path: torch.optim.LBFGS, "
            "init_args: {max_iter: {min: 2, max: 4, points: 3}}}]"
        )
    )
    point = {"optimizer": {"class_path": "torch.optim.LBFGS", "init_args": {"max_iter": 3}}}
    found = resolve(spec, copy.deepcopy(point))
    assert found["train"]["optimizer"] == point["optimizer"]
    assert locate(spec, found) == point
    (fault,) = faults(small(train="optimizer: {class_path: own.Lion, init_args: {lr: 0.1}}"))
    assert fault.key == "train.optimizer.init_args.lr"


def test_one_that_asks_to_be_in_training_mode(place):
    """As the schedule-free ones of the package do, and are evaluated at their average then."""
    pytest.importorskip("schedulefree")
    here = Workplace(str(DEVICE), ".", ("schedulefree",))
    own = net("schedulefree.SGDScheduleFree", momentum=0.9)
    known = {"name": "schedule_free_sgd", "momentum": 0.9, "weight_decay": 0.0, "r": 0.0}
    built_in = config(SMOOTH, optimizer=known | {"weight_lr_power": 2.0})
    found, expected = run(config(SMOOTH, optimizer=own), place=here), run(built_in)
    assert found.curve["loss"] == pytest.approx(expected.curve["loss"], rel=1e-6)
