"""Slips on the command line: each is told with what was given, what is allowed, what to write."""

from __future__ import annotations

import json
import sys

import pytest
from test_cli import lrsearch

SPEC = "data: iris\nmodel: logistic\ntrain: {budget: 1ep, lr: 0.1}\nsearch: {lr: [0.1, 1]}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("grid", "a.yaml", "--trials"), "--trials needs N write --trials 40"),
        (("grid", "a.yaml", "--trials", "x"), "'x': it takes an integer write --trials 40"),
        (
            ("grid", "a.yaml", "--workers=0"),
            "'0': it takes a number greater than or equal to 1 write --workers 2",
        ),
        (
            ("serve", "--port", "99999"),
            "'99999': it takes a number less than or equal to 65535 write --port 8080",
        ),
        (
            ("report", "--trial", "x"),
            "--trial: 'x' is no number of a trial, which are 1, 2, 3 and so on write --trial 3",
        ),
        (("random", "a.yaml", "--trials", "5,000"), "it takes an integer write --trials 5000"),
        (("random", "a.yaml", "--runs", "--dry-run"), "'--dry-run' is an option: --runs takes"),
        (("range", "a.yaml", "--min", "x"), "it takes a number write --min 1e-7"),
        (("range", "a.yaml", "--min", "0"), "above 0, not 0 write --min 1e-7; for example"),
        (("grid",), "needs CONFIG: the spec, a YAML file write lrsearch grid CONFIG"),
        (("repair",), "lrsearch repair needs RUN"),
        (("grid", "a.yaml", "b.yaml"), "lrsearch grid a.yaml && lrsearch grid b.yaml"),
        (
            ("check", "a.yaml", "b.yaml", "--allow-import", "nets"),
            "lrsearch check a.yaml --allow-import nets && "
            "lrsearch check b.yaml --allow-import nets",
        ),
        (("-v",), "there is no option -v write lrsearch --version"),
        (("--hepl",), "there is no option --hepl write lrsearch --help"),
        (
            ("--runs", "x", "list"),
            "options stand behind the command: lrsearch list --runs x",
        ),
        (("grid", "a.yaml", "train.lr=0.1"), "is too much write --set train.lr=0.1"),
        (("grid", "a.yaml", "fresh"), "write lrsearch grid a.yaml --fresh"),
        (("bayes", "a.yaml", "50", "-q"), "write lrsearch bayes a.yaml --trials 50"),
        (("grid", "a.yaml", "--time", "5", "minutes"), "write lrsearch grid a.yaml --time 5m"),
        (("grid", "--time", "5", "minutes", "a.yaml"), "write lrsearch grid --time 5m a.yaml"),
        (("grid", "a.yaml", "b.py", "-q"), "'b.py' is too much write lrsearch grid a.yaml -q"),
        (("grid", "a.yaml", "two words"), "'two words' is too much write lrsearch grid a.yaml"),
        (("grid", "a.yaml", ""), "'' is too much write lrsearch grid a.yaml"),
        (("grid", "a.yaml", "-\u2013workers", "2"), "no option -\u2013workers write --workers"),
        (("grid", "-help"), "there is no option -help write --help, with two hyphens"),
        (("-help",), "there is no option -help write lrsearch --help"),
        (("grid", "a.yaml", "lr=0.1"), "is too much write --set train.lr=0.1"),
        (("grid", "a.yaml", "--name", "x"), "no option --name write --set name=x"),
        (("refine", "a.yaml", "--rounds", "2"), "write --set refine.rounds=2"),
        (("range", "a.yaml", "--low", "1e-5"), "write --min 1e-5"),
        (("start",), "write lrsearch bayes CONFIG"),
        (("report", "a", "--plot"), "write lrsearch report a --html report.html"),
        (("report", "a", "-o", "b.csv"), "write lrsearch report a --csv > b.csv"),
        (("report", "a", "--csv=b.csv"), "write lrsearch report a --csv > b.csv"),
        (("report", ""), "the run's name is empty"),
        (("show", "a.yaml", "--width", "x"), "write --width 60"),
        (("export", "a", "--name", "a b"), "cannot name a run a letter or digit comes first"),
        (("export", "a", "--format", "json"), "write lrsearch report RUN --json"),
        (("report", "html"), "no run 'html': --html is an option write lrsearch report --html run"),
        (("report", "run.html"), "--html writes a page write lrsearch report --html run.html"),
        (("report", "a", "--html", "-"), "--html: - is no file: standard output is /dev/stdout"),
        (("report", "a", "--junit", "-"), "--junit: - is no file: standard output is"),
        (("export", "a", "--output=-"), "- is no file: standard output is /dev/stdout, that file"),
        (("report", "a", "--json", "b.json"), "write lrsearch report a --json > b.json"),
        (("report", "a", "-o", "b.html"), "write lrsearch report a --html b.html"),
        (("grid", "a.yaml", "--time", "1h30"), "'1h30' is no time write --time 90m;"),
        (("report", "a.yaml", "html"), "write lrsearch report a.yaml --html a.html"),
        (("report", "runs/v1.5", "html"), "write lrsearch report runs/v1.5 --html v1.5.html"),
        (("report", "a", "html", "b.html"), "write lrsearch report a --html b.html"),
        (("report", "a", "b.html"), "write lrsearch report a --html b.html"),
        (("report", "a", "trial", "7"), "write lrsearch report a --trial 7"),
        (("export", "a", "pytorch"), "write lrsearch export a --format pytorch"),
        (("export", "a", "b.yaml"), "write lrsearch export a --output b.yaml"),
        (("init", "mlp"), "mlp is a kind of spec write lrsearch init mlp.yaml --from mlp"),
        (("init", "a.yaml", "csv"), "write lrsearch init a.yaml --from csv"),
        (("init", "from", "csv"), "write lrsearch init lrsearch.yaml --from csv"),
        (("init", "v1.5", "--from", "mlp"), "such as v1.5.yaml"),
        (("init", "a/v1.5.txt", "--from", "mlp"), "such as a/v1.5.yaml"),
        (("init", ".yaml", "--from", "mlp"), "such as lrsearch.yaml"),
        (("init", "my spec", "--from", "mlp"), "such as my-spec.yaml"),
        (("init", "my spec.yaml", "--from", "mlp"), "cannot name a run such as my-spec.yaml"),
        (("grid", "a.yaml", "--fresh=1"), "--fresh takes no value write --fresh"),
        (("grid", "a.yaml", "--frehs"), "there is no option --frehs did you mean --fresh?"),
        (("grid", "a.yaml", "--zzz"), "lrsearch grid --help lists the options"),
        (("list", "x"), "lrsearch list takes no argument: 'x' is too much write lrsearch list"),
        (("report", "-json"), "there is no option -json write --json, with two hyphens"),
        (("report", "--format", "json"), "there is no option --format write --json"),
        (("range", "a.yaml", "--points", "5"), "no option --points lrsearch range --help lists"),
        (("bayes", "a.yaml", "--no-prune"), "write --set prune=none"),
        (("bayes", "a.yaml", "--model", "gp"), "write --set bayes.model=gp"),
        (("bayes", "a.yaml", "--modle", "gp"), "no option --modle write --set bayes.model=gp"),
        (("bayes", "--modle=gp", "a.yaml"), "no option --modle write --set bayes.model=gp"),
        (("bayes", "a.yaml", "--modle", "mlp"), "write --set model=mlp"),
        (("bayes", "a.yaml", "--bayes.modle", "gp"), "write --set bayes.model=gp"),
        (("grid", "a.yaml", "--generatoin", "8"), "write --set bayes.generation=8"),
        (("random", "a.yaml", "--samplr", "sobol"), "write --set random.sampler=sobol"),
        (("check", "a.yaml", "--budgte", "5ep"), "write --set train.budget=5ep"),
        (("show", "a.yaml", "--rl", "0.1"), "write --set train.lr=0.1"),
        (("grid", "a.yaml", "--lr"), "no option --lr write --set train.lr=VALUE"),
        (("grid", "a.yaml", "--epohcs", "3"), "write --set train.budget=3ep"),
        (("grid", "a.yaml", "--prune", "none"), "no option --prune write --set prune=none"),
        (("refine", "a.yaml", "--wdith", "1"), "write --set refine.width=1"),
        (("grid", "a.yaml", "--confirm", "3"), "write --set confirm.top=3"),
        (("grid", "a.yaml", "--confirm-top", "3"), "write --set confirm.top=3"),
        (("grid", "a.yaml", "--n-jbos", "3"), "write --workers 3"),
        (("grid", "a.yaml", "-w", "2"), "write --workers 2"),
        (("grid", "a.yaml", "-w", "1e-4"), "weight_decay: 1e-4"),
        (("confirm", "a.yaml", "--seedss", "3"), "did you mean --seeds?"),
        (("check", "a.yaml", "--workers", "2"), "an option of lrsearch range, grid, random, bayes"),
        (("check", "a.yaml", "--dry-run"), "it is an option of lrsearch range, grid, random"),
        (("show", "a.yaml", "--allow-command"), "it is an option of lrsearch check, grid, random"),
        (("grid", "a.yaml", "--html", "b.html"), "it is an option of lrsearch report"),
        (("bayes", "a.yaml", "--trial", "5"), "no option --trial did you mean --trials?"),
        (("check", "a.yaml", "--jobs", "4"), "lrsearch check --help lists the options"),
        (("report", "a", "--modle", "gp"), "lrsearch report --help lists the options"),
        (("bayes", "a.yaml", "--trials", "0"), "--trials: '0': it takes a number greater than"),
        (("confirm", "a.yaml", "--top", "0"), "write --top 4"),
        (("list", "runs"), "'runs' is too much write lrsearch list --runs runs"),
        (("help", "grid"), "there is no command 'help' write lrsearch grid --help"),
        (("delete", "x"), "a run is its folder, and goes with it: rm -r runs/x"),
        (("schedules", "CosineAnnealingLR"), "unknown schedule 'CosineAnnealingLR' write cosine"),
        (("schedules", "cosine", "--set", "final"), "write its value, too: --set final=VALUE"),
        (("init", "x.txt", "--from", "mlp"), "x.txt is no name of a spec such as x.yaml"),
        (("a.yaml", "grid"), "write lrsearch grid a.yaml"),
        (("grid=a.yaml",), "write lrsearch grid a.yaml"),
        (("grid", "a.yaml", "--set", "train.lr", "0.1"), "too much write --set train.lr=0.1"),
        (("grid", "a.yaml", "--set", "train.lr", "=", "0.1"), "too much write --set train.lr=0.1"),
        (("grid", "a.yaml", "--set", "a.b=[1,", "2]"), "too much write --set 'a.b=[1, 2]'"),
        (("grid", "a.yaml", "--set", "timeout=5", "minutes"), "too much write --set timeout=5m"),
        (("grid", "a.yaml", "--time=5", "minutes"), "write lrsearch grid a.yaml --time 5m"),
        (("grid", "a.yaml", "-D", "seeds=3"), "there is no option -D write --set seeds=3"),
        (("grid", "a.yaml", "train.lr", "0.1"), "is too much write --set train.lr=0.1"),
        (("grid", "a.yaml", "a.b=1", "a.c=2"), "write --set a.b=1 --set a.c=2"),
        (("grid", "a.yaml", "-s", "train.lr=0.1"), "no option -s write --set train.lr=0.1"),
        (("bayes", "a.yaml", "--sampler", "tpe"), "write --set bayes.model=tpe"),
        (("report", "a", "b"), "one report each, or write lrsearch compare a b"),
        (("report", "a", "--format", "html"), "write --html report.html"),
        (("grid", "a.yaml", "--no-cache"), "write --fresh: it sets the old run aside"),
        (("schedules", "one_cycle", "--pct_start", "0.4"), "write --set pct_start=0.4"),
        (("grid", "a.yaml", "--set", "lr", "0.1"), "write --set train.lr=0.1"),
        (("grid", "a.yaml", "--require", "accuracy", "0.9"), "write --require 'accuracy>=0.9'"),
        (("init", "--template", "mlp"), "write --from mlp"),
        (("serve", "8080"), "write lrsearch serve --port 8080"),
        (("report", "--csv", "out.csv"), "write lrsearch report --csv > out.csv"),
        (("repor",), "there is no command 'repor' did you mean 'report'? allowed: init, check"),
        (("\x1b[2J",), r"there is no command '\x1b[2J'"),
    ],
)
def test_slips(arguments, words):
    said = lrsearch(*arguments)
    assert said.code == 2 and not said.out
    assert words in " ".join(said.err.split()), said.err


