"""What is easily measured wrongly with data, losses and metrics of the user's own."""

import itertools
import multiprocessing

import numpy as np
import pytest
import torch
from devices import DEVICE, assert_same_numbers, assert_same_weights, noise_state
from keys import trial_key
from scipy.sparse import csr_array
from sklearn.datasets import load_digits
from test_fused import both, tensors
from test_own_code import code, own_config, own_data, raw_of, write_nets
from test_tables import INLINE, lrsearch
from test_train import MLP, facts, run
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from lrsearch.data.splitting import split
from lrsearch.errors import DataError, ModelError
from lrsearch.spec.model import class_paths
from lrsearch.train.batches import resident
from lrsearch.train.batches.resident import view_portion
from lrsearch.train.engines.comparison import refuse
from lrsearch.train.engines.course import open_data
from lrsearch.train.models.build import build_model
from lrsearch.trial import Objective, Outcome, Trial
from lrsearch.tuner.ledger import Content

X = np.arange(120, dtype=np.float32).reshape(40, 3)
Y = np.arange(40) % 4
IMAGES = (load_digits().images[:40, None] * 15).astype(np.uint8)


class Made(Dataset):
    """Samples that a function of the index makes."""

    classes = ("a", "b", "c", "d")

    def __init__(self, make, size=40):
        self.make, self.size = make, size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return self.make(index)


class Endless(IterableDataset):
    def __iter__(self):
        yield from zip(X, Y, strict=True)


def plain_sample(index):
    return X[index], int(Y[index])


# what the data are taken for


class Nothing:
    def __iter__(self):
        return iter(())

    def __len__(self):
        return 0


@pytest.mark.parametrize(
    ("result", "given", "message"),
    [
        ((X, Y + 0.5), {"task": "classification"}, "whole numbers or text"),
        ((X, Y.astype(str)), {"task": "regression"}, "and the targets are <U21: numbers are"),
        ({"a": X, "y": Y.astype(str)}, {"task": "regression"}, "the targets are <U21: numbers"),
        ({1: X, "1": X[:, :2], "y": Y}, {}, "two of its keys read x.1"),
        ((None, Y), {}, "NoneType is no array"),
        (({1, 2}, Y), {}, "set is no array"),
        (([X[:5], X[:6]], Y), {}, "a list of arrays of several shapes"),
        (DataLoader(Made(lambda i: (torch.tensor(X[i]), 0)), batch_size=None), {}, "no batch_size"),
        (DataLoader(Made(plain_sample), collate_fn=lambda _: (["a", "b"], torch.zeros(2))), {},
         r"x holds text \(<U1\): numbers are needed"),
        (DataLoader(Made(plain_sample), collate_fn=lambda _: (torch.zeros(2) + 1j, [0, 1])), {},
         r"x holds complex numbers \(complex64\): numbers"),
        (DataLoader(Made(plain_sample), collate_fn=lambda _: (torch.zeros(2), torch.arange(3, 5))),
         {}, r"a target is 4; the 4 classes are 0 to 3\n.*y - 1, or write classes: 5 under data"),
        (((lambda size: DataLoader(Made(plain_sample), size, sampler=Nothing())), (X, Y)), {},
         "its DataLoader gives no batch"),
        ((Made(lambda i: (X[i] + np.random.randn(3), 0)), (X[:, :2], Y)), {},
         r"samples of validation are x float32 \(2,\), those of train x float32 \(3,\)"),
        ((Made(lambda i: (X[i] + np.random.randn(3), 0)), {"a": X, "y": Y}), {},
         "samples of validation are x.a"),
        ({"train": (X, Y), "val": (X, Y)}, {}, "returned a mapping of parts: train, val"),
        (Endless(), {}, "Endless is an IterableDataset, whose samples have no places"),
        ((np.ma.masked_array(X, X > 1), Y), {}, "a masked array has values that are missing"),
        ((csr_array(X), Y), {}, r"csr_array is no array: write .toarray\(\)"),
        ((np.array([[1.0, None]] * 40, object), Y), {}, r"x holds objects, null at \[0, 1\]:"),
    ],
)  # fmt: skip
def test_what_is_no_data_is_said_by_its_name(result, given, message):
    with pytest.raises(DataError, match=message):
        raw_of(result, **given)


