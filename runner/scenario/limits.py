"""Limits that scenario files and files of results share; imports nothing: both are read where that has to be quick."""

from __future__ import annotations

MAX_REPEATS = 1_000
"""Measurements of one point."""
