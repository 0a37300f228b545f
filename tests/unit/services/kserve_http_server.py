"""A `FakeServer` that really speaks KServe over HTTP/1.1, also under TLS; and certificates made on the spot."""

from __future__ import annotations

import gzip
import json
import ssl
import subprocess
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from runner.services.fake import FakeServer
from runner.services.tensors import WIRE, from_wire, to_wire


@dataclass
class HttpServer:
    """Where it listens and what it saw."""

    address: str
    headers: list[dict[str, str]] = field(default_factory=list)
    regions: dict[str, dict[str, Any]] = field(default_factory=lambda: {"system": {}, "cuda": {}})
    """Of each kind, name -> what it was registered with."""
    in_use: set[str] = field(default_factory=set)
    """Regions that are not forgotten."""
    parameters: list[dict[str, Any]] = field(default_factory=list)
    """Of each inference."""


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Failed handshakes are what some tests are about."""


@contextmanager
def serving_http(fake: FakeServer, context: ssl.SSLContext | None = None) -> Iterator[HttpServer]:
    """Serve on a free port of this machine."""
    seen = HttpServer("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            if context is not None:
                self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            if self.path.endswith("sharedmemory/status"):
                known = seen.regions[_kind_of(self.path)]
                self._answer(200, [{"name": name, **how} for name, how in known.items()])
                return
            self._answer(*_described(fake, self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.headers.append(dict(self.headers))
            if self.path.startswith("/v2/repository/"):
                self._answer(*_controlled(fake, self.path, json.loads(body)))
                return
            if "sharedmemory/" in self.path:
                self._answer(*_shared(seen, self.path, json.loads(body)))
                return
            match self.headers.get("Content-Encoding"):
                case "gzip":
                    body = gzip.decompress(body)
                case "deflate":
                    body = zlib.decompress(body)
            model = self.path.split("/")[3]
            split = int(self.headers.get("Inference-Header-Content-Length") or len(body))
            head = json.loads(body[:split])
            seen.parameters.append(head.get("parameters", {}))
            inputs, position = {}, split
            for tensor in head["inputs"]:
                if "data" in tensor:
                    inputs[tensor["name"]] = np.array(tensor["data"], WIRE[tensor["datatype"]]).reshape(tensor["shape"])
                    continue
                size = tensor["parameters"]["binary_data_size"]
                inputs[tensor["name"]] = from_wire(
                    body[position : position + size], tensor["datatype"], tensor["shape"]
                )
                position += size
            try:
                outputs = fake.call(model, inputs)
            except ValueError as error:
                self._answer(500, {"error": str(error)})
                return
            self._outputs(model, outputs, binary=head.get("parameters", {}).get("binary_data_output", False))

        def _outputs(self, model: str, outputs: dict[str, Any], *, binary: bool) -> None:
            heads, raw = [], b""
            types = {tensor.name: tensor.datatype for tensor in fake.models[model].metadata.outputs}
            for name, array in outputs.items():
                wire = to_wire(array, types[name])
                how = {"parameters": {"binary_data_size": len(wire)}} if binary else {"data": array.flatten().tolist()}
                heads.append({"name": name, "datatype": types[name], "shape": list(array.shape), **how})
                raw += wire if binary else b""
            text = json.dumps({"model_name": model, "outputs": heads}).encode()
            self._send(200, text + raw, {"Inference-Header-Content-Length": str(len(text))} if binary else {})

        def _answer(self, status: int, document: Any) -> None:
            self._send(status, json.dumps(document).encode(), {})

        def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    server = _Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    seen.address = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _kind_of(path: str) -> str:
    return path.split("/")[2].removesuffix("sharedmemory")


def _shared(seen: HttpServer, path: str, document: dict[str, Any]) -> tuple[int, Any]:
    """Answer to a POST below /v2/systemsharedmemory or /v2/cudasharedmemory, in Triton's words."""
    # Without a name it would be about every region.
    *_, region, name, verb = path.split("/")
    assert (region, bool(name)) == ("region", True)
    known = seen.regions[_kind_of(path)]
    if verb == "register" and name in known:
        return 400, {"error": f"shared memory region '{name}' already in manager"}
    if name in seen.in_use:
        return 500, {"error": f"Cannot unregister shared memory region '{name}', it is currently in use."}
    if verb == "register":
        known[name] = document
    else:
        known.pop(name, None)
    return 200, {}


