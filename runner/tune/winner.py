"""The honest winner: a claim from the confirmation alone, never from the values by which contenders were found.

The best of many noisy measurements looks better than it is (the winner's curse: Capen, Clapp & Campbell, *J. Petroleum
Technology* 23, 1971). So contenders and the file's own values are measured anew, in blocks, each block with every
contender once. Effects are means of the differences inside the blocks, which cancels what drifts between them. Several
contenders are several chances to be lucky: p-values are adjusted by Holm, and intervals are simultaneous (Bonferroni),
so that the interval of whichever contender wins holds at the stated confidence.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from runner.results.comparison import MIN_PAIRS, Verdict
from runner.results.contrasts import Effect, holm, judge_difference, paired
from runner.results.records import Estimate
from runner.tune.objectives import Objective, gains, weighted

Call = Literal["winner", "no_significant_gain", "worse", "undecided", "no_comparison"]
"""winner: a contender is better · no_significant_gain: a result, too: keep the file's values · worse: every contender
is worse · undecided: too few blocks for a verdict · no_comparison: nothing was measured on both sides."""


@dataclass(frozen=True)
class Entry:
    """One contender in one block."""

    values: tuple[float, ...]
    """Objectives in their order."""
    violations: Mapping[str, float]
    """Constraint -> relative amount by which it was missed."""


CONFIDENCE = 0.95
"""Of the first confirmation of a study."""


def confidence_of(round_: int) -> float:
    """What the intervals of the n-th confirmation of one study hold with, from 1.

    Whoever extends a study until something wins tries their luck each time. With half the risk from one confirmation to
    the next the risk of all together stays below twice that of the first, however often the study is extended.
    """
    return 1 - (1 - CONFIDENCE) * math.pow(0.5, round_ - 1)


Block = Mapping[str, Entry]
"""Contender -> its measurement in the block; one that failed is not in it."""


@dataclass(frozen=True)
class Gain:
    """One objective of one contender, against the file's own values."""

    objective: str
    change: Estimate
    """Contender / file - 1, with its simultaneous interval."""
    baseline: float
    """Geometric mean of the file's own values over the blocks used."""
    value: float
    """Of the contender."""


@dataclass(frozen=True)
class Standing:
    """What the confirmation says about one contender."""

    contender: str
    blocks: int
    """In which both it and the file's own values were measured."""
    gain: Estimate
    """Relative, larger is better: of the only objective, or the weighted mean of all; with its interval."""
    verdict: Verdict
    p: float | None
    p_adjusted: float | None
    """Holm, over the contenders."""
    gains: tuple[Gain, ...]
    """Each objective by itself."""
    missed: tuple[str, ...] = ()
    """Constraints that it missed in more than half of its blocks."""
    straddling: tuple[str, ...] = ()
    """Constraints that it missed in some of them."""
    note: str | None = None

    @property
    def acceptable(self) -> bool:
        """Satisfies every constraint in most blocks."""
        return not self.missed


@dataclass(frozen=True)
class Outcome:
    """Who won, and why."""

    call: Call
    winner: str | None
    """None: the file's own values stay."""
    standings: tuple[Standing, ...]
    """Best first."""
    baseline_missed: tuple[str, ...]
    """Constraints that the file's own values miss."""
    confidence: float
    margin: float
    reason: str
    """One sentence."""


def name_winner(
    blocks: Sequence[Block],
    baseline: str,
    objectives: Sequence[Objective],
    *,
    margin: float,
    confidence: float = CONFIDENCE,
) -> Outcome:
    """Judge a confirmation: `blocks` in order of time, `baseline` the name of the file's own values among them."""
    contenders = list(dict.fromkeys(name for block in blocks for name in block if name != baseline))
    effects = {
        name: _Effects.of(name, blocks, baseline, objectives, len(contenders), confidence) for name in contenders
    }
    adjusted = _adjusted({name: found.gain.p for name, found in effects.items()})
    standings = [
        _standing(effects[name], adjusted.get(name), _missed(blocks, name), margin, confidence) for name in contenders
    ]
    standings.sort(key=_rank, reverse=True)
    own = _missed(blocks, baseline)[0]
    call, winner, reason = _decision(standings, own, margin)
    return Outcome(call, winner, tuple(standings), own, confidence, margin, reason)


