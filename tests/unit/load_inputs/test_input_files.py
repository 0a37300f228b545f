"""Arrays, lines, images, directories: files that are more than opaque bytes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runner.errors import RigError, ServiceError
from runner.load.inputs import build_items
from runner.load.items import DATATYPES, NUMPY, Items
from runner.scenario.schema import DataInput
from runner.services.base import ModelMetadata, TensorSpec
from runner.services.tensors import to_wire

PAIRS = TensorSpec("X", "FP32", (2,))
IMAGE = TensorSpec("X", "FP32", (3, 4, 6))


def model(*tensors: TensorSpec) -> ModelMetadata:
    return ModelMetadata("m", "1", "python", 8, tensors, (TensorSpec("OUT", "FP32", (2,)),))


def build(tensor: TensorSpec, path: Path, **wanted: Any) -> Items:
    given = DataInput.model_validate({"from": str(path), **wanted})
    [items] = build_items({tensor.name: given}, model(tensor), {})
    return items


def together(path: Path, *tensors: TensorSpec) -> dict[str, list[Any]]:
    return {i.tensor: [a.tolist() for a in i.arrays] for i in build_items({}, model(*tensors), {}, data=str(path))}


# --- arrays -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("datatype", [d for d in NUMPY if d != "BF16"])
def test_npy_files_of_every_datatype_are_mapped(tmp_path: Path, datatype: str) -> None:
    array = np.arange(6).reshape(3, 2).astype(NUMPY[datatype])
    np.save(tmp_path / "a.npy", array)
    items = build(TensorSpec("X", datatype, (2,)), tmp_path / "a.npy")
    assert [each.tolist() for each in items.arrays] == array.tolist()
    assert all(isinstance(each.base, np.memmap) for each in items.arrays)
    assert to_wire(np.stack(items.arrays), datatype) == array.tobytes()


def test_bfloat16_is_saved_as_float32_or_as_its_bits(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.array([1, -2], np.float32))
    np.save(tmp_path / "b.npy", np.array([0x3F80, 0xC000], np.uint16))
    for name in ("f.npy", "b.npy"):
        assert build(TensorSpec("X", "BF16", (2,)), tmp_path / name).arrays[0].tolist() == [1.0, -2.0]


@pytest.mark.parametrize("dtype", ["S3", "U3"])
def test_texts_are_fixed_width(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "t.npy", np.array([["a", "bb"], ["ccc", ""]], dtype))
    items = build(TensorSpec("X", "BYTES", (2,)), tmp_path / "t.npy")
    assert [each.tolist() for each in items.arrays] == [[b"a", b"bb"], [b"ccc", b""]]


def test_an_array_may_be_one_item_and_another_byte_order_is_turned(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([1, 2], ">f4"))
    [array] = build(PAIRS, tmp_path / "a.npy").arrays
    assert (array.tolist(), array.dtype) == ([1, 2], np.dtype("<f4"))


def test_a_folder_of_arrays_is_all_their_items(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 2), np.float32))
    np.save(tmp_path / "b.npy", np.ones(2, np.float32))
    assert [array.tolist() for array in build(PAIRS, tmp_path).arrays] == [[0, 0], [0, 0], [1, 1]]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_files_by_name_by_key_or_the_only_one(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "two.npz", X=np.zeros((1, 2), np.float32), other=np.ones(2, np.float32))
    save(tmp_path / "one.npz", whatever=np.full((2, 2), 7, np.float32))
    assert build(PAIRS, tmp_path / "two.npz").arrays[0].tolist() == [0, 0]
    assert build(PAIRS, tmp_path / "two.npz", key="other").arrays[0].tolist() == [1, 1]
    [first, _] = build(PAIRS, tmp_path / "one.npz").arrays
    assert first.tolist() == [7, 7]
    assert isinstance(first.base, np.memmap) == (save is np.savez)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 2)), r"holds float64, but X is FP32 and needs float32"),
        (np.zeros((3, 3), np.float32), r"the shape \[3, 3\], but X takes items of \[2\]"),
        (np.zeros((0, 2), np.float32), "holds no items"),
        (np.array([None]), "cannot be read as an array"),
    ],
)
def test_an_array_that_does_not_fit_is_named(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ServiceError, match=rf"workload\.input\.X: .*a\.npy.*{message}") as caught:
        build(PAIRS, tmp_path / "a.npy")
    assert caught.value.hint


@pytest.mark.parametrize(("name", "message"), [("a.npy", "cannot be read as an array"), ("a.npz", "is no .npz file")])
def test_what_is_no_array_is_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(ServiceError, match=message):
        build(PAIRS, tmp_path / name)


def test_an_unknown_key_names_those_that_exist(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(2, np.float32), b=np.zeros(2, np.float32))
    with pytest.raises(ServiceError, match="has no array 'X'") as caught:
        build(PAIRS, tmp_path / "a.npz")
    assert caught.value.hint == "it has a, b; choose one with `key`"


def test_the_format_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(np.array([1, 2], np.float32).tobytes())
    np.save(tmp_path / "array", np.array([3, 4], np.float32))
    (tmp_path / "array.npy").rename(tmp_path / "array")
    assert build(PAIRS, tmp_path / "data.bin", format="raw").arrays[0].tolist() == [1, 2]
    assert build(PAIRS, tmp_path / "array", format="npy").arrays[0].tolist() == [3, 4]


# --- lines --------------------------------------------------------------------------------------------------------


def test_lines_are_elements(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_bytes("eins\r\nzwei ü\n\nvier".encode())
    one = build(TensorSpec("X", "BYTES", (-1,)), tmp_path / "prompts.txt", format="lines")
    assert [array.tolist() for array in one.arrays] == [[b"eins"], ["zwei ü".encode()], [b""], [b"vier"]]
    two = build(TensorSpec("X", "BYTES", (2,)), tmp_path / "prompts.txt", format="lines")
    assert [array.tolist() for array in two.arrays] == [[b"eins", "zwei ü".encode()], [b"", b"vier"]]


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (TensorSpec("X", "BYTES", (2,)), r"has 3 lines, which do not make whole items of \[2\]"),
        (PAIRS, "lines are elements of BYTES, but the model takes FP32"),
    ],
)
def test_lines_that_do_not_fit(tmp_path: Path, tensor: TensorSpec, message: str) -> None:
    (tmp_path / "l").write_text("a\nb\nc\n")
    with pytest.raises(ServiceError, match=message):
        build(tensor, tmp_path / "l", format="lines")


# --- images -------------------------------------------------------------------------------------------------------


@pytest.fixture
def red(tmp_path: Path) -> Path:
    Image.new("RGB", (12, 8), (255, 0, 51)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


@pytest.mark.parametrize(
    ("scaling", "pixel"),
    [("none", [255, 0, 51]), ("inception", [1, -1, -0.6]), ("vgg", [132, -117, -53])],
)
def test_images_are_decoded_resized_and_scaled(red: Path, scaling: str, pixel: list[float]) -> None:
    [array] = build(IMAGE, red, decode={"scaling": scaling}).arrays
    assert (array.shape, array.dtype) == ((3, 4, 6), np.float32)
    np.testing.assert_allclose(array[:, 2, 3], pixel, rtol=1e-6)
    [last] = build(TensorSpec("X", "FP32", (4, 6, 3)), red, decode={"scaling": scaling}).arrays
    np.testing.assert_array_equal(last, array.transpose(1, 2, 0))


def test_size_and_layout_fill_what_the_model_leaves_open(red: Path) -> None:
    wanted = {"size": [5, 7], "layout": "NHWC"}
    assert build(TensorSpec("X", "UINT8", (-1, -1, -1)), red, decode=wanted).arrays[0].shape == (5, 7, 3)
    grey = build(TensorSpec("X", "UINT8", (1, 2, 2)), red, decode={}).arrays[0]
    assert grey.tolist() == [[[82, 82], [82, 82]]]
    vgg = build(TensorSpec("X", "FP16", (1, 1, 1)), red, decode={"layout": "NCHW", "scaling": "vgg"}).arrays[0]
    assert vgg.tolist() == [[[-46.0]]]


def test_without_decode_an_image_is_its_bytes(red: Path) -> None:
    assert build(TensorSpec("X", "UINT8", (-1,)), red).arrays[0].tobytes() == red.read_bytes()


@pytest.mark.parametrize(
    ("tensor", "decode", "message"),
    [
        (PAIRS, {}, r"takes FP32 \[2\], which is no decoded image"),
        (TensorSpec("X", "BYTES", (1, 1, 3)), {}, "no decoded image"),
        (TensorSpec("X", "UINT8", (3, 4, 6)), {"scaling": "vgg"}, "fractions and negative values"),
        (TensorSpec("X", "FP32", (3, -1, -1)), {}, "leaves the image's size open"),
        (TensorSpec("X", "FP32", (-1, -1, -1)), {"size": [2, 2]}, "the layout cannot be told"),
        (IMAGE, {"size": [5, 6]}, r"\[5, 6\] does not fit the model's \[3, 4, 6\] as NCHW"),
        (IMAGE, {"layout": "NHWC"}, "as NHWC has 6 channels"),
    ],
)
def test_a_decoding_that_cannot_be_is_refused(
    red: Path, tensor: TensorSpec, decode: dict[str, Any], message: str
) -> None:
    with pytest.raises(ServiceError, match=message) as caught:
        build(tensor, red, decode=decode)
    assert caught.value.hint


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8nonsense")
    with pytest.raises(ServiceError, match=r"a\.jpg is no image that can be decoded"):
        build(IMAGE, tmp_path, decode={})


def test_decoded_images_respect_the_byte_limit(tmp_path: Path) -> None:
    for number in range(4):
        Image.new("RGB", (2, 2)).save(tmp_path / f"{number}.png")
    given = DataInput.model_validate({"from": str(tmp_path), "decode": {}})
    [items] = build_items({"X": given}, model(IMAGE), {}, max_bytes=500)
    assert (len(items.arrays), items.available) == (2, 4)


def test_without_pillow_it_says_what_to_install(red: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(RigError, match="images need Pillow") as caught:
        build(IMAGE, red, decode={})
    assert caught.value.hint == "pip install pillow"


# --- several inputs at once ---------------------------------------------------------------------------------------

A, B = TensorSpec("A", "FP32", (2,)), TensorSpec("B", "BYTES", (2,))


def test_a_directory_has_a_file_for_each_input(tmp_path: Path) -> None:
    (tmp_path / "A").write_bytes(np.array([1, 2], np.float32).tobytes())
    (tmp_path / "B").write_text("one\ntwo\n")
    (tmp_path / "OUT").write_bytes(b"outputs are for validation")
    assert together(tmp_path, A, B) == {"A": [[1, 2]], "B": [[b"one", b"two"]]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("A", "123", r"A has 3 bytes, which do not make one item of FP32 \[2\]"),
        ("B", "one\n", r"B has 1 lines, but one item of B is \[2\]"),
        ("C", "x", "has C, but model 'm' has no such tensor"),
    ],
)
def test_a_directory_that_does_not_fit(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ServiceError, match=rf"workload\.data: .*{message}"):
        together(tmp_path, A, B)


def test_an_npz_file_feeds_the_inputs_named_like_its_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", A=np.eye(2, dtype=np.float32), B=np.array([[b"a", b"b"], [b"c", b"d"]]))
    assert together(tmp_path / "d.npz", A, B) == {"A": [[1, 0], [0, 1]], "B": [[b"a", b"b"], [b"c", b"d"]]}
    np.savez(tmp_path / "e.npz", A=np.eye(2, dtype=np.float32), B=np.array([[b"a", b"b"]]))
    with pytest.raises(ServiceError, match="different numbers of items: A 2, B 1"):
        together(tmp_path / "e.npz", A, B)
    np.savez(tmp_path / "f.npz", C=np.eye(2))
    with pytest.raises(ServiceError, match="has no input 'C'"):
        together(tmp_path / "f.npz", A, B)


def test_other_files_and_doubled_inputs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("1,2")
    with pytest.raises(ServiceError, match="neither a folder nor"):
        together(tmp_path / "d.csv", A)
    np.savez(tmp_path / "d.npz", A=np.eye(2, dtype=np.float32))
    given = {"A": DataInput.model_validate({"from": "x"})}
    with pytest.raises(ServiceError, match=r"workload\.input\.A: workload\.data holds values of A, too"):
        build_items(given, model(A), {}, data=str(tmp_path / "d.npz"))
    with pytest.raises(ServiceError, match=r"workload\.data: .*nowhere does not exist"):
        together(tmp_path / "nowhere", A)


def test_every_datatype_is_known() -> None:
    assert set(DATATYPES) == {*NUMPY, "BYTES"}
