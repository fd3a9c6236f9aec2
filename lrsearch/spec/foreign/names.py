"""What schedules, optimizers, losses, metrics, models and data are called elsewhere: torch, Keras,
Hugging Face, timm, scikit-learn. Each function gives the value that a spec takes, or None where
the name is none that is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from lrsearch import catalogue
from lrsearch.spec.foreign.ranges import is_numeric, lasting, number

NAME_KEYS = (
    "name", "type", "_target_", "target", "class", "class_name", "cls", "kind", "class_path",
    "fn", "function", "id", "algorithm", "_class", "_type", "object",
)  # fmt: skip
"""Keys that name code elsewhere."""

_CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def plain(name: Any) -> str:
    """A name without what writers differ in: `torch.optim.AdamW` and `adam_w` are adamw."""
    return re.sub(r"[^a-z0-9]", "", str(name).rpartition(".")[2].lower())


def snake(word: str) -> str:
    """A key as one would write it here: `maxEpochs`, `max-epochs` and `trainer.max_epochs` are
    max_epochs."""
    word = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word.rpartition(".")[2])
    return word.lower().replace("-", "_").replace("/", "_").replace(" ", "_")


def split(value: Any) -> tuple[str, dict[str, Any]]:
    """The name in a value and its arguments; "" where it has none."""
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, Mapping):
        return "", {}
    for key in NAME_KEYS:
        if isinstance(value.get(key), str):
            rest = {name: part for name, part in value.items() if name != key}
            for inner in ("init_args", "params", "kwargs", "args", "parameters", "_args_"):
                if isinstance(rest.get(inner), Mapping):
                    rest |= dict(rest.pop(inner))
            return str(value[key]), rest
    return "", dict(value)


# optimizers

_OPTIMIZERS = {
    **{plain(name): name for name in catalogue.OPTIMIZERS},
    "momentum": "sgd", "sgdmomentum": "sgd", "sgdm": "sgd", "msgd": "sgd", "nesterov": "sgd",
    "adamhf": "adamw", "adamwhf": "adamw", "adamwtorch": "adamw", "adamwtorchfused": "adamw",
    "adamwtorchxla": "adamw", "adamwapexfused": "adamw", "adamwanyprecision": "adamw",
    "adamwbnb8bit": "adamw", "adamw8bit": "adamw", "pagedadamw": "adamw", "fusedadam": "adam",
    "pagedadamw8bit": "adamw", "adam8bit": "adam", "fusedadamw": "adamw", "fusedsgd": "sgd",
    "stochasticgradientdescent": "sgd", "rms": "rmsprop", "rmsproptf": "rmsprop",
    "sgdschedulefree": "schedule_free_sgd", "schedulefreeadam": "schedule_free_adamw",
    "adamwschedulefree": "schedule_free_adamw", "schedulefree": "schedule_free_adamw",
    "nadamw": "nadam", "lion8bit": "lion", "lionw": "lion", "pagedlion8bit": "lion",
    "adafactortorch": "adafactor",
}  # fmt: skip

_ARGUMENTS = {
    "epsilon": "eps", "adam_epsilon": "eps", "adam_eps": "eps", "beta_1": "beta1",
    "beta_2": "beta2", "adam_beta1": "beta1", "adam_beta2": "beta2", "wd": "weight_decay",
    "decay": "weight_decay", "l2": "weight_decay", "l2_penalty": "weight_decay",
    "weightdecay": "weight_decay", "beta": "momentum", "mom": "momentum", "mu": "momentum",
    "decoupled_weight_decay": "decoupled", "momentum_decay": "momentum_decay",
}  # fmt: skip


def optimizer(value: Any) -> Any:
    """The optimizer of a name, or of a mapping with arguments, without its learning rate."""
    name, given = split(value)
    own = name if name in catalogue.OPTIMIZERS else _OPTIMIZERS.get(plain(name))
    if own is None:
        return None
    found: dict[str, Any] = {}
    if plain(name) == "nesterov":
        found = {"momentum": 0.9, "nesterov": True}
    if plain(name) in ("momentum", "sgdmomentum", "sgdm"):
        found = {"momentum": 0.9}
    if given.pop("amsgrad", False) is True and own == "adam":
        own = "amsgrad"
    known = catalogue.OPTIMIZERS[own].parameters
    for key, part in given.items():
        word = _ARGUMENTS.get(snake(key), snake(key))
        if word in ("betas", "adam_betas", "beta") and isinstance(part, list | tuple):
            found |= dict(zip(("beta1", "beta2"), part, strict=False))
        elif key in known:
            found[key] = part
        elif word in known:
            found[word] = number(part)
    found = {key: part for key, part in found.items() if key in known}
    return {"name": own, **found} if found else own


_BESIDE = (
    "lr", "params", "fused", "foreach", "capturable", "differentiable", "maximize", "amsgrad",
    "learning_rate", "betas", "adam_betas", "beta", "name", "initial_lr",
)  # fmt: skip


def without_place(value: Any) -> list[str]:
    """The arguments of an optimizer's mapping that the optimizer does not take here."""
    name, given = split(value)
    own = name if name in catalogue.OPTIMIZERS else _OPTIMIZERS.get(plain(name))
    known = catalogue.OPTIMIZERS[own].parameters if own else {}
    taken = {*known, *_BESIDE}
    words = {key: _ARGUMENTS.get(snake(key), snake(key)) for key in given}
    return [key for key, word in words.items() if not taken & {key, word}] if own else []


