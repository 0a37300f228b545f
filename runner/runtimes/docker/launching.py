"""From `launch` to a container's plan: what server and steps of one target have in common."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from runner.errors import RigError
from runner.runtimes.docker.engine import EngineFacts
from runner.runtimes.docker.gpus import request_for
from runner.runtimes.docker.images import Image
from runner.runtimes.docker.plan import Bind, ContainerPlan
from runner.scenario.schema import DockerLaunch, Ulimits

SERVES = "1000:1000"
"""Who serves where the runner is root: the user of the vendor's images."""
_ENVIRONMENT = {"HOME": "/tmp", "TMPDIR": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}


def base_plan(
    launch: DockerLaunch, image: Image, engine: EngineFacts, *, name: str, labels: Mapping[str, str]
) -> ContainerPlan:
    """Everything but the command, its paths and its network.

    Raises:
        RigError: this engine cannot do what `launch` asks for.
    """
    return ContainerPlan(
        name=name,
        image=image.id,
        command=(),
        user=launch.user or default_user(engine, os.getuid(), os.getgid()),
        labels=labels,
        env={**_ENVIRONMENT, **launch.env},
        binds=tuple(Bind(Path(source), target) for target, source in launch.mounts.items()),
        ipc=launch.ipc,
        gpus=request_for(launch.gpus, engine),
        shm_bytes=launch.shm_size,
        ulimits=ulimits_of(launch.ulimits),
        cpus=launch.cpus,
        cpuset=launch.cpuset,
        memory_bytes=launch.memory,
        pids=launch.pids,
        read_only=launch.read_only,
    )


def default_user(engine: EngineFacts, uid: int, gid: int) -> str:
    """You, so that files are yours; never root of this machine."""
    if engine.rootless:
        # Root of a rootless engine's containers is the user that it runs as.
        return "0:0"
    return f"{uid}:{gid}" if uid else SERVES


def ulimits_of(wanted: Ulimits) -> dict[str, int]:
    return {name: -1 if limit == "unlimited" else int(limit) for name, limit in wanted}


def read_only_binds(paths: Sequence[Path]) -> tuple[Bind, ...]:
    """Each path at the same place as here, so that what files and messages say of it stays true."""
    return tuple(Bind(path, str(path)) for path in dict.fromkeys(path.absolute() for path in paths))


def check_readable(path: Path, user: str) -> None:
    """Refuse a folder that the container's user could not look into: the server's own message would name no cause.

    Raises:
        RigError: with what to do.
    """
    if not _may(user, path, 0o5 if path.is_dir() else 0o4):
        raise RigError(
            f"{path} cannot be read by user {user} of the container (its mode is {path.stat().st_mode & 0o777:o})",
            hint=f"chmod -R o+rX {path}, a umask of 022, or launch.user",
        )


def check_writable(folder: Path, user: str) -> None:
    """Refuse a folder that the container's user could not write to: the server would lose what goes there in silence.

    Raises:
        RigError: with what to do.
    """
    if not _may(user, folder, 0o3):
        raise RigError(
            f"{folder} cannot be written to by user {user} of the container",
            hint="remove launch.user: by default the server runs as you",
        )


def _may(user: str, path: Path, bits: int) -> bool:
    """Whether a user has these rights (of read 4, write 2, enter 1) to a path."""
    uid, _, gid = user.partition(":")
    status = path.stat()
    shift = 6 if status.st_uid == int(uid) else 3 if gid and status.st_gid == int(gid) else 0
    return not int(uid) or (status.st_mode >> shift) & bits == bits


@contextmanager
def lent(folder: Path, user: str) -> Iterator[None]:
    """Lend a folder to the container's user where root is us and not them; take back whatever is in it then."""
    uid, _, gid = user.partition(":")
    if os.getuid() or int(uid) == 0:
        yield
        return
    os.chown(folder, int(uid), int(gid or uid))
    try:
        yield
    finally:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 0, 0, follow_symlinks=False)
