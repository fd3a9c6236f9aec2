"""`--set train.lr=0.1`: a value put into a document by the grammar of the document itself."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from lrsearch import catalogue
from lrsearch.errors import Fault, SpecError, UsageError
from lrsearch.spec.document import Document, Path, parse
from lrsearch.spec.model import DEFAULTS
from lrsearch.spec.values import AUTO, is_auto
from lrsearch.terminal import quote


def apply_override(document: Document, text: str, given: str = "") -> None:
    """Put `PATH=VALUE` into the document. A path under `train`, `model`, `data` or `params` that
    is searched becomes fixed. `given` is what the user wrote, where that is shorter. Raises
    UsageError for text that is no override, SpecError where the path runs through a value."""
    source = f"--set {given or text}"
    name, equals, value_text = text.partition("=")
    name = name.strip()
    strange = name[:1] in "+-~" or re.search(r"/|^[\w.]+[\[:]", name) or value_text[:1] == "="
    if not equals or not name or strange or any(not part for part in name.split(".")):
        raise UsageError(
            f"{given or text!r} is no override", where="--set", hint=_meant(given or text)
        )
    try:
        value = parse(value_text.strip() or "null", source).data
    except SpecError as error:
        faults = [replace(fault, line=0) for fault in error.faults]
        spaced = re.sub(r"([{,]\s*\w+):(?=\S)", r"\1: ", value_text)
        meant = re.fullmatch(r"write ([^\n]*)", faults[0].hint)
        if len(faults) == 1 and not faults[0].key and meant:
            hint = f"write --set {quote(f'{name}={meant[1]}')}"
            faults = [replace(faults[0], key=name, hint=hint)]
        elif all("lacks a blank" in fault.message for fault in faults):
            hint = f"write --set {quote(f'{name}={spaced}')}"
            faults = [replace(faults[0], key=name, hint=hint)]
        raise SpecError(faults) from None
    if name in _BLOCKS and (inner := re.fullmatch(r"\s*([a-z_][\w.]*)=(.+)", value_text)):
        line = f"write --set {quote(f'{name}.{inner[1]}={inner[2]}')}"
        raise UsageError(f"{given or text!r} is no override", where="--set", hint=line)
    several = re.split(rf",(?=(?:[A-Za-z_]\w*(?:\.\w+)+|{'|'.join(_PLAIN)})=)", value_text)
    # a.b=1,c.d=2; a command may have such words.
    if len(several) > 1 and not re.match(r"[\[{'\"]|\S*\s", value_text):
        line = " ".join(f"--set {quote(each)}" for each in (f"{name}={several[0]}", *several[1:]))
        raise SpecError(
            [Fault(0, name, "each override has a --set of its own", source, f"write {line}")]
        )
    if document.data is None:
        document.data = {}
    if not isinstance(document.data, dict):
        return  # `validate` says what a spec is
    parts = name.split(".")
    path = _put(document, parts, _absolute(name, value), source)
    for known in [known for known in document.lines if known[: len(path)] == path]:
        del document.lines[known]
    document.origins[path] = source
    document.empty.discard(path)
    if not value_text.strip():
        document.empty.add(path)
    if parts[0] in ("train", "model", "data", "params"):
        fixed = parts[1:] if parts[0] in ("train", "params") else parts
        _stop_searching(document, ".".join(fixed), source)


_BLOCKS = ("data", "model", "train", "search", "params", "objective", *catalogue.SETTINGS)
"""Keys of the top level that hold others."""

_PLAIN = ("seeds", "seed", "max_failures", "timeout", "save", "prune", "name")
"""Keys of the top level that hold one value."""


def _meant(text: str) -> str:
    """The hint for text that is no override."""
    if away := re.fullmatch(r"~([A-Za-z_][\w.]*)(=.*)?", text):  # Hydra's way to leave it out.
        return f"write --set {away[1]}=null"
    if braced := re.fullmatch(r"\{\s*([A-Za-z_][\w.]*)\s*:\s*(.+)\}", text):
        return f"write --set {quote(f'{braced[1]}={braced[2].strip()}')}"
    name, _, value = text.partition("=")
    bare = re.sub(r"[\[\]'\"]+", ".", name.strip().lstrip("+-~"))  # train[lr]
    plain = re.sub(r"[./:]+", ".", bare).strip(".")
    value = value.lstrip("=").strip()
    # Hydra's +a.b=1, a path, a comparison.
    if re.fullmatch(r"[A-Za-z_][\w-]*(\.[\w-]+)+", plain) and value:
        return f"write --set {quote(f'{plain}={value}')}"
    match = re.fullmatch(r"\s*([A-Za-z_][\w.]*\w)\s*(?::=?|\s)\s*(\S.*)", text)
    if match:
        return f"write --set {quote(f'{match[1]}={match[2]}')}"
    if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", text):
        return f"write its value, too: --set {text}=VALUE"
    return "write --set train.lr=0.1"


def _absolute(name: str, value: Any) -> Any:
    """Make a path relative to the working directory, as on the command line, relative to the
    spec."""
    head, _, rest = name.partition(".")
    if head != "data":
        return value
    if not rest and isinstance(value, dict):
        return {key: _absolute(f"data.{key}", part) for key, part in value.items()}
    named = (source.parameters.get(rest) for source in catalogue.DATA.values())
    if isinstance(value, str) and any(part and part.kind == "path" for part in named):
        with contextlib.suppress(RuntimeError):  # ~nobody: `validate` says so
            return str(FilePath(value).expanduser().absolute())
    return value


def _put(document: Document, parts: list[str], value: Any, source: str) -> Path:
    """Set the value, at a dotted key of the document if there is one; returns the path of the
    value."""
    tree = document.data
    path: list[str] = []
    while True:
        # `optimizer.momentum: {...}` is one key: the longest that stands in the text wins.
        for length in range(len(parts), 0, -1):
            if ".".join(parts[:length]) in tree:
                break
        else:
            length = 1
        key = ".".join(parts[:length])
        path.append(key)
        parts = parts[length:]
        if not parts:
            tree[key] = value
            return tuple(path)
        inner = tree.get(key)
        imports = parts[0] in ("class_path", "init_args") and path[0] != "search"
        if imports and not (isinstance(inner, dict) and "class_path" in inner):
            inner = {}  # In place of a built-in.
        elif inner is None:
            named = path[0] == "train" and key in DEFAULTS
            inner = {"name": DEFAULTS[key]} if named else {}
        elif isinstance(inner, str) and is_auto(inner):
            inner = {AUTO: True}
        elif isinstance(inner, str) and path[0] != "search":
            inner = {"for" if key == "warmup" else "name": inner}
        elif not isinstance(inner, dict):
            fault = Fault(
                0, ".".join(path), f"'{key}' is one value: nothing can be set inside", source
            )
            raise SpecError([fault])
        tree[key] = inner
        tree = inner


def _stop_searching(document: Document, name: str, source: str) -> None:
    """Take `name` and all below it out of `search`."""
    search = document.data.get("search")
    if not isinstance(search, dict):
        return
    _remove(search, "", name)
    for path in _dotted(search, ""):
        if name.startswith(path + "."):
            raise SpecError(
                [
                    Fault(
                        0,
                        name,
                        f"'{path}' is searched as a whole",
                        source,
                        f"fix it whole, such as --set 'train.{path}={{name: ...}}'",
                    )
                ]
            )


def _remove(tree: dict[str, Any], prefix: str, name: str) -> None:
    for key in list(tree):
        dotted = f"{prefix}{key}"
        if dotted == name or dotted.startswith(name + "."):
            del tree[key]
        elif isinstance(tree[key], dict) and name.startswith(dotted + "."):
            _remove(tree[key], f"{dotted}.", name)
            if not tree[key]:
                del tree[key]


def _dotted(tree: dict[str, Any], prefix: str) -> list[str]:
    found = []
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, dict) and not ({"min", "max", AUTO} & value.keys()):
            found += _dotted(value, f"{dotted}.")
        else:
            found.append(dotted)
    return found
