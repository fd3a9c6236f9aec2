"""Globals of the user's code: what a trial changes in them is no other trial's."""

import sys
import textwrap
from types import ModuleType, SimpleNamespace

import functorch
import numpy as np
import pytest
from devices import assert_same_numbers, close
from test_fused import both
from test_own_code import own_config, write_nets
from test_tables import INLINE, lrsearch
from test_train import cohort, run

from lrsearch.store import read as read_run
from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.users import anew, importing
from lrsearch.trial import Noted, Outcome

NETS = """
    import functools
    import itertools
    import random
    from argparse import Namespace
    from collections import OrderedDict, defaultdict, deque
    from dataclasses import dataclass

    import numpy as np
    import torch
    from sklearn.datasets import load_digits
    from torch import nn

    import state

    COUNT = 0
    LIST, DICT, SET, DEQUE, BYTES = [], {}, set(), deque(), bytearray()
    NESTED = {"calls": [0]}
    BY_DEFAULT = defaultdict(int)
    ORDERED = OrderedDict(first=0, other=0)
    CYCLE, ZIPPED = itertools.cycle(range(50)), zip(itertools.count(), itertools.count())
    NUMBERED, MAPPED = enumerate(itertools.count()), map(float, range(100))
    TENSOR, ARRAY, SPACE = torch.zeros(()), np.zeros(2), Namespace(calls=0)
    ITERATOR, DRAWS, NUMBERS = itertools.count(), np.random.default_rng(0), random.Random(0)
    OPTIMIZER = None


    class Shared:
        calls = 0
        kept = []

        def __init__(self):
            self.calls = 0


    @dataclass(slots=True)
    class Slotted:
        calls: int = 0


    OBJECT, SLOTTED, BACKBONE = Shared(), Slotted(), nn.Linear(1, 1)


    @functools.lru_cache
    def backbone():
        return nn.Linear(1, 1)


    def generate():
        for number in itertools.count():
            yield number


    GENERATOR = generate()


    def mutable(calls=[]):
        calls.append(1)
        return len(calls)


    def closed():
        calls = 0

        def tick():
            nonlocal calls
            calls += 1
            return calls

        return tick


    tick = closed()


    def attribute():
        attribute.calls = getattr(attribute, "calls", 0) + 1
        return attribute.calls


    def added():
        globals()["NEW"] = globals().get("NEW", 0) + 1
        return globals()["NEW"]


    def moved(layer):
        with torch.no_grad():
            layer.bias += 1
        return float(layer.bias.detach())


    def ordered():
        ORDERED["first"] = ORDERED.pop("first") + 1  # Behind the other.
        ORDERED[len(ORDERED)] = 0
        return next(iter(ORDERED)) == "other" and sum(ORDERED.values()) + len(list(ORDERED))


    def hooked():
        BACKBONE.register_forward_hook(lambda *_: None)
        BACKBONE(torch.zeros(1, 1))
        return len(BACKBONE._forward_hooks)


    def late():
        import lazy

        calls = state.table["registered"](), lazy.tick(), state.late[0](), lazy.Late.calls
        return sum(calls) / 10


    def replaced():
        BACKBONE.register_buffer("calls", 1 + getattr(BACKBONE, "calls", torch.zeros(())))
        return int(BACKBONE.calls)


    def count(kind):
        global COUNT
        if kind == "global":
            COUNT += 1
            return COUNT
        if kind == "class":
            Shared.calls += 1
            return Shared.calls
        if kind == "another module":
            state.calls += 1
            return state.calls
        if kind == "seed":
            torch.set_default_dtype(torch.float32)
            state.table[kind] = state.table.get(kind, 0) + 1
            return state.table[kind]
        if kind == "array":
            ARRAY[0] += 1
            return ARRAY[0]
        if kind == "bytearray":
            BYTES.append(1)
        return {
            "list": lambda: LIST.append(1) or len(LIST),
            "dict": lambda: DICT.update({len(DICT): 1}) or len(DICT),
            "set": lambda: SET.add(len(SET)) or len(SET),
            "deque": lambda: DEQUE.append(1) or len(DEQUE),
            "bytearray": lambda: len(BYTES),
            "nested": lambda: NESTED["calls"].append(1) or len(NESTED["calls"]),
            "defaultdict": lambda: BY_DEFAULT.update(a=BY_DEFAULT["a"] + 1) or BY_DEFAULT["a"],
            "tensor": lambda: float(TENSOR.add_(1)),
            "namespace": lambda: vars(SPACE).update(calls=SPACE.calls + 1) or SPACE.calls,
            "iterator": lambda: next(ITERATOR),
            "generator": lambda: next(GENERATOR),
            "cycle": lambda: next(CYCLE),
            "zip": lambda: sum(next(ZIPPED)),
            "enumerate": lambda: sum(next(NUMBERED)),
            "map": lambda: next(MAPPED),
            "numpy's draws": lambda: 10 * DRAWS.random(),
            "Python's draws": lambda: 10 * NUMBERS.random(),
            "a class's list": lambda: Shared.kept.append(1) or len(Shared.kept),
            "object": lambda: vars(OBJECT).update(calls=OBJECT.calls + 1) or OBJECT.calls,
            "slots": lambda: setattr(SLOTTED, "calls", SLOTTED.calls + 1) or SLOTTED.calls,
            "default": mutable, "closure": tick, "attribute": attribute, "added": added,
            "a module's weights": lambda: moved(BACKBONE),
            "a cached module": lambda: moved(backbone()),
            "a module's buffers": replaced,
            "ordered": ordered, "a module's hooks": hooked, "a late import": late,
        }[kind]()


    class Warms(nn.Module):
        def __init__(self, kind, places=("forward",)):
            super().__init__()
            self.linear, self.kind, self.places = nn.Linear(64, 10), kind, places
            self.scale = 1 + 0.1 * count(kind) if "init" in places else 1

        def forward(self, x):
            x = self.linear(x.flatten(1)) * self.scale
            if self.training and "forward" in self.places:
                x = x * (1 + 0.1 * count(self.kind))
            return x


    def digits():
        global LEFT
        found = load_digits()
        LEFT = 10
        return (found.images[:400, None] / 16).astype("float32"), found.target[:400]


    class Needs(nn.Linear):
        def __init__(self):
            super().__init__(64, LEFT)

        def forward(self, x):
            return super().forward(x.flatten(1))


    def its_own(model, batch):
        global OPTIMIZER
        x, y = batch
        if OPTIMIZER is None:
            OPTIMIZER = torch.optim.SGD(model.head.parameters(), 0.5)
        loss = nn.functional.cross_entropy(model(x), y)
        if model.training:
            OPTIMIZER.zero_grad()
            loss.backward()
            OPTIMIZER.step()
            loss = nn.functional.cross_entropy(model(x), y)
        return loss


    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(64, 8), nn.Linear(8, 10)

        def forward(self, x):
            return self.head(self.body(x.flatten(1)).tanh())


    class Wide(nn.Linear):
        def __init__(self):
            super().__init__(64, 10)
            torch.set_default_dtype(torch.float64)

        def forward(self, x):
            return super().forward(x.flatten(1)) * torch.ones(()).to(x.dtype)
"""

