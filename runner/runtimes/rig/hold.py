"""The settings of a target held while a server lives."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from runner.errors import RigError
from runner.results.nvml import Nvml, NvmlError
from runner.runtimes.interrupts import terminations_as_exit
from runner.runtimes.rig.cpus import Placement, memory_refusal, server_placement, usable
from runner.runtimes.rig.gpus import Board, alone, chosen, explained
from runner.runtimes.rig.settings import Setting, wanted_of
from runner.runtimes.rig.undo import GROUP, Ledger, Load, Restored, before_of, path_of, restore_abandoned
from runner.scenario.cpu_list import format_cpus
from runner.scenario.schema import DockerLaunch, Launch
from runner.scenario.schema_rig import Rig

Say = Callable[[str], None]


@dataclass
class Applied:
    """What is in force while the context lasts."""

    placement: Placement = field(default_factory=Placement)
    """Of the server."""
    facts: dict[str, str] = field(default_factory=dict)
    """What was set and what was in force before, for the manifest."""
    words: list[str] = field(default_factory=list)

    @property
    def labels(self) -> dict[str, str]:
        """What belongs to every number that was measured under it."""
        return {"rig": "; ".join(self.words)} if self.words else {}

    def note(self, name: str, title: str, now: str, before: str = "") -> None:
        self.facts[f"rig_{name}"] = f"{now} (before: {before})" if before else now
        self.words.append(f"{title} {now}")


@contextmanager
def rig_controls(
    rig: Rig | None, launch: Launch, ledger: Ledger, say: Say = lambda message: None, load: Load = ctypes.CDLL
) -> Iterator[Applied]:
    """Set what the target asks for, and take it back on leaving whatever happens.

    What killed runs left in force is taken back first, also where nothing is asked for.

    Raises:
        RigError: this machine cannot be set so; what was set until then has been taken back.
    """
    _take_back_abandoned(ledger, say, load)
    applied = Applied()
    if rig is None:
        yield applied
        return
    _place(rig, launch, applied)
    with terminations_as_exit(), ExitStack() as stack:
        if rig.controls_gpus:
            _set_gpus(_Gpus(stack, ledger, say, applied), rig, launch, load)
        yield applied


def _take_back_abandoned(ledger: Ledger, say: Say, load: Load) -> None:
    restored = restore_abandoned(ledger, load)
    for each in restored:
        if each.outcome == "restored":
            say(f"took back what a killed run left: {each.text}")
    _refuse([each for each in restored if each.outcome == "failed"])


def _refuse(failed: list[Restored]) -> None:
    if failed:
        raise RigError(
            f"a run that was killed left GPUs with other settings: {'; '.join(each.text for each in failed)}",
            hint="`scenario reset` as root takes them back",
        )


def _place(rig: Rig, launch: Launch, applied: Applied) -> None:
    """Where server and client run; the runtime and the engine see to it."""
    placement = server_placement(rig)
    if placement.nodes:
        # For a container its engine does it, which may what we may not.
        refused = None if isinstance(launch, DockerLaunch) else memory_refusal(placement.nodes)
        applied.facts["rig_server_memory"] = refused or f"node {format_cpus(placement.nodes)}"
        placement = Placement(placement.cpus, () if refused else placement.nodes)
    applied.placement = placement
    if placement.cpus:
        applied.note("server_cpus", "server CPUs", format_cpus(placement.cpus))
    if rig.client_cpus:
        applied.note("client_cpus", "client CPUs", format_cpus(usable(rig.client_cpus, "rig.client_cpus")))


@dataclass(frozen=True)
class _Gpus:
    """Sets one thing after the other; `stack` takes them back in reverse."""

    stack: ExitStack
    ledger: Ledger
    say: Say
    applied: Applied

    def hold(self, nvml: Nvml, setting: Setting, board: Board, wanted: Any) -> None:
        """Write down what is in force, set what is wanted, and see whether it came to be."""
        with explained(setting, board, wanted):
            value, before = setting.value(nvml, board.device, wanted), setting.read(nvml, board.device)
            if value != before:
                self._set(nvml, setting, board, value, before)
            now = setting.read(nvml, board.device)
        if now is not None and now != value:
            known = f"{setting.text(value)} was accepted, but {setting.text(now)} is in force"
            raise RigError(f"{setting.address}: GPU {board.index}: {known}")
        title = f"GPU {board.index} {setting.title}"
        self.applied.note(f"{setting.kind}_gpu{board.index}", title, setting.text(value), setting.text(before))

    def _set(self, nvml: Nvml, setting: Setting, board: Board, value: int, before: int | None) -> None:
        self.ledger.intend(setting.kind, path_of(board.uuid), group=GROUP, before=before_of(before))
        try:
            setting.set(nvml, board.device, value)
        except (NvmlError, AttributeError):
            self.ledger.undone(setting.kind, path_of(board.uuid), group=GROUP)
            raise
        self.stack.callback(self._take_back, nvml, setting, board, before)

    def _take_back(self, nvml: Nvml, setting: Setting, board: Board, before: int | None) -> None:
        """What cannot be taken back stays in the ledger; what was measured is not lost for it."""
        try:
            setting.restore(nvml, board.device, before)
        except (NvmlError, AttributeError) as error:
            command = f"sudo nvidia-smi -i {board.index} {setting.undo_option(before)}"
            self.say(f"warning: {setting.title} of GPU {board.index} could not be taken back ({error}): {command}")
            return
        self.ledger.undone(setting.kind, path_of(board.uuid), group=GROUP)


def _set_gpus(gpus: _Gpus, rig: Rig, launch: Launch, load: Load) -> None:
    try:
        # Open until the end: the driver forgets settings when nobody has it open and persistence is off.
        nvml = Nvml(load)
        gpus.stack.callback(nvml.close)
        boards = chosen(nvml, rig, launch)
    except (NvmlError, AttributeError) as error:
        raise RigError(
            f"rig asks for settings of GPUs, but: {error}", hint="choose a target without them, or install the driver"
        ) from error
    for board in boards:
        gpus.stack.enter_context(alone(board.uuid))
    for setting, wanted in wanted_of(rig):
        for board in boards:
            gpus.hold(nvml, setting, board, wanted)
