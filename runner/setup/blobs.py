"""The cache of downloads that all scenarios share: files known by their digests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runner.results.files import sha256_of
from runner.setup.base import Workbench
from runner.setup.state import StateDirectory


@dataclass(frozen=True)
class Missing:
    """Something of the network that is not on this machine."""

    step: str
    what: str
    """Its URL, or which script gets it."""
    expected_at: Path | None
    """Where an offline setup would find it; None where no digest is known beforehand."""


def cached(state: StateDirectory, digest: str, bench: Workbench) -> Path | None:
    """The file in the cache, if its content is what its name says."""
    blob = state.blob(digest)
    if not blob.is_file():
        return None
    if sha256_of(blob) == digest:
        bench.note(f"from the cache: {blob}")
        state.ledger.done("download", blob, group="downloads")
        return blob
    bench.note(f"{blob} is damaged and is removed")
    blob.unlink()
    return None


def keep(state: StateDirectory, digest: str, arrived: Path) -> Path:
    """Move a checked file into the cache; both are in the state directory's file system."""
    blob = state.blob(digest)
    state.make_folder(blob.parent, group="downloads")
    with state.ledger.effect("download", blob, group="downloads"):
        arrived.replace(blob)
    return blob
