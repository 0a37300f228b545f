"""Whether what a target's `rig` asks for can be set here; nothing is set."""

from __future__ import annotations

import os
from collections.abc import Iterator

from runner.errors import RigError
from runner.runtimes.findings import Finding
from runner.runtimes.rig.cpus import server_placement, usable
from runner.runtimes.rig.settings import commands
from runner.scenario.schema_rig import Rig


def findings(rig: Rig) -> Iterator[Finding]:
    """The processors that are named, and the right to set GPUs."""
    yield processors(rig)
    if rig.controls_gpus:
        yield rights(rig, os.geteuid())


def processors(rig: Rig) -> Finding:
    try:
        usable(rig.client_cpus or (), "rig.client_cpus")
        server_placement(rig)
    except RigError as error:
        return Finding("rig: processors", "fail", error.message, error.hint)
    return Finding("rig: processors", "ok", "all that are named are here")


def rights(rig: Rig, uid: int) -> Finding:
    """The driver lets only root set clocks, power limits and persistence."""
    if uid == 0:
        return Finding("rig: GPUs", "ok", "as root")
    by_hand = " && ".join(commands(rig))
    remedy = f"run `scenario` as root, or set them by hand and take them out of `rig`: {by_hand}"
    return Finding("rig: GPUs", "fail", "the driver lets only root set clocks, power limits and persistence", remedy)
