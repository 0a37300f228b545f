"""A case: one point of the matrix, ready to be measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runner.scenario.schema import EmbeddedLaunch, Launch, RemoteLaunch, Scenario
from runner.scenario.schema_rig import Rig


@dataclass(frozen=True)
class Case:
    """One point: the parameters that the axes gave it and the scenario resolved with them."""

    id: str
    """Short and stable, for example `b8-c16-1a2b3c4d`: readable parameters, then a hash over all of them."""
    parameters: dict[str, Any]
    """Address -> value, in the order of the axes; secrets are masked, as they are in everything that is kept."""
    scenario: Scenario
    """Everything resolved for this point; only `${setup.…}` and `${run.dir}` remain symbolic."""
    server_key: str
    """Equal for cases that can share one running server (same setup, repository, server and launch)."""
    skipped: str | None = None
    """Why the matrix leaves it out, or None."""


def launch_of(scenario: Scenario) -> Launch:
    """How a resolved scenario's server is started or reached: it holds no target but the chosen one."""
    launch = next((target.launch for target in scenario.targets.values()), EmbeddedLaunch())
    return launch.as_reached_by(scenario.workload) if isinstance(launch, RemoteLaunch) else launch


def rig_of(scenario: Scenario) -> Rig | None:
    """What a resolved scenario asks to be set on the machine."""
    return next((target.rig for target in scenario.targets.values()), None)


def client_cpus(scenario: Scenario) -> tuple[int, ...]:
    """Processors that the load engine's threads are pinned to in turn; none: wherever the system puts them."""
    rig = rig_of(scenario)
    return scenario.load.pin_cpus or (rig.client_cpus if rig and rig.client_cpus else ())
