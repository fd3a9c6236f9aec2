"""What a first step of the user's code shows before any trial."""

import pytest
import torch
from test_own_code import code, own_config, write_nets
from test_train import MLP, config, facts

from lrsearch.errors import ModelError
from lrsearch.train.preparing import raising

NETS = """
    import random, torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Linear(4, 8), nn.Linear(8, 3)
            self.scale, self.kept = nn.Parameter(torch.ones(8)), torch.zeros(8)

        def hidden(self, x):
            return self.first(x).tanh()  # line 12

        def forward(self, x):
            return self.head(self.hidden(x))

    class Headless(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 3)

    class Detached(Net):
        def forward(self, x):
            return super().forward(x).detach()

    class Clamps(Net):
        def hidden(self, x):
            self.scale.clamp_(0, 1)  # line 28
            return super().hidden(x) * self.scale

    class Adds(Net):
        def hidden(self, x):
            y = super().hidden(x)
            y += 1
            return y

    class Carries(Net):
        calls = 0

        def hidden(self, x):
            self.calls += random.random()
            self.kept = (super().hidden(x) + self.kept.to(x.device)).sum(0).tanh()
            return super().hidden(x) + self.kept

    class Lists(Net):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Linear(8, 8)]

        def hidden(self, x):
            return self.layers[0](super().hidden(x))

    class Raises(Net):
        '''Raises at some sizes of a batch.'''

        def __init__(self, sizes=range(999), trains=True):
            super().__init__()
            self.sizes, self.trains = sizes, trains

        def forward(self, x):
            if len(x) in self.sizes and self.training >= self.trains:
                return self.heads(self.hidden(x))  # line 62
            return super().forward(x)

    class Brings(Net):
        def forward(self, x):
            raise AssertionError("Torch not compiled with CUDA enabled")  # line 67

    class Slow(torch.optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

    class Careless(Slow):
        def step(self, closure=None):
            for group in self.param_groups:
                for each in group["params"]:
                    each -= group["lr"] * each.grad  # line 77

    def shifted(outputs, y):
        y = outputs.exp()  # line 80
        z = y * 2
        y += 1
        return z.mean()

    def empty(outputs, y):
        return outputs.sum() if len(y) > 2 else outputs.new_zeros(())

    class Beyond(Net):
        def forward(self, x):
            beyond = torch.full((len(x),), 8, device=x.device)
            return super().forward(x) + self.scale.index_select(0, beyond)[:, None]  # line 91
"""


@pytest.fixture
def nets(tmp_path):
    return write_nets(tmp_path, NETS)


def iris(model=MLP, **train):
    return own_config({"name": "iris"}, model, **train)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Headless", "it has no forward"),
        ("Detached", "its outputs do not depend on its parameters: nothing would be learned"),
        ("Clamps", "it changes a parameter in place (nets.py, line 28)"),
        ("Adds", "it changes in place what its gradients need (nets.py, line 12)"),
        ("Carries", "it keeps a tensor of a step for the next one, and with it the whole step "
         "(kept)"),
    ],
)  # fmt: skip
def test_what_each_trial_would_end_in_is_said_at_once(nets, name, told):
    with pytest.raises(ModelError) as caught:
        facts(iris(code(name)), place=nets)
    assert str(caught.value).partition("\n")[0] == f"nets.{name}: {told}"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Slow", "it has no step"),
        ("Careless", "it changes a parameter in place (nets.py, line 77)"),
    ],
)
def test_an_optimizer_is_tried(nets, name, told):
    with pytest.raises(ModelError) as caught:
        facts(iris(optimizer=code(name)), place=nets)
    assert str(caught.value).partition("\n")[0] == f"train.optimizer: {told}"


def test_a_loss_of_one_s_own_is_named(nets):
    with pytest.raises(ModelError) as caught:
        facts(iris(loss=code("shifted")), place=nets)
    told = "train.loss: it changes in place what its gradients need (nets.py, line 80)"
    assert str(caught.value).partition("\n")[0] == told


def test_parameters_that_nothing_trains_are_told(nets):
    told = "nothing trains them: nets.Lists.layers.0.bias, nets.Lists.layers.0.weight. Keep"
    assert [each for each in facts(iris(code("Lists")), place=nets).notes if told in each]


@pytest.mark.parametrize("given", [{"model": code("Net")}, {"loss": code("empty")}])
def test_sound_code_is_not_told_anything(nets, given):
    """Nor a loss that finds nothing to do in two samples."""
    assert not [each for each in facts(iris(**given), place=nets).notes if "trains" in each]


RAISED = "tried on a first batch it raised AttributeError: 'Raises' object has no attribute 'heads'"


@pytest.mark.parametrize(
    ("given", "told", "hint"),
    [
        (code("Raises"), f"{RAISED} (nets.py, line 62)", "did you mean self.head?"),
        (code("Raises", trains=False), f"{RAISED} (nets.py, line 62)", "self.head?"),
        (code("Brings"), "CUDA enabled (nets.py, line 67)", "leave out .cuda()"),
    ],
)
def test_what_every_training_raises_as_it_begins_is_said_before_any(nets, given, told, hint):
    with pytest.raises(ModelError) as caught:
        facts(
            iris(given), iris({**given, "init_args": given["init_args"]}, batch_size=8), place=nets
        )
    assert str(caught.value).partition("\n")[0].endswith(told) and hint in caught.value.hint


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("SparseAdam", {}, "RuntimeError: SparseAdam does not support dense gradients"),
        ("Adam", {"betas": [0.9, 0.99, 0.999]}, "ValueError: too many values to unpack"),
    ],
)
def test_what_an_optimizer_raises_in_every_first_step_is_said_before_any(name, arguments, told):
    optimizer = {"class_path": f"torch.optim.{name}", "init_args": arguments}
    with pytest.raises(ModelError, match=f"train.optimizer: tried on a first batch .* {told}"):
        facts(iris(optimizer=optimizer))


def test_batch_norm_of_batches_of_one_sample_is_said_before_any():
    model = {"name": "mlp", "hidden": [8], "activation": "relu", "dropout": 0.0, "batch_norm": True}
    with pytest.raises(ModelError, match="Expected more than 1 value per channel"):
        facts(iris(model, batch_size=1))


def test_it_is_told_as_a_cpu_tells_it(nets, monkeypatch):
    """Other devices tell of an index out of range later, elsewhere, or never."""
    monkeypatch.setattr(raising, "find_device", lambda _: torch.device("meta"))
    with pytest.raises(ModelError, match=r"raised IndexError: index out of range.*line 91"):
        facts(iris(code("Beyond")), place=nets)


@pytest.mark.parametrize(
    "configs",
    [
        [iris(code("Raises", sizes=[2], trains=False))],
        [iris(code("Raises")), iris(code("Net"))],
        [iris(code("Raises", sizes=[2, 16]), batch_size=size) for size in (16, 8)],
    ],
)
def test_what_some_trainings_raise_is_left_to_their_trials(nets, configs):
    """Those of another model, or of another batch size; or none, but for two samples alone."""
    assert facts(*configs, place=nets).parameters


def test_a_model_that_there_is_no_memory_to_make_is_refused_where_no_other_is_made():
    huge = config({**MLP, "hidden": [10**6, 10**6]})
    small = config({**MLP, "hidden": [8]})
    with pytest.raises(ModelError, match=r"there is no memory to make .*4000000000000"):
        facts(huge)
    found = facts(huge, small)
    assert found.parameters == facts(small).parameters > 0
