"""NVIDIA GPUs, every field on its own: one that a board lacks says so in NVML's words and costs no other."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.measure.telemetry.base import Kind, Value
from runner.measure.telemetry.kernel_log import XidLog
from runner.results.nvml import REASONS, UNSUPPORTED, GpuProcess, Nvml, NvmlError

PCIE_THROUGHPUT_S = 0.02
"""NVML counts for so long for each direction."""
_THERMAL_BITS = REASONS["sw_thermal"] | REASONS["hw_thermal"]
_HARDWARE_BITS = REASONS["hw_slowdown"] | REASONS["hw_power_brake"]
STATES: dict[str, Callable[[int], bool]] = {
    "throttled_thermal": lambda bits: bool(bits & _THERMAL_BITS),
    # The bit of a slow-down by hardware accompanies the thermal one: heat alone is said once.
    "throttled_hw": lambda bits: bool(bits & _HARDWARE_BITS) and not bits & _THERMAL_BITS,
    "power_capped": lambda bits: bool(bits & REASONS["sw_power_cap"]),
}
"""What flags are raised from."""
_POWER, _THERMAL = 0, 1
_CORRECTED, _UNCORRECTED = 0, 1
_VOLATILE, _AGGREGATE = 0, 1
_SM, _MEMORY, _VIDEO = 1, 2, 3
_UP, _DOWN = 0, 1


@dataclass(frozen=True)
class Field:
    """One number of a GPU."""

    name: str
    unit: str
    read: Callable[[Nvml, Any], float]
    kind: Kind = "gauge"


def _uint(function: str, scale: float = 1.0, argument: int | None = None) -> Callable[[Nvml, Any], float]:
    extra = () if argument is None else (ctypes.c_uint(argument),)
    return lambda nvml, device: nvml.uint(function, device, *extra) * scale


def _ulong(function: str, scale: float = 1.0, *arguments: int) -> Callable[[Nvml, Any], float]:
    extra = tuple(ctypes.c_uint(argument) for argument in arguments)
    return lambda nvml, device: nvml.ulong(function, device, *extra) * scale


def _share(function: str) -> Callable[[Nvml, Any], float]:
    return lambda nvml, device: nvml.pair(function, device) / 100


MEMORY: tuple[Field, ...] = (
    Field("memory_used_bytes", "B", lambda nvml, device: nvml.memory(device)[1]),
    Field("memory_total_bytes", "B", lambda nvml, device: nvml.memory(device)[0]),
)
"""What the parts of a GPU have too."""

FIELDS: tuple[Field, ...] = (
    # Energy first: its moment is the one that is written down.
    Field("energy_j", "J", _ulong("nvmlDeviceGetTotalEnergyConsumption", 1e-3), "counter"),
    Field("power_w", "W", _uint("nvmlDeviceGetPowerUsage", 1e-3)),
    Field("power_limit_w", "W", _uint("nvmlDeviceGetEnforcedPowerLimit", 1e-3)),
    Field("utilization", "ratio", lambda nvml, device: nvml.utilization(device)[0] / 100),
    Field("memory_utilization", "ratio", lambda nvml, device: nvml.utilization(device)[1] / 100),
    *MEMORY,
    Field("sm_clock_mhz", "MHz", _uint("nvmlDeviceGetClockInfo", 1, _SM)),
    Field("memory_clock_mhz", "MHz", _uint("nvmlDeviceGetClockInfo", 1, _MEMORY)),
    Field("video_clock_mhz", "MHz", _uint("nvmlDeviceGetClockInfo", 1, _VIDEO)),
    Field("temperature_c", "°C", _uint("nvmlDeviceGetTemperature", 1, 0)),
    Field("fan", "ratio", _uint("nvmlDeviceGetFanSpeed", 1e-2)),
    Field("power_violation_s", "s", lambda nvml, device: nvml.violation_ns(device, _POWER) / 1e9, "counter"),
    Field("thermal_violation_s", "s", lambda nvml, device: nvml.violation_ns(device, _THERMAL) / 1e9, "counter"),
    Field("decoder_utilization", "ratio", _share("nvmlDeviceGetDecoderUtilization")),
    Field("encoder_utilization", "ratio", _share("nvmlDeviceGetEncoderUtilization")),
    Field("jpeg_utilization", "ratio", _share("nvmlDeviceGetJpgUtilization")),
    *(
        Field(f"ecc_{kind}_{scope}", "", _ulong("nvmlDeviceGetTotalEccErrors", 1, k, s), "counter")
        for kind, k in (("corrected", _CORRECTED), ("uncorrected", _UNCORRECTED))
        for scope, s in (("volatile", _VOLATILE), ("aggregate", _AGGREGATE))
    ),
    Field("remapped_rows", "", lambda nvml, device: nvml.remapped_rows(device), "counter"),
    Field("pcie_generation", "", _uint("nvmlDeviceGetCurrPcieLinkGeneration")),
    Field("pcie_width", "", _uint("nvmlDeviceGetCurrPcieLinkWidth")),
    Field("pcie_replays", "", _uint("nvmlDeviceGetPcieReplayCounter"), "counter"),
)
THROUGHPUT: tuple[Field, ...] = (
    Field("pcie_sent_bytes_per_s", "B/s", _uint("nvmlDeviceGetPcieThroughput", 1e3, _UP)),
    Field("pcie_received_bytes_per_s", "B/s", _uint("nvmlDeviceGetPcieThroughput", 1e3, _DOWN)),
)
"""Last, because they take their time."""


class GpuSource:
    """A `Source` of the GPUs in `indices` (None: all). The session stays the caller's.

    `ours` gives the processes that may compute here now; None where they are not known.
    """

    name = "gpu"

    def __init__(
        self,
        nvml: Nvml,
        *,
        period_s: float = 1.0,
        indices: Sequence[int] | None = None,
        ours: Callable[[], frozenset[int]] | None = None,
        xids: XidLog | None = None,
        root: Path = Path("/"),
    ) -> None:
        self._nvml, self._ours, self._root = nvml, ours, root
        self._xids = xids or XidLog()
        self._hopeless: dict[str, str] = {}
        self._absent: dict[str, str] = {}
        self._devices = self._chosen(indices)
        affordable = 4 * PCIE_THROUGHPUT_S * len(self._devices) <= period_s
        self._fields = (*FIELDS, *(THROUGHPUT if affordable else ()))
        if not affordable:
            self._hopeless["gpu.pcie_throughput"] = f"NVML takes {PCIE_THROUGHPUT_S * 1e3:g} ms for each direction"

    def read(self) -> Mapping[str, Value]:
        """All fields of all GPUs, then Xid errors."""
        self._absent = {}
        values = dict(itertools.chain.from_iterable(self._device(*found) for found in self._devices.items()))
        xids = self._xids.read()
        if not self._devices:
            self._absent = {self.name: "the driver shows no GPU, or none of those in measure.telemetry.gpus"}
        elif not values:
            self._absent = {self.name: next(iter(self._absent.values()), "no GPU answers")}
        elif xids is None:
            self._absent["gpu.xids"] = self._xids.absent or "not readable"
        else:
            values["gpu.xids"] = Value(xids, "", "counter")
        return values

    def absent(self) -> Mapping[str, str]:
        return {**self._hopeless, **self._absent}

    def close(self) -> None:
        self._xids.close()

    def _chosen(self, indices: Sequence[int] | None) -> dict[int, tuple[Any, list[Any]]]:
        """Index -> handle and the handles of its MIG parts."""
        devices = self._nvml.devices()
        for index in indices or ():
            if index >= len(devices):
                self._hopeless[f"gpu{index}"] = f"the driver shows {len(devices)} GPUs"
        wanted = range(len(devices)) if indices is None else [i for i in indices if i < len(devices)]
        return {index: (devices[index], self._nvml.mig_devices(devices[index])) for index in wanted}

    def _device(self, index: int, handles: tuple[Any, list[Any]]) -> Iterator[tuple[str, Value]]:
        device, parts = handles
        yield from self._read(f"gpu{index}", device, self._fields)
        yield from self._reasons(f"gpu{index}", device)
        yield from self._processes(f"gpu{index}", device)
        for number, part in enumerate(parts):
            yield from self._read(f"gpu{index}.mig{number}", part, MEMORY)

    def _read(self, prefix: str, device: Any, fields: Sequence[Field]) -> Iterator[tuple[str, Value]]:
        for field in fields:
            name = f"{prefix}.{field.name}"
            found = self._tried(name, lambda field=field: field.read(self._nvml, device))  # type: ignore[misc]
            if found is not None:
                yield name, Value(float(found), field.unit, field.kind)

    def _reasons(self, prefix: str, device: Any) -> Iterator[tuple[str, Value]]:
        name = f"{prefix}.clock_reasons"
        bits = self._tried(name, lambda: self._nvml.clock_reasons(device))
        if bits is not None:
            yield name, Value(float(bits), "", detail=True)
            for reason, bit in REASONS.items():
                yield f"{prefix}.clocks.{reason}", Value(float(bool(bits & bit)), "ratio")
            for state, holds in STATES.items():
                yield f"{prefix}.{state}", Value(float(holds(bits)), "ratio")

    def _processes(self, prefix: str, device: Any) -> Iterator[tuple[str, Value]]:
        found = self._tried(f"{prefix}.processes", lambda: self._nvml.compute_processes(device))
        if found is None:
            return
        yield f"{prefix}.processes", Value(float(len(found)))
        for process in found:
            if process.memory_bytes is not None:
                yield f"{prefix}.process.{process.pid}.memory_bytes", Value(process.memory_bytes, "B", detail=True)
        strangers = self._strangers(found)
        if strangers is None:
            self._absent[f"{prefix}.strangers"] = (
                "the server's processes, or those on the GPU, cannot be told from here"
            )
        else:
            yield f"{prefix}.strangers", Value(float(strangers))

    def _strangers(self, found: Sequence[GpuProcess]) -> int | None:
        """Processes that are neither the server's nor ours; None where pids of another namespace are shown."""
        if self._ours is None or not all((self._root / f"proc/{process.pid}").exists() for process in found):
            return None
        ours = self._ours() if found else frozenset()
        return sum(process.pid not in ours for process in found)

    def _tried(self, name: str, look: Callable[[], Any]) -> Any:
        if name in self._hopeless:
            return None
        try:
            return look()
        except AttributeError as error:  # an older library without that function
            self._hopeless[name] = str(error)
        except NvmlError as error:
            place = self._hopeless if error.status in UNSUPPORTED else self._absent
            place[name] = str(error)
        return None
