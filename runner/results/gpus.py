"""The GPUs that the driver shows, for the fingerprint of a rig."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.results.facts import hide_identifiers
from runner.results.nvml import Nvml, NvmlError, session, tried

CLOCK_SM, CLOCK_MEMORY = 1, 2


def gpus(
    hide: Callable[[str], str], load: Callable[[str], Any] = ctypes.CDLL, root: Path = Path("/")
) -> dict[str, Any]:
    """Driver versions and one record per GPU; raises with the reason when there is no driver."""
    with session(load) as nvml:
        cuda = nvml.uint("nvmlSystemGetCudaDriverVersion_v2")
        return {
            "driver": nvml.text("nvmlSystemGetDriverVersion"),
            "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}",
            "devices": [_device(nvml, device, hide, root) for device in nvml.devices()],
        }


def _device(nvml: Nvml, device: Any, hide: Callable[[str], str], root: Path) -> dict[str, Any]:
    uints = {
        "power_limit_mw": "nvmlDeviceGetEnforcedPowerLimit",
        "power_limit_default_mw": "nvmlDeviceGetPowerManagementDefaultLimit",
        "compute_mode": "nvmlDeviceGetComputeMode",
        "pcie_generation_max": "nvmlDeviceGetMaxPcieLinkGeneration",
        "pcie_width_max": "nvmlDeviceGetMaxPcieLinkWidth",
    }
    looks: dict[str, Callable[[], Any]] = {
        "name": lambda: nvml.text("nvmlDeviceGetName", device),
        "uuid": lambda: _uuid(nvml, device, hide),
        "serial": lambda: hide(nvml.text("nvmlDeviceGetSerial", device)),
        "vbios": lambda: nvml.text("nvmlDeviceGetVbiosVersion", device),
        "memory_total_bytes": lambda: nvml.memory(device)[0],
        **{key: _uint(nvml, name, device) for key, name in uints.items()},
        "persistence": lambda: bool(nvml.uint("nvmlDeviceGetPersistenceMode", device)),
        "sm_clock_max_mhz": lambda: _clock(nvml, "nvmlDeviceGetMaxClockInfo", device, CLOCK_SM),
        "memory_clock_max_mhz": lambda: _clock(nvml, "nvmlDeviceGetMaxClockInfo", device, CLOCK_MEMORY),
        "sm_application_clock_mhz": lambda: _clock(nvml, "nvmlDeviceGetApplicationsClock", device, CLOCK_SM),
        "ecc": lambda: bool(nvml.pair("nvmlDeviceGetEccMode", device)),
        "mig": lambda: bool(nvml.pair("nvmlDeviceGetMigMode", device)),
        "numa_node": lambda: numa_node(nvml, device, root),
    }
    found = {key: tried(look) for key, look in looks.items()}
    if parts := nvml.mig_devices(device):
        found["mig_devices"] = [_part(nvml, part, hide) for part in parts]
    return found


def _part(nvml: Nvml, part: Any, hide: Callable[[str], str]) -> dict[str, Any]:
    looks: dict[str, Callable[[], Any]] = {
        "name": lambda: nvml.text("nvmlDeviceGetName", part),
        "uuid": lambda: _uuid(nvml, part, hide),
        "memory_total_bytes": lambda: nvml.memory(part)[0],
    }
    return {key: tried(look) for key, look in looks.items()}


def _uuid(nvml: Nvml, device: Any, hide: Callable[[str], str]) -> str:
    """Hidden as it is in CUDA_VISIBLE_DEVICES and in the labels of metrics, so that they can be put together."""
    return hide_identifiers(nvml.text("nvmlDeviceGetUUID", device), hide)


def _uint(nvml: Nvml, name: str, device: Any) -> Callable[[], int]:
    return lambda: nvml.uint(name, device)


def _clock(nvml: Nvml, name: str, device: Any, kind: int) -> int:
    return nvml.uint(name, device, ctypes.c_uint(kind))


def numa_node(nvml: Nvml, device: Any, root: Path) -> int:
    """The kernel names PCI devices with four digits of domain, NVML with eight."""
    address = nvml.pci_bus_id(device).lower()[-12:]
    path = root / "sys/bus/pci/devices" / address / "numa_node"
    try:
        return int(path.read_text())
    except OSError as error:
        raise NvmlError(f"{path}: {error.strerror}") from error
