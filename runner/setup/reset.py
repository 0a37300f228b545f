"""Undoes the ledger: newest effect first, only what setup made, and looks whether each thing is really gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runner.errors import UsageError
from runner.locks import is_locked
from runner.setup.ledger import Entry
from runner.setup.state import BOOKKEEPING, StateDirectory
from runner.setup.store import read_stamp, stamp_path

GROUPS = ("downloads", "artifacts", "repository", "logs")
"""What `keep` may name."""

Status = Literal["removed", "would remove", "restored", "would restore", "already gone", "kept", "refused", "failed"]


@dataclass(frozen=True)
class Removal:
    """What became of one thing."""

    kind: str
    path: Path
    bytes: int
    """Space that came free; a file that is also linked elsewhere frees none."""
    status: Status
    reason: str = ""


Undo = Callable[[Entry, bool], Removal]
"""Undoes one effect: entry, dry run. Kinds that are no files (containers, images, clocks) bring their own."""


def reset(
    state: StateDirectory,
    *,
    keep: Collection[str] = (),
    dry_run: bool = False,
    handlers: Mapping[str, Undo] | None = None,
) -> tuple[Removal, ...]:
    """Remove everything that setup made for this scenario, also after a killed one.

    Files that are not ours are kept and reported, and then so is the state directory. Whatever could not be undone
    stays in the ledger, so that the next reset tries again.

    Raises:
        UsageError: `keep` names no group.
        SetupError: a setup or another reset is running, or a run uses what setup made.
    """
    for name in keep:
        if name not in GROUPS:
            raise UsageError(
                f"--keep {name}: expected one of {', '.join(GROUPS)}", hint=f"for example --keep {GROUPS[0]}"
            )
    if state.path.is_symlink():
        return (Removal("directory", state.path, 0, "refused", "it is a link; remove it yourself"),)
    if not state.path.is_dir():
        return ()
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(state.unused())
            stack.enter_context(state.exclusive())
        return tuple(_Reset(state, frozenset(keep), dry_run, handlers or {}).run())


class _Reset:
    """One pass over the ledger."""

    def __init__(
        self, state: StateDirectory, keep: frozenset[str], dry_run: bool, handlers: Mapping[str, Undo]
    ) -> None:
        self._state, self._keep, self._dry_run = state, keep, dry_run
        own: dict[str, Undo] = {"directory": self._directory, "file": self._file, "download": self._download}
        self._handlers = {**own, **handlers}
        self._links: Counter[tuple[int, int]] = Counter()
        self._incomplete = False

    def run(self) -> Iterator[Removal]:
        entries = self._state.ledger.entries()
        for entry in reversed(entries):
            if entry.kind != "parent" and (removal := self._undo(entry)):
                yield removal
        if self._dry_run:
            yield Removal("directory", self._state.path, 0, "would remove")
        else:
            yield self._state_directory()
            self._folders([entry.path for entry in entries if entry.kind == "parent"])

    def _undo(self, entry: Entry) -> Removal | None:
        """The outcome, or None where there is nothing to tell."""
        if entry.group in self._keep:
            return Removal(entry.kind, entry.path, 0, "kept", f"--keep {entry.group}") if entry.path.exists() else None
        handler = self._handlers.get(entry.kind)
        if handler is None:
            removal = Removal(entry.kind, entry.path, 0, "failed", f"this version cannot undo a {entry.kind}")
        else:
            removal = handler(entry, self._dry_run)
        if removal.status in {"failed", "refused"}:
            self._incomplete = True
        elif not self._dry_run:
            self._state.ledger.undone(entry.kind, entry.path, group=entry.group)
        return None if removal.status == "already gone" and not entry.done else removal

    # --- one effect ---

    def _file(self, entry: Entry, dry_run: bool) -> Removal:
        if entry.group == "downloads" and is_locked(entry.path.with_suffix(".lock")):
            return Removal(entry.kind, entry.path, 0, "kept", "another scenario is downloading it")
        return self._guarded(entry, dry_run)

    def _download(self, entry: Entry, dry_run: bool) -> Removal:
        path = entry.path
        if path.is_file() and not path.is_symlink() and path.stat().st_nlink > 1 + self._standing_links(path, dry_run):
            return Removal(entry.kind, path, 0, "kept", "another scenario uses it")
        return self._guarded(entry, dry_run)

    def _standing_links(self, path: Path, dry_run: bool) -> int:
        """Links to it in our own directory: a dry run has not removed them, and kept ones stay."""
        status = path.stat()
        standing = sum((one := file.lstat()).st_ino == status.st_ino and one.st_dev == status.st_dev
                       for file in _files(self._state.path))  # fmt: skip
        return standing if dry_run or self._keep else 0

    def _directory(self, entry: Entry, dry_run: bool) -> Removal:
        return self._guarded(entry, dry_run)

    def _guarded(self, entry: Entry, dry_run: bool) -> Removal:
        """Remove files of ours, then the folders that are empty."""
        path = entry.path
        if not self._within(path):
            return Removal(entry.kind, path, 0, "refused", f"it is not inside {self._state.home}")
        if not path.is_symlink() and not path.exists():
            return Removal(entry.kind, path, 0, "already gone")
        try:
            return self._remove(entry, dry_run)
        except OSError as error:
            return Removal(entry.kind, path, 0, "failed", f"{error.filename or path}: {error.strerror}")

    def _remove(self, entry: Entry, dry_run: bool) -> Removal:
        ours, foreign = _sorted_out(entry)
        size = sum(self._freed(file, dry_run) for file in ours)
        reason = f"not made by setup: {', '.join(str(path) for path in foreign[:3])}" if foreign else ""
        if dry_run:
            return Removal(entry.kind, entry.path, size, "would remove", reason)
        for file in ours:
            file.unlink()
        _remove_empty(entry.path)
        if foreign:
            return Removal(entry.kind, entry.path, size, "kept", reason)
        return _proved(entry.kind, entry.path, size)

    def _freed(self, path: Path, dry_run: bool) -> int:
        """Bytes that come free with this link: all with the last one, none before."""
        status = path.lstat()
        if not dry_run:
            return status.st_size if status.st_nlink <= 1 else 0
        self._links[status.st_dev, status.st_ino] += 1
        return status.st_size if self._links[status.st_dev, status.st_ino] >= status.st_nlink else 0

    def _within(self, path: Path) -> bool:
        """Inside the home folder even after all links in its parents are followed."""
        home = self._state.home.resolve()
        return path.is_absolute() and ".." not in path.parts and path.parent.resolve().is_relative_to(home)

    # --- the folders around them ---

    def _state_directory(self) -> Removal:
        path = self._state.path
        for folder in (self._state.artifacts, self._state.repositories, self._state.logs):
            _remove_empty(folder)
        left = [file.relative_to(path).as_posix() for file in _files(path)]
        left = [name for name in left if name not in BOOKKEEPING]
        if left or self._incomplete:
            what = f"still holds {', '.join(left[:5])}" if left else "what could not be undone is in ledger.jsonl"
            return Removal("directory", path, 0, "kept", what)
        size = sum(self._freed(path / name, dry_run=False) for name in BOOKKEEPING if (path / name).exists())
        # The lock is still held: who waits for it will see that its file is gone, and start afresh.
        for name in BOOKKEEPING:
            (path / name).unlink(missing_ok=True)
        _remove_empty(path)
        return _proved("directory", path, size)

    def _folders(self, parents: list[Path]) -> None:
        """Folders around the state directory, as far as they are empty and ours."""
        _remove_empty(self._state.downloads)
        _remove_empty(self._state.timings)
        _rmdir(self._state.path.parent)
        if self._state.home in parents:
            _rmdir(self._state.home)
            for path in sorted(parents, key=lambda path: len(path.parts), reverse=True):
                if self._state.home.is_relative_to(path):
                    _rmdir(path)


def _sorted_out(entry: Entry) -> tuple[list[Path], list[Path]]:
    """Files of ours and foreign files at the path of an entry.

    Ours are those that the stamp lists, caches that a server made beside them, and, where no stamp was written, all.
    """
    files = _files(entry.path)
    if entry.kind != "directory":
        return (files, []) if files == [entry.path] else ([], files)
    stamp = read_stamp(stamp_path(entry.path))
    if stamp is None:
        return files, []
    names = {file: file.relative_to(entry.path) for file in files}
    ours = [file for file, name in names.items() if name.as_posix() in stamp.files or "__pycache__" in name.parts]
    return ours, sorted(set(files) - set(ours))


def _files(path: Path) -> list[Path]:
    """The path itself, or what lies below it if it is a folder; links are listed, not followed."""
    if path.is_symlink() or not path.is_dir():
        return [path]
    return [file for child in path.iterdir() for file in _files(child)]


def _remove_empty(path: Path) -> None:
    """Remove a folder and those below it, as far as they are empty."""
    if path.is_symlink() or not path.is_dir():
        return
    for child in list(path.iterdir()):
        _remove_empty(child)
    _rmdir(path)


def _rmdir(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        return


def _proved(kind: str, path: Path, size: int) -> Removal:
    gone = not path.is_symlink() and not path.exists()
    return Removal(kind, path, size, "removed" if gone else "failed", "" if gone else "it is still there")
