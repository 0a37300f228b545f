"""Schema of a server that runs already: `launch: {kind: remote, …}`."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol, Self

from pydantic import Field, model_validator

from runner.scenario.schema_base import HOST, HTTP_URL, Strict, refuse
from runner.scenario.schema_workload import HostPort, TlsSettings

_HTTP, _GRPC, _METRICS = 8000, 8001, 8002
"""Triton's usual ports."""


class Credentials(Protocol):
    """What a workload brings to be let in."""

    @property
    def headers(self) -> dict[str, str]: ...
    @property
    def tls(self) -> TlsSettings | None: ...


class RemoteLaunch(Strict):
    """A server that somebody else runs: connected to, never started, stopped or set up."""

    kind: Literal["remote"]
    """How the server is reached."""
    url: Annotated[str, Field(pattern=HOST)] | None = None
    """`host` for Triton's usual ports 8000 (HTTP), 8001 (gRPC) and 8002 (metrics), or `host:port` for gRPC alone."""
    grpc: HostPort | None = None
    """host:port for gRPC."""
    http: HostPort | None = None
    """host:port for HTTP; a server with nothing else will do."""
    metrics: Annotated[str, Field(pattern=HTTP_URL)] | None = None
    """URL of its metrics, for telemetry."""
    tls: TlsSettings | None = None
    """Encrypt connections; `workload.tls` takes its place where there is one."""
    headers: dict[str, str] = Field(default={})
    """HTTP headers, or gRPC metadata, of every call; those of `workload.headers` are added, and win over their like."""
    model_control: Literal["never", "allowed"] = "never"
    """`allowed`: models that the workload needs and that are not there are loaded, and unloaded again at the end; the
    server must run with `--model-control-mode=explicit`."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.grpc_address is None and self.http_address is None:
            raise refuse("url", "expected where the server is", "write `url: host`, or `grpc: host:port`")
        return self

    @property
    def grpc_address(self) -> str | None:
        """host:port, where it serves gRPC."""
        if self.grpc is not None or self.url is None:
            return self.grpc
        return self.url if _has_port(self.url) else f"{self.url}:{_GRPC}"

    @property
    def http_address(self) -> str | None:
        """host:port, where it serves HTTP."""
        return self.http or self._usual(_HTTP)

    @property
    def metrics_url(self) -> str | None:
        """Where its metrics are."""
        usual = self._usual(_METRICS)
        return self.metrics or (f"http://{usual}/metrics" if usual else None)

    @property
    def address(self) -> str:
        """The one that names the server: gRPC, else HTTP."""
        return self.grpc_address or self.http_address or ""

    def as_reached_by(self, workload: Credentials) -> Self:
        """With the headers and certificates of a workload, so that whoever may send a load may ask for readiness."""
        theirs = {name.lower() for name in workload.headers}
        below = {name: value for name, value in self.headers.items() if name.lower() not in theirs}
        return self.model_copy(update={"headers": below | workload.headers, "tls": workload.tls or self.tls})

    def _usual(self, port: int) -> str | None:
        return f"{self.url}:{port}" if self.url is not None and not _has_port(self.url) else None


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]
