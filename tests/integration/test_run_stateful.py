"""`scenario run` with streams, sequences, checked answers and records, from the file to the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.results.request_records import read_records
from tests.integration.command import Cli, rows

MODELS = Path(__file__).parent / "resources" / "models"
QUICK = "warmup: {min_time: 300ms, min_requests_per_slot: 2}, window: {min: 1s, max: 2s}, telemetry: {sources: []}"


class Ran:
    """One run of a scenario in a scratch folder."""

    def __init__(
        self, folder: Path, model: str, workload: str, measure: str = "", axes: str = "", args: str = ""
    ) -> None:
        self.cli = Cli(folder)
        self.cli.file.write_text(
            "scenario: 1\nname: case\n"
            f"repository: {{models: {{{model}: {{from: {MODELS}/{model}, args: {{{args}}}}}}}}}\n"
            f"workload: {{model: {model}, {workload}}}\nload: {{concurrency: 3}}\n"
            f"measure: {{{QUICK}{measure}}}\nmatrix: {{axes: {{{axes or 'load.concurrency: [3]'}}}}}\n"
        )
        self.process = self.cli.run("run", self.cli.file.name)
        self.directory = self.cli.directory()

    def points(self) -> list[dict[str, str]]:
        return rows(self.directory / "points.csv")

    def trials(self) -> list[dict[str, Any]]:
        return self.cli.trials()


def test_a_stateful_model_over_every_transport(tmp_path: Path) -> None:
    ran = Ran(
        tmp_path,
        "accumulate",
        "sequences: {length: 5, variation: 40%}, parameters: {tag: 7}, input: {INPUT0: {generate: zero}}",
        axes="how: {zip: {workload.protocol: [grpc, grpc, http, http], workload.streaming: [false, true, false, false],"
        " workload.tensors: [binary, binary, binary, json]}}",
    )
    assert ran.process.returncode == 0, ran.process.stderr + ran.process.stdout
    assert [point["protocol"] for point in ran.points()] == ["grpc", "grpc", "http", "http"]
    for point in ran.points():
        assert (point["state"], point["requests_failed"]) == ("ok", "0")
        assert "mismatch" not in point["flags"]
        assert float(point["sequences_per_s"]) == pytest.approx(float(point["requests_per_s"]) / 5, rel=0.25)
        assert float(point["sequence_latency_mean_ms"]) > 2 * float(point["latency_mean_ms"])
        parts = [
            float(point[f"{part}_ms"]) for part in ("client_queue", "request_write", "response_wait", "response_read")
        ]
        assert sum(parts) == pytest.approx(float(point["latency_mean_ms"]), rel=0.05)


def test_a_decoupled_model_streams_its_responses(tmp_path: Path) -> None:
    workload = "streaming: true, input: {INPUT0: {generate: zero}, DELAY_MS: {generate: zero}}"
    ran = Ran(tmp_path, "repeat", workload, args="more: 3")
    assert ran.process.returncode == 0, ran.process.stderr + ran.process.stdout
    (point,) = ran.points()
    assert (point["state"], float(point["responses_per_request"])) == ("ok", 3.0)
    assert float(point["responses_per_s"]) == pytest.approx(3 * float(point["requests_per_s"]), rel=0.05)
    first, last = float(point["first_response_mean_ms"]), float(point["last_response_mean_ms"])
    assert first < last <= float(point["latency_mean_ms"]) * 1.01
    assert float(point["inter_response_p50_ms"]) < last


def test_checked_answers_and_records(tmp_path: Path) -> None:
    ran = Ran(
        tmp_path,
        "identity",
        "validate: {every: 3, mode: tolerance}, input: {INPUT0: {generate: random, shape: [30]}}",
        ", records: full",
    )
    assert ran.process.returncode == 0, ran.process.stderr + ran.process.stdout
    (trial,) = ran.trials()
    assert trial["state"] == "ok"
    records = read_records(ran.directory / "records" / f"{trial['case_id']}.bin")
    assert len(records) == trial["counts"]["sent"]
    assert set(records["status"]) == {0}
    assert "Client Send" in (ran.directory / "combined.csv").read_text()


def test_a_model_whose_answers_change_is_found_out(cli: Cli, tmp_path: Path) -> None:
    drifting = tmp_path / "drifting"
    (drifting / "1").mkdir(parents=True)
    (drifting / "config.pbtxt").write_text((MODELS / "identity" / "config.pbtxt").read_text())
    (drifting / "1" / "model.py").write_text(
        "import triton_python_backend_utils as pb_utils\n"
        "class TritonPythonModel:\n"
        "    def initialize(self, args):\n"
        "        self.count = 0\n"
        "    def execute(self, requests):\n"
        "        return [self.answer(request) for request in requests]\n"
        "    def answer(self, request):\n"
        "        self.count += 1\n"
        "        given = pb_utils.get_input_tensor_by_name(request, 'INPUT0').as_numpy().copy()\n"
        "        given += self.count > 200\n"
        "        return pb_utils.InferenceResponse([pb_utils.Tensor('OUTPUT0', given)])\n"
    )
    cli.file.write_text(
        f"scenario: 1\nname: case\nrepository: {{models: {{drifting: {{from: {drifting}}}}}}}\n"
        "workload: {model: drifting, validate: {every: 20}, input: {INPUT0: {generate: zero, shape: [4]}}}\n"
        f"measure: {{{QUICK}, max_error_rate: 50%}}\n"
    )
    process = cli.run("run", cli.file.name)
    (trial,) = cli.trials()
    assert process.returncode != 0
    assert trial["state"] == "invalid"
    assert trial["errors"]["wrong_output"].endswith("output OUTPUT0[0] expected 0, got 1")
    assert "wrong_output" in {flag["code"] for flag in trial["flags"]}
