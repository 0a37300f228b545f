"""What a target in containers needs of this machine, looked at before anything is started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner.errors import RigError
from runner.runtimes.docker import images
from runner.runtimes.docker.engine import EngineFacts, connect, facts_of
from runner.runtimes.docker.gpus import request_for, wanted_text
from runner.runtimes.doctor import contexts, cuda, needs
from runner.runtimes.doctor.contexts import Context
from runner.runtimes.doctor.gpu_facts import DriverFacts, read_driver
from runner.runtimes.findings import Finding
from runner.runtimes.host import free_bytes, gpu_count
from runner.scenario.schema import DockerLaunch


def findings(launch: DockerLaunch) -> Iterator[Finding]:
    """All checks; those that need the engine only when it answers."""
    try:
        client = connect()
        engine = facts_of(client)
    except RigError as error:
        yield Finding("container engine", "fail", error.message, error.hint)
        return
    yield engine_found(engine, contexts.chosen(os.environ))
    yield disk(engine)
    found = image(client, launch)
    yield found
    yield gpu_path(launch, engine, gpu_count())
    if launch.gpus != "none" and found.level == "ok" and isinstance(driver := read_driver(), DriverFacts):
        yield cuda.driver_for_image(driver, cuda.image_cuda(*images.configuration(client, launch.image)))


def engine_found(engine: EngineFacts, context: Context | None = None) -> Finding:
    """What the engine is, who chose it, and which ways to GPUs it names."""
    ways = ["NVIDIA runtime"] if "nvidia" in engine.runtimes else []
    ways += [f"CDI devices {', '.join(engine.cdi_gpus)}"] if engine.cdi_gpus else []
    who = "without root" if engine.rootless else "as root"
    by = f", context {context.name}" if context else ""
    return Finding("container engine", "ok", f"{engine.text}, {who}{by}; way to GPUs: {' and '.join(ways) or 'none'}")


def disk(engine: EngineFacts) -> Finding:
    """Room for images and containers, where the engine's folder is on this machine."""
    root = Path(engine.root)
    if not engine.root or not root.exists():
        return Finding("engine's disk", "ok", "cannot be seen from here")
    found = needs.disk(free_bytes(root), root)
    return replace(found, check="engine's disk", remedy=found.remedy and "docker system prune")


def image(client: Any, launch: DockerLaunch) -> Finding:
    try:
        found = images.find(client, launch.image)
    except RigError as error:
        return Finding("image", "fail", error.message, "check `launch.image`")
    if found is None:
        remedy = f"docker pull {launch.image}; without a registry: docker save, docker load"
        return Finding("image", "warn", f"{launch.image} is not here and would be pulled", remedy)
    return Finding("image", "ok", f"{launch.image} is {found.id}")


def gpu_path(launch: DockerLaunch, engine: EngineFacts, here: int) -> Finding:
    """Whether the engine can be expected to give the GPUs; only a container proves it."""
    if launch.gpus == "none":
        return Finding("GPUs for containers", "ok", "none asked for")
    try:
        request_for(launch.gpus, engine)
    except RigError as error:
        return Finding("GPUs for containers", "fail", error.message, error.hint)
    wanted = f"launch.gpus asks for {wanted_text(launch.gpus)}"
    if not here:
        return Finding(
            "GPUs for containers",
            "fail",
            f"{wanted}; no NVIDIA GPU is visible here",
            "install the NVIDIA driver, or choose a target without GPUs",
        )
    if not engine.cdi_gpus and "nvidia" not in engine.runtimes:
        return Finding(
            "GPUs for containers",
            "warn",
            f"{wanted}; the engine names neither an NVIDIA runtime nor CDI devices",
            "nvidia-ctk runtime configure --runtime=docker, then restart the engine",
        )
    return Finding("GPUs for containers", "ok", f"{wanted}; {here} here")
