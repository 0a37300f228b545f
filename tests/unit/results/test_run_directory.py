from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.errors import RigError, UsageError
from runner.results.directory import RunDirectory, digest_of, refresh_artefacts
from runner.results.files import sha256_of
from runner.results.manifest import read_manifest
from runner.results.resuming import latest_resumable, runs_in, why_nothing_to_resume
from runner.results.run import PlannedCase, load_run
from runner.scenario.case import Case
from runner.scenario.schema import Scenario
from tests.unit.results.sample_run import CASES, EXPLAINED, RESOLVED, STARTED, create, failed, invalid, small_run, trial

DIGEST = digest_of(RESOLVED)


def started(base: Path) -> RunDirectory:
    """A run that was killed after its first point."""
    directory = create(base)
    with directory.writer() as writer:
        writer.write_resolved(RESOLVED)
        writer.begin(CASES)
        writer.append(trial(CASES[0]))
    return directory


def lines(directory: RunDirectory) -> list[dict[str, Any]]:
    return [json.loads(line) for line in directory.journal_path.read_text().splitlines()]


def test_the_name_says_when_what_and_which(tmp_path: Path) -> None:
    first, second, third = create(tmp_path / "runs"), create(tmp_path / "runs"), create(tmp_path / "runs")
    assert first.name == f"20251121T040000Z-tiny-{DIGEST[:8]}"
    assert [second.name, third.name] == [f"{first.name}-2", f"{first.name}-3"]
    assert sorted(path.name for path in first.path.iterdir()) == ["histograms", "logs", "manifest.json"]


def test_the_first_manifest_says_running(tmp_path: Path) -> None:
    manifest = read_manifest(create(tmp_path).manifest_path)
    assert (manifest.outcome, manifest.ended_utc) == ("running", None)
    assert manifest.started_utc == "2025-11-21T04:00:00.000Z"
    assert manifest.scenario.digest == DIGEST


def test_the_scenario_file_is_recorded_as_the_user_wrote_it(tmp_path: Path) -> None:
    source = tmp_path / "tiny.yaml"
    source.write_text("scenario: 1\n")
    directory = RunDirectory.create(tmp_path / "runs", "tiny", DIGEST, STARTED, source)
    record = read_manifest(directory.manifest_path).scenario
    assert (record.path, record.file_sha256) == (str(source), sha256_of(source))


def test_what_is_not_a_run_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a run directory: expected journal\.jsonl and manifest\.json"):
        RunDirectory.open(tmp_path)
    assert RunDirectory.open(small_run(tmp_path).path).load().manifest.outcome == "partial"


def test_the_journal_starts_with_the_matrix_and_ends_with_the_outcome(tmp_path: Path) -> None:
    kinds = [line["kind"] for line in lines(small_run(tmp_path))]
    assert kinds == ["run_started", "skipped", "trial", "trial", "trial", "trial", "run_finished"]


@pytest.mark.parametrize("repeats", [10**30, 1001, 0, -1])
def test_repeats_that_nobody_plans_are_refused_before_they_are_listed(tmp_path: Path, repeats: int) -> None:
    directory = small_run(tmp_path)
    text = directory.journal_path.read_text()
    directory.journal_path.write_text(text.replace('"repeats":1', f'"repeats":{repeats}', 1))
    expected = rf"journal\.jsonl, line 1: b1-c1\.repeats: expected 1 to 1000, got {repeats} "
    with pytest.raises(RigError, match=expected):
        directory.load()


def test_cases_of_the_matrix_are_kept_in_order_with_the_reason_of_skipped_ones(tmp_path: Path) -> None:
    scenario = Scenario.model_validate({"scenario": 1, "name": "tiny", "workload": {"model": "m", "batch": 4}})
    directory = create(tmp_path)
    with directory.writer() as writer:
        writer.begin(
            [
                Case("b", {"workload.batch": 4}, scenario, "key"),
                Case("a", {"workload.batch": 8}, scenario, "key", skipped="too large"),
            ]
        )
    run = directory.load()
    load = {"kind": "concurrency", "concurrency": 1}
    assert run.cases[0] == PlannedCase("b", {"workload.batch": 4}, "m", "grpc", 4, load)
    assert [point.state for point in run.points()] == ["missing", "skipped"]
    assert run.points()[1].reason == "too large"


def test_a_run_reads_back_what_was_written(tmp_path: Path) -> None:
    run = small_run(tmp_path).load()
    assert [point.state for point in run.points()] == ["ok", "ok", "invalid", "failed", "skipped", "missing"]
    assert run.trials["b1-c1"] == trial(CASES[0], **EXPLAINED)
    assert [point.reason for point in run.points()] == [
        None,
        None,
        "the client used 97 % of a core; give it more cores",
        "=the server died, exit status 137",
        'matrix.skip: "workload.batch * load.concurrency > 100"',
        "the run ended before this point; `scenario run --resume` measures it",
    ]


