"""The names a spec can use: every built-in, its parameters, their kinds, ranges and defaults.

One table serves the fixed values of a spec, its searched ranges, `--set`, the documentation and the
models' constructors, so that a value means the same wherever it stands. Free of torch; a test holds
it equal to the registries of `train` and `data`.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from lrsearch.frozen import frozen

REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "REQUIRED"})()
"""The default of a parameter that has none."""


# parameters


@frozen
class Parameter:
    """One named value.

    `kind` is float, int, bool, text, duration, ints (a list of positive integers), durations (a
    list of them), points (a list of [duration, ratio]), groups (a mapping of patterns), import
    (code by its class path), imports (a mapping of names to such), path (of a file), sides
    ([height, width] in pixels, or one number for both), columns (a list of their names), character
    (one) or any (no check). `low` and `high` bound numbers, exclusively where `open_low` or
    `open_high`. Whole numbers may have `choices`, too. `numeric` values may differ between lanes of
    one program. `search` is a range or choice worth searching, as a spec would write it.
    Whole numbers are `low` and `every` so many.
    """

    kind: str
    default: Any = REQUIRED
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False
    every: int = 1
    choices: tuple[str, ...] = ()
    optional: bool = False
    scale: str = "linear"
    numeric: bool = False
    units: tuple[str, ...] = ("ep", "ba", "sp", "dur")
    doc: str = ""
    search: str = ""

    def allowed(self) -> str:
        """The values it takes, in words."""
        if self.choices:
            text = "one of " + ", ".join(self.choices)
        elif self.kind in ("float", "int"):
            text = {"float": "a number", "int": "a whole number"}[self.kind]
            if self.low is not None:
                text += f" {'above' if self.open_low else 'from'} {self.low:.12g}"
            if self.high is not None:
                text += f" {'below' if self.open_high else 'up to'} {self.high:.12g}"
            if self.every > 1 and self.low is not None:
                first = ", ".join(f"{self.low + step * self.every:g}" for step in range(4))
                text += f", every {self.every} ({first}, ...)"
        else:
            text = {
                "bool": "true or false",
                "text": "text",
                "ints": "a list of positive whole numbers",
                "path": "the path of a file",
                "sides": "a whole number from 1 up to 65535 or a list of two, [height, width]",
                "columns": "a list of column names, such as [id, name]",
                "character": "one character",
                "any": "any value",
                "import": "a class path, such as my_package.Step, or {class_path, init_args}",
                "imports": "a mapping of names to {class_path, init_args}",
                "groups": "a mapping of patterns to {lr: a ratio, weight_decay: a number}",
                "durations": "a list of durations, such as [0.5dur, 0.75dur]",
                "points": "a list of [duration, ratio], such as [[0.5dur, 0.1], [0.75dur, 0.01]]",
                "duration": "a number and a unit, such as "
                + {"ep": "20ep", "ba": "500ba", "sp": "60000sp", "dur": "0.1dur"}[self.units[0]]
                + f" (units {', '.join(self.units)})"
                + (" above 0" if self.open_low else ""),
            }[self.kind]
        return text + (", or null" if self.optional else "")


@frozen
class Entry:
    """A built-in and its parameters. Of those in a pair of `either` at most one may be given.
    `source` is where it comes from. `tasks` are those of the data that a model takes."""

    doc: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    source: str = ""
    either: tuple[tuple[str, str], ...] = ()
    tasks: tuple[str, ...] = ("classification", "regression")


# metrics and tasks

METRICS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "accuracy": (
        "max",
        ("classification", "language"),
        "share of samples whose class is right; of text, of characters",
    ),
    "f1": ("max", ("classification",), "F1 averaged over classes (macro)"),
    "loss": (
        "min",
        ("classification", "regression", "language", "own"),
        "the loss, without label smoothing; of text, nats per character",
    ),
    "rmse": ("min", ("regression",), "root of the mean squared error, in the target's units"),
    "mae": ("min", ("regression",), "mean absolute error, in the target's units"),
    "r2": ("max", ("regression",), "share of the target's variance explained"),
}
"""Metric -> (goal, tasks, what it is)."""

ENDS = {
    "accuracy": (0.0, 1.0),
    "f1": (0.0, 1.0),
    "loss": (0.0, math.inf),
    "rmse": (0.0, math.inf),
    "mae": (0.0, math.inf),
    "r2": (-math.inf, 1.0),
}
"""Metric -> its least and greatest value, where it has such. A loss of the user's may be negative:
where one was, it has no ends."""

BESIDE = ("step", "train_loss", "lr")
"""Names of an evaluation's values beside its metrics, which no metric may take."""

TASKS = {"classification": "accuracy", "regression": "loss", "language": "loss", "own": "loss"}
"""Task -> the metric of its default objective. `own` are targets that the user's code knows."""


def _bounds(interval: str, number: type[float] | type[int]) -> dict[str, Any]:
    """The bounds of an interval as it is usually written: "[0, 1)" or, without an upper end, "(0,
    inf)"."""
    low, high = (None if "inf" in end else number(end) for end in interval[1:-1].split(", "))
    opened = {
        "open_low": low is not None and interval[0] == "(",
        "open_high": high is not None and interval[-1] == ")",
    }
    return {"low": low, "high": high, **opened}


