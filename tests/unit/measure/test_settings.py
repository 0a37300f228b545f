from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.errors import UsageError
from runner.measure.loads import settings_for
from runner.measure.settings import (
    EXPLORE,
    FOREVER_S,
    PROFILES,
    WindowsRule,
    longest_trial_s,
    markdown_table,
    resolve,
)
from runner.scenario.schema import Measure, PeriodicLoad


def measure(**values: Any) -> Measure:
    return Measure.model_validate(values)


def test_explore_keeps_a_point_between_ten_and_twenty_five_seconds() -> None:
    settings = resolve(Measure())
    assert settings == EXPLORE
    assert settings.warmup_min_s + settings.window_min_s >= 10
    assert settings.deadline_s <= 25


def test_the_stop_rule_is_stricter_than_what_is_reported() -> None:
    assert resolve(Measure()).stop_confidence == pytest.approx(0.97)


def test_every_value_can_be_set() -> None:
    settings = resolve(
        measure(
            warmup={"min_time": "5s", "min_requests_per_slot": 20, "max_fraction": "30%"},
            window={"min": "30s", "max": "300s"},
            precision={
                "confidence": "99%",
                "throughput": "1%",
                "mean": "2%",
                "percentiles": {"p50": "2%", "p99.9": "5%"},
            },
            percentiles=[99, 50, 99.9, 50],
            max_error_rate="1%",
            drain="3s",
            seed=7,
        )
    )
    assert (settings.warmup_min_s, settings.warmup_min_requests_per_slot, settings.warmup_max_fraction) == (5, 20, 0.3)
    assert (settings.window_min_s, settings.window_max_s) == (30, 300)
    assert (settings.confidence, settings.throughput, settings.mean) == (0.99, 0.01, 0.02)
    assert settings.percentile_precision == {50.0: 0.02, 99.9: 0.05}
    assert settings.percentiles == (50.0, 99.0, 99.9)
    assert (settings.max_error_rate, settings.drain_s, settings.seed) == (0.01, 3, 7)


@pytest.mark.parametrize(
    ("window", "expected"),
    [({"max": "3s"}, (3, 3)), ({"min": "40s"}, (40, 40)), ({"min": "1s"}, (1, 20)), ({"max": "60s"}, (8, 60))],
)
def test_one_edge_of_the_window_moves_the_profiles_other_one(window: dict[str, str], expected: tuple[int, int]) -> None:
    settings = resolve(measure(window=window))
    assert (settings.window_min_s, settings.window_max_s) == expected


def test_reference_measures_64_requests_from_cold() -> None:
    settings = resolve(measure(profile="reference"))
    assert settings.requests == 64
    assert settings.warmup_min_s == settings.warmup_min_requests_per_slot == 0
    assert settings.throughput is None
    assert not settings.percentile_precision
    assert resolve(measure(profile="reference", requests=100)).requests == 100


