"""The undo ledger survives kills, and the lock outlives nobody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner.setup.ledger import Entry, Ledger


def test_effects_stand_until_undone_in_the_order_of_intent(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.intend("file", Path("/a"), group="logs")
    ledger.intend("directory", Path("/b"), group="artifacts")
    ledger.done("directory", Path("/b"), group="artifacts")
    ledger.done("file", Path("/a"), group="logs")
    ledger.intend("file", Path("/c"), group="logs")
    ledger.undone("directory", Path("/b"), group="artifacts")
    assert ledger.entries() == (Entry("file", Path("/a"), "logs", True), Entry("file", Path("/c"), "logs", False))


def test_an_effect_that_fails_keeps_its_intent(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    with pytest.raises(OSError, match="boom"), ledger.effect("file", Path("/a"), group="logs"):
        raise OSError("boom")
    with ledger.effect("file", Path("/b"), group="logs"):
        pass
    assert [(entry.path.name, entry.done) for entry in ledger.entries()] == [("a", False), ("b", True)]


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    assert ledger.entries() == ()
    ledger.done("file", Path("/a"), group="logs")
    with path.open("a") as file:
        file.write('{"event": "intend", "ki')
    ledger.done("file", Path("/b"), group="logs")
    with path.open("a") as file:
        file.write('[1]\n"text"\n{"event": "done"}\n')
    assert [entry.path.name for entry in ledger.entries()] == ["a", "b"]


def test_each_event_is_on_disk_before_the_call_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.intend("file", Path("/a"), group="logs")
    assert synced == [str(ledger.path), str(tmp_path)], "the name of a new ledger, too"
    ledger.done("file", Path("/a"), group="logs")
    assert synced[2:] == [str(ledger.path)]
