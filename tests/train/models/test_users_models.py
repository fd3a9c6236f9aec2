"""Models and losses as users bring them: constructors that pass arguments on, a logit alone, class
weights, a softmax too many, outputs of several parts, few validation samples."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from devices import DEVICE, assert_same_numbers
from hypothesis import given
from hypothesis import strategies as st
from keys import trial_key
from sklearn.metrics import f1_score
from test_fused import both, tensors
from test_own_code import own_config, write_nets
from test_tables import INLINE, lrsearch
from test_train import MLP, config, facts, run
from torch import nn
from torch.nn import functional as F

from lrsearch import catalogue
from lrsearch.errors import ModelError, SpecError
from lrsearch.schedules import Plateau
from lrsearch.space import every_point
from lrsearch.spec import read_spec
from lrsearch.spec.model import locate, resolve
from lrsearch.spec.summary import describe
from lrsearch.train.batches import resident
from lrsearch.train.batches.batch import Batch
from lrsearch.train.models.build import build_model, find_classes
from lrsearch.train.models.criterion import Criterion
from lrsearch.train.models.outputs import are_probabilities, find_ending
from lrsearch.train.preparing.prepare import Preparation, prepare
from lrsearch.trial import Objective, Outcome
from lrsearch.tuner.preparing import check_task

NETS = """
    import torch
    from torch import nn

    class ResNet(nn.Module):
        def __init__(self, width, num_classes=1000, zero_init_residual=False):
            super().__init__()
            self.body, self.head = nn.Linear(64, width), nn.Linear(width, num_classes)

        def forward(self, x):
            return self.head(self.body(x.flatten(1)).relu())

    def _resnet(width, weights, progress, **kwargs):
        if weights is not None and kwargs.setdefault("num_classes", 1000) != 1000:
            raise ValueError("The parameter 'num_classes' expected value 1000 but got "
                             f"{kwargs['num_classes']} instead.")
        return ResNet(width, **kwargs)

    def resnet18(*, weights=None, progress=True, **kwargs):
        return _resnet(16, weights, progress, **kwargs)

    def create_model(model_name, pretrained=False, **kwargs):
        kwargs = {key: value for key, value in kwargs.items() if value is not None}
        return ResNet({"tiny": 8}[model_name], **kwargs)

    def narrow(width=16, **options):
        return resnet18(num_classes=10)

    class Net(nn.Module):
        def __init__(self, width=16, n_classes=7):
            super().__init__()
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(),
                                        nn.Linear(width, n_classes))

        def forward(self, x):
            return self.layers(x)

    class Plain(Net):
        def __init__(self, width=16, depth=1):
            super().__init__(width, 7)

    class Lonely(nn.Module):
        def __init__(self, in_features, flat=False, end="", hidden=8, outputs=1):
            super().__init__()
            self.body, self.head = nn.Linear(in_features, hidden), nn.Linear(hidden, outputs)
            self.flat, self.end = flat, end

        def forward(self, x):
            out = self.head(self.body(x.flatten(1)).tanh())
            out = out.squeeze(1) if self.flat else out
            if self.end == "softmax":
                return out.softmax(1).clamp(1e-9)
            if self.end == "by hand":
                return out.exp() / out.exp().sum(1, keepdim=True)
            return getattr(out, self.end)(*([1] if "max" in self.end else [])) if self.end else out

    class Parts(Lonely):
        def __init__(self, in_features, num_classes, kind):
            super().__init__(in_features, outputs=num_classes)
            self.kind = kind

        def forward(self, x):
            out = super().forward(x)
            return {"tuple": (out, None), "list": [out, x], "logits": {"logits": out, "x": x},
                    "other": {"scores": out, "x": x}, "last": (x, out), "features": (x[:, 0], out),
                    "aux": {"out": out, "aux": out} if self.training else out}[self.kind]

    class Flat(Lonely):
        def __init__(self, in_features):
            super().__init__(in_features, flat=True, hidden=4)

    class Forces(Lonely):
        def forward(self, x):
            x = x.detach().requires_grad_()
            return torch.autograd.grad(super().forward(x).sum(), x)[0][:, :1]

    class Takes(Lonely):
        def forward(self, x, y):
            return super().forward(x)

    def of_pairs(outputs, targets):
        return (outputs - targets.squeeze(1)) ** 2

    def of_own(outputs, targets):
        return (outputs.flatten() - targets.flatten()) ** 2

    def of_ranks(outputs, targets):
        return (outputs - outputs.T - targets + targets.T).abs().mean()

    def pairing(model, batch):
        return ((model(batch[0]) - batch[1].squeeze()) ** 2).mean()

    def right(outputs, targets):
        return ((outputs.reshape(-1) > 0) == targets.reshape(-1)).float().mean()

    def labels():
        import numpy as np
        from sklearn.datasets import load_digits
        digits = load_digits()
        x = torch.as_tensor(digits.images[:, None] / 16, dtype=torch.float32)
        y = torch.as_tensor(digits.target)
        return x, torch.stack([y % 2, (y > 4).long(), (y == 8).long()], 1)
