"""The embedded runtime with the real server: every way to start wrong, to die, and to be left."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from runner.errors import RigError, ServiceError
from runner.runtimes import ownership, ports
from runner.runtimes.base import ServerSpec
from runner.runtimes.embedded import EmbeddedRuntime, EmbeddedServer
from runner.services.kserve import KServeGrpc
from tests.contracts.runtime import RuntimeContract

pytestmark = pytest.mark.usefixtures("nothing_stays")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def runtime(state: Path) -> EmbeddedRuntime:
    return EmbeddedRuntime(state)


@pytest.fixture
def run_id(tmp_path: Path) -> str:
    """Unique to the test, so that what it leaves can be told from what others use."""
    return f"{tmp_path.name.replace('_', '-')[-30:]}-{os.getpid()}-{time.monotonic_ns()}"


@pytest.fixture
def spec(tmp_path: Path, run_id: str, models: Path) -> ServerSpec:
    return ServerSpec(
        repository=models, load=(), canary="identity", run_id=run_id, log=tmp_path / "server.log", ready_timeout_s=60
    )


@pytest.fixture
def nothing_stays(state: Path, run_id: str) -> Iterator[None]:
    """After every test: no process, no shared memory, no private directory of its servers."""
    yield
    assert remains(state, run_id) == []


def remains(state: Path, run_id: str) -> list[str]:
    segments = [entry.name for entry in Path("/dev/shm").iterdir() if run_id in entry.name]
    directories = [entry.name for entry in state.iterdir()] if state.is_dir() else []
    return segments + directories + [f"process {pid}" for pid in processes_of(run_id)]


def processes_of(run_id: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and f"{ownership.MARKER}=scenario-{run_id}".encode() in (entry / "environ").read_bytes()
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def eventually(condition: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


class TestContract(RuntimeContract):
    """The shared suite on the real thing."""


def test_facts_name_what_a_number_depends_on(runtime: EmbeddedRuntime, spec: ServerSpec) -> None:
    with runtime.start(spec) as server:
        facts = server.facts()
        assert facts["server"] == "tritonserver 2.51.0"
        assert facts["numpy"].startswith("1.")
        assert facts["python"] == sys.version.split()[0]
        assert Path(f"/proc/{facts['server_pid']}").exists()


def test_a_reload_renews_an_ensemble_with_every_model_behind_it(runtime: EmbeddedRuntime, spec: ServerSpec) -> None:
    """`nested` is an ensemble of an ensemble: unloaded alone it would leave those that do the work as they are."""
    parts = ["nested", "chain", "identity", "sleepy"]
    inputs = {"INPUT0": np.ones((1, 2), np.float32)}
    with (
        runtime.start(dataclasses.replace(spec, canary="nested")) as server,
        closing(KServeGrpc(server.endpoint.grpc)) as service,
    ):
        assert isinstance(server, EmbeddedServer)
        service.infer("nested", inputs)
        before = server.triton.stubs
        assert eventually(lambda: all(s.success_count for s in service.statistics(parts)), 5)
        server.reload()
        assert [s.success_count for s in service.statistics(parts)] == [0, 0, 0, 0]
        assert sorted(stub.model for stub in server.triton.stubs) == sorted(stub.model for stub in before)
        assert not {stub.pid for stub in server.triton.stubs} & {stub.pid for stub in before}, "new processes, too"
        assert service.infer("nested", inputs)["OUTPUT0"].tolist() == [[1, 1]]
        server.check()
        os.kill(server.triton.stubs[0].pid, signal.SIGKILL)
        assert eventually(lambda: _gone(server), 5), "the new processes are watched as the old ones were"


def test_the_server_and_its_models_run_on_the_processors_they_are_given(
    runtime: EmbeddedRuntime, spec: ServerSpec
) -> None:
    cpu = max(os.sched_getaffinity(0))
    with runtime.start(dataclasses.replace(spec, cpus=(cpu,))) as server:
        pids = server.pids()
        assert pids is not None
        assert len(pids) == 2, "the server and the stub of its model"
        for pid in pids:
            allowed = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
            assert all(f"\nCpus_allowed_list:\t{cpu}\n" in text for text in allowed)


def test_files_in_the_current_folder_do_not_hide_packages_of_models(
    runtime: EmbeddedRuntime, spec: ServerSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cwd = tmp_path / "somewhere"
    cwd.mkdir()
    (cwd / "numpy.py").write_text("raise ImportError('the wrong numpy')\n")
    monkeypatch.chdir(cwd)
    with runtime.start(spec) as server:
        server.check()


def test_two_servers_at_the_same_time_do_not_touch_each_other(
    runtime: EmbeddedRuntime, spec: ServerSpec, tmp_path: Path
) -> None:
    other = dataclasses.replace(spec, log=tmp_path / "other.log")
    with runtime.start(spec) as first:
        with runtime.start(other) as second:
            assert len({first.endpoint.grpc, second.endpoint.grpc, first.endpoint.http, second.endpoint.http}) == 4
        assert runtime.sweep() == []
        first.check()
        with closing(KServeGrpc(first.endpoint.grpc)) as service:
            assert service.infer("identity", {"INPUT0": np.ones((1, 1), np.float32)})["OUTPUT0"].tolist() == [[1]]


# --- wrong starts -------------------------------------------------------------------------------------------------


def test_a_model_that_fails_to_load_is_explained(
    runtime: EmbeddedRuntime, spec: ServerSpec, make_repository: Callable[..., Path]
) -> None:
    repository = make_repository(broken="import helpers_that_do_not_exist\n")
    spec = dataclasses.replace(spec, repository=repository, canary="broken")
    with pytest.raises(ServiceError) as caught, runtime.start(spec):
        pytest.fail("a broken model cannot be ready")
    assert caught.value.message.startswith("model 'broken' failed to load: ")
    assert caught.value.message.count("ModuleNotFoundError") == 1
    assert "ModuleNotFoundError: No module named 'helpers_that_do_not_exist'" in caught.value.message
    assert "broken/1/model.py(1)" in caught.value.message
    assert "install 'helpers_that_do_not_exist'" in (caught.value.hint or "")
    assert "failed to load 'broken'" in caught.value.log_tail[0]


def test_an_exception_in_initialize_is_explained(
    runtime: EmbeddedRuntime, spec: ServerSpec, make_repository: Callable[..., Path]
) -> None:
    source = "class TritonPythonModel:\n    def initialize(self, args):\n        raise ValueError('weights are torn')\n"
    spec = dataclasses.replace(spec, repository=make_repository(torn=source), canary="torn")
    with (
        pytest.raises(ServiceError, match=r"ValueError: weights are torn \(at .*torn/1/model\.py\(3\)"),
        runtime.start(spec),
    ):
        pytest.fail("a broken model cannot be ready")


def test_a_canary_that_takes_too_long_runs_into_the_deadline(
    runtime: EmbeddedRuntime, spec: ServerSpec, make_repository: Callable[..., Path]
) -> None:
    source = "import time\nclass TritonPythonModel:\n    def initialize(self, args):\n        time.sleep(600)\n"
    spec = dataclasses.replace(spec, repository=make_repository(slow=source), canary="slow", ready_timeout_s=3)
    with pytest.raises(ServiceError, match="not ready 3 s after") as caught, runtime.start(spec):
        pytest.fail("it sleeps for ten minutes")
    assert "server.ready.timeout" in (caught.value.hint or "")


def test_a_port_that_is_asked_for_and_taken_is_named_with_its_holder(
    runtime: EmbeddedRuntime, spec: ServerSpec
) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        spec = dataclasses.replace(spec, flags={"grpc-port": port})
        with (
            pytest.raises(RigError, match=rf"port {port} \(grpc\) is taken by .*pid {os.getpid()}"),
            runtime.start(spec),
        ):
            pytest.fail("the port is taken")


def test_a_port_that_is_lost_after_it_was_chosen_is_replaced(
    runtime: EmbeddedRuntime, spec: ServerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody takes the chosen port before the server does: the next choice is used."""
    choose, chosen = ports.choose_ports, []
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()

        def unlucky(fixed: dict[str, int]) -> ports.Ports:
            choice = choose(fixed)
            chosen.append(choice if chosen else dataclasses.replace(choice, grpc=thief.getsockname()[1]))
            return chosen[-1]

        monkeypatch.setattr(ports, "choose_ports", unlucky)
        with runtime.start(spec) as server:
            assert server.endpoint.grpc == f"127.0.0.1:{chosen[1].grpc}"
    assert len(chosen) == 2


