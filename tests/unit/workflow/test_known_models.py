"""Mistakes in models and workload that the file and its config.pbtxt give away: told at their places, with no setup."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runner.cli.main import invoke
from runner.errors import ScenarioError
from runner.scenario.diagnostics import Diagnostic
from runner.scenario.loading import load_scenario
from runner.scenario.matrix import expand
from runner.workflow import setup_scenario
from runner.workflow.contract import RunOptions, Silent
from runner.workflow.known_models import check_known_models
from runner.workflow.verbs import checked_cases

CONFIG = """backend: "onnxruntime"
max_batch_size: 8
input [{name: "IN" data_type: TYPE_FP32 dims: [-1, 4]}]
output [{name: "OUT" data_type: TYPE_FP32 dims: [4]}]
"""
FILE = """scenario: 1
name: known
setup: {make: {kind: script, script: make.py}}
repository:
  models:
    m:
      from: model
      files: {1/model.onnx: "${setup.make}"}
      config: CONFIG
workload:
  model: m
  WORKLOAD
  batch: 1
matrix:
  axes: AXES
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.pbtxt").write_text(CONFIG)
    (tmp_path / "make.py").write_text("")

    def made(config: str = "{}", workload: str = "timeout: 1s", axes: str = "{}") -> Path:
        path = tmp_path / "known.yaml"
        path.write_text(FILE.replace("CONFIG", config).replace("WORKLOAD", workload).replace("AXES", axes))
        return path

    return made


def found(path: Path, *set_: str, target: str | None = None) -> tuple[Diagnostic, ...]:
    loaded = load_scenario(path, set_=set_, target=target, env={})
    with pytest.raises(ScenarioError) as caught:
        check_known_models(loaded, expand(loaded))
    return caught.value.diagnostics


@pytest.mark.parametrize(
    ("part", "text", "line", "fragment", "code", "says"),
    [
        ("config", "{max_batch_size: -5}", 9, "-5", "E151", "expected 0 (no batches) or more, got -5"),
        ("config", "{dynamic_batchin: {}}", 9, "dynamic_batchin", "E151", "did you mean `dynamic_batching`?"),
        ("config", "{instance_group: [{cout: 2}]}", 9, "cout", "E151", "did you mean `count`?"),
        ("config", "{max_batch_size: many}", 9, "many", "E151", "many"),
        ("workload", "shape: {IM: [4, 4]}", 12, "IM", "E120", "m has no such input"),
        ("workload", "shape: {IN: [4]}", 12, "[4]", "E113", "[4] does not fit the [-1, 4] of m"),
        ("workload", "input: {IM: {generate: zero}}", 12, "IM", "E120", "m has no such input"),
        ("workload", "input: {IN: {generate: zero, shape: [2, 5]}}", 12, "[2, 5]", "E113", "does not fit the [-1, 4]"),
        ("axes", "{workload.batch: [1, 9]}", 15, "[1, 9]", "E150", "goes up to 9, but m takes at most 8 per request"),
        (
            "axes",
            "{repository.models.m.config.max_batch_size: [4, -1]}",
            *(15, "[4, -1]", "E151", "got -1"),
        ),
    ],
)
def test_a_mistake_is_told_at_its_place(
    write: Write, part: str, text: str, line: int, fragment: str, code: str, says: str
) -> None:
    path = write(**{part: text})
    (mistake,) = found(path)
    assert (mistake.code, mistake.line) == (code, line)
    assert says in mistake.message
    assert mistake.column is not None
    assert path.read_text().splitlines()[line - 1][mistake.column - 1 :].startswith(fragment)


def test_a_folder_that_is_no_model_is_told_where_the_file_names_it(write: Write, tmp_path: Path) -> None:
    (tmp_path / "model" / "config.pbtxt").write_text("max_batch: 1")
    (mistake,) = found(write())
    assert (mistake.line, mistake.column) == (7, 13)
    assert "config.pbtxt:1:1" in mistake.message


def test_every_mistake_is_told_at_once_also_those_of_options(write: Write) -> None:
    path = write(config="{dynamic_batchin: {}}", workload="shape: {IM: [1]}")
    mistakes = found(path, "repository.models.m.config.max_batch_size=-2")
    assert [(each.file, each.line) for each in mistakes] == [(str(path), 9), (str(path), 12), ("--set", None)]


def test_a_file_without_mistakes_is_valid_before_any_step_has_run(write: Write) -> None:
    path = write(config='{parameters: {table: {string_value: "${setup.make}"}}}', axes="{workload.batch: [1, 8]}")
    loaded = load_scenario(path, env={})
    check_known_models(loaded, expand(loaded))


def test_points_that_are_skipped_are_not_looked_at(write: Write) -> None:
    loaded = load_scenario(
        write(axes="{workload.batch: [1, 9]}\n  skip: ['workload.batch > 8']", workload="timeout: 1s"), env={}
    )
    check_known_models(loaded, expand(loaded))


def test_a_remote_server_has_models_of_its_own(write: Write) -> None:
    path = write(config="{dynamic_batchin: {}}")
    loaded = load_scenario(path, set_=["targets={far: {launch: {kind: remote, url: far.lan}}}"], env={})
    check_known_models(loaded, expand(loaded))


def test_run_plan_and_setup_refuse_it_too(write: Write, tmp_path: Path) -> None:
    loaded = load_scenario(write(config="{dynamic_batchin: {}}"), env={})
    with pytest.raises(ScenarioError):
        checked_cases(loaded)
    with pytest.raises(ScenarioError):
        setup_scenario(loaded, RunOptions(home=tmp_path / "home"), Silent())
    assert not (tmp_path / "home").exists()


def test_validate_says_it_with_exit_code_2(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(config="{max_batch_size: -5}")
    assert invoke(["validate", str(path)]) == 2
    assert f"{path}:9:32" in capsys.readouterr().err
