"""Models on the embedded Triton, for benchmarks: that of the engine's is `identity`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.runtimes.base import ServerSpec
from runner.runtimes.embedded import EmbeddedRuntime

METHOD = "/inference.GRPCInferenceService/ModelInfer"

CONFIG = """
backend: "python"
max_batch_size: 64
dynamic_batching { }
input [ { name: "INPUT0" data_type: TYPE_UINT8 dims: [ -1 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_UINT8 dims: [ -1 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
"""

MODEL = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", each[:, :64])]) for each in inputs]
"""


@dataclass(frozen=True)
class Triton:
    """Where the server listens."""

    grpc: str
    http: str


@contextlib.contextmanager
def identity_server() -> Iterator[Triton]:
    """Start a Triton that answers with the first 64 bytes it was sent; stopped and swept up afterwards."""
    with tempfile.TemporaryDirectory(prefix="scenario-bench-") as name:
        folder = Path(name)
        version = folder / "models/identity/1"
        version.mkdir(parents=True)
        (version / "model.py").write_text(MODEL)
        (version.parent / "config.pbtxt").write_text(CONFIG)
        with serving(folder, ("identity",), "identity") as triton:
            yield triton


@contextlib.contextmanager
def serving(folder: Path, load: tuple[str, ...], canary: str) -> Iterator[Triton]:
    """Serve what lies in `models` below this folder; everything the server writes is in the folder, too."""
    spec = ServerSpec(repository=folder / "models", load=load, canary=canary, run_id="bench", log=folder / "log")
    with EmbeddedRuntime(folder / "state").start(spec) as server:
        yield Triton(server.endpoint.grpc, server.endpoint.http)


def identity_request(size: int = 64) -> bytes:
    """An encoded ModelInferRequest with `size` bytes of UINT8 input."""
    from tritonclient.grpc import service_pb2 as pb

    request = pb.ModelInferRequest(model_name="identity")
    request.inputs.add(name="INPUT0", datatype="UINT8", shape=[1, size])
    request.raw_input_contents.append(bytes(index % 251 for index in range(size)))
    return bytes(request.SerializeToString())


def success_count(triton: Triton) -> int:
    """Requests that the server itself counted as successful."""
    from tritonclient.grpc import InferenceServerClient

    with contextlib.closing(InferenceServerClient(triton.grpc)) as client:
        (model,) = client.get_inference_statistics("identity").model_stats
        return int(model.inference_stats.success.count)
