"""What the answers of a load are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from runner.load.plan import SharedOutputs


@dataclass(frozen=True)
class References:
    """Where expected answers come from, and where outputs lie."""

    answers: tuple[bytes, ...] | None = None
    """Of each payload, from files; None: what the server answers before the load."""
    requests: Callable[[], Iterable[bytes]] | None = None
    """What to ask the server for reference answers, where not the payloads themselves."""
    shared: SharedOutputs | None = None
