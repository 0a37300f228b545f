"""What it takes to be let in: headers and certificates of an endpoint, and those that a workload brings."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from runner.errors import ServiceError
from runner.services.base import Endpoint
from runner.services.tls import Tls, load_tls

if TYPE_CHECKING:
    from runner.scenario.schema import Workload

Headers = tuple[tuple[str, str], ...]
Metadata = tuple[tuple[str, str | bytes], ...]


class RefusedError(ServiceError):
    """Something answers and will not let us in; waiting does not help."""


def tls_for(endpoint: Endpoint, workload: Workload) -> Tls | None:
    """The workload's settings where it has any, else the endpoint's."""
    return endpoint.tls if workload.tls is None else load_tls(workload.tls)


def headers_for(endpoint: Endpoint, workload: Workload) -> Headers:
    """Those of the endpoint and of the workload; of one name, in whatever case, the workload's."""
    return merged(endpoint.headers, workload.headers.items())


def merged(below: Iterable[tuple[str, str]], above: Iterable[tuple[str, str]]) -> Headers:
    """Both, without those of `below` that `above` has, too."""
    above = tuple(above)
    names = {name.lower() for name, _ in above}
    return (*((name, value) for name, value in below if name.lower() not in names), *above)


def metadata_of(headers: Iterable[tuple[str, str]]) -> Metadata:
    """Headers as gRPC's Python API takes them: small letters, and bytes where the name says that they may be any."""
    lower = ((name.lower(), value) for name, value in headers)
    return tuple((name, value.encode() if name.endswith("-bin") else value) for name, value in lower)


def wire_headers(metadata: Metadata) -> Headers:
    """Metadata as HTTP/2 carries it: bytes in base64."""
    return tuple(
        (name, base64.b64encode(value).decode() if isinstance(value, bytes) else value) for name, value in metadata
    )


def is_restricted(said: str) -> bool:
    """Whether it is for want of a header that a server refuses: Triton's `--grpc-restricted-protocol`."""
    return "is restricted" in said


def tls_hint(details: str) -> str | None:
    """What to do when it is the handshake that fails."""
    return HANDSHAKE if re.search(r"(?i)ssl|tls|certificate|handshake|hostname verification", details) else None


def unavailable_hint(details: str, encrypted: bool) -> str:
    """What to do when gRPC has no connection."""
    if re.search("failed to connect.*Socket closed", details):
        return closed_hint(encrypted)
    return tls_hint(details) or NOBODY


def closed_hint(encrypted: bool) -> str:
    """What to do when something accepts connections and closes them without a word."""
    return NO_IDENTITY if encrypted else CLEAR_TEXT


NOBODY = "nothing answers there: is the server running?"
HANDSHAKE = "the TLS handshake failed: see workload.tls, or launch.tls (ca, cert, key, server_name)"
NO_IDENTITY = (
    "the server takes the connection and closes it: it may want a client's certificate (workload.tls.cert, or "
    "launch.tls.cert)"
)
CLEAR_TEXT = "the server takes the connection and closes it: it may speak another protocol there, or want TLS"
CREDENTIALS = "the server wants other credentials: see workload.headers, or launch.headers"
