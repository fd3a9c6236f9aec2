"""The commands that go on with a run: what to paste next."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrsearch.cli.places import USUAL_RUNS
from lrsearch.cli.slips import list_specs
from lrsearch.errors import FIRST_SPEC, LrsearchError, RunError
from lrsearch.spec.document import read_document
from lrsearch.spec.model import Spec
from lrsearch.spec.validate import NAME
from lrsearch.store import History, list_runs, names
from lrsearch.terminal import command_line, path_word
from lrsearch.trial import CONFIRM


def spec_name(path: Path) -> str:
    """The run's name in a spec, even if the rest of it is faulty."""
    from lrsearch.spec import read_text

    data = read_document(read_text(path), str(path)).data
    name = data.get("name", path.stem) if isinstance(data, Mapping) else path.stem
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise RunError(f"'{name}' cannot name a run", where=str(path))
    return name


def name_run(folder: Path, spec: Spec) -> list[str]:
    """The run's name for a reading command: its spec where that leads to the run, else its
    folder."""
    usual = folder == USUAL_RUNS / spec.name
    with contextlib.suppress(LrsearchError):
        if usual and spec_name(Path(spec.source)) == spec.name:
            return [path_word(spec.source)]
    return [path_word(folder)]


def resuming(folder: Path, spec: Spec, history: History, strategy: str) -> list[str]:
    """The command of the latest session of a strategy, as the user gave it."""
    commands = {each["strategy"]: each["spec"].get("command") for each in history.sessions}
    plain = ["lrsearch", strategy, path_word(spec.source)]
    if folder.parent != USUAL_RUNS:
        plain += ["--runs", str(folder.parent)]
    given: Any = commands.get(strategy)
    words = isinstance(given, list) and all(isinstance(word, str) for word in given)
    # A journal may come from anywhere: what is shown for copying begins as what lrsearch writes.
    if not words or given[:2] != plain[:2]:
        return plain
    if len(given) > 2 and Path(spec.source).is_file() and not Path(given[2]).exists():  # It moved.
        return [*plain[:3], *without(given[3:], "--runs"), *plain[3:]]
    return list(given)


def beginning(root: Path) -> str:
    """The lines that say how a first run under `root` is begun, for those who have none."""
    specs = list(list_specs())
    first = searching_first(specs[0], root) if specs else FIRST_SPEC
    told = f"begin one with: {first}" if specs else f"begin with a spec: {first}"
    near = next((each for each in (Path(), Path(".."), Path("../runs")) if _holds_runs(each)), None)
    if near is not None and near.resolve() != root.resolve():
        return f"there are runs in {near.resolve()}: write --runs {near}\n  {told}"
    return f"{told}\n  --runs DIR says where other runs are"


def _holds_runs(root: Path) -> bool:
    """Whether there are runs in a folder that this user may read."""
    try:
        return bool(names(root))
    except RunError:
        return False


def runs_there(root: Path, name: str) -> str:
    """The names of the runs in a folder, the nearest to `name` first, for an error; where there are
    none, where others are, and how a first one is begun."""
    told = list_runs(root, name)
    return told if _holds_runs(root) else f"{told}\n  {beginning(root)}"


def searching_first(
    config: object, root: Path, overrides: Sequence[str] = (), consents: Sequence[str] = ()
) -> str:
    """The command of a search that makes a run under `root`, with the options of another command
    that decide what is trained, and what the spec may do."""
    words = ["lrsearch", "bayes", path_word(config)]
    words += [word for each in overrides for word in ("--set", each)]
    if root != USUAL_RUNS:
        words += ["--runs", path_word(root)]
    return command_line([*words, *consents])


_OWN = ("--trials", "--time", "--until", "--require", "--baseline", "--top", "--seeds")
"""Options with a value that say how one command goes, not what the run is."""

_KEPT = ("--set", "--runs", "--workers", "--device", "--executor", "--engine", "--lanes")
"""Options with a value that a command after a search is given, too."""

_CONSENTS = ("--allow-command",)
"""Options without a value that it is given, too."""


def without(command: Sequence[str], option: str) -> list[str]:
    """A command without an option that takes a value."""
    found, words = [], iter(command)
    for word in words:
        if word == option:
            next(words, None)
        elif not word.startswith(f"{option}="):
            found.append(word)
    return found


def confirming(folder: Path, spec: Spec, history: History, strategy: str) -> list[str]:
    """The command that confirms a run, whose latest session was of the strategy: its spec, with the
    options of that session that say what is trained, and where."""
    session = resuming(folder, spec, history, strategy)
    found, words = ["lrsearch", CONFIRM, session[2]], iter(session[3:])
    for word in words:
        name, equals, _ = word.partition("=")
        if name in (*_KEPT, "--allow-import"):
            found += [word] if equals else [word, next(words, "")]
        elif name in _CONSENTS:
            found.append(word)
        elif name in _OWN and not equals:
            next(words, "")
    return found
