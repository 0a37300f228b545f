"""What to build: one set of arguments for both drivers, and what they mean for each major version of TensorRT."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

Shapes = dict[str, tuple[list[int], list[int], list[int]]]
"""Input -> smallest, best and largest shape."""


class ToolError(Exception):
    """A reason, in one line and perhaps a second one with what to do, why nothing can be built or run."""


@dataclass(frozen=True)
class Version:
    """A version of TensorRT."""

    major: int
    minor: int
    patch: int
    text: str = ""
    """As TensorRT says it, with its build where it says that."""

    @classmethod
    def from_number(cls, number: int) -> Version:
        """From `getInferLibVersion`: 8603 is 8.6.3, 101303 is 10.13.3."""
        scale = 1000 if number < 10_000 else 10_000
        major, minor, patch = number // scale, number % scale // 100, number % 100
        return cls(major, minor, patch, f"{major}.{minor}.{patch}")

    @classmethod
    def from_text(cls, text: str) -> Version:
        match = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
        if not match:
            raise ToolError(f"cannot read the TensorRT version {text!r}")
        return cls(int(match[1]), int(match[2]), int(match[3]), text)


@dataclass(frozen=True)
class BuildSpec:
    """One engine."""

    onnx: Path
    output: Path
    precision: str = "tf32"
    """`fp32`, `tf32`: the graph as it is; `fp16`, `bf16`, `int8`: its types and Q/DQ nodes say the precision."""
    profiles: tuple[Shapes, ...] = ()
    workspace_mib: int | None = None
    builder_level: int | None = None
    timing_cache: Path | None = None
    version_compatible: bool = False
    hardware_compatibility: str = "none"
    plugins: tuple[Path, ...] = ()
    sparse: bool = False
    layers: Path | None = field(default=None)
    """Where what became of the layers is written."""

    def strongly_typed(self, version: Version) -> bool:
        """Whether the builder must be told to follow the graph's types: TensorRT 8 cannot, from 11 it always does."""
        return self.precision in ("fp16", "bf16", "int8") and 9 <= version.major <= 10

    def weak_flags(self, version: Version) -> tuple[str, ...]:
        """Precisions that TensorRT 8 may use; of a typed graph it uses them where the graph says so.

        Raises:
            ToolError: it has no such type.
        """
        if version.major >= 9:
            return ()
        if self.precision == "bf16":
            raise ToolError(f"TensorRT {version.text} has no bf16\nwrite `precision: fp16`, or use a newer image")
        return {"fp16": ("fp16",), "int8": ("int8",)}.get(self.precision, ())