# --- effects ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Effects:
    """One contender against the file's own values; gains are turned so that larger is better."""

    contender: str
    blocks: int
    gain: Effect
    """Of the weighted mean of the objectives, in logarithms."""
    gains: tuple[Gain, ...]

    @classmethod
    def of(
        cls,
        name: str,
        blocks: Sequence[Block],
        baseline: str,
        objectives: Sequence[Objective],
        family: int,
        confidence: float,
    ) -> _Effects:
        pairs = [
            (block[name].values, block[baseline].values) for block in blocks if name in block and baseline in block
        ]
        rows = [gains(values, own, objectives) for values, own in pairs]
        level = 1 - (1 - confidence) / max(family, 1)
        each = 1 - (1 - level) / len(objectives)
        columns = list(zip(*rows, strict=True))
        single = [
            _gain(objective, [values[index] for values, _ in pairs], [own[index] for _, own in pairs], column, each)
            for index, (objective, column) in enumerate(zip(objectives, columns, strict=False))
        ]
        return cls(name, len(pairs), _effect([weighted(row, objectives) for row in rows], level), tuple(single))


def _effect(differences: Sequence[float], confidence: float) -> Effect:
    """Their mean with its interval, if there are two at least."""
    if len(differences) < 2:
        return Effect(differences[0] if differences else 0.0)
    return paired(differences, [0.0] * len(differences), confidence)


def _gain(
    objective: Objective, values: Sequence[float], own: Sequence[float], column: Sequence[float], confidence: float
) -> Gain:
    effect = _effect([objective.sign * gain for gain in column], confidence)
    is_ratio = min(*values, *own) > 0
    return Gain(objective.name, _shown(effect, is_ratio), _mean(own, is_ratio), _mean(values, is_ratio))


def _shown(effect: Effect, is_ratio: bool = True) -> Estimate:
    """From logarithms to relative changes."""

    def relative(value: float) -> float:
        return math.expm1(min(value, 700.0)) if is_ratio else value

    low, high = (None if end is None else relative(end) for end in (effect.low, effect.high))
    return Estimate(relative(effect.value), low, high)


def _mean(values: Sequence[float], is_ratio: bool) -> float:
    if is_ratio:
        return math.exp(math.fsum(map(math.log, values)) / len(values))
    return math.fsum(values) / len(values)


def _adjusted(p_values: Mapping[str, float | None]) -> dict[str, float]:
    known = {name: p for name, p in p_values.items() if p is not None}
    return dict(zip(known, holm(list(known.values())), strict=True))


# --- verdicts -----------------------------------------------------------------------------------------------------


def _standing(
    effects: _Effects,
    p_adjusted: float | None,
    missed: tuple[tuple[str, ...], tuple[str, ...]],
    margin: float,
    confidence: float,
) -> Standing:
    verdict: Verdict = "undecided"
    note = None
    if effects.blocks < MIN_PAIRS:
        note = f"{effects.blocks} blocks: fewer than {MIN_PAIRS} give no verdict"
    else:
        different = p_adjusted is not None and p_adjusted <= 1 - confidence
        verdict = judge_difference(effects.gain, math.log1p(margin), different)
    return Standing(
        effects.contender,
        effects.blocks,
        _shown(effects.gain),
        verdict,
        effects.gain.p,
        p_adjusted,
        effects.gains,
        *missed,
        note=note,
    )


def _missed(blocks: Sequence[Block], name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Constraints that are missed in more than half of the blocks, and those in some of them."""
    entries = [block[name] for block in blocks if name in block]
    counts = Counter(text for entry in entries for text in entry.violations)
    mostly = tuple(text for text, count in counts.items() if count > len(entries) / 2)
    return mostly, tuple(text for text in counts if text not in mostly)


def _rank(standing: Standing) -> tuple[bool, bool, float]:
    return (standing.acceptable, standing.verdict == "better", standing.gain.value)


def _decision(standings: Sequence[Standing], own: tuple[str, ...], margin: float) -> tuple[Call, str | None, str]:
    compared = [each for each in standings if each.blocks]
    if not compared:
        return "no_comparison", None, "no block holds both a contender and the file's own values"
    usable = [each for each in compared if each.acceptable]
    if not usable:
        return "no_significant_gain", None, "every contender misses a constraint in most blocks"
    best = usable[0]
    if own and best.blocks >= MIN_PAIRS:
        return "winner", best.contender, f"the file's own values miss `{own[0]}` in most blocks, this point does not"
    if best.verdict == "better":
        return "winner", best.contender, f"better than the file's own values by {_percent(best.gain)}"
    if best.blocks < MIN_PAIRS:
        return "undecided", None, f"{best.note}; the best contender is at {_percent(best.gain)}"
    if all(each.verdict == "worse" for each in usable):
        return "worse", None, f"every contender is worse, the best by {_percent(best.gain)}"
    return "no_significant_gain", None, f"no gain beyond {margin:.1%} can be claimed; the best is {_percent(best.gain)}"


def _percent(gain: Estimate) -> str:
    if gain.low is None or gain.high is None:
        return f"{gain.value:+.1%}, without an interval"
    return f"{gain.value:+.1%} ({gain.low:+.1%} to {gain.high:+.1%})"
