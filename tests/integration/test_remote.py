"""Remote targets on a real Triton that this tool did not start: it is left with the models that it had."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from runner.errors import ServiceError
from runner.runtimes import ports
from runner.runtimes.base import RunningServer, ServerSpec
from runner.runtimes.embedded import EmbeddedRuntime
from runner.runtimes.preflight import find_wheel
from runner.runtimes.remote import RemoteRuntime
from runner.scenario.schema import RemoteLaunch, Workload
from runner.services import connect
from runner.services.kserve import KServeGrpc
from tests.contracts.runtime import RuntimeContract
from tests.unit.services.kserve_http_server import Certificates, make_certificates

MODELS = Path(__file__).parent / "resources" / "models"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
THEIRS = ("sleepy", "echo")
"""What whoever runs the server has loaded."""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[RunningServer]:
    """Somebody else's server, in explicit mode."""
    folder = tmp_path_factory.mktemp("theirs")
    spec = ServerSpec(repository=models, load=THEIRS, canary="echo", run_id="theirs", log=folder / "server.log")
    with EmbeddedRuntime(folder / "state").start(spec) as server:
        yield server


Ready = set[tuple[str, str]]


def ready_at(address: str) -> Ready:
    """Name and version of every model that is ready; Triton's index remembers those that were unloaded, too."""
    with closing(KServeGrpc(address)) as service:
        return {(entry.name, entry.version) for entry in service.index() if entry.state == "READY"}


@pytest.fixture
def as_found(theirs: RunningServer) -> Iterator[Ready]:
    """The models of the server, which must be the same after the test."""
    before = ready_at(theirs.endpoint.grpc)
    assert {name for name, _ in before} == set(THEIRS)
    yield before
    with closing(KServeGrpc(theirs.endpoint.grpc)) as service:
        assert {(entry.name, entry.version) for entry in service.index() if entry.in_memory} == before


@pytest.fixture
def spec(tmp_path: Path) -> ServerSpec:
    log = tmp_path / "logs" / "log"
    return ServerSpec(repository=tmp_path, load=(), canary="identity", run_id="r", log=log, ready_timeout_s=60)


@pytest.fixture
def remote(theirs: RunningServer, tmp_path: Path) -> Callable[..., RemoteRuntime]:
    def make(**launch: Any) -> RemoteRuntime:
        made = RemoteLaunch.model_validate({"kind": "remote", "grpc": theirs.endpoint.grpc, **launch})
        return RemoteRuntime(made, state=tmp_path / "remote")

    return make


@pytest.mark.usefixtures("as_found")
class TestContract(RuntimeContract):
    @pytest.fixture
    def runtime(self, remote: Callable[..., RemoteRuntime]) -> RemoteRuntime:
        return remote(model_control="allowed")

    def left(self, address: str, spec: ServerSpec) -> bool:
        return spec.canary not in {name for name, _ in ready_at(address)}


# --- the set of models --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("control", ["never", "allowed"])
def test_a_model_that_somebody_loaded_is_measured_and_stays(
    theirs: RunningServer, as_found: Ready, remote: Callable[..., RemoteRuntime], spec: ServerSpec, control: str
) -> None:
    with (
        closing(KServeGrpc(theirs.endpoint.grpc)) as service,
        remote(model_control=control).start(dataclasses.replace(spec, canary="sleepy")) as server,
    ):
        service.infer("sleepy", {"INPUT0": np.ones((1, 1), np.float32)})
        with pytest.raises(ServiceError, match="this run did not load it"):
            server.reload()
        assert ready_at(theirs.endpoint.grpc) == as_found


