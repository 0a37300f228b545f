"""`scenario run A --against B`: the options, and what happens after the load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from runner.cli.compare_command import gate_options, parsed_margin, show_comparison
from runner.cli.console import note
from runner.cli.options import ScenarioOptions
from runner.errors import UsageError

if TYPE_CHECKING:
    from runner.scenario.loading import LoadedScenario
    from runner.workflow import Observer, RunOptions

FEWEST_BLOCKS = 2


@dataclass(frozen=True)
class Against:
    """The baseline of a comparison, and how it is judged."""

    ref: str
    set_: tuple[str, ...]
    target: str | None
    blocks: int
    margin: str
    metrics: tuple[str, ...]
    fail_if: str | None

    def sides(self, options: ScenarioOptions) -> tuple[ScenarioOptions, ScenarioOptions]:
        """What to load for A and for B: as many repeats as there are blocks, and one seed for both."""
        blocks = f"measure.repeats={self.blocks}"
        a = replace(options, set_=(*options.set_, blocks))
        seed = f"measure.seed={a.load().scenario.measure.seed}"
        target = self.target or (options.target if self.ref == options.ref else None)
        return a, ScenarioOptions(self.ref, target, (*self.set_, blocks, seed))

    def check(self) -> None:
        """Refuse what could not be judged in the end, before hours of measuring."""
        from runner.measure.gate import Gate
        from runner.results.metric_names import find_metric

        parsed_margin(self.margin)
        for name in self.metrics:
            find_metric(name)
        if self.fail_if is not None:
            Gate.of(self.fail_if)

    def check_measured(self, *sides: LoadedScenario) -> None:
        """Refuse percentiles that one of the sides would not measure."""
        from runner.results.metric_names import percentile_of

        for side in sides:
            measured = side.scenario.measure.percentiles
            for name in self.metrics:
                if (q := percentile_of(name)) is not None and q not in measured:
                    raise UsageError(
                        f"--metric {name}: {side.source} does not measure it",
                        hint=f"it measures {', '.join(f'p{each:g}' for each in measured)}; see measure.percentiles",
                    )


def against_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a comparison; the function gets one `against: Against | None`."""

    def collect(
        against: str | None,
        against_set: tuple[str, ...],
        against_target: str | None,
        blocks: int,
        margin: str,
        metrics: tuple[str, ...],
        fail_if: str | None,
        **rest: Any,
    ) -> Any:
        if against is None and (against_set or against_target or metrics or fail_if):
            raise UsageError(
                "--against-set, --against-target, --metric and --fail-if need --against FILE",
                hint="name the baseline, for example --against efficientnet --against-set vars.max_batch=4",
            )
        chosen = Against(against, against_set, against_target, blocks, margin, metrics, fail_if) if against else None
        return function(against=chosen, **rest)

    collect.__name__, collect.__doc__ = function.__name__, function.__doc__
    collect.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    collect = gate_options(collect)
    for decorate in (
        click.option(
            "--blocks",
            type=click.IntRange(min=FEWEST_BLOCKS),
            default=6,
            show_default=True,
            help="With --against: measurements of each point on both sides; fewer than 6 give likely verdicts.",
        ),
        click.option("--against-target", metavar="NAME", help="Target of the baseline; by default that of --target."),
        click.option(
            "--against-set", multiple=True, metavar="ADDRESS=VALUE", help="Override a value of the baseline only."
        ),
        click.option(
            "--against",
            metavar="FILE",
            help="Compare with this scenario, the baseline, measured in turn with FILE; may be the same file.",
        ),
    ):
        collect = decorate(collect)
    return collect


def run_against(options: ScenarioOptions, against: Against, run_options: RunOptions, observer: Observer) -> Any:
    """Measure both sides."""
    from runner.workflow.against import run_against as measure

    against.check()
    a, b = (side.load_matrix() for side in against.sides(options))
    against.check_measured(a, b)
    return measure(a, b, run_options, observer)


def show(against: Against, outcomes: Any) -> int:
    """The comparison on stdout; exit code of the gate, else that of the points."""
    for name, outcome in zip("AB", outcomes, strict=True):
        for problem in outcome.problems:
            note(f"warning: {name}: {problem}")
    a, b = (outcome.directory for outcome in outcomes)
    code = show_comparison(a, b, against.margin, against.metrics, against.fail_if, "table")
    click.echo(f"results: {a} {b}")
    return code or max(outcome.exit_code for outcome in outcomes)
