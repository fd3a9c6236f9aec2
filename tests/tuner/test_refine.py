"""Refinement, --until and patience in whole searches: real trainings, killed and gone on with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from test_tuner import Found, search

from lrsearch.errors import UsageError
from lrsearch.search import check_search
from lrsearch.search.refine import find_refined, flat_name, move, widen
from lrsearch.space import encode
from lrsearch.spec import read_spec
from lrsearch.store import Run

EDGE = {"search": {"lr": {"min": 1e-4, "max": 1e-2, "points": 4}}}
"""Rates that are all too low."""


class Killed(BaseException):
    """The driver is gone."""


def proposals(found: Found, strategy: str = "refine") -> list[tuple[int, int, Any]]:
    return [
        (each.generation, each.index, each.point)
        for each in found.history.proposals
        if each.strategy == strategy
    ]


def die_after(monkeypatch: pytest.MonkeyPatch, lines: int) -> None:
    """Let the driver die behind so many lines of its journal."""
    append, left = Run.append, [lines]

    def last(self: Run, *arguments: Any, **more: Any) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        append(self, *arguments, **more)

    monkeypatch.setattr(Run, "append", last)


@pytest.fixture(scope="module")
def edged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a grid at whose edge the best lies."""
    folder = tmp_path_factory.mktemp("edged")
    search(folder, "grid", EDGE)
    return folder


