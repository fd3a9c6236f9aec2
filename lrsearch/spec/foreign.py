"""Words of other tools, and the line of a spec that stands for each.

One table, for specs, `--set` and the options of the command line: what Lightning, Keras, Hugging
Face, timm, scikit-learn, W&B, Ray, Optuna and Hydra call what a spec has, and where lrsearch's own
words belong that stand in the wrong mapping. A foreign word stays a fault: it is told what to
write, with the user's own value.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lrsearch import catalogue
from lrsearch.duration import parse_time
from lrsearch.spec import foreign_names as names
from lrsearch.spec.foreign_names import snake
from lrsearch.spec.foreign_ranges import (
    HIGH,
    LOW,
    Fixed,
    each,
    is_numeric,
    is_searched,
    lasting,
    number,
    read_foreign,
    rejoin,
)
from lrsearch.spec.values import Unfit, check_value, write

Path = tuple[str | int, ...]


LONGEST = 300
"""Characters of a value that a line shows."""


@dataclass(frozen=True)
class Line:
    """A line of a spec: `value` at `path`; `remark` is what else there is to know."""

    path: Path
    value: Any
    remark: str = ""

    def show(self, at: Path, *, option: bool = False) -> str:
        """What to write, for a fault at a path of the document, or of an `option` --set."""
        tail = f"; {self.remark}" if self.remark else ""
        *above, key = self.path
        within = any(isinstance(part, int) for part in self.path)
        if option and not within:
            text = f"{'.'.join(map(str, self.path))}={write(self.value)}"
            if len(text) > LONGEST:
                return f"write it as --set {'.'.join(map(str, self.path))}=...{tail}"
            return f"write --set {shlex.quote(text)}{tail}"
        if isinstance(key, int):
            shown = write(self.value)
            return f"write {shown if len(shown) <= LONGEST else shown[:LONGEST] + '...'}{tail}"
        replaced = at[: len(self.path)] == self.path
        place = ""
        if not replaced and tuple(above) != at[:-1]:
            place = f" under {'.'.join(map(str, above))}" if above else " at the top level"
        shown = write(self.value, block=len(self.path) == 1)
        if len(shown) > LONGEST:
            return f"write it as {key}{place} (it is too long to show){tail}"
        return f"write {key}: {shown}{place}{tail}"


Advice = list[Line] | str | None
"""Lines to write, or in words what to do where no line says it."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# the table

_WORDS = {
    "train.lr": """learning_rate base_lr initial_lr init_lr lr0 eta eta0 max_lr peak_lr
        initial_learning_rate learning_rate_init learningrate lrate rate base_learning_rate""",
    "train.batch_size": """bs batch batchsize train_batch_size per_device_train_batch_size batch_sz
        per_gpu_train_batch_size mini_batch_size minibatch_size micro_batch_size batch_sizes
        per_device_batch_size train_bs samples_per_batch""",
    "train.budget ep": """epochs num_epochs n_epochs max_epochs nb_epochs nb_epoch num_train_epochs
        epoch total_epochs train_epochs nepochs n_epoch max_epoch training_epochs number_of_epochs
        num_epoch""",
    "train.budget ba": """steps max_steps num_steps n_steps total_steps iterations max_iters iters
        max_iterations num_iterations num_iters n_iters train_steps training_steps max_iter
        num_train_steps max_train_steps num_training_steps num_updates max_updates max_update
        total_iters""",
    "train.optimizer": """optim opt optimiser optimizer_name optimizer_type optimizer_class
        optimizer_cls optimizers solver""",
    "train.schedule": """lr_scheduler scheduler sched lr_schedule lr_scheduler_type lr_policy
        learning_rate_schedule scheduler_type schedule_type lr_sched learning_rate_scheduler
        lr_scheduler_name lr_decay_style scheduler_name schedules lr_scheduler_config""",
    "train.loss": """criterion loss_fn loss_function loss_func losses criterions loss_name
        loss_type""",
    "train.clip_norm": """grad_clip clip_grad clip_grad_norm gradient_clip_val max_grad_norm clip
        grad_norm gradient_clipping max_norm clipnorm global_clipnorm grad_clip_norm gradient_clip
        clip_gradients clip_grad_norm_ clip_value max_gradient_norm""",
    "train.label_smoothing": "smoothing label_smoothing_factor smooth",
    "train.layer_decay": "layer_lr_decay llrd layerwise_lr_decay lr_layer_decay",
    "train.precision": "dtype amp_dtype torch_dtype",
    "train.precision on": "amp use_amp bf16 fp16 mixed_precision autocast half use_bf16 use_fp16",
    "train.evaluate ep": "check_val_every_n_epoch eval_epochs val_epochs",
    "train.evaluate as": """eval_every val_every validate_every eval_freq val_freq validation_freq
        eval_interval val_interval validation_interval""",
    "train.evaluate ba": "eval_steps val_steps eval_iters",
    "train.warmup ba": """warmup_steps num_warmup_steps warmup_iters warmup_updates
        n_warmup_steps warmup_batches lr_warmup_steps warm_up_steps""",
    "train.warmup ep": "warmup_epochs num_warmup_epochs warm_up_epochs lr_warmup_epochs",
    "train.warmup dur": """warmup_ratio warmup_proportion warmup_fraction warmup_pct warmup_frac
        warm_up_ratio""",
    "train.optimizer.weight_decay": """wd l2 l2_reg l2_penalty weightdecay l2_regularization
        reg regularization""",
    "train.optimizer.momentum": "mom sgd_momentum",
    "train.optimizer.beta1": "adam_beta1 beta_1",
    "train.optimizer.beta2": "adam_beta2 beta_2",
    "train.optimizer.eps": "adam_epsilon adam_eps epsilon",
    "train.optimizer.betas": "betas adam_betas",
    "train.schedule.final": "eta_min min_lr lr_end lr_min end_learning_rate final_lr min_lr_ratio",
    "train.schedule.gamma": "lr_gamma lr_decay lr_decay_factor decay_rate",
    "train.schedule.step_size": "step_size lr_step_size decay_epochs lr_decay_epochs",
    "train.schedule.milestones": "lr_steps lr_milestones decay_milestones",
    "train.schedule.pct_start": "pct",
    "train.schedule.t_max": "t_max",
    "data": "dataset data_set datamodule data_module dataset_name dataset_config train_data",
    "data.validation": """val_split validation_split val_size validation_size val_fraction val_ratio
        valid_split valid_size valid_pct validation_fraction val_frac holdout dev_split eval_split
        validation_ratio test_size val_percent""",
    "data.validation folds": "folds n_folds num_folds k_folds kfold k_fold cv n_splits cv_folds",
    "data.validation rest": "train_split train_size train_fraction train_ratio train_frac",
    "data.test": "test_split test_fraction test_ratio test_frac",
    "data.standardize": "normalize standardise normalise standardization normalization",
    "model": """network arch architecture net backbone model_name model_type estimator model_class
        module model_cls nn""",
    "objective.metric": """metric monitor eval_metric scoring score metric_name target_metric
        metric_for_best_model objective_metric metric_to_optimize early_stopping_metric""",
    "objective.goal": """direction mode greater_is_better optimization_direction directions
        maximize minimize goal_type""",
    "bayes.trials": """n_trials num_trials num_samples max_trials max_evals n_iter n_calls run_cap
        n_runs num_runs max_runs num_evaluations total_trials trial_count number_of_trials
        evaluations runs""",
    "bayes.startup": """n_startup_trials startup_trials n_initial_points initial_points
        num_initial n_random_starts random_trials""",
    "seed": "random_seed random_state rng_seed manual_seed global_seed seed_everything rng",
    "seeds count": """n_seeds num_seeds repeats n_repeats num_repeats repetitions replicates
        executions_per_trial trials_per_point n_replicates""",
    "max_failures": "max_errors max_failed max_failed_trials",
    "name": "run_name experiment experiment_name study_name project project_name exp_name study",
    "search": """parameters space search_space param_space hyperparameters hparams param_grid
        param_distributions hyper_parameters parameter_space hyperparams searched sweep_parameters
        hydra search_params config_space tune""",
    "command": "program script entrypoint run cmd executable script_path",
    "loop": "train_fn trainable train_function training_function train_func",
}  # fmt: skip

