"""Which models train in lanes, and what those are told that do not: each is tried for real."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import layers
import pytest
import test_draws
import torch
from devices import DEVICE, exact
from test_train import ADAMW, MLP, SGD, cohort, config

from lrsearch import catalogue
from lrsearch.train.engines import comparison
from lrsearch.train.engines.comparison import refuse
from lrsearch.train.engines.course import open_data
from lrsearch.train.lanes import evaluation
from lrsearch.train.models import validation
from lrsearch.train.users.memory import look_at
from lrsearch.trial import Workplace

HERE = Workplace(str(DEVICE), str(Path(layers.__file__).parent), ("layers",))

READS = "reads values back from tensors"

REFUSED_LAYERS = {
    "batch norm, momentum none": READS,
    "rrelu": "vmap has no rule for aten::rrelu",
    "rrelu, no range": "vmap has no rule for aten::rrelu",
    "embedding, max norm": "changes layer.weight",
    "embedding, sparse": "sparse gradients",
    "fractional max pool": "draws random numbers that no lane could repeat",
}

REFUSED = {
    "Branches": READS,
    "BranchesOnItsInput": READS,
    "ReadsItsInput": READS,
    "RebindsOthers": "puts a tensor of another shape or type in a buffer",
    "RebindsWhatIsNeeded": "replaces a buffer that the step's gradients need as it was",
    "LeavesAGraph": "leaves a graph in the buffer mean",
    "Counts": "changes calls",
    "CountsDeeply": "changes state",
    "CountsElsewhere": "changes meter",
    "CountsInItsClass": "changes CountsInItsClass.calls",
    "CountsInItsModule": "changes layers.CALLS",
    "Remembers": "changes seen",
    "CountsInAPlainTensor": "neither parameter, buffer nor its own",
    "AveragesInAPlainTensor": "changes in place what all lanes share",
    "DrawsByNumpy": "numpy's random, which no recording repeats; draw by torch.rand instead",
    "NoisyFromItsOwn": "from a generator of its own",
    "CountsInEvaluation": "in evaluation, too",
    "SamplesChecked": "unless made with validate_args=False",
    "Mixes": "that no lane could repeat",
    "Seeds": "seeds torch's random numbers",
    "KeepsItsState": "changes kept, which",
    "CentersByWhatTrainingLeft": "which an earlier step or evaluation has written",
    "LooksBack": "changes left, which",
    "AnnealsByItsCalls": "changes calls, which",
    "Half": "not all float32",
    "HasASparseBuffer": "its buffer near is sparse; made dense, by to_dense()",
    "HookedBackward": "hooks of the backward pass are registered on its module first",
    "HookedAccumulation": "hooks of the backward pass are registered on its module first",
    "DiffersALittle": "in lanes the loss differs",
    "CountsByALength": "changes kept, which",
    "CountsInAHook": "changes the hooks of first.weight, which",
    "Grows": "changes kept, which",
    "SavesMore": "_extra_state",
    "CheckpointsItsInput": "in lanes other parameters get gradients",
}

FUSED = (
    *("ClampsItsWeights", "Double", "DoubleBuffers", "Rebinds", "SharesALayer", "TiesItsEnds"),
    *("Slopes", "Turns", "Samples", "NoisyInEvaluation", "DropsInEvaluation"),
    *(
        "ScalesLate",
        "ReadsInEvaluation",
        "Checkpoints",
        "OwnFunction",
        "Differentiates",
        "ReplacesItsWeights",
    ),
    *("Pads", "KeepsRowsOfAGlobal", "LeavesItsHidden", "Squeezes"),
    *(
        "Hooked",
        "HookedParameter",
        "HookedTensor",
        "HookedForFeatures",
        "Rewrites",
        "LooksUnlessTraced",
    ),
)

CORE = (
    "linear",
    "conv2d",
    "batch norm 2d",
    "layer norm",
    "dropout",
    "dropout2d",
    "embedding",
    "embedding, padding",
    "attention",
    "transformer encoder",
    "lstm",
    "gru",
    "max pool",
    "tied",
    "frozen, unused",
)


OLDER = {
    "instance norm, statistics": ((2, 11), "changes layer.running_mean in evaluation, too"),
}
"""What torch before some version is refused for, on a CPU at least."""


def reason(path: str, own_loss: str = "", **arguments: str) -> str:
    model = {"class_path": path, "init_args": arguments}
    given: dict[str, Any] = {"budget": "2ep", "batch_size": 32}
    if own_loss:
        given["loss"] = {"class_path": own_loss, "init_args": {}}
        model["init_args"] = {"num_classes": 10}
    trials = [config(model, lr=rate, **given) for rate in (0.01, 0.02)]
    if own_loss:
        trials = [{**each, "data": {**each["data"], "task": "own"}} for each in trials]
    job = cohort(*trials, place=HERE)
    torch.set_num_threads(1)
    return refuse(job.trials, open_data(job, job.trials[0], DEVICE), HERE)


@pytest.mark.parametrize("family", CORE)
def test_common_layers_train_in_lanes(family: str) -> None:
    assert reason("layers.layer", family=family) == ""


@pytest.mark.parametrize("family", sorted(layers.LAYERS.keys() - set(CORE)))
def test_layers_train_in_lanes_or_say_why_not(family: str) -> None:
    found = reason("layers.layer", family=family)
    before, why = OLDER.get(family, ((0,), ""))
    if torch.__version__ < before:
        assert why in found or (not exact() and not found), found
    elif family in REFUSED_LAYERS:
        assert REFUSED_LAYERS[family] in found, found
    elif found:
        # Some kernels of some processors compute a lane by its place, and only those.
        assert found.startswith("a step"), found


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_recording_would_get_wrong_is_refused(name: str) -> None:
    found = reason(f"layers.{name}")
    assert REFUSED[name] in found, found


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("tensor", '; one that self.register_buffer("own", ...) keeps is each lane\'s'),
        ("layers", "; in an nn.ModuleList its layers are"),
        ("array", ""),
        ("numbers", ""),
    ],
)
def test_what_is_another_in_each_model_and_none_of_its_parts_is_named(kind: str, told: str) -> None:
    found = reason("layers.MakesItsOwn", kind=kind)
    expected = f"; lanes share own, which is another in each model and no part of it{told}"
    assert found.startswith("in lanes the loss differs") and found.endswith(expected), found


@pytest.mark.parametrize("name", ["DiffersALittle", "DiffersAndRaises"])
def test_a_difference_is_told_as_such(name: str) -> None:
    """A loss is put in the model's mode, which is no memory, and another error explains nothing."""
    found = reason(f"layers.{name}", own_loss="torch.nn.CrossEntropyLoss")
    assert "in lanes the loss differs" in found, found


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        *((kind, "changes kept, which") for kind in ("generator", "list iterator", "zip", "cycle")),
        *((kind, "changes kept, which") for kind in ("partial", "slots", "bytearray")),
        ("class", "changes layers.Settings, which"),
        ("default", "changes layers.mutable, which"),
        ("function", "changes layers.with_attribute, which"),
        ("module", "changes ticks.calls, which"),
    ],
)
def test_a_count_of_calls_is_seen_wherever_it_is_kept(kind: str, told: str) -> None:
    found = reason("layers.Cools", kind=kind)
    assert told in found, found


