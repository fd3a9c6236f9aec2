"""What trials at other rates, and of other models, say of a trial."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from lrsearch.cli import app, diagnosing
from lrsearch.cli.one_trial import view_trial
from lrsearch.cli.stored import open_stored, view_run
from lrsearch.diagnosis import compare, diagnose, read_signs
from lrsearch.diagnosis.neighbours import LOST, NEAR, Stand, place_among
from lrsearch.reports.verdicts import in_words, leading
from lrsearch.trial import Diagnosis, Objective, Outcome, Record, Records, Result, Trial


def trial(number, rate, training, validation, *verdicts, seed=0, outcome="completed", **params):
    """A trial that ended with these losses, where one that knows nothing has a loss of 2."""
    signs = {"training": training, "validation": validation, "nothing": 2.0}
    found = tuple(Diagnosis(each, 0.6, {}, "as it was") for each in verdicts or ("healthy",))
    result = Result(Outcome(outcome), 100, 1.0, 1.0, verdicts=found, signs=signs)
    given = {"lr": rate, **{name.replace("__", "."): value for name, value in params.items()}}
    return Record(Trial(number, str(number), {}, seed), number, given, "grid", result)


def told(records):
    return {
        each.trial.number: [found.verdict for found in each.result.verdicts]
        for each in compare(records)
    }


def stand(number, rate, loss, verdict):
    return Stand(number, rate, {}, loss, loss, 2.0, verdicts=(Diagnosis(verdict, 0.6, {}, ""),))


stands = st.lists(
    st.tuples(
        st.sampled_from([0.001, 0.004, 0.01, 0.1, 0.3]),
        st.sampled_from([0.1, 0.2, 0.3]),
        st.sampled_from(["healthy", "too_slow", "diverged", "dead"]),
    ),
    min_size=1,
    max_size=12,
).map(lambda rows: [stand(number, *row) for number, row in enumerate(rows)])


@given(stands)
def test_the_place_of_a_trial_is_that_of_its_rate(company: list[Stand]) -> None:
    def best(found):
        return min((each for each in found if each.sound), key=lambda s: s.order, default=None)

    places = place_among(company)
    assert sorted(each.own.number for each in places) == [each.number for each in company]
    for each in places:
        rate = each.own.rate
        above = [other for other in company if other.rate > rate]
        near = [s for s in above if s.rate <= NEAR * rate and s.verdicts[0].verdict in LOST]
        assert each.lower == best([other for other in company if other.rate < rate])
        assert each.higher == best(above)
        assert each.edge == min(near, key=lambda s: (s.rate, s.number), default=None)


def test_a_rate_at_which_both_losses_are_worse_than_at_a_lower_one_is_too_high() -> None:
    sound = trial(1, 0.01, 0.2, 0.3)
    assert told([sound, trial(2, 0.1, 0.3, 0.4)]) == {1: ["healthy"], 2: ["oscillating"]}
    kept = trial(2, 0.1, 0.3, 0.4, "unstable", "overfitting")
    assert told([sound, kept])[2] == ["unstable", "overfitting"]
    # The training loss alone, or the validation loss alone, says nothing of the rate.
    assert told([sound, trial(2, 0.1, 0.1, 0.6)])[2] == ["healthy"]
    assert told([sound, trial(2, 0.1, 0.3, 0.2)])[2] == ["healthy"]
    # What a high rate cannot bring down says nothing of the model.
    assert told([sound, trial(2, 0.1, 1.5, 1.5, "underfitting")])[2] == ["oscillating"]
    found = compare([sound, trial(2, 0.1, 1.1, 1.2)])[1].result.verdicts[0]
    assert found.evidence["neighbour"] == 1 and found.evidence["neighbour_lr"] == 0.01
    assert found.evidence["missed"] == pytest.approx(0.5) and found.confidence > 0.9
    assert found.advice == (
        "the rate is too high, and it missed 50% of what trial 1 learned at lr 0.01: "
        "try rates around 0.01"
    )


@pytest.mark.parametrize("steps", [5, 12, 40])
def test_a_loss_that_only_falls_is_not_said_to_oscillate(steps: int) -> None:
    """At the best rate 1 / s, above it at a rate too high, and below it at one too low."""
    records = []
    for number, (rate, rest) in enumerate([(1e-4, 4.0), (1e-2, 0.0), (1.0, 4.0)], 1):
        curve = {"step": [*range(1, steps + 1)], "loss": [rest + 1 / (s + 1) for s in range(steps)]}
        loss = Objective("loss", "min")
        result = Result(Outcome.COMPLETED, steps, 1.0, 1.0)
        verdicts = diagnose({}, curve, Records(), result, loss)
        signs = read_signs(curve, Records(), result, loss)
        result = replace(result, verdicts=verdicts, signs=signs)
        trial = Trial(number, str(number), {}, 0)
        records.append(Record(trial, number, {"lr": rate}, "grid", result))
    found = told(records)
    assert found[1] == ["too_slow"] and found[3] == ["oscillating"]
    assert "oscillating" not in found[2]
    shown = [leading(each.result) for each in compare(records)]
    assert (shown[0], shown[2]) == ("too_slow", "too_high") and shown[1] != "too_high"
    assert [in_words(name) for name in shown[::2]] == ["too slow", "rate too high"]


def test_a_rate_beside_one_that_learns_nothing_is_at_the_edge_where_it_gains_nothing() -> None:
    def swings(record, share):
        signs = {**record.result.signs, "swing": share}
        return replace(record, result=replace(record.result, signs=signs))

    sound, own = swings(trial(1, 0.01, 0.2, 0.3), 0.005), swings(trial(2, 0.1, 0.201, 0.301), 0.011)
    lost = trial(3, 0.3, 2.0, 2.0, "diverged", outcome="diverged")
    assert told([sound, own, lost])[2] == ["oscillating"]
    found = compare([sound, own, lost])[1].result.verdicts[0]
    assert found.evidence["lost_lr"] == 0.3 and "nothing is learned at lr 0.3" in found.advice
    assert told([sound, own])[2] == ["healthy"], "Nobody knows where the edge is."
    assert told([sound, own, replace(lost, params={"lr": 1.0})])[2] == ["healthy"]
    assert told([sound, swings(own, 0.009), lost])[2] == ["healthy"], "It is as steady."
    alike = replace(sound, params={"lr": 0.098})
    assert told([alike, own, lost])[2] == ["healthy"], "Their rates are nearly equal."
    better = swings(trial(2, 0.1, 0.19, 0.301), 0.011)
    assert told([sound, better, lost])[2] == ["healthy"]


def test_a_rate_at_which_less_is_learned_than_at_a_higher_one_is_too_low() -> None:
    sound = trial(2, 0.1, 0.2, 0.3)
    assert told([trial(1, 0.01, 1.2, 1.3), sound])[1] == ["too_slow"]
    assert told([trial(1, 0.01, 1.6, 1.6, "underfitting"), sound])[1] == ["too_slow"]
    assert told([trial(1, 0.01, 0.5, 0.6), sound])[1] == ["healthy"]
    # Swings are no sign of a rate that is too low, and a model that is too small stays so.
    assert told([trial(1, 0.01, 1.2, 1.3, "oscillating"), sound])[1] == ["oscillating"]
    poor = trial(2, 0.1, 1.4, 1.4, "underfitting")
    assert told([trial(1, 0.01, 1.8, 1.8, "underfitting"), poor])[1] == ["too_slow", "underfitting"]


def test_a_steady_rate_is_the_one_to_go_to() -> None:
    """Where it is as good as the best, by whose curve the rate is too high."""
    low, lost = trial(1, 0.001, 1.2, 1.3), trial(2, 9.0, 2.0, 2.0, "diverged")
    wild, steady = trial(3, 1.0, 0.2, 0.2, "unstable"), trial(4, 0.1, 0.22, 0.22)
    for records, number in (([low, lost, wild, steady], 4), ([low, lost, wild], 3)):
        for each in compare(records)[:2]:
            assert each.result.verdicts[0].evidence["neighbour"] == number
    worse = trial(4, 0.1, 0.4, 0.4)
    assert compare([low, wild, worse])[0].result.verdicts[0].evidence["neighbour"] == 3


def test_a_loss_that_stays_high_where_a_higher_rate_does_better_is_no_matter_of_the_model() -> None:
    low, good = trial(1, 0.01, 1.4, 1.3, "underfitting"), trial(2, 0.1, 1.1, 1.1)
    assert told([low, good])[1] == ["too_slow"]
    assert told([low, trial(2, 0.1, 1.35, 1.25, "underfitting")])[1] == ["underfitting"]
    assert told([low, trial(2, 0.001, 1.1, 1.1)])[1] == ["oscillating"]


def test_more_than_all_is_missed_by_who_lost_it() -> None:
    low, good = trial(1, 0.01, 2.1, 2.1, "too_slow"), trial(2, 0.1, 1.1, 1.1)
    found = compare([low, good])[0].result.verdicts[0]
    assert found.evidence["missed"] > 1 and "it missed all of what trial 2 learned" in found.advice


def test_a_model_with_which_no_rate_learns_what_another_does_is_too_small() -> None:
    small = [trial(k, rate, 1.1, 1.1, model__hidden=[1]) for k, rate in ((1, 0.01), (2, 0.1))]
    large = trial(3, 0.02, 0.1, 0.2, model__hidden=[64])
    assert told([*small, large]) == {1: ["underfitting"], 2: ["underfitting"], 3: ["healthy"]}
    assert (
        "trial 3 learned with model.hidden [64]"
        in compare([*small, large])[0].result.verdicts[0].advice
    )
    # One that still falls may come further; one that is as good is not.
    slow = [trial(k, rate, 1.1, 1.1, "too_slow", model__hidden=[1]) for k, rate in ((1, 0.01),)]
    assert told([*slow, large])[1] == ["too_slow"]
    assert told([*small, trial(3, 0.02, 0.9, 0.9, model__hidden=[64])])[1] == ["healthy"]
    # Of another batch size nothing is said.
    assert told([*small, replace(large, params={**large.params, "batch_size": 8})])[1] == [
        "healthy"
    ]


def test_a_model_may_be_too_small_where_its_rate_is_too_low_or_nothing_is_learned() -> None:
    """The model is to blame for what the best of its rates misses, too: here half of it."""
    low, good = (
        trial(k, rate, loss, loss, model__hidden=[1])
        for k, rate, loss in ((1, 0.001, 1.55), (2, 0.1, 1.1))
    )
    large = trial(3, 0.1, 0.1, 0.2, model__hidden=[64])
    assert told([low, good, large])[1] == ["too_slow", "underfitting"]
    fair = trial(2, 0.1, 0.3, 0.4, model__hidden=[1])
    assert told([low, fair, large])[1] == ["too_slow"], "Another rate makes up for all of it."
    blank = trial(4, 1e-6, 1.99, 1.99, "stagnating", model__hidden=[1])
    found = compare([good, large, blank])[2].result.verdicts
    assert [each.verdict for each in found] == ["stagnating", "underfitting"]
    assert "trial 3 learned with model.hidden [64]: try that one" in found[1].advice
    assert told([large, blank])[4] == ["stagnating", "underfitting"], "None of its rates learned."
    assert told([blank, good])[4] == ["stagnating"]
    for verdict in ("diverged", "dead"):
        lost = trial(4, 9.0, 2.0, 2.0, verdict, model__hidden=[1])
        assert told([good, large, lost])[4] == [verdict]


def test_who_would_not_catch_up_by_falling_on_is_too_small() -> None:
    def falls(share):
        found = trial(1, 0.01, 1.1, 1.1, "too_slow", model__hidden=[1])
        verdict = replace(found.result.verdicts[0], evidence={"fall": share, "limit": 0.05})
        return replace(found, result=replace(found.result, verdicts=(verdict,)))

    large = trial(3, 0.02, 0.1, 0.2, model__hidden=[64])
    assert told([falls(0.06), large])[1] == ["too_slow", "underfitting"]
    assert told([falls(0.15), large])[1] == ["too_slow"]


def test_models_are_held_against_each_other_by_whichever_schedule() -> None:
    small = trial(1, 0.01, 1.1, 1.1, model__hidden=[1], schedule="cosine")
    large = trial(2, 0.01, 0.1, 0.2, model__hidden=[64], schedule="linear", schedule__final=0.1)
    assert told([small, large]) == {1: ["underfitting"], 2: ["healthy"]}
    advice = compare([small, large])[0].result.verdicts[0].advice
    assert "with model.hidden [64] schedule linear schedule.final 0.1" in advice
    # It is the schedule, where the same model does as well by the other one.
    same = trial(3, 0.01, 0.1, 0.2, model__hidden=[1], schedule="linear", schedule__final=0.1)
    assert told([small, large, same])[1] == ["healthy"]
    # Rates are not: by another schedule another one is best.
    rate = replace(small, params={**small.params, "lr": 0.1, "schedule": "linear"})
    assert told([trial(3, 0.01, 0.1, 0.2, model__hidden=[1], schedule="cosine"), rate])[1] == [
        "healthy"
    ]


def test_a_model_is_too_small_beside_near_trials_too() -> None:
    small = trial(1, 0.1, 1.1, 1.1, model__hidden=[8], momentum=0.5)
    large = trial(2, 0.1, 0.1, 0.2, model__hidden=[64], momentum=0.5)
    near = [
        trial(3, 0.01, 0.8, 0.8, model__hidden=[8], momentum=0.51),
        *(trial(4 + end, 1.0, 1.9, 1.9, model__hidden=[8], momentum=end) for end in (0, 1)),
    ]
    assert told([small, *near])[1] == ["oscillating"]
    assert told([small, large, *near])[1] == ["oscillating", "underfitting"]


def test_a_rate_is_too_high_by_little_only_where_it_goes_on() -> None:
    """Seeds of sound trainings differ by as much: a higher rate then does no worse."""
    lower, own = trial(1, 0.01, 0.2, 0.3), trial(2, 0.1, 0.3, 0.4)
    assert told([lower, own, trial(3, 1.0, 0.3, 0.4)])[2] == ["healthy"]
    assert told([lower, own, trial(3, 1.0, 0.6, 0.7)])[2] == ["oscillating"]
    assert told([lower, own])[2] == ["oscillating"], "Nobody knows."
    lost = trial(4, 0.3, 2.0, 2.0, "diverged", outcome="diverged")
    assert told([lower, own, lost, trial(3, 1.0, 0.3, 0.4)])[2] == ["oscillating"]
    far = trial(2, 0.1, 0.5, 0.6)
    assert told([lower, far, trial(3, 1.0, 0.5, 0.6)])[2] == ["oscillating"]


def test_a_swing_that_costs_nothing_is_none() -> None:
    lower = trial(1, 0.01, 0.3, 0.4)
    assert told([lower, trial(2, 0.1, 0.2, 0.3, "oscillating")])[2] == ["healthy"]
    assert told([lower, trial(2, 0.1, 0.3, 0.41, "oscillating")])[2] == ["oscillating"]
    assert told([trial(2, 0.1, 0.2, 0.3, "oscillating")])[2] == ["oscillating"]
    kept = compare([lower, trial(2, 0.1, 0.2, 0.3, "unstable")])[1].result.verdicts[0]
    assert kept.verdict == "unstable" and "trial 1 at lr 0.01 ended no better" in kept.advice

    # However far it swings, where a higher rate does as well: the edge is far.
    def wild(verdict):
        own = trial(2, 0.1, 0.3, 0.41, verdict)
        sure = replace(own.result.verdicts[0], confidence=0.9)
        return replace(own, result=replace(own.result, verdicts=(sure,)))

    higher = trial(3, 1.0, 0.32, 0.43)
    assert told([lower, wild("oscillating"), higher])[2] == ["healthy"]
    assert told([lower, wild("unstable"), higher])[2] == ["unstable"]
    assert told([lower, wild("oscillating"), trial(3, 1.0, 0.9, 1.0)])[2] == ["oscillating"]
    # Nor is a higher rate to be tried that is known to do no better.
    slow = compare([trial(1, 0.01, 0.3, 0.4, "too_slow"), trial(2, 0.1, 0.4, 0.6)])[0]
    assert slow.result.verdicts[0].advice == (
        "trial 2 at lr 0.1 ended no better: train longer rather than at a higher rate"
    )
    # One at which nothing is learned says so where it is near.
    for rate, near in ((0.04, True), (0.2, False)):
        lost = trial(2, rate, 2.0, 2.0, "stagnating")
        (slow,) = compare([trial(1, 0.01, 0.3, 0.4, "too_slow"), lost])[0].result.verdicts
        assert ("trial 2 at lr 0.04 ended no better: train longer" in slow.advice) is near


def test_what_has_learned_nothing_stays_so_and_says_where_others_learned() -> None:
    sound = trial(1, 0.01, 0.2, 0.3)
    for verdict in ("diverged", "dead", "stagnating"):
        for outcome in ("completed", "pruned", "diverged"):
            lost = trial(2, 1.0, 2.0, 2.0, verdict, outcome=outcome)
            found = compare([sound, lost])[1].result.verdicts[0]
            assert (found.verdict, found.confidence) == (verdict, 0.6)
            assert "trial 1 learned at lr 0.01: try rates around that" in found.advice
            assert compare([lost]) == [lost]
            assert compare([lost, replace(lost, params={"lr": 3.0})])[0] == lost
    begun = replace(sound.result.verdicts[0], verdict="diverged", evidence={"step": 0.0})
    start = replace(sound, result=replace(sound.result, verdicts=(begun,)))
    start = replace(start, trial=replace(start.trial, number=2), params={"lr": 0.1})
    assert compare([sound, start])[1] == start, "No rate has a part in it."


def test_who_is_a_neighbour() -> None:
    sound, worse = trial(1, 0.01, 0.2, 0.3), trial(2, 0.1, 0.8, 0.9)
    assert told([sound, worse])[2] == ["oscillating"]
    apart = [
        trial(2, 0.1, 0.8, 0.9, seed=1),
        trial(2, 0.1, 0.8, 0.9, batch_size=64),
        trial(2, 0.01, 0.8, 0.9),
        replace(worse, params={"rate": 0.1}),
        replace(worse, params={"lr": "high"}),
        replace(worse, result=replace(worse.result, signs={})),
        replace(worse, result=replace(worse.result, outcome=Outcome.PRUNED)),
    ]
    for other in apart:
        assert compare([sound, other])[1] == other
    empty = replace(worse, result=replace(worse.result, verdicts=()))
    waiting = replace(worse, result=None)
    assert compare([sound, empty, waiting]) == [sound, empty, waiting]
    # Known by its metric alone, turned so that less is better.
    metric = {"validation": -0.9, "nothing": -0.1}
    known = [
        replace(each, result=replace(each.result, signs={**metric, **more}))
        for each, more in ((sound, {}), (worse, {"validation": -0.5}))
    ]
    assert told(known)[2] == ["oscillating"]


losses = st.floats(0.01, 2.5)
names = st.sampled_from(
    ["healthy", "too_slow", "underfitting", "oscillating", "unstable", "overfitting", "stagnating"]
)


@given(st.lists(st.tuples(losses, losses, names), min_size=2, max_size=8), st.integers(-8, 8))
def test_neither_order_nor_scale_matters_and_nothing_contradicts(ends, power) -> None:
    records = [
        trial(k, 0.001 * 3**k, training, validation, verdict)
        for k, (training, validation, verdict) in enumerate(ends, 1)
    ]
    found = told(records)
    shuffled = records.copy()
    random.Random(0).shuffle(shuffled)
    assert told(shuffled) == found
    scaled = [
        replace(each, result=replace(each.result, signs={
            name: value * 2.0**power for name, value in each.result.signs.items()
        }))
        for each in records
    ]  # fmt: skip
    assert told(scaled) == found
    for verdicts in found.values():
        assert 1 <= len(verdicts) <= 2 and len({*verdicts}) == len(verdicts)
        assert "healthy" not in verdicts or verdicts == ["healthy"]
    best = min(
        (each for each in records if found[each.trial.number][0] != "stagnating"),
        key=lambda each: each.result.signs["validation"],
        default=None,
    )
    if best is not None:
        assert set(found[best.trial.number]) <= {*_own(best), "healthy"}, "No other did better."


def _own(record):
    return {each.verdict for each in record.result.verdicts}


SPEC = """
data: {name: digits, standardize: true, validation: 0.2}
model: {name: mlp, hidden: [16]}
train: {budget: 60ba, evaluate: 6ba, batch_size: 32, optimizer: {name: sgd, momentum: 0.9}}
objective: {metric: loss, goal: min}
search: {lr: [0.0005, 0.05]}
prune: none
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("neighbours")
    (folder / "spec.yaml").write_text(SPEC)
    asked = ["grid", str(folder / "spec.yaml"), "--runs", str(folder), "--executor", "inline"]
    assert CliRunner().invoke(app, asked, catch_exceptions=False).exit_code == 0
    return folder / "spec"


def test_a_report_and_the_page_of_a_trial_have_it(run: Path) -> None:
    stored = open_stored(str(run), run.parent)
    low, good = sorted(view_run(stored).records, key=lambda each: each.params["lr"])
    assert low.result and low.result.verdicts and good.result
    first = low.result.verdicts[0]
    assert first.verdict == "too_slow"
    assert first.evidence["neighbour"] == good.trial.number
    assert f"trial {good.trial.number} learned at lr 0.05" in first.advice
    assert {"training", "validation", "nothing", "swing"} == {*low.result.signs}
    alone = view_trial(stored, low.trial.number).record
    assert alone.result == low.result


def test_a_trial_of_an_older_version_is_looked_at_however_many_there_are(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = open_stored(str(run), run.parent)
    results = stored.history.results
    for number, result in results.items():
        results[number] = replace(result, verdicts=None, signs={})
    monkeypatch.setattr(diagnosing, "MOST", 1)
    assert [each.result and each.result.verdicts for each in view_run(stored).records] == [None] * 2
    for number in results:
        found = view_trial(stored, number).record.result
        assert found and found.verdicts