WORDS: dict[str, tuple[str, str]] = {
    word: (target.partition(" ")[0], target.partition(" ")[2])
    for target, listed in _WORDS.items()
    for word in listed.split()
}
"""Word -> (dotted path of a spec, how a value is converted)."""

HOMES: dict[str, str] = {
    **{
        argument: f"train.optimizer.{argument}"
        for entry in catalogue.OPTIMIZERS.values()
        for argument in entry.parameters
    },
    **{key: f"train.{key}" for key in (*catalogue.TRAIN, "schedule", "warmup", "optimizer")},
    **{
        key: f"data.{key}"
        for key in ("validation", "test", "task", *catalogue.SPLITTING, "transforms")
    },
    "target": "data.target", "source": "data.source",
    "metric": "objective.metric", "goal": "objective.goal", "at": "objective.at",
    "trials": "bayes.trials", "startup": "bayes.startup", "generation": "bayes.generation",
    "sampler": "random.sampler", "momentum": "train.optimizer.momentum",
    "gamma": "train.schedule.gamma", "milestones": "train.schedule.milestones",
    "pct_start": "train.schedule.pct_start", "data": "data", "model": "model",
    "final": "train.schedule.final",
    **{key: key for key in ("seed", "seeds", "max_failures", "save")},
    **{key: key for key in ("objective", "random", "bayes")},
}  # fmt: skip
"""lrsearch's own words -> where they belong."""

_CONTAINERS = _words(
    """
    train trainer training tune_config run_config trainer_args training_args
    training_arguments train_config fit compile sweep settings optimizer_config optimization
    hp args kwargs config general common experiment_config training_params train_params
    params
    """
)
"""Mappings of other tools that hold words of this table."""

_LEFT_OUT: dict[str, str] = {
    word: reason
    for words, reason in (
        (
            "shuffle drop_last pin_memory persistent_workers prefetch_factor prefetch",
            "training data are always shuffled, by the trial's seed",
        ),
        (
            "num_classes in_features in_channels input_size input_dim n_classes output_dim "
            "input_shape output_size num_features n_features in_dim out_dim num_labels",
            "it is filled in from the data",
        ),
        (
            "logger wandb logging verbose log_every_n_steps report_to logging_steps tensorboard "
            "callbacks save_top_k save_total_limit log_every mlflow "
            "log_level entity tags log_interval verbosity",
            "every measurement is kept under runs/",
        ),
        (
            "checkpoint checkpoints checkpointing save_strategy save_steps save_every "
            "save_interval checkpoint_interval checkpoint_every",
            "a training under way is saved by itself; save: 5m at the top level says how often",
        ),
        ("resume restore resume_from_checkpoint ckpt_path", "the same command goes on by itself"),
        ("defaults version download", "there is nothing like it to say here"),
        ("compile torch_compile deterministic benchmark cudnn_benchmark", "the engine sees to it"),
        (
            "gradient_accumulation_steps accumulate_grad_batches grad_accum grad_accumulation",
            "batch_size is what one step sees",
        ),
    )
    for word in words.split()
}
_STRATEGIES = _words(
    """
    method strategy algorithm algo search_alg search_algorithm search_strategy tuner
    search_method sweeper search_type optimization_method
    """
)
DEVICE_WORDS = _words(
    """
    device devices accelerator gpu gpus use_cuda cuda n_gpus num_gpus gpus_per_trial use_gpu
    no_cuda gpu_id gpu_ids resources_per_trial no_gpu tpu cpu resources
    """
)
WORKER_WORDS = _words(
    """
    workers n_jobs num_workers jobs parallel max_concurrent max_concurrent_trials n_workers
    concurrency parallelism dataloader_num_workers nproc num_cpus processes
    """
)
FOLDER_WORDS = _words(
    """
    output_dir save_dir log_dir logdir logging_dir out_dir results_dir storage storage_path
    local_dir runs_dir checkpoint_dir output outdir default_root_dir runs out
    """
)
_STOPPING = _words(
    """
    early_stopping patience early_stop early_stopping_patience early_terminate pruner
    pruning early_stopping_rounds early_stopper earlystopping load_best_model_at_end
    restore_best_weights es_patience hyperband asha
    """
)
STRATEGY_NAMES = {
    **dict.fromkeys(("grid", "grid_search", "gridsearch", "gridsearchcv", "gridsampler",
                     "brute_force", "gridsearcher"), "grid"),
    **dict.fromkeys(("random", "random_search", "randomsearch", "randomizedsearchcv", "sobol",
                     "randomsampler", "qmc", "qmcsampler", "rand"), "random"),
    **dict.fromkeys(("bayes", "bayesian", "tpe", "optuna", "tpesampler", "hyperopt", "bo", "gp",
                     "bayesopt", "smac", "optunasearch", "hyperoptsearch", "bayesian_search",
                     "bayesian_optimization", "bayesoptsearch", "skopt", "ax", "tpe_search",
                     "cmaes", "bohb", "nevergrad"), "bayes"),
}  # fmt: skip
"""What the strategies are called elsewhere."""


