"""The help of `scenario perf`: the table of options in another dress."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator

from runner.cli.perf.option import Option
from runner.cli.perf.options import GROUPS

_USAGE = """\
Usage: scenario perf -m MODEL [OPTIONS]

  Load a server that runs already, with perf_analyzer's options; writes a run directory, and prints what perf_analyzer
  would. `scenario import "perf_analyzer …"` prints the scenario instead. Differences: docs/perf.md

  Exit code 0 when every level is stable and valid; 2: the command line makes no sense, or a file cannot be written;
  4: the server cannot be reached or refuses; 5: a level is unstable, invalid or missing (results are written all the
  same); 10: a limit that no load meets; 130: Ctrl-C.
"""
STATUS = {"honoured": "yes", "no effect": "accepted, no effect", "other server": "not yet", "refused": "refused"}
"""Status -> how people read it."""


def help_text() -> str:
    """What `scenario perf --help` prints."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    lines = [_USAGE]
    for heading, options in GROUPS.items():
        lines.append(f"{heading}:")
        for option in options:
            lines += _help_of(option, width)
        lines.append("")
    return "\n".join(lines).rstrip("\n")


def _help_of(option: Option, width: int) -> Iterator[str]:
    head = f"  {', '.join(option.spellings)} {option.metavar}".rstrip()
    words = option.help if option.status == "honoured" else f"{option.help} ({_because(option)})"
    body = textwrap.wrap(words, max(width - 36, 30))
    if len(head) <= 34:
        yield f"{head:<36}{body.pop(0)}"
    else:
        yield head
    yield from (f"{'':<36}{line}" for line in body)


def _because(option: Option) -> str:
    return f"{STATUS[option.status]}: {option.becomes}"
