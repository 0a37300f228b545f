"""Setup steps: what they get and what they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO


@dataclass(frozen=True)
class Artifact:
    """The digested output of a step, a file or a folder in the state directory."""

    path: Path
    digest: str
    """sha256 over the content (for a folder: over sorted relative names and file digests)."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Facts that every later number must carry, for example {"weights": "random"}."""


Action = Literal["reused", "built", "not needed", "would build"]


@dataclass(frozen=True)
class StepReport:
    """What happened to one step, and why."""

    name: str
    kind: str
    action: Action
    reason: str
    """For example "same inputs", "first time", "args.seed changed: 0 -> 1", "setup.onnx was rebuilt"."""
    seconds: float = 0.0
    artifact: Artifact | None = None
    log: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """Everything a runtime and the workload need from setup."""

    repository: Path
    """The assembled model repository; empty where the server is remote."""
    artifacts: Mapping[str, Artifact]
    reports: tuple[StepReport, ...]
    labels: Mapping[str, str]
    """Union of the labels of all artifacts in use."""


@dataclass(frozen=True)
class Progress:
    """Something happened in a step; `done`/`total` in bytes or items where known."""

    step: str
    message: str
    done: int | None = None
    total: int | None = None


OnProgress = Callable[[Progress], None]

Parts = Mapping[str, str]
"""What a fingerprint is made of, by name: `args.seed`, `script`, `setup.onnx`, `version of numpy`, …"""


@dataclass(frozen=True)
class Product:
    """What a step wrote into its workbench."""

    path: Path
    """The file or folder, inside the workbench directory."""
    labels: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values kept in the stamp, so that later checks need not open the artifact."""
    digest: str | None = None
    """sha256 where the step knows it already."""


@dataclass(frozen=True)
class Workbench:
    """Where one step works: an empty directory that becomes the artifact, and the step's log."""

    step: str
    directory: Path
    log: TextIO
    reproduce: Path
    """`reproduce.sh` of the step: shell commands that repeat it without this tool."""
    inputs: Mapping[str, Artifact] = field(default_factory=dict)
    on_progress: OnProgress | None = None

    def say(self, message: str, *, done: int | None = None, total: int | None = None) -> None:
        """Tell whoever watches."""
        if self.on_progress:
            self.on_progress(Progress(self.step, message, done, total))

    def note(self, line: str) -> None:
        """Write a line to the log."""
        self.log.write(line + "\n")
        self.log.flush()


class Step(Protocol):
    """Makes one artifact. Contract suite: `tests/contracts/step.py`."""

    name: str
    kind: str

    def fingerprint(self, inputs: Mapping[str, Artifact]) -> Parts:
        """Everything that the artifact depends on; cheap, because it is asked for on every run."""
        ...

    def run(self, bench: Workbench) -> Product:
        """Write the artifact into `bench.directory`, and nowhere else.

        Raises:
            SetupError: with the reason and what to do; what was written is thrown away.
        """
        ...
