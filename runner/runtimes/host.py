"""What this machine has, for a target's `requires`; looks only, never fails, never loads a driver into being."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from runner.results.nvml import NvmlError, session

if TYPE_CHECKING:
    from runner.scenario.schema import Requires

_DOCKER_SOCKET = "/var/run/docker.sock"
_ANSWER_TIMEOUT_S = 2.0


def satisfied(requires: Requires, state: Path | None = None) -> list[str]:
    """Why this machine does not meet the needs, one sentence each; empty when it does.

    `state` is where state would be kept, for the free space.
    """
    missing = []
    if requires.gpus and (found := gpu_count()) < requires.gpus:
        missing.append(f"{requires.gpus} NVIDIA GPU{'s' * (requires.gpus > 1)} needed, {found or 'none'} found")
    if requires.docker and not docker_available():
        missing.append("a Docker engine is needed, none answers")
    if requires.disk is not None and (free := free_bytes(state or Path.cwd())) < requires.disk:
        missing.append(f"{requires.disk / 2**30:.1f} GiB of free disk needed, {free / 2**30:.1f} GiB found")
    return missing


def gpu_count() -> int:
    """NVIDIA GPUs: what the driver's library says; without it, the devices that the kernel shows."""
    counted = _nvml_count()
    if counted is not None:
        return counted
    listed = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    return listed or len([device for device in Path("/dev").glob("nvidia[0-9]*") if device.name[6:].isdigit()])


def docker_available() -> bool:
    """True when a Docker engine answers: at $DOCKER_HOST, at its usual socket, or through its command line."""
    host = os.environ.get("DOCKER_HOST", f"unix://{_DOCKER_SOCKET}")
    if host.startswith("unix://"):
        return _ping(host.removeprefix("unix://")) or ("DOCKER_HOST" not in os.environ and _docker_command())
    return _docker_command()


def free_bytes(path: Path) -> int:
    """Free space on the file system that would hold `path`, which need not exist yet."""
    existing = next(candidate for candidate in (path.absolute(), *path.absolute().parents) if candidate.exists())
    return shutil.disk_usage(existing).free


def _nvml_count() -> int | None:
    try:
        with session(lambda name: ctypes.CDLL(name)) as nvml:
            return nvml.uint("nvmlDeviceGetCount_v2")
    except (NvmlError, AttributeError):
        return None


def _ping(path: str) -> bool:
    """Ask the engine behind a socket whether it lives; cheaper than loading its SDK."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ANSWER_TIMEOUT_S)
            connection.connect(path)
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


def _docker_command() -> bool:
    """The command line knows contexts, TLS and ssh hosts."""
    if shutil.which("docker") is None:
        return False
    try:
        command = ["docker", "version", "--format", "{{.Server.Version}}"]
        return subprocess.run(command, capture_output=True, timeout=5 * _ANSWER_TIMEOUT_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
