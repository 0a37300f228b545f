"""`scenario run A --against B`, `compare` and `verify` as a user runs them, on a real Triton."""

from __future__ import annotations

import json
from pathlib import Path

from runner.workflow.verifying import verify_run
from tests.integration.command import Cli

MODELS = Path(__file__).parent / "resources" / "models"
SLEEPY = f"""scenario: 1
name: sleepy
vars: {{delay: {{type: float, default: 20}}}}
repository: {{models: {{sleepy: {{from: {MODELS}/sleepy, args: {{delay_ms: "${{vars.delay}}"}}}}}}}}
workload: {{model: sleepy, input: {{INPUT0: {{generate: random, shape: [4]}}}}}}
measure:
  telemetry: {{sources: []}} # this is about the two sides, not about who else uses the machine
  warmup: {{min_time: 300ms, min_requests_per_slot: 1}}
  window: {{min: 1s, max: 2s}}
matrix: {{axes: {{load.concurrency: [2]}}}}
"""


def test_a_slower_model_is_found_in_interleaved_blocks_and_everything_verifies(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "sleepy.yaml").write_text(SLEEPY)
    slower = ["--set", "vars.delay=80", "--against", "sleepy.yaml", "--blocks", "2", "--fail-if", "p50 > 100%"]
    done = cli.run("run", "sleepy.yaml", *slower)
    assert done.returncode == 10, done.stdout + done.stderr
    assert "gate missed" in done.stderr
    a, b = done.stdout.splitlines()[-1].removeprefix("results: ").split()

    compared = cli.run("compare", Path(a).name, Path(b).name, "--format", "json")
    assert compared.returncode == 0, compared.stderr
    comparison = json.loads(compared.stdout)["comparison"]
    (point,) = comparison["points"]
    assert (point["design"], point["used_a"], point["used_b"]) == ("paired", 2, 2)
    median = next(c for c in point["contrasts"] if c["metric"] == "latency_p50_ms")
    assert 1.5 < median["change"]["value"] < 4  # 80 ms instead of 20 ms, and what the machine adds
    assert comparison["differences"]["rig"] == []
    assert "vars.delay.default: 80.0 | 20.0" in comparison["differences"]["scenario"]

    assert verify_run(tmp_path / a).discrepancies == verify_run(tmp_path / b).discrepancies == ()
    (tmp_path / a / "points.csv").write_text("nonsense")
    assert cli.run("verify", a).returncode == 5
