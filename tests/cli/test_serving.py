"""`lrsearch serve`: what is answered and what is not, runs that change while they are watched, and
the pages in a real browser (see tests/reports/test_page.py)."""

import fcntl
import gc
import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from driving import Fork
from jinja2.runtime import Context
from test_exporting_runs import OLDER, call
from test_page import Page, browser, find_axe, hashed  # noqa: F401 (a fixture)
from test_rooms import HEAVY

from lrsearch.cli.serving import HEADERS, LONGEST, Server, _find_target
from lrsearch.cli.telling import told
from lrsearch.cli.watching import Site, find_engines
from lrsearch.reports.live import Progress
from lrsearch.reports.page import live
from lrsearch.reports.page.live import STALE, State, draw_course, read_news, write_now
from lrsearch.store import NO_SENSE, NOW, Run, read, read_now
from lrsearch.trial import Objective, Outcome, Plan
from lrsearch.tuner.plans import structure_key

LINES = (OLDER / "journal.jsonl").read_bytes().splitlines(keepends=True)
"""A run's journal: a session, its proposals and plan, six trials that begin and end, its end."""

BEGUN = 5
"""Lines up to the end of the first trial."""


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder with a run whose first trial has ended. What has changed is seen at once."""
    monkeypatch.setattr("lrsearch.cli.watching.RESTS", 0.0)
    folder = tmp_path / "runs"
    shutil.copytree(OLDER, folder / "older")
    write(folder, LINES[:BEGUN])
    return folder


def write(root, lines, name="older"):
    (root / name / "journal.jsonl").write_bytes(b"".join(lines))


def add(root, *lines, name="older"):
    with (root / name / "journal.jsonl").open("ab") as file:
        file.write(b"".join(lines))


@contextmanager
def held(root, name="older"):
    """Hold a run as the search does that writes it."""
    with (root / name / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(root, name="older", **change):
    """Write what a search says of itself."""
    news = {
        "written": time.time(), "begun": time.time() - 60, "doing": "", "done": 1, "total": 6,
        "workers": 2, "left": [40.0, 90.0], "pace": [3.5, "epochs"],
        "jobs": [{"lanes": 4, "trials": [
            {"trial": 2, "share": 0.4, "params": "lr=0.1", "told": "accuracy 0.9"},
            {"trial": 3, "share": 0.25, "params": "lr=1", "told": ""}]}],
    } | change  # fmt: skip
    (root / name / NOW).write_text(json.dumps(news))


@contextmanager
def serving(root):
    server = Server(Site(root), 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server(root):
    with serving(root) as made:
        yield made


def ask(server, path, method="GET", token=None, **headers):
    """The status, headers and text of an answer to a path behind the token."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    start = "" if token == "" else f"/{token or server.token}"
    connection.putrequest(method, start + path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read().decode()
    connection.close()
    return found


def page(server, path="/runs/older/"):
    status, _, text = ask(server, path)
    assert status == 200
    return text


def news(server, at=0, path="/runs/older/"):
    status, headers, text = ask(server, f"{path}news?at={at}")
    assert status == 200 and headers["Content-Type"].startswith("application/json")
    return json.loads(text)


def count_ended(data):
    return sum(row[2] == "completed" for row in data["rows"])


# what is answered


def test_what_a_sent_page_was_made_of_is_gone(server):
    gc.collect(0)
    gc.disable()
    try:
        for path in 3 * ("/", "/news?at=0", "/compare/?run=older"):
            assert ask(server, path)[0] == 200
        held = sum(type(each) is Context for each in gc.get_objects(0))
    finally:
        gc.enable()
    assert held <= 1


@pytest.mark.parametrize("path", ["/", "/runs/older/", "/compare/?run=older"])
def test_a_page_is_answered_with_its_headers(server, path):
    status, headers, text = ask(server, path)
    assert status == 200 and text.startswith("<!doctype html>") and "older" in text
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert not [name for name in headers if name.lower().startswith("access-control")]
    assert "Python" not in headers["Server"]
    policy = text.split('http-equiv="Content-Security-Policy" content="')[1].split('"')[0]
    policy = policy.replace("&#39;", "'")
    scripts = [part.split("</script>")[0] for part in text.split("<script>")[1:]]
    style = text.split("<style>")[1].split("</style>")[0]
    assert policy == (
        f"default-src 'none'; style-src '{hashed(style)}'; "
        f"script-src {' '.join(map(repr, map(hashed, scripts)))}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert len(scripts) == 2 and 'style="' not in text and "JavaScript is off" in text
    bare = ask(server, path, "HEAD")
    assert bare[0] == 200 and bare[2] == "" and bare[1]["Content-Length"] == str(len(text.encode()))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "WHAT"])
