"""Fingerprints: named parts, one hash, and the sentence that says what changed between two."""

from __future__ import annotations

import ast
import json
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from runner.scenario.secrets import looks_secret, redact_text
from runner.setup.base import Parts
from runner.setup.digest import text_digest

_SHOWN = 3
_DISTRIBUTIONS = {
    "PIL": ("pillow",),
    "cv2": ("opencv-python-headless", "opencv-python"),
    "yaml": ("PyYAML",),
    "nvidia": ("nvidia-dali-cuda120", "nvidia-dali-cuda130"),
}
"""Import name -> distributions that may bring it, where they differ."""


def fingerprint(parts: Parts) -> str:
    """sha256 over the parts, whatever their order."""
    return text_digest(json.dumps(dict(parts), sort_keys=True, ensure_ascii=False))


def flatten(prefix: str, value: Any) -> dict[str, str]:
    """`{"a": {"b": 1}}` -> `{"prefix.a.b": "1"}`; empty containers stay visible."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return {prefix: json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value}
    flat = {name: text for key, item in items for name, text in flatten(f"{prefix}.{key}", item).items()}
    return flat or {prefix: "{}" if isinstance(value, Mapping) else "[]"}


def explain(old: Parts, new: Parts) -> str:
    """What changed from old to new, by the names of the parts."""
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    sentences = [_sentence(key, old.get(key), new.get(key)) for key in changed[:_SHOWN]]
    if len(changed) > _SHOWN:
        sentences.append(f"and {len(changed) - _SHOWN} more")
    return "; ".join(sentences) or "same inputs"


def distance(old: Parts, new: Parts) -> int:
    """How many parts differ."""
    return sum(old.get(key) != new.get(key) for key in {**old, **new})


def host_parts() -> dict[str, str]:
    """Identity of this machine as a target of scripts."""
    return {
        "target": f"{platform.system().lower()}-{platform.machine()}",
        "version of python": platform.python_version(),
    }


def version_parts(distributions: Iterable[str]) -> dict[str, str]:
    """Versions of installed distributions, those that are not installed left out."""
    found: dict[str, str] = {}
    for name in sorted(set(distributions)):
        try:
            found[f"version of {name}"] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def imported_distributions(script: Path) -> tuple[str, ...]:
    """Distributions that a Python script imports, by its source; a script that does not parse has none."""
    try:
        tree = ast.parse(script.read_bytes())
    except (SyntaxError, ValueError):
        return ()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    imported = sorted(names - sys.stdlib_module_names)
    return tuple(each for name in imported for each in _DISTRIBUTIONS.get(name, (name,)))


def _sentence(key: str, old: str | None, new: str | None) -> str:
    if key.startswith("setup."):
        return f"{key} was rebuilt"
    if key.startswith("args.") and looks_secret(key.removeprefix("args.")):
        return f"{key} changed"
    if old is None:
        return f"{key} added: {_short(new)}"
    if new is None:
        return f"{key} removed (was {_short(old)})"
    if _is_digest(old) and _is_digest(new):
        return f"{key} has other content"
    return f"{key} changed: {_short(old)} -> {_short(new)}"


def _short(text: str | None) -> str:
    text = redact_text(str(text))
    return text[:12] if _is_digest(text) else text if len(text) <= 60 else f"{text[:57]}..."


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(character in "0123456789abcdef" for character in text)
