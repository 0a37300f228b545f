"""`scenario doctor`: which target would be chosen and why, and what it needs of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from runner.errors import EXIT_OK, RigError
from runner.scenario.case import launch_of, rig_of
from runner.workflow.groups import state_of

if TYPE_CHECKING:
    from runner.runtimes.doctor.examine import Section, Subject
    from runner.runtimes.findings import Finding
    from runner.scenario.loading import LoadedScenario

Load = Callable[[str | None], "LoadedScenario"]
"""Loads the scenario for a target; None: for its first one, whatever that requires."""


@dataclass(frozen=True)
class Choice:
    """One target of the file."""

    name: str
    missing: tuple[Finding, ...]
    """What it requires and this machine lacks."""
    chosen: bool


@dataclass(frozen=True)
class Diagnosis:
    """What this machine has for a scenario."""

    scenario: str
    target: str | None
    """The one that was looked at: asked for, else chosen; where none can be chosen the first."""
    choices: tuple[Choice, ...]
    sections: tuple[Section, ...]

    @property
    def failed(self) -> tuple[Finding, ...]:
        """What keeps the target from running here."""
        return tuple(each for section in self.sections for each in section.findings if each.level == "fail")

    @property
    def exit_code(self) -> int:
        return RigError.exit_code if self.failed else EXIT_OK

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "scenario": self.scenario,
            "target": self.target,
            "ok": not self.failed,
            "targets": [asdict(choice) for choice in self.choices],
            "findings": [
                {"section": section.name, **asdict(finding)}
                for section in self.sections
                for finding in section.findings
            ],
        }


def diagnose(load: Load, asked: str | None = None) -> Diagnosis:
    """Look at this machine for the target asked for, else for the one that a run would choose; changes nothing.

    Raises:
        UsageError: no such scenario or target.
        ScenarioError: the scenario is invalid.
    """
    loaded = load(asked)
    choices = tuple(_choices(loaded, asked))
    chosen = next((choice.name for choice in choices if choice.chosen), loaded.target)
    if chosen != loaded.target:
        loaded = load(chosen)
    return Diagnosis(loaded.scenario.name, chosen, choices, tuple(_sections(loaded)))


def _choices(loaded: LoadedScenario, asked: str | None) -> Iterator[Choice]:
    """Every target in the order of the file; of those whose needs are met the first is chosen."""
    from runner.runtimes import host

    home, found = state_of(loaded).home, asked
    for name, target in loaded.targets.items():
        missing = tuple(each for each in host.findings(target.requires, home) if each.level == "fail")
        found = name if found is None and not missing else found
        yield Choice(name, missing, chosen=name == found)


def _sections(loaded: LoadedScenario) -> Iterator[Section]:
    from runner.runtimes.doctor.examine import Section, examine
    from runner.setup import coverage

    yield from examine(_subject(loaded))
    yield Section("offline", tuple(coverage.findings(loaded.scenario, state_of(loaded))))


def _subject(loaded: LoadedScenario) -> Subject:
    from runner.runtimes.doctor.examine import Subject
    from runner.scenario.schema import Requires
    from runner.setup.prepare import reaches_network

    scenario = loaded.scenario
    target = scenario.targets.get(loaded.target or "")
    return Subject(
        requires=target.requires if target else Requires(),
        launch=launch_of(scenario),
        rig=rig_of(scenario),
        flags=scenario.server.flags,
        downloads=any(map(reaches_network, scenario.setup.values())),
        home=state_of(loaded).home,
    )
