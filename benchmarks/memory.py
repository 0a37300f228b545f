"""Peak memory of a measured load over its length: flat, because what is kept does not grow with the requests.

    python benchmarks/memory.py [--cases 64:10000 64:1000000 600000:10000] [--concurrency 64]

Each load runs in a process of its own, through the same callback, warm-up and summary as a point of a scenario, against
the identity model of the embedded Triton. The peak of the resident set is the kernel's own (VmHWM of the process).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from _paired import environment, pair, size_name
from _triton import METHOD, Triton, identity_request, identity_server

CASES = [f"{size}:{requests}" for size in (64, 150_000, 600_000) for requests in (10_000, 100_000)] + ["64:1000000"]

LOAD = """
import json, sys
import scipy.special
from dataclasses import replace
from runner.load.native import NativeEngine
from runner.load.plan import ClosedLoop, GrpcUnary, LoadPlan
from runner.measure.settings import EXPLORE
from runner.measure.summary import summarise
from runner.measure.watch import Watch

def peak_mb():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) / 1000

endpoint, method, requests, concurrency, body = sys.argv[1:]
settings = replace(EXPLORE, requests=int(requests))
payload, transport = open(body, "rb").read(), GrpcUnary(endpoint=endpoint, method=method)
plan = LoadPlan(transport=transport, schedule=ClosedLoop(concurrency=int(concurrency)), max_requests=int(requests))
watch = Watch(settings, int(concurrency), 1, lambda: None)
before = peak_mb()
result = watch.whole(NativeEngine().run(plan, [payload], watch))
loaded = peak_mb()
found = summarise(result.slices, watch.window(result), batch=1, workers=result.workers, settings=settings)
print(json.dumps({
    "before": before, "load": loaded, "summary": peak_mb(), "slices": len(result.slices), "ok": result.ok,
    "seconds": result.elapsed_ns / 1e9,
}))
"""


def run(triton: Triton, requests: int, concurrency: int, body: Path) -> dict[str, float]:
    """One load in a process of its own."""
    command = [sys.executable, "-c", LOAD, triton.grpc, METHOD, str(requests), str(concurrency), str(body)]
    found: dict[str, float] = json.loads(subprocess.check_output(command, env=environment(""), text=True))
    return found


def main() -> None:
    """Run every length and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="BYTES:REQUESTS", help=" ".join(CASES))
    parser.add_argument("--concurrency", type=int, default=64)
    options = parser.parse_args()
    print("| tensor | requests | s | slices held | peak before, MB | peak of the load, MB | with its summary, MB |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, identity_server() as triton:
        body = Path(folder) / "message"
        for text in options.cases:
            size, requests = pair(text)
            body.write_bytes(identity_request(size))
            found = run(triton, requests, options.concurrency, body)
            cells = [size_name(size), f"{found['ok']:,}", f"{found['seconds']:.1f}", f"{found['slices']}"]
            cells += [f"{found[name]:.1f}" for name in ("before", "load", "summary")]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
