"""Several servers under one load: what they counted together, and that they serve the same model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from runner.errors import ServiceError
from runner.load.plan import Weighted
from runner.measure.peers import Peer, check_peers, growth, readings, spread
from runner.results.records import ModelStatistics
from runner.services.base import ModelMetadata, Service, TensorSpec


def counted(model: str, n: int, version: str = "1") -> ModelStatistics:
    return ModelStatistics(model, version, n, 1, 8 * n, n, 10, 20, 30, 40, 50)


class Server:
    def __init__(self, batch: int = 8) -> None:
        self.batch = batch

    def metadata(self, model: str) -> ModelMetadata:
        return ModelMetadata(model, "1", "python", self.batch, (TensorSpec("X", "FP32", (1,)),), ())

    def statistics(self, models: Sequence[str]) -> tuple[ModelStatistics, ...]:
        return tuple(counted(model, self.batch) for model in models)


def peer(server: Any, weight: int = 1) -> Peer:
    return Peer(cast(Service, server), "other:1", weight)


def test_the_counters_of_all_servers_are_added_up_by_model() -> None:
    before = ((counted("a", 10), counted("b", 1)), (counted("a", 100, "2"), counted("b", 2)))
    after = ((counted("a", 15), counted("b", 2)), (counted("a", 130, "2"), counted("b", 9)))
    grown = growth(before, after)
    assert [(m.model, m.success_count, m.inference_count) for m in grown.models] == [("a", 35, 280), ("b", 8, 64)]
    assert (grown.models[0].version, grown.models[1].version, grown.restarted) == ("1,2", "1", ())


def test_a_restart_of_one_server_is_not_hidden_by_the_sum() -> None:
    grown = growth(((counted("a", 10),), (counted("a", 100),)), ((counted("a", 500),), (counted("a", 3),)))
    assert grown.models[0].success_count > 0
    assert grown.restarted == ("a",)


def test_one_server_is_read_as_it_always_was() -> None:
    services = (cast(Service, Server()),)
    assert readings(services, ["m"]) == ((counted("m", 8),),)
    assert growth(((counted("a", 1),),), ((counted("a", 4),),)).models[0].success_count == 3


def test_peers_serve_the_same_model() -> None:
    service = cast(Service, Server())
    check_peers(service, [peer(Server())], "m")
    with pytest.raises(ServiceError, match=r"workload\.endpoints\.1: model 'm' at other:1 has other max_batch_size"):
        check_peers(service, [peer(Server()), peer(Server(batch=4))], "m")
    assert spread([peer(Server(), 3)]) == (Weighted(endpoint="other:1", weight=3),)
