"""Setup steps: what they get and what they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Artifact:
    """The digested output of a step, a file or a folder in the state directory."""

    path: Path
    digest: str
    """sha256 over the content (for a folder: over sorted relative names and file digests)."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Facts that every later number must carry, for example {"weights": "random"}."""


@dataclass(frozen=True)
class StepReport:
    """What happened to one step, and why."""

    name: str
    kind: str
    action: Literal["reused", "built", "not needed", "would build"]
    reason: str
    """For example "same inputs", "first time", "args.seed changed: 0 -> 1", "setup.onnx was rebuilt"."""
    seconds: float = 0.0
    artifact: Artifact | None = None
    log: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """Everything a runtime and the workload need from setup."""

    repository: Path
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
