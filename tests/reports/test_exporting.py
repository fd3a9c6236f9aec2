"""Runs in other tools' formats, each opened with the reader of the tool itself."""

import csv
import dataclasses
import importlib.util
import io
import json
import math
import struct
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.reports.cells import write_csv
from lrsearch.reports.exporting.formats import FORMATS
from lrsearch.reports.exporting.studies import label_options
from lrsearch.reports.exporting.tables import to_csv
from lrsearch.reports.exporting.values import ExportedRun
from lrsearch.reports.view import build_view
from lrsearch.space import Choice, Float, Int, Option, Space, encode
from lrsearch.trial import Objective, Outcome, Record, Result, Trial

OBJECTIVE = Objective("accuracy", "max")

SPACE = Space(
    (
        ("lr", Float(1e-4, 1.0, log=True)),
        ("width", Int(4, 64)),
        ("batch_size", Choice((Option(32), Option(64)))),
        (
            "schedule",
            Choice(
                (
                    Option({"name": "constant"}),
                    Option({"name": "one_cycle"}, Space((("pct_start", Float(0.1, 0.45)),))),
                )
            ),
        ),
    )
)

POINTS = {
    1: {"lr": 0.01, "width": 8, "batch_size": 32, "schedule": {"name": "constant"}},
    2: {
        "lr": 0.1,
        "width": 16,
        "batch_size": 64,
        "schedule": {"name": "one_cycle", "pct_start": 0.25},
    },
    3: {"lr": 1.0, "width": 64, "batch_size": 32, "schedule": {"name": "constant"}},
    4: {"lr": 1e-3, "width": 4, "batch_size": 64, "schedule": {"name": "constant"}},
    5: {"lr": 1e-4, "width": 4, "batch_size": 32, "schedule": {"name": "constant"}},
    6: {"lr": 0.5, "width": 999, "batch_size": 32, "schedule": {"name": "constant"}},
    7: {"lr": 0.2, "width": 5, "batch_size": 32, "schedule": {"name": "constant"}},
}
HOSTILE = '=HYPERLINK("x")\x1b[2J\udcff <b>é'

CURVES = {
    1: {"step": [10, 20], "accuracy": [0.5, 0.7], "loss": [1.0, 0.6]},
    2: {"step": [10, 20], "accuracy": [0.7, 0.9], "loss": [0.8, 0.4]},
    3: {"step": [10, 20], "accuracy": [0.2, 0.6], "loss": [0.9, 0.7]},
    4: {"step": [10], "accuracy": [0.1], "loss": [math.nan]},
    5: {"step": [10], "accuracy": [0.3], "loss": [1.5]},
    6: {},
    7: {"step": [10, 20], "accuracy": [0.5, 0.65], "loss": [1.0, 0.6]},
}
"""Curves by trial: 1 and 2 are the two seeds of point 1, the others of one point each."""


def ended(outcome, value=None, steps=20, reason=""):
    last = {} if value is None else {"accuracy": value, "loss": 0.5}
    return Result(outcome, steps, steps / 10, 2.0, last=last, best=last, reason=reason)


def flat(point):
    found = dict(POINTS[point])
    schedule = found.pop("schedule")
    more = {f"schedule.{key}": part for key, part in schedule.items() if key != "name"}
    return {**found, "schedule": schedule["name"], **more}


