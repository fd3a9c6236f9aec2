"""Whatever way a trial comes to train solo, its run says why: in the journal, in the report's text
and in its JSON."""

import json
from pathlib import Path

import pytest
from test_own_code import write_nets
from test_tables import INLINE, lrsearch

from lrsearch.store import read
from lrsearch.train.batches.streamed import OWN_ORDER
from lrsearch.train.engines.probe import WORTH_STEPS

NETS = '''
    import torch, torch._C._functorch as functorch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler
    from sklearn.datasets import load_digits

    functorch.seen = []  # A global of its own is put back between trials.

    class Net(nn.Module):
        def __init__(self, in_features=64, num_classes=10):
            super().__init__()
            self.body, self.head = nn.Linear(in_features, 16), nn.Linear(16, num_classes)
            self.register_buffer("mean", torch.zeros(16))
            self.odd = nn.BatchNorm1d(16, momentum=None)
            self.mine = torch.Generator()

        def middle(self, x):
            return x

        def forward(self, x):
            return self.head(self.middle(self.body(x.flatten(1))).relu())

    class Item(Net):
        def middle(self, x):
            return x / x.abs().max().item()  # reads

    class Branch(Net):
        def middle(self, x):
            return x * 2 if x.mean() > 0 else x  # branches

    class Shape(Net):
        def middle(self, x):
            return x + (x > 0).nonzero().sum()  # picks

    class Layer(Net):
        def middle(self, x):
            return self.odd(x)

    class Hook(Net):
        def __init__(self):
            super().__init__()
            self.body.register_full_backward_hook(lambda *given: None)

    class Replaces(Net):
        def middle(self, x):
            if self.training:
                self.mean = 0.9 * self.mean.double() + 0.1 * x.detach().mean(0)
            return x - self.mean.to(x.dtype)

    class Counts(Net):
        calls = 0

        def middle(self, x):
            self.calls += 1
            return x

    class Draws(Net):
        def middle(self, x):
            return x + torch.randn(x.shape, generator=self.mine).to(x.device)  # draws

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return x * 2

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, gradient):
            return gradient * 2

    twice = Twice.apply

    class Custom(Net):
        def middle(self, x):
            return twice(x)  # differentiates

    class Rules(Net):
        def middle(self, x):
            return torch.rrelu(x, training=self.training)  # rrelu

    class Later(Net):
        """Fails in the second program of four lanes: the one that trains."""

        def middle(self, x):
            lanes = functorch.is_batchedtensor(x) and functorch.get_unwrapped(x).shape[
                functorch.maybe_get_bdim(x)
            ]
            if lanes == 4 and self.training:
                functorch.seen.append(lanes)
                if len(functorch.seen) == 2:
                    raise KeyError("lost thing")
            return x

    def loaded():
        images, targets = load_digits(return_X_y=True)
        data = TensorDataset(torch.as_tensor(images / 16, dtype=torch.float32),
                             torch.as_tensor(targets))
        order = WeightedRandomSampler(1.0 + (data.tensors[1] < 5), len(data))
        make = lambda batch_size: DataLoader(data, batch_size, sampler=order)
        return make, data
'''

LOOP = """
def train(trial):
    trial.report(1, loss=trial.params["lr"])
"""

