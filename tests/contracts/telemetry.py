"""What every telemetry `Source` keeps, fakes included: subclass `SourceContract`, provide `source` and `fault`.

`fault` is a pair of functions: one takes something away that the source reads, the other puts it back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from runner.measure.telemetry.base import Source

Fault = tuple[Callable[[], None], Callable[[], None]]


class SourceContract:
    """The suite."""

    def test_values_are_finite_and_names_are_series(self, source: Source) -> None:
        values = source.read()
        assert values
        assert all(math.isfinite(value.value) for value in values.values())
        assert all(re.fullmatch(r"[a-zA-Z_:][\w:.]*(\{.*\})?", name) for name in values)

    def test_what_is_absent_says_why_and_is_not_there(self, source: Source) -> None:
        values, absent = source.read(), source.absent()
        assert not set(values) & set(absent)
        assert all(len(why) > 5 for why in absent.values())

    def test_a_series_keeps_its_unit_and_kind_and_counters_do_not_fall(self, source: Source) -> None:
        first, second = source.read(), source.read()
        assert set(first) == set(second)
        for name, value in first.items():
            assert (value.unit, value.kind, value.detail) == (second[name].unit, second[name].kind, second[name].detail)
            assert value.kind == "gauge" or second[name].value >= value.value, name

    def test_a_fault_is_a_reason_and_ends_with_its_cause(self, source: Source, fault: Fault) -> None:
        take_away, put_back = fault
        whole, before = set(source.read()), set(source.absent())
        take_away()
        rest = set(source.read())
        assert rest < whole
        assert set(source.absent()) - before
        put_back()
        assert set(source.read()) == whole
        assert set(source.absent()) == before

    def test_it_may_be_closed_twice(self, source: Source) -> None:
        source.read()
        source.close()
        source.close()