def test_only_get_and_head_are_answered(server, method):
    status, headers, _ = ask(server, "/", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("token", ["", "x", "older", "../older", "%00"])
def test_without_the_token_nothing_is_found(server, root, token):
    for path in ("/", "/runs/older/", "/runs/older/news", f"/{server.token[:-1]}/"):
        status, _, text = ask(server, path, token=token)
        assert status == 404 and "older" not in text and server.token not in text
    assert ask(server, "/favicon.ico", token="")[0] == 204


@pytest.mark.parametrize("target", ["foo", "*", "http://[bad"])
def test_what_is_no_address_is_no_bug(server, capsys, target):
    assert ask(server, target, token="", Host="127.0.0.1")[0] == 400
    many = "&".join(["run=older"] * 101)
    assert ask(server, f"/compare/?{many}")[0] == 400
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((each, 200) for each in ("127.0.0.1", "localhost", "LOCALHOST:1", "[::1]", "[::1]:80")),
        *((each, 403) for each in ("evil.com", "evil.com:80", "127.0.0.1.evil.com", "", "0.0.0.0")),
        *((each, 403) for each in ("localhost:x", "localhost:", "a@localhost", "127.0.0.1:80:80")),
    ],
)
def test_another_host_is_refused(server, host, status):
    found, _, text = ask(server, "/", Host=host)
    assert found == status and ("older" in text) == (status == 200)


def test_a_request_without_a_host_is_refused(server):
    with socket.create_connection(("127.0.0.1", server.server_port)) as link:
        link.sendall(f"GET /{server.token}/ HTTP/1.0\r\n\r\n".encode())
        assert link.makefile("rb").readline().split()[1] == b"403"


def test_no_name_leads_out_of_the_folder(server, root):
    secret = root.parent / "secret"
    shutil.copytree(OLDER, secret)
    shutil.copytree(OLDER, root / "deep" / "inner")
    (root / "a.txt").write_text("a file")
    for name in (
        "../secret", "..%2fsecret", "%2e%2e%2fsecret", "..", ".", "%2e%2e", "", "older%00",
        "older/..",
        "older%2f..%2f..%2fsecret", str(secret).replace("/", "%2f"), "deep/inner", "deep%2finner",
        "a.txt", "%ff", "older%0d%0aX:%201", "..%5csecret", "\\", "older;x", "*",
    ):  # fmt: skip
        for path in (f"/runs/{name}/", f"/runs/{name}", f"/runs/{name}/news?at=0"):
            status, headers, text = ask(server, path)
            assert status in (404, 308) and "accuracy" not in text, path
            assert "X" not in headers
    _, _, text = ask(server, "/compare/?run=../secret&run=..%2fsecret&run=older")
    assert text.count("there is no run of this name here") == 1 and "secret</bdi>" in text
    assert ask(server, "/x" * LONGEST)[0] == 414
    for path in (
        "/x/",
        "/runs/",
        "/compare/older/",
        "/runs/older/x",
        "/runs/older/news/",
        "/news/",
    ):
        assert ask(server, path)[0] == 404, path
    for path in ("", "/runs/older", "/compare?run=older"):
        status, headers, _ = ask(server, path)
        assert status == 308 and headers["Location"].startswith(
            f"/{server.token}/" if path else "/"
        )


def test_what_a_version_says_may_be_anything(server):
    for at in ("", "x", "-1", "1.5", "9" * 40, "%c2%b2", "%00", "1&at=2"):
        assert "answer" in news(server, at)["parts"], at


