"""A server that exists only in memory: what measurement and workflow are tested against, faults included."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from runner.errors import ServiceError
from runner.results.records import BatchStatistics, ModelStatistics
from runner.services.base import Endpoint, ModelMetadata, Route, Tensors, TensorSpec
from runner.services.control import TraceSettings
from runner.services.tensors import to_wire

Array = npt.NDArray[np.generic]


def echo(metadata: ModelMetadata, inputs: Tensors) -> dict[str, Array]:
    """Each output repeats the input at its place."""
    return {output.name: inputs[given.name] for output, given in zip(metadata.outputs, metadata.inputs, strict=False)}


@dataclass(frozen=True)
class FakeModel:
    """One model of a fake server."""

    metadata: ModelMetadata
    latency_s: Callable[[int], float] = lambda count: 0.0
    """How long the n-th request takes, from 0."""
    answer: Callable[[ModelMetadata, Tensors], Mapping[str, Array]] = echo


def identity_model(name: str = "identity", datatype: str = "FP32", *, latency_s: float = 0.0) -> FakeModel:
    """A model that answers OUTPUT0 = INPUT0 of any length, batches up to 64."""
    return FakeModel(
        ModelMetadata(
            name=name,
            version="1",
            platform="python",
            max_batch_size=64,
            inputs=(TensorSpec("INPUT0", datatype, (-1,)),),
            outputs=(TensorSpec("OUTPUT0", datatype, (-1,)),),
        ),
        latency_s=lambda count: latency_s,
    )


@dataclass
class Script:
    """What a fake server does wrong; may be changed while it runs."""

    ready: bool = True
    """False: the server is up, but no model ever becomes ready."""
    silent: bool = False
    """Accepts requests and never answers."""
    fail_every: int = 0
    """Every n-th request is refused."""
    die_after: int | None = None
    """The server is gone after so many inferences."""
    miscount: int = 0
    """Added to every success count."""
    broken_models: tuple[str, ...] = ()
    """Models that cannot be loaded; the parts of such an ensemble are, and stay."""
    fixed_models: bool = False
    """Models can be neither loaded nor unloaded, as outside of Triton's explicit mode."""


@dataclass
class FakeTraces:
    """Trace settings as Triton keeps them: those of a model that are not set follow those of all models."""

    everywhere: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            "trace_level": ("OFF",),
            "trace_rate": ("1000",),
            "trace_count": ("-1",),
            "log_frequency": ("0",),
            "trace_file": ("/traces/fake.json",),
            "trace_mode": ("triton",),
        }
    )
    of_models: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)

    def change(self, model: str, changes: TraceSettings) -> TraceSettings:
        """Set what has values, clear the rest; returns what is then in force."""
        if not model:
            self.everywhere |= changes
            return self.everywhere
        known = {**self.of_models.get(model, {}), **changes}
        self.of_models[model] = {name: values for name, values in known.items() if values}
        return {**self.everywhere, **self.of_models[model]}


