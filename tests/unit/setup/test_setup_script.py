"""Export and script steps: arguments, environment, failures, and nothing left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from runner.errors import SetupError
from runner.scenario.schema import ExportStep, ScriptStep
from runner.setup.base import Artifact, Workbench
from runner.setup.digest import DigestCache
from runner.setup.process import script_environment
from runner.setup.script import RunScript
from tests.contracts.step import StepContract, run


def make(tmp_path: Path, source: str, name: str = "script.py", **config: Any) -> RunScript:
    path = tmp_path / name
    path.write_text(textwrap.dedent(source))
    return RunScript("thing", ScriptStep(kind="script", script=str(path), **config), DigestCache(tmp_path / "cache"))


class TestContract(StepContract):
    @pytest.fixture
    def inputs(self, tmp_path: Path) -> Mapping[str, Artifact]:
        (tmp_path / "given").write_text("given")
        return {"other": Artifact(tmp_path / "given", "digest")}

    @pytest.fixture
    def step(self, script: Path, tmp_path: Path) -> RunScript:
        config = ExportStep(kind="export", script=str(script), args={"file": "${setup.other}"})
        return RunScript("weights", config, DigestCache(tmp_path / "cache"))


def test_labels_and_facts_come_from_the_sidecar(script: Path, tmp_path: Path) -> None:
    config = ExportStep(kind="export", script=str(script), args={"text": "abc"})
    product, _ = run(RunScript("weights", config, DigestCache(tmp_path / "cache")), {}, tmp_path / "work")
    assert (product.labels, product.facts) == ({"weights": "random"}, {"length": 3})


def test_arguments_arrive_as_written(tmp_path: Path) -> None:
    step = make(
        tmp_path, "import sys; open(sys.argv[2], 'w').write(repr(sys.argv[3:]))", args={"a": True, "b": 0.5, "c": "x y"}
    )
    product, _ = run(step, {}, tmp_path / "work")
    assert product.path.read_text() == "['--a', 'true', '--b', '0.5', '--c', 'x y']"


def test_the_fingerprint_covers_script_arguments_inputs_versions_and_files(tmp_path: Path) -> None:
    (tmp_path / "weights.npz").write_text("1")
    step = make(tmp_path, "import numpy", args={"weights": str(tmp_path / "weights.npz"), "seed": 1})
    parts = step.fingerprint({"onnx": Artifact(tmp_path, "digest")})
    assert parts["args.seed"] == "1"
    assert parts["setup.onnx"] == "digest"
    assert {"script", "target", "version of python", "version of numpy", "file args.weights"} <= parts.keys()
    (tmp_path / "weights.npz").write_text("2")
    assert step.fingerprint({"onnx": Artifact(tmp_path, "digest")})["file args.weights"] != parts["file args.weights"]


def test_reproduce_sh_does_the_same(tmp_path: Path) -> None:
    step = make(tmp_path, "import sys; open(sys.argv[2], 'w').write(sys.argv[4])", args={"a": "it's"}, output="out.txt")
    product, _ = run(step, {}, tmp_path / "work")
    subprocess.run(["sh", tmp_path / "work" / "reproduce.sh", tmp_path / "again"], check=True)
    assert (tmp_path / "again" / "out.txt").read_text() == product.path.read_text() == "it's"


def test_secrets_of_arguments_are_in_neither_the_log_nor_reproduce_sh(tmp_path: Path) -> None:
    secrets = {"source": "https://me:hunter2@h/m?token=hunter3", "api-key": "hunter4"}
    step = make(tmp_path, "import sys; open(sys.argv[2], 'w').write(sys.argv[4])", args=secrets, output="out.txt")
    product, _ = run(step, {}, tmp_path / "work")
    assert product.path.read_text() == secrets["source"], "the script itself gets them"
    log, script = ((tmp_path / "work" / name).read_text() for name in ("step.log", "reproduce.sh"))
    assert "hunter" not in log + script
    assert "# Secrets are not kept: put them in place of each *** first." in script


def test_a_failing_script_shows_its_last_lines(tmp_path: Path) -> None:
    step = make(tmp_path, "for i in range(50): print('line', i)\nraise SystemExit('no weights in the archive')")
    with pytest.raises(SetupError, match=r"setup\.thing: script\.py ended with status 1") as caught:
        run(step, {}, tmp_path / "work")
    shown = caught.value.message.splitlines()
    assert shown[-1] == "  | no weights in the archive"
    assert len(shown) == 13
    assert "step.log" in str(caught.value.hint)
    assert "line 0\n" in (tmp_path / "work" / "step.log").read_text()


def test_a_script_ended_by_a_signal_says_which(tmp_path: Path) -> None:
    step = make(tmp_path, "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(SetupError, match="was ended by SIGKILL and printed nothing"):
        run(step, {}, tmp_path / "work")


@pytest.mark.parametrize("source", ["pass", "import sys; open(sys.argv[2], 'w')"])
def test_a_script_that_writes_nothing_is_an_error(tmp_path: Path, source: str) -> None:
    with pytest.raises(SetupError, match="wrote nothing to its --output"):
        run(make(tmp_path, source), {}, tmp_path / "work")


def test_a_sidecar_that_is_no_mapping_is_an_error(tmp_path: Path) -> None:
    step = make(tmp_path, "import sys; [open(sys.argv[2] + end, 'w').write('[]') for end in ('', '.facts.json')]")
    with pytest.raises(SetupError, match=r"output.facts.json is not what was expected"):
        run(step, {}, tmp_path / "work")


def test_a_missing_script_is_named(tmp_path: Path) -> None:
    config = ScriptStep(kind="script", script=str(tmp_path / "none.py"))
    with pytest.raises(SetupError, match=r"setup.thing.script: no such script: .*none.py") as caught:
        RunScript("thing", config, DigestCache(tmp_path / "cache")).fingerprint({})
    assert "setup_scripts" in str(caught.value.hint)


def test_shell_scripts_and_programs_run_too(tmp_path: Path) -> None:
    shell = make(tmp_path, 'echo shell > "$2"', "a.sh")
    assert run(shell, {}, tmp_path / "1")[0].path.read_text() == "shell\n"
    program = make(tmp_path, '#!/bin/sh\necho program > "$2"\n', "program")
    with pytest.raises(SetupError, match="cannot tell how to run it"):
        program.fingerprint({})
    (tmp_path / "program").chmod(0o755)
    assert run(program, {}, tmp_path / "2")[0].path.read_text() == "program\n"


def test_scripts_see_a_small_environment_and_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET_SWITCH", "1")
    source = "import os, sys; open(sys.argv[2], 'w').write(f'{sorted(os.environ)} {os.listdir()}')"
    product, _ = run(make(tmp_path, source), {}, tmp_path / "work")
    text = product.path.read_text()
    assert "MY_SECRET_SWITCH" not in text
    assert "PYTHONDONTWRITEBYTECODE" in text
    assert text.endswith("[]")
    assert sorted(path.name for path in (tmp_path / "work" / "bench").iterdir()) == ["output"]
    assert script_environment({"https_proxy": "p", "OTHER": "x"}, tmp_path)["https_proxy"] == "p"


SLEEPER = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(60)
"""


