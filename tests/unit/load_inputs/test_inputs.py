"""From the scenario's inputs and the model's metadata to items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from runner.errors import ServiceError
from runner.load.inputs import Items, build_items
from runner.scenario.schema import DataInput, Generate, GeneratedInput
from runner.services.base import ModelMetadata, TensorSpec

_INPUT: TypeAdapter[DataInput | GeneratedInput] = TypeAdapter(DataInput | GeneratedInput)


def model(*tensors: TensorSpec, max_batch_size: int = 8) -> ModelMetadata:
    return ModelMetadata("m", "1", "python", max_batch_size, tensors, ())


ENCODED = TensorSpec("ENCODED", "UINT8", (-1,))


def build(
    tensor: TensorSpec, wanted: dict[str, Any] | None, artifacts: dict[str, Path] | None = None, **kw: Any
) -> Items:
    named = {} if wanted is None else {tensor.name: _INPUT.validate_python(wanted)}
    [items] = build_items(named, model(tensor), artifacts or {}, **kw)
    return items


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for name, data in (("b.jpg", b"bb"), ("a.jpg", b"a"), ("more/c.jpg", b"ccc"), (".hidden", b"x")):
        (folder / name).write_bytes(data)
    return folder


# --- files --------------------------------------------------------------------------------------------------------


def test_each_file_is_one_item_in_sorted_order(folder: Path) -> None:
    items = build(ENCODED, {"from": str(folder)})
    assert [array.tobytes() for array in items.arrays] == [b"a", b"bb", b"ccc"]
    assert all(array.dtype == np.uint8 and array.ndim == 1 for array in items.arrays)
    assert (items.available, items.shuffle_seed, items.source) == (3, None, str(folder))


def test_a_reference_is_the_path_of_an_artifact(folder: Path) -> None:
    assert len(build(ENCODED, {"from": "${setup.images}"}, {"images": folder}).arrays) == 3
    below = build(ENCODED, {"from": "${setup.images}/more/c.jpg"}, {"images": folder})
    assert [array.tobytes() for array in below.arrays] == [b"ccc"]


def test_a_path_is_relative_to_the_base(folder: Path) -> None:
    assert len(build(ENCODED, {"from": "images"}, base=folder.parent).arrays) == 3


def test_a_file_is_one_element_of_bytes(folder: Path) -> None:
    items = build(TensorSpec("IN", "BYTES", (1,)), {"from": str(folder)})
    assert [array.tolist() for array in items.arrays] == [[b"a"], [b"bb"], [b"ccc"]]
    assert build(TensorSpec("IN", "BYTES", (-1, 1)), {"from": str(folder)}).arrays[0].shape == (1, 1)


def test_a_file_is_the_tensor_itself_for_other_types(tmp_path: Path) -> None:
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    (tmp_path / "t").write_bytes(array.tobytes())
    np.testing.assert_array_equal(build(TensorSpec("T", "FP32", (-1, 3)), {"from": str(tmp_path)}).arrays[0], array)
    np.testing.assert_array_equal(build(TensorSpec("T", "FP32", (2, 3)), {"from": str(tmp_path)}).arrays[0], array)


def test_bfloat16_files_become_float32(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"\x80\x3f\x00\xc0")
    assert build(TensorSpec("T", "BF16", (2,)), {"from": str(tmp_path)}).arrays[0].tolist() == [1.0, -2.0]


def test_shuffle_is_remembered_with_its_seed(folder: Path) -> None:
    items = build(ENCODED, {"from": str(folder), "pick": "shuffle", "seed": 3})
    assert items.shuffle_seed == 3
    assert sorted(array.tobytes() for array in items.arrays) == [b"a", b"bb", b"ccc"]


def test_the_byte_limit_cuts_and_says_so(folder: Path) -> None:
    items = build(ENCODED, {"from": str(folder)}, max_bytes=3)
    assert (len(items.arrays), items.available) == (2, 3)
    assert len(build(ENCODED, {"from": str(folder)}, max_bytes=0).arrays) == 1


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (TensorSpec("T", "FP32", (2,)), r"t has 3 bytes, which do not make one item of FP32 \[2\]"),
        (TensorSpec("T", "UINT16", (-1,)), "has 3 bytes"),
        (TensorSpec("T", "UINT8", (-1, -1)), "has 3 bytes"),
        (TensorSpec("T", "BYTES", (2,)), r"the model wants \[2\] per item"),
        (TensorSpec("T", "FP99", (-1,)), "datatype 'FP99'"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path: Path, tensor: TensorSpec, message: str) -> None:
    (tmp_path / "t").write_bytes(b"123")
    with pytest.raises(ServiceError, match=message) as caught:
        build(tensor, {"from": str(tmp_path)})
    assert caught.value.hint


def test_an_empty_file_is_named(folder: Path) -> None:
    (folder / "b.jpg").write_bytes(b"")
    with pytest.raises(ServiceError, match=r"b\.jpg is empty"):
        build(ENCODED, {"from": str(folder)})


def test_an_unreadable_file_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ServiceError, match=r"cannot read .*a\.jpg: Permission denied"):
        build(ENCODED, {"from": str(folder)})


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="holds no files"):
        build(ENCODED, {"from": str(tmp_path)})


def test_a_missing_folder_or_artifact_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="nowhere does not exist"):
        build(ENCODED, {"from": "nowhere"}, base=tmp_path)
    with pytest.raises(ServiceError, match="no artifact 'imgs'") as caught:
        build(ENCODED, {"from": "${setup.imgs}"}, {"images": tmp_path})
    assert caught.value.hint == "the artifacts are images"


# --- generated ----------------------------------------------------------------------------------------------------


def test_inputs_that_are_not_named_are_random_unless_optional() -> None:
    tensors = (
        TensorSpec("A", "FP32", (2, 3)),
        TensorSpec("B", "INT64", (4,)),
        TensorSpec("C", "BOOL", (1,), optional=True),
    )
    built = build_items({}, model(*tensors), {})
    assert [items.tensor for items in built] == ["A", "B"]
    assert {array.shape for array in built[0].arrays} == {(2, 3)}
    named = build_items({"C": GeneratedInput(generate="random")}, model(*tensors), {})
    assert [items.tensor for items in named] == ["A", "B", "C"]


@pytest.mark.parametrize("datatype", ["UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64"])
def test_random_integers_fill_their_useful_range(datatype: str) -> None:
    values = np.concatenate(build(TensorSpec("T", datatype, (500,)), {"generate": "random"}).arrays).astype(int)
    low, high = {"UINT8": (0, 255), "INT8": (-128, 127)}.get(datatype, (0, 127))
    assert (values.min(), values.max()) == (low, high)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "BF16"])
def test_random_floats_lie_between_0_and_1(datatype: str) -> None:
    items = build(TensorSpec("T", datatype, (500,)), {"generate": "random", "count": 2})
    assert len(items.arrays) == 2
    assert min(array.min() for array in items.arrays) >= 0
    assert 0.9 < max(array.max() for array in items.arrays) <= 1
    assert items.arrays[0].dtype.name == {"FP16": "float16", "FP64": "float64"}.get(datatype, "float32")


def test_the_same_seed_makes_the_same_items() -> None:
    for tensor in (TensorSpec("T", "FP32", (4,)), TensorSpec("T", "BYTES", (2,))):
        one, two, other = (build(tensor, {"generate": "random", "seed": seed}) for seed in (1, 1, 2))
        assert [a.tolist() for a in one.arrays] == [a.tolist() for a in two.arrays]
        assert [a.tolist() for a in one.arrays] != [a.tolist() for a in other.arrays]
        assert len({str(a.tolist()) for a in one.arrays}) == 16


def test_zeros_are_one_item() -> None:
    [array] = build(TensorSpec("T", "BOOL", (3,)), {"generate": "zero"}).arrays
    assert array.tolist() == [False, False, False]
    [texts] = build(TensorSpec("T", "BYTES", (2,)), {"generate": "zero"}).arrays
    assert texts.tolist() == [b"", b""]


def test_open_dimensions_are_filled_from_the_scenario() -> None:
    items = build(TensorSpec("T", "FP32", (3, -1, -1)), {"generate": "random", "shape": [3, 5, 7]})
    assert items.arrays[0].shape == (3, 5, 7)


def test_an_open_dimension_without_a_shape_says_what_to_write() -> None:
    with pytest.raises(ServiceError, match=r"workload.input.T: .* open \(FP32 \[3, -1\]\)") as caught:
        build(TensorSpec("T", "FP32", (3, -1)), None)
    assert "T: {generate: random, shape: [3, 8]}" in (caught.value.hint or "")


@pytest.mark.parametrize("shape", [[3], [4, 5], [3, 5, 1]])
def test_a_shape_that_does_not_fit_is_refused(shape: list[int]) -> None:
    with pytest.raises(ServiceError, match=r"does not fit the model's \[3, -1\]"):
        build(TensorSpec("T", "FP32", (3, -1)), {"generate": "random", "shape": shape})


def test_a_datatype_nobody_knows_is_refused() -> None:
    with pytest.raises(ServiceError, match="datatype 'FP99' cannot be made"):
        build(TensorSpec("T", "FP99", (1,)), None)


def test_an_unknown_input_names_the_nearest_and_those_that_exist() -> None:
    with pytest.raises(ServiceError, match=r"workload\.input\.ENCODE: model 'm' has no input") as caught:
        build_items({"ENCODE": GeneratedInput(generate="random")}, model(ENCODED), {})
    assert caught.value.hint == "did you mean 'ENCODED'? its inputs are ENCODED (UINT8 [-1])"
    with pytest.raises(ServiceError) as caught:
        build_items({"zzz": GeneratedInput(generate="random")}, model(ENCODED), {})
    assert caught.value.hint == "its inputs are ENCODED (UINT8 [-1])"


@pytest.mark.parametrize(
    ("datatype", "bounds"),
    [
        ("FP32", [-2, 3]),
        ("FP16", [10, 20]),
        ("INT64", [5, 7]),
        ("UINT8", [0, 1]),
        ("INT8", [-128, 127]),
        ("BOOL", [0, 1]),
    ],
)
def test_a_range_bounds_random_values(datatype: str, bounds: list[int]) -> None:
    items = build(TensorSpec("T", datatype, (400,)), {"generate": "random", "range": bounds})
    values = np.concatenate(items.arrays).astype(float)
    width = bounds[1] - bounds[0]
    assert bounds[0] <= values.min() < bounds[0] + 0.05 * width + 1e-9
    assert bounds[1] - 0.05 * width - 1e-9 < values.max() <= bounds[1]


def test_the_range_of_bytes_is_their_length() -> None:
    items = build(TensorSpec("T", "BYTES", (50,)), {"generate": "random", "range": [3, 5]})
    assert {len(text) for array in items.arrays for text in array.tolist()} == {3, 4, 5}


@pytest.mark.parametrize(
    ("datatype", "bounds", "hint"),
    [
        ("UINT8", [0, 256], "whole numbers from 0 to 255"),
        ("INT32", [0, 0.5], "whole numbers from"),
        ("FP16", [0, 1e6], "numbers from -65504 to 65504"),
        ("BYTES", [-1, 4], "lengths from 0"),
        ("BOOL", [0, 2], "whole numbers from 0 to 1"),
    ],
)
def test_a_range_that_the_datatype_does_not_hold(datatype: str, bounds: list[float], hint: str) -> None:
    with pytest.raises(ServiceError, match=r"workload\.input\.T\.range") as caught:
        build(TensorSpec("T", datatype, (1,)), {"generate": "random", "range": bounds})
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"generate": "zero", "range": [0, 1]}, "zeros have no range"),
        ({"generate": "random", "range": [2, 1]}, "expected .low, high., got .2, 1."),
        ({"from": "x", "decode": {}, "format": "npy"}, "expected `image` beside `decode`"),
        ({"from": "x", "key": "a", "format": "raw"}, "only `.npz` files have keys"),
    ],
)
def test_settings_that_contradict_each_other(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _INPUT.validate_python(wanted)


# --- shapes and what nobody describes ------------------------------------------------------------------------------


OPEN = TensorSpec("X", "FP32", (3, -1, -1))
TEXTS = TensorSpec("T", "BYTES", (2,))


def test_a_shape_fills_open_dimensions_of_what_is_generated() -> None:
    assert build(OPEN, None, shapes={"X": (3, 4, 5)}).arrays[0].shape == (3, 4, 5)
    own = build(OPEN, {"generate": "zero", "shape": [3, 1, 1]}, shapes={"X": (3, 4, 5)})
    assert own.arrays[0].shape == (3, 1, 1)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [({"Y": (1,)}, r"workload\.shape\.Y: .*no input"), ({"X": (4, 4, 5)}, r"workload\.shape\.X: \[4, 4, 5\] does not")],
)
def test_a_shape_that_the_model_does_not_have_is_refused(shapes: dict[str, tuple[int, ...]], says: str) -> None:
    with pytest.raises(ServiceError, match=says):
        build(OPEN, None, shapes=shapes)


def test_inputs_that_nobody_describes_are_made_up_as_the_workload_says() -> None:
    zeros = build(TensorSpec("X", "FP32", (2,)), None, unnamed=Generate(values="zero"))
    assert [array.tolist() for array in zeros.arrays] == [[0, 0]]
    texts = build(TEXTS, None, unnamed=Generate(text_length=7))
    assert {len(element) for array in texts.arrays for element in array.tolist()} == {7}
    assert build(TEXTS, None, unnamed=Generate(text="ab")).arrays[0].tolist() == [b"ab", b"ab"]


def test_a_text_is_for_texts() -> None:
    assert build(TEXTS, {"generate": "random", "text": "ä"}).arrays[0].tolist() == ["ä".encode()] * 2
    with pytest.raises(ServiceError, match="a FP32 tensor holds no texts"):
        build(TensorSpec("X", "FP32", (2,)), {"generate": "random", "text": "a"})
