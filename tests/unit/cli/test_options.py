"""FILE and the flags that the file declares, in any order."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.cli.options import split_arguments
from runner.errors import UsageError

FILE = """
scenario: 1
name: flags
vars:
  max_batch: {type: int, default: 8, flag: --max-batch}
  fast: {type: bool, default: false, flag: --fast}
workload: {model: m}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "flags.yaml"
    path.write_text(FILE)
    return str(path)


def test_file_and_flags_in_any_order(file: str) -> None:
    expected = (file, {"--max-batch": "16", "--fast": "true"})
    assert split_arguments([file, "--max-batch", "16", "--fast"]) == expected
    assert split_arguments(["--max-batch", "16", "--fast", file]) == expected
    assert split_arguments(["--max-batch=16", file, "--fast", "true"]) == expected


def test_a_negative_number_is_a_value(file: str) -> None:
    assert split_arguments([file, "--max-batch", "-1"]) == (file, {"--max-batch": "-1"})


def test_no_file_is_the_default_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert split_arguments(["--max-batch", "16"]) == (None, {"--max-batch": "16"})
    assert split_arguments([]) == (None, {})


def test_unknown_flag_names_the_nearest(file: str) -> None:
    with pytest.raises(UsageError) as caught:
        split_arguments([file, "--max-bach", "16"])
    assert "--max-bach" in caught.value.message
    assert caught.value.hint == "did you mean --max-batch?"


def test_unknown_flag_without_a_near_one_lists_what_there_is(file: str) -> None:
    with pytest.raises(UsageError) as caught:
        split_arguments([file, "--zzz"])
    assert "--max-batch, --fast" in str(caught.value.hint)


def test_flag_without_value(file: str) -> None:
    with pytest.raises(UsageError, match="--max-batch needs a value of type int"):
        split_arguments([file, "--max-batch"])
    with pytest.raises(UsageError, match="--max-batch needs a value"):
        split_arguments([file, "--max-batch", "--fast"])


def test_second_file_is_refused(file: str) -> None:
    with pytest.raises(UsageError, match=r"unexpected argument 'other.yaml'"):
        split_arguments([file, "other.yaml"])
