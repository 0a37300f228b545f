"""Options that say what is sent, and when: each would be noticed if it were ignored.

Send times are those of the profile export: when a request should have been sent is exact, whatever the machine does.
"""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.integration.perf_runs import MEASURED, Perf, write_json

SLEEPY = ("-m", "sleepy", "--shape", "INPUT0:4")
EXPORT = ("--profile-export-file", "export.json")


def gaps_ms(folder: Path) -> list[float]:
    """Between the times at which requests should have been sent."""
    (experiment,) = json.loads((folder / "export.json").read_text())["experiments"]
    times = sorted(request["intended_timestamp"] for request in experiment["requests"])
    return [(after - before) / 1e6 for before, after in pairwise(times)]


def trials(perf: Perf) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (perf.run / "journal.jsonl").read_text().splitlines()]
    return [line for line in found if line["kind"] == "trial"]


def tried(perf: Perf) -> list[float]:
    """Levels of a search, in order."""
    return [trial["probe"]["level"] for trial in trials(perf) if trial.get("probe")]


# --- open loads ---------------------------------------------------------------------------------------------------


def test_requests_of_a_rate_are_evenly_spaced(perf: Perf) -> None:
    assert perf(*SLEEPY, *EXPORT, "--request-rate-range", "50") in MEASURED
    assert set(gaps_ms(perf.folder)) == {20.0}


def test_requests_of_a_poisson_rate_are_not(perf: Perf) -> None:
    rate = ("--request-rate-range", "50", "--request-distribution", "poisson")
    assert perf(*SLEEPY, *EXPORT, *rate) in MEASURED
    gaps = gaps_ms(perf.folder)
    assert len(set(gaps)) > len(gaps) / 2
    # Drawn with a fixed seed: about thirty gaps, of 20 ms in the mean.
    assert 10 < math.fsum(gaps) / len(gaps) < 40


def test_own_intervals_are_sent_again_and_again(perf: Perf) -> None:
    (perf.folder / "times").write_text("20000\n60000\n30000\n")
    assert perf(*SLEEPY, *EXPORT, "--request-intervals", "times") in MEASURED
    gaps = gaps_ms(perf.folder)
    assert len(gaps) > 6
    turns = [([20.0, 60.0, 30.0] * len(gaps))[first : first + len(gaps)] for first in range(3)]
    assert gaps in turns


def test_a_schedule_is_kept(perf: Perf) -> None:
    steps = [{"INPUT0": {"content": [1.0], "shape": [1]}, "timestamp": [at]} for at in (5, 25, 105, 125)]
    write_json(perf.folder / "data.json", {"data": steps})
    assert perf("-m", "sleepy", *EXPORT, "--input-data", "data.json", "--fixed-schedule") in MEASURED
    assert gaps_ms(perf.folder) == [20.0, 80.0, 20.0]


def test_a_ramp_grows_after_each_period(perf: Perf) -> None:
    ramp = ("--periodic-concurrency-range", "1:5:2", "--request-period", "4")
    assert perf(*SLEEPY, *EXPORT, *ramp) in MEASURED
    (experiment,) = json.loads((perf.folder / "export.json").read_text())["experiments"]
    events = [(request["timestamp"], 1) for request in experiment["requests"]]
    events += [(request["response_timestamps"][-1], -1) for request in experiment["requests"]]
    in_flight, reached = 0, dict[int, int]()
    answered = 0
    for _, change in sorted(events):
        in_flight, answered = in_flight + change, answered + (change < 0)
        reached.setdefault(in_flight, answered)
    assert max(reached) == 5
    # Two more are sent once the newest ones have four answers each: not before, and with ten it would be later.
    assert 4 <= reached[3] < 10
    assert reached[3] + 3 * 4 <= reached[5] + 2


# --- searches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "levels"),
    [
        (("--concurrency-range", "1:4"), [1, 2, 3, 4]),
        (("--concurrency-range", "1:4", "--binary-search"), [1, 4]),
        (("--request-rate-range", "20:60:20"), [20, 40, 60]),
        (("--request-rate-range", "20:60:20", "--binary-search"), [20, 60]),
        (("-t", "2", "-d", "-c", "3"), [2, 3]),
    ],
)
def test_a_search_that_meets_its_limit(options: tuple[str, ...], levels: list[float], perf: Perf) -> None:
    assert perf(*SLEEPY, "-p", "100", "-l", "5000", *options) in MEASURED
    assert tried(perf) == levels


