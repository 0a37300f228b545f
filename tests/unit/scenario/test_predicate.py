"""Predicates: what they compute, what they refuse, and that nothing else can happen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.scenario.predicate import PredicateError, Quantity, UnknownAddressError, parse
from runner.scenario.values import lookup_in

PLAIN = {
    "workload": {"batch": 8, "model": "net", "timeout": "60s"},
    "load": {"concurrency": 4},
    "on": True,
    "size": "1KiB",
    "list": [1, {"x": 2}],
    "none": None,
    "files": {"1/model.plan": 3},
    "vars": {"n": {"type": "int", "default": 5}},
    "rate": "10/s",
    "share": "5%",
}
LOOKUP = lookup_in(PLAIN)


def evaluate(text):
    return parse(text).evaluate(LOOKUP)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("workload.batch * load.concurrency > 31", True),
        ("workload.batch * load.concurrency > 32", False),
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("8 / 4 / 2", 1.0),
        ("5 - 3 - 1", 1.0),
        ("-2 + 5", 3.0),
        ("2 * -3 == -6", True),
        ("workload.timeout <= 1m", True),
        ("workload.timeout - 30s > 20s", True),
        ("workload.timeout / 30s == 2", True),
        ("workload.timeout * 2 == 2m", True),
        ("2 * workload.timeout / 4 == 30s", True),
        ("500ms<1s", True),
        ("size == 1024B", True),
        ("share < 6%", True),
        ("rate >= 600/m", True),
        ("1e3 == 1000", True),
        ("workload.model == 'net'", True),
        ('workload.model != "net"', False),
        ("on", True),
        ("on == true", True),
        ("not on", False),
        ("not not on", True),
        ("not on or on", True),
        ("on and not (load.concurrency > 4)", True),
        ("false or false and true", False),
        ("list.0 == 1 and list.1.x == 2", True),
        ("vars.n == 5", True),
    ],
)
def test_values(text, value):
    found = evaluate(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "expected a value, got the end"),
        ("1 +", 4, "expected a value, got the end"),
        ("1 + * 2", 5, "expected a value, got `*`"),
        ("(1 + 2", 1, "the bracket is not closed"),
        ("1 2", 3, "expected the end, got `2`"),
        ("5 sec > 1", 3, "expected the end, got `sec`"),
        ("1 < 2 < 3", 7, "comparisons do not chain"),
        ("a = 1", 3, "`=` has no meaning here"),
        ("a && b", 3, "`&` has no meaning here"),
        ("f(x)", 2, "expected the end, got `(`"),
        ("a ; b", 3, "`;` has no meaning here"),
        ("and", 1, "expected a value, got `and`"),
        ("(" * 60 + "1", 51, "expected at most 50 levels"),
        ("1 + " * 1000 + "1", 1, "expected at most 2000 characters"),
    ],
)
def test_texts_that_are_not_predicates(text, column, message):
    with pytest.raises(PredicateError) as caught:
        parse(text)
    assert (caught.value.column, caught.value.message[: len(message)]) == (column, message)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("1 / (load.concurrency - 4) > 1", 3, "division by zero"),
        ("workload.timeout / 0s", 18, "division by zero"),
        ("workload.timeout > 5", 18, "units do not fit: a duration and a plain number"),
        ("workload.timeout == size", 18, "units do not fit: a duration and a size"),
        ("5s * 5s", 4, "units do not fit: a duration times a duration"),
        ("5 / 5s", 3, "units do not fit: a plain number by a duration"),
        ("workload.model > 1", 1, "expected a number here"),
        ("workload.model == 1", 16, "both sides must be numbers"),
        ("1 and on", 1, "expected a comparison or true/false here"),
        ("'text'", 1, "expected a comparison, got text"),
        ("none == 1", 1, "`none` has no value"),
        ("workload == 1", 1, "`workload` is not one value"),
        ("1e300 * 1e300 > 1", 7, "the result is too large"),
        ("-on", 2, "expected a number here"),
    ],
)
def test_values_that_do_not_fit(text, column, message):
    with pytest.raises(PredicateError) as caught:
        evaluate(text)
    assert (caught.value.column, caught.value.message[: len(message)]) == (column, message)


def test_an_unknown_address_is_named_with_its_column():
    with pytest.raises(UnknownAddressError) as caught:
        evaluate("1 < workload.bach")
    assert (caught.value.address, caught.value.column) == ("workload.bach", 5)
    with pytest.raises(UnknownAddressError):
        evaluate("list.7 == 1")


def test_addresses_in_order_and_once():
    assert parse("b.c > a and a < 2s or not b.c").addresses() == ("b.c", "a")


def test_a_lookup_may_give_quantities():
    assert parse("latency.p99 <= 50ms").evaluate(lambda _: Quantity(0.04, "a duration")) is True


def test_keys_with_dots_are_found():
    assert LOOKUP("files.1/model.plan") == 3


@given(st.text(alphabet="ab.12 +-*/()<>=!'\"smM%andortn", max_size=40))
def test_any_text_gives_a_value_or_an_error_with_a_column(text):
    column, value = None, None
    try:
        value = parse(text).evaluate(LOOKUP)
    except PredicateError as error:
        column = error.column
    assert isinstance(value, bool | float) if column is None else 1 <= column <= len(text) + 1
