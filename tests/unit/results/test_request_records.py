from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runner import _engine
from runner.errors import LoadError, RunnerError
from runner.load.record_file import RecordFile
from runner.results.request_records import HEADER, RECORD, STATUSES, UNKNOWN_NS, latency_ns, read_records, status_name

ROWS = np.array([(0, 5, 20, 30, 0, 0, 0), (10, 15, UNKNOWN_NS, 40, 1, 14, 0), (20, 20, 30, 50, 0, 0, 1)], RECORD)


def test_what_is_written_slice_by_slice_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "case.bin"
    with RecordFile(str(path)) as file:
        file.write([ROWS[:2].tobytes(), b""])
        file.write([ROWS[2:].tobytes()])
    records = read_records(path)
    assert (records == ROWS).all()
    assert latency_ns(records).tolist() == [30, 30]


def test_a_cut_file_loses_only_its_last_record(tmp_path: Path) -> None:
    path = tmp_path / "cut.bin"
    path.write_bytes(HEADER + ROWS.tobytes()[:-1])
    assert len(read_records(path)) == 2
    path.write_bytes(HEADER)
    assert len(read_records(path)) == 0


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.bin"
    path.write_bytes(b"SCENREC2" + bytes(100))
    with pytest.raises(RunnerError, match="no file of request records"):
        read_records(path)


@pytest.mark.parametrize(
    ("status", "name"),
    [(0, "ok"), (14, "unavailable"), (16, "unauthenticated"), (32, "timeout"), (40, "unfinished"), (503, "http_503")],
)
def test_statuses_have_the_names_of_the_counts(status: int, name: str) -> None:
    assert status_name(status) == name


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    with RecordFile(None) as file:
        file.write([b"x"])
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LoadError, match="cannot write request records"), RecordFile(str(tmp_path / "file" / "x.bin")):
        pass


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_full_disk_is_said_at_once_or_when_what_is_buffered_goes_out(size: int) -> None:
    with pytest.raises(LoadError, match="No space left"), RecordFile("/dev/full") as file:
        file.write([bytes(size)])


def test_a_full_disk_does_not_hide_what_ended_the_load() -> None:
    with pytest.raises(KeyboardInterrupt), RecordFile("/dev/full"):
        raise KeyboardInterrupt


def test_the_words_are_those_of_the_engine() -> None:
    assert _engine.statuses() == STATUSES