def test_specs_that_are_here_are_named(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("data: iris\n")
    monkeypatch.chdir(tmp_path)
    assert "such as lrsearch grid mine.yaml" in " ".join(lrsearch("grid").err.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check", "mine"), "no such file: mine did you mean 'mine.yaml'?"),
        (("check", "mine.yml"), "did you mean 'mine.yaml'?"),
        (("check", "min.yaml"), "did you mean 'mine.yaml'?"),
        (("check", "digits.yaml"), "did you mean 'configs/digits.yaml'?"),
        (("check", "zzz.yaml"), "no such file: zzz.yaml"),
        (
            ("bayes", "mine.yaml", "\u2013trails", "4"),
            "write lrsearch bayes mine.yaml --trials 4; an",
        ),
        (
            ("bayes", "mine.yaml", "\u2014zzz"),
            "'\u2014zzz' is too much write lrsearch bayes mine.yaml",
        ),
        (("check", "."), ". is a folder, and a spec a file here are mine.yaml"),
        (("check", "empty"), "empty is a folder, and a spec a file there is none in it"),
        (("check", "mine.yaml", "--set", "train.lr:0.1"), "write --set train.lr=0.1"),
        (("check", "mine.yaml", "--set", "~train.warmup"), "write --set train.warmup=null"),
        (("check", "mine.yaml", "--set", "train=lr=0.1"), "write --set train.lr=0.1"),
        (("check", "mine.yaml", "--set", "+train.lr=0.1"), "write --set train.lr=0.1"),
        (("check", "mine.yaml", "--set", "train/lr=0.1"), "write --set train.lr=0.1"),
        (("check", "mine.yaml", "--set", "train:lr=0.1"), "write --set train.lr=0.1"),
        (("check", "mine.yaml", "--set", "train.lr==0.1"), "write --set train.lr=0.1"),
        (("check", "mine.yaml", "--set", "train.lr=1,2,3"), "write --set 'search.lr=[1, 2, 3]'"),
        (("check", "mine.yaml", "--set", "bayes.modle=gp"), "write --set bayes.model=gp; allowed:"),
        (("check", "mine.yaml", "--set", "bayes=gp"), "write --set 'bayes={model: gp}'"),
        (("check", "mine.yaml", "--set", "tarin.lr=3"), "write --set train.lr=3; allowed: name,"),
        (("check", "mine.yaml", "--set", "search.lrr.min=1"), "write --set search.lr.min=1;"),
        (
            ("check", "mine.yaml", "--set", "train.optimizer.momentm=0.1"),
            "write --set train.optimizer.momentum=0.1; allowed: momentum,",
        ),
        (
            ("check", "mine.yaml", "--set", "train.optimizer={name: sgd, lr: 0.1}"),
            "no argument 'lr' write --set train.optimizer=sgd --set train.lr=0.1",
        ),
        (("check", "mine.yaml", "--set", "seed=017"), "017 begins with 0"),
        (("grid", "mine.yaml", "--runs", "link"), "link is a link to nowhere, which is not there"),
        (("list", "--runs", "mine.yaml"), "--runs: mine.yaml is a file, and --runs takes a folder"),
        (
            ("grid", "mine.yaml", "--runs", "mine.yaml/runs"),
            "--runs: 'mine.yaml/runs': mine.yaml is a file, and --runs takes a folder",
        ),
        (("grid", "mine.yaml", "--require", "accuracy>=95"), 'write --require "accuracy>=0.95"'),
        (("grid", "mine.yaml", "--require", "accuracy<0"), "no accuracy is below 0: nothing meets"),
        (("check", "mine.yaml", "--set", "train.lr"), "too: --set train.lr=VALUE"),
        (
            ("check", "mine.yaml", "--set", "search.lr=[0.1,1"),
            "is not closed write --set 'search.lr=[0.1,1]'",
        ),
        (("check", "mine.yaml", "--set", "search.lr=[0.1 1]"), "--set 'search.lr=[0.1, 1]'"),
        (("grid", "mine.yaml", "--executor", "lcoal"), "did you mean 'local'? allowed: local"),
        (("grid", "mine.yaml", "--until", "acc>=0.9"), "did you mean 'accuracy'?"),
        (("grid", "mine.yaml", "--until", "accuracy>0,9"), 'write --until "accuracy>0.9"'),
        (("grid", "mine.yaml", "--until", "accuracy=0.9"), '--until "accuracy>=0.9", or <='),
        (("grid", "mine.yaml", "--until", "0.9"), 'write --until "accuracy>=0.9"; for example'),
        (("grid", "mine.yaml", "--until", "accuracy=>0.9"), 'write --until "accuracy>=0.9"'),
        (("grid", "mine.yaml", "--require", "0.9<=accuracy"), 'write --require "accuracy>=0.9"'),
    ],
)
def test_slips_in_a_folder_of_specs(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for path in ("mine.yaml", "configs/digits.yaml"):
        (tmp_path / path).write_text(SPEC)
    said = lrsearch(*arguments)
    assert said.code == 2 and words in " ".join(said.err.split()), said.err


@pytest.mark.parametrize("key", ["lr", "learning_rate"])
def test_a_rate_that_is_set_inside_the_optimizer_is_one_line_to_write(tmp_path, key):
    (tmp_path / "mine.yaml").write_text(SPEC)
    said = lrsearch("check", str(tmp_path / "mine.yaml"), "--set", f"train.optimizer.{key}=0.3")
    assert said.code == 2
    assert said.err.splitlines() == [
        f"error: --set train.optimizer.{key}=0.3: train.optimizer.{key}: sgd has no argument "
        f"'{key}'",
        "  write --set train.lr=0.3",
    ]


def test_a_command_is_refused_by_range_for_its_own_reason_whatever_it_may_run(tmp_path):
    (tmp_path / "t.py").write_text("")
    spec = tmp_path / "mine.yaml"
    spec.write_text(
        "command: python t.py {lr}\nobjective: {metric: loss}\nsearch: {lr: [0.1, 1]}\n"
    )
    for more in ((), ("--allow-command",), ("--dry-run",)):
        said = lrsearch("range", str(spec), *more)
        assert said.code == 2 and "mine.yaml: command: a command sets its rates itself" in said.err
        assert "search a wide range instead" in said.err
    assert "--allow-command" not in lrsearch("range", "--help").out


def test_before_the_first_search_is_told_how_one_begins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    init = "begin with a spec: lrsearch init search.yaml --from mlp writes a first spec"
    said = lrsearch("list")
    assert (said.code, said.out) == (0, "there are no runs in runs\n") and init in said.err
    assert json.loads(lrsearch("list", "--json").out)["runs"] == []
    (tmp_path / "other").mkdir()
    for command in (
        ("report",), ("export",), ("list", "--runs", "nowhere"), ("report", "mine"),
        ("export", "mine.yaml"), ("repair", "other"), ("compare", "a", "b"), ("serve", "mine"),
    ):  # fmt: skip
        said = lrsearch(*command)
        assert said.code == 2 and init in said.err, command
    for command in (("grid",), ("grid", "mine.yaml"), ("check", "mine"), ("show", "mine.yaml")):
        assert init.rpartition(": ")[2] in lrsearch(*command).err, command
    (tmp_path / "search.yaml").touch()
    assert "here are search.yaml" in lrsearch("grid", "elsewhere.yaml").err
    (tmp_path / "mine.yaml").write_text("model: mlp\n")
    assert "begin one with: lrsearch bayes mine.yaml\n" in lrsearch("report").err
    said = lrsearch("report", "--runs", "else where").err
    assert "begin one with: lrsearch bayes mine.yaml --runs 'else where'\n" in said
    (tmp_path / "a.yml").write_text("services: {}\n")
    (tmp_path / "b.yaml").write_text("train: {}\ndata: {name: csv, source: there}\n")
    (tmp_path / "zero.yaml").write_text("train: {}\ndata: iris\n")
    said = lrsearch("grid").err
    assert "here are zero.yaml, b.yaml, mine.yaml\n" in said
    (tmp_path / "old" / "one").mkdir(parents=True)
    (tmp_path / "old" / "one" / "run.json").write_text("{}")
    for folder, near in (("old", "."), ("old/one", "..")):
        monkeypatch.chdir(tmp_path / folder)
        found = f"there are runs in {tmp_path / 'old'}: write --runs {near}\n"
        assert found in lrsearch("list").err and found in lrsearch("report").err
    assert "--runs: it is empty" in lrsearch("list", "--runs", "").err


def test_what_is_to_be_searched_first_is_searched_with_the_same_options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(SPEC)
    more = ("--set", "train.batch_size=8", "--runs", "there")
    begin = "lrsearch bayes mine.yaml --set train.batch_size=8 --runs there"
    for command in ("confirm", "refine"):
        assert f": {begin}\n" in lrsearch(command, "mine.yaml", *more).err
    said = lrsearch("report", "mine.yaml", "--runs", "there").err
    assert "begin with: lrsearch bayes mine.yaml --runs there\n" in said
    # A run of this spec by another name, as --set name=other makes it.
    folder = tmp_path / "there" / "other"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    (folder / "spec.yaml").write_text(SPEC)
    said = lrsearch("report", "mine.yaml", "--runs", "there").err
    assert "mine.yaml was searched under another name" in said and "name: other\n" in said


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("grid", "lrsearch grid [OPTIONS] {CONFIG}"),
        ("report", "lrsearch report [OPTIONS] [RUN]"),
        ("compare", "lrsearch compare [OPTIONS] {RUN}..."),
        ("init", "lrsearch init [OPTIONS] [FILE]"),
        ("schedules", "lrsearch schedules [OPTIONS] [NAME]"),
    ],
)
def test_help_names_arguments_as_errors_do(command, usage):
    assert usage.partition(" [")[2] in lrsearch(command, "--help").out


