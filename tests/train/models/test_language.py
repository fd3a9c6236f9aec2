"""Text as data, and the small GPT that is trained on it."""

import math

import numpy as np
import pytest
import safetensors.torch
import torch
from devices import DEVICE, close
from test_cli import lrsearch
from test_data import read
from test_fused import CHARS, LICENSE, both, compare_steps
from test_train import (
    ADAMW,
    CNN,
    MLP,
    RESNET,
    cohort,
    config,
    facts,
    net,
    place,
    placed_data,
    run,
)

from lrsearch.data.splitting import split
from lrsearch.errors import DataError, ModelError, SpecError
from lrsearch.spec import read_spec
from lrsearch.train.engines import solo
from lrsearch.train.engines.comparison import refuse
from lrsearch.train.engines.start import start_losses
from lrsearch.train.lanes import evaluation
from lrsearch.train.models import metrics, validation
from lrsearch.train.models.build import build_model
from lrsearch.train.models.criterion import Criterion
from lrsearch.trial import Objective, Outcome, Workplace

NATS = Objective("loss", "min")
place = place  # A fixture.


def text_data(path, **given):
    defaults = {"context": 16, "samples": None, "validation": 0.2, "test": None}
    return {"name": "text", "source": str(path), "standardize": False, "split_seed": 0} | (
        defaults | given
    )


def text_config(path=LICENSE, model=CHARS, split=None, **train):
    own = {"budget": "30ba", "batch_size": 8, "lr": 0.01, "optimizer": ADAMW, "evaluate": "15ba"}
    return config(
        model, text_data(path), split={"standardize": False, **(split or {})}, **own | train
    )


@pytest.fixture
def counting(tmp_path):
    """A file of numbered words, every character of which has its place."""
    path = tmp_path / "counting.txt"
    path.write_text("".join(f"{number:03d}é\n" for number in range(200)), encoding="utf-8")
    return path


# Data


def test_samples_are_windows_of_the_text_and_targets_one_character_on(counting):
    raw = read(text_data(counting))
    text = counting.read_text("utf-8")
    assert raw.task == "language" and raw.labels == tuple(sorted(set(text)))
    assert raw.outputs == len(raw.labels) == 12
    assert raw.x.shape == raw.y.shape == (len(text) // 17, 16) and raw.x.dtype == np.int64
    letters = np.array(raw.labels)
    for index, (x, y) in enumerate(zip(raw.x, raw.y, strict=True)):
        window = text[17 * index : 17 * (index + 1)]
        assert ("".join(letters[x]), "".join(letters[y])) == (window[:-1], window[1:])
    fewer = read(text_data(counting, samples=5))
    assert len(fewer.x) == 5 and fewer.data_hash == raw.data_hash and fewer.outputs == 12


def test_the_content_and_the_context_decide_what_is_measured(counting, tmp_path):
    first = read(text_data(counting)).data_hash
    copy = tmp_path / "copy.txt"
    copy.write_bytes(counting.read_bytes())
    assert read(text_data(copy)).data_hash == first
    copy.write_text(counting.read_text("utf-8").replace("7", "x"), "utf-8")
    assert read(text_data(copy)).data_hash != first
    assert read(text_data(counting, context=15)).data_hash != first


@pytest.mark.parametrize("test", [None, 0.15])
def test_splits_are_cut_in_order(counting, test):
    own = text_data(counting, validation=0.1, test=test)
    raw = read(own)
    splits = split(raw, own, None)
    parts = [splits.train, splits.validation] + ([splits.test] if test else [])
    assert (splits.test is None) == (test is None)
    for name, whole in (("x", raw.x), ("y", raw.y)):
        np.testing.assert_array_equal(
            np.concatenate([getattr(part, name) for part in parts]), whole
        )
    samples = len(raw.x)
    held = [round(share * samples) for share in (0.1, test) if share]
    assert [len(part) for part in parts] == [samples - sum(held), *held]


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "given", "message"),
    [
        ("", {}, "the file is empty"),
        ("short", {}, "has 5 characters; with a context of 16 a sample takes 17, and two are"),
        ("ab" * 40, {"test": 0.1}, "of 4 samples of 16 + 1 characters none is left for the test"),
        ("ab" * 40, {"validation": 0.9}, "none is left for the training split"),
        ("ab" * 40, {"validation": 0.1}, "none is left for the validation split"),
        ("text\n" * 20 + "\0", {}, "a.txt:21: not UTF-8 text: a zero byte on this line"),
        ("lange".encode("utf-16") * 20, {}, "no text, but UTF-16"),
        ("lange".encode("utf-16-le") * 20, {}, "no text, but UTF-16"),
        (b"\xef\xbb\xbfcaf\n\xe9" * 40, {}, "a.txt:2: not UTF-8 text: byte 0xe9 on this line"),
        ("".join(map(chr, range(20_000, 30_001))), {}, "10,001 different characters, of at most"),
        ("a" * 100, {}, "nothing but the character 'a'"),
        ("ab" * 40, {"samples": 5}, "samples is 5, the text has 4"),
    ],
)
def test_what_is_no_text_to_train_on(tmp_path, content, given, message):
    path = write(tmp_path / "a.txt", content)
    own = text_data(path, **given)
    with pytest.raises(DataError) as caught:
        split(read(own), own, None)
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_a_byte_order_mark_is_no_character(tmp_path):
    plain, marked = (
        read(text_data(write(tmp_path / name, mark + "to be or not to be\r\n" * 9)))
        for name, mark in (("plain", ""), ("marked", "\ufeff"))
    )
    assert "\r" in plain.labels and marked.labels == plain.labels
    assert marked.data_hash == plain.data_hash