def test_measured_points_count_as_finished_even_when_invalid(tmp_path: Path) -> None:
    directory = small_run(tmp_path)
    assert directory.finished_case_ids() == {"b1-c1", "b1-c4", "b8-c1"}
    assert [(case.case_id, repeat) for case, repeat in directory.load().remaining()] == [("b8-c4", 0), ("b8-c64", 0)]


def test_the_latest_trial_of_a_case_counts(tmp_path: Path) -> None:
    directory = create(tmp_path)
    with directory.writer() as writer:
        writer.begin(CASES[:1])
        writer.append(failed(CASES[0], "server died"))
        writer.append(trial(CASES[0], state="interrupted", summary=None))
        assert directory.load().points()[0].reason == "interrupted"
        writer.append(trial(CASES[0]))
    assert directory.load().trials == {"b1-c1": trial(CASES[0])}


def test_the_manifest_lists_every_file_with_its_digest(tmp_path: Path) -> None:
    directory = small_run(tmp_path)
    (directory.logs / "server-1.log").write_text("up\n")
    refresh_artefacts(directory)
    manifest = read_manifest(directory.manifest_path)
    assert [a.path for a in manifest.artefacts] == ["journal.jsonl", "logs/server-1.log", "resolved.yaml"]
    assert manifest.artefacts[0].sha256 == sha256_of(directory.journal_path)
    assert manifest.artefacts[1].bytes == 3


# --- resume -------------------------------------------------------------------------------------------------------


def test_resume_keeps_what_was_measured_and_says_so_in_the_journal(tmp_path: Path) -> None:
    directory = started(tmp_path)
    with directory.journal_path.open("ab") as stream:
        stream.write(b'{"kind":"trial","case_id":"b1-c4","par')
    with directory.writer() as writer:
        assert writer.torn is not None
        run = writer.resume(DIGEST, RESOLVED)
        assert run.finished_case_ids() == {"b1-c1"}
        writer.append(trial(CASES[1]))
        writer.finish("partial")
    kinds = [line["kind"] for line in lines(directory)]
    assert kinds == ["run_started", "trial", "resumed", "trial", "run_finished"]
    resumed = directory.load().resumed[0]
    assert resumed.finished == 1
    assert resumed.torn == writer.torn


def test_resume_records_what_changed_around_it(tmp_path: Path) -> None:
    directory = create(tmp_path)
    before = {"kernel": "6.1", "cpu": {"logical": 2}, "load_average": [1, 2, 3], "digest": "a"}
    with directory.writer() as writer:
        writer.update(environment=before)
        writer.write_resolved(RESOLVED)
        writer.begin(CASES)
    after = {"kernel": "6.2", "cpu": {"logical": 2}, "load_average": [9, 9, 9], "digest": "b"}
    with directory.writer() as writer:
        writer.resume(DIGEST, RESOLVED, after)
    assert directory.load().resumed[0].environment_changes == ("kernel: 6.1 -> 6.2",)


def test_resume_refuses_another_scenario_and_says_how_it_differs(tmp_path: Path) -> None:
    directory = started(tmp_path)
    other = RESOLVED.replace("model: tiny", "model: huge").replace("[1, 8]", "[1, 8, 16]")
    with directory.writer() as writer, pytest.raises(UsageError) as caught:
        writer.resume(digest_of(other), other)
    assert "matrix.axes.workload.batch.2: absent -> 16; workload.model: tiny -> huge" in caught.value.message
    assert caught.value.hint is not None


def test_many_differences_are_counted_rather_than_listed(tmp_path: Path) -> None:
    directory = started(tmp_path)
    other = "".join(f"key{number}: 1\n" for number in range(9))
    with pytest.raises(UsageError, match=r"key4: absent -> 1 and \d+ more"):
        directory.check_same(digest_of(other), other)


def test_a_lost_resolved_file_still_gives_a_sentence(tmp_path: Path) -> None:
    directory = started(tmp_path)
    with pytest.raises(UsageError, match="same values, written differently"):
        directory.check_same("0" * 64, RESOLVED + "\n")
    directory.resolved_path.unlink()
    with pytest.raises(UsageError, match=r"resolved\.yaml cannot be compared"):
        directory.check_same("0" * 64, RESOLVED)


def test_the_newest_unfinished_run_of_the_same_scenario_is_found(tmp_path: Path) -> None:
    assert latest_resumable(tmp_path / "none", DIGEST) is None
    older, newest = started(tmp_path), started(tmp_path)
    complete = create(tmp_path)
    with complete.writer() as writer:
        writer.begin(CASES[:1])
        writer.append(invalid(CASES[0]))
        writer.finish("complete")
    RunDirectory.create(tmp_path, "tiny", "f" * 64, STARTED)  # killed before its journal began
    (tmp_path / "notes.txt").write_text("not a run")
    assert latest_resumable(tmp_path, DIGEST) == newest
    assert latest_resumable(tmp_path, "e" * 64) is None
    with newest.writer():
        assert latest_resumable(tmp_path, DIGEST) == older
    assert [run.name[-2:] for run in runs_in(tmp_path)] == ["-3", "-2", older.name[-2:]]


