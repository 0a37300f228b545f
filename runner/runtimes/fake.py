"""A runtime whose server lives in this process and really speaks gRPC: milliseconds to start, faults on request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb

from runner.errors import ServiceError
from runner.results.records import ModelStatistics
from runner.runtimes.base import Finding, RunningServer, ServerSpec
from runner.runtimes.readiness import wait_ready
from runner.runtimes.reloading import reload_models
from runner.runtimes.serverlog import ServerLog
from runner.services.base import Endpoint, ModelMetadata, TensorSpec
from runner.services.fake import FakeServer
from runner.services.kserve import KServeGrpc
from runner.services.tensors import from_wire, to_wire

VERSION = "0.0-fake"
_SERVICE = "inference.GRPCInferenceService"


class FakeRuntime:
    """A `Runtime` that serves a `FakeServer`, made anew for each start by `make`."""

    def __init__(self, make: Callable[[], FakeServer] = FakeServer, *, findings: Sequence[Finding] = ()) -> None:
        self._make = make
        self._findings = tuple(findings)
        self.started: list[ServerSpec] = []
        self.servers: list[FakeRunningServer] = []
        self.sweeps = 0

    def preflight(self) -> Sequence[Finding]:
        return self._findings or (Finding("fake", "ok", "always there"),)

    @contextmanager
    def start(self, spec: ServerSpec) -> Iterator[RunningServer]:
        """Serve, wait for the canary, and stop on leaving."""
        self.started.append(spec)
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        log = ServerLog(spec.log, spec.log.stat().st_size if spec.log.exists() else 0)
        with serving(self._make(), log, spec=spec) as server:
            self.servers.append(server)
            server.say(f"models: {', '.join(server.fake.models)}")
            with closing(KServeGrpc(server.endpoint.grpc, timeout_s=0.2)) as service:
                wait_ready(service, spec.canary, spec.ready_timeout_s, server.check)
            yield server

    def sweep(self) -> Sequence[str]:
        self.sweeps += 1
        return ()


@dataclass
class FakeRunningServer:
    """A `RunningServer` in this process."""

    fake: FakeServer
    endpoint: Endpoint
    log: ServerLog
    spec: ServerSpec | None = None
    reloads: int = 0

    def pids(self) -> Sequence[int]:
        """None of its own: it lives in this process."""
        return ()

    def check(self) -> None:
        if self.fake.dead.is_set():
            raise ServiceError("the server ended with signal SIGKILL", log_tail=self.log_tail())

    def log_tail(self, lines: int = 20) -> Sequence[str]:
        return self.log.tail(lines)

    def reload(self) -> None:
        self.check()
        assert self.spec is not None, "only a server that a runtime started knows its models"
        with closing(KServeGrpc(self.endpoint.grpc, timeout_s=self.spec.ready_timeout_s)) as service:
            reload_models(service, self.spec, self.check)
        self.reloads += 1

    def facts(self) -> dict[str, str]:
        return {"runtime": "fake", "server": VERSION}

    def say(self, line: str) -> None:
        """Write to the server's log."""
        with self.log.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


@contextmanager
def serving(
    fake: FakeServer, log: ServerLog, *, port: int = 0, name: str = "fake", spec: ServerSpec | None = None
) -> Iterator[FakeRunningServer]:
    """Serve on a port of this machine (0: any free one) under a server name."""
    stopped = threading.Event()
    server: Any = grpc.server(
        ThreadPoolExecutor(max_workers=128, thread_name_prefix="fake-triton"),
        options=(
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ),
    )
    server.add_generic_rpc_handlers((_Protocol(fake, stopped, name).handlers(),))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    running = FakeRunningServer(fake, Endpoint(http="127.0.0.1:1", grpc=f"127.0.0.1:{port}"), log, spec)
    undertaker = threading.Thread(target=_stop_when_dead, args=(server, fake, stopped, running), daemon=True)
    undertaker.start()
    try:
        yield running
    finally:
        stopped.set()
        undertaker.join()
        server.stop(grace=None).wait()


def _stop_when_dead(server: Any, fake: FakeServer, stopped: threading.Event, running: FakeRunningServer) -> None:
    """Close the port at once when the script ends the server, as a killed process would."""
    while not stopped.wait(0.005):
        if fake.dead.is_set():
            running.say("E0101 00:00:00.000000 1 fake.cc:1] killed by the test's script")
            server.stop(grace=None)
            return


