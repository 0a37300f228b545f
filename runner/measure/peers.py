"""Several servers under one load: further endpoints beside the launched one, whose counters are read together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from runner.errors import ServiceError
from runner.load.plan import Weighted
from runner.results.records import ModelStatistics
from runner.results.stages import difference, went_backwards
from runner.results.together import models_together
from runner.services.base import Service

Readings = tuple[tuple[ModelStatistics, ...], ...]
"""Of each server the counters of each model."""


@dataclass(frozen=True)
class Peer:
    """One more server that shares the load."""

    service: Service
    address: str
    """host:port, for the protocol of the load."""
    weight: int


def spread(peers: Sequence[Peer]) -> tuple[Weighted, ...]:
    """The peers as the engine knows them."""
    return tuple(Weighted(endpoint=peer.address, weight=peer.weight) for peer in peers)


def check_peers(service: Service, peers: Sequence[Peer], model: str) -> None:
    """A load on different models would be no measurement of one.

    Raises:
        ServiceError: a peer does not answer, or serves another model of this name.
    """
    if not peers:
        return
    wanted = service.metadata(model)
    for number, peer in enumerate(peers):
        got = peer.service.metadata(model)
        for what in ("inputs", "outputs", "max_batch_size", "composing_models"):
            if getattr(got, what) != getattr(wanted, what):
                raise ServiceError(
                    f"workload.endpoints.{number}: model {model!r} at {peer.address} has other {what} than the "
                    f"launched server's: {getattr(got, what)}, not {getattr(wanted, what)}",
                    hint="serve the same model repository on every endpoint",
                )


def readings(services: Sequence[Service], models: Sequence[str]) -> Readings:
    """The counters of every server now."""
    return tuple(service.statistics(models) for service in services)


@dataclass(frozen=True)
class Growth:
    """What all servers together counted between two readings."""

    models: tuple[ModelStatistics, ...]
    restarted: tuple[str, ...]
    """Models whose counters went backwards on some server: a sum would hide that."""


def growth(before: Readings, after: Readings) -> Growth:
    """Differences of each server, summed by model."""
    deltas = [difference(early, late) for early, late in zip(before, after, strict=True)]
    restarted = dict.fromkeys(name for delta in deltas for name in went_backwards(delta))
    return Growth(tuple(_summed(parts) for parts in zip(*deltas, strict=True)), tuple(restarted))


def _summed(parts: Sequence[ModelStatistics]) -> ModelStatistics:
    versions = ",".join(sorted({version for part in parts for version in part.version.split(",")}))
    (together,) = models_together(replace(part, version=versions) for part in parts)
    return together
