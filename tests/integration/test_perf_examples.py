"""The worked examples of perf_analyzer's manual against a real Triton: the same options and data.

Models of `resources/models` stand in for the manual's own (inception_graphdef, resnet50, …). Where it leaves the length
to windows, a fixed number of requests says exactly what has to be counted.
"""

from __future__ import annotations

import base64
import csv
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.cli.main import invoke
from runner.load.native import NativeEngine
from runner.runtimes.base import RunningServer
from tests.integration.perf_runs import MEASURED

COLUMNS = [
    *("Concurrency", "Inferences/Second", "Client Send", "Network+Server Send/Recv", "Server Queue"),
    *("Server Compute Input", "Server Compute Infer", "Server Compute Output", "Client Recv"),
    *("p50 latency", "p90 latency", "p95 latency", "p99 latency"),
]
VERBOSE = ["Avg latency", "request/response", "response wait"]
GPUS = ["Avg GPU Utilization", "Avg GPU Power Usage", "Max GPU Memory Usage", "Total GPU Memory"]
DECOUPLED = [*COLUMNS[:2], "Response Throughput", *COLUMNS[2:]]
WINDOWS = ("-p", "150", "-s", "999")
"""Three short windows, which count as alike; a machine that stands still for a moment has ten to find them."""
QUIET = ("--progress", "none", "--set", "measure.telemetry.sources=[]")
ONES = [1] * 16
Row = dict[str, str]


class Example:
    """Runs one command line in a scratch folder."""

    def __init__(self, server: RunningServer, folder: Path) -> None:
        self.server, self.folder = server, folder

    def run(self, line: str, *more: str, columns: list[str] = COLUMNS, quiet: tuple[str, ...] = QUIET) -> list[Row]:
        """Rows of `points.csv`; the CSV file has one for each of them, and no other column than `columns`."""
        words = line.split()
        address = self.server.endpoint.grpc if "grpc" in words else self.server.endpoint.http
        assert invoke(["perf", *words, *more, "-f", "out.csv", "-u", address, *quiet]) in MEASURED
        (points,) = (self.folder / "runs").glob("*/points.csv")
        found = rows(points)
        assert (self.folder / "out.csv").read_text().splitlines()[0].split(",") == columns
        levels = {row["Concurrency"]: row for row in rows(self.folder / "out.csv")}
        assert levels.keys() == {row["concurrency"] for row in found}
        for row in found:
            assert float(levels[row["concurrency"]]["Inferences/Second"]) > 0
            assert row["requests_failed"] == "0"
            assert row["requests_ok"] == row["requests_sent"]
            # Living sequences are ended behind the load, each by a request that is none of it.
            ended = int(row["server_success_count"]) - int(row["requests_ok"])
            assert 0 <= ended <= (int(row["concurrency"]) if row.get("sequences") else 0)
        return found

    def data(self, document: object) -> tuple[str, str]:
        """The options for a JSON file with this in it."""
        (self.folder / "data.json").write_text(json.dumps(document))
        return "--input-data", "data.json"


