"""Downloads over HTTP that survive broken connections: resumed by range, checked by size and digest.

A partial file keeps a sidecar with its source and the source's validator (ETag or Last-Modified). A range is asked for
with If-Range, so that a file that changed meanwhile comes whole; where the digest is pinned, a range may also continue
what another mirror began, because the digest tells in the end.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener

from runner.errors import SetupError
from runner.results.files import sha256_of
from runner.scenario.secrets import redact_text
from runner.setup.failures import disk_problem, free_bytes, size_text

_CHUNK = 1 << 20
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Retry:
    """How patient to be: so many failures in a row without a new byte, pauses that double, an idle timeout."""

    attempts: int = 5
    pause_s: float = 0.5
    longest_pause_s: float = 10.0
    timeout_s: float = 30.0


@dataclass(frozen=True)
class Source:
    """What is wanted, and from where."""

    urls: tuple[str, ...]
    sha256: str | None = None
    size: int | None = None


class SourceError(Exception):
    """One URL did not deliver; `again_after_s` is set where trying again may help."""

    def __init__(self, reason: str, again_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.again_after_s = again_after_s


Tell = Callable[[str, int | None, int | None], None]
"""message, bytes done, bytes in all"""


class Partial:
    """A file that is still arriving."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sidecar = path.with_suffix(".json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def resumable(self, url: str, *, pinned: bool) -> tuple[int, str | None]:
        """Offset to go on from, and the validator to send; (0, None) means from the start."""
        known = self._known()
        validator = known.get("validator") if known.get("url") == url else None
        return (self.size, validator) if self.size and (pinned or validator) else (0, None)

    def remember(self, url: str, validator: str | None) -> None:
        self.sidecar.write_text(json.dumps({"url": url, "validator": validator}))

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
        self.sidecar.unlink(missing_ok=True)

    def _known(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.sidecar.read_text()))
        except (OSError, ValueError, TypeError):
            return {}


