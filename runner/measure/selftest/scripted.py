"""A scripted server as a service that can be measured: its process, its counters, its messages."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from runner.errors import ServiceError
from runner.measure.selftest.script import Script
from runner.results.records import ModelStatistics
from runner.services.base import Endpoint, ModelMetadata, Route

MODEL = "scripted"
_METHOD = "/inference.GRPCInferenceService/ModelInfer"


def _response(value: int) -> bytes:
    from tritonclient.grpc import service_pb2 as pb

    response = pb.ModelInferResponse(model_name=MODEL)
    response.outputs.add(name="OUT", datatype="UINT8", shape=[1])
    response.raw_output_contents.append(bytes([value]))
    return bytes(response.SerializeToString())


def request() -> bytes:
    """A request message; the server answers every one alike."""
    from tritonclient.grpc import service_pb2 as pb

    message = pb.ModelInferRequest(model_name=MODEL)
    message.inputs.add(name="IN", datatype="UINT8", shape=[1])
    message.raw_input_contents.append(b"\1")
    return bytes(message.SerializeToString())


class ScriptedServer:
    """Runs while the context is open; implements what measurement asks of a `Service`."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.right, self.wrong = _response(1), _response(2)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        answers = [base64.b64encode(message).decode() for message in (self.right, self.wrong)]
        command = [sys.executable, "-m", "runner.measure.selftest.server", self.script.to_json(), *answers]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        address = f"127.0.0.1:{int(self._line())}"
        self.endpoint = Endpoint(http="127.0.0.1:1", grpc=address)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ServiceError("the scripted server of the self-test ended", hint="see what it wrote above")
        return line

    def report(self) -> dict[str, Any]:
        """The server's own counters and how late its answers left."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._line())
        return found

    # --- Service --------------------------------------------------------------------------------------------------

    def route(self, model: str, endpoint: Endpoint) -> Route:
        return Route(kind="grpc", address=endpoint.grpc, path=_METHOD)

    def stream_route(self, model: str, endpoint: Endpoint) -> Route:
        raise NotImplementedError("the scripted server has no streams")

    def ready(self, model: str) -> bool:
        return True

    def metadata(self, model: str) -> ModelMetadata:
        return ModelMetadata(model, "1", "scripted", 0, (), ())

    def statistics(self, models: Sequence[str]) -> tuple[ModelStatistics, ...]:
        counts = self.report()
        ok = counts["ok"] + counts["wrong"]
        return (ModelStatistics(MODEL, "1", ok, counts["error"], ok, counts["batches"], 0, 0, 0, 0, 0),)

    def encode(self, model: str, inputs: Any) -> bytes:
        return request()

    def encode_stream(self, model: str, inputs: Any) -> bytes:
        raise NotImplementedError("the scripted server has no streams")

    def encode_answer(self, model: str, outputs: Any) -> bytes:
        return self.right

    def replies(
        self, model: str, message: bytes, *, stream: bool = False, timeout_s: float = 60.0
    ) -> tuple[bytes, ...]:
        return (self.right,)

    def infer(self, model: str, inputs: Any, timeout_s: float = 10.0) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        """Leaving the context ends the server."""
