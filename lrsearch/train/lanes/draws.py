"""Random numbers in lanes: each lane draws what solo would draw, from a generator of its own.

Under vmap torch would draw for all lanes at once from the one global generator. Here each call gets
a tensor [lanes, ...], filled lane after lane by the very operation that solo calls, with the lane's
generator; lanes whose generators are at one state get copies of what the first of them draws.
Before a recorded step is replayed it is filled anew. What torch computes from such
numbers (torch.normal adds a mean) is computed, and recorded, in torch's order.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from lrsearch.train.lanes.plain import count_lanes, level_of_lanes, whole_of
from lrsearch.train.tape import NotRecordable, renewed, unrecorded

Fill = Callable[[Tensor, torch.Generator], object]
"""A function that draws the numbers of one lane into a tensor."""


# the generators


class Generators:
    """A random generator for each lane. Lanes whose generators are put at the same state, as those
    of trials with the same seed, draw the same numbers: one of these lanes draws, the others follow
    it."""

    def __init__(self, own: Sequence[torch.Generator]) -> None:
        self._own = list(own)
        self._leaders = list(range(len(self._own)))
        """The lane whose generator stands for each lane's."""
        self._puts = [0] * len(self._own)
        """Hashes of the states at which leaders were put."""
        self._spans: list[tuple[int, int, int]] = []
        """Leaders with spans of lanes that follow them, from the first to behind the last."""

    def __len__(self) -> int:
        return len(self._own)

    @property
    def device(self) -> torch.device:
        """The device of the generators, of which there is at least one."""
        return self._own[0].device

    def read(self, lane: int) -> Tensor:
        """The state of a lane's generator."""
        return self._own[self._leaders[lane]].get_state()

    def write(self, lane: int, state: Tensor) -> None:
        """Put a lane's generator at a state."""
        self.part(lane)
        held = state.numpy().tobytes()
        put = hash(held)
        for leader in dict.fromkeys(self._leaders):
            same = leader != lane and self._puts[leader] == put
            if same and self._own[leader].get_state().numpy().tobytes() == held:
                self._leaders[lane] = leader
                break
        else:
            self._own[lane].set_state(state)
            self._puts[lane] = put
        self._spans = [*self._find_spans()]

    def part(self, lane: int) -> torch.Generator:
        """A lane's generator, which no other lane follows, and which follows none."""
        leader = self._leaders[lane]
        others = [place for place, each in enumerate(self._leaders) if each == leader != place]
        if leader == lane and others:
            # What stood for all stays with them.
            leader = others[0]
            self._own[lane], self._own[leader] = self._own[leader], self._own[lane]
            self._puts[leader] = self._puts[lane]
            for place in others:
                self._leaders[place] = leader
        if leader != lane:
            self._own[lane].set_state(self._own[leader].get_state())
            self._leaders[lane] = lane
            self._spans = [*self._find_spans()]
        return self._own[lane]

    def _find_spans(self) -> Iterator[tuple[int, int, int]]:
        first = 0
        for leader, places in itertools.groupby(enumerate(self._leaders), lambda each: each[1]):
            last = first + len([*places])
            # A leader is the first of its first span, or stands elsewhere.
            begin = first + (leader == first)
            if leader in range(begin, last):
                yield leader, begin, leader
                begin = leader + 1
            if begin < last:
                yield leader, begin, last
            first = last

    def fill(self, numbers: Tensor, fill: Fill) -> None:
        """Draw the numbers of all lanes, [lanes, ...]."""
        for lane in dict.fromkeys(self._leaders):
            fill(numbers[lane], self._own[lane])
        for leader, first, last in self._spans:
            numbers[first:last].copy_(numbers[leader])


# the numbers of a step


@dataclass(frozen=True, eq=False)
class _Draw:
    """The numbers of one call, [lanes, ...], and the function that draws a lane's; then all are
    divided."""

    numbers: Tensor
    fill: Fill
    divisor: float = 1.0


