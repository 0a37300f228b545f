"""Two runs, point by point: which measurements stand against each other, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from runner.errors import UsageError
from runner.measure.compared_capacity import capacity_contrast, why_not_compared
from runner.measure.compared_metrics import Rules, common_metrics, contrast_of, judged_family
from runner.measure.compared_studies import match_runs
from runner.results.comparison import MIN_PAIRS, ComparedPoint, Comparison, Design, LeftOut, Side, Where
from runner.results.matching import Match
from runner.results.metric import Metric
from runner.results.records import Trial
from runner.results.rigs import differences
from runner.results.run import Run
from runner.units import counted


def compare(a: Run, b: Run, rules: Rules) -> Comparison:
    """A against B, the baseline; points of either that cannot be compared are listed with the reason.

    Raises:
        UsageError: a metric that was named beforehand is in no point of both.
    """
    matches, left_out = match_runs(a, b)
    in_blocks = a.manifest.compare_group is not None and a.manifest.compare_group == b.manifest.compare_group
    points: list[ComparedPoint] = []
    for match in matches:
        found = _compared(match, _Trials.of(a, match.a.case_id), _Trials.of(b, match.b.case_id), in_blocks, rules)
        if isinstance(found, LeftOut):
            left_out.append(found)
        else:
            points.append(found)
    if rules.planned:
        _refuse_unmeasured(rules.metrics, a, b, points)
    adjustment, judged = judged_family(points, rules)
    return Comparison(
        _side(a),
        _side(b),
        rules.margin,
        rules.confidence,
        adjustment,
        differences(a, b),
        judged,
        tuple(left_out),
        (*_drift("A", a), *_drift("B", b)),
    )


def _refuse_unmeasured(metrics: Sequence[Metric], a: Run, b: Run, points: Sequence[ComparedPoint]) -> None:
    loads = [point for point in points if point.design != "searches"]
    shown = {contrast.metric for point in loads for contrast in point.contrasts}
    missing = [metric.key for metric in metrics if metric.key not in shown]
    if loads and missing:
        both = common_metrics(*([t for trials in run.repeats.values() for t in trials] for run in (a, b)))
        raise UsageError(
            f"{', '.join(missing)} was not measured in both runs",
            hint=f"both have {', '.join(metric.key for metric in both)}; `measure.percentiles` says which are measured",
        )


def _side(run: Run) -> Side:
    manifest = run.manifest
    return Side(str(run.path), manifest.run_id, manifest.scenario.name, manifest.started_utc)


def _drift(name: str, run: Run) -> Iterator[str]:
    """The largest step between anchors. The numbers are not corrected by it: no anchor tells when between it came."""
    drifted = [step for step in run.anchor_steps if step.drifted]
    if drifted:
        worst = max(drifted, key=lambda step: abs(step.change))
        yield (
            f"{name}: its anchor moved by {worst.change:+.1%} (±{worst.uncertainty:.1%}) from one measurement to the "
            f"next, and by more than chance {len(drifted)} of {len(run.anchor_steps)} times"
        )


# --- one point ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Trials:
    """The measurements of one case in one run."""

    usable: dict[tuple[int, int], Trial]
    """By block and repeat."""
    reasons: tuple[str, ...]
    """Why the others are not."""

    @classmethod
    def of(cls, run: Run, case_id: str) -> _Trials:
        """Only what every check let pass: an invalid number is not what it says."""
        trials = run.repeats.get(case_id, ())
        usable = {(trial.block, trial.repeat): trial for trial in trials if trial.state == "ok"}
        reasons = tuple(dict.fromkeys(_why_not(trial) for trial in trials if trial.state != "ok"))
        skipped = run.skipped.get(case_id)
        return cls(
            usable, reasons or (f"skipped: {skipped}" if skipped else "not measured",) if not usable else reasons
        )


def _why_not(trial: Trial) -> str:
    codes = ", ".join(flag.code for flag in trial.flags if flag.consequence == "invalidates")
    return f"{trial.state}: {codes or trial.failure or 'no reason was recorded'}".splitlines()[0]


def _compared(match: Match, a: _Trials, b: _Trials, in_blocks: bool, rules: Rules) -> ComparedPoint | LeftOut:
    unusable = {name: side for name, side in (("A", a), ("B", b)) if not side.usable}
    if unusable:
        where: Where = "A and B" if len(unusable) == 2 else "A" if "A" in unusable else "B"
        why = " · ".join(f"{name} {'; '.join(side.reasons)}" for name, side in unusable.items())
        return LeftOut(where, (match.b if where == "B" else match.a).case_id, why)
    if any(trial.capacity for side in (a, b) for trial in side.usable.values()):
        return _compared_searches(match, a, b, rules)
    common = sorted(a.usable.keys() & b.usable.keys()) if in_blocks else []
    design = _design(common, a, b)
    keys_a, keys_b = (common, common) if design == "paired" else (sorted(a.usable), sorted(b.usable))
    trials_a, trials_b = [a.usable[key] for key in keys_a], [b.usable[key] for key in keys_b]
    # The lower of two confidences makes the wider errors of the same interval.
    rules = replace(rules, interval_confidence=min(match.a.confidence, match.b.confidence))
    contrasts = [contrast_of(metric, design, trials_a, trials_b, rules) for metric in rules.metrics]
    return ComparedPoint(
        parameters=match.parameters,
        case_a=match.a.case_id,
        case_b=match.b.case_id,
        design=design,
        used_a=len(trials_a),
        used_b=len(trials_b),
        contrasts=tuple(contrast for contrast in contrasts if contrast is not None),
        notes=(*match.notes, *_design_notes(design, common, a, b)),
        role=match.role,
    )


def _compared_searches(match: Match, a: _Trials, b: _Trials, rules: Rules) -> ComparedPoint | LeftOut:
    """A search is one trial, however many attempts it has."""
    one, other = (next(iter(side.usable.values())).capacity for side in (a, b))
    reason = why_not_compared(one, other)
    if one is None or other is None or reason is not None:
        return LeftOut("A and B", match.a.case_id, reason or "no search")
    return ComparedPoint(
        parameters=match.parameters,
        case_a=match.a.case_id,
        case_b=match.b.case_id,
        design="searches",
        used_a=len(one.attempts),
        used_b=len(other.attempts),
        contrasts=(capacity_contrast(one, other, rules.margin),),
        notes=match.notes,
    )


def _design(common: Sequence[tuple[int, int]], a: _Trials, b: _Trials) -> Design:
    if len(common) >= 2:
        return "paired"
    return "repeats" if min(len(a.usable), len(b.usable)) >= 2 else "within_run"


def _design_notes(design: Design, common: Sequence[tuple[int, int]], a: _Trials, b: _Trials) -> Iterable[str]:
    if design == "paired" and len(common) < MIN_PAIRS:
        yield f"{counted(len(common), 'block')}: sign flips cannot reach p < 0.05 with fewer than {MIN_PAIRS}"
    for name, side in (("A", a), ("B", b)):
        if side.reasons:
            yield f"measurements of {name} left out: {'; '.join(side.reasons)}"
