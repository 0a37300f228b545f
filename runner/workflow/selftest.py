"""The validation table with the row that no room below can run: the capacity search needs strategies and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from runner.measure.selftest.bench import Bench, Check
from runner.measure.selftest.rows import ROWS, Row
from runner.results.capacity import Attempt
from runner.scenario.schema import SlaLoad
from runner.workflow.virtual_search import MD1, search

PERCENTILE, LIMIT = 95.0, 6.0
"""p95 within six service times: met up to 74.5 % load."""
LOWEST, HIGHEST = 0.95, 1.01
"""What an answer may be of the truth."""
ENOUGH, OVERCLAIMS = 0.95, 0.02
SEARCHES = 200


def all_rows() -> tuple[Row, ...]:
    """Every row of the table, each with what runs it here."""
    return tuple(replace(row, run=capacity) if row.number == CAPACITY_ROW else row for row in ROWS)


CAPACITY_ROW = 19


@dataclass(frozen=True)
class Claims:
    """What searches claimed, relative to the truth."""

    shares: tuple[float, ...]
    unanswered: int

    @property
    def within(self) -> float:
        """Share of all searches whose answer is close enough."""
        close = sum(LOWEST <= share <= HIGHEST for share in self.shares)
        return close / (len(self.shares) + self.unanswered)

    @property
    def over(self) -> float:
        """Share of all searches that promise more than the server can hold."""
        return sum(share > HIGHEST for share in self.shares) / (len(self.shares) + self.unanswered)


def limited(server: MD1, **load: object) -> SlaLoad:
    """A search under the limit of this row."""
    limit_ms = LIMIT * server.service_s * 1e3
    return SlaLoad.model_validate({"kind": "sla", "percentile": PERCENTILE, "latency": f"{limit_ms:g}ms", **load})


def claims(server: MD1, searches: int, load: SlaLoad | None = None) -> Claims:
    """Of independent searches; the seeds are fixed, so that a figure changes only with the code."""
    load = load or limited(server)
    truth = server.truth_per_s(load.percentile, load.latency or 0.0)
    found = [search(load, server, seed) for seed in range(searches)]
    shares = tuple(_claimed(attempt, load) / truth for attempt in found if attempt.level is not None)
    return Claims(shares, len(found) - len(shares))


def _claimed(attempt: Attempt, load: SlaLoad) -> float:
    """Requests per second."""
    return float((attempt.level if load.over == "rate" else attempt.per_s) or 0.0)


def capacity(_: Bench) -> Sequence[Check]:
    """Row 19."""
    server = MD1()
    found = claims(server, SEARCHES)
    never = search(limited(server, range={"max": "100/s"}), server, 0)
    always = search(limited(MD1(0.010), latency="9ms"), MD1(0.010), 0)
    what = f"p{PERCENTILE:g} ≤ {LIMIT:g} D"
    return [
        Check(
            f"answers within −5 to +1 % of the truth, {what}",
            f"≥ {ENOUGH:.0%}",
            f"{found.within:.1%}",
            f"{SEARCHES} searches",
            found.within >= ENOUGH,
        ),
        Check(
            f"answers above the truth by more than 1 %, {what}",
            f"≤ {OVERCLAIMS:.0%}",
            f"{found.over:.1%}",
            f"{SEARCHES} searches",
            found.over <= OVERCLAIMS,
        ),
        _ends("one request alone takes longer than the limit", always, "infeasible"),
        _ends("the range ends before the limit is missed", never, "at least"),
    ]


def _ends(what: str, attempt: Attempt, status: str) -> Check:
    return Check(what, status, f"{attempt.status}: {attempt.reason}", "", attempt.status == status)
