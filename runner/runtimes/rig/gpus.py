"""The GPUs that a target's settings are for, and NVML's refusals in terms of the scenario."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.errors import RigError
from runner.locks import LockedError, describe, locked
from runner.results.nvml import UNSUPPORTED, Nvml, NvmlError
from runner.runtimes.rig.settings import CLOCKS, Setting
from runner.scenario.schema import DockerLaunch, Gpus, Launch
from runner.scenario.schema_rig import Rig

NO_PERMISSION = 4
LOCKS = Path("/run")
"""Where only root writes, who alone may set GPUs: no link that somebody else put there is followed."""


@dataclass(frozen=True)
class Board:
    """One GPU."""

    index: int
    uuid: str
    device: Any
    """NVML's handle."""


def chosen(nvml: Nvml, rig: Rig, launch: Launch, environment: Mapping[str, str] = os.environ) -> list[Board]:
    """The GPUs that `rig.gpus` names, else those that the server gets.

    Raises:
        RigError: one that is named is not here.
    """
    boards = [
        Board(index, nvml.text("nvmlDeviceGetUUID", device), device) for index, device in enumerate(nvml.devices())
    ]
    gpus = rig.gpus if rig.gpus is not None else _of_launch(launch, environment)
    picked = boards if gpus == "all" else boards[:gpus] if isinstance(gpus, int) else _named(boards, gpus)
    if not picked or (isinstance(gpus, int) and len(picked) < gpus):
        hint = "nvidia-smi -L lists them"
        raise RigError(f"rig.gpus: {gpus} asked for, {len(boards) or 'none'} here", hint=hint)
    return picked


def _of_launch(launch: Launch, environment: Mapping[str, str]) -> Gpus:
    if isinstance(launch, DockerLaunch):
        return "all" if launch.gpus == "none" else launch.gpus
    visible = environment.get("CUDA_VISIBLE_DEVICES", "")
    return tuple(word.strip() for word in visible.split(",") if word.strip()) or "all"


def _named(boards: list[Board], names: Any) -> list[Board]:
    picked = []
    for name in () if names == "none" else names:
        found = [board for board in boards if name == str(board.index) or board.uuid.startswith(name)]
        if len(found) != 1:
            there = ", ".join(f"{board.index} {board.uuid}" for board in boards) or "none"
            raise RigError(f"rig.gpus: {name} is no whole GPU of this machine; there are {there}", hint="nvidia-smi -L")
        picked += found
    return picked


@contextmanager
def explained(setting: Setting, board: Board, wanted: Any) -> Iterator[None]:
    """Around calls of NVML: its refusals as `RigError`, with what to do."""
    what = f"{setting.address}: GPU {board.index}"
    command = f"sudo nvidia-smi -i {board.index} {setting.option(wanted)}"
    try:
        yield
    except AttributeError as error:
        raise RigError(f"{what}: this driver's library is too old: {error}", hint="install a newer driver") from error
    except NvmlError as error:
        if error.status == NO_PERMISSION:
            hint = f"run `scenario` as root, or set it by hand and take it out of `rig`: {command}"
            raise RigError(f"{what}: the driver lets only root change this ({error})", hint=hint) from error
        if error.status in UNSUPPORTED:
            raise RigError(f"{what} does not support this ({error})", hint=_instead(setting, wanted)) from error
        raise RigError(f"{what}: {error}", hint=f"see whether this works: {command}") from error


@contextmanager
def alone(uuid: str) -> Iterator[None]:
    """Keep other runs from setting a GPU: they would take our settings for those in force before.

    Raises:
        RigError: another run has settings of it in force, or the lock cannot be made.
    """
    folder = LOCKS if os.access(LOCKS, os.W_OK) else Path(tempfile.gettempdir())
    path = folder / f"scenario-{uuid}.lock"
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path))
        except LockedError as error:
            raise RigError(
                f"rig: another run ({describe(error.holder)}) has settings of {uuid} in force",
                hint="wait until it has finished",
            ) from error
        except OSError as error:
            raise RigError(
                f"rig: cannot lock {uuid} with {path}: {error.strerror}",
                hint="a killed run of another user may have left that file: remove it once no run uses the GPU",
            ) from error
        stack.callback(path.unlink, missing_ok=True)
        yield


def _instead(setting: Setting, wanted: Any) -> str:
    if wanted == "base":
        return f"say how many MHz: `{CLOCKS.address.split('.')[1]}: 1410`; nvidia-smi -q -d SUPPORTED_CLOCKS lists them"
    return f"take {setting.address} out of the target"
