"""The control side of a service: who it is, which models it has, and loading and unloading them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from runner.results.records import ModelStatistics
    from runner.services.base import Endpoint


@dataclass(frozen=True)
class ServerFacts:
    """What a server says of itself."""

    name: str
    version: str
    extensions: tuple[str, ...] = ()


@dataclass(frozen=True)
class IndexEntry:
    """One version of a model in a server's repository."""

    name: str
    version: str = ""
    state: str = ""
    """READY, LOADING, UNLOADING or UNAVAILABLE; empty for a model that was never loaded."""
    reason: str = ""
    """Why it is unavailable."""

    @property
    def in_memory(self) -> bool:
        """On its way in or out included."""
        return self.state not in ("", "UNAVAILABLE")


TraceSettings = Mapping[str, tuple[str, ...]]
"""Name -> values in Triton's words: one, of `trace_level` any number; in a change none means as for all models."""


class Control(Protocol):
    """Every method raises `ServiceError` when the server refuses or does not answer in time."""

    def server(self) -> ServerFacts: ...

    def index(self) -> tuple[IndexEntry, ...]: ...

    def models(self) -> list[str]:
        """Names in the repository, loaded or not."""
        ...

    def loaded(self) -> list[str]:
        """Models that are in memory, on their way in or out included."""
        ...

    def ready(self, model: str) -> bool: ...

    def behind(self, model: str) -> tuple[str, ...]:
        """Every model that an ensemble runs, ensembles among them included; none for a plain model."""
        ...

    def statistics(self, models: Sequence[str]) -> tuple[ModelStatistics, ...]: ...

    def load(self, model: str) -> None:
        """Load a model, and the composing models of an ensemble; returns when they are loaded."""
        ...

    def unload(self, model: str, *, dependents: bool = True) -> None:
        """Begin to unload a model, by default with the composing models that came with it."""
        ...

    def trace(self, model: str = "", changes: TraceSettings | None = None) -> TraceSettings:
        """Trace settings of a model, without a name those of all models; `changes` are made first."""
        ...

    def close(self) -> None: ...


class RepositoryView(ABC):
    """What follows from a repository's index."""

    @abstractmethod
    def index(self) -> tuple[IndexEntry, ...]:
        """The repository, each version of each model."""

    def models(self) -> list[str]:
        """Names in the server's repository index, loaded or not."""
        return sorted({entry.name for entry in self.index()})

    def loaded(self) -> list[str]:
        """Models of the repository that are in memory, on their way in or out included."""
        return sorted({entry.name for entry in self.index() if entry.in_memory})


def control_of(endpoint: Endpoint, *, timeout_s: float) -> Control:
    """A client for the control side: over gRPC where the endpoint has it, else over HTTP."""
    if endpoint.grpc:
        from runner.services.kserve import KServeGrpc

        return KServeGrpc(endpoint.grpc, timeout_s=timeout_s, tls=endpoint.tls, headers=endpoint.headers)
    from runner.services.kserve_http import KServeHttp

    return KServeHttp(endpoint.http, timeout_s=timeout_s, tls=endpoint.tls, headers=endpoint.headers)
