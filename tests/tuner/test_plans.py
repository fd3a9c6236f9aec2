"""Plans from probe to journal to cohorts. What is planned here trains in no time: the probe and
the engine are those of jobs.py; the engines that train have tests of their own."""

from __future__ import annotations

import collections
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jobs
import pytest
import yaml

from lrsearch import catalogue
from lrsearch.errors import DataError
from lrsearch.executors.inline import Inline
from lrsearch.executors.local import Local
from lrsearch.executors.port import Executor
from lrsearch.reports.live import Progress
from lrsearch.spec import read_spec
from lrsearch.store import History, Run, read
from lrsearch.train.jobs import PROBE, find_jobs
from lrsearch.trial import Cohort, Facts, Outcome, Plan, Planned, Probe, Trial, Workplace
from lrsearch.tuner.dispatch import PROBED
from lrsearch.tuner.loop import AHEAD, tune
from lrsearch.tuner.plans import (
    ALONE,
    APART,
    ASKED,
    DESCRIBED,
    Plans,
    larger_generation,
    structure_key,
)
from lrsearch.tuner.session import Asked

HERE = Path(jobs.__file__).parent

FACTS = Facts(
    task="classification",
    data_hash="0",
    source_hashes={},
    train_samples=(1438,),
    validation_samples=(359,),
    test_samples=0,
    input_shape=(1, 8, 8),
    outputs=10,
    device="cpu",
    devices=("cpu",),
    device_name="none",
    versions={},
    parameters=0,
)
PLAYED = {find_jobs(None).train: "jobs:play_cohort", PROBE: "jobs:play_probe"}


class Stage(Inline):
    """An executor for the played jobs that keeps what was submitted. It claims more workers than
    it has."""

    def __init__(self, workers: int = 1) -> None:
        super().__init__()
        self.workers = workers
        self.tasks: list[Cohort | Probe] = []
        self.clean: list[Cohort | Probe] = []

    @property
    def capacity(self) -> int:
        return self.workers

    def submit(self, function: str, payload: Any, *, clean: bool = False) -> int:
        assert isinstance(payload, Probe if function == PROBE else Cohort)
        self.tasks.append(payload)
        self.clean += [payload] if clean else []
        return super().submit(PLAYED[function], payload, clean=clean)

    @property
    def probes(self) -> list[Probe]:
        return [task for task in self.tasks if isinstance(task, Probe)]

    @property
    def cohorts(self) -> list[Cohort]:
        return [task for task in self.tasks if isinstance(task, Cohort)]


class Processes(Local):
    """The same in real processes, which may die."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers, environment={"PYTHONPATH": str(HERE)})

    def submit(self, function: str, payload: Any, *, clean: bool = False) -> int:
        return super().submit(PLAYED[function], payload, clean=clean)


class Heard(Progress):
    """The progress, and its notes."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Searched:
    """What a search left behind."""

    def __init__(self, folder: Path, notes: list[str]) -> None:
        self.notes = notes
        self.history: History = read(folder)
        text = (folder / "journal.jsonl").read_text()
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]

    @property
    def plans(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == "planned"]

    @property
    def reasons(self) -> collections.Counter[str]:
        """Why trials trained solo."""
        return collections.Counter(
            result.why for result in self.history.results.values() if result.engine == "solo"
        )

    @property
    def engines(self) -> collections.Counter[str]:
        return collections.Counter(result.engine for result in self.history.results.values())


def search(
    folder: Path,
    stage: Executor,
    space: dict[str, Any],
    strategy: str = "grid",
    *,
    facts: Facts = FACTS,
    **more: Any,
) -> Searched:
    """Search over `space`; `train.lr` is 0.1 and `model.hidden` [64] unless they are in it."""
    document = {
        "name": "planned",
        "data": "digits",
        "model": {"name": "mlp", "hidden": [64]},
        "train": {"budget": "1ep", "lr": 0.1, "batch_size": 64},
        "search": space,
        **more.pop("spec", {}),
    }
    (folder / "planned.yaml").write_text(yaml.safe_dump(document))
    spec = read_spec(folder / "planned.yaml")
    watcher = Heard()
    with stage, Run.open(folder, spec.name, spec_text=spec.text) as run:
        place = Workplace("cpu")
        asked = Asked(**{name: more.pop(name) for name in ("engine", "lanes") if name in more})
        given: dict[str, Any] = {"executor": stage, "facts": facts, "workplace": place, **more}
        tune(spec, strategy, run=run, watcher=watcher, asked=asked, **given)
    return Searched(folder / "planned", watcher.notes)


