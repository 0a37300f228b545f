"""Every transport against a real Triton: HTTP, compression, headers, and gRPC under TLS; the server counts the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from runner.errors import LoadError, ServiceError
from runner.load.engine import LoadResult
from runner.load.native import NativeEngine
from runner.load.plan import ClosedLoop, LoadPlan
from runner.measure.transport import transport
from runner.results.stages import difference
from runner.runtimes.base import RunningServer, ServerSpec
from runner.runtimes.embedded import EmbeddedRuntime
from runner.scenario.schema import TlsSettings, Workload
from runner.services import connect
from runner.services.base import Service
from runner.services.tls import load_tls
from tests.contracts.service import NUMBERS, ServiceContract, settled
from tests.integration.command import Cli
from tests.unit.services.kserve_http_server import Certificates, make_certificates

MODELS = Path(__file__).parent / "resources" / "models"


def client(server: RunningServer, **workload: Any) -> Service:
    return connect(server.endpoint, Workload.model_validate({"model": "identity", **workload}))


def load(server: RunningServer, service: Service, inputs: dict[str, Any], **plan: Any) -> LoadResult:
    route = service.route("identity", server.endpoint)
    orders = LoadPlan(transport=transport(route), schedule=ClosedLoop(concurrency=8), max_requests=400, **plan)
    return NativeEngine().run(orders, [service.encode("identity", inputs)])


class TestBinary(ServiceContract):
    @pytest.fixture
    def service(self, triton: RunningServer) -> Service:
        return client(triton, protocol="http")


class TestJson(ServiceContract):
    @pytest.fixture
    def service(self, triton: RunningServer) -> Service:
        return client(triton, protocol="http", tensors="json")

    def test_a_message_depends_on_nothing_but_its_inputs(self, service: Service) -> None:
        assert b'"data":[0.0,1.0' in service.encode("identity", {"INPUT0": NUMBERS})


@pytest.mark.parametrize(
    "workload",
    [
        {"protocol": "http"},
        {"protocol": "http", "tensors": "json"},
        {"protocol": "http", "compression": "gzip"},
        {"protocol": "http", "compression": "deflate", "headers": {"X-Trace": "a b"}},
        {"protocol": "grpc", "compression": "gzip"},
        {"protocol": "grpc", "compression": "deflate", "headers": {"X-Trace": "a b"}},
    ],
    ids=lambda workload: "-".join(str(v) for v in workload.values() if isinstance(v, str)),
)
def test_the_server_counts_what_we_count(triton: RunningServer, workload: dict[str, Any]) -> None:
    with closing(client(triton, **workload)) as service:
        before = settled(service, ["identity"])
        result = load(triton, service, {"INPUT0": NUMBERS})
        [did] = difference(before, settled(service, ["identity"]))
    assert (result.ok, result.failed) == (400, {})
    assert (did.success_count, did.inference_count) == (400, 1200)


def test_large_tensors_over_http(triton: RunningServer) -> None:
    inputs = {"INPUT0": np.arange(1_500_000, dtype=np.float32).reshape(1, -1)}
    with closing(client(triton, protocol="http")) as service:
        assert load(triton, service, inputs).ok == 400
        np.testing.assert_array_equal(service.infer("identity", inputs)["OUTPUT0"], inputs["INPUT0"])


def test_every_datatype_over_http(triton: RunningServer) -> None:
    inputs = {
        "FP16": np.array([[1.5]], np.float16),
        "BYTES": np.array([[b"\xff\0", b"x"]], np.object_),
        "INT64": np.array([[-(2**60)]], np.int64),
        "BOOL": np.array([[True, False]]),
    }
    with closing(client(triton, protocol="http")) as service:
        known = {tensor.name: tensor for tensor in service.metadata("echo").inputs}
        given = {name: array for name, array in inputs.items() if name in known}
        assert len(given) >= 3
        shaped = {name: array if service.metadata("echo").max_batch_size else array[0] for name, array in given.items()}
        outputs = service.infer("echo", shaped)
    for name, array in shaped.items():
        np.testing.assert_array_equal(outputs[f"OUT_{name}"], array)


def test_failures_over_http_carry_tritons_words(triton: RunningServer) -> None:
    with closing(client(triton, protocol="http")) as service:
        message = service.encode("identity", {"INPUT0": NUMBERS}).replace(b'"FP32"', b'"FP64"')
        route = service.route("identity", triton.endpoint)
        orders = LoadPlan(transport=transport(route), schedule=ClosedLoop(concurrency=2), max_requests=20)
        result = NativeEngine().run(orders, [message])
    assert (result.ok, result.failed) == (0, {"http_400": 20})
    assert "FP32" in result.examples["http_400"] or "byte" in result.examples["http_400"]


def test_an_ensemble_is_described_over_http_as_over_grpc(triton: RunningServer) -> None:
    with closing(client(triton, protocol="http")) as http, closing(client(triton)) as grpc:
        assert http.metadata("nested") == grpc.metadata("nested")
        assert http.statistics(["nested", "sleepy"]) == grpc.statistics(["nested", "sleepy"])


# --- gRPC under TLS -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def flags(certificates: Certificates, *, mutual: bool) -> dict[str, Any]:
    return {
        "grpc-use-ssl": True,
        "grpc-server-cert": certificates.server_crt,
        "grpc-server-key": certificates.server_key,
        **({"grpc-use-ssl-mutual": True, "grpc-root-cert": certificates.ca_crt} if mutual else {}),
    }


@pytest.fixture
def encrypted(tmp_path: Path, models: Path, certificates: Certificates) -> Iterator[Callable[..., RunningServer]]:
    """Start a server that speaks TLS, mutual or not."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(tls: dict[str, Any], *, mutual: bool) -> RunningServer:
            spec = ServerSpec(
                repository=models,
                load=("identity",),
                canary="identity",
                run_id="tls",
                log=tmp_path / "server.log",
                flags=flags(certificates, mutual=mutual),
                tls=load_tls(TlsSettings.model_validate(tls)),
            )
            return stack.enter_context(EmbeddedRuntime(tmp_path / "state").start(spec))

        yield start


