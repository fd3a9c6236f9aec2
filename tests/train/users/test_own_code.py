"""Data, losses, metrics and steps of the user's: what they become, and that both engines agree."""

import json
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from devices import DEVICE, assert_same_numbers, assert_same_weights, close, noise_state
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score
from test_fused import both, run_fused, tensors
from test_tables import INLINE, lrsearch
from test_train import ADAMW, MLP, SGD, config, facts, run
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, WeightedRandomSampler

from lrsearch.data.sources import load
from lrsearch.data.splitting import split
from lrsearch.errors import DataError, ModelError, SpecError
from lrsearch.spec import read_spec
from lrsearch.store import read as read_run
from lrsearch.train.batches import resident
from lrsearch.train.batches.batch import Batch, take
from lrsearch.train.batches.streamed import Streamed
from lrsearch.train.engines.comparison import refuse
from lrsearch.train.engines.course import open_data
from lrsearch.train.models.criterion import Criterion
from lrsearch.train.tape import NotRecordable
from lrsearch.trial import Objective, Outcome, Trial, Workplace

DIGITS = load_digits()
X = (DIGITS.images[:, None] / 16).astype(np.float32)
Y = DIGITS.target

SPLITTING = {"validation": 0.2, "test": None, "standardize": False, "split_seed": 0}


def own_data(**given):
    return {"class_path": "made.load", "init_args": {}, "task": None, "classes": None} | (
        SPLITTING | given
    )


def raw_of(result, **given):
    return load(own_data(**given), resolver=lambda _: lambda: result)


class Pairs(Dataset):
    def __init__(self, start=0, step=1):
        self.x, self.y = X[start::step], Y[start::step]

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        return torch.from_numpy(self.x[index]), int(self.y[index])


class Noisy(Pairs):
    classes = tuple("0123456789")

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + 0.01 * torch.randn_like(x), y


# forms of data


@pytest.mark.parametrize(
    "result",
    [
        (X, Y),
        (torch.from_numpy(X), torch.from_numpy(Y)),
        TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
        Pairs(),
        Subset(Pairs(), range(len(Y))),
        DataLoader(Pairs(), batch_size=7, shuffle=True),
        lambda batch_size: DataLoader(Pairs(), batch_size),
        (X.tolist(), Y.tolist()),
    ],
    ids=["arrays", "tensors", "tensor dataset", "dataset", "subset", "loader", "factory", "lists"],
)
def test_one_and_the_same_data_in_many_forms(result):
    raw = raw_of(result)
    np.testing.assert_array_equal(raw.x, X)
    np.testing.assert_array_equal(raw.y, Y)
    assert (raw.task, raw.outputs, raw.data_hash) == (
        "classification",
        10,
        raw_of((X, Y)).data_hash,
    )


def test_a_mapping_s_labels_are_its_targets():
    means = X.mean((1, 2, 3))
    raw = raw_of({"pixels": X, "mean": means, "label": Y, "weight": np.ones(len(Y))})
    assert raw.x.keys() == {"pixels", "mean"} and raw.form.names == ("label", "weight")
    np.testing.assert_array_equal(raw.y, Y)
    train = split(raw, own_data(), None).train
    assert train.x["mean"].shape == train.y.shape == train.weight.shape == (1438,)
    rejoined = resident.view_portion(train, raw.form, "step").x
    assert rejoined.keys() == {"pixels", "mean", "label", "weight"}


def test_types_stay_what_a_tensor_s_were():
    tokens = torch.arange(40).reshape(20, 2)
    raw = raw_of((tokens, np.arange(20) % 2))
    assert raw.x.dtype == np.int64 and raw.task == "classification"
    assert raw_of((tokens.numpy(), np.arange(20) % 2)).x.dtype == np.float32
    mixed = raw_of({"ids": tokens.numpy(), "mask": tokens > 3, "y": np.ones(20)})
    assert {key: each.dtype.kind for key, each in mixed.x.items()} == {"ids": "i", "mask": "b"}
    assert mixed.task == "regression"


def test_targets_of_many_kinds():
    images = X[:20]
    assert raw_of((images, images)).task == "own"
    assert raw_of((images, {"a": np.ones(20), "b": np.ones((20, 2))})).task == "own"
    assert raw_of((images, np.eye(20, dtype=int))).task == "own"
    assert raw_of((images, np.arange(20)), task="regression").y.tolist()[3] == [3.0]
    assert raw_of((images, np.arange(20)), task="own").y.tolist()[3] == 3
    assert raw_of(images).y is None and raw_of(images).task == "own"


def test_three_parts_are_training_validation_and_test():
    parts = [(X[start::3], Y[start::3]) for start in range(3)]
    raw = raw_of(tuple(parts))
    own = own_data(validation="source", test="source")
    splits = split(raw, own, None)
    for found, (x, y) in zip((splits.train, splits.validation, splits.test), parts, strict=True):
        np.testing.assert_array_equal(found.x, x)
        np.testing.assert_array_equal(found.y, y)
    with pytest.raises(DataError, match="validation and test are both the source's own"):
        split(raw_of(tuple(parts[:2])), own, None)


