"""Mistakes in a scenario: what is wrong, where, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runner.builtin import nearest
from runner.scenario.tree import Place

CODES = {
    "E100": "not YAML",
    "E101": "file cannot be read",
    "E102": "not one map",
    "E103": "duplicate key",
    "E104": "too large when expanded",
    "E105": "YAML feature that scenarios do not use",
    "E110": "unknown key",
    "E111": "missing key",
    "E112": "wrong type",
    "E113": "value not allowed",
    "E114": "wrong unit",
    "E115": "unknown kind",
    "E120": "unknown reference",
    "E121": "reference cycle",
    "E122": "malformed reference",
    "E130": "unknown address",
    "E131": "axis that makes no points",
    "E132": "predicate that makes no sense",
    "E133": "unknown metric",
    "E140": "missing file",
    "E141": "wrong kind of file",
    "E142": "wrong content of a file",
    "E150": "batch larger than the model takes",
    "E151": "model that no server would load",
}
"""Every code and what it stands for."""


@dataclass(frozen=True)
class Diagnostic:
    """One mistake; `line` and `column` count from 1 and are None when no text is to blame."""

    code: str
    message: str
    """What was expected and what was got, one sentence without a full stop."""
    address: str = ""
    file: str | None = None
    """Path, or the option or variable that holds the mistake."""
    line: int | None = None
    column: int | None = None
    end_column: int | None = None
    source_line: str | None = None
    hint: str | None = None
    """What to do."""
    related: tuple[str, ...] = ()
    """Other places that matter, for example where the key stands first."""

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "related": list(self.related)}


def diagnose(
    code: str,
    place: Place,
    message: str,
    *,
    address: str = "",
    hint: str | None = None,
    related: Sequence[str] = (),
) -> Diagnostic:
    """A diagnostic that points at a place."""
    return Diagnostic(
        code=code,
        message=message,
        address=address,
        file=place.source.name,
        line=place.line if place.source.is_file else None,
        column=place.column,
        end_column=max(place.end_column, place.column + 1),
        source_line=place.text,
        hint=hint,
        related=tuple(related),
    )


def in_file_order(diagnostics: Iterable[Diagnostic], first: str | None = None) -> tuple[Diagnostic, ...]:
    """Without repetitions, by file (`first` leads), line and column."""
    unique = {(d.file, d.line, d.column, d.code, d.message): d for d in diagnostics}
    return tuple(sorted(unique.values(), key=lambda d: (d.file != first, d.file or "", d.line or 0, d.column or 0)))


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The nearest known names as a question, else a short list of what there is."""
    names = list(known)
    close = nearest(name, names, 2)
    if close:
        return f"did you mean {' or '.join(f'`{each}`' for each in close)}?"
    return f"known here: {', '.join(names[:12])}{', …' if len(names) > 12 else ''}" if names else None


_STYLES = {"error": "\x1b[1;31m", "frame": "\x1b[34m", "bold": "\x1b[1m", "help": "\x1b[36m"}


def render(diagnostics: Iterable[Diagnostic], color: bool = False) -> str:
    """Every mistake with its line and a caret below it, in the style of rustc."""

    def paint(style: str, text: str) -> str:
        return f"{_STYLES[style]}{text}\x1b[0m" if color and text else text

    return "\n\n".join("\n".join(_block(each, paint)) for each in diagnostics)


def _block(d: Diagnostic, paint: Any) -> list[str]:
    lines = [f"{paint('error', f'error[{d.code}]')} {paint('bold', d.message)}"]
    place = ":".join(str(part) for part in (d.file, d.line, d.column if d.line else None) if part is not None)
    if place or d.address:
        lines.append(f"  {paint('frame', '-->')} {'  '.join(part for part in (place, d.address) if part)}")
    if d.source_line is not None and d.column is not None:
        lines += _excerpt(d, paint)
    elif d.hint:
        lines.append(f"  {paint('frame', '=')} {paint('help', d.hint)}")
    return [*lines, *(f"  {paint('frame', '=')} {note}" for note in d.related)]


_WIDTH = 160


def _excerpt(d: Diagnostic, paint: Any) -> list[str]:
    """The line and a caret row that ends with the hint; a very long line is cut to what surrounds the mistake."""
    text, column = (d.source_line or "").replace("\t", " "), d.column or 1
    end = max(d.end_column or 0, column + 1)
    if len(text) > _WIDTH:
        start = max(0, column - 1 - _WIDTH // 2)
        text, column, end = text[start : start + _WIDTH], column - start, end - start
    gutter = str(d.line) if d.line else ""
    carets = "^" * max(1, min(end - column, len(text) - column + 1))
    note = f" {d.hint}" if d.hint else ""
    bar = paint("frame", "|")
    return [
        f"{paint('frame', gutter)}{' ' if gutter else ''}{bar} {text}",
        f"{' ' * len(gutter)}{' ' if gutter else ''}{bar} {' ' * (column - 1)}{paint('error', carets)}"
        f"{paint('help', note)}",
    ]
