"""The stall test in real time: a Triton that is frozen for 1 s in every 10 s, seen by our engine and perf_analyzer.

    python benchmarks/stall.py $(python benchmarks/fetch_tools.py tools) [--seconds 120] [--rounds 3]

The server's process is stopped (SIGSTOP) and continued on a fixed grid. All loads of a round run at the same time
against it, so they see the same stalls: 50/s, constant and Poisson with another seed each round, by our engine;
perf_analyzer with its default load (one request in flight) and at 50/s. Our rows are of all rounds' requests together,
perf_analyzer's are medians of its rounds' percentiles.

Of requests that come evenly 10 % meet a stall and wait up to 1 s for its end: p95 is 0.50 s and p99 0.90 s. Arrivals
need not be even over a few stalls, and a busy machine stops and continues the process a little late, so further rows
say what the very arrivals, whose seeds are known, wait for the stalls as they were: without the time that the server
takes to work off what has piled up.
"""

from __future__ import annotations

import argparse
import csv
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from _paired import add_tool_options, environment
from _triton import METHOD, Triton, identity_request, identity_server

from runner.results.histogram import Histogram

PERIOD_S, STALL_S, RATE = 10.0, 1.0, 50.0
EXPECTED = {"p50": 0.0, "p95": 0.50, "p99": 0.90}

PARTS = ("latency", "service", "send_lag")
KINDS = ("constant", "poisson")
TOOLS = {"1 in flight (its default)": list[str](), "50/s constant": ["--request-rate-range", "50"]}
OURS = """
import json, sys, time
from runner.load import plan as p
from runner.load.native import NativeEngine
from runner.results.histogram import Histogram
endpoint, method, kind, rate, seconds, seed, begin, body, *parts = sys.argv[1:]
arrivals = (p.Poisson if kind == "poisson" else p.Constant)(rate=float(rate))
plan = p.LoadPlan(
    transport=p.GrpcUnary(endpoint=endpoint, method=method), schedule=p.OpenLoop(arrivals=arrivals), seed=int(seed),
    max_duration_ns=int(float(seconds) * 1e9),
)
time.sleep(max(0, float(begin) - time.time()))
result = NativeEngine().run(plan, [open(body, "rb").read()])
print(json.dumps({
    "started": result.started_unix_ns / 1e9, "sent": result.sent, "failed": sum(result.failed.values()),
    "dropped": result.dropped, "unfinished": result.unfinished,
    **{n: Histogram.merged(getattr(s, n) for s in result.slices).to_pairs().hex() for n in parts},
}))
"""


def freeze(process: psutil.Process, begin: float, until: float, stalls: list[tuple[float, float]]) -> None:
    """Stop the process for the last second of every period after `begin`; notes what came of it."""
    number = 0
    while (at := begin + (number + 1) * PERIOD_S - STALL_S) < until:
        time.sleep(max(0.0, at - time.time()))
        _signal(process, signal.SIGSTOP)
        stopped = time.time()
        time.sleep(max(0.0, at + STALL_S - time.time()))
        _signal(process, signal.SIGCONT)
        stalls.append((stopped, time.time()))
        number += 1


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    for each in (process, *process.children(recursive=True)):
        each.send_signal(number)


def server_process(triton: Triton) -> psutil.Process:
    """The child of this process that listens on the server's port."""
    port = int(triton.grpc.rpartition(":")[2])
    # The kernel's list of sockets misses some while others come and go.
    for _ in range(50):
        for child in psutil.Process().children(recursive=True):
            if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in child.net_connections("tcp")):
                return child
        time.sleep(0.1)
    raise RuntimeError("no child of this process listens on the server's port")


def ours(kind: str, triton: Triton, body: Path, seconds: float, seed: int, begin: float) -> subprocess.Popen[str]:
    """Our engine, in a process of its own."""
    arguments = [triton.grpc, METHOD, kind, str(RATE), str(seconds), str(seed), str(begin), str(body), *PARTS]
    command = [sys.executable, "-c", OURS, *arguments]
    return subprocess.Popen(command, env=environment(""), stdout=subprocess.PIPE, text=True)


def analyzer(options: argparse.Namespace, triton: Triton, report: Path, load: list[str]) -> subprocess.Popen[str]:
    """perf_analyzer with windows that make up about the same time; three is the least it takes."""
    window_ms = int(options.seconds / 3 * 1000 / 1.2)
    command = [
        *(options.perf_analyzer, "-m", "identity", "-i", "grpc", "-u", triton.grpc, "--shape", "INPUT0:64"),
        *("-p", str(window_ms), "-s", "999", "-r", "3", "-f", str(report), *load),
    ]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment(options.libraries), stdout=quiet, stderr=quiet, text=True)


def read_report(report: Path) -> dict[str, float]:
    """Percentiles in seconds from perf_analyzer's own CSV."""
    with report.open(newline="") as file:
        (row,) = csv.DictReader(file)
    return {f"p{q}": float(row[f"p{q} latency"]) / 1e6 for q in (50, 95, 99)}


