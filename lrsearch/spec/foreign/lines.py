"""Lines of a spec as a fault shows them: what to write, and where."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lrsearch.spec.values import write
from lrsearch.terminal import quote

Path = tuple[str | int, ...]

LONGEST = 300
"""Characters of a value that a line shows."""


@dataclass(frozen=True)
class Line:
    """A line of a spec: `value` at `path`; `remark` is a further note."""

    path: Path
    value: Any
    remark: str = ""

    def show(self, at: Path, *, option: bool = False) -> str:
        """Write the line as the hint of a fault at a path of the document, or of an `option`
        --set."""
        tail = f"; {self.remark}" if self.remark else ""
        *above, key = self.path
        if option and (given := self.option()):
            if len(given) > LONGEST:
                return f"write it as --set {'.'.join(map(str, self.path))}=...{tail}"
            return f"write {given}{tail}"
        if isinstance(key, int):
            shown = write(self.value)
            return f"write {shown if len(shown) <= LONGEST else shown[:LONGEST] + '...'}{tail}"
        replaced = at[: len(self.path)] == self.path
        place = ""
        if not replaced and tuple(above) != at[:-1]:
            place = f" under {'.'.join(map(str, above))}" if above else " at the top level"
        shown = write(self.value, block=len(self.path) == 1)
        if len(shown) > LONGEST:
            return f"write it as {key}{place} (it is too long to show){tail}"
        return f"write {key}: {shown}{place}{tail}"

    def option(self) -> str:
        """The option --set that puts the value there, "" within a list, where none can."""
        if any(isinstance(part, int) for part in self.path):
            return ""
        text = f"{'.'.join(map(str, self.path))}={write(self.value)}"
        return f"--set {quote(text)}"


Advice = list[Line] | str | None
"""Lines to write, or a sentence where no line says it."""


def merge(lines: list[Line]) -> list[Line]:
    """Lines of one place as one, the later of two that exclude each other."""
    found: dict[Path, Line] = {}
    for line in lines:
        earlier = found.get(line.path)
        if earlier and isinstance(earlier.value, dict) and isinstance(line.value, dict):
            line = replace(line, value={**earlier.value, **line.value})
        found[line.path] = line
    return list(found.values())


def show_advice(advice: Advice, at: Path, *, option: bool) -> str:
    """An advice as a hint of a fault at a path: each line on a line of its own, options --set on
    one."""
    if advice is None:
        return ""
    if isinstance(advice, str):
        return advice
    given = [line.option() for line in advice] if option else []
    if len(given) > 1 and all(given) and max(map(len, given)) <= LONGEST:
        told = "; ".join(["", *filter(None, (line.remark for line in advice))])
        return f"write {' '.join(given)}{told}"
    return "\n  ".join(line.show(at, option=option) for line in advice)