def test_a_generator_that_hands_on_another_s_values_is_looked_into() -> None:
    """It stands at one place of its code, without a variable, whatever the other has come to."""
    kept = layers.ticking()
    seen = []
    for _ in range(3):
        next(kept)
        seen.append(look_at(kept))
        assert look_at(kept) == seen[-1]
    assert seen[0] != seen[1] != seen[2]


def test_what_tells_no_changes_is_looked_at() -> None:
    """A tensor of inference mode has no versions, a lazy layer no memory, a closure no content
    yet."""
    with torch.inference_mode():
        table = torch.ones(3)
    held = [table, torch.nn.LazyLinear(2), lambda: late]
    seen = look_at(held)
    assert look_at(held) == seen
    late = table.data_ptr()
    assert look_at(held) != seen


@pytest.mark.filterwarnings("error:Casting complex values")
@pytest.mark.parametrize("name", FUSED)
def test_what_looks_odd_and_is_sound_trains_in_lanes(name: str) -> None:
    assert reason(f"layers.{name}") == ""


def test_norms_of_the_batch_are_evaluated_on_as_many_samples_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (validation, evaluation):
        monkeypatch.setattr(module, "CHUNK", 100)
    assert reason("layers.layer", family="batch norm, no statistics") == ""


def test_outputs_may_have_parts_that_are_no_tensors() -> None:
    assert reason("layers.GivesMore", "layers.of_more") == ""


@pytest.mark.parametrize("name", catalogue.OPTIMIZERS)
def test_every_optimizer_trains_in_lanes(name: str) -> None:
    known = catalogue.OPTIMIZERS[name].parameters
    optimizer = {"name": name, **{key: each.default for key, each in known.items()}}
    own = cohort(config(budget="10ba", optimizer=optimizer))
    trials = [replace(own.trials[0], seed=seed) for seed in (0, 1)]
    assert refuse(trials, open_data(own, trials[0], DEVICE), own.workplace) == ""