# schedules

_SCHEDULES = {
    **{plain(name): name for name in catalogue.SCHEDULES},
    # torch.optim.lr_scheduler
    "linearlr": "linear", "polynomiallr": "polynomial", "cosineannealinglr": "cosine",
    "exponentiallr": "exponential", "steplr": "step", "multisteplr": "multistep",
    "onecyclelr": "one_cycle", "cosineannealingwarmrestarts": "cosine_restarts",
    "cycliclr": "triangular", "reducelronplateau": "plateau", "constantlr": "piecewise",
    "sequentiallr": "cosine", "chainedscheduler": "cosine", "lambdalr": "own",
    "multiplicativelr": "own", "warmuplr": "constant",
    # transformers
    "cosinewithrestarts": "cosine_restarts", "constantwithwarmup": "constant",
    "reducelronplateauhf": "plateau", "cosinewithminlr": "cosine",
    "cosinewarmupwithminlr": "cosine", "warmupstabledecay": "wsd", "greedy": "plateau",
    "linearwithwarmup": "linear", "cosinewithwarmup": "cosine", "polynomialdecay": "polynomial",
    "cosinewithhardrestarts": "cosine_restarts", "polynomialdecaywithwarmup": "polynomial",
    "cosinewithhardrestartswithwarmup": "cosine_restarts", "inversesqrtwithwarmup": "inverse_sqrt",
    "wsdwithwarmup": "wsd",
    # keras
    "exponentialdecay": "exponential", "piecewiseconstantdecay": "piecewise",
    "inversetimedecay": "inverse_time", "cosinedecay": "cosine",
    "cosinedecayrestarts": "cosine_restarts", "learningratescheduler": "own",
    "cosinedecaywithwarmup": "cosine",
    # timm
    "cosinelrscheduler": "cosine", "tanhlrscheduler": "tanh", "steplrscheduler": "step",
    "multisteplrscheduler": "multistep", "plateaulrscheduler": "plateau",
    "polylrscheduler": "polynomial", "poly": "polynomial",
    # fastai, fairseq, optax and habits
    "fitonecycle": "one_cycle", "1cycle": "one_cycle", "flatcos": "wsd", "fitflatcos": "wsd",
    "flatcosanneal": "wsd", "noam": "inverse_sqrt", "noamlr": "inverse_sqrt",
    "cosineannealing": "cosine", "cosineanneal": "cosine", "cos": "cosine", "cosinelr": "cosine",
    "cosinewarmup": "cosine", "warmupcosine": "cosine", "warmupcosinedecay": "cosine",
    "linearwarmupcosinedecay": "cosine", "linearwarmupcosineannealing": "cosine",
    "linearwarmupcosineannealinglr": "cosine", "halfcosine": "cosine", "warmuplinear": "linear",
    "lineardecay": "linear", "linearwarmup": "linear", "linearannealing": "linear",
    "warmupconstant": "constant", "exp": "exponential", "exponentialannealing": "exponential",
    "trapezoidal": "wsd", "trapezoid": "wsd", "warmupstabledecaylr": "wsd", "none": "constant",
    "fixed": "constant", "const": "constant", "constantschedule": "constant", "no": "constant",
    "sgdr": "cosine_restarts", "warmrestarts": "cosine_restarts", "cyclic": "triangular",
    "cyclical": "triangular", "clr": "triangular", "stepdecay": "step", "steps": "step",
    "reduceonplateau": "plateau", "rlrop": "plateau", "lronplateau": "plateau",
    "invsqrt": "inverse_sqrt", "rsqrt": "inverse_sqrt", "superconvergence": "one_cycle",
    "multisteps": "multistep",
}  # fmt: skip

