from __future__ import annotations

import hashlib
import json
import os
import platform
import time
import types
from pathlib import Path
from typing import Any

import pytest

from runner.results import environment
from runner.results.cgroup import limits
from runner.results.environment import fingerprint, hashed
from runner.results.gpus import gpus
from runner.results.nvml import LIBRARY, NvmlError
from runner.results.nvml_fake import FakeGpu, FakeNvmlLibrary


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


def test_whatever_identifies_a_machine_is_hashed_wherever_it_stands(tmp_path: Path) -> None:
    tree = {
        "proc/cmdline": "root=UUID=8932f937-d72c-4106-c12f-20bd9faed9f6 BOOTIF=01-52-54-00-12-34-56 quiet token=abc\n",
        "sys/class/net/eth0/address": "52:54:00:12:34:56\n",
        "sys/class/net/eth0/device/numa_node": "0\n",
        "sys/class/net/eth0/mtu": "9000\n",
        "sys/class/dmi/id/product_serial": "SN0815\n",
        "sys/class/dmi/id/product_name": "Rack Server\n",
        "etc/machine-id": "0123456789abcdef\n",
    }
    facts = fingerprint(root=_tree(tmp_path, tree))
    text = json.dumps(facts)
    for secret in ("8932f937", "52-54-00", "52:54:00", "SN0815", "0123456789abcdef", 'abc"'):
        assert secret not in text
    assert facts["kernel_command_line"].split()[2] == "quiet"
    assert facts["network"]["eth0"]["mtu"] == 9000
    assert facts["network"]["eth0"]["speed_mbit_per_s"]["absent"].endswith("speed: No such file or directory")
    assert facts["firmware"]["product_name"] == "Rack Server"
    known = fingerprint(identify=True, root=tmp_path)
    assert known["network"]["eth0"]["address"] == "52:54:00:12:34:56"
    assert known["serial"] == "SN0815"
    assert "token=abc" not in known["kernel_command_line"]


def test_settings_that_change_the_speed_are_read_of_all_cpus(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    tree = {
        "proc/cpuinfo": "processor: 0\nphysical id: 0\ncore id: 0\nflags: fpu hypervisor\nmicrocode: 0x2b\n",
        f"{cpu}/intel_pstate/no_turbo": "1\n",
        f"{cpu}/isolated": "\n",
        f"{cpu}/cpuidle/current_driver": "intel_idle\n",
        f"{cpu}/cpu0/cpuidle/state0/name": "POLL\n",
        f"{cpu}/cpu0/cpuidle/state0/disable": "0\n",
        f"{cpu}/cpu0/cpuidle/state1/name": "C6\n",
        f"{cpu}/cpu0/cpuidle/state1/disable": "1\n",
        "sys/devices/system/node/node0/cpulist": "0-1\n",
        "sys/devices/system/node/node1/cpulist": "2-3\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        "proc/sys/vm/swappiness": "60\n",
        "proc/meminfo": "MemTotal: 8 kB\nMemAvailable: 8 kB\nSwapTotal: 2 kB\n",
    }
    for number, governor in enumerate(("performance", "performance", "powersave")):
        tree[f"{cpu}/cpufreq/policy{number}/scaling_governor"] = f"{governor}\n"
        tree[f"{cpu}/cpufreq/policy{number}/scaling_driver"] = "intel_pstate\n"
    facts = fingerprint(root=_tree(tmp_path, tree))
    found = facts["cpu"]
    assert found["governor"] == {"performance": 2, "powersave": 1}
    assert found["frequency_driver"] == "intel_pstate"
    assert "energy_performance_preference" in found["energy_preference"]["absent"]
    assert (found["turbo"], found["virtual"], found["sockets"], found["isolated"]) == (False, True, 1, "none")
    assert (found["idle_driver"], found["idle_states"]) == ("intel_idle", {"POLL": "on", "C6": "off"})
    assert found["numa_cpus"] == {"node0": "0-1", "node1": "2-3"}
    assert facts["huge_pages"]["enabled"] == "madvise"
    assert facts["swap"] == {"total_bytes": 2048, "swappiness": 60}
    (tmp_path / cpu / "intel_pstate/no_turbo").unlink()
    assert "boost" in fingerprint(root=tmp_path)["cpu"]["turbo"]["absent"]
    (tmp_path / cpu / "cpufreq/boost").write_text("1\n")
    assert fingerprint(root=tmp_path)["cpu"]["turbo"] is True


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


def test_gpus_are_described_and_their_serial_numbers_hidden(tmp_path: Path) -> None:
    node = tmp_path / "sys/bus/pci/devices/0000:65:00.0/numa_node"
    node.parent.mkdir(parents=True)
    node.write_text("1\n")
    old = FakeGpu(missing=frozenset({"nvmlDeviceGetEccMode", "nvmlDeviceGetSerial"}))
    fake = FakeNvmlLibrary([old, FakeGpu(parts=2)], without=frozenset({"nvmlDeviceGetMaxPcieLinkWidth"}))
    found = gpus(hashed, load=lambda name: fake, root=tmp_path)
    assert (found["driver"], found["cuda"], fake.sessions) == ("570.1", "12.8", 0)
    uuid = f"GPU-{hashed('8932f937-d72c-4106-c12f-20bd9faed9f6')}"
    assert found["devices"][0] == {
        "name": "NVIDIA X",
        "uuid": uuid,
        "serial": {"absent": "nvmlDeviceGetSerial: Not Supported"},
        "vbios": "96.0",
        "memory_total_bytes": 80 * 2**30,
        "power_limit_mw": 700_000,
        "power_limit_default_mw": 700_000,
        "persistence": True,
        "compute_mode": 0,
        "pcie_generation_max": 5,
        "pcie_width_max": {"absent": "undefined symbol: nvmlDeviceGetMaxPcieLinkWidth"},
        "sm_clock_max_mhz": 1000,
        "memory_clock_max_mhz": 2000,
        "sm_application_clock_mhz": 900,
        "ecc": {"absent": "nvmlDeviceGetEccMode: Not Supported"},
        "mig": False,
        "numa_node": 1,
    }
    second = found["devices"][1]
    assert (second["serial"], second["ecc"], second["mig"]) == (hashed("1323421"), True, True)
    assert second["mig_devices"] == [{"name": "NVIDIA X", "uuid": uuid, "memory_total_bytes": 80 * 2**30}] * 2


def test_a_driver_that_does_not_fit_its_library_says_so() -> None:
    with pytest.raises(NvmlError, match="nvmlInit_v2: Mismatch"):
        gpus(str, load=lambda name: FakeNvmlLibrary(init_status=18))
