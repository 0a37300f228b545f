"""Parts of `workload`: sequences of requests, and what is checked of the answers."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from runner.scenario.schema_base import Strict, refuse
from runner.units import Fraction


class Sequences(Strict):
    """Requests of a stateful model: several sequences at the same time, each with one request in flight at most."""

    count: int | None = Field(default=None, ge=1, le=100_000)
    """Sequences alive at the same time; by default `load.concurrency`, or 4 where the load has none."""
    length: int = Field(default=20, ge=1)
    """Requests of a sequence, on average."""
    variation: Fraction = 0.2
    """Lengths are uniform in length ± this share."""
    first_id: int = Field(default=1, ge=1, le=2**62)
    """Lowest sequence id."""
    ids: int = Field(default=2**31 - 1, ge=1, le=2**62)
    """Number of ids; they are used in turn, and again once their sequence has ended."""

    @model_validator(mode="after")
    def _enough_ids(self) -> Self:
        if self.count is not None and self.ids < self.count:
            raise refuse("ids", f"expected at least the `count` of {self.count}, got {self.ids}")
        return self


class Validate(Strict):
    """Sampled answers are compared with the expected ones; a wrong one is a failed request, `wrong_output`."""

    expect: Literal["recorded"] = "recorded"
    """`recorded`: what the server answers to each payload once, before the load."""
    mode: Literal["exact", "tolerance", "argmax"] = "exact"
    """`exact`: every byte; `tolerance`: every number, by `rtol` and `atol`; `argmax`: the best class of each item."""
    every: int = Field(default=100, ge=1)
    """Every so many requests of a connection one is compared; 1 compares all."""
    rtol: float = Field(default=1e-3, ge=0, le=1)
    """Allowed difference relative to the expected number."""
    atol: float = Field(default=1e-5, ge=0)
    """Allowed difference beside that."""
