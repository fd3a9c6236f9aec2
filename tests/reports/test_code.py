"""Code of a setting for other programs, executed: its rates are ours at every step."""

import dataclasses
import importlib.util
import os
import sys
import types

import numpy as np
import pytest
import torch

from lrsearch import schedules
from lrsearch.errors import UsageError
from lrsearch.reports.code import TARGETS, Setting, write_code
from lrsearch.spec import read_spec
from lrsearch.spec.model import resolve, steps_of

SAMPLES = 1437

SCHEDULES = [
    "constant",
    "linear",
    "{name: linear, final: 0.3}",
    "{name: polynomial, power: 2.5, final: 0.1}",
    "cosine",
    "{name: cosine, final: 0.1}",
    "cosine_restarts",
    "{name: cosine_restarts, cycles: 3, mult: 1.7, peak_decay: 0.6, final: 0.05}",
    "{name: cosine_restarts, first: 7ba}",
    "{name: step, every: 0.1dur, gamma: 0.5}",
    "{name: multistep, milestones: [0.1dur, 70ba], gamma: 0.3}",
    "exponential",
    "{name: exponential, final: 0.01}",
    "inverse_time",
    "{name: inverse_time, staircase: true, every: 5ba}",
    "inverse_sqrt",
    "one_cycle",
    "{name: one_cycle, pct_start: 0.2, anneal: linear, three_phase: true}",
    "triangular",
    "{name: triangular2, half: 0.13dur}",
    "{name: exp_range, gamma: 0.7}",
    "wsd",
    "{name: wsd, shape: sqrt, final: 0.1, decay: 13ba}",
    "{name: wsd, shape: cosine}",
    "tanh",
    "{name: piecewise, points: [[0.2dur, 0.5], [0.7dur, 0.1]]}",
    "{name: piecewise, points: [[0.2dur, 1.0], [0.7dur, 0.1]], join: linear}",
    "plateau",
]
WARMUPS = [
    "null",
    "{for: 0.1dur, shape: linear}",
    "{for: 9ba, shape: cosine, start: 0}",
    "{for: 1ep, shape: exponential, start: 0.1}",
]


def make_setting(folder, schedule="cosine", warmup="null", **more):
    """The setting of a spec of one point, as a run has it: every default filled."""
    lines = ["name: one", "data: digits", "model: mlp", "train:"]
    given = {"budget": "6ep", "lr": 0.037, "batch_size": 37, "schedule": schedule} | more
    lines += [f"  {name}: {value}" for name, value in {**given, "warmup": warmup}.items()]
    path = folder / "one.yaml"
    path.write_text("\n".join(lines) + "\n")
    config = resolve(read_spec(path), {}, "classification")
    return Setting(config["train"], SAMPLES, steps_of(config, SAMPLES), 'a "point"\n"""')


def rates_of(setting):
    """What lrsearch trains with, without what a plateau does."""
    train = setting.train
    return train["lr"] * schedules.multipliers(
        train["schedule"], train["warmup"], budget=setting.budget, samples=SAMPLES, batch_size=37
    )


def run_code(text, **modules):
    """Execute a text with some modules in the place of those that are not installed."""
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        space = {}
        exec(compile(text, "<code>", "exec"), space)
        return space
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def stepped(optimizer, scheduler, steps):
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_the_cases_are_all_of_the_schedules():
    named = {each.strip("{}").split(",")[0].removeprefix("name: ") for each in SCHEDULES}
    assert named == set(schedules.FUNCTIONS) and len(named) == 18


