"""Optimizers, losses, metrics, transforms, models and data by their names elsewhere: torch, Keras,
Hugging Face, scikit-learn. Each function gives the value that a spec takes, or None for an unknown
name."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Container, Mapping
from pathlib import PurePosixPath
from typing import Any

from lrsearch import catalogue
from lrsearch.errors import is_slip
from lrsearch.spec.foreign.ranges import number

NAME_KEYS = (
    "name", "type", "_target_", "target", "class", "class_name", "cls", "kind", "class_path",
    "fn", "function", "id", "algorithm", "_class", "_type", "object",
)  # fmt: skip
"""Keys that name code elsewhere."""

CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def plain(name: Any) -> str:
    """A name without the differences of writing: `torch.optim.AdamW` and `adam_w` are adamw."""
    return re.sub(r"[^a-z0-9]", "", str(name).rpartition(".")[2].lower())


def snake(word: str) -> str:
    """A key in lrsearch's way of writing: `maxEpochs`, `max-epochs` and `trainer.max_epochs` are
    max_epochs."""
    word = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word.rpartition(".")[2])
    return word.lower().replace("-", "_").replace("/", "_").replace(" ", "_")


def split(value: Any) -> tuple[str, dict[str, Any]]:
    """The name in a value and its arguments; "" where it has none."""
    if isinstance(value, str):
        return _read_call(value)
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


def _read_call(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the arguments by name of a call, `SGD(momentum=0.9)`; any other text as it
    is."""
    if not re.fullmatch(r"[A-Za-z_][\w.]*\(.*\)", text.strip()):
        return text, {}
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call):  # f(1), g(2)
            return text, {}
        given = {part.arg: ast.literal_eval(part.value) for part in call.keywords if part.arg}
        json.dumps(given)  # What no spec can say, as {1, 2}, is a TypeError.
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return text, {}
    return ast.unparse(call.func), given


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
    "b1": "beta1", "b2": "beta2",
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
        if snake(key) in ("betas", "adam_betas", "beta") and (pair := read_betas(part)):
            found |= pair
        elif key in known:
            found[key] = part
        elif word in known:
            found[word] = number(part)
    found = {key: part for key, part in found.items() if key in known}
    return {"name": own, **found} if found else own


def read_betas(value: Any) -> dict[str, Any]:
    """The two decays that `betas` has, a list or a text such as (0.9, 0.99); empty for others."""
    if isinstance(value, str):
        value = [number(each) for each in value.strip("()[] ").split(",")]
    pair = value if isinstance(value, list | tuple) and len(value) == 2 else ()
    return dict(zip(("beta1", "beta2"), pair, strict=False))


_BESIDE = (
    "lr", "params", "fused", "foreach", "capturable", "differentiable", "maximize",
    "learning_rate", "betas", "adam_betas", "beta", "name", "initial_lr",
)  # fmt: skip


def without_place(value: Any) -> list[str]:
    """The arguments of an optimizer's mapping that the optimizer lacks here."""
    name, given = split(value)
    own = name if name in catalogue.OPTIMIZERS else _OPTIMIZERS.get(plain(name))
    known = catalogue.OPTIMIZERS[own].parameters if own else {}
    taken = {*known, *_BESIDE}
    if own == "adam" or given.get("amsgrad") is not True:
        taken.add("amsgrad")
    words = {key: _ARGUMENTS.get(snake(key), snake(key)) for key in given}
    return [key for key, word in words.items() if not taken & {key, word}] if own else []


# rules of early stopping

_RULES = {
    **{plain(name): name for name in catalogue.PRUNING},
    **dict.fromkeys(("medianpruner", "medianstopping", "medianstoppingrule"), "median"),
    **dict.fromkeys(("percentilepruner",), "percentile"),
    **dict.fromkeys(("hyperbandpruner", "hyperbandscheduler", "hyperbandforbohb"), "hyperband"),
    **dict.fromkeys(("successivehalving", "successivehalvingpruner", "ashascheduler", "sha",
                     "asynchyperband", "asynchyperbandscheduler"), "asha"),
    **dict.fromkeys(("nop", "noppruner", "fifo", "fifoscheduler", "off", "disabled"), "none"),
    **dict.fromkeys(("wilcoxonpruner",), "wilcoxon"),
    **dict.fromkeys(("halvinggridsearchcv", "halvingrandomsearchcv"), "halving"),
}  # fmt: skip
"""Rules by their names in Optuna, Ray Tune, W&B and scikit-learn."""

_RULE_WORDS = {
    "reduction_factor": "factor", "eta": "factor", "n_startup_trials": "startup",
    "min_samples_required": "startup", "s": "", "percentile": "",
}  # fmt: skip


def rule(value: Any) -> Any:
    """The rule of early stopping of a name, or of a mapping with arguments; those that it lacks
    here are left out. None where no rule is named."""
    name, given = split(value)
    own = _RULES.get(plain(name.partition("(")[0])) if name else None
    if own is None:
        return None
    known = catalogue.PRUNING[own].parameters
    words = {_RULE_WORDS.get(snake(key), snake(key)): number(part) for key, part in given.items()}
    found = {key: part for key, part in words.items() if key in known}
    share = number(given.get("percentile"))
    if own == "percentile" and isinstance(share, int | float) and 0 < share < 100:
        found["keep"] = share / 100  # Optuna's keeps so many percent, as this rule a share.
    return {"name": own, **found} if found else own