def device(value: Any) -> str | None:
    """The device that a word means: cuda of gpu, cuda:1 of gpu:1 or 1, mps of metal."""
    word = str(value).lower().strip()
    kind, _, index = word.partition(":")
    if index.isdigit() and kind in ("gpu", "nvidia", "rocm", "hip"):
        return f"cuda:{index}"
    if word.isdigit():
        return f"cuda:{word}"
    for prefix in ("cuda", "gpu"):
        if word.startswith(prefix) and word.removeprefix(prefix).isdigit():
            return f"cuda:{word.removeprefix(prefix)}"
    if word in ("gpu", "gpus", "nvidia", "rocm", "hip", "amd", "cude", "true", "yes", "all"):
        return "cuda"
    if word in ("metal", "apple", "m1", "m2", "m3", "mac"):
        return "mps"
    return "cpu" if word in ("no", "none", "false", "processor", "host") else None


_COUNTS = _words("gpus n_gpus num_gpus gpus_per_trial devices")
"""Words of devices that say how many."""

_NONE = ("no_cuda", "no_gpu", "cpu")


def device_of(word: str, value: Any) -> str | None:
    """The device that a word of other tools with its value asks for; None where nobody knows, or
    where it asks for none."""
    value = number(value)
    if isinstance(value, Mapping | list) or value is None:
        return None
    truth = {"true": True, "false": False}.get(str(value).lower())
    if word in _NONE:
        return "cpu" if truth is True or value == 1 else None
    if word == "tpu":
        return None
    if word == "devices" and is_numeric(value):
        return None  # Of whichever kind.
    if word in _COUNTS and is_numeric(value):
        return "cpu" if value == 0 else "cuda"
    if value == -1:  # All of them.
        return "cuda"
    return "cuda" if word.startswith("use_") and value == 1 else device(value)


def is_device(value: Any) -> bool:
    """Whether a value is a device by its name here."""
    return isinstance(value, str) and bool(re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value))


# conversion

_PRECISIONS = {
    "32": "float32", "32-true": "float32", "fp32": "float32", "full": "float32",
    "torch.float32": "float32", "16": "bfloat16", "16-mixed": "bfloat16", "fp16": "bfloat16",
    "bf16": "bfloat16", "bf16-mixed": "bfloat16", "float16": "bfloat16", "half": "bfloat16",
    "mixed": "bfloat16", "torch.bfloat16": "bfloat16", "torch.float16": "bfloat16",
    "bf16-true": "bfloat16", "mixed_float16": "bfloat16", "mixed_bfloat16": "bfloat16",
    "16-true": "bfloat16", "true": "bfloat16", "false": "float32", "no": "float32",
    "amp": "bfloat16", "yes": "bfloat16",
}  # fmt: skip


def precision(value: Any) -> str | None:
    """The precision of a word such as bf16-mixed; a float16 is bfloat16 here."""
    return _PRECISIONS.get(str(value).lower())


def _count(value: Any) -> Any:
    if isinstance(value, list):
        return len(value)
    return value if type(value) is int else None


_FORMS: dict[str, Callable[[Any], Any]] = {
    **{unit: lambda value, unit=unit: lasting(value, unit) for unit in ("ep", "ba", "sp", "dur")},  # type: ignore[misc]
    "on": precision,
    "folds": lambda value: {"folds": number(value)} if type(number(value)) is int else None,
    "rest": lambda value: round(1 - float(number(value)), 6) if _share(value) else None,
    "count": _count,
}


def _share(value: Any) -> bool:
    found = number(value)
    return isinstance(found, float) and 0 < found < 1


def _named(target: str, value: Any) -> Any:
    """The value of a mapping that names something, in lrsearch's words; as it is otherwise."""
    found: Any = None
    if target == "train.optimizer":
        found = names.optimizer(value)
    elif target == "train.loss":
        found = names.loss(value)
    elif target == "train.precision":
        found = precision(value)
    elif target == "model":
        found = names.model(value)
    elif target == "data":
        found = names.data(value)
    return value if found is None else found


# looking up

