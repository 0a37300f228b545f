"""Queueing systems in virtual time; they live in the package, because `scenario selftest` uses them too."""

from __future__ import annotations

from runner.measure.selftest.simulate import (
    SLICE_NS,
    Requests,
    ar1,
    bucket_indices,
    closed_loop,
    histogram,
    lognormal,
    open_loop,
    open_loops,
    ordered,
    single_server,
    slices,
    until,
)

__all__ = [
    "SLICE_NS",
    "Requests",
    "ar1",
    "bucket_indices",
    "closed_loop",
    "histogram",
    "lognormal",
    "open_loop",
    "open_loops",
    "ordered",
    "single_server",
    "slices",
    "until",
]
