"""What it takes to be let in: headers and certificates of an endpoint, and those that a workload brings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from runner.errors import ServiceError
from runner.services.base import Endpoint
from runner.services.tls import Tls, load_tls

if TYPE_CHECKING:
    from runner.scenario.schema import Workload

Headers = tuple[tuple[str, str], ...]


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


def is_restricted(said: str) -> bool:
    """Whether it is for want of a header that a server refuses: Triton's `--grpc-restricted-protocol`."""
    return "is restricted" in said


def tls_hint(details: str) -> str | None:
    """What to do when it is the handshake that fails."""
    if re.search(r"(?i)ssl|tls|certificate|handshake", details):
        return "the TLS handshake failed: see workload.tls, or launch.tls (ca, cert, key, server_name)"
    return None


def unreachable_hint(details: str) -> str:
    """What to do when no call comes through over gRPC."""
    if re.search("Socket closed|http1", details):
        return "something listens there: an HTTP port (gRPC is usually on 8001), or a server that is just starting"
    return "nothing answers there: is the server running?"


NO_HTTP = "perhaps it is a gRPC port (HTTP is usually on 8000): name the other port, or the other protocol"
CREDENTIALS = "the server wants other credentials: see workload.headers, or launch.headers"
