"""Requests of several kinds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.errors import ServiceError
from runner.load.engine import LoadResult
from runner.load.inputs import fed_together
from runner.load.mix import workload_payloads
from runner.load.native import NativeEngine
from runner.load.payloads import build_payloads
from runner.load.plan import ClosedLoop, Drawing, LoadPlan, NullTransport
from runner.scenario.schema import Workload
from runner.services.base import ModelMetadata, TensorSpec

MODEL = ModelMetadata("m", "1", "python", 8, (TensorSpec("X", "FP32", (-1,)),), ())


class Encoder:
    def encode(self, model: str, inputs: Mapping[str, np.ndarray]) -> bytes:
        return b"%d %d" % inputs["X"].shape


def workload(**more: Any) -> Workload:
    given = {"X": {"generate": "random", "shape": [4], "count": 2}}
    return Workload.model_validate({"model": "m", "input": given, **more})


def build(given: Workload) -> Any:
    return workload_payloads(Encoder(), MODEL, given, {})


def run(drawing: Drawing, messages: tuple[bytes, ...], requests: int = 40_000) -> LoadResult:
    plan = LoadPlan(transport=NullTransport(), schedule=ClosedLoop(concurrency=4), max_requests=requests, seed=5)
    return NativeEngine().run(drawing.applied(plan), messages)


def test_each_kind_has_its_share_and_its_items() -> None:
    mix = [{"weight": 3, "batch": 1}, {"weight": 1, "batch": 8, "shape": {"X": [16]}}]
    payloads = build(workload(mix=mix))
    assert payloads.messages == (b"1 4", b"1 4", b"8 16")
    drawing = payloads.drawing
    assert (drawing.order, drawing.payload_weights, drawing.payload_items) == ("weighted", (1.5, 1.5, 1.0), (1, 1, 8))
    assert payloads.facts()["payload_mix"] == "3 × batch 1; 1 × batch 8 X [16]"


def test_the_engine_counts_the_items_of_what_it_drew() -> None:
    payloads = build(workload(mix=[{"weight": 3, "batch": 1}, {"weight": 1, "batch": 8}]))
    result = run(payloads.drawing, payloads.messages)
    large = (sum(s.items for s in result.slices) - result.ok) / 7
    assert large.is_integer()
    assert large / result.ok == pytest.approx(0.25, abs=0.015)
    again = run(payloads.drawing, payloads.messages)
    assert sum(s.items for s in again.slices) == sum(s.items for s in result.slices)


def test_without_a_mix_items_are_not_counted_one_by_one() -> None:
    payloads = build(workload(batch=2, order="shuffle"))
    assert payloads.drawing == Drawing(order="shuffle")
    assert sum(s.items for s in run(payloads.drawing, payloads.messages, 10).slices) == 0


@pytest.mark.parametrize(
    ("portion", "message"),
    [
        ({"weight": 1, "shape": {"Y": [1]}}, r"workload\.mix\[0\]\.shape\.Y: Y is no input of the model"),
        ({"weight": 1, "shape": {"X": [1, 2]}}, r"does not fit the model's \[-1\]"),
        ({"weight": 1, "batch": 9}, "takes at most 8 items"),
    ],
)
def test_a_kind_that_does_not_fit_is_refused(portion: dict[str, Any], message: str) -> None:
    with pytest.raises(ServiceError, match=message):
        build(workload(mix=[portion]))


def test_files_have_shapes_of_their_own() -> None:
    given = workload(mix=[{"weight": 1, "shape": {"X": [1]}}], input={"X": {"from": "nowhere"}})
    with pytest.raises(ServiceError, match="is fed from files"):
        build(given)


@pytest.mark.parametrize("more", [{"order": "shuffle"}, {"shared_memory": "system"}])
def test_a_mix_goes_with_neither_order_nor_shared_memory(more: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"drawn by weight|cannot share memory"):
        workload(mix=[{"weight": 1}], **more)


def streamed(folder: Path, lengths: list[int], **more: Any) -> Any:
    data = {"data": [[{"X": [number, step]} for step in range(length)] for number, length in enumerate(lengths)]}
    (folder / "data.json").write_text(json.dumps(data))
    given = {"model": "m", "data": str(folder / "data.json"), "sequences": {}, **more}
    return workload_payloads(Encoder(), MODEL, Workload.model_validate(given), {})


def test_streams_of_the_data_are_those_of_sequences(tmp_path: Path) -> None:
    payloads = streamed(tmp_path, [3, 1, 2])
    assert (len(payloads.messages), payloads.drawing.data_streams) == (6, (3, 1, 2))
    without = streamed(tmp_path, [3, 1, 2], sequences=None)
    assert without.drawing.data_streams == ()


def test_what_was_read_of_the_data_is_not_read_again(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(json.dumps({"data": [{"X": [1, 2]}, {"X": [3, 4]}]}))
    given = Workload.model_validate({"model": "m", "data": str(tmp_path / "data.json")})
    whole = build(given)
    fed = fed_together(given, MODEL)
    (tmp_path / "data.json").unlink()
    assert workload_payloads(Encoder(), MODEL, given, {}, fed) == whole


def test_streams_come_again_where_other_inputs_have_more_items(tmp_path: Path) -> None:
    pair = ModelMetadata("m", "1", "python", 8, (*MODEL.inputs, TensorSpec("Y", "FP32", (1,))), ())
    (tmp_path / "data.json").write_text('{"data": [[{"X": [1]}, {"X": [2]}], [{"X": [3]}]]}')
    given = {"model": "m", "data": str(tmp_path / "data.json"), "sequences": {},
             "input": {"Y": {"generate": "random", "count": 2}}}  # fmt: skip
    payloads = workload_payloads(Encoder(), pair, Workload.model_validate(given), {})
    assert (len(payloads.messages), payloads.drawing.data_streams) == (6, (2, 1, 2, 1))


def test_a_stream_that_does_not_fit_into_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.load.mix.build_payloads", partial(build_payloads, max_messages=2))
    with pytest.raises(ServiceError, match="the first stream has 3 steps, but only 2 requests fit"):
        streamed(tmp_path, [3, 1])
