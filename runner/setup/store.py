"""Content-addressed products: built beside their place, renamed into it, stamped last.

A product without a stamp does not exist as far as anyone else is concerned; the stamp keeps the fingerprint's parts, so
that a later run can say which of them changed, and the size and time of every file, so that it need not read them.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.errors import SetupError
from runner.results.files import replacing, sha256_of
from runner.setup.base import Artifact, OnProgress, Parts, Product, Step, Workbench
from runner.setup.digest import combine, files_below
from runner.setup.failures import os_problem
from runner.setup.fingerprint import distance, explain, fingerprint
from runner.setup.state import StateDirectory

_UNFINISHED = ".building-"
_FORMAT = 1


@dataclass(frozen=True)
class Stamp:
    """What is known of a finished product."""

    format: int
    step: str
    kind: str
    parts: dict[str, str]
    product: str
    """Path relative to the product's directory, `.` for the directory itself."""
    digest: str
    labels: dict[str, str]
    facts: dict[str, Any]
    files: dict[str, tuple[int, int]]
    """Relative name -> size, modification time in ns."""
    built_at: str
    seconds: float


@dataclass(frozen=True)
class Found:
    """The answer to "is it there?": a stamp or None, and why."""

    stamp: Stamp | None
    reason: str


class Store:
    """Products below one folder of the state directory, named `<step>-<fingerprint>` or, unnamed, `<fingerprint>`."""

    def __init__(self, state: StateDirectory, folder: Path, group: str, *, named: bool = True) -> None:
        self._state, self._folder, self._group, self._named = state, folder, group, named

    def directory(self, step: str, parts: Parts) -> Path:
        short = fingerprint(parts)[:12]
        return self._folder / (f"{step}-{short}" if self._named else short)

    def find(self, step: str, parts: Parts) -> Found:
        """The product with these parts, if it is there and untouched; else what is different."""
        directory = self.directory(step, parts)
        stamp = read_stamp(stamp_path(directory))
        if stamp and stamp.parts == dict(parts):
            damage = _damage(directory, stamp)
            return Found(None, damage) if damage else Found(stamp, "same inputs")
        others = [stamp for stamp in self._stamps() if stamp.step == step]
        if others:
            nearest = min(reversed(others), key=lambda other: distance(other.parts, parts))
            return Found(None, explain(nearest.parts, parts))
        return Found(None, "an earlier setup was interrupted" if directory.exists() else "first time")

    def artifact(self, stamp: Stamp) -> Artifact:
        directory = self.directory(stamp.step, stamp.parts)
        return Artifact(directory / stamp.product, stamp.digest, stamp.labels)

    def build(self, step: Step, parts: Parts, inputs: Mapping[str, Artifact], on_progress: OnProgress | None) -> Stamp:
        """Run the step and put its product in place.

        Raises:
            SetupError: the step failed; nothing of it is kept but its log.
        """
        final = self.directory(step.name, parts)
        place = self._folder / f"{_UNFINISHED}{final.name}"
        label = label_of(step)
        started = time.monotonic()
        ledger = self._state.ledger
        ledger.intend("directory", place, group=self._group)
        try:
            remove_tree(place)
            place.mkdir()
            product = self._run(step, place, inputs, on_progress)
            stamp = _make_stamp(step, parts, place, product, started)
            self._publish(place, final, stamp)
        except OSError as error:
            raise os_problem(error, label, self._folder) from error
        finally:
            # Also after Ctrl-C; only a kill leaves the folder, and then the ledger knows it.
            with suppress(OSError):
                remove_tree(place)
                ledger.undone("directory", place, group=self._group)
        return stamp

    def sweep(self) -> None:
        """Remove what a killed setup left half made; call it with the state directory locked."""
        for path in self._folder.glob(f"{_UNFINISHED}*"):
            remove_tree(path)

    def _run(self, step: Step, place: Path, inputs: Mapping[str, Artifact], on_progress: OnProgress | None) -> Product:
        path = self._state.logs / f"{step.name}.log"
        script = self._state.logs / f"{step.name}.reproduce.sh"
        for made in (path, script):
            self._state.ledger.intend("file", made, group="logs")
        with path.open("w", errors="replace") as log:
            log.write(f"# {datetime.now(UTC).isoformat(timespec='seconds')} {label_of(step)} ({step.kind})\n")
            bench = Workbench(step.name, place, log, script, inputs, on_progress)
            try:
                product = step.run(bench)
            except SetupError as error:
                with suppress(OSError):
                    bench.note(f"failed: {error.message}")
                raise
            if not product.path.is_relative_to(place) or not product.path.exists():
                raise SetupError(f"{label_of(step)}: nothing was written at {product.path.name}", hint=f"see {path}")
            bench.note("done")
            return product

    def _publish(self, place: Path, final: Path, stamp: Stamp) -> None:
        ledger, path = self._state.ledger, stamp_path(final)
        ledger.intend("file", path, group=self._group)
        ledger.intend("directory", final, group=self._group)
        path.unlink(missing_ok=True)
        remove_tree(final)
        place.rename(final)
        write_whole(path, json.dumps(asdict(stamp), indent=1, ensure_ascii=False).encode())
        ledger.done("directory", final, group=self._group)
        ledger.done("file", path, group=self._group)

    def _stamps(self) -> Iterator[Stamp]:
        """All stamps, oldest first."""
        try:
            paths = sorted(self._folder.glob("*.stamp.json"), key=lambda path: path.stat().st_mtime_ns)
        except OSError:
            return
        yield from filter(None, map(read_stamp, paths))


def label_of(step: Step) -> str:
    """Its address in the scenario."""
    return step.name if step.kind == "repository" else f"setup.{step.name}"


def stamp_path(directory: Path) -> Path:
    """Beside the product, so that nobody who reads the product meets it."""
    return directory.with_name(f"{directory.name}.stamp.json")


def read_stamp(path: Path) -> Stamp | None:
    """The stamp, or None if there is none that this version understands."""
    try:
        raw = json.loads(path.read_text())
        if raw["format"] != _FORMAT:
            return None
        return Stamp(**{**raw, "files": {name: (size, mtime) for name, (size, mtime) in raw["files"].items()}})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file so that a crash leaves either the old content or the new.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as file:
        file.write(content)


def remove_tree(path: Path) -> None:
    """Remove a folder of ours; a link in its place is removed, not followed."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def place_file(source: Path, target: Path) -> None:
    """A hard link where possible, else a copy: models are large and nobody writes to them."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _make_stamp(step: Step, parts: Parts, place: Path, product: Product, started: float) -> Stamp:
    statuses = {name: (place / name).stat() for name in files_below(place)}
    return Stamp(
        format=_FORMAT,
        step=step.name,
        kind=step.kind,
        parts=dict(parts),
        product=product.path.relative_to(place).as_posix(),
        digest=product.digest or _digest(product.path),
        labels=dict(product.labels),
        facts=dict(product.facts),
        files={name: (status.st_size, status.st_mtime_ns) for name, status in statuses.items()},
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - started, 3),
    )


def _digest(path: Path) -> str:
    if path.is_file():
        return sha256_of(path)
    return combine((name, sha256_of(path / name)) for name in files_below(path))


def _damage(directory: Path, stamp: Stamp) -> str | None:
    """The first file that is not as the stamp says."""
    for name, known in stamp.files.items():
        try:
            status = (directory / name).stat()
        except OSError:
            return f"{name} is missing from the state directory"
        if (status.st_size, status.st_mtime_ns) != known:
            return f"{name} was changed in the state directory"
    return None