def test_weights_have_a_mean_of_one_over_the_training_split():
    weight = np.where(Y == 3, 50.0, 10.0)
    splits = split(raw_of((X, Y, weight)), own_data(), None)
    assert splits.train.weight.mean() == pytest.approx(1, rel=1e-6)
    ratio = splits.validation.weight[splits.validation.y == 3][0] / splits.validation.weight.min()
    assert ratio == pytest.approx(5)


class Ragged(Pairs):
    def __getitem__(self, index):
        return torch.ones(index % 3 + 1), 0


class Failing(Pairs):
    def __getitem__(self, index):
        raise OSError("no such picture") if index == 5 else KeyError(index)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ((X, Y[:-1]), "1797 samples, y 1796 targets"),
        ({"a": X, "b": X[:5], "y": Y}, "x.b has 5 samples, x.a 1797"),
        ({"a": X, "y": Y, "weight": Y[:7]}, "1797 samples, 7 in weight"),
        ({"y": Y}, "a mapping without inputs"),
        ({"names": np.array(["a", "b"]), "y": np.array([0, 1])}, r"x.names holds text \(<U1\)"),
        ({"a": np.full((4, 2), np.nan), "y": np.arange(4)}, "x.a holds values that are not finite"),
        ((X, Y, -1.0 * Y), "the weights must be finite, not negative, and not all zero"),
        ((X, Y, np.ones((len(Y), 2))), "the weights are float64 of shape"),
        ((X[:1], Y[:1], np.ones(1)), "1 sample; at least two are needed"),
        (Ragged(), "sample 1 of Ragged has x of shape .2,., y of shape .., sample 0 has x of"),
        (Failing(), "reading sample 0 of Failing raised KeyError: 0"),
        (Subset(Pairs(), [3]), "Subset has 1 sample; at least two are needed"),
        (Subset(Pairs(), []), "Subset has 0 samples; at least two are needed"),
        (iter([1]), "can only be gone through once"),
        (lambda batch_size: 3, "called with a batch size it gives int, not a DataLoader"),
        (lambda: 3, "making a DataLoader raised TypeError"),
        ((X, {"a": Y, "b": Y[:3]}), "1797 samples, 3 in y.b"),
        (((X, Y, Y / 2), (X[:, :, :4], Y, Y / 2)), "samples of validation are x float32 .1, 4, 8."),
    ],
)  # fmt: skip
def test_what_is_no_data_is_said(result, message):
    with pytest.raises(DataError, match=message) as caught:
        raw_of(result)
    assert caught.value.where.startswith("made.load")


def test_no_share_of_a_loader_with_its_own_order_is_held_out():
    sampler = WeightedRandomSampler([1.0] * len(Y), len(Y))
    loader = DataLoader(Noisy(), sampler=sampler)
    with pytest.raises(DataError, match=r"an order of its own \(WeightedRandomSampler\) and a"):
        raw_of(loader)
    raw = raw_of(lambda size: DataLoader(Noisy(), size, sampler=sampler))
    with pytest.raises(DataError, match="it brings its own order"):
        split(raw, own_data(), None)


# both engines