# --- deaths -------------------------------------------------------------------------------------------------------


def test_a_server_that_is_killed_is_noticed(runtime: EmbeddedRuntime, spec: ServerSpec) -> None:
    with runtime.start(spec) as server:
        os.kill(int(server.facts()["server_pid"]), signal.SIGKILL)
        assert eventually(lambda: _gone(server), within_s=5)
        with pytest.raises(ServiceError, match="signal SIGKILL") as caught:
            server.check()
        assert any("Started GRPCInferenceService" in line for line in caught.value.log_tail)
        with closing(KServeGrpc(server.endpoint.grpc)) as service, pytest.raises(ServiceError, match="at 127"):
            service.infer("identity", {"INPUT0": np.ones((1, 1), np.float32)})


def test_a_python_model_that_dies_is_noticed_although_the_server_says_ready(
    runtime: EmbeddedRuntime, spec: ServerSpec
) -> None:
    inputs = {"INPUT0": np.ones((1, 1), np.float32), "FAIL": np.full((1, 1), 2, np.int32)}
    with runtime.start(dataclasses.replace(spec, canary="sleepy")) as server:
        assert isinstance(server, EmbeddedServer)
        with closing(KServeGrpc(server.endpoint.grpc)) as service:
            server.check()
            with pytest.raises(ServiceError):
                service.infer("sleepy", inputs)
            assert service.ready("sleepy"), "what makes the check necessary"
        with pytest.raises(ServiceError, match=r"python model 'sleepy' .* is gone"):
            server.check()


