"""The options of `benchmark.py`, the SLA client of TensorRT Inference Server; its short forms mean other things."""

from __future__ import annotations

from runner.cli.perf.option import Dialect, Option
from runner.cli.perf.options import PERF_ANALYZER
from runner.cli.perf.values import choice, number, percentile, seconds, source, text, version, whole

SLA_CLIENT = Dialect(
    "benchmark.py",
    (
        Option("-m --model-name", "model", text, "NAME", "Model. Default densenet_onnx.", "workload.model"),
        Option("--model-version", "version", version, "N", "Its version.", "workload.version"),
        Option("-b --batch-size", "batch", whole(1, 65_536), "N", "Items per request.", "workload.batch"),
        Option("-u --url", "url", text, "HOST", "Server. Default localhost.", "launch"),
        Option("-p --port", "port", whole(1, 65_535), "PORT", "Its port. Default 8001.", "launch"),
        Option("-i --protocol", "protocol", choice("http", "grpc", fold=True), "grpc|http", "Default grpc.",
               "workload.protocol"),
        Option("-a --asynchronous", "asynchronous", None, "", "Asynchronous API.", "always so", "no effect"),
        Option("--streaming", "streaming", None, "", "gRPC streams.", "workload.streaming"),
        Option("-f --filepath", "images", source, "FOLDER", "Images that are sent.", "workload.input"),
        Option("-s --scaling", "scaling", choice("NONE", "INCEPTION", "VGG"), "WORD", "Scaling of their pixels.",
               "workload.input"),
        Option("-c --classes", "", whole(1), "N", "Class results.", "answers are not shown", "no effect"),
        Option("-t --threads", "", whole(1), "N", "Client threads.", "load.workers sets those", "no effect"),
        Option("--percentile", "percentile", percentile, "P", "The percentile. Default 95.", "load.percentile"),
        Option("--sla", "sla_s", seconds, "TIME", "The limit. Default 1 second.", "load.latency"),
        Option("-q --qps", "qps", number(above=True), "N", "First rate. Default 5.", "load.range.min"),
        Option("--qps-delta", "qps_delta", number(above=True), "N", "Step.", "load.step"),
        Option("--attempts", "attempts", whole(1, 100), "N", "Searches. Default 1.", "load.attempts"),
        Option("--infinite", "infinite", None, "", "Send at --qps until Ctrl-C.", "measure.soak"),
        Option("-v --verbose", "verbosity", None, "", "Say more.", "what is printed", repeated=True),
        Option("-h --help", "help", None, "", "Help.", "nothing"),
    ),
)  # fmt: skip

DIALECTS: dict[str, Dialect] = {
    "perf_analyzer": PERF_ANALYZER,
    "perf_client": PERF_ANALYZER,
    "benchmark.py": SLA_CLIENT,
}
"""Program -> how its command line is read."""