def test_a_reader_who_leaves_is_not_told_of(server, capfd):
    with socket.create_connection(("127.0.0.1", server.server_port)) as link:
        link.sendall(f"GET /{server.token}/ HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert page(server)
    assert capfd.readouterr() == ("", "")


# runs that change


def test_parts_are_sent_once_they_have_changed(server, root):
    first = page(server)
    at = first.split('<body data-at="')[1].split('"')[0]
    assert count_ended(json.loads(live.split(first)["data"])) == 1
    assert 'id="course"' not in first
    again = news(server, at)
    assert set(again["parts"]) == {"now"} and again["at"] == at
    add(root, *LINES[BEGUN : BEGUN + 2])
    found = news(server, at)
    assert {"now", "nav", "trials", "data", "course", "answer"} <= set(found["parts"])
    assert found["order"].index("course") == 2
    assert count_ended(json.loads(found["parts"]["data"])) == 2
    # Of another reader, who knows less, or has asked already.
    assert set(news(server, found["at"])["parts"]) == {"now"}
    assert set(found["parts"]) <= set(news(server, 0)["parts"])
    add(root, LINES[BEGUN + 2])  # A trial begins: no part says so but what runs now.
    assert set(news(server, found["at"])["parts"]) == {"now"}


def test_nothing_is_made_anew_while_nothing_changes(server, root):
    page(server)
    run = server.site._find("older")
    before, history = run.page.html, run.seen[0].history
    for _ in range(3):
        assert page(server) and news(server)
        assert run.page.html is before
    add(root, *LINES[BEGUN : BEGUN + 2])
    page(server)
    assert run.page.html is not before and run.seen[0].history is history


def test_a_torn_line_is_left_until_it_is_whole(server, root):
    page(server)
    add(root, LINES[BEGUN], LINES[BEGUN + 1][:40])
    assert count_ended(json.loads(live.split(page(server))["data"])) == 1
    add(root, LINES[BEGUN + 1][40:])
    assert count_ended(json.loads(live.split(page(server))["data"])) == 2


def test_a_damaged_run_is_told_of_and_what_was_read_stays(server, root):
    at = page(server).split('<body data-at="')[1].split('"')[0]
    write(root, [*LINES[:3], LINES[3].replace(b"1", b"2", 1), *LINES[4:]])
    found = news(server, at)
    assert found["kind"] == "run" and set(found["parts"]) == {"now"}
    assert (
        "line 4 is damaged" in found["parts"]["now"] and "lrsearch repair" in found["parts"]["now"]
    )
    assert "line 4 is damaged" in page(server) and 'id="answer"' in page(server)
    assert "line 4 is damaged" in page(server, "/")
    with serving(root) as other:  # That has never read it.
        assert "line 4 is damaged" in page(other) and news(other)["kind"] == "alone"
        assert "line 4 is damaged" in page(other, "/compare/?run=older")
    write(root, LINES)
    assert "is damaged" not in page(server) and "The search has ended" in page(server)


def test_a_run_that_is_deleted_while_it_is_watched(server, root):
    at = page(server).split('<body data-at="')[1].split('"')[0]
    shutil.move(root / "older", root.parent / "kept")
    found = news(server, at)
    assert "The run was deleted" in found["parts"]["now"] and len(found["order"]) > 3
    assert "The run was deleted" in page(server) and "No runs yet" in page(server, "/")
    shutil.move(root.parent / "kept", root / "older")
    assert "The run was deleted" not in page(server)
    shutil.rmtree(root)
    assert "not there any more" in page(server, "/") and "was deleted" in page(server)
    with serving(root) as other:
        assert ask(other, "/runs/older/")[0] == 404


def test_folders_that_are_no_runs_or_not_begun(server, root):
    (root / "notes").mkdir()
    (root / "notes" / "a.txt").write_text("x")
    shutil.copytree(OLDER, root / "new")
    write(root, [], "new")
    text = page(server, "/")
    assert "1 folder that is no run" in text and "notes" in text
    assert "nothing was searched in new yet" in page(server, "/runs/new/")
    assert ask(server, "/runs/notes/")[0] == 404
    at = news(server, path="/runs/new/")
    assert at["kind"] == "alone"
    write(root, LINES, "new")
    assert news(server, at["at"], "/runs/new/")["kind"] == "run"  # The page loads itself anew.


def test_a_run_of_range_tests_alone(server, root):
    rates = [10.0 ** (-4 + place / 8) for place in range(33)]
    losses = [2.0 if rate < 1e-3 else 1.0 if rate < 0.3 else 9.0 for rate in rates]
    with Run.open(root, "tested", spec_text="name: tested\n") as run:
        body = {"key": "k", "params": {"batch_size": 32}, "beside": {}, "lr": rates, "fault": ""}
        body |= {"losses": [losses], "cap": 1.0, "epochs": 1.0, "seconds": 2.0, "reason": ""}
        run.noted("range", body | {"steps": 1, "seeds": 1, "engine": "solo", "trained": 33})
    text = page(server, "/runs/tested/")
    assert "range tests alone" in text and 'id="fig-tests"' in text


# what runs now


def test_what_runs_now(server, root):
    with held(root):
        assert "does not say what it does" in page(server)
        say(root)
        text = page(server)
        for told_of in (
            "1 of 6", "40s to 1m 30s", "trial 2", "40%, accuracy 0.9",
            "2 of 4 lanes of one program",
            "2 free", "5,033 samples a second (3.5 epochs a second)", "running",
        ):  # fmt: skip
            assert told_of in text, told_of
        assert "1 of 6 now, 40s to 1m 30s left" in page(server, "/")
        say(root, written=time.time() - 10 * STALE)
        assert "nothing was heard of it for 3m" in page(server)
        say(root, doing="loading the data", total=None, left=None, pace=None, jobs=[])
        assert "loading the data" in page(server)
    # The lock is the process's own: it is free, and the journal has no end.
    assert "The search has broken off" in page(server) and "lrsearch grid" in page(server)
    assert "interrupted" in page(server, "/")
    add(root, *LINES[BEGUN:])
    assert "The search has ended" in page(server) and 'class="state done"' in page(server, "/")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"written": 1}',
        b"\xff\xfe",
        b'{"written": NaN}',
        b"[" * 100_000,
    ],
)
def test_news_that_make_no_sense_are_none(server, root, content):
    with held(root):
        (root / "older" / NOW).write_bytes(content)
        assert "does not say what it does" in page(server)