def test_why_there_is_nothing_to_resume(tmp_path: Path) -> None:
    def reason(name: str, resolved: str) -> str:
        return why_nothing_to_resume(tmp_path, name, digest_of(resolved), resolved).message

    assert reason("tiny", RESOLVED) == f"nothing to resume: no run of tiny in {tmp_path}"
    directory = started(tmp_path)
    assert reason("other", "x: 1") == f"nothing to resume: no run of other in {tmp_path}"
    other = RESOLVED.replace("tiny", "huge", 1)
    assert reason("tiny", other).endswith("was started with another scenario: name: tiny -> huge")
    assert reason("tiny", RESOLVED).endswith("has every point already")
    with directory.writer():
        assert reason("tiny", RESOLVED).endswith(f"is still being written by process {os.getpid()}")


def test_a_damaged_run_is_passed_over_when_looking_for_one_to_resume(tmp_path: Path) -> None:
    whole, damaged = started(tmp_path), started(tmp_path)
    damaged.manifest_path.write_text("{")
    assert latest_resumable(tmp_path, DIGEST) == whole


# --- owning -------------------------------------------------------------------------------------------------------


def test_a_live_run_cannot_be_resumed_twice(tmp_path: Path) -> None:
    directory = started(tmp_path)
    with directory.writer(), pytest.raises(RigError, match=f"belongs to process {os.getpid()}, which is still running"):
        directory.writer().__enter__()
    with directory.writer() as writer:
        writer.resume(DIGEST, RESOLVED)


HOLDER = """
import sys, time
from pathlib import Path
from runner.results.directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).writer():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_owner_leaves_the_run_free(tmp_path: Path) -> None:
    directory = started(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(directory.path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(RigError, match=f"belongs to process {process.pid}"):
        directory.writer().__enter__()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with directory.writer() as writer:
        assert writer.resume(DIGEST, RESOLVED).finished_case_ids() == {"b1-c1"}


def test_an_error_marks_the_run_aborted_and_keeps_its_points(tmp_path: Path) -> None:
    directory = create(tmp_path)

    def interrupted() -> None:
        with directory.writer() as writer:
            writer.begin(CASES)
            writer.append(trial(CASES[0]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    run = directory.load()
    assert run.manifest.outcome == "aborted"
    assert run.finished_case_ids() == {"b1-c1"}


def test_a_full_disk_ends_the_run_with_its_own_error_and_whole_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = create(tmp_path)

    def full(descriptor: int, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill(patch: pytest.MonkeyPatch) -> None:
        with directory.writer() as writer:
            writer.begin(CASES)
            writer.append(trial(CASES[0]))
            patch.setattr(os, "write", full)
            writer.append(trial(CASES[1]))

    with monkeypatch.context() as patch, pytest.raises(RigError, match="no space left"):
        fill(patch)
    assert directory.load().finished_case_ids() == {"b1-c1"}
    assert directory.load().manifest.outcome == "running"


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(RigError, match=r"cannot write .*runs: .*exists"):
        create(tmp_path / "runs")


# --- journals that nobody should have -----------------------------------------------------------------------------


def _rewritten(directory: RunDirectory, number: int, change: dict[str, Any] | None) -> Path:
    content = lines(directory)
    content[number] = {} if change is None else {**content[number], **change}
    directory.journal_path.write_text("".join(f"{json.dumps(line)}\n" for line in content))
    return directory.path


@pytest.mark.parametrize(
    ("number", "change", "message"),
    [
        (2, {"surprise": 1}, r"line 3: trial: unknown key 'surprise'.* \(schema 1\)"),
        (2, {"batch": "x"}, r"line 3: trial\.batch: expected a whole number, got text"),
        (1, {"kind": "dropped"}, r"line 2: unknown kind 'dropped' \(schema 1\)"),
        (0, {"schema": 2}, r"line 1: expected schema 1, got 2"),
        (0, {"kind": "trial"}, r"line 1: trial: unknown key"),
    ],
)
def test_a_foreign_line_is_an_error_with_its_number(
    tmp_path: Path, number: int, change: dict[str, Any], message: str
) -> None:
    path = _rewritten(small_run(tmp_path), number, change)
    with pytest.raises(RigError, match=message) as caught:
        load_run(path)
    assert caught.value.hint


def test_two_beginnings_are_refused(tmp_path: Path) -> None:
    directory = started(tmp_path)
    with directory.writer() as writer:
        writer.begin(CASES)
    with pytest.raises(RigError, match=r"expected one `run_started` on line 1, found 2 on lines \[1, 3\]"):
        directory.load()


def test_a_run_without_a_line_yet_has_no_points(tmp_path: Path) -> None:
    directory = create(tmp_path)
    with directory.writer():
        pass
    assert directory.load().points() == ()
    assert dataclasses.is_dataclass(directory.load())