class Noise:
    """The random numbers of a step, a generator a lane, so that lanes do not see each other.

    They are drawn as the solo engine draws them from its one global generator, and equal at equal
    states. `draws` are in the order of the calls of one step; `draw` fills them anew before a step
    is replayed. Without generators (in evaluation) nothing may be drawn.
    """

    def __init__(self, generators: Generators | Sequence[torch.Generator]) -> None:
        if not isinstance(generators, Generators):
            generators = Generators(generators)
        self.generators: Generators = generators
        self.draws: list[_Draw] = []

    def add(
        self, lane: Tensor, fill: Fill, divisor: float = 1.0, what: str = "draws random numbers"
    ) -> Tensor:
        """Add one more call: its numbers, [lanes, ...], each lane's laid out as `lane` is, which is
        dense: drawing fills memory in order. Raises NotRecordable, naming `what` the model does."""
        if not self.generators:
            raise NotRecordable(f"it {what} in evaluation, too")
        if lane.device.type != self.generators.device.type:
            raise NotRecordable(
                f"it {what} on the {lane.device.type}, not where it trains, as by device=x.device"
            )
        numbers = torch.empty_strided(
            (len(self.generators), *lane.shape),
            (lane.numel(), *lane.stride()),
            dtype=lane.dtype,
            device=lane.device,
        )
        self.draws.append(_Draw(numbers, fill, divisor))
        self._fill(self.draws[-1])
        return numbers

    @property
    def bytes(self) -> int:
        """Bytes of the numbers, which are kept."""
        return sum(each.numbers.nbytes for each in self.draws)

    def draw(self) -> None:
        """New numbers for every call."""
        for each in self.draws:
            self._fill(each)

    def _fill(self, draw: _Draw) -> None:
        self.generators.fill(draw.numbers, draw.fill)
        if draw.divisor != 1.0:
            draw.numbers.div_(draw.divisor)


# the rules


def draw_rules(noise: Noise) -> dict[Callable[..., Any], Callable[..., Any]]:
    """Replacements for torch's functions that draw random numbers, within one vmap over lanes."""
    rules: dict[Callable[..., Any], Callable[..., Any]] = {
        torch.rand: functools.partial(_fresh, "uniform_"),
        torch.randn: functools.partial(_fresh, "normal_"),
        torch.rand_like: functools.partial(_alike, "uniform_"),
        torch.randn_like: functools.partial(_alike, "normal_"),
        torch.randint: _integers,
        torch.randint_like: _integers_alike,
        torch.randperm: _permutation,
        torch.bernoulli: _bernoulli,
        Tensor.bernoulli: _bernoulli,
        torch.normal: _normal,
        torch.multinomial: _choose,
        Tensor.multinomial: _choose,
        **{each: functools.partial(_by_constants, each) for each in _BY_VALUES},
        torch.dropout: drop,
        torch.dropout_: functools.partial(drop, in_place=True),
        torch.feature_dropout: functools.partial(drop, channels=True),
        torch.feature_dropout_: functools.partial(drop, channels=True, in_place=True),
        torch.alpha_dropout: _alpha_dropout,
        torch.alpha_dropout_: functools.partial(_alpha_dropout, in_place=True),
        torch.feature_alpha_dropout: functools.partial(_alpha_dropout, channels=True),
        torch.feature_alpha_dropout_: functools.partial(
            _alpha_dropout, channels=True, in_place=True
        ),
        **{getattr(Tensor, name): functools.partial(_in_place, name) for name in _IN_PLACE},
    }
    own = {each: functools.partial(_call, noise, each, rule) for each, rule in rules.items()}
    return {**own, torch.empty: _empty, Tensor.new: _new}


_BY_VALUES = (torch._standard_gamma, torch._sample_dirichlet, torch.binomial, torch.poisson)
"""Functions that draw as many numbers as the values of their arguments demand."""

_IN_PLACE = (
    *("uniform_", "normal_", "random_", "bernoulli_"),
    *("exponential_", "cauchy_", "log_normal_", "geometric_"),
)


