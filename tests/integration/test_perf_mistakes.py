"""Command lines and data at which perf_analyzer fails late, crashes, hangs or says nothing: what `scenario perf` says.

Each row has perf_analyzer's own exit code beside it. Everything here is refused before the first request of a load.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runner.services.kserve_http import KServeHttp
from tests.integration.perf_runs import MEASURED, Perf

STEP = {"INPUT0": {"content": [1.0, 2.0], "shape": [2]}}
SHAPE = ("--shape", "INPUT0:2")
GRPC = ("-i", "grpc")
TIMES = ("--request-intervals", "times")
NOBODY = "127.0.0.1:1"
NO_HOST = "nosuch.invalid:8001"
USAGE, SERVICE = 2, 4


@dataclass(frozen=True)
class Mistake:
    """A command line, or data of a model, and everything that has to be in the message."""

    arguments: tuple[str, ...] = ()
    theirs: int | str = 99
    """What perf_analyzer 2.60 ends with."""
    says: tuple[str, ...] = ()
    code: int = USAGE
    model: str = "identity"
    data: Any = None
    """Of `--input-data`: a text as it is, everything else as JSON."""
    files: dict[str, str] = field(default_factory=dict)


def data(
    content: Any, *says: str, theirs: int = 99, arguments: tuple[str, ...] = (), model: str = "identity"
) -> Mistake:
    """Input data that do not fit."""
    return Mistake(arguments, theirs, says, data=content, model=model)


MISTAKES = {
    "unknown model over HTTP": Mistake(
        SHAPE, 99, ("identty", "did you mean", "identity"), code=SERVICE, model="identty"
    ),
    "unknown model over gRPC": Mistake(
        (*GRPC, *SHAPE), 99, ("identty", "did you mean", "identity"), code=SERVICE, model="identty"
    ),
    "no server over HTTP": Mistake(("-u", NOBODY, *SHAPE), 99, (NOBODY, "is the server running?"), SERVICE),
    "no server over gRPC": Mistake((*GRPC, "-u", NOBODY, *SHAPE), 99, (NOBODY, "is the server running?"), SERVICE),
    "unknown host over HTTP": Mistake(("-u", NO_HOST, *SHAPE), 99, (NO_HOST, "does not resolve", "spelling"), SERVICE),
    "unknown host over gRPC": Mistake(
        (*GRPC, "-u", NO_HOST, *SHAPE), 99, (NO_HOST, "does not resolve", "spelling"), SERVICE
    ),
    "open shape": Mistake((), 99, ("'INPUT0'", "open shape [-1]", "--shape INPUT0:8")),
    "open shape, another input named": Mistake(("--shape", "INPUT:2"), 99, ("no input 'INPUT'", "it has INPUT0")),
    "wrong rank": Mistake(("--shape", "INPUT0:1,2"), 99, ("--shape", "INPUT0", "[1, 2]", "[-1]")),
    "shape of a static input": Mistake(
        (*SHAPE, "--shape", "DELAY_MS:3"), 0, ("--shape", "DELAY_MS", "[3]", "[1]"), model="sleepy"
    ),
    "shape of an unknown input": Mistake((*SHAPE, "--shape", "NOPE:2"), 0, ("no input 'NOPE'", "it has INPUT0")),
    "batch too large": Mistake((*SHAPE, "-b", "128"), 99, ("-b", "at most 64 items", "got 128")),
    "truncated JSON": data('{"data": [{"INPUT0": [1.0,', "data.json is not valid JSON", "line 1 column 27"),
    "short tensor": data(
        {"data": [STEP, {"INPUT0": {"content": [1.0, 2.0], "shape": [4]}}]},
        *("data.json: data[1] (step 1).INPUT0", "expected 4 values for FP32 [4], got 2"),
    ),
    "short tensor of the second stream": data(
        {"data": [[STEP], [{"INPUT0": [1.0]}]]},
        *("data[1][0] (stream 1, step 0).INPUT0", "expected 2 values for FP32 [2], got 1"),
        arguments=SHAPE,
    ),
    "text for a number": data(
        {"data": [{"INPUT0": ["a", 2.0]}]}, "step 0).INPUT0", "expected a number for FP32", arguments=SHAPE
    ),
    "invalid base64": data(
        {"data": [{"INPUT0": {"b64": "!!"}}]}, "step 0).INPUT0", "base64", theirs=0, arguments=SHAPE
    ),
    "a step without the input": data({"data": [STEP, {}]}, "data[1] (step 1)", "INPUT0"),
    "no step has the input": data(
        {"data": [{"DELAY_MS": [1.0]}]},
        *("data.json", "missing INPUT0"),
        arguments=(*GRPC, "--streaming"),
        model="repeat",
    ),
    "extra key": data({"data": [{**STEP, "EXTRA": [1]}]}, "data[0] (step 0)", "'EXTRA'", "it has INPUT0"),
    "no data": data({"foo": 1}, 'a list "data"', "got nothing"),
    "data is an object": data({"data": STEP}, 'a list "data"', "got {", theirs=139),
    "data is empty": data({"data": []}, 'a list "data" that is not empty, got []'),
    "fewer expected outputs than inputs": data({"data": [STEP], "validation_data": []}, '"validation_data"', "got []"),
    "bad interval": Mistake((*SHAPE, *TIMES), 134, ("times:2", "microseconds", '"foo"'), files={"times": "9\nfoo\n"}),
    "no interval": Mistake((*SHAPE, *TIMES), 139, ("at least one line", "got none"), files={"times": ""}),
    "header without a colon": Mistake((*SHAPE, "-H", "foo"), 134, ("-H", "<name:value>", "'foo'")),
    "unwritable table": Mistake((*SHAPE, "-f", "nowhere/x.csv"), 0, ("-f", "no folder", "nowhere")),
    "unwritable export": Mistake(
        (*SHAPE, "--profile-export-file", "nowhere/x.json"), 99, ("--profile-export-file", "no folder", "nowhere")
    ),
    "decoupled without a stream": Mistake(GRPC, 99, ("decoupled", "--streaming"), model="repeat"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_it_is_refused_before_the_load(name: str, perf: Perf, capsys: pytest.CaptureFixture[str]) -> None:
    mistake = MISTAKES[name]
    for file, text in mistake.files.items():
        (perf.folder / file).write_text(text)
    assert perf("-m", mistake.model, *_input_data(mistake.data, perf.folder), *mistake.arguments) == mistake.code
    shown = capsys.readouterr()
    assert [words for words in mistake.says if words not in shown.err] == [], shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert not (perf.folder / "runs").exists()


def _input_data(content: Any, folder: Path) -> tuple[str, ...]:
    if content is None:
        return ()
    (folder / "data.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return ("--input-data", "data.json")


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_server_that_never_answers_is_not_waited_for_for_ever(
    protocol: str, silent: str, perf: Perf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Ten seconds are right for a user, and long for a test.
    monkeypatch.setitem(KServeHttp.__init__.__kwdefaults__, "timeout_s", 0.3)
    assert perf("-m", "identity", "-i", protocol, "-u", silent, *SHAPE) == SERVICE
    told = capsys.readouterr().err
    assert silent in told
    assert {"http": "no answer within 0.3 s", "grpc": "timed out"}[protocol] in told
    assert not (perf.folder / "runs").exists()


def test_whole_numbers_are_numbers(perf: Perf) -> None:
    """perf_analyzer: "unable to find float data in json"."""
    (perf.folder / "data.json").write_text('{"data": [{"INPUT0": [1, 2]}]}')
    assert perf("-m", "identity", "--input-data", "data.json", *SHAPE, "--request-count", "20") in MEASURED
    (row,) = perf.points()
    assert (row["requests_ok"], row["server_success_count"]) == ("20", "20")


def test_a_warm_up_comes_before_every_level_of_a_sweep(perf: Perf) -> None:
    """perf_analyzer prints its usage."""
    load = ("-m", "identity", *SHAPE, "--warmup-request-count", "50", "--concurrency-range", "1:2", "-r", "3")
    assert perf(*load) in MEASURED
    points = perf.points()
    assert [row["concurrency"] for row in points] == ["1", "2"]
    assert all(int(row["requests_ok"]) >= int(row["completions"]) + 50 for row in points)


def test_a_window_shorter_than_an_answer_is_told(perf: Perf, capsys: pytest.CaptureFixture[str]) -> None:
    """perf_analyzer: "No valid requests recorded within time interval"."""
    step = {**STEP, "DELAY_MS": [700.0]}
    (perf.folder / "data.json").write_text(json.dumps({"data": [step]}))
    load = ("-m", "sleepy", "--input-data", "data.json", "-p", "100", "-r", "3", "-f", "out.csv")
    assert perf(*load) == 5
    told = capsys.readouterr().err
    assert "no request was answered within" in told
    assert "measure.stability.interval (-p)" in told
    # A table without rows says that there is nothing.
    assert len((perf.folder / "out.csv").read_text().splitlines()) == 1


def test_windows_that_would_have_to_be_equal_are_kept(perf: Perf) -> None:
    """perf_analyzer: "Failed to obtain stable measurement", and no number."""
    assert perf("-m", "identity", *SHAPE, "-s", "0", "-r", "3", "-f", "out.csv") == 5
    (row,) = perf.points()
    assert "unsteady" in row["flags"]
    assert int(row["completions"]) > 0
    assert len((perf.folder / "out.csv").read_text().splitlines()) == 2
