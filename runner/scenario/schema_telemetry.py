"""What is sampled beside a load."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from runner.scenario.schema_base import Strict, refuse
from runner.units import Seconds

_LABEL = r'\s*[a-zA-Z_]\w*\s*=\s*("([^"\\]|\\.)*"|[^",{}\s]+)\s*'
SERIES = rf"^[a-zA-Z_:][\w:]*(\{{{_LABEL}(,{_LABEL})*\}})?\Z"
"""A name, and labels in braces; quotes around their values may be left out."""
SHORTEST_PERIOD_S = 0.02

TelemetrySource = Literal["host", "prometheus", "gpu"]


class Telemetry(Strict):
    """Samples of the machine, the server and its GPUs, taken beside the load and joined to the measured window."""

    sources: tuple[TelemetrySource, ...] | None = None
    """By default all that there are; one that is named and missing raises `telemetry_gap`; `[]` samples nothing."""
    period: Seconds = 1.0
    """Time between samples."""
    url: str | None = None
    """Where Prometheus series are read; by default the metrics endpoint of the server."""
    series: tuple[str, ...] = ()
    """Prometheus series that get columns of their own, for example `nv_inference_count{model=resnet}`."""
    gpus: tuple[int, ...] | None = Field(default=None)
    """GPUs that are sampled, numbered as by `nvidia-smi`; by default all."""
    aggregation: Literal["window", "perf_analyzer"] = "window"
    """`window`: means over time; `perf_analyzer`: plain means of the polls, GPUs as the server exports them."""

    @model_validator(mode="after")
    def _can_be_sampled(self) -> Self:
        if self.period < SHORTEST_PERIOD_S:
            raise refuse("period", f"expected at least {SHORTEST_PERIOD_S * 1e3:g}ms, got {self.period * 1e3:g}ms")
        if self.url is not None and not re.match(r"^https?://[^/@\s]+(/|$)", self.url):
            raise refuse("url", f"expected http://host:port/path without a password, got {self.url!r}")
        for series in self.series:
            if not re.match(SERIES, series):
                example = "nv_inference_count{model=resnet}"
                raise refuse("series", f"expected a series such as {example}, got {series!r}")
        if self.gpus is not None and any(index < 0 for index in self.gpus):
            raise refuse("gpus", f"expected numbers from 0, got {min(self.gpus)}")
        return self
