"""`lrsearch compare`: runs side by side."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lrsearch.cli import options
from lrsearch.cli.closing import print_exactly, say
from lrsearch.errors import UsageError

if TYPE_CHECKING:
    from lrsearch.analysis.contest import Contender
    from lrsearch.cli.stored import StoredRun
    from lrsearch.reports.contest import Contest
    from lrsearch.reports.view import RunView
    from lrsearch.spec.model import Spec

SPLIT = ("validation", "split_seed", "validation_seed", "test")
"""Values of a spec's `data` that say which samples are held out."""


def compare(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Runs by name, folder or spec.", show_default=False),
    ],
    runs: options.Runs = options.USUAL_RUNS,
    json: options.Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """Show runs side by side, and which differences are more than noise."""
    from lrsearch.cli.stored import open_stored, view_run
    from lrsearch.reports import contest

    if json and markdown:
        raise UsageError("--json and --markdown exclude each other")
    if len(targets) < 2:
        raise UsageError(
            "there is one run, and nothing to compare it with",
            hint=f"write lrsearch compare {targets[0]} ANOTHER; lrsearch list names the runs",
        )
    stored = [open_stored(each, runs) for each in targets]
    folders = [each.folder.resolve() for each in stored]
    if len(set(folders)) < len(folders):
        twice = next(each for each in folders if folders.count(each) > 1)
        raise UsageError(f"{twice.name} is named twice", hint="name each run once")
    found = hold([(run, view_run(run)) for run in stored])
    if json:
        print_exactly(contest.contest_json(found) + "\n")
    elif markdown:
        print_exactly(contest.contest_markdown(found))
    else:
        from lrsearch.reports.tables import open_console

        console = open_console(sys.stdout)
        console.print(contest.contest_table(found, console.width))


def hold(runs: Sequence[tuple[StoredRun, RunView]]) -> Contest:
    """Hold runs against each other, two by two."""
    from lrsearch.analysis.contest import compare_all
    from lrsearch.reports.contest import Contest

    counted = Counter(view.name for _, view in runs)
    names = [view.name if counted[view.name] == 1 else view.folder for _, view in runs]
    contenders = [_contender(name, *each) for name, each in zip(names, runs, strict=True)]
    named = [(name, view) for name, (_, view) in zip(names, runs, strict=True)]
    settings = find_settings([run.spec for run, _ in runs])
    return Contest(named, compare_all(contenders), settings)


def find_settings(specs: Sequence[Spec]) -> list[dict[str, Any]]:
    """The settings of each spec that not all the others have, as they are written, by the dotted
    path. Equal values are no difference, however they are written; defaults are values, but where
    another spec has no such setting, as other data have none."""
    given = [{each.path: each for each in _settings(spec)} for spec in specs]
    apart = []
    for path in dict.fromkeys(path for each in given for path in each):
        found = [each[path] for each in given if path in each]
        lacking = len(found) < len(given) and any(each.written for each in found)
        if lacking or any(each.value != found[0].value for each in found):
            apart.append(path)
    return [{path: each[path].shown for path in apart if path in each} for each in given]


class _Setting(NamedTuple):
    """A setting of a spec: its value with every default, the value as it is `shown`, and whether it
    is written."""

    path: str
    value: Any
    shown: Any
    written: bool = True


def _settings(spec: Spec) -> Iterator[_Setting]:
    """The settings of a spec; where a value is searched, the search says it."""
    document = spec.document
    searched = document.get("search") or {}
    if spec.outside is not None and spec.kind is not None:
        yield _Setting(spec.kind, spec.outside.text, spec.outside.text)
        yield from (_Setting(f"params.{name}", value, value) for name, value in spec.train.items())
    else:
        yield _Setting("model", spec.model, document.get("model"))
        for head, filled in (("data", spec.data), ("train", spec.train)):
            written = document.get(head)
            written = written if isinstance(written, Mapping) else {}
            for name, value in filled.items():
                path = f"{head}.{name}"
                if path in searched or (head == "train" and name in searched):
                    continue
                yield _Setting(path, value, written.get(name, value), name in written)
    for name, value in searched.items():
        yield _Setting(f"search.{name}", value, value)
    yield _Setting("seeds", spec.seeds, spec.seeds)


def tell_apart(folder: Path, baseline: str, runs: Path) -> None:
    """Note where a baseline was measured on other samples than the run."""
    from lrsearch.analysis.contest import data_apart, find_doubts
    from lrsearch.cli.stored import open_stored, view_run

    both = [open_stored(str(folder), runs), open_stored(baseline, runs)]
    views = map(view_run, both)
    one, other = (_contender(view.name, run, view) for run, view in zip(both, views, strict=True))
    if reasons := data_apart(one, other):
        say(f"note: {other.name} is no baseline of {one.name}: {'; '.join(reasons)}")
    elif doubts := find_doubts(one, other):
        what = "; ".join(doubts)
        say(f"note: {other.name} is a baseline of {one.name} if both measure the same: {what}")


def _contender(name: str, run: StoredRun, view: RunView) -> Contender:
    from lrsearch.analysis.contest import Contender

    facts: dict[str, Any] = run.history.sessions[-1]["facts"]
    split = {key: run.spec.data[key] for key in SPLIT if run.spec.data.get(key) is not None}
    outside = run.spec.outside
    return Contender(
        name,
        view.objective,
        view.answer,
        str(facts.get("data_hash") or ""),
        split,
        f"the {run.spec.kind} {outside.text}" if outside is not None else "",
        (facts.get("source_hashes") or {}) if outside is not None else {},
    )
