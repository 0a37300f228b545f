"""GPUs and what changes how fast they run; each check is one line for all of them, or names those that differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from runner.runtimes.doctor.gpu_facts import DriverFacts, GpuFacts
from runner.runtimes.findings import Finding

_HARMLESS = frozenset({"idle", "application_clocks", "display_clocks", "sync_boost"})
_COOLER = "let them cool down; check fans, filters and the inlet temperature (nvidia-smi -q -d TEMPERATURE)"
_INSTALL = "install the NVIDIA driver and reboot (`nvidia-smi` must list the GPUs), or choose a target without GPUs"


def findings(driver: DriverFacts | str) -> Iterator[Finding]:
    """All checks; those of the GPUs only when the driver shows some."""
    yield driver_present(driver)
    if isinstance(driver, DriverFacts) and driver.gpus:
        for check in (persistence, mig, clocks, throttling, power, ecc, affinity):
            yield check(driver.gpus)


def driver_present(driver: DriverFacts | str) -> Finding:
    if isinstance(driver, str):
        return Finding("NVIDIA driver", "fail", driver, _INSTALL)
    cuda = ".".join(map(str, driver.cuda))
    detail = f"driver {driver.version}, CUDA up to {cuda}"
    if not driver.gpus:
        return Finding("NVIDIA driver", "fail", f"{detail}, but it shows no GPU", "nvidia-smi -L; dmesg | grep -i nvrm")
    names = ", ".join(f"{gpu.index} {gpu.name}" for gpu in driver.gpus)
    return Finding("NVIDIA driver", "ok", f"{detail}; GPU {names}")


def persistence(gpus: Sequence[GpuFacts]) -> Finding:
    """Without it the driver is unloaded between servers: settings are lost, and each start waits for it."""
    off = [gpu for gpu in gpus if gpu.persistence is False]
    remedy = "sudo nvidia-smi -pm 1, or for the time of a run: `rig: {persistence: true}` in the target"
    return _uniform("persistence mode", off, f"off on {_which(off)}", _shown(gpus, "persistence"), remedy)


def mig(gpus: Sequence[GpuFacts]) -> Finding:
    """Parts of one GPU share its power and its clocks."""
    on = [gpu for gpu in gpus if gpu.mig]
    detail = f"on on {_which(on)}: whoever uses another part of it shares power and clocks with what is measured"
    remedy = f"use all parts alone, or sudo nvidia-smi -i {_indices(on)} -mig 0"
    return _uniform("MIG", on, detail, _shown(gpus, "mig"), remedy)


def clocks(gpus: Sequence[GpuFacts]) -> Finding:
    """Only told: an idle GPU clocks low, and NVML does not tell whether a lock is on."""
    lines = [
        f"GPU {gpu.index}: SM at {_number(gpu.sm_clock_mhz)} of {_number(gpu.sm_clock_max_mhz)} MHz"
        f"{f', application clocks {gpu.application_clock_mhz} MHz' if gpu.application_clock_mhz else ''}"
        for gpu in gpus
    ]
    return Finding("clocks", "ok", "; ".join(lines))


def throttling(gpus: Sequence[GpuFacts]) -> Finding:
    """Whether something holds clocks down at this moment."""
    held = [gpu for gpu in gpus if gpu.held_by - _HARMLESS]
    if not held:
        return Finding("throttling", "ok", "nothing holds clocks down now")
    reasons = sorted({reason for gpu in held for reason in gpu.held_by - _HARMLESS})
    hot = any("thermal" in reason or "hw" in reason for reason in reasons)
    remedy = _COOLER if hot else "see who uses them (nvidia-smi), and the power limit (nvidia-smi -q -d POWER)"
    return Finding("throttling", "warn", f"{_which(held)}: clocks are held down by {', '.join(reasons)}", remedy)


def power(gpus: Sequence[GpuFacts]) -> Finding:
    changed = [gpu for gpu in gpus if gpu.power_limit_w != gpu.power_default_w and gpu.power_default_w is not None]
    limits = "; ".join(f"GPU {g.index}: {_number(g.power_limit_w)} W of {_number(g.power_default_w)} W" for g in gpus)
    remedy = " && ".join(f"sudo nvidia-smi -i {gpu.index} -pl {gpu.power_default_w:g}" for gpu in changed)
    return Finding("power limit", "warn" if changed else "ok", f"{limits} (default)", remedy or None)


def ecc(gpus: Sequence[GpuFacts]) -> Finding:
    """Errors that nobody could correct come first; without ECC nobody would see them."""
    bad = [gpu for gpu in gpus if gpu.uncorrected]
    if bad:
        counts = ", ".join(f"GPU {gpu.index}: {gpu.uncorrected}" for gpu in bad)
        remedy = "nvidia-smi -q -d ECC,ROW_REMAPPER; reboot, and have a board replaced that shows new ones"
        return Finding("ECC", "warn", f"memory errors that could not be corrected: {counts}", remedy)
    off = [gpu for gpu in gpus if gpu.ecc is False]
    remedy = f"sudo nvidia-smi -i {_indices(off)} -e 1, then reboot"
    corrected = sum(gpu.corrected or 0 for gpu in gpus)
    fine = f"{_shown(gpus, 'ecc')}; {corrected} errors corrected since the driver was loaded"
    return _uniform("ECC", off, f"off on {_which(off)}: wrong bits go unnoticed", fine, remedy)


def affinity(gpus: Sequence[GpuFacts]) -> Finding:
    """Which processors are near."""
    nodes = {gpu.index: gpu.numa_node for gpu in gpus if gpu.numa_node is not None and gpu.numa_node >= 0}
    if not nodes:
        return Finding("GPU affinity", "ok", "the system names no NUMA node for them")
    lines = ", ".join(f"GPU {index} at node {node}" for index, node in nodes.items())
    return Finding("GPU affinity", "ok", f"{lines}; `rig: {{server_cpus: {{numa: N}}}}` keeps the server near it")


def _uniform(check: str, odd: Sequence[GpuFacts], detail: str, fine: str, remedy: str) -> Finding:
    return Finding(check, "warn", detail, remedy) if odd else Finding(check, "ok", fine)


def _shown(gpus: Iterable[GpuFacts], field: str) -> str:
    """The settings that occur: `on`, `off`, or that the board does not tell."""
    words: dict[object, str] = {True: "on", False: "off", None: "not told"}
    return ", ".join(dict.fromkeys(words[getattr(gpu, field)] for gpu in gpus))


def _which(gpus: Sequence[GpuFacts]) -> str:
    return f"GPU {_indices(gpus)}"


def _indices(gpus: Sequence[GpuFacts]) -> str:
    return ",".join(str(gpu.index) for gpu in gpus)


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:g}"