def test_files_that_cannot_be_read(tmp_path):
    for path, message in (
        (tmp_path / "none.txt", "there is no such file"),
        (tmp_path, "the file cannot be read: Is a directory"),
    ):
        with pytest.raises(DataError, match=message):
            read(text_data(path))


# The spec

SPEC = """\
name: chars
data: {{name: text, source: a.txt{data}}}
model: {model}
train: {{budget: 20ba, lr: 0.01, batch_size: 8{train}}}
search: {{{search}}}
"""


def written(tmp_path, data="", model="char_transformer", train="", search=""):
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC.format(data=data, model=model, train=train, search=search))
    return path


@pytest.mark.parametrize(
    ("given", "place", "message"),
    [
        ({"data": ", validation: {folds: 5}"}, "data.validation", "not by folds"),
        ({"data": ", validation: source"}, "data.validation", "no split of its own"),
        ({"data": ", test: source"}, "data.test", "no split of its own"),
        ({"data": ", standardize: true"}, "data.standardize", "have no mean"),
        ({"data": ", split_seed: 1"}, "data.split_seed", "not drawn"),
        ({"data": ", context: 0"}, "data.context", "too small"),
        ({"data": ", contxt: 8"}, "data.contxt", "unknown key"),
        ({"search": "data.context: [8, 16]"}, "search.data.context", "cannot be compared"),
        ({"search": "data.standardize: [true, false]"}, "search.data.standardize", "compared"),
        ({"model": "mlp"}, "model", "the model mlp does not take text"),
        ({"search": "model: [char_transformer, cnn]"}, "search.model.1", "does not take text"),
        (
            {"model": "{name: char_transformer, width: 30}"},
            "model.width",
            "a width of 30 is not divisible by 4 heads",
        ),
        ({"search": "model.width: [32, 50]"}, "search.model.width", "a width of 50"),
        ({"search": "model.heads: [2, 3]"}, "search.model.heads", "divisible by 3 heads"),
        ({"search": "model.width: {min: 32, max: 64}"}, "search.model.width", "a width of 33"),
        (
            {"search": "model: [{name: char_transformer, heads: 5}]"},
            "search.model.0.width",
            "divisible by 5 heads",
        ),
        ({"train": ", loss: mse"}, "train.loss", "'mse' is no loss of language"),
        ({"train": ", schedule: {name: plateau, metric: f1}"}, "train.schedule.metric", "'f1'"),
    ],
)
def test_what_a_spec_for_text_may_not_say(tmp_path, given, place, message):
    with pytest.raises(SpecError) as caught:
        read_spec(written(tmp_path, **given))
    (fault,) = caught.value.faults
    assert fault.key.startswith(place) and message in fault.message and fault.line


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("{name: resnet, depth: 10}", "every 6 (8, 14, 20, 26, ...); the nearest are 8 and 14"),
        ("{name: resnet, depth: 2}", "2 is too small"),
        ("char_transformer", "the model char_transformer does not take samples of numbers"),
    ],
)
def test_models_that_do_not_fit_digits(tmp_path, model, message):
    path = tmp_path / "spec.yaml"
    path.write_text(f"data: digits\nmodel: {model}\ntrain: {{budget: 1ep, lr: 0.1}}\n")
    with pytest.raises(SpecError, match="model") as caught:
        read_spec(path)
    assert message in str(caught.value)
    path.write_text(
        "data: digits\nmodel: resnet\ntrain: {budget: 1ep, lr: 0.1}\n"
        "search: {model.depth: {min: 8, max: 20, points: 3}}\n"
    )
    with pytest.raises(SpecError, match="list the values"):
        read_spec(path)