_LOCAL: dict[str, dict[str, str]] = {
    "data": {
        **dict.fromkeys(names.SOURCES, "data.source"),
        **dict.fromkeys(names.TARGETS, "data.target"),
        **dict.fromkeys(("sep", "delimiter"), "data.separator"),
        **dict.fromkeys(("img_size", "image_size", "imgsz", "target_size"), "data.size"),
        **dict.fromkeys(("drop_columns", "ignore", "exclude", "drop_cols"), "data.drop"),
        **dict.fromkeys(("categorical_columns", "cat_cols", "categories"), "data.categorical"),
        **dict.fromkeys(("limit", "n_samples", "max_samples", "num_samples", "subset"),
                        "data.samples"),
        **dict.fromkeys(("seq_len", "block_size", "context_length", "seq_length", "window"),
                        "data.context"),
        **dict.fromkeys(("val", "valid", "split", "dev"), "data.validation"),
    },
    "objective": {
        **dict.fromkeys(("name", "monitor", "target", "value"), "objective.metric"),
        **dict.fromkeys(("type", "goal", "mode", "direction", "optimize"), "objective.goal"),
        **dict.fromkeys(("when", "select", "epoch", "checkpoint"), "objective.at"),
    },
    "bayes": dict.fromkeys(("n", "num", "count", "budget", "max"), "bayes.trials"),
    "random": {
        **dict.fromkeys(("n", "num", "count", "budget", "max"), "random.trials"),
        "method": "random.sampler",
    },
    "warmup": {
        **dict.fromkeys(("length", "duration", "ratio", "fraction", "epochs", "steps", "iters"),
                        "train.warmup.for"),
        **dict.fromkeys(("type", "name", "mode", "kind", "strategy"), "train.warmup.shape"),
        **dict.fromkeys(("start_factor", "init", "initial", "factor"), "train.warmup.start"),
    },
    "model": {word: f"model.{argument}" for word, argument in names.MODEL_WORDS.items()},
}  # fmt: skip
"""Words that mean something in one mapping alone."""


def _section(path: Path) -> str:
    """Which of `_LOCAL` a key's mapping is."""
    if len(path) < 2:
        return ""
    if "warmup" in path[:-1]:
        return "warmup"
    head = path[1] if path[0] == "search" and len(path) > 2 else path[0]
    return head if head in _LOCAL else ""


def look_up(word: str, section: str = "") -> tuple[str, str] | None:
    """The dotted path of a spec that a word means, and the form of its values."""
    local = _LOCAL.get(section, {}).get(word)
    if local == "train.warmup.for":
        return local, {"epochs": "ep", "ratio": "dur", "fraction": "dur"}.get(word, "ba")
    if local is not None:
        return local, ""
    if word in WORDS:
        return WORDS[word]
    return (HOMES[word], "") if word in HOMES else None


def means(key: str) -> str:
    """The dotted path of a spec that a key means, "" for none."""
    return (look_up(snake(key)) or ("", ""))[0]


def advise(path: Path, value: Any, top: Mapping[str, Any], *, own: bool, source: str) -> Advice:
    """What to write in place of the key at `path` of the document `top`, whose value it has there.
    `own` is a spec with a command or a loop, `source` its file. None where the word is none that
    is known."""
    key = str(path[-1])
    word = snake(key)
    command = f"lrsearch bayes {source}"
    if word in _STRATEGIES or (word == "sampler" and value not in ("random", "sobol")):
        name = names.split(value)[0] or str(value)
        strategy = STRATEGY_NAMES.get(snake(name), "bayes")
        told = f"the command says the strategy: lrsearch {strategy} {source}"
        inside = own and path[0] in ("params", "search")
        return None if inside else f"leave '{key}' out: {told}"
    end = "min" if word in LOW else "max" if word in HIGH else ""
    if path[0] == "search" and end and _is_range(_at(top, path[:-1])):
        return [Line((*path[:-1], end), number(value))]
    found = _lines(path, value, top, own)
    if found:
        return found
    if len(path) == 1 and means(key) in ("command", "loop") and means(key) in top:
        return f"leave '{key}' out: '{means(key)}' names what is run"
    if word in _STOPPING and not own:
        at = _into("objective", "at", "best", top)
        told = "a trial trains its whole budget: best takes its best evaluation"
        return [replace(at, remark=told)]
    if word in _STOPPING and not ("params" in path or "search" in path):
        return f"leave '{key}' out: whether a training ends early is its own affair"
    if own and path[0] in ("params", "search"):
        return None
    if word in DEVICE_WORDS:
        given = device_of(word, value)
        known = given or (value if is_device(value) else None)
        told = f": {command} --device {known}" if known else ", if any"
        return f"leave '{key}' out: the command says the device{told}"
    if word in WORKER_WORDS:
        many = value if type(value) is int and value > 0 else "N"
        return f"leave '{key}' out: the command says how many: {command} --workers {many}"
    if word in FOLDER_WORDS:
        folder = value if isinstance(value, str) and value else "DIR"
        return f"leave '{key}' out: the command says where: {command} --runs {shlex.quote(folder)}"
    if word in ("timeout", "time_limit", "max_time", "timeout_s") and len(path) == 1:
        seconds = number(value)
        if isinstance(seconds, int | float) and not isinstance(seconds, bool):
            return [Line(("timeout",), f"{seconds:g}s")]
        with contextlib.suppress(ValueError):
            parse_time(value)
            return [Line(("timeout",), str(value))]
        return [Line(("timeout",), "10m")]
    if word in _LEFT_OUT:
        return f"leave '{key}' out: {_LEFT_OUT[word]}"
    return _place(means(key), own)


def _place(target: str, own: bool) -> str | None:
    """Where what a word means is written, for a value of which it is not known how."""
    head, _, key = target.partition(".")
    if head == "objective":
        return "write it under objective: {metric: ..., goal: max}, or goal: min"
    if own or not key or target.count(".") > 1:
        return None
    return f"write it as {key}, under {head}"


_SCALARS = frozenset(
    (
        *(f"train.{key}" for key in ("lr", "batch_size", "budget", "clip_norm", "optimizer")),
        *(f"train.{key}" for key in ("schedule", "loss", "label_smoothing", "layer_decay")),
        "train.optimizer.weight_decay", "train.optimizer.momentum",
    )
)  # fmt: skip
"""What is no list: a list of these is one to choose from."""


def is_choice(target: str, value: Any) -> bool:
    """Whether a value of a word that takes one value is a list or a range of these."""
    return target in _SCALARS and (_is_range(value) or (isinstance(value, list) and bool(value)))


