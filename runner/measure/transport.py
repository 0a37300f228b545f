"""A service's route as the engine's transport."""

from __future__ import annotations

from runner.load.plan import GrpcUnary, Http, Identity, Tls
from runner.services.base import Route


def transport(route: Route, *, streaming: bool = False) -> GrpcUnary | Http:
    """`streaming` if the route is that of a bidirectional stream.

    Connections are the engine's defaults: one for gRPC, one per request in flight for HTTP."""
    tls = _tls(route)
    if route.kind == "http":
        return Http(endpoint=route.address, path=route.path, headers=route.headers, tls=tls)
    return GrpcUnary(
        endpoint=route.address,
        method=route.path,
        metadata=route.headers,
        streaming=streaming,
        tls=tls,
        encoding=route.encoding,
    )


def _tls(route: Route) -> Tls | None:
    given = route.tls
    if given is None:
        return None
    identity = Identity(chain=given.chain, key=given.key) if given.chain and given.key else None
    return Tls(roots=given.roots, verify=given.verify, server_name=given.server_name, identity=identity)
