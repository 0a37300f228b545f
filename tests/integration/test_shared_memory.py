"""Shared memory with a real Triton, over gRPC and HTTP: right outputs, other clients untouched, nothing left behind."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runner.errors import ServiceError
from runner.load.inputs import build_items
from runner.load.native import NativeEngine
from runner.load.plan import ClosedLoop, LoadPlan
from runner.load.regions import PREFIX, SHARED_MEMORY, SystemRegion, is_abandoned, new_names, sweep_regions
from runner.load.shared_memory import SharedPayloads, shared_payloads
from runner.measure.transport import transport
from runner.runtimes.base import RunningServer
from runner.scenario.schema import DataInput, GeneratedInput
from runner.services.kserve import KServeGrpc
from runner.services.kserve_http import KServeHttp

COUNT = 1000
Client = KServeGrpc | KServeHttp


def left_over() -> set[str]:
    return {path.name for path in SHARED_MEMORY.glob(f"{PREFIX}.*") if f".{os.getpid()}." in path.name}


def client(server: RunningServer, protocol: str) -> Client:
    return KServeGrpc(server.endpoint.grpc) if protocol == "grpc" else KServeHttp(server.endpoint.http)


@pytest.fixture(params=["grpc", "http"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def service(triton: RunningServer, protocol: str) -> Iterator[Client]:
    with closing(client(triton, protocol)) as service:
        yield service


@pytest.fixture
def arrays(tmp_path: Path) -> np.ndarray:
    """Seven items that can be told apart."""
    array = np.arange(7 * COUNT, dtype=np.float32).reshape(7, COUNT)
    np.save(tmp_path / "items.npy", array)
    return array


@pytest.fixture
def foreign(kserve: KServeGrpc) -> Iterator[SystemRegion]:
    """A region that another client has registered."""
    region = SystemRegion(f"somebody_else_{os.getpid()}", 4096)
    region.write(0, b"precious")
    kserve.register_region(region)
    yield region
    kserve.unregister_region("system", region.name)
    region.close()


def orders(server: RunningServer, service: Client, model: str, concurrency: int, requests: int) -> LoadPlan:
    route = transport(service.route(model, server.endpoint))
    return LoadPlan(transport=route, schedule=ClosedLoop(concurrency=concurrency), max_requests=requests)


def load(plan: LoadPlan, shared: SharedPayloads) -> None:
    result = NativeEngine().run(shared.payloads.drawing.applied(plan), shared.payloads.messages)
    assert (result.ok, result.failed) == (plan.max_requests, {}), result.examples
    # Of 8000 bytes of input and as many of output, messages hold only where.
    assert sum(s.bytes_sent for s in result.slices) < result.ok * 800
    assert sum(s.bytes_received for s in result.slices) < result.ok * 800


def send(server: RunningServer, service: Client, model: str, message: bytes) -> None:
    result = NativeEngine().run(orders(server, service, model, 1, 1), [message])
    assert (result.ok, result.failed) == (1, {}), result.examples


def test_every_slot_gets_the_right_output_and_nothing_is_left(
    triton: RunningServer, service: Client, arrays: np.ndarray, tmp_path: Path, foreign: SystemRegion
) -> None:
    model = service.metadata("identity")
    items = build_items({"INPUT0": DataInput.model_validate({"from": str(tmp_path / "items.npy")})}, model, {})
    before = service.registered_regions("system")
    with shared_payloads(
        service, model, items, 2, kind="system", slots=5, run_id="test", output_bytes=4 * COUNT
    ) as shared:
        assert len(shared.payloads.messages) == 5 * 7
        assert len(service.registered_regions("system")) == len(before) + 6
        load(orders(triton, service, "identity", 5, 70), shared)
        rows = [arrays[[n, (n + 1) % 7]].tobytes() for n in range(7)]
        written = [shared.output(slot, "OUTPUT0") for slot in range(5)]
        assert all(output in rows for output in written)
        assert left_over()
    assert service.registered_regions("system") == before
    assert foreign.name in before
    assert foreign.read(0, 8) == b"precious"
    assert left_over() == set()


def test_each_request_writes_its_own_answer_into_its_slot(
    service: Client, arrays: np.ndarray, tmp_path: Path, triton: RunningServer
) -> None:
    model = service.metadata("identity")
    items = build_items({"INPUT0": DataInput.model_validate({"from": str(tmp_path / "items.npy")})}, model, {})
    with shared_payloads(
        service, model, items, 1, kind="system", slots=2, run_id="test", output_bytes=4 * COUNT
    ) as shared:
        for number in range(14):
            send(triton, service, "identity", shared.payloads.messages[number])
            assert shared.output(number // 7, "OUTPUT0") == arrays[number % 7].tobytes()


def test_texts_pass_through_shared_memory(triton: RunningServer, service: Client, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("one\ntwo two\n")
    wanted = DataInput.model_validate({"from": str(tmp_path / "texts"), "format": "lines"})
    model = service.metadata("identity_bytes")
    items = build_items({"INPUT0": wanted}, model, {})
    with shared_payloads(service, model, items, 1, kind="system", slots=1, run_id="t", output_bytes=64) as shared:
        send(triton, service, "identity_bytes", shared.payloads.messages[1])
        assert shared.output(0, "OUTPUT0")[:11] == b"\7\0\0\0two two"


KILLED = """
import sys, time
from contextlib import closing
from runner.load.inputs import build_items
from runner.load.shared_memory import shared_payloads
from runner.scenario.schema import GeneratedInput
from runner.services.kserve import KServeGrpc
from runner.services.kserve_http import KServeHttp
with closing({"grpc": KServeGrpc, "http": KServeHttp}[sys.argv[1]](sys.argv[2])) as service:
    model = service.metadata("identity")
    items = build_items({"INPUT0": GeneratedInput(generate="random", shape=(4,))}, model, {})
    with shared_payloads(service, model, items, 1, kind="system", slots=3, run_id="killed", output_bytes=16):
        print("ready", flush=True)
        time.sleep(60)
