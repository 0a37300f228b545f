"""Every option of perf_analyzer and of perf_client before it, and what `scenario perf` makes of it.

This table is the parser, the help and the documentation at once.
"""

from __future__ import annotations

from runner.cli.perf.option import Dialect, Option
from runner.cli.perf.values import (
    choice,
    header,
    id_range,
    levels,
    models,
    number,
    parameter,
    percentile,
    ramp,
    rates,
    readable_file,
    seconds,
    shape,
    source,
    text,
    version,
    whole,
)

_ALWAYS_ASYNC = "the engine waits for no request before it sends the next one, whatever the API"
_PEM_OR_DER = "PEM and DER are told apart by their content"
_MOST_TRACES = 2**31 - 1
_OTHER_SERVER = "only Triton can be loaded so far"

_MODEL = (
    Option("-m --model-name", "model", text, "NAME", "Model that is called.", "workload.model"),
    Option("-x --model-version", "version", version, "N", "Its version.", "workload.version"),
    Option("-b --batch-size", "batch", whole(1, 65_536), "N", "Items per request. Default 1.", "workload.batch"),
    Option(
        "--bls-composing-models", "bls_models", models, "A:3,B", "Models that its code calls.",
        "workload.bls_models, workload.bls_versions"
    ),
    Option("--request-parameter", "parameters", parameter, "NAME:VALUE:TYPE", "Custom parameter; type bool, int or "
           "string.", "workload.parameters", repeated=True),
)  # fmt: skip
_SERVER = (
    Option("-u --url", "url", text, "HOST:PORT", "Server. Default localhost:8000, over gRPC :8001.",
           "targets.server.launch"),
    Option("-i --protocol", "protocol", choice("http", "grpc", fold=True), "http|grpc", "Protocol. Default http.",
           "workload.protocol"),
    Option("--streaming", "streaming", None, "", "Requests go over bidirectional gRPC streams.", "workload.streaming"),
    Option("-H", "headers", header, "NAME:VALUE", "Header, over gRPC metadata, of every request.", "workload.headers",
           repeated=True),
    Option("--grpc-compression-algorithm", "compression", choice("none", "gzip", "deflate"), "none|gzip|deflate",
           "Compression of gRPC requests.", "workload.compression"),
    Option("--ssl-grpc-use-ssl", "grpc_tls", None, "", "Encrypt gRPC.", "workload.tls"),
    Option("--ssl-grpc-root-certifications-file", "grpc_ca", readable_file, "FILE", "Certificates to believe in.",
           "workload.tls.ca"),
    Option("--ssl-grpc-private-key-file", "grpc_key", readable_file, "FILE", "The client's key.", "workload.tls.key"),
    Option("--ssl-grpc-certificate-chain-file", "grpc_cert", readable_file, "FILE", "The client's certificate.",
           "workload.tls.cert"),
    Option("--ssl-https-verify-peer", "verify_peer", whole(0, 1), "0|1", "Check the server's certificate. Default 1.",
           "workload.tls.verify"),
    Option("--ssl-https-verify-host", "verify_host", whole(0, 2), "0|1|2", "Check its name. Default 2.",
           "workload.tls.verify; 0 only together with `--ssl-https-verify-peer 0`"),
    Option("--ssl-https-ca-certificates-file", "https_ca", readable_file, "FILE", "Certificates to believe in.",
           "workload.tls.ca"),
    Option("--ssl-https-client-certificate-file", "https_cert", readable_file, "FILE", "The client's certificate.",
           "workload.tls.cert"),
    Option("--ssl-https-client-certificate-type", "", choice("PEM", "DER"), "PEM|DER", "Form of that file.",
           _PEM_OR_DER, "no effect"),
    Option("--ssl-https-private-key-file", "https_key", readable_file, "FILE", "The client's key.", "workload.tls.key"),
    Option("--ssl-https-private-key-type", "", choice("PEM", "DER"), "PEM|DER", "Form of that file.", _PEM_OR_DER,
           "no effect"),
)  # fmt: skip
_LOAD = (
    Option("--concurrency-range", "concurrency", levels, "START:END:STEP", "Requests in flight. Default 1:1:1.",
           "load.concurrency, a matrix axis where there are several; with -l load.range and load.step"),
    Option("--request-rate-range", "rate", rates, "START:END:STEP", "Requests per second.",
           "load.rate, a matrix axis where there are several; with -l load.range and load.step"),
    Option("--request-distribution", "distribution", choice("constant", "poisson"), "constant|poisson",
           "Gaps between requests of a rate. Default constant.", "load.kind; with -l load.arrivals"),
    Option("--request-intervals", "intervals", readable_file, "FILE", "Microseconds between requests, one per line.",
           "load.file, kind intervals"),
    Option("--fixed-schedule", "fixed_schedule", None, "", "Send at the `timestamp`s of the JSON data.",
           "load.file, kind replay"),
    Option("--periodic-concurrency-range", "periodic", ramp, "START:END:STEP", "Requests in flight grow step by step.",
           "load.start, load.end and load.step, kind periodic"),
    Option("--request-period", "request_period", whole(1), "N", "Answers between two steps. Default 10.",
           "load.request_period"),
    Option("--max-threads", "", whole(1), "N", "Client threads.",
           "engine threads hold any number of requests; `load.workers` sets them", "no effect"),
    Option("-a --async", "asynchronous", None, "", "Asynchronous client API.", _ALWAYS_ASYNC, "no effect"),
    Option("--sync", "synchronous", None, "", "Synchronous client API.", _ALWAYS_ASYNC, "no effect"),
    Option("--num-of-sequences", "sequences", whole(1, 100_000), "N", "Sequences at a time at a rate. Default 4.",
           "workload.sequences.count"),
    Option("--sequence-length", "sequence_length", whole(1), "N", "Requests of a sequence. Default 20.",
           "workload.sequences.length"),
    Option("--sequence-length-variation", "sequence_variation", number(), "PERCENT",
           "Lengths differ by so much. Default 20.", "workload.sequences.variation"),
    Option("--sequence-id-range", "sequence_ids", id_range, "START:END", "Ids of sequences. Default from 1 on.",
           "workload.sequences.first_id and workload.sequences.ids"),
    Option("--serial-sequences", "serial_sequences", None, "", "One request of a sequence at a time.",
           "sequences are always serial", "no effect"),
)  # fmt: skip
_DATA = (
    Option("--input-data", "data", source, "random|zero|PATH", "Values: a folder, or JSON files. Default random.",
           "workload.data, or workload.generate", repeated=True),
    Option("--data-directory", "data", source, "FOLDER", "Deprecated: --input-data.", "workload.data", repeated=True),
    Option("-z", "zero", None, "", "Deprecated: --input-data zero.", "workload.generate.values"),
    Option("--shape", "shapes", shape, "NAME:D1,D2", "Sizes of open dimensions.", "workload.shape", repeated=True),
    Option("--string-length", "string_length", whole(1, 2**31 - 1), "N", "Length of random texts. Default 128.",
           "workload.generate.text_length"),
    Option("--string-data", "string_data", str, "TEXT", "The text of every element.", "workload.generate.text"),
    Option("--shared-memory", "shared_memory", choice("none", "system", "cuda"), "none|system|cuda",
           "Tensors in memory shared with the server.", "workload.shared_memory"),
    Option("--output-shared-memory-size", "output_bytes", whole(0), "BYTES",
           "Room for an output of open size. Default 102400.", "workload.output_bytes"),
    Option("--input-tensor-format", "input_format", choice("binary", "json"), "binary|json",
           "Inputs over HTTP. Default binary.", "workload.tensors"),
    Option("--output-tensor-format", "output_format", choice("binary", "json"), "binary|json",
           "Outputs over HTTP. Default binary.", "workload.output_tensors"),
)  # fmt: skip
_MEASURE = (
    Option("--measurement-mode", "mode", choice("time_windows", "count_windows"), "time_windows|count_windows",
           "What a window is. Default time_windows.", "measure.stability"),
    Option("-p --measurement-interval", "interval_ms", whole(1), "MS", "Length of a window. Default 5000.",
           "measure.stability.interval"),
    Option("--measurement-request-count", "window_requests", whole(1), "N", "Requests of a window. Default 50.",
           "measure.stability.requests"),
    Option("-s --stability-percentage", "stability", number(), "PERCENT", "Windows differ by so much. Default 10.",
           "measure.stability.within"),
    Option("-r --max-trials", "trials", whole(1, 256), "N", "Windows at most. Default 10.",
           "measure.stability.trials"),
    Option("--percentile", "percentile", percentile, "P", "Judge by this percentile, 99.9 for example, not the mean.",
           "measure.stability.percentile and measure.percentiles; of a search load.percentile"),
    Option("--request-count", "requests", whole(0), "N", "Measure so many requests, without windows.",
           "measure.requests"),
    Option("--warmup-request-count", "warmup", whole(0), "N", "Requests that are not measured.",
           "measure.warmup.requests"),
    Option("-l --latency-threshold", "latency_ms", number(), "MS", "Look for the highest load below this latency.",
           "load.latency, kind sla"),
    Option("--binary-search", "binary_search", None, "", "Look by bisection.", "load.strategy: pa_binary"),
)  # fmt: skip
_SLA = (
    Option("--sla", "sla_s", seconds, "TIME", "Look for the highest rate at which a percentile keeps this latency.",
           "load.latency, kind sla"),
    Option("-q --qps", "qps", number(above=True), "N", "First rate of that search. Default 5.", "load.range.min"),
    Option("--qps-delta", "qps_delta", number(above=True), "N", "Raise the rate by so much until the limit is missed.",
           "load.step, with load.strategy: linear; without it the search bisects"),
    Option("--attempts", "attempts", whole(1, 100), "N", "Independent searches. Default 1.", "load.attempts"),
    Option("--infinite", "infinite", None, "", "Send at --qps until Ctrl-C.", "measure.soak"),
)  # fmt: skip
_OUTPUT = (
    Option("-f", "csv", text, "FILE", "CSV with a row for each level.", "written beside the run directory"),
    Option("--verbose-csv", "verbose_csv", None, "", "More columns.", "written beside the run directory"),
    Option("--profile-export-file", "profile_export", text, "FILE", "JSON with the times of every request.",
           "measure.records: full"),
    Option("-v", "verbosity", None, "", "Say more; twice: still more.", "what is printed", repeated=True),
    Option("--collect-metrics", "collect_metrics", None, "", "Sample the server's GPU metrics.",
           "measure.telemetry, targets.server.launch.metrics"),
    Option("--metrics-url", "metrics_url", text, "URL", "Where they are. Default host:8002/metrics.",
           "targets.server.launch.metrics"),
    Option("--metrics-interval", "metrics_ms", whole(20), "MS", "Time between samples. Default 1000.",
           "measure.telemetry.period"),
)  # fmt: skip
_TRACES = (
    Option("--trace-level", "trace_level", choice("OFF", "TIMESTAMPS", "TENSORS"), "LEVEL",
           "What the server traces of the model's requests; may be repeated.", "server.trace.level", repeated=True),
    Option("--trace-rate", "trace_rate", whole(1, _MOST_TRACES), "N", "One request of so many. Default 1000.",
           "server.trace.rate"),
    Option("--trace-count", "trace_count", whole(-1, _MOST_TRACES), "N", "So many at most. Default -1, no limit.",
           "server.trace.count"),
    Option("--log-frequency", "log_frequency", whole(0, _MOST_TRACES), "N",
           "A new file after so many traces. Default 0: one file.", "server.trace.log_frequency"),
)  # fmt: skip
_REFUSED = (
    Option("--service-kind", "", choice("triton", "triton_c_api", "tfserving", "torchserve", "openai", "dynamic_grpc"),
           "triton", "Kind of server.", _OTHER_SERVER, "other server", unless="triton"),
    Option("--endpoint", "", text, "PATH", "Endpoint of an OpenAI server.", _OTHER_SERVER, "other server"),
    Option("--session-concurrency", "", whole(1), "N", "Chat sessions at a time.", _OTHER_SERVER, "other server"),
    Option("--model-signature-name", "", text, "NAME", "Signature of TensorFlow Serving.", _OTHER_SERVER,
           "other server"),
    Option("--grpc-method", "", text, "METHOD", "Method of any gRPC service.", _OTHER_SERVER, "other server"),
    Option("--triton-server-directory", "", text, "FOLDER", "Triton as a library.",
           f"{_OTHER_SERVER}, and over its endpoints", "other server"),
    Option("--model-repository", "", text, "FOLDER", "Its models.",
           "`scenario run` starts a server of its own: `repository` and `targets`", "other server"),
    Option("--enable-mpi", "", None, "", "Several models at once.",
           "one client measures one model: start several runs, and compare them", "refused"),
    Option("--schedule", "", text, "S,S,…", "Send times on the command line.",
           "write them to a file, one per line, for `load: {kind: replay}`", "refused"),
)  # fmt: skip
_OLD = (
    Option("-t", "old_concurrency", whole(1, 100_000), "N", "Deprecated: requests in flight.", "load.concurrency"),
    Option("-d", "old_dynamic", None, "", "Deprecated: more requests in flight until -l is reached.",
           "load.strategy: pa_linear"),
    Option("-c", "old_most", whole(0, 100_000), "N", "Deprecated: requests in flight at most, with -d.",
           "load.range.max"),
    Option("-n", "", None, "", "Deprecated: profile on the server.", "no server offers that any more", "no effect"),
)  # fmt: skip
_OWN = (
    Option("--output-dir", "output_dir", text, "FOLDER", "Run directories are made in here. Default runs.",
           "the run directory"),
    Option("--emit-scenario", "emit", text, "FILE", "Write the scenario file, and measure nothing.", "a scenario file"),
    Option("--set", "set_", text, "ADDRESS=VALUE", "Change the scenario.", "any address", repeated=True),
    Option("--identify", "identify", None, "", "Record GPUs and the host by their identifiers, not hashed.",
           "what is recorded"),
    Option("--progress", "progress", choice("auto", "live", "plain", "none"), "auto|live|plain|none",
           "How progress is shown on stderr. Default auto.", "what is shown"),
    Option("-h --help", "help", None, "", "Show this and exit.", "this help"),
    Option("--version", "show_version", None, "", "Show the version and exit.", "the version"),
)  # fmt: skip

GROUPS: dict[str, tuple[Option, ...]] = {
    "Model": _MODEL,
    "Server": _SERVER,
    "Load": _LOAD,
    "Input data": _DATA,
    "Measurement": _MEASURE,
    "Service-level search": _SLA,
    "Output": _OUTPUT,
    "Server traces": _TRACES,
    "Not here": _REFUSED,
    "perf_client": _OLD,
    "scenario": _OWN,
}
"""Heading -> options, in the order of the help."""

PERF_ANALYZER = Dialect("perf_analyzer", tuple(option for group in GROUPS.values() for option in group))
