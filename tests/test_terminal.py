"""What of a user's a terminal, a page, a shell and a spreadsheet are shown: nothing that acts."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from lrsearch import store
from lrsearch.cli import app
from lrsearch.reports.live import Progress
from lrsearch.reports.machine import to_csv, to_markdown
from lrsearch.reports.view import build_view
from lrsearch.spec.export import _to_yaml
from lrsearch.spec.values import write
from lrsearch.terminal import (
    VisibleStream,
    command_line,
    guarded_streams,
    path_word,
    quote,
    visible,
    visible_line,
)
from lrsearch.trial import Objective, Outcome, Record, Result, Trial

HOSTILE = (
    "a\x1b[5;35;7mS\x1b]0;title\x07\x1b]8;;http://evil\x1b\\link\x9b31m\x85\r\x08\x7f\x00"
    "\u202e\u2066\u200b\u2028\u200dz\ufeff[red]m[/red][link=http://evil]n[/link]\udcff"
)
"""A text with all that must not reach a terminal."""

NAMED = HOSTILE.replace("\x00", "").replace("/", ";")
"""As much of it as the name of a file may have."""

SPELLED = NAMED.replace("\udcff", "")
"""As much of it as YAML may have."""

LEGITIMATE = (
    "é ß ñ, Ελληνικά, русский",
    "\u06dd١٢٣ سورة",  # A sign of the Koran, which is of a kind with what is not seen.
    "日本語 中文 한국어　ｗｉｄｅ",
    "עברית العربية فارسی اردو",
    "می‌خواهم क्‍ष ক্‌ষ ശ്രീ",  # Joiners that are spelling.
    "e\u0301 a\u0308 x\u0338 ก็ ที่",  # Combining marks.
    "👨‍👩‍👧‍👦 👩🏽‍🚀 ❤️‍🔥 🏳️‍🌈 🐦‍⬛ 🇩🇪 1️⃣ 🫨",
    "🏴󠁧󠁢󠁥󠁮󠁧󠁿 ± … ⣿ ─ ∑ € ﬁ",
    "1\u00a0000\u202f000 f(x)\t[red] $HOME `id` \\x1b",
)

MADE_BY_RICH = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|[0-9]*[A-HJK])")


def assert_harmless(out: str, *, terminal: bool = False) -> None:
    """Assert that no text of a user's acts; on a terminal rich's own sequences may be there."""
    assert "5;35;7m" not in out.replace("\\x1b[5;35;7m", "").replace("\\033[5;35;7m", "").replace(
        "\\e[5;35;7m", ""
    ).replace("\\u001b[5;35;7m", "").replace("\\\\x1b\\[5;35;7m", ""), out
    if terminal:
        out = MADE_BY_RICH.sub("", out).replace("\r", "")
    acting = [char for char in out if visible(char) != char and char not in "\n\t"]
    assert not acting, (acting, out)
    assert all(
        unicodedata.category(char) not in ("Cc", "Cs", "Zl") for char in set(out) - {*"\n\t"}
    )


# -- texts


@pytest.mark.parametrize("text", LEGITIMATE, ids=range(len(LEGITIMATE)))
def test_what_people_write_stays_as_it_is(text):
    assert visible(text) == text


_SCRIPTS = st.sampled_from(
    [
        *((0x41, 0x5A), (0xC0, 0x17F), (0x391, 0x3C9), (0x410, 0x44F), (0x5D0, 0x5EA)),
        *((0x620, 0x64A), (0x905, 0x939), (0xE01, 0xE30), (0x1100, 0x1112), (0x3041, 0x3096)),
        *((0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1F6D2), (0x300, 0x34E), (0x20, 0x7E)),
    ]
)
_WRITTEN = st.text(
    _SCRIPTS.flatmap(lambda ends: st.integers(*ends).map(chr)).filter(
        lambda char: unicodedata.category(char) != "Cn"  # As the gap among the Greek capitals.
    )
)


@given(_WRITTEN)
def test_letters_of_every_script_stay_as_they_are(text):
    assert visible(text) == text


@given(st.text(st.characters(min_codepoint=0x1F300, max_codepoint=0x1F5FF), min_size=2))
def test_joined_emoji_stay_joined(signs):
    joined = "\u200d".join(signs)
    assert visible(joined) == joined
    assert visible(f"a\u200d{signs}") == f"a\\u200d{signs}"


def test_what_acts_is_shown():
    assert visible("\x1b[2J\x07\x9b\x7f\u202e\udcff\ufeff") == (
        "\\x1b[2J\\x07\\x9b\\x7f\\u202e\\udcff\\ufeff"
    )
    assert visible("a\tb\nc\rd") == "a\tb\nc\\rd"
    assert visible_line("a\tb\nc\rd") == "a\\tb\\nc\\rd"


_ANY = st.text(st.characters()) | st.text(st.sampled_from(HOSTILE + "\n\t'\"\\$`! ="))
"""Any text, lone halves of surrogate pairs among them."""


@given(_ANY)
def test_no_text_acts(text):
    shown = visible(text)
    meant = re.compile("[\u200c\u200d\U000e0000-\U000e007f\u0600-\u0605\u06dd\u08e2]")
    for char in meant.sub("", shown):
        assert char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
    assert visible(shown) == shown
    assert visible_line(text).splitlines() in ([], [visible_line(text)])


@given(_ANY)
def test_streams_and_consoles_show_the_same(text):
    stream = io.StringIO()
    assert VisibleStream(stream).write(text) == len(text)
    assert stream.getvalue() == visible(text)


def test_streams_are_given_back():
    before = sys.stdout, sys.stderr
    with guarded_streams():
        assert isinstance(sys.stdout, VisibleStream)
        with guarded_streams():
            pass
        assert isinstance(sys.stdout, VisibleStream), "the inner block took it away"
    assert (sys.stdout, sys.stderr) == before


# -- command lines


_WORDS = st.lists(
    _ANY.map(lambda text: text.replace("\0", "")).filter(
        lambda text: all(
            (not "\ud800" <= char < "\udc80" and char <= "\udcff") or char > "\udfff"
            for char in text
        )
    ),
    max_size=20,
)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@given(_WORDS)
def test_a_shell_reads_a_command_line_as_its_words(words):
    line = command_line(["printf", "%s\\0", *words])
    assert visible_line(line) == line
    given = ["bash", "--norc", "-c", line]
    said = subprocess.run(given, stdout=subprocess.PIPE, check=True).stdout
    assert said == b"".join(os.fsencode(word) + b"\0" for word in words or [""])


def test_plain_words_are_quoted_as_ever():
    for word in ("a.yaml", "a b", "it's", "", "$(id)", "日本語", "a\\b"):
        assert quote(word) == shlex.quote(word)
    assert quote("a\x1b\nb'") == "$'a\\033\\012b\\''"
    assert path_word(Path("-x.yaml")) == "./-x.yaml" and path_word("x") == "x"


# -- files


@given(st.text(st.characters(exclude_categories=["Cs"])) | _WRITTEN)
def test_exported_texts_read_back_and_act_on_nothing(text):
    document = {"name": "x", "params": {"a": text, "b": ["ok", text]}}
    written = _to_yaml(document)
    assert_harmless(written)
    assert yaml.safe_load(written) == document
    assert yaml.safe_load(write(text)) == text and visible_line(write(text)) == write(text)


ACCURACY = Objective("accuracy", "max", "last")


def table(texts: list[Any]) -> Any:
    """A run of a point a text, which is its parameter and the reason of its failure."""
    records = []
    for number, text in enumerate(texts, 1):
        result = Result(
            *(Outcome.FAILED, 0, 1e-3, 0.5, "solo", {}, {}, {}), reason=str(text), traceback=""
        )
        trial = Trial(number, str(number), {"params": {"p": text}}, 0, None)
        records.append(Record(trial, number, {"p": text}, "grid", result))
    return build_view("r", "f", ACCURACY, records)


_CELLS = st.text(st.sampled_from("a=+-@,;'\"\r\n\t |\0\x1b\u202e1.e＝"), max_size=6) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=6
)


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@given(st.lists(_CELLS, min_size=1))
def test_raw_csv_has_every_text_as_it_is(texts):
    text = to_csv(table(texts), raw=True)
    head, *found = rows(text)
    assert text.endswith("\n") and head[:3] == ["point", "strategy", "p"]
    by_point = {int(row[0]): row for row in found}
    for number, given_ in enumerate(texts, 1):
        assert (by_point[number][2], by_point[number][-1]) == (given_, given_)


@given(st.lists(_CELLS, min_size=1))
@example(["-1", "-1+1", "=1"])
def test_csv_runs_in_no_spreadsheet_and_keeps_lines(texts):
    text = to_csv(table(texts))
    _, *found = rows(text)
    assert len(found) == len(texts) and text.endswith("\n")
    assert_harmless(text.replace("\r", ""))
    by_point = {int(row[0]): row for row in found}
    for number, given_ in enumerate(texts, 1):
        cell = by_point[number][2]
        number = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", cell)
        assert number or not cell.lstrip(" \xa0\u3000").startswith(
            ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
        )
        shown = "\r".join(map(visible, given_.split("\r")))
        assert cell in (shown, f"'{shown}")
        if given_[:1].isalnum():
            assert cell == shown, "it has a prefix without a reason"


@pytest.mark.parametrize(
    "value", [-0.5, 1e-3, -3, 0, -1e-300, 12, True, None, [-1, "=x"], {"a": -1}]
)
def test_what_is_no_text_has_no_prefix(value):
    _, row = rows(to_csv(table([value])))
    assert json.loads(row[2]) == value
    if isinstance(value, float):
        assert float(row[2]) == value


def test_a_formula_is_prefixed_within_quotes():
    lines = to_csv(table(["=1+1", '=HYPERLINK("http://evil","x")', "-2", "@a", "\tx"])).split("\n")
    assert '"\'=1+1"' in lines[1] and '"\'=HYPERLINK(""http://evil"",""x"")"' in lines[2]
    assert lines[3].endswith("-2") and '"\'@a"' in lines[4] and '"\'\tx"' in lines[5]


# -- commands


SCRIPT = """\
import json, sys
value = sys.argv[1]
if value != "ok":
    sys.stderr.write("boom " + value + "\\nValueError: bad " + value + "\\n")
    print("out", value)
    sys.exit(3)