def _real(
    interval: str, default: Any = REQUIRED, doc: str = "", search: str = "", **more: Any
) -> Parameter:
    """A number from an interval, which may differ between lanes."""
    given: dict[str, Any] = {"numeric": True, **_bounds(interval, float), **more}
    return Parameter("float", default, doc=doc, search=search, **given)


def _whole(
    interval: str, default: Any = REQUIRED, doc: str = "", search: str = "", **more: Any
) -> Parameter:
    """A whole number from an interval."""
    return Parameter("int", default, doc=doc, search=search, **_bounds(interval, int), **more)


def _length(default: Any, doc: str, search: str = "", *, optional: bool = False) -> Parameter:
    """A duration above 0."""
    given: dict[str, Any] = {"low": 0.0, "open_low": True, "numeric": True, "optional": optional}
    return Parameter("duration", default, doc=doc, search=search, **given)


def _gamma(default: float, doc: str, search: str, scale: str = "linear") -> Parameter:
    return _real("(0, 1]", default, doc, search, scale=scale)


_FINAL = _real(
    "[0, inf)",
    0.0,
    "the rate at the end of the budget, as a ratio of the base rate",
    "[0, 0.01, 0.1]",
)
_BASE = _real(
    "[0, 1]", 0.25, "the lowest rate, as a ratio of the base rate", "{min: 0.05, max: 0.5}"
)
_HALF = _length("0.1dur", "half a cycle", "{min: 0.05dur, max: 0.5dur}")

# schedules

