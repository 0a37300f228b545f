"""Options to a scenario: plain values, with the sentences that explain them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.cli.perf.load_part import load
from runner.cli.perf.measure_part import measure
from runner.cli.perf.model import KnownModel
from runner.cli.perf.parsed import PerfOptions
from runner.cli.perf.parsing import without_effect
from runner.cli.perf.sla_client import DIALECTS
from runner.cli.perf.workload_part import is_https, workload
from runner.errors import UsageError

_PORTS = {"http": 8000, "grpc": 8001}
_METRICS_PORT = 8002
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+)(?::([0-9]{1,5}))?/?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Translation:
    """A scenario and what should be known of it."""

    scenario: dict[str, Any]
    comments: dict[str, str] = field(default_factory=dict)
    """Top-level key -> sentence above it."""
    notes: tuple[str, ...] = ()
    """What was asked for and has no effect, and where the meaning differs."""


def translate(options: PerfOptions, model: KnownModel | None = None, folder: Path | None = None) -> Translation:
    """The scenario that does what the command line asks.

    Paths are relative to `folder`, where the file will lie; without it they are absolute.

    Raises:
        UsageError: the model needs other options, or the URL is none.
    """

    def path(text: str) -> str:
        return os.path.abspath(text) if folder is None else os.path.relpath(text, folder)

    loading, axes = load(options, path)
    parts: dict[str, Any] = {
        "scenario": 1,
        "name": options.model if _NAME.fullmatch(options.model) else "perf",
        "targets": {"server": {"launch": launch(options)}},
        "server": {"trace": trace(options)} if options.trace_level else None,
        "workload": workload(options, model, path),
        "load": loading,
        "matrix": {"axes": axes} if axes else None,
        "measure": measure(options),
    }
    return Translation({key: value for key, value in parts.items() if value}, _comments(options), _notes(options))


def launch(options: PerfOptions) -> dict[str, Any]:
    """Where the server is: it runs already, and is left as it was.

    Raises:
        UsageError: `-u` or `--metrics-url` is no address.
    """
    host, port = _address(options)
    found: dict[str, Any] = {"kind": "remote", options.protocol: f"{host}:{port}"}
    if options.collect_metrics:
        found["metrics"] = _metrics_url(options, host)
    return found


def trace(options: PerfOptions) -> dict[str, Any]:
    """What the server traces: everything that differs from the schema's defaults."""
    levels = list(dict.fromkeys(level.lower() for level in options.trace_level))
    found: dict[str, Any] = {"level": levels[0] if len(levels) == 1 else levels}
    if options.trace_rate != 1000:
        found["rate"] = options.trace_rate
    if options.trace_count != -1:
        found["count"] = options.trace_count
    if options.log_frequency:
        found["log_frequency"] = options.log_frequency
    return found


def _address(options: PerfOptions) -> tuple[str, int]:
    url = options.url or "localhost"
    scheme, separator, rest = url.rpartition("://")
    match = _ADDRESS.fullmatch(rest)
    if match is None or (separator and scheme not in ("http", "https")):
        raise UsageError(f"--url: expected host:port, got {url!r}", hint="for example -u localhost:8001")
    if scheme == "https" and options.protocol == "grpc":
        raise UsageError(f"--url: {url!r} is for HTTP", hint="encrypt gRPC with --ssl-grpc-use-ssl")
    usual = 443 if scheme == "https" else _PORTS[options.protocol]
    return match[1], int(match[2] or options.port or usual)


def _metrics_url(options: PerfOptions, host: str) -> str:
    given = options.metrics_url or f"{host}:{_METRICS_PORT}/metrics"
    url = given if "://" in given else f"http://{given}"
    if not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", url):
        raise UsageError(f"--metrics-url: expected host:port/metrics, got {given!r}")
    return url


def _comments(options: PerfOptions) -> dict[str, str]:
    found = {"targets": "A server that runs already; it is not started, stopped or reconfigured."}
    if options.trace_level:
        found["targets"] = "A server that runs already; it is not started or stopped."
        found["server"] = "Of this model's requests, for the time of the run: trace settings are put back."
    if options.requests:
        found["measure"] = "So many requests, from the first send to the last answer."
    elif options.infinite:
        found["measure"] = "Until Ctrl-C, which is its regular end."
    elif options.latency_ms:
        found["load"] = "perf_analyzer's own search, to compare; `strategy: bracket` gives verdicts with confidence."
    elif options.sla_s is None and not options.periodic and not options.fixed_schedule:
        found["measure"] = (
            "perf_analyzer's rule, to compare; remove `stability` for confidence intervals (docs/measurement.md)."
        )
    return found


def _notes(options: PerfOptions) -> tuple[str, ...]:
    dialect = DIALECTS[options.tool]
    notes = [f"{option.name} has no effect: {option.becomes}" for option in without_effect(options, dialect)]
    return (*notes, *_unused_tls(options))


def _unused_tls(options: PerfOptions) -> Iterator[str]:
    """What is said of encryption, and does not encrypt."""
    over_grpc = options.protocol == "grpc"
    https = not over_grpc and is_https(options)
    reasons = {
        "--ssl-grpc-": None if over_grpc and options.grpc_tls else "--ssl-grpc-use-ssl" if over_grpc else "-i grpc",
        "--ssl-https-": None if https else "-i http and https:// in -u" if over_grpc else "https:// in -u",
    }
    for prefix, missing in reasons.items():
        given = [name for name in dict.fromkeys(options.given) if name.startswith(prefix)]
        if missing and given:
            yield f"{', '.join(given)}: no effect without {missing}"
