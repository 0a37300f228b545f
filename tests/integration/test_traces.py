"""Traces of a real Triton: switched on for the measured model, and its settings put back however the run ends."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.cli.main import invoke
from runner.runtimes.base import RunningServer, ServerSpec
from runner.runtimes.embedded import EmbeddedRuntime
from runner.services.control import TraceSettings
from runner.services.kserve import KServeGrpc
from tests.integration.perf_runs import MEASURED, Perf, Process, wait_for, write_json

MODELS = ("nested", "sleepy", "identity")
MODEL = ("-m", "sleepy", "-i", "grpc", "--shape", "INPUT0:4")
ON = ("--trace-level", "TIMESTAMPS", "--trace-rate", "1", "--log-frequency", "5")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[RunningServer]:
    """Somebody else's server, which was started with a file for traces."""
    folder = tmp_path_factory.mktemp("theirs")
    flags = {"trace-config": ("mode=triton", f"triton,file={folder / 'trace.json'}")}
    spec = ServerSpec(repository=models, load=MODELS, canary="nested", run_id="traced", log=folder / "log", flags=flags)
    with EmbeddedRuntime(folder / "state").start(spec) as server:
        yield server


@pytest.fixture
def client(theirs: RunningServer) -> Iterator[KServeGrpc]:
    """Of that server, whose trace settings must be the same after the test."""
    with closing(KServeGrpc(theirs.endpoint.grpc)) as service:
        before = settings(service)
        yield service
        assert settings(service) == before


def settings(service: KServeGrpc) -> dict[str, TraceSettings]:
    """Those of all models and of each."""
    return {name: service.trace(name) for name in ("", *MODELS)}


@pytest.fixture
def their_perf(theirs: RunningServer, perf: Perf) -> Perf:
    """`scenario perf` against that server."""
    perf.server = theirs
    return perf


def events_in(folder: Path, name: str) -> list[dict[str, Any]]:
    """What a server wrote to a file, and to those that are numbered after it."""
    return [event for path in folder.glob(f"{name}*") for event in json.loads(path.read_text())]


def requests_to(events: list[dict[str, Any]]) -> Counter[str]:
    """Model -> traced requests."""
    return Counter(event["model_name"] for event in events if "model_name" in event)


def taken(client: KServeGrpc) -> list[dict[str, Any]]:
    """What the server has written since this was last asked."""
    (file,) = client.trace()["trace_file"]
    folder, name = Path(file).parent, Path(file).name
    events = events_in(folder, name)
    for path in folder.glob(f"{name}*"):
        path.unlink()
    return events


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_measured_model_is_traced_with_its_parts(
    their_perf: Perf, client: KServeGrpc, protocol: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"trace_rate": ("50",), "trace_level": ("TIMESTAMPS", "TENSORS")} if protocol == "http" else {}
    client.trace("nested", own)
    before = settings(client)
    load = ("-m", "nested", "-i", protocol, "--shape", "INPUT0:4", "--request-count", "40")
    assert their_perf(*load, *ON) in MEASURED
    assert f"traces: {client.trace()['trace_file'][0]} where the server runs\n" in capsys.readouterr().err
    assert settings(client) == before
    client.trace("nested", dict.fromkeys(own, ()))
    traced, sent = requests_to(events := taken(client)), int(their_perf.points()[0]["requests_sent"])
    assert traced["nested"] == traced["chain"] == traced["sleepy"] == sent
    assert traced["identity"] == 2 * sent
    names = {stamp["name"] for event in events for stamp in event.get("timestamps", ())}
    assert {"REQUEST_START", "QUEUE_START", "COMPUTE_START", "COMPUTE_END", "REQUEST_END"} <= names
    manifest = json.loads((their_perf.run / "manifest.json").read_text())
    assert manifest["server"]["trace"] == "timestamps, 1 in 1"
    assert manifest["server"]["traces_at"] == client.trace()["trace_file"][0]
    assert their_perf.resolved()["server"]["trace"]["log_frequency"] == 5
    assert "trace=timestamps, 1 in 1;" in their_perf.points()[0]["labels"]


def test_settings_are_put_back_after_a_load_that_fails(their_perf: Perf, client: KServeGrpc) -> None:
    data = {"data": [{"INPUT0": {"content": [1.0], "shape": [1]}, "FAIL": [1]}]}
    load = ("-m", "sleepy", "-i", "grpc", "--input-data", write_json(their_perf.folder / "data.json", data))
    before = settings(client)
    assert their_perf(*load, *ON, "--request-count", "40") == 5
    assert settings(client) == before
    assert requests_to(taken(client))["sleepy"] > 0


def is_traced(client: KServeGrpc) -> bool:
    return client.trace("sleepy")["trace_level"] == ("TIMESTAMPS",)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_settings_are_put_back_after_a_signal(
    theirs: RunningServer, client: KServeGrpc, tmp_path: Path, signum: int, code: int
) -> None:
    before = settings(client)
    process = Process.start(tmp_path, theirs.endpoint.grpc, *MODEL, *ON)
    wait_for(lambda: is_traced(client), process)
    process.running.send_signal(signum)
    returned, _, err = process.ended()
    assert returned == code, err
    assert settings(client) == before


@pytest.mark.parametrize("by", ["the next run", "reset"])
def test_what_a_killed_run_set_is_put_back(
    theirs: RunningServer, client: KServeGrpc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    before = settings(client)
    process = Process.start(tmp_path, theirs.endpoint.grpc, *MODEL, *ON)
    wait_for(lambda: is_traced(client), process)
    process.running.kill()
    process.ended()
    assert is_traced(client)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENARIO_HOME", str(tmp_path / "home"))
    if by == "reset":
        assert invoke(["perf", "-u", theirs.endpoint.grpc, *MODEL, "--emit-scenario", "same.yaml"]) == 0
        assert invoke(["reset", "same.yaml"]) == 0
    else:
        again = Process.start(tmp_path, theirs.endpoint.grpc, *MODEL, "--request-count", "10")
        assert again.ended()[0] in MEASURED
    assert settings(client) == before


def test_a_server_without_a_file_for_traces_is_refused(
    perf: Perf, kserve: KServeGrpc, capsys: pytest.CaptureFixture[str]
) -> None:
    before = kserve.trace("sleepy")
    assert perf(*MODEL, *ON) == 4
    assert "was started without a file for traces" in capsys.readouterr().err
    assert kserve.trace("sleepy") == before


def test_a_server_of_ours_writes_them_to_the_run_directory(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {
        "scenario": 1,
        "name": "traced",
        "repository": {"models": {"sleepy": {"from": str(models / "sleepy")}}},
        "server": {"trace": {"level": ["timestamps", "tensors"], "rate": 1}},
        "workload": {"model": "sleepy", "input": {"INPUT0": {"generate": "random", "shape": [4]}}},
        "measure": {"profile": "reference", "requests": 20, "telemetry": {"sources": []}},
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENARIO_HOME", str(tmp_path / "home"))
    Path("traced.yaml").write_text(yaml.safe_dump(document))
    assert invoke(["run", "traced.yaml", "--progress", "none"]) in MEASURED
    (run,) = (tmp_path / "runs").iterdir()
    events = events_in(run / "traces", "server-1.json")
    assert requests_to(events)["sleepy"] >= 20
    assert {event["tensor"]["name"] for event in events if "tensor" in event} == {"INPUT0", "OUTPUT0"}
    manifest = json.loads((run / "manifest.json").read_text())
    assert "traces/server-1.json" in {artefact["path"] for artefact in manifest["artefacts"]}
    assert manifest["server"]["traces_at"] == "traces/"
