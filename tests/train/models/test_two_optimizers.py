"""Steps with an optimizer of their own, as of a GAN, beside the search's."""

import pytest
from test_own_code import own_config, write_nets
from test_train import facts, run

from lrsearch.errors import ModelError
from lrsearch.trial import Outcome

NETS = """
    import torch
    from sklearn.datasets import load_digits
    from torch import nn
    from torch.nn.functional import binary_cross_entropy_with_logits as bce


    class Gan(nn.Module):
        def __init__(self, holds=False):
            super().__init__()
            self.g, self.d = nn.Linear(4, 64), nn.Linear(64, 1)
            self.optimizer = torch.optim.Adam(self.d.parameters(), 0.01) if holds else None


    OPTIMIZER = None


    def tell_apart(model, x, fake, optimizer):
        real, false = model.d(x), model.d(fake.detach())
        loss = bce(real, torch.ones_like(real)) + bce(false, torch.zeros_like(false))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


    def deceive(model, fake):
        told = model.d(fake)
        return bce(told, torch.ones_like(told))


    class Step:
        def __init__(self, clean=False, held="step"):
            self.clean, self.held, self.optimizer = clean, held, None

        def find(self, model):
            global OPTIMIZER
            if self.held == "model":
                return model.optimizer
            if self.held == "global":
                OPTIMIZER = OPTIMIZER or torch.optim.Adam(model.d.parameters(), 0.01)
                return OPTIMIZER
            self.optimizer = self.optimizer or {"d": torch.optim.Adam(model.d.parameters(), 0.01)}
            return self.optimizer["d"]

        def loss(self, model, batch):
            x = batch[0].flatten(1)
            fake = model.g(torch.randn(len(x), 4).to(x.device))
            if model.training:
                optimizer = self.find(model)
                tell_apart(model, x, fake, optimizer)
                if self.clean:
                    optimizer.zero_grad()
                    model.d.requires_grad_(False)
            loss = deceive(model, fake)
            model.d.requires_grad_(True)
            return loss


    def digits():
        found = load_digits()
        return (found.images[:200, None] / 16).astype("float32"), found.target[:200]
"""


@pytest.fixture
def nets(tmp_path):
    return write_nets(tmp_path, NETS)


def code(name, **arguments):
    return {"class_path": f"nets.{name}", "init_args": arguments}


def gan(held, *, clean=False):
    return own_config(
        code("digits"),
        code("Gan", holds=held == "model"),
        step=code("Step", held=held, clean=clean),
        budget="6ba",
        evaluate="3ba",
    )


PLACES = {"step": "train.step.optimizer.d", "global": "nets.OPTIMIZER",
          "model": "the model.optimizer"}  # fmt: skip


@pytest.mark.parametrize("held", PLACES)
def test_parameters_that_two_optimizers_would_update_are_named(nets, held):
    with pytest.raises(ModelError) as caught:
        facts(gan(held), place=nets)
    told = f"({PLACES[held]}) and the search's both update d.weight, d.bias: a step leaves"
    assert told in str(caught.value) and caught.value.where == "train.step"


@pytest.mark.parametrize("held", PLACES)
def test_a_step_that_leaves_them_no_gradient_trains(nets, held):
    own = gan(held, clean=True)
    assert facts(own, place=nets).task == "own"
    ended = run(own, place=nets)
    assert ended.result.outcome is Outcome.COMPLETED, ended.result.traceback
