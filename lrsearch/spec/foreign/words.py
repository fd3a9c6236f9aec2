"""Words of Lightning, Keras, Hugging Face, timm, scikit-learn, W&B, Ray, Optuna and Hydra for the
keys of a spec, and the homes of lrsearch's own words that stand in the wrong mapping."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lrsearch import catalogue
from lrsearch.spec.foreign import names
from lrsearch.spec.foreign.names import snake
from lrsearch.spec.foreign.ranges import is_finite, number


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORDS = {
    "train.lr": """learning_rate base_lr initial_lr init_lr lr0 eta eta0 max_lr peak_lr lr_max
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
    "train.evaluate as": """evaluation_strategy eval_strategy eval_every val_every
        validate_every eval_freq val_freq validation_freq eval_interval val_interval
        validation_interval""",
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
    "loop": "train_fn trainable train_function training_function train_func function objective_fn "
    "objective_function train_loop entrypoint entry_point",
}  # fmt: skip

WORDS: dict[str, tuple[str, str]] = {
    word: (target.partition(" ")[0], target.partition(" ")[2])
    for target, listed in _WORDS.items()
    for word in listed.split()
}
"""Word -> (dotted path of a spec, name of the conversion of its value)."""

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
    **{key: key for key in ("seed", "seeds", "max_failures")},
    **{key: key for key in ("objective", "random", "bayes", "confirm")},
}  # fmt: skip
"""lrsearch's own words -> their places."""

CONTAINERS = _words(
    """
    train trainer training tune_config run_config trainer_args training_args
    training_arguments train_config fit compile sweep settings optimizer_config optimization
    hp args kwargs config general common experiment_config training_params train_params
    params study optim_wrapper
    """
)
"""Mappings of other tools that hold words of this table."""

LEFT_OUT: dict[str, str] = {
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
            "checkpoint checkpoints checkpointing save_strategy save_steps save_every save_freq "
            "save_interval checkpoint_interval checkpoint_every checkpoint_frequency autosave "
            "save_period save snapshot snapshot_interval enable_checkpointing save_checkpoint "
            "save_checkpoints every_n_epochs",
            "a training under way is saved by itself; save: 5m at the top level says how often",
        ),
        ("resume restore resume_from_checkpoint ckpt_path", "the same command goes on by itself"),
        ("defaults version download hydra target", "there is nothing like it to say here"),
        (
            "include includes extends inherit from import imports base base_config parent anchors "
            "config _base_",
            "a spec stands alone, and holds all that it says",
        ),
        ("compile torch_compile deterministic benchmark cudnn_benchmark", "the engine sees to it"),
        (
            "gradient_accumulation_steps accumulate_grad_batches grad_accum grad_accumulation",
            "batch_size is what one step sees",
        ),
    )
    for word in words.split()
}

STRATEGY_WORDS = _words(
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

TIMEOUT_WORDS = _words(
    """
    timeout time_limit max_time timeout_s timeout_sec timeout_seconds trial_timeout walltime
    wall_time wall_clock_time deadline max_runtime max_duration max_seconds max_wall_time
    time_limit_s job_timeout timelimit
    """
)
"""Words for how long a trial may take."""

TIME_LIMIT_WORDS = _words("time_budget time_budget_s total_time budget_time search_time")
"""Words for how long a search may take."""

SAVE_WORDS = _words(
    """
    save autosave save_every save_interval checkpoint checkpoints checkpointing
    checkpoint_interval checkpoint_every checkpoint_frequency save_freq save_strategy
    save_period snapshot snapshot_interval enable_checkpointing save_checkpoint
    save_checkpoints
    """
)
"""Words for how often a training under way is saved."""

FOLDER_WORDS = _words(
    """
    output_dir save_dir log_dir logdir logging_dir out_dir results_dir storage storage_path
    local_dir runs_dir checkpoint_dir output outdir default_root_dir runs out
    """
)

STOPPING_WORDS = _words(
    """
    early_stopping patience early_stop early_stopping_patience early_terminate pruner
    pruning early_stopping_rounds early_stopper earlystopping load_best_model_at_end
    restore_best_weights es_patience hyperband asha
    """
)

RULE_WORDS = STOPPING_WORDS & _words("early_terminate pruner pruning hyperband asha early_stopper")
"""Words for a rule that stops trials, rather than a training's own patience."""

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
"""Strategies by their names elsewhere."""


# devices


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
    """The device that a word of other tools with its value asks for; None where it asks for none,
    or it is unknown."""
    value = number(value)
    if isinstance(value, Mapping | list) or value is None:
        return None
    truth = {"true": True, "false": False}.get(str(value).lower())
    if word in _NONE:
        return "cpu" if truth is True or value == 1 else None
    if word == "tpu":
        return None
    if word == "devices" and is_finite(value):
        return None  # A device of any kind.
    if word in _COUNTS and is_finite(value):
        return "cpu" if value == 0 else "cuda"
    if value == -1:  # All of them.
        return "cuda"
    return "cuda" if word.startswith("use_") and value == 1 else device(value)


def is_device(value: Any) -> bool:
    """Whether a value is a device by its name here."""
    return isinstance(value, str) and bool(re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value))


