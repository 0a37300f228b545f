"""Files that the command line names: whether they can be written is found out before the load, not after it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from runner.cli.perf.parsed import PerfOptions
from runner.errors import UsageError
from runner.results.perf_wishes import PerfWishes


def wishes_of(options: PerfOptions) -> PerfWishes:
    """What is to be shown of the run."""
    protocol: Any = options.protocol
    levels: Any = (
        "periodic"
        if options.periodic is not None
        else "request_rate"
        if options.rate or options.intervals or options.fixed_schedule or options.sla_s or options.infinite
        else "concurrency"
    )
    return PerfWishes(
        csv=None if options.csv is None else Path(options.csv),
        verbose_csv=options.verbose_csv,
        profile_export=None if options.profile_export is None else Path(options.profile_export),
        percentile=options.percentile,
        verbosity=options.verbosity,
        protocol=protocol,
        levels=levels,
        streaming=options.streaming,
        collect_metrics=options.collect_metrics,
    )


def check_outputs(options: PerfOptions) -> None:
    """Refuse files that could not be written, all at once.

    Raises:
        UsageError: names each and says why.
    """
    named = {"-f": options.csv, "--profile-export-file": options.profile_export, "--emit-scenario": options.emit}
    problems = [f"{name}: {why}" for name, path in named.items() if path is not None and (why := _why_not(Path(path)))]
    if options.profile_export is not None and Path(options.profile_export).exists():
        problems.append(f"--profile-export-file: {options.profile_export} exists already")
    if problems:
        raise UsageError("; ".join(problems), hint="name a file that does not exist yet, in a folder that you may use")


def _why_not(path: Path) -> str | None:
    """Why nothing can be written there; None where it can."""
    if path.is_dir():
        return f"{path} is a folder"
    folder = path.absolute().parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    if not os.access(path if path.exists() else folder, os.W_OK):
        return f"{path} may not be written"
    return None
