"""Ten numbers that perf_analyzer gets wrong, each with a test that shows the right one.

| perf_analyzer | test |
| --- | --- |
| `--request-count`: throughput from whole seconds of polling | `test_a_fixed_count_is_timed_by_its_requests` |
| `--async` with few threads never reaches the concurrency | `test_few_threads_hold_the_asked_concurrency` |
| latency from the actual send (coordinated omission) | `test_an_overload_shows_what_its_users_wait` |
| growing latency is stable when throughput is flat | `test_an_overload_shows_what_its_users_wait` |
| one failed request ends the run | `test_one_failed_request_is_counted` |
| standard deviation overflows | `test_perf_stdout.py`: `test_the_standard_deviation_of_many_requests_is_right` |
| every payload is kept until the end | `test_memory_does_not_grow_with_the_traffic` |
| a level over the limit is dropped | `test_a_level_over_the_limit_is_reported` |
| windows last 1.2 times what was asked for | `test_windows_are_as_long_as_asked` |
| validation without batches, `--async`, shared memory | `test_answers_are_compared_in_batches_and_in_shared_memory` |
"""

from __future__ import annotations

import csv
import json
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from tritonclient.grpc import service_pb2 as pb

from runner.load.regions import SystemRegion, new_names
from runner.services.kserve import KServeGrpc
from tests.integration.perf_runs import MEASURED, Perf, write_json

SHAPE = ("--shape", "INPUT0:4")
GRPC = ("-i", "grpc")
MIB = 2**20


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_fixed_count_is_timed_by_its_requests(perf: Perf) -> None:
    """perf_analyzer cannot show more than 64/s here."""
    load = ("-m", "sleepy", *SHAPE, "--request-count", "64", "--concurrency-range", "4")
    assert perf(*load, "-f", "out.csv", "--profile-export-file", "export.json") in MEASURED
    (row,) = table(perf.folder / "out.csv")
    (experiment,) = json.loads((perf.folder / "export.json").read_text())["experiments"]
    first = min(request["timestamp"] for request in experiment["requests"])
    last = max(request["response_timestamps"][-1] for request in experiment["requests"])
    assert len(experiment["requests"]) == 64
    assert float(row["Inferences/Second"]) == pytest.approx(64e9 / (last - first), rel=0.01)


def test_few_threads_hold_the_asked_concurrency(perf: Perf) -> None:
    """perf_analyzer goes on with one request in flight, under the labels 1 to 3."""
    load = ("-m", "sleepy", *GRPC, *SHAPE, "-a", "--max-threads", "1", "--concurrency-range", "1:3", "-r", "3")
    assert perf(*load) in MEASURED
    for row in perf.points():
        assert float(row["in_flight_mean"]) == pytest.approx(int(row["concurrency"]), rel=0.1)
        # One instance that needs 10 ms: whoever is third waits for two others.
        assert float(row["latency_mean_ms"]) > 9 * int(row["concurrency"])


def test_an_overload_shows_what_its_users_wait(perf: Perf) -> None:
    """40/s are asked of a model that answers 20/s.

    Request n is due at n/40 s and cannot be answered before (n + 1)/20 s: of the twelve answers that are possible in
    0.6 s the mean is 187 ms at least. perf_analyzer says that the model's 50 ms are stable, because the rate is.
    """
    step = {"INPUT0": {"content": [1.0], "shape": [1]}, "DELAY_MS": [50.0]}
    data = write_json(perf.folder / "data.json", {"data": [step]})
    load = ("-m", "sleepy", *GRPC, "-a", "--max-threads", "1", "--input-data", data, "--request-rate-range", "40")
    assert perf(*load, "-r", "3", "-s", "10", "-f", "out.csv") == 5
    (row,) = perf.points()
    answered = int(row["completions"])
    assert float(row["latency_mean_ms"]) > 0.9 * (50 * (answered + 1) / 2 - 25 * (answered - 1) / 2)
    assert float(row["offered_per_s"]) == pytest.approx(40, rel=0.05)
    assert float(row["requests_per_s"]) < 25
    assert "unsteady" in row["flags"]
    assert len(table(perf.folder / "out.csv")) == 1


