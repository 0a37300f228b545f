"""Setup steps in containers: hardened, cut off, logged, repeatable, and undone."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from runner.errors import SetupError
from runner.scenario.schema import DockerLaunch, Scenario, ScriptStep
from runner.setup.base import Artifact, Workbench
from runner.setup.containers import Containers, undo_image
from runner.setup.digest import DigestCache
from runner.setup.ledger import Entry, Ledger
from runner.setup.prepare import plan_setup, prepare
from runner.setup.reset import reset
from runner.setup.script import RunScript
from runner.setup.state import StateDirectory
from tests.contracts.step import StepContract, run

pytestmark = pytest.mark.docker

Make = Callable[..., RunScript]


@pytest.fixture
def make(image: str, tmp_path: Path) -> Make:
    """A step of a python script; keyword arguments are its settings, `launch` those of the target."""

    def made(source: str, launch: Mapping[str, Any] | None = None, **config: Any) -> RunScript:
        folder = tmp_path / "scripts"
        folder.mkdir(exist_ok=True)
        script = folder / "script.py"
        script.write_text(textwrap.dedent(source))
        step = ScriptStep(kind="script", script=str(script), **config)
        target = DockerLaunch.model_validate({"kind": "docker", "image": image, **(launch or {})})
        containers = Containers(Ledger(tmp_path / "ledger.jsonl"))
        containers.may_pull = True
        place = containers.place_for(step, target)
        return RunScript("thing", step, DigestCache(tmp_path / "cache"), place)

    return made


@pytest.fixture(autouse=True)
def nothing_stays(client: Any) -> Any:
    """No step leaves its container."""
    yield
    left = client.containers.list(all=True, filters={"label": "scenario-runner.run=setup.thing"}, ignore_removed=True)
    for container in left:
        container.remove(force=True)
    assert [container.name for container in left] == []


class TestContract(StepContract):
    @pytest.fixture
    def inputs(self, tmp_path: Path) -> Mapping[str, Artifact]:
        (tmp_path / "given").write_text("given")
        return {"other": Artifact(tmp_path / "given", "digest")}

    @pytest.fixture
    def step(self, make: Make) -> RunScript:
        source = """
            import json, sys
            output, given = sys.argv[2], sys.argv[4]
            print("writing", output)
            open(output, "w").write(open(given).read())
            json.dump({"labels": {"weights": "random"}, "facts": {"n": 1}}, open(output + ".facts.json", "w"))
        """
        return make(source, args={"file": "${setup.other}"})


LOOK = """
import json, os, socket, sys
def refused(path):
    try:
        open(path, "w")
    except OSError as error:
        return error.strerror
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
json.dump({
    "user": os.getuid(), "capabilities": status["CapEff"], "privileges": status["NoNewPrivs"], "cwd": os.getcwd(),
    "beside the script": refused("/scenario/scripts/x"), "image": refused("/usr/x"),
    "networks": os.listdir("/sys/class/net"), "environment": sorted(os.environ), "python": sys.executable,
}, open(sys.argv[2], "w"))
"""


def test_a_script_is_hardened_and_cut_off(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET_SWITCH", "1")
    product, _ = run(make(LOOK), {}, tmp_path / "work")
    seen = json.loads(product.path.read_text())
    assert seen["user"] == (os.getuid() or 1000)
    assert (seen["capabilities"], seen["privileges"]) == ("0000000000000000", "1")
    assert seen["networks"] == ["lo"]
    assert seen["beside the script"] == seen["image"] == "Read-only file system"
    assert seen["cwd"] == "/tmp"
    assert seen["python"].startswith("/usr/local/bin/python3")
    assert "MY_SECRET_SWITCH" not in seen["environment"]
    assert product.path.stat().st_uid == os.getuid(), "what a step writes is yours"
    assert sorted(path.name for path in (tmp_path / "work" / "bench").iterdir()) == ["output"]


def test_secrets_of_arguments_are_in_neither_the_log_nor_reproduce_sh(make: Make, tmp_path: Path) -> None:
    product, _ = run(make("import sys; open(sys.argv[2], 'w').write(sys.argv[4])", args={"api-key": "hunter2"}), {},
                     tmp_path / "work")  # fmt: skip
    assert product.path.read_text() == "hunter2", "the script itself gets it"
    assert "hunter" not in "".join((tmp_path / "work" / name).read_text() for name in ("step.log", "reproduce.sh"))


def test_a_network_is_given_when_it_is_asked_for(make: Make, tmp_path: Path) -> None:
    step = make("import os, sys; open(sys.argv[2], 'w').write(str(os.listdir('/sys/class/net')))", network=True)
    assert "eth0" in run(step, {}, tmp_path / "work")[0].path.read_text()
    assert step.fingerprint({})["network"] == "true"


def test_the_fingerprint_is_the_images_not_this_machines(make: Make, client: Any, image: str) -> None:
    parts = make("import numpy", {"env": {"A": "1"}}).fingerprint({})
    assert parts["image"] == client.images.get(image).id
    assert parts["launch.env.A"] == "1"
    assert not {"target", "version of python", "version of numpy"} & parts.keys()


def test_reproduce_sh_does_the_same(make: Make, tmp_path: Path) -> None:
    step = make("import sys; open(sys.argv[2], 'w').write(sys.argv[4])", args={"a": "it's $HOME"}, output="out.txt")
    product, _ = run(step, {}, tmp_path / "work")
    script = tmp_path / "work" / "reproduce.sh"
    assert "docker run --rm --init " in script.read_text()
    subprocess.run(["sh", script, "again"], check=True, cwd=tmp_path)
    assert (tmp_path / "again" / "out.txt").read_text() == product.path.read_text() == "it's $HOME"


@pytest.mark.parametrize(
    ("source", "launch", "says"),
    [
        ("for i in range(50): print('line', i)\nraise SystemExit('torn')", {}, r"ended with status 1\n.*\| torn$"),
        ("import os; os.kill(os.getpid(), 11)", {}, "was ended by SIGSEGV and printed nothing"),
        ("x = [b'1' * 2**23 for _ in range(99)]", {"memory": "64MiB"}, r"SIGKILL \(the container ran out of memory"),
        ("pass", {}, "wrote nothing to its --output"),
        ("pass", {"gpus": 1}, r"setup\.thing: launch\.gpus asks for 1 GPU, but Docker .* cannot give them"),
    ],
)  # fmt: skip
def test_failures_say_what_happened(make: Make, tmp_path: Path, source: str, launch: Any, says: str) -> None:
    with pytest.raises(SetupError, match=f"(?s){says}") as caught:
        run(make(source, launch), {}, tmp_path / "work")
    assert caught.value.hint


def test_ctrl_c_removes_the_container(make: Make, tmp_path: Path) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "bench").mkdir()
    step = make("import time; print('up', flush=True); time.sleep(60)")
    with (tmp_path / "log").open("w") as log, pytest.raises(KeyboardInterrupt):
        step.run(Workbench("thing", tmp_path / "bench", log, tmp_path / "reproduce.sh", {}, interrupt))


def test_setup_of_a_docker_target_reports_the_image_and_reuses_its_steps(
    make: Make, image: str, tmp_path: Path
) -> None:
    make("import sys; open(sys.argv[2], 'w').write('made')")
    step = {"kind": "script", "script": str(tmp_path / "scripts" / "script.py"), "always": True}
    scenario = Scenario.model_validate(
        {
            "scenario": 1,
            "name": "small",
            "targets": {"box": {"launch": {"kind": "docker", "image": image}}},
            "setup": {"thing": step},
            "workload": {"model": "none"},
        }
    )
    state = StateDirectory.for_scenario("small", tmp_path / "small.yaml", tmp_path / "home")
    assert [(report.name, report.action) for report in plan_setup(scenario, state)][:2] == [
        (image, "reused"),
        ("thing", "would build"),
    ]
    assert [report.action for report in prepare(scenario, state).reports] == ["reused", "built", "built"]
    assert [report.action for report in prepare(scenario, state).reports] == ["reused", "reused", "reused"]
    assert {removal.status for removal in reset(state)} == {"removed"}, "an image that was here is not setup's"


def test_an_image_that_setup_pulled_is_undone_unless_it_is_used(client: Any, image: str) -> None:
    client.images.get(image).tag("scenario-test-undo", "1")
    entry = Entry("image", Path("scenario-test-undo:1"), "downloads", done=True)
    assert undo_image(entry, True).status == "would remove"
    assert undo_image(entry, False).status == "removed"
    assert undo_image(entry, False).status == "already gone"
    assert client.images.get(image), "only the name that setup pulled is gone"
