"""Tensors as bytes and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from runner.services.tensors import DATATYPES, WIRE, from_wire, to_wire


@pytest.mark.parametrize("datatype", WIRE)
def test_every_numpy_type_survives(datatype: str) -> None:
    array = np.array([[0, 1, 5]]).astype(WIRE[datatype])
    raw = to_wire(array, datatype)
    assert len(raw) == 3 * WIRE[datatype].itemsize
    back = from_wire(raw, datatype, (1, 3))
    assert back.dtype == WIRE[datatype]
    np.testing.assert_array_equal(back, array)


def test_numbers_are_little_endian_and_row_major() -> None:
    assert to_wire(np.array([[1, 2], [3, 4]], np.uint16).T, "UINT16") == bytes([1, 0, 3, 0, 2, 0, 4, 0])


def test_elements_of_bytes_carry_their_length() -> None:
    array = np.array([b"", "ä", b"a\0"], dtype=np.object_)
    raw = to_wire(array, "BYTES")
    assert raw == b"\0\0\0\0" + b"\2\0\0\0\xc3\xa4" + b"\2\0\0\0a\0"
    assert from_wire(raw, "BYTES", (3, 1)).tolist() == [[b""], ["ä".encode()], [b"a\0"]]


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_survive(elements: list[bytes]) -> None:
    array = np.empty(len(elements), dtype=np.object_)
    array[:] = elements
    assert from_wire(to_wire(array, "BYTES"), "BYTES", (len(elements),)).tolist() == elements


@given(st.binary(max_size=64), st.integers(0, 4))
def test_any_bytes_either_make_elements_or_are_refused(raw: bytes, count: int) -> None:
    try:
        array = from_wire(raw, "BYTES", (count,))
    except ValueError:
        return
    assert to_wire(array, "BYTES") == raw


@given(hnp.arrays(np.float32, 5, elements=st.floats(width=32)))
def test_bfloat16_rounds_to_the_nearest(array: np.ndarray) -> None:
    back = from_wire(to_wire(array, "BF16"), "BF16", array.shape)
    np.testing.assert_array_equal(np.isnan(back), np.isnan(array))
    usual = np.isfinite(array) & (np.abs(array) > 1e-37) & (np.abs(array) < 3e38)
    assert np.all(np.abs(back[usual] - array[usual]) <= np.abs(array[usual]) * 2**-8)
    np.testing.assert_array_equal(from_wire(to_wire(back, "BF16"), "BF16", array.shape), back)


def test_bfloat16_ties_go_to_even() -> None:
    array = np.array([1 + 2**-8, 1 + 3 * 2**-8], np.float32)
    assert from_wire(to_wire(array, "BF16"), "BF16", (2,)).tolist() == [1.0, 1 + 4 * 2**-8]


@pytest.mark.parametrize(
    ("array", "datatype", "message"),
    [
        (np.zeros(2, np.float64), "FP32", "float32, not float64"),
        (np.zeros(2, np.float64), "BF16", "float32, not float64"),
        (np.zeros(2, np.uint8), "BYTES", "object array"),
        (np.array([1], np.object_), "BYTES", "not int"),
        (np.zeros(2), "FP99", "unknown datatype 'FP99'"),
    ],
)
def test_a_wrong_array_is_refused(array: np.ndarray, datatype: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_wire(array, datatype)


@pytest.mark.parametrize(
    ("raw", "datatype", "message"),
    [
        (b"123", "UINT16", "has 4 bytes, 3 were found"),
        (b"", "FP32", "has 8 bytes, 0 were found"),
        (b"\1\0\0\0", "BYTES", "inside an element"),
        (b"\1\0", "BYTES", "inside a length"),
        (b"\0\0\0\0", "BYTES", "2 elements was announced, 1"),
    ],
)
def test_bytes_that_do_not_fill_the_shape_are_refused(raw: bytes, datatype: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_wire(raw, datatype, (2,))


def test_the_list_of_datatypes_is_complete() -> None:
    assert len(DATATYPES) == len(set(DATATYPES)) == 14
