"""Which points belong together: by what their parameters mean, not by how they are written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runner.results.matching import match_points
from tests.unit.results.sample_run import planned


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("50/s", 50.0, True),
        ("50/s", "50.0/s", True),
        ("1s", "1000ms", True),
        ("1KiB", 1024, True),
        (["1s", "2s"], [1, 2.0], True),
        ("50/s", "51/s", False),
        ("50/s", "50", False),
        ("text", "text", True),
        (True, 1, False),
    ],
)
def test_a_value_is_the_same_however_it_is_written(one: Any, other: Any, same: bool) -> None:
    cases = [replace(planned(1, 4), parameters={"load.rate": value}) for value in (one, other)]
    matches, left_out = match_points(cases[:1], cases[1:])
    assert bool(matches) == same
    assert bool(left_out) != same
