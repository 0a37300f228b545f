"""The server's command line."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from runner.errors import RigError
from runner.runtimes.base import ServerSpec
from runner.runtimes.command import Ports, endpoint, fixed_ports, server_argv, shm_prefix, stub_script
from runner.services.base import Endpoint

PORTS = Ports(http=8000, grpc=8001, metrics=8002)


def argv(load: tuple[str, ...] = (), traces: Path | None = None, **flags: Any) -> list[str]:
    spec = ServerSpec(
        repository=Path("/repo"),
        load=load,
        canary="effnet",
        run_id="r",
        log=Path("/log"),
        traces=traces,
        flags={name.replace("_", "-"): value for name, value in flags.items()},
    )
    return server_argv(Path("/opt/tritonserver"), spec, PORTS, Path("/run/backends"), "scenario-r-1")


def test_the_whole_command() -> None:
    assert argv(("effnet", "other"), log_verbose=1, strict_readiness=True) == [
        "/opt/tritonserver",
        "--id=scenario-r-1",
        "--model-repository=/repo",
        "--model-control-mode=explicit",
        "--backend-directory=/run/backends",
        "--backend-config=python,shm-region-prefix-name=scenario-r-1_",
        "--http-address=127.0.0.1",
        "--http-port=8000",
        "--grpc-address=127.0.0.1",
        "--grpc-port=8001",
        "--metrics-address=127.0.0.1",
        "--metrics-port=8002",
        "--exit-timeout-secs=10",
        "--log-verbose=1",
        "--strict-readiness=true",
        "--load-model=effnet",
        "--load-model=other",
    ]


def test_the_scenarios_own_flags_win() -> None:
    command = argv(http_address="0.0.0.0", exit_timeout_secs=1)
    assert "--http-address=0.0.0.0" in command
    assert "--http-address=127.0.0.1" not in command
    assert "--exit-timeout-secs=1" in command


def test_a_file_for_traces_is_named_and_other_settings_are_added() -> None:
    command = argv(traces=Path("/run/traces/server-1.json"), trace_config=["opentelemetry,resource=a=b"])
    given = [option for option in command if option.startswith("--trace-config=")]
    assert given == [
        "--trace-config=mode=triton",
        "--trace-config=triton,file=/run/traces/server-1.json",
        "--trace-config=opentelemetry,resource=a=b",
    ]


def test_a_backend_config_is_added_not_replaced() -> None:
    command = argv(backend_config="python,stub-timeout-seconds=60")
    assert [flag for flag in command if flag.startswith("--backend-config")] == [
        f"--backend-config=python,shm-region-prefix-name={shm_prefix('scenario-r-1')}",
        "--backend-config=python,stub-timeout-seconds=60",
    ]


def test_an_option_with_several_values_is_given_once_for_each() -> None:
    command = argv(backend_config=("dali,release_after_unload=true", "default-max-batch-size=8"), host_policy=[0, True])
    assert [flag for flag in command if flag.startswith(("--backend-config", "--host"))] == [
        f"--backend-config=python,shm-region-prefix-name={shm_prefix('scenario-r-1')}",
        "--host-policy=0",
        "--host-policy=true",
        "--backend-config=dali,release_after_unload=true",
        "--backend-config=default-max-batch-size=8",
    ]


@pytest.mark.parametrize("flag", ["model_repository", "backend_directory", "load_model", "id", "allow_grpc"])
def test_flags_that_take_the_server_out_of_our_hands_are_refused(flag: str) -> None:
    name = flag.replace("_", "-")
    with pytest.raises(RigError, match=rf"server\.flags\.{name} cannot be set: "):
        argv(**{flag: "x"})


def test_ports_become_addresses_on_this_machine() -> None:
    assert endpoint(PORTS) == Endpoint("127.0.0.1:8000", "127.0.0.1:8001", "127.0.0.1:8002")


def test_ports_of_the_scenario_are_kept() -> None:
    assert fixed_ports({"http-port": 8000, "grpc-port": "8001", "log-verbose": 1}) == {"http": 8000, "grpc": 8001}


@pytest.mark.parametrize("port", ["x", 0, 65536, True, 80.5, -1, "²", "٣", "9" * 5000])
def test_a_port_that_is_none_is_refused(port: Any) -> None:
    with pytest.raises(RigError, match=r"server\.flags\.grpc-port is "):
        fixed_ports({"grpc-port": port})


def test_the_stub_runs_with_our_python_first_and_without_its_redirections(tmp_path: Path) -> None:
    stub = tmp_path / "it's a stub"
    stub.write_text('#!/bin/sh\necho "$PATH|$LD_LIBRARY_PATH|${PYTHONPATH-none}|${PYTHONHOME-none}|$2"\n')
    stub.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(stub_script(stub, Path("/venv/b in"), Path("/py/lib")))
    script.chmod(0o755)

    def run(**environment: str) -> list[str]:
        environment = {"PATH": "/bin", "PYTHONPATH": "/evil", "PYTHONHOME": "/evil"} | environment
        done = subprocess.run([script, "a", "b c"], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip().split("|")

    assert run() == ["/venv/b in:/bin", "/py/lib", "none", "none", "b c"]
    assert run(LD_LIBRARY_PATH="/more")[1] == "/py/lib:/more"
