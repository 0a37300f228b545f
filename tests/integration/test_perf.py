"""`scenario perf` against a real Triton that runs already: options in, numbers of that server out."""

from __future__ import annotations

import csv
import json

import pytest

from tests.integration.perf_runs import MEASURED, Perf, write_json


def test_a_sweep_over_http_is_measured_level_by_level(perf: Perf, capsys: pytest.CaptureFixture[str]) -> None:
    export = perf.folder / "export.json"
    done = perf("-m", "identity", "-x", "1", "--shape", "INPUT0:16", "-b", "2", "--concurrency-range", "1:2",
                "--request-parameter", "tag:7:int", "-f", "out.csv", "--profile-export-file", str(export))  # fmt: skip
    assert done in MEASURED, capsys.readouterr().err
    points = perf.points()
    assert [(row["concurrency"], row["batch"], row["protocol"]) for row in points] == [
        ("1", "2", "http"),
        ("2", "2", "http"),
    ]
    assert all(row["server_success_count"] == row["requests_ok"] for row in points)
    with (perf.folder / "out.csv").open() as file:
        assert {row["Concurrency"] for row in csv.DictReader(file)} == {"1", "2"}
    assert len(json.loads(export.read_text())["experiments"]) == 2


def test_a_fixed_number_of_requests_comes_after_its_warm_up(perf: Perf) -> None:
    done = perf("-m", "sleepy", "-i", "grpc", "--shape", "INPUT0:4", "--request-count", "40",
                "--warmup-request-count", "20", "--concurrency-range", "2")  # fmt: skip
    (row,) = perf.points()
    assert done in MEASURED
    assert (row["requests_sent"], row["server_success_count"]) == ("60", "60")
    # The window begins with the slice of 20 ms in which the warm-up ended.
    assert 30 <= int(row["completions"]) <= 40


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-m", "repeat", "-i", "grpc"), "decoupled"),
        (("-m", "accumulate", "-b", "2"), "keeps sequences: its requests hold one item, got -b 2"),
        (("-m", "identity"), "say how large it is, for example --shape INPUT0:8"),
        (("-m", "identity", "--shape", "INPUT0:2", "-b", "65"), "at most 64 items per request"),
        (("-m", "identity", "--shape", "NOPE:2"), "it has INPUT0"),
    ],
)
def test_what_the_model_asks_for_is_said_before_the_load(
    perf: Perf, arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert perf(*arguments) == 2
    assert says in capsys.readouterr().err
    assert not (perf.folder / "runs").exists()


def test_an_unknown_model_or_version_is_told_by_the_server(perf: Perf, capsys: pytest.CaptureFixture[str]) -> None:
    assert perf("-m", "identty", "--shape", "INPUT0:2") == 4
    assert "identity" in capsys.readouterr().err
    assert perf("-m", "identity", "-x", "9", "-i", "grpc", "--shape", "INPUT0:2") == 4
    assert "9" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ("-i", "grpc", "--concurrency-range", "2"),
        ("-i", "http", "--concurrency-range", "2"),
        ("--request-rate-range", "200", "--num-of-sequences", "3", "--input-tensor-format", "json"),
    ],
)
def test_sequences_are_found_in_the_models_configuration(perf: Perf, options: tuple[str, ...]) -> None:
    asked = ("--sequence-length", "5", "--sequence-length-variation", "0", "--sequence-id-range", "700:800")
    assert perf("-m", "accumulate", *options, *asked) in MEASURED
    assert perf.resolved()["workload"]["sequences"]["length"] == 5
    (row,) = perf.points()
    # The model refuses what is out of order.
    assert row["requests_failed"] == "0"
    assert int(row["sequences"]) > 0


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_each_sequence_sends_a_stream_of_the_data(perf: Perf, protocol: str) -> None:
    streams = [[{"INPUT0": {"content": [1.0], "shape": [1]}}] * 3, [{"INPUT0": {"content": [2.0], "shape": [1]}}]]
    write_json(perf.folder / "data.json", {"data": streams})
    done = perf("-m", "accumulate", "-i", protocol, "--input-data", "data.json", "--request-count", "40")
    assert done in MEASURED
    (row,) = perf.points()
    # In turn three requests and one.
    assert (row["requests_ok"], row["sequences"]) == ("40", "20")


def test_a_decoupled_model_is_streamed(perf: Perf) -> None:
    write_json(perf.folder / "data.json", {"data": [{"INPUT0": [3], "DELAY_MS": [1.0]}]})
    assert perf("-m", "repeat", "-i", "grpc", "-a", "--streaming", "--input-data", "data.json") in MEASURED
    (row,) = perf.points()
    assert float(row["responses_per_request"]) == 3


def test_texts_have_perf_analyzers_length(perf: Perf) -> None:
    assert perf("-m", "identity_bytes", "--shape", "INPUT0:3") in MEASURED
    assert perf.resolved()["workload"]["generate"]["text_length"] == 128
    journal = [json.loads(line) for line in (perf.run / "journal.jsonl").read_text().splitlines()]
    (whole,) = [line["whole"] for line in journal if line["kind"] == "trial"]
    # Three elements, each with four bytes of length before it, and then the headers.
    assert whole["bytes_sent"] / whole["completions"] > 3 * (128 + 4)


def test_answers_are_compared_with_those_beside_the_inputs(perf: Perf, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [{"INPUT0": {"content": [1.0, 2.0], "shape": [2]}}]
    wrong = [{"OUTPUT0": {"content": [1.0, 3.0], "shape": [2]}}]
    write_json(perf.folder / "data.json", {"data": steps, "validation_data": wrong})
    assert perf("-m", "identity", "--input-data", "data.json") == 5
    (row,) = perf.points()
    assert row["state"] == "failed"
    assert "output OUTPUT0[1] expected 3, got 2" in capsys.readouterr().err


def test_a_latency_limit_is_searched_for(perf: Perf) -> None:
    assert perf("-m", "sleepy", "--shape", "INPUT0:4", "-l", "2000", "--concurrency-range", "1:2") in MEASURED
    (row,) = perf.points()
    assert row["capacity_status"] == "at least"


def test_a_schedule_is_sent_as_its_json_says(perf: Perf) -> None:
    steps = [{"INPUT0": {"content": [1.0], "shape": [1]}, "timestamp": [20 * n]} for n in range(10)]
    write_json(perf.folder / "data.json", {"data": steps})
    assert perf("-m", "identity", "--input-data", "data.json", "--fixed-schedule") in MEASURED
    (row,) = perf.points()
    assert (row["requests_sent"], row["server_success_count"]) == ("10", "10")


def test_a_level_that_is_never_stable_is_kept_and_told_by_the_exit_code(perf: Perf) -> None:
    assert perf("-m", "identity", "--shape", "INPUT0:4", "-r", "1") == 5
    (row,) = perf.points()
    assert "unsteady" in row["flags"]
    assert int(row["completions"]) > 0
