from __future__ import annotations

import pytest

from runner.results.records import ModelFacts
from runner.results.roles import preprocess_models


@pytest.mark.parametrize(
    ("backends", "expected"),
    [
        (["python", "python"], [0]),
        (["python", "python", "python"], [0]),
        (["dali", "tensorrt"], [0]),
        (["dali", "python"], [0]),
        (["dali", "python", "tensorrt"], [0, 1]),
        (["python", "onnxruntime", "python"], [0]),
        (["tensorrt", "tensorrt"], []),
        (["tensorrt", "dali", "tensorrt"], [1]),
        (["tensorrt", "python"], []),
        (["", "custom"], [0]),
        (["python"], []),
        (["dali"], [0]),
        ([], []),
    ],
)
def test_backends_first_then_place(backends: list[str], expected: list[int]) -> None:
    pipeline = [ModelFacts(f"m{index}", backend) for index, backend in enumerate(backends)]
    assert preprocess_models(pipeline) == {f"m{index}" for index in expected}


def test_names_are_not_looked_at() -> None:
    assert preprocess_models([ModelFacts("classify", "python"), ModelFacts("preprocess", "tensorrt")]) == {"classify"}
    assert preprocess_models([ModelFacts("preprocess", "tensorrt"), ModelFacts("x", "tensorrt")]) == frozenset()
