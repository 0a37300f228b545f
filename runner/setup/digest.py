"""Digests of files and folders, remembered so that unchanged files are not read twice."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from runner.results.files import replacing, sha256_of

_SETTLED_NS = 1_000_000_000
"""A file changed less than this ago may change again without a new timestamp: its digest is not remembered."""


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def combine(items: Iterable[tuple[str, str]]) -> str:
    """Digest of a folder from (relative name, file digest)."""
    return text_digest("".join(f"{name}\0{digest}\n" for name, digest in sorted(items)))


def files_below(directory: Path) -> list[str]:
    """Relative POSIX names of all files below, sorted; links to directories are not entered."""
    found: list[str] = []
    for folder, _, names in os.walk(directory):
        relative = Path(folder).relative_to(directory)
        found += [(relative / name).as_posix() for name in names]
    return sorted(found)


class DigestCache:
    """Digests by path, valid while size, modification time and inode stay the same."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[int | str]] | None = None
        self._changed = False

    def file(self, path: Path) -> str:
        status = path.stat()
        key = [status.st_size, status.st_mtime_ns, status.st_ino]
        known = self._load().get(str(path))
        if known is not None and known[:3] == key:
            return str(known[3])
        digest = sha256_of(path)
        if time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
            self._load()[str(path)] = [*key, digest]
            self._changed = True
        return digest

    def tree(self, directory: Path, names: Iterable[str]) -> str:
        return combine((name, self.file(directory / name)) for name in names)

    def save(self) -> None:
        """Keep what was learnt; the cache is only a convenience, so no failure to write it matters."""
        if not self._changed:
            return
        with suppress(OSError):
            with replacing(self._path) as file:
                file.write(json.dumps(self._known).encode())
            self._changed = False

    def _load(self) -> dict[str, list[int | str]]:
        if self._known is None:
            try:
                self._known = dict(json.loads(self._path.read_text()))
            except (OSError, ValueError, TypeError):
                self._known = {}
        return self._known
