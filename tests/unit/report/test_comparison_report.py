"""What a comparison looks like: the sentence, the table, Markdown, JSON."""

from __future__ import annotations

import json
from dataclasses import replace

from runner.measure.compared_metrics import Rules
from runner.measure.comparing import compare
from runner.report.comparison import comparison_json, comparison_markdown, comparison_text, verdict_line
from runner.results.codec import decode
from runner.results.comparison import Comparison
from tests.unit.measure.compared_runs import measured, run_of
from tests.unit.results.sample_run import FLAG, planned


def comparison(factor: float = 0.9, group: str | None = "g", **facts: object) -> Comparison:
    a = run_of([measured(factor * (100.0 + n), n) for n in range(6)], group, "run-a", **facts)
    return compare(a, run_of([measured(100.0 + n, n) for n in range(6)], group, "run-b"), Rules.of())


def test_the_sentence_says_which_way_how_often_and_how_much() -> None:
    line = verdict_line(comparison())
    assert line.startswith("A is worse than B (5 worse, 1 equivalent; largest change: latency_")
    assert line.endswith("_ms +11.11 %).")
    assert verdict_line(comparison(1.1)).startswith("A is better than B (5 better, 1 equivalent")
    assert verdict_line(comparison(1.0)).startswith("A and B do not differ by more than the margin (6 equivalent)")


def test_unpaired_verdicts_are_likely_in_every_place() -> None:
    unpaired = comparison(0.8, None)
    assert verdict_line(unpaired).startswith("A is likely worse than B")
    text = comparison_text(unpaired)
    assert "likely worse" in text
    assert "verdicts are" in text
    assert "scenario run A --against B" in text
    assert "likely" not in comparison_text(comparison())


def test_mixed_and_undecided_sentences() -> None:
    one, four = planned(1, 1), planned(1, 4)

    def side(rates: tuple[float, float], name: str) -> object:
        tables = [(c, [measured(r + n, n, c) for n in range(6)]) for c, r in zip((one, four), rates, strict=True)]
        return run_of([], "g", name, others=tables)

    mixed = compare(side((110, 90), "a"), side((100, 100), "b"), Rules.of(["throughput"]))  # type: ignore[arg-type]
    assert verdict_line(mixed).startswith("A is better than B in some numbers and worse in others")
    jumpy = run_of([measured(100 + (-1) ** n * 20, n) for n in range(6)], "g", "a")
    unclear = compare(jumpy, run_of([measured(100, n) for n in range(6)], "g", "b"), Rules.of())
    assert verdict_line(unclear).startswith("No difference beyond the margin was found, and none was excluded either")
    assert verdict_line(replace(unclear, points=())) == "Nothing could be compared."


def test_the_table_shows_both_sides_change_interval_and_p() -> None:
    lines = comparison_text(comparison()).splitlines()
    (row,) = [line for line in lines if "inferences_per_s" in line and "…" in line]
    assert " ".join(row.split()) == "inferences_per_s 102.5 92.24 −10.00 % −10.00 … −10.00 % <0.001 worse"
    (errors,) = [line for line in lines if "error_rate" in line]
    assert errors.endswith("equivalent (none on either side)")
    assert lines[-1].startswith("A is worse than B")


def test_a_different_rig_stands_before_the_numbers() -> None:
    text = comparison_text(comparison(environment={"cpu": {"model": "two"}}))
    assert text.index("the rigs differ") < text.index("cpu.model: two | one") < text.index("inferences_per_s")


def test_long_lists_of_differences_are_cut() -> None:
    text = comparison_text(comparison(environment={f"fact{n}": n for n in range(20)}))
    assert "and 13 more" in text


def test_markdown_begins_with_the_verdict_and_is_a_table() -> None:
    broken = run_of([measured(100.0, 0, state="invalid", flags=(FLAG,))], name="a|b")
    text = comparison_markdown(comparison(environment={"cpu": {"model": "two | `x`"}}))
    assert text.startswith("**A is worse than B (")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 6
    assert {line.replace("\\|", "").count("|") for line in rows} == {9}
    assert "<details><summary>the rigs differ" in text
    assert "not compared (A): b1-c4: A invalid: client_limited" in comparison_markdown(
        compare(broken, run_of([measured(100.0)]), Rules.of())
    )


def test_json_reads_back_to_the_same_comparison() -> None:
    found = comparison()
    document = json.loads(comparison_json(found))
    assert document["verdict"] == verdict_line(found)
    assert decode(Comparison, document["comparison"]) == found
