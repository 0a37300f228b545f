"""Triton's traces of the measured model, switched on through the server's trace extension.

They are set for the model that is called, and for no other: Triton traces the requests that name it, with everything
that an ensemble runs for them, and the requests of others to other models stay as they are. Where traces are written is
decided when a server starts; over the network nobody can change it.
"""

from __future__ import annotations

from runner.errors import ServiceError
from runner.scenario.schema import Trace
from runner.services.control import Control, TraceSettings

SETTINGS = ("trace_level", "trace_rate", "trace_count", "log_frequency")


def asked(trace: Trace) -> TraceSettings:
    """The settings that a scenario asks for, in the server's words."""
    if not trace.levels:
        return {"trace_level": ("OFF",)}
    numbers = (trace.rate, trace.count, trace.log_frequency)
    levels = tuple(level.upper() for level in trace.levels)
    return {"trace_level": levels, **{name: (str(n),) for name, n in zip(SETTINGS[1:], numbers, strict=True)}}


def in_force(control: Control, model: str) -> TraceSettings:
    """What puts the model's settings back as they are now: none where they follow those of all models."""
    everywhere, here = control.trace(), control.trace(model)
    return {name: () if here[name] == everywhere.get(name) else here[name] for name in SETTINGS if name in here}


def check_traceable(control: Control, trace: Trace) -> None:
    """Refuse a server that cannot follow.

    Raises:
        ServiceError: it has no trace extension, or was started without a file for traces.
    """
    extensions = control.server().extensions
    if "trace" not in extensions:
        raise ServiceError(
            f"server.trace: the server cannot trace requests; its extensions are {', '.join(extensions) or 'none'}",
            hint="remove server.trace, or measure a Triton that was built with tracing",
        )
    if trace.levels and not written_to(control.trace()):
        raise ServiceError(
            "server.trace: the server was started without a file for traces, and takes none over the network",
            hint="start it with --trace-config mode=triton --trace-config triton,file=PATH, or remove server.trace",
        )


def written_to(settings: TraceSettings) -> str:
    """Where the server writes traces: a path of its own, or the name of another mode; empty where it is not told."""
    mode = "".join(settings.get("trace_mode", ()))
    return "".join(settings.get("trace_file", ())) if mode in ("", "triton") else mode


def facts(trace: Trace | None, place: str) -> dict[str, str]:
    """For the manifest: what is traced, and where the traces are."""
    return {"trace": trace.summary, "traces_at": place} if trace and trace.levels else {}
