"""Counters and loads of several measurements as those of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace

from runner.results.records import BatchStatistics, ModelStatistics, TimeSplit, WholeLoad

_COUNTERS = tuple(f.name for f in fields(ModelStatistics) if f.name not in ("model", "version", "batches"))
_BATCH_COUNTERS = tuple(f.name for f in fields(BatchStatistics) if f.name != "size")


def models_together(models: Iterable[ModelStatistics]) -> tuple[ModelStatistics, ...]:
    """Counters of each model and version, added up, in the order in which they come first."""
    found: dict[tuple[str, str], ModelStatistics] = {}
    for model in models:
        key = (model.model, model.version)
        found[key] = _added(found[key], model) if key in found else model
    return tuple(found.values())


def _added(one: ModelStatistics, other: ModelStatistics) -> ModelStatistics:
    sums = {name: getattr(one, name) + getattr(other, name) for name in _COUNTERS}
    return replace(one, **sums, batches=_batches((*one.batches, *other.batches)))


def _batches(batches: Sequence[BatchStatistics]) -> tuple[BatchStatistics, ...]:
    def of(size: int) -> BatchStatistics:
        same = [batch for batch in batches if batch.size == size]
        return BatchStatistics(size, *(sum(getattr(batch, name) for batch in same) for name in _BATCH_COUNTERS))

    return tuple(of(size) for size in sorted({batch.size for batch in batches}))


def loads_together(loads: Sequence[WholeLoad]) -> WholeLoad | None:
    """Means over all requests; None without a load."""
    if not loads:
        return None
    splits = [(load.time_split, load.completions) for load in loads]
    completions = sum(load.completions for load in loads)
    return WholeLoad(
        elapsed_s=sum(load.elapsed_s for load in loads),
        completions=completions,
        latency_mean_ms=sum(load.latency_mean_ms * load.completions for load in loads) / completions,
        time_split=splits_together(splits),
        bytes_sent=sum(load.bytes_sent for load in loads),
        bytes_received=sum(load.bytes_received for load in loads),
    )


def splits_together(splits: Sequence[tuple[TimeSplit, int]]) -> TimeSplit:
    """Means over all requests, from (means, number of requests)."""
    total = sum(weight for _, weight in splits)
    names = [field.name for field in fields(TimeSplit)]
    return TimeSplit(*(sum(getattr(split, name) * weight for split, weight in splits) / total for name in names))
