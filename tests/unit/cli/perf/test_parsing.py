"""Arguments as getopt_long reads them; mistakes told all at once, with what was expected."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from runner.cli.perf.parsed import PerfOptions
from runner.cli.perf.parsing import parse
from runner.cli.perf.values import Levels
from runner.errors import UsageError


def of(text: str) -> PerfOptions:
    return parse(["-m", "m", *shlex.split(text)])


@pytest.mark.parametrize("text", ["--percentile=95", "--percentile 95", "--perc 95", "--perc=95"])
def test_long_options_are_written_in_four_ways(text: str) -> None:
    assert of(text).percentile == 95


@pytest.mark.parametrize("text", ["-b 4 -p 3000 -a -v", "-b4 -p3000 -av", "-avb4 -p3000", "-vab 4 -p3000"])
def test_short_options_may_be_run_together(text: str) -> None:
    options = of(text)
    assert (options.batch, options.interval_ms, options.asynchronous, options.verbosity) == (4, 3000, True, 1)


def test_the_last_one_counts_and_repeatable_ones_add_up() -> None:
    options = of("-b 2 -b 4 -H a:1 -H b:2 -v -v")
    assert (options.batch, options.headers, options.verbosity) == (4, (("a", "1"), ("b", "2")), 2)


@pytest.mark.parametrize(
    ("text", "levels", "values"),
    [
        ("3", Levels(3), (3,)),
        ("1:4", Levels(1, 4), (1, 2, 3, 4)),
        ("1:6:2", Levels(1, 6, 2), (1, 3, 5)),
        ("4:1", Levels(4, 1), (4,)),
    ],
)
def test_ranges(text: str, levels: Levels, values: tuple[int, ...]) -> None:
    found = of(f"--concurrency-range {text}").concurrency
    assert found == levels
    assert found is not None
    assert found.values == values


def test_rates_in_steps_of_a_tenth_do_not_drift() -> None:
    found = of("--request-rate-range 0.1:1:0.1").rate
    assert found is not None
    assert [round(value, 12) for value in found.values] == [round(n / 10, 12) for n in range(1, 11)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("--concurency-range 1:4", "there is no option --concurency-range; did you mean --concurrency-range?"),
        ("--meas 3", "--meas may mean --measurement-interval, --measurement-mode, --measurement-request-count"),
        ("-Q", "there is no option -Q in perf_analyzer"),
        ("surplus", "unexpected argument 'surplus'"),
        ("-b", "--batch-size: expected N, got nothing"),
        ("--streaming=yes", "--streaming: expected no value, got 'yes'"),
        ("-b 0", "--batch-size: expected a whole number from 1 to 65536, got '0'"),
        ("-p five", "--measurement-interval: expected a whole number of at least 1, got 'five'"),
        ("-i mqtt", "--protocol: expected http or grpc, got 'mqtt'"),
        ("-H foo", "-H: expected a header as <name:value>, got 'foo'"),
        ("--percentile 100", "--percentile: expected a number above 0 and below 100"),
        ("--percentile nan", "--percentile: expected a number above 0 and below 100"),
        ("--concurrency-range 1:2:3:4", "--concurrency-range: expected <start:end:step>"),
        ("--concurrency-range 0:4", "--concurrency-range: expected a start above 0"),
        ("--concurrency-range 1:4:0", "--concurrency-range: expected a step above 0"),
        ("--concurrency-range 1.5", "--concurrency-range: expected <start:end:step>"),
        ("--request-rate-range a", "--request-rate-range: expected <start:end:step>"),
        ("--periodic-concurrency-range 1:8:3", "expected whole steps of 3 from 1 to 8"),
        ("--periodic-concurrency-range 4", "expected <start:end:step>, with an end"),
        ("--sequence-id-range 9:5", "--sequence-id-range: expected an end above the start, 9"),
        ("--shape X", "--shape: expected an input and its sizes above 0, without the batch: NAME:3,224,224"),
        ("--shape X:0", "--shape: expected an input and its sizes above 0"),
        ("--request-parameter a:x:int", "--request-parameter: expected a value of type int, got 'x'"),
        ("--request-parameter a:x", "--request-parameter: expected <name:value:type>"),
        ("--bls-composing-models a:1,a:2", "--bls-composing-models: expected each model once"),
        ("--bls-composing-models a:x", "--bls-composing-models: expected a whole number such as 3"),
        ("--concurrency-range 1:100001", "--concurrency-range: expected at most 100000 in flight"),
        ("--bls-composing-models a,,b", "--bls-composing-models: expected models separated by commas"),
        ("--input-data nowhere", "--input-data: expected random, zero, a folder, or a JSON file that is there"),
        ("--request-intervals nowhere", "--request-intervals: expected a file that can be read"),
        ("--sla soon", "--sla: expected seconds such as 0.5, or 200ms"),
        ("-x latest", "--model-version: expected a whole number such as 3"),
        # together
        ("--streaming", "--streaming: only gRPC has streams, add -i grpc"),
        ("--grpc-compression-algorithm gzip", "is for gRPC, add -i grpc"),
        ("--async --sync", "--async and --sync: expected one of the two"),
        ("--concurrency-range 1 --request-rate-range 1", "expected one way to send requests"),
        ("--concurrency-range 1 -t 4", "expected one way to send requests"),
        ("--concurrency-range 1:0", "a range without an end needs a limit"),
        ("-d", "a range without an end needs a limit"),
        ("--request-rate-range 1:1e9:1e-9", "expected at most 10,000 levels, widen the step"),
        ("--ssl-https-private-key-file pyproject.toml", "--ssl-https-private-key-file: expected both"),
        ("--ssl-grpc-certificate-chain-file pyproject.toml", "--ssl-grpc-private-key-file: expected both"),
        ("--binary-search --concurrency-range 1:8", "--binary-search: needs a limit"),
        ("--binary-search --concurrency-range 1:0 -l 5", "--binary-search: needs a range with an end above 0"),
        ("--binary-search --concurrency-range 8:1 -l 5", "--binary-search: the end of the range is below its start"),
        ("--request-count 4 --concurrency-range 8", "--request-count: expected at least as many as are in flight"),
        ("-l 5 --request-count 100", "a search measures windows, remove --request-count"),
        ("-z --input-data .", "--input-data zero: expected no data beside it"),
        ("--fixed-schedule", "--fixed-schedule: the send times are in one JSON file"),
        ("--infinite", "--infinite: expected a rate, add --qps"),
        ("--qps 5", "expected --sla or --infinite beside them"),
        ("--shared-memory system --input-tensor-format json", "tensors in shared memory do not travel, remove them"),
        ("--shared-memory cuda --output-tensor-format json", "tensors in shared memory do not travel, remove them"),
        ("-u https://h --ssl-https-verify-host 0", "add --ssl-https-verify-peer 0"),
        ("--metrics-interval 500", "expected --collect-metrics beside them"),
        ("--trace-rate 5", "expected --trace-level beside them"),
        ("--trace-level OFF --trace-level TENSORS", "--trace-level OFF: expected no other level"),
        ("--trace-level TIMESTAMPS --trace-rate 0", "--trace-rate: expected a whole number from 1"),
        ("--emit-scenario x.yaml --set a=b", "not the file of --emit-scenario"),
        ("-i grpc --input-tensor-format json", "only HTTP carries tensors as JSON"),
    ],
)
def test_mistakes(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        of(text)
    assert says in caught.value.message
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        parse(["--concurency-range", "1", "-H", "foo", "-b", "0", "--shape", "X"])
    lines = caught.value.message.splitlines()
    assert lines[0] == "4 mistakes in the perf_analyzer command line:"
    assert len(lines) == 5


def test_a_model_is_needed_but_for_help() -> None:
    with pytest.raises(UsageError, match="expected the name of a model"):
        parse([])
    assert parse(["--help"]).help


def test_data_may_be_several_json_files_or_one_folder(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text('{"data": [{}]}')
    assert len(of(f"--input-data {tmp_path}/a.json --input-data {tmp_path}/b.json").values) == 2
    with pytest.raises(UsageError, match="only JSON files may be several"):
        of(f"--input-data {tmp_path} --input-data {tmp_path}/a.json")