def _at(tree: Any, path: Path) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _lines(path: Path, value: Any, top: Mapping[str, Any], own: bool) -> list[Line]:
    key = str(path[-1])
    word = snake(key)
    section = _section(path)
    searching = path[0] == "search" and len(path) > 1
    if word in _CONTAINERS and isinstance(value, Mapping) and not section:
        inner = [
            part
            for name, each_ in value.items()
            for part in _lines(("search", name) if searching else (name,), each_, top, own)
        ]
        return merge(inner)
    target, form = look_up(word, section) or ("", "")
    form = _budget_unit(top) if form == "as" else form
    if searching and not own and not target.startswith("train."):
        argument = _model_argument(word, top)
        target, form = (f"model.{argument}", "") if argument else (target, form)
    if not target or (own and path[0] in ("params", "search") and len(path) == 2):
        return []
    value = _unwrap(value)
    if isinstance(value, Fixed):
        value, searching = value.value, False
    searched = searching or is_choice(target, value)
    searched = searched or (target.startswith(("train.", "model.")) and _is_range(value))
    if target == "search":
        return _translate_search(value, top, own)
    if target in ("command", "loop"):
        return _own_line(target, value, top)
    if target.startswith("objective."):
        return _objective(path, target, value, top, own)
    if own and target.split(".")[0] in ("train", "model", "data"):
        if isinstance(value, Mapping) and not _is_range(value):
            return []
        held = "search" if searched and is_searched(value) else "params"
        return [Line((held, key), value)] if len(path) == 1 or path[0] != held else []
    if searched:
        return _search_lines(target, form, value, top)
    return _fixed_lines(path, target, form, value, top)


def _budget_unit(top: Mapping[str, Any]) -> str:
    """Steps where a document gives its budget in these, by whatever word; epochs otherwise."""
    train = top.get("train")
    for part in (train, top):
        for key, value in part.items() if isinstance(part, Mapping) else ():
            target, form = look_up(snake(str(key))) or ("", "")
            if target == "train.budget" and (form or str(value)[-2:]) == "ba":
                return "ba"
    return "ep"


def _unwrap(value: Any) -> Any:
    found = read_foreign(value) if isinstance(value, Mapping | str) else None
    if isinstance(value, str) and not isinstance(found, Mapping):
        return value
    return value if found is None else found


def _is_range(value: Any) -> bool:
    return isinstance(value, Mapping) and "min" in value and "max" in value


def _search_lines(target: str, form: str, value: Any, top: Mapping[str, Any]) -> list[Line]:
    """Lines under `search` of a word that is searched; of one value, its fixed line."""
    if not is_searched(value):
        return _fixed_lines(("search",), target, form, value, top)
    if target in ("seed", "seeds"):
        return [Line(("seeds",), len(value))] if isinstance(value, list) else []
    head, _, rest = target.partition(".")
    if head not in ("train", "model") or not rest or rest.startswith("schedule."):
        return []
    if rest == "optimizer.betas":
        return []
    if form in _FORMS:
        value = each(_FORMS[form], value)
        if any(part is None for part in (value if isinstance(value, list) else value.values())):
            return []
    if target == "model.hidden" and isinstance(value, list):
        value = [[part] if type(part) is int else part for part in value]
    told = ""
    if rest in ("optimizer", "schedule", "loss", "precision"):
        if not isinstance(value, list):
            return []
        if rest == "schedule":
            told = next(filter(None, (names.left_out(part, base_rate(top)) for part in value)), "")
        value = [option(rest, part, top) for part in value]
    if rest.startswith("optimizer.") and not _takes(top, rest.partition(".")[2]):
        return []
    if rest == "warmup":
        rest = "warmup.for"
    name = target if head == "model" else rest
    return [Line(("search", name), value, told)]


def option(name: str, value: Any, top: Mapping[str, Any]) -> Any:
    """One of the options of a searched schedule, optimizer, loss or model, in lrsearch's words."""
    target = name if name == "model" else f"train.{name}"
    if target == "train.schedule":
        found = names.schedule(value, base_rate(top))
        return found[0] if found else value
    return _named(target, value)


def base_rate(top: Mapping[str, Any]) -> Any:
    """The base rate, where a document fixes one."""
    train = top.get("train")
    for part in (train, top):
        for key, value in part.items() if isinstance(part, Mapping) else ():
            if means(str(key)) == "train.lr":
                rate = number(value)
                if isinstance(rate, int | float) and not isinstance(rate, bool):
                    return rate
    return None


def _takes(top: Mapping[str, Any], argument: str) -> bool:
    """Whether the fixed optimizer of a document has an argument."""
    base = _optimizer(top)
    entry = catalogue.OPTIMIZERS.get(base.get("name", ""))
    return entry is not None and argument in entry.parameters


def _optimizer(top: Mapping[str, Any]) -> dict[str, Any]:
    """The fixed optimizer of a document, in lrsearch's words, by whatever word it has one."""
    found = names.optimizer(_given_optimizer(top))
    if found is None:
        return {}
    return {"name": found} if isinstance(found, str) else dict(found)


def _given_optimizer(top: Mapping[str, Any]) -> Any:
    """The fixed optimizer of a document as it stands there."""
    for part in (top.get("train"), top):
        for key, value in part.items() if isinstance(part, Mapping) else ():
            if means(str(key)) == "train.optimizer":
                return value
    return "sgd"


