"""Open loops at 1k, 5k and 10k requests/s: how exactly the rate is offered, and how late the sends are.

    python benchmarks/open_loop.py $(python benchmarks/fetch_tools.py tools) [--rates 1000 5000 10000] [--seconds 20]

Ours runs against an instant server (`engine/examples/instant.rs`, which answers every gRPC call at once) and, like
perf_analyzer, against the identity model of the embedded Triton; perf_analyzer needs a server that speaks the whole
protocol, so only that pair compares. The tools take turns at each rate. `offered` is what was sent over what was asked
for. Send lag is the time from a request's place in the schedule to its first byte: ours records it; of perf_analyzer's
it is the difference of the timestamps that its own profile export holds to its constant schedule, which starts with
its first request.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from _triton import METHOD, identity_request, identity_server

ROOT = Path(__file__).parents[1]
OURS = """
import json, sys
from runner.load import plan as p
from runner.load.native import NativeEngine
from runner.results.histogram import Histogram
endpoint, method, rate, seconds, body = sys.argv[1:]
load = p.OpenLoop(arrivals=p.Constant(rate=float(rate)), max_in_flight=100_000)
transport = p.GrpcUnary(endpoint=endpoint, method=method)
plan = p.LoadPlan(transport=transport, schedule=load, max_duration_ns=int(float(seconds) * 1e9))
result = NativeEngine().run(plan, [open(body, "rb").read()])
sent = sum(s.sent for s in result.slices if s.end_ns <= float(seconds) * 1e9)
lag = Histogram.merged(s.send_lag for s in result.slices)
print(json.dumps([sent / float(seconds), lag.quantile(0.5) / 1e3, lag.quantile(0.99) / 1e3, result.dropped]))
"""


@dataclass(frozen=True)
class Reading:
    """One tool at one rate; lags in microseconds."""

    offered_per_s: float
    lag_p50_us: float
    lag_p99_us: float
    dropped: int = 0


def ours(endpoint: str, rate: int, seconds: float, body: Path) -> Reading:
    """Our engine, in a process of its own."""
    arguments = [endpoint, METHOD, str(rate), str(seconds), str(body)]
    command = [sys.executable, "-c", OURS, *arguments]
    return Reading(*json.loads(subprocess.check_output(command, env=os.environ | {"PYTHONPATH": str(ROOT)})))


def analyzer(options: argparse.Namespace, endpoint: str, rate: int, folder: Path) -> Reading:
    """perf_analyzer, one window of the same number of requests, sends from its own export."""
    export = folder / f"export-{rate}.json"
    command = [
        *(options.perf_analyzer, "-m", "identity", "-i", "grpc", "-u", endpoint, "--shape", "INPUT0:64", "--async"),
        *("--request-rate-range", str(rate), "--request-count", str(int(rate * options.seconds))),
        *("--profile-export-file", str(export)),
    ]
    environment = os.environ | {"LD_LIBRARY_PATH": options.libraries}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=20 * options.seconds)
    (experiment,) = json.loads(export.read_text())["experiments"]
    sent = sorted(request["timestamp"] for request in experiment["requests"])
    lags = sorted((at - sent[0]) / 1e3 - n * 1e6 / rate for n, at in enumerate(sent))
    in_time = sum(at - sent[0] < options.seconds * 1e9 for at in sent)
    return Reading(in_time / options.seconds, lags[len(lags) // 2], lags[len(lags) * 99 // 100])


@contextlib.contextmanager
def instant_server() -> Iterator[str]:
    """The instant server of the engine's examples; its endpoint."""
    build = ["cargo", "build", "--release", "--quiet", "--example", "instant"]
    subprocess.run(build, cwd=ROOT / "engine", check=True)
    with subprocess.Popen(
        [ROOT / "engine/target/release/examples/instant"], stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            yield child.stdout.readline().strip()
        finally:
            child.kill()


def row(rate: int, server: str, tool: str, reading: Reading) -> str:
    """A row of the Markdown table."""
    share = reading.offered_per_s / rate - 1
    cells = [f"{reading.offered_per_s:,.1f}", f"{share:+.3%}", f"{reading.lag_p50_us:,.0f}"]
    return f"| {rate:,} | {server} | {tool} | {' | '.join(cells)} | {reading.lag_p99_us:,.0f} | {reading.dropped} |"


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--perf-analyzer", required=True, help="path of the binary")
    parser.add_argument("--libraries", default="", help="folder with libcudart.so.12, if not installed")
    parser.add_argument("--rates", type=int, nargs="+", default=[1000, 5000, 10_000])
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    print("| asked/s | server | tool | offered/s | off by | lag p50 µs | lag p99 µs | dropped |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        body = folder / "message"
        body.write_bytes(identity_request())
        with instant_server() as endpoint:
            for rate in options.rates:
                print(row(rate, "instant", "ours", ours(endpoint, rate, options.seconds, body)), flush=True)
        with identity_server() as triton:
            for rate in options.rates:
                print(row(rate, "Triton", "ours", ours(triton.grpc, rate, options.seconds, body)), flush=True)
                print(row(rate, "Triton", "perf_analyzer", analyzer(options, triton.grpc, rate, folder)), flush=True)


if __name__ == "__main__":
    main()