def test_a_part_in_memory_tells_the_classes_of_one_that_is_loaded():
    random = Made(lambda i: (X[i] + np.random.randn(3), 0))
    assert raw_of(((X, Y), random)).outputs == 4


def test_lists_are_samples_and_text_may_be_objects():
    """As `[load(path) for path in paths]` gives them, and a column of a table."""
    for listed in (list(X), [torch.from_numpy(each) for each in X]):
        np.testing.assert_array_equal(raw_of((listed, Y)).x, X)
    assert raw_of((X, Y.astype(str).astype(object))).labels == ("0", "1", "2", "3")
    mixed = raw_of((X.astype(object), Y.astype(object)))  # As of a table of several types.
    np.testing.assert_array_equal(mixed.x, X)
    assert mixed.labels == ("0", "1", "2", "3")
    two = raw_of(((X, X[:, :2]), Y)).x
    assert [each.shape for each in two] == [(40, 3), (40, 2)]


@pytest.mark.parametrize(
    ("y", "told"),
    [
        (np.eye(4, dtype="float32")[Y], "one-hot, taken as a regression of 4 targets: for classes"),
        (np.ones(40, "float32"), "nothing but 1: there is nothing to learn"),
        (np.eye(4)[Y] / 2, None),
        (np.linspace(0, 1, 40), None),
    ],
)
def test_a_regression_that_may_be_none_is_doubted(y, told):
    notes = [each for each in raw_of((X, y)).notes if "learn" in each or "one-hot" in each]
    assert len(notes) == (told is not None) and (told or "") in "".join(notes), notes


def test_bytes_are_scaled_as_inputs_and_stay_as_targets():
    masks = (IMAGES > 90).astype(np.uint8)
    for given in ((IMAGES, masks), (torch.from_numpy(IMAGES), torch.from_numpy(masks))):
        raw = raw_of(given)
        assert raw.x.max() <= 1 and raw.y.dtype == np.int64 and set(np.unique(raw.y)) == {0, 1}
    noisy = Made(lambda i: (torch.from_numpy(np.roll(IMAGES[i], np.random.randint(3))), masks[i]))
    raw = raw_of(noisy)
    data = resident.place(raw, own_data(), None, DEVICE)
    batch = next(data.batches(8, 0))
    assert raw.x.dtype == np.float32 and batch.x.max() <= 1 and batch.y.max() == 1
    assert data.example.dtype == batch.x.dtype and 0.2 < data.example.max() <= 1


def test_a_dataset_s_whole_numbers_stay_whole():
    assert raw_of(Made(lambda i: (np.arange(3) + i, int(Y[i])))).x.dtype == np.int64


def test_a_step_sees_the_targets_that_were_given_and_a_loss_the_classes():
    for given in ((X, Y + 1), {"x": X, "labels": Y + 1}, (X, Y[:, None] + 1, np.ones(40))):
        raw = raw_of(given)
        part = split(raw, own_data(), None, own=True).train
        own = view_portion(part, raw.form, "given")
        np.testing.assert_array_equal(np.unique(own.y), [0, 1, 2, 3])
        whole = view_portion(part, raw.form, "step").x
        seen = whole["labels"] if isinstance(whole, dict) else whole[1]
        np.testing.assert_array_equal(np.unique(seen), [1, 2, 3, 4])
        assert seen.ndim == np.ndim(given["labels"] if isinstance(given, dict) else given[1])
    hashes = {raw_of((X, Y + first)).data_hash for first in (0, 1, 2)}
    assert len(hashes) == 3


# samples that change


def rarely(own, share=0.1):
    def make(index):
        turned = (own.random() if own is not None else torch.rand(()).item()) < share
        return X[index][::-1].copy() if turned else X[index], int(Y[index])

    return Made(make)


@pytest.mark.parametrize("own", [None, np.random.default_rng(4)], ids=["global", "its own"])
def test_samples_that_seldom_change_are_not_kept(own):
    torch.manual_seed(0)
    assert raw_of(rarely(own)).streams