_KERAS = (
    "exponentialdecay", "piecewiseconstantdecay", "polynomialdecay", "inversetimedecay",
    "cosinedecay", "cosinedecayrestarts",
)  # fmt: skip
"""Whose lengths are steps."""

_EVERY = ("step_size", "decay_t", "decay_steps", "decay_epochs", "every", "lr_step_size", "period")
_FINAL = ("alpha", "min_lr_rate", "min_lr_ratio", "final_ratio", "lr_min_ratio", "final_lr_ratio")
_LOWEST = ("eta_min", "min_lr", "lr_min", "lr_end", "end_learning_rate", "final_lr", "end_lr")
"""Absolute rates, which `final` is the share of the base rate of."""

Convert = Callable[[Any, str], Any]


def _length(value: Any, unit: str) -> Any:
    found = lasting(value, unit)
    return value if found is None else found


def _lengths(value: Any, unit: str) -> Any:
    return [_length(part, unit) for part in value] if isinstance(value, list) else value


def _unit(key: str, *, steps: bool) -> str:
    """The unit of a length of a schedule: the word's own, or that of the tool, which counts
    `steps`, or calls of its scheduler, of which there is one an epoch."""
    if "epoch" in key:
        return "ep"
    # CyclicLR is stepped by batches, and what is named by steps or updates counts these.
    named = ("step_size_up", "boundaries", "timescale")
    return "ba" if steps or key in named or key.endswith(("_steps", "_updates", "_iters")) else "ep"


def _as_is(value: Any, unit: str) -> Any:
    return number(value)


def _anneal(value: Any, unit: str) -> Any:
    return value


