"""Augmentation: what each transform does, where it is applied, and that both engines and all lanes
do the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from devices import DEVICE, assert_same_numbers, same
from keys import trial_key
from scipy import stats
from test_draws import assert_lanes_train_as_alone
from test_spec import CONTENT, faults, key_of, read, small
from test_train import CNN, MLP, cohort, config, facts, place, run
from test_tuner import structure

from lrsearch.errors import DataError, LrsearchError, ModelError
from lrsearch.spec.export import export_spec
from lrsearch.spec.model import fill_config, identity, resolve
from lrsearch.spec.summary import describe, first_point
from lrsearch.train.batches import transforms
from lrsearch.train.batches.batch import Batch
from lrsearch.train.engines import solo
from lrsearch.train.engines.comparison import refuse
from lrsearch.train.engines.course import open_data
from lrsearch.train.engines.start import build, start_losses
from lrsearch.train.models.criterion import make_criterion
from lrsearch.trial import Cohort, Objective, Workplace
from lrsearch.tuner.ledger import content_of

place = place

CROP = {"name": "random_crop", "padding": 1}
FLIP = {"name": "flip", "p": 0.5}
NOISE = {"name": "noise", "std": 0.1}
MIXUP = {"name": "mixup", "alpha": 0.4}


def own(path: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": path, "init_args": arguments}


def given(*listed: dict[str, Any]) -> dict[str, Any]:
    return {"transforms": list(listed)}


# What they do


def test_a_crop_moves_each_image_by_itself_and_lets_zeros_in() -> None:
    x = torch.randn(200, 3, 5, 7)
    out = transforms.random_crop(x, 2).numpy()
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)))
    places = []
    for before, after in zip(padded, out, strict=True):
        found = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if np.array_equal(before[:, top : top + 5, left : left + 7], after)
        ]
        places += found
    assert len(places) == 200 and set(places) == {(a, b) for a in range(5) for b in range(5)}


def test_a_flip_mirrors_a_share_of_the_images() -> None:
    x = torch.randn(2000, 2, 3, 4)
    out = transforms.flip(x, 0.3)
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(x, out, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(x, out, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 0.25 < sum(mirrored) / 2000 < 0.35
    assert torch.equal(transforms.flip(x, 1.0), x.flip(-1))


def test_noise_is_normal_of_its_deviation() -> None:
    x = torch.randn(50, 400, dtype=torch.float64)
    added = (transforms.noise(x, 0.3) - x).flatten()
    assert stats.kstest(added.numpy() / 0.3, "norm").pvalue > 1e-4


@pytest.mark.parametrize("alpha", [0.001, 0.2, 1.0, 5.0, 1000.0])
def test_mixup_s_share_is_of_the_beta_distribution(alpha: float) -> None:
    shares = np.array([float(transforms.mixup(torch.ones(2, 1), alpha)[2]) for _ in range(3000)])
    assert (shares >= 0).all() and (shares <= 1).all()
    for level in (0.1, 0.4, 0.5, 0.8):
        at = stats.beta.ppf(level, alpha, alpha)
        assert abs((shares <= at + 1e-6).mean() - stats.beta.cdf(at + 1e-6, alpha, alpha)) < 0.05


def test_mixup_mixes_what_goes_in_and_what_is_to_come_out() -> None:
    x, y = torch.randn(8, 3), torch.arange(8) % 4
    made = transforms.build_transforms(given(MIXUP, MIXUP), Workplace(), DEVICE)
    _, parts = transforms.augment(made, Batch(x, y, y + 1.0))
    assert len(parts) == 4
    assert float(sum(share for *_, share in parts)) == pytest.approx(1.0)
    assert all(torch.equal(weight, part + 1.0) for part, weight, _ in parts)
    # A soft target of each sample says the same: mixed inputs and classes go together.
    inputs = torch.cat([x, F.one_hot(y, 4)], 1)
    torch.manual_seed(3)
    both, _ = transforms.augment(made, Batch(inputs, y))
    torch.manual_seed(3)
    again, parts = transforms.augment(made, Batch(x, y))
    soft = sum(share * F.one_hot(part, 4) for part, _, share in parts)
    torch.testing.assert_close(both, torch.cat([again, soft], 1))
    outputs = torch.randn(8, 4)
    loss = transforms.mixed_loss(lambda part: F.cross_entropy(outputs, part.y), x, parts)
    torch.testing.assert_close(loss, F.cross_entropy(outputs, soft))


# Where they are applied


OWN = """
    import torch

    def scale(x, amount=0.1):
        shape = [len(x), *[1] * (x.dim() - 1)]
        return x * (1 + amount * torch.randn(shape, dtype=x.dtype, device=x.device))

    class Cut:
        def __init__(self, size):
            self.size = size

        def __call__(self, x):
            top = torch.randint(8 - self.size, (len(x), 1, 1, 1), device=x.device)
            rows = torch.arange(8, device=x.device).view(8, 1)
            return x.masked_fill((rows >= top) & (rows < top + self.size), 0.0)

    class Drifts:
        def __init__(self):
            self.calls = 0

        def __call__(self, x):
            self.calls += 1
            return x + self.calls

    SEEN = []

    def remembers(x):
        SEEN.append(len(x))
        return x

    def reads(x):
        return x if x.sum().item() > 0 else -x

    def by_a_generator(x, dice=torch.Generator().manual_seed(0)):
        return x + torch.randn(x.shape, dtype=x.dtype, generator=dice).to(x.device)

    def shortens(x):
        return x[..., 1:]

    def widens(x):
        return x.double()

    def fails(x):
        raise ValueError("no such luck")

    def rolls(x):
        return x.roll(1, -1)

    class Mute:
        pass
