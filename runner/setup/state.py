"""The state directory of a scenario: artifacts, assembled repositories, logs, the ledger; and the shared downloads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other setups and resets out of a directory that exists."""
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path / "lock"))
            except LockedError as error:
                raise self._busy(f"another scenario process ({describe(error.holder)}) is working here") from error
            yield

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep resets away while a run serves what setup made here; any number of runs may."""
        self.create()
        with ExitStack() as stack:
            try:
                stack.enter_context(used(self.path / "users"))
            except LockedError as error:
                raise self._busy(f"a reset ({describe(error.holder)}) is working here") from error
            yield

    @contextmanager
    def unused(self) -> Iterator[None]:
        """Keep runs away from a directory that exists."""
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path / "users"))
            except LockedError as error:
                raise self._busy("a run is measuring with what was made here") from error
            yield

    def _busy(self, what: str) -> SetupError:
        return SetupError(f"{self.path}: {what}", hint="wait until it has finished, or stop it")

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
