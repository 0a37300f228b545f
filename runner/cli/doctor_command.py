"""`scenario doctor`: what this machine has for a scenario, and what mends what it lacks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from runner.cli.console import print_json, use_color
from runner.cli.options import ScenarioCommand, ScenarioOptions, scenario_options

if TYPE_CHECKING:
    from runner.runtimes.findings import Finding
    from runner.workflow.doctoring import Choice, Diagnosis

_COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}
_MARGIN = " " * 8


@click.command("doctor", cls=ScenarioCommand)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@scenario_options
def command(options: ScenarioOptions, as_json: bool) -> int:
    """Say what this machine has for FILE, and how to mend what it lacks; starts and changes nothing.

    Looks at the target of --target, else at the one that a run would choose. Exit code 3 when something fails that this
    target needs.
    """
    from runner.workflow.doctoring import diagnose

    found = diagnose(options.load_for, options.target)
    if as_json:
        print_json(found.as_dict())
    else:
        for line in _lines(found, color=use_color(sys.stdout)):
            click.echo(line)
    return found.exit_code


def _lines(found: Diagnosis, *, color: bool) -> Iterator[str]:
    for choice in found.choices:
        yield f"target {choice.name}: {_why(choice)}"
    for section in found.sections:
        if section.findings:
            yield f"\n{section.name}"
        for finding in section.findings:
            yield from _finding(finding, color=color)
    yield f"\n{_summary(found)}"


def _why(choice: Choice) -> str:
    reasons = "; ".join(finding.detail for finding in choice.missing)
    if choice.chosen:
        return f"chosen, though {reasons}" if reasons else "chosen"
    return reasons or "possible, --target chooses it"


def _finding(finding: Finding, *, color: bool) -> Iterator[str]:
    level = f"{finding.level:<4}"
    yield f"  {click.style(level, fg=_COLORS[finding.level]) if color else level}  {finding.check}: {finding.detail}"
    if finding.remedy and finding.level != "ok":
        yield f"{_MARGIN}-> {finding.remedy}"


def _summary(found: Diagnosis) -> str:
    levels: list[str] = [finding.level for section in found.sections for finding in section.findings]
    counts = ", ".join(f"{levels.count(level)} {level}" for level in _COLORS)
    able = "cannot run" if found.failed else "can run"
    return f"{found.scenario} {able} here{f' on target {found.target}' if found.target else ''} ({counts})"
