"""Steps `export` and `script`: a command-line program writes one file or folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.errors import SetupError
from runner.scenario.schema import ExportStep, ScriptStep
from runner.setup.base import Artifact, Parts, Product, Workbench
from runner.setup.digest import DigestCache
from runner.setup.fingerprint import host_parts, imported_distributions, version_parts
from runner.setup.process import command_for, reproduce_text, run_script
from runner.setup.references import substitute


class RunScript:
    """Runs `script --output PATH --key value …` in this machine's Python."""

    def __init__(self, name: str, config: ExportStep | ScriptStep, digests: DigestCache) -> None:
        self.name = name
        self.kind: str = config.kind
        self._config, self._digests = config, digests

    def fingerprint(self, inputs: Mapping[str, Artifact]) -> Parts:
        script = Path(self._config.script)
        self._check(script)
        parts = {"kind": self.kind, "script": self._digests.file(script), "output": self._config.output}
        for key, value in self._config.args.items():
            parts[f"args.{key}"] = argument_text(value)
            if isinstance(value, str) and os.path.isabs(value) and os.path.isfile(value):
                parts[f"file args.{key}"] = self._digests.file(Path(value))
        parts |= {f"setup.{name}": artifact.digest for name, artifact in inputs.items()}
        return parts | host_parts() | version_parts(imported_distributions(script))

    def run(self, bench: Workbench) -> Product:
        output = bench.directory / self._config.output
        base = command_for(Path(self._config.script))
        arguments = [part for key, value in self._config.args.items() for part in self._pair(key, value, bench.inputs)]
        bench.reproduce.write_text(reproduce_text(self.name, [*base, "--output", "OUT", *arguments], output.name))
        work = bench.directory / ".work"
        work.mkdir()
        try:
            run_script([*base, "--output", str(output), *arguments], bench, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return self._product(output)

    def _check(self, script: Path) -> None:
        try:
            command_for(script)
        except SetupError as error:
            raise SetupError(f"setup.{self.name}.script: {error.message}", hint=error.hint) from None

    def _pair(self, key: str, value: Any, inputs: Mapping[str, Artifact]) -> tuple[str, str]:
        return f"--{key}", substitute(argument_text(value), inputs)

    def _product(self, output: Path) -> Product:
        if not output.exists() or (output.is_file() and output.stat().st_size == 0):
            raise SetupError(
                f"setup.{self.name}: {Path(self._config.script).name} ended well but wrote nothing to its --output",
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
                f"setup.{self.name}: {sidecar.name} is not what was expected: {error}",
                hint='the script should write {"labels": {NAME: TEXT}, "facts": {NAME: VALUE}} or no such file',
            ) from None


def argument_text(value: bool | int | float | str) -> str:
    """As the script gets it: booleans are `true` and `false`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