def _gone(server: EmbeddedServer) -> bool:
    try:
        server.check()
    except ServiceError:
        return True
    return False


# --- a runner that is ended ---------------------------------------------------------------------------------------

RUNNER = """
import sys, time
from pathlib import Path
from runner.runtimes.base import ServerSpec
from runner.runtimes.embedded import EmbeddedRuntime

state, models, run_id, log = sys.argv[1:]
spec = ServerSpec(repository=Path(models), load=(), canary="identity", run_id=run_id, log=Path(log))
with EmbeddedRuntime(Path(state)).start(spec) as server:
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def start_runner(state: Path, spec: ServerSpec) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    runners: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        arguments = [str(state), str(spec.repository), spec.run_id, str(spec.log)]
        process = subprocess.Popen(
            [sys.executable, "-c", RUNNER, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        runners.append(process)
        return process

    yield start
    for process in runners:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 128 + signal.SIGHUP)],
)
def test_a_runner_that_is_asked_to_end_leaves_nothing(
    start_runner: Callable[[], subprocess.Popen[str]], state: Path, run_id: str, number: signal.Signals, status: int
) -> None:
    runner = start_runner()
    assert runner.stdout is not None
    assert runner.stdout.readline() == "up\n"
    assert len(processes_of(run_id)) >= 2
    runner.send_signal(number)
    assert runner.wait(timeout=20) == status
    assert remains(state, run_id) == []


def test_a_runner_that_is_interrupted_while_the_server_comes_up_leaves_nothing(
    start_runner: Callable[[], subprocess.Popen[str]], state: Path, run_id: str
) -> None:
    runner = start_runner()
    assert eventually(lambda: len(processes_of(run_id)) > 0, within_s=20)
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(timeout=20) == 128 + signal.SIGTERM
    assert remains(state, run_id) == []


def test_a_second_interrupt_does_not_wait(
    start_runner: Callable[[], subprocess.Popen[str]], state: Path, run_id: str
) -> None:
    runner = start_runner()
    assert runner.stdout is not None
    runner.stdout.readline()
    runner.send_signal(signal.SIGINT)
    time.sleep(0.3)
    runner.send_signal(signal.SIGINT)
    asked = time.monotonic()
    runner.wait(timeout=20)
    assert time.monotonic() - asked < 4
    assert remains(state, run_id) == []


def test_the_server_of_a_killed_runner_is_gone_in_seconds_and_swept_by_the_next(
    start_runner: Callable[[], subprocess.Popen[str]], runtime: EmbeddedRuntime, state: Path, run_id: str
) -> None:
    runner = start_runner()
    assert runner.stdout is not None
    runner.stdout.readline()
    assert runtime.sweep() == [], "a live runner's server is not a leftover"
    runner.kill()
    runner.wait()
    assert eventually(lambda: processes_of(run_id) == [], within_s=5)
    swept = runtime.sweep()
    assert any(line.startswith("directory ") for line in swept)
    assert remains(state, run_id) == []
    assert runtime.sweep() == []


def test_shared_memory_of_killed_processes_is_swept(
    start_runner: Callable[[], subprocess.Popen[str]], runtime: EmbeddedRuntime, state: Path, run_id: str
) -> None:
    """Server and stubs killed together cannot clean up: the one way to leak shared memory."""
    runner = start_runner()
    assert runner.stdout is not None
    runner.stdout.readline()
    runner.send_signal(signal.SIGSTOP)
    for pid in reversed(processes_of(run_id)):
        os.kill(pid, signal.SIGKILL)
    runner.kill()
    runner.wait()
    assert any(run_id in entry.name for entry in Path("/dev/shm").iterdir()), "this test needs a leak to sweep"
    assert any(line.startswith("shared memory ") for line in runtime.sweep())
    assert remains(state, run_id) == []
