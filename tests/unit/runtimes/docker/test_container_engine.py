"""Engines and what they say, without one: a stand-in for the SDK's client answers as Docker and Podman were seen to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.errors import RigError
from runner.processes import ProcessIdentity
from runner.runtimes.docker import checks, gpus, labels
from runner.runtimes.docker.containers import Ended, refused_ulimits
from runner.runtimes.docker.engine import EngineFacts, connect, facts_of, is_missing
from runner.runtimes.docker.images import progress, repository_of
from runner.runtimes.docker.plan import ContainerPlan, GpuRequest
from runner.runtimes.docker.server import never_ran
from runner.runtimes.doctor.engines import Place, places
from runner.runtimes.doctor.gpu_facts import DriverFacts
from runner.scenario.schema import DockerLaunch

pytest.importorskip("docker")

DOCKER = EngineFacts("Docker", "28.2.2", "1.50", runtimes=frozenset({"runc", "nvidia"}))
PODMAN = EngineFacts("Podman", "5.4.1", "1.41")


# --- which engine -------------------------------------------------------------------------------------------------


def client(version: Mapping[str, Any], info: Mapping[str, Any]) -> Any:
    return SimpleNamespace(version=lambda: version, info=lambda: info)


def test_an_engine_says_what_it_is() -> None:
    docker = {"Version": "28.3.0", "ApiVersion": "1.51", "Components": [{"Name": "Engine", "Version": "28.3.0"}]}
    info = {
        "Runtimes": {"runc": {}, "nvidia": {}},
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"],
        "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}, {"Source": "cdi", "ID": "other.com/x=0"}],
    }
    assert facts_of(client(docker, info)) == EngineFacts(
        "Docker", "28.3.0", "1.51", True, frozenset({"runc", "nvidia"}), ("nvidia.com/gpu=0",)
    )
    podman = {"Version": "4.3.1", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine", "Version": "4.3.1"}]}
    found = facts_of(client(podman, {"Runtimes": None, "SecurityOptions": None, "DiscoveredDevices": None}))
    assert (found.is_podman, found.text) == (True, "Podman 4.3.1 (API 1.41)")


def test_where_engines_are_looked_for(tmp_path: Path) -> None:
    assert places({"DOCKER_HOST": "tcp://elsewhere:2376"}) == [Place("tcp://elsewhere:2376", from_host=True)]
    (tmp_path / "podman").mkdir()
    (tmp_path / "podman" / "podman.sock").touch()
    found = places({"XDG_RUNTIME_DIR": str(tmp_path), "DOCKER_CONFIG": str(tmp_path)})
    assert Place(f"unix://{tmp_path}/podman/podman.sock") in found


def test_no_engine_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    with pytest.raises(RigError, match=r"no Docker engine answers \(unix://.*/nothing\.sock: No such file") as caught:
        connect()
    assert "systemctl start docker" in (caught.value.hint or "")
    [finding] = checks.findings(DockerLaunch(kind="docker", image="x"))
    assert (finding.level, finding.remedy) == ("fail", caught.value.hint)


# --- GPUs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "engine", "request_"),
    [
        ("none", DOCKER, None),
        ("all", DOCKER, GpuRequest(count=-1)),
        (2, DOCKER, GpuRequest(count=2)),
        (("0", "GPU-1"), DOCKER, GpuRequest(ids=("0", "GPU-1"))),
        ("all", replace(DOCKER, runtimes=frozenset()), GpuRequest(count=-1)),
        ("all", replace(DOCKER, cdi_gpus=("nvidia.com/gpu=0",)), GpuRequest(count=-1)),
        (2, replace(DOCKER, runtimes=frozenset(), cdi_gpus=("nvidia.com/gpu=0",)),
         GpuRequest(ids=("nvidia.com/gpu=0", "nvidia.com/gpu=1"), cdi=True)),
        ("all", PODMAN, GpuRequest(ids=("nvidia.com/gpu=all",), cdi=True)),
        (("GPU-1",), PODMAN, GpuRequest(ids=("nvidia.com/gpu=GPU-1",), cdi=True)),
        ("none", replace(PODMAN, version="4.3.1"), None),
    ],
)  # fmt: skip
def test_how_an_engine_is_asked(wanted: Any, engine: EngineFacts, request_: GpuRequest | None) -> None:
    assert gpus.request_for(wanted, engine) == request_


def test_a_podman_that_drops_the_request_is_refused_with_the_reason() -> None:
    with pytest.raises(RigError, match=r"Podman 5\.3\.2 .* drops requests for GPUs") as caught:
        gpus.request_for("all", replace(PODMAN, version="5.3.2"))
    assert "Podman 5.4" in (caught.value.hint or "")
    finding = checks.gpu_path(DockerLaunch(kind="docker", image="x", gpus=1), replace(PODMAN, version="4.3.1"), 1)
    assert (finding.level, finding.remedy) == ("fail", caught.value.hint)


def test_an_engine_names_its_ways_to_gpus(tmp_path: Path) -> None:
    assert checks.engine_found(DOCKER).detail == "Docker 28.2.2 (API 1.50), as root; way to GPUs: NVIDIA runtime"
    rootless = replace(PODMAN, rootless=True, cdi_gpus=("nvidia.com/gpu=0", "nvidia.com/gpu=all"))
    said = checks.engine_found(rootless).detail
    assert said.endswith("without root; way to GPUs: CDI devices nvidia.com/gpu=0, nvidia.com/gpu=all")
    assert (
        checks.disk(DOCKER).detail == checks.disk(replace(DOCKER, root="/no/such")).detail == "cannot be seen from here"
    )
    assert str(tmp_path) in checks.disk(replace(DOCKER, root=str(tmp_path))).detail


def test_the_image_is_asked_which_driver_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"Env": ["CUDA_VERSION=13.0.1", "PATH=/bin=x"], "Labels": None}
    image = SimpleNamespace(attrs={"Id": "sha256:1", "RepoDigests": [], "Config": config})
    info = {"Runtimes": {"nvidia": {}}, "DockerRootDir": "/no/such"}
    engine = client({"Version": "28.3.0", "ApiVersion": "1.51"}, info)
    engine.images = SimpleNamespace(get=lambda name: image)
    monkeypatch.setattr(checks, "connect", lambda: engine)
    monkeypatch.setattr(checks, "gpu_count", lambda: 1)
    monkeypatch.setattr(checks, "read_driver", lambda: DriverFacts("550.54", (12, 4), ()))
    found = {each.check: each for each in checks.findings(DockerLaunch(kind="docker", image="x", gpus="all"))}
    assert (found["image"].level, found["GPUs for containers"].level) == ("ok", "ok")
    assert found["driver for the image"].level == "fail"
    assert "the image has CUDA 13.0, driver 550.54 supports CUDA 12.4" in found["driver for the image"].detail
    without = checks.findings(DockerLaunch(kind="docker", image="x"))
    assert "driver for the image" not in [each.check for each in without], "nobody asks for GPUs"


SMI = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-0a1b)\nGPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-2c3d)\n"


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (SMI, ("0 NVIDIA H100 80GB HBM3 GPU-0a1b", "1 NVIDIA H100 80GB HBM3 GPU-2c3d")),
        ("/dev/nvidia0\n/proc/driver/nvidia/gpus/0000:01:00.0\n", ("/dev/nvidia0",)),
        ("", ()),
        ("No devices were found\n", ()),
    ],
)
def test_what_a_container_sees(answer: str, seen: tuple[str, ...]) -> None:
    assert gpus.gpus_listed(answer) == seen
    container = SimpleNamespace(exec_run=lambda command: SimpleNamespace(output=answer.encode()))
    if seen:
        assert gpus.prove(container, "all") == seen
    with pytest.raises(RigError, match=rf"asks for 3 GPUs, but the container sees {len(seen) or 'none'}"):
        gpus.prove(container, 3)
    assert gpus.prove(container, "none") == ()


@pytest.mark.parametrize(
    ("here", "engine", "level"),
    [(1, DOCKER, "ok"), (0, DOCKER, "fail"), (1, replace(DOCKER, runtimes=frozenset()), "warn")],
)
def test_what_is_expected_of_the_gpus_beforehand(here: int, engine: EngineFacts, level: str) -> None:
    finding = checks.gpu_path(DockerLaunch(kind="docker", image="x", gpus="all"), engine, here)
    assert finding.level == level
    assert bool(finding.remedy) == (level != "ok")


def test_the_words_of_engines_for_missing_gpus_are_known() -> None:
    for said in (
        'could not select device driver "" with capabilities: [[gpu]]',
        'could not select device driver "cdi" with capabilities: []',
        "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=0",
        "nvidia-container-cli: initialization error: nvml error: driver not loaded",
        "failed to discover GPU vendor from CDI: no known GPU vendor found",
    ):
        assert gpus.NO_DRIVER.search(said)


# --- whose containers ---------------------------------------------------------------------------------------------


def written(owner: ProcessIdentity, machine: str | None = None) -> dict[str, str]:
    return {labels.OWNER: json.dumps(asdict(owner)), labels.MACHINE: machine or labels.this_machine()}


def test_only_what_is_certainly_dead_is_abandoned() -> None:
    me = ProcessIdentity.current()
    assert not labels.abandoned(labels.labels("r", "server"))
    assert labels.abandoned(written(replace(me, started=me.started - 1))), "the same pid, used again"
    assert labels.abandoned(written(replace(me, boot_id="before"))), "this machine, before it was started again"
    assert not labels.abandoned(written(replace(me, boot_id="other"), machine="other")), "another machine's"
    assert not labels.abandoned(written(replace(me, pid_namespace="other", started=1))), "cannot be seen from here"
    assert not labels.abandoned({})
    assert not labels.abandoned({labels.OWNER: "{}"})
    assert not labels.abandoned({labels.OWNER: "not JSON"})


# --- what engines say ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "limits"),
    [
        ("error setting rlimits for ready process: error setting rlimit type 8: operation not permitted", ("memlock",)),
        ("error setting rlimit type 3: operation not permitted", ("stack",)),
        ("setrlimit `RLIMIT_MEMLOCK`: Operation not permitted: OCI permission denied", ("memlock",)),
        ("error setting rlimit type 99: operation not permitted", ("memlock", "stack")),
        ("bind source path does not exist: /x", ()),
    ],
)
def test_which_limit_was_refused(said: str, limits: tuple[str, ...]) -> None:
    plan = ContainerPlan(
        name="n", image="i", command=(), user="1", labels={}, ulimits={"memlock": -1, "stack": 64 * 2**20}
    )
    assert refused_ulimits(said, plan) == limits
    assert refused_ulimits(said, plan.without_ulimits("memlock", "stack")) == ()


@pytest.mark.parametrize(
    ("ended", "text"),
    [
        (Ended(0, False), "exit status 0"),
        (Ended(137, False), "signal SIGKILL"),
        (Ended(137, True), "signal SIGKILL; the container ran out of memory"),
        (Ended(139, False), "signal SIGSEGV"),
        (Ended(1, False, "it said so"), "exit status 1 (it said so)"),
    ],
)
def test_ends_in_words(ended: Ended, text: str) -> None:
    assert ended.text == text


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("nvcr.io/nvidia/tritonserver:26.04-py3", "nvcr.io/nvidia/tritonserver"),
        ("localhost:5000/triton", "localhost:5000/triton"),
        ("localhost:5000/triton:1", "localhost:5000/triton"),
        ("triton@sha256:abc", "triton"),
        ("triton", "triton"),
    ],
)
def test_the_repository_of_a_name(name: str, repository: str) -> None:
    assert repository_of(name) == repository


def test_the_progress_of_a_pull() -> None:
    def layer(name: str, current: int) -> dict[str, Any]:
        return {"id": name, "status": "Downloading", "progressDetail": {"current": current, "total": 10**9}}

    times = iter([0.0, 0.1, 0.5, 1.5, 3.0])
    events = [
        {"status": "Pulling from nvidia/tritonserver"},
        layer("a", 10**8),
        layer("b", 2 * 10**8),
        {"id": "a", "status": "Download complete"},
    ]
    assert list(progress(events, lambda: next(times))) == ["0.30 of 2.00 GB", "1.20 of 2.00 GB"]
    with pytest.raises(RuntimeError, match="toomanyrequests"):
        list(progress([{"error": "toomanyrequests: slow down"}]))


def test_a_program_that_is_not_in_the_image() -> None:
    assert never_ran(Ended(127, False), [])
    assert never_ran(Ended(1, False), ["ERROR (catatonit:2): failed to exec pid1: No such file or directory"])
    assert not never_ran(Ended(1, False), ["error: creating server: Internal - failed to load all models"])


def test_a_container_that_goes_while_podman_is_asked_for_it() -> None:
    from docker.errors import APIError, NotFound

    assert is_missing(NotFound("404"))
    assert is_missing(APIError("500", explanation="container 5e84 does not exist in database: no such container"))
    assert not is_missing(APIError("500", explanation="devices: permission denied"))
