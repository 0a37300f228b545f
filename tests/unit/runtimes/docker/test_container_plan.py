"""A container as a value: the SDK's arguments and the command line say the same, and harden by default."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from runner.errors import RigError
from runner.runtimes.docker.engine import EngineFacts
from runner.runtimes.docker.images import Image
from runner.runtimes.docker.launching import base_plan, check_readable, check_writable, default_user, read_only_binds
from runner.runtimes.docker.plan import Bind, ContainerPlan, GpuRequest, command_line, sdk_arguments
from runner.scenario.schema import DockerLaunch

pytest.importorskip("docker")

DOCKER = EngineFacts("Docker", "28.2.2", "1.50")
IMAGE = Image("triton:1", "sha256:abc", "triton@sha256:def")


def plan(**launch: Any) -> ContainerPlan:
    written = DockerLaunch.model_validate({"kind": "docker", "image": "triton:1", "user": "1234:99", **launch})
    return base_plan(written, IMAGE, DOCKER, name="scenario-x", labels={"a": "b"})


def test_a_container_is_hardened_by_default() -> None:
    arguments = sdk_arguments(dataclasses.replace(plan(), command=("tritonserver",)))
    assert arguments["image"] == "sha256:abc", "what it is, not what its tag means by then"
    assert arguments["user"] == "1234:99"
    assert arguments["read_only"] is True
    assert arguments["cap_drop"] == ["ALL"]
    assert arguments["security_opt"] == ["no-new-privileges"]
    assert arguments["pids_limit"] == 16_384
    assert arguments["init"] is True
    assert arguments["network_mode"] == "none"
    assert arguments["ipc_mode"] == "private"
    assert arguments["healthcheck"] == {"test": ["NONE"]}
    assert {limit["Name"]: limit["Soft"] for limit in arguments["ulimits"]} == {"memlock": -1, "stack": 64 * 2**20}
    assert not {"privileged", "cap_add", "device_requests", "volumes", "nano_cpus"} & arguments.keys()


def test_what_launch_says_arrives() -> None:
    launch = {
        "gpus": 2, "shm_size": "8GiB", "ipc": "host", "env": {"A": "1"}, "mounts": {"/data": "/srv/data"},
        "ulimits": {"memlock": "1MiB", "stack": "unlimited"}, "cpus": 2.5, "cpuset": "0-3", "memory": "4GiB",
        "pids": 100, "read_only": False,
    }  # fmt: skip
    arguments = sdk_arguments(plan(**launch))
    assert "shm_size" not in arguments, "this machine's memory has the size that it has"
    assert arguments["environment"]["A"] == "1"
    [mount] = arguments["mounts"]
    assert (mount["Target"], mount["Source"], mount["Type"], mount["ReadOnly"]) == ("/data", "/srv/data", "bind", True)
    assert {limit["Name"]: limit["Hard"] for limit in arguments["ulimits"]} == {"memlock": 2**20, "stack": -1}
    assert (arguments["nano_cpus"], arguments["cpuset_cpus"]) == (2_500_000_000, "0-3")
    assert arguments["mem_limit"] == arguments["memswap_limit"] == 4 * 2**30
    assert arguments["pids_limit"] == 100
    assert "read_only" not in arguments or arguments["read_only"] is False
    [request] = arguments["device_requests"]
    assert (request["Count"], request["Capabilities"]) == (2, [["gpu", "compute", "utility", "video"]])


def test_the_command_line_does_the_same() -> None:
    full = dataclasses.replace(
        plan(cpus=2.5, memory="4GiB", cpuset="1"),
        command=("tritonserver", "--id=x y"),
        binds=(Bind(Path("/repo"), "/repo"), Bind(Path("/out"), "/out", writable=True)),
        network="bridge",
        publish={8000: None, 8001: 9001},
        gpus=GpuRequest(count=-1),
        entrypoint=("/bin/sh", "-c"),
    )
    assert command_line(full) == [
        "docker", "run", "--rm", "--init", "--user", "1234:99", "--network", "bridge", "--ipc=private",
        "--cap-drop=ALL", "--security-opt=no-new-privileges", "--pids-limit=16384", "--no-healthcheck",
        "--tmpfs=/tmp:rw,exec,nosuid,nodev,mode=1777", "--read-only", "--shm-size=1073741824",
        "--env=HOME=/tmp", "--env=TMPDIR=/tmp", "--env=PYTHONDONTWRITEBYTECODE=1",
        "--mount=type=bind,src=/repo,dst=/repo,readonly", "--mount=type=bind,src=/out,dst=/out",
        "--publish=127.0.0.1::8000", "--publish=127.0.0.1:9001:8001",
        "--ulimit=memlock=-1:-1", "--ulimit=stack=67108864:67108864",
        "--cpus=2.5", "--cpuset-cpus=1", "--memory=4294967296", "--memory-swap=4294967296",
        "--gpus=all", "--entrypoint=/bin/sh", "sha256:abc", "-c", "tritonserver", "--id=x y",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (GpuRequest(count=-1), ["--gpus=all"]),
        (GpuRequest(count=2), ["--gpus=2"]),
        (GpuRequest(ids=("0", "GPU-1")), ['--gpus="device=0,GPU-1"']),
        (GpuRequest(ids=("nvidia.com/gpu=0", "nvidia.com/gpu=1"), cdi=True),
         ["--device=nvidia.com/gpu=0", "--device=nvidia.com/gpu=1"]),
    ],
)  # fmt: skip
def test_gpus_on_the_command_line(request_: GpuRequest, says: list[str]) -> None:
    assert [each for each in command_line(dataclasses.replace(plan(), gpus=request_)) if "gpu" in each] == says


@pytest.mark.parametrize(
    ("rootless", "uid", "user"), [(False, 0, "1000:1000"), (False, 1234, "1234:99"), (True, 1234, "0:0")]
)
def test_nobody_serves_as_root_of_this_machine(rootless: bool, uid: int, user: str) -> None:
    assert default_user(dataclasses.replace(DOCKER, rootless=rootless), uid, 99) == user


def test_paths_are_the_same_inside_and_bound_once() -> None:
    binds = read_only_binds([Path("/a"), Path("/b"), Path("/a")])
    assert binds == (Bind(Path("/a"), "/a"), Bind(Path("/b"), "/b"))


def test_a_repository_that_the_user_cannot_read_is_refused(tmp_path: Path) -> None:
    uid = tmp_path.stat().st_uid
    tmp_path.chmod(0o755)
    check_readable(tmp_path, "54321:54321")
    tmp_path.chmod(0o700)
    check_readable(tmp_path, f"{uid}:54321")
    check_readable(tmp_path, "0:0")
    with pytest.raises(RigError, match=r"cannot be read by user 54321:54321 of the container \(its mode is 700\)"):
        check_readable(tmp_path, "54321:54321")


def test_a_folder_for_traces_that_the_user_cannot_write_to_is_refused(tmp_path: Path) -> None:
    status = tmp_path.stat()
    tmp_path.chmod(0o775)
    for user in (f"{status.st_uid}:54321", f"54321:{status.st_gid}", "0:0"):
        check_writable(tmp_path, user)
    with pytest.raises(RigError, match=r"cannot be written to by user 54321:54321 of the container") as caught:
        check_writable(tmp_path, "54321:54321")
    assert "launch.user" in (caught.value.hint or "")


def test_secrets_are_not_in_the_command_that_logs_keep() -> None:
    line = command_line(plan(env={"HF_TOKEN": "hush", "OMP_NUM_THREADS": "4", "HTTPS_PROXY": "http://me:hush@p"}))
    assert "--env=HF_TOKEN" in line
    assert "--env=HTTPS_PROXY" in line
    assert "--env=OMP_NUM_THREADS=4" in line
    assert "hush" not in " ".join(line)
