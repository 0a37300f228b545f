"""What the control group leaves of the machine: the tightest limit on the way up to the root counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def limits(root: Path) -> dict[str, Any]:
    """CPUs (as a number of cores), memory and the allowed CPU list; "unlimited" where no group sets one."""
    mount = root / "sys/fs/cgroup"
    unified = (mount / "cgroup.controllers").exists()
    paths = _memberships(root / "proc/self/cgroup")
    if unified:
        chain = _ancestors(mount, paths.get("", "/"))
        cpus = [_quota(*_words(folder / "cpu.max")) for folder in chain]
        memory = [_number(_words(folder / "memory.max")) for folder in chain]
        cpuset = [_words(folder / "cpuset.cpus.effective") for folder in chain]
    else:
        cpu, ram, allowed = (_ancestors(mount / name, paths.get(name, "/")) for name in ("cpu", "memory", "cpuset"))
        cpus = [_quota(*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")) for folder in cpu]
        memory = [_number(_words(folder / "memory.limit_in_bytes")) for folder in ram]
        cpuset = [_words(folder / "cpuset.cpus") for folder in allowed]
    return {
        "version": 2 if unified else 1,
        "cpus": min((value for value in cpus if value is not None), default="unlimited"),
        "memory_bytes": min((value for value in memory if value is not None), default="unlimited"),
        "cpuset": next((" ".join(words) for words in cpuset if words), "unlimited"),
    }


def own_folder(root: Path, controller: str) -> Path:
    """Our own group below the mount; `controller` matters only in the old hierarchy."""
    mount = root / "sys/fs/cgroup"
    unified = (mount / "cgroup.controllers").exists()
    paths = _memberships(root / "proc/self/cgroup")
    name = "" if unified else controller
    return _ancestors(mount / name, paths.get(name, "/"))[0]


def _memberships(path: Path) -> dict[str, str]:
    """Controller -> path of our group; the unified hierarchy has the empty name."""
    found: dict[str, str] = {}
    for line in path.read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        found |= dict.fromkeys(controllers.split(","), group)
    return found


def _ancestors(mount: Path, group: str) -> list[Path]:
    """Our group first, then its parents; inside a container the path may not exist and the mount itself is ours."""
    leaf = mount / group.strip("/")
    folders = [leaf, *leaf.parents]
    return folders[: folders.index(mount) + 1] if leaf.is_dir() else [mount]


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _quota(quota: str = "max", period: str = "100000") -> float | None:
    return None if quota in ("max", "-1") else int(quota) / int(period)


_NO_LIMIT_V1 = 2**62


def _number(words: list[str]) -> int | None:
    return None if not words or words[0] == "max" or int(words[0]) > _NO_LIMIT_V1 else int(words[0])
