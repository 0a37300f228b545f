"""Which models of a pipeline prepare the input of others: by backend, else by place, never by name."""

from __future__ import annotations

from collections.abc import Sequence

from runner.results.records import ModelFacts

PREPROCESSING = frozenset({"dali"})
"""Backends that do nothing else."""
NETWORKS = frozenset(
    {
        "fil",
        "onnxruntime",
        "onnxruntime_onnx",
        "openvino",
        "pytorch",
        "pytorch_libtorch",
        "tensorflow",
        "tensorflow_graphdef",
        "tensorflow_savedmodel",
        "tensorrt",
        "tensorrt_plan",
        "tensorrtllm",
        "vllm",
    }
)
"""Backends that run networks; others (python, a backend of one's own) may do anything."""


def preprocess_models(pipeline: Sequence[ModelFacts]) -> frozenset[str]:
    """The models of `pipeline`, in the order of the data, that prepare the input of others.

    - One with a backend that only preprocesses is one, wherever it stands.
    - One that may do anything is one when a network comes after it and none before it.
    - Where every model may do anything, the first is one, if others follow.
    """
    found = {facts.model for facts in pipeline if facts.backend in PREPROCESSING}
    networks = [index for index, facts in enumerate(pipeline) if facts.backend in NETWORKS]
    if networks:
        return frozenset(found | {facts.model for facts in pipeline[: networks[0]]})
    if len(pipeline) > 1 and not found:
        return frozenset({pipeline[0].model})
    return frozenset(found)