_CONVERTED: dict[str, dict[str, tuple[str, Convert]]] = {
    "polynomial": {"power": ("power", _as_is)},
    "step": {
        **dict.fromkeys(_EVERY, ("every", _length)),
        "decay_rate": ("gamma", _as_is), "factor": ("gamma", _as_is),
    },
    "multistep": {
        **dict.fromkeys(("milestones", "decay_milestones", "steps", "lr_steps", "decay_t"),
                        ("milestones", _lengths)),
        "decay_rate": ("gamma", _as_is), "factor": ("gamma", _as_is),
    },
    "exponential": {
        **dict.fromkeys(_EVERY, ("every", _length)), "decay_rate": ("gamma", _as_is),
    },
    "inverse_time": {
        **dict.fromkeys(_EVERY, ("every", _length)), "decay_rate": ("rate", _as_is),
    },
    "cosine_restarts": {
        **dict.fromkeys(("t_0", "first_decay_steps", "t_initial"), ("first", _length)),
        **dict.fromkeys(("t_mult", "t_mul", "cycle_mul"), ("mult", _as_is)),
        **dict.fromkeys(("m_mul", "cycle_decay"), ("peak_decay", _as_is)),
        **dict.fromkeys(("num_cycles", "cycle_limit"), ("cycles", _as_is)),
    },
    "one_cycle": {
        "div_factor": ("div", _as_is), "final_div_factor": ("final_div", _as_is),
        "anneal_strategy": ("anneal", _anneal),
    },
    "triangular": {"step_size_up": ("half", _length)},
    "triangular2": {"step_size_up": ("half", _length)},
    "exp_range": {"step_size_up": ("half", _length)},
    "plateau": {
        "patience": ("patience", _length), "patience_t": ("patience", _length),
        "cooldown": ("cooldown", _length), "cooldown_t": ("cooldown", _length),
        "decay_rate": ("factor", _as_is), "min_delta": ("threshold", _as_is),
    },
    "wsd": {
        "num_decay_steps": ("decay", _length), "decay_steps": ("decay", _length),
    },
    "inverse_sqrt": {"timescale": ("timescale", _length)},
}  # fmt: skip

_WARMUPS = ("num_warmup_steps", "warmup_steps", "warmup_t", "warmup_epochs", "warmup_iters")


_SAID = (
    "t_max", "max_iters", "max_steps", "total_steps", "total_iters", "num_training_steps",
    "t_initial", "decay_steps", "last_epoch", "verbose", "max_lr", "initial_learning_rate",
    "lr", "learning_rate", "base_lr", "optimizer", "mode", "epochs", "steps_per_epoch",
    "staircase", "warmup_lr_init", "warmup_prefix", "warmup_start_lr", "cycle",
    "cycle_momentum", "boundaries", "values", "factor", "warmup", "t_in_epochs", "decay_type",
    "monitor", "metric_name", "interval", "frequency",
    *_WARMUPS,
)  # fmt: skip
"""Arguments that are said elsewhere, follow from the budget, or have nothing to say here."""


def left_out(value: Any, lr: Any = None) -> str:
    """What of a schedule's arguments `schedule` has no place for, in words; "" where nothing."""
    found = _schedule(value, lr)
    if found is None or not found[2]:
        return ""
    absolute = [key for key in found[2] if snake(key) in _LOWEST]
    if absolute:
        share = "min" if split(found[0])[0] == "plateau" else "final"
        return f"{absolute[0]} is a share of lr here: add {share} to it"
    return f"{', '.join(found[2])} is not in it"


def schedule(value: Any, lr: Any = None) -> tuple[Any, Any] | None:
    """The schedule of a name, or of a mapping with arguments, and the warmup that came with it,
    None where there was none. `lr` is the base rate, where it is one number: what is absolute
    elsewhere is a ratio of it here."""
    found = _schedule(value, lr)
    return None if found is None else found[:2]


