"""What a mask chooses (`x[mask]`) and packed sequences, whose shapes depend on values, train in
lanes as they train alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from devices import DEVICE
from test_train import cohort, config
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.engines.comparison import refuse
from lrsearch.train.engines.course import open_data
from lrsearch.train.lanes.draws import Noise
from lrsearch.train.lanes.rules import Rules
from lrsearch.train.tape import NotRecordable, record
from lrsearch.trial import Ended, Objective, Outcome, Plan, Workplace

pytestmark = pytest.mark.usefixtures("on_device")

LANES = 3
Own = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""A function of outputs [12, 5], classes [12] of 0 to 4, weights [5, 4] and biases [5]."""


def missing(h: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Numbers that are none reach nothing: neither the sum nor the weights' gradient."""
    there = ~torch.where(y.unsqueeze(1) == 2, math.nan, h).isnan().any(1)
    seen = torch.where(y.unsqueeze(1) == 2, math.nan, h)[there]
    return F.linear(seen[:, :4], w, b).tanh().square().mean() + (h[h > 0] - h.min()).log().mean()


def put(h: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    h, mask, other = h.clone(), y > 0, h.tanh()
    h[mask] = h[mask] * 2
    h[mask] += b
    h[~mask] = b
    h[mask, 1] = 0.3
    h[mask, :] *= 0.5
    h[y > 2] = other[y > 2]
    h[h > 2] = 2.0
    return h.square().mean()


def sums(h: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    c = h[y > 0]
    along = (
        c.softmax(1)[:, 0].mean() + c.logsumexp(1).sum() + c.norm(dim=1).mean() + c.sum(-1).sum()
    )
    along = along + c.max(1).values.mean() + c.max(dim=1)[0].mean() + F.normalize(c)[:, 2].sum()
    down = c.sum(0).square().sum() + c.mean(dim=0).exp().sum() + c.std(0).sum()
    down = down + c[:, 1].logsumexp(0) + c.sum() / c.numel() + c.sum() / c.shape[0]
    same = h.relu()[(y > 0)[:, None] & (h < 0)]
    along = along + same.std() + torch.max(c, 2 * c - 1).mean() + torch.min(c, b).mean()
    return along + down + c.std() + c.var() + c.norm() + c.max() + c.min() + c.size(1)


def changed(h: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    c = h[y > 0]
    c += 1
    c *= b
    again = 1 / (c.abs() + 1) + (2 - c) + (-c) @ w[:, :1].abs().sum().reshape(1, 1).expand(5, 5)
    return again.mean() + (c.detach() ** 2).sum() + torch.where(c > 0, c, -2 * c).mean()


def picked(h: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    mask = y > 0
    own = h[mask, y[mask]].mean() + h[torch.arange(12, device=h.device)[mask], y[mask]].sum()
    rows = h[mask][:, :2].sum() + h[mask, 0].sum() + w[y[mask]].sum() + h[mask][..., 3].mean()
    logs = h.log_softmax(1)[mask].gather(1, y[mask].unsqueeze(1)).squeeze(1)
    c = h[:, 0][mask]
    return own + rows + logs.mean() + c[c > 0].sum() + torch.cat([c, c[c > 0]]).mean()


def losses(h: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    mask, scale = y != 0, torch.arange(1, 6, device=h.device).to(h)
    out, own, two = h[mask], y[mask], (y[mask] > 2).to(h.dtype)
    classes = F.cross_entropy(out, own) + F.cross_entropy(out, own, reduction="none").mean()
    classes = classes + F.cross_entropy(h[y != 0], y[y != 0], weight=scale, label_smoothing=0.1)
    classes = classes + F.cross_entropy(out, F.one_hot(own, 5).to(h.dtype))
    one = F.binary_cross_entropy_with_logits(out[:, 0], two) + F.mse_loss(out[:, 1], two)
    one = one + F.gaussian_nll_loss(out[:, 0], two, out[:, 1].exp())
    whole = F.kl_div(out.log_softmax(1), out.softmax(1).detach(), reduction="sum")
    right = (out.argmax(1) == own).to(h.dtype).mean()
    return classes + one + whole + right + F.layer_norm(out, (5,), b, b).square().mean()


def pairs(h: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    apart, same = torch.cdist(h, h).square(), y[:, None] == y
    near = apart[same].mean() + F.relu(1 - apart[~same]).mean()
    likeness = F.cosine_similarity(h[y > 1], h[y > 1] * 2 + b).mean()
    return near + likeness + torch.masked_select(h, h > 0).mean() + h.masked_select(h < 0).sum()


def none_there(h: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    nothing = h[y > 99]
    return nothing.sum() + F.linear(nothing[:, :4], w, b).log().sum() + h.mean()


def seen(h: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """A change of a part is one of the whole, and of the whole one of its parts."""
    c, kept = h[y > 0], h.detach()[y > 0]
    part, same, whole = c[:, 0], kept.detach(), kept[:, 1]
    part += 1
    c *= b
    same -= 2
    return c.square().mean() + (part * whole).mean()


def told(h: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """It says that it is a tensor, and how many of it there are."""
    c = h[y > 0]
    sound = isinstance(c, Tensor) and torch.is_tensor(c)
    each = (2 * c.shape[0] - 1) * c.sum() / c.size(0) + c.sum() / (c.numel() * c.shape[0])
    return each + 3 / (c.square().sum() + c.shape[0]) if sound else h.sum()


def named(h: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Arguments by place and by name."""
    c = h[y > 0]
    row = F.normalize(c, 2.0, 1, 3.0).sum(1, True) + c.norm(2, 1, True) + c.max(1, True)[0]
    row = row + torch.softmax(c, 1, torch.float64)[:, :1] + torch.mean(input=c, dim=1).unsqueeze(1)
    return row.square().mean() + c.var(1, False).sum() + F.linear(input=c, weight=w.mT).sum()


def empty(h: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """What is not chosen, or chosen of what is, brings no number that is none."""
    mask = (y == 1) & (h[:, 0] > 9)
    c, positive = F.linear(h[mask][:, :4], w), h[y > 0] * (h[y > 0] > 0)
    none = ((c - c.mean(0)) / c.std(0) / c.numel()).sum() + (positive[:, 0] - b[0]).sum()
    share = F.cross_entropy(h[y > 0], y[y > 0], reduction="none")
    column = positive[:, 0]
    return (
        none
        + column[column > 0].log().mean()
        + (b[1] / column[column > 0]).sum()
        + (b[2] / share).mean()
    )


SOUND: dict[str, Own] = {
    each.__name__: each
    for each in (
        *(missing, put, sums, changed, picked, losses, pairs, none_there),
        *(seen, told, named, empty),
    )
}


def given() -> list[Tensor]:
    """Of three lanes each argument of an `Own`."""
    dice = torch.Generator().manual_seed(0)
    wide = {"generator": dice, "dtype": torch.float64}
    h, w, b = (torch.randn(LANES, *size, **wide) for size in ((12, 5), (5, 4), (5,)))
    y = torch.randint(5, (LANES, 12), generator=dice)
    return [h.to(DEVICE), y.to(DEVICE), w.to(DEVICE), b.to(DEVICE)]


def in_lanes(own: Own, *parts: Tensor) -> Tensor:
    with Rules(Noise(())):
        return vmap(own)(*parts)


@pytest.mark.parametrize("name", SOUND)
def test_what_is_made_of_what_a_mask_chooses(name: str) -> None:
    """Its values and gradients are those of each lane alone, also of a recording of other ones."""
    own, parts = SOUND[name], given()
    leaves = [each.requires_grad_() for each in parts if each.is_floating_point()]
    alone = torch.stack([own(*(each[lane] for each in parts)) for lane in range(LANES)])
    found = in_lanes(own, *parts)
    torch.testing.assert_close(found, alone, rtol=1e-12, atol=1e-12)
    expected, gradients = (
        torch.autograd.grad(each.sum(), leaves, allow_unused=True, materialize_grads=True)
        for each in (alone, found)
    )
    torch.testing.assert_close(gradients, expected, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        tape, _ = record(lambda *now: [in_lanes(own, *now)], [each.detach() for each in parts], [])
        (turned,) = tape.replay(*(each.detach().roll(1, 0) for each in parts))
    torch.testing.assert_close(turned, alone.detach().roll(1, 0), rtol=1e-12, atol=1e-12)
    assert not tape.host


def two_masks(h: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    mask = y > 1
    c = h[mask]
    mask &= y > 2
    return (c - h[mask]).mean()


def at_places(h: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    h = h.clone()
    h[torch.arange(12, device=h.device)[y > 0]] = 0.0
    return h.mean()


def assigned(h: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    h, mask = h.clone(), y > 0
    h[mask] = h[:, 0][mask]
    return h.mean()


REFUSED: dict[str, tuple[Own, str]] = {
    "a median": (lambda h, y, w, b: h[y > 0].median(), "it uses median() of what a mask chooses"),
    "a number": (lambda h, y, w, b: h.sum() / len(h[y > 0]), "it uses len() of"),
    "products": (lambda h, y, w, b: (h[y > 0] @ h[y > 0].mT).sum(), "it uses mT of"),
    "another shape": (lambda h, y, w, b: (h[y > 0] * h[y > 0][:, 0]).sum(), "of another shape"),
    "a row": (lambda h, y, w, b: h[y > 0][0].sum(), "it uses an index of"),
    "noise": (lambda h, y, w, b: torch.randn_like(h[y > 0]).mean(), "it uses randn_like() of"),
    "numbers for rows": (assigned, "it uses an assignment by another mask or shape of"),
    "a biased one": (lambda h, y, w, b: h[y > 0].std(False), "it uses std() of"),
    "shares of all": (lambda h, y, w, b: h[y > 0].softmax(0)[:, 0].max(), "it uses softmax() of"),
    "two masks": (lambda h, y, w, b: (h[y > 0] - h[y > 1]).sum(), "what two masks choose"),
    "masks of two tensors": (
        lambda h, y, w, b: (h[y > 0] - h[-y > 0]).sum(),
        "what two masks choose",
    ),
    "a mask that has changed": (two_masks, "what two masks choose"),
    "a share": (lambda h, y, w, b: h.sum() * (h[y > 0].shape[0] / 12), "it uses the number of"),
    "a root": (lambda h, y, w, b: h.sum() / math.sqrt(h[y > 0].size(0)), "it uses the number of"),
    "a float": (lambda h, y, w, b: h.sum() * float(h[y > 8, 0]), "it uses a number of"),
    "weights": (
        lambda h, y, w, b: F.mse_loss(h[y > 0], b, weight=h[y > 0].exp()),
        "it uses mse_loss() with weights",
    ),
    "how often": (
        lambda h, y, w, b: F.embedding(y[y > 0], w, scale_grad_by_freq=True).sum(),
        "it uses embedding of",
    ),
    "places": (at_places, "it uses an assignment of"),
    "unlike ones": (lambda h, y, w, b: F.cross_entropy(h, y[y >= 0]), "it uses cross_entropy of"),
    "other arguments": (lambda h, y, w, b: h[y > 0].squeeze((1,)).sum(), "with such arguments of"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_hangs_on_how_many_are_chosen_is_refused(name: str) -> None:
    own, reason = REFUSED[name]
    with pytest.raises(NotRecordable) as told:
        in_lanes(own, *given())
    assert reason in str(told.value)


# Trained


class Net(nn.Module):
    """An image [1, 8, 8] between two layers, in float64."""

    def __init__(self, way: str, num_classes: int = 10) -> None:
        super().__init__()
        self.way, self.first, self.last = way, nn.Linear(64, 16), nn.Linear(16, num_classes)
        self.token = nn.Parameter(torch.zeros(8))
        kind = {"gru": nn.GRU, "projected": nn.LSTM}.get(way, nn.LSTM)
        given = {
            "two ways": {"num_layers": 2, "bidirectional": True},
            "projected": {"proj_size": 6},
        }
        self.rnn = kind(8, 8, batch_first=way != "projected", **given.get(way, {}))
        if way == "projected":
            self.last = nn.Linear(6, num_classes)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = x.double().squeeze(1)
        if self.way == "masks":
            h = self.first(x.flatten(1)).unflatten(1, (2, 8))
            h = h.clone()
            h[h > 0.3] = h[h > 0.3].sqrt()
            if self.training:
                h[torch.rand(len(x), 2, device=x.device) < 0.3] = self.token
            return self.last(h.flatten(1))
        lengths = (x.flatten(1).abs().sum(1) * 7).long() % 8 + 1
        if self.way == "projected":
            lengths, order = lengths.sort(descending=True)
            packed, (h, _) = self.rnn(pack_padded_sequence(x[order].transpose(0, 1), lengths))
            out = pad_packed_sequence(packed, total_length=9)[0].mean(0).tanh()
            return self.last(h[-1] + out)[order.argsort()]
        packed, states = self.rnn(
            pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        )
        if self.way == "two ways":
            return self.last(torch.cat([*states[0][-2:]], 1))
        long = {} if self.way == "longest" else {"total_length": 8}
        out, lengths = pad_packed_sequence(packed, batch_first=True, **long)
        mean = out.sum(1) / lengths.unsqueeze(1).to(out.device)
        return self.last(torch.cat([mean, out[:, 0]], 1))


def net(way: str) -> nn.Module:
    return Net(way)


def hardest(outputs: Tensor, y: Tensor) -> Tensor:
    each = F.cross_entropy(outputs, y, reduction="none")
    return each[each > each.mean()].mean() + F.cross_entropy(outputs[y != 3], y[y != 3])


HERE = Workplace(str(DEVICE), str(Path(__file__).parent), ("test_chosen",))


def job_of(way: str) -> object:
    loss = {"class_path": "test_chosen.hardest", "init_args": {}}
    path = {"class_path": "test_chosen.net", "init_args": {"way": way}}
    given = {"budget": "12ba", "evaluate": "6ba", "batch_size": 48, "loss": loss}
    configs = [config(path, lr=rate, **given) for rate in (0.05, 0.02, 0.01)]
    configs = [{**each, "data": {**each["data"], "task": "own"}} for each in configs]
    goal = Objective("loss", "min")
    return cohort(*configs, place=HERE, seeds=[0, 1, 0], objective=goal)


@pytest.mark.parametrize("way", ["masks", "gru", "two ways", "projected"])
def test_masks_and_packed_sequences_train_in_lanes(way: str) -> None:
    job = job_of(way)
    ended = {}
    for plan in (Plan("fused", 3), Plan("solo", 1)):
        events = run_cohort(replace(job, plan=plan))
        ended[plan.engine] = {each.trial: each for each in events if isinstance(each, Ended)}
    for number, alone in ended["solo"].items():
        beside = ended["fused"][number]
        assert (alone.result.outcome, beside.result.engine) == (Outcome.COMPLETED, "fused")
        for name, values in alone.curve.items():
            np.testing.assert_allclose(beside.curve[name], values, rtol=1e-12, err_msg=name)


def test_a_length_that_depends_on_the_batch_is_refused() -> None:
    job = job_of("longest")
    told = refuse(job.trials, open_data(job, job.trials[0], DEVICE), HERE)
    assert "with pad_packed_sequence(..., total_length=8) it trains in lanes" in told


def test_lengths_at_which_a_trial_alone_raises_lose_their_lane() -> None:
    """They are in no descending order, or one of them is zero."""
    x = torch.randn(3, 2, 4, 5, device=DEVICE)
    lengths = torch.tensor([[3, 2], [2, 3], [3, 0]], device=DEVICE)
    rnn = nn.GRU(5, 6, batch_first=True).to(DEVICE)

    def run(x: Tensor, lengths: Tensor) -> Tensor:
        return rnn(pack_padded_sequence(x, lengths, batch_first=True))[1][0]

    with Rules(Noise(())):
        found = vmap(run)(x, lengths)
    torch.testing.assert_close(found[0], run(x[0], lengths[0].cpu()))
    assert found[1:].isnan().any(-1).any(-1).all()


def test_16_bits_are_summed_in_32() -> None:
    """A mean of more than such a number counts, of numbers whose sum it does not hold."""
    x = 100 + torch.randn(2, 3000, device=DEVICE).half()
    mask = torch.ones(2, 3000, dtype=torch.bool, device=DEVICE)
    for own in (torch.mean, torch.std):
        with Rules(Noise(())):
            found = vmap(lambda x, mask, own=own: own(x[mask]))(x, mask)
        torch.testing.assert_close(found, torch.stack([own(each) for each in x]))


def test_comparisons_are_written_into_what_is_given() -> None:
    def run(x: Tensor) -> Tensor:
        mask = x > 1
        return x[torch.gt(x, 0, out=mask)].sum()

    x = torch.randn(3, 8, device=DEVICE)
    with Rules(Noise(())):
        torch.testing.assert_close(vmap(run)(x), torch.stack([run(each) for each in x]))


@pytest.mark.parametrize("read", [len, sum, lambda sizes: sizes.sum(), lambda sizes: sizes[-1]])
def test_batch_sizes_of_packed_sequences_are_told_to_nobody(read: Callable[..., object]) -> None:
    def run(x: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, torch.tensor([3, 2]), batch_first=True)
        return x.sum() * read(packed.batch_sizes)

    x = torch.randn(3, 2, 4, 5, device=DEVICE)
    with Rules(Noise(())), pytest.raises(NotRecordable, match="it reads the batch sizes of packed"):
        vmap(run)(x)
