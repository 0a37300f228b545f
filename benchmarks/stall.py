"""The stall test in real time: a Triton that is frozen for 1 s in every 10 s, seen by our engine and perf_analyzer.

    python benchmarks/stall.py $(python benchmarks/fetch_tools.py tools) [--seconds 120]

The server's process is stopped (SIGSTOP) and continued on a fixed grid. All loads run at the same time against it, so
they see the same stalls: 50/s, constant and Poisson, by our engine; perf_analyzer with its default load (one request
in flight) and at 50/s. Of requests that come evenly 10 % meet a stall and wait up to 1 s for its end: p95 is 0.50 s and
p99 0.90 s. Poisson arrivals need not be even over a few stalls, so their row also says what these very arrivals, whose
seed is known, must give.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from _triton import METHOD, Triton, identity_request, identity_server

PERIOD_S, STALL_S, RATE = 10.0, 1.0, 50.0
EXPECTED = {"p50": 0.0, "p95": 0.50, "p99": 0.90}

OURS = """
import json, sys, time
from runner.load import plan as p
from runner.load.native import NativeEngine
from runner.results.histogram import Histogram
endpoint, method, kind, rate, seconds, begin, body = sys.argv[1:]
arrivals = (p.Poisson if kind == "poisson" else p.Constant)(rate=float(rate))
plan = p.LoadPlan(
    transport=p.GrpcUnary(endpoint=endpoint, method=method), schedule=p.OpenLoop(arrivals=arrivals), seed=3,
    max_duration_ns=int(float(seconds) * 1e9),
)
time.sleep(max(0, float(begin) - time.time()))
result = NativeEngine().run(plan, [open(body, "rb").read()])
whole = {n: Histogram.merged(getattr(s, n) for s in result.slices) for n in ("latency", "service", "send_lag")}
print(json.dumps({
    "started": result.started_unix_ns / 1e9, "sent": result.sent, "failed": result.failed, "dropped": result.dropped,
    "unfinished": result.unfinished,
    **{f"{n} p{q}": h.quantile(q / 100) / 1e9 for n, h in whole.items() for q in (50, 95, 99)},
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
    for child in psutil.Process().children(recursive=True):
        if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in child.net_connections("tcp")):
            return child
    raise RuntimeError("no child of this process listens on the server's port")


def ours(kind: str, triton: Triton, body: Path, seconds: float, begin: float) -> subprocess.Popen[str]:
    """Our engine, in a process of its own."""
    arguments = [triton.grpc, METHOD, kind, str(RATE), str(seconds), str(begin), str(body)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", OURS, *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )


def analyzer(options: argparse.Namespace, triton: Triton, report: Path, load: list[str]) -> subprocess.Popen[str]:
    """perf_analyzer with windows that make up about the same time; three is the least it takes."""
    window_ms = int(options.seconds / 3 * 1000 / 1.2)
    command = [
        *(options.perf_analyzer, "-m", "identity", "-i", "grpc", "-u", triton.grpc, "--shape", "INPUT0:64"),
        *("-p", str(window_ms), "-s", "999", "-r", "3", "-f", str(report), *load),
    ]
    environment = os.environ | {"LD_LIBRARY_PATH": options.libraries}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)


def read_report(report: Path) -> dict[str, float]:
    """Percentiles in seconds from perf_analyzer's own CSV."""
    with report.open(newline="") as file:
        (row,) = csv.DictReader(file)
    return {f"p{q}": float(row[f"p{q} latency"]) / 1e6 for q in (50, 95, 99)}


def row(load: str, tool: str, what: str, values: dict[str, float], note: str = "") -> str:
    """A row of the Markdown table."""
    return f"| {load} | {tool} | {what} | {' | '.join(f'{values[q]:.3f}' for q in EXPECTED)} | {note} |"


def exact(sent: list[float], stalls: list[tuple[float, float]]) -> dict[str, float]:
    """What requests sent at these times wait for a frozen server."""
    waits = sorted(max((end - at for begin, end in stalls if begin <= at < end), default=0.0) for at in sent)
    return {q: waits[-(-int(q[1:]) * len(waits) // 100) - 1] for q in EXPECTED}


def poisson_times(seconds: float) -> list[float]:
    """The engine's own arrivals of seed 3, from a run on the null transport at 20 times the rate: gaps just scale."""
    from runner.load.engine import Slice
    from runner.load.native import NativeEngine
    from runner.load.plan import LoadPlan, NullTransport, OpenLoop, Poisson

    faster, times = 20, list[float]()

    def note(fresh: Sequence[Slice]) -> None:
        times.extend(faster * s.start_ns / 1e9 for s in fresh for _ in range(s.sent))

    plan = LoadPlan(
        transport=NullTransport(),
        schedule=OpenLoop(arrivals=Poisson(rate=RATE * faster)),
        seed=3,
        max_duration_ns=int(seconds / faster * 1e9),
        slice_ns=1_000_000,
    )
    NativeEngine().run(plan, [b"x"], note)
    return times


def main() -> None:
    """Run everything at once and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--perf-analyzer", required=True, help="path of the binary")
    parser.add_argument("--libraries", default="", help="folder with libcudart.so.12, if not installed")
    parser.add_argument("--seconds", type=float, default=120.0, help="a multiple of 10")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, identity_server() as triton:
        folder = Path(name)
        body = folder / "message"
        body.write_bytes(identity_request())
        begin, stalls = time.time() + 3.0, list[tuple[float, float]]()
        until = begin + options.seconds
        freezer = threading.Thread(target=freeze, args=(server_process(triton), begin, until + 1, stalls))
        loads = {kind: ours(kind, triton, body, options.seconds, begin) for kind in ("constant", "poisson")}
        tools = {
            "1 in flight (its default)": analyzer(options, triton, folder / "closed", []),
            "50/s constant": analyzer(options, triton, folder / "open", ["--request-rate-range", "50"]),
        }
        freezer.start()
        results = {kind: json.loads(process.communicate()[0]) for kind, process in loads.items()}
        freezer.join()
        for process in tools.values():
            process.wait(timeout=120)
        reports = {load: read_report(folder / file) for load, file in zip(tools, ("closed", "open"), strict=True)}
    print("| load | tool | what | p50 s | p95 s | p99 s | |", "|---|---|---|---|---|---|---|", sep="\n")
    print(row("50/s, evenly spread", "closed form", "latency", EXPECTED))
    for kind, result in results.items():
        books = f"{result['sent']} sent, {result['failed'] or 'none'} failed, {result['dropped']} dropped"
        for what in ("latency", "service", "send_lag"):
            values = {q: result[f"{what} {q}"] for q in EXPECTED}
            print(row(f"50/s {kind}", "ours", what, values, books if what == "latency" else ""))
    shifted = [(a - results["poisson"]["started"], b - results["poisson"]["started"]) for a, b in stalls]
    print(row("50/s poisson", "these arrivals", "latency", exact(poisson_times(options.seconds), shifted)))
    for load, values in reports.items():
        print(row(load, "perf_analyzer", "latency", values))
    worst = max(abs(results["constant"][f"latency {q}"] / EXPECTED[q] - 1) for q in ("p95", "p99"))
    print(f"\nconstant: worst deviation from the closed form {worst:.1%}; stalls: {len(stalls)}")


if __name__ == "__main__":
    main()