def rates(count: int, first: float = 0.001) -> list[float]:
    return [round(first + index / 1000, 6) for index in range(count)]


def key(trial: Trial) -> str:
    return structure_key(trial.config, trial.fold)


# Probing ------------------------------------------------------------------------------------


def test_a_plan_is_journaled_before_its_structure_trains(tmp_path: Path) -> None:
    stage = Stage(workers=2)
    space = {"lr": rates(12), "model.hidden": [[64], [jobs.REFUSED], [32]]}
    found = search(tmp_path, stage, space)
    assert len(found.history.results) == 36
    assert {result.outcome for result in found.history.results.values()} == {Outcome.COMPLETED}
    begun: dict[str, int] = {}
    for line in found.lines:
        if line["event"] == "started":
            begun.setdefault(key(found.history.trials[line["trial"]]), line["n"])
    plans = {line["structure"]: line for line in found.plans}
    assert len(found.plans) == len(plans) == len(begun) == 3
    assert all(plans[each]["n"] < begun[each] for each in begun)
    (solo,) = (line for line in found.plans if line["plan"]["engine"] == "solo")
    assert solo["plan"] == {"engine": "solo", "lanes": 1, "reason": "it does not fuse"}
    assert (solo["device"], solo["asked"], solo["figures"]) == ("cpu", "auto", {"solo": 0.5})
    assert found.engines == {"fused": 24, "solo": 12}
    for number, result in found.history.results.items():
        assert result.engine == plans[key(found.history.trials[number])]["plan"]["engine"]


def test_a_probe_sees_some_trials_and_the_share_of_a_worker(tmp_path: Path) -> None:
    stage = Stage(workers=2)
    search(tmp_path, stage, {"lr": rates(21), "batch_size": [64, 128]}, lanes=4)
    assert stage.tasks[:2] == stage.probes and len(stage.probes) == 2, "first in line"
    for probe in stage.probes:
        assert (len(probe.trials), probe.share) == (PROBED, 11), "of all that can be known at once"
        assert (probe.engine, probe.lanes, probe.data_hash) == ("auto", 4, "0")
        assert len({key(trial) for trial in probe.trials}) == 1
        numbers = [trial.number for trial in probe.trials]
        assert numbers == sorted(numbers)
    assert {cohort.plan for cohort in stage.cohorts} == {Plan("fused", 4, "faster")}


def test_other_structures_train_while_one_is_probed(tmp_path: Path) -> None:
    search(tmp_path, Stage(), {"lr": rates(4), "model.hidden": [[64]]})
    stage = Stage(workers=2)
    search(tmp_path, stage, {"lr": rates(8), "model.hidden": [[64], [32]]})
    assert [type(task) for task in stage.tasks[:2]] == [Probe, Cohort]
    assert key(stage.tasks[0].trials[0]) != key(stage.tasks[1].trials[0])


def test_a_trial_alone_in_its_structure_is_not_probed(tmp_path: Path) -> None:
    stage = Stage()
    found = search(tmp_path, stage, {"model.hidden": [[32], [64]]})
    assert (stage.probes, found.notes) == ([], [])
    assert found.engines == {"solo": 2} and found.reasons == {ALONE.reason: 2}
    assert [line["plan"]["reason"] for line in found.plans] == [ALONE.reason] * 2
    stage = Stage()
    found = search(tmp_path, stage, {"model.hidden": [[32], [64], [128]]}, engine="fused")
    assert len(stage.probes) == 1 and len(found.plans) == 3
    assert found.engines == {"solo": 2, "fused": 1}


