"""Arithmetic on parameters, such as `min_lr: "{learning_rate} / 10"`.

A text is parsed by `ast`, of which a handful of nodes is let through, and computed node by node:
nothing is ever run as code. Its length and every intermediate value are bounded.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lrsearch.errors import suggest
from lrsearch.space import is_number, round_value
from lrsearch.spec.values import MAX_WHOLE, show

MAX_LENGTH = 200
"""Characters of an expression."""

Number = int | float

_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_CHARACTERS = re.compile(r"[0-9A-Za-z.+\-*/%^(), \t\n]*")
_WORD = re.compile(r"(?<![0-9A-Za-z.])[A-Za-z][0-9A-Za-z]*\s*\(?")
_PURPOSE = re.compile(r"[0-9A-Za-z]")
_SIGNS = re.compile(r"[+*/%^()]")


def _power(base: Number, exponent: Number) -> Number:
    # In floating point first, which overflows at once where whole numbers would fill the memory.
    about = complex(float(base) ** float(exponent))
    if about.imag:
        raise ArithmeticError("it is no real number")
    if type(base) is int and type(exponent) is int and exponent >= 0:
        return int(base**exponent)
    return about.real


def _extreme(choose: Callable[..., Number]) -> Callable[..., Number]:
    """The function `min` or `max`: of whole numbers a whole one, else a real one."""

    def function(*values: Number) -> Number:
        found = choose(values)
        return found if all(type(value) is int for value in values) else float(found)

    return function


def _log10(value: Number) -> float:
    if value <= 0:
        raise ArithmeticError(f"there is no log10 of {value:g}")
    return math.log10(value)


_OPERATORS: dict[type[ast.AST], Callable[..., Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}

FUNCTIONS: dict[str, tuple[Callable[..., Number], int, int]] = {
    "min": (_extreme(min), 2, MAX_LENGTH),
    "max": (_extreme(max), 2, MAX_LENGTH),
    "round": (round, 1, 1),
    "log10": (_log10, 1, 1),
}
"""Functions by name, with the fewest and the most arguments."""


class NotArithmetic(ValueError):
    """Raised for a text that is meant as arithmetic and is none; `hint` says what to write."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Arithmetic:
    """The formula by which a parameter follows from others: its `text`, as the spec has it, and
    their `names`. A `real` one is never a whole number."""

    text: str
    names: tuple[str, ...]
    real: bool = False

    def __str__(self) -> str:
        return " ".join(_PLACE.sub(r"\1", self.text).split())

    def compute(self, params: Mapping[str, Any]) -> Number:
        """The value at these parameters: a whole number where `+`, `-`, `*`, `//`, `%`,
        `**` and the functions give one, else a real one of 12 significant digits. Raises
        ArithmeticError, saying why there is no value."""
        given: list[Number] = []
        for name in self.names:
            value = params.get(name)
            if not is_number(value):
                raise ArithmeticError(f"{name} is {show(value)}, which is no number")
            given.append(value)
        try:
            found = _compute(_parse(self.text), given)
        except ZeroDivisionError:
            raise ArithmeticError("division by zero") from None
        except OverflowError:
            raise ArithmeticError("a number in it is too large") from None
        return found if type(found) is int and not self.real else round_value(found)


def placed_names(text: str) -> list[str]:
    """The names in `{name}`, each once, in their order."""
    return list(dict.fromkeys(_PLACE.findall(text)))


def read_arithmetic(text: str, known: Collection[str]) -> Arithmetic | None:
    """The arithmetic that a parameter's text is, None for any other text. Arithmetic has a
    `{name}`, and otherwise only numbers, signs, brackets and functions. `known` are the names of
    the parameters. Text without a known name is arithmetic only if it has a number or a function.

    Raises NotArithmetic for an unknown name or function, and for a formula that cannot be computed.
    """
    names = tuple(placed_names(text))
    rest = _PLACE.sub(" ", text)
    words = _WORD.findall(rest)
    if not names or not _CHARACTERS.fullmatch(rest) or not all(each[-1] == "(" for each in words):
        return None
    strangers = [name for name in names if name not in known]
    if len(strangers) == len(names) and not _PURPOSE.search(rest):
        return None
    if len(text) > MAX_LENGTH:
        raise NotArithmetic(f"arithmetic of more than {MAX_LENGTH} characters")
    for word in words:
        name = word[:-1].strip()
        if name not in FUNCTIONS:
            raise NotArithmetic(f"unknown function '{name}' in {show(text)}", _allowed(name))
    try:
        _parse(text)
    except NotArithmetic:
        if not _SIGNS.search(rest):  # Two names beside each other, say: text.
            return None
        raise
    if strangers:
        message = f"unknown parameter '{{{strangers[0]}}}'"
        raise NotArithmetic(message, suggest(strangers[0], list(known)))
    return Arithmetic(text, names)


def _allowed(name: str) -> str:
    return f"{suggest(name, FUNCTIONS)}; the operators + - * / // % **"


@functools.lru_cache(maxsize=256)
def _parse(text: str) -> ast.expr:
    """The tree of an expression, its parameters the names `_0`, `_1`, ... in their order. Raises
    NotArithmetic."""
    # The rest has no underscore, so that no other name is of this form.
    names = placed_names(text)
    plain = _PLACE.sub(lambda match: f" _{names.index(match[1])} ", text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(" ".join(plain.split()), mode="eval").body
        _check(tree)
    except OverflowError:
        raise NotArithmetic(f"a number in {show(text)} is too large") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, NotArithmetic):
            raise
        hint = 'such as "{learning_rate} / 10", with min, max, round and log10'
        hint = "** is to the power of" if "^" in text else hint
        raise NotArithmetic(f"{show(text)} is no arithmetic", hint) from None
    return tree


def _check(node: ast.expr) -> None:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            _bounded(value)
        case ast.Name():
            pass
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            _check(operand)
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _OPERATORS:
            _check(left)
            _check(right)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            _, least, most = FUNCTIONS[name]
            if not least <= len(arguments) <= most:
                many = "one argument" if most == 1 else f"{least} arguments or more"
                raise NotArithmetic(f"{name} takes {many}")
            for argument in arguments:
                _check(argument)
        case _:
            raise ValueError("something else")


def _compute(node: ast.expr, given: list[Number]) -> Number:
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.Name(id=name):
            return given[int(name[1:])]
        case ast.UnaryOp(op=op, operand=operand):
            return _OPERATORS[type(op)](_compute(operand, given))
        case ast.BinOp(op=op, left=left, right=right):
            pair = _compute(left, given), _compute(right, given)
            return _bounded(_OPERATORS[type(op)](*pair))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            function = FUNCTIONS[name][0]
            return _bounded(function(*(_compute(each, given) for each in arguments)))
    raise AssertionError("a tree that was not checked")


def _bounded(value: Number) -> Number:
    """The value within bounds. Raises OverflowError where it is not finite, or a whole number too
    large for floats."""
    if abs(value) > MAX_WHOLE if type(value) is int else not math.isfinite(value):
        raise OverflowError
    return value
