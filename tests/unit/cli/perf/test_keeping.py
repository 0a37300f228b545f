"""What a run that ends early still shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runner.cli.perf.keeping import shown_whatever_happens
from runner.errors import RigError
from runner.results.run import Run
from runner.workflow import Outcome, Silent
from tests.unit.report.perf_runs import level, measured, run_of


def end_early(run: Run, show: Callable[[Outcome], None], error: BaseException) -> None:
    """As a run does that is interrupted."""
    with shown_whatever_happens(Silent(), show) as observer:
        observer.on_run(run.path, 2, 0)
        observer.on_server("passed on")
        raise error


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Of two levels, one of which was measured; as it would be read."""
    made = run_of(tmp_path, [level(1), level(2)], [measured(level(1))])
    monkeypatch.setattr("runner.results.run.load_run", lambda path: made)
    return made


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RigError("the disk is full")])
def test_finished_levels_are_shown_and_the_end_is_told(error: BaseException, run: Run) -> None:
    shown = list[Outcome]()
    with pytest.raises(type(error)):
        end_early(run, shown.append, error)
    assert [point.state for point in shown[0].run.points()] == ["ok", "missing"]
    assert shown[0].directory == run.path


def test_what_cannot_be_shown_does_not_hide_why_it_ended(run: Run) -> None:
    def full(outcome: Outcome) -> None:
        raise RigError("the disk is full")

    with pytest.raises(KeyboardInterrupt):
        end_early(run, full, KeyboardInterrupt())


def test_nothing_is_shown_of_a_run_that_measured_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty, shown = run_of(tmp_path, [level(1)], []), list[Outcome]()
    monkeypatch.setattr("runner.results.run.load_run", lambda path: empty)
    with pytest.raises(KeyboardInterrupt):
        end_early(empty, shown.append, KeyboardInterrupt())
    assert shown == []
