"""Becomes the server, after asking the kernel to end it when the runner dies, however that happens.

Run as a file with `python -I -S`, so it starts in milliseconds and imports nothing of the runner:
`_supervise.py PARENT_PID [--cpus=N,N] [--memory=NODE,NODE] PROGRAM ARGUMENT...`. A `preexec_fn` could do the same, but
is not safe in a process with threads. The kernel's signal follows the *thread* that started the server: start servers
from one that lives on.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
_SET_MEMPOLICY = {"x86_64": 238, "aarch64": 237}
"""Number of the system call: libc has no function for it."""
_BIND = 2
"""MPOL_BIND: memory comes from these nodes or not at all."""
_MASK_BITS = 1024


def main(argv: list[str]) -> None:
    """Arm the parent-death signal, take the place that was given, then replace this process by the program."""
    parent, command = int(argv[1]), argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    # SIGKILL, not SIGTERM: nobody is left to insist. The server's children notice its death and end by themselves.
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"cannot tie the server to the runner: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the runner ended before the server began")
    # What the server starts inherits both.
    for option, take in (("--cpus=", pin), ("--memory=", bind_memory)):
        if command[0].startswith(option):
            take([int(word) for word in command.pop(0).removeprefix(option).split(",")])
    os.execv(command[0], command)


def pin(cpus: Sequence[int]) -> None:
    """Run on these processors only."""
    os.sched_setaffinity(0, cpus)


def bind_memory(nodes: Sequence[int]) -> None:
    """Take the calling thread's memory from these NUMA nodes.

    Raises:
        OSError: the kernel does not allow it; containers often may not.
    """
    call = _SET_MEMPOLICY.get(platform.machine())
    if call is None:
        raise OSError(38, "not known how on this machine")
    mask = (ctypes.c_ulong * (_MASK_BITS // 64))()
    for node in nodes:
        mask[node // 64] |= 1 << node % 64
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(call), ctypes.c_int(_BIND), mask, ctypes.c_ulong(_MASK_BITS)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main(sys.argv)
