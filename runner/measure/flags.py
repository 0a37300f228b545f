"""Verdict flags: one closed vocabulary, declared once; a point is flagged and kept, never dropped.

A flag *invalidates* when the number is not what it says (client too slow, server counted something else); it *informs*
when the number stands and its reader should know something (interval wide, nothing warmed up).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from runner.results.records import Flag

Consequence = Literal["invalidates", "informs"]


@dataclass(frozen=True)
class Rule:
    """One word of the vocabulary."""

    code: str
    consequence: Consequence
    """The worst it can mean; some checks only inform below a second limit."""
    raised_when: str
    message: str
    """Template of the sentence that the user reads: what was seen and what to do."""


RULES: dict[str, Rule] = {
    rule.code: rule
    for rule in (
        Rule(
            "unsteady",
            "informs",
            "the MSER-5 cut wants to drop more than it may; or no three windows are alike (`stability: windows`)",
            "{what}; {remedy}",
        ),
        Rule(
            "trend",
            "informs",
            "the slope of throughput or mean latency over 20 batches has p < 0.01 and exceeds the limit; or the anchor "
            "point changed by more than 2 % and its intervals around this point",
            "{what} moved by {value:+.1%} over the window (at most {limit:.0%} counts as level): look for clocks, "
            "temperature or other load, and raise measure.warmup.min_time or measure.window.max",
        ),
        Rule(
            "step",
            "informs",
            "one step explains 20 batches of throughput or mean latency better than a level or a line (F, 1 %)",
            "{what} jumped by {value:+.1%} within the window (at most {limit:.0%} counts as level): look for other "
            "load or a changed clock, and measure again",
        ),
        Rule(
            "precision_unmet",
            "informs",
            "a half-width that was asked for is not reached when the window ends, or between the repeats",
            "{what} is known to ±{value:.2%} where {limit:.2%} was asked for; raise measure.window.max, or ask for "
            "less with measure.precision",
        ),
        Rule(
            "ci_unreliable",
            "informs",
            "n_eff (1 - q) < 10 for a percentile with a precision target, or batches stay correlated (lag-1 > 0.25)",
            "{what}; raise measure.window.max",
        ),
        Rule(
            "cold",
            "informs",
            "less than one answer per request in flight was dropped before the window",
            "{value:.2g} answers per request in flight were dropped as warm-up, so the first, slow requests count; "
            "use profile explore, or raise measure.warmup.min_time",
        ),
        Rule(
            "errors",
            "invalidates",
            "requests failed or were never answered; informs up to 0.1 % of all",
            "{failed} of {sent} requests failed or had no answer ({worst}); see the first messages under errors, and "
            "the server's log",
        ),
        Rule(
            "aborted",
            "invalidates",
            "the trial was stopped before its rule said so; or repeats are missing (informs while half are left)",
            "stopped early, {why}: what is shown is no full measurement; mend the cause and measure again",
        ),
        Rule(
            "littles_law",
            "invalidates",
            "requests in flight differ from throughput × mean latency by more than the window's edges explain",
            "requests in flight and throughput × mean latency differ by {value:.1%} (limit {limit:.1%}): window, rate "
            "and latency do not belong together; please report this with the run directory",
        ),
        Rule(
            "mismatch_server_count",
            "invalidates",
            "the server counted other requests or inferences than were sent",
            "the server counted {what}: either someone else uses this server, or requests hold another batch than "
            "the scenario says; give the server to this run alone",
        ),
        Rule(
            "server_restarted",
            "invalidates",
            "a server counter is lower after the trial than before",
            "a counter of model {model} went backwards, so the server or the model was restarted during the point; "
            "see the server's log and measure again",
        ),
        Rule(
            "cached",
            "invalidates",
            "the response cache answered; informs when the server flags of the scenario configure a cache",
            "{value:.0f} requests were answered from the response cache, not by the model; turn response_cache off, or "
            "compare only with other cached points",
        ),
        Rule(
            "client_limited",
            "invalidates",
            "engine threads above 85 % CPU, a loop stall, the engine's own ceiling below 3 × throughput, or late sends",
            "{what}: the client may be what limits this point; give it more workers or cores of its own",
        ),
        Rule(
            "not_delivered",
            "invalidates",
            "open loop: sends differ from the asked rate by more than max(0.5 %, 3/√n), or some were dropped; informs "
            "up to 0.1 % dropped",
            "{value:.4g} requests/s were sent where {limit:.4g} were asked for; the client or the connection is too "
            "slow for this rate",
        ),
        Rule(
            "saturated",
            "invalidates",
            "open loop: fewer answers than asked for, beyond chance (one-sided 97.5 %), while requests in flight rise",
            "at most {answered:.4g} requests/s were answered, and those in flight grew by {value:.0%} of their mean "
            "over the window: the server does not keep up with this rate; lower it",
        ),
        Rule(
            "non_monotone",
            "informs",
            "capacity search: a load misses the limit more than a higher one does, by 3 standard errors (isotonic fit)",
            "{what}",
        ),
        Rule("wrong_output", "invalidates", "sampled outputs differ from the reference", "{what}"),
        Rule("throttled_thermal", "invalidates", "GPU slowed by temperature for > 0.5 % of the window", "{what}"),
        Rule("throttled_hw", "invalidates", "GPU slowed by its hardware for > 0.5 % of the window", "{what}"),
        Rule("power_capped", "informs", "GPU clocks held down by the power limit for > 0.5 % of the window", "{what}"),
        Rule("clock_drift", "informs", "median GPU clock below 95 % of that in the window's first quarter", "{what}"),
        Rule(
            "foreign_load",
            "invalidates",
            "others used the machine: steal > 1 % or foreign CPU > 5 % (informs up to four times as much, except in "
            "profile publish), a stranger on a GPU, a process ended for lack of memory",
            "{what}",
        ),
        Rule("ecc", "invalidates", "uncorrected memory errors or remapped rows during the point", "{what}"),
        Rule("xid", "invalidates", "the GPU driver reported an Xid error during the point", "{what}"),
        Rule(
            "telemetry_gap",
            "informs",
            "no sample for 2.5 periods, a counter that was reset or stands still, or a source or series that the "
            "scenario names is missing",
            "{what}",
        ),
    )
}
"""Code -> rule. The codes are the closed vocabulary; a check whose evidence is not collected raises nothing."""


def make_flag(
    code: str, value: float | None, limit: float | None, consequence: Consequence | None = None, **words: object
) -> Flag:
    """A flag with its rule's sentence filled in; `consequence` may only be milder than the rule's."""
    rule = RULES[code]
    message = rule.message.format(value=value, limit=limit, **words)
    finite = value if value is not None and math.isfinite(value) else None
    return Flag(code, finite, limit, consequence or rule.consequence, message[:1].upper() + message[1:] + ".")


def markdown_table() -> str:
    """The vocabulary as the table of docs/measurement.md."""
    rows = [f"| `{rule.code}` | {rule.consequence} | {rule.raised_when} |" for rule in RULES.values()]
    return "\n".join(["| flag | consequence | raised when |", "|---|---|---|", *rows]) + "\n"
