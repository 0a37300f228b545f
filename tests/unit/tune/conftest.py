"""Spaces to search, from scenario files as users write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runner.scenario.loading import load_scenario
from runner.tune.checks import check_goals
from runner.tune.objectives import Goals
from runner.tune.space import Space

HEAD = """scenario: 1
name: t
workload: {model: m, batch: 2}
load: {concurrency: 4}
server: {flags: {mode: x, threads: 3}}
"""
SMALL = """tune:
  space:
    load.concurrency: {pow2: [4, 16]}
    server.flags.mode: [x, y, z]
    server.flags.depth: {int: [1, 3], when: "server.flags.mode == 'z'"}
  objectives: {throughput: max, latency.p99: min}
"""

SpaceOf = Callable[[str], Space]


@pytest.fixture(scope="session")
def space_of(tmp_path_factory) -> SpaceOf:
    """A block `tune` -> its space."""

    def build(tune: str, head: str = HEAD) -> Space:
        path: Path = tmp_path_factory.mktemp("scenario") / "s.yaml"
        path.write_text(head + tune, encoding="utf-8")
        return Space.of(load_scenario(path, env={}, further=(check_goals,)))

    return build


@pytest.fixture(scope="session")
def small_space(space_of: SpaceOf) -> Space:
    """Fifteen points, the file's own among them."""
    return space_of(SMALL)


@pytest.fixture(scope="session")
def goals(small_space: Space) -> Goals:
    """Throughput up, p99 down."""
    return Goals.of(small_space.loaded.scenario.tune)
