"""The verbs that do something, with a fake server behind them."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from runner.cli.main import invoke
from runner.load.native import NativeEngine
from runner.runtimes.fake import FakeRuntime
from runner.services.fake import FakeServer, Script
from runner.services.kserve import connect
from runner.workflow import Rooms

MODEL = Path(__file__).parents[2] / "integration" / "resources" / "models" / "identity"
FILE = f"""scenario: 1
name: verbs
vars: {{most: {{type: int, default: 2, flag: --most}}}}
repository: {{models: {{identity: {{from: {MODEL}}}}}}}
workload: {{model: identity, timeout: 1s, input: {{INPUT0: {{generate: random, shape: [4]}}}}}}
measure: {{profile: reference, requests: 40, drain: 1s}}
matrix: {{axes: {{load.concurrency: [1, "${{vars.most}}"]}}, skip: ["load.concurrency > 4"]}}
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """A scratch folder with verbs.yaml, a home, and a fake server instead of Triton."""
    (tmp_path / "verbs.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENARIO_HOME", str(tmp_path / "home"))
    fake = FakeServer()
    rooms = Rooms(FakeRuntime(lambda: fake), NativeEngine(), connect)
    monkeypatch.setattr("runner.workflow.verbs.default_rooms", lambda *_: rooms)
    return fake


def test_run_prints_the_table_on_stdout_and_where_the_results_are(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["run", "verbs.yaml"]) in (0, 5)
    captured = capsys.readouterr()
    assert "verbs" in captured.out
    last = captured.out.splitlines()[-1]
    assert last.startswith("results: runs/")
    assert (Path(last.removeprefix("results: ")) / "points.csv").is_file()
    assert "point 1/2" in captured.err


