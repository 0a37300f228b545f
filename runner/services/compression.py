"""Compression of requests, the same for every protocol."""

from __future__ import annotations

import gzip
import zlib
from typing import Literal


def decompressed(message: bytes, encoding: Literal["gzip", "deflate"] | None) -> bytes:
    """What `compressed` was given."""
    if encoding is None:
        return message
    return gzip.decompress(message) if encoding == "gzip" else zlib.decompress(message)


def compressed(message: bytes, encoding: Literal["gzip", "deflate"] | None) -> bytes:
    """The message as `encoding`; the same bytes for the same message."""
    if encoding is None:
        return message
    return gzip.compress(message, mtime=0) if encoding == "gzip" else zlib.compress(message)
