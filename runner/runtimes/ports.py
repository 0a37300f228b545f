"""Free TCP ports, and who holds those that are not."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack

import psutil

from runner.errors import RigError
from runner.runtimes.command import Ports

KINDS = ("http", "grpc", "metrics")
ATTEMPTS = 3
"""Between choosing a free port and the server binding it, somebody else may take it."""


class PortTakenError(Exception):
    """The server found a port taken that was free a moment before."""


def choose_ports(fixed: Mapping[str, int]) -> Ports:
    """The ports that are asked for, after a look whether they are free, and free ones for the rest.

    Raises:
        RigError: a port that is asked for is taken, with its holder where the system tells, or is asked for twice.
    """
    if len(set(fixed.values())) < len(fixed):
        raise RigError(f"server.flags give one port to two services: {dict(fixed)}", hint="give each its own")
    fixed_first = sorted(KINDS, key=lambda kind: kind not in fixed)
    with ExitStack() as held:
        # All are held until all are chosen, so that they differ.
        return Ports(**{kind: _bind(held, kind, fixed.get(kind, 0)) for kind in fixed_first})


def _bind(held: ExitStack, kind: str, port: int) -> int:
    probe = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    if port:
        # As the server does: connections of a server that just ended, in TIME_WAIT, do not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("127.0.0.1", port))
    except OSError as error:
        raise taken(kind, port) from error
    return int(probe.getsockname()[1])


def taken(kind: str, port: int) -> RigError:
    """The error for a port that somebody else has."""
    return RigError(
        f"port {port} ({kind}) is taken{_by_whom(port)}",
        hint=f"stop that process, or remove server.flags.{kind}-port so that a free port is chosen",
    )


def lost_error(attempts: int) -> RigError:
    """The error for ports that were lost again and again."""
    return RigError(
        f"the server found its ports taken {attempts} times in a row",
        hint="something on this machine takes ports as they become free; stop it, or set server.flags.grpc-port",
    )


def _by_whom(port: int) -> str:
    try:
        listening = [c for c in psutil.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN]
        pids = {c.pid for c in listening if c.laddr and c.laddr[1] == port and c.pid}
        return "".join(f" by {psutil.Process(pid).name()} (pid {pid})" for pid in sorted(pids))
    except (psutil.Error, OSError):
        return ""
