"""Lists of processors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.scenario.cpu_list import format_cpus, parse_cpus


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", (0,)), ("0-3,8", (0, 1, 2, 3, 8)), (" 8, 0-1 ,1", (0, 1, 8)), ("7-7", (7,))]
)
def test_reads_lists(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpus(text) == cpus


@pytest.mark.parametrize("text", ["", "3-1", "a", "1-", "-1", "1,,2", "0-123456"])
def test_refuses_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected a list of CPUs such as 0-7"):
        parse_cpus(text)


@given(st.sets(st.integers(0, 300), min_size=1))
def test_writing_and_reading_agree(cpus: set[int]) -> None:
    assert parse_cpus(format_cpus(cpus)) == tuple(sorted(cpus))


def test_neighbours_are_spans() -> None:
    assert format_cpus([9, 3, 2, 1, 5]) == "1-3,5,9"
