"""What `scenario verify` finds: every place where a run directory does not say what its raw counts say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Discrepancy:
    """One value that is not what it should be."""

    file: str
    """Relative to the run directory."""
    point: str
    """Case and repeat; empty where the whole file is meant."""
    field: str
    expected: str
    got: str

    def __str__(self) -> str:
        where = " ".join(part for part in (self.file, self.point, self.field) if part)
        return f"{where}: expected {self.expected}, got {self.got}"


@dataclass(frozen=True)
class Verification:
    """The outcome of a verification."""

    files: int
    """Whose digest was checked."""
    trials: int
    """Made again from their raw record."""
    reports: int
    """Made again from the journal."""
    discrepancies: tuple[Discrepancy, ...]
    notes: tuple[str, ...] = ()
    """What could not be checked, and why that is no fault."""
