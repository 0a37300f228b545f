"""Inputs from files against a real Triton: what a file says is what the model gets."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from runner.load.inputs import build_items
from runner.load.payloads import build_payloads
from runner.services.kserve import KServeGrpc
from runner.services.tensors import DATATYPES, from_wire, to_wire
from tests.integration.command import Cli, rows

VALUES: dict[str, list[Any]] = {
    **{datatype: [1, 2] for datatype in DATATYPES},
    "BOOL": [True, False],
    "BYTES": ["one", "zwei ü"],
}


def answers(kserve: KServeGrpc, data: Path, batch: int) -> dict[str, list[Any]]:
    """What `echo` answers to the requests made of a file, item by item."""
    model = kserve.metadata("echo")
    payloads = build_payloads(kserve, model, build_items({}, model, {}, data=str(data)), batch)
    found: dict[str, list[Any]] = {}
    for message in payloads.messages:
        answer = kserve._stub.ModelInfer(pb.ModelInferRequest.FromString(message), timeout=10)
        for tensor, raw in zip(answer.outputs, answer.raw_output_contents, strict=True):
            found.setdefault(tensor.name, []).extend(from_wire(raw, tensor.datatype, tensor.shape).tolist())
    return found


def encoded(values: list[Any]) -> list[Any]:
    return [value.encode() if isinstance(value, str) else value for value in values]


def array_of(datatype: str) -> np.ndarray:
    values = encoded(VALUES[datatype])
    dtype = {"BYTES": np.object_, "BOOL": np.bool_, "BF16": np.float32}.get(datatype)
    names = {"FP16": "f2", "FP32": "f4", "FP64": "f8"}
    return np.array(values, dtype or np.dtype(names.get(datatype, datatype.lower())))


@pytest.mark.parametrize("form", ["list", "b64"])
def test_json_files_of_every_datatype_arrive(kserve: KServeGrpc, tmp_path: Path, form: str) -> None:
    def value(datatype: str) -> Any:
        if form == "list":
            return VALUES[datatype]
        return {"b64": base64.b64encode(to_wire(array_of(datatype), datatype)).decode(), "shape": [2]}

    step = {datatype: value(datatype) for datatype in DATATYPES}
    (tmp_path / "data.json").write_text(json.dumps({"data": [[step], [step]]}))
    found = answers(kserve, tmp_path / "data.json", batch=2)
    assert found == {f"OUT_{datatype}": [encoded(VALUES[datatype])] * 2 for datatype in DATATYPES}


def test_arrays_and_directories_of_every_datatype_arrive(kserve: KServeGrpc, tmp_path: Path) -> None:
    saved = {d: array_of(d).astype("S") if d == "BYTES" else array_of(d) for d in DATATYPES}
    np.savez(tmp_path / "data.npz", **saved)
    expected = {f"OUT_{datatype}": [encoded(VALUES[datatype])] for datatype in DATATYPES}
    assert answers(kserve, tmp_path / "data.npz", batch=1) == expected
    folder = tmp_path / "inputs"
    folder.mkdir()
    for datatype in DATATYPES:
        raw = b"one\nzwei \xc3\xbc\n" if datatype == "BYTES" else to_wire(array_of(datatype), datatype)
        (folder / datatype).write_bytes(raw)
    assert answers(kserve, folder, batch=1) == expected


SCENARIO = """scenario: 1
name: mixed
repository: {{models: {{identity: {{from: {models}/identity}}}}}}
workload:
  model: identity
  input: {{INPUT0: {{generate: random, shape: [16], range: [-1, 1]}}}}
  mix:
    - {{weight: 3, batch: 1}}
    - {{weight: 1, batch: 16, shape: {{INPUT0: [256]}}}}
load: {{concurrency: 4}}
measure: {{profile: reference, requests: 600, telemetry: {{sources: []}}}}
"""


def test_a_mix_from_a_scenario_counts_what_the_server_counts(cli: Cli, models: Path) -> None:
    cli.file.write_text(SCENARIO.format(models=models))
    done = cli.run("run", cli.file.name)
    assert done.returncode in (0, 5), done.stderr
    [row], [stage] = (rows(cli.directory() / table) for table in ("points.csv", "stages.csv"))
    per_request = float(row["inferences_per_s"]) / float(row["requests_per_s"])
    assert per_request == pytest.approx(int(stage["inference_count"]) / 600)
    assert 3.4 < per_request < 6.2
    assert "mismatch" not in row["flags"]
