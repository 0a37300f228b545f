"""Every scenario that is shipped loads for every one of its targets, and makes cases."""

from __future__ import annotations

import pytest

from runner.builtin import builtin_scenarios
from runner.measure.settings import resolve
from runner.scenario.loading import declared_flags, load_scenario
from runner.scenario.matrix import expand
from runner.scenario.schema import Requires
from runner.setup.references import needed_steps


@pytest.mark.parametrize("name", list(builtin_scenarios()))
def test_it_loads_for_every_target(name):
    targets = list(load_scenario(name, env={}).targets) or [None]
    for target in targets:
        loaded = load_scenario(name, env={}, target=target)
        cases = expand(loaded)
        assert any(case.skipped is None for case in cases)
        assert loaded.scenario.description
        assert set(declared_flags(name)) == set(loaded.flags())


def efficientnet(target=None, **options):
    return load_scenario("efficientnet", env={}, target=target, **options)


def needed(loaded):
    """The setup steps that a target's models and workload refer to."""
    plain = loaded.scenario.model_dump(mode="json", by_alias=True)
    return set(needed_steps(plain["setup"], [plain["repository"], plain["workload"]]))


def test_efficientnet_on_a_gpu_is_the_grid_of_the_reference_benchmark():
    for target in ("gpu", "gpu-cpu-preprocessing"):
        points = [case.parameters for case in expand(efficientnet(target))]
        assert points == [
            {"workload.batch": batch, "load.concurrency": concurrency}
            for batch in (1, 2, 4, 8, 16, 32, 64)
            for concurrency in (1, 16, 32, 64)
        ]
    assert len(expand(efficientnet("gpu", flags={"--max-batch": "8"}))) == 16


@pytest.mark.parametrize("target", ["cpu", "docker-cpu"])
def test_efficientnet_without_a_gpu_stays_small(target):
    loaded = efficientnet(target)
    assert len(expand(loaded)) == 8
    assert needed(loaded) == {"onnx", "images"}


def test_each_target_makes_only_what_it_serves():
    gpu, cpu = efficientnet("gpu"), efficientnet("gpu-cpu-preprocessing")
    assert needed(gpu) == {"onnx", "images", "pipeline", "engine"}
    assert needed(cpu) == {"onnx", "images", "engine", "pillow_wheel", "pillow"}
    # Both feed the same network.
    assert gpu.scenario.repository.models["classify"] == cpu.scenario.repository.models["classify"]
    assert gpu.scenario.setup["engine"] == cpu.scenario.setup["engine"]


def test_a_rig_with_a_gpu_and_docker_takes_the_gpu_and_any_other_the_cpu():
    def rig(**has):
        def satisfied(requires: Requires):
            return [name for name, count in has.items() if getattr(requires, name) > count]

        return efficientnet(satisfied=satisfied).target

    assert rig(gpus=1, docker=1) == "gpu"
    assert rig(gpus=1, docker=0) == rig(gpus=0, docker=1) == rig(gpus=0, docker=0) == "cpu"


def test_the_method_of_the_reference_benchmark_is_a_flag_away():
    loaded = efficientnet("gpu", flags={"--profile": "reference"})
    settings = resolve(loaded.scenario.measure)
    assert (settings.profile, settings.requests, settings.warmup_max_fraction) == ("reference", 64, 0.0)
    assert resolve(efficientnet("gpu").scenario.measure).profile == "explore"


def test_the_vendors_image_is_chosen_by_its_tag():
    assert efficientnet("gpu").launch.image == "nvcr.io/nvidia/tritonserver:26.04-py3"
    loaded = load_scenario("efficientnet", target="gpu", env={"TRITON_TAG": "26.06-py3"})
    assert loaded.launch.image == "nvcr.io/nvidia/tritonserver:26.06-py3"


def test_the_gpu_that_serves_is_the_one_that_is_sampled():
    for target in ("gpu", "gpu-cpu-preprocessing"):
        loaded = efficientnet(target)
        assert loaded.launch.gpus == ("0",)
        assert loaded.scenario.measure.telemetry.gpus == (0,)
