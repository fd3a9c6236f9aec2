"""Parameters that follow from others: what is arithmetic, what it comes to, and what is text."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from devices import DEVICE
from hypothesis import given
from hypothesis import strategies as st
from test_repeating import TRAIN, lrsearch, make_older, search

from lrsearch.spec.arithmetic import NotArithmetic, read_arithmetic
from lrsearch.store import read

NUMBERS = st.one_of(st.integers(-20, 20), st.integers(-20_000, 20_000).map(lambda n: n / 1000))
NAMES = ("lr", "lambda", "x_1")


def _text(value: float) -> str:
    return f"({value!r})" if value < 0 else repr(value)


EXPRESSIONS = st.recursive(
    st.one_of(NUMBERS.map(_text), st.sampled_from([f"{{{name}}}" for name in NAMES])),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        # Python would compute whole powers of any size.
        st.tuples(inner, st.sampled_from(["2", "0.5", "-1"])).map(
            lambda parts: f"({parts[0]})**({parts[1]})"
        ),
        inner.map(lambda part: f"-{part}"),
        inner.map(lambda part: f"round({part})"),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(
            lambda parts: f"{parts[0]}({parts[1]}, {parts[2]})"
        ),
    ),
    max_leaves=6,
)


@given(EXPRESSIONS, st.tuples(NUMBERS, NUMBERS, NUMBERS))
def test_it_comes_to_what_python_computes(text: str, values: tuple[float, ...]) -> None:
    text = f"{text} + 0 * {{lr}}"
    if len(text) > 200:
        return
    params = dict(zip(NAMES, values, strict=True))
    formula = read_arithmetic(text, NAMES)
    assert formula is not None
    plain = text
    for name in NAMES:
        plain = plain.replace(f"{{{name}}}", f"({params[name]!r})")
    try:
        expected = eval(plain, {"__builtins__": {}}, {"min": min, "max": max, "round": round})
    except (ArithmeticError, TypeError, ValueError):
        expected = None
    try:
        found: float | None = formula.compute(params)
    except ArithmeticError:
        found = None
    if found is None:
        # Python goes on with complex numbers, and whole ones of any size.
        large = "**" in text or ("round" in text and "/" in text)
        assert expected is None or isinstance(expected, complex) or large
    elif expected is not None:
        assert found == pytest.approx(expected, rel=1e-11)
        if "min" not in text and "max" not in text:
            assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{lr} / 10", 3e-5),
        ("{lr}", 3e-4),
        (" {lr}*1e1", 3e-3),
        ("{width} * 2", 128),
        ("{width} / 2", 32.0),
        ("{width} // 3", 21),
        ("round({width} / 3)", 21),
        ("-{width} % 10", 6),
        ("{width} ** 2", 4096),
        ("2 ** -{width} * 2 ** {width}", None),
        ("10 ** round(log10({lr}))", 1e-4),
        ("min({width}, 1.5 * 100)", 64.0),
        ("max({width}, 100)", 100),
        ("({lr} + {width}) * {lr}", 0.0192000900),
    ],
)
def test_values(text: str, value: float | None) -> None:
    formula = read_arithmetic(text, ("lr", "width"))
    assert formula is not None
    params = {"lr": 3e-4, "width": 64}
    if value is None:
        with pytest.raises(ArithmeticError, match="too large"):
            formula.compute(params)
        return
    found = formula.compute(params)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "{}",
        "run-{lr}",
        "{epoch}-{step}",
        "{epoch:02d}",
        "{lr}{width}",
        "{lr}, {width}",
        "{width}px",
        "{lr}.real",
        "{lr}.__class__",
        "{lr!r}",
        "{lr if 1 else 2}",
        "{{lr}}",
        "Answer {topic} in {width} words, " * 1000,
        "{lr} # a comment",
        "{lr} < 1",
        "lambda: {lr}",
        "[{lr}, 1]",
        "{lr} 'x'",
        "__import__('os').system('{lr}')",
        "exec({lr}) or exec",
    ],
)
def test_other_text_is_text(text: str) -> None:
    assert read_arithmetic(text, ("lr", "width")) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{lrr} / 10", "did you mean 'lr'"),
        ("{foo} / 10", "unknown parameter '{foo}'"),
        ("{seed} * {lr}", "unknown parameter '{seed}'"),
        ("{lr} /", "is no arithmetic"),
        ("({lr}", "is no arithmetic"),
        ("{lr} ^ 2", "** is to the power of"),
        ("sqrt({lr})", "unknown function 'sqrt'"),
        ("eval({lr})", "unknown function 'eval'"),
        ("min({lr})", "takes 2 arguments or more"),
        ("round({lr}, 3)", "round takes one argument"),
        ("min(*({lr}, 2), 1)", "is no arithmetic"),
        ("(min)({lr}, 2)", None),
        ("{lr} * 1j", "is no arithmetic"),
        ("{lr} * 9" + "9" * 30, "too large"),
        ("{lr} * 1e999", "too large"),
        ("{lr}" + " + 1" * 100, "more than 200 characters"),
        ("(" * 10_000 + "{lr}" + ")" * 10_000, "more than 200 characters"),
    ],
)
def test_a_slip_is_a_fault_at_once(text: str, told: str | None) -> None:
    begun = time.process_time()
    if told is None:
        assert read_arithmetic(text, ("lr", "width")) is None
    else:
        with pytest.raises(NotArithmetic) as caught:
            read_arithmetic(text, ("lr", "width"))
        assert told in f"{caught.value} {caught.value.hint}"
    assert time.process_time() - begun < 0.5


@pytest.mark.parametrize(
    "text",
    [
        "10 ** 10 ** 10 * {n}",
        "9 ** 9 ** 9 ** 9 ** {n}",
        "2 ** 99999999999 % {n}",
        "(2 ** 2 ** 9) ** (2 ** 2 ** 9) * {n}",
        "-{n} ** 1e308 * 1e308",
        "(-{n}) ** 0.5",
        "0 ** -{n}",
        "{n} % 0",
        "{n} // 0.0",
        "log10(0 * {n})",
        "round(1e300 * {n})",
        "1e308 * 10 * {n} - 1e308 * 10 * {n}",
        "(" * 97 + "{n}" + ")" * 97 + "/0",
        "-" * 190 + "{n}/0",
    ],
)
def test_a_bomb_has_no_value_and_costs_nothing(text: str) -> None:
    begun = time.process_time()
    formula = read_arithmetic(text, ("n",))
    assert formula is not None
    with pytest.raises(ArithmeticError):
        formula.compute({"n": 7})
    assert time.process_time() - begun < 0.5
    for wrong in (True, "7", None, [7], {"n": 7}):
        with pytest.raises(ArithmeticError, match="no number"):
            formula.compute({"n": wrong})


# in a spec

SCRIPT = """\
import json, os, sys

