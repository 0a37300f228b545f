"""Models with the scenario's configuration, and what is wrong with them before any server says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from runner.scenario.schema import ModelSource, Scenario
from runner.setup.base import Artifact
from runner.setup.ensemble import check_ensembles
from runner.setup.model_config import Problems, apply_args, apply_overrides, read_config
from runner.setup.references import references, substitute_all
from runner.setup.sources import source_files
from runner.setup.workload import check_workload

_LISTED = ("input", "output")
_MODEL_FILES = {"python": ("model.py",), "dali": ("model.dali", "dali.py"), "tensorrt": ("model.plan",)}
"""Backend -> files of which a version folder has to hold one, unless the configuration names another."""


def known_problems(scenario: Scenario, max_batch_needed: int) -> Problems:
    """What is wrong with the models and the workload, as far as it is known before any step has run.

    A line is `address: message`.
    """
    models, problems = scenario.repository.models, Problems()
    told = [(model.config, model.args) for model in models.values()]
    # Only texts refer to artifacts, and no check looks at what they say.
    unmade = {name: Artifact(Path(f"/{name}"), "") for name in references(told)}
    configs = configured(models, unmade, problems)
    check_models(models, configs, problems)
    facts = {name: facts_of(config) for name, config in configs.items()}
    problems += check_workload(scenario, facts, max_batch_needed)
    return problems


def configured(models: Mapping[str, ModelSource], inputs: Mapping[str, Artifact], problems: Problems) -> dict[str, Any]:
    """The ModelConfig of each model, overrides and arguments included."""
    return {name: _configured(name, model, inputs, problems) for name, model in models.items()}


def _configured(name: str, model: ModelSource, inputs: Mapping[str, Artifact], problems: Problems) -> Any:
    address = f"repository.models.{name}"
    config = read_config(Path(model.from_) / "config.pbtxt", address, problems)
    apply_overrides(config, substitute_all(model.config, inputs), f"{address}.config", problems)
    apply_args(config, substitute_all(model.args, inputs))
    config.name = name
    if config.max_batch_size < 0:
        message = f"expected 0 (no batches) or more, got {config.max_batch_size}"
        problems.add(f"{address}.config.max_batch_size", message)
    return config


def check_models(models: Mapping[str, ModelSource], configs: Mapping[str, Any], problems: Problems) -> None:
    """Refuse files in wrong places, models without their file, and ensembles whose parts do not fit together."""
    for name, model in models.items():
        for path in model.files:
            if not _inside(path):
                address = f"repository.models.{name}.files.{path}"
                problems.add(address, "expected a path inside the model folder")
        _check_model_file(name, model, configs[name], problems)
    check_ensembles(configs, problems)


def _check_model_file(name: str, model: ModelSource, config: Any, problems: Problems) -> None:
    """Refuse a model without the file that its backend loads."""
    known = _MODEL_FILES.get(config.backend)
    if known is None:
        return
    wanted = (config.default_model_filename,) if config.default_model_filename else known
    there = (*source_files(Path(model.from_)), *model.files)
    if not any(PurePosixPath(path).match(f"*/{file}") for path in there for file in wanted):
        needs = " or ".join(f"1/{file}" for file in wanted)
        message = f"backend `{config.backend}` needs {needs}, which is not there"
        problems.add(f"repository.models.{name}.from", message)


def facts_of(config: Any) -> dict[str, Any]:
    """What later checks need to know of a model."""
    names = {which: [tensor.name for tensor in getattr(config, which)] for which in _LISTED}
    shapes = {tensor.name: list(tensor.dims) for tensor in config.input}
    return {"max_batch_size": config.max_batch_size, **names, "shapes": shapes}


def _inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts and pure.parts != ()
