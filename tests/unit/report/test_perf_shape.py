"""What we print and write has the shape of what perf_analyzer printed and wrote; its own files are the measure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runner.report.perf import write
from runner.results.perf_wishes import PerfWishes
from tests.unit.report.perf_runs import CAPTURED, captured_run

FILES = Path(__file__).with_name("perf_captured")
DIFFERENT = {
    "Using synchronous calls": "Using asynchronous calls",
    "Stabilizing using p#latency": "Stabilizing using p# latency",
    "Stabilizing using average throughput": "Stabilizing using average latency and throughput",
    "using the first response": "using the last response",
}
"""Of theirs -> of ours, on purpose."""


def shape(text: str) -> list[str]:
    """The lines without their numbers; empty ones aside, of which theirs differ from case to case."""
    lines = [re.sub(r"\d+(\.\d+)?", "#", line) for line in text.splitlines() if line.strip()]
    return [line for line in lines if not line.startswith("  Pass [#]")]


def theirs(name: str) -> list[str]:
    lines = shape((FILES / f"{name}.txt").read_text())
    for old, new in DIFFERENT.items():
        lines = [line.replace(old, new) for line in lines]
    return [line for line in lines if "Successfully read data" not in line]


def ours(text: str) -> list[str]:
    lines = shape(text)
    assert lines.pop().startswith("Intervals, flags and stages of every level are in ")
    return lines


@pytest.mark.parametrize("name", CAPTURED)
def test_lines_are_those_of_perf_analyzer(tmp_path: Path, name: str) -> None:
    run, wishes = captured_run(tmp_path, name)
    assert ours(write(run, PerfWishes(**wishes))) == theirs(name)


@pytest.mark.parametrize("name", CAPTURED)
def test_tables_have_the_columns_of_perf_analyzer(tmp_path: Path, name: str) -> None:
    run, wishes = captured_run(tmp_path, name)
    write(run, PerfWishes(csv=tmp_path / f"{name}.csv", **wishes))
    files = {file.name for file in tmp_path.glob("*.csv")}
    assert files == {file.name for file in FILES.glob(f"*{name}.csv")}
    for file in files:
        own, captured = ((folder / file).read_text().splitlines() for folder in (tmp_path, FILES))
        assert own[0] == captured[0]
        assert [row.count(",") for row in own] == [row.count(",") for row in captured]
        assert all(re.fullmatch(r"[\d.]+|", cell) for row in own[1:] for cell in row.split(","))
