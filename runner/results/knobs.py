"""What to change, by its address in the scenario, the most promising first."""

from __future__ import annotations

from runner.results.records import ModelFacts

LARGE_MESSAGE = 64_000
"""Bytes per request from which copying and sending them is worth avoiding."""


def preprocess_knobs(facts: ModelFacts, *, waits: bool) -> tuple[str, ...]:
    """For a model that prepares input: more threads, and more of it at the same time where requests wait for it."""
    threads = f"raise {_model(facts)}.args.num_threads"
    if facts.on_gpu:
        threads += f", change {_model(facts)}.args.hw_decoder_load"
    return (threads, _instances(facts) if waits else _more_in_flight(facts))


def compute_knobs(facts: ModelFacts, mean_batch: float | None, *, waits: bool, lined_up: bool) -> tuple[str, ...]:
    """For a model that computes: it must be faster; where requests wait, they can share executions and instances.

    `lined_up`: they wait for longer than they are computed, so that sharing comes first.
    """
    cheaper = "use a cheaper model (smaller precision, optimised engine)"
    if not waits:
        return (cheaper, _more_in_flight(facts))
    more = f"{_instances(facts)}, if the {_device(facts)} has capacity left"
    return (*_batching(facts, mean_batch), more, cheaper) if lined_up else (cheaper, more)


def queue_knobs(facts: ModelFacts, queue_ms: float, mean_batch: float | None, *, is_busy: bool) -> tuple[str, ...]:
    """For requests that wait: more instances; where those are idle, the batcher itself or the load holds them up."""
    fewer = "keep fewer requests in flight (load.concurrency, load.rate)"
    if not is_busy and (facts.max_queue_delay_us or 0) / 1000 >= 0.5 * queue_ms:
        address = f"{_model(facts)}.config.dynamic_batching.max_queue_delay_microseconds"
        return (f"lower {address} (now {facts.max_queue_delay_us})", _instances(facts))
    more = f"{_instances(facts)}, if the {_device(facts)} has capacity left"
    return (more, *_batching(facts, mean_batch), fewer)


def _more_in_flight(facts: ModelFacts) -> str:
    return f"for throughput keep more requests in flight (load.concurrency): none waits for {facts.model}"


def _device(facts: ModelFacts) -> str:
    return "GPU" if facts.on_gpu else "processor"


def transport_knobs(protocol: str, moved: float) -> tuple[str, ...]:
    """For time between client and server."""
    over_http = ("set workload.protocol: grpc, or workload.tensors: binary",) if protocol == "http" else ()
    if moved >= LARGE_MESSAGE:
        shared = "set workload.shared_memory: system when client and server share a machine"
        return (*over_http, shared, "send less (compressed images instead of tensors)")
    return (*over_http, "raise workload.batch", "keep more requests in flight (load.concurrency)")


def client_knobs(*, is_busy: bool) -> tuple[str, ...]:
    """For a client that cannot send as it should."""
    if is_busy:
        return ("give the client cores of its own", "send larger requests (workload.batch)")
    return ("raise load.max_in_flight", "lower load.rate", "give the client cores of its own")


def _batching(facts: ModelFacts, mean_batch: float | None) -> tuple[str, ...]:
    """Waiting requests could share executions, where the model takes batches and they do not yet fill them."""
    if facts.max_batch_size <= 1 or mean_batch is None or mean_batch > 0.5 * facts.max_batch_size:
        return ()
    if facts.max_queue_delay_us is None:
        return (f"turn on {_model(facts)}.config.dynamic_batching",)
    return ()


def _instances(facts: ModelFacts) -> str:
    now = f" (now {facts.instances})" if facts.instances else ""
    return f"raise the count in {_model(facts)}.config.instance_group{now}"


def _model(facts: ModelFacts) -> str:
    return f"repository.models.{facts.model}"