"""


@pytest.fixture
def nets(tmp_path):
    return write_nets(tmp_path, NETS)


def code(name, **arguments):
    return {"class_path": f"nets.{name}", "init_args": arguments}


def loss_of_torch(name, **arguments):
    return {"class_path": f"torch.nn.{name}", "init_args": arguments}


def notes_of(place, model, source="digits", **train):
    return list(facts(config(model, source, **train), place=place).notes)


# num_classes, by trying


@pytest.mark.parametrize(
    ("model", "source", "classes"),
    [
        (code("resnet18"), "digits", 10),
        (code("create_model", model_name="tiny"), "digits", 10),
        (code("create_model", model_name="tiny", zero_init_residual=True), "digits", 10),
    ],
)
def test_a_constructor_that_passes_arguments_on_is_given_the_number_of_classes(
    nets, model, source, classes
):
    (note,) = notes_of(nets, model, source)
    assert f"num_classes={classes}" in note and "gives [2, 1000] for 2 samples" in note
    resolved = config(model, source, budget="3ep", lr=0.1)
    before = json.dumps(resolved)
    pairs, _ = both(resolved, resolved, place=nets, lanes=2)
    for alone, together in pairs:
        for each in (alone, together):
            assert each.result.outcome is Outcome.COMPLETED, each.result.traceback
            assert each.result.last["accuracy"] > 0.6
            assert tensors(each)["head.weight"].shape[0] == classes
        assert together.result.engine == "fused"
    assert json.dumps(resolved) == before


def test_the_weights_are_those_that_the_argument_written_down_would_give(nets):
    """Trying leaves the generators alone: of the same seed, the same weights."""
    for name, more in (("resnet18", {}), ("create_model", {"model_name": "tiny"})):
        torch.manual_seed(3)
        tried = build_model(code(name, **more), (1, 8, 8), 10, nets, fits=True)
        after = torch.rand(1)
        torch.manual_seed(3)
        written = build_model(code(name, **more, num_classes=10), (1, 8, 8), 10, nets)
        assert torch.equal(after, torch.rand(1))
        for key, each in written.state_dict().items():
            assert torch.equal(each, tried.state_dict()[key])


def test_a_model_that_fits_is_built_as_it_always_was(nets):
    torch.manual_seed(3)
    tried = build_model(code("narrow"), (1, 8, 8), 10, nets, fits=True)
    torch.manual_seed(3)
    plain = build_model(code("narrow"), (1, 8, 8), 10, nets)
    assert all(
        torch.equal(a, b) for a, b in zip(tried.parameters(), plain.parameters(), strict=True)
    )
    assert not find_classes(code("narrow"), (1, 8, 8), 10, nets)[0].taken
    assert notes_of(nets, code("narrow")) == []


def test_the_targets_of_a_regression_are_its_classes(nets):
    text = (folder := Path(nets.folder) / "nets.py").read_text()
    folder.write_text(text.replace("nn.Linear(64, width)", "nn.LazyLinear(width)"))
    (note,) = notes_of(nets, code("resnet18"), "diabetes")
    assert "num_classes=1 " in note
    assert run(config(code("resnet18"), "diabetes"), place=nets).result.last["r2"] > 0.2


def test_a_step_is_given_the_model_as_it_is(nets):
    """Whatever its outputs: nobody knows what a step makes of them."""
    model = build_model(code("resnet18"), (1, 8, 8), 10, nets)
    assert model.head.out_features == 1000


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (code("resnet18", weights="DEFAULT"), "expected value 1000 but got 10 instead"),
        (code("resnet18", weights="DEFAULT"), "a function that builds the model and replaces"),
        (code("narrow", width=3), "with num_classes=3 it gives [2, 10]"),
        (code("resnet18", num_classes=5), r"gives [2, 5] for 2 samples; [2, 10] is needed"),
        (code("Net"), "init_args: {n_classes: 10}"),
        (code("Plain"), "its arguments are width, depth"),
        ({"class_path": "torch.nn.Linear", "init_args": {}}, "init_args: {out_features: ...}"),
        (
            {"class_path": "torch.nn.Linear", "init_args": {"out_features": {"size": 10}}},
            "init_args.out_features is given as a dict: where an object is needed",
        ),
    ],
)
def test_how_a_model_is_told_its_classes_is_in_the_error(nets, model, told):
    source = "iris" if "narrow" in model["class_path"] else "digits"
    if source == "iris":
        (nets_file := Path(nets.folder) / "nets.py").write_text(
            nets_file.read_text().replace("nn.Linear(64, width)", "nn.LazyLinear(width)")
        )
    with pytest.raises(ModelError) as caught:
        facts(config(model, source), place=nets)
    assert told in str(caught.value), caught.value


# a logit alone


@given(st.integers(1, 20), st.sampled_from([0.0, 0.1, 0.5]), st.booleans(), st.integers(0, 999))
def test_a_logit_alone_has_binary_cross_entropy(samples, smoothing, flat, seed):
    generator = torch.Generator().manual_seed(seed)
    logit = torch.randn(samples, generator=generator).to(DEVICE) * 5
    targets = torch.randint(2, (samples,), generator=generator).to(DEVICE)
    criterion = Criterion(config(label_smoothing=smoothing)["train"], "classification", outputs=2)
    outputs = logit if flat else logit.unsqueeze(1)
    found = criterion.of_outputs(outputs, Batch(torch.zeros(samples, 1, device=DEVICE), targets))
    soft = targets * (1 - smoothing) + smoothing / 2
    expected = F.binary_cross_entropy_with_logits(logit, soft)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    chosen = criterion.as_classes(outputs)
    assert torch.equal(chosen.argmax(1), (logit > 0).long())
    stacked = criterion.as_classes(torch.stack([outputs, -outputs]), lanes=True)
    assert torch.equal(stacked[0], chosen)


@pytest.mark.parametrize(
    "train",
    [
        {},
        {"label_smoothing": 0.1},
        {"loss": loss_of_torch("BCEWithLogitsLoss", pos_weight=[0.5])},
        {"loss": loss_of_torch("BCEWithLogitsLoss")},
        {"loss": loss_of_torch("CrossEntropyLoss", weight=[1.0, 3.0])},
    ],
)
@pytest.mark.parametrize("flat", [True, False])
def test_a_logit_alone_trains_in_both_engines(nets, train, flat):
    own = config(
        code("Lonely", flat=flat), "breast_cancer", **{"budget": "6ep", "lr": 0.1, **train}
    )
    own = {**own, "train": {**own["train"], "metrics": {"right": code("right")}}}
    pairs, _ = both(own, own, place=nets, lanes=2)
    for alone, together in pairs:
        for each in (alone, together):
            assert each.result.outcome is Outcome.COMPLETED, each.result.traceback
            last = each.result.last
            assert last["accuracy"] > 0.85 and last["right"] == pytest.approx(last["accuracy"])
        assert together.result.engine == "fused"
        for name in ("loss", "accuracy", "f1"):
            np.testing.assert_allclose(
                together.curve[name], alone.curve[name], rtol=1e-2, atol=1e-2
            )
    data = resident.place(resident.load_raw(own["data"], nets), own["data"], None, DEVICE)
    model = build_model(own["model"], (30,), 2, nets).to(DEVICE).eval()
    model.load_state_dict(tensors(pairs[0][0]))
    with torch.no_grad():
        logit = model(data.x_validation).reshape(-1)
    predicted = (logit > 0).long()
    last = pairs[0][0].result.last
    expected = f1_score(data.y_validation.cpu(), predicted.cpu(), average="macro")
    assert last["f1"] == pytest.approx(expected)
    if not isinstance(own["train"]["loss"], dict):
        expected = F.binary_cross_entropy_with_logits(logit, data.y_validation.float())
        assert last["loss"] == pytest.approx(float(expected), rel=1e-4)


def test_a_probability_alone_has_bce_loss(nets):
    own = config(
        code("Lonely", end="sigmoid"), "breast_cancer", lr=0.1, loss=loss_of_torch("BCELoss")
    )
    assert notes_of(nets, own["model"], "breast_cancer", loss=loss_of_torch("BCELoss")) == []
    for alone, together in both(own, own, place=nets, lanes=2)[0]:
        for each in (alone.result, together.result):
            assert each.outcome is Outcome.COMPLETED and each.last["accuracy"] > 0.85, each


def test_several_labels_a_sample(nets):
    """Of one's own kind: whole numbers are made what the loss takes."""
    loss = loss_of_torch("BCEWithLogitsLoss", pos_weight=[1.0, 1.0, 9.0])
    own = own_config(
        code("labels"), code("Lonely", in_features=64, outputs=3), loss=loss, budget="6ep", lr=0.3
    )
    for alone, together in both(own, own, place=nets, objective=Objective("loss", "min"))[0]:
        for each in (alone, together):
            assert each.result.outcome is Outcome.COMPLETED, each.result.traceback
            assert each.curve["loss"][-1] < 0.8 * each.curve["loss"][0]
        assert together.result.engine == "fused"