def gone(*pids: int) -> bool:
    """Whether all processes end within a few seconds (a zombie has ended)."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if all(not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE for pid in pids):
            return True
        time.sleep(0.05)
    return False


def interrupt(_: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_ends_the_script_and_its_children(tmp_path: Path) -> None:
    step = make(tmp_path, SLEEPER)
    work = tmp_path / "work"

    (work / "bench").mkdir(parents=True)
    with (work / "step.log").open("w") as log, pytest.raises(KeyboardInterrupt):
        step.run(Workbench("thing", work / "bench", log, work / "reproduce.sh", {}, interrupt))
    pids = [int(word) for word in (work / "step.log").read_text().splitlines()[-1].split()]
    assert gone(*pids)


def test_a_killed_runner_takes_its_script_along(tmp_path: Path) -> None:
    make(tmp_path, SLEEPER)
    program = f"""
    from pathlib import Path
    from runner.scenario.schema import ScriptStep
    from runner.setup.base import Workbench
    from runner.setup.digest import DigestCache
    from runner.setup.script import RunScript
    folder = Path({str(tmp_path)!r})
    step = RunScript("thing", ScriptStep(kind="script", script=str(folder / "script.py")), DigestCache(folder / "c"))
    with (folder / "log").open("w") as log:
        step.run(Workbench("thing", folder, log, folder / "r.sh", {{}}, lambda p: print(p.message, flush=True)))
    """
    runner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert runner.stdout
    script, child = (int(word) for word in runner.stdout.readline().split())
    os.kill(runner.pid, signal.SIGKILL)
    runner.wait()
    runner.stdout.close()
    try:
        assert gone(script)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_script_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.setup.process._GRACE_S", 0.2)
    source = (
        "import os, signal, time; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(60)"
    )
    step = make(tmp_path, source)
    (tmp_path / "bench").mkdir()

    with (tmp_path / "log").open("w") as log, pytest.raises(KeyboardInterrupt):
        step.run(Workbench("thing", tmp_path / "bench", log, tmp_path / "r.sh", {}, interrupt))
    assert gone(int((tmp_path / "log").read_text().splitlines()[-1]))