def test_which_data_they_are_is_told_again():
    """Where a collate_fn, or the dataset, has a generator of its own, and where it has none."""
    own = np.random.default_rng()

    def collate(samples):
        x, y = default_collate(samples)
        return x + torch.from_numpy(own.normal(size=x.shape)), y

    for result in (DataLoader(Made(plain_sample), collate_fn=collate), rarely(own, 0.4)):
        assert raw_of(result).data_hash == raw_of(result).data_hash
    hashes = set()
    for labels in (Y, Y, 3 - Y):
        torch.manual_seed(0)
        noisy = Made(lambda i, labels=labels: (X[i] + torch.randn(3).numpy(), int(labels[i])))
        hashes.add(raw_of(noisy).data_hash)
    assert len(hashes) == 2


# training

NETS = """
    import numpy as np
    import torch
    from sklearn.datasets import load_digits
    from torch import nn
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler, WeightedRandomSampler
    from torch.utils.data import default_collate


    class Noisy(Dataset):
        classes = list(range(10))

        def __init__(self, start=0, spread=0.01):
            found = load_digits()
            self.x = torch.from_numpy(found.images[start::2, None] / 16).float()
            self.y, self.spread = torch.from_numpy(found.target[start::2]), spread

        def __len__(self):
            return len(self.y)

        def __getitem__(self, index):
            x = self.x[index]
            return x + self.spread * torch.randn_like(x), self.y[index]


    class Same(Noisy):
        def __getitem__(self, index):
            x, _ = super().__getitem__(index)
            return x, x


    def digits():
        return Noisy(0, 0.0).x, Noisy(0, 0.0).y


    def noisy():
        return Noisy(), Noisy(1, 0.0)


    def same():
        return Same(), Same(1, 0.0)


    def heavy(samples):
        x, y = (torch.stack(each) for each in zip(*samples))
        return x, y, torch.full((len(y),), 5.0)


    def weighted():
        return DataLoader(Noisy(), collate_fn=heavy), DataLoader(Noisy(1, 0.0), collate_fn=heavy)


    class Broken(Noisy):
        def __getitem__(self, index):
            if index == 301:
                raise OSError("no such picture")
            return super().__getitem__(index)


    def broken(workers):
        return DataLoader(Broken(), num_workers=workers), Noisy(1, 0.0)


    def masks():
        x, _ = digits()
        return x, (x > 0.5).byte()


    def detached(outputs, targets):
        return F.cross_entropy(outputs, targets).detach()


    def ordered(drop=False, held=600):
        train, other = Noisy(), Noisy(1, 0.0)
        generator = torch.Generator()

        def make(size):
            sampler = WeightedRandomSampler(torch.ones(800), 800, generator=generator)
            return DataLoader(train, size, sampler=sampler)

        def validate(size):
            sampler = SubsetRandomSampler(range(held))
            return DataLoader(other, size, sampler=sampler, drop_last=drop)

        return make, validate


    class Dropping(nn.Module):
        def __init__(self, num_classes):
            super().__init__()
            self.a, self.b = nn.Linear(64, 32), nn.Linear(32, num_classes)
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return self.b(self.drop(self.a(x.flatten(1)).relu()))


    class Auto(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode, self.decode = nn.Linear(64, 8), nn.Linear(8, 64)

        def forward(self, x):
            return self.decode(self.encode(x.flatten(1)).tanh()).reshape(x.shape)


    class Thinned(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.9)

        def forward(self, outputs, targets):
            return F.cross_entropy(self.drop(outputs), targets, reduction="none")


    def weighted_step(model, batch):
        x, y, weight = batch
        return (F.cross_entropy(model(x), y, reduction="none") * weight).mean()


    CALLS = 0


    def counted(model, batch, scale=1.0):
        global CALLS
        CALLS += 1
        return F.cross_entropy(model(batch[0]), batch[1]) * (scale if CALLS < 1000 else 0.0)


    def right(outputs, targets):
        return (outputs.argmax(1) == targets).float().mean()


    def apart(outputs, targets):
        near = (outputs @ outputs.T).log_softmax(1)
        return -(near * (targets[:, None] == targets)).sum(1).mean()


    class Shifting(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(64, 10)

        def forward(self, x):
            return self.a(x.sub_(0.5).flatten(1))


    def counting_down(outputs, targets):
        return F.cross_entropy(outputs, targets.fill_(3), reduction="none")


    class Projected(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.rand(()))

        def forward(self, outputs, targets):
            return F.cross_entropy(outputs, targets, reduction="none") * self.scale


    class Partly(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(64, 10)

        def forward(self, x):
            return {"scores": self.a(x.flatten(1)), "hidden": None}


    def of_scores(outputs, targets):
        return F.cross_entropy(outputs["scores"], targets)


    def pad(samples):
        x, y = default_collate(samples)
        return x.flatten(1)[:, : 20 + int(y[0])], y


    def padded():
        return DataLoader(Noisy(), collate_fn=pad)


    class Summed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(1, 10)

        def forward(self, x):
            return self.a(x.unsqueeze(-1))


    def of_first(outputs, targets):
        return F.cross_entropy(outputs[:, 0], targets)


    class Smoothed:
        seen = 0.0

        def __call__(self, outputs, targets):
            self.seen += 1
            return float((outputs.argmax(1) == targets).float().mean())
"""


