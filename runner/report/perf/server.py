"""The server's half of a level's block: counts and mean times by its own statistics, per model."""

from __future__ import annotations

from collections.abc import Iterator

from runner.report.perf.parts import composing_models, own_us, stages_us
from runner.results.metrics import STAGES
from runner.results.records import ModelStatistics, Trial
from runner.results.stages import compute_ns


def server_lines(trial: Trial, cache: bool) -> Iterator[str]:
    """Of the called model, then of each model behind it, in the order of the pipeline."""
    if not trial.server:
        return
    yield "  Server: "
    called, behind = trial.server[0], composing_models(trial)
    ensemble = len(trial.server) > 1
    yield from _model(called, "    ", cache, _ensemble_parts(trial) if ensemble and not cache else None)
    if behind:
        yield ""
        yield "  Composing models: "
    for model in behind:
        yield f"  {model.model}, version: {model.version}"
        yield from _model(model, "      ", cache)
        yield ""


def _model(model: ModelStatistics, indent: str, cache: bool, parts: str | None = None) -> Iterator[str]:
    if model.success_count <= 0:
        yield f"{indent}Request count: 0"
        return
    yield f"{indent}Inference count: {model.inference_count}"
    yield f"{indent}Execution count: {model.execution_count}"
    if cache:
        yield f"{indent}Cache hit count: {model.cache_hit_count}"
        yield f"{indent}Cache miss count: {model.cache_miss_count}"
    yield f"{indent}Successful request count: {model.success_count}"
    total = f"{own_us(model, model.success_ns):.0f}"
    yield f"{indent}Avg request latency: {total} usec ({parts or (_cached if cache else _parts)(model)})"
    if cache:
        yield from _cache_lines(model, indent)


def _parts(model: ModelStatistics) -> str:
    """Means per successful request; what they leave is the overhead."""
    named = [(name.replace("_", " "), own_us(model, of(model))) for name, of in STAGES]
    return _sum(own_us(model, model.success_ns), named)


def _cached(model: ModelStatistics) -> str:
    cache_ns = model.cache_hit_ns + model.cache_miss_ns + compute_ns(model)
    named = [("queue", own_us(model, model.queue_ns)), ("cache hit/miss", own_us(model, cache_ns))]
    return _sum(own_us(model, model.success_ns), named)


def _ensemble_parts(trial: Trial) -> str:
    """Sums over the steps: the counters of an ensemble itself leave out their queues."""
    stages = stages_us(trial)
    compute = sum(mean for name, mean in stages.items() if name != "queue")
    named = [("queue", stages.get("queue", 0.0)), ("compute", compute)]
    return _sum(own_us(trial.server[0], trial.server[0].success_ns), named)


def _sum(total_us: float, named: list[tuple[str, float]]) -> str:
    overhead = max(0.0, total_us - sum(mean for _, mean in named))
    return " + ".join(f"{name} {mean:.0f} usec" for name, mean in (("overhead", overhead), *named))


def _cache_lines(model: ModelStatistics, indent: str) -> Iterator[str]:
    """Mean times of a hit, and of a miss with the computation that it leads to."""
    hit_us = _each_us(model.cache_hit_ns, model.cache_hit_count)
    computed = model.success_count - model.cache_hit_count
    lookup_us = _each_us(model.cache_miss_ns, model.cache_miss_count)
    stages = [(name.replace("_", " "), _each_us(of(model), computed)) for name, of in STAGES if name != "queue"]
    named = [("cache lookup/insertion", lookup_us), *stages]
    parts = " + ".join(f"{name} {mean:.0f} usec" for name, mean in named)
    yield f"{indent}  Average Cache Hit Latency: {hit_us:.0f} usec"
    yield f"{indent}  Average Cache Miss Latency: {sum(mean for _, mean in named):.0f} usec ({parts})"


def _each_us(total_ns: int, count: int) -> float:
    return total_ns / count / 1e3 if count > 0 else 0.0
