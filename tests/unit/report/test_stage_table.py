from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runner.report.console import console_table
from runner.results.records import Counts, ModelStatistics, Trial
from runner.results.run import PlannedCase
from tests.unit.results.pipelines import counters, facts, load, pipeline_trial
from tests.unit.results.sample_run import create, planned, summary

FACTS = (facts("preprocess"), facts("classify"))
TITLE = "where a request's time goes, ms"


def shown(tmp_path: Path, *trials: Trial, width: int = 100) -> str:
    """The part of the final output below the table of points."""
    directory = create(tmp_path)
    with directory.writer() as writer:
        writer.begin([PlannedCase(t.case_id, t.parameters, t.model, t.protocol, t.batch, t.load) for t in trials])
        for each in trials:
            writer.append(each)
    text = console_table(directory.load(), width=width)
    return text[text.index(TITLE) :] if TITLE in text else ""


def point(concurrency: int, *models: ModelStatistics, per_s: float = 100.0, **changes: float) -> Trial:
    """Two models with a request in `server_ms`."""
    case = planned(1, concurrency)
    ms = changes.get("server_ms", 15.0)
    names = {"case_id": case.case_id, "parameters": case.parameters, "load": case.load}
    given = {**names, "summary": summary(rate=per_s, mean_ms=ms), "facts": FACTS}
    times = models or (counters("preprocess", infer=4), counters("classify", queue=1, infer=9))
    return pipeline_trial(*times, **{"server_ms": ms, **changes}, **given)  # type: ignore[arg-type]


SLOW_PREPROCESS = (counters("preprocess", queue=1, infer=9), counters("classify", infer=4))


def test_a_row_adds_up_and_the_diagnosis_stands_below(tmp_path: Path) -> None:
    lines = shown(tmp_path, point(1, latency_ms=16)).splitlines()
    assert lines[0] == "where a request's time goes, ms (means of the whole load)"
    assert lines[2].split() == [
        *(
            [
                "batch",
                "conc.",
                "mean",
                "client",
                "network",
                "queue",
                "preprocess",
                "classify",
                "other",
                "residual",
                "limit",
            ]
        ),
    ]
    cells = lines[4].split()
    assert cells == ["1", "1", "16.00", "0.000", "1.00", "1.00", "4.00", "9.00", "1.00", "0.0%", "compute"]
    assert float(cells[2]) == sum(map(float, cells[3:9]))
    assert "compute-bound: classify computes 9 ms of a request's 16 ms (56%)" in "\n".join(lines)


def test_points_with_one_diagnosis_share_a_sentence_that_of_the_fastest(tmp_path: Path) -> None:
    text = shown(tmp_path, point(1, per_s=10), point(2, per_s=30, server_ms=18), point(4, *SLOW_PREPROCESS, per_s=20))
    flat = " ".join(text.split())
    assert flat.count("compute-bound:") == flat.count("preprocess-bound:") == 1
    assert "classify computes 9 ms of a request's 18 ms" in flat
    assert flat.index("compute-bound:") < flat.index("(and 1 more point)") < flat.index("preprocess-bound:")


def test_a_long_run_shows_the_fastest_of_each_kind(tmp_path: Path) -> None:
    points = [point(n, per_s=n) for n in range(1, 10)] + [point(10, *SLOW_PREPROCESS)]
    text = shown(tmp_path, *points)
    assert "fastest of each kind of 10 points" in text
    table = text[: text.index("mean = client")].splitlines()[4:]
    assert [line.split()[:2] for line in table if line] == [["1", "9"], ["1", "10"]]
    assert "(and 8 more points)" in " ".join(text.split())


@pytest.mark.parametrize(("width", "header"), [(100, "preprocess  classify"), (90, "prepr…  class…"), (80, "compute")])
def test_narrow_terminals_get_shorter_names_and_whole_numbers(tmp_path: Path, width: int, header: str) -> None:
    text = shown(tmp_path, point(1), width=width)
    assert header in text
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize(
    ("width", "lacking"),
    [(90, ""), (82, ""), (81, "residual"), (79, "residual"), (66, "residual, other"), (60, "residual, other, client")],
)
def test_a_narrow_table_loses_columns_and_no_digits(tmp_path: Path, width: int, lacking: str) -> None:
    slow = point(64, latency_ms=1600, server_ms=150)
    text = shown(tmp_path, point(1, latency_ms=160), slow, width=width)
    assert max(map(len, text.splitlines())) <= width
    rows = text[text.index("─") : text.index("mean = client")]
    assert "1600" in rows
    assert "…" not in rows
    assert (f"too narrow for: {lacking}" in text) if lacking else ("too narrow" not in text)


def test_many_models_share_a_column(tmp_path: Path) -> None:
    many = tuple(counters(name, infer=2) for name in "abcd")
    assert shown(tmp_path, point(1, *many, server_ms=9)).splitlines()[2].split()[6] == "compute"


def test_overlap_and_calls_of_code_are_explained(tmp_path: Path) -> None:
    text = shown(tmp_path, point(1, server_ms=12))
    assert "-2.00" in text
    assert "times overlap" in text
    inner = pipeline_trial(counters("classify", infer=9), server_ms=9, bls=(counters("inner", queue=1, infer=5),))
    other = tmp_path / "other"
    other.mkdir()
    text = shown(other, inner)
    assert "(inner)" in text
    assert "6.00" in text
    assert "not added" in text


def test_times_of_requests_that_came_to_nothing_are_said_to_be_in_it(tmp_path: Path) -> None:
    lost = replace(point(1), counts=Counts(1203, 1200, {"timeout": 1}, 0, 2))
    assert "so their times are too high" in " ".join(shown(tmp_path, lost).split())


def test_clocks_that_disagree_are_not_trusted(tmp_path: Path) -> None:
    text = shown(tmp_path, point(1, server_ms=15, latency_ms=12))
    assert "-25.0%" in text
    assert "up to 25% of a mean unexplained" in text


def test_without_both_clocks_there_is_no_table(tmp_path: Path) -> None:
    assert shown(tmp_path, pipeline_trial(counters("classify", infer=9), server_ms=9, whole=None)) == ""


def test_residuals_are_not_minus_nothing(tmp_path: Path) -> None:
    whole = load(9.0, 10.0)
    text = shown(tmp_path, pipeline_trial(counters("classify", infer=9), server_ms=9.001, whole=whole, facts=FACTS))
    assert "-0.0%" not in text