def _schedule(value: Any, lr: Any) -> tuple[Any, Any, list[str]] | None:
    """`schedule`, and the arguments that are in neither."""
    name, given = split(value)
    word = plain(name)
    if word.startswith("get"):  # transformers: get_cosine_schedule_with_warmup
        word = word.removeprefix("get").replace("schedule", "").removesuffix("lr") or word
    own = name if name in catalogue.SCHEDULES else _SCHEDULES.get(word)
    if own is None:
        return None
    if own == "own":
        return {"class_path": "my_module.decay"}, None, []
    steps = word in _KERAS
    words = {snake(key): part for key, part in given.items()}
    mode = words.get("mode")
    if own == "triangular" and mode in ("triangular2", "exp_range"):
        own = mode
    if word == "exponentialdecay" and words.get("staircase") is True:
        own = "step"
    found: dict[str, Any] = {}
    left: list[str] = []
    known = catalogue.SCHEDULES[own].parameters
    for key, part in given.items():
        if key in known and own == name:
            # lrsearch's own argument of lrsearch's own schedule.
            found[key] = _length(part, "ep") if known[key].kind == "duration" else part
            continue
        argument, convert = _CONVERTED.get(own, {}).get(snake(key), (snake(key), _as_is))
        if argument in known and argument not in found:
            found[argument] = convert(part, _unit(snake(key), steps=steps))
        elif argument not in known and snake(key) not in _SAID:
            left.append(key)
    lowest = "final" if "final" in known else "min" if own == "plateau" else ""
    for key in (*_FINAL, *_LOWEST) if lowest and lowest not in found else ():
        low = number(words.get(key))
        if not is_numeric(low):
            continue
        share = low if key in _FINAL else low / lr if is_numeric(lr) and lr else 0
        if share > 0:
            found[lowest] = float(f"{share:.6g}")
        if share > 0 or low == 0:
            left = [each for each in left if snake(each) != key]
        break
    if own == "linear" and number(words.get("start_factor", 1)) == 1 and "final" not in found:
        end = number(words.get("end_factor"))
        if is_numeric(end) and 0 <= end <= 1:
            found["final"] = end
            left = [each for each in left if snake(each) not in ("end_factor", "start_factor")]
    low, high = number(words.get("base_lr")), number(words.get("max_lr", lr))
    if "base" in known and is_numeric(low) and is_numeric(high) and 0 < low < high:
        found["base"] = float(f"{low / high:.6g}")
    warmup: Any = None
    for key in _WARMUPS:
        if isinstance(words.get(key), int) and words[key] > 0:
            warmup = f"{words[key]}{_unit('epochs' if key == 'warmup_t' else key, steps=steps)}"
    if warmup is None and (word in ("sequentiallr", "chainedscheduler") or "warmup" in word):
        warmup = "0.05dur" if word != "warmupstabledecay" else None
    found = _finish(own, word, words, found)
    return ({"name": own, **found} if found else own), warmup, left


