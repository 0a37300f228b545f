"""Schema of the setup step `tensorrt`: an engine built from an ONNX model in the image that serves it."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from runner.scenario.schema_base import Name, Strict, check_order, refuse
from runner.scenario.schema_steps import ContainedStep
from runner.units import ByteSize, Fraction

Precision = Literal["fp32", "tf32", "fp16", "bf16", "int8"]
Batch = Annotated[int, Field(ge=1, le=65_536)]
Shape = tuple[Annotated[int, Field(ge=0)], ...]


class BatchProfile(Strict):
    """Batches of an engine: sizes of the dynamic first dimension, the same for every input that has one."""

    min: Batch = 1
    """Smallest batch."""
    opt: Batch | None = None
    """Batch that the builder optimises for; by default `max`."""
    max: Batch
    """Largest batch, to which the engine's memory is sized."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        check_order(self.min, self.opt, "opt")
        check_order(self.min if self.opt is None else self.opt, self.max, "max")
        return self


class ShapeRange(Strict):
    """Shapes of one input, batch included."""

    min: Shape
    """Smallest size of each dimension."""
    opt: Shape
    """Shape that the builder optimises for."""
    max: Shape
    """Largest size of each dimension."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for low, high, field in ((self.min, self.opt, "opt"), (self.opt, self.max, "max")):
            if len(low) != len(high):
                raise refuse(field, f"expected {len(low)} dimensions as the others have, got {len(high)}")
            for dimension, (least, size) in enumerate(zip(low, high, strict=True)):
                if size < least:
                    raise refuse(field, f"expected at least {least} in dimension {dimension}, got {size}")
        return self


def _single_tag(value: Any) -> str | None:
    """`{max: 8}` holds numbers, `{INPUT: {…}}` maps: an input may be called `max`, too."""
    if isinstance(value, BatchProfile):
        return "profile:batch"
    if not isinstance(value, dict) or not value:
        return None
    maps = all(isinstance(each, dict | ShapeRange) for each in value.values())
    return "profile:shapes" if maps else "profile:batch"


def _profile_tag(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return "profile:list" if value else None
    return _single_tag(value)


_EXPECTED = "expected `{min: 1, opt: 8, max: 32}` or `{INPUT: {min: [1, …], opt: [8, …], max: [32, …]}}`"
_Batches = Annotated[BatchProfile, Tag("profile:batch")]
_Shapes = Annotated[dict[str, ShapeRange], Tag("profile:shapes")]
SingleProfile = Annotated[
    _Batches | _Shapes,
    Discriminator(_single_tag, custom_error_type="one_of", custom_error_message=_EXPECTED),
]
Profile = Annotated[
    _Batches | _Shapes | Annotated[tuple[SingleProfile, ...], Tag("profile:list")],
    Discriminator(
        _profile_tag, custom_error_type="one_of", custom_error_message=f"{_EXPECTED} or a list of several of these"
    ),
]


class Samples(Strict):
    """Inputs on which a model is calibrated or compared."""

    from_: str | None = Field(default=None, alias="from")
    """`${setup.dataset}`, a folder of images, or a `.npz` with an array per input; by default random values."""
    seed: int = Field(default=0, ge=0)
    """Seed of random values, and of the choice where there are more items than samples."""
    scaling: Literal["imagenet", "unit", "none"] = "imagenet"
    """Pixels of images: `imagenet` subtracts its mean and divides by its deviation, `unit` is 0 … 1, `none` 0 … 255."""


class Calibration(Samples):
    """Inputs from which the ranges of int8 activations are taken, and layers that have none."""

    samples: int = Field(default=64, ge=1, le=100_000)
    """How many inputs, batch 1 each."""
    exclude: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Layers that stay float32: `first`, `last`, `depthwise`, an operator (`Gemm`), or a pattern of node names."""


class Verify(Samples):
    """The engine against the model that it was made from; an engine that fails is set aside and not served."""

    against: str
    """ONNX model whose outputs, as ONNX Runtime computes them, are the truth."""
    samples: int = Field(default=32, ge=1, le=10_000)
    """How many inputs."""
    top1_agreement: float | None = Field(default=0.99, gt=0, le=1)
    """Least share of samples whose highest score is of the same class; null compares no classes."""
    tie: Fraction = 0.001
    """Classes count as the same whose scores, as the model has them, are this near, in relation to their range."""
    atol: float | None = Field(default=None, ge=0)
    """Largest absolute error of a value, added to what `rtol` allows; without both, errors are told but not judged."""
    rtol: float | None = Field(default=None, ge=0)
    """Largest error of a value in relation to the model's own."""

    @model_validator(mode="after")
    def _judges(self) -> Self:
        if self.top1_agreement is None and self.atol is None and self.rtol is None:
            raise refuse("top1_agreement", "expected something to judge by", "write `atol`, `rtol` or `top1_agreement`")
        return self


class TensorrtStep(ContainedStep):
    """Build a TensorRT engine in the target; always in a process of its own, with the TensorRT that will run it."""

    kind: Literal["tensorrt"]
    """What the step does."""
    from_: str = Field(alias="from")
    """`${setup.step}` or an ONNX file."""
    precision: Precision = "tf32"
    """`tf32` is fp32 with rounded factors, TensorRT's own default; `fp16`, `bf16` and `int8` convert the graph."""
    profile: Profile | None = None
    """Sizes of dynamic dimensions: batches, shapes by input, or a list of several such profiles."""
    workspace: ByteSize | None = None
    """Most scratch memory on the GPU; by default all of it."""
    builder_level: int | None = Field(default=None, ge=0, le=5)
    """Builder optimisation level: higher tries longer; by default TensorRT's own, which is 3."""
    timing_cache: str = "shared"
    """`shared` among all scenarios of this machine for the same TensorRT and GPU, `none`, or an absolute path."""
    version_compatible: bool = False
    """Later versions load the engine, too; slower. Triton needs `backend-config: tensorrt,version-compatible=true`."""
    hardware_compatibility: Literal["none", "ampere_plus", "same_compute_capability"] = "none"
    """Other GPUs that may run the engine; everything but `none` may cost speed."""
    plugins: tuple[str, ...] = ()
    """Shared libraries of custom layers, loaded in this order."""
    sparse: bool = False
    """Let the builder use 2:4 structured sparsity where weights have it."""
    driver: Literal["auto", "trtexec", "python"] = "auto"
    """How TensorRT is driven: `auto` is `trtexec` where the image has it, else its Python bindings."""
    calibration: Calibration = Calibration()
    """Ranges for `precision: int8`; of no effect on the engine otherwise."""
    verify: Verify | None = None
    """Compare the engine with a model before it is accepted."""
    output: Name = "model.plan"
    """File name of the engine."""

    @model_validator(mode="after")
    def _timing_cache_is_known(self) -> Self:
        if self.timing_cache not in ("shared", "none") and not os.path.isabs(self.timing_cache):
            problem = f'expected shared, none or an absolute path, got "{self.timing_cache}"'
            raise refuse("timing_cache", problem)
        return self
