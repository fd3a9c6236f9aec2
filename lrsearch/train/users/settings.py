"""Settings of a process that a user's code may change, as torch's default type: how each is read,
and set again."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.backends import cuda, cudnn, mkldnn
from torch.distributions import Distribution

_GENERAL = (("generic", "all"), ("cuda", "all"), ("mkldnn", "all"))
CUDNN = (("cuda", "conv"), ("cuda", "rnn"))
_PARTS = (*_GENERAL, ("cuda", "matmul"), ("mkldnn", "matmul"), *CUDNN,
          ("mkldnn", "conv"), ("mkldnn", "rnn"))  # fmt: skip
"""The parts of torch that may round float32, by torch's names; parts from which others take their
setting come first. `torch.backends.cudnn.rnn` itself becomes another module once a recurrent layer
was made."""

_warned: list[bool] = []


def precisions(*parts: tuple[str, str]) -> tuple[str, ...]:
    """The precision to which torch may round float32 in these parts: "ieee" for float32 itself,
    "tf32", "bf16", or "none" for the setting of all torch."""
    return tuple(torch._C._get_fp32_precision_getter(*each) for each in parts)


def set_precisions(given: dict[tuple[str, str], str]) -> None:
    """Set the precisions of `precisions`, those of cuDNN among them, where they are others."""
    # The older setting has to agree, or torch raises where user code reads it.
    _set_by_older_way({given[each] for each in CUDNN} == {"tf32"})
    for each, precision in given.items():
        if torch._C._get_fp32_precision_getter(*each) != precision:
            torch._C._set_fp32_precision_setter(*each, precision)


def _set_by_older_way(allowed: bool) -> None:
    if not _warned:  # The warning that it is the older setting, once a process.
        _warned.append(True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cudnn.allow_tf32 = allowed
    cudnn.allow_tf32 = allowed


def _read_rounding() -> tuple[str | None, tuple[str, ...]]:
    """The precision of products by torch's older setting, None where it contradicts the newer ones
    and torch refuses to tell it, and all the newer ones."""
    older = None
    with suppress(RuntimeError):
        older = torch.get_float32_matmul_precision()
    return older, precisions(*_PARTS)


def _set_rounding(before: tuple[str | None, tuple[str, ...]]) -> None:
    older, parts = before
    if older is not None:
        torch.set_float32_matmul_precision(older)  # It sets newer ones, too.
    set_precisions(dict(zip(_PARTS, parts, strict=True)))


def _set_device(device: torch.device) -> None:
    # The usual one without a number: with a device set, each call passes through a mode.
    torch.set_default_device(None if device == torch.device("cpu") else device)


def read_folder() -> str | None:
    """The current folder, or None where it was removed."""
    try:
        return os.getcwd()  # noqa: PTH109 (a third of the time)
    except OSError:  # It was removed.
        return None


def set_folder(folder: str | None) -> None:
    """Make a folder the current one; None is one that was removed."""
    if folder is not None and read_folder() != folder:
        os.chdir(folder)


def _read_environment() -> dict[str, str]:
    """The environment's variables, without those that libraries set once, at their import."""
    return {name: each for name, each in os.environ.items() if not name.startswith(_LIBRARIES)}


_LIBRARIES = ("TORCH", "PYTORCH", "TRITON", "CUBLAS", "CUDA", "CUDNN", "NCCL", "KMP", "OMP", "MKL")


def _set_environment(before: dict[str, str]) -> None:
    now = _read_environment()
    for name in now.keys() - before.keys():
        del os.environ[name]
    os.environ.update({name: each for name, each in before.items() if now.get(name) != each})


def _read_filters() -> list[Any]:
    """The filters of warnings, where one makes an error of a warning. Any others change what is
    shown alone, and libraries add some as they are imported."""
    strict = any(each[0] == "error" for each in warnings.filters)
    return list(warnings.filters) if strict else []


def _set_filters(before: list[Any]) -> None:
    # Empty is any list without errors.
    lenient = [each for each in warnings.filters if each[0] != "error"]
    warnings.filters[:] = before or lenient  # type: ignore[index]
    with warnings.catch_warnings():  # Python forgets what it had found by the others.
        pass


@dataclass(frozen=True)
class Setting:
    """One setting; `always` is what it is put back to, whatever it was when it was looked at."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    always: Any = None


def _flag(owner: Any, name: str) -> Setting:
    told = f"{owner.__name__}.{name}"
    return Setting(told, lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


def _switch(name: str, read: Callable[[], Any], write: Callable[[Any], object]) -> Setting:
    return Setting(f"torch.backends.cuda.{name}", read, write)


SETTINGS = (
    Setting("torch's default type", torch.get_default_dtype, torch.set_default_dtype),
    Setting("torch's default device", torch.get_default_device, _set_device),
    # No training works without: it is no setting for the whole of one, and a module of the user's
    # may be imported where an evaluation has it off.
    Setting("torch's grad mode", torch.is_grad_enabled, torch.set_grad_enabled, always=True),
    Setting("anomaly detection", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    Setting(
        "deterministic mode",
        torch.get_deterministic_debug_mode,
        torch.set_deterministic_debug_mode,
    ),
    Setting("torch's threads", torch.get_num_threads, torch.set_num_threads),
    Setting("float32's precision", _read_rounding, _set_rounding),
    *(_flag(cudnn, each) for each in ("enabled", "benchmark", "deterministic")),
    _flag(mkldnn, "enabled"),
    _switch("flash_sdp", cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
    _switch("mem_efficient_sdp", cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
    _switch("math_sdp", cuda.math_sdp_enabled, cuda.enable_math_sdp),
    _switch("cudnn_sdp", cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp),
    Setting(
        "the check of distributions",
        lambda: Distribution._validate_args,
        Distribution.set_default_validate_args,
    ),
    Setting("NumPy's errors", np.geterr, lambda before: np.seterr(**before)),
    Setting("the current folder", read_folder, set_folder),
    Setting("os.environ", _read_environment, _set_environment),
    Setting("the filters of warnings", _read_filters, _set_filters),
)
"""The settings that are put back before each trial. Not among them: printing options, and
`torch.set_flush_denormal`, which torch does not tell."""
