"""Which real trainings are called diverged: no fine-tuning of any loss; huge rates always."""

import pytest
import torch
from devices import DEVICE
from sklearn.datasets import load_diabetes, load_digits
from test_fused import run_fused
from test_own_code import code, own_config, write_nets
from test_train import ADAMW, CNN, MLP, RESNET, SGD, config, run
from torch import nn
from torch.nn import functional as F

from lrsearch.train.batches.resident import load_raw, place
from lrsearch.train.engines.course import Course
from lrsearch.train.engines.start import start_losses
from lrsearch.train.models.criterion import baseline_loss, make_criterion
from lrsearch.trial import Measurement, Objective, Outcome, Workplace

PLAIN = {**SGD, "momentum": 0, "nesterov": False, "weight_decay": 0}
ADAM = {**ADAMW, "name": "adam"}
LOGISTIC = {"name": "logistic"}
INTERVALS = ("1ba", "10ba", "1ep")
LEAST = Objective("loss", "min")

NETS = """
    import numpy as np
    import torch
    from sklearn.datasets import load_diabetes, load_digits
    from torch import nn
    from torch.nn import functional as F

    def digits():
        x, y = load_digits(return_X_y=True)
        return torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)

    def pictures():
        return digits()[0].numpy()

    def lengths(unit=1.0, floor=0.0):
        # What a straight line tells, whose weights a model may begin with.
        x = torch.tensor(load_diabetes().data * 20, dtype=torch.float32)
        return x, (unit * (x.sum(1, keepdim=True) + floor)).float()

    class Line(nn.Module):
        def __init__(self, unit=1.0, floor=0.0, outputs=1):
            super().__init__()
            self.line = nn.Linear(10, outputs)
            with torch.no_grad():
                self.line.weight.zero_()[0] += unit
                self.line.bias.zero_()[0] += unit * floor

        def forward(self, x):
            return self.line(x)

    class Warm(nn.Module):
        def __init__(self, path, dropout=0.0, norm=False):
            super().__init__()
            norms = [nn.BatchNorm1d(64)] if norm else []
            self.body = nn.Sequential(
                nn.Linear(64, 64), *norms, nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 10)
            )
            self.body.load_state_dict(torch.load(path))

        def forward(self, x):
            return self.body(x)

    def crossed(outputs, y):
        return F.cross_entropy(outputs, y.reshape(-1).long())

    def squares(outputs, y):
        return (outputs - y).pow(2).sum()

    def likelihood(outputs, y):
        # Of a normal distribution, whose deviation is learnt: without a lower bound.
        mean, log = outputs[:, :1], outputs[:, 1:].clamp(-12.0, 6.0)
        return (log + 0.5 * ((y - mean) / log.exp()).pow(2)).mean()

    def shifted(outputs, y, by=0.0):
        return (outputs - y).pow(2).mean() - by

    class Contrast:
        # Two views of each sample against those of the others (InfoNCE), from a warm start.
        def __init__(self, noise=0.02, temperature=0.05):
            self.noise, self.temperature = noise, temperature

        def loss(self, model, batch):
            views = [model(batch + self.noise * torch.randn_like(batch)) for _ in range(2)]
            one, other = (F.normalize(each, dim=1) for each in views)
            likeness = one @ other.T / self.temperature
            return F.cross_entropy(likeness, torch.arange(len(batch), device=batch.device))

    class Wrong:
        # Its evaluation gives the share of errors as its loss, which has an upper end.
        def loss(self, model, batch):
            return F.cross_entropy(model(batch[0]), batch[1])

        def evaluate(self, model, batch):
            return {"loss": (model(batch[0]).argmax(1) != batch[1]).float().mean()}

    class Embedding(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(64, 256)

        def forward(self, x):
            return self.line(x)
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A workplace whose `warm.pt` and `norm.pt` are pretrained on the digits."""
    folder = tmp_path_factory.mktemp("verdicts")
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    for name, norms in (("warm", []), ("norm", [nn.BatchNorm1d(64)])):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nn.Sequential(
                nn.Linear(64, 64), *norms, nn.ReLU(), nn.Dropout(0.0), nn.Linear(64, 10)
            )
            optimizer = torch.optim.Adam(model.parameters(), 0.03)
            for _ in range(200):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
        assert loss < 0.003
        torch.save(model.state_dict(), folder / f"{name}.pt")
    return write_nets(folder, NETS)


def warm(here, name="warm", **given):
    return code("Warm", path=f"{here.folder}/{name}.pt", norm=name == "norm", **given)


def transform(name, **given):
    return {"transforms": [{"name": name, **given}]}


def tuned(*parts, **train):
    return own_config(*parts, **{"budget": "1ep", **train})


