"""`scenario compare`: is A another run than B?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.console import note
from runner.errors import GateError, UsageError

if TYPE_CHECKING:
    from runner.results.comparison import Comparison


def gate_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --margin, --metric and --fail-if."""
    for decorate in (
        click.option(
            "--fail-if",
            "fail_if",
            metavar="CONDITION",
            help="Exit code 10 where it holds: worse, worse:p99, 'latency_p99_ms > 5%' (worse by more), undecided.",
        ),
        click.option(
            "--metric",
            "metrics",
            multiple=True,
            help="throughput, mean, p50, p95, p99, errors, or a key of points.csv; may be repeated.",
        ),
        click.option("--margin", default="2%", show_default=True, help="Smaller differences do not matter."),
    ):
        function = decorate(function)
    return function


def where_runs_are(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --output-dir, for runs that are named without their folder."""
    return click.option(
        "--output-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("runs"),
        show_default=True,
        help="Where runs are that are named without their folder.",
    )(function)


@click.command("compare")
@click.argument("run_a", metavar="A")
@click.argument("run_b", metavar="B")
@where_runs_are
@gate_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "json"]),
    default="table",
    show_default=True,
    help="markdown: for a pull request.",
)
def command(
    run_a: str,
    run_b: str,
    output_dir: Path,
    margin: str,
    metrics: tuple[str, ...],
    fail_if: str | None,
    form: str,
) -> int:
    """Compare run A with run B, the baseline: better, worse, equivalent or undecided, metric by metric.

    Paired blocks where both were measured in turn (`scenario run A --against B`), otherwise a weaker verdict.
    Of studies the files themselves, the winners, and points with the same values are compared.
    Exit code 0, or 10 where --fail-if holds.
    """
    return show_comparison(find_run(run_a, output_dir), find_run(run_b, output_dir), margin, metrics, fail_if, form)


def find_run(name: str, base: Path) -> Path:
    """A run by its path, or by its name in `base`."""
    found = next((path for path in (Path(name), base / name) if path.is_dir()), None)
    if found is None:
        raise UsageError(f"no run {name!r}: neither a folder nor a run in {base}", hint=f"ls {base}")
    return found


def show_comparison(a: Path, b: Path, margin: str, metrics: tuple[str, ...], fail_if: str | None, form: str) -> int:
    """Print the comparison; the exit code is that of its gate."""
    from runner.measure.compared_metrics import DEFAULT_METRICS
    from runner.measure.gate import Gate
    from runner.results.metric_names import find_metric
    from runner.workflow.comparing import compare_runs

    gate = Gate.of(fail_if) if fail_if is not None else None
    asked = tuple(find_metric(name).key for name in metrics)
    for key in gate.metrics() if gate else ():
        if key not in (asked or DEFAULT_METRICS):
            asked = (*(asked or DEFAULT_METRICS), key)
    comparison = compare_runs(a, b, asked, parsed_margin(margin))
    click.echo(rendered(comparison, form), nl=False)
    missed = gate.missed(comparison) if gate else ()
    for sentence in missed:
        note(f"gate missed: {sentence}")
    return GateError.exit_code if missed else 0


def parsed_margin(text: str) -> float:
    """`2%` as a share."""
    from runner.units import UnitError, parse_fraction

    try:
        return parse_fraction(text)
    except UnitError as error:
        raise UsageError(f"--margin: {error}", hint="for example --margin 2%") from None


def rendered(comparison: Comparison, form: str) -> str:
    """As the user asked for it."""
    from runner.report.comparison import comparison_json, comparison_markdown, comparison_text

    if form == "json":
        return comparison_json(comparison).decode()
    return (comparison_markdown if form == "markdown" else comparison_text)(comparison)