@pytest.fixture
def nets(tmp_path):
    return write_nets(tmp_path, NETS)


SOURCE = {"validation": "source"}
SHORT = {"budget": "30ba", "evaluate": "15ba", "lr": 0.1}


def refusal(own, nets):
    trials = [Trial(seed, "", own, seed) for seed in range(2)]
    job = type("Job", (), {"workplace": nets, "data_hash": "", "source_hashes": {}})()
    return refuse(trials, open_data(job, trials[0], DEVICE), nets)


def test_noise_is_the_trial_s_own_whoever_loads(nets):
    """A DataLoader draws a seed when it is begun, at each evaluation."""
    configs = [
        own_config(code("noisy"), code("Dropping"), SOURCE, **{**SHORT, "lr": rate})
        for rate in (0.1, 0.05)
    ]
    for alone, together in both(*configs, place=nets, lanes=2)[0]:
        assert together.result.engine == "fused", together.result.reason
        for key, each in tensors(alone).items():
            torch.testing.assert_close(tensors(together)[key], each, rtol=1e-3, atol=1e-4)
    seldom = own_config(code("noisy"), code("Dropping"), SOURCE, **{**SHORT, "evaluate": "30ba"})
    assert_same_weights(run(seldom, place=nets).weights, run(configs[0], place=nets).weights)


def test_loading_leaves_the_device_s_noise_alone(nets):
    own = own_config(code("noisy"), MLP, SOURCE)
    data = resident.place(resident.load_raw(own["data"], nets), own["data"], None, DEVICE)
    before = noise_state()
    next(data.batches(16, 0))
    assert torch.equal(noise_state(), before)


def test_a_built_in_loss_is_a_mean_over_what_is_loaded(nets):
    own = own_config(code("same"), code("Auto"), SOURCE, **{**SHORT, "loss": "mse", "lr": 0.001})
    ended = run(own, place=nets)
    assert ended.result.last["loss"] == pytest.approx(ended.curve["train_loss"][-1], rel=0.2)


def test_weights_are_for_a_step_alone_where_they_are_loaded(nets):
    own = own_config(code("weighted"), MLP, SOURCE, **SHORT)
    with pytest.raises(DataError, match="weights of samples that are loaded batch by batch"):
        facts(own, place=nets)
    own = own_config(
        code("weighted"), code("Dropping", num_classes=10), SOURCE,
        **{**SHORT, "loss": None, "step": code("weighted_step")},
    )  # fmt: skip
    facts(own, place=nets)
    assert run(own, place=nets).curve["train_loss"][0] > 6


def test_an_order_of_its_own_says_how_many_samples_there_are(nets):
    own = own_config(code("ordered"), MLP, SOURCE, **SHORT)
    found = facts(own, place=nets)
    assert (found.train_samples, found.validation_samples) == ((800,), (600,))
    first, second = (run(own, place=nets) for _ in range(2))
    assert_same_numbers(first.curve, second.curve)  # Though its generator is one for all.
    held = [*torch.split(torch.arange(600), 64)]
    raw = resident.load_raw(own["data"], nets)
    data = resident.place(raw, own["data"], None, DEVICE)
    noise = torch.get_rng_state()
    seen = list(data.validation_batches(64))
    assert [each.samples for each in seen] == [len(each) for each in held]
    assert torch.equal(torch.get_rng_state(), noise)
    short = own_config(code("ordered", drop=True), MLP, SOURCE, **SHORT)
    ended = run(short, place=nets).result
    assert ended.outcome is Outcome.FAILED and "gives 576 of its 600 samples" in ended.reason


