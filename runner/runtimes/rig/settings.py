"""What can be set on a GPU: how it is read, set and taken back through NVML, and by which option of `nvidia-smi`."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, Protocol

from runner.errors import RigError
from runner.results.nvml import Nvml
from runner.scenario.schema_rig import Rig

GRAPHICS, MEMORY = 0, 2
"""Clock domains of NVML."""


class Setting(Protocol):
    """One kind of setting; values are whole numbers."""

    kind: str
    """In the ledger."""
    title: str
    address: str
    """In the target's `rig`."""

    def value(self, nvml: Nvml, device: Any, wanted: Any) -> int:
        """What is to be set for what the scenario asks for; raises `RigError` where the board cannot have it."""
        ...

    def read(self, nvml: Nvml, device: Any) -> int | None:
        """What is in force; None where NVML does not tell."""
        ...

    def set(self, nvml: Nvml, device: Any, value: int) -> None: ...

    def restore(self, nvml: Nvml, device: Any, before: int | None) -> None: ...

    def option(self, wanted: Any) -> str:
        """The same for `nvidia-smi`."""
        ...

    def undo_option(self, before: int | None) -> str: ...

    def text(self, value: int | None) -> str:
        """A value for people."""
        ...


class Persistence:
    """Whether the driver stays loaded while nobody uses the GPU."""

    kind, title, address = "persistence", "persistence mode", "rig.persistence"

    def value(self, nvml: Nvml, device: Any, wanted: Any) -> int:
        return int(wanted)

    def read(self, nvml: Nvml, device: Any) -> int | None:
        return nvml.uint("nvmlDeviceGetPersistenceMode", device)

    def set(self, nvml: Nvml, device: Any, value: int) -> None:
        nvml.call("nvmlDeviceSetPersistenceMode", device, ctypes.c_uint(value))

    def restore(self, nvml: Nvml, device: Any, before: int | None) -> None:
        self.set(nvml, device, before or 0)

    def option(self, wanted: Any) -> str:
        return f"-pm {int(wanted)}"

    def undo_option(self, before: int | None) -> str:
        return f"-pm {before or 0}"

    def text(self, value: int | None) -> str:
        return "on" if value else "off"


class PowerLimit:
    """Milliwatts; the scenario says watts."""

    kind, title, address = "power", "power limit", "rig.power_limit"

    def value(self, nvml: Nvml, device: Any, wanted: Any) -> int:
        limit: int = round(wanted * 1000)
        least, most = nvml.uints("nvmlDeviceGetPowerManagementLimitConstraints", device)
        if not least <= limit <= most:
            allowed = f"{self.text(least)} to {self.text(most)}"
            raise RigError(f"{self.address}: expected {allowed} on this GPU, got {self.text(limit)}")
        return limit

    def read(self, nvml: Nvml, device: Any) -> int | None:
        return nvml.uint("nvmlDeviceGetPowerManagementLimit", device)

    def set(self, nvml: Nvml, device: Any, value: int) -> None:
        nvml.call("nvmlDeviceSetPowerManagementLimit", device, ctypes.c_uint(value))

    def restore(self, nvml: Nvml, device: Any, before: int | None) -> None:
        default = "nvmlDeviceGetPowerManagementDefaultLimit"
        self.set(nvml, device, nvml.uint(default, device) if before is None else before)

    def option(self, wanted: Any) -> str:
        return f"-pl {wanted:g}"

    def undo_option(self, before: int | None) -> str:
        return f"-pl {before / 1000:g}" if before else "-pl DEFAULT_WATTS"

    def text(self, value: int | None) -> str:
        return "not told" if value is None else f"{value / 1000:g} W"


class LockedClocks:
    """MHz of a clock domain. NVML does not tell whether a lock is in force: taking back means none."""

    def __init__(self, kind: str, title: str, address: str, domain: int, functions: str, options: str) -> None:
        self.kind, self.title, self.address, self._domain = kind, title, address, domain
        self._functions, self._lock, self._unlock = functions, f"-l{options}", f"-r{options}"

    def value(self, nvml: Nvml, device: Any, wanted: Any) -> int:
        most = nvml.uint("nvmlDeviceGetMaxClockInfo", device, ctypes.c_uint(self._domain))
        if wanted == "max":
            return most
        if wanted == "base":
            return nvml.uint("nvmlDeviceGetDefaultApplicationsClock", device, ctypes.c_uint(self._domain))
        if wanted > most:
            raise RigError(f"{self.address}: expected at most {most} MHz on this GPU, got {wanted} MHz")
        return int(wanted)

    def read(self, nvml: Nvml, device: Any) -> int | None:
        return None

    def set(self, nvml: Nvml, device: Any, value: int) -> None:
        nvml.call(f"nvmlDeviceSet{self._functions}LockedClocks", device, ctypes.c_uint(value), ctypes.c_uint(value))

    def restore(self, nvml: Nvml, device: Any, before: int | None) -> None:
        nvml.call(f"nvmlDeviceReset{self._functions}LockedClocks", device)

    def option(self, wanted: Any) -> str:
        mhz = f"{wanted.upper()}_MHZ" if isinstance(wanted, str) else str(wanted)
        return f"{self._lock} {mhz},{mhz}"

    def undo_option(self, before: int | None) -> str:
        return self._unlock

    def text(self, value: int | None) -> str:
        return "not told by NVML" if value is None else f"{value} MHz"


PERSISTENCE, POWER = Persistence(), PowerLimit()
CLOCKS = LockedClocks("clocks", "locked clocks", "rig.lock_clocks", GRAPHICS, "Gpu", "gc")
MEMORY_CLOCKS = LockedClocks("memory_clocks", "locked memory clocks", "rig.lock_clocks.memory", MEMORY, "Memory", "mc")
# Persistence first: without it the driver forgets the others as soon as nobody uses the GPU.
SETTINGS: dict[str, Setting] = {each.kind: each for each in (PERSISTENCE, POWER, CLOCKS, MEMORY_CLOCKS)}


def wanted_of(rig: Rig) -> Iterator[tuple[Setting, Any]]:
    """What a target asks for, in the order in which it is set."""
    asked = (rig.persistence, rig.power_limit, rig.clocks.graphics, rig.clocks.memory)
    yield from ((each, value) for each, value in zip(SETTINGS.values(), asked, strict=True) if value is not None)


def commands(rig: Rig) -> list[str]:
    """What to type instead, as root."""
    return [f"sudo nvidia-smi {setting.option(value)}" for setting, value in wanted_of(rig)]
