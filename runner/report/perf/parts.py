"""Where the latency of a level went, in the terms of perf_analyzer; microseconds per request."""

from __future__ import annotations

from dataclasses import dataclass

from runner.results.breakdown import breakdown
from runner.results.metrics import STAGES, composing, per_request_us
from runner.results.records import ModelStatistics, Summary, Trial


@dataclass(frozen=True)
class ClientParts:
    """The client's share of the latency, and its wait."""

    send_us: float
    """First to last byte of the request."""
    wait_us: float
    receive_us: float
    """First word of the answer to its end; 0 of a stream, which is read while the model still answers."""

    @property
    def total_us(self) -> float:
        return self.send_us + self.wait_us + self.receive_us


def client_parts(summary: Summary) -> ClientParts | None:
    """Of the measured window; None where the engine does not split latencies."""
    split = summary.time_split
    if split is None:
        return None
    if summary.stream is not None:
        return ClientParts(split.write_ms * 1e3, (split.wait_ms + split.read_ms) * 1e3, 0.0)
    return ClientParts(split.write_ms * 1e3, split.wait_ms * 1e3, split.read_ms * 1e3)


def network_us(trial: Trial) -> float | None:
    """Between client and server, and inside the server outside queues, caches and computation; at least 0.

    Of the whole load, as the server's columns are, so that they are of the same requests.
    """
    table = breakdown(trial)
    if table is None:
        return None
    unstaged_ms = sum(part.ms for part in table.parts if part.where == "server" and not part.model)
    return max(0.0, 1e3 * (table.sum_ms("network") + unstaged_ms + table.residual_ms))


def stages_us(trial: Trial) -> dict[str, float]:
    """Stage -> time, summed over the composing models, of a successful request; empty without statistics."""
    means = {name: per_request_us(trial, sum(of(model) for model in composing(trial))) for name, of in STAGES}
    return {name: mean for name, mean in means.items() if mean is not None}


def caches_us(trial: Trial) -> tuple[float, float] | None:
    """Hits and misses of the response caches, spread over all successful requests; None without statistics."""
    models = {model.model: model for model in (*trial.server[:1], *composing(trial))}.values()
    hit = per_request_us(trial, sum(model.cache_hit_ns for model in models))
    miss = per_request_us(trial, sum(model.cache_miss_ns for model in models))
    return None if hit is None or miss is None else (hit, miss)


def has_cache(trials: tuple[Trial, ...]) -> bool:
    """Whether some model was looked up in a response cache."""
    models = [model for trial in trials for model in (*trial.server, *trial.bls)]
    return any(model.cache_hit_count or model.cache_miss_count for model in models)


def is_decoupled(trials: tuple[Trial, ...]) -> bool:
    """Whether some request had another number of answers than one."""
    streams = (trial.summary.stream for trial in trials if trial.summary)
    return any(stream is not None and stream.per_request != 1 for stream in streams)


def composing_models(trial: Trial) -> tuple[ModelStatistics, ...]:
    """The models behind the called one: steps of an ensemble, and what code calls as far as the scenario names it."""
    return (*trial.server[1:], *trial.bls) if trial.server else ()


def own_us(model: ModelStatistics, total_ns: int) -> float:
    """A sum of server time per successful request of this very model; 0 without one."""
    return total_ns / model.success_count / 1e3 if model.success_count > 0 else 0.0
