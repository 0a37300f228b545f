"""`scenario perf` in this process, on a server that runs already: options in, a run directory out."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import yaml

from runner.cli.main import invoke
from runner.runtimes.base import RunningServer

MEASURED = (0, 5)
"""On a busy machine a level may be invalid, because the client was late; its counts are right all the same."""
SHORT = ("-p", "200", "-s", "999", "--progress", "none", "--set", "measure.telemetry.sources=[]")
"""Three short windows that are alike whatever else the machine does."""


class Perf:
    """Runs in a scratch folder, and looks at what was left there."""

    def __init__(self, server: RunningServer, folder: Path) -> None:
        self.server, self.folder = server, folder

    def __call__(self, *arguments: str) -> int:
        protocol = "grpc" if "grpc" in arguments else "http"
        return invoke(["perf", "-u", getattr(self.server.endpoint, protocol), *SHORT, *arguments])

    @property
    def run(self) -> Path:
        (found,) = (self.folder / "runs").iterdir()
        return found

    def points(self) -> list[dict[str, str]]:
        with (self.run / "points.csv").open() as file:
            return list(csv.DictReader(file))

    def resolved(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((self.run / "resolved.yaml").read_text())
        return found


def write_json(path: Path, document: object) -> str:
    """The path, as an argument."""
    path.write_text(json.dumps(document))
    return str(path)
