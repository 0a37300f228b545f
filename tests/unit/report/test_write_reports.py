from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runner.errors import RigError
from runner.report import reference, write_reports
from runner.report.write import safe_name
from runner.results.files import sha256_of
from runner.results.histogram import Histogram
from runner.results.manifest import read_manifest
from tests.unit.results.sample_run import CASES, create, small_run, trial

ROOT = Path(__file__).parents[3]


def test_all_reports_are_written_and_named(tmp_path: Path) -> None:
    directory = small_run(tmp_path)
    written = write_reports(directory.path)
    assert [path.name for path in written] == ["points.csv", "stages.csv", "combined.csv", "points.json"]
    assert all(path.parent == directory.path and path.stat().st_size for path in written)


@pytest.mark.parametrize(
    ("formats", "names"),
    [
        (("json",), ["points.json"]),
        (("console",), []),
        (("console", "csv"), ["points.csv", "stages.csv", "combined.csv"]),
    ],
)
def test_only_what_was_asked_for(tmp_path: Path, formats: tuple[str, ...], names: list[str]) -> None:
    assert [path.name for path in write_reports(small_run(tmp_path).path, formats)] == names


def test_writing_again_gives_the_same_bytes_and_a_true_manifest(tmp_path: Path) -> None:
    directory = small_run(tmp_path)
    first = {path: path.read_bytes() for path in write_reports(directory.path)}
    for path in first:
        path.unlink()
    assert {path: path.read_bytes() for path in write_reports(directory.path)} == first
    listed = {a.path: a.sha256 for a in read_manifest(directory.manifest_path).artefacts}
    assert listed["points.csv"] == sha256_of(directory.path / "points.csv")
    assert listed["histograms/b1-c1.hlog"] == sha256_of(directory.histograms / "b1-c1.hlog")


def test_a_run_in_progress_is_not_sealed_by_a_report(tmp_path: Path) -> None:
    directory = create(tmp_path)
    with directory.writer() as writer:
        writer.begin(CASES)
        writer.append(trial(CASES[0]))
        write_reports(directory.path)
        assert read_manifest(directory.manifest_path).artefacts == ()


def test_each_measured_case_has_a_histogram_log_that_other_tools_read(tmp_path: Path) -> None:
    directory = small_run(tmp_path)
    write_reports(directory.path)
    assert sorted(path.name for path in directory.histograms.iterdir()) == ["b1-c1.hlog", "b1-c4.hlog", "b8-c1.hlog"]
    lines = (directory.histograms / "b1-c1.hlog").read_text().splitlines()
    assert lines[1] == "#[Histogram log format version 1.3]"
    assert lines[3].startswith('"StartTimestamp","Interval_Length","Interval_Max"')
    tag, start, length, maximum, encoded = lines[4].split(",")
    assert (tag, start, length, maximum) == ("Tag=latency", "1.500", "10.000", "11.002")
    assert Histogram.from_hdr_v2(encoded).count == 4


def test_the_log_reads_with_the_reference_implementation(tmp_path: Path) -> None:
    log = pytest.importorskip("hdrh.log")
    directory = small_run(tmp_path)
    write_reports(directory.path)
    histogram = pytest.importorskip("hdrh.histogram").HdrHistogram(1, 3_600_000_000_000, 3)
    reader = log.HistogramLogReader(str(directory.histograms / "b1-c1.hlog"), histogram)
    interval = reader.get_next_interval_histogram()
    assert interval.get_total_count() == 4
    assert interval.get_value_at_percentile(50) == pytest.approx(9.5e6, rel=1e-3)
    reader.close()


def test_histograms_without_a_summary_start_at_zero(tmp_path: Path) -> None:
    directory = create(tmp_path)
    with directory.writer() as writer:
        writer.begin(CASES[:1])
        empty = Histogram.empty().to_hdr_v2()
        writer.append(trial(CASES[0], state="interrupted", summary=None, histograms={"latency": empty}))
    write_reports(directory.path)
    assert "Tag=latency,0.000,0.000,0.000," in (directory.histograms / "b1-c1.hlog").read_text()


def test_case_ids_become_safe_file_names() -> None:
    assert safe_name("b8-c16-1a2b3c4d") == "b8-c16-1a2b3c4d"
    assert safe_name("../../etc/passwd") == "_.._etc_passwd"
    assert safe_name("...") == "_"


def test_a_full_disk_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = small_run(tmp_path)
    write_reports(directory.path)
    before = (directory.path / "points.csv").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RigError, match=r"cannot write .*points\.csv: no space left"):
        write_reports(directory.path)
    assert (directory.path / "points.csv").read_bytes() == before
    assert not list(directory.path.glob(".*.part"))


def test_the_column_reference_in_the_documentation_is_current() -> None:
    document = (ROOT / "docs" / "results.md").read_text("utf-8")
    assert reference.filled(document) == document, "run: python -m runner.report.reference docs/results.md"
    for name, table in reference.reference().items():
        assert f"<!-- {name} -->\n{table}<!-- /{name} -->" in document


def test_the_reference_fills_only_its_own_blocks() -> None:
    filled = reference.filled("before\n<!-- stages -->\nold\n<!-- /stages -->\nafter\n")
    assert filled.startswith("before\n<!-- stages -->\n| column | unit |")
    assert filled.endswith("<!-- /stages -->\nafter\n")
    assert "old" not in filled


def test_every_column_of_a_real_table_is_documented(tmp_path: Path) -> None:
    directory = small_run(tmp_path)
    write_reports(directory.path)
    document = (ROOT / "docs" / "results.md").read_text("utf-8")
    for name in ("points.csv", "stages.csv"):
        for column in (directory.path / name).read_text().splitlines()[0].split(","):
            if column in CASES[0].parameters:
                continue  # described as *address*
            general = column.replace("_p50", "_p99").replace("_p95", "_p99")
            general = general.replace(".preprocess", ".MODEL").replace(".classify", ".MODEL")
            assert f"`{general}`" in document, column
