"""The built-in pipeline without a server: the exported network, the DALI pipeline, and both model scripts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.scenario.schema import Scenario
from runner.setup.base import Prepared
from runner.setup.prepare import prepare
from runner.setup.state import StateDirectory
from tests.integration.python_backend import initialised, padded, request

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "model_repos" / "efficientnet"


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    export = {"kind": "export", "script": str(ROOT / "setup_scripts" / "export_efficientnet.py")}
    images = {"kind": "dataset", "source": "synthetic_jpeg", "count": 8, "width": [160, 320]}
    folders = {"preprocess": "preprocess_dali", "classify": "classify_onnx", "efficientnet": "ensemble"}
    models: dict[str, Any] = {
        name: {"from": str(MODELS / folder), "config": {"max_batch_size": 4}} for name, folder in folders.items()
    }
    models["classify"]["files"] = {"1/model.onnx": "${setup.onnx}"}
    models["preprocess"]["args"] = {"num_threads": 2, "hw_decoder_load": 0.5}
    return Scenario.model_validate(
        {
            "scenario": 1,
            "name": "pipeline",
            "setup": {"onnx": export, "images": images},
            "repository": {"models": models},
            "workload": {"model": "efficientnet", "input": {"INPUT": {"from": "${setup.images}"}}},
        }
    )


@pytest.fixture(scope="module")
def prepared(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("setup")
    state = StateDirectory.for_scenario("pipeline", folder / "pipeline.yaml", folder / "home")
    return prepare(scenario, state, max_batch_needed=4)


@pytest.fixture(scope="module")
def jpegs(prepared: Prepared) -> list[np.ndarray[Any, Any]]:
    return [np.fromfile(path, np.uint8) for path in sorted(prepared.artifacts["images"].path.iterdir())]


def test_the_whole_setup_checks_out_and_is_labelled(prepared: Prepared) -> None:
    assert prepared.labels == {"model": "efficientnet-b0", "weights": "random", "images": "synthetic, seed 0"}
    assert {report.action for report in prepared.reports} == {"built"}
    config = (prepared.repository / "preprocess" / "config.pbtxt").read_text()
    assert "allow_ragged_batch: true" in config
    assert (prepared.repository / "efficientnet" / "1").is_dir()


def test_the_network_is_exact_and_says_what_it_is(prepared: Prepared) -> None:
    import onnx

    model = onnx.load(prepared.artifacts["onnx"].path)
    onnx.checker.check_model(model, full_check=True)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert (said["weights"], said["seed"], said["parameters"], said["gmac"]) == ("random", "0", "5288548", "0.3858")
    assert model.opset_import[0].version == 17
    # In the file each batch norm (two values per channel) has become one bias per channel.
    stored = sum(int(np.prod(array.dims)) for array in model.graph.initializer)
    sizes = {array.name: int(np.prod(array.dims)) for array in model.graph.initializer}
    gates_and_classifier = ("fc1.bias", "fc2.bias", "classifier.1.bias")
    folded = sum(n for name, n in sizes.items() if name.endswith(".bias") and not name.endswith(gates_and_classifier))
    assert stored + folded == 5_288_548


def test_the_network_answers_sanely_whatever_the_batch(prepared: Prepared) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(prepared.artifacts["onnx"].path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    smooth = rng.standard_normal((3, 3, 7, 7)).astype(np.float32).repeat(32, 2).repeat(32, 3) * 0.5
    (together,) = session.run(["OUTPUT"], {"INPUT": smooth})
    assert together.shape == (3, 1000)
    assert 0.3 < together.std() < 8
    assert together.std(0).mean() > 0.05, "different images, different answers"
    alone = [session.run(["OUTPUT"], {"INPUT": smooth[index : index + 1]})[0][0] for index in range(3)]
    np.testing.assert_allclose(together, alone, atol=1e-3)
    (noise,) = session.run(["OUTPUT"], {"INPUT": rng.standard_normal((1, 3, 224, 224)).astype(np.float32)})
    assert noise.std() < 100


def test_same_seed_same_file_other_seed_other_file(tmp_path: Path) -> None:
    """On one machine and in one environment: a variable can choose other kernels of the BLAS library."""
    import subprocess

    def export(seed: int) -> bytes:
        path = tmp_path / f"{seed}.onnx"
        script = ROOT / "setup_scripts" / "export_efficientnet.py"
        subprocess.run([sys.executable, script, "--output", path, "--seed", str(seed)], check=True, capture_output=True)
        return path.read_bytes()

    first = export(0)
    assert export(0) == first
    assert export(1) != first


def test_nhwc_and_other_sizes_run(tmp_path: Path) -> None:
    import subprocess

    import onnxruntime

    script = ROOT / "setup_scripts" / "export_efficientnet.py"
    options = ["--variant", "b1", "--layout", "nhwc", "--image-size", "64"]
    subprocess.run([sys.executable, script, "--output", tmp_path / "m.onnx", *options], check=True, capture_output=True)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    assert session.run(None, {"INPUT": np.zeros((2, 64, 64, 3), np.float32)})[0].shape == (2, 1000)


# --- the model scripts, under a stand-in for Triton's Python backend ---


@pytest.fixture
def load_model(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Initialise a model script of the assembled repository as the server would."""
    return lambda name: initialised(prepared.repository / name, monkeypatch)


