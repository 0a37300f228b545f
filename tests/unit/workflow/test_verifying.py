"""`verify_run`: what was measured stands, and whatever was changed afterwards is found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.errors import RigError, UsageError
from runner.load.fake import FakeEngine, constant
from runner.measure import trial as trial_module
from runner.report import write_reports
from runner.results.directory import RunDirectory, refresh_artefacts
from runner.results.run import PlannedCase
from runner.workflow.verifying import verify_run
from tests.unit.measure.trials import case, run
from tests.unit.results.sample_run import RESOLVED, create

JOURNAL = "journal.jsonl"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two repeats and an anchor."""
    directory = create(tmp_path_factory.mktemp("verify"))
    point = case(window={"min": "2s", "max": "2s"}, warmup={"min_time": "500ms"})
    with pytest.MonkeyPatch.context() as patch, directory.writer() as writer:
        patch.setattr(trial_module, "SETTLE_STEP_S", 0.0)
        patch.setattr(trial_module, "SETTLE_S", 0.05)
        writer.write_resolved(RESOLVED)
        writer.begin([replace(PlannedCase.of(point), repeats=2)])
        for number, anchor in ((0, False), (1, False), (0, True)):
            raw = directory.path / "slices" / f"b8-c4-{'anchor' if anchor else 'r'}{number}.hlog"
            trial = run(FakeEngine(service=constant(0.02 + number / 1000)), point=point, raw=raw)
            writer.append(replace(trial, repeat=number, block=number, anchor=anchor))
        write_reports(directory.path)
        writer.finish("complete")
    return directory.path


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / original.name))