class Download:
    """One file from the first source that delivers it."""

    def __init__(self, where: str, source: Source, partial: Path, tell: Tell, retry: Retry | None = None) -> None:
        self._where, self._source, self._tell = where, source, tell
        self._partial = Partial(partial)
        self._retry = retry or Retry()
        self._resumed = False

    def run(self) -> str:
        """Bring the partial file to completeness and return its sha256; what came stays on failure, unless it is wrong.

        Raises:
            SetupError: no source delivered, or there is no room.
        """
        failures: list[str] = []
        for url in self._source.urls:
            try:
                return self._from(url)
            except SourceError as error:
                failures.append(self._told(url, str(error)))
        raise SetupError(
            f"{self._where}: no source delivered the file" + "".join(f"\n  {line}" for line in failures),
            hint="check the URL, the network and the proxy settings; what has arrived is kept and continued",
        )

    def _from(self, url: str) -> str:
        if urlsplit(url).scheme not in {"http", "https", "file"}:
            raise SourceError("expected an http, https or file URL")
        self._fetch(url)
        digest = sha256_of(self._partial.path)
        if self._resumed and self._source.sha256 not in {None, digest}:
            # The pieces may come from different files: once more from the start before anyone is blamed.
            self._told(url, "the continued file is not the expected one; from the start")
            self._partial.forget()
            self._fetch(url)
            digest = sha256_of(self._partial.path)
        if self._source.sha256 not in {None, digest}:
            self._partial.forget()
            raise SourceError(
                f"wrong content, refused and removed: expected sha256 {self._source.sha256}, got {digest}"
            )
        return digest

    def _fetch(self, url: str) -> None:
        """Until complete; the count of failures starts again whenever bytes arrive."""
        failures, pause, size = 0, self._retry.pause_s, self._partial.size
        self._resumed = False
        while True:
            try:
                return self._attempt(url)
            except SourceError as error:
                if error.again_after_s is None:
                    raise
                arrived, size = self._partial.size > size, self._partial.size
                failures, pause = (1, self._retry.pause_s) if arrived else (failures + 1, pause * 2)
                if failures >= self._retry.attempts:
                    raise SourceError(f"{error} (tried {failures} times without getting further)") from error
                wait = min(max(pause, error.again_after_s), self._retry.longest_pause_s)
                self._told(url, f"{error}; again in {wait:.1f} s")
                time.sleep(wait)

    def _told(self, url: str, what: str) -> str:
        """What happened at a URL, which may hold a token; it is told, and returned."""
        message = f"{redact_text(url)}: {what}"
        self._tell(message, None, None)
        return message

    def _attempt(self, url: str) -> None:
        offset, validator = self._partial.resumable(url, pinned=self._source.sha256 is not None)
        headers = {"Accept-Encoding": "identity", "User-Agent": "scenario"}
        if offset:
            headers |= {"Range": f"bytes={offset}-"} | ({"If-Range": validator} if validator else {})
        try:
            with _network():
                response = build_opener().open(Request(url, headers=headers), timeout=self._retry.timeout_s)
        except HTTPError as error:
            self._refused(error, offset)
        else:
            with response:
                self._receive(url, response, offset)

    def _refused(self, error: HTTPError, offset: int) -> None:
        """Return if the partial file turns out to be complete, else raise."""
        with error:
            if error.code == 416 and offset:
                if error.headers.get("Content-Range", "").rpartition("/")[2] == str(offset):
                    return
                self._partial.forget()
                raise SourceError("the server has no such range; from the start", 0) from error
            again = _seconds(error.headers.get("Retry-After")) if error.code in _TRANSIENT else None
            raise SourceError(f"HTTP {error.code} {error.reason}", again) from error

    def _receive(self, url: str, response: Any, offset: int) -> None:
        start, total = _extent(response, offset)
        self._check_size(total, start)
        self._resumed = self._resumed or start > 0
        self._partial.remember(url, _validator(response.headers))
        received = start
        with self._opened(start) as file:
            while chunk := _read(response):
                self._write(file, chunk)
                received += len(chunk)
                self._tell("downloading", received, total)
        if total is not None and received < total:
            raise SourceError(f"the connection ended after {received} of {total} bytes", 0)
        self._check_size(received, received)

    def _opened(self, start: int) -> Any:
        file = self._partial.path.open("r+b" if start else "wb", buffering=0)
        file.truncate(start)
        file.seek(start)
        return file

    def _write(self, file: Any, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            try:
                view = view[file.write(view) :]
            except OSError as error:
                problem = disk_problem(error, self._where, self._partial.path)
                raise problem or SetupError(f"{self._where}: {self._partial.path}: {error.strerror}") from error

    def _check_size(self, total: int | None, have: int) -> None:
        expected = self._source.size
        if expected is not None and total is not None and total != expected:
            self._partial.forget()
            raise SourceError(f"wrong size: `size` says {expected} bytes, the file has {total}")
        free = free_bytes(self._partial.path)
        if total is not None and total - have > free:
            no_space = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            needed = f"{self._where}: {size_text(total - have)} still to come"
            raise disk_problem(no_space, needed, self._partial.path.parent) or no_space


@contextmanager
def _network() -> Iterator[None]:
    """Failures of the network as SourceError; those of the local disk are not caught here."""
    try:
        yield
    except HTTPError:
        raise
    except URLError as error:
        gone = isinstance(error.reason, FileNotFoundError)
        reason = str(getattr(error.reason, "strerror", None) or error.reason)
        raise SourceError(reason, None if gone else 0) from error
    except (HTTPException, OSError) as error:
        raise SourceError(f"the connection broke: {error or type(error).__name__}", 0) from error


def _read(response: Any) -> bytes:
    with _network():
        return bytes(response.read1(_CHUNK) if hasattr(response, "read1") else response.read(_CHUNK))


def _extent(response: Any, offset: int) -> tuple[int, int | None]:
    """Where the body starts in the file, and how long the file is."""
    if response.status == 206:
        span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        if span.partition("-")[0] != str(offset):
            raise SourceError("the server sent another range than was asked for")
        return offset, int(total) if total.isdecimal() else None
    length = response.headers.get("Content-Length")
    return 0, int(length) if length and length.isdecimal() else None


def _validator(headers: Any) -> str | None:
    """What If-Range may carry: a strong ETag, else the date."""
    tag = headers.get("ETag")
    found = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")
    return str(found) if found else None


def _seconds(text: str | None) -> float:
    return float(text) if text and text.isdecimal() else 0.0
