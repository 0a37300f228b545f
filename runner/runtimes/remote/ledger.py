"""What was changed on a server that is not ours: written down before it happens, so that it can be undone.

One file for each server, named by a digest of its address; the lock beside it is held as long as the run lives, so a
file without a lock is what a killed run left. Headers and certificates are never in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runner.errors import RigError
from runner.locks import LockedError, describe, is_locked, locked
from runner.results.files import replacing
from runner.services.control import TraceSettings


@dataclass(frozen=True)
class Changes:
    """Models that were loaded, and trace settings that were set."""

    models: tuple[str, ...] = ()
    unfinished: str = ""
    """A model whose load began and perhaps never ended."""
    traces: Mapping[str, TraceSettings] = field(default_factory=dict)
    """Model -> what puts its trace settings back as they were."""


@dataclass(frozen=True)
class ChangeLedger:
    """What this machine's runs changed on the server at `address` and did not undo yet."""

    folder: Path
    address: str

    @property
    def path(self) -> Path:
        """The file; there is none while nothing is changed."""
        return self.folder / f"{hashlib.sha256(self.address.encode()).hexdigest()[:16]}.json"

    def read(self) -> Changes:
        """What is changed."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            traces = {str(model): _settings(before) for model, before in found.get("traces", {}).items()}
            return Changes(tuple(str(model) for model in found["models"]), str(found["unfinished"]), traces)
        except FileNotFoundError:
            return Changes()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            hint = f"see which models the server holds and traces, put back what is not needed, and remove {self.path}"
            raise RigError(f"{self.path} is not what this tool writes: {error}", hint=hint) from error

    def write(self, changes: Changes) -> None:
        """Replace what is written, on disk before it returns; nothing changed removes the file.

        Raises:
            RigError: it cannot be written, so nothing may be changed.
        """
        if changes == Changes():
            self.path.unlink(missing_ok=True)
            return
        try:
            with replacing(self.path) as file:
                file.write(json.dumps({"server": self.address, **asdict(changes)}).encode())
        except OSError as error:
            raise self._unwritable(error) from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep this machine's other runs from changing anything there.

        Raises:
            RigError: another run does.
        """
        with ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self._lock))
            except LockedError as error:
                raise RigError(
                    f"another run ({describe(error.holder)}) loads models or traces on the server at {self.address}",
                    hint="wait until it has finished, or stop it",
                ) from error
            except OSError as error:
                raise self._unwritable(error) from error
            # Removed while it is held: who waits for it sees that its file is gone, and makes another.
            stack.callback(self._lock.unlink, missing_ok=True)
            yield

    def in_use(self) -> bool:
        """Whether a run that lives changes something there."""
        return is_locked(self._lock)

    def _unwritable(self, error: OSError) -> RigError:
        return RigError(
            f"cannot write down what is changed on the server at {self.address}: {error}",
            hint="make room and check who may write there; SCENARIO_HOME names another folder",
        )

    @property
    def _lock(self) -> Path:
        return self.path.with_suffix(".lock")


def _settings(found: dict[str, list[str]]) -> TraceSettings:
    return {str(name): tuple(str(value) for value in values) for name, values in found.items()}
