"""`scenario perf` on a server that runs already, in this process or one of its own: options in, a run directory out."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass
class Process:
    """A command line that runs in a folder of its own."""

    folder: Path
    running: subprocess.Popen[str]

    @classmethod
    def start(cls, folder: Path, url: str, *arguments: str) -> Process:
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "runner", "perf", "-u", url, *SHORT, *arguments]
        environment = {**os.environ, "SCENARIO_HOME": str(folder / "home")}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return cls(folder, subprocess.Popen(command, cwd=folder, env=environment, **pipes))

    def ended(self) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        try:
            out, err = self.running.communicate(timeout=60)
        finally:
            self.running.kill()
        return self.running.returncode, out, err

    def levels(self) -> list[dict[str, Any]]:
        """Those that are in the journal."""
        journals = list(self.folder.glob("runs/*/journal.jsonl"))
        lines = journals[0].read_text().splitlines(keepends=True) if journals else []
        return [found for line in lines if line.endswith("\n") and (found := json.loads(line))["kind"] == "trial"]

    def rows(self) -> list[dict[str, str]]:
        with (self.folder / "out.csv").open() as file:
            return list(csv.DictReader(file))


def wait_for(condition: Callable[[], object], process: Process) -> None:
    """Until it holds; fails when the process ends before that."""
    deadline = time.monotonic() + 60
    while not condition():
        assert process.running.poll() is None, process.ended()
        assert time.monotonic() < deadline, "nothing happened for a minute"
        time.sleep(0.05)


def write_json(path: Path, document: object) -> str:
    """The path, as an argument."""
    path.write_text(json.dumps(document))
    return str(path)
