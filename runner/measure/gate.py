"""`--fail-if`: a predicate over the contrasts of each point; a missed gate is a sentence per point."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runner.errors import UsageError
from runner.results.comparison import ComparedPoint, Comparison, Contrast
from runner.results.metric_names import find_metric
from runner.scenario.predicate import Predicate, PredicateError, Quantity, parse
from runner.units import SHARE

VERDICTS: dict[str, frozenset[str]] = {
    "better": frozenset({"better"}),
    "worse": frozenset({"worse"}),
    "equivalent": frozenset({"equivalent"}),
    "undecided": frozenset({"undecided"}),
    "different": frozenset({"better", "worse", "different_but_small"}),
}
"""Word of a gate -> the verdicts that it means, likely ones included: a gate should rather be missed."""

_SHORT = re.compile(rf"\b({'|'.join(VERDICTS)}):([A-Za-z0-9_.]+)")


@dataclass(frozen=True)
class Gate:
    """What must not be true of any point."""

    text: str
    predicate: Predicate

    @classmethod
    def of(cls, text: str) -> Gate:
        """Read `worse`, `worse:p99`, `latency_p99_ms > 5%`.

        Raises:
            UsageError: it is no predicate over verdicts and metrics.
        """
        try:
            gate = cls(text, parse(_SHORT.sub(r"\2.\1", text)))
        except PredicateError as error:
            raise _refused(text, error) from None
        gate.metrics()
        return gate

    def metrics(self) -> tuple[str, ...]:
        """The metrics that it names; they have to be compared."""
        names = (address for address in self.predicate.addresses() if address not in VERDICTS)
        return tuple(dict.fromkeys(find_metric(_split(name)[0]).key for name in names))

    def missed(self, comparison: Comparison) -> tuple[str, ...]:
        """Why the gate is missed, one sentence for each point; nothing compared is a miss too."""
        if not comparison.points:
            return ("no point could be compared",)
        return tuple(self._missed(comparison.points))

    def _missed(self, points: tuple[ComparedPoint, ...]) -> Iterator[str]:
        for point in points:
            try:
                found = self.predicate.evaluate(lambda address, point=point: _looked_up(address, point))  # type: ignore[misc]
            except PredicateError as error:
                raise _refused(self.text, error) from None
            if not isinstance(found, bool):
                raise UsageError(f"--fail-if {self.text!r} is a number, not a condition", hint=_HINT)
            if found:
                worse = [f"{c.metric} {c.words}" for c in point.contrasts if c.verdict in ("worse", "undecided")]
                yield f"{point.case_a}: {self.text}" + (f" ({', '.join(worse)})" if worse else "")


_HINT = "for example --fail-if worse, --fail-if 'worse:p99', --fail-if 'latency_p99_ms > 5%' (worse by more than that)"


def _refused(text: str, error: PredicateError) -> UsageError:
    return UsageError(f"--fail-if {text!r}, column {error.column}: {error.message}", hint=error.hint or _HINT)


def _split(address: str) -> tuple[str, str]:
    """`latency_p99_ms.low` as metric and part; the part may be missing."""
    name, dot, part = address.rpartition(".")
    return (name, part) if dot and part in (*VERDICTS, "low", "high") else (address, "")


def _looked_up(address: str, point: ComparedPoint) -> Any:
    if address in VERDICTS:
        return any(contrast.verdict in VERDICTS[address] for contrast in point.contrasts)
    name, part = _split(address)
    key = find_metric(name).key
    contrast = next((contrast for contrast in point.contrasts if contrast.metric == key), None)
    if contrast is None:
        raise PredicateError(f"{point.case_a} has no {key} on both sides", 1)
    return contrast.verdict in VERDICTS[part] if part in VERDICTS else _share(contrast, part)


def _share(contrast: Contrast, part: str) -> Quantity:
    """How much worse A is; its bounds trade places where more is better. An unknown bound is the estimate itself."""
    low, high = contrast.change.low, contrast.change.high
    if contrast.direction == "max":
        low, high = (None if high is None else -high), (None if low is None else -low)
    bound = {"low": low, "high": high}.get(part)
    return Quantity(contrast.worse_by if bound is None else bound, SHARE.name)
