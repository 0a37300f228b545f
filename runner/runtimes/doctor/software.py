"""The Python that runs this tool, and its load engine."""

from __future__ import annotations

import platform
from collections.abc import Callable

from runner.runtimes.findings import Finding


def interpreter(version: str, prefix: str) -> Finding:
    return Finding("Python", "ok", f"{version} in {prefix}")


def engine(load: Callable[[], str]) -> Finding:
    """Whether the native load engine can be loaded; `load` returns its version or raises ImportError."""
    try:
        return Finding("load engine", "ok", f"version {load()}")
    except ImportError as error:
        remedy = (
            f"install the tool anew for this Python ({platform.python_version()}, {platform.machine()}): "
            "pip install --force-reinstall scenario-runner, in a checkout: make install"
        )
        return Finding("load engine", "fail", f"cannot be loaded: {error}", remedy)


def load_engine() -> str:
    """Version of the native engine; raises ImportError where it was built for another Python or machine, or not."""
    from runner.load.native import engine_version

    return engine_version()
