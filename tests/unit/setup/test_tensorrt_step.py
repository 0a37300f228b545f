"""The step on this machine, with stand-ins of TensorRT and the GPU: its key, its stages, its timing cache."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from runner.errors import SetupError
from runner.results.files import sha256_of
from runner.scenario.schema import Scenario
from runner.scenario.schema_tensorrt import TensorrtStep
from runner.setup.base import Artifact, Parts
from runner.setup.fingerprint import explain
from runner.setup.places import ThisMachine
from runner.setup.prepare import prepare
from runner.setup.reset import reset
from runner.setup.state import StateDirectory
from runner.setup.tensorrt import key
from runner.setup.tensorrt.explain import explained
from runner.setup.tensorrt.step import BuildEngine, Target
from tests.contracts.step import StepContract, run
from tests.stand_ins.install import StandIn, install, write_network

Make = Callable[..., BuildEngine]
CHEAP = {"samples": 4}


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return install(tmp_path_factory.mktemp("stand-in") / "tensorrt")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> StateDirectory:
    """One state directory for all tests: what does not change is made once."""
    folder = tmp_path_factory.mktemp("kept")
    state = StateDirectory.for_scenario("small", folder / "small.yaml", folder / "home")
    state.create()
    return state


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("network") / "model.onnx")


@pytest.fixture
def inputs(network: Path) -> Mapping[str, Artifact]:
    return {"onnx": Artifact(network, sha256_of(network))}


@pytest.fixture
def make(stand_in: StandIn, kept: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> Make:
    stand_in.behave()
    stand_in.on_this_machine(monkeypatch)

    def made(serves: Any = None, **settings: Any) -> BuildEngine:
        content = {"kind": "tensorrt", "from": "${setup.onnx}", "profile": {"max": 4}, **settings}
        here = ThisMachine()
        return BuildEngine("engine", TensorrtStep.model_validate(content), kept, Target(here, serves or here))

    return made


class TestContract(StepContract):
    @pytest.fixture
    def inputs(self, network: Path) -> Mapping[str, Artifact]:
        return {"onnx": Artifact(network, sha256_of(network))}

    @pytest.fixture
    def step(self, make: Make) -> BuildEngine:
        return make(precision="int8", calibration=CHEAP)


def test_another_tolerance_builds_nothing(make: Make, inputs: Any, kept: StateDirectory, tmp_path: Path) -> None:
    verify = {"against": "${setup.onnx}", "samples": 4}
    run(make(verify=verify), inputs, tmp_path / "first")
    built = (kept.logs / "engine.build.log").stat().st_mtime_ns
    before, step = make(verify=verify).fingerprint(inputs), make(verify={**verify, "atol": 1e-4})
    assert explain(before, step.fingerprint(inputs)) == "verify.atol changed: null -> 0.0001"
    product, _ = run(step, inputs, tmp_path / "second")
    assert (kept.logs / "engine.build.log").stat().st_mtime_ns == built
    assert product.facts["verification"]["max_abs_error"] < 1e-4


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"precision": "fp32"}, "precision changed: tf32 -> fp32"),
    ({"profile": {"opt": 2, "max": 4}}, "profile.opt changed: null -> 2"),
    ({"workspace": "1GiB"}, "workspace changed: null -> 1GiB"),
    ({"builder_level": 4}, "builder_level changed: null -> 4"),
    ({"sparse": True}, "sparse changed: false -> true"),
    ({"version_compatible": True}, "version_compatible changed: false -> true"),
    (
        {"hardware_compatibility": "ampere_plus"},
        "hardware_compatibility changed: none -> ampere_plus; GPU removed (was NVIDIA H100 stand-in MIG 1g.10gb)",
    ),
    ({"driver": "trtexec"}, "same inputs"),
    ({"timing_cache": "none"}, "same inputs"),
]


@pytest.mark.parametrize(("change", "sentence"), CHANGES, ids=[str(change) for change, _ in CHANGES])
def test_the_report_says_why_an_engine_is_built_again(make: Make, inputs: Any, change: Any, sentence: str) -> None:
    assert explain(make().fingerprint(inputs), make(**change).fingerprint(inputs)) == sentence


def test_calibration_counts_where_it_is_used(make: Make, inputs: Any) -> None:
    assert make(calibration=CHEAP).fingerprint(inputs) == make().fingerprint(inputs)
    few, many = (make(precision="int8", calibration={"samples": count}).fingerprint(inputs) for count in (4, 8))
    assert explain(few, many) == "conversion args.samples changed: 4 -> 8"
    some = make(precision="int8", calibration={**CHEAP, "exclude": ["last"]}).fingerprint(inputs)
    assert explain(few, some) == 'conversion args.exclude added: ["last"]'
    without = make(precision="fp16", calibration={**CHEAP, "exclude": ["last"]}).fingerprint(inputs)
    assert "conversion args.exclude" not in without, "only int8 has layers to exclude"


def test_the_key_names_everything(make: Make, inputs: Any, tmp_path: Path) -> None:
    (tmp_path / "a.so").write_bytes(b"plugin")
    parts = make(precision="int8", plugins=[str(tmp_path / "a.so")]).fingerprint(inputs)
    expected = {
        "kind", "output", "setup.onnx", "precision", "profile.min", "profile.opt", "profile.max", "workspace",
        "builder_level", "sparse", "version_compatible", "hardware_compatibility", "TensorRT", "GPU",
        "GPU compute capability", "GPU multiprocessors", "GPU MIG profile", "plugin a.so", "builder script",
        "builder helpers", "conversion script", "conversion helpers", "conversion version of onnxruntime",
        "conversion args.seed",
    }  # fmt: skip
    assert expected <= parts.keys()
    assert parts["TensorRT"] == "10.13.3"
    assert not [name for name in parts if "driver" in name]


def test_weights_outside_the_model_count(make: Make, tmp_path: Path) -> None:
    import onnx

    network = write_network(tmp_path / "model.onnx")
    onnx.save(onnx.load(network), network, save_as_external_data=True, location="weights.bin", size_threshold=0)
    inputs = {"onnx": Artifact(network, "digest of the graph")}
    before = make().fingerprint(inputs)
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"\1" + weights.read_bytes()[1:])
    assert explain(before, make().fingerprint(inputs)) == "weights weights.bin has other content"


def test_a_plan_asks_no_container(stand_in: StandIn, inputs: Any, state: StateDirectory) -> None:
    class Untouched(ThisMachine):
        def run(self, *_: Any) -> None:
            raise AssertionError("a plan builds nothing")

    config = TensorrtStep.model_validate({"kind": "tensorrt", "from": "${setup.onnx}"})
    step = BuildEngine("engine", config, state, Target(Untouched(), Untouched(), may_ask=False))
    assert step.fingerprint(inputs)["TensorRT"] == "not asked yet"


def test_gpus_are_told_apart_by_all_that_matters() -> None:
    gpu = {"name": "A", "compute_capability": "9.0", "multiprocessors": 132, "mig_profile": None, "driver": "550"}

    def parts(portable: bool = False, **change: Any) -> Parts:
        return key.target_parts({"tensorrt": "10.13.3", "gpu": {**gpu, **change}}, portable=portable)

    different = [parts(), parts(name="B"), parts(multiprocessors=14), parts(mig_profile="1g.10gb")]
    assert len({tuple(sorted(each.items())) for each in different}) == 4
    assert parts(driver="560") == parts()
    assert parts(portable=True, name="B") == parts(portable=True)


class OtherVersion(ThisMachine):
    """A server whose TensorRT is another one."""

    def __init__(self, stand_in: StandIn, version: int) -> None:
        self._stand_in, self._version = stand_in, version

    def parts(self, script: Path) -> Parts:
        return {**super().parts(script), "image": str(self._version)}

    def run(self, call: Any, bench: Any) -> None:
        self._stand_in.behave(version=self._version)
        super().run(call, bench)


def test_an_image_with_another_tensorrt_than_the_servers_is_refused(
    make: Make, stand_in: StandIn, inputs: Any, tmp_path: Path
) -> None:
    says = "image builds with TensorRT 10.13.3, but the server has 11.4.0 and could not load the engine"
    with pytest.raises(SetupError, match=says) as caught:
        run(make(OtherVersion(stand_in, 110400)), inputs, tmp_path / "work")
    assert "remove the step's `image`" in str(caught.value.hint)


def test_a_timing_cache_of_the_users_own_is_written(make: Make, inputs: Any, tmp_path: Path) -> None:
    cache = tmp_path / "own.cache"
    cache.write_text("earlier\n")
    run(make(timing_cache=str(cache), builder_level=0), inputs, tmp_path / "work")
    assert cache.read_text() == "earlier\ntimed\n"


def test_reset_undoes_every_stage(
    stand_in: StandIn, network: Path, state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.behave()
    stand_in.on_this_machine(monkeypatch)
    engine = {"kind": "tensorrt", "from": str(network), "profile": {"max": 4}, "always": True}
    content = {"scenario": 1, "name": "small", "setup": {"engine": engine}, "workload": {"model": "none"}}
    prepared = prepare(Scenario.model_validate(content), state)
    assert prepared.artifacts["engine"].path.read_bytes().startswith(b"10.13.3")
    assert list((state.home / "timing").glob("*.cache"))
    assert {removal.status for removal in reset(state)} <= {"removed", "already gone"}
    assert not state.home.exists()


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("[E] CUDA initialization failure with error: 35. CUDA driver version is insufficient", "no usable GPU"),
        ("No importer registered for op: GridSample.", "an operator that this TensorRT does not know"),
        ("but no optimization profile has been defined.)", "a dynamic dimension is missing in the profile"),
        ("build_engine: trtexec was ended by SIGKILL", "the machine ran out of memory"),
        ("build_engine: cuMemAlloc_v2 failed with CUDA error 2 (out of memory)", "the GPU ran out of memory"),
        ("Unknown option: --skipInference", "does not know one of its options"),
        ("build_engine: no `x` here\nwrite y", "no `x` here"),
    ],
)
def test_causes_are_told_first(output: str, cause: str) -> None:
    error = explained(SetupError("setup.engine: build_engine.py ended with status 1", hint="see log"), output)
    assert re.match(rf"setup\.engine: .*{re.escape(cause)}", error.message)
    assert error.message.endswith("\n  build_engine.py ended with status 1")
    assert str(error.hint).endswith("; see log")


def test_an_unknown_failure_keeps_its_own_words() -> None:
    error = SetupError("setup.engine: build_engine.py was ended by SIGSEGV", hint="see log")
    assert explained(error, "nothing known") is error
