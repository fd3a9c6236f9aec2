"""Streams that nobody reads, or that take no more, and files that say what was never written."""

import errno
import functools
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forking import Before
from typer.testing import CliRunner

import lrsearch
from lrsearch import __main__ as main
from lrsearch import forks
from lrsearch.cli import app, closing
from lrsearch.cli.closing import write_file
from lrsearch.cli.interruptible import Interruptible
from lrsearch.executors.port import Raised
from lrsearch.store import Run, claim, read

SPEC = """
data: iris
model: {name: mlp, hidden: [4]}
train: {budget: 60ba, batch_size: 8, evaluate: 2ba}
search: {lr: [0.01, 0.1, 1.0]}
"""
COMMAND = [sys.executable, "-m", "lrsearch"]
GRID = [*COMMAND, "grid", "small.yaml", "--executor", "inline", "--engine", "solo"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "small.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.delenv("LRSEARCH_RUNS", raising=False)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The runs of a folder in which the search is done: to copy."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.yaml").write_text(SPEC)
    line = [*GRID[len(COMMAND) :], "--quiet", "--runs", str(folder / "runs")]
    line[line.index("small.yaml")] = str(folder / "small.yaml")
    said = CliRunner().invoke(app, line, catch_exceptions=False)
    assert said.exit_code == 0, said.output
    return folder / "runs"


@pytest.fixture
def run(here, trained):
    shutil.copytree(trained, here / "runs")
    return here / "runs" / "small"


def results(here):
    return len(read(here / "runs" / "small").results)


full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@full
def test_progress_that_cannot_be_written_costs_no_trial(here):
    with Path("/dev/full").open("w") as stream:
        done = subprocess.run(GRID, stdout=subprocess.PIPE, stderr=stream, timeout=200)
    assert done.returncode == 0 and b"3 completed" in done.stdout
    assert results(here) == 3


def test_progress_whose_reader_has_left_costs_no_trial_and_no_exit_code(here):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(GRID, stdout=subprocess.PIPE, stderr=writing, timeout=200)
    os.close(writing)
    assert done.returncode == 0 and b"3 completed" in done.stdout
    assert results(here) == 3


def test_a_terminal_that_goes_away_costs_no_trial(here):
    ours, theirs = pty.openpty()
    started = subprocess.Popen(
        GRID, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True, text=True
    )
    os.close(theirs)
    while b"trial 1" not in os.read(ours, 4096):
        pass
    os.close(ours)
    out, _ = started.communicate(timeout=200)
    assert started.returncode == 0 and "3 completed" in out
    assert results(here) == 3


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_reader_that_leaves_changes_no_exit_code(run, form):
    for arguments, code in (
        ([*GRID, *form, "--require", "accuracy>0.99999"], 3),
        ([*GRID, *form], 0),
        ([*COMMAND, "report", "small.yaml", *form], 0),
    ):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(arguments, stdout=writing, stderr=subprocess.PIPE, timeout=200)
        os.close(writing)
        assert done.returncode == code, done.stderr
        assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


@full
@pytest.mark.parametrize(
    "arguments",
    [
        [*COMMAND, "report", "small.yaml"],
        [*COMMAND, "report", "small.yaml", "--json"],
        [*COMMAND, "list"],
        [*COMMAND, "check", "small.yaml"],
        [*COMMAND, "show", "small.yaml"],
        GRID,
    ],
    ids=lambda arguments: " ".join(arguments[3:5]),
)
def test_a_full_disk_behind_stdout_is_said(run, arguments):
    with Path("/dev/full").open("w") as stream:
        done = subprocess.run(
            arguments, stdout=stream, stderr=subprocess.PIPE, text=True, timeout=200
        )
    assert done.returncode == 1
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert told == "error: cannot write the result to stdout: No space left on device"
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


COMMANDS = {
    "--help": (0, True),
    "--version": (0, True),
    "grid --help": (0, True),
    "init WAY.yaml --from mlp": (0, True),
    "check small.yaml": (0, True),
    "check none.yaml": (2, False),
    "show small.yaml --json": (0, True),
    "schedules cosine": (0, True),
    "report small --csv": (0, True),
    "list": (0, True),
    "export small": (0, True),
    "repair small": (0, True),
    "grd small.yaml": (2, False),
}
"""Every command that does not train: how it ends, and whether it prints anything to stdout."""

WAYS = ["stdout full", "stderr full", "stdout left", "all closed"]


CLOSED = {
    "all closed": (0, 1, 2),
    "stdin closed": (0,),
    "stdout closed": (1,),
    "stderr closed": (2,),
}


def run_with(command, way):
    """A command that has its streams as the way says; what it says where it can."""
    words = [*COMMAND, *command.replace("WAY", way.replace(" ", "-")).split()]
    reading, writing = os.pipe()
    os.close(reading)
    with Path("/dev/full").open("w") as full:
        where = {"stdout full": {"stdout": full}, "stderr full": {"stderr": full}}
        where["stdout left"] = {"stdout": writing}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **where.get(way, {})}
        closed = {"preexec_fn": Before(closed=CLOSED[way])} if way in CLOSED else {}
        done = subprocess.run(words, stdin=subprocess.DEVNULL, **streams, **closed, timeout=200)
    os.close(writing)
    return done.returncode, (done.stdout or b"").decode(), (done.stderr or b"").decode()


