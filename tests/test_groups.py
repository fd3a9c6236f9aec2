"""Parameters at rates of their own: which layer they are of, and what they train with."""

import sys
from pathlib import Path

import pytest
import safetensors.torch
import test_train
import torch
from devices import assert_same_numbers
from test_fused import NORMED, NORMED_CNN, both, run_fused
from test_train import ADAMW, MLP, NETS, config, facts, net, run
from torch import nn

from lrsearch.errors import ModelError
from lrsearch.train.engines.training import Training
from lrsearch.train.models.build import build_model
from lrsearch.train.optimizers.groups import divide_parameters, find_depths
from lrsearch.trial import Outcome, Workplace

place = test_train.place

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))


def depths(model):
    return find_depths({name: each.dim() for name, each in model.named_parameters()})


def built(**given):
    return build_model(given, (1, 8, 8), 10, Workplace())


def test_layers_of_networks():
    mlp = built(**MLP | {"hidden": [8, 8], "batch_norm": True})
    assert depths(mlp) == {
        "body.0.weight": 2, "body.0.bias": 2, "body.1.weight": 2, "body.1.bias": 2,
        "body.3.weight": 1, "body.3.bias": 1, "body.4.weight": 1, "body.4.bias": 1,
        "head.weight": 0, "head.bias": 0,
    }  # fmt: skip
    cnn = depths(built(**NORMED_CNN))
    assert {name: depth for name, depth in cnn.items() if name.endswith("weight")} == {
        "convolutions.0.weight": 2,
        "convolutions.1.weight": 1,
        "norms.0.weight": 2,
        "norms.1.weight": 1,
        "head.weight": 0,
    }
    assert depths(built(name="logistic")) == {"head.weight": 0, "head.bias": 0}


def test_layers_of_repeated_blocks():
    from workloads import Transformer

    found = depths(Transformer(10, layers=3))
    assert found["position"] == found["embed.weight"] == 4
    assert [found[f"blocks.{k}.qkv.weight"] for k in range(3)] == [3, 2, 1]
    assert found["blocks.1.norm_network.bias"] == 2
    assert found["norm.weight"] == found["head.weight"] == 0
    assert set(found.values()) == set(range(5))


def test_layers_of_bert():
    """Embeddings, a layer a block, pooler and head, as its fine-tuning counts them."""
    transformers = pytest.importorskip("transformers")
    sizes = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=8,
    )
    found = depths(transformers.BertForSequenceClassification(sizes))
    for name, depth in found.items():
        if ".encoder.layer." in name:
            assert depth == 3 - int(name.split(".layer.")[1].split(".")[0])
        else:
            assert depth == (4 if ".embeddings." in name else 0), name


def test_vectors_alone_are_one_layer():
    class Scales(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(()))

    assert depths(Scales()) == {"a": 0, "b": 0}


def rates_of(model, **train):
    """Each parameter's rate over the schedule's, and its weight decay, as told."""
    own = config(optimizer={**ADAMW, "weight_decay": 0.1}, **train)["train"]
    training = Training(model, own)
    for each in model.parameters():
        each.grad = torch.zeros_like(each)
    training.update(0.5)
    names = {id(each): name for name, each in model.named_parameters()}
    return {
        names[id(each)]: (group["lr"], group["weight_decay"])
        for group in training.optimizer.param_groups
        for each in group["params"]
    }


def test_what_the_optimizer_is_told():
    model = built(**MLP | {"hidden": [8], "batch_norm": True})
    assert set(rates_of(model).values()) == {(0.5, 0.1)}
    assert rates_of(model, layer_decay=0.5)["body.0.bias"] == (0.25, 0.1)
    assert rates_of(model, weight_decay_on="matrices") == {
        name: (0.5, 0.1 if each.dim() > 1 else 0.0) for name, each in model.named_parameters()
    }
    groups = [
        {"match": "body.*.bias", "weight_decay": 0.3},
        {"match": "body.*", "lr": 0.1},
        {"match": "head.weight", "lr": 2},
    ]
    found = rates_of(model, layer_decay=0.5, weight_decay_on="matrices", groups=groups)
    assert found == {
        "body.0.weight": (0.025, 0.1),
        "body.0.bias": (0.25, 0.3),
        "body.1.weight": (0.025, 0.0),
        "body.1.bias": (0.25, 0.3),
        "head.weight": (1.0, 0.1),
        "head.bias": (0.5, 0.0),
    }


