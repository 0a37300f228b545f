"""`scenario doctor` on a machine without an NVIDIA driver and with planted container engines."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.cli.main import invoke
from runner.runtimes import host
from runner.runtimes.doctor import examine, machine_facts
from runner.runtimes.findings import Finding
from runner.scenario.loading import load_scenario
from runner.setup import coverage
from runner.workflow import state_of

FILE = """scenario: 1
name: here
vars: {port: {type: int, default: 8001}}
targets:
  gpu:
    requires: {gpus: 1}
    launch: {kind: docker, image: triton, gpus: all}
  cpu: {}
  tuned: {rig: {lock_clocks: base, server_cpus: 0-4000}}
setup:
  weights: {kind: fetch, url: "https://models.invalid/w.bin", sha256: DIGEST}
  other: {kind: fetch, url: "https://models.invalid/o.bin"}
  tool: {kind: script, script: run.py, image: tools, args: {weights: "${setup.weights}", other: "${setup.other}"}}
repository: {models: {m: {from: model, files: {1/w: "${setup.tool}"}}}}
workload: {model: m}
"""
DIGEST = hashlib.sha256(b"weights").hexdigest()
Doctor = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with here.yaml, a home, and no container engine; a machine where the embedded server could run."""
    (tmp_path / "here.yaml").write_text(FILE.replace("DIGEST", DIGEST))
    (tmp_path / "run.py").write_text("")
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENARIO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(host, "gpu_count", lambda: 0)
    monkeypatch.setattr(examine, "read_driver", lambda: "no NVIDIA driver: planted")
    monkeypatch.setattr("runner.runtimes.preflight.findings", lambda wheel, state: [Finding("numpy", "ok", "1.26")])


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Exit code and the document of `--json`."""

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        status = invoke(["doctor", "here.yaml", "--json", *arguments])
        document = json.loads(capsys.readouterr().out)
        assert all(finding["remedy"] for finding in document["findings"] if finding["level"] != "ok")
        return status, document

    return run


def of(document: dict[str, Any], level: str) -> dict[str, str]:
    return {finding["check"]: finding["detail"] for finding in document["findings"] if finding["level"] == level}


def test_the_first_target_that_this_machine_can_serve_is_looked_at(doctor: Doctor) -> None:
    status, document = doctor()
    assert (status, document["ok"], document["target"], of(document, "fail")) == (0, True, "cpu", {})
    assert [(each["name"], each["chosen"]) for each in document["targets"]] == [
        ("gpu", False), ("cpu", True), ("tuned", False),
    ]  # fmt: skip
    assert document["targets"][0]["missing"][0]["detail"] == "1 NVIDIA GPU needed, none found"
    assert of(document, "ok")["NVIDIA driver"].endswith("; this target needs none")
    assert of(document, "ok")["container engine"].endswith("; this target needs none")


def test_gpus_where_there_are_none_fail_with_a_remedy(doctor: Doctor) -> None:
    status, document = doctor("--target", "gpu")
    assert (status, document["ok"], document["target"]) == (3, False, "gpu")
    failed = of(document, "fail")
    assert {"GPUs", "NVIDIA driver", "container engine"} <= failed.keys()
    assert failed["container engine"].startswith("no Docker engine answers")


def test_where_no_target_can_be_chosen_the_first_is_looked_at(doctor: Doctor, tmp_path: Path) -> None:
    path = tmp_path / "here.yaml"
    path.write_text(
        path.read_text().replace("  cpu: {}\n", "").replace("  tuned:", "  tuned: {requires: {gpus: 9}}\n  #")
    )
    status, document = doctor()
    assert (status, document["target"]) == (3, "gpu")
    assert [each["chosen"] for each in document["targets"]] == [False, False]


def test_a_rig_that_cannot_be_set(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    status, document = doctor("--target", "tuned")
    failed = of(document, "fail")
    assert status == 3
    assert failed["rig: processors"].startswith("rig.server_cpus: this machine has no CPUs")
    assert failed["rig: GPUs"] == "the driver lets only root set clocks, power limits and persistence"
    [remedy] = [each["remedy"] for each in document["findings"] if each["check"] == "rig: GPUs"]
    assert "sudo nvidia-smi -lgc BASE_MHZ,BASE_MHZ" in remedy
    assert "NVIDIA driver" in failed


def test_ports_that_are_fixed_are_tried(doctor: Doctor) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        status, document = doctor("--set", f"server.flags={{grpc-port: {port}}}")
        assert (status, f"port {port} (grpc) is taken" in of(document, "fail")["ports"]) == (3, True)
    status, document = doctor("--set", f"server.flags={{grpc-port: {port}}}")
    assert (status, of(document, "ok")["ports"]) == (0, f"grpc {port} is free")
    assert "a number from 1 to 65535" in of(doctor("--set", "server.flags={grpc-port: 0}")[1], "fail")["ports"]


def test_what_offline_would_lack(doctor: Doctor, tmp_path: Path) -> None:
    lacking = of(doctor()[1], "warn")
    assert lacking["setup.weights"] == "https://models.invalid/w.bin is not in the cache"
    assert {"setup.other", "image tools"} <= lacking.keys()
    assert "nobody can say whether it is here" in lacking["image tools"]
    loaded = load_scenario(tmp_path / "here.yaml", target="cpu")
    blob = state_of(loaded).blob(DIGEST)
    found = {finding.check: finding for finding in coverage.findings(loaded.scenario, state_of(loaded))}
    assert str(blob) in (found["setup.weights"].remedy or "")
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"weights")
    assert "setup.weights" not in of(doctor()[1], "warn")


def test_people_read_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_facts, "clock_status", lambda: 0x40)
    assert invoke(["doctor", "here.yaml", "--target", "gpu"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "target gpu: chosen, though 1 NVIDIA GPU needed, none found"
    assert lines[1] == "target cpu: possible, --target chooses it"
    fault = lines.index("  fail  GPUs: 1 NVIDIA GPU needed, none found")
    assert lines[fault + 1].startswith("        -> install the NVIDIA driver")
    assert "        -> sudo timedatectl set-ntp true" in lines
    assert lines[-1].startswith("here cannot run here on target gpu (")


def test_an_unknown_target_and_a_mistake_are_what_they_are_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["doctor", "here.yaml", "--target", "cpuu"]) == 2
    assert invoke(["doctor", "here.yaml", "--set", "workload.batch=none"]) == 2
    assert "did you mean cpu?" in capsys.readouterr().err


def test_a_scenario_without_targets(doctor: Doctor, tmp_path: Path) -> None:
    text = FILE.replace("DIGEST", DIGEST)
    start, end = text.index("targets:"), text.index("setup:")
    (tmp_path / "here.yaml").write_text(text[:start] + text[end:])
    status, document = doctor()
    assert (status, document["target"], document["targets"]) == (0, None, [])
