"""Objectives and constraints, read from measurements."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.errors import RigError, UsageError
from runner.results.metric_names import metric_named, metric_names
from runner.results.records import Estimate, SeriesSummary
from runner.scenario.schema_tune import Tune
from runner.tune.constraints import Constraint
from runner.tune.objectives import Goals, gains, weighted
from tests.unit.measure.compared_runs import measured

SPACE = {"load.concurrency": (1, 2)}
GPU = SeriesSummary("gauge", "bytes", 9, mean=2e9, min=2e9, max=3e9)
TRIAL = measured(100.0)
"""100 inferences/s, mean 40 ms, p95 56 ms, p99 72 ms, each within 2 %."""


def missed(text: str, trial=TRIAL) -> float:
    return Constraint.of(text).check(trial).missed


@pytest.mark.parametrize(
    ("text", "by"),
    [
        ("latency.p99 <= 80ms", 0),
        ("latency.p99 <= 60ms", 0.2),
        ("latency.p99 <= 0.06s", 0.2),
        ("60ms >= latency.p99", 1 / 6),
        ("latency.mean < 50ms and latency.p99 <= 60ms", 0.2),
        ("latency.mean < 20ms or latency.p99 <= 60ms", 0.2),
        ("not latency.p99 > 60ms", 0.2),
        ("not (latency.mean < 50ms and latency.p99 < 80ms)", 0.1),
        ("throughput >= 125", 0.2),
        ("throughput >= 125/s", 0.2),
        ("throughput * 2 >= 150/s", 0),
        ("errors == 0", 0),
        ("error_rate <= 1%", 0),
        ("error_rate <= 0.01", 0),
    ],
)
def test_constraints_say_by_how_much_they_are_missed(text: str, by: float) -> None:
    assert missed(text) == pytest.approx(by)


def test_a_strict_limit_that_is_met_exactly_is_missed() -> None:
    assert 0 < missed("throughput < 100") < 1e-6
    assert missed("throughput <= 100") == 0


def test_an_interval_over_the_limit_is_uncertain() -> None:
    check = Constraint.of("latency.p99 <= 71.5ms").check(TRIAL)
    assert (check.uncertain, check.least) == (True, 0)
    assert check.missed == pytest.approx(0.5 / 71.5)
    assert not Constraint.of("latency.p99 <= 80ms").check(TRIAL).uncertain
    assert Constraint.of("latency.p99 <= 60ms").check(TRIAL).least == pytest.approx(72 * 0.98 / 60 - 1)


def test_a_percentile_without_an_upper_end_is_never_certain_to_hold() -> None:
    percentiles = tuple(
        type(p)(p.q, Estimate(p.estimate.value, p.estimate.low, None), p.n_eff) for p in TRIAL.summary.percentiles
    )
    open_ended = replace(TRIAL, summary=replace(TRIAL.summary, percentiles=percentiles))
    check = Constraint.of("latency.p99 <= 90ms").check(open_ended)
    assert (check.missed, check.uncertain) == (0, True)


def test_what_this_rig_does_not_have_is_an_error_that_names_the_telemetry() -> None:
    absent = measured(100.0, telemetry_absent={"gpu0.power_w": "no NVIDIA driver"})
    with pytest.raises(
        RigError, match=r"the constraint `gpu.power.mean <= 300` needs .* gpu0.power_w: no NVIDIA"
    ) as got:
        missed("gpu.power.mean <= 300", absent)
    assert "measure.telemetry.sources" in str(got.value.hint)
    present = measured(100.0, telemetry={"gpu0.memory_used_bytes": GPU})
    assert missed("gpu.memory.peak <= 2GB", present) == pytest.approx(0.5)


def test_memory_is_bounded_by_what_the_gpus_have() -> None:
    of_both = {f"gpu{n}.{name}": replace(GPU, max=most) for n in (0, 1) for name, most in (
        ("memory_used_bytes", 60e9), ("memory_total_bytes", 80e9))}  # fmt: skip
    present = measured(100.0, telemetry=of_both)
    assert missed("gpu.memory.peak <= 0.9 * gpu.memory.total", present) == 0
    assert missed("gpu.memory.peak <= 0.5 * gpu.memory.total", present) == pytest.approx(0.5)


def test_accuracy_is_the_worst_of_the_labels() -> None:
    labelled = measured(100.0, labels={"engine.top1_agreement": "0.97", "other.top1_agreement": "0.99"})
    assert missed("accuracy.top1_agreement >= 99%", labelled) == pytest.approx(0.02 / 0.99)
    with pytest.raises(RigError, match="accuracy_top1_agreement"):
        missed("accuracy.top1_agreement >= 99%")


@pytest.mark.parametrize("name", [*metric_names(), "latency.p99.9", "gpu1_power_w", "server_mean_batch.preprocess"])
def test_every_name_that_is_suggested_is_a_metric(name: str) -> None:
    assert metric_named(name) is not None


@pytest.mark.parametrize("name", ["latency.p100", "throughputs", "gpu1_colour", "server_mean_batch", ""])
def test_other_names_are_none(name: str) -> None:
    assert metric_named(name) is None


# --- observations -------------------------------------------------------------------------------------------------


def test_a_measurement_becomes_an_observation() -> None:
    tune = Tune(
        space=SPACE, objectives={"throughput": "max", "latency.p99": "min"}, constraints=("latency.mean <= 20ms",)
    )
    goals = Goals.of(tune)
    seen = goals.observe(3, {"load.concurrency": 1}, TRIAL)
    assert (seen.number, seen.outcome, seen.values) == (3, "measured", (100.0, pytest.approx(72)))
    assert seen.violations == {"latency.mean <= 20ms": pytest.approx(1.0)}
    assert not seen.acceptable


def test_a_trial_that_may_not_be_used_has_no_values() -> None:
    goals = Goals.of(Tune(space=SPACE))
    invalid = goals.observe(0, {}, measured(100.0, state="invalid"))
    assert (invalid.outcome, invalid.values) == ("failed", None)
    assert invalid.reason.startswith("invalid")
    failed = goals.observe(0, {}, measured(100.0, state="failed", failure="no server", summary=None))
    assert (failed.outcome, failed.reason) == ("failed", "no server")
    probe = goals.observe(0, {}, measured(100.0, state="invalid"), "pruned", "a clear loser")
    assert (probe.outcome, probe.values, probe.reason) == ("pruned", (100.0,), "a clear loser")


def test_a_study_that_nobody_checked_says_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="the objective `speed` is no metric"):
        Goals.of(Tune(space=SPACE, objectives={"speed": "max"}))
    with pytest.raises(UsageError, match="the constraint `latenci < 5ms`: unknown address `latenci`"):
        Goals.of(Tune(space=SPACE, constraints=("latenci < 5ms",)))


def test_gains_are_larger_for_the_better() -> None:
    tune = Tune(space=SPACE, objectives={"throughput": {"direction": "max", "weight": 3}, "latency.p99": "min"})
    objectives = Goals.of(tune).objectives
    found = gains((200, 20), (100, 10), objectives)
    assert found == (pytest.approx(0.693, abs=1e-3), pytest.approx(-0.693, abs=1e-3))
    assert weighted(found, objectives) == pytest.approx(0.3466, abs=1e-3)
    assert gains((0, 0), (0, 10), objectives) == (0.0, 1.0)
