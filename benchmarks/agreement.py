"""Do two tools that share no code agree? Our engine and perf_analyzer on the same EfficientNet server, in turns.

    python benchmarks/agreement.py --perf-analyzer PATH --libraries FOLDER [--points 1x4 8x4] [--rounds 3]

One embedded server runs the built-in scenario `efficientnet`. Both tools get the same JPEGs: ours through the scenario,
perf_analyzer as a JSON file of the very items, padded per batch by us as by the scenario. Within a round the tools run
one after the other. The table gives the medians over the rounds, their ratio, whether the intervals overlap, and the
server's own success count next to ours.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
import os
import statistics
import subprocess
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from runner.load.inputs import build_items
from runner.load.native import NativeEngine
from runner.load.payloads import build_payloads
from runner.measure.orders import Requests, Target
from runner.measure.trial import measure_case
from runner.runtimes.base import RunningServer, ServerSpec
from runner.runtimes.embedded import EmbeddedRuntime
from runner.scenario.case import Case
from runner.scenario.loading import load_scenario
from runner.scenario.matrix import expand
from runner.services.kserve import KServeGrpc
from runner.services.pipeline import Pipeline
from runner.setup.prepare import prepare
from runner.setup.state import StateDirectory

MODEL = "efficientnet"


@dataclass(frozen=True)
class Ours:
    """One of our points."""

    rate: float
    low: float
    high: float
    sent: int
    counted: int
    """Success count of the server for the same trial."""


@dataclass(frozen=True)
class Bench:
    """What every measurement needs."""

    server: RunningServer
    service: KServeGrpc
    images: Path
    folder: Path
    perf_analyzer: str
    libraries: str
    seconds: float


def ours(case: Case, bench: Bench) -> Ours:
    """Measure one case as `scenario run` does."""
    metadata = bench.service.metadata(MODEL)
    items = build_items(case.scenario.workload.input, metadata, {"images": bench.images})
    payloads = build_payloads(bench.service, metadata, items, case.scenario.workload.batch)
    trial = measure_case(
        case,
        Target(
            engine=NativeEngine(),
            endpoint=bench.server.endpoint,
            service=bench.service,
            pipeline=Pipeline((MODEL, *metadata.composing_models)),
        ),
        Requests(payloads.messages),
    )
    if trial.summary is None or trial.counts is None:
        raise SystemExit(f"{case.id}: {trial.failure}")
    rate = trial.summary.inferences_per_s
    low, high = rate.low or rate.value, rate.high or rate.value
    return Ours(rate.value, low, high, trial.counts.ok, trial.server[0].success_count)


def theirs(case: Case, bench: Bench) -> float:
    """Inferences per second of perf_analyzer over its three windows."""
    table = bench.folder / "pa.csv"
    data = bench.folder / "data.json"
    data.write_text(json.dumps({"data": padded_images(bench.images)}))
    batch, concurrency = shape_of(case)
    command = [
        *(bench.perf_analyzer, "-m", MODEL, "-i", "grpc", "-u", bench.server.endpoint.grpc, "--sync"),
        *("-b", str(batch), "--concurrency-range", str(concurrency), "--input-data", str(data)),
        *("-p", str(int(bench.seconds * 1000 / 3)), "-r", "3", "-s", "999", "-f", str(table)),
    ]
    environment = os.environ | {"LD_LIBRARY_PATH": bench.libraries}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    with table.open(newline="") as file:
        (row,) = csv.DictReader(file)
    return float(row["Inferences/Second"])


def padded_images(folder: Path) -> list[dict[str, dict[str, object]]]:
    """Every image as one step, all of one length: perf_analyzer refuses a batch of different shapes."""
    images = [path.read_bytes() for path in sorted(folder.glob("*.jp*g"))]
    longest = max(len(image) for image in images)
    return [
        {"INPUT": {"b64": base64.b64encode(image.ljust(longest, b"\0")).decode(), "shape": [longest]}}
        for image in images
    ]


def shape_of(case: Case) -> tuple[int, int]:
    """Batch and concurrency."""
    return int(case.parameters["workload.batch"]), int(case.parameters["load.concurrency"])


def row(case: Case, rounds: list[tuple[Ours, float]]) -> str:
    """One line of the Markdown table."""
    mine = [round_[0] for round_ in rounds]
    rate, other = (statistics.median(values) for values in ([m.rate for m in mine], [r[1] for r in rounds]))
    ratio = statistics.median(m.rate / pa for m, pa in rounds)
    low, high = min(m.low for m in mine), max(m.high for m in mine)
    within = "yes" if low <= other <= high else "no"
    counts = f"{sum(m.counted for m in mine)} / {sum(m.sent for m in mine)}"
    name = " × ".join(str(part) for part in shape_of(case))
    return f"| {name} | {rate:.1f} ({low:.1f}–{high:.1f}) | {other:.1f} | {ratio:.3f} | {within} | {counts} |"


def main() -> None:
    """Measure the points and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--perf-analyzer", required=True)
    parser.add_argument("--libraries", required=True, help="folder with libcudart.so.12")
    parser.add_argument("--points", nargs="+", default=["1x4", "8x4"], metavar="BATCHxCONCURRENCY")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    loaded = load_scenario("efficientnet", target="cpu")
    wanted = {tuple(int(part) for part in point.split("x")) for point in options.points}
    cases = [c for c in expand(loaded) if shape_of(c) in wanted]
    prepared = prepare(loaded.scenario, StateDirectory.for_scenario(loaded.scenario.name, loaded.source))
    with tempfile.TemporaryDirectory() as folder:
        spec = ServerSpec(
            repository=prepared.repository, load=(MODEL,), canary=MODEL, run_id="agreement", log=Path(folder) / "log"
        )
        with EmbeddedRuntime().start(spec) as server, closing(KServeGrpc(server.endpoint.grpc)) as service:
            bench = Bench(
                server,
                service,
                prepared.artifacts["images"].path,
                Path(folder),
                options.perf_analyzer,
                options.libraries,
                options.seconds,
            )
            print(
                "| batch × concurrency | ours, inferences/s | perf_analyzer | ratio | in our interval | server / us |"
            )
            print("|---|---|---|---|---|---|")
            for case in cases:
                rounds = [(ours(case, bench), theirs(case, bench)) for _ in range(options.rounds)]
                print(row(case, rounds), flush=True)


if __name__ == "__main__":
    main()
