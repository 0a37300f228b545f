"""The sources of this machine, of made-up machines and of fake boards keep the contract; what each reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.measure.telemetry.base import Value
from runner.measure.telemetry.fake import FakeSource
from runner.measure.telemetry.host import HostSource
from runner.measure.telemetry.kernel_log import XidLog
from runner.measure.telemetry.nvml import GpuSource
from runner.measure.telemetry.processes import ProcessTree
from runner.results.nvml import Nvml, NvmlError
from runner.results.nvml_fake import FakeGpu
from runner.runtimes.host import gpu_count
from tests.contracts.telemetry import Fault, SourceContract
from tests.unit.measure.telemetry.virtual import NoXids, Time, gpu_source

TICKS = os.sysconf("SC_CLK_TCK")
FILES = {
    "proc/stat": "cpu  300 0 100 600 0 0 0 0 0 0\n"
    f"cpu0 {3 * TICKS} {TICKS} {2 * TICKS} {10 * TICKS} {TICKS} {TICKS} {2 * TICKS} {4 * TICKS} 0 0\n"
    f"cpu1 {1 * TICKS} 0 {1 * TICKS} {20 * TICKS} 0 0 0 {2 * TICKS} 0 0\n"
    f"cpu2 {9 * TICKS} 0 0 0 0 0 0 0 0 0\nintr 5\n",
    "proc/loadavg": "0.75 0.5 0.25 1/100 4711\n",
    "proc/meminfo": "MemTotal: 100 kB\nMemAvailable: 40 kB\nSwapTotal: 10 kB\nSwapFree: 7 kB\n",
    "proc/vmstat": "pswpin 5\npswpout 6\noom_kill 1\n",
    **{f"proc/pressure/{k}": f"some avg10=0.00 total={n}\n" for k, n in (("cpu", 1500000), ("memory", 0), ("io", 7))},
    "proc/self/cgroup": "0::/\n",
    "sys/fs/cgroup/cgroup.controllers": "cpu",
    "sys/fs/cgroup/cpu.stat": "usage_usec 5\nthrottled_usec 2500000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2000000\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "3000000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "powersave\n",
    "sys/devices/system/node/node0/meminfo": "Node 0 MemTotal: 50 kB\nNode 0 MemFree:  20 kB\n",
    "sys/devices/system/node/node0/numastat": "numa_hit 9\nnuma_miss 3\n",
    "proc/77/stat": f"77 (a) b) S 1 77 77 0 -1 0 0 0 0 0 {2 * TICKS} {TICKS} 0 0 20 0 1 0 5 0\n",
    "proc/77/task/77/children": "78 ",
    "proc/78/stat": f"78 (stub) S 77 77 77 0 -1 0 0 0 0 0 {4 * TICKS} 0 0 0 20 0 1 0 5 0\n",
    "proc/78/task/78/children": "",
}


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Three CPUs, of which we may use two; a server with one child."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


class TestMadeUpMachine(SourceContract):
    @pytest.fixture
    def source(self, machine: Path) -> HostSource:
        return HostSource((77,), machine, frozenset({0, 1}))

    @pytest.fixture
    def fault(self, machine: Path) -> Fault:
        stat, gone = machine / "proc/stat", machine / "proc/stat.gone"
        return (lambda: stat.rename(gone) and None), (lambda: gone.rename(stat) and None)


class TestFakeBoards(SourceContract):
    @pytest.fixture
    def time(self) -> Time:
        return Time()

    @pytest.fixture
    def source(self, time: Time) -> GpuSource:
        steady, flaky = FakeGpu(parts=2), FakeGpu(lost=lambda now_s: 200 <= now_s < 300)
        return gpu_source(time, steady, flaky, ours=frozenset())

    @pytest.fixture
    def fault(self, time: Time) -> Fault:
        return (lambda: setattr(time, "now_s", 200.0)), (lambda: setattr(time, "now_s", 300.0))


class TestFakeSource(SourceContract):
    @pytest.fixture
    def time(self) -> Time:
        return Time()

    @pytest.fixture
    def source(self, time: Time) -> FakeSource:
        fault = lambda now_s: "pulled out" if 200 <= now_s < 300 else None  # noqa: E731
        return FakeSource(lambda now_s: {"fake.x": Value(now_s, "s", "counter")}, time, fault)

    @pytest.fixture
    def fault(self, time: Time) -> Fault:
        return (lambda: setattr(time, "now_s", 200.0)), (lambda: setattr(time, "now_s", 300.0))


@pytest.mark.gpu
@pytest.mark.skipif(gpu_count() == 0, reason="no NVIDIA GPU")
class TestRealBoards:
    def test_every_board_has_power_memory_and_a_clock(self) -> None:
        nvml = Nvml()
        source = GpuSource(nvml, ours=lambda: frozenset({os.getpid()}))
        values = source.read()
        for index in range(len(nvml.devices())):
            assert values[f"gpu{index}.memory_total_bytes"].value > 2**30
            assert 0 <= values[f"gpu{index}.utilization"].value <= 1
            assert values[f"gpu{index}.sm_clock_mhz"].value > 0
            assert 1 < values[f"gpu{index}.power_w"].value < 2000
            assert f"gpu{index}.energy_j" in {**values, **source.absent()}
        source.close()
        nvml.close()


def test_this_machine_is_read_without_a_defect() -> None:
    source = HostSource((os.getppid(),))
    values = source.read()
    assert values["host.cpu_total_s"].value > values["host.cpu_busy_s"].value > 0
    assert values["host.client_cpu_s"].value > 0
    assert values["host.server_cpu_s"].value > 0
    assert values["host.memory_used_bytes"].value > 2**20
    assert not any("not as expected" in why for why in source.absent().values())


def test_what_a_made_up_machine_says(machine: Path) -> None:
    values = HostSource((77,), machine, frozenset({0, 1})).read()
    found = {name.removeprefix("host."): value.value for name, value in values.items()}
    expected = {
        "cpu0.busy_s": 6,
        "cpu1.steal_s": 2,
        "cpu_busy_s": 8,  # without the third CPU, without interrupts
        "cpu_softirq_s": 3,
        "cpu_iowait_s": 1,
        "cpu_steal_s": 6,
        "cpu_total_s": 48,
        "server_cpu_s": 7,
        "load1": 0.75,
        "memory_used_bytes": 60 * 1024,
        "swap_used_bytes": 3 * 1024,
        "oom_kills": 1,
        "pressure_cpu_some_s": 1.5,
        "cgroup_throttled_s": 2.5,
        "cpu_mhz": 2500,
        "governor_performance": 0.5,
        "node0.memory_free_bytes": 20 * 1024,
        "node0.numa_miss": 3,
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected)


def test_on_a_machine_without_anything_every_gap_says_why(tmp_path: Path) -> None:
    source = HostSource(None, tmp_path)
    assert set(source.read()) == {"host.client_cpu_s"}
    assert source.absent()["host.cpu"] == f"{tmp_path}/proc/stat: No such file or directory"
    assert source.absent()["host.numa"].startswith("not as expected: ValueError('no NUMA nodes")
    assert source.absent()["host.server_cpu_s"] == "the processes of the server are not known"


def test_the_old_hierarchy_of_groups_is_read_too(machine: Path) -> None:
    (machine / "sys/fs/cgroup/cgroup.controllers").unlink()
    (machine / "proc/self/cgroup").write_text("4:cpu,cpuacct:/job\n")
    (machine / "sys/fs/cgroup/cpu/job").mkdir(parents=True)
    (machine / "sys/fs/cgroup/cpu/job/cpu.stat").write_text("nr_periods 1\nthrottled_time 1500000000\n")
    assert HostSource(None, machine).read()["host.cgroup_throttled_s"].value == 1.5


# --- processes ----------------------------------------------------------------------------------------------------


def test_time_of_children_that_end_is_kept(machine: Path) -> None:
    tree = ProcessTree((77,), machine)
    assert tree.cpu_s() == 7
    (machine / "proc/78/stat").unlink()
    assert tree.cpu_s() == 7
    assert tree.pids == {77, 78}


def test_children_that_come_later_are_found(machine: Path) -> None:
    (machine / "proc/77/task/77/children").write_text("")
    tree = ProcessTree((77,), machine)
    assert tree.cpu_s() == 3
    (machine / "proc/77/task/77/children").write_text("78")
    assert max(tree.cpu_s() for _ in range(10)) == 7


def test_a_real_child_that_works_is_counted() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint('x', flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert 0.25 <= ProcessTree((child.pid,)).cpu_s() < 5
        child.communicate(b"\n")


# --- the kernel's log ---------------------------------------------------------------------------------------------


def test_xids_after_the_opening_are_counted(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_text("3,1,1,-;NVRM: Xid (PCI:0000:65:00): 79, GPU has fallen off the bus\n")
    xids = XidLog(log)
    assert xids.read() == 0
    with log.open("a") as file:
        file.write("6,2,2,-;eth0: up\n3,3,3,-;NVRM: Xid (PCI:0000:65:00): 31, MMU fault\n")
    assert xids.read() == 1
    xids.close()
    xids.close()


def test_a_log_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    xids = XidLog(tmp_path / "kmsg")
    assert xids.read() is None
    assert xids.absent == f"{tmp_path}/kmsg: No such file or directory"


# --- GPUs ---------------------------------------------------------------------------------------------------------


def test_chosen_boards_only_and_one_that_is_not_there_is_named() -> None:
    time = Time()
    source = gpu_source(time, FakeGpu(), FakeGpu())
    chosen = GpuSource(source._nvml, indices=(1, 5), xids=NoXids())  # type: ignore[arg-type]
    assert {name.partition(".")[0] for name in chosen.read()} == {"gpu1"}
    assert chosen.absent()["gpu5"] == "the driver shows 2 GPUs"
    none = GpuSource(source._nvml, indices=(7,), xids=NoXids())  # type: ignore[arg-type]
    assert none.read() == {}
    assert "gpu" in none.absent()


def test_without_a_driver_there_is_no_session() -> None:
    def none(_name: str) -> None:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    with pytest.raises(NvmlError, match="no NVIDIA driver: libnvidia-ml"):
        Nvml(none)


def test_throughput_of_the_bus_is_left_out_where_it_takes_too_long() -> None:
    source = gpu_source(Time(), FakeGpu())
    fast = GpuSource(source._nvml, period_s=0.05, xids=NoXids())  # type: ignore[arg-type]
    assert "gpu0.pcie_sent_bytes_per_s" in source.read()
    assert "gpu0.pcie_sent_bytes_per_s" not in fast.read()
    assert "20 ms" in fast.absent()["gpu.pcie_throughput"]
