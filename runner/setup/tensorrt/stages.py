"""The parts of the step that are kept by themselves: each is built once for what goes into it, and reused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.builtin import asset_root
from runner.errors import SetupError
from runner.results.gpus import gpus
from runner.results.nvml import NvmlError
from runner.scenario.schema import ScriptStep
from runner.scenario.schema_tensorrt import Calibration, Verify
from runner.setup.base import Artifact, OnProgress, Parts, Product, Step, Workbench
from runner.setup.digest import DigestCache, files_below
from runner.setup.places import Place
from runner.setup.references import references
from runner.setup.script import RunScript
from runner.setup.state import StateDirectory
from runner.setup.store import Stamp, Store
from runner.setup.tensorrt.explain import explained

BUILDER = "build_engine.py"
CONVERTER = "convert_precision.py"
REFERENCE = "reference_outputs.py"
_HELPERS = {BUILDER: ("tensorrt_tools",), CONVERTER: ("model_samples.py", "bf16_graph.py", "layer_patterns.py"),
            REFERENCE: ("model_samples.py", "bf16_graph.py", "layer_patterns.py", CONVERTER)}  # fmt: skip
"""Script -> what else its output depends on, beside it."""


class Stages:
    """Where stages are kept. Their names have a dot, which no step's own name has."""

    def __init__(self, state: StateDirectory) -> None:
        self._store = Store(state, state.artifacts, "artifacts")

    def known(self, stage: Step, inputs: Mapping[str, Artifact]) -> Stamp | None:
        """What the stage made when it last had these inputs."""
        return self._store.find(stage.name, stage.fingerprint(inputs)).stamp

    def made(self, stage: Step, inputs: Mapping[str, Artifact], on_progress: OnProgress | None) -> Stamp:
        """The same, made if need be.

        Raises:
            SetupError: the stage failed.
        """
        parts = stage.fingerprint(inputs)
        found = self._store.find(stage.name, parts)
        return found.stamp or self._store.build(stage, parts, inputs, on_progress)

    def path(self, stamp: Stamp) -> Path:
        return self._store.artifact(stamp).path


@dataclass
class ScriptStage:
    """One of our scripts as a stage: its arguments, its helpers, and what else it depends on."""

    name: str
    script: str
    output: str
    args: Mapping[str, Any]
    place: Place
    digests: DigestCache
    further: Parts
    kind: str = "script"

    def fingerprint(self, inputs: Mapping[str, Artifact]) -> Parts:
        own = self._step().fingerprint(self._inputs(inputs))
        return {**own, **self.further, "helpers": helpers_digest(self.script, self.digests)}

    def run(self, bench: Workbench) -> Product:
        try:
            return self._step().run(bench)
        except SetupError as error:
            raise explained(error, said_in(bench)) from error

    def _step(self) -> RunScript:
        args = {key: value for key, value in self.args.items() if value is not None}
        config = ScriptStep(kind="script", script=str(script_path(self.script)), args=args, output=self.output)
        return RunScript(self.name, config, self.digests, self.place)

    def _inputs(self, inputs: Mapping[str, Artifact]) -> dict[str, Artifact]:
        return {name: inputs[name] for name in references(dict(self.args))}


def probe_stage(name: str, driver: str, place: Place, digests: DigestCache) -> ScriptStage:
    """Asks the target once for its TensorRT and its GPU; again when the image or this machine's GPUs change."""
    further = {"GPUs of this machine": host_gpus()}
    args = {"task": "probe", "driver": driver}
    return ScriptStage(f"{name}.probe", BUILDER, "probe.json", args, place, digests, further)


def source_parts(what: str, source: str | None, digests: DigestCache) -> Parts:
    """Content of samples that no step made: those of a step count as its artifact."""
    if source is None or references(source):
        return {}
    path = Path(source)
    content = digests.tree(path, files_below(path)) if path.is_dir() else digests.file(path)
    return {f"content of {what}.from": content}


def samples_arguments(source: Calibration | Verify, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """How our scripts are told which inputs to take."""
    said = {"from": source.from_, "samples": source.samples, "seed": source.seed, "scaling": source.scaling}
    return {**said, "shapes": json.dumps({name: list(shape) for name, shape in shapes.items()}) if shapes else None}


def script_path(script: str) -> Path:
    return asset_root("setup_scripts") / script


def helpers_digest(script: str, digests: DigestCache) -> str:
    """Digest of the modules that a script imports from beside it."""
    folder = asset_root("setup_scripts")
    names = [name for helper in _HELPERS[script] for name in _files(folder, helper)]
    return digests.tree(folder, names)


def said_in(bench: Workbench) -> str:
    """What the script printed."""
    bench.log.flush()
    return Path(bench.log.name).read_text(errors="replace")


def host_gpus() -> str:
    """The GPUs as this machine's driver lists them, in one line; `none` where there is no driver."""
    try:
        found = gpus(lambda text: text)
    except NvmlError:
        return "none"
    return json.dumps([found["driver"], *(device.get("uuid") for device in found["devices"])])


def _files(folder: Path, helper: str) -> list[str]:
    path = folder / helper
    if path.is_file():
        return [helper]
    return [f"{helper}/{name}" for name in files_below(path) if name.endswith(".py")]
