"""Triton's statistics and model configuration as JSON, whichever protocol they came by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runner.results.records import BatchStatistics, ModelFacts, ModelStatistics
from runner.services.names import version_order

Document = Mapping[str, Any]
_STAGES = ("compute_input", "compute_infer", "compute_output")


def statistics_in(model: str, versions: Sequence[Document]) -> ModelStatistics:
    """`model_stats` of one model, all its versions together; 64-bit numbers may be text, and zeros may be missing."""

    def total(counter: str, part: str) -> int:
        return sum(_number(version.get("inference_stats", {}).get(counter, {}), part) for version in versions)

    return ModelStatistics(
        model=model,
        version=",".join(sorted((version.get("version", "") for version in versions), key=version_order)),
        success_count=total("success", "count"),
        failure_count=total("fail", "count"),
        inference_count=sum(_number(version, "inference_count") for version in versions),
        execution_count=sum(_number(version, "execution_count") for version in versions),
        queue_ns=total("queue", "ns"),
        compute_input_ns=total("compute_input", "ns"),
        compute_infer_ns=total("compute_infer", "ns"),
        compute_output_ns=total("compute_output", "ns"),
        success_ns=total("success", "ns"),
        cache_hit_count=total("cache_hit", "count"),
        cache_miss_count=total("cache_miss", "count"),
        cache_hit_ns=total("cache_hit", "ns"),
        cache_miss_ns=total("cache_miss", "ns"),
        batches=tuple(_batches(versions)),
    )


def _batches(versions: Sequence[Document]) -> Iterator[BatchStatistics]:
    rows = [row for version in versions for row in version.get("batch_stats", ())]
    for size in sorted({_number(row, "batch_size") for row in rows}):
        same = [row for row in rows if _number(row, "batch_size") == size]
        count = sum(_number(row.get("compute_infer", {}), "count") for row in same)
        yield BatchStatistics(size, count, *(sum(_number(row.get(s, {}), "ns") for row in same) for s in _STAGES))


def facts_in(model: str, config: Document) -> ModelFacts:
    """What a diagnosis needs of a ModelConfig that the server has completed by its own defaults."""
    groups = [group for group in config.get("instance_group", ()) if not group.get("passive")]
    batching = config.get("dynamic_batching")
    return ModelFacts(
        model=model,
        backend=config.get("backend") or config.get("platform", ""),
        max_batch_size=_number(config, "max_batch_size"),
        instances=sum(map(_instances, groups)) or None,
        on_gpu=any(group.get("kind") == "KIND_GPU" for group in groups),
        max_queue_delay_us=None if batching is None else _number(batching, "max_queue_delay_microseconds"),
    )


def _instances(group: Document) -> int:
    """`count` is per GPU where a group names GPUs."""
    return _number(group, "count") * max(1, len(group.get("gpus", ())))


def _number(document: Document, key: str) -> int:
    return int(document.get(key, 0))
