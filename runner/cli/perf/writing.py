"""A translation as the text of a scenario file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from runner.cli.perf.translating import Translation

_SCHEMA = "# Checked by `scenario validate`, run by `scenario run`; every key: docs/reference.md"
_INLINE = 100
"""A map or list that is no longer is written on one line."""


def scenario_text(translation: Translation, command: Sequence[str]) -> str:
    """YAML, a comment above what needs one."""
    lines = [f"# From: {line}" if number == 0 else f"#   {line}" for number, line in enumerate(_wrapped(command))]
    lines += [_SCHEMA, *(f"# Note: {note}" for note in translation.notes)]
    for key, value in translation.scenario.items():
        if key in translation.comments:
            lines.append(f"# {translation.comments[key]}")
        lines += _entry(key, value, "")
    return "\n".join(lines) + "\n"


def _entry(key: str, value: Any, indent: str) -> list[str]:
    inline = f"{indent}{_flow(key)}: {_flow(value)}"
    # Two levels of a map are easier to read below each other.
    deep = isinstance(value, dict) and any(isinstance(child, dict) for child in value.values())
    if not isinstance(value, dict) or not value or (indent and not deep and len(inline) <= _INLINE):
        return [inline]
    lines = [f"{indent}{_flow(key)}:"]
    for name, child in value.items():
        lines += _entry(name, child, f"{indent}  ")
    return lines


def _flow(value: Any) -> str:
    """One value on one line."""
    import yaml

    text = yaml.safe_dump(_quoted(value), default_flow_style=True, width=10**9, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _quoted(value: Any) -> Any:
    """A text with `${` would be taken for a reference."""
    if isinstance(value, dict):
        return {_quoted(key): _quoted(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_quoted(child) for child in value]
    return value.replace("${", "$${") if isinstance(value, str) else value


def _wrapped(command: Sequence[str]) -> list[str]:
    lines = [""]
    for word in map(shlex.quote, command):
        if len(lines[-1]) + len(word) > _INLINE:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