params = json.load(open(os.environ["LRSEARCH_PARAMS"]))
with open("seen", "a") as seen:
    print(json.dumps([params, sys.argv[1:], os.environ.get("LRSEARCH_MIN_LR")]), file=seen)
print(json.dumps({"loss": params["learning_rate"]}))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "train.py").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def write(folder: Path, **more: Any) -> None:
    spec = {
        "name": "mine",
        "command": f"{sys.executable} train.py {{min_lr}} {{hidden}}",
        "objective": {"metric": "loss", "goal": "min"},
        "params": {"hidden": "{double} + 1", "min_lr": "{learning_rate} / 10"},
        "search": {"learning_rate": [0.3, 3e-4], "width": [16, 32]},
    }
    spec["params"] |= {"double": "{width} * 2"}  # type: ignore[operator]
    (folder / "mine.yaml").write_text(yaml.safe_dump({**spec, **more}, sort_keys=False))


def seen(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "seen").read_text().splitlines()]


def test_what_a_trial_is_given(here: Path) -> None:
    write(here)
    said, _ = lrsearch("check", "mine.yaml")
    for each in ("min_lr = learning_rate / 10", "hidden = double + 1", "double = width * 2"):
        assert each in " ".join(said.split())
    assert "does not stand in the command" not in said, "they stand there by what follows from them"
    found = search("grid", "mine.yaml", *TRAIN)
    params, words, variable = seen(here)[-1]
    assert params == {
        "learning_rate": 3e-4,
        "width": 32,
        "min_lr": 3e-5,
        "double": 64,
        "hidden": 65,
    }
    assert words == ["3e-05", "65"] and variable == "3e-05"
    assert found["best"]["params"] == {"learning_rate": 3e-4, "width": 16}
    assert "would train 0 trials" in lrsearch("grid", "mine.yaml", *TRAIN, "--dry-run")[0]


