"""Schema of `server.trace`: what Triton traces of the measured model's requests."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from runner.scenario.schema_base import Strict

_MOST = 2**31 - 1
Level = Literal["timestamps", "tensors"]


def _form(value: object) -> str:
    """One error for a wrong level, not one for each way to write it."""
    return "trace:list" if isinstance(value, list | tuple) else "trace:word"


class Trace(Strict):
    """Traces of the measured model's requests, with those of the models behind it; Triton's own settings for the model
    are put back at the end. Tracing takes time: what is measured is the server with it."""

    level: Annotated[
        Annotated[Literal["off", "timestamps", "tensors"], Tag("trace:word")]
        | Annotated[tuple[Level, ...], Field(min_length=1), Tag("trace:list")],
        Discriminator(_form),
    ] = "timestamps"
    """What is written of a request: `timestamps` of its steps, `tensors`, or a list of both; `off` switches tracing off
    where the server has it on."""
    rate: int = Field(default=1000, ge=1, le=_MOST)
    """One request of so many is traced."""
    count: int = Field(default=-1, ge=-1, le=_MOST)
    """At most so many; -1: no limit."""
    log_frequency: int = Field(default=0, ge=0, le=_MOST)
    """After so many traces the server begins a new file, by number; 0: one file, complete when the server has ended."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """What is written; nothing when tracing is off."""
        if isinstance(self.level, tuple):
            return self.level
        return () if self.level == "off" else (self.level,)

    @property
    def summary(self) -> str:
        """In a few words, for labels."""
        return f"{'+'.join(self.levels)}, 1 in {self.rate}" if self.levels else "off"
