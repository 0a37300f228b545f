"""Everything that one target needs of this machine, section by section."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.errors import RigError
from runner.runtimes import host
from runner.runtimes.choosing import runtime_for
from runner.runtimes.command import fixed_ports
from runner.runtimes.doctor import engines, gpu_checks, machine_facts, needs, network, rig, software
from runner.runtimes.doctor.gpu_facts import read_driver
from runner.runtimes.findings import Finding, not_needed
from runner.runtimes.preflight import free_shared_memory, shared_memory
from runner.scenario.schema import DockerLaunch, Launch, Requires
from runner.scenario.schema_rig import Rig


@dataclass(frozen=True)
class Section:
    """Findings that belong together."""

    name: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Subject:
    """What is to run here."""

    requires: Requires
    launch: Launch
    rig: Rig | None
    flags: Mapping[str, object]
    """Of the server."""
    downloads: bool
    """Whether setup downloads anything."""
    home: Path
    """Where state is kept."""

    @property
    def in_container(self) -> bool:
        return isinstance(self.launch, DockerLaunch)

    @property
    def uses_gpus(self) -> bool:
        """Whether it cannot do without GPUs."""
        asked = isinstance(self.launch, DockerLaunch) and self.launch.gpus != "none"
        return asked or self.requires.gpus > 0 or (self.rig is not None and self.rig.controls_gpus)

    @property
    def pinned(self) -> bool:
        """Whether the target says on which processors the server runs."""
        cpuset = self.launch.cpuset if isinstance(self.launch, DockerLaunch) else None
        return cpuset is not None or (self.rig is not None and self.rig.server_cpus is not None)


def examine(subject: Subject) -> Iterator[Section]:
    """Look at everything; what the subject does not need is no fault."""
    yield _section("software", _software())
    yield _section("requires", host.findings(subject.requires, subject.home))
    yield _section("server", _server(subject))
    yield _section("GPUs", _gpus(subject))
    if subject.rig is not None:
        yield _section("rig", rig.findings(subject.rig))
    yield _section("machine", machine_facts.findings(pinned=subject.pinned, gpus=_pins_memory(subject)))
    yield _section("storage", _storage(subject))
    yield _section("network", _network(subject))


def _section(name: str, findings: Iterable[Finding]) -> Section:
    return Section(name, tuple(findings))


def _software() -> Iterator[Finding]:
    yield software.interpreter(platform.python_version(), sys.prefix)
    yield software.engine(software.load_engine)


def _server(subject: Subject) -> Iterator[Finding]:
    """What its runtime looks at; a container engine that nobody needs is told all the same."""
    yield from runtime_for(subject.launch).preflight()
    if not subject.in_container:
        yield not_needed(engines.engine(engines.look()))


def _gpus(subject: Subject) -> Iterator[Finding]:
    for finding in gpu_checks.findings(read_driver()):
        yield finding if subject.uses_gpus else not_needed(finding)


def _pins_memory(subject: Subject) -> bool:
    return subject.uses_gpus and not subject.in_container


def _storage(subject: Subject) -> Iterator[Finding]:
    yield needs.disk(host.free_bytes(subject.home), subject.home)
    if isinstance(subject.launch, DockerLaunch) and subject.launch.ipc == "host":
        yield shared_memory(free_shared_memory())


def _network(subject: Subject) -> Iterator[Finding]:
    try:
        yield network.ports(fixed_ports(subject.flags))
    except RigError as error:
        yield Finding("ports", "fail", error.message, error.hint)
    yield from network.findings(os.environ, downloads=subject.downloads)
