"""The GPUs that the driver shows, asked through NVML's C library: no Python package needed, and none imported."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
_CLOCK_SM, _CLOCK_MEMORY = 1, 2
_TEXT_BYTES = 96


class NvmlError(Exception):
    """NVML refused; the message is its own."""


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def gpus(hide: Callable[[str], str], load: Callable[[str], Any] = ctypes.CDLL) -> dict[str, Any]:
    """Driver versions and one record per GPU; raises with the reason when there is no driver."""
    with _nvml(load) as nvml:
        cuda = ctypes.c_int()
        count = ctypes.c_uint()
        _call(nvml, "nvmlDeviceGetCount_v2", ctypes.byref(count))
        _call(nvml, "nvmlSystemGetCudaDriverVersion_v2", ctypes.byref(cuda))
        return {
            "driver": _text(nvml, "nvmlSystemGetDriverVersion"),
            "cuda": f"{cuda.value // 1000}.{cuda.value % 1000 // 10}",
            "devices": [_device(nvml, index, hide) for index in range(count.value)],
        }


@contextlib.contextmanager
def _nvml(load: Callable[[str], Any]) -> Iterator[Any]:
    try:
        nvml = load(LIBRARY)
    except OSError as error:
        raise NvmlError(f"no NVIDIA driver: {error}") from error
    _call(nvml, "nvmlInit_v2")
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def _device(nvml: Any, index: int, hide: Callable[[str], str]) -> dict[str, Any]:
    handle = ctypes.c_void_p()
    _call(nvml, "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
    memory = _Memory()
    looks: dict[str, Callable[[], Any]] = {
        "name": lambda: _text(nvml, "nvmlDeviceGetName", handle),
        "uuid": lambda: hide(_text(nvml, "nvmlDeviceGetUUID", handle)),
        "vbios": lambda: _text(nvml, "nvmlDeviceGetVbiosVersion", handle),
        "memory_total_bytes": lambda: _struct(nvml, "nvmlDeviceGetMemoryInfo", handle, memory).total,
        "power_limit_mw": lambda: _uint(nvml, "nvmlDeviceGetEnforcedPowerLimit", handle),
        "persistence": lambda: bool(_uint(nvml, "nvmlDeviceGetPersistenceMode", handle)),
        "compute_mode": lambda: _uint(nvml, "nvmlDeviceGetComputeMode", handle),
        "sm_clock_max_mhz": lambda: _uint(nvml, "nvmlDeviceGetMaxClockInfo", handle, ctypes.c_uint(_CLOCK_SM)),
        "memory_clock_max_mhz": lambda: _uint(nvml, "nvmlDeviceGetMaxClockInfo", handle, ctypes.c_uint(_CLOCK_MEMORY)),
        "ecc": lambda: bool(_pair(nvml, "nvmlDeviceGetEccMode", handle)),
        "mig": lambda: bool(_pair(nvml, "nvmlDeviceGetMigMode", handle)),
    }
    return {key: _tried(look) for key, look in looks.items()}


def _tried(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except (NvmlError, AttributeError) as error:  # AttributeError: an older library without that function
        return {"absent": str(error)}


def _call(nvml: Any, name: str, *arguments: Any) -> None:
    status = getattr(nvml, name)(*arguments)
    if status:
        nvml.nvmlErrorString.restype = ctypes.c_char_p
        raise NvmlError(f"{name}: {nvml.nvmlErrorString(status).decode()}")


def _text(nvml: Any, name: str, *arguments: Any) -> str:
    buffer = ctypes.create_string_buffer(_TEXT_BYTES)
    _call(nvml, name, *arguments, buffer, ctypes.c_uint(_TEXT_BYTES))
    return buffer.value.decode("utf-8", "replace")


def _struct(nvml: Any, name: str, handle: Any, out: _Memory) -> _Memory:
    _call(nvml, name, handle, ctypes.byref(out))
    return out


def _uint(nvml: Any, name: str, *arguments: Any) -> int:
    out = ctypes.c_uint()
    _call(nvml, name, *arguments, ctypes.byref(out))
    return out.value


def _pair(nvml: Any, name: str, handle: Any) -> int:
    """Current value of a setting that also has a pending one."""
    current, pending = ctypes.c_uint(), ctypes.c_uint()
    _call(nvml, name, handle, ctypes.byref(current), ctypes.byref(pending))
    return current.value
