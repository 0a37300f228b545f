"""GPUs for a container: how the engine is asked, and the proof inside the container that it gave them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from runner.errors import RigError
from runner.runtimes.docker.engine import EngineFacts
from runner.runtimes.docker.plan import GpuRequest
from runner.scenario.schema import Gpus

NO_DRIVER = re.compile(r"could not select device driver|unresolvable CDI devices?|nvidia-container-cli|libnvidia-ml|"
                       r"failed to discover GPU vendor", re.IGNORECASE)  # fmt: skip
"""What engines say when they cannot give GPUs; the first is Docker's word for a missing toolkit."""
_PODMAN_HONOURS = (5, 4)
_CDI = "nvidia.com/gpu="
_LISTED = re.compile(r"^GPU (\d+): (.*?) \(UUID: ([\w-]+)\)", re.MULTILINE)
# The driver's own tool where the image lets it in, else the device files: numbered ones are GPUs.
LOOK = ("sh", "-c", "nvidia-smi -L 2>/dev/null || ls -d /dev/nvidia[0-9]* /proc/driver/nvidia/gpus/* 2>/dev/null")


def request_for(gpus: Gpus, engine: EngineFacts) -> GpuRequest | None:
    """What to ask this engine for.

    Raises:
        RigError: it is known to ignore such a request without a word.
    """
    if gpus == "none":
        return None
    if engine.is_podman and version_of(engine.version) < _PODMAN_HONOURS:
        raise RigError(
            f"{engine.text} drops requests for GPUs at its Docker-compatible socket without a word: "
            "the server would run on the CPU",
            hint="use Podman 5.4 or newer, or a Docker engine (DOCKER_HOST says which)",
        )
    if engine.is_podman or (engine.cdi_gpus and "nvidia" not in engine.runtimes):
        return GpuRequest(ids=tuple(_cdi_names(gpus)), cdi=True)
    if isinstance(gpus, tuple):
        return GpuRequest(ids=gpus)
    return GpuRequest(count=-1 if gpus == "all" else int(gpus))


def prove(container: Any, gpus: Gpus) -> tuple[str, ...]:
    """The GPUs that the container really sees, one line each.

    Raises:
        RigError: fewer than were asked for.
    """
    if gpus == "none":
        return ()
    seen = gpus_listed(container.exec_run(list(LOOK)).output.decode(errors="replace"))
    wanted = len(gpus) if isinstance(gpus, tuple) else 1 if gpus == "all" else int(gpus)
    if len(seen) < wanted:
        raise RigError(
            f"launch.gpus asks for {wanted_text(gpus)}, but the container sees {len(seen) or 'none'}",
            hint="try `docker run --rm --gpus all IMAGE nvidia-smi -L`; the NVIDIA Container Toolkit must be set up",
        )
    return seen


def gpus_listed(answer: str) -> tuple[str, ...]:
    """`index name UUID` of each GPU, or the device files where the driver's tool is not in the image."""
    if found := _LISTED.findall(answer):
        return tuple(f"{index} {name} {uuid}" for index, name, uuid in found)
    paths = sorted(line.strip() for line in answer.splitlines() if line.startswith("/"))
    return tuple(p for p in paths if p.startswith("/dev/")) or tuple(paths)


def wanted_text(gpus: Gpus) -> str:
    if isinstance(gpus, tuple):
        return f"the GPUs {', '.join(gpus)}"
    return "all GPUs" if gpus == "all" else f"{gpus} GPU{'s' * (gpus != 1)}"


def missing_error(gpus: Gpus, engine: EngineFacts, said: str) -> RigError:
    """For a container that could not be started for want of GPUs."""
    return RigError(
        f"launch.gpus asks for {wanted_text(gpus)}, but {engine.text} cannot give them: {said}",
        hint="install the NVIDIA driver and the NVIDIA Container Toolkit (nvidia-ctk runtime configure "
        "--runtime=docker, then restart the engine), or choose a target without GPUs",
    )


def version_of(text: str) -> tuple[int, int]:
    """Major and minor number; a version that says neither is older than any."""
    match = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _cdi_names(gpus: Gpus) -> Iterable[str]:
    if gpus == "all":
        return [f"{_CDI}all"]
    ids = gpus if isinstance(gpus, tuple) else [str(index) for index in range(int(gpus))]
    return [f"{_CDI}{name}" for name in ids]
