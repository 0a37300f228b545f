"""What every setup `Step` keeps: subclass `StepContract`, provide the fixtures `step` and `inputs`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from runner.results.files import sha256_of
from runner.setup.base import Artifact, Product, Progress, Step, Workbench
from runner.setup.digest import combine, files_below


def content_of(path: Path) -> str:
    """Digest of a file or a folder, by reading it."""
    if path.is_file():
        return sha256_of(path)
    return combine((name, sha256_of(path / name)) for name in files_below(path))


def run(step: Step, inputs: Mapping[str, Artifact], folder: Path) -> tuple[Product, list[Progress]]:
    """Run a step in a workbench of its own."""
    seen: list[Progress] = []
    (folder / "bench").mkdir(parents=True)
    with (folder / "step.log").open("w") as log:
        bench = Workbench(step.name, folder / "bench", log, folder / "reproduce.sh", inputs, seen.append)
        return step.run(bench), seen


class StepContract:
    """The suite."""

    @pytest.fixture
    def inputs(self) -> dict[str, Artifact]:
        return {}

    def test_the_fingerprint_is_text_and_says_the_kind(self, step: Step, inputs: Mapping[str, Artifact]) -> None:
        parts = step.fingerprint(inputs)
        assert parts["kind"] == step.kind
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in parts.items())

    def test_the_fingerprint_changes_only_with_what_goes_in(
        self, step: Step, inputs: Mapping[str, Artifact], tmp_path: Path
    ) -> None:
        before = dict(step.fingerprint(inputs))
        run(step, inputs, tmp_path / "work")
        assert dict(step.fingerprint(inputs)) == before

    def test_the_product_lies_in_the_workbench(
        self, step: Step, inputs: Mapping[str, Artifact], tmp_path: Path
    ) -> None:
        product, _ = run(step, inputs, tmp_path / "work")
        assert product.path.exists()
        assert product.path.is_relative_to(tmp_path / "work" / "bench")
        assert product.digest in {None, content_of(product.path)}

    def test_same_inputs_give_the_same_content(
        self, step: Step, inputs: Mapping[str, Artifact], tmp_path: Path
    ) -> None:
        first, _ = run(step, inputs, tmp_path / "first")
        second, _ = run(step, inputs, tmp_path / "second")
        assert content_of(first.path) == content_of(second.path)
        assert (first.labels, first.facts) == (second.labels, second.facts)

    def test_labels_are_text_and_facts_are_json(
        self, step: Step, inputs: Mapping[str, Artifact], tmp_path: Path
    ) -> None:
        product, _ = run(step, inputs, tmp_path / "work")
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in product.labels.items())
        assert json.loads(json.dumps(product.facts)) == product.facts

    def test_progress_is_named_and_never_beyond_the_end(
        self, step: Step, inputs: Mapping[str, Artifact], tmp_path: Path
    ) -> None:
        _, seen = run(step, inputs, tmp_path / "work")
        assert {progress.step for progress in seen} <= {step.name}
        assert all(p.done <= p.total for p in seen if p.done is not None and p.total is not None)

    def test_it_leaves_a_log_and_a_way_to_repeat_it(
        self, step: Step, inputs: Mapping[str, Artifact], tmp_path: Path
    ) -> None:
        run(step, inputs, tmp_path / "work")
        assert (tmp_path / "work" / "step.log").read_text()
        assert (tmp_path / "work" / "reproduce.sh").read_text().startswith("#!/bin/sh\n")
