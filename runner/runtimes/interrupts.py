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


class Stop:
    """The user's wish to end the load that runs: the first SIGINT, SIGTERM or SIGHUP while somebody listens.

    A second signal does what it would have done without us: nobody has to wait for what is in flight.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def asked(self) -> bool:
        """True once a signal has come."""
        return self.signal is not None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it the first signal only asks; signals that are ignored stay ignored."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _STOPPING}
        ours = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

        def restore() -> None:
            for number, handler in ours.items():
                signal.signal(number, handler)

        def ask(number: int, frame: FrameType | None) -> None:
            self.signal = number
            restore()

        for number in ours:
            signal.signal(number, ask)
        try:
            yield
        finally:
            restore()

    def pass_on(self) -> None:
        """Let the signal do now what it would have done without us."""
        if self.signal is not None:
            signal.raise_signal(self.signal)


_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
