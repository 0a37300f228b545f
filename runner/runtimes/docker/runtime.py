"""The runtime of `launch: {kind: docker}`: each server in a container of its own, hardened, swept when its run dies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from runner.errors import RigError
from runner.runtimes import ownership, ports
from runner.runtimes.base import Finding, RunningServer, ServerSpec
from runner.runtimes.command import Ports, endpoint, fixed_ports, server_argv, shm_prefix
from runner.runtimes.docker import gpus, images, labels
from runner.runtimes.docker.checks import findings
from runner.runtimes.docker.containers import LogFile, started
from runner.runtimes.docker.engine import EngineFacts, connect, explanation, facts_of, is_engine_error
from runner.runtimes.docker.images import Image, Say
from runner.runtimes.docker.launching import base_plan, check_readable, check_writable, lent, read_only_binds
from runner.runtimes.docker.plan import Bind, ContainerPlan, command_line
from runner.runtimes.docker.server import INSIDE, PROGRAM, DockerServer, no_program
from runner.runtimes.interrupts import terminations_as_exit
from runner.runtimes.ports import ATTEMPTS, PortTakenError, lost_error
from runner.runtimes.serverlog import ServerLog
from runner.runtimes.triton import Triton, new_identity
from runner.scenario.cpu_list import format_cpus
from runner.scenario.schema import DockerLaunch


class DockerRuntime:
    """A `Runtime` for the servers of one target; `say` hears of pulls and of what the engine refuses."""

    def __init__(self, launch: DockerLaunch, say: Say = lambda message: None, *, offline: bool = False) -> None:
        self._launch, self._say, self._offline = launch, say, offline

    def preflight(self) -> Sequence[Finding]:
        """Look whether there is an engine, the image, and a way to the GPUs."""
        return tuple(findings(self._launch))

    @contextmanager
    def start(self, spec: ServerSpec) -> Iterator[RunningServer]:
        """Start a server, wait for its canary model, and remove its container on leaving whatever happens."""
        launch = spec.launch if isinstance(spec.launch, DockerLaunch) else self._launch
        image = images.ensure(self._client, launch.image, self._say, offline=self._offline)
        with terminations_as_exit(), ExitStack() as stack:
            yield self._up(launch, image, spec, stack)

    def sweep(self) -> Sequence[str]:
        """Remove the containers of runs that died."""
        return labels.sweep(self._client)

    @cached_property
    def _client(self) -> Any:
        return connect()

    @cached_property
    def _engine(self) -> EngineFacts:
        return facts_of(self._client)

    def _up(self, launch: DockerLaunch, image: Image, spec: ServerSpec, stack: ExitStack) -> DockerServer:
        """A server whose canary is ready; on this machine's network others may be faster to take a port."""
        for _ in range(ATTEMPTS):
            attempt = stack.enter_context(ExitStack())
            try:
                server = self._launched(launch, image, spec, attempt)
                server.wait_ready()
                return server
            except PortTakenError:
                attempt.close()
        raise lost_error(ATTEMPTS)

    def _launched(self, launch: DockerLaunch, image: Image, spec: ServerSpec, stack: ExitStack) -> DockerServer:
        identity = new_identity(spec.run_id)
        chosen = ports.choose_ports(fixed_ports(spec.flags)) if launch.network == "host" else INSIDE
        plan = self._plan(launch, image, spec, chosen, identity)
        check_readable(spec.repository, plan.user)
        if launch.ipc == "host":
            stack.callback(ownership.remove_shared_memory, shm_prefix(identity))
        if spec.traces:
            spec.traces.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lent(spec.traces.parent, plan.user))
            check_writable(spec.traces.parent, plan.user)
        container, refused = self._started(launch, plan, stack)
        plan = plan.without_ulimits(*refused)
        log = _begin_log(spec.log, plan)
        output = LogFile(container, spec.log)
        seen = gpus.prove(container, launch.gpus)
        triton = Triton(identity, endpoint(_published(container, chosen, launch)), log, spec)
        server = DockerServer(triton, container, plan, image, self._engine, output, seen, refused)
        stack.callback(server.stop)
        return server

    def _plan(
        self, launch: DockerLaunch, image: Image, spec: ServerSpec, chosen: Ports, identity: str
    ) -> ContainerPlan:
        bridged, wanted = launch.network == "bridge", fixed_ports(spec.flags)
        # A port that the scenario asks for is one of this machine: the container's network has its own.
        inside = replace(spec, flags={k: v for k, v in spec.flags.items() if k.removesuffix("-port") not in wanted})
        address = "0.0.0.0" if bridged else "127.0.0.1"
        argv = server_argv(PROGRAM, inside if bridged else spec, chosen, None, identity, address=address)
        folders = [spec.traces.parent.absolute()] if spec.traces else []
        traces = (Bind(folder, str(folder), writable=True) for folder in folders)
        base = base_plan(launch, image, self._engine, name=identity, labels=labels.labels(spec.run_id, "server"))
        return replace(
            base,
            command=tuple(argv),
            env={**base.env, ownership.MARKER: identity},
            binds=(*base.binds, *read_only_binds([spec.repository, *spec.reads, *_files_of(spec)]), *traces),
            network=launch.network,
            cpuset=format_cpus(spec.cpus) or launch.cpuset,
            memory_nodes=format_cpus(spec.memory_nodes) or None,
            publish={getattr(INSIDE, kind): wanted.get(kind) for kind in ports.KINDS} if bridged else {},
        )

    def _started(self, launch: DockerLaunch, plan: ContainerPlan, stack: ExitStack) -> tuple[Any, tuple[str, ...]]:
        try:
            return stack.enter_context(started(self._client, plan, self._say))
        except Exception as error:
            if not is_engine_error(error):
                raise
            raise _start_error(explanation(error), launch, plan, self._engine) from error