@full
def test_every_command_ends_in_order_whatever_its_streams(run, here):
    asked = [(command, way) for command in COMMANDS for way in WAYS]
    asked += [("report small", f"{name} closed") for name in ("stdin", "stdout", "stderr")]
    found = [run_with(*each) for each in asked]
    told = "error: cannot write the result to stdout: No space left on device"
    for (command, way), (code, _, errors) in zip(asked, found, strict=True):
        expected, prints = COMMANDS.get(command, (0, True))
        lost = way == "stdout full" and prints
        assert code == (1 if lost else expected), (command, way, code, errors)
        assert [line for line in errors.splitlines() if "cannot write" in line] == [told] * lost
        assert "Traceback" not in errors and "Exception ignored" not in errors, (command, way)


@pytest.mark.parametrize("way", ["all closed", "stderr closed"])
def test_streams_that_are_closed_are_not_mistaken_for_files(here, way):
    code, _, _ = run_with("grid small.yaml --executor inline --engine solo", way)
    assert code == 0 and results(here) == 3
    journal = (here / "runs" / "small" / "journal.jsonl").read_text()
    assert all(line.startswith("{") or " {" in line for line in journal.splitlines())
    assert "starting" not in journal and "trial 1  " not in journal


# The end of the terminal

LOOP = """
import time

def train(trial):
    for step in range(1, 21):
        time.sleep(0.05)
        trial.report(step, loss=trial.params["lr"] / step)
"""
SCRIPT = """
import json, sys, time
for step in range(1, 21):
    time.sleep(0.05)
    print(json.dumps({"step": step, "loss": float(sys.argv[1]) / step}), flush=True)
"""
OWN = "objective: {metric: loss, goal: min}\nverify: false\nsearch: {lr: [0.01, 0.1, 1.0]}\n"
LONG = SPEC.replace("60ba", "800ba").replace("2ba", "80ba")
KINDS = {
    "solo": (LONG, ["--engine", "solo", "--workers", "2"]),
    "lanes": (LONG, ["--engine", "fused", "--lanes", "2", "--workers", "1"]),
    "inline": (LONG, ["--engine", "solo", "--executor", "inline"]),
    "command": (f"command: {sys.executable} script.py {{lr}}\n{OWN}", ["--allow-command"]),
    "loop": (f"loop: my_loop.train\n{OWN}", ["--allow-import", "my_loop"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_of_the_terminal_ends_no_search(here, kind):
    spec, options = KINDS[kind]
    (here / "small.yaml").write_text(spec)
    (here / "my_loop.py").write_text(LOOP)
    (here / "script.py").write_text(SCRIPT)
    command = [*COMMAND, "grid", "small.yaml", *options, "--require", "loss<1e9"]
    terminal, theirs = pty.openpty()
    searching = subprocess.Popen(  # The leader of a session, whose terminal this is.
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=Before(terminal=True),
    )
    os.close(theirs)
    journal = here / "runs" / "small" / "journal.jsonl"
    end = time.monotonic() + 120
    while not (journal.exists() and '"started"' in journal.read_text()):
        assert time.monotonic() < end
        if select.select([terminal], [], [], 0.05)[0]:
            os.read(terminal, 4096)
    assert results(here) < 3, "there is nothing left to train"
    os.close(terminal)  # The kernel sends SIGHUP to all that run there.
    assert searching.wait(200) == 0
    found = read(here / "runs" / "small")
    assert [each.outcome for each in found.results.values()] == ["completed"] * 3
    assert '"finished"' in journal.read_text().splitlines()[-1]


def test_too_few_files_to_open_are_said(here):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (14, 14))

    done = subprocess.run(
        [*COMMAND, "grid", "small.yaml", "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
        timeout=200,
    )
    assert done.returncode == 1 and "ulimit -n" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


LIBRARY = "libtorch_cpu.so: failed to map segment from shared object"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "MemoryError"),
        (ImportError(f"odd\nOriginal error was: {LIBRARY}\n"), f"Original error was: {LIBRARY}"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "OSError: [Errno 12] Cannot allocate"),
        (Raised(None, f"ImportError: {LIBRARY}", "Traceback").cause, f"ImportError: {LIBRARY}"),
        (Raised(None, "ImportError: no module", "Traceback").cause, None),
        (ImportError("no module"), None),
    ],
)
def test_too_little_memory_is_said_and_a_bug_is_shown(error, told, capsys):
    def command():
        raise error

    if told is None:
        with pytest.raises(type(error), match="no module"):
            closing.call(command)
        return
    assert closing.call(command) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: there is too little memory: {told}") and "ulimit -v" in said


