"""`lrsearch init`: a first spec, with the files it needs beside it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli import options
from lrsearch.cli.closing import say, write_file
from lrsearch.errors import SpecError, StorageFull, UsageError, suggest
from lrsearch.terminal import command_line, path_word, quote, visible_line

if TYPE_CHECKING:
    from lrsearch.spec.foreign.sweep import Left


def init(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The spec to write.")] = Path(
        "lrsearch.yaml"
    ),
    from_: Annotated[
        str | None,
        options.unset(
            "--from", "KIND", "mlp, csv, module, loop or command. Without it you are asked."
        ),
    ] = None,
    from_wandb: Annotated[
        Path | None,
        options.unset(
            "--from-wandb", "SWEEP", "Write the spec of a sweep of Weights & Biases, a YAML file."
        ),
    ] = None,
    from_optuna: Annotated[
        tuple[str, str] | None,
        options.unset(
            "--from-optuna",
            "STORAGE STUDY",
            "Write the spec of a study of Optuna's, in a file or at a URL.",
        ),
    ] = None,
) -> None:
    """Write a first spec to go on from, with a script where it needs one."""
    from lrsearch.spec.templates import TEMPLATES

    _check_path(path)
    if sum(each is not None for each in (from_, from_wandb, from_optuna)) > 1:
        raise UsageError("--from, --from-wandb and --from-optuna exclude each other")
    if from_wandb is not None:
        _take_sweep(path, from_wandb)
        return
    if from_optuna is not None:
        _take_study(path, *from_optuna)
        return
    kind = from_ if from_ is not None else _ask(path)
    if kind not in TEMPLATES:
        raise UsageError(
            f"'{kind}' is no kind of spec", where="--from", hint=suggest(kind, TEMPLATES)
        )
    template = TEMPLATES[kind]
    files = {path: template.spec}
    files |= {path.parent / name: content for name, content in template.files.items()}
    there = [each for each in files if each.exists()]
    if there:
        raise UsageError(
            f"{' and '.join(map(str, there))} exist{'s' * (len(there) == 1)} already",
            hint="nothing was written: name another file or folder, such as lrsearch init "
            f"{quote(path_word(Path('new', path.name)))} --from {kind}",
        )
    _write(files)
    written = visible_line(" and ".join(map(str, files)))
    print(f"written {written}: {template.doc}")
    if template.first:
        print(f"first: {template.first}")
    allow = f" {template.allow}" if template.allow else ""
    # Nothing of a command is run, or imported, to check it.
    checked = allow if "import" in allow else ""
    print(f"next: lrsearch check {quote(path_word(path))}{checked}")
    print(f"      lrsearch bayes {quote(path_word(path))}{allow}")


def _take_sweep(path: Path, sweep: Path) -> None:
    """Write the spec of a sweep. Raises UsageError where there is no such file, SpecError with the
    faults of one that is no sweep."""
    from lrsearch.spec import read_text
    from lrsearch.spec.document import read_document
    from lrsearch.spec.foreign.sweep import read_sweep, strategy_of
    from lrsearch.spec.foreign.sweep_checks import find_sweep_faults

    document = read_document(read_text(sweep), str(sweep))
    if faults := find_sweep_faults(document):
        raise SpecError(faults)
    text, left = read_sweep(document.data, str(sweep))
    _write_new(path, text, f"the sweep of {sweep}", left)
    print(f"next: lrsearch check {quote(path_word(path))}")
    strategy = strategy_of(document.data) if "\nsearch:\n" in text else "grid"
    print(f"      lrsearch {strategy} {quote(path_word(path))} --allow-command")


def _take_study(path: Path, storage: str, name: str) -> None:
    """Write the spec of a study. Raises UsageError as `read_study` does."""
    from lrsearch.search.study import read_study
    from lrsearch.spec.foreign.sweep import write_study

    study = read_study(storage, name)
    source = f"{storage} {name}"
    objective = (study.metric, study.goal)
    text, left = write_study(study.drawn, study.always, objective, study.trials, source)
    _write_new(path, text, f"the study {source}", left)
    print("first: make its objective a function of my_loop.py, as its comments say")
    print(f"next: lrsearch bayes {quote(path_word(path))} --allow-import my_loop")


def _write_new(path: Path, text: str, of: str, left: Sequence[Left]) -> None:
    """Write a spec made of something else, and say what of that has no counterpart, and what to do
    about it. Raises UsageError for a file that is there."""
    if path.exists():
        raise UsageError(f"{path} exists already", hint="nothing was written: name another file")
    _write({path: text})
    print(f"written {visible_line(str(path))}: {visible_line(of)}")
    if left:
        names = ", ".join(each.name for each in left)
        print(f"without a counterpart, comments in it: {visible_line(names)}")
    for each in left:
        if each.remark:
            print(f"  {visible_line(each.name)}: {visible_line(each.remark)}")


_OTHERS = (
    *(".txt", ".json", ".toml", ".ini", ".cfg", ".conf", ".py", ".md", ".xml", ".csv", ".jsonnet"),
    *(".yaml", ".yml", ".yaml_", ".yam", ".yl", ".ymal", ".yamll", ".spec", ".config", ".ipynb"),
)
"""Endings of other files, and of slips of this one's."""


