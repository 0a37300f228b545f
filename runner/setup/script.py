"""Steps `export` and `script`: a command-line program writes one file or folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.errors import SetupError
from runner.scenario.schema import ExportStep, ScriptStep
from runner.setup.base import Artifact, Parts, Product, Workbench
from runner.setup.digest import DigestCache
from runner.setup.places import Call, Place, ThisMachine
from runner.setup.references import substitute


class RunScript:
    """Runs `script --output PATH --key value …` in the Python of its place: this machine or a container."""

    def __init__(
        self, name: str, config: ExportStep | ScriptStep, digests: DigestCache, place: Place | None = None
    ) -> None:
        self.name = name
        self.kind: str = config.kind
        self._config, self._digests, self._place = config, digests, place or ThisMachine()

    def fingerprint(self, inputs: Mapping[str, Artifact]) -> Parts:
        script = Path(self._config.script)
        self._check(script)
        parts = {"kind": self.kind, "script": self._digests.file(script), "output": self._config.output}
        for key, value in self._config.args.items():
            parts[f"args.{key}"] = argument_text(value)
        parts |= {f"file args.{key}": self._digests.file(path) for key, path in self._files().items()}
        parts |= {f"setup.{name}": artifact.digest for name, artifact in inputs.items()}
        return {**parts, **self._place.parts(script)}

    def run(self, bench: Workbench) -> Product:
        output = bench.directory / self._config.output
        arguments = [part for key, value in self._config.args.items() for part in self._pair(key, value, bench.inputs)]
        reads = (*(artifact.path for artifact in bench.inputs.values()), *self._files().values())
        self._place.run(Call(Path(self._config.script), output, tuple(arguments), reads), bench)
        return product_of(self.name, Path(self._config.script).name, output)

    def _check(self, script: Path) -> None:
        try:
            self._place.check(script)
        except SetupError as error:
            raise SetupError(f"setup.{self.name}.script: {error.message}", hint=error.hint) from None

    def _files(self) -> dict[str, Path]:
        """Arguments that name a file of this machine."""
        texts = {key: value for key, value in self._config.args.items() if isinstance(value, str)}
        return {key: Path(text) for key, text in texts.items() if os.path.isabs(text) and os.path.isfile(text)}

    def _pair(self, key: str, value: Any, inputs: Mapping[str, Artifact]) -> tuple[str, str]:
        return f"--{key}", substitute(argument_text(value), inputs)


def product_of(step: str, script: str, output: Path) -> Product:
    """What a script wrote, with the labels and facts that it left beside it.

    Raises:
        SetupError: it wrote nothing, or its sidecar is not what was expected.
    """
    if not output.exists() or (output.is_file() and output.stat().st_size == 0):
        raise SetupError(
            f"setup.{step}: {script} ended well but wrote nothing to its --output",
            hint=f"let it write the file or folder that --output names ({output.name})",
        )
    sidecar = output.with_name(f"{output.name}.facts.json")
    if not sidecar.exists():
        return Product(output)
    try:
        said = json.loads(sidecar.read_text())
        labels = {str(key): str(value) for key, value in said.get("labels", {}).items()}
        return Product(output, labels, dict(said.get("facts", {})))
    except (ValueError, AttributeError, TypeError) as error:
        raise SetupError(
            f"setup.{step}: {sidecar.name} is not what was expected: {error}",
            hint='the script should write {"labels": {NAME: TEXT}, "facts": {NAME: VALUE}} or no such file',
        ) from None


def argument_text(value: bool | int | float | str) -> str:
    """As the script gets it: booleans are `true` and `false`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
