"""Model folders as their users keep them, without what does not belong in a repository."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from runner.setup.digest import files_below


def source_files(folder: Path) -> list[str]:
    """Files of a source folder that belong in a repository: no caches, nothing hidden."""
    return [name for name in files_below(folder) if not _ignored(name)]


def _ignored(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any(part == "__pycache__" or part.startswith(".") for part in parts) or name.endswith((".pyc", ".pyo"))