@pytest.mark.parametrize("warmup", WARMUPS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_pytorch_has_our_rates_at_every_step(tmp_path, schedule, warmup):
    setting = make_setting(tmp_path, schedule, warmup)
    space = run_code(write_code("pytorch", setting))
    optimizer, scheduler = space["configure"](torch.nn.Linear(2, 2))[:2]
    found = stepped(optimizer, scheduler, setting.budget)
    assert found == pytest.approx(rates_of(setting).tolist(), rel=1e-9, abs=1e-15)
    assert space["STEPS"] == setting.budget and space["BATCH_SIZE"] == 37


@pytest.mark.parametrize("schedule", [each for each in SCHEDULES if each != "plateau"])
def test_keras_looks_our_rates_up_at_every_step(tmp_path, schedule):
    # Keras is not needed: its two operations and its base class are a few lines of NumPy.
    ops = types.SimpleNamespace(
        cast=lambda value, kind: np.asarray(value).astype(kind),
        minimum=np.minimum,
        convert_to_tensor=lambda values, dtype: np.asarray(values, dtype=dtype),
        take=np.take,
    )
    kept = types.SimpleNamespace(schedules=types.SimpleNamespace(LearningRateSchedule=object))
    kept.SGD = lambda **given: given
    keras = types.ModuleType("keras")
    keras.ops, keras.optimizers = ops, kept
    setting = make_setting(tmp_path, schedule, WARMUPS[1])
    space = run_code(write_code("keras", setting), keras=keras)
    rate = space["optimizer"]["learning_rate"]
    found = [float(rate(np.float32(step))) for step in range(setting.budget)]
    ours = rates_of(setting)
    assert found == pytest.approx(ours.tolist(), rel=1e-6, abs=1e-12)
    assert float(rate(setting.budget + 5)) == pytest.approx(ours[-1], rel=1e-6)


@pytest.fixture(scope="module")
def keras():
    if importlib.util.find_spec("keras") is None:
        pytest.skip("keras is not installed")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


@pytest.mark.parametrize("warmup", WARMUPS)
def test_keras_itself_has_our_rates_at_every_step(tmp_path, keras, warmup):
    for schedule in SCHEDULES:
        if schedule == "plateau":
            continue
        setting = make_setting(tmp_path, schedule, warmup)
        optimizer = run_code(write_code("keras", setting))["optimizer"]
        kept = keras.optimizers.schedules.LearningRateSchedule
        assert isinstance(optimizer._learning_rate, kept), schedule
        found = []
        for step in range(setting.budget):
            optimizer.iterations.assign(step)
            found.append(float(keras.ops.convert_to_numpy(optimizer.learning_rate)))
        assert found == pytest.approx(rates_of(setting).tolist(), rel=1e-6, abs=1e-12), schedule


def test_keras_trains_at_our_rates(tmp_path, keras):
    setting = make_setting(tmp_path, "{name: wsd, final: 0.1}", WARMUPS[1], budget="30ba")
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    optimizer = run_code(write_code("keras", setting))["optimizer"]
    model.compile(optimizer, "mse")
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append(float(keras.ops.convert_to_numpy(optimizer.learning_rate)))

    x = np.ones((74, 1), "float32")
    model.fit(x, x, batch_size=37, epochs=15, shuffle=False, verbose=0, callbacks=[Watch()])
    assert seen == pytest.approx(rates_of(setting).tolist(), rel=1e-6)


KERAS = [
    "sgd",
    "{name: sgd, momentum: 0.9}",
    "{name: sgd, momentum: 0.9, nesterov: true}",
    "adam",
    "{name: adamw, weight_decay: 0.1}",
    "rmsprop",
    "{name: rmsprop, momentum: 0.9, centered: true}",
    "adagrad",
    "{name: lion, weight_decay: 0.1}",
]


@pytest.mark.parametrize("optimizer", KERAS)
def test_keras_steps_as_our_optimizers_do(tmp_path, keras, optimizer):
    # At a constant rate: Keras multiplies by the rate before the momentum, torch after it.
    from lrsearch.train.optimizers.registry import build_optimizer

    setting = make_setting(tmp_path, "constant", optimizer=optimizer, lr=0.01)
    theirs = run_code(write_code("keras", setting))["optimizer"]
    ours = torch.nn.Parameter(torch.tensor([0.5, -0.25, 2.0]))
    stepper = build_optimizer(setting.train["optimizer"], [ours], 0.01)
    other = keras.Variable(np.array([0.5, -0.25, 2.0], "float32"))
    generator = np.random.default_rng(0)
    for _ in range(20):
        gradient = generator.normal(size=3).astype("float32")
        ours.grad = torch.tensor(gradient)
        stepper.step()
        theirs.apply([keras.ops.convert_to_tensor(gradient)], [other])
    found = keras.ops.convert_to_numpy(other)
    assert found == pytest.approx(ours.detach().numpy(), rel=1e-3, abs=1e-5)


def test_hugging_face_trains_at_our_rates(tmp_path):
    transformers = pytest.importorskip("transformers")
    setting = make_setting(tmp_path, "{name: wsd, final: 0.1}", WARMUPS[1], budget="30ba")
    space = run_code(write_code("huggingface", setting))
    arguments = space["arguments"]
    assert arguments.max_steps == setting.budget == 30
    arguments.output_dir, arguments.save_strategy = str(tmp_path / "out"), "no"
    arguments.report_to, arguments.logging_steps, arguments.use_cpu = [], 1, True

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.line = torch.nn.Linear(1, 1)

        def forward(self, x, labels):
            return {"loss": ((self.line(x) - labels) ** 2).mean()}

    rows = [{"x": torch.ones(1), "labels": torch.ones(1)} for _ in range(74)]
    seen = []

    class Watch(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, *given, **kept):
            seen.append(kept["optimizer"].param_groups[0]["lr"])

    model = Model()
    trainer = transformers.Trainer(
        model,
        arguments,
        train_dataset=rows,
        optimizers=space["configure"](model),
        callbacks=[Watch()],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.remove_callback(transformers.trainer_callback.ProgressCallback)
    trainer.train()
    assert seen == pytest.approx(rates_of(setting).tolist(), rel=1e-6)


def test_lightning_trains_at_our_rates(tmp_path):
    L = pytest.importorskip("lightning")
    setting = make_setting(tmp_path, "{name: one_cycle, pct_start: 0.3}", WARMUPS[1], budget="30ba")
    space = run_code(write_code("lightning", setting))
    seen = []

    class Model(space["Tuned"]):
        def __init__(self):
            super().__init__()
            self.line = torch.nn.Linear(1, 1)

        def training_step(self, batch, _):
            seen.append(self.optimizers().param_groups[0]["lr"])
            return (self.line(batch) ** 2).mean()

    off = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = L.Trainer(max_steps=setting.budget, accelerator="cpu", **off)
    trainer.fit(Model(), torch.utils.data.DataLoader(torch.ones(40, 1), batch_size=2))
    assert seen == pytest.approx(rates_of(setting).tolist(), rel=1e-6)


def test_lightning_follows_a_plateau_as_we_do(tmp_path):
    L = pytest.importorskip("lightning")
    schedule = "{name: plateau, patience: 5ba, factor: 0.5}"
    setting = make_setting(tmp_path, schedule, WARMUPS[1], budget="30ba", evaluate="5ba")
    text = write_code("lightning", setting)
    space, seen, values = run_code(text), [], {}
    assert "val_check_interval=5, check_val_every_n_epoch=None" in text

    class Model(space["Tuned"]):
        def __init__(self):
            super().__init__()
            self.line = torch.nn.Linear(1, 1)

        def training_step(self, batch, _):
            seen.append(self.optimizers().param_groups[0]["lr"])
            return (self.line(batch) ** 2).mean()

        def validation_step(self, batch, _):
            values[self.global_step] = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5][self.global_step // 5]
            self.log("loss", torch.tensor(values[self.global_step]))

    off = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    off |= {"val_check_interval": 5, "check_val_every_n_epoch": None, "accelerator": "cpu"}
    trainer = L.Trainer(max_steps=setting.budget, **off)
    batches = torch.utils.data.DataLoader(torch.ones(14, 1), batch_size=2)
    trainer.fit(Model(), batches, batches)
    ours = schedules.make_plateau(
        setting.schedule, setting.train["warmup"], goal="min", evaluate="5ba", **setting.size
    )
    wanted = []
    for step, rate in enumerate(rates_of(setting).tolist(), 1):
        wanted.append(rate * ours.scale)
        if step % 5 == 0:
            ours.observe(step, values[step])
    assert ours.scale < 1.0 and seen == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("evaluate", ["1ep", "0.3ep", "7ba", "0.13dur", "500sp", "0.01ba"])
def test_a_plateau_is_told_of_the_evaluations_that_ours_is(tmp_path, evaluate):
    from lrsearch.duration import evaluation_steps

    setting = make_setting(tmp_path, "plateau", evaluate=evaluate, budget="11ep")
    space = run_code(write_code("pytorch", setting))
    ours = evaluation_steps(setting.train, SAMPLES)[:-1]  # The last is followed by no step.
    steps = range(1, setting.budget)
    assert [step for step in steps if step in space["EVALUATIONS"]] == list(ours)


def test_durations_go_by_a_loader_s_own_batches(tmp_path):
    setting = make_setting(tmp_path, "{name: step, every: 1ep}", "{for: 1ep}", budget="3ep")
    setting = dataclasses.replace(setting, samples=100, batch=12.5, budget=24)
    space = run_code(write_code("pytorch", setting))
    assert (space["WARMUP"], space["BATCH_SIZE"]) == (8, 37)
    found = [space["multiplier"](step) for step in (8, 15, 16, 23)]
    assert found == pytest.approx([1, 1, 0.1, 0.1])


@pytest.mark.parametrize("rises", [False, True])
@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_a_plateau_falls_where_ours_does(tmp_path, rises, metric):
    schedule = f"{{name: plateau, metric: {metric}, patience: 1ep, cooldown: 1ep, factor: 0.5"
    setting = make_setting(tmp_path, f"{schedule}, rises: {str(rises).lower()}}}", WARMUPS[1])
    goal = "max" if metric == "accuracy" else "min"
    size = {"samples": SAMPLES, "batch_size": 37, "budget": setting.budget}
    ours = schedules.make_plateau(
        setting.schedule, setting.train["warmup"], goal=goal, evaluate="1ep", **size
    )
    theirs = run_code(write_code("pytorch", setting))["Plateau"]()
    dice, factors = np.random.default_rng(3), []
    for step in range(0, 60 * 39, 39):
        value = float(dice.choice([1.0, 0.9, 0.5, -0.2, float("nan"), 0.49]))
        ours.observe(step, value)
        theirs.observe(step, value)
        assert theirs.scale == ours.scale
        factors.append(ours.scale)
    assert len(set(factors)) > 3


def test_a_function_of_the_user_s_is_imported_and_told_its_progress(tmp_path):
    setting = make_setting(tmp_path, warmup=WARMUPS[2])
    train = {
        **setting.train,
        "schedule": {"class_path": "my_curves.fall", "init_args": {"to": 0.5}},
    }
    setting = Setting(train, SAMPLES, setting.budget, "x")
    module = types.ModuleType("my_curves")
    module.fall = lambda share, to: 1 - (1 - to) * share
    space = run_code(write_code("pytorch", setting), my_curves=module)
    ours = schedules.multipliers(
        train["schedule"],
        train["warmup"],
        budget=setting.budget,
        samples=SAMPLES,
        batch_size=37,
        function=module.fall,
    )
    found = [space["multiplier"](step) for step in range(setting.budget)]
    assert found == pytest.approx(ours.tolist(), rel=1e-12)
    train["schedule"] = {"class_path": "os;import sys.x", "init_args": {}}
    with pytest.raises(UsageError, match="no path that Python imports"):
        write_code("pytorch", setting)


@pytest.mark.parametrize("target", ["huggingface", "keras"])
def test_a_plateau_is_refused_where_there_is_no_form_of_it(tmp_path, target):
    with pytest.raises(UsageError, match="plateau follows a metric"):
        write_code(target, make_setting(tmp_path, "plateau"))


OPTIMIZERS = {
    "{name: sgd, momentum: 0.9, nesterov: true, weight_decay: 1e-4}": (torch.optim.SGD, "momentum"),
    "{name: adamw, beta2: 0.95}": (torch.optim.AdamW, "betas"),
    "amsgrad": (torch.optim.Adam, "amsgrad"),
    "{name: nadam, decoupled: true}": (torch.optim.NAdam, "decoupled_weight_decay"),
    "radam": (torch.optim.RAdam, "betas"),
    "adamax": (torch.optim.Adamax, "betas"),
    "{name: rmsprop, centered: true}": (torch.optim.RMSprop, "centered"),
    "adagrad": (torch.optim.Adagrad, "lr_decay"),
    "adadelta": (torch.optim.Adadelta, "rho"),
    "adafactor": (torch.optim.Adafactor, "beta2_decay"),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_are_made_as_lrsearch_makes_them(tmp_path, optimizer):
    from lrsearch.train.optimizers.registry import build_optimizer

    setting = make_setting(tmp_path, optimizer=optimizer)
    model = torch.nn.Linear(2, 2)
    found = run_code(write_code("pytorch", setting))["configure"](model)[0]
    ours = build_optimizer(setting.train["optimizer"], model.parameters(), 0.037)
    kind, telling = OPTIMIZERS[optimizer]
    assert type(found) is kind and isinstance(ours, kind) and telling in found.defaults
    speed = {"foreach", "fused", "capturable"}
    apart = {k for k, v in ours.defaults.items() if v != found.defaults[k]} - speed
    assert apart == set()


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_not_carried_over_is_said(tmp_path, target):
    more = {"label_smoothing": 0.1, "weight_decay_on": "matrices", "optimizer": "muon"}
    text = write_code(target, make_setting(tmp_path, **more))
    assert "label_smoothing: 0.1" in text and "weight_decay_on: matrices" in text
    assert "muon" in text
    compile(text, "<code>", "exec")
    # The title is one comment, whatever is in it.
    assert text.startswith("# a ") and '"""' in text.splitlines()[0]


@pytest.mark.parametrize("target", TARGETS)
def test_what_the_rate_rests_on_besides_is_said(tmp_path, target):
    more = {"loss": "my_losses.focal", "optimizer": "{name: muon, momentum: 0.9}"}
    setting = make_setting(tmp_path, clip_norm=0.7, **more)
    data = {"standardize": True, "transforms": [{"name": "mixup", "alpha": 0.2}]}
    data |= {"missing": "mean", "drop": ["id"]}
    text = write_code(target, dataclasses.replace(setting, data=data))
    head = text.split("\n\n")[0]
    assert "missing: gaps filled" in head
    assert "standardize: inputs" in head and "transforms: [mixup 0.2]" in head
    assert head.count("missing: ") == 1 and "drop: [id]" in head
    assert "loss: {class_path: my_losses.focal, init_args: {}}" in head
    assert "0.7" in text and "ns_steps: 5" in text  # The clipping, the optimizer's arguments.
    compile(text, "<code>", "exec")
    beside = {"model.init_args.width": 8}
    own = write_code(target, dataclasses.replace(make_setting(tmp_path), beside=beside))
    assert own.splitlines()[1:3] == ["# Not carried over:", "#   model.init_args.width: 8"]
    plain = write_code(target, make_setting(tmp_path))
    assert "Not carried over" not in plain
    scaled = write_code(target, dataclasses.replace(make_setting(tmp_path), task="regression"))
    assert "targets: less their mean, over their deviation" in scaled


def test_what_stands_in_a_class_is_imported_by_it():
    from lrsearch.reports.code.schedule import write_import

    assert write_import("my.nets.Decay") == ["from my.nets import Decay"]
    assert write_import("my_curves.Shapes.fall", "shape") == [
        "from my_curves import Shapes",
        "shape = Shapes.fall",
    ]
    assert write_import("fall") == write_import("my.2d") == []
