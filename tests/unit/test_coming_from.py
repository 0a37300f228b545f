"""Every command line and file of docs/coming-from.md is understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from runner.cli.main import invoke
from runner.cli.perf.parsing import parse
from runner.cli.perf.translating import translate
from runner.scenario.loading import load_scenario

PAGE = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text(encoding="utf-8")
COMMANDS = [each for each in dict.fromkeys(re.findall(r"`(scenario \w+ [^`…]+)`", PAGE)) if "MODEL" not in each]
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
SAME_OPTIONS = re.findall(r"^\| `perf_(?:analyzer|client) ([^`]+)` \| `scenario perf ([^`]+)` \|", PAGE, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the page speaks of, those that its commands write included."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENARIO_HOME", str(tmp_path / "home"))
    for name in ("imgs.npy", "mug.jpg"):
        (tmp_path / name).touch()
    for text in EXAMPLES:
        (tmp_path / f"{re.findall('^name: (.*)', text, re.MULTILINE)[0]}.yaml").write_text(text)
    for command in COMMANDS:
        if " -o " in command:
            assert invoke(shlex.split(command)[1:]) == 0
    return tmp_path


def test_there_is_something_to_check() -> None:
    assert (len(COMMANDS), len(EXAMPLES), len(SAME_OPTIONS)) == (30, 2, 7)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(command: str, folder: Path) -> None:
    _, verb, *words = shlex.split(command)
    if verb == "perf":
        translate(parse(words))
    elif verb == "import":
        assert invoke(["import", *words]) == 0
    else:
        assert verb in ("run", "setup", "reset")
        assert invoke(["validate", *words]) == 0


@pytest.mark.parametrize("name", ["mug", "latency"])
def test_a_file_loads(name: str, folder: Path) -> None:
    assert load_scenario(folder / f"{name}.yaml", env={}).scenario.name == name


@pytest.mark.parametrize(("theirs", "ours"), SAME_OPTIONS)
def test_the_options_stay_as_they_are(theirs: str, ours: str) -> None:
    assert theirs == ours
