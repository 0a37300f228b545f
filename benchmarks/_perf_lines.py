"""Command lines of perf_analyzer, the files they name, and the models they ask for."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

MODELS = Path(__file__).parents[1] / "tests/integration/resources/models"
LOADED = ("sleep", "chain", "identity_bytes", "accumulate")
"""`chain` brings `identity` and `sleepy`."""

_SLEEP = "-m sleep --shape INPUT0:4"
LINES = {
    "sweep, HTTP": f"{_SLEEP} --concurrency-range 1:4",
    "gRPC, async": f"{_SLEEP} -i grpc -a --concurrency-range 4",
    "constant rate": f"{_SLEEP} --request-rate-range 40:80:40",
    "Poisson": "-m identity --shape INPUT0:4 --request-rate-range 400 --request-distribution poisson -s 50",
    "own intervals": f"{_SLEEP} --request-intervals intervals.txt",
    "request count": f"{_SLEEP} --request-count 300",
    "percentile": f"{_SLEEP} -i grpc --concurrency-range 2 --percentile=95 --verbose-csv -s 50",
    "batch": f"{_SLEEP} -b 4 --concurrency-range 2",
    "texts": "-m identity_bytes --shape INPUT0:3 --string-data hello --concurrency-range 2 -s 50",
    "data file": "-m sleep --input-data data.json --concurrency-range 2 -s 20",
    "sequences": "-m accumulate -i grpc --sequence-length 10 --concurrency-range 2 -s 50",
    "ensemble": "-m chain --shape INPUT0:4 --concurrency-range 2",
    "latency limit": f"{_SLEEP} -l 29 --binary-search --concurrency-range 1:8",
    "shared memory": "-m sleep --shape INPUT0:1024 -i grpc --shared-memory system --concurrency-range 2",
}
"""Name -> what is typed after the program's name, without the server's address."""

WINDOWS = "-p 1000"
"""Windows of a second (1.2 s with perf_analyzer), ten at most; the request count knows none."""


def arguments(name: str) -> list[str]:
    """The words of one command line; its table is written to `out.csv`."""
    return f"{LINES[name]} {'' if name == 'request count' else WINDOWS} -f out.csv".split()


def write_files(folder: Path) -> None:
    """The files that the command lines name."""
    steps = [{"INPUT0": {"content": [value, value + 0.5], "shape": [2]}} for value in (1.0, 2.0, 3.0)]
    (folder / "data.json").write_text(json.dumps({"data": steps}))
    (folder / "intervals.txt").write_text("15000\n25000\n20000\n")


def write_models(folder: Path) -> None:
    """The models of the tests, and `sleep`: their `sleepy` (10 ms) without its optional inputs.

    perf_analyzer fills those with random bytes, too, and asks for a pause of 10^20 ms.
    """
    shutil.copytree(MODELS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(folder / "sleepy", folder / "sleep")
    config = folder / "sleep/config.pbtxt"
    config.write_text(re.sub(r",\s*\{[^}]*optional: true \}", "", config.read_text()))
