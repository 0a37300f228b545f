"""The state directory of a scenario: artifacts, assembled repositories, logs, the ledger; and the shared downloads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from runner.errors import SetupError
from runner.locks import LockedError, describe, locked, used
from runner.runtimes.host import state_home
from runner.setup.digest import DigestCache, text_digest
from runner.setup.ledger import Ledger

BOOKKEEPING = ("ledger.jsonl", "lock", "users", "digests.json", "trusted.json")
"""Files of the state directory itself that are ours without an entry in the ledger."""


@dataclass(frozen=True)
class StateDirectory:
    """Paths only; nothing exists until `create`."""

    path: Path
    home: Path
    source: Path = field(default=Path(), compare=False)
    """The scenario file, for commands shown to the user."""

    @classmethod
    def for_scenario(cls, name: str, source: Path, home: Path | None = None) -> StateDirectory:
        """The directory of one scenario file; two files of the same name have two directories."""
        home = (home or state_home()).expanduser().absolute()
        source = source.absolute()
        return cls(home / "scenarios" / f"{name}-{text_digest(str(source.resolve()))[:8]}", home, source)

    @property
    def artifacts(self) -> Path:
        return self.path / "artifacts"

    @property
    def repositories(self) -> Path:
        return self.path / "repository"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def downloads(self) -> Path:
        return self.home / "downloads"

    @property
    def timings(self) -> Path:
        """Timing caches of engine builders, shared by all scenarios."""
        return self.home / "timing"

    @property
    def trusted(self) -> Path:
        """Digests of downloads that were accepted on first use: JSON, URL -> sha256."""
        return self.path / "trusted.json"

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.path / "ledger.jsonl")

    @cached_property
    def digests(self) -> DigestCache:
        return DigestCache(self.path / "digests.json")

    def blob(self, sha256: str) -> Path:
        """Where a download with this digest is kept, whichever scenario fetched it."""
        return self.downloads / "sha256" / sha256[:2] / sha256

    def create(self) -> None:
        """Make the directory and its folders, each in the ledger from the outside in."""
        try:
            for folder in (self.path, self.artifacts, self.repositories, self.logs):
                self.make_folder(folder)
        except OSError as error:
            raise SetupError(
                f"{error.filename or self.path}: cannot make the state directory: {error.strerror}",
                hint="set SCENARIO_HOME to a folder that you may write to",
            ) from error

    def make_folder(self, folder: Path, *, group: str = "state") -> None:
        """Make a folder and the missing ones above it; reset removes those that are empty again."""
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for path in reversed(made):
            self.ledger.done("parent", path, group=group)

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep other setups and resets out of a directory that exists."""
        return self._held(locked(self.path / "lock"), "another scenario process ({}) is working here")

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep resets away while a run serves what setup made here; any number of runs may."""
        self.create()
        with self._held(used(self.path / "users"), "a reset ({}) is working here"):
            yield

    def unused(self) -> AbstractContextManager[None]:
        """Keep runs away from a directory that exists."""
        return self._held(locked(self.path / "users"), "a run is measuring with what was made here")

    @contextmanager
    def _held(self, lock: AbstractContextManager[object], why_not: str) -> Iterator[None]:
        """Hold the lock; `why_not` is said, with its holder, where another process has it."""
        with ExitStack() as stack:
            try:
                stack.enter_context(lock)
            except LockedError as error:
                raise SetupError(
                    f"{self.path}: {why_not.format(describe(error.holder))}",
                    hint="wait until it has finished, or stop it",
                ) from error
            yield

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the directory and keep other setups and resets out."""
        self.create()
        with self.exclusive():
            # A reset that held the lock before us may have removed what we made.
            self.create()
            try:
                yield
            finally:
                self.digests.save()
