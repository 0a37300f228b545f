"""Which models were loaded on a server that is not ours: written down before it happens, so that it can be undone.

One file for each server, named by a digest of its address; the lock beside it is held as long as the run lives, so a
file without a lock is what a killed run left. Headers and certificates are never in it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner.errors import RigError
from runner.locks import LockedError, describe, is_locked, locked


@dataclass(frozen=True)
class LoadLedger:
    """What this machine's runs loaded on the server at `address` and did not unload yet."""

    folder: Path
    address: str

    @property
    def path(self) -> Path:
        """The file; there is none while nothing is loaded."""
        return self.folder / f"{hashlib.sha256(self.address.encode()).hexdigest()[:16]}.json"

    def models(self) -> tuple[str, ...]:
        """In the order in which they were loaded."""
        try:
            return tuple(str(model) for model in json.loads(self.path.read_text(encoding="utf-8"))["models"])
        except FileNotFoundError:
            return ()
        except (ValueError, KeyError, TypeError) as error:
            hint = f"see which models the server holds, unload those that are not needed, and remove {self.path}"
            raise RigError(f"{self.path} is not what this tool writes: {error}", hint=hint) from error

    def write(self, models: Sequence[str]) -> None:
        """Replace the list, on disk before it returns; an empty one removes the file."""
        if not models:
            self.path.unlink(missing_ok=True)
            return
        fresh = self.path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump({"server": self.address, "models": list(models)}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep this machine's other runs from loading and unloading there.

        Raises:
            RigError: another run does.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self._lock):
                yield
        except LockedError as error:
            raise RigError(
                f"another run ({describe(error.holder)}) loads models on the server at {self.address}",
                hint="wait until it has finished, or stop it",
            ) from error

    def in_use(self) -> bool:
        """Whether a run that lives loads models there."""
        return is_locked(self._lock)

    @property
    def _lock(self) -> Path:
        return self.path.with_suffix(".lock")
