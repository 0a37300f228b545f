"""The fake service keeps the contract and plays its script."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from runner.errors import ServiceError
from runner.services.fake import FakeModel, FakeServer, FakeService, Script, identity_model
from tests.contracts.service import NUMBERS, ServiceContract


class TestContract(ServiceContract):
    @pytest.fixture
    def service(self) -> FakeService:
        return FakeService()


def service(**script: object) -> FakeService:
    return FakeService(FakeServer(script=Script(**script)))  # type: ignore[arg-type]


def test_every_so_manyth_request_fails() -> None:
    fake = service(fail_every=3)
    outcomes = []
    for _ in range(6):
        try:
            fake.infer("identity", {"INPUT0": NUMBERS})
            outcomes.append(True)
        except ServiceError:
            outcomes.append(False)
    assert outcomes == [True, True, False, True, True, False]
    [counted] = fake.statistics(["identity"])
    assert (counted.success_count, counted.failure_count) == (4, 2)


def test_a_server_dies_after_so_many_requests() -> None:
    fake = service(die_after=2)
    fake.infer("identity", {"INPUT0": NUMBERS})
    assert fake.ready("identity")
    fake.infer("identity", {"INPUT0": NUMBERS})
    assert not fake.ready("identity")
    with pytest.raises(ServiceError, match="gone"):
        fake.statistics(["identity"])


def test_a_silent_server_answers_nothing() -> None:
    with pytest.raises(ServiceError, match="did not answer"):
        service(silent=True).infer("identity", {"INPUT0": NUMBERS})


def test_a_server_may_never_be_ready_and_count_wrongly() -> None:
    assert not service(ready=False).ready("identity")
    assert service(miscount=3).statistics(["identity"])[0].success_count == 3


def test_latency_is_kept_and_counted() -> None:
    fake = FakeService(FakeServer({"identity": identity_model(latency_s=0.02)}))
    started = time.perf_counter()
    fake.infer("identity", {"INPUT0": NUMBERS})
    assert time.perf_counter() - started >= 0.02
    assert fake.statistics(["identity"])[0].success_ns >= 20_000_000


def test_composing_models_are_counted_with_their_ensemble() -> None:
    part, whole = identity_model("part"), identity_model("whole")
    whole = FakeModel(dataclasses.replace(whole.metadata, composing_models=("part",)))
    fake = FakeService(FakeServer({"part": part, "whole": whole}))
    fake.infer("whole", {"INPUT0": np.ones((2, 1), np.float32)})
    assert [(s.model, s.inference_count) for s in fake.statistics(["whole", "part"])] == [("whole", 2), ("part", 2)]


def test_an_unknown_model_of_the_server_is_a_lookup_error() -> None:
    with pytest.raises(LookupError, match="nope"):
        FakeServer().call("nope", {})
