"""`scenario perf` beside perf_analyzer: the same command lines, one Triton, their CSV files compared level by level.

    python benchmarks/perf_beside.py $(python benchmarks/fetch_tools.py tools) [--lines batch texts] [--rounds 3]

Each command line of `_perf_lines.py` is given to both tools unchanged, one after the other, the second tool first in
every other round. The ratio is our throughput ÷ perf_analyzer's of the same round: the median of the rounds, and their
range; the other numbers are those of the last round. A level that only one tool reports has no ratio. Flags are ours:
what was doubtful about the measurement, for example because of other load on the machine.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from _paired import add_tool_options, environment
from _perf_lines import LINES, LOADED, arguments, write_files, write_models
from _triton import Triton, serving

_COLUMNS = ("level", "header", "perf_analyzer /s", "ours /s (95 %)", "ours ÷ its (range)", "p95 ms, its → ours")
HEAD = f"| command line | {' | '.join(_COLUMNS)} | exit (our flags) |\n{'|---' * (len(_COLUMNS) + 2)}|"
LONGEST_S = 120
Row = dict[str, str]


@dataclass(frozen=True)
class Done:
    """What one tool left behind."""

    exit_code: int
    headers: dict[str, str]
    """CSV file -> first line; an ensemble has one for each of its models."""
    levels: dict[str, Row]
    """Concurrency or request rate -> row of the CSV file."""
    points: dict[str, Row] = field(default_factory=dict)
    """Throughput as in the CSV file -> row of the run directory's table; a search has none for its steps."""


def run(command: list[str], folder: Path, libraries: str) -> Done:
    """Run one tool in a folder of its own."""
    folder.mkdir(parents=True)
    write_files(folder)
    with (folder / "log").open("w") as log:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment(libraries) | {"SCENARIO_HOME": str(folder / "home")},
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=LONGEST_S,
            check=False,
        )
    tables = {path.name: path.read_text() for path in sorted(folder.glob("*.csv"))}
    rows = csv.DictReader(tables.get("out.csv", "").splitlines())
    levels = {next(iter(row.values())): row for row in rows}
    return Done(done.returncode, {k: v.partition("\n")[0] for k, v in tables.items()}, levels, _points(folder))


def _points(folder: Path) -> dict[str, Row]:
    """Of the run directory, which only ours leaves."""
    texts = (path.read_text().splitlines() for path in folder.glob("runs/*/points.csv"))
    rows = (row for text in texts for row in csv.DictReader(text))
    return {f"{float(row['inferences_per_s']):.6g}": row for row in rows if row.get("inferences_per_s")}


def play(name: str, number: int, triton: Triton, folder: Path, options: argparse.Namespace) -> tuple[Done, Done]:
    """One command line with both tools: perf_analyzer's result, then ours."""
    words = arguments(name)
    words += ["-u", triton.grpc if "grpc" in words else triton.http]
    tools = {"theirs": [options.perf_analyzer], "ours": [sys.executable, "-m", "runner", "perf"]}
    order = list(tools) if number % 2 == 0 else list(tools)[::-1]
    place = folder / f"{name}-{number}".replace(" ", "-")
    done = {tool: run([*tools[tool], *words], place / tool, options.libraries) for tool in order}
    return done["theirs"], done["ours"]


def table_rows(name: str, rounds: list[tuple[Done, Done]]) -> list[str]:
    """Rows of the Markdown table, one for each level."""
    theirs, ours = rounds[-1]
    same = "same" if theirs.headers == ours.headers else f"**{_difference(theirs.headers, ours.headers)}**"
    found = sorted(theirs.levels | ours.levels, key=float) or ["none"]
    return [f"| {name} | {level} | {same} | {_cells(level, rounds)} |" for level in found]


def _cells(level: str, rounds: list[tuple[Done, Done]]) -> str:
    theirs, ours = rounds[-1]
    row, our_row = theirs.levels.get(level, {}), ours.levels.get(level, {})
    rate = our_row.get("Inferences/Second", "–")
    point = ours.points.get(rate, {})
    both = [(t.levels[level], o.levels[level]) for t, o in rounds if level in t.levels and level in o.levels]
    ratios = [float(o["Inferences/Second"]) / float(t["Inferences/Second"]) for t, o in both]
    latency = " → ".join(_milliseconds(each.get("p95 latency")) for each in (row, our_row))
    codes = f"{theirs.exit_code} / {ours.exit_code}{_in_brackets(point.get('flags', '').replace(';', ', '))}"
    return f"{row.get('Inferences/Second', '–')} | {rate}{_interval(point)} | {_ratio(ratios)} | {latency} | {codes}"


def _interval(point: Row) -> str:
    ends = [point.get(f"inferences_per_s_{end}") for end in ("low", "high")]
    return _in_brackets("–".join(f"{float(end):.1f}" for end in ends if end))


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _ratio(ratios: list[float]) -> str:
    if not ratios:
        return "–"
    spread = f" ({min(ratios):.3f}–{max(ratios):.3f})" if len(ratios) > 1 else ""
    return f"{statistics.median(ratios):.3f}{spread}"


def _milliseconds(microseconds: str | None) -> str:
    return f"{int(microseconds) / 1000:.1f}" if microseconds else "–"


def _difference(theirs: dict[str, str], ours: dict[str, str]) -> str:
    """The files that differ, or the columns of the first one that does."""
    if theirs.keys() != ours.keys():
        return f"files: {', '.join(theirs) or 'none'}; ours: {', '.join(ours) or 'none'}"
    name = next(name for name in theirs if theirs[name] != ours[name])
    columns = set(theirs[name].split(",")) ^ set(ours[name].split(","))
    return f"{name}: {', '.join(sorted(columns)) or 'order'}"


def main() -> None:
    """Run the command lines and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_tool_options(parser)
    parser.add_argument("--lines", nargs="+", choices=LINES, default=list(LINES), metavar="NAME", help=", ".join(LINES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="leave what the tools printed and wrote in this new folder")
    options = parser.parse_args()
    if options.perf_analyzer is None:
        parser.error("perf_analyzer is not on the PATH; see benchmarks/fetch_tools.py")
    with tempfile.TemporaryDirectory(prefix="scenario-bench-") as scratch:
        write_models(Path(scratch) / "models")
        with serving(Path(scratch), LOADED, "chain") as triton:
            print(HEAD, flush=True)
            for name in options.lines:
                place = (options.keep or Path(scratch) / "tools").absolute()
                rounds = [play(name, number, triton, place, options) for number in range(options.rounds)]
                print(*table_rows(name, rounds), sep="\n", flush=True)


if __name__ == "__main__":
    main()
