"""`scenario` as a user runs it: a process of its own, in a scratch folder, with a home of its own."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = str(Path(__file__).parents[2])


class Cli:
    """One scratch folder, and what its runs leave in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.file = folder / "scenario.yaml"
        """For the caller to write."""

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "runner", *arguments]
        environment = {**os.environ, "SCENARIO_HOME": str(self.home), "PYTHONPATH": ROOT}
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=110)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def directory(self) -> Path:
        """Of the only run."""
        (found,) = (self.folder / "runs").iterdir()
        return found

    def journal(self) -> list[dict[str, Any]]:
        """Its whole lines so far."""
        if not list((self.folder / "runs").glob("*")):
            return []
        path = self.directory() / "journal.jsonl"
        # The directory is there a moment before its journal.
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def trials(self) -> list[dict[str, Any]]:
        return [line for line in self.journal() if line["kind"] == "trial"]

    def leftovers(self) -> set[str]:
        """Server processes and shared-memory segments of these runs: others may run beside them."""
        runs = [path.name for path in (self.folder / "runs").glob("*")]
        segments = {name for name in os.listdir("/dev/shm") if any(run in name for run in runs)}
        return segments | {str(process) for process in self._servers()}

    def _servers(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if "triton" in process.name() and process.environ().get("SCENARIO_HOME") == str(self.home):
                    yield process


def wait_for(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"expected within {seconds} s: {what}"
        time.sleep(0.1)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