def test_one_failed_request_is_counted(perf: Perf) -> None:
    """perf_analyzer ends with exit code 99, and shows nothing."""
    step = {"INPUT0": {"content": [1.0], "shape": [1]}, "DELAY_MS": [1.0], "FAIL": [0]}
    data = write_json(perf.folder / "data.json", {"data": [*[step] * 60, {**step, "FAIL": [1]}]})
    assert perf("-m", "sleepy", *GRPC, "--input-data", data, "--request-count", "122", "-f", "out.csv") in MEASURED
    (row,) = perf.points()
    assert (row["requests_sent"], row["requests_ok"], row["requests_failed"]) == ("122", "120", "2")
    assert "errors" in row["flags"]
    assert "the request asked for a failure" in (perf.run / "points.json").read_text()
    assert len(table(perf.folder / "out.csv")) == 1


def test_memory_does_not_grow_with_the_traffic(perf: Perf) -> None:
    """perf_analyzer 2.60 keeps every input and output: here 800 MiB."""
    load = ("-m", "identity", *GRPC, "--shape", f"INPUT0:{MIB // 4}", "-z", "--concurrency-range", "2")
    assert perf(*load, "--request-count", "20", "--output-dir", "warm") in MEASURED
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert perf(*load, "--request-count", "400") in MEASURED
    assert perf.points()[0]["requests_ok"] == "400"
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 100 * MIB


def test_a_level_over_the_limit_is_reported(perf: Perf, capsys: pytest.CaptureFixture[str]) -> None:
    """perf_analyzer prints nothing of it, writes no table, and ends with exit code 0."""
    load = ("-m", "sleepy", *SHAPE, "-l", "1", "--concurrency-range", "1:4", "-r", "3")
    assert perf(*load, "-f", "out.csv") == 10
    # A load that a busy machine spoiled is sent once more.
    *_, last = capsys.readouterr().out.split("Request concurrency: 1\n")[1:]
    latency = re.search(r"p50 latency: (\d+) usec", last)
    assert latency is not None
    assert int(latency[1]) > 10_000
    assert "[FLAG] over_limit" in last
    # Its readers take the fastest row, and nothing in one could tell them.
    assert table(perf.folder / "out.csv") == []


def test_windows_are_as_long_as_asked(perf: Perf) -> None:
    """perf_analyzer measures 0.72 s."""
    assert perf("-m", "identity", *SHAPE, "-p", "200", "-r", "3") in MEASURED
    (row,) = perf.points()
    assert float(row["window_s"]) == pytest.approx(0.6, abs=0.05)
    assert float(row["inferences_per_s"]) == pytest.approx(int(row["completions"]) / float(row["window_s"]), rel=0.01)


@pytest.fixture
def foreign(kserve: KServeGrpc) -> Iterator[SystemRegion]:
    """A region of another client, under the name that perf_analyzer would take."""
    region = SystemRegion(f"{new_names('foreign')}.OUTPUT0", 4096)
    region.write(0, b"precious")
    register = pb.SystemSharedMemoryRegisterRequest(name="OUTPUT0", key=region.key, byte_size=region.size)
    kserve._stub.SystemSharedMemoryRegister(register, timeout=10)
    yield region
    kserve.unregister_region("system", "OUTPUT0")
    region.close()


@pytest.mark.parametrize(("protocol", "fourth", "code"), [
    ("grpc", 4.0, MEASURED), ("grpc", 5.0, (5,)), ("http", 4.0, MEASURED), ("http", 5.0, (5,)),
])  # fmt: skip
def test_answers_are_compared_in_batches_and_in_shared_memory(
    protocol: str, fourth: float, code: tuple[int, ...], perf: Perf, foreign: SystemRegion, kserve: KServeGrpc
) -> None:
    """perf_analyzer finds right answers wrong here; and takes away the region of whoever came first."""
    settings = kserve.trace()
    expected = [{"OUTPUT0": [1.0, 2.0]}, {"OUTPUT0": [3.0, fourth]}]
    steps = [{"INPUT0": [1.0, 2.0]}, {"INPUT0": [3.0, 4.0]}]
    data = write_json(perf.folder / "data.json", {"data": steps, "validation_data": expected})
    memory = ("--shared-memory", "system", "--output-shared-memory-size", "8")
    load = ("-m", "identity", "-i", protocol, "-a", "-b", "2", *memory, "--shape", "INPUT0:2", "--input-data", data)
    assert perf(*load, "--request-count", "40", "--concurrency-range", "4") in code
    (row,) = perf.points()
    assert (row["requests_ok"] == "40") == (fourth == 4.0)
    said = "output OUTPUT0[3] expected 5, got 4"
    assert (said in (perf.run / "points.json").read_text()) == (fourth == 5.0)
    assert "OUTPUT0" in kserve.registered_regions("system")
    assert foreign.read(0, 8) == b"precious"
    assert kserve.trace() == settings
