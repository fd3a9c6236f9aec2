"""Choice by a mask of the lanes' tensors, `x[mask]`, whose shape depends on values: all entries are
kept beside the mask, for functions that do the same to all of them, or sum those that are
chosen."""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lrsearch.train.lanes.masks import COMPARING, compare, is_mask, origin_of
from lrsearch.train.lanes.plain import fill_in
from lrsearch.train.tape import NotRecordable

_OWN: Any = Tensor


class Chosen:
    """The rows [n, ...] of a lane of which a mask [n] chooses some, in their order. Those that are
    not chosen hold numbers that the chosen ones have, or any finite ones where none is chosen: no
    function makes a number of them that is none. `origin` tells the mask."""

    def __init__(self, rows: Tensor, mask: Tensor, origin: object) -> None:
        self.rows, self.mask, self.origin = rows, mask, origin

    # A Tensor to those that ask, in place of which it stands.
    __class__ = property(lambda self: Tensor)
    dtype = property(lambda self: self.rows.dtype)
    device = property(lambda self: self.rows.device)
    ndim = property(lambda self: self.rows.ndim)
    requires_grad = property(lambda self: self.rows.requires_grad)
    is_cuda = property(lambda self: self.rows.is_cuda)

    @property
    def shape(self) -> tuple[Any, ...]:
        """The shape, whose first entry is a tensor's: what is divided by it needs no number."""
        return (Count(self.mask.sum()), *self.rows.shape[1:])

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one of its entries."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of dimensions."""
        return self.rows.dim()

    def numel(self) -> Count:
        """The number of entries."""
        return Count(self.mask.sum() * math.prod(self.rows.shape[1:]))

    def is_floating_point(self) -> bool:
        """Whether the entries are floating-point numbers."""
        return self.rows.is_floating_point()

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

    def beside(self, value: Any) -> Any:
        """A value that is put together with the rows. Where none is chosen, their mean is no
        number, which no gradient may show."""
        if isinstance(value, Chosen):
            return value.rows
        value = value.value if isinstance(value, Count) else value
        if not isinstance(value, Tensor) or value.dtype is torch.bool:
            return value
        return torch.where(self.mask.any(), value, 1)

    def filled(self, value: Any) -> Tensor:
        """The rows, a value in those that are not chosen."""
        mask = self.mask.reshape(-1, *[1] * (self.rows.dim() - 1))
        return torch.where(mask, self.rows, value)


class Count:
    """The number of what is chosen, as Python's are: with a tensor it is of the tensor's type. With
    numbers it stays an integer, or the type of what it becomes would be another than a float's."""

    def __init__(self, value: Tensor) -> None:
        self.value = value

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if kwargs or not any(isinstance(each, Tensor) for each in args):
            return _refuse("the number")
        return func(*(each.value if isinstance(each, Count) else each for each in args))

    def calculate(self, func: Callable[..., Any], other: Any, mirrored: bool = False) -> Any:
        """Add or such to another number or tensor."""
        of_tensor = isinstance(other, Tensor)
        whole = type(other) in (int, Count) and func in (operator.add, operator.sub, operator.mul)
        if not of_tensor and not whole:
            return _refuse("the number")
        held = other.value if isinstance(other, Count) else other
        out = func(held, self.value) if mirrored else func(self.value, held)
        return out if of_tensor else Count(out)


def _refuse(name: str) -> Any:
    raise NotRecordable(
        f"it uses {name} of what a mask chooses (x[mask]), whose number depends on values; "
        "torch.where(mask, ..., 0) keeps a shape"
    )


def _refusing(name: str) -> Any:
    """A method that refuses."""
    return lambda *_: _refuse(name)


# choosing, and putting back


def choose(tensor: Tensor, mask: Tensor) -> Chosen:
    """`tensor[mask]`."""
    dims = mask.dim()
    if tensor.shape[:dims] != mask.shape:
        raise IndexError(f"a mask {[*mask.shape]} does not fit what it chooses of")
    return settle(tensor.flatten(0, dims - 1), mask.flatten(), (origin_of(mask), dims))


