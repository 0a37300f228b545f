"""Pairs of runs in virtual time: a known effect, noise between starts, a rig that drifts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from runner.results.journal import SCHEMA
from runner.results.manifest import Manifest, ScenarioRecord
from runner.results.records import Estimate, Percentile, Trial
from runner.results.run import PlannedCase, Run
from tests.unit.results.sample_run import planned, summary, trial

CASE = planned(1, 4)


def measured(rate: float, block: int = 0, case: PlannedCase = CASE, tail: float = 1.0, **changes: Any) -> Trial:
    """A closed loop of four: latencies follow from the rate; `tail` stretches the p95 and p99."""
    mean_ms = 4000.0 / rate
    percentiles = [(50.0, 0.97), (95.0, 1.4 * tail), (99.0, 1.8 * tail)]
    numbers = summary(
        rate=rate,
        latency_mean_ms=Estimate(mean_ms, mean_ms * 0.995, mean_ms * 1.005),
        requests_per_s=Estimate(rate, rate * 0.995, rate * 1.005),
        inferences_per_s=Estimate(rate, rate * 0.995, rate * 1.005),
        percentiles=tuple(
            Percentile(q, Estimate(mean_ms * k, mean_ms * k * 0.98, mean_ms * k * 1.02), 900.0) for q, k in percentiles
        ),
    )
    return trial(case, **({"summary": numbers, "block": block, "repeat": block} | changes))


def run_of(
    trials: Sequence[Trial],
    group: str | None = None,
    name: str = "a",
    others: Sequence[tuple[PlannedCase, list[Trial]]] = (),
    **facts: Any,
) -> Run:
    """A run as it would be read from the disk; `others` has every case where it is not the usual one alone."""
    table = others or [(CASE, list(trials))]
    environment = {"cpu": {"model": "one"}, "digest": "0", "load_average": [0.1]}
    manifest = Manifest(
        SCHEMA, name, "0.1", "2025-11-21T04:00:00.000Z", ScenarioRecord("tiny", "0" * 64), environment=environment
    )
    return Run(
        path=Path("/nowhere") / name,
        manifest=replace(manifest, compare_group=group, **facts),
        cases=tuple(case for case, _ in table),
        trials={case.case_id: found[-1] for case, found in table if found},
        repeats={case.case_id: tuple(found) for case, found in table},
    )


def simulated_pair(
    rng: np.random.Generator, effect: float = 0.0, blocks: int = 6, cv: float = 0.01, drift: float = 0.0
) -> tuple[Run, Run]:
    """A is faster than B by `effect`; each start of a server has a speed of its own, the rig slows down by `drift`."""

    def side(gain: float, name: str) -> Run:
        speed = rng.normal(0, cv, blocks)
        tails = np.exp(rng.normal(0, 2 * cv, blocks))
        rig = -drift * np.arange(blocks) / max(blocks - 1, 1)
        rates = 100 * (1 + gain) * np.exp(speed + rig)
        trials = [measured(float(r), n, tail=float(t)) for n, (r, t) in enumerate(zip(rates, tails, strict=True))]
        return run_of(trials, "group", name)

    return side(effect, "a"), side(0.0, "b")
