"""Waiting until a server can really be used."""

from __future__ import annotations

import time
from collections.abc import Callable

from runner.errors import ServiceError
from runner.services.base import Service

_PAUSE_S = 0.05


def wait_ready(service: Service, model: str, timeout_s: float, check: Callable[[], None]) -> None:
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
        except ServiceError as error:
            last = error.message
        if time.monotonic() >= deadline:
            raise ServiceError(
                f"model {model!r} was not ready {timeout_s:g} s after the server was started: {last}",
                hint="raise server.ready.timeout if it needs longer; the server log says what it was doing",
            )
        time.sleep(_PAUSE_S)
