"""The scripted server as a process, measured by the real engine; only counts, no times: this machine may be busy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runner.load.native import NativeEngine
from runner.load.plan import ClosedLoop, GrpcUnary, LoadPlan
from runner.measure.selftest import closed, judged, opened
from runner.measure.selftest.bench import Bench, case
from runner.measure.selftest.rows import ROWS
from runner.measure.selftest.run import chosen, run_rows
from runner.measure.selftest.script import Script
from runner.measure.selftest.scripted import MODEL, ScriptedServer, request


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(NativeEngine(), False, tmp_path)


def test_client_and_server_count_the_same_outcomes(bench: Bench) -> None:
    checks = closed.failures(bench)
    assert all(check.ok for check in checks), checks
    assert all(check.ok for check in judged.bookkeeping(bench))


def test_a_count_that_is_off_is_found(bench: Bench) -> None:
    _, _, report = bench.measure("few", Script(servers=0, mean_s=0.001), {"concurrency": 2}, requests=50)
    report["ok"] += 1
    assert [check.ok for check in judged.bookkeeping(bench)] == [True, False, True]


def test_many_connections_and_cancelled_calls() -> None:
    """Calls that the engine gives up are not answered, and the connection goes on."""
    with ScriptedServer(Script(servers=0, mean_s=0.005, lost_every=10)) as server:
        route = server.route(MODEL, server.endpoint)
        plan = LoadPlan(
            transport=GrpcUnary(endpoint=route.address, method=route.path, connections=3),
            schedule=ClosedLoop(concurrency=6),
            max_requests=60,
            request_timeout_ns=300_000_000,
        )
        result = NativeEngine().run(plan, [request()])
        assert (result.ok, result.failed, result.unfinished) == (54, {"timeout": 6}, 0)
        assert server.report()["lost"] == 6


def test_the_server_ends_with_its_parent() -> None:
    code = (
        "from runner.measure.selftest.scripted import *; from runner.measure.selftest.script import Script; import os\n"
        "server = ScriptedServer(Script()).__enter__(); print(server._process.pid, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    pid = int(done.stdout)
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            return
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError(f"server {pid} is still there")


def test_the_seed_is_the_schedule(bench: Bench) -> None:
    assert all(check.ok for check in opened.determinism(bench))


def test_rows_run_one_after_the_other_and_keep_their_trials() -> None:
    results = list(run_rows(chosen([12, 1], False, ROWS), NativeEngine(), full=False))
    assert [result.row.number for result in results] == [1, 12]
    assert results[1].verdicts == ("pass",) * 3


def test_a_case_of_its_own() -> None:
    point = case({"concurrency": 2}, {"timeout": "1s"}, {"requests": 5})
    assert (point.scenario.workload.model, point.scenario.measure.requests) == (MODEL, 5)