def test_alike_parameters_are_one_group():
    train = config()["train"]
    ranks = {"a.weight": 2, "a.bias": 1, "b.weight": 2}
    (group,) = divide_parameters(ranks, train, layers=False)
    assert group.names == tuple(ranks) and group.ratio(train) == 1.0
    assert group.optimizer(train) is train["optimizer"]
    two = divide_parameters(ranks, train, layers=True)
    assert [(each.names, each.depth) for each in two] == [
        (("a.weight", "a.bias"), 1),
        (("b.weight",), 0),
    ]


def test_lanes_with_layers_train_as_alone():
    smooth = NORMED | {"activation": "tanh"}
    groups = [{"match": "body.0.*", "lr": 0.0}, {"match": "head.bias", "weight_decay": 0.5}]
    configs = [
        config(smooth, optimizer=ADAMW, lr=0.003, layer_decay=decay, groups=groups)
        for decay in (None, 0.9, 0.3, 1.0)
    ]
    pairs, _ = both(*configs, lanes=4)
    losses = set()
    for alone, together in pairs:
        assert together.result.engine == "fused"
        assert together.result.outcome is Outcome.COMPLETED
        assert together.curve["loss"] == pytest.approx(alone.curve["loss"], rel=1e-4)
        losses.add(round(together.curve["loss"][-1], 4))
    assert len(losses) == 3  # A decay of 1 is none.
    assert_same_numbers(pairs[0][1].curve, pairs[3][1].curve)


def test_matrices_of_muon_in_layers():
    """One optimizer of two, each with the groups' rates."""
    own = {"momentum": 0.95, "nesterov": True, "weight_decay": 0.1, "ns_steps": 5}
    own |= {"adjust_lr_fn": "match_rms_adamw", "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    train = config(optimizer={"name": "muon", **own}, layer_decay=0.5)["train"]
    model = built(**MLP | {"hidden": [8]})
    training = Training(model, train)
    for each in model.parameters():
        each.grad = torch.zeros_like(each)
    training.update(0.5)
    rates = {
        tuple(each.shape): group["lr"]
        for group in training.optimizer.param_groups
        for each in group["params"]
    }
    assert rates == {(8, 64): 0.25, (8,): 0.25, (10, 8): 0.5, (10,): 0.5}


def test_a_frozen_group_does_not_move(place):
    here = place(nets=NETS)
    own = config(net("nets.Net"), groups=[{"match": "body.*", "lr": 0}])
    still = own | {"train": own["train"] | {"lr": 1e-30}}
    start = safetensors.torch.load(run(still, place=here).weights)
    for ended in (run(own, place=here), run_fused([own, own], 2, place=here)[0]):
        weights = safetensors.torch.load(ended.weights)
        assert torch.equal(weights["body.0.weight"], start["body.0.weight"])
        assert not torch.equal(weights["head.weight"], start["head.weight"])


def test_a_pattern_that_matches_nothing_is_named(place):
    head = {"match": "head.*", "lr": 2}
    with pytest.raises(ModelError, match=r"no parameter matches 'bdy\.\*'") as error:
        facts(config(MLP, groups=[head, {"match": "bdy.*", "lr": 0.1}]))
    assert "body.0.weight" in error.value.hint
    with pytest.raises(ModelError, match=r"earlier patterns take all that '\*\.bias' matches"):
        facts(config(MLP, groups=[head, {"match": "*", "lr": 2}, {"match": "*.bias", "lr": 1}]))