def test_grpc_under_tls(encrypted: Callable[..., RunningServer], certificates: Certificates) -> None:
    server = encrypted({"verify": False}, mutual=False)
    ways: list[dict[str, Any]] = [
        {"ca": certificates.ca_crt},
        {"ca": certificates.ca_crt, "server_name": "localhost"},
        {"verify": False},
    ]
    for tls in ways:
        with closing(client(server, tls=tls)) as service:
            before = settled(service, ["identity"])
            result = load(server, service, {"INPUT0": NUMBERS})
            [did] = difference(before, settled(service, ["identity"]))
        assert (result.ok, result.failed, did.success_count) == (400, {}, 400), tls
    stranger = client(server, tls={"ca": certificates.stranger_crt})
    with pytest.raises(ServiceError) as refused:
        stranger.metadata("identity")
    assert "workload.tls" in (refused.value.hint or "")
    with closing(client(server, tls=ways[0])) as service:
        message = service.encode("identity", {"INPUT0": NUMBERS})
    route = stranger.route("identity", server.endpoint)
    plan = LoadPlan(transport=transport(route), schedule=ClosedLoop(concurrency=1))
    with pytest.raises(LoadError, match="UnknownIssuer"):
        NativeEngine().run(plan, [message])


DER = {"ca": "ca", "cert": "client", "key": "client-pkcs8"}


def test_grpc_under_mutual_tls(encrypted: Callable[..., RunningServer], certificates: Certificates) -> None:
    whole = {"ca": certificates.ca_crt, "cert": certificates.client_crt, "key": certificates.client_key}
    server = encrypted(whole, mutual=True)
    der = {part: str(certificates.folder / f"{file}.der") for part, file in DER.items()}
    with closing(client(server, tls=der)) as service:
        assert load(server, service, {"INPUT0": NUMBERS}).ok == 400
    with closing(client(server, tls=whole)) as service:
        assert load(server, service, {"INPUT0": np.ones((1, 200_000), np.float32)}).ok == 400
        message = service.encode("identity", {"INPUT0": NUMBERS})
    nobody = client(server, tls={"ca": certificates.ca_crt}).route("identity", server.endpoint)
    with pytest.raises(LoadError, match=r"TLS|greeting"):
        NativeEngine().run(LoadPlan(transport=transport(nobody), schedule=ClosedLoop(concurrency=1)), [message])


# --- from a scenario file -----------------------------------------------------------------------------------------


def scenario_run(folder: Path, document: dict[str, Any]) -> list[dict[str, Any]]:
    """Run the scenario as a user does; returns its points."""
    cli = Cli(folder)
    cli.file.write_text(yaml.safe_dump(document))
    done = cli.run("run", cli.file.name)
    assert done.returncode == 0, done.stderr
    points: list[dict[str, Any]] = json.loads((cli.directory() / "points.json").read_text())["points"]
    return points


def base(**workload: Any) -> dict[str, Any]:
    return {
        "scenario": 1,
        "name": "transports",
        "repository": {"models": {"identity": {"from": str(MODELS / "identity")}}},
        "workload": {"model": "identity", "input": {"INPUT0": {"generate": "random", "shape": [16]}}, **workload},
        "load": {"concurrency": 4},
        "measure": {"warmup": {"min_time": "200ms"}, "window": {"min": "500ms", "max": "1s"}},
    }


def test_an_axis_over_protocols_and_a_secret_header(tmp_path: Path) -> None:
    document = base(headers={"Authorization": "Bearer hunter2", "X-Trace": "seen"})
    document["matrix"] = {"axes": {"workload.protocol": ["grpc", "http"], "workload.compression": ["none", "gzip"]}}
    points = scenario_run(tmp_path, document)
    assert sorted(point["protocol"] for point in points) == ["grpc", "grpc", "http", "http"]
    assert all(point["state"] == "ok" and point["inferences_per_s"] > 50 for point in points), points
    (run,) = (tmp_path / "runs").iterdir()
    for file in run.rglob("*"):
        assert not file.is_file() or b"hunter2" not in file.read_bytes(), file
    assert "X-Trace: seen" in (run / "resolved.yaml").read_text()


def test_a_scenario_under_mutual_tls(tmp_path: Path, certificates: Certificates) -> None:
    tls = {"ca": certificates.ca_crt, "cert": certificates.client_crt, "key": certificates.client_key}
    document = base(tls=tls, compression="gzip")
    document["server"] = {"flags": flags(certificates, mutual=True)}
    (point,) = scenario_run(tmp_path, document)
    assert point["inferences_per_s"] > 50