NETS = """
    import numpy as np
    import torch
    from sklearn.datasets import load_digits
    from torch import nn
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler


    def digits():
        found = load_digits()
        return (found.images[:, None] / 16).astype(np.float32), found.target


    def mapped(weigh=False):
        x, y = digits()
        weight = {"weight": np.where(y < 5, 3.0, 1.0)} if weigh else {}
        return {"pixels": x, "mean": x.mean((1, 2, 3))[:, None], "labels": y, **weight}


    def weighted(float_targets=False):
        x, y = digits()
        return x, y.astype(float) if float_targets else y, np.where(y < 5, 3.0, 1.0)


    def halves():
        x, y = digits()
        return (x[::2], y[::2]), (x[1::2], y[1::2])


    def itself():
        x, _ = digits()
        return x, x


    def alone():
        return digits()[0]


    def one_hot():
        x, y = digits()
        return x, np.eye(10, dtype=int)[y]


    def places():
        x, _ = digits()
        return x, (x[:, 0] > 0.3).astype(int) + (x[:, 0] > 0.7)


    def placed():
        x, y = places()
        return (x, y), (x[:40], y[:40] + 1)


    class Double(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Flatten(), nn.Linear(64, 10))
            self.double()


    def labels():
        x, _ = digits()
        return x, (x.reshape(-1, 64)[:, 20:24] > 0.5).astype(int)


    def floats():
        x, y = labels()
        return x, y.astype(float)


    class AtPlaces(nn.Module):
        def __init__(self, at=1):
            super().__init__()
            self.a, self.at = nn.Conv2d(1, 3, 1), at

        def forward(self, x):
            return self.a(x).movedim(1, self.at)


    def odd():
        x, y = digits()
        return x, (y % 2).astype(np.float64)


    class Two(nn.Module):
        def __init__(self, num_classes):
            super().__init__()
            self.a, self.b = nn.Linear(64, 16), nn.Linear(17, num_classes)

        def forward(self, pixels, mean):
            return self.b(torch.cat([self.a(pixels.flatten(1)).tanh(), mean], 1))


    class Named(nn.Module):
        def __init__(self, num_classes):
            super().__init__()
            self.inner = Two(num_classes)

        def forward(self, **given):
            return Output(self.inner(**given))


    def of_logits(out, y):
        return F.cross_entropy(out.logits, y)

    class Output:
        def __init__(self, logits):
            self.logits = logits


    class Auto(nn.Module):
        def __init__(self, width=8):
            super().__init__()
            self.encode, self.decode = nn.Linear(64, width), nn.Linear(width, 64)

        def forward(self, x):
            return self.decode(self.encode(x.flatten(1)).tanh()).reshape(x.shape)


    class One(nn.Module):
        def __init__(self, outputs=1):
            super().__init__()
            self.a, self.b = nn.Linear(64, 16), nn.Linear(16, outputs)

        def forward(self, x):
            return self.b(self.a(x.flatten(1)).tanh())


    class Experts(nn.Module):
        def __init__(self, num_classes):
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(64, num_classes) for _ in range(6))

        def forward(self, x):
            x = x.flatten(1)
            # The next ones get their first samples in later batches.
            chosen = (x[:, 20] * 16 * 6 / 17).long()
            out = x.new_zeros(len(x), self.experts[0].out_features)
            for place, expert in enumerate(self.experts):
                if (chosen == place).any():
                    out[chosen == place] = expert(x[chosen == place])
            return out


    def focal(outputs, targets, gamma=2.0):
        nats = F.cross_entropy(outputs, targets, reduction="none")
        return (1 - (-nats).exp()).pow(gamma) * nats


    def two_values(outputs, targets):
        return outputs.mean(1)[:2]


    def top3(outputs, targets):
        return (outputs.topk(3).indices == targets[:, None]).any(1).float().mean()


    def off(outputs, targets):
        whole = (targets == targets.round()).all()  # As they were given.
        return (outputs - targets).abs().mean() if whole else torch.tensor(float("nan"))


    def undefined(outputs, targets):
        share = (outputs.argmax(1) == targets).float().mean()
        return share if share < 0.6 else share / 0 * 0


    def right(outputs, targets):
        return ((outputs > 0) == (targets > 0.5)).double().mean().item()


    class Reconstruct:
        def __init__(self, power=2.0):
            self.power = power

        def loss(self, model, batch):
            x = batch[0] if isinstance(batch, tuple) else batch
            return (model(x) - x).abs().pow(self.power).mean()

        def evaluate(self, model, batch):
            x = batch[0] if isinstance(batch, tuple) else batch
            code = model.encode(x.flatten(1)).tanh()
            return {"mae": (model(x) - x).abs().mean(), "size": code.abs().mean()}


    def mapped_loss(model, batch):
        outputs = model.inner(pixels=batch["pixels"], mean=batch["mean"])
        return F.cross_entropy(outputs, batch["labels"])


    class Counting:
        calls = 0

        def loss(self, model, batch):
            self.calls += 1
            return model(batch[0]).pow(2).mean() * (1 + (self.calls > 1000))


    class Noisy(Dataset):
        classes = list(range(10))

        def __init__(self, start=0, spread=0.01):
            self.spread = spread
            self.x, self.y = (torch.as_tensor(each[start::2]) for each in digits())

        def __len__(self):
            return len(self.y)

        def __getitem__(self, index):
            x = self.x[index]
            return x + self.spread * torch.randn_like(x), self.y[index]


    def noisy(workers=0):
        return DataLoader(Noisy(), num_workers=workers), Noisy(1, 0.0)


    def beyond():
        held = Noisy(1, 0.0)
        held.y = held.y + 3
        return DataLoader(Noisy()), held


    def sampled():
        data = Noisy()
        weights = torch.where(data.y < 5, 3.0, 1.0)

        def make(batch_size):
            sampler = WeightedRandomSampler(weights, len(data))
            return DataLoader(data, batch_size, sampler=sampler)

        return make, Noisy(1, 0.0)


    class Words(Dataset):
        classes = ("even", "odd")

        def __getitem__(self, index):
            return torch.arange(2, 4 + index % 5) + 2 * (index % 2), index % 2

        def __len__(self):
            return 200


    def pad(samples):
        ids = [each for each, _ in samples]
        return {
            "ids": nn.utils.rnn.pad_sequence(ids, batch_first=True),
            "lengths": torch.tensor([len(each) for each in ids]),
            "labels": torch.tensor([label for _, label in samples]),
        }


    def words():
        return DataLoader(Words(), collate_fn=pad)


    class Bag(nn.Module):
        def __init__(self, num_classes):
            super().__init__()
            self.embed, self.head = nn.Embedding(12, 8, padding_idx=0), nn.Linear(8, num_classes)

        def forward(self, ids, lengths):
            return self.head(self.embed(ids).sum(1) / lengths[:, None])
"""


def write_nets(folder, text):
    """A workplace whose `nets` these are."""
    (folder / "nets.py").write_text(textwrap.dedent(text))
    return Workplace(str(DEVICE), str(folder), ("nets",))


@pytest.fixture
def nets(tmp_path):
    return write_nets(tmp_path, NETS)


def code(name, **arguments):
    return {"class_path": f"nets.{name}", "init_args": arguments}


def own_config(data, model, split=None, **train):
    found = config(model, "digits", **train)
    source = data if "name" in data else {**data, "task": None, "classes": None}
    return {**found, "data": {**source, **SPLITTING, **(split or {})}}