def test_a_failed_point_is_exit_code_5_with_its_reason(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.script = Script(fail_every=1)
    assert invoke(["run", "verbs.yaml", "--progress", "none"]) == 5
    assert "is failed: no request succeeded" in capsys.readouterr().err


def test_report_recomputes_the_tables(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    invoke(["run", "verbs.yaml", "--progress", "none"])
    directory = Path(capsys.readouterr().out.splitlines()[-1].removeprefix("results: "))
    before = (directory / "points.csv").read_bytes()
    (directory / "points.csv").unlink()
    assert invoke(["report", str(directory)]) == 0
    assert (directory / "points.csv").read_bytes() == before
    assert "wrote" in capsys.readouterr().err


def test_report_takes_a_name_and_shows_the_table_where_nothing_can_be_written(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke(["run", "verbs.yaml", "--progress", "none", "--output-dir", "elsewhere"])
    directory = Path(capsys.readouterr().out.splitlines()[-1].removeprefix("results: "))
    assert invoke(["report", directory.name]) == 2
    assert "neither a folder nor a run in runs" in capsys.readouterr().err
    assert invoke(["report", "elsewhere"]) == 2
    assert "elsewhere is not a run directory" in capsys.readouterr().err
    monkeypatch.setattr("runner.results.files.os.replace", _refused)
    assert invoke(["report", directory.name, "--output-dir", "elsewhere"]) == 3
    captured = capsys.readouterr()
    assert "verbs: 2 points" in captured.out
    assert "points.csv: Permission denied" in captured.err


def _refused(*_: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_plan_and_dry_run_show_the_points_and_change_nothing(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["plan", "verbs.yaml", "--most", "8"]) == 0
    planned = capsys.readouterr().out
    assert "load.concurrency=1" in planned
    assert "skipped: " in planned
    assert "\n1 point, 1 measurement on 1 server: at most about" in planned
    assert "about 0 min" not in planned
    assert invoke(["run", "verbs.yaml", "--most", "8", "--dry-run"]) == 0
    assert capsys.readouterr().out == planned
    assert invoke(["plan", "--json", "verbs.yaml"]) == 0
    assert [point["skipped"] for point in json.loads(capsys.readouterr().out)["points"]] == [None, None]
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "home" / "scenarios").exists()


def test_an_override_that_the_matrix_replaces_is_told(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tuned.yaml").write_text("load: {concurrency: 8}\n")
    for option, place in (
        (["--set", "load.concurrency=8"], "--set load.concurrency=8"),
        (["--set", "load={kind: concurrency, concurrency: 8}"], "--set load="),
        (["--values", "tuned.yaml"], "tuned.yaml:1:21"),
    ):
        assert invoke(["plan", "verbs.yaml", *option]) == 0
        told = capsys.readouterr().err
        assert told.startswith(f"warning: {place}")
        assert "has no effect on load.concurrency: the matrix gives it its values" in told
    for option in (["--set", "workload.batch=2"], ["--set", "matrix.axes.load.concurrency=[8]"]):
        assert invoke(["plan", "verbs.yaml", *option]) == 0
        assert not capsys.readouterr().err


def test_setup_then_reset(server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["setup", "verbs.yaml"]) == 0
    captured = capsys.readouterr()
    repository = Path(captured.out.strip())
    assert (repository / "identity" / "config.pbtxt").is_file()
    assert "setup repository: built (first time)" in captured.err
    assert invoke(["setup", "verbs.yaml"]) == 0
    assert "setup repository: reused" in capsys.readouterr().err
    assert invoke(["reset", "verbs.yaml", "--dry-run"]) == 0
    assert "would remove" in capsys.readouterr().out
    assert repository.exists()
    assert invoke(["reset", "verbs.yaml"]) == 0
    captured = capsys.readouterr()
    assert "removed" in captured.out
    assert "MiB" in captured.err
    assert not repository.exists()
    assert not any((tmp_path / "home" / "scenarios").glob("*"))
    assert invoke(["reset", "verbs.yaml"]) == 0
    assert "nothing to undo" in capsys.readouterr().err


def test_reset_says_when_something_could_not_be_removed(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["setup", "verbs.yaml"]) == 0
    (state,) = (tmp_path / "home" / "scenarios").iterdir()
    elsewhere = tmp_path / "elsewhere"
    state.rename(elsewhere)
    state.symlink_to(elsewhere)
    assert invoke(["reset", "verbs.yaml"]) == 3
    assert "refused" in capsys.readouterr().out
    assert elsewhere.exists()


# --- comparing and verifying --------------------------------------------------------------------------------------


def results(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()[-1].removeprefix("results: ").split()


def test_run_against_prints_a_comparison_and_both_directories(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    code = invoke(
        ["run", "verbs.yaml", "--against", "verbs.yaml", "--against-set", "workload.batch=2", "--blocks", "2"]
    )
    assert code in (0, 5)
    captured = capsys.readouterr()
    assert "workload.batch: 1 | 2" in captured.out
    a, b = captured.out.splitlines()[-1].removeprefix("results: ").split()
    assert Path(a, "points.csv").is_file()
    assert invoke(["compare", Path(a).name, b, "--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("**")
    assert invoke(["compare", a, b, "--metric", "p42"]) == 2
    assert "hint: both have latency_p50_ms, " in capsys.readouterr().err
    assert invoke(["compare", a, b, "--fail-if", "better or not better"]) == 10
    assert "gate missed" in capsys.readouterr().err
    assert invoke(["verify", a]) == 0
    assert "as measured" in capsys.readouterr().out
    Path(b, "points.csv").unlink()
    assert invoke(["verify", Path(b).name]) == 5
    assert "points.csv file: expected" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "verbs.yaml", "--fail-if", "worse"], "need --against FILE"),
        (["run", "verbs.yaml", "--against", "verbs.yaml", "--fail-if", "worst"], "no metric 'worst'"),
        (["run", "verbs.yaml", "--against", "verbs.yaml", "--metric", "in_flight_mean"], "could be better or worse"),
        (["run", "verbs.yaml", "--against", "verbs.yaml", "--metric", "p42"], "it measures p50, p90, p95, p99"),
        (["run", "verbs.yaml", "--against", "verbs.yaml", "--margin", "2"], "--margin: expected a share"),
        (["run", "verbs.yaml", "--against", "verbs.yaml", "--blocks", "1"], "x>=2"),
        (["run", "verbs.yaml", "--against", "nothing.yaml"], "nothing.yaml"),
        (["compare", "nothing", "nothing"], "no run 'nothing'"),
        (["verify", "nothing"], "no run 'nothing'"),
    ],
)
def test_comparisons_that_make_no_sense_are_refused_before_anything_is_measured(
    server: FakeServer, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert invoke(arguments) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_run_is_not_compared_with_itself(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    invoke(["run", "verbs.yaml", "--progress", "none"])
    (directory,) = results(capsys)
    assert invoke(["compare", directory, directory]) == 2
    assert "are the same run" in capsys.readouterr().err


def test_dry_run_against_shows_both_plans(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", "verbs.yaml", "--against", "verbs.yaml", "--dry-run"]) == 0
    assert capsys.readouterr().out.count("target -") == 2


@pytest.mark.parametrize("command", [["schema"], ["import", "perf_analyzer -m m"]], ids=" ".join)
def test_a_result_goes_into_a_file_or_it_is_said_why_not(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke([*command, "--output", str(tmp_path / "result")]) == 0
    assert (tmp_path / "result").read_text()
    assert capsys.readouterr().err == f"wrote {tmp_path / 'result'}\n"
    nowhere = tmp_path / "none" / "result"
    assert invoke([*command, "--output", str(nowhere)]) == 2
    assert f"error: cannot write {nowhere}: No such file or directory" in capsys.readouterr().err
