"""Ensemble steps in the order of the data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.errors import ServiceError
from runner.results.records import ModelFacts
from runner.services.fake import FakeModel, FakeServer, FakeService, identity_model
from runner.services.pipeline import EnsembleStep, Pipeline, composing_models, in_data_order, read_pipeline


def step(model: str, reads: str, writes: str) -> EnsembleStep:
    return EnsembleStep(model, frozenset(reads.split()), frozenset(writes.split()))


def names(*steps: EnsembleStep) -> list[str]:
    return [entry.model for entry in in_data_order(steps)]


def test_what_is_written_is_written_before_it_is_read() -> None:
    assert names(step("c", "y", "z"), step("a", "in", "x"), step("b", "x", "y")) == ["a", "b", "c"]


def test_independent_steps_stay_as_they_are_listed() -> None:
    assert names(step("right", "in", "r"), step("left", "in", "l"), step("join", "l r", "out")) == [
        "right",
        "left",
        "join",
    ]


def test_a_circle_does_not_hang() -> None:
    assert sorted(names(step("a", "y", "x"), step("b", "x", "y"))) == ["a", "b"]


def test_nested_ensembles_are_resolved_and_each_model_named_once() -> None:
    ensembles = {
        "outer": [step("post", "b", "out"), step("inner", "in", "b")],
        "inner": [step("post", "a", "b"), step("pre", "in", "a")],
    }
    assert composing_models("outer", lambda name: ensembles.get(name, [])) == ("pre", "post")
    assert composing_models("post", lambda name: ensembles.get(name, [])) == ()


def served(**composing: str) -> FakeService:
    """Models with the models behind them."""

    def model(name: str, behind: str) -> FakeModel:
        metadata = identity_model(name).metadata
        return FakeModel(replace(metadata, composing_models=tuple(behind.split()), facts=ModelFacts(name, "python")))

    return FakeService(FakeServer({name: model(name, behind) for name, behind in composing.items()}))


def test_a_pipeline_has_the_facts_of_every_model_that_runs() -> None:
    service = served(outer="pre post", pre="", post="", inner="decode net", decode="", net="")
    found = read_pipeline(service, service.metadata("outer"), ("inner", "net", "post"))
    assert (found.models, found.bls) == (("outer", "pre", "post"), ("decode", "net"))
    assert [facts.model for facts in found.facts] == ["outer", "pre", "post", "decode", "net"]


def test_a_model_alone_is_a_pipeline() -> None:
    service = served(alone="")
    assert read_pipeline(service, service.metadata("alone")) == Pipeline(
        ("alone",), (), (ModelFacts("alone", "python"),)
    )


def test_a_named_model_that_the_server_does_not_have_is_an_error() -> None:
    service = served(alone="")
    with pytest.raises(ServiceError, match="unknown model 'nobody'"):
        read_pipeline(service, service.metadata("alone"), ("nobody",))
