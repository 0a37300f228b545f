"""The table at the end of a run: what people look at first, in a hundred columns."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runner.report.beside import explained
from runner.report.capacity import print_capacities
from runner.report.combined import percentile_ms
from runner.report.points import addresses, composing_models
from runner.report.slo import slo_lines
from runner.report.stage_table import print_stages
from runner.report.tabular import number_text, shortened
from runner.results.metrics import find_percentile, percentile_name
from runner.results.records import Estimate, Percentile, Summary, Trial
from runner.results.run import Point, Run
from runner.results.stages import compute_shares

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from runner.results.anchors import AnchorStep

PERCENTILES = (50.0, 95.0, 99.0)
ABSENT = "-"
_HAVE_COLUMNS = {"workload.batch", "load.concurrency", "load.rate"}
_STATE_STYLE = {"invalid": "yellow", "failed": "red", "interrupted": "red", "skipped": "dim", "missing": "dim"}


def console_table(run: Run, width: int = 100, color: bool = False) -> str:
    """The points of a run as a table with footnotes, at most `width` columns wide; escape codes only with `color`.

    Where the width is too small columns are left out; a number is never cut.
    """
    from rich.console import Console

    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        emoji=False,
        markup=False,
        legacy_windows=False,
    )
    notes = Notes()
    table, shares = _fitting(run, notes, console)
    console.print(_title(run), style="bold")
    console.print(table, width=max(width, _least_width(table, console)), crop=False)
    for line in (*notes.lines(), *_closing(run, shares)):
        console.print(line)
    print_stages(run, _places(run), console)
    print_capacities(run, console)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


@dataclass
class Notes:
    """Footnotes: a letter for each kind of remark, in order of appearance."""

    _texts: dict[str, str] = field(default_factory=dict)
    _uses: Counter[str] = field(default_factory=Counter)

    def mark(self, code: str, text: str) -> str:
        """The letter for `code`; the first text that comes with it is the one shown."""
        self._texts.setdefault(code, text)
        self._uses[code] += 1
        return _letter(list(self._texts).index(code))

    def clear(self) -> None:
        """Forget every remark."""
        self._texts.clear()
        self._uses.clear()

    def lines(self) -> list[str]:
        """One line per letter."""
        return [
            f"{_letter(index)}  {code}: {text.rstrip('.')}{_others(self._uses[code] - 1)}"
            for index, (code, text) in enumerate(self._texts.items())
        ]


def _letter(index: int) -> str:
    return chr(ord("a") + index) if index < 26 else f"n{index}"


def _others(count: int) -> str:
    return f" (and {count} more point{'s' if count > 1 else ''})" if count else ""


Column = tuple[str, Callable[[Point], str]]
"""Header and cell."""


def _fitting(run: Run, notes: Notes, console: Console) -> tuple[Table, bool]:
    """The most telling table that fits, and whether it has the stages."""
    interval, remarks = ("±", _half_width), ("notes", lambda point: _remarks(point, notes))
    wide, short = _stages(run, MAX_MODEL_NAME), _stages(run, MIN_MODEL_NAME)
    for throughput, stages in (([interval], wide), ([interval], short), ([], short), ([interval], []), ([], [])):
        notes.clear()
        table = _table(run, [*_places(run), *_numbers(throughput), *stages, remarks])
        if _least_width(table, console) <= console.width:
            break
    return table, bool(stages)


def _least_width(table: Table, console: Console) -> int:
    unlimited = console.options.update(width=100_000)
    return console.measure(table, options=unlimited).minimum


def _table(run: Run, columns: Sequence[Column]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    points = run.points()
    cells = [[cell(point) for _, cell in columns] for point in points]
    folded = len(_varied(run))
    for index, (header, _) in enumerate(columns):
        widest = max((len(row[index]) for row in cells), default=0)
        if index < folded:
            table.add_column(header, overflow="fold")
        else:
            last = index == len(columns) - 1
            table.add_column(
                header, justify="left" if last else "right", no_wrap=True, min_width=max(widest, len(header))
            )
    for point, row in zip(points, cells, strict=True):
        table.add_row(*row, style=_STATE_STYLE.get(point.state))
    return table


def _varied(run: Run) -> list[str]:
    return [address for address in addresses(run) if address not in _HAVE_COLUMNS]


def _places(run: Run) -> list[Column]:
    """What tells the points apart."""
    return [
        *((address.rsplit(".", 1)[-1], _parameter(address)) for address in _varied(run)),
        ("batch", lambda point: str(point.case.batch)),
        *_load_columns(run),
    ]


def _load_columns(run: Run) -> list[Column]:
    """Requests in flight for closed loops, the asked rate for open ones; both where a run has both."""
    loads = [case.load for case in run.cases]
    columns: list[Column] = []
    if not loads or any("rate" not in load and load.get("kind") != "sla" for load in loads):
        columns.append(("conc.", lambda point: _in_flight(point.case.load)))
    if any("rate" in load for load in loads):
        columns.append(("rate", lambda point: _plain(point.case.load.get("rate"))))
    return columns


def _in_flight(load: dict[str, Any]) -> str:
    """`16`, or `1-8` where it grows."""
    if load.get("kind") == "periodic":
        return f"{load['start']}-{load['end']}"
    return _plain(load.get("concurrency"))


def _parameter(address: str) -> Callable[[Point], str]:
    return lambda point: _plain(point.case.parameters.get(address))


def _numbers(after_throughput: Sequence[Column]) -> list[Column]:
    return [
        ("infer/s", _throughput),
        *after_throughput,
        *((f"{percentile_name(q)} ms", _percentile(q)) for q in PERCENTILES),
    ]


MAX_SHARE_COLUMNS = 3
MAX_MODEL_NAME, MIN_MODEL_NAME = 14, 6


def _stages(run: Run, name_length: int) -> list[Column]:
    """Share of each composing model, or of the two largest where there are many."""
    models = composing_models(run)
    if len(models) < 2:
        return []
    if len(models) > MAX_SHARE_COLUMNS:
        return [("compute", _largest_shares(name_length))]
    return [(f"{shortened(model, name_length)} %", _share(model)) for model in models]


def _share(model: str) -> Callable[[Point], str]:
    def cell(point: Point) -> str:
        shares = compute_shares(point.trial.server) if point.trial else {}
        return f"{100 * shares[model]:.0f}" if model in shares else ABSENT

    return cell


def _largest_shares(name_length: int) -> Callable[[Point], str]:
    def cell(point: Point) -> str:
        shares = compute_shares(point.trial.server) if point.trial else {}
        largest = sorted(shares.items(), key=lambda item: -item[1])[:2]
        return ", ".join(f"{shortened(model, name_length)} {value:.0%}" for model, value in largest) or ABSENT

    return cell


def _summary(point: Point) -> Summary | None:
    return point.trial.summary if point.trial else None


def _throughput(point: Point) -> str:
    summary = _summary(point)
    return number_text(summary.inferences_per_s.value) if summary else ABSENT


def _half_width(point: Point) -> str:
    summary = _summary(point)
    estimate = summary.inferences_per_s if summary else Estimate(0.0)
    if estimate.low is None or estimate.high is None or not estimate.value:
        return ""
    return f"{(estimate.high - estimate.low) / 2 / estimate.value:.1%}"


def _percentile(q: float) -> Callable[[Point], str]:
    def cell(point: Point) -> str:
        found = find_percentile(point.trial, q) if point.trial else None
        if found is not None and found.estimate.high is None:
            low = found.estimate.low
            return f"~{number_text(found.estimate.value)}" if low is None else f"≥{number_text(low)}"
        value = percentile_ms(point.trial, q) if point.trial and point.trial.summary else None
        return ABSENT if value is None else number_text(value)

    return cell


def _remarks(point: Point, notes: Notes) -> str:
    flags = point.trial.flags if point.trial else ()
    marks = [notes.mark(flag.code, flag.message) for flag in flags]
    if point.state not in ("ok", "invalid"):
        marks.insert(0, notes.mark(point.state, point.reason or "no reason was recorded"))
    words = [point.state] if point.state != "ok" else []
    return " ".join([*words, *sorted(marks)])


def _title(run: Run) -> str:
    manifest = run.manifest
    target = f", target {manifest.target}" if manifest.target else ""
    states = Counter(point.state for point in run.points())
    count, repeats = len(run.cases), max((case.repeats for case in run.cases), default=1)
    summary = f" ({', '.join(f'{number} {state}' for state, number in states.items())})" if states else ""
    times = f" × {repeats}" if repeats > 1 else ""
    return f"{manifest.scenario.name}{target}: {count} point{'' if count == 1 else 's'}{times}{summary}"


def _closing(run: Run, shares: bool) -> Iterable[str]:
    bounds = [found.estimate for trial in run.trials.values() for found in _bounded(trial)]
    if any(estimate.low is not None for estimate in bounds):
        yield "≥  too few independent requests for an upper bound: the percentile is at least this"
    if any(estimate.low is None for estimate in bounds):
        yield "~  too few independent requests for any bound"
    yield from _repeated(run)
    yield from _anchored(run)
    yield from slo_lines(run)
    yield from explained(run)
    if shares:
        yield "%  share of the server's compute time, queues not counted"
    if labels := _common_labels(run):
        yield f"labels: {', '.join(f'{key}: {value}' for key, value in labels.items())}"
    for event in run.resumed:
        if event.environment_changes:
            yield f"resumed {event.utc} in a changed environment: {'; '.join(event.environment_changes)}"
    if run.torn:
        yield f"journal: {run.torn}"


def _repeated(run: Run) -> Iterable[str]:
    """How a row of several measurements is to be read, and which part of its spread is between starts."""
    spreads = list(run.spreads.values())
    if not spreads:
        return
    times = sorted({spread.used for spread in spreads})
    counted = f"{times[0]}" if len(times) == 1 else f"{times[0]} to {times[-1]}"
    yield f"medians of {counted} repeats, ± by Student's t between them; percentiles of all their latencies together"
    between = [spread.between for spread in spreads if spread.between is not None]
    within = [spread.within for spread in spreads if spread.within is not None]
    if between and within:
        yield f"throughput varies by {max(between):.1%} between repeats and {max(within):.1%} within one, at most"


def _anchored(run: Run) -> Iterable[str]:
    if not run.anchors:
        return
    name, count = run.anchors[0].case_id, len(run.anchors)
    if not run.anchor_steps:
        yield f"anchor {name}: {count} measurements, too few usable ones to tell whether the rig drifts"
        return
    largest = max(run.anchor_steps, key=lambda step: abs(step.change))
    verdict = _drift_verdict(run.anchor_steps)
    change = f"largest change {largest.change:+.1%} ±{largest.uncertainty:.1%}"
    yield f"anchor {name}: {count} measurements, {change}: {verdict}"


def _drift_verdict(steps: Sequence[AnchorStep]) -> str:
    """Three-valued: an anchor that is known badly cannot show that the rig is level."""
    drifted = sum(step.drifted for step in steps)
    if drifted:
        times = "once" if drifted == 1 else f"{drifted} times"
        return f"the rig drifted {times}, see the points flagged trend"
    if all(step.is_level for step in steps):
        return "the rig is level"
    blind = max(step.uncertainty for step in steps)
    return (
        f"no drift seen, but less than {blind:.1%} would not be" if math.isfinite(blind) else "no drift could be seen"
    )


def _common_labels(run: Run) -> dict[str, str]:
    """Facts that hold for every point and that a person can read; digests are in the tables."""
    trials = list(run.trials.values())
    shared = (
        {key: value for key, value in trials[0].labels.items() if _everywhere(key, value, trials)} if trials else {}
    )
    return {key: value for key, value in {**run.manifest.labels, **shared}.items() if len(value) <= MAX_LABEL}


def _everywhere(key: str, value: str, trials: Iterable[Trial]) -> bool:
    return all(trial.labels.get(key) == value for trial in trials)


MAX_LABEL = 40


def _bounded(trial: Trial) -> list[Percentile]:
    found = [find_percentile(trial, q) for q in PERCENTILES]
    return [percentile for percentile in found if percentile is not None and percentile.estimate.high is None]


def _plain(value: Any) -> str:
    return ABSENT if value is None else str(value)
