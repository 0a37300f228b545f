"""The Prometheus text format with OpenMetrics additions: prometheus.io/docs/instrumenting/exposition_formats.

A line that does not fit is skipped: one bad exporter line must not hide the rest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from runner.measure.telemetry.base import Kind
from runner.scenario.schema_telemetry import SERIES

_TYPE = re.compile(r"#\s*TYPE\s+([^\s]+)\s+(\w+)")
_SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\s*\{((?:[^"{}]|"(?:[^"\\]|\\.)*")*)\})?\s*([-+.\w]+)')
_LABEL = re.compile(r'\s*([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?')
_WISH = re.compile(r'([a-zA-Z_]\w*)\s*=\s*(?:(")((?:[^"\\]|\\.)*)"|([^",{}\s]+))')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_COUNTER_PARTS = {"histogram": ("_bucket", "_count", "_sum"), "summary": ("_count", "_sum")}


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: a name with labels, its value, and whether it only grows."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    value: float = 0.0
    kind: Kind = "gauge"
    bucket: bool = False
    """One of the many lines of a histogram."""


def parse(text: str) -> Iterator[Sample]:
    """The finite samples of an exposition, in its order."""
    types: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            if declared := _TYPE.match(line):
                types[declared[1]] = declared[2]
            continue
        sample = _sample(line, types)
        if sample is not None:
            yield sample


def _sample(line: str, types: Mapping[str, str]) -> Sample | None:
    found = _SAMPLE.match(line)
    if found is None:
        return None
    name, labels, number = found.groups()
    try:
        value = float(number)
    except ValueError:
        return None
    if not math.isfinite(value):  # NaN is how summaries without observations are written
        return None
    kind, bucket = _kind(name, types)
    return Sample(name, dict(_labels(labels or "")), value, kind, bucket)


def _kind(name: str, types: Mapping[str, str]) -> tuple[Kind, bool]:
    for family, endings in _COUNTER_PARTS.items():
        for ending in endings:
            if name.endswith(ending) and types.get(name.removesuffix(ending)) == family:
                return "counter", ending == "_bucket"
    declared = types.get(name) or types.get(name.removesuffix("_total"))
    untyped_counter = declared in (None, "untyped", "unknown") and name.endswith("_total")
    return ("counter" if declared == "counter" or untyped_counter else "gauge"), False


def _labels(text: str) -> Iterator[tuple[str, str]]:
    for name, value in _LABEL.findall(text):
        yield name, _unescaped(value)


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], text)


def series_name(name: str, labels: Mapping[str, str]) -> str:
    """`name{a="1",b="2"}`, as Prometheus itself writes it, labels sorted."""
    if not labels:
        return name
    return f"{name}{{{','.join(f'{key}={_quoted(labels[key])}' for key in sorted(labels))}}}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


@dataclass(frozen=True)
class Selector:
    """A wish such as `nv_inference_count` or `nv_inference_count{model="m"}`: the labels it names must be equal."""

    name: str
    labels: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Raises ValueError for what is no selector; quotes around label values may be left out."""
        if not re.match(SERIES, text):
            raise ValueError(f"expected a series such as nv_inference_count{{model=m}}, got {text!r}")
        name, _, labels = text.partition("{")
        return cls(
            name, {key: _unescaped(quoted) if mark else plain for key, mark, quoted, plain in _WISH.findall(labels)}
        )

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        return name == self.name and all(labels.get(key) == value for key, value in self.labels.items())

    def matches_series(self, series: str) -> bool:
        """The same for a series as `series_name` writes it."""
        name, _, rest = series.partition("{")
        return self.matches(name, dict(_labels(rest)))
