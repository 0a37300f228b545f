"""Models of a server that is not ours: which are there, and how some are loaded for a while and taken away again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from runner.errors import ServiceError
from runner.results.records import ModelStatistics
from runner.results.stages import difference, went_backwards
from runner.runtimes.remote.ledger import LoadLedger
from runner.services.control import Control, IndexEntry
from runner.services.names import nearest_model

_PAUSE_S = 0.05
_MOVING = ("LOADING", "UNLOADING")
_NOT_EXPLICIT = "is not allowed"
"""What Triton says of loading in every other mode."""


def absent_error(model: str, address: str, index: Sequence[IndexEntry]) -> ServiceError:
    """The error of a model that is not loaded, and will not be by itself."""
    ready = sorted({entry.name for entry in index if entry.state == "READY"})
    reason = "".join(f" ({entry.reason})" for entry in index if entry.name == model and entry.reason)
    return ServiceError(
        f"model {model!r} is not loaded on the server at {address}{reason}; ready there: {', '.join(ready) or 'none'}",
        hint="load it there; or set `model_control: allowed` in the target's launch, and it is loaded for the run "
        "(the server must run with --model-control-mode=explicit)",
    )


def is_coming(model: str, index: Iterable[IndexEntry]) -> bool:
    """Whether a model is loaded or about to be."""
    return any(entry.name == model and entry.state in ("READY", "LOADING") for entry in index)


@dataclass
class LoadedModels:
    """Models that this run loads, and only those unloads."""

    control: Control
    ledger: LoadLedger
    say: Callable[[str], None]
    timeout_s: float
    asked: list[str] = field(default_factory=list)
    """Those that were loaded by name; what they need came with them."""

    def load(self, models: Sequence[str]) -> None:
        """Load what is not in memory.

        Raises:
            ServiceError: the server refuses, or the model cannot be loaded.
        """
        self._settle(models)
        before = self._counters(self.control.loaded())
        for model in models:
            if model not in self.control.loaded():
                self._load(model)
        after = self._counters([each.model for each in before])
        for model in went_backwards(difference(before, after)):
            # The server looks at the files of everything that an ensemble needs, loaded or not.
            self.say(f"the server by itself loaded {model} anew: its files had changed since it was loaded")

    def _counters(self, models: Sequence[str]) -> tuple[ModelStatistics, ...]:
        found = list[ModelStatistics]()
        for model in models:
            # One that is just going has none.
            with suppress(ServiceError):
                found += self.control.statistics([model])
        return tuple(found)

    def _load(self, model: str) -> None:
        self.asked.append(model)
        self.ledger.write(self.asked)
        try:
            self.control.load(model)
        except ServiceError as error:
            if _NOT_EXPLICIT in error.message:
                self._forget(model)
                hint = "start it with --model-control-mode=explicit, or remove `model_control` and load the model there"
                raise ServiceError(f"the server does not let models be loaded: {error.message}", hint=hint) from error
            raise ServiceError(error.message, hint=nearest_model(model, self.control.models)) from error
        self.say(f"loaded {model}")

    def unload(self) -> None:
        """Unload what was loaded, with what came with it; a model that somebody else came to need stays.

        Raises:
            ServiceError: the server cannot be reached, or does not comply in time; the ledger keeps the models then.
        """
        if not self.asked:
            return
        behind = {model: self._behind(model) for model in self.control.loaded()}
        came = {each for model in self.asked for each in behind.get(model, ())}
        needed = {each for name, parts in behind.items() if name not in {*self.asked, *came} for each in parts}
        for model in reversed(self.asked):
            if model in needed:
                self.say(f"{model} stays: a model that somebody loaded meanwhile needs it")
            else:
                self.control.unload(model)
        self._settle([*self.asked, *came])
        for model in tuple(self.asked):
            self._forget(model)
            if model not in needed:
                self.say(f"unloaded {model}")

    def _behind(self, model: str) -> tuple[str, ...]:
        # One that is just coming or going cannot be asked.
        with suppress(ServiceError):
            return self.control.behind(model)
        return ()

    def _forget(self, model: str) -> None:
        self.asked.remove(model)
        self.ledger.write(self.asked)

    def _settle(self, models: Iterable[str]) -> None:
        """Wait while models come or go: a server goes on after it has answered."""
        deadline, names = time.monotonic() + self.timeout_s, set(models)
        while moving := sorted({e.name for e in self.control.index() if e.name in names and e.state in _MOVING}):
            if time.monotonic() >= deadline:
                raise ServiceError(
                    f"the server is loading or unloading {', '.join(moving)} for {self.timeout_s:g} s",
                    hint="see the server's log, or raise server.ready.timeout",
                )
            time.sleep(_PAUSE_S)
