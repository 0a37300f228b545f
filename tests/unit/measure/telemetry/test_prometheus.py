"""The text format, and a source that scrapes a real HTTP server with faults."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.measure.telemetry.exposition import Selector, parse, series_name
from runner.measure.telemetry.prometheus import PrometheusSource
from runner.results.facts import hashed, hide_identifiers
from runner.scenario.schema_telemetry import SERIES
from tests.contracts.telemetry import Fault, SourceContract

UUID = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
PAGE = f"""# HELP nv_inference_count Number of inferences performed
# TYPE nv_inference_count counter
nv_inference_count{{model="chain",version="1"}} 12
nv_inference_count{{model="other",version="1"}} 99
# TYPE nv_gpu_power_usage gauge
nv_gpu_power_usage{{gpu_uuid="{UUID}"}} 299.5
# TYPE nv_inference_first_response_histogram_ms histogram
nv_inference_first_response_histogram_ms_bucket{{model="chain",le="100"}} 3
nv_inference_first_response_histogram_ms_bucket{{model="chain",le="+Inf"}} 4
nv_inference_first_response_histogram_ms_sum{{model="chain"}} 140.5
nv_inference_first_response_histogram_ms_count{{model="chain"}} 4
# TYPE nv_inference_request_summary_us summary
nv_inference_request_summary_us{{model="chain",quantile="0.5"}} NaN
nv_inference_request_summary_us_sum{{model="chain"}} 9
# TYPE python_gc counter
python_gc_total 7
"""


class Page(http.server.ThreadingHTTPServer):
    """Serves `text`, and counts connections."""

    daemon_threads = True
    text, status, connections = PAGE, 200, 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/metrics"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Page

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        body = self.server.text.encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None: ...


@pytest.fixture
def page() -> Iterator[Page]:
    server = Page()
    yield server
    server.shutdown()
    server.server_close()


class TestPrometheusSource(SourceContract):
    @pytest.fixture
    def source(self, page: Page) -> Iterator[PrometheusSource]:
        source = PrometheusSource(page.url, models=("chain",), hide=hide_identifiers)
        yield source
        source.close()

    @pytest.fixture
    def fault(self, page: Page) -> Fault:
        return (lambda: setattr(page, "status", 503)), (lambda: setattr(page, "status", 200))


def test_by_default_tritons_series_of_our_models_without_buckets(page: Page) -> None:
    values = PrometheusSource(page.url, models=("chain",)).read()
    assert set(values) == {
        'nv_inference_count{model="chain",version="1"}',
        f'nv_gpu_power_usage{{gpu_uuid="{UUID}"}}',
        'nv_inference_first_response_histogram_ms_sum{model="chain"}',
        'nv_inference_first_response_histogram_ms_count{model="chain"}',
        'nv_inference_request_summary_us_sum{model="chain"}',
    }
    assert values['nv_inference_count{model="chain",version="1"}'].kind == "counter"
    assert values[f'nv_gpu_power_usage{{gpu_uuid="{UUID}"}}'].kind == "gauge"


def test_what_is_asked_for_comes_too_and_what_is_not_exported_is_named(page: Page) -> None:
    wishes = ["python_gc_total", "nv_inference_count{model=other}", "nv_nothing{model=chain}"]
    source = PrometheusSource(page.url, models=("chain",), selectors=[Selector.parse(wish) for wish in wishes])
    values = source.read()
    assert values["python_gc_total"].kind == "counter"
    assert values['nv_inference_count{model="other",version="1"}'].value == 99
    assert list(source.absent()) == ['nv_nothing{model="chain"}']


def test_another_exporter_is_read_whole_without_buckets(page: Page) -> None:
    names = {name.partition("{")[0] for name in PrometheusSource(page.url, everything=True).read()}
    assert "python_gc_total" in names
    assert not any(name.endswith("_bucket") for name in names)


def test_identifiers_of_gpus_are_hashed(page: Page) -> None:
    names = str(list(PrometheusSource(page.url, hide=hide_identifiers).read()))
    assert UUID not in names
    assert hashed(UUID.removeprefix("GPU-")) in names


def test_one_connection_serves_all_scrapes_and_a_closed_one_is_made_again(page: Page) -> None:
    source = PrometheusSource(page.url)
    assert [bool(source.read()) for _ in range(3)] == [True] * 3
    assert page.connections == 1
    assert source._connection is not None
    assert source._connection.sock is not None
    source._connection.sock.shutdown(2)
    assert source.read()
    assert page.connections == 2


def test_an_endpoint_that_does_not_answer_costs_its_timeout_and_a_reason() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        source = PrometheusSource(f"http://user:secret@127.0.0.1:{port}/metrics?token=x&a=1", timeout_s=0.05)
        assert source.read() == {}
        shown = f"http://127.0.0.1:{port}/metrics?token=***&a=1"
        assert source.absent() == {"prometheus": f"{shown}: timed out"}


@pytest.mark.parametrize("text", ["", "garbage {{{ \x00", '{"json": true}', "nv_x{unclosed 5", "nv_x five"])
def test_a_page_without_metrics_is_a_reason(page: Page, text: str) -> None:
    page.text = text
    source = PrometheusSource(page.url)
    assert source.read() == {}
    assert source.absent() == {"prometheus": f"{page.url} exports none of the series of this server"}


# --- the format ---------------------------------------------------------------------------------------------------


def test_kinds_follow_the_declared_types() -> None:
    kinds = {sample.name: (sample.kind, sample.bucket) for sample in parse(PAGE)}
    assert kinds["nv_inference_first_response_histogram_ms_bucket"] == ("counter", True)
    assert kinds["nv_inference_first_response_histogram_ms_count"] == ("counter", False)
    assert kinds["nv_inference_request_summary_us_sum"] == ("counter", False)
    assert kinds["nv_gpu_power_usage"] == ("gauge", False)


def test_timestamps_exemplars_and_spaces_are_read_over() -> None:
    text = 'a 1 1395066363000\nb{x="y",} 2 # {trace="z"} 0.5\nc { x = "1" , y="2" } +3e1\nd +Inf\ne NaN\n# EOF\n'
    assert [(s.name, dict(s.labels), s.value) for s in parse(text)] == [
        ("a", {}, 1.0),
        ("b", {"x": "y"}, 2.0),
        ("c", {"x": "1", "y": "2"}, 30.0),
    ]


@given(st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), st.text(max_size=12), max_size=3))
def test_any_label_survives_writing_and_reading(labels: dict[str, str]) -> None:
    name = series_name("metric", labels)
    if any(mark in value for value in labels.values() for mark in "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"):
        return  # other ends of line than \n cannot be told in the format
    assert [(s.name, dict(s.labels), s.value) for s in parse(f"{name} 4.5\n")] == [("metric", labels, 4.5)]
    assert Selector.parse("metric").matches_series(name)
    assert Selector("metric", labels).matches_series(name)
    assert not Selector("metric", {**labels, "zz9": "1"}).matches_series(name)


@given(st.text(max_size=200))
def test_no_text_makes_the_parser_fail(text: str) -> None:
    assert all(sample.name for sample in parse(text))


@pytest.mark.parametrize("text", ["", "1x", "a{b}", "a{b=c", "a b", "a{=c}"])
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Selector.parse(text)


@pytest.mark.parametrize("text", ["a{b}", "a{b=}", "a{}", "a{b=c d}", "1a", "a b"])
def test_the_schema_refuses_what_is_no_selector(text: str) -> None:
    assert not re.match(SERIES, text)


@settings(max_examples=50)
@given(st.from_regex(SERIES, fullmatch=True))
def test_whatever_the_schema_accepts_is_a_selector(text: str) -> None:
    assert Selector.parse(text).name == re.split(r"\{", text)[0]
