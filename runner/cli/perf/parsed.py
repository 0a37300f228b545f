"""A command line that was understood."""

from __future__ import annotations

from dataclasses import dataclass

from runner.cli.perf.values import Levels, Numbered


@dataclass(frozen=True, kw_only=True)
class PerfOptions:
    """What was asked for; None where nothing was said and the default depends on something else."""

    tool: str = "perf_analyzer"
    given: tuple[str, ...] = ()
    """The options as they were written, each by its name, in order."""
    # model and server
    model: str = ""
    version: str | None = None
    batch: int = 1
    bls_models: tuple[Numbered, ...] = ()
    parameters: tuple[tuple[str, bool | int | str], ...] = ()
    url: str | None = None
    port: int | None = None
    protocol: str = "http"
    streaming: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    compression: str | None = None
    grpc_tls: bool = False
    grpc_ca: str | None = None
    grpc_key: str | None = None
    grpc_cert: str | None = None
    verify_peer: int = 1
    verify_host: int = 2
    https_ca: str | None = None
    https_cert: str | None = None
    https_key: str | None = None
    asynchronous: bool = False
    synchronous: bool = False
    # load
    concurrency: Levels | None = None
    rate: Levels | None = None
    distribution: str = "constant"
    intervals: str | None = None
    fixed_schedule: bool = False
    periodic: Levels | None = None
    request_period: int = 10
    sequences: int | None = None
    sequence_length: int | None = None
    sequence_variation: float | None = None
    """Percent."""
    sequence_ids: Levels | None = None
    serial_sequences: bool = False
    # input data
    data: tuple[str, ...] = ()
    zero: bool = False
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    string_length: int | None = None
    string_data: str | None = None
    images: str | None = None
    scaling: str = "NONE"
    shared_memory: str = "none"
    output_bytes: int = 102_400
    input_format: str = "binary"
    output_format: str = "binary"
    # measurement
    mode: str = "time_windows"
    interval_ms: int = 5000
    window_requests: int = 50
    stability: float = 10.0
    """Percent."""
    trials: int = 10
    percentile: float | None = None
    requests: int = 0
    warmup: int = 0
    latency_ms: float = 0.0
    """0: no limit."""
    binary_search: bool = False
    sla_s: float | None = None
    qps: float | None = None
    qps_delta: float | None = None
    attempts: int = 1
    infinite: bool = False
    # output
    csv: str | None = None
    verbose_csv: bool = False
    profile_export: str | None = None
    verbosity: int = 0
    collect_metrics: bool = False
    metrics_url: str | None = None
    metrics_ms: int = 1000
    # server traces
    trace_level: tuple[str, ...] = ()
    trace_rate: int = 1000
    trace_count: int = -1
    log_frequency: int = 0
    # perf_client
    old_concurrency: int | None = None
    old_dynamic: bool = False
    old_most: int | None = None
    # of `scenario perf` itself
    output_dir: str = "runs"
    emit: str | None = None
    set_: tuple[str, ...] = ()
    identify: bool = False
    progress: str = "auto"
    help: bool = False
    show_version: bool = False

    @property
    def values(self) -> tuple[str, ...]:
        """Files and folders among `--input-data`; the words random and zero are none."""
        return tuple(path for path in self.data if path not in ("random", "zero"))

    @property
    def zeros(self) -> bool:
        """Inputs without data are zero, not random."""
        return self.zero or "zero" in self.data
