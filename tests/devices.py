"""The device that tests train on, `pytest --device NAME`, and what "the same" means there.

A test that trains takes all of it from here. `DEVICE` is set before any test module is imported,
so a module may use it in its constants. Where it is the CPU, two ways to compute one thing must
agree bit by bit; on a GPU they cannot, for three reasons:

- cuBLAS and cuDNN choose a kernel by the shapes, and with it the order of a sum: a lane's last bits
  hang on how many lanes there are, and solo's products are of another shape.
- What adds up atomically (backwards of adaptive pools, of embeddings and of indexing, cuDNN's
  gradients of weights) has no order at all, so that one program run twice differs, too.
- A step that rounds otherwise leads to weights that differ a little more at the next one.

What is rounding alone has no digit that holds: the gradient of a bias before batch norm cancels,
and Adam, which divides it by its own size, makes of it steps of any sign, as long as all others.
`find_chance` names such parameters, and nothing is asked of them.

So `same` and the asserts here are equality on the CPU, and elsewhere closeness: `ROUNDING` for what
one computation leaves, `DRIFT` for what a training of tens of steps makes of it. What is no result
of floating point arithmetic is the same everywhere and is compared with `==`: outcomes, steps,
seeds, orders of samples, random states, and copies of a tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from lrsearch.trial import Ended, Outcome

DEVICE = torch.device("cpu")
"""Set by conftest.py."""

HOST = torch.device("cpu")
"""For what is held against a CPU, wherever tests train."""

ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 1e-2}
"""Differences of one computation, as shares of a tensor's largest entry."""

DRIFT = 3e-2
"""Of whole trainings: of a loss or an accuracy, and of a tensor's largest entry."""


def exact() -> bool:
    """Whether what is computed twice has the same bits."""
    return DEVICE.type == "cpu"


def make_generator(seed: int = 0) -> torch.Generator:
    """A seeded generator of the device's."""
    return torch.Generator(DEVICE).manual_seed(seed)


def noise_state() -> Tensor:
    """The state of the device's default generator."""
    return torch.cuda.get_rng_state(DEVICE) if DEVICE.type == "cuda" else torch.get_rng_state()


def set_noise(state: Tensor) -> None:
    """Put the device's default generator into a state of `noise_state`."""
    if DEVICE.type == "cuda":
        torch.cuda.set_rng_state(state, DEVICE)
    else:
        torch.set_rng_state(state)


def same(left: Tensor, right: Tensor, tolerance: float | None = None) -> bool:
    """Whether two computations have one result: bit by bit on the CPU (a NaN is none), elsewhere
    but for rounding; `tolerance` is in place of `ROUNDING` there."""
    if exact():
        return torch.equal(left, right)
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    if not left.is_floating_point() or not left.numel():
        return torch.equal(left, right)
    share = ROUNDING[left.dtype] if tolerance is None else tolerance
    finite = left.double()[left.isfinite()].abs()
    scale = float(finite.max()) if finite.numel() else 0.0
    return torch.allclose(left.double(), right.double(), rtol=0, atol=share * scale, equal_nan=True)


def differ_by(left: Tensor, right: Tensor) -> str:
    """By how much two tensors differ, in words for an assertion."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return f"{left.dtype} {[*left.shape]} is not {right.dtype} {[*right.shape]}"
    gaps = (left.double() - right.double()).abs().nan_to_num(nan=0.0)
    scale = float(right.double().nan_to_num(nan=0.0).abs().max()) if right.numel() else 0.0
    worst = float(gaps.max()) if gaps.numel() else 0.0
    lost = [int((~each.isfinite()).sum()) for each in (left, right)]
    return (
        f"{left.dtype} {[*left.shape]}: off by at most {worst:.3g}, {worst / (scale or 1.0):.2g} "
        f"of the largest entry, {scale:.3g}; {lost[0]} and {lost[1]} entries are not finite"
    )


def find_chance(names: Iterable[str]) -> set[str]:
    """Of the names of a model's tensors those that are chance where rounding differs: of a bias
    before batch norm, in one chain with it (`body.0`, `body.1`) or in another (`convolutions.0`,
    `norms.0`), and of the running mean that follows it."""
    if exact():
        return set()
    known, found = set(names), set[str]()
    for mean in known:
        chain, _, last = mean.removesuffix(".running_mean").rpartition(".")
        if mean.endswith(".running_mean") and last.isdigit():
            bias = (
                f"convolutions.{last}.bias" if chain == "norms" else f"{chain}.{int(last) - 1}.bias"
            )
            found |= {bias, mean} if bias in known else set()
    return found


def same_numbers(found: object, expected: object) -> bool:
    """Whether numbers, or lists and mappings of them, are what one training ends with."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return found.keys() == expected.keys() and all(
            same_numbers(found[key], each) for key, each in expected.items()
        )
    if isinstance(expected, list | tuple) and isinstance(found, list | tuple):
        return len(found) == len(expected) and all(map(same_numbers, found, expected))
    if isinstance(expected, float) and isinstance(found, float):
        share = 0.0 if exact() else DRIFT
        return found == pytest.approx(expected, rel=share, abs=share, nan_ok=True)
    return found == expected


def assert_same_numbers(found: object, expected: object) -> None:
    if exact():
        np.testing.assert_equal(found, expected)
    assert same_numbers(found, expected), f"{found} is not {expected}"


def same_weights(found: bytes | None, expected: bytes | None) -> bool:
    """Whether weights, as trials hand them in, are what one training ends with."""
    if exact() or found is None or expected is None:
        return found == expected
    left, right = safetensors.torch.load(found), safetensors.torch.load(expected)
    return left.keys() == right.keys() and all(
        same(left[name], right[name], DRIFT) for name in left.keys() - find_chance(left)
    )


def assert_same_weights(found: bytes | None, expected: bytes | None) -> None:
    if same_weights(found, expected):
        return
    told = [f"{type(found).__name__} is not {type(expected).__name__}"]
    if found is not None and expected is not None:
        left, right = safetensors.torch.load(found), safetensors.torch.load(expected)
        told = [f"{sorted(left.keys() ^ right.keys())} are in one alone"]
        both = [name for name in left if name in right]
        told += [f"{name}: {differ_by(left[name], right[name])}" for name in both]
    raise AssertionError("the weights differ\n" + "\n".join(told))


def assert_same(found: Ended, expected: Ended) -> None:
    """Two endings of one trial. Where rounding drifts nothing is asked of the numbers of one that
    diverged: differences grow there without a bound, and with them the step it is seen at."""
    assert found.result.outcome is expected.result.outcome, found.result.traceback
    if not exact() and found.result.outcome is Outcome.DIVERGED:
        return
    assert_same_numbers(found.curve, expected.curve)
    assert_same_numbers(vars(found.records), vars(expected.records))
    assert_same_weights(found.weights, expected.weights)
    assert found.result.steps == expected.result.steps
    assert found.result.reason == expected.result.reason


def close(expected: object, rel: float = 1e-6) -> object:
    """As `pytest.approx`, elsewhere than on the CPU no closer than rounding allows."""
    return pytest.approx(expected, rel=rel if exact() else max(rel, ROUNDING[torch.float32]))
