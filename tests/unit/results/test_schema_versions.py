"""What older versions wrote with the same schema version is still read.

`recorded/schema_1` is a run with no more keys than schema 1 asks for, `recorded/schema_1_keys.json` every key of its
records with those that are required. Both stay as they are for as long as the version does.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

from runner.report import console_table
from runner.report.write import report_files
from runner.results.manifest import Manifest
from runner.results.run import EVENTS, load_run

RECORDED = Path(__file__).parent / "recorded"


def test_a_run_with_the_fewest_keys_is_read_and_reported() -> None:
    run = load_run(RECORDED / "schema_1")
    assert [point.state for point in run.points()] == ["ok", "invalid", "failed", "skipped"]
    assert [point.reason for point in run.points()][2:] == ["the server died", "too large"]
    reports = dict(report_files(run, ("csv", "json")))
    assert {"points.csv", "points.json", "stages.csv", "combined.csv"} <= reports.keys()
    assert "tiny" in console_table(run)


def records(hint: Any) -> Iterator[type]:
    """The record classes in a type."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        yield hint
    for part in get_args(hint):
        yield from records(part)


def reachable() -> dict[str, type]:
    """Name -> every record that a journal or a manifest can hold."""
    found: dict[str, type] = {}
    waiting: list[type] = [Manifest, *EVENTS.values()]
    while waiting:
        cls = waiting.pop()
        if cls.__name__ not in found:
            found[cls.__name__] = cls
            waiting += [part for hint in get_type_hints(cls).values() for part in records(hint)]
    return found


def required(cls: Any) -> set[str]:
    fields = dataclasses.fields(cls)
    return {f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING}


def test_keys_are_only_ever_added_and_with_a_default() -> None:
    written = json.loads((RECORDED / "schema_1_keys.json").read_text())
    now = reachable()
    for name, keys in written.items():
        known = {f.name for f in dataclasses.fields(now[name])}  # type: ignore[arg-type]
        assert set(keys["required"]) | set(keys["optional"]) <= known, f"{name} would refuse what was written"
        assert required(now[name]) <= set(keys["required"]), f"{name} would miss keys in what was written"