def test_every_way_to_resist_is_refused_but_the_sound_ones() -> None:
    named = {
        name
        for name, each in vars(layers).items()
        if inspect.isclass(each) and issubclass(each, layers.Net) and each is not layers.Net
    }
    # The attention's rule has no branch; some processors' kernels compute a lane by its place.
    sound = {*FUSED, "HidesALayer", "KeepsWhatItMade", "ManyParameters", "ReducesByABranch"}
    sound |= {*test_draws.NOISY, "GivesMore", "DriftsLate"}
    # Lanes share a batch in a comparison bit by bit alone. Where a search has them do so this one
    # raises, and its trials train alone.
    sound |= set() if exact() else {"ChangesItsInput"}
    accepted = {name for name in named - REFUSED.keys() - sound if not reason(f"layers.{name}")}
    assert accepted == set()


@pytest.mark.parametrize("width", [16, 64, 100])
@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_batch_norm_of_any_width_trains_in_lanes(width: int, optimizer: dict[str, Any]) -> None:
    """Also where columns are not summed alike: four vectors of some processors are 64 numbers."""
    model = {**MLP, "hidden": [width], "batch_norm": True}
    given = {"budget": "2ep", "batch_size": 33, "optimizer": optimizer}
    job = cohort(*[config(model, lr=rate, **given) for rate in (0.01, 0.02)])
    data = open_data(job, job.trials[0], DEVICE)
    assert refuse(job.trials, data, job.workplace) == ""


@pytest.mark.cpu("a CPU sums the pixels one after the other; a GPU as exactly as in lanes")
def test_what_solo_rounds_is_no_reason_against_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float64 decides, and only where float32 is not far off."""
    model = {"class_path": "layers.SumsManyPixels", "init_args": {}}
    trials = [config(model, lr=rate, budget="2ep", batch_size=64) for rate in (0.01, 0.02)]
    job = cohort(*trials, place=HERE)
    data = open_data(job, job.trials[0], DEVICE)
    reason, rounding = comparison._compare(job.trials, data, HERE)
    assert reason.startswith("in lanes the gradient of convolution") and rounding
    assert comparison._compare(job.trials, comparison._double(data), HERE, torch.float64) == (
        "",
        False,
    )
    assert refuse(job.trials, data, HERE) == ""
    monkeypatch.setattr(comparison, "ROUNDING", comparison.TOLERANCE[torch.float32])
    assert refuse(job.trials, data, HERE) == reason


def test_a_model_under_an_autocast_of_its_own_trains_in_lanes() -> None:
    """What differs is what 16 bits round, and float64, which autocast leaves alone, says so."""
    model = {"class_path": "layers.UnderAutocast", "init_args": {}}
    trials = [config(model, lr=rate, budget="2ep", batch_size=16) for rate in (0.01, 0.02)]
    job = cohort(*trials, place=HERE)
    data = open_data(job, job.trials[0], DEVICE)
    assert comparison._compare(job.trials, data, HERE)[1]
    assert refuse(job.trials, data, HERE) == ""


def test_tensors_compared_at_once_are_told_as_one_by_one():
    """On a GPU each comparison by itself waits several times for the device."""
    trial = object.__new__(comparison._Comparison)
    trial.tolerance = 1e-4
    nan, inf, one = float("nan"), float("inf"), torch.ones(3, device=DEVICE)
    pairs = [
        ("a", one, one + 9e-5, 0.0),
        ("b", one, one + 2e-4, 0.0),
        ("c", one, one + 2e-4, 3.0),
        ("d", one * nan, one * nan, 0.0),
        ("e", one * nan, one, 0.0),
        ("f", one, one * inf, 1.0),
        ("g", one * inf, one * inf, 0.0),
        ("h", one.double(), one, 0.0),
        ("i", one, one[:2], 0.0),
        ("j", one > 0, one > 0, 0.0),
        ("k", one[:0], one[:0], 0.0),
        ("l", one * 0, one * 0, 0.0),
        ("m", one * 0, one * 1e-30, 0.0),
        ("n", one[0], one[0] * -1, 0.0),
        ("o", one.double(), one.double() + 1e-5, 0.0),
    ]

    def told(compare, *given):
        try:
            compare(*given)
        except comparison._Differs as error:
            return f"{type(error).__name__}: {error}"
        return ""

    alone = [told(trial._agree, *each) for each in pairs]
    assert [what for (what, *_), text in zip(pairs, alone, strict=True) if text] == [*"befimn"]
    assert [told(trial._agree_all, [each]) for each in pairs] == alone
    assert told(trial._agree_all, pairs) == alone[1], "the first of them"
    sound = [pair for pair, text in zip(pairs, alone, strict=True) if not text]
    trial._agree = lambda *_: pytest.fail("what is plain and agrees was looked at by itself")
    trial._agree_all([pair for pair in sound if pair[0] in "aclo"])
    assert trial._agree_all([]) is None
