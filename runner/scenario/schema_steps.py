"""What setup steps of several kinds have in common."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from runner.scenario.schema_base import Strict, refuse


class StepBase(Strict):
    """What every setup step has."""

    always: bool = False
    """Run even when nothing that is served or sent refers to it."""


class ContainedStep(StepBase):
    """What a step has that runs a program in the target."""

    image: str | None = Field(default=None, min_length=1)
    """Run in a container of this image; by default where the server runs, so in its image for `launch.kind: docker`."""
    network: bool = False
    """Whether it downloads: its container reaches the network then, and `--offline` wants what it makes to be here."""
    place: Literal["target", "host"] = "target"
    """`host`: on this machine even when the server is in a container, for packages that its image lacks."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.place == "host" and self.image is not None:
            raise refuse("place", "expected `target` beside `image`", "remove one of the two")
        return self
