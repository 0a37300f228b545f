"""The built-in scenario on a GPU as a user runs it, with a few points, and the GPU's own numbers beside them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.docker, pytest.mark.timeout(1800)]
SETTINGS = (
    "vars.images=8",
    "vars.max_batch=4",
    "matrix.axes={workload.batch: [1, 4], load.concurrency: [1, 4]}",
    # What else the machine does is not what is tested; the GPU's numbers are.
    "measure={window: {min: 4s, max: 8s}, telemetry: {period: 200ms, sources: [prometheus, gpu]}}",
)


@pytest.mark.parametrize("target", ["gpu", "gpu-cpu-preprocessing"])
def test_the_target_from_nothing_to_a_report(target: str, image: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "runner", "run", "efficientnet", "--target", target]
    options = [f"--set={each}" for each in (*SETTINGS, f"targets.{target}.launch.image={image}")]
    environment = {**os.environ, "SCENARIO_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [directory] = (tmp_path / "runs").iterdir()
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["target"] == target
    assert manifest["labels"]["weights"] == "random"
    assert ("dali" in manifest["labels"]) == (target == "gpu")
    rows = list(csv.DictReader((directory / "points.csv").open()))
    assert len(rows) == 4
    for row in rows:
        assert float(row["inferences_per_s"]) > 0
        assert float(row["gpu_energy_j"]) > 0, "NVML, live"
        assert float(row["gpu_memory_used_max_bytes"]) > 0
        assert 0 < float(row["gpu_utilization"]) <= 1