def _fixed_lines(
    path: Path, target: str, form: str, value: Any, top: Mapping[str, Any]
) -> list[Line]:
    """Lines of a word that has one value."""
    if form in _FORMS:
        value = _FORMS[form](value)
        if value is None:
            return []
    head, _, rest = target.partition(".")
    if target.startswith("train.optimizer."):
        return optimizer(top, rest.partition(".")[2], value)
    if target.startswith("train.schedule"):
        return _schedule_lines(top, rest.partition(".")[2], value)
    if target == "train.optimizer":
        lines = optimizer(top, given=value)
        for key, part in names.split(value)[1].items():
            if means(str(key)) == "train.lr":
                lines.append(Line(("train", "lr"), number(part)))
        return lines
    if target in ("train.loss", "train.precision", "model", "data"):
        found = _named(target, value)
        if target == "train.precision" and found not in ("float32", "bfloat16"):
            return []
        half = target == "train.precision" and "16" in str(value) and "bf" not in str(value)
        told = "there is no float16, whose small range needs a scaler of losses" if half else ""
        return [Line(tuple(target.split(".")), found, told)]
    if target.startswith("train.warmup."):
        warmup = (top.get("train") or {}).get("warmup")
        inner = {target.rpartition(".")[2]: number(value)}
        for word, part in warmup.items() if isinstance(warmup, Mapping) else ():
            meant, unit = look_up(snake(str(word)), "warmup") or (f"train.warmup.{word}", "")
            if meant.startswith("train.warmup."):
                part = _FORMS[unit](part) if unit else number(part)
                inner.setdefault(meant.rpartition(".")[2], part)
        inner = {key: inner[key] for key in catalogue.WARMUP if inner.get(key) is not None}
        return [Line(("train", "warmup"), inner)]
    if target == "train.warmup" and lasting(value, "ba") in ("0ba", "0ep"):
        return [Line(("train", "warmup"), None)]
    if target == "train.clip_norm" and number(value) in (0, None):  # False is 0, too.
        return [Line(("train", rest), None)]
    if head == "train":
        return _checked_line(rest, number(value))
    if head in ("data", "random", "bayes") and rest:
        return _inside(path, head, rest, value, top)
    if target in ("random", "bayes", "objective", "seed", "seeds", "name", "max_failures", "save"):
        return [Line((target,), number(value) if target != "name" else value)]
    if head == "model" and rest:
        return _model_line(rest, value, top)
    return []


def _checked_line(key: str, value: Any) -> list[Line]:
    """A line under `train` as far as its value is one, or is known to mean one."""
    parameter = catalogue.WARMUP["for"] if key == "warmup" else catalogue.TRAIN[key]
    if isinstance(value, Mapping):
        return [Line(("train", key), value)]
    try:
        check_value(parameter, value)
    except Unfit as error:
        return [Line(("train", key), error.meant, error.remark)]
    except ValueError:
        return []
    return [Line(("train", key), value)]


def _inside(path: Path, head: str, key: str, value: Any, top: Mapping[str, Any]) -> list[Line]:
    if head == "data":
        if not isinstance(top.get("data"), str | Mapping):
            return []
        if key in ("target", "size", "separator", "drop", "categorical", "samples", "context",
                   "source"):  # fmt: skip
            whole = names.data(top["data"])
            given = top["data"].get("name") if isinstance(top["data"], Mapping) else None
            known = catalogue.DATA.get(str(given))
            if known is None:
                return [Line(("data",), whole)] if isinstance(whole, dict) else []
            if key not in known.parameters:
                return []
        if key in ("validation", "test") and value in (True, "val", "valid", "validation"):
            value = "source"
        share = number(value)
        if key in ("validation", "test") and is_numeric(share) and not 0 < share < 1:
            return []
        if key == "transforms" and not isinstance(value, list):
            return []
        if key == "standardize" and not isinstance(value, bool):
            value = True
    counted = type(number(value)) is int and number(value) > 0
    if head in ("bayes", "random") and key != "sampler" and not counted:
        return []
    line = _into(head, key, number(value), top)
    if key == "trials":
        told = f"for lrsearch random: random: {{trials: {write(number(value))}}}"
        other = "random" if path[0] == "random" else "bayes"
        line = replace(_into(other, key, number(value), top), remark=told if other == head else "")
    return [line]


def _into(section: str, key: str, value: Any, top: Mapping[str, Any]) -> Line:
    """A key of a mapping at the top level, which is there, is a bare name, or is to be made."""
    there = top.get(section)
    if isinstance(there, Mapping):
        return Line((section, key), value)
    if isinstance(there, str):
        name = "metric" if section == "objective" else "name"
        return Line((section,), {name: there, key: value})
    return Line((section,), {key: value})


def optimizer(
    top: Mapping[str, Any], argument: str = "", value: Any = None, given: Any = None
) -> list[Line]:
    """The optimizer of a document, by whatever words it has it, with those of its arguments that
    stand outside of it, and the rate that stands inside. `given` takes the place of its own."""
    base = _optimizer(top if given is None else {"optimizer": given})
    name = base.get("name")
    if name not in catalogue.OPTIMIZERS:
        return []
    wanted: dict[str, Any] = {}
    for key, part in (*_loose_arguments(top), *([(argument, value)] if argument else [])):
        if key != "betas":
            if isinstance(number(part), str):
                return []
            wanted[key] = number(part)
        elif isinstance(part, list | tuple) and len(part) == 2:
            wanted |= {"beta1": part[0], "beta2": part[1]}
    told = ""
    missing = [key for key in wanted if key not in catalogue.OPTIMIZERS[name].parameters]
    if missing:
        needed = {*wanted, *base} - {"name"}
        fitting = [
            other
            for other in ("adamw", "sgd", *catalogue.OPTIMIZERS)
            if needed <= catalogue.OPTIMIZERS[other].parameters.keys()
        ]
        if not fitting:
            return []
        told, name = f"{name} takes no {' and no '.join(missing)}", fitting[0]
    left = names.without_place(_given_optimizer(top) if given is None else given)
    if left and not told:
        told = f"{name} takes no {' and no '.join(left)}"
    whole = {**base, "name": name, **wanted}
    lines = [Line(("train", "optimizer"), whole if len(whole) > 1 else name, told)]
    train = top.get("train")
    if isinstance(train, Mapping):
        _, given = names.split(train.get("optimizer"))
        rates = [part for key, part in given.items() if means(str(key)) == "train.lr"]
        lines += [Line(("train", "lr"), number(rate)) for rate in rates]
    return lines