def make_run():
    """Two seeds of a point, one of each other outcome, one outside the space, one unfinished."""
    results = [
        (1, 0, ended(Outcome.COMPLETED, 0.7)),
        (1, 1, ended(Outcome.COMPLETED, 0.9)),
        (2, 0, ended(Outcome.COMPLETED, 0.6)),
        (3, 0, ended(Outcome.DIVERGED, steps=10, reason="loss is nan")),
        (4, 0, ended(Outcome.PRUNED, steps=10)),
        (5, 0, ended(Outcome.FAILED, steps=0, reason=HOSTILE)),
        (6, 0, ended(Outcome.COMPLETED, 0.65)),
        (7, 0, None),
    ]
    records = [
        Record(Trial(number, f"key{number}", {}, seed), point, flat(point), "bayes", result)
        for number, (point, seed, result) in enumerate(results, start=1)
    ]
    return ExportedRun(
        view=build_view("digits", "runs/digits", OBJECTIVE, records),
        space=SPACE,
        curve=lambda number: CURVES.get(number, {}),
        numbers={number: encode(SPACE, point) for number, point in POINTS.items()},
        name="digits",
        document={"name": "digits", "search": {"lr": {"min": 1e-4, "max": 1.0}}},
        began=1.8e9,
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What each format wrote of the run, made when it is first asked for."""
    folder, made = tmp_path_factory.mktemp("exported"), {}

    def write(name, **changes):
        key = (name, *changes.items())
        if key not in made:
            chosen = FORMATS[name]
            for module in chosen.needs:
                if (
                    importlib.util.find_spec(module) is None
                ):  # trackio takes its folder as it loads.
                    pytest.skip(f"{module} is not installed")
            run = dataclasses.replace(make_run(), **changes)
            made[key] = folder / f"{len(made)}{chosen.suffix}"
            if chosen.text:
                made[key].write_text(chosen.text(run), encoding="utf-8", newline="")
            else:
                chosen.write(run, made[key])
        return made[key]

    return write


# what each reader finds, by trial: (outcome, seed, rate, accuracy by step, objective)


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        int(row["trial"]): (
            row["outcome"],
            int(row["seed"]),
            float(row["params.lr"]),
            float(row["objective"]) if row["objective"] else None,
        )
        for row in rows
        if row["outcome"]
    }


def read_parquet(path):
    import pyarrow.parquet

    return {
        row["trial"]: (row["outcome"], row["seed"], row["params.lr"], row["objective"])
        for row in pyarrow.parquet.read_table(path).to_pylist()
        if row["outcome"]
    }


def read_optuna(path):
    import optuna

    [summary] = optuna.get_all_study_summaries(f"sqlite:///{path}")
    study = optuna.load_study(study_name=summary.study_name, storage=f"sqlite:///{path}")
    found = {}
    for trial in study.trials:
        told = trial.user_attrs
        for number in told["trials"]:
            own = told.get(f"trial {number}", {})
            outcome = own.get("outcome", told["outcome"])
            objective = own.get("objective", trial.value)
            rate = trial.params.get("lr", told["params"]["lr"])
            found[number] = (outcome, own.get("seed", 0), rate, objective)
    return found


def read_tensorboard(path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    found = {}
    for folder in sorted(path.iterdir()):
        if not folder.is_dir():
            continue
        events = EventAccumulator(str(folder)).Reload()
        content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
        start = metadata.parse_session_start_info_plugin_data(content)
        content = events.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
        end = metadata.parse_session_end_info_plugin_data(content)
        tags = events.Tags()["scalars"]
        objective = None
        if "result/objective" in tags:
            objective = pytest.approx(events.Scalars("result/objective")[0].value)
        number = int(folder.name.removeprefix("trial-"))
        seed, rate = (start.hparams[key].number_value for key in ("seed", "lr"))
        found[number] = ({1: "ended", 2: "failed"}[end.status], seed, rate, objective)
    return found


def chunks(content):
    """The records of a log as LevelDB has it, behind seven bytes that say whose it is: what
    `wandb sync` reads in a program of its own."""
    place, whole = 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        size, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        whole += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # The whole of a record, or its last part.
            yield whole
            whole = b""


def read_wandb(path):
    from wandb.proto import wandb_internal_pb2

    found = {}
    for file in path.glob("wandb/offline-run-*/*.wandb"):
        rows, config, name = {}, {}, ""
        for data in chunks(file.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            if record.HasField("run"):
                name = record.run.display_name
                updates = record.run.config.update
                config |= {each.key: json.loads(each.value_json) for each in updates}
            if record.HasField("exit"):
                code = record.exit.exit_code
            for item in record.history.item:
                rows[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
        number = int(name.removeprefix("trial "))
        objective = rows.get("result/objective")
        assert (code == 1) == (rows["outcome"] == "failed")  # Its page says so, too.
        found[number] = (rows["outcome"], config["seed"], config["lr"], objective)
    return found


def read_trackio(path):
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    assert [file.name for file in path.glob("*.db")] == ["digits.db"]
    found = {}
    for run in trackio.Api().runs("digits"):
        number = int(run.name.removeprefix("trial "))
        (last,) = [each for each in SQLiteStorage.get_logs("digits", run.name) if "outcome" in each]
        assert run.config["_Group"].startswith("point ")
        objective = last.get("result/objective")
        found[number] = (last["outcome"], run.config["seed"], run.config["lr"], objective)
    return found


def read_mlflow(path):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{path}")
    experiment = client.get_experiment_by_name("digits")
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        number = int(run.info.run_name.removeprefix("trial "))
        params, metrics = run.data.params, run.data.metrics
        assert run.info.status == ("FAILED" if number == 6 else "FINISHED")
        outcome, objective = run.data.tags["outcome"], metrics.get("result/objective")
        found[number] = (outcome, int(params["seed"]), float(params["lr"]), objective)
    return found


READERS = {
    "csv": read_csv,
    "parquet": read_parquet,
    "optuna": read_optuna,
    "tensorboard": read_tensorboard,
    "wandb": read_wandb,
    "trackio": read_trackio,
    "mlflow": read_mlflow,
}


def test_every_format_has_a_reader():
    assert READERS.keys() == FORMATS.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_the_tools_own_reader_finds_every_trial(written, name):
    found = READERS[name](written(name))
    for record in make_run().view.records:
        result, number = record.result, record.trial.number
        if result is None:
            assert number not in found
            continue
        outcome = str(result.outcome)
        if name == "tensorboard":
            outcome = "failed" if outcome == "failed" else "ended"
        value = result.value(OBJECTIVE)
        assert found.pop(number) == (outcome, record.trial.seed, record.params["lr"], value)
    assert found == {}


# Optuna


@pytest.fixture(params=[".db", ".journal"])
def study(request, tmp_path):
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    path = tmp_path / f"study{request.param}"
    FORMATS["optuna"].write(make_run(), path)
    storage = f"sqlite:///{path}"
    if request.param == ".journal":
        storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name="digits", storage=storage)


def test_a_study_has_states_distributions_and_means(study):
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    assert [trial.state.name for trial in study.trials] == [
        *("COMPLETE", "COMPLETE", "PRUNED", "PRUNED", "FAIL", "COMPLETE")
    ]
    first, second, diverged, pruned, failed, outside = study.trials
    # The luckiest seed came to 0.9, and is no trial of its own.
    assert study.best_trial.number == 0 and first.value == pytest.approx(0.8)
    assert first.intermediate_values == pytest.approx({10: 0.6, 20: 0.8})
    assert first.user_attrs["trial 2"]["intermediate"] == {"10": 0.7, "20": 0.9}
    assert first.distributions == {
        "lr": FloatDistribution(1e-4, 1.0, log=True),
        "width": IntDistribution(4, 64),
        "batch_size": CategoricalDistribution([32, 64]),
        "schedule": CategoricalDistribution(["constant", "one_cycle"]),
    }
    assert second.params == {
        "lr": 0.1,
        "width": 16,
        "batch_size": 64,
        "schedule": "one_cycle",
        "schedule.one_cycle.pct_start": 0.25,
    }
    assert second.distributions["schedule.one_cycle.pct_start"] == FloatDistribution(0.1, 0.45)
    assert (diverged.value, pruned.intermediate_values) == (None, {10: 0.3})
    assert failed.user_attrs["reason"].startswith("=HYPERLINK") and not failed.intermediate_values
    assert outside.params == {} and outside.user_attrs["params"]["width"] == 999
    assert study.user_attrs["lrsearch:spec"]["search"] == {"lr": {"min": 1e-4, "max": 1.0}}
    assert study.metric_names == ["accuracy"]
    seconds = [(each.datetime_complete - each.datetime_start).seconds for each in study.trials]
    assert seconds[:2] == [4, 2]


def test_a_search_goes_on_with_the_study(study):
    def objective(trial):
        schedule = trial.suggest_categorical("schedule", ["constant", "one_cycle"])
        if schedule == "one_cycle":
            trial.suggest_float("schedule.one_cycle.pct_start", 0.1, 0.45)
        trial.suggest_categorical("batch_size", [32, 64])
        trial.suggest_int("width", 4, 64)
        return trial.suggest_float("lr", 1e-4, 1.0, log=True)

    study.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in study.trials[-2:]] == ["COMPLETE", "COMPLETE"]


COMPONENTS = st.fixed_dictionaries(
    {"name": st.sampled_from(["cosine", "step"])}, optional={"final": st.sampled_from([0, 0.1])}
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from([0.0, 1.0, 0.5]),
    st.sampled_from(["cosine", "1", "true"]), st.lists(st.integers(0, 3), max_size=2), COMPONENTS,
)  # fmt: skip


@given(st.lists(VALUES, min_size=1, max_size=6))
def test_no_two_options_share_a_label(values):
    from optuna.distributions import CategoricalDistribution

    labels = label_options(Choice(tuple(map(Option, values))))
    assert len(set(labels)) == len(values)  # 1, 1.0 and true are one there
    known = CategoricalDistribution(labels)
    assert [known.to_internal_repr(label) for label in labels] == list(range(len(values)))


def test_an_option_keeps_its_value_beside_others_that_optuna_takes_for_one():
    values = ["a=b", None, True, 1, 0.5, "1 (int)"]
    labels = label_options(Choice(tuple(map(Option, values))))
    assert labels == ("a=b", None, "true (bool)", "1 (int) ", 0.5, "1 (int)")


# tables


@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_evaluations_are_a_table_of_their_own(written, name):
    path = written(name, table="evaluations")
    if name == "csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    else:
        import pyarrow.parquet

        rows = pyarrow.parquet.read_table(path).to_pylist()
    found = [(int(row["trial"]), int(row["step"]), float(row["metrics.loss"])) for row in rows]
    wanted = [
        (number, step, loss)
        for number, curve in CURVES.items()
        for step, loss in zip(curve.get("step", ()), curve.get("loss", ()), strict=True)
    ]
    assert str(found) == str(wanted)  # nan is not equal to itself


def test_columns_of_a_run_without_a_result_have_their_types(tmp_path):
    import pyarrow.parquet

    run = make_run()
    begun = [dataclasses.replace(record, result=None) for record in run.view.records]
    run = dataclasses.replace(run, view=build_view("digits", "runs/digits", OBJECTIVE, begun))
    FORMATS["parquet"].write(run, tmp_path / "a.parquet")
    schema = pyarrow.parquet.read_schema(tmp_path / "a.parquet")
    found = {name: str(schema.field(name).type) for name in ("fold", "steps", "objective")}
    assert found == {"fold": "int64", "steps": "int64", "objective": "double"}


def test_types_of_parquet(written):
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(written("parquet"))
    kinds = [str(schema.field(name).type) for name in ("params.lr", "params.width", "reason")]
    assert kinds == ["double", "int64", "string"]


CELLS = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(st.sampled_from("=+-@\t\r\n,;'\" 1e.5a\x00\x1b\u202e\uff1d\u200b")),
)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=3), min_size=1, max_size=3))
def test_no_cell_is_a_formula(rows):
    """As a spreadsheet sees them: after CSV is read, and what looks like a number is one."""
    text = write_csv(rows)
    assert not set(text) & set("\x00\x1b\u202e\u200b")
    for row, read in zip(rows, csv.reader(io.StringIO(text, newline="")), strict=True):
        assert len(row) == len(read)
        for value, seen in zip(row, read, strict=True):
            if isinstance(value, int | float) and math.isfinite(value):
                assert float(seen) == value and not seen.startswith("'")
            try:
                float(seen.replace("_", "x"))
                number = seen.lstrip("+-")[:1].isdigit() or seen.lstrip("+-")[:1] == "."
            except ValueError:
                number = False
            bad = seen.strip()[:1] in tuple("=+-@\uff1d\uff0b\uff0d\uff20") or seen[:1] in (
                *"\t\r\n",
            )
            assert number or not seen or not bad


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.5, "-0.5"),
        ("-0.5", "-0.5"),
        ("+1e-3", "+1e-3"),
        (-math.inf, "'-inf"),
        ("-1+cmd", "'-1+cmd"),
        ("=1", "'=1"),
        ("@x", "'@x"),
        ("\t=1", "'\t=1"),
        ("a\x07", "a\\x07"),
    ],
)
def test_cells(value, text):
    assert next(csv.reader(io.StringIO(write_csv([[value]]), newline=""))) == [text]


def test_hostile_reasons_are_text_in_csv():
    [reason] = [
        row["reason"]
        for row in csv.DictReader(io.StringIO(to_csv(make_run())))
        if row["reason"][:2] == "'="
    ]
    assert reason == '\'=HYPERLINK("x")\\x1b[2J\\udcff <b>é'


def test_formats_name_what_installs_them():
    assert all(bool(each.needs) == bool(each.install) for each in FORMATS.values())
    assert all((each.write is None) != (each.text is None) for each in FORMATS.values())
    assert find_spec("optuna")  # Ours needs it anyway.
