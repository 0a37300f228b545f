from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.results import environment
from runner.results.cgroup import limits
from runner.results.environment import fingerprint, hashed
from runner.results.gpus import gpus
from runner.results.nvml import LIBRARY, NvmlError


def test_it_is_json_complete_and_quick() -> None:
    fingerprint()
    started = time.perf_counter()
    facts = fingerprint()
    assert time.perf_counter() - started < 0.5  # 0.03 s when nothing else runs
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["kernel"] == platform.release()
    assert facts["packages"]["numpy"]
    assert facts["cpu"]["logical"] == os.cpu_count()
    assert set(facts) >= {"os", "host", "container", "cgroup", "python", "gpus", "git_commit", "load_average", "digest"}


def test_on_a_machine_without_anything_every_gap_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_PACKAGE", tmp_path / "runner")
    monkeypatch.setattr(environment, "gpus", lambda hide: gpus(hide, load=no_driver))
    facts = fingerprint(root=tmp_path)
    absent = {key for key, value in facts.items() if isinstance(value, dict) and "absent" in value}
    assert absent >= {"os", "machine_id", "container", "cpu", "memory_total_bytes", "cgroup", "gpus", "git_commit"}
    assert facts["memory_total_bytes"]["absent"] == f"{tmp_path}/proc/meminfo: No such file or directory"
    assert facts["git_commit"]["absent"] == "installed without a checkout"
    assert facts["engine_sha256"]["absent"] == "the native engine is not built"
    assert facts["gpus"]["absent"] == "no NVIDIA driver: no such library"


def test_names_are_hashed_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "rig-7.example.org")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6")
    assert fingerprint()["host"] == hashed("rig-7.example.org")
    assert "rig-7" not in json.dumps(fingerprint())
    assert "8932f937" not in json.dumps(fingerprint())
    assert fingerprint(identify=True)["host"] == "rig-7.example.org"
    assert fingerprint(identify=True)["environment"]["CUDA_VISIBLE_DEVICES"].endswith("20bd9faed9f6")


def test_only_listed_environment_variables_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    recorded = fingerprint()["environment"]
    assert recorded["OMP_NUM_THREADS"] == "3"
    assert set(recorded) <= set(environment.ENVIRONMENT)
    assert "hf_secret" not in json.dumps(fingerprint())


def test_the_digest_ignores_what_changes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint()["digest"]
    monkeypatch.setattr(os, "getloadavg", lambda: (9.0, 9.0, 9.0))
    assert fingerprint()["digest"] == before
    monkeypatch.setattr(platform, "release", lambda: "7.0")
    assert fingerprint()["digest"] != before


def test_a_made_up_machine_is_read_right(tmp_path: Path) -> None:
    cpus = [
        f"processor : {n}\nmodel name : Fast CPU\nphysical id : {n // 4}\ncore id : {n % 4 // 2}\n" for n in range(8)
    ]
    files = {
        "proc/cpuinfo": "\n".join(cpus),
        "proc/meminfo": "MemTotal:       1024 kB\nMemAvailable:  512 kB\n",
        "proc/1/cgroup": "0::/kubepods/besteffort/pod1\n",
        "etc/os-release": 'NAME=x\nPRETTY_NAME="Some Linux 1"\n',
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "sys/devices/system/node/node0/x": "",
        "sys/devices/system/node/node1/x": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    facts = fingerprint(root=tmp_path)
    assert facts["os"] == "Some Linux 1"
    assert facts["container"] == "kubepods"
    assert facts["memory_total_bytes"] == 1024 * 1024
    assert {key: facts["cpu"][key] for key in ("model", "physical", "governor", "numa_nodes")} == {
        "model": "Fast CPU",
        "physical": 4,
        "governor": "powersave",
        "numa_nodes": 2,
    }
    (tmp_path / ".dockerenv").touch()
    assert fingerprint(root=tmp_path)["container"] == "docker"
    (tmp_path / "etc/os-release").write_text("NAME=x\n")
    assert fingerprint(root=tmp_path)["os"] == {"absent": "no PRETTY_NAME in /etc/os-release"}


def test_engine_and_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "_engine.abi3.so").write_bytes(b"engine")
    monkeypatch.setattr(environment, "_PACKAGE", tmp_path)
    loaded = types.SimpleNamespace(__version__="1.2.3")
    monkeypatch.setitem(environment.sys.modules, "runner._engine", loaded)  # type: ignore[arg-type]
    facts = fingerprint()
    assert facts["engine_sha256"] == hashlib.sha256(b"engine").hexdigest()
    assert facts["engine_version"] == "1.2.3"


