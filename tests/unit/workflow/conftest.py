"""What tests of studies share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.scenario_files import Load
from tests.unit.workflow.study_support import Laboratory, study_file


@pytest.fixture
def _no_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the engine alone could send takes a while to measure, and these servers are far from it."""
    monkeypatch.setattr("runner.measure.ceiling.engine_ceiling_per_s", lambda engine, concurrency, cpus: 1e6)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    return study_file(tmp_path)


@pytest.fixture
def lab(tmp_path: Path) -> Laboratory:
    return Laboratory(tmp_path)