def test_a_metric_of_several_labels_may_have_the_name_of_one_for_classes(nets):
    """The task has none of that name; the value is the user's."""
    spec = Path(nets.folder, "labels.yaml")
    spec.write_text(
        "data: {class_path: nets.labels}\n"
        "model: {class_path: nets.Lonely, init_args: {outputs: 3}}\n"
        "train: {budget: 12ba, loss: torch.nn.BCEWithLogitsLoss, metrics: {accuracy: nets.right}}\n"
        "objective: accuracy\nsearch: {lr: [0.1, 0.3]}\n"
    )
    common = (str(spec), "--allow-import", "nets", "--runs", str(Path(nets.folder, "runs")))
    found = lrsearch("grid", *common, *INLINE, "--require", "accuracy>=0.5")
    assert found.code == 0 and "labels: accuracy 0." in found.out, found
    read = read_spec(spec)
    assert "compared by validation accuracy" in describe(read, "own")
    usual = read_spec(spec, ["objective=null"])  # Known once the data are loaded.
    assert "compared by validation loss" in describe(usual, "own")
    assert "compared by validation accuracy" in describe(usual, "classification")
    with pytest.raises(SpecError, match="'accuracy' is measured already"):
        check_task(read, "classification")


@pytest.mark.parametrize(
    ("model", "source", "loss", "told"),
    [
        (code("Lonely"), "digits", "cross_entropy", "[2, 10] is needed"),
        (code("Lonely"), "digits", loss_of_torch("BCEWithLogitsLoss"), "tells two classes apart"),
        (MLP, "breast_cancer", loss_of_torch("BCEWithLogitsLoss"), "for 2 samples; BCE"),
        (code("Lonely", end="sigmoid"), "breast_cancer", "cross_entropy", "ends in a sigmoid"),
        (code("Lonely", end="sigmoid"), "breast_cancer", loss_of_torch("BCEWithLogitsLoss"),
         "leave the sigmoid out"),
        (code("Lonely"), "breast_cancer", code("right"), "write task: own under data"),
        (code("Lonely"), "breast_cancer", loss_of_torch("BCEWithLogitsLoss", pos_weight=[1, 3]),
         "train.loss.init_args.pos_weight: it has 2 numbers, and the model gives 1 logit"),
        (MLP, "breast_cancer", loss_of_torch("CrossEntropyLoss", weight=[1, 2, 3]),
         "train.loss.init_args.weight: it has 3 numbers, and the data have 2 classes"),
        (MLP, "digits", loss_of_torch("CrossEntropyLoss", weight=3.0), "1 number, and the data"),
        (MLP, "digits", loss_of_torch("MultiMarginLoss", weight=[]), "takes a list of numbers"),
        (MLP, "digits", loss_of_torch("CrossEntropyLoss", weight="balanced"), "such as [1.0, 3.0]"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_said_once(nets, model, source, loss, told):
    with pytest.raises(ModelError) as caught:
        facts(config(model, source, loss=loss), place=nets)
    assert told in str(caught.value), caught.value


# class weights


def test_class_weights_weigh(nets):
    """The loss is torch's, of tensors made of the numbers; in lanes the same, and another than
    without."""
    weight = [1.0, 4.0]
    own = config(MLP, "breast_cancer", loss=loss_of_torch("CrossEntropyLoss", weight=weight))
    pairs, _ = both(own, own, place=nets, lanes=2)
    (alone, together), _ = pairs
    assert together.result.engine == "fused"
    for key, each in tensors(alone).items():
        torch.testing.assert_close(tensors(together)[key], each, rtol=1e-2, atol=1e-3)
    data = resident.place(resident.load_raw(own["data"], nets), own["data"], None, DEVICE)
    model = build_model(MLP, (30,), 2, nets).to(DEVICE).eval()
    model.load_state_dict(tensors(alone))
    with torch.no_grad():
        outputs = model(data.x_validation)
    expected = nn.CrossEntropyLoss(weight=torch.tensor(weight, device=DEVICE))(
        outputs, data.y_validation
    )
    assert alone.result.last["loss"] == pytest.approx(float(expected), rel=1e-4)
    plain = run(config(MLP, "breast_cancer"), place=nets)
    assert plain.result.last["loss"] != alone.result.last["loss"]


def test_class_weights_are_searched_from_a_spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.yaml").write_text(
        "data: breast_cancer\nmodel: mlp\nobjective: accuracy\n"
        "train: {budget: 2ep, lr: 0.1, loss: {class_path: torch.nn.CrossEntropyLoss}}\n"
        "search: {loss.init_args.weight: [[1, 1], [1.0, 3.0]], lr: [0.1, 0.01]}\n"
    )
    for engine in ("solo", "fused"):
        said = lrsearch("grid", "w.yaml", *INLINE, "--engine", engine, "--fresh", "--json")
        assert said.code == 0, said
        found = json.loads(said.out)
        assert len(found["points"]) == 4
        assert {each["outcome"] for each in found["points"]} == {"completed"}
        assert {each["engine"] for each in found["trials"]} == {engine}


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ("{name: cross_entropy, weight: [1, 3]}",
         "{class_path: torch.nn.CrossEntropyLoss, init_args: {weight: [1, 3]}}"),
        ("{name: cross_entropy, label_smoothing: 0.1}", "write label_smoothing: 0.1 under train"),
        ("{name: huber, delta: 2}", "{class_path: torch.nn.HuberLoss, init_args: {delta: 2}}"),
        ("bce", "torch.nn.BCEWithLogitsLoss"),
        ("binary_crossentropy", "leave the loss out"),
        ("BCEWithLogitsLoss", "leave the loss out"),
    ],
)  # fmt: skip
def test_a_loss_s_slips_name_the_line(tmp_path, monkeypatch, loss, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.yaml").write_text(
        f"data: breast_cancer\nmodel: mlp\ntrain: {{budget: 2ep, lr: 0.1, loss: {loss}}}\n"
    )
    said = lrsearch("check", "w.yaml")
    assert said.code == 2 and told in " ".join(said.err.split()), said
    assert lrsearch("check", "w.yaml", "--set", "train.loss={name: cross_entropy}").code == 0


