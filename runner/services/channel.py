"""The gRPC channel to one server, in clear text or encrypted."""

from __future__ import annotations

from typing import Any

import grpc

from runner.services.tls import Tls, name_in

NOTHING_SHOWN = ("", "unknown")
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that is coming up refuses connections; the default backoff would then hide it for up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 500),
    # `http_proxy` in the environment must not come between us and a server on this machine.
    ("grpc.enable_http_proxy", 0),
    # Two clients of one address must not share a connection, or one's trouble becomes the other's.
    ("grpc.use_local_subchannel_pool", 1),
)


def channel_to(address: str, tls: Tls | None, shown: tuple[str, str] | None) -> Any:
    """A channel to one server; `shown` is for a server whose certificate is not verified."""
    if tls is None:
        return grpc.insecure_channel(address, options=_OPTIONS)
    options: tuple[tuple[str, Any], ...] = _OPTIONS
    roots = tls.roots
    if shown is not None:
        # gRPC cannot leave verification out: believe in the very certificate that the server shows, whoever's it is.
        roots, name = shown
        options = (*options, ("grpc.ssl_target_name_override", name))
    elif tls.server_name:
        options = (*options, ("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(
        root_certificates=roots.encode(),
        private_key=tls.key.encode() if tls.key else None,
        certificate_chain=tls.chain.encode() if tls.chain else None,
    )
    return grpc.secure_channel(address, credentials, options=options)


def shown_by(address: str, tls: Tls) -> tuple[str, str]:
    """The server's certificate and a name that is in it; nothing usable while the server is not up."""
    try:
        certificate = tls.presented(address)
    except OSError:
        return NOTHING_SHOWN
    return certificate, name_in(certificate)
