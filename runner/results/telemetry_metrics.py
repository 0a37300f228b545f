"""The metrics that telemetry gives: of the machine, of the GPUs, and of series that the scenario names."""

from __future__ import annotations

from collections.abc import Callable

from runner.results.metric import Direction, Metric, Value
from runner.results.records import Trial
from runner.results.telemetry import (
    average,
    cpu_share,
    foreign_cpu_share,
    gpu_energy,
    largest,
    per_inference_j,
    summed,
    total_energy,
)

_OF_CPUS = "of the CPU time of the CPUs that the client may use, in the window"


def _host(key: str, part: str, formula: str, direction: Direction = None) -> Metric:
    return Metric(key, "ratio", f"{formula} {_OF_CPUS}", direction, lambda trial: cpu_share(trial.telemetry, part))


HOST: tuple[Metric, ...] = (
    _host("host_cpu_busy", "cpu_busy_s", "share in user and system mode, interrupts aside,"),
    _host("host_cpu_client", "client_cpu_s", "share of the client and its load engine"),
    _host("host_cpu_server", "server_cpu_s", "share of the server and everything below it"),
    Metric(
        "host_cpu_foreign",
        "ratio",
        "host_cpu_busy - host_cpu_client - host_cpu_server: everybody else",
        "min",
        lambda trial: foreign_cpu_share(trial.telemetry),
    ),
    _host("host_cpu_steal", "cpu_steal_s", "share that the hypervisor gave to others", "min"),
    Metric(
        "host_memory_used_max_bytes",
        "bytes",
        "most memory in use on the machine in the window",
        "min",
        lambda trial: _statistic(trial, "host.memory_used_bytes", "max"),
    ),
)

GPU: tuple[Metric, ...] = (
    Metric(
        "gpu_energy_j",
        "J",
        "energy of all sampled GPUs over the window, idle power included",
        "min",
        lambda trial: energy.joules if (energy := total_energy(trial)) else None,
    ),
    Metric(
        "gpu_energy_per_inference_j",
        "J",
        "gpu_energy_j / (completions * inferences_per_s / requests_per_s)",
        "min",
        per_inference_j,
    ),
    Metric(
        "gpu_energy_method",
        "",
        "counter: difference of the energy counters · power: mean power * window_s, where there is no counter",
        None,
        lambda trial: energy.method if (energy := total_energy(trial)) else None,
    ),
    Metric(
        "gpu_energy_error",
        "ratio",
        "largest error from counters that stand still for 0.1 s: 0.2 s / window_s, of repeats 0.2 s for each; empty "
        "for the method power",
        "min",
        lambda trial: energy.error if (energy := total_energy(trial)) else None,
    ),
    Metric("gpu_power_w", "W", "mean power, summed over the GPUs", "min", lambda t: _sum(t, "power_w", "mean")),
    Metric(
        "gpu_utilization",
        "ratio",
        "mean share of time in which some kernel ran, mean over the GPUs",
        None,
        lambda trial: average(trial.telemetry, "utilization", "mean"),
    ),
    Metric(
        "gpu_memory_used_max_bytes",
        "bytes",
        "most memory in use, summed over the GPUs",
        "min",
        lambda t: _sum(t, "memory_used_bytes", "max"),
    ),
    Metric(
        "gpu_memory_total_bytes",
        "bytes",
        "memory of the GPUs together",
        None,
        lambda t: _sum(t, "memory_total_bytes", "max"),
    ),
    Metric(
        "gpu_temperature_max_c",
        "°C",
        "hottest moment of the hottest GPU",
        "min",
        lambda trial: largest(trial.telemetry, "temperature_c", "max"),
    ),
)
"""Of all GPUs together; `gpu_metrics` makes those of one."""


def _sum(trial: Trial, name: str, statistic: str) -> float | None:
    return summed(trial.telemetry, name, statistic)


def _statistic(trial: Trial, series: str, statistic: str) -> float | None:
    found = trial.telemetry.get(series)
    return None if found is None else getattr(found, statistic)


_OF_ONE_GPU: tuple[tuple[str, str, str, str, str], ...] = (
    ("power_w", "W", "power_w", "mean", "mean power"),
    ("utilization", "ratio", "utilization", "mean", "mean share of time in which some kernel ran"),
    ("memory_used_max_bytes", "bytes", "memory_used_bytes", "max", "most memory in use"),
    ("sm_clock_mhz", "MHz", "sm_clock_mhz", "mean", "mean clock of the multiprocessors"),
    ("memory_clock_mhz", "MHz", "memory_clock_mhz", "mean", "mean clock of the memory"),
    ("temperature_max_c", "°C", "temperature_c", "max", "highest temperature"),
    (
        "decoder_utilization",
        "ratio",
        "decoder_utilization",
        "mean",
        "mean share of time in which the video decoder ran",
    ),
    ("jpeg_utilization", "ratio", "jpeg_utilization", "mean", "mean share of time in which the JPEG decoder ran"),
)


def gpu_metrics(index: int | str) -> tuple[Metric, ...]:
    """The metrics of one GPU."""

    def energy(trial: Trial) -> float | None:
        found = gpu_energy(trial.telemetry, int(index), trial.summary.window_s) if trial.summary else None
        return found.joules if found else None

    return (
        Metric(f"gpu{index}_energy_j", "J", "energy over the window", "min", energy),
        *(
            Metric(f"gpu{index}_{key}", unit, formula, None, _reader(f"gpu{index}.{series}", statistic))
            for key, unit, series, statistic, formula in _OF_ONE_GPU
        ),
    )


def _reader(series: str, statistic: str) -> Callable[[Trial], Value]:
    return lambda trial: _statistic(trial, series, statistic)


def series_metrics(series: str, kind: str) -> tuple[Metric, ...]:
    """Columns of a series that the scenario asks for by name."""
    statistics = (
        {"delta": "growth over the window, interpolated at its edges", "per_s": "the same per second"}
        if kind == "counter"
        else {"mean": "mean over the window", "max": "largest value in the window"}
    )
    return tuple(
        Metric(f"{series}.{name}", "", formula, None, _reader(series, name)) for name, formula in statistics.items()
    )
