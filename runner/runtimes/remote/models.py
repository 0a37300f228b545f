"""Models of a server that is not ours: which are there, and how some are loaded for a while and taken away again."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from runner.errors import ServiceError
from runner.results.records import ModelStatistics
from runner.results.stages import difference, went_backwards
from runner.runtimes.remote.ledger import ChangeLedger
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
    ledger: ChangeLedger
    say: Callable[[str], None]
    timeout_s: float
    ours: list[str] = field(default_factory=list)
    """With the parts that came along, but none that were there."""
    unfinished: str = ""
    """A model whose load began and did not end well: which parts came along is known to the server alone."""

    def load(self, models: Sequence[str]) -> None:
        """Load what is not in memory.

        Raises:
            ServiceError: the server refuses, or the model cannot be loaded.
        """
        self._settle(models)
        before = self._counters(self.control.loaded())
        there = {each.model for each in before}
        for model in models:
            if model not in self.control.loaded():
                self._load(model, there)
        for model in went_backwards(difference(before, self._counters(sorted(there)))):
            # The server looks at the files of everything that an ensemble needs, loaded or not.
            self.say(f"the server by itself loaded {model} anew: its files had changed since it was loaded")

    def _load(self, model: str, there: Collection[str]) -> None:
        self._note(unfinished=model)
        try:
            self.control.load(model)
        except ServiceError as error:
            if _NOT_EXPLICIT in error.message:
                self._note()
                hint = "start it with --model-control-mode=explicit, or remove `model_control` and load the model there"
                raise ServiceError(f"the server does not let models be loaded: {error.message}", hint=hint) from error
            # Parts stay in memory when their ensemble cannot be loaded, and then nobody says whose they are.
            self.ours += [name for name in self.control.loaded() if name not in {*there, *self.ours}]
            self._note(unfinished=model)
            raise ServiceError(error.message, hint=nearest_model(model, self.control.models)) from error
        parts = [part for part in self.control.behind(model) if part not in {*there, *self.ours}]
        self.ours += [model, *parts]
        self._note()
        self.say(f"loaded {model}" + (f", and with it {', '.join(parts)}" if parts else ""))

    def unload(self) -> None:
        """Unload what was loaded; a model that somebody else came to need meanwhile stays.

        Raises:
            ServiceError: the server cannot be reached, or does not comply in time; the ledger keeps the models then.
        """
        if not self.ours and not self.unfinished:
            return
        behind = {model: self._behind(model) for model in self.control.loaded()}
        ours = {*self.ours, self.unfinished, *behind.get(self.unfinished, ())}
        needed = {part for name, parts in behind.items() if name not in ours for part in parts}
        # By name, each: the parts that were there before might be such that the server would let them go, too.
        for model in sorted((behind.keys() & set(self.ours)) - needed, key=lambda name: -len(behind[name])):
            self.control.unload(model, dependents=False)
            self.say(f"unloaded {model}")
        for model in sorted(needed & set(self.ours)):
            self.say(f"{model} stays: a model that somebody loaded meanwhile needs it")
        if self.unfinished and self.unfinished not in needed:
            self.control.unload(self.unfinished)
        self._settle(ours)
        self.ours.clear()
        self._note()

    def _counters(self, models: Sequence[str]) -> tuple[ModelStatistics, ...]:
        found = list[ModelStatistics]()
        for model in models:
            # One that is just going has none.
            with suppress(ServiceError):
                found += self.control.statistics([model])
        return tuple(found)

    def _behind(self, model: str) -> tuple[str, ...]:
        # One that is just coming or going cannot be asked.
        with suppress(ServiceError):
            return self.control.behind(model)
        return ()

    def _note(self, unfinished: str = "") -> None:
        self.unfinished = unfinished
        self.ledger.write(replace(self.ledger.read(), models=tuple(self.ours), unfinished=unfinished))

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
