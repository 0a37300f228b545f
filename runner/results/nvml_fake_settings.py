"""NVML's functions that change a board; the settings are in a file, so that they outlive a process as a board's do."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runner.results.nvml_fake import NOT_SUPPORTED, FakeGpu, FakeNvmlLibrary

INVALID_ARGUMENT, NO_PERMISSION = 2, 4
POWER_RANGE_MW = (100_000, 700_000)
_FRESH = {"power": POWER_RANGE_MW[1], "persistence": 0, "clocks": None, "memory_clocks": None}
_LOCKS = {"Gpu": "clocks", "Memory": "memory_clocks"}


class SettableNvmlLibrary(FakeNvmlLibrary):
    """A `FakeNvmlLibrary` whose boards `GPU-0`, `GPU-1` … can be set."""

    def __init__(self, path: Path, gpus: Sequence[FakeGpu] = (FakeGpu(),), *, root: bool = True) -> None:
        super().__init__(gpus)
        self.path, self.root = path, root
        self.refused: dict[str, int] = {}
        """C function -> status that it answers with."""
        self.deaf: set[str] = set()
        """Settings that are accepted and do nothing."""
        own: dict[str, Callable[..., int]] = {
            "nvmlDeviceGetUUID": self._uuid,
            "nvmlDeviceGetPersistenceMode": lambda device, out: self._answer(device, "persistence", out),
            "nvmlDeviceGetPowerManagementLimit": lambda device, out: self._answer(device, "power", out),
            "nvmlDeviceGetPowerManagementLimitConstraints": self._range,
            "nvmlDeviceGetMaxClockInfo": lambda device, domain, out: _give(out, 9501 if domain.value == 2 else 1980),
            "nvmlDeviceGetDefaultApplicationsClock": lambda device, domain, out: _give(out, 1095),
            "nvmlDeviceSetPersistenceMode": lambda device, value: self._set(device, "persistence", value.value),
            "nvmlDeviceSetPowerManagementLimit": lambda device, value: self._set(device, "power", value.value),
        }
        for name, key in _LOCKS.items():
            own[f"nvmlDeviceSet{name}LockedClocks"] = self._locker(key)
            own[f"nvmlDeviceReset{name}LockedClocks"] = self._unlocker(key)
        self._own = own

    def __getattr__(self, name: str) -> Callable[..., int]:
        own = self.__dict__.get("_own", {})
        if name in self.__dict__.get("refused", {}):
            status = self.refused[name]
            return lambda *arguments: status
        return own[name] if name in own and name not in self.without else super().__getattr__(name)

    def settings(self, index: int = 0) -> dict[str, Any]:
        """What is in force on a board."""
        kept = json.loads(self.path.read_text()) if self.path.exists() else {}
        return {**_FRESH, **kept.get(str(index), {})}

    def _set(self, device: Any, key: str, value: Any) -> int:
        if not self.root:
            return NO_PERMISSION
        index = device.value - 1
        if key == "power" and not POWER_RANGE_MW[0] <= value <= POWER_RANGE_MW[1]:
            return INVALID_ARGUMENT
        kept = json.loads(self.path.read_text()) if self.path.exists() else {}
        if key not in self.deaf:
            kept[str(index)] = {**self.settings(index), key: value}
        self.path.write_text(json.dumps(kept))
        return 0

    def _locker(self, key: str) -> Callable[..., int]:
        return lambda device, low, high: self._set(device, key, [low.value, high.value])

    def _unlocker(self, key: str) -> Callable[..., int]:
        return lambda device: self._set(device, key, None)

    def _answer(self, device: Any, key: str, out: Any) -> int:
        return _give(out, self.settings(device.value - 1)[key])

    def _range(self, device: Any, low: Any, high: Any) -> int:
        return _give(low, POWER_RANGE_MW[0]) or _give(high, POWER_RANGE_MW[1])

    def _uuid(self, device: Any, buffer: Any, size: Any) -> int:
        if not 0 < device.value <= len(self.gpus):
            return NOT_SUPPORTED
        buffer.value = f"GPU-{device.value - 1}".encode()
        return 0


def _give(out: Any, value: int) -> int:
    out._obj.value = value
    return 0