for step in range(6):
    print(json.dumps({"step": step, "loss": 1 / (step + 1)}))
"""


def spec_text() -> str:
    return (
        "name: s\ncommand: python train.py {p}\nobjective: {metric: loss, goal: min}\n"
        f"search: {{p: [ok, {json.dumps(SPELLED)}, '=1+1']}}\n"
    )


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of such a name with a run of three trials, of which two failed."""
    folder = tmp_path_factory.mktemp("hostile") / NAMED
    folder.mkdir()
    (folder / f"{NAMED}.yaml").write_text(spec_text(), "utf-8")
    (folder / "train.py").write_text(SCRIPT, "utf-8")
    with contextlib.chdir(folder):
        said = run("grid", f"{NAMED}.yaml", "--allow-command", "--executor", "inline")
    assert said.code == 0, said
    assert "\\x1b[5;35;7m" in said.err and "boom" not in said.out
    assert_harmless(said.out + said.err)
    return folder


@pytest.fixture
def here(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it."""
    folder = tmp_path / "copy"
    shutil.copytree(searched, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return folder


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def run(*arguments: str, **env: str) -> Said:
    """A command in this process, whose bytes are read as UTF-8."""
    env = {"COLUMNS": "100", **env}
    done = CliRunner().invoke(app, list(arguments), env=env, catch_exceptions=False)
    return Said(done.exit_code, done.stdout_bytes.decode(), done.stderr_bytes.decode())


READING = (
    ("report",),
    ("report", "--all"),
    ("report", "--markdown"),
    ("report", "--trial", "1"),
    ("report", "--trial", "2"),
    ("report", f"{NAMED}.yaml"),
    ("list",),
    ("export", "--point", "2"),
    ("repair", "s"),
    ("check", f"{NAMED}.yaml"),
    ("show", f"{NAMED}.yaml"),
    ("grid", f"{NAMED}.yaml", "--dry-run"),
)

WRONG = (
    (HOSTILE,),
    (f"--{HOSTILE}",),
    ("report", HOSTILE),
    ("report", f"{NAMED}.yml"),
    ("report", "s", HOSTILE),
    ("report", f"--{HOSTILE}"),
    ("report", "--trial", HOSTILE),
    ("report", "--trial", "99"),
    ("report", "--runs", NAMED),
    ("list", "--runs", NAMED),
    ("repair", NAMED),
    ("export", "s", "--name", HOSTILE),
    ("export", "s", "--point", HOSTILE),
    ("export", "s", "-o", f"{NAMED}/x"),
    ("init", NAMED),
    ("init", "--from", HOSTILE, "a.yaml"),
    ("check", HOSTILE),
    ("check", f"{NAMED}.yaml", "--set", HOSTILE),
    ("check", f"{NAMED}.yaml", "--set", f"search.{SPELLED}=1"),
    ("check", f"{NAMED}.yaml", "--set", f"seed={HOSTILE}"),
    ("check", f"{NAMED}.yaml", "--allow-import", HOSTILE),
    ("show", f"{NAMED}.yaml", "--width", HOSTILE),
    ("schedules", HOSTILE),
    ("schedules", "cosine", "--set", f"{HOSTILE}=1"),
    ("schedules", "cosine", "--set", f"final={HOSTILE}"),
    ("grid", f"{NAMED}.yaml"),
    ("grid", f"{NAMED}.yaml", "--lanes", HOSTILE),
    ("grid", f"{NAMED}.yaml", "--time", HOSTILE),
    ("grid", f"{NAMED}.yaml", "--engine", HOSTILE),
    ("grid", f"{NAMED}.yaml", "--executor", HOSTILE, "--allow-command"),
    ("grid", f"{NAMED}.yaml", "--require", HOSTILE),
    ("grid", f"{NAMED}.yaml", "--trials", "3"),
    ("grid", f"{NAMED}.yaml", f"--conf={HOSTILE}"),
    ("bayes", f"{NAMED}.yaml", f"--lr={HOSTILE}"),
)


@pytest.mark.parametrize("arguments", READING, ids=range(len(READING)))
def test_what_is_read_is_shown_harmless(here, arguments):
    said = run(*arguments)
    assert said.code == 0, said
    assert_harmless(said.out + said.err)


def test_what_is_wrong_is_told_harmless(here):
    for arguments in WRONG:
        arguments = tuple(each.replace("\0", "") for each in arguments)
        said = run(*arguments)
        assert said.code in (1, 2), (arguments, said)
        assert said.err, arguments
        assert_harmless(said.out + said.err)
        assert "Traceback" not in said.err
    runs = run("list", LRSEARCH_RUNS=NAMED)
    assert runs.code == 2 and "\\x1b[5;35;7m" in runs.err
    assert_harmless(runs.out + runs.err)


def test_json_has_the_true_values(here):
    said = run("report", "--json")
    assert_harmless(said.out)
    assert [point["params"]["p"] for point in json.loads(said.out)["points"]][1:] == [
        SPELLED,
        "=1+1",
    ]
    for arguments in (("report", "--trial", "2"), ("list",), ("show", f"{NAMED}.yaml")):
        said = run(*arguments, "--json")
        assert_harmless(said.out)
        json.loads(said.out)
    faults = run("check", f"{NAMED}.yaml", "--json", "--set", f"{SPELLED.partition('=')[0]}=1")
    assert_harmless(faults.out)
    assert json.loads(faults.out)["faults"][0]["key"] == SPELLED.partition("=")[0]


def test_csv_of_a_command(here):
    exact = rows(run("report", "--csv", "raw").out)
    assert [row[2] for row in exact[1:]] == ["ok", SPELLED, "=1+1"]
    assert (
        exact
        == rows(run("report", "--csv=raw").out)
        == rows(run("report", "s", "--csv", "raw").out)
    )
    shown = run("report", "--csv").out
    assert_harmless(shown.replace("\r", ""))
    assert [row[2] for row in rows(shown)[1:]] == [
        "ok", "\r".join(map(visible, SPELLED.split("\r"))), "'=1+1",
    ]  # fmt: skip
    assert run("report", "--csv", "s").out == shown, "a run behind --csv is a run"
    assert run("report", "--csv", "raw", "--json").code == 2


def test_an_exported_point_is_the_point(here):
    target = f"e{NAMED}.yaml"
    said = run("export", "--point", "2", "--output", target)
    assert said.code == 0, said
    assert_harmless(said.err)
    assert yaml.safe_load(Path(target).read_text("utf-8"))["params"]["p"] == SPELLED
    assert yaml.safe_load(run("export", "--point", "2").out)["params"]["p"] == SPELLED
    # What it says to go on with names that file, to a shell.
    command = said.err.rpartition("train it with: ")[2].strip()
    words = subprocess.run(
        ["bash", "--norc", "-c", f"set -- {command}; printf '%s\\0' \"$@\""],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    assert os.fsdecode(words).split("\0")[:3] == ["lrsearch", "grid", target]


SPEC_FAULTS = (
    f"{json.dumps(SPELLED)}: 1\n",
    f"name: {json.dumps(SPELLED)}\n",
    f"data: {{name: csv, source: {json.dumps(SPELLED)}, target: {json.dumps(SPELLED)}}}\n",
    f"model: {{name: {json.dumps(SPELLED)}}}\n",
    f"model: {{class_path: {json.dumps('a.' + SPELLED)}}}\n",
    f"model: {{class_path: torch.nn.Linear, init_args: {{{json.dumps(SPELLED)}: 1}}}}\n",
    f"train: {{{json.dumps(SPELLED)}: 1, lr: {json.dumps(SPELLED)}}}\n",
    f"train: {{schedule: {json.dumps(SPELLED)}, metrics: {{{json.dumps(SPELLED)}: a.b}}}}\n",
    f"objective: {{metric: {json.dumps(SPELLED)}}}\n",
    f"search: {{{json.dumps(SPELLED)}: [1, 2], lr: {{min: {json.dumps(SPELLED)}}}}}\n",
    f"command: {json.dumps(SPELLED)}\nsearch: {{{json.dumps(SPELLED)}: [1, 2]}}\n",
    f"loop: {json.dumps(SPELLED)}\nparams: {{{json.dumps(SPELLED)}: '1 / {{x}}'}}\n",
    "a: \x1b[5;35;7m\n",
    "a: [\u202e\u2028\n",
    "\x9b31m: 1\n",
)


@pytest.mark.parametrize("text", SPEC_FAULTS, ids=range(len(SPEC_FAULTS)))
def test_faults_of_a_spec_are_harmless(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_bytes(text.encode() + b"\xff" * ("\u2028" in text))
    for command in ("check", "show", "grid"):
        said = run(command, "bad.yaml")
        assert said.code == 2, said
        assert_harmless(said.out + said.err)
    said = run("check", "bad.yaml", "--json")
    assert json.loads(said.out)["faults"]
    assert_harmless(said.out)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", json.dumps({"format": 1, "version": HOSTILE, "versions": {HOSTILE: HOSTILE}})),
        ("run.json", json.dumps({"format": HOSTILE})),
        ("run.json", SPELLED),
        ("lock", f"{HOSTILE}\n"),
        ("lock", json.dumps({"pid": HOSTILE, "host": HOSTILE})),
        ("journal.jsonl", SPELLED),
        ("curves/000001.json", SPELLED),
        ("curves/000001.json", json.dumps({"step": [1, 2], HOSTILE: [1, 2]})),
        (
            "curves/000001.json",
            json.dumps({"step": [*range(9)], "loss": [*range(9)], HOSTILE: [*range(9)]}),
        ),
        ("spec.yaml", SPELLED),
    ],
    ids=range(10),
)
def test_what_stands_in_a_run_folder_is_harmless(here, name, content):
    path = here / "runs" / "s" / name
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    (here / "runs" / f"t{NAMED}").mkdir()
    for arguments in (*READING[:9], ("grid", f"{NAMED}.yaml", "--allow-command")):
        said = run(*arguments)
        assert_harmless(said.out + said.err)


def test_a_consent_file_is_harmless(here, tmp_path):
    (tmp_path / "lrsearch").mkdir()
    for content in (SPELLED, json.dumps({HOSTILE: HOSTILE}), json.dumps({HOSTILE: [HOSTILE]})):
        (tmp_path / "lrsearch" / "allowed.json").write_text(content, "utf-8")
        said = run("grid", f"{NAMED}.yaml")
        assert said.code == 2
        assert_harmless(said.out + said.err)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Any:
    """The paths of all texts in a document, keys that users name among them."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from leaves(part, (*path, index))
    elif isinstance(value, str) or path[-2:-1] in (("last",), ("best",), ("best_step",)):
        yield path


def replaced(value: Any, path: tuple[Any, ...], text: Any) -> Any:
    if not path:
        return text
    parts = dict(value) if isinstance(value, dict) else list(value)
    parts[path[0]] = replaced(parts[path[0]], path[1:], text)
    return parts


def renamed(value: Any, path: tuple[Any, ...], text: str) -> Any:
    """The document with the last key of the path called otherwise."""
    *above, last = path
    parts = value
    for part in above:
        parts = parts[part]
    parts = {text if key == last else key: part for key, part in parts.items()}
    return replaced(value, tuple(above), parts) if above else parts


ONES = (("report", "--all"), ("report", "--trial", "2"), ("list",), ("report", "--markdown"))


def changes(body: Any, path: tuple[Any, ...]) -> Any:
    """The line with a text of it hostile, or its key, if it is one of a mapping within it."""
    yield replaced(body, path, HOSTILE)
    if len(path) > 1 and isinstance(path[-1], str):
        yield renamed(body, path, HOSTILE)


def test_journal_lines_of_hostile_texts_with_good_checksums(here):
    journal = here / "runs" / "s" / "journal.jsonl"
    lines = journal.read_bytes().splitlines()
    seen = set()
    for index, line in enumerate(lines):
        body = json.loads(line)
        for path in leaves({key: part for key, part in body.items() if key not in ("n", "crc")}):
            kind = (body["event"], *(part for part in path if isinstance(part, str)))
            if path == ("event",) or kind in seen:
                continue
            seen.add(kind)
            for changed in changes(body, path):
                number = changed.pop("n")
                del changed["crc"]
                rest = json.dumps(changed, separators=(",", ":")).encode()[1:]
                new = store._numbered(number, rest).removesuffix(b"\n")
                journal.write_bytes(b"\n".join([*lines[:index], new, *lines[index + 1 :], b""]))
                for arguments in ONES:
                    said = run(*arguments)
                    assert_harmless(said.out + said.err)
    assert len(seen) > 20


def test_a_journal_cannot_say_what_to_paste(here):
    """Its command is shown to be copied, if it is one that lrsearch could have written."""
    journal = here / "runs" / "s" / "journal.jsonl"
    lines = journal.read_bytes().splitlines()
    told = run("report").out
    for command in (
        ["curl", "http://evil"],
        ["lrsearch", "repair", "s"],
        ["lrsearch", "grid", 3],
        "x",
    ):
        changed = []
        for line in lines:
            body = json.loads(line)
            number = body.pop("n")
            del body["crc"]
            if "command" in body.get("spec", ()):
                body["spec"]["command"] = command
            rest = json.dumps(body, separators=(",", ":")).encode()[1:]
            changed.append(store._numbered(number, rest))
        assert changed != [line + b"\n" for line in lines], "no line has a command"
        journal.write_bytes(b"".join(changed))
        said = run("report").out
        retry = re.search(r"^retry +(.*)$", said, re.MULTILINE)
        assert retry is not None and retry[1].startswith("lrsearch grid"), said
        assert "curl" not in said and "--allow-command" in told and "--allow-command" not in said


def test_markdown_has_no_marks_of_a_user(here):
    texts = ["_a_ ~b~ $c$ &amp; <img src=x> [l](http://evil) `d` |e| *f*", "batch_size", "a\nb"]
    shown = to_markdown(table(texts))
    assert r"\_a\_ \~b\~ \$c\$ \&amp; \<img src=x> \[l\](http://evil) \`d\` \|e\| \*f\*" in shown
    assert "| batch_size |" in shown and r'| "a\\nb" |' in shown
    assert_harmless(to_markdown(table([HOSTILE])))


# -- streams of a process


def process(*arguments: str, terminal: bool = False, columns: int = 80, **env: str) -> Said:
    """A command in a process of its own, both of its streams on a terminal or in pipes."""
    return python("-m", "lrsearch", *arguments, terminal=terminal, columns=columns, **env)


def python(*arguments: str, terminal: bool = False, columns: int = 80, **env: str) -> Said:
    words = [sys.executable, *arguments]
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "40", **env}
    if not terminal:
        done = subprocess.run(words, env=env, capture_output=True, stdin=subprocess.DEVNULL)
        return Said(done.returncode, done.stdout.decode(), done.stderr.decode())
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        words, env=env, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower
    )
    os.close(follower)
    seen = b""
    with contextlib.suppress(OSError):  # Linux says so at the end.
        while chunk := os.read(leader, 65536):
            seen += chunk
    os.close(leader)
    return Said(child.wait(timeout=120), seen.decode(), "")