def lost(raw: Any, meant: Any) -> list[str]:
    """The arguments of a rule's mapping that the rule which it means lacks here."""
    kept = split(meant)[1]
    words = {key: _RULE_WORDS.get(snake(key), snake(key)) for key in split(raw)[1]}
    return [key for key, word in words.items() if word not in kept and word]


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
    if found in catalogue.METRICS:
        return found
    # minimize loss, best accuracy, min(loss)
    words = [part for part in re.findall(r"[\w/-]+", value) if goal(part) is None]
    words = [part for part in words if part.lower() not in ("best", "last")]
    return metric(words[0]) if len(words) == 1 and words[0] != value else None


GOALS = {
    **dict.fromkeys(("max", "maximize", "maximise", "maximum", "higher", "greater", "up",
                     "maximization", "descending", "desc", "larger", "increase"), "max"),
    **dict.fromkeys(("min", "minimize", "minimise", "minimum", "lower", "less", "down",
                     "minimization", "ascending", "asc", "smaller", "decrease"), "min"),
}  # fmt: skip


_SMALL = re.compile(r"loss|err|mse|mae|nll|perplexity|ppl", re.IGNORECASE)
"""Parts of names of metrics of which a small one is good."""


def usual_goals(metric: str) -> tuple[str, str]:
    """The two goals of a metric of somebody's own, the likelier one first."""
    return ("min", "max") if _SMALL.search(metric) else ("max", "min")


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
                     "hidden_units", "widths", "layers"), "hidden"),
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
"""Arguments of the built-in models, by other tools' words."""


def model(value: Any) -> Any:
    """The model of a class path, a class of torch.nn or torchvision, or another word for a
    built-in one."""
    name, given = split(value)
    if not name:
        return None
    given.pop("pretrained", None) if given.get("pretrained") is False else None
    if CLASS_PATH.fullmatch(name):
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
    if _TORCHVISION.fullmatch(name) and not any(is_slip(name, own) for own in catalogue.MODELS):
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

_BESIDE_DATA = ("validation", "test", *catalogue.SPLITTING, "transforms", *catalogue.IMPORTED)
"""Keys that stand beside a class path, and are none of its arguments."""


def data(value: Any) -> Any:
    """The data of a file's or a folder's name, of a class path, or of another word for built-in
    ones. A table's target is the column that the user names so."""
    if isinstance(value, Mapping):
        words = {snake(str(key)): part for key, part in value.items()}
        path = next((words[key] for key in (*SOURCES, "source") if key in words), None)
        name, _ = split(value)
        if name and CLASS_PATH.fullmatch(name) and _kind(name) is None:
            rest = split(value)[1]
            beside = {key: rest.pop(key) for key in _BESIDE_DATA if key in rest}
            own = {"class_path": name, "init_args": rest} if rest else {"class_path": name}
            return {**own, **beside}
        kind = _DATA.get(plain(name)) if name else None
        if path is None and name and _kind(name) is not None:  # {name: houses.csv, ...}
            kind, path = None, name
        if isinstance(path, str):
            folders = {"dir", "root", "folder", "directory", "data_dir", "image_dir", "root_dir"}
            kind = kind or _kind(path) or ("images" if folders & set(words) else None)
            found = {"name": kind, "source": path} if kind else None
            if found and kind in ("csv", "parquet"):
                named = ("target", *TARGETS)
                found["target"] = next((words[key] for key in named if key in words), COLUMN)
            if found is None or kind is None:
                return None
            return {**found, **_kept(kind, words, found)}
        kept = _kept(kind, words, ()) if kind else {}
        return {"name": kind, **kept} if kept else kind
    if not isinstance(value, str) or value in catalogue.DATA:
        return None
    kind = _kind(value)
    if kind is not None:
        target = {"target": COLUMN} if kind in ("csv", "parquet") else {}
        return {"name": kind, "source": value, **target}
    if value.startswith("sklearn.") or plain(value) in _DATA:
        return _DATA.get(plain(value))
    if CLASS_PATH.fullmatch(value):
        return {"class_path": value}
    return {"name": "images", "source": value} if "/" in value else None


def _kept(kind: str, words: Mapping[str, Any], told: Container[str]) -> dict[str, Any]:
    """The keys of data, in lrsearch's words, that a kind of data takes."""
    own = catalogue.DATA[kind].parameters
    alien = {*catalogue.IMPORTED} - {*own}
    taken = (*own, *(key for key in _BESIDE_DATA if key not in alien))
    return {key: words[key] for key in dict.fromkeys(taken) if key in words and key not in told}


def _kind(path: str) -> str | None:
    """The built-in source that reads a file of that name."""
    return _KINDS.get(PurePosixPath(path).suffix.lower())