def _call(
    noise: Noise,
    function: Callable[..., Any],
    rule: Callable[..., Tensor],
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    """Call a rule with the arguments that all rules share."""
    if kwargs.pop("generator", None) is not None:
        raise NotRecordable("it draws random numbers from a generator of its own")
    if kwargs.pop("out", None) is not None or kwargs.pop("requires_grad", False):
        raise NotRecordable(
            f"it draws random numbers by {function.__name__} with out= or requires_grad="
        )
    return rule(noise, *args, **kwargs)


# Tensors: how they lie in one lane, and new ones for all.


def _draw(
    noise: Noise, lane: Tensor, fill: Fill, divisor: float = 1.0, what: str = "draws random numbers"
) -> Tensor:
    """Numbers from `Noise.add`, to code under vmap a tensor of each lane."""
    level = level_of_lanes()
    if level is None:
        raise NotRecordable(f"it {what} inside a transform of torch.func")
    with temporarily_clear_interpreter_stack(), unrecorded(), torch.no_grad():
        numbers = noise.add(lane, fill, divisor, what)
        renewed(numbers)
        # Operations in place on the numbers may be differentiated: the tensor that then holds the
        # graph is this alias, not the one that is filled anew.
        alias = numbers.detach()
    return torch._C._functorch._add_batch_dim(alias, 0, level)


def _lane(tensor: Tensor) -> Tensor:
    """A tensor's view in one lane, to be read for its layout only."""
    with unrecorded(), torch.no_grad():
        if torch._C._functorch.maybe_get_level(tensor) < 0:
            return tensor.detach()
        physical = torch._C._functorch.get_unwrapped(tensor)
        return physical.select(torch._C._functorch.maybe_get_bdim(tensor), 0)


def _empty(*size: Any, **kwargs: Any) -> Tensor:
    """torch.empty, a tensor of each lane's own, since the numbers drawn into it are."""
    level = level_of_lanes()
    if level is None or kwargs.get("out") is not None:
        return torch.empty(*size, **kwargs)
    with unrecorded():
        lane = torch.empty(*size, **kwargs)
    lanes = count_lanes()
    with temporarily_clear_interpreter_stack():
        every = torch.empty_strided(
            (lanes, *lane.shape),
            (lane.numel(), *lane.stride()),
            dtype=lane.dtype,
            device=lane.device,
        )
    return torch._C._functorch._add_batch_dim(every, 0, level)


def _new(tensor: Tensor, *size: Any, **kwargs: Any) -> Tensor:
    """Tensor.new, of sizes as `_empty`, as some distributions call it before they draw."""
    sizes = isinstance(size[0], torch.Size | int) if len(size) == 1 else bool(size)
    if kwargs or not sizes:
        return cast(Tensor, _MADE(tensor, *size, **kwargs))
    return _empty(*size, dtype=tensor.dtype, device=tensor.device)


_MADE: Any = Tensor.new

# The rules, in the order of torch's own steps (aten/src/ATen/native/Distributions.cpp and
# DistributionTemplates.h): rand is an empty tensor filled by uniform_, and so on.


def _filling(name: str, *args: Any, **kwargs: Any) -> Fill:
    method = getattr(Tensor, name)
    return lambda lane, generator: method(lane, *args, **kwargs, generator=generator)


def _fresh(name: str, noise: Noise, *size: Any, **kwargs: Any) -> Tensor:
    with unrecorded():
        lane = torch.empty(*size, **kwargs)
    return _draw(noise, lane, _filling(name))


def _alike(name: str, noise: Noise, input: Tensor, **kwargs: Any) -> Tensor:
    with unrecorded():
        lane = torch.empty_like(_lane(input), **kwargs)
    return _draw(noise, lane, _filling(name))


def _bounds(given: Sequence[Any], kwargs: dict[str, Any]) -> tuple[int, int]:
    """The bounds of randint: high, or low and high, by place or by name; taken out of `kwargs`."""
    named = [kwargs.pop(name) for name in ("low", "high") if name in kwargs]
    both = [*given, *named]
    return (0, both[0]) if len(both) == 1 else (both[0], both[1])


def _integers(noise: Noise, *args: Any, **kwargs: Any) -> Tensor:
    numbers = [each for each in args if not isinstance(each, Sequence)]
    low, high = _bounds(numbers, kwargs)
    size = kwargs.pop("size") if "size" in kwargs else args[-1]
    with unrecorded():
        lane = torch.empty(size, **{"dtype": torch.int64, **kwargs})
    return _draw(noise, lane, _filling("random_", low, high))


def _integers_alike(noise: Noise, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    low, high = _bounds(args, kwargs)
    with unrecorded():
        lane = torch.empty_like(_lane(input), **kwargs)
    return _draw(noise, lane, _filling("random_", low, high))


def _permutation(noise: Noise, n: int, **kwargs: Any) -> Tensor:
    with unrecorded():
        lane = torch.empty(n, **{"dtype": torch.int64, **kwargs})

    def fill(lane: Tensor, generator: torch.Generator) -> None:
        torch.randperm(n, generator=generator, dtype=lane.dtype, device=lane.device, out=lane)

    return _draw(noise, lane, fill)


def _dense(like: Tensor) -> Tensor:
    with unrecorded():
        lane = _lane(like)
        return torch.empty(lane.shape, dtype=lane.dtype, device=lane.device)


def _bernoulli(noise: Noise, input: Tensor, p: float | None = None) -> Tensor:
    if p is not None:
        return _draw(noise, _dense(input), _filling("bernoulli_", p))
    found = _uniform(noise, _dense(input), input) < input.detach()
    return _tied(found.to(input.dtype), input)


def _tied(numbers: Tensor, *given: Any) -> Tensor:
    """Numbers with derivatives by what they were drawn by: zeros, as alone, and not none, by which
    an optimizer would leave out what it decays."""
    for each in given:
        if isinstance(each, Tensor) and torch.is_grad_enabled() and whole_of(each).requires_grad:
            numbers = numbers + each.sign() * 0.0
    return numbers


def _uniform(noise: Noise, lane: Tensor, probabilities: Tensor) -> Tensor:
    """Uniform numbers that bernoulli_ compares probabilities with, on a CPU: in their precision."""
    if lane.device.type != "cpu":
        raise NotRecordable("it draws random numbers by bernoulli, of a tensor of probabilities")
    wide = torch.float64 if probabilities.dtype is torch.float64 else torch.float32
    with unrecorded():
        lane = torch.empty_like(lane, dtype=wide)
    return _draw(noise, lane, _filling("uniform_"))


def _normal(
    noise: Noise, mean: Any = 0.0, std: Any = 1.0, size: Any = None, **kwargs: Any
) -> Tensor:
    if not isinstance(mean, Tensor) and not isinstance(std, Tensor):
        with unrecorded():
            lane = torch.empty(size, **kwargs)
        return _draw(noise, lane, _filling("normal_", mean, std))
    like = mean if isinstance(mean, Tensor) else std
    if not isinstance(std, Tensor):
        found = _draw(noise, _dense(like), _filling("normal_", 0.0, std)).add_(mean.detach())
        return _tied(found, mean)
    lane, given = _dense(like), mean
    if like is mean:
        mean = mean.detach()
        with unrecorded():
            lane = torch.empty_like(torch.add(lane, _dense(std)), dtype=lane.dtype)
    found = _draw(noise, lane, _filling("normal_")).mul_(std.detach()).add_(mean)
    return _tied(found, given, std)


def _choose(noise: Noise, input: Tensor, num_samples: int, replacement: bool = False) -> Tensor:
    """torch.multinomial: what is most probable after a division by numbers that are drawn. What
    are no probabilities raises, as alone, but for NaN, by which a lane loses its loss."""
    if replacement and num_samples > 1:
        if torch._C._functorch.maybe_get_level(input) < 0:
            several = functools.partial(
                torch.multinomial, num_samples=num_samples, replacement=True
            )
            return _by_constants(several, noise, input)
        raise NotRecordable(
            "it draws several numbers of the same probabilities, with replacement; lanes draw one "
            "each, as torch.multinomial(p.repeat_interleave(n, 0), 1) does"
        )
    with unrecorded():
        lane = torch.empty_like(_lane(input))
    shares = input.detach()
    wrong = (shares < 0) | (shares == math.inf) | (shares.sum(-1, True) == 0)
    with temporarily_clear_interpreter_stack():
        torch._assert_async(~whole_of(wrong).any(), "invalid multinomial distribution")
    scores = shares / _draw(noise, lane, _filling("exponential_", 1.0))
    return scores.argmax(-1, True) if num_samples == 1 else scores.topk(num_samples)[1]


def _by_constants(function: Callable[..., Tensor], noise: Noise, *given: Tensor) -> Tensor:
    """A function whose draws depend on values, where these are the same each time: no lane has its
    own."""
    of_lanes = any(torch._C._functorch.maybe_get_level(each) >= 0 for each in given)
    if of_lanes or level_of_lanes() is None:
        raise NotRecordable(
            "it draws random numbers that no lane could repeat: how many depends on values "
            f"({getattr(function, '__name__', 'multinomial')})"
        )

    def fill(lane: Tensor, generator: torch.Generator) -> None:
        lane.copy_(function(*given, generator=generator))

    with temporarily_clear_interpreter_stack(), unrecorded():
        lane = function(*given, generator=torch.Generator(given[0].device))
    return _draw(noise, lane, fill)


def _in_place(name: str, noise: Noise, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if torch._C._functorch.maybe_get_level(tensor) < 0:
        raise NotRecordable(f"it draws random numbers into a tensor that all lanes share ({name})")
    lane = _lane(tensor)
    with unrecorded():
        like = torch.empty_like(lane)
    filled = [
        own == dense
        for own, dense, size in zip(lane.stride(), like.stride(), lane.shape, strict=True)
        if size > 1
    ]
    if not all(filled):
        # Torch fills what is dense by other steps than what is not.
        raise NotRecordable(f"it draws random numbers into a part of a tensor ({name})")
    p = args[0] if args else kwargs.get("p")
    if name == "bernoulli_" and isinstance(p, Tensor):
        found = _uniform(noise, like, p) < p.detach()
        return tensor.copy_(_tied(found.to(tensor.dtype), p))
    return tensor.copy_(_draw(noise, like, _filling(name, *args, **kwargs)))


# Dropout, in the order of aten/src/ATen/native/Dropout.cpp


def drop(
    noise: Noise,
    input: Tensor,
    p: float,
    train: bool = True,
    *,
    channels: bool = False,
    in_place: bool = False,
) -> Tensor:
    """torch.dropout; entries of its noise are 0 or 1 / (1 - p), one an entry or a channel."""
    if not train or p == 0.0:
        return input
    if p == 1.0:
        factor = input.new_zeros(())
    else:
        lane = _mask(input, channels)
        fill, divisor = _dropping(lane, p, fused=not channels and not in_place)
        factor = _draw(noise, lane, fill, divisor, "uses dropout")
    return input.mul_(factor) if in_place else input * factor


def _dropping(lane: Tensor, p: float, *, fused: bool) -> tuple[Fill, float]:
    """The function that draws the noise of dropout, and the divisor of its numbers.

    On CUDA plain dropout is one kernel (`native_dropout`), that assigns its numbers to entries in
    another order than `bernoulli_`. `_fused_dropout` is the same kernel, and takes a generator.
    """
    if not fused or lane.device.type != "cuda":
        return _filling("bernoulli_", 1 - p), 1 - p
    with unrecorded(), torch.no_grad():
        ones = torch.ones_like(lane)

    def fill(lane: Tensor, generator: torch.Generator) -> None:
        lane.copy_(torch._fused_dropout(ones, 1 - p, generator=generator)[0])

    return fill, 1.0


def _alpha_dropout(
    noise: Noise,
    input: Tensor,
    p: float,
    train: bool,
    *,
    channels: bool = False,
    in_place: bool = False,
) -> Tensor:
    if not train or p in (0.0, 1.0):
        return drop(noise, input, p, train, in_place=in_place)
    kept = _draw(
        noise, _mask(input, channels), _filling("bernoulli_", 1 - p), what="uses alpha dropout"
    )
    alpha = 1.7580993408473766
    a = 1.0 / math.sqrt((alpha * alpha * p + 1) * (1 - p))
    shift = kept.add(-1).mul_(alpha * a).add_(alpha * a * p)
    out = input.mul_(kept.mul_(a)) if in_place else input * kept.mul_(a)
    return out.add_(shift)


def _mask(input: Tensor, channels: bool) -> Tensor:
    with unrecorded():
        lane = _lane(input)
        if channels:
            return lane.new_empty((*lane.shape[:2], *[1] * (lane.dim() - 2)))
        return torch.empty_like(lane)
