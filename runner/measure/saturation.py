"""Does a server keep up with the rate that an open loop asks for?

While it does not, it is never idle: it answers at its own capacity, below the rate, and requests pile up. The number in
flight alone says little, because even a healthy queue wanders for thousands of requests: a least-squares slope calls
M/M/1 at 80 % load saturated in 8 % of windows of 20 s. Answers per second against the rate that was *asked for* is the
sharper evidence; the chance of the arrivals is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from runner.measure.drift import BATCHES, MIN_CHANGE
from runner.measure.intervals import student_t
from runner.measure.series import Series

ONE_SIDED_CONFIDENCE = 0.975


@dataclass(frozen=True)
class Backlog:
    """What piled up: `growth` of the requests in flight over the window, relative to their mean."""

    growth: float = 0.0
    answered_at_most_per_s: float = float("inf")
    """Upper confidence bound of the answers per second."""

    def saturates(self, asked_per_s: float) -> bool:
        """Fewer answers than asked for, beyond chance, and a growing queue."""
        return self.growth > MIN_CHANGE and self.answered_at_most_per_s < asked_per_s


def find_backlog(series: Series) -> Backlog:
    """Of a window; nothing piled up where there is too little to tell."""
    in_flight = float(series.in_flight_ns.sum()) / 1e9 / series.seconds if series.seconds else 0.0
    if len(series) < BATCHES or not in_flight:
        return Backlog()
    parts = series.parts(BATCHES)
    width_s = series.totals((series.end_ns - series.start_ns) / 1e9, parts, BATCHES)
    if not width_s.all():
        return Backlog()
    # Plain answers: "progress" would count the age of what waits in the queue as work done.
    answered = series.totals(series.ok + series.failed, parts, BATCHES)
    per_s = answered / width_s
    error = float(per_s.std(ddof=1)) / BATCHES**0.5
    high = float(per_s.mean()) + student_t(2 * ONE_SIDED_CONFIDENCE - 1, BATCHES - 1) * error
    growth = (int(series.in_flight[-1]) - series.in_flight_before) / in_flight
    return Backlog(growth, high)
