"""What each execution of a model took, from `batch_stats`: there the time of a batch counts once, not per request."""

from __future__ import annotations

from collections.abc import Iterator

from runner.results.records import BatchStatistics, ModelFacts, ModelStatistics, Trial


def busy_ns(model: ModelStatistics) -> int | None:
    """Time in which some instance executed, summed over instances; None where the backend does not say."""
    return sum(map(_compute_ns, model.batches)) if model.batches else None


def _compute_ns(batch: BatchStatistics) -> int:
    return batch.compute_input_ns + batch.compute_infer_ns + batch.compute_output_ns


def execution_ms(model: ModelStatistics) -> float | None:
    """Mean time of one execution."""
    count, total_ns = sum(batch.count for batch in model.batches), busy_ns(model)
    return total_ns / count / 1e6 if count and total_ns is not None else None


def mean_batch(model: ModelStatistics) -> float | None:
    """Inferences per execution; None when nothing was executed."""
    return model.inference_count / model.execution_count if model.execution_count > 0 else None


def utilisation(trial: Trial, model: ModelStatistics) -> float | None:
    """Busy time of a model / (time of the load x its instances).

    Above 1 where a backend begins an execution before the one before it has ended.
    """
    facts, total_ns = facts_of(trial, model.model), busy_ns(model)
    if facts is None or not facts.instances or total_ns is None or trial.whole is None or not trial.whole.elapsed_s:
        return None
    return total_ns / 1e9 / (trial.whole.elapsed_s * facts.instances)


def facts_of(trial: Trial, model: str) -> ModelFacts | None:
    """How the server ran a model, if it was asked."""
    return next((facts for facts in trial.facts if facts.model == model), None)


def statistics_of(trial: Trial, model: str) -> ModelStatistics | None:
    """The model that does work itself, composing or called by code."""
    return next((statistics for statistics in working(trial) if statistics.model == model), None)


def working(trial: Trial) -> Iterator[ModelStatistics]:
    """The composing models, or the called model alone; then those that code calls."""
    yield from trial.server[1:] or trial.server
    yield from trial.bls
