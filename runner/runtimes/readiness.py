"""Waiting until a server can really be used."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from runner.errors import ServiceError
from runner.services.access import RefusedError

_PAUSE_S = 0.05


class Answers(Protocol):
    """What is asked whether a model is ready."""

    def ready(self, model: str) -> bool: ...


def wait_ready(
    service: Answers,
    model: str,
    timeout_s: float,
    check: Callable[[], None],
    *,
    since: str = "after the server was started",
) -> None:
    """Return once the model is ready; `check` runs before each probe and raises when there is no hope.

    Raises:
        ServiceError: not ready in time.
    """
    deadline = time.monotonic() + timeout_s
    last = f"the server is up, but model {model!r} is not ready"
    while True:
        check()
        try:
            if service.ready(model):
                return
        except RefusedError:
            raise
        except ServiceError as error:
            last = error.message
        if time.monotonic() >= deadline:
            raise ServiceError(
                f"model {model!r} was not ready {timeout_s:g} s {since}: {last}",
                hint="raise server.ready.timeout if it needs longer; the server log says what it was doing",
            )
        time.sleep(_PAUSE_S)
