"""Files that a scenario names: found beside the file that names them, else among the built-in assets."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Literal

from runner.builtin import AssetKind, asset_root, nearest
from runner.scenario.diagnostics import Diagnostic, diagnose
from runner.scenario.interpolation import SYMBOLIC
from runner.scenario.merging import Pattern, matches
from runner.scenario.tree import Node, Path_, Place, dotted

Kind = Literal["folder", "file", "any"]

_PATHS: dict[Pattern, Kind] = {
    ("targets", "*", "launch", "mounts", "*"): "any",
    ("targets", "*", "launch", "tls", "ca"): "file",
    ("targets", "*", "launch", "tls", "cert"): "file",
    ("targets", "*", "launch", "tls", "key"): "file",
    ("setup", "*", "script"): "file",
    ("setup", "*", "path"): "folder",
    ("setup", "*", "from"): "file",
    ("setup", "*", "plugins", "*"): "file",
    ("setup", "*", "calibration", "from"): "any",
    ("setup", "*", "verify", "from"): "any",
    ("setup", "*", "verify", "against"): "file",
    ("repository", "models", "*", "from"): "folder",
    ("repository", "models", "*", "files", "*"): "any",
    ("workload", "input", "*", "from"): "any",
    ("workload", "data"): "any",
    ("workload", "data", "*"): "file",
    ("workload", "validate", "outputs", "*", "from"): "any",
    ("workload", "tls", "ca"): "file",
    ("workload", "tls", "cert"): "file",
    ("workload", "tls", "key"): "file",
    ("load", "file"): "file",
}
"""Values that are paths, and what must be there."""
_ASSETS: tuple[AssetKind, ...] = ("model_repos", "setup_scripts", "scenarios")


def resolve_path(text: str, folder: Path) -> Path:
    """The path that a text means in a folder; what is not there is looked for among the built-in assets."""
    path = Path(os.path.abspath(folder / os.path.expanduser(text)))
    if os.path.exists(path) or os.path.isabs(text):
        return path
    return _builtin_path(Path(text)) or path


def _builtin_path(relative: Path) -> Path | None:
    """`model_repos/a/b` and `export.py` as they are called in the built-in folders."""
    if ".." in relative.parts or not relative.parts:
        return None
    for kind in _ASSETS:
        inside = Path(*relative.parts[1:]) if relative.parts[0] == kind else None
        if inside is None and kind == "setup_scripts":
            inside = relative
        if inside is not None and (asset_root(kind) / inside).exists():
            return asset_root(kind) / inside
    return None


def with_absolute_paths(root: Node, report: Callable[[Diagnostic], None], broken: Collection[Path_]) -> Node:
    """The same tree with every path absolute; what is missing is reported."""

    def visit(node: Node, path: Path_) -> Node:
        if isinstance(node.value, dict):
            prefix_matters = any(_is_prefix(path, pattern) for pattern in _PATHS)
            if not prefix_matters:
                return node
            return replace(node, value={key: visit(child, (*path, key)) for key, child in node.value.items()})
        if isinstance(node.value, list) and any(_is_prefix(path, pattern) for pattern in _PATHS):
            return replace(node, value=[visit(child, (*path, index)) for index, child in enumerate(node.value)])
        kind = next((kind for pattern, kind in _PATHS.items() if matches(path, pattern)), None)
        if kind is None or not isinstance(node.value, str) or path in broken or SYMBOLIC.search(node.value):
            return node
        return _absolute(node, path, kind, report)

    return visit(root, ())


def _is_prefix(path: Path_, pattern: Pattern) -> bool:
    return len(path) < len(pattern) and matches(path, pattern[: len(path)])


def _absolute(node: Node, path: Path_, kind: Kind, report: Callable[[Diagnostic], None]) -> Node:
    text = str(node.value)
    folder = node.folder or node.place.source.folder
    found = resolve_path(text, folder)
    problem = _problem(found, kind, text)
    if problem is not None:
        report(_missing(node.place, path, problem, text, folder, found))
        return node
    return replace(node, value=str(found))


def _problem(found: Path, kind: Kind, text: str) -> tuple[str, str] | None:
    if not text:
        return "E140", "expected a path, got an empty text"
    if not os.path.exists(found):  # unlike Path.exists, says no to names that no file system takes
        return "E140", f"there is no {kind if kind != 'any' else 'file or folder'} `{text}`"
    if kind == "folder" and not found.is_dir():
        return "E141", f"expected a folder, got the file `{text}`"
    if kind == "file" and not found.is_file():
        return "E141", f"expected a file, got the folder `{text}`"
    return None


def _missing(place: Place, path: Path_, problem: tuple[str, str], text: str, folder: Path, found: Path) -> Diagnostic:
    code, message = problem
    related = [] if code == "E141" or os.path.isabs(text) else [f"looked in {folder} and among the built-in files"]
    beside = [each.name for each in found.parent.iterdir()] if found.parent.is_dir() else []
    siblings = [*beside, *_asset_siblings(text)]
    close = nearest(Path(text).name, siblings, 1) if code == "E140" else []
    hint = f"did you mean `{Path(text).with_name(close[0])}`?" if close else None
    return diagnose(code, place, message, address=dotted(path), hint=hint, related=related)


def _asset_siblings(text: str) -> list[str]:
    parts = Path(text).parts
    for kind in _ASSETS:
        if parts and parts[0] == kind:
            folder = asset_root(kind).joinpath(*parts[1:-1])
            return [each.name for each in folder.iterdir()] if folder.is_dir() else []
    scripts = asset_root("setup_scripts")
    return [each.name for each in scripts.iterdir()] if scripts.is_dir() else []
