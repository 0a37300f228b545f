"""Signals that would end the runner at once, turned into an exception so that servers are stopped first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def terminations_as_exit() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP raise SystemExit(128 + signal), unless somebody handles them already."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    unhandled = [s for s in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) is signal.SIG_DFL]
    for number in unhandled:
        signal.signal(number, _exit)
    try:
        yield
    finally:
        for number in unhandled:
            signal.signal(number, signal.SIG_DFL)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
