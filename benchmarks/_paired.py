"""Tools that take turns on one server: CPU time per request and throughput, as ratios of neighbours in time.

Every tool runs in a process of its own. Once it is in its stride, the CPU time of the process (user + system, by the
kernel's nanosecond clock of that process) and the server's own success count are read twice, a window apart: start-up,
warm-up and reporting are outside, and all tools are judged by the same two clocks. Within a round the tools run one
after the other, in another order each round; a table gives the medians of the rounds' ratios, and their range.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from _triton import Triton, identity_server, success_count

ROOT = Path(__file__).parents[1]
OURS = "ours"
HEAD = "| tensor | concurrency | tool | requests/s | CPU µs/request | CPU ÷ ours (range) | our rate ÷ its (range) |"


@dataclass(frozen=True)
class Case:
    """What every tool is asked to do, and where it may keep files."""

    size: int
    """Bytes in the input tensor."""
    concurrency: int
    triton: Triton
    folder: Path
    perf_analyzer: str


Commands = Callable[[Case], dict[str, list[str]]]
"""Command lines by tool, `ours` among them, that keep the load up for longer than any window."""


@dataclass(frozen=True)
class Reading:
    """What one tool did in one window."""

    requests_per_s: float
    cpu_us: float
    """CPU time of the tool per request."""


def add_tool_options(parser: argparse.ArgumentParser) -> None:
    """Options that say where perf_analyzer is; `fetch_tools.py` prints them."""
    parser.add_argument("--perf-analyzer", default=shutil.which("perf_analyzer"), help="path of the binary")
    parser.add_argument("--libraries", default="", help="folder with libcudart.so.12, if not installed")


def environment(libraries: str) -> dict[str, str]:
    """For our engine and for perf_analyzer: where the sources and the libraries are."""
    found = f"{libraries}:{os.environ.get('LD_LIBRARY_PATH', '')}".strip(":")
    return os.environ | {"PYTHONPATH": str(ROOT)} | ({"LD_LIBRARY_PATH": found} if found else {})


def analyzer_command(case: Case, protocol: str) -> dict[str, list[str]]:
    """Both of perf_analyzer's modes over `grpc` or `http`."""
    endpoint = getattr(case.triton, protocol)
    command = [
        *(case.perf_analyzer, "-m", "identity", "-i", protocol, "-u", endpoint, "--shape", f"INPUT0:{case.size}"),
        *("--concurrency-range", str(case.concurrency), "-p", "600000"),
    ]
    return {"pa sync": [*command, "--sync"], "pa async": [*command, "--async"]}


def measure(command: Sequence[str], libraries: str, triton: Triton, settle_s: float, window_s: float) -> Reading:
    """Run one tool for a window and stop it."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment(libraries), stdout=quiet, stderr=quiet) as process:
        try:
            _wait_for_load(triton)
            time.sleep(settle_s)
            begun, cpu, served = time.monotonic(), cpu_s(process.pid), success_count(triton)
            time.sleep(window_s)
            seconds, cpu, served = time.monotonic() - begun, cpu_s(process.pid) - cpu, success_count(triton) - served
        finally:
            process.kill()
    return Reading(served / seconds, cpu / served * 1e6)


def cpu_s(pid: int) -> float:
    """CPU time of all threads of a process that ever were; /proc has only hundredths of a second."""
    scheduler_clock = 2
    return time.clock_gettime(~pid << 3 | scheduler_clock)


def _wait_for_load(triton: Triton, timeout_s: float = 30) -> None:
    before, deadline = success_count(triton), time.monotonic() + timeout_s
    while success_count(triton) < before + 50:
        if time.monotonic() > deadline:
            raise RuntimeError("the tool sends no requests")
        time.sleep(0.05)


Round = dict[str, Reading]


def play(commands: dict[str, list[str]], number: int, run: Callable[[list[str]], Reading]) -> Round:
    """One round; whoever was first in the one before is last."""
    names = list(commands)
    first = number % len(names)
    found = {name: run(commands[name]) for name in names[first:] + names[:first]}
    return {name: found[name] for name in names}


def size_name(size: int) -> str:
    """Bytes as a table has them."""
    return f"{size / 1000:.0f} kB" if size >= 1000 else f"{size} B"


def rows(case: Case, rounds: list[Round]) -> list[str]:
    """Rows of the Markdown table for one case."""
    return [f"| {size_name(case.size)} | {case.concurrency} | {tool} | {_cells(tool, rounds)} |" for tool in rounds[0]]


def _cells(tool: str, rounds: list[Round]) -> str:
    rate = statistics.median(r[tool].requests_per_s for r in rounds)
    cpu = statistics.median(r[tool].cpu_us for r in rounds)
    cpu_ratio = _with_range([r[tool].cpu_us / r[OURS].cpu_us for r in rounds])
    rate_ratio = _with_range([r[OURS].requests_per_s / r[tool].requests_per_s for r in rounds])
    return f"{rate:,.0f} | {cpu:.1f} | {cpu_ratio} | {rate_ratio}"


def _with_range(ratios: list[float]) -> str:
    if min(ratios) == max(ratios) == 1:
        return "1"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def pair(text: str) -> tuple[int, int]:
    """Two numbers around a colon."""
    first, _, second = text.partition(":")
    return int(first), int(second)


def main(description: str, commands: Commands, cases: list[str]) -> None:
    """Measure every case and print the table."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_tool_options(parser)
    parser.add_argument("--cases", nargs="+", default=cases, metavar="BYTES:CONCURRENCY", help=" ".join(cases))
    parser.add_argument("--tools", nargs="+", help="only these beside ours")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--settle", type=float, default=0.7, help="seconds before a window")
    parser.add_argument("--window", type=float, default=2.0, help="seconds of a window")
    parser.add_argument("--json", type=Path, help="also write every reading here")
    options = parser.parse_args()
    if options.perf_analyzer is None:
        parser.error("perf_analyzer is not on the PATH; see benchmarks/fetch_tools.py")
    print(HEAD, "|---|---|---|---|---|---|---|", sep="\n", flush=True)
    readings = {}
    with tempfile.TemporaryDirectory() as folder, identity_server() as triton:

        def run(command: list[str]) -> Reading:
            return measure(command, options.libraries, triton, options.settle, options.window)

        for text in options.cases:
            case = Case(*pair(text), triton, Path(folder), options.perf_analyzer)
            wanted = {k: v for k, v in commands(case).items() if k == OURS or k in (options.tools or [k])}
            rounds = [play(wanted, number, run) for number in range(options.rounds)]
            readings[text] = [{name: asdict(reading) for name, reading in r.items()} for r in rounds]
            print(*rows(case, rounds), sep="\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps(readings, indent=1))
