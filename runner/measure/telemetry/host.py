"""The machine: CPU time by whom it was used, steal, pressure, memory, clocks, NUMA.

Softirq and hardware interrupts stand apart from `cpu_busy_s`: the kernel books the packets of our own load there, not
with the process that sent them, and they would look like somebody else's work.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import Path

from runner.measure.telemetry.base import Kind, Value
from runner.measure.telemetry.processes import ProcessTree
from runner.results.cgroup import own_folder
from runner.units import whole_number

MAX_CLOCKS = 8
"""CPUs whose frequency is read: on some machines each reading interrupts that CPU."""
_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_BUSY = ("user", "nice", "system")


class HostSource:
    """A `Source` of this machine; `server` are the roots of the server's processes, None where they are not known."""

    name = "host"

    def __init__(
        self, server: Sequence[int] | None, root: Path = Path("/"), cpus: frozenset[int] | None = None
    ) -> None:
        self._root, self._proc = root, root / "proc"
        self._cpus = frozenset(os.sched_getaffinity(0)) if cpus is None else cpus
        self._tick_s = 1 / os.sysconf("SC_CLK_TCK")
        self._server = None if server is None else ProcessTree(server, root)
        self._absent: dict[str, str] = {}

    def read(self) -> Mapping[str, Value]:
        """Each group of numbers on its own: one that cannot be had costs no other."""
        self._absent = {}
        values: dict[str, Value] = {}
        for name, part in self._parts.items():
            try:
                values |= {f"host.{key}": value for key, value in part()}
            except OSError as error:
                self._absent[f"host.{name}"] = f"{error.filename or name}: {error.strerror or error}"
            except (ValueError, IndexError, KeyError) as error:
                self._absent[f"host.{name}"] = f"not as expected: {error!r}"
        if self._server is None:
            self._absent["host.server_cpu_s"] = "the processes of the server are not known"
        return values

    def absent(self) -> Mapping[str, str]:
        return self._absent

    def close(self) -> None:
        """Nothing is kept open."""

    @cached_property
    def _parts(self) -> dict[str, Callable[[], Iterator[tuple[str, Value]]]]:
        return {
            "cpu": self._cpu,
            "processes": self._processes,
            "load1": self._load,
            "memory": self._memory,
            "vm": self._vm,
            "pressure": self._pressure,
            "cgroup_throttled_s": self._throttled,
            "cpu_mhz": self._clocks,
            "governor_performance": self._governor,
            "numa": self._numa,
        }

    def _cpu(self) -> Iterator[tuple[str, Value]]:
        total = dict.fromkeys(_FIELDS, 0.0)
        with (self._proc / "stat").open() as file:
            lines = [line.split() for line in takewhile(lambda line: line.startswith("cpu"), file)]
        for words in lines:
            number = words[0][3:]
            if number and int(number) in self._cpus:
                times = dict(zip(_FIELDS, (int(w) * self._tick_s for w in words[1:]), strict=False))
                total = {key: total[key] + times.get(key, 0.0) for key in _FIELDS}
                yield f"cpu{number}.busy_s", _counter(sum(times[key] for key in _BUSY), detail=True)
                yield f"cpu{number}.steal_s", _counter(times.get("steal", 0.0), detail=True)
        yield "cpu_busy_s", _counter(sum(total[key] for key in _BUSY))
        yield "cpu_softirq_s", _counter(total["irq"] + total["softirq"])
        yield "cpu_iowait_s", _counter(total["iowait"])
        yield "cpu_steal_s", _counter(total["steal"])
        yield "cpu_total_s", _counter(sum(total.values()))

    def _processes(self) -> Iterator[tuple[str, Value]]:
        yield "client_cpu_s", _counter(time.process_time())
        if self._server is not None:
            yield "server_cpu_s", _counter(self._server.cpu_s())

    def _load(self) -> Iterator[tuple[str, Value]]:
        yield "load1", Value(float((self._proc / "loadavg").read_text().split()[0]))

    def _memory(self) -> Iterator[tuple[str, Value]]:
        found = _numbers((self._proc / "meminfo").read_text())
        yield "memory_available_bytes", Value(found["MemAvailable"] * 1024, "B")
        yield "memory_used_bytes", Value((found["MemTotal"] - found["MemAvailable"]) * 1024, "B")
        yield "swap_used_bytes", Value((found["SwapTotal"] - found["SwapFree"]) * 1024, "B")

    def _vm(self) -> Iterator[tuple[str, Value]]:
        found = _numbers((self._proc / "vmstat").read_text())
        for key, name in (("pswpin", "swapped_in_pages"), ("pswpout", "swapped_out_pages"), ("oom_kill", "oom_kills")):
            if key in found:
                yield name, _counter(found[key], "")

    def _pressure(self) -> Iterator[tuple[str, Value]]:
        for kind in ("cpu", "memory", "io"):
            for line in (self._proc / "pressure" / kind).read_text().splitlines():
                share, total = line.split()[0], line.rpartition("total=")[2]
                yield f"pressure_{kind}_{share}_s", _counter(int(total) / 1e6)

    def _throttled(self) -> Iterator[tuple[str, Value]]:
        found = _numbers((own_folder(self._root, "cpu") / "cpu.stat").read_text())
        if "throttled_usec" in found:
            yield "cgroup_throttled_s", _counter(found["throttled_usec"] / 1e6)
        elif "throttled_time" in found:
            yield "cgroup_throttled_s", _counter(found["throttled_time"] / 1e9)
        else:
            raise ValueError("no throttling in cpu.stat")

    def _clocks(self) -> Iterator[tuple[str, Value]]:
        mhz = [int(path.read_text()) / 1000 for path in self._frequency("scaling_cur_freq")]
        yield "cpu_mhz", Value(sum(mhz) / len(mhz), "MHz")

    def _governor(self) -> Iterator[tuple[str, Value]]:
        found = [path.read_text().strip() == "performance" for path in self._frequency("scaling_governor")]
        yield "governor_performance", Value(sum(found) / len(found))

    def _frequency(self, name: str) -> list[Path]:
        cpus = sorted(self._cpus)
        chosen = cpus[:: max(1, -(-len(cpus) // MAX_CLOCKS))]
        return [self._root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq/{name}" for cpu in chosen]

    def _numa(self) -> Iterator[tuple[str, Value]]:
        nodes = sorted((self._root / "sys/devices/system/node").glob("node[0-9]*"))
        for node in nodes:
            free = re.search(r"MemFree:\s+(\d+)", (node / "meminfo").read_text())
            if free:
                yield f"{node.name}.memory_free_bytes", Value(int(free[1]) * 1024, "B", detail=True)
            missed = dict(line.split() for line in (node / "numastat").read_text().splitlines())
            yield f"{node.name}.numa_miss", _counter(int(missed["numa_miss"]), "", detail=True)
        if not nodes:
            raise ValueError("no NUMA nodes in sysfs")


def _counter(value: float, unit: str = "s", detail: bool = False) -> Value:
    kind: Kind = "counter"
    return Value(value, unit, kind, detail)


def _numbers(text: str) -> dict[str, int]:
    """`key: 12 kB` or `key 12`, one a line."""
    rows = (line.replace(":", " ").split() for line in text.splitlines())
    return {row[0]: number for row in rows if len(row) > 1 and (number := whole_number(row[1])) is not None}
