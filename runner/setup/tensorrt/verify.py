"""The trial of an engine: run where it is served, on samples, and held against ONNX Runtime on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runner.errors import SetupError
from runner.scenario.schema_tensorrt import TensorrtStep, Verify
from runner.setup.base import Parts, Workbench
from runner.setup.digest import DigestCache
from runner.setup.fingerprint import flatten, version_parts
from runner.setup.places import Call, Place, ThisMachine
from runner.setup.state import StateDirectory
from runner.setup.tensorrt.compare import Comparison, compare, failings, read_outputs, read_reference
from runner.setup.tensorrt.explain import explained
from runner.setup.tensorrt.graph import sample_shapes
from runner.setup.tensorrt.stages import (
    BUILDER,
    REFERENCE,
    ScriptStage,
    Stages,
    said_in,
    samples_arguments,
    script_path,
    source_parts,
)


@dataclass(frozen=True)
class Trial:
    """What is asked of the engine of a step, and where it runs."""

    step: str
    config: TensorrtStep
    asked: Verify
    state: StateDirectory
    serves: Place

    def parts(self) -> Parts:
        """Asking for something else tries the engine again, without building it."""
        asked = flatten("verify", self.asked.model_dump(mode="json", by_alias=True))
        return {**asked, **source_parts("verify", self.asked.from_, self.state.digests)}

    def judge(self, engine: Path, batch: int, bench: Workbench) -> Comparison:
        """How near the engine is to the model.

        Raises:
            SetupError: not near enough, or it does not run; the engine itself is left where it is.
        """
        stage = reference_stage(self.step, self.config, self.asked, batch, self.state.digests)
        stages = Stages(self.state)
        reference = stages.path(stages.made(stage, bench.inputs, bench.on_progress))
        outputs = self._outputs(engine, reference, bench)
        wanted = read_reference(reference)
        try:
            found = compare(wanted, read_outputs(outputs, len(next(iter(wanted.values())))), self.asked)
        except SetupError as error:
            raise self._refused(error.message, engine) from None
        bench.note(found.text())
        if problems := failings(found, self.asked):
            raise self._refused(f"{'; '.join(problems)}\n  {found.text()}", engine)
        return found

    def _refused(self, why: str, engine: Path) -> SetupError:
        return SetupError(
            f"setup.{self.step}: the {self.config.precision} engine is refused: {why}",
            hint=f"choose another precision, calibrate on real data, or ask for less; the engine is kept at {engine}",
        )

    def _outputs(self, engine: Path, reference: Path, bench: Workbench) -> Path:
        """Run the engine on every request of the reference."""
        folder, plugins = bench.directory / "outputs", [Path(plugin) for plugin in self.config.plugins]
        script = bench.reproduce.with_name(f"{self.step}.verify.reproduce.sh")
        self.state.ledger.intend("file", script, group="logs")
        arguments = run_arguments(self.config, engine, reference)
        call = Call(script_path(BUILDER), folder, arguments, (engine, reference, *plugins))
        try:
            self.serves.run(call, replace(bench, reproduce=script))
        except SetupError as error:
            raise explained(error, said_in(bench)) from error
        return folder


def run_arguments(config: TensorrtStep, engine: Path, reference: Path) -> tuple[str, ...]:
    """Arguments of `build_engine.py` after `--output`, when it runs an engine."""
    given: Sequence[tuple[str, str]] = (
        ("--task", "infer"),
        ("--driver", config.driver),
        ("--engine", str(engine)),
        ("--requests", str(reference / "requests.json")),
        *(("--plugin", plugin) for plugin in config.plugins),
    )
    return tuple(word for pair in given for word in pair)


def reference_stage(step: str, config: TensorrtStep, asked: Verify, batch: int, digests: DigestCache) -> ScriptStage:
    """Samples in batches, and what ONNX Runtime makes of them; the same for every precision."""
    args: Mapping[str, object] = {
        "model": asked.against, "batch": batch, **samples_arguments(asked, sample_shapes(config))
    }  # fmt: skip
    further = {**source_parts("verify", asked.from_, digests), **version_parts(("onnxruntime", "numpy", "pillow"))}
    return ScriptStage(f"{step}.reference", REFERENCE, "reference", args, ThisMachine(), digests, further)