# what is known to go wrong


@pytest.mark.parametrize(
    ("end", "loss", "told"),
    [
        ("softmax", "cross_entropy", "ends in a softmax, and the loss cross_entropy takes logits"),
        ("by hand", "cross_entropy", "ends in a softmax"),
        ("sigmoid", "cross_entropy", "ends in a sigmoid"),
        ("softmax", loss_of_torch("CrossEntropyLoss"), "the loss CrossEntropyLoss takes logits"),
        ("", loss_of_torch("NLLLoss"), "NLLLoss takes logarithms of probabilities"),
        ("", "cross_entropy", None),
        ("relu", "cross_entropy", None),
        ("tanh", "cross_entropy", None),
        ("log_softmax", "cross_entropy", None),
        ("log_softmax", loss_of_torch("NLLLoss"), None),
        ("softmax", loss_of_torch("MultiMarginLoss"), None),
    ],
)
def test_a_softmax_too_many_is_told(nets, end, loss, told):
    """Only where it is certain."""
    found = notes_of(nets, code("Lonely", end=end, outputs=10), loss=loss)
    assert len(found) == (told is not None) and (told is None or told in found[0]), found


def test_a_loss_of_torch_that_is_none_of_a_built_in_model_is_told(nets):
    (note,) = notes_of(nets, MLP, loss=loss_of_torch("NLLLoss"))
    assert "takes logarithms of probabilities, and those that mlp gives are none" in note
    with pytest.raises(ModelError, match="the softmax of one output is 1") as caught:
        facts(config(MLP, "diabetes", loss=loss_of_torch("CrossEntropyLoss")), place=nets)
    assert caught.value.hint == "write loss: mse"


