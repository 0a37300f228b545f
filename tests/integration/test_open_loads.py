"""Open loads and ramps from a scenario file to the tables, against a real Triton."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.command import Cli, rows

MODELS = Path(__file__).parent / "resources" / "models"
HEAD = f"""scenario: 1
name: open
repository: {{models: {{sleepy: {{from: {MODELS}/sleepy, args: {{delay_ms: 5}}}}}}}}
workload: {{model: sleepy, input: {{INPUT0: {{generate: random, shape: [4]}}}}}}
measure:
  warmup: {{min_time: 300ms, min_requests_per_slot: 2}}
  window: {{min: 1s, max: 2s}}
  telemetry: {{sources: []}}  # these tests are of the run, not of who else uses the machine
"""


def point(cli: Cli, text: str) -> list[dict[str, str]]:
    cli.file.write_text(HEAD + text)
    done = cli.run("run", str(cli.file))
    assert "Traceback" not in done.stderr, done.stderr
    return rows(cli.directory() / "points.csv")


def test_rates_are_offered_and_reported(cli: Cli) -> None:
    measured = point(cli, "load: {kind: poisson, rate: 20/s}\nmatrix: {axes: {load.rate: [20/s, 60/s]}}\n")
    assert [float(row["rate"]) for row in measured] == [20, 60]
    assert [row["case_id"].rpartition("-")[0] for row in measured] == ["r20", "r60"]
    for row in measured:
        assert row["load"] == "poisson"
        assert float(row["offered_per_s"]) == pytest.approx(float(row["rate"]), rel=0.5)
        assert row["server_success_count"] == row["requests_ok"]
        assert (row["requests_failed"], row["requests_dropped"]) == ("0", "0")
        assert float(row["latency_p50_ms"]) >= 5


def test_an_overloaded_rate_drops_and_says_so(cli: Cli) -> None:
    (row,) = point(cli, "load: {kind: constant, rate: 2000/s, max_in_flight: 4}\n")
    assert row["state"] == "invalid"
    assert "not_delivered" in row["flags"]
    assert int(row["requests_dropped"]) > 1000
    assert float(row["offered_per_s"]) == pytest.approx(2000, rel=0.01)
    assert row["server_success_count"] == row["requests_ok"]


def test_a_replay_sends_its_file_and_ends(cli: Cli) -> None:
    (cli.folder / "times.txt").write_text("".join(f"{n / 50}\n" for n in range(60)))
    (row,) = point(cli, "load: {kind: replay, file: times.txt}\n")
    assert (row["requests_sent"], row["completions"], row["server_success_count"]) == ("60", "60", "60")
    assert 1.18 <= float(row["window_s"]) < 2
    assert "send_times_sha256=" in row["labels"]


def test_a_ramp_climbs_to_its_end(cli: Cli) -> None:
    (row,) = point(cli, "load: {kind: periodic, start: 1, end: 3, step: 1, request_period: 5}\n")
    assert int(row["requests_ok"]) >= 5 * (1 + 2 + 3)
    assert row["server_success_count"] == row["requests_ok"]
    assert row["state"] == "ok", row
