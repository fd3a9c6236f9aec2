"""Errors of a training that is lost: they are told as the divergence that they follow from."""

import math

import pytest
import test_train
import torch
from devices import assert_same_numbers
from test_fused import as_fused, both, run_fused
from test_train import cohort, config, net, run
from torch import nn

from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.engines.losing import find_loss
from lrsearch.train.lanes.program import Program
from lrsearch.trial import Ended, Noted, Outcome, Planned, Reached, Verdict

place = test_train.place

CODE = """
    import torch
    from torch import nn

    class Asserts(nn.Module):
        def __init__(self, in_features, num_classes):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(in_features, 8), nn.ReLU(), nn.Linear(8, 8))
            self.head = nn.Linear(8, num_classes)

        def forward(self, x):
            out = self.head(self.body(x.flatten(1)))
            assert torch.isfinite(out).all(), "the outputs are no numbers"
            return out

    class Solves(Asserts):
        def forward(self, x):
            weight = self.body[2].weight
            torch.linalg.cholesky(weight @ weight.mT + torch.eye(8, device=x.device))
            return self.head(self.body(x.flatten(1)))

    class Samples(Asserts):
        def forward(self, x):
            out = self.head(self.body(x.flatten(1)))
            torch.multinomial(out.detach().softmax(-1), 1)
            return out

    class Normalizes(Samples):
        def __init__(self, in_features, num_classes):
            super().__init__(in_features, num_classes)
            self.body.append(nn.BatchNorm1d(8))

    class Evaluates(Asserts):
        def forward(self, x):
            return super().forward(x) if not self.training else self.head(self.body(x.flatten(1)))

    class Checks(Asserts):
        def __init__(self, in_features, num_classes):
            super().__init__(in_features, num_classes)
            self.body = nn.Sequential(nn.Linear(in_features, 64), nn.ReLU(), nn.Linear(64, 8))

        def forward(self, x):
            if not self.training:
                weight = self.body[2].weight
                torch.linalg.cholesky(weight @ weight.mT + torch.eye(8, device=x.device))
            return self.head(self.body(x.flatten(1)))

    class Tired(Asserts):
        calls = 0

        def forward(self, x):
            self.calls += self.training
            if self.calls > 4:
                raise ValueError("out of coffee")
            return super().forward(x)
"""


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("Asserts", "AssertionError: the outputs are no numbers (nets.py, line 13)"),
        ("Solves", "LinAlgError"),
        pytest.param(
            "Samples",
            "RuntimeError: probability tensor contains",
            marks=pytest.mark.cpu("a GPU's kernel asserts it, and the process has lost the device"),
        ),
        ("Evaluates", "AssertionError"),
    ],
)
def test_what_is_raised_once_the_numbers_have_gone_is_told_as_divergence(place, name, error):
    given = {"budget": "6ba", "evaluate": "3ba", "lr": 1e25}
    end = run(config(net(f"nets.{name}"), **given), place=place(nets=CODE))
    assert end.result.outcome is Outcome.DIVERGED and end.result.steps >= 1
    assert "weights" in end.result.reason or "loss was" in end.result.reason
    assert error in end.result.reason and error.partition(":")[0] in end.result.traceback


@pytest.mark.cpu("an accelerator refuses the factorization in lanes, or is lost with the error")
@pytest.mark.parametrize("name", ["Normalizes", "Evaluates", "Checks"])
def test_a_lane_that_raises_trains_alone_and_the_others_go_on(place, name):
    """Among the first, beside others of its seed and of none, and last, alone in the program."""
    given = {"budget": "6ba", "evaluate": "3ba"}
    rates = (0.01, 1e25, 0.02, 0.03, 1e25)
    own = [config(net(f"nets.{name}"), lr=rate, **given) for rate in rates]
    own[3] = config(net(f"nets.{name}"), lr=rates[3], **given | {"budget": "3ba"})
    seeds = [0, 0, 0, 1, 0]
    where = place(nets=CODE)
    pairs, events = both(*own, lanes=3, place=where, seeds=seeds)
    sound = [each for number, each in enumerate(own) if number not in (1, 4)]
    apart = run_fused(sound, 3, place=where, seeds=[0, 0, 1])
    notes = [each.text for each in events if isinstance(each, Noted)]
    assert [each.partition(" raised ")[0] for each in notes] == [
        f"trial {number} trains alone: in lanes it" for number in (1, 4)
    ]
    assert not any(isinstance(each, Planned) for each in events)
    for number, (alone, beside) in enumerate(pairs):
        lost = number in (1, 4)
        assert beside.result.engine == ("solo" if lost else "fused")
        assert beside.result.outcome is (Outcome.DIVERGED if lost else Outcome.COMPLETED)
        assert beside.result.reason == alone.result.reason
        same = alone if lost else apart[(0, 2, 3).index(number)]
        assert_same_numbers(beside.curve, same.curve)
        assert_same_numbers(beside.records.loss, same.records.loss)


