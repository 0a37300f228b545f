"""Results -> bytes: opens no sockets, decides nothing; everything can be made again from the journal."""

from runner.report.combined import combined_csv
from runner.report.console import console_table
from runner.report.points import points_csv, points_json
from runner.report.repeats import repeats_csv
from runner.report.stages import stages_csv
from runner.report.write import write_reports
from runner.results.run import Run, load_run

__all__ = [
    "Run",
    "combined_csv",
    "console_table",
    "load_run",
    "points_csv",
    "points_json",
    "repeats_csv",
    "stages_csv",
    "write_reports",
]
