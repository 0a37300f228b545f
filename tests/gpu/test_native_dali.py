"""The serialised pipeline in Triton's own DALI backend, decoding on the GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.runtimes.base import ServerSpec
from runner.runtimes.docker import DockerRuntime
from runner.scenario.schema import DockerLaunch, Scenario
from runner.services.kserve import KServeGrpc
from runner.setup.base import Prepared
from runner.setup.prepare import prepare
from runner.setup.state import StateDirectory

pytestmark = [pytest.mark.gpu, pytest.mark.docker, pytest.mark.timeout(600)]
MODELS = Path(__file__).parents[2] / "model_repos" / "efficientnet"
PIPELINE = MODELS / "preprocess_dali" / "1" / "dali.py"
MEAN_DIFFERENCE = 0.05
"""Normalised units; decoders of a GPU round colours otherwise than the processor's, by a level or two of 256."""

Image = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def prepared(image: str, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("native")
    model = {
        "from": str(MODELS / "preprocess_dali_native"),
        "files": {"1/model.dali": "${setup.pipeline}"},
        "config": {"max_batch_size": 8},
        "args": {"num_threads": 2},
    }
    scenario = {
        "scenario": 1,
        "name": "native",
        "targets": {"gpu": {"launch": {"kind": "docker", "image": image, "gpus": 1}}},
        "setup": {
            "pipeline": {"kind": "dali", "from": str(PIPELINE), "args": {"decoder": "mixed", "hw_decoder_load": 0.8}},
            "images": {"kind": "dataset", "source": "synthetic_jpeg", "count": 8, "width": [320, 1280]},
        },
        "repository": {"models": {"preprocess": model}},
        "workload": {"model": "preprocess", "input": {"INPUT": {"from": "${setup.images}"}}},
    }
    state = StateDirectory.for_scenario("native", folder / "s.yaml", folder / "home")
    return prepare(Scenario.model_validate(scenario), state, max_batch_needed=8)


@pytest.fixture(scope="module")
def jpegs(prepared: Prepared) -> list[Image]:
    return [np.fromfile(path, np.uint8) for path in sorted(prepared.artifacts["images"].path.iterdir())]


@pytest.fixture(scope="module")
def service(prepared: Prepared, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KServeGrpc]:
    launch = DockerLaunch.model_validate({"kind": "docker", "image": image, "gpus": 1})
    spec = ServerSpec(
        repository=prepared.repository, load=("preprocess",), canary="preprocess", run_id="gpu-native",
        log=tmp_path_factory.mktemp("log") / "server.log", ready_timeout_s=180,
        flags={"backend-config": ("dali,release_after_unload=true",)},
    )  # fmt: skip
    with DockerRuntime(launch).start(spec) as server:
        client = KServeGrpc(server.endpoint.grpc)
        try:
            yield client
        finally:
            client.close()


def batch(*images: Image) -> dict[str, Image]:
    longest = max(map(len, images))
    return {"INPUT": np.stack([np.pad(image, (0, longest - len(image))) for image in images])}


def test_the_gpu_sees_what_the_processor_sees(service: KServeGrpc, jpegs: list[Image]) -> None:
    namespace: dict[str, Any] = {}
    exec(compile(PIPELINE.read_text(), PIPELINE, "exec"), namespace)
    here = namespace["preprocess"](batch_size=8, num_threads=2, device_id=None, decoder="cpu")
    here.build()
    here.feed_input("INPUT", jpegs)
    expected = np.array(here.run()[0].as_array())
    pixels = service.infer("preprocess", batch(*jpegs), timeout_s=60)["PIXELS"]
    assert pixels.shape == expected.shape == (8, 3, 224, 224)
    assert np.abs(pixels - expected).mean() < MEAN_DIFFERENCE


def test_images_of_different_lengths_are_decoded_alike(service: KServeGrpc, jpegs: list[Image]) -> None:
    together = service.infer("preprocess", batch(*jpegs), timeout_s=60)["PIXELS"]
    for image, pixels in zip(jpegs, together, strict=True):
        alone = service.infer("preprocess", batch(image), timeout_s=60)["PIXELS"][0]
        assert np.abs(alone - pixels).mean() < MEAN_DIFFERENCE, "the hardware engine and CUDA cores may share a batch"
