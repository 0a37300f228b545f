"""The machine around the processors: kernel options, memory policy, limits, network interfaces, firmware."""

from __future__ import annotations

import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.results.facts import fact, fields_of, hide_identifiers, nothing, text_of
from runner.scenario.secrets import redact_text

_LIMITS = {"open_files": "RLIMIT_NOFILE", "locked_memory_bytes": "RLIMIT_MEMLOCK", "processes": "RLIMIT_NPROC"}
_CHOSEN = re.compile(r"\[(.+?)\]")


def system_facts(root: Path, hide: Callable[[str], str]) -> dict[str, Any]:
    """Everything on its own; identifiers pass through `hide`."""
    huge = root / "sys/kernel/mm/transparent_hugepage"
    return {
        "kernel_command_line": fact(lambda: _command_line(root, hide)),
        "clock_source": fact(lambda: text_of(root / "sys/devices/system/clocksource/clocksource0/current_clocksource")),
        "firmware": {key: fact(lambda key=key: text_of(root / "sys/class/dmi/id" / key)) for key in _FIRMWARE},  # type: ignore[misc]
        "serial": fact(lambda: hide(text_of(root / "sys/class/dmi/id/product_serial") or nothing("empty"))),
        "swap": {
            "total_bytes": fact(lambda: _swap_bytes(root)),
            "swappiness": fact(lambda: int(text_of(root / "proc/sys/vm/swappiness"))),
        },
        "huge_pages": {name: fact(lambda name=name: _chosen(huge / name)) for name in ("enabled", "defrag")},  # type: ignore[misc]
        "numa_balancing": fact(lambda: text_of(root / "proc/sys/kernel/numa_balancing") != "0"),
        "limits": {name: fact(lambda key=key: _limit(key)) for name, key in _LIMITS.items()},  # type: ignore[misc]
        "network": fact(lambda: _network(root, hide)),
    }


_FIRMWARE = ("sys_vendor", "product_name", "board_name", "bios_version", "bios_date")


def _command_line(root: Path, hide: Callable[[str], str]) -> str:
    words = text_of(root / "proc/cmdline").split()
    return hide_identifiers(" ".join(redact_text(word) for word in words), hide)


def _swap_bytes(root: Path) -> int:
    return int(fields_of(text_of(root / "proc/meminfo"))["SwapTotal"].split()[0]) * 1024


def _chosen(path: Path) -> str:
    """The word in brackets among those to choose from."""
    found = _CHOSEN.search(text_of(path))
    return found[1] if found else str(nothing(f"{path}: nothing is chosen"))


def _limit(name: str) -> int | str:
    soft, _ = resource.getrlimit(getattr(resource, name))
    return "unlimited" if soft == resource.RLIM_INFINITY else soft


def _network(root: Path, hide: Callable[[str], str]) -> dict[str, Any]:
    """Interfaces with hardware behind them; bridges and virtual pairs come and go with containers."""
    found = sorted(path for path in (root / "sys/class/net").iterdir() if (path / "device").exists())
    if not found:
        nothing(f"no network hardware in {root}sys/class/net")
    return {path.name: _interface(path, hide) for path in found}


def _interface(path: Path, hide: Callable[[str], str]) -> dict[str, Any]:
    return {
        "driver": fact(lambda: (path / "device/driver").resolve(strict=True).name),
        "speed_mbit_per_s": fact(lambda: _speed(path)),
        "mtu": fact(lambda: int(text_of(path / "mtu"))),
        "numa_node": fact(lambda: int(text_of(path / "device/numa_node"))),
        "address": fact(lambda: hide(text_of(path / "address"))),
    }


def _speed(path: Path) -> int:
    speed = int(text_of(path / "speed"))
    return speed if speed > 0 else int(nothing("the driver does not say"))
