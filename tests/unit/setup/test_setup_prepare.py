"""Setup from end to end: what is reused, what is rebuilt and why, and what faults leave behind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import SetupError
from runner.locks import locked
from runner.runtimes.host import state_home
from runner.scenario.schema import Scenario
from runner.setup.base import Artifact, Prepared, Progress
from runner.setup.prepare import merge_labels, plan_setup, prepare
from runner.setup.state import StateDirectory
from runner.setup.store import place_file, read_stamp, stamp_path

Make = Callable[..., Scenario]


def actions(result: Prepared | tuple[Any, ...]) -> dict[str, tuple[str, str]]:
    reports = result.reports if isinstance(result, Prepared) else result
    return {report.name: (report.action, report.reason) for report in reports}


def with_args(script: Path, **args: Any) -> dict[str, Any]:
    return {"weights": {"kind": "export", "script": str(script), "args": args}}


REUSED = ("reused", "same inputs")


def test_first_everything_is_built_then_everything_is_reused(make_scenario: Make, state: StateDirectory) -> None:
    scenario = make_scenario()
    assert actions(plan_setup(scenario, state)) == {
        "weights": ("would build", "first time"),
        "repository": ("would build", "after setup.weights"),
    }
    assert not state.path.exists(), "a plan makes nothing"
    first = prepare(scenario, state)
    assert actions(first) == {"weights": ("built", "first time"), "repository": ("built", "first time")}
    second = prepare(scenario, state)
    assert actions(second) == actions(plan_setup(scenario, state)) == {"weights": REUSED, "repository": REUSED}
    assert (first.repository, first.artifacts, first.labels) == (second.repository, second.artifacts, second.labels)
    assert second.labels == {"weights": "random"}
    assert first.reports[0].seconds > 0
    assert first.reports[0].log == state.logs / "weights.log"
    assert (state.logs / "weights.reproduce.sh").exists()


def test_only_what_depends_on_a_change_is_rebuilt(make_scenario: Make, script: Path, state: StateDirectory) -> None:
    prepare(make_scenario(), state)
    changed = make_scenario(setup=with_args(script, text="other"))
    reports = actions(prepare(changed, state))
    assert reports["weights"] == ("built", "args.text changed: hello -> other")
    assert reports["repository"] == ("built", "setup.weights was rebuilt")
    models = {
        "plain": {**changed.repository.models["plain"].model_dump(by_alias=True), "config": {"max_batch_size": 4}}
    }
    reports = actions(
        prepare(make_scenario(setup=with_args(script, text="other"), repository={"models": models}), state)
    )
    assert reports["weights"] == REUSED
    assert reports["repository"] == ("built", "models.plain.config.max_batch_size added: 4")
    assert actions(prepare(make_scenario(), state)) == {"weights": REUSED, "repository": REUSED}, "old products stay"


def test_a_rebuilt_step_with_the_same_content_costs_nothing_more(
    make_scenario: Make, script: Path, state: StateDirectory
) -> None:
    prepare(make_scenario(), state)
    script.write_text(script.read_text() + "# a comment\n")
    reports = actions(prepare(make_scenario(), state))
    assert reports == {"weights": ("built", "script has other content"), "repository": REUSED}


def test_steps_that_nothing_refers_to_are_not_run(make_scenario: Make, script: Path, state: StateDirectory) -> None:
    spare = {"kind": "script", "script": str(script)}
    setup = {**with_args(script), "spare": spare, "wanted": {**spare, "always": True}}
    reports = actions(prepare(make_scenario(setup=setup), state))
    assert reports["spare"] == ("not needed", "nothing that is served or sent refers to it")
    assert reports["wanted"][0] == "built"
    assert list(reports) == ["wanted", "weights", "spare", "repository"]


def test_steps_feed_each_other(make_scenario: Make, script: Path, state: StateDirectory) -> None:
    chain = {"kind": "script", "script": str(script), "output": "first.txt", "args": {"text": "a"}}
    setup = {"weights": {**chain, "output": "w", "args": {"text": "b", "file": "${setup.source}"}}, "source": chain}
    prepared = prepare(make_scenario(setup=setup), state)
    assert prepared.artifacts["weights"].path.read_text() == "ba"
    assert actions(plan_setup(make_scenario(setup=setup), state))["weights"] == REUSED


def test_a_touched_or_missing_product_is_rebuilt(make_scenario: Make, state: StateDirectory) -> None:
    path = prepare(make_scenario(), state).artifacts["weights"].path
    path.unlink()
    path.write_text("tampered")
    assert actions(prepare(make_scenario(), state))["weights"] == (
        "built",
        "model.onnx was changed in the state directory",
    )
    path.unlink()
    assert actions(prepare(make_scenario(), state))["weights"] == (
        "built",
        "model.onnx is missing from the state directory",
    )
    assert path.read_text() == "hello"


@pytest.mark.parametrize("damage", ["", "[]", '{"format": 99}', '{"format": 1}'])
def test_a_damaged_stamp_means_rebuilding(make_scenario: Make, state: StateDirectory, damage: str) -> None:
    path = prepare(make_scenario(), state).artifacts["weights"].path
    stamp_path(path.parent).write_text(damage)
    assert actions(prepare(make_scenario(), state))["weights"] == ("built", "an earlier setup was interrupted")


def test_the_second_time_is_fast_and_needs_no_heavy_library(
    make_scenario: Make, state: StateDirectory, tmp_path: Path
) -> None:
    scenario = make_scenario()
    prepare(scenario, state)
    (tmp_path / "scenario.json").write_text(scenario.model_dump_json(by_alias=True))
    program = f"""
    import sys, time
    from pathlib import Path
    from runner.scenario.schema import Scenario
    from runner.setup.prepare import prepare
    from runner.setup.state import StateDirectory
    folder = Path({str(tmp_path)!r})
    scenario = Scenario.model_validate_json((folder / "scenario.json").read_text())
    state = StateDirectory.for_scenario("small", folder / "small.yaml", folder / "home")
    before = time.monotonic()
    assert {{report.action for report in prepare(scenario, state).reports}} == {{"reused"}}
    assert time.monotonic() - before < 1
    heavy = {{"onnx", "google.protobuf", "tritonclient", "numpy", "PIL"}} & sys.modules.keys()
    assert not heavy, heavy
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


