"""`scenario` beside a Triton in one container, as in the image `all-in-one`: no Docker socket, nobody is root.

The image itself is built by hand (docs/containers.md): its packages come over the network. Here this environment's own
packages are mounted into the serving image, so that the server, its layout and its start are the same.
"""

from __future__ import annotations

import json
import site
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]


def test_a_run_starts_the_installed_server_and_leaves_nothing(
    client: Any, image: str, models: Path, tmp_path: Path
) -> None:
    document = {
        "scenario": 1,
        "name": "beside",
        "targets": {"beside": {"launch": {"kind": "embedded", "program": "tritonserver"}}},
        "repository": {"models": {"identity": {"from": "/models/identity"}}},
        "workload": {"model": "identity", "input": {"INPUT0": {"generate": "random", "shape": [4]}}},
        "measure": {"profile": "reference", "requests": 40, "telemetry": {"sources": []}},
    }
    (tmp_path / "it.yaml").write_text(yaml.safe_dump(document))
    tmp_path.chmod(0o755)
    mounts = {str(ROOT): "/src", site.getsitepackages()[0]: "/packages", str(models): "/models", str(tmp_path): "/it"}
    # 5: measured, though a busy machine makes the number doubtful.
    run = "python3 -m runner run /it/it.yaml --output-dir /tmp/runs >/dev/null || test $? = 5"
    script = f"{run}; cat /tmp/runs/*/manifest.json /tmp/runs/*/journal.jsonl; ls /dev/shm"
    said = client.containers.run(
        image,
        ["sh", "-c", script],
        user="1000:1000",
        environment={"PYTHONPATH": "/src:/packages", "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"},
        volumes={source: {"bind": place, "mode": "ro"} for source, place in mounts.items()},
        working_dir="/tmp",
        network_mode="none",
        shm_size="256m",
        remove=True,
        stderr=False,
    ).decode()
    manifest, end = json.JSONDecoder().raw_decode(said)
    *journal, last = said[end:].split("\n")
    trials = [json.loads(line) for line in journal if '"trial"' in line]
    assert manifest["server"]["program"] == "/opt/tritonserver/bin/tritonserver"
    assert manifest["server"]["server"] == "tritonserver 2.51.0"
    assert [trial["counts"]["ok"] for trial in trials] == [40]
    assert (journal[-1][:1], last) == ("{", ""), "shared memory is left"
