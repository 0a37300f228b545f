"""Runs with repeats and anchors in every table."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.report import combined_csv, console_table, points_csv, points_json, repeats_csv, stages_csv, write_reports
from runner.results.anchors import AnchorStep
from runner.results.histogram import Histogram
from runner.results.run import Run
from tests.unit.results.sample_run import CASES, create, failed, small_run, summary, trial

RATES = (98.0, 99.0, 100.0, 101.0, 107.0)


def repeated_run(base: Path) -> Run:
    cases = (*(replace(case, repeats=5) for case in CASES[:2]), CASES[3])
    directory = create(base)
    with directory.writer() as writer:
        writer.begin(cases)
        for number, rate in enumerate(RATES):
            started = {"started_utc": f"2025-11-21T04:{number:02d}:00.000Z", "repeat": number, "block": number}
            writer.append(trial(CASES[3], anchor=True, **{**started, "block": 0}, summary=summary(8, 100 + 4 * number)))
            writer.append(trial(cases[0], summary=summary(1, rate), **started))
        writer.append(failed(cases[1], "the server died"))
    return directory.load()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return repeated_run(tmp_path)


def rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def test_a_row_is_the_pooled_point_with_its_spread(run: Run) -> None:
    first, second, _ = rows(points_csv(run))
    assert (first["state"], first["repeats"], first["repeats_used"]) == ("ok", "5", "5")
    assert float(first["requests_per_s"]) == 100
    assert float(first["requests_per_s_low"]) == pytest.approx(96.61, abs=0.01)
    assert float(first["repeats_between"]) == pytest.approx(0.035, abs=1e-3)
    assert float(first["repeats_within"]) == pytest.approx(0.0096, abs=1e-3)
    assert first["completions"] == "5050"
    assert (second["state"], second["repeats"]) == ("failed", "0")
    assert float(rows(combined_csv(run))[0]["Inferences/Second"]) == 100
    [ensemble, *_] = rows(stages_csv(run))
    assert ensemble["success_count"] == str(5 * 1200)


def test_runs_without_repeats_have_no_such_columns(tmp_path: Path) -> None:
    single = small_run(tmp_path).load()
    assert not any(name.startswith("repeats") for name in rows(points_csv(single))[0])
    point, *_ = json.loads(points_json(single))["points"]
    assert not {"each_repeat", "repeats", "repeats_used"} & set(point)


def test_every_measurement_has_a_line_in_order_of_time(run: Run) -> None:
    found = rows(repeats_csv(run))
    assert len(found) == 11
    assert [row["anchor"] for row in found[:2]].count("true") == 1
    alone = [row for row in found if row["case_id"] == "b1-c1"]
    assert [float(row["requests_per_s"]) for row in alone] == list(RATES)
    assert [row["repeat"] for row in alone] == [row["block"] for row in alone] == list("01234")
    assert set(rows(points_csv(run))[0]) - set(found[0]) == {
        "repeats", "repeats_used", "repeats_between", "repeats_within"
    }  # fmt: skip


def test_json_keeps_every_repeat_and_the_anchor(run: Run) -> None:
    document: dict[str, Any] = json.loads(points_json(run))
    first = document["points"][0]
    assert [each["requests_per_s"] for each in first["each_repeat"]] == list(RATES)
    assert first["repeats_used"] == 5
    assert document["anchor"]["case_id"] == "b8-c4"
    assert [round(step["change"], 3) for step in document["anchor"]["steps"]] == [0.04, 0.038, 0.037, 0.036]
    assert all(step["drifted"] for step in document["anchor"]["steps"])


def test_the_table_says_how_to_read_it(run: Run) -> None:
    table = console_table(run, width=140)
    assert "3 points × 5" in table
    assert "medians of 0 to 5 repeats, ± by Student's t between them" in table
    assert "throughput varies by 3.5% between repeats and 1.0% within one, at most" in table
    assert "anchor b8-c4: 5 measurements, largest change +4.0% ±2.8%: the rig drifted 4 times" in table


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([(0.04, 0.03), (0.0, 0.01)], "drifted once, see the points flagged trend"),
        ([(0.01, 0.008), (0.0, 0.01)], "the rig is level"),
        ([(0.0, 0.565), (0.0, 0.01)], "no drift seen, but less than 56.5% would not be"),
        ([(0.0, math.inf)], "no drift could be seen"),
    ],
)
def test_an_anchor_that_is_known_badly_shows_no_level_rig(
    run: Run, steps: list[tuple[float, float]], words: str
) -> None:
    found = tuple(AnchorStep(first=0, last=2, change=change, uncertainty=uncertainty) for change, uncertainty in steps)
    drifting = replace(run, anchor_steps=found)
    assert words in console_table(drifting, width=160)
    first, *_ = json.loads(points_json(drifting))["anchor"]["steps"]
    assert first["uncertainty"] == (steps[0][1] if math.isfinite(steps[0][1]) else None)


def test_files_of_a_repeated_run(tmp_path: Path) -> None:
    repeated_run(tmp_path)
    (directory,) = tmp_path.iterdir()
    written = {path.name for path in write_reports(directory)}
    assert "repeats.csv" in written
    log = (directory / "histograms" / "b1-c1.hlog").read_text()
    latency = next(line for line in log.splitlines() if line.startswith("Tag=latency"))
    assert Histogram.from_hdr_v2(latency.rpartition(",")[2]).count == 5 * 4
    single = small_run(tmp_path / "single")
    assert "repeats.csv" not in {path.name for path in write_reports(single.path)}
