"""A capacity search as a user runs it: a process of its own, a real Triton, killed in the middle and taken up again."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from runner.workflow.verifying import verify_run
from tests.integration.command import Cli, rows, wait_for

MODELS = Path(__file__).parent / "resources" / "models"
FILE = f"""scenario: 1
name: hunt
repository: {{models: {{sleepy: {{from: {MODELS}/sleepy, args: {{delay_ms: 20}}}}}}}}
workload: {{model: sleepy, input: {{INPUT0: {{generate: random, shape: [4]}}}}}}
load:
  kind: sla
  percentile: 50  # a median needs few requests, so that seconds are enough
  latency: 170ms
  over: concurrency  # a closed loop is not late on a busy machine
  range: {{max: 16}}
  probe: {{first: 600ms, max: 1200ms}}
  confirm: {{repeats: 1, window: 600ms}}
measure: {{warmup: {{min_time: 200ms, min_requests_per_slot: 1}}, drain: 3s, telemetry: {{sources: []}}}}
"""
MOST = 8
"""One instance that sleeps 20 ms answers so many within 170 ms, fewer on a machine that is busy."""


@pytest.fixture
def cli(cli: Cli) -> Cli:
    cli.file.write_text(FILE)
    return cli


def probes(cli: Cli) -> list[dict[str, Any]]:
    return [trial["probe"] for trial in cli.trials() if trial["probe"] is not None]


def test_a_search_that_was_killed_goes_on_and_ends_with_a_capacity(cli: Cli) -> None:
    process = cli.start("run", str(cli.file), "--progress", "plain")
    wait_for(lambda: (cli.folder / "runs").is_dir() and len(probes(cli)) >= 2, "some loads")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kept = probes(cli)
    assert cli.trials()[-1]["capacity"] is None

    done = cli.run("run", str(cli.file), "--resume", "--progress", "plain")
    assert done.returncode == 0, done.stderr
    assert probes(cli)[: len(kept)] == kept, "what was measured is not measured again"
    (answer,) = (trial["capacity"] for trial in cli.trials() if trial["capacity"] is not None)
    assert answer["status"] == "found", answer
    assert 1 <= answer["level"] <= MOST
    assert answer["high"] == answer["level"] + 1
    assert answer["attempts"][0]["probes"] == probes(cli)
    assert [probe["stage"] for probe in probes(cli)][-1] == "confirm"
    assert len(list((cli.directory() / "logs").glob("server-*.log"))) >= 2, "the confirmation has a fresh server"

    (row,) = rows(cli.directory() / "points.csv")
    assert (row["state"], row["capacity_status"]) == ("ok", "found")
    assert float(row["capacity_concurrency"]) == answer["level"]
    assert float(row["latency_p50_ms"]) <= 170
    assert "capacity " in done.stdout
    assert "alone 1 in flight: pass" not in done.stderr, "it was told, not tried"
    (point,) = json.loads((cli.directory() / "points.json").read_text())["points"]
    assert point["capacity"] == answer
    assert verify_run(cli.directory()).discrepancies == ()
    _compared_with_a_copy(cli, answer)


def _compared_with_a_copy(cli: Cli, answer: dict[str, Any]) -> None:
    """The capacity is compared, by what passed and failed; nothing that was measured at different loads is."""
    copy = shutil.copytree(cli.directory(), cli.folder / "copy")
    done = cli.run("compare", str(cli.directory()), str(copy), "--format", "json")
    assert done.returncode == 0, done.stderr
    (point,) = json.loads(done.stdout)["comparison"]["points"]
    (contrast,) = point["contrasts"]
    assert (point["design"], contrast["metric"]) == ("searches", "capacity_concurrency")
    assert contrast["a"] == contrast["b"] == answer["level"]
    assert contrast["verdict"] == "undecided", "one more in flight was not shown to be too much by less than 2 %"
