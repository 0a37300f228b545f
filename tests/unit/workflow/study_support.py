"""Studies on a fake runtime: a real gRPC server in this process for each configuration, the native engine, short loads.

The model's argument `mode` says what its server does: `good` takes `delay_ms` per request; `slow` ten times that;
`broken` never becomes ready; `silent` accepts requests and answers none; `wrong` answers something else; `dying` goes
away in the middle of the load.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.load.native import NativeEngine
from runner.results.records import Flag, Trial
from runner.runtimes.base import RunningServer, ServerSpec
from runner.runtimes.fake import FakeRuntime
from runner.scenario.loading import LoadedScenario
from runner.services.base import ModelMetadata, Tensors
from runner.services.fake import FakeServer, Script, identity_model
from runner.services.kserve import connect
from runner.tune.base import Observation
from runner.workflow import Rooms, RunOptions, measuring
from runner.workflow.tuning import SilentStudy, StudyOutcome, trials, tune_scenario
from tests.unit.scenario_files import Load, loader

MODEL = Path(__file__).parents[2] / "integration" / "resources" / "models" / "identity"
FILE = f"""scenario: 1
name: fake
repository: {{models: {{identity: {{from: {MODEL}, args: {{mode: good, delay_ms: 4}}}}}}}}
server: {{ready: {{timeout: 10s}}}}
workload:
  model: identity
  timeout: 10s
  input: {{INPUT0: {{generate: random, shape: [4]}}}}
  validate: {{every: 1}}
load: {{concurrency: 2}}
measure:
  requests: 20
  drain: 500ms
  max_error_rate: 100%
  telemetry: {{sources: []}}
tune:
  space: {{load.concurrency: {{int: [1, 5]}}}}
  strategy: {{kind: grid}}
  screen: null
  confirm: null
"""
MODE, DELAY = "repository.models.identity.args.mode", "repository.models.identity.args.delay_ms"


def study_file(folder: Path) -> Load:
    """Loads the file with overrides."""
    return loader(folder / "fake.yaml", FILE)


def wrong(metadata: ModelMetadata, inputs: Tensors) -> dict[str, Any]:
    """Not what went in."""
    return {"OUTPUT0": inputs["INPUT0"] + np.float32(1)}


class ModeRuntime(FakeRuntime):
    """Reads from each repository what its server is to be like."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[str] = []
        """Of the servers that were started, in order."""

    @contextmanager
    def start(self, spec: ServerSpec) -> Iterator[RunningServer]:
        text = (spec.repository / "identity" / "config.pbtxt").read_text()
        said = dict(re.findall(r'key: "(\w+)"\s+value \{\s+string_value: "([^"]*)"', text))
        self.modes.append(said["mode"])
        self._make = lambda: server(said["mode"], float(said["delay_ms"]) / 1000)
        if said["mode"] == "broken":  # others are waited for, however busy the machine is
            spec = replace(spec, ready_timeout_s=0.2)
        with super().start(spec) as running:
            yield running


def server(mode: str, delay_s: float) -> FakeServer:
    """A server as its mode says."""
    model = identity_model(latency_s=delay_s * (10 if mode == "slow" else 1))
    if mode == "wrong":
        model = replace(model, answer=wrong)
    script = Script(ready=mode != "broken", die_after=10 if mode == "dying" else None)
    fake = FakeServer({"identity": model}, script)
    if mode == "silent":
        script.silent = True
    return fake


@dataclass
class Watcher(SilentStudy):
    """Keeps what it is told, and may end a study."""

    stop_after: int | None = None
    """So many finished points, with KeyboardInterrupt as Ctrl-C would."""
    observations: list[Observation] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    cases: list[str] = field(default_factory=list)

    def on_case(self, case: Any) -> None:
        self.cases.append(case.id)

    def on_observation(self, observation: Observation, improved: bool) -> None:
        self.observations.append(observation)
        if len(self.observations) == self.stop_after:
            raise KeyboardInterrupt

    def on_phase(self, message: str) -> None:
        self.phases.append(message)


@dataclass
class Laboratory:
    """Runs studies in a scratch folder."""

    folder: Path
    runtime: ModeRuntime = field(default_factory=ModeRuntime)

    def study(self, loaded: LoadedScenario, watcher: Watcher | None = None, *, resume: bool = False) -> StudyOutcome:
        options = RunOptions(output_dir=self.folder / "runs", home=self.folder / "home", resume=resume)
        return tune_scenario(loaded, options, watcher or Watcher(), Rooms(self.runtime, NativeEngine(), connect))


def disturbing(monkeypatch: pytest.MonkeyPatch, when: Callable[[int, Trial], bool]) -> list[Trial]:
    """Others use the machine during the measurements of which `when` (number from 0, trial) says so."""
    made: list[Trial] = []

    def measured(*arguments: Any) -> Trial:
        trial = measuring.measure_point(*arguments)
        flag = Flag("foreign_load", 0.5, 0.05, "invalidates", "Others used half of the machine.")
        spoilt = when(len(made), trial)
        made.append(replace(trial, state="invalid", flags=(flag,)) if spoilt else trial)
        return made[-1]

    monkeypatch.setattr(trials, "measure_point", measured)
    return made
