from __future__ import annotations

from pathlib import Path

import pytest

from runner.results.anchors import anchor_steps, flag_drift
from runner.results.records import Flag, Trial
from tests.unit.results.sample_run import CASES, RESOLVED, create, failed, summary, trial


def anchor(rate: float, **changes: object) -> Trial:
    return trial(CASES[3], anchor=True, summary=summary(8, rate), **changes)  # type: ignore[arg-type]


def point(number: int, *flags: Flag) -> Trial:
    return trial(CASES[number], flags=flags)


def flagged(trials: list[Trial]) -> list[bool]:
    return [any(flag.code == "trend" for flag in each.flags) for each in flag_drift(trials)]


def test_a_level_rig_flags_nothing() -> None:
    trials = [anchor(100), point(0), anchor(101.9), point(1), anchor(100.5)]
    assert flagged(trials) == [False] * 5
    assert [round(step.change, 4) for step in anchor_steps(trials)] == [0.019, -0.0137]


def test_points_between_two_anchors_that_differ_are_flagged_and_no_others() -> None:
    """Each anchor is known to ±2 %, so their difference to ±2.8 %: 5 % is more, 2.5 % is not."""
    trials = [anchor(100), point(0), anchor(102.5), point(1), point(2), anchor(97), point(4)]
    assert flagged(trials) == [False, False, False, True, True, False, False]
    [flag] = flag_drift(trials)[3].flags
    assert flag.value == pytest.approx(97 / 102.5 - 1)
    assert (flag.limit, flag.consequence) == (0.02, "informs")
    assert "-5.4%" in flag.message


def test_an_anchor_without_a_usable_number_is_passed_over() -> None:
    trials = [anchor(100), point(0), anchor(50, state="invalid"), point(1), anchor(90)]
    assert flagged(trials) == [False, True, False, True, False]
    gone = Trial(**{**failed(CASES[3], "gone").__dict__, "anchor": True})
    assert flagged([anchor(100), point(0), gone]) == [False] * 3


def test_a_points_own_trend_is_not_said_twice() -> None:
    own = Flag("trend", 0.03, 0.02, "informs", "within the window")
    [flag] = flag_drift([anchor(100), point(0, own), anchor(90)])[1].flags
    assert flag.value == pytest.approx(-0.1)


def test_anchors_are_no_points_but_judge_them_when_a_run_is_read(tmp_path: Path) -> None:
    directory = create(tmp_path)
    with directory.writer() as writer:
        writer.write_resolved(RESOLVED)
        writer.begin(CASES[:4])
        for each in (anchor(100), point(0), anchor(90), trial(CASES[3]), anchor(90.5)):
            writer.append(each)
    run = directory.load()
    assert len(run.anchors) == 3
    assert set(run.trials) == {"b1-c1", "b8-c4"}
    assert [flag.code for flag in run.trials["b1-c1"].flags] == ["trend"]
    assert run.trials["b8-c4"].flags == (), "the anchor is a point, too, with a measurement of its own"
    assert ("b8-c4", 0) in run.finished()
    assert [step.drifted for step in run.anchor_steps] == [True, False]
