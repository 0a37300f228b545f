"""Preprocessing with DALI and with Pillow: serialised pipelines, equal pixels, and many requests in one call."""

from __future__ import annotations

import ctypes
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.errors import SetupError
from runner.scenario.schema import DaliStep, Scenario
from runner.setup.base import Prepared, Product
from runner.setup.dali import SerializeDali
from runner.setup.digest import DigestCache
from runner.setup.prepare import prepare
from runner.setup.state import StateDirectory
from tests.contracts.step import run
from tests.integration.python_backend import initialised, padded, request

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "model_repos" / "efficientnet"
PIPELINE = MODELS / "preprocess_dali" / "1" / "dali.py"
LARGEST, MEAN = 0.2, 0.004
"""How far Pillow's pixels are from DALI's, normalised units (1 is 56 of 256 levels): all of it comes from resizing."""

Images = list[np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The ensemble with Pillow, and DALI beside it as `decode`."""
    folder = tmp_path_factory.mktemp("preprocessing")
    sources = {"preprocess": "preprocess_cpu", "decode": "preprocess_dali", "efficientnet": "ensemble"}
    models: dict[str, Any] = {
        name: {"from": str(MODELS / source), "config": {"max_batch_size": 4}} for name, source in sources.items()
    }
    models["preprocess"]["args"] = {"num_threads": 2}
    models["classify"] = {
        "from": str(MODELS / "classify_onnx"),
        "files": {"1/model.onnx": "${setup.onnx}"},
        "config": {"max_batch_size": 4},
    }
    export = {"kind": "export", "script": str(ROOT / "setup_scripts" / "export_efficientnet.py")}
    scenario = {
        "scenario": 1,
        "name": "preprocessing",
        "setup": {"onnx": export, "images": {"kind": "dataset", "source": "synthetic_jpeg", "count": 8}},
        "repository": {"models": models},
        "workload": {"model": "efficientnet", "input": {"INPUT": {"from": "${setup.images}"}}},
    }
    state = StateDirectory.for_scenario("preprocessing", folder / "s.yaml", folder / "home")
    return prepare(Scenario.model_validate(scenario), state, max_batch_needed=4)


@pytest.fixture(scope="module")
def jpegs(prepared: Prepared) -> Images:
    return [np.fromfile(path, np.uint8) for path in sorted(prepared.artifacts["images"].path.iterdir())]


def serialized(tmp_path: Path, **args: Any) -> Product:
    """What the setup step makes of the built-in pipeline, on this machine."""
    step = DaliStep.model_validate({"kind": "dali", "from": str(PIPELINE), "args": args})
    return run(SerializeDali("pipeline", step, DigestCache(tmp_path / "cache")), {}, tmp_path / "work")[0]


def decoded(pipeline: Any, images: Images) -> np.ndarray[Any, Any]:
    """Pixels that a DALI pipeline makes of images."""
    pipeline.build()
    pipeline.feed_input("INPUT", images)
    (pixels,) = pipeline.run()
    return np.array(pixels.as_array())


def test_a_serialised_pipeline_gives_the_same_tensors(tmp_path: Path, jpegs: Images) -> None:
    from nvidia.dali import Pipeline

    product = serialized(tmp_path, decoder="cpu", image_size=192, num_threads=2, batch_size=8)
    assert product.facts["arguments"]["image_size"] == 192
    assert product.labels["dali"] == product.facts["dali"]
    read = Pipeline.deserialize(filename=str(product.path), batch_size=8, num_threads=1, device_id=None)
    namespace: dict[str, Any] = {}
    exec(compile(PIPELINE.read_text(), PIPELINE, "exec"), namespace)
    direct = namespace["preprocess"](batch_size=8, num_threads=1, device_id=None, decoder="cpu", image_size=192)
    pixels = decoded(read, jpegs)
    assert pixels.shape == (8, 3, 192, 192)
    np.testing.assert_array_equal(pixels, decoded(direct, jpegs))


def test_a_pipeline_for_a_gpu_is_made_without_one_and_passes_the_backends_own_check(tmp_path: Path) -> None:
    import nvidia.dali

    product = serialized(tmp_path, decoder="mixed", hw_decoder_load=0.75)
    content = product.path.read_bytes()
    assert b"hw_decoder_load" in content
    assert np.float32(0.75).tobytes() in content
    library = ctypes.CDLL(str(Path(nvidia.dali.__file__).parent / "libdali.so"))
    library.daliInitialize()
    assert library.daliIsDeserializable(content, len(content)) == 0
    assert library.daliIsDeserializable(b"no pipeline", 11) != 0


def test_an_argument_that_the_pipeline_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"preprocess has no argument hw_decode_load \(its arguments: decoder, hw_dec"):
        serialized(tmp_path, hw_decode_load=0.5)


# --- Pillow beside DALI ---


@pytest.fixture
def load_model(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    return lambda name: initialised(prepared.repository / name, monkeypatch)


def pixels_of(model: Any, images: Images) -> np.ndarray[Any, Any]:
    return np.concatenate([model.execute([request(INPUT=image[None])])[0].outputs["PIXELS"] for image in images])


def test_pillow_sees_what_dali_sees(load_model: Callable[[str], Any], jpegs: Images) -> None:
    from PIL import Image

    turned = io.BytesIO()
    picture = Image.open(io.BytesIO(jpegs[0].tobytes()))
    exif = picture.getexif()
    exif[0x0112] = 6  # orientation: the camera was held upright
    picture.save(turned, "JPEG", quality=95, exif=exif)
    images = [*jpegs, np.frombuffer(turned.getvalue(), np.uint8)]
    theirs, ours = pixels_of(load_model("decode"), images), pixels_of(load_model("preprocess"), images)
    difference = np.abs(theirs - ours)
    assert ours.dtype == theirs.dtype
    assert difference.max() < LARGEST
    assert difference.mean() < MEAN


def test_every_request_of_one_call_gets_its_own_images(load_model: Callable[[str], Any], jpegs: Images) -> None:
    model = load_model("preprocess")
    alone = pixels_of(model, jpegs)
    requests = [request(INPUT=padded(*jpegs[:3])), request(INPUT=padded(jpegs[3])), request(INPUT=padded(*jpegs[4:8]))]
    responses = model.execute(requests)
    assert [len(response.outputs["PIXELS"]) for response in responses] == [3, 1, 4]
    np.testing.assert_array_equal(np.concatenate([each.outputs["PIXELS"] for each in responses]), alone)


def test_a_server_without_pillow_is_told_how_to_get_it(
    load_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(Exception, match="give its unpacked wheel under `files` as 1/packages"):
        load_model("preprocess")


def test_only_the_request_with_the_bad_image_fails(load_model: Callable[[str], Any], jpegs: Images) -> None:
    model = load_model("preprocess")
    broken = jpegs[1][: len(jpegs[1]) // 2]
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
    np.testing.assert_array_equal(responses[0].outputs["PIXELS"], responses[3].outputs["PIXELS"])


def test_on_a_real_server_both_lead_to_the_same_scores(prepared: Prepared, jpegs: Images, tmp_path: Path) -> None:
    from runner.runtimes.base import ServerSpec
    from runner.runtimes.embedded import EmbeddedRuntime
    from runner.services.kserve import KServeGrpc

    spec = ServerSpec(
        repository=prepared.repository, load=("efficientnet", "decode"), canary="efficientnet", run_id="preprocessing",
        log=tmp_path / "server.log", ready_timeout_s=90,
    )  # fmt: skip
    with EmbeddedRuntime(tmp_path / "state").start(spec) as server:
        service = KServeGrpc(server.endpoint.grpc)
        try:
            batch = {"INPUT": padded(*jpegs[:4])}
            theirs = service.infer("decode", batch, timeout_s=60)["PIXELS"]
            ours = service.infer("preprocess", batch, timeout_s=60)["PIXELS"]
            scores = service.infer("efficientnet", batch, timeout_s=60)["OUTPUT"]
            expected = service.infer("classify", {"INPUT": ours}, timeout_s=60)["OUTPUT"]
            others = service.infer("classify", {"INPUT": theirs}, timeout_s=60)["OUTPUT"]
        finally:
            service.close()
    assert np.abs(theirs - ours).max() < LARGEST
    np.testing.assert_allclose(scores, expected, atol=1e-2)
    assert np.abs(scores - others).mean() < 0.05 * others.std()