TUNED = {
    "mixup": lambda here: tuned(code("digits"), warm(here), transform("mixup", alpha=0.4)),
    "noise": lambda here: tuned(code("digits"), warm(here), transform("noise", std=0.25)),
    "much noise": lambda here: tuned(code("digits"), warm(here), transform("noise", std=3.0)),
    "dropout": lambda here: tuned(code("digits"), warm(here, dropout=0.5)),
    "smoothing": lambda here: tuned(code("digits"), warm(here), label_smoothing=0.1),
    "nothing": lambda here: tuned(code("digits"), warm(here)),
    "batch norm": lambda here: tuned(
        code("digits"), warm(here, "norm"), batch_size=8, budget="0.5ep"
    ),
    "own loss, mixup": lambda here: tuned(
        code("digits"), warm(here), transform("mixup", alpha=0.4), loss=code("crossed")
    ),
    "near the answer": lambda here: tuned(
        code("lengths"), code("Line"), transform("noise", std=0.3), loss="mse", lr=0.01
    ),
    "near the answer, in large units": lambda here: tuned(
        code("lengths", unit=100.0, floor=5.0),
        code("Line", unit=100.0, floor=5.0),
        transform("noise", std=0.3),
        loss=code("squares"),
        lr=1e-4,
    ),
    "likelihood": lambda here: tuned(
        code("lengths"),
        code("Line", outputs=2),
        {"task": "own"},
        loss=code("likelihood"),
        optimizer=ADAM,
        lr=0.3,
    ),
    "about zero": lambda here: tuned(
        code("lengths"),
        code("Line", outputs=1),
        transform("noise", std=0.3),
        loss=code("shifted", by=1e-4),
        lr=0.01,
    ),
    "contrast": lambda here: tuned(
        code("pictures"), code("Embedding"), loss=None, step=code("Contrast"), lr=3.0
    ),
}


def judged(own, engines, **given):
    """What becomes of a training, evaluated more or less often, by each of these engines."""
    configs = [{**own, "train": {**own["train"], "evaluate": each}} for each in INTERVALS]
    by = {"solo": lambda: run(*configs, **given),
          "fused": lambda: run_fused(configs, len(configs), **given).values()}  # fmt: skip
    found = [each for engine in engines for each in by[engine]()]
    assert [each.result.engine for each in found] == [
        engine for engine in engines for _ in INTERVALS
    ]
    return [each.result for each in found]


@pytest.mark.parametrize("name", TUNED)
def test_no_fine_tuning_is_called_diverged(name, here):
    for found in judged(TUNED[name](here), ("solo", "fused"), place=here, objective=LEAST):
        assert found.outcome is Outcome.COMPLETED, found.reason + found.traceback


HUGE = {
    "mlp": (MLP, "digits"),
    "cnn": (CNN, "digits"),
    "logistic": (LOGISTIC, "digits"),
    "resnet": (RESNET, "digits"),
    "regression": (MLP, "diabetes"),
    "linear regression": (LOGISTIC, "diabetes"),
}


@pytest.mark.parametrize("optimizer", [PLAIN, SGD, ADAM], ids=["sgd", "nesterov", "adam"])
@pytest.mark.parametrize("name", HUGE)
def test_a_huge_rate_is_always_called_diverged(name, optimizer):
    """Finite or not, and whatever its schedule brings it down to."""
    model, source = HUGE[name]
    size = 16 if source == "diabetes" else 64
    engines = ("solo",) if name == "resnet" else ("solo", "fused")
    own = config(model, source, lr=1e6, optimizer=optimizer, batch_size=size, budget="3ep")
    for found in judged(own, engines, objective=LEAST):
        assert found.outcome is Outcome.DIVERGED
        assert "loss is" in found.reason


def test_a_huge_rate_of_a_warm_start_is_called_diverged(here):
    for name in ("mixup", "nothing", "own loss, mixup", "near the answer, in large units"):
        own = TUNED[name](here)
        own = {**own, "train": {**own["train"], "lr": 1e6}}
        for found in judged(own, ("solo", "fused"), place=here, objective=LEAST):
            assert found.outcome is Outcome.DIVERGED


def test_a_validation_loss_of_another_kind_hides_no_divergence(here):
    for lr, outcome in ((1e6, Outcome.DIVERGED), (0.01, Outcome.COMPLETED)):
        own = own_config(code("digits"), warm(here), loss=None, step=code("Wrong"), lr=lr)
        for found in judged(own, ("solo", "fused"), place=here, objective=LEAST):
            assert found.outcome is outcome, found.reason + found.traceback
            assert "validation" not in found.reason and found.last["loss"] <= 1.0


# What losses are held against


def baseline_of(own, here, model=None):
    placed = place(load_raw(own["data"], here), own["data"], None, DEVICE, own["train"])
    criterion = make_criterion(own, placed.task, placed.outputs, here, DEVICE)
    batch = placed.spread_out(100)
    with torch.random.fork_rng():
        model = (model or nn.Flatten()).to(DEVICE)
        return float(baseline_loss(criterion, model, batch, placed.outputs)), batch


