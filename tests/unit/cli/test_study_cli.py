"""What `scenario tune` shows: before, while it runs, and when it is stopped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.cli.main import cli, invoke
from runner.cli.study_progress import LiveStudy, PlainStudy, observed, study_observer_for
from runner.tune.base import Observation
from runner.workflow.tuning import SilentStudy
from tests.unit.cli.test_progress import trial
from tests.unit.workflow.study_support import study_file

POINT = {"load.concurrency": 4}
MEASURED = Observation(3, POINT, "measured", (120.5, 9.25), {"latency.p99 <= 5ms": 0.85})
PRUNED = Observation(4, POINT, "pruned", (60.0, 20.0), reason="point 3 is better in every objective")


@pytest.mark.parametrize(
    ("observation", "improved", "line"),
    [
        (MEASURED, True, "point 3 measured: 120.5, 9.25; misses `latency.p99 <= 5ms` *"),
        (PRUNED, False, "point 4 pruned: 60, 20; point 3 is better in every objective"),
        (Observation(5, POINT, "infeasible", reason="excluded: x"), False, "point 5 infeasible: excluded: x"),
    ],
)
def test_a_finished_point_is_one_line(observation: Observation, improved: bool, line: str) -> None:
    assert observed(observation, improved) == line


def story(observer: Any) -> None:
    """Everything that a study tells."""
    observer.on_run(Path("runs/x"), 20, 2)
    observer.on_case(SimpleNamespace(id="c4", parameters=POINT))
    observer.on_step(SimpleNamespace(name="onnx", action="reused", reason="same inputs", seconds=0.0))
    observer.on_step(SimpleNamespace(name="repository", action="built", reason="first time", seconds=0.5))
    observer.on_trial(trial(labels={"screening": "probe of 2 s"}))
    observer.on_trial(trial(anchor=True))
    observer.on_observation(MEASURED, True)
    observer.on_phase("confirming 3 points in 6 blocks")


def test_plain_progress_is_a_line_per_event(capsys: pytest.CaptureFixture[str]) -> None:
    story(PlainStudy())
    assert capsys.readouterr().err.splitlines() == [
        "study directory runs/x",
        "resumed: 2 points finished already",
        "measuring c4 (concurrency=4)",
        "setup repository: built (first time) 0.5 s",
        "  probe: failed: the server died",
        "  anchor: failed: the server died",
        "point 3 measured: 120.5, 9.25; misses `latency.p99 <= 5ms` *",
        "confirming 3 points in 6 blocks",
    ]


def test_live_progress_keeps_finished_points(capsys: pytest.CaptureFixture[str]) -> None:
    live = LiveStudy()
    with live:
        story(live)
    shown = capsys.readouterr().err
    assert "point 3 measured: 120.5, 9.25" in shown
    assert "the file's own point again: failed: the server died" in shown
    assert "reused" not in shown


def test_the_mode_chooses_the_observer() -> None:
    kinds = {"none": SilentStudy, "plain": PlainStudy, "live": LiveStudy}
    for mode, kind in kinds.items():
        with study_observer_for(mode) as observer:
            assert type(observer) is kind


def test_a_dry_run_shows_the_study_and_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study_file(tmp_path)
    file = str(tmp_path / "fake.yaml")
    exclude = "tune.exclude=['load.concurrency == 3']"
    budget = "tune.budget={trials: 4, patience: 2}"
    assert invoke(["tune", file, "--dry-run", "--set", exclude, "--set", budget]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "target - · strategy grid, seed 0 · space 5 points"
    assert "  point 0     the file itself" in lines
    assert "  point 2     concurrency=3  infeasible: excluded: load.concurrency == 3" in lines
    assert any("at most 4 points, ends after 2 points without an improvement" in line for line in lines)
    assert lines[-1] == "no confirmation, so no winner is named"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("verb", ["run", "tune"])
def test_who_stops_a_verb_is_told_how_to_go_on(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", stopped)
    assert invoke([verb, "x.yaml"]) == 130
    assert "the same command with --resume goes on" in capsys.readouterr().err
