"""What an embedded server needs of this machine, looked at before anything is started.

Every check answers a fault that was seen: most end in a server that hangs or, worse, in tensors that are wrong.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.runtimes.base import Finding

_PYTHONS = ((3, 10), (3, 11), (3, 12))
_MIN_GLIBC = (2, 35)
_MIN_SHM_BYTES = 16 * 2**20
_COMFORTABLE_SHM_BYTES = 128 * 2**20
_PROBE_TIMEOUT_S = 30
_INSTALL = "install the extra: pip install 'scenario-runner[embedded]'"


@dataclass(frozen=True)
class Wheel:
    """Where things are in the installed `nvidia-pytriton` wheel."""

    root: Path
    version: str

    @property
    def program(self) -> Path:
        return self.root / "bin" / "tritonserver"

    @property
    def backend(self) -> Path:
        return self.root / "backends" / "python"

    @property
    def stub(self) -> Path:
        version = ".".join(map(str, sys.version_info[:2]))
        return self.root / "python_backend_stubs" / version / "triton_python_backend_stub"


@dataclass(frozen=True)
class Interpreter:
    """The Python that a stub will run: the `python3` beside ours."""

    binaries: Path
    libraries: Path
    python: str
    numpy: str | None


def find_wheel() -> Wheel | None:
    """The wheel, found without importing it (its import changes the process)."""
    found = importlib.util.find_spec("pytriton")
    if found is None or not found.submodule_search_locations:
        return None
    root = Path(next(iter(found.submodule_search_locations))) / "tritonserver"
    return Wheel(root, importlib.metadata.version("nvidia-pytriton"))


def probe_interpreter() -> Interpreter:
    """Ask the interpreter that stubs will use what it is; stubs find it as the first `python3` on PATH."""
    binaries = Path(sys.executable).parent
    question = (
        "import json, platform\n"
        "try:\n import numpy; version = numpy.__version__\n"
        "except Exception: version = None\n"
        "print(json.dumps([platform.python_version(), version]))"
    )
    # Isolated, as the stub runs it: without PYTHONPATH, user site and current folder.
    command = [str(binaries / "python3"), "-I", "-c", question]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=True)
    python, numpy = json.loads(answer.stdout.splitlines()[-1])
    return Interpreter(binaries, library_folder(), python, numpy)


def library_folder() -> Path:
    """Where libpython of our interpreter is, if it has one."""
    return Path(sysconfig.get_config_var("LIBDIR") or Path(sys.base_prefix) / "lib")


def findings(wheel: Wheel | None, state: Path) -> Iterator[Finding]:
    """All checks; those that need the wheel only when it is there."""
    yield python_version(sys.version_info[:2])
    yield glibc(_glibc())
    yield wheel_present(wheel)
    if wheel is not None:
        yield executables(wheel)
        yield stub_starts(wheel)
    yield numpy_version()
    yield shared_memory(free_shared_memory())
    yield state_folder(state)


def python_version(version: tuple[int, int]) -> Finding:
    text = ".".join(map(str, version))
    if version in _PYTHONS:
        return Finding("python", "ok", text)
    return Finding(
        "python",
        "fail",
        f"Python {text}; the embedded server has stubs for 3.10 to 3.12",
        "make the environment with Python 3.11 or 3.12, or use another target",
    )


def glibc(version: tuple[int, int] | None) -> Finding:
    text = "none (not a glibc system)" if version is None else ".".join(map(str, version))
    if version is not None and version >= _MIN_GLIBC:
        return Finding("glibc", "ok", text)
    return Finding(
        "glibc",
        "fail",
        f"glibc {text}; the embedded server needs 2.35 or newer",
        "use Debian 12, Ubuntu 22.04 or newer, or another target",
    )


def wheel_present(wheel: Wheel | None) -> Finding:
    if wheel is None:
        return Finding("nvidia-pytriton", "fail", "the wheel that carries the server is not installed", _INSTALL)
    return Finding("nvidia-pytriton", "ok", wheel.version)


def executables(wheel: Wheel) -> Finding:
    files = (wheel.program, wheel.stub, wheel.backend / "libtriton_python.so")
    for file in files:
        if not file.is_file():
            return Finding("server files", "fail", f"{file} is missing", f"{_INSTALL} --force-reinstall")
    for file in files[:2]:
        if not os.access(file, os.X_OK):
            return Finding(
                "server files",
                "fail",
                f"{file} cannot be executed",
                f"chmod +x {file}, and check that its file system is not mounted noexec",
            )
    return Finding("server files", "ok", str(wheel.program))


def stub_starts(wheel: Wheel) -> Finding:
    """Run the stub without arguments: it complains about them if libpython is there; if not, a server would hang."""
    library = f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"
    environment = os.environ | {"LD_LIBRARY_PATH": f"{library_folder()}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
    try:
        tried = subprocess.run(
            [str(wheel.stub)], capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("libpython", "fail", f"the python stub does not start: {error}", f"{_INSTALL} --force-reinstall")
    if tried.returncode == 127:
        version = ".".join(map(str, sys.version_info[:2]))
        return Finding(
            "libpython",
            "fail",
            f"{library} is missing, and the server would hang without it",
            f"install it (Debian, Ubuntu: apt install libpython{version}), "
            "or use a Python that was built with --enable-shared",
        )
    if "arguments" not in tried.stderr + tried.stdout:
        last = (tried.stderr.strip().splitlines() or ["no output"])[-1]
        return Finding("libpython", "fail", f"the python stub ended with status {tried.returncode}: {last}", _INSTALL)
    return Finding("libpython", "ok", library)


def numpy_version() -> Finding:
    """The numpy that python models get: with numpy 2 this server reads every byte of a tensor as the first one."""
    remedy = "pip install 'numpy>=1.26,<2' into the environment that runs `scenario`"
    try:
        found = probe_interpreter()
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        return Finding(
            "numpy",
            "fail",
            f"python3 beside {sys.executable} cannot be asked for its numpy: {error}",
            "run `scenario` from a virtual environment",
        )
    ours = ".".join(map(str, sys.version_info[:2]))
    if not found.python.startswith(f"{ours}."):
        return Finding(
            "numpy",
            "fail",
            f"python3 beside {sys.executable} is {found.python}, not {ours}",
            "run `scenario` from a virtual environment",
        )
    return judge_numpy(found.numpy, remedy)


def judge_numpy(version: str | None, remedy: str) -> Finding:
    if version is None:
        return Finding("numpy", "fail", "python models cannot import numpy", remedy)
    if int(version.split(".")[0]) >= 2:
        return Finding(
            "numpy", "fail", f"numpy {version}: this server would silently read wrong tensors with it", remedy
        )
    return Finding("numpy", "ok", version)


def shared_memory(free: int | None) -> Finding:
    remedy = "mount a larger tmpfs there; in a container: --shm-size=1g"
    if free is None:
        return Finding("/dev/shm", "fail", "missing or not writable", remedy)
    detail = f"{free / 2**20:.0f} MiB free"
    if free < _MIN_SHM_BYTES:
        return Finding("/dev/shm", "fail", f"{detail}; each python model needs at least 1 MiB and grows", remedy)
    return Finding(
        "/dev/shm",
        "warn" if free < _COMFORTABLE_SHM_BYTES else "ok",
        detail,
        remedy if free < _COMFORTABLE_SHM_BYTES else None,
    )


def state_folder(state: Path) -> Finding:
    """The folder for private server files: writable, and scripts in it can be executed."""
    existing = next(path for path in (state, *state.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding("state folder", "fail", f"{existing} is not writable", "set SCENARIO_HOME to a writable folder")
    if os.statvfs(existing).f_flag & os.ST_NOEXEC:
        return Finding(
            "state folder",
            "fail",
            f"{existing} is mounted noexec: the server could not start its stubs",
            "set SCENARIO_HOME to a folder on another file system",
        )
    return Finding("state folder", "ok", str(state))


def _glibc() -> tuple[int, int] | None:
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""
        major, minor = text.split()[-1].split(".")[:2]
        return int(major), int(minor)
    except (ValueError, IndexError, OSError):
        return None


def free_shared_memory(folder: str = "/dev/shm") -> int | None:
    """Bytes free there; None where nobody may write."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return None
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
