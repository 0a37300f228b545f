"""The KServe (Triton) protocol over HTTP/1.1."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from runner.errors import ServiceError
from runner.results.records import ModelStatistics
from runner.services.access import headers_for, tls_for
from runner.services.answers import answer, encoded_answer
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
from runner.services.control import IndexEntry, RepositoryView, ServerFacts, TraceSettings
from runner.services.http_calls import HttpCalls
from runner.services.http_messages import HEAD_LENGTH, Array, Output, Writer, joined, outputs_of, parts
from runner.services.names import datatypes_of, input_of, tracing, version_order
from runner.services.pipeline import EnsembleStep, composing_models, models_behind
from runner.services.regions import is_forgotten, one_region
from runner.services.statistics import facts_in, statistics_in
from runner.services.tensors import from_wire, to_wire
from runner.services.tls import Tls

if TYPE_CHECKING:
    from runner.scenario.schema import Workload


def connect(endpoint: Endpoint, workload: Workload) -> KServeHttp:
    """A client for the endpoint; nothing is sent yet."""
    return KServeHttp(
        endpoint.http,
        tensors=workload.tensors,
        headers=headers_for(endpoint, workload),
        tls=tls_for(endpoint, workload),
        compression=None if workload.compression == "none" else workload.compression,
        accept=None if workload.response_compression == "none" else workload.response_compression,
        calls=Calls.of(workload),
        outputs=workload.output_tensors or workload.tensors,
        sequences=workload.sequences is not None,
    )


def _invalid(model: str, error: Exception) -> ServiceError:
    return ServiceError(
        f"the answer of model {model!r} is not valid: {error}",
        hint="the server's python backend may run with numpy 2, which its build reads wrongly",
    )


def _no_streams() -> ServiceError:
    return ServiceError("this service has no streams over HTTP", hint="write `workload.protocol: grpc`")


def _region_path(kind: SharedMemoryKind, name: str) -> str:
    return f"/v2/{kind}sharedmemory/region/{quote(name, safe='')}"


class KServeHttp(RepositoryView):
    """A `Service` over HTTP/1.1; every call has a connection of its own."""

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = 10.0,
        tensors: Literal["binary", "json"] = "binary",
        headers: Sequence[tuple[str, str]] = (),
        tls: Tls | None = None,
        compression: Literal["gzip", "deflate"] | None = None,
        accept: Literal["gzip", "deflate"] | None = None,
        calls: Calls = Calls(),  # noqa: B008  # frozen
        outputs: Literal["binary", "json"] | None = None,
        sequences: bool = False,
    ) -> None:
        self._calls = calls
        self._headers, self._tls = tuple(headers), tls
        self._http = HttpCalls(address, timeout_s=timeout_s, headers=headers, tls=tls, models=self.models)
        self._writer = Writer(tensors, outputs or tensors, compression, calls.parameters, in_sequence=sequences)
        # Only of the load: this client reads what it asks for itself in clear.
        self._accept = (("Accept-Encoding", accept),) if accept else ()
        self._known: dict[str, ModelMetadata] = {}

    def route(self, model: str, endpoint: Endpoint) -> Route:
        """Where the messages of `encode` go."""
        return Route(
            kind="http",
            address=endpoint.http,
            path=self._infer_path(model),
            headers=(*self._headers, *self._accept),
            tls=self._tls,
        )

    def stream_route(self, model: str, endpoint: Endpoint) -> Route:
        """There are no streams over HTTP."""
        raise _no_streams()

    def ready(self, model: str) -> bool:
        """True when the model can be called now; False while nothing answers or the model is not loaded."""
        return self._http.agrees(f"{self._path(model)}/ready", f"ask whether model {model!r} is ready", model)

    def server(self) -> ServerFacts:
        """Identifier, version and abilities of the server."""
        answer = self._http.read("GET", "/v2", "read the server's version")
        return ServerFacts(answer["name"], answer["version"], tuple(answer.get("extensions", ())))

    def index(self) -> tuple[IndexEntry, ...]:
        """The repository, each version of each model."""
        answer = self._http.read("POST", "/v2/repository/index", "list the server's models", body=b"{}")
        keys = ("name", "version", "state", "reason")
        return tuple(IndexEntry(**{key: entry[key] for key in keys if key in entry}) for entry in answer)

    def load(self, model: str) -> None:
        """Load a model, and the composing models of an ensemble; returns when they are loaded."""
        self._command(model, "load", {})

    def unload(self, model: str, *, dependents: bool = True) -> None:
        """Begin to unload a model, by default with the composing models that came with it."""
        self._command(model, "unload", {"parameters": {"unload_dependents": dependents}})

    def trace(self, model: str = "", changes: TraceSettings | None = None) -> TraceSettings:
        """Trace settings of a model, without a name those of all models; `changes` are made first."""
        path = f"/v2/models/{quote(model, safe='')}/trace/setting" if model else "/v2/trace/setting"
        # Only levels are a list here.
        document = {
            name: (list(values) if name == "trace_level" else values[0]) if values else None
            for name, values in (changes or {}).items()
        }
        body = json.dumps(document).encode() if document else None
        answer = self._http.read("POST" if body else "GET", path, tracing(model, changes), model, body)
        return {name: (value,) if isinstance(value, str) else tuple(value) for name, value in answer.items()}

    def behind(self, model: str) -> tuple[str, ...]:
        """Every model that an ensemble runs, ensembles among them included; none for a plain model."""
        return models_behind(model, self._steps)

    def metadata(self, model: str) -> ModelMetadata:
        """Inputs, outputs, batching and, of an ensemble, the models behind it."""
        answer = self._http.read("GET", self._path(model), f"read the metadata of model {model!r}", model)
        config = self._config(model)
        max_batch = int(config.get("max_batch_size", 0))
        optional = {tensor["name"] for tensor in config.get("input", ()) if tensor.get("optional")}

        def spec(tensor: Mapping[str, Any]) -> TensorSpec:
            shape = tuple(int(size) for size in tensor["shape"])
            name = tensor["name"]
            return TensorSpec(name, tensor["datatype"], shape[1:] if max_batch else shape, name in optional)

        return ModelMetadata(
            name=answer["name"],
            version=max(answer.get("versions", ()), key=version_order, default=""),
            platform=answer.get("platform", ""),
            max_batch_size=max_batch,
            inputs=tuple(spec(tensor) for tensor in answer["inputs"]),
            outputs=tuple(spec(tensor) for tensor in answer["outputs"]),
            composing_models=composing_models(model, self._steps),
            facts=facts_in(model, config),
            sequences="sequence_batching" in config,
            decoupled=bool(config.get("model_transaction_policy", {}).get("decoupled")),
        )

    def statistics(self, models: Sequence[str]) -> tuple[ModelStatistics, ...]:
        """Counters of each model since the server started, all its versions together."""
        return tuple(self._statistics_of(model) for model in models)

    def encode(self, model: str, inputs: Tensors) -> bytes:
        """The headers that differ from request to request, an empty line, and the body."""
        return joined(*self._request(model, inputs))

    def tensor_bytes(self, model: str, name: str, array: Array) -> bytes:
        """An input as it lies in shared memory."""
        datatypes = datatypes_of(self._metadata_of(model), [name])
        with input_of(model, name):
            return to_wire(array, datatypes[name])

    def encode_shared(
        self, model: str, inputs: Mapping[str, SharedTensor], outputs: Mapping[str, SharedTensor]
    ) -> bytes:
        """As `encode`, of tensors that lie in registered regions."""
        datatypes = datatypes_of(self._metadata_of(model), inputs)
        return joined(*self._writer.shared(inputs, outputs, datatypes))

    def register_region(self, region: Region) -> None:
        """Tell the server of a region; it opens it now."""
        if region.kind == "system":
            how = {"key": f"/{region.name}", "offset": 0}
        else:
            cuda: Any = region
            how = {"raw_handle": {"b64": b64encode(cuda.handle).decode()}, "device_id": cuda.device}
        doing = f"register {region.kind} shared memory {region.name!r} of {region.size} bytes"
        path = f"{_region_path(region.kind, region.name)}/register"
        self._http.command(path, {**how, "byte_size": region.size}, doing)

    def unregister_region(self, kind: SharedMemoryKind, name: str) -> bool:
        """Make the server forget one region; of an unknown one it says nothing. False while a request uses it."""
        path = f"{_region_path(kind, one_region(name))}/unregister"
        return is_forgotten(lambda: self._http.command(path, {}, f"unregister {kind} shared memory {name!r}"))

    def registered_regions(self, kind: SharedMemoryKind) -> tuple[str, ...]:
        """Names of the regions that the server knows, whosever they are."""
        answer = self._http.read("GET", f"/v2/{kind}sharedmemory/status", f"list the {kind} shared memory")
        return tuple(sorted(region["name"] for region in answer))

    def encode_stream(self, model: str, inputs: Tensors) -> bytes:
        """There are no streams over HTTP."""
        raise _no_streams()

    def encode_answer(self, model: str, outputs: Tensors) -> bytes:
        """One ModelInferResponse, as over gRPC."""
        return encoded_answer(self._metadata_of(model).outputs, outputs)

    def replies(
        self, model: str, message: bytes, *, stream: bool = False, timeout_s: float = 60.0
    ) -> tuple[bytes, ...]:
        """The answer to an encoded request, as a ModelInferResponse."""
        headers, body = parts(message)
        return (answer(self._answered(model, "get a reference answer", timeout_s, body, headers)),)

    def infer(self, model: str, inputs: Tensors, timeout_s: float = 10.0) -> dict[str, Array]:
        """One real inference."""
        headers, body = self._request(model, inputs)
        doing = f"call model {model!r}"
        outputs = self._answered(model, doing, timeout_s, body, headers)
        try:
            return {name: from_wire(raw, datatype, shape) for name, datatype, shape, raw in outputs}
        except ValueError as error:
            raise _invalid(model, error) from error

    def _answered(
        self, model: str, doing: str, timeout_s: float, body: bytes, headers: Mapping[str, str]
    ) -> list[Output]:
        path = self._infer_path(model)
        answered, content = self._http.reach("POST", path, doing, model, body, headers, timeout_s)
        try:
            return list(outputs_of(answered.get(HEAD_LENGTH), content))
        except (ValueError, KeyError, TypeError) as error:
            raise _invalid(model, error) from error

    def close(self) -> None:
        """Nothing is kept open."""

    def _config(self, model: str) -> dict[str, Any]:
        doing = f"read the configuration of model {model!r}"
        config: dict[str, Any] = self._http.read("GET", f"{self._path(model)}/config", doing, model)
        return config

    def _steps(self, model: str) -> list[EnsembleStep]:
        steps = self._config(model).get("ensemble_scheduling", {}).get("step", ())
        return [
            EnsembleStep(
                step["model_name"],
                frozenset(step.get("input_map", {}).values()),
                frozenset(step.get("output_map", {}).values()),
            )
            for step in steps
        ]

    def _statistics_of(self, model: str) -> ModelStatistics:
        answer = self._http.read("GET", f"{self._path(model)}/stats", f"read the statistics of model {model!r}", model)
        return statistics_in(model, answer["model_stats"])

    def _request(self, model: str, inputs: Tensors) -> tuple[dict[str, str], bytes]:
        """Headers and body of one inference."""
        return self._writer.inference(model, inputs, datatypes_of(self._metadata_of(model), inputs))

    def _path(self, model: str) -> str:
        version = self._calls.version_of(model)
        return f"/v2/models/{quote(model, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "")

    def _infer_path(self, model: str) -> str:
        return f"{self._path(model)}/infer"

    def _metadata_of(self, model: str) -> ModelMetadata:
        if model not in self._known:
            self._known[model] = self.metadata(model)
        return self._known[model]

    def _command(self, model: str, verb: str, document: Mapping[str, Any]) -> None:
        """Ask for a change of the repository."""
        path = f"/v2/repository/models/{quote(model, safe='')}/{verb}"
        self._http.command(path, document, f"{verb} model {model!r}", model)
