"""A schedule as a function of the step in plain Python, for programs that know no lrsearch.

The function is the one of `lrsearch.schedules`, written out with its numbers: it needs `math` alone
and gives the same multiple of the base rate at every step, the warmup included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lrsearch import duration, schedules
from lrsearch.catalogue import METRICS
from lrsearch.errors import UsageError

PLATEAU = "plateau"

_COSINE = "0.5 * (1.0 + math.cos(math.pi * share))"


@dataclass(frozen=True)
class Setting:
    """A training to write as code: the resolved `train` of a point, the training samples, its steps
    in all (`budget`). `title` says what it is, on one line. `batch` is the mean size of a batch,
    which durations are counted by, where a loader has an order of its own; `data` is the resolved
    `data`, `task` what the targets are, `beside` the searched values of model and data, `model` the
    resolved `model`."""

    train: Mapping[str, Any]
    samples: int
    budget: int
    title: str
    batch: float | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    task: str = ""
    beside: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> dict[str, Any]:
        """The sizes that durations are converted by."""
        batch = self.batch if self.batch is not None else int(self.train["batch_size"])
        return {"samples": self.samples, "batch_size": batch, "budget": self.budget}

    @property
    def schedule(self) -> Mapping[str, Any]:
        """The resolved schedule."""
        found: Mapping[str, Any] = self.train["schedule"]
        return found

    @property
    def warmup(self) -> int:
        """The steps of the warmup."""
        return duration.warmup_steps(self.train["warmup"], **self.size)

    @property
    def follows(self) -> bool:
        """Whether the rate follows a metric, and is no function of the step alone."""
        return self.schedule.get("name") == PLATEAU

    @property
    def varies(self) -> bool:
        """Whether the rate changes at all."""
        return self.schedule.get("name") != "constant" or self.warmup > 0

    @property
    def interval(self) -> float:
        """The steps from one evaluation to the next, as a training has them."""
        return max(1.0, duration.parse(self.train["evaluate"]).steps(**self.size))


def number(value: Any) -> str:
    """A number as Python reads it back, whole ones without a point."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return repr(value)


def write_multiplier(setting: Setting) -> list[str]:
    """The lines of a function `multiplier(step)`: the rate of the update `step`, counted from 0, as
    a multiple of the base rate. Raises UsageError where a path names a function that cannot be
    imported as one."""
    lines = [
        "def multiplier(step):",
        '    """The learning rate of the update `step`, counted from 0, over LR."""',
    ]
    if setting.warmup:
        lines += [
            "    if step < WARMUP:",
            f"        share = step / WARMUP  # a {setting.train['warmup']['shape']} warmup",
            f"        return {_warmup(setting.train['warmup'])}",
            "    step -= WARMUP",
        ]
    schedule = setting.schedule
    if "class_path" in schedule:
        return lines + _own(schedule, _rest(setting))
    arguments = schedules.in_steps(
        schedule, setting.budget, setting.samples, setting.size["batch_size"]
    )
    written = _WRITERS[schedule["name"]](_Given(arguments, setting.budget - setting.warmup))
    if any("TOTAL" in line for line in written):
        lines.append(f"    TOTAL = {_rest(setting)}")
    return [*lines, *(f"    {line}" for line in written)]


def _rest(setting: Setting) -> str:
    return "STEPS - WARMUP" if setting.warmup else "STEPS"


def _own(schedule: Mapping[str, Any], rest: str) -> list[str]:
    """The call of the user's function by its progress."""
    given = "".join(
        f", {name}={value!r}" for name, value in (schedule.get("init_args") or {}).items()
    )
    return [f"    return shape(min(step / ({rest}), 1.0){given})"]


def imported_shape(setting: Setting) -> list[str]:
    """The line that imports the function of a schedule of the user's; [] of any other."""
    path = str(setting.schedule.get("class_path", ""))
    if not path:
        return []
    found = write_import(path, "shape")
    if not found:
        raise UsageError(f"{path} is no path that Python imports", where="schedule.class_path")
    return found


def write_import(path: str, name: str = "") -> list[str]:
    """The lines that import what a class path names, by its last part or as `name`; [] for what is
    no path. A part that begins with a capital is a class, and what follows it is in that."""
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return []
    whole = len(parts) - 1
    at = next((place for place in range(1, whole) if parts[place][0].isupper()), whole)
    line = f"from {'.'.join(parts[:at])} import {parts[at]}"
    if at < whole:
        return [line, f"{name or parts[-1]} = {'.'.join(parts[at:])}"]
    return [f"{line} as {name}" if name else line]


def _warmup(warmup: Mapping[str, Any]) -> str:
    start = number(warmup["start"])
    return {
        "linear": f"{start} + (1.0 - {start}) * share",
        "exponential": f"{start} ** (1.0 - share)",
        "cosine": f"{start} + (1.0 - {start}) * 0.5 * (1.0 - math.cos(math.pi * share))",
    }[warmup["shape"]]


# the schedules


@dataclass(frozen=True)
class _Given:
    """The arguments of a schedule, durations in steps, and the steps behind its warmup."""

    values: Mapping[str, Any]
    total: int

    def __getitem__(self, name: str) -> str:
        return number(self.values[name])

    def fall(self, shape: str) -> str:
        """The line that returns a fall from 1 to `final`, of which the expression `shape` is
        left."""
        final = self["final"]
        return f"return {shape if final == '0' else f'{final} + (1.0 - {final}) * {shape}'}"

    def triangle(self, factor: str = "") -> list[str]:
        """The lines of a rise from `base` and a fall, again and again, each by a `factor` lower."""
        base, half = self["base"], self["half"]
        return [
            f"cycle = math.floor(step / (2 * {half}) + 1e-9)",
            f"height = max(1.0 - abs(step / {half} - 2 * cycle - 1.0), 0.0)",
            f"return {base} + (1.0 - {base}) * height{factor}",
        ]


