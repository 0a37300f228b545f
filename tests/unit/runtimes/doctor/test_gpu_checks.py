"""GPUs as the driver shows them, and the driver against an image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runner.results.nvml_fake import FakeGpu, FakeNvmlLibrary
from runner.runtimes.doctor import gpu_checks
from runner.runtimes.doctor.cuda import ImageCuda, driver_for_image, image_cuda, meets, version_of
from runner.runtimes.doctor.gpu_facts import DriverFacts, GpuFacts, read_driver
from runner.runtimes.findings import Finding

FINE = GpuFacts(
    index=0, name="NVIDIA X", uuid="GPU-0", mig=False, persistence=True, sm_clock_mhz=345, sm_clock_max_mhz=1980,
    application_clock_mhz=1755, held_by=frozenset({"idle"}), power_limit_w=700.0, power_default_w=700.0, ecc=True,
    corrected=2, uncorrected=0, numa_node=0,
)  # fmt: skip
OTHER = replace(FINE, index=1)


def checks(*gpus: GpuFacts) -> dict[str, Finding]:
    return {finding.check: finding for finding in gpu_checks.findings(DriverFacts("570.1", (12, 8), gpus))}


def test_gpus_as_they_should_be() -> None:
    found = checks(FINE, OTHER)
    assert {finding.level for finding in found.values()} == {"ok"}
    assert found["NVIDIA driver"].detail == "driver 570.1, CUDA up to 12.8; GPU 0 NVIDIA X, 1 NVIDIA X"
    assert found["clocks"].detail.startswith("GPU 0: SM at 345 of 1980 MHz, application clocks 1755 MHz; GPU 1: ")
    assert found["ECC"].detail == "on; 4 errors corrected since the driver was loaded"


@pytest.mark.parametrize(
    ("changes", "check", "says", "remedy"),
    [
        ({"persistence": False}, "persistence mode", "off on GPU 1", "sudo nvidia-smi -pm 1"),
        ({"mig": True}, "MIG", "on on GPU 1", "sudo nvidia-smi -i 1 -mig 0"),
        (
            {"held_by": frozenset({"sw_thermal"})},
            "throttling",
            "GPU 1: clocks are held down by sw_thermal",
            "cool down",
        ),
        ({"held_by": frozenset({"sw_power_cap"})}, "throttling", "held down by sw_power_cap", "nvidia-smi -q -d POWER"),
        ({"power_limit_w": 250.0}, "power limit", "GPU 1: 250 W of 700 W (default)", "sudo nvidia-smi -i 1 -pl 700"),
        ({"ecc": False}, "ECC", "off on GPU 1", "sudo nvidia-smi -i 1 -e 1"),
        ({"uncorrected": 3}, "ECC", "could not be corrected: GPU 1: 3", "nvidia-smi -q -d ECC"),
    ],
)
def test_each_fault_has_a_remedy(changes: dict[str, object], check: str, says: str, remedy: str) -> None:
    found = checks(FINE, replace(OTHER, **changes))  # type: ignore[arg-type]
    assert [finding.check for finding in found.values() if finding.level == "warn"] == [check]
    assert says in found[check].detail
    assert remedy in (found[check].remedy or "")


def test_a_board_that_tells_nothing_is_no_fault() -> None:
    found = checks(GpuFacts(index=0, name="NVIDIA Y"))
    assert {finding.level for finding in found.values()} == {"ok"}
    assert found["ECC"].detail.startswith("not told; ")
    assert found["clocks"].detail == "GPU 0: SM at ? of ? MHz"


def test_no_driver_and_a_driver_without_gpus() -> None:
    [finding] = gpu_checks.findings("no NVIDIA driver: x")
    assert (finding.level, finding.detail) == ("fail", "no NVIDIA driver: x")
    [finding] = gpu_checks.findings(DriverFacts("570.1", (12, 8), ()))
    assert (finding.level, "it shows no GPU" in finding.detail) == ("fail", True)
    assert finding.remedy


def test_facts_come_from_the_drivers_library(tmp_path: Path) -> None:
    node = tmp_path / "sys/bus/pci/devices/0000:65:00.0/numa_node"
    node.parent.mkdir(parents=True)
    node.write_text("1\n")
    board = FakeGpu(
        reasons=lambda now_s: 0x21, uncorrected=lambda now_s: 5, missing=frozenset({"nvmlDeviceGetEccMode"})
    )
    driver = read_driver(lambda name: FakeNvmlLibrary([board]), tmp_path)
    assert isinstance(driver, DriverFacts)
    [gpu] = driver.gpus
    assert (driver.version, driver.cuda, gpu.name) == ("570.1", (12, 8), "NVIDIA X")
    assert (gpu.held_by, gpu.ecc, gpu.uncorrected, gpu.numa_node) == ({"idle", "sw_thermal"}, None, 5, 1)
    assert (gpu.power_limit_w, gpu.persistence, gpu.mig, gpu.sm_clock_max_mhz) == (700.0, True, False, 1000)


def test_no_library_is_said_in_its_words() -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: not found")

    assert read_driver(missing) == "no NVIDIA driver: libnvidia-ml.so.1: not found"


# --- the driver for an image --------------------------------------------------------------------------------------

DRIVER = DriverFacts("550.54.15", (12, 4), (FINE,))
VENDOR = "cuda>=12.9 brand=tesla,driver>=535,driver<536 brand=tesla,driver>=550,driver<551"


def test_what_an_image_says_of_itself() -> None:
    env = {"CUDA_VERSION": "12.9.0.043", "NVIDIA_REQUIRE_CUDA": "cuda>=9.0", "_CUDA_COMPAT_PATH": "/compat"}
    assert image_cuda(env, {}) == ImageCuda((12, 9, 0, 43), "cuda>=9.0", True)
    assert image_cuda({"NVIDIA_REQUIRE_CUDA": "x", "NVIDIA_DISABLE_REQUIRE": "1"}, {}) == ImageCuda()
    assert image_cuda({}, {"com.nvidia.cuda.version": "11.8"}) == ImageCuda((11, 8))
    assert version_of("none") is None


@pytest.mark.parametrize(
    ("image", "level", "says"),
    [
        (ImageCuda(), "ok", "names no CUDA version"),
        (ImageCuda((12, 2, 1)), "ok", "the image has CUDA 12.2, driver 550.54.15 supports CUDA 12.4"),
        (ImageCuda((11, 8)), "ok", "CUDA 11.8"),
        (ImageCuda((12, 9)), "warn", "minor-version compatibility"),
        (ImageCuda((13, 0), compatibility=True), "warn", "forward-compatibility package can run it, on data-centre"),
        (ImageCuda((13, 0)), "fail", "brings no forward-compatibility package"),
        (ImageCuda((12, 4), "cuda>=12.9"), "fail", "requires cuda>=12.9; driver 550.54.15 supports CUDA 12.4"),
        (ImageCuda((12, 9), VENDOR), "warn", "minor-version compatibility"),
    ],
)
def test_a_driver_for_an_image(image: ImageCuda, level: str, says: str) -> None:
    finding = driver_for_image(DRIVER, image)
    assert (finding.level, says in finding.detail) == (level, True), finding
    assert (finding.remedy is None) == (level == "ok")


@pytest.mark.parametrize(
    ("requires", "holds"),
    [
        ("cuda>=12.4", True),
        ("cuda>12.4", False),
        ("cuda<=12.4,cuda>=12", True),
        ("cuda>=12.5", False),
        ("cuda>=12.5 driver>=550", True),
        ("brand=tesla,driver<535", False),
        ("driver=550", True),
        ("driver!=550", False),
        ("something else", True),
    ],
)
def test_alternatives_are_apart_by_spaces_and_conditions_by_commas(requires: str, holds: bool) -> None:
    assert meets(requires, DRIVER) is holds
