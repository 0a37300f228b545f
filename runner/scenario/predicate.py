"""Predicates: `workload.batch * load.concurrency > 256 and measure.drain <= 5s`.

Numbers with units, text in quotes, addresses, `+ - * /`, comparisons, `and or not`, brackets. Total and free of side
effects: no calls, no loops, no names but addresses. Units are checked: seconds and bytes do not compare.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from runner.units import DIMENSIONS, UnitError, parse_quantity

Lookup = Callable[[str], Any]
"""Value of an address; a text such as `5s` counts as the quantity that it is. KeyError: no such address."""

MAX_LENGTH = 2_000
MAX_DEPTH = 50

_UNITS = "|".join(sorted((re.escape(unit) for unit in DIMENSIONS), key=len, reverse=True))
_TOKEN = re.compile(
    rf"""\s*(?:
    (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?:(?:{_UNITS})(?![A-Za-z0-9]))?)
  | (?P<text>"[^"]*"|'[^']*')
  | (?P<word>[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*)
  | (?P<sign><=|>=|==|!=|[-+*/<>()])
)""",
    re.VERBOSE,
)
COMPARISONS = ("<=", ">=", "==", "!=", "<", ">")


class PredicateError(Exception):
    """The predicate makes no sense; `column` counts from 1 in its text."""

    def __init__(self, message: str, column: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.column = column
        self.hint = hint


class UnknownAddressError(PredicateError):
    """An address that the lookup does not know."""

    def __init__(self, address: str, column: int) -> None:
        super().__init__(f"unknown address `{address}`", column)
        self.address = address


@dataclass(frozen=True)
class Quantity:
    """A number and what it measures; None for a plain number."""

    value: float
    dimension: str | None = None


Value = Quantity | bool | str


@dataclass(frozen=True)
class Token:
    """One word of a predicate."""

    kind: str
    text: str
    column: int


@dataclass(frozen=True)
class Expression:
    """A tree of operations: `operator` is a sign, a word, or one of number, text, address, negate."""

    operator: str
    column: int
    operands: tuple[Expression, ...] = ()
    literal: Any = None


@dataclass(frozen=True)
class Predicate:
    """A parsed predicate."""

    text: str
    expression: Expression

    def evaluate(self, lookup: Lookup) -> bool | float:
        """The truth of a comparison, or the number of a sum.

        Raises:
            PredicateError: unknown address, units that do not fit, text where a number is needed, division by zero.
        """
        value = evaluate(self.expression, lookup)
        if isinstance(value, Quantity):
            return value.value
        if isinstance(value, str):
            raise PredicateError("expected a comparison, got text", self.expression.column)
        return value

    def addresses(self) -> tuple[str, ...]:
        """Every address that it reads, in order."""
        return tuple(dict.fromkeys(each.literal for each in _walk(self.expression) if each.operator == "address"))


def parse(text: str) -> Predicate:
    """Read a predicate.

    Raises:
        PredicateError: with the column of the first word that does not fit.
    """
    if len(text) > MAX_LENGTH:
        raise PredicateError(f"expected at most {MAX_LENGTH} characters, got {len(text)}", 1)
    return Predicate(text, _Parser(_tokens(text), len(text) + 1).whole())


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            rest = text[position:]
            column = position + len(rest) - len(rest.lstrip()) + 1
            raise PredicateError(f"`{rest.strip()[0]}` has no meaning here", column, _sign_hint(rest.strip()))
        kind = match.lastgroup or ""
        tokens.append(Token(kind, match[kind], match.start(kind) + 1))
        position = match.end()
    return tokens


def _sign_hint(rest: str) -> str | None:
    meant = {"=": "compare with ==", "&": "write and", "|": "write or", "!": "write not, or compare with !="}
    return meant.get(rest[0])


class _Parser:
    """Recursive descent; lowest first: or, and, not, comparison, sum, product, sign, atom."""

    def __init__(self, tokens: list[Token], end: int) -> None:
        self._tokens = tokens
        self._position = 0
        self._end = end
        self._depth = 0

    def whole(self) -> Expression:
        expression = self._or()
        if self._next is not None:
            raise PredicateError(f"expected the end, got `{self._next.text}`", self._next.column, self._unit_hint())
        return expression

    def _unit_hint(self) -> str | None:
        before = self._tokens[self._position - 1]
        if self._next is not None and before.kind == "number" and self._next.kind == "word":
            return f"units: {', '.join(DIMENSIONS)}"
        return None

    @property
    def _next(self) -> Token | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _take(self, *texts: str) -> Token | None:
        token = self._next
        if token is None or token.kind not in ("sign", "word") or token.text not in texts:
            return None
        self._position += 1
        return token

    def _chain(self, below: Callable[[], Expression], *signs: str) -> Expression:
        left = below()
        while (sign := self._take(*signs)) is not None:
            left = Expression(sign.text, sign.column, (left, below()))
        return left

    def _or(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise PredicateError(f"expected at most {MAX_DEPTH} levels", self._next.column if self._next else self._end)
        expression = self._chain(self._and, "or")
        self._depth -= 1
        return expression

    def _and(self) -> Expression:
        return self._chain(self._not, "and")

    def _not(self) -> Expression:
        negations = []
        while (word := self._take("not")) is not None:
            negations.append(word)
        expression = self._comparison()
        for word in reversed(negations):
            expression = Expression("not", word.column, (expression,))
        return expression

    def _comparison(self) -> Expression:
        left = self._sum()
        sign = self._take(*COMPARISONS)
        if sign is None:
            return left
        compared = Expression(sign.text, sign.column, (left, self._sum()))
        if self._next is not None and self._next.text in COMPARISONS:
            raise PredicateError("comparisons do not chain", self._next.column, "join two of them with and")
        return compared

    def _sum(self) -> Expression:
        return self._chain(self._product, "+", "-")

    def _product(self) -> Expression:
        return self._chain(self._signed, "*", "/")

    def _signed(self) -> Expression:
        minus = self._take("-")
        atom = self._atom()
        return Expression("negate", minus.column, (atom,)) if minus is not None else atom

    def _atom(self) -> Expression:
        bracket = self._take("(")
        if bracket is not None:
            inside = self._or()
            if self._take(")") is None:
                raise PredicateError("the bracket is not closed", bracket.column)
            return inside
        token = self._next
        if token is None:
            raise PredicateError("expected a value, got the end", self._end)
        if token.kind == "sign" or token.text in ("and", "or", "not"):
            raise PredicateError(f"expected a value, got `{token.text}`", token.column)
        self._position += 1
        return _literal(token)


def _literal(token: Token) -> Expression:
    if token.kind == "text":
        return Expression("text", token.column, literal=token.text[1:-1])
    if token.kind == "number":
        return Expression("number", token.column, literal=_quantity(token.text))
    if token.text in ("true", "false"):
        return Expression("text", token.column, literal=token.text == "true")
    return Expression("address", token.column, literal=token.text)


def _quantity(text: str) -> Quantity:
    try:
        return Quantity(float(text))
    except ValueError:
        return Quantity(*parse_quantity(text))


def _walk(expression: Expression) -> Iterator[Expression]:
    yield expression
    for operand in expression.operands:
        yield from _walk(operand)


def evaluate(expression: Expression, lookup: Lookup) -> Value:
    """The value of a part of a predicate; raises as `Predicate.evaluate`."""
    operator, column = expression.operator, expression.column
    if operator in ("number", "text"):
        literal: Value = expression.literal
        return literal
    if operator == "address":
        return _looked_up(expression.literal, column, lookup)
    values = [evaluate(operand, lookup) for operand in expression.operands]
    if operator in ("and", "or", "not"):
        return _logic(
            operator, [_truth(value, each.column) for value, each in zip(values, expression.operands, strict=True)]
        )
    if operator in ("==", "!="):
        return _same(values[0], values[1], column) == (operator == "==")
    numbers = [_number(value, each.column) for value, each in zip(values, expression.operands, strict=True)]
    if operator == "negate":
        return Quantity(-numbers[0].value, numbers[0].dimension)
    return _arithmetic(operator, numbers[0], numbers[1], column)


def _looked_up(address: str, column: int, lookup: Lookup) -> Value:
    try:
        found = lookup(address)
    except KeyError:
        raise UnknownAddressError(address, column) from None
    if isinstance(found, bool | Quantity):
        return found
    if isinstance(found, int | float):
        return Quantity(float(found))
    if isinstance(found, str):
        try:
            return Quantity(*parse_quantity(found))
        except UnitError:
            return found
    what = "has no value" if found is None else "is not one value"
    raise PredicateError(f"`{address}` {what}", column)


def _truth(value: Value, column: int) -> bool:
    if isinstance(value, bool):
        return value
    raise PredicateError("expected a comparison or true/false here", column)


def _logic(operator: str, values: list[bool]) -> bool:
    if operator == "not":
        return not values[0]
    return all(values) if operator == "and" else any(values)


def _number(value: Value, column: int) -> Quantity:
    if isinstance(value, Quantity):
        return value
    raise PredicateError("expected a number here", column)


def _same(left: Value, right: Value, column: int) -> bool:
    if isinstance(left, Quantity) and isinstance(right, Quantity):
        _check_units(left, right, column)
        return left.value == right.value
    if type(left) is not type(right):
        raise PredicateError("both sides must be numbers, or both text, or both true/false", column)
    return left == right


def _check_units(left: Quantity, right: Quantity, column: int) -> None:
    if left.dimension != right.dimension:
        names = [each.dimension or "a plain number" for each in (left, right)]
        bare = None in (left.dimension, right.dimension)
        examples = [kind.examples[0] for kind in DIMENSIONS.values() if kind.name in names and bare]
        hint = f"write the number with its unit, such as {examples[0]}" if examples else None
        raise PredicateError(f"units do not fit: {names[0]} and {names[1]}", column, hint)


def _arithmetic(operator: str, left: Quantity, right: Quantity, column: int) -> Value:
    a, b = left.value, right.value
    if operator == "*":
        if left.dimension and right.dimension:
            raise PredicateError(f"units do not fit: {left.dimension} times {right.dimension}", column)
        return _finite(a * b, left.dimension or right.dimension, column)
    if operator == "/":
        return _divided(left, right, column)
    _check_units(left, right, column)
    if operator in ("+", "-"):
        return _finite(a + b if operator == "+" else a - b, left.dimension, column)
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[operator]


def _divided(left: Quantity, right: Quantity, column: int) -> Quantity:
    if right.value == 0:
        raise PredicateError("division by zero", column)
    if right.dimension and right.dimension != left.dimension:
        raise PredicateError(f"units do not fit: {left.dimension or 'a plain number'} by {right.dimension}", column)
    return _finite(left.value / right.value, None if right.dimension else left.dimension, column)


def _finite(value: float, dimension: str | None, column: int) -> Quantity:
    if value in (float("inf"), float("-inf")) or value != value:
        raise PredicateError("the result is too large", column)
    return Quantity(value, dimension)
