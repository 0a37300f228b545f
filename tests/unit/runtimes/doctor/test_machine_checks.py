"""The machine around the GPUs, on machines that are planted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from runner.runtimes.doctor import machine, machine_facts, needs, network, software
from runner.runtimes.findings import Finding, not_needed


def level_and_remedy(finding: Finding) -> tuple[str, str | None]:
    assert (finding.level == "ok") == (finding.remedy is None), finding
    return finding.level, finding.remedy


@pytest.mark.parametrize(
    ("found", "level"),
    [
        ("performance", "ok"),
        ({"absent": "no frequency control"}, "ok"),
        ("powersave", "warn"),
        ({"performance": 4, "powersave": 4}, "warn"),
    ],
)
def test_governors(found: str | Mapping[str, object], level: str) -> None:
    assert level_and_remedy(machine.governor(found))[0] == level


def test_numa_nodes_matter_where_nothing_is_pinned() -> None:
    two = {0: "0-7", 1: "8-15"}
    assert machine.numa({0: "0-7"}).level == "ok"
    assert machine.numa(two, pinned=True).level == "ok"
    level, remedy = level_and_remedy(machine.numa(two))
    assert (level, "rig: {server_cpus: {numa: 0}}" in (remedy or "")) == ("warn", True)


@pytest.mark.parametrize(
    ("soft", "hard", "remedy"),
    [
        (1_048_576, 1_048_576, None),
        (-1, -1, None),
        (1024, 524_288, "ulimit -n 4096"),
        (1024, -1, "ulimit -n 4096"),
        (1024, 2048, "ulimit -n 2048"),
    ],
)
def test_open_files(soft: int, hard: int, remedy: str | None) -> None:
    found = level_and_remedy(machine.open_files(soft, hard))[1]
    assert found is None if remedy is None else (found or "").startswith(remedy)


def test_locked_memory_and_the_clock() -> None:
    assert machine.locked_memory(-1).level == machine.locked_memory(2**31).level == "ok"
    assert level_and_remedy(machine.locked_memory(65_536))[0] == "warn"
    assert machine.clock(0x2001).level == machine.clock(None).level == "ok"
    assert level_and_remedy(machine.clock(0x40)) == ("warn", "sudo timedatectl set-ntp true")


def test_facts_of_a_planted_machine(tmp_path: Path) -> None:
    files = {
        "proc/cpuinfo": "processor: 0\nmodel name: X\n",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "powersave",
        "sys/devices/system/node/node0/cpulist": "0-3",
        "sys/devices/system/node/node10/cpulist": "4-7",
        "sys/devices/system/node/node2/cpulist": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {each.check: each for each in machine_facts.findings(pinned=False, gpus=True, root=tmp_path)}
    assert found["CPU governor"].detail.startswith("powersave")
    assert found["NUMA"].detail.startswith("node 0: CPUs 0-3, node 10: CPUs 4-7;")
    assert {"open files", "locked memory", "clock"} <= found.keys()
    bare = {each.check: each for each in machine_facts.findings(pinned=False, gpus=False, root=tmp_path / "none")}
    assert (bare["CPU governor"].level, bare["NUMA"].detail, "locked memory" in bare) == ("ok", "one node", False)


def test_free_disk(tmp_path: Path) -> None:
    assert needs.disk(2**40, tmp_path).level == "ok"
    assert level_and_remedy(needs.disk(2**30, tmp_path))[0] == "warn"
    assert level_and_remedy(needs.disk(2**30, tmp_path, 2**31))[0] == "fail"


def test_proxies_are_told_without_their_passwords() -> None:
    assert network.proxies({"http_proxy": ""}).detail == "none set"
    found = network.proxies({"HTTPS_PROXY": "http://me:secret@proxy:3128"})
    assert (found.level, "secret" in found.detail, "proxy:3128" in found.detail) == ("ok", False, True)
    assert level_and_remedy(network.proxies({"http_proxy": "proxy:3128"}))[0] == "warn"


def test_certificates_that_are_not_there_matter_where_something_is_downloaded() -> None:
    environment = {"SSL_CERT_FILE": "/no/such.pem"}
    assert network.certificates({}, downloads=True).level == "ok"
    assert network.certificates(environment, downloads=True, exists=lambda path: True).level == "ok"
    assert level_and_remedy(network.certificates(environment, downloads=True)) == (
        "fail", "unset SSL_CERT_FILE, or name the file that is there",
    )  # fmt: skip
    assert network.certificates(environment, downloads=False).level == "warn"


def test_an_engine_that_cannot_be_loaded() -> None:
    def fail() -> str:
        raise ImportError("wrong ELF class")

    assert software.engine(lambda: "1.2").detail == "version 1.2"
    level, remedy = level_and_remedy(software.engine(fail))
    assert (level, "make install" in (remedy or "")) == ("fail", True)
    assert software.load_engine()


def test_what_nobody_needs_is_no_fault() -> None:
    fine, lacking = Finding("x", "ok", "there"), Finding("x", "fail", "not there", "bring it")
    assert not_needed(fine) is fine
    assert not_needed(lacking) == Finding("x", "ok", "not there; this target needs none")
