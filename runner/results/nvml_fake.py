"""NVML's C interface in virtual time: boards with known power, a counter that refreshes in steps, faults on request."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NOT_SUPPORTED, INSUFFICIENT_SIZE, LOST = 3, 7, 15
_WORDS = {
    NOT_SUPPORTED: b"Not Supported",
    INSUFFICIENT_SIZE: b"Insufficient Size",
    LOST: b"GPU is lost",
    18: b"Mismatch",
}
Level = Callable[[float], float]


def steady(value: float) -> Level:
    """The same at all times."""
    return lambda _now_s: value


@dataclass
class FakeGpu:
    """One board; functions of time get virtual seconds."""

    power_w: float = 300.0
    refresh_s: float = 0.1
    """The energy counter moves in steps of so long."""
    reset_at_s: float = math.inf
    """The energy counter starts from 0 again."""
    stuck: bool = False
    """The energy counter never moves."""
    reasons: Callable[[float], int] = lambda _now_s: 0
    clock_mhz: Level = field(default_factory=lambda: steady(1980.0))
    utilization: Level = field(default_factory=lambda: steady(97.0))
    thermal_violation_s: Level = field(default_factory=lambda: steady(0.0))
    uncorrected: Callable[[float], int] = lambda _now_s: 0
    processes: Sequence[tuple[int, int]] = ()
    """Pid and bytes."""
    parts: int = 0
    """MIG devices."""
    missing: frozenset[str] = frozenset()
    """C functions that this board does not support."""
    lost: Callable[[float], bool] = lambda _now_s: False

    def energy_mj(self, now_s: float) -> int:
        """What the counter shows: the energy up to its last refresh."""
        if self.stuck:
            return 10**9
        shown_s = math.floor(now_s / self.refresh_s + 1e-9) * self.refresh_s
        since_s = shown_s - self.reset_at_s if now_s >= self.reset_at_s else shown_s + 1e6
        return round(max(since_s, 0.0) * self.power_w * 1000)


class FakeNvmlLibrary:
    """Stands for `ctypes.CDLL("libnvidia-ml.so.1")`."""

    def __init__(
        self,
        gpus: Sequence[FakeGpu] = (),
        now_s: Callable[[], float] = lambda: 0.0,
        *,
        init_status: int = 0,
        without: frozenset[str] = frozenset(),
    ) -> None:
        self.gpus, self.now_s, self.sessions = list(gpus), now_s, 0
        self.without = without
        """Functions that this library is too old for."""
        self._init_status = init_status
        self.nvmlErrorString = _ErrorString()

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name in self.without or not name.startswith("nvml"):
            raise AttributeError(f"undefined symbol: {name}")
        if name.startswith("nvmlDeviceGet") and name not in _HANDLES:
            return lambda device, *arguments: self._of_device(name, device, *arguments)
        return lambda *arguments: self._of_library(name, *arguments)

    def _of_library(self, name: str, *arguments: Any) -> int:
        if name in ("nvmlInit_v2", "nvmlShutdown"):
            self.sessions += 1 if name == "nvmlInit_v2" else -1
            return self._init_status
        if name == "nvmlSystemGetDriverVersion":
            arguments[0].value = b"570.1"
        elif name == "nvmlDeviceGetHandleByIndex_v2":
            arguments[-1]._obj.value = arguments[0].value + 1
        elif name == "nvmlDeviceGetMigDeviceHandleByIndex":
            board, part = self.gpus[arguments[0].value - 1], arguments[1].value
            if part >= board.parts:
                return 6
            arguments[-1]._obj.value = 1000 * arguments[0].value + part
        else:
            numbers = {"nvmlDeviceGetCount_v2": len(self.gpus), "nvmlSystemGetCudaDriverVersion_v2": 12080}
            arguments[-1]._obj.value = numbers[name]
        return 0

    def _of_device(self, name: str, device: Any, *arguments: Any) -> int:
        handle, now_s = device.value, self.now_s()
        part = handle >= 1000
        board = self.gpus[(handle // 1000 if part else handle) - 1]
        if board.lost(now_s):
            return LOST
        if name in board.missing or (part and name not in _PARTS):
            return NOT_SUPPORTED
        if name in _TEXTS:
            arguments[0].value = _TEXTS[name]
        elif name in _STRUCTS:
            _STRUCTS[name](board, now_s, *(getattr(a, "_obj", a) for a in arguments))
        elif name == "nvmlDeviceGetComputeRunningProcesses_v3":
            return _processes(board, arguments[0]._obj, arguments[1])
        else:
            value = _NUMBERS.get(name, _zero)(board, now_s, [getattr(a, "value", 0) for a in arguments[:-1]])
            out = arguments[0] if name in _PAIRS else arguments[-1]
            out._obj.value = int(value)
        return 0


class _ErrorString:
    restype: Any = None

    def __call__(self, status: int) -> bytes:
        assert self.restype is ctypes.c_char_p, "without it ctypes cuts the pointer"
        return _WORDS.get(status, b"Unknown Error")


_HANDLES = {"nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetMigDeviceHandleByIndex"}
_PARTS = {"nvmlDeviceGetMemoryInfo", "nvmlDeviceGetName", "nvmlDeviceGetUUID"}
_PAIRS = {
    "nvmlDeviceGetEccMode",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetDecoderUtilization",
    "nvmlDeviceGetEncoderUtilization",
    "nvmlDeviceGetJpgUtilization",
}
_TEXTS = {
    "nvmlDeviceGetName": b"NVIDIA X",
    "nvmlDeviceGetUUID": b"GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",
    "nvmlDeviceGetSerial": b"1323421",
    "nvmlDeviceGetVbiosVersion": b"96.0",
}
_Number = Callable[[FakeGpu, float, Sequence[int]], float]


def _zero(_gpu: FakeGpu, _now_s: float, _arguments: Sequence[int]) -> float:
    return 0


_NUMBERS: Mapping[str, _Number] = {
    "nvmlDeviceGetTotalEnergyConsumption": lambda gpu, now, _: gpu.energy_mj(now),
    "nvmlDeviceGetPowerUsage": lambda gpu, _now, _a: gpu.power_w * 1000,
    "nvmlDeviceGetEnforcedPowerLimit": lambda *_: 700_000,
    "nvmlDeviceGetPowerManagementDefaultLimit": lambda *_: 700_000,
    "nvmlDeviceGetPersistenceMode": lambda *_: 1,
    "nvmlDeviceGetEccMode": lambda *_: 1,
    "nvmlDeviceGetMigMode": lambda gpu, _now, _a: gpu.parts > 0,
    "nvmlDeviceGetMaxMigDeviceCount": lambda *_: 7,
    "nvmlDeviceGetClockInfo": lambda gpu, now, a: gpu.clock_mhz(now) if a[0] == 1 else 2619,
    "nvmlDeviceGetMaxClockInfo": lambda _gpu, _now, a: 1000 * a[0],
    "nvmlDeviceGetApplicationsClock": lambda _gpu, _now, a: 900 * a[0],
    "nvmlDeviceGetTemperature": lambda *_: 61,
    "nvmlDeviceGetFanSpeed": lambda *_: 40,
    "nvmlDeviceGetCurrentClocksEventReasons": lambda gpu, now, _: gpu.reasons(now),
    "nvmlDeviceGetCurrentClocksThrottleReasons": lambda gpu, now, _: gpu.reasons(now),
    "nvmlDeviceGetTotalEccErrors": lambda gpu, now, a: gpu.uncorrected(now) if a[0] == 1 else 0,
    "nvmlDeviceGetCurrPcieLinkGeneration": lambda *_: 5,
    "nvmlDeviceGetCurrPcieLinkWidth": lambda *_: 16,
    "nvmlDeviceGetMaxPcieLinkGeneration": lambda *_: 5,
    "nvmlDeviceGetMaxPcieLinkWidth": lambda *_: 16,
    "nvmlDeviceGetPcieThroughput": lambda _gpu, _now, a: 1000 + a[0],
    "nvmlDeviceGetDecoderUtilization": lambda *_: 12,
    "nvmlDeviceGetJpgUtilization": lambda *_: 34,
}


def _memory(gpu: FakeGpu, _now_s: float, out: Any) -> None:
    out.total, out.used = 80 * 2**30, 10 * 2**30


def _rates(gpu: FakeGpu, now_s: float, out: Any) -> None:
    out.gpu, out.memory = int(gpu.utilization(now_s)), 40


def _violation(gpu: FakeGpu, now_s: float, policy: Any, out: Any) -> None:
    out.violation_ns = round(gpu.thermal_violation_s(now_s) * 1e9) if policy.value == 1 else 0


def _rows(_gpu: FakeGpu, _now_s: float, *outs: Any) -> None:
    for out in outs:
        out.value = 0


def _pci(_gpu: FakeGpu, _now_s: float, out: Any) -> None:
    out.bus_id = b"00000000:65:00.0"


_STRUCTS: Mapping[str, Callable[..., None]] = {
    "nvmlDeviceGetMemoryInfo": _memory,
    "nvmlDeviceGetUtilizationRates": _rates,
    "nvmlDeviceGetViolationStatus": _violation,
    "nvmlDeviceGetRemappedRows": _rows,
    "nvmlDeviceGetPciInfo_v3": _pci,
}


def _processes(gpu: FakeGpu, count: Any, room: Any) -> int:
    enough = count.value >= len(gpu.processes)
    count.value = len(gpu.processes)
    if not enough:
        return INSUFFICIENT_SIZE
    for entry, (pid, used) in zip(room, gpu.processes, strict=False):
        entry.pid, entry.used = pid, used
    return 0
