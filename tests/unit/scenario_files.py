"""Scenario files of tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runner.scenario.loading import LoadedScenario, load_scenario

Load = Callable[..., LoadedScenario]


def loader(path: Path, text: str) -> Load:
    """Writes the file; what is returned loads it with overrides, whatever the environment says."""
    path.write_text(text)
    return lambda *overrides: load_scenario(path, set_=overrides, env={})
