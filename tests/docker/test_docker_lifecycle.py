"""The docker runtime with a real engine and a real Triton: the contract, the hardening, every way to die."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from runner.errors import RigError, ServiceError
from runner.runtimes.base import ServerSpec
from runner.runtimes.docker import DockerRuntime
from runner.runtimes.docker.server import DockerServer
from runner.runtimes.rig.cpus import present
from runner.scenario.cpu_list import format_cpus
from runner.scenario.schema import DockerLaunch, Trace
from runner.services.kserve import KServeGrpc
from tests.contracts.runtime import RuntimeContract

pytestmark = pytest.mark.docker
MiB = 2**20


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def make(image: str, said: list[str]) -> Callable[..., DockerRuntime]:
    """A runtime; keyword arguments are fields of `launch` as a file would write them."""

    def made(**launch: Any) -> DockerRuntime:
        written = {"kind": "docker", "image": image, "shm_size": "256MiB", **launch}
        return DockerRuntime(DockerLaunch.model_validate(written), said.append)

    return made


@pytest.fixture
def runtime(make: Callable[..., DockerRuntime]) -> DockerRuntime:
    return make()


@pytest.fixture
def spec(tmp_path: Path, run_id: str, models: Path) -> ServerSpec:
    return ServerSpec(
        repository=models, load=(), canary="identity", run_id=run_id, log=tmp_path / "server.log", ready_timeout_s=90
    )


class TestContract(RuntimeContract):
    """The shared suite on the real thing."""


def test_a_server_is_hardened_and_says_what_it_is(
    runtime: DockerRuntime, spec: ServerSpec, client: Any, image: str, said: list[str], containers_of: Any
) -> None:
    cpus = present()
    with runtime.start(dataclasses.replace(spec, cpus=cpus, memory_nodes=(0,))) as server:
        facts = server.facts()
        [container] = containers_of(spec.run_id)
        seen = container.attrs
        host, config = seen["HostConfig"], seen["Config"]
        assert config["User"] == facts["user"]
        assert config["User"].split(":")[0] not in ("", "0")
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert host["Privileged"] is False
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert host["PidsLimit"] == 16_384
        assert host["Init"] is True
        assert host["ShmSize"] == 256 * MiB
        assert (host["CpusetCpus"], host["CpusetMems"]) == (format_cpus(cpus), "0")
        assert host["IpcMode"] == "private"
        assert host["Tmpfs"] == {"/tmp": "rw,exec,nosuid,nodev,mode=1777"}
        [mount] = seen["Mounts"]
        assert (mount["Type"], mount["Source"], mount["RW"]) == ("bind", str(spec.repository), False)
        bindings = seen["NetworkSettings"]["Ports"]
        assert {bound["HostIp"] for ports in bindings.values() for bound in ports} == {"127.0.0.1"}
        assert server.endpoint.grpc == f"{seen['NetworkSettings']['IPAddress']}:8001", "past the engine's proxy"
        with closing(KServeGrpc(f"127.0.0.1:{bindings['8001/tcp'][0]['HostPort']}")) as published:
            assert published.ready("identity")
        status = container.exec_run(["cat", "/proc/1/status"]).output.decode()
        assert "CapEff:\t0000000000000000" in status
        assert "CapBnd:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status
        assert container.exec_run(["sh", "-c", "echo x > /usr/x"]).exit_code != 0
        assert container.exec_run(["sh", "-c", f"echo x > {spec.repository}/x"]).exit_code != 0
        assert (facts["image"], facts["image_id"]) == (image, client.images.get(image).id)
        assert seen["Image"] == facts["image_id"], "run by digest, whatever the tag means by now"
        assert facts["server"] == "tritonserver 2.51.0"
        assert facts["engine"].startswith("Docker ")
        limits = {limit["Name"]: limit["Soft"] for limit in host["Ulimits"]}
        for name in ("memlock", "stack"):
            refused = facts[f"ulimit_{name}"] == "refused by the engine"
            assert refused == (name not in limits) == any(name in line for line in said)
    first, *rest = spec.log.read_text().splitlines()
    assert first.startswith(f"$ docker run --rm --init --user {facts['user']} ")
    assert any("Started GRPCInferenceService" in line for line in rest)
    assert any("successfully unloaded 'identity'" in line for line in rest), "the log goes on to the end"


def test_traces_are_written_to_a_folder_of_this_machine(runtime: DockerRuntime, spec: ServerSpec) -> None:
    file = spec.log.parent / "traces" / "server-1.json"
    with (
        runtime.start(dataclasses.replace(spec, trace=Trace(rate=1), traces=file)) as server,
        closing(KServeGrpc(server.endpoint.grpc)) as service,
    ):
        service.infer("identity", {"INPUT0": np.ones((1, 2), np.float32)})
        assert server.facts()["traces_at"] == "traces/"
    assert [event for event in json.loads(file.read_text()) if event.get("model_name") == "identity"]
    assert {path.stat().st_uid for path in (file, file.parent)} == {os.getuid()}


def test_a_dead_python_model_and_a_dead_server_are_noticed(
    runtime: DockerRuntime, spec: ServerSpec, containers_of: Any
) -> None:
    inputs = {"INPUT0": np.ones((1, 1), np.float32), "FAIL": np.full((1, 1), 2, np.int32)}
    with runtime.start(dataclasses.replace(spec, canary="sleepy")) as server:
        assert isinstance(server, DockerServer)
        assert server.process is not None, "its process can be watched without asking the engine"
        tree = psutil.Process(server.process[0]).children(recursive=True)
        assert {stub.pid for stub in server.triton.stubs} <= {child.pid for child in tree}, "telemetry sees all of it"
        with closing(KServeGrpc(server.endpoint.grpc)) as service:
            server.check()
            with pytest.raises(ServiceError):
                service.infer("sleepy", inputs)
            assert service.ready("sleepy"), "what makes the check necessary"
        with pytest.raises(ServiceError, match=r"python model 'sleepy' .* is gone"):
            server.check()
        containers_of(spec.run_id)[0].kill("SIGSEGV")
        containers_of(spec.run_id)[0].kill("SIGKILL")
        containers_of(spec.run_id)[0].wait(timeout=20)
        with pytest.raises(ServiceError, match="the server ended with signal SIGKILL") as caught:
            server.check()
        assert any("Started GRPCInferenceService" in line for line in caught.value.log_tail)


HUNGRY = """
import numpy as np
class TritonPythonModel:
    def initialize(self, args):
        self.kept = [np.ones(2**23, np.uint8) for _ in range(400)]
