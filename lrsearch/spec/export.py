"""A point as a complete spec with nothing left to search."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

import yaml

from lrsearch import catalogue
from lrsearch.duration import parse_time, write_time
from lrsearch.space import same
from lrsearch.spec.arithmetic import NotArithmetic, read_arithmetic
from lrsearch.spec.document import plain_scalar
from lrsearch.spec.imports import is_free
from lrsearch.spec.model import Outside, Spec, class_paths, complete, complete_group
from lrsearch.spec.validate import SAVE
from lrsearch.terminal import visible, visible_line
from lrsearch.trial import Config, Objective


def export_spec(spec: Spec, config: Config, objective: Objective, name: str) -> str:
    """YAML of a spec that trains `config` alone, with the seeds of `spec`, under another name, and
    without what is as it would be anyway.

    Code is found from the folder of the file, so a comment names the folder of the run's spec.
    """
    if spec.outside is not None:
        return _export_outside(spec, spec.outside, config, objective, name)
    paths = sorted(class_paths(config))
    modules = [path.split(".")[0] for path in paths if not is_free(path)]
    head = ""
    if modules:
        allowed = " ".join(f"--allow-import {name}" for name in dict.fromkeys(modules))
        folder = visible_line(str(spec.folder))
        head = f"# Put this file into {folder}, where its code is found, and pass {allowed}\n"
    # The catalogue knows the goal of its metrics.
    goal = {} if objective.metric in catalogue.METRICS else {"goal": objective.goal}
    document: dict[str, Any] = {
        "name": name,
        "data": _shorten_data(config["data"]),
        "model": _shorten_group("model", config["model"]),
        "train": _shorten_train(config["train"]),
        "objective": {"metric": objective.metric, **goal, "at": objective.at},
        **_timeout(spec),
        **_save(spec),
        **_prune(spec),
        "seeds": spec.seeds,
        "seed": spec.seed,
    }
    return head + _to_yaml(document)


def export_train(config: Config, *, model: bool) -> str:
    """YAML of the `train` of a resolved config, and with `model` of its model, to be put into a
    spec, without what is as it would be anyway."""
    parts = {"model": _shorten_group("model", config["model"])} if model else {}
    return _to_yaml({**parts, "train": _shorten_train(config["train"])})


def _shorten(
    given: Mapping[str, Any], usual: Mapping[str, Any], kept: Collection[str] = ()
) -> dict[str, Any]:
    """The values that differ from the usual ones, and those that are kept whatever they are."""
    return copy.deepcopy(
        {
            name: value
            for name, value in given.items()
            if name in kept or name not in usual or not same(value, usual[name])
        }
    )


def _shorten_data(given: Mapping[str, Any]) -> dict[str, Any]:
    source = catalogue.DATA.get(given.get("name", ""))
    own = catalogue.IMPORTED if source is None else source.parameters
    usual = complete({**own, **catalogue.splitting(source)}, {})
    return _shorten(given, {**usual, "test": None, "transforms": []})


def _shorten_group(path: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A component without its defaults; a mapping still, which programs read it as."""
    if "name" not in given:
        return copy.deepcopy(dict(given))
    return _shorten(given, complete_group(path, {"name": given["name"]}), ["name"])


def _shorten_train(given: Mapping[str, Any]) -> dict[str, Any]:
    """`train` with what matters most first."""
    first = {name: given[name] for name in ("budget", "lr", "batch_size")}
    for name in ("schedule", "optimizer"):
        first[name] = _shorten_group(name, given[name])
    if given["warmup"] is not None:
        first["warmup"] = _shorten(given["warmup"], complete(catalogue.WARMUP, {}))
    rest = {name: value for name, value in given.items() if name not in (*first, "warmup")}
    return {**first, **_shorten(rest, complete(catalogue.TRAIN, {}))}


def _export_outside(
    spec: Spec, outside: Outside, config: Config, objective: Objective, name: str
) -> str:
    kind, module = outside.kind, outside.text.partition(".")[0]
    needs = f"--allow-import {module}" if kind == "loop" else "--allow-command"
    folder = visible_line(str(spec.folder))
    document: dict[str, Any] = {"name": name, kind: outside.text}
    params = copy.deepcopy(dict(config["params"]))
    # Under params these would be arithmetic, or a slip in it; as one of a choice a text is text.
    read = [key for key, value in params.items() if _is_arithmetic(value, config["params"])]
    texts = {key: [params.pop(key)] for key in read}
    if params:
        document["params"] = params
    if outside.metrics:
        document["metrics"] = dict(outside.metrics)
    document["objective"] = {
        "metric": objective.metric,
        "goal": objective.goal,
        "at": objective.at,
    }
    document |= _timeout(spec)
    document |= _prune(spec)
    document |= {"search": texts} if texts else {}
    document |= {"seeds": spec.seeds, "seed": spec.seed}
    head = f"# Put this file into {folder}, where its {kind} runs, and pass {needs}\n"
    return head + _to_yaml(document)


def _timeout(spec: Spec) -> dict[str, str]:
    return {} if spec.timeout is None else {"timeout": write_time(spec.timeout)}


def _save(spec: Spec) -> dict[str, str | None]:
    if spec.save == parse_time(SAVE):
        return {}
    return {"save": None if spec.save is None else write_time(spec.save)}


def _prune(spec: Spec) -> dict[str, Any]:
    """`prune: none` where it is asked for: no other rule has anything to say of one point."""
    return {"prune": "none"} if spec.prune["name"] == "none" else {}


def _is_arithmetic(value: Any, known: Collection[str]) -> bool:
    """Whether a parameter's text would be read back as arithmetic on others, or as a slip in
    one."""
    try:
        return isinstance(value, str) and read_arithmetic(value, known) is not None
    except NotArithmetic:
        return True


def _to_yaml(document: dict[str, Any]) -> str:
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return visible(text)  # Between double quotes its escapes are YAML's, too.


class _Dumper(yaml.SafeDumper):
    """A dumper that quotes every text that would not be read back as it is: `1e-3`, which YAML 1.1
    takes for text, Unicode's own line breaks, and characters that act on a terminal that shows the
    file."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    plain = isinstance(plain_scalar(text), str) and text.splitlines() in ([], [text])
    plain = plain and visible(text) == text
    style = None if plain else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def export_name(name: str) -> str:
    """The name of an exported point's run: `-best` behind the run's own, within 64 characters."""
    return name[: 64 - len("-best")] + "-best"
