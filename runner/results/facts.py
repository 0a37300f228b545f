"""How a fact is looked up: on its own, and where it cannot be had its place says why."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_MAC = re.compile(r"\b(?:[0-9a-f]{2}[:-]){5,6}[0-9a-f]{2}\b", re.IGNORECASE)


def fact(look: Callable[[], Any]) -> Any:
    """What `look` finds, or why there is nothing."""
    try:
        return look()
    except OSError as error:
        return {"absent": f"{error.filename or 'the system'}: {error.strerror or error}"}
    except Exception as error:  # a fingerprint that fails a run would be worse than one with a gap
        return {"absent": str(error) or type(error).__name__}


def nothing(why: str) -> Any:
    """For a look that finds nothing."""
    raise LookupError(why)


def hashed(text: str) -> str:
    """Tells two things apart without saying what they are."""
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


def hide_identifiers(text: str, hide: Callable[[str], str] = hashed) -> str:
    """The text with every UUID and hardware address in it hidden."""
    return _MAC.sub(lambda match: hide(match.group()), _UUID.sub(lambda match: hide(match.group()), text))


def text_of(path: Path) -> str:
    """Contents of a small file."""
    return path.read_text("utf-8", "replace").strip()


def fields_of(block: str) -> dict[str, str]:
    """`key : value`, one a line."""
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def alike(values: Iterable[str], where: str) -> str | dict[str, int]:
    """The one value that all have, or how many have which."""
    counts = Counter(values)
    if not counts:
        nothing(f"none in {where}")
    return next(iter(counts)) if len(counts) == 1 else dict(sorted(counts.items()))
