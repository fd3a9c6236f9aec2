"""Frozen values: what a dataclass says of them."""

import dataclasses
import pickle
from dataclasses import dataclass, field

from lrsearch.frozen import alter, frozen
from lrsearch.trial import Objective, Result


@frozen
class Ours:
    name: str
    values: tuple[float, ...] = ()
    seen: dict[str, int] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Theirs:
    name: str
    values: tuple[float, ...] = ()
    seen: dict[str, int] = field(default_factory=dict, repr=False, compare=False)


def test_a_frozen_value_is_equal_hashed_and_shown_as_a_dataclass_is():
    for nan in (float("nan"),):
        cases = [("a",), ("a", (1.0,)), ("a", (nan,)), ("b", (), {"x": 1}), ("b", (), {})]
        for left in cases:
            for right in cases:
                found, known = Ours(*left) == Ours(*right), Theirs(*left) == Theirs(*right)
                assert found is known
                if found:
                    assert hash(Ours(*left)) == hash(Ours(*right))
            assert repr(Ours(*left)) == repr(Theirs(*left)).replace("Theirs", "Ours")
    assert Ours("a") != Theirs("a") and Ours("a") != ("a", ())
    assert Ours("a").seen is not Ours("a").seen
    assert pickle.loads(pickle.dumps(Ours("a", (1.0,)))) == Ours("a", (1.0,))
    assert dataclasses.replace(Ours("a"), name="b") == Ours("b")


def test_an_altered_value_is_the_replaced_one():
    objective = Objective("accuracy", "max")
    assert alter(objective, at="best") == dataclasses.replace(objective, at="best")
    assert objective.at == "last" and repr(objective).endswith("at='last')")
    assert isinstance(alter(objective), Objective) and not isinstance(objective, Result)
