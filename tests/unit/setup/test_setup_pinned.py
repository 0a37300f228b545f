"""Scripts that download: the digest that pins them, the shared cache, offline."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import SetupError
from runner.scenario.loading import load_scenario
from runner.scenario.schema import DockerLaunch, Scenario, ScriptStep
from runner.setup import coverage
from runner.setup.base import Workbench
from runner.setup.containers import Containers, InContainer
from runner.setup.digest import DigestCache
from runner.setup.pinned import PinnedScript
from runner.setup.places import Call
from runner.setup.prepare import downloads, prepare
from runner.setup.script import RunScript
from runner.setup.state import StateDirectory
from tests.contracts.step import StepContract, run

BODY = b"a wheel"
SHA = hashlib.sha256(BODY).hexdigest()
FETCHING = """
import pathlib, sys
output = pathlib.Path(sys.argv[2])
with (pathlib.Path(__file__).parent / "calls").open("a") as calls: calls.write("called\\n")
output.write_bytes(b"a wheel")
"""


@pytest.fixture
def fetching(tmp_path: Path) -> Path:
    """A script that says each time that it ran."""
    path = tmp_path / "get.py"
    path.write_text(FETCHING)
    return path


def calls(script: Path) -> int:
    path = script.parent / "calls"
    return len(path.read_text().splitlines()) if path.exists() else 0


def config(script: Path, **rest: Any) -> dict[str, Any]:
    return {"kind": "script", "script": str(script), "network": True, "output": "thing.whl", **rest}


def pinned(script: Path, state: StateDirectory, digest: str = SHA) -> PinnedScript:
    step = ScriptStep.model_validate(config(script, sha256=digest))
    return PinnedScript(RunScript("weights", step, DigestCache(state.home / "cache")), step, digest, state)


class TestContract(StepContract):
    @pytest.fixture
    def step(self, fetching: Path, state: StateDirectory) -> PinnedScript:
        state.create()
        return pinned(fetching, state)


@pytest.fixture
def scenario(fetching: Path, make_scenario: Callable[..., Scenario]) -> Callable[..., Scenario]:
    """A scenario whose file comes from the script that downloads."""

    def make(**rest: Any) -> Scenario:
        return make_scenario(setup={"weights": config(fetching, **rest)})

    return make


def test_it_is_kept_for_all_scenarios_and_not_fetched_twice(
    scenario: Any, state: StateDirectory, fetching: Path
) -> None:
    artifact = prepare(scenario(sha256=SHA), state).artifacts["weights"]
    assert (artifact.path.name, artifact.digest, calls(fetching)) == ("thing.whl", SHA, 1)
    assert state.blob(SHA).stat().st_ino == artifact.path.stat().st_ino, "one copy on disk"
    other = StateDirectory.for_scenario("other", Path("/else.yaml"), state.home)
    assert prepare(scenario(sha256=SHA), other).artifacts["weights"].path.read_bytes() == BODY
    assert calls(fetching) == 1


def test_what_the_script_says_or_runs_in_changes_nothing(scenario: Any, state: StateDirectory, fetching: Path) -> None:
    prepare(scenario(sha256=SHA), state)
    fetching.write_text(f"{FETCHING}\n# another version")
    assert prepare(scenario(sha256=SHA, args={"mirror": "elsewhere"}), state).reports[0].action == "reused"


def test_another_file_is_refused_and_not_kept(scenario: Any, state: StateDirectory) -> None:
    wrong = "0" * 64
    with pytest.raises(SetupError, match=f"get.py wrote another file: expected sha256 {wrong}, got sha256 {SHA}"):
        prepare(scenario(sha256=wrong), state)
    assert not state.blob(wrong).exists()
    assert not state.blob(SHA).exists()


def test_a_folder_is_no_file(tmp_path: Path, state: StateDirectory) -> None:
    state.create()
    (tmp_path / "folder.py").write_text("import os, sys; os.mkdir(sys.argv[2])")
    with pytest.raises(SetupError, match="got a folder"):
        run(pinned(tmp_path / "folder.py", state), {}, tmp_path / "work")


def test_offline_names_it_and_takes_it_from_where_it_said(scenario: Any, state: StateDirectory, fetching: Path) -> None:
    asked = scenario(sha256=SHA)
    with pytest.raises(SetupError) as caught:
        prepare(asked, state, offline=True)
    assert caught.value.message.splitlines()[1:] == [f"  setup.weights: thing.whl, by get.py, -> {state.blob(SHA)}"]
    [finding] = coverage.findings(asked, state)
    assert (finding.level, finding.detail) == ("warn", "thing.whl, by get.py, is not in the cache")
    assert str(state.blob(SHA)) in (finding.remedy or "")
    state.blob(SHA).parent.mkdir(parents=True)
    state.blob(SHA).write_bytes(BODY)
    assert downloads(asked, state) == {"weights": None}
    assert prepare(asked, state, offline=True).artifacts["weights"].path.read_bytes() == BODY
    assert calls(fetching) == 0


def test_without_a_digest_offline_wants_what_an_earlier_setup_made(
    make_scenario: Any, state: StateDirectory, fetching: Path, script: Path
) -> None:
    steps = {
        "list": {"kind": "script", "script": str(script), "args": {"text": "one"}},
        "weights": config(fetching, args={"list": "${setup.list}"}),
    }
    asked = make_scenario(setup=steps)
    with pytest.raises(SetupError) as caught:
        prepare(asked, state, offline=True)
    assert "setup.weights: what it makes with `network: true` -> (no sha256" in caught.value.message
    assert (calls(fetching), list(state.artifacts.iterdir())) == (0, []), "before anything is built"
    prepare(asked, state)
    prepare(asked, state, offline=True)
    assert (calls(fetching), downloads(asked, state)) == (1, {"weights": None})
    steps["list"]["args"] = {"text": "two"}
    changed = make_scenario(setup=steps)
    assert downloads(changed, state)["weights"]
    with pytest.raises(SetupError, match="offline: 1 downloads are missing"):
        prepare(changed, state, offline=True)


def test_offline_no_container_gets_a_network(state: StateDirectory, fetching: Path) -> None:
    launch = DockerLaunch(kind="docker", image="tools")
    place = InContainer(Containers(state.ledger, offline=True), launch, "tools", network=True)
    with pytest.raises(SetupError, match=r"offline: get\.py runs with `network: true`"):
        place.run(Call(fetching, Path("out"), ()), Workbench("weights", state.path, io.StringIO(), state.path / "r.sh"))


def test_a_digest_without_a_download_is_a_mistake(fetching: Path) -> None:
    with pytest.raises(ValueError, match="expected `network: true` beside it"):
        ScriptStep.model_validate({**config(fetching, sha256=SHA), "network": False})


def test_the_wheel_of_the_shipped_scenario_is_covered(state: StateDirectory) -> None:
    shipped = Path(__file__).parents[3] / "scenarios" / "efficientnet.yaml"
    lacking = downloads(load_scenario(shipped, target="gpu-cpu-preprocessing").scenario, state)
    assert lacking.keys() == {"pillow_wheel"}
    missing = lacking["pillow_wheel"]
    assert missing
    assert missing.expected_at
    assert missing.what.endswith("x86_64.whl, by download_wheel.py,")
    assert downloads(load_scenario(shipped, target="cpu").scenario, state) == {}