def test_images_of_all_lengths_are_decoded_alike(load_model: Any, jpegs: Any) -> None:
    model = load_model("preprocess")
    requests = [request(INPUT=padded(*jpegs[:3])), request(INPUT=padded(jpegs[3])), request(INPUT=padded(*jpegs[4:6]))]
    responses = model.execute(requests)
    assert [response.outputs["PIXELS"].shape for response in responses] == [
        (3, 3, 224, 224),
        (1, 3, 224, 224),
        (2, 3, 224, 224),
    ]
    pixels = np.concatenate([response.outputs["PIXELS"] for response in responses])
    assert pixels.dtype == np.float32
    assert -2.5 < pixels.min() < 0 < pixels.max() < 2.8
    for image, together in zip(jpegs, pixels, strict=False):
        [alone] = model.execute([request(INPUT=image[None])])
        np.testing.assert_array_equal(alone.outputs["PIXELS"][0], together)


def test_only_the_request_with_the_bad_image_fails(load_model: Any, jpegs: Any) -> None:
    model = load_model("preprocess")
    broken = jpegs[1][: len(jpegs[1]) // 2]
    good = model.execute([request(INPUT=jpegs[0][None])])[0].outputs["PIXELS"]
    responses = model.execute(
        [
            request(INPUT=jpegs[0][None]),
            request(INPUT=padded(jpegs[2], broken)),
            request(INPUT=np.zeros((1, 0), np.uint8)),
            request(INPUT=jpegs[0][None]),
        ]
    )
    assert [response.error is None for response in responses] == [True, False, False, True]
    assert str(responses[1].error).startswith("image 1 of the request cannot be decoded: ")
    for index in (0, 3):
        np.testing.assert_array_equal(responses[index].outputs["PIXELS"], good)
    [after] = model.execute([request(INPUT=jpegs[0][None])])
    np.testing.assert_array_equal(after.outputs["PIXELS"], good)


def test_classification_splits_its_batch_as_it_came(load_model: Any) -> None:
    model = load_model("classify")
    pixels = np.random.default_rng(0).standard_normal((4, 3, 224, 224)).astype(np.float32)
    [whole] = model.execute([request(INPUT=pixels)])
    parts = model.execute([request(INPUT=pixels[:1]), request(INPUT=pixels[1:])])
    assert [part.outputs["OUTPUT"].shape for part in parts] == [(1, 1000), (3, 1000)]
    np.testing.assert_allclose(
        np.concatenate([part.outputs["OUTPUT"] for part in parts]), whole.outputs["OUTPUT"], rtol=1e-3, atol=1e-2
    )


def test_arguments_reach_the_pipeline(load_model: Any) -> None:
    decoder = load_model("preprocess")._decoder
    assert decoder._num_threads == 2
    assert decoder._arguments == {"image_size": 224, "hw_decoder_load": 0.5}


def test_a_missing_network_is_named(load_model: Any, prepared: Prepared, tmp_path: Path) -> None:
    model = load_model("classify")
    arguments = {"model_config": '{"parameters": {}}', "model_repository": str(tmp_path), "model_version": "1"}
    with pytest.raises(Exception, match=r"1/model.onnx is missing: give it under `files`"):
        type(model)().initialize(arguments)


def test_the_pipeline_runs_on_a_real_server(prepared: Prepared, jpegs: Any, tmp_path: Path) -> None:
    from runner.errors import ServiceError
    from runner.runtimes.base import ServerSpec
    from runner.runtimes.embedded import EmbeddedRuntime
    from runner.services.kserve import KServeGrpc

    spec = ServerSpec(
        repository=prepared.repository, load=("efficientnet",), canary="efficientnet", run_id="setup",
        log=tmp_path / "server.log", ready_timeout_s=90,
    )  # fmt: skip
    with EmbeddedRuntime(tmp_path / "state").start(spec) as server:
        service = KServeGrpc(server.endpoint.grpc)
        try:
            batch = service.infer("efficientnet", {"INPUT": padded(*jpegs[:4])}, timeout_s=60)["OUTPUT"]
            single = service.infer("efficientnet", {"INPUT": jpegs[2][None]}, timeout_s=60)["OUTPUT"]
            np.testing.assert_allclose(batch[2], single[0], atol=1e-2)
            with pytest.raises(ServiceError, match="image 0 of the request cannot be decoded"):
                service.infer("efficientnet", {"INPUT": jpegs[0][None, :2000]}, timeout_s=60)
            again = service.infer("efficientnet", {"INPUT": jpegs[2][None]}, timeout_s=60)["OUTPUT"]
            np.testing.assert_allclose(again, single, atol=1e-2)
        finally:
            service.close()
