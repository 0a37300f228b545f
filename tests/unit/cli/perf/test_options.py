"""Every row of the table of options: what it becomes in a scenario that loads, why it has no effect, or why it is
refused."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from runner.cli.perf.option import Dialect, Option
from runner.cli.perf.options import GROUPS, PERF_ANALYZER
from runner.cli.perf.outputs import wishes_of
from runner.cli.perf.parsed import PerfOptions
from runner.cli.perf.parsing import parse
from runner.cli.perf.sla_client import SLA_CLIENT
from runner.cli.perf.translating import translate
from runner.cli.perf.writing import scenario_text
from runner.errors import UsageError
from runner.results.perf_wishes import PerfWishes
from runner.scenario.loading import load_scenario

HONOURED: dict[str, tuple[str, str, Any]] = {
    "--model-name": ("", "workload.model", "m"),
    "--model-version": ("-x 3", "workload.version", "3"),
    "--batch-size": ("-b4", "workload.batch", 4),
    "--bls-composing-models": ("--bls-composing-models a:3,b,c:-1", "workload",
                               {"model": "m", "bls_models": ["a", "b", "c"], "bls_versions": {"a": "3"},
                                "protocol": "http"}),
    "--request-parameter": (
        "--request-parameter a:1:int --request-parameter b:x:y:string --request-parameter c:TRUE:bool",
        "workload.parameters",
        {"a": 1, "b": "x:y", "c": True},
    ),
    "--url": ("-u gpu:9000", "targets.server.launch", {"kind": "remote", "http": "gpu:9000"}),
    "--protocol": ("-i gRPC", "targets.server.launch", {"kind": "remote", "grpc": "localhost:8001"}),
    "--streaming": ("-i grpc --streaming", "workload.streaming", True),
    "-H": ("-H a:b -H 'c: d:e'", "workload.headers", {"a": "b", "c": "d:e"}),
    "--grpc-compression-algorithm": ("-i grpc --grpc-compression-algorithm gzip", "workload.compression", "gzip"),
    "--ssl-grpc-use-ssl": ("-i grpc --ssl-grpc-use-ssl", "workload.tls", {}),
    "--ssl-grpc-root-certifications-file": (
        "-i grpc --ssl-grpc-use-ssl --ssl-grpc-root-certifications-file FILE", "workload.tls", {"ca": "FILE"}),
    "--ssl-grpc-private-key-file": (
        "-i grpc --ssl-grpc-use-ssl --ssl-grpc-private-key-file FILE --ssl-grpc-certificate-chain-file FILE",
        "workload.tls", {"cert": "FILE", "key": "FILE"}),
    "--ssl-grpc-certificate-chain-file": (
        "-i grpc --ssl-grpc-use-ssl --ssl-grpc-certificate-chain-file=FILE --ssl-grpc-private-key-file=FILE",
        "workload.tls.cert", "FILE"),
    "--ssl-https-verify-peer": ("-u https://h --ssl-https-verify-peer 0", "workload.tls", {"verify": False}),
    "--ssl-https-verify-host": (
        "-u https://h --ssl-https-verify-host 0 --ssl-https-verify-peer 0", "workload.tls", {"verify": False}),
    "--ssl-https-ca-certificates-file": (
        "-u https://h --ssl-https-ca-certificates-file FILE", "workload.tls", {"ca": "FILE"}),
    "--ssl-https-client-certificate-file": (
        "-u https://h --ssl-https-client-certificate-file FILE --ssl-https-private-key-file FILE",
        "workload.tls.cert", "FILE"),
    "--ssl-https-private-key-file": (
        "-u https://h:1 --ssl-https-client-certificate-file FILE --ssl-https-private-key-file FILE",
        "workload.tls.key", "FILE"),
    "--concurrency-range": ("--concurrency-range 1:8:3", "matrix.axes", {"load.concurrency": [1, 4, 7]}),
    "--request-rate-range": ("--request-rate-range 0.5:1.5:0.5", "matrix.axes",
                             {"load.rate": ["0.5/s", "1/s", "1.5/s"]}),
    "--request-distribution": ("--request-rate-range 7 --request-distribution poisson", "load",
                               {"kind": "poisson", "rate": "7/s"}),
    "--request-intervals": ("--request-intervals FILE", "load", {"kind": "intervals", "file": "FILE"}),
    "--fixed-schedule": ("--input-data DATA --fixed-schedule", "load", {"kind": "replay", "file": "DATA"}),
    "--periodic-concurrency-range": ("--periodic-concurrency-range 1:7:3", "load",
                                     {"kind": "periodic", "start": 1, "end": 7, "step": 3, "request_period": 10}),
    "--request-period": ("--periodic-concurrency-range 1:7:3 --request-period 2", "load.request_period", 2),
    "--num-of-sequences": ("--request-rate-range 9 --num-of-sequences 8", "workload.sequences", {"count": 8}),
    "--sequence-length": ("-i grpc --sequence-length 3", "workload.sequences", {"length": 3}),
    "--sequence-length-variation": ("--sequence-length-variation 12.5", "workload.sequences", {"variation": "12.5%"}),
    "--sequence-id-range": ("-i http --sequence-id-range 5:9", "workload.sequences", {"first_id": 5, "ids": 4}),
    "--input-data": ("--input-data DATA --input-data DATA", "workload.data", ["DATA", "DATA"]),
    "--data-directory": ("--data-directory FOLDER", "workload.data", "FOLDER"),
    "-z": ("-z", "workload.generate", {"values": "zero"}),
    "--shape": ("--shape a:b:3,4 --shape c:1", "workload.shape", {"a:b": [3, 4], "c": [1]}),
    "--string-length": ("--string-length 7", "workload.generate", {"text_length": 7}),
    "--string-data": ("--string-data 'a ${b}'", "workload.generate", {"text": "a ${b}"}),
    "--shared-memory": ("--shared-memory cuda", "workload.shared_memory", "cuda"),
    "--output-shared-memory-size": ("-i grpc --shared-memory system --output-shared-memory-size 2048",
                                    "workload.output_bytes", "2KiB"),
    "--input-tensor-format": ("--input-tensor-format json --output-tensor-format json", "workload.tensors", "json"),
    "--output-tensor-format": ("--output-tensor-format json", "workload.output_tensors", "json"),
    "--measurement-mode": ("--measurement-mode count_windows", "measure.stability.requests", 50),
    "--measurement-interval": ("-p 1500", "measure.stability.interval", "1500ms"),
    "--measurement-request-count": ("--measurement-mode=count_windows --measurement-request-count=9",
                                    "measure.stability.requests", 9),
    "--stability-percentage": ("-s 999", "measure.stability.within", "999%"),
    "--max-trials": ("-r 2", "measure.stability.trials", 2),
    "--percentile": ("--percentile 99.9", "measure",
                     {"stability": {"kind": "windows", "interval": "5s", "percentile": 99.9},
                      "percentiles": [50.0, 90.0, 95.0, 99.0, 99.9]}),
    "--request-count": ("--request-count 40", "measure", {"requests": 40, "window": {"max": "1h"}}),
    "--warmup-request-count": ("--warmup-request-count 40", "measure.warmup", {"requests": 40}),
    "--latency-threshold": ("-l 12.5 --concurrency-range 2:0:4", "load",
                            {"kind": "sla", "strategy": "pa_linear", "latency": "12500us", "statistic": "mean",
                             "over": "concurrency", "range": {"min": 2}, "step": 4}),
    "--binary-search": ("-l 9 --binary-search --request-rate-range 1:9:2 --percentile 99", "load",
                        {"kind": "sla", "strategy": "pa_binary", "latency": "9ms", "percentile": 99.0,
                         "arrivals": "constant", "over": "rate", "range": {"min": "1/s", "max": "9/s"}, "step": "2/s"}),
    "--sla": ("--sla 0.2", "load", {"kind": "sla", "percentile": 95.0, "latency": "200ms"}),
    "--qps": ("--sla 1 --qps 7", "load.range", {"min": "7/s"}),
    "--qps-delta": ("--sla 1 -q 7 --qps-delta 0.25", "load",
                    {"kind": "sla", "percentile": 95.0, "latency": "1s", "strategy": "linear", "range": {"min": "7/s"},
                     "step": "0.25/s"}),
    "--attempts": ("--sla 1 --attempts 3", "load.attempts", 3),
    "--infinite": ("--infinite --qps 7", "measure", {"soak": True}),
    "--profile-export-file": ("--profile-export-file x.json", "measure.records", "full"),
    "--collect-metrics": ("--collect-metrics -u gpu:9", "targets.server.launch.metrics", "http://gpu:8002/metrics"),
    "--metrics-url": ("--collect-metrics --metrics-url a:1/m", "targets.server.launch.metrics", "http://a:1/m"),
    "--metrics-interval": ("--collect-metrics --metrics-interval 250", "measure.telemetry.period", "250ms"),
    "--trace-level": (
        "--trace-level TENSORS --trace-level TIMESTAMPS", "server.trace", {"level": ["tensors", "timestamps"]}),
    "--trace-rate": ("--trace-level TIMESTAMPS --trace-rate 10", "server.trace", {"level": "timestamps", "rate": 10}),
    "--trace-count": ("--trace-level OFF --trace-count 7", "server.trace", {"level": "off", "count": 7}),
    "--log-frequency": ("--trace-level=TENSORS --log-frequency=9 --trace-count -1", "server.trace",
                        {"level": "tensors", "log_frequency": 9}),
    "-t": ("-t4", "load.concurrency", 4),
    "-d": ("-p3000 -d -l15", "load",
           {"kind": "sla", "strategy": "pa_linear", "latency": "15ms", "statistic": "mean", "over": "concurrency",
            "range": {"min": 1}, "step": 1}),
    "-c": ("-d -l15 -t 2 -c 8", "load.range", {"min": 2, "max": 8}),
}  # fmt: skip
"""Option -> arguments, address, what stands there."""
SHOWN: dict[str, tuple[str, PerfWishes]] = {
    "-f": ("-f x.csv", PerfWishes(csv=Path("x.csv"))),
    "--verbose-csv": ("--verbose-csv", PerfWishes(verbose_csv=True)),
    "-v": ("-vv -i GRPC", PerfWishes(verbosity=2, protocol="grpc")),
}
"""Option -> arguments, and what the report is told."""
OF_THE_TOOL = {"--output-dir", "--emit-scenario", "--set", "--identify", "--progress", "--help", "--version"}
"""Options of `scenario perf` itself, see test_perf_command.py."""


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the options name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("1000\n")
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "trace.json").write_text('{"data": [{"IN": [1], "timestamp": [0]}]}')
    return tmp_path


def words_of(text: str) -> list[str]:
    return ["-m", "m", *shlex.split(text.replace("DATA", "trace.json"))]


@pytest.mark.parametrize("name", HONOURED)
def test_honoured(name: str, arguments: Path) -> None:
    text, address, expected = HONOURED[name]
    options = parse(words_of(text))
    translation = translate(options, folder=arguments)
    assert name in options.given
    found: Any = translation.scenario
    for key in address.split("."):
        found = found[key]
    assert found == restored(expected)
    assert blamed_for(PERF_ANALYZER.forms()[name], translation.scenario)
    file = arguments / "scenario.yaml"
    file.write_text(scenario_text(translation, ["perf_analyzer", *words_of(text)]))
    assert load_scenario(file, env={}).scenario.workload.model == "m"


def blamed_for(option: Option, scenario: dict[str, Any]) -> bool:
    """Whether one of the addresses that the table names for it is there, so that errors find the option."""
    axes = scenario.get("matrix", {}).get("axes", {})
    return any(address in axes or there(address, scenario) for address in option.addresses)


def there(address: str, scenario: Any) -> bool:
    for key in address.split("."):
        if not isinstance(scenario, dict) or key not in scenario:
            return False
        scenario = scenario[key]
    return True


def restored(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: restored(child) for key, child in value.items()}
    if isinstance(value, list):
        return [restored(child) for child in value]
    return "trace.json" if value == "DATA" else value


@pytest.mark.parametrize("name", SHOWN)
def test_shown(name: str) -> None:
    text, expected = SHOWN[name]
    assert wishes_of(parse(words_of(text))) == expected


@pytest.mark.parametrize("name", [each.name for each in PERF_ANALYZER.options if each.status == "no effect"])
def test_no_effect(name: str) -> None:
    option = PERF_ANALYZER.forms()[name]
    value = {"--max-threads": ["4"]}.get(name, ["PEM"] if option.parse else [])
    translation = translate(parse(["-m", "m", name, *value, "-i", "grpc"]))
    assert any(note.startswith(f"{name} has no effect: ") for note in translation.notes)


@pytest.mark.parametrize(
    "name", [each.name for each in PERF_ANALYZER.options if each.status in ("other server", "refused")]
)
def test_refused(name: str) -> None:
    option = PERF_ANALYZER.forms()[name]
    value = {"--service-kind": ["openai"]}.get(name, ["1"] if option.parse else [])
    with pytest.raises(UsageError, match=f"{name} is not supported: {re.escape(option.becomes)}"):
        parse(["-m", "m", name, *value])


def test_what_would_change_nothing_is_accepted() -> None:
    assert parse(["-m", "m", "--service-kind", "triton", "--input-data", "random"]).model == "m"


def test_every_option_has_its_test() -> None:
    honoured = {option.name for option in PERF_ANALYZER.options if option.status == "honoured"}
    assert honoured == {*HONOURED, *SHOWN, *OF_THE_TOOL}


@pytest.mark.parametrize("dialect", [PERF_ANALYZER, SLA_CLIENT], ids=lambda each: each.tool)
def test_the_table_is_consistent(dialect: Dialect) -> None:
    forms = [form for option in dialect.options for form in option.spellings]
    assert len(forms) == len(set(forms))
    names = {each.name for each in fields(PerfOptions)}
    for option in dialect.options:
        assert (option.field in names) or (not option.field and option.status != "honoured"), option.name
        assert option.becomes, option.name
        assert option.help, option.name
        assert bool(option.metavar) == (option.parse is not None), option.name


def test_every_option_of_perf_analyzer_is_known() -> None:
    known = set(PERF_ANALYZER.forms())
    assert not set(USAGE_OF_2_60.split()) - known


USAGE_OF_2_60 = """
-m -x -b -t -c -d -z -u -i -f -H -v --version --async --sync --streaming --service-kind --endpoint
--model-signature-name --bls-composing-models --measurement-interval --measurement-mode --measurement-request-count
--concurrency-range --periodic-concurrency-range --session-concurrency --request-period --request-rate-range
--request-distribution --request-intervals --fixed-schedule --serial-sequences --binary-search --num-of-sequences
--latency-threshold --max-threads --stability-percentage --max-trials --percentile --request-count
--warmup-request-count --request-parameter --input-data --data-directory --shared-memory --output-shared-memory-size
--shape --sequence-length --sequence-length-variation --sequence-id-range --string-length --string-data
--input-tensor-format --output-tensor-format --ssl-grpc-use-ssl --ssl-grpc-root-certifications-file
--ssl-grpc-private-key-file --ssl-grpc-certificate-chain-file --ssl-https-verify-peer --ssl-https-verify-host
--ssl-https-ca-certificates-file --ssl-https-client-certificate-file --ssl-https-client-certificate-type
--ssl-https-private-key-file --ssl-https-private-key-type --profile-export-file --verbose-csv --collect-metrics
--metrics-url --metrics-interval --grpc-compression-algorithm --grpc-method --trace-level --trace-rate --trace-count
--log-frequency --triton-server-directory --model-repository --enable-mpi -p -l -s -r -a
"""


def test_groups_are_the_whole_table() -> None:
    assert sum(map(len, GROUPS.values())) == len(PERF_ANALYZER.options)
