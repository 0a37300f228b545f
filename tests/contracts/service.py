"""What every `Service` keeps, fakes included: subclass `ServiceContract` and provide the fixture `service`.

The service must serve a model `identity`: INPUT0 FP32 [-1] -> OUTPUT0, batches of at least 4.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import numpy as np
import pytest

from runner.errors import ServiceError
from runner.results.records import ModelStatistics
from runner.results.stages import difference
from runner.services.base import Endpoint, Service

NUMBERS = np.arange(12, dtype=np.float32).reshape(3, 4)


def settled(service: Service, models: Sequence[str]) -> tuple[ModelStatistics, ...]:
    """Counters once two readings agree: a server counts a request only after it has answered it."""
    last = service.statistics(models)
    for _ in range(100):
        time.sleep(0.02)
        now = service.statistics(models)
        if now == last:
            return now
        last = now
    raise AssertionError("the counters of an idle server do not stand still")


class ServiceContract:
    """The suite."""

    def test_a_loaded_model_is_ready_and_an_unknown_one_is_not(self, service: Service) -> None:
        assert service.ready("identity") is True
        assert service.ready("no_such_model") is False

    def test_metadata_describes_one_item(self, service: Service) -> None:
        model = service.metadata("identity")
        assert (model.name, model.version) == ("identity", "1")
        assert model.max_batch_size >= 4
        assert [(t.name, t.datatype, t.shape, t.optional) for t in model.inputs] == [("INPUT0", "FP32", (-1,), False)]
        assert [(t.name, t.datatype, t.shape) for t in model.outputs] == [("OUTPUT0", "FP32", (-1,))]
        assert model.composing_models == ()

    def test_inference_answers_with_the_models_output(self, service: Service) -> None:
        outputs = service.infer("identity", {"INPUT0": NUMBERS})
        assert list(outputs) == ["OUTPUT0"]
        np.testing.assert_array_equal(outputs["OUTPUT0"], NUMBERS)
        assert outputs["OUTPUT0"].dtype == np.float32

    def test_statistics_count_every_inference(self, service: Service) -> None:
        before = settled(service, ["identity"])
        for _ in range(5):
            service.infer("identity", {"INPUT0": NUMBERS})
        [did] = difference(before, settled(service, ["identity"]))
        assert (did.model, did.version) == ("identity", "1")
        assert (did.success_count, did.failure_count, did.inference_count) == (5, 0, 15)
        assert 1 <= did.execution_count <= 5
        assert did.success_ns > 0
        assert sum(batch.count for batch in did.batches) == did.execution_count
        assert sum(batch.count * batch.size for batch in did.batches) == did.inference_count
        assert 0 < sum(batch.compute_infer_ns for batch in did.batches) <= did.compute_infer_ns

    def test_statistics_come_in_the_order_asked_for(self, service: Service) -> None:
        assert service.statistics([]) == ()
        assert [s.model for s in service.statistics(["identity", "identity"])] == ["identity", "identity"]

    def test_a_message_depends_on_nothing_but_its_inputs(self, service: Service) -> None:
        message = service.encode("identity", {"INPUT0": NUMBERS})
        assert NUMBERS.tobytes() in message
        assert service.encode("identity", {"INPUT0": NUMBERS.copy()}) == message
        assert service.encode("identity", {"INPUT0": NUMBERS + 1}) != message

    def test_the_route_is_where_messages_go(self, service: Service) -> None:
        route = service.route("identity", Endpoint(http="h:1", grpc="g:2"))
        assert (route.kind, route.address) in {("grpc", "g:2"), ("http", "h:1")}
        assert re.fullmatch(r"/[\w./]+\w", route.path)

    def test_an_unknown_model_is_named(self, service: Service) -> None:
        for call in (service.metadata, lambda name: service.statistics([name]), lambda name: service.encode(name, {})):
            with pytest.raises(ServiceError, match="identit_") as caught:
                call("identit_")
            assert caught.value.hint is not None
            assert "identity" in caught.value.hint

    def test_an_unknown_input_is_named_with_those_that_exist(self, service: Service) -> None:
        with pytest.raises(ServiceError, match="no input 'INPUT1'") as caught:
            service.encode("identity", {"INPUT1": NUMBERS})
        assert "INPUT0" in caught.value.message + (caught.value.hint or "")

    def test_values_are_never_converted_silently(self, service: Service) -> None:
        with pytest.raises(ServiceError, match=r"float32.*float64"):
            service.encode("identity", {"INPUT0": NUMBERS.astype(np.float64)})

    def test_replies_are_the_answers_to_an_encoded_request(self, service: Service) -> None:
        message = service.encode("identity", {"INPUT0": NUMBERS})
        [reply] = service.replies("identity", message)
        assert NUMBERS.tobytes() in reply
        assert NUMBERS.tobytes() in service.encode_answer("identity", {"OUTPUT0": NUMBERS})
        if service.route("identity", Endpoint(http="h:1", grpc="g:2")).kind == "http":
            with pytest.raises(ServiceError, match="no streams over HTTP"):
                service.encode_stream("identity", {"INPUT0": NUMBERS})
            with pytest.raises(ServiceError, match="no streams over HTTP"):
                service.stream_route("identity", Endpoint(http="h:1", grpc="g:2"))
            return
        assert service.encode_stream("identity", {"INPUT0": NUMBERS}).startswith(message)
