"""The folder of a run that a command's argument means."""

from __future__ import annotations

from pathlib import Path

from lrsearch.cli.going_on import beginning, runs_there, searching_first, spec_name
from lrsearch.errors import LrsearchError, RunError, UsageError
from lrsearch.store import holds_run, list_runs, names, newest
from lrsearch.terminal import path_word, quote


def find_run(target: str | None, root: Path) -> Path:
    """The folder a report's argument means: the newest run, the run of a spec (by its name
    alone), a run's folder, the newest run of a folder of runs, or a run's name under `root`.
    Raises RunError, which names the runs there are, or UsageError for a spec that is not there."""
    if target is None:
        if not names(root):
            raise RunError(f"there are no runs in {root} yet", hint=beginning(root))
        return newest(root)
    if not target.strip():
        raise UsageError("the run's name is empty", hint=runs_there(root, ""))
    path = Path(target)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:  # Its name is too long, or a folder may not be looked into.
        told = f"{path} is not a run: {error.strerror}"
        raise RunError(told, hint=runs_there(root, "")) from None
    if is_file and (path.parent / "run.json").is_file() and path.name != "spec.yaml":
        run = quote(path_word(path.parent))
        raise UsageError(f"{path} is a file of a run", hint=f"write the run's folder: {run}")
    if is_file:
        folder = root / spec_name(path)
        if folder.is_dir():
            return folder
        raise _unsearched(path, folder)
    if is_folder:
        if names(path) and not (path / "run.json").exists():
            return newest(path)
        found = [each for each in (path, root / path) if holds_run(each)]
        if found:
            return found[0]
        there = path.parent if names(path.parent) else root
        raise RunError(f"{path} is not a run", hint=runs_there(there, path.name))
    if path.suffix in (".yaml", ".yml"):
        raise _missing_spec(path, root)
    # A path says where to look; a name is one under `root`, as is what leads nowhere else.
    folder = path if len(path.parts) > 1 and not (root / path).is_dir() else root / path
    if not folder.is_dir():
        for spec in (path.with_name(f"{path.name}{end}") for end in (".yaml", ".yml")):
            if spec.is_file():
                raise RunError(
                    f"{folder} is not a run",
                    hint=f"did you mean the spec {quote(path_word(spec))}?\n  "
                    + runs_there(folder.parent if names(folder.parent) else root, folder.name),
                )
        there = folder.parent if names(folder.parent) else root
        raise RunError(f"{folder} is not a run", hint=runs_there(there, folder.name))
    return folder


def _unsearched(path: Path, folder: Path) -> RunError:
    """The error for a spec with no run of its name; it may have been searched under another one."""
    root, text = folder.parent, _read_bytes(path)
    # A run's folder has the text of the spec that it was first searched with.
    others = [name for name in names(root) if _read_bytes(root / name / "spec.yaml") == text]
    if others and text is not None:
        shown = ", ".join(map(quote, others))
        return RunError(
            f"there is no {folder}: {path} was searched under another name",
            hint=f"write, in place of {quote(path_word(path))}, the run's name: {shown}",
        )
    begin = f"begin with: {searching_first(path, root)}"
    return RunError(
        f"nothing was searched with {path} yet: there is no {folder}",
        hint=f"{begin}\n  {list_runs(root, folder.name)}",
    )


def _read_bytes(path: Path) -> bytes | None:
    """The bytes of a file, None where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _missing_spec(path: Path, root: Path) -> LrsearchError:
    """The error for a spec that does not exist: it names the specs and runs there are."""
    from lrsearch.spec import read_text

    try:
        read_text(path)
    except LrsearchError as error:
        runs = runs_there(root, path.stem)
        # It is a run that is asked for: other specs than one of that name are no help.
        own = error.hint if error.hint.startswith("did you mean") else ""
        hint = f"{own}\n  {runs.rpartition('? ')[2]}" if own else runs
        return type(error)(error.message, where=error.where, hint=hint)
    return RunError(f"{path} is no spec")  # It has come into being meanwhile.