SCHEDULES: dict[str, Entry] = {
    "constant": Entry("the base rate throughout"),
    "linear": Entry(
        "a line from the base rate down to its end",
        {"final": _FINAL},
        "Devlin et al. 2019, BERT; torch LinearLR",
    ),
    "polynomial": Entry(
        "falls as a power of the part of the training that is left",
        {
            "power": _real(
                "(0, inf)", 2.0, "1 is a line, more falls early", "{min: 0.5, max: 4}", scale="log"
            ),
            "final": _FINAL,
        },
        "torch PolynomialLR; Chen et al. 2017, DeepLab (power 0.9)",
    ),
    "cosine": Entry(
        "half a cosine from the base rate to its end",
        {"final": _FINAL},
        "Loshchilov & Hutter 2017, SGDR; torch CosineAnnealingLR",
    ),
    "cosine_restarts": Entry(
        "half a cosine again and again",
        {
            "cycles": _whole(
                "[1, 100000]",
                4,
                "how many end with the budget, where `first` is null",
                "[2, 3, 4]",
                numeric=True,
            ),
            "first": _length(None, "the first cycle, instead of their number", optional=True),
            "mult": _real("[1, 100]", 1.0, "length of a cycle over the one before", "[1, 2]"),
            "peak_decay": _real(
                "(0, 1]", 1.0, "height of a cycle over the one before", "{min: 0.3, max: 1}"
            ),
            "final": _FINAL,
        },
        "Loshchilov & Hutter 2017, SGDR; torch CosineAnnealingWarmRestarts",
        (("cycles", "first"),),
    ),
    "step": Entry(
        "times gamma after every so long",
        {
            "every": _length("0.3333dur", "between two drops", "{min: 0.2dur, max: 0.5dur}"),
            "gamma": _gamma(0.1, "what each drop multiplies by", "{min: 0.05, max: 0.5}", "log"),
        },
        "torch StepLR",
    ),
    "multistep": Entry(
        "times gamma at each milestone",
        {
            "milestones": Parameter(
                "durations",
                ("0.5dur", "0.75dur"),
                numeric=True,
                doc="rising, from the end of the warmup",
                search="[[0.5dur, 0.75dur], [0.3dur, 0.6dur, 0.8dur]]",
            ),
            "gamma": _gamma(0.1, "what each drop multiplies by", "{min: 0.05, max: 0.5}", "log"),
        },
        "He et al. 2016, ResNet; torch MultiStepLR",
    ),
    "exponential": Entry(
        "falls by gamma over each stretch of `every`, a little at each step",
        {
            "every": _length("1ep", "over which gamma applies"),
            "gamma": _gamma(0.9, "the factor of each stretch", "{min: 0.7, max: 0.99}"),
            "final": _real(
                "(0, 1]",
                None,
                "the ratio at the end of the budget, instead of gamma",
                "{min: 1e-3, max: 0.1}",
                optional=True,
                scale="log",
            ),
        },
        "torch ExponentialLR; Keras ExponentialDecay",
        (("gamma", "final"), ("every", "final")),
    ),
    "inverse_time": Entry(
        "falls as one over the time that has passed",
        {
            "rate": _real(
                "[0, inf)",
                1.0,
                "how much of the divisor each `every` adds",
                "{min: 0.1, max: 10}",
                scale="log",
            ),
            "every": _length("0.1dur", "over which `rate` is added"),
            "staircase": Parameter("bool", False, numeric=True, doc="after each `every`, at once"),
        },
        "Robbins & Monro 1951; Keras InverseTimeDecay",
    ),
    "inverse_sqrt": Entry(
        "falls as one over the square root of the time that has passed",
        {
            "timescale": _length(
                "0.1dur",
                "after which it is 1/sqrt(2); usually the warmup's length",
                "{min: 0.02dur, max: 0.5dur}",
            )
        },
        "Vaswani et al. 2017; Hugging Face get_inverse_sqrt_schedule",
    ),
    "one_cycle": Entry(
        "up to the base rate, then far down",
        {
            "pct_start": _real("[0, 1)", 0.3, "share going up", "{min: 0.1, max: 0.45}"),
            "div": _real("[1, inf)", 25.0, "base rate over first rate", scale="log"),
            "final_div": _real("[1, inf)", 1e4, "first rate over last rate", scale="log"),
            "anneal": Parameter("text", "cos", choices=("cos", "linear"), numeric=True),
            "three_phase": Parameter("bool", False, numeric=True),
        },
        "Smith & Topin 2018; torch OneCycleLR",
    ),
    "triangular": Entry(
        "up and down in lines, again and again",
        {"base": _BASE, "half": _HALF},
        "Smith 2017; torch CyclicLR",
    ),
    "triangular2": Entry(
        "triangular, each cycle half as high as the one before",
        {"base": _BASE, "half": _HALF},
        "Smith 2017; torch CyclicLR",
    ),
    "exp_range": Entry(
        "triangular, its height falling exponentially",
        {
            "base": _BASE,
            "half": _HALF,
            "gamma": _gamma(0.9, "the factor of each stretch", "{min: 0.7, max: 0.99}"),
            "every": _length("1ep", "over which gamma applies"),
        },
        "Smith 2017; torch CyclicLR",
    ),
    "wsd": Entry(
        "the base rate, then down over the last part (warmup-stable-decay)",
        {
            "decay": _length("0.2dur", "how long it falls", "{min: 0.05dur, max: 0.5dur}"),
            "shape": Parameter(
                "text",
                "linear",
                choices=("linear", "cosine", "sqrt"),
                numeric=True,
                doc="sqrt is 1 - sqrt(share)",
                search="[linear, sqrt]",
            ),
            "final": _FINAL,
        },
        "Hu et al. 2024, MiniCPM; Hägele et al. 2024",
    ),
    "tanh": Entry(
        "along a hyperbolic tangent: long high, then down",
        {
            "lower": _real("[-50, 50]", -6.0, search="{min: -8, max: -3}"),
            "upper": _real("[-50, 50]", 3.0, search="{min: 2, max: 4}"),
            "final": _FINAL,
        },
        "Hsueh et al. 2019, HTD",
    ),
    "piecewise": Entry(
        "values that you give, stepped or joined by lines",
        {
            "points": Parameter(
                "points", numeric=True, doc="moments from the end of the warmup, and ratios"
            ),
            "join": Parameter("text", "stepped", choices=("stepped", "linear"), numeric=True),
        },
        "Keras PiecewiseConstantDecay",
    ),
    "plateau": Entry(
        "falls when a validation metric no longer improves",
        {
            "metric": Parameter(
                "text",
                "loss",
                choices=tuple(METRICS),
                numeric=True,
                doc="whose evaluations it follows, or one of `train.metrics`",
            ),
            "mode": Parameter(
                "text",
                None,
                choices=("min", "max"),
                optional=True,
                numeric=True,
                doc="what is good of a metric of your own; null: the objective's goal",
            ),
            "factor": _real(
                "(0, 1)", 0.1, "what each fall multiplies by", "{min: 0.1, max: 0.5}", scale="log"
            ),
            "patience": Parameter(
                "duration",
                "0.1dur",
                low=0.0,
                numeric=True,
                doc="without improvement; it falls at the evaluation after",
                search="{min: 0.05dur, max: 0.2dur}",
            ),
            "threshold": _real("[0, inf)", 1e-4, "what is no improvement yet", scale="log"),
            "threshold_mode": Parameter(
                "text",
                "rel",
                choices=("rel", "abs"),
                numeric=True,
                doc="of the best's size, or as it is",
            ),
            "cooldown": Parameter(
                "duration", "0dur", low=0.0, numeric=True, doc="after a fall, not counted"
            ),
            "min": _real("[0, 1]", 0.0, "the lowest rate, as a ratio of the base rate"),
            "rises": Parameter(
                "bool", False, numeric=True, doc="it rises, too, when the metric goes on improving"
            ),
            "max": _real(
                "[1, inf)",
                1.0,
                "the highest rate it rises to, as a ratio of the base rate",
                scale="log",
            ),
        },
        "torch ReduceLROnPlateau; Subramanian et al. 2025, GreedyLR",
    ),
}

WARMUP: dict[str, Parameter] = {
    "for": Parameter(
        "duration",
        low=0.0,
        numeric=True,
        doc="its length; the schedule follows it",
        search="{min: 0dur, max: 0.1dur}",
    ),
    "shape": Parameter("text", "linear", choices=("linear", "exponential", "cosine"), numeric=True),
    "start": _real("[0, 1]", 0.01, "first rate over base rate"),
}

# optimizers

_WEIGHT_DECAY = _real("[0, inf)", 0.0, scale="log")
_BETAS = {
    "beta1": _real("[0, 1)", 0.9),
    "beta2": _real("[0, 1)", 0.999),
    "eps": _real("(0, inf)", 1e-8, scale="log"),
}