def test_a_folder_that_was_deleted_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SystemExit) as caught:
        main._leave_folder()
    assert caught.value.code == 2
    assert "error: the folder that this is run in" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["COLUMNS", "LINES", "TERMINAL_WIDTH"])
@pytest.mark.parametrize("given", ["1" * 5000, "\u00b2", "99999", "wide", "120"])
def test_what_is_no_size_of_a_terminal_counts_for_nothing(name, given, monkeypatch):
    monkeypatch.setenv(name, given)
    main._settle_environment()
    assert os.environ.get(name) == ("120" if given == "120" else None)


def test_a_umask_takes_nothing_from_the_owner(tmp_path):
    before = os.umask(0o777)
    try:
        main._settle_environment()
        (tmp_path / "made").mkdir()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o700


@pytest.mark.usefixtures("no_override")
@pytest.mark.parametrize("closed", ["runs/small", "runs", "small.yaml"])
def test_what_this_user_may_not_read_is_named(run, closed, monkeypatch):
    if closed == "small.yaml":  # Click asks for the real user, who may be root.
        monkeypatch.setattr(os, "access", functools.partial(os.access, effective_ids=True))
    mode = Path(closed).stat().st_mode
    Path(closed).chmod(0)
    commands = [["grid", "small.yaml"], ["report", "small.yaml"]]
    if closed != "small.yaml":
        commands += [["repair", "runs/small"], ["report"], ["report", "runs/small"]]
    said = [CliRunner().invoke(app, command) for command in commands]
    listed = CliRunner().invoke(app, ["list"])
    Path(closed).chmod(mode)
    for each in said:
        assert each.exit_code == 2, each.output
        assert re.match(rf"error: .*{closed}.*: Permission denied\n", each.stderr), each.stderr
    if closed == "runs/small":
        assert listed.exit_code == 0 and "unreadable" in listed.stdout


ODD = ['{"format": 1e999}', "[" * 100_000, '{"format": [1]}', "null", '{"format": "x"}', "\0", "{}"]