def _finish(own: str, word: str, words: Mapping[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What a conversion of single arguments does not give."""
    if own == "piecewise" and "points" not in found:
        bounds, values = (
            [number(part) for part in given] if isinstance(given := words.get(key), list) else []
            for key in ("boundaries", "values")
        )
        points: list[Any] = [["0ba", 0.3333], ["5ba", 1]]
        if word != "constantlr":
            points = [["0.5dur", 0.1]]
        factor, total = number(words.get("factor", 1 / 3)), number(words.get("total_iters", 5))
        if values and all(map(is_numeric, (*bounds, *values))) and values[0]:
            # Keras still has the old value at a boundary.
            moments = [f"{bound + 1:g}ba" for bound in bounds]
            ratios = [float(f"{value / values[0]:.6g}") for value in values[1:]]
            points = [list(pair) for pair in zip(moments, ratios, strict=False)]
        elif {"factor", "total_iters"} & {*words} and is_numeric(factor) and is_numeric(total):
            points = [["0ba", float(f"{factor:.4g}")], [f"{total:g}ep", 1]]
        found = {"points": points}
    if own == "exponential" and "gamma" in words and "every" not in found:
        found["every"] = "1ep"
    if own == "wsd" and word == "flatcos":
        found.setdefault("shape", "cosine")
    if own == "wsd" and words.get("decay_type") in ("1-sqrt", "cosine", "linear"):
        found["shape"] = str(words["decay_type"]).removeprefix("1-")
    if own == "plateau" and word != own:
        if word == "greedy":
            found["rises"] = True
        if "min_delta" in words:
            found["threshold_mode"] = "abs"
        found = {key: part for key, part in found.items() if key != "max"}
    if own == "plateau":
        followed = words.get("metric", words.get("monitor", words.get("metric_name")))
        if followed is not None:
            found["metric"] = metric(followed) or followed
    if own == "tanh" and word == "tanhlrscheduler":
        found = {key: part for key, part in found.items() if key in ("lower", "upper", "final")}
    if found.get("anneal") == "cosine":
        found["anneal"] = "cos"
    return found


# losses and metrics

_LOSSES = {
    "crossentropyloss": "cross_entropy", "crossentropy": "cross_entropy", "ce": "cross_entropy",
    "xent": "cross_entropy", "celoss": "cross_entropy", "softmaxcrossentropy": "cross_entropy",
    "categoricalcrossentropy": "cross_entropy", "sparsecategoricalcrossentropy": "cross_entropy",
    "mseloss": "mse", "meansquarederror": "mse", "l2": "mse", "l2loss": "mse",
    "squarederror": "mse", "l1": "mae", "l1loss": "mae", "maeloss": "mae",
    "meanabsoluteerror": "mae", "huberloss": "huber", "smoothl1": "huber", "smoothl1loss": "huber",
    "nll": "cross_entropy", "logloss": "cross_entropy",
}  # fmt: skip


def loss(value: Any) -> Any:
    """The loss of a name: a built-in, or a class of torch.nn by its class path."""
    name, given = split(value)
    smoothing = set(given) & {"weight", "ignore_index", "reduction", "label_smoothing"}
    if plain(name) in catalogue.LOSSES and name not in catalogue.LOSSES:
        return plain(name)
    if plain(name) in _LOSSES and not smoothing:
        return _LOSSES[plain(name)]
    if re.fullmatch(r"(nn\.)?[A-Z]\w*Loss", name):
        path = f"torch.nn.{name.rpartition('.')[2]}"
        return {"class_path": path, "init_args": given} if given else path
    return None


_METRICS = {
    "acc": "accuracy", "top1": "accuracy", "acc1": "accuracy", "top1acc": "accuracy",
    "categoricalaccuracy": "accuracy", "sparsecategoricalaccuracy": "accuracy",
    "binaryaccuracy": "accuracy", "accuracyscore": "accuracy", "accuracytop1": "accuracy",
    "multiclassaccuracy": "accuracy", "top1accuracy": "accuracy",
    "f1score": "f1", "macrof1": "f1", "f1macro": "f1", "multiclassf1score": "f1",
    "rootmeansquarederror": "rmse", "meanabsoluteerror": "mae", "l1": "mae", "r2score": "r2",
    "rsquared": "r2", "crossentropy": "loss", "logloss": "loss", "nll": "loss", "bestloss": "loss",
    "negrootmeansquarederror": "rmse", "negmeanabsoluteerror": "mae", "losses": "loss",
    "neglogloss": "loss", "objective": "loss", "meansquarederror": "rmse", "mse": "rmse",
    "negmeansquarederror": "rmse",
}  # fmt: skip


def metric(value: Any) -> str | None:
    """The metric of a name, `val_acc`, `eval/accuracy` or `Accuracy`."""
    if not isinstance(value, str):
        return None
    word = plain(value.replace("/", "_").replace(" ", "_"))
    for prefix in ("validation", "valid", "val", "eval", "test", "dev"):
        if word != prefix and word.startswith(prefix):
            word = word.removeprefix(prefix)
            break
    found = _METRICS.get(word, word)
    return found if found in catalogue.METRICS else None


GOALS = {
    **dict.fromkeys(("max", "maximize", "maximise", "maximum", "higher", "greater", "up",
                     "maximization", "descending", "desc", "larger", "increase"), "max"),
    **dict.fromkeys(("min", "minimize", "minimise", "minimum", "lower", "less", "down",
                     "minimization", "ascending", "asc", "smaller", "decrease"), "min"),
}  # fmt: skip


def goal(value: Any) -> str | None:
    """min or max of `maximize`, `minimise`, or of true for `greater_is_better`."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool):
        return "max" if value else "min"
    return GOALS.get(str(value).lower().rpartition(".")[2])


_TRANSFORMS = {
    "randomhorizontalflip": "flip", "horizontalflip": "flip", "hflip": "flip",
    "randomflip": "flip", "fliplr": "flip", "randomcrop": "random_crop", "crop": "random_crop",
    "gaussiannoise": "noise", "gaussnoise": "noise", "addnoise": "noise",
    **{plain(name): name for name in catalogue.TRANSFORMS},
}  # fmt: skip


def transform(value: Any) -> Any:
    """The transform of a name of torchvision's or Albumentations'."""
    name, given = split(value)
    own = name if name in catalogue.TRANSFORMS else _TRANSFORMS.get(plain(name))
    if own is None:
        return None
    words = {"sigma": "std", "scale": "std", "prob": "p"}
    found = {words.get(snake(key), snake(key)): part for key, part in given.items()}
    known = catalogue.TRANSFORMS[own].parameters
    found = {key: number(part) for key, part in found.items() if key in known}
    needed: dict[str, dict[str, Any]] = {"random_crop": {"padding": 4}, "noise": {"std": 0.1}}
    found = {**needed.get(own, {}), **found}
    return {"name": own, **found} if found else own


# models and data

_TORCHVISION = re.compile(
    r"(resnet|wide_resnet|resnext|vgg|densenet|mobilenet_v|efficientnet_|squeezenet|regnet_|swin_|"
    r"vit_|convnext_|googlenet|alexnet|inception_v|shufflenet_|mnasnet|maxvit_)[\w]*"
)
_MODELS = {
    "linear": "logistic", "logisticregression": "logistic", "linearregression": "logistic",
    "softmax": "logistic", "dnn": "mlp", "ffn": "mlp", "feedforward": "mlp", "fc": "mlp",
    "dense": "mlp", "multilayerperceptron": "mlp", "mlpclassifier": "mlp", "mlpregressor": "mlp",
    "convnet": "cnn", "lenet": "cnn", "simplecnn": "cnn", "conv": "cnn", "gpt": "char_transformer",
    "nanogpt": "char_transformer", "transformer": "char_transformer", "mlp": "mlp", "cnn": "cnn",
    "logistic": "logistic", "resnet": "resnet", "chartransformer": "char_transformer",
}  # fmt: skip


MODEL_WORDS: dict[str, str] = {
    **dict.fromkeys(("hidden_size", "hidden_sizes", "hidden_dims", "hidden_dim", "units",
                     "n_units", "hidden_layers", "hidden_layer_sizes", "layer_sizes",
                     "hidden_units", "widths"), "hidden"),
**dict.fromkeys(("act", "activation_fn", "nonlinearity", "activation_function"),
                    "activation"),
    **dict.fromkeys(("dropout_rate", "drop", "drop_rate", "dropout_p", "p"), "dropout"),
    **dict.fromkeys(("bn", "use_bn", "batchnorm", "use_batch_norm", "norm"),
                    "batch_norm"),
    **dict.fromkeys(("filters", "n_filters", "num_filters"), "channels"),
    **dict.fromkeys(("num_layers", "n_layers", "n_layer", "depth"), "layers"),
    **dict.fromkeys(("num_heads", "n_heads", "n_head", "nhead"), "heads"),
    **dict.fromkeys(("d_model", "n_embd", "embed_dim", "embedding_dim"), "width"),
}  # fmt: skip
"""Arguments of the built-in models by other words."""


def model(value: Any) -> Any:
    """The model of a class path, a class of torch.nn or torchvision, or another word for a
    built-in one."""
    name, given = split(value)
    if not name:
        return None
    given.pop("pretrained", None) if given.get("pretrained") is False else None
    if _CLASS_PATH.fullmatch(name):
        path = f"torch.{name}" if name.startswith("nn.") else name
        return {"class_path": path, "init_args": given} if given else {"class_path": path}
    own = _MODELS.get(plain(name))
    if own is not None:
        known = catalogue.MODELS[own].parameters
        kept: dict[str, Any] = {}
        for key, part in given.items():
            word = key if key in known else MODEL_WORDS.get(snake(key), "")
            if word in known:
                whole = known[word].kind == "ints" and type(part) is int
                named = word == "activation" and isinstance(part, str)
                kept[word] = [part] if whole else plain(part) if named else part
        return {"name": own, **kept} if kept else own
    if _TORCHVISION.fullmatch(name):
        path = f"torchvision.models.{name}"
        return {"class_path": path, "init_args": given} if given else {"class_path": path}
    return None


_KINDS = {
    ".csv": "csv", ".tsv": "csv", ".npz": "npz", ".parquet": "parquet", ".pq": "parquet",
    ".txt": "text", ".text": "text",
}  # fmt: skip
_DATA = {
    **{plain(name): name for name in catalogue.DATA},
    **{f"load{plain(name)}": name for name in ("digits", "breast_cancer", "wine", "iris")},
    "loaddiabetes": "diabetes", "imagefolder": "images", "tabular": "csv", "table": "csv",
    "numpy": "npz", "np": "npz", "image": "images", "folder": "images", "img": "images",
    "cancer": "breast_cancer", "shakespeare": "text",
}  # fmt: skip
SOURCES = (
    "path", "file", "dir", "root", "folder", "filename", "file_path", "filepath", "data_path",
    "data_dir", "data_file", "csv_file", "csv_path", "csv", "train_file", "train_path", "location",
    "directory", "url", "uri", "data_files", "dataset_path", "root_dir", "image_dir", "npz_file",
    "src", "input", "data_root", "train", "training", "train_dir", "dataroot", "fname",
)  # fmt: skip
TARGETS = (
    "label", "labels", "target_column", "label_column", "target_col", "label_col", "y",
    "target_name", "target_variable", "outcome", "response", "class_column", "predict",
)  # fmt: skip
COLUMN = "column_to_predict"


def data(value: Any) -> Any:
    """The data of a file's or a folder's name, of a class path, or of another word for built-in
    ones. A table's target is whatever the user's file calls it."""
    if isinstance(value, Mapping):
        words = {snake(str(key)): part for key, part in value.items()}
        path = next((words[key] for key in (*SOURCES, "source") if key in words), None)
        name, _ = split(value)
        if name and _CLASS_PATH.fullmatch(name) and _kind(name) is None:
            rest = split(value)[1]
            return {"class_path": name, "init_args": rest} if rest else {"class_path": name}
        kind = _DATA.get(plain(name)) if name else None
        if isinstance(path, str):
            folders = {"dir", "root", "folder", "directory", "data_dir", "image_dir", "root_dir"}
            kind = kind or _kind(path) or ("images" if folders & set(words) else None)
            found = {"name": kind, "source": path} if kind else None
            if found and kind in ("csv", "parquet"):
                named = ("target", *TARGETS)
                found["target"] = next((words[key] for key in named if key in words), COLUMN)
            return found
        return kind
    if not isinstance(value, str) or value in catalogue.DATA:
        return None
    kind = _kind(value)
    if kind is not None:
        target = {"target": COLUMN} if kind in ("csv", "parquet") else {}
        return {"name": kind, "source": value, **target}
    if value.startswith("sklearn.") or plain(value) in _DATA:
        return _DATA.get(plain(value))
    if _CLASS_PATH.fullmatch(value):
        return {"class_path": value}
    return {"name": "images", "source": value} if "/" in value else None


def _kind(path: str) -> str | None:
    """The built-in source that reads a file of that name."""
    return _KINDS.get(PurePosixPath(path).suffix.lower())