def _begin_log(path: Path, plan: ContainerPlan) -> ServerLog:
    """The log from here on belongs to this server; its first line is the command that starts the same by hand."""
    import shlex

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        start = file.tell()
        file.write(f"$ {shlex.join(command_line(plan))}\n")
    return ServerLog(path, start)


def _published(container: Any, chosen: Ports, launch: DockerLaunch) -> Ports:
    """Where this machine reaches the server."""
    if launch.network == "host":
        return chosen
    container.reload()
    found = container.attrs["NetworkSettings"]["Ports"]
    if not found:
        # It has ended already: whoever waits for it looks first whether it runs.
        return chosen
    return Ports(**{kind: int(found[f"{getattr(chosen, kind)}/tcp"][0]["HostPort"]) for kind in ports.KINDS})


def _files_of(spec: ServerSpec) -> list[Path]:
    """Files that the server's own flags name, certificates for example."""
    values = [Path(value) for value in spec.flags.values() if isinstance(value, str)]
    return [path for path in values if path.is_absolute() and path.exists()]


def _start_error(said: str, launch: DockerLaunch, plan: ContainerPlan, engine: EngineFacts) -> RigError:
    """Why a container could not be started, in terms of the scenario."""
    if plan.gpus and gpus.NO_DRIVER.search(said):
        return gpus.missing_error(launch.gpus, engine, said)
    for inside, outside in plan.publish.items():
        if outside and str(outside) in said and ("already" in said or "in use" in said):
            return ports.taken(next(kind for kind in ports.KINDS if getattr(INSIDE, kind) == inside), outside)
    if PROGRAM in said and "not found" in said:
        return no_program(launch.image)
    if "bind source path does not exist" in said:
        return RigError(
            f"the engine does not see this machine's files: {said}",
            hint="it runs on another machine or in a virtual one; run `scenario` where the engine runs",
        )
    return RigError(f"the container cannot be started: {said}", hint=f"the image is {launch.image}, see `launch`")
