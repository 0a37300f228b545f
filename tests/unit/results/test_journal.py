from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.errors import RigError
from runner.results import files, journal
from runner.results.journal import JournalWriter, read_journal


def write(path: Path, *bodies: dict[str, object]) -> None:
    writer = JournalWriter(path)
    for body in bodies:
        writer.append("trial", body)  # type: ignore[arg-type]
    writer.close()
    writer.close()


def test_lines_come_back_in_order_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, {"a": 1}, {"b": "zwei\nZeilen \u2028 \ud800"})
    content = read_journal(path)
    assert [(e.line, e.kind, e.body) for e in content.entries] == [
        (1, "trial", {"a": 1}),
        (2, "trial", {"b": "zwei\nZeilen \u2028 \ud800"}),
    ]
    assert content.torn is None
    assert content.intact_bytes == path.stat().st_size
    assert path.read_bytes().count(b"\n") == 2


def test_appending_never_touches_earlier_bytes(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, {"a": 1})
    before = path.read_bytes()
    write(path, {"a": 2})
    assert path.read_bytes().startswith(before)


def test_every_line_is_synced_and_so_is_the_name_of_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    path = tmp_path / "journal.jsonl"
    write(path, {"a": 1}, {"a": 2})
    assert synced == [str(tmp_path), str(path), str(path)]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_cut_short_is_reported_ignored_and_can_be_removed(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, {"a": 1}, {"a": 2, "long": "x" * 30})
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    content = read_journal(path)
    assert [e.body for e in content.entries] == [{"a": 1}]
    assert content.torn is not None
    assert content.torn.startswith("line 2 was cut short")
    writer = JournalWriter(path)
    writer.truncate(content.intact_bytes)
    writer.append("trial", {"a": 3})
    writer.close()
    again = read_journal(path)
    assert [e.body for e in again.entries] == [{"a": 1}, {"a": 3}]
    assert again.torn is None


def test_a_last_line_of_zeros_is_what_a_power_cut_leaves(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, {"a": 1})
    with path.open("ab") as stream:
        stream.write(b"\0" * 100 + b'"}\n')
    content = read_journal(path)
    assert len(content.entries) == 1
    assert content.torn is not None


DEEP = b'{"kind": "trial", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    "damage", [b'{"kind": "trial", "a"', b"[1]", b'{"no": "kind"}', b"", b'{"kind": 3}', pytest.param(DEEP, id="deep")]
)
def test_damage_before_the_last_line_is_an_error_with_its_number(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, {"a": 1}, {"a": 2}, {"a": 3})
    lines = path.read_bytes().split(b"\n")
    lines[1] = damage
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(RigError, match=r"journal\.jsonl, line 2: is not ") as caught:
        read_journal(path)
    assert caught.value.hint is not None


def test_a_last_line_that_is_nested_without_end_is_damage_too(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(DEEP + b"\n")
    with pytest.raises(RigError, match=r"journal\.jsonl, line 1: is not JSON"):
        read_journal(path)


def test_a_missing_journal_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RigError, match=r"cannot read .*journal\.jsonl: No such file"):
        read_journal(tmp_path / "journal.jsonl")


def test_a_full_disk_names_path_and_space_and_leaves_earlier_lines_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    writer = JournalWriter(path)
    writer.append("trial", {"a": 1})
    before = path.read_bytes()
    real = os.write

    def nearly_full(descriptor: int, data: bytes | memoryview) -> int:
        if len(data) > 10:
            return real(descriptor, bytes(data[:10]))  # a short write, as a filling disk gives, then none
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", nearly_full)
        with pytest.raises(RigError) as caught:
            writer.append("trial", {"a": "x" * 9 + "yy"})
    assert str(path) in caught.value.message
    assert "MiB free" in caught.value.message
    assert "--resume" in str(caught.value.hint)
    assert path.read_bytes() == before
    writer.append("trial", {"a": 2})
    assert [e.body for e in read_journal(path).entries] == [{"a": 1}, {"a": 2}]


def append_many(writer: JournalWriter, count: int) -> None:
    for number in range(count):
        writer.append("trial", {"number": number, "fill": "x" * 5000})


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.decode()}")
    try:
        writer = JournalWriter(mount / "journal.jsonl")
        with pytest.raises(RigError, match=r"no space left \(.* MiB free\)"):
            append_many(writer, 100)
        writer.close()
        content = read_journal(mount / "journal.jsonl")
        assert content.torn is None
        assert [e.body["number"] for e in content.entries] == list(range(len(content.entries)))
        assert len(content.entries) > 5
        with pytest.raises(RigError, match="no space left"):
            files.write_atomic(mount / "points.csv", b"x" * 100_000)
        assert sorted(path.name for path in mount.iterdir()) == ["journal.jsonl"]
    finally:
        subprocess.run(["umount", str(mount)], check=True)


WRITER = """
import sys
from pathlib import Path
from runner.results.journal import JournalWriter
writer = JournalWriter(Path(sys.argv[1]))
print("ready", flush=True)
number = 0
while True:
    writer.append("trial", {"number": number, "fill": "x" * 200_000})
    number += 1
"""


def test_kill_in_the_middle_of_writing_loses_at_most_the_last_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    seen = 0
    for delay in (0.01, 0.03, 0.05):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        content = read_journal(path)
        numbers = [e.body["number"] for e in content.entries]
        assert numbers[seen:] == list(range(len(numbers) - seen))
        seen = len(numbers)
        writer = JournalWriter(path)
        writer.truncate(content.intact_bytes)
        writer.close()
    assert seen > 0


# --- whole files --------------------------------------------------------------------------------------------------


def test_a_whole_file_is_replaced_at_once_and_a_failed_attempt_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "manifest.json"
    assert files.write_atomic(path, b"old") == path

    def refuse(source: object, target: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(RigError, match=r"cannot write .*manifest\.json: Permission denied") as caught:
        files.write_atomic(path, b"new")
    assert "--output-dir" in str(caught.value.hint)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.json"]


def test_a_quota_is_told_from_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="disk quota reached"), files.disk(tmp_path / "not" / "yet" / "there"):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")


def test_what_a_killed_writer_left_half_written_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".points.csv.123.part").write_text("half")
    (tmp_path / "points.csv").write_text("whole")
    files.sweep_temporaries(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["points.csv"]


def test_folders_that_cannot_be_synced_are_fine_but_other_errors_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(code: int) -> None:
        raise OSError(code, "x")

    monkeypatch.setattr(os, "fsync", lambda fd: fail(errno.EINVAL))
    files.sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda fd: fail(errno.EIO))
    with pytest.raises(OSError, match="x"):
        files.sync_folder(tmp_path)


def test_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    assert files.make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(RigError, match="cannot write"):
        files.make_folder(tmp_path / "file" / "b")


def test_schema_is_one_number_for_all_files() -> None:
    assert journal.SCHEMA == 1