def _pairs(points: Iterable[tuple[float, float]]) -> str:
    return ", ".join(f"({number(left)}, {number(right)})" for left, right in points)


def _restarts(given: _Given) -> list[str]:
    first, mult, cycles = (given.values[name] for name in ("first", "mult", "cycles"))
    if first is None:
        first = given.total / (cycles if mult == 1 else (mult**cycles - 1) / (mult - 1))
    if mult == 1:
        lines = [
            f"length = {number(first)}",
            "cycle = math.floor((step + 1e-9) / length)",
            "start = cycle * length",
        ]
    else:
        lines = [
            f"cycle, start, length = 0, 0.0, {number(first)}",
            "while start + length <= step + 1e-9:",
            f"    cycle, start, length = cycle + 1, start + length, length * {number(mult)}",
        ]
    final = given.values["final"]
    height = f"{number(1.0 - final)} * {given['peak_decay']} ** cycle"
    return [
        *lines,
        "share = min(max((step - start) / length, 0.0), 1.0)",
        f"return {number(final)} + {height} * {_COSINE}",
    ]


def _one_cycle(given: _Given) -> list[str]:
    values = given.values
    low, bottom = 1.0 / values["div"], 1.0 / (values["div"] * values["final_div"])
    first, last = values["pct_start"] * given.total - 1.0, given.total - 1.0
    phases = [(first, 1.0), (last, bottom)]
    if values["three_phase"]:
        phases = [(first, 1.0), (2 * values["pct_start"] * given.total - 2.0, low), (last, bottom)]
    shape = _COSINE if values["anneal"] == "cos" else "(1.0 - share)"
    return [
        f"begin, left = 0.0, {number(low)}",
        f"for end, right in [{_pairs(phases)}]:",
        "    if step <= end:",
        "        share = (step - begin) / (end - begin) if end > begin else 1.0",
        f"        return right + (left - right) * {shape}",
        "    begin, left = end, right",
        "return left",
    ]


def _piecewise(given: _Given) -> list[str]:
    points = _pairs(given.values["points"])
    if given.values["join"] == "linear":
        return [
            f"points = [{points}]",
            "for (begin, left), (end, right) in zip(points, points[1:]):",
            "    if step < end:",
            "        share = max((step - begin) / (end - begin), 0.0)",
            "        return left + (right - left) * share",
            "return points[-1][1]",
        ]
    return [
        "value = 1.0",
        f"for begin, held in [{points}]:",
        "    value = held if step + 1e-9 >= begin else value",
        "return value",
    ]


_SHARE = "share = min(step / TOTAL, 1.0)"
_WSD = {"linear": "(1.0 - share)", "cosine": _COSINE, "sqrt": "(1.0 - math.sqrt(share))"}

_WRITERS: dict[str, Callable[[_Given], list[str]]] = {
    "constant": lambda given: ["return 1.0"],
    "linear": lambda given: [_SHARE, f"return 1.0 + ({given['final']} - 1.0) * share"],
    "polynomial": lambda given: [_SHARE, given.fall(f"(1.0 - share) ** {given['power']}")],
    "cosine": lambda given: [_SHARE, given.fall(_COSINE)],
    "cosine_restarts": _restarts,
    "step": lambda given: [
        f"return {given['gamma']} ** math.floor(step / {given['every']} + 1e-9)"
    ],
    "multistep": lambda given: [
        "passed = sum(step + 1e-9 >= each for each in "
        f"[{', '.join(map(number, given.values['milestones']))}])",
        f"return {given['gamma']} ** passed",
    ],
    "exponential": lambda given: [
        f"return {given['gamma']} ** (step / {given['every']})"
        if given.values["final"] is None
        else f"return {given['final']} ** (step / TOTAL)"
    ],
    "inverse_time": lambda given: [
        f"return 1.0 / (1.0 + {given['rate']} * math.floor(step / {given['every']} + 1e-9))"
        if given.values["staircase"]
        else f"return 1.0 / (1.0 + {given['rate']} * step / {given['every']})"
    ],
    "inverse_sqrt": lambda given: [f"return 1.0 / math.sqrt(1.0 + step / {given['timescale']})"],
    "one_cycle": _one_cycle,
    "triangular": lambda given: given.triangle(),
    "triangular2": lambda given: given.triangle(" * 0.5**cycle"),
    "exp_range": lambda given: given.triangle(f" * {given['gamma']} ** (step / {given['every']})"),
    "wsd": lambda given: [
        f"share = min(max((step - (TOTAL - {given['decay']})) / {given['decay']}, 0.0), 1.0)",
        given.fall(_WSD[given.values["shape"]]),
    ],
    "tanh": lambda given: [
        _SHARE,
        f"top, bottom = math.tanh({given['lower']}), math.tanh({given['upper']})",
        f"at = {given['lower']} + ({given['upper']} - {given['lower']}) * share",
        given.fall("(bottom - math.tanh(at)) / (bottom - top)"),
    ],
    "piecewise": _piecewise,
    PLATEAU: lambda given: ["return 1.0"],  # Its factor is the metric's, see `plateau.jinja`.
}
"""The lines of each schedule's function, behind its warmup."""


def find_plateau(setting: Setting) -> schedules.Plateau:
    """The plateau of a setting whose rate follows a metric, its lengths in steps."""
    known = METRICS.get(setting.schedule["metric"])
    return schedules.make_plateau(
        setting.schedule,
        setting.train["warmup"],
        goal=known[0] if known else setting.schedule["mode"],  # Of a metric of the user's.
        evaluate=setting.train["evaluate"],
        **setting.size,
    )
