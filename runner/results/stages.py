"""What the server says about where the time went: differences of its counters, and shares of its stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from runner.results.executions import mean_batch
from runner.results.records import BatchStatistics, ModelStatistics

_COUNTERS = tuple(f.name for f in fields(ModelStatistics) if f.name not in ("model", "version", "batches"))
_BATCH_COUNTERS = tuple(f.name for f in fields(BatchStatistics) if f.name != "size")


@dataclass(frozen=True)
class ModelStages:
    """One model's part in a trial; milliseconds are means per successful request, as a request sees them."""

    model: str
    version: str
    requests: int
    executions: int
    mean_batch: float | None
    """Inferences per execution; None when nothing was executed."""
    queue_ms: float
    compute_input_ms: float
    compute_infer_ms: float
    compute_output_ms: float
    compute_share: float | None
    """Of the compute time of all steps: compute_input + infer + output of this one over their sum."""
    queue_share: float | None
    """Of the queue time of all steps."""

    @property
    def compute_ms(self) -> float:
        return self.compute_input_ms + self.compute_infer_ms + self.compute_output_ms


@dataclass(frozen=True)
class StageTable:
    """The stages of one trial; `steps` is the called model itself where it has no composing models."""

    called: str
    steps: tuple[ModelStages, ...]
    server_ms: float
    """Mean time inside the server of a successful request."""
    queue_ms: float
    """Summed over the steps."""
    compute_ms: float
    overhead_ms: float
    """Server time outside the steps' queues and computation: scheduling and copies. Negative when steps overlap."""


def difference(before: Sequence[ModelStatistics], after: Sequence[ModelStatistics]) -> tuple[ModelStatistics, ...]:
    """Counters of `after` minus those of the same model and version in `before`, in the order of `after`."""
    earlier = {(m.model, m.version): m for m in before}
    return tuple(_minus(late, earlier.get((late.model, late.version))) for late in after)


def _minus(late: ModelStatistics, early: ModelStatistics | None) -> ModelStatistics:
    if early is None:
        return late
    changed = {name: getattr(late, name) - getattr(early, name) for name in _COUNTERS}
    return replace(late, **changed, batches=_batches_between(early.batches, late.batches))


def _batches_between(early: Sequence[BatchStatistics], late: Sequence[BatchStatistics]) -> tuple[BatchStatistics, ...]:
    """Batch sizes that were executed in between."""
    earlier = {batch.size: batch for batch in early}

    def minus(batch: BatchStatistics) -> BatchStatistics:
        before = earlier.get(batch.size)
        if before is None:
            return batch
        return replace(batch, **{name: getattr(batch, name) - getattr(before, name) for name in _BATCH_COUNTERS})

    return tuple(batch for batch in map(minus, late) if batch.count)


def went_backwards(delta: Sequence[ModelStatistics]) -> tuple[str, ...]:
    """Models with a counter below its earlier value: the server or the model was restarted between the two readings."""
    return tuple(m.model for m in delta if any(getattr(m, name) < 0 for name in _COUNTERS))


def compute_ns(model: ModelStatistics) -> int:
    """Time in input, inference and output of a model, summed over its requests."""
    return model.compute_input_ns + model.compute_infer_ns + model.compute_output_ns


def compute_shares(server: Sequence[ModelStatistics]) -> dict[str, float]:
    """Share of each step in the computation of the server, for example that of a DALI preprocess model; sums to 1."""
    steps = _steps(server)
    total = sum(compute_ns(m) for m in steps)
    return {m.model: compute_ns(m) / total for m in steps} if total > 0 else {}


def stage_table(server: Sequence[ModelStatistics]) -> StageTable | None:
    """Stages of a trial from its statistics (called model first); None without any successful request."""
    if not server or server[0].success_count <= 0:
        return None
    steps = _steps(server)
    compute_total, queue_total = sum(compute_ns(m) for m in steps), sum(m.queue_ns for m in steps)
    stages = tuple(_stages(m, compute_total, queue_total) for m in steps)
    server_ms = server[0].success_ns / server[0].success_count / 1e6
    # Per request of the called model, so that a step that runs only for some requests, or twice, still adds up.
    per_request = 1e6 * server[0].success_count
    queue_ms, compute_ms = queue_total / per_request, compute_total / per_request
    return StageTable(server[0].model, stages, server_ms, queue_ms, compute_ms, server_ms - queue_ms - compute_ms)


def _steps(server: Sequence[ModelStatistics]) -> Sequence[ModelStatistics]:
    """Composing models where there are any: an ensemble's own counters repeat or omit theirs."""
    return server[1:] if len(server) > 1 else server


def _stages(model: ModelStatistics, compute_total: int, queue_total: int) -> ModelStages:
    requests = model.success_count
    per_request = 1e6 * requests if requests > 0 else 0.0

    def mean_ms(total_ns: int) -> float:
        return total_ns / per_request if per_request else 0.0

    return ModelStages(
        model=model.model,
        version=model.version,
        requests=requests,
        executions=model.execution_count,
        mean_batch=mean_batch(model),
        queue_ms=mean_ms(model.queue_ns),
        compute_input_ms=mean_ms(model.compute_input_ns),
        compute_infer_ms=mean_ms(model.compute_infer_ns),
        compute_output_ms=mean_ms(model.compute_output_ns),
        compute_share=compute_ns(model) / compute_total if compute_total > 0 else None,
        queue_share=model.queue_ns / queue_total if queue_total > 0 else None,
    )
