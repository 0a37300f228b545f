"""Verdicts, what a busy machine does to them, and the tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.cli.main import invoke
from runner.errors import LoadError, RigError, RunnerError, UsageError
from runner.load.fake import FakeEngine
from runner.measure.selftest.bench import Bench, Check, at_most, exactly, near
from runner.measure.selftest.rows import ROWS, Row, markdown_table
from runner.measure.selftest.run import RowResult, as_json, chosen, conclude, markdown, run_rows, table
from runner.workflow import selftest as composed
from runner.workflow.selftest import all_rows

GOOD, BAD = Check("what", "1", "1", "", True), Check("what", "1", "2", "", False)
NOWHERE = Check("what", "1", "one core only", "", None)
ROW = Row(1, "a system", "what is expected", "exact", "", lambda _: [GOOD])


def result(*checks: Check, late_ms: float = 0.0, problem: str | None = None) -> RowResult:
    return RowResult(ROW, checks, 1.5, late_ms, late_ms, problem)


def test_a_busy_machine_proves_nothing_but_what_passes_passes() -> None:
    assert result(GOOD, BAD, NOWHERE).verdicts == ("pass", "fail", "not here")
    assert result(GOOD, BAD, late_ms=5.0).verdicts == ("pass", "busy")
    assert result(GOOD, problem="no server").verdicts == ("pass", "fail")


def test_the_exit_says_whether_it_failed_or_could_not_be_told() -> None:
    conclude([result(GOOD, NOWHERE)])
    with pytest.raises(RigError, match="row 1 could not be told"):
        conclude([result(GOOD), result(BAD, late_ms=5.0)])
    with pytest.raises(RunnerError, match="failed in row 1") as caught:
        conclude([result(BAD, late_ms=5.0), result(BAD)])
    assert caught.value.exit_code == 1


def test_a_row_that_cannot_run_is_a_failure_with_its_reason() -> None:
    def broken(_: Bench) -> list[Check]:
        raise LoadError("nothing listens")

    (found,) = run_rows([Row(9, "s", "e", "t", "", broken)], FakeEngine(), full=False)
    assert (found.problem, found.verdicts) == ("nothing listens", ("fail",))
    assert "FAIL  nothing listens" in table(found)


def test_rows_are_chosen_by_number_or_by_speed() -> None:
    assert [row.number for row in chosen([5, 4, 5], False, ROWS)] == [4, 5]
    assert {row.number for row in chosen([], False, ROWS)} < {row.number for row in chosen([], True, ROWS)}
    with pytest.raises(UsageError, match="row 20 cannot be run here") as caught:
        chosen([20], True, ROWS)
    assert caught.value.hint is not None


def test_checks_compare() -> None:
    assert (near("x", 101, 100, 0.02).ok, near("x", 103, 100, 0.02).ok) == (True, False)
    assert (at_most("x", 1, 2).ok, at_most("x", 3, 2).ok) == (True, False)
    assert (exactly("x", 1, 1).ok, exactly("x", 1, 2).ok) == (True, False)


def test_what_is_shown() -> None:
    text = table(result(GOOD, BAD, late_ms=5.0))
    assert "servers late by 5.00 ms" in text
    assert "busy  what: 2, expected 1" in text
    assert "| 1 | what | 1 |  | 2 | busy |" in markdown([result(BAD, late_ms=5.0)])
    assert as_json([result(BAD)])[0]["checks"][0]["verdict"] == "fail"


def test_every_row_has_a_number_of_its_own_and_the_documentation_has_them() -> None:
    assert [row.number for row in ROWS] == list(range(1, 22))
    root = Path(__file__).parents[4]
    assert markdown_table(all_rows()) in (root / "docs" / "measurement.md").read_text(encoding="utf-8")
    for row in ROWS:
        for name in (
            word.strip("`,") for word in row.where.split() if word.endswith((".py`", ".rs`", ".py`,", ".rs`,"))
        ):
            assert (root / name).exists() or list((root / "tests").rglob(name)), f"row {row.number} names {name}"


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composed, "ROWS", (ROW, Row(2, "bad", "e", "t", "", lambda _: [BAD])))


@pytest.mark.usefixtures("rows")
def test_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["selftest", "--rows", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["row"] == 1
    assert invoke(["selftest", "--rows", "1", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("| # |")
    assert invoke(["selftest", "--full"]) == 1
    captured = capsys.readouterr()
    assert "pass  what" in captured.out
    assert "FAIL  what" in captured.out
    assert "failed in row 2" in captured.err
    assert invoke(["selftest", "--rows", "x"]) == 2
    assert "expected numbers such as 4,5" in capsys.readouterr().err
