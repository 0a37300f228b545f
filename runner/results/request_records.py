"""Records of single requests, as `measure.records: full` writes them: a header of 16 bytes, then 40 bytes each.

Times are nanoseconds after the start of the load. The order is that of the outcomes within each engine thread; threads
follow each other slice by slice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runner.errors import RunnerError

RECORD = np.dtype(
    [
        ("intended_ns", "<u8"),
        ("sent_ns", "<u8"),
        ("first_ns", "<u8"),
        ("done_ns", "<u8"),
        ("payload", "<u4"),
        ("status", "<u2"),
        ("worker", "<u2"),
    ]
)
"""`first_ns` is the first word of the answer; `UNKNOWN_NS` where there was none, as `done_ns` without an outcome."""
UNKNOWN_NS = 2**64 - 1
HEADER = b"SCENREC1" + RECORD.itemsize.to_bytes(4, "little") + bytes(4)

_GRPC = [
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
]
_ENGINE = {
    32: "timeout",
    33: "connect_refused",
    34: "connect_failed",
    35: "connection_lost",
    36: "protocol_error",
    37: "wrong_output",
    38: "tls_failed",
    40: "unfinished",
}


STATUSES = dict(enumerate(_GRPC)) | _ENGINE
"""Of a record, but for those of HTTP; a test compares them with the engine's."""


def status_name(status: int) -> str:
    """The word that counts use for a record's status: `ok`, a failure code, or `unfinished`."""
    return STATUSES.get(status, f"http_{status}")


def read_records(path: Path) -> npt.NDArray[Any]:
    """A read-only array of `RECORD`, mapped, not loaded; half a record at the end of a cut file is left out.

    Raises:
        RunnerError: the file is not one of request records.
    """
    with path.open("rb") as file:
        header = file.read(len(HEADER))
    if header != HEADER:
        raise RunnerError(f"{path} is no file of request records, or one of another version of this tool")
    count = (path.stat().st_size - len(HEADER)) // RECORD.itemsize
    if not count:
        return np.zeros(0, RECORD)
    return np.memmap(path, RECORD, "r", offset=len(HEADER), shape=(count,))


def latency_ns(records: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Latencies of the successes, in the order of the file."""
    ok = records[records["status"] == 0]
    return np.asarray(ok["done_ns"] - ok["intended_ns"], np.int64)
