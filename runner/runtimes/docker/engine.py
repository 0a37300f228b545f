"""The engine behind the socket: found, asked what it is and can, its complaints in words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from runner.errors import RigError, ServiceError
from runner.runtimes.doctor import engines

_TIMEOUT_S = 120
"""For one answer: removing a large container on a slow disk takes long."""
_INSTALL = "install the extra: pip install 'scenario-runner[docker]'"
_NVIDIA = "nvidia.com/gpu="


@dataclass(frozen=True)
class EngineFacts:
    """What decides how containers are made."""

    name: str
    """Docker or Podman."""
    version: str
    api: str
    rootless: bool = False
    runtimes: frozenset[str] = frozenset()
    cdi_gpus: tuple[str, ...] = ()
    """GPUs that the engine offers by the Container Device Interface, for example `nvidia.com/gpu=0`."""
    root: str = ""
    """Its folder for images and containers, on the machine where it runs."""

    @property
    def is_podman(self) -> bool:
        return self.name == "Podman"

    @property
    def text(self) -> str:
        return f"{self.name} {self.version} (API {self.api}{', rootless' if self.rootless else ''})"


def connect() -> Any:
    """A client of the first engine that answers: $DOCKER_HOST alone, else the chosen context alone, else usual sockets.

    Raises:
        RigError: the SDK is not installed, or nothing answers.
    """
    try:
        import docker
    except ImportError as error:
        raise RigError("containers need the Docker SDK for Python, which is not installed", hint=_INSTALL) from error
    complaints = []
    for place in engines.places(os.environ):
        if place.context and place.context.fault:
            complaints.append(f"{place.text}: {place.context.fault}")
            continue
        try:
            client = _client(docker, place)
            client.ping()
        except Exception as error:  # whatever the transport raises: it is not there
            complaints.append(f"{place.text}: {_innermost(error)}")
        else:
            return client
    raise RigError(f"no Docker engine answers ({'; '.join(complaints)})", hint=engines.remedy(engines.look()))


def facts_of(client: Any) -> EngineFacts:
    """Ask the engine.

    Raises:
        RigError: it does not answer.
    """
    with as_rig_errors("ask the engine what it is"):
        version, info = client.version(), client.info()
    component: dict[str, Any] = next(iter(version.get("Components") or ()), {})
    podman = component.get("Name") == "Podman Engine"
    devices = [str(device.get("ID", "")) for device in info.get("DiscoveredDevices") or ()]
    return EngineFacts(
        name="Podman" if podman else "Docker",
        version=str(component.get("Version") or version.get("Version") or "unknown"),
        api=str(version.get("ApiVersion", "unknown")),
        rootless=any("rootless" in str(option) for option in info.get("SecurityOptions") or ()),
        runtimes=frozenset(info.get("Runtimes") or ()),
        cdi_gpus=tuple(device for device in devices if device.startswith(_NVIDIA)),
        root=str(info.get("DockerRootDir") or ""),
    )


@contextmanager
def as_rig_errors(what: str, hint: str | None = None) -> Iterator[None]:
    """Around calls of the engine whose failure ends the attempt; `what` completes "cannot …"."""
    try:
        yield
    except Exception as error:
        if not is_engine_error(error):
            raise
        raise RigError(f"cannot {what}: {explanation(error)}", hint=hint) from error


@contextmanager
def as_service_errors() -> Iterator[None]:
    """Around looks at a running server: an engine that does not answer has taken it along as far as we can tell."""
    try:
        yield
    except Exception as error:
        if not is_engine_error(error):
            raise
        raise ServiceError(
            f"the Docker engine does not answer: {explanation(error)}", hint=engines.remedy(engines.look())
        ) from error


def is_engine_error(error: BaseException) -> bool:
    """Whether the SDK or the HTTP library below it raised this."""
    import docker.errors
    import requests

    return isinstance(error, docker.errors.DockerException | requests.exceptions.RequestException)


def is_missing(error: BaseException) -> bool:
    """Whether there is no such thing; Podman says 500 of a container that goes while it is asked for."""
    import docker.errors

    return isinstance(error, docker.errors.NotFound) or "no such container" in explanation(error)


def explanation(error: BaseException) -> str:
    """What the engine says, without the URL that it was asked at."""
    said = getattr(error, "explanation", None)
    return str(said or error).strip().replace("\n", " ")


def _client(docker: Any, place: engines.Place) -> Any:
    if place.from_host:
        return docker.from_env(timeout=_TIMEOUT_S)
    tls = place.context and place.context.tls
    # A socket of this machine has no TLS, whatever its context says of verification.
    if not tls or not place.address.startswith(("tcp://", "https://")):
        return docker.DockerClient(base_url=place.address, timeout=_TIMEOUT_S)
    pair = (tls.certificate, tls.key) if tls.certificate and tls.key else None
    config = docker.tls.TLSConfig(client_cert=pair, ca_cert=tls.ca, verify=tls.verify)
    return docker.DockerClient(base_url=place.address, tls=config, timeout=_TIMEOUT_S)


def _innermost(error: BaseException) -> str:
    """The system's own words: the libraries above it wrap them five times."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(getattr(error, "strerror", None) or error)