def settle(rows: Tensor, mask: Tensor, origin: object) -> Chosen:
    """The rows that a mask chooses; the others are filled with one of them."""
    kept = rows.detach()
    # In lanes argmax of bool has no rule on each device; the first of the largest is not promised,
    # and any that is chosen will do.
    first = kept[mask.to(torch.uint8).argmax()]
    some = torch.where(mask.any(), first, 0.5 if rows.is_floating_point() else 0)
    shape = (-1, *[1] * (rows.dim() - 1))
    # What is not chosen gets no gradient, whatever a function makes of it.
    return Chosen(torch.where(mask.reshape(shape), rows, some.to(rows.dtype)), mask, origin)


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
        return settle(tensor.rows, mask, object())
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
        if any(isinstance(each, Chosen) for each in (tensor, value, mask, *parts)):
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
    name = getattr(func, "__name__", str(func))
    if func in (_OWN.__getitem__, _OWN.__setitem__):
        return pick(*args) if func is _OWN.__getitem__ else assign(*args)
    rule = _rules().get(func)
    if rule is None:
        return _refuse(f"{name}()" if not name.startswith("__") else name.strip("_"))
    if "input" in kwargs and not args:
        args = (kwargs.pop("input"),)
    try:
        return rule(func, *args, **kwargs)
    except TypeError:  # Of arguments that a rule doesn't have.
        return _refuse(f"{name}() with such arguments")


