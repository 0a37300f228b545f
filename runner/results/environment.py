"""What this machine is: enough to tell two rigs apart and to explain a number, nothing that identifies people.

Every fact is looked up on its own; one that cannot be had is `{"absent": why}` and never an error.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from runner.results.cgroup import limits
from runner.results.files import sha256_of
from runner.results.gpus import gpus

PACKAGES = ("numpy", "pydantic", "tritonclient", "nvidia-pytriton", "nvidia-dali-cuda130", "nvidia-dali-cuda120",
            "onnx", "onnxruntime")  # fmt: skip

ENVIRONMENT = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "CUDA_DEVICE_ORDER",
               "OMP_NUM_THREADS", "OMP_PROC_BIND", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX",
               "LD_PRELOAD", "LANG", "LC_ALL", "TZ")  # fmt: skip
"""The only environment variables that are ever recorded."""

VOLATILE = ("load_average", "memory_available_bytes", "engine_version")
"""Facts that may change from one minute to the next."""
_PACKAGE = Path(__file__).resolve().parents[1]
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


def fingerprint(identify: bool = False, root: Path = Path("/")) -> dict[str, Any]:
    """Facts of this machine and of the software in use; names and serial numbers are hashed unless `identify`.

    `digest` covers what does not change by itself, so equal digests mean the same rig with the same software.
    """
    hide = str if identify else hashed
    facts: dict[str, Any] = {
        "os": fact(lambda: _os_release(root)),
        "kernel": fact(platform.release),
        "architecture": fact(platform.machine),
        "host": fact(lambda: hide(platform.node() or _nothing("the machine has no name"))),
        "machine_id": fact(lambda: hide(_text(root / "etc/machine-id"))),
        "container": fact(lambda: _container(root)),
        "cpu": fact(lambda: _cpu(root)),
        "memory_total_bytes": fact(lambda: _meminfo(root, "MemTotal")),
        "memory_available_bytes": fact(lambda: _meminfo(root, "MemAvailable")),
        "cgroup": fact(lambda: limits(root)),
        "python": fact(lambda: f"{platform.python_implementation()} {platform.python_version()}"),
        "packages": {name: fact(partial(_version, name)) for name in PACKAGES},
        "engine_sha256": fact(_engine_digest),
        "engine_version": fact(_engine_version),
        "git_commit": fact(lambda: _git_commit(_PACKAGE.parent)),
        "gpus": fact(lambda: gpus(hide)),
        "environment": {name: _safe(os.environ[name], hide) for name in ENVIRONMENT if name in os.environ},
        "load_average": fact(lambda: list(os.getloadavg())),
    }
    stable = {key: value for key, value in facts.items() if key not in VOLATILE}
    return {"digest": hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest(), **facts}


def fact(look: Callable[[], Any]) -> Any:
    """What `look` finds, or why there is nothing."""
    try:
        return look()
    except OSError as error:
        return {"absent": f"{error.filename or 'the system'}: {error.strerror or error}"}
    except Exception as error:  # a fingerprint that fails a run would be worse than one with a gap
        return {"absent": str(error) or type(error).__name__}


def hashed(text: str) -> str:
    """Tells two things apart without saying what they are."""
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


def hide_identifiers(text: str) -> str:
    """The text with what identifies a GPU in it hashed."""
    return _safe(text, hashed)


def _safe(value: str, hide: Callable[[str], str]) -> str:
    return _UUID.sub(lambda match: hide(match.group()), value)


def _nothing(why: str) -> Any:
    raise LookupError(why)


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace").strip()


def _os_release(root: Path) -> str:
    for line in _text(root / "etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip('"')
    return str(_nothing("no PRETTY_NAME in /etc/os-release"))


def _container(root: Path) -> str | bool:
    for marker, kind in (("run/.containerenv", "podman"), (".dockerenv", "docker")):
        if (root / marker).exists():
            return kind
    found = re.search(r"docker|kubepods|containerd|libpod|lxc", _text(root / "proc/1/cgroup"))
    return found.group() if found else False


def _cpu(root: Path) -> dict[str, Any]:
    entries = [_fields(block) for block in _text(root / "proc/cpuinfo").split("\n\n")]
    cores = {(e.get("physical id"), e["core id"]) for e in entries if "core id" in e}
    system = root / "sys/devices/system"
    return {
        "model": fact(lambda: entries[0].get("model name") or _nothing("no model name in /proc/cpuinfo")),
        "logical": fact(lambda: os.cpu_count() or _nothing("the system does not say")),
        "usable": fact(lambda: len(os.sched_getaffinity(0))),
        "physical": fact(lambda: len(cores) or _nothing("no core id in /proc/cpuinfo")),
        "governor": fact(lambda: _text(system / "cpu/cpu0/cpufreq/scaling_governor")),
        "smt": fact(lambda: _text(system / "cpu/smt/control")),
        "numa_nodes": fact(lambda: len(list((system / "node").glob("node[0-9]*"))) or _nothing("none in sysfs")),
    }


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _meminfo(root: Path, key: str) -> int:
    return int(_fields(_text(root / "proc/meminfo"))[key].split()[0]) * 1024


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return str(_nothing("not installed"))


def _engine_digest() -> str:
    libraries = sorted(_PACKAGE.glob("_engine*.so"))
    return sha256_of(libraries[0]) if libraries else str(_nothing("the native engine is not built"))


def _engine_version() -> str:
    # Only looked at, never imported: `runner.load` decides when the engine is loaded.
    module = sys.modules.get("runner._engine")
    return str(module.__version__ if module else _nothing("the native engine is not loaded"))


def _git_commit(folder: Path) -> str:
    if not (folder / ".git").exists():
        return str(_nothing("installed without a checkout"))
    git = folder / ".git"
    if git.is_file():  # a linked worktree: the file names the real folder
        git = (folder / _text(git).removeprefix("gitdir:").strip()).resolve()
    head = _text(git / "HEAD")
    return _resolved(git, head.removeprefix("ref:").strip()) if head.startswith("ref:") else head


def _resolved(git: Path, reference: str) -> str:
    common = git / _text(git / "commondir") if (git / "commondir").is_file() else git
    for folder in (git, common):
        if (folder / reference).is_file():
            return _text(folder / reference)
    packed = common / "packed-refs"
    lines = _text(packed).splitlines() if packed.is_file() else []
    found = [line.split()[0] for line in lines if line.endswith(f" {reference}")]
    return found[0] if found else str(_nothing(f"{reference} has no commit yet"))
