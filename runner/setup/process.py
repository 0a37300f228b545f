"""Runs a script of a setup step: logged line by line, in a small environment, gone when the runner is gone."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from runner.errors import SetupError
from runner.results.secrets import redact
from runner.scenario.secrets import HIDDEN
from runner.setup.base import Workbench

_KEPT = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HF_HOME", "TORCH_HOME", "PIP_CONFIG_FILE", "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_PROXY", "PIP_CERT", "PIP_TRUSTED_HOST",
)  # fmt: skip
"""What a script sees of the caller's environment; anything else would be an input that no fingerprint knows."""

TAIL_LINES = 12
_GRACE_S = 3.0

# Runs in the child before the script: die with the parent even when it is killed with SIGKILL. Done by a small program
# and not by `preexec_fn`, which may deadlock in a process that has threads.
_LEASH = """
import ctypes, os, signal, sys
prctl = getattr(ctypes.CDLL(None), "prctl", None)
if prctl: prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]): os._exit(1)
try: os.execv(sys.argv[2], sys.argv[2:])
except OSError as error: sys.exit(f"cannot run {sys.argv[2]}: {error.strerror}")
"""


def command_for(script: Path, python: str) -> list[str]:
    """How to run a script, by its suffix or its executable bit.

    Raises:
        SetupError: there is no such file, or no way to run it.
    """
    if not script.is_file():
        hint = "name a file of setup_scripts/, or a path relative to the scenario file"
        raise SetupError(f"no such script: {script}", hint=hint)
    if script.suffix == ".py":
        return [python, str(script)]
    if script.suffix == ".sh":
        return ["/bin/sh", str(script)]
    if os.access(script, os.X_OK):
        return [str(script)]
    hint = "use a .py or .sh file, or make it executable (chmod +x)"
    raise SetupError(f"{script}: cannot tell how to run it", hint=hint)


def run_script(command: Sequence[str], bench: Workbench, directory: Path) -> None:
    """Run to the end in `directory`, output to the log.

    Raises:
        SetupError: it failed; the message carries its last lines.
    """
    environment = script_environment(os.environ, directory)
    bench.note(f"$ {shlex.join(redact(command))}")
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with _leashed(command, directory, environment) as process:
        assert process.stdout
        for line in process.stdout:
            tail.append(line.rstrip())
            bench.note(tail[-1])
            bench.say(tail[-1][:200])
        status = process.wait()
    if status:
        raise failure(bench, _name_of(command), status, tail)


def failure(bench: Workbench, script: str, status: int, tail: Iterable[str], because: str = "") -> SetupError:
    """The error of a script that did not end well; a negative status is the signal that ended it."""
    how = f"ended with status {status}" if status > 0 else f"was ended by {signal.Signals(-status).name}"
    last = "".join(f"\n  | {line}" for line in tail) or " and printed nothing"
    return SetupError(
        f"setup.{bench.step}: {script} {how}{because}{last}",
        hint=f"the whole output is in {bench.log.name}; {bench.reproduce} repeats the step",
    )


def script_environment(environment: Mapping[str, str], directory: Path) -> dict[str, str]:
    kept = {name: environment[name] for name in _KEPT if name in environment}
    return {
        "TMPDIR": str(directory),
        "LANG": "C.UTF-8",
        **kept,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def left_out(command: Sequence[str], told: Sequence[str]) -> str:
    """The comment of a script whose command is told without its secrets; empty where it has none."""
    return "" if list(command) == list(told) else f"# Secrets are not kept: put them in place of each {HIDDEN} first.\n"


def reproduce_text(step: str, command: Sequence[str], output: str) -> str:
    """A shell script that runs the same command, writing to a folder of the user's choice."""
    told = redact(command)
    passed = " ".join(f'"${name}"' if name == "OUT" else shlex.quote(name) for name in told)
    return (
        f"#!/bin/sh\n# Repeats setup step `{step}` without the runner. Usage: sh {step}.reproduce.sh [FOLDER]\n"
        f"{left_out(command, told)}set -eu\n"
        f'FOLDER="${{1:-./{step}}}"\nmkdir -p "$FOLDER"\nOUT="$FOLDER/"{shlex.quote(output)}\nexec {passed}\n'
    )


@contextmanager
def _leashed(command: Sequence[str], directory: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The process in a group of its own; whatever ends the block early ends the group."""
    leash = [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid())]
    process = subprocess.Popen(
        [*leash, *command], cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    except BaseException:
        _end_group(process)
        raise
    finally:
        if process.stdout:
            process.stdout.close()


def _end_group(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
            if number == signal.SIGKILL or not _group_alive(process.pid):
                return


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _name_of(command: Sequence[str]) -> str:
    """File name of the script."""
    return Path(command[1] if command[0] in {sys.executable, "/bin/sh"} else command[0]).name