def _check_path(path: Path) -> None:
    """Raises UsageError for a path that is no spec's file, or gives its run no name."""
    from lrsearch.spec.templates import TEMPLATES
    from lrsearch.spec.validate import NAME

    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint=f"such as {path / 'lrsearch.yaml'}")
    if path.suffix in (".yaml", ".yml") and NAME.fullmatch(path.stem):
        return
    # What follows the last dot of v1.5 is a part of its name.
    stem = path.stem if path.suffix.lower() in _OTHERS else path.name.rstrip(".")
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:64]
    stem = stem if NAME.fullmatch(stem) and f".{stem}" not in _OTHERS else "lrsearch"
    hint = f"such as {path.with_name(f'{stem}.yaml')}"
    if path.suffix in (".yaml", ".yml"):
        rule = "a letter or digit comes first, then at most 63 of A-Z a-z 0-9 . _ -"
        raise UsageError(f"{path}: '{path.stem}' cannot name a run", hint=f"{hint}; {rule}")
    if str(path) in TEMPLATES:
        line = command_line(["lrsearch", "init", f"{path}.yaml", "--from", str(path)])
        raise UsageError(f"{path} is a kind of spec", hint=f"write {line}")
    raise UsageError(f"{path} is no name of a spec", hint=hint)


def _write(files: Mapping[Path, str]) -> None:
    """Write new files, all or none. Raises UsageError where that is not possible, StorageFull where
    there is no room."""
    written: list[Path] = []
    path = next(iter(files))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            write_file(path, content.encode(), new=True)
            written.append(path)
    except (OSError, StorageFull) as error:
        for each in written:
            each.unlink(missing_ok=True)
        if isinstance(error, StorageFull):
            raise
        reason = error.strerror
        if not path.parent.is_dir() and isinstance(error, FileExistsError):
            reason = f"{path.parent} is no folder"
        raise UsageError(f"cannot write {path}: {reason}") from None


def _ask(path: Path) -> str:
    """Ask the user for the kind of spec. Raises UsageError where stdin is no terminal."""
    from lrsearch.spec.templates import TEMPLATES

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "which kind of spec?",
            where="--from",
            hint=f"allowed: {', '.join(TEMPLATES)}; such as: "
            + command_line(["lrsearch", "init", path_word(path), "--from", "mlp"]),
        )
    for name, template in TEMPLATES.items():
        say(f"  {name:8} {template.doc}")
    answer: str = typer.prompt("What do you train?", default="mlp", err=True)
    return answer.strip()
