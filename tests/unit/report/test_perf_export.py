"""The profile export: perf_analyzer's schema, every request, strict JSON, in constant memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.report.perf import write
from runner.report.perf.export import CHUNK
from runner.results.perf_wishes import PerfWishes
from runner.results.request_records import UNKNOWN_NS
from runner.results.run import Run
from tests.unit.report.perf_runs import STARTED_NS, level, measured, run_of, stream, whole, write_records

CAPTURED = Path(__file__).with_name("perf_captured") / "decoupled.json"
OK, UNAVAILABLE, UNFINISHED = 0, 14, 40
ANSWERED = (100, 150, 200, 300, 0, OK, 0)


def strict(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


def exported(run: Run, folder: Path, **wishes: Any) -> dict[str, Any]:
    path = folder / "export.json"
    write(run, PerfWishes(profile_export=path, **wishes))
    document: dict[str, Any] = json.loads(path.read_text(), parse_constant=strict)
    return document


def one(tmp_path: Path, records: Iterable[tuple[int, ...]], **changes: Any) -> dict[str, Any]:
    run = run_of(tmp_path, [level(1)], [measured(level(1), **changes)])
    write_records(run, "concurrency1", tuple(records))
    (experiment,) = exported(run, tmp_path)["experiments"]
    assert isinstance(experiment, dict)
    return experiment


def test_the_keys_are_those_of_perf_analyzer(tmp_path: Path) -> None:
    run = run_of(tmp_path, [level(1)], [measured(level(1), stream=stream(3.0))])
    write_records(run, "concurrency1", [ANSWERED])
    ours, theirs = exported(run, tmp_path, streaming=True), json.loads(CAPTURED.read_text())
    assert list(ours) == list(theirs)
    assert (ours["version"], ours["service_kind"], ours["endpoint"]) == ("0.0.0", "triton", "")
    (experiment,), (captured,) = ours["experiments"], theirs["experiments"]
    assert set(experiment) - {"failed_requests"} == set(captured)
    assert experiment["experiment"] == captured["experiment"] == {"mode": "concurrency", "value": 1}
    assert list(experiment["requests"][0]) == list(captured["requests"][0])


def test_times_are_nanoseconds_of_the_wall_clock(tmp_path: Path) -> None:
    experiment = one(tmp_path, [ANSWERED])
    (request,) = experiment["requests"]
    assert request["timestamp"] == STARTED_NS + 150
    assert request["response_timestamps"] == [STARTED_NS + 300]
    start, end = experiment["window_boundaries"]
    assert (start - STARTED_NS, end - start) == (1_500_000_000, 10_000_000_000)


def test_a_stream_has_its_first_and_its_last_response(tmp_path: Path) -> None:
    experiment = one(tmp_path, [ANSWERED, (100, 150, 300, 300, 0, OK, 0)], stream=stream(3.0))
    responses = [request["response_timestamps"] for request in experiment["requests"]]
    assert responses == [[STARTED_NS + 200, STARTED_NS + 300], [STARTED_NS + 300]]


def test_failed_requests_are_kept_apart(tmp_path: Path) -> None:
    """perf_analyzer gives up at the first one, and whatever reads its file expects a response of each."""
    lost = (7, 8, UNKNOWN_NS, UNKNOWN_NS, 0, UNFINISHED, 0)
    experiment = one(tmp_path, [ANSWERED, (1, 2, UNKNOWN_NS, 9, 0, UNAVAILABLE, 0), lost])
    assert len(experiment["requests"]) == 1
    assert experiment["failed_requests"] == [
        {"timestamp": STARTED_NS + 2, "end": STARTED_NS + 9, "error": "unavailable"},
        {"timestamp": STARTED_NS + 8, "end": None, "error": "unfinished"},
    ]


def test_an_open_loop_says_when_a_request_was_due(tmp_path: Path) -> None:
    case = level(12.5, "rate", "constant")
    run = run_of(tmp_path, [case], [measured(case, offered_per_s=12.5)])
    write_records(run, "rate12.5", [ANSWERED])
    (experiment,) = exported(run, tmp_path, levels="request_rate")["experiments"]
    assert experiment["experiment"] == {"mode": "request_rate", "value": 12.5}
    (request,) = experiment["requests"]
    assert request["timestamp"] - request["intended_timestamp"] == 50


def test_every_level_is_an_experiment_and_every_repeat_of_it(tmp_path: Path) -> None:
    cases = [level(1), replace(level(2), repeats=2), level(4)]
    trials = [measured(cases[0]), *(measured(cases[1], repeat=n) for n in range(2)), measured(cases[2])]
    run = run_of(tmp_path, cases, trials)
    for number, name in enumerate(("concurrency1", "concurrency2-repeat0", "concurrency2-repeat1"), 1):
        write_records(run, name, [ANSWERED] * number)
    found = [(e["experiment"]["value"], len(e["requests"])) for e in exported(run, tmp_path)["experiments"]]
    assert found == [(1, 1), (2, 2), (2, 3)], "concurrency 4 left no records"


def test_a_load_that_measured_nothing_still_shows_its_requests(tmp_path: Path) -> None:
    trial = replace(measured(level(1)), summary=None, whole=None, state="failed", failure="gone")
    run = run_of(tmp_path, [level(1)], [trial])
    write_records(run, "concurrency1", [(1, 2, UNKNOWN_NS, 9, 0, UNAVAILABLE, 0)])
    (experiment,) = exported(run, tmp_path)["experiments"]
    assert experiment["window_boundaries"] == []
    assert experiment["failed_requests"][0]["timestamp"] == 1_763_697_605_000_000_002, "from the start of the trial"


def test_loads_of_an_older_run_count_from_the_start_of_the_trial(tmp_path: Path) -> None:
    assert one(tmp_path, [ANSWERED], whole=whole(started_ns=None))["requests"][0]["timestamp"] % 1_000_000 == 150


def test_a_run_without_records_is_valid_too(tmp_path: Path) -> None:
    assert exported(run_of(tmp_path, [level(1)], [measured(level(1))]), tmp_path)["experiments"] == []


def test_memory_does_not_grow_with_the_requests(tmp_path: Path) -> None:
    requests = 8 * CHUNK + 1
    run = run_of(tmp_path, [level(1)], [measured(level(1))])
    write_records(run, "concurrency1", [ANSWERED] * requests)
    tracemalloc.start()
    write(run, PerfWishes(profile_export=tmp_path / "export.json"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = (tmp_path / "export.json").stat().st_size
    assert size > 900_000
    assert peak < 600_000, f"{peak} bytes for a file of {size}"
    assert len(json.loads((tmp_path / "export.json").read_text())["experiments"][0]["requests"]) == requests


@pytest.mark.parametrize("requests", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_nothing_is_lost_between_chunks(tmp_path: Path, requests: int) -> None:
    experiment = one(tmp_path, [(n, n + 1, n + 2, n + 3, 0, OK, 0) for n in range(requests)])
    assert [r["timestamp"] - STARTED_NS for r in experiment["requests"]] == list(range(1, requests + 1))
