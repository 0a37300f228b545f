"""Confirmation and its end: who is measured again, what is written when, and that the file gives the point."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.report.study_text import study_text
from runner.results.records import Trial
from runner.results.run import Run
from runner.scenario.loading import load_scenario
from runner.workflow.tuning.override import changed_values, write_override
from tests.unit.scenario_files import Load
from tests.unit.workflow.study_support import DELAY, Laboratory, Watcher, disturbing

pytestmark = pytest.mark.usefixtures("_no_ceiling")
CONFIRMED = (f"{DELAY}=40", f"tune.space={{{DELAY}: [4, 30]}}")


def test_a_winner_is_named_from_fresh_measurements_and_written(load: Load, lab: Laboratory, tmp_path: Path) -> None:
    outcome = lab.study(load(*CONFIRMED, "tune.confirm={top: 1, repeats: 6}"))
    study = outcome.study
    assert (study.call, study.winner) == ("winner", study.front[0].number)
    own, best = study.contenders
    assert (own.number, own.blocks, best.blocks) == (0, 6, 6)
    assert best.gain is not None
    assert best.gain.low is not None
    assert best.gain.low > 1, "ten times quicker, whatever else the machine does"
    assert len(lab.runtime.started) == 3 + 12, "every contender on a server of its own in each block"
    blocks = [trial.block for trial in _confirmed(outcome.run)]
    assert all(a <= b for a, b in pairwise(blocks)), "block after block"
    assert study.written == str(outcome.directory / "tuned.yaml")
    text = Path(study.written).read_text()
    assert yaml.safe_load(text) == {"repository": {"models": {"identity": {"args": {"delay_ms": 4}}}}}
    assert study.conclusion in text.replace("\n# ", " ")
    tuned = load_scenario(tmp_path / "fake.yaml", values=[Path(study.written)], env={}).scenario
    assert tuned.repository.models["identity"].args["delay_ms"] == 4
    assert "wins: better than the file's own values" in study_text(outcome.run, study)
    document = json.loads((outcome.directory / "study.json").read_text())
    assert document["search"]["outcomes"] == {"measured": 3}
    assert [contender["number"] for contender in document["confirmation"]] == [0, study.winner]
    assert (document["winner"], document["conclusion"]) == (study.winner, study.conclusion)


def _confirmed(run: Run) -> list[Trial]:
    trials = [trial for trials in run.repeats.values() for trial in trials if trial.case_id.startswith("confirm-")]
    return sorted(trials, key=lambda trial: trial.started_utc)


def test_without_a_significant_gain_nothing_is_written(load: Load, lab: Laboratory) -> None:
    outcome = lab.study(load(*CONFIRMED, "tune.confirm={top: 1, repeats: 6, margin: 99}"))
    assert (outcome.study.winner, outcome.exit_code) == (None, 0)
    assert "The file's own values stay" in outcome.study.conclusion
    assert not (outcome.directory / "tuned.yaml").exists()


def test_a_study_stopped_while_it_confirms_goes_on_there(load: Load, lab: Laboratory) -> None:
    loaded = load(*CONFIRMED, "tune.confirm={top: 1, repeats: 2}")
    with pytest.raises(KeyboardInterrupt):
        lab.study(loaded, StopsConfirming(after=2))
    second = Watcher()
    outcome = lab.study(loaded, second, resume=True)
    assert second.observations == [], "the search is over"
    assert len(second.cases) == 2, "two of four measurements were there"
    units = [(trial.case_id, trial.repeat) for trial in _confirmed(outcome.run)]
    assert len(units) == len(set(units)) == 4
    assert outcome.study.call == "undecided", "two blocks give effects, but no verdict"


def test_a_disturbed_block_is_measured_again_on_a_fresh_server(
    load: Load, lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbing(monkeypatch, lambda number, trial: number == 4)
    outcome = lab.study(load(*CONFIRMED, "tune.confirm={top: 1, repeats: 2}"))
    assert [each.blocks for each in outcome.study.contenders] == [2, 2]
    assert len(lab.runtime.started) == 3 + 4 + 1


class StopsConfirming(Watcher):
    """Ctrl-C after so many measurements of the confirmation."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._left = after

    def on_case(self, case: Any) -> None:
        if case.id.startswith("confirm-"):
            if not self._left:
                raise KeyboardInterrupt
            self._left -= 1


# --- the override file ---------------------------------------------------------------------------------------------


def test_only_what_differs_from_the_file_is_an_override() -> None:
    current = {"a": 1, "b": "x", "c": 2.0}
    assert changed_values({"a": 1.0, "b": "y", "c": 2, "d": None}, current) == {"b": "y", "d": None}


def test_what_a_file_cannot_say_is_given_as_options(load: Load, tmp_path: Path) -> None:
    """A choice between maps may take keys away, which a merged file cannot."""
    address = "repository.models.identity.config.dynamic_batching"
    loaded = load(f"{address}={{max_queue_delay_microseconds: 5}}")
    path = tmp_path / "tuned.yaml"
    options = write_override(loaded, {address: {}, DELAY: 7}, "why", path)
    assert options == (f"--set '{address}={{}}'",)
    assert yaml.safe_load(path.read_text()) == {"repository": {"models": {"identity": {"args": {"delay_ms": 7}}}}}
    assert f"--set '{address}={{}}'" in path.read_text().replace("\n# ", " ")
