"""The remote runtime against a server in this process: what it leaves alone, loads, unloads, refuses and says."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from runner.errors import RigError, ServiceError
from runner.locks import locked
from runner.results import files
from runner.runtimes.base import ServerSpec
from runner.runtimes.fake import FakeRunningServer, serving
from runner.runtimes.remote import RemoteRuntime, reaching
from runner.runtimes.remote import runtime as remote_runtime
from runner.runtimes.remote import server as remote_server
from runner.runtimes.remote.ledger import ChangeLedger, Changes
from runner.runtimes.serverlog import ServerLog
from runner.scenario.schema import RemoteLaunch
from runner.services.fake import FakeModel, FakeServer, Script, identity_model
from tests.contracts.runtime import RuntimeContract, answers

Start = Callable[..., FakeRunningServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A server that is somebody else's; of its models those named are loaded."""
    with ExitStack() as stack:

        def make(*loaded: str, port: int = 0, **script: object) -> FakeRunningServer:
            part, other = identity_model("identity"), identity_model("other")
            whole, second = (
                FakeModel(dataclasses.replace(part.metadata, name=name, composing_models=("identity",)))
                for name in ("whole", "second")
            )
            models = {"identity": part, "whole": whole, "second": second, "other": other}
            fake = FakeServer(models, Script(**script))  # type: ignore[arg-type]
            fake.unloaded, fake.explicit = set(models) - set(loaded), set(loaded)
            return stack.enter_context(serving(fake, ServerLog(tmp_path / "theirs.log"), name="triton", port=port))

        yield make


@pytest.fixture
def spec(tmp_path: Path) -> ServerSpec:
    log = tmp_path / "logs" / "log"
    return ServerSpec(repository=tmp_path, load=(), canary="identity", run_id="r", log=log, ready_timeout_s=5)


@pytest.fixture
def remote(tmp_path: Path) -> Callable[..., RemoteRuntime]:
    def make(server: FakeRunningServer, *, identify: bool = False, **launch: object) -> RemoteRuntime:
        made = RemoteLaunch.model_validate({"kind": "remote", "grpc": server.endpoint.grpc, **launch})
        return RemoteRuntime(made, identify=identify, state=tmp_path / "remote")

    return make


class TestContract(RuntimeContract):
    @pytest.fixture
    def theirs(self, start: Start) -> FakeRunningServer:
        return start("other")

    @pytest.fixture
    def runtime(self, theirs: FakeRunningServer, remote: Callable[..., RemoteRuntime]) -> RemoteRuntime:
        self.fake = theirs.fake
        return remote(theirs, model_control="allowed")

    def left(self, address: str, spec: ServerSpec) -> bool:
        return in_memory(self.fake) == {"other"}


def in_memory(fake: FakeServer) -> set[str]:
    return set(fake.models) - fake.unloaded


# --- without control ----------------------------------------------------------------------------------------------


