"""The one server of a study: kept while the next point can share it, replaced when it cannot."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from runner.errors import ServiceError, SetupError
from runner.workflow.groups import largest_batch
from runner.workflow.measuring import prepared_for
from runner.workflow.order import Planned, needs_fresh_server, needs_reload
from runner.workflow.serving import Serving, served
from runner.workflow.tuning.golden import CheckedServing, Golden

if TYPE_CHECKING:
    from runner.setup.base import Prepared
    from runner.workflow.session import Session


class HeldServer:
    """Starts servers on demand, one at a time; close it to stop the last one."""

    def __init__(self, session: Session, golden: Golden) -> None:
        self._session, self._golden = session, golden
        self._stack = ExitStack()
        self._serving: Serving | None = None
        self._before: Planned | None = None
        self._batches: dict[str, int] = {}
        self._broken: dict[str, ServiceError | SetupError] = {}
        """Server key -> why it did not come up: its other points would only wait for the same."""
        self.longest_start_s = 0.0
        """Of setup and start together, so far."""

    @property
    def key(self) -> str | None:
        """Of the server that runs now."""
        return self._before.case.server_key if self._serving is not None and self._before is not None else None

    def serving(self, planned: Planned) -> Serving:
        """A server on which this measurement may be made.

        Raises:
            SetupError: what the server needs cannot be made.
            ServiceError: the server does not come up, or not through a reload.
        """
        before, self._before = self._before, planned
        if self._serving is None or before is None or needs_fresh_server(before, planned):
            return self._started(planned)
        if needs_reload(before, planned):
            self._session.observer.on_server("reloads its models")
            self._reload(self._serving)
        self._prepared(planned)
        return self._serving

    def drop_if_dead(self) -> None:
        """Let go of a server that is gone; the next measurement gets a fresh one."""
        if self._serving is None:
            return
        try:
            self._serving.server.check()
        except ServiceError as error:
            self._session.observer.on_server(f"died: {error.message}")
            self.close()

    def renew(self) -> None:
        """The next measurement gets a fresh server, also where an earlier start failed."""
        self.close()
        self._broken.clear()

    def close(self) -> None:
        """Stop the server, if one runs."""
        self._serving = None
        self._stack.close()

    def _started(self, planned: Planned) -> Serving:
        self.close()
        key = planned.case.server_key
        if key in self._broken and not planned.anchor:
            raise self._broken[key]
        began = time.monotonic()
        try:
            prepared = self._prepared(planned)
            serving = self._stack.enter_context(served(planned.case.scenario, prepared, self._session))
            self._serving = CheckedServing.of(serving, self._golden)
        except (ServiceError, SetupError) as error:
            self._broken[key] = error
            raise
        self.longest_start_s = max(self.longest_start_s, time.monotonic() - began)
        return self._serving

    def _prepared(self, planned: Planned) -> Prepared:
        """Setup, made once for a configuration; again where a larger batch than before has to fit it."""
        key, batch = planned.case.server_key, largest_batch(planned.case.scenario.workload)
        if batch > self._batches.get(key, 0):
            self._session.prepared.pop(key, None)
        prepared = prepared_for(planned.case, [planned], self._session)
        self._batches[key] = max(batch, self._batches.get(key, 0))
        return prepared

    def _reload(self, serving: Serving) -> None:
        try:
            serving.server.reload()
        except ServiceError:
            self.close()
            raise
