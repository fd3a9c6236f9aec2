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


def _length(default: Any, doc: str, search: str = "", *, optional: bool = False) -> Parameter:
    """A duration above 0."""
    return Parameter(
        "duration",
        default,
        low=0.0,
        open_low=True,
        optional=optional,
        numeric=True,
        doc=doc,
        search=search,
    )


def _gamma(default: float, doc: str, search: str, scale: str = "linear") -> Parameter:
    return Parameter(
        "float",
        default,
        low=0.0,
        high=1.0,
        open_low=True,
        scale=scale,
        numeric=True,
        doc=doc,
        search=search,
    )


_FINAL = Parameter(
    "float",
    0.0,
    low=0.0,
    numeric=True,
    doc="the rate at the end of the budget, as a ratio of the base rate",
    search="[0, 0.01, 0.1]",
)
_BASE = Parameter(
    "float",
    0.25,
    low=0.0,
    high=1.0,
    numeric=True,
    doc="the lowest rate, as a ratio of the base rate",
    search="{min: 0.05, max: 0.5}",
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
            "power": Parameter(
                "float",
                2.0,
                low=0.0,
                open_low=True,
                scale="log",
                numeric=True,
                doc="1 is a line, more falls early",
                search="{min: 0.5, max: 4}",
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
            "cycles": Parameter(
                "int",
                4,
                low=1,
                high=100_000,
                numeric=True,
                doc="how many end with the budget, where `first` is null",
                search="[2, 3, 4]",
            ),
            "first": _length(None, "the first cycle, instead of their number", optional=True),
            "mult": Parameter(
                "float",
                1.0,
                low=1.0,
                high=100.0,
                numeric=True,
                doc="length of a cycle over the one before",
                search="[1, 2]",
            ),
            "peak_decay": Parameter(
                "float",
                1.0,
                low=0.0,
                high=1.0,
                open_low=True,
                numeric=True,
                doc="height of a cycle over the one before",
                search="{min: 0.3, max: 1}",
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
            "final": Parameter(
                "float",
                None,
                low=0.0,
                high=1.0,
                open_low=True,
                optional=True,
                scale="log",
                numeric=True,
                doc="the ratio at the end of the budget, instead of gamma",
                search="{min: 1e-3, max: 0.1}",
            ),
        },
        "torch ExponentialLR; Keras ExponentialDecay",
        (("gamma", "final"), ("every", "final")),
    ),
    "inverse_time": Entry(
        "falls as one over the time that has passed",
        {
            "rate": Parameter(
                "float",
                1.0,
                low=0.0,
                scale="log",
                numeric=True,
                doc="how much of the divisor each `every` adds",
                search="{min: 0.1, max: 10}",
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
            "pct_start": Parameter(
                "float",
                0.3,
                low=0.0,
                high=1.0,
                open_high=True,
                numeric=True,
                doc="share going up",
                search="{min: 0.1, max: 0.45}",
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
            "lower": Parameter(
                "float", -6.0, low=-50.0, high=50.0, numeric=True, search="{min: -8, max: -3}"
            ),
            "upper": Parameter(
                "float", 3.0, low=-50.0, high=50.0, numeric=True, search="{min: 2, max: 4}"
            ),
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
            "factor": Parameter(
                "float",
                0.1,
                low=0.0,
                high=1.0,
                open_low=True,
                open_high=True,
                scale="log",
                numeric=True,
                doc="what each fall multiplies by",
                search="{min: 0.1, max: 0.5}",
            ),
            "patience": Parameter(
                "duration",
                "0.1dur",
                low=0.0,
                numeric=True,
                doc="without improvement; it falls at the evaluation after",
                search="{min: 0.05dur, max: 0.2dur}",
            ),
            "threshold": Parameter(
                "float", 1e-4, low=0.0, scale="log", numeric=True, doc="what is no improvement yet"
            ),
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
            "min": Parameter(
                "float",
                0.0,
                low=0.0,
                high=1.0,
                numeric=True,
                doc="the lowest rate, as a ratio of the base rate",
            ),
            "rises": Parameter(
                "bool", False, numeric=True, doc="it rises, too, when the metric goes on improving"
            ),
            "max": Parameter(
                "float",
                1.0,
                low=1.0,
                scale="log",
                numeric=True,
                doc="the highest rate it rises to, as a ratio of the base rate",
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
    "start": Parameter(
        "float", 0.01, low=0.0, high=1.0, numeric=True, doc="first rate over base rate"
    ),
}

# optimizers

_WEIGHT_DECAY = Parameter("float", 0.0, low=0.0, scale="log", numeric=True)
_BETAS = {
    "beta1": Parameter("float", 0.9, low=0.0, high=1.0, open_high=True, numeric=True),
    "beta2": Parameter("float", 0.999, low=0.0, high=1.0, open_high=True, numeric=True),
    "eps": Parameter("float", 1e-8, low=0.0, open_low=True, scale="log", numeric=True),
}

_DECOUPLED = Parameter(
    "bool", False, numeric=True, doc="decay the parameters themselves, as adamw does"
)

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
    "amsgrad": Entry(
        "Adam by the largest squares so far (torch.optim.Adam with amsgrad)",
        {**_BETAS, "weight_decay": _WEIGHT_DECAY},
    ),
    "nadam": Entry(
        "Adam with Nesterov momentum (torch.optim.NAdam)",
        {
            **_BETAS,
            "weight_decay": _WEIGHT_DECAY,
            "momentum_decay": Parameter(
                "float",
                4e-3,
                low=0.0,
                scale="log",
                numeric=True,
                doc="how fast the momentum grows from half of beta1 to beta1",
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
            "alpha": Parameter(
                "float",
                0.99,
                low=0.0,
                high=1.0,
                open_high=True,
                numeric=True,
                doc="how much of the mean square a step keeps",
            ),
            "eps": _BETAS["eps"],
            "momentum": Parameter("float", 0.0, low=0.0, high=1.0, open_high=True, numeric=True),
            "centered": Parameter(
                "bool", False, numeric=True, doc="by the variance in place of the mean square"
            ),
            "weight_decay": _WEIGHT_DECAY,
        },
    ),
    "adagrad": Entry(
        "the gradient over the root of all its squares so far (torch.optim.Adagrad)",
        {
            "lr_decay": Parameter(
                "float",
                0.0,
                low=0.0,
                scale="log",
                numeric=True,
                doc="the rate is divided by 1 + lr_decay * steps made",
            ),
            "eps": replace(_BETAS["eps"], default=1e-10),
            "weight_decay": _WEIGHT_DECAY,
        },
    ),
    "adadelta": Entry(
        "steps as large as the last ones were (torch.optim.Adadelta)",
        {
            "rho": Parameter(
                "float",
                0.9,
                low=0.0,
                high=1.0,
                open_high=True,
                numeric=True,
                doc="how much of the mean squares a step keeps",
            ),
            "eps": replace(_BETAS["eps"], default=1e-6),
            "weight_decay": _WEIGHT_DECAY,
        },
    ),
    "adafactor": Entry(
        "mean squares of rows and columns in place of each entry's, steps relative to the"
        " parameter's size, weight decay decoupled (torch.optim.Adafactor)",
        {
            "beta2_decay": Parameter(
                "float",
                -0.8,
                high=0.0,
                numeric=True,
                doc="the mean square keeps 1 - step**beta2_decay",
            ),
            "eps1": Parameter(
                "float",
                None,
                low=1e-18,  # Its square is to be a number of float32.
                optional=True,
                scale="log",
                numeric=True,
                doc="least root mean square of a gradient; null: the precision of the"
                " parameters' type",
            ),
            "eps2": Parameter(
                "float",
                1e-3,
                low=0.0,
                open_low=True,
                scale="log",
                numeric=True,
                doc="least root mean square of a parameter",
            ),
            "d": Parameter(
                "float",
                1.0,
                low=1.0,
                scale="log",
                numeric=True,
                doc="largest root mean square of a step before it is scaled",
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
            "momentum": Parameter("float", 0.95, low=0.0, high=1.0, open_high=True, numeric=True),
            "nesterov": Parameter("bool", True, numeric=True),
            "weight_decay": replace(_WEIGHT_DECAY, default=0.1),
            "ns_steps": Parameter(
                "int", 5, low=1, high=99, doc="Newton-Schulz iterations, in bfloat16"
            ),
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
        "trials": Parameter("int", 40, low=1),
        "sampler": Parameter("text", "random", choices=("informed", "sobol", "random")),
    },
    "bayes": {
        "trials": Parameter("int", 40, low=1),
        "startup": Parameter("int", 8, low=1, doc="points before the model proposes any"),
        "generation": Parameter("int", 4, low=1),
        "start": Parameter("text", "informed", choices=("informed", "sobol", "random")),
        "model": Parameter("text", "tpe", choices=("tpe", "gp")),
    },
    "refine": {
        "rounds": Parameter("int", 3, low=1, doc="rounds in the whole run"),
        "width": Parameter(
            "float", 0.5, low=0.0, high=4.0, open_low=True, doc="decades of the best's interval"
        ),
    },
    "stop": {
        "patience": Parameter(
            "int", None, low=1, optional=True, doc="proposals without an improvement beyond noise"
        ),
    },
    "confirm": {
        "top": Parameter("int", 4, low=1, high=64, doc="points that are measured again"),
        "seeds": Parameter("int", 5, low=1, high=100, doc="fresh seeds of each, at most"),
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
    "lr": Parameter(
        "float", low=0.0, open_low=True, scale="log", numeric=True, doc="the base learning rate"
    ),
    "batch_size": Parameter("int", 32, low=1, scale="log"),
    "loss": Parameter("text", None, choices=tuple(LOSSES), optional=True),
    "label_smoothing": Parameter("float", 0.0, low=0.0, high=1.0, open_high=True, numeric=True),
    "clip_norm": Parameter(
        "float", None, low=0.0, open_low=True, optional=True, scale="log", numeric=True
    ),
    "layer_decay": Parameter(
        "float",
        None,
        low=0.0,
        high=1.0,
        open_low=True,
        optional=True,
        numeric=True,
        doc="a layer's rate over that of the layer above it",
        search="{min: 0.6, max: 1}",
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
    "resnet": Entry(
        "a residual network of 3x3 convolutions in three stages, each half as large and twice as "
        "wide as the one before (He et al. 2016, section 4.2)",
        {
            "depth": Parameter("int", 8, low=8, high=1202, every=6, doc="layers with weights"),
            "width": Parameter("int", 16, low=1, doc="channels of the first stage"),
            "activation": _ACTIVATION,
            "batch_norm": Parameter("bool", True),
        },
    ),
    "char_transformer": Entry(
        "a small GPT on the characters of `text`: pre-norm blocks of causal attention, learned "
        "positions (nanoGPT)",
        {
            "layers": Parameter("int", 4, low=1, doc="blocks"),
            "heads": Parameter("int", 4, low=1, doc="of attention; they divide the width"),
            "width": Parameter("int", 128, low=1, doc="numbers a character is turned into"),
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
    near = f"a width of {above}" if below == 0 else f"a width of {below} or {above}"
    return "width", f"a width of {width} is not divisible by {heads} heads", f"{near} is"


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
        {"padding": Parameter("int", low=1, doc="zeros at each side, in pixels")},
    ),
    "flip": Entry(
        "left and right change places",
        {
            "p": Parameter(
                "float", 0.5, low=0.0, high=1.0, open_low=True, doc="probability, of each sample"
            )
        },
    ),
    "noise": Entry(
        "adds normal noise to all numbers",
        {
            "std": Parameter(
                "float", low=0.0, open_low=True, doc="its deviation, after `standardize`"
            )
        },
    ),
    "mixup": Entry(
        "mixes each sample, and its loss, with another of the batch (Zhang et al. 2018)",
        {
            "alpha": Parameter(
                "float",
                0.2,
                low=0.001,
                high=1000.0,
                doc="the batch's share is of Beta(alpha, alpha)",
            )
        },
    ),
}
"""Transforms of training batches."""

IMAGE_TRANSFORMS = ("random_crop", "flip")
"""Transforms that take images alone."""

# early stopping

_REPORTS = {
    "budget": Parameter(
        "int",
        None,
        low=2,
        optional=True,
        doc="of a command or a loop: the step of the last report of a whole training",
    )
}
_STARTUP = Parameter("int", 4, low=1, doc="points before any is stopped")
_FACTOR = Parameter("int", 3, low=2, doc="one of so many goes on")

PRUNING: dict[str, Entry] = {
    "none": Entry("every training goes to its end"),
    "no_progress": Entry(
        "a training stops whose loss, at a tenth of the budget, is above 98% of its start"
    ),
    "quarter": Entry(
        "at 1/9 and 1/3 of the budget the worst quarter of all points that got there stops",
        {"population": Parameter("int", 32, low=4, doc="points that are compared"), **_REPORTS},
    ),
    "halving": Entry(
        "for small searches: half of the points go on after 1/9 of the budget, a quarter after 1/3",
        {"population": Parameter("int", 8, low=4, doc="points that are compared"), **_REPORTS},
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
            "keep": Parameter(
                "float", 0.75, low=0.0, high=1.0, open_low=True, open_high=True, doc="the share"
            ),
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
            "p": Parameter(
                "float", 0.1, low=0.0, high=0.5, open_low=True, doc="the level of the test"
            ),
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
    order, not shuffled."""

    doc: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    samples: int | None = None
    task: str | None = None
    own_split: bool = False
    own_test: bool = False
    standardize: bool = False
    ordered: bool = False


_SAMPLES = Parameter(
    "int", None, low=2, optional=True, doc="use only the first so many for training"
)
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
    "samples": _SAMPLES,
    "shuffle": _SHUFFLE,
}

DATA: dict[str, Source] = {
    "digits": Source(
        "handwritten digits, 1x8x8, 10 classes", {"task": _TASK}, 1797, "classification"
    ),
    "breast_cancer": Source("30 features, 2 classes", {"task": _TASK}, 569, "classification"),
    "wine": Source("13 features, 3 classes", {"task": _TASK}, 178, "classification"),
    "iris": Source("4 features, 3 classes", {"task": _TASK}, 150, "classification"),
    "diabetes": Source("10 features, one target", {"task": _TASK}, 442, "regression"),
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
    ),
    "parquet": Source("a table in a Parquet file", _TABLE, standardize=True),
    "text": Source(
        "the characters of a UTF-8 file, each to be told from those before it",
        {
            "source": Parameter("path", doc="the file"),
            "context": Parameter("int", 64, low=1, doc="characters of a sample"),
            "samples": Parameter(
                "int", None, low=2, optional=True, doc="use only the first so many"
            ),
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
            "samples": Parameter(
                "int", None, low=2, optional=True, doc="use only so many for training"
            ),
        },
        task="classification",
        own_split=True,
        own_test=True,
    ),
}

SPLITTING: dict[str, Parameter] = {
    "standardize": Parameter("bool", False, doc="by mean and deviation of the training split"),
    "split_seed": Parameter("int", 0, low=0, high=2**32 - 1),
    "validation_seed": Parameter(
        "int",
        None,
        low=0,
        high=2**32 - 1,
        optional=True,
        doc="draws the validation part or the folds anew, of all but the test part; "
        "null: split_seed does",
    ),
}
"""The plain values every data source takes; `validation` and `test` have grammars of their own."""


IMPORTED: dict[str, Parameter] = {
    "task": _TASK,
    "images": _IMAGES,
    "classes": Parameter(
        "int",
        None,
        low=2,
        optional=True,
        doc="how many, of what is loaded batch by batch and does not say so itself",
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
