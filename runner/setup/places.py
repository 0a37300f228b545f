"""Where the scripts of setup steps run: in this machine's Python, or in a container of the target's image."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runner.setup.base import Parts, Workbench
from runner.setup.fingerprint import host_parts, imported_distributions, version_parts
from runner.setup.process import command_for, reproduce_text, run_script


@dataclass(frozen=True)
class Call:
    """One call of a script: `SCRIPT --output OUTPUT ARGUMENTS`."""

    script: Path
    output: Path
    arguments: tuple[str, ...]
    reads: tuple[Path, ...] = ()
    """Files and folders that the arguments name."""


class Place(Protocol):
    """Runs scripts. Both places pass `tests/contracts/step.py` as part of a step."""

    def check(self, script: Path) -> None:
        """Raise `SetupError` when the script is not there or cannot be run here."""
        ...

    def parts(self, script: Path) -> Parts:
        """What of this place a script's output depends on."""
        ...

    def run(self, call: Call, bench: Workbench) -> None:
        """Run to the end, output to the log, and leave a `reproduce.sh`.

        Raises:
            SetupError: it failed; the message carries its last lines.
        """
        ...


class ThisMachine:
    """The interpreter that runs the runner, in a small environment."""

    def check(self, script: Path) -> None:
        command_for(script, sys.executable)

    def parts(self, script: Path) -> Parts:
        return {**host_parts(), **version_parts(imported_distributions(script))}

    def run(self, call: Call, bench: Workbench) -> None:
        base = command_for(call.script, sys.executable)
        command = [*base, "--output", "OUT", *call.arguments]
        bench.reproduce.write_text(reproduce_text(bench.step, command, call.output.name))
        work = bench.directory / ".work"
        work.mkdir()
        try:
            run_script([*base, "--output", str(call.output), *call.arguments], bench, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