class _Protocol:
    """The KServe calls that the runner makes, answered from a `FakeServer`."""

    def __init__(self, fake: FakeServer, stopped: threading.Event, name: str) -> None:
        self._fake = fake
        self._name = name
        self._stopped = stopped

    def handlers(self) -> Any:
        methods = {
            "ServerReady": (self.server_ready, pb.ServerReadyRequest, pb.ServerReadyResponse),
            "ServerMetadata": (self.server_metadata, pb.ServerMetadataRequest, pb.ServerMetadataResponse),
            "ModelReady": (self.model_ready, pb.ModelReadyRequest, pb.ModelReadyResponse),
            "ModelMetadata": (self.model_metadata, pb.ModelMetadataRequest, pb.ModelMetadataResponse),
            "ModelConfig": (self.model_config, pb.ModelConfigRequest, pb.ModelConfigResponse),
            "ModelStatistics": (self.model_statistics, pb.ModelStatisticsRequest, pb.ModelStatisticsResponse),
            "RepositoryModelLoad": (self.load, pb.RepositoryModelLoadRequest, pb.RepositoryModelLoadResponse),
            "RepositoryModelUnload": (self.unload, pb.RepositoryModelUnloadRequest, pb.RepositoryModelUnloadResponse),
            "RepositoryIndex": (self.repository_index, pb.RepositoryIndexRequest, pb.RepositoryIndexResponse),
            "TraceSetting": (self.trace_setting, pb.TraceSettingRequest, pb.TraceSettingResponse),
            "ModelInfer": (self.model_infer, pb.ModelInferRequest, pb.ModelInferResponse),
        }
        return grpc.method_handlers_generic_handler(
            _SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    answer,
                    request_deserializer=request.FromString,
                    response_serializer=response.SerializeToString,
                )
                for name, (answer, request, response) in methods.items()
            },
        )

    def server_ready(self, request: Any, context: Any) -> Any:
        return pb.ServerReadyResponse(ready=True)

    def server_metadata(self, request: Any, context: Any) -> Any:
        extensions = ["trace"] if self._fake.traces is not None else []
        return pb.ServerMetadataResponse(name=self._name, version=VERSION, extensions=extensions)

    def model_ready(self, request: Any, context: Any) -> Any:
        return pb.ModelReadyResponse(ready=self._fake.ready(request.name))

    def load(self, request: Any, context: Any) -> Any:
        try:
            self._fake.load(self._metadata(request.model_name, context).name)
        except ValueError as error:
            _abort(context, grpc.StatusCode.UNAVAILABLE, str(error))
        return pb.RepositoryModelLoadResponse()

    def unload(self, request: Any, context: Any) -> Any:
        dependents = request.parameters["unload_dependents"].bool_param
        self._fake.unload(self._metadata(request.model_name, context).name, dependents=dependents)
        return pb.RepositoryModelUnloadResponse()

    def repository_index(self, request: Any, context: Any) -> Any:
        states = {name: "UNAVAILABLE" if name in self._fake.unloaded else "READY" for name in self._fake.models}
        index = [pb.RepositoryIndexResponse.ModelIndex(name=name, state=state) for name, state in states.items()]
        return pb.RepositoryIndexResponse(models=index)

    def model_metadata(self, request: Any, context: Any) -> Any:
        model = self._metadata(request.name, context)
        batch = (-1,) if model.max_batch_size else ()
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=[model.version],
            platform=model.platform,
            inputs=[_tensor(tensor, batch) for tensor in model.inputs],
            outputs=[_tensor(tensor, batch) for tensor in model.outputs],
        )

    def model_config(self, request: Any, context: Any) -> Any:
        model = self._metadata(request.name, context)
        answer = pb.ModelConfigResponse()
        answer.config.name = model.name
        answer.config.max_batch_size = model.max_batch_size
        for tensor in model.inputs:
            answer.config.input.add(name=tensor.name, dims=tensor.shape, optional=tensor.optional)
        for step in model.composing_models:
            answer.config.ensemble_scheduling.step.add(model_name=step)
        return answer

    def model_statistics(self, request: Any, context: Any) -> Any:
        self._metadata(request.name, context)
        return pb.ModelStatisticsResponse(model_stats=[_statistics(self._fake.statistics(request.name))])

    def trace_setting(self, request: Any, context: Any) -> Any:
        if request.model_name and not self._fake.ready(request.model_name):
            _abort(context, grpc.StatusCode.INVALID_ARGUMENT, f"Request for unknown model : {request.model_name}")
        if self._fake.traces is None:
            _abort(context, grpc.StatusCode.UNIMPLEMENTED, "the server does not support tracing")
        changes = {name: tuple(setting.value) for name, setting in request.settings.items()}
        answer = pb.TraceSettingResponse()
        for name, values in self._fake.traces.change(request.model_name, changes).items():
            answer.settings[name].value.extend(values)
        return answer

    def model_infer(self, request: Any, context: Any) -> Any:
        if self._fake.script.silent:
            while context.is_active() and not self._stopped.wait(0.01):
                pass
        model = self._metadata(request.model_name, context)
        inputs = {
            tensor.name: from_wire(raw, tensor.datatype, tensor.shape)
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        try:
            outputs = self._fake.call(model.name, inputs)
        except ValueError as error:
            _abort(context, grpc.StatusCode.INTERNAL, str(error))
        answer = pb.ModelInferResponse(model_name=model.name, model_version=model.version, id=request.id)
        for tensor in model.outputs:
            array = np.asarray(outputs[tensor.name])
            answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=array.shape)
            answer.raw_output_contents.append(to_wire(array, tensor.datatype))
        return answer

    def _metadata(self, name: str, context: Any) -> ModelMetadata:
        if name not in self._fake.models:
            _abort(context, grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' is not found")
        return self._fake.models[name].metadata


def _abort(context: Any, code: Any, details: str) -> NoReturn:
    context.abort(code, details)
    raise AssertionError("abort always raises")


def _tensor(tensor: TensorSpec, batch: tuple[int, ...]) -> Any:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=tensor.name, datatype=tensor.datatype, shape=(*batch, *tensor.shape)
    )


def _statistics(counters: ModelStatistics) -> Any:
    answer = pb.ModelStatistics(
        name=counters.model,
        version=counters.version,
        inference_count=counters.inference_count,
        execution_count=counters.execution_count,
    )
    details = answer.inference_stats
    details.success.count, details.success.ns = counters.success_count, counters.success_ns
    details.fail.count = counters.failure_count
    details.queue.ns = counters.queue_ns
    details.compute_input.ns = counters.compute_input_ns
    details.compute_infer.ns = counters.compute_infer_ns
    details.compute_output.ns = counters.compute_output_ns
    for batch in counters.batches:
        row = answer.batch_stats.add(batch_size=batch.size)
        row.compute_infer.count, row.compute_infer.ns = batch.count, batch.compute_infer_ns
    return answer
