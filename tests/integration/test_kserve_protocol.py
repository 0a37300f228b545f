"""The KServe client against a real Triton."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from runner.errors import ServiceError
from runner.load.inputs import build_items
from runner.load.payloads import build_payloads
from runner.results.stages import difference
from runner.runtimes.base import RunningServer
from runner.scenario.schema import DataInput
from runner.services.kserve import KServeGrpc
from runner.services.tensors import DATATYPES
from tests.contracts.service import ServiceContract, settled

SAMPLES = {
    "BOOL": np.array([[True, False, True]]),
    "UINT8": np.array([[0, 1, 128, 255]], np.uint8),
    "UINT16": np.array([[0, 65535]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "FP16": np.array([[-1.5, 65504, 6e-8]], np.float16),
    "FP32": np.array([[-1.5, 3.4e38, np.inf]], np.float32),
    "FP64": np.array([[-1.5, 1e300]], np.float64),
    "BF16": np.array([[-1.5, 2.0**100, 0.0]], np.float32),
    "BYTES": np.array([[b"", b"a\0b", bytes(range(256)) * 20]], np.object_),
}


class TestContract(ServiceContract):
    @pytest.fixture
    def service(self, kserve: KServeGrpc) -> KServeGrpc:
        return kserve


def test_samples_cover_every_datatype() -> None:
    assert set(SAMPLES) == set(DATATYPES)


@pytest.mark.parametrize("datatype", SAMPLES)
def test_every_datatype_survives_the_round_trip(kserve: KServeGrpc, datatype: str) -> None:
    sample = SAMPLES[datatype]
    answer = kserve.infer("echo", {datatype: sample})
    assert list(answer) == [f"OUT_{datatype}"]
    np.testing.assert_array_equal(answer[f"OUT_{datatype}"], sample)


def test_encoded_messages_can_be_sent_as_they_are(kserve: KServeGrpc, triton: RunningServer) -> None:
    """As the engine does: bytes in, bytes out, concurrently; the server counts exactly what was sent."""
    sample = np.arange(64, dtype=np.float32).reshape(8, 8)
    message = kserve.encode("chain", {"INPUT0": sample})
    models = ("chain", *kserve.metadata("chain").composing_models)
    before = settled(kserve, models)
    with grpc.insecure_channel(triton.endpoint.grpc) as channel, ThreadPoolExecutor(4) as pool:
        send = channel.unary_unary(kserve.grpc_method)
        answers = list(pool.map(send, [message] * 40))
    for answer in answers:
        [raw] = pb.ModelInferResponse.FromString(answer).raw_output_contents
        assert raw == sample.tobytes()
    for did in difference(before, settled(kserve, models)):
        assert (did.success_count, did.failure_count, did.inference_count) == (40, 0, 320), did.model


@pytest.mark.parametrize(("fail", "counted"), [(1, (1, 0)), (3, (0, 1))], ids=["error response", "exception"])
def test_failures_and_how_this_server_counts_them(kserve: KServeGrpc, fail: int, counted: tuple[int, int]) -> None:
    """An error *response* of a python model is an error to the client and a success in the server's counters."""
    inputs = {"INPUT0": np.ones((1, 1), np.float32), "FAIL": np.full((1, 1), fail, np.int32)}
    before = settled(kserve, ["sleepy"])
    with pytest.raises(ServiceError, match="the request asked for"):
        kserve.infer("sleepy", inputs)
    [did] = difference(before, settled(kserve, ["sleepy"]))
    assert (did.success_count, did.failure_count) == counted


def test_an_ensembles_models_come_in_data_order(kserve: KServeGrpc) -> None:
    assert kserve.metadata("chain").composing_models == ("identity", "sleepy")
    assert kserve.metadata("nested").composing_models == ("identity", "sleepy")
    assert kserve.metadata("chain").platform == "ensemble"


def test_optional_inputs_are_marked(kserve: KServeGrpc) -> None:
    assert {t.name: t.optional for t in kserve.metadata("sleepy").inputs} == {
        "INPUT0": False,
        "DELAY_MS": True,
        "FAIL": True,
    }


def test_a_slow_model_runs_into_the_deadline(kserve: KServeGrpc) -> None:
    inputs = {"INPUT0": np.ones((1, 1), np.float32), "DELAY_MS": np.full((1, 1), 800, np.float32)}
    with pytest.raises(ServiceError, match=r"no answer within 0\.2 s"):
        kserve.infer("sleepy", inputs, timeout_s=0.2)


def test_an_unknown_model_names_the_nearest(kserve: KServeGrpc) -> None:
    with pytest.raises(ServiceError, match="'identty' is not found") as caught:
        kserve.metadata("identty")
    assert "did you mean 'identity'?" in (caught.value.hint or "")


def test_large_messages_pass(kserve: KServeGrpc) -> None:
    sample = np.ones((1, 3 * 2**20), np.float32)
    assert kserve.infer("identity", {"INPUT0": sample})["OUTPUT0"].shape == sample.shape


def test_payloads_of_files_arrive_padded_and_in_order(kserve: KServeGrpc, tmp_path: object) -> None:
    folder = tmp_path / "files"  # type: ignore[operator]
    folder.mkdir()
    for name, data in (("a", b"\1"), ("b", b"\2\2\2"), ("c", b"\3\3")):
        (folder / name).write_bytes(data)
    model = kserve.metadata("echo")
    items = build_items({"UINT8": DataInput.model_validate({"from": str(folder)})}, model, {})
    payloads = build_payloads(kserve, model, items, batch=3)
    assert (len(payloads.messages), payloads.padding_bytes) == (1, 3)
    request = pb.ModelInferRequest.FromString(payloads.messages[0])
    sent = np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(request.inputs[0].shape)
    assert kserve.infer("echo", {"UINT8": sent})["OUT_UINT8"].tolist() == [[1, 0, 0], [2, 2, 2], [3, 3, 0]]