def test_the_baseline_of_a_loss_of_ours():
    nowhere = Workplace(str(DEVICE))
    for smoothing in (0, 0.3):
        found, _ = baseline_of(config(label_smoothing=smoothing), nowhere)
        assert found == pytest.approx(2.302585, rel=1e-5)
    for loss, power in (("mse", 2), ("mae", 1)):
        found, batch = baseline_of(config(MLP, "diabetes", loss=loss), nowhere)
        expected = (batch.y - batch.y.mean(0)).abs().pow(power).mean()
        assert found == pytest.approx(float(expected), rel=1e-5)


def test_the_baseline_of_the_user_s_loss_is_that_of_others_targets(here):
    own = own_config(code("lengths", unit=100.0, floor=5.0), MLP, loss=code("squares"))
    targets = 100 * (torch.tensor(load_diabetes().data * 20).sum(1, keepdim=True) + 5)
    model = nn.Linear(10, 1)
    with torch.no_grad():
        model.weight.fill_(100.0)
        model.bias.fill_(500.0)
    found, batch = baseline_of(own, here, model)
    expected = (batch.y - batch.y.roll(1, 0)).pow(2).sum()
    assert found == pytest.approx(float(expected), rel=1e-3)
    assert expected > 100 * targets.var()


def test_the_baseline_of_a_loss_that_nothing_is_known_of_is_one(here):
    """A step without targets, and a loss that cannot be called with others'."""
    own = own_config(code("pictures"), code("Embedding"), loss=None, step=code("Contrast"))
    assert baseline_of(own, here)[0] == 1.0
    own = own_config(code("digits"), MLP, loss=code("shifted", by=1e9))
    assert baseline_of(own, here, nn.Flatten(0, 0))[0] == 1.0


def test_a_loss_of_the_user_s_may_swing_far_above_its_start(tmp_path):
    """Features of any size and a loss in logits: coarse, and as a plain loop trains it. A huge rate
    is a huge rate all the same."""
    place = write_nets(
        tmp_path,
        """
        import torch.nn.functional as F
        from torch import nn

        def one(in_features):
            return nn.Linear(in_features, 1)

        def bce(outputs, targets):
            return F.binary_cross_entropy_with_logits(outputs.reshape(-1), targets.float())
        """,
    )
    for rate, outcome in ((0.05, Outcome.COMPLETED), (1e6, Outcome.DIVERGED)):
        own = own_config(
            {"name": "breast_cancer", "task": "own"}, code("one"), loss=code("bce"), lr=rate
        )
        own["train"] |= {"budget": "3ep", "batch_size": 32}
        ended = run(own, place=place, objective=Objective("loss", "min"))
        assert ended.result.outcome is outcome, ended.result.reason


def test_the_reason_says_what_the_loss_is_held_against():
    high = {"train_loss": 90.0, "loss": 80.0}
    for start, baseline, lowest, words in (
        (2.5, 2.3, 0.0, "more than 10 times its start of 2.5"),
        (0.002, 2.3, 0.0, "times the 2.3 of a model that knows nothing (its start was 0.002)"),
        (0.002, 1.0, -7.0, "more than 10 times the size of its lowest of -7"),
    ):
        course = Course("solo", start=start, baseline=baseline)
        low = {"train_loss": lowest, "loss": 0.0}
        assert course.measure(Measurement(1, low), 100) == ""
        for step in (2, 11):
            assert course.measure(Measurement(step, high), 100) == ""
        reason = course.measure(Measurement(13, high), 100)
        assert reason.startswith("training loss is 90 and validation loss 80 after 13 steps")
        assert reason.endswith(words)


def test_the_reason_has_the_loss_that_the_curve_ends_with_and_the_mean_that_decides():
    course = Course("solo", start=2.5, baseline=2.3)
    for step, loss in ((2, 50.0), (8, 90.0), (13, 70.0)):
        told = course.measure(Measurement(step, {"train_loss": loss, "loss": 80.0}), 100)
    mean = (90 * 6 + 70 * 5) / 11
    assert told.startswith(
        f"training loss is 70, {mean:.3g} over the last 11 steps, and validation loss 80 after 13 "
        "steps, more than 10 times its start of 2.5"
    ), told


def test_what_a_loss_remembers_is_the_training_s(tmp_path):
    """Measuring the baseline is no call of the loss that trains."""
    text = """
        class Remembering:
            def __init__(self):
                self.seen = 0

            def __call__(self, outputs, y):
                self.seen += 1
                return (outputs - y).pow(2).mean() + self.seen
    """
    where = write_nets(tmp_path, text)
    own = config(MLP, "diabetes", loss=code("Remembering"))
    placed = place(load_raw(own["data"], where), own["data"], None, DEVICE, own["train"])
    criterion = make_criterion(own, placed.task, placed.outputs, where, DEVICE)
    model = nn.Linear(10, 1).to(DEVICE)
    start, baseline = start_losses(model, placed, criterion).tolist()
    assert next(iter(criterion.objects.values())).seen == 1
    assert start > 1 and baseline > 2
