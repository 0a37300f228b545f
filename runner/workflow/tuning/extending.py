"""A study goes on with a larger budget: every finished point is kept, and nothing else may have changed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import RigError, UsageError
from runner.results.study_events import Extended
from runner.workflow.session import resolved_of
from runner.workflow.tuning.budget import Budget
from runner.workflow.tuning.summary import observations_of

if TYPE_CHECKING:
    from runner.results.directory import RunDirectory, RunWriter
    from runner.results.run import Run
    from runner.results.study_events import StudyLog
    from runner.tune.base import Observation
    from runner.workflow.tuning.plan import StudyPlan


def latest_extendable(plan: StudyPlan, base: Path) -> RunDirectory | None:
    """The newest study in `base` that differs from this one in its budget alone and has no live owner.

    Raises:
        UsageError: what it has spent already is as much as the budget allows.
    """
    from runner.results.resuming import runs_in

    for directory in runs_in(base):
        with contextlib.suppress(RigError):  # a damaged study is not a candidate
            log = _of_another_budget(plan, directory)
            if log is not None:
                _check_left(plan, log, directory.path)
                return directory
    return None


def _of_another_budget(plan: StudyPlan, directory: RunDirectory) -> StudyLog | None:
    from runner.results.manifest import read_manifest

    manifest = read_manifest(directory.manifest_path)
    digest, _ = resolved_of(plan.loaded)
    if manifest.kind != "study" or manifest.scenario.digest == digest or directory.is_owned():
        return None
    log = directory.load().study
    if log is None:
        return None
    # The journal is ahead of the manifest where a study was killed at the very moment that it was extended.
    recorded = log.extended.digest if log.extended is not None else manifest.scenario.digest
    return log if recorded == _digest_with(plan, log) else None


def resumed(writer: RunWriter, plan: StudyPlan, environment: Mapping[str, Any]) -> Run:
    """Take up the study that the writer owns, with the budget of the plan; returns what it holds."""
    from runner.results.manifest import read_manifest
    from runner.results.secrets import shown_command

    digest, resolved = resolved_of(plan.loaded)
    recorded = read_manifest(writer.directory.manifest_path).scenario.digest
    before = writer.resume(recorded, resolved, environment)
    if recorded == digest:
        return before
    budget = plan.tune.budget.model_dump(mode="json", by_alias=True)
    return writer.extend(resolved, Extended(budget, digest, shown_command(sys.argv)))


def _digest_with(plan: StudyPlan, log: StudyLog) -> str:
    """What would identify the scenario of the plan if it had the budget of a recorded study."""
    from runner.scenario.schema_tune import Budget as Limits

    budget = Limits.model_validate(log.started.tune["budget"])
    tune = plan.tune.model_copy(update={"budget": budget})
    scenario = plan.loaded.scenario.model_copy(update={"tune": tune})
    return resolved_of(replace(plan.loaded, scenario=scenario))[0]


def _check_left(plan: StudyPlan, log: StudyLog, path: Path) -> None:
    """Refuse a budget with which not one point more would be tried."""
    seen: list[Observation] = []
    budget = Budget(plan.limits, log.search_s)
    for observation in observations_of(log):
        seen.append(observation)
        budget.count(observation, plan.is_improvement(seen))
    reason = budget.over()
    if reason is not None:
        raise UsageError(
            f"nothing to resume: {path} has spent the budget that is given now: {reason}",
            hint="give a larger one, for example --set tune.budget.trials=200",
        )