@given(st.integers(2, 6), st.integers(0, 999), st.sampled_from(["zeros", "small", "none"]))
def test_logits_are_no_probabilities(classes, seed, start):
    """Nor those of a last layer that begins at zero."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, classes))
    if start != "none":
        nn.init.uniform_(model[2].weight, 0.0, 0.0 if start == "zeros" else 0.1)
        nn.init.zeros_(model[2].bias)
    x = torch.randn(16, 4)
    assert find_ending(model(x)) == ""
    assert not are_probabilities(model, x, lambda model, x: model(x))
    assert are_probabilities(model, x, lambda model, x: model(x).softmax(-1))
    for name, function in (("softmax", torch.softmax), ("log_softmax", torch.log_softmax)):
        assert find_ending(function(model(x), -1).unsqueeze(1).squeeze(1)) == name
    assert find_ending(model(x).sigmoid()[:, 0]) == "sigmoid"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("tuple", "gives a tuple of [2, 10], None: the first [2, 10] is what the loss"),
        ("list", "gives a list of [2, 10], [2, 1, 8, 8]: the first"),
        ("logits", "gives a dict of logits: [2, 10], x: [2, 1, 8, 8]: its 'logits'"),
    ],
)
def test_the_part_that_is_the_output_is_told_and_trains(nets, kind, told):
    model = code("Parts", kind=kind)
    (note,) = notes_of(nets, model)
    assert told in note, note
    own = config(model, lr=0.1)
    plain = run(config(code("Lonely", outputs=10), lr=0.1), place=nets)
    for alone, together in both(own, own, place=nets, lanes=2)[0]:
        assert together.result.engine == "fused", together.result
        assert_same_numbers(alone.curve, plain.curve)
        np.testing.assert_allclose(together.curve["loss"], plain.curve["loss"], rtol=1e-3)


@pytest.mark.parametrize("kind", ["other", "last"])
def test_what_is_no_output_is_said_with_its_parts(nets, kind):
    with pytest.raises(ModelError) as caught:
        facts(config(code("Parts", kind=kind)), place=nets)
    text = str(caught.value)
    assert "[2, 10] is needed" in text and "[2, 1, 8, 8]" in text, text
    assert kind == "last" or "as 'logits' in a mapping" in text, text
    if kind == "other":
        own = config(code("Parts", kind=kind, num_classes=1), "breast_cancer")
        own["train"]["loss"] = loss_of_torch("BCEWithLogitsLoss")
        with pytest.raises(ModelError, match="as 'logits' in a mapping"):
            facts(own, place=nets)


@pytest.mark.parametrize(
    ("model", "source", "told"),
    [
        (
            code("Parts", kind="aux"),
            "digits",
            "in training the model gives a dict of out: [2, 10], ",
        ),
        (code("Parts", kind="features"), "digits", "return the tensor that the loss takes alone"),
        (code("Forces"), "diabetes", "evaluations keep no gradients: take them within `with torch"),
        (code("Takes"), "diabetes", "missing 1 required positional argument: 'y'"),
    ],
)
def test_what_a_forward_does_wrong_is_said_before_anything_trains(nets, model, source, told):
    with pytest.raises(ModelError) as caught:
        facts(config(model, source), place=nets)
    assert told in f"{caught.value} {caught.value.hint}"


def test_a_number_a_sample_is_the_answer_to_one_target(nets):
    """Held against [samples, 1] it would be the loss of every pair."""
    flat, plain = code("Flat"), code("Lonely", hidden=4)
    own = config(flat, "diabetes", lr=0.1)
    expected = run(config(plain, "diabetes", lr=0.1), place=nets).curve
    for alone, together in both(own, own, place=nets, lanes=2)[0]:
        assert together.result.engine == "fused", together.result
        assert_same_numbers(alone.curve, expected)
        np.testing.assert_allclose(together.curve["rmse"], expected["rmse"], rtol=1e-4)


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"loss": code("of_pairs")}, ["train.loss"]),
        ({"step": code("pairing"), "loss": None}, ["train.step"]),
        ({"loss": code("of_own")}, []),
        ({"loss": code("of_ranks")}, []),
    ],
    ids=["pairs", "step", "own", "ranks"],
)
def test_outputs_held_against_the_targets_of_all_are_told(nets, part, told):
    notes = notes_of(nets, code("Lonely", hidden=4), "diabetes", **part)
    found = [each.partition(":")[0] for each in notes if "against the targets of all" in each]
    assert found == told


def test_a_loss_of_the_user_s_takes_the_targets_in_their_own_unit(nets):
    for loss in ("mse", loss_of_torch("HuberLoss")):
        told = facts(config(MLP, "diabetes", loss=loss), place=nets).data
        assert ("which the loss takes in units of its deviation" in told) is (loss == "mse")


@pytest.mark.parametrize(
    ("split", "metric", "samples"),
    [
        ({"validation": 32 / 569}, None, 32),
        ({"validation": 32 / 569}, "f1", 32),
        ({"validation": 0.2}, None, None),
        ({"validation": 32 / 569}, "loss", None),
        ({"validation": {"folds": 5}}, None, None),
    ],
)
def test_few_validation_samples_are_told(nets, split, metric, samples):
    own = config(MLP, "breast_cancer", split=split)
    (told,) = prepare(Preparation((own,), nets, metric))
    found = told.notes
    assert len(found) == (samples is not None)
    if samples:
        error = math.sqrt(0.5 * 0.5 / samples)
        assert f"validation has {samples} samples" in found[0]
        assert f"steps of {1 / samples:.2g}" in found[0] and f"up to {error:.2g}" in found[0]


def test_the_folds_of_a_point_count_together(nets):
    (note,) = facts(config(MLP, "iris"), place=nets).notes
    assert "validation has 30 samples" in note
    assert facts(config(MLP, "iris", split={"validation": {"folds": 3}}), place=nets).notes == ()


# a plateau on one's own metric


def plateau_of(**arguments):
    known = {name: each.default for name, each in catalogue.SCHEDULES["plateau"].parameters.items()}
    return {"name": "plateau", **known, "patience": "1ep", "threshold": 0.02, **arguments}


@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_plateau_follows_a_metric_of_one_s_own(nets, mode):
    """In both engines, up or down as the spec says: told to a state by hand, the rates agree."""
    own = config(
        code("Lonely"),
        "breast_cancer",
        budget="10ep",
        lr=0.1,
        schedule=plateau_of(metric="right", mode=mode, factor=0.5),
        metrics={"right": code("right")},
    )
    fallen = []
    for ends in both(own, own, place=nets, lanes=2)[0]:
        assert ends[1].result.engine == "fused"
        for ended in ends:
            assert ended.result.outcome is Outcome.COMPLETED, ended.result.traceback
            state = Plateau(mode, 0.5, 1, 0.02, True, 0, 0.0, False, 1.0, 0)
            curve = ended.curve
            for step, rate, value in zip(curve["step"], curve["lr"], curve["right"], strict=True):
                assert rate == pytest.approx(0.1 * state.scale, rel=1e-12)
                state.observe(int(step), value)
            fallen.append(len(set(curve["lr"])) - 1)
    # What rises and is to fall is never better than at first.
    assert min(fallen) > (2 if mode == "min" else 0)


PLATEAU = """
name: p
data: {class_path: nets.labels, task: own}
model: {class_path: nets.Lonely, init_args: {in_features: 64, outputs: 3}}
train:
  {budget: 3ep, lr: 0.1, loss: torch.nn.BCEWithLogitsLoss, metrics: {hit: nets.right},
   schedule: {name: plateau, metric: hit}}
