"""Schema of `setup`: the steps that make artifacts."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from runner.scenario.schema_base import Name, Scalar, Sha256, check_order, refuse
from runner.scenario.schema_dali import DaliStep
from runner.scenario.schema_steps import ContainedStep, StepBase
from runner.scenario.schema_tensorrt import TensorrtStep
from runner.units import ByteSize


class FetchStep(StepBase):
    """Download one file; resumed after a break, checked, cached for offline use."""

    kind: Literal["fetch"]
    """What the step does."""
    url: str
    """http, https or file URL."""
    mirrors: tuple[str, ...] = ()
    """Tried in order when `url` fails."""
    sha256: Sha256 | None = None
    """Digest of the file; without it the step is refused unless `--trust-first-use` records what came."""
    size: ByteSize | None = None
    """Expected size, for the disk estimate and an early refusal."""
    filename: Name | None = None
    """Name of the artifact; by default the last part of the URL."""


class ExportStep(ContainedStep):
    """Run an export script in the target; it writes one model file."""

    kind: Literal["export"]
    """What the step does."""
    script: str
    """A script of `setup_scripts/`, or a path relative to this file; called with `--output PATH` and the arguments."""
    args: dict[str, Scalar] = Field(default={})
    """Passed as `--key value`."""
    output: Name = "model.onnx"
    """File name of the model."""


class SyntheticJpegDataset(StepBase):
    """Seeded synthetic photographs as JPEG: same seed, same bytes on the same library version."""

    kind: Literal["dataset"]
    """What the step does."""
    source: Literal["synthetic_jpeg"]
    """Where the images come from."""
    count: int = Field(default=64, ge=1, le=100_000)
    """Images."""
    seed: int = Field(default=0, ge=0)
    """Seed of sizes and contents."""
    width: tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(le=16384)]] = (320, 1280)
    """Smallest and largest width in pixels; heights follow common aspect ratios."""
    quality: int = Field(default=85, ge=1, le=100)
    """JPEG quality."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        check_order(*self.width, "width")
        return self


class FolderDataset(StepBase):
    """The images of a folder, checked once so that a corrupt file is named before anything is measured."""

    kind: Literal["dataset"]
    """What the step does."""
    source: Literal["folder"]
    """Where the images come from."""
    path: str
    """Folder, relative to this file."""
    pattern: str = "*.jp*g"
    """Which files, case-insensitive glob, in sorted order."""
    limit: int | None = Field(default=None, ge=1)
    """Use only the first so many."""


class ScriptStep(ContainedStep):
    """Run any script in the target; it writes one file or folder."""

    kind: Literal["script"]
    """What the step does."""
    script: str
    """A script of `setup_scripts/`, or a path relative to this file; called with `--output PATH` and the arguments."""
    args: dict[str, Scalar] = Field(default={})
    """Passed as `--key value`; a `${setup.step}` becomes the path of that step's artifact."""
    output: Name = "output"
    """Name of the file or folder that it writes."""
    sha256: Sha256 | None = None
    """Digest of the one file that it downloads; it is then checked and kept as files of `fetch` are."""

    @model_validator(mode="after")
    def _pins_a_download(self) -> Self:
        if self.sha256 is not None and not self.network:
            raise refuse("sha256", "expected `network: true` beside it", "say that the script downloads")
        return self


Dataset = Annotated[SyntheticJpegDataset | FolderDataset, Field(discriminator="source")]
Step = Annotated[FetchStep | ExportStep | Dataset | ScriptStep | TensorrtStep | DaliStep, Field(discriminator="kind")]
