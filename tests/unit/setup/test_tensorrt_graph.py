"""Profiles laid on a model's inputs, and outputs held against each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.errors import SetupError
from runner.scenario.schema_tensorrt import TensorrtStep, Verify
from runner.setup.tensorrt.compare import compare, failings, read_outputs
from runner.setup.tensorrt.graph import profiles_of, sample_batch, sample_shapes

IMAGES = {"INPUT": {"shape": ["N", 3, 8, 8]}, "SCALE": {"shape": [1]}}
OPEN = {"INPUT": {"shape": ["N", 3, "H", None]}}
FIXED = {"INPUT": {"shape": [1, 3, 8, 8]}}


def step(profile: Any) -> TensorrtStep:
    return TensorrtStep.model_validate({"kind": "tensorrt", "from": "m.onnx", "profile": profile})


def test_batches_size_the_first_dimension_where_it_is_dynamic() -> None:
    (only,) = profiles_of(step({"opt": 4, "max": 8}), IMAGES, "setup.e")
    assert only == {"INPUT": ([1, 3, 8, 8], [4, 3, 8, 8], [8, 3, 8, 8])}
    assert sample_batch([only]) == 4


def test_shapes_size_everything_and_several_profiles_stay_apart() -> None:
    shapes = {"INPUT": {"min": [1, 3, 4, 4], "opt": [2, 3, 8, 8], "max": [4, 3, 16, 16]}}
    both = [shapes, {"INPUT": {**shapes["INPUT"], "max": [4, 3, 32, 32]}}]
    found = profiles_of(step(both), OPEN, "setup.e")
    assert [each["INPUT"][2] for each in found] == [[4, 3, 16, 16], [4, 3, 32, 32]]
    assert sample_shapes(step(both)) == {"INPUT": (2, 3, 8, 8)}


def test_a_fixed_model_needs_no_profile() -> None:
    assert profiles_of(step(None), FIXED, "setup.e") == []
    assert sample_batch([]) == 1


@pytest.mark.parametrize(
    ("profile", "inputs", "says", "hint"),
    [
        (None, IMAGES, r"dimension 0 of input INPUT \[N, 3, 8, 8\] is dynamic", "add `profile: {min: 1"),
        ({"max": 8}, OPEN, r"dimension 2 of input INPUT \[N, 3, H, \?\] is dynamic", "name shapes"),
        ({"max": 8}, FIXED, "every dimension of the model is fixed", "remove `profile`"),
        ({"INPT": {"min": [1], "opt": [1], "max": [1]}}, IMAGES, "no such input", "did you mean `INPUT`?"),
        ({"SCALE": {"min": [1], "opt": [1], "max": [1]}}, IMAGES, "dimension 0 of input INPUT", "add `INPUT: {min"),
        ({"INPUT": {"min": [1, 3, 4, 8], "opt": [1, 3, 8, 8], "max": [1, 3, 8, 8]}}, IMAGES, "do not fit", "name"),
    ],
)
def test_what_no_profile_covers_is_named(profile: Any, inputs: Any, says: str, hint: str) -> None:
    with pytest.raises(SetupError, match=rf"setup\.e\.profile.*{says}") as caught:
        profiles_of(step(profile), inputs, "setup.e")
    assert hint in str(caught.value.hint)


SCORES = np.eye(4, dtype=np.float32) * 10


def judged(outputs: Any, **asked: Any) -> list[str]:
    verify = Verify.model_validate({"against": "m.onnx", **asked})
    return failings(compare({"OUTPUT": SCORES}, {"OUTPUT": outputs}, verify), verify)


def test_what_is_near_enough_passes() -> None:
    assert judged(SCORES + 0.01, top1_agreement=1.0, atol=0.02) == []
    assert judged(SCORES * 1.01, atol=1e-3, rtol=0.02) == []


def test_what_is_not_is_told_with_both_numbers() -> None:
    one_wrong = SCORES[[1, 1, 2, 3]]
    assert judged(one_wrong) == ["top-1 agreement is 0.75, asked for 0.99"]
    assert judged(SCORES + 0.5, atol=0.1) == [
        "100.00% of the values are farther off than atol 0.1; the largest error is 0.5"
    ]
    assert judged(SCORES * np.float32("nan"))[0] == "the engine's outputs hold infinities or NaN"


def test_what_is_a_tie_for_the_model_decides_nothing() -> None:
    reference = np.array([[0, 10, 9.995], [0, 10, 9.5]])
    swapped = {"OUTPUT": reference[:, [0, 2, 1]]}
    found = compare({"OUTPUT": reference}, swapped, Verify(against="m.onnx"))
    assert (found.top1_agreement, found.ties) == (0.5, 1)
    assert compare({"OUTPUT": reference}, swapped, Verify(against="m.onnx", tie="0%")).top1_agreement == 0.0
    assert "top-1 agreement 0.5 (1 by a tie)" in found.text()


def test_agreement_of_classes_needs_classes() -> None:
    verify = Verify(against="m.onnx")
    single = {"OUTPUT": np.ones((3, 1))}
    assert "no output has classes" in failings(compare(single, single, verify), verify)[0]


@pytest.mark.parametrize(
    ("outputs", "says"),
    [({}, "has no output OUTPUT"), ({"OUTPUT": SCORES[:2]}, r"output OUTPUT is \[2, 4\], the model's \[4, 4\]")],
)
def test_outputs_that_do_not_match_are_named(outputs: Any, says: str) -> None:
    with pytest.raises(SetupError, match=says):
        compare({"OUTPUT": SCORES}, outputs, Verify(against="m.onnx"))


def test_rows_that_only_filled_a_batch_do_not_count(tmp_path: Path) -> None:
    for index in range(2):
        (tmp_path / f"{index}.bin").write_bytes(SCORES.tobytes())
    tensor = {"dtype": "float32", "shape": [4, 4]}
    answers = [{"OUTPUT": {**tensor, "file": f"{index}.bin"}} for index in range(2)]
    (tmp_path / "outputs.json").write_text(json.dumps(answers))
    assert read_outputs(tmp_path, 6)["OUTPUT"].shape == (6, 4)