def test_a_search_on_text_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.txt", LICENSE.read_bytes())
    model = "{name: char_transformer, layers: 1, heads: 2, width: 8}"
    written(tmp_path, model=model, search="lr: [0.01, 0.02]")
    said = lrsearch("grid", "spec.yaml", "--workers", "1", "--require", "loss<4.4")
    assert said.code == 0 and "chars: loss " in said.out, said
    for given, message in (
        ({"model": "torch.nn.Linear"}, "unknown model"),
        (
            {
                "model": "{class_path: torch.nn.Linear, init_args: {in_features: 64, "
                "out_features: 64}}"
            },
            "the model does not take samples of shape (64,)",
        ),
        (
            {
                "model": "{class_path: torch.nn.Embedding, init_args: {num_embeddings: 99, "
                "embedding_dim: 3}}"
            },
            "the model gives [2, 64, 3] for 2 samples; [2, 64, ",
        ),
    ):
        written(tmp_path, **given)
        said = lrsearch("grid", "spec.yaml", "--workers", "1", "--fresh")
        assert said.code == 2 and message in " ".join(said.err.split()), said
    written(tmp_path, model=model)
    said = lrsearch("grid", "spec.yaml", "--fresh", "--set", "data.source=none.txt")
    assert said.code == 2 and "none.txt: there is no such file" in said.err


@pytest.mark.parametrize(
    ("model", "own"), [(MLP, True), (CNN, True), (RESNET, True), (CHARS, False)]
)
def test_data_that_a_file_brings_find_the_wrong_model(model, own):
    given = text_config(model=model) if own else config(model)
    with pytest.raises(ModelError, match=f"the model {model['name']} does not take"):
        facts(given)


# The model


def build(model=CHARS, context=16, vocabulary=12):
    torch.manual_seed(0)
    return build_model(model, (context,), vocabulary, Workplace())


def test_a_character_sees_none_that_follow():
    model = build(CHARS | {"layers": 2}).eval()
    x = torch.randint(0, 12, (3, 16))
    other = x.clone()
    other[:, 9:] = (x[:, 9:] + 1) % 12
    left, right = model(x), model(other)
    torch.testing.assert_close(left[:, :9], right[:, :9], rtol=1e-5, atol=1e-6)
    assert (left[:, 9:] - right[:, 9:]).abs().amax((0, 2)).min() > 1e-3
    other = x.clone()
    other[:, 0] = (x[:, 0] + 1) % 12
    assert (model(other) - left).abs().amax((0, 2)).min() > 1e-5  # And all that came before.


