"""What a spec can name: every built-in, its parameters, their kinds, ranges and defaults.

One table serves the fixed values of a spec, its searched ranges, `--set`, the documentation and
the models' constructors, so that a value means the same wherever it stands. Free of torch; a
test holds it equal to the registries of `train` and `data`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "REQUIRED"})()
"""The default of a parameter that has none."""


@dataclass(frozen=True)
class Parameter:
    """One named value.

    `kind` is float, int, bool, text, duration, ints (a list of positive integers), path (of a
    file) or any (no check). `low` and `high` bound numbers, exclusively where `open_low` or
    `open_high`. `numeric` values may differ between lanes of one program.
    """

    kind: str
    default: Any = REQUIRED
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()
    optional: bool = False
    scale: str = "linear"
    numeric: bool = False
    units: tuple[str, ...] = ("ep", "ba", "sp", "dur")
    doc: str = ""

    def allowed(self) -> str:
        """The values it takes, in words."""
        if self.choices:
            text = "one of " + ", ".join(self.choices)
        elif self.kind in ("float", "int"):
            text = {"float": "a number", "int": "a whole number"}[self.kind]
            if self.low is not None:
                text += f" {'above' if self.open_low else 'from'} {self.low:g}"
            if self.high is not None:
                text += f" {'below' if self.open_high else 'up to'} {self.high:g}"
        else:
            text = {
                "bool": "true or false",
                "text": "text",
                "ints": "a list of positive whole numbers",
                "path": "the path of a file",
                "any": "any value",
                "duration": "a number and a unit, such as "
                + {"ep": "20ep", "ba": "500ba", "sp": "60000sp", "dur": "0.1dur"}[self.units[0]]
                + f" (units {', '.join(self.units)})"
                + (" above 0" if self.open_low else ""),
            }[self.kind]
        return text + (", or null" if self.optional else "")


@dataclass(frozen=True)
class Entry:
    """A built-in and its parameters."""

    doc: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


def _ratio(default: Any, doc: str) -> Parameter:
    return Parameter("float", default, low=0.0, numeric=True, doc=doc)


_FINAL = _ratio(0.0, "the rate at the end of the budget, as a ratio of the base rate")

SCHEDULES: dict[str, Entry] = {
    "constant": Entry("the base rate throughout"),
    "linear": Entry("a line from the base rate down to its end", {"final": _FINAL}),
    "cosine": Entry("half a cosine from the base rate to its end", {"final": _FINAL}),
    "step": Entry(
        "times gamma after every so long",
        {
            "every": Parameter(
                "duration",
                "0.3333dur",
                low=0.0,
                open_low=True,
                numeric=True,
                doc="between two drops",
            ),
            "gamma": Parameter(
                "float", 0.1, low=0.0, high=1.0, open_low=True, scale="log", numeric=True
            ),
        },
    ),
    "exponential": Entry(
        "falls by gamma over each stretch of `every`, a little at each step",
        {
            "every": Parameter(
                "duration",
                "1ep",
                low=0.0,
                open_low=True,
                numeric=True,
                doc="over which gamma applies",
            ),
            "gamma": Parameter("float", 0.9, low=0.0, high=1.0, open_low=True, numeric=True),
        },
    ),
    "one_cycle": Entry(
        "up to the base rate, then far down",
        {
            "pct_start": Parameter(
                "float", 0.3, low=0.0, high=1.0, open_high=True, numeric=True, doc="share going up"
            ),
            "div": Parameter(
                "float", 25.0, low=1.0, scale="log", numeric=True, doc="base rate over first rate"
            ),
            "final_div": Parameter(
                "float", 1e4, low=1.0, scale="log", numeric=True, doc="first rate over last rate"
            ),
            "anneal": Parameter("text", "cos", choices=("cos", "linear"), numeric=True),
            "three_phase": Parameter("bool", False, numeric=True),
        },
    ),
}

WARMUP: dict[str, Parameter] = {
    "for": Parameter("duration", low=0.0, numeric=True, doc="its length; the schedule follows it"),
    "shape": Parameter("text", "linear", choices=("linear",), numeric=True),
    "start": Parameter(
        "float", 0.01, low=0.0, high=1.0, numeric=True, doc="first rate over base rate"
    ),
}

_WEIGHT_DECAY = Parameter("float", 0.0, low=0.0, scale="log", numeric=True)
_BETAS = {
    "beta1": Parameter("float", 0.9, low=0.0, high=1.0, open_high=True, numeric=True),
    "beta2": Parameter("float", 0.999, low=0.0, high=1.0, open_high=True, numeric=True),
    "eps": Parameter("float", 1e-8, low=0.0, open_low=True, scale="log", numeric=True),
}

_AVERAGING = {
    "weight_decay": Parameter(
        "float", 0.0, low=0.0, scale="log", numeric=True, doc="at the point trained at"
    ),
    "r": Parameter(
        "float",
        0.0,
        low=0.0,
        high=10.0,
        numeric=True,
        doc="step k enters the average by k to this power",
    ),
    "weight_lr_power": Parameter(
        "float",
        2.0,
        low=0.0,
        high=10.0,
        numeric=True,
        doc="and by the largest rate so far to this power",
    ),
}

OPTIMIZERS: dict[str, Entry] = {
    "sgd": Entry(
        "stochastic gradient descent (torch.optim.SGD)",
        {
            "momentum": Parameter("float", 0.0, low=0.0, high=1.0, open_high=True, numeric=True),
            "dampening": Parameter("float", 0.0, low=0.0, high=1.0, numeric=True),
            "nesterov": Parameter("bool", False, numeric=True),
            "weight_decay": _WEIGHT_DECAY,
        },
    ),
    "adam": Entry(
        "Adam, weight decay added to the gradient (torch.optim.Adam)",
        {**_BETAS, "weight_decay": _WEIGHT_DECAY},
    ),
    "adamw": Entry(
        "Adam with decoupled weight decay (torch.optim.AdamW)",
        {
            **_BETAS,
            "weight_decay": Parameter("float", 1e-2, low=0.0, scale="log", numeric=True),
        },
    ),
    "schedule_free_sgd": Entry(
        "SGD that averages its weights in place of a schedule "
        "(Defazio et al. 2024, The Road Less Scheduled; the package schedulefree)",
        {
            "momentum": Parameter(
                "float",
                0.9,
                low=0.0,
                high=1.0,
                open_low=True,
                open_high=True,
                numeric=True,
                doc="share of the average in the point trained at (beta in the paper)",
            ),
            **_AVERAGING,
        },
    ),
    "schedule_free_adamw": Entry(
        "AdamW that averages its weights in place of a schedule "
        "(Defazio et al. 2024, The Road Less Scheduled; the package schedulefree)",
        {
            **_BETAS,
            "beta1": Parameter(
                "float",
                0.9,
                low=0.0,
                high=1.0,
                open_low=True,
                open_high=True,
                numeric=True,
                doc="share of the average in the point trained at",
            ),
            **_AVERAGING,
        },
    ),
    "prodigy": Entry(
        "Adam that estimates the size of its steps, which lr multiplies "
        "(Mishchenko & Defazio 2024, Prodigy; the package prodigyopt)",
        {
            **_BETAS,
            "beta3": Parameter(
                "float",
                None,
                low=0.0,
                high=1.0,
                open_high=True,
                optional=True,
                numeric=True,
                doc="of the estimate's averages; null is the root of beta2",
            ),
            "weight_decay": _WEIGHT_DECAY,
            "decoupled": Parameter(
                "bool", True, numeric=True, doc="weight decay as in AdamW, else as in Adam"
            ),
            "bias_correction": Parameter("bool", False, numeric=True, doc="Adam's, of the rate"),
            "safeguard_warmup": Parameter(
                "bool",
                False,
                numeric=True,
                doc="keep the rate out of the estimate's denominator, for warmups",
            ),
            "d0": Parameter(
                "float",
                1e-6,
                low=0.0,
                open_low=True,
                scale="log",
                numeric=True,
                doc="the first estimate",
            ),
            "d_coef": Parameter(
                "float",
                1.0,
                low=0.0,
                open_low=True,
                scale="log",
                numeric=True,
                doc="a factor of the estimate",
            ),
            "growth_rate": Parameter(
                "float",
                None,
                low=1.0,
                optional=True,
                numeric=True,
                doc="by which the estimate may grow in a step; null is without limit",
            ),
        },
    ),
}

LOSSES: dict[str, tuple[str, str]] = {
    "cross_entropy": ("classification", "negative log likelihood of the right class, in nats"),
    "mse": ("regression", "mean squared error"),
    "mae": ("regression", "mean absolute error"),
    "huber": ("regression", "squared near zero, absolute beyond one"),
}
"""Loss -> (task, what it is). The first of a task is its default."""

METRICS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "accuracy": ("max", ("classification",), "share of samples whose class is right"),
    "f1": ("max", ("classification",), "F1 averaged over classes (macro)"),
    "loss": ("min", ("classification", "regression"), "the loss, without label smoothing"),
    "rmse": ("min", ("regression",), "root of the mean squared error, in the target's units"),
    "mae": ("min", ("regression",), "mean absolute error, in the target's units"),
    "r2": ("max", ("regression",), "share of the target's variance explained"),
}
"""Metric -> (goal, tasks, what it is). The first of a task is its default objective."""

TASKS = ("classification", "regression")

TRAIN: dict[str, Parameter] = {
    "budget": Parameter(
        "duration", low=0.0, open_low=True, units=("ep", "ba", "sp"), doc="the whole training"
    ),
    "lr": Parameter(
        "float", low=0.0, open_low=True, scale="log", numeric=True, doc="the base learning rate"
    ),
    "batch_size": Parameter("int", 32, low=1, scale="log"),
    "loss": Parameter("text", None, choices=tuple(LOSSES), optional=True),
    "label_smoothing": Parameter("float", 0.0, low=0.0, high=1.0, open_high=True, numeric=True),
    "clip_norm": Parameter(
        "float", None, low=0.0, open_low=True, optional=True, scale="log", numeric=True
    ),
    "precision": Parameter("text", "float32", choices=("float32", "bfloat16")),
    "evaluate": Parameter(
        "duration",
        "1ep",
        low=0.0,
        open_low=True,
        doc="between two evaluations; the end always is one",
    ),
}
"""The plain values of `train`; `schedule`, `warmup` and `optimizer` are mappings of their own."""

_ACTIVATION = Parameter("text", "relu", choices=("relu", "gelu", "silu", "tanh"))
_DROPOUT = Parameter("float", 0.0, low=0.0, high=1.0, open_high=True)

MODELS: dict[str, Entry] = {
    "logistic": Entry("one linear layer"),
    "mlp": Entry(
        "fully connected layers",
        {
            "hidden": Parameter("ints", (128,), doc="widths of the hidden layers"),
            "activation": _ACTIVATION,
            "dropout": _DROPOUT,
            "batch_norm": Parameter("bool", False),
        },
    ),
    "cnn": Entry(
        "3x3 convolutions, each halving the image, then a linear layer",
        {
            "channels": Parameter("ints", (16, 32), doc="widths of the convolutions"),
            "activation": _ACTIVATION,
            "dropout": _DROPOUT,
            "batch_norm": Parameter("bool", False),
        },
    ),
}
"""Sizes that follow from the data (in_features, in_channels, num_classes) are filled in later."""


GROUPS: dict[str, Mapping[str, Entry]] = {
    "schedule": SCHEDULES,
    "optimizer": OPTIMIZERS,
    "model": MODELS,
}
"""The mappings of a spec that name a built-in."""


@dataclass(frozen=True)
class Source:
    """A built-in data source. `samples`, `task` and `outputs` are None where only the file
    knows; `own_split` says whether it can bring a split of its own."""

    doc: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    samples: int | None = None
    task: str | None = None
    own_split: bool = False


DATA: dict[str, Source] = {
    "digits": Source("handwritten digits, 1x8x8, 10 classes", {}, 1797, "classification"),
    "breast_cancer": Source("30 features, 2 classes", {}, 569, "classification"),
    "wine": Source("13 features, 3 classes", {}, 178, "classification"),
    "iris": Source("4 features, 3 classes", {}, 150, "classification"),
    "diabetes": Source("10 features, one target", {}, 442, "regression"),
    "npz": Source(
        "a NumPy archive: x_train, y_train, x_test, y_test, or x, y",
        {
            "source": Parameter("path", doc="the file"),
            "samples": Parameter(
                "int", None, low=2, optional=True, doc="use only the first so many for training"
            ),
        },
        own_split=True,
    ),
}

SPLITTING: dict[str, Parameter] = {
    "standardize": Parameter("bool", False, doc="by mean and deviation of the training split"),
    "split_seed": Parameter("int", 0, low=0, high=2**32 - 1),
}
"""The plain values every data source takes; `validation` and `test` have grammars of their own."""


def default_metric(task: str) -> str:
    """The objective's metric where the spec names none."""
    return next(name for name, (_, tasks, _) in METRICS.items() if task in tasks)


def default_loss(task: str) -> str:
    """The training loss where the spec names none."""
    return next(name for name, (of, _) in LOSSES.items() if of == task)


def split_sizes(
    samples: int, validation: float | int, test: float = 0.0
) -> tuple[tuple[int, ...], int, int]:
    """Sizes of the splits: training samples of each fold, the last fold's validation, the test.

    `validation` below 1 is a share of all samples, a whole number from 2 up a count of folds
    over what the test split leaves; `test` is a share of all samples. Shares are rounded to
    the nearest sample. The earlier folds are larger by one where they do not divide evenly.
    """
    held_out = round(samples * test)
    rest = samples - held_out
    if validation < 1:
        size = round(samples * validation)
        return (rest - size,), size, held_out
    folds = int(validation)
    small, extra = divmod(rest, folds)
    sizes = [small + (1 if fold < extra else 0) for fold in range(folds)]
    return tuple(rest - size for size in sizes), sizes[-1], held_out
