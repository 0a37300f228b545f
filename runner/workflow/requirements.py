"""Whether this machine can run the chosen target at all, asked before anything is pulled, built or written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import RigError
from runner.workflow.groups import state_of

if TYPE_CHECKING:
    from runner.scenario.loading import LoadedScenario


def check_requires(loaded: LoadedScenario, home: Path | None = None) -> None:
    """Refuse a target that was chosen by name though this machine lacks what it requires.

    Raises:
        RigError: with all that is missing, and the targets that would run here.
    """
    from runner.runtimes.host import satisfied

    if loaded.target is None:
        return
    state = state_of(loaded, home).home
    missing = satisfied(loaded.targets[loaded.target].requires, state)
    if not missing:
        return
    able = [name for name, target in loaded.targets.items() if not satisfied(target.requires, state)]
    raise RigError(
        f"target {loaded.target!r} cannot run on this machine: {'; '.join(missing)}",
        hint=f"this machine can run --target {' or '.join(able)}" if able else "no target of this file can run here",
    )
