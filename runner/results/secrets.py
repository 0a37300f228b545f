"""What must not be written down of a run: secrets of its scenario and of its command line."""

from __future__ import annotations

import re
from collections.abc import Sequence

import yaml

from runner.scenario.secrets import HIDDEN, NAME, looks_secret, redact_text, without_secrets_in

_OPTION = re.compile(rf"(?i)^-{{1,2}}{NAME}$")
_HEADER = re.compile(r"((?:-H)?[A-Za-z][\w-]*):\s*(?!/).+", re.DOTALL)


def redact(command: Sequence[str]) -> tuple[str, ...]:
    """The command line without the values of anything that is named like a secret, or stands in a URL as one."""
    return tuple(
        HIDDEN if index and _OPTION.match(command[index - 1]) and not word.startswith("-") else redact_text(word)
        for index, word in enumerate(command)
    )


def shown_command(argv: Sequence[str]) -> tuple[str, ...]:
    """A command line as it may be kept."""
    return redact(without_secret_headers(argv))


def without_secrets(resolved: str) -> str:
    """The resolved scenario with secret headers, environment variables, variables and parts of URLs hidden."""
    document = yaml.safe_load(resolved)
    hidden = without_secrets_in(document)
    return resolved if hidden == document else yaml.safe_dump(hidden, sort_keys=False, allow_unicode=True, width=120)


def without_secret_headers(arguments: Sequence[str]) -> tuple[str, ...]:
    """A command line with the values of secret headers (`Name:value`, as after `-H`) hidden."""
    return tuple(_hidden_header(word) for word in arguments)


def _hidden_header(word: str) -> str:
    match = _HEADER.fullmatch(word)
    return f"{match[1]}:{HIDDEN}" if match is not None and looks_secret(match[1].removeprefix("-H")) else word