def edited_journal(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the first trial of the journal, and bring digests and reports in line with the forgery."""
    lines = (folder / JOURNAL).read_text().splitlines()
    body = json.loads(lines[1])
    edit(body)
    (folder / JOURNAL).write_text("\n".join([lines[0], json.dumps(body), *lines[2:], ""]))
    refresh_artefacts(RunDirectory(folder))
    write_reports(folder)


def found(folder: Path) -> list[tuple[str, str, str]]:
    return [(each.file, each.point, each.field) for each in verify_run(folder).discrepancies]


def test_an_untouched_run_is_as_measured(folder: Path) -> None:
    verification = verify_run(folder)
    assert verification.discrepancies == ()
    assert verification.notes == ()
    assert (verification.trials, verification.reports) == (3, 6)
    assert verification.files >= 10


def test_a_tampered_table_is_found_by_cell(folder: Path) -> None:
    text = (folder / "points.csv").read_text()
    shown = next(cell for cell in text.splitlines()[1].split(",") if cell.startswith("4") and "." in cell)
    (folder / "points.csv").write_text(text.replace(shown, "999.5", 1), newline="")
    wrong = verify_run(folder).discrepancies
    assert ("points.csv", "", "sha256") in [(d.file, d.point, d.field) for d in wrong]
    (cell,) = [d for d in wrong if d.point]
    assert (cell.file, cell.point, cell.expected, cell.got) == ("points.csv", "b8-c4", shown, "999.5")


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (lambda trial: trial["summary"]["requests_per_s"].update(value=99.0), "summary.requests_per_s.value"),
        (lambda trial: trial["summary"]["percentiles"][1]["estimate"].update(high=1.0), "summary.percentiles.1"),
        (lambda trial: trial["summary"].update(littles_law_error=0.5), "summary.littles_law_error"),
        (lambda trial: trial["counts"].update(ok=trial["counts"]["ok"] - 1), "counts.ok"),
        (lambda trial: trial.update(state="invalid"), "state"),
        (lambda trial: trial["histograms"].update(latency=trial["histograms"]["send_lag"]), "histograms.latency"),
        (lambda trial: trial["server"][0].update(success_count=trial["counts"]["ok"] - 1), "flags"),
    ],
)
def test_a_forged_journal_is_found_even_with_all_digests_renewed(
    folder: Path, edit: Callable[[dict[str, Any]], object], field: str
) -> None:
    edited_journal(folder, edit)
    assert any(name.startswith(field) and point == "b8-c4 repeat 0" for _, point, name in found(folder))
    assert not any(name == "sha256" for _, _, name in found(folder))


def test_a_tampered_histogram_is_found(folder: Path) -> None:
    path = folder / "histograms" / "b8-c4.hlog"
    path.write_text(path.read_text().replace("Tag=latency,", "Tag=latency,1"))
    assert ("histograms/b8-c4.hlog", "", "sha256") in found(folder)
    refresh_artefacts(RunDirectory(folder))
    assert [(file, point) for file, point, _ in found(folder)] == [("histograms/b8-c4.hlog", "line")]


def test_tampered_slices_are_found(folder: Path) -> None:
    path = folder / "slices" / "b8-c4-r1.hlog"
    lines = path.read_text().splitlines()
    at = [n for n, line in enumerate(lines) if line.startswith("Tag=latency")]
    del lines[at[15]]
    path.write_text("\n".join(lines) + "\n")
    refresh_artefacts(RunDirectory(folder))
    wrong = found(folder)
    assert ("journal.jsonl", "b8-c4 repeat 1", "histograms.latency") in wrong
    assert ("slices/b8-c4-r1.hlog", "b8-c4 repeat 1", "counts.ok in the latency histograms") in wrong
    assert not any(point in ("b8-c4 repeat 0", "b8-c4 anchor 0") for _, point, _ in wrong)


def test_making_the_reports_again_does_not_launder_what_was_changed(folder: Path) -> None:
    path = folder / "slices" / "b8-c4-r1.hlog"
    path.write_text(path.read_text() + "# changed\n")
    (folder / "points.csv").unlink()
    write_reports(folder)
    assert ("slices/b8-c4-r1.hlog", "", "sha256") in found(folder)


def test_reports_of_a_damaged_journal_do_not_replace_those_of_the_measurement(folder: Path) -> None:
    before = (folder / "points.csv").read_bytes()
    journal = folder / JOURNAL
    journal.write_bytes(journal.read_bytes()[:4000])
    with pytest.raises(RigError, match=r"journal\.jsonl is not as the run left it"):
        write_reports(folder)
    assert (folder / "points.csv").read_bytes() == before
    assert (JOURNAL, "", "sha256") in found(folder)


@pytest.mark.parametrize("name", ["points.json", "slices/b8-c4-r0.hlog", "slices/b8-c4-anchor0.hlog", "resolved.yaml"])
def test_a_missing_file_is_found(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert name in {file for file, _, field in found(folder) if field == "file"}


def test_another_scenario_in_its_place_is_found(folder: Path) -> None:
    (folder / "resolved.yaml").write_text(RESOLVED.replace("8", "16"))
    refresh_artefacts(RunDirectory(folder))
    assert found(folder) == [("resolved.yaml", "", "scenario.digest")]


def test_a_manifest_without_its_list_is_found(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "artefacts": []}))
    assert found(folder) == [("manifest.json", "", "artefacts")]


def test_a_damaged_journal_is_found_and_the_digests_are_still_checked(folder: Path) -> None:
    (folder / JOURNAL).write_text((folder / JOURNAL).read_text().replace('"kind":"trial"', '"kind":"trail"', 1))
    (folder / "points.csv").unlink()
    assert {file for file, _, _ in found(folder)} == {JOURNAL, "points.csv"}


def test_a_file_beside_the_run_is_a_note(folder: Path) -> None:
    (folder / "plot.png").write_bytes(b"x")
    verification = verify_run(folder)
    assert verification.discrepancies == ()
    assert verification.notes == ("not listed in the manifest: plot.png",)


def test_a_run_that_still_goes_on_has_no_digests_yet(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "artefacts": [], "outcome": "running"}))
    verification = verify_run(folder)
    assert verification.discrepancies == ()
    assert "has not ended" in verification.notes[0]


def test_no_run_and_no_manifest_are_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run directory"):
        verify_run(tmp_path)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(RigError):
        verify_run(folder)
