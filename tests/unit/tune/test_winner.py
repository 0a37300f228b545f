"""The winner's claim: paired, adjusted, and from the confirmation alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from runner.scenario.schema_tune import Tune
from runner.tune.objectives import Goals
from runner.tune.winner import Block, Entry, Outcome, confidence_of, name_winner

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
import _studies as studies

SPACE = {"load.concurrency": (1, 2)}
ONE = Goals.of(Tune(space=SPACE)).objectives
TWO = Goals.of(Tune(space=SPACE, objectives={"throughput": "max", "latency.p99": "min"})).objectives
JITTER = (0.99, 1.01, 1.0, 0.995, 1.004, 1.002)
LEVEL = (1.0, 0.7, 0.9, 1.2, 0.8, 1.1)
"""The rig, block by block."""


def blocks(rates: dict[str, float], missed: dict[str, tuple[int, ...]] | None = None, count: int = 6) -> list[Block]:
    """Every contender in every block; the jitter of each is shifted, so that none is the same."""
    missed = missed or {}
    return [
        {
            name: Entry(
                (rate * LEVEL[block] * JITTER[(block + shift) % 6],),
                {"latency.p99 <= 50ms": 0.1} if block in missed.get(name, ()) else {},
            )
            for shift, (name, rate) in enumerate(rates.items())
        }
        for block in range(count)
    ]


def judged(rates: dict[str, float], **options) -> Outcome:
    return name_winner(blocks(rates, **options), "file", ONE, margin=0.02)


def test_a_real_gain_is_claimed_with_its_interval_although_the_rig_drifts() -> None:
    outcome = judged({"file": 100, "a": 110, "b": 103})
    assert (outcome.call, outcome.winner) == ("winner", "a")
    best = outcome.standings[0]
    assert best.gain.low < 0.10 < best.gain.high
    assert best.gain.high - best.gain.low < 0.06
    assert best.gains[0].change == best.gain
    assert best.gains[0].value / best.gains[0].baseline == pytest.approx(1 + best.gain.value)
    assert [each.contender for each in outcome.standings] == ["a", "b"]


def test_more_contenders_make_wider_intervals_and_larger_p_values() -> None:
    alone = judged({"file": 100, "a": 105}).standings[0]
    crowded = judged({"file": 100, "a": 105, "b": 100, "c": 100}).standings[0]
    assert crowded.gain.value == pytest.approx(alone.gain.value)
    assert crowded.gain.low < alone.gain.low
    assert crowded.p_adjusted == pytest.approx(3 * crowded.p)


def test_no_significant_gain_is_a_result() -> None:
    outcome = judged({"file": 100, "a": 100.5, "b": 99.8})
    assert (outcome.call, outcome.winner) == ("no_significant_gain", None)
    assert "no gain beyond 2.0% can be claimed" in outcome.reason
    assert {each.verdict for each in outcome.standings} <= {"equivalent", "undecided", "different_but_small"}


def test_worse_is_said_too() -> None:
    outcome = judged({"file": 100, "a": 80, "b": 90})
    assert (outcome.call, outcome.winner) == ("worse", None)
    assert [each.verdict for each in outcome.standings] == ["worse", "worse"]


def test_fewer_than_six_blocks_give_effects_but_no_verdict() -> None:
    outcome = judged({"file": 100, "a": 150}, count=5)
    assert (outcome.call, outcome.winner) == ("undecided", None)
    assert outcome.standings[0].gain.value == pytest.approx(0.5, abs=0.02)
    assert "5 blocks" in str(outcome.standings[0].note)


def test_a_contender_that_misses_a_constraint_cannot_win() -> None:
    outcome = judged({"file": 100, "a": 150, "b": 120}, missed={"a": (0, 2, 3, 5), "b": (1,)})
    assert outcome.winner == "b"
    best, other = outcome.standings
    assert (best.straddling, best.missed) == (("latency.p99 <= 50ms",), ())
    assert (other.contender, other.acceptable) == ("a", False)


def test_a_file_that_misses_a_constraint_loses_to_a_point_that_does_not() -> None:
    outcome = judged({"file": 100, "a": 60}, missed={"file": (0, 1, 2, 3)})
    assert (outcome.call, outcome.winner) == ("winner", "a")
    assert "the file's own values miss `latency.p99 <= 50ms`" in outcome.reason
    assert outcome.standings[0].gain.value == pytest.approx(-0.4, abs=0.02)


def test_blocks_without_one_side_are_not_pairs() -> None:
    found = blocks({"file": 100, "a": 110})
    found = [{name: entry for name, entry in block.items() if (n, name) != (2, "a")} for n, block in enumerate(found)]
    assert name_winner(found, "file", ONE, margin=0.02).standings[0].blocks == 5
    alone = [{"a": Entry((1.0,), {})}] * 6
    assert name_winner(alone, "file", ONE, margin=0.02).call == "no_comparison"
    assert name_winner([], "file", ONE, margin=0.02).call == "no_comparison"


def test_several_objectives_are_weighed_and_shown_one_by_one() -> None:
    found = [
        {
            "file": Entry((100 * j, 50 * k), {}),
            "a": Entry((130 * k, 55 * j), {}),
        }
        for j, k in zip(JITTER, JITTER[::-1], strict=True)
    ]
    outcome = name_winner(found, "file", TWO, margin=0.02)
    rate, p99 = outcome.standings[0].gains
    assert outcome.winner == "a"
    assert rate.change.value == pytest.approx(0.3, abs=0.01)
    assert p99.change.value == pytest.approx(0.1, abs=0.01)
    assert p99.change.low < 0.1 < p99.change.high
    assert outcome.standings[0].gain.value == pytest.approx((1.3 / 1.1) ** 0.5 - 1, abs=0.01)


def test_counts_that_are_zero_have_no_ratio_and_still_compare() -> None:
    goals = Goals.of(Tune(space=SPACE, objectives={"errors": "min"}))
    found = [{"file": Entry((float(n + 1),), {}), "a": Entry((0.0,), {})} for n in range(6)]
    outcome = name_winner(found, "file", goals.objectives, margin=0.02)
    assert outcome.winner == "a"
    assert outcome.standings[0].gains[0].value == 0.0


# --- a hundred studies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "count", "noise", "named"),
    [
        (studies.flat(), 400, 0.03, (0.0, 0.05)),
        (studies.problems()[0], 100, 0.03, (0.95, 1.0)),
        (studies.problems()[1], 100, 0.1, (0.9, 1.0)),
    ],
    ids=["flat", "one_hill", "many_hills"],
)
def test_at_most_five_studies_of_a_hundred_claim_more_than_the_truth(problem, count: int, noise: float, named) -> None:
    """Search and confirmation, on a rig whose level changes by 5 % from block to block."""
    claims = [studies.study(problem, "random", seed, trials=20, noise=noise) for seed in range(count)]
    assert sum(claim.beyond for claim in claims) <= 0.05 * count
    assert named[0] <= sum(claim.named for claim in claims) / count <= named[1]
    # What the search itself measured of the best of twenty is too good to be true: nothing is claimed from it.
    assert sum(claim.by_search > claim.true_by_search for claim in claims) > 0.5 * count


# --- studies that are extended ------------------------------------------------------------------------------------


def test_each_confirmation_of_an_extended_study_takes_half_the_risk_of_the_one_before() -> None:
    risks = [1 - confidence_of(number) for number in range(1, 5)]
    assert risks == pytest.approx([0.05, 0.025, 0.0125, 0.00625])


def test_extending_until_something_wins_names_a_winner_in_five_studies_of_a_hundred() -> None:
    """Nothing is to be gained, and the user extends four times: a fresh confirmation of other contenders each time."""
    chance = 3 * (400 * 0.05 * 0.95) ** 0.5
    rounds = range(1, 6)
    assert _named([confidence_of(number) for number in rounds]) < 0.05 * 400 + chance
    assert _named([0.95 for _ in rounds]) > 0.05 * 400 + chance, "what the halving is there for"


def _named(confidences: Sequence[float]) -> int:
    """Of 400 studies, those in which one of the confirmations names a winner."""
    random = np.random.default_rng(1)
    return sum(any(_wins(random, confidence) for confidence in confidences) for _ in range(400))


def _wins(random: np.random.Generator, confidence: float) -> bool:
    found = [
        {
            name: Entry((100 * level * float(np.exp(0.03 * random.standard_normal())),), {})
            for name in ("file", "a", "b")
        }
        for level in np.exp(0.05 * random.standard_normal(6))
    ]
    return name_winner(found, "file", ONE, margin=0.0, confidence=confidence).winner is not None