def _loose_arguments(top: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Arguments of the optimizer at the top level of a document or of its `train`."""
    for part in (top, top.get("train")):
        for key, value in part.items() if isinstance(part, Mapping) else ():
            target = means(str(key))
            if target.startswith("train.optimizer.") and not isinstance(value, Mapping):
                yield target.rpartition(".")[2], value


def _schedule_lines(top: Mapping[str, Any], argument: str, value: Any) -> list[Line]:
    """The schedule, with what of it stands outside: `step_size`, `gamma`, `milestones`."""
    loose: dict[str, Any] = {}
    given: Any = None
    for part in (top, top.get("train")):
        for key, each_ in part.items() if isinstance(part, Mapping) else ():
            target = means(str(key))
            if target == "train.schedule":
                given = each_
            elif target.startswith("train.schedule."):
                argument_ = target.rpartition(".")[2]
                own = argument_ in ("gamma", "step_size", "milestones")
                word = snake(str(key))
                loose[argument_ if own and word != "decay_rate" else word] = each_
    if not argument:
        given = value
    if given in (None, False) and not loose:
        return [Line(("train", "schedule"), "constant")]
    name, arguments = names.split(given)
    if not name and not arguments and not loose:
        return []
    if not name:
        name = "cosine"
        for word, meant in (("milestones", "multistep"), ("step", "step"), ("pct", "one_cycle"),
                            ("gamma", "exponential"), ("decay", "exponential")):  # fmt: skip
            if any(word in key for key in loose):
                name = meant
                break
    known = {"multistep": "MultiStepLR", "step": "StepLR", "exponential": "ExponentialLR",
             "one_cycle": "OneCycleLR", "cosine": "CosineAnnealingLR"}.get(name, name)  # fmt: skip
    whole = {"name": known if loose else name, **arguments, **loose}
    found = names.schedule(whole, base_rate(top))
    if found is None:
        return []
    schedule, warmup = found
    told = names.left_out(whole, base_rate(top))
    lines = [Line(("train", "schedule"), schedule, told)]
    train = top.get("train")
    has = isinstance(train, Mapping) and train.get("warmup") is not None
    if warmup is not None and not has and "warmup" not in str(sorted(map(str, top))):
        lines.append(Line(("train", "warmup"), warmup))
    return lines


def _model_argument(word: str, top: Mapping[str, Any]) -> str:
    """The argument of the fixed built-in model of a document that a word means, "" for none."""
    model = top.get("model")
    name = model.get("name") if isinstance(model, Mapping) else model
    entry = catalogue.MODELS.get(str(name))
    argument = names.MODEL_WORDS.get(word, word)
    return argument if entry is not None and argument in entry.parameters else ""


def _model_line(key: str, value: Any, top: Mapping[str, Any]) -> list[Line]:
    model = top.get("model")
    name = model.get("name") if isinstance(model, Mapping) else model
    entry = catalogue.MODELS.get(str(name))
    if entry is None or key not in entry.parameters:
        return []
    if entry.parameters[key].kind == "ints":
        value = [value] if type(value) is int else value
    if key == "activation":
        word = names.plain(value)
        value = {"swish": "silu", "sigmoid": "tanh"}.get(word, word)
    return [Line(("model", key), value)]


def _objective(
    path: Path, target: str, value: Any, top: Mapping[str, Any], own: bool
) -> list[Line]:
    """The objective whole, or in its own mapping the one key."""
    if target == "objective.at":
        at = "best" if str(value).lower() in ("best", "min", "max") else "last"
        return [_into("objective", "at", at, top)]
    if not _is_said(target, snake(str(path[-1])), value):
        return []
    (whole,) = objective(top, own=own, given=(target, str(path[-1]), value)) or (None,)
    if whole is None or path[0] != "objective":
        return [] if whole is None else [whole]
    key = target.rpartition(".")[2]
    given = {"metric": whole.value} if isinstance(whole.value, str) else whole.value
    if key == "goal" and given.get("metric") in catalogue.METRICS:
        given = {"goal": catalogue.METRICS[given["metric"]][0], **given}
    return [Line(("objective", key), given[key])] if key in given else []


def _is_said(target: str, word: str, value: Any) -> bool:
    """Whether a value of a word says a metric or a goal."""
    if isinstance(value, Mapping):
        return bool(value)
    if target == "objective.metric":
        return isinstance(value, str) and bool(value)
    return names.goal(value) is not None or (
        word in ("maximize", "minimize") and names.metric(value) is not None
    )


def objective(
    top: Mapping[str, Any], *, own: bool, given: tuple[str, str, Any] | None = None
) -> list[Line]:
    """The objective of a document by whatever words it has it, and by one that is `given`: what it
    means, the word and its value. Of a goal alone the metric is the usual one; of a training of
    the user's nobody knows that."""
    metric, goal, at = _objective_parts(top, own, given)
    if metric is None and own:
        return []
    if metric is None:
        metric = "loss" if goal != "max" else "accuracy"
        if goal == "max" and _task(top) == "regression":
            metric = "r2"
    if not own:
        coded = (top.get("train") or {}) if isinstance(top.get("train"), Mapping) else {}
        extra = coded.get("metrics") if isinstance(coded.get("metrics"), Mapping) else {}
        if metric not in (extra or {}):
            known = names.metric(metric)
            if known is None:
                return []
            metric, goal = known, None
    elif goal is None and metric not in catalogue.METRICS:
        goal = _usual_goal(metric)
    whole: Any = {
        "metric": metric,
        **({"goal": goal} if goal else {}),
        **({"at": at} if at else {}),
    }
    return [Line(("objective",), whole if len(whole) > 1 else metric)]


_SMALL = ("loss", "err", "perplexity", "ppl", "mse", "mae", "wer", "cer", "nll", "cost", "bpc")


def _usual_goal(metric: str) -> str:
    known = names.metric(metric)
    if known is not None:
        return catalogue.METRICS[known][0]
    return "min" if any(part in metric.lower() for part in _SMALL) else "max"


def _task(top: Mapping[str, Any]) -> str | None:
    data = top.get("data")
    name = data.get("name") if isinstance(data, Mapping) else data
    source = catalogue.DATA.get(str(name))
    return source.task if source else None


def _objective_parts(
    top: Mapping[str, Any], own: bool, given: tuple[str, str, Any] | None
) -> tuple[str | None, str | None, str | None]:
    """Metric, goal and `at` of a document, by whatever words it has them."""
    metric = goal = at = None
    objective = top.get("objective")
    found: list[tuple[str, Any]] = []
    if isinstance(objective, str):
        if names.goal(objective) is not None:
            goal = names.goal(objective)
        else:
            metric = objective
    if isinstance(objective, Mapping):
        for key, value in objective.items():
            found.append(((look_up(snake(str(key)), "objective") or ("",))[0], value))
    for target, word, value in (*_objective_words(top, own), *([given] if given else [])):
        if isinstance(value, Mapping):  # W&B: {name: val_loss, goal: minimize}
            for inner, part in value.items():
                found.append(((look_up(snake(str(inner)), "objective") or ("",))[0], part))
        elif snake(word) in ("maximize", "minimize") and names.metric(value):
            found += [("objective.metric", value), ("objective.goal", word)]
        elif snake(word) == "minimize":
            found.append(("objective.goal", "min" if value else "max"))
        else:
            found.append((target, value))
    for target, value in found:
        if target == "objective.metric" and isinstance(value, str):
            metric = value
        elif target == "objective.goal":
            goal = names.goal(value) or goal
        elif target == "objective.at" and value in ("best", "last"):
            at = value
    return metric, goal, at


def _objective_words(
    part: Mapping[str, Any], own: bool, depth: int = 3
) -> Iterator[tuple[str, str, Any]]:
    """What words of an objective mean, the words and their values, in a document and in mappings of
    other tools; parameters of a training of the user's are none."""
    for key, value in part.items():
        word = snake(str(key))
        target = means(word)
        holds = word in _CONTAINERS or target == "search"
        if isinstance(value, Mapping) and holds and depth:
            if not (own and (word in ("params", "hp") or target == "search")):
                yield from _objective_words(value, own, depth - 1)
        elif target.startswith("objective."):
            yield target, str(key), value


def _translate_search(value: Any, top: Mapping[str, Any], own: bool) -> list[Line]:
    """The lines of a mapping of searched parameters by another name; Hydra's own, too."""
    for key in ("sweeper", "params"):
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping):
            value = value[key]
    if isinstance(value, list):  # Ax, Ray's points: [{name: lr, type: range, bounds: [...]}]
        value = {
            part["name"]: part
            for part in value
            if isinstance(part, Mapping) and isinstance(part.get("name"), str)
        }
    if not isinstance(value, Mapping):
        return []
    searched: dict[str, Any] = {}
    fixed: list[Line] = []
    left: list[str] = []
    for key, part in rejoin(value).items():
        name = str(key).rpartition(".")[2] if own else str(key)
        inner = _unwrap_all(part)
        plain = inner.value if isinstance(inner, Fixed) else inner
        if own:
            if is_searched(inner):
                searched[name] = inner
            elif isinstance(plain, Mapping):
                left.append(name)
            else:
                fixed.append(Line(("params", name), plain))
            continue
        known = catalogue.TRAIN if name in catalogue.TRAIN else ()
        if name in known and is_searched(inner):
            searched[name] = inner
        elif name in known:
            fixed.append(Line(("train", name), plain))
        else:
            found = inner if isinstance(inner, list) else part
            lines = _lines(("search", name), found, top, own)
            left += [] if lines else [name]
            for line in lines:
                if line.path[0] == "search" and len(line.path) > 1:
                    searched[str(line.path[1])] = line.value
                else:
                    fixed.append(line)
    lines = [Line(("search", name), part) for name, part in searched.items()]
    if not isinstance(top.get("search"), Mapping) and searched:
        lines = [Line(("search",), searched)]
    params = {str(line.path[1]): line.value for line in fixed if line.path[0] == "params"}
    if params and not isinstance(top.get("params"), Mapping):
        fixed = [line for line in fixed if line.path[0] != "params"]
        fixed.append(Line(("params",), params))
    whole = merge([*lines, *fixed])
    if whole and left:
        told = f"{', '.join(left[:5])} {'is' if len(left) == 1 else 'are'} not in it"
        whole[0] = replace(whole[0], remark=told)
    return whole


