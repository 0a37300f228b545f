"""`--collect-metrics` beside a live endpoint that exports what Triton does on a machine with two GPUs."""

from __future__ import annotations

import csv
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.integration.perf_runs import MEASURED, Perf

GPUS = ("GPU-0d1b8f2c-58a3-1a2b-9c3d-4e5f60718293", "GPU-7a6b5c4d-3e2f-1a0b-9c8d-7e6f5a4b3c2d")
TOTAL = 85_899_345_920
COLUMNS = ("Avg GPU Utilization", "Avg GPU Power Usage", "Max GPU Memory Usage", "Total GPU Memory")
# The tests' own defaults sample nothing.
SAMPLED = ("--set", "measure.telemetry.sources=[prometheus]", "--collect-metrics", "--metrics-interval", "50")
LOAD = ("-m", "sleepy", "--shape", "INPUT0:4", "--verbose-csv", "-f", "out.csv", *SAMPLED)


@dataclass
class Exporter:
    """An endpoint whose numbers grow with each time that it is asked."""

    body: Callable[[int], str]
    delay_s: float = 0.0
    address: str = ""
    asked_at: list[float] = field(default_factory=list)


@contextmanager
def exporting(exporter: Exporter) -> Iterator[Exporter]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            exporter.asked_at.append(time.monotonic())
            time.sleep(exporter.delay_s)
            content = exporter.body(len(exporter.asked_at)).encode()
            self.send_response(200 if self.path == "/gpus" else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    exporter.address = f"127.0.0.1:{server.server_address[1]}/gpus"
    try:
        yield exporter
    finally:
        server.shutdown()
        server.server_close()


def two_gpus(number: int) -> str:
    """Triton's text: of GPU g the utilization number/1000 + g/4, 100 g + number watts, number + 1000 g bytes."""

    def series(name: str, of: Callable[[int], object]) -> str:
        lines = (f'{name}{{gpu_uuid="{gpu}"}} {of(g)}\n' for g, gpu in enumerate(GPUS))
        return f"# HELP {name} of a GPU\n# TYPE {name} gauge\n{''.join(lines)}"

    return (
        series("nv_gpu_utilization", lambda g: number / 1000 + g / 4)
        + series("nv_gpu_memory_total_bytes", lambda g: f"{TOTAL:.6f}")
        + series("nv_gpu_memory_used_bytes", lambda g: f"{number + 1000 * g:.6f}")
        + series("nv_gpu_power_usage", lambda g: 100 * g + number)
        + series("nv_energy_consumption", lambda g: number)
    )


def row_of(perf: Perf) -> dict[str, str]:
    with (perf.folder / "out.csv").open() as file:
        (row,) = csv.DictReader(file)
    return row


def by_gpu(cell: str) -> dict[str, float]:
    assert re.fullmatch(r"([^:;]+:[0-9.]+;)*", cell), cell
    return {gpu: float(value) for gpu, value in (part.split(":") for part in cell.split(";")[:-1])}


def test_the_columns_are_those_of_the_polls_in_the_window(perf: Perf, capsys: pytest.CaptureFixture[str]) -> None:
    """Every number grows by one with each poll, so the mean and the maximum tell which polls were counted."""
    with exporting(Exporter(two_gpus)) as exporter:
        assert perf(*LOAD, "--identify", "--metrics-url", exporter.address) in MEASURED
    row = row_of(perf)
    assert tuple(row)[-4:] == COLUMNS
    share, watts, most, total = (by_gpu(row[column]) for column in COLUMNS)
    assert total == dict.fromkeys(GPUS, TOTAL)
    mean, last = watts[GPUS[0]], most[GPUS[0]]
    first = 2 * mean - last
    assert first.is_integer()
    assert 1 <= first < last <= len(exporter.asked_at)
    # Three windows of 200 ms hold about twelve polls; a busy machine loses some.
    assert 3 <= last - first + 1 <= 14
    assert most == {GPUS[0]: last, GPUS[1]: last + 1000}
    assert watts == pytest.approx({GPUS[0]: mean, GPUS[1]: mean + 100}, rel=1e-5)
    assert share == pytest.approx({GPUS[0]: mean / 1000, GPUS[1]: mean / 1000 + 0.25}, rel=1e-5)
    printed = capsys.readouterr().out
    assert f"    Avg GPU Power Usage:\n      {GPUS[0]} : {mean:g} watts\n      {GPUS[1]} : " in printed
    assert f"    Max GPU Memory Usage:\n      {GPUS[0]} : {last:.0f} bytes\n" in printed
    assert f"    Total GPU Memory:\n      {GPUS[0]} : {TOTAL} bytes\n      {GPUS[1]} : {TOTAL} bytes\n" in printed
    assert f"    Avg GPU Utilization:\n      {GPUS[0]} : {100 * share[GPUS[0]]:g}%\n" in printed


def test_a_hashed_gpu_has_no_colon_that_would_split_its_cell(perf: Perf) -> None:
    with exporting(Exporter(two_gpus)) as exporter:
        assert perf(*LOAD, "--metrics-url", exporter.address) in MEASURED
    gpus = [list(by_gpu(row_of(perf)[column])) for column in COLUMNS]
    assert all(each == gpus[0] for each in gpus)
    assert [re.fullmatch("GPU-sha256-[0-9a-f]{16}", gpu) is not None for gpu in gpus[0]] == [True, True]


def test_a_longer_interval_polls_less_often(perf: Perf) -> None:
    with exporting(Exporter(two_gpus)) as exporter:
        assert perf(*LOAD, "--metrics-url", exporter.address, "--metrics-interval", "200") in MEASURED
    # Of 50 ms there would be more than a dozen.
    assert 2 <= len(exporter.asked_at) <= 10


def nothing(number: int) -> str:
    return '# TYPE nv_inference_count counter\nnv_inference_count{model="sleepy",version="1"} 1\n'


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("127.0.0.1:1/metrics", "[telemetry_gap] Telemetry is incomplete, prometheus: http://127.0.0.1:1/metrics: "),
        ("{}", "--collect-metrics: the server's metrics say nothing of a GPU, so their columns are empty"),
        ("{}/elsewhere", "HTTP status 404"),
    ],
)
def test_without_gpus_the_columns_are_empty_and_stderr_says_why(
    url: str, says: str, perf: Perf, capsys: pytest.CaptureFixture[str]
) -> None:
    with exporting(Exporter(nothing)) as exporter:
        assert perf(*LOAD, "--metrics-url", url.format(exporter.address)) in MEASURED
    assert [row_of(perf)[column] for column in COLUMNS] == [""] * 4
    shown = capsys.readouterr()
    assert says in shown.err
    assert "    Avg GPU Utilization:\n    Avg GPU Power Usage:\n" in shown.out


def test_an_endpoint_slower_than_the_interval_is_asked_less_often_and_told(
    perf: Perf, capsys: pytest.CaptureFixture[str]
) -> None:
    with exporting(Exporter(two_gpus, delay_s=0.25)) as exporter:
        assert perf(*LOAD, "--metrics-url", exporter.address) in MEASURED
    assert set(map(len, map(by_gpu, (row_of(perf)[column] for column in COLUMNS)))) == {2}
    assert "prometheus: no reading for 0." in capsys.readouterr().err
    assert len(exporter.asked_at) <= 8
