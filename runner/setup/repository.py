"""Step `repository`: Triton model folders, configuration overrides and artifacts become one model repository."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import SetupError
from runner.scenario.schema import ModelSource, Scenario
from runner.setup.base import Artifact, Parts, Product, Workbench
from runner.setup.fingerprint import flatten, version_parts
from runner.setup.references import references, substitute
from runner.setup.sources import source_files
from runner.setup.state import StateDirectory
from runner.setup.store import place_file
from runner.setup.workload import check_workload
from runner.units import counted

if TYPE_CHECKING:
    from runner.setup.model_config import Problems


class AssembleRepository:
    """Copies sources without caches, renders configurations, adds files, after checking everything."""

    name = kind = "repository"

    def __init__(self, scenario: Scenario, state: StateDirectory, max_batch_needed: int) -> None:
        self._scenario, self._state, self._needed = scenario, state, max_batch_needed
        self._digests = state.digests
        self._models = scenario.repository.models

    def fingerprint(self, inputs: Mapping[str, Artifact]) -> Parts:
        parts = {"kind": self.kind, **version_parts(("tritonclient", "protobuf"))}
        for name, model in self._models.items():
            address = f"models.{name}"
            source = Path(model.from_)
            parts[f"{address}.from"] = self._digests.tree(source, source_files(source))
            for key, content in (("config", model.config), ("args", model.args)):
                parts |= flatten(f"{address}.{key}", content) if content else {}
            for path, origin in model.files.items():
                parts[f"{address}.files.{path}"] = self._origin_digest(origin, inputs)
        return parts | {f"setup.{name}": artifact.digest for name, artifact in inputs.items()}

    def run(self, bench: Workbench) -> Product:
        from runner.setup.configured import check_models, configured, facts_of
        from runner.setup.model_config import Problems, render

        problems = Problems()
        configs = configured(self._models, bench.inputs, problems)
        check_models(self._models, configs, problems)
        self._check_files(bench.inputs, problems)
        facts = {"models": {name: facts_of(config) for name, config in configs.items()}}
        problems += check_workload(self._scenario, facts["models"], self._needed)
        _refuse(problems)
        bench.reproduce.write_text(f"#!/bin/sh\nexec scenario setup {shlex.quote(str(self._state.source))}\n")
        for name, model in self._models.items():
            self._assemble(name, model, render(configs[name]), bench)
        return Product(bench.directory, facts=facts)

    def verify(self, facts: Mapping[str, Any]) -> None:
        """Check what may change without the repository changing: the workload and the matrix.

        Raises:
            SetupError: with every problem.
        """
        _refuse(check_workload(self._scenario, facts["models"], self._needed))

    def _origin_digest(self, origin: str, inputs: Mapping[str, Artifact]) -> str:
        if references(origin):
            return origin
        path = Path(origin)
        return self._digests.file(path) if path.is_file() else self._digests.tree(path, source_files(path))

    def _check_files(self, inputs: Mapping[str, Artifact], problems: Problems) -> None:
        for name, model in self._models.items():
            for path, origin in model.files.items():
                if not Path(substitute(origin, inputs)).exists():
                    address = f"repository.models.{name}.files.{path}"
                    problems.add(address, f"no such file: {substitute(origin, inputs)}")

    def _assemble(self, name: str, model: ModelSource, config: str, bench: Workbench) -> None:
        source, target = Path(model.from_), bench.directory / name
        target.mkdir()
        for file in source_files(source):
            place = target / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes((source / file).read_bytes())
        (target / "config.pbtxt").write_text(config)
        for path, origin in model.files.items():
            _add(Path(substitute(origin, bench.inputs)), target / path)
        if not any(child.is_dir() and child.name.isdecimal() for child in target.iterdir()):
            (target / "1").mkdir()
        bench.note(f"{name}: {source} + {', '.join(model.files) or 'no files'}")


def check_sources(models: Mapping[str, ModelSource]) -> None:
    """Refuse a model whose folder does not exist.

    Raises:
        SetupError: with every such model.
    """
    missing = [(name, model.from_) for name, model in models.items() if not Path(model.from_).is_dir()]
    _refuse([f"repository.models.{name}.from: no such folder: {path}" for name, path in missing])


def _add(origin: Path, target: Path) -> None:
    """A file, or every file of a folder, over what the source may have had there."""
    pairs = [(origin, target)]
    if origin.is_dir():
        pairs = [(origin / name, target / name) for name in source_files(origin)]
    for file, place in pairs:
        place.unlink(missing_ok=True)
        place_file(file, place)


def _refuse(problems: list[str]) -> None:
    if not problems:
        return
    count = counted(len(problems), "problem")
    raise SetupError(
        f"repository: {count}" + "".join(f"\n  {line}" for line in problems),
        hint="correct the scenario file, or the model folder that `from` names",
    )
