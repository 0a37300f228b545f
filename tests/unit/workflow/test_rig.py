"""What a target's `rig` asks for reaches the server, the client, the manifest and every number."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from runner.errors import RigError
from runner.load.native import NativeEngine
from runner.load.plan import NullTransport, OpenLoop
from runner.results.nvml_fake_settings import SettableNvmlLibrary
from runner.runtimes import rig
from runner.runtimes.fake import FakeRuntime
from runner.runtimes.rig.cpus import present
from runner.runtimes.rig.settings import SETTINGS as SETTINGS_OF_GPUS
from runner.runtimes.rig.undo import before_of, path_of
from runner.scenario.loading import LoadedScenario, load_scenario
from runner.services.fake import FakeServer
from runner.services.kserve import connect
from runner.workflow import Outcome, Rooms, RunOptions, reset_scenario, run_scenario, state_of
from tests.unit.test_workflow import FILE

CPU = present()[-1]
# Paced, so that its threads live long enough to be looked at.
SETTINGS = ("load={kind: constant, rate: 100/s}", "matrix.axes={workload.batch: [1]}")


class Watching:
    """The native engine; keeps where its threads ran, seen from the outside while they did."""

    def __init__(self) -> None:
        self.allowed: dict[str, str] = {}
        self.ceilings: list[tuple[int, ...]] = []

    def run(self, plan: Any, payloads: Any, on_slices: Any = None) -> Any:
        def look(slices: Any) -> Any:
            # Those of the null transport, which measures what the engine alone could send, end too soon.
            self.allowed |= _threads() if isinstance(plan.schedule, OpenLoop) else {}
            return on_slices(slices) if on_slices else None

        if isinstance(plan.transport, NullTransport):
            self.ceilings.append(plan.pin_cpus)
        return NativeEngine().run(plan, payloads, look)


def _threads() -> dict[str, str]:
    """Name of each thread of the load -> processors that it may run on."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # it has ended since
            lines = (task / "status").read_text().splitlines()
            fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
            found[fields["Name"]] = fields["Cpus_allowed_list"]
    return {name: cpus for name, cpus in found.items() if name.startswith("load-")}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SettableNvmlLibrary:
    """A board instead of the driver's."""
    monkeypatch.setattr("runner.runtimes.rig.gpus.LOCKS", tmp_path)
    found = SettableNvmlLibrary(tmp_path / "boards.json")
    monkeypatch.setattr(rig, "rig_controls", partial(rig.rig_controls, load=lambda name: found))
    return found


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., LoadedScenario]:
    path = tmp_path / "fake.yaml"
    path.write_text(FILE + "targets: {here: {rig: {}}}\n")
    return lambda *overrides: load_scenario(path, set_=(*SETTINGS, *overrides), env={})


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[Outcome, FakeRuntime, Watching]]:
    def measured(loaded: LoadedScenario) -> tuple[Outcome, FakeRuntime, Watching]:
        runtime, engine = FakeRuntime(FakeServer), Watching()
        outcome = run_scenario(loaded, options(tmp_path), rooms=Rooms(runtime, engine, connect))
        return outcome, runtime, engine

    return measured


def options(folder: Path) -> RunOptions:
    return RunOptions(output_dir=folder / "runs", home=folder / "home")


def test_what_was_set_is_in_the_manifest_and_beside_every_number(
    library: SettableNvmlLibrary, loaded: Callable[..., LoadedScenario], run: Any
) -> None:
    written = f"{{lock_clocks: 1410, server_cpus: {CPU}, client_cpus: [{CPU}]}}"
    outcome, runtime, engine = run(loaded(f"targets.here.rig={written}"))
    server = outcome.run.manifest.server
    assert server["rig_clocks_gpu0"] == "1410 MHz (before: not told by NVML)"
    assert server["rig_server_cpus"] == server["rig_client_cpus"] == str(CPU)
    [trial] = outcome.run.trials.values()
    assert trial.labels["rig"] == f"server CPUs {CPU}; client CPUs {CPU}; GPU 0 locked clocks 1410 MHz"
    assert runtime.started[0].cpus == (CPU,)
    assert engine.allowed
    assert set(engine.allowed.values()) == {str(CPU)}
    assert engine.ceilings == [(CPU,)], "what the engine alone could send there"
    assert library.settings()["clocks"] is None


def test_the_loads_own_processors_come_first(
    library: SettableNvmlLibrary, loaded: Callable[..., LoadedScenario], run: Any
) -> None:
    first = present()[0]
    _, _, engine = run(loaded(f"targets.here.rig={{client_cpus: {CPU}}}", f"load.pin_cpus=[{first}]"))
    assert set(engine.allowed.values()) == {str(first)}
    assert engine.ceilings == [(first,)]


def test_the_client_is_held_against_what_it_could_send_where_it_ran(
    library: SettableNvmlLibrary, loaded: Callable[..., LoadedScenario], run: Any
) -> None:
    first, last = present()[0], CPU
    _, _, engine = run(loaded(f"matrix.axes={{load.pin_cpus: [[{first}], [{last}]], workload.batch: [1, 2]}}"))
    assert sorted(engine.ceilings) == sorted({(first,), (last,)}), "once for each set of processors"


def test_each_value_of_an_axis_over_the_rig_has_a_server_of_its_own(
    library: SettableNvmlLibrary, loaded: Callable[..., LoadedScenario], run: Any
) -> None:
    outcome, runtime, _ = run(loaded("matrix.axes={targets.here.rig.power_limit: [200W, 300W]}"))
    words = sorted(trial.labels["rig"] for trial in outcome.run.trials.values())
    assert words == ["GPU 0 power limit 200 W", "GPU 0 power limit 300 W"]
    assert len(runtime.started) == 2
    assert library.settings()["power"] == 700_000


def test_who_may_not_set_clocks_measures_nothing(
    library: SettableNvmlLibrary, loaded: Callable[..., LoadedScenario], run: Any
) -> None:
    library.root = False
    with pytest.raises(RigError, match="the driver lets only root change this"):
        run(loaded("targets.here.rig.lock_clocks=base"))
    assert library.sessions == 0


def test_reset_knows_every_setting(
    loaded: Callable[..., LoadedScenario], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries of this process, which lives: reset must leave them, and must know the kinds to say so."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    state = state_of(loaded(), tmp_path / "home")
    state.create()
    for kind in SETTINGS_OF_GPUS:
        state.ledger.intend(kind, path_of("GPU-0"), group="rig", before=before_of(None))
    removals = {each.kind: each for each in reset_scenario(loaded(), home=tmp_path / "home")}
    assert {removals[kind].status for kind in SETTINGS_OF_GPUS} == {"refused"}
    assert {entry.kind for entry in state.ledger.entries()} == {"parent", *SETTINGS_OF_GPUS}