"""

Job = Callable[..., Cohort]
SCHEDULE_FREE = {
    "name": "schedule_free_adamw",
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.0,
    "r": 0.0,
    "weight_lr_power": 2.0,
}

LANES: dict[str, tuple[dict[str, Any], str, dict[str, Any], list[dict[str, Any]]]] = {
    "images": (CNN | {"channels": [4]}, "digits", {}, [CROP, FLIP, NOISE]),
    "mixed, smoothed": (
        CNN | {"channels": [4], "dropout": 0.2},
        "digits",
        {"label_smoothing": 0.1},
        [MIXUP, CROP],
    ),
    "mixed twice, a regression": (MLP, "diabetes", {"batch_size": 16}, [MIXUP, NOISE, MIXUP]),
    "calibrated": (
        MLP | {"batch_norm": True},
        "digits",
        {"optimizer": SCHEDULE_FREE, "lr": 0.003},
        [NOISE],
    ),
    "low": (MLP, "digits", {"precision": "bfloat16"}, [NOISE, CROP]),
}


@pytest.mark.parametrize("name", LANES)
def test_lanes_augment_as_solo_does(name: str) -> None:
    model, source, train, listed = LANES[name]
    whole = {"budget": "2ep", "batch_size": 32, "lr": 0.02, **train}
    configs = [
        config(model, source, given(*listed), **whole | {"lr": whole["lr"] * factor})
        for factor in (1.0, 0.5, 0.2)
    ]
    if name == "low":  # Of rounding alone results differ too much to be compared.
        job = cohort(*configs)
        assert refuse(job.trials, open_data(job, job.trials[0], DEVICE), job.workplace) == ""
        return
    assert_lanes_train_as_alone(cohort(*configs, seeds=[0, 1, 0]))


@pytest.mark.parametrize(
    "each",
    [own("nets.scale", amount=0.2), own("nets.Cut", size=3), own("torch.nn.Dropout2d", p=0.3)],
    ids=lambda each: each["class_path"],
)
def test_one_s_own_trains_in_lanes(place: Any, each: dict[str, Any]) -> None:
    model = CNN | {"channels": [4]}
    configs = [config(model, "digits", given(each), lr=rate) for rate in (0.02, 0.05, 0.01)]
    configs = [{**one, "train": one["train"] | {"budget": "1ep"}} for one in configs]
    assert_lanes_train_as_alone(cohort(*configs, seeds=[0, 1, 0], place=place(nets=OWN)))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("reads", "the transform nets.reads: it reads values back"),
        (
            "by_a_generator",
            "the transform nets.by_a_generator: it draws random numbers from a gene",
        ),
        ("Drifts", "changes the transform nets.Drifts"),
        ("remembers", "changes nets.SEEN"),
    ],
)
def test_one_s_own_trains_alone_where_lanes_could_not(place: Any, name: str, reason: str) -> None:
    here = place(nets=OWN)
    job = cohort(config(MLP, "digits", given(own(f"nets.{name}")), budget="8ba"), place=here)
    assert reason in refuse(job.trials, open_data(job, job.trials[0], DEVICE), here)
    assert run(*[each.config for each in job.trials], place=here).result.steps == 8


def test_only_training_batches_are_augmented(place: Any) -> None:
    """At a rate of nothing the model stays: all that is not the training loss stays, too."""
    still = {"lr": 1e-30, "budget": "2ep", "evaluate": "1ep"}
    far = own("nets.scale", amount=30.0)
    plain, changed = run(
        config(MLP, "digits", **still),
        config(MLP, "digits", given(far, NOISE), **still),
        place=place(nets=OWN),
    )
    for name in ("loss", "accuracy", "f1"):
        assert_same_numbers(changed.curve[name], plain.curve[name])
    assert plain.curve["train_loss"][-1] < 3 < changed.curve["train_loss"][-1]


def test_the_start_and_batch_norm_s_calibration_see_the_data_as_they_are() -> None:
    found = []
    for listed in (given(), given(NOISE | {"std": 9.0})):
        own_config = config(MLP | {"batch_norm": True}, "digits", listed)
        job = cohort(own_config)
        data = open_data(job, job.trials[0], DEVICE)
        model = build(job.trials[0], data, job.workplace)
        criterion = make_criterion(own_config, data.task, 10, job.workplace, DEVICE)
        start = start_losses(model, data, criterion)
        solo.calibrate(model, data, own_config["train"], criterion)
        found.append([start, *model.buffers()])
    assert all(same(plain, changed) for plain, changed in zip(*found, strict=True))


def test_a_training_learns_what_its_augmentation_shows(place: Any) -> None:
    """Rolled images are told from each other; those as they are, which it never saw, are not."""
    model = CNN | {"channels": [8]}
    plain, rolled = run(
        config(model, "digits", budget="3ep"),
        config(model, "digits", given(*[own("nets.rolls")] * 4), budget="3ep"),
        place=place(nets=OWN),
    )
    assert rolled.curve["train_loss"][-1] < 1.5
    assert rolled.curve["accuracy"][-1] < plain.curve["accuracy"][-1] - 0.2


# Found before anything trains


@pytest.mark.parametrize(
    ("source", "each", "error", "message"),
    [
        ("iris", CROP, DataError, "random_crop takes images [channels, height, width], a sample"),
        ("diabetes", FLIP, DataError, "a sample of diabetes is [10]"),
        ("digits", CROP | {"padding": 8}, DataError, "a padding of 8 can move an image [1, 8, 8]"),
        ("digits", own("nets.shortens"), ModelError, "it gives [2, 1, 8, 7], torch.float32"),
        ("digits", own("nets.widens"), ModelError, "it gives [2, 1, 8, 8], torch.float64"),
        ("digits", own("nets.fails"), ModelError, "raised ValueError: no such luck"),
        ("digits", own("nets.scale", amont=1), ModelError, "unexpected keyword argument 'amont'"),
        ("digits", own("nets.Cut"), ModelError, "missing 1 required positional argument: 'size'"),
        ("digits", own("nets.Cut", size=9), ModelError, "RuntimeError"),
        ("digits", own("nets.Mute"), ModelError, "what nets.Mute makes cannot be called"),
        ("digits", own("nets.scael"), ModelError, "nets has no 'scael'"),
        ("digits", own("elsewhere.f"), LrsearchError, "'elsewhere', which is not allowed"),
    ],
)
def test_what_does_not_fit_is_said_before_training(
    place: Any, source: str, each: dict[str, Any], error: type[LrsearchError], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        facts(config(MLP, source, given(each)), place=place(nets=OWN))


def test_characters_take_one_s_own_alone(place: Any) -> None:
    license = Path(__file__).parents[3] / "LICENSE"
    text = {"name": "text", "source": str(license), "context": 16, "samples": None}
    model = {"name": "char_transformer", "layers": 1, "heads": 1, "width": 8, "dropout": 0.0}
    model |= {"tied": True, "bias": False}
    listed = {"standardize": False}
    with pytest.raises(DataError, match=r"noise takes numbers, .*LICENSE holds characters"):
        facts(config(model, text, given(NOISE) | listed))
    own_one = given(own("nets.rolls")) | listed
    assert facts(config(model, text, own_one), place=place(nets=OWN)).task == "language"
    (fault,) = faults(small(data="{name: text, source: a.txt, transforms: [mixup]}"))
    assert fault.key == "data.transforms.0" and "text is characters" in fault.message


# In the spec


@pytest.mark.parametrize(
    ("raw", "key", "words"),
    [
        ("flip", "data.transforms", "'flip' is no list of transforms"),
        ("{name: flip}", "data.transforms", "is no list of transforms"),
        ("[flipp]", "data.transforms.0.name", "did you mean 'flip'?"),
        ("[flip, random_crop]", "data.transforms.1", "'padding' is missing"),
        ("[{name: flip, p: 0}]", "data.transforms.0.p", "0 is too small"),
        ("[{name: noise, sdt: 1, std: 1}]", "data.transforms.0.sdt", "did you mean 'std'?"),
        ("[{name: random_crop, padding: 1.5}]", "data.transforms.0.padding", "no whole number"),
        ("[{name: mixup, alpha: {min: 1, max: 2}}]", "data.transforms.0.alpha", "is not a number"),
        ("[{p: 0.5}]", "data.transforms.0", "'name' (or 'class_path') is missing"),
        ("[3]", "data.transforms.0", "3 names no transform"),
        ("[{class_path: flip}]", "data.transforms.0.class_path", "is no dotted path"),
    ],
)
def test_every_slip_is_named(raw: str, key: str, words: str) -> None:
    words = words.replace("no whole number", "is not a whole number")
    (fault,) = faults(small(data=f"{{name: digits, transforms: {raw}}}"))
    assert fault.key == key and words in f"{fault.message} {fault.hint}" and fault.line


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("data.transforms: [flip, mixup]", "is no list of lists of transforms"),
        ("data.transforms: {min: 1, max: 2}", "is no list of lists of transforms"),
        ("data.transforms: []", "nothing to choose from"),
        ("data.transforms: [[flip], [{name: flip, p: 0.5}]]", "is listed twice"),
        ("data.transforms: [[flip], [flop]]", "unknown transform 'flop'"),
        ("data.transforms.p: [0.1, 0.2]", "an argument of a transform is not searched alone"),
    ],
)
def test_every_slip_of_a_search_is_named(raw: str, words: str) -> None:
    (fault,) = faults(small(search=raw))
    assert words in fault.message


def test_lists_of_transforms_are_searched() -> None:
    spec = read(small(search="data: {transforms: [[], [flip], [{name: noise, std: 0.5}, mixup]]}"))
    assert "none, flip (p 0.5), noise (std 0.5) + mixup (alpha 0.2)" in describe(spec)
    first = resolve(spec, first_point(spec.space), spec.task)
    assert first["data"]["transforms"] == []
    fixed = read(small(data="{name: digits, transforms: [flip]}"))
    assert "Training batches go through flip (p 0.5)" in describe(fixed)
    flipped = resolve(spec, {"data.transforms": [FLIP]}, spec.task)
    assert identity(flipped) == identity(resolve(fixed, {}, spec.task))
    assert structure(flipped, None) != structure(first, None)


def test_older_runs_keep_their_keys() -> None:
    now = resolve(read(small()), {}, "classification")
    older = {**now, "data": {key: now["data"][key] for key in now["data"] if key != "transforms"}}
    assert trial_key(older, CONTENT, 0, None) == trial_key(now, CONTENT, 0, None) == key_of(small())
    assert fill_config(older) == now
    assert structure(older, None) == structure(now, None)


def test_a_trial_key_has_the_code_of_its_transforms(place: Any) -> None:
    each = config(MLP, "digits", given(own("nets.scale", amount=0.2)))
    keys = []
    for code in (OWN, OWN.replace("1 + amount", "1 - amount"), OWN):
        content = content_of(facts(each, place=place(nets=code)))
        keys.append(trial_key(each, content.of(each), 0, None))
    assert keys[0] == keys[2] != keys[1]


def test_transforms_are_exported() -> None:
    listed = "[{name: random_crop, padding: 2}, {class_path: mine.augment, init_args: {a: 1}}]"
    spec = read(small(data=f"{{name: digits, transforms: {listed}}}"))
    assert spec.imports == ("mine.augment",)
    text = export_spec(spec, resolve(spec, {}), Objective("accuracy", "max"), "best")
    assert "--allow-import mine" in text and read(text).data == spec.data
