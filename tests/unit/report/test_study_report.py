"""A study for people and for machines."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from runner.report.study import trials_csv
from runner.report.study_text import study_text
from runner.results.records import Estimate
from runner.results.study import Study, StudyContender, StudyDrift, StudyGain, StudyObjective, StudyTrial

RUN: Any = SimpleNamespace(study=None, manifest=SimpleNamespace(scenario=SimpleNamespace(name="x"), target="cpu"))
THREADS, LOAD = "repository.models.m.args.threads", "load.concurrency"
RATE = StudyObjective("throughput", "inferences_per_s", "1/s", "max")
TAIL = StudyObjective("latency.p99", "latency_p99_ms", "ms", "min")


def trial(number: int, threads: int, rate: float, **changes: Any) -> StudyTrial:
    base = StudyTrial(
        number=number,
        case_id=f"t{threads}",
        point={THREADS: threads, LOAD: 4},
        outcome="measured",
        values=(Estimate(rate, rate - 2, rate + 2), Estimate(40.0)),
        violations={},
        reason="",
        search_s=10.0 * number,
    )
    return replace(base, **changes)


def failed(number: int, reason: str) -> StudyTrial:
    return trial(number, number, 0.0, outcome="failed", values=(), reason=reason)


STUDY = Study(
    tune={
        "space": {THREADS: [1, 2], LOAD: [4]},
        "strategy": {"kind": "grid"},
        "constraints": ["latency.p99 <= 50ms"],
        "confirm": {"repeats": 6},
    },
    size=4,
    objectives=(RATE, TAIL),
    trials=(
        trial(0, 1, 100.0, violations={"latency.p99 <= 50ms": 0.2}),
        trial(1, 2, 150.0, on_front=True),
        failed(2, "no weights"),
        failed(3, "no weights"),
    ),
    importance={"throughput": {THREADS: 0.8, LOAD: 0.001}, "latency.p99": {LOAD: 0.0}},
    drifts=(StudyDrift("throughput", -0.3, True, "throughput moved by -30.0%: the rig drifted"),),
    ended="every point of the space was tried",
    search_s=95.0,
    contenders=(
        StudyContender(0, "confirm-t1", {}, 6, (Estimate(100.0, 98.0, 102.0), Estimate(60.0)), None, (), "", None),
        StudyContender(
            number=1,
            case_id="confirm-t2",
            point={},
            blocks=6,
            values=(Estimate(150.0, 148.0, 152.0), Estimate(40.0)),
            gain=Estimate(0.5, 0.4, 0.6),
            gains=(StudyGain("throughput", Estimate(0.5, 0.4, 0.6)),),
            verdict="different_but_small",
            p_adjusted=0.01,
            missed=("latency.p99 <= 50ms",),
        ),
    ),
    winner=1,
    conclusion="Point 1 wins.",
)


def test_a_study_of_one_address_and_one_point_counts_them_in_the_singular() -> None:
    (address, *_) = STUDY.tune["space"]
    alone = replace(
        STUDY, tune={**STUDY.tune, "space": {address: [1]}}, trials=STUDY.trials[:1], size=None, importance={}
    )
    assert "study of 1 address by grid, 1 point (" in study_text(RUN, alone)


def test_the_study_in_a_terminal() -> None:
    assert study_text(RUN, STUDY).splitlines() == [
        "x, target cpu: study of 2 addresses by grid, 4 of 4 points (2 measured, 2 failed)",
        "the search took 1.58 min: every point of the space was tried",
        "! throughput moved by -30.0%: the rig drifted",
        "",
        "the front of throughput max, latency.p99 min, where latency.p99 <= 50ms, as the search measured it:",
        "  point     threads  concurrency     throughput  latency.p99  missed",
        "  1               2            4  150.0 ±2.00/s     40.00 ms  -",
        "  0 (file)        1            4  100.0 ±2.00/s     40.00 ms  1",
        "",
        "what moved throughput: threads 80%",
        "what moved latency.p99: nothing that stands out from the noise",
        "",
        "failed: points 2, 3: no weights",
        "",
        "confirmed head to head in 6 blocks, every contender once in each on a fresh server:",
        "  point     blocks     throughput                   change  latency.p99  change  verdict",
        "  0 (file)       6  100.0 ±2.00/s                              60.00 ms",
        "  1              6  150.0 ±2.00/s  +50.0 % (+40.0 … +60.0)     40.00 ms          different but small",
        "  point 1 misses `latency.p99 <= 50ms`",
        "",
        "Point 1 wins.",
    ]


def test_addresses_become_letters_where_they_are_too_wide() -> None:
    names = [f"repository.models.m.args.a_rather_long_name_{n}" for n in range(4)]
    point = dict.fromkeys(names, 1)
    wide = replace(STUDY, tune={**STUDY.tune, "space": {name: [1] for name in names}}, importance={}, contenders=())
    lines = study_text(RUN, replace(wide, trials=(trial(0, 1, 100.0, point=point),))).splitlines()
    assert any(line.split() == ["point", "A", "B", "C", "D", "throughput", "latency.p99", "missed"] for line in lines)
    assert f"  D = {names[3]}" in lines


def test_a_study_that_was_cut_off_says_so() -> None:
    cut = replace(STUDY, ended=None, contenders=(), trials=(), conclusion="the study has not come to its end")
    text = study_text(RUN, cut)
    assert "it was cut off; `scenario tune --resume` goes on" in text
    assert "front" not in text


def test_trials_csv_has_a_row_for_every_point() -> None:
    rows = list(csv.DictReader(io.StringIO(trials_csv(STUDY).decode(), newline="")))
    assert [row["number"] for row in rows] == ["0", "1", "2", "3"]
    assert rows[1] | {"outcome": "measured", "on_front": "true", "acceptable": "true", THREADS: "2"} == rows[1]
    assert (rows[1]["inferences_per_s_low"], rows[1]["latency_p99_ms_low"]) == ("148.0", "")
    assert rows[0]["violations"] == '{"latency.p99 <= 50ms":0.2}'
    assert (rows[2]["reason"], rows[2]["inferences_per_s"]) == ("no weights", "")
