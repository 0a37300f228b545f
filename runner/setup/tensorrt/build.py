"""Stage `<step>.build`: the engine itself, built in the target."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner.errors import SetupError
from runner.locks import locked
from runner.scenario.schema_tensorrt import TensorrtStep
from runner.setup.base import Artifact, Parts, Product, Workbench
from runner.setup.places import Call, Place
from runner.setup.script import product_of
from runner.setup.state import StateDirectory
from runner.setup.store import write_whole
from runner.setup.tensorrt.explain import explained
from runner.setup.tensorrt.graph import Bounds
from runner.setup.tensorrt.stages import BUILDER, said_in, script_path

_MIB = 1 << 20


@dataclass
class EngineBuild:
    """Builds an engine from a typed graph; `parts` is its key, known beforehand."""

    name: str
    config: TensorrtStep
    parts: Parts
    graph: Path
    profiles: Sequence[Mapping[str, Bounds]]
    timing_cache: Path | None
    place: Place
    kind: str = "tensorrt"

    def fingerprint(self, inputs: Mapping[str, Artifact]) -> Parts:
        return self.parts

    def run(self, bench: Workbench) -> Product:
        output = bench.directory / self.config.output
        with _lent(self.timing_cache, bench) as cache:
            arguments = build_arguments(self.config, self.graph, self.profiles, cache)
            reads = (self.graph.parent, *map(Path, self.config.plugins))
            try:
                self.place.run(Call(script_path(BUILDER), output, arguments, reads), bench)
            except SetupError as error:
                raise explained(error, said_in(bench)) from error
        return product_of(self.name, BUILDER, output)


def build_arguments(
    config: TensorrtStep, graph: Path, profiles: Sequence[Mapping[str, Bounds]], timing_cache: Path | None
) -> tuple[str, ...]:
    """Arguments of `build_engine.py` after `--output`."""
    options = {
        "--onnx": graph,
        "--precision": config.precision,
        "--driver": config.driver,
        "--profiles": json.dumps(profiles) if profiles else None,
        "--workspace-mib": config.workspace and max(1, config.workspace // _MIB),
        "--builder-level": config.builder_level,
        "--timing-cache": timing_cache,
        "--version-compatible": "true" if config.version_compatible else None,
        "--hardware-compatibility": config.hardware_compatibility,
        "--sparse": "true" if config.sparse else None,
    }
    given = [(option, str(value)) for option, value in options.items() if value is not None]
    given += [("--plugin", plugin) for plugin in config.plugins]
    return tuple(word for pair in given for word in pair)


def timing_cache_of(config: TensorrtStep, state: StateDirectory, identity: Sequence[str]) -> Path | None:
    """Where timings are kept: those of one TensorRT on one kind of GPU are of no use to another."""
    if config.timing_cache == "none":
        return None
    if config.timing_cache != "shared":
        return Path(config.timing_cache)
    safe = "-".join("".join(c if c.isalnum() or c in "._" else "_" for c in text) for text in identity)
    path = state.home / "timing" / f"{safe}.cache"
    state.make_folder(path.parent)
    for made in (path, path.with_suffix(".lock")):
        state.ledger.intend("file", made, group="artifacts")
    return path


@contextmanager
def _lent(cache: Path | None, bench: Workbench) -> Iterator[Path | None]:
    """A copy of the timing cache in the workbench, put back when the build went well.

    Other builds wait meanwhile: two at a time on one GPU would mistime their tactics anyway.
    """
    if cache is None:
        yield None
        return
    copy = bench.directory / ".timing.cache"
    with locked(cache.with_suffix(".lock"), on_wait=lambda holder: bench.say(f"waiting for the GPU: {holder}")):
        if cache.exists():
            shutil.copyfile(cache, copy)
            copy.chmod(0o666)  # the container may run as another user
        yield copy
        if copy.exists():
            write_whole(cache, copy.read_bytes())
            copy.unlink()