def test_the_model_is_nanogpt_s_in_size_and_initial_weights():
    model = build(CHARS | {"layers": 4, "heads": 4, "width": 128}, 64, 65)
    count = sum(each.numel() for each in model.parameters())
    assert count == 4 * (12 * 128**2 + 2 * 128) + 128 + 65 * 128 + 64 * 128
    assert model.head.weight is model.embedding.weight
    for name, each in model.named_parameters():
        added = name.endswith(("attention.out.weight", "narrow.weight"))
        expected = 0.02 / math.sqrt(8) if added else 0.02
        if each.dim() == 2:
            assert each.std().item() == pytest.approx(expected, rel=0.05), name
            assert abs(each.mean().item()) < expected / 20
    loose = build(CHARS | {"tied": False, "bias": True})
    assert loose.head.weight is not loose.embedding.weight and loose.head.bias is None
    biases = [each for name, each in loose.named_parameters() if name.endswith("bias")]
    assert len(biases) == 4 + 3 and not any(each.any() for each in biases)


def test_the_model_is_the_formula_of_a_pre_norm_transformer():
    model = build(CHARS | {"layers": 1, "bias": True}).double().eval()
    for each in model.parameters():
        each.data.normal_(std=0.3)
    own = dict(model.named_parameters())

    def norm(x, name):
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
        return x * own[f"{name}.weight"] + own[f"{name}.bias"]

    def linear(x, name):
        return x @ own[f"{name}.weight"].T + own[f"{name}.bias"]

    tokens = torch.randint(0, 12, (2, 16))
    x = own["embedding.weight"][tokens] + own["positions.weight"]
    q, k, v = linear(norm(x, "blocks.0.attention_norm"), "blocks.0.attention.projections").chunk(
        3, -1
    )
    heads = []
    for head in range(2):
        part = slice(8 * head, 8 * head + 8)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(8)
        scores = scores.masked_fill(torch.ones(16, 16).triu(1).bool(), -math.inf)
        heads.append(scores.softmax(-1) @ v[..., part])
    x = x + linear(torch.cat(heads, -1), "blocks.0.attention.out")
    inner = linear(norm(x, "blocks.0.mlp_norm"), "blocks.0.widen")
    inner = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
    x = x + linear(inner, "blocks.0.narrow")
    torch.testing.assert_close(model(tokens), norm(x, "norm") @ own["embedding.weight"].T)


# Training


def test_a_model_that_knows_nothing_needs_log_of_the_vocabulary():
    own = text_config()
    data = placed_data(own)
    model = build(context=16, vocabulary=data.outputs).to(DEVICE)
    for each in model.parameters():
        each.data.zero_()
    criterion = Criterion(own["train"], data.task)
    found = solo.validation_metrics(
        validation.validation_sums(model, data, criterion).tolist(), data, criterion
    )
    assert found["loss"] == pytest.approx(math.log(data.outputs), rel=1e-6)
    for each in start_losses(model, data, criterion).tolist():  # It knows nothing.
        assert each == pytest.approx(found["loss"])
    first = (data.y_validation == 0).double().mean().item()  # What argmax takes of all alike.
    assert found["accuracy"] == pytest.approx(first)


@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_the_loss_is_a_cross_entropy_by_hand(monkeypatch, smoothing):
    monkeypatch.setattr(validation, "ALONE_CHUNK", 2)  # Of text eight samples.
    own = text_config(label_smoothing=smoothing)
    ended = run(own, objective=NATS)
    assert ended.result.outcome is Outcome.COMPLETED
    data = placed_data(own)
    model = build_model(CHARS, (16,), data.outputs, Workplace()).to(DEVICE)
    model.load_state_dict(safetensors.torch.load(ended.weights))
    logits = model.eval()(data.x_validation).detach().double().cpu().numpy()
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    right = data.y_validation.cpu().numpy()
    nats = -np.mean([logs[i, j, right[i, j]] for i, j in np.ndindex(right.shape)])
    assert ended.result.last["loss"] == close(nats, rel=1e-5)
    assert ended.result.last["accuracy"] == pytest.approx((logits.argmax(-1) == right).mean())
    assert set(ended.result.last) == {"loss", "accuracy"}
    assert nats < 0.9 * math.log(data.outputs)
    criterion = Criterion(own["train"], data.task)
    smooth = -smoothing * logs.mean() + (1 - smoothing) * nats
    found = criterion.of_outputs(torch.from_numpy(logits).to(DEVICE), data.validation).item()
    assert found == pytest.approx(smooth, rel=1e-6)


