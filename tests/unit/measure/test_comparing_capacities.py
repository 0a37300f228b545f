"""Capacities against each other: what follows from loads that passed and failed, and what does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from runner.measure.compared_metrics import Rules
from runner.measure.comparing import compare
from runner.report.comparison import comparison_text
from runner.results.anchors import AnchorStep
from runner.results.capacity import Capacity
from runner.results.comparison import Comparison, Contrast
from runner.results.run import Run
from runner.tune.capacity import pooled
from tests.unit.measure.compared_runs import measured, run_of
from tests.unit.tune.oracle import Oracle, below, sla


def searched(*capacities: float, says: dict[Any, Any] | None = None, **load: Any) -> Capacity:
    """The answer of the recommended search on servers that carry so much, one for each attempt."""
    asked = sla(**load)
    return pooled(asked, [Oracle(below(c), says=says or {}).search(asked) for c in capacities])


def run(capacity: Capacity | None, name: str) -> Run:
    return run_of([measured(100, capacity=capacity)], name=name)


def compared(a: Capacity | None, b: Capacity | None, margin: float = 0.02) -> Comparison:
    return compare(run(a, "a"), run(b, "b"), Rules.of((), margin))


def contrast(comparison: Comparison) -> Contrast:
    (point,) = comparison.points
    (found,) = point.contrasts
    return found


def test_the_interval_runs_between_loads_that_passed_and_loads_that_failed() -> None:
    found = contrast(compared(searched(300), searched(200)))
    assert (found.metric, found.verdict, found.certain) == ("capacity_per_s", "better", False)
    assert found.change.low is not None
    assert found.change.high is not None
    assert found.change.low < 0.5 < found.change.high, "the truth"
    assert found.change.high - found.change.low < 0.15
    assert found.words == "likely better"


def test_a_difference_within_the_resolution_is_undecided() -> None:
    assert contrast(compared(searched(204), searched(200))).verdict == "undecided"


def test_a_wide_margin_can_make_two_capacities_equivalent() -> None:
    assert contrast(compared(searched(200), searched(200), margin=0.1)).verdict == "equivalent"


def test_several_searches_widen_what_is_known_to_their_range() -> None:
    one, several = (contrast(compared(searched(*each), searched(200))) for each in ((300,), (290, 300, 310)))
    assert several.change.low < one.change.low  # type: ignore[operator]
    assert several.change.high > one.change.high  # type: ignore[operator]


def test_a_load_without_a_verdict_is_no_upper_end() -> None:
    """It counts as not passed in the search, but the server may well carry it."""
    plain = searched(300)
    (attempt,) = plain.attempts
    unsure = {("bisect", p.level): "unresolved" for p in attempt.probes if p.level > 300 and p.stage == "bisect"}
    found = contrast(compared(searched(300, says=unsure), searched(200)))
    assert found.change.high > contrast(compared(plain, searched(200))).change.high  # type: ignore[operator]


def test_without_a_failed_load_one_end_is_open_and_nothing_is_decided() -> None:
    at_least = searched(300, range={"max": "250/s"})
    assert at_least.status == "at least"
    comparison = compared(searched(100), at_least)
    found = contrast(comparison)
    assert (found.change.low, found.verdict) == (None, "undecided")


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        (searched(300), None, "A is a search for a capacity, B is a given load"),
        (searched(300), searched(300, percentile=99), "other limits: p95 ≤ 100 ms over rate | p99 ≤ 100 ms over rate"),
        (searched(300), searched(-1), "B infeasible: "),
        (
            searched(300),
            searched(300, strategy="pa_linear", range={"min": "200/s"}, step="50/s"),
            "pa_linear: its loads do not",
        ),
    ],
    ids=["no search", "another limit", "infeasible", "another tool's rule"],
)
def test_what_cannot_be_compared_says_why(a: Capacity | None, b: Capacity | None, reason: str) -> None:
    comparison = compared(a, b)
    assert comparison.points == ()
    (left,) = comparison.left_out
    assert left.side == "A and B"
    assert reason in left.reason


def test_rates_and_latencies_of_different_loads_are_not_compared() -> None:
    text = comparison_text(compared(searched(300), searched(200)))
    assert "capacity searches, 1 of A and 1 of B" in text
    assert "latency" not in text


# --- anchors ------------------------------------------------------------------------------------------------------


def with_anchors(changes: Sequence[float]) -> Run:
    steps = [AnchorStep(first=n, last=n + 1, change=change, uncertainty=0.01) for n, change in enumerate(changes)]
    return replace(run_of([measured(100)]), anchor_steps=tuple(steps))


def test_a_rig_that_drifted_while_a_side_was_measured_is_said() -> None:
    comparison = compare(with_anchors([0.001, -0.06, 0.03]), with_anchors([0.005]), Rules.of())
    assert comparison.drift == (
        "A: its anchor moved by -6.0% (±1.0%) from one measurement to the next, and by more than chance 2 of 3 times",
    )
    assert "the rig drifted" in comparison_text(comparison)