objective: {metric: hit, goal: max}
"""


def test_a_plateau_takes_its_goal_from_the_objective(nets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.yaml").write_text(PLATEAU)
    spec = read_spec(tmp_path / "p.yaml")
    assert spec.train["schedule"]["mode"] == "max"
    searched = read_spec(
        tmp_path / "p.yaml",
        ("search.schedule=[{name: plateau, metric: hit, patience: [0ep, 1ep]}, plateau]",),
    )
    points = every_point(searched.space)
    modes = {resolve(searched, each)["train"]["schedule"]["mode"] for each in points}
    assert len(points) == 3 and modes == {"max", None}
    for each in points:
        assert locate(searched, resolve(searched, each, "own"), "own") == each
    for engine in ("solo", "fused"):
        said = lrsearch(
            "grid", "p.yaml", *INLINE, "--allow-import", "nets", "--engine", engine, "--fresh",
            "--set", "search.lr=[0.1, 0.2]", "--json",
        )  # fmt: skip
        assert said.code == 0, said
        assert {each["engine"] for each in json.loads(said.out)["trials"]} == {engine}
    said = lrsearch("export", "p.yaml", "--output", "best.yaml")
    assert said.code == 0, said
    assert lrsearch("check", "best.yaml", "--allow-import", "nets").code == 0


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["objective={metric: loss}"], "'mode' is missing: is a large 'hit' good, or a small one?"),
        (["objective={metric: loss}"], "write schedule: {name: plateau, metric: hit, mode: max},"),
        (["train.schedule={name: plateau, metric: hits}"], "did you mean 'hit'?"),
        (["train.schedule={name: plateau, metric: loss, mode: max}"], "the goal of loss is min"),
        (["train.schedule={name: plateau, metric: hit, mode: up}"], "one of min, max"),
        (["train.schedule=plateau", "search.schedule.metric=[loss, hit]"], "'mode' is missing"),
        (["search.schedule=[plateau, {name: plateau, metric: [hit, loss]}]"], "'mode' is missing"),
        (["objective={metric: loss}", "train.schedule.mode=max"], ""),
        (["train.schedule={name: plateau, mode: max}", "search.schedule.metric=[hit]"],
         "the goal of loss is min"),
    ],
)  # fmt: skip
def test_slips_in_a_plateau(nets, tmp_path, monkeypatch, overrides, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.yaml").write_text(PLATEAU)
    given = [part for each in overrides for part in ("--set", each)]
    said = lrsearch("check", "p.yaml", *given, "--allow-import", "nets")
    assert said.code == (2 if told else 0) and told in " ".join(said.err.split()), said


def test_a_plateau_of_before_keeps_its_key():
    old = config(schedule={k: v for k, v in plateau_of().items() if k != "mode"})
    assert trial_key(config(schedule=plateau_of()), {}, 0, None) == trial_key(old, {}, 0, None)
    told = config(schedule=plateau_of(metric="hit", mode="min"))
    assert trial_key(told, {}, 0, None) != trial_key(
        config(schedule=plateau_of(metric="hit", mode="max")), {}, 0, None
    )
