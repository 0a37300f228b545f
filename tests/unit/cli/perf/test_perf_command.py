"""`scenario perf` up to the load: help, the emitted file, and what is refused before a server is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.cli.main import invoke
from runner.cli.perf.asking import ask_server
from runner.cli.perf.model import KnownModel
from runner.cli.perf.options import PERF_ANALYZER
from runner.cli.perf.parsing import parse
from runner.cli.perf.reference import BY_HAND, renewed
from runner.cli.perf.translating import translate
from runner.cli.perf.writing import scenario_text
from runner.cli.perf_command import _loaded, exit_code
from runner.errors import UsageError
from runner.results.secrets import without_secret_headers
from runner.runtimes.fake import serving
from runner.runtimes.serverlog import ServerLog
from runner.scenario.loading import load_scenario
from runner.services.fake import FakeServer, identity_model
from runner.workflow import Outcome

DOCS = Path(__file__).parents[4] / "docs"


def test_help_imports_nothing_heavy_and_names_every_option() -> None:
    heavy = "grpc docker onnx pydantic numpy yaml scipy"
    code = (
        "import sys; from runner.cli.main import invoke; assert invoke(['perf', '--help']) == 0;"
        f"assert not [m for m in {heavy.split()!r} if m in sys.modules]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(form in done.stdout for form in PERF_ANALYZER.forms())
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_the_emitted_file_is_the_imported_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.json").write_text('{"data": [{"IN": [1]}]}')
    (tmp_path / "below").mkdir()
    line = "-m m --input-data data.json --concurrency-range 1:4"
    assert invoke(["perf", *line.split(), "--emit-scenario", "below/s.yaml"]) == 0
    assert invoke(["import", f"perf_analyzer {line}", "-o", "below/t.yaml"]) == 0
    emitted, imported = ((tmp_path / "below" / name).read_text().splitlines()[1:] for name in ("s.yaml", "t.yaml"))
    assert emitted == imported
    loaded = load_scenario(tmp_path / "below" / "s.yaml", env={})
    assert loaded.scenario.workload.data == str(tmp_path / "data.json")
    assert capsys.readouterr().out == "wrote below/s.yaml; scenario run below/s.yaml\n"


def test_a_file_that_cannot_be_written_after_all_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk shows only when it is written to."""
    assert invoke(["perf", "-m", "m", "--emit-scenario", "/dev/full"]) == 2
    shown = capsys.readouterr()
    assert "error: cannot write /dev/full: No space left on device" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-f", "nowhere/x.csv"], "-f: there is no folder"),
        (["-f", "."], "-f: . is a folder"),
        (["--profile-export-file", "nowhere/x.json"], "--profile-export-file: there is no folder"),
        (["--profile-export-file", "there.json"], "--profile-export-file: there.json exists already"),
        (["--emit-scenario", "nowhere/x.yaml"], "--emit-scenario: there is no folder"),
        (["-u", "http:///"], "--url: expected host:port"),
        (["-u", "https://h", "-i", "grpc"], "encrypt gRPC with --ssl-grpc-use-ssl"),
        (["--input-data", "cut.json"], "--input-data: cut.json is not valid JSON"),
        (["--set", "workload.nope=1"], "workload.nope"),
    ],
)
def test_what_could_only_fail_is_refused_first(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.json").write_text("{}")
    (tmp_path / "cut.json").write_text('{"data": [')
    assert invoke(["perf", "-m", "m", "-u", "127.0.0.1:1", *arguments]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_server_that_is_not_there_is_exit_code_4(capsys: pytest.CaptureFixture[str]) -> None:
    for protocol in ("http", "grpc"):
        assert invoke(["perf", "-m", "m", "-i", protocol, "-u", "127.0.0.1:1"]) == 4
        assert "is the server running?" in capsys.readouterr().err


def test_the_server_is_asked_for_the_model(tmp_path: Path) -> None:
    fake = FakeServer({"m": identity_model("m")})
    with serving(fake, ServerLog(tmp_path / "log"), name="fake") as server:
        options = parse(["-m", "m", "-i", "grpc", "-u", server.endpoint.grpc])
        file = tmp_path / "s.yaml"
        file.write_text(scenario_text(translate(options), []))
        known = ask_server(load_scenario(file, env={}))
    assert (known.name, known.sequences, known.decoupled) == ("m", False, False)
    assert known.inputs


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_model_of_sequences_needs_no_option(protocol: str) -> None:
    model = KnownModel(name="m", sequences=True)
    assert translate(parse(["-m", "m", "-i", protocol]), model).scenario["workload"]["sequences"] == {}
    with pytest.raises(UsageError, match="its requests hold one item, got -b 2"):
        translate(parse(["-m", "m", "-i", protocol, "-b", "2"]), model)


def test_texts_are_as_long_as_perf_analyzers_where_there_are_any() -> None:
    options = parse(["-m", "m"])
    assert translate(options, KnownModel(name="m", has_texts=True)).scenario["workload"]["generate"] == {
        "text_length": 128
    }
    assert "generate" not in translate(options, KnownModel(name="m")).scenario["workload"]


def test_outputs_beside_the_inputs_are_compared(tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    file.write_text('{"data": [{"IN": [1]}], "validation_data": [{"OUT": [1]}]}')
    assert translate(parse(["-m", "m", "--input-data", str(file)])).scenario["workload"]["validate"] == {
        "expect": "data",
        "every": 1,
    }
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "OUT").write_text("1")
    options = parse(["-m", "m", "--input-data", str(tmp_path / "folder")])
    assert "validate" in translate(options, KnownModel(name="m", outputs=("OUT",))).scenario["workload"]
    assert "validate" not in translate(options, KnownModel(name="m", outputs=("X",))).scenario["workload"]


def test_secret_headers_are_not_written_down() -> None:
    words = ["-H", "Authorization: Bearer x", "-HX-Api-Key:y", "-H", "trace:1", "-u", "http://h:1", "a:b"]
    assert without_secret_headers(words) == (
        *("-H", "Authorization:***", "-HX-Api-Key:***", "-H", "trace:1", "-u", "http://h:1", "a:b"),
    )


def outcome(state: str, *flags: str) -> Outcome:
    trial = SimpleNamespace(
        flags=[SimpleNamespace(code=code) for code in flags], capacity=None, case_id="c", state=state, slo=None
    )
    point: Any = SimpleNamespace(trial=trial, state=state, reason="", case=SimpleNamespace(case_id="c"))
    run: Any = SimpleNamespace(points=lambda: [point])
    return Outcome(Path("runs/x"), run)


@pytest.mark.parametrize(
    ("state", "flags", "code"),
    [("ok", (), 0), ("ok", ("cold",), 0), ("ok", ("cold", "unsteady"), 5), ("invalid", ("errors",), 5)],
)
def test_an_unstable_level_is_exit_code_5(state: str, flags: tuple[str, ...], code: int) -> None:
    assert exit_code(outcome(state, *flags)) == code


def test_the_documentation_is_made_of_the_tables() -> None:
    again = "run python -m runner.cli.perf.reference docs/perf.md"
    text = (DOCS / "perf.md").read_text(encoding="utf-8")
    assert text == renewed(text), again
    assert BY_HAND in text


def test_a_server_that_dies_is_not_waited_for_as_one_that_starts(tmp_path: Path) -> None:
    loaded = _loaded(parse(["-m", "m"]), (), tmp_path / "s.yaml")
    assert loaded.scenario.server.ready.timeout == 10
    loaded = _loaded(parse(["-m", "m", "--set", "server.ready.timeout=1m"]), (), tmp_path / "s.yaml")
    assert loaded.scenario.server.ready.timeout == 60
