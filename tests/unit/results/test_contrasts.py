"""The statistics of comparisons, against tables, against scipy, and against what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from runner.results.contrasts import (
    Effect,
    benjamini_hochberg,
    from_errors,
    holm,
    judge_difference,
    judge_within_run,
    log_error,
    paired,
    sign_flip_p,
    unpaired,
)
from runner.results.records import Estimate


def test_paired_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.03, 0.01, 7), rng.normal(0, 0.01, 7)
    effect, expected = paired(list(a), list(b), 0.95), stats.ttest_rel(a, b)
    interval = expected.confidence_interval(0.95)
    assert effect.p == pytest.approx(expected.pvalue)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high))


def test_unpaired_is_welch() -> None:
    a, b = [1.0, 1.2, 1.1, 0.9], [1.4, 1.8, 1.5]
    effect, expected = unpaired(a, b, 0.9), stats.ttest_ind(a, b, equal_var=False)
    interval = expected.confidence_interval(0.9)
    assert effect.p == pytest.approx(expected.pvalue)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(("pairs", "smallest"), [(5, 0.0625), (6, 0.03125), (8, 2 / 256)])
def test_the_smallest_p_of_sign_flips(pairs: int, smallest: float) -> None:
    assert sign_flip_p(np.full(pairs, 0.1) + np.arange(pairs)) == pytest.approx(smallest)


def test_sign_flips_are_those_of_scipy() -> None:
    differences = np.array([0.3, -0.1, 0.25, 0.2, -0.05, 0.4, 0.1])
    expected = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(differences) == pytest.approx(expected.pvalue)


def test_equal_pairs_have_no_error_and_no_doubt() -> None:
    same, apart = paired([1.0, 2.0], [1.0, 2.0], 0.95), paired([2.0, 3.0], [1.0, 2.0], 0.95)
    assert (same.p, same.low, same.high, same.p_exact) == (1.0, 0.0, 0.0, 1.0)
    assert (apart.p, apart.low, apart.high) == (0.0, 1.0, 1.0)


def test_more_pairs_than_can_be_enumerated_have_the_t_test_alone() -> None:
    assert paired([0.1] * 11 + [0.2] * 10, [0.0] * 21, 0.95).p_exact is None


def test_an_interval_gives_back_the_error_that_it_was_made_from() -> None:
    value, error = 50.0, 0.02
    bounds = [value * math.exp(sign * 1.959964 * error) for sign in (-1, 1)]
    assert log_error(Estimate(value, *bounds), 0.95) == pytest.approx(error, rel=1e-5)
    assert log_error(Estimate(value, bounds[0], None), 0.95) is None


def test_two_errors_add_in_quadrature_and_a_missing_one_leaves_no_interval() -> None:
    effect = from_errors(0.1, [0.03, 0.04], 0.95)
    assert effect.low == pytest.approx(0.1 - 1.959964 * 0.05, rel=1e-5)
    assert from_errors(0.1, [0.03, None], 0.95) == Effect(0.1)


def test_holm_and_benjamini_hochberg_by_hand() -> None:
    p_values = [0.01, 0.04, 0.03, 0.005]
    assert holm(p_values) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values))
    assert holm([]) == benjamini_hochberg([]) == []
    assert holm([0.6, 0.9]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("gain", "different", "verdict"),
    [
        (Effect(0.05, 0.04, 0.06), True, "better"),
        (Effect(-0.05, -0.06, -0.04), True, "worse"),
        (Effect(-0.05, -0.06, -0.04), False, "undecided"),  # the family says that chance does such things
        (Effect(0.01, 0.005, 0.015), True, "different_but_small"),
        (Effect(0.003, -0.01, 0.016), False, "equivalent"),
        (Effect(0.003, -0.03, 0.036), False, "undecided"),
        (Effect(0.3), True, "undecided"),
    ],
)
def test_verdicts_against_a_margin(gain: Effect, different: bool, verdict: str) -> None:
    assert judge_difference(gain, 0.02, different) == verdict


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        (Effect(0.05, 0.021, 0.08), "better"),
        (Effect(0.05, 0.019, 0.08), "undecided"),
        (Effect(-0.05, -0.08, -0.021), "worse"),
        (Effect(0.0, -0.02, 0.02), "equivalent"),
        (Effect(0.05), "undecided"),
    ],
)
def test_one_measurement_on_a_side_must_clear_the_margin_as_a_whole(gain: Effect, verdict: str) -> None:
    assert judge_within_run(gain, 0.02) == verdict


def test_a_paired_interval_covers_and_its_test_keeps_its_level() -> None:
    rng = np.random.default_rng(5)
    effects = [paired(list(row), [0.0] * 6, 0.95) for row in rng.normal(0.0, 0.014, (2000, 6))]
    share = sum(e.low is not None and e.high is not None and e.low <= 0 <= e.high for e in effects) / len(effects)
    assert 0.935 <= share <= 0.965
    assert sum((e.p_exact or 0) <= 0.05 for e in effects) / len(effects) <= 0.05
