"""The `tritonserver` that the embedded runtime starts: the one of the wheel, or one that is installed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runner.errors import RigError
from runner.runtimes import preflight
from runner.runtimes.base import Finding
from runner.runtimes.command import stub_script
from runner.runtimes.preflight import Wheel


class Program(Protocol):
    """A server program with its backends."""

    @property
    def path(self) -> Path: ...

    def backends(self, private: Path) -> Path | None:
        """Its backend directory, made in the server's private one where needed; None leaves the choice to it."""
        ...

    def facts(self) -> dict[str, str]:
        """Versions for the manifest, beside the server's own."""
        ...


@dataclass(frozen=True)
class WheelProgram:
    """The server of the `nvidia-pytriton` wheel; its python models run in our interpreter."""

    wheel: Wheel

    @property
    def path(self) -> Path:
        return self.wheel.program

    def backends(self, private: Path) -> Path:
        """A python backend that starts our interpreter; the installed one stays as it is."""
        folder = private / "backends" / "python"
        folder.mkdir(parents=True)
        for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
            (folder / name).symlink_to(self.wheel.backend / name)
        stub = folder / "triton_python_backend_stub"
        stub.write_text(stub_script(self.wheel.stub, Path(sys.executable).parent, preflight.library_folder()))
        stub.chmod(0o755)
        return folder.parent

    def facts(self) -> dict[str, str]:
        interpreter = preflight.probe_interpreter()
        versions = {"python": interpreter.python, "numpy": interpreter.numpy or ""}
        return {"nvidia_pytriton": self.wheel.version, **versions}


@dataclass(frozen=True)
class InstalledProgram:
    """A server of this machine or container; its python models run in the `python3` that is first on PATH."""

    path: Path

    def backends(self, private: Path) -> Path | None:
        """Those beside it: PREFIX/bin/tritonserver belongs to PREFIX/backends."""
        beside = (path.parent.parent / "backends" for path in (self.path, self.path.resolve()))
        return next((folder for folder in beside if folder.is_dir()), None)

    def facts(self) -> dict[str, str]:
        return {"program": str(self.path)}


def find_program(name: str | None) -> Program:
    """The program that `launch.program` names, else the wheel's.

    Raises:
        RigError: there is none.
    """
    if name is not None:
        return InstalledProgram(Path(name if "/" in name else shutil.which(name) or name))
    wheel = preflight.find_wheel()
    if wheel is None:
        raise RigError("the nvidia-pytriton wheel is gone", hint="install it again")
    return WheelProgram(wheel)


def findings(name: str | None, state: Path) -> Iterator[Finding]:
    """Everything that is known to make the server fail, hang or answer wrongly."""
    if name is None:
        yield from preflight.findings(preflight.find_wheel(), state)
        return
    program = find_program(name).path
    yield _executable(program)
    yield preflight.shared_memory(preflight.free_shared_memory())


def _executable(program: Path) -> Finding:
    if program.is_file() and os.access(program, os.X_OK):
        return Finding("server program", "ok", str(program))
    what = "is not executable" if program.is_file() else "is not there" if program.is_absolute() else "is not on PATH"
    remedy = "correct launch.program; without it the server of the nvidia-pytriton wheel is used"
    return Finding("server program", "fail", f"{program} {what}", remedy)
