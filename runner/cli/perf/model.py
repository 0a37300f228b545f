"""What a translation may know of the model: read from the server for `scenario perf`, unknown for `scenario import`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.services.base import ModelMetadata


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """The part of a model's metadata that decides what requests look like."""

    name: str
    version: str = ""
    max_batch: int = 0
    sequences: bool = False
    """It, or a model behind it, keeps state from request to request."""
    decoupled: bool = False
    open_inputs: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """Inputs with a dimension that the model leaves open, and their shape."""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    has_texts: bool = False
    """An input is of type BYTES."""

    @classmethod
    def of(cls, metadata: ModelMetadata, behind: tuple[ModelMetadata, ...] = ()) -> KnownModel:
        """From the server's own words; `behind` are the models of an ensemble."""
        return cls(
            name=metadata.name,
            version=metadata.version,
            max_batch=metadata.max_batch_size,
            sequences=any(each.sequences for each in (metadata, *behind)),
            decoupled=any(each.decoupled for each in (metadata, *behind)),
            open_inputs=tuple((t.name, t.shape) for t in metadata.inputs if -1 in t.shape and not t.optional),
            inputs=tuple(tensor.name for tensor in metadata.inputs),
            outputs=tuple(tensor.name for tensor in metadata.outputs),
            has_texts=any(tensor.datatype == "BYTES" for tensor in metadata.inputs),
        )