def row(load: str, tool: str, what: str, values: dict[str, float], note: str = "") -> str:
    """A row of the Markdown table."""
    return f"| {load} | {tool} | {what} | {' | '.join(f'{values[q]:.3f}' for q in EXPECTED)} | {note} |"


def waits(sent: list[float], stalls: list[tuple[float, float]]) -> list[float]:
    """What requests sent at these times wait for a frozen server."""
    return [max((end - at for begin, end in stalls if begin <= at < end), default=0.0) for at in sent]


def quantiles(values: list[float]) -> dict[str, float]:
    """As the histograms give them: the ceil(q n)-th smallest."""
    ordered = sorted(values)
    return {q: ordered[-(-int(q[1:]) * len(ordered) // 100) - 1] for q in EXPECTED}


def arrivals(kind: str, seconds: float, seed: int) -> list[float]:
    """The engine's own send times, from a run on the null transport at 20 times the rate: gaps just scale."""
    from runner.load.engine import Slice
    from runner.load.native import NativeEngine
    from runner.load.plan import Constant, LoadPlan, NullTransport, OpenLoop, Poisson

    faster, times = 20, list[float]()

    def note(fresh: Sequence[Slice]) -> None:
        times.extend(faster * s.start_ns / 1e9 for s in fresh for _ in range(s.sent))

    plan = LoadPlan(
        transport=NullTransport(),
        schedule=OpenLoop(arrivals=(Poisson if kind == "poisson" else Constant)(rate=RATE * faster)),
        seed=seed,
        max_duration_ns=int(seconds / faster * 1e9),
        slice_ns=1_000_000,
    )
    NativeEngine().run(plan, [b"x"], note)
    return times


@dataclass(frozen=True)
class Round:
    """What the loads of one round said, ours by kind and perf_analyzer's by load."""

    ours: dict[str, dict[str, Any]]
    waits: dict[str, list[float]]
    reports: dict[str, dict[str, float]]


def play(options: argparse.Namespace, triton: Triton, folder: Path, seed: int) -> Round:
    """All loads at once, and the stalls."""
    body = folder / "message"
    body.write_bytes(identity_request())
    begin, stalls = time.time() + 3.0, list[tuple[float, float]]()
    until = begin + options.seconds + 1
    freezer = threading.Thread(target=freeze, args=(server_process(triton), begin, until, stalls))
    loads = {kind: ours(kind, triton, body, options.seconds, seed, begin) for kind in KINDS}
    tools = {load: analyzer(options, triton, folder / f"report{n}", TOOLS[load]) for n, load in enumerate(TOOLS)}
    freezer.start()
    results = {kind: json.loads(process.communicate()[0]) for kind, process in loads.items()}
    freezer.join()
    for process in tools.values():
        process.wait(timeout=120)
    exact = {}
    for kind, result in results.items():
        shifted = [(start - result["started"], end - result["started"]) for start, end in stalls]
        exact[kind] = waits(arrivals(kind, options.seconds, seed), shifted)
    return Round(results, exact, {load: read_report(folder / f"report{n}") for n, load in enumerate(TOOLS)})


def our_rows(kind: str, rounds: list[Round]) -> Iterator[str]:
    """All rounds' requests together, and what they would have waited for these stalls."""
    results = [r.ours[kind] for r in rounds]
    sent, failed, dropped = (sum(result[what] for result in results) for what in ("sent", "failed", "dropped"))
    for part in PARTS:
        whole = Histogram.merged(Histogram.from_pairs(bytes.fromhex(result[part])) for result in results)
        values = {q: whole.quantile(int(q[1:]) / 100) / 1e9 for q in EXPECTED}
        note = f"{sent} sent, {failed} failed, {dropped} dropped" if part == "latency" else ""
        yield row(f"50/s {kind}", "ours", part, values, note)
    yield row(f"50/s {kind}", "these arrivals", "latency", quantiles([wait for r in rounds for wait in r.waits[kind]]))


def main() -> None:
    """Play the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_tool_options(parser)
    parser.add_argument("--seconds", type=float, default=120.0, help="a multiple of 10")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, identity_server() as triton:
        rounds = [play(options, triton, Path(name), seed=3 + number) for number in range(options.rounds)]
    print("| load | tool | what | p50 s | p95 s | p99 s | |", "|---|---|---|---|---|---|---|", sep="\n")
    print(row("50/s, evenly spread", "closed form", "latency", EXPECTED))
    for kind in KINDS:
        print(*our_rows(kind, rounds), sep="\n")
    for load in TOOLS:
        values = {q: statistics.median(r.reports[load][q] for r in rounds) for q in EXPECTED}
        print(row(load, "perf_analyzer", "latency", values))


if __name__ == "__main__":
    main()
