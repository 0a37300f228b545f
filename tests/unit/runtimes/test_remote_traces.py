"""Trace settings of a server that is not ours: set for the measured model alone, and put back however a run ends."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runner.errors import LoadError, RigError, ServiceError
from runner.runtimes.base import ServerSpec
from runner.runtimes.fake import FakeRunningServer, serving
from runner.runtimes.remote import RemoteRuntime
from runner.runtimes.remote.ledger import ChangeLedger, Changes
from runner.runtimes.serverlog import ServerLog
from runner.scenario.schema import RemoteLaunch, Trace
from runner.services.fake import FakeServer, FakeTraces, identity_model
from runner.services.kserve import KServeGrpc
from tests.contracts.runtime import answers

ALL = ("trace_level", "trace_rate", "trace_count", "log_frequency")
TRACE = Trace(level="timestamps", rate=10)
SET = {"trace_level": ("TIMESTAMPS",), "trace_rate": ("10",), "trace_count": ("-1",), "log_frequency": ("0",)}


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[FakeRunningServer]:
    fake = FakeServer({name: identity_model(name) for name in ("identity", "other")})
    with serving(fake, ServerLog(tmp_path / "theirs.log"), name="triton") as server:
        yield server


@pytest.fixture
def traces(theirs: FakeRunningServer) -> FakeTraces:
    assert theirs.fake.traces is not None
    return theirs.fake.traces


@pytest.fixture
def remote(theirs: FakeRunningServer, tmp_path: Path) -> Callable[..., RemoteRuntime]:
    def make(**launch: Any) -> RemoteRuntime:
        made = RemoteLaunch.model_validate({"kind": "remote", "grpc": theirs.endpoint.grpc, **launch})
        return RemoteRuntime(made, state=tmp_path / "remote")

    return make


@pytest.fixture
def spec(tmp_path: Path) -> ServerSpec:
    log = tmp_path / "logs" / "log"
    return ServerSpec(
        repository=tmp_path, load=(), canary="identity", run_id="r", log=log, ready_timeout_s=5, trace=TRACE
    )


@pytest.fixture
def ledger(theirs: FakeRunningServer, tmp_path: Path) -> ChangeLedger:
    return ChangeLedger(tmp_path / "remote", theirs.endpoint.grpc)


def seen(server: FakeRunningServer, model: str = "") -> dict[str, tuple[str, ...]]:
    with closing(KServeGrpc(server.endpoint.grpc)) as service:
        found = service.trace(model)
        return {name: found[name] for name in ALL}


def test_one_model_is_traced_and_then_follows_the_others_again(
    theirs: FakeRunningServer, traces: FakeTraces, remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    runtime, everywhere = remote(), seen(theirs)
    with runtime.start(spec) as server:
        assert seen(theirs, "identity") == SET
        assert seen(theirs, "other") == seen(theirs) == everywhere
        assert server.facts()["trace"] == "timestamps, 1 in 10"
        assert server.facts()["traces_at"] == "/traces/fake.json"
    traces.everywhere["trace_rate"] = ("7",)
    assert seen(theirs, "identity")["trace_rate"] == ("7",)
    assert list(runtime._state.iterdir()) == [], "neither ledger nor lock"
    assert spec.log.read_text().splitlines()[1:] == [
        "traces identity (timestamps, 1 in 10); the server writes to /traces/fake.json where it runs, "
        "complete when it ends",
        "trace settings of identity are as they were",
    ]


def fail_when(condition: bool) -> None:
    if condition:
        raise LoadError("the load ends early")


def test_settings_of_its_own_come_back_to_a_model(
    theirs: FakeRunningServer, traces: FakeTraces, remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    own = {"trace_level": ("TIMESTAMPS", "TENSORS"), "trace_count": ("5",)}
    traces.of_models["identity"] = dict(own)
    with pytest.raises(LoadError), remote().start(spec):
        fail_when(seen(theirs, "identity") == SET)
    assert traces.of_models["identity"] == own


def test_off_is_a_setting_too(
    theirs: FakeRunningServer, traces: FakeTraces, remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    traces.everywhere |= {"trace_level": ("TIMESTAMPS",), "trace_file": ("",)}
    with remote().start(dataclasses.replace(spec, trace=Trace(level="off"))) as server:
        assert seen(theirs, "identity")["trace_level"] == ("OFF",)
        assert "trace" not in server.facts()
    assert seen(theirs, "identity")["trace_level"] == ("TIMESTAMPS",)


def test_a_server_that_cannot_trace_is_refused_before_anything_is_changed(
    theirs: FakeRunningServer, traces: FakeTraces, remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    traces.everywhere["trace_file"] = ("",)
    with pytest.raises(ServiceError, match="started without a file for traces") as caught, remote().start(spec):
        pytest.fail("nothing would be written")
    assert "--trace-config triton,file=PATH" in (caught.value.hint or "")
    assert traces.of_models == {}
    traces.everywhere["trace_mode"] = ("opentelemetry",)
    with remote().start(spec) as server:
        assert server.facts()["traces_at"] == "opentelemetry"
    theirs.fake.traces = None
    with pytest.raises(ServiceError, match=r"cannot trace requests; its extensions are none"), remote().start(spec):
        pytest.fail("it has no such extension")


def test_two_runs_of_one_machine_do_not_trace_on_one_server(
    remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    with (
        remote().start(spec),
        remote().start(dataclasses.replace(spec, trace=None)),
        pytest.raises(RigError, match=r"another run .* loads models or traces on the server"),
        remote().start(spec),
    ):
        pytest.fail("it would take our settings for those in force before")


def test_models_and_settings_are_in_one_ledger(
    theirs: FakeRunningServer, remote: Callable[..., RemoteRuntime], spec: ServerSpec, ledger: ChangeLedger
) -> None:
    theirs.fake.unloaded.add("identity")
    with remote(model_control="allowed").start(spec) as server:
        before = {"identity": dict.fromkeys(ALL, ())}
        assert ledger.read() == Changes(("identity",), "", before)
        server.reload()
        assert ledger.read() == Changes(("identity",), "", before)
        assert seen(theirs, "identity") == SET
    assert ledger.read() == Changes()
    assert theirs.fake.unloaded == {"identity"}


# --- a run that died ----------------------------------------------------------------------------------------------


@pytest.fixture
def after_a_crash(theirs: FakeRunningServer, traces: FakeTraces, ledger: ChangeLedger) -> dict[str, tuple[str, ...]]:
    """As a run leaves it that was killed while it traced; returns what was in force before."""
    before = {**dict.fromkeys(ALL, ()), "trace_rate": ("50",)}
    with ledger.held():
        ledger.write(Changes(traces={"identity": before}))
    traces.of_models["identity"] = dict(SET)
    return {**seen(theirs), "trace_rate": ("50",)}


def test_what_a_dead_run_set_is_swept(
    theirs: FakeRunningServer,
    remote: Callable[..., RemoteRuntime],
    ledger: ChangeLedger,
    after_a_crash: dict[str, tuple[str, ...]],
) -> None:
    assert remote().sweep() == (f"trace settings of identity on {theirs.endpoint.grpc}",)
    assert seen(theirs, "identity") == after_a_crash
    assert remote().sweep() == ()
    assert ledger.read() == Changes()


@pytest.mark.parametrize("trace", [None, TRACE])
def test_the_next_run_begins_with_what_a_dead_one_found(
    theirs: FakeRunningServer,
    remote: Callable[..., RemoteRuntime],
    spec: ServerSpec,
    after_a_crash: dict[str, tuple[str, ...]],
    trace: Trace | None,
) -> None:
    with remote().start(dataclasses.replace(spec, trace=trace)):
        assert seen(theirs, "identity") == (SET if trace else after_a_crash)
    assert seen(theirs, "identity") == after_a_crash


@pytest.mark.parametrize("trace", [None, TRACE])
def test_settings_of_a_model_that_is_not_loaded_wait_for_it(
    theirs: FakeRunningServer,
    remote: Callable[..., RemoteRuntime],
    spec: ServerSpec,
    ledger: ChangeLedger,
    after_a_crash: dict[str, tuple[str, ...]],
    trace: Trace | None,
) -> None:
    """Triton keeps them under the model's name, and knows no such model until it is loaded."""
    theirs.fake.unloaded.add("identity")
    assert remote().sweep() == ()
    with remote().start(dataclasses.replace(spec, canary="other", trace=trace)):
        assert set(ledger.read().traces) >= {"identity"}
    with remote(model_control="allowed").start(dataclasses.replace(spec, trace=trace)):
        assert seen(theirs, "identity") == (SET if trace else after_a_crash)
    assert ledger.read() == Changes()
    theirs.fake.unloaded.clear()
    assert seen(theirs, "identity") == after_a_crash


def test_a_server_that_is_gone_at_the_end_costs_no_result(
    theirs: FakeRunningServer, remote: Callable[..., RemoteRuntime], spec: ServerSpec, ledger: ChangeLedger
) -> None:
    with remote().start(dataclasses.replace(spec, ready_timeout_s=0.5)):
        theirs.fake.dead.set()
        while answers(theirs.endpoint.grpc):
            time.sleep(0.01)
    assert set(ledger.read().traces) == {"identity"}
    assert "warning: trace settings of identity are not put back yet" in spec.log.read_text()


def test_ledgers_of_earlier_versions_can_be_read(ledger: ChangeLedger) -> None:
    ledger.folder.mkdir()
    ledger.path.write_text('{"server": "h:1", "models": ["m"], "unfinished": ""}')
    assert ledger.read() == Changes(("m",))
