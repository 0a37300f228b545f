"""Declarative YAML scenarios for GPU inference pipelines: set up, serve, sweep, report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.scenario.loading import load_scenario
    from runner.workflow import run_scenario

__version__ = "0.1.0"
__all__ = ["__version__", "load_scenario", "run_scenario"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `scenario --version` does not pay for pydantic."""
    if name == "load_scenario":
        from runner.scenario.loading import load_scenario

        return load_scenario
    if name == "run_scenario":
        from runner.workflow import run_scenario

        return run_scenario
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
