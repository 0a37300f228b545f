"""Reset removes exactly what setup made, proves it, and touches nothing else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import SetupError, UsageError
from runner.locks import locked
from runner.scenario.schema import Scenario
from runner.setup.ledger import Entry
from runner.setup.prepare import prepare
from runner.setup.reset import Removal, reset
from runner.setup.state import StateDirectory

Make = Callable[..., Scenario]


@pytest.fixture
def downloading(make_scenario: Make, tmp_path: Path) -> Scenario:
    """A scenario whose weights are downloaded."""
    (tmp_path / "weights.bin").write_bytes(b"w" * 10_000)
    digest = hashlib.sha256(b"w" * 10_000).hexdigest()
    fetch = {"kind": "fetch", "url": (tmp_path / "weights.bin").as_uri(), "sha256": digest}
    return make_scenario(setup={"weights": fetch})


def statuses(removals: tuple[Removal, ...]) -> set[str]:
    return {removal.status for removal in removals}


def test_everything_is_gone_afterwards_and_setup_works_again(
    downloading: Scenario, state: StateDirectory, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    prepare(downloading, state)
    removals = reset(state)
    assert statuses(removals) == {"removed"}
    assert sorted(tmp_path.rglob("*")) == before, "also the folders around it"
    assert {removal.path for removal in removals} >= {state.path, state.blob(next(iter(digests(downloading))))}
    assert 10_000 <= sum(removal.bytes for removal in removals) < 40_000, "linked files are counted once"
    assert reset(state) == ()
    assert {report.action for report in prepare(downloading, state).reports} == {"built"}


def digests(scenario: Scenario) -> set[str]:
    return {step.sha256 for step in scenario.setup.values() if step.kind == "fetch" and step.sha256}


def test_a_home_that_was_there_before_stays(make_scenario: Make, state: StateDirectory) -> None:
    state.home.mkdir()
    prepare(make_scenario(), state)
    reset(state)
    assert list(state.home.iterdir()) == []


def test_a_dry_run_says_it_and_does_nothing(downloading: Scenario, state: StateDirectory) -> None:
    prepare(downloading, state)
    before = sorted(state.home.rglob("*"))
    planned = reset(state, dry_run=True)
    assert sorted(state.home.rglob("*")) == before
    assert statuses(planned) == {"would remove"}
    done = reset(state)
    assert [(removal.kind, removal.path) for removal in planned] == [(removal.kind, removal.path) for removal in done]
    planned_bytes = sum(removal.bytes for removal in planned[:-1])
    assert planned_bytes == sum(removal.bytes for removal in done[:-1])


def test_downloads_can_be_kept(downloading: Scenario, state: StateDirectory, tmp_path: Path) -> None:
    prepare(downloading, state)
    removals = reset(state, keep={"downloads"})
    blob = state.blob(next(iter(digests(downloading))))
    assert [(r.path, r.status, r.reason) for r in removals if r.status == "kept"] == [
        (blob, "kept", "--keep downloads")
    ]
    assert blob.exists()
    assert not state.path.exists()
    (tmp_path / "weights.bin").unlink()
    prepare(downloading, state, offline=True)
    assert statuses(reset(state)) == {"removed"}
    assert list(state.home.iterdir()) == [], "who uses a kept download owns it again"


@pytest.mark.parametrize("group", ["artifacts", "repository", "logs"])
def test_other_groups_can_be_kept_and_removed_later(make_scenario: Make, state: StateDirectory, group: str) -> None:
    prepare(make_scenario(), state)
    removals = reset(state, keep=[group])
    assert removals[-1].status == "kept"
    assert [path.name for path in state.path.iterdir() if path.is_dir()] == [group]
    assert statuses(reset(state)) == {"removed"}
    assert not state.path.exists()


def test_an_unknown_group_is_a_usage_error(state: StateDirectory) -> None:
    with pytest.raises(UsageError, match=r"--keep everything: expected one of downloads, artifacts"):
        reset(state, keep=["everything"])


def test_a_download_that_another_scenario_uses_stays(downloading: Scenario, state: StateDirectory) -> None:
    other = StateDirectory.for_scenario("other", Path("/other.yaml"), state.home)
    prepare(downloading, state)
    prepare(downloading, other)
    blob = state.blob(next(iter(digests(downloading))))
    for dry_run in (True, False):
        kept = [removal for removal in reset(state, dry_run=dry_run) if removal.status == "kept"]
        assert [(removal.path, removal.reason) for removal in kept] == [(blob, "another scenario uses it")]
    assert statuses(reset(other)) == {"removed"}
    assert not blob.exists()


def test_foreign_files_are_kept_and_named_even_twice(make_scenario: Make, state: StateDirectory) -> None:
    prepared = prepare(make_scenario(), state)
    notes = prepared.artifacts["weights"].path.with_name("notes.txt")
    notes.write_text("mine")
    (state.path / "todo.txt").write_text("mine too")
    removals = reset(state)
    assert f"not made by setup: {notes}" in [removal.reason for removal in removals]
    assert removals[-1].status == "kept"
    assert removals[-1].reason.startswith("still holds ")
    assert "todo.txt" in removals[-1].reason
    reset(state)
    assert (notes.read_text(), (state.path / "todo.txt").read_text()) == ("mine", "mine too")
    left = [path for path in state.path.rglob("*") if path.is_file()]
    assert {path.name for path in left} <= {"notes.txt", "todo.txt", "ledger.jsonl", "lock", "digests.json"}


def test_caches_that_a_server_left_are_ours(make_scenario: Make, state: StateDirectory) -> None:
    prepared = prepare(make_scenario(), state)
    cache = prepared.repository / "plain" / "1" / "__pycache__"
    cache.mkdir()
    (cache / "model.cpython-311.pyc").write_text("")
    assert statuses(reset(state)) == {"removed"}
    assert not state.path.exists()


def test_links_are_removed_never_followed(make_scenario: Make, state: StateDirectory, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").write_text("keep me")
    prepared = prepare(make_scenario(), state)
    half = state.artifacts / "half-000000000000"
    half.mkdir()
    (half / "link").symlink_to(precious)
    state.ledger.intend("directory", half, group="artifacts")
    whole = prepared.artifacts["weights"].path.parent
    for file in list(whole.iterdir()):
        file.unlink()
    whole.rmdir()
    whole.symlink_to(precious)
    removals = {removal.path: removal for removal in reset(state)}
    assert removals[half].status == "removed"
    assert (removals[whole].status, removals[whole].reason) == ("kept", f"not made by setup: {whole}")
    assert (precious / "data").read_text() == "keep me"
    assert not half.exists()


def test_a_linked_state_directory_is_refused(make_scenario: Make, state: StateDirectory, tmp_path: Path) -> None:
    prepare(make_scenario(), state)
    state.path.rename(tmp_path / "moved")
    state.path.symlink_to(tmp_path / "moved")
    assert [removal.status for removal in reset(state)] == ["refused"]
    assert (tmp_path / "moved" / "ledger.jsonl").exists()


@pytest.mark.parametrize("where", ["{tmp}/precious", "{home}/../precious", "{home}/link/precious", "precious"])
def test_paths_outside_are_refused_and_the_ledger_stays(
    make_scenario: Make, state: StateDirectory, tmp_path: Path, where: str
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    prepare(make_scenario(), state)
    (state.home / "link").symlink_to(tmp_path)
    path = Path(where.format(tmp=tmp_path, home=state.home))
    state.ledger.done("file", path, group="artifacts")
    refused = [removal for removal in reset(state) if removal.status == "refused"]
    assert [removal.path for removal in refused] == [path]
    assert precious.read_text() == "keep me"
    assert state.ledger.entries()[-1].path == path


def test_other_kinds_of_effects_bring_their_own_undo(make_scenario: Make, state: StateDirectory) -> None:
    prepare(make_scenario(), state)
    state.ledger.done("container", Path("triton-1"), group="artifacts")
    removals = reset(state)
    assert removals[0] == Removal("container", Path("triton-1"), 0, "failed", "this version cannot undo a container")
    assert removals[-1].reason == "what could not be undone is in ledger.jsonl"
    stopped: list[Path] = []

    def undo(entry: Entry, dry_run: bool) -> Removal:
        stopped.append(entry.path)
        return Removal(entry.kind, entry.path, 0, "removed")

    assert statuses(reset(state, handlers={"container": undo})) == {"removed"}
    assert stopped == [Path("triton-1")]
    assert not state.path.exists()


def test_what_cannot_be_removed_fails_and_is_tried_again(
    make_scenario: Make, state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(make_scenario(), state)
    real, stuck = Path.unlink, prepared.artifacts["weights"].path

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path == stuck:
            raise PermissionError(1, "Operation not permitted", str(path))
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    [failed] = [removal for removal in reset(state) if removal.status == "failed"]
    assert failed.reason == f"{stuck}: Operation not permitted"
    monkeypatch.undo()
    assert statuses(reset(state)) == {"removed"}
    assert not state.path.exists()


def test_a_folder_in_place_of_a_file_is_not_ours(make_scenario: Make, state: StateDirectory) -> None:
    prepare(make_scenario(), state)
    log = state.logs / "weights.log"
    log.unlink()
    log.mkdir()
    (log / "strange").write_text("")
    removals = {removal.path: removal for removal in reset(state)}
    assert (removals[log].status, removals[log].reason) == ("kept", f"not made by setup: {log / 'strange'}")
    assert (log / "strange").exists()


def test_what_is_gone_already_is_said(make_scenario: Make, state: StateDirectory) -> None:
    prepared = prepare(make_scenario(), state)
    (prepared.artifacts["weights"].path).unlink()
    prepared.artifacts["weights"].path.with_name("model.onnx.facts.json").unlink()
    prepared.artifacts["weights"].path.parent.rmdir()
    removals = {removal.path: removal.status for removal in reset(state)}
    assert removals[prepared.artifacts["weights"].path.parent] == "already gone"
    assert not state.path.exists()


def test_after_a_killed_setup(killed: Scenario, state: StateDirectory) -> None:
    assert list(state.artifacts.rglob("model.onnx"))
    assert statuses(reset(state)) == {"removed"}
    assert not state.home.exists()


def test_an_empty_state_directory_without_ledger_goes_too(state: StateDirectory) -> None:
    state.path.mkdir(parents=True)
    assert [removal.status for removal in reset(state)] == ["removed"]
    assert not state.path.exists()


def test_a_running_setup_is_not_disturbed(make_scenario: Make, state: StateDirectory) -> None:
    prepare(make_scenario(), state)
    with locked(state.path / "lock"), pytest.raises(SetupError, match="another scenario process"):
        reset(state)
    assert reset(state, dry_run=True)[-1].status == "would remove"


def test_a_running_download_of_another_scenario_is_not_disturbed(state: StateDirectory) -> None:
    state.create()
    part = state.downloads / "partial" / "x.part"
    state.make_folder(part.parent, group="downloads")
    part.write_text("half")
    state.ledger.done("file", part, group="downloads")
    with locked(part.with_suffix(".lock")):
        [kept] = [removal for removal in reset(state) if removal.status == "kept"]
    assert kept == Removal("file", part, 0, "kept", "another scenario is downloading it")
    assert part.exists()


def test_a_folder_that_stays_in_use_is_reported(make_scenario: Make, state: StateDirectory, monkeypatch: Any) -> None:
    prepare(make_scenario(), state)
    real = Path.rmdir

    def busy(path: Path) -> None:
        if path == state.path:
            raise OSError(16, os.strerror(16))
        real(path)

    monkeypatch.setattr(Path, "rmdir", busy)
    assert (reset(state)[-1].status, reset(state)[-1].reason) == ("failed", "it is still there")