def test_an_ensemble_comes_and_goes_with_its_parts_but_not_with_those_that_were_there(
    theirs: RunningServer, as_found: Ready, remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    """Over HTTP; the contract goes over gRPC. The fixture looks whether `sleepy`, a part of it, is still there."""
    runtime = remote(grpc=None, http=theirs.endpoint.http, model_control="allowed")
    with runtime.start(dataclasses.replace(spec, canary="nested")) as server:
        now = {name for name, _ in ready_at(theirs.endpoint.grpc) - as_found}
        assert now == {"nested", "chain", "identity"}
        assert server.endpoint.grpc == ""
        server.check()
        with closing(connect(server.endpoint, Workload(model="nested", protocol="http"))) as service:
            assert service.metadata("nested").composing_models == ("identity", "sleepy")


def test_a_model_that_is_not_there_is_told_over_http(
    theirs: RunningServer, remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    with (
        pytest.raises(ServiceError, match=r"'identity' is not loaded .*; ready there: echo, sleepy"),
        remote(grpc=None, http=theirs.endpoint.http).start(spec),
    ):
        pytest.fail("nobody loaded it")


def test_a_model_that_cannot_be_loaded_leaves_nothing(
    as_found: Ready, remote: Callable[..., RemoteRuntime], spec: ServerSpec
) -> None:
    missing = dataclasses.replace(spec, canary="identitty")
    with (
        pytest.raises(ServiceError, match="could not load model 'identitty'") as caught,
        remote(model_control="allowed").start(missing),
    ):
        pytest.fail("there is no such model")
    assert "did you mean 'identity'" in (caught.value.hint or "")


def test_a_server_outside_of_explicit_mode_says_so(tmp_path: Path, models: Path, spec: ServerSpec) -> None:
    wheel, chosen = find_wheel(), ports.choose_ports({})
    assert wheel is not None
    options = {"model-repository": models, "model-control-mode": "none", "exit-on-error": "false"}
    options |= {"grpc-port": chosen.grpc, "http-port": chosen.http, "metrics-port": chosen.metrics}
    with (tmp_path / "theirs.log").open("w") as log:
        command = [str(wheel.program), *(f"--{name}={value}" for name, value in options.items())]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        launch = RemoteLaunch(kind="remote", grpc=f"127.0.0.1:{chosen.grpc}", model_control="allowed")
        with (
            pytest.raises(ServiceError, match=r"does not let models be loaded: .*explicit model load") as caught,
            RemoteRuntime(launch, state=tmp_path / "remote").start(spec),
        ):
            pytest.fail("it loads nothing on demand")
        assert "--model-control-mode=explicit" in (caught.value.hint or "")
    finally:
        server.kill()
        server.wait()


# --- TLS and headers ----------------------------------------------------------------------------------------------

KEY = "triton-grpc-protocol-admin-key"
SECRET = "hunter2"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, models: Path, certificates: Certificates
) -> Iterator[RunningServer]:
    """A server that wants a client's certificate of everybody, and a header of those who infer or load."""
    from runner.services.tls import Tls

    folder = tmp_path_factory.mktemp("guarded")
    flags = {
        "grpc-use-ssl-mutual": True,
        "grpc-server-cert": certificates.server_crt,
        "grpc-server-key": certificates.server_key,
        "grpc-root-cert": certificates.ca_crt,
        "grpc-restricted-protocol": f"inference,model-repository,model-config,statistics:admin-key={SECRET}",
    }
    ca, chain, key = (Path(getattr(certificates, name)).read_text() for name in ("ca_crt", "client_crt", "client_key"))
    spec = ServerSpec(
        repository=models,
        load=("echo",),
        canary="echo",
        run_id="guarded",
        log=folder / "server.log",
        flags=flags,
        tls=Tls(ca, chain=chain, key=key),
    )
    with EmbeddedRuntime(folder / "state").start(spec) as server:
        yield server


def tls_of(certificates: Certificates) -> dict[str, str]:
    return {"ca": certificates.ca_crt, "cert": certificates.client_crt, "key": certificates.client_key}


def guarded_launch(server: RunningServer, certificates: Certificates, **launch: Any) -> dict[str, Any]:
    return {"kind": "remote", "grpc": server.endpoint.grpc, "tls": tls_of(certificates), **launch}


def test_a_client_that_is_not_let_in_is_told_at_once(
    guarded: RunningServer, certificates: Certificates, spec: ServerSpec, tmp_path: Path
) -> None:
    patient = dataclasses.replace(spec, ready_timeout_s=600)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"model_control": "allowed"}, "headers"),
        ({"model_control": "allowed", "headers": {KEY: "guessed"}}, "headers"),
        ({"tls": {"ca": certificates.stranger_crt}}, "tls"),
    ]
    for change, hint in wrong:
        launch = RemoteLaunch.model_validate(guarded_launch(guarded, certificates, **change))
        with pytest.raises(ServiceError) as caught, RemoteRuntime(launch, state=tmp_path / "remote").start(patient):
            pytest.fail("it must not come in")
        assert f"launch.{hint}" in (caught.value.hint or ""), change
        assert SECRET not in caught.value.message