STATE = "calls = 0\ntable = {}\nlate = []\n"

LAZY = """
    import state


    class Late:
        calls = 0

        def __call__(self):
            Late.calls += 1
            return Late.calls


    def tick(calls=[]):
        calls.append(1)
        return len(calls)


    state.table["registered"] = Late()
    state.late.append(Late())
"""

SHORT = {"budget": "6ba", "evaluate": "3ba", "batch_size": 32}


@pytest.fixture
def nets(tmp_path):
    (tmp_path / "state.py").write_text(STATE)
    (tmp_path / "lazy.py").write_text(textwrap.dedent(LAZY))
    return write_nets(tmp_path, NETS)


def code(name, **arguments):
    return {"class_path": f"nets.{name}", "init_args": arguments}


def trained(nets, model, *, seeds=(0, 1, 2), data=None, **train):
    """The ends of trials that one process trains, and of the last by itself."""
    configs = [own_config(data or code("digits"), model, **SHORT, **train)] * len(seeds)
    importing.forget_imports()
    together = run(*configs, seeds=list(seeds), place=nets)
    importing.forget_imports()
    alone = run(configs[-1], configs[-1], seeds=[seeds[-1], 9], place=nets)[0]
    return together, alone


KINDS = (
    *("global", "class", "another module", "array", "bytearray", "list", "dict", "set", "deque"),
    *("nested", "defaultdict", "tensor", "namespace", "iterator", "numpy's draws", "object"),
    *("Python's draws", "a class's list", "slots", "default", "closure", "attribute", "added"),
    *("a module's weights", "a cached module", "a module's buffers", "ordered", "a module's hooks"),
    *("cycle", "zip", "enumerate", "map", "a late import"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_no_trial_sees_what_another_changed(nets, kind):
    together, alone = trained(nets, code("Warms", kind=kind, places=["forward", "init"]))
    assert {each.result.outcome for each in together} == {Outcome.COMPLETED}, together[0].result
    assert_same_numbers(together[-1].curve, alone.curve)


def test_what_the_data_s_function_leaves_is_there_for_every_trial(nets):
    together, alone = trained(nets, code("Needs"))
    assert together[-1].result.outcome is Outcome.COMPLETED, together[-1].result.reason
    assert_same_numbers(together[-1].curve, alone.curve)


def test_an_optimizer_kept_in_a_global_is_each_trial_s_own(nets):
    together, alone = trained(nets, code("Split"), step=code("its_own"))
    assert_same_numbers(together[-1].curve, alone.curve)


def test_lanes_begin_with_the_same_globals(nets):
    own = own_config(code("digits"), code("Warms", kind="class", places=["init"]), **SHORT)
    importing.forget_imports()
    for alone, together in both(own, own, own, seeds=[0, 1, 2], place=nets)[0]:
        assert together.result.engine == "fused"
        assert together.result.last["loss"] == close(alone.result.last["loss"], 2e-6)


LOOKED = """

    import functorch


    class Looked:
        __slots__ = ("calls",)

        def __init__(self):
            self.calls = 0

        def __getattribute__(self, name):
            functorch.looks = getattr(functorch, "looks", 0) + 1  # It is not put back.
            return object.__getattribute__(self, name)


    LOOKED = Looked()
"""


def test_globals_are_looked_at_as_often_however_long_a_trial_is(nets, tmp_path):
    write_nets(tmp_path, NETS + LOOKED)

    def looks(trials, **given):
        own = own_config(code("digits"), code("Split"), **SHORT | given)
        importing.forget_imports()
        before = getattr(functorch, "looks", 0)
        ended = run(*[own] * trials, seeds=list(range(trials)), place=nets)
        assert [each.result.outcome for each in ended] == [Outcome.COMPLETED] * trials
        return functorch.looks - before

    two, three, four = map(looks, (2, 3, 4))
    assert 0 < three - two == four - three
    assert looks(2, budget="30ba") == two


def test_a_default_type_set_by_a_model_is_no_other_s(nets):
    importing.forget_imports()
    own = [own_config(code("digits"), code(each), **SHORT) for each in ("Wide", "Split")]
    after = run(*own, place=nets)[1]
    importing.forget_imports()
    assert_same_numbers(after.curve, run(own[1], place=nets).curve)


def test_what_cannot_be_put_back_is_named(nets):
    own = own_config(code("digits"), code("Warms", kind="generator"), **SHORT)
    importing.forget_imports()
    events = list(run_cohort(cohort(own, own, seeds=[0, 1], place=nets)))
    notes = [each.text for each in events if isinstance(each, Noted)]
    assert len(notes) == 1 and notes[0].startswith("nets.GENERATOR changed in trials before")


def test_a_trial_that_waits_finds_its_own_globals_again(nets):
    own = own_config(code("digits"), code("Warms", kind="nested"), **SHORT)
    importing.forget_imports()
    (run(own, place=nets),)
    count = importing.resolve("nets.count", nets)
    anew.put_back(nets)
    assert [count("nested"), count("global")] == [2, 1]
    taken = anew.take_out(nets)
    assert [count("nested"), count("nested"), count("global"), count("list")] == [2, 3, 1, 1]
    anew.put_back(nets)
    anew.put_in(taken)
    assert [count("nested"), count("global"), count("list")] == [3, 2, 1]


def test_a_search_goes_on_to_the_values_of_one_that_was_not_interrupted(nets, tmp_path):
    """Solo trials of one process, and the same ones of two."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "data: {class_path: nets.digits}\n"
        "model: {class_path: nets.Warms, init_args: {kind: list}}\n"
        "train: {budget: 6ba, evaluate: 3ba, batch_size: 32}\nobjective: loss\n"
        "search: {lr: {min: 1e-2, max: 1e-1, points: 3}}\n"
    )
    common = (str(spec), "--engine", "solo", "--allow-import", "nets", *INLINE)
    found = []
    for name, ends in (("whole", ("3",)), ("parts", ("1", "2", "3"))):
        for trials in ends:
            importing.forget_imports()
            result = lrsearch("random", *common, "--trials", trials, "--runs", str(tmp_path / name))
            assert result.code == 0, result.err
        results = read_run(tmp_path / name / "spec").results.values()
        found.append([dict(each.last) for each in results])
    assert_same_numbers(*found)


def test_an_array_is_told_apart_by_its_bits():
    """NaN is no change, minus zero is one, and what lies between its entries is none of it."""
    whole = np.full((4, 4), np.nan)
    space = SimpleNamespace(strided=whole[:, ::2], zero=np.zeros(()))
    kept = anew.Globals()
    sys.modules["held_arrays"] = held = ModuleType("held_arrays")
    held.space = space
    try:
        kept.keep(["held_arrays"])
        whole[:, 1] = 5
        assert kept.changed() == []
        space.zero[...] = -0.0
        space.strided[0, 0] = 1
        assert len(kept.changed()) == 2 and kept.put_back() == []
        assert np.isnan(whole[0, 0]) and not np.signbit(space.zero) and whole[0, 1] == 5
    finally:
        del sys.modules["held_arrays"]