_DECOUPLED = Parameter(
    "bool", False, numeric=True, doc="decay the parameters themselves, as adamw does"
)

_AVERAGING = {
    "weight_decay": _real("[0, inf)", 0.0, "at the point trained at", scale="log"),
    "r": _real("[0, 10]", 0.0, "step k enters the average by k to this power"),
    "weight_lr_power": _real("[0, 10]", 2.0, "and by the largest rate so far to this power"),
}

OPTIMIZERS: dict[str, Entry] = {
    "sgd": Entry(
        "stochastic gradient descent (torch.optim.SGD)",
        {
            "momentum": _real("[0, 1)", 0.0),
            "dampening": _real("[0, 1]", 0.0),
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
            "weight_decay": _real("[0, inf)", 1e-2, scale="log"),
        },
    ),
    "amsgrad": Entry(
        "Adam by the largest squares so far (torch.optim.Adam with amsgrad)",
        {**_BETAS, "weight_decay": _WEIGHT_DECAY},
    ),
    "nadam": Entry(
        "Adam with Nesterov momentum (torch.optim.NAdam)",
        {
            **_BETAS,
            "weight_decay": _WEIGHT_DECAY,
            "momentum_decay": _real(
                "[0, inf)",
                4e-3,
                "how fast the momentum grows from half of beta1 to beta1",
                scale="log",
            ),
            "decoupled": _DECOUPLED,
        },
    ),
    "radam": Entry(
        "Adam with its variance rectified in the first steps (torch.optim.RAdam)",
        {**_BETAS, "weight_decay": _WEIGHT_DECAY, "decoupled": _DECOUPLED},
    ),
    "adamax": Entry(
        "Adam by the largest gradients (torch.optim.Adamax)",
        {**_BETAS, "weight_decay": _WEIGHT_DECAY},
    ),
    "rmsprop": Entry(
        "the gradient over the root of its mean square (torch.optim.RMSprop)",
        {
            "alpha": _real("[0, 1)", 0.99, "how much of the mean square a step keeps"),
            "eps": _BETAS["eps"],
            "momentum": _real("[0, 1)", 0.0),
            "centered": Parameter(
                "bool", False, numeric=True, doc="by the variance in place of the mean square"
            ),
            "weight_decay": _WEIGHT_DECAY,
        },
    ),
    "adagrad": Entry(
        "the gradient over the root of all its squares so far (torch.optim.Adagrad)",
        {
            "lr_decay": _real(
                "[0, inf)", 0.0, "the rate is divided by 1 + lr_decay * steps made", scale="log"
            ),
            "eps": replace(_BETAS["eps"], default=1e-10),
            "weight_decay": _WEIGHT_DECAY,
        },
    ),
    "adadelta": Entry(
        "steps as large as the last ones were (torch.optim.Adadelta)",
        {
            "rho": _real("[0, 1)", 0.9, "how much of the mean squares a step keeps"),
            "eps": replace(_BETAS["eps"], default=1e-6),
            "weight_decay": _WEIGHT_DECAY,
        },
    ),
    "adafactor": Entry(
        "mean squares of rows and columns in place of each entry's, steps relative to the"
        " parameter's size, weight decay decoupled (torch.optim.Adafactor)",
        {
            "beta2_decay": _real("(-inf, 0]", -0.8, "the mean square keeps 1 - step**beta2_decay"),
            "eps1": _real(
                "[1e-18, inf)",
                None,
                "least root mean square of a gradient; null: the precision of the parameters' type",
                optional=True,
                scale="log",
            ),
            "eps2": _real("(0, inf)", 1e-3, "least root mean square of a parameter", scale="log"),
            "d": _real(
                "[1, inf)",
                1.0,
                "largest root mean square of a step before it is scaled",
                scale="log",
            ),
            "weight_decay": _WEIGHT_DECAY,
        },
    ),
    "lion": Entry(
        "the sign of an average of gradients, weight decay decoupled (Chen et al. 2023)",
        {
            "beta1": _BETAS["beta1"],
            "beta2": replace(_BETAS["beta2"], default=0.99),
            "weight_decay": _WEIGHT_DECAY,
        },
    ),
    "muon": Entry(
        "orthogonalized momentum for parameters of rank 2 (torch.optim.Muon), AdamW for all others"
        " (torch.optim.AdamW); both decay",
        {
            "momentum": _real("[0, 1)", 0.95),
            "nesterov": Parameter("bool", True, numeric=True),
            "weight_decay": replace(_WEIGHT_DECAY, default=0.1),
            "ns_steps": _whole("[1, 99]", 5, "Newton-Schulz iterations, in bfloat16"),
            "adjust_lr_fn": Parameter(
                "text",
                "match_rms_adamw",
                choices=("original", "match_rms_adamw"),
                numeric=True,
                doc="the rate of a matrix: original times max(1, rows/cols)**0.5, match_rms_adamw"
                " times 0.2*max(rows, cols)**0.5",
            ),
            **_BETAS,
        },
    ),
    "schedule_free_sgd": Entry(
        "SGD that averages its weights in place of a schedule "
        "(Defazio et al. 2024, The Road Less Scheduled; the package schedulefree)",
        {
            "momentum": _real(
                "(0, 1)", 0.9, "share of the average in the point trained at (beta in the paper)"
            ),
            **_AVERAGING,
        },
    ),
    "schedule_free_adamw": Entry(
        "AdamW that averages its weights in place of a schedule "
        "(Defazio et al. 2024, The Road Less Scheduled; the package schedulefree)",
        {
            **_BETAS,
            "beta1": _real("(0, 1)", 0.9, "share of the average in the point trained at"),
            **_AVERAGING,
        },
    ),
    "prodigy": Entry(
        "Adam that estimates the size of its steps, which lr multiplies "
        "(Mishchenko & Defazio 2024, Prodigy; the package prodigyopt)",
        {
            **_BETAS,
            "beta3": _real(
                "[0, 1)",
                None,
                "of the estimate's averages; null is the root of beta2",
                optional=True,
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
            "d0": _real("(0, inf)", 1e-6, "the first estimate", scale="log"),
            "d_coef": _real("(0, inf)", 1.0, "a factor of the estimate", scale="log"),
            "growth_rate": _real(
                "[1, inf)",
                None,
                "by which the estimate may grow in a step; null is without limit",
                optional=True,
            ),
        },
    ),
}

OPTIMIZER_PACKAGES = {
    "schedule_free_sgd": "schedulefree",
    "schedule_free_adamw": "schedulefree",
    "prodigy": "prodigyopt",
}
"""Optimizer -> the package it comes from, which may not be installed."""

# losses and training

LOSSES: dict[str, tuple[tuple[str, ...], str]] = {
    "cross_entropy": (
        ("classification", "language"),
        "negative log likelihood of the right class, in nats",
    ),
    "mse": (("regression", "own"), "mean squared error"),
    "mae": (("regression", "own"), "mean absolute error"),
    "huber": (("regression", "own"), "squared near zero, absolute beyond one"),
}
"""Loss -> (tasks, what it is). The first of a task is its default."""

CROSS_ENTROPY = "torch.nn.CrossEntropyLoss"
"""The class path of the loss of targets that are a class at each of several places."""

USUAL_RATES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("sgd", "adagrad"), (1e-3, 1.0)),
    **dict.fromkeys(("adadelta", "prodigy"), (1e-2, 10.0)),
    "": (1e-5, 0.1),
}
"""Rates that are searched, usually, of an optimizer by its name; "" stands for any other."""


