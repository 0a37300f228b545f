"""Compared answers from the scenario to the wire: every source of references, every transport, a real Triton."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.errors import ServiceError
from runner.runtimes.base import RunningServer
from runner.services.tensors import DATATYPES, WIRE, to_wire
from tests.integration.scenario_load import scenario_load

ITEMS = np.arange(6 * 4, dtype=np.float32).reshape(6, 4)
BOTH_WAYS = {"compression": "deflate", "response_compression": "gzip"}
WAYS: list[dict[str, Any]] = [
    {},
    {"streaming": True},
    {"protocol": "http"},
    {"protocol": "http", "tensors": "json"},
    {"protocol": "http", "compression": "gzip"},
    {"compression": "deflate"},
    {"shared_memory": "system", "output_bytes": "4096B"},
    {"shared_memory": "system", "output_bytes": "4096B", "compression": "gzip"},
    {"shared_memory": "system", "output_bytes": "4096B", "protocol": "http"},
    {"shared_memory": "system", "output_bytes": "4096B", "protocol": "http"} | BOTH_WAYS,
]


def ident(way: dict[str, Any]) -> str:
    return "-".join(map(str, way.values())) or "grpc"


@pytest.fixture
def workload(tmp_path: Path) -> dict[str, Any]:
    """Six items of `identity`, compared with themselves in files; the last one is wrong in `wrong.npy`."""
    np.save(tmp_path / "items.npy", ITEMS)
    wrong = ITEMS.copy()
    wrong[5, 2] += 0.5
    np.save(tmp_path / "wrong.npy", wrong)
    return {"model": "identity", "input": {"INPUT0": {"from": str(tmp_path / "items.npy")}}}


def with_outputs(file: Path, **validate: Any) -> dict[str, Any]:
    return {"every": 1, "expect": "files", "outputs": {"OUTPUT0": {"from": str(file)}}, **validate}


@pytest.mark.parametrize("mode", ["exact", "digest"])
@pytest.mark.parametrize("way", WAYS, ids=ident)
def test_answers_are_compared_over_every_transport(
    triton: RunningServer, workload: dict[str, Any], tmp_path: Path, way: dict[str, Any], mode: str
) -> None:
    asked = workload | way
    result = scenario_load(triton, asked | {"validate": {"every": 1, "mode": mode}})
    assert (result.ok, result.failed) == (60, {}), result.examples
    result = scenario_load(triton, asked | {"validate": with_outputs(tmp_path / "items.npy", mode=mode)})
    assert (result.ok, result.failed) == (60, {}), result.examples
    # Of six requests in turn the last one is expected to answer something else.
    result = scenario_load(triton, asked | {"validate": with_outputs(tmp_path / "wrong.npy", mode=mode)})
    assert (result.ok, result.failed) == (50, {"wrong_output": 10})
    told = {"exact": "output OUTPUT0[2] expected 22.5, got 22", "digest": "output OUTPUT0 expected sha256"}
    assert told[mode] in result.examples["wrong_output"]


@pytest.mark.parametrize(
    "way",
    [
        {},
        {"shared_memory": "system", "output_bytes": "64B"},
        {"protocol": "http"},
        {"shared_memory": "system", "output_bytes": "64B", "protocol": "http"},
    ],
    ids=ident,
)
def test_items_are_batched_as_their_inputs_are(
    triton: RunningServer, workload: dict[str, Any], tmp_path: Path, way: dict[str, Any]
) -> None:
    asked = workload | way | {"batch": 4}
    result = scenario_load(triton, asked | {"validate": with_outputs(tmp_path / "items.npy")})
    assert (result.ok, result.failed) == (60, {}), result.examples
    # Three requests use each item twice: items 0-3, 4-1, 2-5.
    result = scenario_load(triton, asked | {"validate": with_outputs(tmp_path / "wrong.npy")})
    assert (result.ok, result.failed) == (20, {"wrong_output": 40})
    tolerant = with_outputs(tmp_path / "wrong.npy", mode="tolerance", atol=0.5)
    assert scenario_load(triton, asked | {"validate": tolerant}).ok == 60


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_texts_are_compared_in_shared_memory(triton: RunningServer, tmp_path: Path, protocol: str) -> None:
    (tmp_path / "texts").write_text("one\ntwo two\nthree\n")
    (tmp_path / "others").write_text("one\ntwo twa\nthree\n")
    lines = {"format": "lines"}
    workload: dict[str, Any] = {
        "model": "identity_bytes",
        "input": {"INPUT0": {"from": str(tmp_path / "texts"), **lines}},
        "shared_memory": "system",
        "output_bytes": "64B",
        "protocol": protocol,
    }
    for file, wrong in (("texts", 0), ("others", 20)):
        validate = {"every": 1, "expect": "files", "outputs": {"OUTPUT0": {"from": str(tmp_path / file), **lines}}}
        result = scenario_load(triton, workload | {"validate": validate})
        assert (result.ok, result.failed.get("wrong_output", 0)) == (60 - wrong, wrong), result.examples


def test_validation_data_of_a_json_file(triton: RunningServer, tmp_path: Path) -> None:
    steps = [{"INPUT0": [1, 2]}, {"INPUT0": [3, 4]}]
    expected = [{"OUTPUT0": [1, 2]}, {"OUTPUT0": [3, 4.5]}]
    (tmp_path / "data.json").write_text(json.dumps({"data": steps, "validation_data": expected}))
    workload = {"model": "identity", "data": str(tmp_path / "data.json"), "validate": {"every": 1, "expect": "data"}}
    result = scenario_load(triton, workload)
    assert (result.ok, result.failed) == (30, {"wrong_output": 30})
    assert "output OUTPUT0[1] expected 4.5, got 4" in result.examples["wrong_output"]
    (tmp_path / "data.json").write_text(json.dumps({"data": steps, "validation_data": expected[:1]}))
    with pytest.raises(ServiceError, match="validation_data has 1 streams of 1 steps, but data has 1 streams of 2"):
        scenario_load(triton, workload)


@pytest.mark.parametrize("mode", ["exact", "digest"])
def test_the_responses_of_a_stream_are_compared_in_order(triton: RunningServer, tmp_path: Path, mode: str) -> None:
    np.save(tmp_path / "counts.npy", np.array([[3], [0], [2]], np.int32))
    workload = {
        "model": "repeat",
        "streaming": True,
        "input": {"INPUT0": {"from": str(tmp_path / "counts.npy")}},
        "validate": {"every": 1, "mode": mode},
    }
    result = scenario_load(triton, workload)
    assert (result.ok, result.failed) == (60, {}), result.examples
    # Of a file each request is expected to have one response.
    np.save(tmp_path / "zeros.npy", np.zeros((3, 1), np.int32))
    validate = {"every": 1, "expect": "files", "outputs": {"OUTPUT0": {"from": str(tmp_path / "zeros.npy")}}}
    result = scenario_load(triton, workload | {"validate": validate})
    assert (result.ok, result.failed) == (0, {"wrong_output": 60})


def test_answers_are_sampled(triton: RunningServer, workload: dict[str, Any], tmp_path: Path) -> None:
    for way in ({}, {"protocol": "http"}, {"streaming": True}):
        validate = with_outputs(tmp_path / "wrong.npy", every=6)
        one = scenario_load(triton, workload | way | {"validate": validate}, load={"concurrency": 1})
        assert (one.ok, one.failed) == (60, {}), "requests 0, 6, 12, … are all of item 0"
        validate = with_outputs(tmp_path / "wrong.npy", every=5)
        one = scenario_load(triton, workload | way | {"validate": validate}, load={"concurrency": 1})
        assert (one.ok, one.failed) == (58, {"wrong_output": 2}), "requests 5 and 35 of 0, 5, 10, …"


def test_expected_items_must_be_those_of_the_inputs(
    triton: RunningServer, workload: dict[str, Any], tmp_path: Path
) -> None:
    np.save(tmp_path / "few.npy", ITEMS[:4])
    for validate, message in [
        (with_outputs(tmp_path / "few.npy"), "holds 4 items of OUTPUT0, but the inputs make 6 different ones"),
        (
            {"expect": "files", "outputs": {"OUTPUT9": {"from": str(tmp_path / "few.npy")}}},
            "has no output of this name",
        ),
    ]:
        with pytest.raises(ServiceError, match=message):
            scenario_load(triton, workload | {"validate": validate})
    shuffled = {"INPUT0": {"from": str(tmp_path / "items.npy"), "pick": "shuffle"}}
    with pytest.raises(ServiceError, match="these are shuffled"):
        scenario_load(triton, workload | {"input": shuffled, "validate": with_outputs(tmp_path / "items.npy")})


def _files(folder: Path, source: str) -> dict[str, dict[str, Any]]:
    """An input of each datatype: two items of two elements, or one element of BYTES where a file is one."""
    inputs: dict[str, dict[str, Any]] = {}
    for datatype in DATATYPES:
        if source == "generated":
            inputs[datatype] = {"generate": "random", "shape": [2], "count": 2}
            continue
        array = np.array([[1, 0], [3, 2]]).astype({"BYTES": "S2", "BF16": "<f4"}.get(datatype) or WIRE[datatype])
        if source == "npy":
            np.save(folder / f"{datatype}.npy", array)
            inputs[datatype] = {"from": str(folder / f"{datatype}.npy")}
            continue
        (folder / datatype).mkdir()
        for number, item in enumerate(array):
            raw = bytes(item[0]) if datatype == "BYTES" else to_wire(item, datatype)
            (folder / datatype / str(number)).write_bytes(raw)
        inputs[datatype] = {"from": str(folder / datatype), "format": "raw"}
    return inputs


@pytest.mark.parametrize("source", ["generated", "npy", "raw"])
@pytest.mark.parametrize(
    "way", [{}, {"protocol": "http"}, {"shared_memory": "system", "output_bytes": "64B"}], ids=ident
)
def test_every_datatype_from_every_source_comes_back_right(
    triton: RunningServer, tmp_path: Path, source: str, way: dict[str, Any]
) -> None:
    inputs = _files(tmp_path, source)
    outputs = {f"OUT_{name}": {"from": entry["from"]} for name, entry in inputs.items() if "from" in entry}
    validate = {"every": 1, "expect": "files", "outputs": outputs} if outputs else {"every": 1}
    result = scenario_load(
        triton, {"model": "echo", "batch": 2, "input": inputs, "validate": validate} | way, requests=20
    )
    assert (result.ok, result.failed) == (20, {}), result.examples
