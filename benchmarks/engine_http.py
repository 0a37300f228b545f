"""Client CPU per request and throughput over HTTP/1.1: our engine, perf_analyzer and wrk on one Triton, in turns.

    python benchmarks/engine_http.py $(python benchmarks/fetch_tools.py tools) [--cases 64:16 600000:16] [--rounds 5]

`_paired.py` says what is measured and how. Every tool keeps one connection per request in flight. wrk is in Debian.
"""

from __future__ import annotations

import sys

import numpy as np
from _paired import OURS, Case, analyzer_command, main

from runner.services.kserve_http import KServeHttp

ENGINE = """
import sys
from runner.load.native import NativeEngine
from runner.load.plan import ClosedLoop, Http, LoadPlan
endpoint, path, concurrency, message = sys.argv[1:]
plan = LoadPlan(transport=Http(endpoint=endpoint, path=path), schedule=ClosedLoop(concurrency=int(concurrency)))
NativeEngine().run(plan, [open(message, "rb").read()])
"""

SCRIPT = """
wrk.method = "POST"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.headers["Inference-Header-Content-Length"] = "{head_length}"
"""

PATH = "/v2/models/identity/infer"
CASES = ["64:1", "64:16", "64:64", "600000:1", "600000:16", "600000:64"]


def commands(case: Case) -> dict[str, list[str]]:
    """Every tool with the same head and the same body."""
    data = (np.arange(case.size) % 251).astype(np.uint8).reshape(1, -1)
    encoded = KServeHttp(case.triton.http).encode("identity", {"INPUT0": data})
    head, _, content = encoded.partition(b"\r\n\r\n")
    message, body, script = case.folder / "message", case.folder / "body", case.folder / "post.lua"
    message.write_bytes(encoded)
    body.write_bytes(content)
    headers = dict(line.split(": ") for line in head.decode().splitlines())
    script.write_text(SCRIPT.format(body=body, head_length=headers["Inference-Header-Content-Length"]))
    ours = [sys.executable, "-c", ENGINE, case.triton.http, PATH, str(case.concurrency), str(message)]
    url = f"http://{case.triton.http}{PATH}"
    wrk = ["wrk", "-t1", f"-c{case.concurrency}", "-d600", "-s", str(script), url]
    return {OURS: ours, "wrk": wrk, **analyzer_command(case, "http")}


if __name__ == "__main__":
    main(__doc__, commands, CASES)
