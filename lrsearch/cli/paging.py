"""The page of a run, from its folder: what the view has not, and the file it is written to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lrsearch.analysis.decimals import in_decimals
from lrsearch.cli.closing import say, write_file
from lrsearch.cli.endings import check_ending
from lrsearch.cli.exporting import export_text
from lrsearch.cli.stored import StoredRun, Unsearched, view_run
from lrsearch.errors import LrsearchError, UsageError
from lrsearch.reports.code import TARGETS, Setting, write_code
from lrsearch.reports.page import Making, choose_curves, write_page
from lrsearch.reports.text import format_bytes, format_params
from lrsearch.reports.view import RunView, build_view
from lrsearch.spec.export import export_train
from lrsearch.spec.model import steps_of
from lrsearch.store import read_curve
from lrsearch.terminal import command_line, path_word, quote, visible_line
from lrsearch.trial import Config, Objective

MARK = "<!doctype html>"
"""The beginning of a page: a file that begins so is written over."""

_OTHERWISE = {
    ".pdf": "a browser prints the page as one",
    ".csv": "or --csv, which prints the points",
    ".json": "or --json, which prints all",
    ".md": "or --markdown, which prints a summary",
    ".xml": "or --junit FILE, a test report",
}
"""Other forms of a report, by the endings of their files."""

MOST_SPEC = 65_536
"""Characters of a spec: no longer one is read by lrsearch itself."""

MOST_COMMANDS = 5
"""Commands that made a run and are shown, the last ones."""

TITLES = {
    "pytorch": "PyTorch",
    "lightning": "Lightning",
    "huggingface": "Hugging Face",
    "keras": "Keras",
}


def write_report(run: StoredRun | Unsearched, path: Path) -> None:
    """Write the page of a run, and say so. Raises UsageError for a file that is no page, or cannot
    be written."""
    _check(path)
    if isinstance(run, Unsearched):
        view, making = view_tests(run), Making()
    else:
        view = view_run(run)
        making = gather(run, view)
    text = write_page(view, making)
    content = text.encode("utf-8", "backslashreplace")  # Half a surrogate pair is no UTF-8.
    try:
        write_file(path, content)
    except OSError as error:
        told = f"cannot write {path}: {error.strerror}"
        hint = f"make its folder first: mkdir -p {quote(path_word(path.parent))}"
        hint = "" if path.parent.is_dir() else hint
        raise UsageError(told, where="--html", hint=hint) from None
    size = format_bytes(len(content))
    say(f"wrote {visible_line(str(path))} ({size}), the page of run {visible_line(run.name)}")


def _check(path: Path) -> None:
    if path.is_dir():
        raise UsageError(
            f"{path} is a folder", where="--html", hint=f"--html {path / 'report.html'}"
        )
    begun = b""
    if path.is_file():  # Of a pipe nothing would ever come.
        try:
            with path.open("rb") as file:
                begun = file.read(len(MARK))
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}", where="--html") from None
    if begun and begun.lower() != MARK.encode():
        raise UsageError(
            f"{path} exists, and is no page: it is not written over",
            where="--html",
            hint="name another file, such as --html report.html",
        )
    check_ending(path, "--html", "HTML", (".html", ".htm"), _OTHERWISE)


def view_tests(run: Unsearched) -> RunView:
    """A view of range tests alone."""
    from dataclasses import replace

    view = build_view(run.name, run.name, Objective("loss", "min"), [])
    return replace(view, ranges=run.ranges)


def gather(run: StoredRun, view: RunView) -> Making:
    """All that a page shows of a run besides its view."""
    session = run.history.sessions[-1]
    facts: Mapping[str, Any] = session["facts"]
    samples = max(map(int, facts.get("train_samples") or ()), default=0)
    curves = {number: _curve(run, number) for number in choose_curves(view)}
    return Making(
        command=_commands(run),
        codes=list(_codes(run, view, samples)),
        curves={number: curve for number, curve in curves.items() if curve},
        samples=samples,
        facts=list(_facts(run, facts)),
        spec=_spec(run),
        edge_command=_search(run),
    )


def _commands(run: StoredRun) -> str:
    """The commands that made a run, a line each, as the user gave them."""
    found = (command_line(_given(run, session)) for session in run.history.sessions)
    return "\n".join(list(dict.fromkeys(found))[-MOST_COMMANDS:])


def _given(run: StoredRun, session: Mapping[str, Any]) -> list[str]:
    """The command of a session, by its words. A journal may come from anywhere: what is shown for
    copying begins as what lrsearch writes."""
    words, plain = session["spec"].get("command"), ["lrsearch", str(session["strategy"])]
    if isinstance(words, list) and words[:2] == plain:
        return list(map(str, words))
    return [*plain, path_word(run.spec.source)]


def _search(run: StoredRun) -> list[str]:
    """The command of the latest search over the spec's whole space, [] where there was none: it
    takes another range."""
    known = ("grid", "random", "bayes")
    sessions = [each for each in run.history.sessions if each["strategy"] in known]
    return _given(run, sessions[-1]) if sessions else []


def _spec(run: StoredRun) -> str:
    """The spec as first given, as the folder has it; "" where it was lost."""
    try:
        return (run.folder / "spec.yaml").read_text("utf-8", errors="replace")[:MOST_SPEC]
    except OSError:
        return ""


def _curve(run: StoredRun, number: int) -> Mapping[str, list[float]]:
    """Read a curve, empty where its file was lost: it is no part of the journal."""
    with contextlib.suppress(LrsearchError, OSError):
        return read_curve(run.folder, number)
    return {}


def _counted(number: object) -> str:
    """A number of samples as the data are described; a journal may come from anywhere."""
    return f"{number:,}" if isinstance(number, int) else str(number)


def _facts(run: StoredRun, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Labels and values on the machine, the versions, the parts, the data and the code."""
    if facts.get("device_name") or facts.get("device"):
        yield "device", str(facts.get("device_name") or facts["device"])
    versions = facts.get("versions")
    if isinstance(versions, Mapping) and versions:
        yield "versions", ", ".join(f"{name} {version}" for name, version in versions.items())
    parts = [
        f"{'/'.join(map(_counted, facts[name]))} {word}"
        for name, word in (("train_samples", "training"), ("validation_samples", "validation"))
        if facts.get(name)
    ]
    if facts.get("test_samples"):
        parts.append(f"{_counted(facts['test_samples'])} test")
    if parts:
        yield "samples", ", ".join(parts)
    if run.spec.kind is None:
        data = {
            name: run.spec.data[name]
            for name in ("validation", "test", "split_seed")
            if run.spec.data.get(name) is not None
        }
        if data:
            yield "splits", format_params(data)
    if facts.get("parameters"):
        yield "parameters", f"{facts['parameters']:,} of the first model"
    if facts.get("data_hash"):
        yield "data hash", str(facts["data_hash"])
    for name, value in (facts.get("source_hashes") or {}).items():
        yield "source hash", f"{name} {value}"
    yield "sessions", str(len(run.history.sessions))


