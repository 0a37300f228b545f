"""Declarative YAML scenarios for GPU inference pipelines: set up, serve, sweep, report."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.scenario.loading import load_scenario
    from runner.workflow import run_scenario
    from runner.workflow.tuning import tune_scenario

__version__ = "0.1.0"
__all__ = ["__version__", "load_scenario", "run_scenario", "tune_scenario"]

_LAZY = {
    "load_scenario": "runner.scenario.loading",
    "run_scenario": "runner.workflow",
    "tune_scenario": "runner.workflow.tuning",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `scenario --version` does not pay for pydantic."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
