"""One option of a command line: how it is written, what it means here, and what it becomes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from runner.cli.perf.values import Parser

ADDRESS = re.compile(r"(?<![`\w])[a-z_]+(?:\.[a-z_]+)+")
"""An address in the words of `becomes`."""
Status = Literal["honoured", "no effect", "other server", "refused"]
"""no effect: accepted, and what it asks for is always so or means nothing here; other server: refused until servers of
that kind can be loaded; refused: on purpose."""


@dataclass(frozen=True)
class Option:
    """A row of the table."""

    forms: str
    """Spellings, separated by blanks, for example `-b --batch-size`."""
    field: str
    """Attribute of `PerfOptions`; empty where the option is refused or has no effect."""
    parse: Parser | None
    """None: the option takes no value."""
    metavar: str
    help: str
    becomes: str
    """Addresses in the scenario, or why there is none."""
    status: Status = "honoured"
    repeated: bool = False
    constant: Any = True
    """Value of an option that takes none."""
    unless: Any = None
    """With this value the option is honoured, whatever its status says."""

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every way to write it."""
        return tuple(self.forms.split())

    @property
    def name(self) -> str:
        """How messages call it: by its long form where it has one."""
        return next((form for form in self.spellings if form.startswith("--")), self.spellings[0])

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where in a scenario its value may be found."""
        return tuple(ADDRESS.findall(self.becomes)) if self.status == "honoured" else ()


@dataclass(frozen=True)
class Dialect:
    """The command line of one tool."""

    tool: str
    options: tuple[Option, ...]

    def forms(self) -> dict[str, Option]:
        """Spelling -> option."""
        return {form: option for option in self.options for form in option.spellings}
