"""Which models were loaded on a server that is not ours: written down before it happens, so that it can be undone.

One file for each server, named by a digest of its address; the lock beside it is held as long as the run lives, so a
file without a lock is what a killed run left. Headers and certificates are never in it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from runner.errors import RigError
from runner.locks import LockedError, describe, is_locked, locked


@dataclass(frozen=True)
class Loads:
    """Models that were loaded, and one whose load began and perhaps never ended."""

    models: tuple[str, ...] = ()
    unfinished: str = ""


@dataclass(frozen=True)
class LoadLedger:
    """What this machine's runs loaded on the server at `address` and did not unload yet."""

    folder: Path
    address: str

    @property
    def path(self) -> Path:
        """The file; there is none while nothing is loaded."""
        return self.folder / f"{hashlib.sha256(self.address.encode()).hexdigest()[:16]}.json"

    def read(self) -> Loads:
        """What is loaded."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            return Loads(tuple(str(model) for model in found["models"]), str(found["unfinished"]))
        except FileNotFoundError:
            return Loads()
        except (ValueError, KeyError, TypeError) as error:
            hint = f"see which models the server holds, unload those that are not needed, and remove {self.path}"
            raise RigError(f"{self.path} is not what this tool writes: {error}", hint=hint) from error

    def write(self, loads: Loads) -> None:
        """Replace what is written, on disk before it returns; nothing loaded removes the file.

        Raises:
            RigError: it cannot be written, so nothing may be loaded.
        """
        if loads == Loads():
            self.path.unlink(missing_ok=True)
            return
        fresh = self.path.with_suffix(".new")
        try:
            with fresh.open("w", encoding="utf-8") as file:
                json.dump({"server": self.address, **asdict(loads)}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError as error:
            raise self._unwritable(error) from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep this machine's other runs from loading and unloading there.

        Raises:
            RigError: another run does.
        """
        with ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self._lock))
            except LockedError as error:
                raise RigError(
                    f"another run ({describe(error.holder)}) loads models on the server at {self.address}",
                    hint="wait until it has finished, or stop it",
                ) from error
            except OSError as error:
                raise self._unwritable(error) from error
            # Removed while it is held: who waits for it sees that its file is gone, and makes another.
            stack.callback(self._lock.unlink, missing_ok=True)
            yield

    def in_use(self) -> bool:
        """Whether a run that lives loads models there."""
        return is_locked(self._lock)

    def _unwritable(self, error: OSError) -> RigError:
        return RigError(
            f"cannot write down what is loaded on the server at {self.address}: {error}",
            hint="make room and check who may write there; SCENARIO_HOME names another folder",
        )

    @property
    def _lock(self) -> Path:
        return self.path.with_suffix(".lock")
