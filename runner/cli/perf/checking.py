"""Options that make no sense beside each other; each rule is a row: what holds then, and what to say."""

from __future__ import annotations

from collections.abc import Callable

from runner.cli.perf.parsed import PerfOptions

MOST_LEVELS = 10_000
"""So many points an axis has at most."""
Rule = tuple[Callable[[PerfOptions], object], str]


def contradictions(options: PerfOptions) -> tuple[str, ...]:
    """What is wrong with the options together."""
    return tuple(message for holds, message in _RULES if holds(options))


def load_modes(options: PerfOptions) -> tuple[str, ...]:
    """The options that each say how requests are sent."""
    given = {
        "--concurrency-range": options.concurrency,
        "--request-rate-range": options.rate,
        "--request-intervals": options.intervals,
        "--periodic-concurrency-range": options.periodic,
        "--fixed-schedule": options.fixed_schedule,
        "-t, -c and -d": uses_old(options),
        "--sla": options.sla_s,
    }
    return tuple(name for name, value in given.items() if value)


def uses_old(options: PerfOptions) -> bool:
    """Whether the deprecated options of perf_client say how requests are sent."""
    return bool(options.old_concurrency or options.old_dynamic or options.old_most is not None)


def _ends(options: PerfOptions) -> list[bool]:
    """Of each range, whether it has no end."""
    ranges = [each for each in (options.concurrency, options.rate) if each is not None]
    dynamic = [not options.old_most] if options.old_dynamic else []
    return [*(each.unbounded for each in ranges), *dynamic]


def _most_levels(options: PerfOptions) -> int:
    return max((each.count for each in (options.concurrency, options.rate) if each is not None), default=1)


def _falls(options: PerfOptions) -> bool:
    ranges = (each for each in (options.concurrency, options.rate) if each is not None and each.end)
    return any((each.end or 0) < each.start for each in ranges)


def _json_files(options: PerfOptions) -> int:
    return sum(path.lower().endswith(".json") for path in options.values)


_SEARCHING = "--latency-threshold"
_RULES: tuple[Rule, ...] = (
    (lambda o: not o.model, "-m: expected the name of a model, got none"),
    (lambda o: o.streaming and o.protocol != "grpc", "--streaming: only gRPC has streams, add -i grpc"),
    (
        lambda o: o.compression is not None and o.protocol != "grpc",
        "--grpc-compression-algorithm: is for gRPC, add -i grpc",
    ),
    (lambda o: o.asynchronous and o.synchronous, "--async and --sync: expected one of the two"),
    (
        lambda o: len(load_modes(o)) > 1,
        "expected one way to send requests: --concurrency-range, --request-rate-range, --request-intervals, "
        "--periodic-concurrency-range, --fixed-schedule, --sla, or the deprecated -t, -c and -d",
    ),
    (
        lambda o: any(_ends(o)) and not o.latency_ms,
        f"a range without an end needs a limit: add {_SEARCHING} (-l)",
    ),
    (lambda o: o.binary_search and not o.latency_ms, f"--binary-search: needs a limit, add {_SEARCHING} (-l)"),
    (lambda o: o.binary_search and any(_ends(o)), "--binary-search: needs a range with an end above 0"),
    (lambda o: o.binary_search and _falls(o), "--binary-search: the end of the range is below its start"),
    (
        lambda o: o.latency_ms and (o.intervals or o.periodic or o.fixed_schedule),
        f"{_SEARCHING}: only a concurrency or a rate can be searched for",
    ),
    (lambda o: o.latency_ms and o.requests, f"{_SEARCHING}: a search measures windows, remove --request-count"),
    (lambda o: o.latency_ms and o.sla_s, f"{_SEARCHING} and --sla: expected one of the two limits"),
    (
        lambda o: o.requests and o.concurrency and o.requests < o.concurrency.start,
        "--request-count: expected at least as many as are in flight",
    ),
    (
        lambda o: o.warmup and (o.sla_s or o.latency_ms or o.periodic or o.fixed_schedule),
        "--warmup-request-count: a search, a ramp and a schedule begin with what they measure",
    ),
    (lambda o: o.zeros and o.values, "--input-data zero: expected no data beside it"),
    (
        lambda o: len(o.values) > 1 and _json_files(o) < len(o.values),
        "--input-data: only JSON files may be several; one folder",
    ),
    (
        lambda o: o.fixed_schedule and _json_files(o) != 1,
        "--fixed-schedule: the send times are in one JSON file, add --input-data FILE.json",
    ),
    (lambda o: o.infinite and not o.qps, "--infinite: expected a rate, add --qps"),
    (
        lambda o: (o.qps or o.qps_delta or o.attempts > 1) and not (o.sla_s or o.infinite),
        "--qps, --qps-delta and --attempts: expected --sla or --infinite beside them",
    ),
    (
        lambda o: (o.sequence_variation or 0) > 100,
        "--sequence-length-variation: expected a percentage up to 100",
    ),
    (
        lambda o: o.verify_host == 0 and o.verify_peer == 1,
        "--ssl-https-verify-host 0: a certificate is checked with its name or not at all; add "
        "--ssl-https-verify-peer 0, or name the server by its certificate's name",
    ),
    (
        lambda o: (o.https_cert is None) != (o.https_key is None),
        "--ssl-https-client-certificate-file and --ssl-https-private-key-file: expected both",
    ),
    (
        lambda o: (o.grpc_cert is None) != (o.grpc_key is None),
        "--ssl-grpc-certificate-chain-file and --ssl-grpc-private-key-file: expected both",
    ),
    (
        lambda o: _most_levels(o) > MOST_LEVELS,
        f"--concurrency-range and --request-rate-range: expected at most {MOST_LEVELS:,} levels, widen the step",
    ),
    (lambda o: o.shared_memory != "none" and o.streaming, "--shared-memory: not over streams"),
    (
        lambda o: o.protocol == "grpc" and "json" in (o.input_format, o.output_format),
        "--input-tensor-format and --output-tensor-format: only HTTP carries tensors as JSON",
    ),
    (
        lambda o: o.shared_memory != "none" and "json" in (o.input_format, o.output_format),
        "--input-tensor-format and --output-tensor-format: tensors in shared memory do not travel, remove them",
    ),
    (
        lambda o: not o.collect_metrics and {"--metrics-url", "--metrics-interval"} & set(o.given),
        "--metrics-url and --metrics-interval: expected --collect-metrics beside them",
    ),
    (
        lambda o: not o.trace_level and {"--trace-rate", "--trace-count", "--log-frequency"} & set(o.given),
        "--trace-rate, --trace-count and --log-frequency: expected --trace-level beside them",
    ),
    (
        lambda o: "OFF" in o.trace_level and len(set(o.trace_level)) > 1,
        "--trace-level OFF: expected no other level beside it",
    ),
    (lambda o: o.emit and o.set_, "--set: changes what is measured, not the file of --emit-scenario"),
)
