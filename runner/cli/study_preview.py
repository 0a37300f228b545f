"""`scenario tune --dry-run`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from runner.report.tabular import short_names
from runner.units import counted, rough_duration

if TYPE_CHECKING:
    from runner.scenario.loading import LoadedScenario
    from runner.workflow.tuning import StudyPreview


def show_preview(loaded: LoadedScenario) -> None:
    """Print what a study would do on stdout; changes nothing."""
    from runner.workflow.tuning import preview_study

    for line in preview_lines(preview_study(loaded)):
        click.echo(line)


def preview_lines(preview: StudyPreview) -> Iterator[str]:
    """The study before it begins."""
    tune, names = preview.tune, short_names(list(preview.tune.space))
    size = "without end" if preview.size is None else counted(preview.size, "point")
    yield f"target {preview.target or '-'} · strategy {tune.strategy.kind}, seed {tune.strategy.seed} · space {size}"
    for address, domain in tune.space.items():
        yield f"  space       {address}: {_plain(domain)}"
    for text in tune.exclude:
        yield f"  exclude     {text}"
    for name, objective in tune.objectives.items():
        yield f"  objective   {name} {objective if isinstance(objective, str) else objective.direction}"
    for text in tune.constraints:
        yield f"  constraint  {text}"
    for number, (point, problem) in enumerate(preview.first):
        own = "the file itself" if number == 0 else " ".join(f"{names[a]}={value}" for a, value in point.items())
        yield f"  point {number:<5} {own}{f'  infeasible: {problem}' if problem else ''}"
    yield f"search: {_search(preview)}; a point takes at most {rough_duration(preview.point_s)}"
    yield _confirmation(preview)


def _search(preview: StudyPreview) -> str:
    budget = preview.tune.budget
    limits = [f"at most {rough_duration(budget.time)}"] if budget.time is not None else []
    limits += [f"at most {counted(budget.trials, 'point')}"] if budget.trials is not None else []
    if budget.patience is not None:
        limits.append(f"ends after {counted(budget.patience, 'point')} without an improvement")
    if budget.time is None and preview.search_s is not None:
        limits.append(f"at most {rough_duration(preview.search_s)} of load")
    return ", ".join(limits) or "every point"


def _confirmation(preview: StudyPreview) -> str:
    confirm = preview.tune.confirm
    if confirm is None:
        return "no confirmation, so no winner is named"
    return (
        f"then confirmation: {counted(confirm.top, 'point')} and the file itself in "
        f"{counted(confirm.repeats, 'block')}, {counted(preview.confirmations, 'fresh server')}, "
        f"at most {rough_duration(preview.confirm_s)} of load"
    )


def _plain(domain: Any) -> str:
    if isinstance(domain, tuple | list):
        return ", ".join(map(str, domain))
    return ", ".join(f"{key} {value}" for key, value in domain.model_dump(exclude_defaults=True).items())