def rows(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def base64_of(values: Any) -> dict[str, str]:
    return {"b64": base64.b64encode(np.asarray(values, "<i4").tobytes()).decode()}


@pytest.fixture
def example(triton: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Example:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENARIO_HOME", str(tmp_path / "home"))
    return Example(triton, tmp_path)


def test_quick_start(example: Example, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = example.run("-m add_sub --percentile=95", *WINDOWS)
    assert int(row["completions"]) > 0
    said = capsys.readouterr().out
    assert "Stabilizing using p95 latency" in said
    assert "Inferences/Second vs. Client p95 Batch Latency" in said


def test_concurrencies(example: Example, capsys: pytest.CaptureFixture[str]) -> None:
    found = example.run("-m add_sub --concurrency-range 1:4", *WINDOWS)
    assert {row["concurrency"] for row in found} == {"1", "2", "3", "4"}
    said = capsys.readouterr().out
    assert [f"Concurrency: {level}, throughput: " in said for level in range(1, 5)] == [True] * 4


def test_a_level_is_on_disk_before_the_next_one_is_loaded(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    load = NativeEngine.run
    found: list[int] = []  # levels in the journal when the engine begins; it also measures itself, for every level

    def watched(engine: NativeEngine, *arguments: Any, **named: Any) -> Any:
        (journal,) = (example.folder / "runs").glob("*/journal.jsonl")
        found.append(journal.read_text().count('"kind":"trial"'))
        return load(engine, *arguments, **named)

    monkeypatch.setattr(NativeEngine, "run", watched)
    example.run("-m add_sub --concurrency-range 1:2", *WINDOWS)
    assert sorted(set(found)) == [0, 1]


def test_metrics(example: Example) -> None:
    """Without a GPU the columns are empty, as perf_analyzer's."""
    metrics = str(example.server.endpoint.metrics)
    line = f"-m add_sub --collect-metrics --metrics-url {metrics}/metrics --verbose-csv --request-count 50"
    (row,) = example.run(line, columns=[*COLUMNS, *VERBOSE, *GPUS], quiet=QUIET[:2])
    assert row["requests_sent"] == "50"


def test_images_of_a_chosen_size_in_batches(example: Example) -> None:
    (row,) = example.run("-m image -b 4 --shape IMAGE:3,224,224 --request-count 8")
    assert (row["requests_sent"], row["batch"]) == ("8", "4")


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_explicit_tensors(example: Example, protocol: str) -> None:
    steps = [{"INPUT0": ONES, "INPUT1": ONES}] * 4
    (row,) = example.run(f"-m add_sub -i {protocol} --request-count 40", *example.data({"data": steps}))
    assert row["requests_sent"] == "40"


def test_base64_tensors(example: Example) -> None:
    steps = [{"INPUT0": base64_of(ONES), "INPUT1": base64_of(range(16))}] * 3
    answers = [{"OUTPUT0": [1 - n for n in range(16)], "OUTPUT1": [1 + n for n in range(16)]}] * 3
    data = example.data({"data": steps, "validation_data": answers})
    (row,) = example.run("-m add_sub --request-count 30", *data)
    assert row["requests_ok"] == "30"


def test_answers_beside_the_tensors(example: Example) -> None:
    document = {
        "data": [{"INPUT0": ONES, "INPUT1": ONES}],
        "validation_data": [{"OUTPUT0": [0] * 16, "OUTPUT1": [2] * 16}],
    }
    (row,) = example.run("-m add_sub --request-count 30", *example.data(document))
    assert row["requests_ok"] == "30"


def test_shapes_beside_the_tensors(example: Example) -> None:
    """The third step has none, so that of the command line holds."""
    steps: list[dict[str, Any]] = [{"INPUT": {"content": ONES, "shape": shape}} for shape in ([2, 8], [8, 2], [4, 4])]
    steps.insert(2, {"INPUT": {"content": ONES}})
    (row,) = example.run("-m matrix --shape INPUT:4,4 --request-count 40", *example.data({"data": steps}))
    assert row["requests_ok"] == "40"


def test_a_shape_beside_base64(example: Example) -> None:
    steps = [{"INPUT": {"content": base64_of(range(12)), "shape": [3, 4]}}]
    answers = [{"OUTPUT": {"content": list(range(12)), "shape": [3, 4]}}]
    data = example.data({"data": steps, "validation_data": answers})
    (row,) = example.run("-m matrix --request-count 20", *data)
    assert row["requests_ok"] == "20"


@pytest.mark.parametrize("option", ["--string-length 16", "--string-data hello"])
def test_texts_of_a_length_or_a_content(example: Example, option: str) -> None:
    (row,) = example.run(f"-m identity_bytes --shape INPUT0:3 {option} --request-count 20")
    assert row["requests_ok"] == "20"


def test_texts_in_base64_have_their_lengths_before_them(example: Example) -> None:
    packed = b"".join(struct.pack("<I", len(text)) + text for text in (b"one", b"three"))
    steps = [{"INPUT0": {"content": {"b64": base64.b64encode(packed).decode()}, "shape": [2]}}]
    answers = [{"OUTPUT0": {"content": ["one", "three"], "shape": [2]}}]
    data = example.data({"data": steps, "validation_data": answers})
    (row,) = example.run("-m identity_bytes --request-count 20", *data)
    assert row["requests_ok"] == "20"


def test_a_folder_of_raw_files(example: Example) -> None:
    (example.folder / "raw").mkdir()
    for number in range(2):
        (example.folder / "raw" / f"INPUT{number}").write_bytes(np.arange(16, dtype="<i4").tobytes())
    (row,) = example.run("-m add_sub --input-data raw --request-count 20")
    assert row["requests_ok"] == "20"


def test_streams_of_a_sequence_model(example: Example) -> None:
    streams = [[{"INPUT0": [float(n)]} for n in steps] for steps in ((1, 2, 3, 4), (1, 1, 1), (1, 1))]
    line = "-m accumulate -i grpc --concurrency-range 2"
    (row,) = example.run(line, *WINDOWS, *example.data({"data": streams}))
    # Of 4, 3 and 2 requests in turn; the window cuts off some at its edges.
    assert 2.5 < int(row["completions"]) / int(row["sequences"]) < 3.5


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_shared_memory(example: Example, protocol: str) -> None:
    (row,) = example.run(f"-m add_sub -i {protocol} --shared-memory=system --request-count 30")
    assert row["requests_ok"] == "30"


def test_a_decoupled_model(example: Example) -> None:
    data = example.data({"data": [{"INPUT0": [3]}]})
    (row,) = example.run("-m repeat -i grpc --async --streaming --request-count 20", *data, columns=DECOUPLED)
    assert (row["requests_ok"], float(row["responses_per_request"])) == ("20", 3)


def test_an_ensemble_has_a_file_for_each_of_its_models(example: Example) -> None:
    (row,) = example.run("-m chain --shape INPUT0:4 --request-count 20 --concurrency-range 2")
    assert row["requests_ok"] == "20"
    files = {path.name: rows(path) for path in example.folder.glob("*_v1.out.csv")}
    assert {name: len(found) for name, found in files.items()} == {"identity_v1.out.csv": 1, "sleepy_v1.out.csv": 1}