@pytest.mark.parametrize(
    "change",
    [
        {"written": "x"}, {"written": float("nan")}, {"jobs": 3}, {"jobs": [{"lanes": "x"}]},
        {"left": [1]}, {"left": [1, float("inf")]}, {"pace": 3}, {"done": []}, {"jobs": None},
    ],
)  # fmt: skip
def test_news_of_other_kinds_are_none(server, root, change):
    with held(root):
        say(root, **change)
        assert "does not say what it does" in page(server)


def test_a_link_in_the_place_of_the_news_is_not_followed(server, root):
    say(root)
    (root / "older" / NOW).rename(root / "elsewhere")
    (root / "older" / NOW).symlink_to(root / "elsewhere")
    with held(root):
        assert "does not say what it does" in page(server)


def test_what_is_hostile_is_text(server, root):
    with held(root):
        bad = "</section><script>alert(1)</script>\x1b[31m\u202e"
        lane = {"trial": 2, "share": 7.0, "params": bad, "told": bad}
        say(root, best=bad, doing=bad, jobs=[{"lanes": 1, "trials": [lane]}])
        text = page(server)
    assert text.count("<script") == 3 and "\x1b" not in text and "\u202e" not in text
    assert 'value="100"' in text and "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize("name", ["done", "total", "workers"])
def test_numbers_that_no_search_has_are_no_news(name):
    news = {**Progress(quiet=True).news(), "total": 4}
    assert read_news(news).total == 4
    with pytest.raises(NO_SENSE):
        read_news({**news, name: 10**400})


def test_the_engine_of_several_budgets_is_that_of_their_plan():
    history = read(OLDER)
    history.running.add(1)
    trial = history.trials[1]
    whole = structure_key(trial.config, trial.fold, budgets=False)
    history.plans.clear()
    for lanes, words in ((4, "up to 4 lanes"), (1, "one lane")):
        history.plans[whole, "cpu"] = Plan("fused", lanes)
        assert find_engines(history) == [f"fused, {words} a program"]


def test_a_search_tells_of_itself_while_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("lrsearch.cli.telling.EVERY", 0.01)
    progress = Progress(quiet=True)
    with told(tmp_path, progress.news):
        progress.begin(4, Objective("accuracy", "max"), 2)
        progress.started(7, {"lr": 0.1})
        progress.measured(7, 0.5, 0.9)
        progress.started(8, {"lr": 0.2})
        progress.ended(8, {"lr": 0.2}, Outcome.COMPLETED, 0.8, 1.0)
        found = wait_for(
            lambda: (content := read_now(tmp_path)) and content["done"] and read_news(content)
        )
        assert (found.done, found.total, found.workers) == (1, 4, 2)
        (lane,) = [lane for job in found.jobs for lane in job.trials]
        assert (lane.trial, lane.share, lane.params) == (7, 0.5, "lr=0.1") and "0.9" in lane.told
        assert abs(found.written - time.time()) < 60 and found.begun <= found.written
        # A folder that is gone is nothing to the search.
        shutil.rmtree(tmp_path)
        progress.note("on")
    assert not tmp_path.exists()


