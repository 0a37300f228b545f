"""Step `fetch`: one file from the network or another folder, through a cache that all scenarios share."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from runner.errors import SetupError
from runner.locks import locked
from runner.scenario.schema import FetchStep
from runner.scenario.secrets import redact_text
from runner.setup.base import Artifact, Parts, Product, Workbench
from runner.setup.blobs import Missing, cached, keep
from runner.setup.digest import text_digest
from runner.setup.download import Download, Retry, Source
from runner.setup.process import left_out
from runner.setup.state import StateDirectory
from runner.setup.store import place_file, write_whole


class Fetch:
    """Downloads, unless the cache has the digest."""

    kind = "fetch"

    def __init__(self, name: str, config: FetchStep, state: StateDirectory, *, trust_first_use: bool = False,
                 retry: Retry | None = None) -> None:  # fmt: skip
        self.name = name
        self._config, self._state, self._trust, self._retry = config, state, trust_first_use, retry

    def fingerprint(self, inputs: Mapping[str, Artifact]) -> Parts:
        # A pinned file is the same wherever it comes from; an unpinned one is known by its URL only.
        digest = self._config.sha256
        origin = {"sha256": digest} if digest else {"url": self._config.url, "sha256": "trusted on first use"}
        return {"kind": self.kind, **origin, "filename": self._filename()}

    def check(self) -> None:
        """Refuse a download that nothing pins.

        Raises:
            SetupError: no `sha256`, none recorded, and no leave to record one.
        """
        if not (self._expected() or self._trust):
            raise SetupError(
                f"setup.{self.name}: {redact_text(self._config.url)} is not pinned: expected `sha256:`, got none",
                hint="add `sha256:` with the file's digest, or run once with --trust-first-use to record what comes",
            )

    def missing(self) -> Missing | None:
        """What an offline setup lacks: None when the file is in the cache or in a local folder."""
        digest = self._expected()
        local = any(urlsplit(url).scheme == "file" for url in (self._config.url, *self._config.mirrors))
        if local or (digest and self._state.blob(digest).exists()):
            return None
        return Missing(self.name, redact_text(self._config.url), self._state.blob(digest) if digest else None)

    def run(self, bench: Workbench) -> Product:
        self.check()
        expected = self._expected()
        bench.reproduce.write_text(self._reproduce(expected))
        blob = cached(self._state, expected, bench) if expected else None
        blob = blob or self._download(expected, bench)
        if not expected:
            self._trust_now(blob.name)
        target = bench.directory / self._filename()
        place_file(blob, target)
        return Product(target, digest=blob.name)

    def _download(self, expected: str | None, bench: Workbench) -> Path:
        partial = self._state.downloads / "partial" / f"{expected or text_digest(self._config.url)}.part"
        self._state.make_folder(partial.parent, group="downloads")
        lock = partial.with_suffix(".lock")
        for path in (lock, partial, partial.with_suffix(".json")):
            self._state.ledger.intend("file", path, group="downloads")
        with locked(lock, on_wait=lambda holder: bench.say(f"waiting for the same download by {holder}")):
            # Whoever held the lock may have just fetched it.
            found = cached(self._state, expected, bench) if expected else None
            blob = found or self._receive(expected, partial, bench)
            lock.unlink(missing_ok=True)
            return blob

    def _receive(self, expected: str | None, partial: Path, bench: Workbench) -> Path:
        def tell(message: str, done: int | None, total: int | None) -> None:
            if done is None:
                bench.note(message)
            bench.say(message, done=done, total=total)

        source = Source((self._config.url, *self._config.mirrors), expected, self._config.size)
        bench.note(f"sources: {' '.join(map(redact_text, source.urls))}; sha256 {expected or 'not known yet'}")
        digest = Download(f"setup.{self.name}", source, partial, tell, self._retry).run()
        blob = keep(self._state, digest, partial)
        partial.with_suffix(".json").unlink(missing_ok=True)
        return blob

    def _expected(self) -> str | None:
        return self._config.sha256 or read_trusted(self._state.trusted).get(self._config.url)

    def _trust_now(self, digest: str) -> None:
        trusted = {**read_trusted(self._state.trusted), self._config.url: digest}
        write_whole(self._state.trusted, json.dumps(trusted, indent=1, sort_keys=True).encode())

    def _filename(self) -> str:
        return self._config.filename or _last_name(self._config.url)

    def _reproduce(self, digest: str | None) -> str:
        name, url = shlex.quote(self._filename()), self._config.url
        told = redact_text(url)
        check = f"printf '%s  %s' {digest} {name} | sha256sum --check -\n" if digest else ""
        curl = f"curl --fail --location --output {name} {shlex.quote(told)}"
        return f"#!/bin/sh\n{left_out([url], [told])}set -eu\n{curl}\n{check}"


def _last_name(url: str) -> str:
    """What the path of a URL ends with, where that can name a file in any folder."""
    names = [name for name in re.split(r"[/\\]", unquote(urlsplit(url).path)) if name]
    usable = names and names[-1] not in (".", "..") and names[-1].isprintable()
    return names[-1] if usable else "download"


def read_trusted(path: Path) -> dict[str, str]:
    """URL -> sha256 of downloads that were accepted on first use."""
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise SetupError(
            f"{path}: not readable as JSON: {error}", hint="remove it and run once with --trust-first-use"
        ) from error