def test_a_model_that_is_there_is_used_and_nothing_is_touched(
    start: Start, remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    theirs = start("identity", "other", fixed_models=True)
    for control in ("never", "allowed"):
        with remote(theirs, model_control=control).start(spec) as server:
            server.check()
            assert server.pids() is None
            assert server.log_tail() == (remote_server.NO_LOG,)
        assert in_memory(theirs.fake) == {"identity", "other"}


def test_a_model_that_is_not_loaded_is_told_with_those_that_are(
    start: Start, remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    theirs = start("other")
    with (
        pytest.raises(ServiceError, match=r"'identity' is not loaded .*; ready there: other$") as caught,
        remote(theirs).start(dataclasses.replace(spec, ready_timeout_s=600)),
    ):
        pytest.fail("nobody loads it, so there is nothing to wait for")
    assert "model_control: allowed" in (caught.value.hint or "")
    assert in_memory(theirs.fake) == {"other"}


def test_facts_hide_the_address_unless_they_may_identify(
    start: Start, remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    theirs = start("identity")
    with remote(theirs).start(spec) as server:
        facts = server.facts()
        assert facts["server"] == "triton 0.0-fake"
        assert facts["reached_at"].startswith("sha256:")
        assert theirs.endpoint.grpc not in str(facts)
    with remote(theirs, identify=True).start(spec) as server:
        assert server.facts()["reached_at"] == theirs.endpoint.grpc


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_that_is_started_at_the_same_moment_is_waited_for(
    start: Start, spec: ServerSpec, free_port: int
) -> None:
    said = list[str]()
    launch = RemoteLaunch(kind="remote", grpc=f"127.0.0.1:{free_port}")
    late = threading.Timer(0.3, lambda: start("identity", port=free_port))
    late.start()
    with RemoteRuntime(launch, said.append).start(dataclasses.replace(spec, ready_timeout_s=30)) as server:
        server.check()
    late.join()
    assert said[0] == f"waiting up to 5 s until 127.0.0.1:{free_port} takes connections"


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_an_address_where_nothing_listens_is_not_waited_for_as_long_as_a_server_that_loads(
    protocol: str, spec: ServerSpec, free_port: int
) -> None:
    launch = RemoteLaunch.model_validate({"kind": "remote", protocol: f"127.0.0.1:{free_port}"})
    with (
        pytest.raises(ServiceError, match=rf"127\.0\.0\.1:{free_port} did not answer within 0\.2 s") as caught,
        RemoteRuntime(launch).start(dataclasses.replace(spec, ready_timeout_s=600, listens_within_s=0.2)),
    ):
        pytest.fail("nothing is there")
    assert "start it first, or correct its address" in (caught.value.hint or "")


def test_a_server_that_listens_and_is_silent_has_the_whole_time(
    spec: ServerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_runtime, "_PROBE_TIMEOUT_S", 0.1)
    said = list[str]()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        launch = RemoteLaunch(kind="remote", http=address)
        with (
            pytest.raises(ServiceError, match=r"did not answer within 0\.4 s") as caught,
            RemoteRuntime(launch, said.append).start(
                dataclasses.replace(spec, ready_timeout_s=0.4, listens_within_s=0.0)
            ),
        ):
            pytest.fail("it says nothing")
    assert said == [f"waiting up to 0.4 s until {address} answers"]
    assert "server.ready.timeout waits longer" in (caught.value.hint or "")


@pytest.mark.parametrize("launch", [{"grpc": "nosuch.invalid:8001"}, {"http": "nosuch.invalid:8000"}])
def test_a_host_name_that_does_not_resolve_ends_at_once(
    launch: dict[str, str], spec: ServerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(reaching.socket, "getaddrinfo", unknown)
    runtime = RemoteRuntime(RemoteLaunch.model_validate({"kind": "remote", **launch}))
    with (
        pytest.raises(ServiceError, match=r"nosuch\.invalid:800\d does not resolve: Name or") as caught,
        runtime.start(dataclasses.replace(spec, ready_timeout_s=600)),
    ):
        pytest.fail("there is no such host")
    assert "check its spelling" in (caught.value.hint or "")


def test_a_server_that_goes_away_is_noticed_again_and_again(
    start: Start, remote: Callable[..., RemoteRuntime], spec: ServerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_server, "_ASK_EVERY_S", 0.0)
    theirs = start("identity")
    with remote(theirs).start(spec) as server:
        server.check()
        theirs.fake.unloaded.add("identity")
        for _ in range(2):
            with pytest.raises(ServiceError, match="'identity' is no longer ready"):
                server.check()
        theirs.fake.dead.set()
        assert eventually(lambda: not answers(theirs.endpoint.grpc))
        with pytest.raises(ServiceError, match="the server is gone: "):
            server.check()


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_a_reload_of_somebody_elses_model_is_refused(
    start: Start, remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    for control in ("never", "allowed"):
        theirs = start("identity")
        with (
            remote(theirs, model_control=control).start(spec) as server,
            pytest.raises(ServiceError, match="identity cannot be loaded anew: this run did not load it"),
        ):
            server.reload()
        assert theirs.fake.explicit == {"identity"}


# --- with control -------------------------------------------------------------------------------------------------


def test_what_was_loaded_is_unloaded_with_what_came_with_it(
    start: Start, remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    theirs = start("other")
    runtime = remote(theirs, model_control="allowed")
    with runtime.start(dataclasses.replace(spec, canary="whole")) as server:
        assert in_memory(theirs.fake) == {"whole", "identity", "other"}
        assert server.facts()["loaded_for_this_run"] == "whole, identity"
    assert in_memory(theirs.fake) == {"other"}
    assert list(runtime._state.iterdir()) == [], "neither ledger nor lock"
    assert spec.log.read_text().splitlines()[1:] == [
        "loaded whole, and with it identity",
        "unloaded whole",
        "unloaded identity",
    ]


def test_a_part_that_somebody_else_loaded_stays(
    start: Start, remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    theirs = start("identity")
    with remote(theirs, model_control="allowed").start(dataclasses.replace(spec, canary="whole")):
        pass
    assert in_memory(theirs.fake) == {"identity"}


def test_parts_of_an_ensemble_that_cannot_be_loaded_do_not_stay(
    start: Start, remote: Callable[..., RemoteRuntime], spec: ServerSpec, tmp_path: Path
) -> None:
    theirs = start("other", broken_models=("whole",))
    with (
        pytest.raises(ServiceError, match="load failed for model 'whole'"),
        remote(theirs, model_control="allowed").start(dataclasses.replace(spec, canary="whole")),
    ):
        pytest.fail("it is broken")
    assert in_memory(theirs.fake) == {"other"}
    assert list((tmp_path / "remote").iterdir()) == []


def test_a_part_that_nobody_holds_by_name_stays_if_it_was_there(
    start: Start, remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    """What an ensemble leaves behind that was unloaded alone, as clients do by default."""
    theirs = start()
    theirs.fake.load("second")
    theirs.fake.unload("second", dependents=False)
    assert in_memory(theirs.fake) == {"identity"}
    with remote(theirs, model_control="allowed").start(dataclasses.replace(spec, canary="whole")):
        pass
    assert in_memory(theirs.fake) == {"identity"}


def test_a_load_that_never_ended_is_undone(start: Start, remote: Callable[..., RemoteRuntime], tmp_path: Path) -> None:
    theirs = start("other")
    ledger = ChangeLedger(tmp_path / "remote", theirs.endpoint.grpc)
    with ledger.held():
        ledger.write(Changes(("other",), "whole"))
    theirs.fake.load("whole")
    assert remote(theirs).sweep() == tuple(f"model {m} on {theirs.endpoint.grpc}" for m in ("other", "whole"))
    assert in_memory(theirs.fake) == set()


def test_a_model_that_somebody_came_to_need_meanwhile_stays(
    start: Start, remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    theirs = start()
    with remote(theirs, model_control="allowed").start(spec):
        theirs.fake.load("second")
    assert in_memory(theirs.fake) == {"identity", "second"}
    assert "identity stays" in spec.log.read_text()


def test_a_server_that_loads_nothing_on_demand_says_so(
    start: Start, remote: Callable[..., RemoteRuntime], spec: ServerSpec, tmp_path: Path
) -> None:
    theirs = start("other", fixed_models=True)
    with (
        pytest.raises(ServiceError, match="does not let models be loaded") as caught,
        remote(theirs, model_control="allowed").start(spec),
    ):
        pytest.fail("not in explicit mode")
    assert "--model-control-mode=explicit" in (caught.value.hint or "")
    assert list((tmp_path / "remote").glob("*.json")) == []


def test_two_runs_of_one_machine_do_not_load_on_one_server(
    start: Start, remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    theirs = start()
    runtime = remote(theirs, model_control="allowed")
    with (
        runtime.start(spec),
        pytest.raises(RigError, match=r"another run .* loads models or traces on the server"),
        runtime.start(dataclasses.replace(spec, canary="other")),
    ):
        pytest.fail("it is taken")
    assert in_memory(theirs.fake) == set()


RUNNER = """
import sys, time
from pathlib import Path
from runner.runtimes.base import ServerSpec
from runner.runtimes.remote import RemoteRuntime
from runner.scenario.schema import RemoteLaunch

folder = Path(sys.argv[2])
spec = ServerSpec(repository=folder, load=(), canary="whole", run_id="r", log=folder / "log")
launch = RemoteLaunch(kind="remote", grpc=sys.argv[1], model_control="allowed")
with RemoteRuntime(launch, state=folder / "remote").start(spec):
    print("up", flush=True)
    time.sleep(600)
"""


def test_a_runner_that_is_asked_to_end_unloads_what_it_loaded(
    start: Start, remote: Callable[..., RemoteRuntime], tmp_path: Path
) -> None:
    theirs = start("other")
    command = [sys.executable, "-c", RUNNER, theirs.endpoint.grpc, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == "up\n"
        assert remote(theirs).sweep() == (), "it lives"
        assert in_memory(theirs.fake) == {"other", "whole", "identity"}
        runner.send_signal(signal.SIGTERM)
        assert runner.wait(timeout=20) == 128 + signal.SIGTERM
    assert in_memory(theirs.fake) == {"other"}
    assert remote(theirs).sweep() == ()


# --- a run that died ----------------------------------------------------------------------------------------------


@pytest.fixture
def after_a_crash(start: Start, tmp_path: Path) -> FakeRunningServer:
    """As a run leaves it that was killed after it had loaded `whole`; somebody had loaded `other`."""
    theirs = start("other")
    ledger = ChangeLedger(tmp_path / "remote", theirs.endpoint.grpc)
    with ledger.held():
        ledger.write(Changes(("whole", "identity")))
    theirs.fake.load("whole")
    return theirs


def test_what_a_dead_run_loaded_is_swept(
    after_a_crash: FakeRunningServer, remote: Callable[..., RemoteRuntime], tmp_path: Path
) -> None:
    runtime = remote(after_a_crash)
    assert runtime.sweep() == tuple(f"model {m} on {after_a_crash.endpoint.grpc}" for m in ("whole", "identity"))
    assert in_memory(after_a_crash.fake) == {"other"}
    assert runtime.sweep() == ()
    assert list((tmp_path / "remote").glob("*.json")) == []


@pytest.mark.parametrize("control", ["never", "allowed"])
def test_the_next_run_begins_with_what_a_dead_one_found(
    after_a_crash: FakeRunningServer, remote: Callable[..., RemoteRuntime], spec: ServerSpec, control: str
) -> None:
    with remote(after_a_crash, model_control=control).start(dataclasses.replace(spec, canary="other")):
        assert in_memory(after_a_crash.fake) == {"other"}
    assert in_memory(after_a_crash.fake) == {"other"}


def test_the_models_of_a_run_that_lives_are_not_swept(
    after_a_crash: FakeRunningServer, remote: Callable[..., RemoteRuntime], tmp_path: Path
) -> None:
    ledger = ChangeLedger(tmp_path / "remote", after_a_crash.endpoint.grpc)
    with locked(ledger.path.with_suffix(".lock")):
        assert remote(after_a_crash).sweep() == ()
    assert "whole" in in_memory(after_a_crash.fake)


def test_models_stay_in_the_ledger_until_their_server_can_be_reached(tmp_path: Path) -> None:
    ledger = ChangeLedger(tmp_path, "127.0.0.1:9")
    with ledger.held():
        ledger.write(Changes(("m",)))
    runtime = RemoteRuntime(RemoteLaunch(kind="remote", grpc="127.0.0.1:9"), state=tmp_path)
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9"):
        runtime.sweep()
    assert ledger.read() == Changes(("m",))


def test_the_name_of_the_ledger_is_on_disk_before_anything_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_folder", synced.append)
    ledger = ChangeLedger(tmp_path, "h:1")
    ledger.write(Changes(("m",)))
    assert synced == [tmp_path]
    assert [path.name for path in tmp_path.iterdir()] == [ledger.path.name]


def test_the_ledger_holds_no_secret(start: Start, remote: Callable[..., RemoteRuntime], spec: ServerSpec) -> None:
    runtime = remote(start(), model_control="allowed", headers={"Authorization": "Bearer hunter2"})
    with runtime.start(spec):
        (ledger,) = runtime._state.glob("*.json")
        assert '"models": ["identity"]' in ledger.read_text()
        assert b"hunter2" not in ledger.read_bytes() + spec.log.read_bytes()


def test_a_ledger_that_was_tampered_with_is_named(tmp_path: Path) -> None:
    ledger = ChangeLedger(tmp_path, "h:1")
    ledger.path.write_text("{")
    with pytest.raises(RigError, match="is not what this tool writes"):
        ledger.read()


# --- looking ------------------------------------------------------------------------------------------------------


def test_preflight_looks_at_every_address(start: Start) -> None:
    theirs = start()
    launch = RemoteLaunch(kind="remote", grpc=theirs.endpoint.grpc, http="127.0.0.1:9", metrics="http://127.0.0.1:9/m")
    levels = {finding.check: finding.level for finding in RemoteRuntime(launch).preflight()}
    assert levels == {"gRPC": "ok", "HTTP": "fail", "metrics": "warn"}


def test_nothing_is_loaded_that_could_not_be_written_down(
    start: Start, remote: Callable[..., RemoteRuntime], spec: ServerSpec, tmp_path: Path
) -> None:
    theirs = start("other")
    (tmp_path / "remote").write_text("in the way")
    with (
        pytest.raises(RigError, match="cannot write down what is changed"),
        remote(theirs, model_control="allowed").start(spec),
    ):
        pytest.fail("a crash could not be undone")
    assert in_memory(theirs.fake) == {"other"}
