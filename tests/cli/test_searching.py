"""The command line that goes on with a search, and the executors by name."""

import itertools
from dataclasses import replace

import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.cli import app
from lrsearch.cli.executors import EXECUTORS, make_executor
from lrsearch.cli.going_on import without
from lrsearch.cli.searching import Options, repeated
from lrsearch.errors import UsageError

COMMANDS = typer.main.get_command(app).commands
TRAINING = ("grid", "random", "bayes", "refine")

WORDS = st.text(min_size=1, max_size=8).filter(lambda text: "\0" not in text)
FLAGS = (
    *("--allow-command", "--fresh", "--retry-failed", "--yes", "--dry-run", "--quiet", "-q"),
    *("--json", "--all"),
)
NUMBERS = st.integers(2, 99).map(str)
PARTS = st.one_of(
    st.sampled_from(FLAGS).map(lambda flag: [flag]),
    st.tuples(st.sampled_from(["--trials", "--workers", "--lanes"]), NUMBERS).map(list),
    st.tuples(
        st.sampled_from(
            ["--set", "--allow-import", "--time", "--until", "--device", "--engine", "--require"]
        ),
        WORDS,
    ).map(list),
    st.tuples(st.just("--runs"), st.sampled_from(["runs", "a b", "-x", "deep/runs"])).map(list),
    st.tuples(st.just("--executor"), st.sampled_from(["local", "inline"])).map(list),
)


def parse(strategy, words):
    """What a command line gives, and the command that goes on with it."""
    context = COMMANDS[strategy].make_context(strategy, list(words))
    options = Options(**context.params)
    return options, repeated(strategy, vars(options), context)


@given(st.sampled_from(TRAINING), st.lists(PARTS, max_size=12))
def test_the_command_that_goes_on_says_what_was_given(strategy, parts):
    words = ["some/spec.yaml", *itertools.chain(*parts)]
    options, command = parse(strategy, words)
    assert command[:3] == ["lrsearch", strategy, "some/spec.yaml"]
    following, again = parse(strategy, command[2:])
    assert following == replace(options, fresh=False, dry_run=False)
    assert again == command


def test_the_command_that_goes_on_is_in_order():
    words = (
        "--json --require a>0 -q --runs x --fresh --lanes 3 --set b=1 --workers 2 --set a=1 "
        "--device cpu --yes --allow-import m --time 1h --dry-run --trials 5 s.yaml"
    )
    assert " ".join(parse("bayes", words.split())[1]) == (
        "lrsearch bayes s.yaml --set b=1 --set a=1 --allow-import m --require a>0 --trials 5 "
        "--time 1h --runs x --workers 2 --device cpu --lanes 3 --yes --quiet --json"
    )
    assert parse("grid", ["s.yaml"])[1] == ["lrsearch", "grid", "s.yaml"]
    assert parse("grid", ["--", "-s.yaml"])[1] == ["lrsearch", "grid", "./-s.yaml"]


def test_a_folder_of_the_environment_is_named(monkeypatch):
    monkeypatch.setenv("LRSEARCH_RUNS", "elsewhere")
    assert parse("grid", ["s.yaml"])[1][3:] == ["--runs", "elsewhere"]
    # Left out, the environment's would be taken.
    assert parse("grid", ["s.yaml", "--runs", "runs"])[1][3:] == ["--runs", "runs"]


def test_an_executor_has_one_of_the_names():
    for name in EXECUTORS:
        with make_executor(name, 1, "cpu") as executor:
            assert executor.capacity == 1
    with pytest.raises(UsageError) as raised:
        make_executor("slurm", 1, "cpu")
    assert raised.value.hint == "allowed: local, inline"


def test_an_option_is_left_out_with_its_value():
    words = ["lrsearch", "bayes", "s.yaml", "--until", "a>1", "--set", "b=1", "--until=a>2", "-q"]
    assert without(words, "--until") == ["lrsearch", "bayes", "s.yaml", "--set", "b=1", "-q"]