@frozen
class RatePrior:
    """The rates at which an optimizer trains a network from scratch: log10 of the rate is normal,
    with this mean and deviation; with `momentum`, that of lr / (1 - momentum), the step that a
    gradient makes in the end. `source` says who found it."""

    mean: float
    deviation: float
    source: str
    momentum: bool = False


_MEASURED = "best rates of published tables of trainings from scratch"

RATE_PRIORS: dict[str, RatePrior] = {
    **dict.fromkeys(
        ("adam", "adamw", "amsgrad", "nadam", "radam", "adamax"), RatePrior(-3.3, 0.8, _MEASURED)
    ),
    "sgd": RatePrior(-1.1, 0.95, _MEASURED, momentum=True),
    "lion": RatePrior(-4.0, 0.8, "Chen et al. 2023: a third to a tenth of AdamW's"),
    "muon": RatePrior(-3.3, 0.8, "Liu et al. 2025: AdamW's, under match_rms_adamw"),
    "schedule_free_sgd": RatePrior(-1.1, 0.95, "Defazio et al. 2024: ten times momentum SGD's"),
    "schedule_free_adamw": RatePrior(-2.8, 0.8, "Defazio et al. 2024: one to ten times AdamW's"),
    "prodigy": RatePrior(0.0, 0.5, "Mishchenko & Defazio 2024: 1"),
}
"""Optimizer -> its prior. All others have none: their rates come from the middle of the range."""

START = Parameter(
    "text",
    None,
    choices=("scratch", "pretrained"),
    optional=True,
    doc="where the weights start; null: as the model's files and arguments tell",
)
"""`train.start`: it changes no training, only where a search begins."""

SETTINGS: dict[str, dict[str, Parameter]] = {
    "random": {
        "trials": _whole("[1, inf)", 40),
        "sampler": Parameter("text", "random", choices=("informed", "sobol", "random")),
    },
    "bayes": {
        "trials": _whole("[1, inf)", 40),
        "startup": _whole("[1, inf)", 8, "points before the model proposes any"),
        "generation": _whole("[1, inf)", 4),
        "start": Parameter("text", "informed", choices=("informed", "sobol", "random")),
        "model": Parameter("text", "tpe", choices=("tpe", "gp")),
    },
    "refine": {
        "rounds": _whole("[1, inf)", 3, "rounds in the whole run"),
        "width": _real("(0, 4]", 0.5, "decades of the best's interval", numeric=False),
    },
    "stop": {
        "patience": _whole(
            "[1, inf)", None, "proposals without an improvement beyond noise", optional=True
        ),
    },
    "confirm": {
        "top": _whole("[1, 64]", 4, "points that are measured again"),
        "seeds": _whole("[1, 100]", 5, "fresh seeds of each, at most"),
    },
}
"""The settings of strategies, and of what follows a search, by the key of a spec."""

