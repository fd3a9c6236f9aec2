"""Parameters and metrics of a spec, held against what the source of its loop reads and reports."""

import re
from types import SimpleNamespace

import pytest

from lrsearch.data.parquet import read_names
from lrsearch.errors import SpecError
from lrsearch.spec import read_spec

HEAD = "loop: own.train\nobjective: {metric: loss, goal: min}\n"
REPORT = "\n    trial.report(1, loss=0.5)\n"


def look(folder, source, text):
    """The faults and notes of a spec beside a loop with a body."""
    (folder / "own.py").write_text(f"def train(trial):\n    {source}{REPORT}")
    path = folder / "s.yaml"
    path.write_text(text)
    try:
        return [], read_spec(path, columns=read_names).notes
    except SpecError as error:
        return error.faults, ()


def run(folder, params):
    """The names that the loop of a folder reads, or KeyError."""

    class Read(dict):
        def __getitem__(self, name):
            read.add(name)
            return super().__getitem__(name)

        def get(self, name, default=None):
            read.add(name)
            return super().get(name, default)

    read = set()
    space = {}
    exec((folder / "own.py").read_text(), space)
    space["train"](
        SimpleNamespace(params=Read(params), lr_at=lambda *_: 0.1, report=lambda *_, **__: None)
    )
    return read


WRONG = [
    ('trial.params["lr"], trial.params["weight_decay"]', "search: {lr: [1, 2], wieght_decay: [0]}",
     "search.wieght_decay", "write weight_decay: [0]"),
    ('p = trial.params\n    a = p["lr"] * p["weight_decay"]',
     "search:\n  lr: [1, 2]\n  weight_decy: {min: 1e-4, max: 1.0}", "search.weight_decy",
     "write weight_decay: {min: 1e-4, max: 1.0}"),
    ('p = trial.params\n    a = p.get("dropout", 0.1), p["lr"]',
     "search: {lr: [1, 2], dropuot: [0.1]}", "search.dropuot", "write dropout: [0.1]"),
    ('a = trial.params["bs"]', "search: {batch_size: [1, 2]}", "search.batch_size",
     "write bs: [1, 2]"),
    ('for x in range(trial.params["epochs"]): pass', "params: {epoch: 3}", "params.epoch",
     "write epochs: 3"),
    ('a = trial.params["width"], trial.params["lr"]', "search: {lr: [1, 2]}", "loop",
     "write width: 1 under params; for example"),
    ('a = trial.params["seed"]', "search: {lr: [1, 2]}", "loop", "write trial.seed there"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "block", "key", "hint"), WRONG)
def test_a_name_that_the_loop_reads_and_nobody_gives_is_a_fault(tmp_path, source, block, key, hint):
    (fault,), _ = look(tmp_path, source, f"{HEAD}{block}\n")
    assert (fault.key, fault.hint) == (key, hint)
    given = dict.fromkeys(re.findall(r"(\w+):", block), 1)
    if key.startswith("search"):  # Nobody reads it.
        with pytest.raises(KeyError):
            if key.rpartition(".")[2] not in run(tmp_path, given):
                raise KeyError
    else:
        with pytest.raises(KeyError):
            run(tmp_path, given)
    if "trial.seed" in hint:
        return
    # The line that is told, written, is what was meant.
    line = hint.removeprefix("write ").partition(" under")[0].partition(";")[0]
    old = key.rpartition(".")[2]
    written = f"{block}\nparams: {{{line}}}"
    if key != "loop":
        written = block.replace(old, line.partition(":")[0])
    found, notes = look(tmp_path, source, f"{HEAD}{written}\n")
    assert not found and not [note for note in notes if "never reads" in note]