@pytest.mark.parametrize("options", [("--concurrency-range", "1:4"), ("--request-rate-range", "20:60:20")])
@pytest.mark.parametrize("how", [(), ("--binary-search",)])
def test_a_search_whose_first_load_misses(options: tuple[str, ...], how: tuple[str, ...], perf: Perf) -> None:
    """The model needs 10 ms, whatever else there is to wait for."""
    assert perf(*SLEEPY, "-p", "100", "-l", "5", *options, *how) == 10
    assert set(tried(perf)) == {float(options[1].partition(":")[0])}


def test_a_search_is_judged_by_its_percentile(perf: Perf, capsys: pytest.CaptureFixture[str]) -> None:
    """One request in forty takes 200 ms: the mean keeps the limit, p99.9 does not."""
    step = {"INPUT0": {"content": [1.0], "shape": [1]}, "DELAY_MS": [1.0]}
    write_json(perf.folder / "data.json", {"data": [*[step] * 39, {**step, "DELAY_MS": [200.0]}]})
    load = ("-m", "sleepy", "--input-data", "data.json", "-p", "500", "-l", "150", "--concurrency-range", "1")
    assert perf(*load, "--output-dir", "mean") in MEASURED
    assert perf(*load, "--percentile", "99.9", "-f", "out.csv") == 10
    printed = capsys.readouterr().out
    assert "Stabilizing using p99.9 latency" in printed
    assert "    p99.9 latency: " in printed


# --- windows ------------------------------------------------------------------------------------------------------


def test_a_sweep_reports_its_percentile(perf: Perf) -> None:
    assert perf(*SLEEPY, "--percentile", "99.9", "-f", "out.csv") in MEASURED
    header = (perf.folder / "out.csv").read_text().splitlines()[0]
    assert header.endswith(",p99 latency,p99.9 latency")


def test_windows_that_never_agree_are_as_many_as_allowed(perf: Perf) -> None:
    assert perf(*SLEEPY, "-s", "0", "-r", "5", "-p", "100") == 5
    (trial,) = trials(perf)
    assert trial["summary"]["warmup_s"] + trial["summary"]["window_s"] == pytest.approx(0.5)
    assert "unsteady" in [flag["code"] for flag in trial["flags"]]


def test_windows_that_may_differ_are_three(perf: Perf) -> None:
    assert perf(*SLEEPY, "-s", "100000", "-r", "5", "-p", "100") in MEASURED
    (trial,) = trials(perf)
    assert trial["summary"]["warmup_s"] + trial["summary"]["window_s"] == pytest.approx(0.3)


def test_a_window_of_requests_lasts_until_it_has_them(perf: Perf) -> None:
    """In three windows of 100 ms there would be 30 at most."""
    windows = ("--measurement-mode", "count_windows", "--measurement-request-count", "30", "-p", "100")
    assert perf(*SLEEPY, *windows) in MEASURED
    assert int(perf.points()[0]["completions"]) >= 90


# --- what travels -------------------------------------------------------------------------------------------------


BINARY, TEXT, PACKED = (4000, 4600), (8000, 24_000), (1, 600)


@pytest.mark.parametrize(
    ("options", "sent", "received"),
    [
        ((), BINARY, BINARY),
        (("-i", "grpc"), BINARY, BINARY),
        (("-i", "grpc", "--grpc-compression-algorithm", "gzip"), PACKED, BINARY),
        (("-i", "grpc", "--grpc-compression-algorithm", "deflate"), PACKED, BINARY),
        (("--input-tensor-format", "json", "--output-tensor-format", "binary"), TEXT, BINARY),
        (("--output-tensor-format", "json"), BINARY, TEXT),
    ],
)
def test_tensors_travel_in_their_form(
    options: tuple[str, ...], sent: tuple[int, int], received: tuple[int, int], perf: Perf
) -> None:
    """A thousand numbers: four bytes each, or at least eight as text; the same one is nearly nothing compressed."""
    write_json(perf.folder / "data.json", {"data": [{"INPUT0": {"content": [1.2345678] * 1000, "shape": [1000]}}]})
    assert perf("-m", "identity", "--input-data", "data.json", "--request-count", "20", *options) in MEASURED
    (trial,) = trials(perf)
    bytes_sent, bytes_received = (trial["whole"][f"bytes_{way}"] / 20 for way in ("sent", "received"))
    assert sent[0] <= bytes_sent <= sent[1]
    assert received[0] <= bytes_received <= received[1]
