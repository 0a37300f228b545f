from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.errors import RigError
from runner.results.manifest import (
    Manifest,
    ScenarioRecord,
    SetupRecord,
    artefacts_in,
    changed,
    read_manifest,
    setup_records,
)
from runner.scenario.secrets import HIDDEN

MANIFEST = Manifest(1, "run", "0.1", "2025-11-21T04:00:00.000Z", ScenarioRecord("tiny", "d" * 64))


def test_it_reads_back_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    full = changed(
        MANIFEST,
        command=["scenario", "run", "naïve.yaml"],
        seeds={"measure": 7},
        setup=(SetupRecord("onnx", "export", "built", "first time", 1.5, "abc"),),
        environment={"kernel": "6.1", "gpus": {"absent": "no driver"}},
        outcome="complete",
    )
    full.write(path)
    assert read_manifest(path) == full
    assert '"naïve.yaml"' in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"manifest\.json is not JSON"),
        pytest.param("[" * 100_000, r"manifest\.json is not JSON", id="deep"),
        ("[]", r"manifest\.json: expected schema 1, got None"),
        ('{"schema": 9}', r"manifest\.json: expected schema 1, got 9"),
        ('{"schema": 1, "mood": "good"}', r"manifest: unknown key 'mood'.* \(schema 1\)"),
    ],
)
def test_a_manifest_that_is_none_is_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(RigError, match=message) as caught:
        read_manifest(path)
    assert caught.value.hint


def test_a_missing_manifest_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RigError, match=r"cannot read .*manifest\.json: No such file"):
        read_manifest(tmp_path / "manifest.json")


def test_secrets_never_reach_the_manifest() -> None:
    manifest = changed(MANIFEST, command=["scenario", "run", "--api-key", "hunter2", "x"])
    assert manifest.command == ("scenario", "run", "--api-key", HIDDEN, "x")


@dataclass(frozen=True)
class FakeReport:
    name: str
    kind: str
    action: str
    reason: str
    seconds: float
    artifact: Any


@dataclass(frozen=True)
class FakeArtifact:
    digest: str


def test_setup_reports_become_records() -> None:
    built = FakeReport("onnx", "export", "built", "first time", 2.0, FakeArtifact("abc"))
    skipped = FakeReport("images", "dataset", "not needed", "nothing refers to it", 0.0, None)
    assert setup_records([built, skipped]) == (
        SetupRecord("onnx", "export", "built", "first time", 2.0, "abc"),
        SetupRecord("images", "dataset", "not needed", "nothing refers to it", 0.0, None),
    )


def test_artefacts_are_sorted_and_leave_out_hidden_files_and_links(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name in ("b.csv", "a.csv", "logs/x.log", ".owner", "manifest.json"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("a.csv")
    found = artefacts_in(tmp_path, ignore=("manifest.json",))
    assert [(a.path, a.bytes) for a in found] == [("a.csv", 5), ("b.csv", 5), ("logs/x.log", 10)]
    assert json.loads(json.dumps(found[0].sha256)) == found[0].sha256
