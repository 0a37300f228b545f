"""The part of the schema that says what requests hold: input data, generators, mixes, shared memory."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from runner.scenario.schema_base import Name, Strict, refuse

Size = Annotated[int, Field(ge=1)]
SharedMemory = Literal["none", "system", "cuda"]


class Decode(Strict):
    """Images become pixels before they are sent, as in Triton's image_client."""

    size: tuple[Size, Size] | None = None
    """Height and width to resize to; by default the model's own."""
    layout: Literal["NCHW", "NHWC"] | None = None
    """Channels first or last; by default as the model's shape says."""
    scaling: Literal["none", "inception", "vgg"] = "none"
    """`none`: 0 … 255; `inception`: -1 … 1; `vgg`: the mean colour of ImageNet is subtracted."""


class DataInput(Strict):
    """An input tensor fed from an artifact or a path."""

    from_: str = Field(alias="from")
    """`${setup.dataset}`, a file, or a folder of files in sorted order; each file's bytes are one item."""
    format: Literal["raw", "npy", "npz", "lines", "image"] | None = None
    """How files are read; by default `.npy` and `.npz` as arrays, with `decode` as images, others as raw bytes."""
    key: str | None = None
    """Which array of an `.npz` file; by default the one called like the tensor, or the only one."""
    decode: Decode | None = None
    """Send decoded images instead of the files' bytes."""
    pick: Literal["round_robin", "shuffle"] = "round_robin"
    """Order in which items are drawn."""
    seed: int = Field(default=0, ge=0)
    """Seed of `shuffle`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.decode is not None and self.format not in (None, "image"):
            raise refuse("format", f"expected `image` beside `decode`, got `{self.format}`")
        if self.key is not None and self.format not in (None, "npz"):
            raise refuse("key", f"only `.npz` files have keys, but the format is `{self.format}`")
        return self


class GeneratedInput(Strict):
    """An input tensor made up from the model's own metadata."""

    generate: Literal["random", "zero"]
    """Uniform values over `range`, or zeros."""
    shape: tuple[Size, ...] | None = None
    """Shape of one item, without the batch dimension; needed where the model leaves a dimension open."""
    range: tuple[float, float] | None = None
    """`[low, high]`: integers include `high`; of BYTES the length. Default 0 … 1, 0 … 127, all of 8 bits, 16 bytes."""
    count: int = Field(default=16, ge=1, le=10_000)
    """Distinct items."""
    seed: int = Field(default=0, ge=0)
    """Seed of `random`."""
    text: str | None = None
    """Every element of BYTES is this text, instead of a random one."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.range is not None and self.generate == "zero":
            raise refuse("range", "zeros have no range", "remove `range`, or write `generate: random`")
        if self.range is not None and not self.range[0] <= self.range[1]:
            raise refuse("range", f"expected [low, high], got [{self.range[0]:g}, {self.range[1]:g}]")
        if self.text is not None and (self.range is not None or self.generate == "zero"):
            raise refuse("text", "a text is neither zero nor of any other length", "write `generate: random, text: …`")
        return self


class Generate(Strict):
    """Values of the inputs that neither `input` nor `data` names."""

    values: Literal["random", "zero"] = "random"
    """As `generate` of one input."""
    text: str | None = None
    """Every element of BYTES is this text."""
    text_length: int | None = Field(default=None, ge=0, le=2**31 - 1)
    """Bytes in each random element of BYTES; by default 16."""

    @model_validator(mode="after")
    def _one_kind_of_text(self) -> Self:
        if self.text is not None and self.text_length is not None:
            raise refuse("text_length", "expected no length beside `text`, which has its own", "keep one of the two")
        return self


def _input_tag(value: Any) -> str | None:
    if isinstance(value, DataInput) or (isinstance(value, dict) and "from" in value):
        return "input:from"
    if isinstance(value, GeneratedInput) or (isinstance(value, dict) and "generate" in value):
        return "input:generate"
    return None


Input = Annotated[
    Annotated[DataInput, Tag("input:from")] | Annotated[GeneratedInput, Tag("input:generate")],
    Discriminator(
        _input_tag,
        custom_error_type="one_of",
        custom_error_message="expected `{from: …}` for data or `{generate: random}`",
    ),
]


class Portion(Strict):
    """One kind of request in a mix."""

    weight: float = Field(gt=0, le=1e9)
    """Share of the requests, in relation to the other entries."""
    batch: int | None = Field(default=None, ge=1, le=65_536)
    """Items per request; by default `workload.batch`."""
    shape: dict[Name, tuple[Size, ...]] = Field(default={})
    """Shape of one item of a generated input tensor, in place of the one under `input`."""