def test_a_trial_alone_in_its_structure_is_probed_where_there_are_graphs(tmp_path: Path) -> None:
    facts = replace(FACTS, device="cuda")
    found = search(tmp_path, stage := Stage(2), {"model.hidden": [[32], [64]]}, facts=facts)
    assert [(probe.share, probe.later, probe.expected) for probe in stage.probes] == [(1, 0, 1)] * 2
    assert found.engines == {"fused": 2}
    # Trials that come one at a time: what is to come of the structure makes the probe worth it.
    space = {"lr": {"min": 1e-3, "max": 1.0}}
    settings = {"name": "b", "bayes": {"trials": 5, "startup": 1, "generation": 1}}
    search(tmp_path, stage := Stage(), space, "bayes", facts=facts, spec=settings)
    assert [(probe.share, probe.later, probe.expected) for probe in stage.probes] == [(1, 1, 5)]
    # Two structures in generations of four: either may be all of a later one.
    space |= {"batch_size": [32, 64]}
    settings = {"name": "c", "bayes": {"trials": 12, "startup": 4, "generation": 4}}
    search(tmp_path, stage := Stage(), space, "bayes", facts=facts, spec=settings)
    assert {probe.later for probe in stage.probes} == {4}


def test_solo_asks_nothing_and_says_that_it_was_asked_for(tmp_path: Path) -> None:
    stage = Stage()
    found = search(tmp_path, stage, {"lr": rates(20)}, engine="solo")
    assert {cohort.plan for cohort in stage.cohorts} == {ASKED}
    assert (stage.probes, found.notes) == ([], [])
    assert found.reasons == {"--engine solo asks for it": 20}
    assert [line["plan"]["lasting"] for line in found.plans] == [False], "one line a structure"
    # It is no answer to whoever asks for another engine next.
    stage = Stage()
    found = search(tmp_path, stage, {"lr": rates(40)})
    assert len(stage.probes) == 1 and found.engines["fused"] == 20
    assert found.reasons == {"--engine solo asks for it": 20}
    # Nor does it take the place of a plan that lasts.
    found = search(tmp_path, stage := Stage(), {"lr": rates(44)}, engine="solo")
    assert found.reasons == {"--engine solo asks for it": 24} and not stage.probes
    search(tmp_path, stage := Stage(), {"lr": rates(48)})
    assert stage.probes == [] and {cohort.plan.engine for cohort in stage.cohorts} == {"fused"}


def test_solo_hands_out_few_at_once(tmp_path: Path) -> None:
    stage = Stage()
    search(tmp_path, stage, {"lr": rates(20)}, engine="solo")
    assert max(len(cohort.trials) for cohort in stage.cohorts) == 8


def test_a_grid_is_known_at_once_and_handed_out_coarse_to_fine(tmp_path: Path) -> None:
    stage = Stage(workers=2)
    space = {"lr": {"min": 1e-3, "max": 1.0, "points": 40}}
    found = search(tmp_path, stage, space)
    assert len({proposal.generation for proposal in found.history.proposals}) > 3
    assert stage.probes[0].share == 20
    assert [len(cohort.trials) for cohort in stage.cohorts] == [10, 10, 10, 10]
    numbers = [trial.number for cohort in stage.cohorts for trial in cohort.trials]
    assert numbers == list(range(1, 41))


def test_a_long_search_is_not_proposed_at_once(tmp_path: Path) -> None:
    proposed: list[int] = []

    class Watching(Stage):
        def submit(self, function: str, payload: Any, *, clean: bool = False) -> int:
            text = (tmp_path / "planned" / "journal.jsonl").read_text()
            proposed.append(text.count('"fold":'))
            return super().submit(function, payload, clean=clean)

    space = {"lr": {"min": 1e-3, "max": 1.0}}
    found = search(tmp_path, Watching(), space, "random", spec={"random": {"trials": 1200}})
    assert proposed[0] == AHEAD
    assert len(found.history.results) == 1200


def test_bayes_fuses_what_it_proposes_together(tmp_path: Path) -> None:
    stage = Stage(workers=2)
    space = {"lr": {"min": 1e-3, "max": 1.0}}
    settings = {"bayes": {"trials": 12, "startup": 4, "generation": 4}}
    found = search(tmp_path, stage, space, "bayes", spec=settings)
    assert len(stage.probes) == len(found.plans) == 1
    assert [len(cohort.trials) for cohort in stage.cohorts] == [2] * 6
    assert found.engines == {"fused": 12}