LIVE = ("grid", f"{NAMED}.yaml", "--allow-command", "--fresh", "--executor", "inline")


@pytest.mark.parametrize(
    "arguments",
    [
        LIVE,
        ("report",),
        ("report", HOSTILE.replace("\0", "x")),
        ("report", "--csv", "raw"),
        (f"--{NAMED}",),
    ],
    ids=range(5),
)
def test_terminals_and_pipes_are_shown_the_same_texts(here, arguments):
    shown = process(*arguments, terminal=True)
    assert "\\x1b[5;35;7m" in shown.out or "\\033[5;35;7m" in shown.out, shown
    assert_harmless(shown.out, terminal=True)
    if "raw" not in arguments:
        piped = process(*arguments)
        assert shown.code == piped.code
        assert_harmless(piped.out + piped.err)


def test_the_command_that_resumes_can_be_pasted(here):
    for columns in (60, 100):
        out = MADE_BY_RICH.sub("", process("report", terminal=True, columns=columns).out)
        shown = out[out.index("retry") + len("retry") :].partition("note  ")[0].replace("\r", "")
        words = subprocess.run(
            ["bash", "--norc", "-c", f"set -- {shown}\nprintf '%s\\0' \"$@\""],
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        assert words.startswith(b"lrsearch\0grid\0") and words.endswith(b"--retry-failed\0")


LOOP = """\
import sys
def train(trial):
    print({0!r})
    sys.stderr.write({0!r} + "\\n")
    for step in range(3):
        trial.report(step, loss=step)
    if trial.params["p"]:
        raise RuntimeError({0!r})
"""


def test_code_in_this_process_prints_and_raises_harmless(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(LOOP.format(SPELLED + "\x00"), "utf-8")
    Path("l.yaml").write_text(
        "loop: mine.train\nobjective: {metric: loss, goal: min}\nsearch: {p: [0, 1]}\n", "utf-8"
    )
    arguments = ("grid", "l.yaml", "--allow-import", "mine", "--executor", "inline")
    said = process(*arguments, terminal=True)
    assert said.code == 0 and "\\x1b[5;35;7m" in said.out, said
    assert_harmless(said.out, terminal=True)
    traced = run("report", "l", "--trial", "2")
    assert "RuntimeError: a\\x1b[5;35;7m" in traced.out
    assert_harmless(traced.out)


BESIDE = """\
import logging, sys, time, warnings
from lrsearch.reports.live import Progress
from lrsearch.terminal import guard_streams
from lrsearch.trial import Objective
guard_streams()
with Progress() as progress:
    progress.begin(2, Objective("loss", "min", "last"), 1)
    print({0!r}, file=sys.stderr)
    sys.stderr.write({0!r})
    sys.stderr.flush()
    warnings.warn({0!r})
    logging.warning({0!r})
    time.sleep(0.6)
"""


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_printed_beside_the_progress_is_harmless(terminal):
    said = python("-c", BESIDE.format(HOSTILE), terminal=terminal)
    assert said.code == 0 and (said.out + said.err).count("\\x1b[5;35;7m") >= 4, said
    assert_harmless(said.out + said.err, terminal=terminal)
    # Rich takes sequences that it knows for styles, and makes them anew.
    assert not re.search(r"\x1b\[(?:[0-9]+;)*35[;m]", said.out)


def test_a_bug_shows_a_harmless_traceback(tmp_path):
    code = (
        "import lrsearch.cli.reading as r, lrsearch.cli.stored as s, sys\n"
        f"def fail(*_): raise RuntimeError({SPELLED!r})\n"
        "s.list_folder = fail\n"
        "sys.argv = ['lrsearch', 'list', '--runs', '.']\n"
        "from lrsearch.__main__ import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path)
    assert done.returncode == 1 and b"RuntimeError: a\\x1b[5;35;7m" in done.stderr
    assert_harmless(done.stderr.decode())


def test_a_locale_without_these_letters_is_no_end(here):
    said = process("report", "--trial", "2", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert said.code == 0 and "Traceback" not in said.err
    (here / "é.yaml").write_text("é: 1\n", "utf-8")
    said = process("check", "é.yaml", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert said.code == 2 and "\\xe9" in said.err


def test_progress_on_a_stream_of_its_own_is_harmless():
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.start(HOSTILE)
        progress.begin(2, Objective(HOSTILE, "max", "last"), 1)
        progress.started(1, {HOSTILE: HOSTILE})
        progress.ended(1, {HOSTILE: HOSTILE}, Outcome.FAILED, None, 1.0, HOSTILE)
        progress.note(HOSTILE)
    assert_harmless(stream.getvalue())