def _controlled(fake: FakeServer, path: str, document: dict[str, Any]) -> tuple[int, Any]:
    """Answer to a POST below /v2/repository."""
    if path == "/v2/repository/index":
        never = {name: {} for name in fake.models if name in fake.unloaded}
        states = {name: never.get(name, {"version": "1", "state": "READY"}) for name in fake.models}
        return 200, [{"name": name, **state} for name, state in states.items()]
    _, _, _, _, model, verb = path.split("/")
    try:
        if verb == "load":
            fake.load(model)
        else:
            fake.unload(model, dependents=document["parameters"]["unload_dependents"])
    except ValueError as error:
        return 503, {"error": str(error)}
    return 200, {}


def _described(fake: FakeServer, path: str) -> tuple[int, Any]:
    """Answer to a GET."""
    if path == "/v2":
        return 200, {"name": "fake", "version": "1.0", "extensions": ["statistics"]}
    _, _, _, model, *what = path.split("/")
    if model not in fake.models:
        return 400, {"error": f"Request for unknown model: '{model}' is not found"}
    metadata = fake.models[model].metadata
    match what:
        case ["ready"]:
            return (200 if fake.ready(model) else 400), {}
        case ["config"]:
            return 200, {
                "max_batch_size": metadata.max_batch_size,
                "input": [{"name": t.name} for t in metadata.inputs],
            }
        case ["stats"]:
            return 200, {"model_stats": [_statistics(fake, model)]}

    def tensor(spec: Any) -> dict[str, Any]:
        return {"name": spec.name, "datatype": spec.datatype, "shape": [-1, *spec.shape]}

    return 200, {
        "name": model,
        "versions": [metadata.version],
        "platform": metadata.platform,
        "inputs": [tensor(t) for t in metadata.inputs],
        "outputs": [tensor(t) for t in metadata.outputs],
    }


def _statistics(fake: FakeServer, model: str) -> dict[str, Any]:
    counted = fake.statistics(model)
    return {
        "name": model,
        "version": counted.version,
        "inference_count": counted.inference_count,
        "execution_count": counted.execution_count,
        "inference_stats": {
            "success": {"count": counted.success_count, "ns": counted.success_ns},
            "fail": {"count": counted.failure_count},
            "compute_infer": {"ns": counted.compute_infer_ns},
        },
        "batch_stats": [
            {"batch_size": batch.size, "compute_infer": {"count": batch.count, "ns": batch.compute_infer_ns}}
            for batch in counted.batches
        ],
    }


@dataclass(frozen=True)
class Certificates:
    """Files below one folder: a CA, a server's certificate for localhost and 127.0.0.1, a client's, another CA."""

    folder: Path

    def __getattr__(self, name: str) -> str:
        return str(self.folder / name.replace("_", "."))

    def context(self, *, mutual: bool = False) -> ssl.SSLContext:
        """For the server's side."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server_crt, self.server_key)
        if mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca_crt)
        return context


def make_certificates(folder: Path) -> Certificates:
    """Make everything anew with the openssl command."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    for name in ("ca", "stranger"):
        openssl(
            *("req", "-x509", *new_key, "-subj", f"/CN=Test {name}", "-keyout", f"{name}.key", "-out", f"{name}.crt"),
            *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign"),
        )
    for name in ("server", "client"):
        (folder / f"{name}.ext").write_text(
            "subjectAltName=DNS:localhost,IP:127.0.0.1\n" if name == "server" else "extendedKeyUsage=clientAuth\n"
        )
        openssl("req", *new_key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "2", "-out", f"{name}.crt", "-extfile", f"{name}.ext"),
        )
    for name in ("ca", "client"):
        openssl("x509", "-in", f"{name}.crt", "-outform", "DER", "-out", f"{name}.der")
    openssl("ec", "-in", "client.key", "-outform", "DER", "-out", "client-sec1.der")
    openssl("pkcs8", "-topk8", "-nocrypt", "-in", "client.key", "-outform", "DER", "-out", "client-pkcs8.der")
    return Certificates(folder)
