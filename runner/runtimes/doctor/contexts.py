"""Contexts of the Docker command line: which one is chosen, and the engine that it names.

Read here and not by the SDK, which is slow to load for commands that only look, and whose older versions know neither
`DOCKER_CONTEXT` nor what is wrong with a context.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DEFAULT = "default"


@dataclass(frozen=True)
class Material:
    """Certificates of a context, paths; None where it has none of that kind."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    verify: bool = True
    """Whether the engine has to prove who it is."""


@dataclass(frozen=True)
class Context:
    """One context; `fault` says why its engine cannot be known."""

    name: str
    host: str = ""
    """`unix:///path`, `tcp://name:port` or `ssh://…`."""
    tls: Material | None = None
    fault: str = ""


def chosen(environment: Mapping[str, str]) -> Context | None:
    """The context in force as the command line has it: DOCKER_HOST > DOCKER_CONTEXT > `docker context use`.

    None: none but the default one, or DOCKER_HOST rules.
    """
    if environment.get("DOCKER_HOST"):
        return None
    folder = _folder(environment)
    try:
        name = environment.get("DOCKER_CONTEXT") or _current(folder / "config.json")
    except (ValueError, AttributeError, OSError) as error:
        return Context("", fault=f"{folder / 'config.json'} cannot be read: {error}")
    return None if name in ("", _DEFAULT) else _load(name, folder / "contexts")


def _folder(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"))


def _current(path: Path) -> str:
    """What `docker context use` has written."""
    try:
        return str(json.loads(path.read_text()).get("currentContext") or "")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _load(name: str, folder: Path) -> Context:
    # The command line's own naming: a context's name need not be one of a file.
    known_as = hashlib.sha256(name.encode()).hexdigest()
    path = folder / "meta" / known_as / "meta.json"
    try:
        endpoint: dict[str, Any] = json.loads(path.read_text())["Endpoints"]["docker"]
        host = str(endpoint["Host"])
    except FileNotFoundError:
        return Context(name, fault=f"there is no such context in {folder}")
    except (ValueError, KeyError, TypeError, OSError) as error:
        return Context(name, fault=f"{path} names no engine ({type(error).__name__}: {error})")
    skip = bool(endpoint.get("SkipTLSVerify", False))
    return Context(name, host, _material(folder / "tls" / known_as / "docker", verify=not skip))


def _material(folder: Path, *, verify: bool) -> Material | None:
    """What the context keeps for TLS; None for a plain connection."""
    ca, certificate, key = (
        str(path) if path.is_file() else None for path in map(folder.joinpath, ("ca.pem", "cert.pem", "key.pem"))
    )
    return Material(ca, certificate, key, verify) if ca or certificate or not verify else None