GENERATION_COSTS = {"tpe": 1.1, "gp": 1.8}
"""Model of bayes -> its regret after 32 trials in generations of 16, over that in generations of 4:
docs/search.md has the tables."""

TRAIN: dict[str, Parameter] = {
    "budget": Parameter(
        "duration", low=0.0, open_low=True, units=("ep", "ba", "sp"), doc="the whole training"
    ),
    "lr": _real("(0, inf)", scale="log", doc="the base learning rate"),
    "batch_size": _whole("[1, inf)", 32, scale="log"),
    "loss": Parameter("text", None, choices=tuple(LOSSES), optional=True),
    "label_smoothing": _real("[0, 1)", 0.0),
    "clip_norm": _real("(0, inf)", None, optional=True, scale="log"),
    "layer_decay": _real(
        "(0, 1]",
        None,
        "a layer's rate over that of the layer above it",
        "{min: 0.6, max: 1}",
        optional=True,
    ),
    "groups": Parameter(
        "groups",
        None,
        optional=True,
        doc="parameters by name; the first pattern that matches counts",
    ),
    "weight_decay_on": Parameter(
        "text",
        "all",
        choices=("all", "matrices"),
        doc="matrices: none on biases, norms and other vectors",
    ),
    "precision": Parameter("text", "float32", choices=("float32", "bfloat16")),
    "step": Parameter(
        "import",
        None,
        optional=True,
        doc="in place of a loss: an object with loss(model, batch), and perhaps evaluate",
    ),
    "metrics": Parameter(
        "imports",
        None,
        optional=True,
        doc="more to measure: functions of (outputs, targets), or torchmetrics",
    ),
    "evaluate": Parameter(
        "duration",
        "1ep",
        low=0.0,
        open_low=True,
        doc="between two evaluations; the end always is one",
    ),
}
"""The plain values of `train`; `schedule`, `warmup` and `optimizer` are mappings of their own."""

# models

_ACTIVATION = Parameter("text", "relu", choices=("relu", "gelu", "silu", "tanh"))
_DROPOUT = _real("[0, 1)", 0.0, numeric=False)

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
        "3x3 convolutions, each with 2x2 max pooling, an average to 4x4, then a linear layer",
        {
            "channels": Parameter("ints", (16, 32), doc="widths of the convolutions"),
            "activation": _ACTIVATION,
            "dropout": _DROPOUT,
            "batch_norm": Parameter("bool", False),
        },
    ),
    "resnet": Entry(
        "a residual network of 3x3 convolutions in three stages, each half as large and twice as "
        "wide as the one before (He et al. 2016, section 4.2)",
        {
            "depth": _whole("[8, 1202]", 8, "layers with weights", every=6),
            "width": _whole("[1, inf)", 16, "channels of the first stage"),
            "activation": _ACTIVATION,
            "batch_norm": Parameter("bool", True),
        },
    ),
    "char_transformer": Entry(
        "a small GPT on the characters of `text`: pre-norm blocks of causal attention, learned "
        "positions (nanoGPT)",
        {
            "layers": _whole("[1, inf)", 4, "blocks"),
            "heads": _whole("[1, inf)", 4, "of attention; they divide the width"),
            "width": _whole("[1, inf)", 128, "numbers a character is turned into"),
            "dropout": _DROPOUT,
            "tied": Parameter("bool", True, doc="embedding and output layer are one matrix"),
            "bias": Parameter("bool", False, doc="of linear layers and norms"),
        },
        tasks=("language",),
    ),
}
"""Sizes that follow from the data (in_features, in_channels, num_classes) are filled in later."""


