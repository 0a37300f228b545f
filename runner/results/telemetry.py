"""What telemetry says together: energy per inference, who used the machine; from summaries alone, so at any time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from runner.results.records import SeriesSummary, Trial

COUNTER_REFRESH_S = 0.1
"""NVML's energy counter stands still for up to so long; at either end of the window."""
_GPU = re.compile(r"gpu(\d+)\.")

Series = Mapping[str, SeriesSummary]


@dataclass(frozen=True)
class Energy:
    """Energy over the window."""

    joules: float
    method: Literal["counter", "power"]
    """counter: difference of the energy counter · power: mean of the power readings times the window."""
    error: float | None
    """counter: largest relative error from its refresh; None where there is no such bound."""


def gpu_indices(series: Series) -> tuple[int, ...]:
    """GPUs with a series, ascending."""
    return tuple(sorted({int(found[1]) for name in series if (found := _GPU.match(name))}))


def gpu_energy(series: Series, index: int, window_s: float) -> Energy | None:
    """Energy of one GPU; None, never 0, where neither its counter nor its power can be had."""
    counter, power = series.get(f"gpu{index}.energy_j"), series.get(f"gpu{index}.power_w")
    if counter is not None and counter.delta is not None and window_s > 0:
        return Energy(counter.delta, "counter", 2 * COUNTER_REFRESH_S * counter.windows / window_s)
    if power is not None and power.mean is not None:
        return Energy(power.mean * window_s, "power", None)
    return None


def total_energy(trial: Trial) -> Energy | None:
    """Of all GPUs; None where that of one of them is not known: a partial sum would look like a saving."""
    if trial.summary is None:
        return None
    indices = gpu_indices(trial.telemetry)
    found = [gpu_energy(trial.telemetry, index, trial.summary.window_s) for index in indices]
    known = [energy for energy in found if energy is not None]
    if not known or len(known) < len(found):
        return None
    method: Literal["counter", "power"] = "counter" if all(e.method == "counter" for e in known) else "power"
    error = max((e.error for e in known if e.error is not None), default=None) if method == "counter" else None
    return Energy(sum(e.joules for e in known), method, error)


def per_inference_j(trial: Trial) -> float | None:
    """Energy of all GPUs per inference that completed in the window."""
    energy, summary = total_energy(trial), trial.summary
    rate = summary.requests_per_s.value if summary else 0.0
    inferences = summary.completions * summary.inferences_per_s.value / rate if summary and rate > 0 else 0.0
    return energy.joules / inferences if energy is not None and inferences > 0 else None


def pooled_telemetry(trials: Sequence[Trial]) -> tuple[dict[str, SeriesSummary], dict[str, str]]:
    """The telemetry of repeats as if their windows were one; a series that one of them lacks is absent."""
    weights = [trial.summary.window_s if trial.summary else 0.0 for trial in trials]
    names = dict.fromkeys(name for trial in trials for name in trial.telemetry)
    absent = {name: why for trial in reversed(trials) for name, why in trial.telemetry_absent.items()}
    series: dict[str, SeriesSummary] = {}
    for name in names:
        parts = [trial.telemetry[name] for trial in trials if name in trial.telemetry]
        if len(parts) == len(trials):
            series[name] = _together(parts, weights)
        else:
            absent.setdefault(name, f"only in {len(parts)} of {len(trials)} repeats")
    return series, absent


def _together(parts: Sequence[SeriesSummary], weights: Sequence[float]) -> SeriesSummary:
    total_s = sum(weights)
    deltas, wholes, means = ([getattr(part, key) for part in parts] for key in ("delta", "whole", "mean"))
    delta = None if None in deltas else sum(deltas)
    weighted = (
        None if None in means or not total_s else sum(m * w for m, w in zip(means, weights, strict=True)) / total_s
    )
    return replace(
        parts[0],
        samples=sum(part.samples for part in parts),
        windows=sum(part.windows for part in parts),
        mean=weighted,
        min=min((part.min for part in parts if part.min is not None), default=None),
        max=max((part.max for part in parts if part.max is not None), default=None),
        last=parts[-1].last,
        delta=delta,
        per_s=None if delta is None or not total_s else delta / total_s,
        whole=None if None in wholes else sum(wholes),
    )


def cpu_share(series: Series, name: str) -> float | None:
    """A CPU time of the host as a share of what the usable CPUs had."""
    part, total = _delta(series, f"host.{name}"), _delta(series, "host.cpu_total_s")
    return part / total if part is not None and total else None


def foreign_cpu_share(series: Series) -> float | None:
    """Part of the usable CPUs that neither the client nor the server used; None where the server's is not known.

    May be a little below zero: the kernel books time on a CPU by ticks and that of a process exactly.
    """
    shares = [cpu_share(series, name) for name in ("cpu_busy_s", "client_cpu_s", "server_cpu_s")]
    busy, client, server = shares
    return None if busy is None or client is None or server is None else busy - client - server


def summed(series: Series, name: str, statistic: str) -> float | None:
    """A statistic of `gpuN.name` summed over the GPUs."""
    return _over_gpus(series, name, statistic, sum)


def largest(series: Series, name: str, statistic: str) -> float | None:
    """The largest over the GPUs."""
    return _over_gpus(series, name, statistic, max)


def average(series: Series, name: str, statistic: str) -> float | None:
    """The mean over the GPUs."""
    return _over_gpus(series, name, statistic, lambda values: sum(values) / len(values))


def _over_gpus(series: Series, name: str, statistic: str, combine: Callable[[list[float]], float]) -> float | None:
    found = [series.get(f"gpu{index}.{name}") for index in gpu_indices(series)]
    values = [getattr(summary, statistic) for summary in found if summary is not None]
    known = [float(value) for value in values if value is not None]
    if not known or len(known) < len(found):
        return None
    return combine(known)


def _delta(series: Series, name: str) -> float | None:
    found = series.get(name)
    return None if found is None else found.delta
