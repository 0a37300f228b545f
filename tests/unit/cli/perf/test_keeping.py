"""What a run that ends early still shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from runner.cli.perf.keeping import MOST_KEPT, shown_whatever_happens
from runner.cli.perf.outputs import wishes_of
from runner.cli.perf.parsing import parse
from runner.errors import RigError
from runner.report import perf
from runner.results.run import Run
from runner.workflow import Observer, Outcome, Silent
from tests.unit.report.perf_runs import ENSEMBLE, level, measured, run_of


def end_early(run: Run, show: Callable[[Outcome], None], error: BaseException) -> None:
    """As a run does that is interrupted."""
    with shown_whatever_happens(Silent(), show, lambda directory: None) as observer:
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


@contextmanager
def watched(run: Run, points: int, keep: Callable[[Path], None]) -> Iterator[Observer]:
    with shown_whatever_happens(Silent(), lambda outcome: None, keep) as observer:
        observer.on_run(run.path, points, 0)
        yield observer


def test_every_level_and_every_load_of_a_search_is_kept_at_once(run: Run) -> None:
    kept = list[Path]()
    with watched(run, 2, kept.append) as observer:
        observer.on_trial(measured(level(1)))
        assert kept == [run.path]
        observer.on_probe(None, None)  # type: ignore[arg-type]
        assert kept == [run.path] * 2


def test_a_place_that_is_full_for_a_while_ends_nothing(run: Run) -> None:
    def full(directory: Path) -> None:
        raise RigError("the disk is full")

    with watched(run, 2, full) as observer:
        observer.on_trial(measured(level(1)))


def test_a_run_of_very_many_levels_is_written_at_its_end(run: Run) -> None:
    kept = list[Path]()
    with watched(run, MOST_KEPT + 1, kept.append) as observer:
        observer.on_trial(measured(level(1)))
    assert kept == []


def test_tables_that_grew_are_those_that_are_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows ascend by throughput, whatever the order of the levels."""
    monkeypatch.chdir(tmp_path)
    cases = [level(4), level(1), level(2)]
    trials = [measured(case, ENSEMBLE) for case in cases]
    run = run_of(tmp_path, cases, trials)
    for number in range(1, 4):
        known = {trial.case_id: trial for trial in trials[:number]}
        perf.keep(replace(run, trials=known), wishes_of(parse(["-m", "m", "-f", "grown.csv"])))
        assert len(Path("grown.csv").read_text().splitlines()) == 1 + number
    perf.write(run, wishes_of(parse(["-m", "m", "-f", "whole.csv"])))
    for name in ("", "identity_v1.", "sleepy_v1."):
        assert Path(f"{name}grown.csv").read_bytes() == Path(f"{name}whole.csv").read_bytes()


def test_a_pipe_gets_its_table_once(tmp_path: Path) -> None:
    run = run_of(tmp_path, [level(1)], [measured(level(1))])
    perf.keep(run, wishes_of(parse(["-m", "m", "-f", "/dev/full"])))
