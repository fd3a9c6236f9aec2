"""Schedules by their names elsewhere, with their arguments: torch, Keras, Hugging Face, timm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lrsearch import catalogue
from lrsearch.spec.foreign.names import metric, plain, snake, split
from lrsearch.spec.foreign.ranges import is_finite, lasting, number

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
"""Schedules whose lengths are steps."""

_EVERY = ("step_size", "decay_t", "decay_steps", "decay_epochs", "every", "lr_step_size", "period")

_FINAL = ("alpha", "min_lr_rate", "min_lr_ratio", "final_ratio", "lr_min_ratio", "final_lr_ratio")

_LOWEST = ("eta_min", "min_lr", "lr_min", "lr_end", "end_learning_rate", "final_lr", "end_lr")
"""Arguments that are absolute rates: `final` is their share of the base rate."""

Convert = Callable[[Any, str], Any]


def _length(value: Any, unit: str) -> Any:
    found = lasting(value, unit)
    return value if found is None else found


def _lengths(value: Any, unit: str) -> Any:
    return [_length(part, unit) for part in value] if isinstance(value, list) else value


def _unit(key: str, *, steps: bool) -> str:
    """The unit of a length of a schedule: the word's own, or the tool's, which counts `steps`, or
    calls of its scheduler, of which there is one an epoch."""
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

_SHARES = ("warmup", "warmup_ratio", "warmup_fraction", "warmup_proportion", "warmup_pct")

_SAID = (
    "t_max", "max_iters", "max_steps", "total_steps", "total_iters", "num_training_steps",
    "t_initial", "decay_steps", "last_epoch", "verbose", "max_lr", "initial_learning_rate",
    "lr", "learning_rate", "base_lr", "optimizer", "mode", "epochs", "steps_per_epoch",
    "staircase", "warmup_lr_init", "warmup_prefix", "warmup_start_lr", "cycle",
    "cycle_momentum", "boundaries", "values", "factor", "warmup", "t_in_epochs", "decay_type",
    "monitor", "metric_name", "interval", "frequency",
    *_WARMUPS,
    *_SHARES,
)  # fmt: skip
"""Arguments without a place here: given elsewhere, following from the budget, or meaningless."""


def left_out(value: Any, lr: Any) -> str:
    """The arguments of a schedule that its translation has no place for, in words, or ""."""
    found = _schedule(value, lr)
    if found is None or not found[2]:
        return ""
    absolute = [key for key in found[2] if snake(key) in _LOWEST]
    if absolute:
        share = "min" if split(found[0])[0] == "plateau" else "final"
        return f"{absolute[0]} is a share of lr here: add {share} to it"
    return f"{', '.join(found[2])} is not in it"


def translate_schedule(value: Any, lr: Any = None) -> tuple[Any, Any] | None:
    """The schedule of a name, or of a mapping with arguments, and the warmup that came with it,
    None where there was none. `lr` is the base rate, where it is one number: rates that are
    absolute elsewhere are ratios of it here."""
    found = _schedule(value, lr)
    return None if found is None else found[:2]


def _schedule(value: Any, lr: Any) -> tuple[Any, Any, list[str]] | None:
    """The schedule, its warmup, and the arguments that are in neither."""
    name, given = split(value)
    word = plain(name)
    if word.startswith("get"):  # transformers: get_cosine_schedule_with_warmup
        word = word.removeprefix("get").replace("schedule", "").removesuffix("lr") or word
    meant = name if name in catalogue.SCHEDULES else _SCHEDULES.get(word)
    if meant is None:
        return None
    if meant == "own":
        return {"class_path": "my_module.decay"}, None, []
    steps = word in _KERAS
    words = {snake(key): part for key, part in given.items()}
    mode = words.get("mode")
    if meant == "triangular" and mode in ("triangular2", "exp_range"):
        meant = mode
    if word == "exponentialdecay" and words.get("staircase") is True:
        meant = "step"
    found: dict[str, Any] = {}
    left: list[str] = []
    known = catalogue.SCHEDULES[meant].parameters
    for key, part in given.items():
        if key in known and meant == name:
            # lrsearch's own argument of lrsearch's own schedule.
            found[key] = _length(part, "ep") if known[key].kind == "duration" else part
            continue
        argument, convert = _CONVERTED.get(meant, {}).get(snake(key), (snake(key), _as_is))
        if argument in known and argument not in found:
            found[argument] = convert(part, _unit(snake(key), steps=steps))
        elif argument not in known and snake(key) not in _SAID:
            left.append(key)
    left = _take_rates(meant, words, lr, found, left)
    warmup: Any = None
    for key in _WARMUPS:
        if isinstance(words.get(key), int) and words[key] > 0:
            warmup = f"{words[key]}{_unit('epochs' if key == 'warmup_t' else key, steps=steps)}"
    warmup = words.get("warmup") if isinstance(words.get("warmup"), str | Mapping) else warmup
    for key in _SHARES:
        if is_finite(share := number(words.get(key))) and 0 < share < 1:
            warmup = str(lasting(share, "dur"))
    if warmup is None and (word in ("sequentiallr", "chainedscheduler") or "warmup" in word):
        warmup = "0.05dur" if word != "warmupstabledecay" else None
    found = _finish(meant, word, words, found)
    return ({"name": meant, **found} if found else meant), warmup, left


def _take_rates(
    meant: str, words: Mapping[str, Any], lr: Any, found: dict[str, Any], left: list[str]
) -> list[str]:
    """Put absolute rates, or shares of one, into the schedule that is `found`; returns the rest of
    `left`."""
    known = catalogue.SCHEDULES[meant].parameters
    lowest = "final" if "final" in known else "min" if meant == "plateau" else ""
    for key in (*_FINAL, *_LOWEST) if lowest and lowest not in found else ():
        low = number(words.get(key))
        if not is_finite(low):
            continue
        share = low if key in _FINAL else low / lr if is_finite(lr) and lr else 0
        if share > 0:
            found[lowest] = float(f"{share:.6g}")
        if share > 0 or low == 0:
            left = [each for each in left if snake(each) != key]
        break
    if meant == "linear" and number(words.get("start_factor", 1)) == 1 and "final" not in found:
        end = number(words.get("end_factor"))
        if is_finite(end) and 0 <= end <= 1:
            found["final"] = end
            left = [each for each in left if snake(each) not in ("end_factor", "start_factor")]
    low, high = number(words.get("base_lr")), number(words.get("max_lr", lr))
    if "base" in known and is_finite(low) and is_finite(high) and 0 < low < high:
        found["base"] = float(f"{low / high:.6g}")
    return left


def _finish(
    meant: str, word: str, words: Mapping[str, Any], found: dict[str, Any]
) -> dict[str, Any]:
    """Complete a schedule where converting single arguments is not enough."""
    if meant == "piecewise" and "points" not in found:
        bounds, values = (
            [number(part) for part in given] if isinstance(given := words.get(key), list) else []
            for key in ("boundaries", "values")
        )
        points: list[Any] = [["0ba", 0.3333], ["5ba", 1]]
        if word != "constantlr":
            points = [["0.5dur", 0.1]]
        factor, total = number(words.get("factor", 1 / 3)), number(words.get("total_iters", 5))
        if values and all(map(is_finite, (*bounds, *values))) and values[0]:
            # Keras still has the old value at a boundary.
            moments = [f"{bound + 1:g}ba" for bound in bounds]
            ratios = [float(f"{value / values[0]:.6g}") for value in values[1:]]
            points = [list(pair) for pair in zip(moments, ratios, strict=False)]
        elif {"factor", "total_iters"} & {*words} and is_finite(factor) and is_finite(total):
            points = [["0ba", float(f"{factor:.4g}")], [f"{total:g}ep", 1]]
        found = {"points": points}
    if meant == "exponential" and "gamma" in words and "every" not in found:
        found["every"] = "1ep"
    if meant == "wsd" and word == "flatcos":
        found.setdefault("shape", "cosine")
    if meant == "wsd" and words.get("decay_type") in ("1-sqrt", "cosine", "linear"):
        found["shape"] = str(words["decay_type"]).removeprefix("1-")
    if meant == "plateau" and word != meant:
        if word == "greedy":
            found["rises"] = True
        if "min_delta" in words:
            found["threshold_mode"] = "abs"
        found = {key: part for key, part in found.items() if key != "max"}
    if meant == "plateau":
        followed = words.get("metric", words.get("monitor", words.get("metric_name")))
        if followed is not None:
            found["metric"] = metric(followed) or followed
    if meant == "tanh" and word == "tanhlrscheduler":
        found = {key: part for key, part in found.items() if key in ("lower", "upper", "final")}
    if found.get("anneal") == "cosine":
        found["anneal"] = "cos"
    return found
