"""Becomes the server, after asking the kernel to end it when the runner dies, however that happens.

Run as a file with `python -I -S`, so it starts in milliseconds and imports nothing of the runner:
`_supervise.py PARENT_PID PROGRAM ARGUMENT...`. A `preexec_fn` could do the same, but is not safe in a process with
threads. The kernel's signal follows the *thread* that started the server: start servers from one that lives on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Arm the parent-death signal, then replace this process by the program."""
    parent, program = int(argv[1]), argv[2]
    libc = ctypes.CDLL(None, use_errno=True)
    # SIGKILL, not SIGTERM: nobody is left to insist. The server's children notice its death and end by themselves.
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"cannot tie the server to the runner: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the runner ended before the server began")
    os.execv(program, argv[2:])


if __name__ == "__main__":
    main(sys.argv)
