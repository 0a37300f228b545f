"""The KServe (Triton) protocol over HTTP/1.1: JSON with the binary-tensor extension, or JSON alone."""

from __future__ import annotations

import http.client
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from runner.errors import ServiceError
from runner.results.records import ModelStatistics
from runner.services.access import CREDENTIALS, RefusedError, headers_for, tls_for, tls_hint
from runner.services.answers import answer, encoded_answer
from runner.services.base import Endpoint, ModelMetadata, Route, Tensors, TensorSpec
from runner.services.calls import Calls
from runner.services.compression import compressed
from runner.services.control import IndexEntry, RepositoryView, ServerFacts
from runner.services.document import request_document
from runner.services.names import datatypes_of, is_unknown_model, nearest_model, version_order
from runner.services.pipeline import EnsembleStep, composing_models, models_behind
from runner.services.statistics import facts_in, statistics_in
from runner.services.tensors import WIRE, from_wire, to_wire
from runner.services.tls import Tls

if TYPE_CHECKING:
    from runner.scenario.schema import Workload

Array = npt.NDArray[np.generic]
Output = tuple[str, str, Sequence[int], bytes]
"""Name, datatype, shape, and bytes as in the binary form."""
_HEAD_LENGTH = "Inference-Header-Content-Length"
_NO_JSON = ("FP16", "BF16")
"""Triton does not take these as JSON."""


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
        self._address = address
        self._sequences = sequences
        self._calls = calls
        self._outputs = outputs or tensors
        self._timeout_s = timeout_s
        self._tensors = tensors
        self._headers = tuple(headers)
        self._tls, self._compression = tls, compression
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
        try:
            status, _, body = self._exchange("GET", f"{self._path(model)}/ready", self._timeout_s)
        except ConnectionError:
            return False
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error, f"ask whether model {model!r} is ready", self._timeout_s) from error
        if status in (401, 403):
            raise self._refusal(status, body, f"ask whether model {model!r} is ready", model)
        return status == 200

    def server(self) -> ServerFacts:
        """Identifier, version and abilities of the server."""
        answer = self._json("GET", "/v2", "read the server's version")
        return ServerFacts(answer["name"], answer["version"], tuple(answer.get("extensions", ())))

    def index(self) -> tuple[IndexEntry, ...]:
        """The repository, each version of each model."""
        answer = self._json("POST", "/v2/repository/index", "list the server's models", body=b"{}")
        keys = ("name", "version", "state", "reason")
        return tuple(IndexEntry(**{key: entry[key] for key in keys if key in entry}) for entry in answer)

    def load(self, model: str) -> None:
        """Load a model, and the composing models of an ensemble; returns when they are loaded."""
        self._command(model, "load", {})

    def unload(self, model: str, *, dependents: bool = True) -> None:
        """Begin to unload a model, by default with the composing models that came with it."""
        self._command(model, "unload", {"parameters": {"unload_dependents": dependents}})

    def behind(self, model: str) -> tuple[str, ...]:
        """Every model that an ensemble runs, ensembles among them included; none for a plain model."""
        return models_behind(model, self._steps)

    def metadata(self, model: str) -> ModelMetadata:
        """Inputs, outputs, batching and, of an ensemble, the models behind it."""
        answer = self._json("GET", self._path(model), f"read the metadata of model {model!r}", model)
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
        headers, body = self._request(model, inputs)
        headers["Content-Length"] = str(len(body))
        return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode() + b"\r\n" + body

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
        head, _, body = message.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
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
        status, answered, content = self._reach("POST", self._infer_path(model), doing, timeout_s, body, headers)
        if status != 200:
            raise self._refusal(status, content, doing, model)
        try:
            return list(_outputs(answered.get(_HEAD_LENGTH), content))
        except (ValueError, KeyError, TypeError) as error:
            raise _invalid(model, error) from error

    def close(self) -> None:
        """Nothing is kept open."""

    def _config(self, model: str) -> dict[str, Any]:
        doing = f"read the configuration of model {model!r}"
        config: dict[str, Any] = self._json("GET", f"{self._path(model)}/config", doing, model)
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
        answer = self._json("GET", f"{self._path(model)}/stats", f"read the statistics of model {model!r}", model)
        return statistics_in(model, answer["model_stats"])

    def _request(self, model: str, inputs: Tensors) -> tuple[dict[str, str], bytes]:
        """Headers and body of one inference."""
        datatypes = datatypes_of(self._metadata_of(model), inputs)
        heads, raw = list[dict[str, Any]](), list[bytes]()
        for name, array in inputs.items():
            head: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatypes[name]}
            try:
                wire = to_wire(array, datatypes[name])
                if self._tensors == "json":
                    head["data"] = _as_json(array, datatypes[name])
                else:
                    head["parameters"] = {"binary_data_size": len(wire)}
                    raw.append(wire)
            except ValueError as error:
                raise ServiceError(f"input {name!r} of model {model!r}: {error}") from error
            heads.append(head)
        binary = self._tensors == "binary"
        parameters = dict(self._calls.parameters)
        if self._outputs == "binary":
            parameters["binary_data_output"] = True
        json_part = request_document({"inputs": heads}, parameters, in_sequence=self._sequences)
        headers = {"Content-Type": "application/octet-stream" if binary else "application/json"}
        if binary:
            headers[_HEAD_LENGTH] = str(len(json_part))
        if self._compression:
            headers["Content-Encoding"] = self._compression
        return headers, compressed(b"".join([json_part, *raw]), self._compression)

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
        path, doing = f"/v2/repository/models/{quote(model, safe='')}/{verb}", f"{verb} model {model!r}"
        status, _, content = self._reach("POST", path, doing, self._timeout_s, json.dumps(document).encode())
        if status != 200:
            raise self._refusal(status, content, doing, model)

    def _json(self, method: str, path: str, doing: str, model: str = "", body: bytes | None = None) -> Any:
        status, _, content = self._reach(method, path, doing, self._timeout_s, body)
        if status != 200:
            raise self._refusal(status, content, doing, model)
        try:
            return json.loads(content)
        except ValueError as error:
            raise ServiceError(
                f"could not {doing} at {self._address}: the answer is not JSON",
                hint="this server does not speak Triton's KServe v2",
            ) from error

    def _reach(
        self,
        method: str,
        path: str,
        doing: str,
        timeout_s: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        try:
            return self._exchange(method, path, timeout_s, body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error, doing, timeout_s) from error

    def _exchange(
        self,
        method: str,
        path: str,
        timeout_s: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = _connection(self._address, self._tls, timeout_s)
        try:
            connection.request(method, path, body, {**dict(self._headers), **(headers or {})})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def _unreachable(self, error: Exception, doing: str, limit_s: float) -> ServiceError:
        where = f"could not {doing} at {self._address}"
        if isinstance(error, TimeoutError):
            return ServiceError(
                f"{where}: no answer within {limit_s:g} s",
                hint="the server accepts connections but does not answer; look at its log and its load",
            )
        if type(error).__module__ == "ssl" or "SSL" in str(error):
            return RefusedError(f"{where}: {error}", hint=tls_hint("tls"))
        what = f"{where}: {str(error) or type(error).__name__}"
        return ServiceError(what, hint="nothing answers there: is the server running?")

    def _refusal(self, status: int, content: bytes, doing: str, model: str) -> ServiceError:
        """What the server says, in its own words where it has any."""
        try:
            said = str(json.loads(content)["error"])
        except (ValueError, KeyError, TypeError):
            said = content[:300].decode(errors="replace").strip()
        where = f"could not {doing} at {self._address}: HTTP {status}: {said}"
        if is_unknown_model(said):
            return ServiceError(where, hint=nearest_model(model, self.models))
        if status in (401, 403):
            return RefusedError(where, hint=CREDENTIALS)
        return ServiceError(where, hint="the server refused it; its log says more")


class _NamedHttps(http.client.HTTPSConnection):
    """A connection whose server may be certified under another name than its address."""

    def __init__(self, host: str, tls: Tls, timeout_s: float) -> None:
        self.tls_context = tls.context("http/1.1")
        self.server_name = tls.server_name
        super().__init__(host, timeout=timeout_s, context=self.tls_context)

    def connect(self) -> None:
        """Connect and shake hands."""
        http.client.HTTPConnection.connect(self)
        self.sock = self.tls_context.wrap_socket(self.sock, server_hostname=self.server_name or self.host)


def _connection(address: str, tls: Tls | None, timeout_s: float) -> http.client.HTTPConnection:
    return (
        http.client.HTTPConnection(address, timeout=timeout_s) if tls is None else _NamedHttps(address, tls, timeout_s)
    )


def _as_json(array: Array, datatype: str) -> list[Any]:
    """The elements in row-major order.

    Raises:
        ValueError: JSON cannot carry them.
    """
    if datatype in _NO_JSON:
        raise ValueError(f"a {datatype} tensor cannot travel as JSON; use workload.tensors: binary")
    if datatype == "BYTES":
        try:
            return [e.decode() if isinstance(e, bytes) else str(e) for e in array.flatten().tolist()]
        except UnicodeDecodeError as error:
            raise ValueError("bytes that are not UTF-8 cannot travel as JSON; use workload.tensors: binary") from error
    if array.dtype.kind == "f" and not np.isfinite(array.astype(np.float64)).all():
        raise ValueError("infinities and NaN cannot travel as JSON; use workload.tensors: binary")
    return list(array.flatten().tolist())


def _outputs(head_length: str | None, content: bytes) -> Iterator[Output]:
    split = len(content) if head_length is None else int(head_length)
    position = split
    for tensor in json.loads(content[:split])["outputs"]:
        name, datatype, shape = tensor["name"], tensor["datatype"], tensor["shape"]
        if "data" in tensor:
            yield name, datatype, shape, to_wire(_from_json(tensor["data"], datatype, shape), datatype)
            continue
        size = int(tensor["parameters"]["binary_data_size"])
        yield name, datatype, shape, content[position : position + size]
        position += size


def _from_json(data: Any, datatype: str, shape: Sequence[int]) -> Array:
    if datatype == "BYTES":
        elements = np.empty(math.prod(shape), dtype=np.object_)
        elements[:] = [str(element).encode() for element in np.array(data, dtype=np.object_).flatten()]
        return elements.reshape(tuple(shape))
    if datatype not in WIRE:
        raise ValueError(f"a {datatype} tensor in JSON")
    return np.array(data, dtype=WIRE[datatype]).reshape(tuple(shape))
