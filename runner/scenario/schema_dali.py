"""Schema of the setup step `dali`: a pipeline serialised with its arguments, as Triton's DALI backend loads it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from runner.scenario.schema_base import Name, Scalar
from runner.scenario.schema_steps import ContainedStep


class DaliStep(ContainedStep):
    """Serialise a DALI pipeline in the target, with the DALI that will run it; needs no GPU."""

    kind: Literal["dali"]
    """What the step does."""
    from_: str = Field(alias="from")
    """`${setup.step}` or a Python file with one function that is marked `@autoserialize`."""
    args: dict[str, Scalar] = Field(default={})
    """Arguments of that function, baked in; batch size, device and, where it is set, `num_threads` are the model's."""
    output: Name = "model.dali"
    """File name of the pipeline."""