# the code of the recommended point


def _codes(run: StoredRun, view: RunView, samples: int) -> Iterator[tuple[str, str]]:
    """Titles and texts: the spec of the recommended point, and, of a training of lrsearch's own,
    its code for each target, or why there is none."""
    if view.answer is None:
        return
    point = view.answer.recommended.point
    if run.spec.kind is not None:
        yield "YAML", export_text(run, view, point)
        return
    model = any(name.split(".")[0] == "model" for name in view.answer.recommended.params)
    yield "YAML", export_train(_config(run, point), model=model)
    for target in TARGETS:
        try:
            yield TITLES[target], write_code(target, setting_of(run, view, point, samples))
        except LrsearchError as error:
            yield TITLES[target], f"# {error.message}\n"


def _config(run: StoredRun, point: int) -> Config:
    return next(each.config for each in run.ledger.entries.values() if each.number == point)


def setting_of(run: StoredRun, view: RunView, point: int, samples: int | None = None) -> Setting:
    """The training of a point, to be written as code. Raises UsageError for one outside lrsearch,
    and where the steps are not known."""
    if run.spec.kind is not None:
        raise UsageError(
            f"the training is a {run.spec.kind} of your own, whose code nobody knows here",
            where="--format",
            hint="--format yaml writes its parameters as a spec",
        )
    facts = run.history.sessions[-1]["facts"]
    if samples is None:
        samples = max(map(int, facts.get("train_samples") or ()), default=0)
    config = _config(run, point)
    train = dict(config["train"])
    counted, size, batch = config, samples, None
    passes = (facts.get("passes") or {}).get(str(train["batch_size"]))
    if passes:  # A loader with an order of its own has batches of other sizes, too.
        size, batch = int(passes[0]), float(passes[1])
        counted = {**config, "train": {**train, "batch_size": passes[1]}}
    if not size:
        raise UsageError("the steps of the training are not known", where="--format")
    title = f"point {point} of {view.name}: {_worth(view, point)}"
    steps = steps_of(counted, size)
    task = str(facts.get("task") or "")
    found = next(each for each in view.points if each.point == point).params
    beside = {name: found[name] for name in found if name.split(".")[0] in ("model", "data")}
    return Setting(train, size, steps, title, batch, config["data"], task, beside, config["model"])


def _worth(view: RunView, point: int) -> str:
    """The worth of a point, in words."""
    answer = view.answer
    value = next(each.objective for each in view.points if each.point == point)
    if answer is not None and answer.recommended.point == point:
        value = answer.value
    return "not measured" if value is None else f"{view.objective.metric} {in_decimals(value)}"
