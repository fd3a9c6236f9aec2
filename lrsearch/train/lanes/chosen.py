"""Choice by a mask of the lanes' tensors, `x[mask]`, whose shape depends on values: all entries are
kept beside the mask, for functions that do the same to all of them, or sum those that are
chosen."""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lrsearch.train.lanes.plain import axis_of, fill_in, level_of_lanes, whole_of
from lrsearch.train.tape import NotRecordable

_OWN: Any = Tensor


class Chosen:
    """The rows [n, ...] of a lane of which a mask [n] chooses some, in their order. Those that are
    not chosen hold numbers that the chosen ones have, or any finite ones where none is chosen: no
    function makes a number of them that is none. `origin` tells the mask."""

    def __init__(self, rows: Tensor, mask: Tensor, origin: object) -> None:
        self.rows, self.mask, self.origin, self.used = rows, mask, origin, False

    dtype = property(lambda self: self.rows.dtype)
    device = property(lambda self: self.rows.device)
    ndim = property(lambda self: self.rows.ndim)
    requires_grad = property(lambda self: self.rows.requires_grad)
    is_cuda = property(lambda self: self.rows.is_cuda)

    @property
    def shape(self) -> tuple[Any, ...]:
        """The shape, whose first entry is a tensor: what is divided by it needs no number."""
        return (self.mask.sum(), *self.rows.shape[1:])

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one of its entries."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of dimensions."""
        return self.rows.dim()

    def numel(self) -> Tensor:
        """The number of entries, a tensor."""
        return self.mask.sum() * math.prod(self.rows.shape[1:])

    def is_floating_point(self) -> bool:
        """Whether the entries are floating-point numbers."""
        return self.rows.is_floating_point()

    def __len__(self) -> int:
        return int(_refuse("len()"))

    def __iter__(self) -> Iterator[Any]:
        return iter([_refuse("a loop")])

    def __bool__(self) -> bool:
        return bool(_refuse("if"))

    def __getattr__(self, name: str) -> Any:
        method: Any = getattr(Tensor, name, None)
        if not callable(method):
            _refuse(name)
        return functools.partial(call, method, self)

    def __getitem__(self, index: Any) -> Any:
        return call(_OWN.__getitem__, self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        _refuse("an assignment")

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return call(func, *args, **(kwargs or {}))

    def like(self, rows: Tensor) -> Chosen:
        """Other rows that the same mask chooses."""
        return Chosen(rows, self.mask, self.origin)

    def filled(self, value: Any) -> Tensor:
        """The rows, a value in those that are not chosen."""
        mask = self.mask.reshape(-1, *[1] * (self.rows.dim() - 1))
        return torch.where(mask, self.rows, value)


def _refuse(name: str) -> Any:
    raise NotRecordable(
        f"it uses {name} of what a mask chooses (x[mask]), whose number depends on values; "
        "torch.where(mask, ..., 0) keeps a shape"
    )


# choosing, and putting back


def origin_of(mask: Tensor) -> object:
    """A mask's origin, to be held against others': two made by one comparison of the same are
    one."""
    made = getattr(mask, "_made_by", None)
    now = whole_of(mask)._version
    return made[1] if made is not None and made[0] == now else (_Same(mask), now)


class _Same:
    """An object that equals itself alone. It is kept, so that no other gets its place."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def compare(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A function whose result may be a mask, which then knows what it was made by."""
    out = func(*args, **kwargs)
    if isinstance(out, Tensor) and axis_of(out) is not None and not kwargs:
        parts = [origin_of(each) if isinstance(each, Tensor) else (each,) for each in args]
        name = func.__name__.strip("_")
        out._made_by = (whole_of(out)._version, (name, *parts))  # type: ignore[attr-defined]
    return out


def is_mask(value: Any) -> bool:
    """Whether an index is a mask of the lanes'."""
    return (
        isinstance(value, Tensor)
        and value.dtype is torch.bool
        and value.dim() > 0
        and level_of_lanes() is not None
        and axis_of(value) is not None
    )


def choose(tensor: Tensor, mask: Tensor) -> Chosen:
    """`tensor[mask]`."""
    dims = mask.dim()
    if tensor.shape[:dims] != mask.shape:
        raise IndexError(f"a mask {[*mask.shape]} does not fit what it chooses of")
    flat, rows = mask.flatten(), tensor.flatten(0, dims - 1)
    kept = rows.detach()
    # In lanes argmax of bool has no rule on each device; the first of the largest is not promised,
    # and any that is chosen will do.
    first = kept[flat.to(torch.uint8).argmax()]
    some = torch.where(flat.any(), first, 0.5 if rows.is_floating_point() else 0)
    shape = (-1, *[1] * (rows.dim() - 1))
    # What is not chosen gets no gradient, whatever a function makes of it.
    origin = (origin_of(mask), dims)
    return Chosen(torch.where(flat.reshape(shape), rows, some.to(rows.dtype)), flat, origin)


def pick(tensor: Any, given: Any) -> Any:
    """Tensor.__getitem__, by masks of the lanes' and of what they choose."""
    parts = given if isinstance(given, tuple) else (given,)
    first: Any = parts[0] if parts else None
    rest = parts[1:]
    if isinstance(tensor, Chosen):
        return _pick_rows(tensor, first, rest)
    if is_mask(first):
        found = choose(tensor, first)
        if len(rest) == 1 and isinstance(rest[0], Chosen) and rest[0].dim() == 1:
            found, number = _rows_of((found, rest[0]))
            place = number.rows.reshape(-1, *[1] * (found.dim() - 1))
            taken = found.rows.gather(1, place.expand(-1, 1, *found.rows.shape[2:]))
            return found.like(taken.squeeze(1))
        plain = len(rest) == 1 or all(isinstance(each, slice) for each in rest)
        return _pick_rows(found, slice(None), rest) if plain else _refuse("an index")
    if not any(isinstance(each, Chosen) for each in parts):
        return tensor[given]
    chosen = _rows_of(parts)
    if len(chosen) < len(parts) or any(each.dtype is torch.bool for each in chosen):
        return _refuse("an index")
    return chosen[0].like(tensor[tuple(each.rows for each in chosen)])


def _pick_rows(tensor: Chosen, first: Any, rest: Sequence[Any]) -> Any:
    """The part of what is chosen that a mask of it chooses, or the same part of each row."""
    if isinstance(first, Chosen) and first.dtype is torch.bool and first.dim() == 1 and not rest:
        kept = _rows_of((tensor, first))[1].filled(False)
        mask = tensor.mask & kept
        return Chosen(tensor.rows, mask, _Same(mask))
    whole = _is_whole(first) or (first is Ellipsis and len(rest) < tensor.dim())
    if not whole or not all(each is None or isinstance(each, int | slice) for each in rest):
        return _refuse("an index")
    return tensor.like(tensor.rows[(first, *rest)])


def masked_select(tensor: Tensor, mask: Tensor) -> Any:
    """torch.masked_select."""
    if not is_mask(mask) or tensor.shape != mask.shape:
        return torch.masked_select(tensor, mask)
    return choose(tensor, mask)


def _is_whole(index: Any) -> bool:
    return isinstance(index, slice) and index == slice(None)


def assign(tensor: Tensor, index: Any, value: Any) -> None:
    """Tensor.__setitem__; by a mask of the lanes' what is not chosen is put back."""
    mask = index[0] if isinstance(index, tuple) and index else index
    parts = index[1:] if isinstance(index, tuple) else ()
    if not is_mask(mask) or tensor.shape[: mask.dim()] != mask.shape:
        if isinstance(value, Chosen):
            _refuse("an assignment")
        tensor[index] = value
        return
    if any(each is not Ellipsis and not _is_whole(each) for each in parts):
        if len(parts) > 1 or not isinstance(parts[0], int):
            _refuse("an assignment")
        tensor = tensor.select(mask.dim(), parts[0])
    rest = tensor.dim() - mask.dim()
    wide = mask.reshape(*mask.shape, *[1] * rest)
    if isinstance(value, Chosen):
        if value.origin != (origin_of(mask), mask.dim()) or value.dim() != rest + 1:
            _refuse("an assignment by another mask or shape")
        value = value.rows.reshape(*mask.shape, *value.rows.shape[1:])
    elif isinstance(value, Tensor) and value.dim() > rest:
        if value.dim() > rest + 1 or value.shape[0] != 1:
            _refuse("an assignment of several rows")
        value = value[0]
    if not isinstance(value, Tensor):
        value = torch.as_tensor(value, dtype=tensor.dtype)
    if value.dim() == 0:
        fill_in(tensor, wide, value)
    else:
        tensor.copy_(torch.where(wide, value.to(tensor.dtype), tensor))


# functions


def _rows_of(args: Sequence[Any]) -> list[Chosen]:
    """The chosen rows among arguments. They must be those of one mask, since others would be put
    together in the order in which they are chosen."""
    found = [each for each in args if isinstance(each, Chosen)]
    if any(each.origin != found[0].origin for each in found):
        raise NotRecordable(
            "it puts together what two masks choose, whose numbers depend on values; by one mask, "
            "which has a name (mask = ...; x[mask], y[mask]), it trains in lanes"
        )
    return found


def call(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A function of what a mask chooses."""
    for each in (*args, *kwargs.values()):
        if isinstance(each, Chosen):
            each.used = True
    name = getattr(func, "__name__", str(func))
    if func in (_OWN.__getitem__, _OWN.__setitem__):
        return pick(*args) if func is _OWN.__getitem__ else assign(*args)
    rule = _rules().get(func)
    if rule is None:
        return _refuse(f"{name}()" if not name.startswith("__") else name.strip("_"))
    return rule(func, *args, **kwargs)


def _each(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A function of each entry, of those of other rows beside it, or of one for all."""
    held = [*args, *kwargs.values()]
    first = _rows_of(held)[0]
    for each in held:
        dims = each.dim() if isinstance(each, Chosen | Tensor) else 0
        apart = dims != first.dim() if isinstance(each, Chosen) else dims >= first.dim()
        if dims and apart and (dims != first.dim() or each.shape[0] != 1):
            return _refuse(f"{func.__name__} with a tensor of another shape")
    return first.like(func(*map(_bare, args), **{key: _bare(kwargs[key]) for key in kwargs}))


def _bare(value: Any) -> Any:
    return value.rows if isinstance(value, Chosen) else value


def _row(func: Callable[..., Any], chosen: Any, *args: Any, **kwargs: Any) -> Any:
    """A function of each row by itself, and of what is for all rows."""
    tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor | Chosen)]
    shape = args[0] if args and isinstance(args[0], tuple | list) else ()  # Of layer_norm.
    if (
        not isinstance(chosen, Chosen)
        or chosen.dim() < 2
        or len(shape) >= chosen.dim()
        or any(isinstance(each, Chosen) or each.dim() > 2 for each in tensors)
    ):
        return _refuse(func.__name__)
    return chosen.like(func(chosen.rows, *args, **kwargs))


