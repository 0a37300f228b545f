"""Step `dali` without DALI: what is called with which arguments, and what its fingerprint covers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runner.errors import SetupError
from runner.scenario.schema import DaliStep
from runner.setup.base import Artifact, Parts, Workbench
from runner.setup.dali import SerializeDali
from runner.setup.digest import DigestCache
from runner.setup.places import Call
from tests.contracts.step import StepContract, run


class Clerk:
    """A `Place` that writes down how it was called, as the step's output."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def check(self, script: Path) -> None:
        assert script.is_file()

    def parts(self, script: Path) -> Parts:
        return {f"place of {script.name}": "clerk"}

    def run(self, call: Call, bench: Workbench) -> None:
        self.calls.append(call)
        call.output.write_text(json.dumps(call.arguments))
        bench.note("written")
        bench.reproduce.write_text("#!/bin/sh\n")


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    path = tmp_path / "dali.py"
    path.write_text("import numpy\n")
    return path


def make(pipeline: Path | str, place: Clerk | None = None, **config: Any) -> SerializeDali:
    step = DaliStep.model_validate({"kind": "dali", "from": str(pipeline), **config})
    cache = Path(pipeline).parent if isinstance(pipeline, Path) else Path()
    return SerializeDali("pipeline", step, DigestCache(cache / "cache"), place or Clerk())


class TestContract(StepContract):
    @pytest.fixture
    def inputs(self, tmp_path: Path) -> Mapping[str, Artifact]:
        (tmp_path / "given").write_text("given")
        return {"other": Artifact(tmp_path / "given", "digest")}

    @pytest.fixture
    def step(self, pipeline: Path) -> SerializeDali:
        return make(pipeline, args={"table": "${setup.other}", "size": 224})


def test_arguments_keep_their_types_and_files_are_passed_along(pipeline: Path, tmp_path: Path) -> None:
    place, other = Clerk(), Artifact(tmp_path / "table", "digest")
    arguments = {"decoder": "mixed", "hw_decoder_load": 0.8, "fast": True, "table": "${setup.other}"}
    run(make(pipeline, place, args=arguments), {"other": other}, tmp_path / "work")
    [call] = place.calls
    assert call.script.name == "serialize_dali.py"
    assert call.output.name == "model.dali"
    assert call.arguments[:3] == ("--pipeline", str(pipeline), "--arguments")
    assert json.loads(call.arguments[3]) == {**arguments, "table": str(other.path)}
    assert set(call.reads) == {pipeline, other.path}


def test_the_pipeline_may_be_made_by_another_step(tmp_path: Path) -> None:
    place, made = Clerk(), Artifact(tmp_path / "made.py", "digest of made")
    step = make("${setup.source}", place)
    assert step.fingerprint({"source": made})["setup.source"] == "digest of made"
    run(step, {"source": made}, tmp_path / "work")
    assert place.calls[0].arguments[1] == str(made.path)


def test_the_fingerprint_covers_source_arguments_and_place(pipeline: Path) -> None:
    before = make(pipeline, args={"size": 224}).fingerprint({})
    assert before["args.size"] == "224"
    assert before["place of dali.py"] == before["place of serialize_dali.py"] == "clerk", "what both import"
    assert make(pipeline, args={"size": 256}).fingerprint({})["args.size"] == "256"
    pipeline.write_text("import numpy  # changed\n")
    after = make(pipeline, args={"size": 224}).fingerprint({})
    assert {key for key in before if before[key] != after[key]} == {"from"}


def test_a_source_that_is_gone_is_named(pipeline: Path) -> None:
    pipeline.unlink()
    with pytest.raises(SetupError, match=r"setup\.pipeline\.from: no such file: .*dali\.py"):
        make(pipeline).fingerprint({})