def test_progress_tells_the_story(make_scenario: Make, state: StateDirectory) -> None:
    seen: list[Progress] = []
    prepare(make_scenario(), state, on_progress=seen.append)
    assert [(p.step, p.message) for p in seen] == [
        ("weights", "building: first time"),
        ("weights", "writing model.onnx"),
        ("repository", "building: first time"),
    ]


def test_a_failed_step_keeps_the_finished_ones(
    make_scenario: Make, script: Path, state: StateDirectory, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("raise SystemExit('no luck')")
    setup = {
        **with_args(script),
        "late": {"kind": "script", "script": str(bad), "args": {"x": "${setup.weights}"}, "always": True},
    }
    with pytest.raises(SetupError, match="no luck"):
        prepare(make_scenario(setup=setup), state)
    assert [path.name.split("-")[0] for path in state.artifacts.iterdir() if path.is_dir()] == ["weights"]
    assert (state.logs / "late.log").read_text().splitlines()[-1] == "  | no luck"
    bad.write_text(script.read_text().replace("parse_args()", "parse_known_args()[0]"))
    reports = actions(prepare(make_scenario(setup=setup), state))
    assert (reports["weights"], reports["late"]) == (REUSED, ("built", "first time"))


def test_a_setup_killed_in_the_middle_starts_over(killed: Scenario, tmp_path: Path, state: StateDirectory) -> None:
    [left] = state.artifacts.iterdir()
    assert left.name.startswith(".building-weights-")
    assert plan_setup(killed, state)[0].action == "would build"
    (tmp_path / "slow.py").write_text("import sys; open(sys.argv[2], 'w').write('whole')")
    prepared = prepare(killed, state)
    assert prepared.artifacts["weights"].path.read_text() == "whole"
    assert not left.exists()


def test_two_setups_do_not_collide(make_scenario: Make, state: StateDirectory) -> None:
    state.create()
    with locked(state.path / "lock"), pytest.raises(SetupError, match="another scenario process"):
        prepare(make_scenario(), state)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "quota"), (errno.EIO, "Input/output error")],
)
def test_write_errors_become_clear_errors(
    make_scenario: Make, state: StateDirectory, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def full(*_: Any) -> None:
        raise OSError(number, os.strerror(number), "/some/file")

    monkeypatch.setattr("runner.setup.store.write_whole", full)
    with pytest.raises(SetupError, match=f"setup.weights: .*{words}") as caught:
        prepare(make_scenario(), state)
    assert caught.value.hint
    assert not [path for path in state.artifacts.iterdir() if path.name.startswith(".building")]
    monkeypatch.undo()
    assert actions(prepare(make_scenario(), state))["weights"] == ("built", "an earlier setup was interrupted")


def test_the_old_stamp_never_vouches_for_a_new_product(
    make_scenario: Make, state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = prepare(make_scenario(), state).artifacts["weights"].path
    path.unlink()
    monkeypatch.setattr(
        "runner.setup.store.write_whole", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken"))
    )
    with pytest.raises(SetupError, match="broken"):
        prepare(make_scenario(), state)
    assert path.exists()
    assert not stamp_path(path.parent).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_really_full_disk(make_scenario: Make, script: Path, tmp_path: Path) -> None:
    home = tmp_path / "full"
    home.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", home], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        state = StateDirectory.for_scenario("small", tmp_path / "small.yaml", home)
        images = {"kind": "dataset", "source": "synthetic_jpeg", "count": 64, "width": [320, 640]}
        scenario = make_scenario(setup={**with_args(script), "images": {**images, "always": True}})
        with pytest.raises(SetupError, match=r"setup\.images: the disk is full \(.* free at") as caught:
            prepare(scenario, state)
        assert "SCENARIO_HOME" in str(caught.value.hint)
        assert not [path for path in state.artifacts.iterdir() if "images" in path.name]
    finally:
        subprocess.run(["umount", home], check=True)


def test_a_home_that_cannot_be_made_is_named(make_scenario: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    state = StateDirectory.for_scenario("small", tmp_path / "s.yaml", tmp_path / "file" / "home")
    with pytest.raises(SetupError, match="cannot make the state directory: Not a directory") as caught:
        prepare(make_scenario(), state)
    assert "SCENARIO_HOME" in str(caught.value.hint)


def test_the_plan_names_what_it_cannot_read(
    make_scenario: Make, state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: Any) -> str:
        raise OSError(errno.EACCES, "Permission denied", "/secret.py")

    monkeypatch.setattr("runner.setup.digest.DigestCache.file", unreadable)
    for attempt in (plan_setup, prepare):
        with pytest.raises(SetupError, match=r"setup\.weights: /secret\.py: Permission denied"):
            attempt(make_scenario(), state)


def test_homes_and_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("SCENARIO_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_home() == tmp_path / ".local" / "state" / "scenario"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert state_home() == tmp_path / "xdg" / "scenario"
    monkeypatch.setenv("SCENARIO_HOME", str(tmp_path / "own"))
    here = StateDirectory.for_scenario("x", tmp_path / "a" / "x.yaml")
    there = StateDirectory.for_scenario("x", tmp_path / "b" / "x.yaml")
    assert here.home == tmp_path / "own"
    assert here.path.parent == there.path.parent
    assert here.path != there.path


def test_labels_that_disagree_are_both_told() -> None:
    labels = ({"weights": "random", "a": "1"}, {"weights": "imagenet"}, {"weights": "random"})
    artifacts = {str(number): Artifact(Path(), "", label) for number, label in enumerate(labels)}
    assert merge_labels(artifacts) == {"weights": "random, imagenet", "a": "1"}


def test_stamps_hold_what_later_runs_need(make_scenario: Make, state: StateDirectory) -> None:
    prepared = prepare(make_scenario(), state)
    stamp = read_stamp(stamp_path(prepared.repository))
    assert stamp
    assert stamp.facts["models"]["plain"] == {
        "max_batch_size": 8,
        "input": ["X"],
        "output": ["Y"],
        "shapes": {"X": [4]},
    }
    assert json.loads(stamp_path(prepared.artifacts["weights"].path.parent).read_text())["facts"] == {"length": 5}


def test_files_are_copied_where_links_are_impossible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_text("content")
    place_file(tmp_path / "a", tmp_path / "sub" / "b")
    assert (tmp_path / "sub" / "b").read_text() == "content"
