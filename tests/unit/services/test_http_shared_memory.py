"""Shared memory over HTTP: the messages byte by byte, and what the server is told of regions."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from runner.errors import ServiceError
from runner.load import cuda
from runner.load.items import Items
from runner.load.regions import SharedTensor, SystemRegion, new_names
from runner.load.shared_memory import shared_payloads
from runner.scenario.schema import Workload
from runner.services import connect
from runner.services.base import Endpoint
from runner.services.fake import FakeServer
from runner.services.kserve_http import KServeHttp
from tests.unit.load_inputs.test_shared_memory_regions import FakeCuda
from tests.unit.services.kserve_http_server import HttpServer, serving_http

INPUTS = {"INPUT0": SharedTensor("r.in", 64, 32, (2, 4))}
OUTPUTS = {"OUTPUT0": SharedTensor("r.out3", 0, 32)}
BODY = (
    b'{"inputs":[{"name":"INPUT0","shape":[2,4],"datatype":"FP32","parameters":'
    b'{"shared_memory_region":"r.in","shared_memory_byte_size":32,"shared_memory_offset":64}}],'
    b'"outputs":[{"name":"OUTPUT0","parameters":{"shared_memory_region":"r.out3","shared_memory_byte_size":32}}]'
)


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with serving_http(FakeServer()) as server:
        yield server


@pytest.fixture
def service(server: HttpServer) -> KServeHttp:
    return client(server)


def client(server: HttpServer, **workload: Any) -> KServeHttp:
    asked = Workload.model_validate({"model": "identity", "protocol": "http", **workload})
    service = connect(Endpoint(http=server.address, grpc=""), asked)
    assert isinstance(service, KServeHttp)
    return service


@pytest.fixture
def region() -> Iterator[SystemRegion]:
    region = SystemRegion(f"{new_names('http')}.in", 64)
    yield region
    region.close()


# --- messages -----------------------------------------------------------------------------------------------------


def test_a_message_is_json_that_says_where_its_tensors_lie(service: KServeHttp) -> None:
    head = b"Content-Type: application/json\r\nContent-Length: 269\r\n\r\n"
    assert service.encode_shared("identity", INPUTS, OUTPUTS) == head + BODY + b"}"


def test_parameters_of_the_request_stand_behind_it(server: HttpServer) -> None:
    message = client(server, parameters={"priority": 2}).encode_shared("identity", INPUTS, OUTPUTS)
    assert message.endswith(BODY + b',"parameters":{"priority":2}}')


def test_without_outputs_nothing_is_asked_for(service: KServeHttp) -> None:
    body = service.encode_shared("identity", INPUTS, {}).partition(b"\r\n\r\n")[2]
    assert list(json.loads(body)) == ["inputs"]


def test_a_message_is_compressed_as_it_says(server: HttpServer) -> None:
    message = client(server, compression="gzip").encode_shared("identity", INPUTS, OUTPUTS)
    head, _, body = message.partition(b"\r\n\r\n")
    assert b"Content-Encoding: gzip" in head
    assert b"Inference-Header-Content-Length" not in head
    assert gzip.decompress(body) == BODY + b"}"


def test_inputs_lie_in_memory_as_they_travel_in_binary(service: KServeHttp) -> None:
    assert service.tensor_bytes("identity", "INPUT0", np.array([[1, 2]], np.float32)) == b"\0\0\x80?\0\0\0@"
    with pytest.raises(ServiceError, match="input 'INPUT0' of model 'identity': a FP32 tensor needs"):
        service.tensor_bytes("identity", "INPUT0", np.array([[1, 2]], np.int32))
    with pytest.raises(ServiceError, match="has no input 'OTHER'"):
        service.tensor_bytes("identity", "OTHER", np.zeros(1, np.float32))


# --- regions ------------------------------------------------------------------------------------------------------


def test_regions_come_and_go(server: HttpServer, service: KServeHttp, region: SystemRegion) -> None:
    service.register_region(region)
    assert server.regions == {
        "system": {region.name: {"key": f"/{region.name}", "offset": 0, "byte_size": 64}},
        "cuda": {},
    }
    assert (service.registered_regions("system"), service.registered_regions("cuda")) == ((region.name,), ())
    assert service.unregister_region("system", region.name)
    assert service.unregister_region("system", "never_heard_of")
    assert service.registered_regions("system") == ()


def test_a_refusal_comes_with_the_servers_words(service: KServeHttp, region: SystemRegion) -> None:
    service.register_region(region)
    with pytest.raises(ServiceError, match=r"register system shared memory .* of 64 bytes at .*already in manager"):
        service.register_region(region)


def test_a_region_in_use_is_no_error(server: HttpServer, service: KServeHttp, region: SystemRegion) -> None:
    service.register_region(region)
    server.in_use.add(region.name)
    assert not service.unregister_region("system", region.name)
    assert service.registered_regions("system") == (region.name,)


def test_without_a_name_nothing_is_sent(server: HttpServer, service: KServeHttp) -> None:
    with pytest.raises(ValueError, match="forget the regions of every client"):
        service.unregister_region("system", "")
    assert server.headers == []


def test_gpu_memory_is_registered_by_its_handle(
    server: HttpServer, service: KServeHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = FakeCuda()
    monkeypatch.setattr(cuda, "_load", lambda: library)
    items = [Items("INPUT0", "FP32", (np.arange(4, dtype=np.float32),), "test", 1)]
    model = service.metadata("identity")
    with shared_payloads(
        service, model, items, 1, kind="cuda", slots=2, run_id="r", device=1, output_bytes=16
    ) as shared:
        assert {name.rpartition(".")[2] for name in server.regions["cuda"]} == {"in", "out0", "out1"}
        for name, told in server.regions["cuda"].items():
            handle = base64.b64decode(told["raw_handle"]["b64"])
            assert (len(handle), told["device_id"]) == (64, 1)
            # The stand-in's handle begins with the memory's address.
            assert len(library.memory[int.from_bytes(handle[:8], "little")]) == told["byte_size"]
            assert shared.regions[name].size == told["byte_size"]
        assert len(shared.payloads.messages) == 2
    assert (server.regions["cuda"], library.memory) == ({}, {})