def model_fault(model: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The arguments of a built-in model that do not go together: (argument, message, hint)."""
    width, heads = model.get("width"), model.get("heads")
    if width is None or heads is None or width % heads == 0:
        return None
    below, above = width // heads * heads, (width // heads + 1) * heads
    near = f"write width: {above}" if below == 0 else f"write width: {below}, or width: {above}"
    return "width", f"a width of {width} is not divisible by {heads} heads", near


def model_refusal(name: str, task: str) -> tuple[str, str] | None:
    """The reason why a built-in model does not take data of a task: (message, hint)."""
    if task in MODELS[name].tasks:
        return None
    if task == "own":
        return (
            f"the model {name} has an output for each class, or number, that the targets have: "
            "targets of your own kind have none",
            "name a model of your own: {class_path: my_package.Net}",
        )
    what = "text" if task == "language" else f"samples of numbers ({task})"
    fitting = [each for each, entry in MODELS.items() if task in entry.tasks]
    return f"the model {name} does not take {what}", f"allowed: {', '.join(fitting)}"


# transforms

TRANSFORMS: dict[str, Entry] = {
    "random_crop": Entry(
        "zeros around the image, of which a window of the old size is cut, at a place of its own "
        "for each sample",
        {"padding": _whole("[1, inf)", doc="zeros at each side, in pixels")},
    ),
    "flip": Entry(
        "left and right change places",
        {"p": _real("(0, 1]", 0.5, "probability, of each sample", numeric=False)},
    ),
    "noise": Entry(
        "adds normal noise to all numbers",
        {"std": _real("(0, inf)", doc="its deviation, after `standardize`", numeric=False)},
    ),
    "mixup": Entry(
        "mixes each sample, and its loss, with another of the batch (Zhang et al. 2018)",
        {
            "alpha": _real(
                "[0.001, 1000]", 0.2, "the batch's share is of Beta(alpha, alpha)", numeric=False
            )
        },
    ),
}
"""Transforms of training batches."""

IMAGE_TRANSFORMS = ("random_crop", "flip")
"""Transforms that take images alone."""

# early stopping

_REPORTS = {
    "budget": _whole(
        "[2, inf)",
        None,
        "of a command or a loop: the step of the last report of a whole training",
        optional=True,
    )
}
_STARTUP = _whole("[1, inf)", 4, "points before any is stopped")
_FACTOR = _whole("[2, inf)", 3, "one of so many goes on")

PRUNING: dict[str, Entry] = {
    "none": Entry("every training goes to its end"),
    "no_progress": Entry(
        "a training stops whose loss, at a tenth of the budget, is above 98% of its start"
    ),
    "quarter": Entry(
        "at 1/9 and 1/3 of the budget the worst quarter of all points that got there stops",
        {"population": _whole("[4, inf)", 32, "points that are compared"), **_REPORTS},
    ),
    "halving": Entry(
        "for small searches: half of the points go on after 1/9 of the budget, a quarter after 1/3",
        {"population": _whole("[4, inf)", 8, "points that are compared"), **_REPORTS},
        "Jamieson & Talwalkar 2016",
    ),
    "median": Entry(
        "a point stops that is worse than the median of those before it",
        {"startup": _STARTUP, **_REPORTS},
        "Golovin et al. 2017",
    ),
    "percentile": Entry(
        "a point stops that is not among the best share of those before it",
        {
            "keep": _real("(0, 1)", 0.75, "the share", numeric=False),
            "startup": _STARTUP,
            **_REPORTS,
        },
    ),
    "asha": Entry(
        "a point stops that is not among the best third of those so far",
        {"factor": _FACTOR, **_REPORTS},
        "Li et al. 2020",
    ),
    "hyperband": Entry(
        "as asha, in brackets: of 17 points 9 are compared from 1/9 on, 5 from 1/3 on, 3 never",
        {"factor": _FACTOR, **_REPORTS},
        "Li et al. 2018",
    ),
    "wilcoxon": Entry(
        "a point stops that is worse than the best before it, seed by seed and fold by fold",
        {
            "p": _real("(0, 0.5]", 0.1, "the level of the test", numeric=False),
            **_REPORTS,
        },
    ),
}
"""Rules of early stopping, by the `prune` of a spec. All but `none` have `no_progress` in them."""

PRUNE = "no_progress"
"""The rule, if a spec names none."""

GROUPS: dict[str, Mapping[str, Entry]] = {
    "schedule": SCHEDULES,
    "optimizer": OPTIMIZERS,
    "model": MODELS,
}
"""The mappings of a spec that name a built-in."""


def _find_shares() -> Iterator[str]:
    """The names whose parameters are shares below 1 wherever they stand, such as momentum."""
    bounds: dict[str, set[tuple[float | None, float | None, bool]]] = {}
    known = [TRAIN, *(entry.parameters for group in GROUPS.values() for entry in group.values())]
    for name, parameter in itertools.chain.from_iterable(each.items() for each in known):
        if parameter.kind == "float":
            ends = (parameter.low, parameter.high, parameter.open_high)
            bounds.setdefault(name, set()).add(ends)
    return (name for name, found in bounds.items() if found == {(0.0, 1.0, True)})


SHARES = frozenset(_find_shares())
"""Names of shares below 1: momentum, dropout, beta1 and the like."""


# data


@frozen
class Source:
    """A built-in data source. `samples`, `task` and `outputs` are None where only the file knows;
    `own_split` says whether it can bring a split of its own, `own_test` one for the test beside
    that for the validation; `standardize` is that key's default. `ordered` data are cut in their
    order, not shuffled; the samples of `flat` ones are rows of numbers, never images."""

    doc: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    samples: int | None = None
    task: str | None = None
    own_split: bool = False
    own_test: bool = False
    standardize: bool = False
    ordered: bool = False
    flat: bool = False


IMAGES_ALONE = ("cnn", "resnet", "flip", "random_crop")
"""Models and transforms that take images [channels, height, width] and nothing else."""

_SAMPLES = _whole("[2, inf)", None, "use only the first so many for training", optional=True)
_SHUFFLE = Parameter(
    "bool", False, doc="draw `samples` from all, classes in their shares, not the first"
)
_TASK = Parameter(
    "text",
    None,
    choices=("classification", "regression", "own"),
    optional=True,
    doc="what the targets are; null: by what they look like",
)
_IMAGES = Parameter(
    "bool",
    None,
    optional=True,
    doc="whether arrays (N, H, W) are images of one channel; null: bytes are, see below",
)
_TABLE: dict[str, Parameter] = {
    "source": Parameter("path", doc="the file"),
    "target": Parameter("text", doc="the column to predict"),
    "task": _TASK,
    "drop": Parameter("columns", (), doc="columns to leave out"),
    "categorical": Parameter("columns", (), doc="columns of numbers that are categories"),
    "missing": Parameter(
        "text",
        None,
        choices=("drop", "mean"),
        optional=True,
        doc="rows with gaps are left out, or gaps filled; null: an error, see below",
    ),
    "samples": _SAMPLES,
    "shuffle": _SHUFFLE,
}

DATA: dict[str, Source] = {
    "digits": Source(
        "handwritten digits, 1x8x8, 10 classes", {"task": _TASK}, 1797, "classification"
    ),
    "breast_cancer": Source(
        "30 features, 2 classes", {"task": _TASK}, 569, "classification", flat=True
    ),
    "wine": Source("13 features, 3 classes", {"task": _TASK}, 178, "classification", flat=True),
    "iris": Source("4 features, 3 classes", {"task": _TASK}, 150, "classification", flat=True),
    "diabetes": Source("10 features, one target", {"task": _TASK}, 442, "regression", flat=True),
    "npz": Source(
        "a NumPy archive: x_train, y_train, x_val, y_val, x_test, y_test, or x, y",
        {
            "source": Parameter("path", doc="the file"),
            "task": _TASK,
            "samples": _SAMPLES,
            "shuffle": _SHUFFLE,
            "images": _IMAGES,
        },
        own_split=True,
        own_test=True,
    ),
    "csv": Source(
        "a table in a text file, one line a row; the first line names the columns",
        {**_TABLE, "separator": Parameter("character", ",", doc="between two cells")},
        standardize=True,
        flat=True,
    ),
    "parquet": Source("a table in a Parquet file", _TABLE, standardize=True, flat=True),
    "text": Source(
        "the characters of a UTF-8 file, each to be told from those before it",
        {
            "source": Parameter("path", doc="the file"),
            "context": _whole("[1, inf)", 64, "characters of a sample"),
            "samples": _whole("[2, inf)", None, "use only the first so many", optional=True),
        },
        task="language",
        ordered=True,
    ),
    "images": Source(
        "a folder of images, one folder per class",
        {
            "source": Parameter("path", doc="the folder"),
            "size": Parameter(
                "sides", None, optional=True, doc="pixels; null: the images have one size"
            ),
            "resize": Parameter(
                "text", "crop", choices=("stretch", "crop"), doc="how they come to that size"
            ),
            "channels": Parameter("int", 3, choices=("1", "3"), doc="grey or RGB"),
            "task": replace(
                _TASK,
                choices=("classification", "own"),
                doc="what the folders' numbers are; null: classification",
            ),
            "samples": _whole("[2, inf)", None, "use only so many for training", optional=True),
        },
        task="classification",
        own_split=True,
        own_test=True,
    ),
}

SPLITTING: dict[str, Parameter] = {
    "standardize": Parameter("bool", False, doc="by mean and deviation of the training split"),
    "split_seed": _whole("[0, 4294967295]", 0),
    "validation_seed": _whole(
        "[0, 4294967295]",
        None,
        "draws the validation part or the folds anew, of all but the test part; "
        "null: split_seed does",
        optional=True,
    ),
}
"""The plain values every data source takes; `validation` and `test` have grammars of their own."""


IMPORTED: dict[str, Parameter] = {
    "task": _TASK,
    "images": _IMAGES,
    "classes": _whole(
        "[2, inf)",
        None,
        "how many, of what is loaded batch by batch and does not say so itself",
        optional=True,
    ),
}
"""The plain values that data by a class path take beside their arguments."""


def splitting(source: Source | None) -> dict[str, Parameter]:
    """`SPLITTING` with the defaults of a source; None is data by a class path."""
    if source is None or not source.standardize:
        return SPLITTING
    return {**SPLITTING, "standardize": replace(SPLITTING["standardize"], default=True)}


def name_of(component: Mapping[str, Any]) -> Any:
    """The name of a component, built-in or its class path; None where it has neither."""
    return component.get("name", component.get("class_path"))


def arguments_of(component: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a component, those of code under `init_args`, without its name."""
    given = component.get("init_args")
    if isinstance(given, Mapping):
        return given
    return {key: part for key, part in component.items() if key not in ("name", "class_path")}


# what follows a search, and when it stops


# defaults and sizes


def title(task: str) -> str:
    """A task's name as messages show it to the user."""
    return "targets of your own kind" if task == "own" else task


def default_metric(task: str) -> str:
    """The objective's metric where the spec names none."""
    return TASKS[task]


def default_loss(task: str) -> str | None:
    """The training loss where the spec names none; None where it depends on the user's code."""
    if task == "own":
        return None
    return next(name for name, (tasks, _) in LOSSES.items() if task in tasks)


_LOG_NAMES = re.compile(r"(lr|learning_?rate|weight_?decay|(^|_)(wd|eps))$|batch_?size")


def usual_scale(name: str) -> str:
    """The scale of a range of a number that is known by its name alone, as in a training of the
    user's: log for rates (max_lr, learningRate), weight decays (wd), eps and batch sizes; linear
    for all others, such as num_steps, which merely ends in eps."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.rpartition(".")[2])
    return "log" if _LOG_NAMES.search(words.lower()) else "linear"


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
