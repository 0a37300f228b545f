"""What every protocol's client says about regions of shared memory."""

from __future__ import annotations

from collections.abc import Callable

from runner.errors import ServiceError

_IN_USE = "currently in use"
"""Triton's words, whatever the protocol."""


def one_region(name: str) -> str:
    """The name of a region to forget.

    Raises:
        ValueError: it is empty.
    """
    if not name:
        raise ValueError("without a name the server would forget the regions of every client")
    return name


def is_forgotten(ask: Callable[[], object]) -> bool:
    """Ask a server to forget a region; False where a request still uses it."""
    try:
        ask()
    except ServiceError as error:
        if _IN_USE in error.message:
            return False
        raise
    return True