def _each(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A function of each entry, of those of other rows beside it, or of one for all."""
    held = [*args, *kwargs.values()]
    first = _rows_of(held)[0]
    for each in held:
        dims = each.dim() if isinstance(each, Chosen | Tensor) else 0
        apart = dims != first.dim() if isinstance(each, Chosen) else dims >= first.dim()
        if dims and apart and (dims != first.dim() or each.shape[0] != 1):
            return _refuse(f"{func.__name__} with a tensor of another shape")
    given = {key: first.beside(kwargs[key]) for key in kwargs}
    return first.like(func(*map(first.beside, args), **given))


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


def _embed(func: Callable[..., Any], indices: Any, *args: Any, **kwargs: Any) -> Any:
    """F.embedding, or another function of integers. How often each is there is another number."""
    if not isinstance(indices, Chosen) or any(args[4:]) or kwargs.get("scale_grad_by_freq"):
        return _refuse(func.__name__)
    return indices.like(func(indices.rows, *args, **kwargs))


def _along(func: Callable[..., Any], chosen: Any, *args: Any, **kwargs: Any) -> Any:
    """A function along a dimension: that of a row, or the sum and such of all that are chosen."""
    if not isinstance(chosen, Chosen):
        return _refuse(func.__name__)
    name = func.__name__
    place = 1 if name in ("normalize", "norm") else 0  # Behind the norm's number.
    given = kwargs.get("dim", 1 if name == "normalize" else None)
    dim = args[place] if len(args) > place else given
    if isinstance(dim, Tensor) and name in ("max", "min"):
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
    more = args[1:] or (place and args) or kwargs.keys() - {"dim", "dtype"}
    if more or name not in _SUMS or len(places) > 1:
        return _refuse(f"{name}()")
    return _reduce(name, chosen, 0 if places else None, kwargs.get("dtype"))


def _reduce(name: str, chosen: Chosen, dim: int | None = None, dtype: Any = None) -> Tensor:
    """A sum and such, in float32 where the numbers are of 16 bits, as torch sums."""
    low = chosen.dtype in (torch.float16, torch.bfloat16)
    wide = chosen.like(chosen.rows.float()) if low else chosen
    out: Tensor = _SUMS[name](wide, dim, dtype)
    return out.to(dtype or chosen.dtype) if low and out.is_floating_point() else out


def _count(chosen: Chosen, dim: int | None) -> Tensor:
    count: Count = chosen.numel() if dim is None else chosen.size(0)
    return count.value


def _sum(chosen: Chosen, dim: int | None, dtype: torch.dtype | None = None) -> Tensor:
    return chosen.filled(0).sum(dim, dtype=dtype)


def _mean(chosen: Chosen, dim: int | None, dtype: torch.dtype | None = None) -> Tensor:
    return _sum(chosen, dim, dtype) / _count(chosen, dim).to(dtype or chosen.dtype)


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
    apart = chosen.like(chosen.rows - chosen.beside(mean))
    count = _count(chosen, dim)
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
    classes, target = func in (F.cross_entropy, F.nll_loss), given.get("target")
    weighted = given.get("weight") is not None and func in (F.mse_loss, F.l1_loss, F.huber_loss)
    if kind == "batchmean" or (weighted and kind == "mean"):
        return _refuse(f"{func.__name__}() with weights or reduction='batchmean'")
    if not classes:
        found = _each(func, **given, reduction="none")
        return found if kind == "none" else _reduce(kind, found)
    rows: Any = given["input"]
    if not isinstance(rows, Chosen) or not isinstance(target, Chosen):
        return _refuse(func.__name__)
    of_places = not target.is_floating_point()
    _rows_of((rows, target))
    if rows.dim() != target.dim() + of_places:
        return _refuse(func.__name__)
    bare = {key: _bare(value) for key, value in given.items()}
    if of_places and kind != "none":
        # Those that are not chosen are ignored: weights and smoothing are torch's affair.
        bare["target"] = target.filled(given.get("ignore_index", -100))
        return func(**bare, reduction=kind)
    found = rows.like(func(**bare, reduction="none"))
    return found if kind == "none" else _reduce(kind, found)


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
    return Chosen(torch.cat([each.rows for each in chosen]), mask, object())


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
                # Those of torch that losses call have other arguments.
                if callable(func := getattr(owner, name, None)) and (rule, owner) != (_lose, torch):
                    found[func] = rule
    found |= {operator.matmul: _row, _OWN.__matmul__: _row}
    operators = (*_OPERATORS, *(f"__i{name}__" for name in _TWO))
    found |= dict.fromkeys((getattr(operator, name) for name in operators), _each)
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


_REFUSED: Mapping[str, str] = {
    "iter": "a loop",
    "bool": "if",
    "len": "len()",
    **dict.fromkeys(("int", "float", "complex", "index"), "a number"),
    **dict.fromkeys(("pos", "lshift", "rshift", "divmod", "round"), "an operator"),
}


def _give_operators() -> None:
    """Give what is chosen, and its number, the operators of Python's. Those in place change the
    rows in place, which all see that were made of them as views."""
    for name in (*_OPERATORS, *(f"__i{name}__" for name in _TWO)):
        func = getattr(operator, name)
        setattr(Chosen, name, lambda self, *other, func=func: call(func, self, *other))
    for name in _TWO:
        func = getattr(operator, f"__{name}__")

        def mirrored(self: Chosen, other: Any, func: Any = func) -> Any:
            return call(func, other, self)

        setattr(Chosen, f"__r{name}__", mirrored)
        setattr(Count, f"__{name}__", functools.partialmethod(Count.calculate, func))
        turned = functools.partialmethod(Count.calculate, func, mirrored=True)
        setattr(Count, f"__r{name}__", turned)
    for name, told in _REFUSED.items():
        setattr(Chosen, f"__{name}__", _refusing(told))
    for name in (*(f"__{name}__" for name in _REFUSED), *_OPERATORS[len(_TWO) :]):
        setattr(Count, name, _refusing("the number"))
    Chosen.__matmul__ = lambda self, other: call(operator.matmul, self, other)  # type: ignore
    Chosen.__hash__ = object.__hash__  # type: ignore[method-assign]


_give_operators()


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