@pytest.fixture
def begun(edged: Path, tmp_path: Path) -> Path:
    shutil.copytree(edged, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_it_goes_beyond_the_edge_in_the_same_run(begun: Path) -> None:
    before = search(begun, "grid", EDGE)
    found = search(begun, "refine", EDGE)
    rates = {point.params["lr"] for point in found.points if point.strategy == "refine"}
    assert found.ending.trained == len(rates) > 0 and max(rates) > 1e-2
    assert found.history.closed == "finished"
    assert [each.params for each in found.points][:4] == [each.params for each in before.points]
    best = max(found.points, key=lambda point: point.objective or 0.0)
    assert best.params["lr"] > 1e-2 and best.strategy == "refine"
    told = [note for note in found.log.notes if note.startswith("refine,")]
    assert "the best lies on an end of what was searched" in told[0]
    assert "before:" in told[1] and "ends:" in told[-1]
    # All is done: the same command trains nothing, and says so again.
    again = search(begun, "refine", EDGE)
    assert again.ending.trained == 0 and again.log.notes[-1] == told[-1]
    assert len(again.history.notes) == len(found.history.notes)
    # A strategy that searches there knows the points.
    wider = {"search": {"lr": {"min": 1e-4, "max": 1e4, "points": None}}}
    later = search(begun, "bayes", wider)
    assert len(later.points) == len(found.points) + later.ending.trained


def test_rounds_are_those_of_the_run(begun: Path) -> None:
    one = search(begun, "refine", EDGE | {"refine": {"rounds": 1, "width": 0.1}})
    assert {each[0] for each in proposals(one)} == {proposals(one)[0][0]}
    assert "--set refine.rounds=2 goes on" in one.log.notes[-1]
    assert search(begun, "refine", EDGE | {"refine": {"rounds": 1}}).ending.trained == 0
    two = search(begun, "refine", EDGE | {"refine": {"rounds": 2, "width": 0.1}})
    assert len({each[0] for each in proposals(two)}) == 2
    assert proposals(two)[: len(proposals(one))] == proposals(one)


def test_a_spec_with_refine_refines_what_any_strategy_found(tmp_path: Path, begun: Path) -> None:
    alone = search(begun, "refine", EDGE)
    (tmp_path / "one").mkdir()
    whole = search(tmp_path / "one", "grid", EDGE | {"refine": {}})
    assert [point[2] for point in proposals(whole)] == [point[2] for point in proposals(alone)]
    assert len(whole.history.sessions) == 1 and whole.history.sessions[0]["strategy"] == "grid"
    again = search(tmp_path / "one", "grid", EDGE | {"refine": {}})
    assert again.ending.trained == 0


def test_killed_behind_any_line_it_goes_on_to_the_same_points(
    begun: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(begun, whole_folder, dirs_exist_ok=True)
    changes = EDGE | {"refine": {"rounds": 2}}
    whole = search(whole_folder, "refine", changes)
    lines = whole.history.lines - search(begun, "grid", EDGE).history.lines
    assert lines > 8
    for kill in range(1, lines, 3):
        folder = tmp_path_factory.mktemp("killed")
        shutil.copytree(begun, folder, dirs_exist_ok=True)
        with monkeypatch.context() as patched, pytest.raises(Killed):
            die_after(patched, kill)
            search(folder, "refine", changes)
        found = search(folder, "refine", changes)
        assert proposals(found) == proposals(whole), f"killed behind line {kill}"
        assert found.objectives() == pytest.approx(whole.objectives())


def test_what_has_nothing_to_refine_is_refused_before_anything_is_journaled(
    tmp_path: Path,
) -> None:
    diverging = {"search": {"lr": {"min": 1e8, "max": 1e12, "points": 3}}}
    found = search(tmp_path, "grid", diverging)
    assert set(found.outcomes()) == {"diverged"}
    with pytest.raises(UsageError, match="every point diverged") as raised:
        search(tmp_path, "refine", diverging)
    assert "lrsearch range" in raised.value.hint
    assert search(tmp_path, "grid", diverging).history.lines == found.history.lines + 2
    choices = {"search": {"lr": None, "schedule": ["constant", "cosine"]}, "train": {"lr": 0.1}}
    with pytest.raises(UsageError, match="nothing to refine"):
        search(tmp_path, "refine", choices)


def test_a_spec_with_refine_and_choices_alone_says_that_there_is_nothing(tmp_path: Path) -> None:
    changes = {
        "search": {"lr": None, "schedule": ["constant", "cosine"]},
        "train": {"lr": 0.1},
        "refine": {},
    }
    found = search(tmp_path, "grid", changes)
    assert found.history.closed == "finished"
    assert found.log.notes[-1] == "refine: the spec searches neither rates nor a logarithmic range"


# the space that is refined


def spec_of(folder: Path, search_: str, more: str = "") -> Any:
    path = folder / "s.yaml"
    path.write_text(
        "data: digits\nmodel: mlp\ntrain: {budget: 2ep, lr: 0.1}\n" + f"search: {search_}\n{more}"
    )
    return read_spec(path)


@pytest.mark.parametrize(
    ("search_", "name", "values"),
    [
        ("{lr: {min: 1e-3, max: 1.0}}", "lr", [2.5, 1e-6]),
        ("{lr: [1, 10]}", "lr", [2.5]),
        ("{optimizer.weight_decay: {min: 1e-5, max: 1e-2}}", "optimizer.weight_decay", [0.5]),
        ("{batch_size: {min: 8, max: 64, scale: log}}", "batch_size", [128]),
        ("{optimizer: [sgd, {name: adam, lr: {min: 1e-4, max: 1e-2}}]}", "lr", [0.3]),
        ("{batch_size: {min: 8, max: 64, scale: log}, lr: {min: 1e-3, max: 1.0}}", "lr", [3.0]),
    ],
)
def test_the_refined_parameter_is_free_beyond_its_range(
    tmp_path: Path, search_: str, name: str, values: list[float]
) -> None:
    spec = spec_of(tmp_path, search_)
    assert {each.name for each in find_refined(spec)} == {name}
    check_search("refine", spec)
    wide = widen(spec)
    assert widen(wide) is wide and find_refined(wide) == find_refined(spec)
    numbers = {}
    point = move(wide.space, _any_point(wide), name, values[0])
    for value in values:
        moved = move(wide.space, point, name, value)
        numbers = encode(wide.space, moved) or {}
        assert [n for id_, n in numbers.items() if flat_name(id_) == name] == [value]
    assert encode(spec.space, moved) is None


def _any_point(spec: Any) -> dict[str, Any]:
    from lrsearch.space import build

    return build(spec.space, lambda id_, part: 1 if id_ == "optimizer" else 0.0)


def test_an_integer_range_without_a_scale_is_none_to_refine(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "{model.hidden: [[8], [16]], label_smoothing: {min: 0, max: 0.5}}")
    with pytest.raises(UsageError, match="nothing to refine"):
        check_search("refine", spec)


# --until


@pytest.mark.parametrize("strategy", ["grid", "random", "bayes"])
def test_until_ends_a_search_and_plays_no_part_in_it(tmp_path: Path, strategy: str) -> None:
    (tmp_path / "whole").mkdir()
    whole = search(tmp_path / "whole", strategy)
    values = whole.objectives()
    bound = sorted(values.values())[len(values) // 2]
    found = search(tmp_path, strategy, until=f"accuracy>={bound!r}")
    assert (found.ending.reason, found.history.closed) == ("until", "until")
    assert 1 <= found.ending.trained < whole.ending.trained
    *others, last = [found.objectives()[number] for number in found.log.ended_trials]
    assert last >= bound and all(value < bound for value in others)
    assert "is met by point" in found.history.told and found.log.notes[-1] == found.history.told
    met = search(tmp_path, strategy, until=f"accuracy>={bound!r}")
    assert met.ending.trained == 0 and met.history.told == found.history.told
    resumed = search(tmp_path, strategy)
    assert resumed.objectives() == pytest.approx(values) and resumed.history.told == ""


def test_a_point_meets_until_by_the_mean_of_all_its_seeds(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    seeds = {"seeds": 3, "search": {"lr": {"points": 3}}}
    whole = search(tmp_path / "whole", "grid", seeds)
    best = max(whole.points, key=lambda point: point.objective or 0.0)
    most = max(best.scores.values())
    assert best.objective is not None and best.objective < most
    # A single seed is as good as asked, no point is.
    found = search(tmp_path, "grid", seeds, until=f"accuracy>={most!r}")
    assert found.ending.reason == "finished" and found.ending.trained == 9
    # One of an older spec with a seed alone does not count either.
    (tmp_path / "old").mkdir()
    search(tmp_path / "old", "grid", seeds | {"seeds": 1})
    values = sorted(point.objective or 0.0 for point in whole.points)
    later = search(tmp_path / "old", "grid", seeds, until=f"accuracy>={values[-1]!r}")
    assert later.ending.reason == "until" and later.ending.trained >= 2


# patience

NOISY = {
    "random": {"trials": 30},
    "bayes": {"trials": 30, "startup": 4, "generation": 3},
    "search": {"lr": {"points": None}},
    "stop": {"patience": 4},
}


@pytest.mark.parametrize("strategy", ["random", "bayes"])
def test_patience_ends_a_search_at_the_same_proposal(
    tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole").mkdir()
    whole = search(tmp_path / "whole", strategy, NOISY)
    made = len(proposals(whole, strategy))
    assert whole.ending.reason == "patience" and 4 < made < 30
    assert whole.history.closed == "patience"
    assert "no improvement beyond noise" in whole.history.told
    # All of it was said by results that the journal has: again it says the same, and no more.
    again = search(tmp_path / "whole", strategy, NOISY)
    assert again.ending.trained == 0 and again.history.told == whole.history.told
    for lines in (3, 6, 5):
        with monkeypatch.context() as patched, pytest.raises(Killed):
            die_after(patched, lines)
            search(tmp_path, strategy, NOISY)
    found = search(tmp_path, strategy, NOISY)
    assert proposals(found, strategy) == proposals(whole, strategy)
    assert found.history.told == whole.history.told
    longer = search(tmp_path, strategy, NOISY | {"stop": {"patience": 6}})
    assert proposals(longer, strategy)[:made] == proposals(whole, strategy)
    assert len(proposals(longer, strategy)) > made


def test_what_follows_a_search_is_none_of_what_it_was_patient_about(tmp_path: Path) -> None:
    """Neither the values of its refinement nor their noise: gone on with it comes to the same."""
    found = search(tmp_path, "random", NOISY | {"refine": {"rounds": 1}})
    assert proposals(found) and "the last was proposal" in found.history.told
    best = max(found.points, key=lambda point: point.objective or 0.0)
    assert best.strategy == "refine"
    again = search(tmp_path, "random", NOISY | {"refine": {"rounds": 1}})
    assert again.ending.trained == 0 and again.history.told == found.history.told


def test_random_makes_no_proposal_beyond_its_patience(tmp_path: Path) -> None:
    found = search(tmp_path, "random", NOISY)
    free = tmp_path / "free"
    free.mkdir()
    whole = search(free, "random", NOISY | {"stop": None})
    points = [each[2] for each in proposals(found, "random")]
    assert points == [each[2] for each in proposals(whole, "random")][: len(points)]
    latest = int(found.history.told.split("the last was proposal ")[1].split()[0])
    assert len(points) == latest + 4


def test_a_grid_says_that_patience_is_not_for_it(tmp_path: Path) -> None:
    found = search(tmp_path, "grid", {"stop": {"patience": 1}})
    assert found.ending.trained == 5
    assert any("patience does not apply" in note for note in found.log.notes)