def test_a_fixed_count_turns_the_warmup_of_explore_off() -> None:
    settings = resolve(measure(requests=100))
    assert (settings.requests, settings.warmup_min_s, settings.warmup_min_requests_per_slot) == (100, 0, 0)


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"window": {"max": "0s"}}, "measure.window.max"),
        ({"precision": {"confidence": "100%"}}, "measure.precision.confidence"),
        ({"precision": {"confidence": "20%"}}, "measure.precision.confidence"),
        ({"precision": {"percentiles": {"p0": "5%"}}}, "measure.precision.percentiles"),
        ({"requests": 64, "warmup": {"min_time": "2s"}}, "measure.warmup.min_time"),
        ({"profile": "reference", "warmup": {"min_requests_per_slot": 2}}, "measure.warmup.min_requests_per_slot"),
    ],
)
def test_contradictions_are_refused_with_place_and_remedy(values: dict[str, Any], where: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve(measure(**values))
    assert error.value.message.startswith(where)
    assert "got" in error.value.message
    assert error.value.hint


def test_the_longest_trial_counts_warmup_window_and_drain() -> None:
    assert longest_trial_s(Measure()) == 2 + 20 + 10


def test_the_table_in_the_documentation_is_the_profiles() -> None:
    text = (Path(__file__).parents[3] / "docs" / "measurement.md").read_text(encoding="utf-8")
    assert markdown_table() in text


def test_publish_is_minutes_and_five_starts_of_the_server() -> None:
    settings = resolve(measure(profile="publish"))
    assert (settings.window_min_s, settings.window_max_s, settings.repeats) == (120, 600, 5)
    assert (settings.throughput, settings.mean) == (0.01, 0.02)
    assert settings.percentile_precision == {50: 0.02, 95: 0.03, 99: 0.05}
    assert (settings.fewest_completions, settings.window_min_batches) == (10_000, 20)
    assert longest_trial_s(measure(profile="publish")) == 5 + 600 + 10


@pytest.mark.parametrize(
    ("more", "fewest"),
    [
        ({"precision": {"percentiles": {"p50": "2%", "p99.9": "5%"}}}, 100_000),
        ({"precision": {"percentiles": {"p95": "2%"}}}, 2_000),
        ({"precision": {"percentiles": {}}}, 100),
        ({"window": {"min_completions": 7}}, 7),
    ],
)
def test_the_floor_in_answers_follows_the_highest_percentile(more: dict[str, Any], fewest: int) -> None:
    assert resolve(measure(profile="publish", **more)).fewest_completions == fewest


def test_explore_and_reference_have_no_floor_in_answers() -> None:
    assert resolve(Measure()).fewest_completions == resolve(measure(profile="reference")).fewest_completions == 0


def test_every_profile_can_be_repeated() -> None:
    assert [resolve(measure(profile=name, repeats=3)).repeats for name in PROFILES] == [3, 3, 3]


WINDOWS = {"kind": "windows"}


def test_three_windows_ask_for_no_precision_and_no_warmup() -> None:
    settings = resolve(measure(stability={**WINDOWS, "interval": "6s", "trials": 4, "within": "5%", "percentile": 95}))
    assert settings.windows == WindowsRule(interval_s=6, requests=None, within=0.05, trials=4, percentile=95)
    assert (settings.throughput, settings.mean, settings.percentile_precision) == (None, None, {})
    assert (settings.warmup_min_s, settings.warmup_min_requests_per_slot) == (0, 0)
    assert settings.deadline_s == 24
    assert resolve(measure(profile="publish", stability=WINDOWS)).repeats == 5


def test_windows_by_count_have_a_cap_of_their_own() -> None:
    assert resolve(measure(stability={**WINDOWS, "requests": 50})).deadline_s == 600
    assert resolve(measure(stability={**WINDOWS, "requests": 50}, window={"max": "30s"})).deadline_s == 30


@pytest.mark.parametrize(
    ("more", "address"),
    [
        ({"requests": 64}, "measure.requests"),
        ({"profile": "reference"}, "measure.requests"),
        ({"window": {"max": "20s"}}, "measure.window.max"),
        ({"window": {"min": "20s"}}, "measure.window.min"),
        ({"window": {"min_completions": 5}}, "measure.window.min_completions"),
        ({"precision": {"mean": "2%"}}, "measure.precision"),
    ],
)
def test_what_three_windows_would_leave_aside_is_refused(more: dict[str, Any], address: str) -> None:
    with pytest.raises(UsageError, match=f"^{address}: ") as caught:
        resolve(measure(stability=WINDOWS, **more))
    assert f"remove {address}" in str(caught.value.hint)


def test_a_soak_has_no_end_and_no_precision_but_what_the_scenario_gives() -> None:
    settings = resolve(measure(soak=True, profile="publish"))
    assert (settings.soak, settings.window_max_s, settings.repeats) == (True, FOREVER_S, 1)
    assert (settings.throughput, settings.mean, settings.percentile_precision) == (None, None, {})
    settings = resolve(measure(soak=True, window={"max": "8h"}, precision={"throughput": "1%"}))
    assert (settings.window_max_s, settings.throughput) == (8 * 3600, 0.01)


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"requests": 5}, "measure.requests is 5"),
        ({"profile": "reference"}, "measure.requests is 64"),
        ({"stability": {"kind": "windows"}}, "measure.stability.kind is windows"),
    ],
)
def test_a_soak_has_no_other_rule_beside_it(values: dict[str, Any], where: str) -> None:
    with pytest.raises(UsageError, match=where):
        resolve(measure(soak=True, **values))


def test_a_load_that_ends_by_itself_is_no_soak() -> None:
    periodic = PeriodicLoad(kind="periodic", start=1, end=2)
    with pytest.raises(UsageError, match="a load of kind periodic has"):
        settings_for(resolve(measure(soak=True)), periodic)


def test_a_fixed_number_may_come_after_a_warm_up_by_number_alone() -> None:
    found = resolve(Measure.model_validate({"requests": 50, "warmup": {"requests": 20}}))
    assert (found.requests, found.warmup_requests, found.measures_all) == (50, 20, True)
    with pytest.raises(UsageError, match=r"measure\.warmup\.min_time") as caught:
        resolve(Measure.model_validate({"requests": 50, "warmup": {"min_time": "1s"}}))
    assert caught.value.hint is not None
    assert "write measure.warmup.requests in place of" in caught.value.hint
