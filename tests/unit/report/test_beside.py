"""A reference run beside another: the factors multiply, the words name them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.report import console_table, points_json
from runner.report.beside import explained, gap, pairs
from runner.results.records import Estimate, FirstWave, Summary, Trial
from runner.results.run import PlannedCase, Run
from tests.unit.results.sample_run import create, failed, planned, summary, trial


def planned_as(profile: str, concurrency: int) -> PlannedCase:
    case = planned(8, concurrency)
    parameters = {"measure.profile": profile, **case.parameters}
    return replace(case, case_id=f"{profile}-{concurrency}", parameters=parameters)


def measured(case: PlannedCase, rate: float, mean_ms: float, **changes: Any) -> Trial:
    """A summary that keeps Little's law, as every trial does."""
    return trial(case, summary=replace(summary(8, rate, mean_ms), in_flight_mean=rate * mean_ms / 1000, **changes))


def cold(case: PlannedCase, wave: FirstWave | None, *, rate: float = 20.0, mean_ms: float = 150.0) -> Trial:
    return measured(case, rate, mean_ms, completions=64, window_s=64 / rate, first_wave=wave)


def run_of(tmp_path: Path, *trials: Trial, cases: tuple[PlannedCase, ...]) -> Run:
    directory = create(tmp_path)
    with directory.writer() as writer:
        writer.begin(cases)
        for each in trials:
            writer.append(each)
    return directory.load()


FOUR = (planned_as("explore", 4), planned_as("reference", 4))
WAVE = FirstWave(4, 400.0, 60, 133.0)


@pytest.fixture
def pair_of_runs(tmp_path: Path) -> Run:
    return run_of(tmp_path, measured(FOUR[0], 40, 100), cold(FOUR[1], WAVE), cases=FOUR)


def test_the_factors_multiply_to_what_perf_analyzer_would_print(pair_of_runs: Run) -> None:
    [pair] = pairs(pair_of_runs)
    numbers = gap(pair)
    assert (numbers.steady_per_s, numbers.cold_per_s) == (320, 160)
    assert (numbers.window_s, numbers.rounded_s) == (3.2, 4)
    assert numbers.rounded_per_s == pytest.approx(8 * 64 / 4)
    product = numbers.in_flight_factor * numbers.latency_factor * numbers.rounding_factor
    assert numbers.steady_per_s * product == pytest.approx(numbers.rounded_per_s)
    assert numbers.latency_factor == pytest.approx(100 / 150)
    assert numbers.in_flight_factor == pytest.approx(3 / 4)


def test_the_words_name_window_cold_start_and_waves(pair_of_runs: Run) -> None:
    head, start, waves, window = explained(pair_of_runs)
    assert head == (
        "workload.batch=8 load.concurrency=4: 320 inferences/s in steady state (explore), "
        "160 with 64 requests from cold (-50%), because"
    )
    assert start == (
        "  ×0.67  cold start: the first 4 answers took 400 ms on average, the 60 after them 133 ms; "
        "in steady state 100 ms"
    )
    assert waves == (
        "  ×0.75  16 waves of requests: 16 for each of 4 clients; the pipeline fills and drains, "
        "3 in flight on average, 4 in steady state"
    )
    assert window == (
        "  ×0.80  window: perf_analyzer --request-count=64 divides by whole seconds, 4 s instead of 3.2 s, "
        "and would print 128"
    )


def test_one_request_for_each_client_is_one_wave(tmp_path: Path) -> None:
    cases = planned_as("publish", 64), planned_as("reference", 64)
    wave = FirstWave(64, 150.0, 0, None)
    run = run_of(tmp_path, measured(cases[0], 40, 1600), cold(cases[1], wave), cases=cases)
    _, start, waves, _ = explained(run)
    assert "queues that only begin to fill: all 64 answers are first ones" in start
    assert "one wave of requests: 1 for each of 64 clients" in waves


def test_the_measured_example_of_the_documentation(tmp_path: Path) -> None:
    """perf_analyzer 2.50 against a serial 20-ms server printed 31.92/s for 64 requests where 64/1.28 s are 50/s."""
    cases = planned_as("explore", 1), planned_as("reference", 1)
    run = run_of(tmp_path, measured(cases[0], 50, 20), cold(cases[1], WAVE, rate=50, mean_ms=20), cases=cases)
    [pair] = pairs(run)
    assert gap(pair).rounded_per_s / 8 == pytest.approx(31.92, rel=0.01)


@pytest.mark.parametrize("missing", ["failed", "no partner", "no axis"])
def test_without_two_numbers_there_is_nothing_to_explain(tmp_path: Path, missing: str) -> None:
    cases = FOUR if missing != "no partner" else (FOUR[0], planned_as("reference", 8))
    if missing == "no axis":
        cases = (planned(8, 4), planned(8, 1))
    last = failed(cases[1], "gone") if missing == "failed" else cold(cases[1], WAVE)
    run = run_of(tmp_path, measured(cases[0], 40, 100), last, cases=cases)
    assert list(explained(run)) == []
    assert "reference" not in json.loads(points_json(run))


def test_it_is_in_the_table_and_in_the_json(pair_of_runs: Run) -> None:
    assert all(line in console_table(pair_of_runs, width=200) for line in explained(pair_of_runs))
    [found] = json.loads(points_json(pair_of_runs))["reference"]
    assert (found["case_id"], found["steady"], found["rounded_s"]) == ("reference-4", "explore-4", 4)


def test_an_open_loop_has_no_waves(tmp_path: Path) -> None:
    cases = tuple(replace(case, load={"kind": "poisson", "rate": "40/s"}) for case in FOUR)
    run = run_of(tmp_path, measured(cases[0], 40, 100), cold(cases[1], None), cases=cases)
    _, start, waves, _ = explained(run)
    assert start == "  ×0.67  cold start: 150 ms on average, in steady state 100 ms"
    assert waves == "  ×0.75  in flight: 3 in flight on average, 4 in steady state"
    assert isinstance(run.trials["explore-4"].summary, Summary)
    assert run.trials["explore-4"].summary.requests_per_s == Estimate(40.0, 39.2, 40.8)
