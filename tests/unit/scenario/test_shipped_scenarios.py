"""Every scenario that is shipped loads for every one of its targets, and makes cases."""

from __future__ import annotations

import pytest

from runner.builtin import builtin_scenarios
from runner.scenario.loading import declared_flags, load_scenario
from runner.scenario.matrix import expand


@pytest.mark.parametrize("name", list(builtin_scenarios()))
def test_it_loads_for_every_target(name):
    targets = list(load_scenario(name, env={}).targets) or [None]
    for target in targets:
        loaded = load_scenario(name, env={}, target=target)
        cases = expand(loaded)
        assert any(case.skipped is None for case in cases)
        assert loaded.scenario.description
        assert set(declared_flags(name)) == set(loaded.flags())
