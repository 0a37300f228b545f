"""manifest.json: what was run, with what, where, and how it ended."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from runner.errors import RigError
from runner.results.codec import CodecError, decode, encode
from runner.results.files import sha256_of, write_atomic
from runner.results.journal import SCHEMA
from runner.results.secrets import shown_command

Outcome = Literal["running", "complete", "partial", "aborted"]
"""running: in progress, or killed · complete: every point is there · partial: not every one · aborted: by an error."""


@dataclass(frozen=True)
class ScenarioRecord:
    """Which scenario."""

    name: str
    digest: str
    """sha256 of `resolved.yaml`."""
    path: str | None = None
    file_sha256: str | None = None
    """Of the file as the user wrote it."""


@dataclass(frozen=True)
class SetupRecord:
    """What happened to one setup step, and why."""

    name: str
    kind: str
    action: str
    reason: str
    seconds: float = 0.0
    digest: str | None = None
    """Of what the step made."""


@dataclass(frozen=True)
class ArtefactRecord:
    """One file of the run directory."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """Everything about a run that is not a measurement."""

    schema: int
    run_id: str
    tool_version: str
    started_utc: str
    scenario: ScenarioRecord
    command: tuple[str, ...] = ()
    """As typed, secrets redacted."""
    ended_utc: str | None = None
    outcome: Outcome = "running"
    target: str | None = None
    seeds: dict[str, int] = field(default_factory=dict)
    setup: tuple[SetupRecord, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    """Facts that belong to every number, for example {"weights": "random"}."""
    kind: Literal["run", "study"] = "run"
    """study: made by `scenario tune`, which alone can go on with it."""
    compare_group: str | None = None
    """Shared by the two runs of a comparison, which were measured in the same blocks."""
    server: dict[str, str] = field(default_factory=dict)
    """Versions and identifiers of the service."""
    environment: dict[str, Any] = field(default_factory=dict)
    """See `environment.fingerprint`."""
    artefacts: tuple[ArtefactRecord, ...] = ()
    """The files of the directory, written when the run ends."""

    def write(self, path: Path) -> None:
        """Replace the file at `path`."""
        text = json.dumps(encode(self, "manifest"), indent=2, ensure_ascii=False, allow_nan=False)
        write_atomic(path, text.encode("utf-8", "backslashreplace") + b"\n")


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`."""
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise RigError(f"cannot read {path}: {error.strerror}", hint="is this a run directory?") from error
    except (ValueError, RecursionError) as error:
        raise RigError(f"{path} is not JSON: {error}", hint="restore it from a copy") from error
    check_schema(path, value.get("schema") if isinstance(value, dict) else None)
    try:
        return decode(Manifest, value, "manifest")
    except CodecError as error:
        raise RigError(f"{path}: {error} (schema {SCHEMA})", hint="restore it from a copy") from error


def check_schema(where: Path | str, found: object) -> None:
    """Refuse files of another schema version, saying which tool can read them."""
    if found != SCHEMA:
        raise RigError(
            f"{where}: expected schema {SCHEMA}, got {found!r}",
            hint="read the run with the version of this tool that wrote it, see `tool_version` in manifest.json",
        )


class ReportLike(Protocol):
    """What `setup.base.StepReport` offers; results lie below setup and cannot import it."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def action(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def artifact(self) -> Any: ...


def setup_records(reports: Iterable[ReportLike]) -> tuple[SetupRecord, ...]:
    """What the manifest keeps of the reports of setup."""
    return tuple(
        SetupRecord(r.name, r.kind, r.action, r.reason, r.seconds, r.artifact.digest if r.artifact else None)
        for r in reports
    )


def artefacts_in(folder: Path, ignore: Sequence[str]) -> tuple[ArtefactRecord, ...]:
    """Every visible file below `folder`, sorted by path, without those named in `ignore`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    names = [(path, path.relative_to(folder).as_posix()) for path in files if not path.name.startswith(".")]
    return tuple(ArtefactRecord(name, sha256_of(p), p.stat().st_size) for p, name in names if name not in ignore)


def changed(manifest: Manifest, **changes: Any) -> Manifest:
    """A copy with some fields replaced; secrets of `command` are hidden on the way."""
    if "command" in changes:
        changes["command"] = shown_command(changes["command"])
    return dataclasses.replace(manifest, **changes)
