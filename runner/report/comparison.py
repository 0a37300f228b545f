"""A comparison for people: text for a terminal, Markdown for a pull request, JSON for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from runner.report.tabular import aligned, json_bytes, number_text
from runner.results.codec import encode
from runner.results.comparison import DESIGN_WORDS, ComparedPoint, Comparison, Contrast
from runner.results.journal import SCHEMA
from runner.units import format_fraction

MOST_DIFFERENCES = 8
"""Lines for each kind of difference; a scenario that differs in everything is not explained by a list."""
HEADER = ("metric", "B (baseline)", "A", "A/B - 1", "95 % interval", "p", "verdict")
_ADJUSTMENT = {
    "none": "",
    "holm": ", p adjusted by Holm",
    "benjamini_hochberg": ", p adjusted by Benjamini-Hochberg",
}


def verdict_line(comparison: Comparison) -> str:
    """The whole comparison in one sentence."""
    if not comparison.points:
        return "Nothing could be compared."
    contrasts = comparison.contrasts()
    counts: Counter[str] = Counter(contrast.verdict for contrast in contrasts)
    decided = [c for c in contrasts if c.verdict in ("better", "worse")]
    likely = "" if any(contrast.certain for contrast in decided) else "likely "
    words = f"A is {likely}{_overall(counts)}" if decided else _overall(counts)
    shown = ", ".join(f"{count} {verdict.replace('_', ' ')}" for verdict, count in counts.items())
    largest = max(decided, key=lambda c: abs(c.change.value), default=None)
    extreme = f"; largest change: {largest.metric} {change_text(largest)}" if largest else ""
    return f"{words} ({shown}{extreme})."


def _overall(counts: Counter[str]) -> str:
    if counts["worse"] and counts["better"]:
        return "better than B in some numbers and worse in others"
    if counts["worse"] or counts["better"]:
        return "worse than B" if counts["worse"] else "better than B"
    if counts["undecided"]:
        return "No difference beyond the margin was found, and none was excluded either"
    return "A and B do not differ by more than the margin"


def comparison_text(comparison: Comparison) -> str:
    """For a terminal."""
    lines = [line.rstrip() for line in _heading(comparison)]
    for number, (title, found) in enumerate(_differences(comparison)):
        lines += [*([""] if not number else []), title, *(f"  {line}" for line in found)]
    for point in comparison.points:
        lines += ["", _point_title(point), *aligned([HEADER, *map(_row, point.contrasts)])]
        lines += [f"  ! {note}" for note in point.notes]
    lines += [""] if comparison.left_out else []
    lines += [f"not compared ({left.side}): {left.case_id}: {left.reason}" for left in comparison.left_out]
    return "\n".join([*lines, "", verdict_line(comparison)]) + "\n"


def comparison_markdown(comparison: Comparison) -> str:
    """For a pull request: the verdict first."""
    lines = [f"**{verdict_line(comparison)}**", "", *_heading(comparison), ""]
    lines += [_markdown_row(["point", *HEADER]), _markdown_row(["---", "---", *["---:"] * 5, "---"])]
    for point in comparison.points:
        lines += [_markdown_row([_parameters(point), *_row(contrast)]) for contrast in point.contrasts]
    notes = [f"{_parameters(point)}: {note}" for point in comparison.points for note in point.notes]
    notes += [f"not compared ({left.side}): {left.case_id}: {left.reason}" for left in comparison.left_out]
    lines += ["", *(f"- {note}" for note in notes)] if notes else []
    for title, found in _differences(comparison):
        lines += ["", f"<details><summary>{title}</summary>", "", *(f"- `{_flat(line)}`" for line in found)]
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def comparison_json(comparison: Comparison) -> bytes:
    """Everything, with the sentence that people see."""
    document = encode(comparison, "comparison")
    return json_bytes({"schema": SCHEMA, "verdict": verdict_line(comparison), "comparison": document})


def _heading(comparison: Comparison) -> Iterator[str]:
    yield f"A: {comparison.a.run_id}  "
    yield f"B: {comparison.b.run_id} (baseline)  "
    designs = Counter(f"{DESIGN_WORDS[p.design]}, {p.used_a} of A and {p.used_b} of B" for p in comparison.points)
    for design, count in designs.items():
        yield f"{count} point{'' if count == 1 else 's'}: {design}  "
    yield f"margin ±{format_fraction(comparison.margin)}{_ADJUSTMENT[comparison.adjustment]}"
    if any(point.design != "paired" for point in comparison.points):
        yield "Not measured in the same blocks: what changed between the runs counts as a difference, so verdicts are"
        yield "only likely ones. `scenario run A --against B` measures both in turn."


def _differences(comparison: Comparison) -> Iterator[tuple[str, Sequence[str]]]:
    found = comparison.differences
    titles = (
        ("the rigs differ, so numbers compare badly (A | B)", found.rig),
        ("served or labelled differently (A | B)", found.served),
        ("asked for differently (A | B)", found.scenario),
        ("the rig drifted", comparison.drift),
    )
    for title, lines in titles:
        if lines:
            more = len(lines) - MOST_DIFFERENCES
            yield title, [*lines[:MOST_DIFFERENCES], *([f"and {more} more"] if more > 0 else [])]


def _point_title(point: ComparedPoint) -> str:
    return f"{_parameters(point)}: {DESIGN_WORDS[point.design]}, {point.used_a} of A and {point.used_b} of B"


def _parameters(point: ComparedPoint) -> str:
    words = [f"{address.rpartition('.')[2]}={value}" for address, value in point.parameters.items()]
    if point.role:
        words = [point.role, *([f"({' '.join(words)})"] if words else [])]
    return " ".join(words) or "the only point"


def _row(contrast: Contrast) -> tuple[str, ...]:
    verdict = contrast.words + (f" ({contrast.note})" if contrast.note else "")
    return (
        contrast.metric,
        _value(contrast.b, contrast),
        _value(contrast.a, contrast),
        change_text(contrast),
        _interval(contrast),
        _probability(contrast.p_adjusted),
        verdict,
    )


def _probability(p: float | None) -> str:
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _value(value: float, contrast: Contrast) -> str:
    return f"{value:.3%}" if contrast.unit == "ratio" else number_text(value)


def change_text(contrast: Contrast) -> str:
    """The change of A against B in percent; of shares in percent points."""
    return f"{_signed(contrast.change.value)} %" + ("-points" if contrast.metric == "error_rate" else "")


def _interval(contrast: Contrast) -> str:
    low, high = contrast.change.low, contrast.change.high
    return "" if low is None or high is None else f"{_signed(low)} … {_signed(high)} %"


def _signed(share: float) -> str:
    return f"{100 * share:+.2f}".replace("-", "−")


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_flat(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _flat(text: str) -> str:
    return " ".join(text.replace("`", "'").split())
