"""perf_analyzer's JSON input files."""

from __future__ import annotations

import base64
import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import ServiceError
from runner.load.inputs import build_items
from runner.load.json_data import read_json
from runner.services.base import ModelMetadata, TensorSpec
from runner.services.tensors import to_wire


def model(*tensors: TensorSpec) -> ModelMetadata:
    return ModelMetadata("m", "1", "python", 8, tensors, ())


def tensor(datatype: str = "FP32", *shape: int, name: str = "X", optional: bool = False) -> TensorSpec:
    return TensorSpec(name, datatype, shape or (2,), optional)


def write(folder: Path, document: Any) -> Path:
    path = folder / "data.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def values(folder: Path, spec: TensorSpec, value: Any) -> Any:
    [items] = build_items({}, model(spec), {}, data=str(write(folder, {"data": [{spec.name: value}]})))
    [array] = items.arrays
    return array.tolist()


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def framed(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


@pytest.mark.parametrize(
    ("spec", "value", "expected"),
    [
        (tensor("FP32"), [1, 2.5], [1.0, 2.5]),
        (tensor("FP16"), [1, 2.5], [1.0, 2.5]),
        (tensor("BF16"), [1, 2.5], [1.0, 2.5]),
        (tensor("FP64"), [1, 1e300], [1.0, 1e300]),
        (tensor("BOOL"), [True, False], [True, False]),
        (tensor("UINT64"), [0, 2**64 - 1], [0, 2**64 - 1]),
        (tensor("INT8"), [-128, 127], [-128, 127]),
        (tensor("BYTES"), ["a", "ü\0b"], [b"a", "ü\0b".encode()]),
        (tensor("FP32", 2, 2), [1, 2, 3, 4], [[1, 2], [3, 4]]),
        (tensor("FP32", 2, 2), [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        (tensor("FP32", -1, -1), [[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4, 5, 6]]),
        (tensor("FP32", 2, -1), [1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]),
        (tensor("FP32", -1, -1), {"content": [1, 2, 3, 4], "shape": [4, 1]}, [[1], [2], [3], [4]]),
        (tensor("FP32"), b64(struct.pack("<2f", 1, 2)), [1, 2]),
        (tensor("FP16"), b64(struct.pack("<2e", 1, 2)), [1, 2]),
        (tensor("BF16"), b64(b"\x80\x3f\x00\xc0"), [1, -2]),
        (tensor("FP32", -1, -1), {**b64(struct.pack("<2f", 1, 2)), "shape": [2, 1]}, [[1], [2]]),
        (tensor("FP32", -1), {"content": b64(struct.pack("<2f", 1, 2)), "shape": [2]}, [1, 2]),
        (tensor("BYTES"), b64(framed(b"one", b"")), [b"one", b""]),
        (tensor("BYTES", -1), b64(framed(b"one", b"two")), [b"one", b"two"]),
        (tensor("BYTES", 1), b64(framed(b"one")), [b"one"]),
        (tensor("BYTES", 1), b64(b"\xff\xd8 a JPEG without its length"), [b"\xff\xd8 a JPEG without its length"]),
        (tensor("BYTES", -1), b64(b"ab"), [b"ab"]),
    ],
)
def test_values(tmp_path: Path, spec: TensorSpec, value: Any, expected: Any) -> None:
    assert values(tmp_path, spec, value) == expected


def test_not_a_number_is_a_number(tmp_path: Path) -> None:
    nan, infinite = values(tmp_path, tensor("FP32"), [math.nan, math.inf])
    assert math.isnan(nan)
    assert infinite == math.inf


@pytest.mark.parametrize(
    ("spec", "value", "message"),
    [
        (tensor(), [1], r"expected 2 values for FP32 \[2\], got 1"),
        (tensor("INT32"), [1, 2.0], r"\[1\]: expected a whole number for INT32, got 2.0"),
        (tensor("INT32"), [1, True], r"\[1\]: expected a whole number for INT32, got true"),
        (tensor("BOOL"), [1, 0], r"\[0\]: expected true or false for BOOL, got 1"),
        (tensor("UINT8"), [1, 256], r"\[1\]: 256 does not fit UINT8 \(0 to 255\)"),
        (tensor("FP16"), [1, 1e5], r"\[1\]: 100000.0 does not fit FP16"),
        (tensor("FP32"), [1, "x"], r"\[1\]: expected a number for FP32, got \"x\""),
        (tensor("FP32"), [1, 10**400], "does not fit FP32"),
        (tensor("BYTES"), ["a", 1], r"\[1\]: expected a text for BYTES, got 1"),
        (tensor(), 5, "expected a list, got 5"),
        (tensor(), None, "expected a list, got nothing"),
        (tensor(), [[1], 2], "expected values or lists, got both"),
        (tensor(), {"values": [1, 2]}, "expected `content` or `b64`"),
        (tensor(), {}, "got an empty object"),
        (tensor(), {"content": [1, 2], "shape": "2"}, "shape: expected a list of sizes"),
        (tensor(), {"content": [1, 2], "shape": [1, 2]}, r"shape: \[1, 2\] does not fit the model's \[2\]"),
        (tensor("FP32", -1, -1), [1, 2], r"2 values do not say the shape of FP32 \[-1, -1\]"),
        (tensor(), {"b64": "!"}, "b64 is not valid base64"),
        (tensor(), {"b64": 5}, "expected a base64 text"),
        (tensor(), b64(b"123"), r"b64 has 3 bytes, which do not make one item of FP32 \[2\]"),
        (tensor("BYTES"), b64(b"abc"), r"BYTES \[2\], got 3 bytes without length prefixes"),
        (tensor("BYTES"), b64(framed(b"a")), r"BYTES \[2\], got 1 elements"),
        (tensor("BYTES", 1), b64(framed(b"a", b"b")), r"BYTES \[1\], got 2 elements"),
    ],
)
def test_mistakes_say_where(tmp_path: Path, spec: TensorSpec, value: Any, message: str) -> None:
    with pytest.raises(ServiceError, match=message) as caught:
        values(tmp_path, spec, value)
    assert caught.value.message.startswith(f"workload.data: {tmp_path}/data.json: data[0] (step 0).X: ")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ('{"data": [', r"data\.json: line 1, column 11: "),
        ("[" * 100_000, "data.json: "),
        ({}, r'a list "data" that is not empty, got nothing'),
        ([1], r'expected an object with a list "data" .*, got \[1\]'),
        ({"data": {"X": [1, 2]}}, r'a list "data"'),
        ({"data": []}, r"got \[\]"),
        ({"data": [[{"X": [1, 2]}], {"X": [1, 2]}]}, r"data\[1\] is \{.*but data\[0\] is \["),
        ({"data": [[{"X": [1, 2]}], []]}, r"data\[1\] \(stream 1\) has no steps"),
        ({"data": [[{"X": [1, 2]}, {"X": [1]}]]}, r"data\[0\]\[1\] \(stream 0, step 1\)\.X: expected 2 values"),
        ({"data": [{"X": [1, 2]}, 5]}, r"data\[1\] \(step 1\): expected an object, got 5"),
        ({"data": [{"X": [1, 2], "Y": [1]}]}, r"data\[0\] \(step 0\): the model has no input 'Y'"),
        ({"data": [{"X": [1, 2]}, {"O": [1, 2]}]}, r"data\[0\] \(step 0\) lacks O, which other steps have"),
        ({"data": [{"model": "m"}]}, "names no input"),
    ],
)
def test_files_of_another_form_say_where(tmp_path: Path, document: Any, message: str) -> None:
    path = write(tmp_path, document)
    with pytest.raises(ServiceError, match=message) as caught:
        build_items({}, model(tensor(), tensor(name="O", optional=True)), {}, data=str(path))
    assert caught.value.hint


def test_streams_follow_each_other_and_inputs_stay_together(tmp_path: Path) -> None:
    steps = [{"X": [n, n], "Y": [n], "timestamp": [n], "model": "m"} for n in range(3)]
    document = {"data": [steps[:2], steps[2:]], "validation_data": [[{"OUT": [1]}] * 2, [{"OUT": [1]}]]}
    path = write(tmp_path, document)
    spec = model(tensor(), tensor("INT32", 1, name="Y"), tensor(name="O", optional=True))
    x, y = build_items({}, spec, {}, data=str(path))
    assert ([a.tolist() for a in x.arrays], [a.tolist() for a in y.arrays]) == (
        [[0, 0], [1, 1], [2, 2]],
        [[0], [1], [2]],
    )
    streams = read_json(path, spec)
    assert [len(stream) for stream in streams] == [2, 1]
    assert streams[1][0].place == "data[1][0] (stream 1, step 0)"


def test_inputs_that_the_file_leaves_out_are_generated(tmp_path: Path) -> None:
    path = write(tmp_path, {"data": [{"X": [1, 2]}]})
    x, y = build_items({}, model(tensor(), tensor(name="Y")), {}, data=str(path))
    assert (x.source, y.source) == (f"{path} (X)", "generated (random, seed 0)")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
def test_framed_texts_come_back(tmp_path_factory: pytest.TempPathFactory, texts: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("json")
    assert values(folder, tensor("BYTES", len(texts)), b64(framed(*texts))) == texts
    assert framed(*texts) == to_wire(np.array([*texts, None], np.object_)[:-1], "BYTES")


def shaped(folder: Path, spec: TensorSpec, value: Any, shape: tuple[int, ...]) -> Any:
    data = str(write(folder, {"data": [{spec.name: value}]}))
    [items] = build_items({}, model(spec), {}, data=data, shapes={spec.name: shape})
    return items.arrays[0]


def test_a_shape_from_the_scenario_is_for_values_that_say_none(tmp_path: Path) -> None:
    spec = tensor("INT32", -1, -1)
    assert shaped(tmp_path, spec, list(range(8)), (2, 4)).shape == (2, 4)
    assert shaped(tmp_path, spec, {"content": list(range(8)), "shape": [8, 1]}, (2, 4)).shape == (8, 1)
    assert shaped(tmp_path, spec, b64(bytes(32)), (2, 4)).shape == (2, 4)
    assert shaped(tmp_path, tensor("BYTES", -1, -1), b64(framed(b"a", b"b")), (1, 2)).shape == (1, 2)


def test_values_that_do_not_fill_the_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="expected 4 values"):
        shaped(tmp_path, tensor("INT32", -1), [1, 2, 3], (4,))


def test_several_files_are_used_one_after_the_other(tmp_path: Path) -> None:
    files = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        files.append(str(write(tmp_path / str(number), {"data": [{"X": [number, number]}]})))
    [items] = build_items({}, model(tensor()), {}, data=files)
    assert [array.tolist() for array in items.arrays] == [[0, 0], [1, 1]]
    with pytest.raises(ServiceError, match=r"expected one path, or \.json files"):
        build_items({}, model(tensor()), {}, data=[*files, str(tmp_path)])