@pytest.mark.parametrize(("workers", "fused"), [(3, 12), (4, 4)])
def test_what_has_a_worker_of_its_own_trains_solo(workers: int, fused: int, tmp_path: Path) -> None:
    """The first four, who had no plan yet, excepted."""
    space = {"lr": {"min": 1e-3, "max": 1.0}}
    settings = {"bayes": {"trials": 12, "startup": 4, "generation": 4}}
    found = search(tmp_path, Stage(workers), space, "bayes", spec=settings)
    assert found.engines == {"fused": fused} | ({"solo": 8} if fused < 12 else {})
    assert found.reasons == ({APART.reason: 8} if fused < 12 else {})


def test_what_came_alone_trains_solo_however_the_search_goes_on(tmp_path: Path) -> None:
    """Unless there are graphs, where a program of one lane costs no more."""
    settings = {"bayes": {"trials": 18, "startup": 3, "generation": 3}}
    space = {"lr": {"min": 1e-3, "max": 1.0}, "batch_size": [32, 64, 128]}

    def go(device: str = "cpu") -> dict[int, str]:
        folder = tmp_path / device
        folder.mkdir(exist_ok=True)
        facts = replace(FACTS, device=device)
        found = search(folder, Stage(), space, "bayes", facts=facts, spec=settings)
        beside = collections.defaultdict(list)
        for proposal in found.history.proposals:
            (number,) = proposal.trials
            beside[proposal.generation, key(found.history.trials[number])].append(number)
        alone = {number for each in beside.values() if len(each) == 1 for number in each}
        engines = {number: part.engine for number, part in found.history.results.items()}
        assert 1 < len(alone) < 17
        if device == "cpu":
            assert {each for each, engine in engines.items() if engine == "solo"} == alone
            assert found.reasons == {ALONE.reason: len(alone)}
        else:
            assert set(engines.values()) == {"fused"}
        return engines

    engines = go()
    journal = tmp_path / "cpu" / "planned" / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    pairs = [number for number, engine in engines.items() if engine == "fused"]
    # Of the last two that came together one has ended.
    (at,) = (
        place
        for place, line in enumerate(map(json.loads, lines))
        if line["event"] == "ended" and line["trial"] == pairs[-2]
    )
    journal.write_text("".join(lines[: at + 1]))
    assert go() == engines
    go("cuda")


def test_what_a_probe_raises_ends_the_search(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="changed meanwhile"):
        search(tmp_path, Stage(), {"lr": rates(4)}, spec={"model": hidden(jobs.UNSOUND)})
    assert read(tmp_path / "planned").plans == {}


def test_a_lost_probe_leaves_its_structure_to_solo(tmp_path: Path) -> None:
    space = {"lr": rates(4), "model.hidden": [[jobs.LOST], [64]]}
    found = search(tmp_path, Processes(2), space)
    assert found.engines == {"solo": 4, "fused": 4}
    reason = "the worker that tried to fuse it was lost: killed by SIGKILL"
    assert Plan("solo", 1, reason) in found.history.plans.values()
    assert f"1 of 2 structures trains solo: {reason}" in found.notes


def test_a_probe_that_is_lost_once_is_tried_again(tmp_path: Path) -> None:
    space = {"lr": rates(4), "model.hidden": [[jobs.LOST_ONCE], [64]]}
    found = search(tmp_path, Processes(2), space, workplace=Workplace("cpu", str(tmp_path)))
    assert (tmp_path / "lost").exists()
    assert found.engines == {"fused": 8}
    assert {plan.engine for plan in found.history.plans.values()} == {"fused"}
    assert [note for note in found.notes if "SIGKILL" in note] == [
        "the worker that tried lanes was lost: killed by SIGKILL: they are tried once more"
    ]


def hidden(width: int) -> dict[str, Any]:
    return {"name": "mlp", "hidden": [width]}


# Plans that are known -----------------------------------------------------------------------


