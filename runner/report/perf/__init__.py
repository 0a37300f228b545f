"""Results in perf_analyzer's own forms, so that what reads its output reads ours; see docs/perf-output.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from runner.report.combined import gpu_cells
from runner.report.perf.blocks import block, level_title, summary_lines
from runner.report.perf.export import write_export
from runner.report.perf.files import is_special, replaced
from runner.report.perf.heading import heading
from runner.report.perf.levels import levels, measured
from runner.report.perf.parts import is_decoupled
from runner.report.perf.remarks import remarks
from runner.report.perf.table import tables
from runner.results.perf_wishes import PerfWishes
from runner.results.run import Run


def write(run: Run, wishes: PerfWishes) -> str:
    """Write the files that were asked for; returns what perf_analyzer would have printed.

    Raises:
        RigError: a file cannot be written.
        RunnerError: the request records are damaged.
    """
    if wishes.csv is not None:
        _write_tables(run, wishes, wishes.csv)
    if wishes.profile_export is not None:
        with replaced(wishes.profile_export) as file:
            write_export(run, wishes, file)
    return "".join(f"{line}\n" for line in _lines(run, wishes))


def keep(run: Run, wishes: PerfWishes) -> None:
    """Write the tables of the levels that are there by now; what goes to a terminal or a pipe waits for the end.

    Raises:
        RigError: a file cannot be written.
    """
    if wishes.csv is not None and not is_special(wishes.csv):
        _write_tables(run, wishes, wishes.csv)


def warnings(run: Run, wishes: PerfWishes) -> str:
    """The sentences behind the flags, for stderr, where perf_analyzer's own warnings are."""
    found = ((level_title(level, wishes), *remark) for level in levels(run) for remark in remarks(level))
    lines = [f"{title}: [{code}] {' '.join(sentence.split())}\n" for title, code, sentence in found]
    return "".join([*lines, *_without_gpus(run, wishes)])


def _without_gpus(run: Run, wishes: PerfWishes) -> Iterator[str]:
    """An endpoint that answers and says nothing of GPUs is no gap in what was sampled, and still not what was meant."""
    trials = [row.trial for row in measured(levels(run))] if wishes.collect_metrics else []
    exported = [trial for trial in trials if any(name.startswith("nv_") for name in trial.telemetry)]
    if exported and not any(any(gpu_cells(trial.telemetry).values()) for trial in exported):
        yield "--collect-metrics: the server's metrics say nothing of a GPU, so their columns are empty\n"


def _write_tables(run: Run, wishes: PerfWishes, path: Path) -> None:
    for place, content in tables(measured(levels(run)), wishes, path):
        # What goes to a terminal or a pipe has no neighbours.
        if place == path or not is_special(path):
            with replaced(place) as file:
                file.write(content)


def _lines(run: Run, wishes: PerfWishes) -> Iterator[str]:
    found = levels(run)
    rows = measured(found)
    yield from heading(run, found, wishes, is_decoupled(tuple(row.trial for row in rows)))
    yield ""
    for level in found:
        yield from block(level, rows, wishes)
    yield from summary_lines(rows, wishes)
    yield f"Intervals, flags and stages of every level are in {run.path / 'points.json'}"