def _pair(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A function of two rows, along their last dimension."""
    first = args[0] if args else kwargs.get("x1")
    dim = {**dict(zip(("dim",), args[2:], strict=False)), **kwargs}.get("dim", 1)
    aside = func is F.cosine_similarity and dim not in (1, -1)
    if not isinstance(first, Chosen) or first.dim() < 2 or aside:
        return _refuse(func.__name__)
    return _each(func, *args, **kwargs)


def _gather(func: Callable[..., Any], chosen: Any, dim: int, index: Any) -> Any:
    """`gather` within each row."""
    if not isinstance(chosen, Chosen) or not isinstance(index, Chosen) or dim % chosen.dim() == 0:
        return _refuse(func.__name__)
    return _each(lambda rows, index: func(rows, dim, index), chosen, index)


def _look_up(func: Callable[..., Any], weight: Tensor, indices: Any, *args: Any, **kw: Any) -> Any:
    """An embedding."""
    if not isinstance(indices, Chosen):
        return _refuse(func.__name__)
    return indices.like(func(weight, indices.rows, *args, **kw))


def _embed(func: Callable[..., Any], indices: Any, *args: Any, **kwargs: Any) -> Any:
    """F.embedding, or another function of integers."""
    if not isinstance(indices, Chosen):
        return _refuse(func.__name__)
    return indices.like(func(indices.rows, *args, **kwargs))


def _along(func: Callable[..., Any], chosen: Any, *args: Any, **kwargs: Any) -> Any:
    """A function along a dimension: that of a row, or the sum and such of all that are chosen."""
    if not isinstance(chosen, Chosen):
        return _refuse(func.__name__)
    name = func.__name__
    if name in ("normalize", "norm"):
        kwargs = {**dict(zip(("p", "dim"), args, strict=False)), **kwargs}
        dim = kwargs.get("dim", 1 if name == "normalize" else None)
        args = ()
    else:
        kwargs = {**dict(zip(("dim",), args, strict=False)), **kwargs}
        args, dim = args[1:], kwargs.get("dim")
    if isinstance(dim, Chosen | Tensor) and name in ("max", "min"):
        return _each(func, chosen, dim)
    dims = dim if isinstance(dim, tuple | list) else () if dim is None else (dim,)
    if any(type(each) is not int for each in dims):
        return _refuse(f"{name}()")
    places = {each % chosen.dim() for each in dims}
    if places and 0 not in places:
        out = func(chosen.rows, *args, **kwargs)
        if isinstance(out, Tensor):
            return chosen.like(out)
        return type(out)([chosen.like(each) for each in out])
    if args or name not in _SUMS or kwargs.keys() - {"dim", "dtype"} or len(places) > 1:
        return _refuse(f"{name}()")
    return _SUMS[name](chosen, 0 if places else None, kwargs.get("dtype"))


def _sum(chosen: Chosen, dim: int | None, dtype: torch.dtype | None = None) -> Tensor:
    return chosen.filled(0).sum(dim, dtype=dtype)


def _mean(chosen: Chosen, dim: int | None, dtype: torch.dtype | None = None) -> Tensor:
    count = chosen.mask.sum() if dim == 0 else chosen.numel()
    return _sum(chosen, dim, dtype) / count.to(dtype or chosen.dtype)


def _norm(chosen: Chosen, dim: int | None, dtype: torch.dtype | None = None) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(chosen.filled(0), dim=dim, dtype=dtype)
    return found


def _log_sum(chosen: Chosen, dim: int | None, dtype: torch.dtype | None = None) -> Tensor:
    return chosen.filled(-math.inf).logsumexp(0)


def _extreme(largest: bool, chosen: Chosen, dim: int | None, dtype: Any = None) -> Any:
    """The largest or the smallest of all. Of none alone would raise, a lane is lost by it."""
    if dim is not None or not chosen.rows.is_floating_point():
        return _refuse("max() or min() along a dimension")
    rows = chosen.filled(-math.inf if largest else math.inf)
    out = rows.max() if largest else rows.min()
    return torch.where(chosen.mask.any(), out, math.nan)


def _variance(root: bool, chosen: Chosen, dim: int | None, dtype: Any = None) -> Tensor:
    mean = _mean(chosen, dim)
    apart = chosen.like(chosen.rows - mean)
    count = chosen.mask.sum() if dim == 0 else chosen.numel()
    out = _sum(apart.like(apart.rows.square()), dim) / (count - 1).clamp(min=0).to(chosen.dtype)
    if not root:
        return out
    none = out == 0  # There the deviation has no slope, which torch's has, too: zero.
    return torch.where(none, 0, torch.where(none, 1, out).sqrt())


_SUMS: Mapping[str, Callable[..., Any]] = {
    "sum": _sum,
    "mean": _mean,
    "norm": _norm,
    "logsumexp": _log_sum,
    **dict.fromkeys(("max", "amax"), functools.partial(_extreme, True)),
    **dict.fromkeys(("min", "amin"), functools.partial(_extreme, False)),
    "var": functools.partial(_variance, False),
    "std": functools.partial(_variance, True),
    "any": lambda chosen, dim, _: (
        chosen.filled(False).any() if dim is None else chosen.filled(False).any(dim)
    ),
    "all": lambda chosen, dim, _: (
        chosen.filled(True).all() if dim is None else chosen.filled(True).all(dim)
    ),
}


@functools.cache
def _signature(func: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(func)


def _lose(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A loss of torch's, which means or sums what it finds of each entry or row."""
    given = _signature(func).bind(*args, **kwargs).arguments
    if given.get("size_average") is not None or given.get("reduce") is not None:
        return _refuse(f"{func.__name__}() with size_average or reduce")
    kind = given.pop("reduction", "mean")
    if kind == "batchmean":
        return _refuse(f"{func.__name__}() with reduction='batchmean'")
    # Of classes those that are not chosen are ignored: weights and smoothing are torch's affair.
    target: Any = given.get("target")
    classes = func in (F.cross_entropy, F.nll_loss) and isinstance(target, Chosen)
    if classes and not target.dtype.is_floating_point:
        (rows, _) = _rows_of((given["input"], target))
        if rows is not given["input"] or rows.dim() != target.dim() + 1:
            return _refuse(func.__name__)
        given["target"] = target.filled(given.get("ignore_index", -100))
        out = func(**{key: _bare(value) for key, value in given.items()}, reduction=kind)
        return rows.like(out) if kind == "none" else out
    if func is F.nll_loss or (func is F.cross_entropy and not isinstance(target, Chosen)):
        return _refuse(func.__name__)
    if func is F.cross_entropy:
        first = _rows_of((given["input"], target))[0]
        out = func(**{key: _bare(value) for key, value in given.items()}, reduction="none")
        found = first.like(out)
    else:
        found = _each(func, **given, reduction="none")
    return found if kind == "none" else _SUMS[kind](found, None)


def _cast(func: Callable[..., Any], chosen: Any, *args: Any, **kwargs: Any) -> Any:
    """A conversion, of this or to the type of this."""
    if isinstance(chosen, Chosen):
        return chosen.like(func(chosen.rows, *map(_bare, args), **kwargs))
    return func(chosen, *map(_bare, args), **kwargs)


def _shape(func: Callable[..., Any], chosen: Chosen, *shape: Any) -> Any:
    """`view`, `reshape` and `flatten`, of what stays a row."""
    rows, rest = chosen.rows, chosen.rows.shape[1:]
    if func.__name__ == "flatten":
        if shape and shape[0] == 1:
            return chosen.like(rows.flatten(*shape))
        shape = (-1,)
    if len(shape) == 1 and isinstance(shape[0], tuple | list):
        shape = tuple(shape[0])
    if shape[:1] != (-1,) or -1 in shape[1:] or math.prod(shape[1:]) != math.prod(rest):
        return _refuse(f"{func.__name__}()")
    return chosen.like(rows.reshape(-1, *shape[1:]))


def _squeeze(func: Callable[..., Any], chosen: Chosen, dim: int | None = None) -> Any:
    """`squeeze` and `unsqueeze`, behind the first dimension."""
    if dim is None:
        return _refuse("squeeze() without a dimension")
    place = dim % (chosen.dim() + (func.__name__ == "unsqueeze"))
    return chosen.like(func(chosen.rows, place)) if place else _refuse(func.__name__)


def _join(func: Callable[..., Any], parts: Sequence[Any], dim: int = 0) -> Any:
    """`cat` and `stack`, side by side, or `cat` one after the other."""
    chosen = [each for each in parts if isinstance(each, Chosen)]
    if len(chosen) < len(parts):
        return _refuse(f"{func.__name__}() with a tensor")
    if dim % (chosen[0].dim() + (func is torch.stack)):
        return _rows_of(chosen)[0].like(func([each.rows for each in chosen], dim))
    if func is torch.stack:
        return _refuse("stack()")
    mask = torch.cat([each.mask for each in chosen])
    return Chosen(torch.cat([each.rows for each in chosen]), mask, _Same(mask))


_POINTWISE = (
    "add sub subtract rsub mul multiply div divide true_divide pow neg negative abs absolute exp "
    "exp2 expm1 log log2 log10 log1p sqrt rsqrt square reciprocal sigmoid tanh sin cos tan asin "
    "acos atan sinh cosh atan2 erf erfc erfinv lgamma digamma sign sgn clamp clip clamp_min "
    "clamp_max relu relu6 leaky_relu elu selu celu gelu silu mish softplus softsign logsigmoid "
    "hardtanh hardsigmoid hardswish tanhshrink eq ne gt ge lt le logical_and logical_or "
    "logical_not logical_xor bitwise_and bitwise_or bitwise_not isnan isfinite isinf minimum "
    "maximum fmin fmax where lerp floor ceil round trunc frac remainder fmod floor_divide xlogy "
    "nan_to_num logit hypot logaddexp addcmul addcdiv detach clone contiguous masked_fill "
    "zeros_like ones_like full_like"
)
_LOSSES = (
    "cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy "
    "binary_cross_entropy_with_logits gaussian_nll_loss poisson_nll_loss kl_div"
)
_CASTS = "to type type_as float double half bfloat16 long int bool"
_ALONG = (
    "softmax log_softmax sum mean norm normalize logsumexp argmax argmin max min amax amin var std "
    "any all cumsum prod"
)


@functools.cache
def _rules() -> Mapping[Any, Callable[..., Any]]:
    """The rules, by function: of torch, of torch.nn.functional and of Tensor."""
    found: dict[Any, Callable[..., Any]] = {}
    named = {_POINTWISE: _each, _CASTS: _cast, _ALONG: _along, _LOSSES: _lose}
    named |= {"view reshape flatten": _shape, "squeeze unsqueeze": _squeeze, "cat stack": _join}
    named |= {"linear layer_norm matmul mm": _row, "embedding one_hot": _embed, "gather": _gather}
    named |= {"cosine_similarity pairwise_distance": _pair}
    for names, rule in named.items():
        for name in names.split():
            for owner in (torch, F, Tensor):
                if callable(func := getattr(owner, name, None)):
                    found[func] = rule
    found |= {torch.embedding: _look_up, operator.matmul: _row, _OWN.__matmul__: _row}
    found |= dict.fromkeys((getattr(operator, name) for name in _OPERATORS), _each)
    for name in (*_OPERATORS, *_MIRRORED):
        if hasattr(Tensor, name):
            found[getattr(Tensor, name)] = _each
    return found


_TWO = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")
_OPERATORS = (
    *(f"__{name}__" for name in _TWO),
    *(f"__{name}__" for name in ("neg", "abs", "invert", "eq", "ne", "gt", "ge", "lt", "le")),
)
_MIRRORED = tuple(f"__r{name}__" for name in _TWO)


def _give_operators() -> None:
    """Give what is chosen the operators of Python's."""
    for name in _OPERATORS:
        func = getattr(operator, name)
        setattr(Chosen, name, lambda self, *other, func=func: call(func, self, *other))
    for name in _TWO:
        func = getattr(operator, f"__{name}__")

        def mirrored(self: Chosen, other: Any, func: Any = func) -> Any:
            return call(func, other, self)

        def changed(self: Chosen, other: Any, func: Any = func) -> Any:
            if self.used:
                _refuse("a change in place")
            self.rows = call(func, self, other).rows
            self.used = False
            return self

        setattr(Chosen, f"__r{name}__", mirrored)
        setattr(Chosen, f"__i{name}__", changed)
    Chosen.__matmul__ = lambda self, other: call(operator.matmul, self, other)  # type: ignore
    Chosen.__hash__ = object.__hash__  # type: ignore[method-assign]


_give_operators()
_COMPARING = ("eq", "ne", "gt", "ge", "lt", "le", "and", "or", "xor", "invert")
COMPARING = (
    *(getattr(Tensor, f"__{name}__") for name in _COMPARING),
    *(getattr(owner, name) for name in _COMPARING[:6] for owner in (torch, Tensor)),
    *(torch.isnan, Tensor.isnan, torch.isfinite, Tensor.isfinite),
)
"""Functions by which masks are made."""


def holds_chosen(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether something that a mask chooses is among the arguments."""
    return any(
        isinstance(each, Chosen)
        or (isinstance(each, list | tuple) and any(isinstance(part, Chosen) for part in each))
        for each in (*args, *kwargs.values())
    )


CHOOSING: Mapping[Callable[..., Any], Callable[..., Any]] = {
    **{each: functools.partial(compare, each) for each in COMPARING},
    _OWN.__getitem__: pick,
    _OWN.__setitem__: assign,
    torch.masked_select: masked_select,
    Tensor.masked_select: masked_select,
}
"""Replacements for functions that make masks and choose by them."""
