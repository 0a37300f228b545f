"""`scenario run` with a real Triton and the native engine."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.command import Cli, rows, wait_for

MODELS = Path(__file__).parent / "resources" / "models"
SLEEPY = f"""scenario: 1
name: sleepy
repository: {{models: {{sleepy: {{from: {MODELS}/sleepy, args: {{delay_ms: 5}}}}}}}}
workload: {{model: sleepy, input: {{INPUT0: {{generate: random, shape: [4]}}}}}}
measure:
  warmup: {{min_time: 300ms, min_requests_per_slot: 2}}
  window: {{min: 1s, max: 2s}}
  telemetry: {{sources: []}}  # these tests are of the run, not of who else uses the machine
matrix: {{axes: {{workload.batch: [1, 2], load.concurrency: [1, 2]}}}}
"""


@pytest.fixture
def cli(cli: Cli) -> Cli:
    cli.file.write_text(SLEEPY)
    return cli


def test_run_writes_tables_that_agree(cli: Cli) -> None:
    done = cli.run("run", str(cli.file))
    assert done.returncode == 0, done.stderr
    directory = cli.directory()
    assert done.stdout.splitlines()[-1] == f"results: runs/{directory.name}"
    points = rows(directory / "points.csv")
    document = json.loads((directory / "points.json").read_text())
    combined = rows(directory / "combined.csv")
    assert len(points) == len(document["points"]) == len(combined) == 4
    for row, point, reference in zip(points, document["points"], combined, strict=True):
        assert row["case_id"] == point["case_id"]
        assert row["state"] == point["state"] == "ok", point
        assert row["batch"] == reference["Batch size"]
        rate = float(row["inferences_per_s"])
        assert rate == pytest.approx(point["inferences_per_s"], rel=1e-6)
        assert rate == pytest.approx(float(reference["Inferences/Second"]), rel=1e-4)
        assert int(reference["p50 latency"]) == pytest.approx(float(row["latency_p50_ms"]) * 1000, abs=1)
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["outcome"] == "complete"
    assert {"resolved.yaml", "points.csv", "stages.csv"} <= {artefact["path"] for artefact in manifest["artefacts"]}


def test_the_server_counted_what_we_counted(cli: Cli) -> None:
    assert cli.run("run", str(cli.file)).returncode == 0
    for trial in cli.trials():
        counts, (server,) = trial["counts"], trial["server"]
        assert counts["sent"] == counts["ok"]
        assert server["success_count"] == counts["ok"] > 100
        assert server["inference_count"] == counts["ok"] * trial["batch"]


def test_one_instance_of_5_ms_serves_what_arithmetic_says(cli: Cli) -> None:
    """A model that sleeps 5 ms, one instance: at most 200 requests/s, however slow the machine, and Little's law."""
    assert cli.run("run", str(cli.file)).returncode == 0
    for trial in cli.trials():
        summary = trial["summary"]
        rate, concurrency = summary["requests_per_s"]["value"], trial["load"]["concurrency"]
        assert 0 < rate <= 200
        assert rate * summary["latency_mean_ms"]["value"] / 1e3 == pytest.approx(concurrency, rel=0.1)
        assert summary["in_flight_mean"] == pytest.approx(concurrency, rel=0.1)


