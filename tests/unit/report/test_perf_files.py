"""Files where the user wants them: whole or not at all; devices, pipes and links stay what they are."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from runner.errors import RigError
from runner.report.perf import write
from runner.report.perf.files import replaced
from runner.results.perf_wishes import PerfWishes
from tests.unit.report.perf_runs import ENSEMBLE, level, measured, run_of


def test_a_file_is_replaced_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replaced(path) as file:
        file.write(bytes(1 // (file.write(b"half") - 4)))
    assert path.read_text() == "old"
    with replaced(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["x.json"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with replaced(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_a_pipe_is_written_to_and_has_no_neighbours(tmp_path: Path) -> None:
    folder = tmp_path / "pipes"
    folder.mkdir()
    os.mkfifo(folder / "x.csv")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((folder / "x.csv").read_text()))
    reader.start()
    write(run_of(tmp_path, [level(1)], [measured(level(1), server=ENSEMBLE)]), PerfWishes(csv=folder / "x.csv"))
    reader.join(timeout=10)
    assert read[0].startswith("Concurrency,")
    assert [each.name for each in folder.iterdir()] == ["x.csv"]
    assert (folder / "x.csv").is_fifo()


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """perf_analyzer says nothing and exits with 0."""
    run = run_of(tmp_path, [level(1)], [measured(level(1))])
    with pytest.raises(RigError, match=r"cannot write .*none/x\.csv: No such file"):
        write(run, PerfWishes(csv=tmp_path / "none" / "x.csv"))