LOCAL: dict[str, dict[str, str]] = {
    "data": {
        **dict.fromkeys(names.SOURCES, "data.source"),
        **dict.fromkeys(names.TARGETS, "data.target"),
        **dict.fromkeys(("sep", "delimiter"), "data.separator"),
        **dict.fromkeys(("img_size", "image_size", "imgsz", "target_size"), "data.size"),
        **dict.fromkeys(("drop_columns", "ignore", "exclude", "drop_cols"), "data.drop"),
        **dict.fromkeys(("categorical_columns", "cat_cols", "categories"), "data.categorical"),
        **dict.fromkeys(("dropna", "drop_na", "impute", "imputer", "imputation", "fillna",
                         "missing_values", "na_values", "na", "nan"), "data.missing"),
        **dict.fromkeys(("limit", "n_samples", "max_samples", "num_samples", "subset"),
                        "data.samples"),
        **dict.fromkeys(("seq_len", "block_size", "context_length", "seq_length", "window"),
                        "data.context"),
        **dict.fromkeys(("val", "valid", "split", "dev"), "data.validation"),
        **dict.fromkeys(("augment", "augmentation", "augmentations", "aug"), "data.transforms"),
        **dict.fromkeys(("type", "problem", "problem_type", "kind"), "data.task"),
    },
    "objective": {
        **dict.fromkeys(("name", "monitor", "target", "value", "metrics"), "objective.metric"),
        **dict.fromkeys(("type", "goal", "mode", "direction", "optimize"), "objective.goal"),
        **dict.fromkeys(("when", "select", "epoch", "checkpoint"), "objective.at"),
    },
    "bayes": {
        **dict.fromkeys(("n", "num", "count", "budget", "max", "points"), "bayes.trials"),
        **dict.fromkeys(("batch", "batch_size", "parallel", "q", "generations"),
                        "bayes.generation"),
        **dict.fromkeys(("sampler", "init", "initial_sampler"), "bayes.start"),
        **dict.fromkeys(("surrogate", "surrogate_model", "estimator", "base_estimator"),
                        "bayes.model"),
    },
    "random": {
        **dict.fromkeys(("n", "num", "count", "budget", "max", "points", "samples", "size"),
                        "random.trials"),
        "method": "random.sampler",
    },
    "refine": {
        **dict.fromkeys(("n", "num", "count", "iterations", "iters", "steps", "n_iter", "passes",
                         "times", "generations"), "refine.rounds"),
        **dict.fromkeys(("interval", "decades", "span"), "refine.width"),
    },
    "confirm": {
        **dict.fromkeys(("k", "finalists", "candidates", "best", "points"), "confirm.top"),
        **dict.fromkeys(("trials", "runs", "repeats", "reps", "repetitions", "replicates"),
                        "confirm.seeds"),
    },
    "stop": dict.fromkeys(("n", "after", "trials", "rounds", "n_iter_no_change", "no_improvement",
                           "early_stopping_rounds"), "stop.patience"),
    "warmup": {
        **dict.fromkeys(("length", "duration", "ratio", "fraction", "epochs", "steps", "iters"),
                        "train.warmup.for"),
        **dict.fromkeys(("type", "name", "mode", "kind", "strategy"), "train.warmup.shape"),
        **dict.fromkeys(("start_factor", "init", "initial", "factor"), "train.warmup.start"),
    },
    "model": {word: f"model.{argument}" for word, argument in names.MODEL_WORDS.items()},
}  # fmt: skip
"""Words that mean something in one mapping alone."""


# finding words


def look_up(word: str, section: str = "") -> tuple[str, str] | None:
    """The dotted path of a spec that a word means, and the form of its values."""
    local = LOCAL.get(section, {}).get(word)
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


def find_alike(name: str, known: Iterable[str]) -> str | None:
    """The known name, or option, that means in a spec what another does, as bs does of batch_size
    and --learning-rate of --lr; None where there is none."""
    meant = means(name.lstrip("-"))
    return next((each for each in known if meant and means(each.lstrip("-")) == meant), None)