def test_kill_9_then_resume(cli: Cli) -> None:
    process = cli.start("run", str(cli.file))
    wait_for(lambda: (cli.folder / "runs").is_dir() and len(cli.trials()) >= 2, "two finished points")
    process.kill()
    process.wait()
    process.stdout and process.stdout.close()
    process.stderr and process.stderr.close()
    first = cli.trials()
    assert 2 <= len(first) < 4
    done = cli.run("run", str(cli.file), "--resume")
    assert done.returncode == 0, done.stderr
    assert f"resumed: {len(first)} of 4 points" in done.stderr
    trials = cli.trials()
    assert trials[: len(first)] == first
    assert len({trial["case_id"] for trial in trials}) == len(trials) == 4


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_cleans_up_keeps_points_and_resumes(cli: Cli, signum: int, code: int) -> None:
    process = cli.start("run", str(cli.file))
    wait_for(lambda: (cli.folder / "runs").is_dir() and len(cli.trials()) >= 1, "a finished point")
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "scenario run --resume" in err
    # A load that ran is ended in good order and kept, but it is no finished point.
    finished = [trial["case_id"] for trial in cli.trials() if trial["state"] == "ok"]
    cut = [trial for trial in cli.trials() if trial["state"] == "interrupted"]
    assert len(finished) + len(cut) == len(cli.trials())
    assert all("aborted" in {flag["code"] for flag in trial["flags"]} for trial in cut if trial["summary"])
    points = rows(cli.directory() / "points.csv")
    assert [row["state"] for row in points].count("ok") == len(finished)
    assert cli.run("run", str(cli.file), "--resume").returncode == 0
    measured = [trial["case_id"] for trial in cli.trials() if trial["state"] == "ok"]
    assert measured[: len(finished)] == finished
    assert len(measured) == len(set(measured)) == 4


SOAK = (
    *("--set", "measure={soak: true, telemetry: {sources: []}, warmup: {min_time: 300ms}}"),
    *("--set", "matrix.axes={load.concurrency: [2]}"),
)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_soak_that_the_user_ends_is_a_finished_run(cli: Cli, signum: int) -> None:
    process = cli.start("run", str(cli.file), "--progress", "plain", *SOAK)
    assert process.stderr is not None
    for line in process.stderr:
        if "measuring" in line:
            break
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (trial,) = cli.trials()
    assert (trial["state"], trial["summary"]["stop_reason"]) == ("ok", "stopped by the user")
    assert trial["counts"]["sent"] == trial["counts"]["ok"] > 50
    assert trial["server"][0]["success_count"] == trial["counts"]["ok"]
    assert json.loads((cli.directory() / "manifest.json").read_text())["outcome"] == "complete"
    assert cli.run("run", str(cli.file), "--resume", *SOAK).returncode == 2, "nothing is left to resume"


def test_a_soak_of_several_points_stops_where_the_user_stops_it(cli: Cli) -> None:
    soak = ("--set", "measure.soak=true", "--set", "measure.window.max=1s")
    process = cli.start("run", str(cli.file), *soak, "--set", "matrix.axes={load.concurrency: [1, 2, 4, 8]}")
    wait_for(lambda: (cli.folder / "runs").is_dir() and len(cli.trials()) >= 1, "a point that its time has ended")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    trials = cli.trials()
    assert 1 <= len(trials) < 4
    assert {trial["state"] for trial in trials} == {"ok"}
    assert trials[0]["summary"]["stop_reason"] == "time cap"


def test_resume_with_nothing_to_resume(cli: Cli) -> None:
    done = cli.run("run", str(cli.file), "--resume")
    assert done.returncode == 2
    assert "nothing to resume" in done.stderr


def test_server_that_dies_mid_point_costs_that_point_only(cli: Cli) -> None:
    process = cli.start("run", str(cli.file))
    wait_for(lambda: (cli.folder / "runs").is_dir() and len(cli.trials()) >= 1, "a finished point")
    time.sleep(0.5)
    (server,) = (
        child for child in psutil.Process(process.pid).children(recursive=True) if child.name() == "tritonserver"
    )
    server.kill()
    out, err = process.communicate(timeout=110)
    assert process.returncode == 5, err
    states = [row["state"] for row in rows(cli.directory() / "points.csv")]
    assert sorted(states) == ["failed", "ok", "ok", "ok"], out
    (failed,) = (trial for trial in cli.trials() if trial["state"] == "failed")
    assert "server" in failed["failure"]
    again = cli.run("run", str(cli.file), "--resume")
    assert again.returncode == 0, again.stderr
    assert len(cli.trials()) == 5