COMMIT = "1" * 40


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({".git/HEAD": COMMIT}, COMMIT),
        ({".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": f"{COMMIT}\n"}, COMMIT),
        ({".git/HEAD": "ref: refs/heads/main", ".git/packed-refs": f"# x\n{COMMIT} refs/heads/main\n"}, COMMIT),
        ({".git/HEAD": "ref: refs/heads/main"}, {"absent": "refs/heads/main has no commit yet"}),
        (
            {
                ".git": "gitdir: real/worktrees/w",
                "real/worktrees/w/HEAD": "ref: refs/heads/topic",
                "real/worktrees/w/commondir": "../..",
                "real/refs/heads/topic": COMMIT,
            },
            COMMIT,
        ),
    ],
)
def test_the_commit_of_a_checkout_without_calling_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: object
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(environment, "_PACKAGE", tmp_path / "runner")
    assert fingerprint()["git_commit"] == expected


# --- control groups -----------------------------------------------------------------------------------------------


def _tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_tightest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/user.slice/job"
    _tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice/job\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory",
            f"{group}/cpu.max": "max 100000",
            f"{group}/memory.max": "4096",
            f"{group}/cpuset.cpus.effective": "0-3",
            "sys/fs/cgroup/user.slice/cpu.max": "150000 100000",
            "sys/fs/cgroup/user.slice/memory.max": "max",
        },
    )
    assert limits(tmp_path) == {"version": 2, "cpus": 1.5, "memory_bytes": 4096, "cpuset": "0-3"}


def test_inside_a_container_the_mount_itself_is_our_group(tmp_path: Path) -> None:
    _tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/../../elsewhere\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu",
            "sys/fs/cgroup/cpu.max": "200000 100000",
        },
    )
    assert limits(tmp_path) == {"version": 2, "cpus": 2.0, "memory_bytes": "unlimited", "cpuset": "unlimited"}


def test_the_old_hierarchy_is_read_too(tmp_path: Path) -> None:
    _tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/job\n3:cpu,cpuacct:/job\n2:cpuset:/\n",
            "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "50000",
            "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/cpuset/cpuset.cpus": "0-1",
        },
    )
    assert limits(tmp_path) == {"version": 1, "cpus": 0.5, "memory_bytes": "unlimited", "cpuset": "0-1"}


# --- GPUs ---------------------------------------------------------------------------------------------------------


def no_driver(name: str) -> Any:
    assert name == LIBRARY
    raise OSError("no such library")


class FakeNvml:
    """One GPU without ECC, seen through the C interface; an older library that has no MIG function."""

    def __init__(self, init_status: int = 0) -> None:
        self.nvmlInit_v2 = lambda: init_status
        self.shut_down = 0
        self.nvmlErrorString = FakeFunction(lambda status: b"Driver/library version mismatch")

    def nvmlShutdown(self) -> int:  # noqa: N802
        self.shut_down += 1
        return 0

    def __getattr__(self, name: str) -> Callable[..., int]:
        texts = {"DriverVersion": b"570.1", "Name": b"NVIDIA X", "UUID": b"GPU-1", "VbiosVersion": b"96.0"}
        numbers = {"PowerLimit": 700_000, "PersistenceMode": 1, "ComputeMode": 0, "Version_v2": 12080, "Count_v2": 1}
        if "Mig" in name:
            raise AttributeError(f"undefined symbol: {name}")
        if "Ecc" in name:
            return lambda *arguments: 3
        if "MemoryInfo" in name:
            return lambda handle, out: setattr(out._obj, "total", 80 * 2**30) or 0
        if "MaxClock" in name:
            return lambda handle, kind, out: setattr(out._obj, "value", 1000 * kind.value) or 0
        for end, text in texts.items():
            if name.endswith(end):
                return lambda *arguments, text=text: setattr(arguments[-2], "value", text) or 0  # type: ignore[misc]
        for end, number in numbers.items():
            if name.endswith(end):
                return lambda *arguments, number=number: setattr(arguments[-1]._obj, "value", number) or 0  # type: ignore[misc]
        return lambda *arguments: 0


class FakeFunction:
    def __init__(self, call: Callable[[int], bytes]) -> None:
        self.call = call
        self.restype: Any = None

    def __call__(self, status: int) -> bytes:
        assert self.restype is ctypes.c_char_p
        return self.call(status)


def test_a_gpu_is_described_and_its_serial_number_hidden() -> None:
    fake = FakeNvml()
    found = gpus(hashed, load=lambda name: fake)
    assert (found["driver"], found["cuda"], fake.shut_down) == ("570.1", "12.8", 1)
    assert found["devices"] == [
        {
            "name": "NVIDIA X",
            "uuid": hashed("GPU-1"),
            "vbios": "96.0",
            "memory_total_bytes": 80 * 2**30,
            "power_limit_mw": 700_000,
            "persistence": True,
            "compute_mode": 0,
            "sm_clock_max_mhz": 1000,
            "memory_clock_max_mhz": 2000,
            "ecc": {"absent": "nvmlDeviceGetEccMode: Driver/library version mismatch"},
            "mig": {"absent": "undefined symbol: nvmlDeviceGetMigMode"},
        }
    ]


def test_a_driver_that_does_not_fit_its_library_says_so() -> None:
    with pytest.raises(NvmlError, match="nvmlInit_v2: Driver/library version mismatch"):
        gpus(str, load=lambda name: FakeNvml(init_status=18))