def test_losses_of_lanes_are_those_of_each_alone():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(3, 4, 5, 6, generator=generator, dtype=torch.float64)
    smoothing = torch.tensor([0.0, 0.2, 0.9], dtype=torch.float64)
    for shape in ((4, 5), (3, 4, 5)):
        targets = torch.randint(0, 6, shape, generator=generator)
        for reduction in ("mean", "sum"):
            found = metrics.stacked_loss(
                "cross_entropy", outputs, targets, smoothing=smoothing, reduction=reduction
            )
            for lane in range(3):
                own = targets if targets.dim() == 2 else targets[lane]
                expected = torch.nn.functional.cross_entropy(
                    outputs[lane].transpose(1, 2),
                    own,
                    reduction=reduction,
                    label_smoothing=smoothing[lane].item(),
                )
                torch.testing.assert_close(found[lane], expected)
    targets = torch.randint(0, 6, (4, 5), generator=generator)
    counts = metrics.language_sums(outputs, targets)
    assert counts.shape == (3, 1) and counts.dtype is torch.float64
    for lane in range(3):
        assert counts[lane].item() == (outputs[lane].argmax(-1) == targets).sum()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_trains_in_lanes(precision):
    model = CHARS | {"dropout": 0.1}
    own = cohort(*(text_config(model=model, lr=lr, precision=precision) for lr in (0.01, 0.02)))
    data = placed_data(own.trials[0].config)
    assert refuse(own.trials, data, own.workplace) == ""


def test_steps_with_dropout_are_solo_s():
    model = CHARS | {"dropout": 0.3, "tied": False, "bias": True}
    configs = [text_config(model=model, lr=lr, clip_norm=1.0) for lr in (0.01, 0.003)]
    worst, _ = compare_steps(configs, torch.float64, 8, shared=False)
    assert max(worst.values()) <= 1e-12, worst


def test_evaluations_in_lanes_are_solo_s(monkeypatch):
    monkeypatch.setattr(evaluation, "CHUNK", 2)
    configs = [text_config(lr=lr) for lr in (0.01, 0.003, 0.001)]
    pairs, _ = both(*configs, lanes=2, objective=NATS)
    for alone, together in pairs:
        assert together.result.engine == "fused"
        for name, values in alone.curve.items():
            np.testing.assert_allclose(together.curve[name], values, rtol=1e-4)


def test_an_evaluation_makes_no_more_than_fits(counting):
    few = placed_data(text_config())
    most = 1024
    assert few.chunk(most) * 16 * 512 <= most * 4096
    large = text_config(counting)
    assert placed_data(large).chunk(1) == 1  # One sample at least.
    assert placed_data(config()).chunk(most) == most


def test_one_s_own_model_learns_text(place):
    where = place(
        nets="""
    from torch import nn

    class Bigrams(nn.Module):
        def __init__(self, num_classes):
            super().__init__()
            self.table = nn.Embedding(num_classes, num_classes)
            self.last = nn.LazyLinear(num_classes)  # Its size comes from a pass of characters.

        def forward(self, x):
            return self.last(self.table(x))
    """
    )
    own = text_config(model=net("nets.Bigrams"), lr=0.1, budget="60ba")
    assert facts(own, place=where).task == "language"
    ended = run(own, objective=NATS, place=where)
    assert ended.result.last["loss"] < 3.0
