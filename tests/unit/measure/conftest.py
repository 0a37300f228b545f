"""What trials in virtual time need."""

from __future__ import annotations

import pytest

from runner.measure import trial as trial_module


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters stand still at once here, or never."""
    monkeypatch.setattr(trial_module, "SETTLE_STEP_S", 0.0)
    monkeypatch.setattr(trial_module, "SETTLE_S", 0.05)
