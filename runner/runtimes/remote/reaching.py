"""From a launch to an endpoint, and whether anything listens there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from runner.runtimes.base import Finding
from runner.scenario.schema import RemoteLaunch
from runner.services.base import Endpoint
from runner.services.tls import load_tls

_CONNECT_TIMEOUT_S = 2.0


def endpoint_of(launch: RemoteLaunch) -> Endpoint:
    """Where the server is, with what it takes to be let in.

    Raises:
        ServiceError: a certificate or key cannot be read.
    """
    return Endpoint(
        http=launch.http_address or "",
        grpc=launch.grpc_address or "",
        metrics=launch.metrics_url,
        tls=load_tls(launch.tls, "launch.tls") if launch.tls else None,
        headers=tuple(launch.headers.items()),
    )


def findings(launch: RemoteLaunch) -> Iterator[Finding]:
    """Whether each address takes connections."""
    places = {"gRPC": launch.grpc_address, "HTTP": launch.http_address, "metrics": _netloc(launch.metrics_url)}
    for what, address in places.items():
        if address is not None:
            yield _listening(what, address)


def _netloc(url: str | None) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _listening(what: str, address: str) -> Finding:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        detail, remedy = f"nothing listens at {address}: {error}", "start the server, or correct `launch`"
        return Finding(what, "warn" if what == "metrics" else "fail", detail, remedy)
    return Finding(what, "ok", f"{address} takes connections")
