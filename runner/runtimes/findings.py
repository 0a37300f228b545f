"""What a look at this machine finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line of a preflight: what was looked at, what was found, what mends it."""

    check: str
    level: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str | None = None
    """A command or an edit."""


def not_needed(finding: Finding, why: str = "this target needs none") -> Finding:
    """The same where nothing depends on it: lacking it is no fault."""
    if finding.level == "ok":
        return finding
    return replace(finding, level="ok", detail=f"{finding.detail}; {why}", remedy=None)


def failed(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those that something needed fails by."""
    return tuple(finding for finding in findings if finding.level == "fail")
