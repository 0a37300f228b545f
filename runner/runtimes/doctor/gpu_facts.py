"""The driver and the GPUs as they are now, read through NVML."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from runner.results.gpus import CLOCK_SM, numa_node
from runner.results.nvml import REASONS, Nvml, NvmlError, session

T = TypeVar("T")
_CORRECTED, _UNCORRECTED, _VOLATILE = 0, 1, 0


@dataclass(frozen=True)
class GpuFacts:
    """One GPU; None where the board or the driver does not tell."""

    index: int
    name: str
    uuid: str = ""
    mig: bool | None = None
    persistence: bool | None = None
    sm_clock_mhz: int | None = None
    sm_clock_max_mhz: int | None = None
    application_clock_mhz: int | None = None
    held_by: frozenset[str] = frozenset()
    """Why clocks are where they are, names of `nvml.REASONS`."""
    power_limit_w: float | None = None
    power_default_w: float | None = None
    ecc: bool | None = None
    corrected: int | None = None
    """Memory errors since the driver was loaded that ECC corrected."""
    uncorrected: int | None = None
    """Those that it could not."""
    numa_node: int | None = None
    """-1 where the machine has but one."""


@dataclass(frozen=True)
class DriverFacts:
    """The NVIDIA driver and its GPUs."""

    version: str
    cuda: tuple[int, int]
    """The newest CUDA version that it supports."""
    gpus: tuple[GpuFacts, ...]


def read_driver(load: Callable[[str], Any] = ctypes.CDLL, root: Path = Path("/")) -> DriverFacts | str:
    """The driver's facts, or in words why there are none."""
    try:
        with session(load) as nvml:
            cuda = nvml.uint("nvmlSystemGetCudaDriverVersion_v2")
            gpus = tuple(_read(nvml, index, device, root) for index, device in enumerate(nvml.devices()))
            return DriverFacts(nvml.text("nvmlSystemGetDriverVersion"), (cuda // 1000, cuda % 1000 // 10), gpus)
    except (NvmlError, AttributeError) as error:
        return str(error)


def _read(nvml: Nvml, index: int, device: Any, root: Path) -> GpuFacts:
    sm = ctypes.c_uint(CLOCK_SM)
    return GpuFacts(
        index=index,
        name=_told(lambda: nvml.text("nvmlDeviceGetName", device)) or "NVIDIA GPU",
        uuid=_told(lambda: nvml.text("nvmlDeviceGetUUID", device)) or "",
        mig=_told(lambda: bool(nvml.pair("nvmlDeviceGetMigMode", device))),
        persistence=_told(lambda: bool(nvml.uint("nvmlDeviceGetPersistenceMode", device))),
        sm_clock_mhz=_told(lambda: nvml.uint("nvmlDeviceGetClockInfo", device, sm)),
        sm_clock_max_mhz=_told(lambda: nvml.uint("nvmlDeviceGetMaxClockInfo", device, sm)),
        application_clock_mhz=_told(lambda: nvml.uint("nvmlDeviceGetApplicationsClock", device, sm)),
        held_by=_told(lambda: _names(nvml.clock_reasons(device))) or frozenset(),
        power_limit_w=_told(lambda: nvml.uint("nvmlDeviceGetEnforcedPowerLimit", device) / 1e3),
        power_default_w=_told(lambda: nvml.uint("nvmlDeviceGetPowerManagementDefaultLimit", device) / 1e3),
        ecc=_told(lambda: bool(nvml.pair("nvmlDeviceGetEccMode", device))),
        corrected=_told(lambda: _errors(nvml, device, _CORRECTED)),
        uncorrected=_told(lambda: _errors(nvml, device, _UNCORRECTED)),
        numa_node=_told(lambda: numa_node(nvml, device, root)),
    )


def _names(bits: int) -> frozenset[str]:
    return frozenset(name for name, bit in REASONS.items() if bits & bit)


def _errors(nvml: Nvml, device: Any, kind: int) -> int:
    return nvml.ulong("nvmlDeviceGetTotalEccErrors", device, ctypes.c_uint(kind), ctypes.c_uint(_VOLATILE))


def _told(look: Callable[[], T]) -> T | None:
    try:
        return look()
    except (NvmlError, AttributeError):
        return None
