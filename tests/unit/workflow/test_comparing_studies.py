"""`scenario compare` on studies as they lie on the disk: what stands for a point, and what belongs together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from runner.load.native import NativeEngine
from runner.report.comparison import comparison_text
from runner.results.comparison import Comparison
from runner.results.run import Run
from runner.services.kserve import connect
from runner.tune.winner import Outcome
from runner.workflow import Rooms, RunOptions, run_scenario
from runner.workflow.comparing import compare_runs
from runner.workflow.tuning import concluding
from tests.unit.workflow.study_support import DELAY, Laboratory, ModeRuntime, study_file


@dataclass(frozen=True)
class Made:
    """Directories on the disk."""

    a: Path
    """The file takes 24 ms, the winner 4 ms; 40 ms was tried, too."""
    b: Path
    """16 ms, 6 ms, and the same 40 ms."""
    tuned: Path
    """A run of A's file with its winner's values."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("studies")
    load = study_file(folder)
    judge = concluding.judge_confirmation

    def with_a_winner(run: Run) -> Outcome:
        """Two blocks give no verdict; who wins is not what is tested here."""
        judged = judge(run)
        assert judged is not None
        return replace(judged, call="winner", winner="point 1")

    def study(own: int, best: int) -> Path:
        space = f"tune.space={{{DELAY}: [{best}, 40]}}"
        loaded = load(f"{DELAY}={own}", space, "tune.confirm={top: 1, repeats: 2}", "measure.requests=10")
        return Laboratory(folder).study(loaded).directory

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runner.measure.ceiling.engine_ceiling_per_s", lambda engine, concurrency, cpus: 1e6)
        patch.setattr(concluding, "judge_confirmation", with_a_winner)
        options = RunOptions(output_dir=folder / "runs", home=folder / "home")
        rooms = Rooms(ModeRuntime(), NativeEngine(), connect)
        tuned = run_scenario(load(f"{DELAY}=4", "measure.requests=10"), options, rooms=rooms)
        yield Made(study(24, 4), study(16, 6), tuned.directory)


def roles(comparison: Comparison) -> dict[str, tuple[str, str]]:
    """Role, or the delay, of each point -> the first letters of both case ids."""
    return {
        point.role or str(point.parameters[DELAY]): (point.case_a[:8], point.case_b[:8]) for point in comparison.points
    }


def test_the_files_themselves_and_the_winners_belong_together_with_their_confirmed_numbers(made: Made) -> None:
    comparison = compare_runs(made.a, made.b)
    found = roles(comparison)
    assert list(found) == ["the file itself", "the winner", "40"]
    assert found["the file itself"] == found["the winner"] == ("confirm-", "confirm-")
    own, winner, other = comparison.points
    assert {(point.design, point.used_a, point.used_b) for point in (own, winner)} == {("repeats", 2, 2)}
    assert f"{DELAY} differs: 24 | 16" in own.notes
    assert f"{DELAY} differs: 4 | 6" in winner.notes
    assert (other.design, other.parameters[DELAY]) == ("within_run", 40), "only the search measured it, on both sides"
    assert comparison.left_out == ()
    assert f"the file itself ({DELAY.rpartition('.')[2]}=" not in comparison_text(comparison), "it has two values"
    assert "the winner: unpaired repeats, 2 of A and 2 of B" in comparison_text(comparison)


def test_a_run_is_matched_with_the_point_of_a_study_that_has_its_values(made: Made) -> None:
    """The run has no parameters of its own: what it measured stands in its resolved scenario."""
    comparison = compare_runs(made.tuned, made.a)
    (point,) = comparison.points
    assert (point.role, point.parameters) == ("", {DELAY: 4})
    assert point.case_b.startswith("confirm-"), "not the search's number, by which it was chosen"
    assert (point.used_a, point.used_b) == (1, 2)
    assert [(left.side, left.case_id, left.reason) for left in comparison.left_out] == [
        ("B", "2 points", "no such point in A")
    ]


def test_a_number_by_which_the_search_chose_is_called_lucky(made: Made) -> None:
    """Only where the other side was confirmed: two searches that measured a point once are on a par."""
    comparison = compare_runs(made.a, made.b)
    assert not any("looks better than it is" in note for point in comparison.points for note in point.notes)
    lucky = _with_an_unconfirmed_winner(made.a)
    (note,) = [note for note in compare_runs(lucky, made.b).points[0].notes if "looks better" in note]
    assert note.startswith("A: measured once, by the search")


def _with_an_unconfirmed_winner(directory: Path) -> Path:
    """The same study as a kill before its confirmation would leave it."""
    copy = directory.parent / "killed"
    copy.mkdir()
    for name in ("manifest.json", "resolved.yaml"):
        (copy / name).write_bytes((directory / name).read_bytes())
    lines = (directory / "journal.jsonl").read_text().splitlines(keepends=True)
    cut = next(place for place, line in enumerate(lines) if '"search_ended"' in line)
    (copy / "journal.jsonl").write_text("".join(lines[:cut]))
    return copy
