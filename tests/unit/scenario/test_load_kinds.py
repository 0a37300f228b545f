"""Every kind of load from its text: values, axes, names of points, and files of send times."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner.errors import ScenarioError
from runner.scenario.arrivals import ArrivalsError, read_intervals, read_timestamps
from runner.scenario.matrix import expand
from runner.scenario.schema_client import ClientSettings

HEAD = "scenario: 1\nname: x\nworkload: {model: m}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", {"kind": "concurrency", "concurrency": 1}),
        ("{concurrency: 4}", {"kind": "concurrency", "concurrency": 4}),
        ("{kind: constant, rate: 50/s}", {"kind": "constant", "rate": "50/s", "max_in_flight": 10_000}),
        (
            "{kind: poisson, rate: 120/m, seed: 4, max_in_flight: 9}",
            {"kind": "poisson", "rate": "2/s", "seed": 4, "max_in_flight": 9},
        ),
        (
            "{kind: gamma, rate: 0.5/s, cv: 2}",
            {"kind": "gamma", "rate": "0.5/s", "cv": 2.0, "seed": None, "max_in_flight": 10_000},
        ),
        (
            "{kind: periodic, start: 2, end: 8, step: 3}",
            {"kind": "periodic", "start": 2, "end": 8, "step": 3, "request_period": 10},
        ),
    ],
)
def test_kinds(desk, text, expected):
    loaded = desk.load(f"{HEAD}load: {text}\n").scenario.load.model_dump(mode="json")
    assert loaded == expected | dict.fromkeys(ClientSettings.model_fields)


def test_a_rate_is_an_axis_with_readable_points(desk):
    loaded = desk.load(HEAD + "load: {kind: poisson, rate: 1/s}\nmatrix: {axes: {load.rate: [50/s, 0.5/s]}}\n")
    cases = expand(loaded)
    assert [case.id.rpartition("-")[0] for case in cases] == ["r50", "r0.5"]
    assert [case.scenario.load.rate for case in cases] == [50.0, 0.5]
    assert cases[0].server_key == cases[1].server_key


def test_another_kind_starts_the_load_afresh(desk):
    desk.write(HEAD + "load: {concurrency: 16}\n", "base.yaml")
    loaded = desk.load("scenario: 1\nname: y\nextends: [base.yaml]\nload: {kind: constant, rate: 9/s}\n")
    assert loaded.scenario.load.rate == 9.0


def test_files_are_found_beside_the_scenario(desk):
    desk.write("100\n", "gaps.txt")
    loaded = desk.load(HEAD + "load: {kind: intervals, file: gaps.txt}\n")
    assert loaded.scenario.load.file == str(desk.folder / "gaps.txt")


@pytest.mark.parametrize(
    ("kind", "text", "line", "message"),
    [
        ("intervals", "100\n\n# rest\n1.5\n", 4, 'expected a whole number of microseconds, got "1.5"'),
        ("intervals", "100\n-5\n", 2, 'expected a whole number of microseconds, got "-5"'),
        ("intervals", "0\n0\n", 0, "expected at least one gap above 0"),
        ("intervals", "\n", 0, "expected at least one line with a number, got none"),
        ("intervals", "1" * 60 + "\n", 1, "expected a whole number of microseconds, got"),
        ("replay", "0.5\n1e3\n", 2, 'expected seconds such as 0.25, got "1e3"'),
        ("replay", "0\n5\n# back\n4\n", 4, "expected ascending times"),
        ("intervals", "9" * 17 + "\n", 1, "expected at most 36 years"),
        ("replay", "0\n99999999999\n", 0, "expected at most 36 years"),
        ("replay", "\udcff\n", 1, "expected seconds such as 0.25"),
    ],
)
def test_a_wrong_line_is_named(desk, kind, text, line, message):
    (desk.folder / "times.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    (only,) = desk.mistakes(f"{HEAD}load: {{kind: {kind}, file: times.txt}}\n")
    assert (only.code, only.line, only.address) == ("E142", 4, "load.file")
    where = f"times.txt:{line}: " if line else "times.txt: "
    assert where in only.message
    assert message in only.message


def test_send_times_are_nanoseconds_from_the_first(tmp_path: Path):
    path = tmp_path / "times"
    path.write_text("1700000000.000000001 # first\n1700000000.5\n1700000000.5\n")
    assert read_timestamps(path).values_ns == (0, 499_999_999, 499_999_999)
    path.write_text("1\n20\n")
    assert read_intervals(path).values_ns == (1000, 20_000)


def test_a_changed_file_is_read_again_and_has_another_digest(tmp_path: Path):
    path = tmp_path / "gaps"
    path.write_text("1\n")
    first = read_intervals(path)
    assert read_intervals(path) is first or read_intervals(path) == first
    path.write_text("2\n")
    os.utime(path, ns=(1, 1))
    assert read_intervals(path).values_ns == (2000,)
    assert read_intervals(path).sha256 != first.sha256


def test_a_folder_is_no_file_of_send_times(tmp_path: Path):
    with pytest.raises(ArrivalsError, match="cannot be read"):
        read_intervals(tmp_path)
    with pytest.raises(ArrivalsError, match="cannot be read: No such file"):
        read_intervals(tmp_path / "none")


def test_certificates_are_found_beside_the_scenario(desk):
    for name in ("ca.pem", "cert.pem", "key.pem"):
        desk.write("x\n", name)
    text = HEAD.replace("workload: {", "workload: {tls: {ca: ca.pem, cert: cert.pem, key: key.pem}, ")
    tls = desk.load(text).scenario.workload.tls
    assert (tls.ca, tls.key) == (str(desk.folder / "ca.pem"), str(desk.folder / "key.pem"))


# --- searches -----------------------------------------------------------------------------------------------------


def search(desk, text):
    return desk.load(f"{HEAD}load: {{kind: sla, {text}}}\n").scenario.load


def test_a_search_needs_no_more_than_a_limit(desk):
    load = search(desk, "percentile: 95, latency: 1s, attempts: 3")
    assert (load.percentile, load.latency, load.attempts, load.over) == (95, 1.0, 3, "rate")
    assert (load.probe.first, load.probe.max, load.confirm.repeats, load.confirm.window) == (10, 120, 2, 60)
    assert (load.resolution, load.strategy, load.budget.probes) == (0.02, "bracket", 100)
    assert search(desk, "attempts: 1").latency is None, "the knee"


def test_levels_are_rates_or_numbers_in_flight(desk):
    assert search(desk, "latency: 1s, range: {min: 5/s, max: 100/s}").range.max == 100.0
    assert search(desk, "latency: 1s, over: concurrency, range: {max: 8}").range.max == 8
    old = search(desk, "latency: 1s, strategy: linear")
    assert (old.first_level, old.step_size) == (5.0, 0.5), "as --qps and --qps-delta of the suite"


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("latency: 1s, range: {max: 8}", "load.range", "expected a rate such as 50/s as `range.max`, got 8"),
        ("latency: 1s, over: concurrency, range: {max: 5/s}", "load.range", "a whole number of requests in flight"),
        ("latency: 1s, range: {min: 9/s, max: 5/s}", "load.range.max", "expected at least the lower end 9"),
        ("latency: 1s, probe: {first: 10s, max: 5s}", "load.probe.max", "expected at least the lower end 10"),
        ("latency: 1s, strategy: pa_binary", "load", "a binary search needs both ends"),
        ("latency: 1s, strategy: perf_client", "load", "perf_client raises requests in flight"),
        ("latency: 1s, step: 5/s", "load.step", "a bracket has no steps"),
        ("strategy: linear", "load.strategy", "expected `latency` beside `linear`"),
    ],
)
def test_what_a_search_cannot_mean_is_refused_where_it_stands(desk, text, where, message):
    with pytest.raises(ScenarioError) as caught:
        search(desk, text)
    (found,) = caught.value.diagnostics
    assert message in found.message
    assert found.address == where


def test_send_times_are_read_from_perf_analyzers_json(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    file.write_text('{"data": [{"X": [1], "timestamp": [10]}, {"X": [2], "timestamp": 12.5}]}')
    assert read_timestamps(file).values_ns == (0, 2_500_000)
    file.write_text('{"data": [[{"timestamp": [0]}], [{"timestamp": [7]}]]}')
    assert read_timestamps(file).values_ns == (0, 7_000_000)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "expected {"),
        ('{"steps": []}', "expected {"),
        ('{"data": []}', "got none"),
        ('{"data": [{"X": [1]}]}', r"data\[0\]\.timestamp: expected milliseconds, got null"),
        ('{"data": [{"timestamp": [0]}, {"timestamp": [-1]}]}', r"data\[1\]\.timestamp: expected milliseconds"),
        ('{"data": [{"timestamp": [5]}, {"timestamp": [4]}]}', "expected ascending times"),
    ],
)
def test_json_without_send_times_is_refused(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    file.write_text(text)
    with pytest.raises(ArrivalsError, match=says):
        read_timestamps(file)
