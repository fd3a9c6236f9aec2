"""Reasons that differ in their numbers alone."""

import re

from hypothesis import given
from hypothesis import strategies as st

from lrsearch.analysis.reasons import merge_reasons

FEW = "{} steps a structure are too few to gain by lanes, which are tried from 1000 on"


def test_what_differs_in_its_numbers_alone_is_one_reason():
    reasons = [FEW.format(n) for n in (720, 44, 180)]
    other = "in lanes a step takes {} times as long"
    assert merge_reasons([*reasons, other.format("1.10"), "alone", reasons[0]]) == {
        FEW.format("44 to 720"): reasons,
        other.format("1.10"): [other.format("1.10")],
        "alone": ["alone"],
    }
    # The numbers in names part them.
    named = ["layers.3 of Conv2d has none", "layers.4 of Conv2d has none", "x-1", "x-2"]
    # So do those of places, and what is no plain number stays whole.
    named += [f"it reads a value (in its layer {n}, Net; nets.py, line 12)" for n in (0, 1)]
    named += [f"it reads a value (nets.py, line {n})" for n in (12, 30)]
    named += ["1,024 steps are few", "20,480 steps are few"]
    assert list(merge_reasons(named)) == named


@given(
    st.lists(st.tuples(st.integers(0, 9999), st.floats(0, 9).map(lambda f: f"{f:.2f}")), min_size=1)
)
def test_each_reason_lies_within_what_is_told(pairs):
    texts = [f"{few} of {part} times" for few, part in pairs]
    ((told, own),) = merge_reasons(texts).items()
    assert own == list(dict.fromkeys(texts))
    spans = re.fullmatch(r"(.+) of (.+) times", told).groups()
    for span, values in zip(spans, zip(*pairs, strict=True), strict=True):
        ends = [float(end) for end in span.split(" to ")]
        numbers = [float(value) for value in values]
        assert (ends[0], ends[-1]) == (min(numbers), max(numbers))
