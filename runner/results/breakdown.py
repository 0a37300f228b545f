"""Where the time of a request went: rows of two clocks that add up to the client's mean latency.

The client's clock says how long a request waited for its turn, how long it was written, waited for and read. The
server's clock says how long it was inside, and which model held it. What lies between is the network: the one row that
no clock measures, the wait less the time in the server. All of it is of the whole load, because the server's counters
are; `reported_ms` is the mean of the measured window beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from runner.results.records import ModelStatistics, Trial, WholeLoad

Where = Literal["client", "network", "server", "inside"]
"""inside: in a model that code of the pipeline calls; already in the time of its caller, so not added."""
MODEL_STAGES = ("queue", "cache", "compute_input", "compute_infer", "compute_output")
TOLERANCE = 0.05
"""Share of the latency up to which what is unexplained may be ignored."""


@dataclass(frozen=True)
class Part:
    """One row, as milliseconds per successful request."""

    where: Where
    model: str
    """Empty outside of models."""
    stage: str
    ms: float


@dataclass(frozen=True)
class Breakdown:
    """The rows of one point."""

    parts: tuple[Part, ...]
    total_ms: float
    """The client's mean latency over the whole load."""
    reported_ms: float
    """The client's mean latency in the measured window."""

    @property
    def residual_ms(self) -> float:
        """What no row explains; below 0 where the server claims more than the client waited."""
        return self.total_ms - self.sum_ms("client", "network", "server")

    @property
    def residual_share(self) -> float:
        return self.residual_ms / self.total_ms

    @property
    def measured_share(self) -> float:
        """Of the latency, in rows that a clock measured: all but the network."""
        return self.sum_ms("client", "server") / self.total_ms

    @property
    def window_share(self) -> float:
        """By how much the measured window was slower than the whole load; it is usually faster, without a warm-up."""
        return self.reported_ms / self.total_ms - 1

    def sum_ms(self, *where: Where, model: str | None = None, stages: tuple[str, ...] = ()) -> float:
        """Sum of the rows at these places; of one model or of some stages where given."""
        return sum(
            part.ms
            for part in self.parts
            if part.where in where and (model is None or part.model == model) and (not stages or part.stage in stages)
        )


def breakdown(trial: Trial) -> Breakdown | None:
    """The rows of a trial; None without a measured window, without successes or without the client's parts."""
    whole, summary = trial.whole, trial.summary
    if whole is None or summary is None or not trial.server or trial.server[0].success_count <= 0:
        return None
    if whole.latency_mean_ms <= 0:
        return None
    server = tuple(_server(trial))
    server_ms = sum(part.ms for part in server)
    parts = (*_client(whole, server_ms, summary.stream is not None), *server, *_inside(trial))
    return Breakdown(parts, whole.latency_mean_ms, summary.latency_mean_ms.value)


def _client(whole: WholeLoad, server_ms: float, is_stream: bool) -> Iterator[Part]:
    split = whole.time_split
    yield Part("client", "", "queue", split.queue_ms)
    yield Part("client", "", "write", split.write_ms)
    if not is_stream:
        yield Part("client", "", "read", split.read_ms)
    # A stream is read while the model still answers.
    outside_ms = split.wait_ms + (split.read_ms if is_stream else 0.0)
    # Below 0 it would be no network but clocks that disagree: the residual then says so.
    yield Part("network", "", "network", max(0.0, outside_ms - server_ms))


def _server(trial: Trial) -> Iterator[Part]:
    """Every stage of every model, and what the server took beside them; together its own end-to-end time."""
    called, steps = trial.server[0], trial.server[1:] or trial.server
    rows = [part for step in steps for part in _model("server", step, called.success_count)]
    if len(trial.server) > 1 and (cache_ns := _cache_ns(called)):
        rows.append(Part("server", called.model, "cache", cache_ns / called.success_count / 1e6))
    rest_ms = called.success_ns / called.success_count / 1e6 - sum(part.ms for part in rows)
    yield from rows
    # Steps that run beside each other add up to more than the time they took.
    yield Part("server", "", "overlap" if rest_ms < 0 else "scheduling", rest_ms)


def _inside(trial: Trial) -> Iterator[Part]:
    for model in trial.bls:
        yield from _model("inside", model, trial.server[0].success_count)


def _model(where: Where, model: ModelStatistics, requests: int) -> Iterator[Part]:
    """Per successful request of the called model, so that a model that runs twice for each counts twice."""
    stages_ns = (
        model.queue_ns,
        _cache_ns(model),
        model.compute_input_ns,
        model.compute_infer_ns,
        model.compute_output_ns,
    )
    for stage, total_ns in zip(MODEL_STAGES, stages_ns, strict=True):
        if total_ns or stage != "cache":
            yield Part(where, model.model, stage, total_ns / requests / 1e6)


def _cache_ns(model: ModelStatistics) -> int:
    return model.cache_hit_ns + model.cache_miss_ns
