"""Setup from end to end: which steps are needed, which can be reused, and building the others in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.errors import SetupError
from runner.scenario.case import launch_of
from runner.scenario.schema import (
    DaliStep,
    DockerLaunch,
    ExportStep,
    FetchStep,
    FolderDataset,
    RemoteLaunch,
    Scenario,
    ScriptStep,
    SyntheticJpegDataset,
    TensorrtStep,
)
from runner.scenario.schema import Step as StepConfig
from runner.scenario.schema_steps import ContainedStep
from runner.setup.base import Action, Artifact, OnProgress, Prepared, Progress, Step, StepReport
from runner.setup.blobs import Missing
from runner.setup.containers import Containers
from runner.setup.dali import SerializeDali
from runner.setup.dataset import ImageFolder, SyntheticJpegs
from runner.setup.failures import os_problem
from runner.setup.fetch import Fetch
from runner.setup.pinned import PinnedScript
from runner.setup.places import Place, ThisMachine
from runner.setup.references import needed_steps, references
from runner.setup.repository import AssembleRepository, check_sources
from runner.setup.script import RunScript
from runner.setup.state import StateDirectory
from runner.setup.store import Stamp, Store
from runner.setup.tensorrt.step import BuildEngine, Target

_OWN_MODELS = "a remote server has its own models"


@dataclass(frozen=True)
class Options:
    """What the caller allows, and who watches."""

    max_batch_needed: int = 0
    offline: bool = False
    trust_first_use: bool = False
    on_progress: OnProgress | None = None


def prepare(
    scenario: Scenario,
    state: StateDirectory,
    *,
    max_batch_needed: int = 0,
    offline: bool = False,
    trust_first_use: bool = False,
    on_progress: OnProgress | None = None,
) -> Prepared:
    """Make whatever of the scenario's artifacts is not there yet, and the model repository.

    Raises:
        SetupError: a step failed; finished steps stay and are reused by the next try.
    """
    options = Options(max_batch_needed, offline, trust_first_use, on_progress)
    with state.locked():
        return _Preparation(scenario, state, options).run()


def plan_setup(
    scenario: Scenario, state: StateDirectory, *, max_batch_needed: int = 0, trust_first_use: bool = False
) -> tuple[StepReport, ...]:
    """What `prepare` would do; builds nothing and takes no lock."""
    return _Preparation(scenario, state, Options(max_batch_needed, False, trust_first_use)).plan()


def downloads(scenario: Scenario, state: StateDirectory) -> dict[str, Missing | None]:
    """Every download that is needed, and what an offline setup would lack of it; looks only."""
    return _Preparation(scenario, state, Options()).downloads()


class _Preparation:
    """One pass over the steps of a scenario."""

    def __init__(self, scenario: Scenario, state: StateDirectory, options: Options) -> None:
        self._scenario, self._state, self._options = scenario, state, options
        self._artifacts: dict[str, Artifact] = {}
        self._reports: list[StepReport] = []
        self._store = Store(state, state.artifacts, "artifacts")
        self._repositories = Store(state, state.repositories, "repository", named=False)
        self._configs = {name: config.model_dump(mode="json", by_alias=True) for name, config in scenario.setup.items()}
        self._launch = launch_of(scenario)
        # Only what is sent is made then: somebody else has set the server up.
        self._remote = isinstance(self._launch, RemoteLaunch)
        self._needed = self._needed_steps()
        self._containers = Containers(state.ledger, options.on_progress, offline=options.offline)

    def run(self) -> Prepared:
        if not self._remote:
            check_sources(self._scenario.repository.models)
        self._containers.may_pull = True
        self._bring_image()
        self._store.sweep()
        self._repositories.sweep()
        steps = [self._step(name) for name in self._needed]
        self._check_downloads(steps)
        for step in steps:
            self._artifacts[step.name] = self._store.artifact(self._realise(step, self._store))
        self._report_not_needed()
        path = self._state.repositories if self._remote else self._assembled()
        return Prepared(path, self._artifacts, tuple(self._reports), merge_labels(self._artifacts))

    def _assembled(self) -> Path:
        repository = AssembleRepository(self._scenario, self._state, self._options.max_batch_needed)
        stamp = self._realise(repository, self._repositories)
        repository.verify(stamp.facts)
        return self._repositories.artifact(stamp).path

    def plan(self) -> tuple[StepReport, ...]:
        if not self._remote:
            check_sources(self._scenario.repository.models)
        self._bring_image()
        for name in self._needed:
            step = self._step(name)
            stamp = self._foresee(step, self._store)
            if stamp:
                self._artifacts[name] = self._store.artifact(stamp)
        self._report_not_needed()
        if not self._remote:
            repository = AssembleRepository(self._scenario, self._state, self._options.max_batch_needed)
            self._foresee(repository, self._repositories)
        return tuple(self._reports)

    def downloads(self) -> dict[str, Missing | None]:
        wanted = [name for name in self._needed if reaches_network(self._scenario.setup[name])]
        return {name: None if self._made(name) else self._missing(self._step(name)) for name in wanted}

    def _made(self, name: str) -> Artifact | None:
        """The artifact of a step, where it and all that it depends on are there; builds nothing."""
        step = self._step(name)
        inputs = {needed: self._made(needed) for needed in self._input_names(step)}
        there = {needed: artifact for needed, artifact in inputs.items() if artifact}
        stamp = self._store.find(name, step.fingerprint(there)).stamp if len(there) == len(inputs) else None
        return self._store.artifact(stamp) if stamp else None

    def _missing(self, step: Step) -> Missing | None:
        """What a step would get from the network."""
        if isinstance(step, Fetch | PinnedScript):
            return step.missing()
        return Missing(step.name, "what it makes with `network: true`", None)

    def _needed_steps(self) -> tuple[str, ...]:
        scenario = self._scenario
        served = () if self._remote else (scenario.repository, scenario.server)
        roots = [part.model_dump(mode="json", by_alias=True) for part in (*served, scenario.workload)]
        always = tuple(name for name, config in scenario.setup.items() if config.always)
        return needed_steps(self._configs, roots, always)

    def _step(self, name: str) -> Step:
        config = self._scenario.setup[name]
        place = self._containers.place_for(config, self._launch)
        if isinstance(config, TensorrtStep):
            target = Target(
                place, self._containers.serving_place(config, self._launch, place), self._containers.may_pull
            )
            return BuildEngine(name, config, self._state, target)
        return make_step(name, config, self._state, place, trust_first_use=self._options.trust_first_use)

    def _bring_image(self) -> None:
        """The serving image is an artifact like any other: made ready by setup, reported, undone by reset."""
        if isinstance(self._launch, DockerLaunch):
            action, reason = self._containers.bring(self._launch.image)
            self._reports.append(StepReport(self._launch.image, "image", action, reason))

    def _inputs(self, step: Step) -> dict[str, Artifact] | None:
        """Artifacts that a step refers to, or None while one of them does not exist."""
        names = self._input_names(step)
        return {name: self._artifacts[name] for name in names} if set(names) <= self._artifacts.keys() else None

    def _input_names(self, step: Step) -> tuple[str, ...]:
        if step.kind == "repository":
            return references(self._scenario.repository.model_dump(mode="json", by_alias=True))
        return references(self._configs[step.name])

    def _realise(self, step: Step, store: Store) -> Stamp:
        inputs = self._inputs(step) or {}
        try:
            parts = step.fingerprint(inputs)
        except OSError as error:
            raise os_problem(error, f"setup.{step.name}", self._state.path) from error
        found = store.find(step.name, parts)
        if found.stamp:
            self._report(step, "reused", found.reason, store.artifact(found.stamp))
            return found.stamp
        self._tell(step, f"building: {found.reason}")
        stamp = store.build(step, parts, inputs, self._options.on_progress)
        self._report(step, "built", found.reason, store.artifact(stamp), stamp.seconds)
        return stamp

    def _foresee(self, step: Step, store: Store) -> Stamp | None:
        inputs = self._inputs(step)
        if inputs is None:
            waits = ", ".join(f"setup.{name}" for name in self._input_names(step) if name not in self._artifacts)
            self._report(step, "would build", f"after {waits}")
            return None
        try:
            found = store.find(step.name, step.fingerprint(inputs))
        except OSError as error:
            raise os_problem(error, f"setup.{step.name}", self._state.path) from error
        self._report(step, "reused" if found.stamp else "would build", found.reason)
        return found.stamp

    def _check_downloads(self, steps: list[Step]) -> None:
        """Refuse before anything is built what could not be fetched at the end."""
        for step in steps:
            if isinstance(step, Fetch) and not self._made(step.name):
                step.check()
        missing = [found for found in self.downloads().values() if found] if self._options.offline else []
        if missing:
            raise SetupError(
                f"offline: {len(missing)} downloads are missing"
                + "".join(f"\n  {_missing_line(one)}" for one in missing),
                hint="fetch these files elsewhere and put them where the lines say, or run once without --offline",
            )

    def _report_not_needed(self) -> None:
        reason = "nothing that is served or sent refers to it"
        if self._remote:
            reason = "nothing that is sent refers to it, and a remote server is not set up from here"
        for name, config in self._scenario.setup.items():
            if name not in self._needed:
                self._reports.append(StepReport(name, config.kind, "not needed", reason))
        if self._remote and self._scenario.repository.models:
            self._reports.append(StepReport("repository", "repository", "not needed", _OWN_MODELS))
        if self._remote and self._scenario.server.flags:
            self._reports.append(StepReport("server.flags", "flags", "not needed", "a remote server runs already"))

    def _report(
        self, step: Step, action: Action, reason: str, artifact: Artifact | None = None, seconds: float = 0.0
    ) -> None:
        log = self._state.logs / f"{step.name}.log"
        known = log if action in {"reused", "built"} and log.exists() else None
        self._reports.append(StepReport(step.name, step.kind, action, reason, seconds, artifact, known))

    def _tell(self, step: Step, message: str) -> None:
        if self._options.on_progress:
            self._options.on_progress(Progress(step.name, message))


def make_step(
    name: str, config: StepConfig, state: StateDirectory, place: Place | None = None, *, trust_first_use: bool = False
) -> Step:
    """The step that a piece of the scenario describes."""
    match config:
        case FetchStep():
            return Fetch(name, config, state, trust_first_use=trust_first_use)
        case ScriptStep(sha256=str(digest)):
            return PinnedScript(RunScript(name, config, state.digests, place), config, digest, state)
        case ExportStep() | ScriptStep():
            return RunScript(name, config, state.digests, place)
        case DaliStep():
            return SerializeDali(name, config, state.digests, place)
        case SyntheticJpegDataset():
            return SyntheticJpegs(name, config)
        case FolderDataset():
            return ImageFolder(name, config, state.digests)
        case TensorrtStep():
            where = place or ThisMachine()
            return BuildEngine(name, config, state, Target(where, where))


def reaches_network(config: StepConfig) -> bool:
    """Whether making the step's artifact may need the network."""
    return isinstance(config, FetchStep) or (isinstance(config, ContainedStep) and config.network)


def merge_labels(artifacts: Mapping[str, Artifact]) -> dict[str, str]:
    """Labels of all artifacts; where two disagree, both values are told."""
    values: dict[str, dict[str, None]] = {}
    for artifact in artifacts.values():
        for key, value in artifact.labels.items():
            values.setdefault(key, {})[value] = None
    return {key: ", ".join(found) for key, found in values.items()}


def _missing_line(missing: Missing) -> str:
    where: Path | str = missing.expected_at or "(no sha256: it cannot be placed beforehand)"
    return f"setup.{missing.step}: {missing.what} -> {where}"
