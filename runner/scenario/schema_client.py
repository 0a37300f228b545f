"""What loads can say of the client that makes them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from runner.scenario.schema_base import Strict, refuse

MAX_RATE = 10_000_000.0
"""Requests per second."""

_Limit = Annotated[int, Field(ge=1, le=1_000_000)]


class ClientSettings(Strict):
    """What every load can say of the client that makes it."""

    connections: int | None = Field(default=None, ge=1, le=1024)
    """Connections of each engine thread to each endpoint; by default one over gRPC, over HTTP one for each request in
    flight."""
    streams_per_connection: int | None = Field(default=None, ge=1, le=1_000_000)
    """Most gRPC requests in flight on a connection; connections are then as many as that takes."""
    workers: int | None = Field(default=None, ge=1, le=256)
    """Engine threads; by default one for eight processors, at most four, with at least 16 requests in flight each; for
    an open loop at least two."""
    pin_cpus: tuple[Annotated[int, Field(ge=0, le=4095)], ...] | None = None
    """Processors that the engine threads are pinned to in turn."""


class OpenLoad(ClientSettings):
    """What every open loop has: requests leave at their times, whether or not earlier ones were answered."""

    max_in_flight: _Limit = 10_000
    """A request that is due while so many are in flight is not sent but counted as dropped."""

    @model_validator(mode="after")
    def _connections_are_known(self) -> Self:
        if self.streams_per_connection is not None and self.connections is None:
            problem = "expected `connections` beside it: an open loop does not say how many requests are in flight"
            raise refuse("streams_per_connection", problem, "write `connections`")
        return self
