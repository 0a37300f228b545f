"""Quantities: what is read, what is refused and how, and that writing and reading agree."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from runner import units


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (units.parse_seconds, "5s", 5.0),
        (units.parse_seconds, "200ms", 0.2),
        (units.parse_seconds, "100us", 1e-4),
        (units.parse_seconds, "100µs", 1e-4),
        (units.parse_seconds, "7ns", 7e-9),
        (units.parse_seconds, "2m", 120.0),
        (units.parse_seconds, "1.5h", 5400.0),
        (units.parse_seconds, " 3 s ", 3.0),
        (units.parse_bytes, "64MiB", 64 * 2**20),
        (units.parse_bytes, "8GiB", 8 * 2**30),
        (units.parse_bytes, "1GB", 10**9),
        (units.parse_bytes, "512B", 512),
        (units.parse_bytes, "1.5KiB", 1536),
        (units.parse_fraction, "5%", 0.05),
        (units.parse_fraction, "0.5%", 0.005),
        (units.parse_fraction, "100%", 1.0),
        (units.parse_rate, "50/s", 50.0),
        (units.parse_rate, "90/m", 1.5),
        (units.parse_watts, "250W", 250.0),
        (units.parse_watts, "0.7kW", 700.0),
        (units.parse_watts, "250000 mW", 250.0),
    ],
)
def test_reads_quantities(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "value", "message", "hint"),
    [
        (units.parse_seconds, 120, "a duration such as 5s or 200ms, got the bare number 120", "write 120s"),
        (units.parse_seconds, "120", "got the bare number 120", "write 120s"),
        (units.parse_seconds, "5 sec", 'got "5 sec"', "units: h, m, s"),
        (units.parse_seconds, "5S", 'got "5S"', "write 5s"),
        (units.parse_seconds, "5MiB", 'got "5MiB"', "`MiB` is the unit of a size"),
        (units.parse_seconds, "-5s", "got the negative -5s", None),
        (units.parse_seconds, "soon", 'got "soon"', None),
        (units.parse_seconds, "x" * 99, "...", None),
        (units.parse_seconds, True, "got true", None),
        (units.parse_seconds, None, "got null", None),
        (units.parse_seconds, [5], "got a list", None),
        (units.parse_seconds, {"s": 5}, "got a map", None),
        (units.parse_bytes, 1024, "got the bare number 1024", "write 1024B"),
        (units.parse_watts, 250, "a power such as 250W or 0.7kW, got the bare number 250", "write 250W"),
        (units.parse_watts, "250w", 'got "250w"', "write 250W"),
        (units.parse_watts, "5m", 'got "5m"', "`m` is the unit of a duration"),
        (units.parse_bytes, "1gib", 'got "1gib"', "write 1GiB"),
        (units.parse_bytes, "0.5B", "a whole number of bytes", None),
        (units.parse_fraction, 0.05, "got the bare number 0.05", "write 5%"),
        (units.parse_fraction, 5, "got the bare number 5", "write 5%"),
        (units.parse_fraction, "101%", "at most 100%", None),
        (units.parse_rate, 50, "got the bare number 50", "write 50/s"),
    ],
)
def test_refuses_with_a_remedy(parse, value, message, hint):
    with pytest.raises(units.UnitError, match=re.escape(message)) as caught:
        parse(value)
    assert (caught.value.hint or "").startswith(hint or "")
    assert (caught.value.hint is None) == (hint is None)


@given(st.floats(min_value=1e-12, max_value=1e12))
def test_durations_survive_writing(value):
    assert units.parse_seconds(units.format_seconds(value)) == value


@given(st.integers(min_value=0, max_value=10**17))
def test_sizes_survive_writing(value):
    assert units.parse_bytes(units.format_bytes(value)) == value


@given(st.floats(min_value=0, max_value=1))
def test_shares_survive_writing(value):
    text = units.format_fraction(value)
    if len(text) < 40:  # subnormal shares need more digits than a file may have
        assert units.parse_fraction(text) == value


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_rates_survive_writing(value):
    assert units.parse_rate(units.format_rate(value)) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.format_seconds(0.2), "200ms"),
        (units.format_seconds(120.0), "120s"),
        (units.format_seconds(1e-4), "100us"),
        (units.format_bytes(2**30), "1GiB"),
        (units.format_bytes(10**9), "1GB"),
        (units.format_bytes(0), "0B"),
        (units.format_fraction(0.05), "5%"),
        (units.format_rate(50.0), "50/s"),
        (units.format_watts(250.0), "250W"),
        (units.format_watts(0.5), "0.5W"),
    ],
)
def test_writes_the_shortest_text(text, expected):
    assert text == expected


def test_reads_any_quantity_with_what_it_measures():
    assert units.parse_quantity("200ms") == (0.2, "a duration")
    assert units.parse_quantity("-1KiB") == (-1024.0, "a size")
    with pytest.raises(units.UnitError, match="not a quantity"):
        units.parse_quantity("4")


def test_types_validate_and_serialise():
    adapter = TypeAdapter(units.Seconds)
    assert adapter.validate_python("200ms") == 0.2
    assert adapter.dump_python(0.2, mode="json") == "200ms"
    with pytest.raises(ValidationError) as caught:
        adapter.validate_json(json.dumps(120))
    (error,) = caught.value.errors()
    assert error["type"] == "unit"
    assert error["ctx"]["hint"] == "write 120s"


@pytest.mark.parametrize("kind", [units.Seconds, units.ByteSize, units.Fraction, units.Rate])
def test_json_schema_takes_its_own_examples(kind):
    schema = TypeAdapter(kind).json_schema()
    assert all(re.search(schema["pattern"], example) for example in schema["examples"])
    assert not re.search(schema["pattern"], "120")


def test_things_are_counted_in_the_right_number() -> None:
    assert [units.counted(n, "point") for n in (0, 1, 2, 2000)] == ["0 points", "1 point", "2 points", "2,000 points"]
    assert [units.counted(n, "address") for n in (1, 2)] == ["1 address", "2 addresses"]


def test_only_plain_digits_are_a_whole_number() -> None:
    assert [units.whole_number(text) for text in ("0", "007", "18446744073709551615")] == [0, 7, 2**64 - 1]
    assert [units.whole_number(text) for text in ("", "²", "٣", "-1", "1.0", " 1", "1_0", "9" * 5000)] == [None] * 8
