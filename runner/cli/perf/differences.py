"""Where `scenario perf` differs from perf_analyzer on purpose, and why; docs/perf.md prints it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One row of the list."""

    subject: str
    theirs: str
    ours: str
    why: str


DIFFERENCES = (
    Difference(
        "`--request-count`",
        "divides by whole seconds of polling: 64 requests never show more than 64/s",
        "divides by the time from the first send, or the end of the warm-up, to the last answer",
        "the rate is that of the requests",
    ),
    Difference(
        "latency at a rate",
        "begins when a request is sent, however late",
        "begins when it should have been sent; lateness is shown",
        "what waits behind a stall waits in earnest (coordinated omission)",
    ),
    Difference(
        "unstable levels",
        "not reported; the sweep stops, exit code 0 when an earlier level was stable",
        "kept and flagged `unsteady`; the sweep goes on, exit code 5",
        "an unstable number with its flag says more than none",
    ),
    Difference("levels over `-l`", "not reported", "shown with their flag; not in the CSV, as there",
               "how far over the limit they are is worth knowing"),
    Difference(
        "`--binary-search`",
        "never loads less again: below a miss the old number stays in flight, so that it finds too little",
        "every load is the one that is named",
        "seen with 2.50 and `--sync`: 2 in flight show the latency of 4",
    ),
    Difference(
        "a failed request", "ends the run, results are lost", "is counted, with its message; above 5 % a level ends",
        "errors are data",
    ),
    Difference("a server that never answers", "is waited for for ever", "counts as failed after 60 s",
               "`--set workload.timeout=5s` changes it"),
    Difference("windows", "1.2 × `-p`", "`-p`", "as its manual says"),
    Difference(
        "order of a sweep", "ascending", "random, once there are more than three levels; tables are sorted",
        "a rig that warms up must not look like a load that grows; `--set matrix.order=file` keeps the order",
    ),
    Difference("connections", "new ones, never warmed", "open before the first request counts",
               "the handshake is no inference"),
    Difference("`--percentile`", "whole numbers from 1 to 99", "any above 0 and below 100, 99.9 too", "tails matter"),
    Difference("`-l`", "whole milliseconds", "any number of milliseconds", "fast models"),
    Difference(
        "random data", "one buffer of random bytes for every request, NaN and invalid indices included",
        "16 different items from each type's usual range, by a seed",
        "models fail on values that no user sends; caches answer what repeats",
    ),
    Difference("optional inputs", "filled with random bytes, too", "left out, unless the data has them",
               "what may be left out often says how to answer, and means nothing at random"),
    Difference("`--shape`", "a wrong name or a contradiction is ignored", "is refused", "it would be another load"),
    Difference("data that do not fit", "found while it loads; some of it crashes, or is filled up",
               "refused before the load, with file, stream, step, input, what was expected and what was got", ""),
    Difference("JSON numbers", "`1` is refused for FP32, integers are cut silently",
               "whole numbers are numbers; what does not fit is refused", "see docs/inputs.md"),
    Difference("validation", "exact, without batches, shared memory and `--async`", "everywhere but in sequences",
               "a wrong answer is a failed request, not the end"),
    Difference("`--output-tensor-format`", "has no effect", "is honoured", ""),
    Difference("`--request-parameter`", "over gRPC", "over HTTP, too", ""),
    Difference("`-H`", "aborts without a colon; documented as HTTP only", "is refused without one; also gRPC metadata",
               ""),
    Difference(
        "`--collect-metrics` without an endpoint, or without GPUs there",
        "exit code 99, or 0 with empty columns",
        "the columns are empty, and stderr says why; 0",
        "what was measured is right all the same",
    ),
    Difference("GPUs in the CSV", "`GPU-uuid:value;`", "the UUID is hashed unless `--identify`",
               "results are passed around"),
    Difference(
        "`--ssl-https-verify-peer 0`",
        "the certificate's name is still checked, unless `--ssl-https-verify-host 0` is there, too",
        "nothing of it is checked",
        "a name that nobody vouches for says nothing",
    ),
    Difference("`--ssl-https-*` without `https://` in `-u`, `--ssl-grpc-*` without `--ssl-grpc-use-ssl`",
               "silently without effect", "the same, with a note", "who names certificates wants encryption"),
    Difference("sequences", "several requests of one may be in flight at a rate", "one at a time", "as with "
               "`--serial-sequences`; their order is their meaning"),
    Difference("data streams of sequences", "chosen at random", "used in turn, as its manual says", ""),
    Difference("shared memory", "one name for all clients, unregisters those of others", "regions of its own",
               "two clients of one server must not break each other"),
    Difference("`--input-tensor-format json` beside shared memory", "has no effect", "is refused",
               "tensors in shared memory do not travel"),
    Difference(
        "`--trace-level` and its like", "changes the settings of all models, for good; a rate without a level too",
        "changes those of the measured model, and puts them back however the run ends; a rate needs a level",
        "after `kill -9` the next run on that address does it, or `scenario reset`",
    ),
    Difference("`-f` that cannot be written", "silently nothing, exit code 0", "refused before the load", ""),
    Difference("Ctrl-C and SIGTERM", "the level that runs is lost; after SIGTERM everything; exit code 0 or 143",
               "finished levels, and what was measured of the one that runs, are shown and written; 130 or 143",
               "after `kill -9` finished levels are in the run directory and in the files of `-f`"),
    Difference("`--warmup-request-count`", "refused in a sweep", "before every level", ""),
    Difference("`--periodic-concurrency-range`", "needs `--streaming` and an export", "needs neither", ""),
    Difference("`--fixed-schedule`", "keeps the gap before the first request", "begins with it", ""),
    Difference("`--sla` (SLA client)", "climbs on after a miss and has no end", "a bracket of verdicts with confidence",
               "`load.strategy: climb` does as the client did"),
)  # fmt: skip