@pytest.mark.parametrize("text", ODD, ids=lambda text: text[:20])
def test_an_odd_run_json_is_damage_that_repair_mends(run, text):
    (run / "run.json").write_text(text)
    for command in (["report", "small"], ["export", "small"]):
        said = CliRunner().invoke(app, command)
        assert said.exit_code == 2 and "lrsearch repair" in said.stderr, said.stderr
    said = CliRunner().invoke(app, ["list"])
    assert said.exit_code == 0 and "damaged" in said.stdout
    said = CliRunner().invoke(app, ["repair", "small"])
    assert said.exit_code == 0 and "run.json was damaged or missing" in said.stdout
    assert CliRunner().invoke(app, ["report", "small"]).exit_code == 0


BODIES = [
    {"spec": {}, "strategy": "grid", "facts": {}},
    {"spec": None, "strategy": 3, "facts": []},
    {"spec": {"source": 1, "document": [], "folder": {}}, "strategy": "grid", "facts": 0},
    {"strategy": "grid"},
]


@pytest.mark.parametrize("body", BODIES, ids=repr)
def test_a_sound_line_that_says_nonsense_is_named(run, body):
    with Run.open(run.parent, "small", spec_text=None) as opened:
        opened.append("opened", body)
    for command in (["report", "small"], ["export", "small"]):
        said = CliRunner().invoke(app, command)
        assert said.exit_code == 2, said.output
        assert said.stderr.startswith("error: ") and not isinstance(said.exception, TypeError)
    assert "unreadable" in CliRunner().invoke(app, ["list"]).stdout


@pytest.mark.parametrize(
    "text", ["[]", '{"/a": 3}', '{"/a": [1]}', '{"/a": null}', "[" * 100_000, "{", "\udcff"]
)
def test_an_odd_file_of_consents_is_named(here, monkeypatch, text):
    home = here / "home" / "lrsearch"
    home.mkdir(parents=True)
    (home / "allowed.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    monkeypatch.setattr("typer.get_app_dir", lambda name: str(home))
    said = CliRunner().invoke(app, ["check", "small.yaml"])
    assert said.exit_code == 2 and "allowed.json" in said.stderr, said.output
    (home / "allowed.json").write_text(json.dumps({str(here): ["nets"]}))
    assert CliRunner().invoke(app, ["check", "small.yaml"]).exit_code == 0
    monkeypatch.setattr("typer.get_app_dir", lambda name: f"{os.devnull}/{name}")
    assert CliRunner().invoke(app, ["check", "small.yaml"]).exit_code == 0


def test_a_file_without_room_is_whole_or_not_there(run):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for line, force in (
        (["report", "small", "--html", "new.html"], []),
        (["export", "small", "-o", "new.yaml"], ["--force"]),
        (["report", "small", "--junit", "new.xml"], []),
        (["init", "new/first.yaml", "--from", "loop"], None),
    ):
        path = Path(line[1] if line[0] == "init" else line[-1])
        # What was there stays until the new one is whole.
        for content in (None,) if force is None else (None, b"<!doctype html>"):
            asked = line if content is None else line + force
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
            try:
                said = CliRunner().invoke(app, asked)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert said.exit_code == 1 and f"cannot write {path}: File too large" in said.stderr
            assert (path.read_bytes() if path.exists() else None) == content
            assert CliRunner().invoke(app, asked).exit_code == 0
            assert content is None or path.stat().st_mode & 0o777 == 0o600
            path.write_bytes(b"<!doctype html>")
            path.chmod(0o600)
        assert not list(path.parent.glob(".lrsearch*"))
    Path("link.html").symlink_to("beyond.html")
    assert CliRunner().invoke(app, ["report", "small", "--html", "link.html"]).exit_code == 0
    assert Path("link.html").is_symlink() and Path("beyond.html").is_file()


def test_a_file_is_written_where_there_are_no_hard_links_and_into_what_is_printed_to(
    tmp_path, monkeypatch, capfd
):
    def refuse(*places):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    write_file(tmp_path / "new", b"content", new=True)
    assert (tmp_path / "new").read_bytes() == b"content"
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "new", b"other", new=True)
    # Replaced, the file that stdout goes to would miss all that is printed later.
    write_file(Path(f"/proc/{os.getpid()}/fd/1"), b"shown")
    assert capfd.readouterr().out == "shown"
    assert [each.name for each in tmp_path.iterdir()] == ["new"]


