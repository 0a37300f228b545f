"""Engines built in containers: the stand-ins of TensorRT and of the GPU really run there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.errors import SetupError
from runner.scenario.schema import Scenario
from runner.setup.base import Prepared
from runner.setup.prepare import plan_setup, prepare
from runner.setup.state import StateDirectory
from runner.setup.store import read_stamp
from tests.stand_ins.install import StandIn, install, write_network

pytestmark = pytest.mark.docker

Desk = Callable[..., Scenario]
CHEAP = {"samples": 4}
"""Calibration: these tests are not about numbers."""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return install(tmp_path_factory.mktemp("stand-in") / "tensorrt")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> StateDirectory:
    """One for all tests: what does not change is made once."""
    folder = tmp_path_factory.mktemp("state")
    return StateDirectory.for_scenario("small", folder / "small.yaml", folder / "home")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("model") / "small.onnx")


@pytest.fixture
def scenario(image: str, stand_in: StandIn, model: Path) -> Iterator[Desk]:
    """A scenario of one engine; keyword arguments are the step's settings."""

    def make(launch: dict[str, Any] | None = None, **settings: Any) -> Scenario:
        engine = {"kind": "tensorrt", "from": str(model), "profile": {"max": 4}, "always": True, **settings}
        content = {
            "scenario": 1,
            "name": "small",
            "targets": {"box": {"launch": launch or stand_in.in_container(image)}},
            "setup": {"engine": engine},
            "workload": {"model": "none"},
        }
        return Scenario.model_validate(content)

    yield make
    stand_in.behave()


def engine_of(prepared: Prepared) -> tuple[Path, dict[str, Any], str]:
    """Path, facts, and what was done."""
    (report,) = (report for report in prepared.reports if report.name == "engine")
    assert report.artifact
    stamp = read_stamp(report.artifact.path.parent.with_name(f"{report.artifact.path.parent.name}.stamp.json"))
    assert stamp
    return report.artifact.path, stamp.facts, report.action


def test_an_engine_is_built_tried_repeated_and_reused(
    scenario: Desk, state: StateDirectory, model: Path, tmp_path: Path
) -> None:
    wanted = scenario(workspace="1GiB", verify={"against": str(model), "samples": 4, "atol": 1e-5})
    assert [report.reason for report in plan_setup(wanted, state) if report.name == "engine"] == ["first time"]
    prepared = prepare(wanted, state)
    path, facts, action = engine_of(prepared)
    assert action == "built"
    assert path.read_bytes().startswith(b"10.13.3\n")
    assert (facts["tensorrt"], facts["driver"], facts["gpu"]["compute_capability"]) == ("10.13.3", "trtexec", "9.0")
    assert facts["verification"]["samples"] == 4
    assert facts["verification"]["top1_agreement"] == 1.0
    assert dict(prepared.labels) == {"precision": "tf32", "tensorrt": "10.13.3", "engine.top1_agreement": "1"}
    assert {each.name for each in path.parent.iterdir()} == {path.name, "build.json", "layers.json"}
    assert json.loads((path.parent / "build.json").read_text())["settings"]["workspace_mib"] == "1024"
    assert (state.home / "timing" / "10.13.3-9.0-NVIDIA_H100_stand_in_MIG_1g.10gb.cache").read_text() == "timed\n"
    assert engine_of(prepare(wanted, state))[2] == "reused"
    subprocess.run(["sh", state.logs / "engine.reproduce.sh", "again"], check=True, cwd=tmp_path)
    assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_the_bindings_build_the_typed_graph(
    scenario: Desk, state: StateDirectory, model: Path, stand_in: StandIn, image: str
) -> None:
    launch = stand_in.in_container(image, driver="python")
    verify = {"against": str(model), "samples": 4}
    _, facts, _ = engine_of(prepare(scenario(launch, precision="fp16", calibration=CHEAP, verify=verify), state))
    assert (facts["driver"], facts["precision"]) == ("python", "fp16")
    assert 0 < facts["conversion_error"]["max_abs_error"] < 0.05
    assert 0 < facts["verification"]["max_abs_error"] < 0.05
    assert "flags 2 ['TF32']" in (state.logs / "engine.build.log").read_text(), "strongly typed, no precision flag"


def test_wrong_outputs_are_refused_and_the_engine_is_kept(
    scenario: Desk, state: StateDirectory, model: Path, stand_in: StandIn
) -> None:
    stand_in.behave("wrong")
    asked = {"against": str(model), "samples": 4, "top1_agreement": 0.9, "atol": 1}
    with pytest.raises(SetupError, match=r"tf32 engine is refused: top-1 agreement is 0\S*, asked for 0.9;") as caught:
        prepare(scenario(workspace="1GiB", verify=asked), state)
    assert "farther off than atol 1; the largest error is" in caught.value.message
    assert Path(str(caught.value.hint).rpartition(" kept at ")[2]).read_bytes().startswith(b"10.13.3\n")


FAILURES = [
    (
        "crash",
        {"builder_level": 1},
        r"engine\.build: build_engine.py ended with status 1\n(.|\n)*trtexec was ended by SIGSEGV",
    ),
    ("gpu memory", {"builder_level": 1}, r"engine\.build: the GPU ran out of memory(.|\n)*OutOfMemory \(Requested"),
    (
        "mismatch",
        {"workspace": "1GiB", "verify": {"samples": 4, "rtol": 1}},
        r"setup\.engine: the engine cannot be loaded: it was built by another TensorRT",
    ),
]


@pytest.mark.parametrize(("mode", "settings", "says"), FAILURES, ids=[mode for mode, *_ in FAILURES])
def test_failures_say_what_happened(
    scenario: Desk, state: StateDirectory, model: Path, stand_in: StandIn, mode: str, settings: Any, says: str
) -> None:
    stand_in.behave(mode)
    if "verify" in settings:
        settings = {**settings, "verify": {"against": str(model), **settings["verify"]}}
    with pytest.raises(SetupError, match=says) as caught:
        prepare(scenario(**settings), state)
    assert "reproduce.sh repeats the step" in str(caught.value.hint)


def test_what_this_trtexec_cannot_do_is_refused(scenario: Desk, state: StateDirectory, stand_in: StandIn) -> None:
    text = (stand_in.folder / "help-10.txt").read_text()
    (stand_in.folder / "help-10.txt").write_text(text.replace("--hardwareCompatibilityLevel", ""))
    try:
        with pytest.raises(SetupError, match=r"10.13.3 has no --hardwareCompatibilityLevel") as caught:
            prepare(scenario(hardware_compatibility="ampere_plus"), state)
    finally:
        (stand_in.folder / "help-10.txt").write_text(text)
    assert str(caught.value.hint).startswith("remove `hardware_compatibility`, or use a newer image")


def test_a_container_without_a_gpu_is_named(
    scenario: Desk, state: StateDirectory, stand_in: StandIn, image: str
) -> None:
    says = r"setup\.engine\.probe: no GPU in the container: the driver's library libcuda.so.1 is not there"
    with pytest.raises(SetupError, match=says) as caught:
        prepare(scenario(stand_in.in_container(image, gpu=False)), state)
    assert str(caught.value.hint).startswith("set `launch.gpus` of the target")
