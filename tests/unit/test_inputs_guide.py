"""Every example of docs/inputs.md loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from runner.scenario.loading import load_scenario

GUIDE = Path(__file__).parents[2] / "docs" / "inputs.md"
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 6


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_a_scenario(example: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("prompts.txt", "masks.npy", "requests.json", "images.npy", "scores.npy"):
        (tmp_path / name).touch()
    path = tmp_path / "example.yaml"
    path.write_text(f"scenario: 1\nname: example\n{example}")
    workload = load_scenario(path, env={}).scenario.workload
    assert workload.model == yaml.safe_load(example)["workload"]["model"]
    assert workload.data in (None, str(tmp_path / "requests.json"))


def test_a_missing_data_file_is_pointed_at(tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text("scenario: 1\nname: example\nworkload: {model: m, data: nowhere.json}\n")
    with pytest.raises(Exception, match="1 mistake") as caught:
        load_scenario(path, env={})
    assert "nowhere.json" in str(vars(caught.value)["diagnostics"])
