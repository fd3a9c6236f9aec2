"""A searched budget in a spec: the notes on it, and the line to write where it stands elsewhere."""

import pytest
from keys import trial_key

from lrsearch.errors import SpecError
from lrsearch.spec import read_spec
from lrsearch.spec.model import resolve
from lrsearch.tuner.foreseeing import foresee_sharing

TEXT = """
data: {name: digits}
model: {name: mlp}
train: {lr: 0.1, batch_size: 64, schedule: %s, warmup: %s, evaluate: %s%s}
search: {%s}
"""


@pytest.fixture
def spec(tmp_path):
    def read(budget="[5ep, 10ep]", schedule="wsd", warmup="null", evaluate="1ep", more="", own=""):
        path = tmp_path / "b.yaml"
        searched = ", ".join(filter(None, [f"budget: {budget}" if budget else "", more]))
        path.write_text(TEXT % (schedule, warmup, evaluate, own, searched))
        return read_spec(path)

    return read


def test_a_searched_budget_is_part_of_a_point_as_a_fixed_one_is(spec):
    searched, fixed = spec(), spec(budget="", own=", budget: 10ep")
    one = resolve(searched, {"budget": "10ep"}, "classification")
    other = resolve(fixed, {}, "classification")
    assert one == other
    assert trial_key(one, {}, 0, None) == trial_key(other, {}, 0, None)
    assert searched.notes == ()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"budget": "[5ep, 112ba, 225ba]"}, "5ep and 112ba are the same 112 steps"),
        # Of half the batch, too, an epoch has twice the steps.
        ({"budget": "[5ep, 112ba, 225ba]", "more": "batch_size: [32, 64]"}, ""),
        ({"budget": "{min: 5ep, max: 40ep}"}, "a list, such as"),
        ({"warmup": "0.05dur"}, "warmup: 1ep"),
        ({"warmup": "1ep"}, ""),
        ({"evaluate": "0.1dur"}, "evaluate: 1ep"),
        ({"evaluate": "0.1dur", "schedule": "cosine"}, ""),
        (
            {"warmup": "0.05dur", "schedule": "cosine", "more": "schedule: [cosine, wsd]"},
            "share no",
        ),
    ],
)
def test_what_keeps_budgets_apart_is_noted(spec, given, told):
    notes = [each for each in spec(**given).notes if "both fixed" not in each]
    assert len(notes) == bool(told) and (not told or told in notes[0])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"budget": "", "own": ", budget: [5ep, 10ep]"}, "budget: [5ep, 10ep] under search"),
        ({"budget": "[5, 10]"}, "write budget: [5ep, 10ep]; that is epochs, 5ba is steps"),
        ({"budget": "[0ep, 5ep]"}, "no training at all"),
        ({"budget": "[-5ep]"}, "above 0"),
        ({"budget": "[0.5dur]"}, "units ep, ba, sp"),
        ({"budget": "[5ep, 5.0ep]"}, "listed twice"),
        ({"budget": "[10m]"}, "units ep, ba, sp"),
        ({"budget": "10ep"}, "is one value"),
        ({"budget": "[]"}, "nothing to choose from"),
        ({"budget": "{min: 5ep, max: 200ba}"}, "not in the unit of min"),
        ({"budget": "auto"}, "list of values"),
    ],
)
def test_what_is_no_budget_is_refused_with_the_line(spec, given, told):
    with pytest.raises(SpecError) as error:
        spec(**given)
    faults = error.value.faults
    assert told in " ".join(f"{each.message} {each.hint}" for each in faults)


def epochs(sharing):
    """The epochs that are worth, and trained, rounded; None where nothing is shared."""
    return sharing and (round(sharing.epochs), round(sharing.epochs - sharing.shared))


@pytest.mark.parametrize(
    ("schedule", "expected"), [("wsd", (75, 47)), ("constant", (75, 40)), ("cosine", None)]
)
def test_what_a_grid_will_share_is_foreseen(spec, schedule, expected):
    assert epochs(foresee_sharing(spec("[5ep, 10ep, 20ep, 40ep]", schedule))) == expected


def test_what_is_foreseen_is_of_the_whole_grid(spec):
    sharing = foresee_sharing(spec("[5ep, 10ep, 20ep, 40ep]", more="lr: [0.1, 0.2, 0.3]"))
    assert epochs(sharing) == (225, 141) and sharing.trials == 12
    assert foresee_sharing(spec("{min: 5ep, max: 9ep}")) is None
    assert foresee_sharing(spec("[5ep]")) is None
