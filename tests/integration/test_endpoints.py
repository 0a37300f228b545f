"""One load on two real servers, connections as the scenario says, and compressed answers."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.errors import LoadError
from runner.runtimes.base import RunningServer, ServerSpec
from runner.runtimes.embedded import EmbeddedRuntime
from runner.services.kserve import KServeGrpc
from tests.contracts.service import settled
from tests.integration.command import Cli
from tests.integration.scenario_load import scenario_load

MODELS = Path(__file__).parent / "resources" / "models"


def scenario_run(folder: Path, **parts: Any) -> tuple[Path, list[dict[str, Any]]]:
    """Run a scenario of `identity` as a user does: its directory and its trials."""
    workload = {"model": "identity", "input": {"INPUT0": {"generate": "zero", "shape": [500]}}}
    document = {
        "scenario": 1,
        "name": "it",
        "repository": {"models": {"identity": {"from": str(MODELS / "identity")}}},
        "measure": {"profile": "reference", "requests": 300},
        **parts,
        "workload": workload | parts.get("workload", {}),
    }
    cli = Cli(folder)
    cli.file.write_text(yaml.safe_dump(document))
    done = cli.run("run", cli.file.name)
    assert done.returncode in (0, 5), done.stderr
    return cli.directory(), cli.trials()


def succeeded(server: RunningServer) -> int:
    with closing(KServeGrpc(server.endpoint.grpc)) as service:
        return settled(service, ["identity"])[0].success_count


def test_the_load_is_shared_by_weight_and_counted_on_every_server(triton: RunningServer, tmp_path: Path) -> None:
    before = succeeded(triton)
    other = {"grpc": triton.endpoint.grpc, "http": triton.endpoint.http, "weight": 2}
    directory, trials = scenario_run(
        tmp_path,
        workload={"endpoints": [other], "validate": {"every": 10}},
        load={"concurrency": 6, "connections": 2, "workers": 1},
        matrix={"axes": {"workload.protocol": ["grpc", "http"]}},
    )
    assert len(trials) == 2
    for trial in trials:
        assert (trial["counts"]["ok"], trial["counts"]["failed"]) == (300, {})
        assert trial["server"][0]["success_count"] == 300
        assert "mismatch_server_count" not in {flag["code"] for flag in trial["flags"]}
        assert trial["load"] == {"kind": "concurrency", "concurrency": 6, "connections": 2, "workers": 1}
    assert succeeded(triton) - before == 2 * 200
    with (directory / "points.csv").open(newline="") as file:
        assert [row["completions"] for row in csv.DictReader(file)] == ["300", "300"]


def test_an_endpoint_that_serves_something_else_is_told(triton: RunningServer, tmp_path: Path) -> None:
    _, (trial,) = scenario_run(
        tmp_path,
        repository={"models": {"identity": {"from": str(MODELS / "identity"), "config": {"max_batch_size": 4}}}},
        workload={"endpoints": [{"grpc": triton.endpoint.grpc}]},
    )
    assert trial["state"] == "failed"
    assert f"workload.endpoints.0: model 'identity' at {triton.endpoint.grpc} has other" in trial["failure"]


def test_an_endpoint_that_is_not_there_is_told(tmp_path: Path) -> None:
    _, (trial,) = scenario_run(tmp_path, workload={"endpoints": [{"grpc": "127.0.0.1:9"}]})
    assert trial["state"] == "failed"
    assert "127.0.0.1:9" in trial["failure"]


def test_streams_of_a_connection_from_a_scenario(triton: RunningServer) -> None:
    load = {"concurrency": 8, "streams_per_connection": 3, "workers": 1}
    result = scenario_load(triton, ZEROS, load=load)
    assert (result.ok, result.failed, result.workers) == (60, {}, 1)
    with pytest.raises(LoadError, match="expected at least 3 for 8 requests in flight on 3 streams each, got 2"):
        scenario_load(triton, ZEROS, load=load | {"connections": 2})


# --- compressed answers -------------------------------------------------------------------------------------------

ZEROS: dict[str, Any] = {"model": "identity", "input": {"INPUT0": {"generate": "zero", "shape": [5000]}}}


@pytest.fixture(scope="module")
def compressing(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[RunningServer]:
    """Triton compresses gRPC answers only where it is told to, and only for those who ask."""
    folder = tmp_path_factory.mktemp("compressing")
    spec = ServerSpec(
        repository=models,
        load=("identity", "repeat"),
        canary="identity",
        run_id="compressing",
        log=folder / "server.log",
        flags={"grpc-infer-response-compression-level": "high"},
    )
    with EmbeddedRuntime(folder / "state").start(spec) as server:
        yield server


@pytest.mark.parametrize("validate", [None, {"every": 1}, {"every": 3, "mode": "digest"}], ids=["off", "all", "some"])
@pytest.mark.parametrize(
    "way",
    [
        {"protocol": "grpc", "response_compression": "gzip"},
        {"protocol": "grpc", "response_compression": "deflate", "compression": "gzip"},
        {"protocol": "grpc", "response_compression": "gzip", "streaming": True},
        {"protocol": "http", "response_compression": "gzip"},
        {"protocol": "http", "response_compression": "deflate", "compression": "gzip"},
        {"protocol": "http", "response_compression": "gzip", "tensors": "json"},
    ],
    ids=lambda way: "-".join(map(str, way.values())),
)
def test_compressed_answers_are_smaller_and_right(
    compressing: RunningServer, way: dict[str, Any], validate: dict[str, Any] | None
) -> None:
    workload = ZEROS | way | ({"validate": validate} if validate else {})
    result = scenario_load(compressing, workload)
    assert (result.ok, result.failed) == (60, {}), result.examples
    # 20,000 bytes of zeros each, more as JSON.
    assert sum(s.bytes_received for s in result.slices) < 60 * 2000


def test_without_the_switch_answers_come_as_they_are(compressing: RunningServer) -> None:
    for workload in ({}, {"compression": "gzip"}, {"protocol": "http"}):
        result = scenario_load(compressing, ZEROS | workload)
        assert sum(s.bytes_received for s in result.slices) > 60 * 20_000