def test_a_resumed_search_keeps_to_the_stored_plan(tmp_path: Path) -> None:
    space = {"lr": rates(6), "model.hidden": [[64], [jobs.REFUSED]]}
    search(tmp_path, Stage(), space, lanes=4)
    journal = tmp_path / "planned" / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    (first, *_) = (at for at, line in enumerate(lines) if '"event":"started"' in line)
    journal.write_text("".join(lines[:first]))
    stage = Stage()
    found = search(tmp_path, stage, space)
    assert stage.probes == [] and len(found.plans) == 2
    assert found.engines == {"fused": 6, "solo": 6}
    assert {cohort.plan.lanes for cohort in stage.cohorts} == {4, 1}
    assert len(found.notes) == 2, "it says again why"
    # One trial more is no probe, nor is it solo.
    stage = Stage()
    found = search(tmp_path, stage, {**space, "lr": rates(7)})
    assert stage.probes == []
    assert found.engines == {"fused": 7, "solo": 7}


def test_what_was_too_little_to_try_is_tried_when_it_is_more(tmp_path: Path) -> None:
    spec = {"model": hidden(jobs.SHORT)}
    first = search(tmp_path, Stage(), {"lr": rates(5)}, spec=spec)
    assert (first.engines, first.notes) == ({"solo": 5}, [])
    found = search(tmp_path, Stage(), {"lr": rates(20)}, spec=spec)
    assert found.engines == {"solo": 5, "fused": 15}
    assert [line["plan"]["engine"] for line in found.plans] == ["solo", "fused"]


def test_too_little_to_try_is_asked_of_each_generation_and_said_once(tmp_path: Path) -> None:
    stage = Stage()
    settings = {"bayes": {"trials": 12, "startup": 4, "generation": 4}}
    spec = {**settings, "model": hidden(jobs.SHORT)}
    found = search(tmp_path, stage, {"lr": {"min": 1e-3, "max": 1.0}}, "bayes", spec=spec)
    assert len(stage.probes) == 3 and len(found.plans) == 1
    assert (found.engines, found.notes) == ({"solo": 12}, [])


def test_a_plan_holds_for_its_device(tmp_path: Path) -> None:
    search(tmp_path, Stage(), {"lr": rates(4)})
    stage = Stage()
    found = search(tmp_path, stage, {"lr": rates(8)}, facts=replace(FACTS, device="cuda"))
    assert len(stage.probes) == 1
    assert [line["device"] for line in found.plans] == ["cpu", "cuda"]
    assert len(found.history.plans) == 2


def test_lanes_that_are_asked_for_take_the_place_of_those_found(tmp_path: Path) -> None:
    search(tmp_path, Stage(), {"lr": rates(4)}, lanes=4)
    stage = Stage()
    found = search(tmp_path, stage, {"lr": rates(30)}, lanes=3)
    assert stage.probes == [] and len(found.plans) == 1
    assert {cohort.plan.lanes for cohort in stage.cohorts} == {3}


def test_fused_asks_again_what_auto_left_to_solo(tmp_path: Path) -> None:
    space = {"lr": rates(4), "model.hidden": [[64], [jobs.REFUSED]]}
    search(tmp_path, Stage(), space)
    stages = [Stage(), Stage(), Stage()]
    for more, stage in enumerate(stages):
        engine = "auto" if more == 2 else "fused"
        found = search(tmp_path, stage, {**space, "lr": rates(8 + more)}, engine=engine)
    asked = [[jobs.width(probe.trials[0]) for probe in stage.probes] for stage in stages]
    assert asked == [[jobs.REFUSED], [], []], "once, and auto takes either's word"
    assert stages[0].probes[0].engine == "fused"
    assert [line["asked"] for line in found.plans] == ["auto", "auto", "fused"]


# Plans that do not hold ---------------------------------------------------------------------


def test_a_plan_that_does_not_hold_is_replaced(tmp_path: Path) -> None:
    stage = Stage()
    spec = {"model": hidden(jobs.TIGHT)}
    found = search(tmp_path, stage, {"lr": rates(40)}, spec=spec)
    assert [line["plan"]["lanes"] for line in found.plans] == [8, 4, 2]
    assert list(found.history.plans.values()) == [Plan("fused", 2, "more ran out of memory")]
    lanes = [cohort.plan.lanes for cohort in stage.cohorts]
    assert lanes == [8] + [2] * 7
    sizes = [len(cohort.trials) for cohort in stage.cohorts]
    assert sizes == [13, 3, 4, 4, 4, 4, 4, 4], "divided anew"
    assert sorted(t.number for cohort in stage.cohorts for t in cohort.trials) == [*range(1, 41)]
    assert found.notes == [
        "fused: 8 lanes a program: faster",
        "fused: 4 lanes a program: more ran out of memory",
        "fused: 2 lanes a program: more ran out of memory",
    ]


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_program_that_fails_leaves_the_others_to_solo(tmp_path: Path, lanes: int) -> None:
    spec = {"model": hidden(jobs.BROKEN)}
    found = search(tmp_path, stage := Stage(), {"lr": rates(12)}, spec=spec, lanes=lanes)
    assert [line["plan"]["engine"] for line in found.plans] == ["fused", "solo"]
    assert {cohort.plan.engine for cohort in stage.cohorts[1:]} == {"solo"}
    assert found.engines == {"solo": 12}


