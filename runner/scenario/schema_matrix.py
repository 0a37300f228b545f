"""Schema of `matrix`: axes and what is left out."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from runner.scenario.schema_base import Strict, check_order, check_powers, key_tag, refuse
from runner.units import Seconds


class Pow2Axis(Strict):
    """Powers of two from the first up to at most the last."""

    pow2: tuple[int, int]
    """First and last."""

    @model_validator(mode="after")
    def _powers(self) -> Self:
        check_powers(*self.pow2, "pow2")
        return self


class IntAxis(Strict):
    """Whole numbers from the first up to at most the last."""

    int: tuple[int, int]
    """First and last."""
    step: int = Field(default=1, ge=1)  # type: ignore[valid-type]
    """Distance between neighbours."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        check_order(*self.int, "int")
        return self


class FloatAxis(Strict):
    """Numbers from the first to the last, `step` apart, or `points` of them on a linear or logarithmic scale."""

    float: tuple[float, float]
    """First and last."""
    step: float | None = Field(default=None, gt=0)  # type: ignore[valid-type]
    """Distance between neighbours."""
    points: int | None = Field(default=None, ge=2, le=10_000)
    """How many, both ends included."""
    log: bool = False
    """Equal ratios instead of equal distances; needs `points` and positive ends."""

    @model_validator(mode="after")
    def _countable(self) -> Self:
        check_order(*self.float, "float")
        if (self.step is None) == (self.points is None):
            raise refuse("float", "expected one of `step` and `points`", "write {float: [0.0, 1.0], step: 0.1}")
        if self.log and (self.points is None or self.float[0] <= 0):
            raise refuse("log", "expected `points` and positive ends with `log`")
        return self


class ZipAxis(Strict):
    """Several addresses that change together."""

    zip: dict[str, tuple[Any, ...]] = Field(min_length=1)
    """Address -> values, as many for each."""

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        lengths = {address: len(values) for address, values in self.zip.items()}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{length} for {address}" for address, length in lengths.items())
            raise refuse("zip", f"expected as many values for each address, got {shown}")
        if 0 in lengths.values():
            raise refuse("zip", "expected at least one value for each address, got none")
        return self


_AXIS_TAGS: dict[type[Strict], str] = {
    Pow2Axis: "axis:pow2",
    IntAxis: "axis:int",
    FloatAxis: "axis:float",
    ZipAxis: "axis:zip",
}


Axis = Annotated[
    Annotated[tuple[Any, ...], Field(min_length=1), Tag("axis:list")]
    | Annotated[Pow2Axis, Tag("axis:pow2")]
    | Annotated[IntAxis, Tag("axis:int")]
    | Annotated[FloatAxis, Tag("axis:float")]
    | Annotated[ZipAxis, Tag("axis:zip")],
    Discriminator(
        key_tag(_AXIS_TAGS),
        custom_error_type="one_of",
        custom_error_message="expected `[1, 4, 16]`, `{pow2: [1, 64]}`, `{int: [1, 8]}`, "
        "`{float: [0, 1], step: 0.1}` or `{zip: …}`",
    ),
]


class Anchor(Strict):
    """One point that is measured again and again, to see whether the rig itself drifts."""

    at: dict[str, Any] = Field(min_length=1)
    """Address -> value, as many as it takes to pick one point of the matrix."""
    every: int = Field(default=20, ge=1)
    """Points between two anchors; there is one before the first point and one after the last."""


class Matrix(Strict):
    """The points: the product of the axes, first axis outermost."""

    axes: dict[str, Axis] = Field(default={})
    """Address -> values (a label -> `{zip: …}`)."""
    skip: tuple[str, ...] = ()
    """Predicates; a point for which one holds is listed as skipped, with the reason."""
    order: Literal["blocks", "file"] | None = None
    """`blocks`: all points once, then all of them again for the next repeat, each time in a random order by
    `measure.seed`; `file`: as the axes say. By default `blocks`, but `file` where there are no more than three
    measurements. Tables are always in the order of the axes."""
    cooldown: Seconds = 0.0
    """Pause before each measurement but the first."""
    anchor: Anchor | None = None
    """Measured every so many points; points between two anchors that differ by more than 2 % are flagged `trend`."""
