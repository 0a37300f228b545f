"""Servers that somebody else runs."""

from runner.runtimes.remote.runtime import RemoteRuntime

__all__ = ["RemoteRuntime"]
