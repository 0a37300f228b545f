"""Errors become messages and exit codes; results go to stdout, the rest to stderr."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from runner import __version__
from runner.cli.main import VERBS, cli, invoke
from runner.errors import GateError, LoadError, PointsError, RigError, RunnerError, ServiceError, SetupError, Terminated

MINIMAL = "scenario: 1\nname: small\nworkload: {model: m}\nmatrix: {axes: {load.concurrency: [1, 2]}}\n"
# Unknown key, wrong type, bare number where a unit is needed, unknown variable, unknown axis address.
FIVE_MISTAKES = """scenario: 1
name: broken
workloads: {}
workload: {model: m, batch: many, timeout: 60}
load: {concurrency: "${vars.nope}"}
matrix: {axes: {load.concurency: [1]}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(MINIMAL)
    return path


def test_version_is_fast_and_imports_nothing_heavy() -> None:
    heavy = "grpc docker onnx pydantic numpy yaml scipy"
    code = (
        "import sys; from runner.cli.main import invoke; invoke(['--version']);"
        f"assert not [m for m in {heavy.split()!r} if m in sys.modules]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"scenario, version {__version__}\n"


def test_every_verb_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in VERBS:
        assert invoke([verb, "--help"]) == 0, verb
        assert f"Usage: scenario {verb}" in capsys.readouterr().out


def test_help_shows_the_flags_of_the_default_scenario(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["setup", "--help"]) == 0
    assert "--max-batch" in capsys.readouterr().out


def test_misuse_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["rum"]) == 2
    assert invoke(["report"]) == 2
    assert "Missing argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunnerError("x"), 1),
        (RigError("x"), 3),
        (SetupError("x"), 3),
        (ServiceError("x"), 4),
        (LoadError("x"), 4),
        (PointsError("x"), 5),
        (GateError("x"), 10),
        (KeyboardInterrupt(), 130),
        (Terminated(), 143),
    ],
)
def test_exit_codes(error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command("fail")
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "get_command", lambda ctx, name: fail)
    assert invoke(["fail"]) == code


def test_a_caller_keeps_its_own_signal_handler() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert invoke(["list"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_service_error_shows_the_log_and_the_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command("fail")
    def fail() -> None:
        raise ServiceError("the server died", hint="give it more memory", log_tail=["one", "two"])

    monkeypatch.setattr(cli, "get_command", lambda ctx, name: fail)
    assert invoke(["fail"]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "error: the server died",
        "last lines of the server's log:",
        "  | one",
        "  | two",
        "hint: give it more memory",
    ]


def test_validate(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["validate", str(file)]) == 0
    assert "valid: 2 points" in capsys.readouterr().err
    assert invoke(["validate", "--json", str(file)]) == 0
    assert json.loads(capsys.readouterr().out) == {"valid": True, "diagnostics": [], "points": 2}


def test_five_mistakes_in_one_run_and_in_half_a_second(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(FIVE_MISTAKES)
    command = [sys.executable, "-m", "runner", "validate", str(path)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2
    for place in ("broken.yaml:3:1", "broken.yaml:4:29", "broken.yaml:4:44", "broken.yaml:5:22", "broken.yaml:6:17"):
        assert place in done.stderr, done.stderr
    assert "5 mistakes in the scenario" in done.stderr
    # Half a second is the promise; processor time is what a busy machine leaves comparable, with some room.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5


def test_validate_json_lists_every_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(FIVE_MISTAKES)
    assert invoke(["validate", "--json", str(path)]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert not answer["valid"]
    assert [d["line"] for d in answer["diagnostics"]] == [3, 4, 4, 5, 6]


def test_explain(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["explain", "load.concurrency", str(file), "--set", "load.concurrency=7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("=>")
    assert "7" in lines[-1]
    assert "--set" in lines[-1]
    assert invoke(["explain", "--json", "load.concurrency", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)


def test_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert invoke(["schema", "--output", str(tmp_path / "s.json")]) == 0
    assert json.loads((tmp_path / "s.json").read_text()) == printed


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["list"]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert lines == sorted(lines)
    assert dict(lines)["efficientnet"].startswith("JPEG -> DALI")
    assert invoke(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "efficientnet"


@pytest.mark.parametrize(("stream", "verb"), [("stdout", "list"), ("stderr", "validate")])
def test_a_reader_that_leaves_gets_the_exit_code_of_a_broken_pipe(stream: str, verb: str) -> None:
    """Neither 0, which would pass a gate that nobody read, nor 1, a defect; and no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writing}
    done = subprocess.run([sys.executable, "-m", "runner", verb, *([] if verb == "list" else ["no-file"])], **streams)
    os.close(writing)
    assert done.returncode == 141
    assert not done.stderr


def test_a_file_that_nobody_looks_after_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command("schema")
    def careless() -> None:
        (tmp_path / "missing" / "schema.json").write_text("{}")

    monkeypatch.setattr(cli, "get_command", lambda ctx, name: careless)
    assert invoke(["schema"]) == 3
    assert f"cannot read or write {tmp_path}/missing/schema.json: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "kept"),
    [
        ("run", "finished points are kept; the same command with --resume goes on with the next one"),
        ("tune", "finished points are kept; the same command with --resume goes on with the next one"),
        ("setup", "finished steps are kept; `scenario setup` goes on with the next one"),
        ("selftest", ""),
    ],
)
def test_an_interrupt_says_what_the_verb_keeps(
    verb: str, kept: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command(verb)
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "get_command", lambda ctx, name: interrupted)
    assert invoke([verb]) == 130
    assert capsys.readouterr().err.strip() == (f"interrupted: {kept}" if kept else "interrupted")


def test_a_word_that_is_no_command_is_told_with_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    for word, meant in (
        ("rum", "did you mean run?"),
        ("mine.yaml", "scenario run mine.yaml"),
        ("xyzzy", "commands: run, tune"),
    ):
        assert invoke([word]) == 2
        error = capsys.readouterr().err
        assert f"there is no command {word!r}" in error
        assert meant in error


INTERRUPTED = """
import atexit, importlib, os, signal
entry = importlib.import_module("runner.cli.main")

def again(*_, **__):
    os.kill(os.getpid(), SIGNAL)
    while True:
        signal.pause()

def stopped(**_):
    raise KeyboardInterrupt

entry.cli.main = stopped
entry.click.echo = again
WHEN
entry.main(["run"])
"""


@pytest.mark.parametrize(
    ("when", "name", "code"),
    [
        ("", "SIGINT", 130),
        ("", "SIGTERM", 143),
        ("entry.click.echo = lambda *_, **__: None; atexit.register(again)", "SIGINT", 130),
    ],
    ids=["while it is said", "SIGTERM while it is said", "at exit"],
)
def test_one_more_signal_on_the_way_out_changes_no_exit_code(when: str, name: str, code: int) -> None:
    program = INTERRUPTED.replace("WHEN", when).replace("SIGNAL", f"signal.{name}")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert done.stderr == ""
