"""The processors: what they are, and every setting that changes how fast they run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from runner.results.facts import alike, fact, fields_of, nothing, text_of


def cpu_facts(root: Path) -> dict[str, Any]:
    """Model, cores, frequency governing, turbo, idle states, SMT, NUMA; settings of all CPUs, not of the first only."""
    entries = [fields_of(block) for block in text_of(root / "proc/cpuinfo").split("\n\n")]
    cores = {(e.get("physical id"), e["core id"]) for e in entries if "core id" in e}
    sockets = {e["physical id"] for e in entries if "physical id" in e}
    cpu, node = root / "sys/devices/system/cpu", root / "sys/devices/system/node"
    return {
        "model": fact(lambda: entries[0].get("model name") or nothing("no model name in /proc/cpuinfo")),
        "microcode": fact(lambda: entries[0].get("microcode") or nothing("no microcode in /proc/cpuinfo")),
        "virtual": fact(lambda: "hypervisor" in entries[0]["flags"].split()),
        "logical": fact(lambda: os.cpu_count() or nothing("the system does not say")),
        "usable": fact(lambda: len(os.sched_getaffinity(0))),
        "physical": fact(lambda: len(cores) or nothing("no core id in /proc/cpuinfo")),
        "sockets": fact(lambda: len(sockets) or nothing("no physical id in /proc/cpuinfo")),
        "governor": fact(lambda: _of_policies(cpu, "scaling_governor")),
        "frequency_driver": fact(lambda: _of_policies(cpu, "scaling_driver")),
        "frequency_max_khz": fact(lambda: _of_policies(cpu, "scaling_max_freq")),
        "energy_preference": fact(lambda: _of_policies(cpu, "energy_performance_preference")),
        "turbo": fact(lambda: _turbo(cpu)),
        "smt": fact(lambda: text_of(cpu / "smt/control")),
        "idle_driver": fact(lambda: text_of(cpu / "cpuidle/current_driver")),
        "idle_states": fact(lambda: _idle_states(cpu)),
        "isolated": fact(lambda: text_of(cpu / "isolated") or "none"),
        "numa_nodes": fact(lambda: len(list(node.glob("node[0-9]*"))) or nothing("none in sysfs")),
        "numa_cpus": fact(lambda: _numa_cpus(node)),
    }


def _of_policies(cpu: Path, name: str) -> str | dict[str, int]:
    """What the frequency policies say; CPUs that share a clock share one."""
    policies = sorted((cpu / "cpufreq").glob("policy[0-9]*")) or sorted(cpu.glob("cpu[0-9]*/cpufreq"))
    if not policies:
        nothing(f"no frequency control in {cpu}")
    return alike((text_of(policy / name) for policy in policies), str(cpu))


def _turbo(cpu: Path) -> bool:
    """Intel's driver says when it is off, the others when it is on."""
    off, on = cpu / "intel_pstate/no_turbo", cpu / "cpufreq/boost"
    if off.exists():
        return text_of(off) == "0"
    if on.exists():
        return text_of(on) == "1"
    return bool(nothing(f"neither {off} nor {on}"))


def _idle_states(cpu: Path) -> dict[str, str]:
    """Name of each state -> whether CPUs may enter it."""
    states = sorted(cpu.glob("cpu0/cpuidle/state[0-9]*"))
    if not states:
        nothing(f"none in {cpu}/cpu0/cpuidle")
    return {text_of(state / "name"): "off" if text_of(state / "disable") != "0" else "on" for state in states}


def _numa_cpus(node: Path) -> dict[str, str]:
    found = {path.name: text_of(path / "cpulist") for path in sorted(node.glob("node[0-9]*"))}
    return found or dict(nothing("none in sysfs"))