QUIET = {
    "handed on": "dict(**trial.params)",
    "the trial is handed on": "repr(trial)",
    "under a condition": 'if trial.params["lr"] > 9:\n        a = trial.params["momentum"]',
    "asked for": 'p = trial.params\n    a = p["momentum"] if "momentum" in p else p["lr"]',
    "caught": 'try: a = trial.params["momentum"]\n    except KeyError: a = trial.params["lr"]',
    "set": 'trial.params["momentum"] = 1\n    a = trial.params["momentum"] + trial.params["lr"]',
    "bound anew": 'p = trial.params\n    p = {"momentum": 1, **p}\n    a = p["momentum"]',
    "any of them": "for name in trial.params: trial.params[name]",
    "a name of its own": 'key = "lr"\n    a = trial.params[key]',
    "returned before": 'if trial.params["lr"]:\n        return\n    a = trial.params["momentum"]',
    "in a function": 'a = trial.params["lr"]\n    def f(): return trial.params["momentum"]',
    "by the schedule": "a = trial.lr_at(1, 10)",
    "changed": 'trial.params["lr"] *= 2',
    "printed": 'print(trial.params, f"{trial.params}", trial.params["lr"])',
}


@pytest.mark.parametrize("source", QUIET.values(), ids=QUIET)
def test_what_trains_is_no_fault_and_what_may_be_read_no_note(tmp_path, source):
    found, notes = look(tmp_path, source, f"{HEAD}search: {{lr: [1, 2]}}\n")
    assert not found and not [note for note in notes if "never reads" in note]
    run(tmp_path, {"lr": 1})


def test_a_searched_parameter_that_no_one_reads_is_noted(tmp_path):
    text = (
        f'{HEAD}params: {{warm: "{{base}} / 10", tag: x}}\nsearch: {{base: [1, 2], width: [1]}}\n'
    )
    _, notes = look(tmp_path, 'a = trial.params["warm"]', text)
    told = [note for note in notes if "never reads" in note]
    _, notes = look(
        tmp_path, 'a = trial.params.get("dropout", 0.1)', f"{HEAD}search: {{drop_rate: [0.1]}}\n"
    )
    assert "drop_rate is searched, and own.train (own.py) never reads it" in notes  # No slip.
    assert told == ["width is searched, and own.train (own.py) never reads it"]


@pytest.mark.parametrize(
    ("report", "objective", "hint"),
    [
        ("accuracy=1, loss=2", "{metric: acuracy, goal: max, at: best}", "write metric: accuracy"),
        ("step=1, loss=2", "{metric: val_loss, goal: min}", "write metric: loss"),
        ("loss=2", "f1", "write objective: {metric: loss}"),
        ("bleu=1", "{metric: bleuu, goal: max}", "write metric: bleu"),
        ("bleu=1", "accuracy", "write objective: {metric: bleu, goal: max}"),
        ("**{'val_loss': 1}", "val_loss", None),
        ("loss=2); helper.report(f1=1", "f1", None),
        ("loss=2); lrsearch.report(f1=1", "f1", None),
        ("loss=2); print(trial", "f1", None),
    ],
)
def test_a_metric_that_the_loop_never_reports_is_a_fault(tmp_path, report, objective, hint):
    path = tmp_path / "s.yaml"
    source = f"def train(trial):\n    trial.params['lr']\n    trial.report({report})\n"
    heads = "".join(f"import {each}\n" for each in ("helper", "lrsearch") if each in report)
    (tmp_path / "helper.py").write_text("from lrsearch import report\n")
    (tmp_path / "own.py").write_text(heads + source)

    def faults(objective):
        path.write_text(f"loop: own.train\nobjective: {objective}\nsearch: {{lr: [1, 2]}}\n")
        try:
            read_spec(path, columns=read_names)
        except SpecError as error:
            return [each for each in error.faults if "reports" in each.message]
        return []

    assert [each.hint for each in faults(objective)] == ([hint] if hint else [])
    if hint:
        key, _, value = hint.removeprefix("write ").partition(": ")
        assert not faults(value if key == "objective" else f"{{metric: {value}, goal: max}}")
