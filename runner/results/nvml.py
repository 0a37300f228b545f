"""NVML through its C library, without any Python package: a session, calls that raise its words, GPUs, MIG parts."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
UNSUPPORTED = frozenset({3, 13})
"""Not supported, function not found: asking again cannot help."""
REASONS: dict[str, int] = {
    "idle": 0x1,
    "application_clocks": 0x2,
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sync_boost": 0x10,
    "sw_thermal": 0x20,
    "hw_thermal": 0x40,
    "hw_power_brake": 0x80,
    "display_clocks": 0x100,
}
"""Why clocks are where they are: name -> bit."""
NOT_AVAILABLE = 2**64 - 1
_INSUFFICIENT_SIZE = 7
_TEXT_BYTES = 96
_MOST_PROCESSES = 1024


class NvmlError(Exception):
    """NVML refused; the message is its own."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Violation(ctypes.Structure):
    _fields_ = (("reference_us", ctypes.c_ulonglong), ("violation_ns", ctypes.c_ulonglong))


class _Process(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


class _Pci(ctypes.Structure):
    _fields_ = (
        ("bus_id_legacy", ctypes.c_char * 16),
        ("domain", ctypes.c_uint),
        ("bus", ctypes.c_uint),
        ("device", ctypes.c_uint),
        ("device_id", ctypes.c_uint),
        ("subsystem_id", ctypes.c_uint),
        ("bus_id", ctypes.c_char * 32),
    )


@dataclass(frozen=True)
class GpuProcess:
    """A process that computes on a GPU."""

    pid: int
    memory_bytes: int | None


class Nvml:
    """An open session; every call may raise `NvmlError`, or `AttributeError` where the library is older than it."""

    def __init__(self, load: Callable[[str], Any] = ctypes.CDLL) -> None:
        try:
            self._library = load(LIBRARY)
        except OSError as error:
            raise NvmlError(f"no NVIDIA driver: {error}") from error
        self.call("nvmlInit_v2")

    def close(self) -> None:
        self._library.nvmlShutdown()

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function by its C name."""
        status = getattr(self._library, name)(*arguments)
        if status:
            raise NvmlError(f"{name}: {self._words(status)}", status)

    def devices(self) -> list[Any]:
        """Handles of all GPUs, in NVML's order, which is that of `nvidia-smi`."""
        count = self.uint("nvmlDeviceGetCount_v2")
        return [self._handle("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index)) for index in range(count)]

    def mig_devices(self, device: Any) -> list[Any]:
        """Handles of the parts of a GPU; empty without MIG."""
        try:
            if not self.pair("nvmlDeviceGetMigMode", device):
                return []
            slots = self.uint("nvmlDeviceGetMaxMigDeviceCount", device)
        except (NvmlError, AttributeError):
            return []
        parts = []
        for index in range(slots):
            with contextlib.suppress(NvmlError):  # a slot may be empty
                parts.append(self._handle("nvmlDeviceGetMigDeviceHandleByIndex", device, ctypes.c_uint(index)))
        return parts

    def text(self, name: str, *arguments: Any) -> str:
        buffer = ctypes.create_string_buffer(_TEXT_BYTES)
        self.call(name, *arguments, buffer, ctypes.c_uint(_TEXT_BYTES))
        return buffer.value.decode("utf-8", "replace")

    def uint(self, name: str, *arguments: Any) -> int:
        out = ctypes.c_uint()
        self.call(name, *arguments, ctypes.byref(out))
        return out.value

    def ulong(self, name: str, *arguments: Any) -> int:
        out = ctypes.c_ulonglong()
        self.call(name, *arguments, ctypes.byref(out))
        if out.value == NOT_AVAILABLE:
            raise NvmlError(f"{name}: not available")
        return out.value

    def uints(self, name: str, device: Any) -> tuple[int, int]:
        """Two numbers of one call, for example the ends of a range."""
        first, second = ctypes.c_uint(), ctypes.c_uint()
        self.call(name, device, ctypes.byref(first), ctypes.byref(second))
        return first.value, second.value

    def pair(self, name: str, device: Any) -> int:
        """Current value of a setting that also has a pending one; of a utilization that also has a period."""
        return self.uints(name, device)[0]

    def memory(self, device: Any) -> tuple[int, int]:
        """Total and used bytes."""
        out = _Memory()
        self.call("nvmlDeviceGetMemoryInfo", device, ctypes.byref(out))
        return out.total, out.used

    def utilization(self, device: Any) -> tuple[int, int]:
        """Percent of time in which a kernel ran, and in which memory was read or written."""
        out = _Utilization()
        self.call("nvmlDeviceGetUtilizationRates", device, ctypes.byref(out))
        return out.gpu, out.memory

    def violation_ns(self, device: Any, policy: int) -> int:
        """Time for which a policy has held clocks down, since the driver was loaded."""
        out = _Violation()
        self.call("nvmlDeviceGetViolationStatus", device, ctypes.c_uint(policy), ctypes.byref(out))
        return int(out.violation_ns)

    def clock_reasons(self, device: Any) -> int:
        """Bits of `REASONS`. Newer libraries say "event" where older ones said "throttle"."""
        try:
            return self.ulong("nvmlDeviceGetCurrentClocksEventReasons", device)
        except AttributeError:
            return self.ulong("nvmlDeviceGetCurrentClocksThrottleReasons", device)

    def remapped_rows(self, device: Any) -> int:
        """Memory rows that were replaced after uncorrectable errors."""
        parts = [ctypes.c_uint() for _ in range(4)]
        self.call("nvmlDeviceGetRemappedRows", device, *(ctypes.byref(part) for part in parts))
        return parts[1].value

    def pci_bus_id(self, device: Any) -> str:
        out = _Pci()
        self.call("nvmlDeviceGetPciInfo_v3", device, ctypes.byref(out))
        return bytes(out.bus_id).decode("ascii", "replace")

    def compute_processes(self, device: Any) -> list[GpuProcess]:
        room = 64
        while True:
            found, count = (_Process * room)(), ctypes.c_uint(room)
            try:
                self.call("nvmlDeviceGetComputeRunningProcesses_v3", device, ctypes.byref(count), found)
            except NvmlError as error:
                if error.status != _INSUFFICIENT_SIZE or room >= _MOST_PROCESSES:
                    raise
                room *= 4
                continue
            return [_process(entry) for entry in found[: count.value]]

    def _handle(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle

    def _words(self, status: int) -> str:
        self._library.nvmlErrorString.restype = ctypes.c_char_p
        words: bytes = self._library.nvmlErrorString(status)
        return words.decode("utf-8", "replace")


def _process(entry: _Process) -> GpuProcess:
    return GpuProcess(entry.pid, None if entry.used == NOT_AVAILABLE else entry.used)


@contextlib.contextmanager
def session(load: Callable[[str], Any] = ctypes.CDLL) -> Iterator[Nvml]:
    """A session that ends with the block."""
    nvml = Nvml(load)
    try:
        yield nvml
    finally:
        nvml.close()


def tried(look: Callable[[], Any]) -> Any:
    """What `look` finds, or why NVML gives nothing."""
    try:
        return look()
    except (NvmlError, AttributeError) as error:
        return {"absent": str(error)}