SPEC = """
name: why
data: {data}
model: {model}
train: {{budget: 20ba, evaluate: 10ba, optimizer: {optimizer}}}
search: {{lr: {rates}}}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_nets(tmp_path, NETS)
    return tmp_path


def line_of(text):
    return next(n for n, line in enumerate(NETS.splitlines(), 1) if line.endswith(f"  # {text}"))


def search(engine, *more, **given):
    parts = {"data": "digits", "model": "nets.Net", "optimizer": "sgd", "rates": [0.1, 0.2, 0.3]}
    parts |= given
    if "nets." in parts["model"]:
        parts["model"] = f"{{class_path: {parts['model']}}}"
    Path("why.yaml").write_text(SPEC.format(**parts))
    allow = ("--allow-import", "nets")
    return lrsearch("grid", "why.yaml", *INLINE, *allow, "--engine", engine, "--json", *more)


def assert_said(said, here, reason, solo=3):
    """So many trials are solo, for that reason, which all forms of the report give."""
    assert said.code == 0, said
    found = json.loads(said.out)
    alone = [each for each in found["trials"] if each["engine"] == "solo"]
    assert len(alone) == solo
    assert all(reason in each["engine_reason"] for each in alone), alone
    assert not any(each["engine_reason"] for each in found["trials"] if each["engine"] == "fused")
    text = " ".join(lrsearch("report", "runs/why").out.split())
    assert "solo: " in text and reason in text, text
    journal = (here / "runs" / "why" / "journal.jsonl").read_text()
    planned = [json.loads(line) for line in journal.splitlines()]
    plans = [line["plan"] for line in planned if line["event"] == "planned"]
    results = read(here / "runs" / "why").results.values()
    assert all(reason in each.why for each in results if each.engine == "solo")
    return plans


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"model": "nets.Item"}, "reads values back from tensors, as .item() and `if` do (nets.py, "
         f"line {line_of('reads')})"),
        ({"model": "nets.Branch"}, f"as .item() and `if` do (nets.py, line {line_of('branches')})"),
        ({"model": "nets.Shape"}, "the shape of a result depends on values (nets.py, "
         f"line {line_of('picks')})"),
        ({"model": "nets.Layer"}, "in its layer odd, BatchNorm1d"),
        ({"model": "nets.Hook"}, "hooks of the backward pass are registered on its module body"),
        ({"model": "nets.Replaces"}, "puts a tensor of another shape or type in a buffer"),
        ({"model": "nets.Counts"}, "its forward changes calls"),
        ({"model": "nets.Draws"}, "random numbers from a generator of its own (nets.py, "
         f"line {line_of('draws')})"),
        ({"model": "nets.Custom"}, "an autograd function that it uses has no rule for vmap (nets.py"
         f", line {line_of('differentiates')})"),
        ({"model": "nets.Rules"}, "vmap has no rule for aten::rrelu"),
        ({"optimizer": "{class_path: torch.optim.AdamW}"},
         "the optimizer torch.optim.AdamW has no form for lanes, as none has that is named by its "
         "class path; the built-in ones have, adamw among them"),
        ({"data": "{class_path: nets.loaded, validation: source, classes: 10}"},
         OWN_ORDER),
    ],
    ids=lambda part: next(iter(part.values()))[:40] if isinstance(part, dict) else "",
)  # fmt: skip
def test_what_stands_in_the_way_of_lanes_is_named(here, given, told):
    plans = assert_said(search("fused", **given), here, told)
    assert [told in each["reason"] for each in plans] == [True]
    # On resume the plan, and so the reason, is the journal's, for new points, too.
    assert_said(search("fused", **given, rates=[0.1, 0.2, 0.3, 0.4]), here, told, solo=4)


def test_solo_that_is_asked_for_says_so(here):
    plans = assert_said(search("solo"), here, "--engine solo asks for it")
    assert len(plans) == 1
    # Those that come later by lanes do not take the reason of those before.
    assert_said(
        search("fused", rates=[0.1, 0.2, 0.3, 0.4, 0.5]), here, "--engine solo asks for it", solo=3
    )
    assert "2 trials fused" in lrsearch("report", "runs/why").out


def test_too_little_to_train_is_a_reason(here):
    assert_said(
        search("auto"),
        here,
        f"60 steps a structure are too few to gain by lanes, which are tried from {WORTH_STEPS} on",
    )


@pytest.mark.cpu("on a GPU a program of one lane is tried")
def test_one_point_alone_is_a_reason(here):
    assert_said(
        search("auto", rates=[0.1]), here, "nothing waits that could train beside it", solo=1
    )


def test_a_program_that_fails_midway_is_a_reason(here):
    said = search("fused", "--lanes", "4", model="nets.Later", rates=[0.1, 0.2, 0.3, 0.4])
    assert_said(said, here, "the fused program raised KeyError: 'lost thing'", solo=4)


def test_what_is_slower_in_lanes_is_a_reason(here, monkeypatch):
    from lrsearch.train.engines import probe

    monkeypatch.setattr(probe, "GAIN", 0.0)
    said = search("auto", "--set", "train.budget=400ba", "--set", "train.evaluate=200ba")
    assert_said(said, here, "in lanes a step takes ")


@pytest.mark.parametrize("kind", ["command", "loop"])
def test_training_of_one_s_own_says_why(here, kind):
    text = {"command": "python job.py {lr}", "loop": "my_loop.train"}[kind]
    allow = {"command": ("--allow-command",), "loop": ("--allow-import", "my_loop")}[kind]
    (here / "my_loop.py").write_text(LOOP)
    (here / "job.py").write_text("import json; print(json.dumps({'loss': 1.0}))\n")
    (here / "why.yaml").write_text(
        f"name: why\n{kind}: {text}\nobjective: {{metric: loss}}\nsearch: {{lr: [0.1, 0.2]}}\n"
    )
    said = lrsearch("grid", "why.yaml", *INLINE, *allow, "--json")
    assert_said(said, here, f"each trial of a {kind} is a process of its own", solo=2)
