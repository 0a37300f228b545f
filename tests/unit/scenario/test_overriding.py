"""The override file of a point: as small as can be, and laid over the file it gives that point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.scenario.loaded import LoadedScenario, dump_yaml
from runner.scenario.loading import load_scenario

FILE = """scenario: 1
name: x
vars: {size: {type: int, default: 4}}
repository:
  models:
    m:
      from: .
      files: {1/model.plan: x.yaml}
      config: {max_batch_size: "${vars.size}", instance_group: [{kind: KIND_CPU, count: 1}, {kind: KIND_CPU, count: 3}]}
      args: {note: plain}
workload: {model: m, input: {A: {generate: random, shape: [2]}}}
load: {kind: concurrency, concurrency: 2}
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., LoadedScenario]:
    path = tmp_path / "x.yaml"
    path.write_text(FILE)
    return lambda **more: load_scenario(path, env={}, **more)


@pytest.mark.parametrize(
    ("values", "tree"),
    [
        ({"load.concurrency": 8}, {"load": {"concurrency": 8}}),
        ({"vars.size": 16}, {"vars": {"size": 16}}),
        (
            {"repository.models.m.config.instance_group.0.count": 2},
            {
                "repository": {
                    "models": {
                        "m": {"config": {"instance_group": [
                            {"kind": "KIND_CPU", "count": 2}, {"kind": "KIND_CPU", "count": 3},
                        ]}}
                    }
                }
            },
        ),
        (
            {
                "repository.models.m.config.instance_group.0.count": 2,
                "repository.models.m.config.instance_group.1.count": 5,
                "repository.models.m.config.max_batch_size": 32,
            },
            {
                "repository": {
                    "models": {
                        "m": {"config": {
                            "instance_group": [{"kind": "KIND_CPU", "count": 2}, {"kind": "KIND_CPU", "count": 5}],
                            "max_batch_size": 32,
                        }}
                    }
                }
            },
        ),
        (
            {"repository.models.m.config.dynamic_batching.max_queue_delay_microseconds": 100},
            {"repository": {"models": {"m": {"config": {"dynamic_batching": {"max_queue_delay_microseconds": 100}}}}}},
        ),
        (
            {"repository.models.m.args.a.b": "on"},
            {"repository": {"models": {"m": {"args": {"a.b": "on"}}}}},
        ),
        (
            {"repository.models.m.args.note": "${vars.size} is no reference"},
            {"repository": {"models": {"m": {"args": {"note": "$${vars.size} is no reference"}}}}},
        ),
    ],
)  # fmt: skip
def test_an_override_file_gives_the_point(
    values: dict[str, Any], tree: dict[str, Any], load: Callable[..., LoadedScenario], tmp_path: Path
) -> None:
    loaded = load()
    override = loaded.override_of(values)
    assert override == tree
    text = dump_yaml(override)
    assert yaml.safe_load(text) == tree
    path = tmp_path / "tuned.yaml"
    path.write_text(text)
    wanted = loaded.at(values)
    assert loaded.with_values(override) == wanted
    assert load(values=[path]).scenario == wanted


def test_a_map_that_only_loses_keys_cannot_be_said_in_a_file(load: Callable[..., LoadedScenario]) -> None:
    """Maps merge: the caller compares, and says what a file cannot."""
    loaded = load(set_=["repository.models.m.config.dynamic_batching={max_queue_delay_microseconds: 5}"])
    values = {"repository.models.m.config.dynamic_batching": {}}
    assert loaded.with_values(loaded.override_of(values)) != loaded.at(values)
