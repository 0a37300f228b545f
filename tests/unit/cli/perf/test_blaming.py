"""Errors of the translated scenario name options; the file that nobody wrote is not mentioned."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.cli.main import invoke
from runner.cli.perf.blaming import options_behind, told_by_options
from runner.cli.perf.parsing import parse
from runner.errors import ScenarioError, ServiceError, UsageError
from runner.scenario.diagnostics import Diagnostic
from runner.services import access

FILE = Path("perf.yaml")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--request-intervals", "times"], "--request-intervals: {}/times:2: expected a whole number of microseconds"),
        (["--input-data", "data.json", "--fixed-schedule"], "--fixed-schedule: {}/data.json: data[0].timestamp"),
        (["--request-rate-range", "1e9"], "--request-rate-range: expected at most 1e+07"),
        (["--request-rate-range", "1:1e9:9e8"], "--request-rate-range: expected at most 1e+07"),
        (["--sla", "1", "--qps-delta", "1e9"], "--qps-delta: expected at most 1e+07"),
        (["--request-parameter", "triton_x:1:int"], "--request-parameter: `triton_x` is set by the protocol itself"),
        (["-m", "a/b"], "--model-name: expected a name of letters"),
        (
            ["-i", "grpc", "--request-rate-range", "1", "--num-of-sequences", "9", "--sequence-id-range", "1:3"],
            "--sequence-id-range: expected at least the `count` of 9, got 2",
        ),
        (["-m", "a/b", "--request-rate-range", "1e9"], "2 mistakes in the perf_analyzer command line:\n  --model-name"),
    ],
)
def test_options_are_blamed(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "times").write_text("9\nfoo\n")
    (tmp_path / "data.json").write_text('{"data": [{"IN": [1]}]}')
    assert invoke(["perf", "-m", "m", "-u", "127.0.0.1:1", *arguments]) == 2
    told = capsys.readouterr().err
    assert says.format(tmp_path) in told
    assert "perf.yaml" not in told
    assert "hint: " in told


def test_what_was_set_is_shown_where_it_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["perf", "-m", "m", "-u", "127.0.0.1:1", "--set", "workload.nope=1"]) == 2
    told = capsys.readouterr().err
    assert "--> --set  workload.nope" in told
    assert "| workload.nope=1" in told
    assert invoke(["perf", "-m", "a/b", "-u", "127.0.0.1:1", "--set", "workload.nope=1"]) == 2
    assert "--set workload.nope: unknown address `workload.nope`" in capsys.readouterr().err


def test_a_place_that_no_option_became_shows_its_line() -> None:
    line = "  kind: concurrency"
    mistake = Diagnostic("E113", "expected less", "load.kind", str(FILE), 3, 3, 7, line)
    with pytest.raises(UsageError) as caught, told_by_options(parse(["-m", "m"]), FILE):
        raise ScenarioError([mistake])
    assert caught.value.message == "load.kind: expected less; the options became `kind: concurrency` there"


@pytest.mark.parametrize(
    ("words", "address", "names"),
    [
        ("--concurrency-range 1:4", "matrix.axes.load.concurrency", ("--concurrency-range",)),
        ("--concurrency-range 1:4 -p 9", "load", ("--concurrency-range",)),
        ("-p 9 -r 4 -b 2", "measure.stability", ("--measurement-interval", "--max-trials")),
        ("--measurement-mode count_windows -p 9", "measure.stability.interval", ("--measurement-interval",)),
        ("--measurement-mode count_windows", "measure.stability.interval", ("--measurement-mode",)),
        ("--request-parameter a:1:int", "workload.parameters.a", ("--request-parameter",)),
        ("-b 2", "measure.stability.interval", ()),
        ("-i grpc --ssl-https-ca-certificates-file pyproject.toml", "workload.tls.ca", ()),
        ("-u https://h --ssl-https-ca-certificates-file pyproject.toml", "workload.tls.ca",
         ("--ssl-https-ca-certificates-file",)),
    ],
)  # fmt: skip
def test_the_options_behind_an_address(words: str, address: str, names: tuple[str, ...]) -> None:
    assert options_behind(address, parse(["-m", "m", *words.split()])) == names


@pytest.mark.parametrize(
    ("words", "hint", "says"),
    [
        ("", access.HANDSHAKE, "see --ssl-https-ca-certificates-file"),
        ("-i grpc", access.HANDSHAKE, "see --ssl-grpc-root-certifications-file"),
        ("", access.NO_IDENTITY, "(--ssl-https-client-certificate-file and --ssl-https-private-key-file)"),
        ("-i grpc", access.CLEAR_TEXT, "(--ssl-grpc-use-ssl)"),
        ("", access.CREDENTIALS, "see -H"),
        ("-b 2", "lower workload.batch", "lower --batch-size"),
        ("-b 2", "raise workload.timeout", "raise workload.timeout"),
    ],
)
def test_hints_name_options(words: str, hint: str, says: str) -> None:
    with pytest.raises(ServiceError) as caught, told_by_options(parse(["-m", "m", *words.split()]), FILE):
        raise ServiceError("workload.model: no", hint=hint)
    assert caught.value.message == "--model-name: no"
    assert says in (caught.value.hint or "")
