"""Trace settings of a model on a server that is not ours: written down, set for the time of a run, and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from runner.errors import ServiceError
from runner.runtimes import tracing
from runner.runtimes.remote.ledger import ChangeLedger
from runner.scenario.schema import Trace
from runner.services.control import Control, TraceSettings


@dataclass(frozen=True)
class ModelTraces:
    """Trace settings that this machine's runs change on one server."""

    control: Control
    ledger: ChangeLedger
    say: Callable[[str], None]

    @contextmanager
    def held(self, model: str, trace: Trace) -> Iterator[str]:
        """Trace the model's requests, and hand out where the server writes them; put everything back on leaving.

        What cannot be put back stays in the ledger; what was measured is not lost for it.

        Raises:
            ServiceError: the server cannot trace, or refuses.
        """
        try:
            yield self._begin(model, trace)
        finally:
            try:
                self.restore()
            except ServiceError as error:
                self.say(f"warning: trace settings of {model} are not put back yet ({error.message}): {error.hint}")

    def restore(self) -> tuple[str, ...]:
        """Put back what the ledger holds; names the models. Those that are not ready stay in the ledger: Triton
        knows of no settings of a model that is not loaded.

        Raises:
            ServiceError: the server cannot be reached, or refuses; the ledger keeps the settings then.
        """
        left = self.ledger.read().traces
        there = tuple(model for model in left if self._is_there(model))
        for model in there:
            self._put_back(model, left[model])
        return there

    def _is_there(self, model: str) -> bool:
        if self.control.ready(model):
            return True
        # Raises when it is the server that is not there.
        self.control.server()
        return False

    def _begin(self, model: str, trace: Trace) -> str:
        tracing.check_traceable(self.control, trace)
        before = tracing.in_force(self.control, model)
        self._note({**self.ledger.read().traces, model: before})
        place = tracing.written_to(self.control.trace(model, tracing.asked(trace)))
        if trace.levels:
            when = "" if trace.log_frequency else ", complete when it ends"
            self.say(f"traces {model} ({trace.summary}); the server writes to {place} where it runs{when}")
        return place

    def _put_back(self, model: str, before: TraceSettings) -> None:
        try:
            self.control.trace(model, before)
        except ServiceError as error:
            hint = f"`scenario reset`, or the next run there, tries again; by hand: set {_words(before)} for {model}"
            raise ServiceError(error.message, hint=f"{hint}, and remove {self.ledger.path}") from error
        self._note({name: kept for name, kept in self.ledger.read().traces.items() if name != model})
        self.say(f"trace settings of {model} are as they were")

    def _note(self, traces: dict[str, TraceSettings]) -> None:
        self.ledger.write(replace(self.ledger.read(), traces=traces))


def _words(settings: TraceSettings) -> str:
    return ", ".join(f"{name} {'+'.join(values) or 'null'}" for name, values in settings.items())