# --- as a user ----------------------------------------------------------------------------------------------------


def scenario(folder: Path, launch: dict[str, Any], **parts: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Write a scenario whose file also says how the server would be set up; returns what runs a verb on it."""
    (folder / "make.py").write_text("raise SystemExit('the server is not set up from here')\n")
    (folder / "feed.py").write_text("import pathlib, sys\npathlib.Path(sys.argv[2]).write_bytes(bytes(16))\n")
    document = {
        "scenario": 1,
        "name": "afar",
        "targets": {"afar": {"launch": launch}},
        "setup": {
            "weights": {"kind": "script", "script": "make.py"},
            "numbers": {"kind": "script", "script": "feed.py"},
        },
        "repository": {
            "models": {"identity": {"from": str(MODELS / "identity"), "files": {"1/weights": "${setup.weights}"}}}
        },
        "workload": {"model": "identity", "input": {"INPUT0": {"from": "${setup.numbers}", "format": "raw"}}},
        "measure": {"profile": "reference", "requests": 60, "telemetry": {"sources": []}},
        **parts,
    }
    (folder / "afar.yaml").write_text(yaml.safe_dump(document))
    return lambda verb: subprocess.run(
        [sys.executable, "-m", "runner", verb, "afar.yaml"],
        cwd=folder,
        env=ENVIRONMENT | {"SCENARIO_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_scenario_on_a_guarded_server(guarded: RunningServer, certificates: Certificates, tmp_path: Path) -> None:
    """Triton answers requests for inference and control only with the header, so both carry it."""
    launch = guarded_launch(guarded, certificates, headers={KEY.upper(): SECRET}, model_control="allowed")
    run = scenario(tmp_path, launch, matrix={"axes": {"load.concurrency": [1, 4]}})
    plan = run("plan").stdout
    assert "a remote server is not set up from here" in plan
    assert "numbers          would build" in plan
    assert "a remote server has its own models" in plan
    done = run("run")
    assert done.returncode == 0, done.stderr
    (directory,) = (tmp_path / "runs").iterdir()
    trials = [line for line in map(json.loads, (directory / "journal.jsonl").open()) if line["kind"] == "trial"]
    assert [trial["counts"]["ok"] for trial in trials] == [60, 60]
    server = json.loads((directory / "manifest.json").read_text())["server"]
    assert server["loaded_for_this_run"] == "identity"
    assert guarded.endpoint.grpc not in json.dumps(server)
    for file in (*directory.rglob("*"), *(tmp_path / "home").rglob("*")):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    assert done.stderr.index("loaded identity") < done.stderr.index("unloaded identity")
    workload = Workload.model_validate({"model": "echo", "headers": {KEY: SECRET}, "tls": tls_of(certificates)})
    with closing(connect(guarded.endpoint, workload)) as service:
        assert isinstance(service, KServeGrpc)
        assert service.loaded() == ["echo"]


RUNNER = """
import sys, time
from pathlib import Path
from runner.runtimes.base import ServerSpec
from runner.runtimes.remote import RemoteRuntime
from runner.scenario.schema import RemoteLaunch

spec = ServerSpec(repository=Path(), load=(), canary="nested", run_id="r", log=Path("runner.log"))
launch = RemoteLaunch(kind="remote", grpc=sys.argv[1], model_control="allowed")
with RemoteRuntime(launch).start(spec):
    print("up", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_runner_loaded_is_unloaded_by_reset(
    theirs: RunningServer, as_found: Ready, tmp_path: Path
) -> None:
    launch = {"kind": "remote", "grpc": theirs.endpoint.grpc}
    run = scenario(tmp_path, launch)
    environment = ENVIRONMENT | {"SCENARIO_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", RUNNER, theirs.endpoint.grpc]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == "up\n"
        runner.kill()
    assert len(ready_at(theirs.endpoint.grpc)) == len(as_found) + 3
    reset = run("reset")
    assert f"model nested on {theirs.endpoint.grpc}" in reset.stdout, reset.stderr
