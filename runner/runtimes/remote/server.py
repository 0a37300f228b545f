"""A server that somebody else runs, while it is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from runner.errors import ServiceError
from runner.results.facts import hashed
from runner.runtimes import tracing
from runner.runtimes.base import ServerSpec
from runner.runtimes.readiness import wait_ready
from runner.runtimes.remote.models import LoadedModels, absent_error, is_coming
from runner.services.access import RefusedError
from runner.services.base import Endpoint
from runner.services.control import Control, ServerFacts

_ASK_EVERY_S = 1.0
_ASKED_TWICE_AFTER_S = 0.2
NO_LOG = "the log of a remote server is where it runs"


@dataclass
class RemoteServer:
    """A `RunningServer` whose processes and log are out of sight."""

    address: str
    endpoint: Endpoint
    spec: ServerSpec
    probe: Control
    """Answers within a second or so, or not at all."""
    identity: ServerFacts
    models: LoadedModels | None = None
    """What was loaded for this run; None where loading is not allowed."""
    hide: Callable[[str], str] = hashed
    written_to: str = ""
    """Where it writes the traces of this run, if it makes any."""
    _answered: float = field(default=0.0, init=False)

    def wait_ready(self) -> None:
        """Wait until the canary answers its readiness probe; not for one that nobody is loading."""
        for model in self.spec.models:
            check = partial(self._check_coming, model)
            wait_ready(self.probe, model, self.spec.ready_timeout_s, check, since="after it was asked for")

    def pids(self) -> None:
        """They cannot be told from here."""

    def check(self) -> None:
        """Raise when the canary is no longer served; asks once a second, and a busy server may take its time."""
        if time.monotonic() - self._answered < _ASK_EVERY_S:
            return
        if not self._answers():
            # A connection may be lost for other reasons.
            time.sleep(_ASKED_TWICE_AFTER_S)
            if not self._answers():
                raise self._gone()
        self._answered = time.monotonic()

    def log_tail(self, lines: int = 20) -> Sequence[str]:
        """None of it can be had; a sentence says so."""
        return (NO_LOG,)

    def reload(self) -> None:
        """Unload and load the models of this run; those of others are not touched."""
        missing = [model for model in self.spec.models if self.models is None or model not in self.models.ours]
        if missing or self.models is None:
            raise ServiceError(
                f"{', '.join(missing)} cannot be loaded anew: this run did not load it, so others may be using it",
                hint="remove server.isolation, or unload it and set `model_control: allowed`: then the run loads it",
            )
        self.models.unload()
        self.models.load(self.spec.models)
        self.wait_ready()

    def facts(self) -> dict[str, str]:
        """Versions and identifiers for the manifest."""
        loaded = self.models.ours if self.models else ()
        return {
            "runtime": "remote",
            "server": f"{self.identity.name} {self.identity.version}",
            "extensions": ", ".join(self.identity.extensions) or "none",
            "reached_at": self.hide(self.address),
            "loaded_for_this_run": ", ".join(loaded) or "none",
            **tracing.facts(self.spec.trace, self.written_to),
        }

    def _check_coming(self, model: str) -> None:
        """Raise when nobody is loading a model that is not there."""
        try:
            index = self.probe.index()
        except RefusedError:
            raise
        except ServiceError:
            # It may be busy, or have no repository that could be listed: readiness decides.
            return
        if not is_coming(model, index):
            raise absent_error(model, self.address, index)

    def _answers(self) -> bool:
        try:
            return self.probe.ready(self.spec.canary)
        except RefusedError:
            raise
        except ServiceError:
            return True

    def _gone(self) -> ServiceError:
        try:
            self.probe.server()
        except ServiceError as error:
            return ServiceError(f"the server is gone: {error.message}", hint=NO_LOG)
        return ServiceError(f"model {self.spec.canary!r} is no longer ready at {self.address}", hint=NO_LOG)