@pytest.mark.parametrize(
    ("override", "written"),
    [
        ("train[lr]=0.1", "write --set train.lr=0.1"),
        ("search.lr={min:0.1,max:1}", "write --set 'search.lr={min: 0.1,max: 1}'"),
        ("train.lr=0.1,train.batch_size=8", "write --set train.lr=0.1 --set train.batch_size=8"),
        ("train.lr=", "write --set train.lr=0.01"),
    ],
)
def test_overrides_as_other_tools_write_them(tmp_path, override, written):
    (tmp_path / "b c.yaml").write_text(SPEC)
    said = lrsearch("check", str(tmp_path / "b c.yaml"), "--set", override)
    assert said.code == 2 and written in said.err and "\n  write" in said.err


def test_an_override_may_be_a_command_with_words_of_its_own(tmp_path):
    metrics = "metrics: {loss: 'loss: (.*)'}\nobjective: {metric: loss, goal: min}"
    (tmp_path / "x.yaml").write_text(f"{metrics}\nsearch: {{lr: [1, 2]}}\ncommand: date")
    given = f"command={sys.executable} -V model.depth=2,optim.lr={{lr}}"
    assert lrsearch("check", str(tmp_path / "x.yaml"), "--set", given).code == 0


def test_a_path_with_blanks_is_put_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b c.yaml").write_text(SPEC)
    assert "write lrsearch check 'b c.yaml'" in lrsearch("check", "b", "c.yaml").err


def test_a_number_that_a_shell_has_cut_off_is_no_time():
    said = lrsearch("grid", "a.yaml", "--set", "train.lr", "=", "0.1")
    assert said.code == 2 and said.err.endswith("write --set train.lr=0.1\n"), said.err
