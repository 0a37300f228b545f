"""References between steps: order, circles, substitution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.errors import SetupError
from runner.setup.base import Artifact
from runner.setup.references import needed_steps, references, substitute, substitute_all

ONNX = {"onnx": Artifact(Path("/state/model.onnx"), "d")}


def test_references_are_found_anywhere_once() -> None:
    value = {"a": ["${setup.x} and ${setup.y}", 3, None], "b": {"c": "${setup.x}"}, "d": "${vars.z}"}
    assert references(value) == ("x", "y")


def test_a_reference_becomes_a_path_also_inside_text() -> None:
    assert substitute("${setup.onnx}", ONNX) == "/state/model.onnx"
    assert substitute_all({"a": ["${setup.onnx}/data", 1]}, ONNX) == {"a": ["/state/model.onnx/data", 1]}


SETUP: dict[str, Any] = {
    "engine": {"from": "${setup.onnx}"},
    "onnx": {"weights": "${setup.weights}"},
    "weights": {},
    "spare": {},
    "images": {},
}


def test_dependencies_come_first_and_the_rest_is_left_out() -> None:
    roots = {"files": "${setup.engine}", "input": "${setup.images}"}
    assert needed_steps(SETUP, roots) == ("weights", "onnx", "engine", "images")
    assert needed_steps(SETUP, roots, always=("spare",))[0] == "spare"
    assert needed_steps(SETUP, {}) == ()


def test_an_unknown_step_names_the_nearest() -> None:
    with pytest.raises(SetupError, match=r"the scenario refers to \$\{setup.imagse\}") as caught:
        needed_steps(SETUP, "${setup.imagse}")
    assert caught.value.hint == "did you mean ${setup.images}?"
    with pytest.raises(SetupError, match=r"setup\.a refers to") as caught:
        needed_steps({"a": "${setup.zzz}"}, "${setup.a}")
    assert caught.value.hint == "steps are: a"


def test_a_circle_is_spelt_out() -> None:
    circle = {"a": "${setup.b}", "b": "${setup.c}", "c": "${setup.b}"}
    with pytest.raises(SetupError, match=r"setup.b -> setup.c -> setup.b$"):
        needed_steps(circle, "${setup.a}")
