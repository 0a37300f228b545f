"""A service's route as the engine's transport."""

from __future__ import annotations

from runner.load.plan import GrpcUnary, Http, Identity, Tls, Weighted
from runner.scenario.schema_client import ClientSettings
from runner.services.base import Route


def transport(
    route: Route,
    *,
    streaming: bool = False,
    client: ClientSettings = ClientSettings(),  # noqa: B008  # frozen
    weight: int = 1,
    others: tuple[Weighted, ...] = (),
) -> GrpcUnary | Http:
    """`streaming` if the route is that of a bidirectional stream; `others` share the load with it by weight.

    By default one connection for gRPC, as many as `streams_per_connection` takes where that is given, and one per
    request in flight for HTTP.
    """
    tls = _tls(route)
    if route.kind == "http":
        return Http(
            endpoint=route.address,
            path=route.path,
            headers=route.headers,
            connections=client.connections or 0,
            tls=tls,
            weight=weight,
            others=others,
        )
    streams = client.streams_per_connection or 0
    return GrpcUnary(
        endpoint=route.address,
        method=route.path,
        metadata=route.headers,
        connections=client.connections or (0 if streams else 1),
        max_streams=streams,
        streaming=streaming,
        tls=tls,
        encoding=route.encoding,
        accept=route.accept,
        weight=weight,
        others=others,
    )


def _tls(route: Route) -> Tls | None:
    given = route.tls
    if given is None:
        return None
    identity = Identity(chain=given.chain, key=given.key) if given.chain and given.key else None
    return Tls(roots=given.roots, verify=given.verify, server_name=given.server_name, identity=identity)
