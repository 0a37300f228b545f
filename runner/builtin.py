"""Where the built-in scenarios, model folders and setup scripts are, installed or in a checkout."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

AssetKind = Literal["scenarios", "model_repos", "setup_scripts"]

_PACKAGE = Path(__file__).resolve().parent


def asset_root(kind: AssetKind) -> Path:
    """Folder of one kind of built-in asset: inside the installed package, else in the checkout around it."""
    installed = _PACKAGE / "_assets" / kind
    return installed if installed.is_dir() else _PACKAGE.parent / kind


def builtin_scenarios() -> dict[str, Path]:
    """Name -> file of every built-in scenario, by name."""
    files = sorted(asset_root("scenarios").glob("*.yaml"), key=lambda path: path.stem)
    return {path.stem: path for path in files}


def find_builtin(name: str) -> Path | None:
    """File of a built-in scenario, named with or without `.yaml`."""
    return builtin_scenarios().get(name.removesuffix(".yaml"))


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names that `name` was probably meant to be, best first."""
    spelt = {candidate.casefold(): candidate for candidate in known}
    return [spelt[close] for close in difflib.get_close_matches(name.casefold(), spelt, n=count, cutoff=0.6)]