def test_news_are_deleted_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("lrsearch.cli.telling.EVERY", 0.01)
    with pytest.raises(KeyboardInterrupt), told(tmp_path, Progress(quiet=True).news):
        wait_for(lambda: (tmp_path / NOW).exists())
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def wait_for(condition):
    until = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.005)
    return found


def test_the_course_of_the_best():
    goal = Objective("loss", "min")
    assert draw_course([(1.0, 0.5), (1.0, None)], goal, 3) is None
    figure = draw_course([(2.0, 0.5), (1.0, 0.9), (1.0, None), (3.0, 0.25), (5.0, 0.4)], goal, 3)
    assert figure.rows == [("2.0s", "0.500"), ("7.0s", "0.250")]
    assert "0.250 after 7.0s of training; 5.0s since then" in figure.finding
    (line,) = [mark for mark in figure.panels[0].marks if mark.kind == "best"]
    assert line.places == [(2.0, 0.5), (7.0, 0.5), (7.0, 0.25), (12.0, 0.25)]


# runs side by side


def test_runs_side_by_side(server, root):
    write(root, LINES)
    shutil.copytree(root / "older", root / "other")
    text = page(server, "/compare/?run=older&run=other&run=none")
    assert "there is no run of this name here" in text
    said = call("compare", "older", "other", "--runs", str(root), "--json").stdout
    (difference,) = json.loads(said)["differences"]
    assert difference["text"].replace(f"{root}/", "") in text
    assert 'id="fig-values"' in text
    assert '<td data-run="other">' in text  # On a phone there is no row of names above.
    alone = page(server, "/compare/?run=older")
    assert 'href="?run=older&amp;run=other"' in alone and "finding" in alone
    assert 'href="compare/?run=older"' in page(server, "/")
    for number in range(21):
        (root / f"more{number}").symlink_to(root / "other")
    many = page(server, "/compare/?run=older&run=other")  # What is compared is not below them all.
    assert "<details><summary>Add one of 21 runs</summary>" in many and ">more20<" in many


# the command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rusn"], "rusn is no folder of runs, and no run"),
        (["--runs", "nowhere"], "there are no runs in nowhere"),
        (["oldre", "--runs", "runs"], "did you mean 'older'?"),
        (["missing.yaml"], "missing.yaml"),
        (["--port", "70000"], "65535"),
        (["--host", "0.0.0.0"], "ssh -L"),
    ],
)
def test_slips(root, monkeypatch, arguments, words):
    monkeypatch.chdir(root.parent)
    assert words in call("serve", *arguments, code=2).stderr


