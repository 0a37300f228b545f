"""The embedded runtime around a stand-in for `tritonserver`: every branch in well under a second each.

The stand-in is a script at the place of the real program; the scenario flag `misbehave` tells it what to do wrong.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.errors import RigError, ServiceError
from runner.runtimes import embedded, ownership, preflight, triton
from runner.runtimes.base import Finding, ServerSpec
from runner.runtimes.embedded import EmbeddedRuntime, EmbeddedServer, default_state
from runner.runtimes.preflight import Wheel
from runner.scenario.schema import EmbeddedLaunch
from tests.contracts.runtime import RuntimeContract

ROOT = Path(__file__).parents[3]
STAND_IN = f"""#!{sys.executable}
import os, signal, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
flags = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
wrong = flags.get("misbehave", "")
prefix = dict(part.split("=") for part in flags["backend-config"].split(",")[1:])["shm-region-prefix-name"]
print("I0101 00:00:00.000000 1 main.cc:1] starting", flush=True)
if wrong == "exit":
    print('E0101 00:00:00.000000 1 main.cc:1] "no room for the model"', flush=True)
    sys.exit(7)
if wrong == "load":
    print("E0101 00:00:00.000000 1 x.cc:1] failed to load 'identity' version 1: Internal: OSError: torn", flush=True)
    time.sleep(60)
once = Path(os.environ["TMPDIR"]).parents[1] / "once"
if wrong == "taken" or (wrong == "taken once" and not once.exists()):
    once.write_text("")
    print('E0101 00:00:00.000000 1 main.cc:1] "Socket 127.0.0.1 already in use"', flush=True)
    sys.exit(1)
if wrong == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
Path("/dev/shm", prefix + "segment").write_text("")
stub = Path(flags["backend-directory"], "python", "triton_python_backend_stub")
child = subprocess.Popen([stub, "model.py", "shm", "1", "1", "identity_0_0"])
from runner.runtimes.fake import serving
from runner.runtimes.serverlog import ServerLog
from runner.services.fake import FakeServer
name = "somebody else" if wrong == "other server" else flags["id"]
with serving(FakeServer(), ServerLog(Path(os.environ["TMPDIR"], "log")), port=int(flags["grpc-port"]), name=name):
    while True:
        time.sleep(60)
