"""The KServe client against the in-process server: contract, faults, messages."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from runner.errors import ServiceError
from runner.results.records import ModelFacts
from runner.runtimes.fake import serving
from runner.runtimes.serverlog import ServerLog
from runner.scenario.schema import Workload
from runner.services import connect
from runner.services.base import Endpoint, TensorSpec
from runner.services.control import ServerFacts
from runner.services.fake import FakeModel, FakeServer, Script, identity_model
from runner.services.kserve import KServeGrpc
from tests.contracts.service import NUMBERS, ServiceContract


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Callable[..., KServeGrpc]]:
    """Serve a fake server over gRPC and connect to it."""
    with ExitStack() as stack:

        def make(fake: FakeServer | None = None, timeout_s: float = 5.0) -> KServeGrpc:
            server = stack.enter_context(serving(fake or FakeServer(), ServerLog(tmp_path / "log"), name="fake-1"))
            return stack.enter_context(closing(KServeGrpc(server.endpoint.grpc, timeout_s=timeout_s)))

        yield make


class TestContract(ServiceContract):
    @pytest.fixture
    def service(self, client: Callable[..., KServeGrpc]) -> KServeGrpc:
        return client()


def test_connect_chooses_by_the_workload() -> None:
    with closing(connect(Endpoint("a:1", "127.0.0.1:1"), Workload(model="m"))) as service:
        assert isinstance(service, KServeGrpc)


def test_the_server_tells_its_name_version_and_models(client: Callable[..., KServeGrpc]) -> None:
    service = client(FakeServer({"b": identity_model("b"), "a": identity_model("a")}))
    assert service.server() == ServerFacts("fake-1", "0.0-fake", ("trace",))
    assert service.models() == ["a", "b"]


def test_metadata_has_optional_inputs_platform_and_steps(client: Callable[..., KServeGrpc]) -> None:
    plain = identity_model("part").metadata
    whole = dataclasses.replace(
        plain,
        name="whole",
        platform="ensemble",
        max_batch_size=0,
        inputs=(*plain.inputs, TensorSpec("MASK", "BOOL", (1, 2), optional=True)),
        composing_models=("part",),
    )
    service = client(FakeServer({"part": FakeModel(plain), "whole": FakeModel(whole)}))
    assert service.metadata("whole") == dataclasses.replace(whole, facts=ModelFacts("whole"))


def test_a_message_is_the_protobuf_with_raw_contents(client: Callable[..., KServeGrpc]) -> None:
    request = pb.ModelInferRequest.FromString(client().encode("identity", {"INPUT0": NUMBERS}))
    assert (request.model_name, list(request.raw_input_contents)) == ("identity", [NUMBERS.tobytes()])
    assert [(t.name, t.datatype, list(t.shape)) for t in request.inputs] == [("INPUT0", "FP32", [3, 4])]


def test_the_metadata_for_encoding_is_asked_for_once(client: Callable[..., KServeGrpc]) -> None:
    fake = FakeServer()
    service = client(fake)
    message = service.encode("identity", {"INPUT0": NUMBERS})
    fake.models = {}
    assert service.encode("identity", {"INPUT0": NUMBERS}) == message


def test_a_failing_model_is_named_with_the_servers_words(client: Callable[..., KServeGrpc]) -> None:
    service = client(FakeServer(script=Script(fail_every=1)))
    with pytest.raises(ServiceError, match=r"could not call model 'identity' at 127.*INTERNAL: the script says"):
        service.infer("identity", {"INPUT0": NUMBERS})


def test_a_server_that_accepts_calls_and_never_answers_runs_into_the_deadline(
    client: Callable[..., KServeGrpc],
) -> None:
    service = client(FakeServer(script=Script(silent=True)))
    started = time.monotonic()
    with pytest.raises(ServiceError, match=r"no answer within 0\.3 s") as caught:
        service.infer("identity", {"INPUT0": NUMBERS}, timeout_s=0.3)
    assert time.monotonic() - started < 2
    assert "does not answer" in (caught.value.hint or "")


@pytest.fixture
def mute_port() -> Iterator[int]:
    """A port that accepts connections and says nothing, not even HTTP/2 settings."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_that_accepts_and_says_nothing_does_not_hang(mute_port: int) -> None:
    with closing(KServeGrpc(f"127.0.0.1:{mute_port}", timeout_s=0.3)) as service:
        started = time.monotonic()
        for call in (service.metadata, lambda name: service.statistics([name]), service.ready):
            with pytest.raises(ServiceError, match="no answer within"):
                call("identity")
        assert time.monotonic() - started < 4


def test_a_port_where_nothing_listens_is_not_ready_and_a_clear_error() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with closing(KServeGrpc(address, timeout_s=1)) as service:
        assert service.ready("identity") is False
        with pytest.raises(
            ServiceError, match=f"could not read the metadata of model 'identity' at {address}"
        ) as caught:
            service.metadata("identity")
        assert "is the server running?" in (caught.value.hint or "")


def test_a_server_that_comes_up_late_is_seen_soon(tmp_path: Path) -> None:
    """The default backoff of gRPC would hide it for ever longer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with closing(KServeGrpc(f"127.0.0.1:{port}", timeout_s=1)) as service:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert service.ready("identity") is False
            time.sleep(0.02)
        with serving(FakeServer(), ServerLog(tmp_path / "log"), port=port):
            started = time.monotonic()
            while not service.ready("identity"):
                assert time.monotonic() - started < 4
                time.sleep(0.02)


def test_a_proxy_of_the_environment_is_not_used(
    client: Callable[..., KServeGrpc], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert client().ready("identity")


def _one_method_server(name: str, answer: Callable[[bytes], bytes]) -> tuple[grpc.Server, int]:
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: answer(request))
    handlers = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {name: handler})
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def test_a_server_of_another_kind_is_a_clear_error() -> None:
    server, port = _one_method_server("ServerReady", lambda request: b"")
    with closing(KServeGrpc(f"127.0.0.1:{port}", timeout_s=2)) as service:
        with pytest.raises(ServiceError) as caught:
            service.metadata("identity")
        assert "Triton's KServe" in (caught.value.hint or "")
        with pytest.raises(ServiceError):
            service.ready("identity")
    server.stop(None)


def test_an_unknown_model_is_explained_even_when_the_index_is_not_served() -> None:
    def unknown(request: bytes) -> bytes:
        raise RuntimeError("unknown model 'identity'")

    server, port = _one_method_server("ModelMetadata", unknown)
    with closing(KServeGrpc(f"127.0.0.1:{port}", timeout_s=2)) as service, pytest.raises(ServiceError) as caught:
        service.metadata("identity")
    assert "workload.model" in (caught.value.hint or "")
    server.stop(None)


@pytest.mark.parametrize(
    ("raws", "message"),
    [([], "1 outputs, but 0 raw contents"), ([b"\0\0"], "has 8 bytes, 2 were found")],
)
def test_an_answer_that_does_not_fit_is_refused(
    client: Callable[..., KServeGrpc], monkeypatch: pytest.MonkeyPatch, raws: list[bytes], message: str
) -> None:
    service = client()
    request = service._request("identity", {"INPUT0": np.zeros((1, 2), np.float32)})
    answer = pb.ModelInferResponse(raw_output_contents=raws)
    answer.outputs.add(name="OUTPUT0", datatype="FP32", shape=[1, 2])
    monkeypatch.setattr(service, "_request", lambda model, inputs: request)
    monkeypatch.setattr(service, "_call", lambda *arguments: answer)
    with pytest.raises(ServiceError, match=message):
        service.infer("identity", {})
