"""`scenario perf` as a process: signals, a kill, a server that dies. What was measured by then is on disk."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runner.results.run import load_run
from runner.runtimes.base import RunningServer, ServerSpec
from runner.runtimes.embedded import EmbeddedRuntime
from tests.integration.perf_runs import MEASURED, Perf, Process, wait_for

SWEEP = ("-m", "sleepy", "--shape", "INPUT0:4", "--concurrency-range", "1:3", "-p", "400", "-r", "3")
MODELS = Path(__file__).parent / "resources" / "models"
FILES = ("-f", "out.csv", "--profile-export-file", "export.json")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_load_and_writes_everything(
    signum: int, code: int, triton: RunningServer, tmp_path: Path
) -> None:
    process = Process.start(tmp_path, triton.endpoint.http, *SWEEP, *FILES)
    wait_for(process.levels, process)
    process.running.send_signal(signum)
    returned, out, err = process.ended()
    assert returned == code, err
    assert err.endswith("finished points are kept\n")
    assert "Request concurrency: 3: [no_result] the run ended before this level\n" in err
    assert "--resume" not in err
    assert "Traceback" not in err
    # Of the level that ran whatever was measured is kept, with a flag.
    first, *later = process.levels()
    assert len(later) < 2 or later[-1]["state"] == "interrupted"
    assert "Request concurrency: 1\n  Client: \n" in out
    assert process.rows()[0]["Concurrency"] == "1"
    experiments = json.loads((tmp_path / "export.json").read_text())["experiments"]
    assert len(experiments[0]["requests"]) == first["counts"]["ok"]


def test_a_killed_process_leaves_the_finished_level(triton: RunningServer, tmp_path: Path) -> None:
    process = Process.start(tmp_path, triton.endpoint.grpc, "-i", "grpc", *SWEEP, "-m", "chain", "-f", "out.csv")
    wait_for((tmp_path / "sleepy_v1.out.csv").exists, process)
    process.running.kill()
    process.ended()
    for file in ("out.csv", "identity_v1.out.csv", "sleepy_v1.out.csv"):
        with (tmp_path / file).open() as table:
            assert next(csv.DictReader(table))["Concurrency"] == "1"
    assert len(process.levels()) < 3
    (directory,) = tmp_path.glob("runs/*")
    done, _, last = load_run(directory).points()
    assert done.trial is not None
    assert done.trial.summary is not None
    assert done.trial.summary.completions > 0
    assert done.trial.counts.failed == {}
    assert last.trial is None


def test_an_endless_load_goes_on_at_its_rate_until_it_is_told_to_end(triton: RunningServer, tmp_path: Path) -> None:
    load = ("-m", "sleepy", "--shape", "INPUT0:4", "--infinite", "--qps", "40")
    process = Process.start(tmp_path, triton.endpoint.http, *load)
    wait_for(lambda: list(tmp_path.glob("runs/*/journal.jsonl")), process)
    time.sleep(1.5)
    process.running.send_signal(signal.SIGINT)
    code, _, err = process.ended()
    assert code in MEASURED, err
    (level,) = process.levels()
    # Ctrl-C is its regular end.
    assert level["state"] in ("ok", "invalid")
    assert level["counts"]["sent"] == pytest.approx(40 * level["elapsed_s"], rel=0.8)
    assert level["counts"]["failed"] == {}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that may be broken; its model `bounded` is `sleepy` with a queue of two requests."""
    folder = tmp_path_factory.mktemp("own")
    for name in ("sleepy", "bounded"):
        shutil.copytree(MODELS / "sleepy", folder / "models" / name, ignore=shutil.ignore_patterns("__pycache__"))
    config = folder / "models" / "bounded" / "config.pbtxt"
    queue = "dynamic_batching { default_queue_policy { max_queue_size: 2 } }"
    config.write_text(config.read_text().replace("max_batch_size: 8", f"max_batch_size: 8\n{queue}"))
    spec = ServerSpec(
        repository=folder / "models", load=("sleepy", "bounded"), canary="sleepy", run_id="own", log=folder / "log"
    )
    with EmbeddedRuntime(folder / "state").start(spec) as server:
        yield server


@pytest.fixture
def own_perf(own: RunningServer, perf: Perf) -> Perf:
    """`scenario perf` against that server."""
    perf.server = own
    return perf


def test_a_full_queue_is_measured_through(own_perf: Perf) -> None:
    """perf_analyzer ends with "Exceeds maximum queue size", and without any number."""
    load = ("-m", "bounded", "-i", "grpc", "--shape", "INPUT0:4", "--concurrency-range", "8", "-r", "3")
    assert own_perf(*load, "--set", "measure.max_error_rate=100%") == 5
    (row,) = own_perf.points()
    assert "errors" in row["flags"]
    assert "aborted" not in row["flags"]
    # Refused ones come back at once, so they are many.
    counts = {name: int(row[f"requests_{name}"]) for name in ("sent", "ok", "failed", "unfinished")}
    assert counts["sent"] == counts["ok"] + counts["failed"] + counts["unfinished"]
    assert counts["ok"] > 0
    assert counts["failed"] > 0
    assert int(row["server_success_count"]) == counts["ok"]
    assert "Exceeds maximum queue size" in (own_perf.run / "points.json").read_text()


def test_too_many_failures_end_a_level_and_not_the_sweep(own_perf: Perf) -> None:
    load = ("-m", "bounded", "-i", "grpc", "--shape", "INPUT0:4", "--concurrency-range", "1:9:8", "-r", "3")
    assert own_perf(*load, "-f", "out.csv") == 5
    one, many = own_perf.points()
    assert (one["concurrency"], one["requests_failed"]) == ("1", "0")
    assert int(one["completions"]) > 0
    assert "aborted" in many["flags"] or many["state"] == "failed"


def test_a_server_that_dies_costs_no_finished_level(own: RunningServer, tmp_path: Path) -> None:
    """perf_analyzer notices it at the end of the window, and writes nothing at all."""
    options = (*SWEEP, *FILES, "--set", "server.ready.timeout=1s")
    http = Process.start(tmp_path / "http", own.endpoint.http, *options)
    grpc = Process.start(tmp_path / "grpc", own.endpoint.grpc, "-i", "grpc", *options)
    for process in (http, grpc):
        wait_for(process.levels, process)
    for pid in own.pids() or ():
        psutil.Process(pid).kill()
    for process in (http, grpc):
        code, out, err = process.ended()
        assert code in (4, 5), err
        assert "Traceback" not in err
        assert "Request concurrency: 1\n  Client: \n" in out
        assert process.levels()[0]["summary"]["completions"] > 0
        assert process.rows()[0]["Concurrency"] == "1"
        # Which it is depends on the moment: between two levels, or while one is measured.
        assert re.search("the server is gone|did not answer within|is the server running|[Cc]onnection", err), err
