"""An optimizer of the catalogue as the line of code that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrsearch.reports.code.schedule import number, write_import
from lrsearch.space import is_number

_TORCH = {
    "sgd": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
    "amsgrad": "Adam",
    "nadam": "NAdam",
    "radam": "RAdam",
    "adamax": "Adamax",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "adafactor": "Adafactor",
}
"""Our name -> the class of torch.optim."""

_PACKAGES = {
    "lion": ("lion_pytorch", "Lion"),
    "schedule_free_sgd": ("schedulefree", "SGDScheduleFree"),
    "schedule_free_adamw": ("schedulefree", "AdamWScheduleFree"),
    "prodigy": ("prodigyopt", "Prodigy"),
}
"""Our name -> the package and class of its authors, or of a form that is equal to ours."""

_KERAS = {
    "sgd": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
    "lion": "Lion",
}


def write_torch(optimizer: Mapping[str, Any]) -> tuple[list[str], str]:
    """The imports of an optimizer, and the call that makes it over `parameters` at LR; the call is
    "" where it is no one class, as of muon, which is two."""
    name = optimizer.get("name")
    if name is None:
        path = str(optimizer["class_path"])
        given = _arguments(optimizer.get("init_args") or {})
        lines = write_import(path)
        return (
            (lines, f"{path.rpartition('.')[2]}(parameters, lr=LR{given})") if lines else ([], "")
        )
    arguments = {key: value for key, value in optimizer.items() if key != "name"}
    if "beta1" in arguments:
        arguments["betas"] = (arguments.pop("beta1"), arguments.pop("beta2"))
    if name == "sgd":  # torch refuses Nesterov's momentum without a momentum.
        arguments["nesterov"] = arguments["nesterov"] and arguments["momentum"] > 0
        arguments = {key: value for key, value in arguments.items() if value}  # As torch's own are.
    if name == "amsgrad":
        arguments["amsgrad"] = True
    if "decoupled" in arguments and name in ("nadam", "radam"):
        arguments["decoupled_weight_decay"] = arguments.pop("decoupled")
    if name == "adafactor":
        arguments["eps"] = (arguments.pop("eps1"), arguments.pop("eps2"))
    if name == "prodigy":
        named = {"decoupled": "decouple", "bias_correction": "use_bias_correction"}
        present = {key: value for key, value in arguments.items() if value is not None}
        arguments = {named.get(key, key): value for key, value in present.items()}
    if name in _TORCH:
        return [], f"torch.optim.{_TORCH[name]}(parameters, lr=LR{_arguments(arguments)})"
    if name in _PACKAGES:
        package, kind = _PACKAGES[name]
        call = f"{kind}(parameters, lr=LR{_arguments(arguments)})"
        return [f"from {package} import {kind}  # pip install {package.replace('_', '-')}"], call
    return [], ""


def _arguments(arguments: Mapping[str, Any]) -> str:
    return "".join(f", {name}={_value(value)}" for name, value in arguments.items())


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_value, value))})"
    if is_number(value):
        return number(value)
    return repr(value)


def write_keras(optimizer: Mapping[str, Any]) -> str:
    """The call that makes Keras's optimizer of the same rule, at `learning_rate=Rate()`; "" where
    Keras has none, or one that differs."""
    name = str(optimizer.get("name"))
    if name not in _KERAS:
        return ""
    given: dict[str, Any] = {}
    if name in ("adam", "adamw", "lion"):
        given = {"beta_1": optimizer["beta1"], "beta_2": optimizer["beta2"]}
    if name == "sgd":
        if optimizer["dampening"]:
            return ""
        given = {"momentum": optimizer["momentum"], "nesterov": optimizer["nesterov"]}
        given["nesterov"] = given["nesterov"] and given["momentum"] > 0
    if name == "rmsprop":
        given = {"rho": optimizer["alpha"], "momentum": optimizer["momentum"]}
        given["centered"] = optimizer["centered"]
    if name == "adagrad":
        if optimizer["lr_decay"]:
            return ""
        given["initial_accumulator_value"] = 0.0  # Keras begins at 0.1.
    if name != "lion":
        given |= {"epsilon": optimizer["eps"]} if "eps" in optimizer else {}
    if name in ("adamw", "lion"):
        given["weight_decay"] = optimizer["weight_decay"]
    # Keras refuses a whole number for a momentum.
    told = "".join(f", {key}={value!r}" for key, value in given.items())
    return f"keras.optimizers.{_KERAS[name]}(learning_rate=Rate(){told})"


def untold(optimizer: Mapping[str, Any]) -> bool:
    """Whether Keras's call leaves a weight decay out: Keras decouples it from the gradient, and
    this optimizer adds it."""
    name = optimizer.get("name")
    return name not in ("adamw", "lion") and bool(optimizer.get("weight_decay"))
