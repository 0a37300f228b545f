"""Processors of the server and of the client, on machines that are planted in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import RigError
from runner.runtimes import _supervise
from runner.runtimes.rig.cpus import Placement, memory_refusal, present, server_placement, usable
from runner.scenario.schema_rig import Rig

FILES = {
    "sys/devices/system/cpu/online": "0-15",
    "sys/devices/system/node/node0/cpulist": "0-7",
    "sys/devices/system/node/node1/cpulist": "8-15",
    "sys/devices/system/node/node2/cpulist": "",
    "sys/fs/cgroup/cgroup.controllers": "cpuset",
    "sys/fs/cgroup/cpuset.cpus.effective": "0-11",
    "proc/self/cgroup": "0::/",
}


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """16 processors on two nodes, and memory without processors; our control group may use 12."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return tmp_path


def placed(cpus: object, machine: Path) -> Placement:
    return server_placement(Rig.model_validate({"server_cpus": cpus}), machine)


def test_a_list_and_a_node(machine: Path) -> None:
    assert placed("0-2,9", machine) == Placement((0, 1, 2, 9))
    assert placed({"numa": 0}, machine) == Placement(tuple(range(8)), (0,))
    assert placed(None, machine) == Placement()


def test_what_is_not_here_is_refused_with_what_is(machine: Path) -> None:
    with pytest.raises(RigError, match=r"rig\.server_cpus: this machine has no CPUs 12-15; there are 0-11") as caught:
        placed({"numa": 1}, machine)
    assert caught.value.exit_code == 3
    with pytest.raises(RigError, match=r"has no NUMA node 2; there are 0 \(CPUs 0-7\), 1 \(CPUs 8-15\)"):
        placed({"numa": 2}, machine)
    with pytest.raises(RigError, match=r"load\.pin_cpus: this machine has no CPUs 99"):
        usable([3, 99], "load.pin_cpus", machine)


def test_a_machine_that_does_not_tell_has_those_that_python_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert present(tmp_path) == (0, 1, 2)


def test_whether_memory_can_be_bound_is_tried_in_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(nodes: tuple[int, ...]) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(_supervise, "bind_memory", refuse)
    assert memory_refusal((0,)) == "refused by the kernel (EPERM)"
    monkeypatch.setattr(_supervise, "bind_memory", lambda nodes: None)
    assert memory_refusal((0,)) is None
