"""Where a container engine may be and what is behind each place; cheap enough to be asked by every command."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from runner.runtimes.doctor.contexts import Context, chosen
from runner.runtimes.findings import Finding

DOCKER_SOCKET = "/var/run/docker.sock"
_ANSWER_TIMEOUT_S = 2.0
_COMMAND_TIMEOUT_S = 10.0
_UNIX = "unix://"
_ELSEWHERE = "or say in DOCKER_HOST where it is"
_OTHER_CONTEXT = "choose another context (docker context ls, docker context use NAME; DOCKER_CONTEXT comes before that)"

State = Literal["answers", "denied", "stopped", "absent", "silent", "unknown"]
"""denied: the socket is not for us · stopped: nobody listens · absent: no socket · silent: no answer of an engine ·
unknown: a context that names no engine."""


@dataclass(frozen=True)
class Place:
    """Where an engine may be."""

    address: str
    """`unix:///path`, or what DOCKER_HOST or the context says."""
    context: Context | None = None
    from_host: bool = False
    """DOCKER_HOST names it; its companions say how it is reached."""

    @property
    def text(self) -> str:
        return _text(self.address, self.context.name if self.context else "")


@dataclass(frozen=True)
class Answer:
    """What is at one place."""

    address: str
    """`unix:///path`, what DOCKER_HOST says, or `docker` for the command line."""
    state: State
    said: str = ""
    """The system's own words where it does not answer."""
    context: str = ""
    """The context that names it, if one does."""

    @property
    def text(self) -> str:
        return _text(self.address, self.context)


def places(environment: Mapping[str, str]) -> list[Place]:
    """Where an engine may be: what DOCKER_HOST or a context says alone, else the usual sockets."""
    if host := environment.get("DOCKER_HOST"):
        return [Place(host, from_host=True)]
    if context := chosen(environment):
        return [Place(context.host, context)]
    runtime = environment.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    sockets = (DOCKER_SOCKET, f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock")
    there = [path for path in (*sockets, "/run/podman/podman.sock") if os.path.exists(path)]
    return [Place(f"{_UNIX}{path}") for path in there or sockets[:1]]


def look(environment: Mapping[str, str] = os.environ) -> tuple[Answer, ...]:
    """What is at each place, up to the first engine that answers."""
    answers: list[Answer] = []
    wanted = places(environment)
    for place in wanted:
        answers.append(_ask(place))
        if answers[-1].state == "answers":
            return tuple(answers)
    if not any(place.from_host or place.context for place in wanted):
        answers.append(ask_command("docker"))
    return tuple(answers)


def _ask(place: Place) -> Answer:
    if place.context and place.context.fault:
        return Answer(place.address, "unknown", place.context.fault, place.context.name)
    answer = ping(place.address) if place.address.startswith(_UNIX) else ask_command(place.address)
    return replace(answer, context=place.context.name) if place.context else answer


def ping(address: str) -> Answer:
    """Ask the engine behind a socket whether it lives; cheaper than loading its SDK."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ANSWER_TIMEOUT_S)
            connection.connect(address.removeprefix(_UNIX))
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            said = connection.recv(64)
    except PermissionError as error:
        return Answer(address, "denied", error.strerror or "")
    except FileNotFoundError as error:
        return Answer(address, "absent", error.strerror or "")
    except ConnectionRefusedError as error:
        return Answer(address, "stopped", error.strerror or "")
    except OSError as error:
        return Answer(address, "silent", error.strerror or str(error))
    return Answer(address, "answers") if b" 200 " in said else Answer(address, "silent", _first_line(said))


def ask_command(address: str) -> Answer:
    """The command line knows contexts, TLS and ssh hosts."""
    if shutil.which("docker") is None:
        return Answer(address, "absent", "no `docker` command")
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Answer(address, "silent", str(error))
    if done.returncode == 0:
        return Answer(address, "answers")
    said = (done.stderr.strip().splitlines() or [f"`docker version` ended with status {done.returncode}"])[-1]
    return Answer(address, _state_of(said.lower()), said)


def engine(answers: Sequence[Answer]) -> Finding:
    """Whether a container engine answers, and if not, what keeps it from that."""
    for answer in answers:
        if answer.state == "answers":
            return Finding("container engine", "ok", f"answers at {answer.text}")
    listed = "; ".join(f"{answer.text}: {answer.said}" for answer in answers)
    return Finding("container engine", "fail", f"a Docker engine is needed, none answers ({listed})", remedy(answers))


def remedy(answers: Sequence[Answer]) -> str:
    """What makes an engine answer: another thing for a socket that is not ours than for one that nobody serves."""
    states = [answer.state for answer in answers]
    if "unknown" in states:
        return f"{_OTHER_CONTEXT}, {_ELSEWHERE}"
    if "denied" in states:
        path = next(answer.address for answer in answers if answer.state == "denied").removeprefix(_UNIX)
        return (
            f"be allowed to use {path}: sudo usermod -aG docker $USER, then log in again (a rootless engine needs no "
            f"group), {_ELSEWHERE}"
        )
    if "silent" in states and not any(answer.context for answer in answers):
        return f"see why it does not answer: journalctl -u docker; then systemctl restart docker, {_ELSEWHERE}"
    if context := next((answer.context for answer in answers if answer.context), ""):
        return f"start the engine of the context {context} (docker context inspect {context}), or {_OTHER_CONTEXT}"
    return f"start it: systemctl start docker (Podman: systemctl --user start podman.socket), {_ELSEWHERE}"


def _text(address: str, context: str) -> str:
    return f"{address} (context {context})".lstrip() if context else address


def _state_of(said: str) -> State:
    """From the words of the command line, which has one exit status for everything."""
    if "permission denied" in said:
        return "denied"
    return "stopped" if "cannot connect" in said or "failed to connect" in said else "silent"


def _first_line(said: bytes) -> str:
    return said.decode("latin-1").partition("\r\n")[0] or "it closed the connection"
