"""Ensemble steps in the order of the data."""

from __future__ import annotations

from runner.services.pipeline import EnsembleStep, composing_models, in_data_order


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