def test_a_trial_is_known_by_the_value(here: Path) -> None:
    write(here)
    lrsearch("grid", "mine.yaml", *TRAIN)
    fixed = {"learning_rate": 0.3, "width": 16, "min_lr": 0.03, "double": 32, "hidden": 33}
    write(here, params=fixed, search={})
    assert "would train 0 trials" in lrsearch("grid", "mine.yaml", *TRAIN, "--dry-run")[0]
    (here / "best.yaml").write_text(lrsearch("export", "runs/mine")[0])
    assert yaml.safe_load((here / "best.yaml").read_text())["params"]["min_lr"] == 3e-5
    same = ("--set", "name=mine", "--dry-run")
    assert "would train 0 trials" in lrsearch("grid", "best.yaml", *TRAIN, *same)[0]
    write(here)
    other = ("--set", 'params.min_lr="{learning_rate} / 20"')
    _, err = lrsearch("grid", "mine.yaml", *TRAIN, *other, code=2)
    assert "params.min_lr: 3e-05 stored, learning_rate / 20 in the spec" in err
    cheaper = ("--set", 'params.min_lr="0.1 * {learning_rate}"', "--dry-run")
    assert "would train 0" in lrsearch("grid", "mine.yaml", *TRAIN, *cheaper)[0]


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"min_lr": "{learning_rat} / 10"}, "did you mean 'learning_rate'?"),
        ({"a": "{b} + 1", "b": "{a} + 1"}, "it follows from itself: "),
        ({"a": "{a} + 1"}, "it follows from itself: a from a"),
        ({"width": "{learning_rate} * 2"}, "'width' is searched, and follows from other"),
        ({"a": "1 / ({width} - 32)"}, "1 / (width - 32) has no value at width=32: division by"),
        ({"a": "1 / {zero}", "zero": 0}, "1 / zero has no value: division by zero"),
        ({"a": "1 / {zero}", "zero": "{width} - 16"}, "1 / zero has no value: division by zero"),
        ({"a": "{word} * 2", "word": "big"}, "word is 'big', which is no number"),
        ({"a": "{flag} * 2", "flag": True}, "flag is true, which is no number"),
        ({"a": "10 ** 10 ** 10 * {width}"}, "a number in it is too large"),
        ({"a": "sqrt({width})"}, "allowed: min, max, round, log10"),
    ],
)
def test_what_cannot_follow_is_found_by_check(
    here: Path, params: dict[str, Any], told: str
) -> None:
    write(here, params=params, command=f"{sys.executable} train.py")
    _, err = lrsearch("check", "mine.yaml", code=2)
    assert told in " ".join(err.split()) and "mine.yaml:" in err
    assert err.count("error") == 1, "one slip, one fault"


def test_the_grid_s_inner_points_are_looked_at_too(here: Path) -> None:
    ranged = {"learning_rate": {"min": -1.0, "max": 1.0, "points": 3}}
    write(here, params={"a": "1 / {learning_rate}"}, search=ranged, command="python train.py")
    _, err = lrsearch("check", "mine.yaml", code=2)
    assert "learning_rate=0.0: division by zero" in err
    even = ("--set", "search.learning_rate.points=4")
    assert lrsearch("check", "mine.yaml", *even)[0].startswith("ok")


def test_a_point_without_a_value_is_a_failed_trial(here: Path) -> None:
    ranged = {"learning_rate": {"min": -2, "max": 2}}
    write(
        here,
        params={"min_lr": "1 / {learning_rate}", "hidden": "{min_lr} * 2"},
        search=ranged,
        random={"trials": 9},
    )
    found = search("random", "mine.yaml", *TRAIN)
    failed = [each for each in found["trials"] if each["outcome"] == "failed"]
    assert [each["params"] for each in failed] == [{"learning_rate": 0}]
    assert failed[0]["reason"] == "min_lr = 1 / learning_rate has no value: division by zero"
    assert len(found["trials"]) == 5 and len(seen(here)) == 4, "it was not run"
    again = search("random", "mine.yaml", *TRAIN)
    assert again["points"] == found["points"] and len(seen(here)) == 4


@pytest.mark.parametrize(
    ("text", "noted"),
    [
        ("run-{width}", "'{width}' in it, too"),
        ("{widht}", "did you mean '{width}'?"),
        ("{epoch}-{step}", ""),
        ("plain", ""),
    ],
)
def test_text_stays_text_and_says_so(here: Path, text: str, noted: str) -> None:
    write(here, params={"min_lr": text, "hidden": 1})
    said = lrsearch("check", "mine.yaml")[0]
    assert (noted in said) and ("params.min_lr is no arithmetic" in said) == bool(noted)
    lrsearch("grid", "mine.yaml", *TRAIN)
    assert seen(here)[0][0]["min_lr"] == text


def test_braces_without_quotes(here: Path) -> None:
    write(here, params={"hidden": 1})
    text = (here / "mine.yaml").read_text()
    (here / "mine.yaml").write_text(text + "\nparams:\n  min_lr: {learning_rate} / 10\n")
    _, err = lrsearch("check", "mine.yaml", code=2)
    assert "not valid YAML" in err
    assert "write min_lr: '{learning_rate} / 10'" in err
    write(here, params={"hidden": 1, "min_lr": {"learning_rate": None}})
    assert 'for a parameter\'s value write min_lr: "{learning_rate}"' in " ".join(
        lrsearch("check", "mine.yaml")[0].split()
    )


