"""Arguments to options, as GNU getopt_long reads them; every mistake is told at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.cli.perf.checking import contradictions
from runner.cli.perf.option import Dialect, Option
from runner.cli.perf.options import PERF_ANALYZER
from runner.cli.perf.parsed import PerfOptions
from runner.errors import UsageError

_DEFAULTS: dict[str, dict[str, Any]] = {
    "benchmark.py": {"model": "densenet_onnx", "protocol": "grpc", "percentile": 95.0, "sla_s": 1.0, "qps": 5.0}
}
"""Where the defaults of a tool differ from perf_analyzer's."""


def parse(argv: Sequence[str], dialect: Dialect = PERF_ANALYZER) -> PerfOptions:
    """Read a command line without the program's name.

    Raises:
        UsageError: says every mistake in it.
    """
    reader = _Reader(dialect, list(argv))
    reader.read()
    defaults = _DEFAULTS.get(dialect.tool, {})
    options = PerfOptions(tool=dialect.tool, given=tuple(reader.given), **{**defaults, **reader.found})
    if not (options.help or options.show_version):
        reader.mistakes += () if reader.mistakes else contradictions(options)
        if reader.mistakes:
            raise mistakes_error(reader.mistakes, dialect.tool)
    return options


def mistakes_error(mistakes: Sequence[str], tool: str, hint: str | None = None) -> UsageError:
    """All of them at once."""
    hint = hint or "scenario perf --help says what there is"
    if len(mistakes) == 1:
        return UsageError(mistakes[0], hint=hint)
    listed = "".join(f"\n  {mistake}" for mistake in mistakes)
    return UsageError(f"{len(mistakes)} mistakes in the {tool} command line:{listed}", hint=hint)


@dataclass
class _Reader:
    """Goes through the words once."""

    dialect: Dialect
    rest: list[str]
    found: dict[str, Any] = field(default_factory=dict)
    given: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    def read(self) -> None:
        """Consume every word."""
        while self.rest:
            word = self.rest.pop(0)
            if word.startswith("--") and len(word) > 2:
                self._long(word)
            elif word.startswith("-") and len(word) > 1 and word != "--":
                self._short(word[1:])
            elif word != "--":
                self.mistakes.append(f"unexpected argument {word!r}")

    def _long(self, word: str) -> None:
        name, equals, value = word.partition("=")
        option = self._named(name)
        if option is None:
            # What follows was probably meant as its value: one mistake is enough.
            if not equals and self.rest and not self.rest[0].startswith("-"):
                self.rest.pop(0)
            return
        if option.parse is None:
            if equals:
                self.mistakes.append(f"{name}: expected no value, got {value!r}")
            self._keep(option, option.constant)
        elif equals:
            self._value(option, value)
        else:
            self._next(option)

    def _short(self, letters: str) -> None:
        """A cluster such as `-av`; a letter that takes a value takes the rest of the word."""
        forms = self.dialect.forms()
        while letters:
            letter, letters = letters[0], letters[1:]
            option = forms.get(f"-{letter}")
            if option is None:
                self.mistakes.append(_unknown(f"-{letter}", self.dialect))
                return
            if option.parse is None:
                self._keep(option, option.constant)
                continue
            if letters:
                self._value(option, letters)
            else:
                self._next(option)
            return

    def _named(self, name: str) -> Option | None:
        """The option of a long form, which may be cut short as long as it is unique."""
        forms = self.dialect.forms()
        if name in forms:
            return forms[name]
        meant = {id(forms[form]): form for form in forms if form.startswith(name)}
        if len(meant) == 1:
            return forms[next(iter(meant.values()))]
        listed = ", ".join(sorted(meant.values()))
        self.mistakes.append(f"{name} may mean {listed}" if meant else _unknown(name, self.dialect))
        return None

    def _next(self, option: Option) -> None:
        """The value in the word that follows."""
        if not self.rest:
            self.mistakes.append(f"{option.name}: expected {option.metavar}, got nothing")
            return
        self._value(option, self.rest.pop(0))

    def _value(self, option: Option, value: str) -> None:
        assert option.parse is not None
        try:
            self._keep(option, option.parse(value))
        except ValueError as error:
            self.mistakes.append(f"{option.name}: {error}, got {value!r}")

    def _keep(self, option: Option, value: Any) -> None:
        self.given.append(option.name)
        if option.status in ("other server", "refused") and (option.unless is None or value != option.unless):
            self.mistakes.append(f"{option.name} is not supported: {option.becomes}")
        if not option.field:
            return
        if option.field == "verbosity":
            self.found["verbosity"] = self.found.get("verbosity", 0) + 1
        elif option.repeated:
            self.found[option.field] = (*self.found.get(option.field, ()), value)
        else:
            self.found[option.field] = value


def _unknown(name: str, dialect: Dialect) -> str:
    near = difflib.get_close_matches(name, dialect.forms(), n=1, cutoff=0.6) if name.startswith("--") else []
    return f"there is no option {name}" + (f"; did you mean {near[0]}?" if near else f" in {dialect.tool}")


def without_effect(options: PerfOptions, dialect: Dialect = PERF_ANALYZER) -> Iterator[Option]:
    """Options that were given and change nothing here."""
    forms = dialect.forms()
    yield from (forms[n] for n in dict.fromkeys(options.given) if forms[n].status == "no effect")
