"""The winner as a file: a small override that `scenario run FILE --values` takes."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.results.files import make_folder, write_atomic
from runner.scenario.domains import value_key
from runner.scenario.loaded import dump_yaml

if TYPE_CHECKING:
    from runner.scenario.loading import LoadedScenario
    from runner.tune.base import Point

_WIDTH = 118


def changed_values(point: Point, current: Point) -> dict[str, Any]:
    """The addresses at which a point is not the file itself."""
    same = {address for address, value in current.items() if value_key(value) == value_key(point.get(address))}
    return {address: value for address, value in point.items() if address not in same}


def write_override(loaded: LoadedScenario, changes: Mapping[str, Any], heading: str, path: Path) -> tuple[str, ...]:
    """Write the file; returns the `--set` options that it needs beside it, where a file cannot say all of it.

    Maps merge, so a file cannot take keys away: a choice between maps may need that.
    """
    whole = loaded.at(changes)
    missing = [address for address in changes if not _is_said(loaded, {address: changes[address]})]
    tree = loaded.override_of({address: value for address, value in changes.items() if address not in missing})
    options = tuple(f"--set '{address}={json.dumps(changes[address])}'" for address in missing)
    assert missing or loaded.with_values(tree) == whole, "the override file does not give the point"
    make_folder(path.parent)
    write_atomic(path, (_comment(loaded, heading, path, options) + dump_yaml(tree)).encode())
    return options


def _is_said(loaded: LoadedScenario, change: Mapping[str, Any]) -> bool:
    return loaded.with_values(loaded.override_of(change)) == loaded.at(change)


def _comment(loaded: LoadedScenario, heading: str, path: Path, options: tuple[str, ...]) -> str:
    use = " ".join((f"scenario run {loaded.source.name} --values {path.name}", *options))
    lines = [*(line for part in heading.splitlines() for line in textwrap.wrap(part, _WIDTH)), f"Use it: {use}"]
    return "".join(f"# {line}\n" for line in lines)
