"""KServe over HTTP against a server in this process, in clear text and under TLS, with the engine's own load."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.errors import LoadError, ServiceError
from runner.load.engine import LoadResult
from runner.load.native import NativeEngine
from runner.load.plan import ClosedLoop, LoadPlan, Sequences
from runner.measure.transport import transport
from runner.scenario.schema import TlsSettings, Workload
from runner.services import connect
from runner.services.base import Endpoint
from runner.services.control import IndexEntry, ServerFacts
from runner.services.fake import FakeServer, Script
from runner.services.kserve_http import KServeHttp
from runner.services.tls import load_tls, name_in
from tests.contracts.service import NUMBERS, ServiceContract
from tests.unit.services.kserve_http_server import Certificates, HttpServer, make_certificates, serving_http


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with serving_http(FakeServer()) as server:
        yield server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def client(server: HttpServer, **workload: Any) -> KServeHttp:
    service = connect(
        Endpoint(http=server.address, grpc="127.0.0.1:1"),
        Workload.model_validate({"model": "identity", "protocol": "http", **workload}),
    )
    assert isinstance(service, KServeHttp)
    return service


def load(service: KServeHttp, server: HttpServer, requests: int = 40) -> LoadResult:
    route = service.route("identity", Endpoint(http=server.address, grpc=""))
    plan = LoadPlan(transport=transport(route), schedule=ClosedLoop(concurrency=4), max_requests=requests)
    return NativeEngine().run(plan, [service.encode("identity", {"INPUT0": NUMBERS})])


class TestBinary(ServiceContract):
    @pytest.fixture
    def service(self, server: HttpServer) -> KServeHttp:
        return client(server)


class TestJson(ServiceContract):
    @pytest.fixture
    def service(self, server: HttpServer) -> KServeHttp:
        return client(server, tensors="json")

    def test_a_message_depends_on_nothing_but_its_inputs(self, service: Any) -> None:
        message = service.encode("identity", {"INPUT0": NUMBERS})
        assert b'"data":[0.0,1.0,2.0' in message
        assert service.encode("identity", {"INPUT0": NUMBERS.copy()}) == message


def test_json_refuses_what_it_cannot_carry(server: HttpServer) -> None:
    with pytest.raises(ServiceError, match="NaN cannot travel as JSON"):
        client(server, tensors="json").encode("identity", {"INPUT0": np.array([[np.nan]], np.float32)})


def test_json_tensors_need_http() -> None:
    with pytest.raises(ValueError, match="only HTTP carries tensors as JSON"):
        Workload.model_validate({"model": "m", "tensors": "json"})


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
@pytest.mark.parametrize("tensors", ["binary", "json"])
def test_the_engine_sends_what_was_encoded(server: HttpServer, tensors: str, compression: str) -> None:
    service = client(server, tensors=tensors, compression=compression, headers={"X-Route": "blue"})
    result = load(service, server)
    assert (result.ok, result.failed) == (40, {})
    seen = server.headers[-1]
    assert seen["X-Route"] == "blue"
    assert seen.get("Content-Encoding", "none") == compression
    np.testing.assert_array_equal(service.infer("identity", {"INPUT0": NUMBERS})["OUTPUT0"], NUMBERS)


def test_failures_are_counted_with_the_services_words() -> None:
    with serving_http(FakeServer(script=Script(fail_every=4))) as server:
        result = load(client(server), server)
    assert (result.ok, result.failed) == (30, {"http_500": 10})
    assert result.examples == {"http_500": "the script says that this request fails"}


def test_nobody_there_is_not_ready_and_says_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        service = client(HttpServer(f"127.0.0.1:{free.getsockname()[1]}"))
    assert service.ready("identity") is False
    with pytest.raises(ServiceError, match="could not read the metadata of model 'identity'") as caught:
        service.metadata("identity")
    assert "is the server running" in (caught.value.hint or "")


def test_a_silent_server_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        service = KServeHttp(f"127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.05)
        with pytest.raises(ServiceError, match=r"no answer within 0\.05 s"):
            service.statistics(["identity"])


# --- control ----------------------------------------------------------------------------------------------------


def test_models_come_and_go(server: HttpServer) -> None:
    service = client(server)
    assert service.server() == ServerFacts("fake", "1.0", ("statistics",))
    assert service.index() == (IndexEntry("identity", "1", "READY"),)
    service.unload("identity")
    assert (service.index(), service.models(), service.loaded()) == ((IndexEntry("identity"),), ["identity"], [])
    assert not service.ready("identity")
    service.load("identity")
    assert service.loaded() == ["identity"]
    assert service.behind("identity") == ()


def test_a_refused_command_comes_with_the_servers_words() -> None:
    with serving_http(FakeServer(script=Script(fixed_models=True))) as server:
        with pytest.raises(ServiceError, match=r"could not load model 'identity' at .*HTTP 503: .*is not allowed"):
            client(server).load("identity")
        with pytest.raises(ServiceError, match="could not unload model 'identity'"):
            client(server).unload("identity", dependents=False)


# --- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def https(certificates: Certificates) -> Iterator[HttpServer]:
    with ExitStack() as stack:
        yield stack.enter_context(serving_http(FakeServer(), certificates.context()))


@pytest.fixture
def mutual(certificates: Certificates) -> Iterator[HttpServer]:
    with ExitStack() as stack:
        yield stack.enter_context(serving_http(FakeServer(), certificates.context(mutual=True)))


def works(server: HttpServer, tls: dict[str, Any]) -> None:
    service = client(server, tls=tls)
    assert service.ready("identity")
    np.testing.assert_array_equal(service.infer("identity", {"INPUT0": NUMBERS})["OUTPUT0"], NUMBERS)
    result = load(service, server)
    assert (result.ok, result.failed) == (40, {})


@pytest.mark.parametrize("tensors", ["binary", "json"])
def test_requests_under_tls_say_to_which_sequence_they_belong(
    https: HttpServer, certificates: Certificates, tensors: str
) -> None:
    service = client(https, tls={"ca": certificates.ca_crt}, tensors=tensors, sequences={}, parameters={"tag": "a"})
    np.testing.assert_array_equal(service.infer("identity", {"INPUT0": NUMBERS})["OUTPUT0"], NUMBERS)
    assert https.parameters.pop()["sequence_id"] == 0
    route = service.route("identity", Endpoint(http=https.address, grpc=""))
    # Above 4 KiB the engine passes tensors on from where they are.
    inputs = {"INPUT0": np.arange(9000, dtype=np.float32)[None]}
    sequences = Sequences(count=1, length=3, variation=0, first_id=2**62)
    plan = LoadPlan(transport=transport(route), schedule=ClosedLoop(concurrency=1), max_requests=6, sequences=sequences)
    result = NativeEngine().run(plan, [service.encode("identity", inputs)])
    assert (result.ok, result.failed) == (6, {})
    assert {seen["tag"] for seen in https.parameters} == {"a"}
    said = [tuple(seen[f"sequence_{what}"] for what in ("id", "start", "end")) for seen in https.parameters]
    flags = [(True, False), (False, False), (False, True)]
    assert said == [(2**62 + n, *each) for n in range(2) for each in flags]


@pytest.mark.parametrize("how", ["pem", "der", "unverified", "named"])
def test_https(https: HttpServer, certificates: Certificates, how: str) -> None:
    tls = {
        "pem": {"ca": certificates.ca_crt},
        "der": {"ca": certificates.ca_der},
        "unverified": {"verify": False},
        "named": {"ca": certificates.ca_crt, "server_name": "localhost"},
    }
    works(https, tls[how])


@pytest.mark.parametrize("key", ["client.key", "client-sec1.der", "client-pkcs8.der"])
def test_https_with_a_client_certificate(mutual: HttpServer, certificates: Certificates, key: str) -> None:
    cert = "client.crt" if key == "client.key" else "client.der"
    folder = certificates.folder
    works(mutual, {"ca": certificates.ca_crt, "cert": str(folder / cert), "key": str(folder / key)})


@pytest.mark.parametrize(
    ("tls", "reason"),
    [({"ca": "stranger"}, "UnknownIssuer"), ({"ca": "ca", "server_name": "other.example"}, "not valid for name")],
)
def test_a_server_that_is_not_believed_is_no_run(
    https: HttpServer, certificates: Certificates, tls: dict[str, str], reason: str
) -> None:
    trusting = client(https, tls={"ca": certificates.ca_crt})
    message = trusting.encode("identity", {"INPUT0": NUMBERS})
    wary = client(https, tls={**tls, "ca": str(certificates.folder / f"{tls['ca']}.crt")})
    with pytest.raises(ServiceError, match="certificate verify failed") as refused:
        wary.ready("identity")
    assert "workload.tls" in (refused.value.hint or "")
    route = wary.route("identity", Endpoint(http=https.address, grpc=""))
    plan = LoadPlan(transport=transport(route), schedule=ClosedLoop(concurrency=2), max_requests=4)
    with pytest.raises(LoadError, match=reason) as caught:
        NativeEngine().run(plan, [message])
    assert "workload.tls" in (caught.value.hint or "")


def test_a_missing_client_certificate_is_counted(mutual: HttpServer, certificates: Certificates) -> None:
    whole = {"ca": certificates.ca_crt, "cert": certificates.client_crt, "key": certificates.client_key}
    message = client(mutual, tls=whole).encode("identity", {"INPUT0": NUMBERS})
    route = client(mutual, tls={"ca": certificates.ca_crt}).route("identity", Endpoint(http=mutual.address, grpc=""))
    plan = LoadPlan(transport=transport(route), schedule=ClosedLoop(concurrency=2), max_requests=6)
    # With TLS 1.3 the client may take the connection for open before the server has refused it.
    try:
        result = NativeEngine().run(plan, [message])
    except LoadError as error:
        assert "CertificateRequired" in error.message  # noqa: PT017
    else:
        assert result.ok == 0
        assert set(result.failed) <= {"tls_failed", "connection_lost"}
        assert sum(result.failed.values()) == 6


def test_clear_text_to_a_tls_port_and_tls_to_a_clear_text_port(
    https: HttpServer, server: HttpServer, certificates: Certificates
) -> None:
    message = client(server).encode("identity", {"INPUT0": NUMBERS})
    crossed = client(https).route("identity", Endpoint(http=https.address, grpc=""))
    result = NativeEngine().run(
        LoadPlan(transport=transport(crossed), schedule=ClosedLoop(concurrency=1), max_requests=2), [message]
    )
    assert (result.ok, sum(result.failed.values())) == (0, 2)
    crossed = client(server, tls={"ca": certificates.ca_crt}).route("identity", Endpoint(http=server.address, grpc=""))
    with pytest.raises(LoadError, match="TLS"):
        NativeEngine().run(
            LoadPlan(transport=transport(crossed), schedule=ClosedLoop(concurrency=1), max_requests=2), [message]
        )


def test_files_that_are_no_certificates_are_named(tmp_path: Path, certificates: Certificates) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("hello")
    with pytest.raises(ServiceError, match=r"workload\.tls\.ca: cannot read .*absent"):
        load_tls(TlsSettings(ca=str(tmp_path / "absent")))
    with pytest.raises(ServiceError, match=r"workload\.tls\.ca: .*wrong\.pem is not a PEM or DER certificate"):
        load_tls(TlsSettings(ca=str(wrong)))
    with pytest.raises(ServiceError, match=r"workload\.tls\.key: .*is not a PEM or DER private key"):
        load_tls(TlsSettings(ca=certificates.ca_crt, cert=certificates.client_crt, key=str(wrong)))
    tls = load_tls(TlsSettings(ca=certificates.ca_crt, cert=certificates.client_crt, key=certificates.server_key))
    with pytest.raises(ServiceError, match="do not belong together"):
        tls.context()
    assert "PRIVATE" not in repr(tls)
    assert name_in(Path(certificates.server_crt).read_text()) == "localhost"
