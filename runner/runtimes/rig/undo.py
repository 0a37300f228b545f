"""Taking settings back: on leaving, and those that a killed run left in force."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from runner.errors import RigError
from runner.processes import ProcessIdentity, same_boot
from runner.results.nvml import Nvml, NvmlError, session
from runner.runtimes.rig.gpus import alone
from runner.runtimes.rig.settings import SETTINGS

GROUP = "rig"
_FOLDER = Path("gpu")
Load = Callable[[str], Any]


class Entry(Protocol):
    """An effect in the ledger."""

    @property
    def kind(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def before(self) -> str: ...


class Ledger(Protocol):
    """What is written down before it is done; `setup.ledger.Ledger` is one."""

    def intend(self, kind: str, path: Path, *, group: str, before: str = "") -> None: ...
    def undone(self, kind: str, path: Path, *, group: str) -> None: ...
    def entries(self) -> Sequence[Entry]: ...


@dataclass(frozen=True)
class Restored:
    """What became of one setting."""

    outcome: Literal["restored", "gone", "in use", "failed"]
    """gone: the machine has been restarted since, which sets everything back · in use: its run lives."""
    text: str


def path_of(uuid: str) -> Path:
    """How the ledger names a GPU."""
    return _FOLDER / uuid


def before_of(value: int | None) -> str:
    """What the ledger keeps: the value in force before, and whose change it is."""
    return json.dumps({"value": value, "owner": asdict(ProcessIdentity.current())})


def restore_entry(entry: Entry, load: Load = ctypes.CDLL, *, dry_run: bool = False) -> Restored:
    """Take back what a ledger's entry says, unless the run that set it still lives."""
    setting, uuid = SETTINGS[entry.kind], entry.path.name
    try:
        kept = json.loads(entry.before)
        value, owner = kept["value"], ProcessIdentity(**kept["owner"])
    except (ValueError, KeyError, TypeError):
        return Restored(
            "failed", f"the ledger does not say what was in force: sudo nvidia-smi {setting.undo_option(None)}"
        )
    if not same_boot(owner):
        return Restored("gone", "the machine has been restarted since")
    if owner.may_live():
        return Restored("in use", f"the run that set it lives (process {owner.pid})")
    if dry_run:
        return Restored("restored", setting.text(value))
    return _restore(entry.kind, uuid, value, load)


def _restore(kind: str, uuid: str, value: int | None, load: Load) -> Restored:
    setting = SETTINGS[kind]
    try:
        with alone(uuid), session(load) as nvml:
            setting.restore(nvml, device_of(nvml, uuid), value)
    except RigError as error:
        return Restored("in use", error.message)
    except (NvmlError, AttributeError) as error:
        return Restored("failed", f"{error}; by hand: sudo nvidia-smi -i {uuid} {setting.undo_option(value)}")
    return Restored("restored", f"{setting.title} of {uuid}: {'none' if value is None else setting.text(value)}")


def device_of(nvml: Nvml, uuid: str) -> Any:
    """The handle of a GPU; raises `NvmlError` when it is not here."""
    for device in nvml.devices():
        if nvml.text("nvmlDeviceGetUUID", device) == uuid:
            return device
    raise NvmlError(f"the GPU {uuid} is not here")


def restore_abandoned(ledger: Ledger, load: Load = ctypes.CDLL) -> list[Restored]:
    """Take back what killed runs left in force; entries that could not be taken back stay in the ledger."""
    found = []
    for entry in reversed([entry for entry in ledger.entries() if entry.kind in SETTINGS]):
        found.append(restore_entry(entry, load))
        if found[-1].outcome in ("restored", "gone"):
            ledger.undone(entry.kind, entry.path, group=GROUP)
    return found
