"""Why a load was stopped, decided again from its slices: was the last look right, and does the window follow from it?

The slices up to the end of the window are those that the last look saw: later ones are kept apart. Looks before it left
no trace, because when they came depended on when the engine delivered. What the user did can only be believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import cast

from runner.measure.raw import Raw
from runner.measure.series import Series
from runner.measure.settings import MeasureSettings
from runner.measure.stopping import Decision, decide, too_many_errors
from runner.measure.tally import decide_by_verdict
from runner.measure.windows import decide_by_windows
from runner.results.capacity import Probe, Tally, Verdict
from runner.results.records import Counts, Trial

Difference = tuple[str, str, str]
"""Field, what the slices say, what is recorded."""
GOES_ON = "a load that goes on"


def stop_differences(trial: Trial, raw: Raw) -> Iterator[Difference]:
    """Where the recorded end of a load is not what its slices lead to."""
    check = _CHECKS.get(raw.stop_reason)
    if check is None:
        yield "stop_reason", f"one of {', '.join(_CHECKS)}", raw.stop_reason
    else:
        yield from check(trial, raw)


# --- ends that a look decided -------------------------------------------------------------------------------------


def _looked(trial: Trial, raw: Raw) -> Iterator[Difference]:
    """The last look, once more."""
    settings, evidence = _settings(raw), raw.evidence
    if settings.measures_all or settings.soak:
        yield "stop_reason", "an end without a look: everything is measured", raw.stop_reason
        return
    seen = Series.of([each for each in raw.slices if each.end_ns <= raw.window.end_ns])
    decision = _rule(trial, raw)(seen, settings, raw.slots or 1)
    if not decision.stop or decision.reason != raw.stop_reason:
        yield "stop_reason", decision.reason or GOES_ON, raw.stop_reason
        return
    pairs = {
        "window_ns": (decision.window, raw.window),
        "steady": (decision.warmup.steady, evidence["steady"]),
        "wanted_warmup": (decision.warmup.wanted, evidence["wanted_warmup"]),
        "floor_ns": (decision.warmup.floor_ns, raw.floor_ns),
    }
    yield from ((name, str(again), str(was)) for name, (again, was) in pairs.items() if again != was)


def _rule(trial: Trial, raw: Raw) -> Callable[[Series, MeasureSettings, int], Decision]:
    settings, probe = _settings(raw), trial.probe
    if settings.windows is not None:
        return decide_by_windows
    if settings.limit is None or probe is None:
        return decide

    # What spoilt a load is known only after it, so the verdict that ended one that is invalid now is not on record.
    ended: Verdict = "unresolved" if raw.stop_reason == "time cap" else "pass"
    judged = replace(probe, verdict=ended) if probe.verdict == "invalid" else probe

    def recorded(tally: Tally) -> Probe:
        """The verdict itself follows from what is counted; here it says whether the load had to go on."""
        return judged

    return partial(decide_by_verdict, judge=recorded, asked_per_s=raw.evidence["asked_per_s"])


def _at_cap(trial: Trial, raw: Raw) -> Iterator[Difference]:
    """The longest time that the settings allow; a load with a rule must also have looked then."""
    settings = _settings(raw)
    if raw.slices[-1].end_ns < int(settings.deadline_s * 1e9):
        yield "stop_reason", GOES_ON, raw.stop_reason
    elif not (settings.measures_all or settings.soak or settings.windows):
        yield from _looked(trial, raw)


# --- other ends ---------------------------------------------------------------------------------------------------


def _all_answered(trial: Trial, raw: Raw) -> Iterator[Difference]:
    settings, counts = _settings(raw), trial.counts or Counts(0, 0, {}, 0, 0)
    wanted = (settings.requests or 0) + settings.warmup_requests
    if not settings.measures_all or counts.sent + counts.dropped < wanted:
        yield "stop_reason", GOES_ON, raw.stop_reason


def _too_many_failed(trial: Trial, raw: Raw) -> Iterator[Difference]:
    """At the end of some slice there were; what came in afterwards may have been better."""
    ok = failed = 0
    for each in raw.slices:
        ok, failed = ok + each.ok, failed + sum(each.failed.values())
        if too_many_errors(ok, failed, _settings(raw)):
            return
    yield "stop_reason", GOES_ON, raw.stop_reason


def _budget_spent(trial: Trial, raw: Raw) -> Iterator[Difference]:
    """As the trial counted its windows: slices of a long soak were joined since, across the edges of these."""
    if trial.slo is None or trial.slo.violated <= trial.slo.allowed:
        yield "stop_reason", GOES_ON, raw.stop_reason


def _from_outside(trial: Trial, raw: Raw) -> Iterator[Difference]:
    """A soak may end so; every other load was then stopped before its rule said so."""
    if not _settings(raw).soak and raw.evidence["aborted"] is None:
        yield "aborted", "why the load ended early", "nothing"


def _settings(raw: Raw) -> MeasureSettings:
    return cast(MeasureSettings, raw.evidence["settings"])


_CHECKS: dict[str, Callable[[Trial, Raw], Iterator[Difference]]] = {
    "precision reached": _looked,
    "three windows alike": _looked,
    "windows never alike": _looked,
    "verdict reached": _looked,
    "time cap": _at_cap,
    "all requests answered": _all_answered,
    "too many errors": _too_many_failed,
    "violation budget exhausted": _budget_spent,
    "stopped by the user": _from_outside,
    "plan ended": _from_outside,
}
