"""What every call says beside its tensors: version and parameters, over both protocols."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tritonclient.grpc import service_pb2 as pb

from runner.errors import ServiceError
from runner.runtimes.fake import serving
from runner.runtimes.serverlog import ServerLog
from runner.scenario.schema import Workload
from runner.services import connect
from runner.services.base import Endpoint
from runner.services.calls import Calls
from runner.services.fake import FakeServer
from tests.contracts.service import NUMBERS
from tests.unit.services.kserve_http_server import serving_http

CALL: dict[str, Any] = {"model": "identity", "version": "1", "parameters": {"a": True, "b": 3, "c": "x"}}


def test_of_other_models_the_version_is_the_servers_choice() -> None:
    calls = Calls.of(Workload.model_validate(CALL))
    assert (calls.version_of("identity"), calls.version_of("behind")) == ("1", "")
    named = {**CALL, "bls_models": ["inner", "behind"], "bls_versions": {"inner": "2"}}
    calls = Calls.of(Workload.model_validate(named))
    assert [calls.version_of(model) for model in ("identity", "inner", "behind")] == ["1", "2", ""]


def test_a_version_belongs_to_a_model_that_is_named() -> None:
    with pytest.raises(ValidationError, match="expected models of `bls_models`, got `inner`"):
        Workload.model_validate({**CALL, "bls_versions": {"inner": "2"}})


def test_grpc_messages_hold_version_and_parameters(tmp_path: Path) -> None:
    with (
        serving(FakeServer(), ServerLog(tmp_path / "log"), name="fake") as server,
        closing(connect(server.endpoint, Workload.model_validate(CALL))) as service,
    ):
        request: Any = pb.ModelInferRequest.FromString(service.encode("identity", {"INPUT0": NUMBERS}))
    assert (request.model_name, request.model_version) == ("identity", "1")
    found = {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in request.parameters.items()}
    assert found == {"a": True, "b": 3, "c": "x"}
    assert request.parameters["a"].WhichOneof("parameter_choice") == "bool_param"


@pytest.mark.parametrize(("inputs", "outputs"), [("binary", "json"), ("json", "binary"), ("json", "json")])
def test_http_messages_hold_version_parameters_and_the_form_of_the_answer(inputs: str, outputs: str) -> None:
    workload = Workload.model_validate({**CALL, "protocol": "http", "tensors": inputs, "output_tensors": outputs})
    with serving_http(FakeServer()) as server:
        endpoint = Endpoint(http=server.address, grpc="")
        service = connect(endpoint, workload)
        message = service.encode("identity", {"INPUT0": NUMBERS})
        assert service.route("identity", endpoint).path == "/v2/models/identity/versions/1/infer"
    head, _, body = message.partition(b"\r\n\r\n")
    length = next((int(line.split()[1]) for line in head.decode().splitlines() if line.startswith("Inference")), None)
    document = json.loads(body[:length])
    assert document["parameters"] == CALL["parameters"] | ({"binary_data_output": True} if outputs == "binary" else {})
    assert ("data" in document["inputs"][0]) == (inputs == "json")


def test_no_version_is_no_part_of_the_path() -> None:
    with serving_http(FakeServer()) as server:
        endpoint = Endpoint(http=server.address, grpc="")
        service = connect(endpoint, Workload(model="identity", protocol="http"))
        assert service.route("identity", endpoint).path == "/v2/models/identity/infer"
        assert np.array_equal(service.infer("identity", {"INPUT0": NUMBERS})["OUTPUT0"], NUMBERS)


def test_a_version_that_is_not_there_is_refused() -> None:
    with serving_http(FakeServer()) as server:
        service = connect(Endpoint(http=server.address, grpc=""), Workload(model="nope", version="7", protocol="http"))
        with pytest.raises(ServiceError):
            service.metadata("nope")
