"""Models out of memory and back, on a server that stays: what `server.isolation: reload` means."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from runner.errors import ServiceError
from runner.runtimes.base import ServerSpec
from runner.runtimes.readiness import wait_ready
from runner.services.control import Control

_PAUSE_S = 0.02


def reload_models(service: Control, spec: ServerSpec, check: Callable[[], None]) -> None:
    """Unload everything that was loaded for `spec`, composing models included, then load it and wait for the canary.

    Raises:
        ServiceError: a model does not go or does not come back in time.
    """
    models = spec.models
    for model in models:
        service.unload(model)
    _wait_until_gone(service, models, spec.ready_timeout_s, check)
    for model in models:
        service.load(model)
    wait_ready(service, spec.canary, spec.ready_timeout_s, check)


def _wait_until_gone(service: Control, models: Sequence[str], timeout_s: float, check: Callable[[], None]) -> None:
    """Unloading goes on after the call has returned; a load that overtakes it would find the old model."""
    deadline = time.monotonic() + timeout_s
    while left := service.loaded():
        check()
        if time.monotonic() >= deadline:
            raise ServiceError(
                f"asked to unload {', '.join(models)}, the server still holds {', '.join(left)} after {timeout_s:g} s",
                hint="see the server's log, or use server.isolation.between_points: restart",
            )
        time.sleep(_PAUSE_S)
