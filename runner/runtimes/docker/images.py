"""Images: found by name, pulled when they are not there, run by what they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from runner.errors import RigError
from runner.runtimes.docker.engine import as_rig_errors, explanation, is_engine_error, is_missing

Say = Callable[[str], None]
_EVERY_S = 1.0


@dataclass(frozen=True)
class Image:
    """One image, as it is now."""

    name: str
    """As the scenario writes it; where that is a tag, it may mean another image tomorrow."""
    id: str
    """Digest of its configuration, and so of all its content: containers are made from this."""
    digest: str = ""
    """`repository@sha256:…` where a registry knows it: with this others get the same image."""


def find(client: Any, name: str) -> Image | None:
    """The image if this engine has it."""
    with as_rig_errors(f"look for the image {name}"):
        try:
            attributes = client.images.get(name).attrs
        except Exception as error:
            if is_missing(error):
                return None
            raise
    digests = attributes.get("RepoDigests") or []
    wanted = [digest for digest in digests if digest.partition("@")[0] == repository_of(name)]
    return Image(name, attributes["Id"], next(iter(wanted or digests), ""))


def configuration(client: Any, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Environment and labels of an image that is here."""
    with as_rig_errors(f"look into the image {name}"):
        config = client.images.get(name).attrs.get("Config") or {}
    pairs = (entry.partition("=") for entry in config.get("Env") or ())
    return {key: value for key, _, value in pairs}, dict(config.get("Labels") or {})


def ensure(client: Any, name: str, say: Say, *, offline: bool = False) -> Image:
    """The image, pulled first when it is not there.

    Raises:
        RigError: it is not there and cannot be had.
    """
    if found := find(client, name):
        return found
    if offline:
        raise RigError(
            f"offline: the image {name} is not here",
            hint=f"bring it with `docker save` and `docker load`, or run once without --offline (docker pull {name})",
        )
    say(f"pulling {name}")
    try:
        for message in progress(_pull(client, name)):
            say(f"pulling {name}: {message}")
    except Exception as error:
        if not is_engine_error(error) and not isinstance(error, RuntimeError):
            raise
        raise RigError(
            f"the image {name} is not here and cannot be pulled: {explanation(error)}",
            hint="check its name and the way to its registry (docker login, a proxy of the engine); "
            "without a registry, bring it with `docker save` and `docker load`",
        ) from error
    if found := find(client, name):
        return found
    raise RigError(f"the image {name} was pulled, but is not there", hint=f"try it by hand: docker pull {name}")


def repository_of(name: str) -> str:
    """The name without tag and digest; the colon of a registry's port is none of a tag."""
    name = name.partition("@")[0]
    head, colon, tail = name.rpartition(":")
    return head if colon and "/" not in tail else name


def _pull(client: Any, name: str) -> Iterable[dict[str, Any]]:
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(name)
    events: Iterable[dict[str, Any]] = client.api.pull(repository, tag=tag or "latest", stream=True, decode=True)
    return events


def progress(events: Iterable[dict[str, Any]], clock: Callable[[], float] = time.monotonic) -> Iterator[str]:
    """What the engine reports of a pull, in one line at most once a second; its error is raised as RuntimeError."""
    layers: dict[str, tuple[int, int]] = {}
    told = clock()
    for event in events:
        if "error" in event:
            raise RuntimeError(event["error"])
        detail = event.get("progressDetail") or {}
        if event.get("status") == "Downloading" and detail.get("total"):
            layers[event["id"]] = (detail.get("current", 0), detail["total"])
        if event.get("status") == "Download complete" and event.get("id") in layers:
            layers[event["id"]] = (layers[event["id"]][1],) * 2
        now = clock()
        if layers and now - told >= _EVERY_S:
            told = now
            done, total = (sum(numbers) / 1e9 for numbers in zip(*layers.values(), strict=True))
            yield f"{done:.2f} of {total:.2f} GB"
