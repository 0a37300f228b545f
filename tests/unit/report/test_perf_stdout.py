"""What is printed: numbers that perf_analyzer gets wrong, what our checks add, and what scripts find in it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.report.perf import warnings, write
from runner.results.capacity import Probe
from runner.results.histogram import Histogram
from runner.results.perf_wishes import PerfWishes
from runner.results.records import Counts, Estimate, Flag
from tests.unit.report.perf_runs import level, measured, run_of
from tests.unit.results.sample_run import failed, histogram

UNSTEADY = Flag("unsteady", 0.3, 0.1, "informs", "Throughput: 3 infer/sec, p95 latency: 7 usec are not alike.")
COLD = Flag("cold", 0.0, 1.0, "informs", "Nothing was dropped.")


def printed(tmp_path: Path, *trials: Any, **wishes: Any) -> str:
    """Of a run of these trials."""
    cases = [level(each.load["concurrency"]) for each in trials]
    return write(run_of(tmp_path, cases, trials), PerfWishes(**wishes))


def latencies(*milliseconds: float) -> dict[str, str]:
    return {"latency": histogram(*milliseconds)}


def test_the_standard_deviation_of_many_requests_is_right(tmp_path: Path) -> None:
    """80080 requests with 42.4 ms: perf_analyzer sums squared nanoseconds in 64 bits and prints 13667."""
    two = Histogram.from_values([10_000_000, 94_836_000])
    many = Histogram(two.indices, two.counts * 40_040)
    text = printed(tmp_path, measured(level(1), histograms={"latency": many.to_hdr_v2()}))
    found = re.search(r"Avg latency: 10000 usec \(standard deviation (\d+) usec\)", text)
    assert found is not None
    assert int(found[1]) == pytest.approx(42_418, rel=0.001)


def test_a_single_request_has_no_standard_deviation(tmp_path: Path) -> None:
    """perf_analyzer prints the largest number that there is."""
    text = printed(tmp_path, measured(level(1), completions=1, histograms=latencies(10)))
    assert "    Avg latency: 10000 usec\n" in text


def test_unstable_levels_are_shown_and_flagged(tmp_path: Path) -> None:
    """perf_analyzer prints nothing of them and ends the sweep."""
    text = printed(tmp_path, measured(level(1), state="invalid", flags=(UNSTEADY, COLD)), measured(level(2)))
    first, second = text.split("Request concurrency: ")[1:]
    assert "Throughput: 100 infer/sec" in first
    assert "  [FLAG] unsteady, cold\n" in first
    assert "[FLAG]" not in second
    assert text.count(", throughput: 100 infer/sec, latency 10000 usec\n") == 2


def test_a_level_over_the_limit_is_shown_and_flagged(tmp_path: Path) -> None:
    verdicts = {1: "pass", 2: "fail"}
    probes = [
        Probe(0, number, "climb", "concurrency", c, verdict, "p95 is 18 ms: over 12 ms", None)  # type: ignore[arg-type]
        for number, (c, verdict) in enumerate(verdicts.items())
    ]
    case = replace(level(0), case_id="search", load={"kind": "sla", "latency": "12ms", "strategy": "pa_binary"})
    run = run_of(tmp_path, [case], [measured(case, probe=probe) for probe in probes])
    text = write(run, PerfWishes(csv=tmp_path / "x.csv"))
    assert "  Latency limit: 12 msec\n  Concurrency limit: 2 concurrent" in text
    assert "  Using Binary Search algorithm\n" in text
    passed, failing = text.split("Request concurrency: ")[1:]
    assert "[FLAG]" not in passed
    assert "  [FLAG] over_limit\n" in failing
    assert warnings(run, PerfWishes()) == "Request concurrency: 2: [over_limit] p95 is 18 ms: over 12 ms\n"
    # Neither the table nor the last lines have a place for the flag, and a script takes the fastest level.
    assert [line.split(",")[0] for line in (tmp_path / "x.csv").read_text().splitlines()] == ["Concurrency", "1"]
    assert [line for line in text.splitlines() if ", throughput: " in line] == [
        "Concurrency: 1, throughput: 100 infer/sec, latency 10000 usec"
    ]


def test_a_failed_level_says_why(tmp_path: Path) -> None:
    trials = [failed(level(1), "the server died:\n  exit status 137"), measured(level(2))]
    run = run_of(tmp_path, [level(1), level(2)], trials)
    text = write(run, PerfWishes())
    assert "Request concurrency: 1\n  [FLAG] no_result\n\n" in text
    assert "\nConcurrency: 1, " not in text
    assert warnings(run, PerfWishes()) == "Request concurrency: 1: [no_result] the server died: exit status 137\n"


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        (r"^Concurrency: (\d+), throughput: ([\d.]+) infer/sec, latency (\d+) usec$", 2),
        (r"Throughput", 2),
        (r"throughput:", 2),
        (r"p95 latency:", 2),
        (r"latency: ", 12),
        (r"\[FLAG\]", 2),
        (r"^Request concurrency: (\d+)$", 2),
        (r"Request count: (\d+)", 2),
        (r"Failed|error", 0),
    ],
)
def test_flags_are_not_taken_for_results(tmp_path: Path, pattern: str, matches: int) -> None:
    text = printed(tmp_path, *(measured(level(c), flags=(UNSTEADY,)) for c in (1, 2)))
    assert len(re.findall(pattern, text, re.MULTILINE)) == matches


def test_late_sends_of_an_open_loop_are_told(tmp_path: Path) -> None:
    case = level(120, "rate", "poisson")
    lags = {"latency": histogram(10), "send_lag": histogram(*[0.1] * 98, 1.5, 2.0)}
    fields: dict[str, Any] = {"offered_per_s": 120.0, "histograms": lags, "counts": Counts(900, 900, {}, 100, 0)}
    text = write(run_of(tmp_path, [case], [measured(case, **fields)]), PerfWishes(levels="request_rate"))
    assert "    Avg send request rate: 108.00 infer/sec\n    [WARNING] Perf Analyzer was not able to keep up" in text
    assert "request rate. 2.00% of the requests were delayed. \n" in text
    assert "  Using poisson distribution on request generation\n" in text
    assert "\nRequest Rate: 120, throughput: 100 infer/sec, latency 10000 usec\n" in text


@pytest.mark.parametrize(("protocol", "words"), [("http", ("send", "receive")), ("grpc", ("marshal", "unmarshal"))])
def test_verbose_output_splits_send_and_receive(tmp_path: Path, protocol: str, words: tuple[str, str]) -> None:
    text = printed(tmp_path, measured(level(1)), protocol=protocol, verbosity=1)
    assert f"({words[0]} 125 usec + response wait 9625 usec + {words[1]} 250 usec)" in text


def test_a_percentile_takes_the_place_of_the_mean(tmp_path: Path) -> None:
    text = printed(tmp_path, measured(level(1), histograms=latencies(*range(1, 1001))), percentile=99.9)
    assert "Inferences/Second vs. Client p99.9 Batch Latency\n" in text
    found = re.search(r"Concurrency: 1, throughput: 100 infer/sec, latency (\d+) usec", text)
    assert found is not None
    assert int(found[1]) == pytest.approx(999_000, rel=0.001)
    assert "Avg latency" not in text


def test_throughput_is_that_of_the_window_whatever_ended_it(tmp_path: Path) -> None:
    """Of a fixed number of requests perf_analyzer divides by whole seconds of waiting for them."""
    fixed = measured(level(1), completions=200, window_s=0.468, inferences_per_s=Estimate(200 / 0.468))
    run = run_of(tmp_path, [level(1)], [fixed], "{requests: 200}")
    text = write(run, PerfWishes())
    assert "  Sending 200 benchmark requests\n" in text
    assert "    Throughput: 427.35 infer/sec\n" in text


def test_the_last_line_names_the_full_results(tmp_path: Path) -> None:
    run = run_of(tmp_path, [level(1)], [measured(level(1))])
    assert write(run, PerfWishes()).endswith(f" are in {run.path}/points.json\n")


def test_a_run_without_its_scenario_is_shown_all_the_same(tmp_path: Path) -> None:
    run = run_of(tmp_path, [level(1)], [measured(level(1))])
    (run.path / "resolved.yaml").unlink()
    assert "Throughput: 100 infer/sec" in write(run, PerfWishes())
