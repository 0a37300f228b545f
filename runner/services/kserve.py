"""The KServe (Triton) gRPC protocol, on the official protobufs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import grpc
import numpy as np
import numpy.typing as npt
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from runner.errors import ServiceError
from runner.results.records import ModelStatistics
from runner.services.access import (
    CREDENTIALS,
    RefusedError,
    headers_for,
    is_restricted,
    metadata_of,
    tls_for,
    tls_hint,
    unavailable_hint,
    wire_headers,
)
from runner.services.answers import encoded_answer
from runner.services.base import (
    Endpoint,
    ModelMetadata,
    Region,
    Route,
    SharedMemoryKind,
    SharedTensor,
    Tensors,
    TensorSpec,
)
from runner.services.calls import Calls
from runner.services.channel import NOTHING_SHOWN, channel_to, shown_by
from runner.services.compression import compressed, decompressed
from runner.services.control import IndexEntry, RepositoryView, ServerFacts, TraceSettings
from runner.services.names import datatypes_of, input_of, is_unknown_model, nearest_model, tracing, version_order
from runner.services.pipeline import EnsembleStep, composing_models, models_behind
from runner.services.regions import is_forgotten, one_region
from runner.services.statistics import facts_in, statistics_in
from runner.services.tensors import from_wire, to_wire
from runner.services.tls import Tls

if TYPE_CHECKING:
    from runner.scenario.schema import Workload

_REFERENCE = "get a reference answer"
# CANCELLED: the server is going away under the call.
_NOT_YET = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.CANCELLED)


def connect(endpoint: Endpoint, workload: Workload) -> KServeGrpc:
    """A client for the endpoint; nothing is sent yet."""
    compression = None if workload.compression == "none" else workload.compression
    accept = None if workload.response_compression == "none" else workload.response_compression
    tls, headers = tls_for(endpoint, workload), headers_for(endpoint, workload)
    return KServeGrpc(
        endpoint.grpc, headers=headers, tls=tls, compression=compression, accept=accept, calls=Calls.of(workload)
    )


class KServeGrpc(RepositoryView):
    """A `Service` over one gRPC channel."""

    grpc_method = "/inference.GRPCInferenceService/ModelInfer"
    grpc_stream_method = "/inference.GRPCInferenceService/ModelStreamInfer"

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = 10.0,
        headers: Sequence[tuple[str, str]] = (),
        tls: Tls | None = None,
        compression: Literal["gzip", "deflate"] | None = None,
        accept: Literal["gzip", "deflate"] | None = None,
        calls: Calls = Calls(),  # noqa: B008  # frozen
    ) -> None:
        self._address = address
        self._calls = calls
        self._timeout_s = timeout_s
        self._metadata = metadata_of(headers)
        self._tls, self._compression, self._accept = tls, compression, accept
        self._open()
        self._known: dict[str, ModelMetadata] = {}

    def _open(self) -> None:
        shown = None if self._tls is None or self._tls.verify else shown_by(self._address, self._tls)
        self._blind = shown == NOTHING_SHOWN
        self._channel: Any = channel_to(self._address, self._tls, shown)
        self._stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def route(self, model: str, endpoint: Endpoint) -> Route:
        """Where the messages of `encode` go."""
        return Route(
            kind="grpc",
            address=endpoint.grpc,
            path=self.grpc_method,
            headers=wire_headers(self._metadata),
            tls=self._tls,
            encoding=self._compression,
            accept=self._accept,
        )

    def stream_route(self, model: str, endpoint: Endpoint) -> Route:
        """Where the messages of `encode_stream` go."""
        return replace(self.route(model, endpoint), path=self.grpc_stream_method)

    def ready(self, model: str) -> bool:
        """True when the model can be called now; False while nothing answers or the model is not loaded."""
        if self._blind:
            self._channel.close()
            self._open()
        try:
            request = pb.ModelReadyRequest(name=model, version=self._calls.version_of(model))
            return bool(self._stub.ModelReady(request, timeout=self._timeout_s, metadata=self._metadata).ready)
        except grpc.RpcError as error:
            if error.code() in _NOT_YET:
                return False
            raise self._refusal(error, f"ask whether model {model!r} is ready", self._timeout_s, model) from error

    def server(self) -> ServerFacts:
        """Identifier, version and abilities of the server."""
        answer = self._call("ServerMetadata", pb.ServerMetadataRequest(), "read the server's version")
        return ServerFacts(answer.name, answer.version, tuple(answer.extensions))

    def index(self) -> tuple[IndexEntry, ...]:
        """The repository, each version of each model."""
        answer = self._call("RepositoryIndex", pb.RepositoryIndexRequest(), "list the server's models")
        return tuple(IndexEntry(entry.name, entry.version, entry.state, entry.reason) for entry in answer.models)

    def load(self, model: str) -> None:
        """Load a model, and the composing models of an ensemble; returns when they are loaded."""
        self._call(
            "RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name=model), f"load model {model!r}", model
        )

    def unload(self, model: str, *, dependents: bool = True) -> None:
        """Begin to unload a model, by default with the composing models that came with it."""
        request = pb.RepositoryModelUnloadRequest(model_name=model)
        request.parameters["unload_dependents"].bool_param = dependents
        self._call("RepositoryModelUnload", request, f"unload model {model!r}", model)

    def trace(self, model: str = "", changes: TraceSettings | None = None) -> TraceSettings:
        """Trace settings of a model, without a name those of all models; `changes` are made first."""
        request = pb.TraceSettingRequest(model_name=model)
        for name, values in (changes or {}).items():
            request.settings[name].value.extend(values)
        answer = self._call("TraceSetting", request, tracing(model, changes), model)
        return {name: tuple(setting.value) for name, setting in answer.settings.items()}

    def behind(self, model: str) -> tuple[str, ...]:
        """Every model that an ensemble runs, ensembles among them included; none for a plain model."""
        return models_behind(model, self._steps)

    def metadata(self, model: str) -> ModelMetadata:
        """Inputs, outputs, batching and, of an ensemble, the models behind it."""
        request = pb.ModelMetadataRequest(name=model, version=self._calls.version_of(model))
        answer = self._call("ModelMetadata", request, f"read the metadata of model {model!r}", model)
        config = self._config(model)
        optional = {tensor.name for tensor in config.input if tensor.optional}
        batched = config.max_batch_size > 0
        return ModelMetadata(
            name=answer.name,
            version=max(answer.versions, key=version_order, default=""),
            platform=answer.platform,
            max_batch_size=config.max_batch_size,
            inputs=tuple(_spec(tensor, batched, optional) for tensor in answer.inputs),
            outputs=tuple(_spec(tensor, batched) for tensor in answer.outputs),
            composing_models=composing_models(model, self._steps),
            facts=facts_in(model, _plain(config)),
            sequences=config.HasField("sequence_batching"),
            decoupled=config.model_transaction_policy.decoupled,
        )

    def statistics(self, models: Sequence[str]) -> tuple[ModelStatistics, ...]:
        """Counters of each model since the server started, all its versions together."""
        return tuple(self._statistics_of(model) for model in models)

    def encode(self, model: str, inputs: Tensors) -> bytes:
        """One ModelInferRequest, compressed if asked for, ready to send any number of times."""
        return self._encoded(self._request(model, inputs))

    def tensor_bytes(self, model: str, name: str, array: npt.NDArray[np.generic]) -> bytes:
        """An input as it lies in shared memory."""
        return bytes(self._request(model, {name: array}).raw_input_contents[0])

    def encode_shared(
        self, model: str, inputs: Mapping[str, SharedTensor], outputs: Mapping[str, SharedTensor]
    ) -> bytes:
        """One ModelInferRequest whose tensors lie in registered regions."""
        datatypes = {tensor.name: tensor.datatype for tensor in self._metadata_of(model).inputs}
        request = self._blank(model)
        for name, place in inputs.items():
            _refer(request.inputs.add(name=name, datatype=datatypes[name], shape=place.shape), place)
        for name, place in outputs.items():
            _refer(request.outputs.add(name=name), place)
        return self._encoded(request)

    def register_region(self, region: Region) -> None:
        """Tell the server of a region; it opens it now."""
        doing = f"register {region.kind} shared memory {region.name!r} of {region.size} bytes"
        if region.kind == "system":
            request = pb.SystemSharedMemoryRegisterRequest(
                name=region.name, key=f"/{region.name}", offset=0, byte_size=region.size
            )
            self._call("SystemSharedMemoryRegister", request, doing)
            return
        cuda: Any = region
        request = pb.CudaSharedMemoryRegisterRequest(
            name=region.name, raw_handle=cuda.handle, device_id=cuda.device, byte_size=region.size
        )
        self._call("CudaSharedMemoryRegister", request, doing)

    def unregister_region(self, kind: SharedMemoryKind, name: str) -> bool:
        """Make the server forget one region; of an unknown one it says nothing. False while a request uses it."""
        word = kind.capitalize()
        request = getattr(pb, f"{word}SharedMemoryUnregisterRequest")(name=one_region(name))
        doing = f"unregister {kind} shared memory {name!r}"
        return is_forgotten(lambda: self._call(f"{word}SharedMemoryUnregister", request, doing))

    def registered_regions(self, kind: SharedMemoryKind) -> tuple[str, ...]:
        """Names of the regions that the server knows, whosever they are."""
        word = kind.capitalize()
        request = getattr(pb, f"{word}SharedMemoryStatusRequest")()
        answer = self._call(f"{word}SharedMemoryStatus", request, f"list the {kind} shared memory")
        return tuple(sorted(answer.regions))

    def encode_stream(self, model: str, inputs: Tensors) -> bytes:
        """As `encode`; a decoupled model's end of answers comes as a message, however many there were."""
        marker = pb.ModelInferRequest()
        marker.parameters["triton_enable_empty_final_response"].bool_param = True
        # Fields of protobuf messages may be appended.
        return self.encode(model, inputs) + bytes(marker.SerializeToString())

    def encode_answer(self, model: str, outputs: Tensors) -> bytes:
        """One ModelInferResponse."""
        return encoded_answer(self._metadata_of(model).outputs, outputs)

    def replies(
        self, model: str, message: bytes, *, stream: bool = False, timeout_s: float = 60.0
    ) -> tuple[bytes, ...]:
        """The answers to an encoded request, as they came."""
        plain = decompressed(message, self._compression)
        try:
            if stream:
                return self._streamed(plain, timeout_s)
            call = self._channel.unary_unary(self.grpc_method)
            return (bytes(call(plain, timeout=timeout_s, metadata=self._metadata)),)
        except grpc.RpcError as error:
            raise self._refusal(error, _REFERENCE, timeout_s, model) from error

    def _streamed(self, message: bytes, timeout_s: float) -> tuple[bytes, ...]:
        call: Any = self._channel.stream_stream(self.grpc_stream_method)
        answers: Any = call(iter([message]), timeout=timeout_s, metadata=self._metadata)
        found = list[bytes]()
        for raw in answers:
            part: Any = pb.ModelStreamInferResponse.FromString(raw)
            if part.error_message:
                raise ServiceError(
                    f"could not {_REFERENCE} at {self._address}: {part.error_message}", hint="see the server's log"
                )
            response = part.infer_response
            if response.outputs:
                found.append(bytes(response.SerializeToString(deterministic=True)))
            # A model that is not decoupled says nothing of it.
            marker = response.parameters.get("triton_final_response")
            if marker is None or marker.bool_param:
                break
        answers.cancel()
        return tuple(found)

    def infer(self, model: str, inputs: Tensors, timeout_s: float = 10.0) -> dict[str, npt.NDArray[np.generic]]:
        """One real inference."""
        request = self._request(model, inputs)
        answer = self._call("ModelInfer", request, f"call model {model!r}", model, timeout_s)
        try:
            return dict(_outputs(answer))
        except ValueError as error:
            raise ServiceError(
                f"the answer of model {model!r} is not valid: {error}",
                hint="the server's python backend may run with numpy 2, which its build reads wrongly",
            ) from error

    def close(self) -> None:
        self._channel.close()

    def _config(self, model: str) -> Any:
        request = pb.ModelConfigRequest(name=model, version=self._calls.version_of(model))
        return self._call("ModelConfig", request, f"read the configuration of model {model!r}", model).config

    def _steps(self, model: str) -> list[EnsembleStep]:
        return [
            EnsembleStep(step.model_name, frozenset(step.input_map.values()), frozenset(step.output_map.values()))
            for step in self._config(model).ensemble_scheduling.step
        ]

    def _statistics_of(self, model: str) -> ModelStatistics:
        request = pb.ModelStatisticsRequest(name=model, version=self._calls.version_of(model))
        answer = self._call("ModelStatistics", request, f"read the statistics of model {model!r}", model)
        return statistics_in(model, _plain(answer).get("model_stats", ()))

    def _metadata_of(self, model: str) -> ModelMetadata:
        if model not in self._known:
            self._known[model] = self.metadata(model)
        return self._known[model]

    def _request(self, model: str, inputs: Tensors) -> Any:
        datatypes = datatypes_of(self._metadata_of(model), inputs)
        request = self._blank(model)
        for name, array in inputs.items():
            request.inputs.add(name=name, datatype=datatypes[name], shape=array.shape)
            with input_of(model, name):
                request.raw_input_contents.append(to_wire(array, datatypes[name]))
        return request

    def _encoded(self, request: Any) -> bytes:
        return compressed(bytes(request.SerializeToString(deterministic=True)), self._compression)

    def _blank(self, model: str) -> Any:
        """A request without tensors."""
        request = pb.ModelInferRequest(model_name=model, model_version=self._calls.version_of(model))
        for name, value in self._calls.parameters.items():
            setattr(request.parameters[name], _parameter_field(value), value)
        return request

    def _call(self, method: str, request: Any, doing: str, model: str = "", timeout_s: float | None = None) -> Any:
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            return getattr(self._stub, method)(request, timeout=limit_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._refusal(error, doing, limit_s, model) from error

    def _refusal(self, error: Any, doing: str, limit_s: float, model: str) -> ServiceError:
        """What went wrong, in words: which call, where, why, and what to do."""
        code, details = error.code(), (error.details() or "").strip()
        where = f"could not {doing} at {self._address}"
        if is_unknown_model(details):
            return ServiceError(f"{where}: {details}", hint=nearest_model(model, self.models))
        match code:
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return ServiceError(
                    f"{where}: no answer within {limit_s:g} s",
                    hint="the server accepts connections but does not answer; look at its log and its load",
                )
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
                if is_restricted(details):
                    return RefusedError(f"{where}: {details}", hint=CREDENTIALS)
                kind = RefusedError if self._tls and tls_hint(details) else ServiceError
                return kind(f"{where}: {details}", hint=unavailable_hint(details, self._tls is not None))
            case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
                return RefusedError(f"{where}: {code.name}: {details}", hint=CREDENTIALS)
            case grpc.StatusCode.UNIMPLEMENTED:
                return ServiceError(
                    f"{where}: {details or 'not implemented'}", hint="this server does not speak Triton's KServe v2"
                )
        return ServiceError(f"{where}: {code.name}: {details}", hint="the server refused it; its log says more")


def _refer(tensor: Any, place: SharedTensor) -> None:
    tensor.parameters["shared_memory_region"].string_param = place.region
    tensor.parameters["shared_memory_byte_size"].int64_param = place.nbytes
    if place.offset:
        tensor.parameters["shared_memory_offset"].int64_param = place.offset


def _parameter_field(value: bool | int | str) -> str:
    # bool is a kind of int in Python.
    if isinstance(value, bool):
        return "bool_param"
    return "int64_param" if isinstance(value, int) else "string_param"


def _plain(message: Any) -> dict[str, Any]:
    """A message as the JSON that HTTP would give."""
    document: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return document


def _spec(tensor: Any, batched: bool, optional: set[str] | None = None) -> TensorSpec:
    shape = tuple(tensor.shape)
    return TensorSpec(tensor.name, tensor.datatype, shape[1:] if batched else shape, tensor.name in (optional or ()))


def _outputs(answer: Any) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
    if len(answer.raw_output_contents) != len(answer.outputs):
        raise ValueError(f"{len(answer.outputs)} outputs, but {len(answer.raw_output_contents)} raw contents")
    for tensor, raw in zip(answer.outputs, answer.raw_output_contents, strict=True):
        yield tensor.name, from_wire(raw, tensor.datatype, tensor.shape)