def test_model_that_fails_to_load_says_why(cli: Cli, tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "1"
    broken.mkdir(parents=True)
    (broken.parent / "config.pbtxt").write_text((MODELS / "identity" / "config.pbtxt").read_text())
    (broken / "model.py").write_text("raise RuntimeError('no such weights')\n")
    done = cli.run(
        "run",
        str(cli.file),
        "--set",
        f"repository.models.sleepy.from={broken.parent}",
        "--set",
        "repository.models.sleepy.args={}",
    )
    assert done.returncode == 4
    assert "no such weights" in done.stderr
    assert cli.trials() == []


def test_batch_above_max_batch_is_refused_before_anything_starts(cli: Cli) -> None:
    done = cli.run("run", str(cli.file), "--set", "matrix.axes={workload.batch: [1, 16]}")
    assert done.returncode in (2, 3)
    assert "16" in done.stderr
    assert "max_batch_size" in done.stderr


def test_stages_of_an_ensemble(cli: Cli) -> None:
    models = "{identity: {from: %s}, sleepy: {from: %s}, chain: {from: %s}}"
    models %= tuple(MODELS / name for name in ("identity", "sleepy", "chain"))
    done = cli.run(
        "run",
        str(cli.file),
        "--set",
        f"repository.models={models}",
        "--set",
        "workload.model=chain",
        "--set",
        "matrix.axes={load.concurrency: [2]}",
    )
    assert done.returncode == 0, done.stderr
    stages = rows(cli.directory() / "stages.csv")
    assert [row["model"] for row in stages] == ["chain", "identity", "sleepy"]
    assert [row["instances"] for row in stages] == ["", "1", "1"]
    assert "compute-bound: sleepy computes" in done.stdout
    (point,) = rows(cli.directory() / "points.csv")
    assert (point["diagnosis"], point["diagnosis_model"]) == ("compute", "sleepy")
    assert abs(float(point["load_residual_share"])) <= 0.05


REPEATED = (
    "--set", "measure={profile: reference, requests: 40, repeats: 2, max_error_rate: 100%}",
    "--set", "matrix={axes: {load.concurrency: [1, 2]}, anchor: {every: 3, at: {load.concurrency: 1}}}",
)  # fmt: skip


def test_a_killed_run_goes_on_with_the_missing_repeats(cli: Cli) -> None:
    process = cli.start("run", str(cli.file), *REPEATED)
    wait_for(lambda: (cli.folder / "runs").is_dir() and len(cli.trials()) >= 2, "the anchor and a point")
    process.kill()
    process.communicate()
    before = [(trial["case_id"], trial["repeat"]) for trial in cli.trials() if not trial["anchor"]]
    done = cli.run("run", str(cli.file), *REPEATED, "--resume")
    assert done.returncode in (0, 5), done.stderr
    trials = [trial for trial in cli.trials() if not trial["anchor"]]
    units = [(trial["case_id"], trial["repeat"]) for trial in trials]
    assert units[: len(before)] == before
    assert len(set(units)) == len(units) == 4, "every repeat of both points, none of them twice"
    assert [trial["block"] for trial in trials] == [0, 0, 1, 1]
    assert {trial["server"][0]["success_count"] for trial in trials} == {40}
    assert len(list((cli.directory() / "logs").glob("server-*.log"))) >= 2
    points = rows(cli.directory() / "points.csv")
    assert [(row["repeats"], row["requests_ok"]) for row in points] == [("2", "80"), ("2", "80")]
    assert all(float(row["requests_per_s_low"]) < float(row["requests_per_s_high"]) for row in points)
    measured = rows(cli.directory() / "repeats.csv")
    assert [row["anchor"] for row in measured].count("false") == 4
    assert "medians of 2 repeats" in done.stdout
    assert "anchor c1-" in done.stdout