def test_a_part_of_a_parameter_is_text_and_says_so(here: Path) -> None:
    write(here, params={"hidden": 1, "min_lr": {"at": ["{learning_rate} / 10", 2]}})
    said = " ".join(lrsearch("check", "mine.yaml")[0].split())
    assert "params.min_lr holds '{learning_rate}', which is text there" in said
    lrsearch("grid", "mine.yaml", *TRAIN)
    assert seen(here)[0][0]["min_lr"] == {"at": ["{learning_rate} / 10", 2]}


def test_searched_text_is_text_and_exported_as_such(here: Path) -> None:
    write(here, params={"hidden": 1}, search={"learning_rate": [0.1], "min_lr": ["{hidden} / 2"]})
    lrsearch("grid", "mine.yaml", *TRAIN)
    (here / "best.yaml").write_text(lrsearch("export", "mine.yaml")[0])
    best = yaml.safe_load((here / "best.yaml").read_text())
    assert best["search"] == {"min_lr": ["{hidden} / 2"]} and "min_lr" not in best["params"]
    same = ("--set", "name=mine", "--dry-run")
    assert "would train 0 trials" in lrsearch("grid", "best.yaml", *TRAIN, *same)[0]


def test_a_run_in_which_it_was_text_keeps_its_keys(here: Path) -> None:
    """As an older version stored it: its report, and the same spec, find every trial."""
    searched = {"learning_rate": [0.1, 0.2], "min_lr": ["{learning_rate} / 10"]}
    write(here, params={"hidden": 1}, search=searched, seed=0)
    lrsearch("grid", "mine.yaml", *TRAIN)
    # Its document has that text under params, where it was text, too.
    params = {"hidden": 1, "min_lr": "{learning_rate} / 10"}
    make_older(here, "mine", "older", params=params, search={"learning_rate": [0.1, 0.2]})
    write(here, params=params, search={"learning_rate": [0.1, 0.2, 0.3]}, name="older")
    shown = json.loads(lrsearch("report", "mine.yaml", "--json")[0])
    assert len(shown["points"]) == 2
    out, err = lrsearch("grid", "mine.yaml", *TRAIN, "--json")
    assert len(json.loads(out)["points"]) == 3 and "params.min_lr was text when this run" in err
    assert [each[0]["min_lr"] for each in seen(here)] == ["{learning_rate} / 10"] * 3
    assert len(json.loads(lrsearch("report", "mine.yaml", "--json")[0])["points"]) == 3
    lrsearch("grid", "mine.yaml", *TRAIN, "--fresh")
    assert seen(here)[-1][0]["min_lr"] == pytest.approx(0.1 * seen(here)[-1][0]["learning_rate"])


@pytest.mark.parametrize("text", ["{min_lr} + 1", "sqrt({learning_rate})", "1 / ({hidden} - 1)"])
def test_a_run_in_which_a_slip_was_text_opens(here: Path, text: str) -> None:
    write(here, params={"hidden": 1}, search={"learning_rate": [0.1], "min_lr": [text]}, seed=0)
    lrsearch("grid", "mine.yaml", *TRAIN)
    params = {"hidden": 1, "min_lr": text}
    make_older(here, "mine", "older", params=params, search={"learning_rate": [0.1]})
    assert len(json.loads(lrsearch("report", "runs/older", "--json")[0])["points"]) == 1
    best = yaml.safe_load(lrsearch("export", "runs/older")[0])
    assert best["search"] == {"min_lr": [text]}


def test_a_loop_is_given_it_as_well(here: Path) -> None:
    (here / "my_loop.py").write_text(
        "def train(trial):\n"
        "    width = trial.params['hidden']\n"
        "    assert type(width) is int\n"
        "    trial.report(1, loss=width + trial.lr_at(0, 10))\n"
    )
    write(here, params={"hidden": "{width} * 2", "lr": "{width} // 2", "schedule": "constant"})
    text = (here / "mine.yaml").read_text()
    (here / "mine.yaml").write_text(
        "\n".join(
            "loop: my_loop.train" if line.startswith("command") else line
            for line in text.splitlines()
        )
    )
    allow = ("--allow-import", "my_loop", "--executor", "inline", "--device", str(DEVICE))
    found = search("grid", "mine.yaml", *allow)
    assert {each["objective"] for each in found["points"]} == {40.0, 80.0}
    lrs = {each.config["params"]["lr"] for each in read(here / "runs/mine").trials.values()}
    assert all(type(each) is float for each in lrs) and math.fsum(lrs) == 24.0