CASES = {
    "mapping": (code("mapped"), code("Two"), {}),
    "logits": (code("mapped"), code("Named"), {"label_smoothing": 0.1}),
    "weights": (code("weighted"), MLP, {}),
    "weights of a mapping": (code("mapped", weigh=True), code("Two"), {"clip_norm": 1.0}),
    "weights of a regression": (
        code("weighted", float_targets=True),
        MLP,
        {"loss": "huber", "metrics": {"off": code("off")}},
    ),
    "itself": (code("itself"), code("Auto"), {"loss": "mse"}),
    "own loss": (code("digits"), MLP, {"loss": code("focal", gamma=1.0)}),
    "own loss and weights": (code("weighted"), MLP, {"loss": code("focal")}),
    "a loss of torch": (
        code("digits"),
        MLP,
        {"loss": {"class_path": "torch.nn.MultiMarginLoss", "init_args": {"margin": 0.5}}},
    ),
    "own metrics": (code("digits"), MLP, {"metrics": {"top3": code("top3")}}),
    "metrics of a mapping": (code("mapped"), code("Named"), {"metrics": {"top3": code("top3")}}),
    "step": (code("digits"), code("Auto"), {"loss": None, "step": code("Reconstruct")}),
    "step without targets": (
        code("alone"),
        code("Auto"),
        {"loss": None, "step": code("Reconstruct", power=1.5), "optimizer": ADAMW, "lr": 0.003},
    ),
    "a function as step": (
        code("mapped"),
        code("Named", num_classes=10),
        {"loss": None, "step": code("mapped_loss")},
    ),
    "augmented and weighted": (
        {**code("weighted"), "transforms": [
            {"name": "random_crop", "padding": 1}, {"name": "mixup", "alpha": 0.4}
        ]},
        MLP,
        {},
    ),
    "augmented, with an own loss": (
        {**code("weighted"), "transforms": [
            {"name": "noise", "std": 0.1}, {"name": "mixup", "alpha": 0.4}
        ]},
        MLP,
        {"loss": code("focal")},
    ),
    "in bfloat16": (
        code("mapped"),
        code("Two"),
        {"loss": code("focal"), "precision": "bfloat16"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_both_engines_train_alike(nets, name):
    data, model, train = CASES[name]
    configs = [
        own_config(data, model, **{"budget": "30ba", "evaluate": "10ba", **train, "lr": rate})
        for rate in (0.01, 0.02, 0.005)
    ]
    trials = [Trial(k, "", each, 0) for k, each in enumerate(configs)]
    cohort = type("Job", (), {"workplace": nets, "data_hash": "", "source_hashes": {}})()
    assert refuse(trials, open_data(cohort, trials[0], DEVICE), nets) == ""
    pairs, _ = both(*configs, place=nets, lanes=3, objective=Objective("loss", "min"))
    rough = train.get("precision") == "bfloat16"
    for alone, together in pairs:
        assert together.result.outcome is Outcome.COMPLETED, together.result.traceback
        assert together.result.engine == "fused" and alone.result.engine == "solo"
        assert together.curve.keys() == alone.curve.keys()
        for metric, values in alone.curve.items():
            tolerance = {"rtol": 0.2, "atol": 0.05} if rough else {"rtol": 1e-3, "atol": 5e-3}
            np.testing.assert_allclose(together.curve[metric], values, **tolerance)
        for each in (alone, together) if "off" in alone.curve else ():  # In the targets' units.
            np.testing.assert_allclose(each.curve["off"], each.curve["mae"], rtol=1e-4)
        losses = alone.curve["train_loss"]
        assert losses[-1] < losses[0]
        for key, each in tensors(alone).items():
            assert rough or torch.allclose(tensors(together)[key], each, rtol=1e-2, atol=1e-3)


def test_what_is_measured_is_what_the_code_computes(nets):
    """Of a whole split, by hand, at the weights that came out."""
    own = own_config(
        code("weighted"), MLP, metrics={"top3": code("top3")}, loss=code("focal", gamma=1.0)
    )
    ended = run(own, place=nets, objective=Objective("top3", "max"))
    raw = resident.load_raw(own["data"], nets)
    data = resident.place(raw, own["data"], None, DEVICE, own["train"])
    from lrsearch.train.models.build import build_model

    model = build_model(MLP, (1, 8, 8), 10, nets).to(DEVICE).eval()
    model.load_state_dict(tensors(ended))
    with torch.no_grad():
        outputs = model(data.x_validation)
    nats = F.cross_entropy(outputs, data.y_validation, reduction="none")
    losses, weight = (1 - (-nats).exp()) * nats, data.w_validation
    last = ended.result.last
    assert last["loss"] == close(float((losses * weight).sum() / weight.sum()), rel=1e-5)
    top = outputs.topk(3).indices == data.y_validation[:, None]
    assert last["top3"] == pytest.approx(top.any(1).float().mean().item())
    assert last["f1"] == pytest.approx(
        f1_score(data.y_validation.cpu(), outputs.argmax(1).cpu(), average="macro"), rel=1e-12
    )
    assert ended.result.best["top3:max"] == max(ended.curve["top3"])
    assert set(last) == {"loss", "accuracy", "f1", "top3"}


def test_what_a_step_measures_keeps_its_digits():
    criterion = Criterion(config()["train"], "own")
    share, large = 1 - 1e-9, torch.tensor(1e40, dtype=torch.float64, device=DEVICE)
    criterion.names, criterion.step = (
        None,
        SimpleNamespace(loss=lambda model, x: large, evaluate=lambda model, x: values),
    )
    values = {"share": share, "own_loss": np.float32(0.5)}
    batch = Batch(torch.ones(8, device=DEVICE))
    if DEVICE.type != "mps":
        assert (criterion.sums(nn.Identity(), batch)[0] / 8).tolist() == [1e40, 0.5, share]
        values["loss"] = 2.0  # A number: nothing differentiates it.
        assert (criterion.sums(nn.Identity(), batch)[0] / 8).tolist() == [2.0, 0.5, share]
    values["own_loss"] = None
    with pytest.raises(ModelError, match="evaluate: own_loss: it gives NoneType; a number is"):
        criterion.sums(nn.Identity(), batch)


def test_a_batch_s_loss_is_weighted():
    criterion = Criterion(config()["train"], "classification")
    raw = raw_of((X, Y, np.where(Y == 3, 4.0, 1.0)))
    data = resident.place(raw, own_data(), None, DEVICE)
    batch = take(data.train, torch.arange(32, device=DEVICE))
    outputs = torch.randn(32, 10, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    each = F.cross_entropy(outputs, batch.y, reduction="none")
    expected = (each * batch.weight).mean()
    torch.testing.assert_close(criterion.of_outputs(outputs, batch), expected)


def test_targets_reach_a_loss_of_one_s_own_as_they_are(nets):
    own = own_config(
        code("odd"),
        code("One"),
        loss={"class_path": "torch.nn.BCEWithLogitsLoss", "init_args": {}},
        metrics={"right": code("right")},
    )
    ended = run(own, place=nets, objective=Objective("right", "max"))
    assert ended.result.outcome is Outcome.COMPLETED, ended.result.traceback
    assert ended.result.last["right"] > 0.8
    assert 0 < ended.result.last["loss"] < 0.6


def test_a_metric_that_is_no_number_is_said(nets):
    """In both engines, and of the objective alone."""
    given = {"budget": "6ep", "lr": 0.3, "metrics": {"hard": code("undefined")}}
    own = own_config(code("digits"), MLP, **given)
    for alone, together in both(own, own, place=nets, objective=Objective("hard", "max"))[0]:
        for found in (alone.result, together.result):
            assert found.outcome is Outcome.DIVERGED and "hard is nan after" in found.reason
    assert run(own, place=nets).result.outcome is Outcome.COMPLETED


def test_an_expert_may_get_its_first_samples_late(nets):
    """Only some parameters have a gradient in a step, and others in the next; lanes say why not."""
    own = own_config(
        code("digits"),
        code("Experts"),
        budget="40ba",
        evaluate="20ba",
        batch_size=4,
        lr=0.01,
        optimizer=SGD | {"momentum": 0.9, "dampening": 0.0},
    )
    ended = run(own, place=nets)
    assert ended.result.outcome is Outcome.COMPLETED, ended.result.traceback
    first, second = ended.curve["train_loss"]
    assert second < first
    trial = Trial(0, "", own, 0)
    cohort = type("Job", (), {"workplace": nets, "data_hash": "", "source_hashes": {}})()
    assert "reads values back" in refuse([trial], open_data(cohort, trial, DEVICE), nets)


def test_a_step_that_remembers_trains_alone(nets):
    own = own_config(code("digits"), code("One"), loss=None, step=code("Counting"))
    trial = Trial(0, "", own, 0)
    cohort = type("Job", (), {"workplace": nets, "data_hash": "", "source_hashes": {}})()
    reason = refuse([trial], open_data(cohort, trial, DEVICE), nets)
    assert "train.step" in reason


CROSSED = {"class_path": "torch.nn.CrossEntropyLoss", "init_args": {}}
AT_PLACES = r"class at each place .*CrossEntropyLoss}, for outputs \[samples, classes, 8, 8\]"


def test_classes_at_places_are_trained_by_the_loss_that_is_named(nets):
    """What the message says is what works."""
    own = own_config(code("places"), code("AtPlaces"), loss=CROSSED, budget="3ep", lr=0.5)
    assert facts(own, place=nets).task == "own"
    assert run(own, place=nets).curve["loss"][-1] < 0.4 < np.log(3)


@pytest.mark.parametrize(
    ("data", "model", "train", "message"),
    [
        ("itself", code("Auto"), {"loss": None}, "targets are of your own kind, and no loss is"),
        ("alone", code("Auto"), {"loss": "mse"}, "the samples have no targets"),
        ("alone", code("Auto"), {"loss": None}, "the samples have no targets"),
        ("one_hot", MLP, {"loss": None}, "each row is one-hot: for classes give their numbers"),
        ("places", code("AtPlaces"), {}, rf"{AT_PLACES}; allowed: mse, .* floating-point"),
        ("places", code("AtPlaces"), {"loss": None}, rf"no loss is named\n.*{AT_PLACES}; else"),
        ("places", code("AtPlaces"), {"loss": "mse"}, rf"int64, and the .*\n.*{AT_PLACES}"),
        ("places", code("AtPlaces", at=-1), {"loss": CROSSED}, r"classes, 8, 8\], .*\(-1, 1\)"),
        ("places", code("AtPlaces"), {"loss": CROSSED, "label_smoothing": 0.1}, "loss.init_args."),
        ("labels", code("One", outputs=4), {}, r"classes, 4\]; of labels .*BCE.*outputs .*, 4\]"),
        ("floats", code("One", outputs=4), {}, r"\n  of labels .*BCE.*, 4\]; allowed: .*huber$"),
        ("one_hot", MLP, {}, "each row is one-hot: for classes give their numbers"),
        ("itself", code("One"), {}, r"kind\n  allowed: mse, mae, huber$"),
        ("itself", code("One"), {"loss": "mse"}, r"gives \[2, 1\] .* \[2, 1, 8, 8\] is needed"),
        ("digits", code("One"), {"loss": code("focal")}, "task: own under data"),
        ("digits", MLP, {"loss": code("two_values")}, r"gives \[2\] for 256 samples; one value"),
        ("digits", MLP, {"loss": code("nothing")}, "train.loss: nets has no 'nothing'"),
        ("digits", MLP, {"loss": code("focal", gama=1)}, "unexpected keyword argument 'gama'"),
        ("digits", MLP, {"loss": None, "step": code("Auto")}, "has parameters, which nobody would"),
        ("digits", MLP, {"loss": None, "step": code("Output", logits=1)}, "Output has no loss"),
        ("digits", MLP, {"loss": None, "step": code("Reconstruct")},
         r"train.step: tried on 256 .*\n  its batch is a tuple of \[256, 1, 8, 8\], \[256\]"),
        ("mapped", code("Named"), {"loss": code("of_logits")},
         r"'logits' .*\n  it is given outputs \[256, 10\], the logits of the model's Output, and "
         r"targets \[256\]; a step"),
        ("digits", MLP, {"loss": None, "step": code("Reconstruct", p=1)}, "takes no argument 'p'"),
        ("digits", MLP, {"metrics": {"a": code("right")}}, "train.metrics.a: tried on 256 samples"),
        ("digits", MLP, {"metrics": {"a": code("focal")}}, r"train.metrics.a: it gives \[256\]"),
        ("weighted", MLP, {"loss": {"class_path": "torch.nn.CrossEntropyLoss", "init_args": {}}},
         "the samples have weights, and it gives one value"),
        ("mapped", code("Auto"), {}, "the model does not take samples of shape pixels"),
        ("digits", code("Double"), {}, r"not compute in float32, .*\n  its .* float64: .*.double"),
        ("placed", code("AtPlaces"), {"loss": CROSSED}, "held-out part is 3, and .* 3 classes"),
        ("beyond", MLP, {}, "a target of validation is 1[012]; the 10 classes are 0 to 9"),
        ("noisy", MLP, {"batch_size": 2000}, "batch_size 2000 is larger than the training set"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said_before_anything_trains(nets, data, model, train, message):
    split = {"validation": "source"} if data in ("noisy", "placed", "beyond") else {}
    with pytest.raises((DataError, ModelError), match=message) as caught:
        facts(own_config(code(data), model, split, **train), place=nets)
    assert caught.value.where or "nets" in str(caught.value)


def test_cross_entropy_of_targets_that_the_spec_says_are_own_is_told_before_they_load(nets):
    path = Path(nets.folder) / "own.yaml"
    data = "{class_path: nets.places, validation: 0.2, task: own}"
    train = "{budget: 1ep, lr: 0.1, loss: cross_entropy}"
    path.write_text(f"data: {data}\nmodel: {{class_path: nets.AtPlaces}}\ntrain: {train}\n")
    with pytest.raises(
        SpecError, match=r"(?s)no loss of targets of your own.*CrossEntropyLoss}, f"
    ):
        read_spec(path)


# what is loaded batch by batch


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_that_change_are_loaded_again_and_again(nets, workers):
    own = own_config(
        code("noisy", workers=workers), MLP, {"validation": "source"}, budget="3ep", lr=0.2
    )
    found = facts(own, place=nets)
    assert found.task == "classification" and found.outputs == 10
    assert found.train_samples == (899,) and found.validation_samples == (898,)
    assert any("a sample differs each time" in note for note in found.notes)
    first, second = (run(own, place=nets) for _ in range(2))
    assert first.result.outcome is Outcome.COMPLETED, first.result.traceback
    assert first.result.last["accuracy"] > 0.75
    assert_same_numbers(first.curve, second.curve)
    assert_same_weights(first.weights, second.weights)


def test_a_validation_part_that_nobody_asks_for_is_told(nets):
    for name in ("noisy", "halves"):
        for given, told in (({}, True), ({"validation": "source"}, False)):
            found = facts(own_config(code(name), MLP, given), place=nets)
            assert ("is not used: validation: source takes it" in found.data) is told


def test_streams_follow_the_order_of_the_seed(nets):
    own = own_config(code("noisy"), MLP, {"validation": "source"})
    raw = resident.load_raw(own["data"], nets)
    streamed = resident.place(raw, own["data"], None, DEVICE)
    assert isinstance(streamed, Streamed)
    kept = resident.place(raw_of((Pairs(0, 2), Pairs(1, 2)), validation="source"),
                          own_data(validation="source"), None, DEVICE)  # fmt: skip
    for left, right, _ in zip(
        streamed.batches(64, 5), kept.batches(64, 5), range(30), strict=False
    ):
        torch.testing.assert_close(left.y, right.y)
        assert 0.005 < (left.x - right.x).std() < 0.02
    whole = torch.cat([each.y for each in streamed.validation_batches(100)])
    assert whole.tolist() == Y[1::2].tolist()


def test_a_loader_s_own_order_is_its_own(nets):
    own = own_config(code("sampled"), MLP, {"validation": "source"}, budget="2ep")
    raw = resident.load_raw(own["data"], nets)
    data = resident.place(raw, own["data"], None, DEVICE)
    noise = noise_state()
    seen = [batch.y for batch, _ in zip(data.batches(60, 1), range(40), strict=False)]
    assert torch.equal(noise_state(), noise)
    assert [len(each) for each in seen] == ([60] * 14 + [59]) * 2 + [60] * 10
    low = (torch.cat(seen) < 5).float().mean().item()
    assert 0.7 < low < 0.8  # Three to one, where the data have one to one.
    again = [batch.y for batch, _ in zip(data.batches(60, 1), range(40), strict=False)]
    assert all(map(torch.equal, seen, again))
    assert not torch.equal(seen[0], next(data.batches(60, 2)).y)
    assert run(own, place=nets).result.outcome is Outcome.COMPLETED


@pytest.mark.parametrize("workers", [0, 1])
def test_lanes_share_what_is_loaded(nets, workers):
    """As alone, whoever trains beside: with other seeds, refilled places and a stop on the way."""
    data = code("noisy", workers=workers)
    configs = [
        own_config(
            data,
            MLP,
            {"validation": "source"},
            budget=f"{18 + 6 * (k % 2)}ba",
            evaluate="9ba",
            lr=rate,
            metrics={"top3": code("top3")},
        )
        for k, rate in enumerate((0.05, 0.1, 0.2, 0.1, 0.05))
    ]
    trials = [Trial(k, "", each, 0) for k, each in enumerate(configs)]
    place = resident.load_raw(configs[0]["data"], nets), configs[0]["data"], None, DEVICE
    sample = resident.Resident(**resident.place(*place).sample(64))
    assert refuse(trials, sample, nets) == ""
    seeds = [0, 0, 1, 1, 0]
    pairs, _ = both(*configs, place=nets, lanes=3, seeds=seeds)
    for alone, together in pairs:
        assert together.result.engine == "fused", together.result.reason
        for metric, values in alone.curve.items():
            np.testing.assert_allclose(
                together.curve[metric], values, rtol=1e-3, atol=5e-3, err_msg=metric
            )
    few = run_fused(configs[:2], 2, place=nets)
    for number, right in few.items():
        assert_same_numbers(pairs[number][1].curve, right.curve)
        assert_same_weights(pairs[number][1].weights, right.weights)


def test_what_lanes_cannot_share_says_why(nets):
    place = resident.load_raw, own_config(code("words"), code("Bag"))["data"]
    words = resident.place(place[0](place[1], nets), place[1], None, DEVICE)
    with pytest.raises(NotRecordable, match="its batches differ in shape"):
        words.sample(2)
    own = own_config(code("sampled"), MLP, {"validation": "source"})["data"]
    sampled = resident.place(resident.load_raw(own, nets), own, None, DEVICE)
    with pytest.raises(NotRecordable, match="its DataLoader has an order of its own"):
        sampled.sample(16)


def test_variable_lengths_by_a_collate_function(nets):
    own = own_config(code("words"), code("Bag"), budget="10ep", batch_size=16, lr=0.5)
    ended = run(own, place=nets)
    assert ended.result.outcome is Outcome.COMPLETED, ended.result.traceback
    assert ended.result.last["accuracy"] > 0.9


def test_a_target_out_of_range_fails_its_trial_alone(nets):
    source = {**code("words"), "task": None, "classes": None}
    own = own_config(code("words"), code("Bag"))
    found = run({**own, "data": {**source, **SPLITTING, "classes": 2}}, place=nets)
    assert found.result.outcome is Outcome.COMPLETED
    few = resident.load_raw(own["data"], nets)
    streamed = resident.place(few, own["data"], None, DEVICE)
    streamed.outputs = 1
    with pytest.raises(ModelError, match="a target is 1; the 1 classes are 0 to 0"):
        next(streamed.batches(16, 0))


def test_a_dataset_that_changes_its_length_is_noticed(nets):
    own = own_config(code("noisy"), MLP, {"validation": "source"})
    raw = resident.load_raw(own["data"], nets)
    streamed = resident.place(raw, own["data"], None, DEVICE)
    raw.streams[0].dataset.y = raw.streams[0].dataset.y[:800]
    with pytest.raises((ModelError, IndexError), match=r"changed its length from 899 to 800|index"):
        list(zip(streamed.batches(64, 0), range(20), strict=False))


# from the command line

SPEC = """
name: mine
data: {class_path: nets.digits}
model: {class_path: nets.Auto, init_args: {width: 8}}
train: {budget: 2ep, batch_size: 64, optimizer: adamw, step: nets.Reconstruct}
objective: {metric: size, goal: max}
search: {lr: {min: 1e-3, max: 1e-2, points: 3}, step.init_args.power: [1.5, 2]}
"""


@pytest.fixture
def here(nets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(SPEC)
    return tmp_path


def test_a_step_is_searched_from_the_command_line(here):
    allow = ("--allow-import", "nets", *INLINE)
    said = lrsearch("grid", "mine.yaml", *allow, "--json", "--engine", "fused")
    assert said.code == 0, said
    found = json.loads(said.out)
    assert found["objective"] == {"metric": "size", "goal": "max", "at": "last"}
    assert len(found["trials"]) == 6 and {each["engine"] for each in found["trials"]} == {"fused"}
    best = max(found["trials"], key=lambda each: each["objective"])
    assert found["best"]["objective"] == best["objective"]
    assert {each["params"]["step.init_args.power"] for each in found["points"]} == {1.5, 2.0}
    # Measured once: another objective of the same evaluation is answered from the journal.
    said = lrsearch("grid", "mine.yaml", *allow, "--set", "objective={metric: mae}", "--json")
    assert said.code == 0 and json.loads(said.out)["objective"]["goal"] == "min", said
    assert len(read_run(here / "runs" / "mine").results) == 6
    said = lrsearch("grid", "mine.yaml", *allow, "--require", "size>=2")
    assert said.code == 3 and "not met" in said.err
    said = lrsearch("export", "mine.yaml", "--output", "best.yaml")
    assert said.code == 0 and "--allow-import nets" in (here / "best.yaml").read_text()
    assert lrsearch("check", "best.yaml", *allow[:2]).code == 0
    # Other code is another measurement.
    text = (here / "nets.py").read_text()
    (here / "nets.py").write_text(text.replace('"size": code.abs()', '"size": 2 * code.abs()'))
    said = lrsearch("grid", "mine.yaml", *allow, "--fresh")
    assert said.code == 0, said


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.loss=mse", "'loss' says nothing beside a step"),
        ("train.metrics={a: nets.top3}", "'metrics' says nothing beside a step"),
        ("objective={metric: size}", "'goal' is missing: is a large 'size' good, or a small one?"),
        ("objective={metric: loss, goal: max}", "the goal of loss is min"),
        ("objective={goal: max}", "a goal goes with a metric"),
        ("search.step=[nets.A, nets.B]", "measured in different ways cannot be compared"),
        ("search.loss=[mse, mae]", "a step has a loss of its own"),
        ("train.step=Reconstruct", "no dotted path"),
        ("train.step=[1]", "names no code"),
        ("data.transforms=[flip]", "it augments them itself"),
        ("search.data.transforms=[[], [flip]]", "it augments them itself"),
        ("train.step={init_args: {}}", "names no code"),
        ("data.task=regresion", "did you mean 'regression'?"),
        ("data.classes=1", "a whole number from 2"),
        ("search.step={power: [1, 2]}", "may be searched: step.init_args.NAME"),
    ],
)
def test_slips_in_a_spec_with_a_step(here, override, message):
    said = lrsearch("check", "mine.yaml", "--set", override)
    assert said.code == 2 and message in " ".join(said.err.split()), said


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.metrics={accuracy: nets.top3}", "'accuracy' is measured already"),
        ("train.metrics={lr: nets.top3}", "'lr' is measured already"),
        ("train.metrics={3a: nets.top3}", "cannot name a metric"),
        ("train.metrics={a: top3}", "no dotted path"),
        ("train.metrics=nets.top3", "is no mapping of names to metrics"),
        ("objective={metric: top4, goal: max}", "did you mean 'top3'?"),
        ("objective=top3", "'goal' is missing"),
        ("train.label_smoothing=0.1", "not for one of your own"),
        ("train.loss=focal_loss", "class path, such as my_package.focal"),
        ("search.metrics=[a]", "measured in different ways"),
        ("train.step=nets.Reconstruct", "says nothing beside a step"),
    ],
)
def test_slips_in_a_spec_with_a_loss_and_metrics(here, override, message):
    (here / "other.yaml").write_text(
        "name: other\ndata: digits\nmodel: mlp\n"
        "train: {budget: 1ep, lr: 0.1, loss: nets.focal, metrics: {top3: nets.top3}}\n"
    )
    assert lrsearch("check", "other.yaml", "--allow-import", "nets").code == 0
    said = lrsearch("check", "other.yaml", "--set", override)
    assert said.code == 2 and message in " ".join(said.err.split()), said


def test_a_metric_that_evaluate_does_not_give(here):
    said = lrsearch(
        "grid", "mine.yaml", "--allow-import", "nets", *INLINE,
        "--set", "objective={metric: sise, goal: max}",
    )  # fmt: skip
    assert said.code == 2 and "did you mean 'size'?" in " ".join(said.err.split()), said


def test_torchmetrics_are_metrics(here):
    pytest.importorskip("torchmetrics")
    (here / "other.yaml").write_text(
        "name: other\ndata: digits\nmodel: mlp\nobjective: {metric: f2, goal: max}\n"
        "train: {budget: 2ep, lr: 0.1, batch_size: 64, metrics: {f2: {class_path: "
        "torchmetrics.classification.MulticlassF1Score, init_args: {average: macro}}}}\n"
        "search: {lr: {min: 0.01, max: 0.5, points: 3}}\n"
    )
    for engine in ("solo", "fused"):
        said = lrsearch(
            "grid", "other.yaml", *INLINE, "--allow-import", "torchmetrics",
            "--engine", engine, "--fresh", "--json",
        )  # fmt: skip
        assert said.code == 0, said
        assert {each["engine"] for each in json.loads(said.out)["trials"]} == {engine}
        for result in read_run(here / "runs" / "other").results.values():
            assert result.last["f2"] == pytest.approx(result.last["f1"], abs=1e-6)
