"""Open loops: how exactly a rate is offered and how late the sends are, by our engine and perf_analyzer in turns.

    python benchmarks/open_loop.py $(python benchmarks/fetch_tools.py tools) [--rates 1000 5000 10000] [--rounds 3]

Both run against one instant server (`engine/examples/instant.rs`), which answers every call at once with what a real
Triton answered; the lowest rate also against that Triton with its identity model. `offered` is what was sent over what
was asked for: the medians over the rounds, and the worst round. Send lag is the time from a request's place in the
schedule to its first byte: ours records it. perf_analyzer's export holds when it began to make each request, not when
its bytes left, and not where its schedule began: as early as it can have, with no request sent too early, which is the
reading that flatters it most.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from _paired import ROOT, add_tool_options, environment
from _triton import METHOD, identity_request, identity_server

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

ASKED_BY_PERF_ANALYZER = ("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig")
HEAD = "| asked/s | server | tool | offered/s | worst round | lag p50 µs | lag p99 µs (range) | dropped |"


@dataclass(frozen=True)
class Reading:
    """One run of one tool; lags in microseconds."""

    offered_per_s: float
    lag_p50_us: float
    lag_p99_us: float
    dropped: int = 0


def ours(endpoint: str, rate: int, seconds: float, body: Path) -> Reading:
    """Our engine, in a process of its own."""
    command = [sys.executable, "-c", OURS, endpoint, METHOD, str(rate), str(seconds), str(body)]
    return Reading(*json.loads(subprocess.check_output(command, env=environment(""))))


def analyzer(options: argparse.Namespace, endpoint: str, rate: int, folder: Path) -> Reading:
    """perf_analyzer, one window of the same number of requests, sends from its own export."""
    export = folder / "export.json"
    export.unlink(missing_ok=True)
    command = [
        *(options.perf_analyzer, "-m", "identity", "-i", "grpc", "-u", endpoint, "--shape", "INPUT0:64", "--async"),
        *("--request-rate-range", str(rate), "--request-count", str(int(rate * options.seconds))),
        *("--profile-export-file", str(export)),
    ]
    quiet, timeout_s = subprocess.DEVNULL, 60 + 5 * options.seconds
    subprocess.run(command, env=environment(options.libraries), check=True, stdout=quiet, timeout=timeout_s)
    (experiment,) = json.loads(export.read_text())["experiments"]
    sent = sorted(request["timestamp"] for request in experiment["requests"])
    behind_first = sorted((at - sent[0]) / 1e3 - n * 1e6 / rate for n, at in enumerate(sent))
    # Its first request may have been late itself; but none can have been early.
    lags = [lag - behind_first[0] for lag in behind_first]
    in_time = sum(at - sent[0] < options.seconds * 1e9 for at in sent)
    return Reading(in_time / options.seconds, lags[len(lags) // 2], lags[len(lags) * 99 // 100])


def record_answers(endpoint: str, folder: Path, body: bytes) -> None:
    """What a Triton says to whatever perf_analyzer asks, each in a file."""
    import grpc
    from tritonclient.grpc import service_pb2 as pb

    model = pb.ModelConfigRequest(name="identity").SerializeToString()
    requests = {method: model if method.startswith("Model") else b"" for method in ASKED_BY_PERF_ANALYZER}
    service = METHOD.rpartition("/")[0]
    with grpc.insecure_channel(endpoint) as channel:

        def record(method: str, request: bytes, file: str) -> None:
            call = channel.unary_unary(f"{service}/{method}", request_serializer=None, response_deserializer=None)
            (folder / file).write_bytes(call(request))

        for method, request in requests.items():
            record(method, request, method)
        # It gives up where the server's counts do not grow.
        for turn in range(100):
            record("ModelInfer", body, "ModelInfer")
            record("ModelStatistics", model, f"ModelStatistics.{turn:02}")


@contextlib.contextmanager
def instant_server(answers: Path) -> Iterator[str]:
    """The instant server of the engine's examples; its endpoint."""
    build = ["cargo", "build", "--release", "--locked", "--quiet", "--example", "instant"]
    subprocess.run(build, cwd=ROOT / "engine", check=True)
    command = [ROOT / "engine/target/release/examples/instant", answers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield child.stdout.readline().strip()
        finally:
            child.kill()


def compare(rate: int, server: str, rounds: int, tools: dict[str, Callable[[], Reading]]) -> list[str]:
    """Rows of the Markdown table for one rate; who was first in one round is last in the next."""
    names = list(tools)
    readings: dict[str, list[Reading]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            readings[name].append(tools[name]())
    return [f"| {rate:,} | {server} | {name} | {_cells(rate, readings[name])} |" for name in names]


def _cells(rate: int, readings: list[Reading]) -> str:
    offered = [reading.offered_per_s for reading in readings]
    worst = max((each / rate - 1 for each in offered), key=abs)
    p50 = statistics.median(reading.lag_p50_us for reading in readings)
    p99 = [reading.lag_p99_us for reading in readings]
    lag = f"{p50:,.0f} | {statistics.median(p99):,.0f} ({min(p99):,.0f}–{max(p99):,.0f})"
    return f"{statistics.median(offered):,.1f} | {worst:+.3%} | {lag} | {sum(r.dropped for r in readings)}"


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_tool_options(parser)
    parser.add_argument("--rates", type=int, nargs="+", default=[1000, 5000, 10_000])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(HEAD, "|---|---|---|---|---|---|---|---|", sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as name, identity_server() as triton:
        folder = Path(name)
        body, answers = folder / "message", folder / "answers"
        body.write_bytes(identity_request())
        answers.mkdir()
        record_answers(triton.grpc, answers, body.read_bytes())

        def tools(endpoint: str, rate: int) -> dict[str, Callable[[], Reading]]:
            return {
                "ours": lambda: ours(endpoint, rate, options.seconds, body),
                "perf_analyzer": lambda: analyzer(options, endpoint, rate, folder),
            }

        with instant_server(answers) as instant:
            for rate in options.rates:
                print(*compare(rate, "instant", options.rounds, tools(instant, rate)), sep="\n", flush=True)
        lowest = min(options.rates)
        print(*compare(lowest, "Triton", options.rounds, tools(triton.grpc, lowest)), sep="\n", flush=True)


if __name__ == "__main__":
    main()