@pytest.mark.cpu("lanes are kept on a CPU alone")
@pytest.mark.parametrize("own", [True, False])
def test_lanes_are_copied_where_code_of_the_user_s_may_raise(place, monkeypatch, own):
    """Not those of built-in models, but once, as a step is recorded: large ones take memory."""
    kept, keep = [], Program.keep

    def count(program, *, forward=False):
        kept.append(forward)
        return keep(program, forward=forward)

    monkeypatch.setattr(Program, "keep", count)
    model = net("nets.Asserts") if own else test_train.MLP
    run_fused([config(model, budget="2ba")] * 2, 2, place=place(nets=CODE))
    assert True in kept and (False in kept) == own


@pytest.mark.cpu("an accelerator refuses the factorization in lanes")
@pytest.mark.parametrize("name", ["Solves", "Checks"])
def test_a_lane_that_raises_is_no_reason_for_others_to_wait_at_a_rung(place, name):
    """It trains at once, to where it raised, while they go on to the rung and beyond."""
    given = {"budget": "6ba", "evaluate": "3ba" if name == "Checks" else "2ba"}
    own = [config(net(f"nets.{name}"), lr=rate, **given) for rate in (0.01, 1e25, 0.02)]
    job = as_fused(cohort(*own, place=place(nets=CODE), rungs=(2, 4)), 3)
    training, replies, ended = run_cohort(job), None, {}
    while True:
        try:
            event = training.send(replies)
        except StopIteration:
            break
        assert not isinstance(event, Planned)
        assert event is not None, "a trial waits that was answered"
        if isinstance(event, Ended):
            ended[event.trial] = event
        replies = [(event.trial, Verdict.GO_ON)] if isinstance(event, Reached) else []
    apart = run_fused([own[0], own[2]], 2, place=place(nets=CODE))
    for number, same in ((0, apart[0]), (2, apart[1])):
        assert ended[number].result.engine == "fused"
        assert_same_numbers(ended[number].curve, same.curve)
    alone = run(own[1], place=place(nets=CODE)).result
    assert (ended[1].result.engine, ended[1].result.outcome) == ("solo", Outcome.DIVERGED)
    assert ended[1].result.reason == alone.reason


@pytest.mark.parametrize(("rate", "steps"), [(0.01, 4), (1.0, 4)])
def test_an_error_of_a_sound_training_is_a_failure(place, rate, steps):
    end = run(config(net("nets.Tired"), budget="6ba", lr=rate), place=place(nets=CODE))
    assert (end.result.outcome, end.result.steps) == (Outcome.FAILED, steps)
    assert end.result.reason.startswith("ValueError: out of coffee (nets.py, line ")


def test_an_error_before_the_first_update_is_a_failure(place):
    broken = CODE.replace("out = self.head(", "out = math.nan * self.head(", 1)
    broken = broken.replace("import torch\n", "import math\n    import torch\n", 1)
    end = run(config(net("nets.Asserts"), budget="6ba"), place=place(nets=broken))
    assert end.result.outcome is Outcome.FAILED and "no numbers" in end.result.reason


@pytest.mark.parametrize(
    ("loss", "times", "gradient", "told"),
    [
        (2.0, 1.0, 1.0, ""),
        (math.nan, 1.0, 1.0, "loss was nan"),
        (101.0, 1.0, 1.0, "loss was 101"),
        (2.0, math.inf, 1.0, "weights were no numbers"),
        (2.0, 999.0, 1.0, ""),
        (2.0, 1001.0, 1.0, "weights had grown 1e+03 times"),
        (2.0, 1.0, math.nan, "gradients were no numbers"),
    ],
)
def test_signs(loss, times, gradient, told):
    model, fresh = nn.Linear(2, 2), nn.Linear(2, 2)
    fresh.load_state_dict(model.state_dict())
    with torch.no_grad():
        for each in model.parameters():
            each.mul_(times)
            each.grad = torch.full_like(each, gradient)
    assert told in find_loss(ValueError(), loss, 100.0, model, lambda: fresh)
    assert bool(find_loss(ValueError(), loss, 100.0, model, lambda: fresh)) is bool(told)
    assert not find_loss(torch.OutOfMemoryError(), math.nan, 100.0, model, lambda: fresh)
