"""Client CPU per request and throughput over gRPC: our engine, perf_analyzer and h2load on one Triton, in turns.

    python benchmarks/engine_grpc.py $(python benchmarks/fetch_tools.py tools) [--cases 64:16 600000:16] [--rounds 5]

`_paired.py` says what is measured and how. `fetch_tools.py` says where perf_analyzer comes from; h2load is in Debian's
nghttp2-client.
"""

from __future__ import annotations

import struct
import sys

from _paired import OURS, Case, analyzer_command, main
from _triton import METHOD, identity_request

ENGINE = """
import sys
from runner.load.native import NativeEngine
from runner.load.plan import ClosedLoop, GrpcUnary, LoadPlan
endpoint, method, concurrency, body = sys.argv[1:]
load = ClosedLoop(concurrency=int(concurrency))
plan = LoadPlan(transport=GrpcUnary(endpoint=endpoint, method=method), schedule=load)
NativeEngine().run(plan, [open(body, "rb").read()])
"""

CASES = ["64:1", "64:16", "64:64", "64:256", "150000:16", "600000:16"]


def commands(case: Case) -> dict[str, list[str]]:
    """Every tool on one connection per process, h2load and ours with all requests on it."""
    message, framed = case.folder / "message", case.folder / "framed"
    message.write_bytes(identity_request(case.size))
    framed.write_bytes(b"\0" + struct.pack(">I", message.stat().st_size) + message.read_bytes())
    h2load = [
        *("h2load", "-D", "600", "-c1", "-t1", "-m", str(case.concurrency), "-d", str(framed)),
        *("-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{case.triton.grpc}{METHOD}"),
    ]
    ours = [sys.executable, "-c", ENGINE, case.triton.grpc, METHOD, str(case.concurrency), str(message)]
    return {OURS: ours, "h2load": h2load, **analyzer_command(case, "grpc")}


if __name__ == "__main__":
    main(__doc__, commands, CASES)
