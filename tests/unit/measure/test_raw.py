"""What is kept of a trial gives the same trial again, and other tools can read it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.load.engine import Extra
from runner.load.fake import FakeEngine, constant, drifting, failing
from runner.measure.raw import Raw, judged_again, read_raw, write_raw
from runner.measure.verify import verify_trial
from runner.results.histogram import Histogram
from runner.results.records import Trial
from tests.unit.measure.trials import Server, case, run

pytestmark = pytest.mark.usefixtures("no_waiting")


def measured(folder: Path, *arguments: Any, **more: Any) -> Trial:
    return run(*arguments, raw=folder / "slices" / "b8-c4-r0.hlog", **more)


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        ((), {}),
        ((FakeEngine(service=drifting(0.02, 0.005)),), {}),
        ((FakeEngine(service=constant(0.02), verdict=failing(0.01)),), {}),
        ((None, Server(strangers=3)), {}),
        ((), {"point": case(profile="reference")}),
        ((), {"ceiling_per_s": 60.0}),
    ],
)
def test_a_trial_made_again_is_the_same(tmp_path: Path, arguments: tuple[Any, ...], more: dict[str, Any]) -> None:
    trial = measured(tmp_path, *arguments, **more)
    assert trial.raw == "slices/b8-c4-r0.hlog"
    assert judged_again(trial, read_raw(tmp_path / trial.raw)) == trial
    assert list(verify_trial(trial, tmp_path)) == []


def test_the_slices_read_back_equal(tmp_path: Path) -> None:
    trial = measured(tmp_path)
    raw = read_raw(tmp_path / str(trial.raw))
    extra = Extra(sequences=3, queue_ns=5, histograms={"first_response": Histogram.from_values([7, 9])})
    other = replace(raw.slices[0], service=Histogram.from_values([5]), extra=extra, failed={"timeout": 2})
    changed = replace(raw, slices=(other, *raw.slices[1:]))
    write_raw(tmp_path / "other.hlog", trial, changed)
    assert read_raw(tmp_path / "other.hlog") == changed


def test_what_ended_after_the_window_is_part_of_the_evidence(tmp_path: Path) -> None:
    trial = measured(tmp_path, FakeEngine(service=drifting(0.02, 0.05)))
    assert trial.summary is not None
    assert read_raw(tmp_path / str(trial.raw)).evidence["longest_ms"] > trial.summary.latency_max_ms


def test_any_hdrhistogram_tool_merges_the_slices_to_the_window(tmp_path: Path) -> None:
    """Histogram merge = whole: validation row 21, by the reference implementation."""
    log = pytest.importorskip("hdrh.log")
    hdr = pytest.importorskip("hdrh.histogram")
    trial = measured(tmp_path)
    path = tmp_path / str(trial.raw)
    window = read_raw(path).window
    reader = log.HistogramLogReader(str(path), hdr.HdrHistogram(1, 3_600_000_000_000, 3))
    total = hdr.HdrHistogram(1, 3_600_000_000_000, 3)
    while (interval := reader.get_next_interval_histogram()) is not None:
        start_ms = interval.get_start_time_stamp() - reader.start_time_sec * 1000
        if interval.get_tag() == "latency" and window.start_ns / 1e6 <= start_ms < window.end_ns / 1e6 - 1:
            total.add(interval)
    reader.close()
    assert trial.summary is not None
    assert total.get_total_count() == trial.summary.completions
    p99 = next(p.estimate.value for p in trial.summary.percentiles if p.q == 99)
    assert total.get_value_at_percentile(99) / 1e6 == pytest.approx(p99, rel=1e-3)


def test_a_trial_without_a_raw_record_cannot_be_verified(tmp_path: Path) -> None:
    (found,) = verify_trial(run(), tmp_path)
    assert (found.field, found.got) == ("raw", "none")


def damaged(text: str) -> dict[str, str]:
    lines = text.splitlines(keepends=True)
    interval = next(n for n, line in enumerate(lines) if line.startswith("Tag="))
    return {
        "cut short": text[: len(text) // 2],
        "another version": text.replace('"format":1', '"format":2'),
        "no head": "".join(line for line in lines if '"format"' not in line),
        "nonsense": text + "nonsense\n",
        "a bad interval": "".join([*lines[:interval], "Tag=latency,0,0,0,AAAA\n", *lines[interval + 1 :]]),
        "a slice without its counts": text.replace('"sent":', '"send":', 1),
        "no evidence": re.sub(r'"evidence":{.*}}', '"evidence":null}', text),
        "evidence of another kind": text.replace('"batch":8', '"batch":null'),
        "an impossible percentile": text.replace('"percentiles":[50.0', '"percentiles":[0'),
        "a count that is none": re.sub(r'"sent":\d+', '"sent":[]', text, count=1),
        "empty": "",
    }


@pytest.mark.parametrize("how", list(damaged('Tag=\n{"format":1')))
def test_damage_is_found_and_said(tmp_path: Path, how: str) -> None:
    trial = measured(tmp_path)
    path = tmp_path / str(trial.raw)
    whole = path.read_text()
    path.write_text(damaged(whole)[how])
    assert path.read_text() != whole
    found = list(verify_trial(trial, tmp_path))
    assert found
    assert all(each.file and each.point == "b8-c4 repeat 0" for each in found)


def test_the_worst_case_is_no_more_than_a_few_hundred_kilobytes(tmp_path: Path) -> None:
    """256 slices at most are ever held; here each has a spread of latencies."""
    trial = measured(tmp_path, point=case(window={"min": "30s", "max": "30s"}))
    raw: Raw = read_raw(tmp_path / str(trial.raw))
    assert 100 < len(raw.slices) <= 700
    assert (tmp_path / str(trial.raw)).stat().st_size < 400_000