SLOW_START = """
import sys
import time
from pathlib import Path

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "lrsearch.cli" and not Path("reached").exists():
            Path("reached").touch()
            time.sleep(2.0)

sys.meta_path.insert(0, Slow())
"""
"""Makes the import of the command line take long, and tells when it has begun."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_as_one_later(number, tmp_path):
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "sitecustomize.py").write_text(SLOW_START)
    package = str(Path(lrsearch.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "lrsearch", "check", "none.yaml"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{tmp_path / 'hooks'}{os.pathsep}{package}"},
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "reached").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err == b""


@pytest.mark.parametrize("searched", [False, True])
def test_a_range_test_that_makes_no_sense_is_named(here, trained, searched):
    """Its line is whole: a run folder may come from anyone."""
    if searched:
        shutil.copytree(trained, here / "runs")
    with Run.open(here / "runs", "small", spec_text=SPEC) as run:
        run.noted("range", {"key": "none", "lr": ["much"]})
    for more in ([], ["--json"]):
        said = CliRunner().invoke(app, ["report", "small.yaml", *more])
        assert said.exit_code == 2, said.exception
        assert "its journal says what no version of lrsearch has written" in said.stderr


@pytest.mark.parametrize("command", ["grid", "range"])
def test_a_start_beside_another_is_refused_before_anything_is_loaded(here, command):
    with claim(here / "runs", "small"):
        said = CliRunner().invoke(app, [command, "small.yaml", "--executor", "inline"])
    assert said.exit_code == 2 and "is being written by process" in said.stderr, said.stderr
    assert "samples" not in said.stderr and not (here / "runs").exists()


def test_a_signal_that_was_ignored_at_the_start_stays_ignored():
    """As a shell's `trap ''`, and the `&` of a script, have it."""
    numbers = (signal.SIGINT, *forks.ENDING)
    assert main._find_ending() == [*numbers]
    before = {each: signal.signal(each, signal.SIG_IGN) for each in numbers}
    try:
        assert main._find_ending() == []
        with Interruptible():
            assert {*map(signal.getsignal, numbers)} == {signal.SIG_IGN}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_signal_while_python_ends_is_no_fault(here):
    """Not even in what runs at its end, nor when it takes its modules apart, by then without any
    handlers; the exit code is that of what was done."""
    script = """
import atexit, os, signal, sys
class Last:
    def __del__(self, kill=os.kill, own=os.getpid(), number=signal.{name}):
        kill(own, number)
{place}
sys.argv = ["lrsearch", "--version"]
from lrsearch.__main__ import main
main()
"""
    for name, place in (
        ("SIGINT", "atexit.register(Last().__del__)"),
        ("SIGUSR1", "last = Last()"),
    ):
        line = [sys.executable, "-c", script.format(name=name, place=place)]
        said = subprocess.run(line, capture_output=True, text=True)
        assert (said.returncode, said.stderr) == (0, "") and said.stdout


def test_an_interrupt_within_code_made_of_a_text_has_its_exit_code(here):
    """As in an import whose dataclasses are being made: `python -m` would die by SIGINT."""
    (here / "stopped.py").write_text("""
import lrsearch.cli, lrsearch.__main__
lrsearch.cli.run = lambda: exec("raise KeyboardInterrupt")
lrsearch.__main__.main()
""")
    said = subprocess.run([sys.executable, "-m", "stopped"], capture_output=True)
    assert (said.returncode, said.stderr) == (130, b"")


def test_ctrl_c_while_the_result_is_shown_says_how_to_show_it(run, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lrsearch.cli.output.show_result", interrupt)
    said = CliRunner().invoke(app, [*GRID[len(COMMAND) :], "--quiet"])
    assert said.exit_code == 130
    assert "all is done" in said.stderr and said.stderr.endswith("  lrsearch report small.yaml\n")