def test_a_loss_is_evaluated_as_a_model_is(nets):
    """Without its dropout, in both engines."""
    own = own_config(code("digits"), MLP, **{**SHORT, "loss": code("Thinned")})
    assert refusal(own, nets) == ""
    pairs, _ = both(own, {**own, "train": {**own["train"], "lr": 0.05}}, place=nets, lanes=2)
    plain = own_config(code("digits"), MLP, **SHORT)
    raw = resident.load_raw(plain["data"], nets)
    data = resident.place(raw, plain["data"], None, DEVICE)
    for alone, together in pairs:
        for ended in (alone, together):
            model = build_model(MLP, (1, 8, 8), 10, nets).to(DEVICE).eval()
            model.load_state_dict(tensors(ended))
            with torch.no_grad():
                outputs = model(data.x_validation)
            expected = torch.nn.functional.cross_entropy(outputs, data.y_validation)
            assert ended.result.last["loss"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("arguments", [{}, {"scale": 2.0}])
def test_a_function_that_counts_its_calls_trains_alone(nets, arguments):
    own = own_config(code("digits"), MLP, **{**SHORT, "loss": None, "step": code("counted")})
    own["train"]["step"]["init_args"] = arguments
    assert "changes nets.CALLS" in refusal(own, nets)


def test_a_metric_that_remembers_trains_alone(nets):
    own = own_config(code("digits"), MLP, **SHORT, metrics={"smoothed": code("Smoothed")})
    assert "changes train.metrics.smoothed" in refusal(own, nets)


def test_metrics_of_several_chunks_agree(nets):
    """What a recording gives must not be written over by the next chunk."""
    source = {"name": "digits", "samples": None}
    own = own_config(source, MLP, {"validation": 0.9}, **SHORT, metrics={"right": code("right")})
    for pair in both(own, own, place=nets, lanes=2, objective=Objective("right", "max"))[0]:
        for ended in pair:
            last = ended.result.last
            assert last["right"] == pytest.approx(last["accuracy"])
        assert ended.result.engine == "fused", ended.result.reason


def test_keys_that_are_no_names_are_said_before_anything_trains(nets, tmp_path):
    source = (tmp_path / "nets.py").read_text()
    extra = "\n\ndef numbered():\n    x, y = digits()\n    return {0: x, 'labels': y}\n"
    (tmp_path / "nets.py").write_text(source + extra)
    with pytest.raises(ModelError, match=r"does not take samples of shape 0 .* must be strings"):
        facts(own_config(code("numbered"), code("Dropping")), place=nets)
    with pytest.raises(ModelError, match=r"it takes one array of inputs, and a sample has x\.0"):
        facts(own_config(code("numbered"), MLP), place=nets)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_loading_a_sample_raises_is_the_reason(nets, workers):
    own = own_config(code("broken", workers=workers), MLP, SOURCE, **SHORT)
    ended = run(own, place=nets).result
    assert ended.outcome is Outcome.FAILED
    assert "OSError: no such picture (nets.py, line " in ended.reason and len(ended.reason) < 100
    assert "in __getitem__" in ended.traceback
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("data", "model", "train", "message"),
    [
        ("digits", MLP, {"loss": code("detached")}, "does not depend on the model's parameters"),
        ("masks", code("Auto"), {"loss": "mse"}, "targets are int64, and the loss mse takes"),
    ],
)
def test_what_cannot_be_differentiated_is_said(nets, data, model, train, message):
    with pytest.raises(ModelError, match=message):
        facts(own_config(code(data), model, **train), place=nets)


def test_a_loss_that_compares_samples_sees_as_many_in_both_engines(nets):
    own = own_config(
        code("digits"), MLP, {"validation": 0.9}, **{**SHORT, "lr": 1e-4, "loss": code("apart")}
    )
    assert refusal(own, nets) == ""
    for alone, together in both(own, own, place=nets, lanes=2)[0]:
        assert together.result.engine == "fused", together.result.reason
        assert together.result.last["loss"] == pytest.approx(alone.result.last["loss"], rel=1e-3)


