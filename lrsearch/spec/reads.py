"""Names that the source of a user's loop reads of its trial, and metrics that it reports.

The source is parsed, nothing is run, and only what is certain counts: where the trial or its
parameters are handed on, any name may be read.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from lrsearch.catalogue import METRICS
from lrsearch.errors import Fault, is_slip, nearest
from lrsearch.spec.document import Document, Path, as_mapping
from lrsearch.spec.foreign import names as foreign_names
from lrsearch.spec.foreign.lines import Line, show_advice
from lrsearch.spec.foreign.words import find_alike
from lrsearch.spec.modules import Found, find_module
from lrsearch.spec.parsers import last_name
from lrsearch.spec.reader import TOP_LEVEL

_ANY_NAME = ("locals", "vars", "globals", "eval", "exec")
"""Functions that may read or bind a name which the source does not show."""

_ATTRIBUTES = ("seed", "number", "run", "device", "stopped")
"""Attributes of a trial that are no parameters."""

_SCHEDULED = ("lr", "schedule", "warmup")
"""Parameters that `trial.lr_at` reads."""

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_NAMED = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    *(ast.ExceptHandler, ast.MatchAs, ast.MatchStar),
)
_OPTIONAL = (
    *(*_FUNCTIONS, ast.Try, ast.TryStar, ast.With, ast.AsyncWith, ast.Match),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
"""Code whose parts may not run, or whose errors may be caught."""


@dataclass
class Reads:
    """Parameters that a loop reads: `needed` ones by subscript in every call, with their lines;
    `named` are all that it reads, or asks for, by whatever way, `written` those that it sets.
    `metrics` are the keywords of its reports, with their lines; None where others may be
    reported."""

    needed: dict[str, int] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    metrics: dict[str, int] | None = field(default_factory=dict)


def read_loop(found: Found) -> Reads | None:
    """The reads of a loop; None where its source does not show them all."""
    node = found.node
    if not isinstance(node, ast.FunctionDef) or node.decorator_list:
        return None
    ahead = [*node.args.posonlyargs, *node.args.args]
    return _Reader(node, ahead[0].arg, found).read() if len(ahead) == 1 else None


class _Reader:
    """A function that is called with a trial, and the nodes above each of its nodes."""

    def __init__(self, node: ast.FunctionDef, trial: str, found: Found) -> None:
        self.node, self.trial, self.found = node, trial, found
        self.above = {
            inner: outer for outer in ast.walk(node) for inner in ast.iter_child_nodes(outer)
        }
        self.reads = Reads()

    def read(self) -> Reads | None:
        """The reads, None where the trial or its parameters go on elsewhere."""
        bound = list(self._bound())
        names = [each for each in self.above if isinstance(each, ast.Name)]
        if bound.count(self.trial) > 1 or any(each.id in _ANY_NAME for each in names):
            return None
        places: list[ast.expr] = []
        others: set[str] = set()
        for name in names:
            if name.id != self.trial:
                continue
            used = self.above[name]
            if not isinstance(used, ast.Attribute):
                return None
            if used.attr == "params":
                alias = self._alias(used)
                places += [] if alias else [used]
                others |= {alias} if alias else set()
            elif not self._attribute(used):
                return None
        if any(bound.count(each) != 1 for each in others):
            return None
        loads = [each for each in names if each.id in others and isinstance(each.ctx, ast.Load)]
        if not all(map(self._place, [*places, *loads])):
            return None
        if not self.reads.metrics or self._may_report():
            self.reads.metrics = None
        for written in self.reads.written:
            self.reads.needed.pop(written, None)
        return self.reads

    def _bound(self) -> Iterator[str]:
        """Each name that the function binds, as often as it does."""
        for each in self.above:
            if isinstance(each, ast.arg):
                yield each.arg
            elif isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load):
                yield each.id
            elif isinstance(each, ast.Global | ast.Nonlocal):
                yield from (*each.names, *each.names)
            elif isinstance(each, _NAMED) and each.name:
                yield each.name
            elif isinstance(each, ast.alias):
                yield (each.asname or each.name).partition(".")[0]

    def _alias(self, used: ast.expr) -> str | None:
        """The name that `trial.params` is given, as in `p = trial.params`."""
        statement = self.above[used]
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else None

    def _attribute(self, used: ast.Attribute) -> bool:
        """Take a use of an attribute of the trial; False where it shows not what it is for."""
        call = self.above[used]
        called = isinstance(call, ast.Call) and call.func is used
        if used.attr == "lr_at":
            self.reads.named |= {*_SCHEDULED}
        elif used.attr == "report":
            given = [each.arg for each in call.keywords] if isinstance(call, ast.Call) else []
            plain = called and None not in given
            if not isinstance(call, ast.Call) or not plain or len(call.args) > 1:
                self.reads.metrics = None
            elif self.reads.metrics is not None:
                names = [each for each in given if each and each != "step"]
                starred = any(isinstance(each, ast.Starred) for each in call.args)
                new = dict.fromkeys(names, call.lineno)
                self.reads.metrics = None if starred else {**new, **self.reads.metrics}
        return used.attr in (*_ATTRIBUTES, "lr_at", "report")

    def _may_report(self) -> bool:
        """Whether there may be other ways to report: what the module imports of lrsearch but for
        Stopped, or a module beside it that names lrsearch."""
        module = self.found.module
        bound = [each for parts in module.names.bound.values() for each in parts]
        for each in [*bound, *self.above]:
            taken = [
                name.name for name in getattr(each, "names", ()) if isinstance(name, ast.alias)
            ]
            if isinstance(each, ast.ImportFrom):
                if each.level:
                    return True
                stopped = each.module == "lrsearch" and taken == ["Stopped"]
                taken = [] if stopped else [each.module or ""]
            for name in taken:
                first = name.partition(".")[0]
                beside = find_module(first, [str(module.root)])
                if first == "lrsearch" or (beside is not None and _names_lrsearch(beside.origin)):
                    return True
        return False

    def _place(self, place: ast.expr) -> bool:
        """Take a use of the parameters; False where it is none of a single, literal name."""
        used = self.above[place]
        if isinstance(used, ast.Subscript) and used.value is place:
            name = _literal(used.slice)
            if name is None:
                return False
            self.reads.named.add(name)
            if isinstance(used.ctx, ast.Load):
                if self._runs(used):
                    self.reads.needed.setdefault(name, used.lineno)
            else:
                self.reads.written.add(name)
            return True
        if isinstance(used, ast.Attribute):
            call = self.above[used]
            known = isinstance(call, ast.Call) and call.func is used and bool(call.args)
            name = _literal(call.args[0]) if known and isinstance(call, ast.Call) else None
            if name is None or used.attr not in ("get", "pop", "setdefault"):
                return False
            self.reads.named.add(name)
            if used.attr != "get":
                self.reads.written.add(name)
            return True
        if isinstance(used, ast.Compare) and used.comparators == [place]:
            name = _literal(used.left)
            if name is None or not isinstance(used.ops[0], ast.In | ast.NotIn):
                return False
            self.reads.named.add(name)
            return True
        function = used.func if isinstance(used, ast.Call) else None
        printed = isinstance(function, ast.Name) and function.id == "print"
        return printed or isinstance(used, ast.FormattedValue)

    def _runs(self, inner: ast.AST) -> bool:
        """Whether a node runs in every call that comes as far as its statement, and each does."""
        while (outer := self.above[inner]) is not self.node:
            if isinstance(outer, _OPTIONAL):
                return False
            if isinstance(outer, ast.If | ast.While | ast.IfExp) and inner is not outer.test:
                return False
            if isinstance(outer, ast.For | ast.AsyncFor) and inner is not outer.iter:
                return False
            if isinstance(outer, ast.BoolOp) and inner is not outer.values[0]:
                return False
            if isinstance(outer, ast.Compare) and inner not in (outer.left, outer.comparators[0]):
                return False
            inner = outer
        if inner not in self.node.body:  # A default, or a note of a type.
            return False
        before = self.node.body[: self.node.body.index(inner)]
        return not any(map(_may_end, before))


def _may_end(statement: ast.stmt) -> bool:
    """Whether a statement may end a function early."""
    return any(
        isinstance(each, ast.Return | ast.Raise) or last_name(each) in ("exit", "_exit", "quit")
        for each in ast.walk(statement)
    )


def _names_lrsearch(origin: str | None) -> bool:
    """Whether the source of a module has lrsearch's name in it; a package's may."""
    try:
        path = FilePath(origin or "")
        return path.suffix != ".py" or path.stem == "__init__" or b"lrsearch" in path.read_bytes()
    except OSError:
        return True


def _literal(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


# against the spec


def loop_faults(document: Document, class_path: str, found: Found) -> list[Fault]:
    """Faults of the parameters and the metric of a document whose loop was found: what the loop
    reads and nobody gives, what is given by a slip of the name it reads, and a metric that it does
    not report."""
    given, reads = _given(document), read_loop(found)
    if given is None or reads is None:
        return []
    faults = []
    unread = {each: place for each, place in given.items() if each not in reads.named}
    for name, line in reads.needed.items():
        if name in given:
            continue
        told = f"{class_path} reads trial.params['{name}'] ({found.module.file}, line {line})"
        close = nearest(name, unread) or find_alike(name, unread)
        if close is not None:
            faults.append(_slip(document, unread.pop(close), name, f"{told}, and no '{close}'"))
            continue
        hint = show_advice(
            [Line(("params", name), 1, "for example")],
            ("loop",),
            option=("loop",) in document.origins,
        )
        if name in ("seed", "device", "number", "run"):
            hint = f"write trial.{name} there"
        faults.append(document.fault(("loop",), f"{told}, which the spec does not give", hint))
    for close, place in unread.items():
        left = sorted(reads.named - given.keys() - reads.needed.keys() - reads.written)
        meant = nearest(close, left) if place[0] == "search" else None
        if meant is not None and is_slip(close, meant) and not _is_part(close, document):
            told = f"{class_path} ({found.module.file}) reads trial.params.get('{meant}'), and no "
            faults.append(_slip(document, place, meant, f"{told}'{close}'"))
    return [*faults, *_metric_faults(document, class_path, found, reads)]


def loop_notes(document: Document, class_path: str, found: Found) -> list[str]:
    """Notes on searched parameters that a loop never reads."""
    given, reads = _given(document), read_loop(found)
    if given is None or reads is None:
        return []
    return [
        f"{name} is searched, and {class_path} ({found.module.file}) never reads it"
        for name, place in given.items()
        if place[0] == "search" and name not in reads.named and not _is_part(name, document)
    ]


def _given(document: Document) -> dict[str, Path] | None:
    """The parameters of a document with a loop, and their places, searched ones last; None where
    another fault tells of them, or may."""
    top = as_mapping(document.data)
    blocks = {key: top.get(key) or {} for key in ("params", "search")}
    sound = all(isinstance(each, Mapping) for each in blocks.values())
    if not sound or not {*top} <= {*TOP_LEVEL} or {"params", "train"} & {*blocks["search"]}:
        return None
    return {name: (key, name) for key, block in blocks.items() for name in block}


def _is_part(name: str, document: Document) -> bool:
    """Whether fixed parameters may follow from a parameter."""
    fixed = as_mapping(as_mapping(document.data).get("params"))
    return any(isinstance(each, str) and f"{{{name}}}" in each for each in fixed.values())


def _slip(document: Document, place: Path, meant: str, told: str) -> Fault:
    """The fault of a parameter whose name is a slip of the one that is meant."""
    value = document.data[place[0]][place[1]]
    option = any(each[:2] == place for each in document.origins)
    hint = show_advice([Line((place[0], meant), value)], place, option=option)
    return document.fault(place, told, hint)


def _metric_faults(
    document: Document, class_path: str, found: Found, reads: Reads
) -> Iterator[Fault]:
    """The fault of an objective whose metric the loop does not report."""
    objective: Any = document.data.get("objective")
    given: Mapping[str, Any] = as_mapping(objective) or {"metric": objective}
    metric = given.get("metric")
    if not isinstance(metric, str) or reads.metrics is None or metric in reads.metrics:
        return
    names = [each for each in reads.metrics if each != "epoch"] or [*reads.metrics]
    close = nearest(metric, names)
    meant = close or next((each for each in names if each in metric or metric in each), names[0])
    goals = {"goal": given["goal"]} if "goal" in given and meant not in METRICS else {}
    if meant not in METRICS and not goals:
        goals = {"goal": foreign_names.usual_goals(meant)[0]}
    rest = {"at": given["at"]} if "at" in given else {}
    path: Path = ("objective", "metric") if isinstance(objective, Mapping) else ("objective",)
    line = Line(("objective",), {"metric": meant, **goals, **rest})
    if close and isinstance(objective, Mapping) and "goal" in given:
        line = Line(path, meant)
    at = reads.metrics[names[0]]
    told = f"{class_path} reports {', '.join(names)} ({found.module.file}, line {at}), and no"
    option = any(each[:1] == ("objective",) for each in document.origins)
    yield document.fault(path, f"{told} '{metric}'", show_advice([line], path, option=option))