def test_a_port_in_use(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = call("serve", "--port", str(port), code=2).stderr
    another = port + 1 if port < 65535 else 0
    assert f"port {port} is in use" in said and f"lrsearch serve --port {another}" in said


def test_before_the_first_search_the_list_is_empty_and_waits(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root.rename("later")
    assert _find_target(None, Path("runs")) == (Path("runs"), "")
    site = Site(Path("runs"))
    assert "No runs yet." in site.list_runs(None)
    version = int(site.list_runs(0)["at"])
    Path("later").rename("runs")
    assert "older" in site.list_runs(version)["parts"]["runs"]
    Path("runs").rename("gone")
    assert "what was served is not there any more" in site.list_runs(None)


def test_the_command_prints_its_address_and_ends_by_ctrl_c(root, nursery):
    fork = Fork(nursery, root.parent, "serve", "older", "--json")
    wait_for(lambda: list((root.parent / "outputs").glob("*.out")))
    said = wait_for(lambda: fork.said()[0].endswith("\n") and json.loads(fork.said()[0]))
    assert said["url"].startswith(f"http://127.0.0.1:{said['port']}/")
    connection = http.client.HTTPConnection("127.0.0.1", said["port"], timeout=60)
    connection.request("GET", said["url"].split("/", 3)[3].join(["/", ""]))
    assert connection.getresponse().status == 200
    fork.send(signal.SIGINT)
    ended = fork.wait()
    assert ended.code == 130 and "Traceback" not in ended.err and ended.err.count("\n") == 1


def test_serving_needs_no_torch(root):
    code = (
        "import sys; from pathlib import Path; from lrsearch.cli import serving; "
        "from lrsearch.cli.watching import Site; site = Site(Path(sys.argv[1])); "
        "site.show('older', None); site.list_runs(None); site.compare(['older'], None); "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    folder = Path(__file__).parents[2]
    said = subprocess.run(
        [sys.executable, "-c", code, str(root)],
        cwd=folder, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert said.stdout == "[]\n"


# in a browser


class Live(Page):
    """A page of a server in the browser."""

    def __init__(self, driver, server, path):
        self.driver, self.origin = driver, f"http://127.0.0.1:{server.server_port}/"
        driver.get_log("performance"), driver.get_log("browser")
        driver.get(server.address + path)

    def check(self):
        """Hold that nothing was logged, and no request went elsewhere."""
        assert self.driver.get_log("browser") == []
        events = [
            json.loads(each["message"])["message"] for each in self.driver.get_log("performance")
        ]
        sent = [
            each["params"]["request"]["url"]
            for each in events
            if each["method"] == "Network.requestWillBeSent"
        ]
        assert sent and all(url.startswith((self.origin, "data:")) for url in sent)


def completed(shown):
    return shown.run(
        "return [...document.querySelectorAll('#all td')].filter("
        "(cell) => cell.textContent === 'completed').length"
    )


def test_a_trial_that_ends_appears_without_loading(browser, server, root):  # noqa: F811
    with held(root):
        say(root)
        shown = Live(browser, server, "runs/older/")
        shown.run("window.before = true")
        assert completed(shown) == 1 and "40%" in shown.read("#now")
        shown.click(shown.find("#all .row")[0])
        shown.one("#filter").send_keys("c")
        # Clicks of a mouse at one place would be a double click, which selects.
        for css in ("#measured > details > summary", "label[for=tab-2]"):
            shown.run("document.querySelector(arguments[0]).click()", css)
        shown.one("#filter").send_keys("o")
        add(root, *LINES[BEGUN : BEGUN + 4])
        say(root, done=3)
        shown.wait(lambda: completed(shown) == 3)
        assert shown.run("return window.before")
        assert "3 of 6" in shown.read("#now") and shown.find("#fig-course .plot")
        # What was chosen stays so.
        assert shown.one("#filter").get_attribute("value") == "co"
        assert shown.run("return document.activeElement.id") == "filter"
        assert "Trial 1" in shown.read("#picked") and shown.find("tr.on")
        assert shown.run("return document.querySelector('#measured > details').open")
        assert shown.run("return document.getElementById('tab-2').checked")
        add(root, *LINES[BEGUN + 4 :])
    shown.wait(lambda: "The search has ended" in shown.read("#now"))
    shown.check()


def test_an_end_of_the_server_is_told(browser, root):  # noqa: F811
    with serving(root) as server:
        shown = Live(browser, server, "")
        assert shown.read("h1") == "Runs"
    shown.wait(lambda: "does not answer" in shown.read("#status"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, server, root, scheme):  # noqa: F811
    axe = find_axe()
    add(root, *LINES[BEGUN:-1])
    shutil.copytree(root / "older", root / "other")
    feature = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
    with held(root):
        say(root)
        for path in ("", "runs/older/", "compare/?run=older&run=other"):
            shown = Live(browser, server, path)
            shown.run("for (const each of document.querySelectorAll('details')) each.open = true")
            shown.run(axe)
            found = browser.execute_async_script(
                "const done = arguments[0]; axe.run().then((all) => done(all.violations))"
            )
            worst = [
                (path, each["id"], each["nodes"][0]["html"][:200])
                for each in found
                if each["impact"] in ("serious", "critical")
            ]
            assert worst == []
            shown.check()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [], "media": ""})


@pytest.mark.parametrize("path", ["", "runs/older/", "compare/?run=older&run=other"])
def test_nothing_runs_over_the_side(browser, server, root, path):  # noqa: F811
    shutil.copytree(root / "older", root / "other")
    size = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        with held(root):
            say(root, best="a metric of a long name " * 4)
            shown = Live(browser, server, path)
            assert shown.run("return document.documentElement.scrollWidth") <= 360
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_states_are_told_apart():
    words = {
        word: write_now(State(word), None)
        for word in ("running", "done", "interrupted", "stopped", "gone", "deleted", "damaged")
    }
    assert len(set(words.values())) == len(words)
