"""Step `script` with a `sha256`: a script that downloads one file, kept in the cache like any download."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from runner.errors import SetupError
from runner.results.files import sha256_of
from runner.scenario.schema import ScriptStep
from runner.setup.base import Artifact, Parts, Product, Workbench
from runner.setup.blobs import Missing, cached, keep
from runner.setup.script import RunScript
from runner.setup.state import StateDirectory
from runner.setup.store import place_file


class PinnedScript:
    """Runs the script unless the cache has the digest; what it writes is checked and kept there."""

    kind = "script"

    def __init__(self, script: RunScript, config: ScriptStep, digest: str, state: StateDirectory) -> None:
        self.name = script.name
        self._script, self._config, self._digest, self._state = script, config, digest, state

    def fingerprint(self, inputs: Mapping[str, Artifact]) -> Parts:
        # A pinned file is the same whatever brought it.
        return {"kind": self.kind, "sha256": self._digest, "output": self._config.output}

    def missing(self) -> Missing | None:
        """What an offline setup lacks: None when the file is in the cache."""
        blob = self._state.blob(self._digest)
        what = f"{self._config.output}, by {Path(self._config.script).name},"
        return None if blob.exists() else Missing(self.name, what, blob)

    def run(self, bench: Workbench) -> Product:
        blob = cached(self._state, self._digest, bench)
        if blob:
            copy = shlex.join(["cp", str(blob), self._config.output])
            bench.reproduce.write_text(f"#!/bin/sh\n# Setup step `{bench.step}` was in the cache.\nset -eu\n{copy}\n")
        else:
            arrived = self._script.run(bench).path
            self._check(arrived)
            blob = keep(self._state, self._digest, arrived)
        target = bench.directory / self._config.output
        place_file(blob, target)
        return Product(target, digest=self._digest)

    def _check(self, arrived: Path) -> None:
        got = f"sha256 {sha256_of(arrived)}" if arrived.is_file() else "a folder"
        if got != f"sha256 {self._digest}":
            raise SetupError(
                f"setup.{self.name}: {Path(self._config.script).name} wrote another file: "
                f"expected sha256 {self._digest}, got {got}",
                hint="correct `sha256`, or find out who changed the file",
            )
