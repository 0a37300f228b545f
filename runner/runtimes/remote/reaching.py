"""From a launch to an endpoint, whether anything listens there, and waiting until it answers."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from runner.errors import ServiceError
from runner.runtimes.base import Finding
from runner.scenario.schema import RemoteLaunch
from runner.services.access import RefusedError
from runner.services.base import Endpoint
from runner.services.control import Control, ServerFacts
from runner.services.tls import load_tls

_CONNECT_TIMEOUT_S = 2.0
_PAUSE_S = 0.1


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


def check_names(launch: RemoteLaunch) -> None:
    """Look up the hosts of the server.

    Raises:
        RefusedError: nobody knows one of them.
    """
    for address in filter(None, (launch.grpc_address, launch.http_address)):
        host, _ = _parts(address)
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise RefusedError(
                f"the host name of {address} does not resolve: {reason}",
                hint="check its spelling, and that this machine's DNS or /etc/hosts knows it",
            ) from error


def answering(
    control: Control, address: str, timeout_s: float, listens_within_s: float, say: Callable[[str], None]
) -> ServerFacts:
    """What the server says of itself, once it does; `say` hears what is waited for.

    Raises:
        ServiceError: it will not let us in, nothing listens there, or it says nothing in time.
    """
    began, said = time.monotonic(), ""
    while True:
        try:
            return control.server()
        except RefusedError:
            raise
        except ServiceError as error:
            refused = _refuses(address)
            limit_s = min(timeout_s, listens_within_s) if refused else timeout_s
            if time.monotonic() - began >= limit_s:
                raise _absent(address, limit_s, error, refused) from error
        waiting = f"waiting up to {limit_s:g} s until {address} {'takes connections' if refused else 'answers'}"
        if waiting != said:
            say(said := waiting)
        time.sleep(_PAUSE_S)


def _absent(address: str, limit_s: float, error: ServiceError, refused: bool) -> ServiceError:
    # Triton listens once it has loaded its models, which may take longer than a wrong address is worth.
    more = "start it first, or correct its address; " if refused else ""
    message = f"the server at {address} did not answer within {limit_s:g} s: {error.message}"
    return ServiceError(message, hint=f"{error.hint}; {more}server.ready.timeout waits longer")


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


def _refuses(address: str) -> bool:
    try:
        socket.create_connection(_parts(address), timeout=_CONNECT_TIMEOUT_S).close()
    except ConnectionRefusedError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _listening(what: str, address: str) -> Finding:
    try:
        socket.create_connection(_parts(address), timeout=_CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        detail, remedy = f"nothing listens at {address}: {error}", "start the server, or correct `launch`"
        return Finding(what, "warn" if what == "metrics" else "fail", detail, remedy)
    return Finding(what, "ok", f"{address} takes connections")
