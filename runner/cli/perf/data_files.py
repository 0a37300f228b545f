"""What lies in `--input-data`: whether outputs to expect are beside the inputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from runner.cli.perf.model import KnownModel
from runner.errors import UsageError


def expects_outputs(paths: Sequence[str], model: KnownModel | None) -> bool:
    """Whether each of these files and folders says what the model should answer.

    Raises:
        UsageError: a JSON file cannot be read.
    """
    return bool(paths) and all(_expects(Path(path), model) for path in paths)


def _expects(path: Path, model: KnownModel | None) -> bool:
    if path.is_dir():
        return model is not None and any((path / name).is_file() for name in model.outputs)
    if path.suffix.lower() != ".json":
        return False
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"--input-data: {path} is not valid JSON: {error}",
            hint='expected {"data": [{"INPUT": [1, 2, 3]}, …]}, see docs/inputs.md',
        ) from error
    return isinstance(document, dict) and "validation_data" in document


def is_json(path: str) -> bool:
    """Whether perf_analyzer would take it for JSON: it does so with every file."""
    return Path(path).suffix.lower() == ".json"
