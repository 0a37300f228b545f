"""What two runs did not have in common: machine and tools, what was served, what was asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from runner.results.comparison import Differences
from runner.results.differences import changes, flat
from runner.results.environment import VOLATILE
from runner.results.run import Run

_BETWEEN = " | "
_NOT_ASKED = ("matrix.", "report.", "name", "description", "scenario")
"""Addresses of a scenario that change no number."""
_DIGEST = 12
"""Digits that tell two artefacts apart."""


def differences(a: Run, b: Run) -> Differences:
    """Everything that is not the same on both sides, A's value first."""
    return Differences(_between(_rig, a, b), _between(_served, a, b), _between(_asked, a, b))


def _between(facts: Any, a: Run, b: Run) -> tuple[str, ...]:
    return tuple(changes(facts(a), facts(b), _BETWEEN))


def _rig(run: Run) -> dict[str, Any]:
    manifest = run.manifest
    stable = {key: value for key, value in manifest.environment.items() if key not in (*VOLATILE, "digest")}
    return flat({"tool_version": manifest.tool_version, "target": manifest.target, **stable})


def _served(run: Run) -> dict[str, Any]:
    manifest = run.manifest
    labels = dict(manifest.labels)
    for trial in run.trials.values():
        labels |= trial.labels
    artefacts = {step.name: step.digest[:_DIGEST] for step in manifest.setup if step.digest}
    server = {key: value for key, value in manifest.server.items() if not key.endswith("_pid")}
    return flat({"server": server, "labels": labels, "artefact": artefacts}) | _models(run.trials.values())


def _models(trials: Iterable[Any]) -> dict[str, Any]:
    """Which models the server itself named."""
    return {"models": ", ".join(dict.fromkeys(m.model for trial in trials for m in trial.server))}


def _asked(run: Run) -> dict[str, Any]:
    try:
        scenario = yaml.safe_load((run.path / "resolved.yaml").read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        return {"resolved.yaml": f"cannot be read ({error})"}
    return {address: value for address, value in flat(scenario).items() if not address.startswith(_NOT_ASKED)}