def test_what_is_changed_in_place_is_not_kept(nets):
    """Neither for the next evaluation nor for the next trial; nor do metrics see it."""
    own = own_config(code("digits"), code("Shifting"), **SHORT)
    first, second = (run(own, place=nets) for _ in range(2))
    assert_same_numbers(first.curve, second.curve)
    kept = resident.place(resident.load_raw(own["data"], nets), own["data"], None, DEVICE)
    assert kept.x_validation.min() == 0
    ended = run(own_config(code("digits"), MLP, **SHORT, loss=code("counting_down")), place=nets)
    assert ended.result.last["accuracy"] < 0.2 and ended.result.last["loss"] < 0.2


def test_weights_that_leave_a_split_without_any_are_said():
    raw = raw_of((X, Y, np.eye(40)[3]))
    with pytest.raises(DataError, match="split are all zero"):
        split(raw, own_data(), None)


def test_what_a_loss_draws_to_be_made_is_every_trial_s(nets):
    """Whatever trained before it in the same process."""
    own = own_config(code("noisy"), MLP, SOURCE, **SHORT, loss=code("Projected"))
    first, second = (run(own, place=nets) for _ in range(2))  # The second finds the data read.
    assert_same_numbers(first.curve, second.curve)


def test_a_built_in_model_goes_by_the_data_beside_a_step(nets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(
        "name: mine\ndata: digits\nmodel: mlp\nseeds: 1\n"
        "train: {budget: 5ba, lr: 0.1, step: nets.counted}\n"
    )
    allow = ("--allow-import", "nets", *INLINE)
    said = lrsearch("grid", "mine.yaml", *allow)
    assert said.code == 0, said
    said = lrsearch("grid", "mine.yaml", *allow, "--fresh",
                    "--set", "data={class_path: nets.digits, task: own}")  # fmt: skip
    assert said.code == 2 and "name a model of your own" in " ".join(said.err.split()), said


def test_outputs_that_metrics_cannot_have_are_said(nets):
    given = {"loss": code("of_scores"), "metrics": {"a": code("of_scores")}}
    with pytest.raises(ModelError, match=r"outputs.hidden is NoneType: metrics take tensors"):
        facts(own_config(code("digits"), code("Partly"), {"task": "own"}, **given), place=nets)
    given = {"loss": code("of_first"), "metrics": {"a": code("of_first")}}
    own = own_config(code("padded"), code("Summed"), {"task": "own"}, **SHORT, **given)
    ended = run(own, place=nets).result
    assert ended.outcome is Outcome.FAILED and "differ in shape" in ended.reason


def test_each_batch_has_draws_of_its_own_and_one_may_go_on_from_any(nets):
    own = own_config(code("noisy"), MLP, SOURCE)
    raw = resident.load_raw(own["data"], nets)
    data = resident.place(raw, own["data"], None, DEVICE)
    given = list(itertools.islice(data.batches(64, 5), 5))
    corner = [each.x[:, 0, 0, 0] for each in given]  # Always zero but for the noise.
    assert not torch.equal(corner[0], corner[1])
    for left, right in zip(given[3:], data.batches(64, 5, first=3), strict=False):
        assert torch.equal(left.x, right.x) and torch.equal(left.y, right.y)


def test_all_code_that_decides_a_measurement_is_in_its_key():
    found = own_config(
        {**code("digits"), "transforms": [code("transform")]}, code("model"),
        loss=code("loss"), step=code("step"), metrics={"a": code("metric")},
        optimizer=code("optimizer"), schedule=code("schedule"),
    )  # fmt: skip
    names = ("digits", "transform", "model", "loss", "step", "metric", "optimizer", "schedule")
    assert class_paths(found) == {f"nets.{name}" for name in names}
    keys = set()
    for source in ("", *names):
        sources = {f"nets.{name}": f"{name == source}" for name in names}
        keys.add(trial_key(found, Content("own", "", sources).of(found), 0, None))
    assert len(keys) == len(names) + 1