@dataclass
class FakeServer:
    """Models, their counters, and the script of what goes wrong; `FakeService` and `FakeRuntime` speak for it."""

    models: Mapping[str, FakeModel] = field(default_factory=lambda: {"identity": identity_model()})
    script: Script = field(default_factory=Script)
    traces: FakeTraces | None = field(default_factory=FakeTraces)
    """None: the server has no trace extension."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._counters = {name: ModelStatistics(name, "1", 0, 0, 0, 0, 0, 0, 0, 0, 0) for name in self.models}
        self.unloaded: set[str] = set()
        self.explicit: set[str] = set()
        """Models that were loaded by name."""
        self.dead = threading.Event()

    def ready(self, model: str) -> bool:
        return self.script.ready and model in self.models and model not in self.unloaded

    def load(self, model: str) -> None:
        """As a real server: what was not in memory counts from 0, and the composing models come along."""
        self._require_control()
        self.explicit.add(model)
        for name in self._with_steps(model):
            if name not in self.unloaded or name in self.script.broken_models:
                continue
            self._counters[name] = ModelStatistics(name, "1", 0, 0, 0, 0, 0, 0, 0, 0, 0)
            self.unloaded.discard(name)

        if model in self.script.broken_models:
            raise ValueError(f"load failed for model {model!r}")

    def unload(self, model: str, *, dependents: bool = True) -> None:
        """Take a model out of memory, and those composing models that nobody else loaded or needs."""
        self._require_control()
        self.explicit.discard(model)
        self.unloaded.add(model)
        needed = {step for name in self.models if name not in self.unloaded for step in self._with_steps(name)[1:]}
        if dependents:
            self.unloaded.update(set(self._with_steps(model)) - self.explicit - needed)

    def _require_control(self) -> None:
        if self.script.fixed_models:
            raise ValueError("explicit model load / unload is not allowed if polling is enabled")

    def _with_steps(self, model: str) -> list[str]:
        steps = self.models[model].metadata.composing_models
        return [name for name in (model, *steps) if name in self.models]

    def call(self, model: str, inputs: Tensors) -> dict[str, Array]:
        """Answer one inference, after the model's latency.

        Raises:
            LookupError: no such model.
            ValueError: the script says that this request fails.
        """
        call, count = self._arrive(model)
        if self.script.fail_every and (call + 1) % self.script.fail_every == 0:
            self._count(model, failure_count=1)
            raise ValueError("the script says that this request fails")
        started = time.perf_counter_ns()
        self._work(model, count)
        outputs = dict(self.models[model].answer(self.models[model].metadata, inputs))
        self._count_success(model, _items(self.models[model].metadata, inputs), time.perf_counter_ns() - started)
        if self.script.die_after is not None and call + 1 >= self.script.die_after:
            self.dead.set()
        return outputs

    def statistics(self, model: str) -> ModelStatistics:
        with self._lock:
            counters = self._counters[model]
        return replace(counters, success_count=counters.success_count + self.script.miscount)

    def _arrive(self, model: str) -> tuple[int, int]:
        if model not in self.models:
            raise LookupError(f"unknown model {model!r}")
        with self._lock:
            self._calls += 1
            counters = self._counters[model]
            return self._calls - 1, counters.success_count + counters.failure_count

    def _work(self, model: str, count: int) -> None:
        delay_s = self.models[model].latency_s(count)
        if delay_s > 0:
            time.sleep(delay_s)

    def _count(self, model: str, **increments: int) -> None:
        with self._lock:
            old = self._counters[model]
            self._counters[model] = replace(old, **{key: getattr(old, key) + by for key, by in increments.items()})

    def _count_success(self, model: str, items: int, elapsed_ns: int) -> None:
        for name in (model, *self.models[model].metadata.composing_models):
            if name in self._counters:
                self._count_execution(name, items, elapsed_ns)
                self._count(
                    name,
                    success_count=1,
                    inference_count=items,
                    execution_count=1,
                    compute_infer_ns=elapsed_ns,
                    success_ns=elapsed_ns,
                )

    def _count_execution(self, model: str, items: int, elapsed_ns: int) -> None:
        with self._lock:
            old = self._counters[model]
            same = next((b for b in old.batches if b.size == items), BatchStatistics(items, 0, 0, 0, 0))
            more = replace(same, count=same.count + 1, compute_infer_ns=same.compute_infer_ns + elapsed_ns)
            others = [batch for batch in old.batches if batch.size != items]
            batches = tuple(sorted((*others, more), key=lambda batch: batch.size))
            self._counters[model] = replace(old, batches=batches)


class FakeService:
    """A `Service` that talks to a `FakeServer` by calling it."""

    grpc_method = "/fake.Service/Infer"
    grpc_stream_method = "/fake.Service/StreamInfer"

    def __init__(self, server: FakeServer | None = None) -> None:
        self.fake = server or FakeServer()

    def route(self, model: str, endpoint: Endpoint) -> Route:
        return Route(kind="grpc", address=endpoint.grpc, path=self.grpc_method)

    def stream_route(self, model: str, endpoint: Endpoint) -> Route:
        return replace(self.route(model, endpoint), path=self.grpc_stream_method)

    def ready(self, model: str) -> bool:
        return self.fake.ready(model) and not self.fake.dead.is_set()

    def metadata(self, model: str) -> ModelMetadata:
        self._require(model)
        return self.fake.models[model].metadata

    def statistics(self, models: Sequence[str]) -> tuple[ModelStatistics, ...]:
        for model in models:
            self._require(model)
        return tuple(self.fake.statistics(model) for model in models)

    def encode(self, model: str, inputs: Tensors) -> bytes:
        """A JSON line that describes the tensors, then their bytes."""
        datatypes = self._datatypes(model, inputs)
        head = [[model, name, datatypes[name], list(array.shape)] for name, array in inputs.items()]
        try:
            body = [to_wire(array, datatypes[name]) for name, array in inputs.items()]
        except ValueError as error:
            raise ServiceError(str(error)) from error
        return json.dumps(head).encode() + b"\n" + b"".join(body)

    def encode_stream(self, model: str, inputs: Tensors) -> bytes:
        return self.encode(model, inputs)

    def encode_answer(self, model: str, outputs: Tensors) -> bytes:
        """As `encode`, of outputs."""
        self._require(model)
        return b"".join(array.tobytes() for array in outputs.values())

    def replies(
        self, model: str, message: bytes, *, stream: bool = False, timeout_s: float = 60.0
    ) -> tuple[bytes, ...]:
        """The request itself."""
        return (message,)

    def infer(self, model: str, inputs: Tensors, timeout_s: float = 10.0) -> dict[str, Array]:
        self._datatypes(model, inputs)
        try:
            return self.fake.call(model, inputs)
        except ValueError as error:
            raise ServiceError(str(error)) from error

    def close(self) -> None:
        pass

    def _require(self, model: str) -> None:
        if self.fake.dead.is_set():
            raise ServiceError("the fake server is gone", hint="the test's script ended it")
        if self.fake.script.silent:
            raise ServiceError("the fake server did not answer in time", hint="the test's script silenced it")
        if model not in self.fake.models:
            raise ServiceError(f"unknown model {model!r}", hint=f"there are {', '.join(self.fake.models)}")

    def _datatypes(self, model: str, inputs: Tensors) -> dict[str, str]:
        self._require(model)
        datatypes = {tensor.name: tensor.datatype for tensor in self.fake.models[model].metadata.inputs}
        for name in inputs:
            if name not in datatypes:
                raise ServiceError(
                    f"model {model!r} has no input {name!r}", hint=f"its inputs are {', '.join(datatypes)}"
                )
        return datatypes


def _items(metadata: ModelMetadata, inputs: Tensors) -> int:
    return next(iter(inputs.values())).shape[0] if metadata.max_batch_size and inputs else 1
