"""A folder with a model in it, where scenarios are written and loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import ScenarioError
from runner.scenario.loading import load_scenario


class Desk:
    """Writes scenario files and loads them without anything of the real environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "model" / "1").mkdir(parents=True)
        (folder / "run.py").write_text("")

    def write(self, text: str, name: str = "scenario.yaml") -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def load(self, text: str, **options):
        return load_scenario(self.write(text), **{"env": {}, **options})

    def mistakes(self, text: str, **options):
        with pytest.raises(ScenarioError) as caught:
            self.load(text, **options)
        return caught.value.diagnostics


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path)
