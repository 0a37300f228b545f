"""The assembled model repository: what is in it, and every reason to refuse it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from runner.errors import SetupError
from runner.scenario.schema import Scenario
from runner.setup.base import Artifact
from runner.setup.digest import files_below
from runner.setup.prepare import prepare
from runner.setup.repository import AssembleRepository
from runner.setup.state import StateDirectory
from tests.contracts.step import StepContract

Make = Callable[..., Scenario]


@pytest.fixture
def one(make_scenario: Make, model_folder: Path) -> Make:
    """A scenario whose only model is changed by keyword arguments."""

    def make(workload: dict[str, Any] | None = None, **changes: Any) -> Scenario:
        source = {"from": str(model_folder), "files": {"1/weights.bin": "${setup.weights}"}, **changes}
        return make_scenario(repository={"models": {"plain": source}}, workload=workload or {"model": "plain"})

    return make


class TestContract(StepContract):
    @pytest.fixture
    def inputs(self, tmp_path: Path) -> dict[str, Artifact]:
        (tmp_path / "weights").write_text("hello")
        return {"weights": Artifact(tmp_path / "weights", "digest")}

    @pytest.fixture
    def step(self, make_scenario: Make, state: StateDirectory) -> AssembleRepository:
        return AssembleRepository(make_scenario(), state, 8)


def config_of(repository: Path, model: str = "plain") -> Any:
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), ModelConfig())


def test_sources_are_copied_without_dirt_and_stay_as_they_are(
    one: Make, state: StateDirectory, model_folder: Path
) -> None:
    before = {name: (model_folder / name).read_bytes() for name in files_below(model_folder)}
    prepared = prepare(one(), state)
    assert files_below(prepared.repository) == ["plain/1/model.py", "plain/1/weights.bin", "plain/config.pbtxt"]
    assert (prepared.repository / "plain/1/weights.bin").read_text() == "hello"
    assert {name: (model_folder / name).read_bytes() for name in files_below(model_folder)} == before


def test_artifacts_are_linked_not_copied(one: Make, state: StateDirectory) -> None:
    prepared = prepare(one(), state)
    assert (prepared.repository / "plain/1/weights.bin").samefile(prepared.artifacts["weights"].path)


def test_the_configuration_is_named_overridden_and_given_arguments(one: Make, state: StateDirectory) -> None:
    overrides = {
        "max_batch_size": 32,
        "dynamic_batching": {},
        "parameters": {"p": {"string_value": "${setup.weights}"}},
    }
    prepared = prepare(one(config=overrides, args={"threads": 2, "path": "${setup.weights}"}), state)
    config, path = config_of(prepared.repository), str(prepared.artifacts["weights"].path)
    assert (config.name, config.max_batch_size, config.backend) == ("plain", 32, "python")
    assert config.HasField("dynamic_batching")
    assert {key: v.string_value for key, v in config.parameters.items()} == {"p": path, "threads": "2", "path": path}


def test_a_version_folder_is_made_where_there_is_none(
    make_scenario: Make, state: StateDirectory, tmp_path: Path
) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.pbtxt").write_text('platform: "custom"')
    scenario = make_scenario(repository={"models": {"plain": {"from": str(tmp_path / "bare")}}})
    assert (prepare(scenario, state).repository / "plain" / "1").is_dir()


def test_folders_and_plain_paths_can_be_added(one: Make, state: StateDirectory, tmp_path: Path) -> None:
    (tmp_path / "extra" / "sub").mkdir(parents=True)
    (tmp_path / "extra" / "sub" / "labels.txt").write_text("cat")
    (tmp_path / "model.py").write_text("# mine\n")
    files = {"1/extra": str(tmp_path / "extra"), "1/model.py": str(tmp_path / "model.py")}
    prepared = prepare(one(files=files), state)
    assert (prepared.repository / "plain/1/extra/sub/labels.txt").read_text() == "cat"
    assert (prepared.repository / "plain/1/model.py").read_text() == "# mine\n"
    (tmp_path / "extra" / "sub" / "labels.txt").write_text("dog")
    assert prepare(one(files=files), state).reports[-1].reason == "models.plain.files.1/extra has other content"


def test_every_problem_is_told_at_once_and_nothing_is_assembled(
    one: Make, state: StateDirectory, tmp_path: Path
) -> None:
    files = {"../outside": "${setup.weights}", "/abs": "${setup.weights}", "1/none": str(tmp_path / "none")}
    scenario = one(config={"max_batch_sise": 1}, files=files)
    with pytest.raises(SetupError) as caught:
        prepare(scenario, state)
    lines = caught.value.message.splitlines()
    assert lines[0] == "repository: 4 problems"
    assert lines[1].strip().startswith("repository.models.plain.config.max_batch_sise: ModelConfig has no such field")
    assert "repository.models.plain.files.../outside: expected a path inside the model folder" in lines[2]
    assert "files./abs: expected a path inside" in lines[3]
    assert f"no such file: {tmp_path}/none" in lines[4]
    assert list(state.repositories.iterdir()) == []


def test_a_python_model_needs_its_script(one: Make, state: StateDirectory, model_folder: Path) -> None:
    (model_folder / "1" / "model.py").unlink()
    with pytest.raises(SetupError, match=r"backend `python` needs 1/model.py"):
        prepare(one(), state)


@pytest.mark.parametrize(
    ("config", "files", "says"),
    [
        ({"backend": "dali"}, {}, "`dali` needs 1/model.dali or 1/dali.py"),
        ({"backend": "dali"}, {"1/model.dali": "${setup.weights}"}, None),
        ({"backend": "tensorrt"}, {"1/model.bin": "${setup.weights}"}, "`tensorrt` needs 1/model.plan"),
        ({"backend": "tensorrt", "default_model_filename": "a.plan"}, {"1/model.plan": "${setup.weights}"}, "1/a.plan"),
        ({"backend": "tensorrt", "default_model_filename": "a.plan"}, {"1/a.plan": "${setup.weights}"}, None),
        ({"backend": "onnxruntime"}, {}, None),
    ],
)
def test_a_model_needs_the_file_that_its_backend_loads(
    one: Make, state: StateDirectory, config: dict[str, str], files: dict[str, str], says: str | None
) -> None:
    if says is None:
        assert prepare(one(config=config, files=files), state).repository.is_dir()
        return
    with pytest.raises(SetupError, match=says):
        prepare(one(config=config, files=files), state)


def test_a_missing_model_folder_is_found_before_anything_is_built(one: Make, state: StateDirectory) -> None:
    with pytest.raises(SetupError, match=r"repository\.models\.plain\.from: no such folder: /no/where"):
        prepare(one(**{"from": "/no/where"}), state)
    assert not list(state.artifacts.iterdir())


@pytest.mark.parametrize("again", [False, True])
def test_the_workload_is_checked_also_when_the_repository_is_reused(
    one: Make, state: StateDirectory, again: bool
) -> None:
    if again:
        prepare(one(), state)
    workload = {"model": "plain", "input": {"Z": {"generate": "zero"}}}
    with pytest.raises(SetupError) as caught:
        prepare(one(workload=workload), state, max_batch_needed=16)
    assert caught.value.message.splitlines()[1:] == [
        "  workload.input.Z: plain has no such input",
        "  workload.batch: the matrix goes up to 16, but plain takes at most 8 per request; raise "
        "repository.models.plain.config.max_batch_size to 16, with those of its steps, or lower the matrix",
    ]
    with pytest.raises(
        SetupError, match=r"workload\.model: the repository has no model `plane` \(did you mean `plain`\?\)"
    ):
        prepare(one(workload={"model": "plane"}), state)


def test_a_model_without_batching_takes_single_items_only(one: Make, state: StateDirectory) -> None:
    prepare(one(config={"max_batch_size": 0}), state, max_batch_needed=1)
    with pytest.raises(SetupError, match="plain takes no batches"):
        prepare(one(config={"max_batch_size": 0}), state, max_batch_needed=2)


def test_unknown_models_to_load_are_named(make_scenario: Make, state: StateDirectory) -> None:
    with pytest.raises(
        SetupError, match=r"server\.load: the repository has no model `plian` \(did you mean `plain`\?\)"
    ):
        prepare(make_scenario(server={"load": ["plian"]}), state)


def test_a_scenario_without_models_has_an_empty_repository(make_scenario: Make, state: StateDirectory) -> None:
    prepared = prepare(make_scenario(repository={}, setup={}), state)
    assert list(prepared.repository.iterdir()) == []
    assert [report.name for report in prepared.reports] == ["repository"]