"""
# Its command line has to look like the real stub's: the name first, the instance as argument 8.
STUB = f"#!/bin/sh\nexec -a triton_python_backend_stub {sys.executable} -S -c 'import time; time.sleep(600)' \"$@\"\n"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def runtime(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddedRuntime:
    wheel = Wheel(tmp_path / "wheel", "0.7.0")
    for path, text in ((wheel.program, STAND_IN), (wheel.stub, STUB.replace("/bin/sh", "/bin/bash"))):
        path.parent.mkdir(parents=True)
        path.write_text(text)
        path.chmod(0o755)
    wheel.backend.mkdir(parents=True)
    monkeypatch.setattr(preflight, "find_wheel", lambda: wheel)
    monkeypatch.setattr(preflight, "findings", lambda wheel, state: [Finding("all", "ok", "fine")])
    return EmbeddedRuntime(state)


@pytest.fixture
def spec(tmp_path: Path) -> ServerSpec:
    return ServerSpec(
        repository=tmp_path,
        load=(),
        canary="identity",
        run_id=f"unit {uuid.uuid4().hex}",
        log=tmp_path / "log",
        ready_timeout_s=30,
    )


def wrong(spec: ServerSpec, how: str) -> ServerSpec:
    return dataclasses.replace(spec, flags={"misbehave": how})


def nothing_left(state: Path, spec: ServerSpec) -> bool:
    name = spec.run_id.replace(" ", "-")
    mine = [entry for entry in Path("/dev/shm").iterdir() if name in entry.name]
    return not mine and (not state.exists() or not [entry for entry in state.iterdir() if entry.is_dir()])


class TestContract(RuntimeContract):
    pass


def test_a_server_has_facts_and_leaves_nothing(runtime: EmbeddedRuntime, spec: ServerSpec, state: Path) -> None:
    with runtime.start(spec) as server:
        assert isinstance(server, EmbeddedServer)
        facts = server.facts()
        assert (facts["server"], facts["nvidia_pytriton"]) == ("tritonserver 0.0-fake", "0.7.0")
        assert facts["server_pid"] == str(server.process.pid)
        assert not nothing_left(state, spec)
        assert server.log_tail(1) == ["I0101 00:00:00.000000 1 main.cc:1] starting"]
    assert nothing_left(state, spec)
    assert server.process.returncode == -signal.SIGTERM
    assert ownership.marked_processes(server.triton.identity) == []


def test_a_server_that_ends_is_explained(runtime: EmbeddedRuntime, spec: ServerSpec, state: Path) -> None:
    with (
        pytest.raises(ServiceError, match=r"^the server ended with exit status 7: no room for the model$") as caught,
        runtime.start(wrong(spec, "exit")),
    ):
        pytest.fail("it ended")
    assert str(spec.log) in (caught.value.hint or "")
    assert len(caught.value.log_tail) == 2
    assert nothing_left(state, spec)


def test_a_failed_load_is_seen_before_the_server_ends(runtime: EmbeddedRuntime, spec: ServerSpec) -> None:
    with (
        pytest.raises(ServiceError, match=r"model 'identity' failed to load: .*OSError: torn"),
        runtime.start(wrong(spec, "load")),
    ):
        pytest.fail("it did not load")


def test_another_ports_are_tried_when_one_is_lost(runtime: EmbeddedRuntime, spec: ServerSpec) -> None:
    with runtime.start(wrong(spec, "taken once")) as server:
        server.check()


@pytest.mark.parametrize("how", ["taken", "other server"])
def test_ports_that_are_lost_again_and_again_are_given_up_on(
    runtime: EmbeddedRuntime, spec: ServerSpec, state: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(embedded, "ATTEMPTS", 2)
    with pytest.raises(RigError, match="ports taken 2 times in a row"), runtime.start(wrong(spec, how)):
        pytest.fail("not our server")
    assert nothing_left(state, spec)


def test_a_server_that_does_not_comply_is_killed(
    runtime: EmbeddedRuntime, spec: ServerSpec, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_STOP_GRACE_S", 0.3)
    with runtime.start(wrong(spec, "deaf")) as server:
        assert isinstance(server, EmbeddedServer)
    assert server.process.returncode == -signal.SIGKILL
    assert nothing_left(state, spec)


def test_an_interrupt_while_stopping_kills_at_once(runtime: EmbeddedRuntime, spec: ServerSpec, state: Path) -> None:
    def interrupted() -> None:
        with runtime.start(wrong(spec, "deaf")):
            signal.setitimer(signal.ITIMER_REAL, 0.3)

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert time.monotonic() - started < 5
    finally:
        signal.signal(signal.SIGALRM, before)
    assert nothing_left(state, spec)


def test_a_dead_server_and_a_dead_stub_are_noticed(runtime: EmbeddedRuntime, spec: ServerSpec) -> None:
    with runtime.start(spec) as server:
        assert isinstance(server, EmbeddedServer)
        [found] = server.triton.stubs
        stub = found.pid
        assert found.model == "identity"
        os.kill(stub, signal.SIGKILL)
        _raises_soon(server.check, rf"python model 'identity' \(pid {stub}\) is gone")
        os.kill(server.process.pid, signal.SIGKILL)
        _raises_soon(server.check, "the server ended with signal SIGKILL")


def _raises_soon(check: Callable[[], None], match: str) -> None:
    deadline = time.monotonic() + 5
    while True:
        try:
            check()
        except ServiceError as error:
            if "is gone" not in error.message or "is gone" in match:
                with pytest.raises(ServiceError, match=match):
                    raise error
                return
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_a_dead_run_left_is_swept(runtime: EmbeddedRuntime, spec: ServerSpec, state: Path) -> None:
    with runtime.start(spec) as server:
        assert isinstance(server, EmbeddedServer)
        owner = state / server.triton.identity / ownership.OWNER_FILE
        owner.write_text(owner.read_text().replace('"started": ', '"started": 1'))
        kinds = {line.split()[0] for line in runtime.sweep()}
        assert kinds == {"process", "shared", "directory"}
        assert nothing_left(state, spec)


def test_failed_findings_are_one_error_with_all_remedies(
    runtime: EmbeddedRuntime, spec: ServerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = [Finding("numpy", "fail", "numpy 2", "older numpy"), Finding("/dev/shm", "warn", "small", "more"),
                Finding("glibc", "fail", "too old", "newer system")]  # fmt: skip
    monkeypatch.setattr(preflight, "findings", lambda wheel, state: findings)
    with pytest.raises(RigError, match="numpy: numpy 2; glibc: too old") as caught, runtime.start(spec):
        pytest.fail("it cannot run")
    assert caught.value.hint == "older numpy; newer system"


def test_a_log_that_cannot_be_written_is_an_error_of_the_rig(
    runtime: EmbeddedRuntime, spec: ServerSpec, state: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    spec = dataclasses.replace(spec, log=tmp_path / "file" / "log")
    with pytest.raises(RigError, match="cannot prepare the server in"), runtime.start(spec):
        pytest.fail("no log, no server")
    assert nothing_left(state, spec)


def test_a_wheel_that_vanishes_is_an_error(
    runtime: EmbeddedRuntime, spec: ServerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "find_wheel", lambda: None)
    with pytest.raises(RigError, match="wheel is gone"), runtime.start(spec):
        pytest.fail("no server")


def test_checks_run_once(runtime: EmbeddedRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime._checked_program(None)
    monkeypatch.setattr(preflight, "findings", lambda wheel, state: pytest.fail("again"))
    runtime._checked_program(None)


def test_state_is_kept_where_all_state_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCENARIO_HOME", str(tmp_path))
    assert default_state() == tmp_path / "servers"
    monkeypatch.delenv("SCENARIO_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_state() == tmp_path / "scenario" / "servers"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert default_state() == Path.home() / ".local" / "state" / "scenario" / "servers"


@pytest.mark.parametrize(
    ("status", "says"), [(3, "exit status 3"), (-9, "signal SIGKILL"), (-64, "signal SIGRTMAX"), (-99, "signal 99")]
)
def test_statuses_in_words(status: int, says: str) -> None:
    assert triton.status_text(status) == says


def test_an_identity_is_readable_unique_and_a_file_name() -> None:
    one, two = triton.new_identity("2026 run/é"), triton.new_identity("x" * 500)
    assert one.startswith("scenario-2026-run-")
    assert one != triton.new_identity("2026 run/é")
    assert len(two) < 100
    assert triton.new_identity("///").startswith("scenario-run-")


# --- a program that is installed ----------------------------------------------------------------------------------


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """An installed server as its image has it: PREFIX/bin/tritonserver and PREFIX/backends."""
    program, stub = tmp_path / "triton/bin/tritonserver", tmp_path / "triton/backends/python/triton_python_backend_stub"
    for path, text in ((program, STAND_IN), (stub, STUB.replace("/bin/sh", "/bin/bash"))):
        path.parent.mkdir(parents=True)
        path.write_text(text)
        path.chmod(0o755)
    return tmp_path / "triton"


@pytest.mark.parametrize("on_path", [True, False])
def test_an_installed_server_is_used_with_its_own_backends(
    prefix: Path, state: Path, spec: ServerSpec, monkeypatch: pytest.MonkeyPatch, on_path: bool
) -> None:
    monkeypatch.setattr(preflight, "find_wheel", lambda: pytest.fail("the wheel is not looked for"))
    program = prefix / "bin" / "tritonserver"
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    runtime = EmbeddedRuntime(state, program="tritonserver" if on_path else str(program))
    assert next(finding.level for finding in runtime.preflight()) == "ok"
    with runtime.start(spec) as server:
        facts = server.facts()
        assert (facts["program"], facts["server"]) == (str(program), "tritonserver 0.0-fake")
        arguments = Path(f"/proc/{facts['server_pid']}/cmdline").read_text().split("\0")
        assert f"--backend-directory={prefix / 'backends'}" in arguments
    assert nothing_left(state, spec)


def test_a_launch_of_one_server_names_another_program(prefix: Path, state: Path, spec: ServerSpec) -> None:
    launch = EmbeddedLaunch(program=str(prefix / "bin" / "tritonserver"))
    runtime = EmbeddedRuntime(state, program="/nowhere/tritonserver")
    with runtime.start(dataclasses.replace(spec, launch=launch)) as server:
        assert server.facts()["program"] == launch.program


@pytest.mark.parametrize(
    ("program", "says"), [("/nowhere/tritonserver", "is not there"), ("no-such-server", "is not on PATH")]
)
def test_a_program_that_is_not_there_is_named(state: Path, spec: ServerSpec, program: str, says: str) -> None:
    with (
        pytest.raises(RigError, match=f"{program} {says}") as caught,
        EmbeddedRuntime(state, program=program).start(spec),
    ):
        pytest.fail("there is no such program")
    assert "launch.program" in (caught.value.hint or "")
