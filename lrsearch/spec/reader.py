"""A document on its way to a spec, with the faults, notes and imports found so far."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path as FilePath
from typing import Any

from lrsearch.catalogue import DATA, GROUPS, MODELS, PRUNING, REQUIRED, SETTINGS, TRAIN, Parameter
from lrsearch.errors import Fault, is_slip, nearest, suggest
from lrsearch.spec.document import Document, Path, as_mapping
from lrsearch.spec.foreign.advice import advise, of_settings, tell_beside
from lrsearch.spec.foreign.lines import Advice, Line, show_advice
from lrsearch.spec.foreign.ranges import Fixed, read_foreign
from lrsearch.spec.foreign.translation import is_choice, model_argument
from lrsearch.spec.foreign.words import means
from lrsearch.spec.settling import settle
from lrsearch.spec.sources import example_of
from lrsearch.spec.values import AUTO, Unfit, check_value, find_epochs, is_auto, show, write

TOP_LEVEL = (
    "name",
    "data",
    "model",
    "train",
    "command",
    "loop",
    "params",
    "metrics",
    "timeout",
    "verify",
    "objective",
    "search",
    "random",
    "bayes",
    "refine",
    "confirm",
    "stop",
    "seeds",
    "seed",
    "max_failures",
    "save",
    "prune",
)
"""The keys of a spec."""

PLAIN: dict[str, Parameter] = {
    "seeds": Parameter("int", 1, low=1, high=10**6),
    "seed": Parameter("int", 0, low=0, high=2**31 - 1),
    "max_failures": Parameter("int", 10, low=0),
}
"""The keys of a spec that have one number."""

_BLOCKS = ("data", "model", "train", "search", *SETTINGS)
"""Keys whose values are no numbers."""

EXAMPLES = {"lr": 0.01, "budget": "20ep"}
"""Usual values of what every training has."""

_EXAMPLES: dict[str, Any] = {
    "int": 1,
    "float": 0.1,
    "bool": True,
    "duration": "0.05dur",
    "durations": ["0.5dur", "0.75dur"],
    "points": [["0.5dur", 0.1], ["0.75dur", 0.01]],
}
"""Values of parameters of a kind that have no default."""


@dataclass
class Reader:
    """A document that is read part by part, its faults collected instead of stopping at the first.

    Without `arithmetic` all text of a command's parameters is text. A `stored` spec has run: its
    command is not checked for slips. `outside` is a spec with a command or a loop, `fixed_under`
    names the keys that fixed values stand under. `promised` are the dotted paths that the hints of
    earlier faults fill.
    """

    document: Document
    folder: FilePath
    arithmetic: bool = True
    stored: bool = False
    outside: bool = False
    fixed_under: str = "train, model or data"
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)
    promised: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.faults += self.document.faults

    def fault(self, path: Path, message: str, hint: str = "") -> None:
        """Add a fault at a path of the document."""
        self.faults.append(self.document.fault(path, message, hint))

    def hint(self, path: Path, found: Advice) -> str:
        """An advice as the hint of a fault at a path."""
        if isinstance(found, list):
            found = [line for line in map(self._valid, found) if line is not None]
            for line in found:
                dotted = ".".join(map(str, line.path))
                inner = as_mapping(line.value)
                self.promised |= {dotted, *(f"{dotted}.{key}" for key in inner)}
        origins = self.document.origins
        option = any(path[:length] in origins for length in range(len(path) + 1))
        made = path not in self.document.lines
        option = option or (made and any(each[: len(path)] == path for each in origins))
        if isinstance(found, list) and not option:
            found = tell_beside(path, found, self.document.data)
        return show_advice(found, path, option=option)

    def _valid(self, line: Line) -> Line | None:
        """A line with what its value means, where it is one value of the training or of the top
        level; None where that is nothing valid. Any other line as it is."""
        table = TRAIN if line.path[0] == "train" and len(line.path) == 2 else {}
        parameter = PLAIN.get(str(line.path[0])) if len(line.path) == 1 else None
        parameter = parameter or table.get(str(line.path[-1]))
        searched = TRAIN.get(str(line.path[-1])) if line.path[0] == "search" else None
        searched = Parameter("float") if self.outside and isinstance(line.value, dict) else searched
        if searched is not None and len(line.path) == 2:
            found = self.settled(line.path, searched, line.value)
            return line if found is None else replace(line, value=found)
        if parameter is None or self.outside:
            return line
        try:
            return replace(line, value=self.fitted(line.path, parameter, line.value))
        except ValueError:
            return None

    def advice(self, path: Path, value: Any) -> str:
        """The hint for a key that is a word of another tool, or of another mapping; "" for any
        other key."""
        top, source = self.document.data, self.document.source
        found: Advice = of_settings(path, value, top)
        found = found or advise(path, value, top, outside=self.outside, source=source)
        return self.hint(path, found)

    def near(self, path: Path, key: str, allowed: Iterable[str]) -> str | None:
        """The nearest allowed name to an unknown key of the mapping at a path, if any: it is not
        told to be missing, too."""
        last = key.rpartition(".")[2]  # search.lr, self.max
        close = last if last in allowed else nearest(key, allowed)
        if close is not None:
            self.promised.add(".".join(map(str, (*path, close))))
        return close

    def meant(self, path: Path, key: str, close: str | None, value: Any) -> str:
        """The hint for an unknown key with a near one: the option to write where the key came by
        one, "" where none is near."""
        if close is None:
            return ""
        given = next(
            (each for each in self.document.origins if each[: len(path) + 1] == (*path, key)), ()
        )
        if not given:
            return f"did you mean '{close}'?"
        for inner in given[len(path) + 1 :]:
            value = value[inner]
        return Line((*path, close, *given[len(path) + 1 :]), value).show(path, option=True)

    def slip(
        self, path: Path, raw: Mapping[str, Any], names: Sequence[str], *, near: bool = False
    ) -> bool:
        """Whether a mapping lacks all of these names and a key is a slip of one: a fault then.
        `near` asks for a slip of one letter."""
        for key, value in {} if raw.keys() & {*names} else raw.items():
            close = nearest(str(key), names)
            if close is not None and (not near or is_slip(str(key), close)):
                hint = self.hint((*path, key), [Line((*path, close), value)])
                self.fault((*path, key), "unknown key", hint)
                self.rename(path, raw, key, close)
                return True
        return False

    def rename(self, path: Path, raw: Mapping[str, Any], key: str, meant: str | None) -> None:
        """Read a key of the mapping at a path, which has its fault, as the one that is meant, so
        that what is wrong with its value is told, too."""
        if meant is None or meant in raw or not isinstance(raw, dict):
            return
        raw[meant] = raw.pop(key)
        self.promised.add(".".join(map(str, (*path, meant))))
        for place, line in [*self.document.lines.items()]:
            if place[: len(path) + 1] == (*path, key):
                self.document.lines[(*path, meant, *place[len(path) + 1 :])] = line

    def misshaped(self, path: Path, raw: Any, told: str, hint: str = "") -> None:
        """Add a fault for a value that is no mapping: an empty one, or a list whose entries are the
        mapping's, is told as such, anything else by the words given."""
        if raw is None:
            self.fault(path, "it is empty", hint)
            return
        parts = raw if isinstance(raw, list) else []
        group = next(str(part) for part in reversed(path) if isinstance(part, str))
        tables: dict[str, Iterable[str]] = {"prune": PRUNING, "data": DATA, **GROUPS}
        named = {*tables.get(group, ())}
        meant: Any = None
        if parts and all(isinstance(part, Mapping) for part in parts):
            meant = {key: value for part in parts for key, value in part.items()}
        elif len(parts) == 1 and isinstance(parts[0], str) and parts[0] in named:
            meant = parts[0]
        elif len(parts) == 2 and isinstance(parts[0], str) and isinstance(parts[1], Mapping):
            meant = {"name": parts[0], **parts[1]}
        if meant:
            hint = self.hint(path, [Line(path, meant, "it is no list")])
        elif path[-1] in GROUPS and any(isinstance(part, str) and part in named for part in parts):
            hint = self.hint(path, [Line(("search", path[-1]), parts)])
        self.fault(path, f"{show(raw)} {told}", hint)

    def is_promised(self, *keys: str) -> bool:
        """Whether a line of an earlier hint fills one of these paths, or a part of it."""
        return any(
            path == key or path.startswith(f"{key}.") for path in self.promised for key in keys
        )

    def unknown(self, path: Path, raw: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
        """Faults for keys that are not allowed; the allowed ones are listed once."""
        bare = []
        for key in [*raw]:
            if key in allowed:
                continue
            # In confirm, seed is a slip of seeds, though at the top there is a seed, too.
            slip = bool(path) and key in TOP_LEVEL and f"{key}s" in allowed
            same = str(key).lower() in allowed  # Train: for train:
            slip = slip or self._is_block(path, str(key), raw[key], allowed)
            hint = "" if slip or same else self.advice((*path, key), raw[key])
            target = means(str(key))
            if path and not slip and target in allowed and target not in raw:
                hint = self.hint((*path, key), [Line((*path, target), raw[key])])
            hint = hint if hint or slip else self.misplaced((*path, key), raw[key])
            if hint:
                self.fault((*path, key), "unknown key", hint)
            else:
                bare.append(key)
        for key in bare:
            above = path in ((), ("train",)) and not self.outside
            model = self.document.data.get("model") if above else None
            argument = model_argument(str(key), {"model": model}) if model else ""
            # Other words may mean something of the training's: norm, say.
            argument = argument if not path or argument in (key, "hidden") else ""
            given = self._meant_for(model, argument, raw[key]) if argument else []
            if given:
                name = {"name": model} if isinstance(model, str) else as_mapping(model)
                line = Line(("model",), {**name, argument: given[0]})
                where = (*path, key)
                self.fault(where, "unknown key", self.hint(where, [line]))
                continue
            fitting = [name for name in allowed if self._fits(path, name, raw[key])]
            close = self.near(path, key, fitting)
            hint = self.meant(path, key, close, raw[key])
            self.rename(path, raw, key, close)
            if self.outside and not path and not close and re.fullmatch(r"[\w.-]+", str(key)):
                line = Line(("params", key), raw[key])
                self.fault((key,), "unknown key", self.hint((key,), [line]))
                continue
            hint = hint or f"leave '{key}' out"
            hint = suggest(key, allowed, hint) if key == bare[-1] else hint
            self.fault((*path, key), "unknown key", hint)

    def misplaced(self, path: Path, value: Any) -> str:
        """The hint for a key of the top level in another mapping; "" for any other."""
        *above, key = path
        if not above or key not in TOP_LEVEL or not self._fits((), str(key), value):
            return ""
        hint = self.hint(path, [Line((key,), value)])
        if isinstance(value, Mapping) and len(write(value)) > 80:
            return f"move {key}: and its lines to the top level, beside {path[0]}"
        return hint

    @staticmethod
    def _meant_for(model: Any, argument: str, value: Any) -> list[Any]:
        """The value that is meant for a model's argument, alone; none where it can be none."""
        name = model if isinstance(model, str) else as_mapping(model).get("name")
        entry = MODELS.get(name) if isinstance(name, str) else None
        try:
            if entry is not None and argument in entry.parameters:
                check_value(entry.parameters[argument], value)
        except Unfit as error:
            return [error.meant]
        except ValueError:
            return []
        return [value]

    @staticmethod
    def _is_block(path: Path, key: str, value: Any, allowed: Sequence[str]) -> bool:
        """Whether a key is a slip of that of a block by its value, though it is a word of its own
        elsewhere: mode: {name: mlp} is no mode."""
        close = nearest(key, allowed)
        if close is None or not is_slip(key, close):
            return False
        if path == ("train",) and close == "metrics":
            return isinstance(value, Mapping)
        named: Mapping[str, Any] = {"data": DATA, **GROUPS}.get(close, {})
        name = value.get("name", "") if isinstance(value, Mapping) else value
        own = isinstance(name, str) and name in named
        return own or (close in ("data", "model") and "class_path" in as_mapping(value))

    def _fits(self, path: Path, name: str, value: Any) -> bool:
        """Whether a value may be that of a known key: else an unknown key is no slip of that."""
        if name == "params" and not path:
            return self.outside
        parameter = PLAIN.get(name) if not path else TRAIN.get(name) if path == ("train",) else None
        if path and name in ("loss", "step", "metrics"):  # They may be code.
            return isinstance(value, Mapping) or (isinstance(value, str) and name != "metrics")
        if parameter is None:
            return bool(path) or name not in _BLOCKS or not isinstance(value, bool | int | float)
        try:
            check_value(parameter, value)
        except Unfit:
            return True
        except ValueError:
            return value is None
        return True

    def value(self, path: Path, parameter: Parameter, raw: Any) -> Any:
        """A value in its canonical form; a fault, and the value unchanged, where it is not
        valid."""
        if path in self.document.unread:
            return raw
        try:
            return check_value(parameter, raw)
        except Unfit as error:
            hint = self._searched(path, raw) if isinstance(raw, list) and len(raw) > 1 else ""
            hint = hint or self.unfit(path, parameter, error) or self._searched(path, raw)
            self.fault(path, str(error), hint or self._example(path, parameter))
        except ValueError as error:
            if isinstance(raw, str) and raw.startswith(("$", "{{")):
                hint = self._variable(path, parameter, raw)
            else:
                hint = self._nothing(path, parameter) if raw is None else ""
                fixed = read_foreign(raw) if isinstance(raw, Mapping) else None
                if isinstance(fixed, Fixed):  # {value: 10}
                    meant = settle(parameter, [fixed.value]) or []
                    hint = self.hint(path, [Line(path, meant[0])] if meant else None)
            hint = hint or self._searched(path, raw)
            self.fault(path, str(error), hint or self._example(path, parameter))
        return raw

    def _searched(self, path: Path, raw: Any) -> str:
        """The hint for a list or a range in place of a fixed value of the training, which belongs
        under search; "" for any other value."""
        if path[0] != "train" or len(path) != 2:
            return ""
        meant = read_foreign(raw)
        meant = raw if meant is None else meant
        if path[1] == "lr" and is_auto(raw):
            points = raw.get("points") if isinstance(raw, Mapping) else None
            value = {AUTO: True, "points": points} if type(points) is int else AUTO
            return self.hint(path, [Line(("search", "lr"), value)])
        parameter = TRAIN.get(str(path[1]))
        if parameter is None or not is_choice(".".join(map(str, path)), meant):
            return ""
        found = self.settled(path, parameter, meant)
        return self.hint(path, [Line(("search", str(path[1])), found)]) if found else ""

    def settled(self, path: Path, parameter: Parameter, meant: Any) -> Any:
        """The valid range or list of a parameter nearest to one that is meant; None where there is
        none."""
        return settle(parameter, meant, partial(self.fitted, path))

    def fitted(self, path: Path, parameter: Parameter, value: Any) -> Any:
        """A value where it is valid, else what it means. Raises ValueError where that is nothing
        valid."""
        try:
            check_value(parameter, value)
        except Unfit as error:
            value = self.fitting(path, error)[0]
            check_value(parameter, value)
        return value

    def _nothing(self, path: Path, parameter: Parameter) -> str:
        """The hint for a value that is none: what a comment took in, or else a usual value."""
        eaten = self.document.eaten.get(path)
        if eaten:
            return f"what follows # is a comment: write {path[-1]}: {eaten}"
        given = path in self.document.lines or path in self.document.origins
        line = self.usual(path, parameter) if given else None
        return self.hint(path, [line] if line else None)

    def _example(self, path: Path, parameter: Parameter) -> str:
        """The hint for a value of which nobody knows what it means: a line that is valid there."""
        line = self.usual(path, parameter)
        return self.hint(path, [replace(line, remark="for example")] if line else None)

    def usual(self, path: Path, parameter: Parameter) -> Line | None:
        """The line of a usual value of a parameter, None where there is none."""
        key, value, top = path[-1], parameter.default, as_mapping(self.document.data)
        if isinstance(key, int):
            return None
        if path[0] == "data" and key in ("source", "target"):
            value = example_of(key, as_mapping(top.get("data")), self.folder)
        elif parameter.kind == "bool":
            value = not parameter.default  # Nobody writes what holds anyway.
        elif value is None and parameter.choices:
            value = parameter.choices[0]
        elif path == ("prune", "budget") and {"command", "loop"} & top.keys():
            value = 90  # Where rungs have to know it.
        elif value is REQUIRED:
            examples = EXAMPLES if parameter is TRAIN.get(key) else {}
            first = next(iter(parameter.choices), REQUIRED)
            value = examples.get(key, _EXAMPLES.get(parameter.kind, first))
            if parameter.kind == "int" and parameter.low is not None:
                value = max(_EXAMPLES["int"], int(parameter.low))
        return None if value is REQUIRED else Line(path, value)

    def _variable(self, path: Path, parameter: Parameter, raw: str) -> str:
        """The hint for a variable of the environment, or of a template, in place of a value."""
        dotted = ".".join(map(str, path))
        told = f"; or, for a shell: --set {dotted}={raw}" if raw.startswith("$") else ""
        usual = "; ".join(filter(None, [self._example(path, parameter), told.removeprefix("; ")]))
        return f"nothing is put in there: {usual or 'write the value'}"

    def unfit(self, path: Path, parameter: Parameter, error: Unfit) -> str:
        """The hint for a value whose meaning is known: the line to write, where it is valid
        there."""
        try:
            check_value(parameter, error.meant)
        except ValueError:
            return ""
        meant, remark = self.fitting(path, error)
        return self.hint(path, [Line(path, meant, remark)])

    def fitting(self, path: Path, error: Unfit) -> tuple[Any, str]:
        """The length that a number means: steps where so many epochs are beyond the training."""
        lengths = error.meant if isinstance(error.meant, list) else [error.meant]
        train = self.document.data.get("train")
        given = train.get("budget") if isinstance(train, Mapping) else None
        budget = find_epochs(given)
        if "epochs" in error.remark and str(given).endswith("ba"):  # The training counts steps.
            steps = [f"{str(each)[:-2]}ba" for each in lengths]
            meant = steps if isinstance(error.meant, list) else steps[0]
            return meant, "that is steps, as those of the budget"
        epochs = [find_epochs(each) for each in lengths]
        # A warmup as long as the training leaves nothing of it.
        most = budget and budget * (1 - 1e-9 if "warmup" in path else 1)
        beyond = most and any(each and each > most for each in epochs)
        number = "epochs" in error.remark
        if not beyond or not (number or "warmup" in path):
            return error.meant, error.remark
        train, data = as_mapping(train), as_mapping(self.document.data).get("data")
        known = DATA.get(str(data.get("name") if isinstance(data, Mapping) else data))
        batch = train.get("batch_size", TRAIN["batch_size"].default)
        samples = known.samples if known and type(batch) is int and batch > 0 else None
        longer = budget and samples and (epochs[0] or 0) >= budget * samples / batch
        if "warmup" in path and (longer or not number):
            return "0.05dur", "the training is no longer than that"
        steps = [f"{str(each)[:-2]}ba" for each in lengths]
        meant = steps if isinstance(error.meant, list) else steps[0]
        return meant, f"that is steps: the training has {budget:g} epochs"

    def search_path(self, dotted: str) -> Path:
        """The place of a searched parameter in the document, nested or dotted."""
        for path in self.document.lines:
            if path and path[0] == "search" and ".".join(map(str, path[1:])) == dotted:
                return path
        return ("search", dotted)

    def sound(self, *places: str | Path) -> bool:
        """Whether there is no fault at these places, paths or dotted, or below them."""
        keys = [each if isinstance(each, str) else ".".join(map(str, each)) for each in places]
        return not any(
            fault.key == key or fault.key.startswith(key + ".")
            for fault in self.faults
            for key in keys
        )
