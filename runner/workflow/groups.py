"""The setup that cases need which share a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runner.setup.state import StateDirectory

if TYPE_CHECKING:
    from runner.scenario.case import Case
    from runner.scenario.loading import LoadedScenario
    from runner.scenario.schema import Workload
    from runner.setup.base import Prepared
    from runner.workflow.contract import Observer, RunOptions


def state_of(loaded: LoadedScenario, home: Path | None = None) -> StateDirectory:
    """Where setup keeps what it makes for this scenario."""
    return StateDirectory.for_scenario(loaded.scenario.name, loaded.source, home)


def prepare_group(group: Sequence[Case], loaded: LoadedScenario, options: RunOptions, observer: Observer) -> Prepared:
    """Setup for one server configuration."""
    from runner.setup.prepare import prepare

    prepared = prepare(
        group[0].scenario,
        state_of(loaded, options.home),
        max_batch_needed=largest_batch_of(group),
        offline=options.offline,
        trust_first_use=options.trust_first_use,
        on_progress=observer.on_setup,
    )
    for report in prepared.reports:
        observer.on_step(report)
    return prepared


def largest_batch_of(group: Sequence[Case]) -> int:
    return max(largest_batch(case.scenario.workload) for case in group)


def largest_batch(workload: Workload) -> int:
    """Items of the workload's largest request."""
    return max((portion.batch or workload.batch for portion in workload.mix), default=workload.batch)