def _unwrap_all(value: Any) -> Any:
    """A searched parameter's value in lrsearch's form, of any foreign one."""
    found = read_foreign(value)
    return value if found is None else found


def _own_line(kind: str, value: Any, top: Mapping[str, Any]) -> list[Line]:
    """A command of a script's name, with an option for each parameter that is searched."""
    if not isinstance(value, str) or kind in top:
        return []
    if kind == "loop":
        return [Line(("loop",), value if "." in value else f"my_module.{value}")]
    if " " in value.strip():
        return [Line(("command",), value)]
    return [Line(("command",), " ".join([_runner(value), *searched_options(top)]))]


def _runner(script: str) -> str:
    return f"python {script}" if script.endswith(".py") else script


def searched_options(top: Mapping[str, Any]) -> list[str]:
    """`--lr {lr}` for each parameter that a document searches or fixes, by whatever words."""
    return [f"--{name} {{{name}}}" for name in searched_names(top)]


def searched_names(top: Mapping[str, Any]) -> list[str]:
    """The names of the parameters that a document searches or fixes, by whatever words."""
    found: dict[str, None] = {}
    for key, value in top.items():
        target = means(str(key))
        if key in ("search", "params") or target == "search":
            for line in _translate_search(value, {}, own=True):
                found |= dict.fromkeys(line.value)
    return list(found)


def merge(lines: list[Line]) -> list[Line]:
    """Lines of one place as one, the later of two that exclude each other."""
    found: dict[Path, Line] = {}
    for line in lines:
        earlier = found.get(line.path)
        if earlier and isinstance(earlier.value, dict) and isinstance(line.value, dict):
            line = replace(line, value={**earlier.value, **line.value})
        found[line.path] = line
    return list(found.values())


def show(advice: Advice, at: Path, *, option: bool = False) -> str:
    """An advice as a hint of a fault at a path: each line on a line of its own."""
    if advice is None:
        return ""
    if isinstance(advice, str):
        return advice
    return "\n  ".join(line.show(at, option=option) for line in advice)
