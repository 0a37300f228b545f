"""Client CPU per request and throughput over HTTP/1.1: our engine, perf_analyzer and wrk on one Triton, interleaved.

    python benchmarks/engine_http.py --perf-analyzer PATH [--concurrency 1 16 64] [--rounds 5] [--size 64]

Measured as in `engine_grpc.py`: steady state only, CPU time of the tool's process over the server's own count, ratios
of neighbours in time. Every tool keeps one connection per request in flight. wrk is in Debian.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from _triton import Triton, identity_server
from engine_grpc import Tools, measure, table

from runner.services.kserve_http import KServeHttp

OURS = """
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


@dataclass(frozen=True)
class HttpTools(Tools):
    """The same tools over HTTP, with wrk in the place of h2load."""

    def commands(self, triton: Triton, concurrency: int) -> dict[str, list[str]]:
        """Command lines that keep `concurrency` requests in flight for longer than any window."""
        import numpy as np

        data = (np.arange(self.size) % 251).astype(np.uint8).reshape(1, -1)
        message = KServeHttp(triton.http).encode("identity", {"INPUT0": data})
        head, _, body = message.partition(b"\r\n\r\n")
        (self.folder / "message").write_bytes(message)
        (self.folder / "body").write_bytes(body)
        headers = dict(line.split(": ") for line in head.decode().splitlines())
        length = headers["Inference-Header-Content-Length"]
        script = self.folder / "post.lua"
        script.write_text(SCRIPT.format(body=self.folder / "body", head_length=length))
        analyzer = [
            *(self.perf_analyzer, "-m", "identity", "-i", "http", "-u", triton.http, "--shape", f"INPUT0:{self.size}"),
            *("--concurrency-range", str(concurrency), "-p", "600000"),
        ]
        ours = [sys.executable, "-c", OURS, triton.http, PATH, str(concurrency), str(self.folder / "message")]
        wrk = ["wrk", "-t1", f"-c{concurrency}", "-d600", "-s", str(script), f"http://{triton.http}{PATH}"]
        return {"ours": ours, "wrk": wrk, "pa sync": [*analyzer, "--sync"], "pa async": [*analyzer, "--async"]}


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
    options = parser.parse_args()
    if options.perf_analyzer is None:
        parser.error("perf_analyzer is not on the PATH; see benchmarks/fetch_tools.py")
    print("| concurrency | tool | requests/s | client CPU µs/request | CPU ÷ ours | our rate ÷ its |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, identity_server() as triton:
        tools = HttpTools(options.perf_analyzer, options.libraries, options.size, Path(folder))
        for concurrency in options.concurrency:
            commands = tools.commands(triton, concurrency)
            rounds = [
                {name: measure(c, tools, triton, options.settle, options.window) for name, c in commands.items()}
                for _ in range(options.rounds)
            ]
            print(*table(rounds, concurrency), sep="\n", flush=True)


if __name__ == "__main__":
    main()
