"""A server's log: its last lines, the ones that matter, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TAIL_BYTES = 256 * 1024
_HARMLESS = re.compile(r"CudaDriverHelper|unable to create stream|NVML|DCGM|pinned system memory|CUDA memory pool")
_FLAG = (
    r"unrecognized option '--([^'=]+)|option '--([^'=]+)' (?:requires|doesn't allow) an argument"
    r"|Bad option: \"--([^\"]+)\""
)
_ERROR = re.compile(rf"^E\d{{4}} |^error: |^Signal \((?!2\)|15\))|^(?:/\S+: )?(?:{_FLAG})")
_PREFIX = re.compile(r"^[EWIF]\d{4} [\d:.]+ +\d+ \S+\] +|^/\S+/(?=\w+: )")
_LOAD_FAILURE = re.compile(r"^E\d{4} .*failed to load '([^']+)'")
_PORT_TAKEN = re.compile(r"already in use", re.IGNORECASE)

_REMEDIES = (
    (_FLAG, "correct or remove server.flags.{0}: this server has no such flag, or not with such a value"),
    (
        r"No module named '([^']+)'",
        "install {0!r} into the environment that runs `scenario`: its Python serves the model",
    ),
    (
        r"unable to find backend library for backend '([^']+)'|backend '([^']+)'.*not found",
        "the embedded server has only the python backend and ensembles; use another target or a python model",
    ),
    (
        r"[Ss]hared memory|/dev/shm|No space left",
        "make room in /dev/shm (a container: a larger --shm-size) and on the disk",
    ),
    (r"Permission denied", "make the files of the model repository readable for this user"),
    (
        r"failed to poll from model repository|no model version|must specify",
        "check the layout of the model repository: NAME/config.pbtxt and NAME/1/",
    ),
    (r"out of memory|bad_alloc|MemoryError", "the machine ran out of memory: fewer instances or a smaller batch"),
)


@dataclass(frozen=True)
class ServerLog:
    """The part of a log file that one server wrote."""

    path: Path
    start: int = 0
    """Size of the file when the server began."""

    def lines(self) -> list[str]:
        """The last lines, at most a quarter of a megabyte."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(self.start, size - _TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    def tail(self, count: int) -> list[str]:
        return self.lines()[-count:]

    def evidence(self, count: int = 20) -> list[str]:
        """For an error: the lines that report errors, then the last ones; the server's tables are left out."""
        lines = [line for line in self.lines() if not line.startswith(("|", "+-"))]
        errors = [line for line in lines if is_error(line)][-count:]
        return errors + [line for line in lines[-count:] if line not in errors]

    def failed_model(self) -> str | None:
        """A model that the server says it could not load."""
        return next((match[1] for line in self.lines() if (match := _LOAD_FAILURE.match(line))), None)

    def port_taken(self) -> bool:
        return any(is_error(line) and _PORT_TAKEN.search(line) for line in self.lines())


def is_error(line: str) -> bool:
    """True for a line that reports an error, except those that every machine without a GPU sees."""
    return bool(_ERROR.search(line)) and not _HARMLESS.search(line)


def cause(lines: Sequence[str]) -> str | None:
    """The first error in one sentence: of a python model, the exception with the place where it was raised."""
    errors = [line for line in lines if is_error(line)]
    if not errors:
        return None
    failures = [line for line in errors if _LOAD_FAILURE.match(line)] or errors
    text = _PREFIX.sub("", failures[0]).strip().strip('"').replace("\\n", "\n").replace('\\"', '"')
    head, _, trace = text.partition("\n\nAt:\n")
    place = trace.strip().split("\n")[0].strip()
    sentence = " ".join(head.split())
    return f"{sentence} (at {place})" if place else sentence


def remedy(lines: Sequence[str]) -> str | None:
    """What mends the first error that is known."""
    text = "\n".join(line for line in lines if is_error(line))
    for pattern, advice in _REMEDIES:
        if match := re.search(pattern, text):
            return advice.format(*(group for group in match.groups() if group is not None))
    return None
