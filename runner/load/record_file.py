"""The file of request records, written while the load goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from runner.errors import LoadError
from runner.results.request_records import HEADER


class RecordFile:
    """Takes what each slice brings; nothing is kept in memory. Without a path it takes nothing."""

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else Path(path)
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            with self._explained():
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("wb")
            self.write([HEADER])
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if self._file is None:
            return
        # What is buffered goes out now, so a full disk may show here first; an error that ends the load matters more.
        with suppress(LoadError) if kind is not None else nullcontext(), self._explained():
            self._file.close()

    def write(self, parts: Iterable[bytes]) -> None:
        """Append records.

        Raises:
            LoadError: the disk is full or gone.
        """
        if self._file is not None:
            with self._explained():
                self._file.writelines(parts)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            hint = "make room, check who may write there, or leave measure.records at none"
            raise LoadError(f"cannot write request records to {self._path}: {error.strerror}", hint=hint) from error