"""


def test_what_a_killed_run_left_is_removed_by_the_next(
    triton: RunningServer, service: Client, protocol: str, foreign: SystemRegion
) -> None:
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", KILLED, protocol, getattr(triton.endpoint, protocol)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        mine = f".{other.pid}."
        assert len([name for name in service.registered_regions("system") if mine in name]) == 4
        assert not any(mine in line for line in sweep_regions()), "a living run keeps its regions"
        other.send_signal(signal.SIGKILL)
        other.wait()
    files = [path for path in SHARED_MEMORY.glob(f"{PREFIX}.*") if mine in path.name]
    assert len(files) == 4
    assert all(is_abandoned(path.name) for path in files)
    model = service.metadata("identity")
    items = build_items({"INPUT0": GeneratedInput(generate="zero", shape=(4,))}, model, {})
    sweep_regions()
    with shared_payloads(service, model, items, 1, kind="system", slots=1, run_id="next", output_bytes=16):
        registered = service.registered_regions("system")
        assert not any(mine in name for name in registered)
        assert foreign.name in registered
    assert not [path for path in SHARED_MEMORY.glob(f"{PREFIX}.*") if mine in path.name]


def test_the_server_refuses_a_region_that_is_not_there(service: Client) -> None:
    region = SystemRegion(f"{new_names('gone')}.in", 64)
    region.close()
    with pytest.raises(ServiceError, match=r"could not register system shared memory .* of 64 bytes"):
        service.register_region(region)


def test_without_a_name_nobodys_region_is_forgotten(service: Client, foreign: SystemRegion) -> None:
    with pytest.raises(ValueError, match="forget the regions of every client"):
        service.unregister_region("system", "")
    assert foreign.name in service.registered_regions("system")


def test_without_a_gpu_the_server_refuses_its_memory(service: Client) -> None:
    """The message is understood up to the handle."""
    region: Any = SimpleNamespace(kind="cuda", name=f"{new_names('gpu')}.in", size=64, handle=bytes(64), device=0)
    assert service.registered_regions("cuda") == ()
    with pytest.raises(ServiceError, match=r"could not register cuda shared memory .* of 64 bytes"):
        service.register_region(region)
    service.unregister_region("cuda", region.name)


SCENARIO = """scenario: 1
name: shared
repository: {{models: {{identity: {{from: {models}/identity}}}}}}
workload:
  model: identity
  input: {{INPUT0: {{generate: random, shape: [2500]}}}}
  shared_memory: system
  output_bytes: 10kB
measure: {{profile: reference, requests: 100, telemetry: {{sources: []}}}}
load: {{concurrency: 8}}
matrix: {{axes: {{workload.protocol: [grpc, http], workload.batch: [1, 4]}}}}
"""


def test_a_scenario_reaches_it_even_after_a_kill(tmp_path: Path, models: Path) -> None:
    root = str(Path(__file__).parents[2])
    (tmp_path / "shared.yaml").write_text(SCENARIO.format(models=models))
    environment = {**os.environ, "SCENARIO_HOME": str(tmp_path / "home"), "PYTHONPATH": root}
    command = [sys.executable, "-m", "runner", "run", "shared.yaml"]
    with subprocess.Popen(
        [*command, "--set", "measure.requests=1000000"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as first:
        mine = f".{first.pid}."
        deadline = time.monotonic() + 60
        while not [p for p in SHARED_MEMORY.glob(f"{PREFIX}.*") if mine in p.name]:
            assert time.monotonic() < deadline
            assert first.poll() is None
            time.sleep(0.05)
        first.kill()
        first.wait()
    done = subprocess.run(
        [*command, "--output-dir", "second"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110
    )
    assert done.returncode in (0, 5), done.stderr
    assert not [p for p in SHARED_MEMORY.glob(f"{PREFIX}.*") if mine in p.name]
    [table] = (tmp_path / "second").glob("*/points.csv")
    with table.open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert len(rows) == 4
    assert all(row["state"] != "failed" for row in rows), rows
    assert all(int(float(row["completions"])) == 100 for row in rows)


def test_a_server_that_is_gone_is_no_obstacle(service: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving neither hangs nor raises when the server can no longer be asked."""
    model = service.metadata("identity")
    items = build_items({"INPUT0": GeneratedInput(generate="zero", shape=(4,))}, model, {})
    before, known = left_over(), service.registered_regions("system")
    way = "_stub" if isinstance(service, KServeGrpc) else "_http"
    with shared_payloads(service, model, items, 1, kind="system", slots=6, run_id="t", output_bytes=8):
        mine = set(service.registered_regions("system")) - set(known)
        assert len(left_over() - before) == len(mine) == 7
        monkeypatch.setattr(service, way, getattr(type(service)("127.0.0.1:9", timeout_s=1), way))
    assert left_over() == before
    monkeypatch.undo()
    for name in mine:
        service.unregister_region("system", name)
