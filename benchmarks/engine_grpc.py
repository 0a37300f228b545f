"""Client CPU per request and throughput: our engine, perf_analyzer and h2load on one real Triton, interleaved.

    python benchmarks/engine_grpc.py --perf-analyzer PATH [--concurrency 1 16 64] [--rounds 5] [--size 64]

Every tool runs in a process of its own. Once it is in its stride, the CPU time of the process (user + system, from
/proc) and the server's own success count are read twice, `--window` seconds apart: start-up, warm-up and reporting are
outside, and all tools are judged by the same two clocks. Within a round the tools run one after the other, so a ratio
compares neighbours in time; the table gives medians of the rounds' ratios. `fetch_tools.py` says where
perf_analyzer comes from; h2load is in Debian's nghttp2-client.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from _triton import METHOD, Triton, identity_request, identity_server, success_count

OURS = """
import sys
from runner.load.native import NativeEngine
from runner.load.plan import ClosedLoop, GrpcUnary, LoadPlan
endpoint, method, concurrency, body = sys.argv[1:]
load = ClosedLoop(concurrency=int(concurrency))
plan = LoadPlan(transport=GrpcUnary(endpoint=endpoint, method=method), schedule=load)
NativeEngine().run(plan, [open(body, "rb").read()])
"""


@dataclass(frozen=True)
class Reading:
    """What one tool did in one window."""

    requests_per_s: float
    cpu_us: float
    """Client CPU time per request."""


@dataclass(frozen=True)
class Tools:
    """How to start each tool."""

    perf_analyzer: str
    libraries: str
    size: int
    folder: Path

    def commands(self, triton: Triton, concurrency: int) -> dict[str, list[str]]:
        """Command lines that keep `concurrency` requests in flight for longer than any window."""
        message = self.folder / "message"
        message.write_bytes(identity_request(self.size))
        framed = self.folder / "framed"
        framed.write_bytes(b"\0" + struct.pack(">I", message.stat().st_size) + message.read_bytes())
        analyzer = [
            *(self.perf_analyzer, "-m", "identity", "-i", "grpc", "-u", triton.grpc, "--shape", f"INPUT0:{self.size}"),
            *("--concurrency-range", str(concurrency), "-p", "600000"),
        ]
        return {
            "ours": [sys.executable, "-c", OURS, triton.grpc, METHOD, str(concurrency), str(message)],
            "h2load": [
                *("h2load", "-D", "600", "-c1", "-t1", "-m", str(concurrency), "-d", str(framed)),
                *("-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{triton.grpc}{METHOD}"),
            ],
            "pa sync": [*analyzer, "--sync"],
            "pa async": [*analyzer, "--async"],
        }


def measure(command: Sequence[str], tools: Tools, triton: Triton, settle_s: float, window_s: float) -> Reading:
    """Run one tool for a window and stop it."""
    environment = os.environ | {"LD_LIBRARY_PATH": tools.libraries, "PYTHONPATH": str(Path(__file__).parents[1])}
    if command[0] != tools.perf_analyzer:
        environment.pop("LD_LIBRARY_PATH")
    process = psutil.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for_load(triton)
        time.sleep(settle_s)
        begun, cpu, served = time.monotonic(), _cpu_s(process), success_count(triton)
        time.sleep(window_s)
        seconds, cpu, served = time.monotonic() - begun, _cpu_s(process) - cpu, success_count(triton) - served
    finally:
        process.kill()
        process.wait()
    return Reading(served / seconds, cpu / served * 1e6)


def _cpu_s(process: psutil.Popen) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _wait_for_load(triton: Triton, timeout_s: float = 15) -> None:
    before, deadline = success_count(triton), time.monotonic() + timeout_s
    while success_count(triton) < before + 100:
        if time.monotonic() > deadline:
            raise RuntimeError("the tool sends no requests")
        time.sleep(0.05)


def table(rounds: list[dict[str, Reading]], concurrency: int) -> list[str]:
    """Rows of the Markdown table for one concurrency; ratios are medians over the rounds."""
    rows = []
    for tool in rounds[0]:
        rate = statistics.median(r[tool].requests_per_s for r in rounds)
        cpu = statistics.median(r[tool].cpu_us for r in rounds)
        cpu_ratio = statistics.median(r[tool].cpu_us / r["ours"].cpu_us for r in rounds)
        rate_ratio = statistics.median(r["ours"].requests_per_s / r[tool].requests_per_s for r in rounds)
        rows.append(f"| {concurrency} | {tool} | {rate:,.0f} | {cpu:.1f} | {cpu_ratio:.2f} | {rate_ratio:.2f} |")
    return rows


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--perf-analyzer", default=shutil.which("perf_analyzer"), help="path of the binary")
    parser.add_argument("--libraries", default="", help="folder with libcudart.so.12, if not installed")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=64, help="bytes in the input tensor")
    parser.add_argument("--settle", type=float, default=1.0, help="seconds before a window")
    parser.add_argument("--window", type=float, default=3.0, help="seconds of a window")
    parser.add_argument("--json", type=Path, help="also write every reading here")
    options = parser.parse_args()
    if options.perf_analyzer is None:
        parser.error("perf_analyzer is not on the PATH; see benchmarks/fetch_tools.py")
    print("| concurrency | tool | requests/s | client CPU µs/request | CPU ÷ ours | our rate ÷ its |")
    print("|---|---|---|---|---|---|")
    readings = {}
    with tempfile.TemporaryDirectory() as folder, identity_server() as triton:
        tools = Tools(options.perf_analyzer, options.libraries, options.size, Path(folder))
        for concurrency in options.concurrency:
            commands = tools.commands(triton, concurrency)
            rounds = [
                {name: measure(c, tools, triton, options.settle, options.window) for name, c in commands.items()}
                for _ in range(options.rounds)
            ]
            readings[concurrency] = [{name: vars(reading) for name, reading in r.items()} for r in rounds]
            print(*table(rounds, concurrency), sep="\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps(readings, indent=1))


if __name__ == "__main__":
    main()
