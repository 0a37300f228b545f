"""What limits a point, in one sentence with numbers, and which knob to turn: a pure function of its trial.

Two questions are asked. What limits the throughput: is the client at its limit, are the instances of some model busy?
Only where neither is so: where does the time of a request go? The rules and their limits are in docs/measurement.md,
"Stages and diagnosis".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from runner.results.breakdown import Breakdown, Where, breakdown
from runner.results.executions import execution_ms, facts_of, mean_batch, utilisation, working
from runner.results.knobs import client_knobs, compute_knobs, preprocess_knobs, queue_knobs, transport_knobs
from runner.results.records import ModelFacts, ModelStatistics, Trial
from runner.results.roles import preprocess_models

Kind = Literal["preprocess", "compute", "queue", "transport", "client", "undecided"]
BUSY = 0.7
"""Share of the time from which the instances of a model count as busy."""
WAITS = 0.25
"""Waiting / computing from which requests wait for an instance: below, more of them in flight could be served."""
DEEP = 4.0
"""Waiting / computing from which a queue is more than the few requests that keep an instance busy."""
CLIENT_BUSY = 0.85
"""CPU seconds per second and engine thread, as for the flag `client_limited`."""
LEADING = 0.4
"""Share of the latency that the largest part needs at least."""
AHEAD = 0.05
"""By so much of the latency the largest part must exceed the next."""


@dataclass(frozen=True)
class Diagnosis:
    """What limits a point."""

    kind: Kind
    model: str
    """Whose stage limits; empty for transport and client."""
    label: str
    """For example `GPU-bound`."""
    sentence: str
    knobs: tuple[str, ...]
    """What to change, the most promising first."""

    @property
    def text(self) -> str:
        """The sentence and the knobs."""
        return f"{self.sentence}: {', or '.join(self.knobs)}" if self.knobs else self.sentence


@dataclass(frozen=True)
class Station:
    """A model as a place where requests wait and are served."""

    model: str
    facts: ModelFacts
    prepares: bool
    """It makes the input of other models."""
    by_code: bool
    """Called by code of the pipeline, so inside the time of another model."""
    busy: float | None
    queue_ms: float
    compute_ms: float
    moving_ms: float
    """Of it getting tensors into the model and out."""
    own_ms: float
    """The rest of it, without what its code calls."""
    execution_ms: float | None
    mean_batch: float | None

    @property
    def depth(self) -> float:
        """How many times longer a request waits for this model than it is computed."""
        return self.queue_ms / self.compute_ms if self.compute_ms > 0 else 0.0


def diagnose(trial: Trial) -> Diagnosis | None:
    """What limits a trial; None where it says too little."""
    table = breakdown(trial)
    if table is None or trial.summary is None:
        return None
    if trial.summary.client_cpu_fraction > CLIENT_BUSY:
        busy = f"the threads of the load engine are busy {trial.summary.client_cpu_fraction:.0%} of the time"
        return Diagnosis("client", "", "client-bound", busy, client_knobs(is_busy=True))
    stations = _stations(trial, table)
    limiting = _limiting(stations)
    return _by_time(trial, table, stations) if limiting is None else _at_station(limiting, table)


# --- what limits the throughput -----------------------------------------------------------------------------------


def _stations(trial: Trial, table: Breakdown) -> tuple[Station, ...]:
    steps = [_facts(trial, m.model) for m in trial.server[1:] or trial.server]
    inside = [_facts(trial, m.model) for m in trial.bls]
    prepares = preprocess_models(steps) | preprocess_models(inside)
    by_code = {facts.model for facts in inside}
    stations = (_station(trial, table, m, m.model in prepares, m.model in by_code) for m in working(trial))
    return _without_calls(tuple(stations))


_INSIDE: Where = "inside"
_SERVER: Where = "server"


def _station(trial: Trial, table: Breakdown, statistics: ModelStatistics, prepares: bool, by_code: bool) -> Station:
    model, where = statistics.model, _INSIDE if by_code else _SERVER
    queue_ms = table.sum_ms(where, model=model, stages=("queue",))
    compute_ms = table.sum_ms(where, model=model) - queue_ms
    moving_ms = table.sum_ms(where, model=model, stages=("compute_input", "compute_output"))
    return Station(
        model=model,
        facts=_facts(trial, model),
        prepares=prepares,
        by_code=by_code,
        busy=utilisation(trial, statistics),
        queue_ms=queue_ms,
        compute_ms=compute_ms,
        moving_ms=moving_ms,
        own_ms=compute_ms - moving_ms,
        execution_ms=execution_ms(statistics),
        mean_batch=mean_batch(statistics),
    )


def _without_calls(stations: tuple[Station, ...]) -> tuple[Station, ...]:
    """No server says who calls: it is the model that computes longest, for its time holds that of the calls."""
    called_ms = sum(station.queue_ms + station.compute_ms for station in stations if station.by_code)
    caller = max((s for s in stations if not s.by_code), key=lambda s: s.own_ms)
    own_ms = max(0.0, caller.own_ms - called_ms)
    return tuple(replace(station, own_ms=own_ms) if station is caller else station for station in stations)


def _facts(trial: Trial, model: str) -> ModelFacts:
    return facts_of(trial, model) or ModelFacts(model)


def _limiting(stations: tuple[Station, ...]) -> Station | None:
    """The busiest station that requests wait for; rather a busy one that its code calls, which it waits for itself."""
    busy = [station for station in stations if _is_busy(station)]
    waited_for = [station for station in busy if station.depth >= WAITS]
    called = [station for station in busy if station.by_code] if waited_for else []
    return max(called or waited_for, key=lambda station: station.busy or 0.0, default=None)


def _is_busy(station: Station) -> bool:
    return station.busy is not None and station.busy >= BUSY


def _at_station(station: Station, table: Breakdown) -> Diagnosis:
    if not station.prepares and station.depth >= DEEP:
        return _queue(station, table)
    return _computing(station, table)


def _computing(station: Station, table: Breakdown) -> Diagnosis:
    after = f", after {_ms(station.queue_ms)} in its queue" if station.queue_ms >= 0.1 * station.compute_ms else ""
    computes = f"{station.model} computes {_ms(station.compute_ms)} of a request's {_of(station.compute_ms, table)}"
    sentence = f"{computes}{after}{_how_busy(station)}"
    if station.prepares:
        knobs = preprocess_knobs(station.facts, waits=station.depth >= WAITS)
        return Diagnosis("preprocess", station.model, "preprocess-bound", sentence, knobs)
    label = "GPU-bound" if station.facts.on_gpu else "compute-bound"
    knobs = compute_knobs(station.facts, station.mean_batch, waits=station.depth >= WAITS, lined_up=station.depth >= 1)
    return Diagnosis("compute", station.model, label, sentence, knobs)


def _queue(station: Station, table: Breakdown) -> Diagnosis:
    waits = f"a request waits {_ms(station.queue_ms)} of its {_of(station.queue_ms, table)} for {station.model}"
    sentence = f"{waits}, which computes it in {_ms(station.compute_ms)}{_how_busy(station)}"
    knobs = queue_knobs(station.facts, station.queue_ms, station.mean_batch, is_busy=_is_busy(station))
    return Diagnosis("queue", station.model, "queue-bound", sentence, knobs)


def _how_busy(station: Station) -> str:
    """Of the instances, where that is known."""
    count = station.facts.instances
    if station.busy is None or not count:
        return ""
    are = "its one instance is" if count == 1 else f"its {count} instances are"
    how = f" with executions of {_ms(station.execution_ms)}" if station.execution_ms else ""
    size = f" for {station.mean_batch:.3g} inference{'s' * (station.mean_batch > 1)}" if station.mean_batch else ""
    return f"; {are} busy {station.busy:.0%} of the time{how}{size if how else ''}"


# --- where the time goes ------------------------------------------------------------------------------------------


def _by_time(trial: Trial, table: Breakdown, stations: tuple[Station, ...]) -> Diagnosis:
    """No station is busy: what a request spends most of its time with."""
    spent = _time_spent(table, stations)
    (first, most_ms), (second, next_ms) = sorted(spent.items(), key=lambda item: -item[1])[:2]
    if most_ms < LEADING * table.total_ms or most_ms - next_ms < AHEAD * table.total_ms or first == "scheduling":
        return _undecided(table, {first: most_ms, second: next_ms})
    match first:
        case "client":
            sentence = f"a request waits {_ms(most_ms)} of its {_of(most_ms, table)} in the client before it is sent"
            return Diagnosis("client", "", "client-bound", sentence, client_knobs(is_busy=False))
        case "transport":
            return _transport(trial, table, stations)
        case "queue":
            return _queue(max(stations, key=lambda s: s.queue_ms), table)
    prepares = first == "preprocess"
    return _computing(max((s for s in stations if s.prepares == prepares), key=lambda s: s.own_ms), table)


def _time_spent(table: Breakdown, stations: tuple[Station, ...]) -> dict[str, float]:
    """Milliseconds of a request by what holds it."""
    return {
        "client": table.sum_ms("client", stages=("queue",)),
        "transport": _between_ms(table) + _moving_ms(stations),
        "queue": sum(station.queue_ms for station in stations),
        "preprocess": sum(station.own_ms for station in stations if station.prepares),
        "compute": sum(station.own_ms for station in stations if not station.prepares),
        "scheduling": table.sum_ms("server", stages=("scheduling",)),
    }


def _between_ms(table: Breakdown) -> float:
    """Between client and server."""
    return table.sum_ms("client", stages=("write", "read")) + table.sum_ms("network")


def _moving_ms(stations: tuple[Station, ...]) -> float:
    """Into the models and out; what a caller's code calls is inside the caller's own time."""
    return sum(station.moving_ms for station in stations)


def _transport(trial: Trial, table: Breakdown, stations: tuple[Station, ...]) -> Diagnosis:
    assert trial.whole is not None
    moved = (trial.whole.bytes_sent + trial.whole.bytes_received) / trial.whole.completions
    between_ms, moving_ms = _between_ms(table), _moving_ms(stations)
    spent = f"{_ms(between_ms + moving_ms)} of its {_of(between_ms + moving_ms, table)}"
    where = f"{_ms(between_ms)} between client and server, {_ms(moving_ms)} into and out of models"
    sentence = f"a request spends {spent} on the way, {where}; it moves {_bytes(moved)}"
    if trial.summary is not None and trial.summary.stream is not None:
        words = f"{sentence}; but the counters of a decoupled model may end before its last response"
        return Diagnosis("undecided", "", "undecided", words, ())
    return Diagnosis("transport", "", "transport-bound", sentence, transport_knobs(trial.protocol, moved))


def _undecided(table: Breakdown, largest: dict[str, float]) -> Diagnosis:
    parts = " and ".join(f"{what} {_ms(ms)} of {_of(ms, table)}" for what, ms in largest.items())
    sentence = f"no instance is busy and no part of the latency leads: {parts}"
    if next(iter(largest)) == "scheduling":
        sentence = f"most of the time is neither queue nor computation of a model: {parts}"
    return Diagnosis("undecided", "", "undecided", sentence, ())


# --- words --------------------------------------------------------------------------------------------------------


def _of(part_ms: float, table: Breakdown) -> str:
    """The whole that a part belongs to, and which share of it the part is."""
    return f"{_ms(table.total_ms)} ({part_ms / table.total_ms:.0%})"


def _ms(value: float) -> str:
    return f"{value:.3g} ms" if value < 999.5 else f"{value:.0f} ms"


def _bytes(count: float) -> str:
    return f"{count / 1000:.3g} kB" if count < 999_500 else f"{count / 1e6:.3g} MB"