def test_two_cohorts_that_find_the_same_say_it_once(tmp_path: Path) -> None:
    stage = Stage(workers=3)
    found = search(tmp_path, stage, {"lr": rates(48)}, spec={"model": hidden(jobs.TIGHT)})
    assert [cohort.plan.lanes for cohort in stage.cohorts[:3]] == [8, 8, 8]
    assert [line["plan"]["lanes"] for line in found.plans] == [8, 4, 2]


def test_what_is_too_large_beside_others_is_tried_alone(tmp_path: Path) -> None:
    stage = Stage()
    found = search(tmp_path, stage, {"lr": rates(4)}, spec={"model": hidden(jobs.LARGE)})
    assert {result.outcome for result in found.history.results.values()} == {Outcome.COMPLETED}
    assert [len(task.trials) for task in stage.clean] == [1, 1, 1, 1]
    assert {cohort.plan.engine for cohort in stage.clean} == {"solo"}
    assert found.engines == {"solo": 4}
    assert found.reasons == {"it ran out of memory: tried again alone": 4}


@pytest.mark.parametrize("count", [2, 7, 21])
@pytest.mark.parametrize("place", [0, 1])  # of the coarsest level of the grid, and the finest
def test_a_trial_that_kills_its_program_is_found(tmp_path: Path, count: int, place: int) -> None:
    space = {"lr": rates(count)}
    space["lr"][place] = jobs.DEADLY
    found = search(tmp_path, Processes(2), space, engine="fused")
    results = found.history.results
    (culprit,) = (n for n, part in results.items() if part.outcome is not Outcome.COMPLETED)
    assert found.history.trials[culprit].config["train"]["lr"] == jobs.DEADLY
    assert results[culprit].outcome is Outcome.FAILED
    assert "SIGKILL" in results[culprit].reason and results[culprit].engine == "solo"
    assert len(results) == count
    assert len(found.plans) == 1, "the structure's plan stays"
    assert set(found.reasons) == {"the worker that trained it in lanes was lost: killed by SIGKILL"}


def test_several_that_kill_are_all_found(tmp_path: Path) -> None:
    space = {"lr": [*rates(16), *rates(4, jobs.DEADLY)]}
    found = search(tmp_path, Processes(2), space, engine="fused")
    failed = {n for n, part in found.history.results.items() if part.outcome is Outcome.FAILED}
    assert {found.history.trials[n].config["train"]["lr"] for n in failed} == set(space["lr"][16:])
    assert len(found.history.results) == 20


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_trials_that_lose_the_device_fail_alone(tmp_path: Path, engine: str) -> None:
    """More than there may be workers that die before they begin anything: these had ended one."""
    space = {"lr": [*rates(16), *rates(4, jobs.POISONED)]}
    found = search(tmp_path, Processes(1), space, engine=engine)
    failed = {n: part for n, part in found.history.results.items() if part.outcome == "failed"}
    assert {found.history.trials[n].config["train"]["lr"] for n in failed} == set(space["lr"][16:])
    assert {part.reason for part in failed.values()} == {"an index out of range"}
    assert len(found.history.results) == 20


# What a person reads ------------------------------------------------------------------------


def make_plans(folder: Path, *plans: Plan) -> Callable[[], Sequence[str]]:
    with Run.open(folder, "said", spec_text="") as run:
        book = Plans(run, "cpu", "auto", None)
        for number, plan in enumerate(plans):
            book.keep(f"{number:016x}", Planned(plan))
    return book.describe


