"""Step `tensorrt`: convert the graph here, build the engine in the target, try it there, compare here.

The stages are kept by themselves (`<step>.probe`, `.graph`, `.build`, `.reference`), so that another tolerance compares
again but builds nothing, and an engine that was refused stays where it can be looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.errors import SetupError
from runner.scenario.schema_tensorrt import TensorrtStep
from runner.setup.base import Artifact, Parts, Product, Workbench
from runner.setup.digest import DigestCache
from runner.setup.fingerprint import version_parts
from runner.setup.places import Place, ThisMachine
from runner.setup.references import substitute
from runner.setup.state import StateDirectory
from runner.setup.store import Stamp, place_file
from runner.setup.tensorrt import key
from runner.setup.tensorrt.build import EngineBuild, timing_cache_of
from runner.setup.tensorrt.graph import external_files, profiles_of, sample_batch, sample_shapes
from runner.setup.tensorrt.stages import (
    BUILDER,
    CONVERTER,
    ScriptStage,
    Stages,
    helpers_digest,
    probe_stage,
    samples_arguments,
    script_path,
    source_parts,
)
from runner.setup.tensorrt.verify import Trial


@dataclass(frozen=True)
class Target:
    """Where the engine is built and where it is served: the same place, unless the step names an image of its own."""

    builds: Place
    serves: Place
    may_ask: bool = True
    """Whether a container may be started to ask what is in it; a plan only looks at what is known."""


class BuildEngine:
    """Builds an engine and accepts it."""

    kind = "tensorrt"

    def __init__(self, name: str, config: TensorrtStep, state: StateDirectory, target: Target) -> None:
        self.name, self._config, self._state, self._target = name, config, state, target
        self._stages, self._digests = Stages(state), state.digests
        self._graph = graph_stage(name, config, state.digests)
        self._trial = config.verify and Trial(name, config, config.verify, state, target.serves)

    def fingerprint(self, inputs: Mapping[str, Artifact]) -> Parts:
        used = {f"setup.{name}": artifact.digest for name, artifact in inputs.items()}
        return {**self._key(inputs), **used, **(self._trial.parts() if self._trial else {})}

    def run(self, bench: Workbench) -> Product:
        self._check_versions(bench)
        graph = self._stages.made(self._graph, bench.inputs, bench.on_progress)
        profiles = profiles_of(self._config, graph.facts["inputs"], f"setup.{self.name}")
        engine = self._stages.made(self._build(graph, profiles, bench), bench.inputs, bench.on_progress)
        self._point_at_build(bench)
        facts = {**engine.facts, "conversion_error": graph.facts.get("error")}
        labels = self._labels(engine)
        if self._trial:
            found = self._trial.judge(self._stages.path(engine), sample_batch(profiles), bench)
            facts["verification"] = found.facts()
            if found.top1_agreement is not None:
                # What a study reads as `accuracy.top1_agreement`.
                labels[f"{self.name}.top1_agreement"] = f"{found.top1_agreement:.6g}"
        return self._product(engine, labels, facts, bench)

    def _key(self, inputs: Mapping[str, Artifact]) -> Parts:
        """What the engine itself depends on; the drivers, of TensorRT and of the GPU, are recorded but do not count."""
        config, builder = self._config, script_path(BUILDER)
        portable = config.hardware_compatibility != "none"
        weights = external_files(Path(substitute(config.from_, inputs)))
        return {
            "kind": self.kind,
            "output": config.output,
            **key.conversion_parts(self._graph.fingerprint(inputs)),
            **{f"weights {path.name}": self._digests.file(path) for path in weights},
            **key.setting_parts(config),
            **key.target_parts(self._asked("", self._target.builds), portable=portable),
            **{f"plugin {Path(plugin).name}": self._digests.file(Path(plugin)) for plugin in config.plugins},
            "builder script": self._digests.file(builder),
            "builder helpers": helpers_digest(BUILDER, self._digests),
            **self._target.builds.parts(builder),
        }

    def _build(self, graph: Stamp, profiles: Any, bench: Workbench) -> EngineBuild:
        parts = self._key(bench.inputs)
        identity = [parts[name] for name in ("TensorRT", "GPU compute capability", "GPU") if name in parts]
        cache = timing_cache_of(self._config, self._state, identity)
        path = self._stages.path(graph)
        return EngineBuild(f"{self.name}.build", self._config, parts, path, profiles, cache, self._target.builds)

    def _asked(self, suffix: str, place: Place) -> Mapping[str, Any] | None:
        """What a place says of its TensorRT and its GPU; None while it may not be asked."""
        stage = probe_stage(f"{self.name}{suffix}", self._config.driver, place, self._digests)
        if self._target.may_ask:
            return self._stages.made(stage, {}, None).facts
        known = self._stages.known(stage, {})
        return known.facts if known else None

    def _check_versions(self, bench: Workbench) -> None:
        """An engine is for the TensorRT that built it."""
        if self._target.serves is self._target.builds or self._config.version_compatible:
            return
        built = (self._asked("", self._target.builds) or {}).get("tensorrt")
        served = (self._asked(".serving", self._target.serves) or {}).get("tensorrt")
        bench.note(f"builds with TensorRT {built}, serves with {served}")
        if built != served:
            raise SetupError(
                f"setup.{self.name}: the step's image builds with TensorRT {built}, but the server has {served} "
                "and could not load the engine",
                hint="remove the step's `image`, so that the serving image builds, or set `version_compatible: true`",
            )

    def _point_at_build(self, bench: Workbench) -> None:
        bench.note(f"the builder's output is in {self.name}.build.log")
        bench.reproduce.write_text(f'#!/bin/sh\nexec sh "$(dirname "$0")/{self.name}.build.reproduce.sh" "$@"\n')

    def _product(self, engine: Stamp, labels: Mapping[str, str], facts: Mapping[str, Any], bench: Workbench) -> Product:
        """The engine and what lies beside it, linked: the stage keeps its own."""
        plan = self._stages.path(engine)
        for name in (plan.name, "build.json", "layers.json"):
            if (plan.parent / name).exists():
                place_file(plan.parent / name, bench.directory / name)
        return Product(bench.directory / plan.name, labels, facts, engine.digest)

    def _labels(self, engine: Stamp) -> dict[str, str]:
        if self._config.precision != "int8":
            return dict(engine.labels)
        source = self._config.calibration.from_
        return {**engine.labels, "calibration": "random" if source is None else source.strip("${}")}


def graph_stage(name: str, config: TensorrtStep, digests: DigestCache) -> ScriptStage:
    """The model in the types of the engine, made where onnx is: here. `fp32` and `tf32` have the same."""
    precision = "fp32" if config.precision == "tf32" else config.precision
    args: dict[str, Any] = {"model": config.from_, "precision": precision}
    further = dict(version_parts(("onnx", "onnxruntime", "numpy", "pillow")))
    if precision != "fp32":
        args |= samples_arguments(config.calibration, sample_shapes(config))
        further |= source_parts("calibration", config.calibration.from_, digests)
        if precision == "int8" and config.calibration.exclude:
            args["exclude"] = json.dumps(config.calibration.exclude)
    elif shapes := sample_shapes(config):
        args["shapes"] = samples_arguments(config.calibration, shapes)["shapes"]
    return ScriptStage(f"{name}.graph", CONVERTER, "model.onnx", args, ThisMachine(), digests, further)
