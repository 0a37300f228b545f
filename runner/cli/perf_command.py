"""`scenario perf`: perf_analyzer's command line over the one measuring path."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.console import note, write_file
from runner.cli.perf.outputs import check_outputs, wishes_of
from runner.cli.perf.parsing import parse
from runner.cli.perf.showing import help_text
from runner.cli.raw_command import RawCommand
from runner.errors import EXIT_OK, PointsError

if TYPE_CHECKING:
    from runner.cli.perf.model import KnownModel
    from runner.cli.perf.parsed import PerfOptions
    from runner.scenario.loading import LoadedScenario
    from runner.workflow import Outcome

GONE_AFTER = "10s"
"""A server that was asked a moment ago and no longer answers is not coming up: it died, and waiting shows nothing."""


@click.command("perf", cls=RawCommand)
@click.pass_context
def command(context: click.Context) -> int:
    """Load a server that runs already, with perf_analyzer's options."""
    options = parse(context.obj)
    if options.help:
        click.echo(help_text())
    elif options.show_version:
        from runner import __version__

        click.echo(f"scenario {__version__}")
    else:
        return _checked(options, context.obj)
    return EXIT_OK


def _checked(options: PerfOptions, argv: tuple[str, ...]) -> int:
    """Everything that would be found wrong after the load is looked at before it."""
    from runner.cli.perf.translating import translate

    check_outputs(options)
    for line in translate(options).notes:
        note(f"note: {line}")
    if options.emit is not None:
        return _emit(options, argv, Path(options.emit))
    return _run(options, argv)


def _emit(options: PerfOptions, argv: tuple[str, ...], file: Path) -> int:
    from runner.cli.perf.translating import translate
    from runner.cli.perf.writing import scenario_text

    translation = translate(options, folder=file.absolute().parent)
    write_file(file, scenario_text(translation, ["perf_analyzer", *argv]))
    click.echo(f"wrote {file}; scenario run {file}")
    return EXIT_OK


def _run(options: PerfOptions, argv: tuple[str, ...]) -> int:
    from runner.cli.perf.asking import ask_server, check_credentials, check_inputs
    from runner.cli.perf.blaming import told_by_options
    from runner.cli.perf.keeping import shown_whatever_happens
    from runner.cli.progress import observer_for
    from runner.workflow import RunOptions, run_scenario

    with tempfile.TemporaryDirectory(prefix="scenario-perf-") as folder:
        file = Path(folder) / "perf.yaml"
        with told_by_options(options, file):
            loaded = _loaded(options, argv, file)
            check_credentials(loaded)
            loaded = _loaded(options, argv, file, ask_server(loaded))
            if options.values or options.shapes:
                check_inputs(loaded)
            wanted = RunOptions(output_dir=Path(options.output_dir), identify=options.identify)
            show, keep = partial(_show, options=options), partial(_keep, options=options)
            with observer_for(options.progress) as plain, shown_whatever_happens(plain, show, keep) as observer:
                outcome = run_scenario(loaded, wanted, observer)
    _show(outcome, options)
    return exit_code(outcome)


def _loaded(options: PerfOptions, argv: tuple[str, ...], file: Path, model: KnownModel | None = None) -> LoadedScenario:
    """The scenario as every other command loads one; `--set` comes last."""
    from runner.cli.perf.translating import translate
    from runner.cli.perf.writing import scenario_text
    from runner.scenario.loading import load_scenario

    file.write_text(scenario_text(translate(options, model), ["perf_analyzer", *argv]), encoding="utf-8")
    return load_scenario(file, set_=(f"server.ready.timeout={GONE_AFTER}", *options.set_))


def _show(outcome: Outcome, options: PerfOptions) -> None:
    """perf_analyzer's own words on stdout, what is doubtful about them on stderr."""
    from runner.report import perf

    wishes = wishes_of(options)
    click.echo(perf.write(outcome.run, wishes), nl=False)
    for line in perf.warnings(outcome.run, wishes).splitlines():
        note(line)
    for line in outcome.problems:
        if " is missing: " not in line:  # told above, without the way to resume it
            note(f"warning: {line}")
    if place := outcome.run.manifest.server.get("traces_at"):
        note(f"traces: {place} where the server runs")
    note(f"results: {outcome.directory}")


def _keep(directory: Path, options: PerfOptions) -> None:
    """What a kill must not take away."""
    from runner.report import perf
    from runner.results.run import load_run

    if options.csv is not None:
        perf.keep(load_run(directory), wishes_of(options))


def exit_code(outcome: Outcome) -> int:
    """That of the run; and 5 where a level never became stable, which perf_analyzer would not report at all."""
    trials = (point.trial for point in outcome.run.points())
    if outcome.exit_code == EXIT_OK and any(
        flag.code == "unsteady" for trial in trials if trial is not None for flag in trial.flags
    ):
        return PointsError.exit_code
    return outcome.exit_code