def test_plans_are_described_once_and_in_few_lines(tmp_path: Path) -> None:
    fused, refused = Plan("fused", 16, "2.1x"), Plan("solo", 1, "weights are tied")
    assert make_plans(tmp_path / "0")() == []
    assert make_plans(tmp_path / "1", Plan(), Plan("fused", 4))() == [], "no reason, no line"
    assert make_plans(tmp_path / "2", refused, refused)() == ["trains solo: weights are tied"]
    describe = make_plans(tmp_path / "3", fused, refused, fused, refused, Plan("solo", 1, "slow"))
    assert describe() == [
        "2 of 5 structures fused: 16 lanes a program: 2.1x",
        "2 of 5 structures train solo: weights are tied",
        "1 of 5 structures trains solo: slow",
    ]
    assert describe() == []
    many = [Plan("solo", 1, f"reason {letter}") for letter in "abcdefghijklmnopqrst"]
    lines = make_plans(tmp_path / "4", *many)()
    assert len(lines) == DESCRIBED + 1
    assert lines[-1] == "17 more solo, for other reasons: see lrsearch report --all"
    alike = [Plan("solo", 1, f"{steps} steps are too few") for steps in (720, 44, 90)]
    assert make_plans(tmp_path / "7", *alike, Plan("solo", 1, "slow"))() == [
        "3 of 4 structures train solo: 44 to 720 steps are too few",
        "1 of 4 structures trains solo: slow",
    ]
    some = [Plan("fused", lanes, f"{lanes}x") for lanes in (8, 4, 16)]
    assert make_plans(tmp_path / "5", *some)() == ["fused: 4 to 16 lanes a program"]
    same = [Plan("fused", 8, "2x"), Plan("fused", 8, "3x")]
    assert make_plans(tmp_path / "6", *same)() == ["fused: 8 lanes a program"]
    one = make_plans(tmp_path / "8", Plan("fused", 1, "9x"))
    assert one() == ["fused: 1 lane a program: 9x"]


def test_what_changes_the_program_of_an_optimizer_is_structure() -> None:
    """The iterations of muon; no number of it."""
    train = {name: part.default for name, part in catalogue.TRAIN.items()}
    train |= {"budget": "1ep", "lr": 0.1, "schedule": {"name": "constant"}}
    known = catalogue.OPTIMIZERS["muon"].parameters

    def key_of(**given: Any) -> str:
        muon = {"name": "muon", **{name: part.default for name, part in known.items()}, **given}
        return structure_key({"data": {}, "model": {}, "train": train | {"optimizer": muon}}, None)

    for name, value in (("momentum", 0.5), ("nesterov", False), ("adjust_lr_fn", "original")):
        assert key_of(**{name: value}) == key_of()
    assert key_of(ns_steps=4) != key_of()


def test_a_larger_generation_is_spoken_of_where_lanes_are_nearly_free(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "data: digits\nmodel: mlp\ntrain: {budget: 1ep}\nsearch: {lr: {min: 0.1, max: 1}}\n"
    )

    def told(shared: float, each: float, *given: str, lanes: Sequence[int] = (2, 4)) -> str:
        figures = {f"fused.{k}": (shared + each * k) / k for k in lanes} | {"bytes.4": 1.0}
        assert larger_generation(read_spec(path, given), "refine", figures, 1) == ""
        return larger_generation(read_spec(path, given), "bayes", figures, 1)

    # A step is 10 ms, whatever its lanes: 16 of them take a quarter of the time a trial.
    assert "generation: 16 would train a trial about 4.0 times as fast here as 4" in told(0.01, 0)
    assert "(model: tpe)" in told(0.01, 0)
    assert "1.8 times as much after 32 (model: gp)" in told(0.01, 0, "bayes.model=gp")
    assert "about 1.6 times" in told(0.01, 0.0025, "bayes.generation=4")
    assert "about 16.0 times" in told(0.01, 0, "bayes.generation=1", "bayes.trials=8")
    assert told(0.0, 0.01) == "", "lanes that cost as much as they train are not free"
    assert told(0.01, 0, lanes=(4,)) == "", "one number of lanes tells nothing"
    assert told(0.01, 0, "bayes.generation=16") == told(0.01, 0, "bayes.generation=64") == ""
    assert larger_generation(read_spec(path), "bayes", {}, 2) == ""
