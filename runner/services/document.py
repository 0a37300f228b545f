"""The JSON of an inference request over HTTP: the whole body, or what stands before the raw bytes of its tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_NO_SEQUENCE = {"sequence_id": 0, "sequence_start": False, "sequence_end": False}
"""A request that belongs to none, as the protocol says it."""
_ROOM = 78
"""Bytes of these parameters with the longest id: the engine writes there what each request says of its sequence."""


def request_document(tensors: Mapping[str, Any], parameters: Mapping[str, Any], *, in_sequence: bool = False) -> bytes:
    """`tensors` are the inputs and what is asked of the outputs.

    `in_sequence` begins the document with the parameters of no sequence, and blanks up to the longest ones.
    """
    if in_sequence:
        text = _compact({"parameters": {**_NO_SEQUENCE, **parameters}, **tensors})
        said = _compact(_NO_SEQUENCE)[1:-1]
        return text.replace(said, said.ljust(_ROOM), 1)
    return _compact({**tensors, "parameters": parameters} if parameters else tensors)


def _compact(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
