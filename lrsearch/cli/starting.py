"""`lrsearch init`: a first spec, with what it needs beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lrsearch.cli.closing import say
from lrsearch.errors import UsageError, suggest


def init(
    path: Annotated[Path, typer.Argument(help="The spec to write.")] = Path("lrsearch.yaml"),
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="KIND",
            help="mlp, csv, module, loop or command. Without it you are asked.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a first spec to go on from, with a script where it needs one."""
    from lrsearch.spec.templates import TEMPLATES

    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(
            f"{path} is no name of a spec", hint=f"such as {path.with_suffix('.yaml')}"
        )
    kind = from_ if from_ is not None else _ask()
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
            f"{' and '.join(map(str, there))} exists already",
            hint="nothing was written: name another file or folder, such as lrsearch init new/"
            + path.name,
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for each, content in files.items():
            each.write_text(content, "utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    print(f"written {' and '.join(map(str, files))}: {template.doc}")
    allow = f" {template.allow}" if template.allow else ""
    # Nothing of a command is run, or imported, to check it.
    checked = allow if "import" in allow else ""
    print(f"next: lrsearch check {path}{checked}")
    print(f"      lrsearch bayes {path}{allow}")


def _ask() -> str:
    """The kind a person chooses. Raises UsageError where there is nobody to ask."""
    from lrsearch.spec.templates import TEMPLATES

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "which kind of spec?", where="--from", hint=f"allowed: {', '.join(TEMPLATES)}"
        )
    for name, template in TEMPLATES.items():
        say(f"  {name:8} {template.doc}")
    answer: str = typer.prompt("What do you train?", default="mlp", err=True)
    return answer.strip()
