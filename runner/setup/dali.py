"""Step `dali`: a pipeline function and its arguments become the file that Triton's DALI backend loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from runner.builtin import asset_root
from runner.errors import SetupError
from runner.scenario.schema import DaliStep
from runner.setup.base import Artifact, Parts, Product, Workbench
from runner.setup.digest import DigestCache
from runner.setup.fingerprint import flatten
from runner.setup.places import Call, Place, ThisMachine
from runner.setup.references import references, substitute, substitute_all
from runner.setup.script import product_of


class SerializeDali:
    """Runs `serialize_dali.py` where the server runs, so that the same DALI writes and reads the file.

    The backend could serialise `dali.py` itself, but calls its function without arguments: what is to be swept or
    tuned has to be baked in beforehand.
    """

    kind = "dali"

    def __init__(self, name: str, config: DaliStep, digests: DigestCache, place: Place | None = None) -> None:
        self.name = name
        self._config, self._digests, self._place = config, digests, place or ThisMachine()
        self._script = asset_root("setup_scripts") / "serialize_dali.py"

    def fingerprint(self, inputs: Mapping[str, Artifact]) -> Parts:
        self._place.check(self._script)
        parts = {"kind": self.kind, "script": self._digests.file(self._script), "output": self._config.output}
        parts |= self._pipeline_parts()
        parts |= flatten("args", self._config.args) if self._config.args else {}
        parts |= {f"setup.{name}": artifact.digest for name, artifact in inputs.items()}
        return {**parts, **self._place.parts(self._script)}

    def run(self, bench: Workbench) -> Product:
        pipeline, output = Path(substitute(self._config.from_, bench.inputs)), bench.directory / self._config.output
        arguments = json.dumps(substitute_all(self._config.args, bench.inputs), sort_keys=True)
        reads = (pipeline, *(artifact.path for artifact in bench.inputs.values()))
        call = Call(self._script, output, ("--pipeline", str(pipeline), "--arguments", arguments), reads)
        self._place.run(call, bench)
        return product_of(self.name, self._script.name, output)

    def _pipeline_parts(self) -> dict[str, str]:
        """The pipeline's source and what it imports, where it is not the artifact of a step."""
        if references(self._config.from_):
            return {}
        path = Path(self._config.from_)
        if not path.is_file():
            raise SetupError(f"setup.{self.name}.from: no such file: {path}", hint="name the `dali.py` of a model")
        return {"from": self._digests.file(path), **self._place.parts(path)}
