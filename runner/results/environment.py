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
from functools import partial
from pathlib import Path
from typing import Any

from runner.results.cgroup import limits
from runner.results.cpu_facts import cpu_facts
from runner.results.facts import fact, fields_of, hashed, hide_identifiers, nothing, text_of
from runner.results.files import sha256_of
from runner.results.gpus import gpus
from runner.results.system_facts import system_facts

PACKAGES = ("numpy", "pydantic", "tritonclient", "nvidia-pytriton", "nvidia-dali-cuda130", "nvidia-dali-cuda120",
            "onnx", "onnxruntime")  # fmt: skip

ENVIRONMENT = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "CUDA_DEVICE_ORDER",
               "OMP_NUM_THREADS", "OMP_PROC_BIND", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX",
               "LD_PRELOAD", "LANG", "LC_ALL", "TZ")  # fmt: skip
"""The only environment variables that are ever recorded."""

VOLATILE = ("load_average", "memory_available_bytes", "engine_version")
"""Facts that may change from one minute to the next."""
_PACKAGE = Path(__file__).resolve().parents[1]


def fingerprint(identify: bool = False, root: Path = Path("/")) -> dict[str, Any]:
    """Facts of this machine and of the software in use; names and serial numbers are hashed unless `identify`.

    `digest` covers what does not change by itself, so equal digests mean the same rig with the same software.
    """
    hide = str if identify else hashed
    facts: dict[str, Any] = {
        "os": fact(lambda: _os_release(root)),
        "kernel": fact(platform.release),
        "architecture": fact(platform.machine),
        "host": fact(lambda: hide(platform.node() or nothing("the machine has no name"))),
        "machine_id": fact(lambda: hide(text_of(root / "etc/machine-id"))),
        "container": fact(lambda: _container(root)),
        "cpu": fact(lambda: cpu_facts(root)),
        "memory_total_bytes": fact(lambda: _meminfo(root, "MemTotal")),
        "memory_available_bytes": fact(lambda: _meminfo(root, "MemAvailable")),
        "cgroup": fact(lambda: limits(root)),
        "python": fact(lambda: f"{platform.python_implementation()} {platform.python_version()}"),
        "packages": {name: fact(partial(_version, name)) for name in PACKAGES},
        "engine_sha256": fact(_engine_digest),
        "engine_version": fact(_engine_version),
        "git_commit": fact(lambda: _git_commit(_PACKAGE.parent)),
        "gpus": fact(lambda: gpus(hide)),
        **system_facts(root, hide),
        "environment": {name: hide_identifiers(os.environ[name], hide) for name in ENVIRONMENT if name in os.environ},
        "load_average": fact(lambda: list(os.getloadavg())),
    }
    stable = {key: value for key, value in facts.items() if key not in VOLATILE}
    return {"digest": hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest(), **facts}


def _os_release(root: Path) -> str:
    for line in text_of(root / "etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip('"')
    return str(nothing("no PRETTY_NAME in /etc/os-release"))


def _container(root: Path) -> str | bool:
    for marker, kind in (("run/.containerenv", "podman"), (".dockerenv", "docker")):
        if (root / marker).exists():
            return kind
    found = re.search(r"docker|kubepods|containerd|libpod|lxc", text_of(root / "proc/1/cgroup"))
    return found.group() if found else False


def _meminfo(root: Path, key: str) -> int:
    return int(fields_of(text_of(root / "proc/meminfo"))[key].split()[0]) * 1024


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return str(nothing("not installed"))


def _engine_digest() -> str:
    libraries = sorted(_PACKAGE.glob("_engine*.so"))
    return sha256_of(libraries[0]) if libraries else str(nothing("the native engine is not built"))


def _engine_version() -> str:
    # Only looked at, never imported: `runner.load` decides when the engine is loaded.
    module = sys.modules.get("runner._engine")
    return str(module.__version__ if module else nothing("the native engine is not loaded"))


def _git_commit(folder: Path) -> str:
    if not (folder / ".git").exists():
        return str(nothing("installed without a checkout"))
    git = folder / ".git"
    if git.is_file():  # a linked worktree: the file names the real folder
        git = (folder / text_of(git).removeprefix("gitdir:").strip()).resolve()
    head = text_of(git / "HEAD")
    return _resolved(git, head.removeprefix("ref:").strip()) if head.startswith("ref:") else head


def _resolved(git: Path, reference: str) -> str:
    common = git / text_of(git / "commondir") if (git / "commondir").is_file() else git
    for folder in (git, common):
        if (folder / reference).is_file():
            return text_of(folder / reference)
    packed = common / "packed-refs"
    lines = text_of(packed).splitlines() if packed.is_file() else []
    found = [line.split()[0] for line in lines if line.endswith(f" {reference}")]
    return found[0] if found else str(nothing(f"{reference} has no commit yet"))