"""


def test_running_out_of_memory_is_named(
    make: Callable[..., DockerRuntime], spec: ServerSpec, models: Path, tmp_path: Path
) -> None:
    shutil.copytree(models / "identity", tmp_path / "repository" / "hungry")
    (tmp_path / "repository" / "hungry" / "1" / "model.py").write_text(HUNGRY)
    config = tmp_path / "repository" / "hungry" / "config.pbtxt"
    config.write_text(config.read_text().replace('"identity"', '"hungry"'))
    spec = dataclasses.replace(spec, repository=tmp_path / "repository", canary="hungry")
    with pytest.raises(ServiceError, match="ran out of memory") as caught, make(memory="400MiB").start(spec):
        pytest.fail("it needs 3.2 GiB")
    assert "launch.memory" in (caught.value.hint or "")


# --- wrong starts -------------------------------------------------------------------------------------------------


def test_gpus_that_are_not_there_are_a_clear_error_and_leave_nothing(
    make: Callable[..., DockerRuntime], spec: ServerSpec
) -> None:
    """Creating such a container succeeds, starting it fails: `run_id` looks for what is left."""
    runtime = make(gpus="all")
    says = r"launch\.gpus asks for all GPUs, but Docker .* cannot give them"
    with pytest.raises(RigError, match=says) as caught, runtime.start(spec):
        pytest.fail("there is no GPU")
    assert caught.value.exit_code == 3
    assert "NVIDIA Container Toolkit" in (caught.value.hint or "")
    [finding] = [finding for finding in runtime.preflight() if "GPU" in finding.check]
    assert (finding.level, finding.remedy is None) == ("fail", False)


def test_an_image_that_cannot_be_had_is_a_clear_error(make: Callable[..., DockerRuntime], spec: ServerSpec) -> None:
    runtime = make(image="127.0.0.1:9/nobody/serves:this")
    says = r"127\.0\.0\.1:9/nobody/serves:this is not here and cannot be pulled"
    with pytest.raises(RigError, match=says) as caught, runtime.start(spec):
        pytest.fail("there is no such image")
    assert "docker load" in (caught.value.hint or "")


def test_a_port_that_is_asked_for_and_taken_is_named(runtime: DockerRuntime, spec: ServerSpec) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        spec = dataclasses.replace(spec, flags={"grpc-port": port})
        with pytest.raises(RigError, match=rf"port {port} \(grpc\) is taken"), runtime.start(spec):
            pytest.fail("the port is taken")


def test_an_image_without_a_server_is_named(make: Callable[..., DockerRuntime], spec: ServerSpec, image: str) -> None:
    with pytest.raises(RigError, match="no `tritonserver` on its PATH"), make(env={"PATH": "/bin"}).start(spec):
        pytest.fail("nothing to run")


# --- a runner that is killed --------------------------------------------------------------------------------------

RUNNER = """
import sys, time
from pathlib import Path
from runner.runtimes.base import ServerSpec
from runner.runtimes.docker import DockerRuntime
from runner.scenario.schema import DockerLaunch, Trace

image, models, run_id, log = sys.argv[1:]
spec = ServerSpec(repository=Path(models), load=(), canary="identity", run_id=run_id, log=Path(log))
launch = DockerLaunch(kind="docker", image=image, network="host", ipc="host")
with DockerRuntime(launch).start(spec) as server:
    print("up", flush=True)
    time.sleep(600)
"""


def test_the_orphan_of_a_killed_runner_is_swept_by_the_next_and_not_before(
    runtime: DockerRuntime, spec: ServerSpec, image: str, containers_of: Any
) -> None:
    """Also: on this machine's network and in its memory, where an orphan would leave segments."""
    arguments = [image, str(spec.repository), spec.run_id, str(spec.log)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, *arguments], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert runner.stdout is not None
        assert runner.stdout.readline() == "up\n"
        [container] = containers_of(spec.run_id)
        assert container.attrs["HostConfig"]["NetworkMode"] == "host"
        assert list(runtime.sweep()) == [], "a live runner's container is not a leftover"
        assert segments(container.name), "with `ipc: host` its shared memory is this machine's"
    finally:
        runner.kill()
        runner.wait()
        runner.stdout.close()
    assert [orphan.name for orphan in containers_of(spec.run_id)] == [container.name]
    swept = list(runtime.sweep())
    assert f"container {container.name} (running)" in swept
    assert containers_of(spec.run_id) == []
    assert segments(container.name) == []
    assert list(runtime.sweep()) == []


def segments(identity: str) -> list[str]:
    return [entry.name for entry in Path("/dev/shm").iterdir() if entry.name.startswith(identity)]
